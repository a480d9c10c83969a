//! What the log says of what happens: errors of clients in RabbitMQ's words with all that it takes to find the
//! client, clients that do not end as they should, what was changed, how the broker was started.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use leveret_codec::method::{basic, channel, connection, queue};
use leveret_codec::table::TableBuilder;
use leveret_codec::{Method, Table, Value, encode};

use crate::support::client::{Client, short};
use crate::support::process::{Process, leveret};
use crate::support::{PATIENCE, eventually, http};

/// A broker with the management API, and where both are.
struct Broker {
    process: Process,
    amqp: SocketAddr,
    api: SocketAddr,
}

impl Broker {
    fn start(arguments: &[&str]) -> Self {
        let mut command = leveret(["--listen", "127.0.0.1:0", "--management", "127.0.0.1:0"]);
        command.args(arguments);
        let started = Process::start(command).ready();
        let (process, amqp) = started.unwrap_or_else(|ended| panic!("no start: {}", ended.stderr));
        let api = process
            .stdout()
            .lines()
            .find_map(|line| line.strip_prefix("leveret management on http://"))
            .and_then(|line| line.trim_end_matches("/api").parse().ok());
        Broker { process, amqp, api: api.expect("it is said") }
    }

    /// Waits until a line has all of these parts, and gives it back.
    #[track_caller]
    fn line(&self, parts: &[&str]) -> String {
        let mut found = None;
        let has_all = |line: &&str| parts.iter().all(|part| line.contains(part));
        eventually(&format!("a line has {parts:?}"), || {
            found = self.process.log().lines().find(has_all).map(str::to_owned);
            found.is_some()
        });
        found.unwrap_or_default()
    }

    fn request(&self, line: &str, body: &str) {
        let (status, answer) = http::request(self.api, line, "guest:guest", body);
        assert!((200..300).contains(&status), "{line}: {status} {answer}");
    }
}

/// An open connection that calls itself "worker 7".
fn named(address: SocketAddr, heartbeat: u16) -> Client {
    let mut properties = TableBuilder::default();
    properties.push(b"connection_name", &Value::LongStr(b"worker 7"));
    let properties = properties.finish();
    let (mut client, opened) = Client::open(address, 131_072, heartbeat, properties.as_table());
    assert!(matches!(opened.method(), Method::ConnectionOpenOk(_)));
    client.open_channel(1);
    client
}

const WHO: [&str; 3] = ["client=\"worker 7\"", "user=\"guest\"", "vhost=\"/\""];

#[test]
fn channel_and_connection_errors_are_told_with_who_made_them() {
    let broker = Broker::start(&["--in-memory"]);
    let mut client = named(broker.amqp, 0);
    let connection =
        format!("connection=\"{} -> {}\"", client.socket().local_addr().unwrap(), broker.amqp);
    client.declare("q", false);
    client.open_channel(9);
    let declare = queue::Declare { queue: short("q"), durable: true, ..Default::default() };
    assert!(matches!(client.call(9, &declare).method(), Method::ChannelClose(_)));
    let error = "channel error: operation queue.declare caused a channel exception precondition_failed: \
                 inequivalent arg 'durable' for queue 'q' in vhost '/'";
    let line = broker.line(&[error, "ERROR", "channel=9", &connection]);
    assert!(WHO.iter().all(|part| line.contains(part)), "{line}");

    // What a client says does nothing to a terminal.
    client.tell(9, &channel::CloseOk {}).unwrap();
    client.open_channel(9);
    let get = basic::Get { queue: short("a\u{1b}[2Jb"), ..Default::default() };
    assert!(matches!(client.call(9, &get).method(), Method::ChannelClose(_)));
    broker.line(&[
        "operation basic.get caused a channel exception not_found: no queue 'a\\u{1b}[2Jb' in vhost '/'",
    ]);

    let mut octets = Vec::new();
    let publish = basic::Publish { immediate: true, ..Default::default() };
    encode::method(&mut octets, 1, &publish);
    encode::content_header(&mut octets, 1, 0, &[0, 0]);
    client.send(&octets).unwrap();
    assert!(matches!(client.frame().method(), Method::ConnectionClose(_)));
    let error = "connection error: operation basic.publish caused a connection exception not_implemented: \
                 immediate=true";
    let line = broker.line(&[error, "ERROR", &connection]);
    assert!(WHO.iter().all(|part| line.contains(part)), "{line}");

    let mut client = named(broker.amqp, 0);
    client.send(b"\x09\0\x01\0\0\0\0\xce").unwrap();
    assert!(matches!(client.frame().method(), Method::ConnectionClose(_)));
    broker.line(&["operation none caused a connection exception", "frame_error"]);
    client.tell(0, &connection::CloseOk {}).unwrap();
    broker.line(&["INFO", "closing AMQP connection"]);
}

#[test]
fn a_client_with_many_errors_does_not_flood_the_log() {
    const ERRORS: usize = 500;
    let broker = Broker::start(&["--in-memory"]);
    let mut client = named(broker.amqp, 0);
    for _ in 0..ERRORS {
        let get = basic::Get { queue: short("none"), ..Default::default() };
        assert!(matches!(client.call(1, &get).method(), Method::ChannelClose(_)));
        client.tell(1, &channel::CloseOk {}).unwrap();
        client.open_channel(1);
    }
    client.close();
    broker.line(&["INFO", "closing AMQP connection"]);
    let log = broker.process.log();
    let told = log.matches("channel error").count();
    let left_out: usize = log
        .lines()
        .filter(|line| line.contains("there were too many errors of this client for the log"))
        .filter_map(|line| line.rsplit_once("left_out=")?.1.parse::<usize>().ok())
        .sum();
    assert_eq!(told + left_out, ERRORS, "{log}");
    assert!(left_out > 0 || told == ERRORS, "{log}");
}

