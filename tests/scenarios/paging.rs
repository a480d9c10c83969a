//! A backlog on the disk: what clients see is the same, and memory does not grow with it.

use leveret_codec::method::{basic, queue};
use leveret_codec::{PropertyFields, Value};

use crate::support::world::{Channel, World, pages_everything, s, table, text};

fn bodies(numbers: impl IntoIterator<Item = usize>) -> Vec<String> {
    numbers.into_iter().map(|number| number.to_string()).collect()
}

/// Publishes messages that weigh about 1,000 octets each in memory.
fn fill(ch: Channel<'_>, queue: &str, numbers: impl IntoIterator<Item = usize>) {
    publish(ch, queue, None, numbers);
}

fn fill_persistent(ch: Channel<'_>, queue: &str, numbers: impl IntoIterator<Item = usize>) {
    publish(ch, queue, Some(2), numbers);
}

fn publish(
    ch: Channel<'_>,
    queue: &str,
    delivery_mode: Option<u8>,
    numbers: impl IntoIterator<Item = usize>,
) {
    let ballast = table(&[("ballast", text(&"x".repeat(850)))]);
    for number in numbers {
        let headers = Some(ballast.as_table());
        let fields = PropertyFields { delivery_mode, headers, ..Default::default() };
        ch.publish_with("", queue, fields, &number.to_string());
    }
}

#[test]
fn a_backlog_goes_to_the_disk_and_comes_back_in_order() {
    let world = World::new();
    world.memory_share(50_000);
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    fill(ch, "q", 0..500);
    assert!(world.message_memory() < 100_000, "{}", world.message_memory());
    assert!(world.paged_out() > 400, "{}", world.paged_out());
    assert_eq!(world.counts("q"), "500/0");
    assert_eq!(world.queue("q").map(|it| it.message_bytes_ready), Some(10 + 90 * 2 + 400 * 3));
    assert_eq!(ch.drain_bodies("q"), bodies(0..500));
    assert_eq!(world.message_memory(), 0);
}

#[test]
fn a_consumer_gets_a_backlog_in_order_while_more_comes() {
    let world = World::new();
    world.memory_share(50_000);
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    fill(ch, "q", 0..500);
    ch.consume_no_ack("q", "c");
    let mut got = ch.bodies();
    for number in 500..700 {
        fill(ch, "q", [number]);
        got.extend(ch.bodies());
    }
    assert_eq!(got, bodies(0..700));
}

#[test]
fn persistent_and_transient_messages_come_back_in_one_order() {
    let world = World::new();
    world.memory_share(20_000);
    let client = world.client();
    let ch = client.channel(1);
    ch.declare_durable("q", &[]);
    for number in 0..300 {
        if number % 3 == 0 {
            fill(ch, "q", [number]);
        } else {
            fill_persistent(ch, "q", [number]);
        }
    }
    assert!(world.paged_out() > 200);
    assert_eq!(ch.drain_bodies("q"), bodies(0..300));
}

#[test]
fn a_get_waits_for_the_disk_and_what_follows_waits_for_the_get() {
    let world = World::new();
    world.memory_share(0);
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    fill(ch, "q", 0..50);
    for number in 0..50 {
        let got = ch.get_no_ack("q");
        assert!(got.ends_with(&format!("left={}", 49 - number)), "{got}");
    }
    assert_eq!(ch.get("q"), "basic.get-empty");
}

#[test]
fn a_returned_message_goes_before_those_on_the_disk() {
    let world = World::new();
    world.memory_share(5_000);
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    fill(ch, "q", 0..100);
    let other = client.channel(2);
    for _ in 0..3 {
        other.get("q");
    }
    other.close();
    assert_eq!(ch.drain_bodies("q"), bodies(0..100));
}

/// Octets that a message of [`fan_out`] weighs once.
const FAN_OUT_OCTETS: u64 = 1_000_000;

