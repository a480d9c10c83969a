//! What people type, and mistype: it works where what is meant is plain, and is refused with a line that names
//! the option where it is not.

use std::io::Read;
use std::net::SocketAddr;
use std::process::Command;

use leveret::Broker;
use leveret_codec::Method;
use leveret_codec::method::connection;
use rustix::process::Signal;

use crate::support::certificates::Authority;
use crate::support::client::{Client, PERSISTENT};
use crate::support::process::{self, Ended, Process, leveret};
use crate::support::small_disk::SmallDisk;
use crate::support::{eventually, http};

fn ready(command: Command) -> (Process, SocketAddr) {
    let started = Process::start(command).ready();
    started.unwrap_or_else(|ended| panic!("no start: {}", ended.stderr))
}

/// What it says instead of starting, and with which code it ends.
fn refusal(command: Command) -> (i32, String) {
    let Err(Ended { status, stdout, stderr }) = Process::start(command).ready() else {
        panic!("it started");
    };
    assert_eq!(stdout, "");
    (status.code().unwrap(), stderr)
}

#[test]
fn misuse_is_refused_with_a_line_that_names_the_option() {
    for (arguments, named) in [
        (&["--log", "bananas"][..], "'--log <FILTER>': \"bananas\" is no level"),
        (&["--log", ""], "--log"),
        (&["--max-connections", "0"], "--max-connections"),
        (&["--max-consumers-per-channel", "0"], "--max-consumers-per-channel"),
        (&["--frame-max", "1 parsec"], "--frame-max"),
        (&["--frame-max", "1KiB"], "'--frame-max <SIZE>': it is 4096 bytes at least"),
        (&["--max-message-size", "40%"], "--max-message-size"),
        (&["--max-message-size", "1GiB"], "--max-message-size"),
        (&["--listen", "localhost"], "'--listen <ADDR>': the port is missing"),
        (&["--listen", "::1"], "'--listen <ADDR>': an IPv6 address stands in brackets"),
        (&["--management", "127.0.0.1:99999"], "--management"),
        (&["--in-memory=perhaps"], "--in-memory"),
        (&["--tls-require-client-cert=perhaps"], "--tls-require-client-cert"),
    ] {
        let (code, said) = refusal(leveret(arguments));
        assert_eq!(code, 2, "{arguments:?}: {said}");
        let first = said.lines().next().unwrap_or_default();
        assert!(first.contains(named), "{arguments:?}: {said}");
    }
}

#[test]
fn words_of_rabbitmq_for_levels_are_taken() {
    for (level, logs) in [
        ("critical", [false, false]),
        ("warning", [false, true]),
        ("none", [false, false]),
        ("info", [true, true]),
    ] {
        let arguments = ["--in-memory", "--listen", "127.0.0.1:0", "--log", level];
        let (process, address) = ready(leveret(arguments));
        let mut client = Client::silent(address);
        client.send(b"GET / HTTP/1.1").unwrap();
        // It is answered with the header of a version that is spoken, and closed.
        assert!(matches!(client.socket().read(&mut [0; 9]), Ok(8)));
        process.signal(Signal::TERM);
        let Ended { status, stderr, .. } = process.wait();
        assert!(status.success(), "{stderr}");
        let found = ["leveret starts", "bad_header"].map(|words| stderr.contains(words));
        assert_eq!(found, logs, "{level}: {stderr}");
    }
}

#[test]
fn ports_and_names_are_addresses() {
    for (listen, at) in [("0", "127.0.0.1:"), ("localhost:0", "127.0.0.1:"), (":0", "0.0.0.0:")] {
        let (process, address) = ready(leveret(["--in-memory", "--listen", listen]));
        assert!(address.to_string().starts_with(at), "{listen}: {address}");
        Client::connect(SocketAddr::from(([127, 0, 0, 1], address.port()))).close();
        drop(process);
    }
}

#[test]
fn all_addresses_of_ipv6_are_those_of_ipv4_too_or_stand_beside_them() {
    let command = leveret(["--in-memory", "--listen", "[::]:0"]);
    let port = match Process::start(command).ready() {
        Ok((_process, address)) => {
            Client::connect(SocketAddr::from(([127, 0, 0, 1], address.port()))).close();
            address.port()
        }
        Err(ended) => {
            assert!(ended.stderr.contains("no addresses of that kind"), "{}", ended.stderr);
            return;
        }
    };
    let [v4, v6] = [format!("0.0.0.0:{port}"), format!("[::]:{port}")];
    let (_process, address) = ready(leveret(["--in-memory", "--listen", &v4, "--listen", &v6]));
    assert_eq!(address.port(), port);
    Client::connect(SocketAddr::from(([127, 0, 0, 1], port))).close();
    Client::connect(format!("[::1]:{port}").parse().unwrap()).close();
}

