//! The octets on the wire, against a broker inside the test: whole dialogues octet for octet, cut
//! and joined in every way that a network may, and clients that stop in the middle.
//!
//! The dialogues are written by hand and use nothing of the codec, so that a mistake it makes both
//! ways is seen here.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::support::client::{Client, Received, TRANSIENT, short};
use crate::support::embedded::Embedded;
use crate::support::{PATIENCE, eventually};
use leveret::Broker;
use leveret_codec::method::{basic, queue};
use leveret_codec::{Method, frame};

fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).unwrap();
    socket.set_nodelay(true).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_write_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// Whether the stream is at its end; waits for it.
fn is_at_end(socket: &mut TcpStream) -> bool {
    match socket.read(&mut [0]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

#[track_caller]
fn expect(socket: &mut TcpStream, expected: &[u8]) {
    let mut received = vec![0; expected.len()];
    let mut filled = 0;
    while filled < expected.len() {
        let count = socket.read(&mut received[filled..]).expect("the broker answers");
        assert!(count > 0, "the stream ends after {}", received[..filled].escape_ascii());
        filled += count;
    }
    assert!(
        received == expected,
        "expected {}\nreceived {}",
        expected.escape_ascii(),
        received.escape_ascii()
    );
}

const HEADER: &[u8] = b"AMQP\x00\x00\x09\x01";

fn framed(kind: u8, channel: u8, payload: &[u8]) -> Vec<u8> {
    let size = u32::try_from(payload.len()).unwrap();
    [&[kind, 0, channel], &size.to_be_bytes()[..], payload, b"\xce"].concat()
}

/// A method frame: class and method id, and its fields.
fn method(channel: u8, class: u8, method: u8, fields: &[u8]) -> Vec<u8> {
    framed(1, channel, &[&[0, class, 0, method], fields].concat())
}

/// connection.start as the broker sends it.
fn start() -> Vec<u8> {
    fn entry(name: &str, value: &str) -> Vec<u8> {
        let sizes = (u8::try_from(name.len()).unwrap(), u32::try_from(value.len()).unwrap());
        let (name, value) = (name.as_bytes(), value.as_bytes());
        [&[sizes.0], name, b"S", &sizes.1.to_be_bytes(), value].concat()
    }
    let table =
        |entries: &[u8]| [&u32::try_from(entries.len()).unwrap().to_be_bytes(), entries].concat();
    let capabilities = b"\x12publisher_confirmst\x01\x1aexchange_exchange_bindingst\x01\
        \x0abasic.nackt\x01\x16consumer_cancel_notifyt\x01\x12connection.blockedt\x01\
        \x13consumer_prioritiest\x01\x1cauthentication_failure_closet\x01\
        \x10per_consumer_qost\x01\x0fdirect_reply_tot\x01";
    let platform = concat!("leveret ", env!("CARGO_PKG_VERSION"));
    let properties = [
        b"\x0ccapabilitiesF".to_vec(),
        table(capabilities),
        entry("cluster_name", "leveret@localhost"),
        entry("copyright", "The leveret authors, MIT OR Apache-2.0"),
        entry("information", "AMQP 0-9-1 as RabbitMQ speaks it"),
        entry("platform", platform),
        entry("product", "RabbitMQ"),
        entry("version", "3.10.8"),
    ]
    .concat();
    let rest = b"\x00\x00\x00\x0ePLAIN AMQPLAIN\x00\x00\x00\x05en_US";
    method(0, 10, 10, &[b"\x00\x09", &table(&properties)[..], rest].concat())
}

/// start-ok of guest: no properties, PLAIN, its response, a locale.
const START_OK: &[u8] = b"\x00\x00\x00\x00\x05PLAIN\x00\x00\x00\x0c\x00guest\x00guest\x05en_US";

/// What a client says, and what it hears, in turns.
fn dialogue() -> Vec<(Vec<u8>, Vec<u8>)> {
    vec![
        (HEADER.to_vec(), start()),
        // tune: 2047 channels, frames of 131072 octets, heartbeats of 60 s
        (method(0, 10, 11, START_OK), method(0, 10, 30, b"\x07\xff\x00\x02\x00\x00\x00\x3c")),
        // tune-ok without heartbeats, and the virtual host "/"
        (
            [
                method(0, 10, 31, b"\x07\xff\x00\x02\x00\x00\x00\x00"),
                method(0, 10, 40, b"\x01/\x00\x00"),
            ]
            .concat(),
            method(0, 10, 41, b"\x00"),
        ),
        (method(7, 20, 10, b"\x00"), method(7, 20, 11, b"\x00\x00\x00\x00")),
        // queue.declare "q"; declare-ok: its name, no messages, no consumers
        (
            method(7, 50, 10, b"\x00\x00\x01q\x00\x00\x00\x00\x00"),
            method(7, 50, 11, b"\x01q\x00\x00\x00\x00\x00\x00\x00\x00"),
        ),
        // confirm.select
        (method(7, 85, 10, b"\x00"), method(7, 85, 11, b"")),
        // a message of 5 octets in two frames, content-type "t", persistent; basic.ack 1
        (
            [
                method(7, 60, 40, b"\x00\x00\x00\x01q\x00"),
                framed(2, 7, b"\x00\x3c\x00\x00\x00\x00\x00\x00\x00\x00\x00\x05\x90\x00\x01t\x02"),
                framed(3, 7, b"he"),
                framed(3, 7, b"llo"),
            ]
            .concat(),
            method(7, 60, 80, b"\x00\x00\x00\x00\x00\x00\x00\x01\x00"),
        ),
        // basic.consume with the tag "c"; consume-ok, and the message in one frame
        (
            method(7, 60, 20, b"\x00\x00\x01q\x01c\x00\x00\x00\x00\x00"),
            [
                method(7, 60, 21, b"\x01c"),
                method(7, 60, 60, b"\x01c\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x01q"),
                framed(2, 7, b"\x00\x3c\x00\x00\x00\x00\x00\x00\x00\x00\x00\x05\x90\x00\x01t\x02"),
                framed(3, 7, b"hello"),
            ]
            .concat(),
        ),
        // basic.reject with requeue: the same again, the second delivery tag, redelivered
        (
            method(7, 60, 90, b"\x00\x00\x00\x00\x00\x00\x00\x01\x01"),
            [
                method(7, 60, 60, b"\x01c\x00\x00\x00\x00\x00\x00\x00\x02\x01\x00\x01q"),
                framed(2, 7, b"\x00\x3c\x00\x00\x00\x00\x00\x00\x00\x00\x00\x05\x90\x00\x01t\x02"),
                framed(3, 7, b"hello"),
            ]
            .concat(),
        ),
        // basic.ack has no answer; basic.get has: get-empty
        (
            [
                method(7, 60, 80, b"\x00\x00\x00\x00\x00\x00\x00\x02\x00"),
                method(7, 60, 70, b"\x00\x00\x01q\x00"),
            ]
            .concat(),
            method(7, 60, 72, b"\x00"),
        ),
        // a heartbeat has no answer; acknowledging the same again closes the channel
        (
            [framed(8, 0, b""), method(7, 60, 80, b"\x00\x00\x00\x00\x00\x00\x00\x02\x00")]
                .concat(),
            method(
                7,
                20,
                40,
                b"\x01\x96\x2cPRECONDITION_FAILED - unknown delivery tag 2\x00\x3c\x00\x50",
            ),
        ),
        // channel.close-ok, and the connection is closed in order
        (
            [method(7, 20, 41, b""), method(0, 10, 50, b"\x00\xc8\x03bye\x00\x00\x00\x00")]
                .concat(),
            method(0, 10, 51, b""),
        ),
    ]
}

#[test]
fn a_dialogue_is_answered_octet_for_octet() {
    let embedded = Embedded::start(Broker::builder());
    let mut socket = connect(embedded.address());
    for (said, heard) in dialogue() {
        socket.write_all(&said).unwrap();
        expect(&mut socket, &heard);
    }
    socket.shutdown(Shutdown::Write).unwrap();
    assert!(is_at_end(&mut socket));
}

#[test]
fn a_dialogue_in_single_octets_is_the_same() {
    let embedded = Embedded::start(Broker::builder());
    let mut socket = connect(embedded.address());
    for (said, heard) in dialogue() {
        for octet in said {
            socket.write_all(&[octet]).unwrap();
        }
        expect(&mut socket, &heard);
    }
}

#[test]
fn a_dialogue_in_one_write_is_the_same() {
    let embedded = Embedded::start(Broker::builder());
    let mut socket = connect(embedded.address());
    // As far as the publish, whose confirm comes when the message is on disk and could come behind
    // the answers to what follows.
    let (said, heard): (Vec<_>, Vec<_>) = dialogue().into_iter().take(7).unzip();
    socket.write_all(&said.concat()).unwrap();
    expect(&mut socket, &heard.concat());
}

#[test]
fn another_protocol_is_told_which_one_is_spoken() {
    let embedded = Embedded::start(Broker::builder());
    for wrong in [
        &b"AMQP\x00\x00\x09\x02"[..],
        b"AMQP\x00\x01\x00\x00",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01",
    ] {
        let mut socket = connect(embedded.address());
        socket.write_all(wrong).unwrap();
        expect(&mut socket, HEADER);
        assert!(is_at_end(&mut socket), "{}", wrong.escape_ascii());
    }
}

#[test]
fn a_frame_without_its_end_closes_the_connection() {
    let embedded = Embedded::start(Broker::builder());
    let mut client = Client::connect(embedded.address());
    client.send(b"\x08\x00\x00\x00\x00\x00\x00\xcd").unwrap();
    let close = client.frame();
    let Method::ConnectionClose(close) = close.method() else { panic!("{close:?}") };
    assert_eq!(close.reply_code, 501);
    assert_eq!((close.class_id, close.method_id), (0, 0));
}

#[test]
fn a_handshake_that_never_ends_is_given_up() {
    let limit = Duration::from_millis(200);
    let embedded = Embedded::start(Broker::builder().handshake_timeout(limit));
    let mut nothing = connect(embedded.address());
    let mut half_a_header = connect(embedded.address());
    half_a_header.write_all(b"AMQP").unwrap();
    assert!(is_at_end(&mut nothing));
    assert!(is_at_end(&mut half_a_header));
}

#[test]
fn many_frames_in_one_write_are_all_answered_in_order() {
    const MESSAGES: u32 = 20_000;
    let embedded = Embedded::start(Broker::builder());
    let mut client = Client::connect(embedded.address());
    client.declare("many", false);
    client.consume("many", 0, true);
    let mut octets = Vec::new();
    for number in 0..MESSAGES {
        client.encode_publish(&mut octets, 1, ("", "many"), TRANSIENT, &number.to_be_bytes());
    }
    // Written by another thread: the broker must not be expected to hold all of it for a client
    // that does not read.
    let mut writing = client.socket().try_clone().unwrap();
    let writer = std::thread::spawn(move || writing.write_all(&octets));
    for number in 0..MESSAGES {
        let delivery = client.delivery();
        assert_eq!(delivery.delivery_tag, u64::from(number) + 1);
        assert_eq!(delivery.body, number.to_be_bytes());
    }
    writer.join().unwrap().unwrap();
    client.close();
}

#[test]
fn a_large_body_comes_back_in_frames_of_the_agreed_size() {
    let embedded = Embedded::start(Broker::builder());
    let mut client = Client::connect_with(embedded.address(), frame::MIN_SIZE, 0);
    client.declare("large", false);
    let body: Vec<u8> = (0..1u32 << 20).map(|place| (place * 7 + (place >> 8)) as u8).collect();
    let mut octets = Vec::new();
    client.encode_publish(&mut octets, 1, ("", "large"), TRANSIENT, &body);
    client.send(&octets).unwrap();

    let get = basic::Get { queue: short("large"), no_ack: true, ..Default::default() };
    let got = client.call(1, &get);
    assert!(matches!(got.method(), Method::BasicGetOk(_)), "{got:?}");
    let header = client.frame();
    assert_eq!(header.kind, frame::HEADER);
    let mut echo = Vec::new();
    while echo.len() < body.len() {
        let Received { kind, channel, payload } = client.frame();
        assert_eq!((kind, channel), (frame::BODY, 1));
        let room = frame::MIN_SIZE as usize - frame::OVERHEAD;
        assert_eq!(payload.len(), room.min(body.len() - echo.len()));
        echo.extend(payload);
    }
    assert!(echo == body, "the body is another one");
    client.close();
}

#[test]
fn a_client_that_never_reads_stalls_nobody_else() {
    const MESSAGES: usize = 1000;
    let body = vec![b'x'; 32 * 1024];
    let embedded = Embedded::start(Broker::builder());
    let mut stuck = Client::connect(embedded.address());
    stuck.declare("stuck", false);
    stuck.consume("stuck", 0, false);
    // 32 MB for a client that reads none of it: what its socket and the broker's buffer for it do
    // not hold stays in the queue.
    let mut other = Client::connect(embedded.address());
    other.open_channel(2);
    let mut octets = Vec::new();
    for _ in 0..MESSAGES {
        octets.clear();
        other.encode_publish(&mut octets, 1, ("", "stuck"), TRANSIENT, &body);
        other.send(&octets).unwrap();
    }
    assert!(other.count("stuck") > 0, "the broker holds 32 MB for a client that does not read");

    // Others have their answers meanwhile, and other consumers have what the stuck one does not
    // take.
    other.declare("lively", false);
    other.publish_safely(2, ("", "lively"), TRANSIENT, b"hello");
    other.consume("lively", 1, true);
    assert_eq!(other.delivery().body, b"hello");
    let mut helper = Client::connect(embedded.address());
    helper.consume("stuck", 1, false);
    assert_eq!(helper.delivery().body.len(), body.len());
    helper.close();

    // When it goes, everything is there again for the others.
    drop(stuck);
    let all_ready = || embedded.queue("stuck").unwrap().messages_ready == MESSAGES;
    eventually("all messages are ready again", all_ready);
}

#[test]
fn a_client_gone_in_the_middle_of_a_frame_leaves_nothing_behind() {
    let embedded = Embedded::start(Broker::builder());
    let mut other = Client::connect(embedded.address());
    other.declare("shared", false);
    other.publish_safely(1, ("", "shared"), TRANSIENT, b"one");

    let mut client = Client::connect(embedded.address());
    let exclusive = queue::Declare { queue: short("own"), exclusive: true, ..Default::default() };
    client.declared(&exclusive);
    client.consume("shared", 0, false);
    assert_eq!(client.delivery().body, b"one");
    let mut octets = Vec::new();
    client.encode_publish(&mut octets, 1, ("", "shared"), TRANSIENT, b"two");
    // All of the message but the last octets: no part of it counts.
    client.send(&octets[..octets.len() - 2]).unwrap();
    client.socket().shutdown(Shutdown::Write).unwrap();

    eventually("its queue is gone", || embedded.queue("own").is_none());
    let shared = embedded.queue("shared").unwrap();
    assert_eq!((shared.messages_ready, shared.messages_unacknowledged), (1, 0));
    assert_eq!(shared.consumers, 0);
    other.consume("shared", 0, false);
    let again = other.delivery();
    assert_eq!((again.body, again.redelivered), (b"one".to_vec(), true));
}

#[test]
fn what_was_published_before_the_end_of_the_stream_counts() {
    let embedded = Embedded::start(Broker::builder());
    let mut client = Client::connect(embedded.address());
    client.declare("last", false);
    let mut octets = Vec::new();
    for _ in 0..100 {
        client.encode_publish(&mut octets, 1, ("", "last"), TRANSIENT, b"words");
    }
    client.send(&octets).unwrap();
    client.socket().shutdown(Shutdown::Write).unwrap();
    eventually("all are there", || embedded.queue("last").unwrap().messages_ready == 100);
}

#[test]
fn a_silent_client_is_sent_heartbeats_and_given_up() {
    let embedded = Embedded::start(Broker::builder());
    let mut silent = Client::connect_with(embedded.address(), frame::MIN_SIZE, 1);
    let began = Instant::now();
    let mut heartbeats = 0;
    while let Some(received) = silent.read().unwrap() {
        assert_eq!((received.kind, received.channel), (frame::HEARTBEAT, 0));
        heartbeats += 1;
    }
    // Within two timeouts and not long before, counted from about here.
    assert!(began.elapsed() > Duration::from_millis(1500), "{:?}", began.elapsed());
    assert!(heartbeats >= 2, "{heartbeats}");
}
