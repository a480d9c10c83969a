//! Definitions that come in: checked whole, then applied whole.
//!
//! ```text
//!  definitions ─► registry: a copy that takes them ─► objects: virtual hosts of no use that take them ─► for real
//! ```
//!
//! What is wrong is found before anything is changed. Only what could not be foreseen (a virtual host that fails or
//! goes, memory that is used up meanwhile) leaves a part of them.

use std::collections::{BTreeMap, BTreeSet};

use leveret_codec::ShortString;

use super::registry::{
    PermissionRecord, PolicyRecord, Registry, TopicPermissionRecord, UserRecord, VhostRecord,
};
use super::{VhostError, Vhosts, salt};
use crate::broker::error::{Checked, Fault};
use crate::broker::limits::ClientLimits;
use crate::broker::policy::PolicyKind;
use crate::broker::time::Time;
use crate::broker::vhost::{Definition, Vhost, VhostSettings};
use crate::definitions::{
    BindingEntry, Definitions, DefinitionsError, DestinationType, ExchangeEntry,
    GlobalParameterEntry, OPERATOR_POLICY, PermissionEntry, PolicyEntry, QueueEntry,
    TopicPermissionEntry, UserEntry, VHOST_LIMITS,
};
use crate::handle::PLACES_A_HOLD;
use crate::passwords::{Algorithm, PasswordHash};

/// Why definitions were not taken.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// They make no sense.
    #[error(transparent)]
    Definitions(#[from] DefinitionsError),
    /// They name a virtual host that is not there.
    #[error("the definitions name a virtual host that is not there: {0}")]
    NoSuchVhost(String),
    /// They give permissions to a user that is not there.
    #[error("the definitions name a user that is not there: {0}")]
    NoSuchUser(String),
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
    /// rabbitmq: the same, without the check before; a queue that contradicts its definition is not touched, and
    /// a binding whose ends are not there is left out silently.
    pub(crate) fn import(&self, definitions: &Definitions) -> Result<(), ImportError> {
        let before = self.registry();
        let mut trial = Registry::clone(&before);
        import_registry(&mut trial, definitions)?;
        let objects = Objects::read(definitions)?;
        objects.check(&trial, &before, self.inner.resources.client_limits)?;
        note_unknown_keys(definitions);
        self.check_running(&trial, &objects)?;
        self.try_write_registry(|registry| import_registry(registry, definitions))?;
        self.import_objects(&objects)?;
        log_import(definitions);
        Ok(())
    }

    /// Brings exchanges, queues and bindings into being.
    pub(super) fn import_objects(&self, objects: &Objects) -> Result<(), ImportError> {
        for (vhost, definition) in &objects.0 {
            let no_vhost = || ImportError::NoSuchVhost(vhost.clone());
            let handle = self.vhost(vhost).ok_or_else(no_vhost)?;
            let result = handle.write(|vhost, now| vhost.handle_definition(now, definition));
            accepted(definition, result.ok_or_else(no_vhost)?)?;
        }
        Ok(())
    }

    /// Whether the virtual hosts that are there already would take them.
    fn check_running(&self, registry: &Registry, objects: &Objects) -> Result<(), ImportError> {
        for (name, queues) in objects.queues() {
            let Some(vhost) = self.vhost(name) else {
                if self.registry().vhost(name).is_some() {
                    return Err(ImportError::NoSuchVhost(name.to_owned()));
                }
                continue;
            };
            let max = registry.vhost(name).and_then(|it| it.limit("max-queues"));
            let mut count = vhost.read(Vhost::snapshot).queues as u64;
            for queues in queues.chunks(PLACES_A_HOLD) {
                let is_new =
                    |vhost: &Vhost, queue: &ShortString| !vhost.has_queue(queue.as_bytes());
                count +=
                    vhost.read(|it| queues.iter().filter(|queue| is_new(it, queue)).count()) as u64;
                if let Some(max) = max.filter(|max| count > *max) {
                    let fault =
                        Fault::QueueLimit { name: queues[0].clone(), vhost: name.to_owned(), max };
                    return Err(invalid(format!("queue '{}'", queues[0]), fault));
                }
            }
        }
        Ok(())
    }
}

/// Exchanges, queues and bindings that definitions name, each with its virtual host, in the order in which they can
/// come into being.
pub(super) struct Objects(Vec<(String, Definition)>);

impl Objects {
    pub(super) fn read(definitions: &Definitions) -> Result<Self, ImportError> {
        let mut objects = Vec::new();
        for entry in &definitions.exchanges {
            if !is_reserved(&entry.vhost, "exchange", &entry.name) {
                objects.push((entry.vhost.as_ref(), exchange_definition(entry)?));
            }
        }
        for entry in &definitions.queues {
            if !is_reserved(&entry.vhost, "queue", &entry.name) {
                objects.push((entry.vhost.as_ref(), queue_definition(entry)?));
            }
        }
        for entry in &definitions.bindings {
            objects.push((entry.vhost.as_ref(), binding_definition(entry)?));
        }
        let with_vhost = |(vhost, definition): (Option<&String>, Definition)| match vhost {
            Some(vhost) => Ok((vhost.clone(), definition)),
            None => Err(invalid(what(&definition), NO_VHOST)),
        };
        objects.into_iter().map(with_vhost).collect::<Result<_, _>>().map(Objects)
    }

