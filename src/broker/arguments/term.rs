//! Values as the Erlang terms that RabbitMQ makes of them: how its texts show them and when it
//! holds two for equal.
//!
//! An integer of any width and a timestamp are a number, a float of either size is a float, a long
//! string and octets are a binary, an array is a list of (type, value), a table one of (name, type,
//! value), void is the atom `undefined`.
//!
//! rabbitmq: breaks a term that does not fit its line into several. We leave it in one, which can
//! be searched for.

use std::fmt::{self, Display, Formatter};

use leveret_codec::Value;

use crate::broker::names::erlang_binary;

/// Shows a value.
pub(in crate::broker) struct Term<'a>(pub(in crate::broker) &'a Value<'a>);

/// Whether an integer may equal a float.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::broker) enum Numbers {
    /// Yes: Erlang's `==`.
    ByValue,
    /// No: Erlang's `=:=`.
    ByTerm,
}

/// Whether two values are the same term.
// invariant: both come from checked tables, so that the recursion has a bound.
pub(in crate::broker) fn equal(left: &Value<'_>, right: &Value<'_>, numbers: Numbers) -> bool {
    use Value::{Array, Bool, Decimal, Table, Void};
    if let (Some(left), Some(right)) = (whole(left), whole(right)) {
        return left == right;
    }
    if let (Some(left), Some(right)) = (binary(left), binary(right)) {
        return left == right;
    }
    match (left, right) {
        (Bool(left), Bool(right)) => left == right,
        (Void, Void) => true,
        (Decimal { .. }, Decimal { .. }) => left == right,
        (Array(left), Array(right)) => {
            pairwise(left.iter(), right.iter(), |left, right| same_field(left, right, numbers))
        }
        (Table(left), Table(right)) => pairwise(left.iter(), right.iter(), |left, right| {
            left.name == right.name && same_field(&left.value, &right.value, numbers)
        }),
        _ => match (float(left), float(right)) {
            (Some(left), Some(right)) => left == right,
            (Some(float), None) => numbers == Numbers::ByValue && equals_whole(float, right),
            (None, Some(float)) => numbers == Numbers::ByValue && equals_whole(float, left),
            (None, None) => false,
        },
    }
}

/// In a list the type stands beside the value and has to be the same.
fn same_field(left: &Value<'_>, right: &Value<'_>, numbers: Numbers) -> bool {
    left.tag() == right.tag() && equal(left, right, numbers)
}

fn pairwise<T>(
    mut left: impl Iterator<Item = T>,
    mut right: impl Iterator<Item = T>,
    same: impl Fn(&T, &T) -> bool,
) -> bool {
    loop {
        match (left.next(), right.next()) {
            (None, None) => return true,
            (Some(left), Some(right)) if same(&left, &right) => {}
            _ => return false,
        }
    }
}

fn whole(value: &Value<'_>) -> Option<i128> {
    match *value {
        Value::Timestamp(seconds) => Some(seconds.into()),
        _ => value.as_i64().map(i128::from),
    }
}

fn float(value: &Value<'_>) -> Option<f64> {
    match *value {
        Value::F32(value) => Some(value.into()),
        Value::F64(value) => Some(value),
        _ => None,
    }
}

fn binary<'a>(value: &Value<'a>) -> Option<&'a [u8]> {
    match *value {
        Value::LongStr(octets) | Value::Bytes(octets) => Some(octets),
        _ => None,
    }
}

/// Exact, as in Erlang: a float that is not whole equals no integer, and none is rounded.
fn equals_whole(float: f64, other: &Value<'_>) -> bool {
    // The cast is exact for a whole float within the range and saturates beyond it, far from any
    // integer of 64 bits.
    float.fract() == 0.0 && whole(other) == Some(float as i128)
}

