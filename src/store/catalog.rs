//! The catalog: the definitions, and what of each queue is in segments, as of one moment.
//!
//! Replacing it is what makes a checkpoint count: it says up to which record the log is no longer
//! needed, and how long each segment is. What an unfinished checkpoint appended lies beyond those
//! lengths, is still in the log, and is cut off by the next start.
//!
//! why: there are two copies, written one after the other. A store without its catalog would be
//! segments of unknown queues; a flipped bit must not do that.

use std::io;
use std::sync::Arc;

use crate::broker::record::{DurableQueueId, Lsn, Record};

use super::disk::{Disk, VERSION};
use super::error::{During, StoreError};
use super::files::{Files, Purpose};
use super::format::{
    Fields, Malformed, parse_record, put_bound, put_exchange, put_queue, put_u32, put_u64,
};
use super::framing::{FrameReader, Header, Item, Keys, put_frame};
use super::report::Damage;
use super::segment::{Extent, Segment};
use super::state::{Queue, State};

const MAGIC: [u8; 8] = *b"lvrt-cat";
/// In the order in which they are written and believed.
const COPIES: [&str; 2] = ["catalog", "catalog.copy"];
pub(super) const DRAFT: &str = "catalog.draft";

// Tags of what is in a catalog beside records, apart from theirs.
const SUMMARY: u8 = 128;
const QUEUE_STATE: u8 = 129;

/// What a catalog says.
#[derive(Default)]
pub(super) struct Catalog {
    pub(super) salt: u32,
    /// The last record the definitions reflect.
    pub(super) last: Lsn,
    /// The last record whose log file was checkpointed.
    pub(super) moved: Lsn,
    pub(super) state: State,
}

/// Writes the copy that counts.
pub(super) fn write_first(files: &Files, catalog: &[u8]) -> Result<(), StoreError> {
    files.ask_room(catalog.len() as u64, Purpose::Commit)?;
    replace(&*files.disk, COPIES[0], catalog)?;
    keep_draft(files);
    Ok(())
}

/// Writes the other one. invariant: nothing that only the catalog before needs is removed until it
/// is there, or a start that has to fall back to it would miss that.
pub(super) fn write_copy(files: &Files, catalog: &[u8]) -> Result<(), StoreError> {
    files.ask_room(catalog.len() as u64, Purpose::Commit)?;
    replace(&*files.disk, COPIES[1], catalog)?;
    keep_draft(files);
    Ok(())
}

/// Puts a file in place of the one that has the name, whole or not at all.
fn replace(disk: &dyn Disk, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
    if disk.length(DRAFT).during("examine", DRAFT)?.is_some_and(|length| length > 0) {
        disk.remove(DRAFT).during("remove", DRAFT)?;
    }
    let mut draft = disk.open_append(DRAFT).unless_short("open", DRAFT)?;
    draft.append(bytes).unless_short("write", DRAFT)?;
    draft.sync().during("sync", DRAFT)?;
    drop(draft);
    disk.rename(DRAFT, name).unless_short("rename a file to", name)?;
    disk.sync_directory("").during("sync the directory of", name)
}

/// Sees to it that there is a file that the next catalog can be written to.
///
/// why: where no inodes are left, a checkpoint makes some, and it needs one itself. Where there is none now there
/// may be one then.
pub(super) fn keep_draft(files: &Files) {
    let _ = files.disk.open_append(DRAFT);
}

/// The bytes of a catalog.
pub(super) fn encode(salt: u32, state: &State, last: Lsn, moved: Lsn) -> Vec<u8> {
    let mut frames = Vec::new();
    let mut count = 0;
    let mut put = |fill: &dyn Fn(&mut Vec<u8>)| {
        count += 1;
        put_frame(&mut frames, salt, count, fill);
    };
    put(&|out| {
        out.push(SUMMARY);
        put_u64(out, last.0);
        put_u64(out, moved.0);
        put_u64(out, state.last_queue_id.0);
        put_u32(out, state.doomed.len() as u32);
        state.doomed.iter().for_each(|id| put_u64(out, id.0));
    });
    for exchange in state.exchanges() {
        put(&|out| put_exchange(out, exchange));
    }
    for queue in state.queues.values() {
        put(&|out| put_queue(out, &queue.definition));
        put(&|out| put_queue_state(out, queue));
    }
    for binding in state.bindings() {
        put(&|out| put_bound(out, binding));
    }
    let mut bytes = Vec::with_capacity(frames.len() + 32);
    Header::new(MAGIC, [u64::from(salt), count]).put(&mut bytes);
    bytes.append(&mut frames);
    bytes
}

fn put_queue_state(out: &mut Vec<u8>, queue: &Queue) {
    out.push(QUEUE_STATE);
    put_u64(out, queue.definition.id.0);
    put_u64(out, queue.last_position);
    put_u32(out, queue.delivered.len() as u32);
    for &(priority, position) in &queue.delivered {
        out.push(priority);
        put_u64(out, position);
    }
    put_u32(out, queue.returns.len() as u32);
    for (&position, &returns) in &queue.returns {
        put_u64(out, position);
        put_u32(out, returns);
    }
    let is_named = |segment: &&Segment| !segment.live.is_empty() && segment.named.messages > 0;
    put_u32(out, queue.segments.iter().filter(is_named).count() as u32);
    for segment in queue.segments.iter().filter(is_named) {
        let Extent { last, length, messages, body_bytes } = segment.named;
        let numbers = [segment.number, segment.first, last, length, messages, body_bytes];
        numbers.iter().for_each(|&number| put_u64(out, number));
        put_u64(out, segment.settled_length);
    }
}

