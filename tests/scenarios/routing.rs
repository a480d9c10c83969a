//! Which queues a message goes to, by exchange type.

use leveret_codec::Value;
use leveret_codec::table::ArrayBuilder;

use crate::support::world::{World, text};

/// Publishes with each key to an exchange that the queue is bound to by `pattern`; which arrive?
fn arrivals(kind: &str, pattern: &str, keys: &[&str]) -> Vec<String> {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    ch.exchange("x", kind);
    ch.bind_with("q", "x", pattern, &[]);
    for key in keys {
        ch.publish_to("x", key, key);
    }
    ch.drain_bodies("q")
}

#[test]
fn the_default_exchange_routes_by_queue_name() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    ch.publish("q", "here");
    ch.publish("other", "dropped");
    // An empty key is no name, and does not mean the queue declared last.
    ch.publish("", "dropped");
    let messages = ch.drain("q");
    assert_eq!(messages.len(), 1);
    assert_eq!((&*messages[0].exchange, &*messages[0].routing_key), ("", "q"));
}

#[test]
fn direct_compares_keys_octet_by_octet() {
    let keys = ["a.b", "a.B", "a.b.", "", "a.*", "#"];
    assert_eq!(arrivals("direct", "a.b", &keys), ["a.b"]);
    assert_eq!(arrivals("direct", "a.*", &keys), ["a.*"]);
    assert_eq!(arrivals("direct", "", &keys), [""]);
}

#[test]
fn fanout_ignores_keys() {
    assert_eq!(arrivals("fanout", "a", &["a", "b", ""]), ["a", "b", ""]);
}

#[test]
fn topic_star_is_one_word() {
    assert_eq!(arrivals("topic", "a.*", &["a", "a.b", "a.", "a.b.c", "b.a"]), ["a.b", "a."]);
    assert_eq!(arrivals("topic", "*", &["a", "", "a.b"]), ["a"]);
    assert_eq!(arrivals("topic", "*.*", &[".", "a.b", "a", "a.b.c"]), [".", "a.b"]);
    assert_eq!(arrivals("topic", "a.*.*", &["a..b", "a.b", "a.b.c"]), ["a..b", "a.b.c"]);
}

#[test]
fn topic_hash_is_any_number_of_words() {
    assert_eq!(arrivals("topic", "#", &["", "a", "a.b", "."]), ["", "a", "a.b", "."]);
    assert_eq!(arrivals("topic", "a.#", &["a", "a.b", "a.b.c", "b", "ab"]), ["a", "a.b", "a.b.c"]);
    assert_eq!(arrivals("topic", "#.b", &["b", "a.b", "a.b.b", "b.a"]), ["b", "a.b", "a.b.b"]);
    assert_eq!(arrivals("topic", "a.#.#", &["a", "a.b.c", "b"]), ["a", "a.b.c"]);
    assert_eq!(arrivals("topic", "*.#", &["", "a", "a.b"]), ["a", "a.b"]);
    assert_eq!(
        arrivals("topic", "a.#.c", &["a.c", "a.b.c", "a.b.b.c", "a.b"]),
        ["a.c", "a.b.c", "a.b.b.c"]
    );
}

#[test]
fn topic_without_wildcards_compares_words() {
    assert_eq!(arrivals("topic", "", &["", "a"]), [""]);
    assert_eq!(arrivals("topic", "a.b", &["a.b", "a.b.c", "a"]), ["a.b"]);
    // Wildcards are whole words.
    assert_eq!(arrivals("topic", "a*.b", &["ax.b", "a*.b"]), ["a*.b"]);
}

#[test]
fn a_queue_bound_often_gets_one_copy() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    ch.exchange("x", "topic");
    for pattern in ["a.*", "a.#", "#", "a.b"] {
        ch.bind("q", "x", pattern);
    }
    ch.publish_to("x", "a.b", "once");
    assert_eq!(ch.drain_bodies("q"), ["once"]);
}

#[test]
fn every_bound_queue_gets_a_copy() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.exchange("x", "direct");
    for name in ["p", "q", "r"] {
        ch.declare(name);
        ch.bind(name, "x", if name == "r" { "other" } else { "k" });
    }
    ch.publish_to("x", "k", "copy");
    assert_eq!(["p", "q", "r"].map(|name| ch.drain_bodies(name).len()), [1, 1, 0]);
}

