//! Certificates of listeners: read, looked after while they serve, and told of.
//!
//! Start at [`Certificate::load`], which `doctor` asks as well. What a listener shows its clients is a [`Served`]: when the
//! files change, new handshakes get what is in them, and what cannot be used leaves the one before in its place.

mod watch;

use std::fs::OpenOptions;
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, ServerConfig};
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use crate::config::Tls;

pub use watch::Served;
pub(super) use watch::watch;

/// A certificate with its key, as they were read.
#[derive(Debug)]
pub struct Certificate {
    key: Arc<CertifiedKey>,
    /// What it says of itself.
    pub about: About,
}

/// What a certificate says of itself, and what is odd about its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// The names and addresses that it is for.
    pub names: Vec<String>,
    /// From when it is valid, in seconds since 1970.
    pub not_before_s: u64,
    /// Until when, likewise.
    pub not_after_s: u64,
    /// A sentence for each thing that works, and should not be left so.
    pub warnings: Vec<String>,
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The system does not let it be read.
    #[error("cannot read the {what} `{}`: {source}", path.display())]
    Unreadable {
        /// Certificate or key.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file has something else in it.
    #[error("`{}` has no {what} in it: {why}", path.display())]
    Malformed {
        /// Certificate or key.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What was expected or found.
        why: String,
    },
    /// The key is not that of the first certificate.
    #[error("the key `{}` does not belong to the first certificate in `{}`", key.display(), certificate.display())]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// It is over.
    #[error("the certificate `{}` has expired", certificate.display())]
    Expired {
        /// The certificate's file.
        certificate: PathBuf,
    },
}

impl Certificate {
    /// Reads both files, and sees that they belong together. A certificate that has expired is read all the same.
    ///
    /// # Errors
    /// See [`CertificateError`].
    pub fn load(files: &Tls) -> Result<Self, CertificateError> {
        let Tls { certificate: path, key: key_path } = files;
        let malformed = |what, path: &Path, why: String| CertificateError::Malformed { what, path: path.into(), why };
        let (text, _) = read("certificate", path)?;
        let chain = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(|error| malformed("certificate", path, broken(&error)))?;
        let Some(first) = chain.first() else {
            return Err(malformed("certificate", path, "expected `-----BEGIN CERTIFICATE-----`".to_owned()));
        };
        let mut about = About::of(first).map_err(|why| malformed("certificate", path, why))?;
        let (text, mode) = read("key", key_path)?;
        if mode & 0o007 != 0 {
            about.warnings.push(format!("the key `{}` can be read by everybody: chmod o= it", key_path.display()));
        }
        let key = PrivateKeyDer::from_pem_slice(&text).map_err(|error| {
            let is_encrypted = text.windows(ENCRYPTED.len()).any(|window| window == ENCRYPTED);
            let why = match error {
                pem::Error::NoItemsFound if is_encrypted => {
                    "it is encrypted; expected one without a password".to_owned()
                }
                pem::Error::NoItemsFound => "expected `-----BEGIN PRIVATE KEY-----`".to_owned(),
                other => broken(&other),
            };
            malformed("key", key_path, why)
        })?;
        let key = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map_err(|error| match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                CertificateError::Mismatch { certificate: path.clone(), key: key_path.clone() }
            }
            other => malformed("key", key_path, other.to_string()),
        })?;
        Ok(Self { key: Arc::new(key), about })
    }
}

impl About {
    fn of(certificate: &CertificateDer<'_>) -> Result<Self, String> {
        let certificate = x509_cert::Certificate::from_der(certificate).map_err(|error| error.to_string())?;
        let certificate = certificate.tbs_certificate;
        let names = certificate.get::<SubjectAltName>().map_err(|error| error.to_string())?;
        let names = names.map(|(_, names)| names.0.iter().filter_map(name).collect()).unwrap_or_default();
        let seconds = |time: x509_cert::time::Time| time.to_unix_duration().as_secs();
        Ok(Self {
            names,
            not_before_s: seconds(certificate.validity.not_before),
            not_after_s: seconds(certificate.validity.not_after),
            warnings: Vec::new(),
        })
    }

    /// Until when it is valid, in days from `now_ms` on; negative when it has expired.
    #[must_use]
    pub fn days_left(&self, now_ms: i64) -> f64 {
        let left = i128::from(self.not_after_s) * 1000 - i128::from(now_ms);
        // No certificate is valid for so long that a fraction of a second of it would be lost.
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of some years fit")]
        let left_ms = left as f64;
        left_ms / 86_400_000.0
    }
}

/// A name as people write it.
fn name(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(name.to_string()),
        GeneralName::IpAddress(bytes) => {
            let four = <[u8; 4]>::try_from(bytes.as_bytes()).map(|bytes| std::net::IpAddr::from(bytes).to_string());
            let all = || <[u8; 16]>::try_from(bytes.as_bytes()).map(|bytes| std::net::IpAddr::from(bytes).to_string());
            four.or_else(|_| all()).ok()
        }
        _ => None,
    }
}

/// What is wrong with a PEM file, in words.
fn broken(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { .. } => "it breaks off before `-----END`".to_owned(),
        pem::Error::IllegalSectionStart { .. } => "a line that begins with `-----BEGIN` is malformed".to_owned(),
        other => other.to_string(),
    }
}

