//! What time alone brings about: expiry of messages and queues, deliveries that wait too long.

use super::Vhost;
use super::sessions::ChannelRef;
use super::work::Task;
use crate::broker::dead_letter::Reason;
use crate::broker::error::Fault;
use crate::broker::expiry::Deadline;
use crate::broker::ids::QueueId;
use crate::broker::limits;
use crate::broker::time::Time;

/// How far deliveries have been looked at: by the place of their channel, and there by tag.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct UnackedPass {
    place: usize,
    tag: u64,
    /// Whether any delivery waits for its acknowledgement.
    has_found_any: bool,
}

/// A channel with a delivery that waits for too long.
struct Late {
    via: ChannelRef,
    timeout_ms: u64,
}

impl Vhost {
    /// Time has passed: does what was due by `now`.
    pub fn handle_timeout(&mut self, now: Time) {
        self.now = now;
        while !self.work.is_exhausted()
            && let Some(deadline) = self.deadlines.take_due(now)
        {
            self.work.take(1);
            match deadline {
                Deadline::Queue(queue) => self.queue_deadline(queue),
                Deadline::Exchange(exchange) => self.release_due(exchange),
                Deadline::Unacked => self.check_unacked(),
                Deadline::Close(connection) => self.close_deadline(connection),
                Deadline::Work => self.carry_on(),
                // The end of the batch sees to it.
                Deadline::Memory => {}
            }
        }
        self.process_dead_letters();
    }

    /// Sees to it that the timer looks for deliveries that nobody acknowledges.
    pub(super) fn watch_unacked(&mut self) {
        if !self.watching_unacked {
            self.watching_unacked = true;
            let at = self.now.plus_millis(limits::UNACKED_CHECK_MS);
            self.deadlines.add(at, Deadline::Unacked);
        }
    }

    /// rabbitmq: a delivery that is not acknowledged in time costs its channel; looked at once a
    /// minute, basic.get included.
    fn check_unacked(&mut self) {
        self.watching_unacked = false;
        self.start(Task::CheckUnacked(UnackedPass::default()), None);
    }

    /// Looks at deliveries channel by channel, as far as the steps reach; gives back the rest.
    pub(super) fn check_unacked_on(&mut self, mut pass: UnackedPass) -> Option<UnackedPass> {
        while pass.place < self.sessions.channels().end() {
            if self.work.is_exhausted() {
                return Some(pass);
            }
            self.work.take(1);
            match self.check_channel(&mut pass) {
                Some(Late { via, timeout_ms }) => self.close_late_channel(via, timeout_ms),
                None if self.work.is_exhausted() && pass.tag > 0 => return Some(pass),
                None => {}
            }
            pass = UnackedPass { place: pass.place + 1, tag: 0, ..pass };
        }
        if pass.has_found_any {
            self.watch_unacked();
        }
        None
    }

    /// The first delivery of a channel that is too late, if one is. Where the steps did not reach its end,
    /// `pass` says where to go on.
    fn check_channel(&mut self, pass: &mut UnackedPass) -> Option<Late> {
        let (id, channel) = self.sessions.channels().at(pass.place)?;
        pass.has_found_any |= !channel.unacked.is_empty();
        let (connection, number) = (channel.connection, channel.number);
        let mut steps = 0;
        let mut late = None;
        for (tag, unacked) in channel.unacked.iter_from(pass.tag) {
            if steps >= self.work.left() {
                pass.tag = tag;
                break;
            }
            steps += 1;
            let queue = self.queues.get(unacked.queue);
            let timeout_ms = queue
                .and_then(|it| it.arguments.consumer_timeout_ms)
                .unwrap_or(self.limits.consumer_timeout_ms);
            if timeout_ms > 0 && unacked.delivered_at.plus_millis(timeout_ms) <= self.now {
                let via = ChannelRef { connection, channel: id, number };
                late = Some(Late { via, timeout_ms });
                break;
            }
        }
        self.work.take(steps);
        late
    }

    fn close_late_channel(&mut self, via: ChannelRef, timeout_ms: u64) {
        let fault = Fault::ConsumerTimeout { channel: via.number, timeout_ms };
        self.close_channel(via, fault.into());
    }

    fn queue_deadline(&mut self, id: QueueId) {
        let Some(queue) = self.queues.get_mut(id) else { return };
        // why: a deadline that was moved to an earlier time has been dealt with then.
        if queue.armed > self.now {
            return;
        }
        queue.armed = Time::NEVER;
        if let (Some(expires_ms), Some(since)) = (queue.arguments.expires_ms, queue.unused_since())
            && since.plus_millis(expires_ms) <= self.now
        {
            self.delete_queue(id);
            return;
        }
        self.evaluate(id);
    }

    /// Lets the messages at the head of a queue expire whose time has come, at most so many.
    ///
    /// rabbitmq: only the head is looked at; an expired message behind a live one waits its turn.
    pub(super) fn expire_head(&mut self, id: QueueId, at_most: usize) {
        for _ in 0..at_most.min(self.work.left()) {
            let Some(queue) = self.queues.get(id) else { return };
            let is_expired = queue.ready.front().is_some_and(|entry| entry.is_expired(self.now));
            if queue.is_held() || !is_expired {
                return;
            }
            let Some(queue) = self.queues.get_mut(id) else { return };
            if let Some(entry) = queue.ready.pop_front() {
                self.work.take(1);
                self.dead_letter_entry(id, entry, Reason::Expired);
            }
        }
    }

    /// Sees to it that the timer looks at a queue when something may be due there.
    pub(super) fn arm(&mut self, id: QueueId) {
        let Some(queue) = self.queues.get_mut(id) else { return };
        let mut at = queue.ready.head_expires_at();
        // why: what is held does not expire; who lets go of it looks again. What has to be read for it is
        // asked for at the end of the batch, and looked at when it comes.
        if queue.is_held() || (at <= self.now && queue.ready.awaits_page()) {
            at = Time::NEVER;
        }
        if let (Some(expires_ms), Some(since)) = (queue.arguments.expires_ms, queue.unused_since())
        {
            at = at.min(since.plus_millis(expires_ms));
        }
        if at < queue.armed {
            // why: one deadline a queue; those that were set before would pile up.
            self.deadlines.remove(queue.armed, Deadline::Queue(id));
            queue.armed = at;
            self.deadlines.add(at, Deadline::Queue(id));
        }
    }
}
