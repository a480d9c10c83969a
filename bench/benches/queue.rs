//! What does a queue cost: to pass messages through, to hold many, to be one of many?
//!
//! Everything is measured through the core, with messages whose octets were taken apart before; what
//! comes out is dropped. The records of durable messages are taken and count as synced at once.

use std::time::Duration;

use criterion::{
    BatchSize, BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
};
use leveret::broker::message::Message;
use leveret_bench::{Batch, PERSISTENT, Rig, message, properties, short};
use leveret_codec::method::{basic, confirm, queue};
use leveret_codec::table::TableBuilder;
use leveret_codec::{Properties, PropertyFields, Table, Value};

/// why: the program's own, since what a batch leads to is allocated.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Messages in a batch.
const MESSAGES: u64 = 1_000;

const BODY: [u8; 16] = [b'x'; 16];

/// What does a message cost from publish to delivery, and what do acknowledgements add, one by one and
/// by the hundred?
fn pass_through(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("queue/publish_deliver");
    group.throughput(Throughput::Elements(MESSAGES));
    let hare = message("", "hares", &BODY);
    for (name, each) in [("auto_ack", None), ("ack_each", Some(1)), ("ack_each_100", Some(100))] {
        let mut rig = Rig::new();
        rig.declare("hares", false, Table::EMPTY);
        rig.consume("hares", each.is_none());
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let batch = publish(&mut rig, &hare);
                assert_eq!(batch.messages, MESSAGES);
                if let Some(each) = each {
                    acknowledge(&mut rig, batch, each);
                }
            });
        });
    }
}

/// What does it add that a message is durable: its record, that of its end, and its confirm?
fn durable(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("queue/persistent");
    group.throughput(Throughput::Elements(MESSAGES));
    let hare = Message::new(short(""), short("hares"), PERSISTENT, &BODY);
    for (name, confirms) in [("ack_each_100", false), ("ack_each_100_and_confirms", true)] {
        let mut rig = Rig::new();
        rig.declare("hares", true, Table::EMPTY);
        rig.consume("hares", false);
        if confirms {
            rig.call(&confirm::Select { nowait: false });
        }
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let batch = publish(&mut rig, &hare);
                assert!(batch.messages == MESSAGES && batch.records >= MESSAGES as usize);
                acknowledge(&mut rig, batch, 100);
            });
        });
    }
}

/// What does a message cost that nobody wants yet, on average until a million wait?
fn grow(criterion: &mut Criterion) {
    const BACKLOG: u64 = 1_000_000;
    let mut group = criterion.benchmark_group("queue/grow");
    group.sampling_mode(SamplingMode::Flat).sample_size(10);
    group.throughput(Throughput::Elements(BACKLOG));
    group.bench_function(BenchmarkId::from_parameter(BACKLOG), |bencher| {
        bencher.iter_batched(
            || declared(Table::EMPTY),
            |mut rig| {
                fill(&mut rig, BACKLOG);
                rig
            },
            BatchSize::PerIteration,
        );
    });
}

/// Does a message in and one out with basic.get cost more when many wait in between?
fn depth(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("queue/publish_get_at_depth");
    group.throughput(Throughput::Elements(MESSAGES));
    let hare = message("", "hares", &BODY);
    for depth in [0, 1_000, 1_000_000] {
        let mut rig = declared(Table::EMPTY);
        fill(&mut rig, depth);
        group.bench_function(BenchmarkId::from_parameter(depth), |bencher| {
            bencher.iter(|| {
                publish(&mut rig, &hare);
                get(&mut rig);
            });
        });
    }
}

