//! Input that is cut, changed or made up: more is asked for, or it is a value or an error, and
//! never a panic or a read without end.

use leveret_codec::method::basic;
use leveret_codec::table::{Array, Table, Value};
use leveret_codec::{ContentHeader, Decoder, Method, Properties, frame};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::facts;

/// All methods, contents with many properties, and a heartbeat, as frames.
fn frames() -> Vec<Vec<u8>> {
    let method = |payload: &[u8]| facts::frame(frame::METHOD, 1, payload);
    let mut frames: Vec<_> =
        facts::samples().into_iter().map(|sample| method(&sample.payload)).collect();
    for properties in [
        &b"\x00\x00"[..],
        b"\x10\x00\x02",
        b"\xb4@\x04text\x00\x00\x00\x09\x03hopI\x00\x00\x00\x01\x02\x02c1\x00\x00\x00\x00_^\x10\x00",
        b"\x20\x00\x00\x00\x00\x2b\x01aF\x00\x00\x00\x11\x01bA\x00\x00\x00\x0aS\x00\x00\x00\x01xVt\x01\
          V\x01cD\x01\x00\x00\x00\x02\x01dd\x40\x04\x00\x00\x00\x00\x00\x00",
    ] {
        let header = [&b"\x00\x3c\x00\x00\x00\x00\x00\x00\x00\x00\x00\x05"[..], properties].concat();
        frames.push(facts::frame(frame::HEADER, 1, &header));
    }
    frames.push(facts::frame(frame::BODY, 1, b"hello"));
    frames.push(facts::frame(frame::HEARTBEAT, 0, b""));
    frames
}

/// Reads all that can be read from one frame, and says whether all of it was good.
fn take_apart(frame: frame::Frame<'_>) -> bool {
    match frame.kind {
        frame::METHOD => match Method::decode(frame.payload) {
            Ok(method) => {
                publish_is_told(frame.payload, &method);
                let mut out = Vec::new();
                method.encode(&mut out);
                assert_eq!(Method::decode(&out), Ok(method));
                true
            }
            Err(error) => {
                assert_eq!(basic::Publish::from_payload(frame.payload), None);
                assert!(!error.to_string().is_empty());
                false
            }
        },
        frame::HEADER => ContentHeader::decode(frame.payload)
            .is_some_and(|header| take_properties_apart(header.properties)),
        _ => true,
    }
}

/// The two ways to decode a publish agree.
fn publish_is_told(payload: &[u8], method: &Method<'_>) {
    let publish = match method {
        Method::BasicPublish(publish) => Some(*publish),
        _ => None,
    };
    assert_eq!(basic::Publish::from_payload(payload), publish);
}

fn take_properties_apart(bytes: &[u8]) -> bool {
    // Reading without a check must be safe whatever the octets are.
    let unchecked = Properties::from_checked(bytes);
    assert_eq!(unchecked.fields().headers, unchecked.headers());
    assert_eq!(unchecked.fields().cluster_id, unchecked.cluster_id());
    if let Some(headers) = unchecked.headers() {
        walk(headers);
    }
    assert!(!format!("{unchecked:?}").is_empty());

    let Ok(properties) = Properties::parse(bytes) else { return false };
    let mut encoded = Vec::new();
    properties.fields().encode(&mut encoded);
    let again = Properties::parse(&encoded).expect("fields that were read can be written");
    assert_eq!(format!("{again:?}"), format!("{properties:?}"));
    true
}

fn walk(table: Table<'_>) {
    for entry in table.iter() {
        walk_value(entry.value);
    }
}

fn walk_array(array: Array<'_>) {
    array.iter().for_each(walk_value);
}

fn walk_value(value: Value<'_>) {
    match value {
        Value::Table(table) => walk(table),
        Value::Array(array) => walk_array(array),
        _ => {}
    }
}

#[test]
fn every_frame_of_the_tests_is_good() {
    let decoder = Decoder::new(4096);
    for bytes in frames() {
        let (frame, length) = decoder.decode(&bytes).unwrap().unwrap();
        assert_eq!(length, bytes.len());
        assert!(take_apart(frame), "{bytes:?}");
    }
}

#[test]
fn wherever_a_stream_is_cut_more_is_asked_for() {
    let decoder = Decoder::new(4096);
    let stream = frames().concat();
    let ends: Vec<usize> = frames()
        .iter()
        .scan(0, |end, frame| {
            *end += frame.len();
            Some(*end)
        })
        .collect();
    let mut start = 0;
    for cut in 0..=stream.len() {
        while let Some((_, length)) = decoder.decode(&stream[start..cut]).expect("never an error") {
            start += length;
        }
        let whole = ends.iter().copied().filter(|end| *end <= cut).max().unwrap_or(0);
        assert_eq!(start, whole, "cut after {cut} octets");
    }
}

#[test]
fn every_changed_octet_is_a_value_or_an_error() {
    let decoder = Decoder::new(4096);
    for mut bytes in frames() {
        for at in 0..bytes.len() {
            let was = bytes[at];
            for octet in 0..=u8::MAX {
                bytes[at] = octet;
                match decoder.decode(&bytes) {
                    Ok(Some((frame, length))) => {
                        assert!(length <= bytes.len());
                        take_apart(frame);
                    }
                    Ok(None) => {}
                    Err(error) => assert!(!error.to_string().is_empty()),
                }
            }
            bytes[at] = was;
        }
    }
}

proptest! {
    #[test]
    fn random_octets(bytes in vec(any::<u8>(), 0..200), ids in 0usize..66) {
        let mut rest = &bytes[..];
        while let Ok(Some((frame, length))) = Decoder::new(0).decode(rest) {
            prop_assert!(length >= frame::OVERHEAD && length <= rest.len());
            take_apart(frame);
            rest = &rest[length..];
        }
        let fact = facts::facts()[ids];
        let mut payload = facts::payload(&fact, &[]);
        payload.extend_from_slice(&bytes);
        take_apart(frame::Frame { kind: frame::METHOD, channel: 1, payload: &payload });
        take_properties_apart(&bytes);
        if let Ok(table) = Table::parse(&bytes) {
            walk(table);
        }
    }

    /// Octets that look like a table get further than any octets.
    #[test]
    fn almost_tables(octets in vec(proptest::sample::select(&b"\x00\x01\x02atFASVTbl"[..]), 0..120)) {
        match Table::parse(&octets) {
            Ok(table) => {
                walk(table);
                let read: usize = table.iter().map(|entry| entry.raw().len()).sum();
                prop_assert_eq!(read, octets.len());
            }
            Err(error) => prop_assert!(error.offset <= octets.len()),
        }
    }
}
