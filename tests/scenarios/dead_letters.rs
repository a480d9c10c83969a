//! Dead letters: when, where to, and the story they carry.

use leveret_codec::method::exchange;
use leveret_codec::table::ArrayBuilder;
use leveret_codec::{PropertyFields, Value};

use crate::support::world::{Channel, Received, START, World, s, table, text};

fn dlx(exchange: &str) -> (&'static str, Value<'_>) {
    ("x-dead-letter-exchange", text(exchange))
}

fn dlrk(key: &str) -> (&'static str, Value<'_>) {
    ("x-dead-letter-routing-key", text(key))
}

/// Fetches the next message of a queue and refuses it for good.
fn reject_next(ch: Channel<'_>, queue: &str) {
    let line = ch.get(queue);
    let tag = line.strip_prefix("basic.get-ok ").and_then(|rest| rest.split(' ').next());
    ch.reject(tag.expect("a message").parse().expect("a tag"), false);
}

/// `queue reason count` of each death, the latest first.
fn deaths(message: &Received) -> Vec<String> {
    let Some(Value::Array(events)) = message.header("x-death") else { panic!("no x-death") };
    let event = |event: Value<'_>| {
        let event = event.as_table().expect("an event is a table");
        let text = |name: &[u8]| {
            let value = event.find(name).and_then(|value| value.as_bytes());
            String::from_utf8_lossy(value.expect("a text")).into_owned()
        };
        let count = event.find(b"count").and_then(|value| value.as_i64()).expect("a count");
        format!("{} {} {count}", text(b"queue"), text(b"reason"))
    };
    events.iter().map(event).collect()
}

#[test]
fn a_rejected_message_goes_to_the_dead_letter_exchange() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.exchange("graves", "fanout");
    ch.declare("dead");
    ch.bind("dead", "graves", "");
    ch.declare_with("q", &[dlx("graves")]);
    ch.publish("q", "a");
    reject_next(ch, "q");
    let dead = ch.drain("dead");
    assert_eq!(dead.len(), 1);
    assert_eq!((&*dead[0].exchange, &*dead[0].routing_key, &*dead[0].body), ("graves", "q", "a"));
    assert!(!dead[0].redelivered);
    assert_eq!(deaths(&dead[0]), ["q rejected 1"]);
}

#[test]
fn nack_without_requeue_dead_letters_all_it_covers() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("dead");
    ch.declare_with("q", &[dlx(""), dlrk("dead")]);
    for body in ["a", "b", "c"] {
        ch.publish("q", body);
        ch.get("q");
    }
    let nack =
        leveret_codec::method::basic::Nack { delivery_tag: 2, multiple: true, requeue: false };
    ch.send(nack);
    assert_eq!(ch.drain_bodies("dead"), ["a", "b"]);
}

#[test]
fn the_story_of_a_first_death_is_told_in_full() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("dead");
    ch.exchange("x", "fanout");
    ch.declare_with("q", &[dlx(""), dlrk("dead")]);
    ch.bind("q", "x", "");
    let mut keys = ArrayBuilder::default();
    keys.push(&text("copy"));
    let headers =
        table(&[("z", Value::I32(1)), ("CC", Value::Array(keys.as_array())), ("a", Value::Void)]);
    let fields = PropertyFields {
        headers: Some(headers.as_table()),
        expiration: Some(s("2500")),
        message_id: Some(s("id")),
        delivery_mode: Some(2),
        ..Default::default()
    };
    ch.publish_with("x", "key", fields, "a");
    world.pass_ms(2500);
    let dead = &ch.drain("dead")[0];
    let kept = dead.fields();
    assert_eq!(kept.expiration, None, "or it would expire again");
    assert_eq!((kept.message_id, kept.delivery_mode), (Some(s("id")), Some(2)));
    let headers = kept.headers.expect("headers");
    let names: Vec<_> = headers.iter().map(|entry| entry.name.to_string()).collect();
    assert_eq!(
        names,
        [
            "a",
            "x-death",
            "x-first-death-exchange",
            "x-first-death-queue",
            "x-first-death-reason",
            "z"
        ],
        "sorted, and CC went with the key"
    );
    assert_eq!(dead.header("x-first-death-exchange"), Some(text("x")));
    assert_eq!(dead.header("x-first-death-queue"), Some(text("q")));
    assert_eq!(dead.header("x-first-death-reason"), Some(text("expired")));

    let Some(Value::Array(events)) = dead.header("x-death") else { panic!("no x-death") };
    let event = events.iter().next().and_then(|event| event.as_table()).expect("an event");
    let entries: Vec<_> = event.iter().map(|entry| entry.name.to_string()).collect();
    assert_eq!(
        entries,
        ["count", "reason", "queue", "time", "exchange", "routing-keys", "original-expiration"]
    );
    let died_at = START.plus_millis(2500).as_secs();
    let mut routing_keys = ArrayBuilder::default();
    routing_keys.push(&text("key")).push(&text("copy"));
    for (name, value) in [
        ("count", Value::I64(1)),
        ("reason", text("expired")),
        ("queue", text("q")),
        ("time", Value::Timestamp(died_at)),
        ("exchange", text("x")),
        ("routing-keys", Value::Array(routing_keys.as_array())),
        ("original-expiration", text("2500")),
    ] {
        assert_eq!(event.find(name.as_bytes()), Some(value), "{name}");
    }
}

