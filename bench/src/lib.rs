//! What the benches and the count of allocations share: a virtual host with one client, driven
//! through inputs and outputs alone.
//!
//! A [`Rig`] does what lies between the two sockets of a message, without them: octets are decoded
//! into commands, commands applied in batches, and what comes out is dropped or encoded. No task, no
//! lock and no disk take part, so that a figure is the code's own and the same twice.
//!
//! What this is deliberately not: a measurement of a broker. That needs sockets, and is for programs
//! beside the broker; what those can reach at best, `relay` tells.

mod rig;

pub use rig::{Batch, CHANNEL, Rig};

use leveret::broker::message::Message;
use leveret_codec::method::basic;
use leveret_codec::{Properties, PropertyFields, ShortStr, encode};

/// A short string of the bench's own.
///
/// # Panics
/// When it is longer than 255 octets.
pub fn short(text: &str) -> ShortStr<'_> {
    ShortStr::new(text.as_bytes()).expect("it fits a short string")
}

/// The properties of a persistent message, and no others.
pub const PERSISTENT: Properties<'static> = Properties::from_checked(&[0x10, 0, 2]);

/// The octets of properties.
pub fn properties(fields: &PropertyFields<'_>) -> Vec<u8> {
    let mut octets = Vec::new();
    fields.encode(&mut octets);
    octets
}

/// A message without properties, as a publisher would send it.
pub fn message(exchange: &str, routing_key: &str, body: &[u8]) -> Message {
    Message::new(short(exchange), short(routing_key), Properties::EMPTY, body)
}

/// The frames of so many publishes of one message, as one read would bring them.
pub fn publishes(message: &Message, count: usize) -> Vec<u8> {
    let mut octets = Vec::new();
    let publish = basic::Publish {
        exchange: message.exchange(),
        routing_key: message.routing_key(),
        ..Default::default()
    };
    for _ in 0..count {
        let (properties, body) = (message.properties(), message.body());
        encode::method(&mut octets, CHANNEL, &publish);
        encode::content_header(&mut octets, CHANNEL, body.len() as u64, properties.as_bytes());
        encode::body(&mut octets, CHANNEL, body, FRAME_MAX);
    }
    octets
}

/// The size of frames that all agree on, in octets: what clients and brokers propose by default.
pub const FRAME_MAX: u32 = 131_072;
