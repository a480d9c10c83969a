//! Exchanges of the type x-message-deduplication.

use leveret_codec::method::exchange;
use leveret_codec::table::ArrayBuilder;
use leveret_codec::{PropertyFields, Value};

use crate::support::world::{Channel, World, s, table, text};

const TYPE: &str = "x-message-deduplication";

/// An exchange x with these arguments and the queue q bound to it.
fn bound(ch: Channel<'_>, arguments: &[(&str, Value<'_>)]) {
    ch.exchange_with("x", TYPE, arguments);
    ch.declare("q");
    ch.bind("q", "x", "");
}

fn publish(ch: Channel<'_>, id: &str, body: &str) {
    ch.publish_headers("x", "k", &[("x-deduplication-header", text(id))], body);
}

#[test]
fn the_second_of_its_kind_goes_nowhere() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    bound(ch, &[("x-cache-size", Value::I32(10))]);
    publish(ch, "1", "a");
    publish(ch, "1", "again");
    publish(ch, "2", "b");
    ch.publish_to("x", "k", "without");
    ch.publish_to("x", "k", "without");
    assert_eq!(ch.drain_bodies("q"), ["a", "b", "without", "without"]);
}

#[test]
fn a_repeated_message_that_is_mandatory_comes_back() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    bound(ch, &[("x-cache-size", Value::I32(10))]);
    ch.confirm_select();
    publish(ch, "1", "a");
    let headers = table(&[("x-deduplication-header", text("1"))]);
    let publish = leveret_codec::method::basic::Publish {
        exchange: s("x"),
        mandatory: true,
        ..Default::default()
    };
    let fields = PropertyFields { headers: Some(headers.as_table()), ..Default::default() };
    ch.publish_method(publish, fields, b"again");
    assert_eq!(ch.lines(), ["basic.ack 1", "basic.return 312 NO_ROUTE again", "basic.ack 2"]);
}

#[test]
fn what_was_seen_is_forgotten_in_time() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    bound(ch, &[("x-cache-size", Value::I32(10)), ("x-cache-ttl", Value::I32(1000))]);
    publish(ch, "1", "a");
    let own = [("x-deduplication-header", text("2")), ("x-cache-ttl", Value::I32(5000))];
    ch.publish_headers("x", "k", &own, "b");
    world.pass_ms(999);
    publish(ch, "1", "too early");
    world.pass_ms(1);
    publish(ch, "1", "c");
    publish(ch, "2", "too early");
    world.pass_ms(4000);
    publish(ch, "2", "d");
    assert_eq!(ch.drain_bodies("q"), ["a", "b", "c", "d"]);
}

#[test]
fn no_more_is_remembered_than_fits() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    bound(ch, &[("x-cache-size", Value::I32(2))]);
    for id in ["1", "2", "3", "1", "3"] {
        publish(ch, id, id);
    }
    assert_eq!(ch.drain_bodies("q"), ["1", "2", "3", "1"]);
}

#[test]
fn every_bound_queue_gets_the_first_one_and_further_keys_do_not_make_it_the_second() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.exchange("rest", "fanout");
    ch.declare("rest");
    ch.bind("rest", "rest", "");
    bound(ch, &[("x-cache-size", Value::I32(10)), ("alternate-exchange", text("rest"))]);
    ch.declare("r");
    ch.bind("r", "x", "another key");
    let mut keys = ArrayBuilder::default();
    keys.push(&text("l"));
    let cc = Value::Array(keys.as_array());
    ch.publish_headers("x", "k", &[("x-deduplication-header", text("1")), ("CC", cc)], "a");
    assert_eq!((ch.drain_bodies("q"), ch.drain_bodies("r")), (vec!["a".into()], vec!["a".into()]));
    assert!(ch.drain_bodies("rest").is_empty());
}

#[test]
fn a_repeated_message_from_another_exchange_is_known_too() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.exchange("in", "fanout");
    bound(ch, &[("x-cache-size", Value::I32(10))]);
    ch.bind_exchange("x", "in", "");
    for _ in 0..2 {
        ch.publish_headers("in", "", &[("x-deduplication-header", text("1"))], "a");
    }
    publish(ch, "1", "a");
    assert_eq!(ch.drain_bodies("q"), ["a"]);
}

#[test]
fn arguments_must_make_sense() {
    let world = World::new();
    let client = world.client();
    let size = ("x-cache-size", Value::I32(1));
    for (number, arguments, text) in [
        (
            1,
            [].as_slice(),
            "Missing or invalid argument, 'x-cache-size' must be an integer greater than 0",
        ),
        (
            2,
            [("x-cache-size", Value::I32(0))].as_slice(),
            "Missing or invalid argument, 'x-cache-size' must be an integer greater than 0",
        ),
        (
            3,
            [("x-cache-size", text("many"))].as_slice(),
            "Missing or invalid argument, 'x-cache-size' must be an integer greater than 0",
        ),
        (
            4,
            [size, ("x-cache-ttl", Value::I32(-1))].as_slice(),
            "Invalid argument, 'x-cache-ttl' must be an integer greater than 0",
        ),
        (
            5,
            [size, ("x-cache-persistence", text("paper"))].as_slice(),
            "Invalid argument, 'x-cache-persistence' must be either 'disk' or 'memory'",
        ),
    ] {
        let arguments = table(arguments);
        let declare = exchange::Declare {
            exchange: s("x"),
            kind: s(TYPE),
            arguments: arguments.as_table(),
            ..Default::default()
        };
        assert_eq!(
            client.channel(number).call(declare),
            format!("channel.close 406 40,10 PRECONDITION_FAILED - {text}")
        );
    }
    assert!(!client.channel(6).has_exchange("x"));
}

#[test]
fn a_queue_that_is_to_drop_duplicates_is_refused() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare_with("plain", &[("x-message-deduplication", Value::Bool(false))]);
    assert_eq!(
        ch.try_declare("q", &[("x-message-deduplication", Value::Bool(true))]),
        "channel.close 406 50,10 PRECONDITION_FAILED - invalid arg 'x-message-deduplication' for queue 'q' in \
         vhost '/': queues drop no duplicates, exchanges of the type x-message-deduplication do"
    );
}
