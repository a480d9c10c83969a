//! A broker without sockets, tasks or a clock, that is fed octets by many clients, and says at once
//! when something in it does not add up.

use leveret::broker::access::{AuthenticationFailure, User};
use leveret::broker::command::{Handled, Outgoing};
use leveret::broker::connection::{Connection, ConnectionSettings, Progress};
use leveret::broker::error::Fault;
use leveret::broker::record::{Lsn, Record};
use leveret::broker::time::Time;
use leveret::broker::vhost::{ConnectionId, Vhost, VhostSettings};
use leveret_codec::decode::ContentHeader;
use leveret_codec::{Decoder, Method, Properties, frame};

use crate::support::steps::StepMeter;

/// The largest message that is taken: small, so that limits are reached.
const MESSAGE_SIZE: u64 = 100_000;

/// A virtual host and its clients.
pub(crate) struct Machine {
    vhost: Vhost,
    now: Time,
    wires: Vec<Wire>,
    records: Vec<Record>,
    /// Records that were made, for whoever keeps them.
    kept: Vec<Record>,
    written: Lsn,
    meter: StepMeter,
}

/// One client's connection, seen from the broker.
struct Wire {
    connection: Connection,
    id: Option<ConnectionId>,
    /// Octets that came and are not used up.
    input: Vec<u8>,
    output: Vec<u8>,
    /// The socket is closed, or about to be.
    has_ended: bool,
    /// Octets that came in all.
    received: usize,
}

impl Machine {
    pub(crate) fn new() -> Self {
        Machine {
            vhost: Vhost::new("/", &VhostSettings { seed: 1.into(), ..Default::default() }),
            now: Time::from_millis(1_000_000),
            wires: Vec::new(),
            records: Vec::new(),
            kept: Vec::new(),
            written: Lsn(0),
            meter: StepMeter::default(),
        }
    }

    /// A new client; returns its number.
    pub(crate) fn connect(&mut self) -> usize {
        let settings = ConnectionSettings { max_message_size: MESSAGE_SIZE, ..Default::default() };
        self.wires.push(Wire {
            connection: Connection::new(settings),
            id: None,
            input: Vec::new(),
            output: Vec::new(),
            has_ended: false,
            received: 0,
        });
        self.wires.len() - 1
    }

    /// Octets come from a client.
    pub(crate) fn feed(&mut self, wire: usize, octets: &[u8]) {
        let wire = &mut self.wires[wire];
        if wire.has_ended {
            return;
        }
        wire.input.extend_from_slice(octets);
        wire.received += octets.len();
        let input = std::mem::take(&mut wire.input);
        let used = wire.take(&input, &mut self.vhost, self.now, &mut self.meter);
        wire.input = input[used..].to_vec();
        let frame_max = wire.connection.frame_max() as usize + frame::OVERHEAD;
        assert!(wire.input.len() < frame_max + 8, "{} octets wait", wire.input.len());
        let pending = wire.connection.pending_octets();
        // A buffer grows by doubling, and each message that has begun has a little of its own.
        assert!(pending <= 30 * wire.received + 1000, "{pending} of {}", wire.received);
        self.finish(input.len(), 0);
    }

    /// A client is gone.
    pub(crate) fn disconnect(&mut self, wire: usize) {
        let wire = &mut self.wires[wire];
        wire.has_ended = true;
        wire.input = Vec::new();
        wire.output = Vec::new();
        if let Some(id) = wire.id.take() {
            self.vhost.handle_disconnect(self.now, id);
        }
        self.finish(0, 0);
    }

