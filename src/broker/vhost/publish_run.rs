//! Publishes in a row that are alike: what was found out for the first one holds for the others.
//!
//! why: clients publish in runs, to one queue over the default exchange most of all. Its channel, its
//! rights and where it goes are the same each time, and make a third of what a publish costs.
//!
//! invariant: whatever changes what a run knows ends it: every other command, so that its channel is as it
//! was; a queue that goes; a change of rights; an alarm; the end of the batch.

use super::sessions::ChannelRef;
use crate::broker::ids::{ConnectionId, QueueId};
use crate::broker::message::Message;

/// The bit of delivery-mode in the flags of the properties.
pub(super) const DELIVERY_MODE_FLAG: u16 = 1 << 12;

/// Properties that ask for nothing but a delivery mode.
const PLAIN_FLAGS: u16 = !DELIVERY_MODE_FLAG;

/// What is known of the publishes at hand, while they are alike.
#[derive(Debug, Default)]
pub(super) struct PublishRun {
    to: Option<(ChannelRef, QueueId)>,
    /// Exchange and routing key, as they lie in a message.
    routing: Vec<u8>,
}

impl PublishRun {
    /// A publish without requests went to one queue, and nowhere else.
    pub(super) fn begin(&mut self, via: ChannelRef, message: &Message, queue: QueueId) {
        self.routing.clear();
        self.routing.extend_from_slice(message.routing());
        self.to = Some((via, queue));
    }

    /// What comes next may be different.
    pub(super) fn end(&mut self) {
        self.to = None;
    }

    /// The way that a publish takes if it is one more of the run.
    pub(super) fn goes_on(
        &self,
        connection: ConnectionId,
        channel: u16,
        immediate: bool,
        message: &Message,
    ) -> Option<(ChannelRef, QueueId)> {
        let (via, queue) = self.to?;
        let properties = message.properties();
        let alike = via.connection == connection
            && via.number == channel
            && !immediate
            && message.routing() == self.routing
            && properties.flags() & PLAIN_FLAGS == 0
            && matches!(properties.delivery_mode(), None | Some(1 | 2));
        alike.then_some((via, queue))
    }
}
