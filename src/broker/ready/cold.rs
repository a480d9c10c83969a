//! The cold part of a queue: which of its messages are on the disk alone.
//!
//! Most of them have places of their own, and go by position. Those that came back behind all others have
//! given up their places: they stand in sections, each before the position that was to be given next then,
//! and go by position within it.
//!
//! invariant: a message is in memory or in here. What the store has beside those in here is no business of
//! this queue: it may be delivered, or in memory.

use std::collections::{BTreeMap, VecDeque};

use super::{Entry, Place};
use crate::broker::ids::Position;
use crate::broker::paging::{Cold, PagedMessage};
use crate::broker::range_set::RangeSet;
use crate::broker::time::Time;

/// What is on the disk alone, and what came after it.
#[derive(Debug, Default)]
pub(super) struct ColdPart {
    /// The positions of those that have places of their own. After a start there are more in it than live.
    own: RangeSet,
    /// The positions of those that came back behind others, by the place of the first of each section.
    sections: BTreeMap<Place, RangeSet>,
    messages: u64,
    /// Sum of the body sizes, in octets.
    octets: u64,
    /// What is known of the one that goes first; none when it has to be read for that.
    pub(super) head: Option<ColdHead>,
    /// Messages behind it, by position.
    pub(super) tail: VecDeque<Entry>,
    pub(super) tail_weight: u64,
    /// What was asked for, while the answer is due.
    pub(super) asked: Option<Asked>,
    /// About how much is asked for at once, in octets; zero when nothing is asked for ahead.
    pub(super) window: usize,
}

/// What is known of the first message of a cold part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ColdHead {
    /// When it expires; [`Time::NEVER`] when it does not.
    pub(super) expires_at: Time,
    /// When its publisher says that it was made.
    pub(super) timestamp: Option<u64>,
}

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// The section, or none for those with places of their own.
    section: Option<Place>,
    pub(super) first: Position,
    pub(super) last: Position,
}

impl ColdPart {
    /// What a restart found: so many of the positions between two live.
    pub(super) fn restored(found: Cold) -> Self {
        let Cold { first, last, messages, octets } = found;
        let mut cold = ColdPart { messages, octets, ..ColdPart::default() };
        cold.own.insert(first, last);
        cold
    }

    pub(super) fn messages(&self) -> u64 {
        self.messages
    }

    pub(super) fn octets(&self) -> u64 {
        self.octets
    }

    /// Where the first of those with places of their own is.
    fn own_begin(&self) -> Option<Place> {
        self.own.first().map(place_of)
    }

    /// The place of the one that goes first.
    pub(super) fn first(&self) -> Option<Place> {
        let section = self.sections.first_key_value().map(|(place, _)| *place);
        section.into_iter().chain(self.own_begin()).min()
    }

    /// Where it begins: what is in memory and has a lower place goes before it.
    pub(super) fn begin(&self) -> Option<Place> {
        let tail = self.tail.front().map(|entry| place_of(entry.position));
        self.first().or(tail)
    }

    /// Takes in messages at the end of those in memory, in the order in which they go.
    pub(super) fn put(&mut self, entries: &[(Place, Entry)]) {
        let (Some((first, head)), before) = (entries.first(), self.first()) else { return };
        if before.is_none_or(|before| *first < before) {
            self.head = Some(ColdHead::of(head));
        }
        let mut section: Option<(Place, RangeSet)> = None;
        for (place, entry) in entries {
            let position = entry.position;
            self.messages += 1;
            self.octets += entry.body_octets();
            if place.0 == position {
                self.own.insert(position, position);
                continue;
            }
            match &mut section {
                Some((begin, positions))
                    if begin.0 == place.0 && positions.last() < Some(position) =>
                {
                    positions.insert(position, position);
                }
                _ => {
                    let mut positions = RangeSet::default();
                    positions.insert(position, position);
                    let ended = section.replace((*place, positions));
                    self.sections.extend(ended);
                }
            }
        }
        if let Some((place, positions)) = section {
            self.put_section(place, positions);
        }
    }

    /// Adds a section, which becomes one with the next if that goes on where it ends.
    fn put_section(&mut self, place: Place, mut positions: RangeSet) {
        let next = self.sections.range(place..).next().map(|(next, _)| *next);
        if let Some(next) = next.filter(|next| next.0 == place.0)
            && let Some(found) = self.sections.get(&next)
            && positions.last() < found.first()
            && let Some(found) = self.sections.remove(&next)
        {
            positions.append(found);
        }
        self.sections.insert(place, positions);
    }

    /// A message was found in memory by a restart that lies among those in here.
    pub(super) fn leave_out(&mut self, position: Position) {
        self.own.remove(position, position);
    }

    /// The highest position of those that have places of their own.
    pub(super) fn last_own(&self) -> Option<Position> {
        self.own.last()
    }

