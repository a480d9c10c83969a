//! How a command ends: with something to print, or with a text and a code.

use super::print::Printed;

/// What a command comes to.
pub(super) type Outcome = Result<Printed, Failure>;

/// Codes that a process ends with.
///
/// rabbitmq: those of BSD's sysexits.h.
pub(super) mod code {
    /// The command line makes no sense.
    pub(in super::super) const USAGE: u8 = 64;
    /// What was given cannot be taken.
    pub(in super::super) const DATA: u8 = 65;
    /// There is no such user.
    pub(in super::super) const NO_USER: u8 = 67;
    /// The node, or what the command is about, is not there; or a check failed.
    pub(in super::super) const UNAVAILABLE: u8 = 69;
    /// The node cannot do it.
    pub(in super::super) const SOFTWARE: u8 = 70;
    /// It cannot be written or read.
    pub(in super::super) const IO: u8 = 74;
    /// It takes too long.
    pub(in super::super) const TIMEOUT: u8 = 75;
}

/// Why a command failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) code: u8,
    /// What is written to standard error, with its end of line.
    pub(super) text: String,
    /// Whether the usage of the command follows.
    pub(super) with_usage: bool,
}

impl Failure {
    /// A text below the line `Error:`.
    pub(super) fn new(code: u8, text: impl AsRef<str>) -> Self {
        Failure::bare(code, format!("Error:\n{}", text.as_ref()))
    }

    /// A text alone.
    pub(super) fn bare(code: u8, text: impl AsRef<str>) -> Self {
        Failure { code, text: format!("{}\n", text.as_ref()), with_usage: false }
    }

    /// The command line makes no sense; the usage follows.
    pub(super) fn usage(text: impl AsRef<str>) -> Self {
        let text = format!("Error (argument validation): {}\n", text.as_ref());
        Failure { code: code::USAGE, text, with_usage: true }
    }

    /// There is no such virtual host.
    pub(super) fn no_vhost(vhost: &str) -> Self {
        Failure::new(code::UNAVAILABLE, format!("Virtual host {vhost} does not exist"))
    }

    /// There is no such user.
    pub(super) fn no_user(user: &str) -> Self {
        Failure::new(code::NO_USER, format!("User \"{user}\" does not exist"))
    }
}
