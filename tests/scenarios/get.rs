//! basic.get.

use leveret_codec::PropertyFields;
use leveret_codec::method::channel;

use crate::support::world::{World, pages_everything, s};

#[test]
fn a_message_comes_with_the_number_of_those_left() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    ch.publish_to("", "q", "a");
    ch.publish("q", "b");
    assert_eq!(ch.get("q"), "basic.get-ok 1 a left=1");
    assert_eq!(ch.get("q"), "basic.get-ok 2 b left=0");
    assert_eq!(ch.get("q"), "basic.get-empty");
    let messages = ch.messages();
    assert_eq!((&*messages[0].exchange, &*messages[0].routing_key), ("", "q"));
    assert_eq!(world.counts("q"), "0/2");
    ch.ack(2);
    ch.ack(1);
    assert!(ch.lines().is_empty());
    assert_eq!(world.counts("q"), "0/0");
}

#[test]
fn without_acknowledgement_a_message_is_gone_and_its_tag_unknown() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    ch.publish("q", "a");
    ch.publish("q", "b");
    assert_eq!(ch.get_no_ack("q"), "basic.get-ok 1 a left=1");
    assert_eq!(ch.get("q"), "basic.get-ok 2 b left=0");
    ch.ack(2);
    ch.ack(1);
    assert_eq!(
        ch.lines(),
        ["channel.close 406 60,80 PRECONDITION_FAILED - unknown delivery tag 1"]
    );
}

#[test]
fn a_missing_queue_closes_the_channel() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    assert_eq!(ch.get("none"), "channel.close 404 60,70 NOT_FOUND - no queue 'none' in vhost '/'");
    ch.send(channel::CloseOk {});
}

#[test]
fn those_that_have_expired_are_neither_given_nor_counted() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    let expires =
        |ms: &'static str| PropertyFields { expiration: Some(s(ms)), ..Default::default() };
    ch.publish_with("", "q", expires("100"), "a");
    ch.publish("q", "b");
    ch.publish_with("", "q", expires("100"), "c");
    ch.publish("q", "d");
    world.pass_ms(100);
    // What lies on the disk behind the next one is counted until it is looked at.
    let left = if pages_everything() { 2 } else { 1 };
    assert_eq!(ch.get("q"), format!("basic.get-ok 1 b left={left}"));
    assert_eq!(ch.get("q"), "basic.get-ok 2 d left=0");
}
