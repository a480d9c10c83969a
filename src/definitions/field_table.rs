//! Field tables as JSON objects, and back.
//!
//! ```text
//!   JSON                     field table
//!   whole number        ◄─►  l (and from every integer, and from a timestamp)
//!   other number        ◄─►  d (and from f and D)
//!   text                ◄─►  S (and from x)
//!   true, false         ◄─►  t
//!   null                ◄─►  V
//!   object, array       ◄─►  F, A
//! ```
//!
//! So a table that was made from an object comes back as the same object. The other way the width
//! of a number is lost, as it is with RabbitMQ.
//!
//! rabbitmq: refuses null, and has no JSON for a decimal; here it is the number.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use leveret_codec::table::{ArrayBuilder, MAX_DEPTH, TableBuilder};
use leveret_codec::{Table, TableBuf, Value};
use serde_json::{Map, Number, Value as Json};

/// Why an object can be no field table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTable {
    /// A name has more bytes than a short string.
    #[error("the name '{0}' is longer than 255 bytes")]
    LongName(String),
    /// Objects and arrays lie in each other too deep.
    #[error("objects and arrays lie in each other more than {MAX_DEPTH} deep")]
    TooDeep,
}

/// Makes a field table from an object.
pub fn from_json(object: &Map<String, Json>) -> Result<TableBuf, InvalidTable> {
    table(object, 1).map(TableBuilder::finish)
}

/// Makes an object from a field table. Of several entries of a name it has the last.
pub fn to_json(table: Table<'_>) -> Map<String, Json> {
    let entry = |name: &[u8], value| (text(name), json(value));
    table.iter().map(|it| entry(it.name.as_bytes(), it.value)).collect()
}

fn table(object: &Map<String, Json>, depth: usize) -> Result<TableBuilder, InvalidTable> {
    if depth > MAX_DEPTH {
        return Err(InvalidTable::TooDeep);
    }
    let mut table = TableBuilder::default();
    for (name, value) in object {
        if name.len() > 255 {
            return Err(InvalidTable::LongName(name.clone()));
        }
        with_value(value, depth, |value| {
            table.push(name.as_bytes(), value);
        })?;
    }
    Ok(table)
}

fn array(values: &[Json], depth: usize) -> Result<ArrayBuilder, InvalidTable> {
    if depth > MAX_DEPTH {
        return Err(InvalidTable::TooDeep);
    }
    let mut array = ArrayBuilder::default();
    for value in values {
        with_value(value, depth, |value| {
            array.push(value);
        })?;
    }
    Ok(array)
}

