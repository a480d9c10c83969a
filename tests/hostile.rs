//! Clients that say anything at all, at every stage of a connection: bits flipped, frames cut,
//! doubled, moved, on wrong channels, of wrong sizes, made of noise.
//!
//! Without sockets first, fast and with everything counted again after each step; then against a
//! running broker, with an honest client beside them that must not notice. `LEVERET_HOSTILE_SEEDS`
//! says how many seeds the first part takes.

mod deep;
mod dialogue;
mod machine;
mod sockets;
use std::sync::Arc;

use dialogue::{dialogues, handshake, mad};
use fastrand::Rng;
use leveret::broker::record::Record;
use leveret::broker::time::Time;
use leveret::broker::vhost::{Vhost, VhostSettings};
use leveret::store::{MemoryDisk, Options, Store};
use leveret_codec::{Decoder, Method, PropertyFields};
use machine::Machine;

/// The methods among these frames.
fn methods(octets: &[u8]) -> Vec<&'static str> {
    let mut rest = octets;
    let mut names = Vec::new();
    while let Ok(Some((frame, length))) = Decoder::new(0).decode(rest) {
        if frame.kind == leveret_codec::frame::METHOD {
            names.push(Method::decode(frame.payload).unwrap().name());
        }
        rest = &rest[length..];
    }
    names
}

#[test]
fn dialogues_that_nobody_changed_are_answered() {
    for dialogue in dialogues() {
        let mut machine = Machine::new();
        let wire = machine.connect();
        for piece in handshake() {
            machine.feed(wire, &piece);
        }
        let opened = methods(&machine.take_output(wire));
        let expected = ["start", "tune", "open-ok"].map(|name| format!("connection.{name}"));
        assert_eq!(opened[..3], expected);
        for piece in dialogue {
            machine.feed(wire, &piece);
        }
        let answers = methods(&machine.take_output(wire));
        assert!(answers.len() > 3, "{answers:?}");
        assert!(!answers.contains(&"connection.close"), "{answers:?}");
        machine.end();
    }
}

/// Two mad clients and an honest one, in turns.
fn live(seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let mut machine = Machine::new();
    let honest = machine.connect();
    for piece in handshake() {
        machine.feed(honest, &piece);
    }
    for piece in honest_begin() {
        machine.feed(honest, &piece);
    }
    machine.take_output(honest);
    let mut heard = Vec::new();
    for turn in 0..2u8 {
        let wires = [machine.connect(), machine.connect()];
        let streams = [mad(&mut rng).concat(), mad(&mut rng).concat()];
        let mut rest = streams.each_ref().map(Vec::as_slice);
        while rest.iter().any(|rest| !rest.is_empty()) {
            let which = rng.usize(..2);
            let piece = rng.usize(..=rest[which].len().min(4000));
            let (now, later) = rest[which].split_at(piece);
            machine.feed(wires[which], now);
            rest[which] = later;
            if rng.u8(..) < 10 {
                machine.pass_ms(rng.u64(..2000));
            }
        }
        let message = [turn; 10];
        for piece in dialogue::publish(1, ("", "honest"), PropertyFields::default(), &message) {
            machine.feed(honest, &piece);
        }
        heard.push(message.to_vec());
        if rng.bool() {
            machine.disconnect(wires[rng.usize(..2)]);
        }
    }
    assert!(!machine.has_ended(honest));
    assert_eq!(sockets::bodies(&machine.take_output(honest)), heard);
    assert_recoverable(&machine.take_records());
    machine.end();
}

/// What mad clients made durable is no worse than what others did.
fn assert_recoverable(records: &[Record]) {
    let disk = MemoryDisk::default();
    let open = |disk| Store::open(Arc::new(disk), Options::default()).unwrap();
    let (mut store, ..) = open(disk.clone());
    store.write(records).unwrap();
    drop(store);
    let (_store, recovered, report) = open(disk.kill());
    assert!(report.cuts.is_empty(), "{report}");
    let mut vhost = Vhost::new("/", &VhostSettings::default());
    assert_eq!(vhost.recover(Time::from_millis(1_000_000), recovered), []);
    vhost.check_counters();
}

fn honest_begin() -> Vec<dialogue::Piece> {
    use leveret_codec::method::{basic, queue};
    use leveret_codec::{ShortStr, encode};
    let queue = ShortStr::from_static("honest");
    let declare = queue::Declare { queue, exclusive: true, ..Default::default() };
    let consume = basic::Consume { queue, no_ack: true, ..Default::default() };
    let mut octets = [Vec::new(), Vec::new()];
    encode::method(&mut octets[0], 1, &declare);
    encode::method(&mut octets[1], 1, &consume);
    octets.into()
}

#[test]
fn whatever_clients_say_the_broker_adds_up() {
    let seeds = std::env::var("LEVERET_HOSTILE_SEEDS").ok().and_then(|it| it.parse().ok());
    for seed in 0..seeds.unwrap_or(1_000) {
        let lived = std::panic::catch_unwind(|| live(seed));
        assert!(lived.is_ok(), "with the seed {seed}");
    }
}
