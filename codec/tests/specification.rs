//! The codec's methods are those of the specification: ids, names, fields in wire order.

use leveret_codec::error::{MethodError, TRAILING};
use leveret_codec::{Method, ReplyCode};

use crate::facts::{Content, Fact, Sample, facts, payload, samples};

/// What the struct of a method shows when its fields are these: all names, in order.
fn shown(fact: &Fact, contents: &[Content]) -> Vec<String> {
    let field = |((name, _), content): ((&str, _), &Content)| match content {
        Content::Bit(value) => format!("{name}: {value}"),
        Content::Octet(value) => format!("{name}: {value}"),
        Content::Short(value) => format!("{name}: {value}"),
        Content::Long(value) => format!("{name}: {value}"),
        Content::LongLong(value) => format!("{name}: {value}"),
        Content::ShortStr(text) => format!("{name}: {text:?}"),
        Content::LongStr(bytes) => format!("{name}: {bytes:?}"),
        Content::Table(entries) => format!("{name}: {{\"k\": U8({})}}", entries[3]),
    };
    fact.fields().zip(contents).map(field).collect()
}

/// `queue.declare-ok` is the variant `QueueDeclareOk` with a `DeclareOk` in it.
fn variant(fact: &Fact) -> (String, String) {
    let camel = |word: &str| -> String {
        let mut letters = word.chars();
        letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
    };
    let (class, method) = fact.name.split_once('.').expect("class.method");
    let method: String = method.split('-').map(camel).collect();
    (camel(class) + &method, method)
}

#[test]
fn there_are_66_methods() {
    assert_eq!(facts().len(), 66);
}

#[test]
fn methods_have_their_fields_in_wire_order() {
    for Sample { fact, contents, payload } in samples() {
        let method = Method::decode(&payload).unwrap_or_else(|error| panic!("{fact:?}: {error}"));
        let (variant, name) = variant(&fact);
        let fields = match shown(&fact, &contents).join(", ") {
            none if none.is_empty() => name,
            fields => format!("{name} {{ {fields} }}"),
        };
        assert_eq!(format!("{method:?}"), format!("{variant}({fields})"));

        let mut encoded = Vec::new();
        method.encode(&mut encoded);
        assert_eq!(encoded, payload, "{}", fact.name);
    }
}

#[test]
fn methods_know_what_they_are() {
    for Sample { fact, payload, .. } in samples() {
        let method = Method::decode(&payload).unwrap();
        assert_eq!(method.name(), fact.name);
        assert_eq!((method.class_id(), method.method_id()), (fact.class_id, fact.method_id));
        assert_eq!(method.has_content(), fact.has_content, "{}", fact.name);
    }
}

#[test]
fn there_are_no_other_methods() {
    let known: Vec<_> = facts().iter().map(|fact| (fact.class_id, fact.method_id)).collect();
    for class_id in 0..300 {
        for method_id in 0..300 {
            let ids: [u16; 2] = [class_id, method_id];
            let payload = ids.map(u16::to_be_bytes).concat();
            let unknown =
                Method::decode(&payload) == Err(MethodError::Unknown { class_id, method_id });
            assert_ne!(unknown, known.contains(&(class_id, method_id)), "{class_id},{method_id}");
        }
    }
}

#[test]
fn every_single_bit_is_in_its_place() {
    for fact in facts() {
        let bits = fact.fields().filter(|(_, kind)| *kind == "bit").map(|(name, _)| name);
        for bit in bits {
            let contents: Vec<_> = fact
                .fields()
                .map(|(name, kind)| match kind {
                    "bit" => Content::Bit(name == bit),
                    _ => Content::sample(kind, 0),
                })
                .collect();
            let payload = payload(fact, &contents);
            let shown = format!("{:?}", Method::decode(&payload).unwrap());
            assert!(shown.contains(&format!("{bit}: true")), "{} in {shown}", fact.name);
            assert_eq!(shown.matches("true").count(), 1, "{} in {shown}", fact.name);
        }
    }
}

#[test]
fn a_method_ends_where_its_fields_end() {
    for Sample { fact, payload, .. } in samples() {
        for length in 0..4 {
            assert_eq!(Method::decode(&payload[..length]), Err(MethodError::Short));
        }
        for length in 4..payload.len() {
            let error = Method::decode(&payload[..length]).unwrap_err();
            let MethodError::Malformed { class_id, method_id, arguments, offset, context } = error
            else {
                panic!("{}: {error}", fact.name);
            };
            assert_eq!((class_id, method_id), (fact.class_id, fact.method_id));
            assert_eq!(arguments, &payload[4..length]);
            assert!(offset <= arguments.len());
            assert!(fact.fields().any(|(name, _)| name == context), "{context}");
        }
        let longer = [&payload[..], b"!"].concat();
        assert_eq!(
            Method::decode(&longer),
            Err(MethodError::Malformed {
                class_id: fact.class_id,
                method_id: fact.method_id,
                arguments: &longer[4..],
                offset: payload.len() - 4,
                context: TRAILING,
            })
        );
    }
}

#[test]
fn names_are_text_unless_content_follows() {
    for Sample { fact, contents, mut payload } in samples() {
        let Some(text) = contents.iter().find_map(|content| match content {
            Content::ShortStr(text) => Some(text),
            _ => None,
        }) else {
            continue;
        };
        let at = payload.windows(text.len()).position(|window| window == text.as_bytes());
        payload[at.expect("the text is in it")] = 0xff;
        let (class_id, method_id) = (fact.class_id, fact.method_id);
        let (field, _) = fact.fields().find(|(_, kind)| *kind == "shortstr").expect("a string");
        match Method::decode(&payload) {
            Ok(_) => assert!(fact.has_content, "{}", fact.name),
            Err(error) => {
                assert!(!fact.has_content, "{}", fact.name);
                assert_eq!(error, MethodError::NotUtf8 { class_id, method_id, field });
            }
        }
    }
}

#[test]
fn a_broken_table_in_a_method_is_its_own_error() {
    let tables = |fact: &Fact| fact.fields().find(|(_, kind)| *kind == "table");
    for Sample { fact, mut payload, .. } in samples() {
        let Some((table, _)) = tables(&fact) else { continue };
        let at = payload.windows(3).position(|window| window == b"\x01kB").expect("the table");
        payload[at + 2] = b'?';
        let error = Method::decode(&payload).unwrap_err();
        let MethodError::BadTable { class_id, method_id, field, offset, source } = error else {
            panic!("{}: {error}", fact.name);
        };
        assert_eq!((class_id, method_id, field), (fact.class_id, fact.method_id, table));
        assert_eq!(4 + offset + source.offset, at + 2, "it says where");
    }
}

#[test]
fn reply_codes_have_their_weight() {
    let hard = [320, 402, 501, 502, 503, 504, 505, 506, 530, 540, 541];
    let soft = [311, 312, 313, 403, 404, 405, 406];
    for code in hard {
        assert!(ReplyCode::from_code(code).unwrap().is_hard(), "{code}");
    }
    for code in soft {
        assert!(!ReplyCode::from_code(code).unwrap().is_hard(), "{code}");
    }
}
