//! Exchanges of the type x-delayed-message.

use leveret_codec::method::{basic, channel, exchange, queue, tx};
use leveret_codec::table::ArrayBuilder;
use leveret_codec::{PropertyFields, Value};

use crate::support::world::{Channel, Received, World, s, table, text};

const TYPE: &str = "x-delayed-message";

fn declare(ch: Channel<'_>, name: &str, durable: bool, kind: &str) {
    let arguments = table(&[("x-delayed-type", text(kind))]);
    let declare = exchange::Declare {
        exchange: s(name),
        kind: s(TYPE),
        durable,
        arguments: arguments.as_table(),
        ..Default::default()
    };
    assert_eq!(ch.call(declare), "exchange.declare-ok");
}

/// The exchange d, which routes as a direct one, and the queue q bound to it with the key k.
fn bound(ch: Channel<'_>) {
    declare(ch, "d", false, "direct");
    ch.declare("q");
    ch.bind("q", "d", "k");
}

/// The same for good.
fn bound_durably(ch: Channel<'_>) {
    declare(ch, "d", true, "direct");
    ch.declare_durable("q", &[]);
    ch.bind("q", "d", "k");
}

fn publish(ch: Channel<'_>, delay_ms: i32, body: &str) {
    ch.publish_headers("d", "k", &[("x-delay", Value::I32(delay_ms))], body);
}

fn publish_persistent(ch: Channel<'_>, delay_ms: i32, body: &str) {
    let headers = table(&[("x-delay", Value::I32(delay_ms))]);
    let fields = PropertyFields {
        headers: Some(headers.as_table()),
        delivery_mode: Some(2),
        ..Default::default()
    };
    ch.publish_with("d", "k", fields, body);
}

fn bodies(messages: &[Received]) -> Vec<&str> {
    messages.iter().map(|message| &*message.body).collect()
}

#[test]
fn a_message_is_held_for_its_delay_and_not_longer() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    bound(ch);
    ch.consume_no_ack("q", "c");
    publish(ch, 1000, "a");
    world.pass_ms(999);
    assert!(ch.lines().is_empty());
    world.pass_ms(1);
    let messages = ch.messages();
    assert_eq!(bodies(&messages), ["a"]);
    assert_eq!(messages[0].header("x-delay"), Some(Value::I32(-1000)));
    assert_eq!((&*messages[0].exchange, &*messages[0].routing_key), ("d", "k"));
    assert!(!messages[0].redelivered);
}

#[test]
fn what_is_due_first_goes_first_and_equals_in_the_order_they_came() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    bound(ch);
    for (delay_ms, body) in [(300, "3"), (100, "1a"), (200, "2"), (100, "1b")] {
        publish(ch, delay_ms, body);
    }
    world.pass_ms(50);
    publish(ch, 50, "1c");
    world.pass_ms(250);
    assert_eq!(ch.drain_bodies("q"), ["1a", "1b", "1c", "2", "3"]);
}

#[test]
fn without_a_delay_a_message_goes_at_once() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    bound(ch);
    ch.publish_to("d", "k", "none");
    publish(ch, 0, "zero");
    publish(ch, -5, "negative");
    ch.publish_headers("d", "k", &[("x-delay", Value::I64(4_294_967_296))], "too long");
    ch.publish_headers("d", "k", &[("x-delay", text("soon"))], "a word");
    assert_eq!(ch.drain_bodies("q"), ["none", "zero", "negative", "too long", "a word"]);
    for (value, body) in [(text("500"), "text"), (Value::F64(500.5), "fraction")] {
        ch.publish_headers("d", "k", &[("x-delay", value)], body);
    }
    assert_eq!(world.counts("q"), "0/0");
    world.pass_ms(500);
    assert_eq!(ch.drain_bodies("q"), ["text", "fraction"]);
}

