//! A virtual host takes up what its store has kept.

use hashbrown::HashMap;
use leveret_codec::ShortString;

use super::Vhost;
use crate::broker::arguments::{ExchangeArguments, QueueArguments};
use crate::broker::error::Resource;
use crate::broker::exchange::delayed::delayed_exchange_of;
use crate::broker::exchange::{Destination, Exchange, ExchangeType};
use crate::broker::ids::{DurableQueueId, QueueId};
use crate::broker::paging::PageOwner;
use crate::broker::queue::Queue;
use crate::broker::ready::Entry;
use crate::broker::record::{BoundTo, ExchangeDefinition, Recovered, RecoveredQueue};
use crate::broker::time::Time;

/// Something the store kept that makes no sense to this version, and what it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} was left out: {why}")]
pub struct LeftOut {
    /// The exchange, queue or binding.
    pub what: String,
    /// What is wrong with it.
    pub why: String,
}

impl Vhost {
    /// Takes up what the store has kept; for a virtual host that nobody has used yet. What cannot
    /// be taken up is reported and leaves the rest unharmed.
    pub fn recover(&mut self, now: Time, recovered: Recovered) -> Vec<LeftOut> {
        self.now = now;
        let mut left_out = Vec::new();
        for exchange in recovered.exchanges {
            left_out.extend(self.recover_exchange(&exchange).err());
        }
        for queue in recovered.queues {
            left_out.extend(self.recover_queue(queue).err());
        }
        let durable_queues: HashMap<DurableQueueId, QueueId> =
            self.queues.iter().filter_map(|(id, queue)| Some((queue.durable?, id))).collect();
        for binding in recovered.bindings {
            let Some(source) = self.exchanges.find(binding.source.as_bytes()) else { continue };
            let destination = match &binding.destination {
                BoundTo::Exchange(name) => {
                    self.exchanges.find(name.as_bytes()).map(Destination::Exchange)
                }
                BoundTo::Queue(id) => durable_queues.get(id).copied().map(Destination::Queue),
            };
            let Some(destination) = destination else { continue };
            let (key, arguments) = (binding.routing_key.as_short(), binding.arguments.as_table());
            if let Err(fault) = self.bind(source, destination, key, arguments) {
                let what = format!("a binding from exchange '{}'", binding.source);
                left_out.push(LeftOut { what, why: fault.to_string() });
            }
        }
        self.journal.restore(recovered.last_lsn, recovered.last_queue_id);
        self.mend_delayed_queues();
        // why: only now. Deliveries that came back may be more than a limit allows, and what is
        // dropped of them is a change.
        let queues: Vec<QueueId> = self.queues.iter().map(|(id, _)| id).collect();
        for id in queues {
            self.evaluate(id);
        }
        self.process_dead_letters();
        left_out
    }

    fn recover_exchange(&mut self, definition: &ExchangeDefinition) -> Result<(), LeftOut> {
        let left_out =
            |why: String| LeftOut { what: format!("exchange '{}'", definition.name), why };
        if self.exchanges.find(definition.name.as_bytes()).is_some() {
            return Ok(());
        }
        let kind = ExchangeType::from_name(definition.kind.as_bytes())
            .ok_or_else(|| left_out(format!("its type '{}' is unknown", definition.kind)))?;
        let of = Resource::exchange(&definition.name, &self.name);
        let arguments = ExchangeArguments::parse(&of, &definition.arguments)
            .map_err(|fault| left_out(fault.to_string()))?;
        let exchange = Exchange::new(
            definition.name.clone(),
            kind,
            true,
            definition.auto_delete,
            definition.internal,
            arguments,
        );
        let id = self.exchanges.insert(exchange.map_err(|fault| left_out(fault.to_string()))?);
        self.apply_exchange_policy(id);
        Ok(())
    }

    fn recover_queue(&mut self, recovered: RecoveredQueue) -> Result<(), LeftOut> {
        let definition = recovered.definition;
        if let Some(exchange) =
            delayed_exchange_of(definition.name.as_bytes(), &definition.arguments)
        {
            let last_position = recovered.last_position;
            self.recover_delayed(&exchange, definition.id, last_position, recovered.messages);
            return Ok(());
        }
        let of = Resource::queue(&definition.name, &self.name);
        let arguments = QueueArguments::parse(&of, &definition.arguments).map_err(|fault| {
            LeftOut { what: format!("queue '{}'", definition.name), why: fault.to_string() }
        })?;
        let name: ShortString = definition.name;
        let (id, auto_delete) = (Some(definition.id), definition.auto_delete);
        let mut queue = Queue::new(name, id, None, auto_delete, arguments, self.now);
        queue.reserve_positions(recovered.last_position);
        for &(priority, position) in &recovered.delivered {
            queue.ready.restore_delivered(priority, position);
        }
        queue.ready.restore_returns(recovered.returns);
        let cold = recovered.cold.filter(|_| queue.ready.can_page());
        if let Some(cold) = cold {
            queue.reserve_positions(cold.last);
            queue.ready.restore_cold(cold);
        }
        for message in recovered.messages {
            let priority = queue.priority_of(&message.message);
            let delivered = recovered.delivered.iter().find(|(of, _)| *of == priority);
            let returns = queue.ready.take_known_returns(message.position);
            let redelivered =
                returns > 0 || delivered.is_some_and(|(_, through)| message.position <= *through);
            let entry = Entry {
                position: message.position,
                expires_at: message.expires_at.unwrap_or(Time::NEVER),
                returns,
                priority,
                redelivered,
                recorded: true,
                paged: false,
                message: message.message,
            };
            queue.reserve_positions(entry.position);
            queue.ready.restore(entry);
        }
        let id = self.add_queue(queue);
        if cold.is_some() {
            self.memory.insert_owner(PageOwner::Durable(definition.id), id);
        }
        Ok(())
    }
}
