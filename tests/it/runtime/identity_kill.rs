//! kill -9 of the child and of the parent at random moments while people come, change, log in and go: nothing that was
//! acknowledged is missing, and nothing is there by half.
//!
//! Each writer leads one life after the other, of a person whose name nobody else has, so it knows what must be there. Of
//! what was cut off it knows two states that may be, and begins another life.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, RwLock};
use std::time::{Duration, Instant};

use proptest::prelude::Rng as _;
use proptest::test_runner::{RngAlgorithm, TestRng};
use serde_json::{Value, json};

use crate::support::postgres;
use crate::support::scale::scaled;
use crate::support::server::{Reply, Server, Setup};
use crate::support::until::Until;

const WRITERS: usize = 4;

#[test]
fn on_sqlite() {
    check("sqlite", 51);
}

#[test]
fn on_postgres() {
    if let Some(url) = postgres::create_database() {
        check(&url, 52);
    }
}

/// Numbers that look random.
struct Dice(TestRng);

impl Dice {
    fn new(seed: u8) -> Self {
        Self(TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]))
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0.next_u64() % end
    }
}

/// What is known of a person.
#[derive(Clone, Debug, Default)]
struct Person {
    there: bool,
    password: u64,
    /// The name, a property and a scope all say it.
    version: u64,
    granted: bool,
    registered: bool,
    cookie: Option<String>,
}

/// What is known of a person, or of a scope, whose version alone counts.
#[derive(Clone, Debug)]
struct Life {
    name: String,
    /// What was acknowledged, and, if something was cut off, what it would have made of it.
    may_be: Vec<Person>,
    /// Cookies that must open nothing any more.
    ended: Vec<String>,
    is_scope: bool,
    /// Whether something was written since it was checked last.
    is_news: bool,
}

/// What is done in a life.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Add,
    Password,
    Change,
    LogIn,
    LogOut,
    Grant,
    Register,
    Delete,
}

#[derive(Default)]
struct Counts {
    acknowledged: AtomicUsize,
    cut: AtomicUsize,
}

fn check(database: &str, seed: u8) {
    println!("seed {seed}");
    let mut dice = Dice::new(seed);
    let config = format!(
        "database = \"{database}\"\nwatch = false\n[login]\nname_failures_max = 0\npeer_failures_max = 0\n\
         [quarantine]\ncrashes = 0\nunattributed_crashes = 0"
    );
    let server = Setup::new().libraries(&["mock"]).config(&config).start();
    prepare(&server);

    // Writers hold it while they ask; who checks or starts the server anew holds it alone.
    let server = RwLock::new(Some(server));
    let lives = Mutex::new(Vec::new());
    let (until, counts) = (Until::new(), Counts::default());
    let kills = scaled(3, 40);
    let mut of_parents = 0;
    std::thread::scope(|scope| {
        let _going = until.go();
        for writer in 0..=WRITERS {
            let (server, lives, until, counts) = (&server, &lives, &until, &counts);
            let mut dice = Dice::new(seed + 100 + u8::try_from(writer).unwrap());
            scope.spawn(move || {
                for number in 0_u64.. {
                    if until.is_over() {
                        return;
                    }
                    live(server, lives, until, counts, (writer, number), &mut dice);
                }
            });
        }
        for number in 0..kills {
            std::thread::sleep(Duration::from_millis(100 + dice.below(500)));
            let is_parent = number % 2 == 0;
            let pid = {
                let server = server.read().unwrap();
                let server = server.as_ref().unwrap();
                if is_parent { server.parent_pid() } else { server.child_pid() }
            };
            kill(pid);
            let mut alone = server.write().unwrap();
            if is_parent {
                of_parents += 1;
                let killed = alone.take().unwrap();
                *alone = Some(killed.start_after_kill());
            }
            for life in lives.lock().unwrap().iter_mut().filter(|life: &&mut Life| life.is_news) {
                check_life(alone.as_ref().unwrap(), life);
            }
        }
    });
    let server = server.into_inner().unwrap().unwrap();
    let lives = lives.into_inner().unwrap();
    check_all(&server, &lives);
    check_rows(database, &server);
    let (acknowledged, cut) = (counts.acknowledged.into_inner(), counts.cut.into_inner());
    println!(
        "{kills} kills, {of_parents} of them of the parent: {acknowledged} steps of {} lives acknowledged, {cut} cut off",
        lives.len(),
    );
    assert!(acknowledged > kills && cut > 0);
}

