//! Short strings, borrowed and owned.
//!
//! invariant: at most 255 octets, since their length is one octet on the wire. They need not be
//! UTF-8: routing keys and properties pass through as they are.

use std::borrow::Borrow;
use std::fmt::{self, Debug, Display, Formatter};
use std::str::Utf8Error;
use std::sync::Arc;

use crate::error::TooLong;

/// The longest short string, in octets.
const MAX_LENGTH: usize = 255;

/// A short string that borrows its octets.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShortStr<'a>(&'a [u8]);

impl<'a> ShortStr<'a> {
    /// The empty string.
    pub const EMPTY: ShortStr<'static> = ShortStr(&[]);

    /// Takes octets that fit.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Result<Self, TooLong> {
        if bytes.len() > MAX_LENGTH { Err(TooLong { len: bytes.len() }) } else { Ok(Self(bytes)) }
    }

    /// Takes the first 255 octets.
    #[inline]
    pub fn truncated(bytes: &'a [u8]) -> Self {
        Self(&bytes[..bytes.len().min(MAX_LENGTH)])
    }

    /// Takes a text of the program itself.
    ///
    /// # Panics
    /// When the text is longer than 255 octets: in a constant this is an error of compilation.
    pub const fn from_static(text: &'static str) -> ShortStr<'static> {
        assert!(text.len() <= MAX_LENGTH, "longer than a short string may be");
        ShortStr(text.as_bytes())
    }

    /// The octets.
    #[inline]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.0
    }

    /// The text, when it is UTF-8.
    pub fn as_str(&self) -> Result<&'a str, Utf8Error> {
        std::str::from_utf8(self.0)
    }

    /// The length in octets.
    #[inline]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no octet in it.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A copy that owns its octets.
    pub fn to_owned_string(&self) -> ShortString {
        ShortString(self.0.into())
    }
}

impl Display for ShortStr<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(&String::from_utf8_lossy(self.0))
    }
}

impl Debug for ShortStr<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Debug::fmt(&String::from_utf8_lossy(self.0), f)
    }
}

/// A short string that owns its octets. A clone shares them.
///
/// It hashes and compares as its octets do, so a map of them is looked up by `&[u8]`.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShortString(Arc<[u8]>);

impl ShortString {
    /// Copies octets that fit.
    pub fn new(bytes: &[u8]) -> Result<Self, TooLong> {
        ShortStr::new(bytes).map(Self::from)
    }

    /// Copies the first 255 octets.
    pub fn truncated(bytes: &[u8]) -> Self {
        Self::from(ShortStr::truncated(bytes))
    }

    /// The same string, borrowed.
    #[inline]
    pub fn as_short(&self) -> ShortStr<'_> {
        ShortStr(&self.0)
    }

    /// The octets.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether there is no octet in it.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The length in octets.
    #[inline]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl Borrow<[u8]> for ShortString {
    #[inline]
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl From<ShortStr<'_>> for ShortString {
    fn from(short: ShortStr<'_>) -> Self {
        short.to_owned_string()
    }
}

impl Display for ShortString {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(&self.as_short(), f)
    }
}

impl Debug for ShortString {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Debug::fmt(&self.as_short(), f)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use super::*;

    #[test]
    fn holds_255_octets_and_not_one_more() {
        let long = [b'x'; 256];
        assert_eq!(ShortStr::new(&long[..255]).map(|short| short.len()), Ok(255));
        assert_eq!(ShortStr::new(&long), Err(TooLong { len: 256 }));
        assert_eq!(ShortStr::truncated(&long).len(), 255);
        assert_eq!(ShortString::new(&long), Err(TooLong { len: 256 }));
        assert_eq!(ShortString::truncated(&long).len(), 255);
    }

    #[test]
    fn maps_are_looked_up_by_octets() {
        let key = ShortString::truncated(b"hare");
        let hashed = HashMap::from([(key.clone(), 1)]);
        let sorted = BTreeMap::from([(key, 1)]);
        assert_eq!(hashed.get(&b"hare"[..]), Some(&1));
        assert_eq!(sorted.get(&b"hare"[..]), Some(&1));
    }

    #[test]
    fn octets_that_are_no_text_can_be_shown() {
        let odd = ShortStr::truncated(b"a\xffb");
        assert!(odd.as_str().is_err());
        assert_eq!(odd.to_string(), "a\u{fffd}b");
        assert_eq!(format!("{odd:?}"), "\"a\u{fffd}b\"");
        assert_eq!(odd.to_owned_string().to_string(), "a\u{fffd}b");
    }

    #[test]
    fn the_empty_string_is_the_default() {
        assert_eq!(ShortStr::default(), ShortStr::EMPTY);
        assert_eq!(ShortString::default().as_short(), ShortStr::EMPTY);
        assert!(ShortString::default().is_empty());
    }
}
