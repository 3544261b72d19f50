//! `porth check-config`: what the configuration is, key by key, and who said so.

use std::process::ExitCode;

use clap::Args;
use serde_json::{Map, Value, json};

use super::output::Output;
use super::{Failure, Place};
use crate::config::{Key, Kind, Loaded, Origin, keys, redacted, sample};
use crate::domain::instances::check_declarations;

#[derive(Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    place: Place,
    /// Only what is not the default.
    #[arg(long)]
    changed: bool,
    /// Ends with 1 when there are warnings.
    #[arg(long)]
    strict: bool,
    /// Prints a configuration file with every key, its meaning and its default, and reads none.
    #[arg(long, conflicts_with_all = ["changed", "strict"])]
    sample: bool,
}

pub(super) fn run(arguments: &Arguments, output: Output) -> Result<ExitCode, Failure> {
    if arguments.sample {
        let text = sample();
        output.print(&json!({"sample": text}), |_| print!("{text}"));
        return Ok(ExitCode::SUCCESS);
    }
    let loaded = arguments.place.loaded(None, None)?;
    check_declarations(&loaded.config.instances).map_err(Failure::configuration)?;
    let config = serde_json::to_value(&loaded.config)?;
    let shown = keys().iter().filter(|key| !arguments.changed || *loaded.origin(&key.path) != Origin::Default);
    let shown: Vec<(&Key, Value)> = shown.map(|key| (key, value(key, &config))).collect();
    if output.json {
        println!("{:#}", as_json(&loaded, &shown));
    } else {
        print(&loaded, &shown);
    }
    let odd = arguments.strict && !loaded.warnings.is_empty();
    Ok(if odd { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What a key is, but for secrets. Those of instances stand in their parameters.
fn value(key: &Key, config: &Value) -> Value {
    let value = config.pointer(&format!("/{}", key.path.replace('.', "/"))).cloned().unwrap_or_default();
    if key.path == "instance" {
        let shown = |instance: &Value| {
            let member = |name: &str| instance.get(name).cloned().unwrap_or_default();
            json!({"kind": member("kind"), "name": member("name"), "module": member("module")})
        };
        return value.as_array().into_iter().flatten().map(shown).collect();
    }
    match value {
        Value::String(text) if key.is_secret => redacted(&text).into(),
        other => other,
    }
}

fn as_json(loaded: &Loaded, shown: &[(&Key, Value)]) -> Value {
    let keys: Map<String, Value> = shown
        .iter()
        .map(|(key, value)| {
            let origin = loaded.origin(&key.path);
            (key.path.clone(), json!({"value": value, "origin": origin.kind(), "from": origin.to_string()}))
        })
        .collect();
    json!({"file": loaded.file, "keys": keys, "warnings": loaded.warnings})
}

/// As TOML with dotted keys, which a configuration file may have, too.
fn print(loaded: &Loaded, shown: &[(&Key, Value)]) {
    match &loaded.file {
        Some(file) => println!("# {}", file.display()),
        None => println!("# no configuration file"),
    }
    for (key, value) in shown {
        let line = match (value, toml::Value::try_from(value)) {
            // What is not said in a table is null, which TOML has not.
            (Value::Array(items), _) if key.kind == Kind::Tables => format!("# {} x [[{}]]", items.len(), key.path),
            (_, Ok(value)) => format!("{} = {value}", key.path),
            (_, Err(_)) => format!("# {} is not set", key.path),
        };
        println!("{line:48}  # {}", loaded.origin(&key.path));
    }
    for warning in &loaded.warnings {
        eprintln!("warning: {warning}");
    }
}
