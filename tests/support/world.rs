//! The broker's core in virtual time: clients that speak frames to a virtual host, without a socket,
//! a task or a clock.
//!
//! Whatever a client sends goes through the codec and a [`Connection`] as it would in the server,
//! and whatever it gets is decoded and kept as one readable line each:
//!
//! ```text
//!   queue.declare-ok q ready=0 consumers=0
//!   basic.deliver c 1 hello            basic.deliver c 2 hello (again)
//!   basic.get-ok 3 hello left=0        basic.return 312 NO_ROUTE hello
//!   basic.ack 2 (multiple)             channel.close 404 50,10 NOT_FOUND - no queue …
//! ```

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use leveret::broker::access::{AuthenticationFailure, Credentials, Permissions, Rights, User};
use leveret::broker::command::{Command, Handled, Outgoing, Wait};
use leveret::broker::connection::{Connection, ConnectionSettings, Progress};
use leveret::broker::error::{Checked, Fault};
use leveret::broker::limits::ClientLimits;
use leveret::broker::paging::{MemoryShare, PageOrder};
use leveret::broker::policy::PolicySet;
use leveret::broker::record::{Lsn, Record};
use leveret::broker::snapshot::QueueSnapshot;
use leveret::broker::time::Time;
use leveret::broker::vhost::{ConnectionId, Definition, Notice, Vhost, VhostSettings};
use leveret::store::{MemoryDisk, Options, Store};
use leveret_codec::method::{basic, channel, connection, exchange, queue};
use leveret_codec::table::TableBuilder;
use leveret_codec::{
    ContentHeader, Decoder, Encode, Method, Properties, PropertyFields, ShortStr, TableBuf, Value,
    encode, frame,
};

/// When every world begins: 1,000 seconds after the epoch.
pub(crate) const START: Time = Time::from_millis(1_000_000);

/// A short string of the test's own.
pub(crate) fn s(text: &str) -> ShortStr<'_> {
    ShortStr::new(text.as_bytes()).expect("it fits a short string")
}

