//! What goes into a virtual host and what comes out of it.

use leveret_codec::method::{basic, channel, connection};
use leveret_codec::{Method, Properties, ReplyCode, ShortStr, ShortString, encode};

use super::error::AtFault;
use super::message::Message;

/// One thing a client asks for, its content put together.
#[derive(Debug)]
pub enum Command<'a> {
    /// A method that carries no content.
    Method {
        /// The channel it came on.
        channel: u16,
        /// The method.
        method: Method<'a>,
    },
    /// A basic.publish with its content.
    Publish {
        /// The channel it came on.
        channel: u16,
        /// Whether it is to come back when no queue takes it.
        mandatory: bool,
        /// Whether it asks for a consumer at once, which RabbitMQ refuses.
        immediate: bool,
        /// What was published.
        message: Message,
    },
    /// A method whose content cannot be taken.
    Unacceptable {
        /// The channel it came on.
        channel: u16,
        /// Why.
        at_fault: AtFault,
    },
    /// The connection broke the protocol and is to be closed.
    Fault {
        /// Why.
        at_fault: AtFault,
        /// Whether what follows cannot be read any more, not even a close-ok.
        input_ends: bool,
    },
    /// The connection is to be dropped without a word.
    Abort,
}

/// What became of a command.
#[derive(Debug)]
#[must_use]
pub enum Handled<'a> {
    /// It is done.
    Done,
    /// It cannot be done yet, or only a part of it is. It is to be given again, before any other of its
    /// connection.
    Waits {
        /// The command.
        command: Command<'a>,
        /// For what it waits.
        wait: Wait,
    },
}

impl Handled<'_> {
    /// Whether the command is done.
    pub fn is_done(&self) -> bool {
        matches!(self, Handled::Done)
    }
}

/// What a command waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// The turn of others: part of its work is done, and the rest goes on at once after them.
    Turn,
    /// Work that earlier commands of its connection have led to: it is in turn with that of others, in
    /// [`handle_timeout`](super::vhost::Vhost::handle_timeout).
    Work,
    /// The end of an alarm: [`handle_alarm`](super::vhost::Vhost::handle_alarm) without a reason.
    Alarm,
    /// What is on the disk: the next [`handle_page`](super::vhost::Vhost::handle_page).
    Page,
    /// Room in the outbox of its connection: the next
    /// [`handle_written`](super::vhost::Vhost::handle_written) of it.
    Room,
}

impl From<AtFault> for Command<'_> {
    fn from(at_fault: AtFault) -> Self {
        Command::Fault { at_fault, input_ends: false }
    }
}

/// A message on its way to a consumer.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The channel of the consumer.
    pub channel: u16,
    /// Which consumer of the channel.
    pub consumer_tag: ShortString,
    /// What the client acknowledges it by.
    pub delivery_tag: u64,
    /// Whether it may have been delivered before.
    pub redelivered: bool,
    /// The message.
    pub message: Message,
}

/// One thing for a client, in the order of all things for that client.
#[derive(Clone, Debug)]
pub enum Outgoing {
    /// Method frames, ready to be written.
    Frames(Vec<u8>),
    /// basic.deliver.
    Deliver(Delivery),
    /// basic.get-ok.
    GetOk {
        /// The channel.
        channel: u16,
        /// What the client acknowledges it by.
        delivery_tag: u64,
        /// Whether it may have been delivered before.
        redelivered: bool,
        /// How many messages are left in the queue.
        message_count: u32,
        /// The message.
        message: Message,
    },
    /// basic.return: no queue took a mandatory message.
    Return {
        /// The channel.
        channel: u16,
        /// The message.
        message: Message,
    },
    /// channel.close, or on channel 0 connection.close.
    // why: not encoded yet, so that a client in the process learns the reason itself.
    Close {
        /// The channel.
        channel: u16,
        /// Why.
        at_fault: AtFault,
    },
    /// Nothing follows: the socket is to be closed once all before is written.
    End,
}

