//! A virtual host and one client of it, without what is between them.

use leveret::broker::access::User;
use leveret::broker::command::{Command, Handled, Outgoing};
use leveret::broker::connection::{Connection, ConnectionSettings, Progress};
use leveret::broker::message::Message;
use leveret::broker::record::{Lsn, Record};
use leveret::broker::time::Time;
use leveret::broker::vhost::{ConnectionId, Vhost, VhostSettings};
use leveret_codec::method::{basic, channel, connection, queue};
use leveret_codec::table::Table;
use leveret_codec::{Encode, Method, encode, frame};

use crate::{FRAME_MAX, short};

/// The channel of a rig's client.
pub const CHANNEL: u16 = 1;

/// Time stands still: nothing in a bench is to expire.
const NOW: Time = Time::from_millis(1_000_000);

/// A virtual host with one client, whose channel [`CHANNEL`] is open.
pub struct Rig {
    vhost: Vhost,
    connection: Connection,
    id: ConnectionId,
    /// The list of a read's commands; empty between reads and kept for its memory.
    commands: Vec<Command<'static>>,
    /// What came out of the vhost and is not gone yet: the outbox, in a broker.
    outgoing: Vec<Outgoing>,
    /// Where it is encoded.
    buffer: Vec<u8>,
    records: Vec<Record>,
    /// The place of the last record that was taken.
    lsn: Lsn,
}

/// What a batch led to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Messages that were delivered, or fetched with basic.get.
    pub messages: u64,
    /// The delivery tag of the last of them; zero when there was none.
    pub delivery_tag: u64,
    /// Octets that their frames and those of replies took, if they were encoded.
    pub octets: usize,
    /// Records that were made.
    pub records: usize,
}

impl Default for Rig {
    fn default() -> Self {
        Self::new()
    }
}

impl Rig {
    /// An empty virtual host and a client that has opened its channel.
    pub fn new() -> Self {
        let mut vhost = Vhost::new("/", &VhostSettings::default());
        let mut connection = Connection::new(ConnectionSettings::default());
        let id = shake_hands(&mut vhost, &mut connection);
        let mut rig = Rig {
            vhost,
            connection,
            id,
            commands: Vec::new(),
            outgoing: Vec::new(),
            buffer: Vec::new(),
            records: Vec::new(),
            lsn: Lsn(0),
        };
        rig.call(&channel::Open::default());
        rig
    }

    /// Sends a method on the channel and drops the answer.
    ///
    /// # Panics
    /// When the answer closes the channel or the connection: the bench is wrong.
    pub fn call(&mut self, method: &impl Encode) {
        let mut octets = Vec::new();
        encode::method(&mut octets, CHANNEL, method);
        self.input(&octets);
        self.write();
        let closes =
            self.buffer.windows(4).any(|ids| ids == [0, 20, 0, 40] || ids == [0, 10, 0, 50]);
        assert!(!closes, "refused: {}", String::from_utf8_lossy(&self.buffer));
    }

    /// Declares a queue.
    pub fn declare(&mut self, name: &str, durable: bool, arguments: Table<'_>) {
        self.call(&queue::Declare { queue: short(name), durable, arguments, ..Default::default() });
    }

    /// Consumes from a queue. With `no_ack` nothing is to be acknowledged.
    pub fn consume(&mut self, queue: &str, no_ack: bool) {
        self.call(&basic::Consume { queue: short(queue), no_ack, ..Default::default() });
    }

    /// Takes octets as one read brings them, whole frames, and applies all commands in them. The
    /// batch is still to be ended.
    ///
    /// # Panics
    /// When the octets are no whole frames.
    pub fn input(&mut self, octets: &[u8]) {
        let mut commands = emptied(std::mem::take(&mut self.commands));
        let (used, progress) = self.connection.handle_input(octets, &mut commands);
        assert!(used == octets.len() && matches!(progress, Progress::More), "whole frames");
        for command in commands.drain(..) {
            self.apply(command);
        }
        self.commands = emptied(commands);
    }

    /// Publishes a message whose octets were decoded before. The batch is still to be ended.
    pub fn publish(&mut self, message: &Message) {
        let message = message.clone();
        let (mandatory, immediate) = (false, false);
        self.apply(Command::Publish { channel: CHANNEL, mandatory, immediate, message });
    }

