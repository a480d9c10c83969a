//! Policies and operator policies, on queues and exchanges that are there and that come later.

use leveret::broker::policy::{Policy, PolicyKind, PolicySet, PolicyValue};
use leveret_codec::Value;
use leveret_codec::method::{exchange, queue};

use crate::support::world::{World, pages_everything, s, text};

/// One key of a policy.
type Key<'a> = (&'a str, PolicyValue);

fn number(key: &str, value: i64) -> Key<'_> {
    (key, PolicyValue::Integer(value))
}

fn word<'a>(key: &'a str, value: &str) -> Key<'a> {
    (key, PolicyValue::Text(value.into()))
}

fn policy(
    kind: PolicyKind,
    name: &str,
    pattern: &str,
    apply_to: &str,
    priority: i64,
    keys: &[Key<'_>],
) -> Policy {
    let keys = keys.iter().map(|(key, value)| ((*key).to_owned(), value.clone()));
    Policy::parse(kind, name, pattern, Some(apply_to), priority, keys).expect("a policy")
}

/// A user's policy for queues whose names begin with q.
fn for_q(keys: &[Key<'_>]) -> PolicySet {
    let mut policies = PolicySet::default();
    policies.set(PolicyKind::User, policy(PolicyKind::User, "p", "^q", "queues", 0, keys));
    policies
}

/// The same of the operator.
fn by_operator(keys: &[Key<'_>]) -> PolicySet {
    let kind = PolicyKind::Operator;
    let mut policies = PolicySet::default();
    policies.set(kind, policy(kind, "o", "^q", "queues", 0, keys));
    policies
}

fn names(world: &World, queue: &str) -> (Option<String>, Option<String>) {
    let queue = world.queue(queue).expect("the queue is there");
    (queue.policy, queue.operator_policy)
}

#[test]
fn a_policy_is_for_what_its_pattern_finds_in_the_name() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q-before");
    ch.declare("other-q");
    world.policies(&for_q(&[number("max-length", 1)]));
    ch.declare("q-later");
    for queue in ["q-before", "q-later", "other-q"] {
        ch.publish(queue, "a");
        ch.publish(queue, "b");
    }
    let lengths = ["q-before", "q-later", "other-q"].map(|queue| world.counts(queue));
    assert_eq!(lengths, ["1/0", "1/0", "2/0"]);
    assert_eq!(names(&world, "q-later"), (Some("p".into()), None));
    assert_eq!(names(&world, "other-q"), (None, None));
}

#[test]
fn a_pattern_is_searched_anywhere_in_the_name() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    let mut policies = PolicySet::default();
    let keys = [number("max-length", 0)];
    policies.set(PolicyKind::User, policy(PolicyKind::User, "p", "or", "all", 0, &keys));
    world.policies(&policies);
    ch.declare("orders");
    ch.declare("a-word");
    ch.declare("else");
    assert!(names(&world, "orders").0.is_some() && names(&world, "a-word").0.is_some());
    assert!(names(&world, "else").0.is_none());
}

#[test]
fn a_max_length_trims_at_once_and_dead_letters_what_it_drops() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("dead");
    ch.declare_with(
        "q",
        &[("x-dead-letter-exchange", text("")), ("x-dead-letter-routing-key", text("dead"))],
    );
    for body in ["1", "2", "3", "4"] {
        ch.publish("q", body);
    }
    ch.get("q");
    world.policies(&for_q(&[number("max-length", 2)]));
    assert_eq!(world.counts("q"), "2/1", "what is delivered does not count");
    let dead = ch.drain("dead");
    assert_eq!(dead[0].body, "2");
    assert_eq!(dead[0].header("x-first-death-reason"), Some(text("maxlen")));
    world.policies(&for_q(&[number("max-length-bytes", 1)]));
    assert_eq!(ch.drain_bodies("q"), ["4"]);
}

#[test]
fn a_trimmed_message_stays_gone_after_a_restart() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare_durable("q", &[]);
    ch.publish_persistent("q", "a");
    ch.publish_persistent("q", "b");
    world.policies(&for_q(&[number("max-length", 1)]));
    let world = world.restarted();
    let client = world.client();
    assert_eq!(client.channel(1).drain_bodies("q"), ["b"]);
}

