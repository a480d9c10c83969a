//! How many queues and channels there may be.

use leveret::broker::access::Rights;
use leveret_codec::Value;
use leveret_codec::method::channel;
use leveret_codec::method::queue;

use crate::support::world::{World, s};

fn is_reached(queue: &str, max: u64) -> String {
    format!(
        "channel.close 406 50,10 PRECONDITION_FAILED - cannot declare queue '{queue}': queue limit \
         in vhost '/' ({max}) is reached"
    )
}

fn one_too_many(user: &str, max: u64) -> String {
    format!(
        "connection.close 530 0,0 NOT_ALLOWED - number of channels opened for user '{user}' has \
         reached the maximum allowed user limit of ({max})"
    )
}

fn at_most(max_channels: u64) -> Rights {
    Rights { max_channels: Some(max_channels), ..Default::default() }
}

#[test]
fn a_full_virtual_host_takes_no_more_queues() {
    let world = World::new();
    let client = world.client();
    client.channel(1).declare("a");
    world.max_queues(Some(2));
    client.channel(2).declare("b");
    assert_eq!(client.channel(3).try_declare("c", &[]), is_reached("c", 2));
    let exclusive = queue::Declare { queue: s("c"), exclusive: true, ..Default::default() };
    assert_eq!(client.channel(4).call(exclusive), is_reached("c", 2));
}

#[test]
fn names_that_are_there_still_pass_a_full_virtual_host() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("a");
    ch.declare("b");
    world.max_queues(Some(1));
    assert_eq!(ch.try_declare("a", &[]), "queue.declare-ok a ready=0 consumers=0");
    let passive = queue::Declare { queue: s("b"), passive: true, ..Default::default() };
    assert_eq!(ch.call(passive), "queue.declare-ok b ready=0 consumers=0");
}

#[test]
fn a_deleted_queue_makes_room_and_so_does_a_higher_limit() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    world.max_queues(Some(1));
    ch.declare("a");
    ch.call(queue::Delete { queue: s("a"), ..Default::default() });
    ch.declare("b");
    world.max_queues(Some(2));
    ch.declare("c");
    world.max_queues(None);
    ch.declare("d");
}

#[test]
fn a_limit_of_zero_is_for_no_queue_at_all() {
    let world = World::new();
    let client = world.client();
    world.max_queues(Some(0));
    assert_eq!(client.channel(1).try_declare("a", &[]), is_reached("a", 0));
}

#[test]
fn the_limit_is_looked_at_after_the_permission_and_before_the_arguments() {
    let world = World::new();
    let client = world.client();
    world.max_queues(Some(0));
    let answer = client.channel(1).try_declare("a", &[("x-expires", Value::I32(-1))]);
    assert_eq!(answer, is_reached("a", 0));
    world.permit("^b", "", "");
    let answer = client.channel(2).try_declare("a", &[]);
    assert!(answer.starts_with("channel.close 403 50,10"), "{answer}");
}

#[test]
fn a_user_has_so_many_channels_in_all_connections_together() {
    let world = World::new();
    let (first, second, other) = (world.client(), world.client(), world.client_of("ann"));
    world.rights("guest", at_most(2));
    first.channel(1);
    second.channel(1);
    for number in 1..=3 {
        other.channel(number);
    }
    second.closed_channel(7).send(channel::Open::default());
    assert_eq!(second.lines(), [one_too_many("guest", 2)]);
    // With its connection the channels of the second are gone.
    first.channel(2);
}

#[test]
fn a_closed_channel_makes_room_for_another_of_the_user() {
    let world = World::new();
    let client = world.client_of("ann");
    world.rights("ann", at_most(1));
    client.channel(1).close();
    client.channel(2);
    world.rights("ann", at_most(0));
    client.closed_channel(3).send(channel::Open::default());
    assert_eq!(client.lines(), [one_too_many("ann", 0)]);
}
