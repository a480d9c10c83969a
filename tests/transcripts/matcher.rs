//! Whether a frame that came is the one expected: wildcards, variables, the order of tables.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::scenario::{Body, Frame, MethodFrame, TableOrder};
use super::wire;

/// What the broker made up so far, such as the name of a queue, by the name it has in the scenario.
#[derive(Clone, Debug)]
pub(crate) struct Variables(BTreeMap<String, String>);

impl Variables {
    pub(crate) fn new(vhost: &str) -> Self {
        Self(BTreeMap::from([("vhost".to_owned(), vhost.to_owned())]))
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &str> {
        self.0.values().map(String::as_str)
    }

    /// The text with the values of those variables that have one.
    pub(crate) fn fill(&self, text: &str) -> String {
        let mut pieces = text.split('$');
        let mut filled = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            let name = &piece[..name_length(piece)];
            match self.0.get(name) {
                Some(value) => filled.extend([value, &piece[name.len()..]]),
                None => filled.extend(["$", piece]),
            }
        }
        filled
    }

    /// The frame with values in place of the variables.
    pub(crate) fn fill_frame(&self, frame: &Frame) -> Frame {
        let mut frame = frame.clone();
        match &mut frame {
            Frame::Method(method) => {
                self.fill_fields(&mut method.args);
                method.props.iter_mut().for_each(|props| self.fill_fields(props));
                method.body.iter_mut().for_each(|body| self.fill_body(body));
            }
            Frame::Header(header) => self.fill_fields(&mut header.header.props),
            Frame::Body(body) => self.fill_body(&mut body.body),
            _ => {}
        }
        frame
    }

    fn fill_fields(&self, fields: &mut Map<String, Value>) {
        fields.values_mut().for_each(|value| self.fill_value(value));
    }

    fn fill_value(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.fill(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.fill_value(item)),
            // An object is hexadecimal.
            _ => {}
        }
    }

    fn fill_body(&self, body: &mut Body) {
        if let Body::Text(text) = body {
            *text = self.fill(text);
        }
    }

    /// Whether the texts are the same. A variable that has no value yet takes the one that came.
    fn text(&mut self, want: &str, got: &str) -> bool {
        let unknown = want.strip_prefix('$').filter(|name| {
            !name.is_empty() && name_length(name) == name.len() && !self.0.contains_key(*name)
        });
        match unknown {
            Some(name) => {
                self.0.insert(name.to_owned(), got.to_owned());
                !got.is_empty()
            }
            None => self.fill(want) == got,
        }
    }
}

/// A variable's name is letters, then digits.
fn name_length(text: &str) -> usize {
    let letters = text.bytes().take_while(u8::is_ascii_lowercase).count();
    letters + text[letters..].bytes().take_while(u8::is_ascii_digit).count()
}

/// Compares frames, and gives variables their values on the way.
pub(crate) struct Matcher<'v> {
    pub(crate) variables: &'v mut Variables,
    pub(crate) table_order: TableOrder,
}