/// What do ten priorities cost, compared with the depth of zero above?
fn priorities(criterion: &mut Criterion) {
    let mut arguments = TableBuilder::default();
    arguments.push(b"x-max-priority", &Value::I32(10));
    let mut rig = declared(arguments.as_table());
    let messages: Vec<_> = (0..MESSAGES)
        .map(|index| {
            let priority = Some((index * 7 % 10) as u8);
            let octets = properties(&PropertyFields { priority, ..Default::default() });
            let properties = Properties::from_checked(&octets);
            Message::new(short(""), short("hares"), properties, &BODY)
        })
        .collect();
    let mut group = criterion.benchmark_group("queue/publish_get_by_priority");
    group.throughput(Throughput::Elements(MESSAGES));
    group.bench_function("10_priorities", |bencher| {
        bencher.iter(|| {
            messages.iter().for_each(|message| rig.publish(message));
            rig.finish();
            get(&mut rig);
        });
    });
}

/// What does basic.get alone cost, without acknowledgements?
fn fetch(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("queue");
    group.throughput(Throughput::Elements(MESSAGES));
    group.bench_function("get", |bencher| {
        bencher.iter_batched(
            || {
                let mut rig = declared(Table::EMPTY);
                fill(&mut rig, MESSAGES);
                rig
            },
            |mut rig| {
                get(&mut rig);
                rig
            },
            BatchSize::LargeInput,
        );
    });
}

/// What does each message of a purge cost?
fn purge(criterion: &mut Criterion) {
    const BACKLOG: u64 = 100_000;
    let mut group = criterion.benchmark_group("queue/purge");
    group.sampling_mode(SamplingMode::Flat).throughput(Throughput::Elements(BACKLOG));
    group.bench_function(BenchmarkId::from_parameter(BACKLOG), |bencher| {
        bencher.iter_batched(
            || {
                let mut rig = declared(Table::EMPTY);
                fill(&mut rig, BACKLOG);
                rig
            },
            |mut rig| {
                rig.call(&queue::Purge { queue: short("hares"), ..Default::default() });
                rig
            },
            BatchSize::PerIteration,
        );
    });
}

/// Does a message cost more when its queue is one of many, which nobody uses?
fn among_others(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("queue/one_used_of");
    group.throughput(Throughput::Elements(MESSAGES));
    let hare = message("", "hares", &BODY);
    for queues in [1, 1_000, 100_000] {
        let mut rig = Rig::new();
        (1..queues).for_each(|index| rig.declare(&format!("burrow.{index}"), false, Table::EMPTY));
        rig.declare("hares", false, Table::EMPTY);
        rig.consume("hares", true);
        group.bench_function(BenchmarkId::from_parameter(queues), |bencher| {
            bencher.iter(|| assert_eq!(publish(&mut rig, &hare).messages, MESSAGES));
        });
    }
}

/// A virtual host with one queue, which nobody consumes from.
fn declared(arguments: Table<'_>) -> Rig {
    let mut rig = Rig::new();
    rig.declare("hares", false, arguments);
    rig
}

/// Publishes so many messages; all are one in memory.
fn fill(rig: &mut Rig, messages: u64) {
    let hare = message("", "hares", &BODY);
    for _ in 0..messages / MESSAGES {
        publish(rig, &hare);
    }
}

/// Publishes a batch.
fn publish(rig: &mut Rig, message: &Message) -> Batch {
    (0..MESSAGES).for_each(|_| rig.publish(message));
    rig.finish()
}

/// Fetches as many messages as a batch has.
fn get(rig: &mut Rig) {
    let get = basic::Get { queue: short("hares"), no_ack: true, ..Default::default() };
    (0..MESSAGES).for_each(|_| rig.method(get));
    assert_eq!(rig.finish().messages, MESSAGES);
}

/// Acknowledges what a batch delivered, so many with each basic.ack.
fn acknowledge(rig: &mut Rig, batch: Batch, each: u64) {
    let mut delivery_tag = batch.delivery_tag - MESSAGES;
    while delivery_tag < batch.delivery_tag {
        delivery_tag += each;
        rig.method(basic::Ack { delivery_tag, multiple: each > 1 });
    }
    rig.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = pass_through, durable, grow, depth, priorities, fetch, purge, among_others
}
criterion_main!(benches);
