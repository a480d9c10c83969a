//! Messages of a queue on their way to the disk and back.

use super::cold::{ColdPart, place_of};
use super::{Entry, Place, Ready};
use crate::broker::ids::Position;
use crate::broker::paging::{Cold, PagedMessage};
use crate::broker::time::Time;

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
    /// The end of what is wanted.
    pub last: Position,
    /// About how much, in octets.
    pub octets: usize,
}

impl Ready {
    /// What a restart found on the disk. Only for a queue without messages and with one lane.
    pub fn restore_cold(&mut self, found: Cold) {
        self.messages += found.messages as usize;
        self.octets += found.octets;
        let mut cold = ColdPart::restored(found);
        cold.window = SMALLEST_WINDOW;
        self.cold = Some(Box::new(cold));
    }

    /// Adds a message that a restart found in the log. Those in the midst of the cold part, and those
    /// that were delivered, come before the rest.
    pub fn restore(&mut self, entry: Entry) {
        let last_cold = self.cold.as_mut().and_then(|cold| {
            cold.leave_out(entry.position);
            cold.last_own()
        });
        if last_cold > Some(entry.position) || entry.redelivered {
            self.put_back(entry);
        } else {
            self.push_back(entry);
        }
    }

    /// Whether its messages may go to the disk.
    pub fn can_page(&self) -> bool {
        self.lanes.len() == 1
    }

    /// Takes messages out of memory for the disk: those behind the cold part, or else the last of those
    /// that go before it.
    pub fn page_out(&mut self, wanted: PageOut) -> Vec<PagedMessage> {
        if !self.can_page() {
            return Vec::new();
        }
        let tail_weight = self.cold.as_ref().map_or(0, |cold| cold.tail_weight);
        if tail_weight >= wanted.least.max(1) {
            return self.take_tail(wanted.at_most);
        }
        // why: what comes belongs before what would go.
        let is_asked = self.cold.as_ref().is_some_and(|cold| cold.asked.is_some());
        if is_asked { Vec::new() } else { self.take_last(wanted) }
    }

    /// Takes messages from behind the cold part, which grows by them.
    fn take_tail(&mut self, at_most: u64) -> Vec<PagedMessage> {
        let Some(cold) = &mut self.cold else { return Vec::new() };
        let entries = cold.take_tail(at_most);
        entries.iter().for_each(|entry| self.weight.remove(&entry.message));
        entries.into_iter().map(paged).collect()
    }

    /// Takes the last of the messages before the cold part or in its midst, and makes them part of it.
    fn take_last(&mut self, wanted: PageOut) -> Vec<PagedMessage> {
        let PageOut { keep, least, at_most, takes_head } = wanted;
        let front_weight = self.front_weight();
        if front_weight <= keep || front_weight - keep < least.max(1) {
            return Vec::new();
        }
        let wanted = (front_weight - keep).min(at_most);
        let stays = usize::from(!takes_head && self.front().is_some());
        let lane = &mut self.lanes[0];
        let mut taken: Vec<(Place, Entry)> = Vec::new();
        let mut weight = 0;
        while weight < wanted
            && lane.len() > stays
            && let Some((place, entry, was_returned)) = lane.pop_last()
        {
            weight += entry.weight();
            self.weight.remove(&entry.message);
            if was_returned {
                self.returned_weight -= entry.weight();
            }
            if entry.returns > 0 {
                let known = self.known_returns.entry(entry.returns).or_default();
                known.insert(entry.position, entry.position);
            }
            taken.push((place, entry));
        }
        lane.shrink();
        if taken.is_empty() {
            return Vec::new();
        }
        taken.reverse();
        let cold = self.cold.get_or_insert_default();
        cold.put(&taken);
        // What goes out again need not have been fetched.
        cold.window = 0;
        let mut messages: Vec<_> = taken.into_iter().map(|(_, entry)| paged(entry)).collect();
        messages.sort_unstable_by_key(|message| message.position);
        messages
    }

