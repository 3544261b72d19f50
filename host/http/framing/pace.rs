//! How long a client may take: what one connection waits for, and since when.
//!
//! Start at [`Watch`]. Looking costs nothing while a connection is fast: no clock is read for a request that comes in one
//! piece and an answer that goes out in one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::Config;

/// How long clients may take, and how much they may send as a header.
#[derive(Clone, Debug)]
pub(in crate::http) struct Pace {
    pub(in crate::http) header_bytes_max: usize,
    header_deadline_ms: u64,
    keep_alive_ms: u64,
    /// Bytes of a body that have to move within each `body_grace_ms` of waiting.
    body_bytes_min: u64,
    body_grace_ms: u64,
    /// What else holds for every answer.
    pub(in crate::http) config: Arc<Config>,
    /// Whether there is hardly room for more connections.
    crowded: Arc<AtomicBool>,
}

impl Pace {
    /// As a configuration says, where it may become `crowded`.
    pub(in crate::http) fn new(config: &Arc<Config>, crowded: Arc<AtomicBool>) -> Self {
        let limits = &config.limits;
        Self {
            header_bytes_max: limits.header_bytes_max,
            header_deadline_ms: limits.header_deadline_ms,
            keep_alive_ms: limits.keep_alive_ms,
            body_bytes_min: (limits.body_bytes_s_min.saturating_mul(limits.body_grace_ms) / 1000).max(1),
            body_grace_ms: limits.body_grace_ms,
            config: Arc::clone(config),
            crowded,
        }
    }

    /// How long a connection may be idle: less where others wait for it.
    pub(in crate::http) fn keep_alive(&self) -> Duration {
        let crowded = self.crowded.load(Ordering::Relaxed);
        Duration::from_millis(if crowded { self.keep_alive_ms.min(CROWDED_MS) } else { self.keep_alive_ms })
    }

    /// Waits until a connection has been idle for long enough, from when `is_idle` first says so.
    pub(in crate::http) async fn idles(&self, is_idle: impl Fn() -> bool) {
        let mut since = Instant::now();
        loop {
            tokio::time::sleep(self.keep_alive().min(Duration::from_millis(LOOK_MS_MAX))).await;
            if !is_idle() {
                since = Instant::now();
            } else if since.elapsed() >= self.keep_alive() {
                return;
            }
        }
    }

    /// How long a body may be slow.
    pub(in crate::http) fn body_grace(&self) -> Duration {
        Duration::from_millis(self.body_grace_ms)
    }

    /// How many bytes of a body have to move in a second from then on; not 0.
    pub(in crate::http) fn body_bytes_s_min(&self) -> u64 {
        (self.body_bytes_min.saturating_mul(1000) / self.body_grace_ms.max(1)).max(1)
    }
}

/// What a client took too long for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Late {
    /// A header that it began.
    Header,
    /// A body that the server waits for.
    Body,
    /// Reading an answer.
    Answer,
    /// Asking anything at all.
    Idle,
}

/// What a connection waits for. All of it happens in one task.
#[derive(Debug)]
pub(in crate::http) struct Watch {
    pub(super) pace: Pace,
    began: Instant,
    /// By when each has to have moved, in milliseconds since `began`; 0 while nobody waits.
    pub(super) header_due_ms: AtomicU64,
    pub(super) body_due_ms: AtomicU64,
    pub(super) answer_due_ms: AtomicU64,
    /// Whether the header or the body that is coming is given up.
    pub(super) is_late: AtomicBool,
    /// How many requests are being answered, from the header to the end of the answer's body.
    under_way: AtomicU32,
    /// Whether some of an answer may not have been handed to the system yet.
    is_unflushed: AtomicBool,
    /// How many headers have come to their end.
    pub(super) requests: AtomicU32,
}

impl Watch {
    pub(in crate::http) fn new(pace: Pace) -> Self {
        Self {
            pace,
            began: Instant::now(),
            header_due_ms: AtomicU64::new(0),
            body_due_ms: AtomicU64::new(0),
            answer_due_ms: AtomicU64::new(0),
            is_late: AtomicBool::new(false),
            under_way: AtomicU32::new(0),
            is_unflushed: AtomicBool::new(false),
            requests: AtomicU32::new(0),
        }
    }

    /// A request has reached its handler.
    pub(in crate::http) fn request_begins(&self) {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        self.is_unflushed.store(true, Ordering::Relaxed);
    }

