use std::sync::atomic::AtomicU64;

use leveret_codec::{Method, TableBuf, method::channel};

use super::*;
use crate::auth::User;
use crate::broker::command::{Command, Outgoing};
use crate::clock::ManualClock;

fn handle() -> VhostHandle {
    let clock = Arc::new(ManualClock::new(Time::from_millis(1_000)));
    VhostHandle::new("/", clock, &VhostSettings::default(), Recovered::default()).0
}

/// A client with all rights.
pub(crate) fn client() -> ConnectionInfo {
    ConnectionInfo {
        name: String::new(),
        user: User::new("guest"),
        channel_max: 10,
        frame_max: 4096,
        heartbeat_secs: 0,
        consumer_cancel_notify: true,
        connection_blocked: true,
        obeys_alarms: true,
        client_properties: TableBuf::default(),
        rights: Arc::default(),
    }
}

/// Its other end.
pub(crate) fn peer() -> Arc<ConnectionPeer> {
    let address = "127.0.0.1:1".parse().unwrap();
    Arc::new(ConnectionPeer {
        name: "test".to_owned(),
        address,
        local: address,
        connected_at: Time::EPOCH,
        mechanism: "PLAIN",
        security: None,
        received: AtomicU64::new(0),
        room: Arc::default(),
    })
}

async fn open(handle: &VhostHandle, outbox: Arc<Outbox>) -> Checked<Session> {
    handle.open(client(), peer(), outbox, OnClose::new(|| ())).await
}

/// The frames that wait in an outbox, and whether the core has said its last word.
async fn taken(outbox: &Outbox) -> (Vec<u8>, bool) {
    let (mut outgoing, mut frames) = (Vec::new(), Vec::new());
    outbox.take(&mut outgoing).await;
    outgoing.iter().for_each(|item| item.encode(&mut frames, 4096));
    (frames, outgoing.iter().any(Outgoing::is_end))
}

#[tokio::test]
async fn answers_come_to_the_outbox_of_who_asked() {
    let handle = handle();
    let (first, second) = (Arc::new(Outbox::default()), Arc::new(Outbox::default()));
    let first_session = open(&handle, first.clone()).await.unwrap();
    let _second_session = open(&handle, second.clone()).await.unwrap();
    let (open_ok, _) = taken(&first).await;
    assert_eq!(taken(&second).await.0, open_ok);

    let method = Method::ChannelOpen(channel::Open::default());
    let commands = vec![Command::Method { channel: 1, method }];
    first_session.apply(&mut Batch::new(commands)).await;
    let (frames, end) = taken(&first).await;
    assert_eq!(frames[..11], [1, 0, 1, 0, 0, 0, 8, 0, 20, 0, 11], "channel.open-ok");
    assert!(!end);
    second.close();
    assert_eq!(taken(&second).await, (Vec::new(), false));
}

#[tokio::test]
async fn nobody_enters_a_broker_that_stops() {
    let handle = handle();
    let outbox = Arc::new(Outbox::default());
    let _session = open(&handle, outbox.clone()).await.unwrap();
    taken(&outbox).await;
    handle.close(Fault::Shutdown, Chosen::All);
    assert_eq!(taken(&outbox).await.0[7..13], [0, 10, 0, 50, 1, 64], "connection.close 320");
    let refused = open(&handle, Arc::default()).await.err().unwrap();
    assert_eq!(*refused, Fault::Shutdown);
}

#[tokio::test]
async fn a_session_that_is_dropped_leaves_the_vhost() {
    let handle = handle();
    let session = open(&handle, Arc::default()).await.unwrap();
    let write_receipts = session.write_receipts();
    let connections = || handle.read(Vhost::connection_count);
    assert_eq!(connections(), 1);
    drop(session);
    assert_eq!(connections(), 0);

    // The next one gets the same place, and nothing of what the first one's writer says.
    let _session = open(&handle, Arc::default()).await.unwrap();
    write_receipts.written(1);
    assert_eq!(connections(), 1);
}