/// Appends octets that any two values have alike that are equal by value, and others mostly do not.
pub(in crate::broker) fn put_key(value: &Value<'_>, key: &mut impl Extend<u8>) {
    let is_whole = |float: &f64| float.fract() == 0.0;
    // As in `equals_whole`.
    let whole = whole(value).or_else(|| float(value).filter(is_whole).map(|float| float as i128));
    if let Some(number) = whole {
        key.extend([b'n']);
        key.extend(number.to_be_bytes());
        return;
    }
    match *value {
        Value::LongStr(octets) | Value::Bytes(octets) => {
            key.extend([b'b']);
            key.extend((octets.len() as u32).to_be_bytes());
            key.extend(octets.iter().copied());
        }
        Value::Bool(value) => key.extend([b'o', u8::from(value)]),
        Value::Decimal { scale, value } => {
            key.extend([b'd', scale]);
            key.extend(value.to_be_bytes());
        }
        Value::Array(array) => {
            key.extend([b'a']);
            array.iter().for_each(|value| put_key(&value, key));
            key.extend([b'z']);
        }
        Value::Table(table) => {
            key.extend([b't']);
            for entry in table.iter() {
                let name = entry.name.as_bytes();
                key.extend([name.len() as u8]);
                key.extend(name.iter().copied());
                put_key(&entry.value, key);
            }
            key.extend([b'z']);
        }
        _ => {
            key.extend([b'f']);
            key.extend(float(value).map_or(0, f64::to_bits).to_be_bytes());
        }
    }
}

impl Display for Term<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(number) = whole(self.0) {
            return write!(f, "{number}");
        }
        if let Some(number) = float(self.0) {
            return f.write_str(&float_text(number));
        }
        match *self.0 {
            Value::Bool(value) => write!(f, "{value}"),
            Value::Decimal { scale, value } => write!(f, "{{{scale},{value}}}"),
            Value::LongStr(octets) | Value::Bytes(octets) => f.write_str(&erlang_binary(octets)),
            Value::Array(array) => {
                f.write_str("[")?;
                for (index, value) in array.iter().enumerate() {
                    let comma = if index == 0 { "" } else { "," };
                    write!(f, "{comma}{{{},{}}}", value.type_name(), Term(&value))?;
                }
                f.write_str("]")
            }
            Value::Table(table) => {
                f.write_str("[")?;
                for (index, entry) in table.iter().enumerate() {
                    let comma = if index == 0 { "" } else { "," };
                    let name = erlang_binary(entry.name.as_bytes());
                    let kind = entry.value.type_name();
                    write!(f, "{comma}{{{name},{kind},{}}}", Term(&entry.value))?;
                }
                f.write_str("]")
            }
            _ => f.write_str("undefined"),
        }
    }
}

/// The shortest digits that give the same float, with an exponent when that is shorter.
fn float_text(value: f64) -> String {
    let scientific = format!("{value:e}");
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", mantissa),
    };
    let digits = mantissa.replace('.', "");
    let point = mantissa.find('.').map_or("0", |dot| &mantissa[dot + 1..]);
    let with_exponent = format!("{sign}{}.{point}e{exponent}", &digits[..1]);
    let plain = format!("{sign}{}", plain_float(value.abs()));
    // rabbitmq: 1.0e-4 and 1.0e3, but 100.0 and 0.001.
    if plain.len() < with_exponent.len()
        || (plain.len() == with_exponent.len() && value.abs() >= 1.0)
    {
        plain
    } else {
        with_exponent
    }
}

/// Without an exponent, and with a point in any case.
fn plain_float(value: f64) -> String {
    let text = value.to_string();
    if text.contains('.') { text } else { text + ".0" }
}

#[cfg(test)]
mod tests {
    use leveret_codec::Table;
    use leveret_codec::table::ArrayBuilder;

    use super::super::fixtures::{table, text};
    use super::*;

    fn shown(value: Value<'_>) -> String {
        Term(&value).to_string()
    }

    #[test]
    fn numbers_are_shown_as_they_are() {
        assert_eq!(shown(Value::I8(-1)), "-1");
        assert_eq!(shown(Value::U32(u32::MAX)), "4294967295");
        assert_eq!(shown(Value::Timestamp(u64::MAX)), "18446744073709551615");
        assert_eq!(shown(Value::Decimal { scale: 2, value: 314 }), "{2,314}");
    }

    #[test]
    fn floats_are_shown_the_shorter_way() {
        let cases = [
            (0.0, "0.0"),
            (1.0, "1.0"),
            (1.5, "1.5"),
            (-2.25, "-2.25"),
            (100.0, "100.0"),
            (1000.0, "1.0e3"),
            (1234.0, "1234.0"),
            (-1000.0, "-1.0e3"),
            (0.001, "0.001"),
            (0.0001, "1.0e-4"),
            (1e22, "1.0e22"),
            (1.25e-9, "1.25e-9"),
        ];
        for (value, expected) in cases {
            assert_eq!(shown(Value::F64(value)), expected);
        }
        assert_eq!(shown(Value::F32(0.1)), "0.10000000149011612");
    }

