//! The exchange type `x-delayed-message`: it holds a message as long as its header `x-delay` says
//! and routes it then, as an exchange of its `x-delayed-type` does.
//!
//! rabbitmq: a community plugin, which 4.3 has lost. Here what it holds survives a restart, if
//! exchange and message do: to the store it is a queue of its own without a name.

use std::collections::BTreeMap;

use leveret_codec::table::TableBuilder;
use leveret_codec::{Properties, Table, TableBuf, Value};

use super::ExchangeType;
use crate::broker::error::{Checked, Fault};
use crate::broker::ids::{DurableQueueId, Position};
use crate::broker::message::{Message, with_properties};
use crate::broker::time::Time;

const DELAY: &[u8] = b"x-delay";
const TYPE: &[u8] = b"x-delayed-type";
/// Names the exchange in the arguments of the queue that the store keeps for it.
const DELAYED_QUEUE: &[u8] = b"x-delayed-exchange";

/// rabbitmq: longer delays are taken for none.
const LONGEST_DELAY_MS: i64 = 4_294_967_295;

/// A message that is held.
#[derive(Clone, Debug)]
pub struct Held {
    /// The message, as it will be routed.
    pub message: Message,
    /// Whether the store knows of it.
    pub recorded: bool,
}

impl Held {
    /// About how much memory it takes, in octets.
    pub fn weight(&self) -> u64 {
        HELD_OCTETS + self.message.as_bytes().len() as u64
    }
}

/// What a message that is held occupies beside its octets.
const HELD_OCTETS: u64 = 112;

/// What a delayed exchange holds, by the time it is due and then in the order it came.
#[derive(Debug, Default)]
pub struct Delayed {
    /// Its identity in the store, if the exchange is durable.
    pub durable: Option<DurableQueueId>,
    held: BTreeMap<(Time, Position), Held>,
    /// About how much memory they take, in octets.
    weight: u64,
    last_position: Position,
    /// The earliest deadline that the timer holds for it.
    armed: Option<Time>,
}

impl Delayed {
    /// How many messages it holds.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// About how much memory they take, in octets.
    pub fn weight(&self) -> u64 {
        self.weight
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// When the next one is due.
    pub fn next_due(&self) -> Option<Time> {
        self.held.first_key_value().map(|((due, _), _)| *due)
    }

    /// The deadline that was set, to be taken back, and the one to be set; nothing when one that is
    /// early enough is set already.
    pub fn take_alarm(&mut self) -> Option<(Option<Time>, Time)> {
        let due = self.next_due()?;
        if self.armed.is_some_and(|armed| armed <= due) {
            return None;
        }
        Some((self.armed.replace(due), due))
    }

    /// The deadline that is set.
    pub fn armed(&self) -> Option<Time> {
        self.armed
    }

    /// The deadline that was set has come.
    pub fn note_alarm(&mut self, now: Time) {
        self.armed = self.armed.filter(|armed| *armed > now);
    }

    /// Gives a message its place.
    pub fn next_position(&mut self) -> Position {
        self.last_position += 1;
        self.last_position
    }

    /// Whether the store keeps nothing for it.
    pub fn has_no_queue(&self) -> bool {
        self.durable.is_none()
    }

    /// Nothing up to `last` is given again: what a restart found.
    pub fn reserve_positions(&mut self, last: Position) {
        self.last_position = self.last_position.max(last);
    }

    /// Holds a message at its place.
    pub fn hold(&mut self, due: Time, position: Position, held: Held) {
        self.weight += held.weight();
        self.held.insert((due, position), held);
    }

    /// Takes one that is due.
    pub fn take_due(&mut self, now: Time) -> Option<(Position, Held)> {
        if self.next_due()? > now {
            return None;
        }
        let ((_, position), held) = self.held.pop_first()?;
        self.weight -= held.weight();
        Some((position, held))
    }
}

/// The type that a delayed exchange routes by.
pub fn delayed_type(arguments: Table<'_>) -> Checked<ExchangeType> {
    let name = arguments.find(TYPE).and_then(|value| value.as_bytes());
    match name.and_then(ExchangeType::from_name) {
        Some(ExchangeType::Delayed) => Err(Fault::DelayedTwice.into()),
        Some(kind) => Ok(kind),
        None => Err(Fault::DelayedType.into()),
    }
}

/// Whether a message of these properties is to be held.
pub fn is_delayed(properties: Properties<'_>) -> bool {
    delay_ms(properties).is_some()
}

fn delay_ms(properties: Properties<'_>) -> Option<i64> {
    let delay_ms = match properties.headers()?.find(DELAY)? {
        Value::LongStr(text) => std::str::from_utf8(text).ok()?.parse().ok()?,
        Value::F32(delay) => delay as i64,
        Value::F64(delay) => delay as i64,
        value => value.as_i64()?,
    };
    (1..=LONGEST_DELAY_MS).contains(&delay_ms).then_some(delay_ms)
}

/// How long a message is to be held, in milliseconds, and the message as it will be routed.
///
/// rabbitmq: whoever gets it sees the delay negated, so that passing it on does not hold it again.
pub fn delay_of(message: &Message) -> Option<(u64, Message)> {
    let properties: Properties<'_> = message.properties();
    let delay_ms = delay_ms(properties)?;
    let headers = properties.headers()?;
    let negated = match headers.find(DELAY)? {
        Value::I16(_) => Value::I16((-delay_ms) as i16),
        Value::I32(_) => Value::I32((-delay_ms) as i32),
        _ => Value::I64(-delay_ms),
    };
    let mut table = TableBuilder::default();
    for entry in headers.iter() {
        if entry.name.as_bytes() == DELAY {
            table.push(DELAY, &negated);
        } else {
            table.push_raw(entry.raw());
        }
    }
    let mut fields = properties.fields();
    fields.headers = Some(table.as_table());
    Some((delay_ms.unsigned_abs(), with_properties(message, &fields)))
}

/// The arguments of the queue that the store keeps for a delayed exchange.
pub fn delayed_queue_arguments(exchange: &[u8]) -> TableBuf {
    let mut table = TableBuilder::default();
    table.push(DELAYED_QUEUE, &Value::LongStr(exchange));
    table.finish()
}

/// The exchange that a queue of the store is kept for, if it is none that clients know.
pub fn delayed_exchange_of(name: &[u8], arguments: &TableBuf) -> Option<Vec<u8>> {
    let exchange = arguments.as_table().find(DELAYED_QUEUE)?.as_bytes()?;
    name.is_empty().then(|| exchange.to_vec())
}

#[cfg(test)]
mod tests {
    use leveret_codec::{PropertyFields, ShortStr};