impl Matcher<'_> {
    /// Says where the frame differs from the expected one, if it does.
    pub(crate) fn difference(&mut self, want: &Frame, got: &Frame) -> Option<String> {
        match (want, got) {
            (Frame::Method(want), Frame::Method(got)) => self.method(want, got),
            _ => (want != got).then(|| "it is another kind of frame".to_owned()),
        }
    }

    fn method(&mut self, want: &MethodFrame, got: &MethodFrame) -> Option<String> {
        if want.method != got.method {
            return Some(format!("it is {}, not {}", got.method, want.method));
        }
        if want.ch != got.ch {
            return Some(format!("it is on channel {}, not {}", got.ch, want.ch));
        }
        if want.has_content() != got.has_content() {
            return Some("one has content, the other has none".to_owned());
        }
        let none = Map::new();
        let props = (want.props.as_ref().unwrap_or(&none), got.props.as_ref().unwrap_or(&none));
        self.fields(&want.args, &got.args, Missing::IsZero)
            .or_else(|| self.fields(props.0, props.1, Missing::IsAbsent))
            .or_else(|| self.content(want, got))
    }

    fn content(&self, want: &MethodFrame, got: &MethodFrame) -> Option<String> {
        let octets = |body: &Option<Body>| body.as_ref().map(Body::octets).unwrap_or_default();
        let body = want.body.clone().map(|mut body| {
            self.variables.fill_body(&mut body);
            body
        });
        if octets(&body) != octets(&got.body) {
            return Some("the body differs".to_owned());
        }
        (want.body_frames != got.body_frames).then(|| {
            format!(
                "the sizes of the body's frames are {:?}, not {:?}",
                got.body_frames, want.body_frames
            )
        })
    }

    fn fields(
        &mut self,
        want: &Map<String, Value>,
        got: &Map<String, Value>,
        missing: Missing,
    ) -> Option<String> {
        let unexpected = got.keys().filter(|name| !want.contains_key(*name));
        for name in want.keys().chain(unexpected) {
            let same = match (want.get(name), got.get(name)) {
                (Some(want), Some(got)) => self.field(want, got),
                (None, Some(got)) => missing == Missing::IsZero && is_zero(got),
                (Some(_), None) | (None, None) => false,
            };
            if !same {
                let show =
                    |field: Option<&Value>| field.map_or("absent".to_owned(), Value::to_string);
                let want = match missing {
                    Missing::IsZero => want.get(name).map_or("zero".to_owned(), Value::to_string),
                    Missing::IsAbsent => show(want.get(name)),
                };
                return Some(format!("{name} is {}, not {want}", show(got.get(name))));
            }
        }
        None
    }

    /// A method field or property. Of their types, only a table is a list.
    fn field(&mut self, want: &Value, got: &Value) -> bool {
        match (want, got) {
            (Value::Array(want), Value::Array(got)) => self.table(want, got),
            _ => self.scalar(want, got),
        }
    }

    fn scalar(&mut self, want: &Value, got: &Value) -> bool {
        match (want, got) {
            (Value::String(any), _) if any == "*" => true,
            (Value::String(want), Value::String(got)) => self.variables.text(want, got),
            (Value::Number(want), Value::Number(got)) if want.is_f64() || got.is_f64() => {
                want.as_f64() == got.as_f64()
            }
            (Value::Object(_), _) | (_, Value::Object(_)) => {
                wire::text(want).is_ok_and(|want| Ok(want) == wire::text(got))
            }
            _ => want == got,
        }
    }

    fn table(&mut self, want: &[Value], got: &[Value]) -> bool {
        if self.table_order == TableOrder::Exact {
            return want.len() == got.len()
                && want.iter().zip(got).all(|(want, got)| self.entry(want, got));
        }
        let mut left: Vec<&Value> = got.iter().collect();
        let mut closed = true;
        for want in want {
            if want == "..." {
                closed = false;
                continue;
            }
            let Some(at) = left.iter().position(|got| self.entry(want, got)) else { return false };
            left.remove(at);
        }
        left.is_empty() || !closed
    }

    /// An entry of a table: name, tag, value.
    fn entry(&mut self, want: &Value, got: &Value) -> bool {
        let (Some([name, rest @ ..]), Some([got_name, got_rest @ ..])) = (slice(want), slice(got))
        else {
            return false;
        };
        // What does not match must not leave a value behind.
        let before = self.variables.clone();
        let same = self.scalar(name, got_name) && self.typed(rest, got_rest);
        if !same {
            *self.variables = before;
        }
        same
    }

    /// A tag and a value.
    fn typed(&mut self, want: &[Value], got: &[Value]) -> bool {
        let ([tag, want], [got_tag, got]) = (want, got) else { return false };
        tag == got_tag
            && match (tag.as_str(), slice(want), slice(got)) {
                (Some("F"), Some(want), Some(got)) => self.table(want, got),
                (Some("A"), Some(want), Some(got)) => self.array(want, got),
                _ => self.scalar(want, got),
            }
    }

    fn array(&mut self, want: &[Value], got: &[Value]) -> bool {
        let mut element = |want: &Value, got: &Value| match (slice(want), slice(got)) {
            (Some(want), Some(got)) => self.typed(want, got),
            _ => want == "*",
        };
        want.len() == got.len() && want.iter().zip(got).all(|(want, got)| element(want, got))
    }
}

