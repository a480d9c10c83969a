//! Restarts of the core, with files as small as they can be and any time in between.

use std::io;
use std::sync::Arc;

use leveret::store::{Disk, Fault, FaultyDisk, MemoryDisk, Operation, read_whole, replace_whole};
use leveret_codec::method::{exchange, queue};
use leveret_codec::{PropertyFields, Value};

use crate::support::world::{Channel, World, s, table, text};

fn publish_all(ch: Channel<'_>, queue: &str, bodies: &[String]) {
    for body in bodies {
        ch.publish_persistent(queue, body);
    }
}

fn numbered(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{prefix} {number:03} {}", "x".repeat(60))).collect()
}

/// The files of the disk that have these octets somewhere, and where.
fn files_with(disk: &MemoryDisk, octets: &[u8]) -> Vec<(String, usize)> {
    let found = disk.paths().into_iter().filter_map(|path| {
        let content = read_whole(disk, &path).unwrap().unwrap();
        let place = content.windows(octets.len()).position(|window| window == octets)?;
        Some((path, place))
    });
    found.collect()
}

/// c: in another broker, acknowledgements whose messages were not on the disk closed their queue for
/// good.
#[test]
fn settlements_of_messages_that_are_not_there_harm_nobody() {
    for acknowledged in [10, 35] {
        let world = World::with_small_files();
        let client = world.client();
        let ch = client.channel(1);
        ch.declare_durable("q", &[]);
        let all = numbered("q", 40);
        publish_all(ch, "q", &all);
        let lost = all[acknowledged].clone();
        for _ in 0..=acknowledged {
            ch.get("q");
        }
        ch.ack(acknowledged as u64 + 1);
        let world = world.restarted_after(0, |disk| {
            for (path, place) in files_with(disk, lost.as_bytes()) {
                disk.damage(&path, |octets| octets[place] ^= 1).unwrap();
            }
        });
        let client = world.client();
        let ch = client.channel(1);
        ch.publish_persistent("q", "later");
        let world = world.restarted();
        let client = world.client();
        let mut expected = all;
        expected.remove(acknowledged);
        expected.push("later".to_owned());
        assert_eq!(client.channel(1).drain_bodies("q"), expected);
    }
}

fn delayed_exchange(ch: Channel<'_>) {
    let arguments = table(&[("x-delayed-type", text("direct"))]);
    let declare = exchange::Declare {
        exchange: s("d"),
        kind: s("x-delayed-message"),
        durable: true,
        arguments: arguments.as_table(),
        ..Default::default()
    };
    assert_eq!(ch.call(declare), "exchange.declare-ok");
    ch.declare_durable("due", &[]);
    ch.bind("due", "d", "k");
}

fn publish_delayed(ch: Channel<'_>, delay_ms: i32, body: &str) {
    let headers = table(&[("x-delay", Value::I32(delay_ms))]);
    let headers = Some(headers.as_table());
    let fields = PropertyFields { delivery_mode: Some(2), headers, ..Default::default() };
    ch.publish_with("d", "k", fields, body);
}

/// d: in another broker, a cut file of a delayed exchange prevented the start.
#[test]
fn a_cut_file_of_delayed_messages_costs_what_was_in_it() {
    let world = World::with_small_files();
    let client = world.client();
    let ch = client.channel(1);
    delayed_exchange(ch);
    ch.declare_durable("q", &[]);
    let (delayed, others) = (numbered("delayed", 30), numbered("other", 30));
    for (delayed, other) in delayed.iter().zip(&others) {
        publish_delayed(ch, 60_000, delayed);
        ch.publish_persistent("q", other);
    }
    let cut = |disk: &MemoryDisk| {
        let (path, _) = files_with(disk, delayed[0].as_bytes()).remove(0);
        assert!(path.ends_with(".segment"), "{path}");
        let length = disk.length(&path).unwrap().unwrap() as usize;
        (path, length)
    };
    let length = cut(&world.disk()).1;
    for kept in (0..length).step_by(7) {
        let world = world.restarted_after(0, |disk| {
            let (path, _) = cut(disk);
            disk.damage(&path, |octets| octets.truncate(kept)).unwrap();
        });
        let client = world.client();
        let ch = client.channel(1);
        assert_eq!(ch.drain_bodies("q"), others);
        publish_delayed(ch, 60_000, "later");
        world.pass_ms(60_000);
        let due = ch.drain_bodies("due");
        assert!((20..=30).contains(&due.len()), "{} are left", due.len());
        assert!(
            due.ends_with(
                &delayed[12..].iter().cloned().chain(["later".into()]).collect::<Vec<_>>()
            )
        );
    }
}

