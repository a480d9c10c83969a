//! Paging: what goes out comes back, in order, from wherever it is, and is read once.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::broker::record::DurableQueueId;

use super::model::{Dice, declared_queue, enqueued, page_in_all, unrecorded};
use super::*;

const QUEUE: DurableQueueId = DurableQueueId(1);
const OWNER: PageOwner = PageOwner::Durable(QUEUE);

/// A disk that counts what is read from it.
struct CountingDisk {
    disk: MemoryDisk,
    read: Arc<AtomicU64>,
}

struct CountingRead {
    file: Box<dyn DiskRead>,
    read: Arc<AtomicU64>,
}

impl DiskRead for CountingRead {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(offset, buffer)?;
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

impl Disk for CountingDisk {
    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        self.disk.list(directory)
    }
    fn length(&self, path: &str) -> io::Result<Option<u64>> {
        self.disk.length(path)
    }
    fn open_read(&self, path: &str) -> io::Result<Box<dyn DiskRead>> {
        let file = self.disk.open_read(path)?;
        Ok(Box::new(CountingRead { file, read: self.read.clone() }))
    }
    fn open_append(&self, path: &str) -> io::Result<Box<dyn DiskFile>> {
        self.disk.open_append(path)
    }
    fn truncate(&self, path: &str, length: u64) -> io::Result<()> {
        self.disk.truncate(path, length)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove(&self, path: &str) -> io::Result<()> {
        self.disk.remove(path)
    }
    fn remove_directory(&self, directory: &str) -> io::Result<()> {
        self.disk.remove_directory(directory)
    }
    fn sync_directory(&self, directory: &str) -> io::Result<()> {
        self.disk.sync_directory(directory)
    }
    fn free(&self) -> io::Result<u64> {
        self.disk.free()
    }
}

fn options(log_file_bytes: u64, segment_bytes: u64) -> Options {
    Options { log_file_bytes, log_files: 2, segment_bytes, ..Options::default() }
}

/// A store with one queue on a disk, and what is read from the disk.
fn with_queue(options: Options) -> (Store, MemoryDisk, Arc<AtomicU64>) {
    let disk = MemoryDisk::default();
    let read = Arc::new(AtomicU64::new(0));
    let counting = CountingDisk { disk: disk.clone(), read: read.clone() };
    let (mut store, ..) = Store::open(Arc::new(counting), options).unwrap();
    store.write(&[Record::QueueDeclared(declared_queue(QUEUE.0))]).unwrap();
    (store, disk, read)
}

/// Enqueues messages with bodies of this length.
fn publish(store: &mut Store, positions: impl IntoIterator<Item = Position>, length: usize) {
    let records: Vec<_> =
        positions.into_iter().map(|position| enqueued(&[(QUEUE, position)], length)).collect();
    store.write(&records).unwrap();
}

/// As a core holds them that was given what [`publish`] wrote.
fn recorded(positions: impl IntoIterator<Item = Position>, length: usize) -> Vec<PagedMessage> {
    let paged = |position| {
        let Record::Enqueued { message, .. } = enqueued(&[(QUEUE, position)], length) else {
            unreachable!("it makes one");
        };
        PagedMessage { position, expires_at: None, recorded: true, message }
    };
    positions.into_iter().map(paged).collect()
}

fn positions(messages: &[PagedMessage]) -> Vec<Position> {
    messages.iter().map(|message| message.position).collect()
}

#[test]
fn what_lies_in_overlapping_segments_of_both_kinds_is_merged() {
    let (mut store, ..) = with_queue(options(100_000, 600));
    let dice = &mut Dice(1);
    publish(&mut store, (1..=90).filter(|position| position % 3 != 0), 20);
    // Two streams of recorded messages that overlap, and every third is transient.
    for begin in [31, 1] {
        for start in (begin..begin + 60).step_by(10) {
            let mut page = recorded((start..start + 10).filter(|it| it % 3 != 0), 20);
            page.retain(|message| (message.position % 2 == 0) == (begin == 1));
            page.extend(
                (start..start + 10)
                    .filter(|it| it % 3 == 0 && begin == 31)
                    .map(|it| unrecorded(it, dice, false)),
            );
            page.sort_by_key(|message| message.position);
            store.page_out(OWNER, &page).unwrap();
        }
    }
    let found = page_in_all(&mut store, OWNER, 0, Position::MAX);
    let is_transient = |it: Position| it.is_multiple_of(3);
    let expected = |&it: &Position| match it.is_multiple_of(2) {
        _ if is_transient(it) => it > 30,
        true => it <= 60,
        false => it > 30,
    };
    assert_eq!(positions(&found), (1..=90).filter(expected).collect::<Vec<_>>());
    assert!(found.iter().all(|message| message.recorded == (message.position % 3 != 0)));
    // From the middle, backwards, and again what was already given.
    for first in [45, 80, 12, 12, 90, 91] {
        let found = page_in_all(&mut store, OWNER, first, 70);
        assert_eq!(positions(&found), (first..=70).filter(expected).collect::<Vec<_>>());
    }
    store
        .write(&[Record::Settled { queue: QUEUE, first: 1, last: 40, acknowledged: false }])
        .unwrap();
    store.pages_done(OWNER, 1, 63);
    let found = page_in_all(&mut store, OWNER, 0, 70);
    let left = |it: &Position| expected(it) && *it > if is_transient(*it) { 63 } else { 40 };
    assert_eq!(positions(&found), (1..=70).filter(left).collect::<Vec<_>>());
    assert!(store.take_damage().is_empty());
}

#[test]
fn a_drain_reads_everything_once() {
    let (mut store, disk, read) = with_queue(options(64 * 1024 * 1024, 1024 * 1024));
    const MESSAGES: Position = 30_000;
    for start in (1..=MESSAGES).step_by(1000) {
        publish(&mut store, start..start + 1000, 100);
        store.page_out(OWNER, &recorded(start..start + 1000, 100)).unwrap();
    }
    let in_segments: u64 = disk
        .paths()
        .iter()
        .filter(|path| path.ends_with(".segment"))
        .map(|path| disk.length(path).unwrap().unwrap())
        .sum();
    read.store(0, Ordering::Relaxed);
    let (mut next, mut pages, mut count) = (Some(1), 0, 0);
    while let Some(first) = next {
        // More comes behind while it is drained.
        if pages % 100 == 0 {
            let behind = MESSAGES + 1 + pages;
            publish(&mut store, [behind], 100);
            store.page_out(OWNER, &recorded([behind], 100)).unwrap();
        }
        let page = store.page_in(OWNER, first, Position::MAX, 4000).unwrap();
        let (Some(first), Some(last)) = (page.messages.first(), page.messages.last()) else {
            break;
        };
        count += page.messages.len() as u64;
        pages += 1;
        let settled = Record::Settled {
            queue: QUEUE,
            first: first.position,
            last: last.position,
            acknowledged: false,
        };
        store.write(&[settled]).unwrap();
        next = page.next;
    }
    assert!(count > MESSAGES && pages > 500, "{count} messages in {pages} pages");
    let read = read.load(Ordering::Relaxed);
    assert!(read < in_segments + in_segments / 4, "{read} bytes for {in_segments}");
}

#[test]
fn more_queues_than_may_keep_files_open_are_drained_by_turns() {
    let disk = MemoryDisk::default();
    let (mut store, ..) = Store::open(Arc::new(disk), options(100_000, 2000)).unwrap();
    let dice = &mut Dice(3);
    let mut queues: Vec<(PageOwner, Vec<PagedMessage>)> = (1..=40)
        .map(|number| {
            let page: Vec<_> = (1..=50).map(|it| unrecorded(it, dice, false)).collect();
            store.page_out(PageOwner::Transient(number), &page).unwrap();
            (PageOwner::Transient(number), page)
        })
        .collect();
    let mut first = 1;
    while queues.iter().any(|(_, rest)| !rest.is_empty()) {
        for (owner, rest) in &mut queues {
            let page = store.page_in(*owner, first, first + 3, 100_000).unwrap();
            let kept = rest.len().min(4);
            assert_eq!(page.messages, rest.drain(..kept).collect::<Vec<_>>());
            assert_eq!(page.next, None);
        }
        first += 4;
    }
}

#[test]
fn what_was_paged_out_is_there_once_after_any_restart() {
    let options = options(1500, 600);
    let (mut store, disk, _) = with_queue(options);
    for position in 1..=60 {
        publish(&mut store, [position], 40);
        if position % 7 == 0 {
            store.page_out(OWNER, &recorded(position - 6..=position, 40)).unwrap();
        }
        store.checkpoint_step().unwrap();
        for disk in [disk.kill(), disk.crash(|_, _| 0), disk.crash(|_, most| most / 2)] {
            let (mut store, mut recovered, report) = Store::open(Arc::new(disk), options).unwrap();
            assert!(report.cuts.is_empty(), "{report}");
            model::warm_up(&mut store, &mut recovered);
            let found = recovered.queues[0].messages.iter().map(|message| message.position);
            assert_eq!(found.collect::<Vec<_>>(), (1..=position).collect::<Vec<_>>());
        }
    }
}

#[test]
fn a_page_out_at_any_step_of_a_checkpoint_leaves_no_gap_that_later_messages_fall_into() {
    let options = options(1500, 100_000);
    for step in 0..12 {
        let (mut store, disk, _) = with_queue(options);
        let other = DurableQueueId(2);
        store.write(&[Record::QueueDeclared(declared_queue(other.0))]).unwrap();
        let filler = |store: &mut Store, first: Position| {
            for position in first..first + 60 {
                store.write(&[enqueued(&[(other, position)], 40)]).unwrap();
            }
        };
        filler(&mut store, 1);
        publish(&mut store, 1..=12, 40);
        store.page_out(OWNER, &recorded(1..=5, 40)).unwrap();
        for _ in 0..step {
            store.checkpoint_step().unwrap();
        }
        // Six and seven stay in memory, and so in the log.
        store.page_out(OWNER, &recorded(8..=10, 40)).unwrap();
        while store.checkpoint.is_some() {
            store.checkpoint_step().unwrap();
        }
        // A start that finds less in the segment, and appends what was left out before.
        let disk = disk.crash(|_, _| 0);
        let (mut store, recovered, _) = Store::open(Arc::new(disk.clone()), options).unwrap();
        let in_log = recovered.queues[0].messages.iter().map(|message| message.position);
        let in_log: Vec<_> = in_log.collect();
        store.page_out(OWNER, &recorded(in_log, 40)).unwrap();
        filler(&mut store, 61);
        while store.checkpoint_step().unwrap() {}
        drop(store);
        let (mut store, mut recovered, report) = Store::open(Arc::new(disk), options).unwrap();
        assert!(report.cuts.is_empty(), "{report}");
        model::warm_up(&mut store, &mut recovered);
        let found = recovered.queues[0].messages.iter().map(|message| message.position);
        assert_eq!(found.collect::<Vec<_>>(), (1..=12).collect::<Vec<_>>(), "step {step}");
    }
}

#[test]
fn transient_pages_go_with_the_process_and_with_their_queue() {
    let (mut store, disk, _) = with_queue(options(1500, 600));
    let dice = &mut Dice(2);
    let page: Vec<_> = (1..=30).map(|it| unrecorded(it, dice, false)).collect();
    let pages = |disk: &MemoryDisk| {
        disk.paths().into_iter().filter(|path| path.starts_with("pages/")).count()
    };
    for owner in [OWNER, PageOwner::Transient(7), PageOwner::Transient(8)] {
        store.page_out(owner, &page).unwrap();
    }
    let all = pages(&disk);
    store.forget_pages(7);
    while store.checkpoint_step().unwrap() {}
    assert_eq!(pages(&disk), all / 3 * 2);
    store.pages_done(PageOwner::Transient(8), 1, 30);
    while store.checkpoint_step().unwrap() {}
    assert_eq!(pages(&disk), all / 3);
    store.forget_pages(8);
    // A queue that is declared anew has others.
    let next = disk.kill();
    store.write(&[Record::QueueDeleted { id: QUEUE }]).unwrap();
    while store.checkpoint_step().unwrap() {}
    assert_eq!(pages(&disk), 0);
    assert!(disk.list(segment::PAGES).unwrap().is_empty());

    let (mut store, recovered, report) = Store::open(Arc::new(next.clone()), TINY).unwrap();
    assert!(report.cuts.is_empty() && recovered.queues[0].cold.is_none());
    assert!(page_in_all(&mut store, OWNER, 0, Position::MAX).is_empty());
    store.page_out(OWNER, &page[..3]).unwrap();
    while store.checkpoint_step().unwrap() {}
    assert_eq!(page_in_all(&mut store, OWNER, 0, Position::MAX), page[..3]);
    assert_eq!(pages(&next), 1);
}

#[test]
fn a_poisoned_store_can_be_read() {
    let memory = MemoryDisk::default();
    let disk = FaultyDisk::new(memory);
    let (mut store, ..) = Store::open(Arc::new(disk.clone()), options(1500, 600)).unwrap();
    store.write(&[Record::QueueDeclared(declared_queue(QUEUE.0))]).unwrap();
    publish(&mut store, 1..=20, 40);
    let page = recorded(1..=10, 40);
    store.page_out(OWNER, &page).unwrap();
    disk.fail(Fault {
        operation: Operation::Sync,
        below: String::new(),
        after: 0,
        kind: io::ErrorKind::Other,
        written: 0,
    });
    assert!(store.write(&[enqueued(&[(QUEUE, 21)], 10)]).is_err());
    assert!(matches!(store.page_out(OWNER, &page), Err(StoreError::Poisoned)));
    assert_eq!(page_in_all(&mut store, OWNER, 1, 20), page);
}

#[test]
fn damage_in_a_page_costs_what_is_damaged() {
    let whole = MemoryDisk::default();
    let options = options(100_000, 600);
    let (mut store, ..) = Store::open(Arc::new(whole.clone()), options).unwrap();
    store.write(&[Record::QueueDeclared(declared_queue(QUEUE.0))]).unwrap();
    publish(&mut store, 1..=30, 40);
    let page = recorded(1..=30, 40);
    store.page_out(OWNER, &page).unwrap();
    let paths = whole.paths();
    let path = paths.iter().find(|path| path.ends_with(".segment")).unwrap();
    let intact = whole.kill();
    let bytes = read_whole(&intact, path).unwrap().unwrap();
    for byte in framing::HEADER_LENGTH..bytes.len() {
        whole.damage(path, |bytes| bytes[byte] ^= 0x20).unwrap();
        // The reader begins again, as nothing before the first position is wanted.
        let found = page_in_all(&mut store, OWNER, 0, Position::MAX);
        let damage = store.take_damage();
        let lost: Vec<_> = page.iter().filter(|message| !found.contains(message)).collect();
        assert!(lost.len() <= 2 && found.len() + lost.len() == 30, "byte {byte}: {damage:?}");
        assert!(found.iter().all(|message| page.contains(message)));
        assert!(
            damage.iter().all(|damage| damage.path == *path && damage.what.contains("queue 1"))
        );
        whole.damage(path, |bytes| bytes[byte] ^= 0x20).unwrap();
        if byte == framing::HEADER_LENGTH {
            assert_eq!((lost.len(), damage.len()), (1, 1));
            break;
        }
    }
    // What was lost stays lost, even if the bytes come back: it was told so.
    assert_eq!(page_in_all(&mut store, OWNER, 0, Position::MAX).len(), 29);
    assert!(store.take_damage().is_empty());
    // A segment that is missing takes along what was in it.
    whole.remove(path).unwrap();
    let found = page_in_all(&mut store, OWNER, 0, Position::MAX);
    let damage = store.take_damage();
    assert!(found.len() < 29 && found.iter().all(|message| page.contains(message)));
    assert_eq!(damage.len(), 1);
    assert!(damage[0].what.contains("missing"), "{damage:?}");
    // None of it was confirmed from there: the log has all.
    let (mut store, mut recovered, _) = Store::open(Arc::new(whole.kill()), options).unwrap();
    model::warm_up(&mut store, &mut recovered);
    assert_eq!(recovered.queues[0].messages.len(), 30);
}

#[test]
fn a_segment_that_cannot_be_read_now_is_left_for_another_start() {
    let memory = MemoryDisk::default();
    let disk = FaultyDisk::new(memory.clone());
    let options = options(1000, 600);
    let (mut store, ..) = Store::open(Arc::new(disk.clone()), options).unwrap();
    store.write(&[Record::QueueDeclared(declared_queue(QUEUE.0))]).unwrap();
    for position in 1..=40 {
        publish(&mut store, [position], 40);
        while store.checkpoint_step().unwrap() {}
    }
    let path = memory.paths().into_iter().find(|path| path.ends_with(".segment")).unwrap();
    disk.fail(Fault {
        operation: Operation::Read,
        below: path,
        after: 1,
        kind: io::ErrorKind::Other,
        written: 0,
    });
    let found = page_in_all(&mut store, OWNER, 0, Position::MAX);
    let damage = store.take_damage();
    assert_eq!(damage.len(), 1);
    assert!(damage[0].what.contains("stays there for another start"), "{damage:?}");
    assert!(!found.is_empty());
    for position in 41..=60 {
        publish(&mut store, [position], 40);
        while store.checkpoint_step().unwrap() {}
    }
    drop(store);
    let (mut store, mut recovered, _) = Store::open(Arc::new(memory), options).unwrap();
    model::warm_up(&mut store, &mut recovered);
    assert_eq!(recovered.queues[0].messages.len(), 60);
}

#[test]
fn a_start_reads_nothing_of_what_lies_whole_in_segments() {
    let options = options(50_000, 20_000);
    let (mut store, disk, read) = with_queue(options);
    for start in (1..=20_000).step_by(100) {
        publish(&mut store, start..start + 100, 100);
        while store.checkpoint_step().unwrap() {}
    }
    // The first segment is settled in part, so that its bytes have to be counted.
    store
        .write(&[Record::Settled { queue: QUEUE, first: 1, last: 50, acknowledged: false }])
        .unwrap();
    store.close().unwrap();
    let in_log: u64 = (disk.paths().iter().filter(|path| path.starts_with("log/")))
        .map(|path| disk.length(path).unwrap().unwrap())
        .sum();
    assert!(disk.total_bytes() > 10 * in_log);
    read.store(0, Ordering::Relaxed);
    let counting = CountingDisk { disk, read: read.clone() };
    let mut told = Vec::new();
    let (_, recovered, report) =
        Store::open_with(Arc::new(counting), options, &mut |progress| told.push(progress)).unwrap();
    let read = read.load(Ordering::Relaxed);
    assert!(read < in_log + 100_000, "{read} bytes for a log of {in_log}");
    let queue = &recovered.queues[0];
    let cold = queue.cold.unwrap();
    assert_eq!((cold.first, cold.messages + queue.messages.len() as u64), (51, 20_000 - 50));
    assert_eq!(cold.octets, 100 * cold.messages);
    assert_eq!(report.messages, 20_000 - 50);
    let end = told.last().unwrap();
    assert!(end.total_bytes >= in_log && end.done_bytes == end.total_bytes, "{told:?}");
}

#[test]
fn a_start_holds_no_more_of_the_log_than_it_may_and_loses_nothing() {
    let mut disk = MemoryDisk::default();
    let (mut store, ..) = Store::open(Arc::new(disk.clone()), Options::default()).unwrap();
    let (queue, other) = (declared_queue(1), declared_queue(2));
    let declared = [&queue, &other].map(|queue| Record::QueueDeclared(queue.clone()));
    store.write(&declared).unwrap();
    for position in 1..=200 {
        store.write(&[enqueued(&[(QUEUE, position)], 100)]).unwrap();
        if position % 50 == 0 {
            store.write(&[enqueued(&[(other.id, position)], 100)]).unwrap();
        }
    }
    store
        .write(&[Record::Settled { queue: QUEUE, first: 20, last: 29, acknowledged: false }])
        .unwrap();
    drop(store);
    let options = Options { start_bytes: 10_000, ..Options::default() };
    for _ in 0..3 {
        let (mut store, mut recovered, report) =
            Store::open(Arc::new(disk.clone()), options).unwrap();
        assert!(report.cuts.is_empty(), "{report}");
        assert_eq!(report.messages, 194);
        let held = recovered.queues.iter().map(|queue| queue.messages.len()).sum::<usize>();
        assert!((1..40).contains(&held), "{held} messages");
        super::model::warm_up(&mut store, &mut recovered);
        let positions = |queue: usize| -> Vec<_> {
            recovered.queues[queue].messages.iter().map(|message| message.position).collect()
        };
        assert_eq!(positions(0), (1..20).chain(30..=200).collect::<Vec<_>>());
        assert_eq!(positions(1), [50, 100, 150, 200]);
        // What was moved is not synced.
        disk = disk.crash(|path, most| if path.ends_with('/') { most } else { 0 });
    }
}
