//! Bindings, visited in steps.

use std::ops::Bound;

use leveret_codec::{ShortString, TableBuf};

use crate::broker::exchange::{Binding, Destination, Exchange};
use crate::broker::ids::ExchangeId;
use crate::broker::snapshot::{BindingSnapshot, DestinationName};
use crate::broker::vhost::Vhost;

/// Which bindings are visited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BindingsOf {
    /// All there are.
    Vhost,
    /// Those that lead from this exchange.
    Source(ShortString),
    /// Those that lead to this queue or exchange.
    Destination(DestinationName),
    /// Those that lead from this exchange to this queue or exchange, with this key if there is one.
    Between(ShortString, DestinationName, Option<ShortString>),
}

/// A visit of bindings in steps, and how far it has come.
#[derive(Clone, Debug)]
pub struct BindingVisit {
    of: BindingsOf,
    /// The next queue of which the binding to the default exchange is due.
    queue_place: usize,
    /// The next exchange of all.
    exchange_place: usize,
    /// The next binding of its source.
    next: Bound<Binding>,
    /// The next binding of its destination.
    next_incoming: Bound<(ExchangeId, ShortString, TableBuf)>,
}

/// What a step sees, and how much of it there may still be.
struct Step<'a> {
    left: usize,
    found: &'a mut dyn FnMut(BindingSnapshot),
}

impl Step<'_> {
    /// Whether there is room for one more place or binding, which is counted.
    fn goes_on(&mut self) -> bool {
        let goes_on = self.left > 0;
        self.left = self.left.saturating_sub(1);
        goes_on
    }
}

impl BindingVisit {
    /// A visit that has not begun.
    pub fn new(of: BindingsOf) -> Self {
        BindingVisit {
            of,
            queue_place: 0,
            exchange_place: 0,
            next: Bound::Unbounded,
            next_incoming: Bound::Unbounded,
        }
    }
}

impl Vhost {
    /// All bindings as they are now, in the order of lists: for tests, as it takes as long as there are bindings.
    pub fn bindings(&self) -> Vec<BindingSnapshot> {
        let mut bindings = Vec::new();
        let mut visit = BindingVisit::new(BindingsOf::Vhost);
        self.visit_bindings(&mut visit, usize::MAX, &mut |binding| bindings.push(binding));
        bindings.sort();
        bindings
    }

    /// Goes on with a visit of bindings for at most so many places and bindings. Says whether there is more.
    ///
    /// A binding that comes meanwhile may be missing, one that goes may be there; none is met twice.
    pub fn visit_bindings(
        &self,
        visit: &mut BindingVisit,
        most: usize,
        found: &mut dyn FnMut(BindingSnapshot),
    ) -> bool {
        let step = &mut Step { left: most, found };
        match visit.of.clone() {
            BindingsOf::Vhost => {
                self.visit_implicit(visit, step) || self.visit_all_exchanges(visit, step)
            }
            BindingsOf::Source(source) if source.is_empty() => self.visit_implicit(visit, step),
            BindingsOf::Source(source) => self.visit_source(visit, &source, None, step),
            BindingsOf::Destination(destination) => {
                self.visit_destination(visit, &destination, step)
            }
            BindingsOf::Between(source, destination, key) if source.is_empty() => {
                let implicit = self.implicit(&destination);
                let is_asked = |it: &BindingSnapshot| key.is_none_or(|key| it.routing_key == key);
                implicit.filter(is_asked).into_iter().for_each(&mut *step.found);
                false
            }
            BindingsOf::Between(source, destination, key) => {
                let Some(end) = self.destination(&destination) else { return false };
                self.visit_source(visit, &source, Some(&(end, key)), step)
            }
        }
    }

    /// The bindings of the default exchange, one to every queue.
    fn visit_implicit(&self, visit: &mut BindingVisit, step: &mut Step<'_>) -> bool {
        while visit.queue_place < self.queue_places() {
            if !step.goes_on() {
                return true;
            }
            if let Some((_, name)) = self.queue_at(visit.queue_place) {
                (step.found)(implicit(name));
            }
            visit.queue_place += 1;
        }
        false
    }

    fn visit_all_exchanges(&self, visit: &mut BindingVisit, step: &mut Step<'_>) -> bool {
        while visit.exchange_place < self.exchanges.end() {
            let exchange = self.exchanges.at(visit.exchange_place);
            if let Some(exchange) = exchange.and_then(|id| self.exchanges.get(id))
                && self.visit_exchange(visit, exchange, None, step)
            {
                return true;
            }
            visit.exchange_place += 1;
            visit.next = Bound::Unbounded;
            if !step.goes_on() {
                return true;
            }
        }
        false
    }

