//! The values of a table and their types.

use std::fmt::{self, Debug, Formatter};

use nom::Parser;
use nom::combinator::map;
use nom::error::{Error, ErrorKind};

use super::{Items, Shape, Table, check};
use crate::wire::{self, Parsed};

/// A value of a field table, read one level deep.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Value<'a> {
    /// `t`: an octet, true unless it is 0.
    Bool(bool),
    /// `b`
    I8(i8),
    /// `B`
    U8(u8),
    /// `s`
    I16(i16),
    /// `u`
    U16(u16),
    /// `I`
    I32(i32),
    /// `i`
    U32(u32),
    /// `l`, and `L` when it is read.
    I64(i64),
    /// `f`
    F32(f32),
    /// `d`
    F64(f64),
    /// `D`: the value, with `scale` of its digits behind the point.
    // rabbitmq: reads the value unsigned, where the specification has a sign.
    Decimal {
        /// How many digits are behind the point.
        scale: u8,
        /// All digits.
        value: u32,
    },
    /// `S`: octets, mostly a text.
    LongStr(&'a [u8]),
    /// `x`: octets that are no text.
    Bytes(&'a [u8]),
    /// `T`: seconds since 1970.
    Timestamp(u64),
    /// `F`
    Table(Table<'a>),
    /// `A`
    Array(Array<'a>),
    /// `V`: nothing.
    Void,
}

impl<'a> Value<'a> {
    /// The octet that says which type this is.
    pub const fn tag(&self) -> u8 {
        self.kind().0
    }

    /// The type in the words of RabbitMQ's error texts.
    pub const fn type_name(&self) -> &'static str {
        self.kind().1
    }

    const fn kind(&self) -> (u8, &'static str) {
        match self {
            Self::Bool(_) => (b't', "bool"),
            Self::I8(_) => (b'b', "byte"),
            Self::U8(_) => (b'B', "unsignedbyte"),
            Self::I16(_) => (b's', "short"),
            Self::U16(_) => (b'u', "unsignedshort"),
            Self::I32(_) => (b'I', "signedint"),
            Self::U32(_) => (b'i', "unsignedint"),
            Self::I64(_) => (b'l', "long"),
            Self::F32(_) => (b'f', "float"),
            Self::F64(_) => (b'd', "double"),
            Self::Decimal { .. } => (b'D', "decimal"),
            Self::LongStr(_) => (b'S', "longstr"),
            Self::Bytes(_) => (b'x', "binary"),
            Self::Timestamp(_) => (b'T', "timestamp"),
            Self::Table(_) => (b'F', "table"),
            Self::Array(_) => (b'A', "array"),
            Self::Void => (b'V', "void"),
        }
    }

    /// The number, when it is of an integer type.
    pub fn as_i64(&self) -> Option<i64> {
        match *self {
            Self::I8(value) => Some(value.into()),
            Self::U8(value) => Some(value.into()),
            Self::I16(value) => Some(value.into()),
            Self::U16(value) => Some(value.into()),
            Self::I32(value) => Some(value.into()),
            Self::U32(value) => Some(value.into()),
            Self::I64(value) => Some(value),
            _ => None,
        }
    }

    /// The truth value, when it is one.
    pub const fn as_bool(&self) -> Option<bool> {
        match *self {
            Self::Bool(value) => Some(value),
            _ => None,
        }
    }

    /// The octets of a long string.
    pub const fn as_bytes(&self) -> Option<&'a [u8]> {
        match *self {
            Self::LongStr(value) => Some(value),
            _ => None,
        }
    }

    /// The table, when it is one.
    pub const fn as_table(&self) -> Option<Table<'a>> {
        match *self {
            Self::Table(value) => Some(value),
            _ => None,
        }
    }

    /// The array, when it is one.
    pub const fn as_array(&self) -> Option<Array<'a>> {
        match *self {
            Self::Array(value) => Some(value),
            _ => None,
        }
    }
}

/// The code of the error at a tag that no type has.
pub(super) const UNKNOWN_TAG: ErrorKind = ErrorKind::Switch;

