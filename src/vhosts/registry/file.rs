//! How the registry is kept: all of it in one file and a copy, and what was changed since in another.
//!
//! ```text
//!  registry.json     all of it up to the change of a number, as JSON with a checksum, so that people can read it
//!  registry.copy     the same; it is read when the other is missing or damaged
//!  registry.changes  the changes, a JSON document each (see store::ChangeLog); those up to that number are in
//!                    registry.json already
//! ```
//!
//! A change is appended and synced before it counts. When the changes have grown to the size of all of it,
//! `registry.json` is replaced, then its copy, then `registry.changes`: so a change costs what it is long, in the
//! long run, and the changes since the older of the two are there at any time.
//!
//! invariant: `registry.changes` is there when `registry.json` is; one that is missing is a loss.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::changes::Changes;
use super::{Registry, RegistryError, UserRecord, VhostRecord};
use crate::passwords::{Algorithm, PasswordHash};
use crate::shared_map::SharedMap;
use crate::store::{ChangeLog, Damage, Disk, read_whole, replace_whole};
use crate::vhosts::sealed::{self, Seal};

/// Where all of it is kept.
const FILE: &str = "registry.json";
/// Where the changes are kept.
const CHANGES: &str = "registry.changes";
/// Where all of it is kept once more.
const COPY: &str = "registry.copy";
/// The version of the format.
const FORMAT: u32 = 3;
/// The version before there were a checksum, a copy, an identity, and owners of directories.
const FORMAT_UNSEALED: u32 = 2;
/// The version before there was a file of changes.
const FORMAT_WHOLE: u32 = 1;
/// How long the file of changes may be, in bytes, however small the registry is.
const LEAST_BYTES: u64 = 64 * 1024;

/// The files of the registry.
pub(in crate::vhosts) struct RegistryFile {
    disk: Arc<dyn Disk>,
    /// None when the next change is to replace all of it.
    log: Option<ChangeLog>,
    /// The number of the last change that was appended, or tried to be.
    last: u64,
    /// How long the file is that has all of it, in bytes.
    whole_bytes: u64,
    /// Whether the file or its copy is not what it should be.
    is_damaged: bool,
}

/// What was found on a disk.
pub(in crate::vhosts) struct FoundRegistry {
    pub(in crate::vhosts) registry: Registry,
    pub(in crate::vhosts) file: RegistryFile,
    /// Whether there was none.
    pub(in crate::vhosts) is_new: bool,
    /// Whether the directories of its virtual hosts say whose they are.
    pub(in crate::vhosts) has_owners: bool,
    /// What was missing, damaged or cut off, each in a line.
    pub(in crate::vhosts) damage: Vec<String>,
}

/// One of the two files that have all of it.
enum Copied {
    Missing,
    Whole { saved: Box<Saved>, bytes: u64 },
    Damaged(String),
}

impl RegistryFile {
    /// Reads the registry, or begins one. Changes nothing on the disk. With `accept_loss` what is lost is
    /// reported, where a start would refuse otherwise.
    pub(in crate::vhosts) fn read(
        disk: Arc<dyn Disk>,
        accept_loss: bool,
    ) -> Result<FoundRegistry, RegistryError> {
        let mut damage = Vec::new();
        let copies = (Copied::read(&*disk, FILE)?, Copied::read(&*disk, COPY)?);
        let chosen = choose(copies, &mut damage);
        let (saved, bytes, is_damaged) = match chosen {
            Ok(Some(chosen)) => chosen,
            Ok(None) => return RegistryFile::begin(disk, accept_loss, damage),
            Err(what) if accept_loss => {
                damage.push(format!("{FILE}: {what}; there is a new one"));
                return RegistryFile::begin(disk, true, damage);
            }
            Err(what) => return Err(damaged(FILE, what)),
        };
        let (format, last) = (saved.format, saved.changes);
        let mut registry = saved.registry()?;
        let is_damaged = is_damaged || format < FORMAT;
        let mut file = RegistryFile { disk, log: None, last, whole_bytes: bytes, is_damaged };
        if format > FORMAT_WHOLE {
            match file.read_changes(&mut registry) {
                Ok(torn) => damage.extend(torn.map(|torn| torn.to_string())),
                Err(error) if accept_loss => {
                    damage.push(format!("{error}; all changes since {FILE} are lost"));
                    file.is_damaged = true;
                }
                Err(error) => return Err(error),
            }
        }
        let has_owners = format > FORMAT_UNSEALED;
        Ok(FoundRegistry { registry, file, is_new: false, has_owners, damage })
    }

