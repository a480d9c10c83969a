//! How the registry is kept: all of it in one file, and what was changed since in another.
//!
//! ```text
//!  registry.json     all of it up to the change of a number, as JSON, so that people can read it
//!  registry.changes  the changes, a JSON document each (see store::ChangeLog); those up to that number are in
//!                    registry.json already
//! ```
//!
//! A change is appended and synced before it counts. When the changes have grown to the size of all of it,
//! `registry.json` is replaced, then `registry.changes`: so a change costs what it is long, in the long run.
//!
//! invariant: `registry.changes` is there when `registry.json` is; one that is missing is a loss.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::changes::Changes;
use super::{Registry, RegistryError, UserRecord, VhostRecord};
use crate::passwords::{Algorithm, PasswordHash};
use crate::shared_map::SharedMap;
use crate::store::{ChangeLog, Damage, Disk, read_whole, replace_whole};

/// Where all of it is kept.
pub(in crate::vhosts) const FILE: &str = "registry.json";
/// Where the changes are kept.
const CHANGES: &str = "registry.changes";
/// The version of the format.
const FORMAT: u32 = 2;
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
}

/// What was found on a disk.
pub(in crate::vhosts) struct FoundRegistry {
    pub(in crate::vhosts) registry: Registry,
    pub(in crate::vhosts) file: RegistryFile,
    /// Whether there was none.
    pub(in crate::vhosts) is_new: bool,
    /// A change that was being appended, and that nobody was told of.
    pub(in crate::vhosts) torn: Option<Damage>,
}

impl RegistryFile {
    /// Reads the registry, or begins one. Changes nothing on the disk.
    pub(in crate::vhosts) fn read(disk: Arc<dyn Disk>) -> Result<FoundRegistry, RegistryError> {
        let content = read_whole(&*disk, FILE).map_err(|source| failed("read", FILE, source))?;
        let Some(content) = content else {
            let file = RegistryFile { disk, log: None, last: 0, whole_bytes: 0 };
            let registry = Registry::default();
            return Ok(FoundRegistry { registry, file, is_new: true, torn: None });
        };
        let saved: Saved =
            serde_json::from_slice(&content).map_err(|error| damaged(FILE, error.to_string()))?;
        let (format, last) = (saved.format, saved.changes);
        let mut registry = saved.registry()?;
        let mut file = RegistryFile { disk, log: None, last, whole_bytes: content.len() as u64 };
        let mut torn = None;
        if format > FORMAT_WHOLE {
            torn = file.read_changes(&mut registry)?;
        }
        Ok(FoundRegistry { registry, file, is_new: false, torn })
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

    /// Replaces both files. What fails is done again by the next change.
    fn replace(&mut self, registry: &Registry) -> Result<(), RegistryError> {
        self.log = None;
        let write = |source| failed("write", CHANGES, source);
        if self.disk.length(CHANGES).map_err(write)?.is_none() {
            ChangeLog::create(self.disk.clone(), CHANGES, 0).map_err(write)?;
        }
        let content = serde_json::to_vec_pretty(&Saved::new(registry, self.last))
            .map_err(|error| damaged(FILE, error.to_string()))?;
        replace_whole(&*self.disk, FILE, &content)
            .map_err(|source| failed("write", FILE, source))?;
        self.whole_bytes = content.len() as u64;
        let log = ChangeLog::create(self.disk.clone(), CHANGES, self.last).map_err(write)?;
        self.log = Some(log);
        Ok(())
    }
}

fn failed(action: &'static str, path: &str, source: io::Error) -> RegistryError {
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
    next_number: u64,
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
            next_number: registry.next_number,
            users: registry.users.iter().map(|(name, user)| SavedUser::new(name, user)).collect(),
            vhosts: registry.vhosts.clone(),
            global_parameters: registry.global_parameters.clone(),
        }
    }

    fn registry(self) -> Result<Registry, RegistryError> {
        if self.format > FORMAT {
            let what = format!(
                "it has format version {}; this leveret knows version {FORMAT}",
                self.format
            );
            return Err(damaged(FILE, what));
        }
        let users = self.users.into_iter().map(|user| Ok((user.name.clone(), user.record()?)));
        Ok(Registry {
            users: users.collect::<Result<_, RegistryError>>()?,
            vhosts: self.vhosts,
            global_parameters: self.global_parameters,
            next_number: self.next_number,
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
