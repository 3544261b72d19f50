//! The command line, and the place where the floors are put together.
//!
//! Start at [`main`]. One file for each command; `serve` starts the parent, `child` is the server itself.

/// As the one of std, but nobody who reads only the beginning, as `head` does, makes a command panic.
macro_rules! println {
    ($($arguments:tt)*) => {
        $crate::cli::output::write_line(format_args!($($arguments)*))
    };
}

mod asker;
mod audit;
mod backup;
mod check_config;
mod child;
mod doctor;
mod instance;
mod key;
mod local;
mod manual;
mod offline;
mod output;
mod plugin;
mod records;
mod scratch;
mod serve;
mod services;
mod status;
mod time;
mod version;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, CommandFactory as _, Parser, Subcommand};

use self::output::Output;
use self::records::{ClientFields, RecordCommand, ScopeFields, UserFields};
use crate::config::{Config, ConfigError, Environment, Loaded, Overrides};
use crate::supervisor::child::EXIT_CONFIGURATION;

/// Runs the command that the arguments name.
#[must_use]
pub fn main() -> ExitCode {
    let Cli { json, command } = Cli::parse();
    let output = Output { json };
    let done = match command {
        Command::Serve(arguments) => serve::run(arguments),
        Command::CheckConfig(arguments) => check_config::run(&arguments, output),
        Command::Child => child::run(),
        Command::Probe { copy, library } => crate::abi::probe::main(&copy, &library),
        Command::Key { command } => key::run(command, output),
        Command::Audit(arguments) => audit::run(arguments, output),
        Command::Plugin { command: PluginCommand::New(arguments) } => plugin::new::run(&arguments, output),
        Command::Plugin { command: PluginCommand::Test(arguments) } => plugin::test::run(&arguments, output),
        Command::Plugin { command: PluginCommand::Check { file } } => plugin::check(&file, output),
        Command::Plugin { command: PluginCommand::Allow { file, place } } => plugin::allow(&file, &place, output),
        Command::Plugin { command: PluginCommand::List { plugins, place } } => plugin::list(plugins, &place, output),
        Command::Backup(arguments) => backup::back_up(&arguments, output),
        Command::Restore(arguments) => backup::restore(&arguments, output),
        Command::Completion(arguments) => manual::completion(&arguments, output),
        Command::Man(arguments) => manual::man(&arguments, output),
        Command::Doctor(arguments) => doctor::run(&arguments, output),
        Command::Status { place } => status::run(&place, output),
        Command::Instance { command } => instance::run(command, output),
        Command::User { command } => records::run(command, output),
        Command::Client { command } => records::run(command, output),
        Command::Scope { command } => records::run(command, output),
    };
    done.unwrap_or_else(|failure| {
        output.fail(&failure);
        ExitCode::from(failure.code)
    })
}

/// The commands with their options, as clap has them: for what describes them, and for tests of it.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

