//! Server-sent events (HTML Living Standard, section 9.2).
//!
//! Start at [`Event`].

use core::pin::Pin;
use core::task::{Context, Poll};
use std::fmt::Write;
use std::time::Duration;

use futures_core::Stream;
use serde::Serialize;

use crate::bytes::Bytes;
use crate::callbacks::{Callbacks, HostCall};
use crate::error::Error;
use crate::host::Host;
use crate::module::Plugin;

/// An event for [`Response::events`](crate::Response::events).
///
/// A plain value of the plug-in's own, made on any thread; its text is moved to the host when it is sent.
///
/// ```
/// # use porth_plugin::prelude::*;
/// # fn f() -> Result<Event, Error> {
/// Event::data("two\nlines").with_event("note")?.with_id("7")
/// # }
/// # assert_eq!(String::from_utf8_lossy(&porth_plugin::Bytes::from(f().unwrap())), "event: note\nid: 7\ndata: two\ndata: lines\n\n");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The fields before the data, each with the end of its line.
    head: String,
    /// The data, each line as a field.
    data: String,
}

impl Event {
    /// An event with text, of any number of lines.
    pub fn data(text: impl AsRef<str>) -> Self {
        Self { head: String::new(), data: lines("data: ", text.as_ref()) }
    }

    /// An event with a value as JSON.
    ///
    /// # Errors
    /// 500 when the value cannot be written as JSON.
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<Self, Error> {
        Ok(Self::data(serde_json::to_string(value)?))
    }

    /// A comment, which clients ignore. An empty one now and then keeps proxies from closing an idle connection; see
    /// [`keep_alive`](crate::stream::keep_alive).
    pub fn comment(text: impl AsRef<str>) -> Self {
        Self { head: lines(": ", text.as_ref()), data: String::new() }
    }

    /// Names the event: the client's listener of this name gets it; without a name the one for `message`.
    ///
    /// # Errors
    /// 500 for a name with a line break.
    pub fn with_event(self, name: impl AsRef<str>) -> Result<Self, Error> {
        self.with_field("event", name.as_ref())
    }

    /// Sets what a client sends as `Last-Event-ID` when it comes back after a break.
    ///
    /// # Errors
    /// 500 for an id with a line break or a NUL, which clients would ignore.
    pub fn with_id(self, id: impl AsRef<str>) -> Result<Self, Error> {
        self.with_field("id", id.as_ref())
    }

    /// Says how long a client waits before it comes back after a break.
    #[must_use]
    pub fn with_retry(mut self, delay: Duration) -> Self {
        // Writing to a text cannot fail.
        let _ = writeln!(self.head, "retry: {}", delay.as_millis());
        self
    }

    fn with_field(mut self, field: &str, value: &str) -> Result<Self, Error> {
        if value.contains(['\n', '\r', '\0']) {
            return Err(Error::internal(format_args!("the `{field}` of an event holds a line break or a NUL")));
        }
        let _ = writeln!(self.head, "{field}: {value}");
        Ok(self)
    }
}

/// Each line of a text as a field. CR LF, CR and LF all end a line: any of them would end the field.
fn lines(field: &str, text: &str) -> String {
    let mut fields = String::with_capacity(field.len() + text.len() + 2);
    let mut rest = text;
    loop {
        let (line, after) = match rest.find(['\n', '\r']) {
            Some(end) => {
                let (line, after) = rest.split_at(end);
                (line, after.strip_prefix("\r\n").or_else(|| after.get(1..)))
            }
            None => (rest, None),
        };
        fields.push_str(field);
        fields.push_str(line);
        fields.push('\n');
        match after {
            Some(after) => rest = after,
            None => return fields,
        }
    }
}

impl From<Event> for Bytes {
    fn from(event: Event) -> Self {
        let mut text = event.head;
        text.push_str(&event.data);
        text.push('\n');
        text.into()
    }
}

/// Events with an empty comment after each `period` without one, so that nothing on the way takes the connection for dead.
///
/// # Examples
/// ```
/// # use std::time::Duration;
/// # use porth_plugin::prelude::*;
/// # use porth_plugin::stream;
/// # fn f<P: Plugin>(host: &Host<P>) -> (stream::Sender<Event>, Response) {
/// let (sender, events) = stream::channel(16);
/// let response = Response::events(stream::keep_alive(host, Duration::from_secs(15), events));
/// # (sender, response)
/// # }
/// ```
pub fn keep_alive<P, S, E>(
    host: &Host<P>,
    period: Duration,
    events: S,
) -> impl Stream<Item = Result<Event, Error>> + Send + use<P, S, E>
where
    P: Plugin,
    S: Stream<Item = Result<Event, E>> + Send + 'static,
    E: Into<Error> + 'static,
{
    let period_ms = u64::try_from(period.as_millis()).unwrap_or(u64::MAX).max(1);
    KeptAlive { callbacks: host.callbacks(), period_ms, silence: None, events: Box::pin(events) }
}

struct KeptAlive<S> {
    callbacks: Callbacks,
    period_ms: u64,
    /// How long there was no event.
    silence: Option<HostCall>,
    events: Pin<Box<S>>,
}

impl<S, E> Stream for KeptAlive<S>
where
    S: Stream<Item = Result<Event, E>>,
    E: Into<Error>,
{
    type Item = Result<Event, Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if let Poll::Ready(next) = this.events.as_mut().poll_next(context) {
            this.silence = None;
            return Poll::Ready(next.map(|event| event.map_err(Into::into)));
        }
        // Without a timer, as when the host is ending, the events come all the same.
        if this.silence.is_none() {
            this.silence = this.callbacks.timer(this.period_ms).ok();
        }
        let Some(silence) = &mut this.silence else { return Poll::Pending };
        match Pin::new(silence).poll(context) {
            Poll::Ready(Ok(_)) => {
                this.silence = None;
                Poll::Ready(Some(Ok(Event::comment(""))))
            }
            Poll::Ready(Err(_)) | Poll::Pending => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(event: Event) -> String {
        String::from_utf8(Bytes::from(event).to_vec()).unwrap()
    }

    #[test]
    fn every_line_of_the_data_is_a_field() {
        assert_eq!(text(Event::data("")), "data: \n\n");
        assert_eq!(text(Event::data("a")), "data: a\n\n");
        assert_eq!(text(Event::data("a\nb\r\nc\rd")), "data: a\ndata: b\ndata: c\ndata: d\n\n");
        assert_eq!(text(Event::data("\n")), "data: \ndata: \n\n");
        // One space after the colon is the field's, so that those of the data stay.
        assert_eq!(text(Event::data(" a")), "data:  a\n\n");
        assert_eq!(text(Event::json(&[1]).unwrap()), "data: [1]\n\n");
    }

    #[test]
    fn other_fields_come_first() {
        let event = Event::data("d").with_event("e").unwrap().with_id("7").unwrap();
        assert_eq!(text(event.with_retry(Duration::from_secs(2))), "event: e\nid: 7\nretry: 2000\ndata: d\n\n");
        assert_eq!(text(Event::comment("a\nb")), ": a\n: b\n\n");
    }

    #[test]
    fn nothing_breaks_out_of_its_field() {
        for bad in ["a\nb", "a\rb", "a\0b"] {
            assert_eq!(Event::data("d").with_event(bad).unwrap_err().status(), 500);
            assert_eq!(Event::data("d").with_id(bad).unwrap_err().status(), 500);
        }
    }
}
