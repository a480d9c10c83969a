//! The inventory: what must be in the log, so that a file that is missing at its end is noticed.
//!
//! A header and nothing else: the number of the newest log file, and the last record that there was when this was
//! written, which is when a log file is begun, and when the store is closed. Files in the middle need no such
//! thing, as the numbers of their records would be missing between their neighbours.
//!
//! why: what is appended to the newest file is not noted here, as each write would have two syncs then.

use super::disk::{Disk, VERSION};
use super::error::{During, StoreError};
use super::framing::Header;
use super::log;
use super::report::Report;
use super::subdirectory::replace_whole;
use crate::broker::record::Lsn;

const MAGIC: [u8; 8] = *b"lvrt-inv";
/// Where it is.
pub const INVENTORY: &str = "inventory";

/// What must be in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Inventory {
    /// The number of the newest log file.
    pub(super) log_file: u64,
    /// A record that was there.
    pub(super) last: Lsn,
}

impl Inventory {
    /// Reads it, if it is there and whole; what is wrong with it is reported.
    pub(super) fn read(
        disk: &dyn Disk,
        report: &mut Report,
    ) -> Result<Option<Inventory>, StoreError> {
        let Some(length) = disk.length(INVENTORY).during("examine", INVENTORY)? else {
            return Ok(None);
        };
        match Header::read(disk, INVENTORY, MAGIC).during("read", INVENTORY)? {
            Some(Header { version, .. }) if version != VERSION => {
                Err(StoreError::other_version(INVENTORY, version))
            }
            Some(Header { numbers: [log_file, last], .. }) => {
                Ok(Some(Inventory { log_file, last: Lsn(last) }))
            }
            None => {
                let what =
                    "not whole; written anew, and log files that are missing are not noticed";
                report.damaged(INVENTORY, 0, length, what);
                Ok(None)
            }
        }
    }

    /// Writes it in place of what was there.
    pub(super) fn write(self, disk: &dyn Disk) -> Result<(), StoreError> {
        let mut bytes = Vec::new();
        Header::new(MAGIC, [self.log_file, self.last.0]).put(&mut bytes);
        replace_whole(disk, INVENTORY, &bytes).during("write", INVENTORY)
    }

    /// Reports what is missing at the end of a log whose newest file and last record are these.
    pub(super) fn compare(self, newest: Option<u64>, last: Lsn, report: &mut Report) {
        if newest.is_none_or(|newest| newest < self.log_file) {
            report.damaged(&log::path(self.log_file), 0, 0, "missing, with all records in it");
        }
        if last < self.last {
            let what = format!("records {} to {} are missing", last.0 + 1, self.last.0);
            report.damaged(&log::path(newest.unwrap_or(self.log_file)), 0, 0, what);
        }
    }
}
