//! `porth user`, `porth client`, `porth scope`: what an administrator sees and changes at a terminal.
//!
//! Start at [`run`]. Each command is a request to the routes that programs ask, too: a running server answers it over
//! `porth.sock`, otherwise this process does with the same routes, in which no instance of a plug-in runs.

use std::io::BufRead as _;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Map, Value, json};

use super::asker::{Asker, encoded};
use super::output::Output;
use super::{Failure, Place};

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
pub(super) fn run<F: Fields>(command: RecordCommand<F>, output: Output) -> Result<ExitCode, Failure> {
    match command {
        RecordCommand::List { pattern, place } => {
            let records = Asker::existing(&place)?.list(F::ROUTE, &pattern)?;
            let row = |record: &Value| {
                let id = record.get(F::ID).and_then(Value::as_str).unwrap_or_default();
                format!("{id:24}  {}", F::summary(record)).trim_end().to_owned()
            };
            let lines: Vec<String> = records.iter().map(row).collect();
            output.print(&records.into(), |_| lines.iter().for_each(|line| println!("{line}")));
        }
        RecordCommand::Show { id, place } => {
            let record = Asker::existing(&place)?.ask(Method::GET, &path::<F>(&id), None)?;
            println!("{record:#}");
        }
        RecordCommand::Add { id, fields, place } => {
            let mut body = fields.body()?;
            body.insert(F::ID.to_owned(), json!(id));
            let mut asker = Asker::new(&place)?;
            asker.ask(Method::POST, F::ROUTE, Some(body.into()))?;
            print_changed::<F>(&mut asker, &id, output)?;
        }
        RecordCommand::Set { id, fields, place } => {
            let body = fields.body()?;
            let mut asker = Asker::existing(&place)?;
            asker.ask(Method::PUT, &path::<F>(&id), Some(body.into()))?;
            print_changed::<F>(&mut asker, &id, output)?;
        }
        RecordCommand::Delete { id, place } => {
            let answer = Asker::existing(&place)?.ask(Method::DELETE, &path::<F>(&id), None)?;
            // It is gone all the same.
            let failures = answer.get("failures").and_then(Value::as_array);
            for failure in failures.into_iter().flatten().filter_map(Value::as_str) {
                eprintln!("porth: `{id}` is deleted, but not forgotten everywhere: {failure}");
            }
            output.print(&json!({"deleted": id}), |_| {});
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What became of a record, for programs; people know what they asked for.
fn print_changed<F: Fields>(asker: &mut Asker, id: &str, output: Output) -> Result<(), Failure> {
    if output.json {
        println!("{:#}", asker.ask(Method::GET, &path::<F>(id), None)?);
    }
    Ok(())
}

fn path<F: Fields>(id: &str) -> String {
    format!("{}/{}", F::ROUTE, encoded(id))
}

pub(super) fn put(body: &mut Map<String, Value>, name: &str, value: Option<impl Into<Value>>) {
    body.extend(value.map(|value| (name.to_owned(), value.into())));
}

/// A list that was given at all.
pub(super) fn given(list: Vec<String>) -> Option<Vec<String>> {
    // The empty text alone empties the list.
    (!list.is_empty()).then(|| list.into_iter().filter(|item| !item.is_empty()).collect())
}

pub(super) fn properties(given: &[String]) -> Result<Map<String, Value>, Failure> {
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
