//! What the service manager is told: that the server is ready, reloads, stops, and still lives (sd_notify(3)).
//!
//! Start at [`Manager`]. Without one, nothing happens.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

/// The service manager that started the server, if one did and wants to hear of it.
#[derive(Debug, Default)]
pub(super) struct Manager {
    socket: Option<(UnixDatagram, SocketAddr)>,
    /// How often it wants to hear that the server lives, and when it is to hear it next.
    watchdog: Option<(Duration, Instant)>,
    told: Option<State>,
}

/// How the server stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// No child has ever been ready.
    Starting,
    /// This one serves.
    Ready {
        /// Its number.
        generation: u64,
    },
    /// A fresh child is to take over from this one, which serves meanwhile.
    Reloading {
        /// Its number.
        generation: u64,
    },
    /// Somebody asked it to stop.
    Stopping,
}

impl Manager {
    /// As the environment says: `NOTIFY_SOCKET`, `WATCHDOG_USEC`, `WATCHDOG_PID`.
    pub(super) fn of_environment() -> Self {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let interval = watchdog(variable("WATCHDOG_USEC").as_deref(), variable("WATCHDOG_PID").as_deref());
        match variable("NOTIFY_SOCKET") {
            Some(address) => Self::at(&address, interval),
            None => Self::default(),
        }
    }

    fn at(address: &str, interval: Option<Duration>) -> Self {
        match open(address) {
            Ok(socket) => {
                Self { socket: Some(socket), watchdog: interval.map(|interval| (interval, Instant::now())), told: None }
            }
            Err(error) => {
                tracing::warn!("the service manager cannot be told anything at `{address}`: {error}");
                Self::default()
            }
        }
    }

    /// Says how the server stands, if that is new.
    pub(super) fn tell(&mut self, state: State) {
        if self.socket.is_none() || self.told.as_ref() == Some(&state) {
            return;
        }
        let text = match &state {
            State::Starting => "STATUS=Starting".to_owned(),
            State::Ready { generation } => format!("READY=1\nSTATUS=Child {generation} serves"),
            State::Reloading { generation } => {
                format!("RELOADING=1\n{}STATUS=A fresh child is to take over from child {generation}", monotonic())
            }
            State::Stopping => "STOPPING=1\nSTATUS=Finishing what is under way".to_owned(),
        };
        self.told = Some(state);
        self.send(&text);
    }

    /// Says that the server lives, when it is time to.
    pub(super) fn lives(&mut self, now: Instant) {
        if let Some((interval, due)) = &mut self.watchdog
            && *due <= now
        {
            *due = now + *interval;
            self.send("WATCHDOG=1");
        }
    }

    /// When it is time to say so.
    pub(super) fn due(&self) -> Option<Instant> {
        self.watchdog.map(|(_, due)| due)
    }

    fn send(&self, text: &str) {
        let Some((socket, address)) = &self.socket else { return };
        if let Err(error) = socket.send_to_addr(text.as_bytes(), address) {
            tracing::warn!("the service manager was not told `{}`: {error}", text.replace('\n', " "));
        }
    }
}

/// The socket; an address that begins with `@` is no file.
fn open(address: &str) -> std::io::Result<(UnixDatagram, SocketAddr)> {
    let address = match address.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(address)?,
    };
    let socket = UnixDatagram::unbound()?;
    // A manager that does not read must not stop the server.
    socket.set_nonblocking(true)?;
    Ok((socket, address))
}

/// A third of what it waits for, if it waits for this process.
fn watchdog(usec: Option<&str>, pid: Option<&str>) -> Option<Duration> {
    let usec: u64 = usec?.parse().ok().filter(|usec| *usec > 0)?;
    let meant = pid.is_none_or(|pid| pid.parse() == Ok(std::process::id()));
    meant.then(|| Duration::from_micros(usec) / 3)
}

/// When the reload began, which `Type=notify-reload` wants to know.
fn monotonic() -> String {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    match (u64::try_from(now.tv_sec), u64::try_from(now.tv_nsec)) {
        (Ok(seconds), Ok(nanoseconds)) => format!("MONOTONIC_USEC={}\n", seconds * 1_000_000 + nanoseconds / 1_000),
        _ => String::new(),
    }
}

/// The variables that are for the parent alone: a child, or a plug-in in it, has nothing to say here.
pub const FOR_THE_PARENT: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(socket: &UnixDatagram) -> Vec<String> {
        let mut messages = Vec::new();
        let mut buffer = [0; 1000];
        while let Ok(len) = socket.recv(&mut buffer) {
            let text = String::from_utf8(buffer[..len].to_vec()).unwrap();
            messages
                .push(text.lines().filter(|line| !line.starts_with("MONOTONIC_USEC=")).collect::<Vec<_>>().join(" "));
        }
        messages
    }

    fn check(listener: UnixDatagram, address: &str) {
        listener.set_nonblocking(true).unwrap();
        let mut manager = Manager::at(address, Some(Duration::from_secs(1)));
        manager.tell(State::Starting);
        for _ in 0..2 {
            manager.tell(State::Ready { generation: 1 });
        }
        manager.tell(State::Reloading { generation: 1 });
        manager.tell(State::Ready { generation: 2 });
        let now = Instant::now();
        manager.lives(now);
        manager.lives(now);
        assert_eq!(manager.due(), Some(now + Duration::from_secs(1)));
        manager.lives(now + Duration::from_secs(1));
        manager.tell(State::Stopping);
        assert_eq!(
            heard(&listener),
            [
                "STATUS=Starting",
                "READY=1 STATUS=Child 1 serves",
                "RELOADING=1 STATUS=A fresh child is to take over from child 1",
                "READY=1 STATUS=Child 2 serves",
                "WATCHDOG=1",
                "WATCHDOG=1",
                "STOPPING=1 STATUS=Finishing what is under way"
            ]
        );
        drop(listener);
        manager.tell(State::Ready { generation: 3 });
    }

    #[test]
    fn a_manager_hears_what_changes_at_a_file_or_a_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        check(UnixDatagram::bind(&path).unwrap(), path.to_str().unwrap());
        let name = format!("porth-test-{}", directory.path().file_name().unwrap().to_str().unwrap());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        check(UnixDatagram::bind_addr(&address).unwrap(), &format!("@{name}"));
    }

    #[test]
    fn without_a_manager_nothing_happens() {
        let mut manager = Manager::at("", None);
        manager.tell(State::Stopping);
        manager.lives(Instant::now());
        assert_eq!(manager.due(), None);
    }

    #[test]
    fn the_watchdog_is_for_whom_it_names() {
        let own = std::process::id().to_string();
        assert_eq!(watchdog(Some("3000000"), None), Some(Duration::from_secs(1)));
        assert_eq!(watchdog(Some("3000000"), Some(&own)), Some(Duration::from_secs(1)));
        for (usec, pid) in [(None, None), (Some("0"), None), (Some("x"), None), (Some("3000000"), Some("1"))] {
            assert_eq!(watchdog(usec, pid), None);
        }
    }
}
