//! `porth plugin`: what this host thinks of libraries, and which of them administrators allow.

pub(super) mod new;
mod template;
pub(super) mod test;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value, json};

use super::local::{self, LocalError};
use super::output::{Output, text};
use super::scratch::Scratch;
use super::{Failure, Place, now_ms};
use crate::abi::{self, Allowed, Digest, Judged, ModuleDescription, Panic, Prober, StagingDirectory, judge};
use crate::config::{Config, Limits, Trust};
use crate::supervisor::local_path;

/// Prints everything that is found out about the library at `path` before a server opens it.
pub(super) fn check(path: &Path, output: Output) -> Result<ExitCode, Failure> {
    let directory = Scratch::new()?;
    let staging = StagingDirectory::create(&directory.path)?;
    let staged = staging.stage(path, Limits::default().library_bytes_max)?;
    let (bytes, digest) = (staged.bytes().len(), staged.digest());
    if !output.json {
        println!("file      {}, {bytes} bytes, SHA-256 {digest}", staged.library());
    }
    let judged = judge(&staged)?;
    if !output.json {
        print_judged(&judged);
    }
    let modules = Prober::new(&directory.path).probe(&staged, &judged)?;
    if output.json {
        let file = json!({"file": staged.library(), "bytes": bytes, "digest": digest.to_string()});
        println!("{:#}", as_json(file, &judged, &modules));
        return Ok(ExitCode::SUCCESS);
    }
    modules.iter().for_each(print_module);
    println!("verdict   loads");
    Ok(ExitCode::SUCCESS)
}

fn as_json(mut file: Value, judged: &Judged, modules: &[ModuleDescription]) -> Value {
    let modules = modules.iter().map(|module| {
        json!({
            "kind": module.kind,
            "name": module.name,
            "display_name": module.display_name,
            "description": module.description,
            "needs": module.needs,
            "parameters_schema": module.parameters_schema,
        })
    });
    let found = json!({
        "abi": {
            "major": judged.abi_major,
            "minor": judged.abi_minor,
            "draft": judged.abi_draft,
            "least_host_minor": judged.least_host_minor,
        },
        "target": judged.target,
        "panic": panic_name(judged),
        "has_layout": judged.has_layout,
        "needed": judged.needed,
        "constructors": judged.constructors,
        "build_id": judged.build_id,
        "modules": modules.collect::<Value>(),
    });
    if let (Some(file), Value::Object(found)) = (file.as_object_mut(), found) {
        file.extend(found);
    }
    file
}

/// Adds the library at `path` to the list of digests that `trust = "lock"` goes by.
pub(super) fn allow(path: &Path, place: &Place, output: Output) -> Result<ExitCode, Failure> {
    let config = place.load(None, None)?;
    let directory = Scratch::new()?;
    let staged = StagingDirectory::create(&directory.path)?.stage(path, config.limits.library_bytes_max)?;
    // One that this host never loads is most likely not the one that was meant.
    judge(&staged)?;
    let (name, digest, list) = (staged.library(), staged.digest(), config.plugins_lock());
    let comment = format!("{name}, allowed on {}", date(now_ms()));
    let is_new = Allowed::add(&list, digest, name, &comment)?;
    let counts = config.trust == Trust::Lock;
    let told = json!({"file": name, "digest": digest.to_string(), "list": list, "added": is_new, "counts": counts});
    output.print(&told, |_| {
        println!("{name}, SHA-256 {digest}, is {} in {}", if is_new { "now" } else { "already" }, list.display());
        if !counts {
            println!("The list does not count yet: the configuration has no `trust = \"lock\"`.");
        }
    });
    Ok(ExitCode::SUCCESS)
}

