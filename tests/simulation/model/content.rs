//! Messages, as they are published and as they are seen again.

use leveret::broker::message::Message;
use leveret_codec::table::{ArrayBuilder, TableBuilder};
use leveret_codec::{Properties, PropertyFields, ShortStr, Table, TableBuf, Value};

use super::Field;

/// All of a message that clients see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) exchange: String,
    pub(crate) key: String,
    /// The header CC: further routing keys.
    pub(crate) copies: Vec<String>,
    /// Unique among what clients publish.
    pub(crate) body: String,
    pub(crate) persistent: bool,
    pub(crate) priority: Option<u8>,
    pub(crate) expiration_ms: Option<u64>,
    /// In the model what stands for the address that the broker made up.
    pub(crate) reply_to: Option<String>,
    /// Other headers, sorted by name.
    pub(crate) headers: Vec<(String, Field)>,
    /// The header x-death, the last death first.
    pub(crate) deaths: Vec<Death>,
}

/// How often a message has left a queue for the same reason, otherwise than to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Death {
    pub(crate) queue: String,
    pub(crate) reason: String,
    pub(crate) count: i64,
}

impl Content {
    /// All its routing keys.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.key).chain(&self.copies).map(String::as_str)
    }

    /// The message that a client publishes.
    pub(crate) fn message(&self) -> Message {
        let expiration = self.expiration_ms.map(|ms| ms.to_string());
        let mut headers = TableBuilder::default();
        if !self.copies.is_empty() {
            let mut keys = ArrayBuilder::default();
            for key in &self.copies {
                keys.push(&Value::LongStr(key.as_bytes()));
            }
            headers.push(b"CC", &Value::Array(keys.as_array()));
        }
        for (name, field) in &self.headers {
            // Numbers are narrower than those of bindings, which makes no difference.
            match field {
                Field::Number(number) => headers.push(name.as_bytes(), &Value::I32(*number as i32)),
                field => headers.push(name.as_bytes(), &field.value()),
            };
        }
        let headers = headers.finish();
        let fields = PropertyFields {
            headers: (!headers.as_table().is_empty()).then_some(headers.as_table()),
            delivery_mode: Some(if self.persistent { 2 } else { 1 }),
            priority: self.priority,
            expiration: expiration.as_deref().map(short),
            reply_to: self.reply_to.as_deref().map(short),
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
        let mut content = Content {
            exchange: message.exchange().to_string(),
            key: message.routing_key().to_string(),
            body: String::from_utf8_lossy(message.body()).into_owned(),
            persistent: fields.delivery_mode == Some(2),
            priority: fields.priority,
            reply_to: fields.reply_to.map(|it| it.to_string()),
            expiration_ms: expiration.map(|ms| ms.parse().expect("milliseconds")),
            ..Content::default()
        };
        for entry in fields.headers.unwrap_or(Table::EMPTY).iter() {
            content.note_header(&entry.name.to_string(), entry.value);
        }
        content.headers.sort();
        content
    }

    /// Whether all is the same but the address of who asked.
    pub(crate) fn is_like(&self, other: &Content) -> bool {
        let reply_to = self.reply_to.clone();
        *self == Content { reply_to, ..other.clone() }
    }

    /// How often a message had come back, as its header x-delivery-count says.
    pub(crate) fn delivery_count(message: &Message) -> Option<i64> {
        let headers = message.properties().headers()?;
        headers.find(b"x-delivery-count")?.as_i64()
    }

    fn note_header(&mut self, name: &str, value: Value<'_>) {
        match (name, value) {
            ("CC", Value::Array(keys)) => self.copies.extend(keys.iter().map(text_of)),
            ("x-death", Value::Array(deaths)) => self.deaths.extend(deaths.iter().map(death_of)),
            ("x-delivery-count", _) => {}
            // Said by the entries of x-death too.
            _ if name.starts_with("x-first-death-") => {}
            _ => self.headers.push((name.to_owned(), Field::of(value))),
        }
    }

    /// The message once it has left a queue otherwise than to a client.
    pub(super) fn died(&self, queue: &str, reason: &str) -> Content {
        let mut dead = Content { expiration_ms: None, ..self.clone() };
        let is_same = |death: &Death| death.queue == queue && death.reason == reason;
        let before = dead.deaths.extract_if(.., |death| is_same(death)).next();
        let count = before.map_or(0, |death| death.count) + 1;
        let death = Death { queue: queue.to_owned(), reason: reason.to_owned(), count };
        dead.deaths.insert(0, death);
        dead
    }
}

impl Field {
    fn of(value: Value<'_>) -> Self {
        match value {
            Value::Void => Field::Void,
            Value::LongStr(_) => Field::Text(text_of(value).into()),
            value => Field::Number(value.as_i64().expect("a text or a number")),
        }
    }

    fn value(&self) -> Value<'_> {
        match self {
            Field::Text(text) => Value::LongStr(text.as_bytes()),
            Field::Number(number) => Value::I64(*number),
            Field::Void => Value::Void,
        }
    }
}

/// A table of these fields.
pub(crate) fn table(fields: &[(&str, Field)]) -> TableBuf {
    let mut table = TableBuilder::default();
    for (name, field) in fields {
        table.push(name.as_bytes(), &field.value());
    }
    table.finish()
}

fn text_of(value: Value<'_>) -> String {
    String::from_utf8_lossy(value.as_bytes().expect("a text")).into_owned()
}

fn death_of(value: Value<'_>) -> Death {
    let Value::Table(entry) = value else { panic!("a death is a table") };
    let field = |name: &str| entry.find(name.as_bytes()).expect("a death has it");
    let (queue, reason) = (text_of(field("queue")), text_of(field("reason")));
    Death { queue, reason, count: field("count").as_i64().expect("a number") }
}

pub(crate) fn short(text: &str) -> ShortStr<'_> {
    ShortStr::new(text.as_bytes()).expect("names of ours are short")
}
