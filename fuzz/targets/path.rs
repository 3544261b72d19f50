//! `porth::http::properties::path`, for any bytes.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| porth::http::properties::path(bytes));
