//! `leveret perf` from the outside: what it counts, and how it fails. Nothing here is about how fast
//! something is.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use crate::support::certificates::{Authority, Identity};
use crate::support::client::{Client, PERSISTENT, short};
use crate::support::embedded::Embedded;
use crate::support::eventually;
use crate::support::process::{Ended, Process, leveret};
use leveret::Broker;
use leveret::config::{Pem, Tls};
use leveret_codec::Method;
use leveret_codec::method::queue;
use rustix::process::Signal;
use serde_json::Value;

fn broker() -> Embedded {
    Embedded::start(Broker::builder().in_memory())
}

fn uri(broker: &Embedded) -> String {
    format!("amqp://guest:guest@{}/%2f", broker.address())
}

fn perf(uri: &str, arguments: &str) -> Ended {
    let arguments = ["perf", "--uri", uri].into_iter().chain(arguments.split_whitespace());
    Process::start(leveret(arguments)).wait()
}

/// Runs it to its end and returns what it measured.
#[track_caller]
fn measured(broker: &Embedded, arguments: &str) -> Value {
    let Ended { status, stdout, stderr } =
        perf(&uri(broker), &format!("--json --count 1000 {arguments}"));
    assert_eq!(status.code(), Some(0), "{stderr}");
    assert_eq!(stdout.lines().count(), 1, "{stdout}");
    let json: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&json["complete"], &json["error"]), (&Value::Bool(true), &Value::Null), "{json}");
    json
}

/// Expects it to fail with this exit code and one line on standard error; returns that line.
#[track_caller]
fn refusal(uri: &str, arguments: &str, code: i32) -> String {
    let Ended { status, stdout, stderr } = perf(uri, arguments);
    assert_eq!(status.code(), Some(code), "{stderr}");
    assert_eq!((stdout.as_str(), stderr.lines().count()), ("", 1), "{stderr}");
    stderr
}

#[test]
fn help_has_examples() {
    let Ended { status, stdout, .. } = Process::start(leveret(["perf", "--help"])).wait();
    assert!(status.success());
    for said in ["--uri", "--confirm", "amqp://guest:guest@127.0.0.1:5672/", "Examples:"] {
        assert!(stdout.contains(said), "{said} is missing in\n{stdout}");
    }
}

#[test]
fn every_message_is_counted_once() {
    let broker = broker();
    // Arguments; published, confirmed, delivered, acknowledged.
    for (arguments, counts) in [
        ("", [1000, 0, 1000, 0]),
        ("--size 0", [1000, 0, 1000, 0]),
        ("--size 200000 --confirm 2 --count 20", [20, 20, 20, 0]),
        ("--consumers 0", [1000, 0, 0, 0]),
        ("--ack-every 7", [1000, 0, 1000, 1000]),
        ("--ack-every 100 --prefetch 100 --consumers 2", [1000, 0, 1000, 1000]),
        (
            "--durable --persistent --confirm 10 --ack-every 1 --prefetch 1",
            [1000, 1000, 1000, 1000],
        ),
        ("--confirm 1", [1000, 1000, 1000, 0]),
        ("--producers 3 --consumers 2 --queues 5", [1000, 0, 1000, 0]),
        ("--producers 4 --consumers 8 --queues 2 --confirm 7", [1000, 1000, 1000, 0]),
        ("--fanout --queues 3 --consumers 3", [1000, 0, 3000, 0]),
        ("--fanout --queues 3 --consumers 1 --ack-every 10", [1000, 0, 3000, 3000]),
        ("--topic-bindings 500 --queues 2 --mandatory", [1000, 0, 1000, 0]),
        (
            "--exchange own --exchange-type topic --routing-key a.b --binding-key a.#",
            [1000, 0, 1000, 0],
        ),
        // What reaches which queue is the exchange's rule: it has a type already.
        ("--exchange amq.fanout --queues 3 --consumers 2", [1000, 0, 3000, 0]),
        ("--rate 20000 --arg x-queue-mode=lazy --arg x-max-length=100000", [1000, 0, 1000, 0]),
    ] {
        let json = match arguments.contains("--count") {
            true => {
                let ended = perf(&uri(&broker), &format!("--json {arguments}"));
                assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
                serde_json::from_str(&ended.stdout).unwrap()
            }
            false => measured(&broker, arguments),
        };
        let found = ["published", "confirmed", "delivered", "acked"].map(|name| &json[name]);
        assert_eq!(found, counts.map(Value::from).each_ref(), "{arguments}: {json}");
        assert_eq!((&json["nacked"], &json["returned"]), (&0.into(), &0.into()), "{arguments}");
    }
    assert_eq!(broker.broker().queues().len(), 0, "queues are deleted");
    let own = queue::Bind { queue: short("q"), exchange: short("own"), ..Default::default() };
    let mut client = Client::connect(broker.address());
    client.declare("q", false);
    let answer = client.call(1, &own);
    assert!(
        matches!(answer.method(), Method::ChannelClose(_)),
        "exchanges are deleted: {answer:?}"
    );
}

