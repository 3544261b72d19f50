//! Who crashed how often, and what follows: an instance in quarantine, or a start without plug-ins.
//!
//! Pure: deaths and times come in, decisions come out.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::time::{Duration, Instant};

use super::message::{Fault, Quarantined, RefusedLibrary};
use crate::config::Quarantine;

/// Whom a crash is put down to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Culprit {
    /// One instance, as `<kind>/<name>`.
    Instance(String),
    /// A library, and with it all its instances.
    Library(String),
    /// Nobody: the parent only sees that the child died.
    Nobody,
}

/// Crashes within the window, and what has been decided but not yet stored by a child.
#[derive(Debug)]
pub(super) struct Ledger {
    limits: Quarantine,
    crashes: HashMap<Culprit, VecDeque<Instant>>,
    quarantine: Vec<Quarantined>,
    refused: Vec<RefusedLibrary>,
    without_plugins: Option<String>,
}

impl Culprit {
    /// Believes the program counter first, then the instance that the thread was working for.
    pub(super) fn of(fault: Option<&Fault>) -> Self {
        let Some(Fault { library, instance, instance_library, .. }) = fault else { return Self::Nobody };
        match (library, instance) {
            // The instance called into a library that is not its own: that one is to blame, whichever instance it was.
            (Some(library), Some(_)) if instance_library.as_ref().is_some_and(|own| own != library) => {
                Self::Library(library.clone())
            }
            (_, Some(instance)) => Self::Instance(instance.clone()),
            (Some(library), None) => Self::Library(library.clone()),
            (None, None) => Self::Nobody,
        }
    }
}

impl fmt::Display for Culprit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Instance(instance) => write!(formatter, "the instance `{instance}`"),
            Self::Library(library) => write!(formatter, "the library `{library}`"),
            Self::Nobody => write!(formatter, "nobody"),
        }
    }
}

impl Ledger {
    pub(super) fn new(limits: Quarantine) -> Self {
        Self { limits, crashes: HashMap::new(), quarantine: Vec::new(), refused: Vec::new(), without_plugins: None }
    }

    /// Notes that a child died at `now` in the way that `how` says. Answers a sentence when something follows from it.
    pub(super) fn record(&mut self, culprit: &Culprit, how: &str, now: Instant) -> Option<String> {
        let limit = match culprit {
            Culprit::Nobody => self.limits.unattributed_crashes,
            Culprit::Instance(_) | Culprit::Library(_) => self.limits.crashes,
        };
        if limit == 0 {
            return None;
        }
        let window = Duration::from_secs(self.limits.window_s);
        self.crashes.retain(|_, times| {
            times.retain(|time| now.saturating_duration_since(*time) < window);
            !times.is_empty()
        });
        let times = self.crashes.entry(culprit.clone()).or_default();
        times.push_back(now);
        if times.len() < limit as usize {
            return None;
        }
        self.crashes.remove(culprit);
        let reason = format!("crashed {limit} times within {} s, the last time it {how}", self.limits.window_s);
        let (instance, library) = match culprit {
            Culprit::Instance(instance) => (Some(instance.clone()), None),
            Culprit::Library(library) => (None, Some(library.clone())),
            Culprit::Nobody => {
                let reason = format!("the server {reason}, and nothing says which plug-in it was");
                self.without_plugins = Some(reason.clone());
                return Some(format!("starting without plug-ins until the server is restarted: {reason}"));
            }
        };
        self.quarantine.push(Quarantined { instance, library, reason: reason.clone() });
        Some(format!("{culprit} is in quarantine until an administrator lifts it: {reason}"))
    }

    /// Notes that a library ended a child before it was ready: no child of this parent opens it again, however crashes
    /// are counted, for each would die of it.
    pub(super) fn refuse(&mut self, library: &str, how: &str) {
        if !self.refused.iter().any(|refused| refused.library == library) {
            let reason = format!("it ended the server while it was being opened: the child {how}");
            self.refused.push(RefusedLibrary { library: library.to_owned(), reason });
        }
    }

    /// The libraries that no child may open.
    pub(super) fn refused(&self) -> Vec<RefusedLibrary> {
        self.refused.clone()
    }

    /// What the next child has to know: what it shall quarantine, and why it shall open no library, if so.
    pub(super) fn decisions(&self) -> (Vec<Quarantined>, Option<String>) {
        (self.quarantine.clone(), self.without_plugins.clone())
    }

    /// A child that was told everything decided so far is ready: from now on the store knows.
    pub(super) fn stored(&mut self) {
        self.quarantine.clear();
    }

