//! What goes into a virtual host and what comes out of it.

use leveret_codec::{Method, Properties, ReplyCode, ShortStr, ShortString, encode, method::basic};

use super::error::{AtFault, Fault};
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
        fault: Box<Fault>,
        /// Class of the method at fault.
        class_id: u16,
        /// The method at fault.
        method_id: u16,
    },
    /// The connection broke the protocol and is to be closed.
    Fault {
        /// Why.
        fault: Box<Fault>,
        /// Class of the method at fault, zero when there is none.
        class_id: u16,
        /// The method at fault, zero when there is none.
        method_id: u16,
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
    /// What is on the disk: the next [`handle_page`](super::vhost::Vhost::handle_page).
    Page,
    /// Room in the outbox of its connection: the next
    /// [`handle_written`](super::vhost::Vhost::handle_written) of it.
    Room,
}

impl From<AtFault> for Command<'_> {
    fn from(AtFault { fault, class_id, method_id }: AtFault) -> Self {
        Command::Fault { fault, class_id, method_id, input_ends: false }
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
            Outgoing::End => 0,
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

/// The frames around a message of ordinary names: three times eight octets and the fixed fields.
const CONTENT_OVERHEAD: usize = 64;

fn content_size(message: &Message) -> usize {
    message.as_bytes().len() + CONTENT_OVERHEAD
}
