//! Policies: what queues and exchanges are told by patterns over their names, beside what their
//! clients declare.
//!
//! ```text
//!  declared arguments ─┐
//!  policy ─────────────┼─► arguments in force
//!  operator's policy ──┘
//! ```
//!
//! - A [`Policy`] is for a user to set, or for the operator; the two differ in the keys that they
//!   may have.
//! - A [`PolicySet`] has all of a virtual host and finds the one of each kind that is in force.
//! - [`effective_queue_arguments`] and [`effective_alternate`] are what follows from it.
//!
//! What this module deliberately is not: it knows no queue and changes none. The kind of a queue and
//! the priorities of its messages are not for policies.
//!
//! rabbitmq: of two policies with the same priority one or the other is in force; here it is the
//! first by name.

mod definition;
mod keys;
mod value;

pub use definition::PolicyDefinition;
pub use value::PolicyValue;

use std::collections::BTreeMap;

use leveret_codec::ShortString;

use super::access::Pattern;
use super::arguments::{ExchangeArguments, QueueArguments, QueueType};

/// A policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Its name, one of its kind in a virtual host.
    pub name: String,
    /// The names of what it is for.
    pub pattern: Pattern,
    /// The kinds of things it is for.
    pub apply_to: ApplyTo,
    /// Which of several is in force: the one with the highest.
    pub priority: Priority,
    /// What it says.
    pub definition: PolicyDefinition,
}

/// Which of several policies is in force: that of the highest.
///
/// rabbitmq: any number, be it whole or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Priority(pub f64);

impl From<f64> for Priority {
    fn from(number: f64) -> Self {
        Priority(number)
    }
}

impl From<i64> for Priority {
    fn from(number: i64) -> Self {
        Priority(number as f64)
    }
}

impl From<i32> for Priority {
    fn from(number: i32) -> Self {
        Priority(number.into())
    }
}

/// Whose policy it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PolicyKind {
    /// A user's.
    User,
    /// The operator's: it limits what users may ask for, in policies and in arguments.
    Operator,
}

/// What a policy may be for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ApplyTo {
    /// Queues and exchanges.
    #[default]
    All,
    /// Exchanges.
    Exchanges,
    /// Queues of all kinds.
    Queues,
    /// Classic queues.
    ClassicQueues,
    /// Quorum queues.
    QuorumQueues,
    /// Streams.
    Streams,
}

/// Why a policy is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Validation failed\n\n{}\n", .reasons.join("\n"))]
pub struct InvalidPolicy {
    /// What is wrong, in RabbitMQ's words, a line each.
    pub reasons: Vec<String>,
}

impl InvalidPolicy {
    fn new(reason: impl Into<String>) -> Self {
        InvalidPolicy { reasons: vec![reason.into()] }
    }
}

impl Policy {
    /// Reads a policy; what is not said of where it applies is all.
    pub fn parse(
        kind: PolicyKind,
        name: impl Into<String>,
        pattern: &str,
        apply_to: Option<&str>,
        priority: impl Into<Priority>,
        definition: impl IntoIterator<Item = (String, PolicyValue)>,
    ) -> Result<Policy, InvalidPolicy> {
        let definition = PolicyDefinition::parse(kind, definition);
        let apply_to = apply_to.map_or(Ok(ApplyTo::All), ApplyTo::parse);
        let pattern = Pattern::parse_policy(pattern).map_err(|invalid| {
            let text = "pattern should be regular expression but is invalid:";
            InvalidPolicy::new(format!("{text} {invalid}"))
        });
        match (definition, apply_to, pattern) {
            (Ok(definition), Ok(apply_to), Ok(pattern)) => {
                let (name, priority) = (name.into(), priority.into());
                Ok(Policy { name, pattern, apply_to, priority, definition })
            }
            // rabbitmq: says everything that is wrong, and in this order.
            (definition, apply_to, pattern) => {
                let wrong = [definition.err(), apply_to.err(), pattern.err()];
                let reasons = wrong.into_iter().flatten().flat_map(|invalid| invalid.reasons);
                Err(InvalidPolicy { reasons: reasons.collect() })
            }
        }
    }

