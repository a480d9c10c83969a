//! The segments of one queue of one kind, by position.
//!
//! Two streams of rising positions are appended to them: the messages that a checkpoint moves, and
//! those that are paged out. Each mostly has a segment of its own that it fills, and their spans
//! overlap where one stream left out what came with the other later.

use crate::broker::record::Position;

use super::framing::HEADER_LENGTH;
use super::segment::{Kind, Segment, SegmentKey};

/// How many segments can be appended to: one for each stream, one for what a compaction rescues,
/// and one to spare.
const OPEN_SEGMENTS: usize = 4;

/// The segments of one kind of a queue.
#[derive(Debug)]
pub(super) struct SegmentSet {
    kind: Kind,
    /// Sorted by their keys.
    segments: Vec<Segment>,
    open: OpenSegments,
    /// Sum of their waste.
    waste: u64,
    /// How many have nothing that lives.
    dead: usize,
}

/// What segments take up for little or nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Waste {
    /// How many bytes.
    pub(super) bytes: u64,
    /// How many of them have nothing that lives.
    pub(super) dead: usize,
}

impl Waste {
    /// Counts anew what was counted as `before`.
    pub(super) fn change(&mut self, before: Waste, now: Waste) {
        self.bytes = self.bytes - before.bytes + now.bytes;
        self.dead = self.dead - before.dead + now.dead;
    }
}

/// The segments that take messages, and which of them takes one.
///
/// A copy says where messages will go before anything has changed.
#[derive(Clone, Debug)]
pub(super) struct OpenSegments {
    /// The oldest first.
    open: Vec<OpenSegment>,
    next_number: u64,
}

#[derive(Clone, Copy, Debug)]
struct OpenSegment {
    key: SegmentKey,
    /// The position of its last message.
    last: Position,
    /// How long its file is.
    length: u64,
}

impl OpenSegments {
    /// Gives a message of so many bytes its place: behind those of the segment that comes next before it, or in a
    /// new one.
    pub(super) fn place(&mut self, position: Position, bytes: u64, limit: u64) -> Appended {
        let before = self.open.iter_mut().filter(|open| open.last < position);
        if let Some(open) = before.max_by_key(|open| open.last) {
            let OpenSegment { key, length: offset, .. } = *open;
            if offset + bytes <= limit {
                (open.last, open.length) = (position, offset + bytes);
                return Appended { key, offset, starts_file: false };
            }
            self.close(key);
        }
        let (key, offset) = ((position, self.next_number), HEADER_LENGTH as u64);
        self.next_number += 1;
        if self.open.len() >= OPEN_SEGMENTS {
            self.open.remove(0);
        }
        self.open.push(OpenSegment { key, last: position, length: offset + bytes });
        Appended { key, offset, starts_file: true }
    }

    fn close(&mut self, key: SegmentKey) {
        self.open.retain(|open| open.key != key);
    }
}

/// Where a message was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Appended {
    pub(super) key: SegmentKey,
    /// Where in the file its frame begins.
    pub(super) offset: u64,
    pub(super) starts_file: bool,
}

impl Appended {
    /// Where it ends, being so long.
    pub(super) fn end(&self, length: u64) -> u64 {
        self.offset + length
    }
}

impl SegmentSet {
    pub(super) fn new(kind: Kind) -> Self {
        let open = OpenSegments { open: Vec::new(), next_number: 1 };
        SegmentSet { kind, segments: Vec::new(), open, waste: 0, dead: 0 }
    }

    /// Adds a segment that a catalog names.
    pub(super) fn add_recovered(&mut self, segment: Segment) {
        self.open.next_number = self.open.next_number.max(segment.number.saturating_add(1));
        self.insert(segment);
    }

    /// Lets messages be appended to those segments that have room and nothing is the matter with.
    pub(super) fn open_recovered(&mut self, limit: u64) {
        let takes_more = |segment: &&Segment| {
            segment.whole.length < limit && !segment.is_short && !segment.unreadable
        };
        let mut open: Vec<_> = self.segments.iter().filter(takes_more).collect();
        open.sort_unstable_by_key(|segment| std::cmp::Reverse(segment.whole.last));
        open.truncate(OPEN_SEGMENTS);
        open.sort_unstable_by_key(|segment| segment.number);
        let open = open.into_iter().map(|segment| OpenSegment {
            key: segment.key(),
            last: segment.whole.last,
            length: segment.whole.length,
        });
        self.open.open = open.collect();
    }

