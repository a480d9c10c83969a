//! What time alone brings about: expiry of messages and queues, the end of patience.

use super::Vhost;
use crate::broker::dead_letter::Reason;
use crate::broker::expiry::Deadline;
use crate::broker::limits;
use crate::broker::queue::QueueId;
use crate::broker::time::Time;

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
                Deadline::Close(connection) => self.close_deadline(connection),
            }
        }
        self.work_off();
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
        self.expire_head(id, limits::EXPIRED_A_TURN);
        self.arm(id);
    }

    /// Lets the messages at the head of a queue expire whose time has come, at most so many.
    ///
    /// rabbitmq: only the head is looked at; an expired message behind a live one waits its turn.
    pub(super) fn expire_head(&mut self, id: QueueId, at_most: usize) {
        for _ in 0..at_most {
            let Some(queue) = self.queues.get_mut(id) else { return };
            if !queue.ready.front().is_some_and(|entry| entry.is_expired(self.now)) {
                return;
            }
            if let Some(entry) = queue.ready.pop_front() {
                self.bury(id, entry, Reason::Expired);
            }
        }
    }

    /// Sees to it that the timer looks at a queue when something may be due there.
    pub(super) fn arm(&mut self, id: QueueId) {
        let Some(queue) = self.queues.get_mut(id) else { return };
        let mut at = queue.ready.front().map_or(Time::NEVER, |entry| entry.expires_at);
        if let (Some(expires_ms), Some(since)) = (queue.arguments.expires_ms, queue.unused_since())
        {
            at = at.min(since.plus_millis(expires_ms));
        }
        if at < queue.armed {
            queue.armed = at;
            self.deadlines.add(at, Deadline::Queue(id));
        }
    }
}
