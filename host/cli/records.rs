//! `porth user`, `porth client`, `porth scope`: what an administrator sees and changes at a terminal.
//!
//! Start at [`run`]. Each command is a request to the routes that programs ask, too: a running server answers it over
//! `porth.sock`, otherwise this process does with the same routes, in which no instance of a plug-in runs.

use std::io::BufRead as _;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Map, Value, json};

use super::local::LocalError;
use super::{Failure, Place, local, offline};
use crate::config::Config;
use crate::supervisor::{DataLock, LockError, local_path};

/// What can be done to records of one kind, whose fields are `F`.
#[derive(Subcommand)]
pub(super) enum RecordCommand<F: Args> {
    /// Prints them, one a line.
    List {
        /// Only those that contain this.
        #[arg(long, default_value = "")]
        pattern: String,
        #[command(flatten)]
        place: Place,
    },
    /// Prints one, as JSON.
    Show {
        /// Which.
        id: String,
        #[command(flatten)]
        place: Place,
    },
    /// Adds one.
    Add {
        /// Which.
        id: String,
        #[command(flatten)]
        fields: F,
        #[command(flatten)]
        place: Place,
    },
    /// Changes what is given.
    Set {
        /// Which.
        id: String,
        #[command(flatten)]
        fields: F,
        #[command(flatten)]
        place: Place,
    },
    /// Deletes one, with everything that refers to it.
    Delete {
        /// Which.
        id: String,
        #[command(flatten)]
        place: Place,
    },
}

/// A kind of record.
pub(super) trait Fields: Args {
    /// The first segment of its routes below the prefix.
    const ROUTE: &'static str;
    /// The member that tells one from another.
    const ID: &'static str;

    /// What is given, as the routes take it.
    fn body(self) -> Result<Map<String, Value>, Failure>;
    /// What a list shows besides the id.
    fn summary(record: &Value) -> String;
}

#[derive(Args)]
pub(super) struct UserFields {
    /// The name for people.
    #[arg(long)]
    name: Option<String>,
    /// The mail address.
    #[arg(long)]
    email: Option<String>,
    /// A scope; several replace those that there are.
    #[arg(long)]
    scope: Vec<String>,
    /// Whether the user may log in.
    #[arg(long, value_name = "true|false")]
    enabled: Option<bool>,
    /// Reads the password from the first line of standard input.
    #[arg(long)]
    password_stdin: bool,
    /// A property, whose value is JSON or else text; null takes it away.
    #[arg(long = "property", value_name = "NAME=VALUE")]
    properties: Vec<String>,
}

#[derive(Args)]
pub(super) struct ClientFields {
    /// The name for people.
    #[arg(long)]
    name: Option<String>,
    /// What it is.
    #[arg(long)]
    description: Option<String>,
    /// Whether it can keep a secret.
    #[arg(long, value_name = "true|false")]
    confidential: Option<bool>,
    /// Reads the client secret from the first line of standard input.
    #[arg(long)]
    secret_stdin: bool,
    /// A way to ask, such as `code`; several replace those that there are.
    #[arg(long)]
    authorization_type: Vec<String>,
    /// Where people may be sent back to; several replace those that there are.
    #[arg(long)]
    redirect_uri: Vec<String>,
    /// A scope; several replace those that there are.
    #[arg(long)]
    scope: Vec<String>,
    /// Whether it may ask at all.
    #[arg(long, value_name = "true|false")]
    enabled: Option<bool>,
    /// A property, whose value is JSON or else text; null takes it away.
    #[arg(long = "property", value_name = "NAME=VALUE")]
    properties: Vec<String>,
}

#[derive(Args)]
pub(super) struct ScopeFields {
    /// The name for people.
    #[arg(long)]
    display_name: Option<String>,
    /// What it permits.
    #[arg(long)]
    description: Option<String>,
    /// Whether the password must be proved.
    #[arg(long, value_name = "true|false")]
    password_required: Option<bool>,
    /// How old a proof of the password may be, in seconds; 0 means any age.
    #[arg(long, value_name = "SECONDS")]
    password_max_age: Option<i64>,
}

impl Fields for UserFields {
    const ROUTE: &'static str = "user";
    const ID: &'static str = "username";

    fn body(self) -> Result<Map<String, Value>, Failure> {
        let mut body = properties(&self.properties)?;
        put(&mut body, "name", self.name);
        put(&mut body, "email", self.email);
        put(&mut body, "scope", given(self.scope));
        put(&mut body, "enabled", self.enabled);
        put(&mut body, "password", if self.password_stdin { Some(first_line()?) } else { None });
        Ok(body)
    }

    fn summary(record: &Value) -> String {
        format!("{}  {}", enabled(record), texts(record, "scope"))
    }
}

impl Fields for ClientFields {
    const ROUTE: &'static str = "client";
    const ID: &'static str = "client_id";

    fn body(self) -> Result<Map<String, Value>, Failure> {
        let mut body = properties(&self.properties)?;
        put(&mut body, "name", self.name);
        put(&mut body, "description", self.description);
        put(&mut body, "confidential", self.confidential);
        put(&mut body, "client_secret", if self.secret_stdin { Some(first_line()?) } else { None });
        put(&mut body, "authorization_type", given(self.authorization_type));
        put(&mut body, "redirect_uri", given(self.redirect_uri));
        put(&mut body, "scope", given(self.scope));
        put(&mut body, "enabled", self.enabled);
        Ok(body)
    }

    fn summary(record: &Value) -> String {
        format!("{}  {}", enabled(record), texts(record, "authorization_type"))
    }
}

