//! How many logins there were, and how many of them failed.
//!
//! What this module deliberately is not: it holds nobody up, see `login_throttle`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;

use crate::auth::{AuthenticationFailure, Authenticator, Credentials, User};

/// Logins of one protocol.
#[derive(Debug, Default)]
pub(crate) struct LoginCounts {
    successes: AtomicU64,
    failures: AtomicU64,
}

impl LoginCounts {
    /// How many were let in, and how many were not.
    pub(crate) fn read(&self) -> (u64, u64) {
        (self.successes.load(Ordering::Relaxed), self.failures.load(Ordering::Relaxed))
    }

    /// Counts from zero again.
    pub(crate) fn reset(&self) {
        self.successes.store(0, Ordering::Relaxed);
        self.failures.store(0, Ordering::Relaxed);
    }
}

/// An authenticator that counts.
pub(crate) struct CountedLogins {
    authenticator: Arc<dyn Authenticator>,
    counts: Arc<LoginCounts>,
}

impl CountedLogins {
    pub(crate) fn new(authenticator: Arc<dyn Authenticator>, counts: Arc<LoginCounts>) -> Self {
        CountedLogins { authenticator, counts }
    }
}

#[async_trait]
impl Authenticator for CountedLogins {
    async fn authenticate(
        &self,
        credentials: &Credentials,
        peer: SocketAddr,
    ) -> Result<User, AuthenticationFailure> {
        let result = self.authenticator.authenticate(credentials, peer).await;
        let count = if result.is_ok() { &self.counts.successes } else { &self.counts.failures };
        count.fetch_add(1, Ordering::Relaxed);
        result
    }
}

/// How logins are checked, and how many of AMQP there were.
#[derive(Clone)]
pub(crate) struct Logins {
    /// Counts none.
    pub(crate) authenticator: Arc<dyn Authenticator>,
    /// Those of clients of AMQP.
    pub(crate) of_amqp: Arc<LoginCounts>,
}
