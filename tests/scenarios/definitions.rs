//! Things that definitions name: they are made where they are missing and left alone elsewhere.

use leveret::broker::error::{Fault, InvalidValue, Resource};
use leveret::broker::vhost::Definition;
use leveret_codec::{ShortString, TableBuf, Value};

use crate::support::world::{World, table, text};

fn name(name: &str) -> ShortString {
    ShortString::truncated(name.as_bytes())
}

fn queue(queue: &str, durable: bool, arguments: TableBuf) -> Definition {
    Definition::Queue { name: name(queue), durable, auto_delete: false, arguments }
}

fn exchange(exchange: &str, kind: &str, arguments: TableBuf) -> Definition {
    Definition::Exchange {
        name: name(exchange),
        kind: name(kind),
        durable: true,
        auto_delete: false,
        internal: false,
        arguments,
    }
}

fn binding(source: &str, destination: &str, to_queue: bool, key: &str) -> Definition {
    Definition::Binding {
        source: name(source),
        destination: name(destination),
        to_queue,
        routing_key: name(key),
        arguments: TableBuf::default(),
    }
}

fn none() -> TableBuf {
    TableBuf::default()
}

fn fault(world: &World, definition: &Definition) -> Fault {
    *world.define(definition).expect_err("it is refused")
}

#[test]
fn what_is_named_is_there_and_survives_a_restart() {
    let world = World::new();
    let definitions = [
        exchange("in", "topic", none()),
        exchange("out", "fanout", none()),
        queue("q", true, table(&[("x-max-length", Value::I32(2))])),
        binding("in", "out", false, "a.*"),
        binding("out", "q", true, ""),
    ];
    for definition in &definitions {
        assert_eq!(world.define(definition), Ok(()));
    }
    for world in [world.restarted(), world] {
        let client = world.client();
        let ch = client.channel(1);
        for body in ["1", "2", "3"] {
            ch.publish_to("in", "a.b", body);
        }
        assert_eq!(ch.drain_bodies("q"), ["2", "3"]);
    }
}

#[test]
fn the_same_definitions_twice_change_nothing() {
    let world = World::new();
    let definitions = [
        exchange("x", "direct", none()),
        queue("q", true, none()),
        binding("x", "q", true, "k"),
        binding("x", "amq.fanout", false, "k"),
    ];
    let client = world.client();
    let ch = client.channel(1);
    for _ in 0..3 {
        for definition in &definitions {
            assert_eq!(world.define(definition), Ok(()));
        }
        ch.publish_to("x", "k", "a");
    }
    assert_eq!(ch.drain_bodies("q"), ["a", "a", "a"], "one copy each");
}

#[test]
fn what_is_there_is_left_alone_though_it_differs() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.exchange("x", "direct");
    ch.declare_with("q", &[("x-max-length", Value::I32(5))]);
    ch.publish("q", "a");
    let differently = table(&[("x-max-length", Value::I32(1)), ("x-expires", text("bad"))]);
    assert_eq!(world.define(&queue("q", true, differently)), Ok(()));
    assert_eq!(world.define(&exchange("x", "x-nonsense", none())), Ok(()));
    ch.exchange("x", "direct");
    ch.declare_with("q", &[("x-max-length", Value::I32(5))]);
    assert_eq!(ch.drain_bodies("q"), ["a"]);
}

#[test]
fn a_binding_whose_ends_are_missing_is_reported() {
    let world = World::new();
    world.define(&exchange("x", "direct", none())).expect("it is new");
    world.define(&queue("q", true, none())).expect("it is new");
    let (queue, exchange) =
        (Resource::queue(&name("none"), "/"), Resource::exchange(&name("none"), "/"));
    for (definition, missing) in [
        (binding("none", "q", true, ""), &exchange),
        (binding("x", "none", true, ""), &queue),
        (binding("x", "none", false, ""), &exchange),
        (binding("none", "other", true, ""), &exchange),
    ] {
        assert_eq!(fault(&world, &definition), Fault::NotFound(missing.clone()));
    }
}

#[test]
fn bindings_of_the_default_exchange_are_there_by_themselves() {
    let world = World::new();
    assert_eq!(world.define(&binding("", "q", true, "q")), Ok(()));
    assert_eq!(world.define(&exchange("", "direct", none())), Ok(()));
    assert!(world.define(&binding("amq.direct", "", false, "k")).is_err());
}

#[test]
fn arguments_are_checked_as_those_of_a_client() {
    let world = World::new();
    let of = Resource::queue(&name("q"), "/");
    assert_eq!(
        fault(&world, &queue("q", true, table(&[("x-expires", Value::I32(0))]))),
        Fault::InvalidArgument { name: "x-expires", of: of.clone(), why: InvalidValue::Zero }
    );
    let quorum = table(&[("x-queue-type", text("quorum"))]);
    assert_eq!(
        fault(&world, &queue("q", false, quorum)),
        Fault::InvalidProperty { property: "non-durable", of }
    );
    assert_eq!(
        fault(&world, &exchange("x", "x-nonsense", none())),
        Fault::UnknownExchangeType(name("x-nonsense"))
    );
    assert_eq!(fault(&world, &exchange("x", "x-delayed-message", none())), Fault::DelayedType);
    assert_eq!(fault(&world, &queue("", true, none())), Fault::UnnamedDefinition);
    world.define(&exchange("h", "x-consistent-hash", none())).expect("it is new");
    world.define(&queue("q", true, none())).expect("it is new");
    assert_eq!(
        fault(&world, &binding("h", "q", true, "heavy")),
        Fault::InvalidWeight { key: name("heavy") }
    );
    let client = world.client();
    assert!(!client.channel(1).has_exchange("x"));
}

#[test]
fn names_that_no_client_may_take_are_taken() {
    let world = World::new();
    assert_eq!(world.define(&queue("amq.gen-kept", true, none())), Ok(()));
    assert_eq!(world.define(&exchange("amq.direct", "direct", none())), Ok(()));
    assert!(world.queue("amq.gen-kept").is_some());
}

#[test]
fn a_full_virtual_host_takes_no_more_queues_from_definitions() {
    let world = World::new();
    world.define(&queue("q", true, none())).expect("it is new");
    world.max_queues(Some(1));
    assert_eq!(world.define(&queue("q", true, none())), Ok(()));
    assert_eq!(
        fault(&world, &queue("r", true, none())),
        Fault::QueueLimit { name: name("r"), vhost: "/".into(), max: 1 }
    );
}

#[test]
fn an_unknown_argument_is_told_of_definitions_too() {
    let world = World::new();
    world.define(&queue("q", true, table(&[("x-max-retries", Value::I32(3))]))).expect("new");
    assert_eq!(world.notices().len(), 1);
}
