//! Notes that outlast the process: documents in the host's store, and HTTP's way of not overwriting each other.
//!
//! Who reads a note gets its version as an entity tag. Who changes it says which version that is meant to replace, and
//! learns when somebody else was faster: 412. Who says nothing is asked to: 428. (RFC 9110, sections 8.8.3 and 13.1;
//! RFC 6585, section 3.) The rules of these fields are in `conditions`. What the endpoints take and answer is said once more
//! for integrators, who read it at `/docs`.
#![forbid(unsafe_code)]

mod conditions;

use std::time::{Duration, SystemTime};

use porth_plugin::prelude::*;

use crate::conditions::{Condition, entity_tag, is_known};

/// Nothing is configured.
#[derive(Deserialize, JsonSchema)]
struct Parameters {}

struct Notes {
    notes: Collection<Note>,
}

/// What is kept of a note.
#[derive(Deserialize, Serialize)]
struct Note {
    owner: String,
    text: String,
    #[serde(default)]
    tags: Vec<String>,
}

/// What a client sends.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewNote {
    owner: String,
    text: String,
    #[serde(default)]
    tags: Vec<String>,
    /// After so many seconds the note is gone.
    expires_in_s: Option<u64>,
}

/// What a client gets.
#[derive(Serialize, JsonSchema)]
struct Shown {
    id: String,
    owner: String,
    text: String,
    tags: Vec<String>,
    /// In seconds since 1970.
    expires_at_s: Option<u64>,
}

/// Some notes of somebody.
#[derive(Serialize, JsonSchema)]
struct Page {
    notes: Vec<Shown>,
    /// What to ask for as `after`, when there are more.
    next: Option<String>,
}

impl Plugin for Notes {
    // Version 1 of the documents; they are listed by their member `owner`.
    const MODULE: Module = Module::new("notes", "Notes", "Keeps notes").documents(1, &[("notes", &["owner"])]);
    type Parameters = Parameters;

    async fn init(host: Host<Self>, _: Parameters) -> Result<Self, InitError> {
        let endpoints = host.endpoints();
        endpoints.get("/notes", Self::list).auth(Auth::None).add()?;
        endpoints.get("/notes/{id}", Self::read).auth(Auth::None).add()?;
        endpoints.put("/notes/{id}", Self::write).auth(Auth::None).add()?;
        endpoints.delete("/notes/{id}", Self::delete).auth(Auth::None).add()?;
        Ok(Self { notes: host.documents().collection("notes") })
    }
}

impl Notes {
    /// `GET /notes?owner=ann`: her notes, a page at a time.
    async fn list(&self, request: Request) -> Result<Response, Error> {
        #[derive(Deserialize)]
        struct Query {
            owner: String,
            after: Option<String>,
            limit: Option<usize>,
        }
        let Query { owner, after, limit } = request.query_as()?;
        let mut list = self.notes.list().field("owner").equals(owner).limit(limit.unwrap_or(20));
        if let Some(after) = &after {
            list = list.after(after);
        }
        let page = list.await.map_err(refused)?;
        Response::json(&Page { notes: page.documents.into_iter().map(Shown::of).collect(), next: page.next })
    }

    /// `GET /notes/{id}`: 200 with its version, or 304 for who has that already.
    async fn read(&self, request: Request) -> Result<Response, Error> {
        let note = self.find(request.param("id")?).await?;
        if is_known(request.header("if-none-match"), note.version) {
            return Response::empty(304).with_header("etag", entity_tag(note.version));
        }
        let tag = entity_tag(note.version);
        Response::json(&Shown::of(note))?.with_header("etag", tag)
    }

    /// `PUT /notes/{id}`: with `If-None-Match: *` a new note, with `If-Match` a change of one.
    async fn write(&self, request: Request) -> Result<Response, Error> {
        let id = request.param("id")?;
        let NewNote { owner, text, tags, expires_in_s } = request.json()?;
        let note = Note { owner, text, tags };
        let mut put = match Condition::of(&request)? {
            Condition::New => self.notes.insert(id, &note),
            Condition::Any => self.notes.update(id, &note, self.find(id).await.map_err(gone)?.version),
            Condition::OneOf(versions) => self.notes.update(id, &note, self.present(id, &versions).await?),
        };
        if let Some(seconds) = expires_in_s {
            let at = SystemTime::now().checked_add(Duration::from_secs(seconds));
            put = put.expires_at(at.ok_or_else(|| Error::bad_request("`expires_in_s` is too far away."))?);
        }
        let is_new = matches!(Condition::of(&request)?, Condition::New);
        let version = put.await.map_err(refused)?;
        Response::empty(if is_new { 201 } else { 204 }).with_header("etag", entity_tag(version))
    }

    /// `DELETE /notes/{id}` with `If-Match`.
    async fn delete(&self, request: Request) -> Result<Response, Error> {
        let id = request.param("id")?;
        let version = match Condition::of(&request)? {
            Condition::New => return Err(Error::bad_request("A note that does not exist cannot be deleted.")),
            Condition::Any => self.find(id).await.map_err(gone)?.version,
            Condition::OneOf(versions) => self.present(id, &versions).await?,
        };
        self.notes.delete(id).version(version).await.map_err(refused)?;
        Ok(Response::empty(204))
    }

    async fn find(&self, id: &str) -> Result<Document<Note>, Error> {
        let note = self.notes.get(id).await.map_err(refused)?;
        note.ok_or_else(|| Error::not_found("There is no such note."))
    }

    /// The note's version, if it is one of these.
    async fn present(&self, id: &str, versions: &[u64]) -> Result<u64, Error> {
        // One version is the store's to compare: nothing can come between.
        if let [version] = versions {
            return Ok(*version);
        }
        let version = self.find(id).await.map_err(gone)?.version;
        if versions.contains(&version) { Ok(version) } else { Err(changed()) }
    }
}

