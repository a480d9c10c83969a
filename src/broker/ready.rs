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
//! invariant: while there is a cold part and nothing before it in memory, nothing goes next; what is
//! missing has been asked for.

use std::collections::{BTreeMap, VecDeque};

use leveret_codec::ShortString;

use super::message::Message;
use super::paging::{Cold, PagedMessage};
use super::record::Position;
use super::runs::Runs;
use super::time::Time;

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

/// What an entry occupies beside the octets of its message: itself and the allocation's own.
const ENTRY_OCTETS: u64 = 96;

impl Entry {
    /// Whether its time has come.
    pub fn is_expired(&self, now: Time) -> bool {
        self.expires_at <= now
    }

    /// About how much memory it takes, in octets.
    pub fn weight(&self) -> u64 {
        ENTRY_OCTETS + self.message.as_bytes().len() as u64
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
    fn next_is_returned(&self, cold: Option<Position>) -> Option<bool> {
        let fresh = self.fresh.front().map(|entry| entry.position);
        let returned = self.returned.first_key_value().map(|((place, _), _)| *place);
        match (returned, fresh.or(cold)) {
            (Some(place), Some(position)) if place > position => fresh.map(|_| false),
            (Some(_), _) => Some(true),
            (None, _) => fresh.map(|_| false),
        }
    }

    fn front(&self, cold: Option<Position>) -> Option<&Entry> {
        if self.next_is_returned(cold)? {
            self.returned.first_key_value().map(|(_, entry)| entry)
        } else {
            self.fresh.front()
        }
    }

    /// The next one, and whether it is among those that came back.
    fn pop_front(&mut self, cold: Option<Position>) -> Option<(Entry, bool)> {
        let is_returned = self.next_is_returned(cold)?;
        let entry = if is_returned {
            self.returned.pop_first().map(|(_, entry)| entry)
        } else {
            self.fresh.pop_front()
        };
        Some((entry?, is_returned))
    }
}

/// What is on the disk alone, and what came after it.
#[derive(Debug)]
struct ColdPart {
    /// Where it begins and ends.
    first: Position,
    last: Position,
    messages: u64,
    /// Sum of the body sizes, in octets.
    octets: u64,
    /// Messages behind it, by position.
    tail: VecDeque<Entry>,
    tail_weight: u64,
    /// The end of what was asked for, while the answer is due.
    asked: Option<Position>,
    /// About how much is asked for at once, in octets.
    window: usize,
}

/// What is asked for at first; a queue that nobody reads from needs no more than its head.
const SMALLEST_WINDOW: usize = 4 * 1024;
/// What is asked for at most while memory is short.
const SMALL_WINDOW: usize = 64 * 1024;
/// What is asked for at most: large enough to keep the disk busy, small enough to be taken in at once.
const LARGEST_WINDOW: usize = 1024 * 1024;

/// What of a queue's cold part is wanted back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Where to begin.
    pub first: Position,
    /// The end of the cold part.
    pub last: Position,
    /// About how much, in octets.
    pub octets: usize,
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
    weight: u64,
    /// What those of them weigh that came back.
    returned_weight: u64,
    /// Rises with everything that comes back.
    last_return: u64,
    /// How often messages that a restart found had come back.
    known_returns: BTreeMap<Position, u32>,
    /// Positions that are no part of a cold part in the midst of which they lie: a start took these
    /// messages from the log into memory, or the store did not take them. A checkpoint may put them
    /// beside the others on the disk all the same, as long as they are not settled.
    in_memory: Runs,
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
            weight: 0,
            returned_weight: 0,
            last_return: 0,
            known_returns: BTreeMap::new(),
            in_memory: Runs::default(),
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
        self.weight
    }

    /// How many of them are on the disk alone.
    pub fn cold_messages(&self) -> u64 {
        self.cold.as_ref().map_or(0, |cold| cold.messages)
    }

    /// Whether what goes next is still on the disk.
    pub fn awaits_page(&self) -> bool {
        self.cold.is_some() && self.front().is_none()
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
        self.weight -= entry.weight();
        if was_returned {
            self.returned_weight -= entry.weight();
        }
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
        self.known_returns = returns.into_iter().collect();
    }

    /// How often the message at a position had come back before a restart.
    pub fn known_returns(&self, position: Position) -> u32 {
        self.known_returns.get(&position).copied().unwrap_or(0)
    }

    /// Counts everything again: for tests.
    ///
    /// # Panics
    /// When a sum disagrees with what is summed.
    pub fn check(&self, name: &ShortString) {
        let (cold_messages, cold_octets) =
            self.cold.as_ref().map_or((0, 0), |cold| (cold.messages, cold.octets));
        assert_eq!(
            self.iter().count() + cold_messages as usize,
            self.messages,
            "ready of queue {name}"
        );
        let octets: u64 = self.iter().map(Entry::body_octets).sum();
        assert_eq!(octets + cold_octets, self.octets, "ready octets of queue {name}");
        let weight: u64 = self.iter().map(Entry::weight).sum();
        assert_eq!(weight, self.weight, "weight of what is ready in queue {name}");
        let returned = self.lanes.iter().flat_map(|lane| lane.returned.values());
        let weight: u64 = returned.map(Entry::weight).sum();
        assert_eq!(weight, self.returned_weight, "weight of what came back to queue {name}");
        if let Some(cold) = &self.cold {
            let weight: u64 = cold.tail.iter().map(Entry::weight).sum();
            assert_eq!(weight, cold.tail_weight, "weight of the tail of queue {name}");
            assert!(cold.asked.is_some() || cold.messages > 0, "a cold part of queue {name}");
            assert!(cold.first <= cold.last, "the ends of the cold part of queue {name}");
        }
    }

    fn add(&mut self, entry: &Entry) {
        self.messages += 1;
        self.octets += entry.body_octets();
        self.weight += entry.weight();
    }

    fn lane(&mut self, priority: u8) -> &mut Lane {
        let highest = self.lanes.len() - 1;
        &mut self.lanes[usize::from(priority).min(highest)]
    }

    fn cold_begin(&self) -> Option<Position> {
        self.cold.as_ref().map(|cold| cold.first)
    }
}

