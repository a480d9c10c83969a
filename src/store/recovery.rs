//! Opening a store: the catalog, the segments as long as it says, then the log in order.
//!
//! One path for every start, after a clean stop and after any crash. What an unfinished checkpoint
//! left is undone; what is damaged is reported and left out, and everything else is kept.
//!
//! How long it takes depends on the log, whose length is bounded, and not on what lies in segments:
//! that is counted and stays where it is, unless its queue wants all its messages in memory.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use crate::broker::paging::Cold;
use crate::broker::record::{Lsn, Recovered, RecoveredQueue};

use super::Options;
use super::appending::Unsynced;
use super::catalog::{self, Catalog};
use super::disk::Disk;
use super::error::{During, StoreError};
use super::files::Files;
use super::inventory::{INVENTORY, Inventory};
use super::log::{LOG, Log};
use super::report::{Damage, Progress, Report};
use super::segment::{self, PAGES, QUEUES};
use super::state::State;

mod in_log;
mod queues;
mod replay;
mod settlements;

use self::in_log::MessagesInLog;
use self::replay::Replayed;

/// How much is read between two reports of the progress.
const REPORT_BYTES: u64 = 4 * 1024 * 1024;

/// A store as it is after opening.
pub(super) struct Opened {
    pub(super) files: Files,
    pub(super) state: State,
    pub(super) log: Log,
    /// Segments that messages were moved to.
    pub(super) unsynced: Unsynced,
    /// Directories of transient segments that earlier starts left.
    pub(super) leftovers: Vec<String>,
    pub(super) recovered: Recovered,
    pub(super) report: Report,
}

/// Counts what is read, and reports progress.
pub(super) struct Meter<'a> {
    report_progress: &'a mut dyn FnMut(Progress),
    progress: Progress,
    reported_bytes: u64,
}

impl<'a> Meter<'a> {
    pub(super) fn new(report_progress: &'a mut dyn FnMut(Progress)) -> Self {
        Meter { report_progress, progress: Progress::default(), reported_bytes: 0 }
    }

    /// There is more to read.
    fn expect(&mut self, bytes: u64) {
        self.progress.total_bytes += bytes;
    }

    /// Some of it has been read.
    fn read(&mut self, bytes: u64) {
        self.progress.done_bytes += bytes;
        if self.progress.done_bytes - self.reported_bytes >= REPORT_BYTES {
            self.reported_bytes = self.progress.done_bytes;
            (self.report_progress)(self.progress);
        }
    }
}

/// Opens the store on a disk, a new one if there is nothing.
pub(super) fn open(
    disk: Arc<dyn Disk>,
    options: Options,
    report_progress: &mut dyn FnMut(Progress),
) -> Result<Opened, StoreError> {
    let mut meter = Meter::new(report_progress);
    let Restored { files, mut state, log, unsynced, leftovers, messages, mut report } =
        restore(disk, options, &mut meter)?;
    let recovered = gather(&files, &mut state, messages, log.last, &mut report, &mut meter)?;
    meter.progress.done_bytes = meter.progress.total_bytes;
    (meter.report_progress)(meter.progress);
    Ok(Opened { files, state, log, unsynced, leftovers, recovered, report })
}

/// A store before a look into its segments.
pub(super) struct Restored {
    pub(super) files: Files,
    pub(super) state: State,
    pub(super) log: Log,
    pub(super) unsynced: Unsynced,
    pub(super) leftovers: Vec<String>,
    /// Those that live in the log.
    pub(super) messages: MessagesInLog,
    pub(super) report: Report,
}