#[tokio::test]
async fn an_alarm_blocks_publishers_until_it_is_over() {
    use leveret_codec::{Properties, ShortStr};

    let handle = handle();
    let outbox = Arc::new(Outbox::default());
    let session = open(&handle, outbox.clone()).await.unwrap();
    handle.set_alarm(Some("low on memory"));
    let method = Method::ChannelOpen(channel::Open::default());
    assert_eq!(
        session.apply(&mut Batch::new(vec![Command::Method { channel: 1, method }])).await,
        Applied::All { blocked: false }
    );
    let publish = |body: &[u8]| {
        let message = crate::broker::message::Message::new(
            ShortStr::EMPTY,
            ShortStr::EMPTY,
            Properties::EMPTY,
            body,
        );
        Command::Publish { channel: 1, mandatory: false, immediate: false, message }
    };
    let confirm_select = || Command::Method {
        channel: 1,
        method: Method::ConfirmSelect(leveret_codec::method::confirm::Select { nowait: false }),
    };
    for body in ["", "body"] {
        handle.set_alarm(Some("low on memory"));
        let list = vec![confirm_select(), publish(body.as_bytes()), confirm_select()];
        let mut batch = Batch::new(list);
        assert_eq!(session.apply(&mut batch).await, Applied::Blocked, "at the first publish");
        let waits = !body.is_empty();
        assert_eq!(batch.waiting_octets() > 0, waits, "an empty one is routed");
        assert!(taken(&outbox).await.0.windows(13).any(|it| it == b"low on memory"));
        assert_eq!(session.apply(&mut batch).await, Applied::Blocked, "still");
        let mut waiting = Box::pin(session.wait_until_unblocked());
        assert!(futures::poll!(waiting.as_mut()).is_pending());
        handle.set_alarm(None);
        waiting.await;
        assert_eq!(session.apply(&mut batch).await, Applied::All { blocked: false });
        assert_eq!(batch.waiting_octets(), 0);
    }
    handle.set_alarm(Some("low on memory"));
    let mut batch = Batch::new(vec![publish(b"")]);
    assert_eq!(session.apply(&mut batch).await, Applied::All { blocked: true });
}

#[tokio::test]
async fn a_publish_that_waits_for_the_end_of_an_alarm_goes_with_its_client() {
    let handle = handle();
    let session = open(&handle, Arc::default()).await.unwrap();
    handle.set_alarm(Some("low on memory"));
    let open_channel =
        Command::Method { channel: 1, method: Method::ChannelOpen(channel::Open::default()) };
    let message = crate::broker::message::Message::new(
        leveret_codec::ShortStr::EMPTY,
        leveret_codec::ShortStr::EMPTY,
        leveret_codec::Properties::EMPTY,
        b"a",
    );
    let publish = Command::Publish { channel: 1, mandatory: false, immediate: false, message };
    let mut batch = Batch::new(vec![open_channel, publish]);
    assert_eq!(session.apply(&mut batch).await, Applied::Blocked);
    assert!(session.is_blocked().await);
    // The broker stops: what waits is not to be done any more.
    handle.write(|vhost, now| {
        vhost.handle_shutdown(now, &crate::broker::error::Fault::Shutdown);
    });
    assert!(!session.is_blocked().await);
    assert_eq!(session.apply(&mut batch).await, Applied::All { blocked: false });
}

#[tokio::test]
async fn what_is_told_to_a_vhost_that_is_busy_comes_with_the_end_of_that() {
    let handle = handle();
    let outbox = Arc::new(Outbox::default());
    let session = open(&handle, outbox.clone()).await.unwrap();
    let other = open(&handle, Arc::default()).await.unwrap();
    handle.write(|vhost, _| {
        // Each of these would wait for ever if it waited for the lock.
        drop(other);
        session.write_receipts().written(1);
        handle.set_memory_limits(MemoryLimits { share: None, definitions: 0, whole: 0 });
        handle.set_policies(Arc::default());
        handle.set_max_queues(Some(0));
        handle.set_rights(BTreeMap::from([("guest".to_owned(), Arc::default())]));
        handle.set_alarm(Some("maintenance"));
        handle.set_alarm(None);
        handle.set_alarm(Some("low on disk"));
        assert_eq!(vhost.connection_count(), 2);
        assert_eq!(handle.memory(), vhost.memory() + outbox.bytes());
        assert!(handle.connection("test").is_some() && !session.has_ended());
    });
    assert_eq!(handle.read(Vhost::connection_count), 1);
    assert_eq!(*handle.shared.alarm.borrow(), Some("low on disk".to_owned()));
    let declare = leveret_codec::method::queue::Declare::default();
    let open_channel = Method::ChannelOpen(channel::Open::default());
    let methods = [open_channel, Method::QueueDeclare(declare)];
    let commands = methods.map(|method| Command::Method { channel: 1, method });
    session.apply(&mut Batch::new(commands.into())).await;
    let (frames, _) = taken(&outbox).await;
    assert!(frames.windows(5).any(|it| it == b"limit"), "{}", String::from_utf8_lossy(&frames));
}

