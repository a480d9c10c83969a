//! What the handshake of TLS found out about a connection.

use rustls::{CommonState, ProtocolVersion};

use super::subject::Subject;
use crate::auth::AuthenticationFailure;
use crate::config::Tls;

/// How a connection is secured, and which user its client's certificate names.
#[derive(Clone, Debug)]
pub(crate) struct Security {
    /// The version, in Erlang's words, which management shows.
    pub(crate) protocol: &'static str,
    /// How the keys were agreed upon.
    pub(crate) key_exchange: String,
    /// How bytes are encrypted.
    pub(crate) cipher: String,
    /// The verified certificate of the client, if it showed one.
    pub(crate) certificate: Option<Certified>,
    /// Whether clients are asked for certificates, so that they may log in with one.
    pub(crate) asks_for_certificates: bool,
    /// The user that the certificate names.
    user: Result<String, AuthenticationFailure>,
}

/// What a verified certificate says.
#[derive(Clone, Debug)]
pub(crate) struct Certified {
    pub(crate) subject: String,
    pub(crate) issuer: String,
    pub(crate) validity: String,
}

impl Security {
    /// Of a connection whose handshake is over.
    pub(super) fn of(connection: &CommonState, tls: &Tls) -> Self {
        // The first is the client's own.
        let own = connection.peer_certificates().and_then(<[_]>::first);
        let subject = own.and_then(|certificate| Subject::read(certificate));
        let suite = connection.negotiated_cipher_suite().map(|suite| suite.suite());
        let (key_exchange, cipher) =
            taken_apart(suite.and_then(|suite| suite.as_str()).unwrap_or_default());
        Security {
            protocol: match connection.protocol_version() {
                Some(ProtocolVersion::TLSv1_3) => "tlsv1.3",
                _ => "tlsv1.2",
            },
            key_exchange,
            cipher,
            certificate: subject.as_ref().map(|subject| Certified {
                subject: subject.subject(),
                issuer: subject.issuer(),
                validity: subject.validity(),
            }),
            asks_for_certificates: tls.client_ca.is_some(),
            user: match own {
                None => Err(AuthenticationFailure::NoCertificate),
                Some(_) => subject
                    .and_then(|subject| subject.user(tls.user_from))
                    .ok_or(AuthenticationFailure::NoName),
            },
        }
    }

    /// The user that the client's certificate names.
    ///
    /// # Errors
    /// When it showed none, or the certificate names no user.
    pub(crate) fn user(&self) -> Result<&str, AuthenticationFailure> {
        self.user.as_deref().map_err(|failure| *failure)
    }
}

/// The parts of a suite's name: how keys are agreed upon, and the cipher.
///
/// rabbitmq: with TLS 1.3, whose suites leave the first open, it is `any`.
fn taken_apart(suite: &str) -> (String, String) {
    let (key_exchange, cipher) = match suite.strip_prefix("TLS13_") {
        Some(cipher) => ("any", cipher),
        None => {
            suite.strip_prefix("TLS_").unwrap_or(suite).split_once("_WITH_").unwrap_or_default()
        }
    };
    let cipher = cipher.rsplit_once("_SHA").map_or(cipher, |(cipher, _)| cipher);
    (key_exchange.to_lowercase(), cipher.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suite_is_shown_as_erlang_does() {
        for (suite, parts) in [
            ("TLS13_AES_256_GCM_SHA384", ("any", "aes_256_gcm")),
            ("TLS13_CHACHA20_POLY1305_SHA256", ("any", "chacha20_poly1305")),
            ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", ("ecdhe_rsa", "aes_128_gcm")),
            ("", ("", "")),
        ] {
            let (key_exchange, cipher) = taken_apart(suite);
            assert_eq!((key_exchange.as_str(), cipher.as_str()), parts);
        }
    }
}
