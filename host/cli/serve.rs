//! `porth serve`: the parent process. It opens no library, no database and no asynchronous runtime.

use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::Args;

use super::{CONFIG_VARIABLE, Failure, Place};
use crate::config::Loaded;
use crate::supervisor::child::EXIT_CONFIGURATION;
use crate::supervisor::{self, Ended, Sources, Supervisor, SupervisorError};
use crate::telemetry;

#[derive(Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    place: Place,
    /// The directory that administrators drop libraries into [env: PORTH_PLUGINS].
    #[arg(long, value_name = "DIR")]
    plugins: Option<PathBuf>,
    /// Where to listen, by default 127.0.0.1:4593 [env: PORTH_LISTEN].
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
}

pub(super) fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    let Arguments { place, plugins, listen } = arguments;
    let Loaded { config, warnings, .. } = place.loaded(plugins.clone(), listen)?;
    telemetry::init(&supervisor::log(&config)).map_err(Failure::new)?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let file = place.config.clone();
    let again = move || place.read(plugins.clone(), listen).map(|loaded| loaded.config);
    let sources =
        Sources { config: Box::new(again), command: Box::new(move |program| child_command(program, file.as_deref())) };
    let ended = Supervisor::new(config, sources).and_then(Supervisor::run).map_err(|error| Failure {
        code: if matches!(error, SupervisorError::Configuration) { EXIT_CONFIGURATION } else { 1 },
        message: error.to_string(),
    })?;
    Ok(match ended {
        Ended::Drained => ExitCode::SUCCESS,
        Ended::CutShort => ExitCode::FAILURE,
    })
}

/// Everything the child needs comes from its parent over the control channel; which file that is made of, it may tell
/// others.
fn child_command(program: &Path, file: Option<&Path>) -> Command {
    let mut command = Command::new(program);
    command.arg0("porth").arg("child");
    for variable in supervisor::FOR_THE_PARENT {
        command.env_remove(variable);
    }
    match file.map(std::path::absolute) {
        Some(Ok(file)) => command.env(CONFIG_VARIABLE, file),
        _ => command.env_remove(CONFIG_VARIABLE),
    };
    command
}