    /// Where messages would go.
    pub(super) fn plan(&self) -> OpenSegments {
        self.open.clone()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Segment> {
        self.segments.iter()
    }

    /// Whether there ever was a segment in it.
    pub(super) fn was_used(&self) -> bool {
        self.open.next_number > 1
    }

    /// What is taken up for little or nothing.
    pub(super) fn waste(&self) -> Waste {
        Waste { bytes: self.waste, dead: self.dead }
    }

    /// Whether there is no segment in it.
    pub(super) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// The segments; a change that makes them waste more or less wants a
    /// [`recount`](SegmentSet::recount).
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Segment> {
        self.segments.iter_mut()
    }

    /// Keeps those segments for which `keep` says so.
    pub(super) fn retain(&mut self, keep: impl FnMut(&mut Segment) -> bool) {
        self.segments.retain_mut(keep);
        self.recount();
    }

    /// Does something with one segment.
    pub(super) fn change<T>(
        &mut self,
        key: SegmentKey,
        act: impl FnOnce(&mut Segment) -> T,
    ) -> Option<T> {
        let index = self.index(key)?;
        Some(self.change_at(index, act))
    }

    fn change_at<T>(&mut self, index: usize, act: impl FnOnce(&mut Segment) -> T) -> T {
        let segment = &mut self.segments[index];
        let (before, lived) = (segment.waste(), !segment.live.is_empty());
        let result = act(segment);
        self.waste = self.waste - before + segment.waste();
        if lived && segment.live.is_empty() {
            self.dead += 1;
            // invariant: what is dead stays dead, so that its settlements need not be written.
            let key = segment.key();
            self.close(key);
        }
        result
    }

    pub(super) fn find(&self, key: SegmentKey) -> Option<&Segment> {
        self.index(key).map(|index| &self.segments[index])
    }

    fn index(&self, key: SegmentKey) -> Option<usize> {
        self.segments.binary_search_by_key(&key, Segment::key).ok()
    }

    /// The indices of the segments whose span meets this one, from the last to the first.
    fn meeting(&self, first: Position, last: Position) -> impl Iterator<Item = usize> + '_ {
        let end = self.segments.partition_point(|segment| segment.first <= last);
        let near = self.segments[..end].iter().enumerate().rev();
        near.take_while(move |(_, segment)| segment.reach >= first)
            .filter(move |(_, segment)| segment.whole.last >= first)
            .map(|(index, _)| index)
    }

    /// The segments in which something lives and whose span has this position.
    pub(super) fn around(&self, position: Position) -> Vec<SegmentKey> {
        let living = |&index: &usize| !self.segments[index].live.is_empty();
        let around = self.meeting(position, position).filter(living);
        around.map(|index| self.segments[index].key()).collect()
    }

    /// The first segment in which something lives that begins behind another, or would.
    pub(super) fn next_behind(&self, key: SegmentKey) -> Option<SegmentKey> {
        let behind = self.segments.partition_point(|segment| segment.key() <= key);
        self.segments[behind..].iter().find(|segment| !segment.live.is_empty()).map(Segment::key)
    }

    /// Whether the position lives in one of them.
    pub(super) fn holds(&self, position: Position) -> bool {
        self.meeting(position, position).any(|index| self.segments[index].live.contains(position))
    }

    /// The positions that live in them within a range, in no order.
    pub(super) fn living(&self, first: Position, last: Position) -> Vec<Position> {
        let segments = self.meeting(first, last).map(|index| &self.segments[index]);
        segments.flat_map(|segment| segment.live.within(first, last)).collect()
    }

    /// Notes that positions are done with.
    pub(super) fn settle(&mut self, first: Position, last: Position) {
        if first > last {
            return;
        }
        let indices: smallvec::SmallVec<[usize; 4]> = self.meeting(first, last).collect();
        for index in indices {
            self.change_at(index, |segment| segment.settle(first, last));
        }
    }

    /// Puts a message where there is a [place](OpenSegments::place) for it.
    pub(super) fn append(
        &mut self,
        position: Position,
        bytes: u64,
        body_bytes: u64,
        limit: u64,
    ) -> Appended {
        let appended = self.open.place(position, bytes, limit);
        if appended.starts_file {
            let mut segment = Segment::new(self.kind, appended.key.1, position);
            segment.appended(position, bytes, body_bytes);
            self.insert(segment);
        } else {
            let index = self.index(appended.key).expect("invariant: what is open is there");
            self.change_at(index, |segment| segment.appended(position, bytes, body_bytes));
            self.raise_reach(index);
        }
        appended
    }

    /// Lets nothing more be appended to a segment.
    pub(super) fn close(&mut self, key: SegmentKey) {
        self.open.close(key);
    }

