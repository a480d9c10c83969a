//! Records and messages as bytes: what is inside the frames.
//!
//! A record is a tag and its fields in the order in which they are declared; integers are
//! little-endian. A string has one byte of length before it, a table four. What a tag means never
//! changes: another meaning takes another tag.

use smallvec::SmallVec;

use leveret_codec::{ShortString, TableBuf};

use crate::broker::message::Message;
use crate::broker::record::{
    BindingDefinition, BoundTo, DurableQueueId, ExchangeDefinition, Placement, QueueDefinition,
    Record,
};
use crate::broker::time::Time;

const EXCHANGE_DECLARED: u8 = 1;
const EXCHANGE_DELETED: u8 = 2;
const QUEUE_DECLARED: u8 = 3;
const QUEUE_DELETED: u8 = 4;
const BOUND: u8 = 5;
const UNBOUND: u8 = 6;
const ENQUEUED: u8 = 7;
const SETTLED: u8 = 8;
const DELIVERED: u8 = 9;
const RETURNED: u8 = 10;

const TO_QUEUE: u8 = 0;
const TO_EXCHANGE: u8 = 1;

/// Bytes whose checksum is right and that are no record all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Malformed(pub(super) &'static str);

/// Adds a record.
pub(super) fn put_record(buffer: &mut Vec<u8>, record: &Record) {
    match record {
        Record::ExchangeDeclared(exchange) => put_exchange(buffer, exchange),
        Record::ExchangeDeleted { name } => {
            buffer.push(EXCHANGE_DELETED);
            put_string(buffer, name);
        }
        Record::QueueDeclared(queue) => put_queue(buffer, queue),
        Record::QueueDeleted { id } => {
            buffer.push(QUEUE_DELETED);
            put_u64(buffer, id.0);
        }
        Record::Bound(binding) => put_binding(buffer, BOUND, binding),
        Record::Unbound(binding) => put_binding(buffer, UNBOUND, binding),
        Record::Enqueued { message, placements } => {
            buffer.push(ENQUEUED);
            put_u32(buffer, placements.len() as u32);
            for placement in placements {
                put_u64(buffer, placement.queue.0);
                put_u64(buffer, placement.position);
                put_expiry(buffer, placement.expires_at);
            }
            put_message(buffer, message);
        }
        Record::Settled { queue, first, last, acknowledged: _ } => {
            buffer.push(SETTLED);
            put_u64(buffer, queue.0);
            put_u64(buffer, *first);
            put_u64(buffer, *last);
        }
        Record::Delivered { queue, priority, position } => {
            buffer.push(DELIVERED);
            put_u64(buffer, queue.0);
            buffer.push(*priority);
            put_u64(buffer, *position);
        }
        Record::Returned { queue, first, last, returns } => {
            buffer.push(RETURNED);
            put_u64(buffer, queue.0);
            put_u64(buffer, *first);
            put_u64(buffer, *last);
            put_u32(buffer, *returns);
        }
    }
}

/// A length that [`put_record`] does not go beyond.
pub(super) fn record_bound(record: &Record) -> usize {
    // Names have up to 256 bytes each; what is left is tags, flags and numbers.
    let table = |arguments: &TableBuf| arguments.as_table().as_bytes().len();
    32 + match record {
        Record::ExchangeDeclared(exchange) => 512 + table(&exchange.arguments),
        Record::ExchangeDeleted { .. } => 256,
        Record::QueueDeclared(queue) => 256 + table(&queue.arguments),
        Record::Bound(binding) | Record::Unbound(binding) => 768 + table(&binding.arguments),
        Record::Enqueued { message, placements } => message_length(message) + 25 * placements.len(),
        Record::QueueDeleted { .. }
        | Record::Settled { .. }
        | Record::Delivered { .. }
        | Record::Returned { .. } => 0,
    }
}

/// As the record that it was declared.
pub(super) fn put_exchange(buffer: &mut Vec<u8>, exchange: &ExchangeDefinition) {
    buffer.push(EXCHANGE_DECLARED);
    put_string(buffer, &exchange.name);
    put_string(buffer, &exchange.kind);
    buffer.push(u8::from(exchange.auto_delete));
    buffer.push(u8::from(exchange.internal));
    put_table(buffer, &exchange.arguments);
}

/// As the record that it was declared.
pub(super) fn put_queue(buffer: &mut Vec<u8>, queue: &QueueDefinition) {
    buffer.push(QUEUE_DECLARED);
    put_u64(buffer, queue.id.0);
    put_string(buffer, &queue.name);
    buffer.push(u8::from(queue.auto_delete));
    put_table(buffer, &queue.arguments);
}

/// As the record that it was made.
pub(super) fn put_bound(buffer: &mut Vec<u8>, binding: &BindingDefinition) {
    put_binding(buffer, BOUND, binding);
}

fn put_binding(buffer: &mut Vec<u8>, tag: u8, binding: &BindingDefinition) {
    buffer.push(tag);
    put_string(buffer, &binding.source);
    match &binding.destination {
        BoundTo::Queue(id) => {
            buffer.push(TO_QUEUE);
            put_u64(buffer, id.0);
        }
        BoundTo::Exchange(name) => {
            buffer.push(TO_EXCHANGE);
            put_string(buffer, name);
        }
    }
    put_string(buffer, &binding.routing_key);
    put_table(buffer, &binding.arguments);
}

