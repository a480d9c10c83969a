//! The programs in `examples/` do what they say.

mod support;

use std::process::Command;

use support::client::{Client, PERSISTENT};
use support::process::{self, Process};

/// An example, run as its documentation says.
fn example(name: &str, uri: &str) -> Process {
    // `cargo test` has built it unless it was told to run this test alone; then it takes a while.
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--examples"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    assert!(build.status().expect("cargo can be run").success());
    let mut command = Command::new(env!("CARGO"));
    command.args(["run", "--quiet", "--example", name]);
    command.current_dir(env!("CARGO_MANIFEST_DIR")).env("AMQP_URI", uri);
    Process::start(command)
}

#[test]
fn embed() {
    let ended = example("embed", "").wait();
    assert!(ended.status.success(), "{}", ended.stderr);
    assert!(ended.stdout.contains("received: hello, hare\n"), "{}", ended.stdout);
    assert!(ended.stdout.contains("queue greetings: 0 ready\n"), "{}", ended.stdout);
}

/// The broker is killed between the two: what was published is there all the same.
#[test]
fn producer_and_consumer_across_a_kill() {
    let home = tempfile::tempdir().expect("a directory");
    let (broker, address) = process::start_durable(home.path());
    let uri = format!("amqp://{address}/%2f");
    // Twice: what is declared already must not be in the way.
    for _ in 0..2 {
        let produced = example("producer", &uri).wait();
        assert!(produced.status.success(), "{}", produced.stderr);
        assert_eq!(produced.stdout, "published order ord-123\n");
    }
    let mut client = Client::connect(address);
    client.publish_safely(1, ("shop.orders", "new"), PERSISTENT, b"scribble");

    broker.kill();
    let _broker = process::restart_durable(home.path(), address);
    let mut client = Client::connect(address);
    let mut consumer = example("consumer", &uri);
    let order = r#"fulfilled {"order_id": "ord-123", "user_id": "u-001", "total": 49.99}"#;
    for expected in [
        "waiting for orders; 0 have failed before",
        order,
        order,
        "failed to process order: no order_id in scribble",
    ] {
        assert_eq!(consumer.next_line().as_deref(), Some(expected));
    }
    support::eventually("it is a dead letter", || client.count("shop.failed_orders") == 1);
}