#[test]
fn latencies_are_of_all_messages_with_room_for_a_stamp() {
    let broker = broker();
    let json = measured(&broker, "--rate 5000 --confirm 100 --size 8");
    for kind in ["delivery_latency_us", "confirm_latency_us"] {
        let latency = &json[kind];
        assert_eq!(latency["count"], 1000, "{json}");
        let ordered =
            ["p50", "p90", "p99", "p99.9", "max"].map(|name| latency[name].as_f64().unwrap());
        assert!(ordered.is_sorted() && ordered[0] > 0.0, "{json}");
    }
    let json = measured(&broker, "--size 7");
    assert!(json["delivery_latency_us"].is_null() && json["confirm_latency_us"].is_null());
}

#[test]
fn a_backlog_is_left_and_taken() {
    let broker = broker();
    measured(&broker, "--consumers 0 --keep --queue backlog --queues 2");
    let waiting = || {
        let queues = ["backlog-1", "backlog-2"].map(|name| broker.queue(name).unwrap());
        queues.map(|queue| queue.messages_ready)
    };
    assert_eq!(waiting(), [500, 500]);
    let json = measured(&broker, "--producers 0 --queue backlog --queues 2 --ack-every 10 --keep");
    assert_eq!((&json["published"], &json["delivered"]), (&0.into(), &1000.into()));
    assert!(json["delivery_latency_us"].is_null(), "stamps of another run mean nothing");
    assert_eq!(waiting(), [0, 0]);
}

#[test]
fn what_is_refused_or_comes_back_is_counted() {
    let broker = broker();
    let json = measured(
        &broker,
        "--consumers 0 --confirm 100 --arg x-max-length=10 --arg x-overflow=reject-publish",
    );
    assert_eq!((&json["confirmed"], &json["nacked"]), (&10.into(), &990.into()), "{json}");
    let json = measured(
        &broker,
        "--consumers 0 --confirm 10 --mandatory --exchange nowhere --routing-key a --binding-key b",
    );
    assert_eq!((&json["returned"], &json["confirmed"]), (&1000.into(), &1000.into()), "{json}");
}

#[test]
fn messages_that_do_not_come_are_a_failure() {
    let broker = broker();
    let arguments = "--json --count 1000 --arg x-max-length=1 --prefetch 1 --ack-every 1";
    let Ended { status, stdout, stderr } = perf(&uri(&broker), arguments);
    assert_eq!(status.code(), Some(1), "{stderr}");
    let json: Value = serde_json::from_str(&stdout).unwrap();
    let missing = 1000 - json["delivered"].as_u64().unwrap();
    let error = format!("{missing} of 1000 deliveries are missing, and none came for 5 s");
    assert_eq!((&json["complete"], &json["error"]), (&false.into(), &error.as_str().into()));
    assert!(stderr.lines().last().unwrap().ends_with(&error), "{stderr}");
}

