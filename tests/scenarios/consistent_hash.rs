//! Exchanges of the type x-consistent-hash.

use leveret_codec::table::ArrayBuilder;
use leveret_codec::{PropertyFields, Value};

use crate::support::world::{Channel, World, s, table, text};

/// An exchange x with these arguments, and the queues a, b and c bound with these weights.
fn bound(ch: Channel<'_>, arguments: &[(&str, Value<'_>)], weights: [&str; 3]) {
    ch.exchange_with("x", "x-consistent-hash", arguments);
    for (queue, weight) in ["a", "b", "c"].iter().zip(weights) {
        ch.declare(queue);
        ch.bind(queue, "x", weight);
    }
}

fn counts(ch: Channel<'_>) -> [usize; 3] {
    ["a", "b", "c"].map(|queue| ch.drain_bodies(queue).len())
}

fn refusal(arguments: &[(&str, Value<'_>)]) -> String {
    let world = World::new();
    let client = world.client();
    let arguments = table(arguments);
    client.channel(1).call(leveret_codec::method::exchange::Declare {
        exchange: s("x"),
        kind: s("x-consistent-hash"),
        arguments: arguments.as_table(),
        ..Default::default()
    })
}

#[test]
fn queues_get_messages_by_their_weights() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    bound(ch, &[], ["1", "1", "2"]);
    for number in 0..2000 {
        ch.publish_to("x", &number.to_string(), "m");
    }
    let counts = counts(ch);
    assert_eq!(counts.iter().sum::<usize>(), 2000);
    for (count, expected) in counts.iter().zip([500_usize, 500, 1000]) {
        assert!(count.abs_diff(expected) < 120, "{counts:?}");
    }
}

#[test]
fn the_same_key_always_goes_the_same_way() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    bound(ch, &[], ["1", "1", "1"]);
    for _ in 0..50 {
        ch.publish_to("x", "same", "m");
    }
    let mut counts = counts(ch);
    counts.sort_unstable();
    assert_eq!(counts, [0, 0, 50]);
}

#[test]
fn the_weight_of_a_binding_goes_with_it() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    bound(ch, &[], ["1", "1", "1"]);
    ch.bind("a", "x", "38");
    let share_of_a = || {
        (0..400).for_each(|number| ch.publish_to("x", &number.to_string(), "m"));
        counts(ch)[0]
    };
    assert!((90..180).contains(&share_of_a()), "the first weight counts");
    let unbind = leveret_codec::method::queue::Unbind {
        queue: s("a"),
        exchange: s("x"),
        routing_key: s("1"),
        ..Default::default()
    };
    assert_eq!(ch.call(unbind), "queue.unbind-ok");
    assert!((360..=400).contains(&share_of_a()), "the other one is left");
}

#[test]
fn further_keys_make_no_further_copies() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    bound(ch, &[], ["1", "1", "1"]);
    let mut keys = ArrayBuilder::default();
    for number in 0..20 {
        keys.push(&Value::LongStr(format!("k{number}").as_bytes()));
    }
    ch.publish_headers("x", "k", &[("CC", Value::Array(keys.as_array()))], "a");
    assert_eq!(counts(ch).iter().sum::<usize>(), 1);
}

#[test]
fn a_weight_must_be_a_positive_number() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(100);
    ch.exchange("x", "x-consistent-hash");
    ch.exchange("y", "fanout");
    ch.declare("q");
    for (number, weight, text) in [
        (1, "abc", "The binding key must be an integer: <<\"abc\">>"),
        (2, "", "The binding key must be an integer: <<>>"),
        (3, "1.5", "The binding key must be an integer: <<\"1.5\">>"),
        (4, "0", "The binding key must be greater than 0"),
        (5, "-3", "The binding key must be greater than 0"),
    ] {
        let answer = client.channel(number).try_bind("q", "x", weight, &[]);
        let close = "channel.close 406 50,20 PRECONDITION_FAILED - ";
        assert_eq!(answer, format!("{close}{text}"));
    }
    let bind = leveret_codec::method::exchange::Bind {
        destination: s("y"),
        source: s("x"),
        routing_key: s("heavy"),
        ..Default::default()
    };
    assert_eq!(
        client.channel(6).call(bind),
        "channel.close 406 40,30 PRECONDITION_FAILED - The binding key must be an integer: \
         <<\"heavy\">>"
    );
}

