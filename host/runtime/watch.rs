//! The plug-in directory under watch: what is dropped into it or replaced in it is loaded without being asked to.
//!
//! Start at [`Watch`]. A file counts when it was closed after writing, or moved into place, and then stays as it is for
//! a moment; what it is worth is judged as in any reload, so a torn file never replaces a good one.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{Outcome, ReloadError, Report, Runtime};

/// A directory that is being watched. What happens from [`begin`](Self::begin) on is not missed.
pub struct Watch {
    directory: PathBuf,
    events: mpsc::UnboundedReceiver<Event>,
}

/// Acts on what happens in the directory until it is dropped; a reload that has begun then comes to its end.
pub struct Watching(tokio::task::JoinHandle<()>);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// How long a file must stay as it is, looked at twice.
const QUIET: Duration = Duration::from_millis(100);
/// How long to wait before what cannot be done now is tried again.
const PAUSE: Duration = Duration::from_secs(1);

impl Watch {
    /// Begins to watch a directory.
    ///
    /// # Errors
    /// What the system says; often that there are too many watches (`fs.inotify.max_user_instances`).
    pub fn begin(directory: &Path) -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::CLOEXEC)?;
        let flags = WatchFlags::CLOSE_WRITE
            | WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::DELETE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR
            | WatchFlags::DONT_FOLLOW;
        inotify::add_watch(&inotify, directory, flags)?;
        let (sender, events) = mpsc::unbounded_channel();
        // The thread ends with the directory, or with the first event that nobody waits for any more.
        std::thread::Builder::new().name("porth-watch".to_owned()).spawn(move || read(&inotify, &sender))?;
        Ok(Self { directory: directory.to_owned(), events })
    }

    /// Whether nothing has happened yet.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.events.is_empty() && !self.events.is_closed()
    }

    /// Acts on what happened since [`begin`](Self::begin) and on what will. Must be called within the host's tokio
    /// runtime.
    #[must_use]
    pub fn run(self, runtime: Runtime) -> Watching {
        Watching(tokio::spawn(watch(self, runtime)))
    }
}

/// Something that happened.
#[derive(Debug, PartialEq, Eq)]
enum Event {
    /// To the file of this name.
    File(String),
    /// More than could be told.
    Lost,
    /// The directory is not there any more, or cannot be watched.
    Gone,
}

fn read(inotify: &OwnedFd, events: &mpsc::UnboundedSender<Event>) {
    let gone = ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::IGNORED | ReadFlags::UNMOUNT;
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut reader = Reader::new(inotify, &mut buffer);
    loop {
        let event = match reader.next() {
            Err(Errno::INTR) => continue,
            Err(error) => {
                tracing::error!(%error, "the plug-in directory cannot be watched any more: {error}");
                Event::Gone
            }
            Ok(event) if event.events().intersects(gone) => Event::Gone,
            Ok(event) if event.events().contains(ReadFlags::QUEUE_OVERFLOW) => Event::Lost,
            Ok(event) => match event.file_name().and_then(|name| name.to_str().ok()) {
                Some(name) if name.ends_with(".so") => Event::File(name.to_owned()),
                _ => continue,
            },
        };
        let is_last = event == Event::Gone;
        if events.send(event).is_err() || is_last {
            return;
        }
    }
}

/// What tells that nobody writes to a file or exchanges it; `None` when it is not there.
type Stamp = Option<(u64, u64, i64, i64)>;

/// A file that something happened to.
struct Restless {
    look_at: Instant,
    /// How it was when it was looked at last.
    stamp: Option<Stamp>,
}

