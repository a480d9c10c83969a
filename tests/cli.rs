//! The program from the outside: its options, what it prints, how it refuses to start, and how it
//! stops.

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::client::{Client, PERSISTENT, TRANSIENT, short};
use crate::support::process::{self, Ended, Process, leveret};
use leveret_codec::Method;
use leveret_codec::method::{connection, queue};
use rustix::process::Signal;

fn output(command: &mut Command) -> Output {
    command.output().expect("the program was built by cargo")
}

fn text(octets: &[u8]) -> String {
    String::from_utf8(octets.to_vec()).expect("the program prints text")
}

/// Starts it and expects it to be ready.
#[track_caller]
fn ready(command: Command) -> (Process, SocketAddr) {
    Process::start(command).ready().unwrap_or_else(|ended| panic!("no start: {}", ended.stderr))
}

/// Starts it and expects it to end instead, with one line that says why; returns that line.
#[track_caller]
fn refusal(mut command: Command) -> String {
    // The log tells more than the one line.
    command.env("LEVERET_LOG", "off");
    let Err(Ended { status, stdout, stderr }) = Process::start(command).ready() else {
        panic!("it started");
    };
    assert_eq!(status.code(), Some(1), "{stderr}");
    assert_eq!(stdout, "");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.starts_with("leveret: "), "{stderr}");
    stderr
}

fn on_data_dir(data_dir: &Path) -> Command {
    let mut command = leveret(["--listen", "127.0.0.1:0", "--data-dir"]);
    command.arg(data_dir);
    command
}

#[test]
fn help_names_every_option_and_its_variable() {
    let help = output(&mut leveret(["--help"]));
    assert!(help.status.success());
    let help = text(&help.stdout);
    for said in [
        "--listen",
        "LEVERET_LISTEN",
        "--management",
        "LEVERET_MANAGEMENT",
        "--data-dir",
        "LEVERET_DATA_DIR",
        "--in-memory",
        "LEVERET_IN_MEMORY",
        "--config",
        "LEVERET_CONFIG",
        "--strict-conf",
        "--rabbitmq-env",
        "LEVERET_RABBITMQ_ENV",
        "--container",
        "--accept-loss",
        "LEVERET_ACCEPT_LOSS",
        "--max-message-size",
        "LEVERET_MAX_MESSAGE_SIZE",
        "--max-connections",
        "LEVERET_MAX_CONNECTIONS",
        "--max-consumers-per-channel",
        "LEVERET_MAX_CONSUMERS_PER_CHANNEL",
        "--max-arguments-size",
        "LEVERET_MAX_ARGUMENTS_SIZE",
        "--channel-max",
        "LEVERET_CHANNEL_MAX",
        "--frame-max",
        "LEVERET_FRAME_MAX",
        "--heartbeat",
        "LEVERET_HEARTBEAT",
        "--handshake-timeout",
        "LEVERET_HANDSHAKE_TIMEOUT",
        "--tls-listen",
        "LEVERET_TLS_LISTEN",
        "--tls-cert",
        "--tls-key",
        "--tls-ca",
        "--tls-require-client-cert",
        "--tls-user-from",
        "--management-tls",
        "--loopback-users",
        "--log",
        "LEVERET_LOG",
        "127.0.0.1:5672",
        "./leveret-data",
        "Examples:",
    ] {
        assert!(help.contains(said), "{said} is missing in\n{help}");
    }
}

#[test]
fn version_is_the_packages() {
    let version = output(&mut leveret(["--version"]));
    assert!(version.status.success());
    assert_eq!(text(&version.stdout), concat!("leveret ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn what_cannot_be_understood_is_named() {
    for (arguments, named) in [
        (&["--port", "5672"][..], "--port"),
        (&["run"], "run"),
        (&["--listen", "localhost"], "localhost"),
        (&["--listen", "127.0.0.1:70000"], "127.0.0.1:70000"),
        (&["--log", "leveret=loud"], "leveret=loud"),
        (&["--data-dir", "d", "--in-memory"], "--in-memory"),
        (&["--memory-limit", "16777215"], "a broker needs 16MiB at least"),
        (&["--tls-listen", "127.0.0.1:0"], "--tls-cert"),
        (&["--tls-key", "server.key"], "--tls-listen"),
    ] {
        let refused = output(&mut leveret(arguments));
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}");
        let error = text(&refused.stderr);
        assert!(error.contains(named), "{arguments:?} gives\n{error}");
        assert_eq!(text(&refused.stdout), "");
    }
}

#[test]
fn a_taken_port_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let line = refusal(leveret(["--in-memory", "--listen", &address]));
    assert!(line.contains(&address) && line.contains("in use"), "{line}");
}

