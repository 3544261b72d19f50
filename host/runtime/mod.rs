//! The floor `runtime`.
