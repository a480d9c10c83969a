//! On a disk without room: acknowledgements that may go before the records in front of them.
//!
//! why: a publish that does not fit must not keep the disk from learning what clients have taken, or all of that
//! comes back after a restart; and what they have taken is what makes room.
//!
//! invariant: a settlement goes first only if the disk has its message, and no other record says what became of that.
//! It is written again in its turn, which changes nothing.

use std::collections::BTreeMap;

use crate::broker::record::{DurableQueueId, Lsn, Position, Record};

/// What of the records that wait has gone to the disk already, and what may.
#[derive(Default)]
pub(super) struct WrittenAhead {
    /// How many of the records that wait were looked at.
    examined: usize,
    /// From which position on the messages of a queue wait themselves.
    waiting_from: BTreeMap<DurableQueueId, Position>,
    /// Copies of what may go first and has not.
    due: Vec<Record>,
    /// How many records the log has more than the core made.
    extra: u64,
}

impl WrittenAhead {
    /// The settlements among the records that wait, of which the first does not fit, that may go before it.
    pub(super) fn due(&mut self, waiting: &[Record]) -> &[Record] {
        for record in &waiting[self.examined..] {
            match record {
                Record::Enqueued { placements, .. } => {
                    for placement in placements {
                        let first = self.waiting_from.entry(placement.queue);
                        let first = first.or_insert(placement.position);
                        *first = placement.position.min(*first);
                    }
                }
                &Record::Settled { queue, first, last, acknowledged: true } => {
                    // Up to the messages that wait themselves.
                    let waiting_from = self.waiting_from.get(&queue).copied();
                    let last = waiting_from.map_or(last, |from| last.min(from.saturating_sub(1)));
                    if first <= last {
                        self.due.push(Record::Settled { queue, first, last, acknowledged: true });
                    }
                }
                _ => {}
            }
        }
        self.examined = waiting.len();
        &self.due
    }

    /// So many of those that were due, from the first, are on the disk.
    pub(super) fn note_written(&mut self, count: usize) {
        self.extra += count as u64;
        self.due.drain(..count);
    }

    /// So many of the records that wait, from the first, are on the disk; whether there are more.
    pub(super) fn note_in_turn(&mut self, count: usize, is_empty: bool) {
        self.examined = self.examined.saturating_sub(count);
        if is_empty {
            self.waiting_from.clear();
            self.due.clear();
        }
    }

    /// The number that the core gave a record which has this one in the log.
    pub(super) fn number_in_core(&self, lsn: Lsn) -> Lsn {
        Lsn(lsn.0 - self.extra)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::message::Message;
    use crate::broker::record::Placement;
    use leveret_codec::{Properties, ShortStr};

    const ONE: DurableQueueId = DurableQueueId(1);
    const TWO: DurableQueueId = DurableQueueId(2);

    fn enqueued(queue: DurableQueueId, position: Position) -> Record {
        let properties = Properties::parse(&[0, 0]).unwrap();
        let message = Message::new(ShortStr::EMPTY, ShortStr::EMPTY, properties, b"");
        let placements = [Placement { queue, position, expires_at: None }].into_iter().collect();
        Record::Enqueued { message, placements }
    }

    fn settled(queue: DurableQueueId, first: Position, last: Position) -> Record {
        Record::Settled { queue, first, last, acknowledged: true }
    }

    #[test]
    fn only_what_the_disk_has_and_no_other_record_speaks_of_goes_first() {
        let mut ahead = WrittenAhead::default();
        let dead_lettered = Record::Settled { queue: ONE, first: 9, last: 9, acknowledged: false };
        let mut waiting = vec![
            enqueued(TWO, 5),
            settled(ONE, 1, 3),
            dead_lettered,
            settled(TWO, 3, 3),
            settled(TWO, 4, 5),
            settled(TWO, 5, 5),
        ];
        assert_eq!(
            ahead.due(&waiting),
            [settled(ONE, 1, 3), settled(TWO, 3, 3), settled(TWO, 4, 4)]
        );
        // What did not fit stays due, and nothing is due twice.
        waiting.push(settled(ONE, 4, 4));
        assert_eq!(ahead.due(&waiting).len(), 4);
        ahead.note_written(1);
        assert_eq!(ahead.due(&waiting).len(), 3);
        ahead.note_written(3);
        assert!(ahead.due(&waiting).is_empty());
        assert_eq!(ahead.number_in_core(Lsn(10)), Lsn(6));
        ahead.note_in_turn(waiting.len(), true);
        assert_eq!(ahead.due(&[settled(TWO, 5, 5)]).len(), 1);
        assert_eq!(ahead.number_in_core(Lsn(20)), Lsn(16));
    }
}
