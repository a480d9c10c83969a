//! One virtual host is busy, or has failed: everything that is not about it goes on.

use std::sync::mpsc;
use std::time::Duration;

use leveret_codec::method::channel;
use leveret_codec::{Method, ReplyCode, ShortString, TableBuf};

use super::*;
use crate::auth::User;
use crate::broker::command::Command;
use crate::broker::connection::ConnectionInfo;
use crate::broker::error::Checked;
use crate::broker::policy::PolicyKind;
use crate::broker::vhost::{Definition, Vhost};
use crate::clock::ManualClock;
use crate::handle::tests::client;
use crate::handle::{Batch, Session};
use crate::outbox::Outbox;
use crate::store::MemoryDisk;

/// A broker's virtual hosts on this disk.
fn start(disk: &MemoryDisk) -> Vhosts {
    let disk = Arc::new(disk.clone());
    let plan = ResourcePlan::for_tests(1 << 30, true);
    let clock = Arc::new(ManualClock::new(Time::from_millis(1_000)));
    Vhosts::start(disk, plan, clock, Some(1), Initial::default(), &[], false).unwrap().0
}

/// `/` and `busy`, of which guest may use both.
fn vhosts() -> Vhosts {
    let vhosts = start(&MemoryDisk::default());
    vhosts.create_vhost("busy").unwrap();
    vhosts.set_permissions("guest", "busy", [".*", ".*", ".*"]).unwrap();
    vhosts
}

async fn open(vhosts: &Vhosts, vhost: &str, port: u16) -> Checked<Session> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let end = ConnectionEnd { address, local: address, mechanism: "PLAIN", security: None };
    let info = ConnectionInfo { user: User::new("guest"), ..client() };
    vhosts.open(vhost, info, end, Arc::new(Outbox::default())).await
}

/// Holds the lock of a virtual host until it is dropped, or for a minute if that never happens.
struct Hold {
    release: mpsc::Sender<()>,
    holding: Option<std::thread::JoinHandle<Result<(), mpsc::RecvTimeoutError>>>,
}

impl Hold {
    fn new(handle: VhostHandle) -> Self {
        let (release, released) = mpsc::channel();
        let (held, is_held) = mpsc::channel();
        let holding = std::thread::spawn(move || {
            let held = handle.write(|_, _| {
                held.send(()).unwrap();
                released.recv_timeout(Duration::from_secs(60))
            });
            held.unwrap()
        });
        is_held.recv().unwrap();
        Hold { release, holding: Some(holding) }
    }

    /// Lets go; who waited for the lock meanwhile has made it last for the minute.
    fn end(mut self) {
        self.release.send(()).unwrap();
        let ended = self.holding.take().unwrap().join().unwrap();
        assert_eq!(ended, Ok(()), "something waited for a vhost that is busy");
    }
}

#[tokio::test]
async fn a_vhost_that_is_busy_delays_nobody_else() {
    let vhosts = vhosts();
    let leaving = open(&vhosts, "busy", 1).await.unwrap();
    let staying = open(&vhosts, "busy", 2).await.unwrap();
    let hold = Hold::new(vhosts.vhost("busy").unwrap());

    // A client that wants to enter the busy one waits.
    let entering = vhosts.clone();
    let mut entering = Box::pin(async move { open(&entering, "busy", 3).await });
    assert!(futures::poll!(entering.as_mut()).is_pending());
    // Logins go on, also of the same user, and the end of a connection.
    let innocent = open(&vhosts, "/", 4).await.unwrap();
    drop(leaving);
    // So do the watcher of memory, and alarms.
    assert!(vhosts.memory_used() < vhosts.memory_limit());
    vhosts.set_short(Resource::Memory, true);
    vhosts.set_short(Resource::Disk, true);
    vhosts.set_short(Resource::Memory, false);
    // Changes of the registry that are about the busy one as well.
    vhosts.set_permissions("guest", "busy", ["", "", ""]).unwrap();
    let policy = PolicyRecord {
        pattern: ".*".to_owned(),
        apply_to: "queues".to_owned(),
        priority: 0.into(),
        definition: [("max-length".to_owned(), 5.into())].into_iter().collect(),
    };
    let set = |registry: &mut Registry| {
        let busy = registry.vhost_mut("busy").unwrap();
        busy.limits.insert("max-queues".to_owned(), 1);
        busy.set_policy(PolicyKind::User, "short", policy).unwrap();
    };
    vhosts.write_registry(set).unwrap();
    vhosts.create_vhost("new").unwrap();
    assert!(vhosts.delete_vhost("new").await.unwrap());
    // And what is to be done with connections.
    assert!(vhosts.close_connection("127.0.0.1:4 -> 127.0.0.1:4", "go"));
    assert!(vhosts.close_connection("127.0.0.1:2 -> 127.0.0.1:2", "go"));
    vhosts.dismiss("nobody");
    assert!(innocent.vhost().read(Vhost::connection_count) == 1);
    hold.end();

    let session = entering.await.unwrap();
    let busy = session.vhost().clone();
    assert_eq!(busy.read(Vhost::connection_count), 2);
    drop((staying, session, innocent));
    vhosts.stop().await.unwrap();
}

