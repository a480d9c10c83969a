//! Alarms: while something runs short, publishers are not read from.

use leveret_codec::Value;
use leveret_codec::method::{basic, confirm};

use crate::support::world::{World, s};

const LOW: &str = "low on memory";

fn capable(world: &World) -> crate::support::world::Client {
    world.client_with(Default::default(), &[("connection.blocked", Value::Bool(true))])
}

#[test]
fn a_publisher_is_blocked_at_its_first_publish_which_waits_and_is_told_once() {
    let world = World::new();
    let client = capable(&world);
    let ch = client.channel(1);
    ch.declare("q");
    world.alarm(Some(LOW));
    assert!(client.lines().is_empty() && !client.is_blocked());
    ch.publish("q", "a");
    ch.publish("q", "b");
    assert_eq!(client.lines_with_channels(), ["0: connection.blocked low on memory"]);
    assert!(client.is_blocked());
    assert_eq!(world.counts("q"), "0/0", "not even the first one is routed");
    world.alarm(None);
    assert_eq!(client.lines_with_channels(), ["0: connection.unblocked"]);
    assert!(!client.is_blocked());
    assert_eq!(world.counts("q"), "2/0");
}

#[test]
fn a_publish_without_a_body_is_routed_and_what_follows_waits() {
    let world = World::new();
    let client = capable(&world);
    let ch = client.channel(1);
    ch.declare("q");
    ch.call(confirm::Select { nowait: false });
    world.alarm(Some(LOW));
    ch.publish("q", "");
    ch.publish("q", "");
    let expected = ["0: connection.blocked low on memory", "1: basic.ack 1"];
    assert_eq!(client.lines_with_channels(), expected);
    assert_eq!(world.counts("q"), "1/0");
    world.alarm(None);
    assert_eq!(client.lines_with_channels(), ["0: connection.unblocked", "1: basic.ack 2"]);
    assert_eq!(world.counts("q"), "2/0");
}

#[test]
fn what_a_client_has_sent_behind_a_publish_that_waits_comes_after_it() {
    let world = World::new();
    let client = capable(&world);
    let ch = client.channel(1);
    ch.declare("q");
    ch.call(confirm::Select { nowait: false });
    world.alarm(Some(LOW));
    ch.publish("q", "a");
    ch.send(basic::Get { queue: s("q"), no_ack: true, ..Default::default() });
    assert_eq!(client.lines(), ["connection.blocked low on memory"]);
    world.alarm(None);
    assert_eq!(
        client.lines_with_channels()[..2],
        ["0: connection.unblocked".to_owned(), "1: basic.ack 1".to_owned()]
    );
    assert_eq!(ch.bodies(), ["a"]);
}

#[test]
fn publishes_that_wait_in_several_clients_are_routed_when_the_alarm_is_over() {
    let world = World::new();
    let (one, two) = (capable(&world), capable(&world));
    let (first, second) = (one.channel(1), two.channel(1));
    first.declare("q");
    world.alarm(Some(LOW));
    second.publish("q", "b");
    first.publish("q", "a");
    one.vanish();
    assert_eq!(world.counts("q"), "0/0");
    world.alarm(None);
    assert_eq!(world.counts("q"), "1/0", "who has gone publishes nothing");
}

#[test]
fn a_broker_that_stops_during_an_alarm_closes_those_that_it_blocks() {
    let world = World::new();
    let client = capable(&world);
    let ch = client.channel(1);
    ch.declare("q");
    world.alarm(Some(LOW));
    ch.publish("q", "a");
    world.shut_down();
    assert!(!client.is_blocked(), "its close-ok is to be read");
    let lines = client.lines();
    assert!(lines[1].starts_with("connection.close 320"), "{lines:?}");
    assert_eq!(world.counts("q"), "0/0");
}

#[test]
fn an_alarm_in_the_midst_of_publishes_that_are_alike_blocks() {
    let world = World::new();
    let client = capable(&world);
    let ch = client.channel(1);
    ch.declare("q");
    world.batch(|| {
        ch.publish("q", "a");
        world.alarm(Some(LOW));
        ch.publish("q", "b");
    });
    assert_eq!(client.lines_with_channels(), ["0: connection.blocked low on memory"]);
    assert!(client.is_blocked());
}

#[test]
fn who_does_not_publish_notices_nothing() {
    let world = World::new();
    let (publisher, consumer) = (capable(&world), capable(&world));
    let (from, ch) = (publisher.channel(1), consumer.channel(1));
    from.declare("q");
    ch.consume("q", "c");
    world.alarm(Some(LOW));
    from.publish("q", "a");
    assert!(!consumer.is_blocked());
    world.alarm(None);
    assert_eq!(ch.bodies(), ["a"]);
    assert!(consumer.lines().is_empty());
}

