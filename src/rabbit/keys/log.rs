//! What is logged, and where.

use super::Row;
use crate::rabbit::draft::Draft;
use crate::rabbit::entry::Entry;
use crate::rabbit::value::{Expected, boolean, level};

pub(super) const KEYS: &[Row] = &[
    ("log.console", |draft, entry| {
        draft.log.console = Some(boolean(&entry.value)?);
        Ok(())
    }),
    ("log.console.level", |draft, entry| {
        draft.log.console_level = Some(level(&entry.value)?);
        Ok(())
    }),
    ("log.file", |draft, entry| {
        draft.log.file = Some(match entry.value.as_str() {
            "false" => None,
            name => Some(name.to_owned()),
        });
        Ok(())
    }),
    ("log.file.level", |draft, entry| {
        draft.log.file_level = Some(level(&entry.value)?);
        Ok(())
    }),
    ("log.dir", |draft, entry| {
        draft.log.directory = Some(entry.value.clone().into());
        Ok(())
    }),
    ("log.default.level", |draft, entry| {
        draft.log.default_level = Some(level(&entry.value)?);
        Ok(())
    }),
    ("log.connection.level", |draft, entry| category(draft, entry)),
    ("log.channel.level", |draft, entry| category(draft, entry)),
    ("log.console.formatter", |draft, entry| formatter(draft, entry)),
    ("log.file.formatter", |draft, entry| formatter(draft, entry)),
];

/// rabbitmq: connections and channels are categories of their own; here both are the server's.
fn category(draft: &mut Draft, entry: &Entry) -> Result<(), Expected> {
    draft.log.server_level = Some(level(&entry.value)?);
    Ok(())
}

fn formatter(draft: &mut Draft, entry: &Entry) -> Result<(), Expected> {
    match entry.value.as_str() {
        "plaintext" => Ok(()),
        "json" => {
            draft.warn(entry, "the log is lines of text");
            Ok(())
        }
        _ => Err("plaintext or json".to_owned()),
    }
}