#[test]
fn a_mandatory_message_that_is_held_comes_back_and_is_delivered_all_the_same() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    bound(ch);
    ch.confirm_select();
    let headers = table(&[("x-delay", Value::I32(100))]);
    let fields = PropertyFields { headers: Some(headers.as_table()), ..Default::default() };
    let publish = basic::Publish {
        exchange: s("d"),
        routing_key: s("k"),
        mandatory: true,
        ..Default::default()
    };
    ch.publish_method(publish, fields, b"a");
    let returned = ch.messages();
    assert_eq!(returned[0].header("x-delay"), Some(Value::I32(100)), "as it was published");
    world.pass_ms(100);
    assert_eq!(ch.drain_bodies("q"), ["a"]);
    ch.publish_mandatory("d", "k", "at once");
    assert_eq!(ch.lines(), ["basic.ack 2"]);
}

#[test]
fn a_held_message_is_confirmed_at_once_or_when_it_is_safe() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    bound_durably(ch);
    ch.confirm_select();
    world.slow_disk();
    publish(ch, 1000, "transient");
    assert_eq!(ch.lines(), ["basic.ack 1"]);
    publish_persistent(ch, 1000, "persistent");
    assert!(ch.lines().is_empty());
    world.sync();
    assert_eq!(ch.lines(), ["basic.ack 2"]);
}

#[test]
fn bindings_count_as_they_are_when_the_time_is_up() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    bound(ch);
    ch.declare("later");
    publish(ch, 100, "a");
    ch.call(queue::Unbind {
        queue: s("q"),
        exchange: s("d"),
        routing_key: s("k"),
        ..Default::default()
    });
    ch.bind("later", "d", "k");
    world.pass_ms(100);
    assert_eq!((world.counts("q"), world.counts("later")), ("0/0".into(), "1/0".into()));
}

#[test]
fn a_time_to_live_begins_when_the_delay_is_over() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    bound(ch);
    let headers = table(&[("x-delay", Value::I32(1000))]);
    let fields = PropertyFields {
        headers: Some(headers.as_table()),
        expiration: Some(s("100")),
        ..Default::default()
    };
    ch.publish_with("d", "k", fields, "a");
    world.pass_ms(1099);
    assert_eq!(world.counts("q"), "1/0");
    world.pass_ms(1);
    assert_eq!(world.counts("q"), "0/0");
}

#[test]
fn it_routes_as_its_type_says() {
    for (kind, key, reached) in [
        ("fanout", "anything", ["a", "b"].as_slice()),
        ("topic", "x.one", &["a"]),
        ("direct", "x.two", &["b"]),
    ] {
        let world = World::new();
        let client = world.client();
        let ch = client.channel(1);
        declare(ch, "d", false, kind);
        for (queue, pattern) in [("a", "*.one"), ("b", "x.two")] {
            ch.declare(queue);
            ch.bind(queue, "d", pattern);
        }
        ch.publish_headers("d", key, &[("x-delay", Value::I32(10))], "m");
        world.pass_ms(10);
        let got: Vec<_> =
            ["a", "b"].into_iter().filter(|queue| world.counts(queue) == "1/0").collect();
        assert_eq!(got, reached, "{kind}");
    }
}

#[test]
fn bindings_are_checked_as_its_type_says() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    declare(ch, "h", false, "headers");
    declare(ch, "c", false, "x-consistent-hash");
    ch.declare("q");
    ch.declare("r");
    let answer = client.channel(2).try_bind("q", "h", "", &[("x-match", text("some"))]);
    assert!(answer.contains("Invalid x-match field value <<\"some\">>"), "{answer}");
    let answer = client.channel(3).try_bind("q", "c", "heavy", &[]);
    assert!(answer.contains("The binding key must be an integer"), "{answer}");
    ch.bind("q", "c", "1");
    ch.bind("r", "c", "1");
    for key in 0..50 {
        ch.publish_headers("c", &key.to_string(), &[("x-delay", Value::I32(10))], "m");
    }
    world.pass_ms(10);
    let (q, r) = (ch.drain_bodies("q").len(), ch.drain_bodies("r").len());
    assert!(q > 5 && r > 5 && q + r == 50, "{q} and {r}");
}

