//! Content: a publish, its header and its body put together, channel by channel.
//!
//! spec: 4.2.6. Frames of one channel come in order; those of several may come between each other.
//!
//! invariant: nothing is buffered that did not arrive: an announced size reserves no memory.

use hashbrown::HashMap;
use leveret_codec::decode::ContentHeader;
use leveret_codec::method::basic;
use leveret_codec::{Decoder, Frame, Properties, ReplyCode, ShortString, frame};

use super::command::Command;
use super::error::{AtFault, Fault};
use super::frame_fault::unknown_frame;
use super::limits;
use super::message::Message;

/// Class and method of basic.publish, the only method of a client that carries content.
const BASIC: u16 = 60;
const PUBLISH: u16 = 40;

/// What a frame of content leads to: nothing yet, a command, or a fault.
pub(super) type ContentResult<'a> = Result<Option<Command<'a>>, AtFault>;

/// The contents of a connection that have begun and whose rest has not come yet.
#[derive(Debug)]
pub(super) struct Contents {
    /// By channel.
    open: HashMap<u16, Content>,
    /// Largest body that is taken, in octets.
    max_message_size: u64,
    /// Where messages are put together.
    scratch: Vec<u8>,
}

impl Contents {
    /// None has begun.
    pub(super) fn new(max_message_size: u64) -> Self {
        Contents { open: HashMap::new(), max_message_size, scratch: Vec::new() }
    }

    /// A method came on a channel: whether content should have gone on there.
    pub(super) fn method(&mut self, channel: u16) -> Result<(), AtFault> {
        if self.open.is_empty() {
            return Ok(());
        }
        match self.open.remove(&channel) {
            Some(content) => Err(content.interrupted()),
            None => Ok(()),
        }
    }

    /// A basic.publish came: its content is due.
    pub(super) fn begin(&mut self, channel: u16, publish: &basic::Publish<'_>) {
        let content = Content {
            exchange: publish.exchange.into(),
            routing_key: publish.routing_key.into(),
            mandatory: publish.mandatory,
            immediate: publish.immediate,
            stage: Stage::Header,
        };
        self.open.insert(channel, content);
    }

    /// The usual case, and the fast one: header and body of a publish lie right behind it.
    ///
    /// Anything unusual, a fault included, is left to the general way. `rest` is the input behind the
    /// publish; says how much of it the content was.
    pub(super) fn whole(
        &mut self,
        channel: u16,
        publish: &basic::Publish<'_>,
        decoder: &Decoder,
        rest: &[u8],
    ) -> Option<(Message, usize)> {
        let (first, mut used) = decoder.decode(rest).ok()??;
        if first.kind != frame::HEADER || first.channel != channel {
            return None;
        }
        let header = ContentHeader::decode(first.payload)?;
        if header.class_id != BASIC
            || header.weight != 0
            || header.body_size > self.max_message_size
        {
            return None;
        }
        let properties = Properties::parse(header.properties).ok()?;
        let mut body: &[u8] = &[];
        if header.body_size > 0 {
            let (second, length) = decoder.decode(&rest[used..]).ok()??;
            let whole = second.kind == frame::BODY
                && second.channel == channel
                && second.payload.len() as u64 == header.body_size;
            if !whole {
                return None;
            }
            body = second.payload;
            used += length;
        }
        let message = Message::assemble(
            &mut self.scratch,
            publish.exchange,
            publish.routing_key,
            properties,
            body,
        );
        self.bound_scratch();
        Some((message, used))
    }

