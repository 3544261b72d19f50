//! The certificate of a listener, replaced when its files are.

use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::{About, Certificate, CertificateError};
use crate::config::{Listener, Tls};

/// The certificate that a listener shows its clients.
#[derive(Debug)]
pub struct Served {
    listener: Listener,
    files: Tls,
    /// As the files were before they were first read.
    seen_first: Seen,
    now: ArcSwap<Certificate>,
    /// Why the files as they are now are not what is served.
    error: ArcSwapOption<String>,
}

impl Served {
    /// Reads the certificate of a listener; none for one without TLS.
    ///
    /// # Errors
    /// See [`CertificateError`].
    pub fn load(listener: &Listener) -> Result<Option<Arc<Self>>, CertificateError> {
        let Some(files) = &listener.tls else { return Ok(None) };
        let seen_first = see(files);
        let certificate = Certificate::load(files)?;
        tell(listener, &certificate.about);
        Ok(Some(Arc::new(Self {
            listener: listener.clone(),
            files: files.clone(),
            seen_first,
            now: ArcSwap::from_pointee(certificate),
            error: ArcSwapOption::empty(),
        })))
    }

    /// The listener that it is of.
    #[must_use]
    pub fn listener(&self) -> &Listener {
        &self.listener
    }

    /// Where it is read from.
    #[must_use]
    pub fn files(&self) -> &Tls {
        &self.files
    }

    /// What the certificate that is served says of itself.
    #[must_use]
    pub fn about(&self) -> About {
        self.now.load().about.clone()
    }

    /// Why the files as they are now are not what is served, if so.
    #[must_use]
    pub fn error(&self) -> Option<String> {
        self.error.load().as_deref().cloned()
    }

    /// Reads the files anew. What cannot be used leaves everything as it is, but that it is told.
    fn reload(&self, now_ms: i64) {
        let url = self.listener.url();
        let expired = |certificate: &Certificate| certificate.about.days_left(now_ms) < 0.0;
        let loaded = Certificate::load(&self.files).and_then(|certificate| match certificate {
            new if expired(&new) && !expired(&self.now.load()) => {
                Err(CertificateError::Expired { certificate: self.files.certificate.clone() })
            }
            new => Ok(new),
        });
        match loaded {
            Ok(certificate) => {
                tracing::info!("{url} has another certificate now");
                tell(&self.listener, &certificate.about);
                self.now.store(Arc::new(certificate));
                self.error.store(None);
            }
            Err(error) => {
                tracing::error!(%error, "{url} keeps the certificate it has: {error}");
                self.error.store(Some(Arc::new(error.to_string())));
            }
        }
    }
}

impl ResolvesServerCert for Served {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.now.load().key))
    }
}

/// Looks after certificates on a thread of its own until the process ends. Without any there is no thread.
///
/// # Errors
/// When the system gives no thread.
pub(in crate::http) fn watch(served: Vec<Arc<Served>>) -> std::io::Result<()> {
    if served.is_empty() {
        return Ok(());
    }
    let mut watched: Vec<_> = served.into_iter().map(Watched::new).collect();
    std::thread::Builder::new().name("porth-certificates".to_owned()).spawn(move || {
        loop {
            std::thread::sleep(LOOK_EVERY);
            for watched in &mut watched {
                watched.look();
            }
        }
    })?;
    Ok(())
}

/// What there is to see of both files from outside; links are followed, since a renewal may only lead them elsewhere.
type Seen = [Option<(u64, u64, i64, i64, u64)>; 2];

struct Watched {
    served: Arc<Served>,
    /// As they were when they were read.
    read: Seen,
    /// As they were at the last look.
    seen: Seen,
}

impl Watched {
    fn new(served: Arc<Served>) -> Self {
        Self { read: served.seen_first, seen: served.seen_first, served }
    }

    /// Reads the files when they have changed and are the same as at the last look: two files are not written at once.
    fn look(&mut self) {
        let seen = see(&self.served.files);
        let settled = std::mem::replace(&mut self.seen, seen) == seen;
        if settled && seen != self.read {
            self.read = seen;
            self.served.reload(crate::http::now_ms());
        }
    }
}

fn see(files: &Tls) -> Seen {
    [&files.certificate, &files.key].map(|path| {
        let seen = std::fs::metadata(path).ok()?;
        Some((seen.dev(), seen.ino(), seen.ctime(), seen.ctime_nsec(), seen.size()))
    })
}

/// Logs what an administrator should know of a certificate.
fn tell(listener: &Listener, about: &About) {
    let (url, now_ms) = (listener.url(), crate::http::now_ms());
    let days = about.days_left(now_ms);
    for warning in &about.warnings {
        tracing::warn!("{url}: {warning}");
    }
    if days < 0.0 {
        tracing::error!("the certificate of {url} has expired");
    } else if i128::from(about.not_before_s) * 1000 > i128::from(now_ms) {
        tracing::warn!("the certificate of {url} is not valid yet");
    } else if days < WARN_DAYS {
        tracing::warn!("the certificate of {url} expires in {days:.1} days");
    }
}

/// How often files are looked at. What has changed is read at the next look.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// From how many days before the end on the log warns.
const WARN_DAYS: f64 = 14.0;

#[cfg(test)]
mod tests {
    use super::super::tests::write;
    use super::*;

    #[test]
    fn files_are_read_once_they_have_settled() {
        let directory = tempfile::tempdir().unwrap();
        let files = write(directory.path(), &["one.example"], 2100);
        let listener = Listener { tls: Some(files.clone()), ..Listener::plain("127.0.0.1:1".parse().unwrap()) };
        let served = Served::load(&listener).unwrap().unwrap();
        let mut watched = Watched::new(Arc::clone(&served));
        let mut look = || {
            watched.look();
            (served.about().names.join(" "), served.error().unwrap_or_default())
        };
        let one = ("one.example".to_owned(), String::new());
        assert_eq!(look(), one);

        // The certificate is there and its key is not yet.
        let key = std::fs::read(&files.key).unwrap();
        write(directory.path(), &["two.example"], 2100);
        let second_key = std::fs::read(&files.key).unwrap();
        std::fs::write(&files.key, key).unwrap();
        assert_eq!(look(), one, "it may still be written");
        let (name, error) = look();
        assert!(name == "one.example" && error.contains("does not belong"), "{name} {error}");
        std::fs::write(&files.key, second_key).unwrap();
        look();
        assert_eq!(look(), ("two.example".to_owned(), String::new()));

        write(directory.path(), &["old.example"], 2021);
        look();
        let (name, error) = look();
        assert!(name == "two.example" && error.ends_with("has expired"), "{name} {error}");
        std::fs::remove_file(&files.certificate).unwrap();
        look();
        let (name, error) = look();
        assert!(name == "two.example" && error.contains("No such file"), "{name} {error}");
    }
}