/// The cold part.
impl Ready {
    /// What a restart found on the disk. Only for a queue without messages and with one lane.
    pub fn restore_cold(&mut self, found: Cold) {
        self.messages += found.messages as usize;
        self.octets += found.octets;
        self.cold = Some(Box::new(ColdPart::new(found)));
    }

    /// Adds a message that a restart found in the log. Those in the midst of the cold part, and those
    /// that were delivered, come before the rest; the cold part may grow beyond any of them.
    pub fn restore(&mut self, entry: Entry) {
        let is_amidst = self.cold.as_ref().is_some_and(|cold| entry.position < cold.last);
        if is_amidst || entry.redelivered {
            self.in_memory.insert(entry.position);
            self.put_back(entry);
        } else {
            self.push_back(entry);
        }
    }

    /// Whether its messages may go to the disk.
    pub fn can_page(&self) -> bool {
        self.lanes.len() == 1
    }

    /// Takes messages out of memory for the disk, at most about so many octets of them: those behind
    /// the cold part, or else the last of those before it, of which `keep` octets stay. Nothing when
    /// that would be less than `least`. What came back stays in memory.
    pub fn page_out(&mut self, keep: u64, least: u64, at_most: u64) -> Vec<PagedMessage> {
        if !self.can_page() {
            return Vec::new();
        }
        let tail_weight = self.cold.as_ref().map_or(0, |cold| cold.tail_weight);
        let is_asked = self.cold.as_ref().is_some_and(|cold| cold.asked.is_some());
        let entries = if tail_weight >= least.max(1) {
            self.take_tail(at_most)
        } else if is_asked {
            VecDeque::new()
        } else {
            self.take_end_of_fresh(keep, least, at_most)
        };
        entries.into_iter().map(paged).collect()
    }

