//! Why a value cannot be.

use crate::broker::names::erlang_string;

/// Why an argument or a property cannot have its value. Shown, it is the Erlang term that RabbitMQ
/// gives as the reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidValue {
    /// It is of this type and should be a number.
    #[error("\"expected integer, got {0}\"")]
    NotAnInteger(&'static str),
    /// It is of this type and should be another.
    #[error("{{unacceptable_type,{0}}}")]
    Type(&'static str),
    /// A text that does not begin as a number does.
    #[error("no_integer")]
    NoInteger,
    /// A text that goes on after the number, so.
    #[error("{{leftover_string,{}}}", erlang_string(.0))]
    Leftover(Vec<u8>),
    /// A number below zero.
    // why: text, since a client may write more digits than any integer has.
    #[error("{{value_negative,{0}}}")]
    Negative(String),
    /// Zero.
    #[error("{{value_zero,0}}")]
    Zero,
    /// More milliseconds than a timer takes.
    #[error("{{value_too_large,{0}}}")]
    TooLarge(String),
    /// A number above the maximum.
    #[error("{{max_value_exceeded,{0}}}")]
    AboveMaximum(i64),
    /// A number outside of a range.
    #[error("{{unacceptable_value,{0}}}")]
    OutOfRange(i64),
    /// A text of so many octets, too many for a name.
    #[error("{{unacceptable_length,{0}}}")]
    TooLong(usize),
    /// A dead-letter routing key without an exchange.
    #[error("routing_key_but_no_dlx_defined")]
    KeyWithoutExchange,
    /// No strategy of dead-lettering.
    #[error("invalid_dlx_strategy")]
    DeadLetterStrategy,
    /// Nothing that a full queue can do.
    #[error("invalid_overflow")]
    Overflow,
    /// No place for a queue.
    #[error("invalid_queue_locator_arg")]
    Locator,
    /// No age of messages.
    #[error("invalid_max_age")]
    MaxAge,
    /// A value of this queue mode, version or type is not there.
    #[error("{}", unsupported(.what, .value))]
    Unsupported {
        /// Mode, version or type.
        what: &'static str,
        /// What the client wrote.
        value: Vec<u8>,
    },
}

fn unsupported(what: &str, value: &[u8]) -> String {
    let mut reason = format!("unsupported queue {what} '").into_bytes();
    reason.extend_from_slice(value);
    reason.push(b'\'');
    erlang_string(&reason)
}
