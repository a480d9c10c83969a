//! Who may connect: from a name and a password to a [`User`].
//!
//! The core asks through the connection's task and waits for the answer as for any other input, so
//! an [`Authenticator`] may take its time (a directory, a token service). What a user may do once
//! connected is not decided here but by the permissions in `broker::access`.

use std::collections::HashMap;
use std::fmt;
use std::hint::black_box;
use std::net::SocketAddr;

use async_trait::async_trait;

pub use crate::broker::access::{AuthenticationFailure, Credentials, User};

/// Checks credentials. One is asked at every login, by many connections at the same time.
#[async_trait]
pub trait Authenticator: Send + Sync {
    /// Who the client at `peer` is, or why it does not get in. The handshake's time limit (10 s)
    /// includes the wait.
    async fn authenticate(
        &self,
        credentials: &Credentials,
        peer: SocketAddr,
    ) -> Result<User, AuthenticationFailure>;
}

/// A fixed list of users with their passwords.
#[derive(Clone, Default)]
pub struct StaticUsers {
    passwords: HashMap<String, Vec<u8>>,
}

impl StaticUsers {
    /// Nobody.
    pub fn new() -> Self {
        StaticUsers::default()
    }

    /// The user `guest` with the password `guest`, which every client library tries unless told
    /// otherwise.
    ///
    /// rabbitmq: guest gets in from the machine itself alone (`loopback_users`).
    pub fn guest() -> Self {
        StaticUsers::new().with(GUEST, GUEST)
    }

    /// Adds a user, or gives it another password.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, password: impl Into<Vec<u8>>) -> Self {
        self.passwords.insert(name.into(), password.into());
        self
    }
}

/// The one user that is refused from elsewhere, since everybody knows its password.
const GUEST: &str = "guest";

#[async_trait]
impl Authenticator for StaticUsers {
    async fn authenticate(
        &self,
        credentials: &Credentials,
        peer: SocketAddr,
    ) -> Result<User, AuthenticationFailure> {
        let Credentials { user, password, .. } = credentials;
        // why: an unknown name costs a comparison like a known one.
        let expected = self.passwords.get(user).unwrap_or(password);
        let is_right = is_same_secret(expected, password) && self.passwords.contains_key(user);
        // rabbitmq: an empty password never gets in, whatever is stored.
        if !is_right || password.is_empty() {
            return Err(AuthenticationFailure::Refused);
        }
        if user == GUEST && !is_local(peer) {
            return Err(AuthenticationFailure::NotLocal);
        }
        Ok(User { name: user.clone() })
    }
}

// invariant: a password never reaches a log.
impl fmt::Debug for StaticUsers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.passwords.keys()).finish()
    }
}

/// Compares in a time that depends on the lengths alone.
///
/// why: an ordinary comparison stops at the first octet that differs, and whoever measures the
/// answers precisely enough finds a password octet by octet.
fn is_same_secret(expected: &[u8], presented: &[u8]) -> bool {
    let difference = expected.iter().zip(presented).fold(0, |sum, (a, b)| black_box(sum | (a ^ b)));
    expected.len() == presented.len() && difference == 0
}

/// Whether the peer is this machine, also when an IPv6 socket shows its IPv4 address.
fn is_local(peer: SocketAddr) -> bool {
    peer.ip().to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn attempt(
        user: &str,
        password: &str,
        from: &str,
    ) -> Result<String, AuthenticationFailure> {
        let users = StaticUsers::guest().with("ann", "secret").with("empty", "");
        let credentials =
            Credentials { mechanism: "PLAIN", user: user.into(), password: password.into() };
        let peer = SocketAddr::new(from.parse().unwrap(), 4000);
        users.authenticate(&credentials, peer).await.map(|user| user.name)
    }

    #[tokio::test]
    async fn the_right_password_gets_in_and_no_other() {
        assert_eq!(attempt("ann", "secret", "10.0.0.7").await, Ok("ann".to_owned()));
        for (user, wrong) in [
            ("ann", ""),
            ("ann", "secre"),
            ("ann", "secret "),
            ("ann", "Secret"),
            ("bob", "secret"),
            ("bob", ""),
            ("empty", ""),
        ] {
            let refused = attempt(user, wrong, "127.0.0.1").await;
            assert_eq!(refused, Err(AuthenticationFailure::Refused), "{user} {wrong}");
        }
    }

    #[tokio::test]
    async fn guest_gets_in_from_the_machine_itself_alone() {
        for local in ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(attempt("guest", "guest", local).await, Ok("guest".to_owned()), "{local}");
        }
        for remote in ["10.0.0.7", "2001:db8::1", "::ffff:10.0.0.7"] {
            let refused = attempt("guest", "guest", remote).await;
            assert_eq!(refused, Err(AuthenticationFailure::NotLocal), "{remote}");
            let refused = attempt("guest", "wrong", remote).await;
            assert_eq!(refused, Err(AuthenticationFailure::Refused), "{remote}");
        }
    }

    #[test]
    fn passwords_are_not_shown() {
        let users = StaticUsers::new().with("ann", "secret");
        assert_eq!(format!("{users:?}"), r#"{"ann"}"#);
    }
}
