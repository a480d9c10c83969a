//! What can happen in a life, and what clients are answered.

use std::rc::Rc;

use super::{Binding, Content, PolicyKind, Rights};

/// A client and the number of one of its channels.
pub(crate) type At = (u64, u16);

/// One thing that happens.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Connect(u64),
    Disconnect(u64),
    CloseConnection(u64),
    /// A client sends something on a channel.
    On(At, Request),
    /// A client stops to read.
    Stall(u64),
    Unstall(u64),
    PassMs(u64),
    Finish,
    /// So many of the records that wait.
    Write(usize),
    Checkpoint,
    Kill,
    LosePower,
    /// A policy is set, or taken away.
    SetPolicy(&'static PolicyKind, bool),
    /// What a user may do has changed.
    SetRights(usize, &'static Rights),
    /// An alarm is raised, or over.
    SetAlarm(bool),
    /// The broker hears that its store has failed.
    StoreFailed,
    /// The disk fails, then the power.
    FailDisk(u64),
}

/// What a client asks for on a channel.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    Open,
    Close,
    DeclareQueue(&'static str),
    DeleteQueue(&'static str),
    Purge(&'static str),
    DeclareExchange(&'static str),
    DeleteExchange(&'static str),
    Bind(Binding),
    Unbind(Binding),
    SelectConfirms,
    SelectTransactions,
    Commit,
    Rollback,
    Publish(Publish),
    Consume(Subscription),
    /// Answers to what is published on the channel are to come with this tag.
    ConsumeReplies(String),
    /// Whether who has this address is still there.
    DeclareReplies(String),
    Cancel(String),
    /// The prefetch count, and whether all consumers of the channel share it.
    Qos(u16, bool),
    /// The queue, and whether the message counts as acknowledged.
    Get(&'static str, bool),
    Settle(Settlement),
    Recover,
}

/// A basic.publish.
#[derive(Clone, Debug)]
pub(crate) struct Publish {
    pub(crate) content: Rc<Content>,
    pub(crate) mandatory: bool,
}

/// A basic.consume.
#[derive(Clone, Debug)]
pub(crate) struct Subscription {
    pub(crate) queue: &'static str,
    pub(crate) tag: String,
    pub(crate) no_ack: bool,
    pub(crate) exclusive: bool,
    pub(crate) priority: i32,
}

impl Subscription {
    /// To all messages of a queue, which count as acknowledged.
    pub(crate) fn all_of(queue: &'static str) -> Self {
        let tag = format!("all of {queue}");
        Subscription { queue, tag, no_ack: true, exclusive: false, priority: 0 }
    }
}

/// A basic.ack, basic.reject or basic.nack.
#[derive(Clone, Debug)]
pub(crate) struct Settlement {
    pub(crate) tag: u64,
    pub(crate) multiple: bool,
    pub(crate) outcome: Outcome,
}

/// What becomes of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    Refused,
    Requeued,
    /// Its channel has ended.
    LeftBehind,
}

/// What a client is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// What it asked for is done.
    Done,
    Declared {
        ready: usize,
        consumers: usize,
    },
    Purged(usize),
    Deleted(usize),
    /// A message, and how many more wait.
    Got(usize),
    /// There is no message.
    Empty,
    /// It costs the channel; the reply code.
    ChannelClosed(u16),
}

/// What a client is told unasked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Notice {
    /// A consumer ends with its queue.
    Cancelled(String),
    /// No queue took a mandatory message.
    Returned(String),
    /// It is not read from.
    Blocked,
    Unblocked,
}

/// A basic.ack or basic.nack of publishes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Confirm {
    pub(crate) last: u64,
    pub(crate) multiple: bool,
    pub(crate) accepted: bool,
}
