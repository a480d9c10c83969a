//! TLS between a socket and the task that serves it.
//!
//! ```text
//!  files, bytes ─► material ─► Acceptor ── accept(socket) ──► encrypted socket, Security
//!                                  ▲                            (who the client has shown to be)
//!                                  └ reload
//! ```
//!
//! What this module deliberately is not: it listens nowhere, measures no time, logs nothing, and
//! lets no user in. A [`Security`] says which user a verified certificate names; the authenticator decides.

mod material;
mod security;
mod subject;
mod weakness;

use std::io;

use parking_lot::RwLock;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use self::material::Material;
pub use self::material::TlsError;
pub(crate) use self::security::{Certified, Security};
use crate::broker::time::Time;
use crate::config::Tls;

/// Makes sockets secure, each with the certificate and the key that were read last.
pub(crate) struct Acceptor {
    tls: Tls,
    current: RwLock<Material>,
}

impl Acceptor {
    /// Reads certificates and key.
    pub(crate) fn new(tls: Tls) -> Result<Self, TlsError> {
        let current = RwLock::new(material::read(&tls)?);
        Ok(Acceptor { tls, current })
    }

    /// Reads certificates and key again: connections from now on get the new ones, sessions of the
    /// old ones are not resumed. After a failure everything is as it was.
    pub(crate) fn reload(&self) -> Result<(), TlsError> {
        let new = material::read(&self.tls)?;
        *self.current.write() = new;
        Ok(())
    }

    /// What an operator should know of the certificates: expired, about to, or not believed by clients. Each in
    /// a line that names the file.
    pub(crate) fn weaknesses(&self, now: Time) -> Vec<String> {
        self.current.read().weaknesses(&self.tls, now)
    }

    /// Whether clients are asked for a certificate.
    pub(crate) fn asks_for_certificates(&self) -> bool {
        self.tls.client_ca.is_some()
    }

    /// The certificates of this end and the authorities that clients' certificates come from: where they are, and
    /// when the first of them ends.
    pub(crate) fn ends(&self) -> [Option<(String, Time)>; 2] {
        self.current.read().ends(&self.tls)
    }

    /// The handshake of TLS. It lasts as long as the client likes.
    ///
    /// # Errors
    /// When the client went, or does not speak TLS, or showed a certificate that is not believed or
    /// none where there must be one. It was told what the protocol has a word for.
    pub(crate) async fn accept<S>(&self, socket: S) -> io::Result<(TlsStream<S>, Security)>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let current = self.current.read().config.clone();
        let stream = TlsAcceptor::from(current).accept(socket).await?;
        let security = Security::of(stream.get_ref().1, &self.tls);
        Ok((stream, security))
    }
}

/// Whether a handshake failed since its client speaks no TLS at all.
pub(crate) fn is_foreign(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(inner, Some(rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType)))
}

/// Whether these first bytes of a client are the begin of TLS: a record of its handshake.
pub(crate) fn begins_tls(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x16, 0x03])
}
