//! Consumers: subscribing, whose turn it is, cancelling.

use leveret_codec::Value;
use leveret_codec::method::{basic, channel};

use crate::support::world::{World, s, text};

fn consume<'a>(queue: &'a str, tag: &'a str) -> basic::Consume<'a> {
    basic::Consume { queue: s(queue), consumer_tag: s(tag), ..Default::default() }
}

fn cancel(tag: &str) -> basic::Cancel<'_> {
    basic::Cancel { consumer_tag: s(tag), nowait: false }
}

const IN_USE: &str =
    "channel.close 403 60,20 ACCESS_REFUSED - queue 'q' in vhost '/' in exclusive use";

#[test]
fn consume_ok_comes_before_the_first_delivery() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    ch.publish("q", "a");
    ch.publish("q", "b");
    assert_eq!(
        ch.call(consume("q", "c")),
        "basic.consume-ok c\nbasic.deliver c 1 a\nbasic.deliver c 2 b"
    );
    ch.publish("q", "c");
    assert_eq!(ch.lines(), ["basic.deliver c 3 c"]);
}

#[test]
fn nowait_subscribes_without_an_answer() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    ch.publish("q", "a");
    let answer = ch.call(basic::Consume { nowait: true, ..consume("q", "c") });
    assert_eq!(answer, "basic.deliver c 1 a");
}

#[test]
fn an_empty_tag_lets_the_broker_choose_one() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    let answer = ch.call(consume("q", ""));
    let tag = answer.strip_prefix("basic.consume-ok ").expect("an answer");
    assert!(tag.starts_with("amq.ctag-"));
    assert_eq!(tag.len(), "amq.ctag-".len() + 22);
    assert_eq!(ch.call(cancel(tag)), format!("basic.cancel-ok {tag}"));
}

#[test]
fn a_tag_that_is_taken_costs_the_connection_before_the_queue_is_looked_for() {
    let world = World::new();
    let client = world.client();
    let (ch, other) = (client.channel(1), client.channel(2));
    ch.declare("q");
    ch.consume("q", "c");
    other.consume("q", "c");
    ch.send(consume("none", "c"));
    assert_eq!(
        client.lines(),
        ["connection.close 530 60,20 NOT_ALLOWED - attempt to reuse consumer tag 'c'"]
    );
}

#[test]
fn a_tag_is_free_again_after_its_cancel() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    ch.consume("q", "c");
    assert_eq!(ch.call(cancel("c")), "basic.cancel-ok c");
    ch.consume("q", "c");
}

#[test]
fn a_missing_queue_closes_the_channel() {
    let world = World::new();
    let client = world.client();
    assert_eq!(
        client.channel(1).call(consume("none", "c")),
        "channel.close 404 60,20 NOT_FOUND - no queue 'none' in vhost '/'"
    );
}

#[test]
fn arguments_are_checked_before_exclusive_use() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    ch.call(basic::Consume { exclusive: true, ..consume("q", "c") });
    let arguments = crate::support::world::table(&[("x-priority", text("high"))]);
    let bad = basic::Consume { arguments: arguments.as_table(), ..consume("q", "d") };
    assert_eq!(
        client.channel(2).call(bad),
        "channel.close 406 60,20 PRECONDITION_FAILED - invalid arg 'x-priority' for queue 'q' in \
         vhost '/': \"expected integer, got longstr\""
    );
}

#[test]
fn an_exclusive_consumer_wants_to_be_alone() {
    let world = World::new();
    let client = world.client();
    let exclusive = |tag: &'static str| basic::Consume { exclusive: true, ..consume("q", tag) };
    let ch = client.channel(1);
    ch.declare("q");
    ch.consume("q", "shared");
    assert_eq!(client.channel(2).call(exclusive("x")), IN_USE);
    ch.call(cancel("shared"));
    assert_eq!(ch.call(exclusive("alone")), "basic.consume-ok alone");
    assert_eq!(client.channel(3).call(consume("q", "y")), IN_USE);
    assert_eq!(client.channel(4).call(exclusive("z")), IN_USE);
    ch.qos(1, false);
    assert_eq!(client.channel(5).get("q"), "basic.get-empty", "to get is not to consume");
    ch.call(cancel("alone"));
    client.closed_channel(5).consume("q", "free again");
}

