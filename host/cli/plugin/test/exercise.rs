//! What a module goes through in a server of its own.
//!
//! Start at [`Exercise::run`].

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use http::Method;
use serde_json::{Map, Value, json};

use super::client::{Answer, Request};
use super::endpoints::{Credentials, Endpoint};
use super::report::{Grade, Report};
use super::seen::{Seen, panics};
use super::server::{LIFECYCLE_DEADLINE, Server, Usage};
use super::{Library, params};
use crate::abi::ModuleDescription;

/// A module under test.
pub(super) struct Exercise<'a> {
    pub(super) server: &'a Server,
    pub(super) module: &'a ModuleDescription,
    pub(super) library: &'a Library,
    pub(super) report: &'a mut Report,
}

impl Exercise<'_> {
    pub(super) async fn run(&mut self, given: Option<Map<String, Value>>) {
        let schema = &self.module.parameters_schema;
        let Some(good) = given.or_else(|| params::good(schema)) else {
            let why = "nothing that fits the schema could be made up";
            self.report.found(
                Grade::Warn,
                "start",
                why,
                "give `--parameters MODULE=JSON`, or defaults and examples in the schema",
            );
            return;
        };
        self.wrong_parameters(&good).await;
        if !self.start(&good).await {
            self.odd_parameters(&good).await;
            return;
        }
        let endpoints = self.endpoints().await;
        let credentials = self.people(&endpoints).await;
        if self.module.kind == "plugin" {
            self.requests(&endpoints, &credentials).await;
            self.denied(&good, &endpoints, &credentials).await;
        } else {
            self.hooks().await;
        }
        self.under_load(&endpoints, &credentials).await;
        self.faults(&endpoints, &credentials).await;
        self.leaks().await;
        self.end().await;
        self.odd_parameters(&good).await;
    }

    fn path(&self, rest: &str) -> String {
        format!("/mod/{}/{rest}", self.module.kind)
    }

    async fn try_start(&self, name: &str, parameters: &Map<String, Value>) -> Result<Answer, String> {
        let body = json!({"module": self.module.name, "name": name, "parameters": parameters});
        self.server.admin(Method::POST, &self.path(""), Some(&body)).await
    }

    /// What the host refuses by the schema, so that `init` never sees it.
    async fn wrong_parameters(&mut self, good: &Map<String, Value>) {
        let schema = &self.module.parameters_schema;
        let bad = params::bad(schema, good);
        let mut wrong = Vec::new();
        for (what, parameters) in &bad {
            match self.try_start("wrong", parameters).await {
                Ok(answer) if answer.status == 400 => {}
                Ok(answer) => wrong.push(format!("{what}: {}", answer.says())),
                Err(error) => wrong.push(format!("{what}: {error}")),
            }
        }
        let remedy = (Grade::Fail, "the schema must say what the parameters are");
        self.report.verdict("wrong parameters", format!("{} refused", bad.len()), &wrong, remedy);
        let mut unknown = good.clone();
        unknown.insert("porth-no-such-parameter".to_owned(), json!(1));
        if params::is_permitted(schema, &unknown) {
            let remedy = "`#[serde(deny_unknown_fields)]`, or `additionalProperties: false`, finds typing errors";
            self.report.found(Grade::Note, "unknown parameters", "are ignored", remedy);
        }
    }

    async fn start(&mut self, good: &Map<String, Value>) -> bool {
        let shown = Value::Object(good.clone()).to_string();
        let log = self.server.log_end();
        let began = Instant::now();
        let started = self.try_start(INSTANCE, good).await;
        let took = began.elapsed();
        match started {
            Ok(answer) if answer.status == 200 => {
                self.report.pass("start", format!("in {} ms with {shown}", took.as_millis()));
                if took > Duration::from_secs(1) {
                    let slow = format!("{} ms", took.as_millis());
                    let remedy = "connect when the first request needs it: a server that starts waits for `init`";
                    self.report.found(Grade::Warn, "time of `init`", slow, remedy);
                }
                return true;
            }
            Ok(answer) if answer.status == 400 => {
                let remedy = "say it in the schema, too, or give `--parameters MODULE=JSON`";
                let refused = format!("`init` refuses {shown}, which the schema permits: {}", answer.says());
                self.report.found(Grade::Warn, "start", refused, remedy);
            }
            Ok(answer) => {
                let why = format!("`init` fails with {shown}: {}", answer.says());
                let remedy = if panics(&self.server.log_since(log)).is_empty() {
                    "give `--parameters MODULE=JSON` for one that can start here"
                } else {
                    "an `InitError` says why; a panic does not"
                };
                self.report.found(Grade::Fail, "start", why, remedy);
            }
            Err(error) => self.report.found(Grade::Fail, "start", error, CRASH),
        }
        false
    }

    /// Parameters that the schema permits and nobody meant: `init` takes or refuses them.
    async fn odd_parameters(&mut self, good: &Map<String, Value>) {
        let odd = params::odd(&self.module.parameters_schema, good);
        let (mut wrong, mut taken, mut refused) = (Vec::new(), 0, 0);
        for (what, parameters) in &odd {
            if wrong.len() >= ENOUGH {
                break;
            }
            let (log, child) = (self.server.log_end(), self.server.child());
            let answer = match self.try_start("odd", parameters).await {
                Ok(answer) => answer,
                Err(error) => {
                    wrong.push(format!("{what}: {error}"));
                    continue;
                }
            };
            let ended = match answer.status {
                200 => self.server.admin(Method::DELETE, &self.path("odd"), None).await,
                _ => Ok(answer.clone()),
            };
            let said = self.server.log_since(log);
            let late = said.contains("took longer than") || answer.says().contains("longer than");
            if self.server.child() != child {
                wrong.push(format!("{what}: the server crashed"));
            } else if let Err(error) = ended {
                wrong.push(format!("{what}: {error}"));
            } else if let Some(panic) = panics(&said).first() {
                wrong.push(format!("{what}: {panic}"));
            } else if late {
                wrong.push(format!("{what}: not done within {} s", LIFECYCLE_DEADLINE.as_secs()));
            } else if answer.status == 200 {
                taken += 1;
            } else {
                refused += 1;
            }
        }
        let passed = format!("{taken} taken, {refused} refused");
        let remedy = "narrow the schema, or answer an `InitError`; `init` and `close` must come to an end";
        self.report.verdict("odd parameters", passed, &wrong, (Grade::Fail, remedy));
    }

    pub(super) async fn show(&self) -> Value {
        let shown = self.server.admin(Method::GET, &self.path(INSTANCE), None).await;
        shown.map(|answer| answer.json).unwrap_or_default()
    }

    async fn endpoints(&self) -> Vec<Endpoint> {
        let shown = self.show().await;
        shown["endpoints"].as_array().into_iter().flatten().filter_map(Endpoint::read).collect()
    }

    /// Makes a user, a client and a key that every endpoint lets in.
    async fn people(&mut self, endpoints: &[Endpoint]) -> Credentials {
        let scopes = endpoints.iter().filter_map(|endpoint| endpoint.auth.strip_prefix("scope:"));
        let scopes: BTreeSet<&str> = scopes.chain(["g_profile"]).collect();
        for scope in &scopes {
            // One that is there is as good.
            let _ = self.server.admin(Method::POST, "/scope/", Some(&json!({ "name": scope }))).await;
        }
        let user =
            json!({"username": "tester", "password": PASSWORD, "scope": scopes, "enabled": true, "source": "database"});
        let _ = self.server.admin(Method::POST, "/user/", Some(&user)).await;
        let client = json!({"client_id": "tester", "client_secret": PASSWORD, "confidential": true,
            "authorization_type": ["client_credentials"], "enabled": true, "source": "database"});
        let _ = self.server.admin(Method::POST, "/client/", Some(&client)).await;
        let key = self.server.admin(Method::POST, "/local/key", Some(&json!({ "name": "tester" }))).await;
        let key = key.map(|answer| answer.json["key"].as_str().unwrap_or_default().to_owned());
        let log_in = Request {
            method: "POST".to_owned(),
            target: "/api/auth/".to_owned(),
            headers: vec![("content-type", "application/json".to_owned())],
            body: json!({"username": "tester", "password": PASSWORD}).to_string().into_bytes(),
            leaves: false,
        };
        let cookie = self.server.ask(log_in).await.ok().and_then(|answer| answer.cookie);
        let basic = base64::engine::general_purpose::STANDARD.encode(format!("tester:{PASSWORD}"));
        Credentials {
            cookie: cookie.unwrap_or_default(),
            client: format!("Basic {basic}"),
            key: format!("token {}", key.unwrap_or_default()),
        }
    }

    /// Every endpoint as it is meant, as it is not, by many at once, and by clients that leave.
    async fn requests(&mut self, endpoints: &[Endpoint], credentials: &Credentials) {
        let mut seen = Seen::default();
        let mut crashes = Vec::new();
        for endpoint in endpoints {
            let (log, child) = (self.server.log_end(), self.server.child());
            let ordinary = endpoint.ordinary(INSTANCE, credentials);
            let fails = self.ask(&mut seen, endpoint, ordinary.clone()).await;
            if self.has_crashed(child).await {
                crashes.push(endpoint.name());
                continue;
            }
            if fails {
                // It would only fail again, and each time as slowly.
                seen.note_log(endpoint, &self.server.log_since(log));
                continue;
            }
            for request in endpoint.hostile(INSTANCE, credentials) {
                self.ask(&mut seen, endpoint, request).await;
            }
            for _ in 0..ROUNDS {
                let at_once = (0..AT_ONCE).map(|_| self.server.ask(ordinary.clone()));
                for answer in futures_util::future::join_all(at_once).await {
                    seen.take(endpoint, answer);
                }
            }
            let leaving = (0..AT_ONCE).map(|_| self.server.ask(Request { leaves: true, ..ordinary.clone() }));
            drop(futures_util::future::join_all(leaving).await);
            if self.has_crashed(child).await {
                crashes.push(endpoint.name());
            }
            seen.note_log(endpoint, &self.server.log_since(log));
        }
        if endpoints.is_empty() {
            self.report.found(Grade::Note, "endpoints", "there are none", "`Host::endpoints`, in `init`");
            return;
        }
        let asked = format!("{} requests to {} endpoints", seen.asked, endpoints.len());
        self.report.verdict("crashes", format!("none in {asked}"), &crashes, (Grade::Fail, CRASH));
        let list = |set: &BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>();
        let remedy = (Grade::Fail, "`?` and an `Error` in the place of `unwrap`, indexing and `panic!`");
        self.report.verdict("panics", "none", &list(&seen.panics), remedy);
        let remedy = (Grade::Fail, "see \"What Porth refuses\" in docs/authors.md");
        self.report.verdict("answers that cannot be sent", "none", &list(&seen.malformed), remedy);
        let remedy = (Grade::Warn, "what a client sends is no failure: answer 400 and its kin");
        self.report.verdict("answers of 500", "none", &list(&seen.failed), remedy);
        let remedy = (Grade::Warn, "`.deadline(…)` for what takes long, an end for what does not come back");
        self.report.verdict("deadlines", "kept", &list(&seen.late), remedy);
        if crashes.is_empty() {
            self.report.verdict("answers", "each request has one", &list(&seen.lost), (Grade::Fail, CRASH));
        }
        self.workers().await;
    }

    /// Whether the endpoints keep the host's workers from their work.
    async fn workers(&mut self) {
        let health = self.show().await["health"].clone();
        if health["moved"].as_bool() == Some(true) {
            let remedy =
                "`.await` in place of blocking; `fn(&self, &Request)` without `.short()` for what computes or blocks";
            self.report.found(
                Grade::Fail,
                "workers of the host",
                "an endpoint kept one for more than a second",
                remedy,
            );
        } else {
            self.report.pass("workers of the host", "are not held up");
        }
        let overdue = health["threads"]["overdue"].as_u64().unwrap_or(0);
        if overdue > 0 {
            let remedy = "nobody can end a thread but its own code: give what it waits for a deadline";
            self.report.found(Grade::Warn, "threads of the instance", format!("{overdue} do not come back"), remedy);
        }
    }

    /// Asks, and answers whether that failed.
    async fn ask(&self, seen: &mut Seen, endpoint: &Endpoint, request: Request) -> bool {
        let answer = self.server.ask(request).await;
        let fails = !answer.as_ref().is_ok_and(|answer| answer.status < 500);
        seen.take(endpoint, answer);
        fails
    }

    /// Whether the process that served has crashed; then it waits until another does. One that took over because much code
    /// was retired, as it is soon of large libraries, is no crash.
    pub(super) async fn has_crashed(&self, before: Option<u32>) -> bool {
        // What has crashed is still there while the kernel writes it off.
        tokio::time::sleep(Duration::from_millis(20)).await;
        if self.server.child() == before {
            return false;
        }
        for _ in 0..200 {
            if self.server.child().is_some()
                && let Some(crashes) = self.server.crashes().await
            {
                return self.server.crashes_known.swap(crashes, Ordering::Relaxed) != crashes;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        true
    }

    /// The same with every right taken away: what the host refuses must not be fatal.
    async fn denied(&mut self, good: &Map<String, Value>, endpoints: &[Endpoint], credentials: &Credentials) {
        if self.module.needs.is_empty() {
            return;
        }
        let (log, child) = (self.server.log_end(), self.server.child());
        let change = |grants: Value| json!({"module": self.module.name, "parameters": good, "grants": grants});
        let taken = self.server.admin(Method::PUT, &self.path(INSTANCE), Some(&change(json!([])))).await;
        let mut wrong = Vec::new();
        match taken {
            Ok(answer) if answer.status < 300 => {
                let mut seen = Seen::default();
                for endpoint in endpoints {
                    self.ask(&mut seen, endpoint, endpoint.ordinary(INSTANCE, credentials)).await;
                }
                if self.has_crashed(child).await {
                    wrong.push("the server crashed".to_owned());
                }
            }
            // It may refuse to work without.
            Ok(answer) if panics(&self.server.log_since(log)).is_empty() && answer.status < 501 => {}
            Ok(answer) => wrong.push(answer.says()),
            Err(error) => wrong.push(error),
        }
        wrong.extend(panics(&self.server.log_since(log)));
        let _ = self.server.admin(Method::PUT, &self.path(INSTANCE), Some(&change(Value::Null))).await;
        let remedy = "an administrator may grant less than `needs` says: `HostError::Denied` is an answer like others";
        self.report.verdict("without its rights", "it goes on", &wrong, (Grade::Fail, remedy));
    }

    /// Modules of other kinds: the host's questions, as its routes ask them.
    async fn hooks(&mut self) {
        let (log, child) = (self.server.log_end(), self.server.child());
        let questions: &[(Method, &str, Value)] = match self.module.kind.as_str() {
            "client" => &[
                (Method::GET, "/client/?pattern=e&limit=5", Value::Null),
                (Method::GET, "/client/porth-nobody", Value::Null),
                (Method::GET, "/client/%27%22%3C%F0%9F%92%A9", Value::Null),
            ],
            "scheme" => &[(Method::GET, "/delegate/tester/profile/", Value::Null)],
            _ => &[
                (Method::GET, "/user/?pattern=e&limit=5", Value::Null),
                (Method::GET, "/user/porth-nobody", Value::Null),
                (Method::GET, "/user/tester", Value::Null),
                (Method::GET, "/user/%27%22%3C%F0%9F%92%A9", Value::Null),
            ],
        };
        let mut wrong = Vec::new();
        for (method, path, body) in questions {
            let body = Some(body).filter(|body| !body.is_null());
            match self.server.admin(method.clone(), path, body).await {
                Ok(answer) if answer.status < 500 => {}
                Ok(answer) => wrong.push(format!("{method} {path}: {}", answer.says())),
                Err(error) => wrong.push(format!("{method} {path}: {error}")),
            }
        }
        let log_in = |body: Value| Request {
            method: "POST".to_owned(),
            target: "/api/auth/".to_owned(),
            headers: vec![("content-type", "application/json".to_owned())],
            body: body.to_string().into_bytes(),
            leaves: false,
        };
        let mut asked = questions.len();
        if self.module.kind == "scheme" {
            for value in
                [json!({}), json!(null), json!({"code": "x"}), json!("text"), json!([[[]]]), json!({"code": 7})]
            {
                asked += 1;
                let body = json!({"username": "tester", "scheme_type": self.module.name, "scheme_name": INSTANCE, "value": value});
                match self.server.ask(log_in(body)).await {
                    Ok(answer) if answer.status < 500 => {}
                    Ok(answer) => wrong.push(format!("a proof of {value}: {}", answer.says())),
                    Err(error) => wrong.push(error),
                }
            }
        }
        if self.has_crashed(child).await {
            wrong.push("the server crashed".to_owned());
        }
        wrong.extend(panics(&self.server.log_since(log)));
        let remedy = "answer a `HookError` that says what is wrong";
        self.report.verdict("questions of the host", format!("{asked} answered"), &wrong, (Grade::Fail, remedy));
    }

    /// Resets and reloads while requests go on.
    async fn under_load(&mut self, endpoints: &[Endpoint], credentials: &Credentials) {
        let (log, child) = (self.server.log_end(), self.server.child());
        // One that answers well and soon.
        let mut steady = None;
        for endpoint in endpoints {
            let request = endpoint.ordinary(INSTANCE, credentials);
            let began = Instant::now();
            let answer = self.server.ask(request.clone()).await;
            if answer.is_ok_and(|answer| answer.status < 500) && began.elapsed() < Duration::from_millis(200) {
                steady = Some(request);
                break;
            }
        }
        let stop = Arc::new(AtomicBool::new(false));
        let load = (0..LOAD).map(|_| {
            let (stop, steady, address) = (Arc::clone(&stop), steady.clone(), self.server.address);
            tokio::spawn(async move {
                let (mut asked, mut wrong) = (0_usize, Vec::new());
                while let (Some(request), false) = (&steady, stop.load(Ordering::Relaxed)) {
                    asked += 1;
                    match super::client::ask(address, request.clone()).await {
                        Ok(answer) if answer.status < 500 => {}
                        Ok(answer) => wrong.push(format!("{}: {}", answer.code(), answer.says())),
                        Err(error) => wrong.push(error),
                    }
                }
                (asked, wrong)
            })
        });
        let load: Vec<_> = load.collect();
        let mut wrong = Vec::new();
        let mut slowest = Duration::ZERO;
        for _ in 0..RESETS {
            let began = Instant::now();
            let reset = self.server.admin(Method::PUT, &self.path(&format!("{INSTANCE}/reset")), None).await;
            slowest = slowest.max(began.elapsed());
            match reset {
                Ok(answer) if answer.status < 300 => {}
                Ok(answer) => wrong.push(format!("reset: {}", answer.says())),
                Err(error) => wrong.push(format!("reset: {error}")),
            }
        }
        for version in 1..=RELOADS {
            let reload = match self.library.put(&self.server.plugins, version) {
                Ok(()) => {
                    let path = format!("/admin/library/{}/reload", self.library.file);
                    self.server.admin(Method::PUT, &path, None).await
                }
                Err(error) => Err(error.to_string()),
            };
            match reload {
                // A process that took over meanwhile has the version already: `unchanged`. What is refused is 400.
                Ok(answer) if answer.status == 200 => {}
                Ok(answer) => wrong.push(format!("reload: {}", answer.says())),
                Err(error) => wrong.push(format!("reload: {error}")),
            }
        }
        stop.store(true, Ordering::Relaxed);
        let mut asked = 0;
        for task in load {
            if let Ok((count, lost)) = task.await {
                asked += count;
                wrong.extend(lost);
            }
        }
        if self.has_crashed(child).await {
            wrong.push("the server crashed".to_owned());
        }
        let said = self.server.log_since(log);
        wrong.extend(panics(&said));
        let remedy = "two instances of one name live for a moment: nothing may be held that only one can have";
        let passed = format!("{RESETS} and {RELOADS}, {asked} requests meanwhile, none lost");
        self.report.verdict("resets and reloads", passed, &wrong, (Grade::Fail, remedy));
        self.closing(slowest).await;
    }

    /// Whether what was replaced has come to its end.
    async fn closing(&mut self, slowest: Duration) {
        let mut draining = Value::Null;
        let began = Instant::now();
        while began.elapsed() < LIFECYCLE_DEADLINE * 2 {
            let shown = self.server.admin(Method::GET, &format!("/admin/library/{}", self.library.file), None).await;
            draining = shown.map(|answer| answer.json["generations"]["draining"].clone()).unwrap_or_default();
            if draining.as_array().is_some_and(Vec::is_empty) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let said = self.server.log_since(0);
        let late: Vec<String> = said
            .lines()
            .filter(|line| line.contains("took longer than") && line.contains("clos"))
            .map(|line| line.split("closing ").last().unwrap_or(line).to_owned())
            .collect();
        let mut wrong = late;
        if draining.as_array().is_none_or(|draining| !draining.is_empty()) {
            wrong.push(format!("generations {draining} do not end"));
        }
        let remedy = "`close` stops and joins what the instance has started, within the deadline (30 s in earnest)";
        self.report.verdict("close and unload", "all came to their end", &wrong, (Grade::Fail, remedy));
        if slowest > Duration::from_secs(1) {
            let slow = format!("a reset takes up to {} ms", slowest.as_millis());
            self.report.found(Grade::Warn, "time of `init` and `close`", slow, "whoever changes it waits that long");
        }
    }

    /// Whether the process has more threads, files and memory after many resets.
    async fn leaks(&mut self) {
        // What the host itself makes at first use is there by now.
        for _ in 0..3 {
            self.reset().await;
        }
        let Some(before) = self.settled().await else { return };
        for _ in 0..CYCLES {
            self.reset().await;
        }
        let Some(mut after) = self.settled().await else { return };
        for _ in 0..40 {
            if after.threads < before.threads + CYCLES / 2 && after.files < before.files + CYCLES / 2 {
                break;
            }
            // Threads of the host's own that nobody needs any more go after a while.
            tokio::time::sleep(Duration::from_millis(100)).await;
            after = self.server.usage().unwrap_or(after);
        }
        let leak = |before: usize, after: usize| after >= before + CYCLES / 2;
        let shown =
            |what: &str, before: usize, after: usize| format!("{what} {before} → {after} after {CYCLES} resets");
        let mut wrong = Vec::new();
        if leak(before.threads, after.threads) {
            wrong.push(shown("threads", before.threads, after.threads));
        }
        if leak(before.files, after.files) {
            wrong.push(shown("open files", before.files, after.files));
        }
        let remedy = "`close` joins the threads that the instance has started, and closes its files";
        self.report.verdict(
            "threads and files",
            format!("none is left after {CYCLES} resets"),
            &wrong,
            (Grade::Fail, remedy),
        );
        let grown = after.memory_kib.saturating_sub(before.memory_kib);
        if grown > CYCLES * MEMORY_KIB {
            let remedy = "something keeps what belongs to an instance: statics, `Box::leak`, threads";
            self.report.found(Grade::Warn, "memory", format!("{grown} KiB more after {CYCLES} resets"), remedy);
        } else {
            self.report.pass("memory", format!("{grown} KiB more after {CYCLES} resets"));
        }
    }

    async fn reset(&self) {
        let _ = self.server.admin(Method::PUT, &self.path(&format!("{INSTANCE}/reset")), None).await;
    }

    pub(super) async fn settled(&self) -> Option<Usage> {
        tokio::time::sleep(Duration::from_millis(200)).await;
        self.server.usage()
    }

    async fn end(&mut self) {
        let log = self.server.log_end();
        let began = Instant::now();
        let ended = self.server.admin(Method::DELETE, &self.path(INSTANCE), None).await;
        let took = began.elapsed().as_millis();
        let mut wrong = match ended {
            Ok(answer) if answer.status < 300 => Vec::new(),
            Ok(answer) => vec![answer.says()],
            Err(error) => vec![error],
        };
        wrong.extend(panics(&self.server.log_since(log)));
        let remedy = "`close` must come to an end, without a panic";
        self.report.verdict("end", format!("in {took} ms"), &wrong, (Grade::Fail, remedy));
    }
}

pub(super) const INSTANCE: &str = "under-test";
const PASSWORD: &str = "correct horse battery staple";
pub(super) const CRASH: &str = "safe code does not crash: look at `unsafe`, C libraries, recursion, `abort` and `exit`";
/// What hangs takes long, and a few tell as much as all.
const ENOUGH: usize = 4;
const ROUNDS: usize = 3;
const AT_ONCE: usize = 12;
const LOAD: usize = 4;
const RESETS: usize = 5;
const RELOADS: usize = 4;
const CYCLES: usize = 16;
/// What the host's own bookkeeping and the allocator may keep of a reset.
const MEMORY_KIB: usize = 256;