    /// What is to be asked for next.
    pub(super) fn next_wanted(&self) -> Option<Asked> {
        let section = self.sections.first_key_value();
        let first_own = self.own.first();
        let before_own = |place: Place| first_own.is_none_or(|first| place < place_of(first));
        if let Some((&place, positions)) = section
            && before_own(place)
        {
            let (first, last) = (positions.first()?, positions.last()?);
            return Some(Asked { section: Some(place), first, last });
        }
        // why: those behind a section go after it.
        let end = section.map_or(Position::MAX, |(place, _)| place.0 - 1);
        Some(Asked { section: None, first: first_own?, last: self.own.last()?.min(end) })
    }

    /// Whether what is to be asked for next stands in a section.
    pub(super) fn next_is_section(&self) -> bool {
        self.next_wanted().is_some_and(|wanted| wanted.section.is_some())
    }

    /// Takes out what came of what was asked for, with the place of each; what lies before `next` and did
    /// not come is lost.
    pub(super) fn take(
        &mut self,
        messages: Vec<PagedMessage>,
        next: Option<Position>,
    ) -> Vec<(Place, PagedMessage)> {
        let Some(asked) = self.asked.take() else { return Vec::new() };
        let end = next.map_or(asked.last.saturating_add(1), |next| next.min(asked.last + 1));
        self.head = None;
        let taken: Vec<_> = match asked.section {
            None => {
                let is_here =
                    |it: &PagedMessage| it.position < end && self.own.contains(it.position);
                let messages = messages.into_iter().filter(is_here);
                let taken = messages.map(|it| (place_of(it.position), it)).collect();
                self.own.remove(0, end - 1);
                taken
            }
            Some(place) => self.take_of_section(place, messages, end),
        };
        for (_, message) in &taken {
            self.forget(message);
        }
        taken
    }

    fn take_of_section(
        &mut self,
        place: Place,
        messages: Vec<PagedMessage>,
        end: Position,
    ) -> Vec<(Place, PagedMessage)> {
        let Some(mut positions) = self.sections.remove(&place) else { return Vec::new() };
        let is_here = |it: &PagedMessage| it.position < end && positions.contains(it.position);
        let messages = messages.into_iter().filter(is_here);
        let places = (0..).map(|index| (place.0, place.1 + index));
        let taken: Vec<_> = places.zip(messages).collect();
        positions.remove(0, end - 1);
        if !positions.is_empty() {
            self.sections.insert((place.0, place.1 + taken.len() as u64), positions);
        }
        taken
    }

    /// Takes out a message that the store did not take, and says where it belongs.
    pub(super) fn take_back(&mut self, message: &PagedMessage) -> Option<Place> {
        let position = message.position;
        let place = if self.own.remove(position, position) > 0 {
            place_of(position)
        } else {
            self.take_back_of_section(position)?
        };
        self.head = None;
        self.forget(message);
        Some(place)
    }

    fn take_back_of_section(&mut self, position: Position) -> Option<Place> {
        let found = self.sections.iter().find(|(_, positions)| positions.contains(position));
        let place = *found?.0;
        let mut before = self.sections.remove(&place)?;
        // why: one after the other comes back, and to divide the set at each would be slow.
        let mut behind = match before.first() == Some(position) {
            true => std::mem::take(&mut before),
            false => before.split_off(position),
        };
        behind.remove(position, position);
        let own = (place.0, place.1 + before.len());
        for (place, positions) in [(place, before), ((own.0, own.1 + 1), behind)] {
            if !positions.is_empty() {
                self.sections.insert(place, positions);
            }
        }
        Some(own)
    }

    fn forget(&mut self, message: &PagedMessage) {
        self.messages = self.messages.saturating_sub(1);
        let octets = message.message.body().len() as u64;
        self.octets = self.octets.saturating_sub(octets);
    }

    /// Takes messages from behind it in, about so many octets of them.
    pub(super) fn take_tail(&mut self, at_most: u64) -> VecDeque<Entry> {
        let mut weight = 0;
        let count = self.tail.iter().take_while(|entry| {
            let goes = weight < at_most;
            weight += if goes { entry.weight() } else { 0 };
            goes
        });
        let count = count.count();
        let rest = self.tail.split_off(count);
        let entries = std::mem::replace(&mut self.tail, rest);
        self.tail_weight -= weight;
        for entry in &entries {
            self.own.insert(entry.position, entry.position);
            self.messages += 1;
            self.octets += entry.body_octets();
        }
        entries
    }

    /// Whether nothing is left, or all that is left is lost.
    pub(super) fn is_over(&self) -> bool {
        self.messages == 0 || self.first().is_none()
    }

    /// Whether a position is one of those in here.
    pub(super) fn contains(&self, position: Position) -> bool {
        self.own.contains(position) || self.sections.values().any(|it| it.contains(position))
    }

    /// How many positions are in here.
    pub(super) fn positions(&self) -> u64 {
        self.own.len() + self.sections.values().map(RangeSet::len).sum::<u64>()
    }
}

/// The place of a message that has its own: behind what came back to it.
pub(super) fn place_of(position: Position) -> Place {
    (position, u64::MAX)
}

impl ColdHead {
    fn of(entry: &Entry) -> Self {
        let timestamp = entry.message.properties().timestamp();
        ColdHead { expires_at: entry.expires_at, timestamp }
    }
}