#[test]
fn its_type_must_be_another_that_is_known() {
    let world = World::new();
    let client = world.client();
    let unknown = "Invalid argument, 'x-delayed-type' must be an existing exchange type";
    let itself = "Invalid argument, 'x-delayed-message' can't be used for 'x-delayed-type'";
    for (number, arguments, text) in [
        (1, [].as_slice(), unknown),
        (2, [("x-delayed-type", Value::I32(1))].as_slice(), unknown),
        (3, [("x-delayed-type", text("nonsense"))].as_slice(), unknown),
        (4, [("x-delayed-type", text(TYPE))].as_slice(), itself),
    ] {
        let arguments = table(arguments);
        let declare = exchange::Declare {
            exchange: s("d"),
            kind: s(TYPE),
            arguments: arguments.as_table(),
            ..Default::default()
        };
        assert_eq!(
            client.channel(number).call(declare),
            format!("channel.close 406 40,10 PRECONDITION_FAILED - {text}")
        );
    }
}

#[test]
fn further_keys_and_hidden_ones_are_kept_through_the_delay() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    declare(ch, "d", true, "direct");
    for queue in ["q", "cc", "bcc"] {
        ch.declare_durable(queue, &[]);
        ch.bind(queue, "d", queue);
    }
    let mut cc = ArrayBuilder::default();
    cc.push(&text("cc"));
    let mut bcc = ArrayBuilder::default();
    bcc.push(&text("bcc"));
    let headers = table(&[
        ("CC", Value::Array(cc.as_array())),
        ("BCC", Value::Array(bcc.as_array())),
        ("x-delay", Value::I32(10)),
    ]);
    let fields = PropertyFields {
        headers: Some(headers.as_table()),
        delivery_mode: Some(2),
        ..Default::default()
    };
    ch.publish_with("d", "q", fields, "a");
    let world = world.restarted();
    world.pass_ms(10);
    let client = world.client();
    let ch = client.channel(1);
    for queue in ["q", "cc", "bcc"] {
        let messages = ch.drain(queue);
        assert_eq!(bodies(&messages), ["a"], "{queue}");
        assert_eq!(messages[0].routing_key, "q");
        assert!(messages[0].header("CC").is_some() && messages[0].header("BCC").is_none());
    }
}

#[test]
fn what_a_durable_exchange_holds_survives_a_restart_if_it_is_persistent() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    bound_durably(ch);
    publish_persistent(ch, 2000, "second");
    publish_persistent(ch, 1000, "first");
    publish(ch, 500, "lost");
    world.pass_ms(900);
    let world = world.restarted();
    world.pass_ms(99);
    assert_eq!(world.counts("q"), "0/0");
    world.pass_ms(1);
    assert_eq!(world.counts("q"), "1/0");
    let world = world.restarted();
    assert_eq!(world.counts("q"), "1/0", "what was released is not released again");
    world.pass_ms(1000);
    let client = world.client();
    let messages = client.channel(1).drain("q");
    assert_eq!(bodies(&messages), ["first", "second"]);
    assert_eq!(messages[0].header("x-delay"), Some(Value::I32(-1000)));
}

#[test]
fn what_fell_due_while_the_broker_was_down_goes_out_at_once() {
    let world = World::new();
    let client = world.client();
    bound_durably(client.channel(1));
    publish_persistent(client.closed_channel(1), 1000, "a");
    let world = world.restarted();
    // The same moment in the life of another broker.
    world.pass_ms(1000);
    let world = world.restarted();
    world.pass_ms(0);
    assert_eq!(world.counts("q"), "1/0");
}

/// Enough else happens for the store to move what it holds out of its log.
fn much_else_happens(world: &World) {
    let client = world.client();
    let ch = client.channel(1);
    ch.declare_durable("else", &[]);
    for _ in 0..50 {
        ch.publish_persistent("else", &"x".repeat(100));
        ch.drain("else");
    }
}

