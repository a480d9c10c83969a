//! Deliveries that nobody acknowledges: how long the broker waits.

use leveret::broker::limits::ClientLimits;
use leveret_codec::Value;
use leveret_codec::method::basic;

use crate::support::world::{World, s, table, text};

const MINUTE: u64 = 60_000;

fn timed_out(channel: u16, timeout_ms: u64) -> String {
    format!(
        "channel.close 406 0,0 PRECONDITION_FAILED - delivery acknowledgement on channel {channel} \
         timed out. Timeout value used: {timeout_ms} ms. This timeout value can be configured, see \
         consumers doc guide to learn more"
    )
}

#[test]
fn half_an_hour_is_the_rule_and_it_is_looked_at_once_a_minute() {
    let world = World::new();
    let client = world.client();
    let (ch, other) = (client.channel(3), client.channel(4));
    other.declare("q");
    ch.consume("q", "c");
    other.publish("q", "a");
    world.pass_ms(30 * MINUTE - 1);
    assert_eq!(ch.lines(), ["basic.deliver c 1 a"]);
    world.pass_ms(MINUTE);
    assert_eq!(ch.lines(), [timed_out(3, 30 * MINUTE)]);
    assert_eq!(other.get("q"), "basic.get-ok 1 a (again) left=0");
}

#[test]
fn a_message_that_was_fetched_times_out_too() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    ch.publish("q", "a");
    ch.get("q");
    world.pass_ms(31 * MINUTE);
    assert_eq!(ch.lines(), [timed_out(1, 30 * MINUTE)]);
    assert_eq!(world.counts("q"), "1/0");
}

#[test]
fn what_is_acknowledged_in_time_or_needs_none_costs_nothing() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    ch.declare("r");
    ch.consume("q", "c");
    ch.consume_no_ack("r", "d");
    ch.publish("q", "a");
    ch.publish("r", "b");
    world.pass_ms(29 * MINUTE);
    ch.ack(1);
    ch.publish("q", "c");
    world.pass_ms(29 * MINUTE);
    ch.ack(3);
    world.pass_ms(120 * MINUTE);
    assert_eq!(ch.bodies(), ["a", "b", "c"]);
    assert_eq!(ch.try_declare("q", &[]), "queue.declare-ok q ready=0 consumers=1");
}

#[test]
fn a_queue_may_have_a_timeout_of_its_own() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare_with("short", &[("x-consumer-timeout", Value::I32(90_000))]);
    ch.declare_with("long", &[("x-consumer-timeout", Value::I32(7_200_000))]);
    for (number, queue) in [(2, "short"), (3, "long")] {
        ch.publish(queue, "a");
        client.channel(number).get(queue);
    }
    world.pass_ms(2 * MINUTE);
    let close = format!("2: {}", timed_out(2, 90_000));
    assert!(client.lines_with_channels().contains(&close));
    world.pass_ms(117 * MINUTE);
    assert!(client.lines().is_empty());
    world.pass_ms(2 * MINUTE);
    assert_eq!(client.lines(), [timed_out(3, 7_200_000)]);
}

#[test]
fn the_oldest_delivery_counts_and_a_requeued_one_starts_anew() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare_with("q", &[("x-consumer-timeout", Value::I32(180_000))]);
    ch.consume("q", "c");
    ch.publish("q", "a");
    world.pass_ms(2 * MINUTE);
    ch.publish("q", "b");
    ch.reject(1, true);
    world.pass_ms(2 * MINUTE);
    assert_eq!(ch.bodies(), ["a", "b", "a"]);
    world.pass_ms(2 * MINUTE);
    assert_eq!(ch.lines(), [timed_out(1, 180_000)]);
}

#[test]
fn a_timeout_must_be_a_number() {
    let world = World::new();
    let client = world.client();
    assert_eq!(
        client.channel(1).try_declare("q", &[("x-consumer-timeout", text("soon"))]),
        "channel.close 406 50,10 PRECONDITION_FAILED - invalid arg 'x-consumer-timeout' for queue \
         'q' in vhost '/': \"expected integer, got longstr\""
    );
    assert_eq!(
        client.channel(2).try_declare("q", &[("x-consumer-timeout", Value::I32(-5))]),
        "channel.close 406 50,10 PRECONDITION_FAILED - invalid arg 'x-consumer-timeout' for queue \
         'q' in vhost '/': {value_negative,-5}"
    );
}

#[test]
fn only_the_channel_that_is_late_is_closed() {
    let world = World::new();
    let client = world.client();
    let (late, other) = (client.channel(1), client.channel(2));
    late.declare("q");
    late.consume("q", "c");
    late.publish("q", "a");
    let arguments = table(&[("x-priority", Value::I32(-1))]);
    other.send(basic::Consume {
        queue: s("q"),
        consumer_tag: s("d"),
        arguments: arguments.as_table(),
        ..Default::default()
    });
    world.pass_ms(31 * MINUTE);
    assert_eq!(other.lines(), ["basic.consume-ok d", "basic.deliver d 1 a (again)"]);
    assert_eq!(late.lines(), ["basic.deliver c 1 a", &*timed_out(1, 30 * MINUTE)]);
}

#[test]
fn an_operator_may_set_another_rule() {
    for (rule_ms, is_late) in [(2 * MINUTE, true), (0, false)] {
        let world =
            World::with_limits(ClientLimits { consumer_timeout_ms: rule_ms, ..Default::default() });
        let client = world.client();
        let ch = client.channel(3);
        ch.declare("q");
        ch.publish("q", "a");
        ch.get("q");
        ch.lines();
        world.pass_ms(3 * MINUTE);
        let late = if is_late { vec![timed_out(3, rule_ms)] } else { Vec::new() };
        assert_eq!(ch.lines(), late);
        world.pass_ms(60 * MINUTE);
        assert_eq!(ch.lines().len(), 0);
    }
}
