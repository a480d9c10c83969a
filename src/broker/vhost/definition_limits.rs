//! How much clients may define: what exchanges, queues, bindings, consumers, channels and connections take in
//! memory, which counts like messages and cannot go to the disk.

use leveret_codec::Table;

use super::Vhost;
use super::sessions::ChannelRef;
use crate::broker::error::{Checked, Fault};
use crate::broker::time::Time;

impl Vhost {
    /// How much memory definitions may take has changed, in bytes.
    pub fn handle_max_definitions(&mut self, now: Time, max: u64) {
        self.now = now;
        self.max_definitions = max;
        // why: what is remembered grows with every message, and must not keep others from defining anything.
        self.exchanges.set_max_remembered(max / 2);
    }

    /// About how much memory exchanges, queues, bindings, consumers, channels and connections take without
    /// messages, and what deduplicating exchanges remember, in bytes.
    pub fn definition_memory(&self) -> u64 {
        self.queues.definition_weight()
            + self.exchanges.definition_weight()
            + self.sessions.definition_weight()
    }

    /// About how much memory clients make the virtual host keep, in bytes.
    pub fn memory(&self) -> u64 {
        self.message_memory() + self.definition_memory()
    }

    /// Whether something with these arguments may be there beside all that is.
    pub(super) fn check_may_define(&self, arguments: Table<'_>) -> Checked<()> {
        let (length, max) = (arguments.as_bytes().len(), self.limits.max_arguments_size);
        if length > max {
            return Err(Fault::ArgumentsTooLong { length, max }.into());
        }
        let max = self.max_definitions;
        if self.definition_memory() >= max {
            return Err(Fault::DefinitionLimit { vhost: self.name.clone(), max }.into());
        }
        Ok(())
    }

    /// Whether there may be one channel more.
    ///
    /// why: somewhat longer than other things. Who is refused one of those loses a channel, and needs another to
    /// delete what is there.
    pub(super) fn check_may_open_channel(&self) -> Checked<()> {
        let max = self.max_definitions.saturating_add(self.max_definitions / 8);
        if self.definition_memory() >= max {
            return Err(Fault::NoMemoryForChannel { vhost: self.name.clone(), max }.into());
        }
        Ok(())
    }

    /// Whether a channel may have one more consumer.
    pub(super) fn check_consumer_limit(&self, via: ChannelRef) -> Checked<()> {
        let consumers = self.sessions.channel(via.channel).map_or(0, |it| it.consumers.len());
        let max = self.limits.max_consumers_per_channel;
        if consumers < max { Ok(()) } else { Err(Fault::ConsumerLimit(max).into()) }
    }
}
