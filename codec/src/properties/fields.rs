//! The fourteen properties as values, and the walk over them.

use super::Properties;
use crate::error::PropertiesError;
use crate::table::Table;
use crate::wire::{self, Parsed, ShortStr};

/// The flag that says that more flags follow.
const CONTINUED: u16 = 1;

/// Declares the fields with their bits, and everything that goes over all of them, once.
macro_rules! property_fields {
    ($($(#[$doc:meta])+ $bit:literal $field:ident $text:literal: $kind:ident $type:ty;)+) => {
        /// All properties of a content, taken apart.
        #[derive(Clone, Copy, Default, PartialEq, Debug)]
        pub struct PropertyFields<'a> {
            $($(#[$doc])+ pub $field: Option<$type>,)+
        }

        impl PropertyFields<'_> {
            /// Appends the flags and the values that are there.
            pub fn encode(&self, out: &mut Vec<u8>) {
                let mut flags = 0;
                $(flags |= u16::from(self.$field.is_some()) << $bit;)+
                wire::put_short(out, flags);
                $(if let Some(value) = self.$field {
                    property_fields!(@put $kind)(out, value);
                })+
            }
        }

        /// Reads properties from their flags on, as far as they can be read, and says what is
        /// wrong after that. The headers are not looked into.
        pub(super) fn read(bytes: &[u8]) -> (PropertyFields<'_>, Result<(), PropertiesError>) {
            let mut fields = PropertyFields::default();
            let Ok((mut rest, flags)) = wire::short(bytes) else {
                return (fields, Err(PropertiesError::NoFlags));
            };
            if flags & CONTINUED != 0 {
                return (fields, Err(PropertiesError::Continued));
            }
            $(if flags & (1 << $bit) != 0 {
                let Ok((after, value)) = property_fields!(@read $kind)(rest) else {
                    let offset = bytes.len() - rest.len();
                    return (fields, Err(PropertiesError::Truncated { property: $text, offset }));
                };
                fields.$field = Some(value);
                rest = after;
            })+
            if !rest.is_empty() {
                return (fields, Err(PropertiesError::Trailing { offset: bytes.len() - rest.len() }));
            }
            (fields, Ok(()))
        }

        /// Where the value of the property with this bit begins, when it is there: what stands
        /// before it is skipped.
        #[inline]
        // why: what is left after the last property is read by nobody.
        #[allow(unused_assignments)]
        pub(super) fn find(bytes: &[u8], bit: u32) -> Option<&[u8]> {
            let (mut rest, flags) = wire::short(bytes).ok()?;
            if flags & (1 << bit) == 0 || flags & CONTINUED != 0 {
                return None;
            }
            $(if bit == $bit {
                return Some(rest);
            }
            if flags & (1 << $bit) != 0 {
                (rest, _) = property_fields!(@read $kind)(rest).ok()?;
            })+
            None
        }
    };
    (@read shortstr) => { wire::shortstr };
    (@read table) => { table };
    (@read octet) => { wire::octet };
    (@read longlong) => { wire::longlong };
    (@put shortstr) => { wire::put_shortstr };
    (@put table) => { wire::put_table };
    (@put octet) => { wire::put_octet };
    (@put longlong) => { wire::put_longlong };
}

property_fields! {
    /// The MIME type of the body.
    15 content_type "content-type": shortstr ShortStr<'a>;
    /// The MIME encoding of the body.
    14 content_encoding "content-encoding": shortstr ShortStr<'a>;
    /// The table of the application's own headers.
    13 headers "headers": table Table<'a>;
    /// 1 for transient, 2 for persistent.
    12 delivery_mode "delivery-mode": octet u8;
    /// The message's priority.
    11 priority "priority": octet u8;
    /// What ties a reply to its request.
    10 correlation_id "correlation-id": shortstr ShortStr<'a>;
    /// The queue a reply goes to.
    9 reply_to "reply-to": shortstr ShortStr<'a>;
    /// How long the message lives: milliseconds, as a decimal text.
    8 expiration "expiration": shortstr ShortStr<'a>;
    /// The application's id of the message.
    7 message_id "message-id": shortstr ShortStr<'a>;
    /// Seconds since 1970.
    6 timestamp "timestamp": longlong u64;
    /// The application's type of the message, `type` in the specification.
    5 kind "type": shortstr ShortStr<'a>;
    /// The user who publishes the message.
    4 user_id "user-id": shortstr ShortStr<'a>;
    /// The application that publishes the message.
    3 app_id "app-id": shortstr ShortStr<'a>;
    /// Deprecated, but passed on.
    2 cluster_id "cluster-id": shortstr ShortStr<'a>;
}

impl<'a> From<Properties<'a>> for PropertyFields<'a> {
    fn from(properties: Properties<'a>) -> Self {
        properties.fields()
    }
}

/// Checks properties completely.
pub(super) fn check(bytes: &[u8]) -> Result<(), PropertiesError> {
    let (fields, outcome) = read(bytes);
    outcome?;
    if let Some(headers) = fields.headers {
        Table::parse(headers.as_bytes()).map_err(|source| PropertiesError::BadTable { source })?;
    }
    Ok(())
}

#[inline]
fn table(input: &[u8]) -> Parsed<'_, Table<'_>> {
    let (rest, entries) = wire::raw_table(input)?;
    Ok((rest, Table::unchecked(entries)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All fourteen, each value telling from the others.
    const ALL: &[u8] = b"\xff\xfc\x0atext/plain\x04gzip\x00\x00\x00\x03\x01hV\x02\x07\x04corr\
        \x05reply\x0260\x02id\x00\x00\x00\x00\x5f\x5e\x10\x00\x04type\x05guest\x03app\x07cluster";

    fn all() -> PropertyFields<'static> {
        let text = |text| Some(ShortStr::from_static(text));
        PropertyFields {
            content_type: text("text/plain"),
            content_encoding: text("gzip"),
            headers: Some(Table::unchecked(b"\x01hV")),
            delivery_mode: Some(2),
            priority: Some(7),
            correlation_id: text("corr"),
            reply_to: text("reply"),
            expiration: text("60"),
            message_id: text("id"),
            timestamp: Some(1_600_000_000),
            kind: text("type"),
            user_id: text("guest"),
            app_id: text("app"),
            cluster_id: text("cluster"),
        }
    }

    /// The same values, each found by its own accessor.
    fn one_by_one(properties: Properties<'_>) -> PropertyFields<'_> {
        PropertyFields {
            content_type: properties.content_type(),
            content_encoding: properties.content_encoding(),
            headers: properties.headers(),
            delivery_mode: properties.delivery_mode(),
            priority: properties.priority(),
            correlation_id: properties.correlation_id(),
            reply_to: properties.reply_to(),
            expiration: properties.expiration(),
            message_id: properties.message_id(),
            timestamp: properties.timestamp(),
            kind: properties.kind(),
            user_id: properties.user_id(),
            app_id: properties.app_id(),
            cluster_id: properties.cluster_id(),
        }
    }

    #[test]
    fn all_fourteen_are_read_and_written() {
        let properties = Properties::parse(ALL).unwrap();
        assert_eq!(properties.flags(), 0xfffc);
        assert_eq!(properties.fields(), all());
        assert_eq!(one_by_one(properties), all());
        let mut out = Vec::new();
        all().encode(&mut out);
        assert_eq!(out, ALL);
    }

    #[test]
    fn every_subset_is_found_by_every_accessor() {
        for mask in 0..1 << 14 {
            let mut fields = all();
            macro_rules! drop_unset {
                ($($bit:literal $field:ident)+) => {
                    $(if mask >> ($bit - 2) & 1 == 0 { fields.$field = None; })+
                };
            }
            drop_unset! {
                15 content_type 14 content_encoding 13 headers 12 delivery_mode 11 priority
                10 correlation_id 9 reply_to 8 expiration 7 message_id 6 timestamp 5 kind
                4 user_id 3 app_id 2 cluster_id
            }
            let mut bytes = Vec::new();
            fields.encode(&mut bytes);
            let properties = Properties::parse(&bytes).unwrap();
            assert_eq!(properties.flags(), mask << 2);
            assert_eq!(properties.fields(), fields);
            assert_eq!(one_by_one(properties), fields);
        }
    }

    #[test]
    fn no_properties_are_two_octets() {
        assert_eq!(Properties::parse(&[0, 0]), Ok(Properties::EMPTY));
        assert_eq!(Properties::EMPTY.fields(), PropertyFields::default());
        let mut out = Vec::new();
        PropertyFields::default().encode(&mut out);
        assert_eq!(out, Properties::EMPTY.as_bytes());
    }

    #[test]
    fn a_persistent_message_takes_the_short_way() {
        let properties = Properties::parse(&[0x10, 0, 2]).unwrap();
        assert_eq!(properties.delivery_mode(), Some(2));
        assert_eq!(properties.priority(), None);
    }

    #[test]
    fn the_unused_flag_is_ignored_and_the_continuation_is_not() {
        assert_eq!(Properties::parse(&[0x10, 2, 2]).unwrap().delivery_mode(), Some(2));
        assert_eq!(Properties::parse(&[0x10, 1, 2]), Err(PropertiesError::Continued));
        assert_eq!(Properties::from_checked(&[0x10, 1, 2]).delivery_mode(), None);
    }

    #[test]
    fn broken_properties_say_where() {
        use PropertiesError::{BadTable, NoFlags, Trailing, Truncated};
        let parse = |bytes| Properties::parse(bytes).expect_err("the properties are broken");
        assert_eq!(parse(b""), NoFlags);
        assert_eq!(parse(b"\x10"), NoFlags);
        assert_eq!(parse(b"\x10\x00"), Truncated { property: "delivery-mode", offset: 2 });
        assert_eq!(parse(b"\x88\x00\x02ab"), Truncated { property: "priority", offset: 5 });
        assert_eq!(parse(b"\x10\x00\x02\x00"), Trailing { offset: 3 });
        assert_eq!(parse(b"\x00\x00\x00"), Trailing { offset: 2 });
        let headers = parse(b"\x20\x00\x00\x00\x00\x03\x01a!");
        assert!(matches!(headers, BadTable { source } if source.offset == 2));
        let cut = parse(b"\x20\x00\x00\x00\x00\x03\x01a");
        assert_eq!(cut, Truncated { property: "headers", offset: 2 });
    }

    #[test]
    fn reading_what_was_never_checked_is_none_at_worst() {
        for length in 0..ALL.len() {
            let properties = Properties::from_checked(&ALL[..length]);
            let (fields, one_by_one) = (properties.fields(), one_by_one(properties));
            assert_eq!(fields, one_by_one, "cut after {length}");
        }
    }
}
