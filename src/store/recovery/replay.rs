//! Recovery of the log: its files in order, each record once more.

use std::collections::VecDeque;

use crate::broker::record::{Lsn, Placement, Record, RecoveredMessage};

use super::super::appending::Unsynced;
use super::super::disk::VERSION;
use super::super::error::{During, StoreError};
use super::super::files::Files;
use super::super::format::{Malformed, RawEnqueued, parse_enqueued, parse_message, parse_record};
use super::super::framing::{Gap, GapEnd, HEADER_LENGTH, Header, Item, frame_length};
use super::super::inventory::Inventory;
use super::super::log::{self, LOG, Log, LogFile, MAGIC};
use super::super::report::Report;
use super::super::state::State;
use super::Meter;
use super::in_log::MessagesInLog;

/// What the catalog covers.
#[derive(Clone, Copy)]
pub(super) struct Known {
    /// Up to here it has the definitions.
    pub(super) defined: Lsn,
    /// Up to here the log is not needed.
    pub(super) moved: Lsn,
    /// What must be in the log, if that is known.
    pub(super) inventory: Option<Inventory>,
}

/// Replays the log and makes it ready to go on.
pub(super) fn replay(
    files: &Files,
    state: &mut State,
    report: &mut Report,
    meter: &mut Meter<'_>,
    known: Known,
) -> Result<Replayed, StoreError> {
    let names = files.list(LOG)?;
    let numbers: Vec<u64> = names.iter().filter_map(|name| log::parse_file_name(name)).collect();
    for &number in &numbers {
        meter.expect(files.length(&log::path(number))?.unwrap_or(0));
    }
    let mut replay = Replay {
        files,
        state,
        messages: MessagesInLog::new(files.options.start_bytes),
        unsynced: Unsynced::default(),
        report,
        meter,
        known,
        reached: known.moved,
        kept: VecDeque::new(),
        can_go_on: false,
    };
    for (index, &number) in numbers.iter().enumerate() {
        replay.file(number, numbers.get(index + 1).copied())?;
    }
    let last = replay.reached.max(known.defined);
    let Replay { kept, can_go_on, messages, unsynced, report, .. } = replay;
    let newest = numbers.last().copied();
    if let Some(inventory) = known.inventory {
        inventory.compare(newest, last, report);
    }
    // why: a number that was given is not given again, be it that the file is lost.
    let newest = newest.max(known.inventory.map(|known| known.log_file)).unwrap_or(0);
    let log = match kept.back() {
        Some(file) if can_go_on && file.last == last => {
            Log::resume(files, kept, last, known.moved)?
        }
        // why: records behind damage, or with numbers missing before them, are easier to tell
        // from it in a file of their own.
        _ => Log::begin(files, kept, newest + 1, last, known.moved)?,
    };
    // why: one that is right is not written again, so that a start after a stop changes nothing.
    let log_file = log.current_number();
    if known.inventory.is_none_or(|known| known.log_file != log_file || known.last > last) {
        Inventory { log_file, last }.write(&*files.disk)?;
    }
    Ok(Replayed { log, messages, unsynced })
}

/// What the log has.
pub(super) struct Replayed {
    pub(super) log: Log,
    pub(super) messages: MessagesInLog,
    /// Segments that messages were moved to.
    pub(super) unsynced: Unsynced,
}

struct Replay<'a, 'b> {
    files: &'a Files,
    state: &'a mut State,
    messages: MessagesInLog,
    unsynced: Unsynced,
    report: &'a mut Report,
    meter: &'a mut Meter<'b>,
    known: Known,
    /// The last record seen.
    reached: Lsn,
    kept: VecDeque<LogFile>,
    /// Whether the last file can be appended to.
    can_go_on: bool,
}

impl Replay<'_, '_> {
    fn file(&mut self, number: u64, next: Option<u64>) -> Result<(), StoreError> {
        let path = log::path(number);
        if let Some(next) = next
            && let Some(header) = self.header(&log::path(next))?
            && header.numbers[0] <= self.known.moved.0 + 1
        {
            // A checkpoint ended between the catalog and this.
            return self.files.remove(&path);
        }
        let length = self.files.length(&path)?.unwrap_or(0);
        let header = self.header(&path)?;
        let before = header.map_or(self.reached, |header| Lsn(header.numbers[0].saturating_sub(1)));
        if before > self.reached {
            let what = format!("records {} to {} are missing", self.reached.0 + 1, before.0);
            self.report.damaged(&path, 0, 0, what);
        }
        let mut file = LogFile { number, before, last: before, length };
        self.can_go_on = header.is_some();
        let torn = self.records(&path, &mut file)?;
        if header.is_none() {
            let header_length = length.min(HEADER_LENGTH as u64);
            if next.is_none() && file.last == before && (torn || length <= header_length) {
                // It was being created.
                if length > 0 {
                    self.report.damaged(&path, 0, length, "a torn new file; removed");
                }
                return self.files.remove(&path);
            }
            self.report.damaged(&path, 0, header_length, "its header is not whole");
        } else if torn && next.is_none() {
            self.files.truncate(&path, file.length)?;
        }
        self.report.log_files += 1;
        self.reached = self.reached.max(file.last);
        self.kept.push_back(file);
        Ok(())
    }