#[test]
fn without_a_key_of_its_own_the_original_keys_are_kept() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.exchange("graves", "direct");
    for name in ["by key", "by copy"] {
        ch.declare(name);
    }
    ch.declare_with("q", &[dlx("graves")]);
    ch.bind("by key", "graves", "q");
    ch.bind("by copy", "graves", "copy");
    let mut keys = ArrayBuilder::default();
    keys.push(&text("copy"));
    ch.publish_headers("", "q", &[("CC", Value::Array(keys.as_array()))], "a");
    reject_next(ch, "q");
    for name in ["by key", "by copy"] {
        let dead = ch.drain(name);
        assert_eq!(dead.len(), 1, "{name}");
        assert_eq!(dead[0].routing_key, "q");
        assert!(dead[0].header("CC").is_some());
    }
}

#[test]
fn a_key_of_its_own_is_the_only_one() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    for name in ["own", "copy"] {
        ch.declare(name);
    }
    ch.declare_with("q", &[dlx(""), dlrk("own")]);
    let mut keys = ArrayBuilder::default();
    keys.push(&text("copy"));
    ch.publish_headers("", "q", &[("CC", Value::Array(keys.as_array()))], "a");
    ch.drain("copy");
    reject_next(ch, "q");
    let dead = ch.drain("own");
    assert_eq!(dead[0].routing_key, "own");
    assert!(dead[0].header("CC").is_none());
    assert_eq!(world.counts("copy"), "0/0");
}

#[test]
fn without_a_dead_letter_exchange_the_dead_are_gone() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    ch.publish("q", "a");
    reject_next(ch, "q");
    assert_eq!(world.counts("q"), "0/0");
}

#[test]
fn a_missing_dead_letter_exchange_loses_the_message_until_it_is_there() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("dead");
    ch.declare_with("q", &[dlx("graves")]);
    ch.publish("q", "lost");
    reject_next(ch, "q");
    assert!(ch.lines().is_empty());
    ch.exchange("graves", "fanout");
    ch.bind("dead", "graves", "");
    ch.publish("q", "found");
    reject_next(ch, "q");
    assert_eq!(ch.drain_bodies("dead"), ["found"]);
}

#[test]
fn a_dead_letter_exchange_may_be_internal() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.call(exchange::Declare {
        exchange: s("graves"),
        kind: s("fanout"),
        internal: true,
        ..Default::default()
    });
    ch.declare("dead");
    ch.bind("dead", "graves", "");
    ch.declare_with("q", &[dlx("graves")]);
    ch.publish("q", "a");
    reject_next(ch, "q");
    assert_eq!(ch.drain_bodies("dead"), ["a"]);
}

#[test]
fn every_death_adds_to_the_story_and_the_first_is_remembered() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare_with("a", &[dlx(""), dlrk("b")]);
    ch.declare_with("b", &[dlx(""), dlrk("a")]);
    ch.publish("a", "x");
    for queue in ["a", "b", "a"] {
        reject_next(ch, queue);
    }
    let dead = &ch.drain("b")[0];
    assert_eq!(deaths(dead), ["a rejected 2", "b rejected 1"]);
    assert_eq!(dead.header("x-first-death-queue"), Some(text("a")));
    assert_eq!(dead.header("x-first-death-exchange"), Some(text("")));
}

#[test]
fn another_reason_is_another_entry() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare_with("q", &[dlx(""), dlrk("q"), ("x-max-length", Value::I32(1))]);
    ch.declare("rest");
    ch.publish("q", "x");
    reject_next(ch, "q");
    reject_next(ch, "q");
    assert_eq!(world.counts("q"), "1/0", "with a rejection it goes round");
    let dead = &ch.drain("q")[0];
    assert_eq!(deaths(dead), ["q rejected 2"]);
}

