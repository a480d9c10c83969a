//! What is there after the broker was killed and started again.

use leveret_codec::method::{basic, exchange, queue};
use leveret_codec::{PropertyFields, Value};

use crate::support::world::{World, s, text};

#[test]
fn durable_queues_keep_persistent_messages_and_lose_transient_ones() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare_durable("q", &[]);
    ch.declare("transient");
    ch.publish_persistent("q", "a");
    ch.publish("q", "lost");
    ch.publish_persistent("q", "b");
    ch.publish_persistent("transient", "lost too");
    let world = world.restarted();
    assert_eq!(world.queue("transient"), None);
    let client = world.client();
    let ch = client.channel(1);
    assert_eq!(ch.get("q"), "basic.get-ok 1 a left=1");
    assert_eq!(ch.get("q"), "basic.get-ok 2 b left=0");
}

#[test]
fn what_was_settled_does_not_come_back() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare_durable("q", &[]);
    for body in ["acked", "rejected", "fetched", "kept", "purged"] {
        ch.publish_persistent("q", body);
    }
    ch.get("q");
    ch.get("q");
    ch.ack(1);
    ch.reject(2, false);
    ch.get_no_ack("q");
    ch.get("q");
    ch.call(queue::Purge { queue: s("q"), ..Default::default() });
    let world = world.restarted();
    let client = world.client();
    assert_eq!(client.channel(1).drain_bodies("q"), ["kept"]);
}

#[test]
fn what_was_delivered_comes_back_as_redelivered_and_the_rest_does_not() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare_durable("q", &[]);
    ch.qos(2, false);
    ch.consume("q", "c");
    for body in ["a", "b", "c"] {
        ch.publish_persistent("q", body);
    }
    ch.ack(1);
    let world = world.restarted();
    let client = world.client();
    let ch = client.channel(1);
    assert_eq!(ch.get("q"), "basic.get-ok 1 b (again) left=1");
    assert_eq!(ch.get("q"), "basic.get-ok 2 c (again) left=0");
    ch.close();
    let ch = client.channel(1);
    ch.publish_persistent("q", "d");
    assert_eq!(
        ch.drain("q").iter().map(|it| it.redelivered).collect::<Vec<_>>(),
        [true, true, false]
    );
}

#[test]
fn an_exclusive_queue_is_gone_even_when_it_was_declared_durable() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.call(queue::Declare { queue: s("q"), durable: true, exclusive: true, ..Default::default() });
    ch.publish_persistent("q", "a");
    assert_eq!(world.restarted().queue("q"), None);
}

#[test]
fn definitions_are_equivalent_to_what_was_declared() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    let arguments = [
        ("x-max-length", Value::I32(2)),
        ("x-max-priority", Value::I32(3)),
        ("x-dead-letter-exchange", text("x")),
    ];
    ch.declare_durable("q", &arguments);
    let arguments_of_x = crate::support::world::table(&[("alternate-exchange", text("other"))]);
    let declare = exchange::Declare {
        exchange: s("x"),
        kind: s("topic"),
        durable: true,
        internal: true,
        auto_delete: true,
        arguments: arguments_of_x.as_table(),
        ..Default::default()
    };
    ch.call(declare);
    let world = world.restarted();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare_durable("q", &arguments);
    assert_eq!(ch.call(declare), "exchange.declare-ok");
    for body in ["a", "b", "c"] {
        ch.publish_persistent("q", body);
    }
    assert_eq!(ch.drain_bodies("q"), ["b", "c"], "and they are obeyed");
}

#[test]
fn bindings_between_durable_ends_still_route_and_others_are_gone() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    let durable = |name: &'static str| exchange::Declare {
        exchange: s(name),
        kind: s("topic"),
        durable: true,
        ..Default::default()
    };
    ch.call(durable("x"));
    ch.call(durable("y"));
    ch.exchange("transient", "fanout");
    ch.declare_durable("q", &[]);
    ch.declare("t");
    ch.bind("q", "y", "a.*");
    ch.bind_with("q", "amq.match", "", &[("k", text("v"))]);
    ch.bind_exchange("y", "x", "#");
    ch.bind("t", "x", "#");
    ch.bind("q", "transient", "");
    ch.bind("q", "x", "unbound");
    ch.call(queue::Unbind {
        queue: s("q"),
        exchange: s("x"),
        routing_key: s("unbound"),
        ..Default::default()
    });
    let world = world.restarted();
    let client = world.client();
    let ch = client.channel(1);
    assert!(!ch.has_exchange("transient"));
    ch.publish_to("x", "a.b", "through two");
    ch.publish_to("x", "unbound", "dropped");
    ch.publish_headers("amq.match", "", &[("k", text("v"))], "by header");
    assert_eq!(ch.drain_bodies("q"), ["through two", "by header"]);
}

