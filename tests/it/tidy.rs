//! Rules about the source: which floor may name which, where `unsafe` may stand, how long a file may be.
//!
//! A failure names the file, the rule, and the paragraph of `ARCHITECTURE.md` to read.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Each floor of `host/` with the floors that it may name.
const FLOORS: [(&str, &[&str]); 10] = [
    ("abi", &[]),
    ("config", &[]),
    ("telemetry", &[]),
    ("store", &[]),
    // What it may name of the store: rows and errors.
    ("domain", &["store", "config", "telemetry"]),
    ("runtime", &["abi", "domain", "config", "telemetry"]),
    ("http", &["runtime", "domain", "config", "telemetry"]),
    ("supervisor", &["config", "telemetry"]),
    ("mail", &["domain", "config", "telemetry"]),
    ("cli", &["abi", "store", "domain", "runtime", "http", "supervisor", "mail", "config", "telemetry"]),
];

/// Crates that are one floor's business.
const CRATES: [(&str, &[&str]); 7] = [
    ("abi_stable", &["abi"]),
    ("libloading", &["abi"]),
    ("libc", &["abi"]),
    ("rusqlite", &["store"]),
    ("tokio_postgres", &["store"]),
    ("deadpool_postgres", &["store"]),
    ("axum", &["http"]),
];

/// A file one can read at a sitting.
const LINES_MAX: usize = 600;

#[test]
fn floors_look_down_only() {
    check(&["host"], |path, text| {
        let floor = floor(path)?;
        let allowed = FLOORS.iter().find(|(name, _)| *name == floor).map_or(&[][..], |(_, allowed)| allowed);
        let names = FLOORS.iter().map(|(name, _)| *name).filter(|name| *name != floor && !allowed.contains(name));
        let wrong: Vec<&str> = names.filter(|name| mentions(text, &format!("crate::{name}"))).collect();
        (!wrong.is_empty()).then(|| format!("names the floor {} (ARCHITECTURE.md, \"Floors\")", wrong.join(", ")))
    });
}

#[test]
fn a_crate_stays_on_its_floor() {
    check(&["host"], |path, text| {
        let floor = floor(path)?;
        let wrong = CRATES.iter().find(|(name, floors)| {
            !floors.contains(&floor) && code(text).any(|line| line.contains(&format!("{name}::")))
        });
        wrong.map(|(name, floors)| format!("uses `{name}`, which belongs to {} (ARCHITECTURE.md)", floors.join(", ")))
    });
}

#[test]
fn the_border_knows_neither_tokio_nor_the_web() {
    check(&["host/abi"], |_, text| {
        let wrong = ["tokio", "axum", "hyper", "tower"].into_iter().find(|name| mentions(text, &format!("{name}::")));
        wrong.map(|name| format!("uses `{name}` (ARCHITECTURE.md, \"Floors\")"))
    });
}

#[test]
fn unsafe_stays_at_the_border() {
    check(&["host", "plugins", "examples", "benches", "build.rs"], |path, text| {
        let at_border = path.starts_with("host/abi");
        let found = code(text).any(|line| line.contains("unsafe ") && !line.contains("unsafe_code"));
        (found && !at_border).then(|| "has `unsafe`: only host/abi and plugin-api may (ARCHITECTURE.md)".to_owned())
    });
    check(&["plugins", "examples"], |path, text| {
        let root = path.ends_with("src/lib.rs") && !text.contains("#![forbid(unsafe_code)]");
        root.then(|| "does not say `#![forbid(unsafe_code)]`".to_owned())
    });
}

#[test]
fn sql_stays_in_the_store() {
    check(&["host"], |path, text| {
        let statement = ["\"SELECT ", "\"INSERT ", "\"UPDATE ", "\"DELETE FROM", "\"CREATE TABLE"];
        let found = code(text).any(|line| statement.iter().any(|start| line.contains(start)));
        (found && floor(path)? != "store").then(|| "has SQL, which is host/store's".to_owned())
    });
}

#[test]
fn every_file_says_what_it_is_for_and_can_be_read_at_a_sitting() {
    check(&["host", "plugin-api", "plugins", "examples", "benches", "tests/it", "build.rs"], |_, text| {
        if !text.starts_with("//!") && !text.starts_with("#!") {
            return Some("does not begin with `//!` (STYLE: a file)".to_owned());
        }
        let lines = text.lines().count();
        (lines > LINES_MAX).then(|| format!("has {lines} lines; split it ({LINES_MAX} at most)"))
    });
}

#[test]
fn nothing_is_left_unfinished() {
    check(&["host", "plugin-api", "plugins", "examples", "benches"], |_, text| {
        let unfinished = [concat!("todo", "!("), concat!("unimplemented", "!("), concat!("FIX", "ME")];
        let found = unfinished.into_iter().find(|word| text.contains(word));
        found.map(|word| format!("has `{word}`"))
    });
}

#[test]
fn no_profile_aborts_on_panic() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(!manifest.contains("panic = \"abort\""), "a plug-in's panic must come back as an error");
}

/// Runs a rule over every Rust file below some places; all that is wrong is shown at once.
fn check(places: &[&str], rule: impl Fn(&Path, &str) -> Option<String>) {
    let (mut wrong, mut seen) = (String::new(), 0);
    for place in places {
        let mut files = Vec::new();
        collect(&root().join(place), &mut files);
        for file in files {
            seen += 1;
            let text = std::fs::read_to_string(&file).unwrap();
            let path = file.strip_prefix(root()).unwrap();
            if let Some(what) = rule(path, &text) {
                writeln!(wrong, "{} {what}", path.display()).unwrap();
            }
        }
    }
    assert!(seen > 0, "no file below {places:?}");
    assert!(wrong.is_empty(), "\n{wrong}");
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn collect(place: &Path, files: &mut Vec<PathBuf>) {
    if place.is_file() {
        files.push(place.to_owned());
        return;
    }
    for entry in std::fs::read_dir(place).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The floor that a file of `host/` belongs to; `main.rs` and `lib.rs` belong to none.
fn floor(path: &Path) -> Option<&str> {
    let below = path.strip_prefix("host").ok()?;
    let first = below.components().next()?.as_os_str().to_str()?;
    (below.components().count() > 1).then_some(first)
}

/// Whether the code, and not only a comment, has a name as a whole.
fn mentions(text: &str, name: &str) -> bool {
    let whole = |rest: &str| !rest.starts_with(|next: char| next.is_alphanumeric() || next == '_');
    code(text).any(|line| line.match_indices(name).any(|(at, _)| whole(&line[at + name.len()..])))
}

/// The lines without comments, up to the tests at the end of the file.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .take_while(|line| *line != "mod tests {")
        .map(|line| line.split("//").next().unwrap_or_default())
        .filter(|line| !line.trim().is_empty())
}
