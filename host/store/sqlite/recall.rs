//! Answers of short queries that are asked again and again, given from memory while nothing was written.
//!
//! Start at [`Recall`]. Two processes may work on one file while one takes over from the other, so whether anything was
//! written is told in a file beside the database, which every process reads before it believes its memory: that costs a
//! fraction of what the query costs.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use moka::sync::Cache;

use crate::store::{Row, Value};

/// The answers that are remembered.
pub(super) struct Recall {
    news: News,
    /// What was written last could not be told: until something is, nothing is believed.
    is_deaf: AtomicBool,
    answers: Cache<Question, Arc<Answer>>,
}

/// A statement, by the place of its text, with its values.
type Question = (usize, Box<[u8]>);

struct Answer {
    seen: Seen,
    rows: Vec<Row>,
}

/// How things stood when somebody looked. Two looks that see the same had no write between them.
pub(super) type Seen = [u8; SEEN_BYTES];

impl Recall {
    /// Remembers what is read of the database at `path`.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let weigh = |(_, values): &Question, answer: &Arc<Answer>| {
            let rows: usize = answer.rows.iter().map(Row::weight).sum();
            u32::try_from(ANSWER_BYTES + values.len() + rows).unwrap_or(u32::MAX)
        };
        let answers = Cache::builder().max_capacity(BYTES_MAX).weigher(weigh).time_to_live(AGE_MAX).build();
        Ok(Self { news: News::open(&path.with_extension("news"))?, is_deaf: AtomicBool::new(false), answers })
    }

    /// How things stand now. Look before the query whose answer is to be remembered; `None` means that nothing can be.
    pub(super) fn look(&self) -> Option<Seen> {
        if self.is_deaf.load(Ordering::SeqCst) { None } else { self.news.look().ok() }
    }

    /// The answer that was remembered, if nothing was written since.
    pub(super) fn get(&self, sql: &'static str, values: &[Value], seen: &Seen) -> Option<Vec<Row>> {
        let answer = self.answers.get(&question(sql, values))?;
        (answer.seen == *seen).then(|| answer.rows.clone())
    }

    /// Remembers an answer for those who see the same.
    pub(super) fn put(&self, sql: &'static str, values: &[Value], seen: Seen, rows: &[Row]) {
        self.answers.insert(question(sql, values), Arc::new(Answer { seen, rows: rows.to_vec() }));
    }

    /// Says that something was written. Call it after the commit and before anybody is told of it.
    pub(super) fn forget(&self) {
        // Another process may believe what it remembers for some seconds more.
        self.is_deaf.store(self.news.tell().is_err(), Ordering::SeqCst);
    }
}

/// The file by which processes tell each other that they have written.
struct News {
    file: File,
    /// Where this process writes. Another one may have the same place: what they write differs all the same.
    place: u64,
    next: AtomicU64,
}

impl News {
    fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        if file.metadata()?.len() < SEEN_BYTES as u64 {
            // Written and not only made longer, so that the disk has room for it when it is full.
            file.write_all_at(&[0; SEEN_BYTES], 0)?;
        }
        let place = u64::from(std::process::id()) % (SEEN_BYTES / WORD_BYTES) as u64 * WORD_BYTES as u64;
        let first = getrandom::u64().map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Self { file, place, next: AtomicU64::new(first) })
    }

    fn look(&self) -> io::Result<Seen> {
        let mut seen = [0; SEEN_BYTES];
        self.file.read_exact_at(&mut seen, 0)?;
        Ok(seen)
    }

    fn tell(&self) -> io::Result<()> {
        let number = self.next.fetch_add(1, Ordering::SeqCst);
        self.file.write_all_at(&number.to_ne_bytes(), self.place)
    }
}

fn question(sql: &'static str, values: &[Value]) -> Question {
    let mut bytes = Vec::with_capacity(64);
    for value in values {
        value.write_to(&mut bytes);
    }
    (sql.as_ptr().addr(), bytes.into_boxed_slice())
}

const WORD_BYTES: usize = size_of::<u64>();
/// Room for the word of eight processes.
const SEEN_BYTES: usize = 8 * WORD_BYTES;
/// How much is remembered.
const BYTES_MAX: u64 = 8 << 20;
/// About what an answer takes besides its rows.
const ANSWER_BYTES: usize = 200;
/// A process that is killed between a commit and saying so leaves others with what they remember, but not for long.
const AGE_MAX: Duration = Duration::from_secs(2);
