//! The body of a request to a plug-in: read whole, or handed on as it comes in.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::{Body, to_bytes};
use bytes::Bytes;
use futures_util::Stream;
use http::{HeaderMap, HeaderValue, header};
use http_body::Body as _;

use super::error::{BAD_REQUEST, BODY_TOO_LARGE, CONTENT_CODING, Problem};
use super::framing::{Broken, Refusal};
use super::http2::TooSlow;
use crate::runtime::{BodyError, RequestBody};

/// Reads the whole body; one that is announced as too large is refused before a byte of it is read.
pub(super) async fn read(body: Body, limit: u64) -> Result<RequestBody, Problem> {
    Ok(RequestBody::Whole(read_bytes(body, limit).await?))
}

/// The same, as bytes.
pub(super) async fn read_bytes(body: Body, limit: u64) -> Result<Bytes, Problem> {
    check_announced(&body, limit)?;
    let limit_in_memory = usize::try_from(limit).unwrap_or(usize::MAX);
    to_bytes(body, limit_in_memory).await.map_err(|error| cut(&error, limit))
}

/// Refuses a body that is compressed or otherwise encoded: the host's own routes read none (RFC 9110, section 8.4).
pub(super) fn check_coding(headers: &HeaderMap) -> Result<(), Problem> {
    let plain = |value: &HeaderValue| value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity");
    if headers.get_all(header::CONTENT_ENCODING).iter().all(plain) {
        return Ok(());
    }
    let problem = Problem::new(CONTENT_CODING, "expected a body without `Content-Encoding`");
    Err(problem.with(header::ACCEPT_ENCODING, "identity"))
}

/// Why a body could not be read to its end.
fn cut(error: &axum::Error, limit: u64) -> Problem {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<http_body_util::LengthLimitError>() {
            return too_large(limit);
        }
        cause = error.source();
    }
    why(error).map_or_else(|| Problem::new(BAD_REQUEST, "the body ended early"), Problem::from)
}

/// Why the framing did not let the rest of a body through, if that is what ended it.
fn why(error: &axum::Error) -> Option<Refusal> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        let within = error.downcast_ref::<std::io::Error>().and_then(|error| error.get_ref());
        if let Some(Broken(refusal)) = within.and_then(|within| within.downcast_ref()) {
            return Some(*refusal);
        }
        if error.is::<TooSlow>() {
            return Some(Refusal::TooSlow);
        }
        cause = error.source();
    }
    None
}

/// The body as it comes in; one that is announced as too large is refused.
pub(super) fn pieces(body: Body, limit: u64) -> Result<RequestBody, Problem> {
    check_announced(&body, limit)?;
    Ok(RequestBody::Pieces(Box::pin(Limited { body, left: limit, limit, has_failed: false })))
}

fn check_announced(body: &Body, limit: u64) -> Result<(), Problem> {
    if body.size_hint().lower() > limit { Err(too_large(limit)) } else { Ok(()) }
}

/// A body over the limit.
pub(super) fn too_large(limit: u64) -> Problem {
    Problem::new(BODY_TOO_LARGE, format!("expected at most {limit} bytes"))
}

/// A body as it comes in, up to a limit.
struct Limited {
    body: Body,
    left: u64,
    limit: u64,
    /// After an error there is nothing more.
    has_failed: bool,
}

impl Stream for Limited {
    type Item = Result<Bytes, BodyError>;

    fn poll_next(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.has_failed {
            return Poll::Ready(None);
        }
        loop {
            let frame = match ready!(Pin::new(&mut this.body).poll_frame(task)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => {
                    this.has_failed = true;
                    let error = match why(&error) {
                        Some(Refusal::TooSlow) => BodyError::TooSlow,
                        _ => BodyError::Cut(error.to_string()),
                    };
                    return Poll::Ready(Some(Err(error)));
                }
                Some(Ok(frame)) => frame,
            };
            // Trailers are nobody's business yet.
            let Ok(piece) = frame.into_data() else { continue };
            let Some(left) = this.left.checked_sub(piece.len() as u64) else {
                this.has_failed = true;
                return Poll::Ready(Some(Err(BodyError::TooLarge(this.limit))));
            };
            this.left = left;
            return Poll::Ready(Some(Ok(piece)));
        }
    }
}