#[test]
fn places_in_the_store_are_not_given_twice() {
    let world = World::with_small_files();
    let client = world.client();
    let ch = client.channel(1);
    bound_durably(ch);
    publish_persistent(ch, 60_000, "long");
    publish_persistent(ch, 10, "short");
    publish_persistent(ch, 10, "short");
    much_else_happens(&world);
    world.pass_ms(10);
    assert_eq!(ch.drain_bodies("q"), ["short", "short"]);
    let world = world.restarted();
    let client = world.client();
    publish_persistent(client.channel(1), 10, "after");
    much_else_happens(&world);
    let world = world.restarted();
    world.pass_ms(60_000);
    let client = world.client();
    assert_eq!(client.channel(1).drain_bodies("q"), ["after", "long"]);
}

#[test]
fn a_deleted_exchange_takes_along_what_it_holds() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    bound_durably(ch);
    publish_persistent(ch, 1000, "a");
    ch.call(exchange::Delete { exchange: s("d"), ..Default::default() });
    declare(ch, "d", true, "direct");
    ch.bind("q", "d", "k");
    publish_persistent(ch, 1500, "b");
    let after = world.restarted();
    for world in [world, after] {
        world.pass_ms(2000);
        let client = world.client();
        assert_eq!(client.channel(1).drain_bodies("q"), ["b"]);
    }
}

#[test]
fn a_dead_letter_with_a_delay_is_held() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    bound(ch);
    ch.declare_with(
        "work",
        &[("x-dead-letter-exchange", text("d")), ("x-dead-letter-routing-key", text("k"))],
    );
    ch.publish_headers("", "work", &[("x-delay", Value::I32(1000))], "retry");
    ch.get("work");
    ch.reject(1, false);
    world.pass_ms(999);
    assert_eq!(world.counts("q"), "0/0");
    world.pass_ms(1);
    let messages = ch.drain("q");
    assert_eq!(bodies(&messages), ["retry"]);
    assert_eq!(messages[0].header("x-first-death-queue"), Some(text("work")));
    assert_eq!(messages[0].exchange, "d");
}

#[test]
fn a_persistent_dead_letter_is_held_over_a_restart_and_is_in_one_place() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    bound_durably(ch);
    ch.declare_durable(
        "work",
        &[("x-dead-letter-exchange", text("d")), ("x-dead-letter-routing-key", text("k"))],
    );
    let headers = table(&[("x-delay", Value::I32(1000))]);
    let fields = PropertyFields {
        headers: Some(headers.as_table()),
        delivery_mode: Some(2),
        ..Default::default()
    };
    ch.publish_with("", "work", fields, "retry");
    ch.get("work");
    ch.reject(1, false);
    let world = world.restarted();
    assert_eq!((world.counts("work"), world.counts("q")), ("0/0".into(), "0/0".into()));
    world.pass_ms(1000);
    assert_eq!(world.counts("q"), "1/0");
}

#[test]
fn a_released_message_is_not_held_again() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    bound(ch);
    declare(ch, "e", false, "fanout");
    ch.declare("end");
    ch.bind("end", "e", "");
    ch.bind_exchange("e", "d", "k");
    publish(ch, 100, "a");
    world.pass_ms(100);
    assert_eq!((world.counts("q"), world.counts("end")), ("1/0".into(), "1/0".into()));
}

#[test]
fn it_feeds_exchanges_that_are_bound_to_it() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    bound(ch);
    ch.exchange("out", "topic");
    ch.declare("end");
    ch.bind("end", "out", "#");
    ch.bind_exchange("out", "d", "k");
    publish(ch, 100, "a");
    assert_eq!(world.counts("end"), "0/0");
    world.pass_ms(100);
    let messages = ch.drain("end");
    assert_eq!((bodies(&messages), &*messages[0].exchange), (vec!["a"], "d"));
}