    /// Takes messages from behind the cold part, which grows by them.
    fn take_tail(&mut self, at_most: u64) -> VecDeque<Entry> {
        let Some(cold) = &mut self.cold else { return VecDeque::new() };
        let mut weight = 0;
        let count = cold.tail.iter().take_while(|entry| {
            let goes = weight < at_most;
            weight += if goes { entry.weight() } else { 0 };
            goes
        });
        let count = count.count();
        let rest = cold.tail.split_off(count);
        let entries = std::mem::replace(&mut cold.tail, rest);
        cold.tail_weight -= weight;
        self.weight -= weight;
        cold.last = entries.back().map_or(cold.last, |entry| entry.position);
        cold.grow(&entries);
        entries
    }

    /// Takes the last of the messages before the cold part, which begins with them then.
    fn take_end_of_fresh(&mut self, keep: u64, least: u64, at_most: u64) -> VecDeque<Entry> {
        let fresh_weight = self.fresh_weight();
        // What came back goes before what is fresh, if there is any.
        let keep = match self.lanes[0].next_is_returned(None) {
            Some(true) => keep.saturating_sub(self.returned_weight),
            _ => keep,
        };
        if fresh_weight <= keep || fresh_weight - keep < least.max(1) {
            return VecDeque::new();
        }
        let fresh = &self.lanes[0].fresh;
        let wanted = (fresh_weight - keep).min(at_most);
        let mut weight = 0;
        let taken = fresh.iter().rev().take_while(|entry| {
            let goes = weight < wanted;
            weight += if goes { entry.weight() } else { 0 };
            goes
        });
        let taken = taken.count();
        // why: the one that goes next stays, so that a queue in memory never has to wait for it.
        let next_is_returned = self.lanes[0].next_is_returned(None) == Some(true);
        let stays = usize::from(!next_is_returned);
        let fresh = &mut self.lanes[0].fresh;
        let taken = taken.min(fresh.len() - stays);
        let entries = fresh.split_off(fresh.len() - taken);
        self.weight -= entries.iter().map(Entry::weight).sum::<u64>();
        self.put_before_cold(&entries);
        entries
    }

    /// The cold part begins with these from now on.
    fn put_before_cold(&mut self, entries: &VecDeque<Entry>) {
        let (Some(first), Some(last)) = (entries.front(), entries.back()) else { return };
        let (first, last) = (first.position, last.position);
        let cold = self.cold.get_or_insert_with(|| {
            Box::new(ColdPart::new(Cold { first, last, messages: 0, octets: 0 }))
        });
        cold.first = first;
        // What goes out again need not have been fetched.
        cold.window = SMALLEST_WINDOW;
        cold.grow(entries);
    }

    /// What the store could not take comes back, each to its place: before, behind or in the midst of
    /// the cold part.
    pub fn take_back(&mut self, messages: Vec<PagedMessage>) {
        let entries: Vec<_> = messages.into_iter().map(|it| self.entry_of(it)).collect();
        if let Some(cold) = &mut self.cold {
            cold.shrink(&entries);
            // They have been counted all the time.
            self.messages -= entries.len();
            self.octets -= entries.iter().map(Entry::body_octets).sum::<u64>();
        }
        for entry in entries {
            self.in_memory.insert(entry.position);
            self.put_back(entry);
        }
        if self.cold.as_ref().is_some_and(|cold| cold.messages == 0 && cold.asked.is_none()) {
            self.end_cold();
        }
    }

