//! The floor `domain`.
