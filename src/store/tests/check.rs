//! A check says what a start would do, finds what a start leaves unread, and changes nothing.

use std::collections::BTreeMap;

use super::damage::{QUEUE, first_path, with_messages_in_segments, with_messages_in_the_log};
use super::*;

/// All files and what is in them.
fn files(disk: &MemoryDisk) -> BTreeMap<String, Vec<u8>> {
    let content = |path: String| {
        let bytes = read_whole(disk, &path).unwrap().unwrap();
        (path, bytes)
    };
    disk.paths().into_iter().map(content).collect()
}

/// Checks a store, and that it is left as it was.
#[track_caller]
fn checked(disk: &MemoryDisk) -> Result<Check, StoreError> {
    let before = files(disk);
    let found = check(Arc::new(disk.clone()));
    assert_eq!(files(disk), before, "a check changed something");
    found
}

/// Checks a store in which one place is damaged.
#[track_caller]
fn damage_of(disk: &MemoryDisk) -> Damage {
    let found = checked(disk).unwrap();
    assert_eq!(found.damage.len(), 1, "{:?}", found.damage);
    found.damage[0].clone()
}

/// How many messages each queue has.
fn counts(recovered: &Recovered) -> Vec<u64> {
    recovered.queues.iter().map(|queue| queue.messages.len() as u64).collect()
}

/// What a check says of messages, damage and files is what a start finds and does.
fn agrees_with_a_start(disk: &MemoryDisk) {
    let (found, before) = (checked(disk), files(disk));
    // The sizes that a check uses, as those of a start are; then everything is paged in.
    let started = open_on(Arc::new(disk.clone()), Options::default());
    let (found, recovered, report) = match (found, started) {
        (Ok(found), Ok((_, recovered, report))) => (found, recovered, report),
        (Err(found), Err(refused)) => {
            assert_eq!(found.to_string(), refused.to_string());
            return;
        }
        (found, started) => {
            panic!("{found:?} where a start says {:?}", started.map(|(.., report)| report))
        }
    };
    let messages: Vec<_> = found.queues.iter().map(|queue| queue.messages).collect();
    assert_eq!(messages, counts(&recovered), "{report}\n{found:?}");
    let body = |queue: &crate::broker::record::RecoveredQueue| {
        queue.messages.iter().map(|it| it.message.body().len() as u64).sum::<u64>()
    };
    let body_bytes: u64 = recovered.queues.iter().map(body).sum();
    assert_eq!(found.body_bytes(), body_bytes);
    assert_eq!(found.exchanges, recovered.exchanges.len() as u64);
    assert_eq!(found.bindings, recovered.bindings.len() as u64);
    for cut in &report.cuts {
        let is_same = |it: &Damage| it.path == cut.path && it.offset == cut.offset;
        assert!(found.damage.iter().any(is_same), "{cut} is not in {:?}", found.damage);
    }
    let mut expected = before.clone();
    for change in &found.changes {
        match change {
            Change::Cut { path, length, .. } => {
                expected.get_mut(path).unwrap().truncate(*length as usize);
            }
            Change::Removed { path, .. } => drop(expected.remove(path)),
            Change::Replaced { path } => {
                expected.insert(path.clone(), files(disk)[path].clone());
            }
            Change::Made { path } => {
                assert!(!before.contains_key(path) && disk.paths().contains(path), "{path}");
            }
        }
    }
    let mut after = files(disk);
    after.retain(|path, _| before.contains_key(path));
    // Nothing is in it; what becomes of it is not told.
    for files in [&mut after, &mut expected] {
        files.remove(catalog::DRAFT);
    }
    assert_eq!(after, expected, "{:?}", found.changes);
}

