//! Frames and content of an open connection.

use leveret::broker::connection::ConnectionSettings;
use leveret_codec::method::{basic, queue};
use leveret_codec::{encode, frame};

use crate::support::world::{Client, World, encoded, s};

fn raw(kind: u8, channel: u16, payload: &[u8], end: u8) -> Vec<u8> {
    let mut octets = vec![kind];
    octets.extend(channel.to_be_bytes());
    octets.extend((payload.len() as u32).to_be_bytes());
    octets.extend(payload);
    octets.push(end);
    octets
}

fn publish(channel: u16) -> Vec<u8> {
    encoded(channel, &basic::Publish { routing_key: s("q"), ..Default::default() })
}

fn header(channel: u16, size: u64) -> Vec<u8> {
    let mut octets = Vec::new();
    encode::content_header(&mut octets, channel, size, &[0, 0]);
    octets
}

fn body(channel: u16, octets: &[u8]) -> Vec<u8> {
    raw(frame::BODY, channel, octets, frame::END)
}

/// A client with channels 1 and 2 and the queue q.
fn client(world: &World) -> Client {
    let client = world.client();
    client.channel(1).declare("q");
    client.channel(2);
    client
}

#[track_caller]
fn costs_the_connection(octets: &[u8], close: &str) {
    let world = World::new();
    let client = client(&world);
    client.send_octets(octets);
    assert_eq!(client.lines_with_channels(), [format!("0: connection.close {close}")]);
}

#[test]
fn a_frame_larger_than_agreed_costs_the_connection() {
    let world = World::new();
    let client = client(&world);
    client.send_octets(&[3, 0, 1, 0, 2, 0, 1]);
    assert_eq!(
        client.lines(),
        ["connection.close 501 0,0 FRAME_ERROR - type 3, all octets = <<>>: \
          {frame_too_large,131073,131064}"]
    );
    // Nothing can be read any more, so the socket closes by itself.
    world.pass_ms(2_999);
    assert!(!client.is_cut_off());
    world.pass_ms(1);
    assert!(client.is_cut_off());
}

#[test]
fn a_wrong_end_marker_costs_the_connection() {
    costs_the_connection(
        &raw(1, 1, b"\x01\x02", 0),
        "501 0,0 FRAME_ERROR - type 1, all octets = <<1,2>>: {invalid_frame_end_marker,0}",
    );
}

#[test]
fn an_unknown_frame_costs_the_connection() {
    costs_the_connection(
        &raw(7, 1, b"\x01", frame::END),
        "501 0,0 FRAME_ERROR - type 7, all octets = <<1>>: unknown_frame",
    );
    costs_the_connection(
        &raw(8, 0, b"\x01", frame::END),
        "501 0,0 FRAME_ERROR - type 8, all octets = <<1>>: unknown_frame",
    );
    costs_the_connection(
        &raw(1, 1, b"\x01\x02\x03", frame::END),
        "501 0,0 FRAME_ERROR - type 1, all octets = <<1,2,3>>: unknown_frame",
    );
}

#[test]
fn content_and_heartbeats_have_their_channels() {
    costs_the_connection(
        &raw(8, 1, b"", frame::END),
        "505 0,0 UNEXPECTED_FRAME - type 8, all octets = <<>>",
    );
    costs_the_connection(
        &raw(3, 0, b"twenty octets exactly", frame::END),
        "505 0,0 UNEXPECTED_FRAME - type 3, first 16 octets = <<\"twenty octets ex\">>",
    );
}

#[test]
fn arguments_that_cannot_be_decoded_cost_the_connection() {
    costs_the_connection(
        &raw(1, 1, b"\x00\x3c\x00\x50\x00\x00", frame::END),
        "501 60,80 FRAME_ERROR - cannot decode <<0,0>>",
    );
    // A trailing octet.
    costs_the_connection(
        &raw(1, 1, b"\x00\x0a\x00\x33\x07", frame::END),
        "501 10,51 FRAME_ERROR - cannot decode <<7>>",
    );
    // A publish that is cut, and one with a trailing octet.
    costs_the_connection(
        &raw(1, 1, b"\x00\x3c\x00\x28\x00\x00", frame::END),
        "501 60,40 FRAME_ERROR - cannot decode <<0,0>>",
    );
    costs_the_connection(
        &raw(1, 1, b"\x00\x3c\x00\x28\x00\x00\x00\x01q\x00\x07", frame::END),
        "501 60,40 FRAME_ERROR - cannot decode <<0,0,0,1,113,0,7>>",
    );
}