#[test]
fn what_was_made_before_it_failed_is_removed() {
    let broker = broker();
    // The first of its queues is somebody else's, and so is the third, with other arguments.
    let mut client = Client::connect(broker.address());
    client.declare("load-1", false);
    let mut octets = Vec::new();
    client.encode_publish(&mut octets, 1, ("", "load-1"), PERSISTENT, b"precious");
    client.send(&octets).unwrap();
    client.declare("load-3", true);
    eventually("the message is there", || client.count("load-1") == 1);
    let line = refusal(&uri(&broker), "--exchange own --queue load --queues 3 --count 1", 1);
    assert!(line.contains("406 PRECONDITION_FAILED"), "{line}");
    let left: Vec<_> = broker.broker().queues().into_iter().map(|queue| queue.name).collect();
    assert_eq!(left.len(), 2, "{left:?}");
    assert_eq!(client.count("load-1"), 1);
    let bind = queue::Bind { queue: short("load-3"), exchange: short("own"), ..Default::default() };
    let answer = client.call(1, &bind);
    assert!(matches!(answer.method(), Method::ChannelClose(_)), "{answer:?}");
}

#[test]
fn people_get_text_and_progress() {
    let broker = broker();
    let Ended { status, stdout, stderr } =
        perf(&uri(&broker), "--seconds 1.5 --warm-up 0.2 --rate 1000 --ack-every 1");
    assert_eq!(status.code(), Some(0), "{stderr}");
    for said in
        ["published", "delivered", "acknowledged", "publish to delivery: p50", "measured for 1."]
    {
        assert!(stdout.contains(said), "{said} is missing in\n{stdout}");
    }
    assert!(stderr.lines().count() >= 1 && stderr.contains("delivered/s"), "{stderr}");
}

#[test]
fn a_signal_ends_a_run_that_has_its_summary() {
    let broker = broker();
    let uri = uri(&broker);
    for load in ["--rate 100", "--consumers 1", "--producers 0"] {
        let arguments = ["perf", "--json", "--uri", &uri].into_iter();
        let process = Process::start(leveret(arguments.chain(load.split(' '))));
        eventually("all are connected and the first second is over", || {
            process.log().contains("delivered/s")
        });
        process.signal(Signal::INT);
        let Ended { status, stdout, stderr } = process.wait();
        assert_eq!(status.code(), Some(0), "{stderr}");
        let json: Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!((&json["complete"], &json["error"]), (&Value::Bool(false), &Value::Null));
        assert_eq!(broker.broker().queues().len(), 0);
    }
}

#[test]
fn a_producer_that_is_blocked_waits_and_can_be_stopped() {
    let broker = broker();
    broker.broker().set_alarm(Some("a test"));
    let uri = uri(&broker);
    let process = Process::start(leveret(["perf", "--json", "--uri", &uri, "--count", "100000"]));
    eventually("it says that it is blocked", || process.log().contains("1 blocked by the broker"));
    broker.broker().set_alarm(None);
    let ended = process.wait();
    let json: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((&json["delivered"], &json["complete"]), (&100_000.into(), &true.into()), "{json}");

    broker.broker().set_alarm(Some("a test"));
    let process = Process::start(leveret(["perf", "--json", "--uri", &uri]));
    eventually("it says that it is blocked", || process.log().contains("1 blocked by the broker"));
    // It has confirms to wait for, or a close-ok, and gets neither.
    let confirming = Process::start(leveret([
        "perf",
        "--json",
        "--uri",
        &uri,
        "--confirm",
        "10",
        "--queue",
        "other",
    ]));
    eventually("so does this", || confirming.log().contains("1 blocked by the broker"));
    for process in [process, confirming] {
        let stopped = Instant::now();
        process.signal(Signal::INT);
        let ended = process.wait();
        assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
        assert!(stopped.elapsed() < Duration::from_secs(3), "{:?}", stopped.elapsed());
        let json: Value = serde_json::from_str(&ended.stdout).unwrap();
        assert_eq!(json["complete"], false, "{json}");
    }
}

