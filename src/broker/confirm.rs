//! Publisher confirms of one channel: which publishes are answered, in order, and when.
//!
//! rabbitmq: the class confirm and basic.ack from broker to client are RabbitMQ's extension.
//!
//! Each publish of a channel in confirm mode has a number, counted from 1. It is acknowledged once
//! everything durable about it is synced, or negatively acknowledged when a queue refused it.
//! Confirms leave in the order of the publishes; as many as possible in one `multiple`.

use std::collections::VecDeque;

use super::ids::Lsn;

/// A stretch of publishes that are answered together.
#[derive(Debug)]
struct Run {
    /// The last publish of it.
    last: u64,
    /// The record that must be synced first; zero when there is none.
    waits_for: Lsn,
    /// Those that were refused, rising.
    refused: Vec<u64>,
}

/// The confirm mode of a channel.
#[derive(Debug, Default)]
pub struct Confirms {
    /// The last number given.
    published: u64,
    /// The last number answered.
    answered: u64,
    /// What is settled but not synced, oldest first.
    runs: VecDeque<Run>,
    /// The refused ones since the last run was closed.
    refused: Vec<u64>,
    /// The record that those since then wait for; zero when there is none.
    waits_for: Lsn,
    /// Whether it stands in the list of those that wait for the store.
    pub awaits_sync: bool,
}

/// An answer to publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirm {
    /// Up to which publish, itself included.
    pub last: u64,
    /// Whether more than that one are answered.
    pub multiple: bool,
    /// Whether they were taken.
    pub accepted: bool,
}

impl Confirms {
    /// Counts a publish: whether it was taken, and the record that must be synced before that may
    /// be said, if there is one.
    pub fn note_published(&mut self, accepted: bool, record: Option<Lsn>) {
        self.published += 1;
        if let Some(lsn) = record {
            self.waits_for = lsn;
        }
        if !accepted {
            self.refused.push(self.published);
        }
    }

    /// How many are not answered yet.
    pub fn unanswered(&self) -> u64 {
        self.published - self.answered
    }

    /// Ends a batch: all publishes since the last time are answered together, once the last record
    /// among them is synced.
    pub fn close_run(&mut self) {
        let last_closed = self.runs.back().map_or(self.answered, |run| run.last);
        if last_closed < self.published {
            let refused = std::mem::take(&mut self.refused);
            let waits_for = std::mem::take(&mut self.waits_for);
            self.runs.push_back(Run { last: self.published, waits_for, refused });
        }
    }

    /// What can be answered now that everything up to `synced` is safe.
    pub fn take_ready(&mut self, synced: Lsn, mut answer: impl FnMut(Confirm)) {
        let mut from = self.answered;
        let mut through = from;
        while let Some(run) = self.runs.front() {
            if run.waits_for > synced {
                break;
            }
            through = run.last;
            for &refused in &run.refused {
                confirm(from, refused - 1, true, &mut answer);
                confirm(refused - 1, refused, false, &mut answer);
                from = refused;
            }
            self.runs.pop_front();
        }
        confirm(from, through, true, &mut answer);
        self.answered = through;
    }

    /// Everything that waits for a record is refused: the store has failed.
    pub fn refuse_waiting(&mut self, synced: Lsn) {
        let mut first = self.answered + 1;
        for run in &mut self.runs {
            if run.waits_for > synced {
                run.waits_for = Lsn(0);
                run.refused = (first..=run.last).collect();
            }
            first = run.last + 1;
        }
    }
}

/// Answers all after `after` up to `last`, if there are any.
fn confirm(after: u64, last: u64, accepted: bool, answer: &mut impl FnMut(Confirm)) {
    if after < last {
        answer(Confirm { last, multiple: last - after > 1, accepted });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(confirms: &mut Confirms, synced: u64) -> Vec<(u64, bool, bool)> {
        let mut answers = Vec::new();
        confirms.take_ready(Lsn(synced), |confirm| {
            answers.push((confirm.last, confirm.multiple, confirm.accepted));
        });
        answers
    }

    #[test]
    fn what_is_not_synced_holds_back_what_follows() {
        let mut confirms = Confirms::default();
        confirms.note_published(true, Some(Lsn(7)));
        confirms.close_run();
        confirms.note_published(true, None);
        confirms.note_published(true, None);
        confirms.close_run();
        assert_eq!(ready(&mut confirms, 6), []);
        assert_eq!(ready(&mut confirms, 7), [(3, true, true)]);
        assert_eq!(confirms.unanswered(), 0);
    }

    #[test]
    fn a_refused_one_splits_the_run() {
        let mut confirms = Confirms::default();
        for accepted in [true, true, false, true, false] {
            confirms.note_published(accepted, None);
        }
        confirms.close_run();
        assert_eq!(
            ready(&mut confirms, 0),
            [(2, true, true), (3, false, false), (4, false, true), (5, false, false)]
        );
    }

    #[test]
    fn a_failed_store_refuses_what_waits_for_it_alone() {
        let mut confirms = Confirms::default();
        confirms.note_published(true, None);
        confirms.close_run();
        confirms.note_published(true, None);
        confirms.note_published(true, Some(Lsn(9)));
        confirms.close_run();
        confirms.refuse_waiting(Lsn(8));
        assert_eq!(
            ready(&mut confirms, 8),
            [(1, false, true), (2, false, false), (3, false, false)]
        );
    }
}
