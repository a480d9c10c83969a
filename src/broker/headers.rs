//! Whether a message's headers satisfy a binding: the rule of a headers exchange.
//!
//! spec: 3.1.3.4, the headers exchange.
//! rabbitmq: adds `all-with-x` and `any-with-x`. Values are compared as the Erlang terms that they
//! become, with `==`: the width of a number does not matter, and 1 equals 1.0.

mod table;

use hashbrown::HashMap;
use leveret_codec::table::{Entry, TableBuilder};
use leveret_codec::{Table, TableBuf, Value};
use smallvec::SmallVec;

pub use self::table::HeadersTable;
use super::arguments::term::{self, Numbers, Term};
use super::error::{Checked, Fault};

/// What a binding to a headers exchange asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HeadersMatch {
    quantifier: Quantifier,
    /// The arguments that are compared; the others are gone.
    criteria: TableBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Quantifier {
    All,
    Any,
}

impl HeadersMatch {
    /// Reads the arguments of a binding.
    pub fn parse(arguments: &TableBuf) -> Checked<HeadersMatch> {
        let arguments = arguments.as_table();
        let (quantifier, with_x) = match arguments.find(b"x-match") {
            None => (Quantifier::All, false),
            Some(Value::LongStr(b"all")) => (Quantifier::All, false),
            Some(Value::LongStr(b"any")) => (Quantifier::Any, false),
            Some(Value::LongStr(b"all-with-x")) => (Quantifier::All, true),
            Some(Value::LongStr(b"any-with-x")) => (Quantifier::Any, true),
            Some(other) => return Err(bad_match(&other).into()),
        };
        let mut criteria = TableBuilder::default();
        for entry in arguments.iter() {
            let name = entry.name.as_bytes();
            if name != b"x-match" && (with_x || !name.starts_with(b"x-")) {
                criteria.push_raw(entry.raw());
            }
        }
        Ok(HeadersMatch { quantifier, criteria: criteria.finish() })
    }

    /// Whether a message with these headers is for the binding. Without a criterion, `all` takes
    /// every message and `any` none.
    pub fn matches(&self, headers: Option<Table<'_>>) -> bool {
        self.is_met(&Headers::of(headers))
    }

    fn is_met(&self, headers: &Headers<'_>) -> bool {
        let mut criteria = self.criteria.as_table().iter();
        match self.quantifier {
            Quantifier::All => criteria.all(|criterion| is_met(&criterion, headers)),
            Quantifier::Any => criteria.any(|criterion| is_met(&criterion, headers)),
        }
    }
}

fn is_met(criterion: &Entry<'_>, headers: &Headers<'_>) -> bool {
    let Some(value) = headers.find(criterion.name.as_bytes()) else { return false };
    // spec: a field without a value only has to be there.
    criterion.value == Value::Void || term::equal(&criterion.value, value, Numbers::ByValue)
}

/// The headers of a message. Of one that is there twice, the first one counts.
struct Headers<'a> {
    list: SmallVec<[(&'a [u8], Value<'a>); 8]>,
    /// Where each is, if there are many.
    places: HashMap<&'a [u8], usize>,
}

impl<'a> Headers<'a> {
    /// A list of no more than this is searched.
    const FEW: usize = 16;

    fn of(headers: Option<Table<'a>>) -> Self {
        let mut found = Headers { list: SmallVec::new(), places: HashMap::new() };
        for Entry { name, value, .. } in headers.unwrap_or(Table::EMPTY).iter() {
            found.add(name.as_bytes(), value);
        }
        found
    }

    fn add(&mut self, name: &'a [u8], value: Value<'a>) {
        if self.find(name).is_some() {
            return;
        }
        self.list.push((name, value));
        if self.list.len() > Self::FEW {
            let first = if self.places.is_empty() { 0 } else { self.list.len() - 1 };
            let places = self.list.iter().enumerate().skip(first);
            self.places.extend(places.map(|(place, (name, _))| (*name, place)));
        }
    }

