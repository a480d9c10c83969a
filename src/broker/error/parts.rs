//! What the texts of faults show: queues and exchanges, values, frames.

use std::fmt::{self, Display, Formatter};

use leveret_codec::ShortString;

use crate::broker::names::erlang_binary;

/// A queue or an exchange, there or not. Shown: `queue 'q' in vhost '/'`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// What it is.
    pub kind: ResourceKind,
    /// Its name.
    pub name: ShortString,
    /// The virtual host it is in.
    pub vhost: String,
}

/// What is declared by a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResourceKind {
    /// A queue.
    Queue,
    /// An exchange.
    Exchange,
}

impl Resource {
    /// A queue.
    pub fn queue(name: &ShortString, vhost: &str) -> Self {
        Resource { kind: ResourceKind::Queue, name: name.clone(), vhost: vhost.to_owned() }
    }

    /// An exchange.
    pub fn exchange(name: &ShortString, vhost: &str) -> Self {
        Resource { kind: ResourceKind::Exchange, name: name.clone(), vhost: vhost.to_owned() }
    }
}

impl Display for Resource {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Resource { kind, name, vhost } = self;
        write!(f, "{kind} '{name}' in vhost '{vhost}'")
    }
}

impl Display for ResourceKind {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ResourceKind::Queue => "queue",
            ResourceKind::Exchange => "exchange",
        })
    }
}

/// What one declaration says and another does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What the client sent.
    pub received: Option<FieldValue>,
    /// What is there.
    pub current: Option<FieldValue>,
}

/// The value of a field or an argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldValue {
    /// As it is shown, without quotes.
    pub text: String,
    /// The name of its type.
    pub type_name: &'static str,
}

impl Difference {
    /// Between two flags.
    pub fn of_flags(received: bool, current: bool) -> Self {
        let value = |flag: bool| Some(FieldValue { text: flag.to_string(), type_name: "bool" });
        Difference { received: value(received), current: value(current) }
    }

    /// Between two texts.
    pub fn of_texts(received: &str, current: &str) -> Self {
        let value = |text: &str| Some(FieldValue { text: text.to_owned(), type_name: "longstr" });
        Difference { received: value(received), current: value(current) }
    }
}

impl Display for Difference {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        // rabbitmq: the type is shown beside a value where the other side has none.
        let shown = |value: &Option<FieldValue>| match value {
            None => "none".to_owned(),
            Some(FieldValue { text, type_name }) => {
                format!("the value '{text}' of type '{type_name}'")
            }
        };
        match (&self.received, &self.current) {
            (Some(received), Some(current)) => {
                write!(f, "received '{}' but current is '{}'", received.text, current.text)
            }
            (received, current) => {
                write!(f, "received {} but current is {}", shown(received), shown(current))
            }
        }
    }
}

/// The start of a frame. Shown: `type 1, all octets = <<...>>`, or `first 16 octets` of a longer one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameStart {
    kind: u8,
    octets: Vec<u8>,
    is_whole: bool,
}

impl FrameStart {
    /// Of a frame of this type and payload.
    pub fn new(kind: u8, payload: &[u8]) -> Self {
        const SHOWN: usize = 16;
        let octets = payload[..payload.len().min(SHOWN)].to_vec();
        FrameStart { kind, octets, is_whole: payload.len() <= SHOWN }
    }
}

impl Display for FrameStart {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let which = if self.is_whole { "all" } else { "first 16" };
        write!(f, "type {}, {which} octets = {}", self.kind, erlang_binary(&self.octets))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(name: &[u8], vhost: &str) -> String {
        Resource::queue(&ShortString::truncated(name), vhost).to_string()
    }

    #[test]
    fn a_resource_is_shown_with_its_kind_and_its_vhost() {
        assert_eq!(queue(b"q", "/"), "queue 'q' in vhost '/'");
        let exchange = Resource::exchange(&ShortString::default(), "shop");
        assert_eq!(exchange.to_string(), "exchange '' in vhost 'shop'");
    }

    #[test]
    fn a_name_that_is_no_text_is_shown_as_far_as_it_is() {
        assert_eq!(queue("größe".as_bytes(), "/"), "queue 'größe' in vhost '/'");
        assert_eq!(queue(b"a\xffb", "/"), "queue 'a\u{fffd}b' in vhost '/'");
    }

    #[test]
    fn a_type_is_shown_where_the_other_side_has_no_value() {
        let both = Difference::of_flags(true, false);
        assert_eq!(both.to_string(), "received 'true' but current is 'false'");
        let added = Difference { current: None, ..both };
        assert_eq!(
            added.to_string(),
            "received the value 'true' of type 'bool' but current is none"
        );
    }

    #[test]
    fn a_long_frame_is_shown_by_its_first_octets() {
        assert_eq!(FrameStart::new(3, b"").to_string(), "type 3, all octets = <<>>");
        let long = FrameStart::new(8, &[1; 17]).to_string();
        assert_eq!(long, "type 8, first 16 octets = <<1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1>>");
    }
}
