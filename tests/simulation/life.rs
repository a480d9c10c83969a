//! One seed, one life of a broker: clients, a disk, crashes, and the model beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use leveret::broker::command::Outgoing;
use leveret::broker::message::Message;
use leveret::broker::paging::{PageOrder, PageOwner};
use leveret::broker::record::{BoundTo, Record, Recovered, RecoveredMessage};
use leveret::broker::time::Time;
use leveret::store::{Fault, FaultyDisk, MemoryDisk, Operation, Options, Store};
use leveret_codec::method::{basic, channel, confirm, connection, exchange, queue};
use leveret_codec::table::TableBuilder;
use leveret_codec::{
    Decoder, Encode, Method, Properties, PropertyFields, ShortStr, TableBuf, Value,
};

use crate::dice::Dice;
use crate::model::{
    Channel, Client, Copy, Durable, EXCHANGES, KEYS, KINDS, Kind, Model, Outcome, Publish, Seen,
    kind,
};
use crate::replay::{Core, Input, Journal, Output};

/// One thing that happens.
#[derive(Clone, Debug)]
enum Op {
    Connect,
    Vanish(u64),
    CloseConnection(u64),
    OpenChannel(u64, u16),
    CloseChannel(u64, u16),
    /// Acknowledges what was never delivered, which costs the channel.
    Blunder(u64, u16),
    DeclareQueue(u64, u16, &'static str),
    DeleteQueue(u64, u16, &'static str),
    Purge(u64, u16, &'static str),
    DeclareExchange(u64, u16, &'static str),
    DeleteExchange(u64, u16, &'static str),
    Bind(u64, u16, &'static str, &'static str, &'static str),
    Unbind(u64, u16, &'static str, &'static str, &'static str),
    Confirm(u64, u16),
    Publish(u64, u16, Publish),
    Consume(u64, u16, &'static str, String, bool),
    Cancel(u64, u16, String),
    Qos(u64, u16, u16, bool),
    Get(u64, u16, &'static str, bool),
    /// The tag, whether multiple, the tags that it covers, and what becomes of them.
    Settle(u64, u16, u64, bool, Vec<u64>, Outcome),
    Recover(u64, u16),
    Stall(u64),
    Unstall(u64),
    PassMs(u64),
    Finish,
    /// So many of the records that wait.
    Write(usize),
    Checkpoint,
    Kill,
    LosePower,
    /// The disk fails, then the power.
    FailDisk(u64),
}

/// What a step is to be answered with.
#[derive(Default)]
struct Expected {
    purged: Option<usize>,
    deleted: Option<usize>,
    declared: Option<(usize, usize)>,
    get: Option<(u64, u16, &'static str, bool)>,
    closes: Option<(u64, u16)>,
    connection_closes: Option<u64>,
}

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
        let options = Options {
            log_file_bytes: 200 + dice.below(3000),
            log_files: dice.below(4) as usize,
            segment_bytes: 200 + dice.below(3000),
        };
        let memory = (!dice.one_in(3)).then(|| dice.below(3) * dice.below(1500));
        let disk = MemoryDisk::default();
        let mut life = Life {
            dice,
            core: Core::new(),
            journal: Journal::default(),
            model: Model { now: 1_000_000, ..Model::default() },
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
        self.happen(Op::Finish);
        self.happen(Op::Write(usize::MAX));
        self.happen(Op::Kill);
        self.happen(Op::Connect);
        let client = self.next_client;
        self.happen(Op::OpenChannel(client, 1));
        // Each until it says that it is empty, those that dead-letter first.
        for name in self.model.mortal_first() {
            let is_filled =
                |model: &Model| model.queues.get(name).is_some_and(|queue| !queue.ready.is_empty());
            while is_filled(&self.model) {
                self.happen(Op::Get(client, 1, name, true));
            }
            if self.model.queues.contains_key(name) {
                self.happen(Op::Get(client, 1, name, true));
            }
        }
        self.happen(Op::Finish);
        self.happen(Op::Write(usize::MAX));
        self.happen(Op::Kill);
        for queue in self.core.vhost.queues() {
            assert_eq!(queue.messages_ready, 0, "{} has something left", queue.name);
        }
    }

    // What happens.

    fn choose(&mut self) -> Op {
        let clients: Vec<u64> = self.model.clients.keys().copied().collect();
        if clients.is_empty() || clients.len() < 4 && self.dice.one_in(30) {
            return Op::Connect;
        }
        let client = *self.dice.pick(&clients);
        match self.dice.below(1000) {
            0..=4 => return Op::Vanish(client),
            5..=7 => return Op::CloseConnection(client),
            8..=19 => return self.choose_stall(client),
            20..=59 => return Op::PassMs(self.dice.below(700)),
            60..=199 => return Op::Finish,
            200..=289 => return Op::Write(1 + self.dice.below(12) as usize),
            290..=329 => return Op::Checkpoint,
            330..=334 => return Op::Kill,
            335..=339 => return Op::LosePower,
            340..=344 => return Op::FailDisk(self.dice.below(12)),
            _ => {}
        }
        let channels: Vec<u16> =
            self.model.channels.keys().filter(|(of, _)| *of == client).map(|(_, n)| *n).collect();
        if channels.is_empty() || channels.len() < 3 && self.dice.one_in(20) {
            let free = (1..).find(|number| !channels.contains(number));
            return Op::OpenChannel(client, free.expect("there are more numbers than channels"));
        }
        let channel = *self.dice.pick(&channels);
        self.choose_on(client, channel)
    }

    fn choose_stall(&mut self, client: u64) -> Op {
        let stalled = self.model.clients[&client].stalled;
        // Every other client always reads, which the model needs to know of some.
        match (stalled, may_stall(client)) {
            (true, _) => Op::Unstall(client),
            (false, true) => Op::Stall(client),
            (false, false) => Op::PassMs(1),
        }
    }

    fn choose_on(&mut self, client: u64, number: u16) -> Op {
        let open = self.model.queues.values().filter(|it| it.owner.is_none_or(|of| of == client));
        let queues: Vec<&'static str> = open.map(|queue| queue.kind.name).collect();
        if queues.is_empty() || self.dice.one_in(25) {
            return self.choose_declaration(client, number);
        }
        let queue = *self.dice.pick(&queues);
        let channel = &self.model.channels[&(client, number)];
        match self.dice.below(100) {
            0 => Op::CloseChannel(client, number),
            1 => Op::Blunder(client, number),
            2 if self.dice.one_in(3) => Op::DeleteQueue(client, number, queue),
            3 if self.dice.one_in(3) => Op::Purge(client, number, queue),
            4..=6 => self.choose_binding(client, number),
            7..=9 => Op::Confirm(client, number),
            10..=49 => self.choose_publish(client, number, queue),
            50..=57 => self.choose_consumer(client, number, queue),
            58..=61 => {
                let tags: Vec<_> = channel.consumers.keys().cloned().collect();
                if tags.is_empty() || self.dice.one_in(2) {
                    let (count, global) = (self.dice.below(4) as u16, self.dice.one_in(3));
                    return Op::Qos(client, number, count, global);
                }
                Op::Cancel(client, number, self.dice.pick(&tags).clone())
            }
            62..=69 => Op::Get(client, number, queue, self.dice.one_in(3)),
            70 => Op::Recover(client, number),
            _ => self.choose_settlement(client, number),
        }
    }

    fn choose_declaration(&mut self, client: u64, number: u16) -> Op {
        if self.dice.one_in(4) {
            let name = self.dice.pick(&EXCHANGES).0;
            if self.model.exchanges.contains(name) && self.dice.one_in(6) {
                return Op::DeleteExchange(client, number, name);
            }
            return Op::DeclareExchange(client, number, name);
        }
        let name = self.dice.pick(&KINDS).name;
        match self.model.queues.get(name) {
            Some(queue) if queue.owner.is_some_and(|owner| owner != client) => Op::Finish,
            _ => Op::DeclareQueue(client, number, name),
        }
    }

    fn choose_binding(&mut self, client: u64, number: u16) -> Op {
        let exchanges: Vec<_> = self.model.exchanges.iter().copied().collect();
        // A message that comes to a queue directly and as a dead letter could not be told apart.
        let is_grave = |name| KINDS.iter().any(|kind| kind.dead_letters_to == Some(name));
        let shared = self.model.queues.values().filter(|queue| queue.owner.is_none());
        let shared = shared.filter(|queue| !is_grave(queue.kind.name));
        let queues: Vec<&'static str> = shared.map(|queue| queue.kind.name).collect();
        if exchanges.is_empty() || queues.is_empty() {
            return Op::DeclareExchange(client, number, EXCHANGES[0].0);
        }
        let (exchange, queue) = (*self.dice.pick(&exchanges), *self.dice.pick(&queues));
        let key = *self.dice.pick(&KEYS);
        if self.dice.one_in(3) {
            Op::Unbind(client, number, exchange, queue, key)
        } else {
            Op::Bind(client, number, exchange, queue, key)
        }
    }

    fn choose_publish(&mut self, client: u64, number: u16, queue: &'static str) -> Op {
        self.next_body += 1;
        let exchanges: Vec<_> = self.model.exchanges.iter().copied().collect();
        let (exchange, key) = if exchanges.is_empty() || !self.dice.one_in(4) {
            ("", queue)
        } else {
            (*self.dice.pick(&exchanges), *self.dice.pick(&KEYS))
        };
        let mut body = format!("m{}", self.next_body);
        let mut persistent = self.dice.below(3) > 0;
        if exchange.is_empty() && self.dice.one_in(20) && kind(queue).max_length.is_none() {
            // A few of these fill an outbox.
            body.push_str(&"x".repeat(400_000));
            persistent = false;
        }
        let priority = self.dice.one_in(3).then(|| self.dice.below(6) as u8);
        let expiration_ms = self.dice.one_in(8).then(|| self.dice.below(4) * 300);
        let publish = Publish { exchange, key, body, persistent, priority, expiration_ms };
        Op::Publish(client, number, publish)
    }

    fn choose_consumer(&mut self, client: u64, number: u16, queue: &'static str) -> Op {
        let channel = &self.model.channels[&(client, number)];
        if channel.consumers.len() >= 3 {
            return self.choose_settlement(client, number);
        }
        let Kind { max_length, rejects, .. } = kind(queue);
        let limited = max_length.is_some() && !rejects;
        if limited && may_stall(client) {
            return Op::Get(client, number, queue, false);
        }
        let no_ack = limited || self.dice.one_in(5);
        // A tag used twice would make the deliveries of the first one look like the second one's.
        self.next_tag += 1;
        let tag = format!("c{}", self.next_tag);
        Op::Consume(client, number, queue, tag, no_ack)
    }

    fn choose_settlement(&mut self, client: u64, number: u16) -> Op {
        let channel = &self.model.channels[&(client, number)];
        let all: Vec<u64> = channel.unacked.keys().copied().collect();
        if all.is_empty() {
            return Op::Finish;
        }
        let outcomes = [Outcome::Done, Outcome::Done, Outcome::Refused, Outcome::Requeued];
        let outcome = *self.dice.pick(&outcomes);
        let chosen = *self.dice.pick(&all);
        let oldest = if self.dice.one_in(3) { chosen } else { all[0] };
        match self.dice.below(10) {
            0 => Op::Settle(client, number, 0, true, all, outcome),
            1 | 2 => {
                let covered = all.into_iter().filter(|tag| *tag <= chosen).collect();
                Op::Settle(client, number, chosen, true, covered, outcome)
            }
            _ => Op::Settle(client, number, oldest, false, vec![oldest], outcome),
        }
    }

    /// Does one thing to the model and to the broker and compares.
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
            Op::PassMs(ms) => {
                self.model.now += ms;
                self.model.settle_time();
                self.input(Input::Timeout, &Expected::default());
            }
            Op::Finish => {
                self.model.tell_deliveries();
                self.input(Input::Finish, &Expected::default());
                self.take_records();
                if self.synced == self.records {
                    self.model.check_answered();
                }
            }
            op => self.client_op(op),
        }
        self.settle_down();
    }

    fn client_op(&mut self, op: Op) {
        let mut expected = Expected::default();
        self.model.leaving.clear();
        let inputs = self.apply(op, &mut expected);
        for input in inputs {
            self.input(input, &expected);
            expected.get = None;
        }
    }

    /// Changes the model; what the broker is to be given.
    fn apply(&mut self, op: Op, expected: &mut Expected) -> Vec<Input> {
        let model = &mut self.model;
        match op {
            Op::Connect => {
                self.next_client += 1;
                model.clients.insert(self.next_client, Client::default());
                vec![Input::Open(self.next_client)]
            }
            Op::Vanish(client) => {
                model.close_client(client);
                vec![Input::Disconnect(client)]
            }
            Op::CloseConnection(client) => {
                model.close_client(client);
                expected.connection_closes = Some(client);
                let close = connection::Close { reply_code: 200, ..Default::default() };
                vec![method(client, 0, &close), Input::Disconnect(client)]
            }
            Op::OpenChannel(client, number) => {
                model.channels.insert((client, number), Channel::default());
                vec![method(client, number, &channel::Open::default())]
            }
            Op::CloseChannel(client, number) => {
                model.close_channel((client, number));
                vec![method(client, number, &channel::Close::default())]
            }
            Op::Blunder(client, number) => {
                model.close_channel((client, number));
                expected.closes = Some((client, number));
                let ack = basic::Ack { delivery_tag: 1_000_000, multiple: false };
                vec![method(client, number, &ack), method(client, number, &channel::CloseOk {})]
            }
            Op::DeclareQueue(client, number, name) => {
                model.declare_queue(client, name);
                let (ready, consumers) =
                    (model.queues[name].ready.len(), model.consumer_count(name));
                expected.declared = Some((ready, consumers));
                vec![declare_queue(client, number, kind(name))]
            }
            Op::DeleteQueue(client, number, name) => {
                expected.deleted = Some(model.delete_queue(name));
                let delete = queue::Delete { queue: short(name), ..Default::default() };
                vec![method(client, number, &delete)]
            }
            Op::Purge(client, number, name) => {
                expected.purged = Some(model.purge(name));
                let purge = queue::Purge { queue: short(name), ..Default::default() };
                vec![method(client, number, &purge)]
            }
            Op::DeclareExchange(client, number, name) => {
                model.exchanges.insert(name);
                let (_, durable, fanout) =
                    EXCHANGES.into_iter().find(|it| it.0 == name).expect("one of ours");
                let declare = exchange::Declare {
                    exchange: short(name),
                    kind: short(if fanout { "fanout" } else { "direct" }),
                    durable,
                    ..Default::default()
                };
                vec![method(client, number, &declare)]
            }
            Op::DeleteExchange(client, number, name) => {
                model.delete_exchange(name);
                let delete = exchange::Delete { exchange: short(name), ..Default::default() };
                vec![method(client, number, &delete)]
            }
            Op::Bind(client, number, exchange, name, key) => {
                model.bindings.insert((exchange, name, key));
                let bind = queue::Bind {
                    queue: short(name),
                    exchange: short(exchange),
                    routing_key: short(key),
                    ..Default::default()
                };
                vec![method(client, number, &bind)]
            }
            Op::Unbind(client, number, exchange, name, key) => {
                model.bindings.remove(&(exchange, name, key));
                let unbind = queue::Unbind {
                    queue: short(name),
                    exchange: short(exchange),
                    routing_key: short(key),
                    ..Default::default()
                };
                vec![method(client, number, &unbind)]
            }
            op => self.apply_to_messages(op, expected),
        }
    }

    fn apply_to_messages(&mut self, op: Op, expected: &mut Expected) -> Vec<Input> {
        let model = &mut self.model;
        match op {
            Op::Confirm(client, number) => {
                model.channels.get_mut(&(client, number)).expect("it is open").confirming = true;
                vec![method(client, number, &confirm::Select { nowait: false })]
            }
            Op::Publish(client, number, publish) => {
                model.publish(client, number, &publish);
                vec![Input::Publish(client, number, message(&publish))]
            }
            Op::Consume(client, number, name, tag, no_ack) => {
                model.consume((client, number), name, &tag, no_ack);
                let consume = basic::Consume {
                    queue: short(name),
                    consumer_tag: short(&tag),
                    no_ack,
                    ..Default::default()
                };
                vec![method(client, number, &consume)]
            }
            Op::Cancel(client, number, tag) => {
                model.cancel((client, number), &tag);
                let cancel = basic::Cancel { consumer_tag: short(&tag), nowait: false };
                vec![method(client, number, &cancel)]
            }
            Op::Qos(client, number, prefetch_count, global) => {
                let channel = model.channels.get_mut(&(client, number)).expect("it is open");
                if global {
                    channel.global_prefetch = prefetch_count;
                } else {
                    (channel.prefetch, channel.global_prefetch) = (prefetch_count, 0);
                }
                let qos = basic::Qos { prefetch_count, global, ..Default::default() };
                vec![method(client, number, &qos)]
            }
            Op::Get(client, number, name, no_ack) => {
                model.note_used(name);
                model.let_expire(name);
                expected.get = Some((client, number, name, no_ack));
                let get = basic::Get { queue: short(name), no_ack, ..Default::default() };
                vec![method(client, number, &get)]
            }
            Op::Settle(client, number, delivery_tag, multiple, tags, outcome) => {
                model.settle((client, number), &tags, outcome);
                let requeue = outcome == Outcome::Requeued;
                vec![match (outcome, multiple) {
                    (Outcome::Done, _) => {
                        method(client, number, &basic::Ack { delivery_tag, multiple })
                    }
                    (_, false) => method(client, number, &basic::Reject { delivery_tag, requeue }),
                    (_, true) => {
                        method(client, number, &basic::Nack { delivery_tag, multiple, requeue })
                    }
                }]
            }
            Op::Recover(client, number) => {
                model.requeue_all((client, number));
                vec![method(client, number, &basic::Recover { requeue: true })]
            }
            Op::Stall(client) => {
                model.clients.get_mut(&client).expect("it is connected").stalled = true;
                Vec::new()
            }
            Op::Unstall(client) => {
                model.clients.get_mut(&client).expect("it is connected").stalled = false;
                Vec::new()
            }
            other => unreachable!("{other:?} is no client's"),
        }
    }

    // The broker and what comes out of it.

    // why: its callers make an input for this and keep nothing of it.
    #[allow(clippy::needless_pass_by_value)]
    fn input(&mut self, input: Input, expected: &Expected) {
        let now = Time::from_millis(self.model.now);
        let starts = matches!(input, Input::Recover(_));
        loop {
            let outputs = self.core.apply(now, &input);
            self.journal.note(now, input.clone(), &outputs);
            self.orders.extend(self.core.take_page_orders());
            if self.core.is_handled {
                self.observe(outputs, expected);
                break;
            }
            self.observe(outputs, &Expected::default());
            self.carry_out_orders();
        }
        // What expired while the broker was down goes when the timer looks.
        if !starts {
            self.model.settle_time();
        }
        // Mostly at once; otherwise the records of neighbours may become one.
        if self.dice.below(4) > 0 {
            self.take_records();
        }
    }

    fn take_records(&mut self) {
        let records = self.core.take_records();
        self.journal.note_records(&records);
        self.records += records.len() as u64;
        self.pending.extend(records);
        // While a timer is due the model may be ahead: what has expired is gone there already.
        // The same goes for what waits for pages.
        if self.timer_is_due() || !self.is_at_rest {
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

    /// What the core asks of the store beside records, behind all records made so far.
    fn carry_out_orders(&mut self) {
        if self.refused && self.dice.one_in(3) {
            self.refused = false;
            self.input(Input::Room, &Expected::default());
        }
        while !self.orders.is_empty() {
            self.write(usize::MAX);
            for order in std::mem::take(&mut self.orders) {
                self.carry_out(order);
            }
        }
    }

    fn carry_out(&mut self, order: PageOrder) {
        let store = self.store.as_mut().expect("the store is open");
        match order {
            PageOrder::Out { owner, messages } if self.refused || self.dice.one_in(20) => {
                self.refused = true;
                self.input(Input::PageRefused(owner, messages), &Expected::default());
            }
            PageOrder::Out { owner, messages } => {
                store.page_out(owner, &messages).expect("the disk works");
            }
            PageOrder::In { owner, first, last, octets } => {
                // Little at once, so that queues of a few messages have a cold part for a while.
                let octets = octets.min(1 + self.dice.below(300) as usize);
                let page = store.page_in(owner, first, last, octets).expect("it can be read");
                assert!(store.take_damage().is_empty(), "no damage was done");
                self.input(Input::Page(page), &Expected::default());
            }
            PageOrder::Done { owner, first, last } => store.pages_done(owner, first, last),
            PageOrder::Forget { queue } => store.forget_pages(queue),
        }
    }

    /// What is to be paged, out or in, is found out at the end of a batch.
    fn finish_batch(&mut self) {
        if self.has_pages {
            self.model.tell_deliveries();
            self.input(Input::Finish, &Expected::default());
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
                self.input(Input::Timeout, &Expected::default());
                self.finish_batch();
                continue;
            }
            let reads = |client: &Client| !client.stalled && client.outbox > 0;
            let reader = self.model.clients.iter_mut().find(|(_, client)| reads(client));
            let Some((&client, state)) = reader else { break };
            let octets = std::mem::take(&mut state.outbox);
            self.input(Input::Written(client, octets), &Expected::default());
            self.finish_batch();
        }
        self.model.check_nothing_waits();
        self.compare_counts();
        self.is_at_rest = true;
        self.take_records();
        self.is_at_rest = !self.has_pages;
    }

    fn compare_counts(&self) {
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
            let octets: usize = queue.ready.iter().map(|copy| copy.body.len()).sum();
            assert_eq!(found.message_bytes_ready, octets as u64);
        }
    }

    fn observe(&mut self, outputs: Vec<Output>, expected: &Expected) {
        let mut seen = Vec::new();
        let mut confirms = Vec::new();
        let mut left = None;
        for (client, outgoing) in outputs {
            for item in outgoing {
                if let Some(state) = self.model.clients.get_mut(&client) {
                    state.outbox += item.size();
                }
                match item {
                    Outgoing::Frames(frames) => {
                        for (channel, ack) in self.frames(client, &frames, expected) {
                            confirms.push((client, channel, ack));
                        }
                    }
                    Outgoing::Deliver(it) => {
                        let tag = it.consumer_tag.to_string();
                        let channel = self.model.channels.get(&(client, it.channel));
                        let consumer = channel.and_then(|channel| channel.consumers.get(&tag));
                        seen.push(Seen {
                            client,
                            channel: it.channel,
                            queue: consumer.expect("deliveries go to consumers").queue,
                            consumer: Some(tag),
                            delivery_tag: it.delivery_tag,
                            redelivered: it.redelivered,
                            body: body(&it.message),
                        });
                    }
                    Outgoing::GetOk {
                        channel,
                        delivery_tag,
                        redelivered,
                        message_count,
                        message,
                    } => {
                        let (of, on, queue, _) = expected.get.expect("a get was sent");
                        assert_eq!((of, on), (client, channel));
                        left = Some((queue, delivery_tag, message_count));
                        let body = body(&message);
                        let consumer = None;
                        seen.push(Seen {
                            client,
                            channel,
                            consumer,
                            queue,
                            delivery_tag,
                            redelivered,
                            body,
                        });
                    }
                    Outgoing::Return { .. } => panic!("nothing is mandatory"),
                    Outgoing::End => panic!("nobody is cut off"),
                }
            }
        }
        self.model.deliver(seen);
        if let Some((client, channel, name, no_ack)) = expected.get {
            self.model.let_expire(name);
            let ready = self.model.queues[name].ready.len();
            match left {
                None => assert_eq!(ready, 0, "{name} says it is empty"),
                Some((_, tag, count)) => {
                    let count = count as usize;
                    // What has expired on the disk is counted until it is looked at.
                    let may_be_more = self.has_pages && count > ready;
                    assert!(may_be_more || count == ready, "{count}, not {ready} left in {name}");
                    if no_ack {
                        self.model.forget((client, channel), tag);
                    }
                }
            }
        }
        let works = self.store.is_some();
        for (client, channel, (last, multiple, accepted)) in confirms {
            let at = (client, channel);
            self.model.confirm(at, last, multiple, accepted, &self.written, works);
        }
    }

    /// Reads frames and checks the answers in them; gives back the confirms.
    fn frames(
        &self,
        client: u64,
        frames: &[u8],
        expected: &Expected,
    ) -> Vec<(u16, (u64, bool, bool))> {
        let decoder = Decoder::new(4096);
        let mut rest = frames;
        let mut confirms = Vec::new();
        while let Some((frame, length)) = decoder.decode(rest).expect("frames come out") {
            rest = &rest[length..];
            let method = Method::decode(frame.payload).expect("methods come out");
            let at = (client, frame.channel);
            match method {
                Method::BasicAck(it) => {
                    confirms.push((frame.channel, (it.delivery_tag, it.multiple, true)));
                }
                Method::BasicNack(it) => {
                    confirms.push((frame.channel, (it.delivery_tag, it.multiple, false)));
                }
                Method::QueuePurgeOk(it) => {
                    assert_eq!(Some(it.message_count as usize), expected.purged, "purged");
                }
                Method::QueueDeleteOk(it) => {
                    assert_eq!(Some(it.message_count as usize), expected.deleted, "deleted");
                }
                Method::QueueDeclareOk(it) => {
                    let counts = (it.message_count as usize, it.consumer_count as usize);
                    assert_eq!(Some(counts), expected.declared, "declared");
                }
                Method::ChannelClose(it) => {
                    assert_eq!(expected.closes, Some(at), "{}", it.reply_text);
                }
                Method::ConnectionClose(it) => panic!("connection closed: {}", it.reply_text),
                Method::ConnectionCloseOk(_) => {
                    assert_eq!(expected.connection_closes, Some(client));
                }
                Method::BasicCancel(it) => {
                    let tag = it.consumer_tag.to_string();
                    let there = self.model.channels[&at].consumers.contains_key(&tag);
                    assert!(!there, "{tag} is cancelled, and its queue is there");
                }
                _ => {}
            }
        }
        confirms
    }

    // The disk.

    fn write(&mut self, count: usize) {
        self.take_records();
        let count = count.min(self.pending.len());
        let records: Vec<_> = self.pending.drain(..count).collect();
        let store = self.store.as_mut().expect("the store is open");
        let lsn = store.write(&records).expect("the disk works");
        self.note_written(&records);
        self.synced += count as u64;
        assert_eq!(lsn.0, self.synced, "the core and the store count alike");
        let synced = self.synced;
        let last = self.moments.iter().rposition(|moment| moment.records <= synced);
        self.moments.drain(..last.unwrap_or(0));
        self.input(Input::Synced(lsn), &Expected::default());
    }

    fn note_written(&mut self, records: &[Record]) {
        for record in records {
            if let Record::Enqueued { message, .. } = record {
                self.written.insert(body(message));
            }
        }
    }

    fn kill(&mut self) {
        self.take_records();
        self.disk = self.disk.kill();
        self.start();
    }

    fn lose_power(&mut self) {
        self.take_records();
        self.crash();
        self.start();
    }

    fn crash(&mut self) {
        let dice = &mut self.dice;
        self.disk = self.disk.crash(|_, most| match dice.below(3) {
            0 => 0,
            1 => most,
            _ => dice.below(most as u64 + 1) as usize,
        });
    }

    /// The disk fails in the middle of what it is doing; the broker notices, then dies.
    fn fail_disk(&mut self, after: u64) {
        self.take_records();
        let operations = [Operation::Change, Operation::Append, Operation::Sync];
        self.faulty.fail(Fault {
            operation: *self.dice.pick(&operations),
            below: String::new(),
            after,
            kind: io::ErrorKind::Other,
            written: self.dice.below(400) as usize,
        });
        let mut store = self.store.take().expect("the store is open");
        let records = std::mem::take(&mut self.pending);
        let failed = store.write(&records).is_err();
        if !failed {
            self.note_written(&records);
            self.synced += records.len() as u64;
        }
        // What is left of the failure comes later, if the broker is doing something then.
        for _ in 0..6 {
            if store.checkpoint_step().is_err() {
                break;
            }
        }
        self.input(Input::StoreFailed, &Expected::default());
        self.input(Input::Finish, &Expected::default());
        self.model.check_answered();
        self.core.take_records();
        if self.dice.one_in(2) {
            self.disk = self.disk.kill();
        } else {
            self.crash();
        }
        self.start();
    }

    /// The broker starts on what is on the disk.
    fn start(&mut self) {
        self.faulty = FaultyDisk::new(self.disk.clone());
        let (store, recovered, report) =
            Store::open(Arc::new(self.faulty.clone()), self.options).expect("the store opens");
        let torn = report.cuts.iter().all(|damage| damage.what.contains("torn"));
        assert!(torn, "no damage was done: {report}");
        self.store = Some(store);
        let last = recovered.last_lsn.0;
        assert!(
            last >= self.synced,
            "{last} records came back of {} that were synced",
            self.synced
        );
        self.has_pages =
            self.memory.is_some() || recovered.queues.iter().any(|queue| queue.cold.is_some());
        let whole = self.with_cold_parts(&recovered);
        let durable = self.check_recovered(&whole);
        self.model.restart(durable.clone());
        self.pending.clear();
        self.is_at_rest = false;
        self.orders.clear();
        self.refused = false;
        (self.records, self.synced) = (last, last);
        self.moments = vec![Moment::new(last, durable)];
        for queue in &whole.queues {
            self.written.extend(queue.messages.iter().map(|it| body(&it.message)));
        }
        self.input(Input::Recover(recovered), &Expected::default());
        if let Some(octets) = self.memory {
            self.input(Input::MemoryShare(octets), &Expected::default());
        }
        self.model.tell_deliveries();
        self.input(Input::Finish, &Expected::default());
        self.carry_out_orders();
        self.input(Input::Timeout, &Expected::default());
    }

    /// What was found, with the messages that are on the disk alone.
    fn with_cold_parts(&mut self, recovered: &Recovered) -> Recovered {
        let mut whole = recovered.clone();
        let store = self.store.as_mut().expect("the store is open");
        for queue in &mut whole.queues {
            let Some(cold) = queue.cold.take() else { continue };
            let owner = PageOwner::Durable(queue.definition.id);
            let (mut next, mut messages, mut octets) = (Some(cold.first), 0, 0);
            while let Some(first) = next {
                let page = store.page_in(owner, first, cold.last, 500).expect("it can be read");
                next = page.next;
                for paged in page.messages {
                    assert!(paged.recorded, "what no record speaks of is gone");
                    messages += 1;
                    octets += paged.message.body().len() as u64;
                    queue.messages.push(RecoveredMessage {
                        position: paged.position,
                        expires_at: paged.expires_at,
                        message: paged.message,
                    });
                }
            }
            assert_eq!((messages, octets), (cold.messages, cold.octets), "the cold part's sums");
            queue.messages.sort_by_key(|message| message.position);
        }
        whole
    }

    /// Checks what came back against what the records that came back should say.
    fn check_recovered(&self, recovered: &Recovered) -> Durable {
        let last = recovered.last_lsn.0;
        let after = self.moments.iter().position(|moment| moment.records >= last);
        let after = after.expect("no more records come back than were made");
        // Several steps may have made no record; any of them may be the last.
        let exact: Vec<_> = self.moments.iter().filter(|it| it.records == last).collect();
        if let Some(moment) = exact.last() {
            return check_same(recovered, &moment.durable);
        }
        check_between(recovered, &self.moments[after - 1].durable, &self.moments[after])
    }
}

/// Whether a client is one of those that sometimes do not read.
fn may_stall(client: u64) -> bool {
    client.is_multiple_of(2)
}

/// What came back is exactly this, but for the order of queues and whether what was delivered is
/// known to be.
fn check_same(recovered: &Recovered, durable: &Durable) -> Durable {
    let found = found(recovered, &[durable]);
    let without_marks = |durable: &Durable| {
        let mut durable = durable.clone();
        for copy in durable.queues.values_mut().flatten() {
            (copy.delivered, copy.delivered_told) = (false, false);
        }
        durable
    };
    assert_eq!(without_marks(&found), without_marks(durable), "what came back");
    for (name, copies) in &found.queues {
        for (copy, kept) in copies.iter().zip(&durable.queues[name]) {
            let body = &copy.body;
            assert!(!copy.delivered || kept.delivered, "{body} was not delivered before");
            assert!(copy.delivered || !kept.delivered_told, "{body} was delivered before");
        }
    }
    found
}

/// What came back is what was there before a step, or after it, or something on the way.
fn check_between(recovered: &Recovered, before: &Durable, after: &Moment) -> Durable {
    let found = found(recovered, &[before, &after.durable, &after.entered]);
    let after = &after.durable;
    for name in before.queues.keys().filter(|name| after.queues.contains_key(*name)) {
        assert!(found.queues.contains_key(name), "{name} is gone");
        for copy in &before.queues[name] {
            let stays = after.queues[name].iter().any(|it| it.body == copy.body);
            let here = found.queues[name].iter().any(|it| it.body == copy.body);
            assert!(here || !stays, "{} is gone", copy.body);
        }
    }
    let bodies = |durable: &Durable| -> BTreeSet<String> {
        durable.queues.values().flatten().map(|copy| copy.body.clone()).collect()
    };
    let lost = &(&bodies(before) & &bodies(after)) - &bodies(&found);
    assert!(lost.is_empty(), "{lost:?} got lost on the way from queue to queue");
    let both = |durable: &Durable| (durable.exchanges.clone(), durable.bindings.clone());
    let ((found_ex, found_bind), (ex1, bind1), (ex2, bind2)) =
        (both(&found), both(before), both(after));
    assert!(found_ex.is_superset(&(&ex1 & &ex2)) && found_ex.is_subset(&(&ex1 | &ex2)));
    assert!(found_bind.is_superset(&(&bind1 & &bind2)) && found_bind.is_subset(&(&bind1 | &bind2)));
    found
}

/// What came back, in the words of the model: each message as the model knows it from somewhere.
fn found(recovered: &Recovered, somewhere: &[&Durable]) -> Durable {
    let mut found = Durable::default();
    let mut ids = Vec::new();
    for queue in &recovered.queues {
        let name = kind(&queue.definition.name.to_string()).name;
        ids.push((queue.definition.id, name));
        let mut times: BTreeMap<String, usize> = BTreeMap::new();
        let mut known = |body: String| -> Copy {
            let times = times.entry(body.clone()).or_default();
            *times += 1;
            let all = somewhere.iter().filter_map(|durable| durable.queues.get(name));
            let of_body = |copies: &'_ Vec<Copy>| {
                let mut same = copies.iter().filter(|copy| copy.body == body);
                same.nth(*times - 1).cloned()
            };
            let copy = all.filter_map(of_body).next();
            copy.unwrap_or_else(|| panic!("{body} came back to {name}"))
        };
        let copies = queue.messages.iter().map(|it| {
            let copy = known(body(&it.message));
            let through = queue.delivered.iter().find(|(of, _)| *of == copy.priority);
            let delivered = through.is_some_and(|(_, through)| it.position <= *through);
            assert_eq!(it.expires_at, copy.expires_at.map(Time::from_millis), "{}", copy.body);
            Copy { delivered, delivered_told: delivered, ..copy }
        });
        let copies: Vec<Copy> = copies.collect();
        let rising = copies.windows(2).all(|pair| pair[0].sequence < pair[1].sequence);
        assert!(rising, "{name} came back in another order: {copies:?}");
        found.queues.insert(name, copies);
    }
    for exchange in &recovered.exchanges {
        let name = exchange.name.to_string();
        let known = EXCHANGES.into_iter().find(|it| it.0 == name).expect("one of ours");
        found.exchanges.insert(known.0);
    }
    for binding in &recovered.bindings {
        let BoundTo::Queue(id) = &binding.destination else { panic!("bound to no queue") };
        let (_, to) = ids.iter().find(|(known, _)| known == id).expect("bound to a queue");
        let (from, key) = (binding.source.to_string(), binding.routing_key.to_string());
        let from = EXCHANGES.into_iter().find(|it| it.0 == from).expect("one of ours").0;
        let key = KEYS.into_iter().find(|it| *it == key).expect("one of ours");
        found.bindings.insert((from, to, key));
    }
    found
}

fn declare_queue(client: u64, number: u16, kind: &Kind) -> Input {
    let mut table = TableBuilder::default();
    let mut number_argument = |name: &str, value: Option<u64>| {
        if let Some(value) = value {
            table.push(name.as_bytes(), &Value::I64(value as i64));
        }
    };
    number_argument("x-message-ttl", kind.ttl_ms);
    number_argument("x-max-length", kind.max_length.map(|max| max as u64));
    number_argument("x-max-priority", kind.max_priority.map(u64::from));
    number_argument("x-expires", kind.expires_ms);
    if kind.rejects {
        table.push(b"x-overflow", &Value::LongStr(b"reject-publish"));
    }
    if let Some(to) = kind.dead_letters_to {
        table.push(b"x-dead-letter-exchange", &Value::LongStr(b""));
        table.push(b"x-dead-letter-routing-key", &Value::LongStr(to.as_bytes()));
    }
    let arguments: TableBuf = table.finish();
    let declare = queue::Declare {
        queue: short(kind.name),
        durable: kind.durable,
        exclusive: kind.exclusive,
        auto_delete: kind.auto_delete,
        arguments: arguments.as_table(),
        ..Default::default()
    };
    method(client, number, &declare)
}

fn message(publish: &Publish) -> Message {
    let expiration = publish.expiration_ms.map(|ms| ms.to_string());
    let fields = PropertyFields {
        delivery_mode: Some(if publish.persistent { 2 } else { 1 }),
        priority: publish.priority,
        expiration: expiration.as_deref().map(short),
        ..Default::default()
    };
    let mut properties = Vec::new();
    fields.encode(&mut properties);
    let properties = Properties::from_checked(&properties);
    Message::new(short(publish.exchange), short(publish.key), properties, publish.body.as_bytes())
}

fn method<M: Encode>(client: u64, channel: u16, method: &M) -> Input {
    let mut payload = Vec::new();
    payload.extend(M::CLASS_ID.to_be_bytes());
    payload.extend(M::METHOD_ID.to_be_bytes());
    method.encode_fields(&mut payload);
    Input::Method(client, channel, payload)
}

fn body(message: &Message) -> String {
    String::from_utf8_lossy(message.body()).into_owned()
}

fn short(text: &str) -> ShortStr<'_> {
    ShortStr::new(text.as_bytes()).expect("names of ours are short")
}
