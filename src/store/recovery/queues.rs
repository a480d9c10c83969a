//! Recovery of the queues' directories: segments as the catalog names them, and nothing else.

use std::collections::VecDeque;

use crate::broker::record::{DurableQueueId, Position, RecoveredMessage};

use super::super::error::{During, StoreError};
use super::super::files::Files;
use super::super::format::{Fields, Malformed, parse_message};
use super::super::framing::{FrameReader, Gap, Header, Item, Keys};
use super::super::report::Report;
use super::super::segment::{
    self, MAGIC, QUEUES, SETTLEMENT_LENGTH, Segment, directory, parse_settlement,
};
use super::super::state::{Queue, State};

/// Notes which queues have a directory.
pub(super) fn find_directories(files: &Files, state: &mut State) -> Result<(), StoreError> {
    let names = files.list(QUEUES)?;
    let ids = names.iter().filter_map(|name| segment::parse_name(name)).map(DurableQueueId);
    state.directories = ids.collect();
    Ok(())
}

/// Cuts off what an unfinished checkpoint appended, and reads what was settled. Returns what was
/// found wrong with each queue: with those that the log deletes later, nothing is.
pub(super) fn roll_back(
    files: &Files,
    state: &mut State,
) -> Result<Vec<(DurableQueueId, Report)>, StoreError> {
    let mut reports = Vec::new();
    for (&id, queue) in &mut state.queues {
        let mut report = Report::default();
        let mut found = VecDeque::new();
        for mut segment in std::mem::take(&mut queue.segments) {
            if roll_back_messages(files, id, &mut segment, &mut report)? {
                roll_back_settlements(files, id, &mut segment, &mut report)?;
                found.push_back(segment);
            }
        }
        queue.segments = found;
        reports.push((id, report));
    }
    Ok(reports)
}

/// False if the segment is not there.
fn roll_back_messages(
    files: &Files,
    id: DurableQueueId,
    segment: &mut Segment,
    report: &mut Report,
) -> Result<bool, StoreError> {
    let path = segment.messages_path(id);
    match files.length(&path)? {
        None => {
            let Segment { first, last, length, .. } = *segment;
            let what = format!("missing, with the messages at positions {first} to {last}");
            report.damaged(&path, 0, length, what);
            return Ok(false);
        }
        Some(length) if length > segment.length => files.truncate(&path, segment.length)?,
        // What is missing is reported with the messages that it costs.
        Some(length) => segment.closed = length < segment.length,
    }
    Ok(true)
}

fn roll_back_settlements(
    files: &Files,
    id: DurableQueueId,
    segment: &mut Segment,
    report: &mut Report,
) -> Result<(), StoreError> {
    let path = segment.settled_path(id);
    let Some(length) = files.length(&path)? else {
        if segment.settled_length > 0 {
            report.damaged(&path, 0, segment.settled_length, "missing; what it settled is back");
            segment.settled_length = 0;
        }
        return Ok(());
    };
    let named = segment.settled_length;
    segment.settled_length = named.min(length - length % SETTLEMENT_LENGTH as u64);
    if segment.settled_length < named {
        let missing = named - segment.settled_length;
        report.damaged(&path, segment.settled_length, missing, "cut; what it settled is back");
    }
    if segment.settled_length < length {
        files.truncate(&path, segment.settled_length)?;
    }
    read_settlements(files, &path, segment, report);
    Ok(())
}

fn read_settlements(files: &Files, path: &str, segment: &mut Segment, report: &mut Report) {
    let mut bytes = vec![0; segment.settled_length as usize];
    if let Err(error) = files.disk.read(path, 0, &mut bytes) {
        let what = format!("cannot be read ({error}); what it settled is back");
        report.damaged(path, 0, segment.settled_length, what);
        return;
    }
    for (index, entry) in bytes.chunks(SETTLEMENT_LENGTH).enumerate() {
        match parse_settlement(entry, files.salt) {
            Some((first, last)) => {
                segment.gone.insert(first.max(segment.first), last.min(segment.last));
            }
            None => {
                let offset = (index * SETTLEMENT_LENGTH) as u64;
                let what = "not whole; what it settled is back";
                report.damaged(path, offset, entry.len() as u64, what);
            }
        }
    }
}