/// A file, and who may do what with it.
fn read(what: &'static str, path: &Path) -> Result<(Vec<u8>, u32), CertificateError> {
    let read = || {
        // Without waiting: a pipe would keep everybody waiting for whoever writes into it.
        let no_wait = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        let file = OpenOptions::new().read(true).custom_flags(no_wait).open(path)?;
        let about = file.metadata()?;
        if !about.is_file() {
            return Err(std::io::Error::other("expected a regular file"));
        }
        let mode = about.mode();
        let mut text = Vec::new();
        file.take(FILE_BYTES_MAX).read_to_end(&mut text)?;
        Ok((text, mode))
    };
    read().map_err(|source| CertificateError::Unreadable { what, path: path.to_owned(), source })
}

/// How a listener speaks TLS: 1.2 and 1.3, with what `served` is at the time.
///
/// # Errors
/// None that a caller can do anything about: rustls refuses its own defaults.
pub(super) fn server_config(served: &Arc<Served>, http2: bool) -> Result<ServerConfig, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::clone(served) as Arc<_>);
    config.alpn_protocols = if http2 { vec![b"h2".to_vec(), b"http/1.1".to_vec()] } else { vec![b"http/1.1".to_vec()] };
    // Clients come back with what they were given instead of the server remembering all of them.
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    Ok(config)
}

/// How long a handshake may take.
pub(super) const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// Chains are some kilobytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
const ENCRYPTED: &[u8] = b"-----BEGIN ENCRYPTED PRIVATE KEY-----";

#[cfg(test)]
pub(super) mod tests {
    use std::os::unix::fs::PermissionsExt;

    use expect_test::{Expect, expect};
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    /// Writes a certificate for these names, valid until a year, and its key.
    pub(in crate::http) fn write(directory: &Path, names: &[&str], until_year: i32) -> Tls {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut parameters = CertificateParams::new(names).unwrap();
        parameters.not_before = date_time_ymd(2020, 1, 1);
        parameters.not_after = date_time_ymd(until_year, 1, 1);
        let certificate = parameters.self_signed(&key).unwrap();
        let files = Tls { certificate: directory.join("certificate.pem"), key: directory.join("key.pem") };
        std::fs::write(&files.certificate, certificate.pem()).unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
        std::fs::set_permissions(&files.key, PermissionsExt::from_mode(0o600)).unwrap();
        files
    }

    fn check(change: impl FnOnce(&mut Tls), expected: Expect) {
        let directory = tempfile::tempdir().unwrap();
        let mut files = write(directory.path(), &["example.org", "*.example.org", "127.0.0.1", "::1"], 2100);
        change(&mut files);
        let found = match Certificate::load(&files) {
            Ok(Certificate { about, .. }) => format!("{about:?}"),
            Err(error) => error.to_string(),
        };
        expected.assert_eq(&found.replace(directory.path().to_str().unwrap(), "DIR"));
    }

    #[test]
    fn a_certificate_tells_whom_it_is_for_and_until_when() {
        check(
            |_| {},
            expect![[
                r#"About { names: ["example.org", "*.example.org", "127.0.0.1", "::1"], not_before_s: 1577836800, not_after_s: 4102444800, warnings: [] }"#
            ]],
        );
        check(
            |files| std::fs::set_permissions(&files.key, PermissionsExt::from_mode(0o644)).unwrap(),
            expect![[
                r#"About { names: ["example.org", "*.example.org", "127.0.0.1", "::1"], not_before_s: 1577836800, not_after_s: 4102444800, warnings: ["the key `DIR/key.pem` can be read by everybody: chmod o= it"] }"#
            ]],
        );
    }

    #[test]
    fn what_cannot_be_used_is_told_in_a_sentence() {
        check(
            |files| files.key = "/nowhere/key.pem".into(),
            expect!["cannot read the key `/nowhere/key.pem`: No such file or directory (os error 2)"],
        );
        check(
            |files| std::mem::swap(&mut files.key, &mut files.certificate),
            expect!["`DIR/key.pem` has no certificate in it: expected `-----BEGIN CERTIFICATE-----`"],
        );
        check(
            |files| files.key.clone_from(&files.certificate),
            expect!["`DIR/certificate.pem` has no key in it: expected `-----BEGIN PRIVATE KEY-----`"],
        );
        check(
            |files| {
                let text = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
                std::fs::write(&files.key, text).unwrap();
            },
            expect!["`DIR/key.pem` has no key in it: it is encrypted; expected one without a password"],
        );
        check(
            |files| std::fs::write(&files.key, KeyPair::generate().unwrap().serialize_pem()).unwrap(),
            expect!["the key `DIR/key.pem` does not belong to the first certificate in `DIR/certificate.pem`"],
        );
        check(
            |files| {
                let text = std::fs::read_to_string(&files.certificate).unwrap();
                std::fs::write(&files.certificate, &text[..text.len() / 2]).unwrap();
            },
            expect!["`DIR/certificate.pem` has no certificate in it: it breaks off before `-----END`"],
        );
    }

    #[test]
    fn days_are_counted_from_now_on() {
        let about = About { names: vec![], not_before_s: 0, not_after_s: 86_400, warnings: vec![] };
        assert!((about.days_left(43_200_000) - 0.5).abs() < 1e-9);
        assert!((about.days_left(2 * 86_400_000) + 1.0).abs() < 1e-9);
    }
}
