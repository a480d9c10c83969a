//! A value in a policy, as it is written and as RabbitMQ's texts show it.

use std::fmt;

use crate::broker::names::erlang_binary;

/// A value in a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyValue {
    /// A whole number.
    Integer(i64),
    /// A text.
    Text(String),
    /// True or false.
    Bool(bool),
    /// Anything else, as it is printed where it comes from.
    Other(String),
}

impl PolicyValue {
    pub(super) fn as_integer(&self) -> Option<i64> {
        match self {
            PolicyValue::Integer(value) => Some(*value),
            _ => None,
        }
    }

    pub(super) fn as_text(&self) -> Option<&str> {
        match self {
            PolicyValue::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// As RabbitMQ's texts show it.
impl fmt::Display for PolicyValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PolicyValue::Integer(value) => write!(f, "{value}"),
            PolicyValue::Text(text) => f.write_str(&erlang_binary(text.as_bytes())),
            PolicyValue::Bool(value) => write!(f, "{value}"),
            PolicyValue::Other(printed) => f.write_str(printed),
        }
    }
}