#[test]
fn a_variable_that_is_empty_counts_as_not_set() {
    let home = tempfile::tempdir().unwrap();
    let mut command = leveret(["--listen", "127.0.0.1:0"]);
    command.current_dir(home.path());
    for variable in [
        "LEVERET_LISTEN",
        "LEVERET_DATA_DIR",
        "LEVERET_IN_MEMORY",
        "LEVERET_MEMORY_LIMIT",
        "LEVERET_MAX_CONNECTIONS",
        "LEVERET_DEFINITIONS",
        "LEVERET_LOG",
        "LEVERET_LOOPBACK_USERS",
        "LEVERET_TLS_LISTEN",
        "LEVERET_TLS_CERT",
        "LEVERET_TLS_KEY",
        "LEVERET_TLS_USER_FROM",
        "LEVERET_MANAGEMENT",
        "LEVERET_MANAGEMENT_TLS",
    ] {
        command.env(variable, "");
    }
    let (process, _) = ready(command);
    assert!(home.path().join("leveret-data").is_dir());
    assert_eq!(process.stdout().lines().count(), 2, "{}", process.stdout());
    drop(process);
    let mut check = leveret(["check"]);
    check.current_dir(home.path()).env("LEVERET_DATA_DIR", "").env("LEVERET_LOG", "");
    assert!(check.output().unwrap().status.success());
}

#[test]
fn in_memory_can_be_said_to_be_false() {
    let home = tempfile::tempdir().unwrap();
    let mut command = leveret(["--listen", "127.0.0.1:0", "--in-memory=false"]);
    command.env("LEVERET_IN_MEMORY", "1").current_dir(home.path());
    drop(ready(command));
    assert!(home.path().join("leveret-data").is_dir());
}

#[test]
fn export_and_check_are_told_the_directory_in_the_same_ways_and_write_nothing() {
    let Some(disk) = SmallDisk::mount("1g") else { return };
    let data_dir = disk.path().join("data");
    let (broker, address) = process::start_durable(&data_dir);
    let mut client = Client::connect(address);
    client.declare("kept", true);
    client.publish_safely(1, ("", "kept"), PERSISTENT, b"m");
    // What is torn would be mended by a start.
    broker.kill();
    disk.resize("1g,ro");
    let directory = data_dir.to_str().unwrap();
    for task in [&["export"][..], &["definitions", "export"], &["check"]] {
        for given in [&[directory][..], &["--data-dir", directory]] {
            let output = leveret([task, given].concat()).output().unwrap();
            let text = String::from_utf8_lossy(&output.stdout);
            let said =
                format!("{task:?} {given:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
            assert!(output.status.success() && text.contains("kept"), "{said}");
        }
        let mut command = leveret(task);
        assert!(command.env("LEVERET_DATA_DIR", directory).output().unwrap().status.success());
    }
}

#[test]
fn signals_that_come_together_are_one() {
    let (broker, address) = ready(leveret(["--in-memory", "--listen", "127.0.0.1:0"]));
    // It does not answer, so that the end takes a while.
    let mut client = Client::connect(address);
    for signal in [Signal::INT, Signal::TERM, Signal::INT] {
        broker.signal(signal);
    }
    assert!(matches!(client.frame().method(), Method::ConnectionClose(_)));
    broker.signal(Signal::TERM);
    client.tell(0, &connection::CloseOk {}).unwrap();
    let Ended { status, stderr, .. } = broker.wait();
    assert_eq!(status.code(), Some(0), "{stderr}");
    assert!(!stderr.contains("second signal\n"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_broker_takes_the_directory_of_one_that_was_dropped() {
    let home = tempfile::tempdir().unwrap();
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let builder = || Broker::builder().data_dir(home.path()).listen(any).management(any);
    let mut broker = builder().start().await.unwrap();
    assert!(builder().start().await.unwrap_err().to_string().contains("in use"));
    for round in 0..5 {
        let mut client = Client::connect(broker.addresses()[0]);
        assert_eq!(client.declare("q", true), round);
        client.publish_safely(1, ("", "q"), PERSISTENT, b"m");
        let api = broker.management_address().unwrap();
        assert_eq!(http::request(api, "GET /api/overview", "guest:guest", "").0, 200);
        drop(broker);
        broker = builder().start().await.unwrap();
    }
    broker.shutdown().await.unwrap();
}

#[test]
fn certificates_that_are_weak_or_have_expired_are_told() {
    let home = tempfile::tempdir().unwrap();
    let authority = Authority::new("leveret's tests");
    for (identity, told) in [
        (authority.expired_server("broker"), Some("has expired: it was valid until 2001-01-01")),
        (authority.server("broker"), None),
    ] {
        let [certificate, key] = identity.write(home.path());
        let mut command = leveret(["--in-memory", "--tls-listen", "127.0.0.1:0", "--tls-cert"]);
        command.arg(&certificate).arg("--tls-key").arg(&key);
        let (process, _) = ready(command);
        process.signal(Signal::HUP);
        eventually("it was read again", || process.log().contains("were read again"));
        let log = process.log();
        let found: Vec<_> = log.lines().filter(|line| line.contains("--tls-cert")).collect();
        match told {
            None => assert!(found.is_empty(), "{found:?}"),
            Some(told) => {
                let file = certificate.to_str().unwrap();
                assert_eq!(found.len(), 2, "{log}");
                assert!(
                    found.iter().all(|line| line.contains(told) && line.contains(file)),
                    "{log}"
                );
            }
        }
    }
    let weak = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/faults/weak.pem");
    let arguments =
        ["--in-memory", "--tls-listen", "127.0.0.1:0", "--tls-cert", weak, "--tls-key", weak];
    let (code, said) = refusal(leveret([&arguments[..], &["--log", "off"]].concat()));
    assert_eq!(code, 1);
    assert!(said.contains("an RSA key of 1024 bits is too weak") && said.contains(weak), "{said}");
}