impl Outgoing {
    /// Appends the frames of it to `out`; bodies are cut to fit frames of `frame_max` octets.
    pub fn encode(&self, out: &mut Vec<u8>, frame_max: u32) {
        match self {
            Outgoing::Frames(frames) => out.extend_from_slice(frames),
            Outgoing::Deliver(delivery) => {
                let message = &delivery.message;
                let frames = encode::Delivery {
                    consumer_tag: delivery.consumer_tag.as_short(),
                    delivery_tag: delivery.delivery_tag,
                    redelivered: delivery.redelivered,
                    routing: message.routing(),
                    properties: message.properties().as_bytes(),
                    body: message.body(),
                };
                encode::delivery(out, delivery.channel, &frames, frame_max);
            }
            Outgoing::GetOk { channel, delivery_tag, redelivered, message_count, message } => {
                let get_ok = basic::GetOk {
                    delivery_tag: *delivery_tag,
                    redelivered: *redelivered,
                    exchange: message.exchange(),
                    routing_key: message.routing_key(),
                    message_count: *message_count,
                };
                encode::method(out, *channel, &get_ok);
                content(out, *channel, message, frame_max);
            }
            Outgoing::Return { channel, message } => {
                let returned = basic::Return {
                    reply_code: ReplyCode::NoRoute.code(),
                    reply_text: ShortStr::from_static("NO_ROUTE"),
                    exchange: message.exchange(),
                    routing_key: message.routing_key(),
                };
                encode::method(out, *channel, &returned);
                content(out, *channel, message, frame_max);
            }
            Outgoing::Close { channel, at_fault } => encode_close(out, *channel, at_fault),
            Outgoing::End => {}
        }
    }

    /// About how many octets it holds in memory and will take on the wire.
    pub fn size(&self) -> usize {
        match self {
            Outgoing::Frames(frames) => frames.len(),
            Outgoing::Deliver(delivery) => content_size(&delivery.message),
            Outgoing::GetOk { message, .. } | Outgoing::Return { message, .. } => {
                content_size(message)
            }
            Outgoing::Close { .. } => CLOSE_SIZE,
            Outgoing::End => 0,
        }
    }

    /// How much of its size nobody else holds: answers do, and got and returned messages, as nothing but the
    /// client's own commands brings them into being. A delivered message is its queue's.
    pub fn answer_size(&self) -> usize {
        match self {
            Outgoing::Deliver(_) => 0,
            other => other.size(),
        }
    }

    /// Whether the socket is to be closed after it.
    pub fn is_end(&self) -> bool {
        matches!(self, Outgoing::End)
    }
}

fn content(out: &mut Vec<u8>, channel: u16, message: &Message, frame_max: u32) {
    let properties: Properties<'_> = message.properties();
    encode::content_header(out, channel, message.body().len() as u64, properties.as_bytes());
    encode::body(out, channel, message.body(), frame_max);
}

/// Appends channel.close, or on channel 0 connection.close.
pub(super) fn encode_close(out: &mut Vec<u8>, channel: u16, at_fault: &AtFault) {
    let &AtFault { ref fault, class_id, method_id } = at_fault;
    let (reply_code, text) = (fault.code().code(), fault.reply_text());
    let reply_text = ShortStr::truncated(&text);
    if channel == 0 {
        let close = connection::Close { reply_code, reply_text, class_id, method_id };
        encode::method(out, channel, &close);
    } else {
        let close = channel::Close { reply_code, reply_text, class_id, method_id };
        encode::method(out, channel, &close);
    }
}

/// The longest text of a close, and the fixed fields around it.
const CLOSE_SIZE: usize = 280;

/// The frames around a message of ordinary names: three times eight octets and the fixed fields.
const CONTENT_OVERHEAD: usize = 64;

fn content_size(message: &Message) -> usize {
    message.as_bytes().len() + CONTENT_OVERHEAD
}

#[cfg(test)]
mod tests {
    use leveret_codec::frame;

    use super::*;
    use crate::broker::error::Fault;

    fn encoded(channel: u16, text: &str) -> Vec<u8> {
        let fault = Fault::ClosedByOperator(text.to_owned());
        let close = Outgoing::Close { channel, at_fault: AtFault::new(fault, (60, 40)) };
        let mut frames = Vec::new();
        close.encode(&mut frames, 4096);
        assert!(frames.len() <= close.size(), "{} octets", frames.len());
        frames
    }

    #[test]
    fn a_fault_closes_the_channel_it_is_sent_on() {
        const TEXT: &[u8] = b"CONNECTION_FORCED - go";
        for (channel, class, method) in [(0, 10, 50), (7, 20, 40)] {
            let mut payload = vec![0, class, 0, method, 1, 64, TEXT.len() as u8];
            payload.extend_from_slice(TEXT);
            payload.extend_from_slice(&[0, 60, 0, 40]);
            let mut expected = vec![frame::METHOD, 0, channel as u8, 0, 0, 0, payload.len() as u8];
            expected.extend(payload);
            expected.push(0xce);
            assert_eq!(encoded(channel, "go"), expected);
        }
        encoded(1, &"x".repeat(300));
    }
}
