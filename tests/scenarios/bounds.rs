//! No input holds the virtual host for longer than a stated number of steps, and what takes several holds
//! looks to clients as if it were done at once.

use leveret::broker::limits::{AT_ONCE, DEAD_LETTER_QUEUES, STEPS_A_HOLD, most_steps_of_a_hold};
use leveret::broker::policy::{Policy, PolicyKind, PolicySet, PolicyValue};
use leveret::broker::vhost::Notice;
use leveret_codec::Value;
use leveret_codec::method::{basic, channel, queue, tx};
use leveret_codec::table::{ArrayBuilder, TableBuilder};

use crate::support::world::{Channel, World, pages_everything, s, text};

/// More than one hold deals with.
const MANY: usize = STEPS_A_HOLD + 2 * AT_ONCE;

#[track_caller]
fn assert_holds_are_bounded(world: &World) {
    let longest = world.longest_hold();
    assert!(longest <= most_steps_of_a_hold(0) as u64, "a hold of {longest} steps");
}

fn fill(world: &World, ch: Channel<'_>, name: &str, messages: usize) {
    world.batch(|| {
        for number in 0..messages {
            ch.publish(name, &number.to_string());
        }
    });
}

/// Queues that let everything die at once, all bound to the one exchange that they dead-letter to.
fn declare_product(ch: Channel<'_>, queues: usize) {
    ch.exchange("x", "fanout");
    for number in 0..queues {
        let name = format!("q{number}");
        ch.declare_with(
            &name,
            &[("x-max-length", Value::I32(0)), ("x-dead-letter-exchange", text("x"))],
        );
        ch.bind(&name, "x", "");
    }
}

#[test]
fn copies_that_multiply_without_end_are_dropped_and_told() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    declare_product(ch, 24);
    let before = world.steps();
    ch.publish_to("x", "", "a");
    // 24 queues would make some 10^24 deaths.
    let steps = world.steps() - before;
    assert!(steps < 3_000_000, "{steps} steps");
    assert_holds_are_bounded(&world);
    let ended = |notice: &Notice| matches!(notice, Notice::DeadLetteringEnded { .. });
    assert!(world.notices().iter().any(ended));
    assert!(client.lines().is_empty());
}

#[test]
fn a_few_copies_of_copies_arrive_all() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    declare_product(ch, 5);
    ch.declare("all");
    ch.bind("all", "x", "");
    ch.publish_to("x", "", "a");
    // One of the publish, and one of each of the 5 + 5·4 + 5·4·3 + 5·4·3·2 + 5! deaths.
    assert_eq!(world.counts("all"), "326/0");
    assert_eq!(world.notices(), []);
}

#[test]
fn who_publishes_what_multiplies_waits_and_others_do_not() {
    let world = World::new();
    let (culprit, other) = (world.client(), world.client());
    let (ch, other) = (culprit.channel(1), other.channel(1));
    declare_product(ch, 24);
    other.declare("q");
    world.pause_work();
    ch.publish_to("x", "", "a");
    other.publish("q", "b");
    assert_eq!(other.get_no_ack("q"), "basic.get-ok 1 b left=0");
    assert_holds_are_bounded(&world);
    assert!(world.message_memory() < 10_000_000, "{} bytes", world.message_memory());
    world.work_to_the_end();
    assert_eq!(world.message_memory(), 0);
}

#[test]
fn a_chain_of_queues_ends_somewhere() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    for number in 0..DEAD_LETTER_QUEUES + 20 {
        let next = format!("q{}", number + 1);
        let arguments = [
            ("x-message-ttl", Value::I32(0)),
            ("x-dead-letter-exchange", text("")),
            ("x-dead-letter-routing-key", text(&next)),
        ];
        ch.declare_with(&format!("q{number}"), &arguments);
    }
    ch.publish("q0", "a");
    let ended = |notice: &Notice| matches!(notice, Notice::DeadLetteringEnded { messages: 1, .. });
    assert!(world.notices().iter().any(ended));
}