    fn header(&self, path: &str) -> Result<Option<Header>, StoreError> {
        let header = Header::read(&*self.files.disk, path, MAGIC).during("read", path)?;
        match header {
            Some(header) if header.version != VERSION => {
                Err(StoreError::other_version(path, header.version))
            }
            header => Ok(header),
        }
    }

    /// Replays a file's records; whether it ends in bytes that are none, of which `file.length`
    /// then is the beginning.
    fn records(&mut self, path: &str, file: &mut LogFile) -> Result<bool, StoreError> {
        let mut reader = file.reader(self.files);
        let mut gap: Option<Gap> = None;
        loop {
            let offset = reader.offset();
            let next = reader.next().during("read", path)?;
            match next {
                Item::Frame { key, payload } => {
                    if let Some(gap) = gap.take() {
                        self.can_go_on = false;
                        let (first, last) = (file.last.0 + 1, key - 1);
                        let what = format!("not whole; records {first} to {last} are lost");
                        self.report.damaged(path, gap.offset, gap.bytes, what);
                    }
                    file.last = Lsn(key);
                    self.record(path, offset, file, payload);
                    self.messages.make_room(self.files, self.state, &mut self.unsynced)?;
                }
                Item::Damage(found) => gap = Some(found),
                Item::End => break,
            }
        }
        let Some(Gap { offset, bytes, end }) = gap else { return Ok(false) };
        if end == GapEnd::File {
            let what = format!("a torn end after record {}; cut off", file.last.0);
            self.report.damaged(path, offset, bytes, what);
            file.length = offset;
            return Ok(true);
        }
        self.can_go_on = false;
        let what = format!("not whole after record {}; left alone", file.last.0);
        self.report.damaged(path, offset, bytes, what);
        Ok(false)
    }

    fn record(&mut self, path: &str, offset: u64, file: &LogFile, payload: &[u8]) {
        self.meter.read(frame_length(payload.len()));
        if file.last <= self.known.moved {
            return;
        }
        self.report.records += 1;
        let replayed = match parse_enqueued(payload) {
            Ok(Some(enqueued)) => self.enqueued(&enqueued, file.number),
            _ => parse_record(payload).map(|record| {
                if file.last > self.known.defined || !is_definition(&record) {
                    self.other(&record, file.number);
                } else {
                    self.report.records -= 1;
                }
            }),
        };
        if let Err(malformed) = replayed {
            self.report.records -= 1;
            let bytes = payload.len() as u64;
            let what = format!("record {} cannot be read: {malformed}", file.last.0);
            self.report.damaged(path, offset, bytes, what);
        }
    }

    fn enqueued(&mut self, enqueued: &RawEnqueued<'_>, log_file: u64) -> Result<(), Malformed> {
        let mut message = None;
        for &Placement { queue: id, position, expires_at } in &enqueued.placements {
            let Some(queue) = self.state.queues.get_mut(&id) else { continue };
            // why: what is in a segment by now is not put together here only to be dropped.
            if !queue.segments.holds(position) {
                let message = match &message {
                    Some(message) => message,
                    None => message.insert(parse_message(enqueued.message)?),
                };
                if enqueued.placements.len() > 1 {
                    message.share();
                }
                let message = RecoveredMessage { position, expires_at, message: message.clone() };
                self.messages.insert(id, message);
            }
            queue.enqueue(position, log_file);
        }
        Ok(())
    }

    /// Replays a record that is no enqueueing.
    fn other(&mut self, record: &Record, log_file: u64) {
        self.state.apply(record, log_file);
        match record {
            Record::Settled { queue, first, last, .. } if first <= last => {
                self.messages.settle(*queue, *first, *last);
            }
            Record::QueueDeleted { id } => {
                self.messages.remove(*id);
                self.unsynced.forget_queue(*id);
            }
            _ => {}
        }
    }
}

/// Whether the catalog has what the record says: replaying an old one could undo a later one.
fn is_definition(record: &Record) -> bool {
    !matches!(
        record,
        Record::Enqueued { .. }
            | Record::Settled { .. }
            | Record::Delivered { .. }
            | Record::Returned { .. }
    )
}
