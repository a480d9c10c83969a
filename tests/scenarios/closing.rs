//! How connections end, and what goes with them.

use leveret::broker::connection::ConnectionSettings;
use leveret_codec::Value;
use leveret_codec::method::{basic, channel, connection, queue};

use crate::support::world::{World, s, text};

#[test]
fn a_close_is_answered_and_the_socket_kept_for_30_seconds() {
    let world = World::new();
    let client = world.client();
    assert_eq!(client.call(connection::Close::default()), "connection.close-ok");
    world.pass_ms(29_999);
    assert!(!client.is_cut_off());
    world.pass_ms(1);
    assert!(client.is_cut_off());
}

#[test]
fn a_second_close_is_answered_too() {
    let world = World::new();
    let client = world.client();
    assert_eq!(client.call(connection::Close::default()), "connection.close-ok");
    assert_eq!(client.call(connection::Close::default()), "connection.close-ok");
}

#[test]
fn nothing_is_done_for_a_client_that_said_good_bye() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    world.batch(|| {
        client.send_octets(&crate::support::world::encoded(0, &connection::Close::default()));
        ch.send(queue::Declare { queue: s("q"), ..Default::default() });
    });
    assert_eq!(client.lines(), ["connection.close-ok"]);
    assert_eq!(world.queue("q"), None);
}

#[test]
fn what_was_published_before_a_close_is_processed() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    world.batch(|| {
        ch.publish("q", "a");
        client.send_octets(&crate::support::world::encoded(0, &connection::Close::default()));
    });
    assert_eq!(client.lines(), ["connection.close-ok"]);
    assert_eq!(world.counts("q"), "1/0");
}

#[test]
fn after_close_ok_the_socket_is_closed_at_once() {
    let world = World::new();
    let client = world.client();
    client.channel(1).send(channel::Flow { active: false });
    assert_eq!(client.lines().len(), 1);
    assert!(!client.is_cut_off());
    assert_eq!(client.call(connection::CloseOk {}), "");
    assert!(client.is_cut_off());
}

#[test]
fn without_close_ok_the_socket_is_closed_after_the_heartbeat_or_30_seconds() {
    for (heartbeat_secs, patience_ms) in [(60, 30_000), (0, 30_000), (7, 7_000)] {
        let world = World::new();
        let settings = ConnectionSettings { heartbeat_secs, ..Default::default() };
        let client = world.client_with(settings, &[]);
        client.channel(1).send(channel::Flow { active: false });
        world.pass_ms(patience_ms - 1);
        assert!(!client.is_cut_off());
        world.pass_ms(1);
        assert!(client.is_cut_off());
    }
}

#[test]
fn between_close_and_close_ok_everything_else_is_dropped() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.send(channel::Flow { active: false });
    client.lines();
    assert_eq!(ch.call(queue::Declare { queue: s("q"), ..Default::default() }), "");
    ch.publish("q", "lost");
    assert_eq!(client.call(connection::Close::default()), "connection.close-ok");
    assert_eq!(world.queue("q"), None);
}

#[test]
fn a_close_ok_that_is_not_due_costs_the_connection() {
    let world = World::new();
    let client = world.client();
    assert_eq!(
        client.call(connection::CloseOk {}),
        "connection.close 504 10,51 CHANNEL_ERROR - unexpected method in connection state running"
    );
}

#[test]
fn methods_that_have_no_place_on_channel_0_cost_the_connection() {
    let world = World::new();
    let unexpected = "CHANNEL_ERROR - unexpected method in connection state running";
    for (answer, ids) in [
        (world.client().call(connection::Open::default()), "10,40"),
        (world.client().call(connection::TuneOk::default()), "10,31"),
        (world.client().call(channel::Open::default()), "20,10"),
        (world.client().call(queue::Declare::default()), "50,10"),
        (world.client().call(basic::Ack::default()), "60,80"),
        (world.client().call(basic::Publish::default()), "60,40"),
    ] {
        assert_eq!(answer, format!("connection.close 504 {ids} {unexpected}"));
    }
}

#[test]
fn a_new_secret_is_taken() {
    let world = World::new();
    let answer = world.client().call(connection::UpdateSecret::default());
    assert_eq!(answer, "connection.update-secret-ok");
}

#[test]
fn a_client_that_vanishes_leaves_its_deliveries_and_takes_its_queues_along() {
    let world = World::new();
    let (leaving, staying) = (world.client(), world.client());
    let (ch, other) = (leaving.channel(1), staying.channel(1));
    other.declare("q");
    other.publish("q", "a");
    other.publish("q", "b");
    ch.send(queue::Declare { queue: s("own"), exclusive: true, ..Default::default() });
    ch.consume("q", "c");
    assert_eq!(world.counts("q"), "0/2");
    leaving.vanish();
    assert_eq!(world.counts("q"), "2/0");
    assert_eq!(world.queue("own"), None);
    assert_eq!(world.consumers(), 0);
    assert_eq!(other.get("q"), "basic.get-ok 1 a (again) left=1");
}

#[test]
fn a_client_that_vanishes_hands_its_deliveries_to_others_at_once() {
    let world = World::new();
    let (leaving, staying) = (world.client(), world.client());
    let (ch, other) = (leaving.channel(1), staying.channel(1));
    other.declare("q");
    ch.consume("q", "first");
    other.publish("q", "a");
    other.consume("q", "second");
    assert_eq!(ch.bodies(), ["a"]);
    leaving.vanish();
    assert_eq!(other.lines(), ["basic.deliver second 1 a (again)"]);
}

