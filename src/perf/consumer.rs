//! A thread that consumes.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use leveret_codec::method::basic;
use leveret_codec::{Method, ShortStr, encode};

use super::Shared;
use super::connection::{CHANNEL, Connection, Filled, SECOND_NS};
use super::error::PerfError;
use super::scanner::{Delivery, ScanError, Scanner, unexpected};
use super::tally::Tally;

/// How long a consumer waits for the next delivery before it acknowledges what it has.
const IDLE_NS: u64 = SECOND_NS / 20;
/// How long the close may take.
const CLOSE_NS: u64 = 5 * SECOND_NS;

pub(super) struct Consumer {
    shared: Arc<Shared>,
    tally: Arc<Tally>,
    number: usize,
    connection: Connection,
    scanner: Scanner,
    counted: Counted,
    /// Ages of messages, and how many in a row had each.
    ages: Vec<(u64, u64)>,
}

/// What has come.
#[derive(Default)]
struct Counted {
    delivered: u64,
    acknowledged: u64,
    last_tag: u64,
    unacknowledged: u32,
}

impl Consumer {
    /// Connects the consumer with this number.
    pub(super) fn connect(
        shared: Arc<Shared>,
        number: usize,
        tally: Arc<Tally>,
    ) -> Result<Self, PerfError> {
        let connection = shared.connect()?;
        let (scanner, counted) = (Scanner::default(), Counted::default());
        Ok(Consumer { shared, tally, number, connection, scanner, counted, ages: Vec::new() })
    }

    /// Asks for the messages of its queues.
    pub(super) fn subscribe(&mut self) -> Result<(), PerfError> {
        let options = &self.shared.options;
        if options.prefetch > 0 {
            let qos = basic::Qos { prefetch_count: options.prefetch, ..Default::default() };
            self.connection
                .call(&qos, |method| matches!(method, Method::BasicQosOk(_)).then_some(()))?;
        }
        // why: the answers come after the first deliveries of the queues before, so they are met in
        // the stream of deliveries, where they are of no interest.
        for queue in options.queues_of_consumer(self.number) {
            let name = options.queue_name(queue);
            let name = ShortStr::truncated(name.as_bytes());
            let consume = basic::Consume {
                queue: name,
                consumer_tag: name,
                no_ack: options.ack_every.is_none(),
                ..Default::default()
            };
            self.connection.tell(CHANNEL, &consume);
        }
        self.connection.flush()?;
        Ok(())
    }

    /// Takes deliveries until the run stops.
    ///
    /// # Errors
    /// When the broker closes something or goes away.
    pub(super) fn run(&mut self) -> Result<(), PerfError> {
        let ended = self.consume().and_then(|()| self.end());
        if let Err(error) = &ended {
            self.connection.part(error);
        }
        ended
    }

    fn consume(&mut self) -> Result<(), PerfError> {
        let mut filled = Some(Filled::Partly);
        while !self.shared.is_stopped() {
            // why: a read that did not fill the buffer has emptied the socket; another one would be
            // for nothing.
            if filled != Some(Filled::Full) {
                self.connection.wait(false, IDLE_NS)?;
            }
            filled = self.connection.read()?;
            let now_ns = self.shared.watch.elapsed_ns();
            match filled {
                Some(_) => {
                    self.tally.heard_ns.store(now_ns, Relaxed);
                    self.scan(now_ns)?;
                }
                None => self.acknowledge_rest(),
            }
            self.connection.flush()?;
            self.connection.tick(now_ns)?;
        }
        Ok(())
    }

    /// Takes what was read.
    fn scan(&mut self, now_ns: u64) -> Result<(), PerfError> {
        let (stamps, ack_every) = (self.shared.stamps, self.shared.options.ack_every);
        let decoder = self.connection.decoder;
        let (input, output) = self.connection.input_and_output();
        let (counted, ages) = (&mut self.counted, &mut self.ages);
        // why: messages of one batch have one stamp; looking at each once is enough.
        let (mut last_stamp, mut in_a_row) = (None, 0);
        let mut note = |stamp: Option<u64>, messages| {
            if let Some(age_ns) = stamp.and_then(|stamp| stamps.age_ns(stamp, now_ns)) {
                ages.push((age_ns, messages));
            }
        };
        let before = counted.delivered;
        let scanned = self.scanner.scan(
            decoder,
            input,
            |Delivery { tag, stamp }| {
                counted.delivered += 1;
                if stamp != last_stamp {
                    note(last_stamp, in_a_row);
                    (last_stamp, in_a_row) = (stamp, 0);
                }
                in_a_row += 1;
                counted.last_tag = tag;
                if let Some(every) = ack_every {
                    counted.unacknowledged += 1;
                    if counted.unacknowledged >= every {
                        counted.acknowledge(output);
                    }
                }
            },
            unexpected,
        );
        note(last_stamp, in_a_row);
        let used = scanned.map_err(|error| match error {
            ScanError::Frame(reason) => {
                PerfError::NotAmqp { address: self.connection.address.clone(), reason }
            }
            ScanError::Other(error) => error,
        })?;
        self.connection.take(used);
        if self.counted.delivered > before {
            self.tally.active_ns.store(now_ns, Relaxed);
        }
        self.store();
        Ok(())
    }

    fn acknowledge_rest(&mut self) {
        if self.counted.unacknowledged > 0 {
            self.counted.acknowledge(self.connection.output());
            self.store();
        }
    }

    fn store(&mut self) {
        self.tally.delivered.store(self.counted.delivered, Relaxed);
        self.tally.acknowledged.store(self.counted.acknowledged, Relaxed);
        self.tally.record(&mut self.ages);
    }

    fn end(&mut self) -> Result<(), PerfError> {
        self.acknowledge_rest();
        match self.connection.close(CLOSE_NS, &|| true) {
            // The run is over, and what it counted is counted.
            Err(PerfError::Silent { .. }) => Ok(()),
            ended => ended,
        }
    }
}

impl Counted {
    /// Acknowledges everything up to the last delivery.
    fn acknowledge(&mut self, output: &mut Vec<u8>) {
        let ack = basic::Ack { delivery_tag: self.last_tag, multiple: true };
        encode::method(output, CHANNEL, &ack);
        self.acknowledged += u64::from(self.unacknowledged);
        self.unacknowledged = 0;
    }
}