/// A table of these entries.
pub(crate) fn table(entries: &[(&str, Value<'_>)]) -> TableBuf {
    let mut table = TableBuilder::default();
    for (name, value) in entries {
        table.push(name.as_bytes(), value);
    }
    table.finish()
}

/// A text as a value of a table.
pub(crate) fn text(text: &str) -> Value<'_> {
    Value::LongStr(text.as_bytes())
}

/// Set in the environment, it lets all that can go to the disk go there: the test `scenarios_paged`
/// runs the scenarios once more that way.
pub(crate) const PAGES_EVERYTHING: &str = "LEVERET_PAGES_EVERYTHING";

/// Whether all that can go to the disk does.
pub(crate) fn pages_everything() -> bool {
    std::env::var_os(PAGES_EVERYTHING).is_some()
}

/// A virtual host and the time it lives in.
#[derive(Clone)]
pub(crate) struct World {
    inner: Rc<RefCell<Inner>>,
}

struct Inner {
    vhost: Vhost,
    now: Time,
    clients: Vec<Rc<Open>>,
    store: Store,
    disk: MemoryDisk,
    options: Options,
    /// Records that are not written yet, while the disk is slow.
    unwritten: Vec<Record>,
    disk_is_slow: bool,
    /// Nothing more can be paged out.
    disk_is_full: bool,
    /// Orders that wait until what was recorded before them is written.
    orders: Vec<PageOrder>,
    /// How many messages have been paged out.
    paged_out: usize,
    /// How many answers have waited for records since that was last asked.
    awaited: usize,
    in_batch: bool,
    /// Work has its turn only when a test says so.
    is_paused: bool,
    /// How many steps there had been when the last hold ended, and the most that one hold took.
    steps: u64,
    longest_hold: u64,
}

impl World {
    /// An empty virtual host on an empty disk, at [`START`].
    pub(crate) fn new() -> Self {
        World::on(MemoryDisk::default(), Options::default(), START, Arc::default())
    }

    /// One with other limits of what clients may define.
    pub(crate) fn with_limits(limits: ClientLimits) -> Self {
        let world = World::new();
        let settings = VhostSettings { seed: 7.into(), limits, ..Default::default() };
        world.inner.borrow_mut().vhost = Vhost::new("/", &settings);
        world
    }

    /// One whose store has small files, so that little is enough to make it move messages.
    pub(crate) fn with_small_files() -> Self {
        World::with_files_of(1000)
    }

    /// One whose store has files of about so many bytes, and two of them for the log.
    pub(crate) fn with_files_of(bytes: u64) -> Self {
        let (log_file_bytes, segment_bytes) = (bytes, bytes);
        let options = Options { log_file_bytes, log_files: 2, segment_bytes, ..Options::default() };
        World::on(MemoryDisk::default(), options, START, Arc::default())
    }

    fn on(disk: MemoryDisk, options: Options, now: Time, policies: Arc<PolicySet>) -> Self {
        let (store, recovered, _) =
            Store::open(Arc::new(disk.clone()), options).expect("the store opens");
        let mut vhost =
            Vhost::new("/", &VhostSettings { seed: 7.into(), policies, ..Default::default() });
        if pages_everything() {
            let share =
                MemoryShare { before_paging: 0, before_consumers_wait: u64::MAX, whole: u64::MAX };
            vhost.handle_memory_share(now, Some(share));
        }
        let left_out = vhost.recover(now, recovered);
        assert_eq!(left_out, []);
        let inner = Inner {
            vhost,
            now,
            clients: Vec::new(),
            store,
            disk,
            options,
            unwritten: Vec::new(),
            disk_is_slow: false,
            disk_is_full: false,
            orders: Vec::new(),
            paged_out: 0,
            awaited: 0,
            in_batch: false,
            is_paused: false,
            steps: 0,
            longest_hold: 0,
        };
        let world = World { inner: Rc::new(RefCell::new(inner)) };
        world.inner.borrow_mut().finish();
        world
    }

    /// The broker is killed and comes up again: a new world with what was on the disk.
    pub(crate) fn restarted(&self) -> World {
        self.restarted_under(&PolicySet::default())
    }

    /// The same, with these policies in force from the beginning.
    pub(crate) fn restarted_under(&self, policies: &PolicySet) -> World {
        let inner = self.inner.borrow();
        World::on(inner.disk.kill(), inner.options, inner.now, Arc::new(policies.clone()))
    }

    /// The same, after it was down so long and something was done to its disk meanwhile.
    pub(crate) fn restarted_after(&self, ms: u64, done: impl FnOnce(&MemoryDisk)) -> World {
        let inner = self.inner.borrow();
        let disk = inner.disk.kill();
        done(&disk);
        World::on(disk, inner.options, inner.now.plus_millis(ms), Arc::default())
    }

    /// A copy of what is on the disk.
    pub(crate) fn disk(&self) -> MemoryDisk {
        self.inner.borrow().disk.kill()
    }

    /// A client whose connection is open, with the capabilities of an ordinary one.
    pub(crate) fn client(&self) -> Client {
        let settings = ConnectionSettings::default();
        self.client_with(settings, &[("consumer_cancel_notify", Value::Bool(true))])
    }

    /// A client of a broker with these settings, that announces these capabilities.
    pub(crate) fn client_with(
        &self,
        settings: ConnectionSettings,
        capabilities: &[(&str, Value<'_>)],
    ) -> Client {
        let heartbeat = settings.heartbeat_secs;
        let mut client = Client::unopened(self, settings);
        client.shake_hands("guest", capabilities, heartbeat);
        client
    }

    /// A client that is logged in as another of the [`USERS`] than guest.
    pub(crate) fn client_of(&self, user: &str) -> Client {
        let settings = ConnectionSettings::default();
        let heartbeat = settings.heartbeat_secs;
        let mut client = Client::unopened(self, settings);
        client.shake_hands(user, &[], heartbeat);
        client
    }

    /// Lets time pass, and whatever is due on the way happen when it is due.
    pub(crate) fn pass_ms(&self, ms: u64) {
        let end = self.inner.borrow().now.plus_millis(ms);
        loop {
            let next = self.inner.borrow().vhost.next_deadline().filter(|next| *next <= end);
            let Some(next) = next else { break };
            let mut inner = self.inner.borrow_mut();
            inner.now = inner.now.max(next);
            let now = inner.now;
            inner.vhost.handle_timeout(now);
            inner.finish();
        }
        self.inner.borrow_mut().now = end;
    }

    /// Handles all that `inputs` sends as one batch.
    pub(crate) fn batch(&self, inputs: impl FnOnce()) {
        self.inner.borrow_mut().in_batch = true;
        inputs();
        let mut inner = self.inner.borrow_mut();
        inner.in_batch = false;
        inner.finish();
    }

    /// From now on work that did not fit into a hold waits for [`work_once`](World::work_once).
    pub(crate) fn pause_work(&self) {
        self.inner.borrow_mut().is_paused = true;
    }

    /// Work has a turn, of one hold; says whether there is more of it.
    pub(crate) fn work_once(&self) -> bool {
        self.input(Vhost::handle_timeout);
        self.inner.borrow().vhost.has_work()
    }

    /// Work has its turns until there is none left.
    pub(crate) fn work_to_the_end(&self) {
        while self.work_once() {}
    }

    /// The most steps that one hold has taken so far.
    pub(crate) fn longest_hold(&self) -> u64 {
        self.inner.borrow().longest_hold
    }

    /// How many steps all inputs have taken so far.
    pub(crate) fn steps(&self) -> u64 {
        self.inner.borrow().vhost.steps()
    }

    /// From now on nothing is written until [`sync`](World::sync).
    pub(crate) fn slow_disk(&self) {
        self.inner.borrow_mut().disk_is_slow = true;
    }

    /// The slow disk has written everything so far.
    pub(crate) fn sync(&self) {
        let mut inner = self.inner.borrow_mut();
        inner.write();
        inner.finish();
    }

    /// From now on messages that weigh more than this go to the disk, in octets.
    pub(crate) fn memory_share(&self, before_paging: u64) {
        let share = MemoryShare { before_paging, before_consumers_wait: u64::MAX, whole: u64::MAX };
        self.input(|vhost, now| vhost.handle_memory_share(now, Some(share)));
    }

    /// From now on a queue with unacknowledged deliveries gets nothing from the disk while messages
    /// weigh more than the second of these, in octets.
    pub(crate) fn memory_shares(&self, before_paging: u64, before_consumers_wait: u64) {
        let share = MemoryShare { before_paging, before_consumers_wait, whole: u64::MAX };
        self.input(|vhost, now| vhost.handle_memory_share(now, Some(share)));
    }

    /// How many answers waited for records made since this was last asked.
    pub(crate) fn awaited(&self) -> usize {
        std::mem::take(&mut self.inner.borrow_mut().awaited)
    }

    /// How many messages have been paged out so far.
    pub(crate) fn paged_out(&self) -> usize {
        self.inner.borrow().paged_out
    }

    /// What messages weigh that are in memory, in octets.
    pub(crate) fn message_memory(&self) -> u64 {
        self.inner.borrow().vhost.message_memory()
    }

    /// The disk has no room for pages any more, or again.
    pub(crate) fn fill_disk(&self, is_full: bool) {
        self.inner.borrow_mut().disk_is_full = is_full;
        if !is_full {
            self.input(|vhost, now| vhost.handle_disk_full(now, false));
        }
    }

    /// The disk fails for good.
    pub(crate) fn fail_disk(&self) {
        let mut inner = self.inner.borrow_mut();
        let now = inner.now;
        inner.unwritten.clear();
        inner.vhost.handle_store_failed(now);
        inner.finish();
    }

    /// The broker stops.
    pub(crate) fn shut_down(&self) {
        let mut inner = self.inner.borrow_mut();
        let now = inner.now;
        inner.vhost.handle_shutdown(now, &Fault::Shutdown);
        inner.finish();
    }

    /// From now on guest may do this and no more: patterns for configure, write and read.
    pub(crate) fn permit(&self, configure: &str, write: &str, read: &str) {
        let permissions = Permissions::parse(configure, write, read).expect("patterns");
        self.rights("guest", Rights { permissions: Some(permissions), ..Default::default() });
    }

    /// Traces messages by a node of this name, or does not any more.
    pub(crate) fn tracing(&self, node: Option<&str>) {
        self.input(|vhost, now| vhost.handle_tracing(now, node.map(str::to_owned)));
    }

    /// From now on a user has these rights.
    pub(crate) fn rights(&self, user: &str, rights: Rights) {
        let rights = Arc::new(rights);
        self.input(|vhost, now| vhost.handle_rights(now, user, &rights));
    }

    /// From now on these policies are in force.
    pub(crate) fn policies(&self, policies: &PolicySet) {
        let policies = Arc::new(policies.clone());
        self.input(|vhost, now| vhost.handle_policies(now, policies));
    }

    /// From now on exchanges, queues, bindings and clients may take so much memory, in bytes.
    pub(crate) fn max_definitions(&self, bytes: u64) {
        self.input(|vhost, now| vhost.handle_max_definitions(now, bytes));
    }

    /// What exchanges, queues, bindings and clients take, in bytes.
    pub(crate) fn definition_memory(&self) -> u64 {
        self.inner.borrow().vhost.definition_memory()
    }

    /// From now on there may be so many queues.
    pub(crate) fn max_queues(&self, max: Option<u64>) {
        self.input(|vhost, now| vhost.handle_max_queues(now, max));
    }

    /// Definitions name something; says what is wrong with it.
    pub(crate) fn define(&self, definition: &Definition) -> Checked<()> {
        let mut result = Ok(());
        self.input(|vhost, now| result = vhost.handle_definition(now, definition));
        result
    }

    /// What an operator should have heard of since the last time.
    pub(crate) fn notices(&self) -> Vec<Notice> {
        self.inner.borrow_mut().vhost.take_notices()
    }

    /// An alarm is raised, or all are over: what clients have sent meanwhile is read.
    pub(crate) fn alarm(&self, reason: Option<&str>) {
        self.input(|vhost, now| vhost.handle_alarm(now, reason));
        let mut inner = self.inner.borrow_mut();
        for client in inner.clients.clone() {
            inner.read(&client, true);
        }
        if !inner.in_batch {
            inner.finish();
        }
    }

    /// The queue of this name, if it is there.
    pub(crate) fn queue(&self, name: &str) -> Option<QueueSnapshot> {
        self.inner.borrow().vhost.queues().into_iter().find(|queue| queue.name == name)
    }

    /// `ready/unacknowledged` of a queue that is there.
    pub(crate) fn counts(&self, name: &str) -> String {
        let queue = self.queue(name).expect("the queue is there");
        format!("{}/{}", queue.messages_ready, queue.messages_unacknowledged)
    }

    /// How many consumers there are, over all queues.
    pub(crate) fn consumers(&self) -> usize {
        self.inner.borrow().vhost.snapshot().consumers
    }

    fn input(&self, handle: impl FnOnce(&mut Vhost, Time)) {
        let mut inner = self.inner.borrow_mut();
        let now = inner.now;
        handle(&mut inner.vhost, now);
        if !inner.in_batch {
            inner.finish();
        }
    }
}

impl Inner {
    /// Ends a batch as the server does: drain, log, sync.
    fn finish(&mut self) {
        loop {
            let now = self.now;
            self.vhost.finish_batch(now);
            self.vhost.check_counters();
            let steps = self.vhost.steps();
            self.longest_hold =
                self.longest_hold.max(steps - std::mem::replace(&mut self.steps, steps));
            let mut written = Vec::new();
            let clients = &self.clients;
            self.vhost.drain_outputs(|id, outgoing| {
                if let Some(client) = clients.iter().find(|other| other.id == id) {
                    written.push((id, client.receiver.borrow_mut().take(outgoing)));
                }
                outgoing.clear();
            });
            self.awaited += self.vhost.take_records(&mut self.unwritten);
            self.vhost.take_page_orders(&mut self.orders);
            let is_idle = self.unwritten.is_empty() && self.orders.is_empty();
            let quiet = written.is_empty() && (is_idle || self.disk_is_slow);
            for (id, octets) in written {
                self.vhost.handle_written(now, id, octets);
            }
            if !self.disk_is_slow {
                self.write();
            }
            if quiet && self.vhost.has_work() && !self.is_paused {
                self.vhost.handle_timeout(now);
            } else if quiet {
                return;
            }
        }
    }

    /// Reads what a client has sent, frame by frame, unless an alarm keeps it from being read. What has to be
    /// given again is, or is given up.
    fn read(&mut self, client: &Open, waits: bool) {
        let mut command = client.held.take();
        loop {
            if let Some(given) = command.take() {
                command = self.command(client, given, waits);
            }
            if command.is_some() || self.vhost.is_blocked(client.id) {
                client.held.set(command);
                return;
            }
            let frame: Vec<u8> = {
                let mut unread = client.unread.borrow_mut();
                let Some(length) = frame_length(&unread) else { return };
                unread.drain(..length).collect()
            };
            let mut commands = Vec::new();
            let (used, progress) =
                client.connection.borrow_mut().handle_input(&frame, &mut commands);
            assert_eq!(used, frame.len(), "tests send whole frames");
            assert!(matches!(progress, Progress::More));
            for given in commands {
                command = self.command(client, given, waits);
            }
        }
    }

    /// Gives a command until it is handled; gives back one that waits for the end of an alarm.
    fn command(
        &mut self,
        client: &Open,
        command: Command<'_>,
        waits: bool,
    ) -> Option<Command<'static>> {
        let mut handled = self.vhost.handle_command(self.now, client.id, command);
        while let Handled::Waits { command, wait } = handled {
            self.finish();
            if wait == Wait::Alarm {
                let Command::Publish { channel, mandatory, immediate, message } = command else {
                    panic!("{command:?} was read of a client that is blocked");
                };
                return Some(Command::Publish { channel, mandatory, immediate, message });
            }
            if !waits {
                break;
            }
            let is_stalled = client.receiver.borrow().stalled && wait == Wait::Room;
            assert!(!is_stalled, "waits for a client that does not read");
            handled = self.vhost.handle_command(self.now, client.id, command);
        }
        None
    }

    fn write(&mut self) {
        let records = std::mem::take(&mut self.unwritten);
        let lsn: Lsn = self.store.write(&records).expect("the disk works");
        while self.store.checkpoint_due() {
            self.store.checkpoint_step().expect("the disk works");
        }
        self.vhost.handle_synced(self.now, lsn);
        for order in std::mem::take(&mut self.orders) {
            self.carry_out(order);
        }
    }

    fn carry_out(&mut self, order: PageOrder) {
        match order {
            PageOrder::Out { owner, messages } if self.disk_is_full => {
                self.vhost.handle_page_refused(self.now, owner, messages);
            }
            PageOrder::Out { owner, messages } => {
                self.paged_out += messages.len();
                self.store.page_out(owner, &messages).expect("the disk works");
            }
            PageOrder::In { owner, first, last, octets } => {
                let page = self.store.page_in(owner, first, last, octets).expect("it can be read");
                assert!(self.store.take_damage().is_empty(), "no damage was done");
                self.vhost.handle_page(self.now, page);
            }
            PageOrder::Done { owner, first, last } => self.store.pages_done(owner, first, last),
            PageOrder::Forget { queue } => self.store.forget_pages(queue),
        }
    }
}

/// A client whose connection is open.
struct Open {
    id: ConnectionId,
    connection: Rc<RefCell<Connection>>,
    receiver: Rc<RefCell<Receiver>>,
    /// What it has published and waits for the end of an alarm.
    held: Cell<Option<Command<'static>>>,
    /// What it has sent behind that.
    unread: RefCell<Vec<u8>>,
}

/// How long the first frame of these octets is, if there is one.
fn frame_length(octets: &[u8]) -> Option<usize> {
    let length = octets.get(3..7)?;
    let length = u32::from_be_bytes(length.try_into().expect("four octets"));
    Some((length as usize).saturating_add(8).min(octets.len()))
}

/// What a client has got, decoded.
#[derive(Default)]
struct Receiver {
    octets: Vec<u8>,
    /// Each with its channel.
    lines: Vec<(u16, String)>,
    messages: Vec<(u16, Received)>,
    /// A method whose content is still to come.
    content: Option<(Vec<u8>, u64, Vec<u8>)>,
    frame_max: u32,
    stalled: bool,
    /// Taken and not written to the client yet, as the core counts it.
    waiting: usize,
    ended: bool,
}

/// A message as a client got it: delivered, fetched or returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    /// The exchange it was published to.
    pub(crate) exchange: String,
    /// The routing key it was published with.
    pub(crate) routing_key: String,
    /// The body, as a text.
    pub(crate) body: String,
    /// What acknowledges it; zero for one that was returned.
    pub(crate) delivery_tag: u64,
    /// Whether it may have been delivered before.
    pub(crate) redelivered: bool,
    properties: Vec<u8>,
}

impl Received {
    /// The properties.
    pub(crate) fn fields(&self) -> PropertyFields<'_> {
        Properties::from_checked(&self.properties).fields()
    }

    /// The properties as they came.
    pub(crate) fn property_octets(&self) -> &[u8] {
        &self.properties
    }

    /// A header.
    pub(crate) fn header(&self, name: &str) -> Option<Value<'_>> {
        self.fields().headers?.find(name.as_bytes())
    }
}

