//! lapin, the Rust client, against a broker inside the test: what a program in Rust does with a
//! broker, feature by feature.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use futures::{FutureExt, StreamExt};
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicGetOptions, BasicNackOptions,
    BasicPublishOptions, BasicQosOptions, BasicRecoverOptions, BasicRejectOptions,
    ConfirmSelectOptions, ExchangeBindOptions, ExchangeDeclareOptions, ExchangeDeleteOptions,
    ExchangeUnbindOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
    QueuePurgeOptions,
};
use lapin::types::{AMQPValue, FieldArray, FieldTable};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Consumer, ErrorKind,
    ExchangeKind,
};
use leveret::broker::time::Time;
use leveret::clock::ManualClock;
use leveret::{Broker, BrokerBuilder};

/// How long something that must happen may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A broker, a connection to it and a channel.
struct Fixture {
    broker: Broker,
    connection: Connection,
    channel: Channel,
}

impl Fixture {
    async fn start() -> Self {
        Fixture::start_as(Broker::builder()).await
    }

    async fn start_as(builder: BrokerBuilder) -> Self {
        let builder = builder.in_memory().listen("127.0.0.1:0".parse().unwrap());
        let broker = builder.start().await.unwrap();
        let connection = connect(&broker).await;
        let channel = connection.create_channel().await.unwrap();
        Fixture { broker, connection, channel }
    }

    /// A broker whose time stands still unless it is told otherwise.
    async fn with_clock() -> (Self, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::new(Time::from_millis(1_700_000_000_000)));
        (Fixture::start_as(Broker::builder().clock(clock.clone())).await, clock)
    }

    async fn end(self) {
        within(self.connection.close(200, "bye".into())).await.unwrap();
        within(self.broker.shutdown()).await.unwrap();
    }
}

async fn connect(broker: &Broker) -> Connection {
    let uri = format!("amqp://guest:guest@{}/%2f", broker.addresses()[0]);
    within(Connection::connect(&uri, ConnectionProperties::default())).await.unwrap()
}

/// The result of what must not take for ever.
async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it takes too long")
}

/// Looks again and again until the condition holds.
async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let looking = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let outcome = tokio::time::timeout(PATIENCE, looking).await;
    assert!(outcome.is_ok(), "in {PATIENCE:?} it did not come about that {what}");
}

fn table(entries: impl IntoIterator<Item = (&'static str, AMQPValue)>) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in entries {
        table.insert(name.into(), value);
    }
    table
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}

async fn declare(channel: &Channel, queue: &str, arguments: FieldTable) {
    let options = QueueDeclareOptions::default();
    within(channel.queue_declare(queue.into(), options, arguments)).await.unwrap();
}

async fn declare_exchange(channel: &Channel, exchange: &str, kind: ExchangeKind) {
    let options = ExchangeDeclareOptions::default();
    let arguments = FieldTable::default();
    within(channel.exchange_declare(exchange.into(), kind, options, arguments)).await.unwrap();
}

async fn bind(channel: &Channel, queue: &str, exchange: &str, key: &str, arguments: FieldTable) {
    let options = QueueBindOptions::default();
    let binding = channel.queue_bind(queue.into(), exchange.into(), key.into(), options, arguments);
    within(binding).await.unwrap();
}

async fn publish(channel: &Channel, exchange: &str, key: &str, body: &[u8]) -> Confirmation {
    publish_with(channel, exchange, key, body, BasicProperties::default()).await
}

async fn publish_with(
    channel: &Channel,
    exchange: &str,
    key: &str,
    body: &[u8],
    properties: BasicProperties,
) -> Confirmation {
    let options = BasicPublishOptions { mandatory: true, ..Default::default() };
    let sent = channel.basic_publish(exchange.into(), key.into(), options, body, properties);
    within(within(sent).await.unwrap()).await.unwrap()
}

