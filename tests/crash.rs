//! The program is killed at random moments while clients publish and acknowledge, and started again
//! on what is on its disk: nothing confirmed is lost, nothing settled comes back, the order stays.
//!
//! What is known of each message:
//!
//! ```text
//!   written ──► confirmed: must be there
//!      │            │
//!      │            └──► acknowledged: may be gone ──► settled: must be gone
//!      └── neither: may be there
//! ```
//!
//! An acknowledgement has no answer. It is settled when a message that its client published behind
//! it is confirmed: the broker's log keeps their order, and the confirm says that it is on disk.
//!
//! Every other disk is a heavy one: the queue has a backlog that is larger than what the broker may
//! have in memory, so that messages go through the disk on their way to the consumer.
//!
//! `LEVERET_CRASH_ROUNDS` sets how many rounds there are, `LEVERET_CRASH_SEED` repeats a run as far
//! as the machine does.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use crate::support::client::{Client, PERSISTENT, TRANSIENT, short};
use crate::support::process::{self, Process};
use leveret_codec::method::{basic, confirm};
use leveret_codec::table::TableBuilder;
use leveret_codec::{Method, Value, encode};
use tempfile::TempDir;

const QUEUE: &str = "numbers";
const FENCE: &str = "fence";
/// After so many rounds the next one begins with an empty data directory.
const ROUNDS_ON_A_DISK: u64 = 10;
/// Messages with numbers from here on are about [`HEAVY_OCTETS`] long each.
const HEAVY: u64 = 1 << 32;
const HEAVY_OCTETS: usize = 10_000;
/// How many of them are there before the first round on a heavy disk. With a memory limit of 32 MiB,
/// those beyond 8 MiB are on the disk.
const BACKLOG: u64 = 2_500;
/// How many messages the publisher lets go unconfirmed.
const UNCONFIRMED: u64 = 256;
/// How many messages the consumer may hold.
const PREFETCH: u16 = 100;
/// How many messages are asked for at once where all of them are looked at.
const FETCHED_A_TURN: u32 = 64;

/// The value of a variable, if it is set; a value that is no number fails the test.
fn number_from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect(name))
}

/// What the queue may hold and what it must.
#[derive(Default)]
struct Ledger {
    /// The next message's number; all below are written.
    next: u64,
    must: BTreeSet<u64>,
    may: BTreeSet<u64>,
}

impl Ledger {
    /// A round's publisher and consumer report.
    fn enter(&mut self, published: &Published, consumed: &Consumed) {
        let first = if published.next >= HEAVY { self.next.max(HEAVY) } else { self.next };
        self.may.extend(first..published.next);
        self.next = published.next;
        self.must.extend(&published.confirmed);
        self.may.extend(&published.confirmed);
        self.must.retain(|number| !consumed.acknowledged.contains(number));
        self.may.retain(|number| !consumed.settled.contains(number));
    }

    /// What is in the queue is checked, and from now on known.
    fn check(&mut self, found: &[u64]) {
        assert!(found.is_sorted_by(|a, b| a < b), "out of order, or twice: {found:?}");
        let found: BTreeSet<u64> = found.iter().copied().collect();
        let lost: Vec<&u64> = self.must.difference(&found).collect();
        assert!(lost.is_empty(), "confirmed and lost: {lost:?}");
        let back: Vec<&u64> = found.difference(&self.may).collect();
        assert!(back.is_empty(), "settled and back: {back:?}");
        self.must = found.clone();
        self.may = found;
    }
}

/// A data directory. That of a run that failed stays and is named: what happened is in it.
struct Home(TempDir);

impl Home {
    fn new() -> Self {
        Home(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.disable_cleanup(true);
            println!("the data directory is kept: {}", self.path().display());
        }
    }
}

