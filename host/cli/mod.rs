//! The command line, and the place where the floors are put together.
//!
//! Start at [`main`]. One file for each command; [`serve`] starts the parent, [`child`] is the server itself.

mod child;
mod serve;
mod version;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{Config, ConfigError, Overrides};
use crate::supervisor::child::EXIT_CONFIGURATION;

/// Runs the command that the arguments name.
#[must_use]
pub fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Child => child::run(),
    };
    done.unwrap_or_else(|failure| {
        eprintln!("porth: {}", failure.message);
        ExitCode::from(failure.code)
    })
}

/// A service host: users, clients, sessions and permissions in one binary, everything else from plug-ins.
#[derive(Parser)]
#[command(name = "porth", version = version::text())]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serves until it is asked to stop with SIGTERM or SIGINT.
    Serve(serve::Arguments),
    /// The server itself, started by `porth serve`.
    #[command(hide = true)]
    Child,
}

/// Where a server has its configuration and its data.
#[derive(Args)]
struct Place {
    /// The configuration file.
    #[arg(long, env = "PORTH_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// The data directory: database, lock, control socket.
    #[arg(long, env = "PORTH_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
}

impl Place {
    fn load(&self, plugins: Option<PathBuf>, listen: Option<SocketAddr>) -> Result<Config, Failure> {
        let overrides = Overrides { data: self.data.clone(), plugins, listen };
        let refused = |error: ConfigError| Failure { code: EXIT_CONFIGURATION, message: error.to_string() };
        Config::load(self.config.as_deref(), overrides).map_err(refused)
    }
}

/// What a command ends with when it cannot do what it was asked to.
struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    fn new(message: impl Into<String>) -> Self {
        Self { code: 1, message: message.into() }
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            // Some errors tell their cause themselves.
            if !message.contains(&text) {
                message = format!("{message}: {text}");
            }
            source = cause.source();
        }
        Self::new(message)
    }
}