    /// There is no registry, or none that can be read.
    fn begin(
        disk: Arc<dyn Disk>,
        accept_loss: bool,
        damage: Vec<String>,
    ) -> Result<FoundRegistry, RegistryError> {
        // What died while it was made for the first time has no changes yet.
        let has_changes = match ChangeLog::read(disk.clone(), CHANGES) {
            Ok(found) => found.is_some_and(|found| found.log.last() > 0),
            Err(_) => true,
        };
        if has_changes && !accept_loss {
            return Err(RegistryError::Lost { there: format!("{CHANGES} is") });
        }
        let file = RegistryFile { disk, log: None, last: 0, whole_bytes: 0, is_damaged: false };
        let registry = Registry { identity: new_identity(), ..Registry::default() };
        Ok(FoundRegistry { registry, file, is_new: true, has_owners: true, damage })
    }

    fn read_changes(&mut self, registry: &mut Registry) -> Result<Option<Damage>, RegistryError> {
        let found = ChangeLog::read(self.disk.clone(), CHANGES)?;
        let found = found.ok_or_else(|| damaged(CHANGES, "it is missing"))?;
        if found.before > self.last {
            let what =
                format!("it begins after change {}, {FILE} ends at {}", found.before, self.last);
            return Err(damaged(CHANGES, what));
        }
        for (number, change) in found.changes {
            if number > self.last {
                let what = |error: serde_json::Error| {
                    damaged(CHANGES, format!("change {number}: {error}"))
                };
                serde_json::from_slice::<Changes>(&change).map_err(what)?.apply(registry)?;
            }
        }
        // What is in the other file already may not be here, if the broker died in between.
        if found.log.last() >= self.last {
            self.last = found.log.last();
            self.log = Some(found.log);
        }
        Ok(found.torn)
    }

    /// Keeps what a registry has become, if anything was changed. Gives back what that is.
    ///
    /// # Errors
    /// When the disk refuses. What was changed may be there after a restart, or not.
    pub(in crate::vhosts) fn keep(
        &mut self,
        before: &Registry,
        now: &Registry,
    ) -> Result<Changes, RegistryError> {
        let changes = Changes::between(before, now);
        if changes.is_empty() {
            return Ok(changes);
        }
        let change =
            serde_json::to_vec(&changes).map_err(|error| damaged(CHANGES, error.to_string()))?;
        let most = self.whole_bytes.max(LEAST_BYTES);
        let log = self.log.as_mut().filter(|log| log.length_with(change.len()) <= most);
        self.last += 1;
        let Some(log) = log else { return self.replace(now).map(|()| changes) };
        let appended = log.append(&change);
        if appended.is_err() {
            // why: what is behind a failed write is not known, so that nothing may be put there.
            self.log = None;
        }
        appended.map(|_| changes).map_err(|source| failed("write", CHANGES, source))
    }

    /// Writes anew what was missing or damaged, or has the format of before.
    pub(in crate::vhosts) fn mend(&mut self, registry: &Registry) -> Result<(), RegistryError> {
        match self.is_damaged {
            true => self.replace(registry),
            false => Ok(()),
        }
    }

    /// Replaces all files. What fails is done again by the next change.
    fn replace(&mut self, registry: &Registry) -> Result<(), RegistryError> {
        self.log = None;
        let write = |source| failed("write", CHANGES, source);
        if self.disk.length(CHANGES).map_err(write)?.is_none() {
            ChangeLog::create(self.disk.clone(), CHANGES, 0).map_err(write)?;
        }
        let content = sealed::seal(&Saved::new(registry, self.last))
            .map_err(|error| damaged(FILE, error.to_string()))?;
        for path in [FILE, COPY] {
            replace_whole(&*self.disk, path, &content)
                .map_err(|source| failed("write", path, source))?;
        }
        self.is_damaged = false;
        self.whole_bytes = content.len() as u64;
        let log = ChangeLog::create(self.disk.clone(), CHANGES, self.last).map_err(write)?;
        self.log = Some(log);
        Ok(())
    }
}

impl Copied {
    fn read(disk: &dyn Disk, path: &'static str) -> Result<Self, RegistryError> {
        let content = read_whole(disk, path).map_err(|source| failed("read", path, source))?;
        let Some(content) = content else { return Ok(Copied::Missing) };
        let seal = sealed::examine(&content);
        if seal == Seal::Broken {
            let what = "its checksum is wrong: it is damaged, or was changed by hand".to_owned();
            return Ok(Copied::Damaged(what));
        }
        let saved: Saved = match serde_json::from_slice(&content) {
            Ok(saved) => saved,
            Err(error) => return Ok(Copied::Damaged(error.to_string())),
        };
        if saved.format > FORMAT {
            let what = format!(
                "it has format version {}; this leveret knows version {FORMAT}",
                saved.format
            );
            return Err(damaged(path, what));
        }
        if seal == Seal::None && saved.format > FORMAT_UNSEALED {
            return Ok(Copied::Damaged("its checksum is missing".to_owned()));
        }
        Ok(Copied::Whole { saved: Box::new(saved), bytes: content.len() as u64 })
    }
}

