//! Alarms: while something runs short, publishers are not read from.

use leveret_codec::Value;

use crate::world::World;

const LOW: &str = "low on memory";

fn capable(world: &World) -> crate::world::Client {
    world.client_with(Default::default(), &[("connection.blocked", Value::Bool(true))])
}

#[test]
fn a_publisher_is_blocked_at_its_first_publish_and_told_once() {
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
    assert_eq!(world.counts("q"), "2/0", "what came before counts");
    world.alarm(None);
    assert_eq!(client.lines_with_channels(), ["0: connection.unblocked"]);
    assert!(!client.is_blocked());
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
    assert_eq!(ch.bodies(), ["a"]);
    assert!(!consumer.is_blocked());
    world.alarm(None);
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
