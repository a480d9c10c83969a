//! Recovery of the queues' directories: segments as the catalog names them, and nothing else.
//!
//! Of most segments only the settlements are read: what lives in them is counted, not looked at.

use crate::broker::paging::{Cold, PageOwner};
use crate::broker::record::{DurableQueueId, Position, RecoveredMessage};

use super::super::error::StoreError;
use super::super::files::Files;
use super::super::format::{Fields, Malformed, parse_message, payload_body_length};
use super::super::framing::Item;
use super::super::report::Report;
use super::super::segment::{self, Kind, QUEUES, Segment};
use super::super::segment_reader::SegmentReader;
use super::super::state::{Queue, State};
use super::Meter;
use super::settlements::{self, Settlements};
use crate::broker::range_set::RangeSet;

/// Notes which queues have a directory.
pub(super) fn find_directories(files: &Files, state: &mut State) -> Result<(), StoreError> {
    let names = files.list(QUEUES)?;
    let ids = names.iter().filter_map(|name| segment::parse_name(name)).map(DurableQueueId);
    state.directories = ids.collect();
    Ok(())
}

/// Cuts off what an unfinished checkpoint appended, and finds out what lives. Returns what was found
/// wrong with each queue: with those that the log deletes later, nothing is.
pub(super) fn roll_back(
    files: &Files,
    state: &mut State,
    meter: &mut Meter<'_>,
) -> Result<Vec<(DurableQueueId, Report)>, StoreError> {
    let mut reports = Vec::new();
    for (&id, queue) in &mut state.queues {
        let mut result = Ok(());
        let mut report = Report::default();
        let name = queue.name();
        queue.segments.retain(|segment| {
            let mut place = Place { files, id, name: &name, report: &mut report, meter };
            if result.is_ok() {
                match place.roll_back(segment) {
                    Ok(keep) => return keep,
                    Err(error) => result = Err(error),
                }
            }
            true
        });
        result?;
        queue.segments.open_recovered(files.options.segment_bytes);
        if !report.cuts.is_empty() {
            reports.push((id, report));
        }
    }
    state.recount_waste();
    Ok(reports)
}

/// Where a segment is looked at.
struct Place<'a, 'b> {
    files: &'a Files,
    id: DurableQueueId,
    name: &'a std::sync::Arc<str>,
    report: &'a mut Report,
    meter: &'a mut Meter<'b>,
}

impl Place<'_, '_> {
    /// False if the segment is not there.
    fn roll_back(&mut self, segment: &mut Segment) -> Result<bool, StoreError> {
        let path = segment.messages_path(self.files, PageOwner::Durable(self.id));
        let (named, first, last) = (segment.whole.length, segment.first, segment.whole.last);
        segment.is_short = match self.files.length(&path)? {
            None => {
                let what = format!("missing, with the messages at positions {first} to {last}");
                self.report.damaged(&path, 0, named, what);
                return Ok(false);
            }
            Some(length) if length > named => {
                self.files.truncate(&path, named)?;
                false
            }
            Some(length) => length < named,
        };
        let Settlements { mut entries, are_whole } =
            settlements::roll_back(self.files, self.id, segment, self.report)?;
        match living(segment, &mut entries) {
            Some(live) if are_whole => segment.live = live,
            // why: without all settlements it is not known which positions never were in it.
            _ => self.look_for_messages(segment, &entries),
        }
        if segment.is_short {
            self.count_out(segment);
        }
        Ok(true)
    }

    /// Finds out by reading the file what is in it.
    fn look_for_messages(&mut self, segment: &mut Segment, settled: &[(Position, Position)]) {
        let mut found = RangeSet::default();
        let mut frames = segment.frames(self.files, PageOwner::Durable(self.id));
        loop {
            match frames.next() {
                Ok(Item::Frame { key, .. }) => drop(found.insert(key, key)),
                Ok(Item::Damage(gap)) => {
                    let what = format!("not whole; messages of queue {:?} are lost", self.name);
                    self.report.damaged(frames.path(), gap.offset, gap.bytes, what);
                }
                Ok(Item::End) => break,
                Err(error) => {
                    let what = format!("{error}; what is behind stays there for now");
                    self.report.damaged(frames.path(), frames.offset(), 0, what);
                    segment.unreadable = true;
                    break;
                }
            }
        }
        self.meter.read(segment.whole.length);
        segment.unwritten.clear();
        let (mut expected, last) = (segment.first, segment.whole.last);
        for position in found.within(expected, last) {
            if position > expected {
                segment.unwritten.push((expected, position - 1));
            }
            expected = position + 1;
        }
        if expected <= last {
            segment.unwritten.push((expected, last));
        }
        for &(first, last) in settled {
            found.remove(first, last);
        }
        segment.live = found;
    }

    /// Reports what is missing at the end of a file.
    fn count_out(&mut self, segment: &mut Segment) {
        let mut reader =
            SegmentReader::new(self.files, PageOwner::Durable(self.id), self.name, segment);
        while let Ok(Some(_)) = reader.next(segment, 0, &mut self.report.cuts) {}
        self.meter.read(segment.whole.length);
    }
}

/// What lives of a segment beside what the settlements say; none if that is more than was ever put
/// into it.
fn living(segment: &Segment, settled: &mut [(Position, Position)]) -> Option<RangeSet> {
    settled.sort_unstable();
    let mut live = RangeSet::default();
    let mut next = segment.first;
    let mut add = |first: Position, end: Position| {
        // The sizes are compared first: a set of nearly all numbers is not to be made.
        if first < end {
            if end - first > segment.whole.messages - live.len() {
                return None;
            }
            live.insert(first, end - 1);
        }
        Some(())
    };
    for &(first, last) in settled.iter() {
        add(next, first.min(segment.whole.last + 1))?;
        next = next.max(last.saturating_add(1));
    }
    add(next, segment.whole.last + 1)?;
    Some(live)
}

