//! How a command's connection is secured by TLS, and whom it believes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};

use crate::rabbit::Environment;

/// Where systems keep the certificates of authorities, in one file.
const AUTHORITIES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Whom a connection believes, and as whom it shows itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Trust {
    /// Authorities beside those of the system.
    pub(super) authorities: Option<PathBuf>,
    pub(super) certificate: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
    /// Whether a certificate for another host will do.
    pub(super) any_host: bool,
    /// Whether any certificate will do.
    pub(super) any: bool,
}

/// How a connection is secured.
#[derive(Clone, Debug)]
pub(super) struct Secure(pub(super) Arc<ClientConfig>);

impl PartialEq for Secure {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Secure {}

impl Secure {
    /// Reads the files.
    ///
    /// # Errors
    /// When one cannot be read, or is not what it should be; it names the file.
    pub(super) fn new(trust: &Trust, environment: &Environment) -> Result<Self, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let mut roots = RootCertStore::empty();
        if !trust.any {
            let file = environment.get("SSL_CERT_FILE").map(Path::new);
            let known = AUTHORITIES.iter().map(Path::new).find(|path| path.exists());
            if let Some(path) = file.or(known) {
                // why: what the system has is more than one is asked to believe, and may be partly unreadable.
                let _ = roots.add_parsable_certificates(certificates(path).unwrap_or_default());
            }
            if let Some(path) = &trust.authorities {
                for certificate in certificates(path)? {
                    roots.add(certificate).map_err(|error| error.to_string())?;
                }
            }
        }
        let inner = match trust.any || roots.is_empty() {
            true => None,
            false => {
                let verifier =
                    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone());
                Some(verifier.build().map_err(|error| error.to_string())?)
            }
        };
        let verifier = Verifier { provider, inner, any_host: trust.any_host, any: trust.any };
        let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
        let config = match &trust.key {
            None => builder.with_no_client_auth(),
            Some(key) => {
                let own = trust.certificate.as_deref().unwrap_or(key);
                let key = PrivateKeyDer::from_pem_file(key)
                    .map_err(|error| format!("{}: {error}", key.display()))?;
                let config = builder.with_client_auth_cert(certificates(own)?, key);
                config.map_err(|error| error.to_string())?
            }
        };
        Ok(Secure(Arc::new(config)))
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let bad = |error: rustls::pki_types::pem::Error| format!("{}: {error}", path.display());
    let certificates = CertificateDer::pem_file_iter(path).map_err(bad)?;
    let certificates: Vec<_> = certificates.collect::<Result<_, _>>().map_err(bad)?;
    match certificates.is_empty() {
        true => Err(format!("{}: there is no certificate in it", path.display())),
        false => Ok(certificates),
    }
}

/// Looks at the certificate of a server, as far as is asked for.
#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
    inner: Option<Arc<WebPkiServerVerifier>>,
    any_host: bool,
    any: bool,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.any {
            return Ok(ServerCertVerified::assertion());
        }
        let Some(inner) = &self.inner else {
            return Err(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer));
        };
        let verified =
            inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verified {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.any_host => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
