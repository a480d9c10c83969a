//! One seed, one life of a store: writes, page-outs and page-ins, checkpoint steps, failures, full
//! disks, crashes, starts.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use crate::broker::record::{DurableQueueId, RecoveredMessage};

use super::model::{assert_same, page_in_all, unrecorded, warm_up};
use super::*;

/// How many seeds a plain test run takes. More: `LEVERET_STORE_SEEDS=100000`, one alone:
/// `LEVERET_STORE_SEED=17`.
const SEEDS: u64 = 1500;

#[test]
fn what_is_synced_survives_any_crash_and_nothing_comes_back() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    if let Some(seed) = number("LEVERET_STORE_SEED") {
        return live(seed);
    }
    (0..number("LEVERET_STORE_SEEDS").unwrap_or(SEEDS)).for_each(live);
}

/// Says which seed it was when a check fails.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("LEVERET_STORE_SEED={}", self.0);
        }
    }
}

fn live(seed: u64) {
    let _named = Seed(seed);
    let mut dice = Dice(seed);
    let options = Options {
        log_file_bytes: 100 + dice.below(1500),
        log_files: dice.below(4) as usize,
        segment_bytes: if dice.one_in(2) { 3000 } else { 100 + dice.below(1500) },
        start_bytes: if dice.one_in(2) { u64::MAX } else { dice.below(3000) },
    };
    let mut life = Life {
        options,
        disk: MemoryDisk::default(),
        model: Model::default(),
        unsynced: Vec::new(),
        paged: BTreeMap::new(),
        pages: BTreeMap::new(),
        transient: [1, 2, 3],
        few_files: false,
        dice,
    };
    let kept = life.dice.below(4) as usize;
    life.disk.set_most_kept_files(life.dice.one_in(2).then_some(kept));
    let lives = 2 + life.dice.below(6);
    for _ in 0..lives {
        life.run();
    }
    life.start();
}

struct Life {
    options: Options,
    disk: MemoryDisk,
    /// What is synced.
    model: Model,
    /// The records of a write that failed: the next start finds any first part of them.
    unsynced: Vec<Record>,
    /// What is known to be in segments of what is recorded; there may be more.
    paged: BTreeMap<DurableQueueId, BTreeSet<Position>>,
    /// What was paged out and is not recorded.
    pages: BTreeMap<PageOwner, BTreeMap<Position, PagedMessage>>,
    /// The queues that are not durable.
    transient: [u64; 3],
    /// Whether the disk has a bound on its files.
    few_files: bool,
    dice: Dice,
}

/// A store that is open, and its disk.
struct Running {
    store: Store,
    disk: FaultyDisk<MemoryDisk>,
    /// Whether a failure was arranged for.
    planned: bool,
}

/// Whether an operation was done, or something stood in the way.
enum Done {
    Yes,
    NoRoom,
    Failed,
}

impl Life {
    /// From a start to a stop or crash.
    fn run(&mut self) {
        let mut running = self.start();
        for _ in 0..self.dice.below(90) {
            let done = match self.dice.below(14) {
                0..=2 => self.write(&mut running),
                3..=5 => self.step(&mut running),
                6..=8 => self.page_out(&mut running),
                9 => self.page_out_transient(&mut running),
                10 => self.page_in(&mut running),
                11 => self.finish(&mut running),
                12 => {
                    self.fill_disk();
                    Done::Yes
                }
                _ => {
                    self.arrange_failure(&mut running);
                    Done::Yes
                }
            };
            match done {
                Done::Yes => {}
                // why: with the disk full and nothing to let go, nothing goes on.
                Done::NoRoom if self.dice.one_in(2) => self.empty_disk(),
                Done::NoRoom => {}
                Done::Failed => break,
            }
        }
        let failed = matches!(running.store.write(&[]), Err(StoreError::Poisoned));
        if !failed {
            self.check_all(&mut running);
        }
        self.empty_disk();
        self.stop(running.store, failed);
    }

    fn done<T>(&self, result: Result<T, StoreError>, running: &Running) -> Done {
        match result {
            Ok(_) => Done::Yes,
            Err(StoreError::NoRoom { needed, free }) => {
                assert!(free < u64::MAX, "{needed} bytes are no room");
                Done::NoRoom
            }
            Err(error) if error.is_shortage() => {
                let failed = running.planned && running.disk.has_failed();
                assert!(self.few_files || failed, "{error}");
                Done::NoRoom
            }
            Err(error) => {
                assert!(running.planned && running.disk.has_failed(), "{error}");
                Done::Failed
            }
        }
    }

    fn write(&mut self, running: &mut Running) -> Done {
        let records = self.model.invent_batch(&mut self.dice);
        let result = running.store.write(&records);
        let done = self.done(result, running);
        match done {
            Done::Yes => self.model.apply_all(&records),
            Done::NoRoom => {}
            Done::Failed => self.unsynced = records,
        }
        assert!(matches!(done, Done::Failed) || running.store.last_lsn() == self.model.last);
        let Life { model, paged, pages, .. } = self;
        pages.retain(|owner, _| match owner {
            PageOwner::Durable(id) => model.queues.contains_key(id),
            PageOwner::Transient(_) => true,
        });
        paged.retain(|id, positions| match model.queues.get(id) {
            Some(queue) => {
                positions.retain(|position| queue.messages.contains_key(position));
                true
            }
            None => false,
        });
        done
    }