#[test]
fn a_ttl_is_for_messages_to_come_and_live_ones_shield_them() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    ch.publish("q", "old");
    world.policies(&for_q(&[number("message-ttl", 100)]));
    ch.publish("q", "new");
    world.pass_ms(1000);
    assert_eq!(world.counts("q"), "2/0");
    // What lies on the disk behind the next one is counted until it is looked at.
    let left = u8::from(pages_everything());
    assert_eq!(ch.get("q"), format!("basic.get-ok 1 old left={left}"));
    assert_eq!(ch.get("q"), "basic.get-empty");
    ch.publish("q", "newer");
    world.pass_ms(100);
    assert_eq!(world.counts("q"), "0/1");
    // Nor does its end give anything its time back.
    ch.publish("q", "last");
    world.policies(&PolicySet::default());
    ch.publish("q", "stays");
    world.pass_ms(100);
    assert_eq!(ch.drain_bodies("q"), ["stays"]);
}

#[test]
fn of_an_argument_and_a_policy_the_lower_limit_counts() {
    for (argument, in_policy, kept) in [(5, 3, 3), (2, 3, 2)] {
        for policies in [
            for_q(&[number("max-length", in_policy)]),
            by_operator(&[number("max-length", in_policy)]),
        ] {
            let world = World::new();
            let client = world.client();
            let ch = client.channel(1);
            world.policies(&policies);
            ch.declare_with("q", &[("x-max-length", Value::I32(argument))]);
            for _ in 0..6 {
                ch.publish("q", "m");
            }
            assert_eq!(world.counts("q"), format!("{kept}/0"));
        }
    }
}

#[test]
fn of_two_ttls_the_lower_counts() {
    for (argument, in_policy) in [(300, 100), (100, 300)] {
        let world = World::new();
        let client = world.client();
        let ch = client.channel(1);
        world.policies(&for_q(&[number("message-ttl", in_policy)]));
        ch.declare_with("q", &[("x-message-ttl", Value::I32(argument))]);
        ch.publish("q", "m");
        world.pass_ms(99);
        assert_eq!(world.counts("q"), "1/0");
        world.pass_ms(1);
        assert_eq!(world.counts("q"), "0/0");
    }
}

#[test]
fn of_other_arguments_what_was_declared_counts() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    world.policies(&for_q(&[word("overflow", "drop-head"), number("max-length", 1)]));
    ch.declare_with("q", &[("x-overflow", text("reject-publish"))]);
    ch.confirm_select();
    ch.publish("q", "a");
    ch.publish("q", "b");
    assert_eq!(ch.lines(), ["basic.ack 1", "basic.nack 2"]);
    assert_eq!(ch.drain_bodies("q"), ["a"]);
}

#[test]
fn overflow_may_come_from_a_policy_later() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare_with("q", &[("x-max-length", Value::I32(1))]);
    ch.confirm_select();
    ch.publish("q", "a");
    ch.publish("q", "b");
    world.policies(&for_q(&[word("overflow", "reject-publish")]));
    ch.publish("q", "c");
    assert_eq!(ch.lines(), ["basic.ack 1", "basic.ack 2", "basic.nack 3"]);
    assert_eq!(ch.drain_bodies("q"), ["b"]);
}

#[test]
fn dead_letter_keys_of_argument_and_policy_go_together() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    for queue in ["dead", "declared", "buried"] {
        ch.declare(queue);
    }
    ch.exchange("dlx", "direct");
    ch.bind("buried", "dlx", "dead");
    ch.bind("buried", "dlx", "declared");
    // The exchange is declared, the key said by the policy.
    ch.declare_with("q1", &[("x-dead-letter-exchange", text(""))]);
    // Both are declared: the policy says nothing.
    ch.declare_with(
        "q2",
        &[("x-dead-letter-exchange", text("")), ("x-dead-letter-routing-key", text("declared"))],
    );
    ch.declare("q3");
    let dlx = word("dead-letter-exchange", "dlx");
    world.policies(&for_q(&[dlx, word("dead-letter-routing-key", "dead")]));
    for queue in ["q1", "q2", "q3"] {
        ch.publish(queue, queue);
        ch.messages();
        ch.get(queue);
        let tag = ch.messages()[0].delivery_tag;
        ch.reject(tag, false);
    }
    assert_eq!(ch.drain_bodies("dead"), ["q1"]);
    assert_eq!(ch.drain_bodies("declared"), ["q2"]);
    assert_eq!(ch.drain_bodies("buried"), ["q3"]);
}

#[test]
fn a_policy_dead_letters_what_was_there_before_it() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    ch.declare("dead");
    ch.publish("q", "a");
    ch.publish("q", "b");
    let to_dead = [word("dead-letter-exchange", ""), word("dead-letter-routing-key", "dead")];
    world.policies(&for_q(&to_dead));
    ch.get("q");
    ch.reject(1, false);
    assert_eq!(ch.drain_bodies("dead"), ["a"]);
    ch.messages();
    world.policies(&PolicySet::default());
    ch.get("q");
    let tag = ch.messages()[0].delivery_tag;
    ch.reject(tag, false);
    assert!(ch.drain_bodies("dead").is_empty());
}

