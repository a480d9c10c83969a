//! Queues of type quorum, as far as they differ from the others.

use leveret_codec::Value;
use leveret_codec::method::{basic, queue};

use crate::world::{Channel, World, s, table, text};

fn declare(ch: Channel<'_>, more: &[(&str, Value<'_>)]) {
    let mut arguments = vec![("x-queue-type", text("quorum"))];
    arguments.extend_from_slice(more);
    ch.declare_durable("q", &arguments);
}

#[test]
fn it_must_be_durable_and_shared() {
    let world = World::new();
    let client = world.client();
    let arguments = table(&[("x-queue-type", text("quorum"))]);
    let arguments = arguments.as_table();
    let base = queue::Declare { queue: s("q"), durable: true, arguments, ..Default::default() };
    for (number, declare, property) in [
        (1, queue::Declare { durable: false, ..base }, "non-durable"),
        (2, queue::Declare { exclusive: true, ..base }, "exclusive-owner"),
        (3, queue::Declare { auto_delete: true, ..base }, "auto-delete"),
    ] {
        assert_eq!(
            client.channel(number).call(declare),
            format!(
                "channel.close 406 50,10 PRECONDITION_FAILED - invalid property '{property}' for \
                 queue 'q' in vhost '/'"
            )
        );
    }
    assert_eq!(
        client.channel(4).call(queue::Declare { queue: s(""), ..base }),
        "channel.close 406 50,10 PRECONDITION_FAILED - Cannot declare a server-named queue for \
         type rabbit_quorum_queue"
    );
}

#[test]
fn all_its_messages_are_durable() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    declare(ch, &[]);
    ch.publish("q", "transient");
    let world = world.restarted();
    let client = world.client();
    let messages = client.channel(1).drain("q");
    assert_eq!(messages[0].body, "transient");
    assert_eq!(messages[0].fields().delivery_mode, None);
}

#[test]
fn it_counts_deliveries_in_a_header() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    declare(ch, &[]);
    ch.publish("q", "a");
    ch.consume("q", "c");
    for count in 0..3 {
        let message = &ch.messages()[0];
        let expected = (count > 0).then_some(Value::I64(count));
        assert_eq!(message.header("x-delivery-count"), expected);
        ch.reject(message.delivery_tag, true);
    }
}

#[test]
fn a_delivery_limit_dead_letters() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("dead");
    declare(
        ch,
        &[
            ("x-delivery-limit", Value::I32(2)),
            ("x-dead-letter-exchange", text("")),
            ("x-dead-letter-routing-key", text("dead")),
        ],
    );
    ch.publish("q", "poison");
    for tag in 1..=3 {
        assert!(ch.get("q").contains("poison"));
        ch.reject(tag, true);
    }
    assert_eq!(world.counts("q"), "0/0");
    assert_eq!(ch.drain("dead")[0].header("x-first-death-reason"), Some(text("delivery_limit")));
}

#[test]
fn it_knows_no_global_window() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    declare(ch, &[]);
    ch.qos(5, true);
    ch.send(basic::Consume { queue: s("q"), ..Default::default() });
    assert_eq!(
        client.lines(),
        ["connection.close 540 60,20 NOT_IMPLEMENTED - queue 'q' in vhost '/' does not support \
          global qos"]
    );
}

#[test]
fn it_is_deleted_without_conditions_alone() {
    let world = World::new();
    for (delete, flag) in [
        (queue::Delete { queue: s("q"), if_unused: true, ..Default::default() }, "if-unused"),
        (queue::Delete { queue: s("q"), if_empty: true, ..Default::default() }, "if-empty"),
    ] {
        let client = world.client();
        let ch = client.channel(1);
        declare(ch, &[]);
        ch.send(delete);
        assert_eq!(
            client.lines(),
            [format!(
                "connection.close 540 50,40 NOT_IMPLEMENTED - cannot delete queue 'q' in vhost \
                 '/'. queue.delete operations with {flag} flag set are not supported by quorum \
                 queues"
            )]
        );
    }
}

#[test]
fn with_a_single_active_consumer_nobody_else_gets() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    declare(ch, &[("x-single-active-consumer", Value::Bool(true))]);
    assert_eq!(
        ch.get("q"),
        "channel.close 405 60,70 RESOURCE_LOCKED - cannot obtain access to locked queue 'q' in \
         vhost '/'. basic.get operations are not supported by quorum queues with single active \
         consumer"
    );
}

#[test]
fn an_exclusive_consumer_is_not_alone() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    declare(ch, &[]);
    let consume = basic::Consume {
        queue: s("q"),
        consumer_tag: s("c"),
        exclusive: true,
        ..Default::default()
    };
    assert_eq!(ch.call(consume), "basic.consume-ok c");
    ch.consume("q", "d");
}
