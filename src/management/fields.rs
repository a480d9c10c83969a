//! What objects show: for each kind a table of fields, from which lists are written and sorted.

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Value, json};

use super::AppState;
use super::list::Columns;
use crate::vhosts::Registry;

/// What is looked up beside an object to show it.
pub(super) struct FieldContext<'a> {
    pub(super) app: &'a AppState,
    pub(super) registry: &'a Registry,
    pub(super) vhost: &'a str,
}

/// A field of objects of one kind: its name, and how it is read.
pub(super) type Field<O> = (&'static str, fn(&FieldContext<'_>, &O) -> FieldValue);

/// What a field shows.
pub(super) enum FieldValue {
    /// The object does not have it now.
    Absent,
    Value(Value),
    Counters(Counters),
}

impl<T: Into<Value>> From<T> for FieldValue {
    fn from(value: T) -> Self {
        FieldValue::Value(value.into())
    }
}

impl From<Counters> for FieldValue {
    fn from(counters: Counters) -> Self {
        FieldValue::Counters(counters)
    }
}

impl FieldValue {
    /// The value below it that a path leads to, if there is one.
    pub(super) fn at(self, path: &[&str]) -> Option<Value> {
        match self {
            FieldValue::Absent => None,
            FieldValue::Counters(counters) => counters.at(path),
            FieldValue::Value(value) => {
                path.iter().try_fold(&value, |value, key| value.get(key)).cloned()
            }
        }
    }

    fn into_value(self) -> Option<Value> {
        self.at(&[])
    }
}

/// Numbers that only rise, each with its rate beside it.
#[derive(Clone, Debug)]
pub(super) struct Counters(Vec<(&'static str, u64)>);

/// What a counter's rate is called: its name and this.
const DETAILS: &str = "_details";

impl Counters {
    pub(super) fn new<const N: usize>(counters: [(&'static str, u64); N]) -> Self {
        Counters(counters.to_vec())
    }

    fn at(&self, path: &[&str]) -> Option<Value> {
        let find = |name: &str| self.0.iter().find(|(found, _)| *found == name);
        match path {
            [] => serde_json::to_value(self).ok(),
            [name] if find(name).is_some() => find(name).map(|(_, count)| (*count).into()),
            [name, below @ ..] => {
                find(name.strip_suffix(DETAILS)?)?;
                FieldValue::Value(rate()).at(below)
            }
        }
    }
}

impl Serialize for Counters {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2 * self.0.len()))?;
        for (name, count) in &self.0 {
            map.serialize_entry(name, count)?;
            map.serialize_entry(&format_args!("{name}{DETAILS}"), &rate())?;
        }
        map.end()
    }
}

/// A rate, which is not measured.
pub(super) fn rate() -> Value {
    json!({ "rate": 0.0 })
}

/// An object as a value, with all of its fields.
pub(super) fn object<O>(fields: &[Field<O>], context: &FieldContext<'_>, object: &O) -> Value {
    let shown = fields.iter().filter_map(|(name, field)| {
        let value = field(context, object).into_value()?;
        Some(((*name).to_owned(), value))
    });
    Value::Object(shown.collect())
}

/// The fields that are requested of a kind of object, to write many of them.
pub(super) struct Writer<O: 'static>(Vec<(Field<O>, Columns)>);

impl<O> Writer<O> {
    pub(super) fn new(fields: &'static [Field<O>], columns: &Columns) -> Self {
        let chosen = fields.iter().filter_map(|field| Some((*field, columns.below(field.0)?)));
        Writer(chosen.collect())
    }

    /// Appends an object as JSON.
    pub(super) fn write(&self, context: &FieldContext<'_>, object: &O, into: &mut Vec<u8>) {
        into.push(b'{');
        let begin = into.len();
        for ((name, field), columns) in &self.0 {
            let shown = field(context, object);
            if matches!(shown, FieldValue::Absent) {
                continue;
            }
            if into.len() > begin {
                into.push(b',');
            }
            write_json(name, into);
            into.push(b':');
            match shown {
                FieldValue::Counters(counters) if columns.are_all() => write_json(&counters, into),
                shown => write_json(&shown.into_value().map(|value| columns.pick(value)), into),
            }
        }
        into.push(b'}');
    }
}

/// Appends a value as JSON.
pub(super) fn write_json(value: &impl Serialize, into: &mut Vec<u8>) {
    // invariant: memory takes whatever is written, and the keys of all objects are texts.
    let _ = serde_json::to_writer(into, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_as_they_are_written() {
        let counters = Counters::new([("publish", 3), ("ack", 0)]);
        let whole = serde_json::to_value(&counters).unwrap();
        assert_eq!(
            whole,
            json!({
                "publish": 3, "publish_details": {"rate": 0.0},
                "ack": 0, "ack_details": {"rate": 0.0},
            })
        );
        for path in [
            &[][..],
            &["publish"],
            &["ack_details"],
            &["publish_details", "rate"],
            &["publish_details", "x"],
            &["publish", "x"],
            &["x"],
            &["x_details"],
        ] {
            let found = FieldValue::Value(whole.clone()).at(path);
            assert_eq!(FieldValue::Counters(counters.clone()).at(path), found, "{path:?}");
        }
    }
}