    /// An administrator lifted the quarantine of `instance` (`<kind>/<name>`).
    pub(super) fn lifted(&mut self, instance: &str) {
        self.crashes.remove(&Culprit::Instance(instance.to_owned()));
        self.quarantine.retain(|entry| entry.instance.as_deref() != Some(instance));
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn fault(library: Option<&str>, instance: Option<&str>, instance_library: Option<&str>) -> Fault {
        Fault {
            signal: 11,
            library: library.map(str::to_owned),
            instance: instance.map(str::to_owned),
            instance_library: instance_library.map(str::to_owned),
        }
    }

    fn check_culprit(fault: Fault, expected: Expect) {
        expected.assert_eq(&Culprit::of(Some(&fault)).to_string());
    }

    fn instance(name: &str) -> Culprit {
        Culprit::Instance(format!("plugin/{name}"))
    }

    #[test]
    fn the_program_counter_is_believed_first() {
        check_culprit(fault(Some("liba.so"), Some("plugin/a"), Some("liba.so")), expect!["the instance `plugin/a`"]);
        check_culprit(fault(Some("libb.so"), Some("plugin/a"), Some("liba.so")), expect!["the library `libb.so`"]);
        check_culprit(fault(Some("liba.so"), None, None), expect!["the library `liba.so`"]);
    }

    #[test]
    fn then_the_instance_and_then_nobody() {
        check_culprit(fault(None, Some("plugin/a"), Some("liba.so")), expect!["the instance `plugin/a`"]);
        check_culprit(fault(None, Some("plugin/a"), None), expect!["the instance `plugin/a`"]);
        check_culprit(fault(None, None, None), expect!["nobody"]);
        assert_eq!(Culprit::of(None), Culprit::Nobody);
    }

    #[test]
    fn the_third_crash_within_the_window_is_one_too_many() {
        let mut ledger = Ledger::new(Quarantine::default());
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        assert_eq!(ledger.record(&instance("a"), "x", at(0)), None);
        assert_eq!(ledger.record(&instance("b"), "x", at(1)), None, "each has its own count");
        assert_eq!(ledger.record(&instance("a"), "x", at(30)), None);
        assert_eq!(ledger.record(&instance("a"), "x", at(60)), None, "the first is a minute old");
        let sentence = ledger.record(&instance("a"), "died of SIGSEGV", at(89)).unwrap();
        expect!["the instance `plugin/a` is in quarantine until an administrator lifts it: crashed 3 times within 60 s, the last time it died of SIGSEGV"].assert_eq(&sentence);

        let (quarantine, without_plugins) = ledger.decisions();
        assert_eq!(quarantine.len(), 1);
        assert_eq!(quarantine[0].instance.as_deref(), Some("plugin/a"));
        assert_eq!(quarantine[0].library, None);
        assert_eq!(without_plugins, None);
        ledger.stored();
        assert_eq!(ledger.decisions(), (Vec::new(), None));
    }

    #[test]
    fn a_library_without_an_instance_is_quarantined_whole() {
        let mut ledger = Ledger::new(Quarantine { crashes: 1, ..Quarantine::default() });
        ledger.record(&Culprit::Library("liba.so".to_owned()), "x", Instant::now()).unwrap();
        let entry = ledger.decisions().0.remove(0);
        assert_eq!((entry.instance, entry.library.as_deref()), (None, Some("liba.so")));
    }

    #[test]
    fn lifting_forgets_the_crashes() {
        let mut ledger = Ledger::new(Quarantine { crashes: 2, ..Quarantine::default() });
        let now = Instant::now();
        ledger.record(&instance("a"), "x", now);
        ledger.lifted("plugin/a");
        assert_eq!(ledger.record(&instance("a"), "x", now), None);
        ledger.record(&instance("a"), "x", now).unwrap();
        ledger.lifted("plugin/a");
        assert_eq!(ledger.decisions().0, []);
    }

    #[test]
    fn when_nobody_can_be_blamed_the_server_starts_without_plug_ins() {
        let mut ledger = Ledger::new(Quarantine::default());
        let now = Instant::now();
        for _ in 0..4 {
            assert_eq!(ledger.record(&Culprit::Nobody, "was killed", now), None);
        }
        let sentence = ledger.record(&Culprit::Nobody, "was killed", now).unwrap();
        expect!["starting without plug-ins until the server is restarted: the server crashed 5 times within 60 s, the last time it was killed, and nothing says which plug-in it was"].assert_eq(&sentence);
        ledger.stored();
        assert!(ledger.decisions().1.is_some(), "it stays so for this server start");
    }

    #[test]
    fn a_limit_of_zero_never_decides() {
        let mut ledger = Ledger::new(Quarantine { crashes: 0, unattributed_crashes: 0, window_s: 60 });
        for _ in 0..100 {
            assert_eq!(ledger.record(&instance("a"), "x", Instant::now()), None);
            assert_eq!(ledger.record(&Culprit::Nobody, "x", Instant::now()), None);
        }
    }
}
