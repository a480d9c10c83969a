//! How do I publish a message that is certainly not lost?
//!
//! Declares an exchange and a queue, publishes one order and waits until the broker has it on disk.
//! Start a broker (`cargo run --release`), then: `cargo run --example producer`

#![allow(clippy::print_stdout, reason = "an example shows what happens")]

use lapin::options::{
    BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions,
    QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable, LongString};
use lapin::{BasicProperties, Connection, ConnectionProperties, ExchangeKind};

const PERSISTENT: u8 = 2;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let uri = std::env::var("AMQP_URI").unwrap_or_else(|_| "amqp://127.0.0.1:5672/%2f".to_owned());
    let connection = Connection::connect(&uri, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;

    // Orders that fail, or that nobody takes within 30 seconds, are moved to shop.orders.dlx. An exchange
    // keeps nothing, so it has a queue of its own.
    let durable = ExchangeDeclareOptions { durable: true, ..Default::default() };
    let none = FieldTable::default;
    channel
        .exchange_declare("shop.orders.dlx".into(), ExchangeKind::Fanout, durable, none())
        .await?;
    channel
        .queue_declare("shop.failed_orders".into(), QueueDeclareOptions::durable(), none())
        .await?;
    let (queue, exchange) = ("shop.failed_orders".into(), "shop.orders.dlx".into());
    channel.queue_bind(queue, exchange, "".into(), QueueBindOptions::default(), none()).await?;

    // Declaring what is there already changes nothing, so a program can do it at each start. But the
    // arguments must be the same each time: a queue's cannot be changed.
    let mut arguments = FieldTable::default();
    arguments.insert(
        "x-dead-letter-exchange".into(),
        AMQPValue::LongString(LongString::from("shop.orders.dlx")),
    );
    arguments.insert("x-message-ttl".into(), AMQPValue::LongInt(30_000));
    channel.exchange_declare("shop.orders".into(), ExchangeKind::Direct, durable, none()).await?;
    channel
        .queue_declare("shop.order_processing".into(), QueueDeclareOptions::durable(), arguments)
        .await?;
    let (queue, exchange) = ("shop.order_processing".into(), "shop.orders".into());
    channel.queue_bind(queue, exchange, "new".into(), QueueBindOptions::default(), none()).await?;

    // With confirms the broker says when a message is safe: written and synced to disk, if it is
    // persistent and its queue is durable. Without, a publish is a hope.
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let confirmation = channel
        .basic_publish(
            "shop.orders".into(),
            "new".into(),
            // A message that reaches no queue comes back instead of being dropped.
            BasicPublishOptions { mandatory: true, ..Default::default() },
            br#"{"order_id": "ord-123", "user_id": "u-001", "total": 49.99}"#,
            BasicProperties::default()
                .with_delivery_mode(PERSISTENT)
                .with_content_type("application/json".into()),
        )
        .await?
        .await?;
    if !confirmation.is_ack() {
        return Err("the broker could not take the message".into());
    }
    if let Some(returned) = confirmation.take_message() {
        return Err(format!("the message reached no queue: {}", returned.reply_text).into());
    }
    println!("published order ord-123");
    connection.close(200, "bye".into()).await?;
    Ok(())
}