    /// Applies a method that was decoded before. The batch is still to be ended.
    pub fn method<'a>(&mut self, method: impl Into<Method<'a>>) {
        self.apply(Command::Method { channel: CHANNEL, method: method.into() });
    }

    /// Ends the batch and drops what comes out.
    pub fn finish(&mut self) -> Batch {
        self.end_batch(false)
    }

    /// Ends the batch and encodes what comes out, as a connection's writer does.
    pub fn write(&mut self) -> Batch {
        self.end_batch(true)
    }

    fn apply(&mut self, command: Command<'_>) {
        let mut handled = self.vhost.handle_command(NOW, self.id, command);
        while let Handled::Waits { command, .. } = handled {
            self.vhost.finish_batch(NOW);
            self.vhost.handle_timeout(NOW);
            handled = self.vhost.handle_command(NOW, self.id, command);
        }
    }

    /// Drains outputs and records until there is nothing any more, since room in the outbox lets
    /// more come; records count as synced at once.
    fn end_batch(&mut self, encodes: bool) -> Batch {
        let mut batch = Batch::default();
        self.buffer.clear();
        loop {
            self.vhost.finish_batch(NOW);
            let outgoing = &mut self.outgoing;
            // why: lists are swapped, as outboxes do it, so that none is ever allocated twice.
            self.vhost.drain_outputs(|_, outputs| std::mem::swap(outgoing, outputs));
            self.vhost.take_records(&mut self.records);
            if self.outgoing.is_empty() && self.records.is_empty() {
                return batch;
            }
            let mut written = 0;
            for item in self.outgoing.drain(..) {
                written += item.size();
                if encodes {
                    item.encode(&mut self.buffer, FRAME_MAX);
                }
                batch.note(&item);
            }
            batch.octets = self.buffer.len();
            batch.records += self.records.len();
            self.lsn.0 += self.records.len() as u64;
            self.records.clear();
            self.vhost.handle_written(NOW, self.id, written);
            self.vhost.handle_synced(NOW, self.lsn);
        }
    }
}

impl Batch {
    fn note(&mut self, item: &Outgoing) {
        let delivery_tag = match item {
            Outgoing::Deliver(delivery) => delivery.delivery_tag,
            Outgoing::GetOk { delivery_tag, .. } => *delivery_tag,
            _ => return,
        };
        self.messages += 1;
        self.delivery_tag = delivery_tag;
    }
}

/// The memory of a list of commands, for commands that borrow from another read: as the server keeps
/// it from one read to the next.
fn emptied<'b>(mut commands: Vec<Command<'_>>) -> Vec<Command<'b>> {
    commands.clear();
    commands.into_iter().map(|_| unreachable!("the list is empty")).collect()
}

/// Takes a connection through the handshake and into the virtual host.
fn shake_hands(vhost: &mut Vhost, connection: &mut Connection) -> ConnectionId {
    let start_ok = connection::StartOk {
        mechanism: short("PLAIN"),
        response: b"\0guest\0guest",
        locale: short("en_US"),
        ..Default::default()
    };
    let tune_ok = connection::TuneOk { channel_max: 2047, frame_max: FRAME_MAX, heartbeat: 0 };
    let open = connection::Open { virtual_host: short("/"), ..Default::default() };
    let mut octets = frame::PROTOCOL_HEADER.to_vec();
    encode::method(&mut octets, 0, &start_ok);
    encode::method(&mut octets, 0, &tune_ok);
    encode::method(&mut octets, 0, &open);
    let mut rest = octets.as_slice();
    loop {
        let (used, progress) = connection.handle_input(rest, &mut Vec::new());
        rest = &rest[used..];
        match progress {
            Progress::Authenticate(credentials) => {
                connection.handle_authenticated(Ok(User::new(credentials.user)));
            }
            Progress::Open(request) => {
                connection.handle_opened(Ok(()));
                return vhost.handle_open(NOW, request.info);
            }
            Progress::More | Progress::End { .. } => panic!("the handshake ends before the open"),
        }
    }
}