/// Queues `q0`, `q1` and so on with one large message that they share; a second is what each queue weighs.
fn fan_out(ch: Channel<'_>, queues: usize) {
    for number in 0..queues {
        ch.declare(&format!("q{number}"));
        ch.bind(&format!("q{number}"), "amq.fanout", "");
    }
    ch.publish_to("amq.fanout", "", &"x".repeat(FAN_OUT_OCTETS as usize));
}

/// How often the message of [`fan_out`] is in memory, as far as the broker counts.
fn copies(world: &World) -> u64 {
    world.message_memory() / FAN_OUT_OCTETS
}

#[test]
fn a_body_that_many_queues_share_is_counted_once_until_the_last_has_lost_it() {
    if pages_everything() {
        return;
    }
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    fan_out(ch, 300);
    assert_eq!(copies(&world), 1);
    for number in 0..298 {
        let queue = format!("q{number}");
        match number % 4 {
            0 => assert_eq!(ch.drain(&queue).len(), 1),
            1 => drop(ch.call(queue::Delete { queue: s(&queue), ..Default::default() })),
            2 => drop(ch.call(queue::Purge { queue: s(&queue), ..Default::default() })),
            _ => drop(ch.get(&queue)),
        }
        assert_eq!(copies(&world), 1, "{queue}");
    }
    ch.send(basic::Ack { delivery_tag: 0, multiple: true });
    assert_eq!(copies(&world), 1);
    ch.consume("q298", "c");
    ch.call(queue::Delete { queue: s("q298"), ..Default::default() });
    assert_eq!(ch.drain("q299").len(), 1);
    assert_eq!(copies(&world), 1, "one delivery of a queue that was deleted is left");
    ch.close();
    assert_eq!(world.message_memory(), 0);
}

#[test]
fn a_body_that_many_queues_share_is_counted_once_after_a_restart() {
    if pages_everything() {
        return;
    }
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    for number in 0..10 {
        ch.declare_durable(&format!("q{number}"), &[]);
        ch.bind(&format!("q{number}"), "amq.fanout", "");
    }
    let fields = PropertyFields { delivery_mode: Some(2), ..Default::default() };
    ch.publish_with("amq.fanout", "", fields, &"x".repeat(FAN_OUT_OCTETS as usize));
    let world = world.restarted();
    assert_eq!(copies(&world), 1);
    let client = world.client();
    for number in 0..10 {
        assert_eq!(copies(&world), 1);
        assert_eq!(client.channel(1 + number).drain(&format!("q{number}")).len(), 1);
    }
    assert_eq!(world.message_memory(), 0);
}

#[test]
fn what_is_paged_out_of_some_of_the_queues_that_share_it_is_counted_for_the_others() {
    let world = World::new();
    world.memory_shares(u64::MAX, u64::MAX);
    let client = world.client();
    let ch = client.channel(1);
    fan_out(ch, 30);
    for number in 0..5 {
        ch.get(&format!("q{number}"));
    }
    assert_eq!(copies(&world), 1);
    world.memory_share(0);
    ch.declare("other");
    assert_eq!((world.paged_out(), copies(&world)), (25, 1), "some are delivered");
    let recover = basic::Recover { requeue: true };
    assert_eq!(ch.call(recover), "basic.recover-ok");
    for number in 0..30 {
        assert_eq!(ch.drain(&format!("q{number}")).len(), 1);
    }
    assert_eq!(world.message_memory(), 0);
}

/// Many queues with one message each.
fn many(ch: Channel<'_>, queues: usize) {
    for number in 0..queues {
        ch.declare_durable(&format!("q{number}"), &[]);
        publish(ch, &format!("q{number}"), Some(2), [number]);
    }
}

#[test]
fn the_heads_of_many_queues_go_to_the_disk_when_nobody_consumes() {
    let world = World::new();
    world.memory_share(10_000);
    let client = world.client();
    let ch = client.channel(1);
    many(ch, 100);
    assert!(world.message_memory() <= 10_000, "{}", world.message_memory());
    for number in 0..100 {
        let queue = format!("q{number}");
        assert_eq!(world.counts(&queue), "1/0");
        assert_eq!(ch.drain_bodies(&queue), bodies([number]));
    }
    assert_eq!(world.message_memory(), 0);
}

