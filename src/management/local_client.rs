//! A client without a socket: it enters a virtual host as the user who asks, sends commands and
//! reads the answers out of its outbox.
//!
//! So whatever the API does that a client of AMQP could do as well takes the same way, with the same
//! checks and the same texts. It lives as long as one request: what it holds unacknowledged goes
//! back to its queue when it is dropped.
//!
//! rabbitmq: has the same, its "direct" connections. Here lists do not show them, and limits on
//! connections do not count them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use leveret_codec::method::{channel, confirm};
use leveret_codec::{Decoder, Method, ReplyCode, TableBuf};

use super::AppState;
use super::access::Caller;
use super::answer::Failure;
use crate::broker::command::{Command, Outgoing};
use crate::broker::connection::ConnectionInfo;
use crate::broker::error::Fault;
use crate::broker::limits;
use crate::broker::message::Message;
use crate::handle::{Applied, Batch, ConnectionPeer, OnClose, Session, WriteReceipts};
use crate::outbox::Outbox;

/// A mechanism that no other client has: this one did not log in with AMQP.
const MECHANISM: &str = "direct";

/// The one channel of such a client.
const CHANNEL: u16 = 1;

/// How long the answer to a command may take. Only a confirm waits for anything, the disk.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Whether this is the end of a local client, which lists leave out.
pub(super) fn is_local(peer: &ConnectionPeer) -> bool {
    peer.mechanism == MECHANISM
}

/// A client of this user in a virtual host, with a channel that is open.
pub(super) struct LocalClient {
    session: Session,
    outbox: Arc<Outbox>,
    receipts: WriteReceipts,
    answers: VecDeque<Answer>,
}

/// What the broker says to a local client.
#[derive(Debug)]
pub(super) enum Answer {
    /// A method with nothing of interest in it: it is done.
    Done,
    /// basic.get-ok.
    Got(Got),
    /// basic.get-empty.
    Empty,
    /// basic.ack or basic.nack for what was published.
    Confirmed(bool),
    /// basic.return.
    Returned,
    /// The channel or the connection is closed.
    Refused(Refusal),
}

/// A message that was fetched.
#[derive(Debug)]
pub(super) struct Got {
    pub(super) delivery_tag: u64,
    pub(super) redelivered: bool,
    pub(super) message_count: u32,
    pub(super) message: Message,
}

/// Why a local client does not get what it asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The broker closed the channel, or the connection.
    Fault(Box<Fault>),
    /// The answer did not come in time.
    NoAnswer,
}

impl Refusal {
    /// As RabbitMQ tells it of what is declared, bound and deleted: 404 and 401, or 400 with the
    /// explanation.
    pub(super) fn of_definition(&self) -> Failure {
        let Refusal::Fault(fault) = self else { return no_answer() };
        match fault.code() {
            ReplyCode::NotFound => Failure::not_found(explanation(fault)),
            ReplyCode::AccessRefused | ReplyCode::NotAllowed => access_refused(),
            _ => Failure::bad_request(explanation(fault)),
        }
    }

    /// As RabbitMQ tells it of what is fetched and purged: 404 and 401 with the text, or 400 with
    /// the code as well.
    pub(super) fn of_use(&self) -> Failure {
        let Refusal::Fault(fault) = self else { return no_answer() };
        match fault.code() {
            ReplyCode::NotFound => Failure::not_found(reply_text(fault)),
            ReplyCode::AccessRefused => Failure::not_authorised(reply_text(fault)),
            _ => self.of_publish(),
        }
    }

    /// As RabbitMQ tells it of what is published: 400 with the code and the text.
    pub(super) fn of_publish(&self) -> Failure {
        let Refusal::Fault(fault) = self else { return no_answer() };
        Failure::bad_request(format!("{} {}", fault.code().code(), reply_text(fault)))
    }
}

fn reply_text(fault: &Fault) -> String {
    String::from_utf8_lossy(&fault.reply_text()).into_owned()
}

fn explanation(fault: &Fault) -> String {
    String::from_utf8_lossy(&fault.explanation()).into_owned()
}

fn no_answer() -> Failure {
    Failure::internal("the broker did not answer in time")
}

fn access_refused() -> Failure {
    Failure::not_authorised("Access refused.")
}

impl LocalClient {
    /// Enters a virtual host, in which the user may do what its permissions say; nothing when it
    /// has none.
    pub(super) async fn open(
        app: &AppState,
        caller: &Caller,
        vhost: &str,
    ) -> Result<Self, Failure> {
        let handle = app.vhost(vhost)?;
        let mut rights = caller.rights(app, vhost);
        rights.max_channels = None;
        let name = format!("{} -> {} ({MECHANISM})", caller.ends.peer, caller.ends.local);
        let info = ConnectionInfo {
            name: name.clone(),
            user: caller.user.clone(),
            channel_max: CHANNEL,
            frame_max: limits::FRAME_MAX,
            heartbeat_secs: 0,
            consumer_cancel_notify: false,
            connection_blocked: false,
            // rabbitmq: nor do its direct connections: a request is answered during an alarm too.
            obeys_alarms: false,
            client_properties: TableBuf::default(),
            rights: Arc::new(rights),
        };
        let peer = Arc::new(ConnectionPeer {
            name,
            address: caller.ends.peer,
            local: caller.ends.local,
            connected_at: app.vhosts.now(),
            mechanism: MECHANISM,
            security: None,
            received: AtomicU64::new(0),
            room: Arc::default(),
        });
        let outbox = Arc::new(Outbox::default());
        let session = handle
            .open(info, peer, outbox.clone(), OnClose::new(|| {}))
            .await
            .map_err(|fault| Failure::bad_request(reply_text(&fault)))?;
        let receipts = session.write_receipts();
        let mut client = LocalClient { session, outbox, receipts, answers: VecDeque::new() };
        client.cast([Method::ChannelOpen(channel::Open::default())]).await;
        Ok(client)
    }