    fn find(&self, name: &[u8]) -> Option<&Value<'a>> {
        let place = if self.list.len() > Self::FEW {
            *self.places.get(name)?
        } else {
            self.list.iter().position(|(other, _)| *other == name)?
        };
        self.list.get(place).map(|(_, value)| value)
    }

    fn len(&self) -> usize {
        self.list.len()
    }

    fn iter(&self) -> impl Iterator<Item = (&'a [u8], &Value<'a>)> {
        self.list.iter().map(|(name, value)| (*name, value))
    }
}

#[cold]
fn bad_match(value: &Value<'_>) -> Fault {
    let shown = Term(value).to_string();
    match value {
        Value::LongStr(_) => Fault::InvalidMatch(shown),
        other => Fault::InvalidMatchType { type_name: other.type_name(), value: shown },
    }
}

#[cfg(test)]
mod tests {
    use leveret_codec::table::ArrayBuilder;

    use super::*;

    const ONE: Value<'static> = Value::I32(1);
    const TWO: Value<'static> = Value::I32(2);

    fn table(entries: &[(&str, Value<'_>)]) -> TableBuf {
        let mut table = TableBuilder::default();
        for (name, value) in entries {
            table.push(name.as_bytes(), value);
        }
        table.finish()
    }

    fn matches(arguments: &[(&str, Value<'_>)], headers: &[(&str, Value<'_>)]) -> bool {
        let headers = table(headers);
        let parsed = HeadersMatch::parse(&table(arguments)).expect("the arguments are valid");
        parsed.matches(Some(headers.as_table()))
    }

    /// Whether a criterion of one value is met by a header of another.
    fn equal(criterion: Value<'_>, header: Value<'_>) -> bool {
        matches(&[("a", criterion)], &[("a", header)])
    }

    fn kind(kind: &'static str) -> (&'static str, Value<'static>) {
        ("x-match", Value::LongStr(kind.as_bytes()))
    }

    fn refusal(value: Value<'_>) -> String {
        let refused = HeadersMatch::parse(&table(&[("x-match", value)]));
        refused.expect_err("the x-match is invalid").to_string()
    }

    #[test]
    fn all_is_the_default_and_means_every_argument() {
        for kind in [None, Some(kind("all"))] {
            let mut arguments = vec![("a", ONE), ("b", TWO)];
            arguments.extend(kind);
            assert!(matches(&arguments, &[("b", TWO), ("c", ONE), ("a", ONE)]));
            assert!(!matches(&arguments, &[("a", ONE)]));
            assert!(!matches(&arguments, &[("a", ONE), ("b", ONE)]));
        }
    }

    #[test]
    fn any_means_one_argument() {
        let arguments = [kind("any"), ("a", ONE), ("b", TWO)];
        assert!(matches(&arguments, &[("b", TWO)]));
        assert!(matches(&arguments, &[("a", TWO), ("b", TWO)]));
        assert!(!matches(&arguments, &[("a", TWO), ("c", ONE)]));
    }

    #[test]
    fn all_without_a_criterion_takes_everything_and_any_nothing() {
        for arguments in [&[][..], &[kind("all")], &[kind("all"), ("x-a", ONE)]] {
            let all = HeadersMatch::parse(&table(arguments)).unwrap();
            assert!(all.matches(None));
            assert!(all.matches(Some(table(&[("a", ONE)]).as_table())));
        }
        for arguments in [&[kind("any")][..], &[kind("any-with-x")], &[kind("any"), ("x-a", ONE)]] {
            let any = HeadersMatch::parse(&table(arguments)).unwrap();
            assert!(!any.matches(None));
            assert!(!any.matches(Some(table(&[("x-a", ONE)]).as_table())));
        }
    }

    #[test]
    fn a_message_without_headers_has_none_that_match() {
        let all = HeadersMatch::parse(&table(&[("a", ONE)])).unwrap();
        assert!(!all.matches(None));
    }

    #[test]
    fn names_that_start_with_x_count_only_with_x() {
        let headers = [("b", TWO)];
        assert!(matches(&[kind("all"), ("x-a", ONE), ("b", TWO)], &headers));
        assert!(!matches(&[kind("all-with-x"), ("x-a", ONE), ("b", TWO)], &headers));
        assert!(matches(&[kind("all-with-x"), ("b", TWO)], &headers), "x-match never counts");
        assert!(matches(&[kind("any-with-x"), ("x-a", ONE), ("b", ONE)], &[("x-a", ONE)]));
        assert!(!matches(&[kind("any"), ("x-a", ONE), ("b", ONE)], &[("x-a", ONE)]));
    }

    #[test]
    fn a_void_argument_tests_presence() {
        for header in [ONE, Value::Void, Value::LongStr(b"")] {
            assert!(equal(Value::Void, header));
        }
        assert!(!matches(&[("a", Value::Void)], &[("b", ONE)]));
        assert!(!equal(ONE, Value::Void), "a void header is no wildcard");
    }

    #[test]
    fn the_width_of_a_number_does_not_matter() {
        let ones = [
            Value::I8(1),
            Value::U8(1),
            Value::I16(1),
            Value::U16(1),
            ONE,
            Value::U32(1),
            Value::I64(1),
            Value::F32(1.0),
            Value::F64(1.0),
            Value::Timestamp(1),
        ];
        for criterion in ones {
            assert!(ones.iter().all(|header| equal(criterion, *header)), "{criterion:?}");
            assert!(!equal(criterion, TWO));
        }
        assert!(!equal(ONE, Value::F64(1.5)));
        assert!(!equal(ONE, Value::Decimal { scale: 0, value: 1 }));
    }

    #[test]
    fn texts_numbers_and_truth_are_different() {
        assert!(!equal(ONE, Value::LongStr(b"1")));
        assert!(!equal(ONE, Value::Bool(true)));
        assert!(!equal(Value::Bool(true), Value::LongStr(b"true")));
        assert!(!equal(Value::Bool(true), Value::Bool(false)));
        assert!(equal(Value::LongStr(b"1"), Value::Bytes(b"1")));
    }

    #[test]
    fn arrays_are_compared_value_by_value() {
        let array = |values: &[Value<'_>]| {
            let mut array = ArrayBuilder::default();
            values.iter().for_each(|value| {
                array.push(value);
            });
            array
        };
        let (first, same) =
            (array(&[ONE, Value::LongStr(b"a")]), array(&[ONE, Value::LongStr(b"a")]));
        let (longer, other) = (array(&[ONE, Value::LongStr(b"a"), ONE]), array(&[ONE, ONE]));
        assert!(equal(Value::Array(first.as_array()), Value::Array(same.as_array())));
        assert!(!equal(Value::Array(first.as_array()), Value::Array(longer.as_array())));
        assert!(!equal(Value::Array(first.as_array()), Value::Array(other.as_array())));
    }

    #[test]
    fn the_first_of_two_headers_counts() {
        assert!(matches(&[("a", ONE)], &[("a", ONE), ("a", TWO)]));
        assert!(!matches(&[("a", ONE)], &[("a", TWO), ("a", ONE)]));
    }

    #[test]
    fn another_x_match_is_refused() {
        assert_eq!(
            refusal(Value::LongStr(b"some")),
            "Invalid x-match field value <<\"some\">>; \
             expected all, any, all-with-x, or any-with-x"
        );
        assert_eq!(
            refusal(Value::I32(5)),
            "Invalid x-match field type signedint (value 5); expected longstr"
        );
        assert_eq!(
            refusal(Value::Bool(true)),
            "Invalid x-match field type bool (value true); expected longstr"
        );
    }
}
