//! Clients on sockets: what many of them do at once, and what one does that goes too early.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use leveret::Broker;
use leveret_codec::Method;
use leveret_codec::method::{basic, confirm, queue};

use crate::support::client::{Client, PERSISTENT, TRANSIENT, short};
use crate::support::embedded::Embedded;
use crate::support::{eventually, http};

/// How many publish in the race of consumers, and how many messages each.
const PUBLISHERS: usize = 2;
const MESSAGES: usize = 1500;

fn bind_to_fanout(client: &mut Client, queue: &str) {
    client.declare(queue, true);
    let (queue, exchange) = (short(queue), short("amq.fanout"));
    let bound = client.call(1, &queue::Bind { queue, exchange, ..Default::default() });
    assert!(matches!(bound.method(), Method::QueueBindOk(_)), "{bound:?}");
}

/// A body that no other has a part of, and that is as long as its number says.
fn body(number: usize) -> Vec<u8> {
    let length = [10, 5000, 150_000, 4088, 400_000][number % 5];
    (0..length).map(|place| (place * 7 + (place >> 9) + number * 13) as u8).collect()
}

/// o: in another broker, a message that was longer than a frame and went to several queues damaged
/// what others got.
#[test]
fn long_messages_for_many_queues_reach_each_consumer_in_frames_of_its_own_size() {
    const COUNT: usize = 40;
    let home = tempfile::tempdir().unwrap();
    let embedded = Embedded::start(Broker::builder().data_dir(home.path()));
    let address = embedded.address();
    let consumers: Vec<_> = [4096, 5000, 65_536, 131_072]
        .into_iter()
        .map(|frame_max| {
            let mut client = Client::connect_with(address, frame_max, 0);
            let name = format!("q{frame_max}");
            bind_to_fanout(&mut client, &name);
            client.consume(&name, 5, false);
            thread::spawn(move || {
                for number in 0..COUNT {
                    let delivery = client.delivery();
                    assert!(delivery.body == body(number), "{number} in frames of {frame_max}");
                    let ack = basic::Ack { delivery_tag: delivery.delivery_tag, multiple: false };
                    client.tell(1, &ack).unwrap();
                }
            })
        })
        .collect();
    let mut publisher = Client::connect_with(address, 8192, 0);
    for number in 0..COUNT {
        let properties = if number % 2 == 0 { PERSISTENT } else { TRANSIENT };
        let mut octets = Vec::new();
        publisher.encode_publish(&mut octets, 1, ("amq.fanout", ""), properties, &body(number));
        publisher.send(&octets).unwrap();
    }
    for consumer in consumers {
        consumer.join().unwrap();
    }
}

/// p: in another broker, a client that went in the middle of a body damaged the file that its message
/// was to be in.
#[test]
fn clients_that_go_in_the_middle_of_a_body_leave_no_trace_on_the_disk() {
    let home = tempfile::tempdir().unwrap();
    let builder = || Broker::builder().data_dir(home.path());
    let embedded = Embedded::start(builder());
    let mut honest = Client::connect(embedded.address());
    honest.declare("q", true);
    honest.open_channel(2);
    let selected = honest.call(2, &confirm::Select::default());
    assert!(matches!(selected.method(), Method::ConfirmSelectOk(_)));
    let publish_and_wait = |honest: &mut Client, number| {
        let mut octets = Vec::new();
        honest.encode_publish(&mut octets, 2, ("", "q"), PERSISTENT, &body(number));
        honest.send(&octets).unwrap();
        assert!(matches!(honest.frame().method(), Method::BasicAck(_)));
    };
    for number in 0..20 {
        let mut leaving = Client::connect(embedded.address());
        let mut octets = Vec::new();
        leaving.encode_publish(&mut octets, 1, ("", "q"), PERSISTENT, &vec![1; 300_000]);
        let cut = octets.len() / 21 * (number + 1);
        leaving.send(&octets[..cut]).unwrap();
        publish_and_wait(&mut honest, number);
        drop(leaving);
    }
    for again in [false, true] {
        assert_eq!(honest.count("q"), 20, "after a restart: {again}");
        let mut reader = Client::connect(embedded.address());
        reader.consume("q", 0, false);
        for number in 0..20 {
            assert!(reader.delivery().body == body(number), "{number}");
        }
        drop(reader);
        eventually("they are ready again", || honest.count("q") == 20);
    }
    drop(honest);
    drop(embedded);
    let embedded = Embedded::start(builder());
    let mut reader = Client::connect(embedded.address());
    assert_eq!(reader.count("q"), 20);
    reader.consume("q", 0, true);
    for number in 0..20 {
        assert!(reader.delivery().body == body(number), "{number}");
    }
}

