//! Messages, as they are published and as they are seen again.

use leveret::broker::message::Message;
use leveret_codec::{Properties, PropertyFields, ShortStr};

/// All of a message that clients see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) exchange: String,
    pub(crate) key: String,
    /// Unique among what clients publish.
    pub(crate) body: String,
    pub(crate) persistent: bool,
    pub(crate) priority: Option<u8>,
    pub(crate) expiration_ms: Option<u64>,
}

impl Content {
    /// The message that a client publishes.
    pub(crate) fn message(&self) -> Message {
        let expiration = self.expiration_ms.map(|ms| ms.to_string());
        let fields = PropertyFields {
            delivery_mode: Some(if self.persistent { 2 } else { 1 }),
            priority: self.priority,
            expiration: expiration.as_deref().map(short),
            ..Default::default()
        };
        let mut properties = Vec::new();
        fields.encode(&mut properties);
        let properties = Properties::from_checked(&properties);
        let body = self.body.as_bytes();
        Message::new(short(&self.exchange), short(&self.key), properties, body)
    }

    /// A message that was seen.
    pub(crate) fn of(message: &Message) -> Self {
        let fields = message.properties().fields();
        let expiration = fields.expiration.map(|it| it.to_string());
        Content {
            exchange: message.exchange().to_string(),
            key: message.routing_key().to_string(),
            body: String::from_utf8_lossy(message.body()).into_owned(),
            persistent: fields.delivery_mode == Some(2),
            priority: fields.priority,
            expiration_ms: expiration.map(|ms| ms.parse().expect("milliseconds")),
        }
    }
}

pub(crate) fn short(text: &str) -> ShortStr<'_> {
    ShortStr::new(text.as_bytes()).expect("names of ours are short")
}
