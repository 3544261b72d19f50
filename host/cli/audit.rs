//! `porth audit`: what administrators, their programs and plug-ins did.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Args;
use http::Method;
use serde_json::Value;

use super::asker::{Asker, PAGE, encoded};
use super::output::Output;
use super::{Failure, Place, now_ms, time};

/// Which entries are printed; the newest first.
#[derive(Args)]
pub(super) struct Arguments {
    /// Only what this user, key, or instance (as `plugin/hello`) did.
    #[arg(long, value_name = "NAME")]
    who: Option<String>,
    /// Only this action, as `user.change`, or all of a kind, as `user`.
    #[arg(long)]
    action: Option<String>,
    /// Only what was done to this: a kind, as `user`, or a kind and a name, as `user/anna` or `instance/plugin/hello`.
    #[arg(long)]
    object: Option<String>,
    /// No earlier: `2026-11-22`, `2026-11-22T21:30:00Z`, or `24h` for that long ago. UTC.
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// No later.
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// How many at most.
    #[arg(long, default_value_t = 100)]
    limit: usize,
    #[command(flatten)]
    place: Place,
}

/// Prints the entries.
pub(super) fn run(arguments: Arguments, output: Output) -> Result<ExitCode, Failure> {
    let Arguments { who, action, object, from, to, limit, place } = arguments;
    let mut query = String::from("admin/audit?");
    for (name, value) in [("who", who), ("action", action), ("object", object)] {
        if let Some(value) = value {
            query.push_str(&format!("{name}={}&", encoded(&value)));
        }
    }
    for (name, value) in [("from", from), ("to", to)] {
        if let Some(value) = value {
            let at_ms = time::point(&value, now_ms()).map_err(|wrong| Failure::new(format!("--{name}: {wrong}")))?;
            query.push_str(&format!("{name}={at_ms}&"));
        }
    }
    let mut asker = Asker::existing(&place)?;
    let mut events: Vec<Value> = Vec::new();
    while events.len() < limit {
        let part = PAGE.min(limit - events.len());
        let last = events.last().and_then(|event| event.get("id")?.as_str()).unwrap_or_default();
        let asked = format!("{query}before={last}&limit={part}");
        let Value::Array(found) = asker.ask(Method::GET, &asked, None)? else { break };
        let end = found.len() < part;
        events.extend(found);
        if end {
            break;
        }
    }
    let mut written_to = std::io::stdout().lock();
    // Who reads only the beginning, as `head` does, has seen enough.
    let written = if output.json {
        writeln!(written_to, "{:#}", Value::Array(events))
    } else {
        events.iter().try_for_each(|event| writeln!(written_to, "{}", line(event)))
    };
    match written {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}

fn line(event: &Value) -> String {
    let text = |path: &str| event.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let at = time::rfc_3339(event.get("at").and_then(Value::as_i64).unwrap_or_default());
    let who = [text("/who/kind"), text("/who/name")].join(" ");
    let (action, outcome, kind) = (text("/action"), text("/outcome"), text("/object/kind"));
    let object = [kind, text("/object/name")].join("/");
    let line = format!("{at}  {:24}  {:15}  {action:20}  {outcome:7}  {object}", who.trim_end(), text("/peer"));
    let detail = text("/detail");
    // What others wrote does not steer the terminal.
    let shown = if detail.is_empty() { line } else { format!("{line}  {detail}") };
    shown.chars().map(|found| if found.is_control() { '\u{fffd}' } else { found }).collect()
}
