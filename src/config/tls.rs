//! TLS as it is asked for: where certificates and keys come from and what clients have to show.
//!
//! Values alone: they are read when the broker starts and when it is told to read them again.

use std::fmt;
use std::path::PathBuf;

/// How connections are secured, and how clients show who they are.
///
/// ```
/// use leveret::config::{Pem, Tls, UserFrom};
///
/// let tls = Tls::new(Pem::file("server.pem"), Pem::file("server.key"))
///     .client_ca(Pem::file("clients.pem"))
///     .user_from(UserFrom::CommonName);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The server's certificate, and behind it those that lead to a root, which need not be there.
    pub certificate: Pem,
    /// The private key of the first certificate, not encrypted.
    pub key: Pem,
    /// The authorities whose client certificates are believed. Without, clients are not asked for
    /// a certificate and EXTERNAL is not offered.
    pub client_ca: Option<Pem>,
    /// Whether a client without a certificate is turned away. One with a certificate that is not
    /// believed always is.
    ///
    /// rabbitmq: `fail_if_no_peer_cert`.
    pub require_client_certificate: bool,
    /// What of a client's certificate is its user's name.
    pub user_from: UserFrom,
    /// Which versions of TLS are spoken.
    ///
    /// rabbitmq: `ssl_options.versions`.
    pub versions: TlsVersions,
}

impl Tls {
    /// TLS with this certificate and its key; clients show none.
    pub fn new(certificate: Pem, key: Pem) -> Self {
        Tls {
            certificate,
            key,
            client_ca: None,
            require_client_certificate: false,
            user_from: UserFrom::default(),
            versions: TlsVersions::default(),
        }
    }

    /// Asks clients for a certificate of one of these authorities.
    #[must_use]
    pub fn client_ca(mut self, authorities: Pem) -> Self {
        self.client_ca = Some(authorities);
        self
    }

    /// Turns clients without a certificate away.
    #[must_use]
    pub fn require_client_certificate(mut self) -> Self {
        self.require_client_certificate = true;
        self
    }

    /// Speaks these versions of TLS alone.
    #[must_use]
    pub fn versions(mut self, versions: TlsVersions) -> Self {
        self.versions = versions;
        self
    }

    /// Takes the name of a client's user from here.
    #[must_use]
    pub fn user_from(mut self, user_from: UserFrom) -> Self {
        self.user_from = user_from;
        self
    }
}

/// Versions of TLS. There are no older ones than these two here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsVersions {
    /// 1.2 and 1.3.
    #[default]
    Both,
    /// 1.2 alone.
    OnlyV12,
    /// 1.3 alone.
    OnlyV13,
}

/// Certificates or a key: a file, which is read again at each reload, or its content.
///
/// The content is PEM, or one certificate or key in DER.
///
/// invariant: a key never shows in debug output.
#[derive(Clone, PartialEq, Eq)]
pub enum Pem {
    /// In this file.
    File(PathBuf),
    /// These bytes.
    Bytes(Vec<u8>),
}

impl Pem {
    /// In this file.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Pem::File(path.into())
    }

    /// These bytes.
    pub fn bytes(bytes: impl Into<Vec<u8>>) -> Self {
        Pem::Bytes(bytes.into())
    }
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pem::File(path) => f.debug_tuple("File").field(path).finish(),
            Pem::Bytes(_) => f.debug_tuple("Bytes").finish_non_exhaustive(),
        }
    }
}

/// What of a client's certificate is the name of its user, where it logs in with EXTERNAL.
///
/// rabbitmq: `ssl_cert_login_from`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UserFrom {
    /// The whole subject, in the form of RFC 4514: `CN=orders,OU=shop,O=Example`.
    #[default]
    DistinguishedName,
    /// The subject's common name; several are joined by commas.
    CommonName,
    /// The first DNS name among the subject's alternative names.
    SubjectAlternativeName,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_not_shown() {
        let tls = Tls::new(Pem::file("server.pem"), Pem::bytes("-----BEGIN PRIVATE KEY-----"));
        let shown = format!("{tls:?}");
        assert!(shown.contains("server.pem") && !shown.contains("PRIVATE"), "{shown}");
    }
}
