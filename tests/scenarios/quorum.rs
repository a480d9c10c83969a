//! Queues of type quorum, as far as they differ from the others.

use leveret_codec::method::{basic, queue};
use leveret_codec::{PropertyFields, Value};

use crate::support::world::{Channel, World, s, table, text};

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

/// Five messages, of which the first three are fetched.
fn three_of_five(ch: Channel<'_>) {
    for body in ["0", "1", "2", "3", "4"] {
        ch.publish("q", body);
    }
    for _ in 0..3 {
        ch.get("q");
    }
}

#[test]
fn without_a_delivery_limit_what_comes_back_goes_behind_all_others() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    declare(ch, &[]);
    three_of_five(ch);
    ch.send(basic::Nack { delivery_tag: 3, multiple: true, requeue: true });
    assert_eq!(ch.drain_bodies("q"), ["3", "4", "0", "1", "2"]);
}

#[test]
fn what_comes_back_to_one_that_is_full_goes_to_a_consumer_before_a_message_is_dropped() {
    // As RabbitMQ does it, for each prefetch: what is delivered again, and what is left.
    let rows = [
        (1, vec!["4"], vec!["5", "6", "1"]),
        (2, vec!["4", "5"], vec!["6", "1", "2"]),
        (3, vec!["4", "5", "6"], vec!["1", "2", "3"]),
    ];
    for (prefetch, again, left) in rows {
        for how in ["nack", "reject", "recover"] {
            let world = World::new();
            let (client, other) = (world.client(), world.client());
            let (ch, from) = (client.channel(1), other.channel(1));
            declare(from, &[("x-max-length", Value::I32(3))]);
            ["1", "2", "3"].iter().for_each(|body| from.publish("q", body));
            ch.call(basic::Qos { prefetch_count: prefetch, ..Default::default() });
            ch.consume("q", "c");
            assert_eq!(ch.bodies().len(), usize::from(prefetch));
            ["4", "5", "6"].iter().for_each(|body| from.publish("q", body));
            let last = u64::from(prefetch);
            match how {
                "nack" => {
                    let (multiple, requeue) = (true, true);
                    ch.send(basic::Nack { delivery_tag: last, multiple, requeue });
                }
                "reject" => (1..=last).for_each(|tag| ch.reject(tag, true)),
                _ => ch.send(basic::Recover { requeue: true }),
            }
            assert_eq!(ch.bodies(), again, "{how}, prefetch {prefetch}");
            let rest = from.drain("q").into_iter().map(|message| message.body);
            assert_eq!(rest.collect::<Vec<_>>(), left, "{how}, prefetch {prefetch}");
        }
    }
}

#[test]
fn what_comes_back_to_a_full_one_without_a_consumer_drops_the_head() {
    let world = World::new();
    let client = world.client();
    let (ch, from) = (client.channel(1), client.channel(2));
    declare(from, &[("x-max-length", Value::I32(3))]);
    ["1", "2", "3"].iter().for_each(|body| from.publish("q", body));
    for _ in 0..2 {
        ch.send(basic::Get { queue: s("q"), ..Default::default() });
    }
    ["4", "5"].iter().for_each(|body| from.publish("q", body));
    ch.send(basic::Nack { delivery_tag: 2, multiple: true, requeue: true });
    let left = from.drain("q").into_iter().map(|message| message.body);
    assert_eq!(left.collect::<Vec<_>>(), ["5", "1", "2"]);
}

#[test]
fn with_a_delivery_limit_what_comes_back_goes_ahead_of_what_was_never_delivered() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    declare(ch, &[("x-delivery-limit", Value::I32(5))]);
    three_of_five(ch);
    ch.send(basic::Nack { delivery_tag: 3, multiple: true, requeue: true });
    assert_eq!(ch.drain_bodies("q"), ["0", "1", "2", "3", "4"]);
}

#[test]
fn a_restart_puts_what_came_back_where_it_was() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    declare(ch, &[]);
    three_of_five(ch);
    ch.send(basic::Nack { delivery_tag: 3, multiple: true, requeue: true });
    let world = world.restarted();
    let client = world.client();
    let messages = client.channel(1).drain("q");
    let got: Vec<_> = messages.iter().map(|it| (&*it.body, it.redelivered)).collect();
    let expected = [("0", true), ("1", true), ("2", true), ("3", false), ("4", false)];
    assert_eq!(got, expected);
}

