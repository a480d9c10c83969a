//! One seed, one life of a broker: clients, a disk, crashes, and the model beside it.

mod choose;
mod disk;
mod inputs;
mod observed;
mod recovered;
mod world;

use std::collections::BTreeSet;

use leveret::broker::command::Wait;
use leveret::broker::paging::PageOrder;
use leveret::broker::record::Record;
use leveret::broker::time::Time;
use leveret::store::{FaultyDisk, MemoryDisk, Options, Store};

use self::inputs::{close_ok, input_of};
use self::observed::Observed;
use self::world::World;
use super::dice::Dice;
use super::model::{
    At, Client, Destination, Durable, EVERYTHING, Model, Op, Reply, Request, Subscription, USERS,
    kind, table,
};
use super::replay::{Core, Input, Journal};

/// The durable state after a step and the number of records that say so.
struct Moment {
    records: u64,
    durable: Durable,
    /// What entered queues since the moment before, even if it is gone again.
    entered: Durable,
}

impl Moment {
    /// The moment after a start.
    fn new(records: u64, durable: Durable) -> Self {
        Moment { records, durable, entered: Durable::default() }
    }
}

pub(crate) struct Life {
    dice: Dice,
    world: World,
    core: Core,
    pub(crate) journal: Journal,
    model: Model,
    options: Options,
    disk: MemoryDisk,
    faulty: FaultyDisk<MemoryDisk>,
    store: Option<Store>,
    /// What messages may weigh in memory, if that is little.
    memory: Option<u64>,
    /// Whether messages may be on the disk alone: since memory is little, or since a start found some.
    has_pages: bool,
    /// What the core asked of the store beside records.
    orders: Vec<PageOrder>,
    /// Whether nothing waits for timers, writers or pages.
    is_at_rest: bool,
    /// Whether the store has refused a page and the core has not been told of room since.
    refused: bool,
    /// Records taken from the core and not written.
    pending: Vec<Record>,
    /// How many records the core has made so far, those of lives before included.
    records: u64,
    synced: u64,
    /// Since the last sync, and the one before.
    moments: Vec<Moment>,
    /// The bodies of all messages whose record is written.
    written: BTreeSet<String>,
    next_client: u64,
    next_body: u64,
    next_tag: u64,
    /// What happened, for who has to find out what went wrong.
    pub(crate) trace: Vec<String>,
}

