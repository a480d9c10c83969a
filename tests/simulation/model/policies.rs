//! Policies there may be, and what they and the declaration of a queue say together.

use super::kinds::{DeadLetters, to};
use super::{Kind, Model, exchange_kind};

/// A policy that may be set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PolicyKind {
    pub(crate) name: &'static str,
    /// The names of the queues, or of the exchanges, that it is for.
    pub(crate) on: &'static [&'static str],
    pub(crate) priority: i64,
    /// Whether it is the operator's.
    pub(crate) operator: bool,
    pub(crate) ttl_ms: Option<u64>,
    pub(crate) max_length: Option<usize>,
    pub(crate) rejects: bool,
    pub(crate) dead_letters: Option<DeadLetters>,
    pub(crate) expires_ms: Option<u64>,
    pub(crate) delivery_limit: Option<u32>,
    /// The alternate exchange. One that names it is for exchanges.
    pub(crate) alternate: Option<&'static str>,
}

const NONE: PolicyKind = PolicyKind {
    name: "",
    on: &[],
    priority: 0,
    operator: false,
    ttl_ms: None,
    max_length: None,
    rejects: false,
    dead_letters: None,
    expires_ms: None,
    delivery_limit: None,
    alternate: None,
};

/// All policies there may be.
pub(crate) static POLICIES: [PolicyKind; 10] = [
    PolicyKind {
        name: "at most two",
        on: &["ruled", "offers", "short", "full", "one by one", "votes"],
        priority: 1,
        max_length: Some(2),
        ..NONE
    },
    PolicyKind {
        name: "not for long",
        on: &["ruled", "news", "ranked", "short-lived", "few votes"],
        priority: 2,
        ttl_ms: Some(300),
        ..NONE
    },
    PolicyKind {
        name: "over the rest",
        on: &["ruled"],
        priority: 3,
        max_length: Some(3),
        dead_letters: to("overruled"),
        ..NONE
    },
    PolicyKind {
        name: "no more",
        on: &["orders", "ruled", "ranked", "votes"],
        priority: 4,
        max_length: Some(4),
        rejects: true,
        ..NONE
    },
    PolicyKind {
        name: "tried once",
        on: &["votes", "few votes", "one vote"],
        priority: 5,
        delivery_limit: Some(1),
        ..NONE
    },
    PolicyKind {
        name: "soon unused",
        on: &["offers", "fading", "ruled"],
        priority: 6,
        expires_ms: Some(2000),
        ..NONE
    },
    PolicyKind {
        name: "limits of all",
        on: &["ruled", "orders", "clipped", "few votes"],
        operator: true,
        ttl_ms: Some(900),
        max_length: Some(3),
        ..NONE
    },
    PolicyKind {
        name: "limits of few",
        on: &["ruled", "short-lived"],
        operator: true,
        priority: 1,
        expires_ms: Some(2500),
        ..NONE
    },
    PolicyKind {
        name: "otherwise",
        on: &["all", "by key", "by topic"],
        priority: 7,
        alternate: Some("unrouted"),
        ..NONE
    },
    PolicyKind {
        name: "otherwise by topic",
        on: &["by key"],
        priority: 8,
        alternate: Some("by topic"),
        ..NONE
    },
];

/// Where policies may let a queue dead-letter to.
pub(super) fn policies_dead_letter(name: &str) -> Option<&'static str> {
    let for_queue = POLICIES.iter().filter(|it| it.on.contains(&name));
    for_queue.filter_map(|it| it.dead_letters.as_ref()?.key).next()
}

fn lower<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    one.into_iter().chain(other).min()
}

impl Model {
    /// Sets a policy, or takes it away.
    pub(super) fn set_policy(&mut self, policy: &'static PolicyKind, is_set: bool) {
        self.policies.retain(|it| it.name != policy.name);
        self.policies.extend(is_set.then_some(policy));
        let names: Vec<_> = self.queues.keys().copied().collect();
        for name in names {
            let rules = self.rules_of(name);
            let now = self.now;
            let queue = self.queues.get_mut(name).expect("it is there");
            // rabbitmq: another time to expire counts from now on.
            if rules.expires_ms != queue.rules.expires_ms {
                queue.last_used = now;
            }
            queue.rules = rules;
            self.keep_limit(name);
        }
    }

    /// The policy of a user, or of the operator, that is in force: the one with the highest priority.
    fn in_force(
        &self,
        name: &str,
        operator: bool,
        is_for: impl Fn(&PolicyKind) -> bool,
    ) -> Option<&'static PolicyKind> {
        let all = self.policies.iter().copied();
        let matching = all.filter(|it| it.operator == operator && it.on.contains(&name));
        matching.filter(|it| is_for(it)).max_by_key(|it| it.priority)
    }

    /// What a queue obeys.
    ///
    /// rabbitmq: the lower of two limits; of anything else what was declared.
    pub(super) fn rules_of(&self, name: &'static str) -> Kind {
        let mut rules = *super::kind(name);
        for operator in [false, true] {
            let policy = self.in_force(name, operator, |it| it.alternate.is_none());
            let Some(policy) = policy else { continue };
            rules.ttl_ms = lower(rules.ttl_ms, policy.ttl_ms);
            rules.max_length = lower(rules.max_length, policy.max_length);
            rules.expires_ms = lower(rules.expires_ms, policy.expires_ms);
            rules.delivery_limit = lower(rules.delivery_limit, policy.delivery_limit);
            rules.rejects |= policy.rejects;
            rules.dead_letters = rules.dead_letters.or(policy.dead_letters);
        }
        rules
    }

    /// The alternate exchange of an exchange: the declared one, else that of its policy.
    pub(super) fn alternate_of(&self, exchange: &str) -> Option<&'static str> {
        let policy = || self.in_force(exchange, false, |it| it.alternate.is_some());
        exchange_kind(exchange).alternate.or_else(|| policy()?.alternate)
    }
}
