//! A connection's reader: from bytes to commands, and the life of the socket around them.
//!
//! It owns the core's `Connection`, which knows the protocol; here is only when to read, what to do
//! with a batch and when to stop. Everything that one read brought is decoded into one batch of
//! commands and applied under one lock.
//!
//! ```text
//! accepted ── handshake ──► open ── read, decode, apply ──► ended ── last bytes out ──► closed
//!               │ refused, 10 s passed                        ▲ the client went, was silent or
//!               └────────────────► closed                     │ broke the protocol, or the core
//!                                                             └ has closed it
//! ```

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use leveret_codec::frame;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, timeout, timeout_at};

use super::buffer::ReadBuffer;
use super::connection_log::{ConnectionLog, ConnectionLogLimits, End, Unread};
use super::connection_memory::{Chosen, ConnectionMemory, ConnectionShare};
use super::heartbeat_monitor::HeartbeatMonitor;
use super::incoming::Incoming;
use super::writer::Writer;
use crate::auth::{AuthenticationFailure, Authenticator, Credentials, User};
use crate::broker::command::Command;
use crate::broker::connection::{Connection, ConnectionSettings, OpenRequest, Progress};
use crate::broker::error::{Checked, Fault};
use crate::connection_slots::{ConnectionSlot, ConnectionSlots};
use crate::handle::{Applied, Batch, Session};
use crate::outbox::Outbox;
use crate::tls::{self, Security};
use crate::vhosts::{ConnectionEnd, Vhosts};
use crate::write_timeout::WriteTimeout;

/// How long a socket stays half open after our last byte, for the client to read it.
///
/// why: closing a socket that has unread input resets it, and a reset makes the client's side throw
/// away what it has not read yet: the very message that says what was wrong.
const LINGER: Duration = Duration::from_secs(1);

/// A batch of at least this size lets others run before the next one is read.
///
/// why: the task that a batch woke waits on this very thread; reading on would make it wait for
/// many batches.
const LARGE_BATCH_BYTES: usize = 32 * 1024;

/// How often a blocked connection is looked at.
const BLOCKED_LOOK: Duration = Duration::from_secs(1);

/// The task of a connection's writer.
type Writing = JoinSet<io::Result<()>>;

/// What every connection needs.
#[derive(Clone)]
pub(super) struct Context {
    pub(super) vhosts: Vhosts,
    pub(super) authenticator: Arc<dyn Authenticator>,
    pub(super) settings: ConnectionSettings,
    pub(super) handshake_timeout: Duration,
    pub(super) connection_slots: Arc<ConnectionSlots>,
    pub(super) log_limits: Arc<ConnectionLogLimits>,
    pub(super) send_timeout: Duration,
    pub(super) connection_memory: Arc<ConnectionMemory>,
    /// True once the broker stops.
    pub(super) stopping: watch::Receiver<bool>,
}

/// What is known of a client before its first byte of AMQP.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
    /// When its connection must be open.
    pub(super) deadline: Instant,
    /// How it is secured, if it is.
    pub(super) security: Option<Arc<Security>>,
    pub(super) slot: ConnectionSlot,
}