    /// What the store could not take comes back, each to its place: before, behind or in the midst of
    /// the cold part.
    pub fn take_back(&mut self, messages: Vec<PagedMessage>) {
        for message in messages {
            let Some(cold) = &mut self.cold else { return };
            let Some(place) = cold.take_back(&message) else { continue };
            let entry = self.entry_of(message);
            // It has been counted all the time.
            self.weight.add(&entry.message);
            self.returned_weight += entry.weight();
            let place = if place == place_of(entry.position) {
                self.last_return += 1;
                (entry.position, self.last_return)
            } else {
                place
            };
            self.lanes[0].returned.insert(place, entry);
        }
        if self.cold.as_ref().is_some_and(|cold| cold.messages() == 0 && cold.asked.is_none()) {
            self.end_cold();
        }
    }

    /// What is to be asked for, if anything is: with `now`, somebody needs what goes next; with `ahead`,
    /// somebody reads from the queue; with `room`, there is memory for more than what goes next.
    pub fn want_page(&mut self, now: bool, ahead: bool, room: bool) -> Option<Wanted> {
        let nothing_goes = self.front().is_none();
        let (front_weight, returned_weight) = (self.front_weight(), self.returned_weight);
        let cold = self.cold.as_mut()?;
        if cold.asked.is_some() {
            return None;
        }
        let is_low = if nothing_goes {
            now
        } else {
            // What came back may go behind much of the cold part.
            let aside = if cold.next_is_section() { 0 } else { returned_weight };
            ahead && room && front_weight - aside < cold.window as u64 / 2
        };
        if !is_low {
            return None;
        }
        let wanted = cold.next_wanted()?;
        let window = cold.window.max(SMALLEST_WINDOW);
        let octets = if room { window } else { window.min(SMALL_WINDOW) };
        // why: whoever asks again has used up what came before.
        cold.window = (4 * window).min(LARGEST_WINDOW);
        cold.asked = Some(wanted);
        Some(Wanted { first: wanted.first, last: wanted.last, octets })
    }

    /// Takes in what was asked for; `next` is where the next order begins, none when all came that was
    /// asked for. Says how many messages turned out to be lost.
    pub fn take_page(&mut self, messages: Vec<PagedMessage>, next: Option<Position>) -> u64 {
        let Some(cold) = self.cold.as_mut().filter(|cold| cold.asked.is_some()) else { return 0 };
        let taken = cold.take(messages, next);
        let is_over = cold.is_over();
        for (place, message) in taken {
            let entry = self.entry_of(message);
            self.weight.add(&entry.message);
            if place == place_of(entry.position) {
                self.lanes[0].fresh.push_back(entry);
            } else {
                self.returned_weight += entry.weight();
                self.lanes[0].returned.insert(place, entry);
            }
        }
        if is_over { self.end_cold() } else { 0 }
    }

    /// Nothing is left on the disk alone: head and tail are one again.
    fn end_cold(&mut self) -> u64 {
        let Some(mut cold) = self.cold.take() else { return 0 };
        self.lanes[0].fresh.append(&mut cold.tail);
        self.known_returns.clear();
        // What should have been there and was not: damage took it.
        self.messages -= cold.messages() as usize;
        self.octets -= cold.octets();
        cold.messages()
    }

    /// What those weigh that are in memory and not behind the cold part.
    fn front_weight(&self) -> u64 {
        let tail = self.cold.as_ref().map_or(0, |cold| cold.tail_weight);
        self.weight.octets() - tail
    }

    fn entry_of(&mut self, paged: PagedMessage) -> Entry {
        let PagedMessage { position, expires_at, recorded, message } = paged;
        let returns = self.take_known_returns(position);
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

fn paged(entry: Entry) -> PagedMessage {
    PagedMessage {
        position: entry.position,
        expires_at: (entry.expires_at != Time::NEVER).then_some(entry.expires_at),
        recorded: entry.recorded,
        message: entry.message,
    }
}
