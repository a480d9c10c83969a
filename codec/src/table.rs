//! Field tables: checked once, read lazily.
//!
//! A table is the octets it came in. [`Table::parse`] walks all of it once; after that its entries
//! are read where they lie, in their order, duplicates and all, and a table that is only passed on
//! is never taken apart.
//!
//! ```text
//!   table   size of the entries (32 bits) ┤ entry ├┤ entry ├ ...
//!   entry   ┤ name (short string) ├┤ tag (1 octet) ├┤ value ├
//!   array   size of the values (32 bits) ┤ tag ├┤ value ├┤ tag ├┤ value ├ ...
//! ```
//!
//! A [`Table`] is the entries without their size, an [`Array`] the values without theirs.
//!
//! rabbitmq: the tags are those of RabbitMQ and its clients, which differ from the table in section
//! 4.2.1 of the specification: `s` is a 16-bit integer, `l` has a sign, and there is `x`.

mod builder;
mod value;

pub use builder::{ArrayBuilder, TableBuilder};
pub use value::{Array, Value};

use std::fmt::{self, Debug, Formatter};
use std::sync::Arc;

use nom::Parser;
use nom::combinator::{consumed, map};

use crate::error::{TableError, TableErrorKind};
use crate::wire::{self, Parsed, ShortStr};

/// How deep tables and arrays may lie in each other, the outermost counted.
// why: whoever walks a table recursively, here or in the broker, needs a bound on the stack, and
// five octets a level would be enough to take it away. Real tables have three levels or four.
pub const MAX_DEPTH: usize = 64;

/// A field table that borrows its octets: the entries, without the size before them.
///
/// invariant: a table made by [`parse`](Self::parse) can be read to its end. Reading one that was
/// never checked ends where it is broken.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Table<'a>(&'a [u8]);

impl<'a> Table<'a> {
    /// The table without entries.
    pub const EMPTY: Table<'static> = Table(&[]);

    /// Checks the entries, and those of all tables in them.
    pub fn parse(entries: &'a [u8]) -> Result<Self, TableError> {
        check(entries, Shape::Table, 1)?;
        Ok(Self(entries))
    }

    /// Takes entries of which it is known, or does not matter, that they can be read.
    #[inline]
    pub(crate) const fn unchecked(entries: &'a [u8]) -> Self {
        Self(entries)
    }

    /// The entries as they came.
    #[inline]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.0
    }

    /// Whether there is no entry.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The entries in their order.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = Entry<'a>> + Clone + use<'a> {
        Items { rest: self.0, read: entry }
    }

    /// The value of the first entry of this name.
    pub fn find(&self, name: &[u8]) -> Option<Value<'a>> {
        self.iter().find(|entry| entry.name.as_bytes() == name).map(|entry| entry.value)
    }

    /// A copy that owns its octets.
    pub fn to_owned_table(&self) -> TableBuf {
        TableBuf(self.0.into())
    }
}

impl Debug for Table<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        // why: only a checked table has a bound on its depth, and this prints tables in tables.
        if Table::parse(self.0).is_err() {
            return write!(f, "undecodable table of {} octets", self.0.len());
        }
        f.debug_map().entries(self.iter().map(|entry| (entry.name, entry.value))).finish()
    }
}

/// One entry of a table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Entry<'a> {
    /// The name; a table may have it more than once.
    pub name: ShortStr<'a>,
    /// The value.
    pub value: Value<'a>,
    raw: &'a [u8],
}

impl<'a> Entry<'a> {
    /// The entry's octets, to be put into another table as they are.
    #[inline]
    pub const fn raw(&self) -> &'a [u8] {
        self.raw
    }
}

/// A field table that owns its octets. A clone shares them.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableBuf(Arc<[u8]>);

impl TableBuf {
    /// Checks the entries and copies them.
    pub fn parse(entries: &[u8]) -> Result<Self, TableError> {
        Table::parse(entries).map(Self::from)
    }

    /// The same table, borrowed.
    #[inline]
    pub fn as_table(&self) -> Table<'_> {
        Table(&self.0)
    }
}

impl From<Table<'_>> for TableBuf {
    fn from(table: Table<'_>) -> Self {
        table.to_owned_table()
    }
}

impl Debug for TableBuf {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Debug::fmt(&self.as_table(), f)
    }
}

/// Reads item after item, until nothing is left or it cannot be read.
#[derive(Clone)]
struct Items<'a, T> {
    rest: &'a [u8],
    read: fn(&'a [u8]) -> Parsed<'a, T>,
}

impl<T> Iterator for Items<'_, T> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        let (rest, item) = (self.read)(self.rest).ok()?;
        self.rest = rest;
        Some(item)
    }
}

#[inline]
fn entry(input: &[u8]) -> Parsed<'_, Entry<'_>> {
    map(consumed((wire::shortstr, value::read)), |(raw, (name, value))| Entry { name, value, raw })
        .parse(input)
}

/// Whether names stand before the values.
#[derive(Clone, Copy)]
enum Shape {
    Table,
    Array,
}

/// Walks a table or an array and everything in it. Each octet is looked at once: a nested table is
/// one value to the level above it.
fn check(items: &[u8], shape: Shape, depth: usize) -> Result<(), TableError> {
    if depth > MAX_DEPTH {
        return Err(TableError { offset: 0, kind: TableErrorKind::TooDeep });
    }
    let mut rest = items;
    while !rest.is_empty() {
        let read = match shape {
            Shape::Table => entry(rest).map(|(rest, entry)| (rest, entry.value)),
            Shape::Array => value::read(rest),
        };
        let (after, value) = read.map_err(|error| broken(items, error))?;
        let (nested, shape) = match value {
            Value::Table(table) => (table.as_bytes(), Shape::Table),
            Value::Array(array) => (array.as_bytes(), Shape::Array),
            _ => (&[][..], shape),
        };
        if !nested.is_empty() {
            let start = items.len() - after.len() - nested.len();
            check(nested, shape, depth + 1).map_err(|error| error.shifted(start))?;
        }
        rest = after;
    }
    Ok(())
}

/// The error of a reader, with its place among the items.
#[cold]
fn broken(items: &[u8], error: nom::Err<nom::error::Error<&[u8]>>) -> TableError {
    let (at, unknown_tag) = match error {
        nom::Err::Error(error) | nom::Err::Failure(error) => {
            (error.input, error.code == value::UNKNOWN_TAG)
        }
        // Readers of whole input do not ask for more.
        nom::Err::Incomplete(_) => (&[][..], false),
    };
    let kind = match at.first() {
        Some(&tag) if unknown_tag => TableErrorKind::UnknownTag(tag),
        _ => TableErrorKind::Truncated,
    };
    TableError { offset: items.len() - at.len(), kind }
}

#[cfg(test)]
mod tests;
