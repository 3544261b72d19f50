//! `porth plugin`: what this host thinks of libraries, and which of them administrators allow.

pub(super) mod new;
mod template;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::Value;

use super::local::{self, LocalError};
use super::scratch::Scratch;
use super::{Failure, Place, now_ms};
use crate::abi::{self, Allowed, Judged, ModuleDescription, Panic, Prober, StagingDirectory, judge};
use crate::config::{Config, Limits, Trust};
use crate::supervisor::local_path;

/// Prints everything that is found out about the library at `path` before a server opens it.
pub(super) fn check(path: &Path) -> Result<ExitCode, Failure> {
    let directory = Scratch::new()?;
    let staging = StagingDirectory::create(&directory.path)?;
    let staged = staging.stage(path, Limits::default().library_bytes_max)?;
    println!("file      {}, {} bytes, SHA-256 {}", staged.library(), staged.bytes().len(), staged.digest());
    let judged = judge(&staged)?;
    print_judged(&judged);
    for module in Prober::new(&directory.path).probe(&staged, &judged)? {
        print_module(&module);
    }
    println!("verdict   loads");
    Ok(ExitCode::SUCCESS)
}

/// Adds the library at `path` to the list of digests that `trust = "lock"` goes by.
pub(super) fn allow(path: &Path, place: &Place) -> Result<ExitCode, Failure> {
    let config = place.load(None, None)?;
    let directory = Scratch::new()?;
    let staged = StagingDirectory::create(&directory.path)?.stage(path, config.limits.library_bytes_max)?;
    // One that this host never loads is most likely not the one that was meant.
    judge(&staged)?;
    let (name, digest, list) = (staged.library(), staged.digest(), config.plugins_lock());
    let comment = format!("{name}, allowed on {}", date(now_ms()));
    let is_new = Allowed::add(&list, digest, name, &comment)?;
    println!("{name}, SHA-256 {digest}, is {} in {}", if is_new { "now" } else { "already" }, list.display());
    if config.trust == Trust::Directory {
        println!("The list does not count yet: the configuration has no `trust = \"lock\"`.");
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the libraries with their state: as the running server has it, else as it would most likely be.
pub(super) fn list(plugins: Option<PathBuf>, place: &Place) -> Result<ExitCode, Failure> {
    let config = place.load(plugins, None)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let path = format!("/{}/admin/library", config.api_prefix);
    match runtime.block_on(local::get(&local_path(&config.data), &path)) {
        Ok(libraries) => libraries.as_array().into_iter().flatten().for_each(print_library),
        Err(LocalError::NoAnswer { .. }) => {
            println!("No server answers; this is what the files look like without opening them:");
            print_files(&config)?;
        }
        Err(other) => return Err(other.into()),
    }
    Ok(ExitCode::SUCCESS)
}

fn print_library(library: &Value) {
    let text = |member: &str| library.get(member).and_then(Value::as_str).unwrap_or_default();
    let mut details = Vec::new();
    if let Some(generation) = library.pointer("/generations/present").and_then(Value::as_u64) {
        let modules = library.get("modules").and_then(Value::as_array).into_iter().flatten();
        let modules: Vec<&str> = modules.filter_map(Value::as_str).collect();
        details.push(format!("generation {generation} of {}", modules.join(", ")));
    }
    details.extend(library.get("reason").and_then(Value::as_str).map(str::to_owned));
    print_state(text("file"), text("verdict"), &details.join("; "));
}

fn print_files(config: &Config) -> Result<(), Failure> {
    abi::check_plugin_directory(&config.plugins, &config.data)?;
    let directory = Scratch::new()?;
    let staging = StagingDirectory::create(&directory.path)?;
    let allowed = match config.trust {
        Trust::Directory => None,
        Trust::Lock => Some(Allowed::read(&config.plugins_lock())?),
    };
    for path in abi::list(&config.plugins)? {
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (state, detail) = match staging.stage(&path, config.limits.library_bytes_max) {
            Err(error) => ("refused", error.to_string()),
            Ok(staged) => match (allowed.as_ref().is_none_or(|allowed| allowed.has(staged.digest())), judge(&staged)) {
                (false, _) => ("unlisted", format!("SHA-256 {}", staged.digest())),
                (true, Err(refusal)) => ("refused", refusal.to_string()),
                (true, Ok(_)) => ("fine", format!("SHA-256 {}", staged.digest())),
            },
        };
        print_state(&file, state, &detail);
    }
    Ok(())
}

fn print_state(file: &str, state: &str, detail: &str) {
    println!("{file:24}  {state:8}  {detail}");
}

/// The day of a time in milliseconds since 1970, UTC, as ISO 8601 writes it.
fn date(time_ms: i64) -> String {
    // Years begin in March here, so that a leap day is the last of its year: <https://howardhinnant.github.io/date_algorithms.html>.
    let days = time_ms.div_euclid(86_400_000) + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

fn print_judged(judged: &Judged) {
    let Judged { abi_draft, abi_major, abi_minor, least_host_minor, .. } = judged;
    let draft = if *abi_draft == 0 { String::new() } else { format!(" draft {abi_draft}") };
    println!("ABI       {abi_major}.{abi_minor}{draft}, for hosts from {abi_major}.{least_host_minor}");
    println!("target    {}", judged.target);
    let panic = match judged.panic {
        Panic::None => "none: no Rust",
        Panic::Unwind => "unwind",
    };
    println!("panic     {panic}");
    println!("layout    {}", if judged.has_layout { "described, and checked by the probe" } else { "not described" });
    println!("needs     {}", if judged.needed.is_empty() { "no library".to_owned() } else { judged.needed.join(", ") });
    println!("at open   {} functions run", judged.constructors);
    if let Some(build_id) = &judged.build_id {
        println!("build id  {build_id}");
    }
}

fn print_module(module: &ModuleDescription) {
    println!("module    {}/{}: {}. {}", module.kind, module.name, module.display_name, module.description);
    if !module.needs.is_empty() {
        println!("  rights      {}", module.needs.join(", "));
    }
    println!("  parameters  {}", module.parameters_schema);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        for (seconds, day) in [
            (0, "1970-01-01"),
            (951_782_400, "2000-02-29"),
            (951_868_800, "2000-03-01"),
            (1_767_225_599, "2025-12-31"),
            (4_107_542_400, "2100-03-01"),
        ] {
            assert_eq!(date(seconds * 1_000), day);
        }
    }
}
