//! Topic permissions: which routing keys of a topic exchange a user may use.

use leveret::broker::access::{Permissions, Rights, TopicPermissions, TopicVariables};
use leveret_codec::method::{exchange, queue};

use crate::support::world::{World, s};

/// Guest may write to the exchange logs, and read from it, with these keys.
fn permit(world: &World, write: &str, read: &str) {
    let mut topics = TopicPermissions::default();
    let variables = TopicVariables { user: "guest", vhost: "/", client_id: None };
    topics.set(b"logs", write, read, variables).expect("patterns");
    world.rights("guest", Rights { topics, ..Default::default() });
}

fn refused(ids: &str, key: &str) -> String {
    format!(
        "channel.close 403 {ids} ACCESS_REFUSED - access to topic '{key}' in exchange 'logs' in \
         vhost '/' refused for user 'guest'"
    )
}

fn world() -> World {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.exchange("logs", "topic");
    ch.declare("q");
    world
}

#[test]
fn a_publish_needs_a_key_that_may_be_written() {
    let world = world();
    let client = world.client();
    let ch = client.channel(1);
    ch.bind("q", "logs", "#");
    permit(&world, "^own\\.", "");
    ch.publish_to("logs", "own.x", "a");
    assert_eq!(world.counts("q"), "1/0");
    ch.publish_to("logs", "other.x", "b");
    assert_eq!(ch.lines(), [refused("60,40", "other.x")]);
    assert_eq!(world.counts("q"), "1/0");
}

#[test]
fn a_binding_needs_a_key_that_may_be_read() {
    let world = world();
    let client = world.client();
    permit(&world, "", "^own\\.");
    client.channel(1).bind("q", "logs", "own.#");
    assert_eq!(client.channel(2).try_bind("q", "logs", "#", &[]), refused("50,20", "#"));
    let bind = exchange::Bind {
        destination: s("amq.fanout"),
        source: s("logs"),
        routing_key: s("other"),
        ..Default::default()
    };
    assert_eq!(client.channel(3).call(bind), refused("40,30", "other"));
    assert_eq!(
        client.channel(4).call(exchange::Bind { routing_key: s("own.x"), ..bind }),
        "exchange.bind-ok"
    );
}

#[test]
fn unbinding_needs_the_same_key() {
    let world = world();
    let client = world.client();
    let ch = client.channel(1);
    ch.bind("q", "logs", "other");
    permit(&world, "", "^own\\.");
    let unbind = queue::Unbind {
        queue: s("q"),
        exchange: s("logs"),
        routing_key: s("other"),
        ..Default::default()
    };
    assert_eq!(ch.call(unbind), refused("50,50", "other"));
    let unbind = exchange::Unbind {
        destination: s("amq.fanout"),
        source: s("logs"),
        routing_key: s("other"),
        ..Default::default()
    };
    assert_eq!(client.channel(2).call(unbind), refused("40,40", "other"));
}

#[test]
fn an_exchange_without_an_entry_takes_any_key() {
    let world = world();
    let client = world.client();
    let ch = client.channel(1);
    ch.exchange("events", "topic");
    permit(&world, "^own\\.", "^own\\.");
    ch.bind("q", "events", "#");
    ch.publish_to("events", "any", "a");
    ch.bind("q", "amq.topic", "#");
    ch.publish_to("amq.topic", "any", "b");
    assert_eq!(ch.drain_bodies("q"), ["a", "b"]);
}

#[test]
fn an_entry_for_an_exchange_of_another_type_means_nothing() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.exchange("logs", "direct");
    ch.declare("q");
    permit(&world, "", "");
    ch.bind("q", "logs", "k");
    ch.publish_to("logs", "k", "a");
    assert_eq!(ch.drain_bodies("q"), ["a"]);
}

#[test]
fn names_in_braces_stand_for_user_and_virtual_host() {
    let world = world();
    let client = world.client();
    let ch = client.channel(1);
    ch.bind("q", "logs", "#");
    permit(&world, "^{username}\\.{vhost}\\.", "^$");
    ch.publish_to("logs", "guest./.x", "a");
    assert_eq!(world.counts("q"), "1/0");
    ch.publish_to("logs", "ann./.x", "b");
    assert_eq!(ch.lines(), [refused("60,40", "ann./.x")]);
}

#[test]
fn the_permission_for_the_exchange_comes_first() {
    let world = world();
    let client = world.client();
    let variables = TopicVariables { user: "guest", vhost: "/", client_id: None };
    let mut topics = TopicPermissions::default();
    topics.set(b"logs", "^$", "^$", variables).expect("patterns");
    let permissions = Some(Permissions::none());
    world.rights("guest", Rights { permissions, topics, ..Default::default() });
    let ch = client.channel(1);
    ch.publish_to("logs", "k", "a");
    assert_eq!(
        ch.lines(),
        [
            "channel.close 403 60,40 ACCESS_REFUSED - access to exchange 'logs' in vhost '/' refused \
          for user 'guest'"
        ]
    );
}

#[test]
fn further_keys_are_looked_at_as_well() {
    use leveret_codec::Value;
    use leveret_codec::table::ArrayBuilder;
    let world = world();
    let client = world.client();
    let ch = client.channel(1);
    ch.bind("q", "logs", "#");
    permit(&world, "^own\\.", "");
    let publish = |number, header, key: &str| {
        let mut keys = ArrayBuilder::default();
        keys.push(&Value::LongStr(key.as_bytes()));
        let ch = client.channel(number);
        ch.publish_headers("logs", "own.x", &[(header, Value::Array(keys.as_array()))], "a");
        ch.lines()
    };
    for (number, header) in [(2, "CC"), (3, "BCC")] {
        assert_eq!(publish(number, header, "own.y"), [""; 0]);
        assert_eq!(publish(number + 2, header, "other.x"), [refused("60,40", "other.x")]);
    }
    assert_eq!(world.counts("q"), "2/0");
    // An exchange of another type takes any.
    ch.bind("q", "amq.direct", "other.x");
    let mut keys = ArrayBuilder::default();
    keys.push(&Value::LongStr(b"other.x"));
    let cc = [("CC", Value::Array(keys.as_array()))];
    ch.publish_headers("amq.direct", "own.x", &cc, "a");
    assert_eq!(world.counts("q"), "3/0");
}

#[test]
fn an_empty_queue_and_an_empty_key_are_judged_by_the_queues_name() {
    let world = world();
    let client = world.client();
    permit(&world, "", "^q$");
    let ch = client.channel(1);
    ch.declare("q");
    let bind = queue::Bind { exchange: s("logs"), ..Default::default() };
    assert_eq!(ch.call(bind), "queue.bind-ok");
    let ch = client.channel(2);
    ch.declare("r");
    assert_eq!(ch.call(bind), refused("50,20", "r"));
}

#[test]
fn what_changes_counts_at_once() {
    let world = world();
    let client = world.client();
    let ch = client.channel(1);
    ch.bind("q", "logs", "#");
    permit(&world, "^own", "");
    ch.publish_to("logs", "own", "a");
    permit(&world, "^other", "");
    ch.publish_to("logs", "own", "b");
    assert_eq!(ch.lines(), [refused("60,40", "own")]);
    world.rights("guest", Rights::default());
    client.channel(2).publish_to("logs", "own", "c");
    assert_eq!(client.channel(3).drain_bodies("q"), ["a", "c"]);
}