/// Serves one client from the accepted socket to its end.
pub(super) async fn serve<R, W>(context: Arc<Context>, socket: R, mut writing: W, arrival: Arrival)
where
    R: Incoming,
    W: AsyncWrite + Unpin + Send + 'static,
{
    let outbox = Arc::new(Outbox::default());
    let mut stopping = context.stopping.clone();
    let Arrival { peer, deadline, .. } = arrival;
    let log_limits = context.log_limits.clone();
    let leave = arrival.slot.leave();
    let mut reader = Reader::new(context, socket, arrival, outbox.clone());
    let handshake = timeout_at(deadline, reader.shake_hands(&mut writing, &outbox));
    let opened = tokio::select! {
        opened = handshake => opened,
        // why: not logged each time: the refusal of slots has logged that there are too many.
        () = leave.notified() => return,
        _ = stopping.wait_for(|stopping| *stopping) => return,
    };
    match opened {
        Ok(Ok(Opened::Session(session, log))) => reader.run(session, outbox, writing, log).await,
        Ok(Ok(Opened::Refused { delay })) => tokio::select! {
            () = reader.dismiss(&mut writing, delay) => {}
            () = leave.notified() => {}
        },
        // why: a program that checks whether the port is open ends like this.
        Ok(Ok(Opened::Gone) | Err(_)) if reader.received == 0 => {
            tracing::debug!(%peer, "client left before it said anything");
        }
        Ok(Ok(Opened::Gone) | Err(_)) => {
            if log_limits.handshakes.allows() {
                tracing::warn!(%peer, "handshake: client unexpectedly closed TCP connection");
            }
        }
        // rabbitmq: no reply, the socket is closed.
        Err(_) => {
            if let Some(count) = reader.slot.note_slow() {
                tracing::warn!(%peer, count, "handshake took too long, connection closed");
            }
        }
    }
}

/// How a handshake ended.
enum Opened {
    /// The connection is open.
    Session(Session, Arc<ConnectionLog>),
    /// The client is to be dismissed after a delay.
    Refused { delay: Duration },
    /// The client went.
    Gone,
}

/// Why an open connection is not read from any more.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    /// The client closed the socket, or it broke.
    Gone,
    /// The client was silent for too long.
    Silent,
    /// The client broke the protocol in a way that leaves nothing to read; it is to be dismissed
    /// after a delay.
    Dismissed { delay: Duration },
    /// The writer has written the last frame.
    Written,
    /// The writer's socket failed.
    WriteFailed,
    /// The client has not read what it is sent.
    Unread(Unread),
}

struct Reader<R> {
    context: Arc<Context>,
    socket: R,
    peer: SocketAddr,
    local: SocketAddr,
    security: Option<Arc<Security>>,
    mechanism: &'static str,
    connection: Connection,
    slot: ConnectionSlot,
    /// What `connection` holds of messages that are not whole, and the outbox of answers.
    share: ConnectionShare,
    buffer: ReadBuffer,
    /// Bytes since the beginning.
    received: u64,
    /// Whether it is logged why the handshake fails.
    is_told: bool,
}

impl<R: Incoming> Reader<R> {
    fn new(context: Arc<Context>, socket: R, arrival: Arrival, outbox: Arc<Outbox>) -> Self {
        let Arrival { peer, local, security, slot, .. } = arrival;
        // rabbitmq: EXTERNAL is offered to a client without a certificate too, which learns more
        // from a login that is refused than from a mechanism that is not there.
        let external = security.as_ref().is_some_and(|it| it.asks_for_certificates);
        let connection =
            Connection::new(ConnectionSettings { external, ..context.settings.clone() });
        let (mechanism, buffer) = ("PLAIN", ReadBuffer::new());
        let share = ConnectionShare::new(context.connection_memory.clone(), outbox);
        Reader {
            context,
            socket,
            peer,
            local,
            security,
            mechanism,
            connection,
            slot,
            share,
            buffer,
            received: 0,
            is_told: false,
        }
    }