/// Removes the files that an unfinished checkpoint made, or a finished one had yet to remove, and
/// says which directories belong to nobody.
pub(super) fn sort_out_directories(
    files: &Files,
    state: &mut State,
    report: &mut Report,
) -> Result<(), StoreError> {
    for &id in &state.directories {
        let directory = directory(id);
        if state.doomed.contains(&id) {
            continue;
        }
        let Some(queue) = state.queues.get(&id) else {
            // why: nothing the store does leads here, so it had better not throw it away.
            report.damaged(&directory, 0, 0, "belongs to no queue; left alone");
            continue;
        };
        for name in files.list(&directory)? {
            let Some(first) = segment::parse_file_name(&name) else { continue };
            if queue.segments.iter().all(|segment| segment.first != first) {
                files.remove(&format!("{directory}/{name}"))?;
            }
        }
    }
    state.doomed.retain(|id| state.directories.contains(id));
    Ok(())
}

/// The messages of a queue's segments that live.
pub(super) fn read_segments(
    files: &Files,
    id: DurableQueueId,
    queue: &mut Queue,
    report: &mut Report,
) -> Vec<RecoveredMessage> {
    let mut messages = Vec::new();
    let name = String::from_utf8_lossy(queue.definition.name.as_bytes()).into_owned();
    for segment in &mut queue.segments {
        // One that is dead is removed by the next checkpoint, unread.
        if segment.live() == 0 {
            continue;
        }
        report.segments += 1;
        let path = segment.messages_path(id);
        let mut reading = SegmentReading { path: &path, name: &name, segment, report };
        if let Err(error) = reading.read(files, id, &mut messages) {
            // why: a queue whose disk answers no more today may be read tomorrow; it keeps its
            // place in the catalog, and the other queues go on.
            segment.closed = true;
            let what = format!("{error}; its messages stay there for now");
            report.damaged(&path, 0, segment.length, what);
        }
    }
    messages
}

struct SegmentReading<'a> {
    path: &'a str,
    /// The queue's.
    name: &'a str,
    segment: &'a mut Segment,
    report: &'a mut Report,
}

impl SegmentReading<'_> {
    fn read(
        &mut self,
        files: &Files,
        id: DurableQueueId,
        messages: &mut Vec<RecoveredMessage>,
    ) -> Result<(), StoreError> {
        let (first, last) = (self.segment.first, self.segment.last);
        let header = Header::read(&*files.disk, self.path, MAGIC).during("read", self.path)?;
        if header != Some(Header::new(MAGIC, [id.0, first])) {
            self.report.damaged(self.path, 0, 32, "its header is not what it should be");
        }
        let length = files.length(self.path)?.unwrap_or(0).min(self.segment.length);
        let mut reader = FrameReader::new(
            files.disk.clone(),
            self.path.to_owned(),
            files.salt,
            Keys::RisingTo(last),
            first.checked_sub(1),
            length,
        );
        let mut expected = first;
        let mut gap = None;
        loop {
            let offset = reader.offset();
            match reader.next().during("read", self.path)? {
                Item::Damage(found) => gap = Some(found),
                Item::Frame { key, payload } => {
                    if key > expected {
                        self.lose(expected, key - 1, offset, gap.take());
                    }
                    expected = key + 1;
                    match parse(key, payload) {
                        Ok(message) if !self.segment.gone.contains(key) => messages.push(message),
                        Ok(_) => {}
                        Err(Malformed(what)) => {
                            self.segment.settle(key, key);
                            let bytes = payload.len() as u64;
                            self.report.damaged(self.path, offset, bytes, what);
                        }
                    }
                }
                Item::End => {
                    if expected <= last {
                        self.lose(expected, last, offset, gap.take());
                    }
                    return Ok(());
                }
            }
        }
    }

    /// Notes that positions are not there. Those that should be were lost with the gap.
    fn lose(&mut self, first: Position, last: Position, offset: u64, gap: Option<Gap>) {
        let lost = self.segment.settle(first, last);
        let (offset, bytes) = gap.map_or((offset, 0), |gap| (gap.offset, gap.bytes));
        if lost > 0 || gap.is_some() {
            let what = format!("not whole; {lost} messages of queue {:?} are lost", self.name);
            self.report.damaged(self.path, offset, bytes, what);
        }
    }
}

fn parse(position: Position, payload: &[u8]) -> Result<RecoveredMessage, Malformed> {
    let mut fields = Fields(payload);
    let expires_at = fields.expiry()?;
    Ok(RecoveredMessage { position, expires_at, message: parse_message(fields.rest())? })
}