impl Shown {
    fn of(note: Document<Note>) -> Self {
        let Document { key, value: Note { owner, text, tags }, expires_at, .. } = note;
        let expires_at_s =
            expires_at.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok()).map(|at| at.as_secs());
        Self { id: key, owner, text, tags, expires_at_s }
    }
}

impl OpenApi for Notes {
    async fn openapi(&self) -> Result<ApiDocument, HookError> {
        let mut api = ApiDocument::new();
        api.operation("get", "/notes", "Somebody's notes, a page at a time")
            .query::<String>("owner", "Whose.")
            .query::<Option<String>>("after", "The `next` of the page before.")
            .query::<Option<usize>>("limit", "How many at most; 20 unless it is said.")
            .answers::<Page>(200)
            .says(400, "No such page");
        api.operation("get", "/notes/{id}", "A note, with its version as entity tag")
            .header::<Option<String>>("If-None-Match", "The entity tag of what is known already.")
            .answers::<Shown>(200)
            .says(304, "It is what is known")
            .says(400, "No such id")
            .says(404, "There is none");
        api.operation("put", "/notes/{id}", "Adds or replaces a note")
            .header::<Option<String>>("If-Match", "The entity tag of what is replaced.")
            .header::<Option<String>>("If-None-Match", "`*` for a new note.")
            .takes::<NewNote>()
            .says(201, "It is there")
            .says(204, "It is replaced")
            .says(400, "It cannot be")
            .says(412, "The note is another by now")
            .says(413, "It is too large")
            .says(428, "Neither `If-Match` nor `If-None-Match`")
            .says(503, "There is no room for more");
        api.operation("delete", "/notes/{id}", "Deletes a note")
            .header::<Option<String>>("If-Match", "The entity tag of what is deleted.")
            .says(204, "It is gone")
            .says(400, "It cannot be")
            .says(412, "The note is another by now")
            .says(428, "No `If-Match`");
        Ok(api)
    }
}

/// What a client is told when the host refuses.
fn refused(error: HostError) -> Error {
    match error {
        HostError::Conflict(_) => changed(),
        // An id, an owner or a page that cannot be.
        HostError::Parameter(detail) => Error::bad_request(detail),
        other => other.into(),
    }
}

/// RFC 9110, section 13.1.1: without a note no entity tag matches.
fn gone(error: Error) -> Error {
    if error.status() == 404 { changed() } else { error }
}

fn changed() -> Error {
    Error::new(412, "The note is another by now: read it again.")
}

export_plugin!(Notes: OpenApi);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use porth_plugin::testing::{TestHost, TestInstance, TestResponse};

    use super::*;

    fn new_note(notes: &TestInstance, id: &str, note: &porth_plugin::serde_json::Value) -> TestResponse {
        notes.put(&format!("/notes/{id}")).header("if-none-match", "*").json(note).send()
    }

    #[test]
    fn who_is_slower_is_told() {
        let host = TestHost::new(&PORTH_PLUGIN_V1);
        let notes = host.start(json!({})).unwrap();
        let first = new_note(&notes, "a", &json!({ "owner": "ann", "text": "Bread" }));
        assert_eq!(first.status(), 201);
        let tag = first.header("etag").unwrap();
        let write = |text: &str| {
            let note = json!({ "owner": "ann", "text": text });
            notes.put("/notes/a").header("if-match", tag).json(&note).send().status()
        };
        assert_eq!((write("Milk"), write("Beer")), (204, 412));
        assert_eq!(host.document("notes", "notes", "a").unwrap()["text"], "Milk");
        assert_eq!(new_note(&notes, "a", &json!({ "owner": "ann", "text": "Tea" })).status(), 412);
    }

    #[test]
    fn lists_come_in_pages_by_owner() {
        let host = TestHost::new(&PORTH_PLUGIN_V1);
        let notes = host.start(json!({})).unwrap();
        for (id, owner) in [("a", "ann"), ("b", "bob"), ("c", "ann"), ("d", "ann")] {
            assert_eq!(new_note(&notes, id, &json!({ "owner": owner, "text": "x" })).status(), 201);
        }
        let first = notes.get("/notes?owner=ann&limit=2").send().json();
        assert_eq!((&first["notes"][0]["id"], &first["notes"][1]["id"]), (&json!("a"), &json!("c")));
        let next = first["next"].as_str().unwrap();
        let second = notes.get(&format!("/notes?owner=ann&limit=2&after={next}")).send().json();
        assert_eq!((&second["notes"][0]["id"], &second["next"]), (&json!("d"), &json!(null)));
    }

    #[test]
    fn a_note_expires() {
        let host = TestHost::new(&PORTH_PLUGIN_V1);
        let notes = host.start(json!({})).unwrap();
        let note = json!({ "owner": "ann", "text": "Bread", "expires_in_s": 60 });
        assert_eq!(new_note(&notes, "a", &note).status(), 201);
        assert_eq!(notes.get("/notes/a").send().status(), 200);
        host.advance(Duration::from_secs(61));
        assert_eq!(notes.get("/notes/a").send().status(), 404);
    }

    #[test]
    fn a_full_store_is_told_apart_from_a_broken_one() {
        let host = TestHost::new(&PORTH_PLUGIN_V1);
        let notes = host.start(json!({})).unwrap();
        for (error, status) in
            [(HostError::Busy("full".to_owned()), 503), (HostError::Store("the disk".to_owned()), 500)]
        {
            host.fail("document_put", error);
            assert_eq!(new_note(&notes, "a", &json!({ "owner": "ann", "text": "x" })).status(), status);
        }
    }
}
