//! Definitions: users, virtual hosts and what is in them, in the JSON that RabbitMQ writes and
//! reads.
//!
//! - [`Definitions::parse`] reads what RabbitMQ of any version exported, of a whole broker or of one
//!   virtual host, or a part of it.
//! - [`Definitions::to_json`] and [`Definitions::vhost_json`] write the two forms.
//! - [`field_table`] is the arguments' JSON.
//!
//! What this module deliberately is not: it brings nothing into being and does not look whether a
//! virtual host or a user exists. Values that the broker checks, patterns and what policies say,
//! are taken as they are; [`PolicyEntry::to_policy`] and
//! [`PermissionEntry::to_permissions`] check them.
//!
//! Unknown fields are left out, so that definitions of a newer RabbitMQ can be read; [`Definitions::unknown_keys`]
//! names them.

pub mod field_table;

mod read;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use leveret_codec::TableBuf;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};

use crate::broker::access::{InvalidPattern, Permissions};
use crate::broker::policy::{InvalidPolicy, Policy, PolicyDefinition, PolicyKind, PolicyValue};
use crate::passwords::Algorithm;

/// The component of the parameters that are operator's policies.
pub const OPERATOR_POLICY: &str = "operator_policy";
/// The component of the parameters that are limits of virtual hosts.
pub const VHOST_LIMITS: &str = "vhost-limits";

/// Limits by their names; a negative one is none.
pub type Limits = BTreeMap<String, i64>;

/// The definitions of a broker or of a virtual host.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Definitions {
    /// The version that wrote them, as it was called before 3.7 and still is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rabbit_version: Option<String>,
    /// The version that wrote them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rabbitmq_version: Option<String>,
    /// The product that wrote them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub product_name: Option<String>,
    /// Its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub product_version: Option<String>,
    /// Who may connect.
    pub users: Vec<UserEntry>,
    /// The virtual hosts.
    pub vhosts: Vec<VhostEntry>,
    /// What users may do in virtual hosts.
    pub permissions: Vec<PermissionEntry>,
    /// Which routing keys they may use.
    pub topic_permissions: Vec<TopicPermissionEntry>,
    /// What else is set in virtual hosts, operator's policies and limits among it.
    pub parameters: Vec<ParameterEntry>,
    /// What else is set for the broker.
    pub global_parameters: Vec<GlobalParameterEntry>,
    /// The policies of users.
    pub policies: Vec<PolicyEntry>,
    /// The queues.
    pub queues: Vec<QueueEntry>,
    /// The exchanges.
    pub exchanges: Vec<ExchangeEntry>,
    /// The bindings.
    pub bindings: Vec<BindingEntry>,
    /// Keys that were read and that nothing is known of, each with where it stands.
    #[serde(skip)]
    pub unknown_keys: BTreeSet<String>,
}

/// A user.
///
/// invariant: neither password nor hash shows in debug output.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct UserEntry {
    /// The name.
    pub name: String,
    /// The hash of the password. An empty one, or none, for a user that has no password.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "read::secret")]
    pub password_hash: Option<String>,
    /// The password itself, which people write into definitions by hand. It is never written.
    #[serde(default, skip_serializing, deserialize_with = "read::secret")]
    pub password: Option<String>,
    /// How the password is hashed; see [`Definitions::hashing_algorithm`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hashing_algorithm: Option<String>,
    /// What the user is beside a user: `administrator`, `monitoring`, ...
    #[serde(deserialize_with = "read::tags")]
    pub tags: Vec<String>,
    /// `max-connections` and `max-channels`.
    #[serde(default, deserialize_with = "read::limits")]
    pub limits: Limits,
}

impl fmt::Debug for UserEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserEntry")
            .field("name", &self.name)
            .field("tags", &self.tags)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// A virtual host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "read::Vhost", into = "read::Vhost")]
pub struct VhostEntry {
    /// The name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Labels.
    pub tags: Vec<String>,
    /// The kind of a queue of which none is said.
    pub default_queue_type: Option<String>,
    /// Whether messages are traced; where it is not said that stays as it is. It does not go out, as the
    /// firehose is for the moment.
    pub tracing: Option<bool>,
    /// Whether it cannot be deleted; where it is not said that stays as it is.
    pub protected_from_deletion: Option<bool>,
    /// `max-connections` and `max-queues`. They may stand among the parameters as well.
    pub limits: Limits,
}

/// What a user may do in a virtual host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PermissionEntry {
    /// The user.
    pub user: String,
    /// The virtual host.
    pub vhost: String,
    /// The pattern of what it may declare and delete.
    pub configure: String,
    /// The pattern of what it may write to.
    pub write: String,
    /// The pattern of what it may read from.
    pub read: String,
}

