//! An answer's body on its way to the client: bytes, or a plug-in's stream that is pulled as fast as the client reads.
//!
//! Start at [`Body`]. Bytes keep the loading of the library that frees them; a stream keeps its instance, as a call does.
//! [`EndlessStreams`] are those of one instance that it ends when it is to end itself.

use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http_body::{Frame, SizeHint};
use parking_lot::Mutex;

use super::libraries::Generation;
use super::running::Call;
use crate::abi::{AnswerStream, OpenBody, OwnedBytes};

/// What is sent as an answer's body.
pub enum Body {
    /// All of it.
    Whole(Bytes),
    /// A plug-in's stream.
    Stream(StreamBody),
    /// A plug-in's stream that was dropped, because there is no body to send (HEAD, for example).
    Unsent,
}

/// Why a body ends before it is whole; the log has more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the plug-in broke its answer off")]
pub struct BrokenOff;

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        match self.get_mut() {
            Self::Whole(bytes) if !bytes.is_empty() => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Stream(StreamBody(flow)) => flow.poll_next(task).map(|next| next.map(|next| next.map(Frame::data))),
            Self::Whole(_) | Self::Unsent => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Stream(_) => false,
            Self::Unsent => true,
        }
    }

    /// A stream's is not known, so that its answer has no `Content-Length`.
    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Stream(_) | Self::Unsent => SizeHint::default(),
        }
    }
}

/// Bodies and pieces up to this size are copied: cheaper than sharing, and it lets go of the generation.
const COPY_BYTES_MAX: usize = 1024;

/// A plug-in's bytes as the host's.
pub(super) fn bytes(bytes: OwnedBytes, generation: &Arc<Generation>) -> Bytes {
    if bytes.as_slice().len() <= COPY_BYTES_MAX {
        Bytes::copy_from_slice(bytes.as_slice())
    } else {
        Bytes::from_owner(Shared { bytes, _generation: Arc::clone(generation) })
    }
}

/// A plug-in's bytes on their way to the client; freed by the code that made them.
struct Shared {
    bytes: OwnedBytes,
    _generation: Arc<Generation>,
}

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_slice()
    }
}

/// A plug-in's stream as a body. Dropping it drops the plug-in's.
pub struct StreamBody(Arc<Flow>);

impl StreamBody {
    /// The stream of a call's answer. The request's body stays open as long: the answer may be made of it.
    #[must_use]
    pub(super) fn new(mut stream: AnswerStream, call: Call, body: Option<OpenBody>, request_id: &str) -> Self {
        stream.blame(call.slot);
        let endless = stream.is_endless().then(|| Arc::clone(&call));
        let source = Source { stream, _body: body, request_id: request_id.into(), call };
        let flow = Arc::new(Flow { stage: Mutex::new(Stage::Flowing(source)), task: AtomicWaker::new() });
        if let Some(running) = endless {
            running.endless_streams.add(&flow);
        }
        Self(flow)
    }
}

impl Drop for StreamBody {
    fn drop(&mut self) {
        drop(self.0.take(Stage::Ended));
    }
}

/// A stream under way, shared by who sends it and who may end it.
struct Flow {
    stage: Mutex<Stage>,
    /// The connection that sends it.
    task: AtomicWaker,
}

enum Stage {
    Flowing(Source),
    /// Taken out while the plug-in is asked, so that no lock is held meanwhile.
    Asked,
    /// The plug-in broke it off. Shown to the client only when what came before has gone out.
    BrokenOff,
    Ended,
}

/// Where a stream comes from. Dropped from the top: after the call the instance may close.
struct Source {
    stream: AnswerStream,
    _body: Option<OpenBody>,
    request_id: Box<str>,
    call: Call,
}

impl Flow {
    fn poll_next(&self, task: &Context<'_>) -> Poll<Option<Result<Bytes, BrokenOff>>> {
        self.task.register(task.waker());
        let mut source = match self.take(Stage::Asked) {
            Stage::Flowing(source) => source,
            Stage::BrokenOff => return Poll::Ready(Some(Err(BrokenOff))),
            Stage::Asked | Stage::Ended => return Poll::Ready(None),
        };
        let piece = match source.stream.poll_next(task) {
            Poll::Pending => None,
            Poll::Ready(Some(Ok(piece))) => Some(bytes(piece, &source.call.generation)),
            Poll::Ready(Some(Err(failure))) => {
                let (key, request_id) = (&source.call.key, &source.request_id);
                tracing::error!(instance = key, request_id, "instance {key}: an answer broke off: {failure}");
                self.take(Stage::BrokenOff);
                // The connection sends what it has while it waits, and would drop it at an error.
                task.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(None) => {
                self.take(Stage::Ended);
                return Poll::Ready(None);
            }
        };
        let mut stage = self.stage.lock();
        if matches!(*stage, Stage::Ended) {
            drop(stage);
            // Ended meanwhile. What was asked for is still sent.
            drop(source);
            return Poll::Ready(piece.map(Ok));
        }
        *stage = Stage::Flowing(source);
        piece.map_or(Poll::Pending, |piece| Poll::Ready(Some(Ok(piece))))
    }

    /// Takes out how it stands. What has ended, well or not, stays so.
    fn take(&self, leave: Stage) -> Stage {
        let mut stage = self.stage.lock();
        match &*stage {
            Stage::Flowing(_) | Stage::Asked => std::mem::replace(&mut *stage, leave),
            Stage::BrokenOff => Stage::BrokenOff,
            Stage::Ended => Stage::Ended,
        }
    }

    /// Ends it where it is, for the client as for the plug-in, also when the client does not read.
    fn end(&self) {
        drop(self.take(Stage::Ended));
        self.task.wake();
    }
}

/// The streams of an instance that are under way and have no end of their own.
#[derive(Default)]
pub(super) struct EndlessStreams(Mutex<Open>);

#[derive(Default)]
struct Open {
    /// Whether new ones are ended at once.
    ended: bool,
    flows: Vec<Weak<Flow>>,
    /// How many of them were left after the last clearing.
    left: usize,
}

/// Fewer streams than this are never cleared.
const CLEAR_LEN_MIN: usize = 64;

impl EndlessStreams {
    fn add(&self, flow: &Arc<Flow>) {
        let mut open = self.0.lock();
        if open.ended {
            drop(open);
            flow.end();
            return;
        }
        if open.flows.len() >= CLEAR_LEN_MIN.max(2 * open.left) {
            open.flows.retain(|flow| flow.strong_count() > 0);
            open.left = open.flows.len();
        }
        open.flows.push(Arc::downgrade(flow));
    }

    /// Ends all of them, and those to come. The plug-in's drops run here.
    pub(super) fn end(&self) {
        let flows = {
            let mut open = self.0.lock();
            open.ended = true;
            std::mem::take(&mut open.flows)
        };
        for flow in flows.iter().filter_map(Weak::upgrade) {
            flow.end();
        }
    }
}
