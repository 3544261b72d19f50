//! What happens to a server that runs for long: its disk fills up, an instance ends while it is asked, requests by the
//! thousand.
//!
//! Start at [`Exercise::faults`].

use std::time::{Duration, Instant};

use http::Method;
use rustix::process::{Pid, Resource, Rlimit, prlimit};

use super::client::{self, Request};
use super::endpoints::{Credentials, Endpoint};
use super::exercise::{CRASH, Exercise, INSTANCE};
use super::report::Grade;
use super::seen::panics;

/// An endpoint that answers well, as it is asked then.
struct Steady {
    name: String,
    request: Request,
    took: Duration,
}

impl Exercise<'_> {
    pub(super) async fn faults(&mut self, endpoints: &[Endpoint], credentials: &Credentials) {
        let mut steady = Vec::new();
        for endpoint in endpoints {
            let (request, began) = (endpoint.ordinary(INSTANCE, credentials), Instant::now());
            let answer = self.server.ask(request.clone()).await;
            let took = began.elapsed();
            if answer.is_ok_and(|answer| answer.status < 500) && took < Duration::from_secs(1) {
                steady.push(Steady { name: endpoint.name(), request, took });
            }
        }
        if steady.is_empty() {
            return;
        }
        self.full_disk(&steady).await;
        self.ends_while_asked(&steady).await;
        self.grows(&steady).await;
        self.panics_counted().await;
    }

    /// For a while nothing can be stored.
    async fn full_disk(&mut self, steady: &[Steady]) {
        let (log, child) = (self.server.log_end(), self.server.child());
        let full = child.and_then(FullDisk::of);
        let Some(full) = full else {
            let remedy = "the limit of a file's size cannot be set for another process here";
            self.report.found(Grade::Note, "store that fails", "was not tried", remedy);
            return;
        };
        let (mut wrong, mut failed) = (Vec::new(), Vec::new());
        for Steady { name, request, .. } in steady {
            match self.server.ask(request.clone()).await {
                Ok(answer) if answer.status >= 500 => failed.push(name.as_str()),
                Ok(_) => {}
                Err(error) => wrong.push(error),
            }
        }
        drop(full);
        if self.has_crashed(child).await {
            wrong.push("the server crashed".to_owned());
        }
        wrong.extend(panics(&self.server.log_since(log)));
        for Steady { name, request, .. } in steady {
            let began = Instant::now();
            loop {
                match self.server.ask(request.clone()).await {
                    Ok(answer) if answer.status < 500 => break,
                    _ if began.elapsed() < RECOVERY => tokio::time::sleep(Duration::from_millis(50)).await,
                    Ok(answer) => {
                        wrong.push(format!("{name}: still {} when the store works again", answer.says()));
                        break;
                    }
                    Err(error) => {
                        wrong.push(error);
                        break;
                    }
                }
            }
        }
        let passed = match failed.as_slice() {
            [] => "no endpoint minds".to_owned(),
            failed => format!("{} could not answer meanwhile, and can again", failed.join(", ")),
        };
        let remedy = "`HostError::Store` is an answer like others: `?` in the place of `unwrap`";
        self.report.verdict("store that fails", passed, &wrong, (Grade::Fail, remedy));
    }

    /// The instance is disabled while all of its endpoints are being asked, and enabled again.
    async fn ends_while_asked(&mut self, steady: &[Steady]) {
        let (log, child, address) = (self.server.log_end(), self.server.child(), self.server.address);
        let (mut wrong, mut asked) = (Vec::new(), 0_usize);
        for round in 0..ENDINGS {
            let requests = steady.iter().flat_map(|steady| std::iter::repeat_n(steady.request.clone(), AT_ONCE));
            let requests: Vec<_> = requests.map(|request| tokio::spawn(client::ask(address, request))).collect();
            // Another moment each time.
            tokio::time::sleep(Duration::from_millis(round)).await;
            for action in ["disable", "enable"] {
                let path = format!("/mod/{}/{INSTANCE}/{action}", self.module.kind);
                match self.server.admin(Method::PUT, &path, None).await {
                    Ok(answer) if answer.status < 300 => {}
                    Ok(answer) => wrong.push(format!("{action}: {}", answer.says())),
                    Err(error) => wrong.push(format!("{action}: {error}")),
                }
            }
            for request in requests {
                asked += 1;
                if let Ok(Err(error)) = request.await {
                    wrong.push(error);
                }
            }
        }
        if self.has_crashed(child).await {
            wrong.push("the server crashed".to_owned());
        }
        wrong.extend(panics(&self.server.log_since(log)));
        let remedy =
            "`close` comes when no request is under way, but threads and timers of the plug-in may still be at work";
        let passed = format!("{ENDINGS} times amid {asked} requests, each answered");
        self.report.verdict("end while it is asked", passed, &wrong, (Grade::Fail, remedy));
    }

    /// Whether memory grows with requests.
    async fn grows(&mut self, steady: &[Steady]) {
        // A stream that does not end costs its time, not the plug-in's.
        let soon: Vec<&Steady> = steady.iter().filter(|steady| steady.took < Duration::from_millis(100)).collect();
        let (mut used, mut asked) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            let (began, mut count) = (Instant::now(), 0_usize);
            while !soon.is_empty() && count < REQUESTS && began.elapsed() < ROUND {
                for steady in &soon {
                    let at_once = (0..AT_ONCE).map(|_| self.server.ask(steady.request.clone()));
                    count += futures_util::future::join_all(at_once).await.len();
                }
            }
            asked.push(count);
            used.extend(self.settled().await.map(|usage| usage.memory_kib));
        }
        // The first round fills caches and pools; what goes on after that does not end.
        let ([first, second, third], [_, asked, again]) = (used.as_slice(), asked.as_slice()) else { return };
        let (once, twice) = (second.saturating_sub(*first), third.saturating_sub(*second));
        let (grown, asked) = (once.min(twice), *asked.max(again));
        if asked < REQUESTS_MIN {
            return;
        }
        let detail = format!("{once} and {twice} KiB more after {asked} requests each");
        if grown > asked * GROWTH_BYTES / 1024 {
            let remedy =
                "something keeps what belongs to a request: a list that nobody empties, a cache without an end";
            self.report.found(Grade::Warn, "memory of requests", detail, remedy);
        } else {
            self.report.pass("memory of requests", detail);
        }
    }

    /// What the host counts against the instance that runs now.
    async fn panics_counted(&mut self) {
        let shown = self.show().await;
        let count = |name: &str| shown.pointer(&format!("/health/{name}")).and_then(serde_json::Value::as_u64);
        if let Some(panics @ 1..) = count("panics") {
            let detail = format!("{panics} of the instance that runs now, in spite of a restart");
            let remedy = "see \"panics\" above; ten in a minute close an instance to requests";
            self.report.found(Grade::Warn, "panics counted", detail, remedy);
        }
        if let Some(strikes @ 1..) = count("strikes") {
            self.report.found(Grade::Warn, "strikes counted", strikes.to_string(), CRASH);
        }
    }
}

/// A process that can write to no file, as when the disk is full; until this is dropped.
struct FullDisk {
    process: Pid,
    before: Rlimit,
}

impl FullDisk {
    fn of(process: u32) -> Option<Self> {
        let process = Pid::from_raw(i32::try_from(process).ok()?)?;
        // The hard limit stays, so that it can be taken back.
        let maximum = rustix::process::getrlimit(Resource::Fsize).maximum;
        let before = prlimit(Some(process), Resource::Fsize, Rlimit { current: Some(0), maximum }).ok()?;
        Some(Self { process, before })
    }
}

impl Drop for FullDisk {
    fn drop(&mut self) {
        // Whoever has ended meanwhile needs it no more.
        let _ = prlimit(Some(self.process), Resource::Fsize, self.before);
    }
}

const RECOVERY: Duration = Duration::from_secs(5);
const ENDINGS: u64 = 4;
const AT_ONCE: usize = 4;
const REQUESTS: usize = 1000;
/// Fewer say nothing.
const REQUESTS_MIN: usize = 100;
/// How long a round of requests may last.
const ROUND: Duration = Duration::from_secs(2);
/// What a request may leave behind until it counts as a leak.
const GROWTH_BYTES: usize = 2048;
