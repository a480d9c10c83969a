//! ack, nack, reject, recover: what becomes of deliveries, and where a requeued message goes.

use leveret_codec::Value;
use leveret_codec::method::basic;

use crate::support::world::{Channel, World, s};

/// The queue q with these messages.
fn filled(ch: Channel<'_>, bodies: &[&str]) {
    ch.declare("q");
    for body in bodies {
        ch.publish("q", body);
    }
}

/// Fetches so many messages of q.
fn get_many(ch: Channel<'_>, count: usize) {
    for _ in 0..count {
        assert!(ch.get("q").starts_with("basic.get-ok"));
    }
}

fn nack(delivery_tag: u64, multiple: bool, requeue: bool) -> basic::Nack {
    basic::Nack { delivery_tag, multiple, requeue }
}

fn unknown(ids: &str, tag: u64) -> String {
    format!("channel.close 406 {ids} PRECONDITION_FAILED - unknown delivery tag {tag}")
}

#[test]
fn an_unknown_tag_closes_the_channel() {
    let world = World::new();
    let client = world.client();
    for (number, answer, expected) in [
        (1, client.channel(1).call(basic::Ack { delivery_tag: 1, multiple: false }), "60,80"),
        (2, client.channel(2).call(nack(2, false, false)), "60,120"),
        (3, client.channel(3).call(basic::Reject { delivery_tag: 3, requeue: true }), "60,90"),
        (4, client.channel(4).call(basic::Ack { delivery_tag: 4, multiple: true }), "60,80"),
        (5, client.channel(5).call(nack(5, true, true)), "60,120"),
    ] {
        assert_eq!(answer, unknown(expected, number));
    }
}

#[test]
fn a_tag_is_known_once() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    filled(ch, &["a", "b"]);
    get_many(ch, 2);
    ch.ack(1);
    assert!(ch.lines().is_empty());
    assert_eq!(ch.call(basic::Ack { delivery_tag: 1, multiple: false }), unknown("60,80", 1));
    assert_eq!(world.counts("q"), "1/0", "the other one went back");
}

#[test]
fn tag_0_alone_is_unknown() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    filled(ch, &["a"]);
    get_many(ch, 1);
    assert_eq!(ch.call(basic::Ack { delivery_tag: 0, multiple: false }), unknown("60,80", 0));
}

#[test]
fn tags_are_known_on_their_own_channel_alone() {
    let world = World::new();
    let client = world.client();
    let (ch, other) = (client.channel(1), client.channel(2));
    filled(ch, &["a"]);
    get_many(ch, 1);
    assert_eq!(other.call(basic::Ack { delivery_tag: 1, multiple: false }), unknown("60,80", 1));
    ch.ack(1);
    assert!(ch.lines().is_empty());
}

#[test]
fn multiple_settles_all_up_to_the_tag() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    filled(ch, &["a", "b", "c", "d"]);
    get_many(ch, 4);
    ch.ack(2);
    ch.send(basic::Ack { delivery_tag: 3, multiple: true });
    assert_eq!(world.counts("q"), "0/1");
    assert_eq!(
        ch.call(basic::Ack { delivery_tag: 2, multiple: true }),
        unknown("60,80", 2),
        "the tag itself must be there"
    );
}

#[test]
fn multiple_with_tag_0_settles_all_there_are() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    filled(ch, &["a", "b", "c"]);
    get_many(ch, 2);
    ch.send(basic::Ack { delivery_tag: 0, multiple: true });
    assert_eq!(world.counts("q"), "1/0");
    ch.send(basic::Ack { delivery_tag: 0, multiple: true });
    ch.send(nack(0, true, true));
    assert!(ch.lines().is_empty(), "none is no fault");
}

#[test]
fn a_message_that_is_refused_for_good_is_gone() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    filled(ch, &["a", "b", "c"]);
    get_many(ch, 3);
    ch.reject(1, false);
    ch.send(nack(3, true, false));
    assert_eq!(world.counts("q"), "0/0");
}

#[test]
fn a_requeued_message_goes_back_to_its_place() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    filled(ch, &["1", "2", "3", "4"]);
    get_many(ch, 2);
    ch.send(nack(2, false, true));
    ch.send(nack(1, false, true));
    assert_eq!(ch.get_no_ack("q"), "basic.get-ok 3 1 (again) left=3");
    assert_eq!(ch.get_no_ack("q"), "basic.get-ok 4 2 (again) left=2");
    assert_eq!(ch.get_no_ack("q"), "basic.get-ok 5 3 left=1");
    ch.publish("q", "5");
    assert_eq!(ch.drain_bodies("q"), ["4", "5"]);
}

#[test]
fn requeued_messages_of_many_channels_find_their_places() {
    let world = World::new();
    let client = world.client();
    let (one, two) = (client.channel(1), client.channel(2));
    filled(one, &["1", "2", "3", "4", "5", "6"]);
    for ch in [one, two, one, two] {
        get_many(ch, 1);
    }
    assert_eq!(two.close(), "channel.close-ok");
    one.send(nack(0, true, true));
    assert_eq!(one.drain_bodies("q"), ["1", "2", "3", "4", "5", "6"]);
}

