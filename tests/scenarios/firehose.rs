//! The firehose: copies of what is published and delivered.

use leveret_codec::method::tx;

use crate::support::world::{Channel, World};

fn traced() -> World {
    let world = World::new();
    world.tracing(Some("leveret@here"));
    world
}

/// A queue that gets all copies.
fn watch(ch: &Channel<'_>) {
    ch.declare("trace");
    ch.bind("trace", "amq.rabbitmq.trace", "#");
}

/// The routing keys and bodies of the copies so far.
fn copies(ch: &Channel<'_>) -> Vec<String> {
    let copies = ch.drain("trace").into_iter();
    copies.map(|copy| format!("{}: {}", copy.routing_key, copy.body)).collect()
}

#[test]
fn what_is_published_and_delivered_is_copied() {
    let world = traced();
    let client = world.client();
    let ch = client.channel(1);
    watch(&ch);
    ch.declare("q");
    ch.publish("q", "a");
    ch.publish("q", "b");
    ch.publish_to("amq.topic", "nowhere", "c");
    assert_eq!(copies(&ch), ["publish.: a", "publish.: b", "publish.amq.topic: c"]);
    ch.get_no_ack("q");
    ch.consume("q", "tag");
    assert_eq!(copies(&ch), ["deliver.q: a", "deliver.q: b"], "a copy makes none");
    ch.publish("q", "d");
    assert_eq!(copies(&ch), ["publish.: d", "deliver.q: d"]);
}

#[test]
fn what_is_committed_is_copied_then() {
    let world = traced();
    let client = world.client();
    let ch = client.channel(1);
    watch(&ch);
    let transaction = client.channel(2);
    transaction.call(tx::Select {});
    transaction.publish("q", "a");
    assert_eq!(copies(&ch), [""; 0]);
    transaction.call(tx::Commit {});
    assert_eq!(copies(&ch), ["publish.: a"]);
}

#[test]
fn nothing_is_copied_before_and_after() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    watch(&ch);
    ch.declare("q");
    ch.publish("q", "a");
    world.tracing(Some("leveret@here"));
    ch.publish("q", "b");
    world.tracing(None);
    ch.publish("q", "c");
    assert_eq!(copies(&ch), ["publish.: b"]);
}

#[test]
fn a_queue_that_gets_its_own_copies_comes_to_rest() {
    let world = traced();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("trace");
    for number in 0..100 {
        ch.publish("trace", &number.to_string());
    }
    ch.bind("trace", "amq.rabbitmq.trace", "#");
    ch.consume_no_ack("trace", "tag");
    let messages = ch.messages();
    let copies = messages.iter().filter(|it| it.routing_key.starts_with("deliver.")).count();
    assert_eq!((messages.len(), copies), (200, 100));
}