/// q: in another broker, consumers of one queue raced each other and broke it.
#[test]
fn each_message_is_settled_by_one_of_many_consumers_and_none_is_left() {
    let home = tempfile::tempdir().unwrap();
    let embedded = Embedded::start(Broker::builder().data_dir(home.path()));
    let address = embedded.address();
    let mut watcher = Client::connect(address);
    watcher.declare("q", true);
    let settled = AtomicUsize::new(0);
    let acknowledged: Vec<Vec<u64>> = thread::scope(|scope| {
        for publisher in 0..PUBLISHERS {
            scope.spawn(move || {
                let mut client = Client::connect(address);
                for number in 0..MESSAGES {
                    let number = (publisher * MESSAGES + number) as u64;
                    let properties = if number.is_multiple_of(3) { PERSISTENT } else { TRANSIENT };
                    let mut octets = Vec::new();
                    let body = number.to_be_bytes();
                    client.encode_publish(&mut octets, 1, ("", "q"), properties, &body);
                    client.send(&octets).unwrap();
                }
                client.close();
            });
        }
        let settled = &settled;
        let consumers: Vec<_> = (0..4u64)
            .map(|seed| scope.spawn(move || consume_some(address, seed, settled)))
            .collect();
        consumers.into_iter().map(|consumer| consumer.join().unwrap()).collect()
    });
    let mut times: BTreeMap<u64, usize> = BTreeMap::new();
    acknowledged.iter().flatten().for_each(|number| *times.entry(*number).or_default() += 1);
    assert_eq!(times.len(), PUBLISHERS * MESSAGES);
    assert!(times.values().all(|&times| times == 1), "something was acknowledged twice");
    eventually("the queue is empty", || {
        let queue = embedded.broker().queues().into_iter().find(|it| it.name == "q").unwrap();
        (queue.messages_ready, queue.messages_unacknowledged) == (0, 0)
    });
}

/// Consumes until everybody together has acknowledged everything: acknowledges some, gives others
/// back, and goes now and then without a word.
fn consume_some(address: SocketAddr, seed: u64, settled: &AtomicUsize) -> Vec<u64> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut acknowledged = Vec::new();
    let all = || settled.load(Ordering::SeqCst) >= PUBLISHERS * MESSAGES;
    while !all() {
        let mut client = Client::connect(address);
        client.consume("q", 1 + random.u16(0..20), false);
        let mut turn = random.usize(20..300);
        while turn > 0 && !all() {
            let Some(frame) = client.poll().unwrap() else {
                thread::yield_now();
                continue;
            };
            turn -= 1;
            let delivery = client.rest_of_delivery(&frame).unwrap().unwrap();
            let number = u64::from_be_bytes(delivery.body[..].try_into().unwrap());
            let delivery_tag = delivery.delivery_tag;
            if random.u8(..) < 60 {
                client.tell(1, &basic::Reject { delivery_tag, requeue: true }).unwrap();
            } else {
                client.tell(1, &basic::Ack { delivery_tag, multiple: false }).unwrap();
                acknowledged.push(number);
                settled.fetch_add(1, Ordering::SeqCst);
            }
        }
        // In order, so that every acknowledgement counts; what it holds goes back.
        close_among_deliveries(client);
    }
    acknowledged
}

