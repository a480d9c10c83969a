//! What clients put into argument tables and into the headers and properties that the broker obeys.
//!
//! Everything is read and checked once, when it comes in; past this module it is a plain value. The
//! refusals are reasons of [`Fault`], which has the texts.
//!
//! - queue.declare, also the second one: [`QueueArguments`]
//! - exchange.declare, also the second one: [`ExchangeArguments`]
//! - basic.consume: [`ConsumeArguments`]
//! - basic.publish: [`expiration_ms`], [`copy_keys`]
//! - what nobody will obey, for a warning: [`unknown_arguments`]
//!
//! What this module deliberately is not: it does not look at the broker. Whether an exchange exists
//! or a user may use it is not its business, nor is the name of what is declared. The arguments of
//! a binding are [`HeadersMatch`](super::headers::HeadersMatch)'s.
//!
//! A new argument of a queue is one line in the rules of `queue.rs`, a field, and its place among
//! the compared ones.

mod consume;
mod equivalence;
mod exchange;
mod publish;
mod queue;
pub(super) mod term;
mod unknown;

pub use consume::ConsumeArguments;
pub use exchange::ExchangeArguments;
pub use publish::{CopyKeys, copy_keys, expiration_ms, without_header};
pub use queue::{Overflow, QueueArguments, QueueType, check_server_named};
pub use unknown::unknown_arguments;

use leveret_codec::{ShortString, Table, Value};

use super::error::{Checked, Fault, InvalidValue, Resource};

/// Whether a value can be.
type Verdict = Result<(), InvalidValue>;

/// One argument that is known, and what its value must be.
struct Rule {
    name: &'static str,
    check: fn(Value<'_>, Table<'_>) -> Verdict,
}

/// Checks the rules in their order and stops at the first value that is wrong.
fn check_values<'r>(
    rules: impl IntoIterator<Item = &'r Rule>,
    of: &Resource,
    arguments: Table<'_>,
) -> Checked<()> {
    for Rule { name, check } in rules {
        if let Some(value) = arguments.find(name.as_bytes()) {
            check(value, arguments).map_err(|why| invalid(name, of, why))?;
        }
    }
    Ok(())
}

/// Refuses the first of these arguments that is there.
fn check_absent(
    names: impl IntoIterator<Item = &'static str>,
    of: &Resource,
    queue_type: QueueType,
    arguments: Table<'_>,
) -> Checked<()> {
    match names.into_iter().find(|name| arguments.find(name.as_bytes()).is_some()) {
        None => Ok(()),
        Some(name) => {
            let (of, queue_type) = (of.clone(), queue_type.module());
            Err(Fault::ForeignArgument { name, of, queue_type }.into())
        }
    }
}

fn invalid(name: &'static str, of: &Resource, why: InvalidValue) -> Fault {
    Fault::InvalidArgument { name, of: of.clone(), why }
}

/// The name of another exchange, when the argument is there.
///
/// rabbitmq: checks the type before anything else, and says it in other words.
fn exchange_name(
    name: &'static str,
    of: &Resource,
    arguments: Table<'_>,
) -> Checked<Option<ShortString>> {
    let Some(value) = arguments.find(name.as_bytes()) else { return Ok(None) };
    let Value::LongStr(exchange) = value else {
        let (of, type_name) = (of.clone(), value.type_name());
        return Err(Fault::InvalidArgumentType { name, of, type_name }.into());
    };
    fits_short(exchange).map_err(|why| invalid(name, of, why))?;
    Ok(Some(ShortString::truncated(exchange)))
}

fn integer(value: Value<'_>, _: Table<'_>) -> Verdict {
    number(value).map(|_| ())
}

fn natural(value: Value<'_>, _: Table<'_>) -> Verdict {
    natural_number(value).map(|_| ())
}

fn boolean(value: Value<'_>, _: Table<'_>) -> Verdict {
    value.as_bool().map(|_| ()).ok_or_else(|| unacceptable_type(value))
}

fn number(value: Value<'_>) -> Result<i64, InvalidValue> {
    value.as_i64().ok_or_else(|| InvalidValue::NotAnInteger(value.type_name()))
}

fn natural_number(value: Value<'_>) -> Result<i64, InvalidValue> {
    match number(value)? {
        negative @ ..0 => Err(InvalidValue::Negative(negative.to_string())),
        natural => Ok(natural),
    }
}

fn unacceptable_type(value: Value<'_>) -> InvalidValue {
    InvalidValue::Type(value.type_name())
}

/// rabbitmq: takes longer names and never finds what they name. We refuse them, since cutting one
/// would name something else.
fn fits_short(text: &[u8]) -> Verdict {
    match text.len() {
        ..=255 => Ok(()),
        length => Err(InvalidValue::TooLong(length)),
    }
}

#[cfg(test)]
mod fixtures {
    use leveret_codec::table::TableBuilder;
    use leveret_codec::{ShortString, TableBuf, Value};

    use crate::broker::error::{Checked, Resource};

    /// What the arguments are of.
    pub(super) fn q() -> Resource {
        Resource::queue(&ShortString::truncated(b"q"), "/")
    }

    pub(super) fn table(entries: &[(&str, Value<'_>)]) -> TableBuf {
        let mut table = TableBuilder::default();
        for (name, value) in entries {
            table.push(name.as_bytes(), value);
        }
        table.finish()
    }

    pub(super) fn text(text: &str) -> Value<'_> {
        Value::LongStr(text.as_bytes())
    }

    /// What the client is told, without the name of the code.
    #[track_caller]
    pub(super) fn refusal<T: std::fmt::Debug>(outcome: Checked<T>) -> String {
        let fault = outcome.expect_err("this is refused");
        assert_eq!(fault.code(), leveret_codec::ReplyCode::PreconditionFailed);
        fault.to_string()
    }
}
