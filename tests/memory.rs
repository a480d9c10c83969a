//! Memory that messages may take: what goes to the disk comes back in order, and where nothing can
//! go there, publishers are blocked until consumers have made room.

use crate::support::client::{Client, PERSISTENT, Received, TRANSIENT, short};
use crate::support::embedded::Embedded;
use crate::support::eventually;
use leveret::{Broker, BrokerBuilder};
use leveret_codec::Method;
use leveret_codec::method::{basic, queue};

const MIB: usize = 1024 * 1024;
/// What a broker in these tests may take.
const LIMIT: usize = 8 * MIB;
/// What a message of these tests weighs, about.
const BODY: usize = 10_000;

fn little() -> BrokerBuilder {
    Broker::builder().memory_limit(LIMIT as u64)
}

/// A message with its number, ten kilobytes long.
fn body(number: usize) -> Vec<u8> {
    let mut body = number.to_be_bytes().to_vec();
    body.resize(BODY, number as u8);
    body
}

/// Publishes messages until the client is blocked; how many that were.
fn publish_until_blocked(client: &mut Client, queue: &str) -> usize {
    let mut published = 0;
    loop {
        let mut octets = Vec::new();
        client.encode_publish(&mut octets, 1, ("", queue), TRANSIENT, &body(published));
        client.send(&octets).unwrap();
        published += 1;
        assert!(published * BODY < 100 * LIMIT, "it is never blocked");
        if let Some(frame) = client.poll().unwrap() {
            let Method::ConnectionBlocked(blocked) = frame.method() else { panic!("{frame:?}") };
            assert_eq!(blocked.reason.as_bytes(), b"low on memory");
            return published;
        }
    }
}

#[test]
fn ten_times_the_memory_goes_through_the_disk_in_order() {
    let home = tempfile::tempdir().unwrap();
    let broker = Embedded::start(little().data_dir(home.path()));
    let mut client = Client::connect(broker.address());
    client.declare("transient", false);
    client.declare("durable", true);
    let count = 10 * LIMIT / BODY;
    for (queue, properties) in [("transient", TRANSIENT), ("durable", PERSISTENT)] {
        for number in 0..count {
            let mut octets = Vec::new();
            client.encode_publish(&mut octets, 1, ("", queue), properties, &body(number));
            client.send(&octets).unwrap();
        }
        assert_eq!(client.count(queue) as usize, count);
        let used = broker.broker().memory_used() as usize;
        assert!(used <= LIMIT, "{used} octets in memory");
    }
    for queue in ["transient", "durable"] {
        let mut consumer = Client::connect(broker.address());
        consumer.consume(queue, 0, true);
        for number in 0..count {
            assert!(consumer.delivery().body == body(number), "{number} of {queue}");
        }
    }
    eventually("nothing is left in memory", || broker.broker().memory_used() < MIB as u64);
}

#[test]
fn a_get_and_a_purge_reach_what_is_on_the_disk() {
    let home = tempfile::tempdir().unwrap();
    let broker = Embedded::start(little().data_dir(home.path()));
    let mut client = Client::connect(broker.address());
    client.declare("q", false);
    let count = 3 * LIMIT / BODY;
    for number in 0..count {
        let mut octets = Vec::new();
        client.encode_publish(&mut octets, 1, ("", "q"), TRANSIENT, &body(number));
        client.send(&octets).unwrap();
    }
    let got = 2 * LIMIT / BODY;
    for number in 0..got {
        let get = basic::Get { queue: short("q"), no_ack: true, ..Default::default() };
        client.tell(1, &get).unwrap();
        assert!(client.delivery().body == body(number), "{number}");
    }
    let purged = client.call(1, &queue::Purge { queue: short("q"), ..Default::default() });
    let Method::QueuePurgeOk(ok) = purged.method() else { panic!("{purged:?}") };
    assert_eq!(ok.message_count as usize, count - got);
}

#[test]
fn without_a_disk_publishers_are_blocked_until_consumers_make_room() {
    let broker = Embedded::start(little().in_memory());
    let mut publisher = Client::connect_blockable(broker.address());
    publisher.declare("q", false);
    let published = publish_until_blocked(&mut publisher, "q");
    let used = broker.broker().memory_used() as usize;
    assert!((LIMIT / 2..2 * LIMIT).contains(&used), "{used} octets in memory");

    let mut consumer = Client::connect(broker.address());
    consumer.consume("q", 0, true);
    for number in 0..published {
        assert!(consumer.delivery().body == body(number), "{number}");
    }
    // What waited for the end of the alarm may have raised it again meanwhile.
    let declare = queue::Declare { queue: short("q"), passive: true, ..Default::default() };
    publisher.tell(1, &declare).unwrap();
    let mut was_unblocked = false;
    loop {
        let frame = publisher.frame();
        match frame.method() {
            Method::ConnectionUnblocked(_) => was_unblocked = true,
            Method::ConnectionBlocked(_) => {}
            Method::QueueDeclareOk(ok) => break assert_eq!(ok.message_count, 0),
            other => panic!("{other:?}"),
        }
    }
    assert!(was_unblocked);
}

