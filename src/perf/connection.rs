//! A client's end of a connection: its frames, its heartbeats, and waiting for an answer.
//!
//! A connection has one channel, [`CHANNEL`]. Frames are read into one large buffer and looked at
//! where they lie.

use std::io::{self, ErrorKind};
use std::sync::Arc;

use leveret_codec::method::{channel, connection};
use leveret_codec::{Decoder, Encode, Frame, Method, encode, frame};
use rustls::ClientConfig;

use super::error::{PerfError, one_line};
use super::stream::Stream;
use super::uri::Uri;
use crate::clock::Stopwatch;

/// The one channel that is used.
pub(super) const CHANNEL: u16 = 1;
/// The largest frame that is agreed to, in octets.
pub(super) const FRAME_MAX: u32 = 131_072;
/// What a read may bring at once, in octets; a frame fits with room to spare.
const INPUT: usize = 256 * 1024;
/// How long the broker may take to answer a method, in seconds.
const ANSWER_SECS: u64 = 30;
/// How often it is looked whether a close has waited long enough.
const CLOSE_STEP_NS: u64 = SECOND_NS / 5;
/// How long a close waits for its answer on a connection that the broker blocks.
const BLOCKED_CLOSE_NS: u64 = SECOND_NS / 2;
pub(super) const SECOND_NS: u64 = 1_000_000_000;

/// One end of an open connection.
pub(super) struct Connection {
    pub(super) stream: Stream,
    pub(super) address: String,
    pub(super) watch: Stopwatch,
    pub(super) decoder: Decoder,
    pub(super) frame_max: u32,
    /// What is read and not looked at: `input[start..end]`.
    input: Vec<u8>,
    start: usize,
    end: usize,
    /// Small frames that are to go out, the first `written` octets of which are gone.
    output: Vec<u8>,
    written: usize,
    heartbeat: Heartbeat,
}

/// Who was heard when.
#[derive(Default)]
struct Heartbeat {
    /// The timeout that was agreed on; 0 for none.
    timeout_ns: u64,
    sent_ns: u64,
    heard_ns: u64,
    has_sent: bool,
    has_heard: bool,
}

impl Connection {
    /// Opens a connection, and its channel.
    ///
    /// # Errors
    /// When nobody is there, or the broker does not let us in.
    pub(super) fn open(
        uri: &Uri,
        tls: Option<&Arc<ClientConfig>>,
        watch: Stopwatch,
    ) -> Result<Self, PerfError> {
        let mut connection = Connection {
            stream: Stream::connect(uri, tls)?,
            address: uri.address(),
            watch,
            decoder: Decoder::new(FRAME_MAX),
            frame_max: FRAME_MAX,
            input: vec![0; INPUT],
            start: 0,
            end: 0,
            output: Vec::new(),
            written: 0,
            heartbeat: Heartbeat::default(),
        };
        let heartbeat_secs = super::handshake::log_in(&mut connection, uri)?;
        let now_ns = watch.elapsed_ns();
        connection.heartbeat = Heartbeat {
            timeout_ns: u64::from(heartbeat_secs) * SECOND_NS,
            sent_ns: now_ns,
            heard_ns: now_ns,
            ..Heartbeat::default()
        };
        connection.call(&channel::Open::default(), |method| {
            matches!(method, Method::ChannelOpenOk(_)).then_some(())
        })?;
        Ok(connection)
    }

    /// Reads once. Says how much came and whether the socket may have more: none when there was
    /// nothing.
    pub(super) fn read(&mut self) -> Result<Option<Filled>, PerfError> {
        if self.start > 0 {
            self.input.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        match self.stream.read(&mut self.input[self.end..]) {
            Ok(Some(0)) => Err(self.lost(&io::Error::from(ErrorKind::UnexpectedEof))),
            Ok(Some(count)) => {
                self.end += count;
                self.heartbeat.has_heard = true;
                Ok(Some(if self.end == self.input.len() { Filled::Full } else { Filled::Partly }))
            }
            Ok(None) => Ok(None),
            Err(error) => Err(self.lost(&error)),
        }
    }

    /// The octets that are read and not yet taken.
    pub(super) fn input(&self) -> &[u8] {
        &self.input[self.start..self.end]
    }

    /// These, and what is to go out.
    pub(super) fn input_and_output(&mut self) -> (&[u8], &mut Vec<u8>) {
        (&self.input[self.start..self.end], &mut self.output)
    }

    /// Takes so many octets off the input.
    pub(super) fn take(&mut self, octets: usize) {
        self.start += octets;
    }

    /// The next frame that is whole.
    pub(super) fn next_frame(&mut self) -> Result<Option<Frame<'_>>, PerfError> {
        match self.decoder.decode(&self.input[self.start..self.end]) {
            Ok(None) => Ok(None),
            Ok(Some((frame, length))) => {
                self.start += length;
                Ok(Some(frame))
            }
            Err(error) => {
                let reason = error.to_string();
                Err(PerfError::NotAmqp { address: self.address.clone(), reason })
            }
        }
    }