#[test]
fn no_local_is_ignored() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    ch.call(basic::Consume { no_local: true, ..consume("q", "c") });
    ch.publish("q", "own");
    assert_eq!(ch.lines(), ["basic.deliver c 1 own"]);
}

#[test]
fn consumers_take_turns() {
    let world = World::new();
    let (client, other) = (world.client(), world.client());
    let (one, two, three) = (client.channel(1), client.channel(2), other.channel(1));
    one.declare("q");
    one.consume("q", "one");
    two.consume("q", "two");
    three.consume("q", "three");
    for body in ["a", "b", "c", "d", "e", "f", "g"] {
        one.publish("q", body);
    }
    assert_eq!(one.bodies(), ["a", "d", "g"]);
    assert_eq!(two.bodies(), ["b", "e"]);
    assert_eq!(three.bodies(), ["c", "f"]);
}

#[test]
fn a_consumer_gets_the_backlog_before_the_next_one_subscribes() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    for body in ["a", "b", "c"] {
        ch.publish("q", body);
    }
    ch.consume("q", "first");
    ch.consume("q", "second");
    assert_eq!(
        ch.lines(),
        ["basic.deliver first 1 a", "basic.deliver first 2 b", "basic.deliver first 3 c"]
    );
}

#[test]
fn a_consumer_without_room_is_passed_over() {
    let world = World::new();
    let client = world.client();
    let (one, two) = (client.channel(1), client.channel(2));
    one.declare("q");
    one.qos(1, false);
    one.consume("q", "one");
    two.consume("q", "two");
    for body in ["a", "b", "c", "d"] {
        one.publish("q", body);
    }
    assert_eq!(one.bodies(), ["a"]);
    assert_eq!(two.bodies(), ["b", "c", "d"]);
}

#[test]
fn a_higher_priority_is_served_first_while_it_has_room() {
    let world = World::new();
    let client = world.client();
    let (low, high) = (client.channel(1), client.channel(2));
    let plain = client.channel(3);
    low.declare("q");
    low.consume_with("q", "low", &[("x-priority", Value::I32(-5))]);
    plain.qos(1, false);
    plain.consume("q", "plain");
    high.qos(2, false);
    high.consume_with("q", "high", &[("x-priority", Value::I64(10))]);
    for body in ["a", "b", "c", "d", "e"] {
        low.publish("q", body);
    }
    assert_eq!(high.bodies(), ["a", "b"]);
    assert_eq!(plain.bodies(), ["c"]);
    assert_eq!(low.bodies(), ["d", "e"]);
    high.ack(1);
    low.publish("q", "f");
    assert_eq!(high.bodies(), ["f"]);
}

#[test]
fn equals_in_priority_take_turns() {
    let world = World::new();
    let client = world.client();
    let (one, two) = (client.channel(1), client.channel(2));
    one.declare("q");
    one.consume_with("q", "one", &[("x-priority", Value::I32(3))]);
    two.consume_with("q", "two", &[("x-priority", Value::I32(3))]);
    for body in ["a", "b", "c", "d"] {
        one.publish("q", body);
    }
    assert_eq!(one.bodies(), ["a", "c"]);
    assert_eq!(two.bodies(), ["b", "d"]);
}

#[test]
fn a_single_active_consumer_gets_everything_until_it_goes() {
    let world = World::new();
    let client = world.client();
    let channels = [1, 2, 3, 4].map(|number| client.channel(number));
    let [active, oldest, highest, publisher] = channels;
    publisher.declare_with("q", &[("x-single-active-consumer", Value::Bool(true))]);
    active.qos(2, false);
    active.consume("q", "active");
    oldest.consume("q", "oldest");
    highest.consume_with("q", "highest", &[("x-priority", Value::I32(1))]);
    for body in ["a", "b", "c"] {
        publisher.publish("q", body);
    }
    assert_eq!(active.bodies(), ["a", "b"]);
    assert!(oldest.bodies().is_empty() && highest.bodies().is_empty());
    assert_eq!(world.counts("q"), "1/2");
    // The highest priority takes over, at once, then the oldest.
    active.call(cancel("active"));
    assert_eq!(highest.bodies(), ["c"]);
    assert_eq!(highest.close(), "channel.close-ok");
    assert_eq!(oldest.bodies(), ["c"]);
    publisher.publish("q", "d");
    assert_eq!(oldest.bodies(), ["d"]);
}

