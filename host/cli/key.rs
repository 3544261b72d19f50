//! `porth key`: keys with which programs administer the server.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};

use super::asker::{Asker, encoded};
use super::output::Output;
use super::{Failure, Place, time};

/// What can be done with keys.
#[derive(Subcommand)]
pub(super) enum KeyCommand {
    /// Makes a key and prints it, alone on the first line. It is never shown again.
    New(NewKey),
    /// Prints the keys that there are: hash, name, owner, when each ends and was used last.
    List {
        /// Only those whose name or owner contains this, or whose hash begins with it.
        #[arg(long, default_value = "")]
        pattern: String,
        #[command(flatten)]
        place: Place,
    },
    /// Deletes a key: it opens nothing from then on.
    Delete {
        /// The key's hash, as the list has it.
        hash: String,
        #[command(flatten)]
        place: Place,
    },
}

/// A key to be made.
#[derive(Args)]
pub(super) struct NewKey {
    /// What people call the key.
    #[arg(long)]
    name: String,
    /// When it ends: a number and s, m, h, d or w, counted from now. Without it, never.
    #[arg(long, value_name = "SPAN", value_parser = time::span)]
    expires: Option<i64>,
    #[command(flatten)]
    place: Place,
}

/// Does what a command says.
pub(super) fn run(command: KeyCommand, output: Output) -> Result<ExitCode, Failure> {
    match command {
        KeyCommand::New(NewKey { name, expires, place }) => {
            let mut body = json!({ "name": name });
            if let (Some(expires_ms), Some(body)) = (expires, body.as_object_mut()) {
                body.insert("expires_in".to_owned(), json!(expires_ms / 1_000));
            }
            let answer = Asker::new(&place)?.ask(Method::POST, "local/key", Some(body))?;
            let key = answer.get("key").and_then(Value::as_str);
            let key = key.ok_or_else(|| Failure::new("the server answers without a key"))?;
            output.print(&answer, |_| println!("{key}"));
        }
        KeyCommand::List { pattern, place } => {
            let keys = Asker::existing(&place)?.list("local/key", &pattern)?;
            if output.json {
                println!("{:#}", Value::Array(keys));
                return Ok(ExitCode::SUCCESS);
            }
            for key in &keys {
                let text = |name: &str| key.get(name).and_then(Value::as_str).unwrap_or_default();
                let time = |name: &str| {
                    let seconds = key.get(name).and_then(Value::as_i64);
                    seconds.map_or_else(|| "never".to_owned(), |seconds| time::rfc_3339(seconds.saturating_mul(1_000)))
                };
                let owner = if text("username").is_empty() { "-" } else { text("username") };
                println!(
                    "{}  {:16}  {owner:16}  ends {:24}  used {}",
                    text("token_hash"),
                    text("name"),
                    time("expires_at"),
                    time("last_used_at")
                );
            }
        }
        KeyCommand::Delete { hash, place } => {
            Asker::existing(&place)?.ask(Method::DELETE, &format!("local/key/{}", encoded(&hash)), None)?;
            output.print(&json!({"deleted": hash}), |_| {});
        }
    }
    Ok(ExitCode::SUCCESS)
}
