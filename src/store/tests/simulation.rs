//! One seed, one life of a store: writes, checkpoint steps, failures, crashes, starts.

use std::io;

use super::model::assert_same;
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
        segment_bytes: 100 + dice.below(1500),
    };
    let mut life = Life {
        options,
        disk: MemoryDisk::default(),
        model: Model::default(),
        unsynced: Vec::new(),
        dice,
    };
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
    dice: Dice,
}

impl Life {
    /// From a start to a stop or crash.
    fn run(&mut self) {
        let mut store = self.start();
        let mut planned = false;
        for _ in 0..self.dice.below(60) {
            match self.dice.below(5) {
                0 | 1 => {
                    let records = self.model.invent_batch(&mut self.dice);
                    if let Err(error) = store.0.write(&records) {
                        assert!(planned && store.1.has_failed(), "{error}");
                        self.unsynced = records;
                        break;
                    }
                    self.model.apply_all(&records);
                    assert_eq!(store.0.last_lsn(), self.model.last);
                }
                2 | 3 => {
                    let due = store.0.checkpoint_due();
                    if let Err(error) = store.0.checkpoint_step() {
                        assert!(planned && store.1.has_failed(), "{error}");
                        break;
                    }
                    assert!(due || !store.0.checkpoint_due(), "a step without need made one");
                }
                _ if store.1.has_failed() && self.dice.one_in(8) => {
                    let fault = self.fault();
                    store.1.fail(fault);
                    planned = true;
                }
                _ => {}
            }
        }
        let failed = matches!(store.0.write(&[]), Err(StoreError::Poisoned));
        self.stop(store.0, failed);
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

    fn stop(&mut self, store: Store, failed: bool) {
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
    fn start(&mut self) -> (Store, FaultyDisk<MemoryDisk>) {
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
        let (store, recovered, report) =
            Store::open(Arc::new(disk.clone()), self.options).expect("the store opens");
        let kept = recovered.last_lsn.0 - self.model.last.0;
        self.model.apply_all(&self.unsynced[..kept as usize]);
        self.unsynced.clear();
        assert_same(&recovered, &self.model.recovered());
        let torn = |damage: &Damage| damage.what.contains("torn");
        assert!(report.cuts.iter().all(torn), "no damage was done: {report}");
        (store, disk)
    }
}
