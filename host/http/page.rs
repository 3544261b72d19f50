//! Which part of a list a request asks for: `offset`, `limit`, `pattern`.

use axum::extract::FromRequestParts;
use http::request::Parts;
use serde::Deserialize;

use super::App;
use super::error::{INVALID, Problem};
use super::query::Query;
use crate::domain::Page;

const LIMIT_DEFAULT: u32 = 100;
const LIMIT_MAX: u32 = 200;

/// The part of a list, of 1 to 200.
#[derive(Debug)]
pub(super) struct Asked(pub(super) Page);

/// The part of a list, of which a limit of 0 means all.
#[derive(Debug)]
pub(super) struct AskedOrAll(pub(super) Page);

#[derive(Debug, Deserialize)]
struct Parameters {
    offset: Option<u32>,
    limit: Option<u32>,
    pattern: Option<String>,
}

impl FromRequestParts<App> for Asked {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let AskedOrAll(page) = AskedOrAll::from_request_parts(parts, app).await?;
        if page.limit == u32::MAX { Err(wrong(0)) } else { Ok(Self(page)) }
    }
}

impl FromRequestParts<App> for AskedOrAll {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        let Query(asked) = Query::<Parameters>::of(&parts.uri)?;
        let limit = match asked.limit.unwrap_or(LIMIT_DEFAULT) {
            0 => u32::MAX,
            limit if limit <= LIMIT_MAX => limit,
            limit => return Err(wrong(limit)),
        };
        let pattern = asked.pattern.unwrap_or_default();
        Ok(Self(Page { pattern, offset: asked.offset.unwrap_or(0), limit }))
    }
}

fn wrong(limit: u32) -> Problem {
    Problem::new(INVALID, format!("limit: expected 1 to {LIMIT_MAX}, found {limit}"))
}