    /// The bindings that lead from an exchange, to one destination and with one key if these are given.
    fn visit_source(
        &self,
        visit: &mut BindingVisit,
        source: &ShortString,
        to: Option<&(Destination, Option<ShortString>)>,
        step: &mut Step<'_>,
    ) -> bool {
        let exchange = self.exchanges.find(source.as_bytes()).and_then(|id| self.exchanges.get(id));
        let Some(exchange) = exchange else { return false };
        self.visit_exchange(visit, exchange, to, step)
    }

    fn visit_exchange(
        &self,
        visit: &mut BindingVisit,
        exchange: &Exchange,
        to: Option<&(Destination, Option<ShortString>)>,
        step: &mut Step<'_>,
    ) -> bool {
        if let (Bound::Unbounded, Some((destination, key))) = (&visit.next, to) {
            let (key, arguments) = (key.clone().unwrap_or_default(), TableBuf::default());
            visit.next = Bound::Included(Binding { destination: *destination, key, arguments });
        }
        let is_asked = |binding: &Binding| {
            to.is_none_or(|(destination, key)| {
                binding.destination == *destination
                    && key.as_ref().is_none_or(|key| binding.key == *key)
            })
        };
        let mut last = None;
        let mut has_more = false;
        for binding in exchange.bindings_from(visit.next.as_ref()).take_while(|it| is_asked(it)) {
            if !step.goes_on() {
                has_more = true;
                break;
            }
            last = Some(binding);
            if let Some(destination) = self.destination_name(binding.destination) {
                (step.found)(BindingSnapshot {
                    source: exchange.name.clone(),
                    destination,
                    routing_key: binding.key.clone(),
                    arguments: binding.arguments.clone(),
                });
            }
        }
        if let Some(last) = last {
            visit.next = Bound::Excluded(last.clone());
        }
        has_more
    }

    /// The bindings that lead to a queue or an exchange.
    fn visit_destination(
        &self,
        visit: &mut BindingVisit,
        destination: &DestinationName,
        step: &mut Step<'_>,
    ) -> bool {
        if visit.queue_place == 0 {
            visit.queue_place = 1;
            self.implicit(destination).into_iter().for_each(&mut *step.found);
        }
        let incoming = match self.destination(destination) {
            None => return false,
            Some(Destination::Queue(id)) => self.queues.get(id).map(|queue| &queue.bindings),
            Some(Destination::Exchange(id)) => self.exchanges.get(id).map(|it| &it.incoming),
        };
        let Some(incoming) = incoming else { return false };
        let mut last = None;
        let mut has_more = false;
        for binding in incoming.range((visit.next_incoming.as_ref(), Bound::Unbounded)) {
            if !step.goes_on() {
                has_more = true;
                break;
            }
            last = Some(binding);
            let (source, key, arguments) = binding;
            if let Some(source) = self.exchanges.get(*source) {
                (step.found)(BindingSnapshot {
                    source: source.name.clone(),
                    destination: destination.clone(),
                    routing_key: key.clone(),
                    arguments: arguments.clone(),
                });
            }
        }
        if let Some(last) = last {
            visit.next_incoming = Bound::Excluded(last.clone());
        }
        has_more
    }

    /// The binding of the default exchange to a queue that is there.
    fn implicit(&self, destination: &DestinationName) -> Option<BindingSnapshot> {
        match destination {
            DestinationName::Queue(name) if self.has_queue(name.as_bytes()) => Some(implicit(name)),
            _ => None,
        }
    }

    fn destination(&self, name: &DestinationName) -> Option<Destination> {
        match name {
            DestinationName::Queue(name) => {
                self.queues.find(name.as_bytes()).map(Destination::Queue)
            }
            DestinationName::Exchange(name) => {
                self.exchanges.find(name.as_bytes()).map(Destination::Exchange)
            }
        }
    }

    fn destination_name(&self, destination: Destination) -> Option<DestinationName> {
        Some(match destination {
            Destination::Queue(id) => DestinationName::Queue(self.queues.get(id)?.name.clone()),
            Destination::Exchange(id) => {
                DestinationName::Exchange(self.exchanges.get(id)?.name.clone())
            }
        })
    }
}