#[test]
fn the_delivery_mode_makes_no_difference_to_a_restart() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    declare(ch, &[]);
    for delivery_mode in [None, Some(1), Some(2)] {
        let fields = PropertyFields { delivery_mode, ..Default::default() };
        ch.publish_with("", "q", fields, "a");
    }
    let world = world.restarted();
    let client = world.client();
    let messages = client.channel(1).drain("q");
    let modes: Vec<_> = messages.iter().map(|it| it.fields().delivery_mode).collect();
    assert_eq!(modes, [None, Some(1), Some(2)]);
}

#[test]
fn a_transient_message_is_confirmed_once_it_is_safe() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    declare(ch, &[]);
    ch.confirm_select();
    world.slow_disk();
    ch.publish("q", "a");
    assert!(ch.lines().is_empty());
    world.sync();
    assert_eq!(ch.lines(), ["basic.ack 1"]);
}

#[test]
fn a_get_always_tells_the_count() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    declare(ch, &[]);
    ch.publish("q", "a");
    for count in 0..3 {
        ch.get("q");
        let message = &ch.messages()[0];
        assert_eq!(message.header("x-delivery-count"), Some(Value::I64(count)));
        assert_eq!(message.redelivered, count > 0);
        ch.reject(message.delivery_tag, true);
    }
}

#[test]
fn every_way_back_counts() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    declare(ch, &[]);
    ch.publish("q", "a");
    ch.get("q");
    ch.send(basic::Nack { delivery_tag: 1, multiple: false, requeue: true });
    ch.get("q");
    ch.call(basic::Recover { requeue: true });
    ch.get("q");
    ch.close();
    let leaving = world.client();
    leaving.channel(1).get("q");
    leaving.vanish();
    let messages = client.channel(2).drain("q");
    assert_eq!(messages[0].header("x-delivery-count"), Some(Value::I64(4)));
}

#[test]
fn the_count_stands_among_the_other_headers_in_order() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    declare(ch, &[]);
    let own = [("z", text("last")), ("x-delivery-count", Value::I32(77)), ("a", text("first"))];
    ch.publish_headers("", "q", &own, "a");
    ch.get("q");
    let message = &ch.messages()[0];
    let headers = message.fields().headers.expect("headers");
    let names: Vec<_> = headers.iter().map(|entry| entry.name.to_string()).collect();
    assert_eq!(names, ["a", "x-delivery-count", "z"]);
    assert_eq!(message.header("x-delivery-count"), Some(Value::I64(0)));
}

#[test]
fn reject_publish_dlx_is_drop_head() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("dead");
    declare(
        ch,
        &[
            ("x-max-length", Value::I32(1)),
            ("x-overflow", text("reject-publish-dlx")),
            ("x-dead-letter-exchange", text("")),
            ("x-dead-letter-routing-key", text("dead")),
        ],
    );
    ch.confirm_select();
    ch.publish("q", "a");
    ch.publish("q", "b");
    assert_eq!(ch.lines(), ["basic.ack 1", "basic.ack 2"]);
    assert_eq!(ch.drain_bodies("dead"), ["a"]);
    assert_eq!(ch.drain_bodies("q"), ["b"]);
}

#[test]
fn reject_publish_refuses_beyond_the_limit() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    declare(ch, &[("x-max-length", Value::I32(2)), ("x-overflow", text("reject-publish"))]);
    ch.confirm_select();
    for body in ["a", "b", "c"] {
        ch.publish("q", body);
    }
    assert_eq!(ch.lines(), ["basic.ack 1", "basic.ack 2", "basic.nack 3"]);
}