#[test]
fn a_head_on_the_disk_comes_back_for_a_consumer_and_stays_while_it_can_take_no_more() {
    let world = World::new();
    world.memory_share(10_000);
    let client = world.client();
    let ch = client.channel(1);
    many(ch, 100);
    fill(ch, "q7", [100, 101]);
    ch.qos(1, false);
    ch.consume("q7", "c");
    assert_eq!(ch.bodies(), bodies([7]));
    assert!(world.message_memory() < 12_000, "{}", world.message_memory());
    for (tag, next) in [(1, 100), (2, 101)] {
        ch.ack(tag);
        assert_eq!(ch.bodies(), bodies([next]));
    }
}

#[test]
fn a_head_on_the_disk_expires_when_its_time_has_come() {
    let world = World::new();
    world.memory_share(0);
    let client = world.client();
    let ch = client.channel(1);
    let arguments = [
        ("x-message-ttl", Value::I32(1000)),
        ("x-dead-letter-exchange", text("")),
        ("x-dead-letter-routing-key", text("dead")),
    ];
    ch.declare_with("q", &arguments);
    ch.declare("dead");
    fill(ch, "q", 0..3);
    assert_eq!(world.message_memory(), 0);
    world.pass_ms(999);
    assert_eq!((world.counts("q"), world.counts("dead")), ("3/0".into(), "0/0".into()));
    world.pass_ms(1);
    assert_eq!((world.counts("q"), world.counts("dead")), ("0/0".into(), "3/0".into()));
    assert_eq!(ch.drain_bodies("dead"), bodies(0..3));
}

#[test]
fn a_head_that_a_restart_leaves_on_the_disk_expires_in_time() {
    let world = World::with_small_files();
    world.memory_share(0);
    let client = world.client();
    let ch = client.channel(1);
    for number in 0..60 {
        let queue = format!("q{number}");
        ch.declare_durable(&queue, &[]);
        let expiration = Some(s("1000")).filter(|_| number % 2 == 0);
        let fields = PropertyFields { delivery_mode: Some(2), expiration, ..Default::default() };
        ch.publish_with("", &queue, fields, &format!("{number} {}", "x".repeat(900)));
    }
    let world = world.restarted();
    world.memory_share(0);
    assert_eq!(world.message_memory(), 0);
    world.pass_ms(1000);
    for number in 0..60 {
        let counts = if number % 2 == 0 { "0/0" } else { "1/0" };
        assert_eq!(world.counts(&format!("q{number}")), counts, "{number}");
    }
}

#[test]
fn what_a_limit_drops_is_read_from_the_disk_for_it() {
    let world = World::new();
    world.memory_share(0);
    let client = world.client();
    let ch = client.channel(1);
    let arguments = [
        ("x-max-length", Value::I32(2)),
        ("x-dead-letter-exchange", text("")),
        ("x-dead-letter-routing-key", text("dead")),
    ];
    ch.declare_with("q", &arguments);
    ch.declare("dead");
    for number in 0..10 {
        fill(ch, "q", [number]);
        assert_eq!(world.message_memory(), 0);
    }
    assert_eq!(world.counts("q"), "2/0");
    assert_eq!(ch.drain_bodies("dead"), bodies(0..8));
    assert_eq!(ch.drain_bodies("q"), bodies(8..10));
}

#[test]
fn a_head_that_came_for_a_get_goes_again_when_its_channel_has_ended() {
    let world = World::new();
    world.memory_share(0);
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    fill(ch, "q", [0]);
    let other = world.client();
    other.channel(1);
    other.send_once(1, basic::Get { queue: s("q"), ..Default::default() });
    assert!(world.message_memory() > 0, "it is kept for the get");
    other.vanish();
    assert_eq!((world.message_memory(), world.counts("q")), (0, "1/0".into()));
}

