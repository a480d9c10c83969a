use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::broker::policy::PolicyKind;
use crate::store::{Disk, Fault, FaultyDisk, MemoryDisk, Operation, read_whole, replace_whole};

const FILE: &str = "registry.json";
const COPY: &str = "registry.copy";
const CHANGES: &str = "registry.changes";

/// A registry and its files.
struct Kept {
    registry: Registry,
    file: RegistryFile,
}

impl Kept {
    fn new(disk: &MemoryDisk) -> Self {
        let mut kept = Kept::read(Arc::new(disk.clone()));
        kept.write(|registry| registry.add_first_objects(true, Initial::default()))
            .expect("a memory disk takes it");
        kept
    }

    fn read(disk: Arc<dyn Disk>) -> Self {
        let found = RegistryFile::read(disk, false).expect("what was written");
        assert_eq!(found.damage, [""; 0]);
        Kept { registry: found.registry, file: found.file }
    }

    fn write(&mut self, write: impl FnOnce(&mut Registry)) -> Result<(), RegistryError> {
        let mut registry = self.registry.clone();
        write(&mut registry);
        self.file.keep(&self.registry, &registry)?;
        self.registry = registry;
        Ok(())
    }

    fn set_user(&mut self, name: &str) {
        let user = UserRecord::default();
        self.write(|registry| _ = registry.set_user(name, user)).expect("a memory disk takes it");
    }
}

fn refusal(disk: &MemoryDisk) -> String {
    RegistryFile::read(Arc::new(disk.clone()), false).err().expect("it is refused").to_string()
}

fn content(disk: &MemoryDisk, path: &str) -> Vec<u8> {
    read_whole(disk, path).expect("a memory disk is read").expect("it is there")
}

fn with_changes(disk: &MemoryDisk, changes: &[u8]) -> MemoryDisk {
    let disk = disk.kill();
    replace_whole(&disk, CHANGES, changes).expect("a memory disk takes it");
    disk
}

/// Changes something at random.
fn change(registry: &mut Registry, rng: &mut fastrand::Rng) {
    let [user, vhost, name] = ["user", "vhost", "name"].map(|it| format!("{it} {}", rng.u8(..4)));
    let [configure, write, read] = [(); 3].map(|()| format!("^{}", rng.u8(..)));
    match rng.u8(..12) {
        0 => drop(registry.add_vhost(&vhost)),
        1 => drop(registry.remove_vhost(&vhost)),
        2 => {
            let password = rng.bool().then(|| PasswordHash::new(b"secret", [1, 2, 3, 4]));
            let limits = [("max-channels".to_owned(), rng.i64(..))].into();
            registry.set_user(&user, UserRecord { password, tags: vec![name], limits });
        }
        3 => drop(registry.remove_user(&user)),
        4 => drop(registry.set_permissions(
            &vhost,
            &user,
            PermissionRecord { configure, write, read },
        )),
        5 => {
            let record = TopicPermissionRecord { write, read };
            drop(registry.set_topic_permissions(&vhost, &user, &name, record));
        }
        6 => drop(registry.global_parameters_mut().insert(name, json!({"number": rng.u8(..)}))),
        7 => drop(registry.global_parameters_mut().remove(&name)),
        kind => {
            let Some(vhost) = registry.vhost_mut(&vhost) else { return };
            match kind {
                8 => vhost.description = write,
                9 => drop(vhost.parameters.get_or_default(&user).insert(name, json!(read))),
                10 => drop((vhost.permissions.remove(&user), vhost.parameters.remove(&user))),
                _ => {
                    let definition =
                        json!({"max-length": 3}).as_object().cloned().unwrap_or_default();
                    let apply_to = "queues".to_owned();
                    let record =
                        PolicyRecord { pattern: read, apply_to, priority: 1.into(), definition };
                    let kind = [PolicyKind::User, PolicyKind::Operator][rng.usize(..2)];
                    if rng.bool() {
                        vhost.remove_policy(kind, &name);
                    } else {
                        vhost.set_policy(kind, &name, record).expect("a good policy");
                    }
                }
            }
        }
    }
}

