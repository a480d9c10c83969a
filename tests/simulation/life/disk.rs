//! The disk below a life: writes, checkpoints, pages, crashes and starts.

use std::io;
use std::sync::Arc;

use leveret::broker::paging::{PageOrder, PageOwner};
use leveret::broker::record::{Record, Recovered, RecoveredMessage};
use leveret::store::{Fault, FaultyDisk, Operation, Store};

use super::super::model::{Content, Durable, Op};
use super::super::replay::Input;
use super::inputs::policy_set;
use super::recovered::{check_between, check_same};
use super::{Life, Moment};

impl Life {
    pub(super) fn write(&mut self, count: usize) {
        self.take_records();
        let count = count.min(self.pending.len());
        let records: Vec<_> = self.pending.drain(..count).collect();
        let store = self.store.as_mut().expect("the store is open");
        let lsn = store.write(&records).expect("the disk works");
        self.note_written(&records);
        self.synced += count as u64;
        assert_eq!(lsn.0, self.synced, "the core and the store count alike");
        let synced = self.synced;
        let last = self.moments.iter().rposition(|moment| moment.records <= synced);
        self.moments.drain(..last.unwrap_or(0));
        self.input(Input::Synced(lsn));
    }

    fn note_written(&mut self, records: &[Record]) {
        for record in records {
            if let Record::Enqueued { message, .. } = record {
                self.written.insert(Content::of(message).body);
            }
        }
    }

    pub(super) fn kill(&mut self) {
        self.take_records();
        self.disk = self.disk.kill();
        self.start();
    }

    pub(super) fn lose_power(&mut self) {
        self.take_records();
        self.crash();
        self.start();
    }

    fn crash(&mut self) {
        let dice = &mut self.dice;
        self.disk = self.disk.crash(|_, most| match dice.below(3) {
            0 => 0,
            1 => most,
            _ => dice.below(most as u64 + 1) as usize,
        });
    }

    /// The disk fails in the middle of what it is doing; the broker notices, then dies.
    pub(super) fn fail_disk(&mut self, after: u64) {
        self.take_records();
        let operations = [Operation::Change, Operation::Append, Operation::Sync];
        self.faulty.fail(Fault {
            operation: *self.dice.pick(&operations),
            below: String::new(),
            after,
            kind: io::ErrorKind::Other,
            written: self.dice.below(400) as usize,
        });
        let mut store = self.store.take().expect("the store is open");
        let records = std::mem::take(&mut self.pending);
        let failed = store.write(&records).is_err();
        if !failed {
            self.note_written(&records);
            self.synced += records.len() as u64;
        }
        // What is left of the failure comes later, if the broker is doing something then.
        for _ in 0..6 {
            if store.checkpoint_step().is_err() {
                break;
            }
        }
        self.client_op(&Op::StoreFailed);
        self.input(Input::Finish);
        self.model.check_answered();
        self.core.take_records();
        if self.dice.one_in(2) {
            self.disk = self.disk.kill();
        } else {
            self.crash();
        }
        self.start();
    }

    /// The broker starts on what is on the disk.
    pub(super) fn start(&mut self) {
        self.faulty = FaultyDisk::new(self.disk.clone());
        let (store, recovered, report) =
            Store::open(Arc::new(self.faulty.clone()), self.options).expect("the store opens");
        let torn = report.cuts.iter().all(|damage| damage.what.contains("torn"));
        assert!(torn, "no damage was done: {report}");
        self.store = Some(store);
        let last = recovered.last_lsn.0;
        assert!(
            last >= self.synced,
            "{last} records came back of {} that were synced",
            self.synced
        );
        self.has_pages =
            self.memory.is_some() || recovered.queues.iter().any(|queue| queue.cold.is_some());
        let whole = self.with_cold_parts(&recovered);
        let durable = self.check_recovered(&whole);
        self.model.restart(durable.clone());
        self.pending.clear();
        self.is_at_rest = false;
        self.orders.clear();
        self.refused = false;
        (self.records, self.synced) = (last, last);
        self.moments = vec![Moment::new(last, durable)];
        for queue in &whole.queues {
            self.written.extend(queue.messages.iter().map(|it| Content::of(&it.message).body));
        }
        let policies = policy_set(&self.model.policies);
        let seed = self.dice.below(u64::MAX);
        self.input(Input::Recover(recovered, policies, seed));
        if let Some(octets) = self.memory {
            self.input(Input::MemoryShare(octets));
        }
        self.model.tell_deliveries();
        self.input(Input::Finish);
        self.carry_out_orders();
        self.input(Input::Timeout);
    }

    /// What was found, with the messages that are on the disk alone.
    fn with_cold_parts(&mut self, recovered: &Recovered) -> Recovered {
        let mut whole = recovered.clone();
        let store = self.store.as_mut().expect("the store is open");
        for queue in &mut whole.queues {
            let Some(cold) = queue.cold.take() else { continue };
            let owner = PageOwner::Durable(queue.definition.id);
            let (mut next, mut messages, mut octets) = (Some(cold.first), 0, 0);
            while let Some(first) = next {
                let page = store.page_in(owner, first, cold.last, 500).expect("it can be read");
                next = page.next;
                for paged in page.messages {
                    assert!(paged.recorded, "what no record speaks of is gone");
                    messages += 1;
                    octets += paged.message.body().len() as u64;
                    queue.messages.push(RecoveredMessage {
                        position: paged.position,
                        expires_at: paged.expires_at,
                        message: paged.message,
                    });
                }
            }
            assert_eq!((messages, octets), (cold.messages, cold.octets), "the cold part's sums");
            queue.messages.sort_by_key(|message| message.position);
        }
        whole
    }

    /// Checks what came back against what the records that came back should say.
    fn check_recovered(&self, recovered: &Recovered) -> Durable {
        let last = recovered.last_lsn.0;
        let after = self.moments.iter().position(|moment| moment.records >= last);
        let after = after.expect("no more records come back than were made");
        // Several steps may have made no record; any of them may be the last.
        let exact: Vec<_> = self.moments.iter().filter(|it| it.records == last).collect();
        if let Some(moment) = exact.last() {
            return check_same(recovered, &moment.durable);
        }
        check_between(recovered, &self.moments[after - 1].durable, &self.moments[after])
    }

    /// What the core asks of the store beside records, behind all records made so far.
    pub(super) fn carry_out_orders(&mut self) {
        if self.refused && self.dice.one_in(3) {
            self.refused = false;
            self.input(Input::Room);
        }
        while !self.orders.is_empty() {
            self.write(usize::MAX);
            for order in std::mem::take(&mut self.orders) {
                self.carry_out(order);
            }
        }
    }

    fn carry_out(&mut self, order: PageOrder) {
        let store = self.store.as_mut().expect("the store is open");
        match order {
            PageOrder::Out { owner, messages } if self.refused || self.dice.one_in(20) => {
                self.refused = true;
                self.input(Input::PageRefused(owner, messages));
            }
            PageOrder::Out { owner, messages } => {
                store.page_out(owner, &messages).expect("the disk works");
            }
            PageOrder::In { owner, first, last, octets } => {
                // Little at once, so that queues of a few messages have a cold part for a while.
                let octets = octets.min(1 + self.dice.below(300) as usize);
                let page = store.page_in(owner, first, last, octets).expect("it can be read");
                assert!(store.take_damage().is_empty(), "no damage was done");
                self.input(Input::Page(page));
            }
            PageOrder::Done { owner, first, last } => store.pages_done(owner, first, last),
            PageOrder::Forget { queue } => store.forget_pages(queue),
        }
    }
}
