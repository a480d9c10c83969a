use leveret_codec::table::TableBuilder;
use leveret_codec::{TableBuf, Value};

use super::*;
use crate::broker::arguments::Overflow;
use crate::broker::error::Resource;

type Said<'a> = &'a [(&'a str, PolicyValue)];

fn integer(value: i64) -> PolicyValue {
    PolicyValue::Integer(value)
}

fn words(text: &str) -> PolicyValue {
    PolicyValue::Text(text.to_owned())
}

fn entries(said: Said<'_>) -> Vec<(String, PolicyValue)> {
    said.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect()
}

fn policy(kind: PolicyKind, said: Said<'_>) -> Policy {
    Policy::parse(kind, "p", ".*", None, 0, entries(said)).expect("the policy is valid")
}

fn named(name: &str, pattern: &str, apply_to: &str, priority: i64) -> Policy {
    let said = entries(&[("max-length-bytes", integer(1))]);
    Policy::parse(PolicyKind::User, name, pattern, Some(apply_to), priority, said)
        .expect("the policy is valid")
}

fn table(entries: &[(&str, Value<'_>)]) -> TableBuf {
    let mut table = TableBuilder::default();
    for (name, value) in entries {
        table.push(name.as_bytes(), value);
    }
    table.finish()
}

fn declared(entries: &[(&str, Value<'_>)]) -> QueueArguments {
    QueueArguments::parse(&Resource::queue(&ShortString::truncated(b"q"), "/"), &table(entries))
        .expect("the arguments are valid")
}

fn set(policies: &[Policy]) -> PolicySet {
    let mut set = PolicySet::default();
    for policy in policies {
        assert_eq!(set.set(PolicyKind::User, policy.clone()), None);
    }
    set
}

fn queue<'s>(set: &'s PolicySet, name: &str) -> Option<&'s str> {
    set.for_queue(name.as_bytes(), QueueType::Classic).0.map(|policy| policy.name.as_str())
}

#[test]
fn a_policy_that_is_none_is_refused_with_all_reasons() {
    let refusal = Policy::parse(PolicyKind::User, "p", "(", Some("foo"), 0, []).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "Validation failed\n\n\
         no policy provided\n\
         apply-to 'foo' unrecognised; should be 'queues', 'exchanges' or 'all'\n\
         pattern should be regular expression but is invalid: {\"missing )\",1}\n"
    );
    let said = entries(&[("bogus", integer(5))]);
    let refusal = Policy::parse(PolicyKind::User, "p", ".*", None, 0, said).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "Validation failed\n\n[{<<\"bogus\">>,5}] are not recognised policy settings\n"
    );
}

#[test]
fn what_a_policy_is_for_has_a_name() {
    for known in ApplyTo::ALL {
        assert_eq!(ApplyTo::parse(known.name()), Ok(known));
    }
    assert!(ApplyTo::parse("Queues").is_err());
    assert_eq!(policy(PolicyKind::User, &[("expires", integer(1))]).apply_to, ApplyTo::All);
}

#[test]
fn the_highest_priority_is_in_force_and_then_the_first_name() {
    let set = set(&[
        named("c", "^q", "queues", 1),
        named("b", "^q", "queues", 1),
        named("a", ".*", "queues", 0),
        named("z", "^q2$", "queues", 9),
        named("low", ".*", "queues", -1),
    ]);
    assert_eq!(queue(&set, "q1"), Some("b"));
    assert_eq!(queue(&set, "q2"), Some("z"));
    assert_eq!(queue(&set, "other"), Some("a"));
}

#[test]
fn a_policy_is_for_queues_or_exchanges_or_a_kind_of_queues() {
    use QueueType::{Classic, Quorum, Stream};
    let cases: [(&str, bool, &[QueueType]); 6] = [
        ("all", true, &[Classic, Quorum, Stream]),
        ("queues", false, &[Classic, Quorum, Stream]),
        ("exchanges", true, &[]),
        ("classic_queues", false, &[Classic]),
        ("quorum_queues", false, &[Quorum]),
        ("streams", false, &[Stream]),
    ];
    for (apply_to, exchanges, queues) in cases {
        let set = set(&[named("p", "^a", apply_to, 0)]);
        assert_eq!(set.for_exchange(b"ax").0.is_some(), exchanges, "{apply_to}");
        assert_eq!(set.for_exchange(b"x").0, None);
        for kind in [Classic, Quorum, Stream] {
            let found = set.for_queue(b"ax", kind).0.is_some();
            assert_eq!(found, queues.contains(&kind), "{apply_to} {kind:?}");
        }
    }
}

#[test]
fn a_policy_that_does_not_suit_a_queue_gives_way_to_a_lower_one() {
    let mut set = set(&[named("low", ".*", "all", 0)]);
    let said = entries(&[("max-age", words("1D"))]);
    let streams = Policy::parse(PolicyKind::User, "high", ".*", None, 5, said).unwrap();
    set.set(PolicyKind::User, streams);
    assert_eq!(queue(&set, "q"), Some("low"));
    assert_eq!(set.for_queue(b"q", QueueType::Stream).0.unwrap().name, "high");
    assert_eq!(set.for_exchange(b"x").0.unwrap().name, "high");
}

#[test]
fn policies_are_set_found_and_taken_away() {
    let mut set = set(&[named("b", ".*", "all", 0), named("a", ".*", "all", 0)]);
    let operator = policy(PolicyKind::Operator, &[("max-length", integer(2))]);
    set.set(PolicyKind::Operator, operator.clone());
    let names: Vec<_> = set.list(PolicyKind::User).map(|policy| policy.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(set.find(PolicyKind::Operator, "p"), Some(&operator));
    assert_eq!(set.find(PolicyKind::User, "p"), None);
    assert_eq!(set.for_queue(b"q", QueueType::Classic).1, Some(&operator));

    let replaced = set.set(PolicyKind::User, named("a", "^x", "all", 0));
    assert_eq!(replaced, Some(named("a", ".*", "all", 0)));
    assert_eq!(queue(&set, "q"), Some("b"));
    assert!(set.remove(PolicyKind::User, "b").is_some());
    assert_eq!(set.remove(PolicyKind::User, "b"), None);
    assert_eq!(queue(&set, "q"), None);
    assert!(set.remove(PolicyKind::User, "a").is_some() && !set.is_empty());
    assert_eq!(set.remove(PolicyKind::Operator, "p"), Some(operator));
    assert!(set.is_empty());
}

#[test]
fn without_a_policy_a_queue_obeys_its_arguments() {
    let arguments = declared(&[("x-max-length", Value::I32(5))]);
    assert_eq!(effective_queue_arguments(&arguments, None, None), arguments);
}

#[test]
fn the_lower_of_a_declared_limit_and_one_of_a_policy_holds() {
    let limit = |argument: Option<i64>, user: Option<i64>, operator: Option<i64>| {
        let said = |kind, value: Option<i64>| {
            value.map(|value| policy(kind, &[("max-length", integer(value))]))
        };
        let arguments = match argument {
            Some(value) => declared(&[("x-max-length", Value::I64(value))]),
            None => declared(&[]),
        };
        let (user, operator) = (said(PolicyKind::User, user), said(PolicyKind::Operator, operator));
        effective_queue_arguments(&arguments, user.as_ref(), operator.as_ref()).max_length
    };
    assert_eq!(limit(Some(5), Some(3), None), Some(3));
    assert_eq!(limit(Some(2), Some(3), None), Some(2));
    assert_eq!(limit(None, Some(3), None), Some(3));
    assert_eq!(limit(Some(5), None, Some(2)), Some(2));
    assert_eq!(limit(Some(1), Some(5), Some(2)), Some(1));
    assert_eq!(limit(None, Some(5), Some(2)), Some(2));
    assert_eq!(limit(None, None, None), None);
}

#[test]
fn every_key_that_is_obeyed_has_its_field() {
    let said = policy(
        PolicyKind::User,
        &[
            ("message-ttl", integer(1)),
            ("expires", integer(2)),
            ("max-length", integer(3)),
            ("max-length-bytes", integer(4)),
            ("overflow", words("reject-publish-dlx")),
            ("dead-letter-exchange", words("")),
            ("dead-letter-routing-key", words("dead")),
            ("delivery-limit", integer(5)),
            ("consumer-timeout", integer(6)),
            ("queue-mode", words("lazy")),
        ],
    );
    let arguments = declared(&[("x-max-priority", Value::I32(9))]);
    let expected = QueueArguments {
        message_ttl_ms: Some(1),
        expires_ms: Some(2),
        max_length: Some(3),
        max_length_bytes: Some(4),
        overflow: Overflow::RejectPublishDlx,
        dead_letter_exchange: Some(ShortString::default()),
        dead_letter_routing_key: Some(ShortString::truncated(b"dead")),
        delivery_limit: Some(5),
        consumer_timeout_ms: Some(6),
        max_priority: Some(9),
        ..arguments.clone()
    };
    assert_eq!(effective_queue_arguments(&arguments, Some(&said), None), expected);
}

#[test]
fn declared_words_come_before_those_of_a_policy_key_by_key() {
    let said = policy(
        PolicyKind::User,
        &[
            ("dead-letter-exchange", words("policy-x")),
            ("dead-letter-routing-key", words("policy-key")),
            ("overflow", words("reject-publish")),
        ],
    );
    let arguments = declared(&[
        ("x-dead-letter-exchange", Value::LongStr(b"own-x")),
        ("x-overflow", Value::LongStr(b"drop-head")),
    ]);
    let effective = effective_queue_arguments(&arguments, Some(&said), None);
    assert_eq!(effective.dead_letter_exchange, Some(ShortString::truncated(b"own-x")));
    assert_eq!(effective.dead_letter_routing_key, Some(ShortString::truncated(b"policy-key")));
    assert_eq!(effective.overflow, Overflow::DropHead);

    let operator = policy(PolicyKind::Operator, &[("overflow", words("reject-publish-dlx"))]);
    let effective = effective_queue_arguments(&declared(&[]), Some(&said), Some(&operator));
    assert_eq!(effective.overflow, Overflow::RejectPublishDlx);
}

#[test]
fn no_delivery_limit_gives_way_to_one() {
    let said = |limit| policy(PolicyKind::User, &[("delivery-limit", integer(limit))]);
    let limit = |argument, limit| {
        let arguments = declared(&[("x-delivery-limit", Value::I32(argument))]);
        effective_queue_arguments(&arguments, Some(&said(limit)), None).delivery_limit
    };
    assert_eq!(limit(5, 3), Some(3));
    assert_eq!(limit(-1, 3), Some(3));
    assert_eq!(limit(5, -1), Some(5));
    assert_eq!(limit(-1, -1), None);
}

#[test]
fn a_declared_alternate_exchange_comes_before_that_of_a_policy() {
    let said = policy(PolicyKind::User, &[("alternate-exchange", words("policy-x"))]);
    let plain = ExchangeArguments::default();
    assert_eq!(effective_alternate(&plain, None), None);
    let found = effective_alternate(&plain, Some(&said));
    assert_eq!(found, Some(ShortString::truncated(b"policy-x")));
    let raw = table(&[("alternate-exchange", Value::LongStr(b"own-x"))]);
    let own =
        ExchangeArguments::parse(&Resource::exchange(&ShortString::truncated(b"x"), "/"), &raw)
            .unwrap();
    assert_eq!(effective_alternate(&own, Some(&said)), Some(ShortString::truncated(b"own-x")));
    let other = policy(PolicyKind::User, &[("expires", integer(1))]);
    assert_eq!(effective_alternate(&plain, Some(&other)), None);
}

#[test]
fn the_definition_in_force_is_shown_in_the_order_of_its_keys() {
    let user = policy(PolicyKind::User, &[("max-length", integer(5)), ("expires", integer(9))]);
    let operator = policy(PolicyKind::Operator, &[("max-length", integer(2))]);
    let both = effective_policy_definition(Some(&user), Some(&operator));
    let shown: Vec<_> = both.iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(shown, ["expires=9", "max-length=2"]);
    assert_eq!(effective_policy_definition(None, None).iter().count(), 0);
}
