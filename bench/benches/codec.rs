//! What do octets cost: to be taken apart, to be put together, and as a command of the core?

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use leveret::broker::command::{Delivery, Outgoing};
use leveret_bench::{CHANNEL, FRAME_MAX, Rig, message, properties, publishes, short};
use leveret_codec::method::{basic, queue};
use leveret_codec::table::{ArrayBuilder, TableBuilder};
use leveret_codec::{
    ContentHeader, Decoder, Method, Properties, PropertyFields, Table, TableBuf, Value, encode,
    frame,
};

/// why: the program's own, since a message is an allocation.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Messages in a read, which takes some 60 KiB with the smaller bodies and 1 MiB with the larger.
const MESSAGES: usize = 1_000;

/// Bodies, in octets.
const SIZES: [usize; 2] = [16, 1024];

/// How many nanoseconds does a publish take until method, header and body lie bare, nothing kept?
fn decode_publishes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("codec/decode_publishes");
    group.throughput(Throughput::Elements(MESSAGES as u64));
    for size in SIZES {
        let read = publishes(&message("", "hares", &vec![b'x'; size]), MESSAGES);
        let decoder = Decoder::new(FRAME_MAX);
        group.bench_function(format!("{size}_octets"), |bencher| {
            bencher.iter(|| {
                let mut rest = read.as_slice();
                while let Ok(Some((frame, length))) = decoder.decode(rest) {
                    match frame.kind {
                        frame::METHOD => {
                            black_box(basic::Publish::from_payload(frame.payload));
                        }
                        frame::HEADER => {
                            let header = ContentHeader::decode(frame.payload);
                            black_box(header.map(|it| Properties::parse(it.properties)));
                        }
                        _ => drop(black_box(frame.payload)),
                    }
                    rest = &rest[length..];
                }
                assert!(rest.is_empty());
            });
        });
    }
}

/// How many nanoseconds does a delivery take from the outbox to the octets that a writer writes?
fn encode_deliveries(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("codec/encode_deliveries");
    group.throughput(Throughput::Elements(MESSAGES as u64));
    for size in SIZES {
        let deliveries: Vec<_> = (0..MESSAGES as u64)
            .map(|index| {
                Outgoing::Deliver(Delivery {
                    channel: CHANNEL,
                    consumer_tag: short("amq.ctag-0123456789abcdefghijkl").into(),
                    delivery_tag: index + 1,
                    redelivered: false,
                    message: message("", "hares", &vec![b'x'; size]),
                })
            })
            .collect();
        let mut buffer = Vec::new();
        group.bench_function(format!("{size}_octets"), |bencher| {
            bencher.iter(|| {
                buffer.clear();
                deliveries.iter().for_each(|delivery| delivery.encode(&mut buffer, FRAME_MAX));
                black_box(buffer.len())
            });
        });
    }
}

/// What does a table of an application's headers cost: to be checked, to be asked for its last entry,
/// to be built?
fn tables(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("codec/table");
    let table = headers();
    let entries = table.as_table();
    group.throughput(Throughput::Elements(1));
    group.bench_function("check_8_entries", |bencher| {
        bencher.iter(|| Table::parse(black_box(entries.as_bytes())).is_ok());
    });
    group.bench_function("find_the_last_of_8", |bencher| {
        bencher.iter(|| black_box(entries).find(black_box(b"valid")));
    });
    group.bench_function("build_8_entries", |bencher| bencher.iter(headers));

    let fields = PropertyFields {
        content_type: Some(short("application/json")),
        headers: Some(entries),
        delivery_mode: Some(2),
        message_id: Some(short("0c3f8a52-6a35-4f0c-9d3e-8f1f8c1c2a11")),
        timestamp: Some(1_700_000_000),
        ..Default::default()
    };
    let octets = properties(&fields);
    group.bench_function("check_properties_with_it", |bencher| {
        bencher.iter(|| Properties::parse(black_box(&octets)).is_ok());
    });
}

/// What does a method cost there and back: encoded into a frame, decoded out of it?
fn round_trips(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("codec/round_trip");
    group.throughput(Throughput::Elements(1));
    let arguments = headers();
    let methods: [Method<'_>; 3] = [
        basic::Ack { delivery_tag: 1, multiple: true }.into(),
        basic::Publish { routing_key: short("hares"), ..Default::default() }.into(),
        queue::Declare {
            queue: short("hares"),
            durable: true,
            arguments: arguments.as_table(),
            ..Default::default()
        }
        .into(),
    ];
    let decoder = Decoder::new(FRAME_MAX);
    let mut buffer = Vec::new();
    for method in methods {
        group.bench_function(method.name(), |bencher| {
            bencher.iter(|| {
                buffer.clear();
                encode::any_method(&mut buffer, CHANNEL, black_box(&method));
                let decoded = decoder.decode(&buffer).ok().flatten();
                let (frame, _) = decoded.expect("what was encoded is a frame");
                Method::decode(frame.payload).is_ok()
            });
        });
    }
}

/// What does a publish cost from the socket's octets to a message in the core's hands, its one
/// allocation included, and to be dropped again? The queue it goes to is none.
fn assemble(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("codec/assemble_publishes");
    group.throughput(Throughput::Elements(MESSAGES as u64));
    for size in SIZES {
        let read = publishes(&message("", "nowhere", &vec![b'x'; size]), MESSAGES);
        let mut rig = Rig::new();
        group.bench_function(format!("{size}_octets"), |bencher| {
            bencher.iter(|| {
                rig.input(&read);
                rig.finish()
            });
        });
    }
}

/// What does a message cost from the octets of its publish to the octets of its delivery, without
/// sockets, locks and threads: codec and core together?
fn through(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("codec/octets_to_octets");
    group.throughput(Throughput::Elements(MESSAGES as u64));
    for size in SIZES {
        let read = publishes(&message("", "hares", &vec![b'x'; size]), MESSAGES);
        let mut rig = Rig::new();
        rig.declare("hares", false, Table::EMPTY);
        rig.consume("hares", true);
        group.bench_function(format!("{size}_octets"), |bencher| {
            bencher.iter(|| {
                rig.input(&read);
                let batch = rig.write();
                assert_eq!(batch.messages, MESSAGES as u64);
                batch
            });
        });
    }
}

/// Headers as applications have them: short texts, a number, a truth, an array.
fn headers() -> TableBuf {
    let mut path = ArrayBuilder::default();
    path.push(&Value::LongStr(b"field")).push(&Value::LongStr(b"wood"));
    let mut table = TableBuilder::default();
    table
        .push(b"tenant", &Value::LongStr(b"warren-17"))
        .push(b"trace-id", &Value::LongStr(b"4bf92f3577b34da6a3ce929d0e0e4736"))
        .push(b"attempt", &Value::I32(3))
        .push(b"sent-at", &Value::Timestamp(1_700_000_000))
        .push(b"source", &Value::LongStr(b"meadow"))
        .push(b"weight", &Value::I64(3500))
        .push(b"path", &Value::Array(path.as_array()))
        .push(b"valid", &Value::Bool(true));
    table.finish()
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3));
    targets = decode_publishes, encode_deliveries, tables, round_trips, assemble, through
}
criterion_main!(benches);