/// Adds a message as the log and the segments hold it, to the end of a payload.
pub(super) fn put_message(buffer: &mut Vec<u8>, message: &Message) {
    buffer.extend_from_slice(&message.routing_length().to_le_bytes());
    put_u32(buffer, message.properties_length());
    buffer.extend_from_slice(message.as_bytes());
}

/// Adds a point in time that may be none.
pub(super) fn put_expiry(buffer: &mut Vec<u8>, expires_at: Option<Time>) {
    buffer.push(u8::from(expires_at.is_some()));
    if let Some(time) = expires_at {
        put_u64(buffer, time.as_millis());
    }
}

pub(super) fn put_u64(buffer: &mut Vec<u8>, value: u64) {
    buffer.extend_from_slice(&value.to_le_bytes());
}

pub(super) fn put_u32(buffer: &mut Vec<u8>, value: u32) {
    buffer.extend_from_slice(&value.to_le_bytes());
}

fn put_string(buffer: &mut Vec<u8>, string: &ShortString) {
    let bytes = string.as_bytes();
    buffer.push(bytes.len() as u8);
    buffer.extend_from_slice(bytes);
}

fn put_table(buffer: &mut Vec<u8>, table: &TableBuf) {
    let table = table.as_table();
    put_u32(buffer, table.as_bytes().len() as u32);
    buffer.extend_from_slice(table.as_bytes());
}

/// The record in a payload.
pub(super) fn parse_record(payload: &[u8]) -> Result<Record, Malformed> {
    let mut fields = Fields(payload);
    let record = match fields.u8()? {
        EXCHANGE_DECLARED => Record::ExchangeDeclared(ExchangeDefinition {
            name: fields.string()?,
            kind: fields.string()?,
            auto_delete: fields.flag()?,
            internal: fields.flag()?,
            arguments: fields.table()?,
        }),
        EXCHANGE_DELETED => Record::ExchangeDeleted { name: fields.string()? },
        QUEUE_DECLARED => Record::QueueDeclared(QueueDefinition {
            id: fields.queue()?,
            name: fields.string()?,
            auto_delete: fields.flag()?,
            arguments: fields.table()?,
        }),
        QUEUE_DELETED => Record::QueueDeleted { id: fields.queue()? },
        BOUND => Record::Bound(fields.binding()?),
        UNBOUND => Record::Unbound(fields.binding()?),
        ENQUEUED => {
            let placements = fields.placements()?;
            Record::Enqueued { message: parse_message(fields.rest())?, placements }
        }
        SETTLED => Record::Settled {
            queue: fields.queue()?,
            first: fields.u64()?,
            last: fields.u64()?,
            acknowledged: false,
        },
        DELIVERED => Record::Delivered {
            queue: fields.queue()?,
            priority: fields.u8()?,
            position: fields.u64()?,
        },
        RETURNED => Record::Returned {
            queue: fields.queue()?,
            first: fields.u64()?,
            last: fields.u64()?,
            returns: fields.u32()?,
        },
        _ => return Err(Malformed("a record of an unknown kind")),
    };
    fields.end()?;
    Ok(record)
}

/// An enqueueing that has not been taken apart further than it takes to move it.
pub(super) struct RawEnqueued<'a> {
    pub(super) placements: SmallVec<[Placement; 1]>,
    /// The message as segments hold it too.
    pub(super) message: &'a [u8],
}

/// The enqueueing in a payload, `None` if it holds another record.
pub(super) fn parse_enqueued(payload: &[u8]) -> Result<Option<RawEnqueued<'_>>, Malformed> {
    let mut fields = Fields(payload);
    if fields.u8()? != ENQUEUED {
        return Ok(None);
    }
    let placements = fields.placements()?;
    Ok(Some(RawEnqueued { placements, message: fields.rest() }))
}

/// The message at the end of a payload.
pub(super) fn parse_message(bytes: &[u8]) -> Result<Message, Malformed> {
    let mut fields = Fields(bytes);
    let routing_length = fields.u16()?;
    let properties_length = fields.u32()?;
    Message::from_bytes(fields.rest(), routing_length, properties_length)
        .map_err(|_| Malformed("a message whose parts do not fit"))
}

/// The length of what [`put_message`] adds.
pub(super) fn message_length(message: &Message) -> usize {
    6 + message.as_bytes().len()
}

/// How long the body is of a message that was written so.
pub(super) fn body_length(bytes: &[u8]) -> Result<u64, Malformed> {
    let mut fields = Fields(bytes);
    let before = u64::from(fields.u16()?) + u64::from(fields.u32()?);
    let rest = fields.rest().len() as u64;
    rest.checked_sub(before).ok_or(Malformed("a message whose parts do not fit"))
}

/// As [`body_length`], of a message with its expiry before it.
pub(super) fn payload_body_length(payload: &[u8]) -> Result<u64, Malformed> {
    let mut fields = Fields(payload);
    fields.expiry()?;
    body_length(fields.rest())
}

