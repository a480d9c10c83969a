//! The arguments of queue.declare.
//!
//! rabbitmq: what is checked, in which order, and what each kind of queue takes is that of 3.10,
//! with exceptions from later versions: `x-delivery-limit` and `x-consumer-timeout` are checked,
//! and classic queues take `x-queue-leader-locator` and `x-consumer-timeout` too. They take
//! `x-delivery-limit` as well, which is ours: a poisonous message is no rarer there.

use leveret_codec::{ShortString, Table, TableBuf, Value};

use super::{
    Rule, Verdict, boolean, check_absent, check_values, equivalence, exchange_name, fits_short,
    integer, natural, natural_number, unacceptable_type,
};
use crate::broker::error::{Checked, Fault, InvalidValue, Resource};
use crate::broker::limits::LONGEST_MS;

/// What a queue's arguments say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueArguments {
    /// `x-message-ttl`
    pub message_ttl_ms: Option<u64>,
    /// `x-expires`
    pub expires_ms: Option<u64>,
    /// `x-max-length`, in messages.
    pub max_length: Option<u64>,
    /// `x-max-length-bytes`, in octets of bodies.
    pub max_length_bytes: Option<u64>,
    /// `x-overflow`
    pub overflow: Overflow,
    /// `x-dead-letter-exchange`; may be the empty name of the default exchange, or one that is not
    /// there.
    pub dead_letter_exchange: Option<ShortString>,
    /// `x-dead-letter-routing-key`; only beside an exchange.
    pub dead_letter_routing_key: Option<ShortString>,
    /// `x-max-priority`
    pub max_priority: Option<u8>,
    /// `x-single-active-consumer`
    pub single_active_consumer: bool,
    /// `x-queue-type`
    pub queue_type: QueueType,
    /// `x-delivery-limit`; none too when it was negative, which means no limit.
    pub delivery_limit: Option<u64>,
    /// `x-consumer-timeout`
    pub consumer_timeout_ms: Option<u64>,
    /// The arguments as they came, to be shown, stored and compared.
    pub raw: TableBuf,
}

/// What a full queue does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// Drops its oldest message.
    #[default]
    DropHead,
    /// Refuses the new one.
    RejectPublish,
    /// Refuses the new one and dead-letters it.
    RejectPublishDlx,
}

/// The kinds of queues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QueueType {
    /// The usual one.
    #[default]
    Classic,
    /// The replicated one.
    Quorum,
    /// The log that consumers read and do not empty.
    Stream,
}

impl QueueArguments {
    /// Reads the arguments of a new queue.
    pub fn parse(of: &Resource, arguments: &TableBuf) -> Checked<QueueArguments> {
        let table = arguments.as_table();
        let dead_letter_exchange = exchange_name("x-dead-letter-exchange", of, table)?;
        check_values(RULES.iter().filter(|rule| rule.name == "x-queue-type"), of, table)?;
        let queue_type = queue_type(table);
        let (taken, others): (Vec<_>, Vec<_>) =
            RULES.iter().partition(|rule| queue_type.takes(rule.name));
        check_values(taken, of, table)?;
        let mut others: Vec<_> = others.iter().map(|rule| rule.name).collect();
        others.sort_unstable();
        check_absent(others, of, queue_type, table)?;

        let number = |name: &[u8]| {
            table.find(name).and_then(|value| value.as_i64()).and_then(|v| u64::try_from(v).ok())
        };
        let text = |name: &[u8]| table.find(name).and_then(|value| value.as_bytes());
        Ok(QueueArguments {
            message_ttl_ms: number(b"x-message-ttl"),
            expires_ms: number(b"x-expires"),
            max_length: number(b"x-max-length"),
            max_length_bytes: number(b"x-max-length-bytes"),
            overflow: match text(b"x-overflow") {
                Some(b"reject-publish") => Overflow::RejectPublish,
                Some(b"reject-publish-dlx") => Overflow::RejectPublishDlx,
                _ => Overflow::DropHead,
            },
            dead_letter_exchange,
            dead_letter_routing_key: text(b"x-dead-letter-routing-key").map(ShortString::truncated),
            max_priority: number(b"x-max-priority")
                .and_then(|value| u8::try_from(value).ok())
                .filter(|max| *max > 0),
            single_active_consumer: table.find(b"x-single-active-consumer")
                == Some(Value::Bool(true)),
            queue_type,
            delivery_limit: number(b"x-delivery-limit"),
            consumer_timeout_ms: number(b"x-consumer-timeout"),
            raw: arguments.clone(),
        })
    }

    /// Checks that a new queue asks for nothing that it would not get.
    ///
    /// why: not where arguments are read. A queue that is there from before is kept with its messages.
    pub fn check_new(&self, of: &Resource) -> Checked<()> {
        match self.raw.as_table().find(b"x-message-deduplication") {
            Some(Value::Bool(true)) => Err(Fault::DeduplicatedQueue(of.clone()).into()),
            _ => Ok(()),
        }
    }

