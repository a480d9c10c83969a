//! Exchanges: declaring, deleting, alternate exchanges, exchanges bound to exchanges.

use leveret_codec::Value;
use leveret_codec::method::exchange;

use crate::support::world::{Channel, World, s, table, text};

fn declare(name: &'static str, kind: &'static str) -> exchange::Declare<'static> {
    exchange::Declare { exchange: s(name), kind: s(kind), ..Default::default() }
}

fn passive(name: &str) -> exchange::Declare<'_> {
    exchange::Declare { exchange: s(name), passive: true, ..Default::default() }
}

fn delete(name: &str) -> exchange::Delete<'_> {
    exchange::Delete { exchange: s(name), ..Default::default() }
}

fn refused_default(ids: &str) -> String {
    let text = "ACCESS_REFUSED - operation not permitted on the default exchange";
    format!("channel.close 403 {ids} {text}")
}

/// The exchange x, declared on a channel; the answer to a second declaration.
#[track_caller]
fn differs(first: exchange::Declare<'_>, second: exchange::Declare<'_>, close: &str) {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    assert_eq!(ch.call(first), "exchange.declare-ok");
    let expected =
        format!("channel.close 406 40,10 PRECONDITION_FAILED - inequivalent arg {close}");
    assert_eq!(ch.call(second), expected);
}

#[test]
fn the_predeclared_exchanges_are_there_and_durable() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    for (name, kind) in [
        ("amq.direct", "direct"),
        ("amq.fanout", "fanout"),
        ("amq.topic", "topic"),
        ("amq.headers", "headers"),
        ("amq.match", "headers"),
    ] {
        let declare = exchange::Declare { durable: true, ..declare(name, kind) };
        assert_eq!(ch.call(declare), "exchange.declare-ok", "{name}");
    }
    let trace = exchange::Declare {
        durable: true,
        internal: true,
        ..declare("amq.rabbitmq.trace", "topic")
    };
    assert_eq!(ch.call(trace), "exchange.declare-ok");
}

#[test]
fn a_declaration_can_be_repeated() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.exchange("x", "direct");
    ch.exchange("x", "direct");
    assert_eq!(ch.call(exchange::Declare { nowait: true, ..declare("y", "direct") }), "");
    assert!(ch.has_exchange("y"));
}

#[test]
fn a_passive_declaration_asks_for_existence_alone() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.exchange("x", "direct");
    let other = exchange::Declare { kind: s("no such type"), durable: true, ..passive("x") };
    assert_eq!(ch.call(other), "exchange.declare-ok");
    assert_eq!(
        ch.call(passive("none")),
        "channel.close 404 40,10 NOT_FOUND - no exchange 'none' in vhost '/'"
    );
}

#[test]
fn an_exchange_cannot_be_declared_differently() {
    let base = || declare("x", "direct");
    differs(
        base(),
        exchange::Declare { durable: true, ..declare("x", "topic") },
        "'type' for exchange 'x' in vhost '/': received 'topic' but current is 'direct'",
    );
    differs(
        base(),
        exchange::Declare { durable: true, auto_delete: true, ..base() },
        "'durable' for exchange 'x' in vhost '/': received 'true' but current is 'false'",
    );
    differs(
        base(),
        exchange::Declare { auto_delete: true, internal: true, ..base() },
        "'auto_delete' for exchange 'x' in vhost '/': received 'true' but current is 'false'",
    );
    differs(
        base(),
        exchange::Declare { internal: true, ..base() },
        "'internal' for exchange 'x' in vhost '/': received 'true' but current is 'false'",
    );
    let alternate = table(&[("alternate-exchange", text("a"))]);
    let other = table(&[("alternate-exchange", text("b"))]);
    differs(
        exchange::Declare { arguments: alternate.as_table(), ..base() },
        base(),
        "'alternate-exchange' for exchange 'x' in vhost '/': received none but current is the \
         value 'a' of type 'longstr'",
    );
    differs(
        exchange::Declare { arguments: alternate.as_table(), ..base() },
        exchange::Declare { arguments: other.as_table(), ..base() },
        "'alternate-exchange' for exchange 'x' in vhost '/': received 'b' but current is 'a'",
    );
}

#[test]
fn other_arguments_are_never_compared() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.exchange_with("x", "direct", &[("foo", text("a"))]);
    ch.exchange_with("x", "direct", &[("foo", text("b"))]);
}