#[test]
fn a_queue_expires_by_policy_counted_from_the_policy_on() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    world.pass_ms(60_000);
    world.policies(&for_q(&[number("expires", 1000)]));
    world.pass_ms(999);
    assert!(world.queue("q").is_some());
    world.pass_ms(1);
    assert!(world.queue("q").is_none());
}

#[test]
fn a_use_of_the_queue_puts_its_expiry_off_and_the_end_of_the_policy_calls_it_off() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    world.policies(&for_q(&[number("expires", 1000)]));
    ch.declare("q");
    ch.declare_with("q-sooner", &[("x-expires", Value::I32(400))]);
    world.pass_ms(400);
    assert!(world.queue("q-sooner").is_none());
    world.pass_ms(500);
    ch.get("q");
    world.pass_ms(900);
    assert!(world.queue("q").is_some());
    world.policies(&PolicySet::default());
    world.pass_ms(10_000);
    assert!(world.queue("q").is_some());
}

#[test]
fn a_delivery_limit_may_come_from_a_policy() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare_durable("q", &[("x-queue-type", text("quorum"))]);
    ch.declare_with("q-classic", &[("x-delivery-limit", Value::I32(5))]);
    world.policies(&for_q(&[number("delivery-limit", 1)]));
    let mut tag = 0;
    for queue in ["q", "q-classic"] {
        ch.publish(queue, "poison");
        for _ in 0..2 {
            assert!(ch.get(queue).starts_with("basic.get-ok"));
            tag += 1;
            ch.reject(tag, true);
        }
        assert_eq!(world.counts(queue), "0/0");
    }
}

#[test]
fn a_consumer_timeout_may_come_from_a_policy() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    ch.publish("q", "a");
    ch.get("q");
    ch.lines();
    world.policies(&for_q(&[number("consumer-timeout", 60_000)]));
    world.pass_ms(60_000);
    assert!(ch.lines()[0].contains("Timeout value used: 60000 ms"));
}

#[test]
fn the_policy_with_the_highest_priority_is_the_only_one() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    let kind = PolicyKind::User;
    let mut policies = PolicySet::default();
    policies.set(kind, policy(kind, "low", ".*", "all", 1, &[number("max-length", 1)]));
    policies.set(kind, policy(kind, "high", "^q$", "all", 7, &[number("message-ttl", 50)]));
    policies.set(kind, policy(kind, "higher", "^r$", "all", 9, &[number("max-length", 0)]));
    world.policies(&policies);
    ch.publish("q", "a");
    ch.publish("q", "b");
    assert_eq!(world.counts("q"), "2/0", "the lower one counts for nothing");
    world.pass_ms(50);
    assert_eq!(world.counts("q"), "0/0");
    assert_eq!(names(&world, "q").0, Some("high".into()));
    policies.remove(kind, "high");
    world.policies(&policies);
    assert_eq!(names(&world, "q").0, Some("low".into()));
    ch.publish("q", "a");
    ch.publish("q", "b");
    assert_eq!(world.counts("q"), "1/0");
}

#[test]
fn an_operator_limits_what_users_say() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    let mut policies = for_q(&[number("max-length", 5), word("overflow", "drop-head")]);
    let kind = PolicyKind::Operator;
    let keys = [number("max-length", 2), word("overflow", "reject-publish")];
    policies.set(kind, policy(kind, "o", "^q", "queues", 0, &keys));
    world.policies(&policies);
    ch.confirm_select();
    for body in ["a", "b", "c"] {
        ch.publish("q", body);
    }
    assert_eq!(ch.lines(), ["basic.ack 1", "basic.ack 2", "basic.nack 3"]);
    assert_eq!(names(&world, "q"), (Some("p".into()), Some("o".into())));
    policies.remove(kind, "o");
    world.policies(&policies);
    for body in ["d", "e", "f", "g"] {
        ch.publish("q", body);
    }
    assert_eq!(ch.drain_bodies("q"), ["b", "d", "e", "f", "g"]);
}

#[test]
fn an_operator_may_leave_the_lower_limit_of_a_user_alone() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    let mut policies = for_q(&[number("max-length", 1)]);
    let kind = PolicyKind::Operator;
    policies.set(kind, policy(kind, "o", "^q", "queues", 0, &[number("max-length", 4)]));
    world.policies(&policies);
    ch.publish("q", "a");
    ch.publish("q", "b");
    assert_eq!(world.counts("q"), "1/0");
}