impl Receiver {
    /// Takes the outputs; says how much of them is written.
    fn take(&mut self, outgoing: &[Outgoing]) -> usize {
        for item in outgoing {
            assert!(!self.ended, "something follows the end: {item:?}");
            item.encode(&mut self.octets, self.frame_max);
            self.waiting += item.size();
            self.ended |= item.is_end();
        }
        self.decode();
        if self.stalled { 0 } else { std::mem::take(&mut self.waiting) }
    }

    fn decode(&mut self) {
        let octets = std::mem::take(&mut self.octets);
        let decoder = Decoder::new(self.frame_max);
        let mut rest = octets.as_slice();
        while let Some((frame, length)) = decoder.decode(rest).expect("the broker sends frames") {
            self.frame(frame.kind, frame.channel, frame.payload);
            rest = &rest[length..];
        }
        assert!(rest.is_empty(), "the broker sends whole frames");
    }

    fn frame(&mut self, kind: u8, channel: u16, payload: &[u8]) {
        match kind {
            frame::METHOD => {
                let method = Method::decode(payload).expect("the broker sends known methods");
                if method.has_content() {
                    self.content = Some((payload.to_vec(), 0, Vec::new()));
                } else {
                    self.lines.push((channel, line(&method)));
                }
            }
            frame::HEADER => {
                let header = ContentHeader::decode(payload).expect("a content header");
                Properties::parse(header.properties).expect("the properties can be read");
                let (_, left, properties) = self.content.as_mut().expect("a method before it");
                *left = header.body_size;
                *properties = header.properties.to_vec();
                if header.body_size == 0 {
                    self.message(channel, &[]);
                }
            }
            frame::BODY => {
                // Bodies of tests are short, or cut in pieces of which the last one counts.
                let (_, left, _) = self.content.as_mut().expect("a method before it");
                *left -= payload.len() as u64;
                if *left == 0 {
                    self.message(channel, payload);
                }
            }
            other => panic!("frame of kind {other}"),
        }
    }