#[test]
fn deleted_things_stay_deleted_and_a_name_taken_again_is_empty() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.call(exchange::Declare {
        exchange: s("x"),
        kind: s("fanout"),
        durable: true,
        ..Default::default()
    });
    for name in ["gone", "again"] {
        ch.declare_durable(name, &[]);
        ch.bind(name, "x", "");
        ch.publish_persistent(name, "old");
        ch.call(queue::Delete { queue: s(name), ..Default::default() });
    }
    ch.declare_durable("again", &[]);
    ch.call(exchange::Delete { exchange: s("x"), ..Default::default() });
    let world = world.restarted();
    assert_eq!(world.queue("gone"), None);
    assert_eq!(world.counts("again"), "0/0");
    assert!(!world.client().channel(1).has_exchange("x"));
}

#[test]
fn the_time_goes_on_where_it_stood() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare_durable("q", &[]);
    let fields = PropertyFields {
        delivery_mode: Some(2),
        expiration: Some(s("1000")),
        ..Default::default()
    };
    ch.publish_with("", "q", fields, "a");
    world.pass_ms(600);
    let world = world.restarted();
    world.pass_ms(399);
    assert_eq!(world.counts("q"), "1/0");
    world.pass_ms(1);
    assert_eq!(world.counts("q"), "0/0");
}

#[test]
fn dead_letters_are_as_durable_as_what_died() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare_durable("dead", &[]);
    ch.declare_durable(
        "q",
        &[("x-dead-letter-exchange", text("")), ("x-dead-letter-routing-key", text("dead"))],
    );
    ch.publish_persistent("q", "a");
    ch.get("q");
    ch.reject(1, false);
    let world = world.restarted();
    assert_eq!(world.counts("q"), "0/0");
    let client = world.client();
    let dead = client.channel(1).drain("dead");
    assert_eq!(dead[0].body, "a");
    assert_eq!(dead[0].header("x-first-death-queue"), Some(text("q")));
}

#[test]
fn a_priority_queue_keeps_its_order_and_what_was_delivered_where() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare_durable("q", &[("x-max-priority", Value::I32(9))]);
    for (priority, body) in [(1, "low 1"), (5, "high 1"), (1, "low 2"), (5, "high 2")] {
        let fields = PropertyFields {
            delivery_mode: Some(2),
            priority: Some(priority),
            ..Default::default()
        };
        ch.publish_with("", "q", fields, body);
    }
    ch.get("q");
    let world = world.restarted();
    let client = world.client();
    let messages = client.channel(1).drain("q");
    let got: Vec<_> = messages.iter().map(|it| (&*it.body, it.redelivered)).collect();
    assert_eq!(got, [("high 1", true), ("high 2", false), ("low 1", false), ("low 2", false)]);
}

#[test]
fn messages_that_nobody_acknowledges_leave_no_trace() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare_durable("q", &[]);
    ch.consume_no_ack("q", "c");
    ch.confirm_select();
    ch.publish_persistent("q", "a");
    assert_eq!(ch.lines(), ["basic.deliver c 1 a", "basic.ack 1"]);
    ch.send(basic::Cancel { consumer_tag: s("c"), nowait: true });
    assert_eq!(world.restarted().counts("q"), "0/0");
}

#[test]
fn what_a_restart_drops_to_keep_a_limit_stays_dropped() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare_durable("q", &[("x-max-length", Value::I32(1))]);
    ch.publish_persistent("q", "a");
    ch.get("q");
    ch.publish_persistent("q", "b");
    let world = world.restarted();
    let client = world.client();
    assert_eq!(client.channel(1).drain_bodies("q"), ["b"]);
    assert_eq!(world.restarted().counts("q"), "0/0");
}

#[test]
fn what_a_restart_drops_to_keep_a_limit_is_dead_lettered_at_once() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare_durable("dead", &[]);
    ch.declare_durable(
        "q",
        &[
            ("x-max-length", Value::I32(1)),
            ("x-dead-letter-exchange", text("")),
            ("x-dead-letter-routing-key", text("dead")),
        ],
    );
    ch.publish_persistent("q", "a");
    ch.get("q");
    ch.publish_persistent("q", "b");
    let world = world.restarted();
    assert_eq!((world.counts("q"), world.counts("dead")), ("1/0".into(), "1/0".into()));
    let world = world.restarted();
    assert_eq!((world.counts("q"), world.counts("dead")), ("1/0".into(), "1/0".into()));
}