/// Closes a connection on which deliveries may still come.
fn close_among_deliveries(mut client: Client) {
    let close = leveret_codec::method::connection::Close { reply_code: 200, ..Default::default() };
    client.tell(0, &close).unwrap();
    loop {
        let frame = client.frame();
        match frame.method() {
            Method::ConnectionCloseOk(_) => return,
            _ => drop(client.rest_of_delivery(&frame).unwrap()),
        }
    }
}

/// v: another broker broke when a policy changed while somebody published.
#[test]
fn policies_change_under_publishes_and_the_queue_still_adds_up() {
    const CHANGES: usize = 60;
    let any = "127.0.0.1:0".parse().unwrap();
    let home = tempfile::tempdir().unwrap();
    let embedded = Embedded::start(Broker::builder().data_dir(home.path()).management(any));
    let (address, api) = (embedded.address(), embedded.broker().management_address().unwrap());
    let mut client = Client::connect(address);
    client.declare("q", true);
    client.declare("dead", true);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let publishing = scope.spawn(|| {
            let mut client = Client::connect(address);
            client.open_channel(2);
            let selected = client.call(2, &confirm::Select::default());
            assert!(matches!(selected.method(), Method::ConfirmSelectOk(_)));
            let mut published = 0;
            while !over.load(Ordering::SeqCst) {
                let properties = if published % 2 == 0 { PERSISTENT } else { TRANSIENT };
                let mut octets = Vec::new();
                client.encode_publish(&mut octets, 2, ("", "q"), properties, b"some octets");
                client.send(&octets).unwrap();
                // An overflow may refuse it.
                let answer = client.frame();
                assert!(matches!(answer.method(), Method::BasicAck(_) | Method::BasicNack(_)));
                published += 1;
            }
            published
        });
        let definitions = [
            r#"{"max-length": 5}"#,
            r#"{"max-length": 3, "overflow": "reject-publish"}"#,
            r#"{"message-ttl": 1, "dead-letter-exchange": "", "dead-letter-routing-key": "dead"}"#,
            r#"{"max-length-bytes": 100, "dead-letter-exchange": "", "dead-letter-routing-key": "dead"}"#,
        ];
        let policy = "/api/policies/%2F/p";
        for change in 0..CHANGES {
            let definition = definitions[change % definitions.len()];
            let body = format!(r#"{{"pattern": "^q$", "definition": {definition}}}"#);
            let put = http::request(api, &format!("PUT {policy}"), "guest:guest", &body);
            assert!(put.0 == 201 || put.0 == 204, "{put:?}");
            if change % 3 == 0 {
                let deleted = http::request(api, &format!("DELETE {policy}"), "guest:guest", "");
                assert_eq!(deleted.0, 204);
            }
        }
        http::request(api, &format!("DELETE {policy}"), "guest:guest", "");
        over.store(true, Ordering::SeqCst);
        assert!(publishing.join().unwrap() > 0);
    });
    // What has expired behind a message that has not is counted and not given to anybody.
    for name in ["q", "dead"] {
        fetch_all(&mut client, name);
        assert_eq!(client.count(name), 0);
    }
    for _ in 0..10 {
        let mut octets = Vec::new();
        client.encode_publish(&mut octets, 1, ("", "q"), PERSISTENT, b"without a policy");
        client.send(&octets).unwrap();
    }
    assert_eq!(client.count("q"), 10, "no policy is in force any more");
    assert_eq!((fetch_all(&mut client, "q"), client.count("dead")), (10, 0));
}

/// Fetches all that a queue gives, and says how many that were.
fn fetch_all(client: &mut Client, queue: &str) -> usize {
    let mut count = 0;
    loop {
        let get = basic::Get { queue: short(queue), no_ack: true, ..Default::default() };
        let frame = client.call(1, &get);
        if matches!(frame.method(), Method::BasicGetEmpty(_)) {
            return count;
        }
        client.rest_of_delivery(&frame).unwrap().unwrap();
        count += 1;
    }
}