#[test]
fn what_was_confirmed_is_there_after_a_kill_and_what_was_settled_is_not() {
    let rounds = number_from_environment("LEVERET_CRASH_ROUNDS").unwrap_or(100);
    let seed = number_from_environment("LEVERET_CRASH_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("LEVERET_CRASH_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);

    let mut home = Home::new();
    let mut ledger = Ledger::default();
    for round in 0..rounds {
        // Every start reads a log that every round makes longer.
        if round % ROUNDS_ON_A_DISK == 0 {
            (home, ledger) = (Home::new(), Ledger::default());
        }
        let (broker, address) = start(home.path(), LITTLE);
        declare(address);
        let heavy = round / ROUNDS_ON_A_DISK % 2 == 1;
        if heavy && round % ROUNDS_ON_A_DISK == 0 {
            ledger.enter(&fill(address), &Consumed::default());
        }
        let (first, seeds) = (ledger.next, (random.fork(), random.fork()));
        let (sender, connected) = channel();
        let senders = (sender.clone(), sender);
        let publisher = thread::spawn(move || publish(address, first, seeds.0, senders.0));
        let consumer = thread::spawn(move || consume(address, seeds.1, senders.1));
        for _ in 0..2 {
            connected.recv().expect("both clients can connect");
        }
        // The moment of the kill is what is tested; nothing is waited for.
        thread::sleep(Duration::from_millis(random.u64(0..400)));
        broker.kill();
        let (published, consumed) = (publisher.join().unwrap(), consumer.join().unwrap());
        println!(
            "round {round}: {} written, {} confirmed, {} acknowledged, {} of them settled",
            published.next - first,
            published.confirmed.len(),
            consumed.acknowledged.len(),
            consumed.settled.len()
        );
        ledger.enter(&published, &consumed);

        if random.bool() {
            kill_while_it_starts(home.path(), Duration::from_millis(random.u64(0..40)));
        }
        let (broker, address) = start(home.path(), ENOUGH);
        let found = contents(address);
        ledger.check(&found);
        broker.kill();

        // What was delivered and not acknowledged is there once more.
        let (broker, address) = start(home.path(), ENOUGH);
        assert_eq!(contents(address), found, "the second start finds something else");
        broker.kill();
    }
}

/// A broker with little memory.
const LITTLE: &str = "32MiB";
/// One that has room for all messages, none of which is acknowledged when they are looked at.
const ENOUGH: &str = "1GiB";

/// A broker with so much memory on this data directory.
fn command(data_dir: &Path, memory: &str) -> Command {
    let mut command =
        process::leveret(["--listen", "127.0.0.1:0", "--memory-limit", memory, "--data-dir"]);
    command.arg(data_dir);
    command
}

fn start(data_dir: &Path, memory: &str) -> (Process, SocketAddr) {
    let started = Process::start(command(data_dir, memory)).ready();
    started.unwrap_or_else(|ended| panic!("no start: {}", ended.stderr))
}

fn kill_while_it_starts(data_dir: &Path, after: Duration) {
    let starting = Process::start(command(data_dir, LITTLE));
    thread::sleep(after);
    starting.kill();
}

fn declare(address: SocketAddr) {
    let mut client = Client::connect(address);
    client.declare(QUEUE, true);
    // Of the messages that settle others one is enough; the rest is dropped at its head.
    let mut arguments = TableBuilder::default();
    arguments.push(b"x-max-length", &Value::I32(1));
    let declare = leveret_codec::method::queue::Declare {
        queue: short(FENCE),
        durable: true,
        arguments: arguments.as_table(),
        ..Default::default()
    };
    client.declared(&declare);
    client.close();
}

/// Publishes a backlog and waits until all of it is confirmed.
fn fill(address: SocketAddr) -> Published {
    let mut client = Client::connect(address);
    let selected = client.call(1, &confirm::Select::default());
    assert!(matches!(selected.method(), Method::ConfirmSelectOk(_)));
    let numbers = HEAVY..HEAVY + BACKLOG;
    for number in numbers.clone() {
        let mut octets = Vec::new();
        client.encode_publish(&mut octets, 1, ("", QUEUE), PERSISTENT, &body_of(number));
        client.send(&octets).unwrap();
    }
    let mut confirmed = 0;
    while confirmed < BACKLOG {
        let frame = client.frame();
        let Method::BasicAck(ack) = frame.method() else { panic!("{frame:?}") };
        confirmed = ack.delivery_tag;
    }
    client.close();
    Published { next: numbers.end, confirmed: numbers.collect() }
}

#[derive(Default)]
struct Published {
    next: u64,
    confirmed: BTreeSet<u64>,
}

/// Publishes numbers from `first` on until the broker is gone. Among them are messages that need
/// not survive, which must not be taken for any that must.
fn publish(
    address: SocketAddr,
    first: u64,
    mut random: fastrand::Rng,
    connected: Sender<()>,
) -> Published {
    let mut client = Client::connect(address);
    let selected = client.call(1, &confirm::Select::default());
    assert!(matches!(selected.method(), Method::ConfirmSelectOk(_)));
    connected.send(()).expect("the test waits for it");
    drop(connected);

    let mut published = Published { next: first, confirmed: BTreeSet::new() };
    // By sequence number, from 1: the number published, none for a transient one.
    let mut numbers: Vec<Option<u64>> = vec![None];
    let mut open = BTreeSet::new();
    let mut octets = Vec::new();
    loop {
        octets.clear();
        for _ in 0..random.u64(1..=64) {
            let transient = random.u8(..) < 16;
            open.insert(numbers.len());
            if transient {
                client.encode_publish(&mut octets, 1, ("", FENCE), TRANSIENT, b"passing");
                numbers.push(None);
            } else {
                let body = body_of(published.next);
                client.encode_publish(&mut octets, 1, ("", QUEUE), PERSISTENT, &body);
                numbers.push(Some(published.next));
                published.next += 1;
            }
        }
        let alive = client.send(&octets).is_ok();
        // After a failed write there may still be confirms to read, up to the end of the stream.
        while !alive || open.len() as u64 > UNCONFIRMED || client.has_input() {
            let Ok(Some(frame)) = client.read() else { return published };
            let Method::BasicAck(ack) = frame.method() else { panic!("{frame:?}") };
            let tag = ack.delivery_tag as usize;
            let acked = if ack.multiple { open.range(..=tag) } else { open.range(tag..=tag) };
            let acked: Vec<usize> = acked.copied().collect();
            for tag in acked {
                open.remove(&tag);
                published.confirmed.extend(numbers[tag]);
            }
        }
    }
}

