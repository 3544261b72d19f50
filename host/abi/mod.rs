//! The border as the host sees it; the only floor with `unsafe`.
#![allow(unsafe_code, reason = "the one floor that calls into plug-ins; every other floor denies it")]