async fn watch(mut watch: Watch, runtime: Runtime) {
    let mut restless: BTreeMap<String, Restless> = BTreeMap::new();
    loop {
        let next = restless.values().map(|file| file.look_at).min();
        let timer = async {
            match next {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            event = watch.events.recv() => {
                match event {
                    Some(Event::File(file)) => {
                        restless.insert(file, Restless { look_at: Instant::now() + QUIET, stamp: None });
                        continue;
                    }
                    Some(Event::Lost) => {}
                    Some(Event::Gone) | None => watch = begin_again(&watch.directory).await,
                }
                restless.clear();
                let runtime = runtime.clone();
                report(finish(async move { runtime.rescan_changed().await }).await);
            }
            () = timer => {
                let settled = settled(&watch.directory, &mut restless).await;
                if !settled.is_empty() {
                    let runtime = runtime.clone();
                    let draining = report(finish(async move { runtime.reload_changed(settled).await }).await);
                    let look_at = Instant::now() + PAUSE;
                    restless.extend(draining.into_iter().map(|file| (file, Restless { look_at, stamp: None })));
                }
            }
        }
    }
}

/// Watches a directory again that was taken away, once there is one.
async fn begin_again(directory: &Path) -> Watch {
    tracing::warn!("the plug-in directory `{}` was taken away; waiting for another", directory.display());
    loop {
        if let Ok(watch) = Watch::begin(directory) {
            return watch;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Takes out the files that have not changed since they were looked at before.
async fn settled(directory: &Path, restless: &mut BTreeMap<String, Restless>) -> BTreeSet<String> {
    let now = Instant::now();
    let due: Vec<String> =
        restless.iter().filter(|(_, file)| file.look_at <= now).map(|(name, _)| name.clone()).collect();
    let paths: Vec<(String, PathBuf)> = due.into_iter().map(|name| (name.clone(), directory.join(name))).collect();
    let look = move || paths.into_iter().map(|(name, path)| (name, stamp(&path))).collect::<Vec<_>>();
    let mut settled = BTreeSet::new();
    for (name, stamp) in tokio::task::spawn_blocking(look).await.unwrap_or_default() {
        let Some(file) = restless.get_mut(&name) else { continue };
        if file.stamp == Some(stamp) {
            restless.remove(&name);
            settled.insert(name);
        } else {
            *file = Restless { look_at: Instant::now() + QUIET, stamp: Some(stamp) };
        }
    }
    settled
}

fn stamp(path: &Path) -> Stamp {
    let metadata = std::fs::symlink_metadata(path).ok()?;
    Some((metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec()))
}

type Reloaded = Result<Vec<Report>, ReloadError>;

/// Runs a reload to its end, also when the watch ends.
async fn finish(reload: impl Future<Output = Reloaded> + Send + 'static) -> Reloaded {
    tokio::spawn(reload).await.unwrap_or(Err(ReloadError::Ending))
}

/// Logs what nobody else does. Answers the files to try again later.
fn report(reloaded: Reloaded) -> Vec<String> {
    match reloaded {
        Ok(reports) => {
            let draining = reports.into_iter().filter(|report| report.outcome == Outcome::Draining);
            draining.map(|report| report.file).collect()
        }
        // Who takes over looks at all of it.
        Err(ReloadError::Ending | ReloadError::Replaced) => Vec::new(),
        Err(error) => {
            tracing::error!(%error, "the plug-in directory has changed, but cannot be loaded from: {error}");
            Vec::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn events_of(act: impl FnOnce(&Path)) -> Vec<Event> {
        let directory = tempfile::tempdir().unwrap();
        let plugins = directory.path().join("plugins");
        fs::create_dir(&plugins).unwrap();
        fs::write(plugins.join("old.so"), "old").unwrap();
        let mut watch = Watch::begin(&plugins).unwrap();
        act(&plugins);
        // Whose event comes after all others, unless the directory is gone.
        let _ = fs::write(plugins.join("last.so"), "");
        let mut events = Vec::new();
        while let Some(event) = watch.events.blocking_recv() {
            if event == Event::File("last.so".to_owned()) {
                break;
            }
            events.push(event);
        }
        events
    }

    fn files(names: &[&str]) -> Vec<Event> {
        names.iter().map(|name| Event::File((*name).to_owned())).collect()
    }

    #[test]
    fn what_is_written_moved_or_removed_is_an_event() {
        assert_eq!(events_of(|at| fs::write(at.join("new.so"), "new").unwrap()), files(&["new.so"]));
        assert_eq!(events_of(|at| fs::rename(at.join("old.so"), at.join("b.so")).unwrap()), files(&["old.so", "b.so"]));
        assert_eq!(events_of(|at| fs::remove_file(at.join("old.so")).unwrap()), files(&["old.so"]));
        assert_eq!(events_of(|at| fs::write(at.join("notes.txt"), "").unwrap()), files(&[]));
        assert_eq!(events_of(|at| drop(fs::read(at.join("old.so")).unwrap())), files(&[]));
        assert_eq!(events_of(|at| std::mem::forget(fs::File::create(at.join("open.so")).unwrap())), files(&[]));
    }

    #[test]
    fn a_directory_that_is_taken_away_is_noticed() {
        assert_eq!(events_of(|at| fs::rename(at, at.with_file_name("away")).unwrap()), [Event::Gone]);
        let removed = events_of(|at| fs::remove_dir_all(at).unwrap());
        assert_eq!(removed, [Event::File("old.so".to_owned()), Event::Gone]);
    }
}
