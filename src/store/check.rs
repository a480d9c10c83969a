//! A look at a store that changes nothing: what is in it, what is damaged, what a start would do.
//!
//! It is a start over an [`OverlayDisk`], so that it says what a start says; and then everything is
//! read that a start leaves unread: all segments from end to end, each record, each message.
//!
//! No message of a segment is kept; of the log, what lives in it is, as by a start.
//!
//! [`OverlayDisk`]: super::disk::OverlayDisk

use std::sync::Arc;

use crate::broker::paging::PageOwner;
use crate::broker::record::DurableQueueId;

use super::Options;
use super::catalog;
use super::disk::{Change, Disk, OverlayDisk};
use super::error::{During, StoreError};
use super::files::Files;
use super::format::parse_record;
use super::framing::Item;
use super::log::{self, Log};
use super::recovery::{Meter, Restored, restore};
use super::report::{Damage, Report};
use super::segment::{self, Kind};
use super::state::{Queue, State};
use crate::broker::range_set::RangeSet;

mod segments;

/// What is in a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Check {
    /// How many durable exchanges there are, predeclared ones left out.
    pub exchanges: u64,
    /// How many durable bindings there are.
    pub bindings: u64,
    /// The durable queues, in the order of their declaration.
    pub queues: Vec<QueueCheck>,
    /// How many log files a start would keep.
    pub log_files: u64,
    /// How many records are in them.
    pub log_records: u64,
    /// How many bytes they have.
    pub log_bytes: u64,
    /// What is not whole, or not as it should be.
    pub damage: Vec<Damage>,
    /// What a start would do to files before it is done.
    pub changes: Vec<Change>,
    /// Directories that a start would remove later: of queues that were deleted, of messages that
    /// went with their process.
    pub leftovers: Vec<String>,
}

/// What is in a queue, as far as it would be there after a start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueCheck {
    /// Its name; empty for what a delayed exchange holds.
    pub name: String,
    /// Messages that live.
    pub messages: u64,
    /// Bytes of their bodies.
    pub body_bytes: u64,
    /// How many of the messages are in the log.
    pub messages_in_log: u64,
    /// Segments.
    pub segments: u64,
    /// Bytes of their files, settlements included.
    pub segment_bytes: u64,
}

/// Looks at the store on a disk, which it does not write to.
///
/// # Errors
/// What a start would be refused with.
pub fn check(disk: Arc<dyn Disk>) -> Result<Check, StoreError> {
    let overlay = OverlayDisk::new(disk);
    let mut unreported = |_| {};
    let mut meter = Meter::new(&mut unreported);
    let restored = restore(Arc::new(overlay.clone()), Options::default(), &mut meter)?;
    let Restored { files, mut state, log, leftovers, mut messages, mut report, .. } = restored;
    let mut check = Check {
        exchanges: state.exchanges().len() as u64,
        bindings: state.bindings().len() as u64,
        leftovers,
        ..Check::default()
    };
    check.read_log(&files, &log, &mut report)?;
    for (&id, queue) in &mut state.queues {
        let mut found = QueueCheck { name: queue.name().to_string(), ..QueueCheck::default() };
        for message in messages.remove(id) {
            found.messages += 1;
            found.body_bytes += message.message.body().len() as u64;
        }
        found.messages_in_log = found.messages;
        found.read_segments(&files, id, queue, &mut report)?;
        check.queues.push(found);
    }
    check.add_deleted(&files, &state);
    check.damage = report.cuts;
    check.changes = overlay.changes().during("examine", "files")?;
    // A draft in which nothing is goes and comes.
    let is_draft = |change: &Change| match change {
        Change::Made { path } | Change::Removed { path, bytes: 0 } => path == catalog::DRAFT,
        _ => false,
    };
    check.changes.retain(|change| !is_draft(change));
    Ok(check)
}

impl Check {
    /// Messages of all queues.
    pub fn messages(&self) -> u64 {
        self.queues.iter().map(|queue| queue.messages).sum()
    }

    /// Bytes of the bodies of all messages, counted once for each queue.
    pub fn body_bytes(&self) -> u64 {
        self.queues.iter().map(|queue| queue.body_bytes).sum()
    }

    /// Segments of all queues.
    pub fn segments(&self) -> u64 {
        self.queues.iter().map(|queue| queue.segments).sum()
    }

    /// Bytes of the files of all segments.
    pub fn segment_bytes(&self) -> u64 {
        self.queues.iter().map(|queue| queue.segment_bytes).sum()
    }

    /// Reads each record of the log files that stay. Replaying has reported what is not whole, and has
    /// read only what still has a meaning.
    fn read_log(
        &mut self,
        files: &Files,
        log: &Log,
        report: &mut Report,
    ) -> Result<(), StoreError> {
        for file in &log.files {
            let path = log::path(file.number);
            let Some(length) = files.length(&path)?.filter(|_| file.length > 0) else { continue };
            self.log_files += 1;
            self.log_bytes += length;
            let mut frames = file.reader(files);
            loop {
                let offset = frames.offset();
                let (key, malformed, bytes) = match frames.next().during("read", &path)? {
                    Item::Frame { key, payload } => {
                        (key, parse_record(payload).err(), payload.len() as u64)
                    }
                    Item::Damage(_) => continue,
                    Item::End => break,
                };
                self.log_records += 1;
                let is_reported = |it: &Damage| it.path == path && it.offset == offset;
                if let Some(malformed) = malformed
                    && !report.cuts.iter().any(is_reported)
                {
                    let what = format!(
                        "record {key} cannot be read: {malformed}; it is not needed any more"
                    );
                    report.damaged(&path, offset, bytes, what);
                }
            }
        }
        Ok(())
    }

    /// Adds the directories of deleted queues to what is removed later.
    fn add_deleted(&mut self, files: &Files, state: &State) {
        let directory = |&id| segment::directory(files, PageOwner::Durable(id), Kind::Durable);
        self.leftovers.extend(state.doomed.iter().map(directory));
    }
}

impl QueueCheck {
    fn read_segments(
        &mut self,
        files: &Files,
        id: DurableQueueId,
        queue: &mut Queue,
        report: &mut Report,
    ) -> Result<(), StoreError> {
        let (owner, name) = (PageOwner::Durable(id), queue.name());
        let mut seen = RangeSet::default();
        for segment in queue.segments.iter_mut() {
            let paths = [segment.messages_path(files, owner), segment.settled_path(files, owner)];
            self.segments += 1;
            for path in &paths {
                self.segment_bytes += files.length(path)?.unwrap_or(0);
            }
            let sum = segments::read(files, owner, &name, segment, &mut report.cuts);
            self.messages += sum.messages;
            self.body_bytes += sum.body_bytes;
            let twice = segments::count_known(&mut seen, segment);
            if twice > 0 {
                let what = format!("{twice} messages of queue {name:?} are in another segment too");
                report.damaged(&paths[0], 0, 0, what);
            }
        }
        Ok(())
    }
}
