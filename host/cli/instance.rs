//! `porth instance`: what is made of modules, as an administrator sees and changes it at a terminal.
//!
//! Start at [`run`]. Only a server can initialise an instance, so everything that changes one needs it.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Map, Value, json};

use super::asker::{Asker, encoded};
use super::output::{Output, print_table, text};
use super::records::{given, properties, put};
use super::{Failure, Place};
use crate::runtime::KINDS;
use crate::runtime::schema::ParametersSchema;

#[derive(Subcommand)]
pub(super) enum InstanceCommand {
    /// Prints them with status and health, one a line.
    List {
        /// Only those of this kind: plugin, scheme, user, client, user_middleware.
        #[arg(long)]
        kind: Option<String>,
        /// Only those whose name or module contains this.
        #[arg(long, default_value = "")]
        pattern: String,
        #[command(flatten)]
        place: Place,
    },
    /// Prints one, as JSON.
    Show {
        #[command(flatten)]
        which: Which,
    },
    /// Adds one: it is initialised, and stored when that worked.
    Add {
        #[command(flatten)]
        which: Which,
        /// The module.
        #[arg(long)]
        module: String,
        #[command(flatten)]
        fields: Fields,
    },
    /// Changes what is given: it is initialised anew, and exchanged when that worked.
    Set {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        fields: Fields,
    },
    /// Lets it run, out of quarantine too.
    Enable {
        #[command(flatten)]
        which: Which,
    },
    /// Stops it; what it keeps stays.
    Disable {
        #[command(flatten)]
        which: Which,
    },
    /// Starts it anew, with a clean record; no request fails.
    Reset {
        #[command(flatten)]
        which: Which,
    },
    /// Deletes it, with everything that it keeps.
    Delete {
        #[command(flatten)]
        which: Which,
    },
}

#[derive(Args)]
pub(super) struct Which {
    /// `NAME`, or `KIND/NAME` if it is no plug-in.
    instance: String,
    #[command(flatten)]
    place: Place,
}

#[derive(Args)]
pub(super) struct Fields {
    /// A file with all parameters, in JSON, or in TOML if it is called so; `-` is standard input, in JSON.
    #[arg(long, value_name = "FILE")]
    parameters: Option<PathBuf>,
    /// A parameter, whose value is JSON or else text; again for more, over those of the file.
    #[arg(long = "parameter", value_name = "NAME=VALUE")]
    single: Vec<String>,
    /// The name for people.
    #[arg(long)]
    display_name: Option<String>,
    /// A right that it gets; several replace those that it has, and without any it gets all that its module needs.
    #[arg(long = "grant", value_name = "RIGHT")]
    grants: Vec<String>,
    /// Whether a service may have public endpoints.
    #[arg(long, value_name = "true|false")]
    allow_public: Option<bool>,
    /// What else its kind has, such as `order_rank=1`.
    #[arg(long = "setting", value_name = "NAME=VALUE")]
    settings: Vec<String>,
    /// Changes nothing: checks the parameters by what the module's schema says of them.
    #[arg(long)]
    dry_run: bool,
}

