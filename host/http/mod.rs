//! The floor `http`.
