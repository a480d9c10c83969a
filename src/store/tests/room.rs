//! A disk that has no room: told before anything is touched, and nothing is lost.

use crate::broker::record::DurableQueueId;

use super::model::{assert_same, declared_queue, enqueued, unrecorded};
use super::*;

const QUEUE: DurableQueueId = DurableQueueId(1);
const OWNER: PageOwner = PageOwner::Durable(QUEUE);
const OPTIONS: Options =
    Options { log_file_bytes: 2000, log_files: 2, segment_bytes: 1000, start_bytes: u64::MAX };

fn is_no_room<T>(result: &Result<T, StoreError>) -> bool {
    matches!(result, Err(error) if error.is_shortage())
}

fn step_through(store: &mut Store) -> Result<(), StoreError> {
    while store.checkpoint_step()? {}
    Ok(())
}

/// A store with messages in segments and in the log, and its model.
fn filled(disk: &MemoryDisk) -> (Store, Model) {
    let mut model = Model::default();
    let (mut store, ..) = Store::open(Arc::new(disk.clone()), OPTIONS).unwrap();
    let mut records = vec![Record::QueueDeclared(declared_queue(QUEUE.0))];
    for position in 1..=60 {
        records.push(enqueued(&[(QUEUE, position)], 60));
        store.write(&records).unwrap();
        model.apply_all(&records);
        records.clear();
        step_through(&mut store).unwrap();
    }
    (store, model)
}

#[test]
fn whatever_is_asked_for_on_a_full_disk_changes_nothing_and_goes_on_later() {
    let empty = MemoryDisk::default();
    drop(filled(&empty));
    for room in (0..5000).step_by(37) {
        let disk = MemoryDisk::default();
        let (mut store, mut model) = filled(&disk);
        disk.set_capacity(Some(disk.total_bytes() + room));
        let dice = &mut Dice(room);
        let mut refused = 0;
        for position in 61..=100 {
            let records = [enqueued(&[(QUEUE, position)], 60)];
            let before = (disk.total_bytes(), store.last_lsn());
            match store.write(&records) {
                Ok(_) => model.apply_all(&records),
                Err(StoreError::NoRoom { .. }) => {
                    assert_eq!((disk.total_bytes(), store.last_lsn()), before);
                    refused += 1;
                }
                Err(error) => panic!("{error}"),
            }
            let page = [unrecorded(position, dice, false)];
            let before = disk.total_bytes();
            match store.page_out(OWNER, &page) {
                Ok(()) => {}
                Err(StoreError::NoRoom { .. }) => assert_eq!(disk.total_bytes(), before),
                Err(error) => panic!("{error}"),
            }
            let stepped = step_through(&mut store);
            assert!(stepped.is_ok() || is_no_room(&stepped), "{stepped:?}");
        }
        assert!(refused > 0, "with {room} bytes left");
        disk.set_capacity(None);
        let records = [enqueued(&[(QUEUE, 101)], 60)];
        store.write(&records).unwrap();
        model.apply_all(&records);
        step_through(&mut store).unwrap();
        drop(store);
        let (_, recovered, report) = open_on(Arc::new(disk.kill()), OPTIONS).unwrap();
        assert!(report.cuts.is_empty(), "{report}");
        assert_same(&recovered, &model.recovered());
    }
}

#[test]
fn settlements_get_through_when_moves_do_not_and_free_the_disk() {
    let disk = MemoryDisk::default();
    let (mut store, mut model) = filled(&disk);
    // Room for records, and not for messages that only change their place.
    disk.set_capacity(Some(disk.total_bytes() + OPTIONS.segment_bytes + 900));
    let page = [unrecorded(70, &mut Dice(1), false)];
    assert!(is_no_room(&store.page_out(OWNER, &page)));
    let before = disk.total_bytes();
    let settled = [Record::Settled { queue: QUEUE, first: 1, last: 60, acknowledged: false }];
    store.write(&settled).unwrap();
    model.apply_all(&settled);
    step_through(&mut store).unwrap();
    assert!(disk.total_bytes() < before / 2, "{} of {before}", disk.total_bytes());
    store.page_out(OWNER, &page).unwrap();
    drop(store);
    assert_same(&open_on(Arc::new(disk), OPTIONS).unwrap().1, &model.recovered());
}

#[test]
fn what_is_dead_goes_even_if_what_lives_cannot_be_moved() {
    let disk = MemoryDisk::default();
    let (mut store, mut model) = filled(&disk);
    let mut write = |record: Record| {
        store.write(std::slice::from_ref(&record)).unwrap();
        model.apply(&record);
    };
    // The log grows past its length without a checkpoint; then the segments die.
    (61..=90).for_each(|position| write(enqueued(&[(QUEUE, position)], 60)));
    write(Record::Settled { queue: QUEUE, first: 1, last: 40, acknowledged: false });
    disk.set_capacity(Some(disk.total_bytes() + OPTIONS.segment_bytes));
    let before = disk.total_bytes();
    let stepped = step_through(&mut store);
    assert!(stepped.is_ok() || is_no_room(&stepped), "{stepped:?}");
    assert!(disk.total_bytes() < before, "{} of {before}", disk.total_bytes());
    disk.set_capacity(None);
    step_through(&mut store).unwrap();
    drop(store);
    assert_same(&open_on(Arc::new(disk), OPTIONS).unwrap().1, &model.recovered());
}

