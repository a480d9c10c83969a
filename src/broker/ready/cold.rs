//! The cold part of a queue: how it grows, shrinks and ends.
//!
//! invariant: between its first and its last position lies nothing that is in memory, but for what
//! `in_memory` knows; the store may have that too.

use std::collections::VecDeque;

use super::{Entry, Ready};
use crate::broker::ids::Position;
use crate::broker::paging::{Cold, PagedMessage};
use crate::broker::time::Time;

/// What is on the disk alone, and what came after it.
#[derive(Debug)]
pub(super) struct ColdPart {
    /// Where it begins and ends.
    pub(super) first: Position,
    pub(super) last: Position,
    pub(super) messages: u64,
    /// Sum of the body sizes, in octets.
    pub(super) octets: u64,
    /// What is known of its first message; none when it has to be read for that.
    pub(super) head: Option<ColdHead>,
    /// Messages behind it, by position.
    pub(super) tail: VecDeque<Entry>,
    pub(super) tail_weight: u64,
    /// The end of what was asked for, while the answer is due.
    pub(super) asked: Option<Position>,
    /// About how much is asked for at once, in octets; zero when nothing is asked for ahead.
    window: usize,
}

/// What is known of the first message of a cold part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ColdHead {
    /// When it expires; [`Time::NEVER`] when it does not.
    pub(super) expires_at: Time,
    /// When its publisher says that it was made.
    pub(super) timestamp: Option<u64>,
}

/// What is asked for at first; a queue that nobody reads from needs no more than its head.
const SMALLEST_WINDOW: usize = 4 * 1024;
/// What is asked for at most while memory is short.
const SMALL_WINDOW: usize = 64 * 1024;
/// What is asked for at most: large enough to keep the disk busy, small enough to be taken in at once.
const LARGEST_WINDOW: usize = 1024 * 1024;

/// What a queue is to have in memory after a page-out, and what may go.
#[derive(Clone, Copy, Debug)]
pub struct PageOut {
    /// What stays of the head, in octets.
    pub keep: u64,
    /// Nothing goes if it would be less than so many octets.
    pub least: u64,
    /// About how many octets go at most.
    pub at_most: u64,
    /// Whether what goes next may go as well.
    pub takes_head: bool,
}

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

    /// Takes messages out of memory for the disk: those behind the cold part, or else the last of
    /// those before it. What came back stays in memory.
    pub fn page_out(&mut self, wanted: PageOut) -> Vec<PagedMessage> {
        if !self.can_page() {
            return Vec::new();
        }
        let tail_weight = self.cold.as_ref().map_or(0, |cold| cold.tail_weight);
        let is_asked = self.cold.as_ref().is_some_and(|cold| cold.asked.is_some());
        let entries = if tail_weight >= wanted.least.max(1) {
            self.take_tail(wanted.at_most)
        } else if is_asked {
            VecDeque::new()
        } else {
            self.take_end_of_fresh(wanted)
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
    fn take_end_of_fresh(&mut self, wanted: PageOut) -> VecDeque<Entry> {
        let PageOut { keep, least, at_most, takes_head } = wanted;
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
        let next_is_returned = self.lanes[0].next_is_returned(None) == Some(true);
        let stays = usize::from(!takes_head && !next_is_returned);
        let fresh = &mut self.lanes[0].fresh;
        let taken = taken.min(fresh.len() - stays);
        // why: a queue of which nothing stays in memory gives back the memory of the list as well.
        let entries = match fresh.len() - taken {
            0 => std::mem::take(fresh),
            kept => fresh.split_off(kept),
        };
        self.weight -= entries.iter().map(Entry::weight).sum::<u64>();
        self.put_before_cold(&entries);
        entries
    }

    /// The cold part begins with these from now on.
    fn put_before_cold(&mut self, entries: &VecDeque<Entry>) {
        let (Some(first), Some(last)) = (entries.front(), entries.back()) else { return };
        let head = Some(ColdHead::of(first));
        let (first, last) = (first.position, last.position);
        let cold = self.cold.get_or_insert_with(|| {
            Box::new(ColdPart::new(Cold { first, last, messages: 0, octets: 0 }))
        });
        cold.first = first;
        cold.head = head;
        // What goes out again need not have been fetched.
        cold.window = 0;
        cold.grow(entries);
    }

    /// What the store could not take comes back, each to its place: before, behind or in the midst of
    /// the cold part.
    pub fn take_back(&mut self, messages: Vec<PagedMessage>) {
        let entries: Vec<_> = messages.into_iter().map(|it| self.entry_of(it)).collect();
        if let Some(cold) = &mut self.cold {
            cold.shrink(&entries);
            cold.head = None;
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

    /// What is to be asked for, if anything is: with `now`, somebody needs what goes next; with `ahead`,
    /// somebody reads from the queue; with `room`, there is memory for more than what goes next.
    pub fn want_page(&mut self, now: bool, ahead: bool, room: bool) -> Option<Wanted> {
        let fresh_weight = self.fresh_weight();
        let nothing_goes = self.front().is_none();
        let cold = self.cold.as_mut()?;
        let is_low =
            if nothing_goes { now } else { ahead && room && fresh_weight < cold.window as u64 / 2 };
        if cold.asked.is_some() || !is_low {
            return None;
        }
        let window = cold.window.max(SMALLEST_WINDOW);
        let octets = if room { window } else { window.min(SMALL_WINDOW) };
        // why: whoever asks again has used up what came before.
        cold.window = (4 * window).min(LARGEST_WINDOW);
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
        cold.head = None;
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
            head: None,
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

impl ColdHead {
    fn of(entry: &Entry) -> Self {
        let timestamp = entry.message.properties().timestamp();
        ColdHead { expires_at: entry.expires_at, timestamp }
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