    fn step(&mut self, running: &mut Running) -> Done {
        match self.dice.below(20) {
            0 => running.store.reclaim(),
            1 => running.store.tidy(),
            _ => {}
        }
        let due = running.store.checkpoint_due();
        let result = running.store.checkpoint_step();
        let done = self.done(result, running);
        let made_one = matches!(done, Done::Yes) && !due && running.store.checkpoint_due();
        assert!(!made_one, "a step without need made one");
        done
    }

    fn some_queue(&mut self) -> Option<DurableQueueId> {
        let ids: Vec<_> = self.model.queues.keys().copied().collect();
        let index = self.dice.below(ids.len().max(1) as u64) as usize;
        ids.get(index).copied()
    }

    fn page_out(&mut self, running: &mut Running) -> Done {
        let Some(id) = self.some_queue() else { return Done::Yes };
        let owner = PageOwner::Durable(id);
        let page = self.model.invent_page(&mut self.dice, id);
        let result = running.store.page_out(owner, &page);
        let done = self.done(result, running);
        if matches!(done, Done::Yes) {
            let messages = &self.model.queues[&id].messages;
            for message in page {
                let position = message.position;
                if !message.recorded {
                    self.pages.entry(owner).or_default().insert(position, message);
                } else if messages.contains_key(&position) {
                    self.paged.entry(id).or_default().insert(position);
                }
            }
        }
        done
    }

    fn page_out_transient(&mut self, running: &mut Running) -> Done {
        let owner = self.some_transient();
        let known = self.pages.entry(owner).or_default();
        let mut position = known.last_key_value().map_or(0, |(&position, _)| position);
        let mut page = Vec::new();
        for _ in 0..1 + self.dice.below(20) {
            position += 1 + self.dice.below(6) / 5;
            page.push(unrecorded(position, &mut self.dice, false));
        }
        let result = running.store.page_out(owner, &page);
        let done = self.done(result, running);
        if matches!(done, Done::Yes) {
            let pages = self.pages.entry(owner).or_default();
            pages.extend(page.into_iter().map(|message| (message.position, message)));
        }
        done
    }

    fn some_owner(&mut self) -> PageOwner {
        match self.some_queue() {
            Some(id) if self.dice.one_in(2) => PageOwner::Durable(id),
            _ => self.some_transient(),
        }
    }

    fn some_transient(&mut self) -> PageOwner {
        PageOwner::Transient(self.transient[self.dice.below(3) as usize])
    }

    fn page_in(&mut self, running: &mut Running) -> Done {
        let owner = self.some_owner();
        let first = self.dice.below(60);
        let last = first + self.dice.below(80);
        let max_bytes = self.dice.below(400) as usize;
        let page = running.store.page_in(owner, first, last, max_bytes).expect("it can be read");
        assert_eq!(page.owner, owner);
        let end = page.next.map_or(last, |next| next - 1);
        assert!(page.next.is_none_or(|next| next <= last && !page.messages.is_empty()));
        if let Some((_, all_but_one)) = page.messages.split_last() {
            let size = |message: &PagedMessage| message.message.as_bytes().len();
            assert!(
                all_but_one.is_empty() || all_but_one.iter().map(size).sum::<usize>() < max_bytes
            );
        }
        self.check_page(owner, first, end, &page.messages);
        assert!(running.store.take_damage().is_empty());
        Done::Yes
    }

    /// Compares what came from segments with what has to be in them and what may be.
    fn check_page(
        &self,
        owner: PageOwner,
        first: Position,
        last: Position,
        found: &[PagedMessage],
    ) {
        assert!(found.is_sorted_by(|one, other| one.position < other.position));
        let none = BTreeMap::new();
        let pages = self.pages.get(&owner).unwrap_or(&none);
        let unrecorded: Vec<_> = found.iter().filter(|message| !message.recorded).collect();
        let expected: Vec<_> = pages.range(first..=last).map(|(_, message)| message).collect();
        assert_eq!(unrecorded, expected);
        let recorded: Vec<_> = found.iter().filter(|message| message.recorded).collect();
        let PageOwner::Durable(id) = owner else { return assert!(recorded.is_empty()) };
        let Some(queue) = self.model.queues.get(&id) else { return assert!(found.is_empty()) };
        for paged in &recorded {
            assert!((first..=last).contains(&paged.position));
            let PagedMessage { position, expires_at, message, .. } = (*paged).clone();
            let expected = RecoveredMessage { position, expires_at, message };
            assert_eq!(queue.messages.get(&position), Some(&expected));
        }
        let positions: BTreeSet<_> = recorded.iter().map(|paged| paged.position).collect();
        let none = BTreeSet::new();
        let known = self.paged.get(&id).unwrap_or(&none).range(first..=last);
        let missing: Vec<_> = known.filter(|position| !positions.contains(position)).collect();
        assert!(missing.is_empty(), "{missing:?} of {id:?} are missing in {positions:?}");
    }

