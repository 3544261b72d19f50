//! `porth plugin`: what this host thinks of a library, without a server.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::Failure;
use crate::abi::{Judged, ModuleDescription, Panic, Prober, StagingDirectory, judge};
use crate::config::Limits;

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

/// A directory of this process that goes with it.
struct Scratch {
    path: PathBuf,
}

impl Scratch {
    fn new() -> std::io::Result<Self> {
        let path = std::env::temp_dir().join(format!("porth-check-{}", std::process::id()));
        // Fails if it is there: somebody else may own it.
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self { path })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // The system clears what is left in its temporary directory.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
