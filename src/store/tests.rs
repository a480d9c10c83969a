//! The store against a naive model: random records, tiny files, crashes anywhere.

use std::sync::Arc;

use super::*;

mod check;
mod compaction;
mod damage;
mod figures;
mod model;
mod paging;
mod room;
mod simulation;

use model::{Dice, Model};

/// Sizes so small that a handful of records fills a file.
const TINY: Options =
    Options { log_file_bytes: 600, log_files: 2, segment_bytes: 400, start_bytes: u64::MAX };

/// Opens a store and pages everything in, as if no queue had a cold part.
fn open(disk: &MemoryDisk) -> (Store, Recovered, Report) {
    open_on(Arc::new(disk.clone()), TINY).expect("the store opens")
}

fn open_on(
    disk: Arc<dyn Disk>,
    options: Options,
) -> Result<(Store, Recovered, Report), StoreError> {
    let (mut store, mut recovered, mut report) = Store::open(disk, options)?;
    model::warm_up(&mut store, &mut recovered);
    report.cuts.append(&mut store.take_damage());
    Ok((store, recovered, report))
}

/// A store that was written and checkpointed for a while, and its model.
fn lived_in_store(disk: &MemoryDisk, seed: u64) -> (Store, Model) {
    let mut dice = Dice(seed);
    let mut model = Model::default();
    let (mut store, ..) = open(disk);
    for _ in 0..150 {
        let records = model.invent_batch(&mut dice);
        store.write(&records).unwrap();
        model.apply_all(&records);
        while store.checkpoint_step().unwrap() {}
    }
    (store, model)
}

#[test]
fn a_new_store_is_empty_and_stays_so() {
    let disk = MemoryDisk::default();
    for _ in 0..2 {
        let (store, recovered, report) = open(&disk);
        assert_eq!(recovered, Recovered::default());
        assert!(report.cuts.is_empty());
        assert!(!store.checkpoint_due());
        assert_eq!(store.last_lsn(), Lsn(0));
        store.close().unwrap();
    }
}

#[test]
fn everything_comes_back_after_a_stop() {
    let disk = MemoryDisk::default();
    let (store, model) = lived_in_store(&disk, 1);
    assert_eq!(store.last_lsn(), model.recovered().last_lsn);
    store.close().unwrap();
    assert!(disk.paths().iter().any(|path| path.ends_with(".segment")));
    assert!(disk.paths().iter().any(|path| path.ends_with(".settled")));
    for _ in 0..2 {
        let (_, recovered, report) = open(&disk);
        model::assert_same(&recovered, &model.recovered());
        assert!(report.cuts.is_empty(), "{report}");
    }
}

#[test]
fn it_works_on_files_too() {
    let home = tempfile::tempdir().unwrap();
    let mut dice = Dice(5);
    let mut model = Model::default();
    for _ in 0..4 {
        let disk = Arc::new(FileDisk::open(home.path()).unwrap());
        let (mut store, recovered, report) = open_on(disk, TINY).unwrap();
        model::assert_same(&recovered, &model.recovered());
        assert!(report.cuts.is_empty(), "{report}");
        for _ in 0..20 {
            let records = model.invent_batch(&mut dice);
            store.write(&records).unwrap();
            model.apply_all(&records);
            while store.checkpoint_step().unwrap() {}
        }
        store.close().unwrap();
    }
}

#[test]
fn a_long_life_takes_no_room() {
    let disk = MemoryDisk::default();
    let mut model = Model::default();
    let (mut store, ..) = open(&disk);
    let mut write = |store: &mut Store, records: &[Record]| {
        store.write(records).unwrap();
        model.apply_all(records);
        while store.checkpoint_step().unwrap() {}
    };
    let queue = model::declared_queue(1);
    write(&mut store, &[Record::QueueDeclared(queue.clone())]);
    // One message stays for ever, while others come and go, most of them slowly enough to be
    // moved to segments.
    for position in 1..=5000 {
        write(&mut store, &[model::enqueued(&[(queue.id, position)], 40)]);
        if position > 30 {
            let done = position - 29;
            write(
                &mut store,
                &[Record::Settled {
                    queue: queue.id,
                    first: done,
                    last: done,
                    acknowledged: false,
                }],
            );
        }
    }
    let files = disk.paths().len();
    assert!(files < 24, "{:?}", disk.paths());
    assert!(disk.total_bytes() < 12_000, "{} bytes", disk.total_bytes());
    let (_, recovered, _) = open(&disk);
    model::assert_same(&recovered, &model.recovered());
    assert_eq!(recovered.queues[0].messages[0].position, 1);
}

