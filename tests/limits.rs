//! What bounds clients, seen from outside of the program: too many of them must not take from the
//! broker what it needs for its own work.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::support::client::{Client, PERSISTENT};
use crate::support::eventually;
use crate::support::process::{Ended, Process, leveret, restart_durable};
use leveret_codec::Method;
use leveret_codec::method::connection;

/// The program, allowed so many open files.
fn with_open_files(files: usize, data_dir: &Path) -> Command {
    let mut command = Command::new("sh");
    let script = format!("ulimit -n {files} && exec \"$0\" \"$@\"");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_leveret"), "--listen", "127.0.0.1:0"]);
    command.arg("--data-dir").arg(data_dir);
    command
}

#[track_caller]
fn ready(command: Command) -> (Process, SocketAddr) {
    Process::start(command).ready().unwrap_or_else(|ended| panic!("no start: {}", ended.stderr))
}

/// Whether the broker has closed this socket.
fn is_closed(mut socket: &TcpStream) -> bool {
    socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    match socket.read(&mut [0]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

#[test]
fn clients_cannot_take_the_open_files_that_the_store_needs() {
    const FILES: usize = 160;
    const QUEUES: u32 = 20;
    let home = tempfile::tempdir().unwrap();
    let (process, address) = ready(with_open_files(FILES, home.path()));
    let mut honest = Client::connect(address);
    honest.declare("q0", true);
    honest.publish_safely(1, ("", "q0"), PERSISTENT, b"before");

    // Far more sockets than there may be open files, and some that do log in.
    let open: Vec<_> = (0..30).map(|_| Client::connect(address)).collect();
    let strangers: Vec<_> = (0..2 * FILES).map(|_| TcpStream::connect(address).unwrap()).collect();
    eventually("those that are too many are closed", || {
        strangers.iter().filter(|socket| is_closed(socket)).count() >= 2 * FILES - 100
    });

    // The store makes files, grows its log and moves it on, all the while.
    let body = vec![b'x'; 1 << 20];
    for number in 1..QUEUES {
        let queue = format!("q{number}");
        honest.declare(&queue, true);
        for _ in 0..10 {
            honest.publish_safely(1, ("", &queue), PERSISTENT, &body);
        }
    }
    // Who was let in stays; another one gets in, since a stranger makes room.
    for mut client in open {
        assert_eq!(client.count("q1"), 10);
    }
    assert_eq!(Client::connect(address).count("q1"), 10);

    let Ended { stderr, .. } = process.kill();
    assert!(!stderr.contains("nothing more is made durable"), "{stderr}");
    assert!(!stderr.contains("cannot accept connections"), "{stderr}");
    let told = stderr.lines().filter(|line| line.contains("too many clients")).count();
    assert!((1..10).contains(&told), "{told} lines in\n{stderr}");
    drop(strangers);

    let process = restart_durable(home.path(), address);
    let mut again = Client::connect(address);
    assert_eq!(again.count("q0"), 1);
    for number in 1..QUEUES {
        assert_eq!(again.count(&format!("q{number}")), 10);
    }
    drop(process);
}

#[test]
fn the_soft_limit_of_open_files_is_raised() {
    let mut command = Command::new("sh");
    let script = "ulimit -S -n 100 && exec \"$0\" \"$@\"";
    command.args(["-c", script, env!("CARGO_BIN_EXE_leveret"), "--in-memory"]);
    command.args(["--listen", "127.0.0.1:0"]);
    let (_process, address) = ready(command);
    let clients: Vec<_> = (0..150).map(|_| Client::connect(address)).collect();
    assert_eq!(clients.len(), 150);
}

#[test]
fn the_options_are_what_clients_are_told() {
    let mut command = leveret(["--in-memory", "--listen", "127.0.0.1:0"]);
    command.args(["--channel-max", "7", "--frame-max", "10000", "--heartbeat", "5"]);
    let (_process, address) = ready(command);
    let mut client = Client::silent(address);
    client.send(&leveret_codec::frame::PROTOCOL_HEADER).unwrap();
    client.frame();
    let start_ok = connection::StartOk {
        client_properties: leveret_codec::Table::EMPTY,
        mechanism: leveret_codec::ShortStr::from_static("PLAIN"),
        response: b"\0guest\0guest",
        locale: leveret_codec::ShortStr::from_static("en_US"),
    };
    let tune = client.call(0, &start_ok);
    let Method::ConnectionTune(tune) = tune.method() else { panic!("{tune:?}") };
    assert_eq!((tune.channel_max, tune.frame_max, tune.heartbeat), (7, 10_000, 5));
}

#[test]
fn connections_beyond_the_operators_limit_are_told_so() {
    let mut command = leveret(["--in-memory", "--listen", "127.0.0.1:0"]);
    command.args(["--max-connections", "2"]);
    let (process, address) = ready(command);
    let clients = [(); 2].map(|()| Client::connect(address));
    for _ in 0..50 {
        let close = Client::refused(address);
        let Method::ConnectionClose(close) = close.method() else { panic!("{close:?}") };
        assert_eq!(close.reply_code, 530);
        let text = "NOT_ALLOWED - connection refused: node connection limit (2) is reached";
        assert_eq!(close.reply_text.to_string(), text);
    }
    drop(clients);
    eventually("there is room again", || {
        !matches!(Client::refused(address).method(), Method::ConnectionClose(_))
    });
    let stderr = process.kill().stderr;
    assert_eq!(stderr.lines().filter(|line| line.contains("limit is reached")).count(), 1);
}