#[test]
fn why_it_cannot_begin_is_one_line() {
    let broker = broker();
    let address = broker.address();
    let line = refusal(&format!("amqp://guest:wrong@{address}"), "--count 1", 1);
    assert!(line.contains("403 ACCESS_REFUSED"), "{line}");
    let line = refusal(&format!("amqp://{address}/nowhere"), "--count 1", 1);
    assert!(line.contains("530 NOT_ALLOWED") && line.contains("nowhere"), "{line}");
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let line = refusal(&format!("amqp://{nobody}"), "--count 1", 1);
    assert!(line.contains(&nobody.to_string()) && line.contains("refused"), "{line}");
    let line = refusal(&uri(&broker), "--count 1 --arg x-max-length=-1", 1);
    assert!(line.contains("406 PRECONDITION_FAILED"), "{line}");
    let line = refusal(&uri(&broker), "--count 1 --tls-ca ca.pem", 2);
    assert!(line.contains("--tls-ca"), "{line}");
    let line = refusal(&uri(&broker), "--count 1 --consumers 0 --ack-every 1", 2);
    assert!(line.contains("--ack-every"), "{line}");
}

#[test]
fn tls_needs_an_authority_that_is_right() {
    let authority = Authority::new("leveret's tests");
    let Identity { certificate, key } = authority.server("broker");
    let tls = Tls::new(Pem::bytes(certificate), Pem::bytes(key));
    let builder = Broker::builder().in_memory().tls(tls);
    let broker = Embedded::start(builder.tls_listen("127.0.0.1:0".parse().unwrap()));
    let uri = format!("amqps://{}", broker.broker().tls_addresses()[0]);
    let files = tempfile::tempdir().unwrap();
    let file = |name: &str, text: String| {
        let path = files.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let load = "--json --count 300 --size 5000 --confirm 10 --ack-every 1 --tls-ca";
    let right = file("right.pem", authority.pem());
    let Ended { status, stdout, stderr } = perf(&uri, &format!("{load} {right}"));
    assert_eq!(status.code(), Some(0), "{stderr}");
    let json: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&json["confirmed"], &json["acked"]), (&300.into(), &300.into()), "{json}");

    let wrong = file("wrong.pem", Authority::new("somebody else").pem());
    let line = refusal(&uri, &format!("{load} {wrong}"), 1);
    assert!(line.contains("TLS with 127.0.0.1") && line.contains("certificate"), "{line}");
    let empty = file("empty.pem", String::new());
    let line = refusal(&uri, &format!("{load} {empty}"), 1);
    assert!(line.contains("empty.pem"), "{line}");
    let line = refusal(&uri, "--count 1", 2);
    assert!(line.contains("--tls-ca"), "{line}");
}

#[test]
fn a_peer_that_is_no_broker_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("amqp://{}", listener.local_addr().unwrap());
    let http = std::thread::spawn(move || {
        use std::io::Write;
        let (mut socket, _) = listener.accept().unwrap();
        socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    });
    let line = refusal(&uri, "--count 1", 1);
    assert!(line.contains("does not speak AMQP 0-9-1") && line.contains("HTTP"), "{line}");
    http.join().unwrap();
}

#[test]
fn what_ends_a_run_is_told_behind_its_figures() {
    let broker = broker();
    let uri = uri(&broker);
    let process = Process::start(leveret(["perf", "--json", "--uri", &uri, "--rate", "10"]));
    eventually("messages flow", || process.log().contains("delivered/s"));
    let mut client = Client::connect(broker.address());
    client.call(1, &queue::Delete { queue: short("leveret-perf"), ..Default::default() });
    let Ended { status, stdout, stderr } = process.wait();
    assert_eq!(status.code(), Some(1));
    let last = stderr.lines().last().unwrap();
    assert!(last.contains("cancelled a consumer of the queue leveret-perf"), "{last}");
    let json: Value = serde_json::from_str(&stdout).unwrap();
    assert!(last.ends_with(json["error"].as_str().unwrap()), "{json}");

    let process = Process::start(leveret(["perf", "--json", "--uri", &uri, "--rate", "10"]));
    eventually("messages flow", || process.log().contains("delivered/s"));
    drop(broker);
    let Ended { status, stderr, .. } = process.wait();
    assert_eq!(status.code(), Some(1));
    assert!(stderr.lines().last().unwrap().contains("320 CONNECTION_FORCED"), "{stderr}");
}