    /// Puts a method behind what is to go out; [`flush`](Connection::flush) sends it.
    pub(super) fn tell<M: Encode>(&mut self, channel: u16, method: &M) {
        encode::method(&mut self.output, channel, method);
    }

    /// What is to go out, to append frames to.
    pub(super) fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// Sends what is to go out, as far as it goes without waiting; says whether all of it went.
    pub(super) fn flush(&mut self) -> Result<bool, PerfError> {
        while self.written < self.output.len() {
            match self.stream.write(&self.output[self.written..]) {
                Ok(0) => return Ok(false),
                Ok(count) => self.written += count,
                Err(error) => return Err(self.lost(&error)),
            }
            self.heartbeat.has_sent = true;
        }
        self.output.clear();
        self.written = 0;
        self.stream.flush().map_err(|error| self.lost(&error))
    }

    /// Sends octets, as many as go without waiting. What is to go out must have gone before.
    pub(super) fn write(&mut self, octets: &[u8]) -> Result<usize, PerfError> {
        self.heartbeat.has_sent = true;
        self.stream.write(octets).map_err(|error| self.lost(&error))
    }

    /// Waits for the socket, or for this long.
    pub(super) fn wait(&self, to_write: bool, timeout_ns: u64) -> Result<(), PerfError> {
        let to_write = to_write || !self.output.is_empty();
        self.stream.wait(to_write, timeout_ns).map_err(|error| self.lost(&error))
    }

    /// Lets time pass: sends a heartbeat when it is due, between two frames alone.
    ///
    /// # Errors
    /// When nothing has been heard for two timeouts.
    ///
    /// spec: 4.2.7, heartbeats.
    pub(super) fn tick(&mut self, now_ns: u64) -> Result<(), PerfError> {
        self.listen(now_ns)?;
        let heartbeat = &mut self.heartbeat;
        if heartbeat.timeout_ns == 0 {
            return Ok(());
        }
        if std::mem::take(&mut heartbeat.has_sent) {
            heartbeat.sent_ns = now_ns;
        }
        if now_ns.saturating_sub(heartbeat.sent_ns) > heartbeat.timeout_ns / 2 {
            heartbeat.sent_ns = now_ns;
            encode::heartbeat(&mut self.output);
            self.flush()?;
        }
        Ok(())
    }

    /// The half of [`tick`](Connection::tick) that sends nothing: for in the middle of a frame.
    ///
    /// # Errors
    /// When nothing has been heard for two timeouts.
    pub(super) fn listen(&mut self, now_ns: u64) -> Result<(), PerfError> {
        let heartbeat = &mut self.heartbeat;
        if std::mem::take(&mut heartbeat.has_heard) {
            heartbeat.heard_ns = now_ns;
        }
        let silent_ns = now_ns.saturating_sub(heartbeat.heard_ns);
        if heartbeat.timeout_ns > 0 && silent_ns > 2 * heartbeat.timeout_ns {
            let reason = format!("no heartbeat for {} s", 2 * heartbeat.timeout_ns / SECOND_NS);
            return Err(PerfError::Lost { address: self.address.clone(), reason });
        }
        Ok(())
    }

