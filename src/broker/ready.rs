//! The messages of a queue that wait: in lanes by priority, and of a long queue only the two ends.
//!
//! ```text
//!   returned ─┐
//!             ├─► next        fresh │ ······ cold part ······ │ tail ◄─ published
//!   fresh ────┘             in memory      on the disk          in memory
//! ```
//!
//! Without a cold part there is no tail. Only a queue of one lane has a cold part: with priorities,
//! what goes next can be anywhere.
//!
//! invariant: within a lane what was never delivered leaves by rising position. What came back lies
//! before all that has its place or a higher one, so that a requeued message finds its original place
//! by its position alone, and one that goes behind all others by the position that is given next.
//! invariant: what is fresh in memory goes before all of the cold part; what came back may lie in its midst.
//! invariant: while there is a cold part and nothing before it in memory, nothing goes next; what is
//! missing has been asked for if somebody needs it.

mod cold;
mod pages;

use std::collections::{BTreeMap, VecDeque};

use leveret_codec::ShortString;

use self::cold::{ColdHead, ColdPart, place_of};
pub use self::pages::{PageOut, Wanted};
use super::ids::Position;
use super::message::Message;
use super::range_set::RangeSet;
use super::time::Time;
use super::weight::{Weight, weight_of};

/// A message in a queue.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The message.
    pub message: Message,
    /// Its place in the queue.
    pub position: Position,
    /// When it expires; [`Time::NEVER`] when it does not.
    pub expires_at: Time,
    /// How often it was delivered and came back.
    pub returns: u32,
    /// Its rank in a queue with priorities, zero elsewhere.
    pub priority: u8,
    /// Whether it may have been delivered before.
    pub redelivered: bool,
    /// Whether a record speaks of it, and another must say when it is done with.
    pub recorded: bool,
    /// Whether it was on the disk though no record speaks of it, and its page must be told.
    pub paged: bool,
}

impl Entry {
    /// Whether its time has come.
    pub fn is_expired(&self, now: Time) -> bool {
        self.expires_at <= now
    }

    /// About how much memory it takes, in octets.
    pub fn weight(&self) -> u64 {
        weight_of(&self.message)
    }

    fn body_octets(&self) -> u64 {
        self.message.body().len() as u64
    }
}

/// Where something that came back belongs: before what has this position, and behind what came back
/// to the same place earlier.
type Place = (Position, u64);

/// Messages of one priority that wait, in memory.
#[derive(Debug, Default)]
struct Lane {
    /// Those that came back.
    returned: BTreeMap<Place, Entry>,
    /// Those never delivered, by position.
    fresh: VecDeque<Entry>,
    /// The highest position delivered, and whether the store has been told so.
    delivered: Position,
    delivered_recorded: Position,
}

impl Lane {
    /// Whether the next one is among those that came back; `None` when there is none. `cold` is where
    /// the cold part begins.
    fn next_is_returned(&self, cold: Option<Place>) -> Option<bool> {
        let fresh = self.fresh.front().map(|entry| place_of(entry.position));
        let returned = self.returned.first_key_value().map(|(place, _)| *place);
        match (returned, fresh.or(cold)) {
            (Some(place), Some(other)) if place > other => fresh.map(|_| false),
            (Some(_), _) => Some(true),
            (None, _) => fresh.map(|_| false),
        }
    }

    /// How many there are.
    fn len(&self) -> usize {
        self.returned.len() + self.fresh.len()
    }

    /// The one that goes last, with its place, and whether it is among those that came back.
    fn pop_last(&mut self) -> Option<(Place, Entry, bool)> {
        let fresh = self.fresh.back().map(|entry| place_of(entry.position));
        let returned = self.returned.last_key_value().map(|(place, _)| *place);
        if returned > fresh {
            self.returned.pop_last().map(|(place, entry)| (place, entry, true))
        } else {
            Some((fresh?, self.fresh.pop_back()?, false))
        }
    }

    /// Gives back the memory of places that are not used any more.
    fn shrink(&mut self) {
        if self.fresh.capacity() > 4 * self.fresh.len() {
            self.fresh.shrink_to(2 * self.fresh.len());
        }
    }

    fn front(&self, cold: Option<Place>) -> Option<&Entry> {
        if self.next_is_returned(cold)? {
            self.returned.first_key_value().map(|(_, entry)| entry)
        } else {
            self.fresh.front()
        }
    }

    /// The next one, and whether it is among those that came back.
    fn pop_front(&mut self, cold: Option<Place>) -> Option<(Entry, bool)> {
        let is_returned = self.next_is_returned(cold)?;
        let entry = if is_returned {
            self.returned.pop_first().map(|(_, entry)| entry)
        } else {
            self.fresh.pop_front()
        };
        Some((entry?, is_returned))
    }
}

