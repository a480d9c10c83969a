//! The end of bindings, in steps: of a queue that was deleted, and of exchanges that are.

use std::collections::BTreeSet;

use super::Vhost;
use crate::broker::exchange::{Binding, BindingSet, Destination, Exchange};
use crate::broker::expiry::Deadline;
use crate::broker::ids::{ExchangeId, QueueId};
use crate::broker::record::Record;

/// The bindings that a deleted queue had.
pub(super) struct Unbinding {
    queue: QueueId,
    bindings: BindingSet,
}

impl Unbinding {
    pub(super) fn new(queue: QueueId, bindings: BindingSet) -> Self {
        Unbinding { queue, bindings }
    }
}

/// Exchanges that are deleted.
///
/// invariant: a work list, not a recursion: clients can make long chains of exchanges that go with their last
/// binding.
#[derive(Default)]
pub(super) struct DeletedExchanges {
    /// Those that are still there.
    going: Vec<ExchangeId>,
    /// One that is not, and the bindings from it and to it that others know.
    gone: Option<ExchangeId>,
    bindings: BTreeSet<Binding>,
    incoming: BindingSet,
}

/// How many steps a binding takes, which is taken out of the lists of both its ends.
const STEPS: usize = 4;

impl Vhost {
    /// Deletes an exchange with its bindings, and those that go with their last binding.
    pub(super) fn delete_exchange(&mut self, id: ExchangeId) {
        let deleted = DeletedExchanges { going: vec![id], ..DeletedExchanges::default() };
        self.start(super::work::Task::DeleteExchanges(Box::new(deleted)), None);
    }

    /// Deletes an exchange that lost a binding, if that was its last and it wants to go then.
    pub(super) fn auto_delete_exchange(&mut self, id: ExchangeId) {
        let goes = self.exchanges.get(id).is_some_and(|it| it.auto_delete && it.is_unused());
        if goes {
            self.delete_exchange(id);
        }
    }

    /// Removes the bindings of a queue that is gone, as far as the steps reach; gives back the rest.
    pub(super) fn unbind_on(&mut self, mut unbinding: Unbinding) -> Option<Unbinding> {
        let destination = Destination::Queue(unbinding.queue);
        while !self.work.is_exhausted() {
            let (source, key, arguments) = unbinding.bindings.pop_first()?;
            self.work.take(STEPS);
            self.exchanges.unbind(source, &Binding { destination, key, arguments });
            self.auto_delete_exchange(source);
        }
        (!unbinding.bindings.is_empty()).then_some(unbinding)
    }

    /// Goes on with the deletion of exchanges as far as the steps reach; gives back the rest.
    pub(super) fn delete_exchanges_on(
        &mut self,
        mut deleted: Box<DeletedExchanges>,
    ) -> Option<Box<DeletedExchanges>> {
        while !self.work.is_exhausted() {
            self.work.take(STEPS);
            if let Some(id) = deleted.gone {
                if let Some(binding) = deleted.bindings.pop_first() {
                    self.forget_binding(id, &binding);
                    continue;
                }
                if let Some((source, key, arguments)) = deleted.incoming.pop_first() {
                    let destination = Destination::Exchange(id);
                    let binding = Binding { destination, key, arguments };
                    self.exchanges.unbind(source, &binding);
                    let other = self.exchanges.get(source);
                    if other.is_some_and(|it| it.auto_delete && it.is_unused()) {
                        deleted.going.push(source);
                    }
                    continue;
                }
            }
            let id = deleted.going.pop()?;
            if let Some(exchange) = self.remove_exchange(id) {
                deleted.gone = Some(id);
                (deleted.bindings, deleted.incoming) = exchange.into_bindings();
            }
        }
        Some(deleted)
    }

    /// Takes an exchange out with what it delays.
    fn remove_exchange(&mut self, id: ExchangeId) -> Option<Exchange> {
        let exchange = self.exchanges.remove(id)?;
        if let Some(delayed) = &exchange.delayed {
            self.memory.release(delayed.weight());
            if let Some(armed) = delayed.armed() {
                self.deadlines.remove(armed, Deadline::Exchange(id));
            }
            if let Some(id) = delayed.durable {
                self.journal.record(Record::QueueDeleted { id });
            }
        }
        if exchange.durable {
            self.journal.record(Record::ExchangeDeleted { name: exchange.name.clone() });
        }
        Some(exchange)
    }
}