#[test]
fn who_cannot_hear_it_is_blocked_all_the_same() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    world.alarm(Some(LOW));
    ch.publish("nowhere", "a");
    assert!(client.lines().is_empty());
    assert!(client.is_blocked());
    world.alarm(None);
    assert!(client.lines().is_empty());
    assert!(!client.is_blocked());
}

#[test]
fn a_publish_that_fails_blocks_too() {
    let world = World::new();
    let client = capable(&world);
    let ch = client.channel(1);
    world.alarm(Some(LOW));
    ch.publish_to("missing", "k", "a");
    assert_eq!(client.lines_with_channels(), ["0: connection.blocked low on memory"]);
    assert!(client.is_blocked());
    world.alarm(None);
    assert_eq!(
        client.lines_with_channels(),
        [
            "0: connection.unblocked",
            "1: channel.close 404 60,40 NOT_FOUND - no exchange 'missing' in vhost '/'",
        ]
    );
}

#[test]
fn the_reason_is_told_as_it_is_and_one_more_reason_is_not() {
    let world = World::new();
    let client = capable(&world);
    let ch = client.channel(1);
    world.alarm(Some("low on disk & memory"));
    ch.publish("q", "a");
    assert_eq!(client.lines(), ["connection.blocked low on disk & memory"]);
    world.alarm(Some("low on disk"));
    ch.publish("q", "b");
    assert!(client.lines().is_empty() && client.is_blocked());
    world.alarm(None);
    assert_eq!(client.lines(), ["connection.unblocked"]);
}

#[test]
fn the_next_alarm_blocks_and_is_told_again() {
    let world = World::new();
    let client = capable(&world);
    let ch = client.channel(1);
    for _ in 0..2 {
        world.alarm(Some(LOW));
        assert!(!client.is_blocked(), "not before the first publish");
        ch.publish("q", "a");
        world.alarm(None);
        ch.publish("q", "a");
        let expected = ["connection.blocked low on memory", "connection.unblocked"];
        assert_eq!(client.lines(), expected);
    }
}

#[test]
fn all_channels_of_a_connection_are_blocked_together_and_told_once() {
    let world = World::new();
    let client = capable(&world);
    let (one, two) = (client.channel(1), client.channel(2));
    world.alarm(Some(LOW));
    one.publish("q", "a");
    two.publish("q", "a");
    assert_eq!(client.lines_with_channels(), ["0: connection.blocked low on memory"]);
}

#[test]
fn who_connects_during_an_alarm_is_welcome_until_it_publishes() {
    let world = World::new();
    world.alarm(Some(LOW));
    let client = capable(&world);
    let ch = client.channel(1);
    ch.declare("q");
    assert!(!client.is_blocked());
    ch.publish("q", "a");
    assert!(client.is_blocked());
    assert_eq!(client.lines(), ["connection.blocked low on memory"]);
}

#[test]
fn a_consumer_goes_on_with_what_is_there_and_what_dead_letters() {
    let world = World::new();
    let (publisher, consumer) = (capable(&world), capable(&world));
    let (from, ch) = (publisher.channel(1), consumer.channel(1));
    from.declare("dead");
    from.declare_with(
        "q",
        &[
            ("x-dead-letter-exchange", crate::support::world::text("")),
            ("x-dead-letter-routing-key", crate::support::world::text("dead")),
        ],
    );
    from.publish("q", "a");
    from.publish("q", "b");
    world.alarm(Some(LOW));
    ch.consume("q", "c");
    ch.ack(1);
    ch.reject(2, false);
    assert_eq!((world.counts("q"), world.counts("dead")), ("0/0".into(), "1/0".into()));
    assert!(!consumer.is_blocked() && !publisher.is_blocked());
}

#[test]
fn a_blocked_connection_still_gets_its_deliveries() {
    let world = World::new();
    let (client, other) = (capable(&world), capable(&world));
    let (ch, from) = (client.channel(1), other.channel(1));
    ch.declare("q");
    ch.consume("q", "c");
    world.alarm(Some(LOW));
    ch.publish("nowhere", "a");
    from.publish("q", "");
    assert_eq!(ch.lines(), ["basic.deliver c 1 "]);
}

#[test]
fn who_leaves_while_it_is_blocked_is_not_told_of_the_end() {
    let world = World::new();
    let client = capable(&world);
    world.alarm(Some(LOW));
    client.channel(1).publish("q", "a");
    client.vanish();
    client.lines();
    world.alarm(None);
    assert!(client.lines().is_empty());
}
