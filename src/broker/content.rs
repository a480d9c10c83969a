//! Content: a publish, its header and its body put together, channel by channel.
//!
//! spec: 4.2.6. Frames of one channel come in order; those of several may come between each other.
//!
//! invariant: nothing is buffered that did not arrive: an announced size reserves no memory. What
//! will be refused, for its size or since its channel is not open, is read to its end and not kept.
//! What is kept has a bound over all channels.

use hashbrown::{HashMap, HashSet};
use leveret_codec::decode::ContentHeader;
use leveret_codec::method::basic;
use leveret_codec::{Decoder, Frame, Method, Properties, ShortString, frame};

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
    begun: HashMap<u16, Content>,
    /// Channels that the client has opened and not closed. The virtual host may have closed more.
    channels: HashSet<u16>,
    /// What [`begun`](Contents::begun) holds, in octets.
    pending: usize,
    /// What it may hold.
    max_pending: usize,
    /// Largest body that is taken, in octets.
    max_message_size: u64,
    /// Where messages are put together.
    scratch: Vec<u8>,
}

impl Contents {
    /// None has begun.
    pub(super) fn new(max_message_size: u64) -> Self {
        Contents {
            begun: HashMap::new(),
            channels: HashSet::new(),
            pending: 0,
            max_pending: limits::pending_octets(max_message_size),
            max_message_size,
            scratch: Vec::new(),
        }
    }

    /// Octets that are held of contents whose rest has not come.
    pub(super) fn pending_octets(&self) -> usize {
        self.pending
    }

    /// Gives up all that has begun.
    pub(super) fn clear(&mut self) {
        (self.begun, self.pending) = (HashMap::new(), 0);
    }

    /// A method came on a channel: whether content should have gone on there.
    pub(super) fn method(&mut self, channel: u16) -> Result<(), AtFault> {
        if self.begun.is_empty() {
            return Ok(());
        }
        match self.take(channel) {
            Some(content) => Err(content.interrupted()),
            None => Ok(()),
        }
    }

    /// A method without content came: which channels are open then.
    pub(super) fn note(&mut self, channel: u16, method: &Method<'_>) {
        match method {
            Method::ChannelOpen(_) => {
                self.channels.insert(channel);
            }
            Method::ChannelClose(_) | Method::ChannelCloseOk(_) => {
                self.channels.remove(&channel);
            }
            _ => {}
        }
    }

    /// A basic.publish came: its content is due.
    pub(super) fn begin(
        &mut self,
        channel: u16,
        publish: &basic::Publish<'_>,
    ) -> Result<(), AtFault> {
        let to = self.channels.contains(&channel).then(|| Address {
            exchange: publish.exchange.into(),
            routing_key: publish.routing_key.into(),
            mandatory: publish.mandatory,
            immediate: publish.immediate,
        });
        let content = Content { to, stage: Stage::Header };
        self.pending += content.octets();
        self.begun.insert(channel, content);
        self.check_room()
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
        let Some(content) = self.begun.get_mut(&frame.channel) else {
            return Err(Fault::MethodExpected.into());
        };
        let header = match content.header(frame) {
            Ok(header) => header,
            Err(error) => {
                self.take(frame.channel);
                return Err(error);
            }
        };
        let before = content.octets();
        let kept = content.to.is_some() && header.body_size <= self.max_message_size;
        content.stage = Stage::Body {
            properties: if kept { header.properties.to_vec() } else { Vec::new() },
            announced: header.body_size,
            arrived: 0,
            kept,
            body: Vec::new(),
        };
        self.pending += content.octets() - before;
        if header.body_size == 0 {
            return self.complete(frame.channel);
        }
        self.check_room()?;
        Ok(None)
    }