/// Hands on the value, which may borrow what is made for it.
fn with_value(
    json: &Json,
    depth: usize,
    push: impl FnOnce(&Value<'_>),
) -> Result<(), InvalidTable> {
    match json {
        Json::Null => push(&Value::Void),
        Json::Bool(value) => push(&Value::Bool(*value)),
        Json::Number(number) => match number.as_i64() {
            Some(value) => push(&Value::I64(value)),
            None => push(&Value::F64(number.as_f64().unwrap_or_default())),
        },
        Json::String(text) => push(&Value::LongStr(text.as_bytes())),
        Json::Array(values) => push(&Value::Array(array(values, depth + 1)?.as_array())),
        Json::Object(object) => push(&Value::Table(table(object, depth + 1)?.as_table())),
    }
    Ok(())
}

// invariant: the value comes from a checked table, so that the recursion has a bound.
fn json(value: Value<'_>) -> Json {
    // JSON has no number for what is none.
    let float = |value| Number::from_f64(value).map_or(Json::Null, Json::Number);
    match value {
        Value::Bool(value) => Json::Bool(value),
        Value::F32(value) => float(value.into()),
        Value::F64(value) => float(value),
        Value::Decimal { scale, value } => float(f64::from(value) / 10_f64.powi(scale.into())),
        Value::LongStr(bytes) | Value::Bytes(bytes) => Json::String(text(bytes)),
        Value::Timestamp(seconds) => seconds.into(),
        Value::Table(table) => Json::Object(to_json(table)),
        Value::Array(array) => array.iter().map(json).collect(),
        Value::Void => Json::Null,
        Value::I8(_)
        | Value::U8(_)
        | Value::I16(_)
        | Value::U16(_)
        | Value::I32(_)
        | Value::U32(_)
        | Value::I64(_) => value.as_i64().into(),
    }
}

/// Bytes as a text.
///
/// rabbitmq: says of those that are none what they are. They do not come back from that.
fn text(bytes: &[u8]) -> String {
    const LINE: usize = 76;
    if let Ok(text) = std::str::from_utf8(bytes) {
        return text.to_owned();
    }
    let encoded = STANDARD.encode(bytes);
    let mut text = "Not UTF-8, base64 is: ".to_owned();
    for (index, character) in encoded.chars().enumerate() {
        if index > 0 && index % LINE == 0 {
            text.push('\n');
        }
        text.push(character);
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(json: Json) -> Map<String, Json> {
        let Json::Object(object) = json else { panic!("{json} is no object") };
        object
    }

    fn shown(value: Value<'_>) -> Json {
        let mut table = TableBuilder::default();
        table.push(b"v", &value);
        to_json(table.as_table())["v"].clone()
    }

    #[test]
    fn each_type_has_its_counterpart() {
        let made = from_json(&object(json!({
            "array": [1, "a", [], {"k": null}],
            "bool": true,
            "float": 1.5,
            "null": null,
            "number": -5,
            "table": {"k": "v"},
            "text": "größe",
        })));
        let made = made.unwrap();
        let find = |name: &str| made.as_table().find(name.as_bytes()).unwrap();
        assert_eq!(find("bool"), Value::Bool(true));
        assert_eq!(find("float"), Value::F64(1.5));
        assert_eq!(find("null"), Value::Void);
        assert_eq!(find("number"), Value::I64(-5));
        assert_eq!(find("text"), Value::LongStr("größe".as_bytes()));
        let table = find("table").as_table().unwrap();
        assert_eq!(table.find(b"k"), Some(Value::LongStr(b"v")));
        let array: Vec<_> = find("array").as_array().unwrap().iter().collect();
        assert_eq!(array[..2], [Value::I64(1), Value::LongStr(b"a")]);
        assert_eq!(array[3].as_table().unwrap().find(b"k"), Some(Value::Void));
        assert_eq!(TableBuf::parse(made.as_table().as_bytes()), Ok(made.clone()));
    }

    #[test]
    fn an_object_comes_back_as_it_was() {
        let before = object(json!({
            "deep": {"er": [{"a": [true, false, null]}, [[]], {}]},
            "float": -0.25,
            "large": i64::MAX,
            "text": "",
        }));
        let table = from_json(&before).unwrap();
        assert_eq!(to_json(table.as_table()), before);
    }

    #[test]
    fn every_width_of_a_number_is_a_number() {
        for value in [
            Value::I8(7),
            Value::U8(7),
            Value::I16(7),
            Value::U16(7),
            Value::I32(7),
            Value::U32(7),
            Value::I64(7),
            Value::Timestamp(7),
        ] {
            assert_eq!(shown(value), json!(7));
        }
        assert_eq!(shown(Value::F32(0.5)), json!(0.5));
        assert_eq!(shown(Value::Decimal { scale: 2, value: 275 }), json!(2.75));
        assert_eq!(shown(Value::F64(f64::NAN)), Json::Null);
        assert_eq!(shown(Value::Timestamp(u64::MAX)), json!(u64::MAX));
        let large = from_json(&object(json!({"v": u64::MAX}))).unwrap();
        assert_eq!(large.as_table().find(b"v"), Some(Value::F64(u64::MAX as f64)));
    }

    #[test]
    fn bytes_that_are_no_text_are_said_to_be_none() {
        assert_eq!(shown(Value::Bytes(b"abc")), json!("abc"));
        assert_eq!(shown(Value::LongStr(b"a\xff")), json!("Not UTF-8, base64 is: Yf8="));
        let long = shown(Value::LongStr(&[0xff; 58]));
        let lines: Vec<_> = long.as_str().unwrap().lines().collect();
        assert_eq!(lines, [&format!("Not UTF-8, base64 is: {}", "/".repeat(76)), "/w=="]);
    }

    #[test]
    fn of_several_entries_the_last_is_shown() {
        let mut table = TableBuilder::default();
        table.push(b"k", &Value::I32(1)).push(b"k", &Value::I32(2));
        assert_eq!(Json::Object(to_json(table.as_table())), json!({"k": 2}));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let name = "x".repeat(256);
        let refused = from_json(&object(json!({name.clone(): 1})));
        assert_eq!(refused, Err(InvalidTable::LongName(name)));
        let nested = |levels| (0..levels).fold(json!(1), |inner, _| json!({"k": [inner]}));
        assert!(from_json(&object(nested(MAX_DEPTH / 2))).is_ok());
        let refused = from_json(&object(nested(MAX_DEPTH / 2 + 1)));
        assert_eq!(refused, Err(InvalidTable::TooDeep));
    }
}
