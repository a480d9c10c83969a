//! Opening a store: the catalog, the segments as long as it says, then the log in order.
//!
//! One path for every start, after a clean stop and after any crash. What an unfinished checkpoint
//! left is undone; what is damaged is reported and left out, and everything else is kept.

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use crate::broker::record::{
    DurableQueueId, Lsn, Position, Recovered, RecoveredMessage, RecoveredQueue,
};

use super::Options;
use super::catalog::{self, Catalog};
use super::disk::Disk;
use super::error::{During, StoreError};
use super::files::Files;
use super::log::{LOG, Log};
use super::report::{Damage, Report};
use super::segment::QUEUES;
use super::state::State;

mod queues;
mod replay;

/// The messages that live in the log, by queue and position.
type Messages = BTreeMap<DurableQueueId, BTreeMap<Position, RecoveredMessage>>;

/// A store as it is after opening.
pub(super) struct Opened {
    pub(super) files: Files,
    pub(super) state: State,
    pub(super) log: Log,
    pub(super) recovered: Recovered,
    pub(super) report: Report,
}

/// Opens the store on a disk, a new one if there is nothing.
pub(super) fn open(disk: Arc<dyn Disk>, options: Options) -> Result<Opened, StoreError> {
    let mut report = Report::default();
    let found = catalog::read(&disk, &mut report.cuts)?;
    let catalog = match found {
        Some(catalog) => catalog,
        None => first_catalog(&disk, options)?,
    };
    let Catalog { salt, last, moved, mut state } = catalog;
    let files = Files { disk, salt, options };
    queues::find_directories(&files, &mut state)?;
    let damaged = queues::roll_back(&files, &mut state)?;
    let mut messages = Messages::new();
    let log = replay::replay(
        &files,
        &mut state,
        &mut messages,
        &mut report,
        replay::Known { defined: last, moved },
    )?;
    for (id, found) in damaged {
        if state.queues.contains_key(&id) {
            report.cuts.extend(found.cuts);
        }
    }
    queues::sort_out_directories(&files, &mut state, &mut report)?;
    let recovered = gather(&files, &mut state, messages, log.last, &mut report);
    Ok(Opened { files, state, log, recovered, report })
}

/// Writes the catalog of an empty store, unless it is one that lost its catalog.
fn first_catalog(disk: &Arc<dyn Disk>, options: Options) -> Result<Catalog, StoreError> {
    for directory in [LOG, QUEUES] {
        if !disk.list(directory).during("list", directory)?.is_empty() {
            let what = "there is data, but neither the catalog nor its copy".to_owned();
            return Err(StoreError::Damaged { path: directory.to_owned(), what });
        }
    }
    // The standard library's hasher is seeded by the system: the only randomness needed here.
    let salt = RandomState::new().build_hasher().finish() as u32;
    let files = Files { disk: disk.clone(), salt, options };
    let bytes = catalog::encode(salt, &State::default(), Lsn(0), Lsn(0));
    catalog::write_first(&files, &bytes)?;
    catalog::write_copy(&files, &bytes)?;
    Ok(Catalog { salt, ..Catalog::default() })
}

/// Puts together what the core gets to know.
fn gather(
    files: &Files,
    state: &mut State,
    mut from_log: Messages,
    last_lsn: Lsn,
    report: &mut Report,
) -> Recovered {
    let mut queues = Vec::new();
    for (&id, queue) in &mut state.queues {
        let mut messages = queues::read_segments(files, id, queue, report);
        messages.extend(from_log.remove(&id).unwrap_or_default().into_values());
        report.messages += messages.len() as u64;
        report.message_bytes +=
            messages.iter().map(|found| found.message.as_bytes().len() as u64).sum::<u64>();
        queues.push(RecoveredQueue {
            definition: queue.definition.clone(),
            messages,
            cold: None,
            returns: Vec::new(),
            last_position: queue.last_position,
            delivered: queue.delivered.clone(),
        });
    }
    Recovered {
        exchanges: state.exchanges().into_iter().cloned().collect(),
        queues,
        bindings: state.bindings().into_iter().cloned().collect(),
        last_lsn,
        last_queue_id: state.last_queue_id,
    }
}

impl Report {
    fn damaged(&mut self, path: &str, offset: u64, bytes: u64, what: impl Into<String>) {
        self.cuts.push(Damage { path: path.to_owned(), offset, bytes, what: what.into() });
    }
}
