//! Real files and real processes: what is on the disk after a kill, and how much of it.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use leveret_codec::Method;
use leveret_codec::method::{basic, confirm, queue};
use rustix::process::Signal;

use crate::support::client::{Client, PERSISTENT, short};
use crate::support::process::{self, Process};
use crate::support::{eventually, http};

const KIB: usize = 1024;
const MIB: u64 = 1024 * 1024;
/// What a body here is about as long as.
const BODY: usize = 10 * KIB;
/// The log of a broker with so little memory is four files of 2 MiB, and one more that grows; and a
/// segment has up to 8 MiB.
const MEMORY: &str = "32MiB";
/// What an empty broker may have on its disk: those log files, a segment in which little lives, and
/// as much waste as is left alone.
const IDLE_DISK: u64 = 5 * 2 * MIB + 8 * MIB + 4 * MIB;

fn command(data_dir: &Path) -> Command {
    let mut command =
        process::leveret(["--listen", "127.0.0.1:0", "--memory-limit", MEMORY, "--data-dir"]);
    command.arg(data_dir);
    command
}

fn start(data_dir: &Path) -> (Process, SocketAddr) {
    let started = Process::start(command(data_dir)).ready();
    started.unwrap_or_else(|ended| panic!("no start: {}", ended.stderr))
}

fn stop(process: Process) {
    process.signal(Signal::TERM);
    let ended = process.wait();
    assert!(ended.status.success(), "{}", ended.stderr);
}

fn body(number: u64) -> Vec<u8> {
    let mut body = number.to_be_bytes().to_vec();
    body.resize(BODY + number as usize % 500, number as u8);
    body
}

fn number_of(octets: &[u8]) -> u64 {
    let number = u64::from_be_bytes(*octets.first_chunk().unwrap());
    assert!(octets == body(number), "the body of {number} is damaged");
    number
}

/// A client with confirms on channel 2.
fn publisher(address: SocketAddr) -> Client {
    let mut client = Client::connect(address);
    client.open_channel(2);
    let selected = client.call(2, &confirm::Select::default());
    assert!(matches!(selected.method(), Method::ConfirmSelectOk(_)));
    client
}

/// Publishes numbers; all that the client published before on channel 2 was confirmed before, so many.
fn publish(client: &mut Client, queue: &str, numbers: std::ops::Range<u64>, before: u64) {
    let end = before + numbers.end - numbers.start;
    for number in numbers {
        let mut octets = Vec::new();
        client.encode_publish(&mut octets, 2, ("", queue), PERSISTENT, &body(number));
        client.send(&octets).unwrap();
    }
    let mut confirmed = before;
    while confirmed < end {
        let frame = client.frame();
        let Method::BasicAck(ack) = frame.method() else { panic!("{frame:?}") };
        assert!(ack.delivery_tag > confirmed, "confirms come in order");
        confirmed = ack.delivery_tag;
    }
}

