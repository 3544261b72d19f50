//! What there is to say about this process as a whole.

use std::sync::atomic::{AtomicU64, Ordering};

use super::metrics::{Exposition, Kind};

/// Says which child this process is: its number since the server was started, and how many before it crashed.
pub fn set_child(generation: u64, crashes: u64) {
    GENERATION.store(generation, Ordering::Relaxed);
    CRASHES.store(crashes, Ordering::Relaxed);
}

/// Which child this process is, and how many before it crashed; see [`set_child`].
#[must_use]
pub fn child() -> (u64, u64) {
    (GENERATION.load(Ordering::Relaxed), CRASHES.load(Ordering::Relaxed))
}

/// For how long this process runs, in seconds, as far as the system tells.
#[must_use]
pub fn uptime_s() -> Option<f64> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).ok()?.as_secs_f64();
    Some((now - Stat::read()?.start_s()?).max(0.0))
}

/// Writes the samples of this process. What the system does not tell is left out.
pub fn expose(exposition: &mut Exposition) {
    let mut sample = |name: &str, kind, help: &str, value: Option<f64>| {
        if let Some(value) = value {
            exposition.family(name, kind, help);
            exposition.sample(name, "", value);
        }
    };
    #[expect(clippy::cast_precision_loss, reason = "children are counted in thousands at most")]
    let number = |number: &AtomicU64| Some(number.load(Ordering::Relaxed) as f64);
    sample(
        "porth_child_generation",
        Kind::Gauge,
        "Which child of the server this process is, from 1",
        number(&GENERATION),
    );
    sample(
        "porth_crashes_total",
        Kind::Counter,
        "Children that crashed or hung since the server was started",
        number(&CRASHES),
    );
    let stat = Stat::read();
    let stat = stat.as_ref();
    sample(
        "process_start_time_seconds",
        Kind::Gauge,
        "When this process was started, in seconds since 1970",
        stat.and_then(Stat::start_s),
    );
    sample(
        "process_cpu_seconds_total",
        Kind::Counter,
        "Processor time of this process, in seconds",
        stat.and_then(Stat::cpu_s),
    );
    sample("process_resident_memory_bytes", Kind::Gauge, "Resident memory in bytes", stat.and_then(Stat::resident));
    sample(
        "process_threads",
        Kind::Gauge,
        "Threads of this process, those that plug-ins have started among them",
        stat.and_then(|stat| stat.field(20)),
    );
    sample("process_open_fds", Kind::Gauge, "Open descriptors", open_descriptors());
}

/// `/proc/self/stat`, from the third field on; see proc_pid_stat(5).
struct Stat(Vec<String>);

impl Stat {
    fn read() -> Option<Self> {
        let text = std::fs::read_to_string("/proc/self/stat").ok()?;
        // The second field, the name in parentheses, may hold anything.
        let (_, fields) = text.rsplit_once(')')?;
        Some(Self(fields.split_whitespace().map(str::to_owned).collect()))
    }

    /// A field by its number there, from 3.
    fn field(&self, number: usize) -> Option<f64> {
        self.0.get(number.checked_sub(3)?)?.parse().ok()
    }

    fn cpu_s(&self) -> Option<f64> {
        Some((self.field(14)? + self.field(15)?) / ticks_per_s())
    }

    fn resident(&self) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "a page is some thousands of bytes")]
        let page_bytes = rustix::param::page_size() as f64;
        Some(self.field(24)? * page_bytes)
    }

    fn start_s(&self) -> Option<f64> {
        let text = std::fs::read_to_string("/proc/stat").ok()?;
        let boot_s: f64 = text.lines().find_map(|line| line.strip_prefix("btime "))?.parse().ok()?;
        Some(boot_s + self.field(22)? / ticks_per_s())
    }
}

#[expect(clippy::cast_precision_loss, reason = "it is 100 nearly everywhere")]
fn ticks_per_s() -> f64 {
    rustix::param::clock_ticks_per_second() as f64
}

#[expect(clippy::cast_precision_loss, reason = "descriptors are counted in millions at most")]
fn open_descriptors() -> Option<f64> {
    // One of them is for this very directory.
    Some(std::fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1) as f64)
}

static GENERATION: AtomicU64 = AtomicU64::new(0);
static CRASHES: AtomicU64 = AtomicU64::new(0);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_tells_about_this_process() {
        let stat = Stat::read().unwrap();
        assert!(stat.field(20).unwrap() >= 1.0, "threads");
        assert!(stat.resident().unwrap() > 1e6, "memory");
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        let started = stat.start_s().unwrap();
        assert!((now - 3600.0 * 24.0..now + 2.0).contains(&started), "{started} of {now}");
        assert!(open_descriptors().unwrap() >= 3.0);
    }
}
