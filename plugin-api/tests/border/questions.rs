//! Users and clients: what the host is asked, and how its answers are read. The host here answers by question, and knows
//! nobody but `dave` and `app`.

use std::collections::BTreeMap;
use std::time::Duration;

use expect_test::expect;
use porth_abi as abi;
use porth_abi::code;
use porth_plugin::prelude::*;
use porth_plugin::serde_json::Value;
use porth_plugin::{ClientFields, Login, UserFields};

use crate::host::{bytes, text, with_state};
use crate::library::{Library, Outcome, Request as Asked};
use crate::waiting::later;

const DAVE: &str = r#"{"username": "dave", "name": "Dave", "email": "d@x", "scope": ["a"], "enabled": true, "source": "database", "phone": 1}"#;
const APP: &str = r#"{"client_id": "app", "name": "App", "description": "", "confidential": true, "authorization_type": ["code"],
    "redirect_uri": ["https://x/"], "scope": [], "enabled": true, "source": "database", "more": [1]}"#;

/// Keeps a question in the log of its context, and answers it.
pub(crate) fn ask(context: u64, question: &str, arguments: abi::Str, call: *mut abi::HostCall) -> i32 {
    let arguments = text(arguments);
    let known = ["dave", "app"].iter().any(|name| arguments.contains(&format!("\"{name}\"")));
    with_state(|state| state.asked.entry(context).or_default().push(format!("{question} {arguments}")));
    let (code, result) = match question {
        "delete_client" => return code::DENIED,
        "check_user_valid" if arguments.contains("wrong") => (code::UNAUTHORIZED, "wrong".to_owned()),
        _ if !known => (code::NOT_FOUND, "nobody".to_owned()),
        "check_user_valid" => (code::OK, format!(r#"{{"user": {DAVE}, "scope_list": ["a"]}}"#)),
        "check_client_valid" => (code::OK, format!(r#"{{"client": {APP}}}"#)),
        "get_user" => (code::OK, DAVE.to_owned()),
        "get_user_profile" => (code::OK, r#"{"username": "dave"}"#.to_owned()),
        "get_client" => (code::OK, APP.to_owned()),
        "get_user_list" => (code::OK, format!("[{DAVE}]")),
        "get_client_list" => (code::OK, format!("[{APP}]")),
        "is_user_valid" | "is_client_valid" => (code::OK, r#"["name: no"]"#.to_owned()),
        "get_client_granted_scopes" => (
            code::OK,
            r#"{"client": {"client_id": "app", "name": "App"}, "scope": [{"name": "a", "display_name": "A", "description": "",
                "password_required": true, "granted": false}]}"#
                .to_owned(),
        ),
        _ => (code::OK, "{}".to_owned()),
    };
    // SAFETY: the plug-in's to be filled in.
    unsafe { call.write(later(Duration::from_millis(1), code, Box::leak(result.into_boxed_str()))) };
    code::OK
}

/// The entry of the table that asks this.
macro_rules! entry {
    ($question:literal) => {{
        unsafe extern "C" fn call(context: u64, arguments: abi::Str, call: *mut abi::HostCall) -> i32 {
            $crate::questions::ask(context, $question, arguments, call)
        }
        abi::Question { call }
    }};
}
pub(crate) use entry;

pub(crate) unsafe extern "C" fn get_login_url(_: u64, arguments: abi::Str, result: *mut abi::Bytes) -> i32 {
    let arguments = text(arguments);
    // SAFETY: the plug-in's to be filled in.
    unsafe { result.write(bytes(&arguments)) };
    if arguments.contains("bad") { code::PARAM } else { code::OK }
}

pub(crate) unsafe extern "C" fn generate_hash(_: u64, data: abi::Str, result: *mut abi::Bytes) -> i32 {
    // SAFETY: the plug-in's to be filled in.
    unsafe { result.write(bytes(&format!("{{LEN}}{}", data.len))) };
    code::OK
}

/// Asks in every way there is.
pub(crate) struct AsksHost {
    host: Host<Self>,
}

#[derive(Deserialize, JsonSchema)]
pub(crate) struct Nothing {}

impl Plugin for AsksHost {
    const MODULE: Module = Module::new("asks", "Asks", "").needs(&[Right::All]);
    type Parameters = Nothing;

    async fn init(host: Host<Self>, _: Nothing) -> Result<Self, InitError> {
        host.endpoints().get("/users", Self::users).add()?;
        host.endpoints().get("/clients", Self::clients).add()?;
        host.endpoints().get("/blocking", Self::blocking).add()?;
        host.endpoints().well_known("asks", Self::blocking).auth(Auth::None).add()?;
        Ok(Self { host })
    }
}

fn show<T: std::fmt::Debug>(answer: Result<T, HostError>) -> String {
    match answer {
        Ok(answer) => format!("{answer:?}\n"),
        Err(error) => format!("{error}\n"),
    }
}

impl AsksHost {
    async fn users(&self, _: Request) -> Result<Response, Error> {
        let users = self.host.users();
        let fields = UserFields {
            name: Some("D".to_owned()),
            enabled: Some(false),
            password: Some("secret".to_owned()),
            properties: [("phone".to_owned(), Value::Null)].into_iter().collect(),
            ..UserFields::default()
        };
        assert!(!format!("{fields:?}").contains("secret"));
        let mut answers = String::new();
        answers += &show(users.check("dave", Some("right"), &["a", "b"]).await);
        answers += &show(users.check("dave", Some("wrong"), &[]).await);
        answers += &show(users.check("nobody", None, &[]).await);
        answers += &show(users.get("nobody").await);
        answers += &show(users.profile("dave").await);
        answers += &show(users.list("dave", 2, 9).await.map(|users| users.len()));
        answers += &show(users.errors_to_add("dave", &fields).await);
        answers += &show(users.errors_to_set("dave", &fields).await);
        answers += &show(users.add("dave", &fields).await);
        answers += &show(users.set("dave", &UserFields::default()).await);
        answers += &show(users.delete("nobody").await);
        answers += &show(users.set_password("dave", "new").await);
        Ok(Response::text(answers))
    }

    async fn clients(&self, _: Request) -> Result<Response, Error> {
        let clients = self.host.clients();
        let fields = ClientFields {
            client_secret: Some(None),
            password: Some(Some("secret".to_owned())),
            redirect_uri: Some(vec!["https://x/".to_owned()]),
            ..ClientFields::default()
        };
        assert!(!format!("{fields:?}").contains("secret"));
        let mut answers = String::new();
        answers += &show(clients.check("app", Some("s")).await);
        answers += &show(clients.check("none", None).await);
        answers += &show(clients.granted_scopes("app", "dave", &["a"]).await);
        answers += &show(clients.get("none").await);
        answers += &show(clients.list("app", 0, 1).await.map(|clients| clients.len()));
        answers += &show(clients.errors_to_add("app", &fields).await);
        answers += &show(clients.errors_to_set("app", &fields).await);
        answers += &show(clients.add("app", &fields).await);
        answers += &show(clients.set("none", &fields).await);
        answers += &show(clients.delete("app").await);
        Ok(Response::text(answers))
    }

    fn blocking(&self, _: &Request) -> Result<Response, Error> {
        let login = Login {
            client_id: Some("app"),
            scopes: &["a", "b"],
            callback_url: None,
            parameters: BTreeMap::from([("prompt", "login")]),
        };
        let bad = Login { callback_url: Some("bad"), ..Login::default() };
        let answers = [
            show(self.host.users().get("dave").blocking()),
            show(self.host.clients().get("app").blocking()),
            show(self.host.users().set_password("nobody", "").blocking()),
            show(self.host.login_url(&login)),
            show(self.host.login_url(&bad)),
            show(self.host.generate_hash([0, 255])),
        ];
        Ok(Response::text(answers.concat()))
    }
}

fn body(path: &'static str) -> (String, Vec<String>) {
    let library = Library::load();
    let asks = library.init("asks", "{}").unwrap();
    let body = match asks.call(Asked::to(path)).0 {
        Outcome::Ready { body, .. } => body,
        other => panic!("{other}"),
    };
    let asked = with_state(|state| state.asked.remove(&asks.context())).unwrap_or_default();
    (body, asked)
}

#[test]
fn users_are_asked_for_as_the_border_says() {
    let (answers, asked) = body("/users");
    expect![[r#"
        ValidUser { user: UserRecord { username: "dave", name: "Dave", email: "d@x", scope: ["a"], enabled: true, source: Some("database"), properties: {"phone": Number(1)} }, scope_list: ["a"] }
        the credentials do not suffice: wrong
        the host knows no such thing: nobody
        None
        Some(UserRecord { username: "dave", name: "", email: "", scope: [], enabled: false, source: None, properties: {} })
        1
        ["name: no"]
        ["name: no"]
        ()
        ()
        the host knows no such thing: nobody
        ()
    "#]].assert_eq(&answers);
    expect![[r#"
        check_user_valid {"password":"right","scope_list":["a","b"],"username":"dave"}
        check_user_valid {"password":"wrong","scope_list":[],"username":"dave"}
        check_user_valid {"password":null,"scope_list":[],"username":"nobody"}
        get_user {"username":"nobody"}
        get_user_profile {"username":"dave"}
        get_user_list {"limit":9,"offset":2,"pattern":"dave"}
        is_user_valid {"add":true,"user":{"enabled":false,"name":"D","password":"secret","phone":null},"username":"dave"}
        is_user_valid {"user":{"enabled":false,"name":"D","password":"secret","phone":null},"username":"dave"}
        add_user {"user":{"enabled":false,"name":"D","password":"secret","phone":null,"username":"dave"}}
        set_user {"user":{},"username":"dave"}
        delete_user {"username":"nobody"}
        user_update_password {"password":"new","username":"dave"}"#]].assert_eq(&asked.join("\n"));
}

#[test]
fn clients_are_asked_for_as_the_border_says() {
    let (answers, asked) = body("/clients");
    expect![[r#"
        ClientRecord { client_id: "app", name: "App", description: "", confidential: true, authorization_type: ["code"], redirect_uri: ["https://x/"], scope: [], enabled: true, source: "database", properties: {"more": Array [Number(1)]} }
        the host knows no such thing: nobody
        GrantedScopes { client: ClientName { client_id: "app", name: "App" }, scope: [GrantedScope { name: "a", display_name: "A", description: "", password_required: true, granted: false }] }
        None
        1
        ["name: no"]
        ["name: no"]
        ()
        the host knows no such thing: nobody
        the instance was not granted the right
    "#]].assert_eq(&answers);
    expect![[r#"
        check_client_valid {"client_id":"app","password":"s"}
        check_client_valid {"client_id":"none","password":null}
        get_client_granted_scopes {"client_id":"app","scope_list":["a"],"username":"dave"}
        get_client {"client_id":"none"}
        get_client_list {"limit":1,"offset":0,"pattern":"app"}
        is_client_valid {"add":true,"client":{"client_secret":null,"password":"secret","redirect_uri":["https://x/"]},"client_id":"app"}
        is_client_valid {"client":{"client_secret":null,"password":"secret","redirect_uri":["https://x/"]},"client_id":"app"}
        add_client {"client":{"client_id":"app","client_secret":null,"password":"secret","redirect_uri":["https://x/"]}}
        set_client {"client":{"client_secret":null,"password":"secret","redirect_uri":["https://x/"]},"client_id":"none"}
        delete_client {"client_id":"app"}"#]].assert_eq(&asked.join("\n"));
}

#[test]
fn some_questions_need_no_wait() {
    expect![[r#"
        Some(UserRecord { username: "dave", name: "Dave", email: "d@x", scope: ["a"], enabled: true, source: Some("database"), properties: {"phone": Number(1)} })
        Some(ClientRecord { client_id: "app", name: "App", description: "", confidential: true, authorization_type: ["code"], redirect_uri: ["https://x/"], scope: [], enabled: true, source: "database", properties: {"more": Array [Number(1)]} })
        the host knows no such thing: nobody
        "{\"client_id\":\"app\",\"scope_list\":[\"a\",\"b\"],\"parameters\":{\"prompt\":\"login\"}}"
        the host refuses an argument: {"callback_url":"bad","parameters":{}}
        "{LEN}2"
    "#]].assert_eq(&body("/blocking").0);
}

#[test]
fn a_well_known_name_crosses_as_a_path() {
    let library = Library::load();
    let asks = library.init("asks", "{}").unwrap();
    let endpoint = asks.endpoint("/.well-known/asks");
    assert_eq!((endpoint.method.as_str(), endpoint.auth.as_str()), ("GET", "none"));
}