#[test]
fn what_is_kept_comes_back() {
    let disk = MemoryDisk::default();
    let mut kept = Kept::new(&disk);
    let record = PermissionRecord {
        configure: String::new(),
        write: "^orders".to_owned(),
        read: ".*".to_owned(),
    };
    let set = |registry: &mut Registry| {
        assert!(registry.add_vhost("shop"));
        registry.set_permissions("shop", "guest", record.clone()).expect("good patterns");
    };
    kept.write(set).expect("a memory disk takes it");

    let Kept { registry: again, .. } = Kept::read(Arc::new(disk));
    let guest = again.user("guest").expect("guest is there");
    assert!(guest.password.as_ref().is_some_and(|hash| hash.verify(b"guest")));
    assert_eq!(guest.tags, ["administrator"]);
    let shop = again.vhost("shop").expect("shop is there");
    assert_eq!((shop.number(), shop.directory().as_str()), (1, "vhosts/1"));
    assert_eq!(shop.permissions["guest"], record);
    assert!(again.may_enter("shop", "guest"));
    assert!(!again.may_enter("shop", "someone"));
}

#[test]
fn whatever_is_changed_comes_back() {
    for seed in 0..50 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let disk = MemoryDisk::default();
        let mut kept = Kept::new(&disk);
        for _ in 0..60 {
            let changes = rng.u8(1..4);
            let write =
                |registry: &mut Registry| (0..changes).for_each(|_| change(registry, &mut rng));
            kept.write(write).expect("a memory disk takes it");
            let lost = disk.crash(|_, _| 0);
            assert_eq!(Kept::read(Arc::new(lost)).registry, kept.registry, "seed {seed}");
            if rng.u8(..10) == 0 {
                kept = Kept::read(Arc::new(disk.clone()));
            }
        }
    }
}

/// Changes that are large enough for all of it to be replaced now and then.
const LARGE: usize = 30_000;

/// The disk fails at one step, and the power may go after each change: what was answered is there, and nothing by
/// halves. Says whether it has failed.
fn live_with(fault: &Fault) -> bool {
    let disk = MemoryDisk::default();
    let mut kept = Kept::new(&disk);
    let faulty = FaultyDisk::new(disk.clone());
    kept.file = RegistryFile::read(Arc::new(faulty.clone()), false).expect("it is there").file;
    faulty.fail(fault.clone());
    let mut unanswered = Vec::new();
    for number in 0..6 {
        let set = |registry: &mut Registry| {
            let value = json!("x".repeat(LARGE));
            registry.global_parameters_mut().insert(number.to_string(), value);
        };
        let mut after = kept.registry.clone();
        set(&mut after);
        if kept.write(set).is_err() {
            unanswered.push(after);
        }
        for part in [0, 50, usize::MAX] {
            let crashed = Arc::new(disk.crash(|_, most| most.min(part)));
            let found = RegistryFile::read(crashed, false).expect("there is no damage").registry;
            let is_known = found == kept.registry || unanswered.last() == Some(&found);
            assert!(is_known, "after {number}: {fault:?}");
        }
    }
    !unanswered.is_empty()
}

#[test]
fn a_crash_at_any_step_leaves_what_was_before_or_after() {
    for operation in [Operation::Change, Operation::Append, Operation::Sync] {
        let mut after = 0;
        let (kind, below) = (std::io::ErrorKind::Other, String::new());
        while live_with(&Fault { operation, below: below.clone(), after, kind, written: 100 }) {
            after += 1;
        }
        assert!(after > 6, "{operation:?} {after}");
    }
}

#[test]
fn a_torn_end_is_cut_off_and_damage_before_it_is_refused() {
    let disk = MemoryDisk::default();
    let mut kept = Kept::new(&disk);
    kept.set_user("ann");
    let before = content(&disk, CHANGES).len();
    let with_ann = kept.registry.clone();
    kept.set_user("bob");
    let whole = content(&disk, CHANGES);
    for cut in before + 1..whole.len() {
        let torn = with_changes(&disk, &whole[..cut]);
        let found = RegistryFile::read(Arc::new(torn.clone()), false).expect("the rest is whole");
        assert_eq!(found.registry, with_ann, "cut at {cut}");
        let said = found.damage.join("; ");
        assert!(said.contains(CHANGES) && said.contains("a torn end after change 2"), "{said}");
        let mut kept = Kept { registry: found.registry, file: found.file };
        kept.set_user("eve");
        assert_eq!(Kept::read(Arc::new(torn)).registry, kept.registry, "cut at {cut}");
    }
    for byte in 0..before {
        let mut damaged = whole.clone();
        damaged[byte] ^= 1;
        let said = refusal(&with_changes(&disk, &damaged));
        assert!(said.starts_with("registry.changes "), "{said}");
        assert!(!said.contains('\n'), "{said}");
    }
}

