//! A log that cannot be written: nobody reads it, its reader is gone, it is closed, or its disk is full. The
//! broker works as if nothing was, and says how many lines are missing when it can.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::support::client::{Client, PERSISTENT};
use crate::support::process::{Process, leveret};
use crate::support::small_disk::SmallDisk;
use crate::support::{eventually, http};

/// How many clients it takes to fill a pipe, whose lines are two each.
const CLIENTS: usize = 400;

/// A broker with the management API and everything in its log.
fn command(data_dir: &std::path::Path) -> Command {
    let mut command = leveret(["--listen", "127.0.0.1:0", "--management", "127.0.0.1:0"]);
    command.args(["--log", "debug", "--data-dir"]).arg(data_dir);
    command
}

fn ready(process: Process) -> (Process, SocketAddr) {
    process.ready().unwrap_or_else(|ended| panic!("no start: {}", ended.stderr))
}

fn management(process: &Process) -> SocketAddr {
    let found = process
        .stdout()
        .lines()
        .find_map(|line| line.strip_prefix("leveret management on http://"));
    found.expect("it is said").trim_end_matches("/api").parse().expect("it is an address")
}

/// Clients come and go, what is published is confirmed, the management API answers.
fn works(address: SocketAddr, management: Option<SocketAddr>, clients: usize) {
    for _ in 0..clients {
        Client::connect(address).close();
    }
    let mut client = Client::connect(address);
    client.declare("q", true);
    client.publish_safely(1, ("", "q"), PERSISTENT, b"m");
    if let Some(management) = management {
        assert_eq!(http::request(management, "GET /api/overview", "guest:guest", "").0, 200);
    }
}

/// SIGTERM ends it in order.
fn ends(process: Process) {
    process.signal(Signal::TERM);
    assert_eq!(process.wait().status.code(), Some(0));
}

#[test]
fn stderr_that_nobody_reads_stops_nothing() {
    let home = tempfile::tempdir().unwrap();
    let (mut reader, writer) = std::io::pipe().unwrap();
    let (process, address) = ready(Process::start_with_log(command(home.path()), writer.into()));
    works(address, Some(management(&process)), CLIENTS);
    ends(process);
    // What did not find room in the pipe was not worth waiting for.
    let mut log = String::new();
    reader.read_to_string(&mut log).unwrap();
    assert!(log.contains("accepting AMQP connection"), "{log}");
    assert!(log.len() <= 64 * 1024, "{} bytes", log.len());
}

#[test]
fn stderr_whose_reader_is_gone_stops_nothing() {
    let home = tempfile::tempdir().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    let (process, address) = ready(Process::start_with_log(command(home.path()), writer.into()));
    let mut old = Client::connect(address);
    drop(reader);
    works(address, Some(management(&process)), 3);
    old.declare("old", true);
    ends(process);
}

#[test]
fn stderr_on_a_full_disk_stops_nothing() {
    let home = tempfile::tempdir().unwrap();
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let (process, address) = ready(Process::start_with_log(command(home.path()), full.into()));
    works(address, Some(management(&process)), 3);
    ends(process);
}

#[test]
fn closed_outputs_stop_nothing() {
    let home = tempfile::tempdir().unwrap();
    // Nobody can be told which port it is.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut command = Command::new("sh");
    let script = format!("exec \"$0\" --listen {port} --data-dir \"$1\" >&- 2>&-");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_leveret")]).arg(home.path());
    let process = Process::start_with_log(command, Stdio::null());
    eventually("it listens", || TcpStream::connect(port).is_ok());
    works(port, None, 3);
    ends(process);
}

#[test]
fn logfull_tells_what_is_missing_when_there_is_room_again() {
    let Some(disk) = SmallDisk::mount("64m") else { return };
    let home = tempfile::tempdir().unwrap();
    let path = disk.path().join("leveret.log");
    let log = OpenOptions::new().create(true).append(true).open(&path).unwrap();
    let (process, address) = ready(Process::start_with_log(command(home.path()), log.into()));
    let mut filler = File::create(disk.path().join("filler")).unwrap();
    while filler.write(&[0; 4096]).is_ok() {}
    let text = || fs::read_to_string(&path).unwrap();
    // The last page of the log itself takes some lines more.
    let lines = || text().lines().count();
    let mut before = usize::MAX;
    eventually("the log takes no more", || {
        works(address, None, 1);
        std::mem::replace(&mut before, lines()) == lines()
    });
    works(address, Some(management(&process)), 20);
    drop(filler);
    fs::remove_file(disk.path().join("filler")).unwrap();
    eventually("it says how many lines are missing", || {
        works(address, None, 1);
        text().contains("ERROR leveret::cli: log lines were dropped")
    });
    ends(process);
    let text = text();
    let notice = text.lines().find(|line| line.contains("were dropped")).unwrap();
    let (_, missing) = notice.rsplit_once("lines=").unwrap();
    assert!(missing.parse::<u64>().unwrap() >= 40, "{notice}");
    let (_, after) = text.split_once("were dropped").unwrap();
    assert!(after.contains("accepting AMQP connection") && after.contains("stopping"), "{after}");
}

#[test]
fn a_start_that_fails_says_so_where_nobody_reads_and_ends() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let arguments = ["--in-memory", "--log", "off", "--listen", &address];
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    let process = Process::start_with_log(leveret(arguments), writer.try_clone().unwrap().into());
    assert_eq!(process.wait().status.code(), Some(1));
    // And with a pipe that has no room for its line.
    let full = "x".repeat(64 * 1024 - 512);
    writer.write_all(full.as_bytes()).unwrap();
    for _ in 0..6 {
        let stderr = writer.try_clone().unwrap().into();
        let process = Process::start_with_log(leveret(arguments), stderr);
        assert_eq!(process.wait().status.code(), Some(1));
    }
    drop(writer);
    let mut said = String::new();
    reader.read_to_string(&mut said).unwrap();
    assert!(said.starts_with("leveret: cannot listen on"), "{said}");
}
