//! Channels: opening, faults, closing.

use leveret_codec::method::{basic, channel, connection, queue};

use crate::support::world::{World, encoded, s};

const NO_QUEUE: &str = "channel.close 404 50,30 NOT_FOUND - no queue 'none' in vhost '/'";

fn purge_none() -> queue::Purge<'static> {
    queue::Purge { queue: s("none"), ..Default::default() }
}

#[test]
fn any_number_can_be_opened_and_channel_max_limits_how_many() {
    let world = World::new();
    let client = world.client();
    for number in (1..=2046).chain([65535]) {
        client.channel(number);
    }
    let one_more = client.closed_channel(3000);
    one_more.send(channel::Open::default());
    assert_eq!(
        client.lines_with_channels(),
        ["0: connection.close 530 0,0 NOT_ALLOWED - number of channels opened (2047) has reached \
          the negotiated channel_max (2047)"]
    );
}

#[test]
fn a_method_on_a_channel_that_is_not_open_costs_the_connection() {
    let world = World::new();
    for sends in [
        |client: &crate::support::world::Client| {
            client.closed_channel(7).send(channel::Close::default());
        },
        |client: &crate::support::world::Client| client.closed_channel(7).send(channel::CloseOk {}),
        |client: &crate::support::world::Client| client.closed_channel(7).publish("q", "x"),
        |client: &crate::support::world::Client| {
            client.closed_channel(7).send(connection::Close::default());
        },
    ] {
        let client = world.client();
        sends(&client);
        let lines = client.lines();
        assert_eq!(lines.len(), 1);
        assert!(lines[0].starts_with("connection.close 504 "), "{lines:?}");
        assert!(lines[0].ends_with("CHANNEL_ERROR - expected 'channel.open'"), "{lines:?}");
    }
    let client = world.client();
    client.closed_channel(7).send(purge_none());
    assert_eq!(
        client.lines(),
        ["connection.close 504 50,30 CHANNEL_ERROR - expected 'channel.open'"]
    );
}

#[test]
fn a_publish_on_a_channel_that_is_not_open_is_judged_after_its_content() {
    let world = World::new();
    let client = world.client();
    client.closed_channel(3).publish("q", "a body");
    assert_eq!(
        client.lines(),
        ["connection.close 504 60,40 CHANNEL_ERROR - expected 'channel.open'"]
    );
}

#[test]
fn opening_a_channel_twice_costs_the_connection() {
    let world = World::new();
    let client = world.client();
    client.channel(1).send(channel::Open::default());
    assert_eq!(
        client.lines(),
        ["connection.close 504 20,10 CHANNEL_ERROR - second 'channel.open' seen"]
    );
}

#[test]
fn opening_a_channel_that_waits_for_close_ok_costs_the_connection() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    assert_eq!(ch.call(purge_none()), NO_QUEUE);
    ch.send(channel::Open::default());
    assert_eq!(
        client.lines(),
        ["connection.close 504 20,10 CHANNEL_ERROR - second 'channel.open' seen"]
    );
}

#[test]
fn flow_may_only_be_turned_on() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    assert_eq!(ch.call(channel::Flow { active: true }), "channel.flow-ok true");
    ch.send(channel::Flow { active: false });
    assert_eq!(client.lines(), ["connection.close 540 20,20 NOT_IMPLEMENTED - active=false"]);
}

#[test]
fn access_request_is_answered() {
    let world = World::new();
    let client = world.client();
    let request = leveret_codec::method::access::Request::default();
    assert_eq!(client.channel(1).call(request), "access.request-ok");
}

#[test]
fn methods_that_only_a_broker_sends_are_unimplemented() {
    let world = World::new();
    let client = world.client();
    client.channel(1).send(queue::DeclareOk::default());
    assert_eq!(
        client.lines(),
        ["connection.close 503 50,11 COMMAND_INVALID - unimplemented method"]
    );
    let client = world.client();
    client.channel(1).send(connection::Close::default());
    assert_eq!(
        client.lines(),
        ["connection.close 503 10,50 COMMAND_INVALID - unimplemented method"]
    );
}

#[test]
fn a_fault_closes_the_channel_and_nothing_more_is_answered_there() {
    let world = World::new();
    let client = world.client();
    let (ch, other) = (client.channel(1), client.channel(2));
    ch.declare("q");
    assert_eq!(ch.call(purge_none()), NO_QUEUE);
    assert_eq!(ch.call(purge_none()), "");
    ch.publish("q", "lost");
    assert_eq!(ch.call(queue::Declare { queue: s("r"), ..Default::default() }), "");
    assert_eq!(world.counts("q"), "0/0");
    assert_eq!(world.queue("r"), None);
    other.declare("r");
}

#[test]
fn a_fault_in_a_nowait_method_closes_the_channel_too() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    assert_eq!(ch.call(queue::Purge { nowait: true, ..purge_none() }), NO_QUEUE);
}