async fn confirms(channel: &Channel) {
    within(channel.confirm_select(ConfirmSelectOptions::default())).await.unwrap();
}

async fn consume(channel: &Channel, queue: &str, prefetch: u16) -> Consumer {
    within(channel.basic_qos(prefetch, BasicQosOptions::default())).await.unwrap();
    let options = BasicConsumeOptions::default();
    let consuming = channel.basic_consume(queue.into(), "".into(), options, FieldTable::default());
    within(consuming).await.unwrap()
}

async fn next(consumer: &mut Consumer) -> Delivery {
    within(consumer.next()).await.expect("the consumer goes on").expect("the channel is open")
}

async fn ack(delivery: &Delivery) {
    assert!(within(delivery.ack(BasicAckOptions::default())).await.unwrap());
}

async fn get(channel: &Channel, queue: &str) -> Option<Delivery> {
    let options = BasicGetOptions { no_ack: true };
    let got = within(channel.basic_get(queue.into(), options)).await.unwrap();
    got.map(|message| message.delivery)
}

/// The bodies of all that is in a queue, which is then empty.
async fn drain(channel: &Channel, queue: &str) -> Vec<String> {
    let mut bodies = Vec::new();
    while let Some(delivery) = get(channel, queue).await {
        bodies.push(String::from_utf8(delivery.data).unwrap());
    }
    bodies
}

/// The reply code of a fault; an error of another kind fails the test.
fn code(error: &lapin::Error) -> u16 {
    match error.kind() {
        ErrorKind::ProtocolError(error) => error.get_id(),
        other => panic!("a fault of the protocol is expected, not {other:?}"),
    }
}