fn prepare(server: &Server) {
    let scheme = json!({"module": "mock", "name": "code", "parameters": {"mock-value": "42"}});
    let safe = json!({"name": "safe", "scheme": {"a": [{"scheme_name": "code"}]}});
    for (path, body) in [
        ("/api/mod/scheme/", scheme),
        ("/api/scope/", safe),
        ("/api/scope/", json!({"name": "even"})),
        ("/api/scope/", json!({"name": "odd"})),
        ("/api/client/", json!({"client_id": "app", "name": "App"})),
    ] {
        assert_eq!(server.admin("POST", path, Some(&body)).status, 200, "{path} {body}");
    }
}

/// A life from its first step to the one that is cut off, or to its end.
fn live(
    server: &RwLock<Option<Server>>,
    lives: &Mutex<Vec<Life>>,
    until: &Until,
    counts: &Counts,
    (writer, number): (usize, u64),
    dice: &mut Dice,
) {
    let is_scope = writer == WRITERS;
    let name = if is_scope { format!("scope{number}") } else { format!("person{writer}x{number}") };
    let mut life = Life { name, may_be: vec![Person::default()], ended: Vec::new(), is_scope, is_news: true };
    let mut index = None;
    let steps = 12 + dice.below(12);
    for step in 0..steps {
        let person = life.may_be[0].clone();
        let step = match (person.there, person.cookie.is_some(), dice.below(10)) {
            _ if until.is_over() => return,
            // Most lives end before the last step; some names are given anew.
            (false, ..) if step > 0 && dice.below(2) == 0 => return,
            (false, ..) => Step::Add,
            (_, _, 0 | 1) => Step::Change,
            _ if is_scope => Step::Change,
            (_, _, 2) => Step::Delete,
            (_, _, 3) => Step::Password,
            (_, false, _) => Step::LogIn,
            (_, _, 4) => Step::LogOut,
            (_, _, 5..=7) => Step::Register,
            _ => Step::Grant,
        };
        let mut after = person.clone();
        let asked = server.read().unwrap();
        let (is_done, cookie) = take(asked.as_ref().unwrap(), &life, step, &mut after);
        if let Some(cookie) = cookie {
            after.cookie = Some(cookie);
        }
        life.is_news = true;
        if is_done {
            counts.acknowledged.fetch_add(1, Ordering::Relaxed);
            if let (Some(cookie), None) = (person.cookie, &after.cookie) {
                life.ended.push(cookie);
            }
            life.may_be = vec![after];
        } else {
            counts.cut.fetch_add(1, Ordering::Relaxed);
            life.may_be.push(after);
        }
        let mut lives = lives.lock().unwrap();
        let index = *index.get_or_insert_with(|| {
            lives.push(life.clone());
            lives.len() - 1
        });
        lives[index] = life.clone();
        drop((lives, asked));
        if !is_done {
            std::thread::sleep(Duration::from_millis(2));
            return;
        }
    }
}

/// Asks for a step and says in `after` what it makes of a person. The answer is whether it was acknowledged, and a cookie.
fn take(server: &Server, life: &Life, step: Step, after: &mut Person) -> (bool, Option<String>) {
    let name = &life.name;
    let cookie = after.cookie.clone();
    let path = if life.is_scope { "/api/scope/" } else { "/api/user/" };
    let one = format!("{path}{name}");
    let asked = match step {
        Step::Add => {
            *after =
                Person { there: true, password: after.password + 1, version: after.version + 1, ..Person::default() };
            ask(server, "POST", path, None, &written(life, after, true))
        }
        Step::Change => {
            after.version += 1;
            ask(server, "PUT", &one, None, &written(life, after, false))
        }
        Step::Password => {
            after.password += 1;
            after.cookie = None;
            ask(server, "PUT", &one, None, &json!({"password": password(after.password)}))
        }
        Step::LogIn => ask(server, "POST", "/api/auth/", Some(""), &log_in(name, after.password)),
        Step::LogOut => {
            after.cookie = None;
            ask(server, "DELETE", "/api/auth/", cookie.as_deref(), &Value::Null)
        }
        Step::Grant => {
            after.granted = !after.granted;
            let scope = if after.granted { "g_profile" } else { "" };
            ask(server, "PUT", "/api/auth/grant/app/", cookie.as_deref(), &json!({ "scope": scope }))
        }
        Step::Register => {
            after.registered = !after.registered;
            let body = registration(json!({"register": after.registered}));
            ask(server, "POST", "/api/profile/scheme/register/", cookie.as_deref(), &body)
        }
        Step::Delete => {
            *after = Person { password: after.password, version: after.version, ..Person::default() };
            ask(server, "DELETE", &one, None, &Value::Null)
        }
    };
    match asked {
        Ok(reply) if reply.status == 200 => {
            let set = reply.headers.get("set-cookie").filter(|_| step == Step::LogIn);
            (true, set.map(|set| set.to_str().unwrap().split(';').next().unwrap().to_owned()))
        }
        // While the scheme's instance starts.
        Ok(reply) => {
            assert_eq!(reply.status, 503, "{step:?} of {life:?}: {reply:?}");
            (false, None)
        }
        Err(_) => (false, None),
    }
}

