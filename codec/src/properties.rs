//! The properties of a message's content, as the octets they came in.
//!
//! ```text
//!   ┤ flags (16 bits) ├┤ values of the properties whose flag is set, in order ├
//!
//!   bit 15  content-type     shortstr     bit 8  expiration   shortstr
//!   bit 14  content-encoding shortstr     bit 7  message-id   shortstr
//!   bit 13  headers          table        bit 6  timestamp    64 bits
//!   bit 12  delivery-mode    octet        bit 5  type         shortstr
//!   bit 11  priority         octet        bit 4  user-id      shortstr
//!   bit 10  correlation-id   shortstr     bit 3  app-id       shortstr
//!   bit 9   reply-to         shortstr     bit 2  cluster-id   shortstr
//! ```
//!
//! A broker reads two or three of them and passes all of them on, so they are checked once when
//! they come in and stay what they are. Only who makes a message, or changes one, takes them apart
//! into [`PropertyFields`] and encodes those.
//!
//! spec: 4.2.6.1, the content header. Bit 0 would announce more flags; no class has that many.
//! rabbitmq: the unused bit 1 is ignored, and short strings need not be UTF-8.

mod fields;

pub use fields::PropertyFields;

use std::fmt::{self, Debug, Formatter};

use crate::error::PropertiesError;
use crate::table::Table;
use crate::wire::{self, ShortStr};

/// The properties of a content, borrowed.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Properties<'a>(&'a [u8]);

impl Default for Properties<'_> {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl<'a> Properties<'a> {
    /// No properties.
    pub const EMPTY: Properties<'static> = Properties(&[0, 0]);

    /// Checks the rest of a content header, after the size of the body: flags, values, the headers
    /// and that nothing follows.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, PropertiesError> {
        // why: most messages have no properties, or say that they are persistent and nothing else.
        if matches!(bytes, [0, 0] | [0x10, 0, _]) {
            return Ok(Self(bytes));
        }
        fields::check(bytes)?;
        Ok(Self(bytes))
    }

    /// Takes octets that came out of [`as_bytes`](Self::as_bytes) of properties that were checked.
    ///
    /// Nothing is checked again. Of other octets, what cannot be read is `None`.
    #[inline]
    pub const fn from_checked(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Flags and values as they came.
    #[inline]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.0
    }

    /// The flags; see the [module](self).
    #[inline]
    pub fn flags(&self) -> u16 {
        wire::short(self.0).map_or(0, |(_, flags)| flags)
    }

    /// All properties, in one pass.
    pub fn fields(&self) -> PropertyFields<'a> {
        fields::read(self.0).0
    }

    /// The MIME type of the body.
    pub fn content_type(&self) -> Option<ShortStr<'a>> {
        self.short_string(15)
    }

    /// The MIME encoding of the body.
    pub fn content_encoding(&self) -> Option<ShortStr<'a>> {
        self.short_string(14)
    }

    /// The table of the application's own headers.
    pub fn headers(&self) -> Option<Table<'a>> {
        let (_, entries) = wire::raw_table(self.at(13)?).ok()?;
        Some(Table::unchecked(entries))
    }

    /// 1 for transient, 2 for persistent.
    #[inline]
    pub fn delivery_mode(&self) -> Option<u8> {
        self.at(12)?.first().copied()
    }

    /// The message's priority.
    pub fn priority(&self) -> Option<u8> {
        self.at(11)?.first().copied()
    }

    /// What ties a reply to its request.
    pub fn correlation_id(&self) -> Option<ShortStr<'a>> {
        self.short_string(10)
    }

    /// The queue a reply goes to.
    pub fn reply_to(&self) -> Option<ShortStr<'a>> {
        self.short_string(9)
    }

    /// How long the message lives: milliseconds, as a decimal text.
    pub fn expiration(&self) -> Option<ShortStr<'a>> {
        self.short_string(8)
    }

    /// The application's id of the message.
    pub fn message_id(&self) -> Option<ShortStr<'a>> {
        self.short_string(7)
    }

    /// Seconds since 1970.
    pub fn timestamp(&self) -> Option<u64> {
        let (_, timestamp) = wire::longlong(self.at(6)?).ok()?;
        Some(timestamp)
    }

    /// The application's type of the message, `type` in the specification.
    pub fn kind(&self) -> Option<ShortStr<'a>> {
        self.short_string(5)
    }

    /// The user who publishes the message.
    pub fn user_id(&self) -> Option<ShortStr<'a>> {
        self.short_string(4)
    }

    /// The application that publishes the message.
    pub fn app_id(&self) -> Option<ShortStr<'a>> {
        self.short_string(3)
    }

    /// Deprecated, but passed on.
    pub fn cluster_id(&self) -> Option<ShortStr<'a>> {
        self.short_string(2)
    }

    /// Where the value of the property with this bit begins, when it is there.
    #[inline]
    fn at(&self, bit: u32) -> Option<&'a [u8]> {
        fields::find(self.0, bit)
    }

    fn short_string(&self, bit: u32) -> Option<ShortStr<'a>> {
        let (_, text) = wire::shortstr(self.at(bit)?).ok()?;
        Some(text)
    }
}

impl Debug for Properties<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Debug::fmt(&self.fields(), f)
    }
}
