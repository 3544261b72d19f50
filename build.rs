//! Stamps what `porth --version` shows: commit, compiler, target, and fingerprints of the border and of this build.
//!
//! Nothing here fails: what cannot be learnt is `unknown`. Every file that is watched exists, because Cargo runs a
//! build script anew each time when one does not.

use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

fn main() {
    let commit = commit().unwrap_or_else(|| "unknown".to_owned());
    let compiler = environment("RUSTC")
        .and_then(|compiler| first_line(Command::new(compiler).arg("--version")))
        .unwrap_or_else(|| "unknown".to_owned());
    let target = environment("TARGET").unwrap_or_else(|| "unknown".to_owned());
    let version = environment("CARGO_PKG_VERSION").unwrap_or_else(|| "unknown".to_owned());

    let border = digest_of(Path::new("plugin-api/abi/src"));
    // What the judge says of a library depends on the judge too, and remembered verdicts are filed under this.
    let judge = digest_of(Path::new("host/abi"));
    let build = [&version, &commit, &compiler, &target, &border, &judge].map(String::as_str).join("\n");

    embed_sdk();
    stamp("PORTH_COMMIT", &commit);
    stamp("PORTH_RUSTC", &compiler);
    stamp("PORTH_TARGET", &target);
    stamp("PORTH_ABI_FINGERPRINT", &shortened(&border));
    stamp("PORTH_BUILD_ID", &shortened(&digest(build.as_bytes())));
    watch(Path::new("build.rs"));
    pack_relocations();
}

/// A megabyte of addresses that both processes of a server correct at their start, and so read, becomes ten kilobytes. A
/// program like that needs glibc 2.36 (2022): where this is built with an older one, or for another system, it stays as it is.
fn pack_relocations() {
    let is_for_here = environment("HOST") == environment("TARGET");
    let is_release = environment("PROFILE").is_some_and(|profile| profile == "release");
    let glibc = first_line(Command::new("getconf").arg("GNU_LIBC_VERSION"));
    let minor = glibc.and_then(|version| version.strip_prefix("glibc 2.")?.split('.').next()?.parse::<u32>().ok());
    if is_for_here && is_release && minor.is_some_and(|minor| minor >= 36) {
        println!("cargo::rustc-link-arg-bin=porth=-Wl,-z,pack-relative-relocs");
    }
}

/// Writes the list of the files that `porth plugin new` brings along: all that an author builds a plug-in with. It is made
/// anew whenever one of them changes, so that no binary carries an old one.
fn embed_sdk() {
    const SDK: [&str; 9] = [
        "Cargo.lock",
        "Cargo.toml",
        "LICENSE-APACHE",
        "LICENSE-MIT",
        "plugin-api/Cargo.toml",
        "plugin-api/abi/Cargo.toml",
        "plugin-api/abi/src",
        "plugin-api/include",
        "plugin-api/src",
    ];
    let mut files = Vec::new();
    for place in SDK.map(Path::new) {
        watch(place);
        if place.is_dir() { collect(place, &["rs", "h"], &mut files) } else { files.push(place.to_owned()) }
    }
    files.sort();
    let root = environment("CARGO_MANIFEST_DIR").unwrap_or_default();
    let entry = |file: &PathBuf| format!("({file:?}, include_str!({:?})),\n", Path::new(&root).join(file));
    let list = format!("&[\n{}]\n", files.iter().map(entry).collect::<String>());
    let written = environment("OUT_DIR").map(|directory| std::fs::write(Path::new(&directory).join("sdk.rs"), list));
    // Without the list the compiler says what is missing.
    if let Some(Err(error)) = written {
        println!("cargo::warning=the list of the SDK's files cannot be written: {error}");
    }
}

/// The commit of this work tree, or none when the source is not a repository of its own.
fn commit() -> Option<String> {
    let root = PathBuf::from(environment("CARGO_MANIFEST_DIR")?);
    let top = PathBuf::from(git(&["rev-parse", "--show-toplevel"])?);
    if top.canonicalize().ok()? != root.canonicalize().ok()? {
        return None;
    }
    // HEAD says which branch is checked out, its log grows with each commit.
    for name in ["HEAD", "logs/HEAD"] {
        if let Some(path) = git(&["rev-parse", "--git-path", name]) {
            watch(Path::new(&path));
        }
    }
    git(&["rev-parse", "--short=12", "HEAD"])
}

fn git(arguments: &[&str]) -> Option<String> {
    first_line(Command::new("git").args(arguments))
}

/// SHA-256 over the names and contents of the Rust files in `directory`, in the order of their names.
fn digest_of(directory: &Path) -> String {
    watch(directory);
    let mut files = Vec::new();
    collect(directory, &["rs"], &mut files);
    files.sort();
    let mut whole = Vec::new();
    for file in files {
        let content = std::fs::read(&file).unwrap_or_default();
        whole.extend_from_slice(format!("{} {}\n", file.display(), content.len()).as_bytes());
        whole.extend(content);
    }
    digest(&whole)
}

fn collect(directory: &Path, extensions: &[&str], files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, extensions, files);
        } else if path.extension().is_some_and(|extension| extensions.iter().any(|wanted| extension == *wanted)) {
            files.push(path);
        }
    }
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn shortened(digest: &str) -> String {
    digest.chars().take(16).collect()
}

fn first_line(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let line = text.lines().next()?.trim();
    (output.status.success() && !line.is_empty()).then(|| line.to_owned())
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn stamp(name: &str, value: &str) {
    println!("cargo::rustc-env={name}={value}");
}

fn watch(path: &Path) {
    if path.exists() {
        println!("cargo::rerun-if-changed={}", path.display());
    }
}
