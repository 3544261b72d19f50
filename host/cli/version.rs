//! What `porth --version` says.

use std::sync::LazyLock;

use porth_abi::{ABI_DRAFT, ABI_MAJOR, ABI_MINOR};

/// Version, commit, compiler, target and the border, one a line.
pub(super) fn text() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        let border = match ABI_DRAFT {
            0 => format!("{ABI_MAJOR}.{ABI_MINOR}"),
            draft => format!("{ABI_MAJOR}.{ABI_MINOR} draft {draft}"),
        };
        format!(
            "{}\ncommit: {}\nrustc: {}\ntarget: {}\nABI: {border}, fingerprint {}",
            env!("CARGO_PKG_VERSION"),
            env!("PORTH_COMMIT"),
            env!("PORTH_RUSTC").trim_start_matches("rustc "),
            env!("PORTH_TARGET"),
            env!("PORTH_ABI_FINGERPRINT"),
        )
    });
    &TEXT
}
