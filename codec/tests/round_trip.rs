//! What is written is read back, whatever it is: methods, tables, properties, whole frames.

use leveret_codec::table::{Array, ArrayBuilder, Table, TableBuilder, Value};
use leveret_codec::{ContentHeader, Decoder, Method, Properties, PropertyFields, ShortStr};
use leveret_codec::{encode, frame};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::facts::{self, Content, Fact, facts};

/// A value that owns what is in it.
#[derive(Clone, Debug)]
enum Tree {
    Bool(bool),
    I8(i8),
    U8(u8),
    I16(i16),
    U16(u16),
    I32(i32),
    U32(u32),
    I64(i64),
    F32(f32),
    F64(f64),
    Decimal(u8, u32),
    LongStr(Vec<u8>),
    Bytes(Vec<u8>),
    Timestamp(u64),
    Void,
    Table(Vec<(Vec<u8>, Tree)>),
    Array(Vec<Tree>),
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![9 => vec(any::<u8>(), 0..8), 1 => vec(any::<u8>(), 255)]
}

fn tree() -> BoxedStrategy<Tree> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Tree::Bool),
        any::<i8>().prop_map(Tree::I8),
        any::<u8>().prop_map(Tree::U8),
        any::<i16>().prop_map(Tree::I16),
        any::<u16>().prop_map(Tree::U16),
        any::<i32>().prop_map(Tree::I32),
        any::<u32>().prop_map(Tree::U32),
        any::<i64>().prop_map(Tree::I64),
        any::<f32>().prop_map(Tree::F32),
        any::<f64>().prop_map(Tree::F64),
        any::<(u8, u32)>().prop_map(|(scale, value)| Tree::Decimal(scale, value)),
        vec(any::<u8>(), 0..300).prop_map(Tree::LongStr),
        vec(any::<u8>(), 0..20).prop_map(Tree::Bytes),
        any::<u64>().prop_map(Tree::Timestamp),
        Just(Tree::Void),
    ];
    leaf.prop_recursive(4, 24, 6, |inner| {
        prop_oneof![
            vec((name(), inner.clone()), 0..6).prop_map(Tree::Table),
            vec(inner, 0..6).prop_map(Tree::Array),
        ]
    })
    .boxed()
}

fn entries() -> BoxedStrategy<Vec<(Vec<u8>, Tree)>> {
    vec((name(), tree()), 0..8).boxed()
}

fn build_table(entries: &[(Vec<u8>, Tree)]) -> TableBuilder {
    let mut table = TableBuilder::default();
    for (name, tree) in entries {
        with_value(tree, |value| {
            table.push(name, value);
        });
    }
    table
}

fn build_array(trees: &[Tree]) -> ArrayBuilder {
    let mut array = ArrayBuilder::default();
    for tree in trees {
        with_value(tree, |value| {
            array.push(value);
        });
    }
    array
}

