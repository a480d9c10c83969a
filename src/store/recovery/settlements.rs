//! Recovery of a settlement file: as long as the catalog says, and each entry that is whole.

use crate::broker::paging::PageOwner;
use crate::broker::record::{DurableQueueId, Position};

use super::super::error::StoreError;
use super::super::files::Files;
use super::super::report::Report;
use super::super::segment::{SETTLEMENT_LENGTH, Segment, parse_settlement};

/// What a settlement file says.
pub(super) struct Settlements {
    pub(super) entries: Vec<(Position, Position)>,
    /// Whether nothing is missing.
    pub(super) are_whole: bool,
}

/// Cuts off what an unfinished checkpoint appended, and reads the rest.
pub(super) fn roll_back(
    files: &Files,
    id: DurableQueueId,
    segment: &mut Segment,
    report: &mut Report,
) -> Result<Settlements, StoreError> {
    let mut settlements = Settlements { entries: Vec::new(), are_whole: true };
    let path = segment.settled_path(files, PageOwner::Durable(id));
    let named = segment.settled_length;
    let Some(length) = files.length(&path)? else {
        if named > 0 {
            report.damaged(&path, 0, named, "missing; what it settled is back");
            segment.settled_length = 0;
            settlements.are_whole = false;
        }
        return Ok(settlements);
    };
    segment.settled_length = named.min(length - length % SETTLEMENT_LENGTH as u64);
    if segment.settled_length < named {
        let missing = named - segment.settled_length;
        report.damaged(&path, segment.settled_length, missing, "cut; what it settled is back");
        settlements.are_whole = false;
    }
    if segment.settled_length < length {
        files.truncate(&path, segment.settled_length)?;
    }
    settlements.read(files, &path, segment.settled_length, report);
    Ok(settlements)
}

impl Settlements {
    fn read(&mut self, files: &Files, path: &str, length: u64, report: &mut Report) {
        let mut bytes = vec![0; length as usize];
        if length == 0 {
            return;
        }
        if let Err(error) = files.disk.read(path, 0, &mut bytes) {
            let what = format!("cannot be read ({error}); what it settled is back");
            report.damaged(path, 0, length, what);
            self.are_whole = false;
            return;
        }
        for (index, entry) in bytes.chunks(SETTLEMENT_LENGTH).enumerate() {
            if let Some(range) = parse_settlement(entry, files.salt) {
                self.entries.push(range);
            } else {
                let offset = (index * SETTLEMENT_LENGTH) as u64;
                let what = "not whole; what it settled is back";
                report.damaged(path, offset, entry.len() as u64, what);
                self.are_whole = false;
            }
        }
    }
}
