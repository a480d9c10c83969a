//! What survives a restart.

use std::collections::{BTreeMap, BTreeSet};

use super::{Binding, Copy, Delayed, Destination, Model, exchange_kind, is_exchange, kind};

/// What must be there after a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Durable {
    /// With what exchanges hold back, by their names.
    pub(crate) queues: BTreeMap<&'static str, Vec<Copy>>,
    pub(crate) exchanges: BTreeSet<&'static str>,
    pub(crate) bindings: BTreeSet<Binding>,
}

impl Model {
    /// What must survive.
    pub(crate) fn durable(&self) -> Durable {
        let mut queues = BTreeMap::new();
        for (name, queue) in self.queues.iter().filter(|(_, queue)| queue.kind.durable) {
            let all = queue.ready.iter().chain(self.unacked_of(name, queue.instance));
            let kept = all.filter(|it| queue.kind.keeps(&it.content)).cloned().collect();
            queues.insert(*name, in_order(kept));
        }
        let delayed = self.delayed.iter().filter(|(name, _)| exchange_kind(name).durable);
        queues.extend(delayed.map(|(name, delayed)| (*name, in_order(delayed.kept()))));
        let exchanges = self.exchanges.iter().copied();
        let exchanges = exchanges.filter(|name| exchange_kind(name).durable).collect();
        let bindings = self.bindings.iter().copied();
        let leads_to_durable = |destination| match destination {
            Destination::Queue(name) => kind(name).durable,
            Destination::Exchange(name) => exchange_kind(name).durable,
        };
        let is_durable =
            |it: &Binding| exchange_kind(it.source).durable && leads_to_durable(it.destination);
        Durable { queues, exchanges, bindings: bindings.filter(is_durable).collect() }
    }

    /// A restart: what was durable is there, and nothing else.
    pub(crate) fn restart(&mut self, mut durable: Durable) {
        let now = self.now;
        let policies = std::mem::take(&mut self.policies);
        let addresses = std::mem::take(&mut self.addresses);
        let Model { next_instance, rights, .. } = *self;
        *self = Model { now, policies, rights, addresses, next_instance, ..Model::default() };
        for name in durable.exchanges {
            self.declare_exchange(name);
        }
        // One that a crash left without its exchange goes.
        for (name, held) in durable.queues.extract_if(.., |name, _| is_exchange(name)) {
            if let Some(delayed) = self.delayed.get_mut(name) {
                *delayed = Delayed::new(delayed.instance, held);
            }
        }
        self.bindings = durable.bindings;
        let names: Vec<_> = durable.queues.keys().copied().collect();
        for name in &names {
            self.declare_queue(0, name);
        }
        for (name, copies) in durable.queues {
            let queue = self.queues.get_mut(name).expect("it was declared");
            for copy in copies {
                queue.next_sequence = copy.sequence + 1;
                let (turn, returns) = ((copy.sequence, u64::MAX), copy.returns_kept);
                queue.ready.push(Copy { turn, returns, ..copy });
            }
            queue.sort();
        }
        for name in names {
            self.keep_limit(name);
        }
    }
}

/// As they came.
fn in_order(mut copies: Vec<Copy>) -> Vec<Copy> {
    copies.sort_by_key(|copy| copy.sequence);
    copies
}
