//! `porth backup` and `porth restore`: the database as one file. Configuration, libraries and `plugins.lock` are files
//! already and not in it.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::output::Output;
use super::{Failure, Place, now_ms};
use crate::config::Config;
use crate::store::backup::{self, Copy};
use crate::supervisor::{DataLock, LockError};

/// What `porth backup` is told.
#[derive(Args)]
pub(super) struct BackupArguments {
    /// Where the copy goes.
    file: PathBuf,
    /// Replace the file if it is there.
    #[arg(long)]
    force: bool,
    /// Copy nothing: look through a copy that was made before.
    #[arg(long, conflicts_with = "force")]
    check: bool,
    /// Do not show on the terminal how far it is.
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    place: Place,
}

/// What `porth restore` is told.
#[derive(Args)]
pub(super) struct RestoreArguments {
    /// The copy.
    file: PathBuf,
    /// Do not show on the terminal how far it is.
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    place: Place,
}

/// Copies the database, or looks through a copy.
pub(super) fn back_up(arguments: &BackupArguments, output: Output) -> Result<ExitCode, Failure> {
    let BackupArguments { file, force, check, quiet, place } = arguments;
    let copy = if *check {
        backup::inspect(file)?
    } else {
        let config = place.load(None, None)?;
        refuse_postgres(&config, &format!("pg_dump --format=custom --file={} URL", file.display()))?;
        let mut shown = Shown::new(*quiet);
        backup::back_up(&config.data, file, *force, &mut |done, all| shown.show(done, all))?
    };
    let said = if *check { "is whole and undamaged" } else { "is a copy of the database" };
    print(output, file, copy, None, said);
    Ok(ExitCode::SUCCESS)
}

/// Puts a copy in the place of the database.
pub(super) fn restore(arguments: &RestoreArguments, output: Output) -> Result<ExitCode, Failure> {
    let RestoreArguments { file, quiet, place } = arguments;
    let config = place.load(None, None)?;
    refuse_postgres(&config, &format!("pg_restore --clean --if-exists --dbname=URL {}", file.display()))?;
    // A server that was just stopped may still be leaving, but one that runs has to be stopped by whoever knows why.
    let lock = DataLock::take(&config.data).map_err(|error| match error {
        in_use @ LockError::InUse { .. } => Failure::new(format!("{in_use}: stop the server first")),
        other => other.into(),
    })?;
    let mut shown = Shown::new(*quiet);
    let restored = backup::restore(file, &config.data, now_ms(), &mut |done, all| shown.show(done, all))?;
    drop((shown, lock));
    print(output, file, restored.copy, restored.kept.as_deref(), "is the database now");
    Ok(ExitCode::SUCCESS)
}

fn refuse_postgres(config: &Config, instead: &str) -> Result<(), Failure> {
    if config.database == "sqlite" {
        return Ok(());
    }
    Err(Failure::new(format!("the database is PostgreSQL, which has programs of its own for this: `{instead}`")))
}

fn print(output: Output, file: &Path, copy: Copy, kept: Option<&Path>, said: &str) {
    let Copy { bytes, schema_version } = copy;
    if output.json {
        println!("{}", json!({"file": file, "bytes": bytes, "schema_version": schema_version, "kept": kept}));
        return;
    }
    println!("{} {said}: {bytes} bytes, schema version {schema_version}", file.display());
    if let Some(kept) = kept {
        println!("What was there before is kept in {}", kept.display());
    }
}

/// How far it is, on a terminal; a file has no use for it.
struct Shown {
    wanted: bool,
    percent: Option<u64>,
}

impl Shown {
    fn new(quiet: bool) -> Self {
        Self { wanted: !quiet && std::io::stderr().is_terminal(), percent: None }
    }

    fn show(&mut self, done: u64, all: u64) {
        let percent = done.saturating_mul(100).checked_div(all).unwrap_or(100);
        if self.wanted && self.percent != Some(percent) {
            self.percent = Some(percent);
            let mut terminal = std::io::stderr();
            let _ = write!(terminal, "\r{percent:3} % of {} MiB", all >> 20);
            let _ = terminal.flush();
        }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        if self.percent.is_some() {
            eprintln!();
        }
    }
}
