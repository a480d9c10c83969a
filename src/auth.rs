//! Which clients may connect: from a name and a password to a [`User`].
//!
//! The core asks through the connection's task and waits for the answer as for any other input, so
//! an [`Authenticator`] may take its time (a directory, a token service). What a user may do once
//! connected is not decided here but by the permissions in `broker::access`. Unless another one is
//! given, the broker's own registry of users answers.

use std::net::SocketAddr;

use async_trait::async_trait;

pub use crate::broker::access::{AuthenticationFailure, Credentials, EXTERNAL, User};

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