#[test]
fn a_publish_to_many_queues_is_confirmed_when_all_have_it() {
    let world = World::new();
    let (client, other_client) = (world.client(), world.client());
    let (ch, other) = (client.channel(1), other_client.channel(1));
    world.batch(|| {
        for number in 0..MANY {
            let name = format!("q{number}");
            ch.send(queue::Declare { queue: s(&name), nowait: true, ..Default::default() });
            let bind = queue::Bind {
                queue: s(&name),
                exchange: s("amq.fanout"),
                nowait: true,
                ..Default::default()
            };
            ch.send(bind);
        }
    });
    let last = format!("q{}", MANY - 1);
    other.declare("other");
    ch.confirm_select();
    world.pause_work();
    ch.publish_to("amq.fanout", "", "a");
    assert_eq!(world.counts("q0"), "1/0");
    assert_eq!(world.counts(&last), "0/0");
    assert!(client.lines().is_empty(), "not confirmed yet");
    other.publish("other", "b");
    assert_eq!(other.get("other"), "basic.get-ok 1 b left=0");
    world.work_to_the_end();
    assert_eq!(world.counts(&last), "1/0");
    assert_eq!(client.lines(), ["basic.ack 1"]);
    assert_holds_are_bounded(&world);
}

#[test]
fn what_a_client_held_comes_back_as_one_and_in_order() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    ch.declare("other");
    fill(&world, ch, "q", MANY);
    let holder = world.client();
    let held = holder.channel(1);
    held.consume("q", "c");
    assert_eq!(held.messages().len(), MANY);
    world.pause_work();
    holder.vanish();
    let queue = world.queue("q").expect("it is there");
    assert!(queue.messages_ready > 0 && queue.messages_unacknowledged > 0, "in steps: {queue:?}");
    ch.publish("q", "last");
    ch.publish("other", "b");
    assert_eq!(ch.drain_bodies("other"), ["b"]);
    world.work_to_the_end();
    assert_eq!(world.counts("q"), format!("{}/0", MANY + 1));
    assert_holds_are_bounded(&world);
    let expected = (0..MANY).map(|number| number.to_string()).chain(["last".to_owned()]);
    ch.consume_no_ack("q", "d");
    world.work_to_the_end();
    let bodies = ch.bodies();
    let wrong = bodies.iter().cloned().zip(expected).find(|(found, expected)| found != expected);
    assert_eq!((bodies.len(), wrong), (MANY + 1, None), "in their order");
}

#[test]
fn nothing_leaves_a_queue_while_what_was_held_comes_back() {
    let world = World::new();
    let (client, holder) = (world.client(), world.client());
    let ch = client.channel(1);
    ch.declare("q");
    fill(&world, ch, "q", MANY);
    holder.channel(1).consume("q", "c");
    ch.publish("q", "last");
    world.pause_work();
    holder.vanish();
    ch.consume_no_ack("q", "d");
    assert_eq!(ch.messages().len(), 0, "the queue is held");
    world.work_to_the_end();
    let bodies = ch.bodies();
    assert_eq!((bodies.len(), &*bodies[0], &*bodies[MANY]), (MANY + 1, "0", "last"));
}

#[test]
fn acknowledging_all_is_one_whatever_becomes_of_the_channel() {
    let world = World::new();
    let (client, other_client) = (world.client(), world.client());
    let (ch, other) = (client.channel(1), other_client.channel(1));
    ch.declare("q");
    other.declare("other");
    fill(&world, ch, "q", MANY);
    ch.consume("q", "c");
    assert_eq!(ch.messages().len(), MANY);
    world.pause_work();
    ch.send(basic::Ack { delivery_tag: 0, multiple: true });
    let left = world.queue("q").expect("it is there").messages_unacknowledged;
    assert!(left > 0, "in steps");
    other.publish("other", "b");
    assert_eq!(other.get("other"), "basic.get-ok 1 b left=0");
    client.vanish();
    world.work_to_the_end();
    assert_eq!(world.counts("q"), "0/0", "all of them are acknowledged, and none came back");
    assert_holds_are_bounded(&world);
}