    /// The body of an answer has come to its end, or the request is given up.
    pub(in crate::http) fn request_ends(&self) {
        self.under_way.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether a request is being answered.
    pub(in crate::http) fn is_busy(&self) -> bool {
        self.under_way.load(Ordering::Relaxed) != 0
    }

    /// Whether a request is being answered, or its answer is not out yet.
    pub(super) fn is_answering(&self) -> bool {
        self.is_busy() || self.is_unflushed.load(Ordering::Relaxed)
    }

    /// Whether no request has come yet, not to the end of its header.
    pub(in crate::http) fn is_untouched(&self) -> bool {
        self.requests.load(Ordering::Relaxed) == 0 && !self.is_answering()
    }

    /// Everything written so far is out.
    pub(super) fn flushed(&self) {
        if !self.is_busy() {
            self.is_unflushed.store(false, Ordering::Relaxed);
        }
    }

    /// Milliseconds since the connection began; never 0.
    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX).max(1)
    }

    /// Notes whether a header has begun and not ended.
    pub(super) fn header_is_coming(&self, is_coming: bool) {
        let due_ms = self.header_due_ms.load(Ordering::Relaxed);
        if is_coming && due_ms == 0 {
            self.header_due_ms.store(self.now_ms() + self.pace.header_deadline_ms, Ordering::Relaxed);
        } else if !is_coming && due_ms != 0 {
            self.header_due_ms.store(0, Ordering::Relaxed);
        }
    }

    /// Whether something should have moved by now.
    pub(super) fn is_overdue(&self, due_ms: &AtomicU64) -> bool {
        let due_ms = due_ms.load(Ordering::Relaxed);
        due_ms != 0 && due_ms <= self.now_ms()
    }

    /// Waits until the client is late. Looks now and then, so that it may say so somewhat later.
    pub(in crate::http) async fn late(&self) -> Late {
        let &Pace { header_deadline_ms, keep_alive_ms, body_grace_ms, .. } = &self.pace;
        let look_ms = (header_deadline_ms.min(keep_alive_ms).min(body_grace_ms) / 4).clamp(1, LOOK_MS_MAX);
        let mut idle = (self.requests.load(Ordering::Relaxed), self.now_ms());
        loop {
            tokio::time::sleep(Duration::from_millis(look_ms)).await;
            let now_ms = self.now_ms();
            let is_due = |due_ms: &AtomicU64| {
                let due_ms = due_ms.load(Ordering::Relaxed);
                due_ms != 0 && due_ms <= now_ms
            };
            let is_answering = self.is_answering();
            if is_due(&self.answer_due_ms) {
                return Late::Answer;
            }
            if is_due(&self.body_due_ms) {
                self.body_due_ms.store(0, Ordering::Relaxed);
                self.is_late.store(true, Ordering::Relaxed);
                return Late::Body;
            }
            let header_is_coming = self.header_due_ms.load(Ordering::Relaxed) != 0;
            if is_answering && header_is_coming {
                // The client may wait for the answer before it goes on.
                self.header_due_ms.store(now_ms + header_deadline_ms, Ordering::Relaxed);
            } else if is_due(&self.header_due_ms) {
                self.is_late.store(true, Ordering::Relaxed);
                return Late::Header;
            }
            let requests = self.requests.load(Ordering::Relaxed);
            if is_answering || header_is_coming || requests != idle.0 {
                idle = (requests, now_ms);
            } else if Duration::from_millis(now_ms - idle.1) >= self.pace.keep_alive() {
                return Late::Idle;
            }
        }
    }
}

/// How long a connection may be idle where there is hardly room for more.
const CROWDED_MS: u64 = 1000;
/// Deadlines are looked at that often, or four times as often as the shortest comes.
const LOOK_MS_MAX: u64 = 2500;

/// Bytes that have moved, against the time that was waited for them. Time in which nobody waited does not count: neither a
/// handler that takes its time nor a stream that has nothing to say makes a client slow.
#[derive(Debug)]
pub(super) struct Meter {
    /// How many spans more than one the client may have for what has moved in one.
    spans_more_max: u64,
    waits_since_ms: Option<u64>,
    waited_ms: u64,
    bytes: u64,
}

impl Meter {
    /// Of what clients send, which is seen as it comes.
    pub(super) fn of_requests() -> Self {
        Self { spans_more_max: 1, waits_since_ms: None, waited_ms: 0, bytes: 0 }
    }

    /// Of what clients read, which the system takes in large pieces and hands on unseen: at the rate that is asked for,
    /// the largest lasts so many spans.
    pub(super) fn of_answers() -> Self {
        Self { spans_more_max: 20, ..Self::of_requests() }
    }

    /// Nothing has moved, and somebody waits.
    pub(super) fn waits(&mut self, watch: &Watch, due_ms: &AtomicU64) {
        if self.waits_since_ms.is_some() {
            return;
        }
        let (now_ms, pace) = (watch.now_ms(), &watch.pace);
        self.waits_since_ms = Some(now_ms);
        // With enough for this span and others behind it, the client has those, too.
        let spans = 1 + (self.bytes / pace.body_bytes_min).min(self.spans_more_max);
        let left_ms = (spans * pace.body_grace_ms).saturating_sub(self.waited_ms);
        due_ms.store(now_ms + left_ms.max(1), Ordering::Relaxed);
    }

    /// So many bytes have moved.
    pub(super) fn moved(&mut self, bytes: usize, watch: &Watch, due_ms: &AtomicU64) {
        if let Some(since_ms) = self.waits_since_ms.take() {
            due_ms.store(0, Ordering::Relaxed);
            self.waited_ms += watch.now_ms().saturating_sub(since_ms);
            if self.waited_ms >= watch.pace.body_grace_ms {
                (self.waited_ms, self.bytes) = (0, 0);
            }
        }
        self.bytes = self.bytes.saturating_add(bytes as u64);
    }
}
