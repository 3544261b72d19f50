//! Judging a library before anything of it is loaded: its segments, its note, its layout rows. Whatever the bytes are, there
//! is an answer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = porth::abi::judge_bytes(bytes);
});