/// Prints the libraries with their state: as the running server has it, else as it would most likely be.
pub(super) fn list(plugins: Option<PathBuf>, place: &Place, output: Output) -> Result<ExitCode, Failure> {
    let config = place.load(plugins, None)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let path = format!("/{}/admin/library", config.api_prefix);
    match runtime.block_on(local::get(&local_path(&config.data), &path)) {
        Ok(libraries) => {
            output.print(&libraries, |libraries| libraries.as_array().into_iter().flatten().for_each(print_library));
        }
        Err(LocalError::NoAnswer { .. }) => {
            let files: Vec<Value> = files(&config)?.iter().map(FileState::as_json).collect();
            output.print(&files.into(), |files| {
                println!("No server answers; this is what the files look like without opening them:");
                for file in files.as_array().into_iter().flatten() {
                    print_state(text(file, "file"), text(file, "verdict"), &detail(file));
                }
            });
        }
        Err(other) => return Err(other.into()),
    }
    Ok(ExitCode::SUCCESS)
}

fn detail(file: &Value) -> String {
    match file.get("reason").and_then(Value::as_str) {
        Some(reason) => reason.to_owned(),
        None => format!("SHA-256 {}", text(file, "file_digest")),
    }
}

fn print_library(library: &Value) {
    let mut details = Vec::new();
    if let Some(generation) = library.pointer("/generations/present").and_then(Value::as_u64) {
        let modules = library.get("modules").and_then(Value::as_array).into_iter().flatten();
        let modules: Vec<&str> = modules.filter_map(Value::as_str).collect();
        details.push(format!("generation {generation} of {}", modules.join(", ")));
    }
    details.extend(library.get("reason").and_then(Value::as_str).map(str::to_owned));
    print_state(text(library, "file"), text(library, "verdict"), &details.join("; "));
}

/// What a file of the plug-in directory looks like without opening it.
pub(super) struct FileState {
    pub(super) file: String,
    /// `fine`, `refused` or `unlisted`.
    pub(super) verdict: &'static str,
    pub(super) reason: Option<String>,
    pub(super) digest: Option<Digest>,
}

impl FileState {
    /// By the names that the server's list has.
    fn as_json(&self) -> Value {
        let digest = self.digest.map(|digest| digest.to_string());
        json!({"file": self.file, "verdict": self.verdict, "reason": self.reason, "file_digest": digest})
    }
}

/// What the files of the plug-in directory look like.
pub(super) fn files(config: &Config) -> Result<Vec<FileState>, Failure> {
    abi::check_plugin_directory(&config.plugins, &config.data)?;
    let directory = Scratch::new()?;
    let staging = StagingDirectory::create(&directory.path)?;
    let allowed = match config.trust {
        Trust::Directory => None,
        Trust::Lock => Some(Allowed::read(&config.plugins_lock())?),
    };
    let look = |path: PathBuf| {
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match staging.stage(&path, config.limits.library_bytes_max) {
            Err(error) => FileState { file, verdict: "refused", reason: Some(error.to_string()), digest: None },
            Ok(staged) => {
                let listed = allowed.as_ref().is_none_or(|allowed| allowed.has(staged.digest()));
                let (verdict, reason) = match judge(&staged) {
                    _ if !listed => ("unlisted", None),
                    Err(refusal) => ("refused", Some(refusal.to_string())),
                    Ok(_) => ("fine", None),
                };
                FileState { file, verdict, reason, digest: Some(staged.digest()) }
            }
        }
    };
    Ok(abi::list(&config.plugins)?.into_iter().map(look).collect())
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
    println!("panic     {}", panic_name(judged));
    println!("layout    {}", if judged.has_layout { "described, and checked by the probe" } else { "not described" });
    println!("needs     {}", if judged.needed.is_empty() { "no library".to_owned() } else { judged.needed.join(", ") });
    println!("at open   {} functions run", judged.constructors);
    if let Some(build_id) = &judged.build_id {
        println!("build id  {build_id}");
    }
}

fn panic_name(judged: &Judged) -> &'static str {
    match judged.panic {
        Panic::None => "none: no Rust",
        Panic::Unwind => "unwind",
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