    fn message(&mut self, channel: u16, body: &[u8]) {
        let (method, _, properties) = self.content.take().expect("content has begun");
        let method = Method::decode(&method).expect("it was decoded before");
        let mut body = String::from_utf8_lossy(body).into_owned();
        if body.len() > 100 {
            body = format!("{} octets", body.len());
        }
        let mut received = Received {
            exchange: String::new(),
            routing_key: String::new(),
            body: body.clone(),
            delivery_tag: 0,
            redelivered: false,
            properties,
        };
        let (exchange, routing_key, line) = match method {
            Method::BasicDeliver(it) => {
                (received.delivery_tag, received.redelivered) = (it.delivery_tag, it.redelivered);
                let again = if it.redelivered { " (again)" } else { "" };
                let (tag, consumer) = (it.delivery_tag, it.consumer_tag);
                (
                    it.exchange,
                    it.routing_key,
                    format!("basic.deliver {consumer} {tag} {body}{again}"),
                )
            }
            Method::BasicGetOk(it) => {
                (received.delivery_tag, received.redelivered) = (it.delivery_tag, it.redelivered);
                let again = if it.redelivered { " (again)" } else { "" };
                let (tag, left) = (it.delivery_tag, it.message_count);
                (
                    it.exchange,
                    it.routing_key,
                    format!("basic.get-ok {tag} {body}{again} left={left}"),
                )
            }
            Method::BasicReturn(it) => {
                let line = format!("basic.return {} {} {body}", it.reply_code, it.reply_text);
                (it.exchange, it.routing_key, line)
            }
            other => panic!("{} has no content", other.name()),
        };
        received.exchange = exchange.to_string();
        received.routing_key = routing_key.to_string();
        self.lines.push((channel, line));
        self.messages.push((channel, received));
    }
}

