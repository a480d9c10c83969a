//! Definitions in and out: everything but messages, in RabbitMQ's JSON.

use std::collections::BTreeSet;

use leveret_codec::ShortString;

use super::{PermissionRecord, UserRecord, VhostError, Vhosts, salt};
use crate::broker::error::Fault;
use crate::broker::policy::PolicyKind;
use crate::broker::snapshot::{BindingSnapshot, ExchangeSnapshot, QueueSnapshot};
use crate::broker::vhost::{BindingsOf, Definition, Vhost};
use crate::definitions::{
    BindingEntry, Definitions, DefinitionsError, DestinationType, ExchangeEntry,
    GlobalParameterEntry, Limits, OPERATOR_POLICY, ParameterEntry, PermissionEntry, PolicyEntry,
    QueueEntry, TopicPermissionEntry, UserEntry, VHOST_LIMITS, VhostEntry,
};
use crate::handle::{Peers, VhostHandle};
use crate::passwords::{Algorithm, PasswordHash};
use crate::vhosts::registry::{PolicyRecord, Registry, TopicPermissionRecord, VhostRecord};

/// Why definitions were not taken, or not wholly.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// They make no sense.
    #[error(transparent)]
    Definitions(#[from] DefinitionsError),
    /// They name a virtual host that is not there.
    #[error("the definitions name a virtual host that is not there: {0}")]
    NoSuchVhost(String),
    /// Something in them is not as it should be.
    #[error("{what} of the definitions: {why}")]
    Invalid {
        /// The user, policy, queue …
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// They could not be kept.
    #[error(transparent)]
    Vhost(#[from] VhostError),
}

impl Vhosts {
    /// Brings everything into being that the definitions name. What is there already is left as it
    /// is, users, permissions, policies and parameters are set.
    ///
    /// rabbitmq: the same; a queue that contradicts its definition is not touched, and a binding
    /// whose ends are not there is left out silently.
    pub(crate) fn import(&self, definitions: &Definitions) -> Result<(), ImportError> {
        for vhost in &definitions.vhosts {
            self.create_vhost(&vhost.name)?;
        }
        self.write_registry(|registry| import_registry(registry, definitions))??;
        for exchange in &definitions.exchanges {
            self.define(exchange.vhost.as_deref(), &exchange_definition(exchange)?)?;
        }
        for queue in &definitions.queues {
            self.define(queue.vhost.as_deref(), &queue_definition(queue)?)?;
        }
        for binding in &definitions.bindings {
            self.define(binding.vhost.as_deref(), &binding_definition(binding)?)?;
        }
        log_import(definitions);
        Ok(())
    }

    fn define(&self, vhost: Option<&str>, definition: &Definition) -> Result<(), ImportError> {
        let vhost = vhost.unwrap_or("/");
        let Some(handle) = self.vhost(vhost) else {
            return Err(ImportError::NoSuchVhost(vhost.to_owned()));
        };
        let result = handle.write(|vhost, now| vhost.handle_definition(now, definition));
        match (result, definition) {
            (None, _) => Err(ImportError::NoSuchVhost(vhost.to_owned())),
            (Some(Ok(())), _) => Ok(()),
            (Some(Err(fault)), Definition::Binding { .. })
                if matches!(*fault, Fault::NotFound(_)) =>
            {
                Ok(())
            }
            (Some(Err(fault)), _) => Err(invalid(what(definition), fault)),
        }
    }

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

fn invalid(what: impl Into<String>, why: impl std::fmt::Display) -> ImportError {
    ImportError::Invalid { what: what.into(), why: why.to_string() }
}

fn what(definition: &Definition) -> String {
    match definition {
        Definition::Exchange { name, .. } => format!("exchange '{name}'"),
        Definition::Queue { name, .. } => format!("queue '{name}'"),
        Definition::Binding { source, destination, .. } => {
            format!("binding '{source}' to '{destination}'")
        }
    }
}

fn log_import(definitions: &Definitions) {
    tracing::info!(
        users = definitions.users.len(),
        vhosts = definitions.vhosts.len(),
        permissions = definitions.permissions.len(),
        policies = definitions.policies.len(),
        exchanges = definitions.exchanges.len(),
        queues = definitions.queues.len(),
        bindings = definitions.bindings.len(),
        "definitions were imported"
    );
}

fn import_registry(registry: &mut Registry, definitions: &Definitions) -> Result<(), ImportError> {
    for user in &definitions.users {
        import_user(registry, definitions, user)?;
    }
    for vhost in &definitions.vhosts {
        let record = existing(registry, Some(&vhost.name))?;
        record.description.clone_from(&vhost.description);
        record.tags.clone_from(&vhost.tags);
        record.default_queue_type.clone_from(&vhost.default_queue_type);
        record.limits.extend(vhost.limits.clone());
    }
    for entry in &definitions.permissions {
        existing(registry, Some(&entry.vhost))?;
        let PermissionEntry { user, vhost, configure, write, read } = entry.clone();
        let record = PermissionRecord { configure, write, read };
        registry
            .set_permissions(&vhost, &user, record)
            .map_err(|error| invalid(format!("permission of '{user}' in '{vhost}'"), error))?;
    }
    for entry in &definitions.topic_permissions {
        existing(registry, Some(&entry.vhost))?;
        let TopicPermissionEntry { user, vhost, exchange, write, read } = entry.clone();
        let record = TopicPermissionRecord { write, read };
        registry.set_topic_permissions(&vhost, &user, &exchange, record).map_err(|error| {
            invalid(format!("topic permission of '{user}' in '{vhost}'"), error)
        })?;
    }
    for policy in &definitions.policies {
        import_policy(registry, PolicyKind::User, policy)?;
    }
    for policy in definitions.operator_policies()? {
        import_policy(registry, PolicyKind::Operator, &policy)?;
    }
    for (vhost, limits) in definitions.vhost_limits()? {
        existing(registry, vhost.as_deref())?.limits.extend(limits);
    }
    for entry in &definitions.parameters {
        let vhost = existing(registry, entry.vhost.as_deref())?;
        if ![OPERATOR_POLICY, VHOST_LIMITS].contains(&entry.component.as_str()) {
            let component = vhost.parameters.get_or_default(&entry.component);
            component.insert(entry.name.clone(), entry.value.clone());
        }
    }
    for GlobalParameterEntry { name, value } in &definitions.global_parameters {
        registry.global_parameters_mut().insert(name.clone(), value.clone());
    }
    Ok(())
}

fn import_user(
    registry: &mut Registry,
    definitions: &Definitions,
    user: &UserEntry,
) -> Result<(), ImportError> {
    let password = match (&user.password_hash, &user.password) {
        (Some(hash), _) => {
            let what = || format!("user '{}'", user.name);
            let name = definitions.hashing_algorithm(user);
            let algorithm = Algorithm::from_name(name)
                .ok_or_else(|| invalid(what(), format!("unknown hashing algorithm '{name}'")))?;
            let parsed = PasswordHash::parse(hash, algorithm);
            Some(parsed.map_err(|error| invalid(what(), error))?)
        }
        (None, Some(password)) => Some(PasswordHash::new(password.as_bytes(), salt())),
        (None, None) => None,
    };
    let record = UserRecord { password, tags: user.tags.clone(), limits: user.limits.clone() };
    registry.set_user(&user.name, record);
    Ok(())
}

fn import_policy(
    registry: &mut Registry,
    kind: PolicyKind,
    policy: &PolicyEntry,
) -> Result<(), ImportError> {
    let PolicyEntry { vhost, name, pattern, apply_to, definition, priority } = policy.clone();
    let record = PolicyRecord { pattern, apply_to, priority, definition };
    let set = existing(registry, vhost.as_deref())?.set_policy(kind, &name, record);
    set.map_err(|error| invalid(format!("policy '{name}'"), error.reasons.join("; ")))?;
    Ok(())
}

fn existing<'a>(
    registry: &'a mut Registry,
    vhost: Option<&str>,
) -> Result<&'a mut VhostRecord, ImportError> {
    let name = vhost.unwrap_or("/");
    registry.vhost_mut(name).ok_or_else(|| ImportError::NoSuchVhost(name.to_owned()))
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
        priority: record.priority,
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

fn short(text: &str, place: &str) -> Result<ShortString, ImportError> {
    ShortString::new(text.as_bytes())
        .map_err(|_| invalid(place, format!("'{text}' is longer than 255 bytes")))
}

fn exchange_definition(entry: &ExchangeEntry) -> Result<Definition, ImportError> {
    Ok(Definition::Exchange {
        name: short(&entry.name, "an exchange")?,
        kind: short(&entry.kind, "an exchange")?,
        durable: entry.durable,
        auto_delete: entry.auto_delete,
        internal: entry.internal,
        arguments: entry.arguments.clone(),
    })
}

fn queue_definition(entry: &QueueEntry) -> Result<Definition, ImportError> {
    Ok(Definition::Queue {
        name: short(&entry.name, "a queue")?,
        durable: entry.durable,
        auto_delete: entry.auto_delete,
        arguments: entry.arguments.clone(),
    })
}

fn binding_definition(entry: &BindingEntry) -> Result<Definition, ImportError> {
    Ok(Definition::Binding {
        source: short(&entry.source, "a binding")?,
        destination: short(&entry.destination, "a binding")?,
        to_queue: entry.destination_type == DestinationType::Queue,
        routing_key: short(&entry.routing_key, "a binding")?,
        arguments: entry.arguments.clone(),
    })
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