#[test]
fn the_management_api_is_where_it_was_asked_for() {
    let management = ["--management", "127.0.0.1:0"];
    let (process, _) =
        ready(leveret(["--in-memory", "--listen", "127.0.0.1:0"].iter().chain(&management)));
    let line = process.stdout().lines().find(|line| line.starts_with("leveret management on "));
    let address = line.and_then(|line| line.strip_prefix("leveret management on http://")).unwrap();
    let address: SocketAddr = address.strip_suffix("/api").unwrap().parse().unwrap();
    TcpStream::connect(address).unwrap();

    let taken = address.to_string();
    let line = refusal(leveret(["--in-memory", "--listen", "127.0.0.1:0", "--management", &taken]));
    assert!(line.contains(&taken) && line.contains("in use"), "{line}");
}

#[test]
fn an_address_of_another_machine_is_named() {
    // Of the block that is kept for documentation: no machine has it.
    let line = refusal(leveret(["--in-memory", "--listen", "192.0.2.1:0"]));
    assert!(line.contains("192.0.2.1:0"), "{line}");
}

#[test]
fn a_data_directory_that_cannot_be_used_is_named() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("file");
    fs::write(&file, "a letter").unwrap();
    let foreign = home.path().join("foreign");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("letter"), "dear").unwrap();
    // Nobody may write there, not even root.
    let unwritable = Path::new("/proc/leveret-data");
    for data_dir in [&file, &file.join("below"), &foreign, unwritable] {
        let line = refusal(on_data_dir(data_dir));
        assert!(line.contains(data_dir.to_str().unwrap()), "{line}");
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "a letter");
    assert_eq!(fs::read_dir(&foreign).unwrap().count(), 1, "it was left as it was");
}

#[test]
fn a_data_directory_in_use_is_named() {
    let home = tempfile::tempdir().unwrap();
    let (first, address) = ready(on_data_dir(home.path()));
    let line = refusal(on_data_dir(home.path()));
    assert!(line.contains("in use by another leveret"), "{line}");
    assert!(line.contains(home.path().to_str().unwrap()), "{line}");
    // The first one has lost nothing by it.
    Client::connect(address).close();
    first.kill();
    // The lock went with the process.
    ready(on_data_dir(home.path()));
}

#[test]
fn every_address_is_listened_on_and_printed() {
    let listen = ["--in-memory", "--listen", "127.0.0.1:0", "--listen", "127.0.0.1:0"];
    let (broker, first) = ready(leveret(listen));
    let lines: Vec<&str> = broker.stdout().lines().collect();
    let [one, two, last] = lines[..] else { panic!("{lines:?}") };
    let addresses: Vec<&str> =
        [one, two].iter().map(|line| line.strip_prefix("leveret listening on ").unwrap()).collect();
    let all = addresses.join(", ");
    assert_eq!(last, format!("Server startup complete; listening on {all}"));
    assert_eq!(addresses[0], first.to_string());
    assert_ne!(addresses[0], addresses[1]);
    for address in addresses {
        Client::connect(address.parse().unwrap()).close();
    }
}