/// A method without content, as one line.
pub(crate) fn line(method: &Method<'_>) -> String {
    let name = method.name();
    match method {
        Method::ConnectionClose(it) => {
            let (class, method) = (it.class_id, it.method_id);
            format!("{name} {} {class},{method} {}", it.reply_code, it.reply_text)
        }
        Method::ChannelClose(it) => {
            let (class, method) = (it.class_id, it.method_id);
            format!("{name} {} {class},{method} {}", it.reply_code, it.reply_text)
        }
        Method::QueueDeclareOk(it) => {
            format!(
                "{name} {} ready={} consumers={}",
                it.queue, it.message_count, it.consumer_count
            )
        }
        Method::QueueDeleteOk(it) => format!("{name} {}", it.message_count),
        Method::QueuePurgeOk(it) => format!("{name} {}", it.message_count),
        Method::ConnectionBlocked(it) => format!("{name} {}", it.reason),
        Method::BasicConsumeOk(it) => format!("{name} {}", it.consumer_tag),
        Method::BasicCancelOk(it) => format!("{name} {}", it.consumer_tag),
        Method::BasicCancel(it) => format!("{name} {} nowait={}", it.consumer_tag, it.nowait),
        Method::BasicAck(it) => format!("{name} {}{}", it.delivery_tag, several(it.multiple)),
        Method::BasicNack(it) => format!("{name} {}{}", it.delivery_tag, several(it.multiple)),
        Method::ChannelFlowOk(it) => format!("{name} {}", it.active),
        Method::ConnectionTune(it) => {
            format!("{name} {} {} {}", it.channel_max, it.frame_max, it.heartbeat)
        }
        _ => name.to_owned(),
    }
}

fn several(multiple: bool) -> &'static str {
    if multiple { " (multiple)" } else { "" }
}

/// A client: one connection of a world.
pub(crate) struct Client {
    world: World,
    connection: Rc<RefCell<Connection>>,
    id: Option<ConnectionId>,
    receiver: Rc<RefCell<Receiver>>,
}

impl Client {
    /// A client that has sent nothing yet.
    pub(crate) fn unopened(world: &World, settings: ConnectionSettings) -> Self {
        let receiver = Receiver { frame_max: 131_072, ..Receiver::default() };
        Client {
            world: world.clone(),
            connection: Rc::new(RefCell::new(Connection::new(settings))),
            id: None,
            receiver: Rc::new(RefCell::new(receiver)),
        }
    }

