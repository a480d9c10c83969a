//! A data directory that was damaged, or written by somebody who knows the checksums: it is opened
//! or refused, never with a panic, and what was opened once is the same the next time.

#![cfg_attr(fuzzing, no_main)]

#[path = "../../tests/hostile/dialogue.rs"]
#[allow(dead_code)]
mod dialogue;
#[path = "../../tests/hostile/machine.rs"]
#[allow(dead_code)]
mod machine;
#[path = "../../tests/support/steps.rs"]
mod steps;
/// Where the machine looks for it.
mod support {
    pub(crate) use crate::steps;
}

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, OnceLock};

use leveret::broker::message::Message;
use leveret::broker::paging::{Cold, PageOwner, PagedMessage};
use leveret::broker::record::{
    DurableQueueId, Placement, Position, Record, Recovered, RecoveredQueue,
};
use leveret::broker::time::Time;
use leveret::broker::vhost::{Vhost, VhostSettings};
use leveret::store::{MemoryDisk, Options, Store, StoreError};
use leveret_codec::{Properties, ShortStr};
use leveret_codec_fuzz::fuzz_target;
use machine::Machine;

/// Small files, so that there are several of each kind.
const OPTIONS: Options =
    Options { log_file_bytes: 500, log_files: 2, segment_bytes: 1000, start_bytes: 2000 };

/// Where a file's frames begin, and in a frame: its length, its checksum, what is counted.
const HEADER: usize = 32;
const PREFIX: usize = 8;
/// A settlement: its checksum, and all of it.
const CHECKSUM: usize = 4;
const SETTLEMENT: usize = 20;

/// A data directory as a broker left it.
struct Original {
    disk: MemoryDisk,
    salt: u32,
    /// Every message that was written.
    written: HashSet<Vec<u8>>,
}

/// The positions that live, by queue.
type Living = BTreeMap<DurableQueueId, BTreeSet<Position>>;

fuzz_target!(|input: &[u8]| {
    let original = original();
    let disk = original.disk.kill();
    let mut is_forged = false;
    for change in input.chunks_exact(6) {
        is_forged |= damage(&disk, original.salt, change);
    }
    let Some((mut store, recovered)) = open(&disk) else { return };
    let (again_store, again) = open(&disk.kill()).expect("it was opened before");
    assert_eq!(counts(&recovered), counts(&again), "the second recovery finds something else");
    drop(again_store);

    let living = warm_up(&mut store, &recovered, original, is_forged);
    let settled = settle_some(&mut store, &living, input);
    page_out_more(&mut store);
    checkpoint(&mut store, is_forged);
    drop(store);
    let (mut store, after) = open(&disk.kill()).expect("it was opened before");
    let left = warm_up(&mut store, &after, original, is_forged);
    if !is_forged {
        assert_eq!(left, settled, "a checkpoint changed what lives");
    }

    let mut vhost = Vhost::new("/", &VhostSettings::default());
    vhost.recover(Time::from_millis(1_000_000), recovered);
    vhost.check_counters();
});

fn open(disk: &MemoryDisk) -> Option<(Store, Recovered)> {
    let (store, recovered, _) = Store::open(Arc::new(disk.clone()), OPTIONS).ok()?;
    Some((store, recovered))
}

fn counts(recovered: &Recovered) -> Vec<(usize, Option<Cold>)> {
    recovered.queues.iter().map(|queue| (queue.messages.len(), queue.cold)).collect()
}

/// Reads all that is on the disk, and says what lives.
fn warm_up(
    store: &mut Store,
    recovered: &Recovered,
    original: &Original,
    is_forged: bool,
) -> Living {
    let mut living = Living::new();
    for queue in &recovered.queues {
        let mut messages: Vec<_> =
            queue.messages.iter().map(|found| (found.position, found.message.clone())).collect();
        if let Some(cold) = queue.cold {
            let paged = page_in(store, queue, cold, is_forged);
            messages.extend(paged.into_iter().map(|found| (found.position, found.message)));
        }
        let mut positions = BTreeSet::new();
        for (position, message) in messages {
            let is_new = positions.insert(position);
            assert!(is_new || is_forged, "position {position} lives twice");
            let is_known = original.written.contains(message.as_bytes());
            assert!(is_known || is_forged, "nobody wrote what is at position {position}");
        }
        living.insert(queue.definition.id, positions);
    }
    living
}