    /// From the first byte to an open connection. The core's answers go straight to the socket:
    /// there is no writer yet.
    async fn shake_hands<W: AsyncWrite + Unpin>(
        &mut self,
        writing: &mut W,
        outbox: &Arc<Outbox>,
    ) -> io::Result<Opened> {
        loop {
            let mut commands = Vec::new();
            let (used, progress) =
                self.connection.handle_input(self.buffer.filled(), &mut commands);
            debug_assert!(commands.is_empty(), "nothing can be commanded before the open");
            drop(commands);
            let output = self.connection.take_output();
            if output == frame::PROTOCOL_HEADER && self.told_once() {
                let header = self.buffer.filled()[..frame::PROTOCOL_HEADER.len()].escape_ascii();
                // rabbitmq: this word.
                tracing::warn!(peer = %self.peer, "handshake: bad_header {header}");
            }
            self.buffer.consume(used);
            writing.write_all(&output).await?;
            writing.flush().await?;
            match progress {
                Progress::More => {
                    let is_first = self.received == 0;
                    if !self.read().await? {
                        return Ok(Opened::Gone);
                    }
                    if is_first && tls::begins_tls(self.buffer.filled()) && self.told_once() {
                        let peer = self.peer;
                        tracing::warn!(%peer, "client speaks TLS, and this port does not");
                    }
                }
                Progress::Authenticate(credentials) => {
                    self.mechanism = credentials.mechanism;
                    let result = self.authenticate(credentials).await;
                    self.connection.handle_authenticated(result);
                }
                Progress::Open(request) => match self.open(*request, outbox).await {
                    Ok((session, log)) => {
                        self.connection.handle_opened(Ok(()));
                        self.buffer.may_grow();
                        writing.write_all(&self.connection.take_output()).await?;
                        writing.flush().await?;
                        return Ok(Opened::Session(session, log));
                    }
                    Err(fault) => self.connection.handle_opened(Err(fault)),
                },
                Progress::End { delay_ms } => {
                    if self.told_once() {
                        let peer = self.peer;
                        tracing::warn!(%peer, "handshake: the client does not keep to the protocol");
                    }
                    return Ok(Opened::Refused { delay: Duration::from_millis(delay_ms) });
                }
            }
        }
    }

    /// Whether to log why this handshake fails: once, and if the log has room for it.
    fn told_once(&mut self) -> bool {
        !std::mem::replace(&mut self.is_told, true) && self.context.log_limits.handshakes.allows()
    }

    /// Enters a virtual host, if there is room.
    ///
    /// rabbitmq: the limit of the node is looked at before everything else.
    async fn open(
        &mut self,
        OpenRequest { vhost, info }: OpenRequest,
        outbox: &Arc<Outbox>,
    ) -> Checked<(Session, Arc<ConnectionLog>)> {
        let log = Arc::new(ConnectionLog::new(
            self.context.log_limits.clone(),
            (self.peer, self.local),
            info.client_properties.as_table(),
            &info.user.name,
            &vhost,
        ));
        // What refuses it from here on is logged here, or with a count.
        self.is_told = true;
        self.slot.open().map_err(Fault::NodeConnectionLimit)?;
        let end = ConnectionEnd {
            address: self.peer,
            local: self.local,
            mechanism: self.mechanism,
            security: self.security.clone(),
        };
        match self.context.vhosts.open(&vhost, info, end, outbox.clone()).await {
            Ok(session) => {
                log.opened();
                Ok((session, log))
            }
            Err(fault) => {
                self.slot.close();
                log.refused(&fault);
                Err(fault)
            }
        }
    }

    async fn authenticate(
        &mut self,
        mut credentials: Credentials,
    ) -> Result<User, AuthenticationFailure> {
        let named = credentials.is_external().then(|| self.user_of_certificate());
        let result = match named.transpose() {
            Ok(user) => {
                credentials.user = user.unwrap_or(credentials.user);
                self.context.authenticator.authenticate(&credentials, self.peer).await
            }
            Err(failure) => Err(failure),
        };
        if let Err(failure) = &result
            && self.told_once()
        {
            let Credentials { user, mechanism, .. } = &credentials;
            tracing::warn!(peer = %self.peer, user, mechanism, %failure, "login refused");
        }
        result
    }

    fn user_of_certificate(&self) -> Result<String, AuthenticationFailure> {
        // invariant: the core takes EXTERNAL where it was told that there is a certificate to ask.
        let security = self.security.as_ref().ok_or(AuthenticationFailure::NoCertificate)?;
        security.user().map(str::to_owned)
    }

