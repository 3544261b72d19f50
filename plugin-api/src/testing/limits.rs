//! What an administrator can limit, as far as a plug-in notices.

/// Limits of a [`TestHost`](super::TestHost), by the names of the keys of `[limits]` and with their defaults:
/// `TestLimits { documents_max: 2, ..TestLimits::default() }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestLimits {
    /// The largest request body in bytes where an endpoint says nothing else (413); 1 MiB.
    pub body_bytes_max: u64,
    /// How long an endpoint may take in milliseconds, by the host's clock, where it says nothing else (504); 30000.
    pub deadline_ms: u64,
    /// How many documents each instance may keep; one more is [`HostError::Busy`](crate::HostError::Busy); 100000.
    pub documents_max: usize,
    /// How many bytes they may have together, likewise: collections, keys and values; 256 MiB.
    pub documents_bytes_max: usize,
    /// The largest value in bytes; a larger one is [`HostError::Parameter`](crate::HostError::Parameter); 1 MiB.
    pub document_bytes_max: usize,
    /// How many panics within `panics_window_ms` close the instance to requests (503); 10, and 0 means that none do.
    pub panics_max: usize,
    /// How long a panic counts, in milliseconds; 60000.
    pub panics_window_ms: u64,
    /// How long such an instance stays closed until one request may try it again, in milliseconds; 30000.
    pub broken_ms: u64,
}

impl Default for TestLimits {
    fn default() -> Self {
        Self {
            body_bytes_max: 1 << 20,
            deadline_ms: 30_000,
            documents_max: 100_000,
            documents_bytes_max: 256 << 20,
            document_bytes_max: 1 << 20,
            panics_max: 10,
            panics_window_ms: 60_000,
            broken_ms: 30_000,
        }
    }
}
