//! Permissions: who may do what.

use leveret_codec::method::{basic, exchange, queue};

use crate::world::{World, s};

fn refused(ids: &str, what: &str) -> String {
    format!(
        "channel.close 403 {ids} ACCESS_REFUSED - access to {what} in vhost '/' refused for user 'guest'"
    )
}

#[test]
fn each_method_needs_its_permission() {
    let world = World::new();
    let client = world.client();
    client.channel(100).declare("q");
    client.closed_channel(100).exchange("x", "fanout");
    world.permit("", "", "");
    let ch = |number| client.channel(number);
    let q = || s("q");
    let declare = queue::Declare { queue: q(), ..Default::default() };
    assert_eq!(ch(1).call(declare), refused("50,10", "queue 'q'"));
    let delete = queue::Delete { queue: q(), ..Default::default() };
    assert_eq!(ch(2).call(delete), refused("50,40", "queue 'q'"));
    let purge = queue::Purge { queue: q(), ..Default::default() };
    assert_eq!(ch(3).call(purge), refused("50,30", "queue 'q'"));
    assert_eq!(ch(4).get("q"), refused("60,70", "queue 'q'"));
    let consume = basic::Consume { queue: q(), ..Default::default() };
    assert_eq!(ch(5).call(consume), refused("60,20", "queue 'q'"));
    assert_eq!(ch(6).try_bind("q", "x", "", &[]), refused("50,20", "queue 'q'"));
    let delete = exchange::Delete { exchange: s("x"), ..Default::default() };
    assert_eq!(ch(7).call(delete), refused("40,20", "exchange 'x'"));
    let publisher = ch(8);
    publisher.publish_to("x", "", "a");
    assert_eq!(publisher.lines(), [refused("60,40", "exchange 'x'")]);
    publisher.call(leveret_codec::method::channel::CloseOk {});
    let publisher = ch(8);
    publisher.publish("q", "a");
    assert_eq!(publisher.lines(), [refused("60,40", "exchange 'amq.default'")]);
}

#[test]
fn a_permission_is_looked_at_before_existence() {
    let world = World::new();
    let client = world.client();
    world.permit("^a", "^a", "^a");
    assert_eq!(client.channel(1).get("b"), refused("60,70", "queue 'b'"));
    assert!(client.channel(2).get("a").contains("NOT_FOUND - no queue 'a'"));
    let publisher = client.channel(3);
    publisher.publish_to("b", "k", "x");
    assert_eq!(publisher.lines(), [refused("60,40", "exchange 'b'")]);
    let delete = queue::Delete { queue: s("b"), ..Default::default() };
    assert_eq!(client.channel(4).call(delete), refused("50,40", "queue 'b'"));
}

#[test]
fn binding_needs_to_write_to_one_end_and_read_from_the_other() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    ch.exchange("x", "fanout");
    world.permit("", "^q$", "");
    assert_eq!(ch.try_bind("q", "x", "", &[]), refused("50,20", "exchange 'x'"));
    world.permit("", "^q$", "^x$");
    client.channel(2).bind("q", "x", "");
}

#[test]
fn a_passive_declaration_needs_nothing() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    world.permit("", "", "");
    let passive = queue::Declare { queue: s("q"), passive: true, ..Default::default() };
    assert_eq!(ch.call(passive), "queue.declare-ok q ready=0 consumers=0");
}