#[test]
fn a_name_that_is_no_utf8_costs_the_connection_unless_it_is_published_to() {
    let odd = leveret_codec::ShortStr::new(b"\xff").expect("one octet");
    costs_the_connection(
        &encoded(1, &queue::Declare { queue: odd, ..Default::default() }),
        "501 0,0 FRAME_ERROR - Malformed UTF-8 in shortstr",
    );
    let world = World::new();
    let client = client(&world);
    let mut octets = encoded(1, &basic::Publish { routing_key: odd, ..Default::default() });
    octets.extend(header(1, 0));
    client.send_octets(&octets);
    assert!(client.lines().is_empty());
}

#[test]
fn an_unknown_method_drops_the_connection_without_a_word() {
    let world = World::new();
    let client = client(&world);
    client.send_octets(&raw(1, 1, b"\x00\x3c\x03\xe7", frame::END));
    assert!(client.lines().is_empty());
    assert!(client.is_cut_off());
}

#[test]
fn content_without_a_method_costs_the_connection() {
    let close = "505 0,0 UNEXPECTED_FRAME - expected method frame, got non method frame instead";
    costs_the_connection(&body(1, b"x"), close);
    costs_the_connection(&header(9, 3), close);
    // What was begun on one channel goes on there alone.
    costs_the_connection(&[publish(1), header(1, 5), body(2, b"hello")].concat(), close);
}

#[test]
fn a_method_or_body_where_the_header_is_due_costs_the_connection() {
    let close = "505 60,40 UNEXPECTED_FRAME - expected content header for class 60, got non \
                 content header frame instead";
    costs_the_connection(&[publish(1), publish(1)].concat(), close);
    costs_the_connection(&[publish(1), body(1, b"x")].concat(), close);
    // As does a weight.
    let weighed = raw(2, 1, b"\x00\x3c\x00\x01\0\0\0\0\0\0\0\0\0\0", frame::END);
    costs_the_connection(&[publish(1), weighed].concat(), close);
}

#[test]
fn a_header_of_another_class_costs_the_connection() {
    let other = raw(2, 1, b"\x00\x32\x00\x00\0\0\0\0\0\0\0\0\0\0", frame::END);
    costs_the_connection(
        &[publish(1), other].concat(),
        "505 60,40 UNEXPECTED_FRAME - expected content header for class 60, got one for class 50 \
         instead",
    );
}

#[test]
fn a_method_or_header_where_the_body_is_due_costs_the_connection() {
    let close = "505 60,40 UNEXPECTED_FRAME - expected content body, got non content body frame \
                 instead";
    costs_the_connection(&[publish(1), header(1, 5), publish(1)].concat(), close);
    costs_the_connection(&[publish(1), header(1, 5), header(1, 5)].concat(), close);
}

#[test]
fn a_body_longer_than_announced_costs_the_connection() {
    costs_the_connection(
        &[publish(1), header(1, 3), body(1, b"four")].concat(),
        "501 60,40 FRAME_ERROR - content body frame exceeds remaining content size",
    );
}

#[test]
fn an_announced_size_beyond_all_reason_costs_the_connection() {
    costs_the_connection(
        &[publish(1), header(1, 536_870_913)].concat(),
        "501 60,40 FRAME_ERROR - content body size 536870913 exceeds maximum allowed size \
         536870912",
    );
}

#[test]
fn properties_that_cannot_be_decoded_are_an_internal_error() {
    let continued = raw(2, 1, b"\x00\x3c\x00\x00\0\0\0\0\0\0\0\0\x00\x01", frame::END);
    costs_the_connection(&[publish(1), continued].concat(), "541 0,0 INTERNAL_ERROR");
    let trailing = raw(2, 1, b"\x00\x3c\x00\x00\0\0\0\0\0\0\0\0\x00\x00\x09", frame::END);
    costs_the_connection(&[publish(1), trailing].concat(), "541 0,0 INTERNAL_ERROR");
}

#[test]
fn content_may_come_in_pieces_and_channels_may_alternate() {
    let world = World::new();
    let client = client(&world);
    let frames = [
        publish(1),
        publish(2),
        header(2, 3),
        header(1, 6),
        body(1, b"six"),
        body(2, b"two"),
        body(1, b""),
        body(1, b"six"),
    ];
    for frame in frames {
        client.send_octets(&frame);
    }
    let ch = client.closed_channel(1);
    assert_eq!(ch.drain_bodies("q"), ["two", "sixsix"]);
}

#[test]
fn bodies_are_cut_at_the_agreed_frame_size() {
    let world = World::new();
    let client = client(&world);
    let ch = client.closed_channel(1);
    ch.publish_method(
        basic::Publish { routing_key: s("q"), ..Default::default() },
        Default::default(),
        &vec![b'x'; 300_000],
    );
    // The last of three frames has what is left over.
    let left = 300_000 - 2 * 131_064;
    assert_eq!(ch.drain_bodies("q"), [format!("{left} octets")]);
}

