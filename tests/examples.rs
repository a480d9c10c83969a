//! The programs in `examples/` do what they say.

use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;

use crate::support::client::{Client, PERSISTENT};
use crate::support::eventually;
use crate::support::process::{self, Process};

/// Where the built examples are. `cargo test --workspace` has built them already; a run of fewer tests
/// builds them here.
static EXAMPLES: LazyLock<PathBuf> = LazyLock::new(|| {
    let mut build = Command::new(env!("CARGO"));
    // why the whole workspace: dependencies have other features for one package of it, and would be
    // compiled once more.
    build.args(["build", "--quiet", "--workspace", "--examples"]);
    build.current_dir(env!("CARGO_MANIFEST_DIR"));
    // why: cargo tells a test of which package it is. The build script of ring looks whether that has
    // changed, so that ring and all that depends on it would be compiled once more.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            build.env_remove(&*name);
        }
    }
    assert!(build.status().expect("cargo can be run").success());
    let this_program = std::env::current_exe().expect("the system knows what it runs");
    let profile =
        this_program.ancestors().nth(2).expect("it is in deps of the profile's directory");
    profile.join("examples")
});

/// An example, running.
fn example(name: &str, uri: &str) -> Process {
    let mut command = Command::new(EXAMPLES.join(name));
    command.env("AMQP_URI", uri);
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
    eventually("it is a dead letter", || client.count("shop.failed_orders") == 1);
}