    fn check_all(&mut self, running: &mut Running) {
        let owners: Vec<_> = self.model.queues.keys().map(|&id| PageOwner::Durable(id)).collect();
        for owner in owners.into_iter().chain(self.transient.map(PageOwner::Transient)) {
            let found = page_in_all(&mut running.store, owner, 0, Position::MAX);
            self.check_page(owner, 0, Position::MAX, &found);
        }
        assert!(running.store.take_damage().is_empty());
    }

    /// Messages of pages are done with.
    fn finish(&mut self, running: &mut Running) -> Done {
        let owner = self.some_owner();
        let Some(pages) = self.pages.get_mut(&owner) else { return Done::Yes };
        if let PageOwner::Transient(queue) = owner
            && self.dice.one_in(6)
        {
            running.store.forget_pages(queue);
            self.pages.remove(&owner);
            // A number is given once in the life of a process.
            let highest = self.transient.iter().max().copied().unwrap_or(0);
            self.transient = self.transient.map(|it| if it == queue { highest + 1 } else { it });
            return Done::Yes;
        }
        let first = self.dice.below(40);
        let span = if self.dice.one_in(3) { 100 } else { 5 };
        let last = first + self.dice.below(span);
        pages.retain(|position, _| !(first..=last).contains(position));
        running.store.pages_done(owner, first, last);
        Done::Yes
    }

    /// Leaves little room on the disk, or few files, or again plenty.
    fn fill_disk(&mut self) {
        let spare = self.dice.below(6) as usize;
        let most = self.dice.one_in(4).then(|| self.disk.count_files() + spare);
        self.few_files = most.is_some();
        self.disk.set_most_files(most);
        let left = self.dice.below(6000);
        let full = self.dice.one_in(4).then(|| self.disk.total_bytes() + left);
        self.disk.set_capacity(full);
    }

    fn empty_disk(&mut self) {
        self.few_files = false;
        self.disk.set_most_files(None);
        self.disk.set_capacity(None);
    }

    fn arrange_failure(&mut self, running: &mut Running) {
        if running.disk.has_failed() && self.dice.one_in(8) {
            running.disk.fail(self.fault());
            running.planned = true;
        }
    }

    fn fault(&mut self) -> Fault {
        let kinds = [io::ErrorKind::StorageFull, io::ErrorKind::Other];
        let operations = [Operation::Change, Operation::Append, Operation::Sync];
        Fault {
            operation: operations[self.dice.below(3) as usize],
            below: String::new(),
            after: self.dice.below(60),
            kind: kinds[self.dice.below(2) as usize],
            written: self.dice.below(200) as usize,
        }
    }

    fn stop(&mut self, mut store: Store, failed: bool) {
        if failed {
            // It can be read, whatever it has.
            for &id in self.model.queues.keys() {
                page_in_all(&mut store, PageOwner::Durable(id), 0, Position::MAX);
            }
        }
        match self.dice.below(3) {
            0 if !failed => {
                // The failure arranged for may happen now.
                let _ = store.close();
            }
            0 | 1 => self.disk = self.disk.kill(),
            _ => self.lose_power(),
        }
    }

    fn lose_power(&mut self) {
        let dice = &mut self.dice;
        self.disk = self.disk.crash(|_, most| match dice.below(3) {
            0 => 0,
            1 => most,
            _ => dice.below(most as u64 + 1) as usize,
        });
    }

    /// Starts, sometimes only after a few starts that failed or crashed, and compares.
    fn start(&mut self) -> Running {
        while self.dice.one_in(4) {
            let disk = FaultyDisk::new(self.disk.clone());
            disk.fail(Fault { after: self.dice.below(12), ..self.fault() });
            let _ = Store::open(Arc::new(disk), self.options);
            if self.dice.one_in(2) {
                self.lose_power();
            } else {
                self.disk = self.disk.kill();
            }
        }
        let disk = FaultyDisk::new(self.disk.clone());
        let (mut store, mut recovered, report) =
            Store::open(Arc::new(disk.clone()), self.options).expect("the store opens");
        let kept = recovered.last_lsn.0 - self.model.last.0;
        self.model.apply_all(&self.unsynced[..kept as usize]);
        self.unsynced.clear();
        self.model.restart();
        self.pages.clear();
        self.paged.clear();
        for queue in &recovered.queues {
            let in_log: BTreeSet<_> = queue.messages.iter().map(|found| found.position).collect();
            let id = queue.definition.id;
            if let (Some(_), Some(queue)) = (queue.cold, self.model.queues.get(&id)) {
                let all = queue.messages.keys().copied();
                let cold = all.filter(|position| !in_log.contains(position)).collect();
                self.paged.insert(id, cold);
            }
        }
        warm_up(&mut store, &mut recovered);
        assert_same(&recovered, &self.model.recovered());
        let torn = |damage: &Damage| damage.what.contains("torn");
        assert!(report.cuts.iter().all(torn), "no damage was done: {report}");
        assert!(store.take_damage().is_empty());
        Running { store, disk, planned: false }
    }
}
