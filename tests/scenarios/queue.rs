//! Queues: names, declaring, exclusive and auto-delete ones, purging, deleting.

use leveret_codec::Value;
use leveret_codec::method::{basic, connection, queue};

use crate::support::world::{World, s, table, text};

fn declare(name: &str) -> queue::Declare<'_> {
    queue::Declare { queue: s(name), ..Default::default() }
}

fn passive(name: &str) -> queue::Declare<'_> {
    queue::Declare { passive: true, ..declare(name) }
}

fn delete(name: &str) -> queue::Delete<'_> {
    queue::Delete { queue: s(name), ..Default::default() }
}

fn purge(name: &str) -> queue::Purge<'_> {
    queue::Purge { queue: s(name), ..Default::default() }
}

fn locked(name: &str, ids: &str) -> String {
    format!(
        "channel.close 405 {ids} RESOURCE_LOCKED - cannot obtain exclusive access to locked queue \
         '{name}' in vhost '/'. It could be originally declared on another connection or the \
         exclusive property value does not match that of the original declaration."
    )
}

#[test]
fn a_declaration_counts_ready_messages_and_consumers() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    assert_eq!(ch.call(declare("q")), "queue.declare-ok q ready=0 consumers=0");
    for body in ["a", "b", "c"] {
        ch.publish("q", body);
    }
    ch.get("q");
    assert_eq!(ch.call(declare("q")), "queue.declare-ok q ready=2 consumers=0");
    ch.qos(1, false);
    ch.consume("q", "c");
    assert_eq!(ch.lines(), ["basic.deliver c 2 b"]);
    assert_eq!(ch.call(passive("q")), "queue.declare-ok q ready=1 consumers=1");
    assert_eq!(ch.call(queue::Declare { nowait: true, ..declare("q") }), "");
}

#[test]
fn an_empty_name_lets_the_broker_choose_one() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    let names: Vec<String> = (0..2)
        .map(|_| {
            let answer = ch.call(declare(""));
            let name = answer.split(' ').nth(1).expect("a name");
            assert_eq!(answer, format!("queue.declare-ok {name} ready=0 consumers=0"));
            assert_eq!(name.len(), "amq.gen-".len() + 22);
            assert!(name.starts_with("amq.gen-"));
            name.to_owned()
        })
        .collect();
    assert_ne!(names[0], names[1]);
    assert_eq!(
        ch.call(passive(&names[0])),
        format!("queue.declare-ok {} ready=0 consumers=0", names[0])
    );
}

#[test]
fn an_empty_name_means_the_queue_declared_last_on_the_channel() {
    let world = World::new();
    let client = world.client();
    let (ch, other) = (client.channel(1), client.channel(2));
    ch.declare("p");
    ch.declare("q");
    ch.publish("q", "a");
    assert_eq!(ch.call(purge("")), "queue.purge-ok 1");
    ch.call(passive("p"));
    ch.publish("p", "b");
    assert_eq!(ch.get(""), "basic.get-ok 1 b left=0");
    ch.consume("", "c");
    assert_eq!(world.queue("p").map(|queue| queue.consumers), Some(1));
    assert_eq!(ch.call(delete("")), "queue.delete-ok 0\nbasic.cancel c nowait=true");
    // It is still meant when it is gone.
    assert_eq!(ch.call(purge("")), "channel.close 404 50,30 NOT_FOUND - no queue 'p' in vhost '/'");
    assert_eq!(
        other.call(purge("")),
        "channel.close 404 50,30 NOT_FOUND - no previously declared queue"
    );
}

#[test]
fn a_passive_declaration_does_not_expand_an_empty_name() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    assert_eq!(
        ch.call(passive("")),
        "channel.close 404 50,10 NOT_FOUND - no queue '' in vhost '/'"
    );
}

#[test]
fn a_passive_declaration_asks_for_existence_alone() {
    let world = World::new();
    let client = world.client();
    let (ch, other) = (client.channel(1), client.channel(2));
    ch.declare("q");
    let arguments = table(&[("x-max-length", text("nonsense"))]);
    let different = queue::Declare {
        durable: true,
        auto_delete: true,
        arguments: arguments.as_table(),
        ..passive("q")
    };
    assert_eq!(ch.call(different), "queue.declare-ok q ready=0 consumers=0");
    assert_eq!(
        ch.call(passive("none")),
        "channel.close 404 50,10 NOT_FOUND - no queue 'none' in vhost '/'"
    );
    assert_eq!(
        other.call(passive("amq.none")),
        "channel.close 404 50,10 NOT_FOUND - no queue 'amq.none' in vhost '/'"
    );
}

