//! The thread on a disk that is full: what makes room gets through, and an end comes to an end.

use std::sync::Arc;
use std::time::Instant;

use leveret_codec::method::{basic, channel, confirm, queue};
use leveret_codec::table::{TableBuilder, Value};
use leveret_codec::{Method, Properties, ShortStr};

use super::*;
use crate::broker::command::Command;
use crate::broker::message::Message;
use crate::broker::record::RecoveredQueue;
use crate::broker::time::Time;
use crate::broker::vhost::{Vhost, VhostSettings};
use crate::clock::ManualClock;
use crate::handle::tests::{client, peer};
use crate::handle::{Applied, Batch, OnClose, Session};
use crate::log_buffer::DiskRoom;
use crate::outbox::Outbox;
use crate::store::{MemoryDisk, Options};

const SEGMENT: u64 = 64 * 1024;
const OPTIONS: Options = Options {
    log_file_bytes: SEGMENT,
    log_files: 1,
    segment_bytes: SEGMENT,
    start_bytes: u64::MAX,
};
const Q: ShortStr<'static> = ShortStr::from_static("q");
/// Delivery-mode 2 alone.
const PERSISTENT: &[u8] = &[0x10, 0, 2];

/// A virtual host at work on a disk in memory, with one client.
struct RunningVhost {
    disk: MemoryDisk,
    handle: VhostHandle,
    session: Option<Session>,
    outbox: Arc<Outbox>,
    thread: JoinHandle<Result<(), StoreError>>,
}

impl RunningVhost {
    async fn new() -> Self {
        let disk = MemoryDisk::default();
        let (store, recovered, _) = Store::open(Arc::new(disk.clone()), OPTIONS).unwrap();
        let clock = Arc::new(ManualClock::new(Time::from_millis(1_000)));
        let (handle, _) = VhostHandle::new("/", clock, &VhostSettings::default(), recovered);
        let thread = spawn(handle.clone(), Some(store), Supervisor::default()).unwrap();
        let outbox = Arc::new(Outbox::default());
        let session = handle.open(client(), peer(), outbox.clone(), OnClose::new(|| ())).await.ok();
        let vhost = RunningVhost { disk, handle, session, outbox, thread };
        vhost.apply(Method::ChannelOpen(channel::Open::default())).await;
        vhost.apply(Method::ConfirmSelect(confirm::Select::default())).await;
        let declare = queue::Declare { queue: Q, durable: true, ..Default::default() };
        vhost.apply(Method::QueueDeclare(declare)).await;
        vhost
    }

    async fn apply(&self, method: Method<'_>) {
        self.command(Command::Method { channel: 1, method }).await;
    }

    async fn command(&self, command: Command<'_>) {
        let session = self.session.as_ref().unwrap();
        let mut batch = Batch::new(vec![command]);
        while session.apply(&mut batch).await == Applied::NoRoom {
            // All that was sent is taken for written.
            session.write_receipts().written(usize::MAX);
        }
    }

    async fn publish(&self) {
        self.command(publish()).await;
    }

    /// How many of its publishes are not confirmed.
    fn unconfirmed(&self) -> u64 {
        self.handle.read(|vhost| {
            let channels = (0..vhost.channel_places()).filter_map(|place| vhost.channel_at(place));
            let channels = channels.filter_map(|(id, ..)| vhost.channel_by_id(id));
            channels.map(|channel| channel.messages_unconfirmed).sum()
        })
    }

    /// Publishes until the disk is full, and gives it what room that takes, so that nothing is left that
    /// does not fit and holds up what comes behind it.
    async fn fill(&self) {
        for _ in 0..100 {
            self.publish().await;
        }
        until("all is confirmed", || self.unconfirmed() == 0);
        self.disk.set_capacity(Some(self.disk.total_bytes() + 2 * SEGMENT));
        while !self.handle.is_disk_full() {
            self.publish().await;
            until("it is confirmed or the disk is full", || {
                self.unconfirmed() == 0 || self.handle.is_disk_full()
            });
        }
        // Room for a publish and for acknowledgements, and for nothing that is to be moved.
        self.disk.set_capacity(Some(self.disk.total_bytes() + SEGMENT + SEGMENT / 4));
        until("it is confirmed", || self.unconfirmed() == 0);
        self.disk.set_capacity(Some(self.disk.total_bytes() + SEGMENT + SEGMENT / 4));
        assert!(self.handle.is_disk_full());
    }

    /// Takes and acknowledges all that is in the queue.
    async fn consume(&self) {
        let messages = self.handle.read(Vhost::queues)[0].messages_ready;
        for _ in 0..messages {
            let get = basic::Get { queue: Q, ..Default::default() };
            self.apply(Method::BasicGet(get)).await;
        }
        let ack = basic::Ack { delivery_tag: 0, multiple: true };
        self.apply(Method::BasicAck(ack)).await;
    }