#[tokio::test]
async fn many_connections_that_end_at_once_end_in_several_holds() {
    let handle = handle();
    let mut sessions = Vec::new();
    for _ in 0..100 {
        sessions.push(open(&handle, Arc::default()).await.unwrap());
    }
    handle.write(|_, _| drop(sessions));
    let left = handle.read(Vhost::connection_count);
    assert!(left > 0 && left < 100, "{left}");
    // The timer deals with the rest.
    handle.wait_for_nearer_deadline().await;
    handle.arm_timer().await;
    assert_eq!(handle.read(Vhost::connection_count), 0);
}

#[tokio::test]
async fn who_wants_to_enter_a_busy_vhost_sleeps_until_it_is_free() {
    let handle = handle();
    let held = handle.shared.state.try_lock().unwrap();
    let mut opening = Box::pin(open(&handle, Arc::default()));
    assert!(futures::poll!(opening.as_mut()).is_pending());
    handle.close(Fault::Shutdown, Chosen::All);
    drop(held);
    assert_eq!(*opening.await.err().unwrap(), Fault::Shutdown);
}

#[tokio::test]
async fn a_panic_under_the_lock_fails_the_vhost_for_good() {
    let handle = handle();
    let outboxes = [Arc::new(Outbox::default()), Arc::new(Outbox::default())];
    let mut sessions = Vec::new();
    for outbox in &outboxes {
        sessions.push(open(&handle, outbox.clone()).await.unwrap());
        taken(outbox).await;
    }
    let nothing: Option<()> = handle.write(|vhost, now| {
        // What comes of this is half a change.
        let definition = crate::broker::vhost::Definition::Queue {
            name: leveret_codec::ShortString::truncated(b"q"),
            durable: true,
            auto_delete: false,
            arguments: TableBuf::default(),
        };
        vhost.handle_definition(now, &definition).unwrap();
        vhost.handle_alarm(now, Some("half an alarm"));
        panic!("injected");
    });
    assert!(nothing.is_none() && handle.has_failed());

    for outbox in &outboxes {
        let (frames, end) = taken(outbox).await;
        assert_eq!(frames[7..13], [0, 10, 0, 50, 2, 29], "connection.close 541");
        assert!(frames.windows(14).any(|it| it == b"INTERNAL_ERROR") && end);
    }
    let (mut records, mut orders) = (Vec::new(), Vec::new());
    let taken = handle.log().take(&mut records, &mut orders, crate::log_buffer::Wait::ForAny);
    assert_eq!(taken, crate::log_buffer::Taken::Closed);

    // Nothing has an effect any more.
    let method = Method::ChannelOpen(channel::Open::default());
    let mut batch = Batch::new(vec![Command::Method { channel: 1, method }]);
    assert_eq!(sessions[0].apply(&mut batch).await, Applied::All { blocked: false });
    handle.set_alarm(Some("an alarm"));
    handle.timeout().await;
    assert_eq!(handle.write(|_, _| ()), None);
    assert_eq!(handle.read(Vhost::connection_count), 0);
    let refused = open(&handle, Arc::default()).await.err().unwrap();
    assert!(matches!(*refused, Fault::VhostDown { .. }), "{refused}");
    drop(sessions);
    assert_eq!(handle.memory(), 0);
    assert!(!handle.shared.inbox.has_any() && *handle.shared.pages.borrow() == u64::MAX);
}
