//! JSON whose fields keep their order, and how it is written down.
//!
//! why not `serde_json::Value`: it sorts the fields of objects, and what `rabbitmqadmin` prints has them in the order in
//! which the server sent them.

use std::fmt;
use std::fmt::Write as _;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

/// A value of JSON.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Json {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// What a text says, if it is JSON.
    pub(super) fn parse(text: &str) -> Option<Self> {
        Json::read(text).ok()
    }

    /// What a text says.
    ///
    /// # Errors
    /// When it is no JSON; the error says where.
    pub(super) fn read(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    pub(super) fn text(text: &str) -> Self {
        Json::Text(text.to_owned())
    }

    /// The field of this name; of two the last.
    pub(super) fn get(&self, name: &str) -> Option<&Json> {
        self.fields().iter().rev().find(|(field, _)| field == name).map(|(_, value)| value)
    }

    /// What is at this place, as in `queue_totals.messages`.
    pub(super) fn at(&self, path: &str) -> Option<&Json> {
        path.split('.').try_fold(self, |value, name| value.get(name))
    }

    /// The fields, if it is an object.
    pub(super) fn fields(&self) -> &[(String, Json)] {
        if let Json::Object(fields) = self { fields } else { &[] }
    }

    /// The elements, if it is a list.
    pub(super) fn elements(&self) -> &[Json] {
        if let Json::List(elements) = self { elements } else { &[] }
    }

    /// The text, if it is one.
    pub(super) fn as_text(&self) -> Option<&str> {
        if let Json::Text(text) = self { Some(text) } else { None }
    }

    /// In one line, with a blank behind commas and colons, in ASCII alone.
    pub(super) fn to_line(&self) -> String {
        let mut line = String::new();
        self.write_line(&mut line);
        line
    }

    fn write_line(&self, line: &mut String) {
        match self {
            Json::Null => line.push_str("null"),
            Json::Bool(bool) => line.push_str(if *bool { "true" } else { "false" }),
            Json::Number(number) => line.push_str(&number_text(number)),
            Json::Text(text) => write_text(line, text, true),
            Json::List(elements) => {
                line.push('[');
                for (index, element) in elements.iter().enumerate() {
                    line.push_str(if index > 0 { ", " } else { "" });
                    element.write_line(line);
                }
                line.push(']');
            }
            Json::Object(fields) => {
                line.push('{');
                for (index, (name, value)) in fields.iter().enumerate() {
                    line.push_str(if index > 0 { ", " } else { "" });
                    write_text(line, name, true);
                    line.push_str(": ");
                    value.write_line(line);
                }
                line.push('}');
            }
        }
    }

    /// In one line without a blank, with letters as they are and the fields in alphabetical order.
    pub(super) fn to_compact(&self) -> String {
        let mut text = String::new();
        match self {
            Json::List(elements) => {
                let elements: Vec<_> = elements.iter().map(Json::to_compact).collect();
                text = format!("[{}]", elements.join(","));
            }
            Json::Object(fields) => {
                let mut fields: Vec<_> = fields.iter().collect();
                fields.sort_by(|(one, _), (other, _)| one.cmp(other));
                text.push('{');
                for (index, (name, value)) in fields.into_iter().enumerate() {
                    text.push_str(if index > 0 { "," } else { "" });
                    write_text(&mut text, name, false);
                    text.push(':');
                    text.push_str(&value.to_compact());
                }
                text.push('}');
            }
            Json::Text(value) => write_text(&mut text, value, false),
            other => other.write_line(&mut text),
        }
        text
    }

    /// A line for each value, with the fields in alphabetical order.
    pub(super) fn to_lines(&self) -> String {
        let mut lines = String::new();
        self.write_lines(&mut lines, 0);
        lines
    }

    fn write_lines(&self, lines: &mut String, depth: usize) {
        let begin = |lines: &mut String, index: usize| {
            lines.push_str(if index > 0 { ",\n" } else { "\n" });
            lines.extend(std::iter::repeat_n("  ", depth + 1));
        };
        let end = |lines: &mut String| {
            lines.push('\n');
            lines.extend(std::iter::repeat_n("  ", depth));
        };
        match self {
            Json::Text(text) => write_text(lines, text, false),
            Json::List(elements) if !elements.is_empty() => {
                lines.push('[');
                for (index, element) in elements.iter().enumerate() {
                    begin(lines, index);
                    element.write_lines(lines, depth + 1);
                }
                end(lines);
                lines.push(']');
            }
            Json::Object(fields) if !fields.is_empty() => {
                let mut fields: Vec<_> = fields.iter().collect();
                fields.sort_by(|(one, _), (other, _)| one.cmp(other));
                lines.push('{');
                for (index, (name, value)) in fields.into_iter().enumerate() {
                    begin(lines, index);
                    write_text(lines, name, false);
                    lines.push_str(": ");
                    value.write_lines(lines, depth + 1);
                }
                end(lines);
                lines.push('}');
            }
            other => other.write_line(lines),
        }
    }

    /// As a value of Python prints itself: what the script shows of reasons that are no text.
    pub(super) fn to_python(&self) -> String {
        match self {
            Json::Text(text) => text.clone(),
            Json::Null => "None".to_owned(),
            Json::Bool(bool) => if *bool { "True" } else { "False" }.to_owned(),
            Json::Number(number) => number_text(number),
            Json::List(elements) => {
                let elements: Vec<_> = elements.iter().map(Json::to_python_literal).collect();
                format!("[{}]", elements.join(", "))
            }
            Json::Object(fields) => {
                let field = |(name, value): &(String, Json)| {
                    format!("{}: {}", python_literal(name), value.to_python_literal())
                };
                let fields: Vec<_> = fields.iter().map(field).collect();
                format!("{{{}}}", fields.join(", "))
            }
        }
    }

    fn to_python_literal(&self) -> String {
        match self {
            Json::Text(text) => python_literal(text),
            other => other.to_python(),
        }
    }
}