#[test]
fn reject_publish_takes_what_the_broker_sends() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    let full = [("x-max-length", Value::I32(1)), ("x-overflow", text("reject-publish"))];
    declare(ch, &full);
    ch.declare_with("classic", &full);
    for target in ["q", "classic"] {
        let to_target =
            [("x-dead-letter-exchange", text("")), ("x-dead-letter-routing-key", text(target))];
        ch.declare_with("source", &to_target);
        for body in ["a", "b", "c"] {
            ch.publish("source", body);
            let line = ch.get("source");
            let tag = line.split(' ').nth(1).and_then(|tag| tag.parse().ok());
            ch.reject(tag.expect("a delivery tag"), false);
        }
        ch.call(queue::Delete { queue: s("source"), ..Default::default() });
    }
    assert_eq!(ch.drain_bodies("q"), ["a", "b", "c"]);
    assert_eq!(ch.drain_bodies("classic"), ["a"]);
}

#[test]
fn it_takes_no_argument_of_classic_queues_alone() {
    let world = World::new();
    let client = world.client();
    for (number, name, value) in [
        (1, "x-max-priority", Value::I32(5)),
        (2, "x-queue-mode", text("lazy")),
        (3, "x-queue-version", Value::I32(2)),
    ] {
        let arguments = table(&[("x-queue-type", text("quorum")), (name, value)]);
        let declare = queue::Declare {
            queue: s("q"),
            durable: true,
            arguments: arguments.as_table(),
            ..Default::default()
        };
        assert_eq!(
            client.channel(number).call(declare),
            format!(
                "channel.close 406 50,10 PRECONDITION_FAILED - invalid arg '{name}' for queue 'q' \
                 in vhost '/' of queue type rabbit_quorum_queue"
            )
        );
    }
}

#[test]
fn times_and_dead_letters_are_those_of_any_queue() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("dead");
    declare(
        ch,
        &[
            ("x-message-ttl", Value::I32(100)),
            ("x-expires", Value::I32(5000)),
            ("x-dead-letter-exchange", text("")),
            ("x-dead-letter-routing-key", text("dead")),
        ],
    );
    ch.publish("q", "a");
    world.pass_ms(100);
    assert_eq!(ch.drain("dead")[0].header("x-first-death-reason"), Some(text("expired")));
    world.pass_ms(4900);
    assert!(world.queue("q").is_none());
}

#[test]
fn consumers_have_priorities() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    declare(ch, &[]);
    ch.consume("q", "low");
    ch.consume_with("q", "high", &[("x-priority", Value::I32(5))]);
    ch.publish("q", "a");
    assert_eq!(ch.lines(), ["basic.deliver high 1 a"]);
}

#[test]
fn a_window_of_each_consumer_is_known() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    declare(ch, &[]);
    ch.qos(1, false);
    ch.consume("q", "c");
    ch.publish("q", "a");
    ch.publish("q", "b");
    assert_eq!(ch.lines(), ["basic.deliver c 1 a"]);
}

#[test]
fn the_next_active_consumer_gets_new_messages_while_the_last_has_some() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    declare(ch, &[("x-single-active-consumer", Value::Bool(true))]);
    ch.consume("q", "first");
    ch.consume("q", "second");
    ch.publish("q", "a");
    assert_eq!(ch.lines(), ["basic.deliver first 1 a"]);
    ch.call(basic::Cancel { consumer_tag: s("first"), nowait: false });
    ch.publish("q", "b");
    assert_eq!(ch.lines(), ["basic.deliver second 2 b"]);
    ch.ack(1);
    ch.ack(2);
    assert_eq!(world.counts("q"), "0/0");
}

#[test]
fn what_a_channel_leaves_behind_goes_to_the_front_and_what_a_client_returns_behind_all() {
    for by_get in [false, true] {
        let world = World::new();
        let (leaving, staying) = (world.client(), world.client());
        let (ch, other) = (leaving.channel(1), staying.channel(1));
        declare(other, &[]);
        for body in ["a", "b", "c", "d", "e"] {
            other.publish("q", body);
        }
        if by_get {
            (0..3).for_each(|_| _ = ch.get("q"));
        } else {
            ch.qos(3, false);
            ch.consume("q", "c");
            ch.call(basic::Cancel { consumer_tag: s("c"), nowait: false });
        }
        ch.send(basic::Nack { delivery_tag: 1, multiple: false, requeue: true });
        ch.close();
        assert_eq!(other.drain_bodies("q"), ["b", "c", "d", "e", "a"], "{by_get}");
    }
}
