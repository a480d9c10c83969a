use super::super::fixtures::{q, refusal, table, text};
use super::*;

type Entries<'a> = &'a [(&'a str, Value<'a>)];

const CLASSIC: (&str, Value<'static>) = ("x-queue-type", Value::LongStr(b"classic"));
const QUORUM: (&str, Value<'static>) = ("x-queue-type", Value::LongStr(b"quorum"));
const STREAM: (&str, Value<'static>) = ("x-queue-type", Value::LongStr(b"stream"));

fn parse(entries: Entries<'_>) -> Checked<QueueArguments> {
    QueueArguments::parse(&q(), &table(entries))
}

fn accepted(entries: Entries<'_>) -> QueueArguments {
    parse(entries).expect("the arguments are valid")
}

/// The reason for which the value of an argument is refused.
#[track_caller]
fn check_reason(kind: (&str, Value<'_>), name: &str, value: Value<'_>, expected: &str) {
    let text = refusal(parse(&[kind, (name, value)]));
    assert_eq!(text, format!("invalid arg '{name}' for queue 'q' in vhost '/': {expected}"));
}

#[test]
fn no_arguments_are_a_plain_queue() {
    assert_eq!(accepted(&[]), QueueArguments::default());
}

#[test]
fn every_argument_has_its_field() {
    let entries = [
        ("x-message-ttl", Value::I32(0)),
        ("x-expires", Value::U32(60_000)),
        ("x-max-length", Value::I64(10)),
        ("x-max-length-bytes", Value::U16(1000)),
        ("x-overflow", text("reject-publish")),
        ("x-dead-letter-exchange", text("")),
        ("x-dead-letter-routing-key", text("dead")),
        ("x-max-priority", Value::U8(255)),
        ("x-single-active-consumer", Value::Bool(true)),
        ("x-delivery-limit", Value::I8(3)),
        ("x-consumer-timeout", Value::I16(500)),
        ("x-queue-mode", text("lazy")),
        ("x-queue-version", Value::I32(2)),
        ("foo", Value::Void),
    ];
    let raw = table(&entries);
    let expected = QueueArguments {
        message_ttl_ms: Some(0),
        expires_ms: Some(60_000),
        max_length: Some(10),
        max_length_bytes: Some(1000),
        overflow: Overflow::RejectPublish,
        dead_letter_exchange: Some(ShortString::default()),
        dead_letter_routing_key: Some(ShortString::truncated(b"dead")),
        max_priority: Some(255),
        single_active_consumer: true,
        queue_type: QueueType::Classic,
        delivery_limit: Some(3),
        consumer_timeout_ms: Some(500),
        raw: raw.clone(),
    };
    assert_eq!(QueueArguments::parse(&q(), &raw), Ok(expected));
}

#[test]
fn every_type_and_overflow_has_its_value() {
    for (kind, expected) in
        [(CLASSIC, QueueType::Classic), (QUORUM, QueueType::Quorum), (STREAM, QueueType::Stream)]
    {
        assert_eq!(accepted(&[kind]).queue_type, expected);
        assert_eq!(kind.1, text(expected.name()));
    }
    for (name, expected) in [
        ("drop-head", Overflow::DropHead),
        ("reject-publish", Overflow::RejectPublish),
        ("reject-publish-dlx", Overflow::RejectPublishDlx),
    ] {
        assert_eq!(accepted(&[("x-overflow", text(name))]).overflow, expected);
    }
}

#[test]
fn integers_are_integers_and_not_negative() {
    let natural = [
        "x-expires",
        "x-message-ttl",
        "x-max-length",
        "x-max-length-bytes",
        "x-max-priority",
        "x-queue-version",
        "x-consumer-timeout",
    ];
    for name in natural {
        check_reason(CLASSIC, name, text("5"), "\"expected integer, got longstr\"");
        check_reason(CLASSIC, name, Value::F64(5.0), "\"expected integer, got double\"");
        let decimal = Value::Decimal { scale: 0, value: 5 };
        check_reason(CLASSIC, name, decimal, "\"expected integer, got decimal\"");
        check_reason(CLASSIC, name, Value::I32(-1), "{value_negative,-1}");
    }
    for name in ["x-max-in-memory-length", "x-max-in-memory-bytes", "x-quorum-initial-group-size"] {
        check_reason(QUORUM, name, Value::I8(-1), "{value_negative,-1}");
    }
    for name in ["x-initial-cluster-size", "x-stream-max-segment-size-bytes"] {
        check_reason(STREAM, name, Value::I64(-7), "{value_negative,-7}");
    }
}

#[test]
fn times_have_bounds() {
    let ten_years = Value::I64(315_360_000_000);
    let more = Value::I64(315_360_000_001);
    for name in ["x-expires", "x-message-ttl"] {
        accepted(&[(name, ten_years)]);
        check_reason(CLASSIC, name, more, "{value_too_large,315360000001}");
    }
    check_reason(CLASSIC, "x-expires", Value::I32(0), "{value_zero,0}");
}

#[test]
fn group_sizes_start_at_one() {
    check_reason(QUORUM, "x-quorum-initial-group-size", Value::I32(0), "{value_zero,0}");
    check_reason(STREAM, "x-initial-cluster-size", Value::I32(0), "{value_zero,0}");
}

#[test]
fn a_priority_is_at_most_255() {
    check_reason(CLASSIC, "x-max-priority", Value::I32(256), "{max_value_exceeded,256}");
}

#[test]
fn words_are_from_a_list() {
    let check = |kind, name, bad: &str| {
        check_reason(kind, name, text("bad"), bad);
        check_reason(kind, name, Value::I32(1), "{unacceptable_type,signedint}");
    };
    check(CLASSIC, "x-overflow", "invalid_overflow");
    check(CLASSIC, "x-queue-mode", "\"unsupported queue mode 'bad'\"");
    check(CLASSIC, "x-queue-master-locator", "invalid_queue_locator_arg");
    check(QUORUM, "x-queue-leader-locator", "invalid_queue_locator_arg");
    check(QUORUM, "x-dead-letter-strategy", "invalid_dlx_strategy");
    check_reason(CLASSIC, "x-queue-version", Value::I32(3), "\"unsupported queue version '3'\"");
    let unknown = refusal(parse(&[("x-queue-type", text("mirrored"))]));
    assert_eq!(
        unknown,
        "invalid arg 'x-queue-type' for queue 'q' in vhost '/': \
         \"unsupported queue type 'mirrored'\""
    );
    let number = refusal(parse(&[("x-queue-type", Value::I32(1))]));
    assert!(number.ends_with(": {unacceptable_type,signedint}"));
}

#[test]
fn a_single_active_consumer_is_true_or_false() {
    let name = "x-single-active-consumer";
    assert!(!accepted(&[(name, Value::Bool(false))]).single_active_consumer);
    check_reason(CLASSIC, name, text("true"), "{unacceptable_type,longstr}");
}

#[test]
fn an_age_is_a_number_and_a_unit() {
    for age in ["1Y", "12M", "7D", "1h", "0090m", "5s"] {
        accepted(&[STREAM, ("x-max-age", text(age))]);
    }
    for age in ["", "5", "0s", "D", "5x", "5 s", "1h30m", "-1h"] {
        check_reason(STREAM, "x-max-age", text(age), "invalid_max_age");
    }
    check_reason(STREAM, "x-max-age", Value::I32(5), "{unacceptable_type,signedint}");
}

#[test]
fn a_filter_has_16_to_255_octets() {
    let name = "x-stream-filter-size-bytes";
    accepted(&[STREAM, (name, Value::I32(16))]);
    check_reason(STREAM, name, Value::I32(15), "{unacceptable_value,15}");
}

#[test]
fn a_dead_letter_exchange_is_a_text_or_refused_in_other_words() {
    assert_eq!(
        refusal(parse(&[("x-dead-letter-exchange", Value::I32(5)), ("x-expires", Value::I32(0))])),
        "invalid type 'signedint' for arg 'x-dead-letter-exchange' in queue 'q' in vhost '/'"
    );
}

#[test]
fn a_dead_letter_routing_key_needs_an_exchange() {
    let name = "x-dead-letter-routing-key";
    check_reason(CLASSIC, name, text("k"), "routing_key_but_no_dlx_defined");
    check_reason(CLASSIC, name, Value::Bool(true), "{unacceptable_type,bool}");
}

#[test]
fn dead_letter_names_are_never_cut() {
    let (fits, long) = ("k".repeat(255), "k".repeat(256));
    let exchange = "x-dead-letter-exchange";
    let key = "x-dead-letter-routing-key";
    let both = accepted(&[(exchange, text(&fits)), (key, text(&fits))]);
    assert_eq!(both.dead_letter_routing_key.map(|key| key.len()), Some(255));
    check_reason(CLASSIC, exchange, text(&long), "{unacceptable_length,256}");
    let refused = refusal(parse(&[(exchange, text("")), (key, text(&long))]));
    assert!(refused.ends_with(
        "'x-dead-letter-routing-key' for queue 'q' in vhost '/': {unacceptable_length,256}"
    ));
}

#[test]
fn a_negative_delivery_limit_is_none() {
    assert_eq!(accepted(&[("x-delivery-limit", Value::I32(-1))]).delivery_limit, None);
    assert_eq!(accepted(&[QUORUM, ("x-delivery-limit", Value::I32(0))]).delivery_limit, Some(0));
    let reason = "\"expected integer, got longstr\"";
    check_reason(CLASSIC, "x-delivery-limit", text("5"), reason);
    check_reason(QUORUM, "x-delivery-limit", text("5"), reason);
}

#[test]
fn values_are_checked_in_a_fixed_order() {
    let mut entries: Vec<_> = [
        "x-consumer-timeout",
        "x-delivery-limit",
        "x-single-active-consumer",
        "x-queue-version",
        "x-queue-mode",
        "x-overflow",
        "x-max-priority",
        "x-max-length-bytes",
        "x-max-length",
        "x-dead-letter-routing-key",
        "x-message-ttl",
        "x-expires",
        "x-queue-type",
        "x-dead-letter-exchange",
    ]
    .map(|name| (name, Value::Void))
    .into();
    while let Some((last, _)) = entries.last() {
        let name = format!("arg '{last}'");
        assert!(refusal(parse(&entries)).contains(&name), "{name} is checked first");
        entries.pop();
    }
}

#[test]
fn an_argument_of_another_type_is_refused_after_the_values() {
    let check =
        |entries: Entries<'_>, expected: &str| assert_eq!(refusal(parse(entries)), expected);
    check(
        &[("x-max-age", text("1h"))],
        "invalid arg 'x-max-age' for queue 'q' in vhost '/' of queue type rabbit_classic_queue",
    );
    check(
        &[QUORUM, ("x-queue-mode", text("lazy")), ("x-max-priority", Value::I32(5))],
        "invalid arg 'x-max-priority' for queue 'q' in vhost '/' of queue type rabbit_quorum_queue",
    );
    check(
        &[STREAM, ("x-message-ttl", Value::I32(5)), ("x-max-length", Value::I32(5))],
        "invalid arg 'x-max-length' for queue 'q' in vhost '/' of queue type rabbit_stream_queue",
    );
    check(
        &[QUORUM, ("x-max-priority", Value::I32(5)), ("x-expires", Value::I32(0))],
        "invalid arg 'x-expires' for queue 'q' in vhost '/': {value_zero,0}",
    );
}

#[test]
fn each_type_takes_its_own_arguments() {
    let takes = |kind: QueueType| known().filter(|name| kind.takes(name)).count();
    assert_eq!(takes(QueueType::Classic), 16);
    assert_eq!(takes(QueueType::Quorum), 16);
    assert_eq!(takes(QueueType::Stream), 7);
    for kind in [QueueType::Classic, QueueType::Quorum, QueueType::Stream] {
        let mut taken = kind.compared().iter().chain(kind.tolerated());
        assert!(taken.all(|name| known().any(|known| known == *name)), "each has a rule");
    }
}

#[test]
fn properties_that_only_classic_queues_have() {
    let check = |kind, (durable, exclusive, auto_delete), expected: Option<&str>| {
        let arguments = accepted(&[kind]);
        let outcome = arguments.check_properties(&q(), durable, exclusive, auto_delete);
        match expected {
            None => assert_eq!(outcome, Ok(())),
            Some(property) => assert_eq!(
                refusal(outcome),
                format!("invalid property '{property}' for queue 'q' in vhost '/'")
            ),
        }
    };
    check(CLASSIC, (false, true, true), None);
    for kind in [QUORUM, STREAM] {
        check(kind, (true, false, false), None);
        check(kind, (false, false, false), Some("non-durable"));
        check(kind, (false, true, false), Some("exclusive-owner"));
        check(kind, (false, true, true), Some("auto-delete"));
    }
}

#[test]
fn a_segment_size_is_checked_after_the_properties() {
    let name = "x-stream-max-segment-size-bytes";
    let check = |size, durable| {
        accepted(&[STREAM, (name, Value::I64(size))]).check_properties(&q(), durable, false, false)
    };
    assert_eq!(check(3_000_000_000, true), Ok(()));
    assert_eq!(refusal(check(3_000_000_001, true)), format!("Exceeded max value for {name}"));
    assert!(refusal(check(3_000_000_001, false)).contains("non-durable"));
}

#[test]
fn only_classic_queues_go_without_a_name() {
    assert_eq!(check_server_named(&table(&[])), Ok(()));
    assert_eq!(check_server_named(&table(&[CLASSIC])), Ok(()));
    assert_eq!(check_server_named(&table(&[("x-queue-type", Value::I32(1))])), Ok(()));
    assert_eq!(
        refusal(check_server_named(&table(&[QUORUM]))),
        "Cannot declare a server-named queue for type rabbit_quorum_queue"
    );
    assert_eq!(
        refusal(check_server_named(&table(&[STREAM]))),
        "Cannot declare a server-named queue for type rabbit_stream_queue"
    );
}

fn compare(current: Entries<'_>, received: Entries<'_>) -> Checked<()> {
    accepted(current).check_equivalent(&q(), &table(received))
}

#[test]
fn arguments_that_nobody_obeys_are_not_compared() {
    let entries = [
        ("foo", Value::I32(1)),
        ("x-foo", Value::I32(1)),
        ("x-ha-policy", text("all")),
        ("x-consumer-timeout", Value::I32(1)),
    ];
    for entry in entries {
        assert_eq!(compare(&[entry], &[]), Ok(()));
        assert_eq!(compare(&[], &[entry]), Ok(()));
    }
}

#[test]
fn every_argument_of_the_type_is_compared() {
    let only = |name: &'static str| [(name, Value::Void)];
    for name in QueueType::Classic.compared() {
        let inequivalent = format!(
            "inequivalent arg '{name}' for queue 'q' in vhost '/': \
             received the value 'undefined' of type 'void' but current is none"
        );
        assert_eq!(refusal(compare(&[], &only(name))), inequivalent);
    }
    assert_eq!(compare(&[QUORUM], &[QUORUM, ("x-max-priority", Value::I32(1))]), Ok(()));
    assert_eq!(compare(&[], &[("x-max-age", text("1h"))]), Ok(()));
}

#[test]
fn the_first_difference_is_reported() {
    let current = [("x-max-length", Value::I32(5)), ("x-message-ttl", Value::I32(60_000))];
    assert_eq!(
        refusal(compare(&current, &[("x-max-length", Value::I32(6))])),
        "inequivalent arg 'x-message-ttl' for queue 'q' in vhost '/': \
         received none but current is the value '60000' of type 'signedint'"
    );
    let other = [("x-max-length", Value::I32(6)), ("x-message-ttl", Value::I64(60_000))];
    assert_eq!(
        refusal(compare(&current, &other)),
        "inequivalent arg 'x-max-length' for queue 'q' in vhost '/': \
         received '6' but current is '5'"
    );
}

#[test]
fn a_bad_value_is_different_and_not_invalid() {
    let refused =
        refusal(compare(&[("x-expires", Value::I32(5))], &[("x-expires", Value::I32(0))]));
    assert!(refused.starts_with("inequivalent arg 'x-expires'"));
}

#[test]
fn classic_and_unsaid_are_the_same_type() {
    assert_eq!(compare(&[CLASSIC], &[]), Ok(()));
    assert_eq!(compare(&[], &[CLASSIC]), Ok(()));
    assert_eq!(
        refusal(compare(&[], &[QUORUM])),
        "inequivalent arg 'x-queue-type' for queue 'q' in vhost '/': \
         received the value 'quorum' of type 'longstr' but current is none"
    );
    assert_eq!(
        refusal(compare(&[QUORUM], &[CLASSIC])),
        "inequivalent arg 'x-queue-type' for queue 'q' in vhost '/': \
         received 'classic' but current is 'quorum'"
    );
}