#[test]
fn records_that_come_all_at_once_make_no_long_log() {
    let disk = MemoryDisk::default();
    let options =
        Options { log_file_bytes: 8192, log_files: 2, segment_bytes: 4096, start_bytes: u64::MAX };
    let (mut store, ..) = open_on(Arc::new(disk.clone()), options).unwrap();
    let queue = model::declared_queue(1);
    let mut records = vec![Record::QueueDeclared(queue.clone())];
    records.extend((1..=2000).map(|position| model::enqueued(&[(queue.id, position)], 100)));
    while !records.is_empty() {
        let count = store.one_write(&records);
        store.write(&records[..count]).unwrap();
        records.drain(..count);
        for path in disk.list(log::LOG).unwrap() {
            let length = disk.length(&format!("{}/{path}", log::LOG)).unwrap().unwrap();
            assert!(length <= options.log_file_bytes * 5 / 4, "{path} has {length} bytes");
        }
        // What a checkpoint does meanwhile is bounded too, and is enough all the same.
        for _ in 0..16 {
            if store.is_behind() {
                store.checkpoint_step().unwrap();
            }
        }
        assert!(disk.list(log::LOG).unwrap().len() <= options.log_files + 2);
    }
    store.close().unwrap();
    let (_, recovered, _) = open_on(Arc::new(disk), options).unwrap();
    assert_eq!(recovered.queues[0].messages.len(), 2000);
}

#[test]
fn one_record_is_a_write_however_long_it_is() {
    let disk = MemoryDisk::default();
    let (store, ..) = open(&disk);
    let long = model::enqueued(&[(model::declared_queue(1).id, 1)], 10_000);
    assert_eq!(store.one_write(&[long.clone(), long]), 1);
}

#[test]
fn a_deleted_queue_leaves_nothing() {
    let disk = MemoryDisk::default();
    let (mut store, mut model) = lived_in_store(&disk, 3);
    let deleted: Vec<_> = model.queues.keys().map(|&id| Record::QueueDeleted { id }).collect();
    store.write(&deleted).unwrap();
    model.apply_all(&deleted);
    while store.checkpoint_step().unwrap() {}
    assert!(disk.list(segment::QUEUES).unwrap().is_empty());
    let (_, recovered, report) = open(&disk);
    model::assert_same(&recovered, &model.recovered());
    assert!(report.cuts.is_empty(), "{report}");
}

#[test]
fn a_message_for_many_queues_is_moved_in_bounded_steps() {
    let disk = MemoryDisk::default();
    let (mut store, ..) = open(&disk);
    let mut model = Model::default();
    let queues: Vec<_> = (1..=20).map(model::declared_queue).collect();
    let mut records: Vec<_> = queues.iter().cloned().map(Record::QueueDeclared).collect();
    let places: Vec<_> = queues.iter().map(|queue| (queue.id, 1)).collect();
    records.push(model::enqueued(&places, 1024 * 1024));
    store.write(&records).unwrap();
    model.apply_all(&records);
    for position in 2..5 {
        let records = [model::enqueued(&[(queues[0].id, position)], 1000)];
        store.write(&records).unwrap();
        model.apply_all(&records);
    }
    let (mut steps, mut before) = (0, disk.total_bytes());
    while store.checkpoint_step().unwrap() {
        assert!(disk.total_bytes() < before + 6 * 1024 * 1024);
        before = disk.total_bytes();
        steps += 1;
    }
    assert!(steps > 4);
    let (_, recovered, _) = open(&disk);
    model::assert_same(&recovered, &model.recovered());
}