/// The one of the two that is read, how long it is, and whether they are to be written anew; none when both are
/// missing.
fn choose(
    copies: (Copied, Copied),
    damage: &mut Vec<String>,
) -> Result<Option<(Box<Saved>, u64, bool)>, String> {
    match copies {
        (Copied::Missing, Copied::Missing) => Ok(None),
        (Copied::Whole { saved, bytes }, Copied::Whole { saved: copy, bytes: bytes_of_copy }) => {
            // What dies between the two leaves a copy that is older.
            if copy.changes > saved.changes {
                damage.push(format!("{FILE}: older than {COPY}, which was used"));
                return Ok(Some((copy, bytes_of_copy, true)));
            }
            let is_damaged = copy.changes < saved.changes || copy.identity != saved.identity;
            Ok(Some((saved, bytes, is_damaged)))
        }
        (Copied::Whole { saved, bytes }, other) => {
            if let Copied::Damaged(what) = other {
                damage.push(format!("{COPY}: {what}; written anew"));
            } else if saved.format > FORMAT_UNSEALED {
                damage.push(format!("{COPY}: missing; written anew"));
            }
            Ok(Some((saved, bytes, true)))
        }
        (other, Copied::Whole { saved, bytes }) => {
            let what = match other {
                Copied::Damaged(what) => what,
                _ => "missing".to_owned(),
            };
            damage.push(format!("{FILE}: {what}; {COPY} was used"));
            Ok(Some((saved, bytes, true)))
        }
        (Copied::Damaged(what), _) | (_, Copied::Damaged(what)) => {
            Err(format!("{what}, and no copy is whole"))
        }
    }
}

/// What no other registry has.
fn new_identity() -> String {
    // The standard library's hasher is seeded by the system: the only randomness needed here.
    let part = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", part(), part())
}

pub(in crate::vhosts) fn failed(
    action: &'static str,
    path: &str,
    source: io::Error,
) -> RegistryError {
    RegistryError::Io { action, path: path.to_owned(), source }
}

fn damaged(path: &'static str, what: impl Into<String>) -> RegistryError {
    RegistryError::Damaged { path, what: what.into() }
}

/// All of it, as it is kept.
#[derive(Serialize, Deserialize)]
struct Saved {
    format: u32,
    /// The number of the last change that is in it.
    #[serde(default)]
    changes: u64,
    #[serde(default)]
    identity: String,
    next_number: u64,
    #[serde(default)]
    deleting: BTreeSet<u64>,
    users: Vec<SavedUser>,
    vhosts: SharedMap<VhostRecord>,
    global_parameters: SharedMap<Value>,
}

/// A user, as it is kept.
#[derive(Serialize, Deserialize)]
pub(super) struct SavedUser {
    name: String,
    password_hash: Option<String>,
    hashing_algorithm: Option<String>,
    tags: Vec<String>,
    limits: BTreeMap<String, i64>,
}

impl Saved {
    fn new(registry: &Registry, changes: u64) -> Self {
        Saved {
            format: FORMAT,
            changes,
            identity: registry.identity.clone(),
            next_number: registry.next_number,
            deleting: registry.deleting.clone(),
            users: registry.users.iter().map(|(name, user)| SavedUser::new(name, user)).collect(),
            vhosts: registry.vhosts.clone(),
            global_parameters: registry.global_parameters.clone(),
        }
    }

    fn registry(self) -> Result<Registry, RegistryError> {
        let users = self.users.into_iter().map(|user| Ok((user.name.clone(), user.record()?)));
        Ok(Registry {
            users: users.collect::<Result<_, RegistryError>>()?,
            vhosts: self.vhosts,
            global_parameters: self.global_parameters,
            next_number: self.next_number,
            deleting: self.deleting,
            identity: Some(self.identity).filter(|it| !it.is_empty()).unwrap_or_else(new_identity),
            allow_unknown_users: false,
        })
    }
}

impl SavedUser {
    pub(super) fn new(name: &str, user: &UserRecord) -> Self {
        SavedUser {
            name: name.to_owned(),
            password_hash: user.password.as_ref().map(PasswordHash::to_base64),
            hashing_algorithm: user.password.as_ref().map(|it| it.algorithm_name().to_owned()),
            tags: user.tags.clone(),
            limits: user.limits.clone(),
        }
    }

    pub(super) fn tags(&self) -> &[String] {
        &self.tags
    }

    pub(super) fn has_password_of(&self, user: &UserRecord) -> bool {
        self.password_hash == user.password.as_ref().map(PasswordHash::to_base64)
    }

    pub(super) fn record(self) -> Result<UserRecord, RegistryError> {
        let wrong = |what: &str| damaged(FILE, format!("user '{}': {what}", self.name));
        let algorithm = match &self.hashing_algorithm {
            None => Algorithm::default(),
            Some(name) => Algorithm::from_name(name)
                .ok_or_else(|| wrong("unknown password hashing algorithm"))?,
        };
        let password = self.password_hash.as_ref().map(|hash| PasswordHash::parse(hash, algorithm));
        let password =
            password.transpose().map_err(|_| wrong("the password hash is not base64"))?;
        Ok(UserRecord { password, tags: self.tags, limits: self.limits })
    }
}