    /// What is to be asked for, if anything is: with `busy`, somebody reads from the queue; with
    /// `room`, there is memory for more than what goes next.
    pub fn want_page(&mut self, busy: bool, room: bool) -> Option<Wanted> {
        let fresh_weight = self.fresh_weight();
        let nothing_goes = self.front().is_none();
        let cold = self.cold.as_mut()?;
        let is_low = nothing_goes || (busy && room && fresh_weight < cold.window as u64 / 2);
        if cold.asked.is_some() || !is_low {
            return None;
        }
        let octets = if room { cold.window } else { cold.window.min(SMALL_WINDOW) };
        // why: whoever asks again has used up what came before.
        cold.window = (4 * cold.window).min(LARGEST_WINDOW);
        cold.asked = Some(cold.last);
        Some(Wanted { first: cold.first, last: cold.last, octets })
    }

    /// Takes in what was asked for; `next` is where the next order begins, none when all came that was
    /// asked for. Says how many messages turned out to be lost.
    pub fn take_page(&mut self, messages: Vec<PagedMessage>, next: Option<Position>) -> u64 {
        let Some(cold) = &self.cold else { return 0 };
        let is_cold = |it: &PagedMessage| {
            (cold.first..=cold.last).contains(&it.position) && !self.in_memory.contains(it.position)
        };
        let cold_ones = messages.into_iter().filter(is_cold);
        let entries: Vec<_> = cold_ones.map(|it| self.entry_of(it)).collect();
        let Some(cold) = &mut self.cold else { return 0 };
        let Some(asked) = cold.asked.take() else { return 0 };
        cold.shrink(&entries);
        cold.first = next.unwrap_or(asked + 1);
        let is_over = cold.messages == 0 || cold.first > cold.last;
        self.weight += entries.iter().map(Entry::weight).sum::<u64>();
        self.lanes[0].fresh.extend(entries);
        if is_over { self.end_cold() } else { 0 }
    }

    /// Nothing is left on the disk alone: head and tail are one again.
    fn end_cold(&mut self) -> u64 {
        let Some(mut cold) = self.cold.take() else { return 0 };
        self.lanes[0].fresh.append(&mut cold.tail);
        // What should have been there and was not: damage took it.
        self.messages -= cold.messages as usize;
        self.octets -= cold.octets;
        cold.messages
    }

    fn fresh_weight(&self) -> u64 {
        let tail = self.cold.as_ref().map_or(0, |cold| cold.tail_weight);
        self.weight - tail - self.returned_weight
    }

    fn entry_of(&self, paged: PagedMessage) -> Entry {
        let PagedMessage { position, expires_at, recorded, message } = paged;
        let returns = self.known_returns(position);
        Entry {
            message,
            position,
            expires_at: expires_at.unwrap_or(Time::NEVER),
            returns,
            priority: 0,
            // invariant: whatever has a lower position than something delivered was delivered too.
            redelivered: returns > 0 || position <= self.lanes[0].delivered,
            recorded,
            paged: !recorded,
        }
    }
}

impl ColdPart {
    fn new(cold: Cold) -> Self {
        let Cold { first, last, messages, octets } = cold;
        ColdPart {
            first,
            last,
            messages,
            octets,
            tail: VecDeque::new(),
            tail_weight: 0,
            asked: None,
            window: SMALLEST_WINDOW,
        }
    }

    fn grow(&mut self, entries: &VecDeque<Entry>) {
        self.messages += entries.len() as u64;
        self.octets += entries.iter().map(Entry::body_octets).sum::<u64>();
    }

    fn shrink(&mut self, entries: &[Entry]) {
        self.messages = self.messages.saturating_sub(entries.len() as u64);
        let octets: u64 = entries.iter().map(Entry::body_octets).sum();
        self.octets = self.octets.saturating_sub(octets);
    }
}

fn paged(entry: Entry) -> PagedMessage {
    PagedMessage {
        position: entry.position,
        expires_at: (entry.expires_at != Time::NEVER).then_some(entry.expires_at),
        recorded: entry.recorded,
        message: entry.message,
    }
}
