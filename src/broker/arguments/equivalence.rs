//! Whether an argument of a second declaration is the one of the first.
//!
//! rabbitmq: compares the terms that values become, so the width of an integer does not matter, and
//! neither does whether an octet string is `S` or `x`.

use leveret_codec::{Table, Value};

use super::term::{self, Numbers, Term};
use crate::broker::error::{Checked, Difference, Fault, FieldValue, Resource};

/// Compares the arguments of these names and stops at the first that differs.
pub(super) fn check(
    names: &[&'static str],
    of: &Resource,
    current: Table<'_>,
    received: Table<'_>,
) -> Checked<()> {
    for name in names {
        let (current, received) = (current.find(name.as_bytes()), received.find(name.as_bytes()));
        check_one(name, of, current, received)?;
    }
    Ok(())
}

fn check_one(
    field: &'static str,
    of: &Resource,
    current: Option<Value<'_>>,
    received: Option<Value<'_>>,
) -> Checked<()> {
    match (received, current) {
        (None, None) => return Ok(()),
        // A queue that is said to be classic and one of which nothing is said.
        (None, Some(Value::LongStr(b"classic"))) | (Some(Value::LongStr(b"classic")), None)
            if field == "x-queue-type" =>
        {
            return Ok(());
        }
        (Some(received), Some(current)) if term::equal(&received, &current, Numbers::ByTerm) => {
            return Ok(());
        }
        _ => {}
    }
    let difference = Difference { received: received.map(shown), current: current.map(shown) };
    Err(Fault::Inequivalent { field, of: of.clone(), difference }.into())
}

fn shown(value: Value<'_>) -> FieldValue {
    let text = match value {
        Value::LongStr(octets) | Value::Bytes(octets) => {
            String::from_utf8_lossy(octets).into_owned()
        }
        _ => Term(&value).to_string(),
    };
    FieldValue { text, type_name: value.type_name() }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{q, refusal, text};
    use super::*;

    fn compare(current: Option<Value<'_>>, received: Option<Value<'_>>) -> Checked<()> {
        check_one("x-a", &q(), current, received)
    }

    #[track_caller]
    fn differs(current: Option<Value<'_>>, received: Option<Value<'_>>, expected: &str) {
        let refusal = refusal(compare(current, received));
        let text = refusal.strip_prefix("inequivalent arg 'x-a' for queue 'q' in vhost '/': ");
        assert_eq!(text, Some(expected));
    }

    #[test]
    fn integers_are_one_class() {
        for other in [Value::I16(100), Value::I64(100), Value::U8(100), Value::U32(100)] {
            assert_eq!(compare(Some(Value::I32(100)), Some(other)), Ok(()));
        }
        assert_eq!(compare(Some(Value::F32(0.5)), Some(Value::F64(0.5))), Ok(()));
        assert_eq!(compare(None, None), Ok(()));
    }

    #[test]
    fn different_values_are_both_quoted() {
        differs(Some(Value::I32(5)), Some(Value::I64(6)), "received '6' but current is '5'");
        differs(Some(text("a")), Some(text("b")), "received 'b' but current is 'a'");
        let (yes, no) = (Value::Bool(true), Value::Bool(false));
        differs(Some(yes), Some(no), "received 'false' but current is 'true'");
    }

    #[test]
    fn a_different_class_is_a_difference_even_when_it_looks_the_same() {
        let number = Some(Value::I32(1000));
        differs(number, Some(text("1000")), "received '1000' but current is '1000'");
        let float = Some(Value::F64(1000.0));
        differs(number, float, "received '1.0e3' but current is '1000'");
    }

    #[test]
    fn an_absent_value_is_none_and_the_other_has_a_type() {
        differs(
            Some(Value::I32(5)),
            None,
            "received none but current is the value '5' of type 'signedint'",
        );
        differs(
            None,
            Some(text("a")),
            "received the value 'a' of type 'longstr' but current is none",
        );
    }
}
