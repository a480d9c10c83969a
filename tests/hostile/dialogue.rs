//! What well-behaved clients say, frame by frame, and how it comes out when they go mad.

use fastrand::Rng;
use leveret_codec::method::{basic, channel, confirm, connection, exchange, queue, tx};
use leveret_codec::table::{ArrayBuilder, TableBuilder};
use leveret_codec::{Encode, PropertyFields, ShortStr, TableBuf, Value, encode, frame};

/// Octets as they are sent at once: the protocol header or a frame.
pub(crate) type Piece = Vec<u8>;

fn s(text: &'static str) -> ShortStr<'static> {
    ShortStr::from_static(text)
}

#[allow(clippy::needless_pass_by_value, reason = "a method is written where it is said")]
fn m(channel: u16, method: impl Encode) -> Piece {
    let mut octets = Vec::new();
    encode::method(&mut octets, channel, &method);
    octets
}

fn table(entries: &[(&str, Value<'_>)]) -> TableBuf {
    let mut table = TableBuilder::default();
    for (name, value) in entries {
        table.push(name.as_bytes(), value);
    }
    table.finish()
}

/// From the protocol header to a connection with the channels 1 and 2 open.
pub(crate) fn handshake() -> Vec<Piece> {
    let capabilities = table(&[
        ("consumer_cancel_notify", Value::Bool(true)),
        ("connection.blocked", Value::Bool(true)),
        ("authentication_failure_close", Value::Bool(true)),
    ]);
    let properties = table(&[
        ("capabilities", Value::Table(capabilities.as_table())),
        ("product", Value::LongStr(b"hostile")),
    ]);
    vec![
        frame::PROTOCOL_HEADER.to_vec(),
        m(
            0,
            connection::StartOk {
                client_properties: properties.as_table(),
                mechanism: s("PLAIN"),
                response: b"\0guest\0guest",
                locale: s("en_US"),
            },
        ),
        m(0, connection::TuneOk { channel_max: 20, frame_max: 8192, heartbeat: 0 }),
        m(0, connection::Open { virtual_host: s("/"), ..Default::default() }),
        m(1, channel::Open::default()),
        m(2, channel::Open::default()),
    ]
}

/// A publish with its content, a piece for each frame.
pub(crate) fn publish(
    channel: u16,
    to: (&'static str, &'static str),
    fields: PropertyFields<'_>,
    body: &[u8],
) -> Vec<Piece> {
    let (exchange, routing_key) = (s(to.0), s(to.1));
    let publish = basic::Publish { exchange, routing_key, mandatory: true, ..Default::default() };
    let (mut properties, mut header) = (Vec::new(), Vec::new());
    fields.encode(&mut properties);
    encode::content_header(&mut header, channel, body.len() as u64, &properties);
    let mut pieces = vec![m(channel, publish), header];
    for part in body.chunks(8000) {
        let mut piece = Vec::new();
        encode::body(&mut piece, channel, part, 8192);
        pieces.push(piece);
    }
    pieces
}

fn declare(channel: u16, name: &'static str, durable: bool, arguments: &TableBuf) -> Piece {
    let arguments = arguments.as_table();
    m(channel, queue::Declare { queue: s(name), durable, arguments, ..Default::default() })
}

fn bind(exchange: &'static str, name: &'static str, arguments: &TableBuf) -> Piece {
    m(
        1,
        queue::Bind {
            queue: s(name),
            exchange: s(exchange),
            routing_key: s("a.*.#"),
            arguments: arguments.as_table(),
            ..Default::default()
        },
    )
}

fn consume(channel: u16, name: &'static str, tag: &'static str, no_ack: bool) -> Piece {
    let consume =
        basic::Consume { queue: s(name), consumer_tag: s(tag), no_ack, ..Default::default() };
    m(channel, consume)
}

/// Every dialogue, without its handshake.
pub(crate) fn dialogues() -> Vec<Vec<Piece>> {
    vec![
        work(),
        confirms(),
        transactions(),
        routing(),
        arguments(),
        fetching(),
        answers(),
        closing(),
    ]
}

/// Publish, consume, acknowledge in every way.
fn work() -> Vec<Piece> {
    let persistent = PropertyFields { delivery_mode: Some(2), ..Default::default() };
    let mut pieces = vec![
        declare(1, "work", true, &TableBuf::default()),
        m(1, basic::Qos { prefetch_count: 3, ..Default::default() }),
        consume(1, "work", "worker", false),
    ];
    for _ in 0..3 {
        pieces.extend(publish(2, ("", "work"), persistent, b"some work"));
        pieces.extend(publish(2, ("", "work"), PropertyFields::default(), b""));
    }
    pieces.extend(publish(2, ("", "work"), persistent, &[b'x'; 20_000]));
    pieces.extend([
        m(1, basic::Ack { delivery_tag: 1, multiple: false }),
        m(1, basic::Nack { delivery_tag: 2, multiple: false, requeue: true }),
        m(1, basic::Reject { delivery_tag: 3, requeue: false }),
        m(1, basic::Recover { requeue: true }),
        m(1, basic::Ack { delivery_tag: 0, multiple: true }),
        m(1, basic::Cancel { consumer_tag: s("worker"), nowait: false }),
    ]);
    pieces
}

fn confirms() -> Vec<Piece> {
    let mut pieces = vec![
        m(1, confirm::Select { nowait: false }),
        declare(1, "safe", true, &TableBuf::default()),
    ];
    let persistent = PropertyFields { delivery_mode: Some(2), ..Default::default() };
    for to in [("", "safe"), ("", "nowhere"), ("amq.direct", "safe"), ("no exchange", "")] {
        pieces.extend(publish(1, to, persistent, b"surely"));
    }
    pieces
}

fn transactions() -> Vec<Piece> {
    let mut pieces = vec![m(1, tx::Select {}), declare(1, "bank", true, &TableBuf::default())];
    pieces.extend(publish(1, ("", "bank"), PropertyFields::default(), b"one"));
    pieces.push(m(1, tx::Commit {}));
    pieces.push(m(1, basic::Get { queue: s("bank"), ..Default::default() }));
    pieces.push(m(1, basic::Ack { delivery_tag: 1, multiple: false }));
    pieces.extend(publish(1, ("", "bank"), PropertyFields::default(), b"two"));
    pieces.push(m(1, tx::Rollback {}));
    pieces.push(m(1, basic::Nack { delivery_tag: 1, multiple: false, requeue: true }));
    pieces.push(m(1, tx::Commit {}));
    pieces
}

/// Exchanges of all kinds and what flows through them.
fn routing() -> Vec<Piece> {
    let mut pieces = Vec::new();
    let kinds = ["direct", "fanout", "topic", "headers", "x-consistent-hash", "x-random"];
    for (kind, name) in kinds.into_iter().zip(["e0", "e1", "e2", "e3", "e4", "e5"]) {
        let alternate = table(&[("alternate-exchange", Value::LongStr(b"amq.fanout"))]);
        pieces.push(m(
            1,
            exchange::Declare {
                exchange: s(name),
                kind: s(kind),
                durable: true,
                auto_delete: true,
                arguments: alternate.as_table(),
                ..Default::default()
            },
        ));
    }
    let nothing = TableBuf::default();
    let match_all = table(&[("x-match", Value::LongStr(b"all")), ("n", Value::I32(7))]);
    pieces.extend([
        declare(1, "r", false, &nothing),
        bind("e0", "r", &nothing),
        bind("e2", "r", &nothing),
        bind("e3", "r", &match_all),
        m(
            1,
            exchange::Bind {
                destination: s("e2"),
                source: s("e1"),
                routing_key: s("a.b"),
                ..Default::default()
            },
        ),
    ]);
    let mut cc = ArrayBuilder::default();
    cc.push(&Value::LongStr(b"r")).push(&Value::LongStr(b"a.b.c"));
    let headers = table(&[("n", Value::I32(7)), ("CC", Value::Array(cc.as_array()))]);
    for exchange in ["e0", "e1", "e2", "e3", "e4", "e5"] {
        let fields = PropertyFields { headers: Some(headers.as_table()), ..Default::default() };
        pieces.extend(publish(1, (exchange, "a.b.c"), fields, b"routed"));
    }
    pieces.extend([
        m(
            1,
            queue::Unbind {
                queue: s("r"),
                exchange: s("e2"),
                routing_key: s("a.*.#"),
                ..Default::default()
            },
        ),
        m(
            1,
            exchange::Unbind {
                destination: s("e2"),
                source: s("e1"),
                routing_key: s("a.b"),
                ..Default::default()
            },
        ),
        m(1, exchange::Delete { exchange: s("e1"), ..Default::default() }),
    ]);
    pieces
}

/// Queues of which much is asked: limits, times, dead letters, priorities.
fn arguments() -> Vec<Piece> {
    let limited = table(&[
        ("x-max-length", Value::I32(2)),
        ("x-message-ttl", Value::I32(1000)),
        ("x-dead-letter-exchange", Value::LongStr(b"")),
        ("x-dead-letter-routing-key", Value::LongStr(b"limited")),
        ("x-max-priority", Value::U8(5)),
        ("x-expires", Value::I64(60_000)),
    ]);
    let single = table(&[
        ("x-single-active-consumer", Value::Bool(true)),
        ("x-queue-type", Value::LongStr(b"quorum")),
        ("x-delivery-limit", Value::I32(1)),
    ]);
    let delayed = table(&[("x-delayed-type", Value::LongStr(b"fanout"))]);
    let mut pieces = vec![
        declare(1, "limited", false, &limited),
        declare(1, "single", true, &single),
        m(
            1,
            exchange::Declare {
                exchange: s("later"),
                kind: s("x-delayed-message"),
                durable: true,
                arguments: delayed.as_table(),
                ..Default::default()
            },
        ),
        bind("later", "limited", &TableBuf::default()),
    ];
    let headers = table(&[("x-delay", Value::I32(50))]);
    for priority in 0..4 {
        let fields = PropertyFields {
            priority: Some(priority),
            expiration: Some(s("10")),
            headers: Some(headers.as_table()),
            ..Default::default()
        };
        pieces.extend(publish(1, ("", "limited"), fields, b"urgent"));
        pieces.extend(publish(1, ("later", ""), fields, b"not urgent"));
        pieces.extend(publish(1, ("", "single"), PropertyFields::default(), b"once"));
    }
    pieces.extend([
        consume(1, "single", "s1", false),
        consume(2, "single", "s2", false),
        m(1, basic::Reject { delivery_tag: 1, requeue: true }),
        m(1, basic::Reject { delivery_tag: 2, requeue: true }),
    ]);
    pieces
}

fn fetching() -> Vec<Piece> {
    let mut pieces = vec![declare(1, "store", false, &TableBuf::default())];
    for _ in 0..5 {
        pieces.extend(publish(1, ("", "store"), PropertyFields::default(), b"thing"));
    }
    for no_ack in [true, false, false] {
        pieces.push(m(1, basic::Get { queue: s("store"), no_ack, ..Default::default() }));
    }
    pieces.extend([
        m(1, basic::Nack { delivery_tag: 3, multiple: true, requeue: true }),
        m(1, queue::Purge { queue: s("store"), ..Default::default() }),
        m(1, queue::Delete { queue: s("store"), if_empty: true, ..Default::default() }),
        m(1, queue::Declare { exclusive: true, ..Default::default() }),
    ]);
    pieces
}

/// Direct reply-to, flow, and whatever else is answered.
fn answers() -> Vec<Piece> {
    let mut pieces = vec![
        consume(1, "amq.rabbitmq.reply-to", "", true),
        declare(1, "rpc", false, &TableBuf::default()),
        consume(2, "rpc", "", true),
        m(1, channel::Flow { active: true }),
    ];
    let reply_to = Some(s("amq.rabbitmq.reply-to"));
    let fields = PropertyFields { reply_to, ..Default::default() };
    pieces.extend(publish(1, ("", "rpc"), fields, b"ask"));
    // Frames of two channels between each other.
    let one = publish(1, ("", "rpc"), fields, &[b'1'; 10_000]);
    let two = publish(2, ("", "rpc"), fields, &[b'2'; 10_000]);
    pieces.extend(one.into_iter().zip(two).flat_map(|(one, two)| [one, two]));
    pieces
}

fn closing() -> Vec<Piece> {
    let mut pieces =
        vec![declare(1, "last", false, &TableBuf::default()), consume(1, "last", "c", false)];
    pieces.extend(publish(2, ("", "last"), PropertyFields::default(), b"words"));
    pieces.extend([
        m(1, channel::Close { reply_code: 200, ..Default::default() }),
        m(1, channel::Open::default()),
        consume(1, "last", "c", false),
        m(1, basic::Ack { delivery_tag: 77, multiple: false }),
        m(1, channel::CloseOk {}),
        m(0, connection::UpdateSecret { new_secret: b"guest", reason: s("time") }),
        m(0, connection::Close { reply_code: 200, ..Default::default() }),
    ]);
    pieces
}

/// A dialogue that begins like one of the good ones and has a few mistakes in it.
pub(crate) fn mad(rng: &mut Rng) -> Vec<Piece> {
    let dialogues = dialogues();
    let mut pieces = handshake();
    let sane = if rng.u8(..) < 50 { 0 } else { pieces.len() };
    for _ in 0..rng.usize(1..3) {
        pieces.extend(dialogues[rng.usize(..dialogues.len())].clone());
    }
    for _ in 0..rng.usize(1..8) {
        if pieces.len() > sane {
            let place = rng.usize(sane..pieces.len());
            mutate(rng, &mut pieces, place);
        }
    }
    pieces
}

fn mutate(rng: &mut Rng, pieces: &mut Vec<Piece>, place: usize) {
    let other = rng.usize(..pieces.len());
    let piece = &mut pieces[place];
    let length = piece.len();
    match rng.u8(..12) {
        _ if length < frame::OVERHEAD => {}
        // A bit anywhere; one in the payload leaves a frame; an extreme octet.
        0 => piece[rng.usize(..length)] ^= 1 << rng.u8(..8),
        1 | 2 if length > frame::OVERHEAD => {
            piece[rng.usize(frame::HEAD..length - 1)] ^= 1 << rng.u8(..8);
        }
        3 if length > frame::OVERHEAD => {
            let extreme = [0, 1, 0x7f, 0x80, 0xff][rng.usize(..5)];
            piece[rng.usize(frame::HEAD..length - 1)] = extreme;
        }
        4 => piece.truncate(rng.usize(..length)),
        // Another length of the payload, and a frame all the same.
        5 => {
            let mut payload = piece[frame::HEAD..length - 1].to_vec();
            payload.truncate(rng.usize(..=payload.len()));
            payload.extend((0..rng.usize(..8)).map(|_| rng.u8(..)));
            *piece = framed(piece[0], u16::from(piece[2]), &payload);
        }
        6 => piece[2] = rng.u8(..4),
        7 => piece[3 + rng.usize(..4)] = rng.u8(..),
        8 => {
            let copy = pieces[place].clone();
            pieces.insert(other, copy);
        }
        9 => pieces.swap(place, other),
        10 => {
            pieces.remove(place);
        }
        _ => {
            let payload: Vec<u8> = (0..rng.usize(..40)).map(|_| rng.u8(..)).collect();
            let kind = [1, 2, 3, 8, rng.u8(..)][rng.usize(..5)];
            pieces.insert(place, framed(kind, u16::from(rng.u8(..4)), &payload));
        }
    }
}

pub(crate) fn framed(kind: u8, channel: u16, payload: &[u8]) -> Piece {
    let mut octets = vec![kind];
    octets.extend(channel.to_be_bytes());
    octets.extend((payload.len() as u32).to_be_bytes());
    octets.extend(payload);
    octets.push(frame::END);
    octets
}