/// Reclaims all that can be, in so many steps at most.
fn reclaim(store: &mut Store) {
    store.reclaim();
    for _ in 0..200 {
        if !store.checkpoint_step().unwrap() {
            return;
        }
    }
    panic!("it goes on for ever");
}

#[test]
fn what_is_settled_goes_when_room_is_short_though_there_is_little_of_it() {
    let disk = MemoryDisk::default();
    let options = Options { log_file_bytes: 1 << 20, log_files: 4, ..OPTIONS };
    let (mut store, ..) = Store::open(Arc::new(disk.clone()), options).unwrap();
    let mut model = Model::default();
    let mut write = |store: &mut Store, record: Record| {
        store.write(std::slice::from_ref(&record)).unwrap();
        model.apply(&record);
    };
    write(&mut store, Record::QueueDeclared(declared_queue(QUEUE.0)));
    (1..=60).for_each(|position| write(&mut store, enqueued(&[(QUEUE, position)], 60)));
    step_through(&mut store).unwrap();
    // One that lives is paged out, with some that are dead then, and one lives in the log.
    store.page_out(OWNER, &[unrecorded(70, &mut Dice(1), false)]).unwrap();
    write(&mut store, Record::Settled { queue: QUEUE, first: 1, last: 59, acknowledged: false });
    store.pages_done(OWNER, 70, 70);
    let before = disk.total_bytes();
    step_through(&mut store).unwrap();
    assert!(disk.total_bytes() > before / 2, "nothing of it is due");

    reclaim(&mut store);
    let after = disk.total_bytes();
    assert!(after < before / 4, "{after} of {before}");
    // Once more brings nothing, and costs nothing.
    reclaim(&mut store);
    assert_eq!(disk.total_bytes(), after);

    let (recovered, report) = reopen(store, &disk, options);
    assert!(report.cuts.is_empty(), "{report}");
    assert_same(&recovered, &model.recovered());
}

#[test]
fn what_cannot_be_moved_for_want_of_room_stays_and_nobody_waits_for_it() {
    let disk = MemoryDisk::default();
    let options = Options { log_file_bytes: 1 << 20, log_files: 4, ..OPTIONS };
    let (mut store, ..) = Store::open(Arc::new(disk.clone()), options).unwrap();
    let mut model = Model::default();
    let mut records = vec![Record::QueueDeclared(declared_queue(QUEUE.0))];
    records.extend((1..=60).map(|position| enqueued(&[(QUEUE, position)], 60)));
    store.write(&records).unwrap();
    model.apply_all(&records);
    disk.set_capacity(Some(disk.total_bytes() + 3 * OPTIONS.segment_bytes));
    reclaim(&mut store);
    // Records find room all the same.
    let settled = Record::Settled { queue: QUEUE, first: 1, last: 60, acknowledged: false };
    store.write(std::slice::from_ref(&settled)).unwrap();
    model.apply(&settled);
    let before = disk.total_bytes();
    reclaim(&mut store);
    assert!(disk.total_bytes() < before / 4, "{} of {before}", disk.total_bytes());
    let (recovered, report) = reopen(store, &disk, options);
    assert!(report.cuts.is_empty(), "{report}");
    assert_same(&recovered, &model.recovered());
}

fn reopen(store: Store, disk: &MemoryDisk, options: Options) -> (Recovered, Report) {
    drop(store);
    let disk = disk.kill();
    disk.set_capacity(None);
    let (_, recovered, report) = open_on(Arc::new(disk), options).unwrap();
    (recovered, report)
}