impl Life {
    pub(crate) fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let world = World::new(&mut dice);
        let options = Options {
            log_file_bytes: 200 + dice.below(3000),
            log_files: dice.below(4) as usize,
            segment_bytes: 200 + dice.below(3000),
            start_bytes: if dice.one_in(2) { u64::MAX } else { dice.below(5000) },
        };
        let memory = (!dice.one_in(3)).then(|| dice.below(3) * dice.below(1500));
        let disk = MemoryDisk::default();
        let mut life = Life {
            dice,
            world,
            core: Core::new(),
            journal: Journal::default(),
            model: Model::new(),
            options,
            faulty: FaultyDisk::new(disk.clone()),
            disk,
            store: None,
            memory,
            has_pages: false,
            orders: Vec::new(),
            is_at_rest: false,
            refused: false,
            pending: Vec::new(),
            records: 0,
            synced: 0,
            moments: Vec::new(),
            written: BTreeSet::new(),
            next_client: 0,
            next_body: 0,
            next_tag: 0,
            trace: Vec::new(),
        };
        life.moments = vec![Moment::new(0, Durable::default())];
        life.start();
        life
    }

    /// One random thing happens.
    pub(crate) fn step(&mut self) {
        let op = self.choose();
        let mut line = format!("{op:?}");
        line.truncate(300);
        self.trace.push(line);
        self.happen(op);
    }

    /// The end: everything that is left is fetched, and the broker starts once more.
    pub(crate) fn finish(&mut self) {
        self.trace.push("the end".to_owned());
        if self.world.delays {
            self.happen(Op::PassMs(2000));
        }
        self.happen(Op::Finish);
        self.happen(Op::Write(usize::MAX));
        self.happen(Op::Kill);
        for user in 0..USERS.len() {
            self.happen(Op::SetRights(user, &EVERYTHING));
        }
        let client = self.new_client();
        self.happen(Op::Connect(client));
        self.happen(Op::On((client, 1), Request::Open));
        // Each until it says that it is empty, those that dead-letter first.
        for name in self.model.mortal_first() {
            let is_filled =
                |model: &Model| model.queues.get(name).is_some_and(|queue| !queue.ready.is_empty());
            if !kind(name).allows_get() {
                let consume = Subscription::all_of(name);
                self.happen(Op::On((client, 1), Request::Consume(consume)));
                continue;
            }
            let get = || Op::On((client, 1), Request::Get(name, true));
            while is_filled(&self.model) {
                self.happen(get());
            }
            if self.model.queues.contains_key(name) {
                self.happen(get());
            }
        }
        self.happen(Op::Finish);
        self.happen(Op::Write(usize::MAX));
        self.happen(Op::Kill);
        for queue in self.core.vhost.queues() {
            assert_eq!(queue.messages_ready, 0, "{} has something left", queue.name);
        }
    }

    /// Does one thing to the broker and to the model and compares.
    fn happen(&mut self, op: Op) {
        match op {
            Op::Write(count) => self.write(count),
            Op::Checkpoint => {
                let store = self.store.as_mut().expect("the store is open");
                store.checkpoint_step().expect("the disk works");
            }
            Op::Kill => self.kill(),
            Op::LosePower => self.lose_power(),
            Op::FailDisk(after) => self.fail_disk(after),
            Op::PassMs(ms) => self.pass(ms),
            Op::Finish => {
                self.finish_input();
                self.take_records();
                if self.synced == self.records {
                    self.model.check_answered();
                }
                self.compare_definitions();
            }
            Op::Stall(client) => self.client(client).stalled = true,
            Op::Unstall(client) => self.client(client).stalled = false,
            op => self.client_op(&op),
        }
        self.settle_down();
    }

    fn pass(&mut self, ms: u64) {
        let end = self.model.now + ms;
        // Where exchanges hold messages back the timer is never late: whether a queue is full when one
        // comes depends on what has expired before.
        while self.world.delays
            && let Some(deadline) = self.core.vhost.next_deadline()
            && deadline < Time::from_millis(end)
        {
            self.model.now = self.model.now.max(deadline.as_millis());
            self.input(Input::Timeout);
            self.settle_down();
        }
        self.model.now = end;
        self.input(Input::Timeout);
    }

    fn client(&mut self, client: u64) -> &mut Client {
        self.model.clients.get_mut(&client).expect("it is connected")
    }

    fn client_op(&mut self, op: &Op) {
        let input = input_of(op, &self.model).expect("the broker hears of it");
        let replies = self.give(input, Some(op));
        // What a client does of itself next.
        for (at, reply) in replies {
            if let Reply::ChannelClosed(_) = reply {
                self.input(close_ok(at));
            }
        }
        if let Op::CloseConnection(client) = op {
            self.input(Input::Disconnect(*client));
        }
        // What waited for the end of the alarm is put in again.
        for (at, publish) in self.model.take_unblocked() {
            self.client_op(&Op::On(at, publish));
        }
    }

    // The broker and what comes out of it.

    /// Gives the broker an input that no client's request is behind.
    fn input(&mut self, input: Input) {
        self.give(input, None);
    }

    /// Ends a batch.
    fn finish_input(&mut self) {
        self.model.tell_deliveries();
        self.input(Input::Finish);
    }

    /// Gives the broker an input, and lets the model do what is behind it.
    // why: its callers make an input for this and keep nothing of it.
    #[allow(clippy::needless_pass_by_value)]
    fn give(&mut self, input: Input, op: Option<&Op>) -> Vec<(At, Reply)> {
        let now = Time::from_millis(self.model.now);
        let starts = matches!(input, Input::Recover(..));
        let replies = loop {
            let outputs = self.core.apply(now, &input);
            self.journal.note(now, input.clone(), &outputs);
            self.orders.extend(self.core.take_page_orders());
            let observed = Observed::new(outputs, &mut self.model.clients);
            if matches!(self.core.wait, None | Some(Wait::Alarm)) {
                break self.follow(observed, op, starts);
            }
            self.follow(observed, None, false);
            self.carry_out_orders();
            self.finish_input();
            if self.core.vhost.has_work() {
                self.input(Input::Timeout);
            }
            self.make_room(&input);
        };
        // Mostly at once; otherwise the records of neighbours may become one.
        if self.dice.below(4) > 0 {
            self.take_records();
        }
        replies
    }

    /// A command may wait for room in the outbox of its client, which reads what is there then.
    fn make_room(&mut self, input: &Input) {
        let (Input::Method(client, ..) | Input::Publish(client, ..)) = input else { return };
        let Some(state) = self.model.clients.get_mut(client) else { return };
        let octets = std::mem::take(&mut state.outbox);
        if octets > 0 {
            self.input(Input::Written(*client, octets));
        }
    }

    /// The model does what the broker did, and what came out is compared.
    fn follow(&mut self, observed: Observed, op: Option<&Op>, starts: bool) -> Vec<(At, Reply)> {
        let Observed { deliveries, replies: found, mut notices, confirms, commits } = observed;
        self.model.show(deliveries);
        let replies = op.map(|op| self.model.apply(op)).unwrap_or_default();
        // What expired while the broker was down goes when the timer looks.
        if !starts {
            self.model.settle_time();
            self.model.explain();
        }
        self.compare_replies(&replies, &found);
        let mut expected = self.model.take_notices();
        expected.sort();
        notices.sort();
        assert_eq!(notices, expected, "what clients were told unasked");
        let works = self.store.is_some();
        for (at, confirm) in confirms {
            self.model.check_confirm(at, confirm, |body| self.written.contains(body), works);
        }
        for at in commits {
            self.model.check_committed(at, |body| self.written.contains(body));
        }
        replies
    }

    fn compare_replies(&self, expected: &[(At, Reply)], found: &[(At, Reply)]) {
        let is_same = |((at, expected), (found_at, found)): (&(At, Reply), &(At, Reply))| {
            at == found_at
                && match (expected, found) {
                    // What has expired on the disk is counted until it is looked at.
                    (Reply::Got(left), Reply::Got(found)) if self.has_pages => found >= left,
                    _ => expected == found,
                }
        };
        let mut found = found.to_vec();
        found.sort_by_key(|(at, _)| *at);
        let same = expected.len() == found.len() && expected.iter().zip(&found).all(is_same);
        assert!(same, "answers: {found:?} instead of {expected:?}");
    }

    fn take_records(&mut self) {
        let records = self.core.take_records();
        self.journal.note_records(&records);
        self.records += records.len() as u64;
        self.pending.extend(records);
        // While a timer is due the model may be ahead: what has expired is gone there already.
        // The same goes for what waits for pages.
        // And what the broker does once its store has failed is not recorded.
        if self.timer_is_due() || !self.is_at_rest || self.store.is_none() {
            return;
        }
        let durable = self.model.durable();
        let queues = std::mem::take(&mut self.model.entered);
        let entered = Durable { queues, ..Durable::default() };
        self.moments.push(Moment { records: self.records, durable, entered });
    }

    fn timer_is_due(&self) -> bool {
        let now = Time::from_millis(self.model.now);
        self.core.vhost.next_deadline().is_some_and(|deadline| deadline <= now)
    }

    /// What is to be paged, out or in, is found out at the end of a batch.
    fn finish_batch(&mut self) {
        if self.has_pages {
            self.finish_input();
        }
    }

    /// Does what the broker's surroundings do at once: timers, writers, pages.
    fn settle_down(&mut self) {
        self.finish_batch();
        loop {
            if !self.orders.is_empty() {
                self.carry_out_orders();
                self.finish_batch();
                continue;
            }
            if self.timer_is_due() {
                self.input(Input::Timeout);
                self.finish_batch();
                continue;
            }
            let reads = |client: &Client| !client.stalled && client.outbox > 0;
            let reader = self.model.clients.iter_mut().find(|(_, client)| reads(client));
            let Some((&client, state)) = reader else { break };
            let octets = std::mem::take(&mut state.outbox);
            self.input(Input::Written(client, octets));
            self.finish_batch();
        }
        self.model.check_nothing_waits();
        self.compare_counts();
        self.is_at_rest = true;
        self.take_records();
        self.is_at_rest = !self.has_pages;
    }

    /// Exchanges and bindings; those of queues by their names go without saying.
    fn compare_definitions(&self) {
        let found = self.core.vhost.exchanges().into_iter().map(|it| it.name);
        let found: BTreeSet<_> =
            found.filter(|name| !name.is_empty() && !name.starts_with("amq.")).collect();
        let expected: BTreeSet<_> =
            self.model.exchanges.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(found, expected, "the exchanges");
        let found = self.core.vhost.bindings().into_iter().filter(|it| !it.source.is_empty());
        let found: BTreeSet<_> = found
            .map(|it| {
                let [source, to, key] =
                    [&it.source, it.destination.name(), &it.routing_key].map(ToString::to_string);
                (source, to, it.destination.is_queue(), key, it.arguments)
            })
            .collect();
        let expected = self.model.bindings.iter().map(|it| {
            let (to, to_queue) = match it.destination {
                Destination::Queue(name) => (name, true),
                Destination::Exchange(name) => (name, false),
            };
            let [source, to, key] = [it.source, to, it.key].map(str::to_owned);
            (source, to, to_queue, key, table(it.arguments))
        });
        assert_eq!(found, expected.collect(), "the bindings");
    }

    fn compare_counts(&self) {
        for (id, client) in &self.model.clients {
            assert_eq!(self.core.is_blocked(*id), client.blocked, "whether {id} is blocked");
        }
        let snapshots = self.core.vhost.queues();
        let names: BTreeSet<_> = snapshots.iter().map(|queue| queue.name.as_str()).collect();
        assert_eq!(names, self.model.queues.keys().copied().collect(), "the queues");
        for found in snapshots {
            let queue = &self.model.queues[found.name.as_str()];
            let unacked = self.model.unacked_count(queue.kind.name, queue.instance);
            let consumers = self.model.consumer_count(queue.kind.name);
            assert_eq!(
                (found.messages_ready, found.messages_unacknowledged, found.consumers),
                (queue.ready.len(), unacked, consumers),
                "ready, unacked and consumers of {}",
                found.name
            );
            let active = found.single_active_consumer;
            assert_eq!(active, queue.active, "the active consumer of {}", found.name);
            let octets: usize = queue.ready.iter().map(|copy| copy.body().len()).sum();
            assert_eq!(found.message_bytes_ready, octets as u64);
        }
    }
}