/// What is sent of a person or a scope in a version.
fn written(life: &Life, person: &Person, is_new: bool) -> Value {
    let version = person.version;
    let text = format!("version {version}");
    if life.is_scope {
        let group = json!({ text.as_str(): [{"scheme_name": "code"}] });
        let scope = json!({"display_name": text, "description": text, "password_max_age": version, "scheme": group});
        return with(scope, is_new.then(|| ("name", json!(life.name))));
    }
    let parity = if version.is_multiple_of(2) { "even" } else { "odd" };
    let user = json!({"name": text, "version": version, "scope": ["g_profile", "safe", parity]});
    let user = with(user, is_new.then(|| ("username", json!(life.name))));
    with(user, is_new.then(|| ("password", json!(password(person.password)))))
}

fn with(mut value: Value, more: Option<(&str, Value)>) -> Value {
    let object = value.as_object_mut().unwrap();
    object.extend(more.map(|(name, value)| (name.to_owned(), value)));
    value
}

fn password(number: u64) -> String {
    format!("password {number}")
}

fn log_in(name: &str, number: u64) -> Value {
    json!({"username": name, "password": password(number)})
}

fn registration(value: Value) -> Value {
    json!({"scheme_type": "mock", "scheme_name": "code", "value": value})
}

/// With a cookie, or as an administrator.
fn ask(server: &Server, method: &str, path: &str, cookie: Option<&str>, body: &Value) -> std::io::Result<Reply> {
    let authorization = format!("token {}", server.key);
    let mut headers = vec![("content-type", "application/json")];
    headers.push(cookie.map_or(("authorization", &authorization), |cookie| ("cookie", cookie)));
    let body = if body.is_null() { String::new() } else { body.to_string() };
    server.try_send(method, path, &headers, body.as_bytes())
}