#[test]
fn a_whole_store_is_counted() {
    for seed in 0..10 {
        let disk = MemoryDisk::default();
        drop(lived_in_store(&disk, seed));
        let found = checked(&disk).unwrap();
        assert_eq!((&found.damage[..], &found.changes[..]), (&[][..], &[][..]));
        assert!(found.log_files > 0 && found.log_records > 0 && found.log_bytes > 0);
        assert!(found.segments() > 0 && found.segment_bytes() > 0);
        agrees_with_a_start(&disk);
    }
}

#[test]
fn an_empty_store_is_whole() {
    let disk = MemoryDisk::default();
    let found = checked(&disk).unwrap();
    let made: Vec<_> = found.changes.iter().map(Change::path).collect();
    assert_eq!(made, ["catalog", "catalog.copy", INVENTORY, &log::path(1)]);
    assert_eq!(Check { changes: Vec::new(), ..found }, Check::default());
}

#[test]
fn it_says_what_a_start_would_do_to_any_damage() {
    for seed in 0..150 {
        let mut dice = Dice(seed);
        let disk = MemoryDisk::default();
        drop(lived_in_store(&disk, seed % 7));
        for _ in 0..=dice.below(2) {
            let paths = disk.paths();
            let path = &paths[dice.below(paths.len() as u64) as usize];
            let length = disk.length(path).unwrap().unwrap();
            let place = dice.below(length.max(1)) as usize;
            match dice.below(5) {
                0 => disk.damage(path, |bytes| bytes.truncate(place)).unwrap(),
                1 => disk.damage(path, |bytes| bytes.extend([7; 40])).unwrap(),
                2 => disk.remove(path).unwrap(),
                _ if length > 0 => disk.damage(path, |bytes| bytes[place] ^= 1 << 3).unwrap(),
                _ => {}
            }
        }
        agrees_with_a_start(&disk);
    }
}

#[test]
fn an_interrupted_checkpoint_is_no_damage() {
    let disk = MemoryDisk::default();
    with_messages_in_the_log(&disk);
    let (mut store, ..) = open(&disk);
    for position in 7..=40 {
        store.write(&[model::enqueued(&[(QUEUE, position)], 30)]).unwrap();
    }
    let mut changed = 0;
    while store.checkpoint_step().unwrap() {
        let left = disk.kill();
        let found = checked(&left).unwrap();
        assert_eq!(found.damage, []);
        changed += found.changes.len();
        agrees_with_a_start(&left);
    }
    assert!(changed > 0);
}

#[test]
fn damage_to_the_log_is_named() {
    let whole = MemoryDisk::default();
    with_messages_in_the_log(&whole);
    let path = log::path(1);
    let length = whole.length(&path).unwrap().unwrap();

    let torn = whole.kill();
    torn.damage(&path, |bytes| bytes.truncate(length as usize - 3)).unwrap();
    // The store was closed, so that it is known what was there.
    let found = checked(&torn).unwrap().damage;
    let [damage, missing] = &found[..] else { panic!("{found:?}") };
    assert_eq!((&damage.path, damage.offset + damage.bytes), (&path, length - 3));
    assert_eq!(damage.what, "a torn end after record 7; cut off");
    assert_eq!((&missing.path, &*missing.what), (&path, "records 8 to 8 are missing"));
    let changes = checked(&torn).unwrap().changes;
    let Some(Change::Cut { path: cut, length, .. }) = changes.last() else { panic!("{changes:?}") };
    assert_eq!((cut, *length), (&path, damage.offset));

    whole.damage(&path, |bytes| bytes[200] ^= 1).unwrap();
    assert!(damage_of(&whole).what.starts_with("not whole; records "));
}

