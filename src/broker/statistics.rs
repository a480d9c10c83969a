//! What happened to messages, counted since the thing that counts them was made.
//!
//! Plain sums, each kept where it happens: no rates, no clock. Whoever shows them makes rates of
//! two readings.

/// What happened to the messages of a queue, a channel or a virtual host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MessageStatistics {
    /// Published, or entered the queue.
    pub publish: u64,
    /// Confirmed to their publisher.
    pub confirm: u64,
    /// Returned as no queue took them.
    pub return_unroutable: u64,
    /// Dropped as no queue took them.
    pub drop_unroutable: u64,
    /// Delivered to consumers that acknowledge.
    pub deliver: u64,
    /// Delivered to consumers that do not.
    pub deliver_no_ack: u64,
    /// Fetched with basic.get, to be acknowledged.
    pub get: u64,
    /// Fetched with basic.get without acknowledgement.
    pub get_no_ack: u64,
    /// basic.get of an empty queue.
    pub get_empty: u64,
    /// Acknowledged.
    pub ack: u64,
    /// Delivered or fetched again.
    pub redeliver: u64,
}

impl MessageStatistics {
    /// All that went to clients.
    pub fn deliver_get(&self) -> u64 {
        self.deliver + self.deliver_no_ack + self.get + self.get_no_ack
    }

    /// Counts a delivery to a consumer.
    pub fn note_delivered(&mut self, no_ack: bool, redelivered: bool) {
        *(if no_ack { &mut self.deliver_no_ack } else { &mut self.deliver }) += 1;
        self.redeliver += u64::from(redelivered);
    }

    /// Counts the answer to a basic.get.
    pub fn note_got(&mut self, no_ack: bool, redelivered: bool) {
        *(if no_ack { &mut self.get_no_ack } else { &mut self.get }) += 1;
        self.redeliver += u64::from(redelivered);
    }
}

/// What went through an exchange.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExchangeStatistics {
    /// Messages that were published to it.
    pub publish_in: u64,
    /// Copies of them that went to queues.
    pub publish_out: u64,
}
