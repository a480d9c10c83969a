//! What one batch of input gathers, to be dealt with once for all of it at its end.

use std::collections::BTreeSet;

use leveret_codec::ShortString;

use super::publish_run::PublishRun;
use crate::broker::exchange::Routes;
use crate::broker::ids::{ChannelId, QueueId};
use crate::broker::limits;
use crate::broker::notice::Notice;

/// What a batch gathers.
#[derive(Default)]
pub(super) struct Batch {
    /// Channels that published in confirm mode.
    pub(super) confirming: Vec<ChannelId>,
    /// Durable queues that delivered.
    pub(super) delivering: Vec<QueueId>,
    /// The publishes at hand that are alike.
    pub(super) run: PublishRun,
    /// Where the message at hand goes; kept for its memory.
    pub(super) routes: Routes,
    /// What an operator should hear of.
    notices: Vec<Notice>,
    /// Arguments that a notice was made of.
    noticed_arguments: BTreeSet<ShortString>,
}

impl Batch {
    /// An operator should hear of something.
    pub(super) fn notice(&mut self, notice: Notice) {
        self.notices.push(notice);
    }

    /// Whether a notice of this argument of a queue is due: the first one, unless there were many of others.
    pub(super) fn is_new_argument(&mut self, argument: &ShortString) -> bool {
        let known = self.noticed_arguments.contains(argument.as_bytes());
        let is_new = !known && self.noticed_arguments.len() < limits::NOTICED_ARGUMENTS;
        if is_new {
            self.noticed_arguments.insert(argument.clone());
        }
        is_new
    }

    /// Takes back where a message went, for the next one.
    pub(super) fn keep_routes(&mut self, routes: Routes) {
        // why: one that went very far is rare, and would keep its memory for ever.
        if routes.queues.capacity() <= 4 * limits::AT_ONCE {
            self.routes = routes;
        }
    }

    /// Takes what an operator should hear of.
    pub(super) fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }
}