#[derive(Default)]
struct Consumed {
    acknowledged: BTreeSet<u64>,
    settled: BTreeSet<u64>,
}

/// Takes messages until the broker is gone, acknowledges most of them, in any order, and settles
/// what it acknowledged now and then.
fn consume(address: SocketAddr, mut random: fastrand::Rng, connected: Sender<()>) -> Consumed {
    let mut client = Client::connect(address);
    client.open_channel(2);
    let selected = client.call(2, &confirm::Select::default());
    assert!(matches!(selected.method(), Method::ConfirmSelectOk(_)));
    client.consume(QUEUE, PREFETCH, false);
    connected.send(()).expect("the test waits for it");
    drop(connected);

    let mut consumed = Consumed::default();
    let mut held: Vec<(u64, u64)> = Vec::new();
    let mut last = None;
    // What each fence that is not confirmed yet settles.
    let mut fences: Vec<Vec<u64>> = Vec::new();
    let (mut passed, mut unfenced) = (0, Vec::new());
    loop {
        let Ok(Some(frame)) = client.read() else { return consumed };
        if let Method::BasicAck(ack) = frame.method() {
            assert_eq!(frame.channel, 2);
            let confirmed = ack.delivery_tag as usize;
            consumed.settled.extend(fences[passed..confirmed].iter().flatten());
            passed = confirmed;
            continue;
        }
        let Ok(Some(delivery)) = client.rest_of_delivery(&frame) else { return consumed };
        let number = number_of(&delivery.body);
        assert!(Some(number) > last, "{number} comes behind {last:?}");
        last = Some(number);
        held.push((delivery.delivery_tag, number));

        // Some are kept for a while; with all the prefetch held nothing more would come.
        let mut octets = Vec::new();
        while held.len() >= usize::from(PREFETCH) || (!held.is_empty() && random.u8(..) < 140) {
            let (delivery_tag, number) = held.swap_remove(random.usize(..held.len()));
            consumed.acknowledged.insert(number);
            unfenced.push(number);
            encode::method(&mut octets, 1, &basic::Ack { delivery_tag, multiple: false });
        }
        if random.u8(..) < 8 {
            client.encode_publish(&mut octets, 2, ("", FENCE), PERSISTENT, b"fence");
            fences.push(std::mem::take(&mut unfenced));
        }
        if client.send(&octets).is_err() {
            return consumed;
        }
    }
}

/// All that is in the queue, in order; it stays there.
///
/// It is fetched: to a consumer that acknowledges nothing the broker brings no more from the disk
/// than half of its memory holds, and a heavy backlog is more.
fn contents(address: SocketAddr) -> Vec<u64> {
    let mut client = Client::connect(address);
    assert!(client.count(FENCE) <= 1, "more fences than the queue may hold");
    let mut found = Vec::new();
    let mut left = client.count(QUEUE);
    while left > 0 {
        let turn = left.min(FETCHED_A_TURN);
        let mut octets = Vec::new();
        for _ in 0..turn {
            let get = basic::Get { queue: short(QUEUE), ..Default::default() };
            encode::method(&mut octets, 1, &get);
        }
        client.send(&octets).expect("the broker reads");
        found.extend((0..turn).map(|_| number_of(&client.delivery().body)));
        left -= turn;
    }
    found
}

/// A message: its number and a filling that depends on it. Most are small, some take many frames.
fn body_of(number: u64) -> Vec<u8> {
    if number >= HEAVY {
        let mut body = number.to_be_bytes().to_vec();
        body.resize(HEAVY_OCTETS + number as usize % 1000, number as u8);
        return body;
    }
    let mut random = fastrand::Rng::with_seed(number);
    let length = match random.u16(..1000) {
        0 => random.usize(..300_000),
        1..20 => random.usize(..20_000),
        _ => random.usize(..200),
    };
    let mut body = number.to_be_bytes().to_vec();
    body.extend((0..length).map(|place| (number as usize + place) as u8));
    body
}

fn number_of(body: &[u8]) -> u64 {
    let number = u64::from_be_bytes(*body.first_chunk().expect("every body has a number"));
    assert!(body == body_of(number), "the body of {number} is damaged");
    number
}