#[test]
fn an_unknown_type_costs_the_connection_before_the_name_is_looked_at() {
    let world = World::new();
    for (name, kind, how) in [
        ("x", "hares", "unknown"),
        ("amq.new", "hares", "unknown"),
        ("x", "Topic!", "unknown"),
        ("x", "", "invalid"),
    ] {
        let client = world.client();
        client.channel(1).send(declare(name, kind));
        assert_eq!(
            client.lines(),
            [format!("connection.close 503 40,10 COMMAND_INVALID - {how} exchange type '{kind}'")]
        );
    }
}

#[test]
fn an_alternate_exchange_must_be_a_text() {
    let world = World::new();
    let client = world.client();
    let arguments = table(&[("alternate-exchange", Value::I32(1))]);
    let declare = exchange::Declare { arguments: arguments.as_table(), ..declare("x", "direct") };
    assert_eq!(
        client.channel(1).call(declare),
        "channel.close 406 40,10 PRECONDITION_FAILED - invalid type 'signedint' for arg \
         'alternate-exchange' in exchange 'x' in vhost '/'"
    );
}

#[test]
fn names_that_begin_with_amq_are_reserved() {
    let world = World::new();
    let client = world.client();
    assert_eq!(
        client.channel(1).call(declare("amq.new", "direct")),
        "channel.close 403 40,10 ACCESS_REFUSED - exchange name 'amq.new' contains reserved \
         prefix 'amq.*'"
    );
    for name in ["amq.direct", "amq.none"] {
        let client = world.client();
        assert_eq!(
            client.channel(1).call(delete(name)),
            format!(
                "channel.close 403 40,20 ACCESS_REFUSED - deletion of system exchange '{name}' in \
                 vhost '/' not allowed"
            )
        );
    }
}

#[test]
fn the_default_exchange_is_not_to_be_touched() {
    let world = World::new();
    let client = world.client();
    let refused = |number: u16, send: &dyn Fn(Channel<'_>) -> String, ids: &str| {
        assert_eq!(send(client.channel(number)), refused_default(ids));
    };
    refused(1, &|ch| ch.call(declare("", "direct")), "40,10");
    refused(2, &|ch| ch.call(passive("")), "40,10");
    refused(3, &|ch| ch.call(delete("")), "40,20");
    refused(
        4,
        &|ch| ch.call(exchange::Bind { source: s("amq.direct"), ..Default::default() }),
        "40,30",
    );
    refused(
        5,
        &|ch| ch.call(exchange::Unbind { destination: s("amq.direct"), ..Default::default() }),
        "40,40",
    );
    client.channel(10).declare("q");
    refused(6, &|ch| ch.try_bind("q", "", "k", &[]), "50,20");
    refused(
        7,
        &|ch| ch.call(leveret_codec::method::queue::Unbind { queue: s("q"), ..Default::default() }),
        "50,50",
    );
}

#[test]
fn line_ends_are_taken_out_of_names() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.exchange("a\r\nb", "direct");
    assert!(ch.has_exchange("ab"));
    ch.declare("q\n");
    ch.bind("q\r", "ab\n", "k");
    assert_eq!(ch.call(delete("a\nb")), "exchange.delete-ok");
    assert!(!ch.has_exchange("ab"));
}

#[test]
fn deleting_what_is_not_there_is_no_fault() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    assert_eq!(ch.call(delete("none")), "exchange.delete-ok");
    assert_eq!(ch.call(exchange::Delete { nowait: true, ..delete("none") }), "");
}

#[test]
fn if_unused_spares_an_exchange_that_routes() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.exchange("source", "fanout");
    ch.exchange("destination", "fanout");
    ch.bind_exchange("destination", "source", "");
    let unused = |name| exchange::Delete { if_unused: true, ..delete(name) };
    // To be a destination is no use.
    assert_eq!(ch.call(unused("destination")), "exchange.delete-ok");
    ch.exchange("destination", "fanout");
    ch.bind_exchange("destination", "source", "");
    assert_eq!(
        ch.call(unused("source")),
        "channel.close 406 40,20 PRECONDITION_FAILED - exchange 'source' in vhost '/' in use"
    );
    assert!(client.channel(2).has_exchange("source"));
}

#[test]
fn a_deleted_exchange_takes_its_bindings_along() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    ch.exchange("x", "fanout");
    ch.bind("q", "x", "");
    assert_eq!(ch.call(delete("x")), "exchange.delete-ok");
    ch.exchange("x", "fanout");
    ch.publish_to("x", "", "lost");
    assert_eq!(world.counts("q"), "0/0");
}

