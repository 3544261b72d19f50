//! `porth plugin new`: a crate, or a folder in C, that builds, passes its own test and serves.
//!
//! Start at [`run`]. What is written is in `templates/`; the SDK's source is in this binary, because it is on no registry.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use clap::{Args, ValueEnum};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::json;

use super::super::Failure;
use super::super::output::Output;
use super::template::{Names, Template};
use crate::domain::instances::check_name;

#[derive(Args)]
pub(crate) struct Arguments {
    /// The folder to make; its last part names the plug-in: `[a-z][a-z0-9_-]*`.
    #[arg(value_name = "NAME")]
    place: PathBuf,
    /// What the module is for.
    #[arg(long, value_enum, default_value_t)]
    kind: Kind,
    /// In C: `porth.h`, a source file and a Makefile.
    #[arg(long)]
    c: bool,
    /// What the plug-in also shows, each with an endpoint and a test; several by commas.
    #[arg(long, value_enum, value_delimiter = ',')]
    with: Vec<With>,
    /// The SDK to build with, a checkout of Porth or its `plugin-api`; by default the one of this Porth, as a copy.
    #[arg(long, value_name = "DIR")]
    sdk: Option<PathBuf>,
}

/// What instances of a module are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Kind {
    /// Endpoints.
    #[default]
    Plugin,
    /// A way to authenticate.
    Scheme,
    /// Users whom something else keeps.
    User,
    /// Clients that something else keeps.
    Client,
    /// What becomes of people's records on their way.
    #[value(name = "user_middleware")]
    UserMiddleware,
}

/// What a plug-in can show beside its first endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(super) enum With {
    /// What must last: a counter that the host keeps.
    Documents,
    /// Who is logged in.
    Sessions,
    /// A number for whoever watches.
    Metrics,
    /// A tokio of the instance's own, for connections and whatever else wants one; not in C.
    Tokio,
    /// Events that come as they happen.
    Events,
}

/// A file of the SDK: its path below the root of Porth's source, and its text.
type SdkFile = (&'static str, &'static str);

/// What `build.rs` found.
const SDK: &[SdkFile] = include!(concat!(env!("OUT_DIR"), "/sdk.rs"));

/// Makes the folder, whole or not at all.
pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<ExitCode, Failure> {
    let Arguments { place, kind, c, with, sdk } = arguments;
    let name = place.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    check(name)?;
    if *kind != Kind::Plugin && !with.is_empty() {
        return Err(Failure::new("`--with` adds endpoints, which only a module of the kind `plugin` has"));
    }
    if *c && with.contains(&With::Tokio) {
        return Err(Failure::new(
            "`--with tokio` is for Rust; in C a plug-in has threads of its own, and the host's timers",
        ));
    }
    if place.symlink_metadata().is_ok() {
        return Err(Failure::new(format!("`{}` is there already, and is left as it is", place.display())));
    }
    let sdk = sdk.as_deref().map(find_sdk).transpose()?;
    let mut with = with.clone();
    with.sort_unstable();
    with.dedup();
    let names = Names::new(name);
    let mut files = if *c {
        Template::c(&names, *kind, &with, sdk.as_deref())
    } else {
        Template::rust(&names, *kind, &with, sdk.as_deref())
    };
    if sdk.is_none() {
        files.extend(if *c { c_sdk() } else { rust_sdk()? });
    }
    write(place, &files)?;
    let next = format!("cd {} && {}", place.display(), if *c { "make test" } else { "cargo test" });
    output.print(&json!({"folder": place, "next": next}), |_| {
        println!("`{}` is made. Its README.md has the commands; the first is\n\n    {next}", place.display());
    });
    Ok(ExitCode::SUCCESS)
}

/// Whether a name can be a crate's, a module's and an instance's.
fn check(name: &str) -> Result<(), Failure> {
    let wrong =
        |what: String| Err(Failure::new(format!("a plug-in cannot be called `{}`: {what}", name.escape_debug())));
    let possible = |found: char| found.is_ascii_lowercase() || found.is_ascii_digit() || found == '_' || found == '-';
    if !name.starts_with(|first: char| first.is_ascii_lowercase()) || !name.chars().all(possible) {
        return wrong("expected a letter a-z, and then a-z, 0-9, _ and -".to_owned());
    }
    if let Err(error) = check_name(name) {
        return wrong(error.to_string());
    }
    let krate = name.replace('-', "_");
    if KEYWORDS.contains(&krate.as_str()) {
        return wrong("Rust has that word for itself".to_owned());
    }
    if CRATES.contains(&krate.as_str()) {
        return wrong("it is built with a crate of that name".to_owned());
    }
    Ok(())
}

/// The Rust Reference, "Keywords": strict and reserved ones of the edition 2024, in lower case.
const KEYWORDS: [&str; 50] = [
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do", "dyn", "else",
    "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop", "macro", "match", "mod",
    "move", "mut", "override", "priv", "pub", "ref", "return", "self", "static", "struct", "super", "trait", "true",
    "try", "type", "typeof", "unsafe", "unsized", "use", "virtual", "where", "yield",
];

/// Crates that a plug-in is built with, and names that Cargo and Rust have for themselves.
const CRATES: [&str; 14] = [
    "alloc",
    "core",
    "porth",
    "porth_abi",
    "porth_plugin",
    "proc_macro",
    "schemars",
    "sdk",
    "serde",
    "serde_json",
    "std",
    "test",
    "tokio",
    "tracing",
];