#[test]
fn an_unfinished_message_keeps_nobody_blocked() {
    let broker = Embedded::start(little().in_memory());
    let mut slow = Client::connect(broker.address());
    slow.declare("q", false);
    let (mut octets, large) = (Vec::new(), vec![7; 2 * LIMIT]);
    slow.encode_publish(&mut octets, 1, ("", "q"), TRANSIENT, &large);
    let (most, rest) = octets.split_at(octets.len() - 1);
    // Once it is sent the broker has more of it than messages may take; sockets hold the rest.
    slow.send(most).unwrap();

    let mut publisher = Client::connect_blockable(broker.address());
    let published = publish_until_blocked(&mut publisher, "q");
    let mut consumer = Client::connect(broker.address());
    consumer.consume("q", 0, true);
    for number in 0..published {
        assert!(consumer.delivery().body == body(number), "{number}");
    }
    let unblocked = publisher.frame();
    assert!(matches!(unblocked.method(), Method::ConnectionUnblocked(_)), "{unblocked:?}");
    slow.send(rest).unwrap();
    assert!(consumer.delivery().body == large);
}

#[test]
fn a_transaction_that_never_ends_is_blocked() {
    let home = tempfile::tempdir().unwrap();
    let broker = Embedded::start(little().data_dir(home.path()));
    let mut client = Client::connect_blockable(broker.address());
    client.declare("q", false);
    let selected = client.call(1, &leveret_codec::method::tx::Select {});
    assert!(matches!(selected.method(), Method::TxSelectOk(_)));
    publish_until_blocked(&mut client, "q");
    let used = broker.broker().memory_used() as usize;
    assert!(used < 2 * LIMIT, "{used} octets in memory");
    drop(client);
    // The queue and the exchanges are left.
    eventually("a client that is gone takes no memory", || broker.broker().memory_used() < 16_000);
}

#[test]
fn the_first_publish_during_an_alarm_and_what_is_sent_behind_it_wait_for_its_end() {
    let broker = Embedded::start(Broker::builder().in_memory());
    let mut client = Client::connect_blockable(broker.address());
    client.declare("q", false);
    broker.broker().set_alarm(Some("a test"));
    let mut octets = Vec::new();
    client.encode_publish(&mut octets, 1, ("", "q"), TRANSIENT, b"first");
    client.encode_publish(&mut octets, 1, ("", "q"), TRANSIENT, b"second");
    client.send(&octets).unwrap();
    let declare = queue::Declare { queue: short("q"), passive: true, ..Default::default() };
    client.tell(1, &declare).unwrap();
    assert!(matches!(client.frame().method(), Method::ConnectionBlocked(_)));
    assert_eq!(Client::connect(broker.address()).count("q"), 0);
    broker.broker().set_alarm(None);
    assert!(matches!(client.frame().method(), Method::ConnectionUnblocked(_)));
    let declared = client.frame();
    let Method::QueueDeclareOk(declared) = declared.method() else { panic!("{declared:?}") };
    assert_eq!(declared.message_count, 2);
}

#[test]
fn who_leaves_during_an_alarm_leaves_nothing_behind() {
    let broker = Embedded::start(Broker::builder().in_memory());
    let mut client = Client::connect_blockable(broker.address());
    client.declare("q", false);
    broker.broker().set_alarm(Some("a test"));
    let mut octets = Vec::new();
    client.encode_publish(&mut octets, 1, ("", "q"), TRANSIENT, b"a");
    client.send(&octets).unwrap();
    assert!(matches!(client.frame().method(), Method::ConnectionBlocked(_)));
    drop(client);
    eventually("it is gone", || broker.broker().connection_count() == 0);
    broker.broker().set_alarm(None);
    assert_eq!(broker.queue("q").unwrap().messages_ready, 0);
}

#[test]
fn messages_that_wait_for_the_end_of_an_alarm_take_no_more_memory_than_unfinished_ones() {
    // What all may hold: 16 MiB, and two of the largest messages.
    const CLIENTS: usize = 14;
    let largest = 2 * MIB;
    let builder = Broker::builder().memory_limit(36 * MIB as u64).in_memory();
    let broker = Embedded::start(builder.max_message_size(largest as u64));
    let clients = [(); CLIENTS].map(|()| Client::connect_blockable(broker.address()));
    Client::connect(broker.address()).declare("q", false);
    broker.broker().set_alarm(Some("a test"));
    let is_closed = |frame: &Received| match frame.method() {
        Method::ConnectionBlocked(_) | Method::ConnectionUnblocked(_) => false,
        Method::ConnectionClose(close) => {
            let text = close.reply_text.to_string();
            assert_eq!(text, "RESOURCE_ERROR - too many octets of unfinished messages");
            true
        }
        _ => panic!("{frame:?}"),
    };
    let large = vec![7; largest];
    let mut open = Vec::new();
    for mut client in clients {
        let mut octets = Vec::new();
        client.encode_publish(&mut octets, 1, ("", "q"), TRANSIENT, &large);
        client.send(&octets).unwrap();
        if !is_closed(&client.frame()) {
            open.push(client);
        }
    }
    // How many have been closed by now.
    let hear = |open: &mut Vec<Client>| {
        open.retain_mut(|client| client.poll().unwrap().is_none_or(|frame| !is_closed(&frame)));
        CLIENTS - open.len()
    };
    eventually("those that hold too much are closed", || hear(&mut open) >= 4);
    broker.broker().set_alarm(None);
    eventually("the others' messages are routed", || {
        let routed = broker.queue("q").unwrap().messages_ready;
        routed + hear(&mut open) == CLIENTS && routed > 0
    });
}
