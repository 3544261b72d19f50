//! The query of a request to the host's own routes.

use axum::extract::FromRequestParts;
use http::Uri;
use http::request::Parts;
use serde::de::DeserializeOwned;

use super::error::{INVALID, Problem};
use super::json::quoted;

/// What a query says; a member that is there twice is refused.
#[derive(Debug)]
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned> Query<T> {
    /// Of an address.
    pub(super) fn of(uri: &Uri) -> Result<Self, Problem> {
        axum::extract::Query::try_from_uri(uri)
            .map(|axum::extract::Query(read)| Self(read))
            .map_err(|rejection| Problem::new(INVALID, format!("query: {}", quoted(&rejection.body_text()))))
    }
}

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Self::of(&parts.uri)
    }
}
