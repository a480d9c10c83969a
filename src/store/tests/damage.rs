//! Each kind of damage: what is reported, what is kept, and that the store goes on.

use std::io;

use crate::broker::record::{DurableQueueId, Position};

use super::model::{assert_same, declared_queue, enqueued};
use super::*;

pub(super) const QUEUE: DurableQueueId = DurableQueueId(1);
const OTHER: DurableQueueId = DurableQueueId(2);

fn positions(recovered: &Recovered, id: DurableQueueId) -> Vec<Position> {
    let queue = recovered.queues.iter().find(|queue| queue.definition.id == id).unwrap();
    queue.messages.iter().map(|message| message.position).collect()
}

fn settled(first: Position, last: Position) -> Record {
    Record::Settled { queue: QUEUE, first, last, acknowledged: false }
}

/// A store whose log holds two queues and some messages, in one file.
pub(super) fn with_messages_in_the_log(disk: &MemoryDisk) {
    let (mut store, ..) = open(disk);
    let mut records = vec![
        Record::QueueDeclared(declared_queue(QUEUE.0)),
        Record::QueueDeclared(declared_queue(OTHER.0)),
    ];
    records.extend((1..=6).map(|position| enqueued(&[(QUEUE, position)], 10)));
    store.write(&records).unwrap();
    store.close().unwrap();
}

/// A store with positions 1 to 40 of two queues, of which the first ones are in segments.
pub(super) fn with_messages_in_segments(disk: &MemoryDisk) {
    let (mut store, ..) = open(disk);
    let queues = [QUEUE, OTHER].map(|id| Record::QueueDeclared(declared_queue(id.0)));
    store.write(&queues).unwrap();
    for position in 1..=40 {
        store.write(&[enqueued(&[(QUEUE, position), (OTHER, position)], 30)]).unwrap();
        while store.checkpoint_step().unwrap() {}
    }
    store.close().unwrap();
}

fn all() -> Vec<Position> {
    (1..=40).collect()
}

pub(super) fn first_path(disk: &MemoryDisk, ending: &str) -> String {
    disk.paths().into_iter().find(|path| path.ends_with(ending)).unwrap()
}

/// Opens, writes another message, and checks that it and all else is there the next time.
fn goes_on(disk: &MemoryDisk) {
    let (mut store, before, _) = open(disk);
    let next = before.queues[0].last_position + 1;
    store.write(&[enqueued(&[(QUEUE, next)], 10)]).unwrap();
    while store.checkpoint_step().unwrap() {}
    let (_, after, _) = open(disk);
    let mut expected = positions(&before, QUEUE);
    expected.push(next);
    assert_eq!(positions(&after, QUEUE), expected);
    assert_eq!(after.last_lsn.0, before.last_lsn.0 + 1);
}

#[test]
fn a_torn_tail_is_cut_and_reported() {
    let whole = MemoryDisk::default();
    with_messages_in_the_log(&whole);
    let path = log::path(1);
    let length = whole.length(&path).unwrap().unwrap() as usize;
    for cut in 0..length {
        let disk = whole.kill();
        disk.damage(&path, |bytes| bytes.truncate(cut)).unwrap();
        let (_, recovered, report) = open(&disk);
        // The store was closed, so that it is known what is missing.
        let (missing, torn): (Vec<_>, Vec<_>) =
            report.cuts.iter().partition(|damage| damage.what.ends_with("to 8 are missing"));
        assert!(missing.len() == 1 && torn.len() <= 1, "{report}");
        for damage in torn {
            assert!(damage.what.contains("torn"), "{report}");
            assert_eq!((damage.path == path, damage.offset + damage.bytes), (true, cut as u64));
        }
        let (_, again, report) = open(&disk);
        assert_same(&again, &recovered);
        assert!(report.cuts.is_empty(), "{report}");
        if !recovered.queues.is_empty() {
            goes_on(&disk);
        }
    }
}