/// The one entry of x-death, as names and values.
fn death(delivery: &Delivery) -> BTreeMap<String, AMQPValue> {
    let headers = delivery.properties.headers().as_ref().expect("a dead letter has headers");
    let deaths = headers.inner().get("x-death").expect("it tells of its deaths");
    let [AMQPValue::FieldTable(death)] = deaths.as_array().unwrap().as_slice() else {
        panic!("{deaths:?}")
    };
    death.inner().iter().map(|(name, value)| (name.to_string(), value.clone())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_comes_out_as_it_went_in() {
    let fixture = Fixture::start().await;
    let channel = &fixture.channel;
    declare(channel, "q", FieldTable::default()).await;
    let inner = table([("deep", AMQPValue::LongLongInt(1 << 40))]);
    let headers = table([
        ("text", text("é")),
        ("flag", AMQPValue::Boolean(true)),
        ("list", AMQPValue::FieldArray(FieldArray::from(vec![text("a"), AMQPValue::Void]))),
        ("table", AMQPValue::FieldTable(inner)),
    ]);
    let properties = BasicProperties::default()
        .with_content_type("text/plain".into())
        .with_headers(headers)
        .with_delivery_mode(2)
        .with_priority(4)
        .with_correlation_id("c".into())
        .with_reply_to("r".into())
        .with_message_id("m".into())
        .with_timestamp(1_600_000_000)
        .with_type("t".into())
        .with_user_id("guest".into())
        .with_app_id("a".into());
    for body in [Vec::new(), b"hello".to_vec(), vec![7; 500_000]] {
        publish_with(channel, "", "q", &body, properties.clone()).await;
        let got = get(channel, "q").await.unwrap();
        assert_eq!(got.properties, properties);
        assert!(got.data == body);
        assert_eq!((got.exchange.as_str(), got.routing_key.as_str()), ("", "q"));
        assert!(!got.redelivered);
    }
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn confirms_tell_of_messages_that_reach_no_queue() {
    let fixture = Fixture::start().await;
    let channel = &fixture.channel;
    confirms(channel).await;
    declare(channel, "q", FieldTable::default()).await;
    assert_eq!(publish(channel, "", "q", b"1").await, Confirmation::Ack(None));
    let returned = publish(channel, "", "nowhere", b"2").await;
    assert!(returned.is_ack());
    let returned = returned.take_message().expect("it comes back");
    assert_eq!((returned.reply_code, returned.reply_text.as_str()), (312, "NO_ROUTE"));
    assert_eq!((returned.routing_key.as_str(), &returned.data[..]), ("nowhere", &b"2"[..]));

    // Many at once, not waited for one by one.
    for number in 0..1000u32 {
        let (options, body) = (BasicPublishOptions::default(), number.to_be_bytes());
        let properties = BasicProperties::default();
        channel.basic_publish("".into(), "q".into(), options, &body, properties).await.unwrap();
    }
    assert!(within(channel.wait_for_confirms()).await.unwrap().is_empty());
    assert_eq!(fixture.broker.queues()[0].messages_ready, 1001);
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_or_drops_as_it_was_told() {
    let fixture = Fixture::start().await;
    let channel = &fixture.channel;
    confirms(channel).await;
    let two = ("x-max-length", AMQPValue::LongInt(2));
    declare(channel, "refuses", table([two.clone(), ("x-overflow", text("reject-publish"))])).await;
    declare(channel, "drops", table([two])).await;
    for (body, is_refused) in [(b"1", false), (b"2", false), (b"3", true)] {
        assert_eq!(publish(channel, "", "refuses", body).await.is_nack(), is_refused);
        assert!(publish(channel, "", "drops", body).await.is_ack());
    }
    assert_eq!(drain(channel, "refuses").await, ["1", "2"]);
    assert_eq!(drain(channel, "drops").await, ["2", "3"]);
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prefetch_bounds_what_a_consumer_holds() {
    let fixture = Fixture::start().await;
    let channel = &fixture.channel;
    declare(channel, "q", FieldTable::default()).await;
    let mut consumer = consume(channel, "q", 2).await;
    for number in 0..5 {
        publish(channel, "", "q", format!("{number}").as_bytes()).await;
    }
    let first = next(&mut consumer).await;
    let second = next(&mut consumer).await;
    assert_eq!((first.delivery_tag, second.delivery_tag), (1, 2));
    // An answer on this channel would come behind a third delivery.
    let passive = QueueDeclareOptions::default().passive();
    let queue = channel.queue_declare("q".into(), passive, FieldTable::default());
    assert_eq!(within(queue).await.unwrap().message_count(), 3);
    assert!(consumer.next().now_or_never().is_none());

    let both = BasicAckOptions { multiple: true };
    within(second.ack(both)).await.unwrap();
    assert_eq!(next(&mut consumer).await.data, b"2");
    assert_eq!(next(&mut consumer).await.data, b"3");
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_requeued_comes_again_in_its_old_place() {
    let fixture = Fixture::start().await;
    let channel = &fixture.channel;
    declare(channel, "q", FieldTable::default()).await;
    for number in 0..4 {
        publish(channel, "", "q", format!("{number}").as_bytes()).await;
    }
    let mut consumer = consume(channel, "q", 3).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(next(&mut consumer).await);
    }
    within(held[1].reject(BasicRejectOptions { requeue: true })).await.unwrap();
    let again = next(&mut consumer).await;
    assert_eq!((&again.data[..], again.redelivered), (&b"1"[..], true));
    within(held[0].nack(BasicNackOptions { requeue: true, multiple: false })).await.unwrap();
    let again = next(&mut consumer).await;
    assert_eq!((&again.data[..], again.redelivered), (&b"0"[..], true));

    // With its consumer gone and all of them back, they are in order.
    within(channel.basic_cancel(consumer.tag(), BasicCancelOptions::default())).await.unwrap();
    within(channel.basic_recover(BasicRecoverOptions { requeue: true })).await.unwrap();
    assert_eq!(drain(channel, "q").await, ["0", "1", "2", "3"]);
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_goes_to_the_dead_letter_exchange() {
    let fixture = Fixture::start().await;
    let channel = &fixture.channel;
    declare_exchange(channel, "dlx", ExchangeKind::Direct).await;
    declare(channel, "dead", FieldTable::default()).await;
    bind(channel, "dead", "dlx", "failed", FieldTable::default()).await;
    let arguments = table([
        ("x-dead-letter-exchange", text("dlx")),
        ("x-dead-letter-routing-key", text("failed")),
    ]);
    declare(channel, "work", arguments).await;
    let mut working = consume(channel, "work", 1).await;
    let mut dead = consume(channel, "dead", 1).await;
    publish(channel, "", "work", b"poison").await;
    let delivery = next(&mut working).await;
    within(delivery.nack(BasicNackOptions { requeue: false, multiple: false })).await.unwrap();

    let letter = next(&mut dead).await;
    assert_eq!(letter.data, b"poison");
    assert_eq!((letter.exchange.as_str(), letter.routing_key.as_str()), ("dlx", "failed"));
    let death = death(&letter);
    assert_eq!(death["reason"], text("rejected"));
    assert_eq!(death["queue"], text("work"));
    assert_eq!(death["exchange"], text(""));
    assert_eq!(death["count"], AMQPValue::LongLongInt(1));
    assert_eq!(death["routing-keys"].as_array().unwrap().as_slice(), [text("work")]);
    ack(&letter).await;
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_expires_goes_to_the_dead_letter_exchange_when_its_time_has_come() {
    let (fixture, clock) = Fixture::with_clock().await;
    let channel = &fixture.channel;
    declare(channel, "dead", FieldTable::default()).await;
    let arguments = table([
        ("x-dead-letter-exchange", text("")),
        ("x-dead-letter-routing-key", text("dead")),
        ("x-message-ttl", AMQPValue::LongInt(600_000)),
    ]);
    declare(channel, "brief", arguments).await;
    confirms(channel).await;
    let minute = BasicProperties::default().with_expiration("60000".into());
    publish_with(channel, "", "brief", b"1 minute", minute).await;
    publish(channel, "", "brief", b"10 minutes").await;
    let mut dead = consume(channel, "dead", 0).await;

    clock.advance(Duration::from_millis(60_000));
    let letter = next(&mut dead).await;
    assert_eq!(letter.data, b"1 minute");
    assert_eq!(*letter.properties.expiration(), None);
    assert_eq!(death(&letter)["reason"], text("expired"));
    assert_eq!(death(&letter)["original-expiration"], text("60000"));
    assert_eq!(death(&letter)["time"], AMQPValue::Timestamp(1_700_000_060));

    clock.advance(Duration::from_millis(600_000 - 60_000));
    assert_eq!(next(&mut dead).await.data, b"10 minutes");
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unused_queue_expires() {
    let (fixture, clock) = Fixture::with_clock().await;
    let channel = &fixture.channel;
    declare(channel, "brief", table([("x-expires", AMQPValue::LongInt(1000))])).await;
    let consumer = consume(channel, "brief", 0).await;
    clock.advance(Duration::from_secs(10));
    assert_eq!(fixture.broker.queues().len(), 1, "it is in use");
    within(channel.basic_cancel(consumer.tag(), BasicCancelOptions::default())).await.unwrap();
    clock.advance(Duration::from_secs(1));
    eventually("the queue is gone", || fixture.broker.queues().is_empty()).await;
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exchanges_route_by_key_by_pattern_by_headers_or_to_all() {
    let fixture = Fixture::start().await;
    let channel = &fixture.channel;
    for queue in ["one", "two"] {
        declare(channel, queue, FieldTable::default()).await;
    }
    for (exchange, kind) in [
        ("direct", ExchangeKind::Direct),
        ("fanout", ExchangeKind::Fanout),
        ("topic", ExchangeKind::Topic),
        ("headers", ExchangeKind::Headers),
    ] {
        declare_exchange(channel, exchange, kind).await;
    }
    let none = FieldTable::default;
    for (queue, key) in [("one", "a"), ("two", "b")] {
        bind(channel, queue, "direct", key, none()).await;
        bind(channel, queue, "fanout", "", none()).await;
    }
    bind(channel, "one", "topic", "order.*.paid", none()).await;
    bind(channel, "two", "topic", "order.#", none()).await;
    let all = table([("x-match", text("all")), ("kind", text("pdf")), ("size", text("a4"))]);
    let any = table([("x-match", text("any")), ("kind", text("pdf")), ("size", text("a4"))]);
    bind(channel, "one", "headers", "", all).await;
    bind(channel, "two", "headers", "", any).await;

    let plain = BasicProperties::default;
    let pdf = plain().with_headers(table([("kind", text("pdf"))]));
    let a4 = plain().with_headers(table([("kind", text("pdf")), ("size", text("a4"))]));
    for (exchange, key, properties, queues) in [
        ("direct", "a", plain(), &["one"][..]),
        ("direct", "b", plain(), &["two"]),
        ("fanout", "any", plain(), &["one", "two"]),
        ("topic", "order.7.paid", plain(), &["one", "two"]),
        ("topic", "order", plain(), &["two"]),
        ("headers", "", pdf, &["two"]),
        ("headers", "", a4, &["one", "two"]),
    ] {
        publish_with(channel, exchange, key, b"here", properties).await;
        for queue in ["one", "two"] {
            let expected = if queues.contains(&queue) { &["here"][..] } else { &[] };
            assert_eq!(drain(channel, queue).await, expected, "{exchange} {key:?} {queue}");
        }
    }
    confirms(channel).await;
    for (exchange, key) in [("direct", "c"), ("topic", "orders.paid"), ("headers", "a")] {
        let returned = publish(channel, exchange, key, b"nowhere").await.take_message();
        assert!(returned.is_some(), "{exchange} {key}");
    }
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exchanges_can_be_bound_to_exchanges() {
    let fixture = Fixture::start().await;
    let channel = &fixture.channel;
    declare_exchange(channel, "source", ExchangeKind::Topic).await;
    declare_exchange(channel, "middle", ExchangeKind::Fanout).await;
    declare(channel, "q", FieldTable::default()).await;
    bind(channel, "q", "middle", "", FieldTable::default()).await;
    let (options, none) = (ExchangeBindOptions::default(), FieldTable::default());
    let binding =
        channel.exchange_bind("middle".into(), "source".into(), "a.#".into(), options, none);
    within(binding).await.unwrap();
    publish(channel, "source", "a.b", b"1").await;
    let got = get(channel, "q").await.unwrap();
    assert_eq!((got.exchange.as_str(), got.routing_key.as_str()), ("source", "a.b"));

    let (options, none) = (ExchangeUnbindOptions::default(), FieldTable::default());
    let unbinding =
        channel.exchange_unbind("middle".into(), "source".into(), "a.#".into(), options, none);
    within(unbinding).await.unwrap();
    confirms(channel).await;
    assert!(publish(channel, "source", "a.b", b"2").await.take_message().is_some());
    let gone = channel.exchange_delete("middle".into(), ExchangeDeleteOptions::default());
    within(gone).await.unwrap();
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_belong_to_a_connection_or_to_their_consumers() {
    let fixture = Fixture::start().await;
    let channel = &fixture.channel;
    let other = connect(&fixture.broker).await;
    let theirs = other.create_channel().await.unwrap();
    let exclusive = QueueDeclareOptions::exclusive();
    let own = theirs.queue_declare("".into(), exclusive, FieldTable::default());
    let own = within(own).await.unwrap().name().clone();
    assert!(own.as_str().starts_with("amq.gen-"), "{own}");
    let passive = QueueDeclareOptions::default().passive();
    let locked = channel.queue_declare(own, passive, FieldTable::default());
    assert_eq!(code(&within(locked).await.unwrap_err()), 405);

    let options = QueueDeclareOptions::default().auto_delete();
    let fleeting = theirs.queue_declare("fleeting".into(), options, FieldTable::default());
    within(fleeting).await.unwrap();
    let consumer = consume(&theirs, "fleeting", 0).await;
    assert_eq!(fixture.broker.queues().len(), 2);
    within(theirs.basic_cancel(consumer.tag(), BasicCancelOptions::default())).await.unwrap();
    assert_eq!(fixture.broker.queues().len(), 1);
    within(other.close(200, "bye".into())).await.unwrap();
    assert!(fixture.broker.queues().is_empty());
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_are_counted_purged_and_deleted() {
    let fixture = Fixture::start().await;
    let channel = &fixture.channel;
    declare(channel, "q", FieldTable::default()).await;
    for _ in 0..3 {
        publish(channel, "", "q", b"x").await;
    }
    let purge = channel.queue_purge("q".into(), QueuePurgeOptions::default());
    assert_eq!(within(purge).await.unwrap(), 3);
    publish(channel, "", "q", b"x").await;
    let mut consumer = consume(channel, "q", 1).await;
    next(&mut consumer).await;
    publish(channel, "", "q", b"y").await;
    let delete = channel.queue_delete("q".into(), QueueDeleteOptions::default());
    assert_eq!(within(delete).await.unwrap(), 1, "the one that is ready");
    // The consumer is told, and its stream ends.
    assert!(within(consumer.next()).await.is_none());
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_closes_its_channel_and_nothing_else() {
    let fixture = Fixture::start().await;
    declare(&fixture.channel, "q", FieldTable::default()).await;
    let open = || async { fixture.connection.create_channel().await.unwrap() };

    let passive = QueueDeclareOptions::default().passive();
    let channel = open().await;
    let missing = channel.queue_declare("missing".into(), passive, FieldTable::default());
    let error = within(missing).await.unwrap_err();
    assert_eq!(code(&error), 404);
    assert!(error.to_string().contains("no queue 'missing' in vhost '/'"), "{error}");

    let channel = open().await;
    let durable = QueueDeclareOptions::durable();
    let other = channel.queue_declare("q".into(), durable, FieldTable::default());
    let error = within(other).await.unwrap_err();
    assert_eq!(code(&error), 406);
    assert!(error.to_string().contains("inequivalent arg 'durable'"), "{error}");

    let channel = open().await;
    let options = ExchangeDeleteOptions::default();
    let system = within(channel.exchange_delete("amq.topic".into(), options)).await;
    assert_eq!(code(&system.unwrap_err()), 403);

    publish(&fixture.channel, "", "q", b"still here").await;
    assert_eq!(drain(&fixture.channel, "q").await, ["still here"]);
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_is_all_or_nothing() {
    let fixture = Fixture::start().await;
    let channel = &fixture.channel;
    declare(channel, "q", FieldTable::default()).await;
    within(channel.tx_select()).await.unwrap();
    publish(channel, "", "q", b"taken back").await;
    within(channel.tx_rollback()).await.unwrap();
    publish(channel, "", "q", b"meant").await;
    assert_eq!(fixture.broker.queues()[0].messages_ready, 0);
    within(channel.tx_commit()).await.unwrap();
    assert_eq!(drain(channel, "q").await, ["meant"]);
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_broker_says_so() {
    let Fixture { broker, connection, channel } = Fixture::start().await;
    declare(&channel, "q", FieldTable::default()).await;
    let mut consumer = consume(&channel, "q", 0).await;
    within(broker.shutdown()).await.unwrap();
    let end = within(consumer.next()).await.expect("the consumer is told").unwrap_err();
    assert_eq!(code(&end), 320);
    assert!(!connection.status().connected());
}

#[tokio::test(flavor = "multi_thread")]
async fn many_publishers_and_consumers_agree_on_every_message() {
    const PUBLISHERS: usize = 4;
    const CONSUMERS: usize = 4;
    const MESSAGES: usize = 2000;
    let fixture = Fixture::start().await;
    declare_exchange(&fixture.channel, "all", ExchangeKind::Fanout).await;
    for queue in ["work", "audit"] {
        declare(&fixture.channel, queue, FieldTable::default()).await;
        bind(&fixture.channel, queue, "all", "", FieldTable::default()).await;
    }

    // Each message is acknowledged once, refusals apart: every consumer gives each tenth of what
    // it sees for the first time back.
    let settled = Arc::new(AtomicUsize::new(0));
    let mut connections = Vec::new();
    let mut consumers = Vec::new();
    for _ in 0..CONSUMERS {
        let connection = connect(&fixture.broker).await;
        let channel = connection.create_channel().await.unwrap();
        let mut consumer = consume(&channel, "work", 50).await;
        connections.push(connection);
        let settled = settled.clone();
        consumers.push(tokio::spawn(async move {
            let mut seen = Vec::new();
            while settled.load(Ordering::SeqCst) < PUBLISHERS * MESSAGES {
                // With all settled by others nothing more comes here.
                let soon = Duration::from_millis(50);
                let Ok(delivery) = tokio::time::timeout(soon, consumer.next()).await else {
                    continue;
                };
                let delivery = delivery.unwrap().unwrap();
                if delivery.delivery_tag % 10 == 0 && !delivery.redelivered {
                    let again = BasicNackOptions { requeue: true, multiple: false };
                    delivery.nack(again).await.unwrap();
                } else {
                    delivery.ack(BasicAckOptions::default()).await.unwrap();
                    seen.push(delivery.data);
                    settled.fetch_add(1, Ordering::SeqCst);
                }
            }
            seen
        }));
    }
    let publishers = (0..PUBLISHERS).map(|publisher| {
        let broker = &fixture.broker;
        async move {
            let connection = connect(broker).await;
            let channel = connection.create_channel().await.unwrap();
            confirms(&channel).await;
            for number in 0..MESSAGES {
                let body = format!("{publisher} {number:05}");
                let options = BasicPublishOptions::default();
                let properties = BasicProperties::default();
                channel
                    .basic_publish("all".into(), "".into(), options, body.as_bytes(), properties)
                    .await
                    .unwrap();
            }
            assert!(within(channel.wait_for_confirms()).await.unwrap().is_empty());
            within(connection.close(200, "bye".into())).await.unwrap();
        }
    });
    within(join_all(publishers)).await;

    let mut expected: Vec<String> = (0..PUBLISHERS)
        .flat_map(|publisher| (0..MESSAGES).map(move |number| format!("{publisher} {number:05}")))
        .collect();
    expected.sort_unstable();
    let mut seen = Vec::new();
    for consumer in consumers {
        seen.extend(within(consumer).await.unwrap());
    }
    let mut seen: Vec<String> =
        seen.into_iter().map(|body| String::from_utf8(body).unwrap()).collect();
    seen.sort_unstable();
    assert!(seen == expected, "{} of {} messages, or others", seen.len(), expected.len());
    let work_is_done = || {
        let queues = fixture.broker.queues();
        let work = queues.iter().find(|queue| queue.name == "work").unwrap();
        (work.messages_ready, work.messages_unacknowledged) == (0, 0)
    };
    eventually("all is acknowledged", work_is_done).await;

    // The other queue has each publisher's messages in order.
    let audit = drain(&fixture.channel, "audit").await;
    for publisher in 0..PUBLISHERS {
        let prefix = format!("{publisher} ");
        let own: Vec<&String> = audit.iter().filter(|body| body.starts_with(&prefix)).collect();
        assert!(own.is_sorted() && own.len() == MESSAGES, "{own:?}");
    }
    for connection in connections {
        within(connection.close(200, "bye".into())).await.unwrap();
    }
    fixture.end().await;
}
