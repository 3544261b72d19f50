//! A question to the host that can be awaited, or waited for.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use serde::de::DeserializeOwned;

use crate::bytes::HostBytes;
use crate::callbacks::{HostCall, decode};
use crate::host_error::HostError;

/// A question to the host: await it, or wait for it with [`blocking`](Self::blocking). It is the plug-in's: to drop it is to
/// wait no longer; what the host was asked to change may be changed all the same.
#[must_use = "nothing happens before it is awaited"]
pub struct Ask<R> {
    /// The call, or why there is none; `None` once that was told.
    call: Result<HostCall, Option<HostError>>,
    read: fn(Result<HostBytes, HostError>) -> Result<R, HostError>,
}

impl<R> Ask<R> {
    pub(crate) fn new(
        call: Result<HostCall, HostError>,
        read: fn(Result<HostBytes, HostError>) -> Result<R, HostError>,
    ) -> Self {
        Self { call: call.map_err(Some), read }
    }

    /// Waits on this thread, which must be the instance's own.
    ///
    /// # Errors
    /// [`HostError::WouldBlock`] on any other thread, and what the question itself fails with.
    pub fn blocking(self) -> Result<R, HostError> {
        let answer = match self.call {
            Ok(call) => call.wait(),
            Err(error) => Err(error.unwrap_or_else(ended)),
        };
        (self.read)(answer)
    }
}

impl Ask<()> {
    /// An answer that says only that it is done.
    pub(crate) fn done(call: Result<HostCall, HostError>) -> Self {
        Self::new(call, |answer| answer.map(drop))
    }
}

impl<R: DeserializeOwned> Ask<R> {
    /// An answer that is read from JSON.
    pub(crate) fn record(call: Result<HostCall, HostError>) -> Self {
        Self::new(call, |answer| decode_owned(&answer?))
    }
}

impl<R: DeserializeOwned> Ask<Option<R>> {
    /// An answer that is read from JSON, unless there is no such thing.
    pub(crate) fn record_if_any(call: Result<HostCall, HostError>) -> Self {
        Self::new(call, |answer| match answer {
            Ok(answer) => decode_owned(&answer).map(Some),
            Err(HostError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        })
    }
}

fn decode_owned<R: DeserializeOwned>(answer: &HostBytes) -> Result<R, HostError> {
    decode(answer)
}

impl<R> Future for Ask<R> {
    type Output = Result<R, HostError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = match &mut self.call {
            Ok(call) => match Pin::new(call).poll(context) {
                Poll::Ready(answer) => answer,
                Poll::Pending => return Poll::Pending,
            },
            Err(error) => Err(error.take().unwrap_or_else(ended)),
        };
        Poll::Ready((self.read)(answer))
    }
}

impl<R> fmt::Debug for Ask<R> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Ask")
    }
}

fn ended() -> HostError {
    HostError::Failed("the call has ended".to_owned())
}