/// f: another broker failed when messages expired before its start was over.
#[test]
fn what_expires_while_the_broker_is_down_is_dead_lettered_once() {
    for (down_ms, left) in [(399, 30), (400, 20), (100_000, 0)] {
        let world = World::with_small_files();
        let client = world.client();
        let ch = client.channel(1);
        ch.declare_durable("dead", &[]);
        let dead_letter_to = |name| {
            [("x-dead-letter-exchange", text("")), ("x-dead-letter-routing-key", text(name))]
        };
        let [dlx, dlrk] = dead_letter_to("dead");
        ch.declare_durable("q", &[dlx, dlrk, ("x-message-ttl", Value::I32(1000))]);
        delayed_exchange(ch);
        let all = numbered("q", 30);
        publish_all(ch, "q", &all[..10]);
        publish_delayed(ch, 700, "delayed");
        world.pass_ms(600);
        publish_all(ch, "q", &all[10..]);
        // The first has been delivered and is to come back.
        ch.get("q");
        let world = world.restarted_after(down_ms, |_| {});
        world.pass_ms(0);
        assert_eq!(world.counts("q"), format!("{left}/0"));
        let world = world.restarted();
        let client = world.client();
        let ch = client.channel(1);
        assert_eq!(ch.drain_bodies("dead"), all[..30 - left], "down for {down_ms} ms");
        assert_eq!(ch.drain_bodies("q"), all[30 - left..]);
        assert_eq!(ch.drain_bodies("due").len(), 1);
    }
}

/// f, the other kind of expiry: a queue's own time goes on while the broker is down, or begins anew,
/// but the start does not fail over it.
#[test]
fn a_queue_that_would_have_expired_while_the_broker_was_down_expires_unused() {
    let world = World::with_small_files();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare_durable("q", &[("x-expires", Value::I32(1000))]);
    publish_all(ch, "q", &numbered("q", 20));
    let world = world.restarted_after(5000, |_| {});
    world.pass_ms(1000);
    assert_eq!(world.queue("q"), None);
    assert_eq!(world.restarted().queue("q"), None);
}

/// h: in another broker, a message that was fetched and not acknowledged was lost when the client
/// went.
#[test]
fn what_was_fetched_and_not_acknowledged_is_there_again_when_the_client_goes() {
    for pages in [false, true] {
        let world = World::with_small_files();
        if pages {
            world.memory_share(0);
        }
        let client = world.client();
        let ch = client.channel(1);
        ch.declare_durable("q", &[]);
        let all = numbered("q", 20);
        publish_all(ch, "q", &all);
        for _ in 0..5 {
            ch.get("q");
        }
        ch.ack(2);
        client.vanish();
        assert_eq!(world.counts("q"), "19/0");
        let mut left = all;
        left.remove(1);
        let again = world.client();
        let messages = again.channel(1);
        messages.qos(0, false);
        messages.consume("q", "c");
        let messages = messages.messages();
        assert_eq!(
            messages.iter().map(|it| &it.body).collect::<Vec<_>>(),
            left.iter().collect::<Vec<_>>()
        );
        let redelivered = messages.iter().filter(|it| it.redelivered).count();
        assert_eq!(redelivered, 4);
        again.vanish();
        let world = world.restarted();
        assert_eq!(world.client().channel(1).drain_bodies("q"), left);
    }
}

/// i: in another broker, purged messages were back after a restart.
#[test]
fn what_was_purged_stays_away_over_restarts_and_what_came_later_stays() {
    let world = World::with_small_files();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare_durable("q", &[]);
    let mut world = world.clone();
    for round in 0..5 {
        let client = world.client();
        let ch = client.channel(1);
        publish_all(ch, "q", &numbered("old", 30));
        let purge = queue::Purge { queue: s("q"), ..Default::default() };
        assert!(ch.call(purge).starts_with("queue.purge-ok"));
        let later = numbered("later", round * 7);
        publish_all(ch, "q", &later);
        for _ in 0..2 {
            world = world.restarted();
            assert_eq!(world.counts("q"), format!("{}/0", later.len()));
        }
    }
}

/// k: in another broker, a crash between the writing of a new file and its renaming lost limits and
/// permissions. Wherever the power is cut, a file that is replaced has its old content or the new.
#[test]
fn a_file_that_is_replaced_has_its_old_content_or_the_new_whatever_happens() {
    let (old, new) = (vec![b'o'; 300], vec![b'n'; 500]);
    let mut reached_the_end = false;
    for after in 0..20 {
        for kept in [0, 1, usize::MAX] {
            let memory = MemoryDisk::default();
            replace_whole(&memory, "registry.json", &old).unwrap();
            let disk = FaultyDisk::new(memory.clone());
            disk.fail(Fault {
                operation: Operation::Change,
                below: String::new(),
                after,
                kind: io::ErrorKind::Other,
                written: 100,
            });
            let replaced = replace_whole(&disk, "registry.json", &new);
            reached_the_end |= replaced.is_ok();
            let crashed = memory.crash(|_, most| most.min(kept));
            let disks: [Arc<dyn Disk>; 2] = [Arc::new(memory.kill()), Arc::new(crashed)];
            for disk in disks {
                let found = read_whole(&*disk, "registry.json").unwrap().unwrap();
                assert!(found == old || found == new, "after {after}: {} octets", found.len());
                assert!(replaced.is_err() || found == new, "it was told that it is done");
                replace_whole(&*disk, "registry.json", &new).unwrap();
                assert!(read_whole(&*disk, "registry.json").unwrap().unwrap() == new);
            }
        }
    }
    assert!(reached_the_end);
}
