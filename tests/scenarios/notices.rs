//! What the log should say of arguments that nobody will obey.

use leveret::broker::vhost::Notice;
use leveret_codec::Value;
use leveret_codec::method::queue;

use crate::support::world::{World, s, text};

fn unknown(queue: &str, argument: &str, meant: Option<&'static str>) -> Notice {
    Notice::UnknownArgument { queue: queue.into(), argument: argument.into(), meant }
}

#[test]
fn an_unknown_argument_is_taken_and_told_with_the_one_that_was_meant() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare_with("q", &[("x-max-retries", Value::I32(3)), ("x-messge-ttl", Value::I32(5))]);
    ch.declare_with("r", &[("colour", text("red"))]);
    assert_eq!(
        world.notices(),
        [
            unknown("q", "x-max-retries", Some("x-delivery-limit")),
            unknown("q", "x-messge-ttl", Some("x-message-ttl")),
            unknown("r", "colour", None),
        ]
    );
}

#[test]
fn an_argument_is_told_for_each_queue_that_has_it() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    let declare = |name: &str| ch.declare_with(name, &[("x-max-retries", Value::I32(3))]);
    let delete = |name| {
        let delete = queue::Delete { queue: s(name), ..queue::Delete::default() };
        assert!(ch.call(delete).starts_with("queue.delete-ok"));
    };
    let told = |name: &str| unknown(name, "x-max-retries", Some("x-delivery-limit"));
    ["a", "b", "a"].into_iter().for_each(&declare);
    assert_eq!(world.notices(), [told("a"), told("b")]);
    // One that comes and goes is told once a minute.
    delete("a");
    declare("a");
    assert_eq!(world.notices(), []);
    world.pass_ms(60_000);
    delete("a");
    declare("a");
    assert_eq!(world.notices(), [told("a")]);
}

#[test]
fn known_arguments_and_refused_queues_are_not_worth_a_word() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare_with("q", &[("x-message-ttl", Value::I32(3)), ("x-ha-policy", text("all"))]);
    let answer = ch.try_declare("r", &[("colour", Value::Void), ("x-expires", Value::I32(0))]);
    assert!(answer.contains("{value_zero,0}"), "{answer}");
    assert_eq!(world.notices(), []);
}

#[test]
fn nobody_can_fill_the_log_with_arguments() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    for number in 0..300 {
        ch.declare_with(&format!("q{number}"), &[(&format!("argument-{number}"), Value::Void)]);
    }
    assert_eq!(world.notices().len(), 100);
    world.pass_ms(60_000);
    ch.declare_with("later", &[("argument", Value::Void)]);
    assert_eq!(world.notices().len(), 1, "the next minute");
}
