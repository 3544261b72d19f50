//! The fake host: that it is as strict as the host, and lets nothing pass that a host would not.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests, down to their helpers")]

use std::sync::Mutex;
use std::time::{Duration, Instant};

use porth_plugin::prelude::*;
use porth_plugin::serde_json::Value;
use porth_plugin::testing::{TestClient, TestHost, TestInstance, TestLimits, TestScheme, TestScope, TestUser};
use porth_plugin::{Counter, UserFields};

#[derive(Deserialize, JsonSchema)]
struct Parameters {
    #[serde(default)]
    refuse: Option<String>,
    #[serde(default)]
    hoard: bool,
}

struct Everything {
    host: Host<Self>,
    counter: Counter,
    hoard: Option<Mutex<Vec<Request>>>,
}

impl Plugin for Everything {
    const MODULE: Module = Module::new("everything", "Everything", "Does a bit of each")
        .needs(&[
            Right::Sessions,
            Right::UsersRead,
            Right::UsersWrite,
            Right::Schemes,
            Right::ClientsRead,
            Right::Grants,
        ])
        .documents(2, &[("things", &["size"])]);
    type Parameters = Parameters;

    async fn init(host: Host<Self>, parameters: Parameters) -> Result<Self, InitError> {
        if let Some(reason) = parameters.refuse {
            return Err(InitError::parameters([format!("refuse: {reason}"), "and more".to_owned()]));
        }
        let endpoints = host.endpoints();
        endpoints.get("/timer", Self::timer).auth(Auth::None).deadline(Duration::from_secs(90)).add()?;
        endpoints.get("/late", Self::late).auth(Auth::None).deadline(Duration::from_secs(1)).add()?;
        endpoints.get("/blocking", Self::blocking).auth(Auth::None).add()?;
        endpoints.get("/short", Self::blocking_short).auth(Auth::None).short().add()?;
        endpoints.get("/panic", Self::panic).auth(Auth::None).add()?;
        endpoints.get("/hoard", Self::keep).auth(Auth::None).add()?;
        endpoints.get("/admin", Self::who).add()?;
        endpoints.get("/session", Self::who).auth(Auth::Session).add()?;
        endpoints.get("/scope", Self::who).auth(Auth::Scope("mail")).add()?;
        endpoints.get("/client", Self::who).auth(Auth::Client).add()?;
        endpoints.post("/echo", Self::echo).auth(Auth::None).body_bytes_max(8).stream_body().add()?;
        endpoints.post("/whole", Self::whole).auth(Auth::None).body_bytes_max(8).add()?;
        endpoints.get("/chain", Self::skip).auth(Auth::None).priority(1).add()?;
        endpoints.get("/chain", Self::who).auth(Auth::None).priority(2).add()?;
        endpoints.get("/people", Self::people).auth(Auth::None).add()?;
        endpoints.post("/keep", Self::keep_one).auth(Auth::None).add()?;
        endpoints.get("/things", Self::things).auth(Auth::None).add()?;
        let counter = host.metrics().counter("asked_total", "Questions")?;
        Ok(Self { host, counter, hoard: parameters.hoard.then(Mutex::default) })
    }

    async fn migrate(from: u64, documents: Documents) -> Result<Vec<Operation>, InitError> {
        let things = documents.collection::<Value>("things");
        let mut changes = Vec::new();
        for mut thing in things.list().all().await? {
            thing.value["size"] = json!(from);
            changes.push(things.update(&thing.key, &thing.value, thing.version).into());
        }
        Ok(changes)
    }
}

impl Everything {
    async fn timer(&self, _: Request) -> Result<Response, Error> {
        self.host.timer(Duration::from_secs(60)).await?;
        Ok(Response::text("rang"))
    }

    async fn late(&self, _: Request) -> Result<Response, Error> {
        self.host.timer(Duration::from_secs(1_000_000)).await?;
        Ok(Response::text("rang"))
    }