#[test]
fn what_reaches_it_through_another_exchange_is_held_too() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    bound(ch);
    ch.exchange("in", "fanout");
    ch.declare("at once");
    ch.bind("at once", "in", "");
    ch.bind_exchange("d", "in", "");
    ch.publish_headers("in", "k", &[("x-delay", Value::I32(100))], "a");
    assert_eq!((world.counts("at once"), world.counts("q")), ("1/0".into(), "0/0".into()));
    world.pass_ms(100);
    let messages = ch.drain("q");
    assert_eq!((bodies(&messages), &*messages[0].exchange), (vec!["a"], "in"));
    assert_eq!(messages[0].header("x-delay"), Some(Value::I32(-100)));
    let direct = ch.drain("at once");
    assert_eq!(direct[0].header("x-delay"), Some(Value::I32(100)), "what is not held is as it was");
}

#[test]
fn it_may_be_the_alternate_exchange_of_another() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    bound(ch);
    ch.exchange_with("in", "direct", &[("alternate-exchange", text("d"))]);
    ch.publish_headers("in", "k", &[("x-delay", Value::I32(100))], "a");
    assert_eq!(world.counts("q"), "0/0");
    world.pass_ms(100);
    assert_eq!(ch.drain_bodies("q"), ["a"]);
}

#[test]
fn its_own_alternate_exchange_gets_what_finds_no_queue_when_the_time_is_up() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.exchange("rest", "fanout");
    ch.declare("rest");
    ch.bind("rest", "rest", "");
    let arguments = [("x-delayed-type", text("direct")), ("alternate-exchange", text("rest"))];
    ch.exchange_with("d", TYPE, &arguments);
    publish(ch, 100, "a");
    assert_eq!(world.counts("rest"), "0/0");
    world.pass_ms(100);
    assert_eq!(ch.drain_bodies("rest"), ["a"]);
}

#[test]
fn in_a_transaction_a_delay_begins_with_the_commit() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    bound(ch);
    ch.call(tx::Select {});
    publish(ch, 100, "forgotten");
    assert_eq!(ch.call(tx::Rollback {}), "tx.rollback-ok");
    publish(ch, 100, "kept");
    world.pass_ms(100);
    assert_eq!(world.counts("q"), "0/0");
    assert_eq!(ch.call(tx::Commit {}), "tx.commit-ok");
    world.pass_ms(99);
    assert_eq!(world.counts("q"), "0/0");
    world.pass_ms(1);
    assert_eq!(client.channel(2).drain_bodies("q"), ["kept"]);
}

#[test]
fn the_faults_of_a_publish_are_told_at_once() {
    let world = World::new();
    let client = world.client();
    bound(client.channel(100));
    let headers = table(&[("x-delay", Value::I32(100))]);
    let fields = PropertyFields { headers: Some(headers.as_table()), ..Default::default() };
    for (number, fields, text) in [
        (1, PropertyFields { expiration: Some(s("soon")), ..fields }, "invalid expiration 'soon'"),
        (2, PropertyFields { user_id: Some(s("other")), ..fields }, "user_id property"),
        (3, PropertyFields { delivery_mode: Some(7), ..fields }, "delivery_mode_unknown"),
    ] {
        let ch = client.channel(number);
        ch.publish_with("d", "k", fields, "a");
        let lines = ch.lines();
        assert!(lines[0].contains(text), "{lines:?}");
    }
    world.pass_ms(100);
    assert_eq!(world.counts("q"), "0/0");
}

#[test]
fn who_published_may_be_gone_when_the_time_is_up() {
    let world = World::new();
    let (client, other) = (world.client(), world.client());
    bound(client.channel(1));
    publish(client.closed_channel(1), 100, "a");
    let leaving = client.closed_channel(1);
    assert_eq!(leaving.call(channel::Close::default()), "channel.close-ok");
    client.vanish();
    world.pass_ms(100);
    assert_eq!(other.channel(1).drain_bodies("q"), ["a"]);
}

#[test]
fn many_that_are_due_together_all_go() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    bound(ch);
    for number in 0..2500 {
        publish(ch, 10, &number.to_string());
    }
    world.pass_ms(10);
    let bodies = ch.drain_bodies("q");
    assert_eq!(bodies.len(), 2500);
    assert!(bodies.iter().enumerate().all(|(number, body)| number.to_string() == *body));
}
