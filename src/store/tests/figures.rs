//! How long a start takes and how much memory a backlog. To be run alone, optimized:
//! `cargo test --release --lib store::tests::figures -- --ignored --nocapture`.

use crate::broker::record::DurableQueueId;

use super::model::{declared_queue, enqueued};
use super::*;

/// The memory that the process takes up, in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Runs a store for a while in a directory of its own, then says how long a start takes.
fn measure(what: &str, live: impl FnOnce(&mut Store)) {
    let home = tempfile::tempdir().unwrap();
    let disk = Arc::new(FileDisk::open(home.path()).unwrap());
    let (mut store, ..) = Store::open(disk.clone(), Options::default()).unwrap();
    let (begun, before) = (std::time::Instant::now(), resident());
    live(&mut store);
    let lived = begun.elapsed();
    let grown = resident().saturating_sub(before);
    store.close().unwrap();
    let begun = std::time::Instant::now();
    let (_, recovered, report) = Store::open(disk, Options::default()).unwrap();
    let started = begun.elapsed();
    let cold: u64 =
        recovered.queues.iter().filter_map(|queue| queue.cold).map(|it| it.messages).sum();
    eprintln!("{what}: lived {lived:.1?} and took {grown} KiB more, started in {started:.1?}");
    eprintln!("    {report}; {cold} of the messages are cold");
}

/// Publishes to one queue, and pages all out that is behind the latest.
fn pile_up(store: &mut Store, messages: Position, length: usize) {
    const BATCH: Position = 2000;
    let id = DurableQueueId(1);
    store.write(&[Record::QueueDeclared(declared_queue(id.0))]).unwrap();
    for first in (1..=messages).step_by(BATCH as usize) {
        let records: Vec<_> =
            (first..first + BATCH).map(|position| enqueued(&[(id, position)], length)).collect();
        store.write(&records).unwrap();
        let page: Vec<_> = (first..)
            .zip(records)
            .map(|(position, record)| {
                let Record::Enqueued { message, .. } = record else { panic!("it is one") };
                PagedMessage { position, expires_at: None, recorded: true, message }
            })
            .collect();
        store.page_out(PageOwner::Durable(id), &page).unwrap();
        while store.checkpoint_due() {
            store.checkpoint_step().unwrap();
        }
    }
}

#[test]
#[ignore = "it measures"]
fn definitions_of_many_queues() {
    measure("10,000 queues", |store| {
        let declared = (1..=10_000).map(|id| Record::QueueDeclared(declared_queue(id)));
        store.write(&declared.collect::<Vec<_>>()).unwrap();
    });
}

#[test]
#[ignore = "it measures"]
fn a_backlog_of_large_messages() {
    measure("1,000,000 messages of 1 KiB", |store| pile_up(store, 1_000_000, 1024));
}

#[test]
#[ignore = "it measures"]
fn a_backlog_of_many_messages() {
    measure("20,000,000 messages of 100 bytes", |store| pile_up(store, 20_000_000, 100));
}
