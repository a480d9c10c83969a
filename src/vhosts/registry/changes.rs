//! What was changed in a registry, as values that are kept.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::file::SavedUser;
use super::{
    PermissionRecord, PolicyRecord, Registry, RegistryError, TopicPermissionRecord, UserRecord,
    VhostRecord,
};
use crate::broker::policy::PolicyKind;
use crate::log_text::printable;
use crate::shared_map::SharedMap;

/// All that one write changed.
#[derive(Serialize, Deserialize)]
pub(in crate::vhosts) struct Changes {
    next_number: u64,
    changes: Vec<Change>,
}

/// One thing that was set, or taken away where no value is said.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Change {
    User {
        name: String,
        user: Option<SavedUser>,
    },
    /// With all that belongs to it.
    Vhost {
        name: String,
        record: Option<Box<VhostRecord>>,
    },
    VhostSettings {
        vhost: String,
        settings: VhostSettings,
    },
    Permission {
        vhost: String,
        user: String,
        record: Option<PermissionRecord>,
    },
    TopicPermission {
        vhost: String,
        user: String,
        exchange: String,
        record: Option<TopicPermissionRecord>,
    },
    Policy {
        vhost: String,
        name: String,
        record: Option<PolicyRecord>,
    },
    OperatorPolicy {
        vhost: String,
        name: String,
        record: Option<PolicyRecord>,
    },
    Parameter {
        vhost: String,
        component: String,
        name: String,
        value: Option<Value>,
    },
    GlobalParameter {
        name: String,
        value: Option<Value>,
    },
    /// The directory of a virtual host that was deleted is to be removed, or is gone.
    Directory {
        number: u64,
        is_deleting: bool,
    },
}

/// What a virtual host has beside what has a name of its own.
#[derive(PartialEq, Serialize, Deserialize)]
struct VhostSettings {
    description: String,
    tags: Vec<String>,
    default_queue_type: Option<String>,
    #[serde(default)]
    tracing: bool,
    #[serde(default)]
    protected_from_deletion: bool,
    limits: BTreeMap<String, i64>,
}

impl Changes {
    /// What makes a registry of one that it was copied from.
    pub(super) fn between(before: &Registry, now: &Registry) -> Self {
        let mut changes = Vec::new();
        for (name, user, _) in now.users.changes_since(&before.users) {
            let user = user.map(|user| SavedUser::new(name, user));
            changes.push(Change::User { name: name.to_owned(), user });
        }
        for (name, record, before) in now.vhosts.changes_since(&before.vhosts) {
            match (record, before) {
                (Some(record), Some(before)) if record.number() == before.number() => {
                    changes.extend(changes_of_vhost(name, before, record));
                }
                (record, _) => {
                    let record = record.cloned().map(Box::new);
                    changes.push(Change::Vhost { name: name.to_owned(), record });
                }
            }
        }
        for (name, value, _) in now.global_parameters.changes_since(&before.global_parameters) {
            let (name, value) = (name.to_owned(), value.cloned());
            changes.push(Change::GlobalParameter { name, value });
        }
        for &number in now.deleting.symmetric_difference(&before.deleting) {
            changes.push(Change::Directory { number, is_deleting: now.is_deleting(number) });
        }
        Changes { next_number: now.next_number, changes }
    }

    /// Whether nothing was changed.
    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// What was changed of users, virtual hosts, permissions and policies, in RabbitMQ's words, each in a line.
    pub(in crate::vhosts) fn describe(&self, before: &Registry) -> Vec<String> {
        let lines = self.changes.iter().flat_map(|change| change.describe(before));
        lines.map(|line| printable(&line)).collect()
    }

    /// Changes a registry in the same way.
    pub(super) fn apply(self, registry: &mut Registry) -> Result<(), RegistryError> {
        registry.next_number = self.next_number;
        self.changes.into_iter().try_for_each(|change| change.apply(registry))
    }
}

