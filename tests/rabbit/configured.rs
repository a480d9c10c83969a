//! The program with `--config`, as anybody may start it.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::support::certificates::Authority;
use crate::support::client::Client;
use crate::support::process::{Ended, Process, leveret};
use crate::support::{eventually, http};

/// A directory with one file in it, and the path of that.
fn with_file(name: &str, content: &str) -> (TempDir, PathBuf) {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join(name);
    fs::write(&path, content).unwrap();
    (home, path)
}

fn ready(command: Command) -> (Process, SocketAddr) {
    let started = Process::start(command).ready();
    started.unwrap_or_else(|ended| panic!("no start: {}", ended.stderr))
}

/// What it says instead of starting, and the code that it ends with.
fn refusal(command: Command) -> (i32, String) {
    let Err(Ended { status, stdout, stderr }) = Process::start(command).ready() else {
        panic!("it started");
    };
    assert_eq!(stdout, "");
    (status.code().unwrap(), stderr)
}

fn configured(path: &PathBuf) -> Command {
    let mut command = leveret(["--in-memory", "--config"]);
    command.arg(path);
    command
}

#[test]
fn a_file_says_where_to_listen_and_who_may_come() {
    let content = "listeners.tcp.local = 127.0.0.1:0\nmanagement.tcp.port = 0\n\
                   management.tcp.ip = 127.0.0.1\ndefault_user = app\ndefault_pass = s3cret\n\
                   default_vhost = shop\ndefault_user_tags.monitoring = true\n\
                   default_permissions.configure = ^app\nheartbeat = 7\ncluster_name = burrow\n";
    let (_home, path) = with_file("rabbitmq.conf", content);
    let (process, address) = ready(configured(&path));
    let mut client = Client::silent(address);
    assert!(client.mechanisms().contains("PLAIN"));
    client.log_in("PLAIN", b"\0app\0s3cret").unwrap();
    assert!(Client::try_login(address, b"\0guest\0guest").is_err());

    let line = process.stdout().lines().find(|line| line.starts_with("leveret management on "));
    let api = line.and_then(|line| line.strip_prefix("leveret management on http://")).unwrap();
    let api: SocketAddr = api.strip_suffix("/api").unwrap().parse().unwrap();
    let get = |path: &str| http::request(api, &format!("GET /api/{path}"), "app:s3cret", "");
    assert_eq!(get("whoami").1, r#"{"name":"app","tags":["monitoring"]}"#);
    let (_, permissions) = get("overview");
    assert!(permissions.contains(r#""cluster_name":"burrow""#), "{permissions}");
    let (_, vhosts) = get("vhosts");
    assert!(vhosts.contains(r#""name":"shop""#) && !vhosts.contains(r#""name":"/""#), "{vhosts}");
}

#[test]
fn options_and_their_variables_count_more() {
    let content = "listeners.tcp.local = 127.0.0.1:1\nmax_message_size = lots of\nheartbeat = 7\n";
    let (_home, path) = with_file("rabbitmq.conf", &content.replace("lots of", "1000"));
    let mut command = configured(&path);
    command.args(["--listen", "127.0.0.1:0"]).env("LEVERET_MAX_MESSAGE_SIZE", "2000");
    let (process, _) = ready(command);
    eventually("the limits are logged", || process.log().contains("max_message_size"));
    let log = process.log();
    assert!(log.contains("max_message_size=2000") && log.contains("heartbeat_secs=7"), "{log}");
}

#[test]
fn what_is_unknown_is_told_and_refused_where_that_is_asked_for() {
    let content = "listeners.tcp.local = 127.0.0.1:0\nhearbeat = 7\nauth_backends.1 = ldap\n";
    let (_home, path) = with_file("rabbitmq.conf", content);
    let (process, _) = ready(configured(&path));
    let unknown = format!(
        "{}:2: You've tried to set hearbeat, but there is no setting with that name. Did you mean heartbeat?",
        path.display()
    );
    let unobeyed = format!("{}:3: auth_backends.1 = ldap is not obeyed", path.display());
    eventually("both are told", || {
        let log = process.log();
        log.contains(&unknown) && log.contains(&unobeyed)
    });
    let mut command = configured(&path);
    command.arg("--strict-conf");
    assert_eq!(refusal(command), (1, format!("leveret: {unknown}\n")));
}

#[test]
fn a_file_that_leaves_nothing_to_listen_on_is_refused_unless_an_option_names_an_address() {
    let (_home, path) = with_file("rabbitmq.conf", "listeners.tcp = none\n");
    let said =
        "listeners.tcp = none leaves nothing to listen on: listeners.ssl.default is expected";
    assert_eq!(refusal(configured(&path)), (1, format!("leveret: {}:1: {said}\n", path.display())));
    let mut command = configured(&path);
    command.args(["--listen", "127.0.0.1:0"]);
    ready(command);
}

#[test]
fn a_bad_value_is_one_line_and_code_1() {
    let (home, path) = with_file("rabbitmq.conf", "# c\nheartbeat = soon\n");
    let said = "heartbeat = soon: a whole number from 0 to 65535 is expected";
    let expected = format!("leveret: {}:2: {said}\n", path.display());
    assert_eq!(refusal(configured(&path)), (1, expected));
    let missing = home.path().join("missing.conf");
    let (code, said) = refusal(configured(&missing));
    assert_eq!(code, 1);
    assert!(said.starts_with(&format!("leveret: {}: it cannot be read", missing.display())));
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn tls_is_made_of_what_the_file_names() {
    let home = tempfile::tempdir().unwrap();
    let [certificate, key] = Authority::new("test").server("localhost").write(home.path());
    let path = home.path().join("rabbitmq.conf");
    let content = format!(
        "listeners.tcp = none\nlisteners.ssl.default = 127.0.0.1:0\nssl_options.certfile = {}\n\
         ssl_options.keyfile = {}\n",
        certificate.display(),
        key.display()
    );
    fs::write(&path, content).unwrap();
    // Options say what the file does not.
    let half = home.path().join("half.conf");
    fs::write(&half, "listeners.ssl.default = 127.0.0.1:0\n").unwrap();
    let said = "listeners.ssl.default needs ssl_options.certfile";
    assert_eq!(refusal(configured(&half)), (1, format!("leveret: {}:1: {said}\n", half.display())));
    let mut command = configured(&half);
    command.arg("--tls-cert").arg(&certificate).arg("--tls-key").arg(&key);
    ready(command);

    let (process, _) = ready(configured(&path));
    let lines: Vec<&str> = process.stdout().lines().collect();
    assert!(lines[0].starts_with("started TLS (SSL) listener on 127.0.0.1:"), "{lines:?}");
    assert!(!process.stdout().contains("leveret listening on"), "{lines:?}");
}

#[test]
fn definitions_come_from_a_directory_in_order() {
    let home = tempfile::tempdir().unwrap();
    let all = home.path().join("all");
    fs::create_dir(&all).unwrap();
    fs::write(all.join("1.json"), r#"{"vhosts": [{"name": "one"}, {"name": "/"}]}"#).unwrap();
    let second = r#"{"users": [{"name": "u", "password": "p", "tags": "administrator"}],
        "permissions": [{"user": "u", "vhost": "one", "configure": ".*", "write": ".*", "read": ".*"}]}"#;
    fs::write(all.join("2.json"), second).unwrap();
    fs::write(all.join("3.txt"), "no definitions").unwrap();
    let path = home.path().join("rabbitmq.conf");
    let content = format!("listeners.tcp.1 = 127.0.0.1:0\nload_definitions = {}\n", all.display());
    fs::write(&path, content).unwrap();
    let (_process, address) = ready(configured(&path));
    Client::try_login(address, b"\0u\0p").unwrap();
    assert!(Client::try_login(address, b"\0guest\0guest").is_err());

    fs::write(all.join("2.json"), "{").unwrap();
    let (code, said) = refusal(configured(&path));
    assert_eq!(code, 1);
    assert!(said.lines().last().unwrap().contains("2.json"), "{said}");
}