/// What is left to read of a payload.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed("fields cut short"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const COUNT: usize>(&mut self) -> Result<[u8; COUNT], Malformed> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Malformed("fields cut short"))?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Malformed> {
        self.array().map(u8::from_le_bytes)
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    fn flag(&mut self) -> Result<bool, Malformed> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed("a flag that is neither 0 nor 1")),
        }
    }

    pub(super) fn queue(&mut self) -> Result<DurableQueueId, Malformed> {
        self.u64().map(DurableQueueId)
    }

    pub(super) fn expiry(&mut self) -> Result<Option<Time>, Malformed> {
        Ok(if self.flag()? { Some(Time::from_millis(self.u64()?)) } else { None })
    }

    fn string(&mut self) -> Result<ShortString, Malformed> {
        let length = self.u8()?;
        ShortString::new(self.take(usize::from(length))?)
            .map_err(|_| Malformed("a name that is too long"))
    }

    fn table(&mut self) -> Result<TableBuf, Malformed> {
        let length = self.u32()?;
        TableBuf::parse(self.take(length as usize)?).map_err(|_| Malformed("a broken table"))
    }

    fn binding(&mut self) -> Result<BindingDefinition, Malformed> {
        Ok(BindingDefinition {
            source: self.string()?,
            destination: match self.u8()? {
                TO_QUEUE => BoundTo::Queue(self.queue()?),
                TO_EXCHANGE => BoundTo::Exchange(self.string()?),
                _ => return Err(Malformed("a binding to an unknown kind of thing")),
            },
            routing_key: self.string()?,
            arguments: self.table()?,
        })
    }

    fn placements(&mut self) -> Result<SmallVec<[Placement; 1]>, Malformed> {
        let count = self.u32()?;
        let mut placements = SmallVec::new();
        for _ in 0..count {
            placements.push(Placement {
                queue: self.queue()?,
                position: self.u64()?,
                expires_at: self.expiry()?,
            });
        }
        Ok(placements)
    }

    pub(super) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    pub(super) fn end(&self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed("more bytes than fields")) }
    }
}

#[cfg(test)]
mod tests {
    use leveret_codec::{Properties, ShortStr};
    use smallvec::smallvec;

    use super::*;

    fn string(text: &str) -> ShortString {
        ShortString::new(text.as_bytes()).unwrap()
    }

    fn one_of_each() -> Vec<Record> {
        // One entry: a name of one octet, the type of a boolean, true.
        let arguments = TableBuf::parse(b"\x01xt\x01").unwrap();
        let binding = |destination| BindingDefinition {
            source: string("orders"),
            destination,
            routing_key: string("new.*"),
            arguments: arguments.clone(),
        };
        let queue = DurableQueueId(7);
        vec![
            Record::ExchangeDeclared(ExchangeDefinition {
                name: string("orders"),
                kind: string("topic"),
                auto_delete: true,
                internal: false,
                arguments: arguments.clone(),
            }),
            Record::ExchangeDeleted { name: string("orders") },
            Record::QueueDeclared(QueueDefinition {
                id: queue,
                name: string(&"q".repeat(255)),
                auto_delete: false,
                arguments: arguments.clone(),
            }),
            Record::QueueDeleted { id: queue },
            Record::Bound(binding(BoundTo::Queue(queue))),
            Record::Unbound(binding(BoundTo::Exchange(string("audit")))),
            Record::Enqueued {
                message: Message::new(
                    ShortStr::from_static("orders"),
                    ShortStr::from_static("new.eu"),
                    Properties::EMPTY,
                    b"body",
                ),
                placements: smallvec![
                    Placement { queue, position: 3, expires_at: None },
                    Placement { queue, position: 4, expires_at: Some(Time::from_millis(u64::MAX)) },
                ],
            },
            Record::Settled { queue, first: 3, last: 4, acknowledged: false },
            Record::Delivered { queue, priority: 9, position: 4 },
            Record::Returned { queue, first: 3, last: 4, returns: 2 },
        ]
    }

    #[test]
    fn records_come_back() {
        for record in one_of_each() {
            let mut bytes = Vec::new();
            put_record(&mut bytes, &record);
            assert!(bytes.len() <= record_bound(&record), "{record:?}");
            if let Ok(Some(raw)) = parse_enqueued(&bytes) {
                assert_eq!(body_length(raw.message), Ok(4));
            }
            assert_eq!(parse_record(&bytes), Ok(record));
        }
    }

    #[test]
    fn a_record_cut_short_or_too_long_is_malformed() {
        for record in one_of_each() {
            let mut bytes = Vec::new();
            put_record(&mut bytes, &record);
            let fixed = if let Record::Enqueued { message, .. } = &record {
                bytes.len() - message.body().len()
            } else {
                bytes.push(0);
                assert!(parse_record(&bytes).is_err(), "{record:?}");
                bytes.len() - 1
            };
            for cut in 0..fixed {
                assert!(parse_record(&bytes[..cut]).is_err(), "{record:?} cut at {cut}");
            }
        }
        assert!(parse_record(&[200]).is_err());
    }
}
