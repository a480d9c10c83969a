//! A consumer that does not read gets no more: its messages stay in the queue.

use leveret::broker::limits::OUTBOX_OCTETS;
use leveret_codec::Value;
use leveret_codec::method::{basic, queue};

use crate::support::world::{World, pages_everything, s, text};

/// Enough to fill an outbox with four.
fn quarter() -> Vec<u8> {
    vec![b'x'; OUTBOX_OCTETS / 4]
}

fn publish(ch: crate::support::world::Channel<'_>, count: usize) {
    for _ in 0..count {
        let publish = basic::Publish { routing_key: s("q"), ..Default::default() };
        ch.publish_method(publish, Default::default(), &quarter());
    }
}

#[test]
fn a_consumer_that_does_not_read_gets_no_more() {
    let world = World::new();
    let (slow, publisher) = (world.client(), world.client());
    let (ch, from) = (slow.channel(1), publisher.channel(1));
    from.declare("q");
    ch.consume_no_ack("q", "c");
    slow.stall();
    publish(from, 10);
    assert_eq!(ch.messages().len(), 4);
    assert_eq!(world.counts("q"), "6/0");
    // Once it has read, the rest comes, and stops at the same measure if it reads no more.
    slow.unstall();
    assert_eq!(ch.messages().len(), 6);
    assert_eq!(world.counts("q"), "0/0");
}

#[test]
fn others_get_what_one_does_not_read() {
    let world = World::new();
    let (slow, quick, publisher) = (world.client(), world.client(), world.client());
    let from = publisher.channel(1);
    from.declare("q");
    slow.channel(1).consume_no_ack("q", "slow");
    quick.channel(1).consume_no_ack("q", "quick");
    slow.stall();
    publish(from, 20);
    assert_eq!(slow.closed_channel(1).messages().len(), 4);
    assert_eq!(quick.closed_channel(1).messages().len(), 16);
}

#[test]
fn what_waits_for_a_slow_consumer_expires_and_is_limited() {
    let world = World::new();
    let (slow, publisher) = (world.client(), world.client());
    let from = publisher.channel(1);
    from.declare("dead");
    from.declare_with(
        "q",
        &[
            ("x-message-ttl", Value::I32(100)),
            ("x-max-length", Value::I32(3)),
            ("x-dead-letter-exchange", text("")),
            ("x-dead-letter-routing-key", text("dead")),
        ],
    );
    slow.channel(1).consume_no_ack("q", "c");
    slow.stall();
    publish(from, 9);
    assert_eq!((world.counts("q"), world.counts("dead")), ("3/0".into(), "2/0".into()));
    world.pass_ms(100);
    assert_eq!((world.counts("q"), world.counts("dead")), ("0/0".into(), "5/0".into()));
    slow.unstall();
    assert_eq!(slow.closed_channel(1).messages().len(), 4);
}

#[test]
fn a_client_that_does_not_read_is_answered_all_the_same() {
    let world = World::new();
    let (slow, publisher) = (world.client(), world.client());
    let (ch, from) = (slow.channel(1), publisher.channel(1));
    from.declare("q");
    ch.consume("q", "c");
    slow.stall();
    publish(from, 5);
    ch.messages();
    let answer = ch.call(queue::Declare { queue: s("q"), ..Default::default() });
    assert_eq!(answer, "queue.declare-ok q ready=1 consumers=1");
}

#[test]
fn a_get_waits_for_room_as_a_delivery_does() {
    // A get that is given up when it waits would be given up for the page already.
    if pages_everything() {
        return;
    }
    let world = World::new();
    let (slow, publisher) = (world.client(), world.client());
    let (ch, from) = (slow.channel(1), publisher.channel(1));
    from.declare("q");
    slow.stall();
    publish(from, 6);
    let get = || slow.send_once(1, basic::Get { queue: s("q"), ..Default::default() });
    (0..6).for_each(|_| get());
    assert_eq!(world.counts("q"), "2/4", "those that the outbox had room for");
    slow.unstall();
    get();
    assert_eq!(ch.messages().len(), 5);
}

#[test]
fn acknowledging_without_reading_opens_no_room() {
    let world = World::new();
    let (slow, publisher) = (world.client(), world.client());
    let (ch, from) = (slow.channel(1), publisher.channel(1));
    from.declare("q");
    ch.consume("q", "c");
    slow.stall();
    publish(from, 6);
    ch.send(basic::Ack { delivery_tag: 0, multiple: true });
    assert_eq!(world.counts("q"), "2/0");
    slow.unstall();
    assert_eq!(world.counts("q"), "0/2");
}
