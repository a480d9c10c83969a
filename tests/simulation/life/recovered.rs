//! What came back after a start, beside what should.

use std::collections::BTreeSet;

use leveret::broker::record::{
    BindingDefinition, BoundTo, DurableQueueId, Recovered, RecoveredQueue,
};
use leveret::broker::time::Time;

use super::super::model::{
    Binding, Content, Copy, Destination, Durable, KEYS, MATCHES, PATTERNS, exchange_kind, kind,
    table,
};
use super::Moment;

/// What came back is exactly this, but for the order of queues and whether what was delivered is
/// known to be.
pub(super) fn check_same(recovered: &Recovered, durable: &Durable) -> Durable {
    let found = found(recovered, &[durable]);
    let without_marks = |durable: &Durable| {
        let mut durable = durable.clone();
        for copy in durable.queues.values_mut().flatten() {
            (copy.delivered, copy.delivered_told) = (false, false);
        }
        durable
    };
    assert_eq!(without_marks(&found), without_marks(durable), "what came back");
    for (name, copies) in &found.queues {
        for (copy, kept) in copies.iter().zip(&durable.queues[name]) {
            let body = copy.body();
            assert!(!copy.delivered || kept.delivered, "{body} was not delivered before");
            assert!(copy.delivered || !kept.delivered_told, "{body} was delivered before");
        }
    }
    found
}

/// What came back is what was there before a step, or after it, or something on the way.
pub(super) fn check_between(recovered: &Recovered, before: &Durable, after: &Moment) -> Durable {
    let found = found(recovered, &[before, &after.durable, &after.entered]);
    let after = &after.durable;
    for name in before.queues.keys().filter(|name| after.queues.contains_key(*name)) {
        assert!(found.queues.contains_key(name), "{name} is gone");
        for copy in &before.queues[name] {
            let stays = after.queues[name].iter().any(|it| it.body() == copy.body());
            let here = found.queues[name].iter().any(|it| it.body() == copy.body());
            assert!(here || !stays, "{} is gone", copy.body());
        }
    }
    let bodies = |durable: &Durable| -> BTreeSet<String> {
        durable.queues.values().flatten().map(|copy| copy.body().to_owned()).collect()
    };
    let lost = &(&bodies(before) & &bodies(after)) - &bodies(&found);
    assert!(lost.is_empty(), "{lost:?} got lost on the way from queue to queue");
    check_subset("exchanges", &found.exchanges, &before.exchanges, &after.exchanges);
    check_subset("bindings", &found.bindings, &before.bindings, &after.bindings);
    found
}

/// All that was there before and after is there, and nothing that never was.
fn check_subset<T: Ord + Clone>(
    what: &str,
    found: &BTreeSet<T>,
    before: &BTreeSet<T>,
    after: &BTreeSet<T>,
) {
    assert!(found.is_superset(&(before & after)), "{what} are gone");
    assert!(found.is_subset(&(before | after)), "{what} came back");
}

/// What came back, in the words of the model: each message as the model knows it from somewhere.
fn found(recovered: &Recovered, somewhere: &[&Durable]) -> Durable {
    let mut found = Durable::default();
    let mut ids = Vec::new();
    for queue in &recovered.queues {
        let held_by = queue.definition.arguments.as_table().find(b"x-delayed-exchange");
        let held_by = held_by.map(|name| exchange_named(name.as_bytes().expect("a name")));
        let name = held_by.unwrap_or_else(|| kind(&queue.definition.name.to_string()).name);
        ids.push((queue.definition.id, name));
        found.queues.insert(name, found_messages(name, queue, somewhere));
    }
    for exchange in &recovered.exchanges {
        found.exchanges.insert(exchange_kind(&exchange.name.to_string()).name);
    }
    found.bindings = recovered.bindings.iter().map(|it| found_binding(it, &ids)).collect();
    found
}

fn found_messages(name: &'static str, queue: &RecoveredQueue, somewhere: &[&Durable]) -> Vec<Copy> {
    let mut copies: Vec<Copy> = Vec::new();
    for message in &queue.messages {
        let content = Content::of(&message.message);
        let returns = queue.returns.iter().find(|(position, _)| *position == message.position);
        let returns = returns.map_or(0, |(_, returns)| *returns);
        // A crash in the middle of a dead-lettering may leave a message twice.
        let is_new = |copy: &Copy| copies.iter().all(|it| it.sequence != copy.sequence);
        let all = somewhere.iter().filter_map(|durable| durable.queues.get(name)).flatten();
        let mut same = all.filter(|copy| copy.content.is_like(&content) && is_new(copy));
        let copy = same.find(|copy| copy.returns_kept == returns).cloned();
        let copy =
            copy.unwrap_or_else(|| panic!("{content:?}, returned {returns} times, to {name}"));
        let through = queue.delivered.iter().find(|(of, _)| *of == copy.priority);
        let delivered =
            returns > 0 || through.is_some_and(|(_, through)| message.position <= *through);
        assert_eq!(message.expires_at, copy.expires_at.map(Time::from_millis), "{}", copy.body());
        copies.push(Copy { delivered, delivered_told: delivered, ..copy });
    }
    let rising = copies.windows(2).all(|pair| pair[0].sequence < pair[1].sequence);
    assert!(rising, "{name} came back in another order: {copies:?}");
    copies
}

fn exchange_named(name: &[u8]) -> &'static str {
    exchange_kind(std::str::from_utf8(name).expect("a name of ours")).name
}

fn found_binding(binding: &BindingDefinition, ids: &[(DurableQueueId, &'static str)]) -> Binding {
    let destination = match &binding.destination {
        BoundTo::Queue(id) => {
            let (_, name) = ids.iter().find(|(known, _)| known == id).expect("bound to a queue");
            Destination::Queue(name)
        }
        BoundTo::Exchange(name) => Destination::Exchange(exchange_kind(&name.to_string()).name),
    };
    let (source, key) = (binding.source.to_string(), binding.routing_key.to_string());
    let key = KEYS.iter().chain(PATTERNS).find(|it| **it == key).expect("one of ours");
    let arguments = MATCHES.iter().find(|it| table(it) == binding.arguments);
    let arguments = arguments.expect("some of ours");
    Binding { source: exchange_kind(&source).name, destination, key, arguments }
}