#[test]
fn a_connection_that_closes_requeues_and_frees_before_close_ok() {
    let world = World::new();
    let (leaving, staying) = (world.client(), world.client());
    let ch = leaving.channel(1);
    let other = staying.channel(1);
    other.declare("q");
    other.publish("q", "a");
    ch.consume("q", "c1");
    leaving.channel(2).consume("q", "c2");
    leaving.lines();
    assert_eq!(leaving.call(connection::Close::default()), "connection.close-ok");
    assert_eq!(world.counts("q"), "1/0");
}

#[test]
fn a_hard_fault_in_one_channel_ends_all() {
    let world = World::new();
    let client = world.client();
    let (ch, other) = (client.channel(1), client.channel(2));
    ch.declare("q");
    ch.publish("q", "a");
    assert_eq!(other.get("q"), "basic.get-ok 1 a left=0");
    ch.send(basic::Qos { prefetch_size: 9, ..Default::default() });
    assert_eq!(
        client.lines_with_channels(),
        ["0: connection.close 540 60,10 NOT_IMPLEMENTED - prefetch_size!=0 (9)"]
    );
    assert_eq!(world.counts("q"), "1/0");
}

#[test]
fn a_stopping_broker_tells_every_client() {
    let world = World::new();
    let (one, two) = (world.client(), world.client());
    world.shut_down();
    for client in [one, two] {
        assert_eq!(
            client.lines(),
            ["connection.close 320 0,0 CONNECTION_FORCED - broker forced connection closure with \
              reason 'shutdown'"]
        );
        client.call(connection::CloseOk {});
        assert!(client.is_cut_off());
    }
}

#[test]
fn deliveries_of_several_channels_come_back_in_one_order() {
    let world = World::new();
    let (leaving, staying) = (world.client(), world.client());
    let other = staying.channel(1);
    let (first, second) = (leaving.channel(1), leaving.channel(2));
    other.declare("q");
    for body in ["a", "b", "c", "d"] {
        other.publish("q", body);
    }
    for ch in [second, first, second] {
        ch.get("q");
    }
    other.consume("q", "c");
    leaving.vanish();
    assert_eq!(other.bodies(), ["d", "a", "b", "c"]);
}

#[test]
fn no_consumer_of_a_leaving_client_takes_the_place_of_another() {
    for no_ack in [false, true] {
        let world = World::new();
        let (leaving, staying) = (world.client(), world.client());
        let other = staying.channel(1);
        let (active, waiting) = (leaving.channel(1), leaving.channel(2));
        other.declare_with("q", &[("x-single-active-consumer", Value::Bool(true))]);
        active.qos(1, false);
        active.consume("q", "active");
        waiting.send(basic::Consume { queue: s("q"), no_ack, ..Default::default() });
        other.publish("q", "a");
        other.publish("q", "b");
        leaving.vanish();
        assert_eq!(other.get("q"), "basic.get-ok 1 a (again) left=1");
        assert_eq!(other.get("q"), "basic.get-ok 2 b left=0");
    }
}

#[test]
fn no_consumer_of_a_closing_channel_takes_the_place_of_another() {
    let world = World::new();
    let client = world.client();
    let (ch, other) = (client.channel(1), client.channel(2));
    ch.declare_with("q", &[("x-single-active-consumer", Value::Bool(true))]);
    ch.qos(1, false);
    ch.consume("q", "active");
    ch.consume_no_ack("q", "waiting");
    ch.publish("q", "a");
    ch.publish("q", "b");
    assert_eq!(ch.lines(), ["basic.deliver active 1 a"]);
    assert_eq!(ch.close(), "channel.close-ok");
    assert_eq!(other.get("q"), "basic.get-ok 1 a (again) left=1");
    assert_eq!(other.get("q"), "basic.get-ok 2 b left=0");
}

/// The ways in which a consumer goes with its channel or its connection.
#[derive(Clone, Copy, Debug)]
enum Going {
    ChannelClose,
    ConnectionClose,
    ChannelFault,
    ConnectionFault,
    Vanish,
}

#[test]
fn who_takes_over_from_a_single_active_consumer_gets_first_what_that_one_had() {
    use Going::*;
    let kinds: [&[(&str, Value<'_>)]; 3] =
        [&[], &[("x-queue-type", text("quorum"))], &[("x-max-priority", Value::I32(3))]];
    for kind in kinds {
        for how in [ChannelClose, ConnectionClose, ChannelFault, ConnectionFault, Vanish] {
            let world = World::new();
            let (leaving, staying) = (world.client(), world.client());
            let (active, next) = (leaving.channel(1), staying.channel(1));
            let single = [("x-single-active-consumer", Value::Bool(true))];
            next.declare_durable("q", &[kind, &single].concat());
            active.qos(2, false);
            active.consume("q", "active");
            next.consume("q", "next");
            for body in ["a", "b", "c", "d"] {
                next.publish("q", body);
            }
            assert_eq!(active.bodies(), ["a", "b"]);
            match how {
                ChannelClose => _ = active.close(),
                ConnectionClose => _ = leaving.call(connection::Close::default()),
                ChannelFault => active.ack(77),
                ConnectionFault => {
                    active.send(basic::Qos { prefetch_size: 1, ..Default::default() });
                }
                Vanish => leaving.vanish(),
            }
            assert_eq!(next.bodies(), ["a", "b", "c", "d"], "{kind:?} {how:?}");
        }
    }
}