fn changes_of_vhost(name: &str, before: &VhostRecord, now: &VhostRecord) -> Vec<Change> {
    let vhost = || name.to_owned();
    let mut changes = Vec::new();
    let settings = VhostSettings::of(now);
    if settings != VhostSettings::of(before) {
        changes.push(Change::VhostSettings { vhost: vhost(), settings });
    }
    for (user, record, _) in now.permissions.changes_since(&before.permissions) {
        let (user, record) = (user.to_owned(), record.cloned());
        changes.push(Change::Permission { vhost: vhost(), user, record });
    }
    let topics = (&now.topic_permissions, &before.topic_permissions);
    changes.extend(nested(topics, |user, exchange, record| Change::TopicPermission {
        vhost: vhost(),
        user,
        exchange,
        record,
    }));
    for kind in [PolicyKind::User, PolicyKind::Operator] {
        let [now, before] = [now, before].map(|record| record.policy_records(kind));
        for (name, record, _) in now.changes_since(before) {
            let (vhost, name, record) = (vhost(), name.to_owned(), record.cloned());
            changes.push(match kind {
                PolicyKind::User => Change::Policy { vhost, name, record },
                PolicyKind::Operator => Change::OperatorPolicy { vhost, name, record },
            });
        }
    }
    changes.extend(nested((&now.parameters, &before.parameters), |component, name, value| {
        Change::Parameter { vhost: vhost(), component, name, value }
    }));
    changes
}

/// What was changed in maps that are values of a map.
fn nested<V: Clone + PartialEq>(
    (now, before): (&SharedMap<SharedMap<V>>, &SharedMap<SharedMap<V>>),
    change: impl Fn(String, String, Option<V>) -> Change,
) -> Vec<Change> {
    let none = SharedMap::default();
    let mut changes = Vec::new();
    for (outer, now, before) in now.changes_since(before) {
        for (inner, value, _) in now.unwrap_or(&none).changes_since(before.unwrap_or(&none)) {
            changes.push(change(outer.to_owned(), inner.to_owned(), value.cloned()));
        }
    }
    changes
}

impl VhostSettings {
    fn of(record: &VhostRecord) -> Self {
        VhostSettings {
            description: record.description.clone(),
            tags: record.tags.clone(),
            default_queue_type: record.default_queue_type.clone(),
            tracing: record.tracing,
            protected_from_deletion: record.protected_from_deletion,
            limits: record.limits.clone(),
        }
    }
}

impl Change {
    fn describe(&self, before: &Registry) -> Vec<String> {
        match self {
            Change::User { name, user } => describe_user(name, user.as_ref(), before.user(name)),
            Change::Vhost { name, record } => {
                let done = if record.is_some() { "Added" } else { "Deleted" };
                vec![format!("{done} vhost '{name}'")]
            }
            Change::Permission { vhost, user, record: Some(record) } => {
                let PermissionRecord { configure, write, read } = record;
                let to = format!("'{configure}', '{write}', '{read}'");
                vec![format!(
                    "Successfully set permissions for user '{user}' in virtual host '{vhost}' to {to}"
                )]
            }
            Change::Permission { vhost, user, record: None } => vec![format!(
                "Successfully cleared permissions for user '{user}' in virtual host '{vhost}'"
            )],
            Change::TopicPermission { vhost, user, exchange, record: Some(record) } => {
                let TopicPermissionRecord { write, read } = record;
                vec![format!(
                    "Successfully set topic permissions on exchange '{exchange}' for user '{user}' in \
                     virtual host '{vhost}' to '{write}', '{read}'"
                )]
            }
            Change::TopicPermission { vhost, user, exchange, record: None } => vec![format!(
                "Successfully cleared topic permissions on exchange '{exchange}' for user '{user}' in \
                 virtual host '{vhost}'"
            )],
            Change::Policy { vhost, name, record } => {
                vec![describe_policy("policy", vhost, name, record.is_some())]
            }
            Change::OperatorPolicy { vhost, name, record } => {
                vec![describe_policy("operator policy", vhost, name, record.is_some())]
            }
            Change::VhostSettings { .. }
            | Change::Parameter { .. }
            | Change::GlobalParameter { .. }
            | Change::Directory { .. } => Vec::new(),
        }
    }

