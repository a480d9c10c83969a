//! A few old messages do not keep what was around them.

use crate::broker::record::DurableQueueId;

use super::model::{assert_same, declared_queue, enqueued, page_in_all, unrecorded};
use super::*;

const SMALL: Options =
    Options { log_file_bytes: 8192, log_files: 2, segment_bytes: 4096, start_bytes: u64::MAX };

/// How many bytes the disk may have beside a small factor of what lives: the log and a file of it
/// to come, as much waste as begins a compaction, a catalog twice, and segments being written.
const CONSTANT: u64 = 4 * SMALL.log_file_bytes + SMALL.log_file_bytes + 4 * SMALL.segment_bytes;
const FACTOR: u64 = 5;

struct Kept {
    disk: MemoryDisk,
    store: Store,
    model: Model,
}

impl Kept {
    fn new(queues: u64) -> Kept {
        let disk = MemoryDisk::default();
        let (store, ..) = Store::open(Arc::new(disk.clone()), SMALL).unwrap();
        let mut kept = Kept { disk, store, model: Model::default() };
        let declared = (1..=queues).map(|id| Record::QueueDeclared(declared_queue(id)));
        kept.write(&declared.collect::<Vec<_>>());
        kept
    }

    fn write(&mut self, records: &[Record]) {
        self.store.write(records).unwrap();
        self.model.apply_all(records);
    }

    fn live_bytes(&self) -> u64 {
        let messages = self.model.queues.values().flat_map(|queue| queue.messages.values());
        messages.map(|message| message.message.as_bytes().len() as u64 + 40).sum()
    }

    fn check(&mut self) {
        let (bytes, live) = (self.disk.total_bytes(), self.live_bytes());
        assert!(bytes < FACTOR * live + CONSTANT, "{bytes} bytes for {live} that live");
    }

    fn check_restart(self) {
        drop(self.store);
        let (_, recovered, report) = open_on(Arc::new(self.disk.clone()), SMALL).unwrap();
        assert!(report.cuts.is_empty(), "{report}");
        assert_same(&recovered, &self.model.recovered());
    }
}

#[test]
fn old_messages_under_days_of_traffic_keep_little_more_than_themselves() {
    let mut kept = Kept::new(1);
    let queue = DurableQueueId(1);
    // Of a hundred messages one is never settled; the others are, but only after they went to
    // segments.
    const AGE: Position = 400;
    for position in 1..=20_000 {
        kept.write(&[enqueued(&[(queue, position)], 80)]);
        if position > AGE && !(position - AGE).is_multiple_of(100) {
            let done = position - AGE;
            kept.write(&[Record::Settled { queue, first: done, last: done, acknowledged: false }]);
        }
        // One step at a time, as between the writes of a busy store.
        kept.store.checkpoint_step().unwrap();
        if position % 100 == 0 {
            while kept.store.checkpoint_step().unwrap() {}
            kept.check();
        }
    }
    assert_eq!(kept.model.queues[&queue].messages.len(), 196 + 400);
    kept.check_restart();
}

#[test]
fn many_queues_with_one_message_each_keep_little_more_than_that() {
    let mut kept = Kept::new(60);
    for round in 0..60 {
        for id in (1..=60).map(DurableQueueId) {
            let first = round * 10 + 1;
            let records: Vec<_> =
                (first..first + 10).map(|position| enqueued(&[(id, position)], 80)).collect();
            kept.write(&records);
            kept.store.checkpoint_step().unwrap();
        }
        while kept.store.checkpoint_step().unwrap() {}
        for id in (1..=60).map(DurableQueueId) {
            // All but the first message of all.
            let (first, last) = (round * 10 + 1, round * 10 + 10);
            kept.write(&[Record::Settled {
                queue: id,
                first: first.max(2),
                last,
                acknowledged: false,
            }]);
            kept.store.checkpoint_step().unwrap();
        }
        while kept.store.checkpoint_step().unwrap() {}
    }
    kept.check();
    kept.check_restart();
}

#[test]
fn a_crash_at_any_step_of_a_compaction_loses_nothing() {
    let mut kept = Kept::new(1);
    let queue = DurableQueueId(1);
    for position in 1..=500 {
        kept.write(&[enqueued(&[(queue, position)], 80)]);
        while kept.store.checkpoint_step().unwrap() {}
    }
    for chunk in 0..12 {
        let (first, last) = (chunk * 20 + 1, chunk * 20 + 19);
        kept.write(&[Record::Settled { queue, first, last, acknowledged: false }]);
    }
    // All that a compaction is to empty.
    let sparse = |disk: &MemoryDisk| -> Vec<String> {
        let mut segments = disk.paths();
        segments.retain(|path| path.ends_with(".segment"));
        segments.truncate(6);
        segments
    };
    let (before, expected) = (sparse(&kept.disk), kept.model.recovered());
    let mut steps = 0;
    while kept.store.checkpoint_step().unwrap() {
        for disk in
            [kept.disk.kill(), kept.disk.crash(|_, _| 0), kept.disk.crash(|_, most| most / 2)]
        {
            let (_, recovered, report) = open_on(Arc::new(disk), SMALL).unwrap();
            assert!(report.cuts.is_empty(), "{report}");
            assert_same(&recovered, &expected);
        }
        steps += 1;
    }
    assert!(steps > 4, "there was a compaction");
    let paths = kept.disk.paths();
    assert!(before.iter().all(|path| !paths.contains(path)), "{paths:?}");
    kept.check_restart();
}

#[test]
fn old_pages_keep_little_more_than_themselves_either() {
    let disk = MemoryDisk::default();
    let (mut store, ..) = Store::open(Arc::new(disk.clone()), SMALL).unwrap();
    let owner = PageOwner::Transient(1);
    let dice = &mut Dice(4);
    let mut kept = Vec::new();
    for start in (1..=20_000).step_by(100) {
        let page: Vec<_> = (start..start + 100).map(|it| unrecorded(it, dice, false)).collect();
        store.page_out(owner, &page).unwrap();
        kept.extend(page.into_iter().skip(99));
        // Of a hundred messages one is held for ever; the others are done with a while later.
        if start > 400 {
            store.pages_done(owner, start - 400, start - 400 + 98);
        }
        while store.checkpoint_step().unwrap() {}
        let held: u64 = kept.iter().map(|it| it.message.as_bytes().len() as u64 + 40).sum();
        let bytes = disk.total_bytes();
        assert!(bytes < FACTOR * held + CONSTANT + 40_000, "{bytes} bytes for {held} that live");
    }
    let found = page_in_all(&mut store, owner, 0, Position::MAX);
    assert!(kept.iter().all(|message| found.contains(message)));
    assert_eq!(found.len(), kept.len() + 4 * 99);
}
