//! Full queues: x-max-length, x-max-length-bytes, x-overflow, and priorities among them.

use leveret_codec::{PropertyFields, Value};

use crate::support::world::{Channel, World, text};

/// A queue q with these arguments, which dead-letters into the queue dead.
fn limited(ch: Channel<'_>, arguments: &[(&str, Value<'_>)]) {
    ch.declare("dead");
    let mut all =
        vec![("x-dead-letter-exchange", text("")), ("x-dead-letter-routing-key", text("dead"))];
    all.extend_from_slice(arguments);
    ch.declare_with("q", &all);
}

fn publish_all(ch: Channel<'_>, bodies: &[&str]) {
    for body in bodies {
        ch.publish("q", body);
    }
}

#[test]
fn the_oldest_are_dropped_and_dead_lettered_in_order() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    limited(ch, &[("x-max-length", Value::I32(2))]);
    publish_all(ch, &["0", "1", "2", "3", "4"]);
    assert_eq!(ch.drain_bodies("q"), ["3", "4"]);
    assert_eq!(ch.drain_bodies("dead"), ["0", "1", "2"]);
}

#[test]
fn what_is_delivered_does_not_count() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    limited(ch, &[("x-max-length", Value::I32(2))]);
    publish_all(ch, &["0", "1"]);
    ch.get("q");
    publish_all(ch, &["2"]);
    assert_eq!(world.counts("q"), "2/1");
    // When it comes back there is one too many, and it is the oldest.
    ch.reject(1, true);
    assert_eq!(ch.drain_bodies("dead"), ["0"]);
    assert_eq!(ch.drain_bodies("q"), ["1", "2"]);
}

#[test]
fn a_limit_of_zero_passes_on_what_can_be_delivered_at_once() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    limited(ch, &[("x-max-length", Value::I32(0))]);
    publish_all(ch, &["dropped"]);
    ch.consume("q", "c");
    publish_all(ch, &["delivered"]);
    assert_eq!(ch.bodies(), ["delivered"]);
    assert_eq!(ch.drain_bodies("dead"), ["dropped"]);
}

#[test]
fn a_limit_in_octets_counts_bodies() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    limited(ch, &[("x-max-length-bytes", Value::I32(10))]);
    publish_all(ch, &["12345", "67890"]);
    assert_eq!(world.counts("q"), "2/0");
    publish_all(ch, &["x"]);
    assert_eq!(ch.drain_bodies("dead"), ["12345"]);
    assert_eq!(ch.drain_bodies("q"), ["67890", "x"]);
}

#[test]
fn a_body_larger_than_the_limit_empties_the_queue_itself_included() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    limited(ch, &[("x-max-length-bytes", Value::I32(10))]);
    publish_all(ch, &["a", "b", "12345678901"]);
    assert_eq!(world.counts("q"), "0/0");
    assert_eq!(ch.drain_bodies("dead"), ["a", "b", "12345678901"]);
}

#[test]
fn both_limits_hold() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    limited(ch, &[("x-max-length", Value::I32(2)), ("x-max-length-bytes", Value::I32(5))]);
    publish_all(ch, &["1", "2", "3"]);
    assert_eq!(ch.drain_bodies("dead"), ["1"]);
    publish_all(ch, &["4444"]);
    assert_eq!(ch.drain_bodies("q"), ["3", "4444"]);
}

#[test]
fn reject_publish_refuses_the_new_one() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    limited(ch, &[("x-max-length", Value::I32(2)), ("x-overflow", text("reject-publish"))]);
    ch.confirm_select();
    publish_all(ch, &["0", "1", "2"]);
    assert_eq!(ch.lines(), ["basic.ack 1", "basic.ack 2", "basic.nack 3"]);
    assert_eq!(ch.drain_bodies("q"), ["0", "1"]);
    assert!(ch.drain_bodies("dead").is_empty());
    publish_all(ch, &["3"]);
    assert_eq!(world.counts("q"), "1/0", "there is room again");
}

#[test]
fn reject_publish_dlx_dead_letters_the_new_one() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    limited(ch, &[("x-max-length", Value::I32(1)), ("x-overflow", text("reject-publish-dlx"))]);
    ch.confirm_select();
    publish_all(ch, &["0", "1"]);
    assert_eq!(ch.lines(), ["basic.ack 1", "basic.nack 2"]);
    assert_eq!(ch.drain_bodies("q"), ["0"]);
    let dead = ch.drain("dead");
    assert_eq!(dead[0].body, "1");
    assert_eq!(dead[0].header("x-first-death-reason"), Some(text("maxlen")));
}

#[test]
fn with_reject_publish_a_limit_of_zero_refuses_even_beside_an_idle_consumer() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    limited(ch, &[("x-max-length", Value::I32(0)), ("x-overflow", text("reject-publish"))]);
    ch.consume("q", "idle");
    ch.confirm_select();
    publish_all(ch, &["a"]);
    assert_eq!(ch.lines(), ["basic.nack 1"]);
}

#[test]
fn reject_publish_counts_octets_too() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    limited(ch, &[("x-max-length-bytes", Value::I32(4)), ("x-overflow", text("reject-publish"))]);
    ch.confirm_select();
    publish_all(ch, &["12345", "1234", "5"]);
    assert_eq!(ch.lines(), ["basic.nack 1", "basic.ack 2", "basic.nack 3"]);
}

#[test]
fn a_priority_queue_serves_the_highest_first_and_drops_it_first() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    limited(ch, &[("x-max-priority", Value::I32(5)), ("x-max-length", Value::I32(2))]);
    for priority in [5, 1, 3, 0] {
        let fields = PropertyFields { priority: Some(priority), ..Default::default() };
        ch.publish_with("", "q", fields, &priority.to_string());
    }
    assert_eq!(ch.drain_bodies("q"), ["1", "0"]);
    assert_eq!(ch.drain_bodies("dead"), ["5", "3"]);
}

#[test]
fn priorities_above_the_highest_count_as_it_and_are_passed_on_unchanged() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare_with("q", &[("x-max-priority", Value::I32(2))]);
    for (priority, body) in [(0, "0"), (2, "2"), (200, "200"), (1, "1")] {
        let fields = PropertyFields { priority: Some(priority), ..Default::default() };
        ch.publish_with("", "q", fields, body);
    }
    let messages = ch.drain("q");
    let bodies: Vec<_> = messages.iter().map(|message| &*message.body).collect();
    assert_eq!(bodies, ["2", "200", "1", "0"]);
    assert_eq!(messages[1].fields().priority, Some(200));
}

#[test]
fn what_has_no_room_and_no_time_has_no_room() {
    for (max_length, reason) in [(0, "maxlen"), (1, "expired")] {
        let world = World::new();
        let client = world.client();
        let ch = client.channel(1);
        ch.declare("dead");
        let arguments = [
            ("x-max-length", Value::I32(max_length)),
            ("x-message-ttl", Value::I32(0)),
            ("x-dead-letter-exchange", text("")),
            ("x-dead-letter-routing-key", text("dead")),
        ];
        ch.declare_with("q", &arguments);
        ch.publish("q", "a");
        assert_eq!(ch.drain("dead")[0].header("x-first-death-reason"), Some(text(reason)));
    }
}
