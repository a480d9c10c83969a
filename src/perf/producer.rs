//! A thread that publishes.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use leveret_codec::method::confirm;
use leveret_codec::{Method, frame};

use super::Shared;
use super::batch::Batch;
use super::confirms::Confirms;
use super::connection::{Connection, Filled, SECOND_NS, closed};
use super::error::PerfError;
use super::tally::Tally;

/// How often a producer looks up from waiting, at least.
const LOOK_UP_NS: u64 = SECOND_NS / 10;
/// How long a producer that was stopped goes on with what it has begun: a message that is partly
/// written, confirms, the close.
const LAST_WORDS_NS: u64 = 5 * SECOND_NS;
/// The same for one that the broker blocks: what it sends is not read, and nothing of it is answered.
const BLOCKED_LAST_WORDS_NS: u64 = SECOND_NS / 2;
/// How long the broker may go without any confirm while it owes some.
const CONFIRM_SECS: u64 = 60;
/// A producer that waits for nothing looks for what the broker says once in so many writes.
const WRITES_UNHEARD: u32 = 16;

pub(super) struct Producer {
    shared: Arc<Shared>,
    connection: Connection,
    batch: Batch,
    state: State,
    /// What it has still to send; none when there is no end to it.
    left: Option<u64>,
    writes_unheard: u32,
    schedule: Option<Schedule>,
    stopped_ns: Option<u64>,
    /// How many confirms had come when some came last, and when that was seen.
    settled: u64,
    settled_ns: u64,
}

/// What the broker's methods change.
struct State {
    tally: Arc<Tally>,
    has_confirms: bool,
    confirms: Confirms,
    waited: Vec<(u64, u64)>,
    published: u64,
    confirmed: u64,
    nacked: u64,
    returned: u64,
    is_blocked: bool,
}

/// How a producer stopped to publish.
enum Published {
    /// Between two messages.
    Whole,
    /// In the middle of one, which the broker did not take.
    Partly,
}

/// When messages are due, at a given rate.
struct Schedule {
    interval_ns: f64,
    begun_ns: u64,
    sent: u64,
}

impl Producer {
    /// Connects the producer with this number.
    pub(super) fn connect(
        shared: Arc<Shared>,
        number: usize,
        tally: Arc<Tally>,
    ) -> Result<Self, PerfError> {
        let options = &shared.options;
        let mut connection = shared.connect()?;
        if options.confirm.is_some() {
            connection.call(&confirm::Select::default(), |method| {
                matches!(method, Method::ConfirmSelectOk(_)).then_some(())
            })?;
        }
        let state = State {
            tally,
            has_confirms: options.confirm.is_some(),
            confirms: Confirms::default(),
            waited: Vec::new(),
            published: 0,
            confirmed: 0,
            nacked: 0,
            returned: 0,
            is_blocked: false,
        };
        Ok(Producer {
            batch: Batch::new(options, number, connection.frame_max),
            left: options.share(number),
            connection,
            state,
            writes_unheard: 0,
            schedule: None,
            stopped_ns: None,
            settled: 0,
            settled_ns: 0,
            shared,
        })
    }