#[test]
fn a_large_commit_is_seen_as_a_whole() {
    let world = World::new();
    let (client, reading) = (world.client(), world.client());
    let (ch, reader) = (client.channel(1), reading.channel(1));
    for name in ["a", "b"] {
        ch.declare(name);
    }
    ch.call(tx::Select {});
    world.batch(|| {
        for number in 0..MANY {
            ch.publish(if number % 2 == 0 { "a" } else { "b" }, &number.to_string());
        }
    });
    reader.consume_no_ack("a", "c");
    world.pause_work();
    ch.send(tx::Commit {});
    let ready = world.queue("a").expect("it is there").messages_ready;
    assert!(ready > 0, "in steps");
    assert_eq!(reader.messages().len(), 0, "nothing is seen of half a commit");
    assert!(client.lines().is_empty(), "not answered yet");
    // Even if its client does not live to see it.
    client.vanish();
    world.work_to_the_end();
    let bodies = reader.bodies();
    assert_eq!((bodies.len(), &*bodies[0]), (MANY / 2, "0"));
    assert_eq!(world.counts("b"), format!("{}/0", MANY / 2));
    assert_holds_are_bounded(&world);
}

#[test]
fn a_large_commit_is_answered_when_it_is_done() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare_durable("q", &[]);
    ch.call(tx::Select {});
    world.batch(|| (0..MANY).for_each(|_| ch.publish_persistent("q", "m")));
    assert_eq!(ch.call(tx::Commit {}), "tx.commit-ok");
    assert_eq!(world.counts("q"), format!("{MANY}/0"));
    assert_eq!(world.restarted().counts("q"), format!("{MANY}/0"));
}

#[test]
fn rolling_back_costs_what_was_held_back_and_not_what_is_outstanding() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    fill(&world, ch, "q", MANY);
    ch.call(tx::Select {});
    ch.consume("q", "c");
    let last = ch.messages().len() as u64;
    let before = world.steps();
    for _ in 0..8 {
        ch.ack(last);
        ch.call(tx::Rollback {});
        ch.send(basic::Ack { delivery_tag: last, multiple: true });
        ch.call(tx::Rollback {});
    }
    assert!(world.steps() - before < 100, "{} steps", world.steps() - before);
    assert_eq!(world.counts("q"), format!("0/{MANY}"));
    ch.send(basic::Ack { delivery_tag: last, multiple: true });
    ch.call(tx::Commit {});
    assert_eq!(world.counts("q"), "0/0");
}

#[test]
fn a_window_that_many_consumers_share_goes_to_them_in_turn() {
    // With everything on the disk, what each queue has next comes and goes all the time.
    if pages_everything() {
        return;
    }
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.qos(1, true);
    let names: Vec<_> = (0..100).map(|number| format!("q{number}")).collect();
    for name in &names {
        ch.declare(name);
        ch.consume(name, name);
    }
    for name in names.iter().chain(&names) {
        ch.publish(name, name);
    }
    let before = world.steps();
    let mut seen = Vec::new();
    for tag in 1..=200 {
        seen.extend(ch.messages().into_iter().map(|message| message.routing_key));
        ch.ack(tag);
    }
    assert!(world.steps() - before < 2_000, "{} steps", world.steps() - before);
    assert_eq!(seen.len(), 200);
    assert_eq!(seen[..100].iter().collect::<std::collections::BTreeSet<_>>().len(), 100);
    let before = world.steps();
    (0..100).for_each(|_| ch.qos(1, true));
    assert!(world.steps() - before < 1_000, "qos asks no consumer");
}

#[test]
fn many_consumers_leave_a_queue_in_steps() {
    let world = World::new();
    let (client, holder) = (world.client(), world.client());
    client.channel(1).declare_with("q", &[("x-single-active-consumer", Value::Bool(true))]);
    let subscribing = holder.channel(1);
    world.batch(|| {
        for number in 0..MANY {
            let tag = number.to_string();
            let consume = basic::Consume {
                queue: s("q"),
                consumer_tag: s(&tag),
                nowait: true,
                ..Default::default()
            };
            subscribing.send(consume);
        }
    });
    assert_eq!(world.consumers(), MANY);
    holder.vanish();
    assert_eq!(world.consumers(), 0);
    assert_holds_are_bounded(&world);
}

