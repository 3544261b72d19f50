//! Whether and how connections to PostgreSQL are encrypted.
//!
//! Start at [`parse`]. The driver knows nothing of certificates, so `sslmode` and `sslrootcert` are read here.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres::Config;
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::store::OpenError;

/// How connections are made.
pub(super) enum Encryption {
    None,
    Tls(MakeRustlsConnect),
}

/// Reads the URL of a database.
pub(super) fn parse(url: &str) -> Result<(Config, Encryption), OpenError> {
    let (address, query) = url.split_once('?').unwrap_or((url, ""));
    let (mut mode, mut root_certificates) = ("disable", None);
    let mut rest = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("sslmode", value)) => mode = value,
            Some(("sslrootcert", value)) => root_certificates = Some(Path::new(value)),
            _ => rest.push(pair),
        }
    }
    let config = format!("{address}?{}", rest.join("&")).parse::<Config>();
    let mut config = config.map_err(|error| OpenError::Url(super::with_causes(&error)))?;

    let (driver_mode, encryption) = match (mode, root_certificates) {
        ("disable", None) => (SslMode::Disable, Encryption::None),
        ("prefer", None) => (SslMode::Prefer, Encryption::Tls(connector(None)?)),
        ("require", None) => (SslMode::Require, Encryption::Tls(connector(None)?)),
        ("verify-full", Some(path)) => (SslMode::Require, Encryption::Tls(connector(Some(path))?)),
        ("verify-full", None) => {
            return Err(OpenError::Url("`sslmode=verify-full` needs `sslrootcert=FILE`".to_owned()));
        }
        ("disable" | "prefer" | "require", Some(_)) => {
            return Err(OpenError::Url("`sslrootcert` needs `sslmode=verify-full`".to_owned()));
        }
        _ => {
            let known = "expected disable, prefer, require or verify-full";
            return Err(OpenError::Url(format!("`sslmode` is `{mode}`, {known}")));
        }
    };
    config.ssl_mode(driver_mode);
    Ok((config, encryption))
}

fn connector(root_certificates: Option<&Path>) -> Result<MakeRustlsConnect, OpenError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| OpenError::Url(error.to_string()))?;
    let config = match root_certificates {
        Some(path) => builder.with_root_certificates(read_roots(path)?).with_no_client_auth(),
        None => {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone { provider })).with_no_client_auth()
        }
    };
    Ok(MakeRustlsConnect::new(config))
}

fn read_roots(path: &Path) -> Result<RootCertStore, OpenError> {
    let unusable = |reason: String| OpenError::RootCertificates { path: path.to_owned(), reason };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| unusable(error.to_string()))? {
        let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
        roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
    }
    if roots.is_empty() { Err(unusable("it holds no certificate".to_owned())) } else { Ok(roots) }
}

/// Takes any certificate, as `sslmode=require` is defined: keeps listeners out, not impostors.
#[derive(Debug)]
struct Anyone {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_refused(url: &str, expected: &str) {
        let text = parse(url).err().unwrap().to_string();
        assert!(text.contains(expected), "{text}");
        assert!(!text.contains("secret"), "{text}");
    }

    #[test]
    fn the_mode_decides_the_encryption() {
        let check = |url, mode| {
            let (config, encryption) = parse(url).unwrap();
            assert_eq!(config.get_ssl_mode(), mode);
            assert_eq!(matches!(encryption, Encryption::None), mode == SslMode::Disable);
        };
        check("postgres://u:secret@h/d", SslMode::Disable);
        check("postgres://u:secret@h/d?sslmode=disable&connect_timeout=3", SslMode::Disable);
        check("postgres://u:secret@h/d?connect_timeout=3&sslmode=prefer", SslMode::Prefer);
        check("postgres://u:secret@h/d?sslmode=require", SslMode::Require);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        check_refused("postgres://u:secret@h/d?sslmode=verify-ca", "`sslmode` is `verify-ca`, expected");
        check_refused("postgres://u:secret@h/d?sslmode=verify-full", "needs `sslrootcert=FILE`");
        check_refused("postgres://u:secret@h/d?sslmode=require&sslrootcert=/x", "needs `sslmode=verify-full`");
        check_refused("postgres://u:secret@h/d?sslmode=verify-full&sslrootcert=/nowhere/x.pem", "`/nowhere/x.pem`");
        check_refused("postgres://u:secret@h/d?colour=red", "colour");
        check_refused("postgres://u:secret@h:nine/d", "port");
    }
}
