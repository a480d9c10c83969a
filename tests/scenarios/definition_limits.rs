//! How much clients may define: its weight, and what they hear when it is too much.

use leveret::broker::limits::ClientLimits;
use leveret_codec::Value;
use leveret_codec::method::{basic, channel, exchange, queue};

use crate::support::world::{Channel, World, s, table, text};

/// What a client hears that has defined as much as it may.
const TOO_MUCH: &str = "PRECONDITION_FAILED - exchanges, queues, bindings, consumers and connections of \
                        vhost '/' take all the memory that --memory-limit leaves for them";

/// Arguments that mean nothing, so many bytes long and a little more.
fn arguments(length: usize) -> leveret_codec::TableBuf {
    table(&[("ballast", text(&"x".repeat(length)))])
}

/// Asks for one thing of each kind, with arguments so long; `number` makes its names.
fn define_each(ch: Channel<'_>, number: usize, length: usize) -> Vec<String> {
    let arguments = arguments(length);
    let arguments = arguments.as_table();
    let name = format!("n{number}");
    let exchange = exchange::Declare {
        exchange: s(&name),
        kind: s("fanout"),
        arguments,
        ..Default::default()
    };
    let queue = queue::Declare { queue: s(&name), arguments, ..Default::default() };
    let bind = queue::Bind {
        queue: s("q"),
        exchange: s("amq.direct"),
        routing_key: s(&name),
        arguments,
        ..Default::default()
    };
    let bind_exchange = exchange::Bind {
        destination: s("amq.fanout"),
        source: s("amq.direct"),
        routing_key: s(&name),
        arguments,
        ..Default::default()
    };
    let consume =
        basic::Consume { queue: s("q"), consumer_tag: s(&name), arguments, ..Default::default() };
    vec![ask(ch, exchange), ask(ch, queue), ask(ch, bind), ask(ch, bind_exchange), ask(ch, consume)]
}

/// What came of a method; a channel that it costs is opened again.
#[allow(clippy::needless_pass_by_value)]
fn ask(ch: Channel<'_>, method: impl leveret_codec::Encode) -> String {
    let answer = ch.call(method);
    if answer.starts_with("channel.close") {
        ch.call(channel::CloseOk {});
        assert_eq!(ch.call(channel::Open::default()), "channel.open-ok");
    }
    answer
}

#[test]
fn what_is_defined_is_weighed_with_its_arguments_until_it_is_gone() {
    let world = World::new();
    let before = world.definition_memory();
    let client = world.client();
    assert!(world.definition_memory() > before, "a client");
    let ch = client.channel(1);
    ch.declare("q");
    let first = world.definition_memory();
    for number in 0..10 {
        for answer in define_each(ch, number, 1000) {
            assert!(answer.contains("-ok"), "{answer}");
        }
    }
    let weight = world.definition_memory() - first;
    assert!((50_000..150_000).contains(&weight), "{weight}");
    for number in 0..10 {
        let name = format!("n{number}");
        ch.call(exchange::Delete { exchange: s(&name), ..Default::default() });
        ch.call(queue::Delete { queue: s(&name), ..Default::default() });
        let arguments = arguments(1000);
        ch.call(queue::Unbind {
            queue: s("q"),
            exchange: s("amq.direct"),
            routing_key: s(&name),
            arguments: arguments.as_table(),
            ..Default::default()
        });
        ch.call(exchange::Unbind {
            destination: s("amq.fanout"),
            source: s("amq.direct"),
            routing_key: s(&name),
            arguments: arguments.as_table(),
            ..Default::default()
        });
        ch.call(basic::Cancel { consumer_tag: s(&name), ..Default::default() });
    }
    assert_eq!(world.definition_memory(), first);
    ch.call(queue::Delete { queue: s("q"), ..Default::default() });
    client.vanish();
    assert_eq!(world.definition_memory(), before);
}