    fn apply(self, registry: &mut Registry) -> Result<(), RegistryError> {
        match self {
            Change::User { name, user: Some(user) } => {
                registry.users.insert(name, user.record()?);
            }
            Change::User { name, user: None } => drop(registry.users.remove(&name)),
            Change::Vhost { name, record } => set(&mut registry.vhosts, name, record.map(|it| *it)),
            Change::GlobalParameter { name, value } => {
                set(&mut registry.global_parameters, name, value);
            }
            Change::Directory { number, is_deleting: true } => {
                registry.deleting.insert(number);
            }
            Change::Directory { number, is_deleting: false } => {
                registry.deleting.remove(&number);
            }
            Change::VhostSettings { ref vhost, .. }
            | Change::Permission { ref vhost, .. }
            | Change::TopicPermission { ref vhost, .. }
            | Change::Policy { ref vhost, .. }
            | Change::OperatorPolicy { ref vhost, .. }
            | Change::Parameter { ref vhost, .. } => {
                // invariant: it was there when this was changed.
                if let Some(record) = registry.vhosts.get_mut(vhost) {
                    self.apply_in(record);
                }
            }
        }
        Ok(())
    }

    /// One of something in a virtual host.
    fn apply_in(self, vhost: &mut VhostRecord) {
        match self {
            Change::VhostSettings { settings, .. } => {
                vhost.description = settings.description;
                vhost.tags = settings.tags;
                vhost.default_queue_type = settings.default_queue_type;
                vhost.tracing = settings.tracing;
                vhost.protected_from_deletion = settings.protected_from_deletion;
                vhost.limits = settings.limits;
            }
            Change::Permission { user, record, .. } => set(&mut vhost.permissions, user, record),
            Change::TopicPermission { user, exchange, record, .. } => {
                set_nested(&mut vhost.topic_permissions, &user, exchange, record);
            }
            Change::Policy { name, record, .. } => {
                set(vhost.policies_mut(PolicyKind::User), name, record);
            }
            Change::OperatorPolicy { name, record, .. } => {
                set(vhost.policies_mut(PolicyKind::Operator), name, record);
            }
            Change::Parameter { component, name, value, .. } => {
                set_nested(&mut vhost.parameters, &component, name, value);
            }
            Change::User { .. }
            | Change::Vhost { .. }
            | Change::GlobalParameter { .. }
            | Change::Directory { .. } => {}
        }
    }
}

fn set<V: Clone>(map: &mut SharedMap<V>, name: String, value: Option<V>) {
    match value {
        Some(value) => drop(map.insert(name, value)),
        None => drop(map.remove(&name)),
    }
}

/// An inner map that has nothing left goes.
fn set_nested<V: Clone>(
    map: &mut SharedMap<SharedMap<V>>,
    outer: &str,
    inner: String,
    value: Option<V>,
) {
    let named = map.get_or_default(outer);
    set(named, inner, value);
    if named.is_empty() {
        map.remove(outer);
    }
}

fn describe_user(name: &str, now: Option<&SavedUser>, before: Option<&UserRecord>) -> Vec<String> {
    let Some(now) = now else { return vec![format!("Deleted user '{name}'")] };
    let mut lines = Vec::new();
    match before {
        None => lines.push(format!("Created user '{name}'")),
        Some(before) if !now.has_password_of(before) => {
            lines.push(format!("Successfully changed password for user '{name}'"));
        }
        Some(_) => {}
    }
    if before.map_or(&[][..], |before| &before.tags) != now.tags() {
        let tags = now.tags().join(",");
        lines.push(format!("Successfully set user tags for user '{name}' to [{tags}]"));
    }
    lines
}

fn describe_policy(kind: &str, vhost: &str, name: &str, is_set: bool) -> String {
    let done = if is_set { "set" } else { "cleared" };
    format!("Successfully {done} {kind} '{name}' in virtual host '{vhost}'")
}