#[test]
fn the_timestamp_of_a_head_is_known_though_it_is_on_the_disk() {
    let world = World::new();
    world.memory_share(0);
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    let fields = PropertyFields { timestamp: Some(1234), ..Default::default() };
    ch.publish_with("", "q", fields, "body");
    assert_eq!(world.message_memory(), 0);
    assert_eq!(world.queue("q").and_then(|it| it.head_message_timestamp), Some(1234));
}

#[test]
fn a_quorum_queue_requeues_behind_those_on_the_disk() {
    let world = World::new();
    world.memory_share(5_000);
    let client = world.client();
    let ch = client.channel(1);
    ch.declare_durable("q", &[("x-queue-type", text("quorum"))]);
    fill_persistent(ch, "q", 0..100);
    ch.get("q");
    ch.reject(1, true);
    fill_persistent(ch, "q", 100..120);
    assert_eq!(ch.drain_bodies("q"), bodies((1..100).chain([0]).chain(100..120)));
}

#[test]
fn a_purge_takes_what_is_on_the_disk_as_well() {
    let world = World::new();
    world.memory_share(10_000);
    let client = world.client();
    let ch = client.channel(1);
    ch.declare_durable("q", &[]);
    fill_persistent(ch, "q", 0..400);
    fill(ch, "q", 400..500);
    ch.get("q");
    let purge = queue::Purge { queue: s("q"), ..Default::default() };
    assert_eq!(ch.call(purge), "queue.purge-ok 499");
    assert_eq!(world.counts("q"), "0/1");
    ch.ack(1);
    let world = world.restarted();
    assert_eq!(world.counts("q"), "0/0", "purged is purged");
}

#[test]
fn a_deleted_queue_takes_its_pages_along() {
    let world = World::new();
    world.memory_share(10_000);
    let client = world.client();
    let ch = client.channel(1);
    for durable in [false, true] {
        ch.call(queue::Declare { queue: s("q"), durable, ..Default::default() });
        fill_persistent(ch, "q", 0..200);
        let delete = queue::Delete { queue: s("q"), ..Default::default() };
        assert_eq!(ch.call(delete), "queue.delete-ok 200");
        assert_eq!(world.message_memory(), 0);
    }
    ch.declare("q");
    fill(ch, "q", 200..210);
    assert_eq!(ch.drain_bodies("q"), bodies(200..210));
}

#[test]
fn messages_on_the_disk_expire_when_they_come_to_the_head() {
    let world = World::new();
    world.memory_share(5_000);
    let client = world.client();
    let ch = client.channel(1);
    ch.declare_with("q", &[("x-message-ttl", Value::I32(1000))]);
    fill(ch, "q", 0..50);
    world.pass_ms(500);
    fill(ch, "q", 50..100);
    world.pass_ms(500);
    assert_eq!(world.counts("q"), "50/0");
    world.pass_ms(499);
    assert_eq!(ch.get_no_ack("q").split(' ').next_back(), Some("left=49"));
    world.pass_ms(1);
    assert_eq!(world.counts("q"), "0/0");
}

#[test]
fn what_is_dropped_from_the_head_may_be_on_the_disk() {
    let world = World::new();
    world.memory_share(5_000);
    let client = world.client();
    let ch = client.channel(1);
    let arguments = [
        ("x-max-length", Value::I32(100)),
        ("x-dead-letter-exchange", text("")),
        ("x-dead-letter-routing-key", text("dead")),
    ];
    ch.declare_with("q", &arguments);
    ch.declare("dead");
    fill(ch, "q", 0..400);
    assert_eq!(world.counts("q"), "100/0");
    assert_eq!(ch.drain_bodies("dead"), bodies(0..300));
    assert_eq!(ch.drain_bodies("q"), bodies(300..400));
}