/// The cold part of a queue, which is as recovery said, unless damage is reported.
fn page_in(
    store: &mut Store,
    queue: &RecoveredQueue,
    cold: Cold,
    is_forged: bool,
) -> Vec<PagedMessage> {
    let owner = PageOwner::Durable(queue.definition.id);
    let mut messages: Vec<PagedMessage> = Vec::new();
    let mut next = Some(cold.first);
    store.take_damage();
    while let Some(first) = next {
        let page = store.page_in(owner, first, cold.last, 300).expect("memory does not fail");
        assert!(page.next.is_none_or(|next| next > first), "it does not go on");
        messages.extend(page.messages);
        next = page.next;
    }
    let rises = messages.windows(2).all(|pair| pair[0].position < pair[1].position);
    assert!(rises || is_forged, "positions do not rise");
    let is_inside = |found: &PagedMessage| (cold.first..=cold.last).contains(&found.position);
    assert!(messages.iter().all(is_inside), "beyond the cold part");
    let count = messages.len() as u64;
    assert!(count <= cold.messages, "{count} of {} came back", cold.messages);
    let is_told = !store.take_damage().is_empty();
    assert!(count == cold.messages || is_told, "messages are lost, and nobody was told");
    messages
}

/// Does all that is due. Where positions that do not rise were made to look whole, the store may
/// refuse to let go of what it cannot find any more.
fn checkpoint(store: &mut Store, is_forged: bool) {
    loop {
        match store.checkpoint_step() {
            Ok(true) => {}
            Ok(false) => return,
            Err(StoreError::Damaged { .. }) if is_forged => return,
            Err(error) => panic!("memory does not fail: {error}"),
        }
    }
}

/// Settles what the input says; returns what is left.
fn settle_some(store: &mut Store, living: &Living, input: &[u8]) -> Living {
    let mut left = living.clone();
    let mut choice = input.iter().cycle();
    let mut records = Vec::new();
    for (&queue, positions) in &mut left {
        positions.retain(|&position| {
            let is_settled = choice.next().is_some_and(|octet| octet % 2 == 1);
            if is_settled {
                records.push(Record::Settled {
                    queue,
                    first: position,
                    last: position,
                    acknowledged: false,
                });
            }
            !is_settled
        });
    }
    store.write(&records).expect("memory does not fail");
    left
}

/// Pages out what goes with the process, which the next start is to throw away.
fn page_out_more(store: &mut Store) {
    let message = original_message();
    let owner = PageOwner::Transient(7);
    let paged = |position| PagedMessage {
        position,
        expires_at: None,
        recorded: false,
        message: message.clone(),
    };
    let messages: Vec<_> = (1..20).map(paged).collect();
    store.page_out(owner, &messages).expect("memory does not fail");
    let page = store.page_in(owner, 1, 19, 1 << 20).expect("memory does not fail");
    assert_eq!(page.messages, messages, "pages do not come back");
    store.pages_done(owner, 1, 10);
}

/// One change of one file: which (1 octet), how (1), where (2), with what (2). True if it is made to
/// look whole.
fn damage(disk: &MemoryDisk, salt: u32, change: &[u8]) -> bool {
    let &[which, how, w0, w1, value, more] = change else { return false };
    let paths = disk.paths();
    let Some(path) = paths.get(usize::from(which) % paths.len().max(1)) else { return false };
    let place = usize::from(u16::from_be_bytes([w0, w1]));
    let changed = disk.damage(path, |bytes| match how % 8 {
        0 => bytes.truncate(place),
        1 => bytes.extend(std::iter::repeat_n(value, more.into())),
        2 => {
            if let Some(octet) = bytes.get_mut(place) {
                *octet ^= value;
            }
        }
        3 => reseal_header(bytes, usize::from(w1), value),
        4 if path.ends_with(".settled") => {
            reseal_settlement(bytes, salt, usize::from(w0), usize::from(w1), value);
        }
        // In a frame, whose checksum is made to fit.
        _ => reseal(bytes, salt, usize::from(w0), usize::from(w1), value),
    });
    changed.expect("the path was listed");
    how % 8 >= 3
}

/// Changes an octet of the header, and its checksum with it.
fn reseal_header(bytes: &mut [u8], place: usize, value: u8) {
    let Some(header) = bytes.get_mut(..HEADER) else { return };
    let (content, sealed) = header.split_at_mut(HEADER - CHECKSUM);
    if let Some(octet) = content.get_mut(place) {
        *octet ^= value;
    }
    sealed.copy_from_slice(&crc32fast::hash(content).to_le_bytes());
}

/// Changes an octet of the settlement of this number, and its checksum with it.
fn reseal_settlement(bytes: &mut [u8], salt: u32, number: usize, place: usize, value: u8) {
    let Some(entry) = bytes.chunks_exact_mut(SETTLEMENT).nth(number) else { return };
    if let Some(octet) = entry.get_mut(CHECKSUM + place) {
        *octet ^= value;
    }
    seal(entry, salt, CHECKSUM);
}

