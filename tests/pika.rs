//! pika, the Python client, against the real program: the programs of `examples/pika` as a user
//! would run them, across kills of the broker, and checks of what else pika's users rely on.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::support::certificates::Authority;
use crate::support::client::{Client, PERSISTENT};
use crate::support::process::{self, Process};
use crate::support::{PATIENCE, eventually, venv};

#[test]
fn an_order_outlives_a_kill_between_the_programs() {
    let home = tempfile::tempdir().unwrap();
    let (broker, address) = process::start_durable(home.path());
    succeed(address, &example("producer.py"));
    // Behind the order, confirmed: so the order is on disk, which close-ok does not promise.
    publish_order(address, r#"{"order_id": "ord-999", "then": "stop"}"#);
    broker.kill();

    let _broker = process::restart_durable(home.path(), address);
    let printed = succeed(address, &example("consumer.py"));
    // With a prefetch of one the second order is only delivered once the first is acknowledged.
    assert_eq!(
        printed,
        "order {\"order_id\": \"ord-123\", \"user_id\": \"u-001\", \"total\": 49.99}\n\
         order {\"order_id\": \"ord-999\", \"then\": \"stop\"}\n"
    );
    let mut client = Client::connect(address);
    eventually("only the last order is left", || client.count("order_processing") == 1);
}

#[test]
fn a_failed_order_becomes_a_dead_letter_and_outlives_kills() {
    let home = tempfile::tempdir().unwrap();
    let (broker, address) = process::start_durable(home.path());
    succeed(address, &example("dead_letter.py"));
    publish_order(address, r#"{"order_id": "ord-125", "then": "fail"}"#);
    publish_order(address, r#"{"order_id": "ord-999", "then": "stop"}"#);
    broker.kill();

    let broker = process::restart_durable(home.path(), address);
    let printed = succeed(address, &example("consumer.py"));
    assert!(printed.starts_with("order {\"order_id\": \"ord-124\""), "{printed}");
    assert!(printed.contains("Failed to process order: no stock for ord-125\n"), "{printed}");
    let mut client = Client::connect(address);
    client.declare("fence", true);
    client.publish_safely(1, ("", "fence"), PERSISTENT, b"");
    broker.kill();

    let _broker = process::restart_durable(home.path(), address);
    succeed(address, &check("failed_order.py"));
    // The producer without dead letters wants another queue than this one.
    let refused = run(address, &example("producer.py"));
    let error = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success());
    assert!(error.contains("inequivalent arg 'x-message-ttl'"), "{error}");
}

#[test]
fn what_expires_becomes_a_dead_letter() {
    in_memory("expiring.py", |address| {
        succeed(address, &example("dead_letter.py"));
        // Takes the order of that program out of the way.
        let mut client = Client::connect(address);
        client.consume("order_processing", 1, true);
        client.delivery();
        client.close();
    });
}

#[test]
fn publishing() {
    in_memory("publishing.py", |_| {});
}

#[test]
fn faults() {
    in_memory("faults.py", |_| {});
}

#[test]
fn queues() {
    in_memory("queues.py", |_| {});
}

#[test]
fn consuming() {
    in_memory("consuming.py", |_| {});
}

#[test]
fn heartbeats() {
    in_memory("heartbeats.py", |_| {});
}

#[test]
fn secured() {
    let home = tempfile::tempdir().unwrap();
    let authority = Authority::new("leveret's tests");
    let [certificate, key] = authority.server("broker").write(home.path());
    let (ca, client) = (home.path().join("ca.pem"), authority.client("guest"));
    std::fs::write(&ca, authority.pem()).unwrap();
    std::fs::write(home.path().join("client.pem"), client.certificate).unwrap();
    std::fs::write(home.path().join("client.key"), client.key).unwrap();
    let mut command = process::leveret(["--in-memory", "--tls-listen", "127.0.0.1:0"]);
    command.arg("--tls-cert").arg(certificate).arg("--tls-key").arg(key);
    command.arg("--tls-ca").arg(ca).args(["--tls-user-from", "common-name"]);
    let started = Process::start(command).ready();
    let (_broker, address) = started.unwrap_or_else(|ended| panic!("no start: {}", ended.stderr));
    let mut client = python(address, &check("secured.py"));
    succeeded(&finish(client.env("CERTIFICATES", home.path())));
}

/// Runs a check against a broker of its own.
fn in_memory(program: &str, prepare: impl FnOnce(SocketAddr)) {
    let command = process::leveret(["--in-memory", "--listen", "127.0.0.1:0"]);
    let started = Process::start(command).ready();
    let (_broker, address) = started.unwrap_or_else(|ended| panic!("no start: {}", ended.stderr));
    prepare(address);
    succeed(address, &check(program));
}

/// Publishes an order as the producer does, and waits until it is on disk.
fn publish_order(address: SocketAddr, order: &str) {
    let mut client = Client::connect(address);
    client.publish_safely(1, ("orders", "new"), PERSISTENT, order.as_bytes());
    client.close();
}

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/pika").join(name)
}

fn check(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pika").join(name)
}

/// Runs a program to its end, which must be a good one; returns what it printed.
fn succeed(address: SocketAddr, program: &Path) -> String {
    succeeded(&run(address, program))
}

fn run(address: SocketAddr, program: &Path) -> Output {
    finish(&mut python(address, program))
}

/// What it printed, if its end was a good one.
fn succeeded(output: &Output) -> String {
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stdout}{stderr}");
    stdout
}

/// A program with pika, which finds the broker at this address.
fn python(address: SocketAddr, program: &Path) -> Command {
    let mut command = Command::new(venv::python());
    // Not buffered, and no compiled files left beside the programs.
    command.args(["-u", "-B"]).arg(check("run.py"));
    command.arg(address.port().to_string()).arg(program);
    command
}

/// Runs a program to its end.
fn finish(command: &mut Command) -> Output {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the environment has an interpreter");
    // The programs print less than a pipe holds, so that they can be waited for first.
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait().expect("the child is ours").is_none() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    // Of a program that has ended nothing is left to kill.
    let _ = child.kill();
    child.wait_with_output().expect("the pipes can be read")
}
