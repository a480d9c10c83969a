use super::*;
use crate::error::TableErrorKind::{TooDeep, Truncated, UnknownTag};

fn error(entries: &[u8]) -> (usize, TableErrorKind) {
    let error = Table::parse(entries).expect_err("the table is broken");
    (error.offset, error.kind)
}

/// Every type, in the order of the `Value`s that `every_value` expects.
const EVERY_TYPE: &[u8] = b"\x01at\x01\x01bb\xff\x01cB\xff\x01ds\xff\xfe\x01eu\xff\xfe\
    \x01fI\xff\xff\xff\xfd\x01gi\xff\xff\xff\xfd\x01hl\xff\xff\xff\xff\xff\xff\xff\xfc\
    \x01if\x3f\xc0\x00\x00\x01jd\x40\x04\x00\x00\x00\x00\x00\x00\x01kD\x02\x00\x00\x01\x3a\
    \x01lS\x00\x00\x00\x02hi\x01mx\x00\x00\x00\x01\x00\x01nT\x00\x00\x00\x00\x5f\x5e\x10\x00\
    \x01oF\x00\x00\x00\x04\x01zt\x00\x01pA\x00\x00\x00\x03Vb\x05\x01qV";

fn every_value() -> Vec<Value<'static>> {
    vec![
        Value::Bool(true),
        Value::I8(-1),
        Value::U8(255),
        Value::I16(-2),
        Value::U16(65534),
        Value::I32(-3),
        Value::U32(u32::MAX - 2),
        Value::I64(-4),
        Value::F32(1.5),
        Value::F64(2.5),
        Value::Decimal { scale: 2, value: 314 },
        Value::LongStr(b"hi"),
        Value::Bytes(b"\x00"),
        Value::Timestamp(1_600_000_000),
        Value::Table(Table(b"\x01zt\x00")),
        Value::Array(Array::unchecked(b"Vb\x05")),
        Value::Void,
    ]
}

#[test]
fn every_type_is_read_and_written() {
    let table = Table::parse(EVERY_TYPE).unwrap();
    let values: Vec<_> = table.iter().map(|entry| entry.value).collect();
    assert_eq!(values, every_value());

    let mut builder = TableBuilder::default();
    for (name, value) in (b'a'..).zip(every_value()) {
        builder.push(&[name], &value);
    }
    assert_eq!(builder.as_bytes(), EVERY_TYPE);
    assert_eq!(builder.finish().as_table(), table);
}

#[test]
fn tags_and_names_are_those_of_rabbitmq() {
    let tags: Vec<u8> = every_value().iter().map(Value::tag).collect();
    assert_eq!(tags, b"tbBsuIilfdDSxTFAV");
    let names: Vec<_> = every_value().iter().map(Value::type_name).collect();
    let expected = "bool byte unsignedbyte short unsignedshort signedint unsignedint long float \
                    double decimal longstr binary timestamp table array void";
    assert_eq!(names.join(" "), expected);
}

#[test]
fn only_integers_are_integers() {
    let integers: Vec<_> = every_value().iter().map(Value::as_i64).collect();
    let mut expected =
        vec![None, Some(-1), Some(255), Some(-2), Some(65534), Some(-3), Some(4_294_967_293)];
    expected.push(Some(-4));
    expected.resize(17, None);
    assert_eq!(integers, expected);
}

#[test]
fn only_long_strings_are_bytes() {
    let bytes: Vec<_> = every_value().iter().filter_map(Value::as_bytes).collect();
    assert_eq!(bytes, [b"hi"]);
    assert_eq!(every_value().iter().filter_map(Value::as_bool).count(), 1);
    assert_eq!(every_value().iter().filter_map(Value::as_table).count(), 1);
    assert_eq!(every_value().iter().filter_map(Value::as_array).count(), 1);
}

#[test]
fn a_large_l_is_signed_and_kept_as_it_came() {
    let bytes = b"\x01aL\xff\xff\xff\xff\xff\xff\xff\xff";
    let table = Table::parse(bytes).unwrap();
    assert_eq!(table.find(b"a"), Some(Value::I64(-1)));
    let mut copy = TableBuilder::default();
    for entry in table.iter() {
        copy.push_raw(entry.raw());
    }
    assert_eq!(copy.as_bytes(), bytes);
}

