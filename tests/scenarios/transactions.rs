//! The class tx: what is held back until the commit.

use leveret_codec::Value;
use leveret_codec::method::{basic, confirm, queue, tx};

use crate::support::world::{Channel, World, s, text};

fn select(ch: Channel<'_>) {
    assert_eq!(ch.call(tx::Select {}), "tx.select-ok");
}

#[test]
fn publishes_reach_their_queues_with_the_commit() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    select(ch);
    ch.publish("q", "a");
    ch.publish("q", "b");
    assert_eq!(world.counts("q"), "0/0");
    assert_eq!(ch.call(tx::Commit {}), "tx.commit-ok");
    assert_eq!(ch.drain_bodies("q"), ["a", "b"]);
    select(ch);
    ch.publish("q", "the next transaction");
    assert_eq!(world.counts("q"), "0/0");
}

#[test]
fn a_rollback_forgets_publishes() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    select(ch);
    ch.publish("q", "a");
    assert_eq!(ch.call(tx::Rollback {}), "tx.rollback-ok");
    assert_eq!(ch.call(tx::Commit {}), "tx.commit-ok");
    assert_eq!(world.counts("q"), "0/0");
}

#[test]
fn acknowledgements_are_held_and_a_rollback_lets_them_be_given_again() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    ch.publish("q", "a");
    ch.publish("q", "b");
    select(ch);
    ch.get("q");
    ch.get("q");
    ch.ack(2);
    ch.ack(1);
    assert_eq!(world.counts("q"), "0/2");
    assert_eq!(ch.call(tx::Rollback {}), "tx.rollback-ok");
    assert_eq!(world.counts("q"), "0/2");
    ch.ack(1);
    ch.reject(2, true);
    assert_eq!(ch.call(tx::Commit {}), "tx.commit-ok");
    assert_eq!(world.counts("q"), "1/0");
}

#[test]
fn a_tag_can_be_settled_once_in_a_transaction() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    ch.publish("q", "a");
    select(ch);
    ch.get("q");
    ch.ack(1);
    assert_eq!(
        ch.call(basic::Ack { delivery_tag: 1, multiple: false }),
        "channel.close 406 60,80 PRECONDITION_FAILED - unknown delivery tag 1"
    );
    assert_eq!(world.counts("q"), "1/0", "and it goes back");
}

#[test]
fn what_is_held_keeps_its_window_until_the_commit() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    ch.publish("q", "a");
    ch.publish("q", "b");
    select(ch);
    ch.qos(1, false);
    ch.consume("q", "c");
    assert_eq!(ch.bodies(), ["a"]);
    ch.ack(1);
    assert!(ch.bodies().is_empty());
    ch.send(tx::Commit {});
    assert_eq!(ch.bodies(), ["b"]);
}

#[test]
fn faults_of_a_publish_are_told_at_once() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    select(ch);
    ch.publish_to("none", "k", "a");
    assert_eq!(ch.lines(), ["channel.close 404 60,40 NOT_FOUND - no exchange 'none' in vhost '/'"]);
}

#[test]
fn a_return_comes_before_commit_ok() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    select(ch);
    ch.publish_mandatory("", "nowhere", "a");
    assert!(ch.lines().is_empty());
    assert_eq!(ch.call(tx::Commit {}), "basic.return 312 NO_ROUTE a\ntx.commit-ok");
}

#[test]
fn bindings_count_at_the_publish_and_queues_at_the_commit() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("bound");
    ch.declare("late");
    ch.bind("bound", "amq.fanout", "");
    select(ch);
    ch.publish("new", "by name");
    ch.publish_to("amq.fanout", "", "by binding");
    ch.declare("new");
    ch.bind("late", "amq.fanout", "");
    assert_eq!(ch.call(tx::Commit {}), "tx.commit-ok");
    assert_eq!(["new", "bound", "late"].map(|name| world.counts(name)), ["1/0", "1/0", "0/0"]);
}

#[test]
fn a_queue_that_refuses_makes_the_commit_partial() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("takes");
    ch.declare_with(
        "refuses",
        &[("x-max-length", Value::I32(0)), ("x-overflow", text("reject-publish"))],
    );
    select(ch);
    ch.publish("takes", "a");
    ch.publish("refuses", "b");
    assert_eq!(
        ch.call(tx::Commit {}),
        "channel.close 406 90,20 PRECONDITION_FAILED - partial tx completion"
    );
    assert_eq!(world.counts("takes"), "1/0");
}

#[test]
fn a_commit_without_select_is_refused() {
    let world = World::new();
    let client = world.client();
    let refused = |ids: &str| {
        format!("channel.close 406 {ids} PRECONDITION_FAILED - channel is not transactional")
    };
    assert_eq!(client.channel(1).call(tx::Commit {}), refused("90,20"));
    assert_eq!(client.channel(2).call(tx::Rollback {}), refused("90,30"));
}

#[test]
fn transactions_and_confirms_exclude_each_other() {
    let world = World::new();
    let client = world.client();
    let (one, two) = (client.channel(1), client.channel(2));
    select(one);
    assert_eq!(
        one.call(confirm::Select { nowait: false }),
        "channel.close 406 85,10 PRECONDITION_FAILED - cannot switch from tx to confirm mode"
    );
    two.confirm_select();
    assert_eq!(
        two.call(tx::Select {}),
        "channel.close 406 90,10 PRECONDITION_FAILED - cannot switch from confirm to tx mode"
    );
}

#[test]
fn a_closed_channel_forgets_its_transaction() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    ch.publish("q", "a");
    select(ch);
    ch.get("q");
    ch.ack(1);
    ch.publish("q", "b");
    assert_eq!(ch.close(), "channel.close-ok");
    assert_eq!(world.counts("q"), "1/0");
}

#[test]
fn a_vanished_client_forgets_its_transaction() {
    let world = World::new();
    let (client, other) = (world.client(), world.client());
    let ch = client.channel(1);
    ch.declare("q");
    ch.publish("q", "a");
    select(ch);
    ch.get("q");
    ch.ack(1);
    ch.publish("q", "b");
    client.vanish();
    assert_eq!(other.channel(1).drain_bodies("q"), ["a"]);
}

#[test]
fn a_commit_of_what_is_durable_is_answered_once_it_is_synced() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare_durable("q", &[]);
    select(ch);
    world.slow_disk();
    ch.publish_persistent("q", "a");
    assert_eq!(ch.call(tx::Commit {}), "");
    world.sync();
    assert_eq!(ch.lines(), ["tx.commit-ok"]);
    assert_eq!(world.restarted().counts("q"), "1/0");
}

#[test]
fn a_client_that_does_not_wait_for_its_commit_loses_the_connection() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare_durable("q", &[]);
    select(ch);
    world.slow_disk();
    ch.publish_persistent("q", "a");
    ch.send(tx::Commit {});
    ch.send(queue::Purge { queue: s("q"), ..Default::default() });
    assert_eq!(
        client.lines(),
        ["connection.close 504 50,30 CHANNEL_ERROR - unexpected command while processing \
          'tx.commit'"]
    );
}

#[test]
fn a_commit_that_cannot_be_kept_is_partial() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare_durable("q", &[]);
    select(ch);
    world.slow_disk();
    ch.publish_persistent("q", "a");
    ch.send(tx::Commit {});
    world.fail_disk();
    assert_eq!(ch.lines(), ["channel.close 406 90,20 PRECONDITION_FAILED - partial tx completion"]);
}