#[test]
fn the_environment_is_heard_and_options_beat_it() {
    let home = tempfile::tempdir().unwrap();
    let data_dir = home.path().join("data");
    let mut command = leveret([] as [&str; 0]);
    command.env("LEVERET_LISTEN", "127.0.0.1:0,127.0.0.1:0");
    command.env("LEVERET_DATA_DIR", &data_dir);
    command.env("LEVERET_LOG", "debug");
    let (broker, _) = ready(command);
    assert_eq!(broker.stdout().lines().count(), 3, "{}", broker.stdout());
    assert!(data_dir.is_dir());
    broker.signal(Signal::TERM);
    assert!(broker.wait().stderr.contains("INFO"));

    let unused = home.path().join("unused");
    let mut command = leveret(["--in-memory", "--listen", "127.0.0.1:0", "--log", "off"]);
    command.env("LEVERET_LISTEN", "not an address");
    command.env("LEVERET_DATA_DIR", &unused);
    command.env("LEVERET_LOG", "trace");
    let (broker, _) = ready(command);
    broker.signal(Signal::TERM);
    let Ended { status, stderr, .. } = broker.wait();
    assert_eq!((status.code(), stderr.as_str()), (Some(0), ""));
    assert!(!unused.exists());

    let mut command = leveret(["--listen", "127.0.0.1:0"]);
    command.env("LEVERET_IN_MEMORY", "true").current_dir(home.path());
    let (broker, _) = ready(command);
    broker.signal(Signal::TERM);
    assert!(broker.wait().status.success());
    assert!(!home.path().join("leveret-data").exists());
}

#[test]
fn without_options_for_it_data_is_in_leveret_data_here() {
    let home = tempfile::tempdir().unwrap();
    let mut command = leveret(["--listen", "127.0.0.1:0"]);
    command.current_dir(home.path());
    ready(command);
    assert!(home.path().join("leveret-data").is_dir());
}

#[test]
fn in_memory_leaves_nothing() {
    let home = tempfile::tempdir().unwrap();
    let mut command = leveret(["--listen", "127.0.0.1:0", "--in-memory"]);
    command.current_dir(home.path());
    let (broker, address) = ready(command);
    let mut client = Client::connect(address);
    client.declare("kept", true);
    client.publish_safely(1, ("", "kept"), PERSISTENT, b"for now");
    broker.signal(Signal::TERM);
    expect_close(&mut client);
    assert!(broker.wait().status.success());
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
}

#[test]
fn a_signal_stops_it_in_order_and_what_is_durable_stays() {
    for signal in [Signal::TERM, Signal::INT] {
        let home = tempfile::tempdir().unwrap();
        let (broker, address) = ready(on_data_dir(home.path()));
        let mut client = Client::connect(address);
        client.declare("kept", true);
        client.declare("lost", false);
        for number in 0..100u8 {
            let mut octets = Vec::new();
            client.encode_publish(&mut octets, 1, ("", "kept"), PERSISTENT, &[number]);
            client.encode_publish(&mut octets, 1, ("", "kept"), TRANSIENT, b"lost");
            client.send(&octets).unwrap();
        }
        // Its answer shows that the broker has taken them all, which nothing else promises here.
        assert_eq!(client.count("kept"), 200);
        let mut idle = Client::connect(address);
        broker.signal(signal);
        expect_close(&mut client);
        expect_close(&mut idle);
        let Ended { status, stderr, .. } = broker.wait();
        assert_eq!(status.code(), Some(0), "{stderr}");

        let (_broker, address) = ready(on_data_dir(home.path()));
        let mut client = Client::connect(address);
        assert_eq!(client.count("kept"), 100);
        client.consume("kept", 0, true);
        for number in 0..100u8 {
            assert_eq!(client.delivery().body, [number]);
        }
        let passive = queue::Declare { queue: short("lost"), passive: true, ..Default::default() };
        let missing = client.call(1, &passive);
        assert!(matches!(missing.method(), Method::ChannelClose(close) if close.reply_code == 404));
    }
}

#[test]
fn a_client_that_never_answers_does_not_hold_up_the_end() {
    let command = process::leveret(["--in-memory", "--listen", "127.0.0.1:0"]);
    let (broker, address) = ready(command);
    let _deaf = Client::connect(address);
    let _in_the_handshake = Client::silent(address);
    broker.signal(Signal::TERM);
    let Ended { status, stderr, .. } = broker.wait();
    assert_eq!(status.code(), Some(0), "{stderr}");
}

