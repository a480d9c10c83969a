//! What a policy says: values by key, checked, and merged with an operator's.

use std::collections::BTreeMap;

use leveret_codec::ShortString;

use super::keys::{Rule, unsuitable};
use super::value::PolicyValue;
use super::{InvalidPolicy, PolicyKind};
use crate::broker::arguments::{Overflow, QueueType};
use crate::broker::names::erlang_binary;

/// What a policy says, or several of them together.
///
/// invariant: every key is known and has a value that it may have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyDefinition {
    values: BTreeMap<String, PolicyValue>,
}

impl PolicyDefinition {
    /// Checks the keys and their values.
    ///
    /// rabbitmq: the values first, one wrong one is named; then all unknown keys together.
    pub fn parse(
        kind: PolicyKind,
        entries: impl IntoIterator<Item = (String, PolicyValue)>,
    ) -> Result<Self, InvalidPolicy> {
        let mut values = BTreeMap::new();
        let mut twice = Vec::new();
        for (key, value) in entries {
            if values.contains_key(&key) {
                twice.push(erlang_binary(key.as_bytes()));
            }
            values.insert(key, value);
        }
        check(kind, &values, &twice).map_err(InvalidPolicy::new)?;
        Ok(PolicyDefinition { values })
    }

    /// The keys and their values, in the order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &PolicyValue)> {
        self.values.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// The value of a key.
    pub fn find(&self, key: &str) -> Option<&PolicyValue> {
        self.values.get(key)
    }

    /// Whether it may be a policy of this kind of queue.
    ///
    /// rabbitmq: one key that the kind has no use for, and the policy is none of the queue's.
    pub(super) fn suits(&self, queue_type: QueueType) -> bool {
        let unsuitable = unsuitable(queue_type);
        !self.values.keys().any(|key| unsuitable.contains(&key.as_str()))
    }

    /// What a policy and an operator's policy say together.
    ///
    /// rabbitmq: the lower of two limits; of anything else what the operator says.
    pub(super) fn merged(user: Option<&Self>, operator: Option<&Self>) -> Self {
        let mut values = user.map(|user| user.values.clone()).unwrap_or_default();
        for (key, theirs) in operator.iter().flat_map(|operator| &operator.values) {
            let value = values.get(key).map_or(theirs, |ours| stricter(key, ours, theirs)).clone();
            values.insert(key.clone(), value);
        }
        PolicyDefinition { values }
    }

    /// The limit of this key; a negative one is none.
    pub(super) fn limit(&self, key: &str) -> Option<u64> {
        self.find(key).and_then(PolicyValue::as_integer).and_then(|value| u64::try_from(value).ok())
    }

    pub(super) fn short_string(&self, key: &str) -> Option<ShortString> {
        let text = self.find(key).and_then(PolicyValue::as_text)?;
        Some(ShortString::truncated(text.as_bytes()))
    }

    pub(super) fn overflow(&self) -> Option<Overflow> {
        match self.find("overflow").and_then(PolicyValue::as_text)? {
            "drop-head" => Some(Overflow::DropHead),
            "reject-publish" => Some(Overflow::RejectPublish),
            "reject-publish-dlx" => Some(Overflow::RejectPublishDlx),
            _ => None,
        }
    }
}

/// The value of a key that both a policy and an operator's policy have.
fn stricter<'v>(key: &str, user: &'v PolicyValue, operator: &'v PolicyValue) -> &'v PolicyValue {
    let (Some(ours), Some(theirs)) = (user.as_integer(), operator.as_integer()) else {
        return operator;
    };
    let is_ours = match key {
        "queue-version" => false,
        // It is how many nodes there should at least be.
        "target-group-size" => ours > theirs,
        // A negative limit is none.
        _ if ours < 0 || theirs < 0 => ours > theirs,
        _ => ours < theirs,
    };
    if is_ours { user } else { operator }
}

