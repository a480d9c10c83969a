//! A virtual host: the owner of everything that its clients share.
//!
//! Exchanges, queues, bindings, channels, consumers and unacknowledged messages live here and refer
//! to each other by ids. See [`Vhost`] for what goes in and what comes out.
//! What the methods of AMQP do is in the files beside this one, by the class or the deed; the parts that
//! own the fields (`sessions`, `journal`, `memory`, `batch`, and `Queues` and `Exchanges` next door) say
//! what may happen within one of them, and the vhost what happens between them.
//!
//! What a vhost deliberately is not: it has no lock, no task and no socket. Who shares it between
//! threads locks it (see `handle`).
//!
//! invariant: a message that leaves a queue otherwise than to a client goes into a list and is
//! routed from there, so that no queue ever acts on another and no circle recurses.
//! invariant: when a queue has messages that wait, no consumer of it can take one, or what goes next is
//! on its way from the disk, or the queue is held or is to be evaluated by work that has its turn still to
//! come.

mod alarm;
mod batch;
mod closing;
mod commit;
mod consume;
mod dead_letters;
mod define;
mod definition_limits;
mod delay;
mod deliver;
mod dispatch;
mod exchanges;
mod fan_out;
mod inspect;
mod journal;
mod memory;
mod notice_tally;
mod paging;
mod permission;
mod policies;
mod publish;
mod publish_run;
mod queues;
mod recover;
mod release;
mod reply_to;
mod sessions;
mod settle;
mod timeout;
mod trace;
mod transactions;
mod unbind;
mod work;

use std::sync::Arc;

use hashbrown::HashMap;
use leveret_codec::ShortString;

use self::batch::Batch;
pub use self::define::Definition;
pub use self::inspect::{BindingVisit, BindingsOf};
use self::journal::Journal;
use self::memory::Memory;
pub use self::recover::LeftOut;
use self::sessions::Sessions;
use self::trace::Trace;
use self::work::Work;
use super::access::User;
use super::arguments::{ExchangeArguments, QueueArguments};
use super::chance::{Chance, Seed};
use super::command::Outgoing;
use super::confirm::{Confirm, Confirms};
use super::connection::ConnectionInfo;
use super::error::Fault;
use super::exchange::delayed::Delayed;
use super::exchange::{Exchange, ExchangeType, Exchanges};
use super::expiry::{Deadline, Deadlines};
pub use super::ids::ConnectionId;
use super::ids::{ChannelId, DurableQueueId, Lsn, QueueId};
use super::limits::ClientLimits;
pub use super::notice::Notice;
use super::paging::PageOrder;
use super::policy::PolicySet;
use super::queue::Queue;
use super::queues::Queues;
use super::record::{QueueDefinition, Record};
use super::snapshot::ConnectionSnapshot;
use super::statistics::{ExchangeStatistics, MessageStatistics};
use super::time::Time;
use super::transaction::HeldPublish;

/// What a virtual host is made with.
#[derive(Clone, Debug, Default)]
pub struct VhostSettings {
    /// Where the names that the broker makes up start from. The same seed gives the same names.
    pub seed: Seed,
    /// The policies that are in force from the beginning.
    pub policies: Arc<PolicySet>,
    /// What clients may define.
    pub limits: ClientLimits,
}

