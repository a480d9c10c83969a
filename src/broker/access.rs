//! Who a client says it is, and who it is found to be.

use std::fmt;

/// What a client sent to prove who it is.
///
/// invariant: the password never shows in debug output.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The SASL mechanism it used: `PLAIN` or `AMQPLAIN`.
    pub mechanism: &'static str,
    /// The user's name.
    pub user: String,
    /// The password, as it was sent.
    pub password: Vec<u8>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("mechanism", &self.mechanism)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// A user that was let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The user's name.
    pub name: String,
}

/// The credentials were not accepted. Why is for the log alone: the client is not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthenticationFailure {
    /// There is no such user, or the password is wrong.
    #[error("unknown user or wrong password")]
    Refused,
    /// The user may connect from this machine alone, and the client is on another.
    #[error("user can only connect via localhost")]
    NotLocal,
    /// The back end that knows the users did not answer.
    #[error("the authentication back end failed")]
    Unavailable,
}