#[test]
fn a_repeated_death_is_written_with_sorted_fields() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare_with("q", &[dlx(""), dlrk("q")]);
    ch.publish("q", "x");
    reject_next(ch, "q");
    world.pass_ms(5000);
    reject_next(ch, "q");
    let dead = &ch.drain("q")[0];
    let Some(Value::Array(events)) = dead.header("x-death") else { panic!("no x-death") };
    let event = events.iter().next().and_then(|event| event.as_table()).expect("an event");
    let names: Vec<_> = event.iter().map(|entry| entry.name.to_string()).collect();
    assert_eq!(names, ["count", "exchange", "queue", "reason", "routing-keys", "time"]);
    assert_eq!(event.find(b"time"), Some(Value::Timestamp(START.as_secs())), "of the first time");
}

#[test]
fn a_circle_without_a_rejection_ends_on_the_first_return() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare_with("self", &[dlx(""), dlrk("self"), ("x-message-ttl", Value::I32(10))]);
    ch.publish("self", "x");
    world.pass_ms(10);
    assert_eq!(world.counts("self"), "0/0");

    ch.declare_with("a", &[dlx(""), dlrk("b"), ("x-message-ttl", Value::I32(10))]);
    ch.declare_with("b", &[dlx(""), dlrk("a"), ("x-message-ttl", Value::I32(10))]);
    ch.publish("a", "x");
    world.pass_ms(10);
    assert_eq!((world.counts("a"), world.counts("b")), ("0/0".into(), "1/0".into()));
    world.pass_ms(10);
    assert_eq!((world.counts("a"), world.counts("b")), ("0/0".into(), "0/0".into()));
}

#[test]
fn a_full_queue_that_dead_letters_to_itself_loses_the_message() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare_with("q", &[dlx(""), dlrk("q"), ("x-max-length", Value::I32(1))]);
    for body in ["a", "b", "c"] {
        ch.publish("q", body);
    }
    assert_eq!(ch.drain_bodies("q"), ["c"]);
}

#[test]
fn a_circle_with_a_rejection_goes_on() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare_with("work", &[dlx(""), dlrk("wait")]);
    ch.declare_with("wait", &[dlx(""), dlrk("work"), ("x-message-ttl", Value::I32(10))]);
    ch.publish("work", "x");
    for round in 1..=5 {
        reject_next(ch, "work");
        assert_eq!(world.counts("wait"), "1/0");
        world.pass_ms(10);
        assert_eq!(world.counts("work"), "1/0", "round {round}");
    }
    let dead = &ch.drain("work")[0];
    assert_eq!(deaths(dead), ["wait expired 5", "work rejected 5"]);
}

#[test]
fn a_story_that_a_client_tells_is_believed() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("dead");
    ch.declare_with("q", &[dlx(""), dlrk("dead")]);
    let event =
        table(&[("count", Value::I64(7)), ("queue", text("q")), ("reason", text("rejected"))]);
    let mut events = ArrayBuilder::default();
    events.push(&Value::Table(event.as_table()));
    ch.publish_headers("", "q", &[("x-death", Value::Array(events.as_array()))], "x");
    ch.publish_headers("", "q", &[("x-death", text("nonsense"))], "y");
    reject_next(ch, "q");
    reject_next(ch, "q");
    let dead = ch.drain("dead");
    assert_eq!(deaths(&dead[0]), ["q rejected 8"]);
    assert!(dead[0].header("x-first-death-queue").is_none());
    assert_eq!(deaths(&dead[1]), ["q rejected 1"], "what is no array is replaced");
}

#[test]
fn dead_letters_obey_the_limits_of_where_they_go() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("last");
    ch.declare_with("dead", &[dlx(""), dlrk("last"), ("x-max-length", Value::I32(1))]);
    ch.declare_with("q", &[dlx(""), dlrk("dead")]);
    ch.publish("q", "a");
    ch.publish("q", "b");
    reject_next(ch, "q");
    reject_next(ch, "q");
    assert_eq!(ch.drain_bodies("dead"), ["b"]);
    let last = ch.drain("last");
    assert_eq!(last[0].body, "a");
    assert_eq!(deaths(&last[0]), ["dead maxlen 1", "q rejected 1"]);
}

#[test]
fn a_consumer_of_the_dead_gets_them_at_once() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("dead");
    ch.declare_with("q", &[dlx(""), dlrk("dead"), ("x-message-ttl", Value::I32(100))]);
    ch.consume("dead", "c");
    ch.publish("q", "a");
    world.pass_ms(100);
    assert_eq!(ch.lines(), ["basic.deliver c 1 a"]);
}
