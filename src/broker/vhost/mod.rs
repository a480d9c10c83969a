//! A virtual host: the owner of everything that its clients share.
//!
//! Exchanges, queues, bindings, channels, consumers and unacknowledged messages live here and refer
//! to each other by ids. Input comes in through `handle_*` with the time it happened at; output is
//! fetched by [`drain_outputs`](Vhost::drain_outputs) and [`take_records`](Vhost::take_records).
//! What the methods of AMQP do is in the files beside this one, by the class or the deed.
//!
//! What a vhost deliberately is not: it has no lock, no task and no socket. Who shares it between
//! threads locks it (see `handle`).
//!
//! invariant: a message that leaves a queue otherwise than to a client goes into `work` and is
//! routed from there, so that no queue ever acts on another and no circle recurses.
//! invariant: when a queue has messages that wait, no consumer of it can take one, or what goes next is
//! on its way from the disk.

mod alarm;
mod client;
mod consume;
mod define;
mod delay;
mod deliver;
mod dispatch;
mod exchanges;
mod inspect;
mod paging;
mod permission;
mod policies;
mod publish;
mod queues;
mod recover;
mod reply_to;
mod run;
mod settle;
mod timeout;
mod transactions;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use hashbrown::HashMap;
use leveret_codec::ShortString;

pub use self::client::{Client, ConnectionId};
pub use self::define::Definition;
pub use self::paging::{Purge, Readiness};
pub use self::recover::LeftOut;
use super::access::User;
use super::arguments::{ExchangeArguments, QueueArguments};
use super::channel::{Channel, ChannelId};
use super::command::Outgoing;
use super::confirm::Confirm;
use super::connection::ConnectionInfo;
use super::consumer::Consumer;
use super::error::Fault;
use super::exchange::delayed::Delayed;
use super::exchange::{Exchange, ExchangeType, Exchanges, Routes};
use super::expiry::Deadlines;
use super::id::Arena;
use super::paging::{MemoryShare, PageOrder, PageOwner};
use super::policy::PolicySet;
use super::queue::{Queue, QueueId};
use super::record::{DurableQueueId, Lsn, Record};
use super::snapshot::ConnectionSnapshot;
use super::statistics::{ExchangeStatistics, MessageStatistics};
use super::time::Time;
use super::transaction::HeldPublish;
use publish::Dead;
use run::Run;

/// What a virtual host is made with.
#[derive(Clone, Debug, Default)]
pub struct VhostSettings {
    /// Where the names that the broker makes up start from. The same seed gives the same names.
    pub seed: u64,
    /// The policies that are in force from the beginning.
    pub policies: Arc<PolicySet>,
}

/// Something that is no fault, but that an operator should hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A queue was declared with an argument that nobody obeys. Told once for each argument.
    UnknownArgument {
        /// The queue.
        queue: String,
        /// The argument.
        argument: String,
        /// The one that was probably meant.
        meant: Option<&'static str>,
    },
    /// Messages of a queue that should have been on the disk were not there.
    MessagesLost {
        /// The queue.
        queue: String,
        /// How many.
        messages: u64,
    },
}