#[test]
fn bindings_leave_with_their_queue_in_steps_and_lead_nowhere_meanwhile() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.exchange("going", "direct");
    ch.declare("q");
    world.batch(|| {
        for number in 0..MANY {
            let key = number.to_string();
            let (queue, exchange, nowait) = (s("q"), s("amq.direct"), true);
            ch.send(queue::Bind {
                queue,
                exchange,
                routing_key: s(&key),
                nowait,
                ..Default::default()
            });
        }
    });
    world.pause_work();
    assert_eq!(ch.call(queue::Delete { queue: s("q"), ..Default::default() }), "queue.delete-ok 0");
    let last = (MANY - 1).to_string();
    ch.publish_mandatory("amq.direct", &last, "a");
    assert_eq!(client.lines(), ["basic.return 312 NO_ROUTE a"]);
    world.work_to_the_end();
    assert_holds_are_bounded(&world);
}

#[test]
fn delayed_messages_for_many_queues_come_in_steps() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.exchange_with("x", "x-delayed-message", &[("x-delayed-type", text("fanout"))]);
    world.batch(|| {
        for number in 0..2 * AT_ONCE {
            let name = format!("q{number}");
            ch.send(queue::Declare { queue: s(&name), nowait: true, ..Default::default() });
            let (queue, exchange, nowait) = (s(&name), s("x"), true);
            ch.send(queue::Bind { queue, exchange, nowait, ..Default::default() });
        }
    });
    let delayed = [("x-delay", Value::I32(100))];
    (0..20).for_each(|number| ch.publish_headers("x", "", &delayed, &number.to_string()));
    world.pass_ms(100);
    world.work_to_the_end();
    for name in ["q0", &format!("q{}", 2 * AT_ONCE - 1)] {
        assert_eq!(world.counts(name), "20/0");
        assert_eq!(ch.get(name), "basic.get-ok 1 0 left=19");
        ch.call(channel::Close::default());
        ch.call(channel::Open::default());
    }
    assert_holds_are_bounded(&world);
}

#[test]
fn a_delayed_message_does_not_overtake_one_that_is_on_its_way_to_many_queues() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.exchange_with("x", "x-delayed-message", &[("x-delayed-type", text("direct"))]);
    world.batch(|| {
        for number in 0..MANY {
            let name = format!("q{number}");
            ch.send(queue::Declare { queue: s(&name), nowait: true, ..Default::default() });
            let (queue, exchange, nowait) = (s(&name), s("x"), true);
            let routing_key = s("all");
            ch.send(queue::Bind { queue, exchange, routing_key, nowait, ..Default::default() });
        }
    });
    let last = format!("q{}", MANY - 1);
    ch.bind(&last, "x", "one");
    ch.publish_headers("x", "all", &[("x-delay", Value::I32(100))], "first");
    ch.publish_headers("x", "one", &[("x-delay", Value::I32(100))], "second");
    world.pass_ms(100);
    world.work_to_the_end();
    assert_eq!(ch.get(&last), "basic.get-ok 1 first left=1");
    assert_holds_are_bounded(&world);
}

#[test]
fn many_copies_of_a_message_to_the_same_queues_are_one() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    for number in 0..50 {
        let name = format!("q{number}");
        ch.declare(&name);
        ch.bind(&name, "amq.topic", "#");
        ch.bind(&name, "amq.direct", "k");
    }
    let (mut alike, mut others) = (ArrayBuilder::default(), ArrayBuilder::default());
    for number in 0..2000 {
        alike.push(&text("k"));
        others.push(&text(&number.to_string()));
    }
    ch.publish_headers("amq.direct", "k", &[("CC", Value::Array(alike.as_array()))], "m");
    ch.publish_headers("amq.topic", "k", &[("CC", Value::Array(others.as_array()))], "m");
    assert_eq!(world.counts("q49"), "2/0");
    assert!(world.longest_hold() < 2000, "{} steps", world.longest_hold());
}

#[test]
fn a_message_asks_only_the_bindings_that_share_a_header_with_it() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    let numbered = |number: usize, kind: &'static str| {
        let mut table = TableBuilder::default();
        table.push(b"x-match", &text(kind));
        table.push(b"alike", &Value::Bool(kind == "all"));
        table.push(b"number", &Value::I32(number as i32));
        table.finish()
    };
    world.batch(|| {
        for number in 0..2 * MANY {
            let arguments = numbered(number, if number % 2 == 0 { "all" } else { "any" });
            let (queue, exchange, nowait) = (s("q"), s("amq.headers"), true);
            let arguments = arguments.as_table();
            ch.send(queue::Bind { queue, exchange, arguments, nowait, ..Default::default() });
        }
    });
    for number in [6, 7, 2 * MANY] {
        let headers = [("alike", Value::Bool(true)), ("number", Value::I32(number as i32))];
        ch.publish_headers("amq.headers", "", &headers, &number.to_string());
    }
    assert_eq!(world.counts("q"), "2/0");
    assert!(world.longest_hold() < 100, "{} steps", world.longest_hold());
}