    fn shake_hands(&mut self, user: &str, capabilities: &[(&str, Value<'_>)], heartbeat: u16) {
        let capabilities = table(capabilities);
        let properties = table(&[("capabilities", Value::Table(capabilities.as_table()))]);
        let response = format!("\0{user}\0{user}");
        let start_ok = connection::StartOk {
            client_properties: properties.as_table(),
            mechanism: s("PLAIN"),
            response: response.as_bytes(),
            locale: s("en_US"),
        };
        let (channel_max, frame_max) = (2047, 131_072);
        assert_eq!(self.handshake(&frame::PROTOCOL_HEADER), "connection.start");
        assert!(self.handshake(&encoded(0, &start_ok)).starts_with("connection.tune "));
        let tune_ok = connection::TuneOk { channel_max, frame_max, heartbeat };
        assert_eq!(self.handshake(&encoded(0, &tune_ok)), "");
        let open = connection::Open { virtual_host: s("/"), ..Default::default() };
        self.handshake(&encoded(0, &open));
        assert_eq!(self.lines(), ["connection.open-ok"]);
    }

    /// Sends octets of the handshake and says what came back before the connection was open:
    /// methods, raw octets, and how the socket ends. There is one virtual host.
    pub(crate) fn handshake(&mut self, octets: &[u8]) -> String {
        let mut commands = Vec::new();
        let mut connection = self.connection.borrow_mut();
        let mut rest = octets;
        let mut end = None;
        loop {
            let (used, progress) = connection.handle_input(rest, &mut commands);
            assert!(commands.is_empty(), "a command before the connection is open");
            rest = &rest[used..];
            match progress {
                Progress::More => break,
                Progress::Authenticate(credentials) => {
                    connection.handle_authenticated(authenticate(&credentials));
                }
                Progress::Open(request) if request.vhost == "/" => {
                    let mut inner = self.world.inner.borrow_mut();
                    let now = inner.now;
                    let id = inner.vhost.handle_open(now, request.info);
                    self.receiver.borrow_mut().frame_max = connection.frame_max();
                    inner.clients.push(Rc::new(Open {
                        id,
                        connection: self.connection.clone(),
                        receiver: self.receiver.clone(),
                        held: Cell::new(None),
                        unread: RefCell::default(),
                    }));
                    self.id = Some(id);
                    connection.handle_opened(Ok(()));
                    inner.finish();
                    break;
                }
                Progress::Open(request) => {
                    let fault = Fault::VhostNotFound(request.vhost.clone());
                    connection.handle_opened(Err(fault.into()));
                }
                Progress::End { delay_ms } => {
                    end = Some(format!("end after {delay_ms} ms"));
                    break;
                }
            }
        }
        let output = connection.take_output();
        let mut lines = Vec::new();
        if output.starts_with(b"AMQP") {
            lines.push(format!("{output:?}"));
        } else {
            let mut receiver =
                Receiver { frame_max: 131_072, octets: output, ..Default::default() };
            receiver.decode();
            lines.extend(receiver.lines.into_iter().map(|(_, line)| line));
        }
        lines.extend(end);
        lines.join("\n")
    }

    /// Opens a channel.
    pub(crate) fn channel(&self, number: u16) -> Channel<'_> {
        let channel = self.closed_channel(number);
        assert_eq!(channel.call(channel::Open::default()), "channel.open-ok");
        channel
    }

    /// A channel that is not open.
    pub(crate) fn closed_channel(&self, number: u16) -> Channel<'_> {
        Channel { client: self, number }
    }

    /// Sends octets as they are.
    pub(crate) fn send_octets(&self, octets: &[u8]) {
        self.send_and_wait(octets, true);
    }

    /// Sends a method on a channel and does not wait: what has to be given again is given up.
    // why: as below.
    #[allow(clippy::needless_pass_by_value)]
    pub(crate) fn send_once(&self, channel: u16, method: impl Encode) {
        self.send_and_wait(&encoded(channel, &method), false);
    }

    fn send_and_wait(&self, octets: &[u8], waits: bool) {
        let id = self.id.expect("the connection is open");
        let mut inner = self.world.inner.borrow_mut();
        let client = inner.clients.iter().find(|client| client.id == id).cloned();
        let client = client.expect("it is a client of this world");
        client.unread.borrow_mut().extend_from_slice(octets);
        inner.read(&client, waits);
        if !inner.in_batch {
            inner.finish();
        }
    }

    /// Sends a method on channel 0 and says what came.
    // why: so that a test writes the method where it is sent.
    #[allow(clippy::needless_pass_by_value)]
    pub(crate) fn call(&self, method: impl Encode) -> String {
        self.send_octets(&encoded(0, &method));
        self.lines().join("\n")
    }

    /// Everything that came since the last time, on any channel.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut receiver = self.receiver.borrow_mut();
        receiver.lines.drain(..).map(|(_, line)| line).collect()
    }

    /// The same with the channels in front.
    pub(crate) fn lines_with_channels(&self) -> Vec<String> {
        let mut receiver = self.receiver.borrow_mut();
        receiver.lines.drain(..).map(|(channel, line)| format!("{channel}: {line}")).collect()
    }

    /// Octets that the broker holds of its messages that are not whole.
    pub(crate) fn pending_octets(&self) -> usize {
        self.connection.borrow().pending_octets()
    }

    /// Whether the broker has stopped reading from it.
    pub(crate) fn is_blocked(&self) -> bool {
        let id = self.id.expect("the connection is open");
        self.world.inner.borrow().vhost.is_blocked(id)
    }

    /// Whether the broker has closed the socket.
    pub(crate) fn is_cut_off(&self) -> bool {
        self.receiver.borrow().ended
    }

    /// Stops reading from its socket.
    pub(crate) fn stall(&self) {
        self.receiver.borrow_mut().stalled = true;
    }

    /// Reads everything that waits, and goes on reading.
    pub(crate) fn unstall(&self) {
        let octets = {
            let mut receiver = self.receiver.borrow_mut();
            receiver.stalled = false;
            std::mem::take(&mut receiver.waiting)
        };
        let id = self.id.expect("the connection is open");
        self.world.input(|vhost, now| vhost.handle_written(now, id, octets));
    }

    /// The socket is gone, without a word.
    pub(crate) fn vanish(&self) {
        let id = self.id.expect("the connection is open");
        self.world.input(|vhost, now| vhost.handle_disconnect(now, id));
    }
}

/// Who may log in, each with the name for a password, and the tags they have.
pub(crate) const USERS: [(&str, &[&str]); 3] =
    [("guest", &[]), ("ann", &["administrator"]), ("postman", &["impersonator"])];

