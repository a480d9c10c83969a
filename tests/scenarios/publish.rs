//! basic.publish: checks, properties, returns, copies.

use leveret_codec::method::{basic, exchange, queue, tx};
use leveret_codec::table::{ArrayBuilder, TableBuilder};
use leveret_codec::{PropertyFields, Value};

use crate::support::world::{Channel, Client, World, s, table, text};

fn precondition(text: &str) -> String {
    format!("channel.close 406 60,40 PRECONDITION_FAILED - {text}")
}

#[track_caller]
fn refused(fields: PropertyFields<'_>, text: &str) {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    ch.publish_with("", "q", fields, "x");
    assert_eq!(ch.lines(), [precondition(text)]);
    assert_eq!(world.counts("q"), "0/0");
}

fn expiration(value: &str) -> PropertyFields<'_> {
    PropertyFields { expiration: Some(s(value)), ..Default::default() }
}

#[test]
fn a_message_is_delivered_as_it_was_published() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    let inner = table(&[("nested", Value::I64(-1))]);
    let mut array = ArrayBuilder::default();
    array.push(&Value::Void).push(&text("x"));
    // Neither sorted nor unique, and kept that way.
    let mut headers = TableBuilder::default();
    headers
        .push(b"z", &Value::Bool(true))
        .push(b"a", &Value::Table(inner.as_table()))
        .push(b"a", &Value::Array(array.as_array()))
        .push(b"d", &Value::Decimal { scale: 2, value: 1234 })
        .push(b"t", &Value::Timestamp(1_700_000_000))
        .push(b"f", &Value::F32(0.5))
        .push(b"x", &Value::Bytes(b"\x00\xff"));
    let headers = headers.finish();
    let fields = PropertyFields {
        content_type: Some(s("text/plain")),
        content_encoding: Some(s("gzip")),
        headers: Some(headers.as_table()),
        delivery_mode: Some(1),
        priority: Some(255),
        correlation_id: Some(s("corr")),
        reply_to: Some(s("answers")),
        expiration: Some(s("60000")),
        message_id: Some(s("id")),
        timestamp: Some(u64::MAX),
        kind: Some(s("type")),
        user_id: Some(s("guest")),
        app_id: Some(s("app")),
        cluster_id: Some(s("cluster")),
    };
    ch.publish_with("", "q", fields, "body");
    let messages = ch.drain("q");
    let mut sent = Vec::new();
    fields.encode(&mut sent);
    assert_eq!(messages[0].property_octets(), sent);
    assert_eq!(messages[0].body, "body");
}

#[test]
fn an_absent_delivery_mode_stays_absent_and_a_body_may_be_empty() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    ch.publish("q", "");
    let messages = ch.drain("q");
    assert_eq!(messages[0].fields(), PropertyFields::default());
    assert_eq!(messages[0].body, "");
}

#[test]
fn a_missing_exchange_closes_the_channel() {
    let world = World::new();
    let client = world.client();
    for (number, name) in [(1, "none"), (2, "amq.default")] {
        let ch = client.channel(number);
        ch.publish_to(name, "k", "x");
        assert_eq!(
            ch.lines(),
            [format!("channel.close 404 60,40 NOT_FOUND - no exchange '{name}' in vhost '/'")]
        );
    }
}

#[test]
fn immediate_is_not_implemented_and_looked_at_first() {
    let world = World::new();
    let client = world.client();
    let publish = basic::Publish { exchange: s("none"), immediate: true, ..Default::default() };
    client.channel(1).publish_method(publish, Default::default(), b"x");
    assert_eq!(client.lines(), ["connection.close 540 60,40 NOT_IMPLEMENTED - immediate=true"]);
}

#[test]
fn a_mandatory_message_without_a_queue_comes_back_whole() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    let fields = PropertyFields {
        message_id: Some(s("7")),
        correlation_id: Some(s("c")),
        ..Default::default()
    };
    let publish = basic::Publish {
        exchange: s("amq.direct"),
        routing_key: s("nowhere"),
        mandatory: true,
        ..Default::default()
    };
    ch.publish_method(publish, fields, b"body");
    let returned = ch.messages();
    assert_eq!(returned.len(), 1);
    assert_eq!(returned[0].exchange, "amq.direct");
    assert_eq!(returned[0].routing_key, "nowhere");
    assert_eq!(returned[0].body, "body");
    assert_eq!(returned[0].fields(), fields);
    ch.publish_mandatory("", "nowhere", "again");
    assert_eq!(ch.lines(), ["basic.return 312 NO_ROUTE again"]);
}