    fn is_for_queue(&self, name: &[u8], queue_type: QueueType) -> bool {
        self.apply_to.has_queue(queue_type)
            && self.definition.suits(queue_type)
            && self.pattern.matches(name)
    }

    fn is_for_exchange(&self, name: &[u8]) -> bool {
        self.apply_to.has_exchanges() && self.pattern.matches(name)
    }
}

impl ApplyTo {
    const ALL: [ApplyTo; 6] = [
        ApplyTo::All,
        ApplyTo::Exchanges,
        ApplyTo::Queues,
        ApplyTo::ClassicQueues,
        ApplyTo::QuorumQueues,
        ApplyTo::Streams,
    ];

    /// Reads the name of what a policy is for.
    ///
    /// rabbitmq: has the kinds of queues since 3.12; the text is that of before.
    pub fn parse(name: &str) -> Result<ApplyTo, InvalidPolicy> {
        ApplyTo::ALL.into_iter().find(|known| known.name() == name).ok_or_else(|| {
            let should = "should be 'queues', 'exchanges' or 'all'";
            InvalidPolicy::new(format!("apply-to '{name}' unrecognised; {should}"))
        })
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            ApplyTo::All => "all",
            ApplyTo::Exchanges => "exchanges",
            ApplyTo::Queues => "queues",
            ApplyTo::ClassicQueues => "classic_queues",
            ApplyTo::QuorumQueues => "quorum_queues",
            ApplyTo::Streams => "streams",
        }
    }

    fn has_exchanges(self) -> bool {
        matches!(self, ApplyTo::All | ApplyTo::Exchanges)
    }

    fn has_queue(self, queue_type: QueueType) -> bool {
        match self {
            ApplyTo::All | ApplyTo::Queues => true,
            ApplyTo::Exchanges => false,
            ApplyTo::ClassicQueues => queue_type == QueueType::Classic,
            ApplyTo::QuorumQueues => queue_type == QueueType::Quorum,
            ApplyTo::Streams => queue_type == QueueType::Stream,
        }
    }
}

/// The policies of a virtual host.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PolicySet {
    user: BTreeMap<String, Policy>,
    operator: BTreeMap<String, Policy>,
}

impl PolicySet {
    /// How many policies there are.
    pub fn len(&self) -> usize {
        self.user.len() + self.operator.len()
    }

    /// How many steps it takes at worst to match all of them with a name, beside one or so each.
    pub fn match_steps(&self) -> usize {
        self.user.values().chain(self.operator.values()).map(|it| it.pattern.steps()).sum()
    }

    /// Sets a policy in place of the one of its name, which is given back.
    pub fn set(&mut self, kind: PolicyKind, policy: Policy) -> Option<Policy> {
        self.of_mut(kind).insert(policy.name.clone(), policy)
    }

    /// Takes a policy away.
    pub fn remove(&mut self, kind: PolicyKind, name: &str) -> Option<Policy> {
        self.of_mut(kind).remove(name)
    }

    /// The policy of this name.
    pub fn find(&self, kind: PolicyKind, name: &str) -> Option<&Policy> {
        self.of(kind).get(name)
    }

    /// All policies of this kind, by name.
    pub fn list(&self, kind: PolicyKind) -> impl Iterator<Item = &Policy> {
        self.of(kind).values()
    }

    /// Whether there is no policy of either kind.
    pub fn is_empty(&self) -> bool {
        self.user.is_empty() && self.operator.is_empty()
    }

    /// The policy and the operator's policy that are in force for a queue.
    pub fn for_queue(
        &self,
        name: &[u8],
        queue_type: QueueType,
    ) -> (Option<&Policy>, Option<&Policy>) {
        self.in_force(|policy| policy.is_for_queue(name, queue_type))
    }

