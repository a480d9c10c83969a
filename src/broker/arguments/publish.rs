//! What the broker reads in a published message's properties.

use hashbrown::HashSet;
use leveret_codec::table::TableBuilder;
use leveret_codec::{Properties, ShortString, Table, Value};

use crate::broker::error::{Checked, Fault, InvalidValue};
use crate::broker::limits::LONGEST_MS;

/// How long a message lives, from its `expiration` property: a decimal number of milliseconds.
pub fn expiration_ms(expiration: &[u8]) -> Checked<u64> {
    read_expiration(expiration).map_err(|why| {
        let expiration = ShortString::truncated(expiration);
        Fault::InvalidExpiration { expiration, why }.into()
    })
}

fn read_expiration(text: &[u8]) -> Result<u64, InvalidValue> {
    let (sign, unsigned) = match text {
        [b'-', rest @ ..] => ("-", rest),
        [b'+', rest @ ..] => ("", rest),
        _ => ("", text),
    };
    let length = unsigned.iter().take_while(|octet| octet.is_ascii_digit()).count();
    let (digits, rest) = unsigned.split_at(length);
    if digits.is_empty() {
        return Err(InvalidValue::NoInteger);
    }
    if !rest.is_empty() {
        return Err(InvalidValue::Leftover(rest.to_vec()));
    }
    // why: the number may have 255 digits, and is shown as it is.
    let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    let digits = String::from_utf8_lossy(&digits[zeros..]);
    match (sign, digits.parse()) {
        _ if digits.is_empty() => Ok(0),
        ("", Ok(ms @ ..=LONGEST_MS)) => Ok(ms),
        ("", _) => Err(InvalidValue::TooLarge(digits.into_owned())),
        _ => Err(InvalidValue::Negative(format!("-{digits}"))),
    }
}

/// What the headers `CC` and `BCC` say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CopyKeys<'a> {
    /// More routing keys, those of `CC` first.
    // An empty vector, which nearly every message has, takes no allocation.
    pub keys: Vec<&'a [u8]>,
    /// How many of `keys` are those of `CC`, which consumers may see.
    pub visible: usize,
    /// Whether there is a `BCC` to be taken out before the message goes on.
    pub has_bcc: bool,
}

/// The routing keys that a message has beside its own.
///
/// rabbitmq: its "sender-selected distribution". Elements that are no long strings are ignored, and
/// of a header that is there twice the first one counts.
pub fn copy_keys(headers: Table<'_>) -> Checked<CopyKeys<'_>> {
    let (mut cc, mut bcc) = (None, None);
    for entry in headers.iter() {
        match entry.name.as_bytes() {
            b"CC" if cc.is_none() => cc = Some(entry.value),
            b"BCC" if bcc.is_none() => bcc = Some(entry.value),
            _ => {}
        }
    }
    let mut copies = CopyKeys { has_bcc: bcc.is_some(), ..CopyKeys::default() };
    add_keys(&mut copies.keys, "CC", cc)?;
    copies.visible = copies.keys.len();
    add_keys(&mut copies.keys, "BCC", bcc)?;
    Ok(copies)
}

fn add_keys<'a>(
    keys: &mut Vec<&'a [u8]>,
    name: &'static str,
    value: Option<Value<'a>>,
) -> Checked<()> {
    match value {
        None => Ok(()),
        Some(Value::Array(array)) => {
            // why: named a thousand times, a key leads nowhere else, and would be looked up as often.
            let mut named = HashSet::new();
            let all = array.iter().filter_map(|key| key.as_bytes());
            keys.extend(all.filter(|key| named.insert(*key)));
            Ok(())
        }
        Some(other) => Err(Fault::InvalidCopyKeys { name, type_name: other.type_name() }.into()),
    }
}

/// The same properties without a header, the others in their order. A table that becomes empty
/// stays.
///
/// rabbitmq: takes the first of several headers of the name out. We take all: a second `BCC` is no
/// more for the consumers' eyes than the first.
pub fn without_header(properties: Properties<'_>, name: &[u8]) -> Vec<u8> {
    let mut kept = TableBuilder::default();
    let mut fields = properties.fields();
    if let Some(headers) = fields.headers {
        for entry in headers.iter().filter(|entry| entry.name.as_bytes() != name) {
            kept.push_raw(entry.raw());
        }
        fields.headers = Some(kept.as_table());
    }
    let mut encoded = Vec::with_capacity(properties.as_bytes().len());
    fields.encode(&mut encoded);
    encoded
}

#[cfg(test)]
mod tests {
    use leveret_codec::table::ArrayBuilder;
    use leveret_codec::{PropertyFields, ShortStr};

    use super::super::fixtures::{refusal, table, text};
    use super::*;

    #[test]
    fn an_expiration_is_a_decimal_number() {
        let cases: [(&[u8], u64); 7] = [
            (b"0", 0),
            (b"60000", 60_000),
            (b"+5", 5),
            (b"0005", 5),
            (b"-0", 0),
            (b"315360000000", 315_360_000_000),
            (b"00000000000000000000000000000000315360000000", 315_360_000_000),
        ];
        for (expiration, expected) in cases {
            assert_eq!(expiration_ms(expiration), Ok(expected));
        }
    }