    #[test]
    fn octets_are_a_binary() {
        assert_eq!(shown(text("some")), "<<\"some\">>");
        assert_eq!(shown(Value::Bytes(&[0, 50, 1])), "<<0,50,1>>");
    }

    #[test]
    fn lists_show_the_types_of_what_is_in_them() {
        let mut array = ArrayBuilder::default();
        array.push(&Value::I32(1)).push(&text("a"));
        assert_eq!(shown(Value::Array(array.as_array())), "[{signedint,1},{longstr,<<\"a\">>}]");
        let entries = table(&[("k", Value::Bool(true)), ("v", Value::Void)]);
        assert_eq!(
            shown(Value::Table(entries.as_table())),
            "[{<<\"k\">>,bool,true},{<<\"v\">>,void,undefined}]"
        );
    }

    #[test]
    fn terms_tell_floats_from_integers_and_values_do_not() {
        let (one, float) = (Value::I32(1), Value::F64(1.0));
        assert!(equal(&one, &float, Numbers::ByValue));
        assert!(equal(&float, &one, Numbers::ByValue));
        assert!(!equal(&one, &float, Numbers::ByTerm));
        for numbers in [Numbers::ByValue, Numbers::ByTerm] {
            assert!(equal(&one, &Value::U8(1), numbers));
            assert!(equal(&float, &Value::F32(1.0), numbers));
            assert!(!equal(&float, &Value::F64(f64::NAN), numbers));
        }
    }

    #[test]
    fn large_integers_are_not_rounded() {
        let odd = (1_i64 << 53) + 1;
        assert!(!equal(&Value::I64(odd), &Value::F64(odd as f64), Numbers::ByValue));
        assert!(equal(&Value::I64(odd - 1), &Value::F64((odd - 1) as f64), Numbers::ByValue));
        assert!(!equal(&Value::I64(i64::MAX), &Value::F64(f64::INFINITY), Numbers::ByValue));
    }

    #[test]
    fn in_lists_the_types_have_to_be_the_same() {
        let array = |value| {
            let mut array = ArrayBuilder::default();
            array.push(&value);
            array
        };
        let (narrow, wide) = (array(Value::I32(1)), array(Value::I64(1)));
        let (narrow, wide) = (Value::Array(narrow.as_array()), Value::Array(wide.as_array()));
        assert!(!equal(&narrow, &wide, Numbers::ByValue));
        assert!(equal(&narrow, &narrow, Numbers::ByValue));
        let (here, there) = (table(&[("k", narrow)]), table(&[("l", narrow)]));
        let (here, there) = (Value::Table(here.as_table()), Value::Table(there.as_table()));
        assert!(equal(&here, &here, Numbers::ByTerm));
        assert!(!equal(&here, &there, Numbers::ByTerm));
    }

    #[test]
    fn values_that_are_equal_have_the_same_key() {
        let (mut array, mut other) = (ArrayBuilder::default(), ArrayBuilder::default());
        array.push(&Value::I32(1));
        other.push(&Value::I32(2));
        let inner = table(&[("k", Value::Array(array.as_array()))]);
        let values = [
            Value::I8(1),
            Value::I64(1),
            Value::Timestamp(1),
            Value::F32(1.0),
            Value::F64(1.5),
            Value::F64(-0.0),
            Value::U8(0),
            Value::I64(i64::MAX),
            Value::F64(i64::MAX as f64),
            Value::F64(f64::INFINITY),
            Value::F64(f64::NEG_INFINITY),
            Value::LongStr(b"1"),
            Value::Bytes(b"1"),
            Value::LongStr(b""),
            Value::Bool(true),
            Value::Bool(false),
            Value::Decimal { scale: 1, value: 1 },
            Value::Decimal { scale: 0, value: 1 },
            Value::Array(array.as_array()),
            Value::Array(other.as_array()),
            Value::Table(inner.as_table()),
            Value::Table(Table::EMPTY),
            Value::Void,
        ];
        let key = |value: &Value<'_>| {
            let mut key = Vec::new();
            put_key(value, &mut key);
            key
        };
        for left in &values {
            for right in &values {
                let same = equal(left, right, Numbers::ByValue);
                assert_eq!(key(left) == key(right), same, "{left:?} and {right:?}");
            }
        }
    }
}
