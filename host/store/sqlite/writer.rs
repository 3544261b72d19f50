//! The thread that does all writes to SQLite, many in one commit.
//!
//! Start at [`Writer`]. A commit costs a wait for the disk, so the thread takes whatever waits into one transaction, each
//! job in a savepoint of its own, and answers all of them once the disk has them. What fails in one job is undone alone.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use super::failure;
use super::recall::Recall;
use crate::store::StoreError;

/// Where jobs for the thread go in.
pub(super) struct Writer {
    messages: mpsc::Sender<Message>,
    commits: Arc<AtomicU64>,
}

enum Message {
    Job(Job),
    Close(oneshot::Sender<()>),
}

/// Something to do inside a transaction.
struct Job {
    /// Whether a failure can leave something behind that a savepoint must undo; a single statement undoes itself.
    several: bool,
    /// Does the work, or passes on why it cannot be done.
    work: Work,
}

type Work = Box<dyn FnOnce(Result<&Mutex<Connection>, StoreError>) -> Done + Send>;

/// A job that has been done but is not stored yet.
struct Done {
    end: End,
    /// Tells the caller, once it is known whether the transaction was stored.
    answer: Box<dyn FnOnce(Result<(), StoreError>)>,
}

#[derive(Clone, Copy, PartialEq)]
enum End {
    Keep,
    Undo,
    Panicked,
}

/// The thread's side.
struct Thread<F> {
    messages: mpsc::Receiver<Message>,
    /// `None` after something that makes the old one doubtful.
    connection: Option<Mutex<Connection>>,
    reopen: F,
    recall: Arc<Recall>,
    commits: Arc<AtomicU64>,
}

impl Writer {
    /// Starts the thread. It ends with [`close`](Self::close), or when the writer is dropped.
    pub(super) fn start(
        connection: Connection,
        reopen: impl Fn() -> rusqlite::Result<Connection> + Send + 'static,
        recall: Arc<Recall>,
    ) -> std::io::Result<Self> {
        let (sender, messages) = mpsc::channel(QUEUE_MAX);
        let commits = Arc::<AtomicU64>::default();
        let connection = Some(Mutex::new(connection));
        let thread = Thread { messages, connection, reopen, recall, commits: Arc::clone(&commits) };
        std::thread::Builder::new().name("store-writer".to_owned()).spawn(move || thread.run())?;
        Ok(Self { messages: sender, commits })
    }

    /// How often something was committed.
    pub(super) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// Runs `work` inside a transaction and answers when it is on the disk.
    pub(super) async fn run<T, E>(
        &self,
        several: bool,
        work: impl FnOnce(&Mutex<Connection>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (sender, answer) = oneshot::channel();
        self.messages.try_send(Message::Job(Job::new(several, work, sender))).map_err(|error| match error {
            TrySendError::Full(_) => StoreError::Busy("too many writes wait already"),
            TrySendError::Closed(_) => StoreError::Closed,
        })?;
        answer.await.unwrap_or_else(|_| Err(StoreError::Closed.into()))
    }

    /// Lets the thread finish what waits, and end.
    pub(super) async fn close(&self) {
        let (sender, closed) = oneshot::channel();
        if self.messages.send(Message::Close(sender)).await.is_ok() {
            let _ = closed.await;
        }
    }
}

impl Job {
    fn new<T, E>(
        several: bool,
        work: impl FnOnce(&Mutex<Connection>) -> Result<T, E> + Send + 'static,
        sender: oneshot::Sender<Result<T, E>>,
    ) -> Self
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let work: Work = Box::new(move |connection| {
            let (end, result) = match connection.map(|connection| catch_unwind(AssertUnwindSafe(|| work(connection)))) {
                Ok(Ok(Ok(value))) => (End::Keep, Ok(value)),
                Ok(Ok(Err(error))) => (End::Undo, Err(error)),
                Ok(Err(panic)) => (End::Panicked, Err(StoreError::panicked(&*panic).into())),
                Err(error) => (End::Undo, Err(error.into())),
            };
            let answer = move |stored: Result<(), StoreError>| {
                // Whoever does not wait any more is told nothing.
                let _ = sender.send(result.and_then(|value| stored.map(|()| value).map_err(E::from)));
            };
            Done { end, answer: Box::new(answer) }
        });
        Self { several, work }
    }

