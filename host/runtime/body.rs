//! An answer's body on its way to the client: bytes, or a plug-in's stream that is pulled as fast as the client reads.
//!
//! Start at [`Body`]. Bytes keep the loading of the library that frees them; a stream keeps its instance, as a call does.
//! [`EndlessStreams`] are those of one instance that it ends when it is to end itself.

use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http_body::{Frame, SizeHint};
use parking_lot::Mutex;

use super::libraries::Generation;
use super::running::Call;
use super::threads::{Overdue, Threads};
use crate::abi::{AnswerStream, OpenBody, OwnedBytes};
use crate::telemetry::request::{self, Ids};

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
    pub(super) fn new(mut stream: AnswerStream, call: Call, body: Option<OpenBody>) -> Self {
        stream.blame(call.slot);
        let endless = stream.is_endless().then(|| Arc::clone(&call));
        let source = Source { stream, _body: body, ids: request::current(), call };
        let flow = Arc::new(Flow { stage: Mutex::new(Stage::Flowing(source)), task: AtomicWaker::new() });
        if let Some(running) = endless {
            running.endless_streams.add(&flow);
        }
        Self(flow)
    }
}

impl Drop for StreamBody {
    fn drop(&mut self) {
        self.0.leave();
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
    /// A thread of the instance asks the plug-in, which must not be asked on a worker.
    Away {
        /// Whether somebody has looked meanwhile.
        wanted: bool,
        threads: Threads,
    },
    /// What the thread has brought.
    Brought(Source, Bytes),
    /// The plug-in broke it off. Shown to the client only when what came before has gone out.
    BrokenOff,
    /// It has ended; with a thread that asked for it and has not come back.
    Ended(#[expect(dead_code, reason = "counts the thread until it is dropped")] Option<Overdue>),
}

/// Where a stream comes from. Dropped from the top: after the call the instance may close.
struct Source {
    stream: AnswerStream,
    _body: Option<OpenBody>,
    /// The request that it answers.
    ids: Option<Ids>,
    call: Call,
}

/// What came of asking a plug-in.
enum Asked {
    Piece(Bytes),
    NotYet,
    BrokenOff,
    End,
}

impl Source {
    fn ask(&mut self, task: &Context<'_>) -> Asked {
        let _entered = request::enter(self.ids);
        match self.stream.poll_next(task) {
            Poll::Pending => Asked::NotYet,
            Poll::Ready(Some(Ok(piece))) => Asked::Piece(bytes(piece, &self.call.generation)),
            Poll::Ready(Some(Err(failure))) => {
                let key = &self.call.key;
                tracing::error!(instance = key, "instance {key}: an answer broke off: {failure}");
                Asked::BrokenOff
            }
            Poll::Ready(None) => Asked::End,
        }
    }

    /// Drops it where the plug-in's code may run.
    fn drop_in_place(self) {
        if self.call.health.may_use_workers() {
            return;
        }
        let threads = self.call.threads.clone();
        threads.clone().go_on(Box::new(move || {
            // Nobody waits for it, so that it counts as stuck from the start, should its drop not come back.
            let overdue = threads.overdue();
            drop(self);
            drop(overdue);
        }));
    }
}

impl Flow {
    fn poll_next(self: &Arc<Self>, task: &Context<'_>) -> Poll<Option<Result<Bytes, BrokenOff>>> {
        self.task.register(task.waker());
        let mut source = match self.take() {
            Stage::Flowing(source) => source,
            Stage::Brought(source, piece) => {
                self.put(source);
                return Poll::Ready(Some(Ok(piece)));
            }
            Stage::Away { .. } => return Poll::Pending,
            Stage::BrokenOff => return Poll::Ready(Some(Err(BrokenOff))),
            Stage::Asked | Stage::Ended(_) => return Poll::Ready(None),
        };
        if !source.call.health.may_use_workers() {
            self.ask_away(source, task.waker().clone());
            return Poll::Pending;
        }
        match source.ask(task) {
            Asked::Piece(piece) => {
                self.put(source);
                Poll::Ready(Some(Ok(piece)))
            }
            Asked::NotYet => {
                if self.put(source) {
                    Poll::Pending
                } else {
                    Poll::Ready(None)
                }
            }
            Asked::BrokenOff => {
                self.finish(Stage::BrokenOff);
                // The connection sends what it has while it waits, and would drop it at an error.
                task.waker().wake_by_ref();
                Poll::Pending
            }
            Asked::End => {
                self.finish(Stage::Ended(None));
                Poll::Ready(None)
            }
        }
    }

    /// Has a thread of the instance ask, which wakes the connection when it has something to say.
    fn ask_away(self: &Arc<Self>, source: Source, waker: Waker) {
        let threads = source.call.threads.clone();
        {
            let mut stage = self.stage.lock();
            if matches!(*stage, Stage::Ended(_)) {
                drop(stage);
                source.drop_in_place();
                return;
            }
            *stage = Stage::Away { wanted: false, threads: threads.clone() };
        }
        let flow = Arc::clone(self);
        threads.go_on(Box::new(move || flow.ask_here(source, &waker)));
    }

    /// On a thread of the instance.
    fn ask_here(&self, mut source: Source, waker: &Waker) {
        let asked = source.ask(&Context::from_waker(waker));
        let mut stage = self.stage.lock();
        let Stage::Away { wanted, .. } = &*stage else {
            // Ended meanwhile: this is where it is dropped, and where the thread is free again.
            let ended = std::mem::replace(&mut *stage, Stage::Ended(None));
            drop(stage);
            drop(source);
            drop(ended);
            return;
        };
        let wake = *wanted || !matches!(asked, Asked::NotYet);
        let (next, done) = match asked {
            Asked::Piece(piece) => (Stage::Brought(source, piece), None),
            Asked::NotYet => (Stage::Flowing(source), None),
            Asked::BrokenOff => (Stage::BrokenOff, Some(source)),
            Asked::End => (Stage::Ended(None), Some(source)),
        };
        *stage = next;
        drop(stage);
        drop(done);
        if wake {
            self.task.wake();
        }
    }

    /// Takes out how it stands, to go on with it. What has ended, well or not, stays so; so does what is away.
    fn take(&self) -> Stage {
        let mut stage = self.stage.lock();
        match &mut *stage {
            Stage::Flowing(_) | Stage::Brought(..) | Stage::Asked => std::mem::replace(&mut *stage, Stage::Asked),
            Stage::Away { wanted, threads } => {
                *wanted = true;
                Stage::Away { wanted: true, threads: threads.clone() }
            }
            Stage::BrokenOff => Stage::BrokenOff,
            Stage::Ended(_) => Stage::Ended(None),
        }
    }

    /// Puts it back; `false` when it has ended meanwhile.
    fn put(&self, source: Source) -> bool {
        let mut stage = self.stage.lock();
        if matches!(*stage, Stage::Ended(_)) {
            drop(stage);
            source.drop_in_place();
            return false;
        }
        *stage = Stage::Flowing(source);
        true
    }

    /// It has come to an end while it was taken out.
    fn finish(&self, end: Stage) {
        let mut stage = self.stage.lock();
        if !matches!(*stage, Stage::Ended(_)) {
            *stage = end;
        }
    }

    /// Nobody wants more of it.
    fn leave(&self) {
        let mut stage = self.stage.lock();
        let end = match &*stage {
            Stage::Away { threads, .. } => Stage::Ended(Some(threads.overdue())),
            Stage::Ended(_) | Stage::BrokenOff => return,
            Stage::Flowing(_) | Stage::Brought(..) | Stage::Asked => Stage::Ended(None),
        };
        let before = std::mem::replace(&mut *stage, end);
        drop(stage);
        if let Stage::Flowing(source) | Stage::Brought(source, _) = before {
            source.drop_in_place();
        }
    }

    /// Ends it where it is, for the client as for the plug-in, also when the client does not read.
    fn end(&self) {
        self.leave();
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
