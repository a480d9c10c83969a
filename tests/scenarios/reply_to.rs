//! Direct reply-to.

use leveret_codec::method::{basic, queue};
use leveret_codec::table::ArrayBuilder;
use leveret_codec::{PropertyFields, Value};

use crate::support::world::{Channel, World, s, table, text};

const PSEUDO_QUEUE: &str = "amq.rabbitmq.reply-to";

/// Publishes a request to the queue `server`.
fn request(ch: Channel<'_>, body: &str) {
    let fields = PropertyFields { reply_to: Some(s(PSEUDO_QUEUE)), ..Default::default() };
    ch.publish_with("", "server", fields, body);
}

/// The address a server finds in the next request.
fn address(server: Channel<'_>) -> String {
    let requests = server.drain("server");
    let address = requests[0].fields().reply_to.expect("an address").to_string();
    assert!(address.starts_with("amq.rabbitmq.reply-to."), "{address}");
    address
}

#[test]
fn a_reply_goes_straight_to_the_requesting_channel() {
    let world = World::new();
    let (asking, serving) = (world.client(), world.client());
    let (ch, server) = (asking.channel(1), serving.channel(1));
    server.declare("server");
    ch.consume_no_ack(PSEUDO_QUEUE, "c");
    request(ch, "question");
    let address = address(server);
    server.publish(&address, "answer");
    let answers = ch.messages();
    assert_eq!(answers.len(), 1);
    assert_eq!((&*answers[0].body, &*answers[0].exchange), ("answer", ""));
    assert_eq!(answers[0].routing_key, address);
    // By another exchange nothing is routed there.
    server.publish_to("amq.direct", &address, "lost");
    assert!(ch.messages().is_empty());
}

#[test]
fn a_dead_letter_reaches_the_requester_that_its_key_names() {
    let world = World::new();
    let (asking, serving) = (world.client(), world.client());
    let (ch, server) = (asking.channel(1), serving.channel(1));
    server.declare("server");
    ch.consume_no_ack(PSEUDO_QUEUE, "c");
    request(ch, "question");
    let address = address(server);
    let to_default = ("x-dead-letter-exchange", text(""));
    let to_address = ("x-dead-letter-routing-key", text(&address));
    server.declare_with("jobs", &[to_default, to_address, ("x-message-ttl", Value::I32(50))]);
    server.publish("jobs", "expired");
    assert!(ch.messages().is_empty());
    world.pass_ms(50);
    let answers = ch.messages();
    assert_eq!(answers.len(), 1);
    assert_eq!((&*answers[0].body, &*answers[0].exchange), ("expired", ""));
    assert_eq!(answers[0].routing_key, address);
    let Some(Value::Array(deaths)) = answers[0].header("x-death") else { panic!("no x-death") };
    let death = deaths.iter().next().and_then(|death| death.as_table()).expect("a death");
    assert_eq!(death.find(b"queue"), Some(text("jobs")));

    // Its own key counts where the queue gives none, and those in CC.
    server.declare_with("kept", &[to_default]);
    server.bind("kept", "amq.fanout", "");
    let mut keys = ArrayBuilder::default();
    keys.push(&text(&address));
    let headers = table(&[("CC", Value::Array(keys.as_array()))]);
    let fields = PropertyFields { headers: Some(headers.as_table()), ..Default::default() };
    for (key, fields) in [(&*address, PropertyFields::default()), ("nowhere", fields)] {
        server.publish_with("amq.fanout", key, fields, key);
        let line = server.get("kept");
        let tag = line.split(' ').nth(1).and_then(|tag| tag.parse().ok());
        server.reject(tag.expect("a delivery tag"), false);
        let answers = ch.messages();
        assert_eq!(answers.len(), 1, "{key}");
        assert_eq!(&*answers[0].body, key);
    }
}

#[test]
fn whether_a_requester_is_there_can_be_asked_for() {
    let world = World::new();
    let (asking, serving) = (world.client(), world.client());
    let (ch, server) = (asking.channel(1), serving.channel(1));
    server.declare("server");
    ch.consume_no_ack(PSEUDO_QUEUE, "c");
    request(ch, "question");
    let address = address(server);
    let declare = || queue::Declare { queue: s(&address), passive: true, ..Default::default() };
    assert_eq!(server.call(declare()), format!("queue.declare-ok {address} ready=0 consumers=1"));
    ch.send(basic::Cancel { consumer_tag: s("c"), nowait: true });
    assert_eq!(
        server.call(declare()),
        format!("channel.close 404 50,10 NOT_FOUND - no queue '{address}' in vhost '/'")
    );
}