    use super::*;

    fn message(delay: Value<'_>) -> Message {
        let mut table = TableBuilder::default();
        table.push(b"other", &Value::Bool(true)).push(DELAY, &delay);
        let fields = PropertyFields { headers: Some(table.as_table()), ..Default::default() };
        let plain = Message::new(ShortStr::EMPTY, ShortStr::EMPTY, Properties::EMPTY, b"");
        with_properties(&plain, &fields)
    }

    #[test]
    fn the_delay_may_be_any_number_and_is_negated() {
        for (value, negated) in [
            (Value::I32(1500), Value::I32(-1500)),
            (Value::I16(1500), Value::I16(-1500)),
            (Value::I64(1500), Value::I64(-1500)),
            (Value::U16(1500), Value::I64(-1500)),
            (Value::F64(1500.7), Value::I64(-1500)),
            (Value::LongStr(b"1500"), Value::I64(-1500)),
        ] {
            let (delay_ms, message) = delay_of(&message(value)).expect("a delay");
            assert_eq!(delay_ms, 1500);
            let headers = message.properties().headers().expect("headers");
            assert_eq!(headers.find(DELAY), Some(negated));
            assert_eq!(headers.iter().next().map(|it| it.value), Some(Value::Bool(true)));
        }
    }

    #[test]
    fn nonsense_is_no_delay() {
        for value in [
            Value::I32(0),
            Value::I32(-5),
            Value::I64(LONGEST_DELAY_MS + 1),
            Value::LongStr(b"soon"),
            Value::Void,
        ] {
            assert!(delay_of(&message(value)).is_none(), "{value:?}");
        }
    }

    #[test]
    fn what_is_due_comes_in_order() {
        let mut delayed = Delayed::default();
        for due in [30, 10, 20, 10] {
            let position = delayed.next_position();
            let held = Held { message: message(Value::I32(1)), recorded: false };
            delayed.hold(Time::from_millis(due), position, held);
        }
        assert_eq!(delayed.next_due(), Some(Time::from_millis(10)));
        let mut taken = Vec::new();
        while let Some((position, _)) = delayed.take_due(Time::from_millis(20)) {
            taken.push(position);
        }
        assert_eq!(taken, [2, 4, 3]);
        assert_eq!(delayed.len(), 1);
    }
}
