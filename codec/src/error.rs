//! What can be wrong with octets, as values: where it is wrong, and what was being read there.
//!
//! An error says no more than that. Whether a channel, the connection or nothing at all is closed
//! for it, and with which words, depends on what the peer was doing and is the broker's to decide.

use thiserror::Error;

/// A string longer than a short string may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a short string holds at most 255 octets, not {len}")]
pub struct TooLong {
    /// The length that was asked for, in octets.
    pub len: usize,
}

/// A frame that cannot be taken from the stream. What follows it cannot be found any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FrameError<'a> {
    /// The payload is larger than was agreed on.
    #[error("frame of type {kind} on channel {channel} has {size} octets, more than {limit}")]
    TooLarge {
        /// The frame's type.
        kind: u8,
        /// Its channel.
        channel: u16,
        /// The length of the payload, as the frame announces it.
        size: u32,
        /// The longest payload of the agreement, `frame_max - 8`.
        limit: u32,
    },
    /// The octet after the payload is not the end marker.
    #[error("frame of type {kind} on channel {channel} ends with {end:#04x}, not 0xce")]
    BadEnd {
        /// The frame's type.
        kind: u8,
        /// Its channel.
        channel: u16,
        /// What stood before the wrong octet.
        payload: &'a [u8],
        /// The octet in the end marker's place.
        end: u8,
    },
}

/// A method frame's payload that is no method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum MethodError<'a> {
    /// There is no room for the class and the method id.
    #[error("a method has a class id and a method id, 4 octets")]
    Short,
    /// The specification has no such method.
    #[error("there is no method {method_id} in class {class_id}")]
    Unknown {
        /// The class id.
        class_id: u16,
        /// The method id.
        method_id: u16,
    },
    /// The fields do not fill the payload: it is too short, or something is left over.
    #[error("method {class_id},{method_id} cannot be decoded at octet {offset}: {context}")]
    Malformed {
        /// The class id.
        class_id: u16,
        /// The method id.
        method_id: u16,
        /// The payload after the two ids.
        arguments: &'a [u8],
        /// Where in `arguments` it went wrong.
        offset: usize,
        /// The field that was read there, or [`TRAILING`].
        context: &'static str,
    },
    /// A field table has its announced length, but cannot be decoded.
    #[error("method {class_id},{method_id} has an undecodable table {field}: {source}")]
    BadTable {
        /// The class id.
        class_id: u16,
        /// The method id.
        method_id: u16,
        /// The field that is the table.
        field: &'static str,
        /// Where in the arguments, counted after the two ids, the table's first entry stands.
        offset: usize,
        /// What is wrong in it.
        source: TableError,
    },
    /// A short string of a method without content is not UTF-8.
    #[error("method {class_id},{method_id} has a field {field} that is not UTF-8")]
    NotUtf8 {
        /// The class id.
        class_id: u16,
        /// The method id.
        method_id: u16,
        /// The field.
        field: &'static str,
    },
}

/// The context of a [`MethodError::Malformed`] that has octets after its last field.
pub const TRAILING: &str = "octets after the last field";

/// A field table or field array that cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{kind} at octet {offset} of the table")]
pub struct TableError {
    /// Where it is wrong, counted from the first entry of the outermost table or array.
    pub offset: usize,
    /// What is wrong.
    pub kind: TableErrorKind,
}

/// What is wrong with a field table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TableErrorKind {
    /// A name or a value is longer than what is left of its table.
    #[error("cut name or value")]
    Truncated,
    /// No type has this tag.
    #[error("unknown type {0:#04x}")]
    UnknownTag(u8),
    /// Tables within tables, deeper than [`MAX_DEPTH`](crate::table::MAX_DEPTH).
    #[error("table nested too deeply")]
    TooDeep,
}

impl TableError {
    /// The same error, seen from a table that has this one `by` octets after its start.
    pub(crate) fn shifted(self, by: usize) -> Self {
        Self { offset: self.offset + by, ..self }
    }
}

/// Content properties that cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PropertiesError {
    /// There is no room for the flags.
    #[error("properties begin with 2 octets of flags")]
    NoFlags,
    /// The flags say that more flags follow, which no class of 0-9-1 needs.
    #[error("properties have more than 2 octets of flags")]
    Continued,
    /// A property that the flags announce is not there, or not all of it.
    #[error("property {property} is cut at octet {offset}")]
    Truncated {
        /// The property.
        property: &'static str,
        /// Where in the properties it should have been, counted from the flags.
        offset: usize,
    },
    /// The headers cannot be decoded.
    #[error("undecodable headers: {source}")]
    BadTable {
        /// What is wrong in them.
        source: TableError,
    },
    /// Octets follow the last property.
    #[error("octets after the last property, from {offset} on")]
    Trailing {
        /// Where they begin, counted from the flags.
        offset: usize,
    },
}