/// A virtual host.
pub struct Vhost {
    name: String,
    /// When the input that is being handled happened.
    now: Time,
    clients: Arena<Client>,
    channels: Arena<Channel>,
    consumers: Arena<Consumer>,
    queues: Arena<Queue>,
    queue_names: HashMap<ShortString, QueueId>,
    exchanges: Exchanges,
    policies: Arc<PolicySet>,
    /// Where answers to direct reply-to go, by their address.
    reply_addresses: HashMap<ShortString, ChannelId>,
    deadlines: Deadlines,
    chance: fastrand::Rng,
    /// What the store is to be told, in order.
    records: Vec<Record>,
    /// How many answers wait until that is safe.
    awaited: usize,
    last_lsn: Lsn,
    synced: Lsn,
    store_failed: bool,
    last_queue_id: DurableQueueId,
    /// Why publishers are blocked, while they are.
    alarm: Option<ShortString>,
    /// Whether the timer will look for deliveries that wait too long for their acknowledgement.
    watching_unacked: bool,
    /// What the store keeps for delayed exchanges that are not there: known during recovery alone.
    orphaned_keepers: Vec<DurableQueueId>,
    /// What an operator should hear of.
    notices: Vec<Notice>,
    /// Arguments that a notice was made of.
    noticed_arguments: BTreeSet<ShortString>,
    /// How many queues there may be, if that is limited.
    max_queues: Option<u64>,
    /// Clients that have something to fetch.
    dirty: Vec<ConnectionId>,
    /// Channels that published in confirm mode in this batch.
    confirming: Vec<ChannelId>,
    /// Channels that have confirms waiting for the store.
    awaiting_sync: Vec<ChannelId>,
    /// Channels whose commit waits for the store.
    committing: Vec<ChannelId>,
    /// Durable queues that delivered in this batch.
    delivering: Vec<QueueId>,
    /// Queues whose messages changed in this batch.
    touched: Vec<QueueId>,
    /// What queues have in memory, in octets, as they were weighed last.
    held: u64,
    /// How much that may be, if there is a disk for more.
    memory_share: Option<MemoryShare>,
    /// What transactions, delayed exchanges and unacknowledged deliveries of deleted queues have in
    /// memory, in octets.
    held_back: u64,
    /// Whether nothing is to be paged out since the disk has no room for it.
    disk_is_full: bool,
    /// What the store is asked for beside records, in order.
    page_orders: Vec<PageOrder>,
    /// The queues that have pages.
    page_owners: HashMap<PageOwner, QueueId>,
    /// The last number given to a queue for its pages.
    last_pages: u64,
    /// Where among the queues to look next for something to page out.
    page_hand: usize,
    /// How many queues are still to be looked at in this round, and what was held when a round ended in
    /// which nothing could be paged out.
    looks_left: usize,
    held_in_vain: u64,
    /// Queues that want a page and must wait for memory.
    starved: VecDeque<QueueId>,
    /// Messages that died and are to be routed on.
    work: VecDeque<Dead>,
    /// The publishes at hand that are alike.
    run: Run,
    /// Where the message at hand goes; kept for its memory.
    routes: Routes,
    statistics: MessageStatistics,
    default_exchange_statistics: ExchangeStatistics,
}

impl Vhost {
    /// A virtual host with the predeclared exchanges and nothing else.
    pub fn new(name: &str, settings: &VhostSettings) -> Self {
        let mut vhost = Vhost {
            name: name.to_owned(),
            now: Time::EPOCH,
            clients: Arena::default(),
            channels: Arena::default(),
            consumers: Arena::default(),
            queues: Arena::default(),
            queue_names: HashMap::new(),
            exchanges: Exchanges::default(),
            policies: settings.policies.clone(),
            reply_addresses: HashMap::new(),
            deadlines: Deadlines::default(),
            chance: fastrand::Rng::with_seed(settings.seed),
            records: Vec::new(),
            awaited: 0,
            last_lsn: Lsn(0),
            synced: Lsn(0),
            store_failed: false,
            last_queue_id: DurableQueueId(0),
            alarm: None,
            watching_unacked: false,
            orphaned_keepers: Vec::new(),
            notices: Vec::new(),
            noticed_arguments: BTreeSet::new(),
            max_queues: None,
            dirty: Vec::new(),
            confirming: Vec::new(),
            awaiting_sync: Vec::new(),
            committing: Vec::new(),
            delivering: Vec::new(),
            touched: Vec::new(),
            held: 0,
            memory_share: None,
            held_back: 0,
            disk_is_full: false,
            page_orders: Vec::new(),
            page_owners: HashMap::new(),
            last_pages: 0,
            page_hand: 0,
            looks_left: 0,
            held_in_vain: 0,
            starved: VecDeque::new(),
            work: VecDeque::new(),
            run: Run::default(),
            routes: Routes::default(),
            statistics: MessageStatistics::default(),
            default_exchange_statistics: ExchangeStatistics::default(),
        };
        for (name, kind, internal) in PREDECLARED {
            let name = ShortString::truncated(name.as_bytes());
            let arguments = ExchangeArguments::default();
            let exchange = Exchange::new(name, kind, true, false, internal, arguments);
            // invariant: only the types of plugins can refuse their arguments.
            vhost.exchanges.insert(exchange.expect("a type of the specification takes any"));
        }
        vhost
    }

    /// A client has passed the handshake; its connection.open-ok is the first of its outputs.
    pub fn handle_open(&mut self, now: Time, info: ConnectionInfo) -> ConnectionId {
        self.now = now;
        self.open_client(info)
    }

    /// A client is gone, however that came about. Nothing more may come from it.
    pub fn handle_disconnect(&mut self, now: Time, connection: ConnectionId) {
        self.now = now;
        self.release_client(connection);
        self.clients.remove(connection);
        self.work_off();
    }

    /// Octets have been written to a client, or thrown away: its outbox has room again.
    pub fn handle_written(&mut self, now: Time, connection: ConnectionId, octets: usize) {
        self.now = now;
        self.note_written(connection, octets);
        self.work_off();
    }

    /// Everything up to this record is on the disk.
    pub fn handle_synced(&mut self, now: Time, lsn: Lsn) {
        self.now = now;
        self.synced = self.synced.max(lsn);
        self.confirm_synced();
    }

