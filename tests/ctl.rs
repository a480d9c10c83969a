//! RabbitMQ's commands, each against what a RabbitMQ 3.10.8 answered, and what they do to a broker.
//!
//! `ctl/golden.jsonl` and `ctl/more.jsonl` were recorded: a command, its code, what it wrote. They are played in their
//! order, since one stands on what those before it did.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Cursor;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
    ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, ExchangeKind};
use leveret::Broker;
use leveret::commands::{Console, Program};
use leveret::config::ControlConfig;
use leveret::rabbit::Environment;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::support::embedded::Embedded;
use crate::support::eventually;

/// The node that the recordings are of.
const NODE: &str = "double@localhost";

/// A broker with a control socket, and a shell beside it.
struct Node {
    embedded: Embedded,
    directory: TempDir,
    clients: Runtime,
    connections: Vec<Connection>,
}

/// What a command wrote, and its code.
#[derive(Debug, PartialEq, Eq)]
struct Ran {
    code: u8,
    output: String,
    error: String,
}

impl Node {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(
            directory.path().join("plugins"),
            "[rabbitmq_management,rabbitmq_prometheus].",
        )
        .unwrap();
        let plugins = [
            "rabbitmq_management",
            "rabbitmq_management_agent",
            "rabbitmq_prometheus",
            "rabbitmq_web_dispatch",
        ];
        let local = SocketAddr::from(([127, 0, 0, 1], 0));
        let control = ControlConfig {
            socket: directory.path().join(format!("{NODE}.ctl")),
            plugins: plugins.map(str::to_owned).to_vec(),
            enabled_plugins_file: Some(directory.path().join("plugins")),
            management: Some(local),
            ..ControlConfig::default()
        };
        std::fs::write(
            directory.path().join(format!("{NODE}.pid")),
            std::process::id().to_string(),
        )
        .unwrap();
        let builder =
            Broker::builder().in_memory().node_name(NODE).management(local).control(control);
        let embedded = Embedded::start(builder.set_log_filter(std::sync::Arc::new(|_| Ok(()))));
        let clients = Runtime::new().unwrap();
        Node { embedded, directory, clients, connections: Vec::new() }
    }

    fn path(&self) -> &str {
        self.directory.path().to_str().unwrap()
    }

    /// Runs a command as a shell would.
    fn run(&self, command: &str) -> Ran {
        let words = words(
            &command
                .replace("/var/lib/rabbitmq/mnesia", self.path())
                .replace("/var/lib/rabbitmq", self.path()),
        );
        let program =
            Program::of_file(&words[0]).unwrap_or_else(|| panic!("{command}: no program"));
        let plugins = format!("{}/plugins", self.path());
        let variables = [
            ("RABBITMQ_NODENAME", NODE),
            ("RABBITMQ_MNESIA_BASE", self.path()),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", &plugins),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let environment: Environment = variables.into_iter().collect();
        let (mut input, mut output, mut error) = (Cursor::new(""), Vec::new(), Vec::new());
        let mut console = Console::new(environment, &mut input, &mut output, &mut error);
        let code = program.run(&words[1..], &mut console);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ran { code, output: text(output), error: text(error) }
    }

    /// Runs a command that must succeed, and returns what it wrote.
    fn say(&self, command: &str) -> String {
        let ran = self.run(command);
        assert_eq!((ran.code, ran.error.as_str()), (0, ""), "{command}: {}", ran.output);
        ran.output
    }

    /// A client's channel, whose connection stays.
    fn channel(&mut self) -> Channel {
        let uri = format!("amqp://guest:guest@{}", self.embedded.address());
        let (connection, channel) = self.clients.block_on(async {
            let connection =
                Connection::connect(&uri, ConnectionProperties::default()).await.unwrap();
            let channel = connection.create_channel().await.unwrap();
            (connection, channel)
        });
        self.connections.push(connection);
        channel
    }

    fn leave(&mut self) {
        for connection in self.connections.drain(..) {
            self.clients.block_on(connection.close(200, "bye".into())).unwrap();
        }
    }

    /// What was there beside the commands when they were recorded.
    fn prepare(&mut self, command: &str) {
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        match command {
            "rabbitmqctl list_queues" => {
                let channel = self.channel();
                self.clients.block_on(async {
                    declare(&channel, "q1", durable, FieldTable::default()).await;
                    declare(&channel, "q2", durable, FieldTable::default()).await;
                    let options = ExchangeDeclareOptions { durable: true, ..Default::default() };
                    let declared = channel.exchange_declare(
                        "orders".into(),
                        ExchangeKind::Topic,
                        options,
                        FieldTable::default(),
                    );
                    declared.await.unwrap();
                    let bound = channel.queue_bind(
                        "q1".into(),
                        "orders".into(),
                        "a.#".into(),
                        QueueBindOptions::default(),
                        FieldTable::default(),
                    );
                    bound.await.unwrap();
                    publish(&channel, "q1", 2).await;
                });
                self.leave();
            }
            "rabbitmqctl list_queues -s" => {
                let channel = self.channel();
                self.clients.block_on(async {
                    declare(&channel, "q1", durable, FieldTable::default()).await;
                    let mut arguments = FieldTable::default();
                    arguments.insert("x-message-ttl".into(), 60_000.into());
                    declare(&channel, "q3", QueueDeclareOptions::default(), arguments).await;
                    publish(&channel, "q1", 3).await;
                });
                self.leave();
            }
            "rabbitmqctl -q list_connections" => {
                let channel = self.channel();
                self.clients.block_on(async {
                    channel.basic_qos(5, BasicQosOptions::default()).await.unwrap();
                    let options = BasicConsumeOptions::default();
                    let consume = channel.basic_consume(
                        "q1".into(),
                        "ct1".into(),
                        options,
                        FieldTable::default(),
                    );
                    // The consumer goes on while the connection is there.
                    std::mem::forget(consume.await.unwrap());
                });
                let queue = || self.embedded.queue("q1").unwrap().messages_unacknowledged;
                eventually("three messages are out", || queue() == 3);
            }
            _ => {}
        }
    }
}

