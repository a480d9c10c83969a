//! What a virtual host should hold and send, kept the simplest way.
//!
//! The model does not choose who gets a message. It is shown what an input made the broker deliver
//! and does the same itself: it says which message goes next and who may take one, and lets it go
//! to the consumer that was seen to get it. What was seen and never goes next is a fault.

mod alarms;
mod apply;
mod channels;
mod confirms;
mod consumers;
mod content;
mod delayed;
mod deliveries;
mod durable;
mod exchanges;
mod kinds;
mod matching;
mod op;
mod policies;
mod queues;
mod replies;
mod rights;
mod transactions;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub(crate) use self::channels::Channel;
pub(crate) use self::consumers::Consumer;
pub(crate) use self::content::{Content, short, table};
use self::delayed::Delayed;
pub(crate) use self::deliveries::Seen;
pub(crate) use self::durable::Durable;
use self::exchanges::Routed;
pub(crate) use self::exchanges::{
    Binding, DEAD_LETTERS, Destination, EXCHANGES, ExchangeKind, KEYS, PATTERNS, exchange_kind,
    is_exchange,
};
pub(crate) use self::kinds::{KINDS, Kind, REFUSED, dead_letters_of, kind, takes_dead_letters};
pub(crate) use self::matching::{Field, Fields, HEADERS, MATCHES};
use self::matching::{headers_match, topic_matches};
pub(crate) use self::op::{
    At, Confirm, Notice, Op, Outcome, Publish, Reply, Request, Settlement, Subscription,
};
pub(crate) use self::policies::{POLICIES, PolicyKind};
pub(crate) use self::queues::{Copy, Queue};
pub(crate) use self::replies::REPLY_TO;
use self::replies::ReplyConsumer;
pub(crate) use self::rights::{EVERYTHING, GUARDED, RIGHTS, Rights, USERS, user_of};
pub(crate) use self::transactions::Transaction;

// spec: reply codes, of what costs a channel.
const ACCESS_REFUSED: u16 = 403;
const NOT_FOUND: u16 = 404;
const RESOURCE_LOCKED: u16 = 405;
const PRECONDITION_FAILED: u16 = 406;

/// A client that is connected.
#[derive(Default)]
pub(crate) struct Client {
    pub(crate) stalled: bool,
    /// Whether it is not read from.
    pub(crate) blocked: bool,
    /// What it published first during the alarm, and on which channel.
    pub(crate) held: Option<(At, Request)>,
    /// Octets that it has not read.
    pub(crate) outbox: usize,
}

#[derive(Default)]
pub(crate) struct Model {
    pub(crate) now: u64,
    pub(crate) queues: BTreeMap<&'static str, Queue>,
    pub(crate) exchanges: BTreeSet<&'static str>,
    /// What exchanges hold back, those that do.
    delayed: BTreeMap<&'static str, Delayed>,
    pub(crate) bindings: BTreeSet<Binding>,
    /// Those that are set.
    pub(crate) policies: Vec<&'static PolicyKind>,
    /// What each of the users may do; none is everything.
    pub(crate) rights: [Option<&'static Rights>; 2],
    pub(crate) alarm: bool,
    /// Where answers go to: what stands for it, by the address that the broker made up.
    pub(crate) addresses: BTreeMap<String, String>,
    pub(crate) clients: BTreeMap<u64, Client>,
    pub(crate) channels: BTreeMap<At, Channel>,
    /// What entered durable queues since it was asked last, gone again or not.
    pub(crate) entered: BTreeMap<&'static str, Vec<Copy>>,
    /// Channels that were closed in this step; confirms that were due to them before may still come.
    leaving: BTreeMap<At, Channel>,
    next_instance: u64,
    next_consumer: u64,
    /// How many messages consumers got.
    served: u64,
    /// What was delivered on each channel and has not gone next yet.
    seen: BTreeMap<At, VecDeque<Seen>>,
    /// Answers that were delivered and are not explained yet.
    seen_replies: VecDeque<Seen>,
    /// What clients are to be told unasked.
    notices: Vec<(At, Notice)>,
}

impl Model {
    /// An empty virtual host, a while after the epoch.
    pub(crate) fn new() -> Self {
        Model { now: 1_000_000, ..Model::default() }
    }
}
