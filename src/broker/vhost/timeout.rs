//! What time alone brings about: expiry of messages and queues, the end of patience.

use super::Vhost;
use super::sessions::ChannelRef;
use crate::broker::dead_letter::Reason;
use crate::broker::error::Fault;
use crate::broker::expiry::Deadline;
use crate::broker::ids::QueueId;
use crate::broker::limits;
use crate::broker::time::Time;
use crate::broker::unacked::Unacked;

impl Vhost {
    /// Time has passed: does what was due by `now`.
    pub fn handle_timeout(&mut self, now: Time) {
        self.now = now;
        let mut due = Vec::new();
        while let Some(deadline) = self.deadlines.take_due(now) {
            due.push(deadline);
        }
        for deadline in due {
            match deadline {
                Deadline::Queue(queue) => self.queue_deadline(queue),
                Deadline::Exchange(exchange) => self.release_due(exchange),
                Deadline::Unacked => self.check_unacked(),
                Deadline::Close(connection) => self.close_deadline(connection),
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
        let mut late = Vec::new();
        for (id, channel) in self.sessions.channels().iter() {
            let timeout_ms = |unacked: &Unacked| {
                let queue = self.queues.get(unacked.queue);
                queue
                    .and_then(|it| it.arguments.consumer_timeout_ms)
                    .unwrap_or(limits::CONSUMER_TIMEOUT_MS)
            };
            let over = channel.unacked.iter().find_map(|(_, unacked)| {
                let timeout_ms = timeout_ms(unacked);
                let is_late = unacked.delivered_at.plus_millis(timeout_ms) <= self.now;
                (is_late && timeout_ms > 0).then_some(timeout_ms)
            });
            let (connection, number) = (channel.connection, channel.number);
            late.extend(over.map(|ms| (ChannelRef { connection, channel: id, number }, ms)));
        }
        for (via, timeout_ms) in late {
            let text = format!(
                "delivery acknowledgement on channel {} timed out. Timeout value used: \
                 {timeout_ms} ms. This timeout value can be configured, see consumers doc guide \
                 to learn more",
                via.number
            );
            self.close_channel(via, &Fault::precondition_failed(text), 0, 0);
        }
        if self.sessions.channels().iter().any(|(_, channel)| !channel.unacked.is_empty()) {
            self.watch_unacked();
        }
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
        self.dispatch(id);
        self.arm(id);
    }

    /// Lets the messages at the head of a queue expire whose time has come, at most so many.
    ///
    /// rabbitmq: only the head is looked at; an expired message behind a live one waits its turn.
    pub(super) fn expire_head(&mut self, id: QueueId, at_most: usize) {
        for _ in 0..at_most {
            let Some(queue) = self.queues.get_mut(id) else { return };
            if queue.purged_by.is_some()
                || !queue.ready.front().is_some_and(|entry| entry.is_expired(self.now))
            {
                return;
            }
            if let Some(entry) = queue.ready.pop_front() {
                self.dead_letter_entry(id, entry, Reason::Expired);
            }
        }
    }

    /// Sees to it that the timer looks at a queue when something may be due there.
    pub(super) fn arm(&mut self, id: QueueId) {
        let Some(queue) = self.queues.get_mut(id) else { return };
        // why: what is being purged does not expire; the end of the purge looks again.
        let front = queue.ready.front().filter(|_| queue.purged_by.is_none());
        let mut at = front.map_or(Time::NEVER, |entry| entry.expires_at);
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