/// Removes the files that an unfinished checkpoint made, or a finished one had yet to remove, and
/// returns the directories that belong to no queue.
pub(super) fn sort_out_directories(
    files: &Files,
    state: &mut State,
    report: &mut Report,
) -> Result<(), StoreError> {
    for &id in &state.directories {
        let directory = segment::directory(files, PageOwner::Durable(id), Kind::Durable);
        if state.doomed.contains(&id) {
            continue;
        }
        let Some(queue) = state.queues.get(&id) else {
            // why: nothing the store does leads here, so it had better not throw it away.
            report.damaged(&directory, 0, 0, "belongs to no queue; left alone");
            continue;
        };
        remove_unnamed(files, &directory, queue)?;
        if queue.segments.is_empty() {
            state.emptied.insert((PageOwner::Durable(id), Kind::Durable));
        }
    }
    state.doomed.retain(|id| state.directories.contains(id));
    Ok(())
}

/// Removes the files of a queue that are none of its segments, if it has a directory.
pub(super) fn clear_directory(
    files: &Files,
    state: &State,
    id: DurableQueueId,
) -> Result<(), StoreError> {
    match state.queues.get(&id) {
        Some(queue) if state.directories.contains(&id) => {
            let directory = segment::directory(files, PageOwner::Durable(id), Kind::Durable);
            remove_unnamed(files, &directory, queue)
        }
        _ => Ok(()),
    }
}

fn remove_unnamed(files: &Files, directory: &str, queue: &Queue) -> Result<(), StoreError> {
    for name in files.list(directory)? {
        let Some(number) = segment::parse_file_name(&name) else { continue };
        if queue.segments.iter().all(|segment| segment.number != number) {
            files.remove(&format!("{directory}/{name}"))?;
        }
    }
    Ok(())
}

/// The messages of a queue's segments that live, by position.
pub(super) fn read_segments(
    files: &Files,
    id: DurableQueueId,
    queue: &mut Queue,
    report: &mut Report,
    meter: &mut Meter<'_>,
) -> Result<Vec<RecoveredMessage>, StoreError> {
    let mut messages = Vec::new();
    let mut take = |position, payload: &[u8]| {
        let mut fields = Fields(payload);
        let expires_at = fields.expiry()?;
        let message = parse_message(fields.rest())?;
        messages.push(RecoveredMessage { position, expires_at, message });
        Ok(())
    };
    let mut survey = Survey { files, id, report, meter };
    survey.each_living(queue, |_| true, &mut take)?;
    messages.sort_unstable_by_key(|message| message.position);
    Ok(messages)
}

/// What lives in a queue's segments in sum. Only those of which a part is settled are read, once.
pub(super) fn sum_up(
    files: &Files,
    id: DurableQueueId,
    queue: &mut Queue,
    report: &mut Report,
    meter: &mut Meter<'_>,
) -> Result<Option<Cold>, StoreError> {
    let mut body_bytes = 0;
    let mut add = |_, payload: &[u8]| {
        body_bytes += payload_body_length(payload)?;
        Ok(())
    };
    let mut survey = Survey { files, id, report, meter };
    survey.each_living(queue, |segment| !segment.is_whole(), &mut add)?;
    let mut cold = Cold { first: Position::MAX, octets: body_bytes, ..Cold::default() };
    for segment in queue.segments.iter().filter(|segment| !segment.unreadable) {
        let (Some(first), Some(last)) = (segment.live.first(), segment.live.last()) else {
            continue;
        };
        cold.first = cold.first.min(first);
        cold.last = cold.last.max(last);
        cold.messages += segment.live.len();
        if segment.is_whole() {
            cold.octets += segment.whole.body_bytes;
        }
    }
    Ok((cold.messages > 0).then_some(cold))
}

/// What to do with a position and what a segment has there.
type Act<'a> = &'a mut dyn FnMut(Position, &[u8]) -> Result<(), Malformed>;

/// A look at what lives in the segments of a queue.
struct Survey<'a, 'b> {
    files: &'a Files,
    id: DurableQueueId,
    report: &'a mut Report,
    meter: &'a mut Meter<'b>,
}

impl Survey<'_, '_> {
    fn each_living(
        &mut self,
        queue: &mut Queue,
        is_chosen: impl Fn(&Segment) -> bool,
        act: Act<'_>,
    ) -> Result<(), StoreError> {
        let (owner, name) = (PageOwner::Durable(self.id), queue.name());
        // One that is dead is removed by the next checkpoint, unread.
        for segment in queue.segments.iter_mut().filter(|segment| !segment.live.is_empty()) {
            self.report.segments += 1;
            if !is_chosen(segment) {
                continue;
            }
            self.meter.expect(segment.whole.length);
            let mut reader = SegmentReader::new(self.files, owner, &name, segment);
            while let Some(found) = reader.next(segment, 0, &mut self.report.cuts)? {
                let (position, mark) = (found.position, found.mark);
                if let Err(Malformed(what)) = act(position, found.payload) {
                    segment.settle(position, position);
                    self.report.cuts.push(reader.damage_at(mark, what));
                }
            }
            self.meter.read(segment.whole.length);
        }
        Ok(())
    }
}
