//! What does it cost to find where a message goes, and what does that depend on?
//!
//! Everything is measured through the core: a message whose octets were taken apart before is
//! published, routed and handed to a consumer that does not acknowledge. What `routing/default` takes is in
//! all others too.

use std::time::Duration;

use criterion::{
    BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
};
use leveret::broker::message::Message;
use leveret_bench::{Rig, message, properties, short};
use leveret_codec::method::queue;
use leveret_codec::table::TableBuilder;
use leveret_codec::{Properties, PropertyFields, Table, TableBuf, Value};

/// why: the program's own, since what a batch leads to is allocated.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Publishes in a batch, unless one of them takes very long.
const MESSAGES: u64 = 1_000;

const BINDINGS: [usize; 3] = [1, 100, 10_000];

const BODY: [u8; 16] = [b'x'; 16];

/// How many nanoseconds is the floor: a publish to the default exchange, found by the queue's name?
fn default_exchange(criterion: &mut Criterion) {
    let mut rig = consumed(&["hares"]);
    let mut group = criterion.benchmark_group("routing");
    group.throughput(Throughput::Elements(MESSAGES));
    group.bench_function("default", |bencher| {
        bencher.iter(|| publish(&mut rig, &message("", "hares", &BODY), MESSAGES));
    });
}

/// How does a publish that reaches one queue slow down with the bindings that do not match it? A
/// queue bound many times to a fanout exchange is one place to go.
fn one_of_many(criterion: &mut Criterion) {
    for exchange in ["direct", "fanout", "topic", "headers"] {
        let mut group = criterion.benchmark_group(format!("routing/{exchange}"));
        for bindings in BINDINGS {
            // why: each binding of a headers exchange is looked at.
            let messages = if (exchange, bindings) == ("headers", 10_000) { 10 } else { MESSAGES };
            let mut rig = consumed(&["hares"]);
            let name = format!("amq.{exchange}");
            for index in 0..bindings {
                bind(&mut rig, &name, "hares", &key(index), headers(index).as_table());
            }
            let (key, index) = (key(bindings / 2), bindings / 2);
            // why: headers cost by themselves, wherever the message goes.
            let message = match exchange {
                "headers" => with_headers(&name, &key, index),
                _ => message(&name, &key, &BODY),
            };
            group.sampling_mode(SamplingMode::Flat).throughput(Throughput::Elements(messages));
            group.bench_function(BenchmarkId::new("bindings", bindings), |bencher| {
                bencher.iter(|| publish(&mut rig, &message, messages));
            });
        }
    }
}

/// What does each further queue cost that a message goes to? Elements are deliveries.
fn to_many_queues(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("routing/fanout_to_all");
    for queues in BINDINGS {
        let names: Vec<String> = (0..queues).map(key).collect();
        let mut rig = consumed(&names.iter().map(String::as_str).collect::<Vec<_>>());
        for name in &names {
            bind(&mut rig, "amq.fanout", name, "", Table::EMPTY);
        }
        // why: what goes out in a batch has room in an outbox, or consumers would be stopped.
        let messages = (MESSAGES / queues as u64).max(1);
        let deliveries = messages * queues as u64;
        let message = message("amq.fanout", "", &BODY);
        group.sampling_mode(SamplingMode::Flat).throughput(Throughput::Elements(deliveries));
        group.bench_function(BenchmarkId::new("queues", queues), |bencher| {
            bencher.iter(|| {
                (0..messages).for_each(|_| rig.publish(&message));
                assert_eq!(rig.finish().messages, deliveries);
            });
        });
    }
}

/// What do wildcards cost? A thousand bindings of one form, of which one matches, and keys of three
/// words and of a hundred.
fn patterns(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("routing/topic_of_1000");
    group.throughput(Throughput::Elements(MESSAGES));
    let (short, deep) = ("a.b.".to_owned(), "w.".repeat(100));
    let forms = [
        ("words", &short, "a.b."),
        ("stars", &short, "*.*."),
        ("hash", &short, "#."),
        ("hash_of_100_words", &deep, "#."),
        ("three_hashes_of_100_words", &deep, "#.w.#.w.#."),
    ];
    for (form, before, pattern) in forms {
        let mut rig = consumed(&["hares"]);
        for index in 0..1_000 {
            bind(&mut rig, "amq.topic", "hares", &format!("{pattern}{index}"), Table::EMPTY);
        }
        let message = message("amq.topic", &format!("{before}500"), &BODY);
        let messages = if form.starts_with("three") { 10 } else { MESSAGES };
        group.sampling_mode(SamplingMode::Flat).throughput(Throughput::Elements(messages));
        group.bench_function(form, |bencher| {
            bencher.iter(|| publish(&mut rig, &message, messages));
        });
    }
}

/// Publishes a batch, of which each message reaches one consumer.
fn publish(rig: &mut Rig, message: &Message, messages: u64) {
    (0..messages).for_each(|_| rig.publish(message));
    assert_eq!(rig.finish().messages, messages);
}

/// A virtual host with these queues, and a consumer of each that does not acknowledge.
fn consumed(queues: &[&str]) -> Rig {
    let mut rig = Rig::new();
    for queue in queues {
        rig.declare(queue, false, Table::EMPTY);
        rig.consume(queue, true);
    }
    rig
}

fn bind(rig: &mut Rig, exchange: &str, queue: &str, key: &str, arguments: Table<'_>) {
    rig.call(&queue::Bind {
        queue: short(queue),
        exchange: short(exchange),
        routing_key: short(key),
        arguments,
        ..Default::default()
    });
}

fn key(index: usize) -> String {
    format!("warren.{index}")
}

/// Arguments of a binding of a headers exchange, and headers that match it.
fn headers(index: usize) -> TableBuf {
    let mut table = TableBuilder::default();
    table.push(b"warren", &Value::I64(index as i64)).push(b"kind", &Value::LongStr(b"hare"));
    table.finish()
}

fn with_headers(exchange: &str, key: &str, index: usize) -> Message {
    let headers = headers(index);
    let fields = PropertyFields { headers: Some(headers.as_table()), ..Default::default() };
    let octets = properties(&fields);
    Message::new(short(exchange), short(key), Properties::from_checked(&octets), &BODY)
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = default_exchange, one_of_many, to_many_queues, patterns
}
criterion_main!(benches);