#[test]
fn a_loss_of_changes_is_refused() {
    let disk = MemoryDisk::default();
    let mut kept = Kept::new(&disk);
    let [old_whole, old_changes] = [FILE, CHANGES].map(|path| content(&disk, path));
    let other = disk.kill();
    Kept::read(Arc::new(other.clone())).set_user("bob");
    // So large that all of it is replaced.
    let large = json!("x".repeat(100_000));
    kept.write(|registry| drop(registry.global_parameters_mut().insert("a".to_owned(), large)))
        .expect("a memory disk takes it");
    assert_ne!(content(&disk, FILE), old_whole);
    kept.set_user("ann");
    let back = disk.kill();
    replace_whole(&back, FILE, &old_whole).expect("a memory disk takes it");
    // The copy has it.
    let found = RegistryFile::read(Arc::new(back.clone()), false).expect("there is a copy");
    assert!(found.registry.user("ann").is_some());
    assert_eq!(found.damage, ["registry.json: older than registry.copy, which was used"]);
    replace_whole(&back, COPY, &old_whole).expect("a memory disk takes it");
    let said = refusal(&back);
    assert!(said.contains("it begins after change 2, registry.json ends at 1"), "{said}");
    // What died between the two files is no loss: it is in the first.
    let between = with_changes(&disk, &old_changes);
    assert_eq!(Kept::read(Arc::new(between.clone())).registry.user("ann"), None);
    // Nor is it a change that failed and is there all the same.
    let between = with_changes(&disk, &content(&other, CHANGES));
    assert_eq!(Kept::read(Arc::new(between.clone())).registry.user("bob"), None);
    between.remove(CHANGES).expect("it is there");
    let said = refusal(&between);
    assert_eq!(said, "registry.changes in the data directory cannot be read: it is missing");
}

#[test]
fn a_change_costs_what_it_is_long() {
    let disk = MemoryDisk::default();
    let mut kept = Kept::new(&disk);
    let many = |registry: &mut Registry| {
        for number in 0..2_000 {
            registry.set_user(&format!("user {number}"), UserRecord::default());
        }
    };
    kept.write(many).expect("a memory disk takes it");
    // That many at once are one write of all.
    let whole = content(&disk, FILE);
    assert!(whole.len() > 200_000, "{} bytes", whole.len());
    let empty = content(&disk, CHANGES).len();
    kept.set_user("one more");
    assert_eq!(content(&disk, FILE), whole, "it was not written again");
    let change = content(&disk, CHANGES).len() - empty;
    assert!(change < 300, "{change} bytes");
    // Until there are as many changes as there is of all.
    let mut changes = 1;
    while content(&disk, FILE).len() == whole.len() {
        kept.set_user(&format!("more {changes}"));
        changes += 1;
    }
    assert!((1_000..4_000).contains(&changes), "{changes} changes");
    assert_eq!(content(&disk, CHANGES).len(), empty);
    assert_eq!(Kept::read(Arc::new(disk)).registry, kept.registry);
}

#[test]
fn a_directory_is_never_given_twice() {
    let mut registry = Registry::default();
    registry.add_vhost("a");
    registry.remove_vhost("a");
    registry.add_vhost("a");
    assert_eq!(registry.vhost("a").map(VhostRecord::number), Some(1));
}

#[test]
fn a_file_of_before_there_were_changes_is_read() {
    let old = json!({
        "format": 1,
        "next_number": 1,
        "users": [{"name": "ann", "password_hash": null, "hashing_algorithm": null, "tags": [], "limits": {}}],
        "vhosts": {"/": {"number": 0}},
        "global_parameters": {},
    });
    let disk = MemoryDisk::default();
    replace_whole(&disk, FILE, old.to_string().as_bytes()).expect("a memory disk takes it");
    let mut kept = Kept::read(Arc::new(disk.clone()));
    assert!(kept.registry.user("ann").is_some() && kept.registry.vhost("/").is_some());
    kept.set_user("bob");
    assert_eq!(Kept::read(Arc::new(disk.clone())).registry, kept.registry);
    // An older leveret must not read the one file without the other.
    let read: Value = serde_json::from_slice(&content(&disk, FILE)).expect("it is JSON");
    assert_eq!(read["format"], 3);
}