#[test]
fn a_large_queue_is_deleted_in_steps_and_its_memory_counts_until_then() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    fill(&world, ch, "q", MANY);
    let before = world.message_memory();
    world.pause_work();
    let deleted = ch.call(queue::Delete { queue: s("q"), ..Default::default() });
    assert_eq!(deleted, format!("queue.delete-ok {MANY}"));
    if !pages_everything() {
        assert!((1..before).contains(&world.message_memory()), "{} bytes", world.message_memory());
    }
    ch.declare("q");
    assert_eq!(world.counts("q"), "0/0", "another one of this name is empty");
    world.work_to_the_end();
    assert_eq!(world.message_memory(), 0);
    assert_holds_are_bounded(&world);
}

#[test]
fn policies_come_to_many_queues_and_messages_in_steps() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("large");
    fill(&world, ch, "large", MANY);
    world.batch(|| {
        for number in 0..MANY {
            let name = format!("q{number}");
            ch.send(queue::Declare { queue: s(&name), nowait: true, ..Default::default() });
        }
    });
    world.policies(&max_length(1));
    assert_eq!(world.counts("large"), "1/0");
    let last = world.queue(&format!("q{}", MANY - 1)).expect("it is there");
    assert_eq!(last.policy.as_deref(), Some("short"));
    assert_holds_are_bounded(&world);
}

fn max_length(messages: i64) -> PolicySet {
    max_length_of(".*", messages)
}

fn max_length_of(pattern: &str, messages: i64) -> PolicySet {
    let keys = [("max-length".to_owned(), PolicyValue::Integer(messages))];
    let mut policies = PolicySet::default();
    let kind = PolicyKind::User;
    let policy = Policy::parse(kind, "short", pattern, Some("queues"), 0, keys).expect("a policy");
    policies.set(kind, policy);
    policies
}

#[test]
fn a_key_that_meets_too_many_patterns_goes_nowhere() {
    const WORDS: usize = 10;
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    ch.exchange("x", "topic");
    let key = ".".repeat(254);
    let dead_letters = [
        ("x-max-length", Value::I32(0)),
        ("x-dead-letter-exchange", text("x")),
        ("x-dead-letter-routing-key", text(&key)),
    ];
    ch.declare_with("dead", &dead_letters);
    for number in 0..1_usize << WORDS {
        let word = |bit: usize| if number >> bit & 1 == 0 { "*" } else { "#" };
        let pattern: Vec<_> = (0..WORDS).map(word).collect();
        ch.bind("q", "x", &pattern.join("."));
    }
    ch.publish_to("x", "one.word", "a");
    assert_eq!(world.counts("q"), "1/0");
    let other = client.channel(2);
    other.publish_to("x", &key, "c");
    assert_holds_are_bounded(&world);
    let text = "channel.close 406 60,40 PRECONDITION_FAILED - routing key meets more than 65536 nodes of the \
                patterns bound to exchange 'x' in vhost '/'";
    assert_eq!(other.lines(), [text]);
    // What the broker routes by itself is dropped, and that is told once.
    let refused = |notice: &Notice| matches!(notice, Notice::TooManyPatterns { messages: 1, .. });
    ch.publish_to("", "dead", "b");
    assert!(world.notices().iter().any(refused));
}

#[test]
fn a_policy_with_a_large_pattern_is_applied_in_steps() {
    const QUEUES: usize = 500;
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    for number in 0..QUEUES {
        ch.declare(&format!("q{number}"));
    }
    let before = world.steps();
    world.policies(&max_length_of("(.*a.{0,60}b){8}.*zz$|q.*", 3));
    let steps = world.steps() - before;
    assert!(steps > 500 * QUEUES as u64, "{steps}");
    assert_holds_are_bounded(&world);
    assert_eq!(world.queue("q499").unwrap().policy.as_deref(), Some("short"));
}
