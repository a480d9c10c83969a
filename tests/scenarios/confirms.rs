//! Publisher confirms: which, in which order, and when.

use leveret_codec::method::{basic, confirm, queue, tx};
use leveret_codec::{PropertyFields, Value};

use crate::support::world::{World, s, text};

#[test]
fn a_publish_is_acknowledged_from_select_on() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    ch.publish("q", "before");
    assert!(ch.lines().is_empty());
    ch.confirm_select();
    ch.publish("q", "a");
    assert_eq!(ch.lines(), ["basic.ack 1"]);
    ch.publish("q", "b");
    assert_eq!(ch.lines(), ["basic.ack 2"]);
    ch.confirm_select();
    ch.publish("q", "c");
    assert_eq!(ch.lines(), ["basic.ack 3"], "a second select changes nothing");
}

#[test]
fn select_may_go_unanswered() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    assert_eq!(ch.call(confirm::Select { nowait: true }), "");
    ch.publish("nowhere", "a");
    assert_eq!(ch.lines(), ["basic.ack 1"]);
}

#[test]
fn numbers_are_counted_by_channel() {
    let world = World::new();
    let client = world.client();
    let (one, two) = (client.channel(1), client.channel(2));
    one.confirm_select();
    two.confirm_select();
    one.publish("nowhere", "a");
    one.publish("nowhere", "b");
    two.publish("nowhere", "c");
    assert_eq!(one.lines(), ["basic.ack 1", "basic.ack 2"]);
    assert_eq!(two.lines(), ["basic.ack 1"]);
}

#[test]
fn a_batch_is_acknowledged_at_once() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    ch.confirm_select();
    world.batch(|| {
        for body in ["a", "b", "c"] {
            ch.publish("q", body);
        }
    });
    assert_eq!(ch.lines(), ["basic.ack 3 (multiple)"]);
}

#[test]
fn a_persistent_message_is_acknowledged_once_it_is_synced() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare_durable("q", &[]);
    ch.confirm_select();
    world.slow_disk();
    ch.publish_persistent("q", "a");
    ch.publish_persistent("q", "b");
    assert!(ch.lines().is_empty());
    world.sync();
    assert_eq!(ch.lines(), ["basic.ack 2 (multiple)"]);
}

#[test]
fn confirms_keep_the_order_of_the_publishes() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare_durable("q", &[]);
    ch.confirm_select();
    world.slow_disk();
    ch.publish("q", "transient");
    assert_eq!(ch.lines(), ["basic.ack 1"]);
    ch.publish_persistent("q", "persistent");
    ch.publish("q", "transient");
    ch.publish("nowhere", "unroutable");
    assert!(ch.lines().is_empty());
    world.sync();
    assert_eq!(ch.lines(), ["basic.ack 4 (multiple)"]);
}

#[test]
fn only_what_somebody_waits_for_is_awaited() {
    let world = World::new();
    let client = world.client();
    let (confirming, plain, committing) = (client.channel(1), client.channel(2), client.channel(3));
    plain.declare_durable("q", &[]);
    assert_eq!(world.awaited(), 0, "declare-ok comes at once");
    confirming.confirm_select();
    world.batch(|| {
        for body in ["a", "b", "c"] {
            confirming.publish_persistent("q", body);
        }
    });
    assert_eq!(world.awaited(), 3);
    confirming.publish("q", "transient");
    plain.publish_persistent("q", "d");
    assert_eq!(world.awaited(), 0);

    plain.call(basic::Get { ticket: 0, queue: s("q"), no_ack: false });
    plain.call(basic::Ack { delivery_tag: 1, multiple: false });
    assert_eq!(world.awaited(), 0, "a settlement");

    committing.call(tx::Select {});
    committing.publish_persistent("q", "e");
    committing.publish_persistent("q", "f");
    assert_eq!(world.awaited(), 0);
    assert_eq!(committing.call(tx::Commit {}), "tx.commit-ok");
    assert_eq!(world.awaited(), 1, "one answer for all of it");
}

#[test]
fn a_persistent_message_in_a_transient_queue_waits_for_no_disk() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    ch.confirm_select();
    world.slow_disk();
    ch.publish_persistent("q", "a");
    assert_eq!(ch.lines(), ["basic.ack 1"]);
}

