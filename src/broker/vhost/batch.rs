//! What one batch of input gathers, to be dealt with once for all of it at its end.

use std::collections::BTreeSet;

use leveret_codec::{ShortStr, ShortString};

use super::publish_run::PublishRun;
use crate::broker::exchange::Routes;
use crate::broker::ids::{ChannelId, QueueId};
use crate::broker::limits;
use crate::broker::notice::Notice;
use crate::broker::time::Time;

const MINUTE_MS: u64 = 60_000;

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
    /// Queues and their arguments that a notice was made of, within one minute.
    noticed_arguments: BTreeSet<(ShortString, ShortString)>,
    /// Which minute that was.
    minute: u64,
}

impl Batch {
    /// An operator should hear of something.
    pub(super) fn notice(&mut self, notice: Notice) {
        self.notices.push(notice);
    }

    /// Whether a notice of this argument of a queue is due: the first one of a minute, unless there were many
    /// others in it.
    pub(super) fn is_argument_due(
        &mut self,
        now: Time,
        queue: &ShortString,
        argument: ShortStr<'_>,
    ) -> bool {
        let minute = now.as_millis() / MINUTE_MS;
        if std::mem::replace(&mut self.minute, minute) != minute {
            self.noticed_arguments.clear();
        }
        self.noticed_arguments.len() < limits::NOTICED_ARGUMENTS
            && self.noticed_arguments.insert((queue.clone(), argument.into()))
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
