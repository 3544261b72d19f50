//! What is unsafe or odd about plug-ins' libraries and where they lie.

use serde_json::Value;

use super::super::super::output::text;
use super::super::facts::{Entry, Facts};
use super::{Finding, error, note, warning, when};
use crate::config::Trust;

pub(super) fn plugin_directory(facts: &Facts) -> Vec<Finding> {
    let remedy = "nothing is loaded from it until that is mended";
    facts.plugins_refused.iter().map(|reason| error("plugins", reason, remedy)).collect()
}

/// Whoever can rename a folder above can put another in its place.
pub(super) fn folders_above_plugins(facts: &Facts) -> Vec<Finding> {
    let unsafe_one = facts.above_plugins.iter().find(|folder| {
        let (others_write, sticky) = (folder.mode & 0o022 != 0, folder.mode & 0o1000 != 0);
        // In a sticky folder others cannot rename what is not theirs.
        (others_write && !sticky) || (folder.uid != 0 && folder.uid != facts.uid)
    });
    let found = unsafe_one.map(|Entry { path, uid, mode }| {
        let path = path.display();
        let text = format!(
            "others can put another plug-in directory in place: `{path}` above it belongs to user {uid}, mode {mode:04o}"
        );
        error("plugins-parents", text, "move `plugins` below folders that only root or the server's user can write to")
    });
    found.into_iter().collect()
}

pub(super) fn trust(facts: &Facts) -> Vec<Finding> {
    when(facts.config.trust == Trust::Directory, || {
        let text = "whoever can write to the plug-in directory decides what code runs (`trust = \"directory\"`)";
        warning("trust", text, "`porth plugin allow FILE` for each library, then `trust = \"lock\"`")
    })
}

pub(super) fn list_of_digests(facts: &Facts) -> Vec<Finding> {
    let refused = facts.lock_refused.iter().map(|reason| {
        let remedy = "while the list cannot be used, `trust = \"lock\"` loads nothing";
        if facts.config.trust == Trust::Lock {
            error("lock-refused", reason, remedy)
        } else {
            warning("lock-refused", reason, remedy)
        }
    });
    let unmatched = facts.lock_unmatched.iter().map(|name| {
        let text = format!("`plugins.lock` allows a version of {name} that is not in the plug-in directory");
        note("lock-unmatched", text, "keep it to go back to that version, or take the line out")
    });
    refused.chain(unmatched).collect()
}

pub(super) fn libraries(facts: &Facts) -> Vec<Finding> {
    let found = facts.libraries.iter().filter_map(|library| {
        let file = &library.file;
        let reason = library.reason.as_deref().unwrap_or("no reason was left");
        match library.verdict.as_str() {
            "refused" => {
                let text = format!("the library {file} is refused: {reason}");
                Some(warning(
                    "library-refused",
                    text,
                    format!("replace or remove it; `porth plugin check {}`", place(facts, file)),
                ))
            }
            "unlisted" => {
                let text = format!("the library {file} is not in `plugins.lock`");
                Some(warning(
                    "library-unlisted",
                    text,
                    format!("`porth plugin allow {}`, or remove it", place(facts, file)),
                ))
            }
            "gone" => {
                let text = format!("the library {file} is loaded, and its file is gone: a restart runs without it");
                Some(note("library-gone", text, "put it back, or delete its instances"))
            }
            _ => None,
        }
    });
    found.collect()
}

/// A library where commands find it.
fn place(facts: &Facts, file: &str) -> String {
    facts.config.plugins.join(file).display().to_string()
}

pub(super) fn mock_modules(facts: &Facts) -> Vec<Finding> {
    let is_mock = |modules: &[String]| modules.iter().any(|module| module.rsplit('/').next() == Some("mock"));
    let library = facts.libraries.iter().find(|library| library.file == "libmock.so" || is_mock(&library.modules));
    let instances = facts.records.iter().flat_map(|records| &records.instances);
    let used = instances.filter(|instance| text(instance, "module") == "mock").map(|instance| {
        let key = format!("{}/{}", text(instance, "kind"), text(instance, "name"));
        let found = format!("the instance {key} is a mock, made for tests: everybody knows its passwords and codes");
        let is_declared = instance.get("declared") == Some(&Value::Bool(true));
        let remedy = if is_declared {
            "take it out of the configuration file".to_owned()
        } else {
            format!("porth instance delete {key}")
        };
        error("mock-instance", found, remedy)
    });
    let library = library.map(|library| {
        let found = format!("the library {} has mocks, made for tests", library.file);
        error("mock-library", found, "remove it from the plug-in directory")
    });
    used.chain(library).collect()
}