#[test]
fn entries_keep_their_order_and_their_duplicates() {
    let bytes = b"\x01bV\x01ab\x01\x01bb\x02";
    let table = Table::parse(bytes).unwrap();
    let names: Vec<_> = table.iter().map(|entry| entry.name.to_string()).collect();
    assert_eq!(names, ["b", "a", "b"]);
    assert_eq!(table.find(b"b"), Some(Value::Void), "the first one is found");
    assert_eq!(table.find(b"c"), None);
    let raw: Vec<_> = table.iter().map(|entry| entry.raw()).collect();
    assert_eq!(raw, [&b"\x01bV"[..], b"\x01ab\x01", b"\x01bb\x02"]);
}

#[test]
fn a_broken_table_says_where() {
    assert_eq!(error(b"\x03ab"), (1, Truncated));
    assert_eq!(error(b"\x01a"), (2, Truncated));
    assert_eq!(error(b"\x01aI\x00"), (3, Truncated));
    assert_eq!(error(b"\x01aV\x01bz"), (5, UnknownTag(b'z')));
    assert_eq!(error(b"\x01aS\x00\x00\x00\x09short"), (7, Truncated));
    assert_eq!(error(b"\x01aS\xff\xff\xff\xff"), (7, Truncated));
}

#[test]
fn a_table_in_a_table_is_checked_too() {
    assert_eq!(error(b"\x01aV\x01bF\x00\x00\x00\x03\x01c!"), (12, UnknownTag(b'!')));
    assert_eq!(error(b"\x01bA\x00\x00\x00\x05Vs\x00\x01\x00\x01cV"), (11, UnknownTag(0)));
    assert_eq!(error(b"\x01bA\x00\x00\x00\x03Vs\x00"), (9, Truncated));
}

/// Arrays in each other, `depth` of them, in a table.
fn nested(depth: usize) -> Vec<u8> {
    let mut values = Vec::new();
    for _ in 1..depth {
        let mut outer = ArrayBuilder::default();
        outer.push(&Value::Array(Array::unchecked(&values)));
        values = outer.as_bytes().to_vec();
    }
    let mut table = TableBuilder::default();
    table.push(b"a", &Value::Array(Array::unchecked(&values)));
    table.as_bytes().to_vec()
}

#[test]
fn depth_has_a_limit() {
    // The table is a level, and the innermost array is empty: there is nothing to walk in it.
    assert!(Table::parse(&nested(MAX_DEPTH)).is_ok());
    assert_eq!(error(&nested(MAX_DEPTH + 1)).1, TooDeep);
    assert_eq!(error(&nested(5_000)).1, TooDeep);
}

#[test]
fn a_table_can_be_shown_whatever_it_is() {
    let table = Table::parse(b"\x01aF\x00\x00\x00\x03\x01bV\x01cA\x00\x00\x00\x02b\x05").unwrap();
    assert_eq!(format!("{table:?}"), r#"{"a": Table({"b": Void}), "c": Array([I8(5)])}"#);
    assert_eq!(format!("{:?}", Table(b"\x09")), "undecodable table of 1 octets");
    let deep = nested(5_000);
    assert!(format!("{:?}", Table(&deep)).starts_with("undecodable table"));
}

#[test]
fn reading_what_was_never_checked_ends_where_it_is_broken() {
    let table = Table(b"\x01aV\x01b?");
    assert_eq!(table.iter().count(), 1);
    assert_eq!(Array::unchecked(b"V?").len(), 1);
}

#[test]
fn an_owned_table_is_the_same_table() {
    let owned = TableBuf::parse(EVERY_TYPE).unwrap();
    assert_eq!(owned.as_table(), Table(EVERY_TYPE));
    assert_eq!(owned, Table(EVERY_TYPE).to_owned_table());
    assert!(TableBuf::parse(b"\x01").is_err());
    assert_eq!(TableBuf::default().as_table(), Table::EMPTY);
    assert!(Table::EMPTY.is_empty());
}

#[test]
fn names_are_cut_at_255_octets() {
    let mut builder = TableBuilder::default();
    builder.push(&[b'n'; 300], &Value::Void);
    let table = builder.finish();
    assert!(table.as_table().find(&[b'n'; 255]).is_some());
}