    /// Publishes until all is published or the run stops.
    ///
    /// # Errors
    /// When the broker closes something or goes away.
    pub(super) fn run(&mut self) -> Result<(), PerfError> {
        let ended = match self.publish() {
            Ok(Published::Whole) => self.end(),
            // In the middle of a frame nothing else can be said.
            Ok(Published::Partly) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = &ended {
            self.connection.part(error);
        }
        self.state.store(self.shared.watch.elapsed_ns());
        ended
    }

    fn publish(&mut self) -> Result<Published, PerfError> {
        let rate = self.shared.options.rate;
        let begun_ns = self.shared.watch.elapsed_ns();
        self.expect_confirms(begun_ns);
        self.schedule =
            rate.map(|rate| Schedule { interval_ns: SECOND_NS as f64 / rate, begun_ns, sent: 0 });
        while !self.shared.is_stopped() && self.left != Some(0) {
            let now_ns = self.shared.watch.elapsed_ns();
            self.connection.tick(now_ns)?;
            self.writes_unheard += 1;
            if self.state.has_confirms || self.writes_unheard >= WRITES_UNHEARD {
                self.hear()?;
            }
            let messages = self.room(now_ns);
            if messages == 0 {
                self.connection.wait(false, self.until_due(now_ns))?;
                self.hear()?;
                self.check_confirms()?;
                continue;
            }
            let (range, count) = self.batch.take(messages, self.shared.stamps.at(now_ns));
            if self.state.has_confirms {
                self.state.confirms.sent(count, now_ns);
            }
            let (mut next, end) = (range.start, range.end);
            while next < end {
                // why: a heartbeat goes between two messages, or not at all.
                let sent = match self.connection.flush()? {
                    true => self.connection.write(self.batch.octets(next..end))?,
                    false => 0,
                };
                next += sent;
                if sent == 0 {
                    self.connection.wait(true, LOOK_UP_NS)?;
                    self.hear()?;
                    if self.gives_up() {
                        return Ok(Published::Partly);
                    }
                    let now_ns = self.shared.watch.elapsed_ns();
                    // why: a broker that takes nothing may be gone, which only its silence tells. One that
                    // does not take the whole of a message owes no confirm of it.
                    self.connection.listen(now_ns)?;
                    self.expect_confirms(now_ns);
                }
            }
            self.state.published += count;
            if let Some(left) = &mut self.left {
                *left -= count;
            }
            if let Some(schedule) = &mut self.schedule {
                schedule.sent += count;
            }
            self.state.store(now_ns);
        }
        Ok(Published::Whole)
    }

    /// How many messages may go now.
    fn room(&mut self, now_ns: u64) -> usize {
        if self.state.is_blocked {
            return 0;
        }
        let mut room = self.batch.per_write() as u64;
        if let Some(window) = self.shared.options.confirm {
            let free = u64::from(window) - self.state.confirms.waiting();
            room = room_in_window(window.into(), free, room, self.left);
        }
        if let Some(schedule) = &self.schedule {
            let passed_ns = now_ns.saturating_sub(schedule.begun_ns) as f64;
            let due = (passed_ns / schedule.interval_ns) as u64 + 1;
            room = room.min(due.saturating_sub(schedule.sent));
        }
        room.min(self.left.unwrap_or(room)) as usize
    }

    /// How long there is nothing to send, as far as that is known.
    fn until_due(&self, now_ns: u64) -> u64 {
        let Some(schedule) = self.schedule.as_ref().filter(|_| !self.state.is_blocked) else {
            return LOOK_UP_NS;
        };
        let due_ns = schedule.begun_ns + (schedule.sent as f64 * schedule.interval_ns) as u64;
        match due_ns.saturating_sub(now_ns) {
            // It is due, and the confirms that it waits for are not here.
            0 => LOOK_UP_NS,
            wait_ns => wait_ns.min(LOOK_UP_NS),
        }
    }

    /// Takes what the broker has said.
    fn hear(&mut self) -> Result<(), PerfError> {
        self.writes_unheard = 0;
        let was_blocked = self.state.is_blocked;
        loop {
            let filled = self.connection.read()?;
            if filled.is_none() {
                break;
            }
            let now_ns = self.shared.watch.elapsed_ns();
            while let Some(frame) = self.connection.next_frame()? {
                if frame.kind == frame::METHOD
                    && let Ok(method) = Method::decode(frame.payload)
                {
                    self.state.take(&method, now_ns)?;
                }
            }
            self.state.store(now_ns);
            if filled == Some(Filled::Partly) {
                break;
            }
        }
        if was_blocked
            && !self.state.is_blocked
            && let Some(schedule) = &mut self.schedule
        {
            // why: what was due while the broker took nothing is not caught up with.
            schedule.begun_ns = self.shared.watch.elapsed_ns();
            schedule.sent = 0;
        }
        Ok(())
    }

    /// Waits for the confirms that are to come and closes the channel, so that everything that was
    /// published is processed.
    fn end(&mut self) -> Result<(), PerfError> {
        while self.state.confirms.waiting() > 0 {
            if self.gives_up() {
                return Ok(());
            }
            self.connection.tick(self.shared.watch.elapsed_ns())?;
            self.connection.wait(false, LOOK_UP_NS)?;
            self.hear()?;
            self.check_confirms()?;
        }
        self.hear()?;
        let last_words_ns = self.last_words_ns();
        match self.connection.close(last_words_ns, &|| self.shared.is_stopped()) {
            Err(PerfError::Silent { .. }) if self.shared.is_stopped() => Ok(()),
            ended => ended,
        }
    }

    /// Confirms are owed from now on, as far as any are.
    fn expect_confirms(&mut self, now_ns: u64) {
        self.settled = self.state.settled();
        self.settled_ns = now_ns;
    }

    /// Fails when confirms have been owed for too long without any coming.
    fn check_confirms(&mut self) -> Result<(), PerfError> {
        let (now_ns, state) = (self.shared.watch.elapsed_ns(), &self.state);
        let waiting = state.confirms.waiting();
        if waiting == 0 || state.is_blocked || state.settled() != self.settled {
            self.expect_confirms(now_ns);
        }
        if now_ns - self.settled_ns > CONFIRM_SECS * SECOND_NS {
            let address = self.connection.address.clone();
            return Err(PerfError::Unconfirmed { address, waiting, seconds: CONFIRM_SECS });
        }
        Ok(())
    }

    /// Whether the run has stopped so long ago that what was begun is not finished any more.
    fn gives_up(&mut self) -> bool {
        if !self.shared.is_stopped() {
            return false;
        }
        let now_ns = self.shared.watch.elapsed_ns();
        now_ns - *self.stopped_ns.get_or_insert(now_ns) > self.last_words_ns()
    }

    /// How long it goes on after it was stopped.
    fn last_words_ns(&self) -> u64 {
        if self.state.is_blocked { BLOCKED_LAST_WORDS_NS } else { LAST_WORDS_NS }
    }
}

impl State {
    fn take(&mut self, method: &Method<'_>, now_ns: u64) -> Result<(), PerfError> {
        match method {
            Method::BasicAck(ack) => {
                let (tag, multiple) = (ack.delivery_tag, ack.multiple);
                self.confirmed += self.confirms.confirmed(tag, multiple, now_ns, &mut self.waited);
            }
            Method::BasicNack(nack) => {
                let (tag, multiple) = (nack.delivery_tag, nack.multiple);
                let mut refused = Vec::new();
                self.nacked += self.confirms.confirmed(tag, multiple, now_ns, &mut refused);
            }
            Method::BasicReturn(_) => self.returned += 1,
            Method::ConnectionBlocked(_) => self.is_blocked = true,
            Method::ConnectionUnblocked(_) => self.is_blocked = false,
            method => closed(method)?,
        }
        Ok(())
    }