/// All that is in a queue, without acknowledgement or so that it stays there.
fn contents(address: SocketAddr, queue: &str, no_ack: bool) -> Vec<u64> {
    let mut client = Client::connect(address);
    let mut numbers = Vec::new();
    loop {
        let get = basic::Get { queue: short(queue), no_ack, ..Default::default() };
        let frame = client.call(1, &get);
        if matches!(frame.method(), Method::BasicGetEmpty(_)) {
            return numbers;
        }
        numbers.push(number_of(&client.rest_of_delivery(&frame).unwrap().unwrap().body));
    }
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    // What is removed meanwhile is not there.
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

fn disk_use(directory: &Path) -> u64 {
    let files = files_below(directory);
    files.iter().filter_map(|file| fs::metadata(file).ok()).map(|it| it.len()).sum()
}

/// The files that a process has open though they are removed.
fn removed_and_open(process: &Process) -> Vec<PathBuf> {
    let open = fs::read_dir(format!("/proc/{}/fd", process.id())).unwrap();
    let open = open.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    open.filter(|file| file.to_string_lossy().ends_with("(deleted)")).collect()
}

/// a: in another broker, what a kill left at the end of a file lost messages, or brought them back,
/// on the second start after it.
#[test]
fn a_start_and_a_stop_after_a_kill_change_nothing_that_the_next_start_finds() {
    for zeros in [0, 5000] {
        let home = tempfile::tempdir().unwrap();
        let (broker, address) = start(home.path());
        let mut client = publisher(address);
        client.declare("q", true);
        client.declare("fence", true);
        publish(&mut client, "q", 0..300, 0);
        for _ in 0..100 {
            let get = basic::Get { queue: short("q"), ..Default::default() };
            client.tell(1, &get).unwrap();
            client.delivery();
        }
        client.tell(1, &basic::Ack { delivery_tag: 100, multiple: true }).unwrap();
        // Its confirm says that the acknowledgements before it are on the disk.
        publish(&mut client, "fence", 0..1, 300);
        broker.kill();
        // As a file system leaves a file that it made longer in advance.
        let log = files_below(&home.path().join("vhosts/0/log")).pop().unwrap();
        let length = fs::metadata(&log).unwrap().len();
        fs::OpenOptions::new().write(true).open(&log).unwrap().set_len(length + zeros).unwrap();
        let expected: Vec<u64> = (100..300).collect();
        for _ in 0..2 {
            let (broker, address) = start(home.path());
            assert_eq!(contents(address, "q", false), expected);
            stop(broker);
            let (broker, address) = start(home.path());
            assert_eq!(contents(address, "q", false), expected);
            broker.kill();
        }
    }
}

/// e and ff: in other brokers, one damaged queue stopped the others, and a flipped bit cost far more
/// than the message it was in.
#[test]
fn one_damaged_queue_costs_itself_something_and_the_others_nothing() {
    const EACH: u64 = 1200;
    let home = tempfile::tempdir().unwrap();
    let (broker, address) = start(home.path());
    let mut client = publisher(address);
    for (index, name) in ["first", "damaged", "last"].iter().enumerate() {
        client.declare(name, true);
        publish(&mut client, name, 0..EACH, index as u64 * EACH);
    }
    stop(broker);
    let queues = home.path().join("vhosts/0/queues/0000000000000002");
    let segments: Vec<_> = files_below(&queues)
        .into_iter()
        .filter(|path| path.extension().is_some_and(|it| it == "segment"))
        .collect();
    let segment = &segments[0];
    let whole = fs::read(segment).unwrap();
    assert!(whole.len() > 100 * BODY, "the backlog is in a segment");

    type Damage = fn(&mut Vec<u8>);
    let damages: [(u64, Damage); 3] = [
        (1, |octets| octets[500_000] ^= 0x10),
        (1000, |octets| octets.truncate(50_000)),
        (1000, |octets| octets.fill(0)),
    ];
    for (cost, damage) in damages {
        let copy = tempfile::tempdir().unwrap();
        copy_tree(home.path(), copy.path());
        let mut octets = whole.clone();
        damage(&mut octets);
        let place = segment.strip_prefix(home.path()).unwrap();
        fs::write(copy.path().join(place), octets).unwrap();
        let (broker, address) = start(copy.path());
        let all: Vec<u64> = (0..EACH).collect();
        for name in ["first", "last"] {
            assert_eq!(contents(address, name, false), all, "{name}");
        }
        let left = contents(address, "damaged", false);
        assert!(left.is_sorted_by(|a, b| a < b));
        let lost = EACH - left.len() as u64;
        assert!((1..=cost).contains(&lost), "{lost} are lost");
        assert!(broker.log().contains("\"damaged\" are lost"), "it is told: {}", broker.log());
        let mut client = publisher(address);
        publish(&mut client, "damaged", EACH..EACH + 1, 0);
        broker.kill();
        let (_broker, address) = start(copy.path());
        let found = contents(address, "damaged", false);
        assert_eq!(found, left.into_iter().chain([EACH]).collect::<Vec<_>>(), "the queue goes on");
    }
}

fn copy_tree(from: &Path, to: &Path) {
    for file in files_below(from) {
        let copy = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::copy(&file, copy).unwrap();
    }
}

/// i: in another broker, purged messages were back after a restart.
#[test]
fn a_purge_of_a_long_queue_outlives_a_kill_and_a_stop() {
    let home = tempfile::tempdir().unwrap();
    let (broker, address) = start(home.path());
    let mut client = publisher(address);
    client.declare("q", true);
    client.declare("fence", true);
    publish(&mut client, "q", 0..2500, 0);
    let purged = client.call(1, &queue::Purge { queue: short("q"), ..Default::default() });
    assert!(matches!(purged.method(), Method::QueuePurgeOk(ok) if ok.message_count == 2500));
    publish(&mut client, "fence", 0..1, 2500);
    broker.kill();
    let (broker, address) = start(home.path());
    assert_eq!(Client::connect(address).count("q"), 0);
    let mut client = publisher(address);
    publish(&mut client, "q", 2500..2510, 0);
    stop(broker);
    let (_broker, address) = start(home.path());
    assert_eq!(contents(address, "q", true), (2500..2510).collect::<Vec<_>>());
}

/// j: in another broker, files that were removed were kept open, and so on the disk.
#[test]
fn the_disk_is_given_back_after_purges_deletions_and_drains_under_load() {
    let home = tempfile::tempdir().unwrap();
    let (broker, address) = start(home.path());
    let mut client = publisher(address);
    client.declare("fence", true);
    let mut published = 0;
    for round in 0..3 {
        for name in ["purged", "deleted", "drained"] {
            client.declare(name, true);
            publish(&mut client, name, 0..1200, published);
            published += 1200;
        }
        assert!(disk_use(home.path()) > 30 * MIB, "round {round}");
        // A reader that is in the midst of what is then removed.
        let mut reader = Client::connect(address);
        for name in ["purged", "deleted"] {
            for _ in 0..200 {
                let get = basic::Get { queue: short(name), no_ack: true, ..Default::default() };
                reader.tell(1, &get).unwrap();
                reader.delivery();
            }
        }
        let purge = queue::Purge { queue: short("purged"), ..Default::default() };
        assert!(matches!(reader.call(1, &purge).method(), Method::QueuePurgeOk(_)));
        let delete = queue::Delete { queue: short("deleted"), ..Default::default() };
        assert!(matches!(reader.call(1, &delete).method(), Method::QueueDeleteOk(_)));
        assert_eq!(contents(address, "drained", true).len(), 1200);
        // Something must happen for the store to move on.
        publish(&mut client, "fence", 0..50, published);
        published += 50;
        contents(address, "fence", true);
        eventually("the disk is given back", || {
            removed_and_open(&broker).is_empty() && disk_use(home.path()) < IDLE_DISK
        });
    }
    stop(broker);
    let (_broker, _) = start(home.path());
    assert!(disk_use(home.path()) < IDLE_DISK);
}

/// hh: in another broker, one old message kept all files that came after it.
#[test]
fn one_old_message_keeps_little_of_what_came_after_it() {
    let home = tempfile::tempdir().unwrap();
    let (broker, address) = start(home.path());
    let mut client = publisher(address);
    client.declare("q", true);
    publish(&mut client, "q", 0..1, 0);
    let mut holder = Client::connect(address);
    holder.tell(1, &basic::Get { queue: short("q"), ..Default::default() }).unwrap();
    assert_eq!(number_of(&holder.delivery().body), 0);
    for turn in 0..40 {
        let first = 1 + turn * 200;
        publish(&mut client, "q", first..first + 200, first);
        assert_eq!(contents(address, "q", true).len(), 200);
    }
    eventually("the disk is given back", || {
        removed_and_open(&broker).is_empty() && disk_use(home.path()) < IDLE_DISK
    });
    // Its confirm says that all the settlements before it are on the disk.
    client.declare("fence", true);
    publish(&mut client, "fence", 0..1, 8001);
    broker.kill();
    let (_broker, address) = start(home.path());
    assert_eq!(contents(address, "q", true), [0]);
}

/// k: in another broker, limits and permissions did not outlive a crash in the middle of their saving.
#[test]
fn limits_and_permissions_outlive_a_kill_before_the_new_file_has_its_name() {
    let home = tempfile::tempdir().unwrap();
    let start = || {
        let mut command = command(home.path());
        command.args(["--management", "127.0.0.1:0"]);
        let (broker, _) = Process::start(command).ready().unwrap_or_else(|ended| {
            panic!("no start: {}", ended.stderr);
        });
        let api = management_address(&broker);
        (broker, api)
    };
    let ask = |api: SocketAddr, line: &str, body: &str| {
        let (status, answer) = http::request(api, line, "guest:guest", body);
        assert!(status < 300, "{line}: {status} {answer}");
        answer
    };
    let (broker, api) = start();
    ask(api, "PUT /api/users/ann", r#"{"password": "secret", "tags": "management"}"#);
    ask(api, "PUT /api/permissions/%2F/ann", r#"{"configure": "^a", "write": "^b", "read": "^c"}"#);
    ask(api, "PUT /api/vhost-limits/%2F/max-queues", r#"{"value": 17}"#);
    broker.kill();
    let registry = home.path().join("registry.json");
    let content = fs::read(&registry).unwrap();
    for left in [0, content.len() / 2, content.len()] {
        fs::write(home.path().join("registry.json.new"), &content[..left]).unwrap();
        let (broker, api) = start();
        assert!(ask(api, "GET /api/permissions/%2F/ann", "").contains("\"^b\""));
        let limits = ask(api, "GET /api/vhost-limits", "");
        assert!(limits.contains("17"), "{limits}");
        ask(api, "PUT /api/vhost-limits/%2F/max-connections", r#"{"value": 23}"#);
        broker.kill();
        let (broker, api) = start();
        let limits = ask(api, "GET /api/vhost-limits", "");
        assert!(limits.contains("17") && limits.contains("23"), "{limits}");
        broker.kill();
    }
}

/// Where the API is, as the program said.
fn management_address(broker: &Process) -> SocketAddr {
    let start = "leveret management on http://";
    let address = broker.stdout().lines().find_map(|line| line.strip_prefix(start)).unwrap();
    address.strip_suffix("/api").unwrap().parse().unwrap()
}