/// A virtual host.
///
/// # Inputs
/// Each `handle_*` takes the time at which it happened, which never runs backwards.
/// - From clients: [`handle_open`](Vhost::handle_open) first, which gives the id of the connection;
///   [`handle_command`](Vhost::handle_command) for what it asks, to be given again when it has to wait;
///   [`handle_written`](Vhost::handle_written) for what its socket has taken; [`handle_disconnect`](Vhost::handle_disconnect) exactly once, last.
/// - From the store: [`recover`](Vhost::recover) before everything else;
///   [`handle_synced`](Vhost::handle_synced), [`handle_store_failed`](Vhost::handle_store_failed),
///   [`handle_page`](Vhost::handle_page) and [`handle_page_refused`](Vhost::handle_page_refused),
///   [`handle_disk_full`](Vhost::handle_disk_full).
/// - From time: [`handle_timeout`](Vhost::handle_timeout), no later than
///   [`next_deadline`](Vhost::next_deadline).
/// - From operators and the machine: `handle_definition`, `handle_policies`, `handle_rights`,
///   `handle_max_queues`, `handle_tracing`, `handle_memory_share`, `handle_alarm`, `handle_close_client`, `handle_close_clients`,
///   `handle_shutdown`.
///
/// # Outputs
/// After any number of inputs, a batch, [`finish_batch`](Vhost::finish_batch) answers what is answered once for
/// many. Then, in this order:
/// 1. [`drain_outputs`](Vhost::drain_outputs): what each client is to get;
/// 2. [`take_records`](Vhost::take_records): what the store is to keep, and
/// 3. [`take_page_orders`](Vhost::take_page_orders): what it is asked for, behind those records;
/// 4. [`take_notices`](Vhost::take_notices): what an operator should hear of;
/// 5. [`next_deadline`](Vhost::next_deadline): when time matters next.
///
/// Bare nouns ask and change nothing.
pub struct Vhost {
    name: String,
    /// When the input that is being handled happened.
    now: Time,
    sessions: Sessions,
    queues: Queues,
    exchanges: Exchanges,
    policies: Arc<PolicySet>,
    journal: Journal,
    memory: Memory,
    batch: Batch,
    deadlines: Deadlines,
    chance: Chance,
    trace: Trace,
    /// Why publishers are blocked, while they are.
    alarm: Option<ShortString>,
    /// Whether the timer will look for deliveries that wait too long for their acknowledgement.
    watching_unacked: bool,
    /// What the store keeps for delayed exchanges that are not there: known during recovery alone.
    unclaimed_delayed_queues: Vec<DurableQueueId>,
    /// How many queues there may be, if that is limited.
    max_queues: Option<u64>,
    /// What clients may define, and how much memory that may take in all, in bytes.
    limits: ClientLimits,
    max_definitions: u64,
    work: Work,
    statistics: MessageStatistics,
    default_exchange_statistics: ExchangeStatistics,
}