#[test]
fn a_requester_must_consume_on_the_same_channel() {
    let world = World::new();
    let client = world.client();
    let (ch, other) = (client.channel(1), client.channel(2));
    ch.declare("server");
    ch.consume_no_ack(PSEUDO_QUEUE, "c");
    request(other, "question");
    assert_eq!(
        other.lines(),
        ["channel.close 406 60,40 PRECONDITION_FAILED - fast reply consumer does not exist"]
    );
}

#[test]
fn a_reply_consumer_is_one_and_does_not_acknowledge() {
    let world = World::new();
    let client = world.client();
    let consume = |no_ack| basic::Consume { queue: s(PSEUDO_QUEUE), no_ack, ..Default::default() };
    let refused =
        |text: &str| format!("channel.close 406 60,20 PRECONDITION_FAILED - reply consumer {text}");
    assert_eq!(client.channel(1).call(consume(false)), refused("cannot acknowledge"));
    let ch = client.channel(2);
    ch.consume_no_ack(PSEUDO_QUEUE, "c");
    assert_eq!(ch.call(consume(true)), refused("already set"));
}

#[test]
fn the_pseudo_queue_can_be_declared_and_deleted_and_not_read() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    let declare = queue::Declare { queue: s(PSEUDO_QUEUE), passive: true, ..Default::default() };
    assert!(ch.call(declare).starts_with("queue.declare-ok amq.rabbitmq.reply-to "));
    let delete = queue::Delete { queue: s(PSEUDO_QUEUE), ..Default::default() };
    assert_eq!(ch.call(delete), "queue.delete-ok 0");
    assert!(ch.get(PSEUDO_QUEUE).starts_with("channel.close 404 60,70 NOT_FOUND"));
}

#[test]
fn a_reply_to_who_is_gone_is_unroutable() {
    let world = World::new();
    let (asking, serving) = (world.client(), world.client());
    let (ch, server) = (asking.channel(1), serving.channel(1));
    server.declare("server");
    ch.consume_no_ack(PSEUDO_QUEUE, "c");
    request(ch, "question");
    let address = address(server);
    asking.vanish();
    server.confirm_select();
    server.publish_mandatory("", &address, "late");
    assert_eq!(server.lines(), ["basic.return 312 NO_ROUTE late", "basic.ack 1"]);
}

#[test]
fn a_reply_by_a_further_key_arrives_once_and_counts_as_unroutable() {
    let world = World::new();
    let (asking, serving) = (world.client(), world.client());
    let (ch, server) = (asking.channel(1), serving.channel(1));
    server.declare("server");
    ch.consume_no_ack(PSEUDO_QUEUE, "c");
    request(ch, "question");
    let address = address(server);
    for header in ["CC", "BCC"] {
        let mut keys = ArrayBuilder::default();
        keys.push(&text(&address)).push(&text(&address));
        for key in ["nobody", &address] {
            server.publish_headers("", key, &[(header, Value::Array(keys.as_array()))], "answer");
            let answers = ch.messages();
            assert_eq!(answers.len(), 1, "{header} {key}");
            assert_eq!(answers[0].routing_key, key);
            assert_eq!(answers[0].header("BCC"), None);
            assert_eq!(answers[0].header("CC").is_some(), header == "CC");
        }
    }
    let mut key = ArrayBuilder::default();
    key.push(&text(&address));
    let both = ["CC", "BCC"].map(|header| (header, Value::Array(key.as_array())));
    server.publish_headers("", &address, &both, "answer");
    assert_eq!(ch.messages().len(), 1);
}

#[test]
fn the_tag_of_a_reply_consumer_is_its_own() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    ch.consume_no_ack(PSEUDO_QUEUE, "c");
    ch.consume_no_ack("q", "c");
    // The one of replies goes, the other stays.
    ch.call(basic::Cancel { consumer_tag: s("c"), nowait: false });
    assert_eq!(world.consumers(), 1);
    ch.consume_no_ack(PSEUDO_QUEUE, "d");
    let second = basic::Consume {
        queue: s(PSEUDO_QUEUE),
        consumer_tag: s("d"),
        no_ack: true,
        ..Default::default()
    };
    assert_eq!(
        ch.call(second),
        "channel.close 406 60,20 PRECONDITION_FAILED - reply consumer already set"
    );
}
