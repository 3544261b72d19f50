//! The floor `telemetry`.