/// The same until there is an answer: a connection that the killed process had taken already is cut.
fn surely(server: &Server, method: &str, path: &str, cookie: Option<&str>, body: &Value) -> Reply {
    let began = Instant::now();
    loop {
        match ask(server, method, path, cookie, body) {
            Ok(reply) if reply.status != 503 => return reply,
            other => assert!(began.elapsed() < Duration::from_secs(30), "{method} {path}: {other:?}"),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Fails unless a life is in one of the states in which it may be. From then on it is in that.
fn check_life(server: &Server, life: &mut Life) {
    life.is_news = false;
    let began = Instant::now();
    loop {
        let found: Vec<_> = life.may_be.iter().map(|person| differs(server, life, person)).collect();
        if let Some(place) = found.iter().position(Option::is_none) {
            let person = life.may_be[place].clone();
            // Not where an `Add` may still be carried out.
            let is_gone = life.may_be.last().is_some_and(|last| !last.there);
            if !life.is_scope && !person.there && is_gone && person.version > 0 {
                check_anew(server, life, &person);
            }
            return;
        }
        // PostgreSQL may still carry out what it was given last, between two of these looks.
        assert!(began.elapsed() < Duration::from_secs(5), "{life:?}: {found:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// What is not as it should be.
fn differs(server: &Server, life: &Life, person: &Person) -> Option<String> {
    if let Some(difference) = written_differs(server, life, person) {
        return Some(difference);
    }
    if life.is_scope {
        return None;
    }
    let name = &life.name;
    let opens = |number| surely(server, "POST", "/api/auth/", Some(""), &log_in(name, number));
    for cookie in &life.ended {
        let status = surely(server, "GET", "/api/profile_list/", Some(cookie), &Value::Null).status;
        if status != 401 {
            return Some(format!("a cookie that was ended: {status}"));
        }
    }
    if !person.there {
        let status = opens(person.password).status;
        let cookies = life.may_be.iter().filter_map(|person| person.cookie.as_deref());
        let sessions = cookies
            .filter(|cookie| surely(server, "GET", "/api/profile_list/", Some(cookie), &Value::Null).status != 401);
        let sessions = sessions.count();
        return (status != 401 || sessions > 0)
            .then(|| format!("somebody who was deleted: {status}, {sessions} sessions"));
    }
    if person.password > 1 && opens(person.password - 1).status != 401 {
        return Some("the password before opens".to_owned());
    }
    let reply = opens(person.password);
    if reply.status != 200 {
        return Some(format!("the password does not open: {reply:?}"));
    }
    let cookie = reply.headers["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    for cookie in [Some(&cookie), person.cookie.as_ref()].into_iter().flatten() {
        let reply = surely(server, "GET", "/api/auth/grant/app/g_profile", Some(cookie), &Value::Null);
        if reply.status != 200 || reply.json()["scope"][0]["granted"] != person.granted {
            return Some(format!("the grant: {reply:?}"));
        }
    }
    let registered = is_registered(server, &cookie);
    (registered != person.registered).then(|| format!("registered: {registered}"))
}

/// What an administrator sees otherwise than it should be.
fn written_differs(server: &Server, life: &Life, person: &Person) -> Option<String> {
    let path = if life.is_scope { "/api/scope/" } else { "/api/user/" };
    let reply = surely(server, "GET", &format!("{path}{}", life.name), None, &Value::Null);
    let is_right = if person.there {
        let (expected, shown) = (written(life, person, false), reply.json());
        reply.status == 200 && expected.as_object().unwrap().iter().all(|(name, value)| &shown[name] == value)
    } else {
        reply.status == 404
    };
    (!is_right).then(|| format!("{reply:?}"))
}

fn is_registered(server: &Server, cookie: &str) -> bool {
    let reply = surely(server, "PUT", "/api/profile/scheme/register/", Some(cookie), &registration(Value::Null));
    reply.json().as_bool().unwrap_or_else(|| panic!("{reply:?}"))
}

/// Who gets a name anew has nothing of who had it before.
fn check_anew(server: &Server, life: &mut Life, before: &Person) {
    let person =
        Person { there: true, password: before.password + 1, version: before.version + 1, ..Person::default() };
    let reply = surely(server, "POST", "/api/user/", None, &written(life, &person, true));
    assert_eq!(reply.status, 200, "{life:?}: {reply:?}");
    let reply = surely(server, "POST", "/api/auth/", Some(""), &log_in(&life.name, person.password));
    assert_eq!(reply.status, 200, "{life:?}: {reply:?}");
    let cookie = reply.headers["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let sessions = surely(server, "GET", "/api/profile/session", Some(&cookie), &Value::Null).json();
    assert_eq!(sessions.as_array().unwrap().len(), 1, "{life:?}: {sessions}");
    let grants = surely(server, "GET", "/api/profile/grant", Some(&cookie), &Value::Null).json();
    assert_eq!(grants, json!([]), "{life:?}");
    assert!(!is_registered(server, &cookie), "{life:?}: registered by who had the name before");
    let reply = surely(server, "DELETE", &format!("/api/user/{}", life.name), None, &Value::Null);
    assert_eq!(reply.status, 200, "{life:?}: {reply:?}");
}

/// Looks at everything once more, as an administrator sees it, and whether there is anybody else.
fn check_all(server: &Server, lives: &[Life]) {
    for life in lives {
        let found: Vec<_> = life.may_be.iter().map(|person| written_differs(server, life, person)).collect();
        assert!(found.iter().any(Option::is_none), "{life:?}: {found:?}");
    }
    for page in 0.. {
        let path = format!("/api/user/?limit=200&offset={}", page * 200);
        let users = surely(server, "GET", &path, None, &Value::Null).json();
        let users = users.as_array().unwrap();
        for user in users {
            let life = lives.iter().find(|life| !life.is_scope && life.name == user["username"]);
            assert!(life.is_some_and(|life| life.may_be.iter().any(|person| person.there)), "{user}");
        }
        if users.len() < 200 {
            return;
        }
    }
}

/// What no database may have, since everybody here has three scopes and has logged in by password.
const HALVES: [&str; 6] = [
    "SELECT id FROM user_identity WHERE id NOT IN (SELECT user_id FROM user_record)",
    "SELECT user_id FROM user_record WHERE user_id NOT IN (SELECT id FROM user_identity)",
    "SELECT user_id FROM user_record WHERE (SELECT count(*) FROM user_scope AS s WHERE s.user_id = user_record.user_id) <> 3",
    "SELECT user_id FROM login_session_user WHERE user_id NOT IN (SELECT id FROM user_identity)",
    "SELECT user_id FROM login_session_user WHERE (session_id, user_id) NOT IN (SELECT session_id, user_id FROM login_proof)",
    "SELECT user_id FROM client_grant WHERE user_id NOT IN (SELECT id FROM user_identity)",
];

/// Looks for halves without Porth's help.
fn check_rows(database: &str, server: &Server) {
    for half in HALVES {
        if database == "sqlite" {
            let connection = rusqlite::Connection::open(server.data().join("porth.db")).unwrap();
            assert!(!connection.prepare(half).unwrap().exists([]).unwrap(), "{half}");
        } else {
            let check = format!("DO $$ BEGIN IF EXISTS ({half}) THEN RAISE EXCEPTION 'half there'; END IF; END $$");
            postgres::execute(database, &check);
        }
    }
}

fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}