async fn declare(
    channel: &Channel,
    name: &str,
    options: QueueDeclareOptions,
    arguments: FieldTable,
) {
    channel.queue_declare(name.into(), options, arguments).await.unwrap();
}

async fn publish(channel: &Channel, queue: &str, count: usize) {
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    for _ in 0..count {
        let options = BasicPublishOptions::default();
        let properties = BasicProperties::default();
        let confirm = channel.basic_publish("".into(), queue.into(), options, b"x", properties);
        confirm.await.unwrap().await.unwrap();
    }
}

/// The words of a command, with quotes as a shell has them.
fn words(command: &str) -> Vec<OsString> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for letter in command.chars() {
        match (letter, quote) {
            (letter, Some(open)) if letter == open => quote = None,
            ('\'' | '"', None) => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (' ', None) => words.extend(word.take()),
            (letter, _) => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    words.into_iter().map(OsString::from).collect()
}

#[derive(serde::Deserialize)]
struct Recorded {
    cmd: String,
    rc: String,
    out: String,
    err: String,
}

fn recorded(text: &str) -> Vec<Recorded> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Commands whose text is another one here, with what must stand in it, and why.
const OTHERWISE: &[(&str, &str, &str)] = &[
    (
        "rabbitmq-diagnostics check_port_connectivity",
        "Successfully connected to ports ",
        "other ports",
    ),
    ("rabbitmq-diagnostics -q check_port_listener 5697", "", "other ports"),
    ("rabbitmq-diagnostics -q check_port_listener 1", "", "other ports"),
    ("rabbitmq-diagnostics status", "RabbitMQ version: 3.10.8\n", "a broker of another kind"),
    ("rabbitmqctl status --formatter json", "\"rabbitmq_version\":\"3.10.8\"", "the same"),
    ("rabbitmqctl -q status", "RabbitMQ version: 3.10.8\n", "the same"),
    ("rabbitmqctl node_health_check", "Health check passed\n", "no warning with a time"),
    ("rabbitmqctl cluster_status", "Cluster name: foo\n", "a broker of another kind"),
    ("rabbitmqctl cluster_status --formatter json", "\"cluster_name\":\"foo\"", "the same"),
    ("rabbitmqctl list_feature_flags", "quorum_queue\tenabled\n", "no streams yet"),
    ("rabbitmqctl -q export_definitions - --format json", "\"q1\"", "other hashes of passwords"),
    (
        "rabbitmqctl set_parameter federation-upstream x '{\"uri\":\"amqp://\"}'",
        "Setting runtime parameter",
        "kept, so that scripts go on",
    ),
    (
        "rabbitmqctl list_parameters",
        "federation-upstream\tx\t{\"uri\":\"amqp://\"}\n",
        "as it is kept",
    ),
    ("rabbitmqctl list_global_parameters", "k\t{\"a\":1}\n", "no number of the cluster"),
    ("rabbitmqctl environment", "{rabbit,", "no settings of Erlang"),
    ("rabbitmqctl nosuchcommand", "", "other texts in the help"),
    ("rabbitmq-plugins list", "[E*] rabbitmq_management ", "plugins of later releases"),
    ("rabbitmq-plugins enable rabbitmq_shovel", "started 1 plugins.\n", "a warning"),
    ("rabbitmq-plugins is_enabled rabbitmq_mqtt", "", "no libraries of Erlang"),
    ("rabbitmq-diagnostics -q listeners", "protocol: amqp, purpose: AMQP 0-9-1", "other ports"),
    ("rabbitmq-diagnostics -q listeners --formatter json", "\"protocol\":\"amqp\"", "other ports"),
    ("rabbitmq-diagnostics memory_breakdown", "other_system: ", "no parts of Erlang"),
    ("rabbitmq-diagnostics erlang_version", "Erlang/OTP ", "no Erlang"),
    ("rabbitmqctl -q list_connections", "guest\t127.0.0.1\t", "another port"),
    (
        "rabbitmqctl -q list_connections pid peer_port client_properties state user vhost",
        "running\tguest\t/\n",
        "another client",
    ),
    (
        "rabbitmqctl wait /var/lib/rabbitmq/mnesia/double@localhost.pid --timeout 10",
        "pid is ",
        "another pid",
    ),
];

/// Names of processes, which differ from run to run, and paths.
fn normal(text: &str, directory: &str) -> String {
    let text = text
        .replace(directory, "/var/lib/rabbitmq")
        .replace("/var/lib/rabbitmq/mnesia", "/var/lib/rabbitmq");
    let begin = format!("<{NODE}.");
    let mut parts = text.split(&begin);
    let mut whole = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.split_once('>').map_or("", |(_, rest)| rest);
        whole.push_str("<PID>");
        whole.push_str(rest);
    }
    whole
}

