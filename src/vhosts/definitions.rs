//! Definitions that go out: everything but messages, in RabbitMQ's JSON.

use std::collections::BTreeSet;

use super::Vhosts;
use super::registry::{
    PermissionRecord, PolicyRecord, Registry, TopicPermissionRecord, VhostRecord,
};
use crate::broker::policy::PolicyKind;
use crate::broker::snapshot::{BindingSnapshot, ExchangeSnapshot, QueueSnapshot};
use crate::broker::vhost::{BindingsOf, Vhost};
use crate::definitions::{
    BindingEntry, Definitions, DestinationType, ExchangeEntry, GlobalParameterEntry, Limits,
    ParameterEntry, PermissionEntry, PolicyEntry, QueueEntry, TopicPermissionEntry, UserEntry,
    VHOST_LIMITS, VhostEntry,
};
use crate::handle::{Peers, VhostHandle};
use crate::passwords::PasswordHash;

impl Vhosts {
    /// Everything but messages: of all virtual hosts, exclusive queues and what is predeclared left
    /// out.
    pub(crate) fn export(&self) -> Definitions {
        let mut definitions = Definitions {
            rabbit_version: Some(crate::broker::handshake::VERSION.to_owned()),
            rabbitmq_version: Some(crate::broker::handshake::VERSION.to_owned()),
            product_name: Some("leveret".to_owned()),
            product_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            ..Definitions::default()
        };
        self.read_registry(|registry| export_registry(registry, &mut definitions));
        for (name, handle) in self.running() {
            export_objects(&name, &handle, &mut definitions);
        }
        definitions
    }
}

fn export_registry(registry: &Registry, definitions: &mut Definitions) {
    for (name, user) in registry.users() {
        definitions.users.push(UserEntry {
            name: name.to_owned(),
            password_hash: user.password.as_ref().map(PasswordHash::to_base64),
            password: None,
            hashing_algorithm: user.password.as_ref().map(|it| it.algorithm_name().to_owned()),
            tags: user.tags.clone(),
            limits: user.limits.clone(),
        });
    }
    for (name, vhost) in registry.vhosts() {
        definitions.vhosts.push(VhostEntry {
            name: name.to_owned(),
            description: vhost.description.clone(),
            tags: vhost.tags.clone(),
            default_queue_type: vhost.default_queue_type.clone(),
            // rabbitmq: is not exported, though it is taken.
            tracing: None,
            protected_from_deletion: vhost.protected_from_deletion.then_some(true),
            limits: Limits::new(),
        });
        export_vhost(name, vhost, definitions);
    }
    let global = registry.global_parameters().iter();
    definitions.global_parameters.extend(
        global
            .map(|(name, value)| GlobalParameterEntry { name: name.clone(), value: value.clone() }),
    );
}

/// What is declared in a virtual host, read in steps.
fn export_objects(name: &str, handle: &VhostHandle, definitions: &mut Definitions) {
    let mut exchanges = Vec::new();
    let exchange = |vhost: &Vhost, _: Peers<'_>, place| {
        let found = vhost.exchange_at(place);
        let ours = found.filter(|(_, name)| !name.as_bytes().starts_with(b"amq."));
        ours.and_then(|(id, _)| vhost.exchange_by_id(id))
    };
    handle.visit_places(Vhost::exchange_places, exchange, |it| exchanges.push(it));
    exchanges.sort_by(|a, b| a.name.cmp(&b.name));
    definitions.exchanges.extend(exchanges.into_iter().map(|it| exchange_entry(name, it)));

    let (mut queues, mut exclusive) = (Vec::new(), BTreeSet::new());
    let queue = |vhost: &Vhost, _: Peers<'_>, place| {
        let (id, name) = vhost.queue_at(place)?;
        Some((name.clone(), vhost.queue_by_id(id)?))
    };
    handle.visit_places(Vhost::queue_places, queue, |(queue_name, queue)| {
        if queue.exclusive {
            exclusive.insert(queue_name);
        } else {
            queues.push(queue_entry(name, queue));
        }
    });
    queues.sort_by(|a, b| a.name.cmp(&b.name));
    definitions.queues.extend(queues);

    let mut bindings = Vec::new();
    handle.visit_bindings(BindingsOf::Vhost, |it| {
        let to_exclusive = it.destination.is_queue() && exclusive.contains(it.destination.name());
        if !it.source.is_empty() && !to_exclusive {
            bindings.push(it);
        }
    });
    bindings.sort_unstable();
    definitions.bindings.extend(bindings.into_iter().map(|it| binding_entry(name, it)));
}

fn export_vhost(name: &str, vhost: &VhostRecord, definitions: &mut Definitions) {
    let of = Some(name.to_owned());
    for (user, record) in &vhost.permissions {
        let PermissionRecord { configure, write, read } = record.clone();
        let (user, vhost) = (user.clone(), name.to_owned());
        definitions.permissions.push(PermissionEntry { user, vhost, configure, write, read });
    }
    for (user, exchanges) in &vhost.topic_permissions {
        for (exchange, record) in exchanges {
            let TopicPermissionRecord { write, read } = record.clone();
            let (user, vhost) = (user.clone(), name.to_owned());
            let exchange = exchange.clone();
            let entry = TopicPermissionEntry { user, vhost, exchange, write, read };
            definitions.topic_permissions.push(entry);
        }
    }
    let policy = |(policy, record): (&String, &PolicyRecord)| PolicyEntry {
        vhost: of.clone(),
        name: policy.clone(),
        pattern: record.pattern.clone(),
        apply_to: record.apply_to.clone(),
        definition: record.definition.clone(),
        priority: record.priority.clone(),
    };
    definitions.policies.extend(vhost.policy_records(PolicyKind::User).iter().map(policy));
    let operator = vhost.policy_records(PolicyKind::Operator).iter().map(policy);
    definitions.parameters.extend(operator.map(PolicyEntry::into_parameter));
    if !vhost.limits.is_empty() {
        definitions.parameters.push(ParameterEntry {
            vhost: of.clone(),
            component: VHOST_LIMITS.to_owned(),
            name: "limits".to_owned(),
            value: serde_json::json!(vhost.limits),
        });
    }
    for (component, parameters) in &vhost.parameters {
        let entry = |(name, value): (&String, &serde_json::Value)| ParameterEntry {
            vhost: of.clone(),
            component: component.clone(),
            name: name.clone(),
            value: value.clone(),
        };
        definitions.parameters.extend(parameters.iter().map(entry));
    }
}

fn exchange_entry(vhost: &str, exchange: ExchangeSnapshot) -> ExchangeEntry {
    ExchangeEntry {
        name: exchange.name,
        vhost: Some(vhost.to_owned()),
        kind: exchange.kind.to_owned(),
        durable: exchange.durable,
        auto_delete: exchange.auto_delete,
        internal: exchange.internal,
        arguments: exchange.arguments,
    }
}

fn queue_entry(vhost: &str, queue: QueueSnapshot) -> QueueEntry {
    QueueEntry {
        name: queue.name,
        vhost: Some(vhost.to_owned()),
        durable: queue.durable,
        auto_delete: queue.auto_delete,
        arguments: queue.arguments,
    }
}

fn binding_entry(vhost: &str, binding: BindingSnapshot) -> BindingEntry {
    let to_queue = binding.destination.is_queue();
    BindingEntry {
        source: binding.source.to_string(),
        vhost: Some(vhost.to_owned()),
        destination: binding.destination.name().to_string(),
        destination_type: if to_queue { DestinationType::Queue } else { DestinationType::Exchange },
        routing_key: binding.routing_key.to_string(),
        arguments: binding.arguments,
    }
}
