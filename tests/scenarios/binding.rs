//! Binding queues, and unbinding them.

use leveret_codec::Value;
use leveret_codec::method::queue;

use crate::support::world::{World, s, table, text};

fn unbind<'a>(queue: &'a str, exchange: &'a str, key: &'a str) -> queue::Unbind<'a> {
    queue::Unbind {
        queue: s(queue),
        exchange: s(exchange),
        routing_key: s(key),
        ..Default::default()
    }
}

#[test]
fn binding_needs_the_exchange_and_the_queue_in_this_order() {
    let world = World::new();
    let client = world.client();
    client.channel(100).declare("q");
    let not_found =
        |what: &str| format!("channel.close 404 50,20 NOT_FOUND - no {what} 'none' in vhost '/'");
    assert_eq!(client.channel(1).try_bind("q", "none", "", &[]), not_found("exchange"));
    assert_eq!(client.channel(2).try_bind("none", "amq.direct", "k", &[]), not_found("queue"));
    assert_eq!(client.channel(3).try_bind("none", "none", "k", &[]), not_found("exchange"));
}

#[test]
fn a_binding_made_twice_is_one() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    ch.bind("q", "amq.direct", "k");
    ch.bind("q", "amq.direct", "k");
    assert_eq!(ch.call(unbind("q", "amq.direct", "k")), "queue.unbind-ok");
    ch.publish_to("amq.direct", "k", "dropped");
    assert_eq!(world.counts("q"), "0/0");
}

#[test]
fn other_arguments_make_another_binding_of_the_same_key() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    for exchange in ["amq.direct", "amq.fanout", "amq.topic"] {
        ch.declare("q");
        ch.bind_with("q", exchange, "k", &[]);
        ch.bind_with("q", exchange, "k", &[("a", Value::I32(1))]);
        ch.publish_to(exchange, "k", "once");
        assert_eq!(ch.drain_bodies("q"), ["once"], "{exchange}");
        ch.call(unbind("q", exchange, "k"));
        ch.publish_to(exchange, "k", "still");
        assert_eq!(ch.drain_bodies("q"), ["still"], "{exchange}");
        let arguments = table(&[("a", Value::I32(1))]);
        ch.call(queue::Unbind { arguments: arguments.as_table(), ..unbind("q", exchange, "k") });
        ch.publish_to(exchange, "k", "no more");
        assert!(ch.drain_bodies("q").is_empty(), "{exchange}");
    }
}

#[test]
fn unbinding_wants_the_very_arguments_in_any_order() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    ch.bind_with("q", "amq.direct", "k", &[("a", Value::I32(1)), ("b", text("x"))]);
    let other_width = table(&[("a", Value::I64(1)), ("b", text("x"))]);
    let arguments = other_width.as_table();
    ch.call(queue::Unbind { arguments, ..unbind("q", "amq.direct", "k") });
    ch.publish_to("amq.direct", "k", "still bound");
    let other_order = table(&[("b", text("x")), ("a", Value::I32(1))]);
    let arguments = other_order.as_table();
    ch.call(queue::Unbind { arguments, ..unbind("q", "amq.direct", "k") });
    ch.publish_to("amq.direct", "k", "not bound");
    assert_eq!(ch.drain_bodies("q"), ["still bound"]);
}

#[test]
fn unbinding_what_is_not_there_is_no_fault() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    for unbind in [
        unbind("q", "amq.direct", "k"),
        unbind("q", "none", "k"),
        unbind("none", "amq.direct", "k"),
        unbind("none", "none", "k"),
    ] {
        assert_eq!(ch.call(unbind), "queue.unbind-ok");
    }
}

#[test]
fn an_empty_queue_and_an_empty_key_are_the_queue_twice() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    ch.bind("", "amq.direct", "");
    ch.publish_to("amq.direct", "q", "by its name");
    assert_eq!(ch.drain_bodies("q"), ["by its name"]);
    ch.bind("", "amq.direct", "k");
    ch.publish_to("amq.direct", "k", "by the key");
    assert_eq!(ch.drain_bodies("q"), ["by the key"]);
    assert_eq!(ch.call(unbind("", "amq.direct", "")), "queue.unbind-ok");
    ch.publish_to("amq.direct", "q", "unbound");
    assert!(ch.drain_bodies("q").is_empty());
    // With the queue's name the empty key is kept.
    ch.bind("q", "amq.direct", "");
    ch.publish_to("amq.direct", "", "by the empty key");
    assert_eq!(ch.drain_bodies("q"), ["by the empty key"]);
}

#[test]
fn nowait_binds_without_an_answer() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    let bind = queue::Bind {
        queue: s("q"),
        exchange: s("amq.fanout"),
        nowait: true,
        ..Default::default()
    };
    assert_eq!(ch.call(bind), "");
    ch.publish_to("amq.fanout", "", "a");
    assert_eq!(ch.drain_bodies("q"), ["a"]);
}

#[test]
fn a_deleted_queue_is_bound_to_nothing() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    ch.bind("q", "amq.fanout", "");
    ch.call(queue::Delete { queue: s("q"), ..Default::default() });
    ch.declare("q");
    ch.publish_to("amq.fanout", "", "dropped");
    assert_eq!(world.counts("q"), "0/0");
}