/// Lines in an order of their own, where the order means nothing.
fn ordered(command: &str, text: &str) -> Vec<String> {
    let mut lines: Vec<String> =
        text.lines().map(|line| line.trim_start_matches(',').to_owned()).collect();
    if command.contains("list_") {
        lines.sort();
    }
    lines
}

/// Plays recorded commands; what differs, each in a line.
fn play(node: &mut Node, all: Vec<Recorded>, otherwise: &[(&str, &str, &str)]) -> Vec<String> {
    let otherwise: BTreeMap<&str, &str> =
        otherwise.iter().map(|(command, text, _)| (*command, *text)).collect();
    let mut differences = Vec::new();
    for recorded in all {
        let command = recorded.cmd.trim();
        node.prepare(command);
        let ran = node.run(command);
        let directory = node.path().to_owned();
        let [output, error] = [&ran.output, &ran.error].map(|text| normal(text, &directory));
        let [said, complained] =
            [&recorded.out, &recorded.err].map(|text| normal(text, &directory));
        let is_code = ran.code.to_string() == recorded.rc.trim();
        let is_same = match otherwise.get(command) {
            Some(needle) => {
                let is_kept = command.contains("set_parameter federation");
                ran.output.contains(needle) && (is_code || is_kept || command.contains("5697"))
            }
            None => {
                is_code
                    && ordered(command, &output) == ordered(command, &said)
                    && error.trim() == complained.trim()
            }
        };
        if !is_same {
            differences.push(format!(
                "{command}\n  {} {said:?} {complained:?}\n  {} {output:?} {error:?}",
                recorded.rc.trim(),
                ran.code
            ));
        }
    }
    differences
}

#[test]
fn the_recorded_commands_are_answered_as_rabbitmq_does() {
    let mut node = Node::start();
    let all = recorded(include_str!("ctl/golden.jsonl"));
    assert_eq!(all.len(), 138);
    let differences = play(&mut node, all, OTHERWISE);
    assert_eq!(differences, Vec::<String>::new(), "{}", differences.join("\n"));
}

#[test]
fn mistakes_are_answered_as_rabbitmq_does() {
    let mut node = Node::start();
    let all = recorded(include_str!("ctl/more.jsonl"));
    let differences = play(&mut node, all, &[]);
    assert_eq!(differences, Vec::<String>::new(), "{}", differences.join("\n"));
}

#[test]
fn a_connection_is_closed_by_its_pid() {
    let mut node = Node::start();
    let _channel = node.channel();
    let pid = node.say("rabbitmqctl -s list_connections pid").trim().to_owned();
    assert_eq!(node.say("rabbitmqctl -s list_channels connection").trim(), pid);
    node.say(&format!("rabbitmqctl -q close_connection '{pid}' 'time to go'"));
    eventually("the connection is closed", || node.embedded.broker().connection_count() == 0);
    // One that is gone is no mistake.
    node.say(&format!("rabbitmqctl -q close_connection '{pid}' again"));
}

