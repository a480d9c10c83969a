//! A data directory that was damaged, or written by somebody who knows the checksums: it is opened
//! or refused, never with a panic, and what was opened once is the same the next time.

#![no_main]

#[path = "../../tests/hostile/dialogue.rs"]
#[allow(dead_code)]
mod dialogue;
#[path = "../../tests/hostile/machine.rs"]
#[allow(dead_code)]
mod machine;

use std::sync::{Arc, OnceLock};

use leveret::broker::record::Recovered;
use leveret::broker::time::Time;
use leveret::broker::vhost::{Vhost, VhostSettings};
use leveret::store::{MemoryDisk, Options, Store};
use libfuzzer_sys::fuzz_target;
use machine::Machine;

/// Small files, so that there are several of each kind.
const OPTIONS: Options = Options { log_file_bytes: 500, log_files: 2, segment_bytes: 1000 };

/// Where a file's frames begin, and in a frame: its length, its checksum, what is counted.
const HEADER: usize = 32;
const PREFIX: usize = 8;

fuzz_target!(|input: &[u8]| {
    let (disk, salt) = original();
    let disk = disk.kill();
    for change in input.chunks_exact(6) {
        damage(&disk, *salt, change);
    }
    let Some(first) = open(&disk) else { return };
    let again = open(&disk.kill()).expect("it was opened before");
    assert_eq!(counts(&first), counts(&again), "the second recovery finds something else");
    let mut vhost = Vhost::new("/", &VhostSettings::default());
    vhost.recover(Time::from_millis(1_000_000), first);
    vhost.check_counters();
});

fn open(disk: &MemoryDisk) -> Option<Recovered> {
    let (store, recovered, _) = Store::open(Arc::new(disk.clone()), OPTIONS).ok()?;
    drop(store);
    Some(recovered)
}

fn counts(recovered: &Recovered) -> Vec<usize> {
    recovered.queues.iter().map(|queue| queue.messages.len()).collect()
}

/// One change of one file: which (1 octet), how (1), where (2), with what (2).
fn damage(disk: &MemoryDisk, salt: u32, change: &[u8]) {
    let &[which, how, w0, w1, value, more] = change else { return };
    let paths = disk.paths();
    let Some(path) = paths.get(usize::from(which) % paths.len().max(1)) else { return };
    let place = usize::from(u16::from_be_bytes([w0, w1]));
    let changed = disk.damage(path, |bytes| match how % 4 {
        0 => bytes.truncate(place),
        1 => bytes.extend(std::iter::repeat_n(value, more.into())),
        2 => {
            if let Some(octet) = bytes.get_mut(place) {
                *octet ^= value;
            }
        }
        // In a frame, whose checksum is made to fit.
        _ => reseal(bytes, salt, usize::from(w0), usize::from(w1), value),
    });
    changed.expect("the path was listed");
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
        let mut checksum = crc32fast::Hasher::new_with_initial(salt);
        checksum.update(&frame[PREFIX..]);
        frame[4..PREFIX].copy_from_slice(&checksum.finalize().to_le_bytes());
    }
}

/// The data directory of a broker that has had all the dialogues, and its salt.
fn original() -> &'static (MemoryDisk, u32) {
    static ORIGINAL: OnceLock<(MemoryDisk, u32)> = OnceLock::new();
    ORIGINAL.get_or_init(|| {
        let disk = MemoryDisk::default();
        let (mut store, ..) = Store::open(Arc::new(disk.clone()), OPTIONS).expect("it is empty");
        let mut machine = Machine::new();
        for dialogue in dialogue::dialogues() {
            let wire = machine.connect();
            for piece in dialogue::handshake().iter().chain(&dialogue) {
                machine.feed(wire, piece);
                let records = machine.take_records();
                if !records.is_empty() {
                    store.write(&records).expect("memory does not fail");
                    while store.checkpoint_step().expect("memory does not fail") {}
                }
            }
        }
        drop(store);
        let mut salt = 0;
        disk.damage("catalog", |bytes| {
            salt = u32::from_le_bytes(bytes[12..16].try_into().expect("four octets"));
        })
        .expect("there is a catalog");
        assert!(disk.paths().iter().any(|path| path.ends_with(".segment")), "{:?}", disk.paths());
        (disk, salt)
    })
}
