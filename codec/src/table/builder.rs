//! Building tables and arrays, entry by entry.

use super::{Array, Table, TableBuf, Value, value};
use crate::wire::{self, ShortStr};

/// Collects entries into a table.
///
/// ```
/// use leveret_codec::table::{ArrayBuilder, TableBuilder, Value};
///
/// let mut keys = ArrayBuilder::default();
/// keys.push(&Value::LongStr(b"field")).push(&Value::LongStr(b"wood"));
/// let mut headers = TableBuilder::default();
/// headers.push(b"CC", &Value::Array(keys.as_array())).push(b"count", &Value::I64(2));
/// assert_eq!(headers.finish().as_table().find(b"count"), Some(Value::I64(2)));
/// ```
#[derive(Clone, Debug, Default)]
pub struct TableBuilder {
    entries: Vec<u8>,
}

impl TableBuilder {
    /// Appends an entry. A name is cut at 255 octets.
    pub fn push(&mut self, name: &[u8], value: &Value<'_>) -> &mut Self {
        wire::put_shortstr(&mut self.entries, ShortStr::truncated(name));
        value::put(&mut self.entries, value);
        self
    }

    /// Appends an entry of another table, or several, as they came; see
    /// [`Entry::raw`](super::Entry::raw).
    pub fn push_raw(&mut self, entries: &[u8]) -> &mut Self {
        self.entries.extend_from_slice(entries);
        self
    }

    /// The entries so far, without a size before them.
    pub fn as_bytes(&self) -> &[u8] {
        &self.entries
    }

    /// The table so far, to be put into another one.
    pub fn as_table(&self) -> Table<'_> {
        Table::unchecked(&self.entries)
    }

    /// The table.
    pub fn finish(self) -> TableBuf {
        TableBuf(self.entries.into())
    }
}

/// Collects values into an array.
#[derive(Clone, Debug, Default)]
pub struct ArrayBuilder {
    values: Vec<u8>,
}

impl ArrayBuilder {
    /// Appends a value.
    pub fn push(&mut self, value: &Value<'_>) -> &mut Self {
        value::put(&mut self.values, value);
        self
    }

    /// The values so far, without a size before them.
    pub fn as_bytes(&self) -> &[u8] {
        &self.values
    }

    /// The array so far, to be put into a table.
    pub fn as_array(&self) -> Array<'_> {
        Array::unchecked(&self.values)
    }
}
