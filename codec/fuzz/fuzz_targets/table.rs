//! A field table, checked, read to its end and put together again: `fuzz/run.sh table`.

#![cfg_attr(fuzzing, no_main)]

use leveret_codec::table::{MAX_DEPTH, Table, TableBuilder, Value};
use leveret_codec_fuzz::fuzz_target;

fuzz_target!(|entries: &[u8]| {
    match Table::parse(entries) {
        Ok(table) => {
            let mut copy = TableBuilder::default();
            for entry in table.iter() {
                copy.push_raw(entry.raw());
                walk(entry.value, 1);
                assert!(table.find(entry.name.as_bytes()).is_some());
            }
            assert_eq!(copy.as_table(), table, "a checked table is read to its end");
        }
        Err(error) => assert!(error.offset <= entries.len()),
    }
});

fn walk(value: Value<'_>, depth: usize) {
    assert!(depth <= MAX_DEPTH, "a checked table is no deeper than the limit");
    match value {
        Value::Table(table) => table.iter().for_each(|entry| walk(entry.value, depth + 1)),
        Value::Array(array) => array.iter().for_each(|value| walk(value, depth + 1)),
        _ => {}
    }
}