/// The messages of a queue that wait, highest priority first, then by position.
#[derive(Debug)]
pub struct Ready {
    /// One for each priority, lowest first; a queue without priorities has one.
    lanes: Vec<Lane>,
    cold: Option<Box<ColdPart>>,
    /// How many wait, those in the cold part among them.
    messages: usize,
    octets: u64,
    /// What those in memory weigh.
    weight: Weight,
    /// What those of them weigh that came back.
    returned_weight: u64,
    /// Rises with everything that comes back.
    last_return: u64,
    /// Which messages that are on the disk, or that a restart found, have come back how often.
    known_returns: BTreeMap<u32, RangeSet>,
}

impl Ready {
    /// Nothing waits, in lanes for the priorities from zero to `max_priority`.
    pub fn new(max_priority: u8) -> Self {
        let lanes = (0..=max_priority).map(|_| Lane::default()).collect();
        Ready {
            lanes,
            cold: None,
            messages: 0,
            octets: 0,
            weight: Weight::default(),
            returned_weight: 0,
            last_return: 0,
            known_returns: BTreeMap::new(),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.messages
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.messages == 0
    }

    /// Sum of the body sizes, in octets.
    pub fn octets(&self) -> u64 {
        self.octets
    }

    /// About how much memory they take, in octets.
    pub fn weight(&self) -> u64 {
        self.weight.octets()
    }

    /// How many bytes more of what is here are counted elsewhere too than when they were taken last.
    pub fn repeated(&self) -> i64 {
        self.weight.repeated()
    }

    /// The same, and they are known now.
    pub fn take_repeated(&mut self) -> i64 {
        self.weight.take_repeated()
    }

    /// How many of them are on the disk alone.
    pub fn cold_messages(&self) -> u64 {
        self.cold.as_ref().map_or(0, |cold| cold.messages())
    }

    /// Whether what goes next is still on the disk.
    pub fn awaits_page(&self) -> bool {
        self.cold.is_some() && self.front().is_none()
    }

    /// Whether what goes next has to be read before it is known when it expires.
    pub fn head_is_unknown(&self) -> bool {
        self.awaits_page() && self.cold.as_ref().is_some_and(|cold| cold.head.is_none())
    }

    /// When what goes next expires, wherever it is; [`Time::NEVER`] when it does not, or when that is
    /// not known.
    pub fn head_expires_at(&self) -> Time {
        match (self.front(), self.cold_head()) {
            (Some(front), _) => front.expires_at,
            (None, Some(head)) => head.expires_at,
            (None, None) => Time::NEVER,
        }
    }

    /// When the publisher of what goes next says that it was made, as far as that is known.
    pub fn head_timestamp(&self) -> Option<u64> {
        match self.front() {
            Some(front) => front.message.properties().timestamp(),
            None => self.cold_head()?.timestamp,
        }
    }

    /// The one that goes next, if it is in memory.
    pub fn front(&self) -> Option<&Entry> {
        if self.messages == 0 {
            return None;
        }
        let cold = self.cold_begin();
        self.lanes.iter().rev().find_map(|lane| lane.front(cold))
    }

    /// Takes the one that goes next, if it is in memory.
    pub fn pop_front(&mut self) -> Option<Entry> {
        if self.messages == 0 {
            return None;
        }
        let cold = self.cold_begin();
        let mut lanes = self.lanes.iter_mut().rev();
        let (entry, was_returned) = lanes.find_map(|lane| lane.pop_front(cold))?;
        self.messages -= 1;
        self.octets -= entry.body_octets();
        self.weight.remove(&entry.message);
        if was_returned {
            self.returned_weight -= entry.weight();
        }
        Some(entry)
    }

    /// Takes any that is in memory: for a queue that is no more.
    pub fn pop_any(&mut self) -> Option<Entry> {
        let of_lanes = self.lanes.iter_mut().rev().find_map(|lane| {
            lane.fresh.pop_back().or_else(|| lane.returned.pop_last().map(|(_, entry)| entry))
        });
        let entry = of_lanes.or_else(|| self.cold.as_mut()?.tail.pop_back())?;
        self.weight.remove(&entry.message);
        Some(entry)
    }

    /// Adds one that was never delivered, behind all others of its priority.
    pub fn push_back(&mut self, entry: Entry) {
        self.add(&entry);
        match &mut self.cold {
            Some(cold) => {
                cold.tail_weight += entry.weight();
                cold.tail.push_back(entry);
            }
            None => self.lane(entry.priority).fresh.push_back(entry),
        }
    }

    /// Puts one that was delivered back to its place.
    pub fn put_back(&mut self, entry: Entry) {
        let place = entry.position;
        self.put_back_at(place, entry);
    }

    /// Puts one that was delivered behind all others; `next` is the position given next.
    pub fn put_behind(&mut self, next: Position, entry: Entry) {
        self.put_back_at(next, entry);
    }

    fn put_back_at(&mut self, place: Position, entry: Entry) {
        self.add(&entry);
        self.returned_weight += entry.weight();
        self.last_return += 1;
        let place = (place, self.last_return);
        self.lane(entry.priority).returned.insert(place, entry);
    }

    /// Those in memory, highest priority first.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        let lanes = self.lanes.iter().rev();
        let entries = lanes.flat_map(|lane| lane.returned.values().chain(&lane.fresh));
        entries.chain(self.cold.iter().flat_map(|cold| &cold.tail))
    }

