//! Reads what lives in a segment, and finds out what does not any more.

use std::io;
use std::sync::Arc;

use crate::broker::paging::PageOwner;
use crate::broker::record::Position;

use super::disk::is_want_of_means;
use super::error::{During, StoreError};
use super::files::Files;
use super::framing::{FrameReader, Gap, HEADER_LENGTH, Item};
use super::report::Damage;
use super::segment::{Kind, Segment, header};

/// A place in a segment from which its messages come in order.
pub(super) struct SegmentReader {
    owner: PageOwner,
    kind: Kind,
    /// What the operator knows the queue by.
    name: Arc<str>,
    frames: FrameReader,
    /// The lowest position that the next message can have.
    expected: Position,
    gap: Option<Gap>,
    begun: bool,
}

/// Where a reader can be put back to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    offset: u64,
    previous: Option<Position>,
    expected: Position,
}

/// A message that lives.
pub(super) struct Found<'a> {
    pub(super) position: Position,
    /// Expiry and message.
    pub(super) payload: &'a [u8],
    /// How to read it again.
    pub(super) mark: Mark,
}

impl SegmentReader {
    /// Reads from the beginning.
    pub(super) fn new(files: &Files, owner: PageOwner, name: &Arc<str>, segment: &Segment) -> Self {
        let frames = segment.frames(files, owner);
        let expected = segment.first;
        let (kind, name) = (segment.kind, name.clone());
        SegmentReader { owner, kind, name, frames, expected, gap: None, begun: false }
    }

    /// Whether a message at this position is yet to come.
    pub(super) fn is_before(&self, position: Position) -> bool {
        self.expected <= position
    }

    /// How far in the file it is.
    pub(super) fn offset(&self) -> u64 {
        self.frames.offset()
    }

    /// Gives back the open file and the memory.
    pub(super) fn rest(&mut self) {
        self.frames.rest();
    }

    /// Whether it keeps its file open.
    pub(super) fn is_open(&self) -> bool {
        self.frames.is_open()
    }

    /// Makes the message with this mark the next again.
    pub(super) fn go_back(&mut self, mark: Mark) {
        self.frames.go_back(mark.offset, mark.previous);
        self.expected = mark.expected;
    }

    /// The next message that lives at or behind `from`. What is found to be lost is noted in the
    /// segment and added to `damage`.
    ///
    /// A segment that cannot be read is left as it is, for another start, and has nothing more to
    /// give to this one; an error says that the same can be tried again.
    pub(super) fn next(
        &mut self,
        segment: &mut Segment,
        from: Position,
        damage: &mut Vec<Damage>,
    ) -> Result<Option<Found<'_>>, StoreError> {
        if segment.unreadable {
            return Ok(None);
        }
        self.frames.extend(segment.whole.length, segment.whole.last);
        match self.advance(segment, from, damage) {
            Ok(found) => Ok(found.map(|(position, mark)| Found {
                position,
                payload: self.frames.last_payload(),
                mark,
            })),
            Err(error) if is_want_of_means(&error) => {
                Err(error).unless_short("read", self.frames.path())
            }
            Err(error) => {
                self.give_up(segment, &error, damage);
                Ok(None)
            }
        }
    }

    /// What to say of a message that was found and makes no sense.
    pub(super) fn damage_at(&self, mark: Mark, what: &str) -> Damage {
        let bytes = self.frames.offset().saturating_sub(mark.offset);
        let path = self.frames.path().to_owned();
        Damage { path, offset: mark.offset, bytes, what: what.to_owned() }
    }

    fn advance(
        &mut self,
        segment: &mut Segment,
        from: Position,
        damage: &mut Vec<Damage>,
    ) -> io::Result<Option<(Position, Mark)>> {
        if !self.begun {
            self.check_header(segment, damage)?;
            self.begun = true;
        }
        loop {
            let (offset, previous) = (self.frames.offset(), self.frames.previous());
            let expected = self.expected;
            match self.frames.next()? {
                Item::Damage(found) => self.gap = Some(found),
                Item::Frame { key, .. } => {
                    if let Some(before) = key.checked_sub(1) {
                        self.lose(segment, before, offset, damage);
                    }
                    self.expected = key.saturating_add(1);
                    if key >= from && segment.live.contains(key) {
                        return Ok(Some((key, Mark { offset, previous, expected })));
                    }
                }
                Item::End => {
                    self.lose(segment, segment.whole.last, offset, damage);
                    return Ok(None);
                }
            }
        }
    }

    fn check_header(&mut self, segment: &Segment, damage: &mut Vec<Damage>) -> io::Result<()> {
        let wanted = header(self.owner, self.kind, segment.number);
        if self.frames.read_header(wanted.magic)? != Some(wanted) {
            let path = self.frames.path().to_owned();
            let what = "its header is not what it should be".to_owned();
            damage.push(Damage { path, offset: 0, bytes: HEADER_LENGTH as u64, what });
        }
        Ok(())
    }

    /// Notes that nothing is there up to a position. What should be was lost with the gap.
    fn lose(
        &mut self,
        segment: &mut Segment,
        last: Position,
        offset: u64,
        damage: &mut Vec<Damage>,
    ) {
        let first = self.expected;
        self.expected = first.max(last.saturating_add(1));
        let gap = self.gap.take();
        let lost = if first <= last { segment.settle(first, last) } else { 0 };
        // Damage that loses no message is not reported.
        if lost > 0 {
            let (offset, bytes) = gap.map_or((offset, 0), |gap| (gap.offset, gap.bytes));
            let what = format!("not whole; {lost} messages of queue {:?} are lost", self.name);
            damage.push(Damage { path: self.frames.path().to_owned(), offset, bytes, what });
        }
    }

    fn give_up(&self, segment: &mut Segment, error: &io::Error, damage: &mut Vec<Damage>) {
        let path = self.frames.path().to_owned();
        let (offset, bytes) = (self.frames.offset(), segment.whole.length);
        let bytes = bytes.saturating_sub(offset);
        let what = if error.kind() == io::ErrorKind::NotFound {
            let (first, last) = (self.expected, segment.whole.last);
            let lost = segment.settle(first, last);
            format!("missing; {lost} messages of queue {:?} are lost", self.name)
        } else {
            segment.unreadable = true;
            format!("cannot be read ({error}); what is behind stays there for another start")
        };
        damage.push(Damage { path, offset, bytes, what });
    }
}