/// The path and content of every file below a directory.
fn content(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.append(&mut content(&path));
        } else {
            files.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    files
}

/// Checks a data directory, which must not change it; returns the exit code and what was printed.
#[track_caller]
fn check(data_dir: &Path) -> (i32, String) {
    let before = if data_dir.is_dir() { content(data_dir) } else { BTreeMap::new() };
    let checked = output(leveret(["check"]).arg(data_dir));
    if data_dir.is_dir() {
        assert!(content(data_dir) == before, "a check changed {}", data_dir.display());
    }
    let said = [text(&checked.stdout), text(&checked.stderr)].concat();
    (checked.status.code().unwrap(), said)
}

/// A data directory with three messages, whose broker was killed.
fn used_data_dir(home: &Path) -> PathBuf {
    let data_dir = home.join("data");
    let (broker, address) = ready(on_data_dir(&data_dir));
    let mut client = Client::connect(address);
    client.declare("kept", true);
    for body in [&b"one"[..], b"two", b"three"] {
        client.publish_safely(1, ("", "kept"), PERSISTENT, body);
    }
    broker.kill();
    data_dir
}

fn log_file(data_dir: &Path) -> PathBuf {
    let log = fs::read_dir(data_dir.join("vhosts/0/log")).unwrap().next();
    log.unwrap().unwrap().path()
}

#[test]
fn a_check_says_what_is_in_a_data_directory() {
    let home = tempfile::tempdir().unwrap();
    let data_dir = used_data_dir(home.path());
    let (code, said) = check(&data_dir);
    assert_eq!(code, 0, "{said}");
    for line in [
        "virtual host \"/\", in vhosts/0: 0 exchanges, 0 bindings, 1 queues, 3 messages of 11 bytes",
        "  queue \"kept\": 3 messages of 11 bytes, 3 of them in the log; 0 segments of 0 bytes",
        "whole: a start would go on and change no file",
    ] {
        assert!(said.lines().any(|said| said == line), "{line}\n{said}");
    }
    assert!(said.contains("total: 1 users, 1 virtual hosts, 1 queues, 3 messages of 11 bytes"));

    // A copy has no lock, and nobody may write there.
    fs::remove_file(data_dir.join("lock")).unwrap();
    fs::set_permissions(&data_dir, fs::Permissions::from_mode(0o500)).unwrap();
    let (code, said) = check(&data_dir);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("there is no lock file"), "{said}");
    fs::set_permissions(&data_dir, fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn a_check_says_that_a_start_would_refuse_where_the_lock_is_no_file() {
    let home = tempfile::tempdir().unwrap();
    let data_dir = used_data_dir(home.path());
    let lock = data_dir.join("lock");
    fs::remove_file(&lock).unwrap();
    fs::create_dir(&lock).unwrap();
    let why = format!("cannot write {}: ", lock.display());
    let (code, said) = check(&data_dir);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains(&why), "{said}");
    assert!(said.contains("3 messages of 11 bytes"), "the rest is looked at: {said}");
    let refused = refusal(on_data_dir(&data_dir));
    assert!(refused.contains(&why), "{refused}");
}

