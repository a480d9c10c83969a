//! How do I run a broker inside my program, for instance in a test?
//!
//! Starts one in memory on a free port, sends a message through it with lapin and stops it:
//! `cargo run --example embed`

#![allow(clippy::print_stdout, reason = "an example shows what happens")]

use futures::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Connection, ConnectionProperties};
use leveret::Broker;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let broker = Broker::builder().in_memory().listen("127.0.0.1:0".parse()?).start().await?;
    let uri = format!("amqp://guest:guest@{}/%2f", broker.addresses()[0]);
    println!("broker at {uri}");

    let connection = Connection::connect(&uri, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    channel
        .queue_declare("greetings".into(), QueueDeclareOptions::default(), FieldTable::default())
        .await?;
    channel
        .basic_publish(
            "".into(),
            "greetings".into(),
            BasicPublishOptions::default(),
            b"hello, hare",
            BasicProperties::default(),
        )
        .await?;

    let mut consumer = channel
        .basic_consume(
            "greetings".into(),
            "example".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        )
        .await?;
    let delivery = consumer.next().await.ok_or("the consumer was cancelled")??;
    println!("received: {}", String::from_utf8_lossy(&delivery.data));
    delivery.ack(BasicAckOptions::default()).await?;

    for queue in broker.queues() {
        println!("queue {}: {} ready", queue.name, queue.messages_ready);
    }
    connection.close(200, "bye".into()).await?;
    broker.shutdown().await?;
    Ok(())
}