#[test]
fn a_message_without_a_queue_is_dropped_silently_unless_mandatory() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.publish("nowhere", "x");
    assert!(ch.lines().is_empty());
    ch.declare("q");
    ch.publish_mandatory("", "q", "routed");
    assert!(ch.lines().is_empty());
}

#[test]
fn user_id_must_be_the_users_own() {
    let user = |name| PropertyFields { user_id: Some(s(name)), ..Default::default() };
    refused(user("other"), "user_id property set to 'other' but authenticated user was 'guest'");
    refused(user(""), "user_id property set to '' but authenticated user was 'guest'");
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    ch.publish_with("", "q", user("guest"), "x");
    assert_eq!(world.counts("q"), "1/0");
}

#[test]
fn an_impersonator_publishes_in_the_name_of_others() {
    let world = World::new();
    let postman = world.client_of("postman");
    let ch = postman.channel(1);
    ch.declare("q");
    let from = |name| PropertyFields { user_id: Some(s(name)), ..Default::default() };
    ch.publish_with("", "q", from("guest"), "a");
    ch.publish_with("", "q", from("postman"), "b");
    let messages = ch.drain("q");
    assert_eq!(messages[0].fields().user_id, Some(s("guest")));
    assert_eq!(messages[1].fields().user_id, Some(s("postman")));
    // Another tag does not do.
    let ann = world.client_of("ann");
    let ch = ann.channel(1);
    ch.publish_with("", "q", from("guest"), "a");
    assert_eq!(
        ch.lines(),
        ["channel.close 406 60,40 PRECONDITION_FAILED - user_id property set to 'guest' but \
          authenticated user was 'ann'"]
    );
}

#[test]
fn an_expiration_must_be_a_number_of_milliseconds() {
    refused(expiration("abc"), "invalid expiration 'abc': no_integer");
    refused(expiration(""), "invalid expiration '': no_integer");
    refused(expiration(" 5"), "invalid expiration ' 5': no_integer");
    refused(expiration("1.5"), "invalid expiration '1.5': {leftover_string,\".5\"}");
    refused(expiration("5x"), "invalid expiration '5x': {leftover_string,\"x\"}");
    refused(expiration("-1"), "invalid expiration '-1': {value_negative,-1}");
    refused(
        expiration("315360000001"),
        "invalid expiration '315360000001': {value_too_large,315360000001}",
    );
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    for value in ["1", "+5", "007", "315360000000"] {
        ch.publish_with("", "q", expiration(value), value);
    }
    assert_eq!(ch.drain_bodies("q"), ["1", "+5", "007", "315360000000"]);
}

#[test]
fn a_delivery_mode_is_1_or_2() {
    let mode = |mode| PropertyFields { delivery_mode: Some(mode), ..Default::default() };
    refused(mode(0), "invalid message: {delivery_mode_unknown,0}");
    refused(mode(3), "invalid message: {delivery_mode_unknown,3}");
}

#[test]
fn checks_come_in_order() {
    let world = World::new();
    let client = world.client();
    let wrong = PropertyFields {
        user_id: Some(s("other")),
        expiration: Some(s("abc")),
        delivery_mode: Some(9),
        ..Default::default()
    };
    let first = client.channel(1);
    first.publish_with("none", "k", wrong, "x");
    assert!(first.lines()[0].contains("no exchange 'none'"));
    let second = client.channel(2);
    second.call(exchange::Declare {
        exchange: s("inner"),
        kind: s("fanout"),
        internal: true,
        ..Default::default()
    });
    second.publish_with("inner", "k", wrong, "x");
    assert!(second.lines()[0].contains("cannot publish to internal"));
    let third = client.channel(3);
    third.publish_with("", "k", wrong, "x");
    assert!(third.lines()[0].contains("user_id property"));
    let fourth = client.channel(4);
    fourth.publish_with("", "k", PropertyFields { user_id: None, ..wrong }, "x");
    assert!(fourth.lines()[0].contains("invalid expiration"));
    let cc = table(&[("CC", text("not an array"))]);
    let fifth = client.channel(5);
    let fields = PropertyFields {
        headers: Some(cc.as_table()),
        delivery_mode: Some(9),
        ..Default::default()
    };
    fifth.publish_with("", "k", fields, "x");
    assert_eq!(
        fifth.lines(),
        [precondition("invalid message: {unacceptable_type_in_header,\"CC\",longstr}")]
    );
}