#[test]
fn several_faults_in_one_batch_close_the_channel_once() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    world.batch(|| {
        ch.send(purge_none());
        ch.send(purge_none());
        ch.send(basic::Ack { delivery_tag: 4, multiple: false });
    });
    assert_eq!(ch.lines(), [NO_QUEUE]);
}

#[test]
fn after_close_ok_the_number_can_be_opened_again() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    assert_eq!(ch.call(purge_none()), NO_QUEUE);
    assert_eq!(ch.call(channel::CloseOk {}), "");
    client.channel(1).declare("q");
}

#[test]
fn a_close_that_crosses_the_brokers_is_answered_and_close_ok_still_due() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.send(purge_none());
    assert_eq!(ch.lines(), [NO_QUEUE]);
    assert_eq!(ch.close(), "channel.close-ok");
    assert_eq!(ch.close(), "channel.close-ok");
    assert_eq!(ch.call(purge_none()), "");
    ch.send(channel::CloseOk {});
    client.channel(1);
}

#[test]
fn a_client_may_close_and_open_the_number_in_one_batch() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    world.batch(|| {
        ch.send(channel::Close::default());
        ch.send(channel::Open::default());
        ch.send(queue::Declare { queue: s("q"), ..Default::default() });
    });
    assert_eq!(
        ch.lines(),
        ["channel.close-ok", "channel.open-ok", "queue.declare-ok q ready=0 consumers=0"]
    );
}

#[test]
fn closing_a_channel_requeues_its_deliveries_and_ends_its_consumers() {
    let world = World::new();
    let client = world.client();
    let (ch, other) = (client.channel(1), client.channel(2));
    ch.declare("q");
    ch.publish("q", "a");
    ch.publish("q", "b");
    ch.consume("q", "c");
    assert_eq!(ch.bodies(), ["a", "b"]);
    assert_eq!(world.counts("q"), "0/2");
    assert_eq!(ch.close(), "channel.close-ok");
    assert_eq!(world.counts("q"), "2/0");
    assert_eq!(world.consumers(), 0);
    assert_eq!(other.get("q"), "basic.get-ok 1 a (again) left=1");
}

#[test]
fn a_fault_requeues_the_deliveries_before_close_ok() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    ch.publish("q", "a");
    assert_eq!(ch.get("q"), "basic.get-ok 1 a left=0");
    assert_eq!(ch.call(purge_none()), NO_QUEUE);
    assert_eq!(world.counts("q"), "1/0");
    assert_eq!(client.channel(2).get("q"), "basic.get-ok 1 a (again) left=0");
}

#[test]
fn a_closing_channel_does_not_get_its_own_deliveries_back() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    ch.publish("q", "a");
    ch.consume("q", "c1");
    ch.consume("q", "c2");
    assert_eq!(ch.lines(), ["basic.deliver c1 1 a"]);
    assert_eq!(ch.close(), "channel.close-ok");
    assert_eq!(world.counts("q"), "1/0");
}

#[test]
fn what_was_published_before_a_close_is_processed() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    world.batch(|| {
        ch.publish("q", "a");
        ch.publish("q", "b");
        ch.send(channel::Close::default());
    });
    assert_eq!(ch.lines(), ["channel.close-ok"]);
    assert_eq!(world.counts("q"), "2/0");
}

#[test]
fn delivery_tags_begin_again_in_a_channel_that_is_opened_again() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    ch.publish("q", "a");
    assert_eq!(ch.get("q"), "basic.get-ok 1 a left=0");
    ch.close();
    let ch = client.channel(1);
    assert_eq!(ch.get("q"), "basic.get-ok 1 a (again) left=0");
}

#[test]
fn a_long_reply_text_is_cut_to_fit_a_short_string() {
    let world = World::new();
    let client = world.client();
    let name = "n".repeat(250);
    let answer = client.channel(1).call(queue::Purge { queue: s(&name), ..Default::default() });
    let text = answer.strip_prefix("channel.close 404 50,30 ").expect("a close");
    assert_eq!(text.len(), 255);
    assert!(text.starts_with("NOT_FOUND - no queue 'nnn"));
    assert!(text.ends_with("n..."));
}

#[test]
fn answers_that_nobody_waits_for_are_no_methods_of_clients() {
    let closes =
        [encoded(1, &channel::CloseOk {}), encoded(1, &basic::CancelOk { consumer_tag: s("c") })];
    for (octets, ids) in closes.iter().zip(["20,41", "60,31"]) {
        let world = World::new();
        let client = world.client();
        client.channel(1);
        client.send_octets(octets);
        assert_eq!(
            client.lines(),
            [format!("connection.close 503 {ids} COMMAND_INVALID - unimplemented method")]
        );
    }
}
