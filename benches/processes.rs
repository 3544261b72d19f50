//! What the system says of processes: CPU time, memory, threads; and on which core they run.

use std::fs::read_to_string;
use std::time::Duration;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::Result;

/// A process and its children.
pub(crate) fn tree(process: u32) -> Result<Vec<u32>> {
    let children = read_to_string(format!("/proc/{process}/task/{process}/children"))?;
    let children = children.split_whitespace().map(str::parse).collect::<std::result::Result<Vec<u32>, _>>()?;
    Ok(std::iter::once(process).chain(children).collect())
}

/// The CPU time that processes have used, in nanoseconds, once they are idle: the time of a thread that runs is only
/// brought up to date now and then.
pub(crate) fn cpu_ns(processes: &[u32]) -> Result<u64> {
    let mut before = cpu_ns_now(processes)?;
    for _ in 0..1000 {
        std::thread::sleep(Duration::from_millis(3));
        let now = cpu_ns_now(processes)?;
        if now == before {
            return Ok(now);
        }
        before = now;
    }
    Err("a server that nobody asks anything does not come to rest".into())
}

fn cpu_ns_now(processes: &[u32]) -> Result<u64> {
    let mut sum_ns = 0;
    for process in processes {
        for thread in std::fs::read_dir(format!("/proc/{process}/task"))? {
            // A thread that ended meanwhile did next to nothing: the ones that work stay.
            let Ok(times) = read_to_string(thread?.path().join("schedstat")) else { continue };
            sum_ns += times.split(' ').next().unwrap_or_default().parse::<u64>()?;
        }
    }
    Ok(sum_ns)
}

/// The CPU time that this thread has used, in nanoseconds.
pub(crate) fn thread_cpu_ns() -> Result<u64> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Ok(u64::try_from(time.tv_sec)? * 1_000_000_000 + u64::try_from(time.tv_nsec)?)
}

/// The memory of processes in bytes, what they share with others counted in part (PSS).
pub(crate) fn memory_bytes(processes: &[u32]) -> Result<u64> {
    let mut sum_kib = 0;
    for process in processes {
        let text = read_to_string(format!("/proc/{process}/smaps_rollup"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).ok_or("the kernel tells no PSS")?;
        sum_kib += line.trim().trim_end_matches(" kB").parse::<u64>()?;
    }
    Ok(sum_kib << 10)
}

/// How many threads of processes have a name.
pub(crate) fn threads_named(processes: &[u32], name: &str) -> Result<usize> {
    let mut count = 0;
    for process in processes {
        for thread in std::fs::read_dir(format!("/proc/{process}/task"))? {
            count += usize::from(read_to_string(thread?.path().join("comm")).is_ok_and(|comm| comm.trim() == name));
        }
    }
    Ok(count)
}

/// The two cores that this process may use: one for the server, one for the load.
#[derive(Clone, Copy)]
pub(crate) struct Cores {
    all: CpuSet,
    server: CpuSet,
    load: CpuSet,
}

impl Cores {
    /// The first two.
    pub(crate) fn find() -> Result<Self> {
        let all = sched_getaffinity(None)?;
        let mut usable = (0..CpuSet::MAX_CPU).filter(|core| all.is_set(*core)).map(|core| {
            let mut one = CpuSet::new();
            one.set(core);
            one
        });
        let (Some(server), Some(load)) = (usable.next(), usable.next()) else {
            return Err("two cores are needed, one for the server and one for the load".into());
        };
        Ok(Self { all, server, load })
    }

    /// What this starts has the server's core for itself, and so one worker.
    pub(crate) fn on_server<T>(&self, start: impl FnOnce() -> Result<T>) -> Result<T> {
        self.on(&self.server, start)
    }

    /// This runs beside the server.
    pub(crate) fn on_load<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.on(&self.load, work)
    }

    fn on<T>(&self, cores: &CpuSet, work: impl FnOnce() -> Result<T>) -> Result<T> {
        sched_setaffinity(None, cores)?;
        let done = work();
        sched_setaffinity(None, &self.all)?;
        done
    }
}