    /// A content header came.
    pub(super) fn header<'a>(&mut self, frame: &Frame<'a>) -> ContentResult<'a> {
        let Some(content) = self.open.get_mut(&frame.channel) else {
            return Err(not_a_method().into());
        };
        if !matches!(content.stage, Stage::Header) {
            let error = content.interrupted();
            self.open.remove(&frame.channel);
            return Err(error);
        }
        let header = ContentHeader::decode(frame.payload);
        let refused = match header {
            None => Some(AtFault::from(unknown_frame(frame))),
            Some(header) if header.class_id != BASIC => Some(at_publish(
                ReplyCode::UnexpectedFrame,
                format!(
                    "expected content header for class {BASIC}, got one for class {} instead",
                    header.class_id
                ),
            )),
            Some(header) if header.weight != 0 => Some(content.interrupted()),
            Some(header) if header.body_size > limits::ANNOUNCED_SIZE => Some(at_publish(
                ReplyCode::FrameError,
                format!(
                    "content body size {} exceeds maximum allowed size {}",
                    header.body_size,
                    limits::ANNOUNCED_SIZE
                ),
            )),
            Some(_) => None,
        };
        let (Some(header), None) = (header, &refused) else {
            self.open.remove(&frame.channel);
            return Err(refused.unwrap_or_else(|| unknown_frame(frame).into()));
        };
        content.stage = Stage::Body {
            properties: header.properties.to_vec(),
            announced: header.body_size,
            arrived: 0,
            body: Vec::new(),
        };
        if header.body_size == 0 { self.complete(frame.channel) } else { Ok(None) }
    }

    /// A body frame came.
    pub(super) fn body<'a>(&mut self, frame: &Frame<'a>) -> ContentResult<'a> {
        let Some(content) = self.open.get_mut(&frame.channel) else {
            return Err(not_a_method().into());
        };
        let Stage::Body { announced, arrived, body, .. } = &mut content.stage else {
            let error = content.interrupted();
            self.open.remove(&frame.channel);
            return Err(error);
        };
        *arrived += frame.payload.len() as u64;
        if *arrived > *announced {
            self.open.remove(&frame.channel);
            return Err(at_publish(
                ReplyCode::FrameError,
                "content body frame exceeds remaining content size",
            ));
        }
        // why: a message that will be refused for its size is read to its end, but not kept.
        if *announced <= self.max_message_size {
            body.extend_from_slice(frame.payload);
        }
        if *arrived == *announced { self.complete(frame.channel) } else { Ok(None) }
    }

    fn complete<'a>(&mut self, channel: u16) -> ContentResult<'a> {
        let Some(content) = self.open.remove(&channel) else { return Ok(None) };
        let Stage::Body { properties, announced, body, .. } = content.stage else {
            return Ok(None);
        };
        let max = self.max_message_size;
        if announced > max {
            let kind = if max == limits::ANNOUNCED_SIZE { "max" } else { "configured max" };
            let text = format!("message size {announced} is larger than {kind} size {max}");
            return Ok(Some(Command::Unacceptable {
                channel,
                fault: Fault::precondition_failed(text),
                class_id: BASIC,
                method_id: PUBLISH,
            }));
        }
        // rabbitmq: its channel crashes of properties that cannot be decoded.
        let properties = Properties::parse(&properties)
            .map_err(|_| AtFault::from(Fault::new(ReplyCode::InternalError, "")))?;
        let message = Message::assemble(
            &mut self.scratch,
            content.exchange.as_short(),
            content.routing_key.as_short(),
            properties,
            &body,
        );
        self.bound_scratch();
        let (mandatory, immediate) = (content.mandatory, content.immediate);
        Ok(Some(Command::Publish { channel, mandatory, immediate, message }))
    }

    /// A large message must not leave a large buffer behind in every connection.
    fn bound_scratch(&mut self) {
        const KEPT: usize = 64 * 1024;
        if self.scratch.capacity() > KEPT {
            self.scratch = Vec::new();
        }
    }
}

/// A publish whose content has begun.
#[derive(Debug)]
struct Content {
    exchange: ShortString,
    routing_key: ShortString,
    mandatory: bool,
    immediate: bool,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// The content header is due.
    Header,
    /// Body frames are due.
    Body {
        properties: Vec<u8>,
        /// Octets that the header announced.
        announced: u64,
        /// Octets that have arrived.
        arrived: u64,
        body: Vec<u8>,
    },
}

impl Content {
    /// Something else came where this content should go on.
    fn interrupted(&self) -> AtFault {
        let text = match self.stage {
            Stage::Header => format!(
                "expected content header for class {BASIC}, got non content header frame instead"
            ),
            Stage::Body { .. } => {
                "expected content body, got non content body frame instead".to_owned()
            }
        };
        at_publish(ReplyCode::UnexpectedFrame, text)
    }
}

/// A fault that is told with basic.publish.
fn at_publish(code: ReplyCode, text: impl Into<std::borrow::Cow<'static, str>>) -> AtFault {
    AtFault { fault: Fault::new(code, text), class_id: BASIC, method_id: PUBLISH }
}

fn not_a_method() -> Fault {
    Fault::new(ReplyCode::UnexpectedFrame, "expected method frame, got non method frame instead")
}
