//! One segment, from end to end.

use std::sync::Arc;

use crate::broker::paging::PageOwner;
use crate::broker::record::Position;

use super::super::files::Files;
use super::super::format::{Fields, Malformed, parse_message};
use super::super::framing::{Gap, HEADER_LENGTH, Item};
use super::super::report::Damage;
use super::super::segment::{Segment, header};
use crate::broker::range_set::RangeSet;

/// What was found of messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) messages: u64,
    /// Bytes of their bodies.
    pub(super) body_bytes: u64,
}

impl Sum {
    fn add(&mut self, body_bytes: u64) {
        self.messages += 1;
        self.body_bytes += body_bytes;
    }
}

/// Reads every message of a segment, also of those that are settled, and says what lives. What turns
/// out to be lost is noted in the segment.
pub(super) fn read(
    files: &Files,
    owner: PageOwner,
    name: &Arc<str>,
    segment: &mut Segment,
    damage: &mut Vec<Damage>,
) -> Sum {
    let path = segment.messages_path(files, owner);
    let expected = segment.first;
    let (living, all) = Default::default();
    let mut reading =
        Reading { name, path, segment, damage, expected, gap: None, is_whole: true, living, all };
    // What cannot be read, recovery has found out.
    if !reading.segment.unreadable {
        reading.read(files, owner);
        reading.compare();
    }
    reading.living
}

/// Adds what lives in a segment to what lives in others; returns how much of it was known.
pub(super) fn count_known(seen: &mut RangeSet, segment: &Segment) -> u64 {
    let mut known = 0;
    let mut add = |first: Position, last: Position| {
        known += last - first + 1 - seen.insert(first, last);
    };
    let mut run: Option<(Position, Position)> = None;
    for position in segment.live.within(segment.first, segment.whole.last) {
        run = match run {
            Some((first, last)) if last + 1 == position => Some((first, position)),
            Some((first, last)) => {
                add(first, last);
                Some((position, position))
            }
            None => Some((position, position)),
        };
    }
    if let Some((first, last)) = run {
        add(first, last);
    }
    known
}

struct Reading<'a> {
    name: &'a Arc<str>,
    path: String,
    segment: &'a mut Segment,
    damage: &'a mut Vec<Damage>,
    /// The lowest position that the next message can have.
    expected: Position,
    gap: Option<Gap>,
    is_whole: bool,
    living: Sum,
    /// Also of what is settled.
    all: Sum,
}

impl Reading<'_> {
    fn read(&mut self, files: &Files, owner: PageOwner) {
        let mut frames = self.segment.frames(files, owner);
        let wanted = header(owner, self.segment.kind, self.segment.number);
        match frames.read_header(wanted.magic) {
            Ok(found) if found == Some(wanted) => {}
            Ok(_) => self.note(0, HEADER_LENGTH as u64, "its header is not what it should be"),
            Err(error) => return self.give_up(0, &error),
        }
        loop {
            let offset = frames.offset();
            match frames.next() {
                Ok(Item::Damage(gap)) => self.gap = Some(gap),
                Ok(Item::Frame { key, payload }) => {
                    if let Some(before) = key.checked_sub(1) {
                        self.pass(before, offset);
                    }
                    self.expected = key.saturating_add(1);
                    let bytes = payload.len() as u64;
                    match body_length(payload) {
                        Ok(body_bytes) => self.take(key, body_bytes),
                        Err(Malformed(what)) => self.lose_malformed(key, offset, bytes, what),
                    }
                }
                Ok(Item::End) => return self.pass(self.segment.whole.last, offset),
                Err(error) => return self.give_up(offset, &error),
            }
        }
    }

    fn take(&mut self, position: Position, body_bytes: u64) {
        self.all.add(body_bytes);
        if self.segment.live.contains(position) {
            self.living.add(body_bytes);
        }
    }

    /// Notes that nothing is there up to a position.
    fn pass(&mut self, last: Position, offset: u64) {
        let first = self.expected;
        self.expected = first.max(last.saturating_add(1));
        let lost = if first <= last { self.segment.settle(first, last) } else { 0 };
        match self.gap.take() {
            Some(gap) => {
                let what = format!("not whole; {}", self.cost(lost));
                self.note(gap.offset, gap.bytes, &what);
            }
            None if lost > 0 => {
                let what = format!("positions {first} to {last} are missing; {}", self.cost(lost));
                self.note(offset, 0, &what);
            }
            None => {}
        }
    }

    fn lose_malformed(&mut self, position: Position, offset: u64, bytes: u64, what: &str) {
        let lost = self.segment.settle(position, position);
        let what = format!("{what}; {}", self.cost(lost));
        self.note(offset, bytes, &what);
    }

    fn give_up(&mut self, offset: u64, error: &std::io::Error) {
        let what =
            format!("cannot be read ({error}); what is behind stays there for another start");
        let bytes = self.segment.whole.length.saturating_sub(offset);
        self.note(offset, bytes, &what);
    }

    fn cost(&self, lost: u64) -> String {
        match lost {
            0 => "nothing that still lives is lost".to_owned(),
            1 => format!("1 message of queue {:?} is lost", self.name),
            lost => format!("{lost} messages of queue {:?} are lost", self.name),
        }
    }

    /// Adds a damage, unless recovery knows it.
    fn note(&mut self, offset: u64, bytes: u64, what: &str) {
        self.is_whole = false;
        let is_known =
            |it: &Damage| it.path == self.path && it.offset == offset && it.bytes == bytes;
        if !self.damage.iter().any(is_known) {
            let (path, what) = (self.path.clone(), what.to_owned());
            self.damage.push(Damage { path, offset, bytes, what });
        }
    }

    /// Whether the counts are those of the catalog.
    fn compare(&mut self) {
        let named = Sum {
            messages: self.segment.whole.messages,
            body_bytes: self.segment.whole.body_bytes,
        };
        if self.is_whole && self.all != named {
            let what = format!(
                "{} messages of {} bytes are there, where the catalog says {} of {}",
                self.all.messages, self.all.body_bytes, named.messages, named.body_bytes
            );
            self.note(0, 0, &what);
        }
    }
}

/// The length of a message's body, once all of the message was read.
fn body_length(payload: &[u8]) -> Result<u64, Malformed> {
    let mut fields = Fields(payload);
    fields.expiry()?;
    Ok(parse_message(fields.rest())?.body().len() as u64)
}
