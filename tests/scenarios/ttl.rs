//! What time brings about: messages expire, and queues.

use leveret_codec::method::{basic, queue};
use leveret_codec::{PropertyFields, Value};

use crate::support::world::{Channel, World, pages_everything, s, text};

fn expires(ms: &str) -> PropertyFields<'_> {
    PropertyFields { expiration: Some(s(ms)), ..Default::default() }
}

/// The queue q with a TTL and a dead-letter queue.
fn with_ttl(ch: Channel<'_>, ttl_ms: i32) {
    ch.declare("dead");
    ch.declare_with(
        "q",
        &[
            ("x-message-ttl", Value::I32(ttl_ms)),
            ("x-dead-letter-exchange", text("")),
            ("x-dead-letter-routing-key", text("dead")),
        ],
    );
}

#[test]
fn a_message_expires_when_the_queues_ttl_is_over_and_not_before() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    with_ttl(ch, 1000);
    ch.publish("q", "a");
    world.pass_ms(400);
    ch.publish("q", "b");
    world.pass_ms(599);
    assert_eq!((world.counts("q"), world.counts("dead")), ("2/0".into(), "0/0".into()));
    world.pass_ms(1);
    assert_eq!((world.counts("q"), world.counts("dead")), ("1/0".into(), "1/0".into()));
    world.pass_ms(400);
    assert_eq!(ch.drain_bodies("dead"), ["a", "b"]);
}

#[test]
fn the_lower_of_the_two_ttls_counts() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    with_ttl(ch, 100);
    ch.publish_with("", "q", expires("50"), "message");
    world.pass_ms(50);
    assert_eq!(ch.drain_bodies("dead"), ["message"]);
    ch.publish_with("", "q", expires("5000"), "queue");
    world.pass_ms(99);
    assert_eq!(world.counts("q"), "1/0");
    world.pass_ms(1);
    assert_eq!(ch.drain_bodies("dead"), ["queue"]);
}

#[test]
fn an_expired_message_behind_a_live_one_waits_its_turn() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    ch.publish_with("", "q", expires("1000"), "long");
    ch.publish_with("", "q", expires("10"), "short");
    world.pass_ms(500);
    assert_eq!(world.counts("q"), "2/0", "it still counts");
    // What lies on the disk behind the next one is counted until it is looked at.
    let left = u8::from(pages_everything());
    assert_eq!(ch.get("q"), format!("basic.get-ok 1 long left={left}"));
    assert_eq!(ch.get("q"), "basic.get-empty");
}

#[test]
fn in_a_priority_queue_the_head_is_the_highest() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare_with("q", &[("x-max-priority", Value::I32(5))]);
    ch.publish_with("", "q", expires("10"), "low");
    ch.publish_with("", "q", PropertyFields { priority: Some(3), ..Default::default() }, "high");
    world.pass_ms(50);
    assert_eq!(world.counts("q"), "2/0");
    assert_eq!(ch.get("q"), "basic.get-ok 1 high left=0");
}

#[test]
fn a_ttl_of_zero_is_delivered_at_once_or_never() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    with_ttl(ch, 0);
    ch.publish("q", "too late");
    assert_eq!(ch.get("q"), "basic.get-empty");
    assert_eq!(ch.drain_bodies("dead"), ["too late"]);
    ch.qos(1, false);
    ch.consume("q", "c");
    ch.publish("q", "in time");
    assert_eq!(ch.bodies(), ["in time"]);
    ch.publish("q", "no room");
    assert_eq!(ch.drain_bodies("dead"), ["no room"]);
}

#[test]
fn a_delivered_message_does_not_expire_until_it_is_requeued() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    with_ttl(ch, 100);
    ch.publish("q", "a");
    ch.get("q");
    world.pass_ms(1000);
    assert_eq!(world.counts("q"), "0/1");
    ch.reject(1, true);
    assert_eq!(world.counts("q"), "0/0");
    assert_eq!(ch.drain_bodies("dead"), ["a"]);
}

#[test]
fn a_requeued_message_keeps_its_deadline() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    with_ttl(ch, 100);
    ch.publish("q", "a");
    world.pass_ms(60);
    ch.get("q");
    ch.reject(1, true);
    world.pass_ms(39);
    assert_eq!(world.counts("q"), "1/0");
    world.pass_ms(1);
    assert_eq!(world.counts("q"), "0/0");
}

#[test]
fn a_consumer_that_gets_room_gets_nothing_expired() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    ch.qos(1, false);
    ch.consume("q", "c");
    ch.publish("q", "first");
    ch.publish_with("", "q", expires("10"), "expires");
    ch.publish("q", "second");
    world.pass_ms(10);
    ch.ack(1);
    assert_eq!(ch.bodies(), ["first", "second"]);
}

#[test]
fn the_expiration_reaches_the_consumer_unchanged() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    ch.publish_with("", "q", expires("05000"), "a");
    assert_eq!(ch.drain("q")[0].fields().expiration, Some(s("05000")));
}

#[test]
fn many_messages_that_expire_together_all_go() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    with_ttl(ch, 10);
    world.batch(|| {
        for _ in 0..2500 {
            ch.publish("q", "x");
        }
    });
    world.pass_ms(10);
    assert_eq!((world.counts("q"), world.counts("dead")), ("0/0".into(), "2500/0".into()));
}

#[test]
fn an_unused_queue_expires_with_its_messages() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("dead");
    ch.declare_with(
        "q",
        &[
            ("x-expires", Value::I32(1000)),
            ("x-dead-letter-exchange", text("")),
            ("x-dead-letter-routing-key", text("dead")),
        ],
    );
    world.pass_ms(500);
    ch.publish("q", "publishing is no use");
    world.pass_ms(499);
    assert!(world.queue("q").is_some());
    world.pass_ms(1);
    assert_eq!(world.queue("q"), None);
    assert_eq!(world.counts("dead"), "0/0");
}

#[test]
fn declaring_and_getting_is_use() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    let expires = [("x-expires", Value::I32(1000))];
    ch.declare_with("q", &expires);
    world.pass_ms(900);
    ch.declare_with("q", &expires);
    world.pass_ms(900);
    ch.call(queue::Declare { queue: s("q"), passive: true, ..Default::default() });
    world.pass_ms(900);
    assert_eq!(ch.get("q"), "basic.get-empty");
    world.pass_ms(999);
    assert!(world.queue("q").is_some());
    world.pass_ms(1);
    assert_eq!(world.queue("q"), None);
}

#[test]
fn a_consumer_is_use_until_it_goes() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare_with("q", &[("x-expires", Value::I32(1000))]);
    ch.consume("q", "c");
    world.pass_ms(10_000);
    assert!(world.queue("q").is_some());
    ch.send(basic::Cancel { consumer_tag: s("c"), nowait: true });
    world.pass_ms(999);
    assert!(world.queue("q").is_some());
    world.pass_ms(1);
    assert_eq!(world.queue("q"), None);
}

#[test]
fn an_expiring_queue_with_expiring_messages_keeps_both_times() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare_with("q", &[("x-expires", Value::I32(1000)), ("x-message-ttl", Value::I32(300))]);
    ch.publish("q", "a");
    world.pass_ms(300);
    assert_eq!(world.counts("q"), "0/0");
    ch.publish("q", "b");
    world.pass_ms(699);
    assert_eq!(world.counts("q"), "0/0");
    world.pass_ms(1);
    assert_eq!(world.queue("q"), None);
}