/// Does everything that changes something on the disk.
pub(super) fn restore(
    disk: Arc<dyn Disk>,
    options: Options,
    meter: &mut Meter<'_>,
) -> Result<Restored, StoreError> {
    let mut report = Report::default();
    let inventory = Inventory::read(&*disk, &mut report)?;
    let found = catalog::read(&disk, &mut report.cuts)?;
    let catalog = match found {
        Some(catalog) => catalog,
        None => first_catalog(&disk, options)?,
    };
    let Catalog { salt, last, moved, mut state } = catalog;
    let (leftovers, run) = leftovers(&disk)?;
    let files = Files::new(disk, salt, options, run);
    queues::find_directories(&files, &mut state)?;
    let damaged = queues::roll_back(&files, &mut state, meter)?;
    let known = replay::Known { defined: last, moved, inventory };
    let replayed = replay::replay(&files, &mut state, &mut report, meter, known)?;
    let Replayed { log, messages, unsynced } = replayed;
    for (id, found) in damaged {
        if state.queues.contains_key(&id) {
            report.cuts.extend(found.cuts);
        }
    }
    queues::sort_out_directories(&files, &mut state, &mut report)?;
    Ok(Restored { files, state, log, unsynced, leftovers, messages, report })
}

/// The directories of transient segments that there are, and the number of this start.
///
/// why: they are removed later, a few files at a time: their number grows with what was paged out,
/// and a start must not wait for that.
fn leftovers(disk: &Arc<dyn Disk>) -> Result<(Vec<String>, u64), StoreError> {
    let names = disk.list(PAGES).during("list", PAGES)?;
    let last = names.iter().filter_map(|name| segment::parse_run(name)).max();
    let paths = names.iter().map(|name| format!("{PAGES}/{name}")).collect();
    Ok((paths, last.map_or(1, |last| last.wrapping_add(1))))
}

/// Writes the catalog of an empty store, unless it is one that lost its catalog.
fn first_catalog(disk: &Arc<dyn Disk>, options: Options) -> Result<Catalog, StoreError> {
    for directory in [LOG, QUEUES, INVENTORY] {
        let is_there = match directory {
            INVENTORY => disk.length(INVENTORY).during("examine", INVENTORY)?.is_some(),
            _ => !disk.list(directory).during("list", directory)?.is_empty(),
        };
        if is_there {
            let what = "there is data, but neither the catalog nor its copy".to_owned();
            return Err(StoreError::Damaged { path: directory.to_owned(), what });
        }
    }
    // The standard library's hasher is seeded by the system: the only randomness needed here.
    let salt = RandomState::new().build_hasher().finish() as u32;
    let files = Files::new(disk.clone(), salt, options, 0);
    let bytes = catalog::encode(salt, &State::default(), Lsn(0), Lsn(0));
    catalog::write_first(&files, &bytes)?;
    catalog::write_copy(&files, &bytes)?;
    Ok(Catalog { salt, ..Catalog::default() })
}

/// Puts together what the core gets to know.
fn gather(
    files: &Files,
    state: &mut State,
    mut from_log: MessagesInLog,
    last_lsn: Lsn,
    report: &mut Report,
    meter: &mut Meter<'_>,
) -> Result<Recovered, StoreError> {
    let mut queues = Vec::new();
    for (&id, queue) in &mut state.queues {
        let mut messages = from_log.remove(id);
        let mut cold = None;
        if queue.definition.is_kept_in_memory() {
            messages.append(&mut queues::read_segments(files, id, queue, report, meter)?);
            messages.sort_by_key(|message| message.position);
        } else {
            cold = queues::sum_up(files, id, queue, report, meter)?;
        }
        let Cold { messages: count, octets: body_bytes, .. } = cold.unwrap_or_default();
        report.messages += count + messages.len() as u64;
        report.message_bytes += body_bytes
            + messages.iter().map(|found| found.message.as_bytes().len() as u64).sum::<u64>();
        queue.forget_returns_of_the_lost();
        queues.push(RecoveredQueue {
            definition: queue.definition.clone(),
            messages,
            cold,
            returns: queue
                .returns
                .iter()
                .map(|(&position, &returns)| (position, returns))
                .collect(),
            last_position: queue.last_position,
            delivered: queue.delivered.clone(),
        });
    }
    state.recount_waste();
    Ok(Recovered {
        exchanges: state.exchanges().into_iter().cloned().collect(),
        queues,
        bindings: state.bindings().into_iter().cloned().collect(),
        last_lsn,
        last_queue_id: state.last_queue_id,
    })
}

impl Report {
    pub(super) fn damaged(&mut self, path: &str, offset: u64, bytes: u64, what: impl Into<String>) {
        self.cuts.push(Damage { path: path.to_owned(), offset, bytes, what: what.into() });
    }
}
