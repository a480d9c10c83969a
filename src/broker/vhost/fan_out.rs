//! One message to many queues, in steps.

use super::Vhost;
use super::dead_letters::Origin;
use super::publish::Source;
use super::sessions::ChannelRef;
use crate::broker::ids::{ConnectionId, Lsn, QueueId};
use crate::broker::limits;
use crate::broker::message::Message;
use crate::broker::paging::Kept;

/// A message on its way to many queues.
#[derive(Debug)]
pub(super) struct FanOut {
    message: Message,
    expiration_ms: Option<u64>,
    queues: Vec<QueueId>,
    /// How many of the queues have it.
    done: usize,
    /// Whether all of them took it.
    accepted: bool,
    /// The last record that speaks of it.
    record: Option<Lsn>,
    then: Then,
    /// The client that waits for it.
    client: Option<ConnectionId>,
    /// What those come from that die of it.
    origin: Option<Origin>,
}

/// What is to be done when all queues have the message.
#[derive(Debug)]
pub(super) enum Then {
    /// A client published it, and may want a confirm.
    Published(ChannelRef),
    /// It had a place in the store before, which is given up.
    Release(Option<Kept>),
}

impl Then {
    fn source(&self) -> Source {
        match self {
            Then::Published(_) => Source::Client,
            Then::Release(_) => Source::Broker,
        }
    }
}

impl FanOut {
    pub(super) fn new(
        message: Message,
        expiration_ms: Option<u64>,
        queues: Vec<QueueId>,
        then: Then,
    ) -> Self {
        message.share();
        FanOut {
            message,
            expiration_ms,
            queues,
            done: 0,
            accepted: true,
            record: None,
            then,
            client: None,
            origin: None,
        }
    }

    /// Whether it was taken elsewhere, and the record that speaks of that.
    pub(super) fn note(&mut self, accepted: bool, record: Option<Lsn>) {
        self.accepted &= accepted;
        self.record = record.or(self.record);
    }

    /// Whether all queues took it so far.
    pub(super) fn is_accepted(&self) -> bool {
        self.accepted
    }

    /// The last record that speaks of it.
    pub(super) fn record(&self) -> Option<Lsn> {
        self.record
    }

    /// What it takes in memory, in bytes.
    pub(super) fn weight(&self) -> u64 {
        (self.message.as_bytes().len() + self.queues.len() * size_of::<QueueId>()) as u64
    }
}

impl Vhost {
    /// Sends a message to many queues, behind those that are on their way already. A client that waits for it
    /// waits with its next command.
    pub(super) fn add_fan_out(&mut self, fan_out: FanOut, client: Option<ConnectionId>) {
        self.work.add_weight(fan_out.weight());
        if let Some(waiting) = client.and_then(|id| self.sessions.client_mut(id)) {
            waiting.tasks += 1;
        }
        let origin = Some(self.work.dead_letters.origin());
        self.work.fan_outs.push_back(FanOut { client, origin, ..fan_out });
        self.carry_on_fan_outs();
    }

    /// Goes on with them one after the other, as far as the steps reach.
    pub(super) fn carry_on_fan_outs(&mut self) {
        while !self.work.is_exhausted()
            && let Some(mut fan_out) = self.work.fan_outs.pop_front()
        {
            let before = self.work.dead_letters.set_routing(fan_out.origin);
            let is_done = self.fan_out_on(&mut fan_out);
            self.work.dead_letters.set_routing(before);
            self.work.dead_letters.put_born_first();
            if !is_done {
                self.work.fan_outs.push_front(fan_out);
                return;
            }
            self.work.remove_weight(fan_out.weight());
            self.end_fan_out(fan_out);
        }
    }

    /// Lets those that began before have their queues first, so that what the broker routes by itself next
    /// overtakes none of them. Says whether there are steps left for it.
    pub(super) fn finish_fan_outs(&mut self) -> bool {
        self.carry_on_fan_outs();
        !self.work.is_exhausted()
    }

    /// Says whether all queues have the message.
    pub(super) fn fan_out_on(&mut self, fan_out: &mut FanOut) -> bool {
        while fan_out.done < fan_out.queues.len() {
            if self.work.is_exhausted() {
                return false;
            }
            let rest = &fan_out.queues[fan_out.done..];
            let part = &rest[..rest.len().min(limits::AT_ONCE).min(self.work.left())];
            let before = self.journal.last();
            let message = fan_out.message.clone();
            let accepted =
                self.enqueue(message, fan_out.expiration_ms, part, fan_out.then.source());
            fan_out.done += part.len();
            fan_out.note(accepted, self.journal.since(before));
        }
        true
    }

    fn end_fan_out(&mut self, fan_out: FanOut) {
        let FanOut { accepted, record, then, client, .. } = fan_out;
        match then {
            Then::Published(via) => self.note_published(via, accepted, record),
            Then::Release(kept) => self.release_from_store(kept),
        }
        self.end_task(client);
    }
}
