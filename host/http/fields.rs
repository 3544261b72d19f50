//! JSON bodies, to be read member by member.

use std::ops::{Deref, DerefMut};

use axum::body::{Body, to_bytes};
use http::{Request, header};
use http_body::Body as _;
use serde_json::Value;

use super::error::{BODY_TOO_LARGE, Problem};
use crate::domain::fields;

/// Bodies of the host's own routes are no larger.
pub(super) const BODY_BYTES_MAX: usize = 1 << 20;

/// The JSON object in a body, being read.
#[derive(Debug)]
pub(super) struct Fields(fields::Fields);

impl Fields {
    /// Reads the body of a request that need not have one.
    pub(super) async fn read_or_none(request: Request<Body>) -> Result<Self, Problem> {
        if request.body().is_end_stream() {
            return Ok(Self(fields::Fields::new(serde_json::Map::new())));
        }
        Self::read(request).await
    }

    /// Reads the body of a request.
    pub(super) async fn read(request: Request<Body>) -> Result<Self, Problem> {
        let json = request
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split(';').next())
            .is_some_and(|value| value.trim().eq_ignore_ascii_case("application/json"));
        if !json {
            return Err(Problem::invalid(vec!["header: expected `Content-Type: application/json`".to_owned()]));
        }
        let body = to_bytes(request.into_body(), BODY_BYTES_MAX)
            .await
            .map_err(|_| Problem::new(BODY_TOO_LARGE, format!("expected at most {BODY_BYTES_MAX} bytes")))?;
        match serde_json::from_slice(&body) {
            Ok(Value::Object(members)) => Ok(Self(fields::Fields::new(members))),
            Ok(_) => Err(Problem::invalid(vec!["body: expected a JSON object".to_owned()])),
            Err(error) => Err(Problem::invalid(vec![format!("body: no valid JSON: {error}")])),
        }
    }

    /// All that was wrong, if anything was.
    pub(super) fn finish(self) -> Result<(), Problem> {
        let errors = self.0.finish();
        if errors.is_empty() { Ok(()) } else { Err(Problem::invalid(errors)) }
    }
}

impl Deref for Fields {
    type Target = fields::Fields;

    fn deref(&self) -> &fields::Fields {
        &self.0
    }
}

impl DerefMut for Fields {
    fn deref_mut(&mut self) -> &mut fields::Fields {
        &mut self.0
    }
}