/// Reads a tag and its value. What is in a table or an array is not looked at.
#[inline]
pub(super) fn read(input: &[u8]) -> Parsed<'_, Value<'_>> {
    let (rest, tag) = wire::octet(input)?;
    match tag {
        b't' => map(wire::octet, |octet| Value::Bool(octet != 0)).parse(rest),
        b'b' => map(wire::array, |array| Value::I8(i8::from_be_bytes(array))).parse(rest),
        b'B' => map(wire::octet, Value::U8).parse(rest),
        b's' => map(wire::array, |array| Value::I16(i16::from_be_bytes(array))).parse(rest),
        b'u' => map(wire::short, Value::U16).parse(rest),
        b'I' => map(wire::array, |array| Value::I32(i32::from_be_bytes(array))).parse(rest),
        b'i' => map(wire::long, Value::U32).parse(rest),
        b'l' | b'L' => map(wire::array, |array| Value::I64(i64::from_be_bytes(array))).parse(rest),
        b'f' => map(wire::array, |array| Value::F32(f32::from_be_bytes(array))).parse(rest),
        b'd' => map(wire::array, |array| Value::F64(f64::from_be_bytes(array))).parse(rest),
        b'D' => map((wire::octet, wire::long), |(scale, value)| Value::Decimal { scale, value })
            .parse(rest),
        b'S' => map(wire::longstr, Value::LongStr).parse(rest),
        b'x' => map(wire::longstr, Value::Bytes).parse(rest),
        b'T' => map(wire::longlong, Value::Timestamp).parse(rest),
        b'F' => map(wire::raw_table, |raw| Value::Table(Table::unchecked(raw))).parse(rest),
        b'A' => map(wire::longstr, |raw| Value::Array(Array(raw))).parse(rest),
        b'V' => Ok((rest, Value::Void)),
        _ => Err(nom::Err::Error(Error::new(input, UNKNOWN_TAG))),
    }
}

/// Writes a tag and its value.
pub(super) fn put(out: &mut Vec<u8>, value: &Value<'_>) {
    wire::put_octet(out, value.tag());
    match *value {
        Value::Bool(value) => out.push(value.into()),
        Value::I8(value) => out.extend_from_slice(&value.to_be_bytes()),
        Value::U8(value) => wire::put_octet(out, value),
        Value::I16(value) => out.extend_from_slice(&value.to_be_bytes()),
        Value::U16(value) => wire::put_short(out, value),
        Value::I32(value) => out.extend_from_slice(&value.to_be_bytes()),
        Value::U32(value) => wire::put_long(out, value),
        Value::I64(value) => out.extend_from_slice(&value.to_be_bytes()),
        Value::F32(value) => out.extend_from_slice(&value.to_be_bytes()),
        Value::F64(value) => out.extend_from_slice(&value.to_be_bytes()),
        Value::Decimal { scale, value } => {
            wire::put_octet(out, scale);
            wire::put_long(out, value);
        }
        Value::LongStr(value) | Value::Bytes(value) => wire::put_longstr(out, value),
        Value::Timestamp(value) => wire::put_longlong(out, value),
        Value::Table(value) => wire::put_table(out, value),
        Value::Array(value) => wire::put_longstr(out, value.as_bytes()),
        Value::Void => {}
    }
}

/// A field array that borrows its octets: the values, without the size before them.
///
/// It was checked with the table it came in, or made by an
/// [`ArrayBuilder`](super::ArrayBuilder).
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Array<'a>(&'a [u8]);

impl<'a> Array<'a> {
    /// The array without values.
    pub const EMPTY: Array<'static> = Array(&[]);

    pub(super) const fn unchecked(values: &'a [u8]) -> Self {
        Self(values)
    }

    /// The values in their order.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = Value<'a>> + Clone + use<'a> {
        Items { rest: self.0, read }
    }

    /// The values as they came.
    #[inline]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.0
    }

    /// Whether there is no value.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many values there are; they are counted one by one.
    pub fn len(&self) -> usize {
        self.iter().count()
    }
}

impl Debug for Array<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        // why: as for a table, only a checked one has a bound on its depth.
        if check(self.0, Shape::Array, 1).is_err() {
            return write!(f, "undecodable array of {} octets", self.0.len());
        }
        f.debug_list().entries(self.iter()).finish()
    }
}
