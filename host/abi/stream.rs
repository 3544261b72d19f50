//! A body in pieces that a plug-in makes: pulled, checked, dropped.

use std::task::{Context as TaskContext, Poll};

use porth_abi::{Bytes, Stream, code};

use super::answer::Failure;
use super::bytes::OwnedBytes;
use super::fault::{self, InstanceSlot};
use super::waker;

/// The stream of an answer. Dropping it tells the plug-in that nobody wants the rest.
#[derive(Debug)]
pub struct AnswerStream {
    /// Without `poll_next` once it has ended.
    stream: Stream,
    slot: Option<&'static InstanceSlot>,
}

// SAFETY: the border says that a stream is polled by one thread at a time, not always the same.
unsafe impl Send for AnswerStream {}

impl AnswerStream {
    /// Takes over what a handler filled in; `None` when there is no stream.
    ///
    /// # Safety
    /// `stream` was filled in by a handler under the rules of the border, and nobody else polls or drops it.
    pub(super) unsafe fn take(stream: Stream) -> Option<Self> {
        let taken = Self { stream, slot: None };
        // What has only a `drop` is dropped here.
        stream.poll_next.is_some().then_some(taken)
    }

    /// Says who is to blame for a crash while it is polled or dropped.
    pub fn blame(&mut self, slot: &'static InstanceSlot) {
        self.slot = Some(slot);
    }

    /// Whether it has no end of its own and may be ended anywhere.
    #[must_use]
    pub fn is_endless(&self) -> bool {
        self.stream.flags & code::stream::ENDLESS != 0
    }

    /// The next bytes, never empty; `None` at the end. Not to be polled after an error.
    pub fn poll_next(&mut self, task: &TaskContext<'_>) -> Poll<Option<Result<OwnedBytes, Failure>>> {
        let Some(poll_next) = self.stream.poll_next else { return Poll::Ready(None) };
        let mut chunk = Bytes::EMPTY;
        let waker = waker::lend(task.waker());
        let number = {
            let _blamed = self.slot.map(fault::enter);
            // SAFETY: the stream has not ended, and waker and chunk outlive the call.
            unsafe { poll_next(self.stream.state, &raw const waker, &raw mut chunk) }
        };
        // Taken whatever the number is, so that it is freed.
        // SAFETY: filled in by the plug-in or empty, and owned by nobody else.
        let chunk = unsafe { OwnedBytes::take(chunk) };
        let failure = match (number, chunk) {
            (code::PENDING, _) => return Poll::Pending,
            (code::READY, Ok(chunk)) if !chunk.as_slice().is_empty() => return Poll::Ready(Some(Ok(chunk))),
            (code::READY, Ok(_)) => None,
            (code::READY, Err(bad)) => Some(Failure::Malformed(format!("a piece of a body with {bad}"))),
            (code::FAILED, Ok(reason)) if !reason.as_slice().is_empty() => Some(Failure::Failed(told(&reason))),
            (number, _) => Some(Failure::of(number)),
        };
        self.stream.poll_next = None;
        Poll::Ready(failure.map(Err))
    }
}

/// A reason that a plug-in gives; only its beginning if it goes on for ever.
fn told(reason: &OwnedBytes) -> String {
    let beginning = reason.as_slice().get(..REASON_BYTES_MAX).unwrap_or(reason.as_slice());
    String::from_utf8_lossy(beginning).into_owned()
}

const REASON_BYTES_MAX: usize = 4096;

impl Drop for AnswerStream {
    fn drop(&mut self) {
        if let Some(free) = self.stream.drop.take() {
            let _blamed = self.slot.map(fault::enter);
            // SAFETY: taken, so this is the one call.
            unsafe { free(self.stream.state) }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::c_void;
    use std::task::Waker as StdWaker;

    use porth_abi::Waker;

    use super::*;

    /// What a stream of a test answers next, and how often it was dropped.
    #[derive(Default)]
    struct Script {
        answers: Vec<(i32, &'static [u8])>,
        dropped: usize,
    }

    unsafe extern "C" fn poll_next(state: *mut c_void, _: *const Waker, chunk: *mut Bytes) -> i32 {
        // SAFETY: the tests keep the script until the stream is dropped.
        let script = unsafe { &mut *state.cast::<Script>() };
        let (number, bytes) = script.answers.remove(0);
        // SAFETY: the host's to be filled in.
        unsafe { chunk.write(Bytes::from_static(bytes)) };
        number
    }

    unsafe extern "C" fn count_drop(state: *mut c_void) {
        // SAFETY: as above.
        unsafe { (*state.cast::<Script>()).dropped += 1 };
    }

    /// What comes of polling until the end, and how often the stream was dropped.
    fn run(answers: &[(i32, &'static [u8])]) -> (Vec<String>, usize) {
        let mut script = Script { answers: answers.to_vec(), dropped: 0 };
        let raw =
            Stream { state: (&raw mut script).cast(), poll_next: Some(poll_next), drop: Some(count_drop), flags: 0 };
        // SAFETY: polled and dropped in this function only.
        let mut stream = unsafe { AnswerStream::take(raw) }.unwrap();
        let mut seen = Vec::new();
        loop {
            match stream.poll_next(&TaskContext::from_waker(StdWaker::noop())) {
                Poll::Pending => seen.push("pending".to_owned()),
                Poll::Ready(Some(Ok(chunk))) => seen.push(chunk.as_text().unwrap().to_owned()),
                Poll::Ready(Some(Err(failure))) => break seen.push(failure.to_string()),
                Poll::Ready(None) => break seen.push("end".to_owned()),
            }
        }
        // Whatever ended it, it is not polled again.
        assert!(matches!(stream.poll_next(&TaskContext::from_waker(StdWaker::noop())), Poll::Ready(None)));
        drop(stream);
        (seen, script.dropped)
    }

    #[test]
    fn pieces_come_until_an_empty_one() {
        let (seen, dropped) = run(&[(0, b"a"), (1, b""), (1, b"ignored"), (0, b"b"), (0, b"")]);
        assert_eq!((seen.join(" ").as_str(), dropped), ("a pending pending b end", 1));
    }

    #[test]
    fn anything_else_breaks_it_off() {
        for (number, said) in [
            (code::PANIC, "it panicked"),
            (code::FAILED, "it failed: for this reason"),
            (code::NEXT, "it answered the number 2, which means nothing here"),
        ] {
            assert_eq!(run(&[(0, b"a"), (number, b"for this reason")]), (vec!["a".to_owned(), said.to_owned()], 1));
        }
        assert_eq!(run(&[(code::FAILED, b"")]), (vec!["it failed: it gave no reason".to_owned()], 1));
    }

    #[test]
    fn what_cannot_be_polled_is_no_stream_and_is_dropped() {
        let mut script = Script::default();
        let raw = Stream { state: (&raw mut script).cast(), poll_next: None, drop: Some(count_drop), flags: 0 };
        // SAFETY: dropped in this function only.
        assert!(unsafe { AnswerStream::take(raw) }.is_none());
        assert_eq!(script.dropped, 1);
    }
}