impl PermissionEntry {
    /// The permissions, when the patterns are some.
    pub fn to_permissions(&self) -> Result<Permissions, InvalidPattern> {
        Permissions::parse(&self.configure, &self.write, &self.read)
    }
}

/// Which routing keys a user may use in an exchange.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicPermissionEntry {
    /// The user.
    pub user: String,
    /// The virtual host.
    pub vhost: String,
    /// The exchange.
    pub exchange: String,
    /// The pattern of the keys it may publish with.
    pub write: String,
    /// The pattern of the keys it may bind with.
    pub read: String,
}

/// Something set in a virtual host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ParameterEntry {
    /// The virtual host; none in the definitions of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vhost: Option<String>,
    /// Whose parameter it is.
    pub component: String,
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Value,
}

/// Something set for the whole broker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GlobalParameterEntry {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Value,
}

/// A policy, of a user or of the operator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PolicyEntry {
    /// The virtual host; none in the definitions of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vhost: Option<String>,
    /// Its name.
    pub name: String,
    /// The names of what it is for.
    pub pattern: String,
    /// The kinds of things it is for.
    #[serde(rename = "apply-to", default = "read::all")]
    pub apply_to: String,
    /// What it says.
    #[serde(deserialize_with = "read::object")]
    pub definition: Map<String, Value>,
    /// Which of several is in force.
    #[serde(default = "read::no_priority", deserialize_with = "read::priority")]
    pub priority: Number,
}

impl PolicyEntry {
    /// The entry of a policy.
    pub fn new(vhost: &str, policy: &Policy) -> Self {
        PolicyEntry {
            vhost: Some(vhost.to_owned()),
            name: policy.name.clone(),
            pattern: policy.pattern.as_str().to_owned(),
            apply_to: policy.apply_to.name().to_owned(),
            definition: policy_definition_json(&policy.definition),
            priority: number(policy.priority.0),
        }
    }

    /// The policy, when it is one.
    pub fn to_policy(&self, kind: PolicyKind) -> Result<Policy, InvalidPolicy> {
        let values = self.definition.iter();
        let values = values.map(|(key, value)| (key.clone(), policy_value(value)));
        let apply_to = Some(self.apply_to.as_str());
        let priority = self.priority.as_f64().unwrap_or_default();
        Policy::parse(kind, &self.name, &self.pattern, apply_to, priority, values)
    }

    /// The parameter that an operator's policy is in definitions.
    pub fn into_parameter(self) -> ParameterEntry {
        let PolicyEntry { vhost, name, pattern, apply_to, definition, priority } = self;
        let value = serde_json::json!({
            "apply-to": apply_to,
            "definition": definition,
            "pattern": pattern,
            "priority": priority,
        });
        ParameterEntry { vhost, component: OPERATOR_POLICY.to_owned(), name, value }
    }

    fn from_parameter(parameter: &ParameterEntry) -> Result<Self, serde_json::Error> {
        let mut value = parameter.value.clone();
        if let Value::Object(fields) = &mut value {
            fields.insert("name".to_owned(), parameter.name.clone().into());
            fields.insert("vhost".to_owned(), parameter.vhost.clone().into());
        }
        serde_json::from_value(value)
    }
}

/// A number as it is written: whole if it is.
fn number(number: f64) -> Number {
    let whole = number as i64;
    let written = if whole as f64 == number { None } else { Number::from_f64(number) };
    written.unwrap_or_else(|| whole.into())
}

/// A value of a policy's definition.
pub fn policy_value(json: &Value) -> PolicyValue {
    match json {
        Value::String(text) => PolicyValue::Text(text.clone()),
        Value::Bool(value) => PolicyValue::Bool(*value),
        other => match other.as_i64() {
            Some(value) => PolicyValue::Integer(value),
            None => PolicyValue::Other(other.to_string()),
        },
    }
}

/// What a policy says.
pub fn policy_definition_json(definition: &PolicyDefinition) -> Map<String, Value> {
    let json = |value: &PolicyValue| match value {
        PolicyValue::Integer(value) => Value::from(*value),
        PolicyValue::Text(text) => Value::from(text.as_str()),
        PolicyValue::Bool(value) => Value::from(*value),
        PolicyValue::Other(printed) => {
            serde_json::from_str(printed).unwrap_or_else(|_| Value::from(printed.as_str()))
        }
    };
    definition.iter().map(|(key, value)| (key.to_owned(), json(value))).collect()
}

