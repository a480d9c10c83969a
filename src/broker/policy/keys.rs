//! The keys of policies: who may set them, what values they take, which kind of queue has no use for them.

use super::PolicyKind;
use super::value::PolicyValue;
use crate::broker::arguments::QueueType;

/// Whose policies may have a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    User,
    Both,
}

/// One key that is known, what its value must be, and what is said of another.
pub(super) struct Rule {
    pub(super) key: &'static str,
    pub(super) owner: Owner,
    check: fn(&PolicyValue) -> bool,
    complaint: &'static str,
}

impl Rule {
    /// The rule of a key, if policies of this kind may have it.
    pub(super) fn find(kind: PolicyKind, key: &str) -> Option<&'static Rule> {
        let allows = |rule: &&Rule| rule.owner == Owner::Both || kind == PolicyKind::User;
        RULES.iter().find(|rule| rule.key == key).filter(allows)
    }

    /// Whether the key may have the value.
    ///
    /// # Errors
    /// With RabbitMQ's words, if not.
    pub(super) fn check(&self, value: &PolicyValue) -> Result<(), String> {
        if (self.check)(value) {
            Ok(())
        } else {
            Err(self.complaint.replace("{}", &value.to_string()))
        }
    }
}

const fn rule(
    key: &'static str,
    owner: Owner,
    check: fn(&PolicyValue) -> bool,
    complaint: &'static str,
) -> Rule {
    Rule { key, owner, check, complaint }
}

/// All keys.
///
/// rabbitmq: those of 3.10 and of 4.x. Keys of what does not exist here, mirrors and federation,
/// are taken and obeyed by nobody, so that the definitions of an older broker can be imported.
pub(super) const RULES: &[Rule] = &[
    rule("alternate-exchange", Owner::User, name, "{} is not a valid alternate exchange name"),
    rule("consumer-timeout", Owner::User, natural, "{} is not a valid consumer timeout"),
    rule("dead-letter-exchange", Owner::User, name, "{} is not a valid dead letter exchange name"),
    rule("dead-letter-routing-key", Owner::User, name, "{} is not a valid dead letter routing key"),
    rule(
        "dead-letter-strategy",
        Owner::User,
        |value| one_of(value, &["at-most-once", "at-least-once"]),
        "{} is not a valid dead letter strategy",
    ),
    // rabbitmq: 3.10 takes no negative one; since 4.0, where there is a limit unless told
    // otherwise, it says that there is none.
    rule(
        "delivery-limit",
        Owner::Both,
        |value| value.as_integer().is_some(),
        "{} is not a valid delivery limit",
    ),
    rule("expires", Owner::Both, positive, "{} is not a valid queue expiry"),
    rule(
        "federation-upstream",
        Owner::User,
        text,
        "federation-upstream should be binary, actually was {}",
    ),
    rule(
        "federation-upstream-pattern",
        Owner::User,
        text,
        "federation-upstream-pattern should be binary, actually was {}",
    ),
    rule(
        "federation-upstream-set",
        Owner::User,
        text,
        "federation-upstream-set should be binary, actually was {}",
    ),
    rule(
        "ha-mode",
        Owner::User,
        |value| one_of(value, &["all", "exactly", "nodes"]),
        "{} is not a valid ha-mode value",
    ),
    rule("ha-params", Owner::User, |_| true, ""),
    rule(
        "ha-promote-on-failure",
        Owner::User,
        |value| one_of(value, &["always", "when-synced"]),
        "ha-promote-on-failure must be \"always\" or \"when-synced\", got {}",
    ),
    rule(
        "ha-promote-on-shutdown",
        Owner::User,
        |value| one_of(value, &["always", "when-synced"]),
        "ha-promote-on-shutdown must be \"always\" or \"when-synced\", got {}",
    ),
    rule(
        "ha-sync-batch-size",
        Owner::User,
        positive,
        "ha-sync-batch-size takes an integer greater than 0, {} given",
    ),
    rule(
        "ha-sync-mode",
        Owner::User,
        |value| one_of(value, &["automatic", "manual"]),
        "ha-sync-mode must be \"manual\" or \"automatic\", got {}",
    ),
    rule("initial-cluster-size", Owner::User, natural, "{} is not a valid cluster size"),
    rule("max-age", Owner::User, age, "{} is not a valid max age"),
    rule("max-in-memory-bytes", Owner::Both, natural, "{} is not a valid maximum memory in bytes"),
    rule("max-in-memory-length", Owner::Both, natural, "{} is not a valid maximum memory in bytes"),
    rule("max-length", Owner::Both, natural, "{} is not a valid maximum length"),
    rule("max-length-bytes", Owner::Both, natural, "{} is not a valid maximum length in bytes"),
    rule("message-ttl", Owner::Both, natural, "{} is not a valid message TTL"),
    rule(
        "overflow",
        Owner::Both,
        |value| one_of(value, &["drop-head", "reject-publish", "reject-publish-dlx"]),
        "{} is not a valid overflow value",
    ),
    rule(
        "queue-leader-locator",
        Owner::User,
        |value| one_of(value, &["client-local", "balanced", "random", "least-leaders"]),
        "{} is not a valid queue leader locator value",
    ),
    rule(
        "queue-master-locator",
        Owner::User,
        |value| one_of(value, &["min-masters", "client-local", "random"]),
        "{} invalid queue-master-locator value",
    ),
    rule(
        "queue-mode",
        Owner::User,
        |value| one_of(value, &["default", "lazy"]),
        "{} is not a valid queue-mode value",
    ),
    rule(
        "queue-version",
        Owner::Both,
        |value| matches!(value.as_integer(), Some(1 | 2)),
        "{} is not a valid queue-version value",
    ),
    rule(
        "stream-filter-size-bytes",
        Owner::User,
        |value| matches!(value.as_integer(), Some(16..=255)),
        "{} is not a valid filter size. Valid range is 16-255",
    ),
    rule("stream-max-segment-size-bytes", Owner::User, natural, "{} is not a valid segment size"),
    rule("target-group-size", Owner::Both, positive, "{} is not a valid qq target count value"),
];