/// Changes an octet of the frame of this number, and its checksum with it.
fn reseal(bytes: &mut [u8], salt: u32, number: usize, place: usize, value: u8) {
    let mut start = HEADER;
    for left in (0..=number).rev() {
        let Some(length) = bytes.get(start..start + 4) else { return };
        let length = u32::from_le_bytes(length.try_into().expect("four octets")) as usize;
        let end = start.saturating_add(PREFIX).saturating_add(length);
        let Some(frame) = bytes.get_mut(start..end) else { return };
        start = end;
        if left > 0 {
            continue;
        }
        if let Some(octet) = frame.get_mut(PREFIX + place) {
            *octet ^= value;
        }
        seal(frame, salt, PREFIX);
    }
}

/// Makes the checksum fit what comes behind it.
fn seal(bytes: &mut [u8], salt: u32, behind: usize) {
    let mut checksum = crc32fast::Hasher::new_with_initial(salt);
    checksum.update(&bytes[behind..]);
    bytes[behind - CHECKSUM..behind].copy_from_slice(&checksum.finalize().to_le_bytes());
}

/// The data directory of a broker that has had all the dialogues and paged out some of it.
fn original() -> &'static Original {
    static ORIGINAL: OnceLock<Original> = OnceLock::new();
    ORIGINAL.get_or_init(|| {
        let disk = MemoryDisk::default();
        let (mut store, ..) = Store::open(Arc::new(disk.clone()), OPTIONS).expect("it is empty");
        let mut machine = Machine::new();
        let mut written = Vec::new();
        for dialogue in dialogue::dialogues() {
            let wire = machine.connect();
            for piece in dialogue::handshake().iter().chain(&dialogue) {
                machine.feed(wire, piece);
                let records = machine.take_records();
                if !records.is_empty() {
                    store.write(&records).expect("memory does not fail");
                    page_out(&mut store, &records, &mut written);
                    while store.checkpoint_step().expect("memory does not fail") {}
                }
            }
        }
        live_on(&mut store, &mut written);
        page_out_more(&mut store);
        drop(store);
        let mut salt = 0;
        disk.damage("catalog", |bytes| {
            salt = u32::from_le_bytes(bytes[12..16].try_into().expect("four octets"));
        })
        .expect("there is a catalog");
        for ending in [".log", ".segment", ".settled", ".page"] {
            let found = disk.paths().iter().any(|path| path.ends_with(ending));
            assert!(found, "no {ending} in {:?}", disk.paths());
        }
        Original { disk, salt, written: written.into_iter().collect() }
    })
}

/// Gives a queue more messages, of which some are done with when they are in segments.
fn live_on(store: &mut Store, written: &mut Vec<Vec<u8>>) {
    let queue = DurableQueueId(1);
    let first = 1000;
    for position in first..first + 60 {
        let placement = Placement { queue, position, expires_at: None };
        let message = original_message();
        let mut records =
            vec![Record::Enqueued { message, placements: std::iter::once(placement).collect() }];
        if position > first + 20 && position % 3 == 0 {
            let settled = position - 20;
            records.push(Record::Settled {
                queue,
                first: settled,
                last: settled,
                acknowledged: false,
            });
        }
        store.write(&records).expect("memory does not fail");
        if position % 7 < 2 {
            page_out(store, &records, written);
        }
        written.push(original_message().as_bytes().to_vec());
        while store.checkpoint_step().expect("memory does not fail") {}
    }
}

/// Pages out the second half of what was enqueued.
fn page_out(store: &mut Store, records: &[Record], written: &mut Vec<Vec<u8>>) {
    let mut pages: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for record in records {
        let Record::Enqueued { message, placements } = record else { continue };
        written.push(message.as_bytes().to_vec());
        for placement in placements {
            pages.entry(placement.queue).or_default().push(PagedMessage {
                position: placement.position,
                expires_at: placement.expires_at,
                recorded: true,
                message: message.clone(),
            });
        }
    }
    for (queue, messages) in pages {
        let half = &messages[messages.len() / 2..];
        store.page_out(PageOwner::Durable(queue), half).expect("memory does not fail");
    }
}

/// Some message.
fn original_message() -> Message {
    static MESSAGE: OnceLock<Message> = OnceLock::new();
    let make = || Message::new(ShortStr::EMPTY, ShortStr::EMPTY, Properties::EMPTY, b"gone soon");
    MESSAGE.get_or_init(make).clone()
}