#[test]
fn cc_and_bcc_are_further_keys_and_bcc_is_nobodys_business() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    for name in ["a", "b", "c", "d"] {
        ch.declare(name);
    }
    let keys = |names: &[&'static str]| {
        let mut keys = ArrayBuilder::default();
        for name in names {
            keys.push(&text(name));
        }
        // What is no text is ignored.
        keys.push(&Value::I32(1));
        keys
    };
    let (cc, bcc) = (keys(&["b", "a"]), keys(&["c"]));
    let headers = [
        ("CC", Value::Array(cc.as_array())),
        ("kept", Value::Bool(true)),
        ("BCC", Value::Array(bcc.as_array())),
    ];
    ch.publish_headers("", "a", &headers, "x");
    assert_eq!(["a", "b", "c", "d"].map(|name| world.counts(name)), ["1/0", "1/0", "1/0", "0/0"]);
    for name in ["a", "b", "c"] {
        let messages = ch.drain(name);
        assert_eq!(messages[0].routing_key, "a", "the original key");
        assert!(messages[0].header("CC").is_some());
        assert!(messages[0].header("BCC").is_none());
        assert_eq!(messages[0].header("kept"), Some(Value::Bool(true)));
    }
}

#[test]
fn a_copy_that_routes_satisfies_mandatory() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    let mut keys = ArrayBuilder::default();
    keys.push(&text("q"));
    let headers = table(&[("BCC", Value::Array(keys.as_array()))]);
    let fields = PropertyFields { headers: Some(headers.as_table()), ..Default::default() };
    let publish =
        basic::Publish { routing_key: s("nowhere"), mandatory: true, ..Default::default() };
    ch.publish_method(publish, fields, b"x");
    assert!(ch.lines().is_empty());
    assert_eq!(world.counts("q"), "1/0");
}

/// Several publishes that are alike, in one batch, with something between them.
#[track_caller]
fn between_two_alike(deed: impl FnOnce(&World, &Client, &Channel<'_>), second: &[&str]) {
    let world = World::new();
    let (owner, client) = (world.client(), world.client());
    let exclusive = queue::Declare { queue: s("q"), exclusive: true, ..Default::default() };
    let of_owner = owner.channel(1);
    of_owner.call(exclusive);
    let ch = client.channel(1);
    ch.confirm_select();
    world.batch(|| {
        ch.publish_mandatory("", "q", "a");
        ch.publish_mandatory("", "q", "b");
        assert_eq!(world.counts("q"), "2/0");
        deed(&world, &owner, &of_owner);
        ch.publish_mandatory("", "q", "c");
    });
    let lines = ch.lines();
    assert_eq!(lines, second);
}

#[test]
fn publishes_that_are_alike_are_taken_one_by_one() {
    between_two_alike(|_, _, _| (), &["basic.ack 3 (multiple)"]);
}

#[test]
fn a_queue_that_goes_between_two_publishes_is_missed() {
    let returned = ["basic.return 312 NO_ROUTE c", "basic.ack 3 (multiple)"];
    between_two_alike(|_, owner, _| owner.vanish(), &returned);
    let delete = queue::Delete { queue: s("q"), nowait: true, ..Default::default() };
    between_two_alike(|_, _, channel| channel.send(delete), &returned);
}

#[test]
fn a_right_that_goes_between_two_publishes_is_missed() {
    let refused = "channel.close 403 60,40 ACCESS_REFUSED - access to exchange 'amq.default' in vhost '/' \
                   refused for user 'guest'";
    between_two_alike(|world, _, _| world.permit("", "", ""), &["basic.ack 2 (multiple)", refused]);
}

#[test]
fn publishes_of_two_channels_and_to_two_queues_do_not_mix() {
    let world = World::new();
    let client = world.client();
    let (first, second) = (client.channel(1), client.channel(2));
    first.declare("p");
    first.declare("q");
    second.call(tx::Select {});
    world.batch(|| {
        first.publish("p", "a");
        first.publish("q", "b");
        first.publish("q", "c");
        second.publish("q", "held");
        first.publish_with("", "q", expiration("0"), "gone");
        first.publish_persistent("q", "d");
    });
    assert_eq!(first.drain_bodies("p"), ["a"]);
    assert_eq!(first.drain_bodies("q"), ["b", "c", "d"]);
}