    #[test]
    fn another_expiration_is_refused_with_its_reason() {
        let many = "9".repeat(255);
        let cases = [
            ("", "no_integer"),
            ("soon", "no_integer"),
            (" 5", "no_integer"),
            ("-", "no_integer"),
            ("+-5", "no_integer"),
            ("1.5", "{leftover_string,\".5\"}"),
            ("5x", "{leftover_string,\"x\"}"),
            ("0x10", "{leftover_string,\"x10\"}"),
            ("-5 ", "{leftover_string,\" \"}"),
            ("5\0", "{leftover_string,[0]}"),
            ("-1", "{value_negative,-1}"),
            ("-007", "{value_negative,-7}"),
            ("315360000001", "{value_too_large,315360000001}"),
            (&many, &format!("{{value_too_large,{many}}}")),
        ];
        for (expiration, reason) in cases {
            assert_eq!(
                refusal(expiration_ms(expiration.as_bytes())),
                format!("invalid expiration '{expiration}': {reason}")
            );
        }
    }

    fn array(values: &[Value<'_>]) -> ArrayBuilder {
        let mut array = ArrayBuilder::default();
        for value in values {
            array.push(value);
        }
        array
    }

    #[test]
    fn copies_go_to_the_keys_of_cc_and_then_of_bcc() {
        let (cc, bcc) = (array(&[text("a"), Value::I32(1), text("")]), array(&[text("b")]));
        let (cc, bcc) = (Value::Array(cc.as_array()), Value::Array(bcc.as_array()));
        let headers = table(&[("BCC", bcc), ("x", Value::Void), ("CC", cc), ("CC", bcc)]);
        let expected = CopyKeys { keys: vec![b"a", b"", b"b"], visible: 2, has_bcc: true };
        assert_eq!(copy_keys(headers.as_table()), Ok(expected));

        let only_cc = table(&[("CC", cc)]);
        let copies = copy_keys(only_cc.as_table()).unwrap();
        assert_eq!((copies.visible, copies.has_bcc), (2, false));
    }

    #[test]
    fn no_header_is_no_copy() {
        assert_eq!(copy_keys(Table::EMPTY), Ok(CopyKeys::default()));
        let other = table(&[("cc", text("a")), ("bcc", text("b"))]);
        assert_eq!(copy_keys(other.as_table()), Ok(CopyKeys::default()));
        let empty = table(&[("BCC", Value::Array(array(&[]).as_array()))]);
        assert!(copy_keys(empty.as_table()).unwrap().has_bcc);
    }

    #[test]
    fn a_copy_key_counts_once() {
        let mut keys = ArrayBuilder::default();
        for key in ["a", "b", "a", "", "b"] {
            keys.push(&text(key));
        }
        let headers = table(&[("CC", Value::Array(keys.as_array()))]);
        let copies = copy_keys(headers.as_table()).unwrap();
        assert_eq!((copies.keys, copies.visible), (vec![&b"a"[..], b"b", b""], 3));
    }

    #[test]
    fn copy_keys_are_arrays() {
        let headers = table(&[("CC", text("a"))]);
        assert_eq!(
            refusal(copy_keys(headers.as_table())),
            "invalid message: {unacceptable_type_in_header,\"CC\",longstr}"
        );
        let headers = table(&[("BCC", Value::U16(1))]);
        assert_eq!(
            refusal(copy_keys(headers.as_table())),
            "invalid message: {unacceptable_type_in_header,\"BCC\",unsignedshort}"
        );
    }

    fn encoded(fields: &PropertyFields<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        fields.encode(&mut bytes);
        bytes
    }

    #[test]
    fn a_header_is_taken_out_and_the_rest_stays() {
        let (one, two) = (("z", Value::I32(1)), ("a", text("2")));
        let headers = table(&[one, ("BCC", Value::Void), two, one, ("BCC", Value::Void)]);
        let kept = table(&[one, two, one]);
        let fields = PropertyFields {
            content_type: Some(ShortStr::from_static("text/plain")),
            headers: Some(headers.as_table()),
            delivery_mode: Some(2),
            ..PropertyFields::default()
        };
        let before = encoded(&fields);
        let expected = encoded(&PropertyFields { headers: Some(kept.as_table()), ..fields });
        assert_eq!(without_header(Properties::parse(&before).unwrap(), b"BCC"), expected);
        assert_eq!(without_header(Properties::parse(&before).unwrap(), b"CC"), before);
    }

    #[test]
    fn the_last_header_leaves_an_empty_table_and_none_leaves_none() {
        let headers = table(&[("BCC", Value::Void)]);
        let fields =
            PropertyFields { headers: Some(headers.as_table()), ..PropertyFields::default() };
        let empty = PropertyFields { headers: Some(Table::EMPTY), ..fields };
        let properties = encoded(&fields);
        let properties = Properties::parse(&properties).unwrap();
        assert_eq!(without_header(properties, b"BCC"), encoded(&empty));
        assert_eq!(without_header(Properties::EMPTY, b"BCC"), Properties::EMPTY.as_bytes());
    }
}
