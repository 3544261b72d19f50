//! `porth::http::properties::forwarded`, for any bytes.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| porth::http::properties::forwarded(bytes));