#[test]
fn names_that_begin_with_amq_are_reserved() {
    let world = World::new();
    let client = world.client();
    assert_eq!(
        client.channel(1).call(declare("amq.mine")),
        "channel.close 403 50,10 ACCESS_REFUSED - queue name 'amq.mine' contains reserved prefix \
         'amq.*'"
    );
}

#[test]
fn line_ends_are_taken_out_of_names() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    assert_eq!(ch.call(declare("a\r\nb")), "queue.declare-ok ab ready=0 consumers=0");
    ch.publish("ab", "x");
    assert_eq!(ch.call(purge("\nab")), "queue.purge-ok 1");
}

#[test]
fn a_queue_cannot_be_declared_differently() {
    let world = World::new();
    let client = world.client();
    let mut number = 0;
    let mut second = |declare: queue::Declare<'_>, close: &str| {
        number += 1;
        let expected =
            format!("channel.close 406 50,10 PRECONDITION_FAILED - inequivalent arg {close}");
        assert_eq!(client.channel(number).call(declare), expected);
    };
    client.channel(100).declare("q");
    second(
        queue::Declare { durable: true, auto_delete: true, ..declare("q") },
        "'durable' for queue 'q' in vhost '/': received 'true' but current is 'false'",
    );
    let arguments = table(&[("x-max-length", Value::I32(5))]);
    let arguments = arguments.as_table();
    second(
        queue::Declare { auto_delete: true, arguments, ..declare("q") },
        "'auto_delete' for queue 'q' in vhost '/': received 'true' but current is 'false'",
    );
    second(
        queue::Declare { arguments, ..declare("q") },
        "'x-max-length' for queue 'q' in vhost '/': received the value '5' of type 'signedint' but \
         current is none",
    );
    client.channel(101).declare_with("limited", &[("x-max-length", Value::I32(5))]);
    second(
        declare("limited"),
        "'x-max-length' for queue 'limited' in vhost '/': received none but current is the value \
         '5' of type 'signedint'",
    );
    let six = table(&[("x-max-length", Value::I64(6))]);
    second(
        queue::Declare { arguments: six.as_table(), ..declare("limited") },
        "'x-max-length' for queue 'limited' in vhost '/': received '6' but current is '5'",
    );
    let text = table(&[("x-max-length", text("5"))]);
    second(
        queue::Declare { arguments: text.as_table(), ..declare("limited") },
        "'x-max-length' for queue 'limited' in vhost '/': received '5' but current is '5'",
    );
}

#[test]
fn a_bad_argument_of_a_queue_that_is_there_is_inequivalent_not_invalid() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    assert_eq!(
        ch.try_declare("q", &[("x-message-ttl", Value::I32(-1))]),
        "channel.close 406 50,10 PRECONDITION_FAILED - inequivalent arg 'x-message-ttl' for queue \
         'q' in vhost '/': received the value '-1' of type 'signedint' but current is none"
    );
}

#[test]
fn the_width_of_an_integer_and_unknown_arguments_make_no_difference() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare_with("q", &[("x-expires", Value::I32(1000)), ("x-foo", text("a"))]);
    ch.declare_with("q", &[("x-expires", Value::I64(1000)), ("x-foo", text("b"))]);
    ch.declare_with("q", &[("x-expires", Value::I16(1000)), ("bar", Value::Void)]);
    ch.declare_with("plain", &[]);
    ch.declare_with("plain", &[("x-queue-type", text("classic"))]);
}