/// A queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueEntry {
    /// Its name.
    pub name: String,
    /// The virtual host; none in the definitions of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vhost: Option<String>,
    /// Whether it survives a restart.
    #[serde(default)]
    pub durable: bool,
    /// Whether it goes with its last consumer.
    #[serde(default)]
    pub auto_delete: bool,
    /// Its arguments.
    #[serde(default, with = "read::arguments")]
    pub arguments: TableBuf,
}

/// An exchange.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExchangeEntry {
    /// Its name.
    pub name: String,
    /// The virtual host; none in the definitions of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vhost: Option<String>,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether it survives a restart.
    #[serde(default)]
    pub durable: bool,
    /// Whether it goes with its last binding.
    #[serde(default)]
    pub auto_delete: bool,
    /// Whether clients may not publish to it.
    #[serde(default)]
    pub internal: bool,
    /// Its arguments.
    #[serde(default, with = "read::arguments")]
    pub arguments: TableBuf,
}

/// A binding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BindingEntry {
    /// The exchange that messages come from.
    pub source: String,
    /// The virtual host; none in the definitions of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vhost: Option<String>,
    /// The queue or exchange that they go to.
    pub destination: String,
    /// Which of the two it is.
    pub destination_type: DestinationType,
    /// The routing key.
    #[serde(default)]
    pub routing_key: String,
    /// The arguments.
    #[serde(default, with = "read::arguments")]
    pub arguments: TableBuf,
}

/// What a binding may lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DestinationType {
    /// A queue.
    Queue,
    /// Another exchange.
    Exchange,
}

/// Why definitions cannot be read, in one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DefinitionsError {
    /// It is not even JSON.
    #[error("the definitions are not JSON: {0}")]
    NotJson(String),
    /// It is JSON, and something in it is not as it should be.
    #[error("the definitions are wrong at {place}: {reason}")]
    Invalid {
        /// Where, as in `queues[3] 'orders'`.
        place: String,
        /// What is wrong.
        reason: String,
    },
}

impl Definitions {
    /// Reads definitions, all that are there.
    ///
    /// rabbitmq: takes no bytes at all for no definitions.
    pub fn parse(json: &[u8]) -> Result<Definitions, DefinitionsError> {
        read::definitions(json)
    }

    /// Adds those of another file.
    pub fn append(&mut self, other: Definitions) {
        self.users.extend(other.users);
        self.vhosts.extend(other.vhosts);
        self.permissions.extend(other.permissions);
        self.topic_permissions.extend(other.topic_permissions);
        self.parameters.extend(other.parameters);
        self.global_parameters.extend(other.global_parameters);
        self.policies.extend(other.policies);
        self.queues.extend(other.queues);
        self.exchanges.extend(other.exchanges);
        self.bindings.extend(other.bindings);
        self.unknown_keys.extend(other.unknown_keys);
    }

    /// The definitions of a broker.
    ///
    /// The same definitions are the same bytes, in whatever order the entries were added.
    pub fn to_json(&self) -> Vec<u8> {
        let mut definitions = self.clone();
        definitions.sort();
        pretty(&definitions)
    }

    /// The definitions of one of the virtual hosts, in which it is not named.
    pub fn vhost_json(&self, vhost: &str) -> Vec<u8> {
        #[derive(Serialize)]
        struct OfVhost {
            #[serde(skip_serializing_if = "Option::is_none")]
            rabbit_version: Option<String>,
            parameters: Vec<ParameterEntry>,
            policies: Vec<PolicyEntry>,
            queues: Vec<QueueEntry>,
            exchanges: Vec<ExchangeEntry>,
            bindings: Vec<BindingEntry>,
        }
        let mut definitions = self.clone();
        let of_others = |it: &mut Option<String>| it.take().is_none_or(|name| name != vhost);
        definitions.parameters.retain_mut(|it| !of_others(&mut it.vhost));
        definitions.policies.retain_mut(|it| !of_others(&mut it.vhost));
        definitions.queues.retain_mut(|it| !of_others(&mut it.vhost));
        definitions.exchanges.retain_mut(|it| !of_others(&mut it.vhost));
        definitions.bindings.retain_mut(|it| !of_others(&mut it.vhost));
        definitions.sort();
        let Definitions {
            rabbit_version, parameters, policies, queues, exchanges, bindings, ..
        } = definitions;
        pretty(&OfVhost { rabbit_version, parameters, policies, queues, exchanges, bindings })
    }

