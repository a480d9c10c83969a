//! What the registry holds, as it was said and as it is kept.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

use crate::broker::policy::{InvalidPolicy, Policy, PolicyKind, PolicySet};
use crate::definitions::policy_value;
use crate::passwords::PasswordHash;
use crate::shared_map::SharedMap;

/// A user.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct UserRecord {
    /// How its password is recognised; without one it cannot log in.
    pub password: Option<PasswordHash>,
    /// What it may do beside AMQP: `administrator`, `monitoring`, `management` …
    pub tags: Vec<String>,
    /// `max-connections`, `max-channels`.
    pub limits: BTreeMap<String, i64>,
}

impl UserRecord {
    /// A limit, if it is set; RabbitMQ's negative ones mean none.
    pub(crate) fn limit(&self, name: &str) -> Option<u64> {
        self.limits.get(name).and_then(|limit| u64::try_from(*limit).ok())
    }
}

/// The three patterns of a user in a virtual host, as they were written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PermissionRecord {
    /// What it may declare and delete.
    pub configure: String,
    /// What it may publish to and bind.
    pub write: String,
    /// What it may consume from and bind to.
    pub read: String,
}

impl PermissionRecord {
    /// The right to do everything.
    pub(crate) fn all() -> Self {
        let [configure, write, read] = [(); 3].map(|()| ".*".to_owned());
        PermissionRecord { configure, write, read }
    }
}

/// The patterns of a user for the routing keys of a topic exchange.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TopicPermissionRecord {
    /// What it may publish.
    pub write: String,
    /// What it may bind.
    pub read: String,
}

/// A policy or operator policy, as it was written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct PolicyRecord {
    /// Which names it matches.
    pub pattern: String,
    /// What it applies to: `queues`, `exchanges`, `all` …
    #[serde(rename = "apply-to")]
    pub apply_to: String,
    /// Of several that match the highest applies.
    pub priority: Number,
    /// What it says.
    pub definition: serde_json::Map<String, Value>,
}

/// A virtual host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct VhostRecord {
    number: u64,
    /// What it is for, in words.
    #[serde(default)]
    pub description: String,
    /// Labels.
    #[serde(default)]
    pub tags: Vec<String>,
    /// The type of queues declared without one.
    #[serde(default)]
    pub default_queue_type: Option<String>,
    /// Whether messages in it are traced.
    #[serde(default)]
    pub tracing: bool,
    /// Whether it is not to be deleted.
    #[serde(default)]
    pub protected_from_deletion: bool,
    /// `max-connections`, `max-queues`.
    #[serde(default)]
    pub limits: BTreeMap<String, i64>,
    /// By user.
    #[serde(default)]
    pub permissions: SharedMap<PermissionRecord>,
    /// By user and exchange.
    #[serde(default)]
    pub topic_permissions: SharedMap<SharedMap<TopicPermissionRecord>>,
    /// By name.
    #[serde(default)]
    policies: SharedMap<PolicyRecord>,
    /// By name.
    #[serde(default)]
    operator_policies: SharedMap<PolicyRecord>,
    /// By component and name.
    #[serde(default)]
    pub parameters: SharedMap<SharedMap<Value>>,
}

impl VhostRecord {
    pub(super) fn new(number: u64) -> Self {
        VhostRecord { number, ..VhostRecord::default() }
    }

    /// A number that no other virtual host ever had.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn set_number(&mut self, number: u64) {
        self.number = number;
    }

    /// Where its store is in the data directory.
    ///
    /// why: a number and not the name, which may be anything.
    pub(crate) fn directory(&self) -> String {
        format!("{}/{}", crate::vhosts::VHOSTS, self.number)
    }

    /// A limit, if it is set; RabbitMQ's negative ones mean none.
    pub(crate) fn limit(&self, name: &str) -> Option<u64> {
        self.limits.get(name).and_then(|limit| u64::try_from(*limit).ok())
    }

    /// The policies of one kind as they were written, by name.
    pub(crate) fn policy_records(&self, kind: PolicyKind) -> &SharedMap<PolicyRecord> {
        match kind {
            PolicyKind::User => &self.policies,
            PolicyKind::Operator => &self.operator_policies,
        }
    }

    /// Whether its policies are those of another.
    pub(in crate::vhosts) fn has_policies_of(&self, other: &VhostRecord) -> bool {
        self.policies == other.policies && self.operator_policies == other.operator_policies
    }

    /// Sets a policy. Says whether it is new.
    ///
    /// # Errors
    /// With RabbitMQ's words, when it makes no sense.
    pub(crate) fn set_policy(
        &mut self,
        kind: PolicyKind,
        name: &str,
        record: PolicyRecord,
    ) -> Result<bool, InvalidPolicy> {
        record.policy(kind, name)?;
        Ok(self.policies_mut(kind).insert(name.to_owned(), record).is_none())
    }

    /// Takes a policy away. Says whether it was there.
    pub(crate) fn remove_policy(&mut self, kind: PolicyKind, name: &str) -> bool {
        self.policies_mut(kind).remove(name).is_some()
    }

    /// The policies as the core takes them.
    pub(crate) fn policies(&self) -> PolicySet {
        let mut set = PolicySet::default();
        for kind in [PolicyKind::User, PolicyKind::Operator] {
            for (name, record) in self.policy_records(kind) {
                // invariant: they were checked when they were set.
                if let Ok(policy) = record.policy(kind, name) {
                    set.set(kind, policy);
                }
            }
        }
        set
    }

    pub(super) fn policies_mut(&mut self, kind: PolicyKind) -> &mut SharedMap<PolicyRecord> {
        match kind {
            PolicyKind::User => &mut self.policies,
            PolicyKind::Operator => &mut self.operator_policies,
        }
    }
}

impl PolicyRecord {
    fn policy(&self, kind: PolicyKind, name: &str) -> Result<Policy, InvalidPolicy> {
        let entries = self.definition.iter().map(|(key, value)| (key.clone(), policy_value(value)));
        let apply_to = Some(self.apply_to.as_str());
        let priority = self.priority.as_f64().unwrap_or_default();
        Policy::parse(kind, name, &self.pattern, apply_to, priority, entries)
    }
}