#[test]
fn an_auto_delete_exchange_goes_with_its_last_binding() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    let auto_delete = || exchange::Declare { auto_delete: true, ..declare("x", "fanout") };
    let unbind = |queue: &'static str| leveret_codec::method::queue::Unbind {
        queue: s(queue),
        exchange: s("x"),
        ..Default::default()
    };
    ch.declare("p");
    ch.declare("q");
    assert_eq!(ch.call(auto_delete()), "exchange.declare-ok");
    assert!(ch.has_exchange("x"), "it had no binding yet");
    ch.bind("p", "x", "");
    ch.bind("q", "x", "");
    assert_eq!(ch.call(unbind("p")), "queue.unbind-ok");
    assert!(ch.has_exchange("x"));
    assert_eq!(ch.call(unbind("q")), "queue.unbind-ok");
    assert!(!ch.has_exchange("x"));

    assert_eq!(ch.call(auto_delete()), "exchange.declare-ok");
    ch.bind("q", "x", "");
    ch.call(leveret_codec::method::queue::Delete { queue: s("q"), ..Default::default() });
    assert!(!ch.has_exchange("x"), "with the queue");
}

#[test]
fn a_long_chain_of_auto_delete_exchanges_goes_without_recursion() {
    const LENGTH: usize = 20_000;
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    let mut before = String::new();
    // why one batch: at the end of each all there is is counted anew.
    world.batch(|| {
        for number in 0..LENGTH {
            let name = format!("x{number}");
            ch.send(exchange::Declare {
                exchange: s(&name),
                kind: s("fanout"),
                auto_delete: true,
                nowait: true,
                ..Default::default()
            });
            if !before.is_empty() {
                ch.send(exchange::Bind {
                    destination: s(&name),
                    source: s(&before),
                    nowait: true,
                    ..Default::default()
                });
            }
            before = name;
        }
    });
    assert_eq!(ch.lines(), [""; 0]);
    assert!(ch.has_exchange("x0"));
    ch.bind("q", &before, "");
    ch.call(leveret_codec::method::queue::Delete { queue: s("q"), ..Default::default() });
    assert!(!ch.has_exchange("x0"));
    assert!(!ch.has_exchange(&before));
}

#[test]
fn auto_delete_goes_up_a_chain_of_sources_and_not_down() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    for name in ["a", "b", "c"] {
        let declare =
            exchange::Declare { auto_delete: true, exchange: s(name), ..declare("", "fanout") };
        assert_eq!(ch.call(declare), "exchange.declare-ok");
    }
    ch.bind_exchange("b", "a", "");
    ch.bind_exchange("c", "b", "");
    assert_eq!(ch.call(delete("c")), "exchange.delete-ok");
    assert!(!ch.has_exchange("b"));
    assert!(!ch.has_exchange("a"));

    ch.exchange("source", "fanout");
    assert_eq!(
        ch.call(exchange::Declare { auto_delete: true, ..declare("d", "fanout") }),
        "exchange.declare-ok"
    );
    ch.bind_exchange("d", "source", "");
    assert_eq!(ch.call(delete("source")), "exchange.delete-ok");
    assert!(ch.has_exchange("d"), "a destination outlives its source");
}

#[test]
fn clients_may_not_publish_to_an_internal_exchange() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    let internal = exchange::Declare { internal: true, ..declare("inner", "fanout") };
    assert_eq!(ch.call(internal), "exchange.declare-ok");
    ch.exchange("outer", "fanout");
    ch.bind_exchange("inner", "outer", "");
    ch.bind("q", "inner", "");
    ch.publish_to("outer", "k", "through");
    assert_eq!(ch.drain_bodies("q"), ["through"]);
    ch.publish_to("inner", "k", "refused");
    assert_eq!(
        ch.lines(),
        [
            "channel.close 403 60,40 ACCESS_REFUSED - cannot publish to internal exchange 'inner' in \
          vhost '/'"
        ]
    );
}

#[test]
fn an_alternate_exchange_gets_what_found_no_queue_unchanged() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("bound");
    ch.declare("rest");
    ch.exchange("other", "fanout");
    ch.exchange_with("x", "direct", &[("alternate-exchange", text("other"))]);
    ch.bind("bound", "x", "known");
    ch.bind("rest", "other", "");
    ch.publish_to("x", "known", "a");
    ch.publish_mandatory("x", "unknown", "b");
    assert!(ch.lines().is_empty(), "the alternate exchange routes");
    assert_eq!(ch.drain_bodies("bound"), ["a"]);
    let rest = ch.drain("rest");
    assert_eq!(rest.len(), 1);
    assert_eq!((&*rest[0].exchange, &*rest[0].routing_key, &*rest[0].body), ("x", "unknown", "b"));
}