    /// The policy and the operator's policy that are in force for an exchange. The latter says
    /// nothing that an exchange obeys.
    pub fn for_exchange(&self, name: &[u8]) -> (Option<&Policy>, Option<&Policy>) {
        self.in_force(|policy| policy.is_for_exchange(name))
    }

    fn in_force(&self, applies: impl Fn(&Policy) -> bool) -> (Option<&Policy>, Option<&Policy>) {
        (highest(&self.user, &applies), highest(&self.operator, &applies))
    }

    fn of(&self, kind: PolicyKind) -> &BTreeMap<String, Policy> {
        match kind {
            PolicyKind::User => &self.user,
            PolicyKind::Operator => &self.operator,
        }
    }

    fn of_mut(&mut self, kind: PolicyKind) -> &mut BTreeMap<String, Policy> {
        match kind {
            PolicyKind::User => &mut self.user,
            PolicyKind::Operator => &mut self.operator,
        }
    }
}

fn highest<'p>(
    policies: &'p BTreeMap<String, Policy>,
    applies: &impl Fn(&Policy) -> bool,
) -> Option<&'p Policy> {
    let mut highest: Option<&Policy> = None;
    for policy in policies.values() {
        if highest.is_none_or(|it| policy.priority > it.priority) && applies(policy) {
            highest = Some(policy);
        }
    }
    highest
}

/// What a policy and an operator's policy say together, in the order of the keys.
pub fn effective_policy_definition(
    policy: Option<&Policy>,
    operator: Option<&Policy>,
) -> PolicyDefinition {
    let [user, operator] = [policy, operator].map(|policy| policy.map(|it| &it.definition));
    PolicyDefinition::merged(user, operator)
}

/// What a queue obeys.
///
/// rabbitmq: the lower of two limits, be it declared or of a policy. Of anything else what was
/// declared, key by key, so that a declared exchange and the routing key of a policy go together;
/// an operator's word on overflow stands behind a declared one as well.
pub fn effective_queue_arguments(
    declared: &QueueArguments,
    policy: Option<&Policy>,
    operator: Option<&Policy>,
) -> QueueArguments {
    if policy.is_none() && operator.is_none() {
        return declared.clone();
    }
    let said = effective_policy_definition(policy, operator);
    let lower = |declared: Option<u64>, key: &str| match (declared, said.limit(key)) {
        (Some(declared), Some(said)) => Some(declared.min(said)),
        (declared, said) => declared.or(said),
    };
    let first = |declared: &Option<ShortString>, key: &str| {
        declared.clone().or_else(|| said.short_string(key))
    };
    let is_declared = |argument: &[u8]| declared.raw.as_table().find(argument).is_some();
    QueueArguments {
        message_ttl_ms: lower(declared.message_ttl_ms, "message-ttl"),
        expires_ms: lower(declared.expires_ms, "expires"),
        max_length: lower(declared.max_length, "max-length"),
        max_length_bytes: lower(declared.max_length_bytes, "max-length-bytes"),
        overflow: match said.overflow() {
            Some(overflow) if !is_declared(b"x-overflow") => overflow,
            _ => declared.overflow,
        },
        dead_letter_exchange: first(&declared.dead_letter_exchange, "dead-letter-exchange"),
        dead_letter_routing_key: first(
            &declared.dead_letter_routing_key,
            "dead-letter-routing-key",
        ),
        delivery_limit: lower(declared.delivery_limit, "delivery-limit"),
        consumer_timeout_ms: lower(declared.consumer_timeout_ms, "consumer-timeout"),
        ..declared.clone()
    }
}

/// The alternate exchange that an exchange obeys: the declared one, else that of its policy.
pub fn effective_alternate(
    declared: &ExchangeArguments,
    policy: Option<&Policy>,
) -> Option<ShortString> {
    let said = || policy.and_then(|it| it.definition.short_string("alternate-exchange"));
    declared.alternate_exchange.clone().or_else(said)
}

#[cfg(test)]
mod tests;
