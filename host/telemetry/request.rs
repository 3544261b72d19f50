//! Which request is being worked for: what its answer, the log, and the plug-ins call it.
//!
//! Start at [`Ids`]. Whoever answers a request [`enter`]s it for as long as it works on it; the log asks [`current`]. It
//! holds for a thread, so that work which goes on elsewhere has to be taken along: [`within`].

use std::cell::Cell;
use std::pin::Pin;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::trace::Trace;

/// What a request is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    /// In the answer, in error pages, in the log.
    pub request: RequestId,
    /// Across all the programs that work on the same thing.
    pub trace: Trace,
}

impl Ids {
    /// A new request's. `request` is what a trusted proxy calls it, `trace` what its caller belongs to.
    #[must_use]
    pub fn new(request: Option<RequestId>, trace: Option<Trace>) -> Self {
        let number = next();
        let own = mixed(number ^ seeds()[0]);
        let request = request.unwrap_or_else(|| RequestId::from_number(own));
        let span_id = mixed(number ^ seeds()[1]);
        let trace = match trace {
            Some(caller) => caller.hop(span_id),
            None => Trace::new([mixed(number ^ seeds()[2]), own], span_id),
        };
        Self { request, trace }
    }
}

/// The id of a request: 16 hexadecimal digits, or what a trusted proxy says.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RequestId {
    len: u8,
    bytes: [u8; RequestId::BYTES_MAX],
}

impl RequestId {
    /// How long one of a proxy may be.
    pub const BYTES_MAX: usize = 64;

    /// A number, written out.
    #[must_use]
    pub fn from_number(number: u64) -> Self {
        let mut bytes = [0; Self::BYTES_MAX];
        super::trace::write_hex(number, &mut bytes);
        Self { len: 16, bytes }
    }

    /// Another's id, if it is of 1 to 64 letters, digits and `-_.:=+/@`: nothing that could break out of wherever it is
    /// shown.
    #[must_use]
    pub fn from_text(text: &[u8]) -> Option<Self> {
        let fine = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:=+/@".contains(byte);
        if text.is_empty() || !text.iter().all(fine) {
            return None;
        }
        let mut bytes = [0; Self::BYTES_MAX];
        bytes.get_mut(..text.len())?.copy_from_slice(text);
        Some(Self { len: u8::try_from(text.len()).ok()?, bytes })
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// As bytes, all of them visible ASCII.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

impl std::fmt::Debug for RequestId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "RequestId({})", self.as_str())
    }
}

impl std::fmt::Display for RequestId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// The request that this thread works for now, if it works for one.
#[must_use]
pub fn current() -> Option<Ids> {
    CURRENT.get()
}

/// From now on this thread works for a request, until the answer is dropped: then it goes back to the one before.
#[must_use]
pub fn enter(ids: Option<Ids>) -> Entered {
    Entered { before: CURRENT.replace(ids) }
}

/// While it lives its thread works for a request.
#[derive(Debug)]
pub struct Entered {
    before: Option<Ids>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.set(self.before);
    }
}

/// Work for a request, wherever it is polled.
pub fn within<F: Future>(ids: Option<Ids>, work: F) -> Within<F> {
    Within { work, ids }
}

pin_project! {
    /// See [`within`].
    #[derive(Debug)]
    pub struct Within<F> {
        #[pin]
        work: F,
        ids: Option<Ids>,
    }
}

impl<F: Future> Future for Within<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _entered = enter(*this.ids);
        this.work.poll(task)
    }
}

thread_local! {
    static CURRENT: Cell<Option<Ids>> = const { Cell::new(None) };
}

/// A number that no other request of this process has.
fn next() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Numbers of this process; of another they are others.
fn seeds() -> [u64; 3] {
    static SEEDS: LazyLock<[u64; 3]> = LazyLock::new(|| {
        let seed = || getrandom::u64().unwrap_or_else(|_| mixed(u64::from(std::process::id())));
        [seed(), seed(), seed()]
    });
    *SEEDS
}

/// Another number for each number, as if by chance: the last step of SplitMix64. Ids tell apart; they keep no secret.
fn mixed(number: u64) -> u64 {
    let mixed = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_sixteen_digits_or_what_a_proxy_may_say() {
        assert_eq!(RequestId::from_number(0x0123_4567_89ab_cdef).as_str(), "0123456789abcdef");
        assert_eq!(RequestId::from_number(10).to_string(), "000000000000000a");
        let longest = "x".repeat(64);
        for fine in ["a", "7F000001:CB5C_0000:1234", "Root=1-67891233-abc", "8f14e45f-ceea-467f", &longest] {
            assert_eq!(RequestId::from_text(fine.as_bytes()).unwrap().as_str(), fine);
        }
        for bad in ["", "a b", "a\"", "a\n", "ä", "<b>", "a,b", &"x".repeat(65)] {
            assert_eq!(RequestId::from_text(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn a_thread_goes_back_to_the_request_before() {
        let (one, two) = (Ids::new(None, None), Ids::new(None, None));
        assert_ne!(one.request, two.request);
        assert_ne!(one.trace, two.trace);
        let outer = enter(Some(one));
        assert_eq!(current(), Some(one));
        {
            let _inner = enter(Some(two));
            assert_eq!(current(), Some(two));
        }
        assert_eq!(current(), Some(one));
        assert_eq!(std::thread::spawn(current).join().unwrap(), None);
        drop(outer);
        assert_eq!(current(), None);
    }

    #[tokio::test]
    async fn work_takes_its_request_along() {
        let ids = Ids::new(None, None);
        let work = within(Some(ids), async {
            tokio::task::yield_now().await;
            current()
        });
        assert_eq!(tokio::spawn(work).await.unwrap(), Some(ids));
        assert_eq!(current(), None);
    }
}