    /// Time passes, and what is due on the way happens.
    pub(crate) fn pass_ms(&mut self, ms: u64) {
        let end = self.now.plus_millis(ms);
        // Whatever is due again and again must not go on for ever in no time.
        for _ in 0..10_000 {
            let Some(next) = self.vhost.next_deadline().filter(|next| *next <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(next);
            // Once a minute all deliveries are looked at; and what exchanges hold back is of what was published.
            let all = self.vhost.snapshot();
            let visited = all.channels + all.messages_unacknowledged;
            let visited = visited + all.statistics.publish as usize;
            self.vhost.handle_timeout(self.now);
            self.finish(0, visited);
        }
        panic!("time does not pass: the next deadline is {:?}", self.vhost.next_deadline());
    }

    /// What a client was sent since the last time.
    pub(crate) fn take_output(&mut self, wire: usize) -> Vec<u8> {
        std::mem::take(&mut self.wires[wire].output)
    }

    /// What was to be made durable since the last time.
    pub(crate) fn take_records(&mut self) -> Vec<Record> {
        std::mem::take(&mut self.kept)
    }

    /// Whether the broker has closed a client's socket.
    pub(crate) fn has_ended(&self, wire: usize) -> bool {
        self.wires[wire].has_ended
    }

    /// All clients go: nothing of them stays but what they declared for others.
    pub(crate) fn end(mut self) {
        for wire in 0..self.wires.len() {
            self.disconnect(wire);
        }
        let left = self.vhost.snapshot();
        assert_eq!((left.connections, left.channels, left.consumers), (0, 0, 0));
        assert_eq!(left.messages_unacknowledged, 0);
        let exclusive = self.vhost.queues().into_iter().find(|queue| queue.exclusive);
        assert_eq!(exclusive, None);
        self.pass_ms(3_600_000);
    }

    /// Ends a batch as the server does, until nothing more comes of it. So many octets came in it, and so many
    /// things had to be looked at.
    fn finish(&mut self, mut octets: usize, visited: usize) {
        loop {
            self.vhost.finish_batch(self.now);
            self.meter.note_hold(&self.vhost, MESSAGE_SIZE as usize);
            self.vhost.check_counters();
            let mut written = Vec::new();
            let wires = &mut self.wires;
            self.vhost.drain_outputs(|id, outgoing| {
                if let Some(wire) = wires.iter_mut().find(|wire| wire.id == Some(id)) {
                    written.push((id, wire.give(outgoing)));
                }
                outgoing.clear();
            });
            self.vhost.take_notices();
            self.vhost.take_records(&mut self.records);
            if written.is_empty() && self.records.is_empty() {
                if !self.vhost.has_work() {
                    self.meter.check_input(&self.vhost, octets, visited);
                    return;
                }
                self.vhost.handle_timeout(self.now);
            }
            for (id, sent) in written {
                octets += sent;
                self.vhost.handle_written(self.now, id, sent);
            }
            self.written.0 += self.records.len() as u64;
            self.kept.append(&mut self.records);
            self.vhost.handle_synced(self.now, self.written);
        }
    }
}

impl Wire {
    /// Takes what there is of the input; says how much of it is used up.
    fn take(&mut self, input: &[u8], vhost: &mut Vhost, now: Time, meter: &mut StepMeter) -> usize {
        let mut used = 0;
        let mut commands = Vec::new();
        loop {
            let (more, progress) = self.connection.handle_input(&input[used..], &mut commands);
            used += more;
            self.output.extend(self.connection.take_output());
            if let Some(id) = self.id {
                for command in commands.drain(..) {
                    // Nothing is on a disk, so that no command waits for one.
                    let mut handled = vhost.handle_command(now, id, command);
                    while let Handled::Waits { command, .. } = handled {
                        vhost.finish_batch(now);
                        meter.note_hold(vhost, MESSAGE_SIZE as usize);
                        vhost.handle_timeout(now);
                        handled = vhost.handle_command(now, id, command);
                    }
                }
            }
            assert!(commands.is_empty(), "a command before the connection is open");
            match progress {
                Progress::More => return used,
                Progress::Authenticate(credentials) => {
                    let known = credentials.user == "guest" && credentials.password == b"guest";
                    let user = known.then(|| User::new("guest"));
                    let result = user.ok_or(AuthenticationFailure::Refused);
                    self.connection.handle_authenticated(result);
                }
                Progress::Open(request) if request.vhost == "/" && self.id.is_none() => {
                    self.id = Some(vhost.handle_open(now, request.info));
                    self.connection.handle_opened(Ok(()));
                }
                Progress::Open(request) => {
                    let fault = Fault::VhostNotFound(request.vhost);
                    self.connection.handle_opened(Err(fault.into()));
                }
                Progress::End { .. } => {
                    self.has_ended = true;
                    return input.len();
                }
            }
        }
    }

    /// The client gets these; says how much that was.
    fn give(&mut self, outgoing: &[Outgoing]) -> usize {
        let mut octets = Vec::new();
        let mut size = 0;
        for item in outgoing {
            assert!(!self.has_ended, "something follows the end: {item:?}");
            item.encode(&mut octets, self.connection.frame_max());
            size += item.size();
            self.has_ended |= item.is_end();
        }
        assert_whole_frames(&octets, self.connection.frame_max());
        self.output.extend(octets);
        size
    }
}

/// What the broker sends can be taken apart, whatever it was sent.
fn assert_whole_frames(octets: &[u8], frame_max: u32) {
    let decoder = Decoder::new(frame_max);
    let mut rest = octets;
    while !rest.is_empty() {
        let (frame, length) = decoder.decode(rest).expect("frames").expect("whole frames");
        assert!(length <= frame_max as usize, "a frame of {length} octets");
        match frame.kind {
            frame::METHOD => {
                Method::decode(frame.payload).expect("methods that are known");
            }
            frame::HEADER => {
                let header = ContentHeader::decode(frame.payload).expect("a content header");
                Properties::parse(header.properties).expect("properties that can be read");
            }
            frame::BODY => assert!(!frame.payload.is_empty()),
            other => panic!("a frame of kind {other}"),
        }
        rest = &rest[length..];
    }
}