/// What a field that is not written down must be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    IsZero,
    IsAbsent,
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Bool(bit) => !bit,
        Value::Number(number) => number.as_u64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(entries) => entries.is_empty(),
        Value::Null | Value::Object(_) => false,
    }
}

fn slice(value: &Value) -> Option<&[Value]> {
    value.as_array().map(Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    fn frame(args: &Value) -> Frame {
        from_value(json!({ "ch": 1, "method": "queue.declare", "args": args })).unwrap()
    }

    fn matches(order: TableOrder, variables: &mut Variables, want: &Value, got: &Value) -> bool {
        let mut matcher = Matcher { variables, table_order: order };
        matcher.difference(&frame(want), &frame(got)).is_none()
    }

    fn same(want: &Value, got: &Value) -> bool {
        matches(TableOrder::Any, &mut Variables::new("v"), want, got)
    }

    fn table(order: TableOrder, want: Value, got: Value) -> bool {
        let [want, got] = [want, got].map(|table| json!({ "arguments": table }));
        matches(order, &mut Variables::new("v"), &want, &got)
    }

    #[test]
    fn a_field_left_out_is_zero() {
        assert!(same(&json!({}), &json!({ "a": 0, "b": false, "c": "", "d": [] })));
        assert!(!same(&json!({}), &json!({ "a": 1 })));
        assert!(!same(&json!({}), &json!({ "b": true })));
        assert!(!same(&json!({ "a": 1 }), &json!({})));
    }

    #[test]
    fn types_and_values_count() {
        assert!(same(&json!({ "a": "*" }), &json!({ "a": 7 })));
        assert!(!same(&json!({ "a": 1 }), &json!({ "a": true })));
        assert!(!same(&json!({ "a": "1" }), &json!({ "a": 1 })));
        assert!(same(&json!({ "a": { "hex": "41" } }), &json!({ "a": "A" })));
        assert!(!same(&json!({ "a": { "hex": "42" } }), &json!({ "a": "A" })));
    }

    #[test]
    fn a_variable_keeps_the_first_value() {
        let mut variables = Variables::new("v");
        let mut check = |want: &str, got: &str| {
            let [want, got] = [want, got].map(|text| json!({ "queue": text }));
            matches(TableOrder::Any, &mut variables, &want, &got)
        };
        assert!(!check("$q1", ""), "a name is not empty");
        assert!(check("$q2", "amq.gen-1"));
        assert!(!check("$q2", "amq.gen-2"));
        assert!(check("queue '$q2' in vhost '$vhost'", "queue 'amq.gen-1' in vhost 'v'"));
        assert_eq!(variables.fill("$q2.$none"), "amq.gen-1.$none");
    }

    #[test]
    fn tables_are_sets_unless_the_order_is_exact() {
        let (one, two) = (json!(["a", "I", 1]), json!(["b", "S", "x"]));
        assert!(table(TableOrder::Any, json!([one, two]), json!([two, one])));
        assert!(!table(TableOrder::Exact, json!([one, two]), json!([two, one])));
        assert!(table(TableOrder::Exact, json!([one, two]), json!([one, two])));
        assert!(!table(TableOrder::Any, json!([one]), json!([one, one])));
        assert!(!table(TableOrder::Any, json!([one, one]), json!([one, two])));
        assert!(table(TableOrder::Any, json!([two, "..."]), json!([one, two])));
        assert!(!table(TableOrder::Any, json!([["a", "l", 1]]), json!([one])));
        assert!(table(TableOrder::Any, json!("*"), json!([one])));
    }

    #[test]
    fn arrays_keep_their_order() {
        let check = |want: Value, got: Value| {
            table(TableOrder::Any, json!([["a", "A", want]]), json!([["a", "A", got]]))
        };
        let got = json!([["I", 1], ["F", [["x", "t", true], ["y", "V", null]]]]);
        assert!(check(json!([["I", 1], ["F", [["y", "V", null], ["x", "t", true]]]]), got.clone()));
        assert!(check(json!(["*", ["F", "*"]]), got.clone()));
        assert!(!check(json!([["F", "*"], ["I", 1]]), got.clone()));
        assert!(!check(json!([["I", 1]]), got));
    }
}