fn authenticate(credentials: &Credentials) -> Result<User, AuthenticationFailure> {
    let known = USERS
        .iter()
        .find(|(name, _)| credentials.user == *name && credentials.password == name.as_bytes());
    let (name, tags) = known.ok_or(AuthenticationFailure::Refused)?;
    Ok(User { name: (*name).into(), tags: tags.iter().map(|tag| (*tag).into()).collect() })
}

/// The frame of a method.
pub(crate) fn encoded(channel: u16, method: &impl Encode) -> Vec<u8> {
    let mut octets = Vec::new();
    encode::method(&mut octets, channel, method);
    octets
}

/// A channel of a client.
#[derive(Clone, Copy)]
pub(crate) struct Channel<'c> {
    client: &'c Client,
    number: u16,
}

impl Channel<'_> {
    /// Sends a method.
    // why: as above.
    #[allow(clippy::needless_pass_by_value)]
    pub(crate) fn send(&self, method: impl Encode) {
        self.client.send_octets(&encoded(self.number, &method));
    }

    /// Sends a method and says what came on this channel since the last time, a line each.
    pub(crate) fn call(&self, method: impl Encode) -> String {
        self.send(method);
        self.lines().join("\n")
    }

    /// What came on this channel since the last time.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut receiver = self.client.receiver.borrow_mut();
        let all = std::mem::take(&mut receiver.lines);
        let (mine, others): (Vec<_>, _) =
            all.into_iter().partition(|(channel, _)| *channel == self.number);
        receiver.lines = others;
        mine.into_iter().map(|(_, line)| line).collect()
    }

    /// The messages that came on this channel since the last time; their lines go with them.
    pub(crate) fn messages(&self) -> Vec<Received> {
        self.lines();
        let mut receiver = self.client.receiver.borrow_mut();
        let all = std::mem::take(&mut receiver.messages);
        let (mine, others): (Vec<_>, _) =
            all.into_iter().partition(|(channel, _)| *channel == self.number);
        receiver.messages = others;
        mine.into_iter().map(|(_, message)| message).collect()
    }

    /// The bodies of the messages that came since the last time, in order.
    pub(crate) fn bodies(&self) -> Vec<String> {
        self.messages().into_iter().map(|message| message.body).collect()
    }

    /// Declares a queue that nothing is asked of.
    pub(crate) fn declare(&self, name: &str) {
        self.declare_with(name, &[]);
    }

    /// Declares a queue with arguments.
    pub(crate) fn declare_with(&self, name: &str, arguments: &[(&str, Value<'_>)]) {
        let answer = self.try_declare(name, arguments);
        assert!(answer.starts_with("queue.declare-ok"), "{answer}");
    }

    /// Declares a queue with arguments and says what came.
    pub(crate) fn try_declare(&self, name: &str, arguments: &[(&str, Value<'_>)]) -> String {
        let arguments = table(arguments);
        let arguments = arguments.as_table();
        self.call(queue::Declare { queue: s(name), arguments, ..Default::default() })
    }

    /// Declares a durable queue with arguments.
    pub(crate) fn declare_durable(&self, name: &str, arguments: &[(&str, Value<'_>)]) {
        let arguments = table(arguments);
        let arguments = arguments.as_table();
        let declare =
            queue::Declare { queue: s(name), durable: true, arguments, ..Default::default() };
        let answer = self.call(declare);
        assert!(answer.starts_with("queue.declare-ok"), "{answer}");
    }

    /// Binds a queue.
    pub(crate) fn bind(&self, queue: &str, exchange: &str, key: &str) {
        self.bind_with(queue, exchange, key, &[]);
    }

    /// Binds a queue with arguments.
    pub(crate) fn bind_with(
        &self,
        queue: &str,
        exchange: &str,
        key: &str,
        arguments: &[(&str, Value<'_>)],
    ) {
        assert_eq!(self.try_bind(queue, exchange, key, arguments), "queue.bind-ok");
    }

    /// Binds a queue with arguments and says what came.
    pub(crate) fn try_bind(
        &self,
        queue: &str,
        exchange: &str,
        key: &str,
        arguments: &[(&str, Value<'_>)],
    ) -> String {
        let arguments = table(arguments);
        self.call(queue::Bind {
            queue: s(queue),
            exchange: s(exchange),
            routing_key: s(key),
            arguments: arguments.as_table(),
            ..Default::default()
        })
    }

    /// Declares an exchange that nothing is asked of.
    pub(crate) fn exchange(&self, name: &str, kind: &str) {
        self.exchange_with(name, kind, &[]);
    }

    /// Declares an exchange with arguments.
    pub(crate) fn exchange_with(&self, name: &str, kind: &str, arguments: &[(&str, Value<'_>)]) {
        let arguments = table(arguments);
        let arguments = arguments.as_table();
        let declare =
            exchange::Declare { exchange: s(name), kind: s(kind), arguments, ..Default::default() };
        assert_eq!(self.call(declare), "exchange.declare-ok");
    }

    /// Binds an exchange to another.
    pub(crate) fn bind_exchange(&self, destination: &str, source: &str, key: &str) {
        let answer = self.call(exchange::Bind {
            destination: s(destination),
            source: s(source),
            routing_key: s(key),
            ..Default::default()
        });
        assert_eq!(answer, "exchange.bind-ok");
    }

    /// Whether an exchange is there, asked on a channel of its own.
    pub(crate) fn has_exchange(&self, name: &str) -> bool {
        let aside = self.client.channel(999);
        let answer = aside.call(exchange::Declare {
            exchange: s(name),
            passive: true,
            ..Default::default()
        });
        let found = answer == "exchange.declare-ok";
        assert!(found || answer.starts_with("channel.close 404 40,10 NOT_FOUND"), "{answer}");
        if found {
            aside.close()
        } else {
            aside.call(channel::CloseOk {})
        };
        found
    }

    /// Publishes to the default exchange.
    pub(crate) fn publish(&self, queue: &str, body: &str) {
        self.publish_to("", queue, body);
    }

    /// Publishes transiently without properties.
    pub(crate) fn publish_to(&self, exchange: &str, key: &str, body: &str) {
        self.publish_with(exchange, key, PropertyFields::default(), body);
    }

    /// Publishes persistently to the default exchange.
    pub(crate) fn publish_persistent(&self, queue: &str, body: &str) {
        let fields = PropertyFields { delivery_mode: Some(2), ..Default::default() };
        self.publish_with("", queue, fields, body);
    }

    /// Publishes with properties.
    pub(crate) fn publish_with(
        &self,
        exchange: &str,
        key: &str,
        fields: PropertyFields<'_>,
        body: &str,
    ) {
        let publish =
            basic::Publish { exchange: s(exchange), routing_key: s(key), ..Default::default() };
        self.publish_method(publish, fields, body.as_bytes());
    }

    /// Publishes with headers.
    pub(crate) fn publish_headers(
        &self,
        exchange: &str,
        key: &str,
        headers: &[(&str, Value<'_>)],
        body: &str,
    ) {
        let headers = table(headers);
        let fields = PropertyFields { headers: Some(headers.as_table()), ..Default::default() };
        self.publish_with(exchange, key, fields, body);
    }

    /// Publishes as mandatory to the default exchange.
    pub(crate) fn publish_mandatory(&self, exchange: &str, key: &str, body: &str) {
        let publish = basic::Publish {
            exchange: s(exchange),
            routing_key: s(key),
            mandatory: true,
            ..Default::default()
        };
        self.publish_method(publish, PropertyFields::default(), body.as_bytes());
    }

    /// Publishes, all said.
    pub(crate) fn publish_method(
        &self,
        publish: basic::Publish<'_>,
        fields: PropertyFields<'_>,
        body: &[u8],
    ) {
        let mut octets = encoded(self.number, &publish);
        let mut properties = Vec::new();
        fields.encode(&mut properties);
        encode::content_header(&mut octets, self.number, body.len() as u64, &properties);
        encode::body(&mut octets, self.number, body, 131_072);
        self.client.send_octets(&octets);
    }

    /// Subscribes with acknowledgements.
    pub(crate) fn consume(&self, queue: &str, tag: &str) {
        let consume =
            basic::Consume { queue: s(queue), consumer_tag: s(tag), ..Default::default() };
        self.send(consume);
        self.expect(&format!("basic.consume-ok {tag}"));
    }

    /// Subscribes without acknowledgements.
    pub(crate) fn consume_no_ack(&self, queue: &str, tag: &str) {
        self.send(basic::Consume {
            queue: s(queue),
            consumer_tag: s(tag),
            no_ack: true,
            ..Default::default()
        });
        self.expect(&format!("basic.consume-ok {tag}"));
    }

    /// Subscribes with arguments.
    pub(crate) fn consume_with(&self, queue: &str, tag: &str, arguments: &[(&str, Value<'_>)]) {
        let arguments = table(arguments);
        self.send(basic::Consume {
            queue: s(queue),
            consumer_tag: s(tag),
            arguments: arguments.as_table(),
            ..Default::default()
        });
        self.expect(&format!("basic.consume-ok {tag}"));
    }

    /// Takes this line out of what came; it must be there.
    fn expect(&self, line: &str) {
        let mut receiver = self.client.receiver.borrow_mut();
        let wanted = (self.number, line.to_owned());
        let place = receiver.lines.iter().position(|it| *it == wanted);
        let Some(place) = place else { panic!("no {line} in {:?}", receiver.lines) };
        receiver.lines.remove(place);
    }

    /// Limits what may be unacknowledged.
    pub(crate) fn qos(&self, prefetch_count: u16, global: bool) {
        self.send(basic::Qos { prefetch_count, global, ..Default::default() });
        self.expect("basic.qos-ok");
    }

    /// Fetches a message and says what came.
    pub(crate) fn get(&self, queue: &str) -> String {
        self.call(basic::Get { queue: s(queue), ..Default::default() })
    }

    /// Fetches a message without acknowledgement and says what came.
    pub(crate) fn get_no_ack(&self, queue: &str) -> String {
        self.call(basic::Get { queue: s(queue), no_ack: true, ..Default::default() })
    }

    /// Fetches all messages of a queue, without acknowledgement.
    pub(crate) fn drain(&self, queue: &str) -> Vec<Received> {
        self.messages();
        loop {
            if self.get_no_ack(queue).starts_with("basic.get-empty") {
                return self.messages();
            }
        }
    }

    /// The bodies of all messages of a queue, which is empty afterwards.
    pub(crate) fn drain_bodies(&self, queue: &str) -> Vec<String> {
        self.drain(queue).into_iter().map(|message| message.body).collect()
    }

    /// Acknowledges one delivery.
    pub(crate) fn ack(&self, delivery_tag: u64) {
        self.send(basic::Ack { delivery_tag, multiple: false });
    }

    /// Refuses one delivery.
    pub(crate) fn reject(&self, delivery_tag: u64, requeue: bool) {
        self.send(basic::Reject { delivery_tag, requeue });
    }

    /// Gives back all that is delivered and not settled.
    pub(crate) fn recover(&self) {
        assert_eq!(self.call(basic::Recover { requeue: true }), "basic.recover-ok");
    }

    /// Selects confirm mode.
    pub(crate) fn confirm_select(&self) {
        let answer = self.call(leveret_codec::method::confirm::Select { nowait: false });
        assert_eq!(answer, "confirm.select-ok");
    }

    /// Closes the channel.
    pub(crate) fn close(&self) -> String {
        self.call(channel::Close { reply_code: 200, ..Default::default() })
    }
}