    fn blocking(&self, _: &Request) -> Result<Response, Error> {
        let found = self.host.documents().collection::<Value>("things").get("a").blocking()?;
        Response::json(&found.map(|found| found.value))
    }

    fn blocking_short(&self, request: &Request) -> Result<Response, Error> {
        self.blocking(request)
    }

    async fn panic(&self, _: Request) -> Result<Response, Error> {
        panic!("on purpose");
    }

    async fn keep(&self, request: Request) -> Result<Response, Error> {
        if let Some(hoard) = &self.hoard {
            // Not even dropped by `close`.
            std::mem::forget(request.clone());
            hoard.lock().unwrap().push(request);
        }
        Ok(Response::empty(204))
    }

    async fn who(&self, request: Request) -> Result<Response, Error> {
        self.counter.increment(&[("path", request.path())]);
        Ok(Response::text(format!("{:?}", request.caller())))
    }

    async fn echo(&self, request: Request) -> Result<Response, Error> {
        let (mut body, mut text) = (request.body_stream(), String::new());
        while let Some(piece) = body.next().await? {
            text.push_str(&format!("[{}]", String::from_utf8_lossy(&piece)));
        }
        Ok(Response::text(text))
    }

    async fn whole(&self, request: Request) -> Result<Response, Error> {
        Ok(Response::text(request.body_text()?.to_owned()))
    }

    async fn skip(&self, _: Request) -> Result<Response, Error> {
        Ok(Response::next())
    }

    async fn people(&self, request: Request) -> Result<Response, Error> {
        let users = self.host.users();
        users.add("Bob", &UserFields { email: Some("bob@x".to_owned()), ..UserFields::default() }).await?;
        let twice = users.add("bob", &UserFields::default()).await.unwrap_err().to_string();
        let names: Vec<_> = users.list("", 0, 10).await?.into_iter().map(|user| user.username).collect();
        let right = users.check("ann", Some("secret"), &["mail"]).await?.scope_list;
        let wrong = users.check("ann", Some("other"), &[]).await.is_err();
        let left = request.session().used("mail").await.is_ok();
        let standing = request.session().standing("mail other").await?;
        let missing: Vec<String> = standing.missing.iter().map(|(scope, what)| format!("{scope} {what:?}")).collect();
        let scheme = self.host.schemes().can_use("code", "ann").await? == CanUse::Registered;
        let granted = self.host.clients().granted_scopes("app", "ann", &["mail", "other"]).await?.scope;
        Response::json(
            &json!({ "twice": twice, "names": names, "right": right, "wrong": wrong, "left": left, "missing": missing,
            "scheme": scheme, "granted": granted[0].granted, "denied": self.host.clients().delete("app").await.is_err() }),
        )
    }

