//! What the log should say of arguments that nobody will obey.

use leveret::broker::vhost::Notice;
use leveret_codec::Value;

use crate::support::world::{World, text};

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
fn an_argument_is_told_once_however_many_queues_have_it() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    for name in ["a", "b", "a"] {
        ch.declare_with(name, &[("x-max-retries", Value::I32(3))]);
    }
    assert_eq!(world.notices(), [unknown("a", "x-max-retries", Some("x-delivery-limit"))]);
    ch.declare_with("c", &[("x-max-retries", Value::I32(3))]);
    assert_eq!(world.notices(), []);
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
}
