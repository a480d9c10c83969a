//! One connection's octets, taken apart: frames, the handshake, content put together.
//!
//! What comes out are [`Command`]s for the virtual host. This is a pure function of the octets that
//! came in: it holds no socket, and what it has to say before the connection is open lies in an
//! output buffer that the edge fetches. After the open everything that a client gets comes from the
//! virtual host alone, in one order.
//!
//! spec: 4.2 (framing), 4.2.6 (content).
//!
//! invariant: nothing is buffered that did not arrive: an announced body size reserves no memory.

use std::sync::Arc;

use hashbrown::HashMap;
use leveret_codec::decode::ContentHeader;
use leveret_codec::error::{FrameError, MethodError};
use leveret_codec::method::basic;
use leveret_codec::{
    Decoder, Frame, Method, Properties, ReplyCode, ShortString, TableBuf, decode, frame,
};

use super::access::{AuthenticationFailure, Credentials, Rights, User};
use super::command::Command;
use super::error::Fault;
use super::handshake::Handshake;
use super::limits;
use super::message::Message;
use super::names;

/// Class id of basic, the only class that carries content.
const BASIC: u16 = 60;

/// What a connection offers and how much it takes.
#[derive(Clone, Debug)]
pub struct ConnectionSettings {
    /// Highest number of channels open at once.
    pub channel_max: u16,
    /// Largest frame, in octets, its header and end included.
    pub frame_max: u32,
    /// Heartbeat interval, in seconds; the client may choose another.
    pub heartbeat_secs: u16,
    /// Largest message body, in octets.
    pub max_message_size: u64,
}

impl Default for ConnectionSettings {
    fn default() -> Self {
        ConnectionSettings {
            channel_max: limits::CHANNEL_MAX,
            frame_max: limits::FRAME_MAX,
            heartbeat_secs: limits::HEARTBEAT_SECS,
            max_message_size: limits::MESSAGE_SIZE,
        }
    }
}

/// What the handshake found out about a connection.
#[derive(Clone, Debug)]
pub struct ConnectionInfo {
    /// Who it is.
    pub user: User,
    /// Highest number of channels open at once.
    pub channel_max: u16,
    /// Largest frame, in octets.
    pub frame_max: u32,
    /// Heartbeat interval, in seconds; zero means none.
    pub heartbeat_secs: u16,
    /// Whether the client wants basic.cancel when a consumer's queue is deleted.
    pub consumer_cancel_notify: bool,
    /// Whether the client wants connection.blocked when it is not read from.
    pub connection_blocked: bool,
    /// All that the client said about itself.
    pub client_properties: TableBuf,
    /// What it may do. The handshake leaves that open; whoever opens the virtual host says it.
    pub rights: Arc<Rights>,
}

/// A client wants to enter a virtual host.
#[derive(Clone, Debug)]
pub struct OpenRequest {
    /// The virtual host's name.
    pub vhost: String,
    /// Who wants to.
    pub info: ConnectionInfo,
}

/// What has to happen before more input is taken.
#[derive(Debug)]
pub enum Progress {
    /// More octets are needed.
    More,
    /// The credentials are to be checked: [`Connection::handle_authenticated`] has to follow.
    Authenticate(Credentials),
    /// The virtual host is to be opened: [`Connection::handle_opened`] has to follow.
    Open(Box<OpenRequest>),
    /// The socket is to be closed once the output is written and this time has passed.
    End {
        /// How long to wait before closing, in milliseconds.
        delay_ms: u64,
    },
}

#[derive(Debug)]
enum Stage {
    ProtocolHeader,
    Handshake(Handshake),
    Running,
    /// Whatever comes is thrown away: the virtual host has the last word.
    Deaf,
    Ended {
        delay_ms: u64,
    },
}

/// The state of one connection, as far as its octets are concerned.
#[derive(Debug)]
pub struct Connection {
    settings: ConnectionSettings,
    decoder: Decoder,
    stage: Stage,
    output: Vec<u8>,
    frame_max: u32,
    heartbeat_secs: u16,
    /// Content that has begun and whose rest has not come yet, by channel.
    contents: HashMap<u16, Content>,
    /// Where messages are put together.
    scratch: Vec<u8>,
}

impl Connection {
    /// A connection that waits for its protocol header.
    pub fn new(settings: ConnectionSettings) -> Self {
        Connection {
            settings,
            decoder: Decoder::new(limits::FRAME_MIN),
            stage: Stage::ProtocolHeader,
            output: Vec::new(),
            frame_max: limits::FRAME_MIN,
            heartbeat_secs: 0,
            contents: HashMap::new(),
            scratch: Vec::new(),
        }
    }