    /// The store has failed and will not come back: nothing durable is confirmed any more.
    pub fn handle_store_failed(&mut self, now: Time) {
        self.now = now;
        self.store_failed = true;
        self.records.clear();
        self.confirm_synced();
    }

    /// The virtual host stops: every client is told why.
    pub fn handle_shutdown(&mut self, now: Time, reason: &Fault) {
        self.handle_close_clients(now, reason, |_| true);
    }

    /// Connections are to be closed, all those that `chosen` names.
    pub fn handle_close_clients(
        &mut self,
        now: Time,
        reason: &Fault,
        chosen: impl Fn(&ConnectionSnapshot) -> bool,
    ) {
        self.now = now;
        for connection in self.connections() {
            if chosen(&connection) {
                self.close_client(connection.id, reason, 0, 0, false);
            }
        }
        self.work_off();
    }

    /// How many queues there may be has changed.
    pub fn handle_max_queues(&mut self, now: Time, max: Option<u64>) {
        self.now = now;
        self.max_queues = max;
    }

    /// Ends a batch of input: what is answered once for many is answered now.
    pub fn finish_batch(&mut self, now: Time) {
        self.now = now;
        self.run.end();
        self.record_deliveries();
        let mut confirming = std::mem::take(&mut self.confirming);
        for channel in confirming.drain(..) {
            self.flush_confirms(channel);
        }
        self.confirming = confirming;
        self.weigh_queues();
    }

    /// When [`handle_timeout`](Vhost::handle_timeout) is to be called, if nothing happens before.
    pub fn next_deadline(&self) -> Option<Time> {
        self.deadlines.next()
    }

    /// Hands over what clients are to get, each list in its order. `sink` empties the list.
    pub fn drain_outputs(&mut self, mut sink: impl FnMut(ConnectionId, &mut Vec<Outgoing>)) {
        for id in self.dirty.drain(..) {
            if let Some(client) = self.clients.get_mut(id) {
                sink(id, client.outputs_mut());
                client.outputs_mut().clear();
            }
        }
    }

    /// Appends the records made since the last time, in order, and says how many confirms and commits
    /// wait for them.
    pub fn take_records(&mut self, into: &mut Vec<Record>) -> usize {
        into.append(&mut self.records);
        std::mem::take(&mut self.awaited)
    }

    /// Takes what an operator should hear of.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// The name of the virtual host.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The user behind a connection.
    pub fn user(&self, connection: ConnectionId) -> Option<&User> {
        self.clients.get(connection).map(Client::user)
    }

    /// Counts everything again and panics where a counter is wrong: for tests.
    ///
    /// # Panics
    /// When a sum disagrees with what is summed.
    pub fn check_counters(&self) {
        let mut by_queue: HashMap<QueueId, (usize, usize)> = HashMap::new();
        let mut by_consumer = HashMap::new();
        let mut orphaned = 0;
        for (_, channel) in self.channels.iter() {
            let mut of_consumers = 0;
            let held = channel.transaction.iter().flat_map(|it| &it.settlements);
            let held = held.flat_map(|settlement| &settlement.deliveries);
            let held = held.map(|(tag, unacked)| (*tag, unacked));
            for (_, unacked) in channel.unacked.iter().chain(held) {
                let (count, octets) = by_queue.entry(unacked.queue).or_default();
                *count += 1;
                *octets += unacked.entry.message.body().len();
                if self.queues.get(unacked.queue).is_none() {
                    orphaned += unacked.entry.weight();
                }
                if let Some(consumer) = unacked.consumer {
                    of_consumers += 1;
                    *by_consumer.entry(consumer).or_insert(0) += 1;
                }
            }
            assert_eq!(of_consumers, channel.unacked_of_consumers, "unacked of a channel");
        }
        let mut weighed = 0;
        for (id, queue) in self.queues.iter() {
            let (counted, octets) = by_queue.get(&id).copied().unwrap_or_default();
            assert_eq!(counted, queue.unacknowledged, "unacked of queue {}", queue.name);
            let known = queue.unacknowledged_octets;
            assert_eq!(octets as u64, known, "unacked octets of queue {}", queue.name);
            queue.ready.check(&queue.name);
            if !queue.touched {
                assert_eq!(queue.weighed, queue.weight(), "weight of {}", queue.name);
            }
            weighed += queue.weighed;
        }
        assert_eq!(weighed, self.held, "what all queues weigh");
        let transactions = self.channels.iter().filter_map(|(_, it)| it.transaction.as_ref());
        let publishes = transactions.flat_map(|it| &it.publishes).map(HeldPublish::weight);
        let delayed = self.exchanges.iter().filter_map(|(_, it)| it.delayed.as_ref());
        let held_back = publishes.chain(delayed.map(Delayed::weight)).sum::<u64>() + orphaned;
        assert_eq!(held_back, self.held_back, "what no queue holds");
        for (id, consumer) in self.consumers.iter() {
            let counted = by_consumer.get(&id).copied().unwrap_or(0);
            assert_eq!(counted, consumer.unacknowledged, "unacked of consumer {}", consumer.tag);
        }
    }