/// The folder of `porth-plugin` in what somebody named.
fn find_sdk(given: &Path) -> Result<PathBuf, Failure> {
    let is_sdk = |place: &PathBuf| {
        fs::read_to_string(place.join("Cargo.toml")).is_ok_and(|manifest| manifest.contains("name = \"porth-plugin\""))
    };
    let found = [given.join("plugin-api"), given.to_owned()].into_iter().find(is_sdk);
    let found = found.ok_or_else(|| {
        Failure::new(format!("`{}` is neither a checkout of Porth nor its `plugin-api`", given.display()))
    })?;
    let found = found.canonicalize()?;
    // It stands between quotes in `Cargo.toml` and in a Makefile.
    let possible =
        found.to_str().is_some_and(|path| !path.contains(|found: char| found.is_control() || "\"\\$#".contains(found)));
    if possible {
        Ok(found)
    } else {
        Err(Failure::new(format!("the path `{}` cannot be written into a manifest", found.display())))
    }
}

/// The SDK as a workspace of its own below `sdk/`, and the versions of what it needs that it was tested with.
fn rust_sdk() -> Result<Vec<(PathBuf, String)>, Failure> {
    let mut files = Vec::new();
    for (path, text) in SDK {
        files.push(match *path {
            "Cargo.lock" => (PathBuf::from("Cargo.lock"), (*text).to_owned()),
            "Cargo.toml" => (PathBuf::from("sdk/Cargo.toml"), sdk_manifest(text)?),
            path => (Path::new("sdk").join(path), (*text).to_owned()),
        });
    }
    Ok(files)
}

/// What the SDK's crates inherit of Porth's manifest.
fn sdk_manifest(porth: &str) -> Result<String, Failure> {
    let first = porth.find("[workspace.package]");
    let part = first.and_then(|first| porth.get(first..porth.find("\n[package]\n")?));
    let part = part.ok_or_else(|| Failure::new("this Porth was built without its SDK"))?;
    Ok(format!(
        "# What is needed of Porth's source to build a plug-in, as it came. Newer: `porth plugin new` of a newer Porth.\n\
         [workspace]\nresolver = \"3\"\nmembers = [\"plugin-api\", \"plugin-api/abi\"]\n\n{part}"
    ))
}

/// The header, and the licences that it comes under.
fn c_sdk() -> Vec<(PathBuf, String)> {
    let wanted = ["LICENSE-APACHE", "LICENSE-MIT", "plugin-api/include/porth.h"];
    let of = |(path, text): &SdkFile| {
        let file = Path::new(path).file_name().unwrap_or_default();
        (Path::new("porth").join(file), (*text).to_owned())
    };
    SDK.iter().filter(|(path, _)| wanted.contains(path)).map(of).collect()
}

/// Writes into a folder beside it, which then gets its name: nobody ever sees half of it.
fn write(place: &Path, files: &[(PathBuf, String)]) -> Result<(), Failure> {
    let name = place.file_name().unwrap_or_default().to_string_lossy();
    let draft = Draft(place.with_file_name(format!(".{name}.porth-new-{}", std::process::id())));
    let failed = |error: std::io::Error| Failure::new(format!("`{}` cannot be made: {error}", place.display()));
    DirBuilder::new().mode(0o755).create(&draft.0).map_err(failed)?;
    for (path, text) in files {
        let file = draft.0.join(path);
        fs::create_dir_all(file.parent().unwrap_or(&draft.0)).map_err(failed)?;
        fs::write(&file, text).map_err(failed)?;
    }
    format(&draft.0.join("src/lib.rs"));
    // Fails if somebody else was faster.
    renameat_with(CWD, &draft.0, CWD, place, RenameFlags::NOREPLACE).map_err(|error| failed(error.into()))
}

/// Lays a source out as its author's rustfmt does: how long its lines are depends on the plug-in's name. Who has none does
/// not look.
fn format(source: &Path) {
    if source.exists() {
        let mut rustfmt = Command::new("rustfmt");
        rustfmt.args(["--quiet", "--edition", "2024"]).arg(source);
        let _ = rustfmt.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

/// A folder that goes unless it was given another name.
struct Draft(PathBuf);

impl Drop for Draft {
    fn drop(&mut self) {
        // It is not there any more when all went well.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_crates_and_instances() {
        for good in ["a", "greeter", "mail-code", "mail_code", "a2"] {
            assert!(check(good).is_ok(), "{good}");
        }
        let long = "a".repeat(65);
        for bad in [
            "",
            "A",
            "2a",
            "-a",
            "_a",
            "a b",
            "a/b",
            "ä",
            "a.b",
            "fn",
            "self",
            "std",
            "serde",
            "serde-json",
            "mod",
            &long,
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_sdk_is_whole() {
        let paths: Vec<&str> = SDK.iter().map(|(path, _)| *path).collect();
        for wanted in [
            "Cargo.lock",
            "Cargo.toml",
            "plugin-api/src/lib.rs",
            "plugin-api/abi/src/lib.rs",
            "plugin-api/include/porth.h",
        ] {
            assert!(paths.contains(&wanted), "{wanted} is not among {paths:?}");
        }
        let manifest: toml::Table =
            sdk_manifest(SDK[1].1).unwrap_or_else(|failure| panic!("{}", failure.message)).parse().unwrap();
        let workspace = manifest["workspace"].as_table().unwrap();
        assert!(["members", "package", "lints", "dependencies"].iter().all(|part| workspace.contains_key(*part)));
        assert_eq!(manifest.len(), 1, "nothing of Porth itself: {manifest}");
    }
}