/// Whether a message with these headers matches a binding with these arguments.
fn matches(binding: &[(&str, Value<'_>)], headers: &[(&str, Value<'_>)]) -> bool {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    ch.exchange("x", "headers");
    ch.bind_with("q", "x", "", binding);
    ch.publish_headers("x", "any key", headers, "x");
    world.counts("q") == "1/0"
}

#[test]
fn headers_all_wants_every_argument() {
    let binding = [("a", text("1")), ("b", text("2"))];
    assert!(matches(&binding, &[("a", text("1")), ("b", text("2")), ("c", text("3"))]));
    assert!(!matches(&binding, &[("a", text("1"))]));
    assert!(!matches(&binding, &[("a", text("1")), ("b", text("3"))]));
    let all = [("x-match", text("all")), ("a", text("1"))];
    assert!(matches(&all, &[("a", text("1"))]));
    assert!(!matches(&all, &[]));
}

#[test]
fn headers_any_wants_one_argument() {
    let binding = [("x-match", text("any")), ("a", text("1")), ("b", text("2"))];
    assert!(matches(&binding, &[("b", text("2"))]));
    assert!(!matches(&binding, &[("b", text("1")), ("a", text("2"))]));
    assert!(!matches(&binding, &[]));
}

#[test]
fn headers_without_arguments_match_all_or_nothing() {
    assert!(matches(&[], &[]));
    assert!(matches(&[], &[("a", text("1"))]));
    assert!(matches(&[("x-match", text("all"))], &[]));
    assert!(!matches(&[("x-match", text("any"))], &[("a", text("1"))]));
}

#[test]
fn headers_arguments_that_begin_with_x_count_only_where_asked() {
    let with_x = |how| [("x-match", text(how)), ("x-a", text("1"))];
    assert!(matches(&with_x("all"), &[]));
    assert!(!matches(&with_x("all-with-x"), &[]));
    assert!(matches(&with_x("all-with-x"), &[("x-a", text("1"))]));
    assert!(!matches(&with_x("any"), &[("x-a", text("1"))]));
    assert!(matches(&with_x("any-with-x"), &[("x-a", text("1"))]));
}

#[test]
fn headers_are_compared_by_value() {
    let one = |value| [("a", value)];
    assert!(matches(&one(Value::I32(1)), &one(Value::I64(1))));
    assert!(matches(&one(Value::I32(1)), &one(Value::F64(1.0))));
    assert!(!matches(&one(Value::I32(1)), &one(text("1"))));
    assert!(!matches(&one(Value::Bool(true)), &one(Value::I32(1))));
    let array = |values: &[Value<'_>]| {
        let mut array = ArrayBuilder::default();
        for value in values {
            array.push(value);
        }
        array
    };
    let (a, b) = (array(&[Value::I32(1), text("x")]), array(&[Value::I32(1), text("x")]));
    let c = array(&[Value::I32(1)]);
    assert!(matches(&one(Value::Array(a.as_array())), &one(Value::Array(b.as_array()))));
    assert!(!matches(&one(Value::Array(a.as_array())), &one(Value::Array(c.as_array()))));
}

#[test]
fn headers_a_void_argument_asks_for_presence() {
    let binding = [("a", Value::Void)];
    assert!(matches(&binding, &[("a", text("whatever"))]));
    assert!(matches(&binding, &[("a", Value::I32(7))]));
    assert!(!matches(&binding, &[("b", text("whatever"))]));
}

#[test]
fn headers_x_match_must_be_a_known_word() {
    let world = World::new();
    let client = world.client();
    let (ch, other) = (client.channel(1), client.channel(2));
    ch.declare("q");
    ch.exchange("x", "headers");
    assert_eq!(
        ch.try_bind("q", "x", "", &[("x-match", text("most"))]),
        "channel.close 406 50,20 PRECONDITION_FAILED - Invalid x-match field value <<\"most\">>; \
         expected all, any, all-with-x, or any-with-x"
    );
    assert_eq!(
        other.try_bind("q", "x", "", &[("x-match", Value::I32(5))]),
        "channel.close 406 50,20 PRECONDITION_FAILED - Invalid x-match field type signedint \
         (value 5); expected longstr"
    );
}
