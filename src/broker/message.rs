//! A message: what was published, in one shared allocation, exactly as it came off the wire.
//!
//! The routing (exchange and routing key), the content properties and the body lie behind each
//! other in one buffer, so that a message passes from the publisher to a queue, a log record and
//! any number of consumers by cloning one pointer, and is never taken apart on the way.
//!
//! invariant: a message never changes. Dead-lettering makes a new one.

use std::sync::atomic::{AtomicU32, Ordering};

use leveret_codec::table::TableBuilder;
use leveret_codec::{Properties, PropertyFields, ShortStr, Table, TableBuf, Value};
use triomphe::ThinArc;

/// A published message. Cloning it copies a pointer.
#[derive(Clone)]
pub struct Message {
    /// The bytes are two short strings (exchange, routing key), the properties, the body.
    ///
    /// why: nothing but an address, so that a message passes from hand to hand in a register: it lies
    /// in commands, queues, records and deliveries, and moves a dozen times. No weak references
    /// either, whose count nobody uses.
    whole: ThinArc<Header, u8>,
}

/// What is kept of a message beside its bytes.
struct Header {
    shape: Shape,
    /// How many queues count it, while it is one that several may count, and [`SHARED`] then.
    ///
    /// why here: it is read whenever a message enters or leaves a queue, beside its length. It is changed by
    /// the virtual host alone, under its lock.
    counted: AtomicU32,
}

/// Set in messages that several queues may have.
const SHARED: u32 = 1 << 31;

/// How a message's bytes are divided.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Shape {
    /// Length of the content properties in octets.
    properties_length: u32,
    /// Length of the two short strings with their length octets.
    routing_length: u16,
    persistent: bool,
}

/// Bytes that are no message: the lengths do not fit the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} octets cannot hold a message with the stated lengths")]
pub struct NotAMessage(usize);

impl Message {
    /// Puts a message together from its parts.
    pub fn new(
        exchange: ShortStr<'_>,
        routing_key: ShortStr<'_>,
        properties: Properties<'_>,
        body: &[u8],
    ) -> Self {
        let mut buffer = Vec::new();
        Message::assemble(&mut buffer, exchange, routing_key, properties, body)
    }

    /// As [`Message::new`], with a buffer of the caller's to put the parts together in: the one
    /// allocation left is the message's own.
    pub fn assemble(
        buffer: &mut Vec<u8>,
        exchange: ShortStr<'_>,
        routing_key: ShortStr<'_>,
        properties: Properties<'_>,
        body: &[u8],
    ) -> Self {
        let properties_length = properties.as_bytes().len();
        buffer.clear();
        buffer.reserve(2 + exchange.len() + routing_key.len() + properties_length + body.len());
        for name in [exchange, routing_key] {
            // invariant: a `ShortStr` holds at most 255 octets, so the length fits.
            buffer.push(name.len() as u8);
            buffer.extend_from_slice(name.as_bytes());
        }
        let routing_length = buffer.len() as u16;
        buffer.extend_from_slice(properties.as_bytes());
        buffer.extend_from_slice(body);
        let shape = Shape {
            // invariant: properties came in one frame, or are such with a few headers of the broker's.
            properties_length: properties_length as u32,
            routing_length,
            persistent: properties.delivery_mode() == Some(PERSISTENT),
        };
        Message::from_shape(shape, buffer)
    }

    /// The message that [`as_bytes`](Message::as_bytes) and the two lengths were taken from.
    pub fn from_bytes(
        bytes: &[u8],
        routing_length: u16,
        properties_length: u32,
    ) -> Result<Self, NotAMessage> {
        let wrong = NotAMessage(bytes.len());
        let properties_end = usize::from(routing_length) + properties_length as usize;
        let routing = bytes.get(..usize::from(routing_length)).ok_or(wrong)?;
        let properties = bytes.get(routing.len()..properties_end).ok_or(wrong)?;
        let exchange_length = usize::from(*routing.first().ok_or(wrong)?);
        let key_length = usize::from(*routing.get(1 + exchange_length).ok_or(wrong)?);
        if routing.len() != 2 + exchange_length + key_length {
            return Err(wrong);
        }
        let properties = Properties::parse(properties).map_err(|_| wrong)?;
        let persistent = properties.delivery_mode() == Some(PERSISTENT);
        let shape = Shape { properties_length, routing_length, persistent };
        Ok(Message::from_shape(shape, bytes))
    }

    fn from_shape(shape: Shape, bytes: &[u8]) -> Self {
        let header = Header { shape, counted: AtomicU32::new(0) };
        Message { whole: ThinArc::from_header_and_slice(header, bytes) }
    }

    /// Several queues may have it from now on, so that it is counted how many do.
    pub fn share(&self) {
        let counted = self.counted();
        counted.store(counted.load(Ordering::Relaxed) | SHARED, Ordering::Relaxed);
    }

    /// One more queue counts it. Says how many octets of it are counted once more than they are there.
    pub fn note_counted(&self) -> u64 {
        let before = self.counted().load(Ordering::Relaxed);
        if before & SHARED == 0 {
            return 0;
        }
        self.counted().store(before + 1, Ordering::Relaxed);
        if before > SHARED { self.as_bytes().len() as u64 } else { 0 }
    }

