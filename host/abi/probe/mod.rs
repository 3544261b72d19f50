//! Trying a library in a process of its own before the server opens it.
//!
//! Opening a library runs its constructors, and checking it runs more of it; what crashes, hangs or leaves then does so
//! in a child that lives for this only. Start at [`Prober`]; [`main`] is the child's side.

mod cache;
mod child;
mod process;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::cache::Cache;
pub use self::child::main;
use super::description::{ModuleDescription, parse_description};
use super::judge::Judged;
use super::refusal::{Reason, Refusal, Step};
use super::staging::Staged;

/// Probes libraries, and remembers under the data directory which passed with this build of the host.
#[derive(Clone, Debug)]
pub struct Prober {
    program: PathBuf,
    deadline: Duration,
    cache: Cache,
}

impl Prober {
    /// Probes with this program; the code of each library gets two seconds.
    #[must_use]
    pub fn new(data: &Path) -> Self {
        Self { program: PathBuf::from("/proc/self/exe"), deadline: Duration::from_secs(2), cache: Cache::new(data) }
    }

    /// Probes with another program: `<program> probe -- <copy> <name>` must call [`main`].
    #[must_use]
    pub fn with_program(self, program: &Path) -> Self {
        Self { program: program.to_owned(), ..self }
    }

    /// Opens a staged library in a child, checks it there, lets it describe its modules, and answers those. A library
    /// that passed before is not tried again. Several threads may probe at the same time.
    ///
    /// # Errors
    ///
    /// When the library does not survive this, is refused, or describes itself wrongly.
    pub fn probe(&self, staged: &Staged, judged: &Judged) -> Result<Vec<ModuleDescription>, Refusal> {
        self.probe_or_recall(staged, judged).map_err(|reason| reason.of(staged.library()))
    }

    fn probe_or_recall(&self, staged: &Staged, judged: &Judged) -> Result<Vec<ModuleDescription>, Reason> {
        if judged.digest != staged.digest() {
            return Err(Reason::Probe { detail: "it was not judged".to_owned() });
        }
        let remembered = self.cache.get(staged.digest());
        if let Some(Ok(modules)) = remembered.map(|description| parse_description(description.as_bytes())) {
            return Ok(modules);
        }
        match process::run(&self.program, staged, self.deadline)? {
            Line::Passed { digest, description } if digest == staged.digest().to_string() => {
                let parsed = parse_description(description.as_bytes());
                let modules = parsed.map_err(|detail| Reason::Description { detail })?;
                self.cache.put(staged.digest(), &description);
                Ok(modules)
            }
            Line::Refused(reason) => Err(reason),
            Line::Passed { .. } | Line::Next(_) => {
                Err(Reason::Probe { detail: "what its probe answered is about another file".to_owned() })
            }
        }
    }
}

/// What the child tells its parent, one JSON object a line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    /// What it does next.
    Next(Step),
    /// The file of this digest has passed, and says this about itself.
    Passed { digest: String, description: String },
    /// It is not to be loaded.
    Refused(Reason),
}
