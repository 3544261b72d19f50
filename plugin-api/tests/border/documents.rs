//! Documents: what the host is asked, and how its answers are read. The host here answers by key, and keeps nothing.

use std::time::{Duration, SystemTime};

use expect_test::expect;
use porth_abi as abi;
use porth_abi::code;
use porth_plugin::prelude::*;
use porth_plugin::serde_json::Value;

use crate::host::{IS_WORKER, text, with_state};
use crate::library::{Library, Outcome, Request as Asked};
use crate::plugins::PORTH_PLUGIN_V1;
use crate::waiting::later;

/// Keeps a call in the log of its context, and answers what the last text names.
fn ask(context: u64, what: &str, texts: &[abi::Str], call: *mut abi::HostCall) -> i32 {
    let texts: Vec<String> = texts.iter().map(|borrowed| text(*borrowed)).collect();
    let asked = format!("{what} {}", texts.join(" "));
    with_state(|state| state.asked.entry(context).or_default().push(asked));
    let (code, result) = match (what, texts.get(1).map_or("", String::as_str)) {
        ("get", "a") => (
            code::OK,
            r#"{"key": "a", "version": 7, "expires_at_ms": 5, "user": "dave", "value": {"title": "A"}, "more": 1}"#,
        ),
        ("get", "odd") => (code::OK, r#"{"key": "odd", "version": 7, "value": {"title": 3}}"#),
        ("get" | "delete", _) => (code::NOT_FOUND, "there is no such document"),
        ("put", "taken") => (code::CONFLICT, "exists"),
        ("put", _) => (code::OK, r#"{"version": 8}"#),
        ("consume", "a") => (
            code::OK,
            r#"{"state": "used", "document": {"key": "a", "version": 7, "used_at_ms": 1, "value": {"title": "A"}}}"#,
        ),
        ("consume", _) => (code::OK, r#"{"state": "expired", "document": null}"#),
        ("list", options) if options.contains("next page") => {
            (code::OK, r#"{"documents": [{"key": "b", "version": 2, "value": {"title": "B"}}], "next": null}"#)
        }
        ("list", _) => {
            (code::OK, r#"{"documents": [{"key": "a", "version": 1, "value": {"title": "A"}}], "next": "next page"}"#)
        }
        ("apply", _) => (code::OK, r#"{"versions": [9, null]}"#),
        _ => (code::UNSUPPORTED, ""),
    };
    // SAFETY: the plug-in's to be filled in.
    unsafe { call.write(later(Duration::from_millis(1), code, result)) };
    code::OK
}

pub(crate) unsafe extern "C" fn get(
    context: u64,
    collection: abi::Str,
    key: abi::Str,
    call: *mut abi::HostCall,
) -> i32 {
    ask(context, "get", &[collection, key], call)
}

pub(crate) unsafe extern "C" fn put(
    context: u64,
    collection: abi::Str,
    key: abi::Str,
    value: abi::Str,
    options: abi::Str,
    call: *mut abi::HostCall,
) -> i32 {
    ask(context, "put", &[collection, key, value, options], call)
}

pub(crate) unsafe extern "C" fn delete(
    context: u64,
    collection: abi::Str,
    key: abi::Str,
    options: abi::Str,
    call: *mut abi::HostCall,
) -> i32 {
    ask(context, "delete", &[collection, key, options], call)
}

pub(crate) unsafe extern "C" fn list(
    context: u64,
    collection: abi::Str,
    options: abi::Str,
    call: *mut abi::HostCall,
) -> i32 {
    ask(context, "list", &[collection, options], call)
}

pub(crate) unsafe extern "C" fn apply(context: u64, operations: abi::Str, call: *mut abi::HostCall) -> i32 {
    ask(context, "apply", &[operations], call)
}

pub(crate) unsafe extern "C" fn consume(
    context: u64,
    collection: abi::Str,
    key: abi::Str,
    call: *mut abi::HostCall,
) -> i32 {
    ask(context, "consume", &[collection, key], call)
}

/// Asks for documents in every way there is.
pub(crate) struct Keeps {
    notes: Collection<Note>,
    documents: Documents,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Note {
    title: String,
}

#[derive(Deserialize, JsonSchema)]
pub(crate) struct Nothing {}

impl Plugin for Keeps {
    const MODULE: Module =
        Module::new("keeps", "Keeps", "").documents(3, &[("notes", &["due", "owner"]), ("other", &[])]);
    type Parameters = Nothing;

    async fn init(host: Host<Self>, _: Nothing) -> Result<Self, InitError> {
        host.endpoints().get("/documents", Self::documents).add()?;
        host.endpoints().get("/documents-blocking", Self::documents_blocking).add()?;
        Ok(Self { notes: host.documents().collection("notes"), documents: host.documents() })
    }

    async fn migrate(from: u64, documents: Documents) -> Result<Vec<Operation>, InitError> {
        let notes = documents.collection::<Value>("notes");
        match from {
            1 => {
                let all = notes.list().all().await?;
                Ok(all.iter().map(|note| notes.update(&note.key, &note.value, note.version).into()).collect())
            }
            2 => Err(InitError::failed("not today")),
            _ => panic!("in a migration"),
        }
    }
}

fn show<T: std::fmt::Debug>(answer: Result<T, HostError>) -> String {
    match answer {
        Ok(answer) => format!("{answer:?}\n"),
        Err(error) => format!("{error}\n"),
    }
}

impl Keeps {
    async fn documents(&self, _: Request) -> Result<Response, Error> {
        let Self { notes, documents } = self;
        let note = Note { title: "T".to_owned() };
        let late = SystemTime::UNIX_EPOCH + Duration::from_millis(99);
        let mut answers = String::new();
        answers += &show(notes.get("a").await);
        answers += &show(notes.get("absent").await);
        answers += &show(notes.get("odd").await);
        answers += &show(notes.put("b", &note).expires_at(late).user("dave").await);
        answers += &show(notes.insert("taken", &note).await);
        answers += &show(notes.update("b", &note, 8).await);
        answers += &show(notes.delete("b").version(8).await);
        answers += &show(notes.consume("a").await);
        answers += &show(notes.consume("b").await);
        answers += &show(notes.list().field("owner").equals("dave").limit(1).await);
        answers += &show(notes.list().field("due").at_least(1).below(2.5).after("there").all().await);
        answers += &show(notes.list().prefix("x").equals(f64::NAN).await);
        let changes: [Operation; 2] = [notes.put("b", &note).user("dave").into(), notes.delete("c").version(3).into()];
        answers += &show(documents.apply(changes).await);
        // Never awaited: the host hears of it all the same, but does nothing before it is polled.
        drop(notes.get("dropped"));
        Ok(Response::text(answers))
    }

    fn documents_blocking(&self, _: &Request) -> Result<Response, Error> {
        let note = Note { title: "T".to_owned() };
        let answers = [
            show(self.notes.get("a").blocking().map(|found| found.map(|found| found.value))),
            show(self.notes.put("b", &note).blocking()),
            show(self.notes.delete("b").blocking()),
            show(self.notes.list().blocking().map(|page| page.next)),
            show(self.notes.consume("b").blocking()),
        ];
        Ok(Response::text(answers.concat()))
    }
}

fn body(path: &'static str) -> (String, Vec<String>) {
    let library = Library::load();
    let keeps = library.init("keeps", "{}").unwrap();
    let body = match keeps.call(Asked::to(path)).0 {
        Outcome::Ready { body, .. } => body,
        other => panic!("{other}"),
    };
    let asked = with_state(|state| state.asked.remove(&keeps.context())).unwrap_or_default();
    (body, asked)
}

#[test]
fn the_host_is_asked_as_the_border_says_and_its_answers_are_read() {
    let (answers, asked) = body("/documents");
    expect![[r#"
        Some(Document { key: "a", version: 7, value: Note { title: "A" }, expires_at: Some(SystemTime { tv_sec: 0, tv_nsec: 5000000 }), used_at: None, user: Some("dave") })
        None
        the host failed: the document does not fit its type: invalid type: integer `3`, expected a string at line 1 column 11
        8
        it has changed meanwhile: exists
        8
        the host knows no such thing: there is no such document
        Used(Document { key: "a", version: 7, value: Note { title: "A" }, expires_at: None, used_at: Some(SystemTime { tv_sec: 0, tv_nsec: 1000000 }), user: None })
        Expired
        Page { documents: [Document { key: "a", version: 1, value: Note { title: "A" }, expires_at: None, used_at: None, user: None }], next: Some("next page") }
        [Document { key: "a", version: 1, value: Note { title: "A" }, expires_at: None, used_at: None, user: None }, Document { key: "b", version: 2, value: Note { title: "B" }, expires_at: None, used_at: None, user: None }]
        Page { documents: [Document { key: "a", version: 1, value: Note { title: "A" }, expires_at: None, used_at: None, user: None }], next: Some("next page") }
        [Some(9), None]
    "#]].assert_eq(&answers);
    expect![[r#"
        get notes a
        get notes absent
        get notes odd
        put notes b {"title":"T"} {"expires_at_ms":99,"user":"dave"}
        put notes taken {"title":"T"} {"version":0}
        put notes b {"title":"T"} {"version":8}
        delete notes b {"version":8}
        consume notes a
        consume notes b
        list notes {"equals":"dave","field":"owner","limit":1}
        list notes {"after":"there","field":"due","from":1,"to":2.5}
        list notes {"after":"next page","field":"due","from":1,"to":2.5}
        list notes {"equals":null,"prefix":"x"}
        apply [{"put":{"collection":"notes","key":"b","value":{"title":"T"},"user":"dave"}},{"delete":{"collection":"notes","key":"c","version":3}}]
        get notes dropped"#]].assert_eq(&asked.join("\n"));
}

#[test]
fn blocking_forms_answer_where_they_may() {
    expect![[r#"
        Some(Note { title: "A" })
        8
        the host knows no such thing: there is no such document
        Some("next page")
        Expired
    "#]]
    .assert_eq(&body("/documents-blocking").0);
    IS_WORKER.set(true);
    let answers = body("/documents-blocking").0;
    IS_WORKER.set(false);
    assert_eq!(answers.lines().filter(|line| line.contains("this thread must not block")).count(), 5, "{answers}");
}

#[test]
fn a_module_says_what_form_its_documents_have() {
    let library = Library::load();
    let modules: Value = serde_json::from_str(&library.description).unwrap();
    let keeps = modules.as_array().unwrap().iter().find(|module| module["name"] == "keeps").unwrap();
    expect![[r#"{"collections":{"notes":{"index":["due","owner"]},"other":{"index":[]}},"version":3}"#]]
        .assert_eq(&keeps["documents"].to_string());
    assert!(modules[0].get("documents").is_none());
}

/// Calls the extension as the host does.
fn migrate(library: &Library, module: &str, from: u64) -> (i32, String) {
    let str = |text: &'static str| abi::Str::new(text.as_bytes());
    // SAFETY: loaded, and the text is static.
    let table = unsafe { PORTH_PLUGIN_V1.extension.unwrap()(library.library(), str(abi::DOCUMENT_MIGRATIONS)) };
    // SAFETY: the table of this extension, which lives as long as the library.
    let table = unsafe { &*table.cast::<abi::DocumentMigrations>() };
    assert_eq!(table.size, size_of::<abi::DocumentMigrations>());
    let mut result = abi::Bytes::EMPTY;
    let module = abi::Str::new(module.as_bytes());
    // SAFETY: all of it is lent for the call.
    let answer = unsafe { (table.migrate)(library.library(), 1, str("plugin"), module, from, &raw mut result) };
    (answer, crate::library::take(result))
}

#[test]
fn a_migration_answers_operations_or_why_not() {
    let library = Library::load();
    let operations = r#"[{"put":{"collection":"notes","key":"a","value":{"title":"A"},"version":1}},{"put":{"collection":"notes","key":"b","value":{"title":"B"},"version":2}}]"#;
    assert_eq!(migrate(&library, "keeps", 1), (code::OK, operations.to_owned()));
    assert_eq!(migrate(&library, "keeps", 2), (code::ERROR, "not today".to_owned()));
    assert_eq!(migrate(&library, "keeps", 3), (code::PANIC, String::new()));
    assert_eq!(migrate(&library, "steady", 1), (code::OK, "[]".to_owned()));
    assert_eq!(migrate(&library, "other", 1), (code::ERROR, "this library has no such module".to_owned()));
    // SAFETY: loaded, and the text is static.
    let unknown = unsafe { PORTH_PLUGIN_V1.extension.unwrap()(library.library(), abi::Str::new(b"porth.other/1")) };
    assert!(unknown.is_null());
}