    /// The same definitions as those of this virtual host, whatever they say themselves. What is
    /// not in a virtual host is left out.
    ///
    /// rabbitmq: so it imports definitions into a virtual host.
    #[must_use]
    pub fn into_vhost(self, vhost: &str) -> Definitions {
        let mut definitions = Definitions {
            users: Vec::new(),
            vhosts: Vec::new(),
            permissions: Vec::new(),
            topic_permissions: Vec::new(),
            global_parameters: Vec::new(),
            ..self
        };
        let vhost = || Some(vhost.to_owned());
        definitions.parameters.iter_mut().for_each(|it| it.vhost = vhost());
        definitions.policies.iter_mut().for_each(|it| it.vhost = vhost());
        definitions.queues.iter_mut().for_each(|it| it.vhost = vhost());
        definitions.exchanges.iter_mut().for_each(|it| it.vhost = vhost());
        definitions.bindings.iter_mut().for_each(|it| it.vhost = vhost());
        definitions
    }

    /// The operator's policies among the parameters.
    pub fn operator_policies(&self) -> Result<Vec<PolicyEntry>, DefinitionsError> {
        self.of_component(OPERATOR_POLICY, PolicyEntry::from_parameter)
    }

    /// The limits of virtual hosts among the parameters, each with its virtual host.
    pub fn vhost_limits(&self) -> Result<Vec<(Option<String>, Limits)>, DefinitionsError> {
        self.of_component(VHOST_LIMITS, |parameter| {
            read::limits(&parameter.value).map(|limits| (parameter.vhost.clone(), limits))
        })
    }

    /// The name of the algorithm that a user's password is hashed with.
    ///
    /// rabbitmq: MD5 until 3.5, when it did not say which; else what it uses itself.
    pub fn hashing_algorithm<'a>(&'a self, user: &'a UserEntry) -> &'a str {
        let version = self.rabbitmq_version.as_deref().or(self.rabbit_version.as_deref());
        let is_old = |version: &str| {
            let minor = version.strip_prefix("3.").and_then(|rest| rest.split('.').next());
            minor.is_some_and(|minor| matches!(minor, "0" | "1" | "2" | "3" | "4" | "5"))
        };
        match &user.hashing_algorithm {
            Some(name) => name,
            None if version.is_some_and(is_old) => Algorithm::Md5.name(),
            None => Algorithm::default().name(),
        }
    }

    fn of_component<T>(
        &self,
        component: &str,
        read: impl Fn(&ParameterEntry) -> Result<T, serde_json::Error>,
    ) -> Result<Vec<T>, DefinitionsError> {
        let parameters = self.parameters.iter().enumerate();
        parameters
            .filter(|(_, parameter)| parameter.component == component)
            .map(|(index, parameter)| {
                read(parameter).map_err(|error| DefinitionsError::Invalid {
                    place: format!("parameters[{index}] '{}'", parameter.name),
                    reason: error.to_string(),
                })
            })
            .collect()
    }

    fn sort(&mut self) {
        self.users.sort_by(|a, b| a.name.cmp(&b.name));
        self.vhosts.sort_by(|a, b| a.name.cmp(&b.name));
        self.permissions.sort_by(|a, b| (&a.user, &a.vhost).cmp(&(&b.user, &b.vhost)));
        self.topic_permissions.sort_by(|a, b| {
            (&a.user, &a.vhost, &a.exchange).cmp(&(&b.user, &b.vhost, &b.exchange))
        });
        self.parameters.sort_by(|a, b| {
            (&a.vhost, &a.component, &a.name).cmp(&(&b.vhost, &b.component, &b.name))
        });
        self.global_parameters.sort_by(|a, b| a.name.cmp(&b.name));
        self.policies.sort_by(|a, b| (&a.vhost, &a.name).cmp(&(&b.vhost, &b.name)));
        self.queues.sort_by(|a, b| (&a.vhost, &a.name).cmp(&(&b.vhost, &b.name)));
        self.exchanges.sort_by(|a, b| (&a.vhost, &a.name).cmp(&(&b.vhost, &b.name)));
        self.bindings.sort_by(|a, b| {
            let place = |it: &BindingEntry| (it.vhost.clone(), it.source.clone());
            let end = |it: &BindingEntry| (it.destination_type, it.destination.clone());
            let how = |it: &BindingEntry| (it.routing_key.clone(), it.arguments.clone());
            (place(a), end(a), how(a)).cmp(&(place(b), end(b), how(b)))
        });
    }
}

fn pretty(definitions: &impl Serialize) -> Vec<u8> {
    let mut json = serde_json::to_vec_pretty(definitions)
        .expect("names are texts, and what is written has no other way to fail");
    json.push(b'\n');
    json
}

#[cfg(test)]
mod tests;
