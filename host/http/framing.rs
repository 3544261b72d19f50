//! The stream of a connection in HTTP/1, between the system and hyper: refuses what hyper would pass over, and notes how
//! long the client takes.
//!
//! Start at [`Framing`]. What is in order is handed on untouched and uncopied; of what is not, hyper never sees the end of
//! a header, so that it calls no handler. The refusal is written when the requests before it are answered.

mod pace;
mod scanner;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub(super) use pace::{Late, Pace, Watch};
pub(super) use scanner::Refusal;
#[cfg(any(test, fuzzing))]
pub(super) use scanner::properties::begins_and_ends_as_hyper_says;
use scanner::{Refused, Scanner};

/// A stream whose requests are looked at as they come in.
#[derive(Debug)]
pub(super) struct Framing<I> {
    stream: I,
    watch: Arc<Watch>,
    scanner: Scanner,
    refused: Option<Refused>,
    /// Whether everything before the refusal is answered, so that it is what comes next.
    is_owed: bool,
    read: pace::Meter,
    written: pace::Meter,
}

impl<I> Framing<I> {
    pub(super) fn new(stream: I, watch: Arc<Watch>) -> Self {
        let scanner = Scanner::new(watch.pace.header_bytes_max);
        Self {
            stream,
            watch,
            scanner,
            refused: None,
            is_owed: false,
            read: pace::Meter::of_requests(),
            written: pace::Meter::of_answers(),
        }
    }

    /// What the client is to be told when hyper has ended, if anything.
    pub(super) fn owed(&self) -> Option<Refusal> {
        self.refused.filter(|_| self.is_owed).map(|refused| refused.refusal)
    }

    /// The stream, without its framing.
    pub(super) fn into_inner(self) -> I {
        self.stream
    }

    /// What is read from now on: nothing.
    fn poll_refused(&mut self, refused: Refused) -> Poll<io::Result<()>> {
        if refused.in_body {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, Broken(refused.refusal))));
        }
        // To hyper the end of what it reads is the end of the client, for whom it would answer nothing any more.
        if self.watch.is_answering() {
            return Poll::Pending;
        }
        self.is_owed = true;
        Poll::Ready(Ok(()))
    }

    /// What comes of a client that took too long, if it did.
    fn late(&mut self) -> Option<Refused> {
        if !self.watch.is_late.swap(false, Ordering::Relaxed) {
            return None;
        }
        let in_body = self.scanner.in_body();
        (in_body || self.scanner.in_header()).then_some(Refused { refusal: Refusal::TooSlow, bytes_before: 0, in_body })
    }

    fn noted(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &written {
            Poll::Pending => self.written.waits(&self.watch, &self.watch.answer_due_ms),
            Poll::Ready(written) => {
                let bytes = *written.as_ref().unwrap_or(&0);
                self.written.moved(bytes, &self.watch, &self.watch.answer_due_ms);
            }
        }
        written
    }
}

/// Why a body that was let through is cut off.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the body is cut off: {0:?}")]
pub(super) struct Broken(pub(super) Refusal);

impl<I: AsyncRead + Unpin> AsyncRead for Framing<I> {
    fn poll_read(mut self: Pin<&mut Self>, task: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.refused = this.refused.or_else(|| this.late());
        if let Some(refused) = this.refused {
            return this.poll_refused(refused);
        }
        let before = buffer.filled().len();
        let Poll::Ready(read) = Pin::new(&mut this.stream).poll_read(task, buffer) else {
            if this.scanner.in_body() {
                this.read.waits(&this.watch, &this.watch.body_due_ms);
            }
            return Poll::Pending;
        };
        read?;
        let bytes = buffer.filled().get(before..).unwrap_or_default();
        // Some bytes now and then, each before anybody looked, are too slow all the same.
        let is_overdue = this.watch.is_overdue(&this.watch.body_due_ms);
        this.read.moved(bytes.len(), &this.watch, &this.watch.body_due_ms);
        let scanned = this.scanner.scan(bytes);
        this.watch.requests.store(this.scanner.requests, Ordering::Relaxed);
        this.watch.header_is_coming(this.scanner.in_header());
        if is_overdue && this.scanner.in_body() {
            this.watch.is_late.store(true, Ordering::Relaxed);
        }
        let Err(refused) = scanned else { return Poll::Ready(Ok(())) };
        this.refused = Some(refused);
        this.watch.header_is_coming(false);
        buffer.set_filled(before + refused.bytes_before);
        if refused.bytes_before > 0 { Poll::Ready(Ok(())) } else { this.poll_refused(refused) }
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Framing<I> {
    fn poll_write(mut self: Pin<&mut Self>, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(task, bytes);
        self.noted(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(task, slices);
        self.noted(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(task);
        let _ = self.noted(if flushed.is_ready() { Poll::Ready(Ok(0)) } else { Poll::Pending });
        ready!(flushed)?;
        self.watch.flushed();
        if self.refused.is_some() && !self.watch.is_answering() {
            // hyper waits for something to read.
            task.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_owed {
            return Pin::new(&mut self.stream).poll_flush(task);
        }
        Pin::new(&mut self.stream).poll_shutdown(task)
    }
}