    /// One queue less counts it. Says how many octets of it were counted once more than they are there.
    pub fn note_uncounted(&self) -> u64 {
        let before = self.counted().load(Ordering::Relaxed);
        // One that was counted before it was known that several would have it is not among them.
        if before & SHARED == 0 || before == SHARED {
            return 0;
        }
        self.counted().store(before - 1, Ordering::Relaxed);
        if before > SHARED + 1 { self.as_bytes().len() as u64 } else { 0 }
    }

    /// Whether several queues may have it.
    pub fn is_shared(&self) -> bool {
        self.counted().load(Ordering::Relaxed) & SHARED != 0
    }

    fn counted(&self) -> &AtomicU32 {
        &self.whole.header.header.counted
    }

    /// The name of the exchange it was published to, empty for the default exchange.
    pub fn exchange(&self) -> ShortStr<'_> {
        ShortStr::truncated(&self.as_bytes()[1..1 + self.exchange_length()])
    }

    /// The routing key it was published with.
    pub fn routing_key(&self) -> ShortStr<'_> {
        ShortStr::truncated(&self.routing()[2 + self.exchange_length()..])
    }

    /// The content properties, as they came.
    pub fn properties(&self) -> Properties<'_> {
        let begin = usize::from(self.routing_length());
        Properties::from_checked(&self.as_bytes()[begin..self.properties_end()])
    }

    /// The body.
    pub fn body(&self) -> &[u8] {
        &self.as_bytes()[self.properties_end()..]
    }

    /// Whether delivery-mode is 2: the message survives a restart in a durable queue.
    pub fn is_persistent(&self) -> bool {
        self.shape().persistent
    }

    /// Everything of it: exchange and routing key as short strings, properties, body.
    pub fn as_bytes(&self) -> &[u8] {
        &self.whole.slice
    }

    /// Exchange and routing key, as short strings behind each other.
    pub fn routing(&self) -> &[u8] {
        &self.as_bytes()[..usize::from(self.routing_length())]
    }

    /// How many octets of [`as_bytes`](Message::as_bytes) are exchange and routing key.
    pub fn routing_length(&self) -> u16 {
        self.shape().routing_length
    }

    /// How many octets of [`as_bytes`](Message::as_bytes) are the properties.
    pub fn properties_length(&self) -> u32 {
        self.shape().properties_length
    }

    fn shape(&self) -> Shape {
        self.whole.header.header.shape
    }

    fn exchange_length(&self) -> usize {
        usize::from(self.as_bytes()[0])
    }

    fn properties_end(&self) -> usize {
        usize::from(self.routing_length()) + self.properties_length() as usize
    }
}

/// The same message with one more header, which replaces any of its name.
///
/// rabbitmq: whenever the broker adds a header, all of them come out sorted by name.
pub fn with_header(message: &Message, name: &[u8], value: &Value<'_>) -> Message {
    let mut fields = message.properties().fields();
    let mut table = TableBuilder::default();
    for entry in fields.headers.unwrap_or(Table::EMPTY).iter() {
        if entry.name.as_bytes() != name {
            table.push_raw(entry.raw());
        }
    }
    table.push(name, value);
    let table = sorted_entries(table.as_table());
    fields.headers = Some(table.as_table());
    with_properties(message, &fields)
}

/// The same message with other properties.
pub fn with_properties(message: &Message, fields: &PropertyFields<'_>) -> Message {
    let mut properties = Vec::new();
    fields.encode(&mut properties);
    Message::new(
        message.exchange(),
        message.routing_key(),
        Properties::from_checked(&properties),
        message.body(),
    )
}

/// The entries of a table in the order of their names.
pub fn sorted_entries(table: Table<'_>) -> TableBuf {
    if table.is_empty() {
        return TableBuf::default();
    }
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|entry| entry.name);
    let mut builder = TableBuilder::default();
    for entry in entries {
        builder.push_raw(entry.raw());
    }
    builder.finish()
}

/// spec: 4.2.6.1 gives delivery-mode 1 for non-persistent and 2 for persistent.
const PERSISTENT: u8 = 2;

impl PartialEq for Message {
    fn eq(&self, other: &Self) -> bool {
        self.shape() == other.shape() && self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Message {}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Message")
            .field("exchange", &self.exchange())
            .field("routing_key", &self.routing_key())
            .field("body_length", &self.body().len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_gives_back_its_parts() {
        let message = Message::new(
            ShortStr::from_static("orders"),
            ShortStr::from_static("new"),
            Properties::EMPTY,
            b"body",
        );
        assert_eq!(message.exchange().as_bytes(), b"orders");
        assert_eq!(message.routing_key().as_bytes(), b"new");
        assert_eq!(message.properties(), Properties::EMPTY);
        assert_eq!(message.body(), b"body");
        assert!(!message.is_persistent());
        let again = Message::from_bytes(
            message.as_bytes(),
            message.routing_length(),
            message.properties_length(),
        );
        assert_eq!(again, Ok(message));
    }

    #[test]
    fn lengths_that_do_not_fit_are_refused() {
        let message =
            Message::new(ShortStr::EMPTY, ShortStr::from_static("q"), Properties::EMPTY, b"");
        let bytes = message.as_bytes();
        for (routing, properties) in [(0, 2), (2, 2), (4, 2), (3, 3), (3, 0), (900, 2)] {
            assert_eq!(
                Message::from_bytes(bytes, routing, properties),
                Err(NotAMessage(bytes.len())),
                "{routing} {properties}"
            );
        }
    }
}