#[test]
fn arguments_of_a_new_queue_are_checked() {
    let world = World::new();
    let client = world.client();
    let invalid = |arguments: &[(&str, Value<'_>)], text: &str| {
        let channel = client.channel(1);
        assert_eq!(
            channel.try_declare("q", arguments),
            format!("channel.close 406 50,10 PRECONDITION_FAILED - {text}")
        );
        channel.send(leveret_codec::method::channel::CloseOk {});
    };
    let of_q = "for queue 'q' in vhost '/'";
    for (name, value, reason) in [
        ("x-message-ttl", Value::I32(-1), "{value_negative,-1}"),
        ("x-message-ttl", Value::I64(315_360_000_001), "{value_too_large,315360000001}"),
        ("x-message-ttl", text("5"), "\"expected integer, got longstr\""),
        ("x-expires", Value::I32(0), "{value_zero,0}"),
        ("x-expires", Value::F64(1.0), "\"expected integer, got double\""),
        ("x-max-length", Value::I32(-5), "{value_negative,-5}"),
        ("x-max-length-bytes", Value::Bool(true), "\"expected integer, got bool\""),
        ("x-max-priority", Value::I32(256), "{max_value_exceeded,256}"),
        ("x-overflow", text("drop-tail"), "invalid_overflow"),
        ("x-overflow", Value::I32(1), "{unacceptable_type,signedint}"),
        ("x-dead-letter-routing-key", text("k"), "routing_key_but_no_dlx_defined"),
        ("x-single-active-consumer", text("yes"), "{unacceptable_type,longstr}"),
        ("x-queue-type", text("fast"), "\"unsupported queue type 'fast'\""),
        ("x-queue-mode", text("eager"), "\"unsupported queue mode 'eager'\""),
    ] {
        invalid(&[(name, value)], &format!("invalid arg '{name}' {of_q}: {reason}"));
    }
    invalid(
        &[("x-dead-letter-exchange", Value::I32(1))],
        &format!("invalid type 'signedint' for arg 'x-dead-letter-exchange' in {}", &of_q[4..]),
    );
    invalid(
        &[("x-max-age", text("1D"))],
        &format!("invalid arg 'x-max-age' {of_q} of queue type rabbit_classic_queue"),
    );
    assert_eq!(world.queue("q"), None);
}

#[test]
fn an_exclusive_queue_is_for_its_connection_alone() {
    let world = World::new();
    let (owner, stranger) = (world.client(), world.client());
    let own = owner.channel(1);
    assert_eq!(
        own.call(queue::Declare { exclusive: true, ..declare("q") }),
        "queue.declare-ok q ready=0 consumers=0"
    );
    assert_eq!(owner.channel(2).call(purge("q")), "queue.purge-ok 0");
    stranger.channel(100).publish("q", "anyone may publish");
    assert_eq!(world.counts("q"), "1/0");

    let refused = |number: u16, answer: String, ids: &str| {
        assert_eq!(answer, locked("q", ids), "{number}");
    };
    refused(1, stranger.channel(1).call(declare("q")), "50,10");
    refused(2, stranger.channel(2).call(passive("q")), "50,10");
    refused(3, stranger.channel(3).call(purge("q")), "50,30");
    refused(4, stranger.channel(4).call(delete("q")), "50,40");
    refused(5, stranger.channel(5).get("q"), "60,70");
    refused(6, stranger.channel(6).try_bind("q", "amq.direct", "k", &[]), "50,20");
    let consume = basic::Consume { queue: s("q"), ..Default::default() };
    refused(7, stranger.channel(7).call(consume), "60,20");
    assert_eq!(world.counts("q"), "1/0");
}

#[test]
fn the_exclusive_flag_cannot_be_changed() {
    let world = World::new();
    let client = world.client();
    client.channel(1).declare("shared");
    let exclusive = |name| queue::Declare { exclusive: true, ..declare(name) };
    assert_eq!(client.channel(2).call(exclusive("shared")), locked("shared", "50,10"));
    client.channel(3).call(exclusive("own"));
    assert_eq!(client.channel(4).call(declare("own")), locked("own", "50,10"));
}

#[test]
fn an_exclusive_queue_goes_with_its_connection_and_is_never_durable() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    let durable = queue::Declare { exclusive: true, durable: true, ..declare("q") };
    ch.call(durable);
    let queue = world.queue("q").expect("it is there");
    assert!(queue.exclusive && !queue.durable);
    ch.close();
    assert!(world.queue("q").is_some(), "it does not go with its channel");
    client.call(connection::Close::default());
    assert_eq!(world.queue("q"), None);
}

#[test]
fn an_auto_delete_queue_goes_with_its_last_consumer() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.call(queue::Declare { auto_delete: true, ..declare("q") });
    ch.publish("q", "a");
    ch.get_no_ack("q");
    assert!(world.queue("q").is_some(), "to get is not to consume");
    ch.consume("q", "one");
    client.channel(2).consume("q", "two");
    ch.call(basic::Cancel { consumer_tag: s("one"), nowait: false });
    assert!(world.queue("q").is_some());
    client.closed_channel(2).close();
    assert_eq!(world.queue("q"), None);
}

#[test]
fn an_auto_delete_queue_goes_when_the_connection_of_its_consumer_goes() {
    let world = World::new();
    let (client, other) = (world.client(), world.client());
    other.channel(1).call(queue::Declare { auto_delete: true, ..declare("q") });
    client.channel(1).consume("q", "c");
    client.vanish();
    assert_eq!(world.queue("q"), None);
}

