//! Certificates and keys: read, checked, put together.
//!
//! invariant: an error names the option and the file, in one line, and shows nothing of a key.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{InconsistentKeys, RootCertStore, ServerConfig, SupportedProtocolVersion};

use super::weakness::{self, LEAST_RSA_BITS};
use crate::broker::time::Time;
use crate::config::{Pem, Tls, TlsVersions};

/// Why certificates and keys could not be used.
#[derive(Debug, thiserror::Error)]
#[error("{role} {place}: {reason}")]
pub struct TlsError {
    role: Role,
    place: Place,
    reason: String,
}

/// What something is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Certificate,
    Key,
    ClientCa,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Certificate => "TLS certificate (--tls-cert)",
            Role::Key => "TLS key (--tls-key)",
            Role::ClientCa => "TLS client authorities (--tls-ca)",
        })
    }
}

/// Where it came from.
#[derive(Debug)]
enum Place {
    File(PathBuf),
    Memory,
}

impl Place {
    fn of(pem: &Pem) -> Self {
        match pem {
            Pem::File(path) => Place::File(path.clone()),
            Pem::Bytes(_) => Place::Memory,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File(path) => write!(f, "{}", path.display()),
            Place::Memory => f.write_str("in memory"),
        }
    }
}

impl TlsError {
    fn new(role: Role, pem: &Pem, reason: impl fmt::Display) -> Self {
        TlsError { role, place: Place::of(pem), reason: reason.to_string() }
    }
}

/// Everything that a connection needs to be made secure.
pub(super) struct Material {
    pub(super) config: Arc<ServerConfig>,
    certificates: Vec<CertificateDer<'static>>,
    authorities: Vec<CertificateDer<'static>>,
}

impl Material {
    /// Where certificates and authorities are, and when the first of them ends.
    pub(super) fn ends(&self, tls: &Tls) -> [Option<(String, Time)>; 2] {
        let end = |pem: &Pem, chain| Some((Place::of(pem).to_string(), weakness::end(chain)?));
        let authorities = tls.client_ca.as_ref();
        [
            end(&tls.certificate, &self.certificates),
            authorities.and_then(|pem| end(pem, &self.authorities)),
        ]
    }

    /// What an operator should know of the certificates, each in a line.
    pub(super) fn weaknesses(&self, tls: &Tls, now: Time) -> Vec<String> {
        let found = weakness::weaknesses(&self.certificates, now).into_iter();
        found
            .map(|what| TlsError::new(Role::Certificate, &tls.certificate, what).to_string())
            .collect()
    }
}

/// Reads it.
pub(super) fn read(tls: &Tls) -> Result<Material, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let chain = certificates(Role::Certificate, &tls.certificate)?;
    let key = key(&tls.key)?;
    let (verifier, authorities) = match &tls.client_ca {
        None => (WebPkiClientVerifier::no_client_auth(), Vec::new()),
        Some(pem) => {
            let authorities = certificates(Role::ClientCa, pem)?;
            let required = tls.require_client_certificate;
            (verifier(pem, authorities.clone(), required, provider.clone())?, authorities)
        }
    };
    let versions: &[&SupportedProtocolVersion] = match tls.versions {
        TlsVersions::Both => &[&TLS13, &TLS12],
        TlsVersions::OnlyV12 => &[&TLS12],
        TlsVersions::OnlyV13 => &[&TLS13],
    };
    let builder = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .map_err(|error| TlsError::new(Role::Certificate, &tls.certificate, error))?;
    let certificates = chain.clone();
    let weak_bits = weakness::rsa_bits(&certificates).filter(|bits| *bits < LEAST_RSA_BITS);
    let config = builder.with_client_cert_verifier(verifier).with_single_cert(chain, key);
    let config = config.map(Arc::new).map_err(|error| match error {
        _ if weak_bits.is_some() => {
            let bits = weak_bits.unwrap_or_default();
            let reason =
                format!("an RSA key of {bits} bits is too weak; it needs {LEAST_RSA_BITS}");
            TlsError::new(Role::Key, &tls.key, reason)
        }
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            let reason =
                format!("does not belong to the certificate {}", Place::of(&tls.certificate));
            TlsError::new(Role::Key, &tls.key, reason)
        }
        rustls::Error::InvalidCertificate(error) => {
            let reason = format!("the certificate cannot be used ({error:?})");
            TlsError::new(Role::Certificate, &tls.certificate, reason)
        }
        error => TlsError::new(Role::Key, &tls.key, error),
    })?;
    Ok(Material { config, certificates, authorities })
}

fn verifier(
    pem: &Pem,
    authorities: Vec<CertificateDer<'static>>,
    required: bool,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let wrong = |reason: String| TlsError::new(Role::ClientCa, pem, reason);
    let mut roots = RootCertStore::empty();
    for (index, certificate) in authorities.into_iter().enumerate() {
        let added = roots.add(certificate);
        added.map_err(|_| wrong(format!("certificate {} cannot be read", index + 1)))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = if required { builder } else { builder.allow_unauthenticated() };
    builder.build().map_err(|error: VerifierBuilderError| wrong(error.to_string()))
}

/// All certificates there are, at least one.
fn certificates(role: Role, pem: &Pem) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let content = content(role, pem)?;
    if is_der(&content) {
        return Ok(vec![CertificateDer::from(content)]);
    }
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&content).collect();
    match all {
        Ok(all) if all.is_empty() => Err(TlsError::new(role, pem, "there is no certificate in it")),
        Ok(all) => Ok(all),
        Err(error) => Err(TlsError::new(role, pem, damage(&error))),
    }
}

fn key(pem: &Pem) -> Result<PrivateKeyDer<'static>, TlsError> {
    let wrong = |reason: &str| TlsError::new(Role::Key, pem, reason);
    let content = content(Role::Key, pem)?;
    if is_der(&content) {
        return PrivateKeyDer::try_from(content).map_err(|_| wrong("it is no private key"));
    }
    match PrivateKeyDer::from_pem_slice(&content) {
        Ok(key) => Ok(key),
        Err(pem::Error::NoItemsFound) if holds(&content, b"ENCRYPTED PRIVATE KEY") => {
            Err(wrong("the private key in it is encrypted; an unencrypted one is needed"))
        }
        Err(pem::Error::NoItemsFound) => Err(wrong("there is no private key in it")),
        Err(error) => Err(wrong(damage(&error))),
    }
}

fn content(role: Role, pem: &Pem) -> Result<Vec<u8>, TlsError> {
    match pem {
        Pem::File(path) => std::fs::read(path)
            .map_err(|error| TlsError::new(role, pem, format!("cannot be read: {error}"))),
        Pem::Bytes(bytes) => Ok(bytes.clone()),
    }
}

/// why: the library's own words show bytes of the file, which may be those of a key.
fn damage(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "it is cut off: an END line is missing",
        _ => "it is damaged: what is between BEGIN and END is not base64",
    }
}

/// Whether it is one thing in DER, which is a sequence.
fn is_der(content: &[u8]) -> bool {
    content.starts_with(&[0x30]) && !holds(content, b"-----BEGIN")
}

fn holds(content: &[u8], words: &[u8]) -> bool {
    content.windows(words.len()).any(|window| window == words)
}
