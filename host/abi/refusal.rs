//! Why a library is not loaded: one sentence that names the file, what was found in it, and what this host takes.

use serde::{Deserialize, Serialize};

/// A library that is not loaded, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("library `{library}` {reason}")]
pub struct Refusal {
    /// The file's name.
    pub library: String,
    /// Why.
    pub reason: Reason,
}

/// Why a library is not loaded; a sentence whose subject is the library.
///
/// A probe sends it to its parent, hence `Serialize`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// It does not begin as ELF files do.
    #[error("is no ELF file")]
    NotElf,
    /// It is for another kind of machine.
    #[error("is compiled for {found}, this host for {supported}")]
    Machine {
        /// The library's class, byte order and machine.
        found: String,
        /// The host's.
        supported: String,
    },
    /// It is a program or an object file.
    #[error("is {found}, not a shared library")]
    NotShared {
        /// What it is instead.
        found: String,
    },
    /// The linker would stumble over it.
    #[error("is damaged or incomplete: {detail}")]
    Damaged {
        /// What is wrong.
        detail: String,
    },
    /// Nothing says that it was meant for this host.
    #[error("is not a Porth plug-in: it has no Porth note")]
    NoNote,
    /// Nothing says which note counts.
    #[error(
        "has {found} Porth notes, a plug-in has exactly one (does a crate that it depends on export a plug-in, too?)"
    )]
    Notes {
        /// How many.
        found: usize,
    },
    /// It was built for another draft of the ABI.
    #[error("speaks {}, this host speaks {}; build it anew", draft_name(*found), draft_name(*supported))]
    Draft {
        /// The library's draft, 0 for the frozen ABI.
        found: u32,
        /// The host's.
        supported: u32,
    },
    /// It was built for another major version of the ABI.
    #[error("speaks ABI {found}, this host speaks ABI {supported}")]
    Major {
        /// The library's major version.
        found: u32,
        /// The host's.
        supported: u32,
    },
    /// It uses what this host does not have yet.
    #[error("needs a host of ABI {major}.{found} or newer, this host speaks ABI {major}.{supported}")]
    HostTooOld {
        /// The major version of both.
        major: u32,
        /// The least minor version that the library works with.
        found: u32,
        /// The host's.
        supported: u32,
    },
    /// A panic in it would end the server.
    #[error(
        "is compiled with panic = \"abort\", this host takes panic = \"unwind\" only: \
         a panic must not end the server"
    )]
    PanicAbort,
    /// It says something about panics that this host does not know.
    #[error("has panic strategy {found}, this host knows 0 (no panics) and 1 (unwind)")]
    Panic {
        /// The number in the note.
        found: u32,
    },
    /// It was built for another target.
    #[error("is built for target {found}, this host for {supported}")]
    Target {
        /// The library's target.
        found: String,
        /// The host's.
        supported: String,
    },
    /// A struct that crosses the border lies differently in memory.
    #[error("lays out {what} differently: it says {found}, this host says {supported}")]
    Layout {
        /// Which struct or field.
        what: String,
        /// How it lies in the library.
        found: String,
        /// How it lies in the host.
        supported: String,
    },
    /// It does not export what the host looks for.
    #[error("exports no data symbol `{symbol}`{}", if *found_other { " (but something else of that name)" } else { "" })]
    Symbol {
        /// The symbol's name.
        symbol: String,
        /// Whether there is a symbol of that name that is not exported data.
        found_other: bool,
    },
    /// The dynamic linker refuses it.
    #[error("cannot be opened: {detail}")]
    NotOpened {
        /// What the linker says.
        detail: String,
    },
    /// Its table of entry points contradicts its note or itself.
    #[error("has a bad table `{symbol}`: {what} is {found}, this host expects {expected}")]
    Table {
        /// The symbol's name.
        symbol: String,
        /// Which entry.
        what: String,
        /// What is there.
        found: String,
        /// What should be there.
        expected: String,
    },
    /// A type or a function that crosses the border differs.
    #[error("differs from this host in what crosses the border: {detail}")]
    Signatures {
        /// The differences.
        detail: String,
    },
    /// It ended the probe by a signal.
    #[error("crashed {step} when it was probed: signal {signal} ({name}){output}")]
    Crashed {
        /// What it was doing.
        step: Step,
        /// The signal's number.
        signal: i32,
        /// The signal's name.
        name: String,
        /// What it wrote.
        output: Output,
    },
    /// It ended the probe by leaving.
    #[error("ended its process {step} when it was probed: exit code {code}{output}")]
    Exited {
        /// What it was doing.
        step: Step,
        /// The code.
        code: i32,
        /// What it wrote.
        output: Output,
    },
    /// It did not come to an end.
    #[error("was not done {step} after {deadline_ms} ms when it was probed{output}")]
    Hung {
        /// What it was doing.
        step: Step,
        /// How long the probe waited.
        deadline_ms: u64,
        /// What it wrote.
        output: Output,
    },
    /// Its `load` failed.
    #[error("refuses to load: {detail} (code {code})")]
    Load {
        /// What `load` answered.
        code: i32,
        /// What it said.
        detail: String,
    },
    /// What `load` says about its modules is not as the border demands.
    #[error("describes itself wrongly: {detail}")]
    Description {
        /// What is wrong.
        detail: String,
    },
    /// The probe could not be made; nothing is known of the library.
    #[error("could not be probed: {detail}")]
    Probe {
        /// Why.
        detail: String,
    },
}

/// How far a probe has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Before the library was touched.
    Start,
    /// The dynamic linker opens it and runs its constructors.
    Open,
    /// It describes its types.
    Layout,
    /// It describes its modules.
    Load,
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Start => "before it was opened",
            Self::Open => "while its constructors ran",
            Self::Layout => "while it described its types",
            Self::Load => "in `load`",
        })
    }
}

/// The end of what a library wrote to its standard output and error; may be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output(pub String);

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, "; it wrote: {}", self.0) }
    }
}

fn draft_name(draft: u32) -> String {
    if draft == 0 { "the frozen ABI".to_owned() } else { format!("draft {draft} of the ABI") }
}

impl Reason {
    pub(super) fn damaged(detail: impl Into<String>) -> Self {
        Self::Damaged { detail: detail.into() }
    }

    /// Names the library that this is about.
    pub(super) fn of(self, library: &str) -> Refusal {
        Refusal { library: library.to_owned(), reason: self }
    }
}
