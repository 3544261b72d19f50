//! The floor `supervisor`.