fn check(
    kind: PolicyKind,
    values: &BTreeMap<String, PolicyValue>,
    twice: &[String],
) -> Result<(), String> {
    if values.is_empty() {
        return Err("no policy provided".into());
    }
    if !twice.is_empty() {
        return Err(format!("[{}] duplicate keys not allowed", twice.join(",")));
    }
    let mut unknown = Vec::new();
    for (key, value) in values {
        match Rule::find(kind, key) {
            None => unknown.push(format!("{{{},{value}}}", erlang_binary(key.as_bytes()))),
            Some(rule) => rule.check(value)?,
        }
    }
    if values.keys().any(|key| key.starts_with("ha-")) && !values.contains_key("ha-mode") {
        return Err("ha-mode must be specified to specify ha-params, ha-sync-mode or \
                    ha-promote-on-shutdown"
            .into());
    }
    if !unknown.is_empty() {
        return Err(format!("[{}] are not recognised policy settings", unknown.join(",")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::keys::{Owner, RULES};
    use super::*;

    fn integer(value: i64) -> PolicyValue {
        PolicyValue::Integer(value)
    }

    fn words(text: &str) -> PolicyValue {
        PolicyValue::Text(text.to_owned())
    }

    fn parse(entries: &[(&str, PolicyValue)]) -> Result<PolicyDefinition, InvalidPolicy> {
        parse_of(PolicyKind::User, entries)
    }

    fn parse_of(
        kind: PolicyKind,
        entries: &[(&str, PolicyValue)],
    ) -> Result<PolicyDefinition, InvalidPolicy> {
        let entries = entries.iter().map(|(key, value)| ((*key).to_owned(), value.clone()));
        PolicyDefinition::parse(kind, entries)
    }

    #[track_caller]
    fn refused(entries: &[(&str, PolicyValue)], expected: &str) {
        let refusal = parse(entries).expect_err("the definition is not valid");
        assert_eq!(refusal.reasons, [expected]);
    }

    #[test]
    fn every_key_has_a_value_that_it_takes() {
        let values = [
            integer(16),
            words("all"),
            words("at-most-once"),
            words("automatic"),
            words("always"),
            words("7D"),
            words("drop-head"),
            words("random"),
            words("lazy"),
            integer(2),
            words("anything"),
        ];
        for rule in RULES {
            let value =
                values.iter().find(|value| rule.check(value).is_ok()).expect("one is taken");
            let mut entries = vec![(rule.key, value.clone())];
            if rule.key.starts_with("ha-") && rule.key != "ha-mode" {
                entries.push(("ha-mode", words("all")));
            }
            assert!(parse(&entries).is_ok(), "{}", rule.key);
            let operator = parse_of(PolicyKind::Operator, &entries);
            assert_eq!(operator.is_ok(), rule.owner == Owner::Both, "{}", rule.key);
        }
        assert!(RULES.is_sorted_by_key(|rule| rule.key));
    }

    #[test]
    fn wrong_values_are_named() {
        let other = || PolicyValue::Other("1.5".into());
        refused(&[("max-length", words("a"))], "<<\"a\">> is not a valid maximum length");
        refused(&[("max-length", integer(-1))], "-1 is not a valid maximum length");
        refused(&[("max-length-bytes", other())], "1.5 is not a valid maximum length in bytes");
        refused(&[("message-ttl", PolicyValue::Bool(true))], "true is not a valid message TTL");
        refused(&[("expires", integer(0))], "0 is not a valid queue expiry");
        refused(&[("overflow", words("no"))], "<<\"no\">> is not a valid overflow value");
        refused(&[("delivery-limit", words("1"))], "<<\"1\">> is not a valid delivery limit");
        refused(
            &[("dead-letter-exchange", integer(1))],
            "1 is not a valid dead letter exchange name",
        );
        refused(
            &[("dead-letter-routing-key", integer(1))],
            "1 is not a valid dead letter routing key",
        );
        refused(&[("alternate-exchange", integer(1))], "1 is not a valid alternate exchange name");
        refused(&[("queue-mode", words("x"))], "<<\"x\">> is not a valid queue-mode value");
        refused(&[("queue-version", integer(3))], "3 is not a valid queue-version value");
        refused(
            &[("queue-master-locator", words("x"))],
            "<<\"x\">> invalid queue-master-locator value",
        );
        for age in ["", "D", "0D", "7", "7x", "-7D", "7DD"] {
            let expected = format!("{} is not a valid max age", words(age));
            refused(&[("max-age", words(age))], &expected);
        }
        refused(&[("ha-mode", words("x"))], "<<\"x\">> is not a valid ha-mode value");
        refused(
            &[("ha-params", integer(2))],
            "ha-mode must be specified to specify ha-params, ha-sync-mode or \
             ha-promote-on-shutdown",
        );
        let long = words(&"x".repeat(256));
        let expected = format!("{long} is not a valid dead letter exchange name");
        refused(&[("dead-letter-exchange", long)], &expected);
    }

    #[test]
    fn unknown_keys_are_named_together() {
        refused(&[("bogus", integer(5))], "[{<<\"bogus\">>,5}] are not recognised policy settings");
        refused(
            &[("max-priority", integer(5)), ("foo", words("x")), ("max-length", integer(1))],
            "[{<<\"foo\">>,<<\"x\">>},{<<\"max-priority\">>,5}] are not recognised policy settings",
        );
        refused(
            &[("bogus", integer(5)), ("max-length", words("a"))],
            "<<\"a\">> is not a valid maximum length",
        );
        let operator = parse_of(PolicyKind::Operator, &[("queue-mode", words("lazy"))]);
        assert_eq!(
            operator.unwrap_err().reasons,
            ["[{<<\"queue-mode\">>,<<\"lazy\">>}] are not recognised policy settings"]
        );
    }

    #[test]
    fn a_definition_says_something_and_each_thing_once() {
        refused(&[], "no policy provided");
        refused(
            &[("expires", integer(1)), ("expires", integer(2))],
            "[<<\"expires\">>] duplicate keys not allowed",
        );
    }

    #[test]
    fn the_lower_limit_holds_and_else_what_the_operator_says() {
        let merged = |user: &[_], operator: &[_]| {
            let user = parse(user).unwrap();
            let operator = parse_of(PolicyKind::Operator, operator).unwrap();
            PolicyDefinition::merged(Some(&user), Some(&operator))
        };
        for (user, operator, expected) in [(5, 2, 2), (2, 5, 2), (5, 5, 5)] {
            for key in ["max-length", "max-length-bytes", "message-ttl", "expires"] {
                let both = merged(&[(key, integer(user))], &[(key, integer(operator))]);
                assert_eq!(both, parse(&[(key, integer(expected))]).unwrap());
            }
        }
        for (user, operator, expected) in [(-1, 3, 3), (3, -1, 3), (-1, -1, -1), (4, 3, 3)] {
            let key = "delivery-limit";
            let both = merged(&[(key, integer(user))], &[(key, integer(operator))]);
            assert_eq!(both.find(key), Some(&integer(expected)));
        }
        let both = merged(
            &[
                ("overflow", words("drop-head")),
                ("queue-version", integer(1)),
                ("target-group-size", integer(5)),
                ("queue-mode", words("lazy")),
            ],
            &[
                ("overflow", words("reject-publish")),
                ("queue-version", integer(2)),
                ("target-group-size", integer(3)),
                ("expires", integer(9)),
            ],
        );
        let expected = [
            ("expires", integer(9)),
            ("overflow", words("reject-publish")),
            ("queue-mode", words("lazy")),
            ("queue-version", integer(2)),
            ("target-group-size", integer(5)),
        ];
        assert!(both.iter().eq(expected.iter().map(|(key, value)| (*key, value))));
    }

    #[test]
    fn a_kind_of_queue_has_no_use_for_some_keys() {
        let suits = |key: &str, value, queue_type| {
            parse(&[("max-length-bytes", integer(1)), (key, value)]).unwrap().suits(queue_type)
        };
        use QueueType::{Classic, Quorum, Stream};
        assert!(suits("message-ttl", integer(1), Classic));
        assert!(suits("message-ttl", integer(1), Quorum));
        assert!(!suits("message-ttl", integer(1), Stream));
        assert!(!suits("max-age", words("1D"), Classic));
        assert!(suits("max-age", words("1D"), Stream));
        assert!(suits("delivery-limit", integer(1), Classic), "ours");
        assert!(!suits("queue-mode", words("lazy"), Quorum));
        assert!(suits("alternate-exchange", words("x"), Quorum));
    }
}