#[test]
fn nothing_more_is_defined_when_it_takes_all_that_it_may() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    let first = world.definition_memory();
    world.max_definitions(first + 500_000);
    let mut number = 0;
    while world.definition_memory() < first + 500_000 {
        let queue = format!("full{number}");
        ch.declare_with(&queue, &[("ballast", text(&"x".repeat(10_000)))]);
        number += 1;
    }
    assert!((40..50).contains(&number), "{number}");
    for answer in define_each(ch, 0, 0) {
        assert!(answer.contains(TOO_MUCH), "{answer}");
    }
    assert!(ch.try_declare("q", &[]).starts_with("queue.declare-ok"), "what is there is there");
    ch.publish("q", "body");
    ch.call(queue::Delete { queue: s("full0"), ..Default::default() });
    assert!(ch.try_declare("other", &[]).starts_with("queue.declare-ok"));
}

#[test]
fn long_arguments_are_refused() {
    let limits = ClientLimits { max_arguments_size: 1000, ..Default::default() };
    let world = World::with_limits(limits);
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    for answer in define_each(ch, 0, 1000) {
        let text = "PRECONDITION_FAILED - the arguments take 1013 bytes, more than the 1000 that \
                    --max-arguments-size allows";
        assert!(answer.contains(text), "{answer}");
    }
    for answer in define_each(ch, 0, 900) {
        assert!(answer.contains("-ok"), "{answer}");
    }
}

#[test]
fn a_channel_has_so_many_consumers() {
    let limits = ClientLimits { max_consumers_per_channel: 3, ..Default::default() };
    let world = World::with_limits(limits);
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    for tag in ["a", "b", "c"] {
        ch.consume("q", tag);
    }
    client.channel(2).consume("q", "d");
    ch.call(basic::Cancel { consumer_tag: s("a"), ..Default::default() });
    ch.consume("q", "a");
    let consume = basic::Consume { queue: s("q"), ..Default::default() };
    let text = "PRECONDITION_FAILED - the channel has 3 consumers, as many as \
                --max-consumers-per-channel allows";
    let answer = ch.call(consume);
    assert!(answer.contains(text), "{answer}");
}

#[test]
fn what_a_deduplicating_exchange_remembers_is_weighed() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    let first = world.definition_memory();
    ch.exchange_with("x", "x-message-deduplication", &[("x-cache-size", Value::I32(1000))]);
    for number in 0..10 {
        let id = format!("{number}{}", "x".repeat(1000));
        for _ in 0..2 {
            ch.publish_headers("x", "", &[("x-deduplication-header", text(&id))], "body");
        }
    }
    let weight = world.definition_memory() - first;
    assert!((10_000..15_000).contains(&weight), "{weight}");
    ch.call(exchange::Delete { exchange: s("x"), ..Default::default() });
    assert_eq!(world.definition_memory(), first);
}

#[test]
fn channels_are_opened_until_they_take_too_much() {
    let world = World::new();
    let (client, other) = (world.client(), world.client());
    client.channel(1).declare("q");
    world.max_definitions(world.definition_memory() + 100_000);
    let refused = (2..1000).find_map(|number| {
        client.closed_channel(number).send(channel::Open::default());
        let answers = client.lines();
        (answers != ["channel.open-ok"]).then_some(answers)
    });
    let refused = refused.expect("not all are opened").concat();
    assert!(
        refused.starts_with("connection.close 506 20,10 RESOURCE_ERROR - no memory"),
        "{refused}"
    );
    client.vanish();
    other.channel(1).declare("other");
}

#[test]
fn what_all_exchanges_remember_leaves_room_for_definitions() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    let arguments = [("x-cache-size", Value::I64(i64::MAX))];
    for name in ["a", "b", "c"] {
        ch.exchange_with(name, "x-message-deduplication", &arguments);
    }
    let first = world.definition_memory();
    world.max_definitions(2 * first);
    for number in 0..1000 {
        let id = number.to_string();
        for name in ["a", "b", "c"] {
            ch.publish_headers(name, "", &[("x-deduplication-header", text(&id))], "m");
        }
    }
    let remembered = world.definition_memory() - first;
    assert!(remembered < first + 500, "{remembered} of {first}");
    ch.declare("q");
}