#[test]
fn of_waiting_consumers_with_equal_priority_the_oldest_takes_over() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare_with("q", &[("x-single-active-consumer", Value::Bool(true))]);
    for tag in ["first", "second", "third"] {
        ch.consume("q", tag);
    }
    ch.call(cancel("first"));
    ch.publish("q", "a");
    assert_eq!(ch.lines(), ["basic.deliver second 1 a"]);
}

#[test]
fn a_single_active_consumer_is_not_exclusive_and_leaves_get_alone() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare_with("q", &[("x-single-active-consumer", Value::Bool(true))]);
    ch.publish("q", "a");
    assert_eq!(ch.get("q"), "basic.get-ok 1 a left=0");
    assert_eq!(ch.call(basic::Consume { exclusive: true, ..consume("q", "c") }), IN_USE);
}

#[test]
fn a_cancelled_consumer_gets_no_more_and_may_still_settle() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    ch.publish("q", "a");
    ch.consume("q", "c");
    assert_eq!(ch.lines(), ["basic.deliver c 1 a"]);
    assert_eq!(ch.call(cancel("c")), "basic.cancel-ok c");
    ch.publish("q", "b");
    assert!(ch.lines().is_empty());
    assert_eq!(world.counts("q"), "1/1");
    ch.ack(1);
    assert!(ch.lines().is_empty());
    assert_eq!(world.counts("q"), "1/0");
}

#[test]
fn an_unknown_tag_is_cancelled_all_the_same() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    assert_eq!(ch.call(cancel("nobody")), "basic.cancel-ok nobody");
    assert_eq!(ch.call(basic::Cancel { nowait: true, ..cancel("nobody") }), "");
}

#[test]
fn delivery_tags_are_the_channels_whatever_the_consumer() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("p");
    ch.declare("q");
    ch.declare("r");
    ch.consume("p", "acks");
    ch.consume_no_ack("q", "does not");
    ch.publish("p", "a");
    ch.publish("q", "b");
    ch.publish("r", "c");
    assert_eq!(
        ch.get("r"),
        "basic.deliver acks 1 a\nbasic.deliver does not 2 b\nbasic.get-ok 3 c left=0"
    );
    ch.send(channel::Close::default());
    assert_eq!(world.counts("q"), "0/0");
}

#[test]
fn without_acknowledgements_a_message_is_gone_once_it_is_sent() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    ch.publish("q", "a");
    ch.consume_no_ack("q", "c");
    ch.publish("q", "b");
    assert_eq!(ch.bodies(), ["a", "b"]);
    assert_eq!(world.counts("q"), "0/0");
    ch.ack(1);
    assert_eq!(
        ch.lines(),
        ["channel.close 406 60,80 PRECONDITION_FAILED - unknown delivery tag 1"]
    );
    assert_eq!(world.counts("q"), "0/0");
}

#[test]
fn messages_of_one_publisher_come_in_order() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    let bodies: Vec<String> = (0..200).map(|number| number.to_string()).collect();
    for body in &bodies[..100] {
        ch.publish("q", body);
    }
    ch.qos(7, false);
    ch.consume("q", "c");
    for body in &bodies[100..] {
        ch.publish("q", body);
    }
    let mut got = Vec::new();
    loop {
        let messages = ch.messages();
        let Some(last) = messages.last() else { break };
        ch.send(basic::Ack { delivery_tag: last.delivery_tag, multiple: true });
        got.extend(messages.into_iter().map(|message| message.body));
    }
    assert_eq!(got, bodies);
}
