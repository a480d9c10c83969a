//! A disk that takes nothing more, under a real process: publishers wait or are refused, consumers go
//! on, and nothing confirmed is lost.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::client::{Client, PERSISTENT, short};
use crate::support::process::{self, Process};
use crate::support::small_disk::SmallDisk;
use crate::support::{PATIENCE, eventually};
use leveret_codec::Method;
use leveret_codec::method::{basic, confirm};

const BODY: usize = 10_000;

fn body(number: u64) -> Vec<u8> {
    let mut body = number.to_be_bytes().to_vec();
    body.resize(BODY, number as u8);
    body
}

fn command(data_dir: &Path) -> Command {
    let mut command =
        process::leveret(["--listen", "127.0.0.1:0", "--memory-limit", "64MiB", "--data-dir"]);
    command.arg(data_dir);
    command
}

fn start(command: Command) -> (Process, SocketAddr) {
    Process::start(command).ready().unwrap_or_else(|ended| panic!("no start: {}", ended.stderr))
}

/// A client that can hear that it is blocked, with confirms.
fn publisher(address: SocketAddr) -> Client {
    let mut client = Client::connect_blockable(address);
    client.declare("q", true);
    let selected = client.call(1, &confirm::Select::default());
    assert!(matches!(selected.method(), Method::ConfirmSelectOk(_)));
    client
}

/// What became of messages 1, 2, 3 … of a publisher.
#[derive(Default)]
struct Answers {
    confirmed: u64,
    refused: u64,
    blocked: Option<String>,
    unblocked: bool,
}

impl Answers {
    fn note(&mut self, client: &mut Client) -> bool {
        let Some(frame) = client.poll().unwrap() else { return false };
        match frame.method() {
            Method::BasicAck(ack) => self.confirmed = ack.delivery_tag,
            Method::BasicNack(nack) => self.refused = nack.delivery_tag,
            Method::ConnectionBlocked(blocked) => self.blocked = Some(blocked.reason.to_string()),
            Method::ConnectionUnblocked(_) => self.unblocked = true,
            other => panic!("{other:?}"),
        }
        true
    }

    /// Publishes until there is an answer that `is_enough`; how many that were.
    fn publish_until(
        &mut self,
        client: &mut Client,
        mut published: u64,
        is_enough: impl Fn(&Answers) -> bool,
    ) -> u64 {
        let deadline = Instant::now() + PATIENCE;
        while !is_enough(self) {
            assert!(Instant::now() < deadline, "it does not come about");
            let mut octets = Vec::new();
            client.encode_publish(&mut octets, 1, ("", "q"), PERSISTENT, &body(published));
            client.send(&octets).unwrap();
            published += 1;
            while self.note(client) {}
            if published > self.confirmed.max(self.refused) + 100 {
                // Nobody answers; the broker says that a client is blocked when it publishes.
                thread::sleep(Duration::from_millis(10));
            }
        }
        published
    }

    /// Publishes one now and then, so that the log needs no new file; how many there are then.
    fn publish_slowly_until_blocked(&mut self, client: &mut Client, mut published: u64) -> u64 {
        eventually("the publisher is blocked", || {
            let mut octets = Vec::new();
            client.encode_publish(&mut octets, 1, ("", "q"), PERSISTENT, &body(published));
            client.send(&octets).unwrap();
            published += 1;
            while self.note(client) {}
            self.blocked.is_some()
        });
        assert_eq!(self.blocked.as_deref(), Some("low on disk"));
        published
    }
}

/// Fetches one message, and acknowledges it.
fn fetch(client: &mut Client, expected: u64) {
    client.tell(1, &basic::Get { queue: short("q"), ..Default::default() }).unwrap();
    let delivery = client.delivery();
    assert!(delivery.body == body(expected), "number {expected} is due");
    let ack = basic::Ack { delivery_tag: delivery.delivery_tag, multiple: false };
    client.tell(1, &ack).unwrap();
}