    /// The same for what RabbitMQ opens a connection for: a user without permissions in the virtual
    /// host is refused at the door.
    pub(super) async fn enter(
        app: &AppState,
        caller: &Caller,
        vhost: &str,
    ) -> Result<Self, Failure> {
        if !caller.may_enter(app, vhost) {
            return Err(access_refused());
        }
        LocalClient::open(app, caller, vhost).await
    }

    /// Sends a method and waits for its answer.
    pub(super) async fn call(&mut self, method: Method<'_>) -> Result<Answer, Refusal> {
        self.cast([method]).await;
        self.answer().await
    }

    /// Sends methods, all at once, and does not wait.
    pub(super) async fn cast<'a>(&mut self, methods: impl IntoIterator<Item = Method<'a>>) {
        let command = |method| Command::Method { channel: CHANNEL, method };
        self.apply(methods.into_iter().map(command).collect()).await;
    }

    async fn apply(&mut self, commands: Vec<Command<'_>>) {
        let mut batch = Batch::new(commands);
        while self.session.apply(&mut batch).await == Applied::NoRoom {
            let mut outgoing = Vec::new();
            if !self.outbox.take(&mut outgoing).await {
                return;
            }
            self.read_all(outgoing);
        }
    }

    /// Reads what was sent; there is room for as much again.
    fn read_all(&mut self, outgoing: Vec<Outgoing>) {
        self.receipts.written(outgoing.iter().map(Outgoing::size).sum());
        outgoing.into_iter().for_each(|item| self.read(item));
    }

    /// Publishes a message and waits until it is safe. Says whether it was routed and whether it was
    /// taken.
    pub(super) async fn publish(&mut self, message: Message) -> Result<(bool, bool), Refusal> {
        self.call(Method::ConfirmSelect(confirm::Select { nowait: false })).await?;
        let (mandatory, immediate) = (true, false);
        let publish = Command::Publish { channel: CHANNEL, mandatory, immediate, message };
        self.apply(vec![publish]).await;
        let mut routed = true;
        loop {
            match self.answer().await? {
                Answer::Returned => routed = false,
                Answer::Confirmed(taken) => return Ok((routed, taken)),
                _ => {}
            }
        }
    }

    /// The next answer.
    pub(super) async fn answer(&mut self) -> Result<Answer, Refusal> {
        loop {
            match self.answers.pop_front() {
                Some(Answer::Refused(refusal)) => return Err(refusal),
                Some(answer) => return Ok(answer),
                None => {}
            }
            let mut outgoing = Vec::new();
            match tokio::time::timeout(TIMEOUT, self.outbox.take(&mut outgoing)).await {
                Ok(true) => self.read_all(outgoing),
                Ok(false) | Err(_) => {
                    return Err(Refusal::NoAnswer);
                }
            }
        }
    }

    fn read(&mut self, outgoing: Outgoing) {
        match outgoing {
            Outgoing::Frames(frames) => self.read_frames(&frames),
            Outgoing::GetOk { delivery_tag, redelivered, message_count, message, .. } => {
                let got = Got { delivery_tag, redelivered, message_count, message };
                self.answers.push_back(Answer::Got(got));
            }
            Outgoing::Return { .. } => self.answers.push_back(Answer::Returned),
            Outgoing::Close { at_fault, .. } => {
                self.answers.push_back(Answer::Refused(Refusal::Fault(at_fault.fault)));
            }
            Outgoing::Deliver(_) | Outgoing::End => {}
        }
    }

    fn read_frames(&mut self, frames: &[u8]) {
        // invariant: the broker's own frames can be decoded.
        let decoder = Decoder::new(limits::FRAME_MAX);
        let mut rest = frames;
        while let Ok(Some((frame, length))) = decoder.decode(rest) {
            if let Ok(method) = Method::decode(frame.payload) {
                self.answers.extend(answer_of(&method));
            }
            rest = &rest[length..];
        }
    }
}

fn answer_of(method: &Method<'_>) -> Option<Answer> {
    match method {
        Method::ConnectionOpenOk(_) | Method::ChannelOpenOk(_) => None,
        Method::BasicGetEmpty(_) => Some(Answer::Empty),
        Method::BasicAck(_) => Some(Answer::Confirmed(true)),
        Method::BasicNack(_) => Some(Answer::Confirmed(false)),
        _ => Some(Answer::Done),
    }
}