/// Does what a command says.
pub(super) fn run(command: InstanceCommand, output: Output) -> Result<ExitCode, Failure> {
    match command {
        InstanceCommand::List { kind, pattern, place } => {
            let mut asker = Asker::existing(&place)?;
            let instances = all(&mut asker, kind.as_deref(), &pattern)?;
            let drifted = drift(&mut asker)?;
            output.print(&instances.clone().into(), |_| {
                print_table(&instances.iter().map(row).collect::<Vec<_>>());
                for drift in drifted.iter().filter(|_| kind.is_none() && pattern.is_empty()) {
                    eprintln!("{drift}");
                }
            });
        }
        InstanceCommand::Show { which } => {
            let shown = Asker::existing(&which.place)?.ask(Method::GET, &which.route(), None)?;
            println!("{shown:#}");
        }
        InstanceCommand::Add { which, module, fields } => {
            let (kind, name) = which.key();
            let mut asker = Asker::server(&which.place)?;
            let dry_run = fields.dry_run;
            let mut body = fields.body(None)?;
            if dry_run {
                return check(&mut asker, kind, &module, &body, output);
            }
            body.insert("name".to_owned(), json!(name));
            body.insert("module".to_owned(), json!(module));
            asker.ask(Method::POST, &format!("mod/{}", encoded(kind)), Some(body.into()))?;
            print_state(&mut asker, &which, output)?;
        }
        InstanceCommand::Set { which, fields } => {
            let mut asker = Asker::server(&which.place)?;
            let present = asker.ask(Method::GET, &which.route(), None)?;
            let dry_run = fields.dry_run;
            let body = fields.body(present.get("parameters"))?;
            if dry_run {
                let parameters = body.get("parameters").or_else(|| present.get("parameters")).cloned();
                let body = Map::from_iter([("parameters".to_owned(), parameters.unwrap_or_default())]);
                return check(&mut asker, which.key().0, text(&present, "module"), &body, output);
            }
            asker.ask(Method::PUT, &which.route(), Some(body.into()))?;
            print_state(&mut asker, &which, output)?;
        }
        InstanceCommand::Enable { which } => act(&which, "enable", output)?,
        InstanceCommand::Disable { which } => act(&which, "disable", output)?,
        InstanceCommand::Reset { which } => act(&which, "reset", output)?,
        InstanceCommand::Delete { which } => {
            Asker::server(&which.place)?.ask(Method::DELETE, &which.route(), None)?;
            output.print(&json!({"deleted": which.instance}), |_| {});
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Instances of one kind or of all, each with its `kind`.
pub(super) fn all(asker: &mut Asker, kind: Option<&str>, pattern: &str) -> Result<Vec<Value>, Failure> {
    let mut instances = Vec::new();
    for kind in KINDS.into_iter().filter(|known| kind.is_none_or(|kind| kind == *known)) {
        for mut instance in asker.list(&format!("mod/{kind}"), pattern)? {
            if let Some(members) = instance.as_object_mut() {
                members.insert("kind".to_owned(), json!(kind));
            }
            instances.push(instance);
        }
    }
    match kind {
        Some(unknown) if !KINDS.contains(&unknown) => {
            Err(Failure::new(format!("there is no kind `{unknown}`; there are {}", KINDS.join(", "))))
        }
        _ => Ok(instances),
    }
}

/// A sentence for each thing in which the configuration file and the server disagree, or why nobody knows.
pub(super) fn drift(asker: &mut Asker) -> Result<Vec<String>, Failure> {
    let told = asker.ask(Method::GET, "admin/drift", None)?;
    let error = told.get("error").and_then(Value::as_str);
    let drift = told.get("drift").and_then(Value::as_array).into_iter().flatten();
    Ok(error.into_iter().chain(drift.map(|drift| text(drift, "text"))).map(str::to_owned).collect())
}

/// An instance in one line.
pub(super) fn row(instance: &Value) -> Vec<String> {
    let reason = ["quarantine", "error"].into_iter().find_map(|member| instance.get(member)?.as_str());
    let reasons = instance.pointer("/health/reasons").and_then(Value::as_array).into_iter().flatten();
    let reasons = reasons.filter_map(Value::as_str).collect::<Vec<_>>().join("; ");
    let is = |member: &&&str| instance.get(**member) == Some(&Value::Bool(true));
    let declared = ["declared", "orphan"].iter().find(is).copied();
    vec![
        format!("{}/{}", text(instance, "kind"), text(instance, "name")),
        text(instance, "module").to_owned(),
        text(instance, "status").to_owned(),
        health(instance).to_owned(),
        declared.unwrap_or_default().to_owned(),
        reason.map_or(reasons, str::to_owned),
    ]
}

/// How an instance that runs does.
pub(super) fn health(instance: &Value) -> &str {
    instance.pointer("/health/status").and_then(Value::as_str).unwrap_or_default()
}

fn act(which: &Which, action: &str, output: Output) -> Result<(), Failure> {
    let mut asker = Asker::server(&which.place)?;
    asker.ask(Method::PUT, &format!("{}/{action}", which.route()), None)?;
    print_state(&mut asker, which, output)
}

/// What became of an instance.
fn print_state(asker: &mut Asker, which: &Which, output: Output) -> Result<(), Failure> {
    let shown = asker.ask(Method::GET, &which.route(), None)?;
    output.print(&shown, |shown| println!("{} is {}", which.instance, text(shown, "status")));
    Ok(())
}

/// Checks parameters as the server does before it initialises an instance.
fn check(
    asker: &mut Asker,
    kind: &str,
    module: &str,
    body: &Map<String, Value>,
    output: Output,
) -> Result<ExitCode, Failure> {
    let types = asker.ask(Method::GET, "mod/type", None)?;
    let modules = types.get(kind).and_then(Value::as_array).into_iter().flatten();
    let found = modules.into_iter().find(|known| text(known, "name") == module);
    let found = found.ok_or_else(|| Failure::new(format!("no library declares the {kind} module `{module}`")))?;
    let schema = ParametersSchema::new(found.get("parameters_schema").unwrap_or(&Value::Bool(true)))?;
    let parameters = body.get("parameters").and_then(Value::as_object).cloned().unwrap_or_default();
    let errors = schema.check_shown(&parameters).err().unwrap_or_default();
    if !errors.is_empty() && !output.json {
        return Err(Failure::new(errors.join("; ")));
    }
    output.print(&json!({"valid": errors.is_empty(), "errors": errors}), |_| {
        println!("the parameters are what the module `{module}` wants; `init` may still refuse them");
    });
    Ok(if errors.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Which {
    fn key(&self) -> (&str, &str) {
        self.instance.split_once('/').unwrap_or(("plugin", &self.instance))
    }

    fn route(&self) -> String {
        let (kind, name) = self.key();
        format!("mod/{}/{}", encoded(kind), encoded(name))
    }
}

impl Fields {
    /// What the server gets; single parameters are laid over those of the file, or over `present`.
    fn body(self, present: Option<&Value>) -> Result<Map<String, Value>, Failure> {
        let mut body = properties(&self.settings)?;
        let file = self.parameters.as_deref().map(read_parameters).transpose()?;
        if file.is_some() || !self.single.is_empty() {
            let under = file.or_else(|| present.and_then(Value::as_object).cloned());
            let mut parameters = under.unwrap_or_default();
            parameters.extend(properties(&self.single)?);
            parameters.retain(|_, value| !value.is_null());
            body.insert("parameters".to_owned(), parameters.into());
        }
        put(&mut body, "display_name", self.display_name);
        put(&mut body, "grants", given(self.grants));
        put(&mut body, "allow_public", self.allow_public);
        Ok(body)
    }
}

fn read_parameters(file: &Path) -> Result<Map<String, Value>, Failure> {
    let mut text = String::new();
    let is_input = file == Path::new("-");
    let read = if is_input {
        std::io::stdin().read_to_string(&mut text).map(drop)
    } else {
        std::fs::read_to_string(file).map(|read| text = read)
    };
    let wrong = |reason: &dyn std::fmt::Display| {
        Failure::new(format!(
            "the parameters in `{}` cannot be read: {}",
            file.display(),
            reason.to_string().trim_end()
        ))
    };
    read.map_err(|error| wrong(&error))?;
    if file.extension().is_some_and(|extension| extension == "toml") {
        toml::from_str(&text).map_err(|error| wrong(&error))
    } else {
        serde_json::from_str(&text).map_err(|error| wrong(&error))
    }
}
