//! Versions of a library: `tests/fixtures/c/versions.c`, compiled as a test wants it.

use std::path::Path;
use std::process::Command;

use super::process::InTime as _;
use super::server::{Reply, Server};

/// The file that a version is dropped as.
pub(crate) const FILE: &str = "libversions.so";

/// Compiles a version, with definitions such as `INIT=return PORTH_ERROR`.
pub(crate) fn compile(version: u32, definitions: &[&str]) -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let directory = tempfile::tempdir().unwrap();
    let library = directory.path().join("library.so");
    let compiled = Command::new("cc")
        .args(["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-I"])
        .arg(root.join("plugin-api/include"))
        .arg(format!("-DVERSION={version}"))
        .args(definitions.iter().map(|definition| format!("-D{definition}")))
        .arg(root.join("tests/fixtures/c/versions.c"))
        .arg("-o")
        .arg(&library)
        .output_in_time();
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    std::fs::read(library).unwrap()
}

/// Other bytes of the same library: what follows the end of an ELF file changes its digest only.
pub(crate) fn disguised(library: &[u8], number: u32) -> Vec<u8> {
    [library, &number.to_ne_bytes()].concat()
}

impl Server {
    /// Renames a file into the plug-in directory, as an administrator should.
    pub(crate) fn install(&self, file: &str, bytes: &[u8]) {
        let new = tempfile::NamedTempFile::new_in(self.plugins()).unwrap();
        std::fs::write(new.path(), bytes).unwrap();
        new.persist(self.plugins().join(file)).unwrap();
    }

    /// Installs a version and asks for its reload.
    pub(crate) fn reload(&self, bytes: &[u8]) -> Reply {
        self.install(FILE, bytes);
        self.ask_reload(FILE)
    }

    pub(crate) fn ask_reload(&self, file: &str) -> Reply {
        self.admin("PUT", &format!("/api/admin/library/{file}/reload"), None)
    }

    /// `porth plugin allow` for a file of the plug-in directory; what it prints.
    pub(crate) fn allow(&self, file: &str) -> String {
        let output = self.porth(&["plugin", "allow"]).arg(self.plugins().join(file)).output_in_time();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// A library as administrators see it.
    pub(crate) fn library(&self, file: &str) -> serde_json::Value {
        self.admin("GET", &format!("/api/admin/library/{file}"), None).json()
    }

    /// `version.generation` of who answers for an instance, or the error.
    pub(crate) fn version(&self, instance: &str) -> String {
        let reply = self.get(&format!("/api/{instance}/version"));
        if reply.status != 200 {
            return reply.summary();
        }
        let body = reply.json();
        assert_eq!(body["generation"], body["host"], "`init` and `host_info` agree on the generation");
        format!("{}.{}", body["version"], body["generation"])
    }
}