    /// Takes octets as they arrived, those left over from last time first. Says how many are used
    /// up and what must happen next; the rest is to be given again, with more behind it.
    pub fn handle_input<'a>(
        &mut self,
        input: &'a [u8],
        commands: &mut Vec<Command<'a>>,
    ) -> (usize, Progress) {
        let mut used = 0;
        if let Stage::ProtocolHeader = self.stage {
            let Some(header) = decode::protocol_header(input) else {
                return (0, Progress::More);
            };
            used = header.len();
            self.protocol_header(header);
        }
        loop {
            match self.stage {
                Stage::Ended { delay_ms } => return (input.len(), Progress::End { delay_ms }),
                Stage::Deaf => return (input.len(), Progress::More),
                _ => {}
            }
            match self.decoder.decode(&input[used..]) {
                Ok(None) => return (used, Progress::More),
                Ok(Some((frame, length))) => {
                    used += length;
                    if let Stage::Running = self.stage {
                        used += self.handle_frame(&frame, &input[used..], commands);
                        continue;
                    }
                    match self.handshake_frame(&frame) {
                        Progress::More => {}
                        progress => return (used, progress),
                    }
                }
                Err(error) => self.frame_error(&error, commands),
            }
        }
    }

    /// The answer to [`Progress::Authenticate`].
    pub fn handle_authenticated(&mut self, result: Result<User, AuthenticationFailure>) {
        if let Stage::Handshake(handshake) = &mut self.stage {
            let progress = handshake.handle_authenticated(result, &self.settings, &mut self.output);
            if let Progress::End { delay_ms } = progress {
                self.stage = Stage::Ended { delay_ms };
            }
        }
    }

    /// The answer to [`Progress::Open`].
    pub fn handle_opened(&mut self, result: Result<(), Fault>) {
        match (result, &mut self.stage) {
            (Ok(()), _) => self.stage = Stage::Running,
            (Err(fault), Stage::Handshake(handshake)) => {
                handshake.handle_refused(&fault, &mut self.output);
            }
            (Err(_), _) => {}
        }
    }

    /// What is to be written to the client now; empty once the connection is open.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    /// Largest frame in octets, as negotiated.
    pub fn frame_max(&self) -> u32 {
        self.frame_max
    }

    /// Heartbeat interval in seconds, as negotiated; zero means none.
    pub fn heartbeat_secs(&self) -> u16 {
        self.heartbeat_secs
    }

    fn protocol_header(&mut self, header: [u8; 8]) {
        // rabbitmq: the form that 0-9 brokers had, with 1 1 before the version, is taken too.
        const OLD_PROTOCOL_HEADER: [u8; 8] = *b"AMQP\x01\x01\x00\x09";
        if header == frame::PROTOCOL_HEADER || header == OLD_PROTOCOL_HEADER {
            self.stage = Stage::Handshake(Handshake::begin(&mut self.output));
        } else {
            // spec: 4.2.2: the answer is the header of a version that is spoken here.
            self.output.extend_from_slice(&frame::PROTOCOL_HEADER);
            self.stage = Stage::Ended { delay_ms: 0 };
        }
    }

    fn handshake_frame(&mut self, frame: &Frame<'_>) -> Progress {
        let Stage::Handshake(handshake) = &mut self.stage else {
            return Progress::More;
        };
        let progress = handshake.handle_frame(frame, &self.settings, &mut self.output);
        match &progress {
            Progress::End { delay_ms } => self.stage = Stage::Ended { delay_ms: *delay_ms },
            Progress::Open(request) => {
                self.frame_max = request.info.frame_max;
                self.heartbeat_secs = request.info.heartbeat_secs;
                self.decoder.set_frame_max(self.frame_max);
            }
            Progress::More | Progress::Authenticate(_) => {}
        }
        progress
    }

    /// Octets that are no frame: nothing behind them can be read.
    fn frame_error(&mut self, error: &FrameError<'_>, commands: &mut Vec<Command<'_>>) {
        if !matches!(self.stage, Stage::Running) {
            self.stage = Stage::Ended { delay_ms: limits::REFUSAL_DELAY_MS };
            return;
        }
        let text = match *error {
            FrameError::TooLarge { kind, size, limit, .. } => {
                format!("{}: {{frame_too_large,{size},{limit}}}", describe(kind, &[]))
            }
            FrameError::BadEnd { kind, payload, end, .. } => {
                let start = format!("{}: ", describe(kind, payload));
                let reason = names::erlang_pair("invalid_frame_end_marker", end, start.len());
                start + &reason
            }
        };
        let fault = Fault::new(ReplyCode::FrameError, text);
        commands.push(Command::Fault { fault, class_id: 0, method_id: 0, input_ends: true });
        self.stage = Stage::Deaf;
    }

    /// Takes a frame of an open connection; says how many octets of `rest`, the input behind it,
    /// were used up with it.
    fn handle_frame<'a>(
        &mut self,
        frame: &Frame<'a>,
        rest: &'a [u8],
        commands: &mut Vec<Command<'a>>,
    ) -> usize {
        let result = match (frame.kind, frame.channel) {
            (frame::METHOD, _) => return self.handle_method(frame, rest, commands),
            (frame::HEARTBEAT, 0) if frame.payload.is_empty() => return 0,
            (frame::HEADER | frame::BODY, 0) | (frame::HEARTBEAT, 1..) => {
                Err(Fault::new(ReplyCode::UnexpectedFrame, describe(frame.kind, frame.payload))
                    .into())
            }
            (frame::HEADER, _) => self.content_header(frame),
            (frame::BODY, _) => self.content_body(frame),
            _ => Err(unknown_frame(frame).into()),
        };
        match result {
            Ok(None) => {}
            Ok(Some(command)) => commands.push(command),
            Err(error) => commands.push(error.into()),
        }
        0
    }

    fn handle_method<'a>(
        &mut self,
        frame: &Frame<'a>,
        rest: &'a [u8],
        commands: &mut Vec<Command<'a>>,
    ) -> usize {
        if !self.contents.is_empty()
            && let Some(content) = self.contents.remove(&frame.channel)
        {
            commands.push(content.interrupted().into());
            return 0;
        }
        match Method::decode(frame.payload) {
            Ok(Method::BasicPublish(publish)) if frame.channel != 0 => {
                return self.publish(frame.channel, &publish, rest, commands);
            }
            Ok(method) => commands.push(Command::Method { channel: frame.channel, method }),
            Err(error) => match method_fault(frame, &error) {
                Some(at_fault) => commands.push(at_fault.into()),
                None => {
                    // rabbitmq: its reader dies of a method it does not know.
                    commands.push(Command::Abort);
                    self.stage = Stage::Deaf;
                }
            },
        }
        0
    }

    fn publish<'a>(
        &mut self,
        channel: u16,
        publish: &basic::Publish<'a>,
        rest: &'a [u8],
        commands: &mut Vec<Command<'a>>,
    ) -> usize {
        if let Some((message, used)) = self.whole_content(channel, publish, rest) {
            let (mandatory, immediate) = (publish.mandatory, publish.immediate);
            commands.push(Command::Publish { channel, mandatory, immediate, message });
            return used;
        }
        self.contents.insert(
            channel,
            Content {
                exchange: publish.exchange.into(),
                routing_key: publish.routing_key.into(),
                mandatory: publish.mandatory,
                immediate: publish.immediate,
                stage: ContentStage::Header,
            },
        );
        0
    }

    /// The usual case, and the fast one: header and body of a publish lie right behind it.
    ///
    /// Anything unusual, a fault included, is left to the general way.
    fn whole_content(
        &mut self,
        channel: u16,
        publish: &basic::Publish<'_>,
        rest: &[u8],
    ) -> Option<(Message, usize)> {
        let (first, mut used) = self.decoder.decode(rest).ok()??;
        if first.kind != frame::HEADER || first.channel != channel {
            return None;
        }
        let header = ContentHeader::decode(first.payload)?;
        if header.class_id != BASIC
            || header.weight != 0
            || header.body_size > self.settings.max_message_size
        {
            return None;
        }
        let properties = Properties::parse(header.properties).ok()?;
        let mut body: &[u8] = &[];
        if header.body_size > 0 {
            let (second, length) = self.decoder.decode(&rest[used..]).ok()??;
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

    fn content_header<'a>(&mut self, frame: &Frame<'a>) -> ContentResult<'a> {
        let Some(content) = self.contents.get_mut(&frame.channel) else {
            return Err(not_a_method().into());
        };
        if !matches!(content.stage, ContentStage::Header) {
            let error = content.interrupted();
            self.contents.remove(&frame.channel);
            return Err(error);
        }
        let header = ContentHeader::decode(frame.payload);
        let refused = match header {
            None => Some(AtFault::from(unknown_frame(frame))),
            Some(header) if header.class_id != BASIC => Some(AtFault::publish(
                ReplyCode::UnexpectedFrame,
                format!(
                    "expected content header for class {BASIC}, got one for class {} instead",
                    header.class_id
                ),
            )),
            Some(header) if header.weight != 0 => Some(content.interrupted()),
            Some(header) if header.body_size > limits::ANNOUNCED_SIZE => Some(AtFault::publish(
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
            self.contents.remove(&frame.channel);
            return Err(refused.unwrap_or_else(|| unknown_frame(frame).into()));
        };
        content.stage = ContentStage::Body {
            properties: header.properties.to_vec(),
            announced: header.body_size,
            arrived: 0,
            body: Vec::new(),
        };
        if header.body_size == 0 { self.complete(frame.channel) } else { Ok(None) }
    }

    fn content_body<'a>(&mut self, frame: &Frame<'a>) -> ContentResult<'a> {
        let Some(content) = self.contents.get_mut(&frame.channel) else {
            return Err(not_a_method().into());
        };
        let ContentStage::Body { announced, arrived, body, .. } = &mut content.stage else {
            let error = content.interrupted();
            self.contents.remove(&frame.channel);
            return Err(error);
        };
        *arrived += frame.payload.len() as u64;
        if *arrived > *announced {
            self.contents.remove(&frame.channel);
            return Err(AtFault::publish(
                ReplyCode::FrameError,
                "content body frame exceeds remaining content size",
            ));
        }
        // why: a message that will be refused for its size is read to its end, but not kept.
        if *announced <= self.settings.max_message_size {
            body.extend_from_slice(frame.payload);
        }
        if *arrived == *announced { self.complete(frame.channel) } else { Ok(None) }
    }

    fn complete<'a>(&mut self, channel: u16) -> ContentResult<'a> {
        let Some(content) = self.contents.remove(&channel) else { return Ok(None) };
        let ContentStage::Body { properties, announced, body, .. } = content.stage else {
            return Ok(None);
        };
        let max = self.settings.max_message_size;
        if announced > max {
            let kind = if max == limits::ANNOUNCED_SIZE { "max" } else { "configured max" };
            let text = format!("message size {announced} is larger than {kind} size {max}");
            return Ok(Some(Command::Unacceptable {
                channel,
                fault: Fault::precondition_failed(text),
                class_id: BASIC,
                method_id: 40,
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
    stage: ContentStage,
}

#[derive(Debug)]
enum ContentStage {
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

type ContentResult<'a> = Result<Option<Command<'a>>, AtFault>;

impl Content {
    /// Something else came where this content should go on.
    fn interrupted(&self) -> AtFault {
        let text = match self.stage {
            ContentStage::Header => format!(
                "expected content header for class {BASIC}, got non content header frame instead"
            ),
            ContentStage::Body { .. } => {
                "expected content body, got non content body frame instead".to_owned()
            }
        };
        AtFault::publish(ReplyCode::UnexpectedFrame, text)
    }
}

/// A fault and the method it is told with.
struct AtFault {
    fault: Fault,
    class_id: u16,
    method_id: u16,
}

impl AtFault {
    fn publish(code: ReplyCode, text: impl Into<std::borrow::Cow<'static, str>>) -> Self {
        AtFault { fault: Fault::new(code, text), class_id: BASIC, method_id: 40 }
    }
}

impl From<Fault> for AtFault {
    fn from(fault: Fault) -> Self {
        AtFault { fault, class_id: 0, method_id: 0 }
    }
}

impl From<AtFault> for Command<'_> {
    fn from(AtFault { fault, class_id, method_id }: AtFault) -> Self {
        Command::Fault { fault, class_id, method_id, input_ends: false }
    }
}

fn not_a_method() -> Fault {
    Fault::new(ReplyCode::UnexpectedFrame, "expected method frame, got non method frame instead")
}

fn unknown_frame(frame: &Frame<'_>) -> Fault {
    let text = format!("{}: unknown_frame", describe(frame.kind, frame.payload));
    Fault::new(ReplyCode::FrameError, text)
}

/// What is wrong with a method, or nothing when RabbitMQ would not say.
fn method_fault(frame: &Frame<'_>, error: &MethodError<'_>) -> Option<AtFault> {
    match *error {
        MethodError::Short => Some(unknown_frame(frame).into()),
        MethodError::Malformed { class_id, method_id, arguments, .. } => {
            let text = format!("cannot decode {}", names::erlang_octets(arguments));
            let fault = Fault::new(ReplyCode::FrameError, text);
            Some(AtFault { fault, class_id, method_id })
        }
        MethodError::NotUtf8 { .. } => {
            Some(Fault::new(ReplyCode::FrameError, "Malformed UTF-8 in shortstr").into())
        }
        MethodError::Unknown { .. } | MethodError::BadTable { .. } => None,
    }
}

/// `type 1, all octets = <<...>>`, of a longer payload the first 16.
fn describe(kind: u8, payload: &[u8]) -> String {
    const SHOWN: usize = 16;
    let (which, shown) =
        if payload.len() <= SHOWN { ("all", payload) } else { ("first 16", &payload[..SHOWN]) };
    format!("type {kind}, {which} octets = {}", names::erlang_binary(shown))
}