    /// as a virtual host stops: its result, which must not be long in coming.
    fn stop(mut self) -> Result<(), StoreError> {
        drop(self.session.take());
        self.handle.log().close();
        until("the thread ends", || self.thread.is_finished());
        self.outbox.close();
        self.thread.join().unwrap()
    }
}

fn publish() -> Command<'static> {
    publish_to(Q)
}

fn publish_to(queue: ShortStr<'_>) -> Command<'static> {
    let (exchange, properties) = (ShortStr::EMPTY, Properties::parse(PERSISTENT).unwrap());
    let message = Message::new(exchange, queue, properties, &[7; 10_000]);
    Command::Publish { channel: 1, mandatory: false, immediate: false, message }
}

#[track_caller]
fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "it does not come about that {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[tokio::test]
async fn acknowledgements_make_room_on_a_full_disk() {
    let vhost = RunningVhost::new().await;
    vhost.fill().await;
    vhost.consume().await;
    // Nobody gives the disk any room but the broker itself.
    until("there is room", || !vhost.handle.is_disk_full());
    vhost.publish().await;
    until("it is confirmed", || vhost.unconfirmed() == 0);
    vhost.stop().unwrap();
}

#[tokio::test]
async fn what_the_disk_keeps_for_nothing_goes_when_it_is_asked_for() {
    let vhost = RunningVhost::new().await;
    for _ in 0..5 {
        vhost.publish().await;
    }
    vhost.consume().await;
    until("all is confirmed", || vhost.unconfirmed() == 0);
    let before = vhost.disk.total_bytes();
    assert!(before > 5 * 10_000, "a log file that is not full stays");
    vhost.handle.tell_of_disk(DiskRoom::Short);
    until("it is gone", || vhost.disk.total_bytes() < before / 4);
    vhost.stop().unwrap();
}

#[tokio::test]
async fn what_is_dead_goes_though_a_publish_does_not_fit() {
    let vhost = RunningVhost::new().await;
    vhost.fill().await;
    // A queue is deleted, which fits, and a message is published to another one, which does not.
    let capacity = vhost.disk.total_bytes() + SEGMENT + 5_000;
    vhost.disk.set_capacity(Some(capacity));
    let delete = Method::QueueDelete(queue::Delete { queue: Q, ..Default::default() });
    let declare = queue::Declare { queue: Q, durable: true, ..Default::default() };
    let batch = vec![
        Command::Method { channel: 1, method: delete },
        Command::Method { channel: 1, method: Method::QueueDeclare(declare) },
        publish(),
    ];
    vhost.session.as_ref().unwrap().apply(&mut Batch::new(batch)).await;
    until("it is confirmed", || vhost.unconfirmed() == 0);
    until("what is dead is gone", || vhost.disk.total_bytes() < capacity / 2);
    vhost.stop().unwrap();
}

/// What a start would find on the disk as it is now.
fn messages_on(disk: &MemoryDisk) -> u64 {
    let disk = disk.kill();
    disk.set_capacity(None);
    let (_, recovered, report) = Store::open(Arc::new(disk), OPTIONS).unwrap();
    assert!(report.cuts.is_empty(), "{report}");
    let cold = |it: &RecoveredQueue| it.cold.as_ref().map_or(0, |cold| cold.messages);
    recovered.queues.iter().map(|it| it.messages.len() as u64 + cold(it)).sum()
}

#[tokio::test]
async fn acknowledgements_reach_a_full_disk_before_a_publish_that_does_not_fit() {
    let vhost = RunningVhost::new().await;
    vhost.fill().await;
    vhost.disk.set_capacity(Some(vhost.disk.total_bytes() + SEGMENT + 5_000));
    assert!(messages_on(&vhost.disk) > 0);
    vhost.publish().await;
    vhost.consume().await;
    until("what was acknowledged would not come back", || messages_on(&vhost.disk) == 0);
    assert_eq!(vhost.unconfirmed(), 1, "the publish waits");
    // The publish and its acknowledgement follow, the one before the other.
    vhost.disk.set_capacity(None);
    until("it is confirmed", || vhost.unconfirmed() == 0);
    let disk = vhost.disk.clone();
    vhost.stop().unwrap();
    assert_eq!(messages_on(&disk), 0);
}

#[tokio::test]
async fn as_many_acknowledgements_go_first_as_there_is_room_for() {
    let vhost = RunningVhost::new().await;
    vhost.fill().await;
    // Room for some twenty of them and for no publish.
    vhost.disk.set_capacity(Some(vhost.disk.total_bytes() + SEGMENT / 2 + 1_000));
    let before = messages_on(&vhost.disk);
    assert!(before > 60, "{before}");
    vhost.publish().await;
    for _ in 0..before {
        let get = basic::Get { queue: Q, ..Default::default() };
        vhost.apply(Method::BasicGet(get)).await;
    }
    // From the last to the first, so that each has a record of its own, and all come at once.
    let ack = |delivery_tag| Method::BasicAck(basic::Ack { delivery_tag, multiple: false });
    let acks = (1..=before).rev().map(|tag| Command::Method { channel: 1, method: ack(tag) });
    vhost.session.as_ref().unwrap().apply(&mut Batch::new(acks.collect())).await;
    until("some are on the disk", || messages_on(&vhost.disk) < before);
    assert!(messages_on(&vhost.disk) > 0);
    vhost.disk.set_capacity(None);
    until("the publish is confirmed", || vhost.unconfirmed() == 0);
    let disk = vhost.disk.clone();
    vhost.stop().unwrap();
    assert_eq!(messages_on(&disk), 1);
}

#[tokio::test]
async fn a_rejected_message_stays_until_its_dead_letter_is_on_the_disk() {
    let vhost = RunningVhost::new().await;
    let mut arguments = TableBuilder::default();
    arguments.push(b"x-dead-letter-exchange", &Value::LongStr(b""));
    arguments.push(b"x-dead-letter-routing-key", &Value::LongStr(b"q"));
    let rejecting = ShortStr::from_static("rejecting");
    let declare = queue::Declare {
        queue: rejecting,
        durable: true,
        arguments: arguments.as_table(),
        ..Default::default()
    };
    vhost.apply(Method::QueueDeclare(declare)).await;
    vhost.command(publish_to(rejecting)).await;
    vhost.fill().await;
    vhost.disk.set_capacity(Some(vhost.disk.total_bytes() + SEGMENT + 5_000));
    let before = messages_on(&vhost.disk);
    let get = basic::Get { queue: rejecting, ..Default::default() };
    vhost.apply(Method::BasicGet(get)).await;
    let reject = basic::Reject { delivery_tag: 1, requeue: false };
    vhost.apply(Method::BasicReject(reject)).await;
    // An acknowledgement behind it goes to the disk, and shows that the thread has looked at both.
    let get = basic::Get { queue: Q, ..Default::default() };
    vhost.apply(Method::BasicGet(get)).await;
    vhost.apply(Method::BasicAck(basic::Ack { delivery_tag: 2, multiple: false })).await;
    until("the acknowledgement is on the disk", || messages_on(&vhost.disk) < before);
    assert_eq!(messages_on(&vhost.disk), before - 1);
    vhost.disk.set_capacity(None);
    until("there is room", || !vhost.handle.is_disk_full());
    let disk = vhost.disk.clone();
    vhost.stop().unwrap();
    assert_eq!(messages_on(&disk), before - 1);
}

#[tokio::test]
async fn a_broker_on_a_full_disk_can_be_stopped() {
    let vhost = RunningVhost::new().await;
    vhost.fill().await;
    let disk = vhost.disk.clone();
    vhost.consume().await;
    vhost.stop().unwrap();
    let (_, recovered, report) = Store::open(Arc::new(disk), OPTIONS).unwrap();
    assert!(report.cuts.is_empty(), "{report}");
    assert!(recovered.queues[0].messages.is_empty() && recovered.queues[0].cold.is_none());
}

/// Ends the log thread as soon as that asks for the time.
struct BrokenClock(ManualClock);

#[async_trait::async_trait]
impl crate::clock::Clock for BrokenClock {
    fn now(&self) -> Time {
        assert_ne!(std::thread::current().name(), Some("leveret-log"), "the clock is broken");
        self.0.now()
    }

    async fn sleep_until(&self, deadline: Time) {
        self.0.sleep_until(deadline).await;
    }
}

#[tokio::test]
async fn a_thread_that_ends_unasked_is_the_end_of_its_vhost_and_of_the_broker() {
    let clock = Arc::new(BrokenClock(ManualClock::new(Time::from_millis(1_000))));
    let (handle, _) = VhostHandle::new("/", clock, &VhostSettings::default(), Default::default());
    let supervisor = Supervisor::default();
    let (store, ..) = Store::open(Arc::new(MemoryDisk::default()), OPTIONS).unwrap();
    let thread = spawn(handle.clone(), Some(store), supervisor.clone()).unwrap();
    let outbox = Arc::new(Outbox::default());
    let session = handle.open(client(), peer(), outbox.clone(), OnClose::new(|| ())).await.ok();
    let session = session.unwrap();
    let declare = queue::Declare { queue: Q, durable: true, ..Default::default() };
    let methods = [Method::ChannelOpen(channel::Open::default()), Method::QueueDeclare(declare)];
    let commands = methods.map(|method| Command::Method { channel: 1, method });
    session.apply(&mut Batch::new(commands.into())).await;

    let failure = supervisor.failed().await.to_string();
    assert!(failure.starts_with("the log thread of vhost '/' failed: "), "{failure}");
    assert!(matches!(thread.join().unwrap(), Err(StoreError::Poisoned)));
    assert!(handle.has_failed() && session.has_ended());
}