    /// From the open connection to its end. The core gets the disconnect when `session` is dropped.
    async fn run<W>(
        &mut self,
        session: Session,
        outbox: Arc<Outbox>,
        socket: W,
        log: Arc<ConnectionLog>,
    ) where
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let send_timeout = self.context.send_timeout;
        let writer = Writer {
            socket: WriteTimeout::new(socket, send_timeout),
            outbox: outbox.clone(),
            write_receipts: session.write_receipts(),
            frame_max: self.connection.frame_max(),
            heartbeat_secs: self.connection.heartbeat_secs(),
            log: log.clone(),
        };
        // A set, since it ends its task when it is dropped: no writer outlives its reader.
        let mut writing = JoinSet::new();
        writing.spawn(writer.run());
        let ended = self.read_until_end(&session, &outbox, &mut writing).await;
        let end = match ended {
            Ended::Silent => End::Silent,
            Ended::Unread(unread) => End::Unread(unread),
            Ended::Gone | Ended::WriteFailed if !session.is_closing().await => End::Vanished,
            _ => End::InOrder,
        };
        match ended {
            // Its half of the socket is closed behind its close: it may still read the answer.
            Ended::Gone if end == End::InOrder => {
                outbox.close();
                // Whether it has read it does not matter any more.
                let _ = timeout(LINGER, writing.join_next()).await;
            }
            Ended::Gone | Ended::WriteFailed | Ended::Silent | Ended::Unread(_) => {}
            Ended::Written => {
                drop(session);
                self.discard(LINGER).await;
            }
            Ended::Dismissed { delay } => {
                self.discard(delay).await;
                drop(session);
                outbox.close();
                if matches!(timeout(LINGER, writing.join_next()).await, Ok(Some(Ok(Ok(()))))) {
                    self.discard(LINGER).await;
                }
            }
        }
        log.ended(end, self.connection.heartbeat_secs());
    }

    async fn read_until_end(
        &mut self,
        session: &Session,
        outbox: &Outbox,
        writing: &mut Writing,
    ) -> Ended {
        let mut commands = Vec::new();
        let mut monitor = HeartbeatMonitor::new(self.connection.heartbeat_secs(), self.received);
        let mut is_over = false;
        let chosen = self.share.chosen();
        loop {
            let applied = self.apply(session, outbox, writing, &mut monitor, commands).await;
            let (used, progress, kept, blocked) = match applied {
                Ok(applied) => applied,
                Err(ended) => return ended,
            };
            commands = kept;
            match progress {
                Progress::More => {}
                Progress::End { delay_ms } => {
                    return Ended::Dismissed { delay: Duration::from_millis(delay_ms) };
                }
                Progress::Authenticate(_) | Progress::Open(_) => {
                    debug_assert!(false, "an open connection is opened once");
                    return Ended::Gone;
                }
            }
            if blocked {
                let waited =
                    wait_while_blocked(&self.socket, session, &chosen, writing, &mut monitor);
                // Whether it is to give up what it holds is asked when that is applied.
                if let Err(ended) = waited.await {
                    return ended;
                }
            }
            if used >= LARGE_BATCH_BYTES {
                tokio::task::yield_now().await;
            }
            loop {
                tokio::select! {
                    biased;
                    written = writing.join_next() => return end_of_writing(written.as_ref()),
                    () = monitor.tick() => {
                        if monitor.is_quiet(self.received) {
                            self.buffer.shrink();
                            commands = Vec::new();
                        }
                        // why: a client that does not read never gets the last frame; without
                        // heartbeats nothing else would end it.
                        if session.has_ended() && std::mem::replace(&mut is_over, true) {
                            return Ended::WriteFailed;
                        }
                        if self.is_lost(&mut monitor, session, outbox) {
                            return Ended::Silent;
                        }
                    }
                    () = chosen.wait() => break,
                    read = self.read_when_there_is_room(session, outbox) => match read {
                        Ok(true) => break,
                        Ok(false) => return Ended::Gone,
                        Err(error) => {
                            tracing::debug!(peer = %self.peer, %error, "socket failed");
                            return Ended::Gone;
                        }
                    },
                }
            }
        }
    }

    /// Decodes what was read into commands and applies them as one batch. Returns how much that
    /// was, what comes next, the list, empty, for its memory, and whether an alarm blocks the client; or how
    /// the connection ended meanwhile.
    async fn apply(
        &mut self,
        session: &Session,
        outbox: &Outbox,
        writing: &mut Writing,
        monitor: &mut HeartbeatMonitor,
        mut commands: Vec<Command<'static>>,
    ) -> Result<(usize, Progress, Vec<Command<'static>>, bool), Ended> {
        let chosen = self.share.chosen();
        let (used, progress, kept, blocked) = {
            let mut list: Vec<Command<'_>> = std::mem::take(&mut commands);
            let (used, progress) = self.connection.handle_input(self.buffer.filled(), &mut list);
            let partial = self.connection.pending_octets() + self.buffer.filled().len() - used;
            if !self.share.set(partial) {
                give_up(&mut self.connection, &self.share, &mut list)?;
            }
            let mut batch = Batch::new(list);
            let blocked = loop {
                if batch.is_empty() {
                    break false;
                }
                let applied = session.apply(&mut batch).await;
                if let Applied::All { blocked } = applied {
                    break blocked;
                }
                // why: a message that waits to be published is as much held as one that is not whole.
                self.share.set(partial + batch.waiting_octets());
                match applied {
                    Applied::All { .. } => {}
                    Applied::Blocked => {
                        let waited =
                            wait_while_blocked(&self.socket, session, &chosen, writing, monitor);
                        if !waited.await? {
                            let mut list = Vec::new();
                            give_up(&mut self.connection, &self.share, &mut list)?;
                            batch = Batch::new(list);
                        }
                    }
                    Applied::NoRoom => {
                        let (socket, received) = (&self.socket, self.received);
                        let waited =
                            wait_for_room(socket, received, session, outbox, writing, monitor);
                        tokio::select! {
                            waited = waited => waited?,
                            // why: what it holds is for the most part what it does not read.
                            () = chosen.wait() => {
                                let bytes = outbox.answer_bytes();
                                return Err(Ended::Unread(Unread::TooMuch(bytes)));
                            }
                        }
                    }
                }
                self.share.set(partial);
            };
            (used, progress, recycle(batch.into_list()), blocked)
        };
        self.buffer.consume(used);
        Ok((used, progress, kept, blocked))
    }

    /// Reads more, but not while the client lets too much wait or the disk has too much to write.
    ///
    /// May be dropped at any time; no bytes are lost.
    async fn read_when_there_is_room(
        &mut self,
        session: &Session,
        outbox: &Outbox,
    ) -> io::Result<bool> {
        outbox.wait_for_room().await;
        session.wait_for_log().await;
        let result = self.read().await;
        session.note_received(self.received);
        result
    }

    /// Reads what is there, at least one byte; false at the end of the stream.
    async fn read(&mut self) -> io::Result<bool> {
        self.socket.read_buf(self.buffer.space()).await?;
        let bytes = self.buffer.fill();
        self.received += bytes as u64;
        Ok(bytes > 0)
    }

    /// Whether the heartbeat monitor gives the client up.
    fn is_lost(&self, monitor: &mut HeartbeatMonitor, session: &Session, outbox: &Outbox) -> bool {
        // why: what we do not read because our disk is slow cannot be held against the client.
        if !session.vhost().log().has_room() {
            return false;
        }
        // why: a client that reads is alive, even if we do not read from it until it has read more.
        let activity = if outbox.has_room() { 0 } else { outbox.written() };
        monitor.is_lost(self.received + activity)
    }

    /// Lets a refused client wait, then see the end of the stream.
    async fn dismiss<W: AsyncWrite + Unpin>(&mut self, writing: &mut W, delay: Duration) {
        self.discard(delay).await;
        if writing.shutdown().await.is_ok() {
            self.discard(LINGER).await;
        }
    }

    /// Reads and forgets until the client closes the socket or the time is over.
    async fn discard(&mut self, time: Duration) {
        let reading = async {
            while let Ok(true) = self.read().await {
                self.buffer.consume(self.buffer.filled().len());
            }
        };
        // Either way it is over.
        let _ = timeout(time, reading).await;
    }
}

