//! How much of a test to run: `make test` runs reduced counts, `make soak` the full ones.

/// `full` with `PORTH_TEST_SCALE=full`, else `reduced`.
pub(crate) fn scaled(reduced: usize, full: usize) -> usize {
    if std::env::var_os("PORTH_TEST_SCALE").is_some_and(|scale| scale == "full") { full } else { reduced }
}
