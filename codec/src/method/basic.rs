//! Class basic: messages, in and out, and what became of them.
//!
//! spec: 1.8

use super::define::{Decode, Encode, Reader, methods};
use crate::table::Table;
use crate::wire::ShortStr;

methods! { 60;
    /// How much may be on its way to a consumer unacknowledged. spec: 1.8.3.1
    Qos = 10 "basic.qos" {
        /// Octets; 0 is no limit.
        prefetch_size: u32,
        /// Messages; 0 is no limit.
        prefetch_count: u16,
        /// rabbitmq: one limit for the channel, not one for each of its new consumers.
        global: bool,
    }

    /// The limits hold. spec: 1.8.3.2
    QosOk = 11 "basic.qos-ok" {}

    /// The client wants the messages of a queue as they come. spec: 1.8.3.3
    Consume<'a> = 20 "basic.consume" {
        /// Reserved.
        ticket: u16,
        queue: ShortStr<'a>,
        /// Empty lets the server choose one.
        consumer_tag: ShortStr<'a>,
        no_local: bool,
        no_ack: bool,
        exclusive: bool,
        nowait: bool,
        arguments: Table<'a>,
    }

    /// The consumer is there. spec: 1.8.3.4
    ConsumeOk<'a> = 21 "basic.consume-ok" {
        consumer_tag: ShortStr<'a>,
    }

    /// A consumer is to go; from the server, it is gone. spec: 1.8.3.5
    Cancel<'a> = 30 "basic.cancel" {
        consumer_tag: ShortStr<'a>,
        nowait: bool,
    }

    /// The consumer is gone. spec: 1.8.3.6
    CancelOk<'a> = 31 "basic.cancel-ok" {
        consumer_tag: ShortStr<'a>,
    }

    /// A message for an exchange. spec: 1.8.3.7
    Publish<'a> = 40 "basic.publish" with_content {
        /// Reserved.
        ticket: u16,
        exchange: ShortStr<'a>,
        routing_key: ShortStr<'a>,
        /// Send it back when it reaches no queue.
        mandatory: bool,
        /// Send it back when no consumer takes it at once.
        immediate: bool,
    }

    /// A message comes back. spec: 1.8.3.8
    Return<'a> = 50 "basic.return" with_content {
        reply_code: u16,
        reply_text: ShortStr<'a>,
        exchange: ShortStr<'a>,
        routing_key: ShortStr<'a>,
    }

    /// A message for a consumer. spec: 1.8.3.9
    Deliver<'a> = 60 "basic.deliver" with_content {
        consumer_tag: ShortStr<'a>,
        delivery_tag: u64,
        redelivered: bool,
        exchange: ShortStr<'a>,
        routing_key: ShortStr<'a>,
    }

    /// The client wants one message. spec: 1.8.3.10
    Get<'a> = 70 "basic.get" {
        /// Reserved.
        ticket: u16,
        queue: ShortStr<'a>,
        no_ack: bool,
    }

    /// The one message. spec: 1.8.3.11
    GetOk<'a> = 71 "basic.get-ok" with_content {
        delivery_tag: u64,
        redelivered: bool,
        exchange: ShortStr<'a>,
        routing_key: ShortStr<'a>,
        /// The messages that are still ready.
        message_count: u32,
    }

    /// There is no message. spec: 1.8.3.12
    GetEmpty<'a> = 72 "basic.get-empty" {
        /// Reserved.
        cluster_id: ShortStr<'a>,
    }

    /// Messages are done with; from the server, they are safe. spec: 1.8.3.13
    Ack = 80 "basic.ack" {
        delivery_tag: u64,
        /// With all before it; with tag 0, all there are.
        multiple: bool,
    }

    /// A message is refused. spec: 1.8.3.14
    Reject = 90 "basic.reject" {
        delivery_tag: u64,
        requeue: bool,
    }

    /// [`Recover`] without an answer. spec: 1.8.3.15
    RecoverAsync = 100 "basic.recover-async" {
        requeue: bool,
    }

    /// All unacknowledged messages are to be delivered again. spec: 1.8.3.16
    Recover = 110 "basic.recover" {
        requeue: bool,
    }

    /// They will be. spec: 1.8.3.17
    RecoverOk = 111 "basic.recover-ok" {}

    /// Messages are refused; from the server, they are lost. rabbitmq: an extension.
    Nack = 120 "basic.nack" {
        delivery_tag: u64,
        /// With all before it; with tag 0, all there are.
        multiple: bool,
        requeue: bool,
    }
}

impl<'a> Publish<'a> {
    /// A method frame's payload, if that is a basic.publish without a fault. All others are for
    /// [`Method::decode`](super::Method::decode), which says what is wrong.
    // why: there is one with each message, and one that is nothing else is not moved into a
    // `Method` and out of it again.
    #[inline]
    pub fn from_payload(payload: &'a [u8]) -> Option<Self> {
        let ([c0, c1, m0, m1], arguments) = payload.split_first_chunk()?;
        let ids = (u16::from_be_bytes([*c0, *c1]), u16::from_be_bytes([*m0, *m1]));
        if ids != (Self::CLASS_ID, Self::METHOD_ID) {
            return None;
        }
        let mut reader = Reader::new(arguments);
        // why: no look at the strings, as in `Decode::decode`: a method with content passes through.
        let publish = Self::read_fields(&mut reader).ok()?;
        reader.end(publish).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Method;

    #[test]
    fn a_publish_is_told_from_all_else() {
        let publish = Publish {
            exchange: ShortStr::from_static("orders"),
            routing_key: ShortStr::from_static("new"),
            mandatory: true,
            ..Default::default()
        };
        let mut payload = Vec::new();
        Method::from(publish).encode(&mut payload);
        assert_eq!(Publish::from_payload(&payload), Some(publish));
        assert_eq!(Method::decode(&payload), Ok(publish.into()));
        for cut in 0..payload.len() {
            assert_eq!(Publish::from_payload(&payload[..cut]), None, "{cut}");
        }
        assert_eq!(Publish::from_payload(&[&payload[..], b"x"].concat()), None);
        payload[3] += 1;
        assert_eq!(Publish::from_payload(&payload), None);
    }
}