#[test]
fn a_policy_for_some_kinds_leaves_the_others_alone() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q-classic");
    ch.declare_durable("q-quorum", &[("x-queue-type", text("quorum"))]);
    for (apply_to, expected) in [
        ("queues", [true, true]),
        ("all", [true, true]),
        ("classic_queues", [true, false]),
        ("quorum_queues", [false, true]),
        ("streams", [false, false]),
        ("exchanges", [false, false]),
    ] {
        let mut policies = PolicySet::default();
        let keys = [number("max-length", 1)];
        let kind = PolicyKind::User;
        policies.set(kind, policy(kind, "p", "^q", apply_to, 0, &keys));
        world.policies(&policies);
        let found = ["q-classic", "q-quorum"].map(|queue| names(&world, queue).0.is_some());
        assert_eq!(found, expected, "{apply_to}");
    }
}

#[test]
fn an_alternate_exchange_may_come_from_a_policy() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    for exchange in ["rest", "declared"] {
        ch.exchange(exchange, "fanout");
        ch.declare(exchange);
        ch.bind(exchange, exchange, "");
    }
    ch.exchange("x-before", "direct");
    let mut policies = PolicySet::default();
    let (kind, keys) = (PolicyKind::User, [word("alternate-exchange", "rest")]);
    policies.set(kind, policy(kind, "p", "^x", "exchanges", 0, &keys));
    world.policies(&policies);
    ch.exchange("x-later", "direct");
    ch.exchange_with("x-own", "direct", &[("alternate-exchange", text("declared"))]);
    for exchange in ["x-before", "x-later", "x-own"] {
        ch.publish_to(exchange, "k", exchange);
    }
    assert_eq!(ch.drain_bodies("rest"), ["x-before", "x-later"]);
    assert_eq!(ch.drain_bodies("declared"), ["x-own"], "what was declared counts");
    world.policies(&PolicySet::default());
    ch.publish_mandatory("x-before", "k", "a");
    assert_eq!(ch.lines().pop().as_deref(), Some("basic.return 312 NO_ROUTE a"));
}

#[test]
fn policies_play_no_part_in_equivalence() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    let mut policies = PolicySet::default();
    let keys =
        [number("max-length", 5), word("alternate-exchange", "rest"), number("expires", 60_000)];
    policies.set(PolicyKind::User, policy(PolicyKind::User, "p", ".*", "all", 0, &keys));
    world.policies(&policies);
    for _ in 0..2 {
        ch.declare("q");
        ch.exchange("x", "direct");
    }
    assert_eq!(
        ch.try_declare("q", &[("x-max-length", Value::I32(5))]),
        "channel.close 406 50,10 PRECONDITION_FAILED - inequivalent arg 'x-max-length' for queue \
         'q' in vhost '/': received the value '5' of type 'signedint' but current is none"
    );
}

#[test]
fn a_negative_or_missing_match_leaves_things_as_declared() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare_with("other", &[("x-max-length", Value::I32(3))]);
    world.policies(&for_q(&[number("max-length", 1)]));
    for _ in 0..5 {
        ch.publish("other", "m");
    }
    assert_eq!(world.counts("other"), "3/0");
    // A policy for queues is none of an exchange's, whatever its name.
    ch.exchange("q", "fanout");
    let delete = exchange::Delete { exchange: s("q"), ..Default::default() };
    assert_eq!(ch.call(delete), "exchange.delete-ok");
    let delete = queue::Delete { queue: s("other"), ..Default::default() };
    assert_eq!(ch.call(delete), "queue.delete-ok 3");
}

#[test]
fn a_policy_is_in_force_while_the_broker_comes_up() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    let policies = for_q(&[number("expires", 1000), number("max-length", 3)]);
    world.policies(&policies);
    ch.declare_durable("q", &[]);
    for body in ["a", "b", "c", "d"] {
        ch.publish_persistent("q", body);
    }
    world.pass_ms(900);
    let world = world.restarted_under(&policies);
    assert_eq!(names(&world, "q").0, Some("p".into()));
    assert_eq!(world.counts("q"), "3/0");
    // A restart is use: what nobody could reach does not expire for that.
    world.pass_ms(999);
    assert!(world.queue("q").is_some());
    world.pass_ms(1);
    assert!(world.queue("q").is_none());
    assert_eq!(world.restarted_under(&policies).queue("q"), None);
}