    /// Notes that one of this priority and position was delivered.
    pub fn note_delivered(&mut self, priority: u8, position: Position) {
        let lane = self.lane(priority);
        lane.delivered = lane.delivered.max(position);
    }

    /// What the store is to be told about deliveries since it was asked last.
    pub fn take_delivered(&mut self) -> impl Iterator<Item = (u8, Position)> {
        let news = self.lanes.iter_mut().enumerate();
        news.filter(|(_, lane)| lane.delivered > lane.delivered_recorded).map(|(index, lane)| {
            lane.delivered_recorded = lane.delivered;
            (index as u8, lane.delivered)
        })
    }

    /// What a restart found out about deliveries of before.
    pub fn restore_delivered(&mut self, priority: u8, position: Position) {
        let lane = self.lane(priority);
        lane.delivered = position;
        lane.delivered_recorded = position;
    }

    /// What a restart found of how often messages had come back.
    pub fn restore_returns(&mut self, returns: impl IntoIterator<Item = (Position, u32)>) {
        for (position, returns) in returns {
            self.known_returns.entry(returns).or_default().insert(position, position);
        }
    }

    /// How often the message at a position had come back before it went to the disk, or before a restart.
    pub fn take_known_returns(&mut self, position: Position) -> u32 {
        if self.known_returns.is_empty() {
            return 0;
        }
        let mut known = self.known_returns.iter_mut();
        let Some((&returns, positions)) = known.find(|(_, it)| it.contains(position)) else {
            return 0;
        };
        positions.remove(position, position);
        if positions.is_empty() {
            self.known_returns.remove(&returns);
        }
        returns
    }

    /// Counts everything again: for tests.
    ///
    /// # Panics
    /// When a sum disagrees with what is summed.
    pub fn check(&self, name: &ShortString) {
        let (cold_messages, cold_octets) =
            self.cold.as_ref().map_or((0, 0), |cold| (cold.messages(), cold.octets()));
        assert_eq!(
            self.iter().count() + cold_messages as usize,
            self.messages,
            "ready of queue {name}"
        );
        let octets: u64 = self.iter().map(Entry::body_octets).sum();
        assert_eq!(octets + cold_octets, self.octets, "ready octets of queue {name}");
        let weight: u64 = self.iter().map(Entry::weight).sum();
        assert_eq!(weight, self.weight.octets(), "weight of what is ready in queue {name}");
        let returned = self.lanes.iter().flat_map(|lane| lane.returned.values());
        let weight: u64 = returned.map(Entry::weight).sum();
        assert_eq!(weight, self.returned_weight, "weight of what came back to queue {name}");
        if let Some(cold) = &self.cold {
            let weight: u64 = cold.tail.iter().map(Entry::weight).sum();
            assert_eq!(weight, cold.tail_weight, "weight of the tail of queue {name}");
            assert!(cold.asked.is_some() || cold.messages() > 0, "a cold part of queue {name}");
            assert!(cold.messages() <= cold.positions(), "the positions of queue {name}");
            let is_twice = self.iter().any(|entry| cold.contains(entry.position));
            assert!(!is_twice, "in memory and on the disk of queue {name}");
            let fresh = self.lanes[0].fresh.back().map(|entry| place_of(entry.position));
            let is_before = cold.begin().is_none_or(|begin| fresh < Some(begin));
            assert!(is_before, "the cold part of queue {name} begins before what is fresh ends");
        }
    }

    fn add(&mut self, entry: &Entry) {
        self.messages += 1;
        self.octets += entry.body_octets();
        self.weight.add(&entry.message);
    }

    fn lane(&mut self, priority: u8) -> &mut Lane {
        let highest = self.lanes.len() - 1;
        &mut self.lanes[usize::from(priority).min(highest)]
    }

    fn cold_head(&self) -> Option<ColdHead> {
        self.cold.as_ref().and_then(|cold| cold.head)
    }

    fn cold_begin(&self) -> Option<Place> {
        self.cold.as_ref().and_then(|cold| cold.begin())
    }
}