#[test]
fn another_channels_publish_does_not_hold_back() {
    let world = World::new();
    let client = world.client();
    let (ch, other) = (client.channel(1), client.channel(2));
    ch.declare_durable("q", &[]);
    ch.confirm_select();
    other.confirm_select();
    world.slow_disk();
    ch.publish_persistent("q", "a");
    other.publish("q", "b");
    assert_eq!(other.lines(), ["basic.ack 1"]);
    assert!(ch.lines().is_empty());
}

#[test]
fn a_return_comes_before_its_confirm() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.confirm_select();
    ch.publish_mandatory("", "nowhere", "a");
    assert_eq!(ch.lines(), ["basic.return 312 NO_ROUTE a", "basic.ack 1"]);
}

#[test]
fn what_is_answered_after_a_publish_comes_after_its_confirm() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    ch.confirm_select();
    world.batch(|| {
        ch.publish("q", "a");
        ch.send(queue::Declare { queue: s("q"), ..Default::default() });
    });
    assert_eq!(ch.lines(), ["basic.ack 1", "queue.declare-ok q ready=1 consumers=0"]);
}

#[test]
fn what_a_full_queue_drops_is_acknowledged_and_what_it_refuses_is_not() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare_with("drops", &[("x-max-length", Value::I32(1))]);
    ch.declare_with(
        "refuses",
        &[("x-max-length", Value::I32(1)), ("x-overflow", text("reject-publish"))],
    );
    ch.confirm_select();
    world.batch(|| {
        for queue in ["drops", "drops", "refuses", "refuses", "drops"] {
            ch.publish(queue, queue);
        }
    });
    assert_eq!(ch.lines(), ["basic.ack 3 (multiple)", "basic.nack 4", "basic.ack 5"]);
}

#[test]
fn one_queue_that_refuses_is_enough_for_a_nack_and_no_return() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("takes");
    ch.declare_with(
        "refuses",
        &[("x-max-length", Value::I32(0)), ("x-overflow", text("reject-publish"))],
    );
    ch.bind("takes", "amq.fanout", "");
    ch.bind("refuses", "amq.fanout", "");
    ch.confirm_select();
    ch.publish_mandatory("amq.fanout", "", "a");
    assert_eq!(ch.lines(), ["basic.nack 1"]);
    assert_eq!(world.counts("takes"), "1/0");
}

#[test]
fn what_expires_at_once_is_acknowledged() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    ch.confirm_select();
    let fields = PropertyFields { expiration: Some(s("0")), ..Default::default() };
    ch.publish_with("", "q", fields, "a");
    assert_eq!(ch.lines(), ["basic.ack 1"]);
    assert_eq!(world.counts("q"), "0/0");
}

#[test]
fn a_deleted_queue_counts_as_an_acknowledgement() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare_durable("q", &[]);
    ch.confirm_select();
    world.slow_disk();
    ch.publish_persistent("q", "a");
    let delete = queue::Delete { queue: s("q"), ..Default::default() };
    assert_eq!(ch.call(delete), "queue.delete-ok 1");
    world.sync();
    assert_eq!(ch.lines(), ["basic.ack 1"]);
}

#[test]
fn a_fault_loses_the_confirms_that_are_not_due_yet() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare_durable("q", &[]);
    ch.confirm_select();
    world.slow_disk();
    ch.publish_persistent("q", "a");
    ch.ack(99);
    assert_eq!(
        ch.lines(),
        ["channel.close 406 60,80 PRECONDITION_FAILED - unknown delivery tag 99"]
    );
    world.sync();
    assert!(ch.lines().is_empty());
}

#[test]
fn confirms_of_a_closed_channel_do_not_reach_its_successor() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare_durable("q", &[]);
    ch.confirm_select();
    world.slow_disk();
    ch.publish_persistent("q", "a");
    assert_eq!(ch.close(), "channel.close-ok");
    let ch = client.channel(1);
    ch.confirm_select();
    world.sync();
    assert!(ch.lines().is_empty());
}

#[test]
fn when_the_disk_fails_what_waits_for_it_is_refused() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare_durable("q", &[]);
    ch.confirm_select();
    ch.publish_persistent("q", "a");
    assert_eq!(ch.lines(), ["basic.ack 1"]);
    world.slow_disk();
    ch.publish_persistent("q", "b");
    ch.publish("q", "c");
    world.fail_disk();
    assert_eq!(ch.lines(), ["basic.nack 2", "basic.ack 3"]);
    // From now on what must be kept is refused, and what need not be is taken.
    ch.publish_persistent("q", "d");
    ch.publish("q", "e");
    assert_eq!(ch.lines(), ["basic.nack 4", "basic.ack 5"]);
}