/// All that was confirmed from `first` on is there, in order, after a start.
fn check_contents(command: Command, first: u64, confirmed: u64) {
    let (_broker, address) = start(command);
    let mut client = Client::connect(address);
    let count = u64::from(client.count("q"));
    assert!(count >= confirmed - first, "{count} of {first} to {confirmed} are there");
    for number in first..confirmed {
        fetch(&mut client, number);
    }
}

#[test]
fn on_a_full_disk_publishers_wait_consumers_go_on_and_nothing_confirmed_is_lost() {
    let Some(disk) = SmallDisk::mount("1g") else { return };
    let data_dir = disk.path().join("data");
    let (broker, address) = start(command(&data_dir));
    let mut client = publisher(address);
    let mut answers = Answers::default();
    let mut published = answers.publish_until(&mut client, 0, |it| it.confirmed > 500);
    // Less is left than a file of the store needs, all of a sudden.
    disk.leave_kib(20 * 1024);
    published = answers.publish_until(&mut client, published, |it| it.blocked.is_some());
    assert_eq!(answers.blocked.as_deref(), Some("low on disk"));

    let mut consumer = Client::connect(address);
    (0..100).for_each(|number| fetch(&mut consumer, number));
    disk.resize("1g");
    eventually("the publisher may go on", || {
        while answers.note(&mut client) {}
        answers.unblocked
    });
    let goal = published + 100;
    published = answers.publish_until(&mut client, published, |it| it.confirmed >= goal);
    assert_eq!(answers.refused, 0);
    assert!(published >= goal);
    (100..200).for_each(|number| fetch(&mut consumer, number));
    consumer.declare("fence", true);
    consumer.open_channel(2);
    let selected = consumer.call(2, &confirm::Select::default());
    assert!(matches!(selected.method(), Method::ConfirmSelectOk(_)));
    consumer.publish_safely(2, ("", "fence"), PERSISTENT, b"all before is on the disk");
    let log = broker.kill().stderr;
    assert!(!log.contains("panicked") && !log.contains("please report"), "{log}");

    // A start on a disk that is full: whatever it says, what is there stays.
    disk.leave_kib(64);
    match Process::start(command(&data_dir)).ready() {
        Ok((broker, _)) => drop(broker.kill()),
        Err(ended) => assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr),
    }
    disk.resize("1g");
    check_contents(command(&data_dir), 200, answers.confirmed);
}

#[test]
fn a_write_that_fails_refuses_publishers_and_loses_nothing_confirmed() {
    let home = tempfile::tempdir().unwrap();
    // No file may be longer than this; the log would be.
    let mut limited = Command::new("sh");
    let script = "trap '' XFSZ && ulimit -f 2000 && exec \"$0\" \"$@\"";
    limited.args(["-c", script, env!("CARGO_BIN_EXE_leveret"), "--listen", "127.0.0.1:0"]);
    limited.arg("--data-dir").arg(home.path());
    let (broker, address) = start(limited);
    let mut client = publisher(address);
    let mut answers = Answers::default();
    answers.publish_until(&mut client, 0, |it| it.refused > 0);
    assert!(answers.confirmed > 10, "{} confirmed", answers.confirmed);
    let mut consumer = Client::connect(address);
    (0..10).for_each(|number| fetch(&mut consumer, number));
    let log = broker.kill().stderr;
    assert!(log.contains("the log could not be written"), "{log}");
    assert!(!log.contains("panicked"), "{log}");
    // What was acknowledged after the failure is there again: nothing could be written of it.
    check_contents(command(home.path()), 0, answers.confirmed);
}

#[test]
fn a_data_directory_on_a_read_only_file_system_is_refused_by_name() {
    let Some(disk) = SmallDisk::mount("1g") else { return };
    let data_dir = disk.path().join("data");
    let (broker, address) = start(command(&data_dir));
    let mut client = publisher(address);
    client.publish_safely(1, ("", "q"), PERSISTENT, &body(0));
    broker.kill();
    disk.resize("1g,ro");
    let Err(ended) = Process::start(command(&data_dir)).ready() else { panic!("it starts") };
    assert!(!ended.status.success());
    assert!(ended.stderr.contains(data_dir.to_str().unwrap()), "{}", ended.stderr);
    assert!(ended.stderr.contains("ead-only"), "{}", ended.stderr);
    disk.resize("1g,rw");
    check_contents(command(&data_dir), 0, 1);
}