/// What a disk without inodes is asked for changes nothing, what has a file goes on, and what makes some as well.
#[test]
fn a_disk_that_takes_no_more_files_is_waited_for() {
    for spare in 0..12 {
        let disk = MemoryDisk::default();
        let (mut store, mut model) = filled(&disk);
        let others = (2..=9).map(|id| Record::QueueDeclared(declared_queue(id)));
        let others: Vec<_> = others.collect();
        store.write(&others).unwrap();
        model.apply_all(&others);
        disk.set_most_files(Some(disk.count_files() + spare));
        let mut refused = 0;
        for position in 61..=160 {
            let queue = DurableQueueId(1 + position % 9);
            let records = [enqueued(&[(queue, position)], 60)];
            // A record goes to the file that there is.
            store.write(&records).unwrap();
            model.apply_all(&records);
            let page = [unrecorded(position, &mut Dice(position), false)];
            let paged = store.page_out(PageOwner::Durable(queue), &page);
            let stepped = step_through(&mut store);
            for result in [paged, stepped] {
                assert!(result.is_ok() || is_no_room(&result), "{result:?}");
                refused += u64::from(result.is_err());
            }
        }
        assert!(refused > 0, "with {spare} files more");
        assert!(!store.has_room(), "the log waits for its next file");
        // All of it goes; no file is to be had but those that this makes.
        for id in 1..=9 {
            let settled = Record::Settled {
                queue: DurableQueueId(id),
                first: 1,
                last: 160,
                acknowledged: false,
            };
            store.write(std::slice::from_ref(&settled)).unwrap();
            model.apply(&settled);
        }
        let before = disk.count_files();
        store.reclaim();
        for _ in 0..100 {
            let _ = store.checkpoint_step();
        }
        assert!(disk.count_files() < before, "{} of {before}", disk.count_files());
        disk.set_most_files(None);
        step_through(&mut store).unwrap();
        let (recovered, report) = reopen(store, &disk, OPTIONS);
        assert!(report.cuts.is_empty(), "{report}");
        assert_same(&recovered, &model.recovered());
    }
}

#[test]
fn a_queue_in_which_nothing_lives_has_no_file_and_no_directory() {
    let disk = MemoryDisk::default();
    let options = Options { log_file_bytes: 1 << 20, log_files: 4, ..OPTIONS };
    let (mut store, ..) = Store::open(Arc::new(disk.clone()), options).unwrap();
    let queues = (1..=5).map(|id| Record::QueueDeclared(declared_queue(id)));
    store.write(&queues.collect::<Vec<_>>()).unwrap();
    let owners = (1..=5).map(|id| PageOwner::Durable(DurableQueueId(id)));
    let owners = owners.chain((1..=5).map(PageOwner::Transient));
    for owner in owners.clone() {
        store.page_out(owner, &[unrecorded(7, &mut Dice(1), false)]).unwrap();
    }
    let recorded = enqueued(&[(QUEUE, 8)], 60);
    store.write(std::slice::from_ref(&recorded)).unwrap();
    let Record::Enqueued { message, .. } = recorded else { unreachable!() };
    let paged = PagedMessage { position: 8, expires_at: None, recorded: true, message };
    store.page_out(OWNER, &[paged]).unwrap();
    let segments = |disk: &MemoryDisk| {
        disk.paths()
            .iter()
            .filter(|path| path.starts_with("queues") || path.starts_with("pages"))
            .count()
    };
    assert_eq!(segments(&disk), 11);
    for owner in owners {
        store.pages_done(owner, 7, 7);
    }
    let settled = Record::Settled { queue: QUEUE, first: 8, last: 8, acknowledged: true };
    store.write(&[settled]).unwrap();
    assert!(store.is_untidy());
    store.tidy();
    step_through(&mut store).unwrap();
    assert!(!store.is_untidy());
    assert_eq!(segments(&disk), 0);
    assert!(disk.list("queues").unwrap().is_empty());
    let run = disk.list("pages").unwrap();
    assert!(run.is_empty(), "{run:?}");
    // What comes later has its place.
    store.page_out(OWNER, &[unrecorded(9, &mut Dice(1), false)]).unwrap();
    assert_eq!(store.page_in(OWNER, 9, 9, 1000).unwrap().messages.len(), 1);
}

#[test]
fn settlements_have_room_where_another_took_all_there_was() {
    let disk = MemoryDisk::default();
    let options = Options { segment_bytes: 64_000, log_file_bytes: 1 << 20, ..OPTIONS };
    let (mut store, ..) = Store::open(Arc::new(disk.clone()), options).unwrap();
    let mut model = Model::default();
    let mut records = vec![Record::QueueDeclared(declared_queue(QUEUE.0))];
    records.extend((1..=100).map(|position| enqueued(&[(QUEUE, position)], 60)));
    // As soon as there is something to keep it for.
    store.keep_reserve();
    store.write(&records).unwrap();
    model.apply_all(&records);
    disk.set_capacity(Some(0));
    let mut write = |record: Record| {
        let written = store.write(std::slice::from_ref(&record));
        if written.is_ok() {
            model.apply(&record);
        }
        written
    };
    assert!(is_no_room(&write(enqueued(&[(QUEUE, 101)], 60))));
    let settled = |position| Record::Settled {
        queue: QUEUE,
        first: position,
        last: position,
        acknowledged: true,
    };
    let written = (1..=100).take_while(|&position| write(settled(position)).is_ok()).count();
    // The reserve is two thousand bytes, and it ends.
    assert!((30..60).contains(&written), "{written}");
    let (recovered, report) = reopen(store, &disk, options);
    assert!(report.cuts.is_empty(), "{report}");
    assert_same(&recovered, &model.recovered());
}
