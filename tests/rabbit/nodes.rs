//! The program in the place of RabbitMQ's server and of its image.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::client::Client;
use crate::support::process::{Process, leveret};
use crate::support::{eventually, http};

/// A node whose configuration and data are in this directory, with these variables. It listens on any free ports.
fn node(home: &Path, variables: &[(&str, &str)]) -> Command {
    let mut command = leveret([] as [&str; 0]);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("RABBITMQ_") {
            command.env_remove(name);
        }
    }
    command
        .arg0("rabbitmq-server")
        .env_remove("LEVERET_CONTROL_SOCKET")
        .env("LEVERET_RABBITMQ_DIR", home)
        .env("RABBITMQ_MNESIA_BASE", home.join("mnesia"))
        .env("RABBITMQ_NODENAME", "rabbit@here")
        .env("RABBITMQ_NODE_PORT", "0")
        .env("RABBITMQ_MANAGEMENT_PORT", "0")
        .env("RABBITMQ_MANAGEMENT_BIND_IP", "127.0.0.1")
        .envs(variables.iter().copied());
    command
}

/// A node that is ready.
struct Node {
    process: Process,
    /// All that it printed.
    lines: Vec<String>,
}

impl Node {
    #[track_caller]
    fn start(command: Command) -> Self {
        let mut process = Process::start(command);
        let mut lines: Vec<String> = Vec::new();
        while let Some(line) = process.next_line() {
            let is_last = line.contains("Starting broker... completed with");
            lines.push(line);
            if is_last {
                return Node { process, lines };
            }
        }
        panic!("no start: {lines:?} {}", process.wait().stderr);
    }