#[test]
fn a_damaged_file_is_refused_in_one_line() {
    let disk = MemoryDisk::default();
    replace_whole(&disk, FILE, b"{\"format\": 1").expect("a memory disk takes it");
    let error = refusal(&disk);
    assert!(error.starts_with("registry.json in the data directory cannot be read"), "{error}");
    assert!(!error.contains('\n'), "{error}");
}

#[test]
fn a_file_of_before_there_was_a_copy_is_read_and_written_anew() {
    let disk = MemoryDisk::default();
    let mut kept = Kept::new(&disk);
    kept.set_user("ann");
    let mut old: Value = serde_json::from_slice(&content(&disk, FILE)).expect("it is JSON");
    let fields = old.as_object_mut().expect("it is an object");
    fields.retain(|field, _| !["checksum", "identity", "deleting"].contains(&field.as_str()));
    fields.insert("format".to_owned(), json!(2));
    disk.remove(COPY).expect("it is there");
    replace_whole(&disk, FILE, old.to_string().as_bytes()).expect("a memory disk takes it");
    let read = || RegistryFile::read(Arc::new(disk.clone()), false).expect("it is read");
    let FoundRegistry { registry, mut file, has_owners, damage, .. } = read();
    assert!(registry.user("ann").is_some() && !has_owners && damage.is_empty(), "{damage:?}");
    file.mend(&registry).expect("a memory disk takes it");
    let again = read();
    assert_eq!((again.registry, again.has_owners, again.damage), (registry, true, Vec::new()));
}

#[test]
fn each_flipped_bit_and_each_missing_file_is_told_and_mended_from_the_copy() {
    let whole = MemoryDisk::default();
    let mut kept = Kept::new(&whole);
    kept.set_user("ann");
    let length = content(&whole, FILE).len();
    let mut tried = 0;
    for (path, other) in [(FILE, COPY), (COPY, FILE)] {
        for bit in (0..length * 8).step_by(7).map(Some).chain([None]) {
            let disk = whole.kill();
            match bit {
                None => disk.remove(path).expect("it is there"),
                Some(bit) => disk
                    .damage(path, |bytes| bytes[bit / 8] ^= 1 << (bit % 8))
                    .expect("it is there"),
            }
            let read = || RegistryFile::read(Arc::new(disk.clone()), false);
            let FoundRegistry { registry, mut file, damage, .. } = read().expect("there is a copy");
            assert_eq!(registry, kept.registry, "{path} {bit:?}");
            assert_eq!(damage.len(), 1, "{path} {bit:?}: {damage:?}");
            assert!(damage[0].starts_with(&format!("{path}: ")), "{damage:?}");
            file.mend(&registry).expect("a memory disk takes it");
            assert_eq!(read().expect("it is whole").damage, [""; 0]);
            assert_eq!(content(&disk, path), content(&disk, other));
            tried += 1;
        }
    }
    assert!(tried > 100, "{tried}");
}

#[test]
fn a_registry_of_which_no_copy_is_left_is_refused_unless_losses_are_accepted() {
    let whole = MemoryDisk::default();
    let mut kept = Kept::new(&whole);
    kept.set_user("ann");
    let damaged = |damage: &dyn Fn(&MemoryDisk, &str)| {
        let disk = whole.kill();
        [FILE, COPY].iter().for_each(|path| damage(&disk, path));
        disk
    };
    let removed = damaged(&|disk, path| disk.remove(path).expect("it is there"));
    let said = refusal(&removed);
    assert!(said.contains("registry.changes is there") && said.contains("--accept-loss"), "{said}");
    let cut = damaged(&|disk, path| {
        disk.damage(path, |bytes| bytes.truncate(40)).expect("it is there");
    });
    assert!(refusal(&cut).contains("no copy is whole"), "{}", refusal(&cut));
    for disk in [removed, cut] {
        let found = RegistryFile::read(Arc::new(disk), true).expect("it is accepted");
        assert!(found.is_new && found.registry.users().count() == 0);
        assert_ne!(found.registry.identity(), kept.registry.identity());
    }
    let without = whole.kill();
    without.remove(CHANGES).expect("it is there");
    assert!(refusal(&without).contains("it is missing"));
    let found = RegistryFile::read(Arc::new(without), true).expect("it is accepted");
    assert!(found.damage[0].contains("all changes since registry.json are lost"));
}