    /// Reads the exchange for the dead alone.
    pub fn parse_dead_letter_exchange(
        of: &Resource,
        arguments: &TableBuf,
    ) -> Checked<Option<ShortString>> {
        exchange_name("x-dead-letter-exchange", of, arguments.as_table())
    }

    /// Checks that this kind of queue can be what else was declared.
    pub fn check_properties(
        &self,
        of: &Resource,
        durable: bool,
        exclusive: bool,
        auto_delete: bool,
    ) -> Checked<()> {
        if self.queue_type == QueueType::Classic {
            return Ok(());
        }
        let property = match (auto_delete, exclusive, durable) {
            (true, _, _) => "auto-delete",
            (_, true, _) => "exclusive-owner",
            (_, _, false) => "non-durable",
            _ => return self.check_segment_size(),
        };
        Err(Fault::InvalidProperty { property, of: of.clone() }.into())
    }

    /// rabbitmq: the only value that is checked after the properties, and in words of its own.
    fn check_segment_size(&self) -> Checked<()> {
        const NAME: &str = "x-stream-max-segment-size-bytes";
        let size = self.raw.as_table().find(NAME.as_bytes()).and_then(|value| value.as_i64());
        if size > Some(3_000_000_000) {
            return Err(Fault::ArgumentTooLarge(NAME).into());
        }
        Ok(())
    }

    /// Checks that a declaration with these arguments is one of this queue.
    pub fn check_equivalent(&self, of: &Resource, received: &TableBuf) -> Checked<()> {
        let compared = self.queue_type.compared();
        equivalence::check(compared, of, self.raw.as_table(), received.as_table())
    }
}

/// Checks that a queue of these arguments may go without a name of its own.
///
/// rabbitmq: looks at this before anything else of a queue.declare.
pub fn check_server_named(arguments: &TableBuf) -> Checked<()> {
    match queue_type(arguments.as_table()) {
        QueueType::Classic => Ok(()),
        other => Err(Fault::ServerNamed(other.module()).into()),
    }
}

impl QueueType {
    /// The name in `x-queue-type`.
    pub fn name(self) -> &'static str {
        match self {
            QueueType::Classic => "classic",
            QueueType::Quorum => "quorum",
            QueueType::Stream => "stream",
        }
    }

    /// What RabbitMQ's texts call it: the module that makes such a queue.
    pub(super) fn module(self) -> &'static str {
        match self {
            QueueType::Classic => "rabbit_classic_queue",
            QueueType::Quorum => "rabbit_quorum_queue",
            QueueType::Stream => "rabbit_stream_queue",
        }
    }

    /// Whether it has use for an argument.
    fn takes(self, argument: &str) -> bool {
        self.compared().contains(&argument) || self.tolerated().contains(&argument)
    }

    /// The arguments that a second declaration has to repeat, in the order they are compared.
    ///
    /// why: `x-delivery-limit` comes last on classic queues, where RabbitMQ has none.
    fn compared(self) -> &'static [&'static str] {
        match self {
            QueueType::Classic => &[
                "x-expires",
                "x-message-ttl",
                "x-dead-letter-exchange",
                "x-dead-letter-routing-key",
                "x-max-length",
                "x-max-length-bytes",
                "x-max-priority",
                "x-overflow",
                "x-queue-mode",
                "x-queue-version",
                "x-single-active-consumer",
                "x-queue-type",
                "x-queue-master-locator",
                "x-delivery-limit",
            ],
            QueueType::Quorum => &[
                "x-dead-letter-exchange",
                "x-dead-letter-routing-key",
                "x-dead-letter-strategy",
                "x-expires",
                "x-max-length",
                "x-max-length-bytes",
                "x-max-in-memory-length",
                "x-max-in-memory-bytes",
                "x-overflow",
                "x-single-active-consumer",
                "x-queue-type",
                "x-quorum-initial-group-size",
                "x-delivery-limit",
                "x-message-ttl",
                "x-queue-leader-locator",
            ],
            QueueType::Stream => &[
                "x-max-length-bytes",
                "x-queue-type",
                "x-max-age",
                "x-stream-max-segment-size-bytes",
                "x-initial-cluster-size",
                "x-queue-leader-locator",
            ],
        }
    }

    /// The arguments that it takes and that a second declaration may leave out or change.
    fn tolerated(self) -> &'static [&'static str] {
        match self {
            QueueType::Classic => &["x-queue-leader-locator", "x-consumer-timeout"],
            QueueType::Quorum => &["x-consumer-timeout"],
            QueueType::Stream => &["x-stream-filter-size-bytes"],
        }
    }
}

/// The type that is asked for; what is no type is classic here, and refused by its rule.
fn queue_type(arguments: Table<'_>) -> QueueType {
    match arguments.find(b"x-queue-type") {
        Some(Value::LongStr(b"quorum")) => QueueType::Quorum,
        Some(Value::LongStr(b"stream")) => QueueType::Stream,
        _ => QueueType::Classic,
    }
}

