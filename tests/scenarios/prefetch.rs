//! basic.qos: how much may be unacknowledged.

use leveret_codec::method::basic;

use crate::support::world::{Channel, World, s};

/// The queue q with the messages 1 to 9.
fn nine(ch: Channel<'_>) {
    ch.declare("q");
    for number in 1..=9 {
        ch.publish("q", &number.to_string());
    }
}

#[test]
fn a_third_message_waits_for_an_acknowledgement() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    nine(ch);
    ch.qos(2, false);
    ch.consume("q", "c");
    assert_eq!(ch.lines(), ["basic.deliver c 1 1", "basic.deliver c 2 2"]);
    assert_eq!(world.counts("q"), "7/2");
    ch.ack(1);
    assert_eq!(ch.lines(), ["basic.deliver c 3 3"]);
    ch.send(basic::Ack { delivery_tag: 3, multiple: true });
    assert_eq!(ch.lines(), ["basic.deliver c 4 4", "basic.deliver c 5 5"]);
    ch.reject(4, false);
    assert_eq!(ch.lines(), ["basic.deliver c 6 6"]);
}

#[test]
fn each_new_consumer_has_a_window_of_its_own() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    nine(ch);
    ch.qos(1, false);
    ch.consume("q", "one");
    ch.consume("q", "two");
    assert_eq!(ch.lines(), ["basic.deliver one 1 1", "basic.deliver two 2 2"]);
    ch.ack(2);
    assert_eq!(ch.lines(), ["basic.deliver two 3 3"]);
}

#[test]
fn a_later_qos_leaves_consumers_that_are_there_alone() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    nine(ch);
    ch.qos(1, false);
    ch.consume("q", "narrow");
    ch.qos(3, false);
    assert_eq!(ch.bodies(), ["1"]);
    ch.consume("q", "wide");
    assert_eq!(ch.bodies(), ["2", "3", "4"]);
    ch.qos(0, false);
    ch.consume("q", "open");
    assert_eq!(ch.bodies(), ["5", "6", "7", "8", "9"]);
}

#[test]
fn a_global_window_is_shared_by_all_consumers_of_the_channel() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    nine(ch);
    ch.qos(3, true);
    ch.consume("q", "one");
    ch.consume("q", "two");
    assert_eq!(ch.bodies(), ["1", "2", "3"]);
    ch.ack(2);
    assert_eq!(ch.bodies(), ["4"]);
    // Another channel has its own.
    let other = client.channel(2);
    other.consume("q", "elsewhere");
    assert_eq!(other.bodies(), ["5", "6", "7", "8", "9"]);
}

#[test]
fn a_global_window_changes_at_once() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    nine(ch);
    ch.qos(1, true);
    ch.consume("q", "c");
    assert_eq!(ch.bodies(), ["1"]);
    ch.qos(3, true);
    assert_eq!(ch.bodies(), ["2", "3"]);
    ch.qos(2, true);
    ch.ack(1);
    assert!(ch.bodies().is_empty(), "two are still out");
    ch.ack(2);
    assert_eq!(ch.bodies(), ["4"]);
    ch.qos(0, true);
    assert_eq!(ch.bodies(), ["5", "6", "7", "8", "9"]);
}

#[test]
fn both_windows_hold_when_the_global_one_was_set_last() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    nine(ch);
    ch.qos(2, false);
    ch.qos(3, true);
    ch.consume("q", "one");
    ch.consume("q", "two");
    assert_eq!(
        ch.lines(),
        ["basic.deliver one 1 1", "basic.deliver one 2 2", "basic.deliver two 3 3"]
    );
    // Setting the other one again ends the global one.
    ch.qos(2, false);
    assert_eq!(ch.lines(), ["basic.deliver two 4 4"]);
}

#[test]
fn without_acknowledgements_no_window_counts() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    nine(ch);
    ch.qos(1, false);
    ch.qos(1, true);
    ch.consume_no_ack("q", "c");
    assert_eq!(ch.bodies().len(), 9);
}

#[test]
fn one_that_acknowledges_nothing_waits_behind_a_full_shared_window() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    nine(ch);
    ch.declare("other");
    ch.publish("other", "a");
    ch.qos(1, true);
    ch.consume("other", "takes");
    ch.consume_no_ack("q", "waits");
    assert_eq!(ch.bodies(), ["a"]);
    ch.ack(1);
    assert_eq!(ch.bodies().len(), 9, "it takes none of the window");
}

#[test]
fn to_get_takes_no_window() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    nine(ch);
    ch.qos(1, true);
    for number in 1..=3 {
        assert_eq!(ch.get("q"), format!("basic.get-ok {number} {number} left={}", 9 - number));
    }
    ch.consume("q", "c");
    assert_eq!(ch.lines(), ["basic.deliver c 4 4"]);
    ch.ack(1);
    assert!(ch.lines().is_empty());
}

#[test]
fn deliveries_of_a_cancelled_consumer_count_in_the_global_window_alone() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    nine(ch);
    ch.qos(2, true);
    ch.consume("q", "one");
    assert_eq!(ch.bodies(), ["1", "2"]);
    ch.call(basic::Cancel { consumer_tag: s("one"), nowait: false });
    ch.consume("q", "two");
    assert!(ch.bodies().is_empty());
    ch.ack(1);
    assert_eq!(ch.bodies(), ["3"]);

    let other = client.channel(2);
    other.qos(2, false);
    other.consume("q", "one");
    assert_eq!(other.bodies(), ["4", "5"]);
    other.call(basic::Cancel { consumer_tag: s("one"), nowait: false });
    other.consume("q", "one");
    assert_eq!(other.bodies(), ["6", "7"]);
    // Settling those of the first one gives the second no room.
    other.send(basic::Ack { delivery_tag: 2, multiple: true });
    assert!(other.bodies().is_empty());
}

#[test]
fn a_prefetch_size_is_not_implemented() {
    let world = World::new();
    let client = world.client();
    client.channel(1).send(basic::Qos { prefetch_size: 1, prefetch_count: 1, global: false });
    assert_eq!(
        client.lines(),
        ["connection.close 540 60,10 NOT_IMPLEMENTED - prefetch_size!=0 (1)"]
    );
}

#[test]
fn a_requeued_message_gives_its_room_back() {
    let world = World::new();
    let client = world.client();
    let (ch, other) = (client.channel(1), client.channel(2));
    ch.declare("q");
    ch.declare("r");
    ch.qos(1, true);
    ch.consume("q", "of q");
    ch.consume("r", "of r");
    other.publish("q", "a");
    other.publish("r", "b");
    assert_eq!(ch.lines(), ["basic.deliver of q 1 a"]);
    other.consume("q", "elsewhere");
    ch.reject(1, true);
    // One of the two queues gets the room, the other consumer the rest.
    assert_eq!(world.counts("q"), "0/1");
    ch.lines();
    ch.send(basic::Recover { requeue: true });
    assert_eq!(world.counts("r"), "0/1");
}
