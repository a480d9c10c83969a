//! Exchanges of the type x-random.

use leveret_codec::Value;
use leveret_codec::table::ArrayBuilder;

use crate::support::world::World;

#[test]
fn each_message_goes_to_one_of_the_queues_by_chance() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.exchange("x", "x-random");
    for queue in ["a", "b", "c"] {
        ch.declare(queue);
        ch.bind(queue, "x", "ignored");
    }
    for number in 0..300 {
        ch.publish_to("x", "same", &number.to_string());
    }
    let counts = ["a", "b", "c"].map(|queue| ch.drain_bodies(queue).len());
    assert_eq!(counts.iter().sum::<usize>(), 300);
    assert!(counts.iter().all(|count| (60..=140).contains(count)), "{counts:?}");
}

#[test]
fn further_keys_make_no_further_copies() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.exchange("x", "x-random");
    for queue in ["a", "b", "c"] {
        ch.declare(queue);
        ch.bind(queue, "x", "");
    }
    let mut keys = ArrayBuilder::default();
    for key in ["k", "l", "m"] {
        keys.push(&Value::LongStr(key.as_bytes()));
    }
    for _ in 0..20 {
        ch.publish_headers("x", "j", &[("CC", Value::Array(keys.as_array()))], "a");
    }
    let all: usize = ["a", "b", "c"].map(|queue| ch.drain_bodies(queue).len()).iter().sum();
    assert_eq!(all, 20);
}

#[test]
fn without_a_queue_a_mandatory_message_comes_back() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.exchange("x", "x-random");
    ch.publish_mandatory("x", "k", "a");
    assert_eq!(ch.lines(), ["basic.return 312 NO_ROUTE a"]);
}

#[test]
fn a_queue_bound_twice_has_one_chance() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.exchange("x", "x-random");
    ch.declare("a");
    ch.declare("b");
    for key in ["1", "2", "3", "4", "5", "6", "7", "8", "9"] {
        ch.bind("a", "x", key);
    }
    ch.bind("b", "x", "");
    for _ in 0..200 {
        ch.publish_to("x", "k", "m");
    }
    let share = ch.drain_bodies("b").len();
    assert!((60..=140).contains(&share), "{share}");
}
