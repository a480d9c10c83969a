//! One connection's octets, taken apart: frames, the handshake, commands.
//!
//! What comes out are [`Command`]s for the virtual host. This is a pure function of the octets that
//! came in: it holds no socket, and what it has to say before the connection is open lies in an
//! output buffer that the edge fetches. After the open everything that a client gets comes from the
//! virtual host alone, in one order.
//!
//! spec: 4.2 (framing). Content is put together in `content`.

use leveret_codec::error::FrameError;
use leveret_codec::method::basic;
use leveret_codec::{Decoder, Frame, Method, decode, frame};

use super::access::{AuthenticationFailure, User};
use super::command::Command;
pub use super::connection_info::{ConnectionInfo, ConnectionSettings, OpenRequest, Progress};
use super::content::Contents;
use super::error::{AtFault, Checked, Fault, FrameStart};
use super::frame_fault::{method_fault, unknown_frame};
use super::handshake::Handshake;
use super::limits;

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
    contents: Contents,
}

impl Connection {
    /// A connection that waits for its protocol header.
    pub fn new(settings: ConnectionSettings) -> Self {
        Connection {
            contents: Contents::new(settings.max_message_size),
            settings,
            decoder: Decoder::new(limits::FRAME_MIN),
            stage: Stage::ProtocolHeader,
            output: Vec::new(),
            frame_max: limits::FRAME_MIN,
            heartbeat_secs: 0,
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
    pub fn handle_opened(&mut self, result: Checked<()>) {
        match (result, &mut self.stage) {
            (Ok(()), _) => self.stage = Stage::Running,
            (Err(fault), Stage::Handshake(handshake)) => {
                handshake.handle_refused(fault, &mut self.output);
            }
            (Err(_), _) => {}
        }
    }

    /// What is to be written to the client now; empty once the connection is open.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    /// Octets held of messages that have begun to come and whose rest has not.
    pub fn pending_octets(&self) -> usize {
        self.contents.pending_octets()
    }

    /// The broker has no memory for the unfinished messages of this connection: it is closed.
    pub fn handle_shortage(&mut self, commands: &mut Vec<Command<'_>>) {
        self.contents.clear();
        commands.push(AtFault::from(Fault::TooManyPartialMessages).into());
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
            self.stage = Stage::Handshake(Handshake::begin(&self.settings, &mut self.output));
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
        let fault = match *error {
            FrameError::TooLarge { kind, size, limit, .. } => {
                Fault::FrameTooLarge { start: FrameStart::new(kind, &[]), size, limit }
            }
            FrameError::BadEnd { kind, payload, end, .. } => {
                Fault::InvalidFrameEnd { start: FrameStart::new(kind, payload), end }
            }
        };
        match &mut self.stage {
            Stage::Running => {
                commands.push(Command::Fault { at_fault: fault.into(), input_ends: true });
                self.turn_deaf();
            }
            Stage::Handshake(handshake) => {
                let delay_ms = handshake.handle_frame_error(fault, &mut self.output);
                self.stage = Stage::Ended { delay_ms };
            }
            _ => self.stage = Stage::Ended { delay_ms: limits::REFUSAL_DELAY_MS },
        }
    }

    /// Nothing that comes matters any more.
    fn turn_deaf(&mut self) {
        self.stage = Stage::Deaf;
        self.contents.clear();
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
                Err(Fault::MisplacedFrame(FrameStart::new(frame.kind, frame.payload)).into())
            }
            (frame::HEADER, _) => self.contents.header(frame),
            (frame::BODY, _) => self.contents.body(frame),
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
        if let Err(error) = self.contents.method(frame.channel) {
            commands.push(error.into());
            return 0;
        }
        if frame.channel != 0
            && let Some(publish) = basic::Publish::from_payload(frame.payload)
        {
            return self.publish(frame.channel, &publish, rest, commands);
        }
        match Method::decode(frame.payload) {
            Ok(method) => {
                self.contents.note(frame.channel, &method);
                commands.push(Command::Method { channel: frame.channel, method });
            }
            Err(error) => match method_fault(frame, &error) {
                Some(at_fault) => commands.push(at_fault.into()),
                None => {
                    // rabbitmq: its reader dies of a method it does not know.
                    commands.push(Command::Abort);
                    self.turn_deaf();
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
        match self.contents.whole(channel, publish, &self.decoder, rest) {
            Some((message, used)) => {
                let (mandatory, immediate) = (publish.mandatory, publish.immediate);
                commands.push(Command::Publish { channel, mandatory, immediate, message });
                used
            }
            None => {
                if let Err(error) = self.contents.begin(channel, publish) {
                    commands.push(error.into());
                }
                0
            }
        }
    }
}
