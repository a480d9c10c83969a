//! What an operator should hear of, as values; the edge logs them.

/// Something that is no fault, but that an operator should hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A queue was declared with an argument that nobody obeys. Told for each queue.
    UnknownArgument {
        /// The queue.
        queue: String,
        /// The argument.
        argument: String,
        /// The one that was probably meant.
        meant: Option<&'static str>,
    },
    /// Messages of a queue that should have been on the disk were not there.
    MessagesLost {
        /// The queue.
        queue: String,
        /// How many.
        messages: u64,
    },
    /// Messages that the broker routed by itself met too many patterns of a topic exchange; they were dropped.
    TooManyPatterns {
        /// The exchange.
        exchange: String,
        /// How many, since the last notice of this kind.
        messages: u64,
    },
    /// Dead-lettering was ended where it multiplied without end; messages were dropped.
    DeadLetteringEnded {
        /// One of the queues that the messages died in.
        queue: String,
        /// How many, since the last notice of this kind.
        messages: u64,
    },
}