#[test]
fn a_tail_of_zeros_is_cut() {
    let disk = MemoryDisk::default();
    with_messages_in_the_log(&disk);
    let length = disk.length(&log::path(1)).unwrap().unwrap();
    disk.damage(&log::path(1), |bytes| bytes.resize(bytes.len() + 4096, 0)).unwrap();
    let (_, recovered, report) = open(&disk);
    assert_eq!(positions(&recovered, QUEUE), [1, 2, 3, 4, 5, 6]);
    assert_eq!((report.cuts[0].offset, report.cuts[0].bytes), (length, 4096));
    assert_eq!(disk.length(&log::path(1)).unwrap(), Some(length));
    goes_on(&disk);
}

#[test]
fn a_flipped_bit_in_the_log_costs_one_record() {
    let whole = MemoryDisk::default();
    with_messages_in_the_log(&whole);
    let path = log::path(1);
    let length = whole.length(&path).unwrap().unwrap() as usize;
    for bit in (0..length * 8).step_by(5) {
        let disk = whole.kill();
        disk.damage(&path, |bytes| bytes[bit / 8] ^= 1 << (bit % 8)).unwrap();
        let (_, recovered, report) = open(&disk);
        // Of the last record it is known as well that it was there.
        let other = report.cuts.iter().filter(|cut| cut.what != "records 8 to 8 are missing");
        assert_eq!(other.count(), 1, "bit {bit}: {report}");
        let records = if bit / 8 < framing::HEADER_LENGTH { 8 } else { 7 };
        assert_eq!(report.records, records, "bit {bit}: {report}");
        if recovered.queues.iter().any(|queue| queue.definition.id == QUEUE) {
            goes_on(&disk);
        }
    }
}

#[test]
fn a_missing_log_file_is_reported() {
    let disk = MemoryDisk::default();
    let (mut store, ..) = open(&disk);
    store.write(&[Record::QueueDeclared(declared_queue(QUEUE.0))]).unwrap();
    for position in 1..=20 {
        store.write(&[enqueued(&[(QUEUE, position)], 100)]).unwrap();
    }
    drop(store);
    disk.remove(&log::path(2)).unwrap();
    let (_, recovered, report) = open(&disk);
    assert_eq!(report.cuts.len(), 1);
    assert_eq!(report.cuts[0].what, "records 6 to 9 are missing");
    assert_eq!(
        positions(&recovered, QUEUE),
        (1..=20).filter(|p| !(5..=8).contains(p)).collect::<Vec<_>>()
    );
    goes_on(&disk);
}

/// A store with several log files, that was closed or not, and its last record.
fn with_log_files(disk: &MemoryDisk, is_closed: bool) -> Lsn {
    let (mut store, ..) = open(disk);
    store.write(&[Record::QueueDeclared(declared_queue(QUEUE.0))]).unwrap();
    for position in 1..=20 {
        store.write(&[enqueued(&[(QUEUE, position)], 100)]).unwrap();
    }
    let last = store.last_lsn();
    match is_closed {
        true => store.close().unwrap(),
        false => drop(store),
    }
    last
}

#[test]
fn the_last_log_file_or_all_of_them_missing_is_reported() {
    for is_closed in [true, false] {
        let whole = MemoryDisk::default();
        let last = with_log_files(&whole, is_closed);
        let names = whole.list(log::LOG).unwrap();
        let newest = format!("{}/{}", log::LOG, names.last().unwrap());
        for removed in [1, names.len()] {
            let disk = whole.kill();
            for name in names.iter().rev().take(removed) {
                disk.remove(&format!("{}/{name}", log::LOG)).unwrap();
            }
            let (_, _, report) = open(&disk);
            assert_eq!(report.cuts[0].path, newest, "{report}");
            assert!(report.cuts[0].what.starts_with("missing"), "{report}");
            let told = report
                .cuts
                .iter()
                .any(|cut| cut.what.contains(&format!("to {} are missing", last.0)));
            assert_eq!(told, is_closed, "{report}");
            // Told once; and what is written then is not taken for what is lost.
            let (mut store, _, report) = open(&disk);
            assert!(report.cuts.is_empty(), "{report}");
            store.write(&[Record::QueueDeclared(declared_queue(3))]).unwrap();
            drop(store);
            let (_, recovered, report) = open(&disk);
            assert!(report.cuts.is_empty(), "{report}");
            assert!(recovered.queues.iter().any(|queue| queue.definition.id.0 == 3));
        }
    }
}