    /// The address that this line names at its end, on this machine.
    fn address(&self, beginning: &str) -> SocketAddr {
        let line = self.lines.iter().find_map(|line| line.strip_prefix(beginning)).unwrap();
        let port = line.rsplit([':', ' ']).next().unwrap().parse().unwrap();
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn amqp(&self) -> SocketAddr {
        self.address("started TCP listener on ")
    }

    fn management(&self) -> SocketAddr {
        self.address("Management plugin: HTTP (non-TLS) listener started on port ")
    }

    /// Ends it in order and gives what it logged.
    fn stop(self) -> String {
        self.process.signal(Signal::TERM);
        let ended = self.process.wait();
        assert!(ended.status.success(), "{}", ended.stderr);
        ended.stderr
    }
}

fn home() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn under_the_name_of_the_server_it_is_a_node() {
    let home = home();
    fs::write(home.path().join("enabled_plugins"), "[rabbitmq_management].\n").unwrap();
    let node = Node::start(node(home.path(), &[]));
    assert!(node.lines.contains(&"Server startup complete; 3 plugins started.".to_owned()));
    assert!(node.lines.contains(&" * rabbitmq_management".to_owned()));
    assert_eq!(node.lines.last().unwrap(), "  Starting broker... completed with 3 plugins.");
    // It listens on all interfaces, and guest is let in from this machine.
    assert!(["[::]:", "0.0.0.0:"].iter().any(|any| node.lines[0].contains(any)));
    Client::connect(node.amqp()).close();
    let (_, overview) = http::request(node.management(), "GET /api/overview", "guest:guest", "");
    assert!(overview.contains(r#""node":"rabbit@here""#), "{overview}");

    let data = home.path().join("mnesia/rabbit@here");
    assert!(data.join("leveret").exists());
    let pid_file = home.path().join("mnesia/rabbit@here.pid");
    assert_eq!(fs::read_to_string(&pid_file).unwrap(), node.process.id().to_string());
    let log = node.stop();
    assert!(log.contains("node rabbit@here: rabbitmq_management,"), "{log}");
    assert!(!pid_file.exists());
}

#[test]
fn a_link_of_that_name_will_do() {
    let home = home();
    let link = home.path().join("rabbitmq-server");
    symlink(env!("CARGO_BIN_EXE_leveret"), &link).unwrap();
    let mut command = Command::new(&link);
    let like = node(home.path(), &[("RABBITMQ_PID_FILE", "")]);
    command.envs(like.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let node = Node::start(command);
    assert!(node.lines.contains(&"Server startup complete; 0 plugins started.".to_owned()));
    // Without its plugin there is no management.
    assert!(!node.lines.iter().any(|line| line.starts_with("Management plugin")));
    node.stop();
}

#[test]
fn the_default_user_and_virtual_host_are_in_place_of_guest_and_slash() {
    let home = home();
    let secret = home.path().join("secret");
    fs::write(&secret, "pw\n").unwrap();
    let variables = [
        ("RABBITMQ_DEFAULT_USER", "app"),
        ("RABBITMQ_DEFAULT_PASS_FILE", secret.to_str().unwrap()),
        ("RABBITMQ_DEFAULT_VHOST", "shop"),
        ("LEVERET_CONTAINER", "1"),
    ];
    let first = Node::start(node(home.path(), &variables));
    Client::try_login(first.amqp(), b"\0app\0pw").unwrap();
    assert!(Client::try_login(first.amqp(), b"\0guest\0guest").is_err());
    let get = |path: &str| http::request(first.management(), path, "app:pw", "").1;
    assert_eq!(get("GET /api/whoami"), r#"{"name":"app","tags":["administrator"]}"#);
    let permissions = get("GET /api/permissions");
    assert!(permissions.contains(r#""vhost":"shop""#), "{permissions}");
    assert!(!get("GET /api/vhosts").contains(r#""name":"/""#));
    first.stop();
    // On data that are there already nothing is made.
    let variables = [("RABBITMQ_DEFAULT_USER", "other"), ("RABBITMQ_DEFAULT_PASS", "x")];
    let second = Node::start(node(home.path(), &variables));
    Client::try_login(second.amqp(), b"\0app\0pw").unwrap();
    assert!(Client::try_login(second.amqp(), b"\0other\0x").is_err());
}

#[test]
fn in_the_place_of_the_image_management_is_there_and_the_log_is_on_standard_output() {
    let home = home();
    let mut command =
        node(home.path(), &[("RABBITMQ_LOG", "debug"), ("RABBITMQ_ERLANG_COOKIE", "c")]);
    command.arg0("leveret").arg("--container");
    let node = Node::start(command);
    assert!(
        node.lines.iter().any(|line| line.contains(" INFO ") && line.contains("node rabbit@here"))
    );
    assert!(node.lines.iter().any(|line| line.contains("DEBUG") && line.contains("COOKIE")));
    let complete = node.lines.iter().filter(|line| line.contains("Server startup complete"));
    assert_eq!(complete.count(), 1);
    let (status, _) = http::request(node.management(), "GET /api/whoami", "guest:guest", "");
    assert_eq!(status, 200);
    assert_eq!(node.stop(), "");
}

#[test]
fn with_definitions_neither_user_nor_virtual_host_is_made() {
    let home = home();
    let variables = [("LEVERET_DEFINITIONS_JSON", r#"{"vhosts": [{"name": "shop"}]}"#)];
    let node = Node::start(node(home.path(), &variables));
    assert!(Client::try_login(node.amqp(), b"\0guest\0guest").is_err());
    let log = node.stop();
    let told = "Will not seed default virtual host and user: have definitions to load...";
    assert!(log.contains(told), "{log}");
    assert!(log.contains("no user can log in: definitions hold none"), "{log}");
}

#[test]
fn the_log_is_where_variables_want_it() {
    let home = home();
    let base = home.path().join("log");
    let variables = [("RABBITMQ_LOG_BASE", base.to_str().unwrap()), ("RABBITMQ_NODNAME", "x")];
    let node = Node::start(node(home.path(), &variables));
    assert_eq!(node.stop(), "");
    let log = fs::read_to_string(base.join("rabbit@here.log")).unwrap();
    let told = "RABBITMQ_NODNAME: there is no such variable. Did you mean RABBITMQ_NODENAME?";
    assert!(log.contains(told), "{log}");
}

#[test]
fn a_log_that_cannot_be_written_is_named() {
    let home = home();
    let command = node(home.path(), &[("RABBITMQ_LOGS", "/proc/no/log")]);
    let ended = Process::start(command).wait();
    assert_eq!(ended.status.code(), Some(1));
    let said = "leveret: cannot start the log: /proc/no/log: ";
    assert!(ended.stderr.starts_with(said), "{}", ended.stderr);
    assert_eq!(ended.stderr.lines().count(), 1);
}

#[test]
fn plain_leveret_is_not_changed_by_variables_of_rabbitmq() {
    let home = home();
    let mut command = node(home.path(), &[("RABBITMQ_DEFAULT_USER", "app")]);
    command.arg0("leveret").args(["--in-memory", "--listen", "127.0.0.1:0"]);
    let (process, address) = Process::start(command).ready().ok().unwrap();
    Client::connect(address).close();
    assert!(process.stdout().contains("leveret listening on 127.0.0.1:"));
    assert!(!home.path().join("mnesia").exists());
    eventually("it has logged its start", || process.log().contains("leveret starts"));
    assert!(!process.log().contains("RABBITMQ"), "{}", process.log());
}

#[test]
fn options_count_more_than_variables() {
    let home = home();
    let mut command = node(home.path(), &[("RABBITMQ_NODE_PORT", "1")]);
    command.args(["--in-memory", "--listen", "127.0.0.1:0"]);
    let node = Node::start(command);
    assert!(node.lines[0].starts_with("started TCP listener on 127.0.0.1:"));
    assert!(!home.path().join("mnesia").exists());
    node.stop();
}

#[test]
fn a_bad_variable_is_one_line_and_code_1() {
    let home = home();
    let ended = Process::start(node(home.path(), &[("RABBITMQ_NODE_PORT", "amqp")])).wait();
    assert_eq!(ended.status.code(), Some(1));
    let said = "leveret: RABBITMQ_NODE_PORT: listeners.tcp.default = amqp: a port, or an address with a port \
                such as 127.0.0.1:5672 is expected\n";
    assert_eq!(ended.stderr, said);
}

/// Runs one of RabbitMQ's commands for the node of this directory, and gives its code and what it wrote.
fn run(home: &Path, program: &str, arguments: &[&str]) -> (i32, String) {
    let mut command = node(home, &[]);
    let output = command.arg0(program).args(arguments).output().unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    (output.status.code().unwrap(), text)
}

#[test]
fn a_node_that_is_detached_goes_on_and_is_stopped_by_a_command() {
    let home = home();
    let (code, text) = run(home.path(), "rabbitmq-server", &["-detached"]);
    assert_eq!((code, text.as_str()), (0, ""));
    assert_eq!(run(home.path(), "rabbitmq-diagnostics", &["-q", "check_running"]).0, 0);
    let (_, listed) = run(home.path(), "rabbitmqctl", &["-q", "list_users"]);
    assert_eq!(listed, "user\ttags\nguest\t[administrator]\n");
    let pid_file = home.path().join("mnesia/rabbit@here.pid");
    let (code, text) = run(home.path(), "rabbitmqctl", &["stop", pid_file.to_str().unwrap()]);
    assert_eq!((code, text.as_str()), (0, "Stopping and halting node rabbit@here ...\n"));
    let (code, text) = run(home.path(), "rabbitmqctl", &["list_users"]);
    assert_eq!(code, 69);
    assert!(text.contains("unable to perform an operation on node 'rabbit@here'"), "{text}");
    let log = fs::read_to_string(home.path().join("mnesia/rabbit@here.log")).unwrap();
    assert!(log.contains("an operator of this machine asks: to stop"), "{log}");
}

#[test]
fn a_node_that_cannot_start_detached_says_where_it_says_why() {
    let home = home();
    fs::create_dir(home.path().join("mnesia")).unwrap();
    fs::write(home.path().join("mnesia/rabbit@here"), "no directory").unwrap();
    let (code, text) = run(home.path(), "rabbitmq-server", &["-detached"]);
    assert_eq!(code, 1, "{text}");
    assert!(
        text.contains("it did not start") && text.contains("rabbit@here.log says why"),
        "{text}"
    );
    // What is wrong with the configuration is told at once.
    fs::write(home.path().join("rabbitmq.conf"), "heartbeat = often").unwrap();
    let (code, text) = run(home.path(), "rabbitmq-server", &["-detached"]);
    assert_eq!(code, 1);
    assert!(text.contains("rabbitmq.conf:1"), "{text}");
}
