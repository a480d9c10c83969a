//! Tables that lie in each other ten thousand deep, wherever a client may put one: nobody's stack is
//! as deep. What lies 64 deep is taken, and walked by everybody who walks tables.

use leveret::definitions::field_table;
use leveret_codec::method::{basic, connection, exchange, queue};
use leveret_codec::table::MAX_DEPTH;
use leveret_codec::{Encode, PropertyFields, ShortStr, Table, Value, encode, frame};

use super::dialogue::{Piece, handshake};
use super::machine::Machine;
use super::methods;

const DEPTH: usize = 10_000;

fn s(text: &'static str) -> ShortStr<'static> {
    ShortStr::from_static(text)
}

/// The entries of a table with `depth - 1` tables in each other in it, by hand: a builder copies
/// them again and again.
fn nested(depth: usize) -> Vec<u8> {
    let mut entries = Vec::new();
    for level in 1..depth {
        // A name of one octet, a tag, a size.
        let inner = (depth - level - 1) * 7;
        entries.extend(b"\x01aF");
        entries.extend((inner as u32).to_be_bytes());
    }
    entries
}

/// A method with a table in it, whose octets are put in by hand: no builder makes such a table.
fn with_table(channel: u16, method: &impl Encode, entries: &[u8]) -> Piece {
    let mut octets = Vec::new();
    encode::method(&mut octets, channel, method);
    // The empty table is the last that these methods have.
    octets.truncate(octets.len() - 5);
    octets.extend((entries.len() as u32).to_be_bytes());
    octets.extend(entries);
    octets.push(frame::END);
    let size = (octets.len() - frame::OVERHEAD) as u32;
    octets[3..7].copy_from_slice(&size.to_be_bytes());
    octets
}

/// A machine with a client that may send frames of 128 KiB.
fn open() -> (Machine, usize) {
    let mut machine = Machine::new();
    let wire = machine.connect();
    let mut pieces = handshake();
    let tune_ok = connection::TuneOk { channel_max: 20, frame_max: 131_072, heartbeat: 0 };
    pieces[2].clear();
    encode::method(&mut pieces[2], 0, &tune_ok);
    pieces.iter().for_each(|piece| machine.feed(wire, piece));
    machine.take_output(wire);
    (machine, wire)
}

/// Publishes with these headers.
fn publish(exchange: &'static str, headers: &[u8]) -> Vec<u8> {
    let mut octets = Vec::new();
    let publish = basic::Publish { exchange: s(exchange), ..Default::default() };
    encode::method(&mut octets, 1, &publish);
    // The flag of headers, and the table.
    let mut properties = vec![0x20, 0];
    properties.extend((headers.len() as u32).to_be_bytes());
    properties.extend(headers);
    encode::content_header(&mut octets, 1, 0, &properties);
    octets
}

fn declare() -> queue::Declare<'static> {
    queue::Declare { queue: s("q"), ..Default::default() }
}

fn bind() -> queue::Bind<'static> {
    queue::Bind { queue: s("q"), exchange: s("amq.headers"), ..Default::default() }
}

#[test]
fn a_table_ten_thousand_deep_is_refused_wherever_it_comes() {
    let deep = nested(DEPTH);
    assert!(Table::parse(&deep).is_err());
    assert!(Table::parse(&nested(MAX_DEPTH)).is_ok());
    let exchange = exchange::Declare { exchange: s("e"), kind: s("fanout"), ..Default::default() };
    let consume = basic::Consume { queue: s("q"), ..Default::default() };
    let frames = [
        with_table(1, &declare(), &deep),
        with_table(1, &bind(), &deep),
        with_table(1, &exchange, &deep),
        with_table(1, &consume, &deep),
    ];
    for octets in frames {
        let (mut machine, wire) = open();
        machine.feed(wire, &octets);
        // rabbitmq: its reader dies of such a table, without a word.
        assert!(machine.has_ended(wire));
        machine.end();
    }
    let (mut machine, wire) = open();
    machine.feed(wire, &publish("", &deep));
    assert_eq!(methods(&machine.take_output(wire)), ["connection.close"]);
    machine.end();
}

#[test]
fn a_table_as_deep_as_may_be_is_matched_compared_and_shown() {
    let deep = nested(MAX_DEPTH);
    let (mut machine, wire) = open();
    for _ in 0..2 {
        // The second time it is compared with what was declared.
        machine.feed(wire, &with_table(1, &declare(), &deep));
        machine.feed(wire, &with_table(1, &bind(), &deep));
    }
    machine.feed(wire, &publish("amq.headers", &deep));
    let mut get = Vec::new();
    encode::method(&mut get, 1, &basic::Get { queue: s("q"), ..Default::default() });
    machine.feed(wire, &get);
    let heard = methods(&machine.take_output(wire));
    let answers = ["queue.declare-ok", "queue.bind-ok"];
    assert_eq!(heard, [&answers[..], &answers, &["basic.get-ok"]].concat());
    machine.end();

    let table = Table::parse(&deep).unwrap();
    let json = field_table::to_json(table);
    assert_eq!(field_table::from_json(&json).unwrap().as_table(), table);
    assert_eq!(format!("{table:?}").matches("Table(").count(), MAX_DEPTH - 1);
    assert_eq!(table.find(b"a"), Some(Value::Table(Table::parse(&deep[7..]).unwrap())));
    let fields = PropertyFields { headers: Some(table), ..Default::default() };
    assert_eq!(fields, fields);
}

#[test]
fn json_ten_thousand_deep_is_refused() {
    let text = format!("{}{}", "{\"a\":".repeat(DEPTH), "0".to_owned() + &"}".repeat(DEPTH));
    assert!(leveret::definitions::Definitions::parse(text.as_bytes()).is_err());
}