#[test]
fn a_message_larger_than_configured_is_refused_once_it_has_come() {
    let world = World::new();
    let settings = ConnectionSettings { max_message_size: 10, ..Default::default() };
    let client = world.client_with(settings, &[]);
    let ch = client.channel(1);
    ch.declare("q");
    ch.publish("q", "ten octets");
    assert_eq!(world.counts("q"), "1/0");
    client.send_octets(&[publish(1), header(1, 11)].concat());
    assert!(ch.lines().is_empty());
    client.send_octets(&body(1, b"hello world"));
    assert_eq!(
        ch.lines(),
        [
            "channel.close 406 60,40 PRECONDITION_FAILED - message size 11 is larger than configured \
          max size 10"
        ]
    );
}

#[test]
fn a_publish_on_a_channel_that_is_not_open_is_answered_at_its_end_and_not_kept() {
    let world = World::new();
    let client = client(&world);
    client.send_octets(&[publish(9), header(9, 200_000), body(9, &[b'x'; 100_000])].concat());
    assert!(client.lines().is_empty());
    assert!(client.pending_octets() < 1000, "{}", client.pending_octets());
    client.send_octets(&body(9, &[b'x'; 100_000]));
    assert_eq!(
        client.lines(),
        ["connection.close 504 60,40 CHANNEL_ERROR - expected 'channel.open'"]
    );
    assert_eq!(client.pending_octets(), 0);
}

#[test]
fn a_publish_behind_a_channels_end_is_not_kept() {
    let world = World::new();
    let client = client(&world);
    client.closed_channel(1).close();
    client.send_octets(&[publish(1), header(1, 6), body(1, b"six")].concat());
    assert!(client.pending_octets() < 300, "{}", client.pending_octets());
}

#[test]
fn begun_publishes_on_every_channel_number_hold_next_to_nothing() {
    let world = World::new();
    let client = client(&world);
    for channel in 3..=u16::MAX {
        client.send_octets(&[publish(channel), header(channel, 100_000)].concat());
        client.send_octets(&body(channel, &[b'x'; 1000]));
    }
    assert_eq!(client.lines(), [""; 0]);
    assert!(client.pending_octets() < 20_000_000, "{}", client.pending_octets());
}

#[test]
fn an_announced_size_reserves_nothing() {
    let world = World::new();
    let client = client(&world);
    client.send_octets(&[publish(1), header(1, 100_000_000)].concat());
    assert!(client.pending_octets() < 1000, "{}", client.pending_octets());
    client.send_octets(&body(1, b"a few octets"));
    assert!(client.pending_octets() < 1000, "{}", client.pending_octets());
}

#[test]
fn a_message_that_will_be_refused_for_its_size_is_not_kept() {
    let world = World::new();
    let settings = ConnectionSettings { max_message_size: 10_000, ..Default::default() };
    let client = world.client_with(settings, &[]);
    client.channel(1);
    client.send_octets(&[publish(1), header(1, 100_000), body(1, &[b'x'; 90_000])].concat());
    assert!(client.pending_octets() < 1000, "{}", client.pending_octets());
}

/// A client that may send bodies of a megabyte, with 40 channels open.
fn client_of_megabytes(world: &World) -> Client {
    let settings = ConnectionSettings { max_message_size: 1 << 20, ..Default::default() };
    let client = world.client_with(settings, &[]);
    for number in 1..=40 {
        client.channel(number);
    }
    client.closed_channel(1).declare("q");
    client
}

#[test]
fn too_many_unfinished_messages_cost_the_connection() {
    let world = World::new();
    let client = client_of_megabytes(&world);
    let part = vec![b'x'; 100_000];
    for channel in 1..=40 {
        client.send_octets(&[publish(channel), header(channel, 1 << 20)].concat());
        for _ in 0..10 {
            client.send_octets(&body(channel, &part));
        }
        assert!(client.pending_octets() <= (16 + 2) << 20);
        if channel == 17 {
            assert_eq!(client.lines(), [""; 0]);
        }
    }
    // What follows the close is not listened to, and bounded all the same.
    assert_eq!(
        client.lines(),
        ["connection.close 506 0,0 RESOURCE_ERROR - too many octets of unfinished messages"]
    );
}

#[test]
fn the_largest_message_is_taken_beside_other_unfinished_ones() {
    let world = World::new();
    let client = client_of_megabytes(&world);
    let (half, whole) = (vec![b'x'; 1 << 19], vec![b'x'; 1 << 20]);
    for channel in 2..=30 {
        client.send_octets(&[publish(channel), header(channel, 1 << 20)].concat());
        client.send_octets(&body(channel, &half[..131_000]));
    }
    client.send_octets(&[publish(1), header(1, 1 << 20)].concat());
    for part in whole.chunks(4000) {
        client.send_octets(&body(1, part));
    }
    assert_eq!(world.counts("q"), "1/0");
    assert_eq!(client.lines(), [""; 0]);
}