    /// Whether new virtual hosts would take them, where `registry` is what becomes of the one `before`.
    pub(super) fn check(
        &self,
        registry: &Registry,
        before: &Registry,
        limits: ClientLimits,
    ) -> Result<(), ImportError> {
        let mut trials = BTreeMap::new();
        for (vhost, definition) in &self.0 {
            let record = registry.vhost(vhost);
            let record = record.ok_or_else(|| ImportError::NoSuchVhost(vhost.clone()))?;
            let trial = trials.entry(vhost).or_insert_with(|| {
                let settings = VhostSettings { limits, ..VhostSettings::default() };
                let mut trial = Vhost::new(vhost, &settings);
                if before.vhost(vhost).is_none() {
                    trial.handle_max_queues(Time::EPOCH, record.limit("max-queues"));
                }
                trial
            });
            accepted(definition, trial.handle_definition(Time::EPOCH, definition))?;
        }
        Ok(())
    }

    /// The virtual hosts, each with the names of its queues.
    fn queues(&self) -> BTreeMap<&str, Vec<ShortString>> {
        let mut vhosts = BTreeMap::<_, BTreeSet<_>>::new();
        for (vhost, definition) in &self.0 {
            let queues = vhosts.entry(vhost.as_str()).or_default();
            if let Definition::Queue { name, .. } = definition {
                queues.insert(name.clone());
            }
        }
        vhosts.into_iter().map(|(vhost, queues)| (vhost, queues.into_iter().collect())).collect()
    }
}

/// What is wrong with something that is in no virtual host.
const NO_VHOST: &str = "it names no virtual host";

/// rabbitmq: names of the broker's own are left out with a warning. The predeclared ones are there anyway.
fn is_reserved(vhost: &Option<String>, kind: &str, name: &str) -> bool {
    let is_reserved = name.starts_with("amq.");
    if is_reserved {
        let vhost = vhost.as_deref().unwrap_or_default();
        tracing::warn!(
            vhost,
            "the {kind} '{name}' of the definitions is left out: its name is reserved"
        );
    }
    is_reserved
}

pub(super) fn log_import(definitions: &Definitions) {
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

/// How many unknown keys the log names.
const NOTED_KEYS: usize = 20;

/// What is misspelt has no effect, which somebody should hear of.
pub(super) fn note_unknown_keys(definitions: &Definitions) {
    for key in definitions.unknown_keys.iter().take(NOTED_KEYS) {
        tracing::warn!("the definitions have {key}, which is not known and has no effect");
    }
}

fn accepted(definition: &Definition, result: Checked<()>) -> Result<(), ImportError> {
    match (result, definition) {
        (Err(fault), Definition::Binding { .. }) if matches!(*fault, Fault::NotFound(_)) => Ok(()),
        (result, _) => result.map_err(|fault| invalid(what(definition), fault)),
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

pub(super) fn import_registry(
    registry: &mut Registry,
    definitions: &Definitions,
) -> Result<(), ImportError> {
    for user in &definitions.users {
        import_user(registry, definitions, user)?;
    }
    for vhost in &definitions.vhosts {
        registry.add_vhost(&vhost.name);
        let record = existing_vhost(registry, &vhost.name)?;
        record.description.clone_from(&vhost.description);
        record.tags.clone_from(&vhost.tags);
        record.default_queue_type.clone_from(&vhost.default_queue_type);
        record.tracing = vhost.tracing.unwrap_or(record.tracing);
        let is_protected = vhost.protected_from_deletion;
        record.protected_from_deletion = is_protected.unwrap_or(record.protected_from_deletion);
        record.limits.extend(vhost.limits.clone());
    }
    for entry in &definitions.permissions {
        existing_vhost(registry, &entry.vhost)?;
        existing_user(registry, &entry.user)?;
        let PermissionEntry { user, vhost, configure, write, read } = entry.clone();
        let record = PermissionRecord { configure, write, read };
        registry
            .set_permissions(&vhost, &user, record)
            .map_err(|error| invalid(format!("permission of '{user}' in '{vhost}'"), error))?;
    }
    for entry in &definitions.topic_permissions {
        existing_vhost(registry, &entry.vhost)?;
        existing_user(registry, &entry.user)?;
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
        vhost_of(registry, vhost.as_deref(), || "a limit".to_owned())?.limits.extend(limits);
    }
    for entry in &definitions.parameters {
        let what = || format!("parameter '{}'", entry.name);
        let vhost = vhost_of(registry, entry.vhost.as_deref(), what)?;
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
    let what = || format!("policy '{name}'");
    let set = vhost_of(registry, vhost.as_deref(), what)?.set_policy(kind, &name, record);
    set.map_err(|error| invalid(what(), error.reasons.join("; ")))?;
    Ok(())
}

/// The virtual host of something in definitions.
fn vhost_of<'a>(
    registry: &'a mut Registry,
    vhost: Option<&str>,
    what: impl FnOnce() -> String,
) -> Result<&'a mut VhostRecord, ImportError> {
    let Some(name) = vhost else { return Err(invalid(what(), NO_VHOST)) };
    existing_vhost(registry, name)
}

fn existing_vhost<'a>(
    registry: &'a mut Registry,
    name: &str,
) -> Result<&'a mut VhostRecord, ImportError> {
    registry.vhost_mut(name).ok_or_else(|| ImportError::NoSuchVhost(name.to_owned()))
}

/// rabbitmq: only users of its own have permissions.
fn existing_user(registry: &Registry, user: &str) -> Result<(), ImportError> {
    if registry.may_have_permissions(user) {
        return Ok(());
    }
    Err(ImportError::NoSuchUser(user.to_owned()))
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
