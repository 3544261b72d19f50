//! The floor `store`.