/// The names of all arguments that there are rules for.
pub(super) fn known() -> impl Iterator<Item = &'static str> {
    RULES.iter().map(|rule| rule.name)
}

const fn rule(name: &'static str, check: fn(Value<'_>, Table<'_>) -> Verdict) -> Rule {
    Rule { name, check }
}

/// All arguments, in the order in which their values are checked.
const RULES: &[Rule] = &[
    rule("x-expires", |value, _| match natural_number(value)? {
        0 => Err(InvalidValue::Zero),
        ms => not_too_long(ms),
    }),
    rule("x-message-ttl", |value, _| not_too_long(natural_number(value)?)),
    rule("x-dead-letter-exchange", |_, _| Ok(())),
    rule("x-dead-letter-routing-key", |value, arguments| {
        let key = value.as_bytes().ok_or_else(|| unacceptable_type(value))?;
        match arguments.find(b"x-dead-letter-exchange") {
            None => Err(InvalidValue::KeyWithoutExchange),
            Some(_) => fits_short(key),
        }
    }),
    rule("x-dead-letter-strategy", |value, _| {
        one_of(value, &["at-most-once", "at-least-once"], InvalidValue::DeadLetterStrategy)
    }),
    rule("x-max-length", natural),
    rule("x-max-length-bytes", natural),
    rule("x-max-in-memory-length", natural),
    rule("x-max-in-memory-bytes", natural),
    rule("x-max-priority", |value, _| match natural_number(value)? {
        ..=255 => Ok(()),
        above => Err(InvalidValue::AboveMaximum(above)),
    }),
    rule("x-overflow", |value, _| {
        let known = ["drop-head", "reject-publish", "reject-publish-dlx"];
        one_of(value, &known, InvalidValue::Overflow)
    }),
    rule("x-queue-mode", |value, _| supported("mode", value, &["default", "lazy"])),
    rule("x-queue-version", |value, _| match natural_number(value)? {
        1 | 2 => Ok(()),
        other => {
            let value = other.to_string().into_bytes();
            Err(InvalidValue::Unsupported { what: "version", value })
        }
    }),
    rule("x-single-active-consumer", boolean),
    rule("x-queue-type", |value, _| supported("type", value, &["classic", "quorum", "stream"])),
    rule("x-quorum-initial-group-size", positive),
    rule("x-max-age", |value, _| {
        let age = value.as_bytes().ok_or_else(|| unacceptable_type(value))?;
        if is_age(age) { Ok(()) } else { Err(InvalidValue::MaxAge) }
    }),
    rule("x-stream-max-segment-size-bytes", natural),
    rule("x-stream-filter-size-bytes", |value, _| match natural_number(value)? {
        16..=255 => Ok(()),
        other => Err(InvalidValue::OutOfRange(other)),
    }),
    rule("x-initial-cluster-size", positive),
    rule("x-queue-leader-locator", |value, _| {
        let known = ["client-local", "balanced", "random", "least-leaders"];
        one_of(value, &known, InvalidValue::Locator)
    }),
    // rabbitmq: fails at a bad one with an internal error that closes the connection.
    rule("x-queue-master-locator", |value, _| {
        let known = ["min-masters", "client-local", "random"];
        one_of(value, &known, InvalidValue::Locator)
    }),
    rule("x-delivery-limit", integer),
    rule("x-consumer-timeout", natural),
];

fn not_too_long(ms: i64) -> Verdict {
    match ms.unsigned_abs() {
        ..=LONGEST_MS => Ok(()),
        _ => Err(InvalidValue::TooLarge(ms.to_string())),
    }
}

fn positive(value: Value<'_>, _: Table<'_>) -> Verdict {
    match natural_number(value)? {
        0 => Err(InvalidValue::Zero),
        _ => Ok(()),
    }
}

fn one_of(value: Value<'_>, known: &[&str], otherwise: InvalidValue) -> Verdict {
    let text = value.as_bytes().ok_or_else(|| unacceptable_type(value))?;
    if known.iter().any(|known| known.as_bytes() == text) { Ok(()) } else { Err(otherwise) }
}

fn supported(what: &'static str, value: Value<'_>, known: &[&str]) -> Verdict {
    let text = value.as_bytes().unwrap_or_default().to_vec();
    one_of(value, known, InvalidValue::Unsupported { what, value: text })
}

/// Whether it is a number above zero and a unit of time.
fn is_age(text: &[u8]) -> bool {
    let digits = text.iter().take_while(|octet| octet.is_ascii_digit()).count();
    let (number, unit) = text.split_at(digits);
    number.iter().any(|digit| *digit != b'0')
        && matches!(unit, b"Y" | b"M" | b"D" | b"h" | b"m" | b"s")
}

#[cfg(test)]
mod tests;