#[test]
fn a_node_refuses_clients_and_forgets_everything() {
    let mut node = Node::start();
    let address = node.embedded.address();
    node.say("rabbitmqctl -q add_vhost v");
    node.say("rabbitmqctl -q enable_vhost_deletion_protection v");
    node.say("rabbitmqctl -q add_user u p");
    let channel = node.channel();
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    node.clients.block_on(declare(&channel, "q", durable, FieldTable::default()));

    let running = node.run("rabbitmqctl -q reset");
    assert_eq!(running.code, 70, "{running:?}");
    assert!(running.error.contains("Please stop the node with rabbitmqctl stop_app first"));

    node.say("rabbitmqctl -q stop_app");
    assert!(std::net::TcpStream::connect(address).is_err());
    eventually("clients are gone", || node.embedded.broker().connection_count() == 0);
    assert_eq!(node.run("rabbitmq-diagnostics -q check_running").code, 69);
    assert_eq!(node.run("rabbitmq-diagnostics -q ping").code, 0);
    node.say("rabbitmqctl -q reset");
    node.say("rabbitmqctl -q start_app");
    assert_eq!(node.run("rabbitmq-diagnostics -q check_running").code, 0);
    assert_eq!(node.say("rabbitmqctl -s list_vhosts"), "/\n");
    assert_eq!(node.say("rabbitmqctl -s list_users"), "guest\t[administrator]\n");
    assert_eq!(node.say("rabbitmqctl -s list_queues"), "");
    node.connections.clear();
    node.channel();
}

#[test]
fn a_low_watermark_blocks_publishers_at_once() {
    let node = Node::start();
    let check =
        |code: u8| assert_eq!(node.run("rabbitmq-diagnostics -q check_local_alarms").code, code);
    check(0);
    for low in ["0", "0.0001", "absolute 1MB"] {
        node.say(&format!("rabbitmqctl -q set_vm_memory_high_watermark {low}"));
        check(69);
        node.say("rabbitmqctl -q set_vm_memory_high_watermark 0.4");
        check(0);
    }
}

#[test]
fn the_management_api_comes_and_goes_with_its_plugin() {
    let node = Node::start();
    let address = node.embedded.broker().management_address().unwrap();
    let text = node.say("rabbitmq-plugins disable rabbitmq_management");
    assert!(
        text.contains("The following plugins have been disabled:\n  rabbitmq_management\n"),
        "{text}"
    );
    assert_eq!(node.embedded.broker().management_address(), None);
    // Nobody listens there any more.
    TcpListener::bind(address).unwrap();
    node.say("rabbitmq-plugins -q enable rabbitmq_management");
    let address = node.embedded.broker().management_address().unwrap();
    std::net::TcpStream::connect(address).unwrap();
    let file = std::fs::read_to_string(Path::new(node.path()).join("plugins")).unwrap();
    assert_eq!(file, "[rabbitmq_management,rabbitmq_prometheus].\n");
}

#[test]
fn plugins_are_enabled_without_a_node() {
    let node = Node::start();
    let file = Path::new(node.path()).join("other");
    let environment: Environment = [
        ("RABBITMQ_NODENAME".to_owned(), "nobody@localhost".to_owned()),
        ("RABBITMQ_MNESIA_BASE".to_owned(), node.path().to_owned()),
        ("RABBITMQ_ENABLED_PLUGINS_FILE".to_owned(), file.to_str().unwrap().to_owned()),
    ]
    .into_iter()
    .collect();
    let (mut input, mut output, mut error) = (Cursor::new(""), Vec::new(), Vec::new());
    let mut console = Console::new(environment, &mut input, &mut output, &mut error);
    let words = words("enable --offline rabbitmq_mqtt");
    assert_eq!(Program::Plugins.run(&words, &mut console), 0);
    let text = String::from_utf8(output).unwrap();
    assert!(
        text.ends_with(
            "set 1 plugins.\nOffline change; changes will take effect at broker restart.\n"
        ),
        "{text}"
    );
    assert!(String::from_utf8(error).unwrap().contains("leveret does not speak MQTT"));
    assert_eq!(std::fs::read_to_string(file).unwrap(), "[rabbitmq_mqtt].\n");
}

#[test]
fn a_broker_is_asked_to_stop() {
    let node = Node::start();
    let broker = node.embedded.broker();
    assert_eq!(node.say("rabbitmqctl stop"), format!("Stopping and halting node {NODE} ...\n"));
    node.clients.block_on(async {
        tokio::time::timeout(crate::support::PATIENCE, broker.stop_asked()).await.unwrap();
    });
}
