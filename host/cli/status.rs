//! `porth status`: how the server and its instances do, in short.

use std::process::ExitCode;

use http::Method;
use serde_json::{Value, json};

use super::asker::Asker;
use super::instance::{all, health, row};
use super::output::{Output, print_table, text};
use super::{Failure, Place};

/// Prints how the server does. Ends with 1 when an instance that should run does not, or is broken.
pub(super) fn run(place: &Place, output: Output) -> Result<ExitCode, Failure> {
    let mut asker = Asker::server(place)?;
    let server = asker.ask(Method::GET, "local/status", None)?;
    let instances = all(&mut asker, None, "")?;
    let is_well = |instance: &&Value| {
        let should_run = instance.get("enabled") == Some(&Value::Bool(true));
        !should_run || (text(instance, "status") == "running" && health(instance) != "broken")
    };
    let unwell = instances.iter().filter(|instance| !is_well(instance)).count();
    let ready = server.get("ready") == Some(&Value::Bool(true));
    output.print(&json!({"server": server, "instances": instances, "unwell": unwell}), |_| {
        let number = |member: &str| server.get(member).cloned().unwrap_or_default();
        println!(
            "porth {}, process {}, child {}, {} crashes, up for {} s, {}",
            text(&server, "version"),
            number("pid"),
            number("generation"),
            number("crashes"),
            number("uptime_s"),
            if ready { "ready" } else { "not ready" }
        );
        print_table(&instances.iter().map(row).collect::<Vec<_>>());
    });
    Ok(if ready && unwell == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
