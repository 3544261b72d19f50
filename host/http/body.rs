//! The body of a request to a plug-in: read whole, or handed on as it comes in.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::{Body, to_bytes};
use bytes::Bytes;
use futures_util::Stream;
use http_body::Body as _;

use super::error::{BAD_REQUEST, BODY_TOO_LARGE, Problem};
use crate::runtime::{BodyError, RequestBody};

/// Reads the whole body; one that is announced as too large is refused before a byte of it is read.
pub(super) async fn read(body: Body, limit: u64) -> Result<RequestBody, Problem> {
    if body.is_end_stream() {
        return Ok(RequestBody::Whole(Bytes::new()));
    }
    check_announced(&body, limit)?;
    let limit_in_memory = usize::try_from(limit).unwrap_or(usize::MAX);
    let body = to_bytes(body, limit_in_memory).await.map_err(|error| {
        let of_length =
            std::error::Error::source(&error).is_some_and(|source| source.is::<http_body_util::LengthLimitError>());
        if of_length { too_large(limit) } else { Problem::new(BAD_REQUEST, "the body ended early") }
    })?;
    Ok(RequestBody::Whole(body))
}

/// The body as it comes in; one that is announced as too large is refused.
pub(super) fn pieces(body: Body, limit: u64) -> Result<RequestBody, Problem> {
    if body.is_end_stream() {
        return Ok(RequestBody::Whole(Bytes::new()));
    }
    check_announced(&body, limit)?;
    Ok(RequestBody::Pieces(Box::pin(Limited { body, left: limit, limit })))
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
}

impl Stream for Limited {
    type Item = Result<Bytes, BodyError>;

    fn poll_next(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            let frame = match ready!(Pin::new(&mut this.body).poll_frame(task)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(BodyError::Cut(error.to_string())))),
                Some(Ok(frame)) => frame,
            };
            // Trailers are nobody's business yet.
            let Ok(piece) = frame.into_data() else { continue };
            let Some(left) = this.left.checked_sub(piece.len() as u64) else {
                return Poll::Ready(Some(Err(BodyError::TooLarge(this.limit))));
            };
            this.left = left;
            return Poll::Ready(Some(Ok(piece)));
        }
    }
}