/// A service host: users, clients, sessions and permissions in one binary, everything else from plug-ins.
#[derive(Parser)]
#[command(name = "porth", version = version::text())]
struct Cli {
    /// Answers in JSON, for programs; a failure is `{"error": {"message", "exit_code"}}`.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serves until it is asked to stop with SIGTERM or SIGINT; SIGHUP replaces the process that serves.
    Serve(serve::Arguments),
    /// Reads the configuration as `porth serve` would, and prints what counts and who said so; 78 when it is refused.
    CheckConfig(check_config::Arguments),
    /// The server itself, started by `porth serve`.
    #[command(hide = true)]
    Child,
    /// Tries a library in a process of its own; whoever is about to open one starts it.
    #[command(hide = true)]
    Probe {
        /// The staged copy.
        copy: PathBuf,
        /// What the library is called.
        library: String,
    },
    /// Keys with which programs administer the server.
    Key {
        #[command(subcommand)]
        command: key::KeyCommand,
    },
    /// What administrators, their programs and plug-ins did: of a running server or else in its store.
    Audit(audit::Arguments),
    /// Users, of a running server or else in its store.
    User {
        #[command(subcommand)]
        command: RecordCommand<UserFields>,
    },
    /// Clients, likewise.
    Client {
        #[command(subcommand)]
        command: RecordCommand<ClientFields>,
    },
    /// Scopes, likewise.
    Scope {
        #[command(subcommand)]
        command: RecordCommand<ScopeFields>,
    },
    /// Copies the database into a file, also while a server works with it.
    Backup(backup::BackupArguments),
    /// Makes a copy of the database the database again; no server may be running.
    Restore(backup::RestoreArguments),
    /// Prints a script that completes these commands in a shell.
    Completion(manual::CompletionArguments),
    /// Prints the manual for `man`, or writes a page for each command.
    Man(manual::ManArguments),
    /// Says what is unsafe or odd, each in a sentence with the remedy; ends with 1 when there are errors.
    Doctor(doctor::Arguments),
    /// How the server and its instances do.
    Status {
        #[command(flatten)]
        place: Place,
    },
    /// Instances of modules: `NAME` is one of a plug-in, `KIND/NAME` one of another kind.
    Instance {
        #[command(subcommand)]
        command: instance::InstanceCommand,
    },
    /// Libraries that declare plug-ins.
    Plugin {
        #[command(subcommand)]
        command: PluginCommand,
    },
}

#[derive(Subcommand)]
enum PluginCommand {
    /// Makes the source of a new plug-in, with a test and the commands that build, test and serve it.
    New(plugin::new::Arguments),
    /// Runs a library through all that a server may ask of it, in a server of its own, and says what is wrong.
    Test(plugin::test::Arguments),
    /// Prints what this host finds out about a library before it opens it, or why it refuses to.
    Check {
        /// The library.
        file: PathBuf,
    },
    /// Adds a library's digest to `plugins.lock`, the list that counts with `trust = "lock"`.
    Allow {
        /// The library.
        file: PathBuf,
        #[command(flatten)]
        place: Place,
    },
    /// Prints the libraries of the plug-in directory with what the server made of them.
    List {
        /// The directory that administrators drop libraries into [env: PORTH_PLUGINS].
        #[arg(long, value_name = "DIR")]
        plugins: Option<PathBuf>,
        #[command(flatten)]
        place: Place,
    },
}

/// Where a server has its configuration and its data.
#[derive(Args)]
struct Place {
    /// The configuration file.
    #[arg(long, env = CONFIG_VARIABLE, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The data directory: database, lock, control socket [env: PORTH_DATA].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Any key of the configuration, such as `limits.deadline_ms=5000`; again for more.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl Place {
    fn load(&self, plugins: Option<PathBuf>, listen: Option<SocketAddr>) -> Result<Config, Failure> {
        Ok(self.loaded(plugins, listen)?.config)
    }

    fn loaded(&self, plugins: Option<PathBuf>, listen: Option<SocketAddr>) -> Result<Loaded, Failure> {
        let refused = |error: ConfigError| Failure { code: EXIT_CONFIGURATION, message: error.to_string() };
        self.read(plugins, listen).map_err(refused)
    }

    fn read(&self, plugins: Option<PathBuf>, listen: Option<SocketAddr>) -> Result<Loaded, ConfigError> {
        let overrides = Overrides { data: self.data.clone(), plugins, listen, set: self.set.clone() };
        Loaded::load(self.config.as_deref(), &Environment::of_process(), overrides)
    }
}

/// Names the configuration file.
const CONFIG_VARIABLE: &str = "PORTH_CONFIG";

/// A command ends with it when only a server could do what it was asked to, and none answers.
const EXIT_NO_SERVER: u8 = 3;

/// What a command ends with when it cannot do what it was asked to.
struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    fn new(message: impl Into<String>) -> Self {
        Self { code: 1, message: message.into() }
    }

    /// A failure that the next attempt would only repeat.
    fn configuration(error: impl std::error::Error) -> Self {
        Self { code: EXIT_CONFIGURATION, ..Self::from(error) }
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

/// Milliseconds since 1970 (UTC): the one place that time comes in from.
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