    /// Sends a method on the channel and waits for what answers it; other frames are passed over.
    ///
    /// # Errors
    /// When the broker closes something, goes away or does not answer.
    pub(super) fn call<M: Encode, T>(
        &mut self,
        method: &M,
        answer: impl FnMut(&Method<'_>) -> Option<T>,
    ) -> Result<T, PerfError> {
        self.tell(CHANNEL, method);
        self.answered(ANSWER_SECS * SECOND_NS, answer)
    }

    /// Waits for a method that `answer` takes, while what is to go out goes.
    pub(super) fn answered<T>(
        &mut self,
        timeout_ns: u64,
        mut answer: impl FnMut(&Method<'_>) -> Option<T>,
    ) -> Result<T, PerfError> {
        let begun_ns = self.watch.elapsed_ns();
        loop {
            self.flush()?;
            while let Some(frame) = self.next_frame()? {
                if frame.kind != frame::METHOD {
                    continue;
                }
                if let Ok(method) = Method::decode(frame.payload) {
                    if let Some(found) = answer(&method) {
                        return Ok(found);
                    }
                    closed(&method)?;
                }
            }
            if self.read()?.is_some() {
                continue;
            }
            let now_ns = self.watch.elapsed_ns();
            if now_ns.saturating_sub(begun_ns) > timeout_ns {
                let seconds = timeout_ns / SECOND_NS;
                return Err(PerfError::Silent { address: self.address.clone(), seconds });
            }
            self.tick(now_ns)?;
            self.wait(false, SECOND_NS / 10)?;
        }
    }

    /// Closes the channel: when that is answered, all that was sent on it has been processed. Then
    /// closes the connection.
    ///
    /// The answer may take as long as it needs while the connection lives, and `timeout_ns` from
    /// when `is_hasty` says so; less when the broker blocks the connection meanwhile.
    pub(super) fn close(
        &mut self,
        timeout_ns: u64,
        is_hasty: &dyn Fn() -> bool,
    ) -> Result<(), PerfError> {
        let close = channel::Close { reply_code: 200, ..Default::default() };
        self.tell(CHANNEL, &close);
        let mut most_ns = timeout_ns;
        let mut hasty_ns = None;
        loop {
            let answer = self.answered(CLOSE_STEP_NS, |method| {
                // why: what it has sent is not read any more.
                if matches!(method, Method::ConnectionBlocked(_)) {
                    most_ns = most_ns.min(BLOCKED_CLOSE_NS);
                }
                matches!(method, Method::ChannelCloseOk(_)).then_some(())
            });
            match answer {
                Err(PerfError::Silent { address, .. }) if is_hasty() => {
                    let now_ns = self.watch.elapsed_ns();
                    if now_ns - *hasty_ns.get_or_insert(now_ns) >= most_ns {
                        let seconds = timeout_ns / SECOND_NS;
                        return Err(PerfError::Silent { address, seconds });
                    }
                }
                Err(PerfError::Silent { .. }) => {}
                answer => break answer?,
            }
        }
        self.tell(0, &connection::Close { reply_code: 200, ..Default::default() });
        self.answered(timeout_ns, |method| {
            matches!(method, Method::ConnectionCloseOk(_)).then_some(())
        })
    }

    /// Says good-bye as far as that goes without waiting, after the broker has closed something.
    pub(super) fn part(&mut self, error: &PerfError) {
        if let PerfError::Closed { what, .. } = error {
            match *what {
                "channel" => {
                    self.tell(CHANNEL, &channel::CloseOk {});
                    self.tell(0, &connection::Close { reply_code: 200, ..Default::default() });
                }
                _ => self.tell(0, &connection::CloseOk {}),
            }
            // The run has its reason to end already.
            let _ = self.flush();
        }
    }

    fn lost(&self, error: &io::Error) -> PerfError {
        let address = self.address.clone();
        if let Some(inner) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>())
        {
            return PerfError::Tls { address, reason: inner.to_string() };
        }
        let reason = match error.kind() {
            ErrorKind::UnexpectedEof => "the broker closed it".to_owned(),
            _ => error.to_string(),
        };
        PerfError::Lost { address, reason }
    }
}

/// How much of the buffer a read filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filled {
    /// All there was room for: there may be more.
    Full,
    /// All there was in the socket.
    Partly,
}

/// An error when the method closes the channel or the connection.
pub(super) fn closed(method: &Method<'_>) -> Result<(), PerfError> {
    let (what, code, text) = match method {
        Method::ConnectionClose(close) => ("connection", close.reply_code, close.reply_text),
        Method::ChannelClose(close) => ("channel", close.reply_code, close.reply_text),
        _ => return Ok(()),
    };
    Err(PerfError::Closed { what, code, text: one_line(&text.to_string()) })
}