#[test]
fn arguments_say_what_is_hashed_and_must_make_sense() {
    let close = "channel.close 406 40,10 PRECONDITION_FAILED - ";
    assert_eq!(
        refusal(&[("hash-header", text("id")), ("hash-property", text("message_id"))]),
        format!("{close}hash-header and hash-property are mutually exclusive")
    );
    assert_eq!(
        refusal(&[("hash-property", text("priority"))]),
        format!("{close}Unsupported property: priority")
    );
    for property in ["message_id", "correlation_id", "timestamp"] {
        assert_eq!(refusal(&[("hash-property", text(property))]), "exchange.declare-ok");
    }
}

#[test]
fn a_header_may_be_hashed_in_place_of_the_key() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    bound(ch, &[("hash-header", text("customer"))], ["1", "1", "1"]);
    for key in 0..40 {
        ch.publish_headers("x", &key.to_string(), &[("customer", text("ann"))], "m");
    }
    let mut same = counts(ch);
    same.sort_unstable();
    assert_eq!(same, [0, 0, 40]);
    for customer in 0..60 {
        ch.publish_headers("x", "k", &[("customer", Value::I32(customer))], "m");
    }
    assert!(counts(ch).iter().all(|count| *count > 0));
}

#[test]
fn a_property_may_be_hashed_in_place_of_the_key() {
    for property in ["message_id", "correlation_id", "timestamp"] {
        let world = World::new();
        let client = world.client();
        let ch = client.channel(1);
        bound(ch, &[("hash-property", text(property))], ["1", "1", "1"]);
        for number in 0..60_u64 {
            let id = number.to_string();
            let fields = PropertyFields {
                message_id: Some(s(&id)),
                correlation_id: Some(s(&id)),
                timestamp: Some(number),
                ..Default::default()
            };
            ch.publish_with("x", "k", fields, "m");
        }
        assert!(counts(ch).iter().all(|count| *count > 0), "{property}");
        let fields = PropertyFields {
            message_id: Some(s("7")),
            correlation_id: Some(s("7")),
            timestamp: Some(7),
            ..Default::default()
        };
        for key in 0..20 {
            ch.publish_with("x", &key.to_string(), fields, "m");
        }
        let mut same = counts(ch);
        same.sort_unstable();
        assert_eq!(same, [0, 0, 20], "{property}");
    }
}

#[test]
fn a_second_weight_of_the_same_queue_counts_nothing() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    bound(ch, &[], ["1", "1", "1"]);
    ch.bind("a", "x", "100");
    for number in 0..600 {
        ch.publish_to("x", &number.to_string(), "m");
    }
    assert!(counts(ch).iter().all(|count| (140..=260).contains(count)));
}

#[test]
fn a_queue_that_goes_leaves_its_share_to_the_others() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    bound(ch, &[], ["1", "1", "1"]);
    ch.call(leveret_codec::method::queue::Delete { queue: s("b"), ..Default::default() });
    for number in 0..100 {
        ch.publish_to("x", &number.to_string(), "m");
    }
    assert_eq!(ch.drain_bodies("a").len() + ch.drain_bodies("c").len(), 100);
}

#[test]
fn what_is_hashed_is_no_part_of_the_equivalence() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.exchange_with("x", "x-consistent-hash", &[("hash-header", text("id"))]);
    ch.exchange("x", "x-consistent-hash");
}

#[test]
fn weights_and_what_is_hashed_survive_a_restart() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    let arguments = table(&[("hash-header", text("id"))]);
    ch.call(leveret_codec::method::exchange::Declare {
        exchange: s("x"),
        kind: s("x-consistent-hash"),
        durable: true,
        arguments: arguments.as_table(),
        ..Default::default()
    });
    for queue in ["a", "b"] {
        ch.declare_durable(queue, &[]);
        ch.bind(queue, "x", "3");
    }
    let split = |world: &World| {
        let client = world.client();
        let ch = client.channel(1);
        for id in 0..40 {
            ch.publish_headers("x", "k", &[("id", Value::I32(id))], &id.to_string());
        }
        (ch.drain_bodies("a"), ch.drain_bodies("b"))
    };
    let before = split(&world);
    assert!(!before.0.is_empty() && !before.1.is_empty());
    assert_eq!(split(&world.restarted()), before);
}