#[test]
fn a_queue_with_priorities_stays_in_memory() {
    let world = World::new();
    world.memory_share(1_000);
    let client = world.client();
    let ch = client.channel(1);
    ch.declare_with("q", &[("x-max-priority", Value::I32(5))]);
    for number in 0..30 {
        let priority = Some(number as u8 % 3);
        ch.publish_with(
            "",
            "q",
            PropertyFields { priority, ..Default::default() },
            &number.to_string(),
        );
    }
    assert_eq!(world.paged_out(), 0);
    let by_priority = |rest| (0..30).filter(move |number| number % 3 == rest);
    let order = by_priority(2).chain(by_priority(1)).chain(by_priority(0));
    assert_eq!(ch.drain_bodies("q"), bodies(order));
}

#[test]
fn what_the_disk_cannot_take_stays_in_memory_in_order() {
    let world = World::new();
    world.memory_share(20_000);
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    fill(ch, "q", 0..100);
    world.fill_disk(true);
    fill(ch, "q", 100..200);
    let before = world.paged_out();
    assert!(world.message_memory() > 100_000);
    world.fill_disk(false);
    fill(ch, "q", 200..250);
    assert!(world.paged_out() > before);
    assert_eq!(ch.drain_bodies("q"), bodies(0..250));
}

#[test]
fn a_client_that_acknowledges_nothing_does_not_pull_the_backlog_into_memory() {
    let world = World::new();
    world.memory_shares(20_000, 40_000);
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    fill(ch, "q", 0..300);
    ch.consume("q", "c");
    let got = ch.messages().len();
    assert!((20..150).contains(&got), "{got} messages");
    assert!(world.message_memory() < 150_000);
    let ack = basic::Ack { delivery_tag: 0, multiple: true };
    let mut all = got;
    while all < 300 {
        ch.send(ack);
        let more = ch.messages().len();
        assert!(more > 0, "it goes on after {all}");
        all += more;
    }
    assert_eq!(all, 300);
}

#[test]
fn a_restart_finds_the_backlog_and_leaves_it_on_the_disk() {
    let world = World::with_small_files();
    world.memory_share(10_000);
    let client = world.client();
    let ch = client.channel(1);
    ch.declare_durable("q", &[]);
    fill_persistent(ch, "q", 0..300);
    ch.get("q");
    ch.get("q");
    ch.ack(1);
    let world = world.restarted();
    assert_eq!(world.counts("q"), "299/0");
    assert_eq!(world.queue("q").map(|it| it.message_bytes_ready), Some(9 + 90 * 2 + 200 * 3));
    assert!(world.message_memory() < 50_000, "{}", world.message_memory());
    let client = world.client();
    let ch = client.channel(1);
    fill_persistent(ch, "q", 300..320);
    let messages = ch.drain("q");
    let again: Vec<_> = messages.iter().map(|it| it.redelivered).collect();
    assert_eq!((again[0], again[1..].contains(&true)), (true, false));
    let got: Vec<_> = messages.into_iter().map(|it| it.body).collect();
    assert_eq!(got, bodies(1..320));
}

#[test]
fn what_a_start_takes_from_the_log_does_not_come_from_a_segment_as_well() {
    let world = World::with_files_of(10_000);
    let client = world.client();
    let ch = client.channel(1);
    ch.declare_durable("q", &[]);
    ch.declare_durable("other", &[]);
    fill_persistent(ch, "q", 0..40);
    for _ in 0..40 {
        ch.get("q");
    }
    world.memory_share(0);
    fill_persistent(ch, "q", 40..43);
    let world = world.restarted();
    let client = world.client();
    let ch = client.channel(1);
    // With these the log moves on, and what the queue has in it goes to a segment.
    fill_persistent(ch, "other", 0..40);
    assert_eq!(ch.drain_bodies("q"), bodies(0..43));
    assert_eq!(world.counts("q"), "0/0");
}