/// One copy as it was found.
enum Found {
    Missing,
    Whole { bytes: Vec<u8>, catalog: Box<Catalog> },
    Broken(Damage),
}

/// Reads the catalog, mends a copy that is not like the other, and adds what it found wrong to
/// `cuts`. `None`: there is none, as before the first start.
pub(super) fn read(
    disk: &Arc<dyn Disk>,
    cuts: &mut Vec<Damage>,
) -> Result<Option<Catalog>, StoreError> {
    let [first, second] = COPIES;
    let found = (read_copy(disk, first)?, read_copy(disk, second)?);
    let (good, bytes, mend, other) = match found {
        (Found::Missing, Found::Missing) => return Ok(None),
        (Found::Whole { bytes, catalog }, other) => (catalog, bytes, second, other),
        (other, Found::Whole { bytes, catalog }) => (catalog, bytes, first, other),
        (Found::Broken(damage), _) | (_, Found::Broken(damage)) => {
            let what = format!("{}, and no copy is whole", damage.what);
            return Err(StoreError::Damaged { path: damage.path, what });
        }
    };
    match other {
        Found::Whole { bytes: same, .. } if same == bytes => return Ok(Some(*good)),
        Found::Broken(damage) => cuts.push(damage),
        // The last start or checkpoint was interrupted between the two.
        Found::Missing | Found::Whole { .. } => {}
    }
    replace(&**disk, mend, &bytes)?;
    Ok(Some(*good))
}

fn read_copy(disk: &Arc<dyn Disk>, name: &str) -> Result<Found, StoreError> {
    let Some(length) = disk.length(name).during("examine", name)? else {
        return Ok(Found::Missing);
    };
    let mut bytes = vec![0; length as usize];
    let count = disk.read(name, 0, &mut bytes).during("read", name)?;
    bytes.truncate(count);
    let broken = |offset, what: &str| {
        Ok(Found::Broken(Damage {
            path: name.to_owned(),
            offset,
            bytes: length - offset,
            what: format!("{what}; the copy was used"),
        }))
    };
    let Some(header) = Header::parse(&bytes, MAGIC) else {
        return broken(0, "its header is not whole");
    };
    if header.version != VERSION {
        return Err(StoreError::other_version(name, header.version));
    }
    let [salt, frames] = header.numbers;
    let mut reader = FrameReader::new(
        disk.clone(),
        name.to_owned(),
        salt as u32,
        Keys::RisingTo(frames),
        None,
        length,
    );
    match parse(&mut reader, frames).during("read", name)? {
        Ok(mut catalog) => {
            catalog.salt = salt as u32;
            Ok(Found::Whole { bytes, catalog: Box::new(catalog) })
        }
        Err(Malformed(what)) => broken(reader.offset(), what),
    }
}

fn parse(reader: &mut FrameReader, frames: u64) -> io::Result<Result<Catalog, Malformed>> {
    let mut catalog = Catalog::default();
    for expected in 1..=frames {
        let parsed = match reader.next()? {
            Item::Frame { key, payload } if key == expected => catalog.add(payload),
            _ => Err(Malformed("it is not whole")),
        };
        if let Err(malformed) = parsed {
            return Ok(Err(malformed));
        }
    }
    let ends = matches!(reader.next()?, Item::End);
    Ok(if ends { Ok(catalog) } else { Err(Malformed("it is longer than it says")) })
}

impl Catalog {
    fn add(&mut self, payload: &[u8]) -> Result<(), Malformed> {
        let mut fields = Fields(payload);
        match fields.u8()? {
            SUMMARY => self.add_summary(&mut fields)?,
            QUEUE_STATE => self.add_queue_state(&mut fields)?,
            _ => match parse_record(payload)? {
                // No record of a catalog is in a log file.
                record @ (Record::ExchangeDeclared(_)
                | Record::QueueDeclared(_)
                | Record::Bound(_)) => {
                    self.state.apply(&record, 0);
                    return Ok(());
                }
                _ => return Err(Malformed("it holds a record that is no definition")),
            },
        }
        fields.end()
    }

    fn add_summary(&mut self, fields: &mut Fields<'_>) -> Result<(), Malformed> {
        self.last = Lsn(fields.u64()?);
        self.moved = Lsn(fields.u64()?);
        self.state.last_queue_id = DurableQueueId(fields.u64()?);
        for _ in 0..fields.u32()? {
            self.state.doomed.insert(fields.queue()?);
        }
        Ok(())
    }

    fn add_queue_state(&mut self, fields: &mut Fields<'_>) -> Result<(), Malformed> {
        let id = fields.queue()?;
        let queue = self.state.queues.get_mut(&id).ok_or(Malformed("a queue's state before it"))?;
        queue.last_position = fields.u64()?;
        for _ in 0..fields.u32()? {
            let priority = fields.u8()?;
            queue.deliver(priority, fields.u64()?);
        }
        for _ in 0..fields.u32()? {
            let position = fields.u64()?;
            queue.returns.insert(position, fields.u32()?);
        }
        for _ in 0..fields.u32()? {
            let (number, first) = (fields.u64()?, fields.u64()?);
            let extent = Extent {
                last: fields.u64()?,
                length: fields.u64()?,
                messages: fields.u64()?,
                body_bytes: fields.u64()?,
            };
            if extent.last < first || extent.messages == 0 {
                return Err(Malformed("a segment that ends before it begins"));
            }
            let mut segment = Segment::recovered(number, first, extent);
            segment.settled_length = fields.u64()?;
            queue.segments.add_recovered(segment);
        }
        Ok(())
    }
}