fn implicit(queue: &ShortString) -> BindingSnapshot {
    BindingSnapshot {
        source: ShortString::default(),
        destination: DestinationName::Queue(queue.clone()),
        routing_key: queue.clone(),
        arguments: TableBuf::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::time::Time;
    use crate::broker::vhost::{Definition, VhostSettings};

    fn short(text: &str) -> ShortString {
        ShortString::truncated(text.as_bytes())
    }

    fn queue(name: &str) -> Definition {
        Definition::Queue {
            name: short(name),
            durable: false,
            auto_delete: false,
            arguments: TableBuf::default(),
        }
    }

    fn binding(source: &str, (to_queue, destination): (bool, &str), key: &str) -> Definition {
        Definition::Binding {
            source: short(source),
            destination: short(destination),
            to_queue,
            routing_key: short(key),
            arguments: TableBuf::default(),
        }
    }

    fn define(vhost: &mut Vhost, definition: &Definition) {
        vhost.handle_definition(Time::EPOCH, definition).unwrap();
        vhost.finish_batch(Time::EPOCH);
    }

    /// Two queues, three exchanges, six bindings beside those of the default exchange.
    fn vhost() -> Vhost {
        let mut vhost = Vhost::new("/", &VhostSettings::default());
        for definition in [
            queue("a"),
            queue("b"),
            binding("amq.direct", (true, "a"), "1"),
            binding("amq.direct", (true, "a"), "2"),
            binding("amq.direct", (true, "b"), "1"),
            binding("amq.direct", (false, "amq.fanout"), "1"),
            binding("amq.topic", (true, "a"), "#"),
            binding("amq.topic", (false, "amq.fanout"), "#"),
        ] {
            define(&mut vhost, &definition);
        }
        vhost
    }

    /// What a visit in steps of one, two … places meets, sorted, as `source>destination:key`.
    fn met(vhost: &Vhost, of: &BindingsOf) -> Vec<String> {
        let met = |most| {
            let mut met = Vec::new();
            let mut visit = BindingVisit::new(of.clone());
            while vhost.visit_bindings(&mut visit, most, &mut |it| met.push(it)) {}
            met.sort();
            met
        };
        let whole = met(usize::MAX);
        assert!(*of != BindingsOf::Vhost || whole == vhost.bindings());
        for most in 1..5 {
            assert_eq!(met(most), whole, "in steps of {most}");
        }
        let text = |it: &BindingSnapshot| {
            format!("{}>{}:{}", it.source, it.destination.name(), it.routing_key)
        };
        whole.iter().map(text).collect()
    }

    #[test]
    fn a_visit_meets_what_is_asked_for() {
        let vhost = vhost();
        let to_queue = |name| DestinationName::Queue(short(name));
        let fanout = || DestinationName::Exchange(short("amq.fanout"));
        let between = |source, destination, key: Option<&str>| {
            BindingsOf::Between(short(source), destination, key.map(short))
        };
        for (of, expected) in [
            (
                BindingsOf::Vhost,
                &[
                    ">a:a",
                    ">b:b",
                    "amq.direct>amq.fanout:1",
                    "amq.direct>a:1",
                    "amq.direct>a:2",
                    "amq.direct>b:1",
                    "amq.topic>amq.fanout:#",
                    "amq.topic>a:#",
                ][..],
            ),
            (BindingsOf::Source(short("")), &[">a:a", ">b:b"]),
            (BindingsOf::Source(short("amq.topic")), &["amq.topic>amq.fanout:#", "amq.topic>a:#"]),
            (BindingsOf::Source(short("lost")), &[]),
            (
                BindingsOf::Destination(to_queue("a")),
                &[">a:a", "amq.direct>a:1", "amq.direct>a:2", "amq.topic>a:#"],
            ),
            (
                BindingsOf::Destination(fanout()),
                &["amq.direct>amq.fanout:1", "amq.topic>amq.fanout:#"],
            ),
            (BindingsOf::Destination(to_queue("lost")), &[]),
            (between("amq.direct", to_queue("a"), None), &["amq.direct>a:1", "amq.direct>a:2"]),
            (between("amq.direct", to_queue("a"), Some("2")), &["amq.direct>a:2"]),
            (between("amq.direct", to_queue("b"), Some("2")), &[]),
            (between("amq.topic", fanout(), None), &["amq.topic>amq.fanout:#"]),
            (between("", to_queue("a"), None), &[">a:a"]),
            (between("", to_queue("a"), Some("b")), &[]),
            (between("", to_queue("lost"), None), &[]),
        ] {
            assert_eq!(met(&vhost, &of), expected, "{of:?}");
        }
    }

    #[test]
    fn what_changes_between_two_steps_is_met_at_most_once() {
        let mut vhost = vhost();
        let mut visit = BindingVisit::new(BindingsOf::Vhost);
        let mut met = Vec::new();
        let mut key = 0;
        while vhost.visit_bindings(&mut visit, 1, &mut |it| met.push(it)) {
            if key == 50 {
                continue;
            }
            for (source, queue) in [("amq.direct", "a"), ("amq.topic", "b")] {
                define(&mut vhost, &binding(source, (true, queue), &format!("new {key}")));
                let id = vhost.exchanges.find(source.as_bytes()).unwrap();
                let end = vhost.destination(&DestinationName::Queue(short(queue))).unwrap();
                let old = short(&format!("new {}", key / 2));
                vhost.unbind(id, end, old.as_short(), TableBuf::default().as_table());
            }
            key += 1;
        }
        let count = met.len();
        met.sort();
        met.dedup();
        assert_eq!(met.len(), count);
        // What was there all the time.
        for old in [("amq.direct", "1"), ("amq.direct", "2"), ("amq.topic", "#")] {
            let is_met =
                |it: &BindingSnapshot| it.source == short(old.0) && it.routing_key == short(old.1);
            assert!(met.iter().any(is_met), "{old:?}");
        }
    }
}