fn with_value(tree: &Tree, mut take: impl FnMut(&Value<'_>)) {
    match tree {
        Tree::Bool(value) => take(&Value::Bool(*value)),
        Tree::I8(value) => take(&Value::I8(*value)),
        Tree::U8(value) => take(&Value::U8(*value)),
        Tree::I16(value) => take(&Value::I16(*value)),
        Tree::U16(value) => take(&Value::U16(*value)),
        Tree::I32(value) => take(&Value::I32(*value)),
        Tree::U32(value) => take(&Value::U32(*value)),
        Tree::I64(value) => take(&Value::I64(*value)),
        Tree::F32(value) => take(&Value::F32(*value)),
        Tree::F64(value) => take(&Value::F64(*value)),
        Tree::Decimal(scale, value) => take(&Value::Decimal { scale: *scale, value: *value }),
        Tree::LongStr(value) => take(&Value::LongStr(value)),
        Tree::Bytes(value) => take(&Value::Bytes(value)),
        Tree::Timestamp(value) => take(&Value::Timestamp(*value)),
        Tree::Void => take(&Value::Void),
        Tree::Table(entries) => take(&Value::Table(build_table(entries).as_table())),
        Tree::Array(trees) => take(&Value::Array(build_array(trees).as_array())),
    }
}

fn same_table(table: Table<'_>, entries: &[(Vec<u8>, Tree)]) -> bool {
    let same = |(entry, (name, tree)): (leveret_codec::table::Entry<'_>, &(Vec<u8>, Tree))| {
        entry.name.as_bytes() == name && same_value(&entry.value, tree)
    };
    table.iter().count() == entries.len() && table.iter().zip(entries).all(same)
}

fn same_array(array: Array<'_>, trees: &[Tree]) -> bool {
    array.len() == trees.len()
        && array.iter().zip(trees).all(|(value, tree)| same_value(&value, tree))
}

fn same_value(value: &Value<'_>, tree: &Tree) -> bool {
    match (value, tree) {
        (Value::Table(table), Tree::Table(entries)) => same_table(*table, entries),
        (Value::Array(array), Tree::Array(trees)) => same_array(*array, trees),
        _ => {
            let mut same = false;
            with_value(tree, |expected| same = value == expected);
            same
        }
    }
}

fn any_payload() -> impl Strategy<Value = (Fact, Vec<u8>)> {
    let table = entries().prop_map(|entries| build_table(&entries).as_bytes().to_vec()).boxed();
    proptest::sample::select(facts()).prop_flat_map(move |fact| {
        let fields: Vec<_> = fact.fields().map(|(_, kind)| Content::any(kind, &table)).collect();
        fields.prop_map(move |contents| (fact, facts::payload(&fact, &contents)))
    })
}

/// The values of properties; a bit of the mask says whether the property is there.
#[derive(Clone, Debug)]
struct OwnedProperties {
    texts: [Option<Vec<u8>>; 10],
    headers: Option<Vec<(Vec<u8>, Tree)>>,
    octets: [Option<u8>; 2],
    timestamp: Option<u64>,
}

fn properties() -> impl Strategy<Value = OwnedProperties> {
    let texts = proptest::array::uniform10(option::of(vec(any::<u8>(), 0..40)));
    let octets = proptest::array::uniform2(option::of(any::<u8>()));
    (texts, option::of(entries()), octets, option::of(any::<u64>())).prop_map(
        |(texts, headers, octets, timestamp)| OwnedProperties { texts, headers, octets, timestamp },
    )
}

proptest! {
    #[test]
    fn methods((fact, payload) in any_payload()) {
        let method = Method::decode(&payload).expect("every field is good");
        prop_assert_eq!(method.name(), fact.name);
        let mut encoded = Vec::new();
        method.encode(&mut encoded);
        prop_assert_eq!(&encoded, &payload);
        prop_assert_eq!(Method::decode(&encoded), Ok(method));
    }

    #[test]
    fn tables(entries in entries()) {
        let built = build_table(&entries);
        let table = Table::parse(built.as_bytes()).expect("it was built by the crate");
        prop_assert!(same_table(table, &entries), "{:?}", table);
        prop_assert_eq!(built.as_table(), table);
        let mut copy = TableBuilder::default();
        for entry in table.iter() {
            copy.push_raw(entry.raw());
        }
        prop_assert_eq!(copy.as_table(), table);
        for (name, _) in &entries {
            let (_, first) = entries.iter().find(|(other, _)| other == name).expect("itself");
            let found = table.find(name).expect("the name is there");
            prop_assert!(same_value(&found, first));
        }
    }

    #[test]
    fn content_properties(owned in properties()) {
        let [content_type, content_encoding, correlation_id, reply_to, expiration, message_id,
            kind, user_id, app_id, cluster_id] =
            owned.texts.each_ref().map(|text| text.as_deref().map(ShortStr::truncated));
        let headers = owned.headers.as_deref().map(build_table);
        let fields = PropertyFields {
            content_type,
            content_encoding,
            headers: headers.as_ref().map(TableBuilder::as_table),
            delivery_mode: owned.octets[0],
            priority: owned.octets[1],
            correlation_id,
            reply_to,
            expiration,
            message_id,
            timestamp: owned.timestamp,
            kind,
            user_id,
            app_id,
            cluster_id,
        };
        let mut encoded = Vec::new();
        fields.encode(&mut encoded);
        let parsed = Properties::parse(&encoded).expect("they were encoded by the crate");
        prop_assert_eq!(parsed.fields(), fields);
        prop_assert_eq!(parsed.as_bytes(), &encoded[..]);
    }

    #[test]
    fn contents(body in vec(any::<u8>(), 0..20_000), frame_max in 9u32..10_000, channel: u16) {
        let mut out = Vec::new();
        encode::content_header(&mut out, channel, body.len() as u64, &[0, 0]);
        encode::body(&mut out, channel, &body, frame_max);

        let decoder = Decoder::new(frame_max.max(22));
        let mut rest = &out[..];
        let mut collected = Vec::new();
        let mut announced = None;
        while let Some((frame, length)) = decoder.decode(rest).expect("whole frames") {
            prop_assert_eq!(frame.channel, channel);
            match frame.kind {
                frame::HEADER => announced = ContentHeader::decode(frame.payload),
                kind => {
                    prop_assert_eq!(kind, frame::BODY);
                    prop_assert!(frame.payload.len() <= frame_max as usize - frame::OVERHEAD);
                    prop_assert!(!frame.payload.is_empty());
                    collected.extend_from_slice(frame.payload);
                }
            }
            rest = &rest[length..];
        }
        prop_assert!(rest.is_empty());
        prop_assert_eq!(announced.map(|header| header.body_size), Some(body.len() as u64));
        prop_assert_eq!(collected, body);
    }
}