#[test]
fn where_the_data_directory_is_taken_away_publishers_wait_and_the_log_says_so() {
    let home = tempfile::tempdir().unwrap();
    let [data_dir, elsewhere] = ["data", "elsewhere"].map(|name| home.path().join(name));
    let (broker, address) = start(command(&data_dir));
    let mut client = publisher(address);
    let mut answers = Answers::default();
    std::fs::rename(&data_dir, &elsewhere).unwrap();
    let published = answers.publish_slowly_until_blocked(&mut client, 0);
    std::fs::rename(&elsewhere, &data_dir).unwrap();
    eventually("the publisher may go on", || {
        while answers.note(&mut client) {}
        answers.unblocked
    });
    let goal = published + 1;
    answers.publish_until(&mut client, published, |it| it.confirmed >= goal);
    let log = broker.kill().stderr;
    assert!(log.contains("the data directory was removed, or another is in its place"), "{log}");
    check_contents(command(&data_dir), 0, answers.confirmed);
}

#[test]
fn where_inodes_run_out_publishers_wait_and_nothing_confirmed_is_lost() {
    let Some(disk) = SmallDisk::mount("1g,nr_inodes=40") else { return };
    let data_dir = disk.path().join("data");
    let mut small = command(&data_dir);
    small.args(["--log-file-size", "1MiB"]);
    let (broker, address) = start(small);
    let mut client = publisher(address);
    // Each queue that is paged takes a directory and a file.
    let queues: Vec<_> = (0..40).map(|number| format!("q{number}")).collect();
    for queue in &queues {
        client.declare(queue, true);
    }
    let (mut answers, mut published) = (Answers::default(), 0);
    let deadline = Instant::now() + PATIENCE;
    while answers.blocked.is_none() {
        assert!(Instant::now() < deadline, "it does not come about");
        let mut octets = Vec::new();
        for queue in &queues {
            client.encode_publish(&mut octets, 1, ("", queue), PERSISTENT, &body(published));
            published += 1;
        }
        client.send(&octets).unwrap();
        while answers.note(&mut client) {}
    }
    assert_eq!(answers.refused, 0, "what finds no file waits");
    // Others go: what waits is written.
    disk.resize("1g,nr_inodes=4000");
    eventually("all is confirmed", || {
        while answers.note(&mut client) {}
        answers.confirmed == published && answers.unblocked
    });
    assert_eq!(answers.refused, 0);
    let log = broker.kill().stderr;
    assert!(log.contains("the disk takes no more") && !log.contains("panicked"), "{log}");
    let (_broker, address) = start(command(&data_dir));
    let mut client = Client::connect(address);
    let found: u64 = queues.iter().map(|queue| u64::from(client.count(queue))).sum();
    assert_eq!(found, published);
}

#[test]
fn the_alarm_ends_when_what_filled_the_disk_is_gone() {
    let Some(disk) = SmallDisk::mount("200m") else { return };
    let data_dir = disk.path().join("data");
    // The log files are long: all of it is in one.
    let mut large = process::leveret(["--listen", "127.0.0.1:0", "--data-dir"]);
    large.arg(&data_dir);
    let (_broker, address) = start(large);
    let mut client = publisher(address);
    let mut consumer = Client::connect(address);
    let mut answers = Answers::default();
    let published = answers.publish_until(&mut client, 0, |it| it.confirmed > 5_000);
    eventually("all is confirmed", || {
        while answers.note(&mut client) {}
        answers.confirmed == published
    });
    // Fifty megabytes of log, in which nothing lives any more.
    consumer
        .call(1, &leveret_codec::method::queue::Purge { queue: short("q"), ..Default::default() });
    disk.leave_kib(30 * 1024);
    answers.publish_slowly_until_blocked(&mut client, published);
    eventually("the publisher may go on", || {
        while answers.note(&mut client) {}
        answers.unblocked
    });
}