#[test]
fn alternate_exchanges_chain_and_circles_end() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    ch.exchange_with("a", "direct", &[("alternate-exchange", text("b"))]);
    ch.exchange_with("b", "direct", &[("alternate-exchange", text("c"))]);
    ch.exchange_with("c", "direct", &[("alternate-exchange", text("a"))]);
    ch.bind("q", "c", "k");
    ch.publish_to("a", "k", "found");
    assert_eq!(ch.drain_bodies("q"), ["found"]);
    ch.publish_mandatory("a", "nowhere", "round");
    assert_eq!(ch.lines(), ["basic.return 312 NO_ROUTE round"]);
}

#[test]
fn a_missing_alternate_exchange_is_no_route() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.exchange_with("x", "direct", &[("alternate-exchange", text("none"))]);
    ch.publish_mandatory("x", "k", "back");
    assert_eq!(ch.lines(), ["basic.return 312 NO_ROUTE back"]);
}

#[test]
fn exchanges_route_through_exchanges_once_to_each_queue() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    for name in ["a", "b", "c"] {
        ch.exchange(name, "fanout");
    }
    // Two ways lead to the queue, and one back.
    ch.bind_exchange("b", "a", "");
    ch.bind_exchange("c", "a", "");
    ch.bind_exchange("a", "c", "");
    ch.bind("q", "b", "");
    ch.bind("q", "c", "");
    ch.publish_to("a", "key", "once");
    let messages = ch.drain("q");
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].exchange, "a");
    assert_eq!(messages[0].routing_key, "key");
}

#[test]
fn each_exchange_on_the_way_applies_its_own_rule() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    ch.exchange("topics", "topic");
    ch.exchange("keys", "direct");
    ch.bind_exchange("keys", "topics", "a.*");
    ch.bind("q", "keys", "a.b");
    for key in ["a.b", "a.c", "b.b"] {
        ch.publish_to("topics", key, key);
    }
    assert_eq!(ch.drain_bodies("q"), ["a.b"]);
}

#[test]
fn binding_exchanges_needs_both_and_unbinding_neither() {
    let world = World::new();
    let client = world.client();
    let (ch, other) = (client.channel(1), client.channel(2));
    ch.exchange("x", "fanout");
    let unbind = exchange::Unbind { destination: s("none"), source: s("x"), ..Default::default() };
    assert_eq!(ch.call(unbind), "exchange.unbind-ok");
    let no = "NOT_FOUND - no exchange 'none' in vhost '/'";
    let to_none = exchange::Bind { destination: s("none"), source: s("x"), ..Default::default() };
    assert_eq!(ch.call(to_none), format!("channel.close 404 40,30 {no}"));
    let from_none = exchange::Bind { destination: s("x"), source: s("none"), ..Default::default() };
    assert_eq!(other.call(from_none), format!("channel.close 404 40,30 {no}"));
}

#[test]
fn an_unbound_exchange_gets_no_more() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    ch.exchange("a", "fanout");
    ch.exchange("b", "fanout");
    ch.bind_exchange("b", "a", "k");
    ch.bind("q", "b", "");
    let unbind = |key: &'static str| exchange::Unbind {
        destination: s("b"),
        source: s("a"),
        routing_key: s(key),
        ..Default::default()
    };
    assert_eq!(ch.call(unbind("another key")), "exchange.unbind-ok");
    ch.publish_to("a", "", "one");
    assert_eq!(ch.call(unbind("k")), "exchange.unbind-ok");
    ch.publish_to("a", "", "two");
    assert_eq!(ch.drain_bodies("q"), ["one"]);
}

#[test]
fn an_alternate_exchange_gets_nothing_while_one_of_several_keys_finds_a_queue() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.exchange("rest", "fanout");
    ch.declare("rest");
    ch.bind("rest", "rest", "");
    ch.exchange_with("x", "direct", &[("alternate-exchange", text("rest"))]);
    ch.declare("q");
    ch.bind("q", "x", "known");
    for (key, copy) in [("known", "unknown"), ("unknown", "known"), ("unknown", "other")] {
        let mut keys = leveret_codec::table::ArrayBuilder::default();
        keys.push(&text(copy));
        ch.publish_headers("x", key, &[("CC", Value::Array(keys.as_array()))], key);
    }
    assert_eq!(ch.drain_bodies("q"), ["known", "unknown"]);
    assert_eq!(ch.drain_bodies("rest"), ["unknown"]);
}