/// The keys that a kind of queue has no use for.
///
/// rabbitmq: `delivery-limit` is among those of classic queues there; here they have one.
pub(super) fn unsuitable(queue_type: QueueType) -> &'static [&'static str] {
    match queue_type {
        QueueType::Classic => &[
            "dead-letter-strategy",
            "initial-cluster-size",
            "max-age",
            "stream-filter-size-bytes",
            "stream-max-segment-size-bytes",
            "target-group-size",
        ],
        QueueType::Quorum => &[
            "ha-mode",
            "ha-params",
            "ha-promote-on-failure",
            "ha-promote-on-shutdown",
            "ha-sync-mode",
            "initial-cluster-size",
            "max-age",
            "queue-master-locator",
            "queue-mode",
            "stream-filter-size-bytes",
            "stream-max-segment-size-bytes",
        ],
        QueueType::Stream => &[
            "dead-letter-exchange",
            "dead-letter-routing-key",
            "dead-letter-strategy",
            "delivery-limit",
            "expires",
            "ha-mode",
            "ha-params",
            "ha-promote-on-failure",
            "ha-promote-on-shutdown",
            "ha-sync-mode",
            "max-in-memory-bytes",
            "max-in-memory-length",
            "max-length",
            "message-ttl",
            "overflow",
            "queue-master-locator",
            "queue-mode",
            "target-group-size",
        ],
    }
}

fn text(value: &PolicyValue) -> bool {
    value.as_text().is_some()
}

/// rabbitmq: takes longer names and never finds what they name; see the arguments of a queue.
fn name(value: &PolicyValue) -> bool {
    value.as_text().is_some_and(|text| text.len() <= 255)
}

fn natural(value: &PolicyValue) -> bool {
    matches!(value.as_integer(), Some(0..))
}

fn positive(value: &PolicyValue) -> bool {
    matches!(value.as_integer(), Some(1..))
}

fn one_of(value: &PolicyValue, known: &[&str]) -> bool {
    value.as_text().is_some_and(|text| known.contains(&text))
}

/// Whether it is a number above zero and a unit of time.
fn age(value: &PolicyValue) -> bool {
    let Some(text) = value.as_text() else { return false };
    let number = text.trim_end_matches(['Y', 'M', 'D', 'h', 'm', 's']);
    text.len() == number.len() + 1
        && number.bytes().all(|octet| octet.is_ascii_digit())
        && number.bytes().any(|digit| digit != b'0')
}