#[test]
fn records_missing_at_the_end_of_a_log_that_was_closed_are_reported() {
    let whole = MemoryDisk::default();
    with_messages_in_the_log(&whole);
    let length = whole.length(&log::path(1)).unwrap().unwrap() as usize;
    let mut between = 0;
    for cut in framing::HEADER_LENGTH..length {
        let disk = whole.kill();
        disk.damage(&log::path(1), |bytes| bytes.truncate(cut)).unwrap();
        let (_, _, report) = open(&disk);
        let last = report.cuts.last().unwrap();
        assert!(last.what.ends_with("to 8 are missing"), "cut at {cut}: {report}");
        between += usize::from(report.cuts.len() == 1);
        let (_, _, report) = open(&disk);
        assert!(report.cuts.is_empty(), "{report}");
    }
    // Nothing is torn where the cut is between two records: before each of the eight.
    assert_eq!(between, 8);
}

#[test]
fn a_damaged_inventory_is_reported_and_mended() {
    let whole = MemoryDisk::default();
    with_messages_in_the_log(&whole);
    let length = whole.length(INVENTORY).unwrap().unwrap() as usize;
    for bit in 0..length * 8 {
        let disk = whole.kill();
        disk.damage(INVENTORY, |bytes| bytes[bit / 8] ^= 1 << (bit % 8)).unwrap();
        let (_, recovered, report) = open(&disk);
        assert_eq!(report.cuts.len(), 1, "bit {bit}: {report}");
        assert_eq!(positions(&recovered, QUEUE), [1, 2, 3, 4, 5, 6]);
        let (_, _, report) = open(&disk);
        assert!(report.cuts.is_empty(), "{report}");
    }
    // A store of before there was one is read.
    whole.remove(INVENTORY).unwrap();
    let (_, recovered, report) = open(&whole);
    assert!(report.cuts.is_empty(), "{report}");
    assert_eq!(positions(&recovered, QUEUE), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn a_log_file_that_was_to_go_is_not_replayed() {
    let memory = MemoryDisk::default();
    let disk = FaultyDisk::new(memory.clone());
    let (mut store, ..) = open_on(Arc::new(disk.clone()), TINY).unwrap();
    store.write(&[Record::QueueDeclared(declared_queue(QUEUE.0))]).unwrap();
    for position in 1..=20 {
        store.write(&[enqueued(&[(QUEUE, position)], 100)]).unwrap();
    }
    let mut step_until_the_log_goes = || {
        while !memory.list(log::LOG).unwrap().is_empty() {
            // Each change below `log/` from here on is the removal of a file.
            disk.fail(Fault {
                operation: Operation::Change,
                below: "log/".to_owned(),
                after: 0,
                kind: io::ErrorKind::Other,
                written: 0,
            });
            if store.checkpoint_step().is_err() {
                return;
            }
        }
    };
    step_until_the_log_goes();
    assert!(memory.length(&log::path(1)).unwrap().is_some());
    let plain = memory.kill();
    // The next file's header would tell that the first is not needed.
    memory.damage(&log::path(2), |bytes| bytes[0] ^= 1).unwrap();
    for (disk, cuts) in [(plain, 0), (memory, 1)] {
        let (_, recovered, report) = open(&disk);
        assert_eq!(report.cuts.len(), cuts, "{report}");
        assert_eq!(positions(&recovered, QUEUE), (1..=20).collect::<Vec<_>>());
        goes_on(&disk);
    }
}

#[test]
fn a_flipped_bit_in_a_segment_costs_one_message() {
    let whole = MemoryDisk::default();
    with_messages_in_segments(&whole);
    let path = first_path(&whole, ".segment");
    let length = whole.length(&path).unwrap().unwrap() as usize;
    for bit in (0..length * 8).step_by(7) {
        let disk = whole.kill();
        disk.damage(&path, |bytes| bytes[bit / 8] ^= 1 << (bit % 8)).unwrap();
        let (_, recovered, report) = open(&disk);
        assert_eq!(report.cuts.len(), 1, "bit {bit}: {report}");
        let lost = usize::from(bit / 8 >= framing::HEADER_LENGTH);
        assert_eq!(positions(&recovered, QUEUE).len(), 40 - lost, "bit {bit}: {report}");
        assert_eq!(positions(&recovered, OTHER), all());
        goes_on(&disk);
    }
}

#[test]
fn a_short_or_missing_segment_costs_what_was_in_it() {
    let whole = MemoryDisk::default();
    with_messages_in_segments(&whole);
    let path = first_path(&whole, ".segment");
    let length = whole.length(&path).unwrap().unwrap() as usize;
    for cut in 0..length {
        let disk = whole.kill();
        disk.damage(&path, |bytes| bytes.truncate(cut)).unwrap();
        let (_, recovered, report) = open(&disk);
        assert!(!report.cuts.is_empty(), "cut {cut}");
        assert!(positions(&recovered, QUEUE).ends_with(&all()[10..]), "cut {cut}: {report}");
        assert_eq!(positions(&recovered, OTHER), all());
        goes_on(&disk);
    }
    whole.remove(&path).unwrap();
    let (_, recovered, report) = open(&whole);
    assert_eq!(report.cuts.len(), 1);
    assert!(report.cuts[0].what.starts_with("missing"), "{report}");
    assert!(positions(&recovered, QUEUE).ends_with(&all()[10..]));
    assert_eq!(positions(&recovered, OTHER), all());
    goes_on(&whole);
}

#[test]
fn a_short_segment_that_had_room_takes_no_more() {
    let whole = MemoryDisk::default();
    with_messages_in_segments(&whole);
    let is_segment = |path: &String| path.ends_with(".segment");
    for path in whole.paths().into_iter().filter(is_segment) {
        let disk = whole.kill();
        disk.damage(&path, |bytes| bytes.truncate(bytes.len() - 9)).unwrap();
        let (mut store, before, _) = open(&disk);
        let mut expected = positions(&before, QUEUE);
        for position in 41..=80 {
            store.write(&[enqueued(&[(QUEUE, position), (OTHER, position)], 30)]).unwrap();
            while store.checkpoint_step().unwrap() {}
            expected.push(position);
        }
        let (_, after, _) = open(&disk);
        assert_eq!(positions(&after, QUEUE), expected, "{path}");
    }
}

#[test]
fn a_damaged_settlement_brings_its_messages_back() {
    let disk = MemoryDisk::default();
    with_messages_in_segments(&disk);
    let (mut store, ..) = open(&disk);
    store.write(&[settled(2, 2)]).unwrap();
    for position in 41..=60 {
        store.write(&[enqueued(&[(QUEUE, position)], 100)]).unwrap();
        while store.checkpoint_step().unwrap() {}
    }
    drop(store);
    assert!(!positions(&open(&disk).1, QUEUE).contains(&2));
    let path = first_path(&disk, ".settled");
    disk.damage(&path, |bytes| bytes[9] ^= 4).unwrap();
    let (_, recovered, report) = open(&disk);
    assert_eq!(report.cuts.len(), 1);
    assert_eq!(report.cuts[0].path, path);
    assert!(positions(&recovered, QUEUE).contains(&2));
    goes_on(&disk);
}

#[test]
fn a_segment_that_cannot_be_read_now_is_kept_for_later() {
    let memory = MemoryDisk::default();
    with_messages_in_segments(&memory);
    let path = first_path(&memory, ".segment");
    let disk = FaultyDisk::new(memory.clone());
    disk.fail(Fault {
        operation: Operation::Read,
        below: path.clone(),
        after: 2,
        kind: io::ErrorKind::Other,
        written: 0,
    });
    let (mut store, recovered, report) = open_on(Arc::new(disk.clone()), TINY).unwrap();
    assert!(disk.has_failed());
    assert_eq!(report.cuts.len(), 1, "{report}");
    assert!(positions(&recovered, QUEUE).len() < 40);
    assert_eq!(positions(&recovered, OTHER), all());
    for position in 41..=60 {
        store.write(&[enqueued(&[(QUEUE, position)], 100)]).unwrap();
        while store.checkpoint_step().unwrap() {}
    }
    let (_, recovered, report) = open(&memory);
    assert!(report.cuts.is_empty(), "{report}");
    assert_eq!(positions(&recovered, QUEUE), (1..=60).collect::<Vec<_>>());
}

#[test]
fn a_directory_of_no_queue_is_reported_and_kept() {
    let disk = MemoryDisk::default();
    with_messages_in_the_log(&disk);
    disk.open_append("queues/00000000000000ff/0000000000000001.segment").unwrap();
    for _ in 0..2 {
        let (_, recovered, report) = open(&disk);
        assert_eq!(report.cuts.len(), 1, "{report}");
        assert_eq!(report.cuts[0].path, "queues/00000000000000ff");
        assert_eq!(positions(&recovered, QUEUE).len(), 6);
    }
}

#[test]
fn either_copy_of_the_catalog_will_do() {
    let whole = MemoryDisk::default();
    with_messages_in_segments(&whole);
    let expected = open(&whole).1;
    for name in ["catalog", "catalog.copy"] {
        let length = whole.length(name).unwrap().unwrap() as usize;
        for byte in 0..length {
            let disk = whole.kill();
            disk.damage(name, |bytes| bytes[byte] ^= 16).unwrap();
            let (_, recovered, report) = open(&disk);
            assert_eq!(report.cuts.len(), 1, "{report}");
            assert_same(&recovered, &expected);
            assert!(open(&disk).2.cuts.is_empty());
        }
        let disk = whole.kill();
        disk.remove(name).unwrap();
        assert_same(&open(&disk).1, &expected);
        assert!(open(&disk).2.cuts.is_empty());
    }
}

#[test]
fn without_any_catalog_the_store_stays_closed_and_untouched() {
    let whole = MemoryDisk::default();
    with_messages_in_segments(&whole);
    let refusal = |disk: &MemoryDisk| {
        let paths = disk.paths();
        let Err(error) = Store::open(Arc::new(disk.clone()), TINY) else { panic!("it opened") };
        assert_eq!(disk.paths(), paths);
        error.to_string()
    };
    let damaged = whole.kill();
    for name in ["catalog", "catalog.copy"] {
        damaged.damage(name, |bytes| bytes[40] ^= 1).unwrap();
        whole.remove(name).unwrap();
    }
    assert!(refusal(&damaged).contains("no copy is whole"));
    assert!(refusal(&whole).contains("neither the catalog nor its copy"));
}

#[test]
fn another_format_is_refused() {
    for (version, expected) in [
        (3, "has format version 3; this leveret knows version 2"),
        (1, "has format version 1, of an older leveret; this one knows version 2"),
    ] {
        for path in ["catalog".to_owned(), log::path(1)] {
            let disk = MemoryDisk::default();
            with_messages_in_the_log(&disk);
            let other = |bytes: &mut Vec<u8>| {
                let magic = bytes[..8].try_into().unwrap();
                let mut header = framing::Header::parse(bytes, magic).unwrap();
                header.version = version;
                let rest = bytes.split_off(framing::HEADER_LENGTH);
                bytes.clear();
                header.put(bytes);
                bytes.extend(rest);
            };
            disk.damage(&path, other).unwrap();
            let Err(error) = Store::open(Arc::new(disk), TINY) else { panic!("it opened") };
            assert_eq!(error.to_string(), format!("{path} {expected}"));
        }
    }
}

/// A store in which a segment has gaps, the log has what is missing in them, and some of the
/// segment is settled. Returns the positions that live.
fn with_gaps(disk: &MemoryDisk) -> Vec<Position> {
    let owner = PageOwner::Durable(QUEUE);
    let options =
        Options { log_file_bytes: 1000, log_files: 2, segment_bytes: 10_000, ..Options::default() };
    let (mut store, ..) = Store::open(Arc::new(disk.clone()), options).unwrap();
    let queues = [QUEUE, OTHER].map(|id| Record::QueueDeclared(declared_queue(id.0)));
    store.write(&queues).unwrap();
    // Enough of another queue that the catalog names what was paged out before.
    let filler = |store: &mut Store, first: Position| {
        for position in first..first + 12 {
            store.write(&[enqueued(&[(OTHER, position)], 60)]).unwrap();
        }
    };
    filler(&mut store, 1);
    let records: Vec<_> = (1..=40).map(|position| enqueued(&[(QUEUE, position)], 30)).collect();
    store.write(&records).unwrap();
    let page: Vec<_> = (records.iter().zip(1..))
        .filter(|(_, position)| position % 4 != 0)
        .map(|(record, position)| {
            let Record::Enqueued { message, .. } = record.clone() else { panic!("it is one") };
            PagedMessage { position, expires_at: None, recorded: true, message }
        })
        .collect();
    store.page_out(owner, &page).unwrap();
    store.write(&[settled(5, 6), settled(17, 17)]).unwrap();
    filler(&mut store, 13);
    // The checkpoint of the first files, not of the one that has the messages.
    store.checkpoint_step().unwrap();
    while store.checkpoint.is_some() {
        store.checkpoint_step().unwrap();
    }
    assert!(store.state.queues[&QUEUE].live.len() == 10, "the gaps are in the log alone");
    store.close().unwrap();
    (1..=40).filter(|position| ![5, 6, 17].contains(position)).collect()
}

#[test]
fn damaged_settlements_lose_nothing_of_what_the_log_has_in_the_gaps() {
    let whole = MemoryDisk::default();
    let living = with_gaps(&whole);
    let (_, recovered, report) = open(&whole.kill());
    assert!(report.cuts.is_empty(), "{report}");
    assert_eq!(positions(&recovered, QUEUE), living);
    let path = first_path(&whole, ".settled");
    let length = whole.length(&path).unwrap().unwrap() as usize;
    assert!(length >= 11 * segment::SETTLEMENT_LENGTH);
    let check = |disk: &MemoryDisk, what: &str| {
        let (_, recovered, report) = open(disk);
        assert!(!report.cuts.is_empty(), "{what}");
        let found = positions(&recovered, QUEUE);
        assert!(living.iter().all(|position| found.contains(position)), "{what}: {found:?}");
        assert!(found.is_sorted_by(|one, other| one < other), "{what}: {found:?}");
        goes_on(disk);
    };
    for byte in 0..length {
        let disk = whole.kill();
        disk.damage(&path, |bytes| bytes[byte] ^= 8).unwrap();
        check(&disk, &format!("byte {byte} is not what it was"));
        let disk = whole.kill();
        disk.damage(&path, |bytes| bytes.truncate(byte)).unwrap();
        check(&disk, &format!("cut to {byte}"));
    }
    let disk = whole.kill();
    disk.remove(&path).unwrap();
    check(&disk, "missing");
    let disk = whole.kill();
    disk.damage(&path, |bytes| bytes.fill(0)).unwrap();
    check(&disk, "zeros");
}

#[test]
fn zeros_at_the_end_of_a_segment_cost_what_was_there() {
    let disk = MemoryDisk::default();
    with_messages_in_segments(&disk);
    let path = first_path(&disk, ".segment");
    disk.damage(&path, |bytes| {
        let from = bytes.len() - 90;
        bytes[from..].fill(0);
    })
    .unwrap();
    let (_, recovered, report) = open(&disk);
    assert_eq!(report.cuts.len(), 1, "{report}");
    assert!(report.cuts[0].what.contains("messages of queue \"queue 1\" are lost"), "{report}");
    let found = positions(&recovered, QUEUE);
    assert!((37..40).contains(&found.len()), "{found:?}");
    goes_on(&disk);
}

#[test]
fn a_directory_that_cannot_be_written_poisons_the_store_and_harms_nothing() {
    let home = tempfile::tempdir().unwrap();
    let queues = home.path().join(segment::QUEUES);
    let disk = Arc::new(FileDisk::open(home.path()).unwrap());
    let (mut store, ..) = Store::open(disk.clone(), TINY).unwrap();
    store.write(&[Record::QueueDeclared(declared_queue(QUEUE.0))]).unwrap();
    // why: a file where the directory should be stops also those whom permissions do not stop.
    std::fs::write(&queues, "").unwrap();
    let mut synced = 0;
    let error = loop {
        store.write(&[enqueued(&[(QUEUE, synced + 1)], 100)]).unwrap();
        synced += 1;
        match store.checkpoint_step() {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(error.to_string().starts_with("cannot open queues/"), "{error}");
    assert!(matches!(store.write(&[]), Err(StoreError::Poisoned)));
    drop((store, disk));
    std::fs::remove_file(&queues).unwrap();
    let disk = Arc::new(FileDisk::open(home.path()).unwrap());
    let (_, recovered, report) = open_on(disk, TINY).unwrap();
    assert!(report.cuts.is_empty(), "{report}");
    assert_eq!(positions(&recovered, QUEUE), (1..=synced).collect::<Vec<_>>());
}

#[test]
fn what_the_disk_takes_in_part_for_want_of_room_is_taken_back_and_goes_on_later() {
    for after in 0.. {
        let memory = MemoryDisk::default();
        with_messages_in_segments(&memory);
        let disk = FaultyDisk::new(memory.clone());
        let (mut store, ..) = open_on(Arc::new(disk.clone()), TINY).unwrap();
        disk.fail(Fault {
            operation: Operation::Append,
            below: String::new(),
            after,
            kind: io::ErrorKind::StorageFull,
            written: 7,
        });
        let mut refused = 0;
        let mut again = |result: Result<bool, StoreError>| match result {
            Ok(is_due) => is_due,
            Err(error) => {
                assert!(error.is_shortage(), "{error}");
                refused += 1;
                true
            }
        };
        for position in 41..=60 {
            let records = [enqueued(&[(QUEUE, position)], 100)];
            while again(store.write(&records).map(|_| false)) {}
            while again(store.checkpoint_step()) {}
        }
        if !disk.has_failed() {
            assert!(after > 30);
            return;
        }
        // What is noted of the log may fail, and nothing else without a word.
        assert!(refused <= 1, "{refused}");
        for disk in [memory.kill(), memory.crash(|_, _| 0)] {
            let (_, recovered, report) = open(&disk);
            assert!(report.cuts.is_empty(), "{report}");
            assert_eq!(positions(&recovered, QUEUE), (1..=60).collect::<Vec<_>>());
        }
    }
}

#[test]
fn a_failed_sync_is_never_tried_again() {
    let memory = MemoryDisk::default();
    with_messages_in_the_log(&memory);
    let disk = FaultyDisk::new(memory.clone());
    let (mut store, ..) = open_on(Arc::new(disk.clone()), TINY).unwrap();
    disk.fail(Fault {
        operation: Operation::Sync,
        below: "log/".to_owned(),
        after: 0,
        kind: io::ErrorKind::Other,
        written: 0,
    });
    let record = enqueued(&[(QUEUE, 7)], 10);
    assert!(matches!(store.write(std::slice::from_ref(&record)), Err(StoreError::Io { .. })));
    assert_eq!(store.last_lsn(), Lsn(8));
    // The next sync would succeed; nobody asks for it.
    assert!(matches!(store.write(&[record]), Err(StoreError::Poisoned)));
    assert!(matches!(store.close(), Err(StoreError::Poisoned)));
    assert_eq!(positions(&open(&memory.crash(|_, _| 0)).1, QUEUE), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn random_damage_is_survived_or_refused_but_never_a_panic() {
    let whole = MemoryDisk::default();
    let (_, model) = lived_in_store(&whole, 9);
    let paths = whole.paths();
    for seed in 0..600 {
        let mut dice = Dice(seed);
        let disk = whole.kill();
        for _ in 0..=dice.below(5) {
            let path = &paths[dice.below(paths.len() as u64) as usize];
            disk.damage(path, |bytes| damage_somewhere(bytes, &mut dice)).unwrap();
        }
        let Ok((mut store, recovered, _)) = open_on(Arc::new(disk.clone()), TINY) else {
            continue;
        };
        let mut after = recovered.clone();
        if let Some(queue) = recovered.queues.first() {
            let place = (queue.definition.id, queue.last_position + 1);
            store.write(&[enqueued(&[place], 10)]).expect("the store can be written");
            after = open(&disk).1;
            assert_eq!(after.queues[0].messages.len(), queue.messages.len() + 1, "seed {seed}");
        }
        assert_eq!(after.queues.len(), recovered.queues.len(), "seed {seed}");
        assert!(recovered.last_lsn <= model.last, "seed {seed}");
    }
}

fn damage_somewhere(bytes: &mut Vec<u8>, dice: &mut Dice) {
    let at = dice.below(bytes.len() as u64 + 1) as usize;
    let to = bytes.len().min(at + dice.below(40) as usize);
    match dice.below(4) {
        0 => bytes.truncate(at),
        1 => bytes[at..to].fill(0),
        2 => bytes[at..to].iter_mut().for_each(|byte| *byte = dice.below(256) as u8),
        _ => drop(bytes.drain(at..to)),
    }
}