    async fn keep_one(&self, request: Request) -> Result<Response, Error> {
        #[derive(Deserialize)]
        struct Query {
            r#as: Option<String>,
            not: Option<String>,
        }
        let Query { r#as: key, not } = request.query_as()?;
        let kept = self.host.documents().collection::<String>("kept");
        let (key, value) = (key.unwrap_or_else(|| "a".to_owned()), "a value".to_owned());
        match not {
            None => drop(kept.put(&key, &value).await?),
            Some(not) => {
                self.host.documents().apply([kept.put(&key, &value).into(), kept.delete(&not).into()]).await?;
            }
        }
        Ok(Response::text("kept"))
    }

    async fn things(&self, _: Request) -> Result<Response, Error> {
        let things = self.host.documents().collection::<Value>("things");
        things.put("code", &json!({ "size": 9 })).expires_in(Duration::from_secs(60)).await?;
        let states = [things.consume("code").await?, things.consume("code").await?, things.consume("none").await?];
        let states: Vec<String> = states.iter().map(|state| format!("{state:?}").chars().take(4).collect()).collect();
        let small = things.list().field("size").below(5).await?.documents.len();
        let unknown = things.list().field("colour").await.unwrap_err().to_string();
        let both = self.host.documents().apply([things.put("x", &json!(1)).into(), things.delete("y").into()]);
        let both = both.await.unwrap_err().to_string();
        let x = things.get("x").await?.is_none();
        Response::json(&json!({ "states": states, "small": small, "unknown": unknown, "both": both, "x": x }))
    }
}

export_plugin!(Everything);

fn started(host: &TestHost) -> TestInstance {
    host.start(json!({})).unwrap()
}

#[test]
fn the_clock_is_the_tests() {
    let host = TestHost::new(&PORTH_PLUGIN_V1);
    let instance = started(&host);
    let began = Instant::now();
    let asked = instance.get("/timer");
    let waiting = std::thread::spawn(move || asked.send().text());
    while !waiting.is_finished() {
        // More than the timer needs, less than the deadline: it may not wait yet.
        host.advance(Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(waiting.join().unwrap(), "rang");
    assert!(began.elapsed() < Duration::from_secs(30), "nobody waits a minute");
}

#[test]
fn a_deadline_passes_and_a_client_leaves() {
    let host = TestHost::new(&PORTH_PLUGIN_V1);
    let instance = started(&host);
    assert_eq!(instance.get("/timer").cancelled().send().status(), 499);
    host.fail_always("timer", HostError::Busy("no timers".to_owned()));
    assert_eq!(instance.get("/timer").send().status(), 503);
    host.fail_no_more("timer");
    let asked = instance.get("/late");
    let waiting = std::thread::spawn(move || asked.send().status());
    while !waiting.is_finished() {
        host.advance(Duration::from_secs(2));
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(waiting.join().unwrap(), 504);
    // Its future was dropped, and the timer with it.
    instance.close().unwrap();
}

#[test]
fn blocking_forms_work_where_they_may() {
    let host = TestHost::new(&PORTH_PLUGIN_V1);
    host.documents("everything", 2, &[("things", "a", json!({ "size": 1 }))]);
    let instance = started(&host);
    assert_eq!(instance.get("/blocking").send().json(), json!({ "size": 1 }));
    assert_eq!(instance.get("/short").send().status(), 500);
    assert!(host.has_logged("this thread must not block"), "{:?}", host.log());
}

#[test]
fn a_panic_is_an_answer_and_is_logged() {
    let host = TestHost::new(&PORTH_PLUGIN_V1);
    let instance = started(&host);
    let answer = instance.get("/panic").send();
    assert_eq!((answer.status(), answer.json()["code"].clone()), (500, json!("plugin_panicked")));
    assert!(host.has_logged("panicked: on purpose"), "{:?}", host.log());
    assert!(instance.panics() > 0);
}

#[test]
fn what_is_kept_after_close_is_told() {
    let host = TestHost::new(&PORTH_PLUGIN_V1);
    let hoarder = host.start(json!({ "hoard": true })).unwrap();
    assert_eq!(hoarder.get("/hoard").send().status(), 204);
    let left = hoarder.close().unwrap_err();
    assert!(left[0].starts_with("1 requests are still held"), "{left:?}");
}

#[test]
fn callers_are_let_in_as_the_endpoints_say() {
    let host = TestHost::new(&PORTH_PLUGIN_V1);
    host.user(TestUser::new("ann").scopes(["mail"])).user(TestUser::new("root").scopes(["g_admin"]));
    host.user(TestUser::new("gone").disabled()).client(TestClient::new("app").secret("s"));
    let instance = started(&host);
    let ask = |path: &str, by: &str| {
        let request = instance.get(path);
        let answer = match by {
            "nobody" => request,
            "key" => request.key("k"),
            "app" => request.client("app", "s"),
            "not app" => request.client("app", "x"),
            user => request.session(user),
        };
        let answer = answer.send();
        if answer.status() == 200 { answer.text() } else { answer.status().to_string() }
    };
    for (path, by, expected) in [
        ("/admin", "nobody", "401"),
        ("/admin", "ann", "403"),
        ("/admin", "key", "Key(\"k\")"),
        ("/admin", "root", "User(\"root\")"),
        ("/session", "nobody", "401"),
        ("/session", "gone", "401"),
        ("/session", "ann", "User(\"ann\")"),
        ("/scope", "root", "403"),
        ("/scope", "ann", "User(\"ann\")"),
        ("/client", "app", "Client(\"app\")"),
        ("/client", "not app", "401"),
        ("/chain", "ann", "None"),
        ("/none", "key", "404"),
    ] {
        assert_eq!(ask(path, by), expected, "{path} by {by}");
    }
    assert_eq!(instance.post("/admin").send().status(), 405);
    assert_eq!(instance.request("HEAD", "/chain").send().text(), "");
    host.scope(TestScope::new("mail").unsatisfied());
    assert_eq!(ask("/scope", "ann"), "403");
    assert_eq!(instance.metric("asked_total", &[("path", "/session")]), Some(1.0));
    assert_eq!(instance.metric("asked_total", &[]), None);
}

#[test]
fn bodies_come_whole_or_in_pieces() {
    let host = TestHost::new(&PORTH_PLUGIN_V1);
    let instance = started(&host);
    assert_eq!(instance.post("/echo").pieces(["one", "two"]).send().text(), "[one][two]");
    assert_eq!(instance.post("/echo").pieces(["one", "and two"]).send().status(), 413);
    assert_eq!(instance.post("/echo").pieces(["one"]).cut_off().send().status(), 400);
    assert_eq!(instance.post("/whole").pieces(["one", "two"]).send().text(), "onetwo");
    assert_eq!(instance.post("/whole").body("much too much").send().status(), 413);
}

#[test]
fn people_are_asked_about_by_right() {
    let host = TestHost::new(&PORTH_PLUGIN_V1);
    host.user(TestUser::new("ann").password("secret").scopes(["mail"])).client(TestClient::new("app"));
    host.scope(TestScope::new("mail").uses(1)).grant("ann", "app", &["mail"]);
    host.scheme(TestScheme::new("code").registered("ann", json!(null)));
    let instance = started(&host);
    assert_eq!(
        instance.get("/people").session("ann").send().json(),
        json!({ "twice": "the host refuses an argument: username: there is a user `bob` already",
            "names": ["ann", "bob"], "right": ["mail"], "wrong": true, "left": true,
            "missing": ["mail Password", "other Scope"], "scheme": true, "granted": true,
            "denied": true })
    );
    let poor = host.instance("everything").named("poor").granted(&[Right::UsersRead]).start(json!({})).unwrap();
    assert_eq!(poor.get("/people").session("ann").send().status(), 500);
}

#[test]
fn documents_follow_the_rules_of_the_store() {
    let host = TestHost::new(&PORTH_PLUGIN_V1);
    host.documents("everything", 1, &[("things", "a", json!({})), ("things", "b", json!({}))]);
    let instance = started(&host);
    assert_eq!(host.document("everything", "things", "a"), Some(json!({ "size": 1 })), "migrated once, from 1");
    assert_eq!(
        instance.get("/things").send().json(),
        json!({ "states": ["Fres", "Used", "Abse"], "small": 2, "x": true,
            "unknown": "the host refuses an argument: the module does not declare the index field `colour` of `things`",
            "both": "the host knows no such thing: operation 1 (counted from 0): there is no such document" })
    );
    host.documents("later", 3, &[]);
    let refused = host.instance("everything").named("later").start(json!({})).unwrap_err();
    assert!(refused[0].contains("use the newer library"), "{refused:?}");
}

#[test]
fn all_that_is_wrong_with_parameters_is_told() {
    let host = TestHost::new(&PORTH_PLUGIN_V1);
    assert_eq!(host.start(json!({ "refuse": "no" })).unwrap_err(), ["refuse: no", "and more"]);
    assert_eq!(host.start(json!({ "hoard": 1 })).unwrap_err(), [r#"parameters/hoard: 1 is not of type "boolean""#]);
    assert_eq!(host.start(json!([])).unwrap_err(), ["parameters: expected a JSON object"]);
}

/// Many at once, awaited on one thread.
#[test]
fn requests_can_be_awaited() {
    let host = TestHost::of::<Everything>();
    let instance = started(&host);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let all: Vec<_> = (0..50).map(|_| instance.get("/chain").into_future()).collect();
        for one in all {
            assert_eq!(one.await.status(), 200);
        }
    });
    assert_eq!(instance.metric("asked_total", &[("path", "/chain")]), Some(50.0));
}

#[test]
fn quotas_are_the_hosts() {
    let host = TestHost::new(&PORTH_PLUGIN_V1);
    host.limits(TestLimits { documents_max: 1, body_bytes_max: 3, ..TestLimits::default() });
    let instance = started(&host);
    assert_eq!(instance.post("/keep").send().text(), "kept");
    assert_eq!(instance.post("/keep").send().text(), "kept", "the same one");
    assert_eq!(instance.post("/keep?as=b").send().status(), 503);
    let both = instance.post("/keep?as=b&not=a").send();
    assert_eq!(both.text(), "kept", "what frees as much as it takes");
    host.limits(TestLimits { documents_bytes_max: 20, ..TestLimits::default() });
    assert_eq!(instance.post("/keep?as=a").send().status(), 503);
    host.limits(TestLimits { document_bytes_max: 3, ..TestLimits::default() });
    let large = instance.post("/keep?as=a").send();
    assert!(large.status() == 500 && host.has_logged("a document may have 3"), "{large:?}");
}

#[test]
fn sessions_end_and_proofs_grow_old() {
    let host = TestHost::new(&PORTH_PLUGIN_V1);
    host.user(TestUser::new("ann").scopes(["mail"])).session_ends("Ann", Duration::from_secs(3600));
    host.scope(TestScope::new("mail").max_age(Duration::from_secs(60)));
    let instance = started(&host);
    let statuses = || ["/scope", "/session"].map(|path| instance.get(path).session("ann").send().status());
    assert_eq!(statuses(), [200, 200]);
    host.advance(Duration::from_secs(61));
    assert_eq!(statuses(), [403, 200]);
    host.advance(Duration::from_secs(3600));
    assert_eq!(statuses(), [401, 401]);
}

#[test]
fn an_instance_that_panics_all_the_time_rests() {
    let host = TestHost::new(&PORTH_PLUGIN_V1);
    host.limits(TestLimits { panics_max: 2, ..TestLimits::default() });
    let instance = started(&host);
    let statuses = |paths: [&str; 3]| paths.map(|path| instance.get(path).send().status());
    assert_eq!(statuses(["/panic", "/panic", "/chain"]), [500, 500, 503]);
    host.advance(Duration::from_secs(31));
    assert_eq!(statuses(["/panic", "/chain", "/chain"]), [500, 503, 503], "one may try it");
    host.advance(Duration::from_secs(31));
    assert_eq!(statuses(["/chain", "/chain", "/panic"]), [200, 200, 500]);
}

#[test]
fn failures_take_place_or_are_told() {
    let host = TestHost::new(&PORTH_PLUGIN_V1);
    let instance = started(&host);
    host.fail("document_put", HostError::Store("gone".to_owned()));
    host.fail("document_put", HostError::Busy("later".to_owned()));
    assert_eq!(host.failures_left(), ["document_put", "document_put"]);
    let asked = [(); 3].map(|()| instance.post("/keep").send().status());
    assert_eq!((asked, host.failures_left()), ([500, 503, 200], Vec::new()));
    assert_eq!(host.document("everything", "kept", "a"), Some(json!("a value")));
    let wrong = std::panic::catch_unwind(|| {
        TestHost::new(&PORTH_PLUGIN_V1).fail("documents_put", HostError::Store(String::new()))
    });
    assert!(wrong.is_err(), "it would test nothing");
}