    /// A body frame came.
    pub(super) fn body<'a>(&mut self, frame: &Frame<'a>) -> ContentResult<'a> {
        let Some(content) = self.begun.get_mut(&frame.channel) else {
            return Err(Fault::MethodExpected.into());
        };
        let before = content.octets();
        match content.body(frame.payload) {
            Ok(whole) => {
                self.pending += content.octets() - before;
                if whole {
                    return self.complete(frame.channel);
                }
                self.check_room()?;
                Ok(None)
            }
            Err(error) => {
                self.take(frame.channel);
                Err(error)
            }
        }
    }

    /// Takes out what has begun on a channel.
    fn take(&mut self, channel: u16) -> Option<Content> {
        let content = self.begun.remove(&channel)?;
        self.pending -= content.octets();
        Some(content)
    }

    /// Whether all that has begun may be held.
    fn check_room(&mut self) -> Result<(), AtFault> {
        if self.pending <= self.max_pending {
            return Ok(());
        }
        self.clear();
        Err(Fault::TooManyPartialMessages.into())
    }

    fn complete<'a>(&mut self, channel: u16) -> ContentResult<'a> {
        let Some(content) = self.take(channel) else { return Ok(None) };
        let Stage::Body { properties, announced, body, .. } = content.stage else {
            return Ok(None);
        };
        let refused = |fault| Command::Unacceptable { channel, at_fault: at_publish(fault) };
        // why: the virtual host knows better whether the channel is open, or is about to close.
        let Some(to) = content.to else { return Ok(Some(refused(Fault::ChannelNotOpen))) };
        let max = self.max_message_size;
        if announced > max {
            return Ok(Some(refused(Fault::MessageTooLarge { size: announced, max })));
        }
        let properties = Properties::parse(&properties)
            .map_err(|_| AtFault::from(Fault::UnreadableProperties))?;
        let message = Message::assemble(
            &mut self.scratch,
            to.exchange.as_short(),
            to.routing_key.as_short(),
            properties,
            &body,
        );
        self.bound_scratch();
        let Address { mandatory, immediate, .. } = to;
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
    /// Where it goes; nowhere when its channel is not open.
    to: Option<Address>,
    stage: Stage,
}

/// What a basic.publish says.
#[derive(Debug)]
struct Address {
    exchange: ShortString,
    routing_key: ShortString,
    mandatory: bool,
    immediate: bool,
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
        /// Whether they are kept; otherwise they are counted alone.
        kept: bool,
        body: Vec<u8>,
    },
}

impl Content {
    /// What it holds, in octets.
    fn octets(&self) -> usize {
        // The value itself, its place in the map and what the allocator adds.
        const ENTRY: usize = 256;
        let names = match &self.to {
            Some(to) => to.exchange.len() + to.routing_key.len(),
            None => 0,
        };
        let content = match &self.stage {
            Stage::Header => 0,
            Stage::Body { properties, body, .. } => properties.len() + body.capacity(),
        };
        ENTRY + names + content
    }

    /// What a content header says, if it is one and due.
    fn header<'a>(&self, frame: &Frame<'a>) -> Result<ContentHeader<'a>, AtFault> {
        if !matches!(self.stage, Stage::Header) {
            return Err(self.interrupted());
        }
        let Some(header) = ContentHeader::decode(frame.payload) else {
            return Err(unknown_frame(frame).into());
        };
        let (class_id, size) = (header.class_id, header.body_size);
        if class_id != BASIC {
            return Err(at_publish(Fault::ForeignHeader { expected: BASIC, found: class_id }));
        }
        if header.weight != 0 {
            return Err(self.interrupted());
        }
        if size > limits::ANNOUNCED_SIZE {
            let max = limits::ANNOUNCED_SIZE;
            return Err(at_publish(Fault::AnnouncedTooLarge { size, max }));
        }
        Ok(header)
    }

    /// Takes a part of the body; says whether it is whole.
    fn body(&mut self, payload: &[u8]) -> Result<bool, AtFault> {
        let Stage::Body { announced, arrived, kept, body, .. } = &mut self.stage else {
            return Err(self.interrupted());
        };
        *arrived += payload.len() as u64;
        if *arrived > *announced {
            return Err(at_publish(Fault::BodyTooLong));
        }
        if *kept {
            append(body, payload, *announced);
        }
        Ok(arrived == announced)
    }

    /// Something else came where this content should go on.
    fn interrupted(&self) -> AtFault {
        at_publish(match self.stage {
            Stage::Header => Fault::HeaderExpected(BASIC),
            Stage::Body { .. } => Fault::BodyExpected,
        })
    }
}

/// Appends a part of a body of which `announced` octets will come.
///
/// why: grows as a `Vec` does, twice as much each time, so that it is copied little; but never beyond
/// what was announced, and never because of what was announced.
fn append(body: &mut Vec<u8>, part: &[u8], announced: u64) {
    if body.capacity() - body.len() < part.len() {
        let to_come = usize::try_from(announced).unwrap_or(usize::MAX).saturating_sub(body.len());
        body.reserve_exact(part.len().max(body.len().min(to_come)));
    }
    body.extend_from_slice(part);
}

/// A fault that is told with basic.publish.
fn at_publish(fault: Fault) -> AtFault {
    AtFault::new(fault, (BASIC, PUBLISH))
}