    fn refuse(self, error: StoreError) {
        ((self.work)(Err(error)).answer)(Ok(()));
    }
}

impl<F: Fn() -> rusqlite::Result<Connection>> Thread<F> {
    fn run(mut self) {
        let mut closing = Vec::new();
        while let Some(message) = self.messages.blocking_recv() {
            let mut batch = VecDeque::new();
            let mut next = Some(message);
            while let Some(message) = next {
                match message {
                    Message::Job(job) => batch.push_back(job),
                    Message::Close(closed) => {
                        self.messages.close();
                        closing.push(closed);
                    }
                }
                next = if batch.len() < BATCH_MAX { self.messages.try_recv().ok() } else { None };
            }
            while !batch.is_empty() {
                self.commit(&mut batch);
            }
        }
        self.connection = None;
        for closed in closing {
            let _ = closed.send(());
        }
    }

    /// Takes jobs from the front into one transaction, until there are none or the engine gives the transaction up.
    fn commit(&mut self, batch: &mut VecDeque<Job>) {
        let recall = Arc::clone(&self.recall);
        let connection = match self.begin() {
            Ok(connection) => connection,
            Err(error) => return batch.drain(..).for_each(|job| job.refuse(error.clone())),
        };
        let mut done = Vec::with_capacity(batch.len());
        let mut stored = Ok(());
        while stored.is_ok()
            && let Some(job) = batch.pop_front()
        {
            stored = run_job(connection, job, &mut done);
        }
        let engine = connection.get_mut();
        stored = stored.and_then(|()| control(engine, "COMMIT"));
        if !engine.is_autocommit() {
            let _ = control(engine, "ROLLBACK");
        }
        if stored.is_ok() {
            self.commits.fetch_add(1, Ordering::Relaxed);
        }
        // A commit that failed may be on the disk all the same.
        recall.forget();
        if stored.is_err() || done.iter().any(|job| job.end == End::Panicked) {
            self.connection = None;
        }
        for job in done {
            (job.answer)(stored.clone());
        }
    }

    fn begin(&mut self) -> Result<&mut Mutex<Connection>, StoreError> {
        let begin = "BEGIN IMMEDIATE";
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Mutex::new((self.reopen)().map_err(|error| failure(error, begin))?),
        };
        // Where this fails the connection is dropped, and the next batch starts with a fresh one.
        control(connection.get_mut(), begin)?;
        Ok(self.connection.insert(connection))
    }
}

/// Runs a job and undoes it where it failed. An error means that nothing of the transaction can be stored.
fn run_job(connection: &mut Mutex<Connection>, job: Job, done: &mut Vec<Done>) -> Result<(), StoreError> {
    if job.several
        && let Err(error) = control(connection.get_mut(), "SAVEPOINT job")
    {
        job.refuse(error.clone());
        return Err(error);
    }
    let result = (job.work)(Ok(connection));
    let end = result.end;
    done.push(result);
    let engine = connection.get_mut();
    // SQLite rolls the whole transaction back of itself when the disk is full or fails.
    if engine.is_autocommit() || (end == End::Panicked && !job.several) {
        let reason = "another write of the same commit made the engine give it up".to_owned();
        return Err(StoreError::Refused { sql: "COMMIT", reason });
    }
    if job.several {
        if end != End::Keep {
            control(engine, "ROLLBACK TO job")?;
        }
        control(engine, "RELEASE job")?;
    }
    Ok(())
}

/// Runs a statement that has neither values nor rows.
fn control(connection: &Connection, sql: &'static str) -> Result<(), StoreError> {
    let run = || connection.prepare_cached(sql)?.raw_execute();
    run().map(drop).map_err(|error| failure(error, sql))
}

/// How many jobs wait before callers are told that the store is busy.
const QUEUE_MAX: usize = 1_024;
/// How many jobs share a commit.
const BATCH_MAX: usize = 256;
