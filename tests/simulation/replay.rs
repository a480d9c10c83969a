//! The core with its inputs as data, so that a life can be lived again.

use std::collections::BTreeMap;
use std::sync::Arc;

use leveret::broker::access::{Rights, User};
use leveret::broker::command::{Command, Handled, Outgoing, Wait};
use leveret::broker::connection::{Connection, ConnectionInfo, ConnectionSettings, Progress};
use leveret::broker::message::Message;
use leveret::broker::paging::{MemoryShare, Page, PageOrder, PageOwner, PagedMessage};
use leveret::broker::policy::PolicySet;
use leveret::broker::record::{Lsn, Position, Record, Recovered};
use leveret::broker::time::Time;
use leveret::broker::vhost::{ConnectionId, Vhost, VhostSettings};
use leveret_codec::method::connection;
use leveret_codec::table::TableBuilder;
use leveret_codec::{Method, ShortStr, Value, encode, frame};

use crate::support::steps::StepMeter;

/// One input of the core. Clients are numbered as they come.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    /// A new virtual host takes up what a store has kept.
    ///
    /// With the policies that are set, and the seed of the names that it makes up.
    Recover(Recovered, Arc<PolicySet>, u64),
    /// These policies are set now.
    Policies(Arc<PolicySet>),
    /// A client opens a connection as this user, who may do this.
    Open(u64, &'static str, Arc<Rights>),
    /// What a user may do has changed.
    Rights(&'static str, Arc<Rights>),
    /// An alarm is raised, or over.
    Alarm(bool),
    /// A client sends a method, the payload of its frame.
    Method(u64, u16, Vec<u8>),
    /// A client publishes; whether the message is to come back when no queue takes it.
    Publish(u64, u16, bool, Message),
    /// A client is gone.
    Disconnect(u64),
    /// So much was written to a client.
    Written(u64, usize),
    /// The store has synced so far.
    Synced(Lsn),
    /// The store has failed.
    StoreFailed,
    /// Messages may take so much memory before they go to the disk.
    MemoryShare(u64),
    /// A page has come from the store.
    Page(Page),
    /// What was paged out could not be taken.
    PageRefused(PageOwner, Vec<PagedMessage>),
    /// There is room on the disk again.
    Room,
    /// Time has passed.
    Timeout,
    /// A batch ends.
    Finish,
}

impl Input {
    /// How long it is.
    fn octets(&self) -> usize {
        let of = |messages: &[PagedMessage]| -> usize {
            messages.iter().map(|it| it.message.as_bytes().len()).sum()
        };
        match self {
            Input::Method(.., payload) => payload.len(),
            Input::Publish(.., message) => message.as_bytes().len(),
            Input::Recover(recovered, ..) => {
                let found = recovered.queues.iter().flat_map(|queue| &queue.messages);
                found.map(|it| it.message.as_bytes().len()).sum()
            }
            Input::Page(page) => of(&page.messages),
            Input::PageRefused(_, messages) => of(messages),
            _ => 0,
        }
    }
}

/// How many octets the largest message has that there is, at most.
const LARGEST: usize = 500_000;

/// What came out for a client.
pub(crate) type Output = (u64, Vec<Outgoing>);

/// A virtual host and the clients it knows.
pub(crate) struct Core {
    pub(crate) vhost: Vhost,
    ids: BTreeMap<u64, ConnectionId>,
    meter: StepMeter,
    /// How many messages exchanges may hold back.
    delayed: usize,
    /// How many octets and messages each channel has published since its last commit.
    published: BTreeMap<(u64, u16), (usize, usize)>,
    /// What the last command waits for; it is to be put in again.
    pub(crate) wait: Option<Wait>,
}

impl Core {
    pub(crate) fn new() -> Self {
        Core::begin(Arc::default(), 1)
    }

    fn begin(policies: Arc<PolicySet>, seed: u64) -> Self {
        Core {
            vhost: Vhost::new(
                "/",
                &VhostSettings { seed: seed.into(), policies, ..Default::default() },
            ),
            ids: BTreeMap::new(),
            meter: StepMeter::default(),
            delayed: 0,
            published: BTreeMap::new(),
            wait: None,
        }
    }

    /// Puts one input in and takes out what clients get.
    pub(crate) fn apply(&mut self, now: Time, input: &Input) -> Vec<Output> {
        self.wait = None;
        match input {
            Input::Recover(recovered, policies, seed) => {
                *self = Core::begin(policies.clone(), *seed);
                let left_out = self.vhost.recover(now, recovered.clone());
                assert_eq!(left_out, [], "everything can be taken up");
            }
            Input::Policies(policies) => self.vhost.handle_policies(now, policies.clone()),
            Input::Rights(user, rights) => self.vhost.handle_rights(now, user, rights),
            Input::Alarm(is_raised) => {
                self.vhost.handle_alarm(now, is_raised.then_some("low on memory"));
            }
            Input::Open(client, user, rights) => {
                let rights = rights.clone();
                let info = ConnectionInfo {
                    user: User::new(*user),
                    rights,
                    connection_blocked: true,
                    ..info()
                };
                let id = self.vhost.handle_open(now, info);
                self.ids.insert(*client, id);
            }
            Input::Method(client, channel, octets) => {
                let method = Method::decode(octets).expect("methods of our own can be decoded");
                let command = Command::Method { channel: *channel, method };
                let id = self.ids[client];
                self.wait = wait_of(&self.vhost.handle_command(now, id, command));
            }
            Input::Publish(client, channel, mandatory, message) => {
                let command = Command::Publish {
                    channel: *channel,
                    mandatory: *mandatory,
                    immediate: false,
                    message: message.clone(),
                };
                self.wait = wait_of(&self.vhost.handle_command(now, self.ids[client], command));
            }
            Input::Disconnect(client) => {
                let id = self.ids.remove(client).expect("it was connected");
                self.vhost.handle_disconnect(now, id);
            }
            Input::Written(client, octets) => {
                self.vhost.handle_written(now, self.ids[client], *octets);
            }
            Input::Synced(lsn) => self.vhost.handle_synced(now, *lsn),
            Input::StoreFailed => self.vhost.handle_store_failed(now),
            Input::MemoryShare(before_paging) => {
                let share = MemoryShare {
                    before_paging: *before_paging,
                    before_consumers_wait: u64::MAX,
                    whole: u64::MAX,
                };
                self.vhost.handle_memory_share(now, Some(share));
            }
            Input::Page(page) => self.vhost.handle_page(now, page.clone()),
            Input::PageRefused(owner, messages) => {
                self.vhost.handle_page_refused(now, *owner, messages.clone());
            }
            Input::Room => self.vhost.handle_disk_full(now, false),
            Input::Timeout => self.vhost.handle_timeout(now),
            Input::Finish => self.vhost.finish_batch(now),
        }
        self.vhost.check_counters();
        let mut outputs = Vec::new();
        let ids = &self.ids;
        self.vhost.drain_outputs(|id, outgoing| {
            let client = ids.iter().find(|(_, known)| **known == id).map(|(client, _)| *client);
            outputs.push((client.expect("only clients get something"), std::mem::take(outgoing)));
        });
        let sent = outputs.iter().flat_map(|(_, all)| all).map(Outgoing::size).sum::<usize>();
        let (octets, visited) = (input.octets() + sent, self.visited(input));
        let (held_octets, held) = self.take_held(input);
        self.meter.check_input(&self.vhost, octets + held_octets, visited + held);
        if let Input::Finish = input {
            self.meter.note_hold(&self.vhost, LARGEST);
        }
        outputs
    }

    /// How many things an input is about that are there already.
    fn visited(&self, input: &Input) -> usize {
        let all = self.vhost.snapshot();
        match input {
            Input::Recover(recovered, ..) => {
                let found = recovered.queues.iter().map(|queue| queue.messages.len());
                all.queues + all.exchanges + found.sum::<usize>()
            }
            Input::Policies(_) => all.queues + all.exchanges,
            // Once a minute all deliveries are looked at; and exchanges let go what they hold back.
            Input::Timeout => all.channels + all.messages_unacknowledged + self.delayed,
            _ => 0,
        }
    }

    /// What was held until this input, in octets and messages: a commit is about what was published before.
    /// Notes what is held from now on.
    fn take_held(&mut self, input: &Input) -> (usize, usize) {
        match input {
            Input::Recover(recovered, ..) => {
                let unnamed = recovered.queues.iter().filter(|it| it.definition.name.is_empty());
                self.delayed = unnamed.map(|queue| queue.messages.len()).sum();
                (0, 0)
            }
            Input::Publish(client, channel, _, message) => {
                let headers = message.properties().headers();
                self.delayed +=
                    usize::from(headers.is_some_and(|it| it.find(b"x-delay").is_some()));
                let (octets, messages) = self.published.entry((*client, *channel)).or_default();
                *octets += message.as_bytes().len();
                *messages += 1;
                (0, 0)
            }
            Input::Method(client, channel, payload)
                if matches!(Method::decode(payload), Ok(Method::TxCommit(_))) =>
            {
                self.published.remove(&(*client, *channel)).unwrap_or_default()
            }
            _ => (0, 0),
        }
    }

    /// Whether a client is not read from.
    pub(crate) fn is_blocked(&self, client: u64) -> bool {
        self.vhost.is_blocked(self.ids[&client])
    }

    /// Takes what was asked of the store beside records since the last time.
    pub(crate) fn take_page_orders(&mut self) -> Vec<PageOrder> {
        let mut orders = Vec::new();
        self.vhost.take_page_orders(&mut orders);
        orders
    }

    /// Takes the records made since the last time.
    pub(crate) fn take_records(&mut self) -> Vec<Record> {
        let mut records = Vec::new();
        self.vhost.take_records(&mut records);
        records
    }
}

fn wait_of(handled: &Handled<'_>) -> Option<Wait> {
    match handled {
        Handled::Done => None,
        Handled::Waits { wait, .. } => Some(*wait),
    }
}

/// What the handshake says of a client like ours.
fn info() -> ConnectionInfo {
    let properties = {
        let mut capabilities = TableBuilder::default();
        capabilities.push(b"consumer_cancel_notify", &Value::Bool(true));
        let mut properties = TableBuilder::default();
        properties.push(b"capabilities", &Value::Table(capabilities.as_table()));
        properties.finish()
    };
    let start_ok = connection::StartOk {
        client_properties: properties.as_table(),
        mechanism: ShortStr::from_static("PLAIN"),
        response: b"\0guest\0guest",
        ..Default::default()
    };
    let tune_ok = connection::TuneOk { channel_max: 100, frame_max: 4096, heartbeat: 0 };
    let open = connection::Open { virtual_host: ShortStr::from_static("/"), ..Default::default() };
    let mut octets = frame::PROTOCOL_HEADER.to_vec();
    encode::method(&mut octets, 0, &start_ok);
    encode::method(&mut octets, 0, &tune_ok);
    encode::method(&mut octets, 0, &open);

    let mut connection = Connection::new(ConnectionSettings::default());
    let mut rest = octets.as_slice();
    loop {
        let (used, progress) = connection.handle_input(rest, &mut Vec::new());
        rest = &rest[used..];
        match progress {
            Progress::Authenticate(credentials) => {
                connection.handle_authenticated(Ok(User::new(credentials.user)));
            }
            Progress::Open(request) => return request.info,
            other => panic!("the handshake stops with {other:?}"),
        }
    }
}

/// The inputs of a life, and when its records were taken.
#[derive(Default)]
pub(crate) struct Journal {
    inputs: Vec<(Time, Input, bool)>,
    octets: Vec<u8>,
}

impl Journal {
    /// Puts down an input and what came out of it.
    pub(crate) fn note(&mut self, now: Time, input: Input, outputs: &[Output]) {
        self.inputs.push((now, input, false));
        encode_outputs(&mut self.octets, outputs);
    }

    /// Puts down the records taken after the input noted last.
    pub(crate) fn note_records(&mut self, records: &[Record]) {
        if let Some((_, _, taken)) = self.inputs.last_mut() {
            *taken = true;
            encode_records(&mut self.octets, records);
        }
    }

    /// Lives the same life again.
    ///
    /// # Panics
    /// When anything else comes out.
    pub(crate) fn replay(&self) {
        let mut core = Core::new();
        let mut messages = OwnMessages::default();
        let mut rest = self.octets.as_slice();
        for (index, (now, input, taken)) in self.inputs.iter().enumerate() {
            let mut octets = Vec::new();
            let own_input = messages.put_into(input);
            encode_outputs(&mut octets, &core.apply(*now, &own_input));
            messages.note(core.take_page_orders());
            if *taken {
                encode_records(&mut octets, &core.take_records());
            }
            let same = rest.strip_prefix(octets.as_slice());
            let Some(same) = same else {
                panic!("input {index}, {input:?}, gives something else the second time")
            };
            rest = same;
        }
        assert!(rest.is_empty(), "the second time less comes out");
    }
}

/// The messages of a virtual host that lives the life of another again.
///
/// why: a message knows how many queues have it, so that no two virtual hosts can have the same.
#[derive(Default)]
struct OwnMessages {
    paged_out: BTreeMap<(PageOwner, Position), Message>,
}

impl OwnMessages {
    /// Takes what is paged out, which may come back.
    fn note(&mut self, orders: Vec<PageOrder>) {
        for order in orders {
            let PageOrder::Out { owner, messages } = order else { continue };
            let messages = messages.into_iter();
            self.paged_out.extend(messages.map(|it| ((owner, it.position), it.message)));
        }
    }

    /// The same input with other messages.
    fn put_into(&self, input: &Input) -> Input {
        let mut input = input.clone();
        match &mut input {
            Input::Publish(_, _, _, message) => *message = copy(message),
            Input::Page(page) => {
                page.messages.iter_mut().for_each(|it| it.message = copy(&it.message));
            }
            Input::PageRefused(owner, messages) => {
                for refused in messages {
                    refused.message = self.paged_out[&(*owner, refused.position)].clone();
                }
            }
            Input::Recover(recovered, ..) => {
                let mut copies = BTreeMap::new();
                for it in recovered.queues.iter_mut().flat_map(|queue| &mut queue.messages) {
                    let original = it.message.as_bytes().as_ptr();
                    it.message =
                        copies.entry(original).or_insert_with(|| copy(&it.message)).clone();
                }
            }
            _ => {}
        }
        input
    }
}

fn copy(message: &Message) -> Message {
    let (exchange, routing_key) = (message.exchange(), message.routing_key());
    let copy = Message::new(exchange, routing_key, message.properties(), message.body());
    if message.is_shared() {
        copy.share();
    }
    copy
}

fn encode_outputs(octets: &mut Vec<u8>, outputs: &[Output]) {
    for (client, outgoing) in outputs {
        octets.extend(client.to_be_bytes());
        for item in outgoing {
            item.encode(octets, 4096);
        }
    }
}

fn encode_records(octets: &mut Vec<u8>, records: &[Record]) {
    for record in records {
        octets.extend(format!("{record:?}").into_bytes());
    }
}