impl Fields for ScopeFields {
    const ROUTE: &'static str = "scope";
    const ID: &'static str = "name";

    fn body(self) -> Result<Map<String, Value>, Failure> {
        let mut body = Map::new();
        put(&mut body, "display_name", self.display_name);
        put(&mut body, "description", self.description);
        put(&mut body, "password_required", self.password_required);
        put(&mut body, "password_max_age", self.password_max_age);
        Ok(body)
    }

    fn summary(record: &Value) -> String {
        record.get("display_name").and_then(Value::as_str).unwrap_or_default().to_owned()
    }
}

/// Does what a command says.
pub(super) fn run<F: Fields>(command: RecordCommand<F>) -> Result<ExitCode, Failure> {
    match command {
        RecordCommand::List { pattern, place } => {
            let mut asker = Asker::new(&place)?;
            let mut offset = 0;
            loop {
                let query = format!("{}?offset={offset}&limit={PAGE}&pattern={}", F::ROUTE, encoded(&pattern));
                let Value::Array(records) = asker.ask(Method::GET, &query, None)? else { break };
                for record in &records {
                    let id = record.get(F::ID).and_then(Value::as_str).unwrap_or_default();
                    println!("{}", format!("{id:24}  {}", F::summary(record)).trim_end());
                }
                if records.len() < PAGE {
                    break;
                }
                offset += PAGE;
            }
        }
        RecordCommand::Show { id, place } => {
            let record = Asker::new(&place)?.ask(Method::GET, &path::<F>(&id), None)?;
            println!("{record:#}");
        }
        RecordCommand::Add { id, fields, place } => {
            let mut body = fields.body()?;
            body.insert(F::ID.to_owned(), json!(id));
            Asker::new(&place)?.ask(Method::POST, F::ROUTE, Some(body.into()))?;
        }
        RecordCommand::Set { id, fields, place } => {
            let body = fields.body()?;
            Asker::new(&place)?.ask(Method::PUT, &path::<F>(&id), Some(body.into()))?;
        }
        RecordCommand::Delete { id, place } => {
            Asker::new(&place)?.ask(Method::DELETE, &path::<F>(&id), None)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Who answers.
enum Answers {
    /// This process, which keeps a server from starting meanwhile.
    Own(offline::Offline, #[expect(dead_code, reason = "held, not looked at")] DataLock),
    /// The process that has the directory.
    Server(LockError),
}

/// Asks a running server, or answers itself.
pub(super) struct Asker {
    config: Config,
    runtime: tokio::runtime::Runtime,
    answers: Answers,
}

impl Asker {
    pub(super) fn new(place: &Place) -> Result<Self, Failure> {
        let config = place.load(None, None)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let answers = match DataLock::take(&config.data) {
            Ok(lock) => Answers::Own(runtime.block_on(offline::Offline::open(config.clone()))?, lock),
            Err(in_use @ LockError::InUse { .. }) => Answers::Server(in_use),
            Err(other) => return Err(other.into()),
        };
        Ok(Self { config, runtime, answers })
    }

    pub(super) fn ask(&mut self, method: Method, route: &str, body: Option<Value>) -> Result<Value, Failure> {
        let path = format!("/{}/{route}", self.config.api_prefix);
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        match &self.answers {
            Answers::Own(offline, _) => self.runtime.block_on(offline.ask(method, &path, body)),
            Answers::Server(in_use) => {
                let asked = self.runtime.block_on(local::ask(&local_path(&self.config.data), method, &path, body));
                asked.map_err(|error| match error {
                    LocalError::NoAnswer { .. } => Failure::new(format!("{in_use}, and {error}")),
                    error => error.into(),
                })
            }
        }
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        if let Answers::Own(offline, _) = &self.answers {
            self.runtime.block_on(offline.close());
        }
    }
}

fn path<F: Fields>(id: &str) -> String {
    format!("{}/{}", F::ROUTE, encoded(id))
}

/// A text as it stands in a segment of a path, or in a query (RFC 3986, section 2.1).
pub(super) fn encoded(text: &str) -> String {
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let shown = |byte| if unreserved(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(shown).collect()
}

fn put(body: &mut Map<String, Value>, name: &str, value: Option<impl Into<Value>>) {
    body.extend(value.map(|value| (name.to_owned(), value.into())));
}

/// A list that was given at all.
fn given(list: Vec<String>) -> Option<Vec<String>> {
    // The empty text alone empties the list.
    (!list.is_empty()).then(|| list.into_iter().filter(|item| !item.is_empty()).collect())
}

fn properties(given: &[String]) -> Result<Map<String, Value>, Failure> {
    let read = |pair: &String| {
        let (name, value) = pair.split_once('=')?;
        Some((name.to_owned(), serde_json::from_str(value).unwrap_or_else(|_| value.into())))
    };
    let wrong = |pair: &String| Failure::new(format!("a property is `NAME=VALUE`, not `{pair}`"));
    given.iter().map(|pair| read(pair).ok_or_else(|| wrong(pair))).collect()
}

fn first_line() -> Result<String, Failure> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

fn enabled(record: &Value) -> &'static str {
    if record.get("enabled") == Some(&Value::Bool(false)) { "disabled" } else { "enabled " }
}

fn texts(record: &Value, name: &str) -> String {
    let items = record.get(name).and_then(Value::as_array).into_iter().flatten();
    items.filter_map(Value::as_str).collect::<Vec<_>>().join(" ")
}

/// How many records one request asks for: as many as there may be.
pub(super) const PAGE: usize = 200;