#[test]
fn a_requeued_message_is_redelivered_at_once_where_there_is_room() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    filled(ch, &["1", "2", "3", "4"]);
    ch.qos(3, false);
    ch.consume("q", "c");
    assert_eq!(ch.bodies(), ["1", "2", "3"]);
    ch.reject(2, true);
    assert_eq!(ch.lines(), ["basic.deliver c 4 2 (again)"]);
    assert_eq!(world.counts("q"), "1/3");
}

#[test]
fn a_requeued_message_may_go_to_another_consumer() {
    let world = World::new();
    let client = world.client();
    let (one, two) = (client.channel(1), client.channel(2));
    one.declare("q");
    one.qos(1, false);
    one.consume("q", "one");
    one.publish("q", "a");
    two.consume("q", "two");
    one.publish("q", "b");
    one.reject(1, true);
    assert_eq!(
        client.lines_with_channels(),
        [
            "1: basic.deliver one 1 a",
            "2: basic.deliver two 1 b",
            "2: basic.deliver two 2 a (again)"
        ]
    );
}

#[test]
fn requeued_messages_of_a_priority_queue_keep_rank_and_place() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare_with("q", &[("x-max-priority", Value::I32(5))]);
    for (priority, body) in [(1, "low 1"), (5, "high 1"), (1, "low 2"), (9, "high 2")] {
        let fields =
            leveret_codec::PropertyFields { priority: Some(priority), ..Default::default() };
        ch.publish_with("", "q", fields, body);
    }
    ch.publish("q", "none");
    get_many(ch, 3);
    ch.send(nack(3, false, true));
    ch.send(nack(1, false, true));
    assert_eq!(ch.drain_bodies("q"), ["high 1", "low 1", "low 2", "none"]);
    ch.send(nack(2, false, true));
    assert_eq!(ch.drain_bodies("q"), ["high 2"]);
}

#[test]
fn recover_requeues_everything_and_answers_first() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    filled(ch, &["a", "b", "c"]);
    ch.qos(2, false);
    ch.consume("q", "c");
    ch.lines();
    assert_eq!(
        ch.call(basic::Recover { requeue: true }),
        "basic.recover-ok\nbasic.deliver c 3 a (again)\nbasic.deliver c 4 b (again)"
    );
    assert_eq!(
        ch.call(basic::RecoverAsync { requeue: true }),
        "basic.deliver c 5 a (again)\nbasic.deliver c 6 b (again)"
    );
    assert_eq!(ch.call(basic::Ack { delivery_tag: 4, multiple: false }), unknown("60,80", 4));
}

#[test]
fn recover_without_requeue_is_not_implemented() {
    let world = World::new();
    let client = world.client();
    client.channel(1).send(basic::Recover { requeue: false });
    assert_eq!(client.lines(), ["connection.close 540 60,110 NOT_IMPLEMENTED - requeue=false"]);
    let client = world.client();
    client.channel(1).send(basic::RecoverAsync { requeue: false });
    assert_eq!(client.lines(), ["connection.close 540 60,100 NOT_IMPLEMENTED - requeue=false"]);
}

#[test]
fn a_delivery_limit_ends_the_life_of_a_poisonous_message() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare_with("q", &[("x-delivery-limit", Value::I32(2))]);
    ch.publish("q", "poison");
    for tag in 1..=3 {
        assert!(ch.get("q").contains("poison"), "delivery {tag}");
        ch.reject(tag, true);
    }
    assert_eq!(ch.get("q"), "basic.get-empty");
    assert_eq!(world.counts("q"), "0/0");
}

#[test]
fn a_cancelled_tag_does_not_settle() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    filled(ch, &["a"]);
    ch.consume("q", "c");
    ch.send(basic::Cancel { consumer_tag: s("c"), nowait: true });
    ch.send(nack(1, false, true));
    assert_eq!(world.counts("q"), "1/0");
    assert_eq!(ch.lines(), ["basic.deliver c 1 a"]);
}

#[test]
fn a_delivery_that_is_not_acknowledged_in_time_costs_its_channel() {
    let world = World::new();
    let client = world.client();
    let (ch, quick) = (client.channel(1), client.channel(2));
    filled(ch, &["a", "b"]);
    get_many(ch, 1);
    get_many(quick, 1);
    quick.ack(1);
    world.pass_ms(1_800_000 - 1);
    assert_eq!(world.counts("q"), "0/1");
    // It is looked at once a minute.
    world.pass_ms(60_001);
    assert_eq!(
        client.lines_with_channels().last().map(String::as_str),
        Some(
            "1: channel.close 406 0,0 PRECONDITION_FAILED - delivery acknowledgement on channel 1 \
             timed out. Timeout value used: 1800000 ms. This timeout value can be configured, see \
             consumers doc guide to learn more"
        )
    );
    assert_eq!(world.counts("q"), "1/0");
}