#[test]
fn a_purge_takes_the_ready_messages_and_leaves_the_others() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare_with(
        "q",
        &[("x-dead-letter-exchange", text("")), ("x-dead-letter-routing-key", text("dead"))],
    );
    ch.declare("dead");
    for body in ["a", "b", "c"] {
        ch.publish("q", body);
    }
    assert_eq!(ch.get("q"), "basic.get-ok 1 a left=2");
    assert_eq!(ch.call(purge("q")), "queue.purge-ok 2");
    assert_eq!(world.counts("q"), "0/1");
    assert_eq!(world.counts("dead"), "0/0");
    ch.reject(1, true);
    assert_eq!(ch.drain_bodies("q"), ["a"]);
    assert_eq!(ch.call(queue::Purge { nowait: true, ..purge("q") }), "");
    assert_eq!(
        ch.call(purge("none")),
        "channel.close 404 50,30 NOT_FOUND - no queue 'none' in vhost '/'"
    );
}

#[test]
fn a_delete_counts_ready_messages_and_loses_all() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare_with(
        "q",
        &[("x-dead-letter-exchange", text("")), ("x-dead-letter-routing-key", text("dead"))],
    );
    ch.declare("dead");
    for body in ["a", "b", "c"] {
        ch.publish("q", body);
    }
    ch.get("q");
    assert_eq!(ch.call(delete("q")), "queue.delete-ok 2");
    assert_eq!(world.queue("q"), None);
    assert_eq!(world.counts("dead"), "0/0");
    assert_eq!(ch.call(delete("q")), "queue.delete-ok 0", "it is gone, which is no fault");
    // What was delivered from it is settled silently.
    ch.ack(1);
    assert!(ch.lines().is_empty());
    assert_eq!(ch.call(queue::Delete { nowait: true, ..delete("dead") }), "");
    assert_eq!(world.queue("dead"), None);
}

#[test]
fn a_requeue_into_a_deleted_queue_is_silent_even_when_the_name_is_taken_again() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    ch.publish("q", "a");
    ch.get("q");
    ch.call(delete("q"));
    ch.declare("q");
    ch.reject(1, true);
    assert!(ch.lines().is_empty());
    assert_eq!(world.counts("q"), "0/0");
}

#[test]
fn if_empty_counts_ready_messages_and_if_unused_consumers() {
    let world = World::new();
    let client = world.client();
    client.channel(1).declare("q");
    client.closed_channel(1).publish("q", "a");
    let both = || queue::Delete { if_empty: true, if_unused: true, ..delete("q") };
    client.channel(2).consume("q", "none yet");
    client.closed_channel(2).close();
    assert_eq!(
        client.channel(3).call(both()),
        "channel.close 406 50,40 PRECONDITION_FAILED - queue 'q' in vhost '/' not empty"
    );
    let getter = client.channel(4);
    getter.get("q");
    client.channel(5).consume("q", "c");
    assert_eq!(
        client.channel(6).call(both()),
        "channel.close 406 50,40 PRECONDITION_FAILED - queue 'q' in vhost '/' in use"
    );
    client.closed_channel(5).close();
    // One that is delivered and not settled is no content.
    assert_eq!(getter.call(both()), "queue.delete-ok 0");
}

#[test]
fn if_empty_is_looked_at_before_if_unused() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    ch.qos(1, false);
    ch.consume("q", "c");
    ch.publish("q", "a");
    ch.publish("q", "b");
    let both = queue::Delete { if_empty: true, if_unused: true, ..delete("q") };
    assert_eq!(
        client.channel(2).call(both),
        "channel.close 406 50,40 PRECONDITION_FAILED - queue 'q' in vhost '/' not empty"
    );
}

#[test]
fn consumers_of_a_deleted_queue_are_told_if_they_can_hear_it() {
    let world = World::new();
    let (client, other) = (world.client(), world.client());
    let deaf = world.client_with(Default::default(), &[]);
    let ch = client.channel(1);
    ch.declare("q");
    client.channel(2).consume("q", "hears");
    other.channel(7).consume("q", "hears too");
    deaf.channel(1).consume("q", "does not");
    assert_eq!(ch.call(delete("q")), "queue.delete-ok 0");
    assert_eq!(client.lines_with_channels(), ["2: basic.cancel hears nowait=true"]);
    assert_eq!(other.lines_with_channels(), ["7: basic.cancel hears too nowait=true"]);
    assert!(deaf.lines().is_empty());
    assert_eq!(world.consumers(), 0);
    // The tag is free again.
    ch.declare("r");
    other.closed_channel(7).consume("r", "hears too");
}