    /// Tells the store something.
    fn record(&mut self, record: Record) {
        if !self.store_failed {
            self.last_lsn.0 += 1;
            self.records.push(record);
        }
    }

    /// Tells the store that a message is done with; neighbours share a record.
    fn record_settled(&mut self, queue: DurableQueueId, position: u64) {
        if let Some(Record::Settled { queue: last_queue, last, .. }) = self.records.last_mut()
            && *last_queue == queue
            && *last + 1 == position
        {
            *last = position;
            return;
        }
        self.record(Record::Settled { queue, first: position, last: position });
    }

    /// Tells the store that a message came back; neighbours that came back as often share a record.
    fn record_returned(&mut self, queue: DurableQueueId, position: u64, returns: u32) {
        if let Some(Record::Returned { queue: last_queue, last, returns: same, .. }) =
            self.records.last_mut()
            && *last_queue == queue
            && *same == returns
            && *last + 1 == position
        {
            *last = position;
            return;
        }
        self.record(Record::Returned { queue, first: position, last: position, returns });
    }

    /// Tells the store how far durable queues have delivered.
    fn record_deliveries(&mut self) {
        let mut delivering = std::mem::take(&mut self.delivering);
        for id in delivering.drain(..) {
            let Some(queue) = self.queues.get_mut(id) else { continue };
            let Some(durable) = queue.durable else { continue };
            let news: Vec<_> = queue.take_delivered().collect();
            for (priority, position) in news {
                self.record(Record::Delivered { queue: durable, priority, position });
            }
        }
        self.delivering = delivering;
    }

    /// Answers what can be answered of a channel's publishes.
    fn flush_confirms(&mut self, id: ChannelId) {
        let Some(channel) = self.channels.get_mut(id) else { return };
        channel.confirms_listed = false;
        let Some(confirms) = &mut channel.confirms else { return };
        let before = confirms.unanswered();
        confirms.close_run();
        if self.store_failed {
            confirms.refuse_waiting(self.synced);
        }
        let mut answers: Vec<Confirm> = Vec::new();
        confirms.take_ready(self.synced, |confirm| answers.push(confirm));
        if confirms.unanswered() > 0 && !confirms.awaits_sync {
            confirms.awaits_sync = true;
            self.awaiting_sync.push(id);
        }
        let (connection, number) = (channel.connection, channel.number);
        let after = channel.confirms.as_ref().map_or(0, super::confirm::Confirms::unanswered);
        channel.statistics.confirm += before - after;
        self.statistics.confirm += before - after;
        for confirm in answers {
            self.reply_confirm(connection, number, confirm);
        }
    }

    /// Answers what a sync has made safe.
    fn confirm_synced(&mut self) {
        for id in std::mem::take(&mut self.awaiting_sync) {
            if let Some(confirms) = self.channels.get_mut(id).and_then(|it| it.confirms.as_mut()) {
                confirms.awaits_sync = false;
                self.flush_confirms(id);
            }
        }
        self.answer_commits();
    }

    /// A name that the broker makes up: `prefix` and 22 characters.
    fn make_up_name(&mut self, prefix: &str) -> ShortString {
        use base64::Engine as _;
        let octets = self.chance.u128(..).to_be_bytes();
        let random = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(octets);
        ShortString::truncated(format!("{prefix}{random}").as_bytes())
    }

    /// How a durable exchange or queue is recorded: its declared arguments, as they came.
    fn queue_definition(queue: &Queue) -> Option<super::record::QueueDefinition> {
        let arguments: &QueueArguments = &queue.declared;
        Some(super::record::QueueDefinition {
            id: queue.durable?,
            name: queue.name.clone(),
            auto_delete: queue.auto_delete,
            arguments: arguments.raw.clone(),
        })
    }
}

/// What every virtual host has, and nobody can delete. The default exchange is not among them: it
/// is the queues' names.
const PREDECLARED: [(&str, ExchangeType, bool); 6] = [
    ("amq.direct", ExchangeType::Direct, false),
    ("amq.fanout", ExchangeType::Fanout, false),
    ("amq.headers", ExchangeType::Headers, false),
    ("amq.match", ExchangeType::Headers, false),
    ("amq.rabbitmq.trace", ExchangeType::Topic, true),
    ("amq.topic", ExchangeType::Topic, false),
];