#[test]
fn what_a_restart_has_in_memory_comes_once_though_the_store_moves_it_to_the_disk() {
    let world = World::with_files_of(20_000);
    world.memory_share(5_000);
    let client = world.client();
    let ch = client.channel(1);
    ch.declare_durable("q", &[]);
    fill_persistent(ch, "q", 0..100);
    for _ in 0..100 {
        ch.get("q");
    }
    let world = world.restarted();
    world.memory_share(5_000);
    let client = world.client();
    let ch = client.channel(1);
    // The latest of before lie in the log, and so in memory; more traffic moves them to a segment,
    // in the midst of what is on the disk alone.
    fill_persistent(ch, "q", 100..200);
    assert_eq!(world.counts("q"), "200/0");
    ch.consume("q", "c");
    assert_eq!(ch.bodies(), bodies(0..200));
    client.vanish();
    assert_eq!(world.counts("q"), "200/0");
    assert_eq!(world.client().channel(1).drain_bodies("q"), bodies(0..200));
}

#[test]
fn delivery_counts_survive_a_restart() {
    let world = World::with_small_files();
    let client = world.client();
    let ch = client.channel(1);
    let arguments = [("x-queue-type", text("quorum")), ("x-delivery-limit", Value::I32(2))];
    ch.declare_durable("q", &arguments);
    fill_persistent(ch, "q", 0..20);
    ch.get("q");
    ch.reject(1, true);
    let world = world.restarted();
    let client = world.client();
    let ch = client.channel(1);
    ch.send(basic::Get { queue: s("q"), no_ack: false, ..Default::default() });
    let messages = ch.messages();
    assert_eq!(messages[0].header("x-delivery-count"), Some(Value::I64(1)));
    ch.reject(1, true);
    let world = world.restarted();
    let client = world.client();
    let ch = client.channel(1);
    ch.get("q");
    ch.reject(1, true);
    assert_eq!(ch.drain_bodies("q"), bodies(1..20), "the third return is one too many");
}

/// Gets so many messages without acknowledging them.
fn get_some(ch: Channel<'_>, queue: &str, count: usize) {
    for _ in 0..count {
        ch.get(queue);
    }
    ch.messages();
}

#[test]
fn what_is_requeued_goes_to_the_disk_again_and_comes_back_in_order() {
    for share in [0, 5_000, 50_000] {
        for durable in [false, true] {
            let world = World::with_files_of(20_000);
            world.memory_share(share);
            let client = world.client();
            let ch = client.channel(1);
            ch.call(queue::Declare { queue: s("q"), durable, ..Default::default() });
            fill(ch, "q", 0..100);
            fill_persistent(ch, "q", 100..200);
            let other = world.client();
            get_some(other.channel(1), "q", 150);
            assert!(world.message_memory() > 140_000);
            other.vanish();
            assert!(world.message_memory() < share + 20_000, "{}", world.message_memory());
            assert_eq!(world.counts("q"), "200/0");
            fill_persistent(ch, "q", 200..220);
            let messages = ch.drain("q");
            let again = messages.iter().filter(|it| it.redelivered).count();
            assert!(messages[..150].iter().all(|it| it.redelivered) && again == 150, "{again}");
            let got: Vec<_> = messages.into_iter().map(|it| it.body).collect();
            assert_eq!(got, bodies(0..220));
            assert_eq!(world.message_memory(), 0);
        }
    }
}

#[test]
fn what_is_requeued_leaves_out_what_others_have() {
    let world = World::new();
    world.memory_share(3_000);
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    fill(ch, "q", 0..60);
    let [one, two, three] = [1, 2, 3].map(|_| world.client());
    let channels = [one.channel(1), two.channel(1), three.channel(1)];
    for number in 0..60 {
        channels[number % 3].get("q");
    }
    fill(ch, "q", 60..70);
    one.vanish();
    for tag in (1..=20).step_by(2) {
        channels[1].ack(tag);
    }
    two.vanish();
    assert_eq!(world.counts("q"), "40/20");
    let rest =
        |number: &usize| number.is_multiple_of(3) || (number % 3 == 1 && number / 3 % 2 == 1);
    let got: Vec<_> = (0..5).map(|_| ch.get("q")).collect();
    let expected: Vec<_> = (0..60).filter(rest).collect();
    for (line, number) in got.iter().zip(&expected) {
        assert!(line.contains(&format!(" {number} (again)")), "{line}");
    }
    three.vanish();
    ch.close();
    let ch = client.channel(1);
    let all = (0..60).filter(|number| rest(number) || number % 3 == 2).chain(60..70);
    assert_eq!(ch.drain_bodies("q"), bodies(all));
}