#[test]
fn a_check_names_damage_and_what_a_start_would_do() {
    let home = tempfile::tempdir().unwrap();
    let data_dir = used_data_dir(home.path());
    let log = log_file(&data_dir);
    let whole = fs::read(&log).unwrap();
    fs::write(&log, &whole[..whole.len() - 2]).unwrap();
    let (code, said) = check(&data_dir);
    assert_eq!(code, 1, "{said}");
    let path = log.strip_prefix(&data_dir).unwrap().display();
    assert!(said.starts_with(&format!("damaged: {path}, ")), "{said}");
    assert!(said.contains(&format!("a start would do: {path}: cut to ")), "{said}");
    assert!(said.contains("queue \"kept\": 2 messages of 6 bytes"), "{said}");
    assert!(said.contains("DAMAGED in 1 place: a start would go on and change"), "{said}");

    fs::write(&log, whole).unwrap();
    let changes = data_dir.join("registry.changes");
    let whole = fs::read(&changes).unwrap();
    fs::write(&changes, [&whole[..], b"torn"].concat()).unwrap();
    let (code, said) = check(&data_dir);
    assert_eq!(code, 1, "{said}");
    assert!(said.starts_with("damaged: registry.changes, 4 bytes at offset "), "{said}");
    assert!(said.contains("DAMAGED in 1 place: a start would go on"), "{said}");
    fs::remove_file(&changes).unwrap();
    let (code, said) = check(&data_dir);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("registry.changes in the data directory cannot be read: it is missing"));
    assert!(said.contains("DAMAGED: a start would refuse"), "{said}");
    fs::write(&changes, whole).unwrap();

    for name in ["catalog", "catalog.copy"] {
        fs::write(data_dir.join("vhosts/0").join(name), "?").unwrap();
    }
    let (code, said) = check(&data_dir);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("no copy is whole"), "{said}");
    assert!(said.contains("DAMAGED: a start would refuse, for what is in vhosts/0"), "{said}");

    fs::write(data_dir.join("registry.json"), "{").unwrap();
    let (code, said) = check(&data_dir);
    assert_eq!(code, 1, "{said}");
    assert!(said.starts_with("damaged: registry.json: "), "{said}");
    assert!(said.contains("; registry.copy was used"), "{said}");
    fs::remove_file(data_dir.join("registry.copy")).unwrap();
    let (code, said) = check(&data_dir);
    assert_eq!(code, 1, "{said}");
    assert!(said.starts_with("damaged: registry.json in the data directory"), "{said}");

    let data_dir = used_data_dir(&home.path().join("other"));
    fs::remove_file(data_dir.join("registry.json")).unwrap();
    let (code, said) = check(&data_dir);
    assert_eq!(code, 1, "{said}");
    assert!(said.starts_with("damaged: registry.json: missing; registry.copy was used"), "{said}");
    assert!(said.contains("DAMAGED in 1 place: a start would go on"), "{said}");
    for name in ["registry.copy", "registry.changes"] {
        fs::remove_file(data_dir.join(name)).unwrap();
    }
    let (code, said) = check(&data_dir);
    assert_eq!(code, 1, "{said}");
    assert!(said.starts_with("damaged: registry.json and its copy are missing"), "{said}");
    assert!(said.contains("queue \"kept\": 3 messages of 11 bytes"), "{said}");
    assert!(said.contains("DAMAGED: a start would refuse"), "{said}");
}

#[test]
fn what_cannot_be_checked_is_named() {
    let home = tempfile::tempdir().unwrap();
    let data_dir = home.path().join("data");
    let refused = |said: &str| {
        let (code, line) = check(&data_dir);
        assert_eq!((code, line.lines().count()), (1, 1), "{line}");
        assert!(line.starts_with("leveret: ") && line.contains(said), "{line}");
        assert!(line.contains(data_dir.to_str().unwrap()), "{line}");
    };
    refused("is no directory");
    fs::create_dir(&data_dir).unwrap();
    refused("is empty: there is nothing to look at");
    fs::write(data_dir.join("letter"), "dear").unwrap();
    refused("is not empty and is not a leveret data directory");
    fs::remove_file(data_dir.join("letter")).unwrap();
    let (broker, _) = ready(on_data_dir(&data_dir));
    refused("in use by another leveret");
    broker.kill();
    assert_eq!(check(&data_dir).0, 0);
    for (version, said) in [(1, "an older leveret"), (9, "a newer leveret")] {
        let marker = format!("leveret data directory, version {version}\n");
        fs::write(data_dir.join("leveret"), marker).unwrap();
        refused(said);
    }
}

/// The broker says that it stops, and the client agrees.
fn expect_close(client: &mut Client) {
    let frame = client.frame();
    let Method::ConnectionClose(close) = frame.method() else { panic!("{frame:?}") };
    assert_eq!(close.reply_code, 320);
    assert_eq!(
        close.reply_text.to_string(),
        "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'"
    );
    client.tell(0, &connection::CloseOk {}).expect("the broker waits for it");
    assert_eq!(client.read().expect("the broker closes the socket"), None);
}
