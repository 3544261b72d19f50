//! `porth::http::properties::json`, for any bytes.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| porth::http::properties::json(bytes));