/// A text as Python shows it inside of something else.
pub(super) fn python_literal(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut literal = String::from(quote);
    for letter in text.chars() {
        match letter {
            '\n' => literal.push_str("\\n"),
            '\r' => literal.push_str("\\r"),
            '\t' => literal.push_str("\\t"),
            '\\' => literal.push_str("\\\\"),
            letter if letter == quote => literal.extend(['\\', letter]),
            letter => literal.push(letter),
        }
    }
    literal.push(quote);
    literal
}

/// A number as Python writes it: one with a point keeps it, and has an exponent where it is very large or small.
fn number_text(number: &Number) -> String {
    let float = match number.as_f64() {
        Some(float) if number.is_f64() => float,
        _ => return number.to_string(),
    };
    let text = format!("{float:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let text = float.to_string();
        return if text.contains('.') { text } else { text + ".0" };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

fn write_text(output: &mut String, text: &str, ascii: bool) {
    output.push('"');
    for letter in text.chars() {
        match letter {
            '"' => output.push_str("\\\""),
            '\\' => output.push_str("\\\\"),
            '\n' => output.push_str("\\n"),
            '\r' => output.push_str("\\r"),
            '\t' => output.push_str("\\t"),
            '\u{8}' => output.push_str("\\b"),
            '\u{c}' => output.push_str("\\f"),
            letter if letter < ' ' || (ascii && letter > '~') => {
                for unit in letter.encode_utf16(&mut [0; 2]) {
                    let _ = write!(output, "\\u{unit:04x}");
                }
            }
            letter => output.push(letter),
        }
    }
    output.push('"');
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(InOrder)
    }
}

/// Takes values as they come.
struct InOrder;

impl<'de> Visitor<'de> for InOrder {
    type Value = Json;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(Number::from_f64(value).map_or(Json::Null, Json::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Json, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = sequence.next_element()? {
            elements.push(element);
        }
        Ok(Json::List(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(Json::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_keep_their_order_and_numbers_their_form() {
        let text = r#"{"b": [1, -2, 0.0, 1.5, 1e16, 1e-5, 123456789012345.0], "a": {"é\"": null}, "c": []}"#;
        let json = Json::parse(text).expect("it is JSON");
        let line = r#"{"b": [1, -2, 0.0, 1.5, 1e+16, 1e-05, 123456789012345.0], "a": {"\u00e9\"": null}, "c": []}"#;
        assert_eq!(json.to_line(), line);
        let lines = Json::parse(r#"{"b": [1, {}], "a": "é"}"#).expect("it is JSON").to_lines();
        assert_eq!(lines, "{\n  \"a\": \"é\",\n  \"b\": [\n    1,\n    {}\n  ]\n}");
    }

    #[test]
    fn values_are_shown_as_python_shows_them() {
        let json = Json::parse(r#"["not_base64", "it's", true, null, {"a": 1}]"#).expect("JSON");
        assert_eq!(json.to_python(), r#"['not_base64', "it's", True, None, {'a': 1}]"#);
        assert_eq!(Json::text("it's").to_python(), "it's");
    }
}
