//! What streams are made with: a channel between the plug-in's code and a response, and a way to write one as a loop.
//!
//! Start at [`produce`] for code that waits by `.await`, and at [`channel`] for code that blocks or runs elsewhere.

use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_core::Stream;

use crate::block_on::block_on;
use crate::error::Error;
pub use crate::event::keep_alive;

/// A channel whose receiver is a stream for [`Response::stream`](crate::Response::stream) or
/// [`Response::events`](crate::Response::events). Up to `capacity` items (at least 1) wait in it.
///
/// The stream ends when all senders are dropped. A sender that is dropped by a panic breaks it off.
///
/// ```
/// # use porth_plugin::prelude::*;
/// # use porth_plugin::stream;
/// let (sender, receiver) = stream::channel::<Event>(16);
/// let response = Response::events(receiver);
/// sender.send_blocking(Event::data("first"))?; // From any thread.
/// drop(response);
/// assert!(sender.is_closed());
/// # Ok::<(), stream::Closed>(())
/// ```
#[must_use]
pub fn channel<T: Send>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let state = State {
        queue: VecDeque::new(),
        capacity: capacity.max(1),
        senders: 1,
        closed: false,
        failure: None,
        receiver: None,
        waiting: Vec::new(),
    };
    let state = Arc::new(Mutex::new(state));
    (Sender(Arc::clone(&state)), Receiver(state))
}

/// Nobody reads any more: the client has left, or the stream was [endless](crate::Response::endless) and is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("nobody reads the stream any more")
    }
}

impl std::error::Error for Closed {}

struct State<T> {
    queue: VecDeque<T>,
    capacity: usize,
    senders: usize,
    /// Whether the receiver is gone.
    closed: bool,
    failure: Option<Error>,
    receiver: Option<Waker>,
    /// Senders that wait for room.
    waiting: Vec<Waker>,
}

type Shared<T> = Arc<Mutex<State<T>>>;

fn lock<T>(shared: &Shared<T>) -> MutexGuard<'_, State<T>> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Wakes after the lock is gone: whoever is woken may want it at once.
fn wake(wakers: impl IntoIterator<Item = Waker>) {
    wakers.into_iter().for_each(Waker::wake);
}

/// The end of a [`channel`] that puts items in. Clones put them into the same, from any thread; when the last one is dropped
/// the stream ends.
///
/// ```
/// # use porth_plugin::prelude::*;
/// use porth_plugin::stream::channel;
///
/// fn report(_: &Request) -> Result<Response, Error> {
///     let (lines, stream) = channel(4);
///     std::thread::spawn(move || {
///         for line in 1..=1000 {
///             // Waits while four are not sent yet; fails when the client has left.
///             if lines.send_blocking(format!("line {line}\n")).is_err() {
///                 return;
///             }
///         }
///     });
///     Ok(Response::stream(stream))
/// }
/// ```
pub struct Sender<T>(Shared<T>);

impl<T> Sender<T> {
    /// Sends an item; waits while the channel is full, which is while the client is slower. Nothing is sent when the future
    /// is dropped before it is ready.
    ///
    /// # Errors
    /// When nobody reads any more.
    pub async fn send(&self, item: T) -> Result<(), Closed> {
        let mut item = Some(item);
        poll_fn(|context| self.poll_send(&mut item, context)).await
    }

    /// As [`send`](Self::send), but waits on this thread: for threads of the plug-in's own. In a handler it waits for a
    /// client that gets nothing before the handler has answered.
    ///
    /// # Errors
    /// When nobody reads any more.
    pub fn send_blocking(&self, item: T) -> Result<(), Closed> {
        let mut item = Some(item);
        block_on(poll_fn(|context| self.poll_send(&mut item, context)))
    }

    /// Ends the stream with an error after what was sent before: the client sees that it is not whole.
    pub fn fail(self, error: impl Into<Error>) {
        lock(&self.0).failure.get_or_insert(error.into());
    }

    /// Whether nobody reads any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        lock(&self.0).closed
    }

    fn poll_send(&self, item: &mut Option<T>, context: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        let mut state = lock(&self.0);
        if state.closed {
            return Poll::Ready(Err(Closed));
        }
        if state.queue.len() >= state.capacity {
            if !state.waiting.iter().any(|waker| waker.will_wake(context.waker())) {
                state.waiting.push(context.waker().clone());
            }
            return Poll::Pending;
        }
        state.queue.extend(item.take());
        let receiver = state.receiver.take();
        drop(state);
        wake(receiver);
        Poll::Ready(Ok(()))
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        lock(&self.0).senders += 1;
        Self(Arc::clone(&self.0))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut state = lock(&self.0);
        state.senders -= 1;
        if std::thread::panicking() {
            // What was sent so far must not pass for the whole.
            state.failure.get_or_insert_with(|| Error::internal("its sender panicked"));
        }
        let receiver = state.receiver.take();
        drop(state);
        wake(receiver);
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Sender")
    }
}

/// The end of a [`channel`] that items come out of.
pub struct Receiver<T>(Shared<T>);