#[test]
fn clients_that_vanish_are_told_from_those_that_close() {
    let broker = Broker::start(&["--in-memory"]);
    named(broker.amqp, 0).close();
    broker.line(&["INFO", "closing AMQP connection"]);
    drop(named(broker.amqp, 0));
    let line = broker.line(&["WARN", "client unexpectedly closed TCP connection"]);
    assert!(WHO.iter().all(|part| line.contains(part)), "{line}");
    let silent = named(broker.amqp, 1);
    broker.line(&["WARN", "missed heartbeats from client, timeout: 1s", WHO[0]]);
    drop(silent);
    assert_eq!(broker.process.log().matches("unexpectedly").count(), 1);
}

#[test]
fn handshakes_that_fail_are_told() {
    let broker = Broker::start(&["--in-memory"]);
    let say = |octets: &[u8]| {
        let mut socket = TcpStream::connect(broker.amqp).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.write_all(octets).unwrap();
        socket.shutdown(Shutdown::Write).unwrap();
        // A reset is an end, too.
        let _ = socket.read_to_end(&mut Vec::new());
        format!("peer={}", socket.local_addr().unwrap())
    };
    let peer = say(b"GET / HTTP/1.1\r\n\r\n");
    broker.line(&["WARN", "bad_header GET / HT", &peer]);
    let peer = say(b"AMQP\0\0\x09\x01\x01\0\0\0\0\0\x04");
    broker.line(&["WARN", "handshake: client unexpectedly closed TCP connection", &peer]);
    // What only looks whether the port is open is no line.
    let peer = say(b"");
    let mut stranger = Client::silent(broker.amqp);
    stranger.mechanisms();
    stranger.tell(0, &connection::OpenOk::default()).unwrap();
    let peer_of_stranger = format!("peer={}", stranger.socket().local_addr().unwrap());
    broker.line(&["WARN", "the client does not keep to the protocol", &peer_of_stranger]);
    assert!(!broker.process.log().contains(&peer), "{}", broker.process.log());

    let (client, refused) = Client::open(broker.amqp, 131_072, 0, Table::EMPTY);
    assert!(matches!(refused.method(), Method::ConnectionOpenOk(_)));
    drop(client);
    let mut client = Client::silent(broker.amqp);
    client.mechanisms();
    assert_eq!(client.log_in("PLAIN", b"\0guest\0guest"), Ok(()));
    assert!(matches!(client.enter("none").method(), Method::ConnectionClose(_)));
    broker.line(&["WARN", "open refused: vhost none not found", "user=\"guest\""]);
}

#[test]
fn what_the_api_changes_and_closes_is_told() {
    let broker = Broker::start(&["--in-memory"]);
    broker.request("PUT /api/users/ann", r#"{"password": "secret-1", "tags": "monitoring"}"#);
    broker.request("PUT /api/users/ann", r#"{"password": "secret-2", "tags": "monitoring"}"#);
    broker.request("PUT /api/vhosts/v", "");
    let patterns = r#"{"configure": "^a", "write": ".*", "read": ""}"#;
    broker.request("PUT /api/permissions/v/ann", patterns);
    broker.request("DELETE /api/permissions/v/ann", "");
    broker.request("DELETE /api/users/ann", "");
    broker.request("DELETE /api/vhosts/v", "");
    let definitions = r#"{"users": [], "queues": [{"name": "q", "vhost": "/", "durable": true,
        "auto_delete": false, "arguments": {}}]}"#;
    broker.request("POST /api/definitions", definitions);
    for words in [
        "Created user 'guest'",
        "Created user 'ann'",
        "Successfully set user tags for user 'ann' to [monitoring]",
        "Successfully changed password for user 'ann'",
        "Added vhost 'v'",
        "Successfully set permissions for user 'ann' in virtual host 'v' to '^a', '.*', ''",
        "Successfully cleared permissions for user 'ann' in virtual host 'v'",
        "Deleted user 'ann'",
        "Deleted vhost 'v'",
        "definitions were imported",
    ] {
        broker.line(&["INFO", words]);
    }
    let mut client = named(broker.amqp, 0);
    let name = format!("{} -> {}", client.socket().local_addr().unwrap(), broker.amqp);
    let path = format!("DELETE /api/connections/{}", name.replace(' ', "%20").replace('>', "%3E"));
    broker.request(&path, "");
    assert!(matches!(client.frame().method(), Method::ConnectionClose(_)));
    broker.line(&["ERROR", "caused a connection exception connection_forced: ", &name]);
    let log = broker.process.log();
    assert!(!log.contains("secret"), "{log}");
}

#[test]
fn a_start_tells_what_it_starts() {
    let home = tempfile::tempdir().unwrap();
    let data_dir = home.path().join("data").to_str().unwrap().to_owned();
    let broker = Broker::start(&["--data-dir", &data_dir, "--memory-limit", "64MiB"]);
    broker.line(&["INFO", "leveret starts", &data_dir, env!("CARGO_PKG_VERSION")]);
    broker.line(&["INFO", "limits", "memory_limit=67108864", "max_sockets=", "frame_max=131072"]);
    broker.line(&["INFO", "listening", &broker.amqp.to_string()]);
    broker.line(&["INFO", "management API is listening", &broker.api.to_string()]);
}