/// A connection gives up what it holds, since that is too much: instead of it comes the fault that ends it.
fn give_up(
    connection: &mut Connection,
    share: &ConnectionShare,
    commands: &mut Vec<Command<'_>>,
) -> Result<(), Ended> {
    if let Some(bytes) = share.is_mostly_answers() {
        return Err(Ended::Unread(Unread::TooMuch(bytes)));
    }
    connection.handle_shortage(commands);
    share.give_up();
    Ok(())
}

/// Waits while an alarm blocks the client. Says whether it goes on; if not, it is to give up what it holds.
async fn wait_while_blocked<R: Incoming>(
    socket: &R,
    session: &Session,
    chosen: &Chosen,
    writing: &mut Writing,
    monitor: &mut HeartbeatMonitor,
) -> Result<bool, Ended> {
    while session.is_blocked().await {
        // rabbitmq: while it is blocked a silent client is not given up.
        tokio::select! {
            biased;
            written = writing.join_next() => return Err(end_of_writing(written.as_ref())),
            () = session.wait_until_unblocked() => {}
            () = chosen.wait() => return Ok(false),
            // why: a connection that is closed meanwhile must be read from, for its close-ok.
            () = tokio::time::sleep(BLOCKED_LOOK) => {}
        }
        if socket.is_hung_up() {
            return Err(Ended::Gone);
        }
        monitor.reset();
    }
    Ok(true)
}