impl<T> Stream for Receiver<T> {
    type Item = Result<T, Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut state = lock(&self.0);
        if let Some(item) = state.queue.pop_front() {
            let waiting = std::mem::take(&mut state.waiting);
            drop(state);
            wake(waiting);
            return Poll::Ready(Some(Ok(item)));
        }
        if let Some(error) = state.failure.take() {
            return Poll::Ready(Some(Err(error)));
        }
        if state.senders == 0 {
            return Poll::Ready(None);
        }
        let before = state.receiver.replace(context.waker().clone());
        drop(state);
        drop(before);
        Poll::Pending
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut state = lock(&self.0);
        state.closed = true;
        let waiting = std::mem::take(&mut state.waiting);
        let queue = std::mem::take(&mut state.queue);
        drop(state);
        wake(waiting);
        drop(queue);
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Receiver")
    }
}

/// A stream from a loop: `work` gets a [`Sender`] and runs as far as the client reads. An error breaks the stream off, and
/// so does a panic; when the client leaves, `work` is dropped where it waits.
///
/// See [`Response::events`](crate::Response::events) for an example.
pub fn produce<T, W, F>(work: W) -> impl Stream<Item = Result<T, Error>> + Send + use<T, W, F>
where
    T: Send + 'static,
    W: FnOnce(Sender<T>) -> F,
    F: Future<Output = Result<(), Error>> + Send + 'static,
{
    let (sender, receiver) = channel(1);
    Produced { work: Some(Box::pin(work(sender))), receiver, failure: None }
}

struct Produced<T, F> {
    work: Option<Pin<Box<F>>>,
    receiver: Receiver<T>,
    failure: Option<Error>,
}

impl<T, F: Future<Output = Result<(), Error>>> Stream for Produced<T, F> {
    type Item = Result<T, Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if let Poll::Ready(Some(item)) = Pin::new(&mut this.receiver).poll_next(context) {
            return Poll::Ready(Some(item));
        }
        if let Some(work) = &mut this.work
            && let Poll::Ready(ended) = work.as_mut().poll(context)
        {
            this.failure = ended.err();
            this.work = None;
        }
        match Pin::new(&mut this.receiver).poll_next(context) {
            Poll::Ready(None) if this.work.is_some() => Poll::Pending,
            // After all that was sent before it.
            Poll::Ready(None) => Poll::Ready(this.failure.take().map(Err)),
            next => next,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything that comes out of a stream, on this thread.
    fn collect<S: Stream<Item = Result<u32, Error>>>(stream: S) -> Vec<Result<u32, u16>> {
        let mut stream = Box::pin(stream);
        let mut items = Vec::new();
        while let Some(item) = block_on(poll_fn(|context| stream.as_mut().poll_next(context))) {
            items.push(item.map_err(|error| error.status()));
        }
        items
    }

    #[test]
    fn items_arrive_in_order_and_a_full_channel_holds_its_sender_up() {
        let (sender, receiver) = channel::<u32>(2);
        let sent = Arc::new(Mutex::new(0));
        let thread = std::thread::spawn({
            let sent = Arc::clone(&sent);
            move || {
                for item in 0..100_u32 {
                    sender.send_blocking(item).unwrap();
                    *sent.lock().unwrap() += 1;
                }
            }
        });
        std::thread::sleep(std::time::Duration::from_millis(50));
        assert_eq!(*sent.lock().unwrap(), 2);
        assert_eq!(collect(receiver), (0..100).map(Ok).collect::<Vec<_>>());
        thread.join().unwrap();
    }

    #[test]
    fn a_sender_hears_that_nobody_reads() {
        let (sender, receiver) = channel::<u32>(1);
        sender.send_blocking(1).unwrap();
        let waiting = std::thread::spawn(move || (sender.send_blocking(2), sender.is_closed()));
        std::thread::sleep(std::time::Duration::from_millis(20));
        drop(receiver);
        assert_eq!(waiting.join().unwrap(), (Err(Closed), true));
    }

    #[test]
    fn a_failure_comes_after_what_was_sent() {
        let (sender, receiver) = channel::<u32>(4);
        sender.send_blocking(1).unwrap();
        sender.fail(Error::new(507, "full"));
        assert_eq!(collect(receiver), [Ok(1), Err(507)]);

        let (sender, receiver) = channel::<u32>(4);
        let thread = std::thread::spawn(move || {
            sender.send_blocking(1).unwrap();
            panic!("on purpose");
        });
        assert_eq!(collect(receiver), [Ok(1), Err(500)]);
        assert!(thread.join().is_err());
    }

    #[test]
    fn a_loop_is_a_stream() {
        let endless = produce(async |sender: Sender<u32>| {
            for item in 0_u32.. {
                sender.send(item).await?;
            }
            Ok(())
        });
        let mut endless = Box::pin(endless);
        for expected in 0..10 {
            let next = block_on(poll_fn(|context| endless.as_mut().poll_next(context)));
            assert_eq!(next.unwrap().unwrap(), expected);
        }
        let failing = produce(async |sender: Sender<u32>| {
            sender.send(7).await?;
            Err(Error::conflict("enough"))
        });
        assert_eq!(collect(failing), [Ok(7), Err(409)]);
        assert_eq!(collect(produce(async |_: Sender<u32>| Ok(()))), []);
    }
}
