//! Queues: what dead-lettering keeps, and that nothing comes to a standstill.

use leveret_codec::method::basic;
use leveret_codec::table::{ArrayBuilder, TableBuilder};
use leveret_codec::{PropertyFields, TableBuf, Value};

use crate::support::world::{Channel, Received, World, s, text};

/// Headers of every type, some of them nested.
fn headers_of_every_type() -> TableBuf {
    let mut inner = TableBuilder::default();
    inner.push(b"deep", &Value::LongStr(b"down"));
    let inner = inner.finish();
    let mut array = ArrayBuilder::default();
    array.push(&Value::Bool(true));
    array.push(&Value::I64(-1));
    array.push(&Value::Table(inner.as_table()));
    let mut headers = TableBuilder::default();
    for (name, value) in [
        ("bool", Value::Bool(false)),
        ("i8", Value::I8(-8)),
        ("u8", Value::U8(8)),
        ("i16", Value::I16(-16)),
        ("u16", Value::U16(16)),
        ("i32", Value::I32(-32)),
        ("u32", Value::U32(32)),
        ("i64", Value::I64(-64)),
        ("f32", Value::F32(0.5)),
        ("f64", Value::F64(-0.25)),
        ("text", Value::LongStr("häßlich".as_bytes())),
        ("long", Value::LongStr(&[b'l'; 1000])),
        ("time", Value::Timestamp(1_000_000_000)),
        ("void", Value::Void),
        ("array", Value::Array(array.as_array())),
        ("table", Value::Table(inner.as_table())),
        ("octets", Value::Bytes(&[0, 255, 206])),
    ] {
        headers.push(name.as_bytes(), &value);
    }
    headers.finish()
}

/// The number of deaths in each queue, by its name.
fn deaths(message: &Received) -> Vec<(String, i64)> {
    let Some(Value::Array(events)) = message.header("x-death") else { return Vec::new() };
    let mut deaths: Vec<_> = events
        .iter()
        .map(|event| {
            let event = event.as_table().expect("an event is a table");
            let queue = event.find(b"queue").and_then(|it| it.as_bytes()).unwrap();
            let count = event.find(b"count").and_then(|it| it.as_i64()).unwrap();
            (String::from_utf8_lossy(queue).into_owned(), count)
        })
        .collect();
    deaths.sort();
    deaths
}

fn fetch(ch: Channel<'_>, queue: &str) -> Received {
    ch.send(basic::Get { queue: s(queue), ..Default::default() });
    let messages = ch.messages();
    assert_eq!(messages.len(), 1, "a message of {queue}");
    messages.into_iter().next().unwrap()
}

/// t: in other brokers, headers were lost or damaged on repeated ways through dead-letter exchanges.
#[test]
fn headers_survive_any_number_of_dead_letter_hops_pages_and_restarts() {
    const QUEUES: [&str; 3] = ["a", "b", "c"];
    const HOPS: usize = 60;
    let mut world = World::with_small_files();
    {
        let client = world.client();
        let ch = client.channel(1);
        for (index, name) in QUEUES.iter().enumerate() {
            let next = QUEUES[(index + 1) % QUEUES.len()];
            let arguments =
                [("x-dead-letter-exchange", text("")), ("x-dead-letter-routing-key", text(next))];
            ch.declare_durable(name, &arguments);
        }
        let headers = headers_of_every_type();
        let fields = PropertyFields {
            headers: Some(headers.as_table()),
            delivery_mode: Some(2),
            content_type: Some(s("text/plain")),
            correlation_id: Some(s("17")),
            timestamp: Some(1_234_567),
            ..Default::default()
        };
        ch.publish_with("", "a", fields, "body");
    }
    let expected = headers_of_every_type();
    for hop in 0..HOPS {
        if hop % 4 == 0 {
            world = world.restarted();
        }
        if hop % 5 == 0 {
            world.memory_share(0);
        }
        let client = world.client();
        let ch = client.channel(1);
        let message = fetch(ch, QUEUES[hop % QUEUES.len()]);
        let counted: i64 = deaths(&message).iter().map(|(_, count)| count).sum();
        assert_eq!((&*message.body, counted as usize), ("body", hop));
        for entry in expected.as_table().iter() {
            let name = entry.name.to_string();
            assert_eq!(message.header(&name), Some(entry.value), "{name} after {hop} hops");
        }
        let fields = message.fields();
        assert_eq!(fields.content_type, Some(s("text/plain")));
        assert_eq!((fields.correlation_id, fields.timestamp), (Some(s("17")), Some(1_234_567)));
        let own = fields.headers.unwrap().iter().count() - expected.as_table().iter().count();
        assert!(own <= 7, "{own} headers of the broker's own after {hop} hops");
        ch.reject(message.delivery_tag, false);
    }
}

/// w: in another broker, consumers of a priority queue got nothing more, though messages waited.
#[test]
fn consumers_of_a_priority_queue_never_stand_still_while_messages_wait() {
    let world = World::with_small_files();
    let client = world.client();
    let publisher = client.channel(9);
    publisher.declare_durable("q", &[("x-max-priority", Value::I32(4))]);
    let consumers: Vec<_> = (1..=3).map(|number| client.channel(number)).collect();
    for (index, ch) in consumers.iter().enumerate() {
        ch.qos(index as u16 + 1, false);
        ch.consume("q", "c");
    }
    let room = 1 + 2 + 3;
    let mut random = fastrand::Rng::with_seed(4);
    let mut held: Vec<(usize, u64)> = Vec::new();
    let (mut published, mut settled) = (0, 0);
    for step in 0..3000 {
        if published < 1000 && random.u8(..) < 100 {
            let priority = Some(random.u8(0..8));
            let delivery_mode = Some(random.u8(1..=2));
            let fields = PropertyFields { priority, delivery_mode, ..Default::default() };
            publisher.publish_with("", "q", fields, "x");
            published += 1;
        } else if !held.is_empty() {
            let (index, tag) = held.swap_remove(random.usize(..held.len()));
            if random.u8(..) < 80 {
                consumers[index].reject(tag, true);
            } else {
                consumers[index].ack(tag);
                settled += 1;
            }
        }
        for (index, ch) in consumers.iter().enumerate() {
            held.extend(ch.messages().iter().map(|message| (index, message.delivery_tag)));
        }
        let waiting = (published - settled) as usize;
        assert_eq!(held.len(), waiting.min(room), "step {step}: {waiting} of {published}");
    }
    while let Some((index, tag)) = held.pop() {
        consumers[index].ack(tag);
        for (index, ch) in consumers.iter().enumerate() {
            held.extend(ch.messages().iter().map(|message| (index, message.delivery_tag)));
        }
    }
    assert_eq!(world.counts("q"), "0/0");
    assert_eq!(world.restarted().counts("q"), "0/0");
}
