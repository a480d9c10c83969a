//! The primitive types of the wire, read and written side by side.
//!
//! A reader is a nom parser: it takes the input and returns the rest with the value. All of them
//! are complete parsers, since a frame is only taken apart when all of it is there. A writer
//! appends to a `Vec<u8>`.
//!
//! spec: 4.2.5, the encoding of data. Bits, which share octets, are read by
//! [`method`](crate::method), where alone they occur.

mod short_str;

pub use short_str::{ShortStr, ShortString};

use nom::bytes::complete::take;
use nom::combinator::map;
use nom::error::{Error, ErrorKind};
use nom::{IResult, Parser};

use crate::table::Table;

/// What a reader returns: the rest of the input and the value.
pub type Parsed<'a, T> = IResult<&'a [u8], T>;

/// Reads an octet.
#[inline]
pub fn octet(input: &[u8]) -> Parsed<'_, u8> {
    map(array, u8::from_be_bytes).parse(input)
}

/// Writes an octet.
#[inline]
pub fn put_octet(out: &mut Vec<u8>, value: u8) {
    out.push(value);
}

/// Reads a short, 16 bits.
#[inline]
pub fn short(input: &[u8]) -> Parsed<'_, u16> {
    map(array, u16::from_be_bytes).parse(input)
}

/// Writes a short, 16 bits.
#[inline]
pub fn put_short(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// Reads a long, 32 bits.
#[inline]
pub fn long(input: &[u8]) -> Parsed<'_, u32> {
    map(array, u32::from_be_bytes).parse(input)
}

/// Writes a long, 32 bits.
#[inline]
pub fn put_long(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// Reads a longlong, 64 bits. A timestamp is one too: seconds since 1970.
#[inline]
pub fn longlong(input: &[u8]) -> Parsed<'_, u64> {
    map(array, u64::from_be_bytes).parse(input)
}

/// Writes a longlong, 64 bits.
#[inline]
pub fn put_longlong(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// Reads a short string: an octet of length, then that many octets.
#[inline]
pub fn shortstr(input: &[u8]) -> Parsed<'_, ShortStr<'_>> {
    let (rest, length) = octet(input)?;
    map(take(length), ShortStr::truncated).parse(rest)
}

/// Writes a short string.
#[inline]
pub fn put_shortstr(out: &mut Vec<u8>, value: ShortStr<'_>) {
    // invariant: a `ShortStr` holds at most 255 octets, so the length fits.
    out.push(value.len() as u8);
    out.extend_from_slice(value.as_bytes());
}

/// Reads a long string: 32 bits of length, then that many octets.
#[inline]
pub fn longstr(input: &[u8]) -> Parsed<'_, &[u8]> {
    let (rest, length) = long(input)?;
    take(length).parse(rest)
}

/// Writes a long string.
#[inline]
pub fn put_longstr(out: &mut Vec<u8>, value: &[u8]) {
    // why: 32 bits cannot announce 4 GiB; what is over is cut, so that the length stays true.
    let length = u32::try_from(value.len()).unwrap_or(u32::MAX);
    put_long(out, length);
    out.extend_from_slice(&value[..length as usize]);
}

/// Reads a field table's length and entries. What is in them is checked by [`Table::parse`], since
/// a table that does not fit its frame and one of nonsense are answered differently.
#[inline]
pub fn raw_table(input: &[u8]) -> Parsed<'_, &[u8]> {
    longstr(input)
}

/// Writes a field table with its length.
#[inline]
pub fn put_table(out: &mut Vec<u8>, value: Table<'_>) {
    put_longstr(out, value.as_bytes());
}

/// The next `N` octets as an array.
// why: one length check and one load; the generic integer parsers of nom go octet by octet.
#[inline]
pub(crate) fn array<const N: usize>(input: &[u8]) -> Parsed<'_, [u8; N]> {
    match input.split_first_chunk() {
        Some((array, rest)) => Ok((rest, *array)),
        None => Err(nom::Err::Error(Error::new(input, ErrorKind::Eof))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_big_endian() {
        let input = [1, 2, 3, 4, 5, 6, 7, 8, 9];
        assert_eq!(octet(&input), Ok((&input[1..], 1)));
        assert_eq!(short(&input), Ok((&input[2..], 0x0102)));
        assert_eq!(long(&input), Ok((&input[4..], 0x0102_0304)));
        assert_eq!(longlong(&input), Ok((&input[8..], 0x0102_0304_0506_0708)));

        let mut out = Vec::new();
        put_octet(&mut out, 1);
        put_short(&mut out, 0x0203);
        put_long(&mut out, 0x0405_0607);
        put_longlong(&mut out, 0x0809_0a0b_0c0d_0e0f);
        assert_eq!(out, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
    }

    #[test]
    fn strings_carry_their_length() {
        let mut out = Vec::new();
        put_shortstr(&mut out, ShortStr::from_static("hare"));
        put_longstr(&mut out, b"\x00\xff");
        assert_eq!(out, b"\x04hare\x00\x00\x00\x02\x00\xff");

        let (rest, text) = shortstr(&out).unwrap();
        assert_eq!(text.as_bytes(), b"hare");
        assert_eq!(longstr(rest), Ok((&[][..], &b"\x00\xff"[..])));
    }

    #[test]
    fn a_value_that_is_cut_is_an_error() {
        assert!(octet(&[]).is_err());
        assert!(short(&[1]).is_err());
        assert!(long(&[1, 2, 3]).is_err());
        assert!(longlong(&[0; 7]).is_err());
        assert!(shortstr(b"").is_err());
        assert!(shortstr(b"\x03ab").is_err());
        assert!(longstr(b"\x00\x00\x00\x01").is_err());
        assert!(longstr(b"\xff\xff\xff\xff all of it").is_err());
    }
}