/// Waits until there is room in the outbox for what a client has asked for, or the connection ends.
async fn wait_for_room<R: Incoming>(
    socket: &R,
    received: u64,
    session: &Session,
    outbox: &Outbox,
    writing: &mut Writing,
    monitor: &mut HeartbeatMonitor,
) -> Result<(), Ended> {
    loop {
        tokio::select! {
            biased;
            written = writing.join_next() => return Err(end_of_writing(written.as_ref())),
            () = session.wait_for_room() => return Ok(()),
            () = monitor.tick() => {
                // why: a client that reads is alive, even if we do not read from it until it has read more.
                if monitor.is_lost(received + outbox.written()) {
                    return Err(Ended::Silent);
                }
            }
            () = tokio::time::sleep(BLOCKED_LOOK) => {
                if socket.is_hung_up() {
                    return Err(Ended::Gone);
                }
            }
        }
    }
}

/// How the connection ends when its writer has.
fn end_of_writing(written: Option<&Result<io::Result<()>, JoinError>>) -> Ended {
    match written {
        Some(Ok(Ok(()))) => Ended::Written,
        Some(Ok(Err(error))) if error.kind() == io::ErrorKind::TimedOut => {
            Ended::Unread(Unread::TimedOut)
        }
        _ => Ended::WriteFailed,
    }
}

/// The same list for another batch: none of the old commands, all of their memory.
///
/// why: commands borrow from the read buffer, so that a list of them cannot outlive the read. With
/// nothing in it, collecting it "in place" is a change of type that keeps the allocation.
fn recycle<'b>(mut commands: Vec<Command<'_>>) -> Vec<Command<'b>> {
    commands.clear();
    commands.into_iter().map(|_| unreachable!("the list was cleared")).collect()
}

#[cfg(test)]
mod tests;
