//! Why a run could not go on, each in one line.

use std::path::PathBuf;

use thiserror::Error;

/// Why a run ended before it was done.
#[derive(Debug, Error)]
pub enum PerfError {
    /// The broker's host cannot be found, or nobody listens there.
    #[error("cannot connect to {address}: {reason}")]
    Unreachable {
        /// Host and port.
        address: String,
        /// What the system says.
        reason: String,
    },
    /// The handshake of TLS failed, or TLS later.
    #[error("TLS with {address} failed: {reason}")]
    Tls {
        /// Host and port.
        address: String,
        /// What is wrong.
        reason: String,
    },
    /// A file with authorities cannot be used.
    #[error("cannot use {}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The broker closed the connection or a channel, and said why.
    #[error("the broker closed the {what}: {code} {text}")]
    Closed {
        /// `connection` or `channel`.
        what: &'static str,
        /// The reply code.
        code: u16,
        /// The reply text.
        text: String,
    },
    /// The connection ended without a reason, or the system cut it.
    #[error("the connection to {address} was lost: {reason}")]
    Lost {
        /// Host and port.
        address: String,
        /// What happened.
        reason: String,
    },
    /// Nothing came for too long.
    #[error("{address} did not answer within {seconds} s")]
    Silent {
        /// Host and port.
        address: String,
        /// How long that was.
        seconds: u64,
    },
    /// The broker owes confirms and gives none.
    #[error("{address} confirmed none of {waiting} messages within {seconds} s")]
    Unconfirmed {
        /// Host and port.
        address: String,
        /// How many confirms are missing.
        waiting: u64,
        /// How long none came.
        seconds: u64,
    },
    /// Messages that were to be delivered were not.
    #[error("{missing} of {expected} deliveries are missing, and none came for {seconds} s")]
    Undelivered {
        /// How many did not come.
        missing: u64,
        /// How many should have.
        expected: u64,
        /// How long none came.
        seconds: u64,
    },
    /// What came is not AMQP 0-9-1.
    #[error("{address} does not speak AMQP 0-9-1: {reason}")]
    NotAmqp {
        /// Host and port.
        address: String,
        /// What came.
        reason: String,
    },
    /// The broker took a consumer away, as when its queue is deleted.
    #[error("the broker cancelled a consumer of the queue {queue}")]
    Cancelled {
        /// The queue.
        queue: String,
    },
    /// A name is longer than AMQP lets it be.
    #[error("{what} is longer than 255 octets")]
    TooLong {
        /// Which name.
        what: &'static str,
    },
    /// A thread could not be started, or ended in a panic.
    #[error("a thread failed: {reason}")]
    Thread {
        /// What happened.
        reason: String,
    },
}

/// One line of a text that somebody else wrote.
pub(super) fn one_line(text: &str) -> String {
    text.chars().map(|each| if each.is_control() { ' ' } else { each }).collect()
}