#[test]
fn damage_to_a_cold_segment_is_named_with_what_it_costs() {
    let whole = MemoryDisk::default();
    with_messages_in_segments(&whole);
    let path = first_path(&whole, ".segment");
    let disk = whole.kill();
    disk.damage(&path, |bytes| bytes[60] ^= 1).unwrap();
    let (_, _, report) = Store::open(Arc::new(disk.kill()), TINY).unwrap();
    assert_eq!(report.cuts, [], "a start does not read it");
    let damage = damage_of(&disk);
    assert_eq!((&damage.path, damage.offset), (&path, framing::HEADER_LENGTH as u64));
    assert_eq!(damage.what, "not whole; 1 message of queue \"queue 1\" is lost");
    agrees_with_a_start(&disk);

    let disk = whole.kill();
    disk.remove(&path).unwrap();
    assert!(damage_of(&disk).what.starts_with("missing, with the messages at positions 1 to "));
    agrees_with_a_start(&disk);

    // Settled, but still there: it costs nothing.
    let (mut store, ..) = Store::open(Arc::new(whole.clone()), TINY).unwrap();
    store
        .write(&[Record::Settled { queue: QUEUE, first: 1, last: 1, acknowledged: false }])
        .unwrap();
    drop(store);
    whole.damage(&path, |bytes| bytes[60] ^= 1).unwrap();
    assert_eq!(damage_of(&whole).what, "not whole; nothing that still lives is lost");
}

#[test]
fn damage_to_settlements_and_catalogs_is_named() {
    let whole = MemoryDisk::default();
    drop(lived_in_store(&whole, 1));
    let path = first_path(&whole, ".settled");
    let disk = whole.kill();
    disk.damage(&path, |bytes| bytes[6] ^= 1).unwrap();
    let damage = checked(&disk).unwrap().damage;
    assert!(damage.iter().any(|it| it.path == path && it.what.contains("what it settled is back")));

    for name in ["catalog", "catalog.copy"] {
        let disk = whole.kill();
        disk.damage(name, |bytes| bytes[50] ^= 1).unwrap();
        let damage = damage_of(&disk);
        assert_eq!(damage.path, name);
        assert!(damage.what.ends_with("the copy was used"), "{damage}");
        let changes = [Change::Replaced { path: name.to_owned() }];
        assert_eq!(checked(&disk).unwrap().changes, changes);
    }
    let disk = whole.kill();
    disk.remove("catalog").unwrap();
    let found = checked(&disk).unwrap();
    assert_eq!(found.changes, [Change::Made { path: "catalog".to_owned() }]);
    for name in ["catalog", "catalog.copy"] {
        whole.damage(name, |bytes| bytes[50] ^= 1).unwrap();
    }
    assert!(checked(&whole).unwrap_err().to_string().contains("no copy is whole"));
}

#[test]
fn another_format_is_refused() {
    for (version, said) in [(1, "of an older leveret"), (9, "this leveret knows version")] {
        let disk = MemoryDisk::default();
        with_messages_in_the_log(&disk);
        let reseal = |bytes: &mut Vec<u8>| {
            bytes[8] = version;
            let checksum = crc32fast::hash(&bytes[..28]).to_le_bytes();
            bytes[28..32].copy_from_slice(&checksum);
        };
        disk.damage(&log::path(1), reseal).unwrap();
        let refusal = checked(&disk).unwrap_err().to_string();
        assert!(refusal.contains(said), "{refusal}");
    }
}

#[test]
fn counts_that_do_not_agree_are_named() {
    let disk = MemoryDisk::default();
    with_messages_in_segments(&disk);
    let (files, state) = {
        let (store, ..) = Store::open(Arc::new(disk.clone()), TINY).unwrap();
        (store.files, store.state)
    };
    let mut state = state;
    let segment = state.queues.get_mut(&QUEUE).unwrap().segments.iter_mut().next().unwrap();
    segment.named.body_bytes += 5;
    let bytes = catalog::encode(files.salt, &state, Lsn(0), Lsn(0));
    catalog::write_first(&files, &bytes).unwrap();
    catalog::write_copy(&files, &bytes).unwrap();
    let found = checked(&disk).unwrap();
    let is_named = |it: &Damage| it.what.contains("where the catalog says");
    assert!(found.damage.iter().any(is_named), "{:?}", found.damage);
}
