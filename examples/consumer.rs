//! How do I process messages so that none is lost when my program or the broker fails?
//!
//! Takes orders one at a time; an order that cannot be fulfilled becomes a dead letter.
//! Run `cargo run --example producer` first, then: `cargo run --example consumer` (Ctrl-C ends it)

#![allow(clippy::print_stdout, reason = "an example shows what happens")]

use futures::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions, QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let uri = std::env::var("AMQP_URI").unwrap_or_else(|_| "amqp://127.0.0.1:5672/%2f".to_owned());
    let connection = Connection::connect(&uri, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;

    // One unacknowledged message at a time: the rest waits for whichever consumer is free first.
    channel.basic_qos(1, BasicQosOptions::default()).await?;

    let mut consumer = channel
        .basic_consume(
            "shop.order_processing".into(),
            "example".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        )
        .await?;
    let waiting = QueueDeclareOptions::default().passive();
    let failed = channel.queue_declare("shop.failed_orders".into(), waiting, FieldTable::default());
    println!("waiting for orders; {} have failed before", failed.await?.message_count());

    while let Some(delivery) = consumer.next().await {
        let delivery = delivery?;
        // Acknowledged only after the work: if this program dies before, the broker gives the order
        // to another consumer.
        match fulfill(&delivery.data) {
            Ok(()) => {
                delivery.ack(BasicAckOptions::default()).await?;
            }
            Err(error) => {
                println!("failed to process order: {error}");
                // Not requeued, since it would only come back and fail again.
                let dead_letter = BasicNackOptions { requeue: false, ..Default::default() };
                delivery.nack(dead_letter).await?;
            }
        }
    }
    Err("the broker cancelled the consumer".into())
}

/// The work; orders without an id are refused.
fn fulfill(order: &[u8]) -> Result<(), String> {
    let order = std::str::from_utf8(order).map_err(|error| error.to_string())?;
    if !order.contains("order_id") {
        return Err(format!("no order_id in {order}"));
    }
    println!("fulfilled {order}");
    Ok(())
}