#[test]
fn a_quorum_queue_keeps_the_order_of_what_went_behind_on_the_disk() {
    let world = World::new();
    world.memory_share(0);
    let client = world.client();
    let ch = client.channel(1);
    ch.declare_durable("q", &[("x-queue-type", text("quorum"))]);
    fill_persistent(ch, "q", 0..50);
    get_some(ch, "q", 30);
    // Those come back in this order, the first twice.
    let order: Vec<usize> = (0..30).filter(|it| it % 2 == 0).chain([29, 27]).collect();
    for number in &order {
        ch.reject(*number as u64 + 1, true);
    }
    fill_persistent(ch, "q", 50..55);
    ch.recover();
    let rest = (0..30).filter(|number| !order.contains(number));
    let expected: Vec<_> = (30..50).chain(order.clone()).chain(50..55).chain(rest).collect();
    assert_eq!(world.message_memory(), 0);
    let messages = ch.drain("q");
    for message in &messages {
        let counted = message.header("x-delivery-count");
        assert_eq!(counted, Some(Value::I64(i64::from(message.redelivered))));
    }
    let got: Vec<_> = messages.into_iter().map(|it| it.body).collect();
    assert_eq!(got, bodies(expected));
}

#[test]
fn what_came_back_and_the_disk_cannot_take_stays_in_order() {
    for kind in ["classic", "quorum"] {
        let world = World::new();
        let client = world.client();
        let ch = client.channel(1);
        ch.declare_durable("q", &[("x-queue-type", text(kind))]);
        fill_persistent(ch, "q", 0..30);
        get_some(ch, "q", 20);
        ch.recover();
        world.memory_share(8_000);
        ch.declare("other");
        world.fill_disk(true);
        get_some(ch, "q", 15);
        ch.recover();
        world.fill_disk(false);
        fill_persistent(ch, "q", 30..40);
        // A quorum queue has 20..30, 0..20 when the second fifteen of it are got.
        let expected: Vec<_> = match kind {
            "classic" => (0..40).collect(),
            _ => (5..20).chain(20..30).chain(0..5).chain(30..40).collect(),
        };
        assert_eq!(ch.drain_bodies("q"), bodies(expected), "{kind}");
    }
}

#[test]
fn delivery_counts_survive_the_disk() {
    let world = World::with_small_files();
    world.memory_share(0);
    let client = world.client();
    let ch = client.channel(1);
    let arguments = [("x-queue-type", text("quorum")), ("x-delivery-limit", Value::I32(3))];
    ch.declare_durable("q", &arguments);
    fill_persistent(ch, "q", 0..20);
    for round in 1..=3 {
        get_some(ch, "q", 20);
        ch.recover();
        assert_eq!(world.message_memory(), 0, "{round}");
    }
    ch.send(basic::Get { queue: s("q"), no_ack: false, ..Default::default() });
    assert_eq!(ch.messages()[0].header("x-delivery-count"), Some(Value::I64(3)));
    ch.recover();
    assert_eq!(ch.drain_bodies("q"), bodies(1..20), "one came back once too often");
}

#[test]
fn a_queue_whose_highest_priority_is_zero_has_none_and_stays_on_the_disk() {
    let world = World::with_small_files();
    world.memory_share(5_000);
    let client = world.client();
    let ch = client.channel(1);
    ch.declare_durable("q", &[("x-max-priority", Value::I32(0))]);
    fill_persistent(ch, "q", 0..100);
    assert!(world.message_memory() < 10_000, "{}", world.message_memory());
    let world = world.restarted();
    assert!(world.message_memory() < 10_000, "{}", world.message_memory());
    let client = world.client();
    let ch = client.channel(1);
    ch.declare_durable("q", &[("x-max-priority", Value::I32(0))]);
    assert_eq!(ch.drain_bodies("q"), bodies(0..100));
}