#[tokio::test]
async fn a_vhost_that_is_protected_is_not_deleted() {
    let vhosts = vhosts();
    let protect = |is_protected| {
        vhosts.write_registry(|registry| {
            registry.vhost_mut("busy").unwrap().protected_from_deletion = is_protected;
        })
    };
    protect(true).unwrap();
    let refused = vhosts.delete_vhost("busy").await;
    assert!(matches!(refused, Err(VhostError::Protected(name)) if name == "busy"));
    assert!(vhosts.vhost("busy").is_some());
    protect(false).unwrap();
    assert!(vhosts.delete_vhost("busy").await.unwrap());
    vhosts.stop().await.unwrap();
}

#[tokio::test]
async fn who_loses_the_right_to_enter_while_it_waits_is_not_let_in() {
    let vhosts = vhosts();
    let hold = Hold::new(vhosts.vhost("busy").unwrap());
    let mut entering = Box::pin(open(&vhosts, "busy", 1));
    assert!(futures::poll!(entering.as_mut()).is_pending());
    let remove = |registry: &mut Registry| {
        registry.vhost_mut("busy").unwrap().permissions.remove("guest");
    };
    vhosts.write_registry(remove).unwrap();
    hold.end();
    assert!(matches!(*entering.await.err().unwrap(), Fault::VhostRefused { .. }));
    assert_eq!(vhosts.vhost("busy").unwrap().read(Vhost::connection_count), 0);
    vhosts.stop().await.unwrap();
}

#[tokio::test]
async fn who_loses_a_right_while_it_waits_does_not_have_it() {
    let vhosts = vhosts();
    let hold = Hold::new(vhosts.vhost("busy").unwrap());
    let mut entering = Box::pin(open(&vhosts, "busy", 1));
    assert!(futures::poll!(entering.as_mut()).is_pending());
    vhosts.set_permissions("guest", "busy", ["", "", ""]).unwrap();
    hold.end();
    let session = entering.await.unwrap();
    let declare = leveret_codec::method::queue::Declare::default();
    let methods = [Method::ChannelOpen(channel::Open::default()), Method::QueueDeclare(declare)];
    let commands = methods.map(|method| Command::Method { channel: 1, method });
    session.apply(&mut Batch::new(commands.into())).await;
    assert_eq!(session.vhost().read(Vhost::snapshot).queues, 0);
    drop(session);
    vhosts.stop().await.unwrap();
}

#[tokio::test]
async fn a_limit_of_a_user_counts_for_connections_that_are_open() {
    let vhosts = vhosts();
    let session = open(&vhosts, "busy", 1).await.unwrap();
    let open_channel = |channel| Command::Method {
        channel,
        method: Method::ChannelOpen(channel::Open::default()),
    };
    session.apply(&mut Batch::new(vec![open_channel(1), open_channel(2)])).await;
    let channels = || session.vhost().read(Vhost::snapshot).channels;
    assert_eq!(channels(), 2);
    let set = |registry: &mut Registry| {
        let guest = registry.user_mut("guest").unwrap();
        guest.limits.insert("max-channels".to_owned(), 2);
    };
    vhosts.write_registry(set).unwrap();
    session.apply(&mut Batch::new(vec![open_channel(3)])).await;
    let running = session.vhost().read(Vhost::connections).iter().any(|it| it.running);
    assert!(!running, "it is to be closed");
    drop(session);
    vhosts.stop().await.unwrap();
}

fn durable_queue(name: &str) -> Definition {
    Definition::Queue {
        name: ShortString::truncated(name.as_bytes()),
        durable: true,
        auto_delete: false,
        arguments: TableBuf::default(),
    }
}

#[tokio::test]
async fn a_vhost_that_fails_leaves_the_others_at_work_and_its_store_whole() {
    let disk = MemoryDisk::default();
    let vhosts = start(&disk);
    vhosts.create_vhost("failing").unwrap();
    vhosts.set_permissions("guest", "failing", [".*", ".*", ".*"]).unwrap();
    let session = open(&vhosts, "failing", 1).await.unwrap();
    let failing = vhosts.vhost("failing").unwrap();
    failing
        .write(|vhost, now| vhost.handle_definition(now, &durable_queue("before")))
        .unwrap()
        .unwrap();
    let nothing: Option<()> = failing.write(|vhost, now| {
        vhost.handle_definition(now, &durable_queue("half")).unwrap();
        panic!("injected");
    });
    assert_eq!(nothing, None);

    assert!(vhosts.vhost("failing").is_none() && vhosts.running().len() == 1);
    let refused = open(&vhosts, "failing", 2).await.err().unwrap();
    let text = "access to vhost 'failing' refused for user 'guest': vhost 'failing' is down";
    assert_eq!((refused.code(), refused.to_string().as_str()), (ReplyCode::InternalError, text));
    let innocent = open(&vhosts, "/", 3).await.unwrap();
    vhosts.set_alarm(Some("an alarm"));
    vhosts.set_permissions("guest", "failing", ["", ".*", ".*"]).unwrap();
    drop((session, innocent));
    assert!(futures::poll!(Box::pin(vhosts.supervisor().failed())).is_pending());
    vhosts.stop().await.unwrap();

    let vhosts = start(&disk);
    let queues = vhosts.vhost("failing").unwrap().read(Vhost::queues);
    assert_eq!(queues.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["before"]);
    vhosts.stop().await.unwrap();
}

#[test]
fn the_timer_of_a_vhost_outlives_the_runtime_of_who_made_it() {
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let (broker, other) = (runtime(), runtime());
    let vhosts = broker.block_on(async { start(&MemoryDisk::default()) });
    other.block_on(async { vhosts.create_vhost("new").unwrap() });
    other.shutdown_timeout(Duration::from_secs(60));
    assert!(!vhosts.inner.running.read()["new"].timer.is_finished());
}