impl Vhost {
    /// A virtual host with the predeclared exchanges and nothing else.
    pub fn new(name: &str, settings: &VhostSettings) -> Self {
        let mut vhost = Vhost {
            name: name.to_owned(),
            now: Time::EPOCH,
            sessions: Sessions::default(),
            queues: Queues::default(),
            exchanges: Exchanges::default(),
            policies: settings.policies.clone(),
            journal: Journal::default(),
            memory: Memory::default(),
            batch: Batch::default(),
            deadlines: Deadlines::default(),
            chance: Chance::new(settings.seed),
            trace: Trace::default(),
            alarm: None,
            watching_unacked: false,
            unclaimed_delayed_queues: Vec::new(),
            max_queues: None,
            limits: settings.limits,
            max_definitions: u64::MAX,
            work: Work::default(),
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
        self.remove_client(connection);
        self.process_dead_letters();
    }

    /// Octets have been written to a client, or thrown away: its outbox has room again.
    pub fn handle_written(&mut self, now: Time, connection: ConnectionId, octets: usize) {
        self.now = now;
        self.note_written(connection, octets);
        self.process_dead_letters();
    }

    /// Everything up to this record is on the disk.
    pub fn handle_synced(&mut self, now: Time, lsn: Lsn) {
        self.now = now;
        self.journal.note_synced(lsn);
        self.confirm_synced();
    }

    /// The store has failed and will not come back: nothing durable is confirmed any more.
    pub fn handle_store_failed(&mut self, now: Time) {
        self.now = now;
        self.journal.fail();
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
                self.close_client(connection.id, reason.clone().into(), false);
            }
        }
        self.process_dead_letters();
    }

    /// One connection is to be closed, if it is there.
    pub fn handle_close_client(&mut self, now: Time, connection: ConnectionId, reason: &Fault) {
        self.now = now;
        self.close_client(connection, reason.clone().into(), false);
        self.process_dead_letters();
    }

    /// How many queues there may be has changed.
    pub fn handle_max_queues(&mut self, now: Time, max: Option<u64>) {
        self.now = now;
        self.max_queues = max;
    }

    /// Ends a batch of input: what is answered once for many is answered now.
    pub fn finish_batch(&mut self, now: Time) {
        self.now = now;
        self.batch.run.end();
        self.route_traces();
        self.record_deliveries();
        let mut confirming = std::mem::take(&mut self.batch.confirming);
        for channel in confirming.drain(..) {
            self.flush_confirms(channel);
        }
        self.batch.confirming = confirming;
        self.memory.set_definitions(self.definition_memory());
        let (consumers, failed) = (self.sessions.consumer_count(), self.journal.has_failed());
        if self.memory.finish_batch(now, &mut self.queues, consumers, failed) {
            self.deadlines.add(now, Deadline::Memory);
        }
        self.work.dead_letters.set_client(None);
        self.work.renew();
        self.arm_work();
    }

    /// When [`handle_timeout`](Vhost::handle_timeout) is to be called, if nothing happens before.
    pub fn next_deadline(&self) -> Option<Time> {
        self.deadlines.next()
    }

    /// Hands over what clients are to get, each list in its order. `sink` empties the list.
    pub fn drain_outputs(&mut self, sink: impl FnMut(ConnectionId, &mut Vec<Outgoing>)) {
        self.sessions.drain_outputs(sink);
    }

    /// Appends the records made since the last time, in order, and says how many confirms and commits
    /// wait for them.
    pub fn take_records(&mut self, into: &mut Vec<Record>) -> usize {
        self.journal.take_records(into)
    }

    /// Appends what is asked of the store beside records since the last time, in order.
    pub fn take_page_orders(&mut self, into: &mut Vec<PageOrder>) {
        self.memory.take_orders(into);
    }

    /// Takes what an operator should hear of.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        self.batch.take_notices()
    }

    /// The name of the virtual host.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The user behind a connection.
    pub fn user(&self, connection: ConnectionId) -> Option<&User> {
        self.sessions.user(connection)
    }

    /// Counts everything again and panics where a counter is wrong: for tests.
    ///
    /// # Panics
    /// When a sum disagrees with what is summed.
    pub fn check_counters(&self) {
        let mut by_queue: HashMap<QueueId, (usize, usize)> = HashMap::new();
        let mut by_consumer = HashMap::new();
        let mut by_channel: HashMap<ChannelId, usize> = HashMap::new();
        let mut orphaned = 0;
        let listed = self.sessions.channels().iter().flat_map(|(id, channel)| {
            let held = channel.transaction.iter().flat_map(|it| &it.settlements);
            let held = held.map(|settlement| &settlement.deliveries);
            held.chain([&channel.unacked]).map(move |list| (id, list))
        });
        for (channel, list) in listed.chain(self.work.deliveries()) {
            for (_, unacked) in list.iter() {
                let (count, octets) = by_queue.entry(unacked.queue).or_default();
                *count += 1;
                *octets += unacked.entry.message.body().len();
                if !self.queues.contains(unacked.queue) {
                    orphaned += unacked.entry.weight();
                }
                if let Some(consumer) = unacked.consumer {
                    *by_channel.entry(channel).or_insert(0) += 1;
                    *by_consumer.entry(consumer).or_insert(0) += 1;
                }
            }
        }
        for (id, channel) in self.sessions.channels().iter() {
            let counted = by_channel.get(&id).copied().unwrap_or(0);
            assert_eq!(counted, channel.unacked_of_consumers, "unacked of a channel");
        }
        for (id, queue) in self.queues.iter() {
            let (counted, octets) = by_queue.get(&id).copied().unwrap_or_default();
            assert_eq!(counted, queue.unacknowledged, "unacked of queue {}", queue.name);
            let known = queue.unacknowledged_octets;
            assert_eq!(octets as u64, known, "unacked octets of queue {}", queue.name);
        }
        assert_eq!(self.queues.check(), self.memory.queued(), "what all queues take");
        let not_measured: i64 = self.queues.iter().map(|(_, queue)| queue.repeated()).sum();
        let repeated = self.memory.repeated() + not_measured;
        assert_eq!(self.repeated(), repeated, "what is counted more than once");
        let transactions =
            self.sessions.channels().iter().filter_map(|(_, it)| it.transaction.as_ref());
        let publishes = transactions.flat_map(|it| &it.publishes).map(HeldPublish::weight);
        let delayed = self.exchanges.iter().filter_map(|(_, it)| it.delayed.as_ref());
        let elsewhere = publishes.chain(delayed.map(Delayed::weight)).sum::<u64>()
            + orphaned
            + self.work.held_weight();
        assert_eq!(elsewhere, self.memory.elsewhere(), "what no queue holds");
        assert_eq!(self.work.counted_weight(), self.work.weight(), "what work holds");
        let (exchanges, sessions) = (&self.exchanges, &self.sessions);
        assert_eq!(exchanges.counted_definition_weight(), exchanges.definition_weight());
        assert_eq!(sessions.counted_definition_weight(), sessions.definition_weight());
        for (id, consumer) in self.sessions.consumers() {
            let counted = by_consumer.get(&id).copied().unwrap_or(0);
            assert_eq!(counted, consumer.unacknowledged, "unacked of consumer {}", consumer.tag);
        }
    }

    /// Tells the store how far durable queues have delivered.
    fn record_deliveries(&mut self) {
        let mut delivering = std::mem::take(&mut self.batch.delivering);
        for id in delivering.drain(..) {
            let Some(queue) = self.queues.get_mut(id) else { continue };
            let Some(durable) = queue.durable else { continue };
            let news: Vec<_> = queue.take_delivered().collect();
            for (priority, position) in news {
                self.journal.record(Record::Delivered { queue: durable, priority, position });
            }
        }
        self.batch.delivering = delivering;
    }

    /// Answers what can be answered of a channel's publishes.
    fn flush_confirms(&mut self, id: ChannelId) {
        let Some(channel) = self.sessions.channel_mut(id) else { return };
        channel.confirms_listed = false;
        let Some(confirms) = &mut channel.confirms else { return };
        let before = confirms.unanswered();
        confirms.close_run();
        if self.journal.has_failed() {
            confirms.refuse_waiting(self.journal.synced());
        }
        let mut answers: Vec<Confirm> = Vec::new();
        confirms.take_ready(self.journal.synced(), |confirm| answers.push(confirm));
        if confirms.unanswered() > 0 && !confirms.awaits_sync {
            confirms.awaits_sync = true;
            self.journal.list_confirming(id);
        }
        let (connection, number) = (channel.connection, channel.number);
        let after = channel.confirms.as_ref().map_or(0, Confirms::unanswered);
        channel.statistics.confirm += before - after;
        self.statistics.confirm += before - after;
        for confirm in answers {
            self.sessions.reply_confirm(connection, number, confirm);
        }
    }

    /// Answers what a sync has made safe.
    fn confirm_synced(&mut self) {
        for id in self.journal.take_confirming() {
            if let Some(confirms) =
                self.sessions.channel_mut(id).and_then(|it| it.confirms.as_mut())
            {
                confirms.awaits_sync = false;
                self.flush_confirms(id);
            }
        }
        self.answer_commits();
    }

    /// A name that the broker makes up: `prefix` and 22 characters.
    fn make_up_name(&mut self, prefix: &str) -> ShortString {
        use base64::Engine as _;
        let random = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(self.chance.name());
        ShortString::truncated(format!("{prefix}{random}").as_bytes())
    }

    /// How a durable exchange or queue is recorded: its declared arguments, as they came.
    fn queue_definition(queue: &Queue) -> Option<QueueDefinition> {
        let arguments: &QueueArguments = &queue.declared;
        Some(QueueDefinition {
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