    /// Closes those in which too little lives to keep them for it.
    pub(super) fn close_sparse(&mut self) -> Vec<SegmentKey> {
        let is_sparse = |segment: &&Segment| segment.waste() > 0 && !segment.live.is_empty();
        let sparse: Vec<_> = self.segments.iter().filter(is_sparse).map(Segment::key).collect();
        sparse.iter().for_each(|key| self.close(*key));
        sparse
    }

    /// Takes out the segments in which nothing lives.
    pub(super) fn take_dead(&mut self) -> Vec<Segment> {
        if self.dead == 0 {
            return Vec::new();
        }
        let (living, dead): (Vec<_>, Vec<_>) = std::mem::take(&mut self.segments)
            .into_iter()
            .partition(|segment| !segment.live.is_empty());
        self.segments = living;
        self.recount();
        dead
    }

    fn insert(&mut self, segment: Segment) {
        let index = self.segments.partition_point(|other| other.key() < segment.key());
        self.waste += segment.waste();
        self.dead += usize::from(segment.live.is_empty());
        self.segments.insert(index, segment);
        self.raise_reach(index);
    }

    /// Mends the reach of a segment that has got longer, and of those after it.
    fn raise_reach(&mut self, index: usize) {
        let mut reach = index.checked_sub(1).map_or(0, |before| self.segments[before].reach);
        for (offset, segment) in self.segments[index..].iter_mut().enumerate() {
            reach = reach.max(segment.whole.last);
            if offset > 0 && segment.reach >= reach {
                break;
            }
            segment.reach = reach;
        }
    }

    /// Mends all that is known of the segments together.
    pub(super) fn recount(&mut self) {
        let mut reach = 0;
        self.waste = 0;
        self.dead = 0;
        for segment in &mut self.segments {
            reach = reach.max(segment.whole.last);
            segment.reach = reach;
            self.waste += segment.waste();
            self.dead += usize::from(segment.live.is_empty());
        }
        let SegmentSet { segments, open, .. } = self;
        open.open.retain(|open| {
            let found = segments.binary_search_by_key(&open.key, Segment::key);
            found.is_ok_and(|index| !segments[index].live.is_empty())
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(set: &mut SegmentSet, position: Position) -> u64 {
        set.append(position, 10, 1, 100).key.1
    }

    #[test]
    fn each_stream_has_a_segment_of_its_own() {
        let mut set = SegmentSet::new(Kind::Durable);
        // Paged out from 50 on, then what was left at the head is moved, by turns with more.
        let numbers = [50, 51, 1, 52, 2, 3, 53].map(|position| number(&mut set, position));
        assert_eq!(numbers, [1, 1, 2, 1, 2, 2, 1]);
        assert_eq!(set.iter().map(|segment| segment.first).collect::<Vec<_>>(), [1, 50]);
        // One that was left out lies inside of another's span.
        assert_eq!(number(&mut set, 60), 1);
        assert_eq!(number(&mut set, 55), 2);
        assert!(set.holds(55) && set.holds(60) && !set.holds(54));
        assert_eq!(set.around(55).len(), 2);
        assert_eq!(set.next_behind((1, u64::MAX)), Some((50, 1)));
        assert_eq!(set.next_behind((50, 1)), None);
        set.settle(50, 60);
        assert_eq!(set.living(0, 100).len(), 3);
        assert_eq!(set.take_dead().len(), 1);
        set.settle(0, 100);
        assert_eq!(set.take_dead().len(), 1);
        assert_eq!((set.waste(), set.open.open.len()), (Waste::default(), 0));
    }

    #[test]
    fn a_full_segment_is_followed_by_a_new_one() {
        let mut set = SegmentSet::new(Kind::Transient);
        let appended: Vec<_> = (1..=20).map(|position| set.append(position, 30, 1, 100)).collect();
        assert!(appended[0].starts_file && !appended[1].starts_file && appended[2].starts_file);
        assert_eq!((appended[1].offset, appended[2].offset), (62, 32));
        assert_eq!((set.iter().count(), set.open.open.len()), (10, 1));
        for position in 1..=20 {
            assert!(set.holds(position));
            assert_eq!(set.around(position).len(), 1);
        }
        // A long one is put alone into its own.
        assert!(set.append(21, 1000, 1, 100).starts_file);
    }

    #[test]
    fn what_is_dead_is_not_appended_to() {
        let mut set = SegmentSet::new(Kind::Durable);
        assert_eq!(number(&mut set, 1), 1);
        set.settle(1, 1);
        assert!(set.waste().bytes > 0 && set.waste().dead == 1);
        assert_eq!(number(&mut set, 2), 2);
    }
}