    /// How many messages the broker has confirmed or refused.
    fn settled(&self) -> u64 {
        self.confirmed + self.nacked
    }

    fn store(&mut self, now_ns: u64) {
        let tally = &self.tally;
        tally.published.store(self.published, Relaxed);
        tally.confirmed.store(self.confirmed, Relaxed);
        tally.nacked.store(self.nacked, Relaxed);
        tally.returned.store(self.returned, Relaxed);
        tally.is_blocked.store(self.is_blocked, Relaxed);
        tally.active_ns.store(now_ns, Relaxed);
        tally.record(&mut self.waited);
    }
}

/// How many messages may go while so many of a window are free: none, or up to `most`. `left` is how
/// many there are still to send, if there is an end to them.
///
/// why: not one by one as confirms come, but many in one write: half a window at least, so that the
/// broker may be busy with the other half. What more is free goes along, although that leaves the
/// broker nothing for a moment: held back, it would be a write of its own right behind, and with
/// ten in flight two syncs of five each.
fn room_in_window(window: u64, free: u64, most: u64, left: Option<u64>) -> u64 {
    let least = most.min((window / 2).max(1));
    if free < least.min(left.unwrap_or(least)) { 0 } else { most.min(free) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_window_is_the_least_that_goes_and_all_that_is_free_the_most() {
        let frees = [0, 1, 4, 5, 6, 10];
        let rooms = |most, left| frees.map(|free| room_in_window(10, free, most, left));
        assert_eq!(rooms(100, None), [0, 0, 0, 5, 6, 10]);
        assert_eq!(rooms(3, None), [0, 0, 3, 3, 3, 3], "no more than a write");
        assert_eq!(rooms(100, Some(4)), [0, 0, 4, 5, 6, 10], "the last ones need no half");
        assert_eq!([0, 1].map(|free| room_in_window(1, free, 100, None)), [0, 1]);
        assert_eq!([0, 1, 2].map(|free| room_in_window(2, free, 100, None)), [0, 1, 2]);
    }
}
