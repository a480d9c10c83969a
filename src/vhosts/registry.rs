//! What a broker knows beside its queues: users, virtual hosts, permissions, policies, limits and
//! parameters.
//!
//! Plain values, all in one small file of the data directory that is replaced whole at every
//! change. The file is JSON, so that people can read it.

mod records;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::broker::access::{
    InvalidPattern, Permissions, Rights, TopicPermissions, TopicVariables,
};
use crate::passwords::{Algorithm, PasswordHash};
use crate::store::{Disk, read_whole, replace_whole};

pub(crate) use records::{
    PermissionRecord, PolicyRecord, TopicPermissionRecord, UserRecord, VhostRecord,
};

/// Where it is kept.
pub(super) const FILE: &str = "registry.json";
/// The version of its format.
const FORMAT: u32 = 1;

/// Why the registry could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The disk refused.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or directory of the data directory.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not what was written.
    #[error("{FILE} in the data directory cannot be read: {0}")]
    Damaged(String),
}

/// Users, virtual hosts and what belongs to them.
#[derive(Clone)]
pub(crate) struct Registry {
    disk: Arc<dyn Disk>,
    users: BTreeMap<String, UserRecord>,
    vhosts: BTreeMap<String, VhostRecord>,
    global_parameters: BTreeMap<String, Value>,
    next_number: u64,
    /// Whether there was none on the disk.
    fresh: bool,
    /// Whether users that are not in the registry may do everything: the authenticator of the embedding
    /// program checks them.
    allow_unknown_users: bool,
}

impl Registry {
    /// Reads the registry, or begins one.
    pub(super) fn open(disk: Arc<dyn Disk>) -> Result<Self, RegistryError> {
        let content = read_whole(&*disk, FILE).map_err(|source| RegistryError::Io {
            action: "read",
            path: FILE.to_owned(),
            source,
        })?;
        let mut registry = Registry {
            disk,
            users: BTreeMap::new(),
            vhosts: BTreeMap::new(),
            global_parameters: BTreeMap::new(),
            next_number: 0,
            fresh: content.is_none(),
            allow_unknown_users: false,
        };
        if let Some(content) = content {
            let saved: Saved = serde_json::from_slice(&content)
                .map_err(|error| RegistryError::Damaged(error.to_string()))?;
            registry.load(saved)?;
        }
        Ok(registry)
    }

    /// Whether there was none on the disk.
    pub(super) fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// Keeps what it is now.
    pub(super) fn save(&self) -> Result<(), RegistryError> {
        let users = self.users.iter().map(|(name, user)| SavedUser {
            name: name.clone(),
            password_hash: user.password.as_ref().map(PasswordHash::to_base64),
            hashing_algorithm: user.password.as_ref().map(|it| it.algorithm_name().to_owned()),
            tags: user.tags.clone(),
            limits: user.limits.clone(),
        });
        let saved = Saved {
            format: FORMAT,
            next_number: self.next_number,
            users: users.collect(),
            vhosts: self.vhosts.clone(),
            global_parameters: self.global_parameters.clone(),
        };
        let content = serde_json::to_vec_pretty(&saved)
            .map_err(|error| RegistryError::Damaged(error.to_string()))?;
        replace_whole(&*self.disk, FILE, &content).map_err(|source| RegistryError::Io {
            action: "write",
            path: FILE.to_owned(),
            source,
        })
    }

    fn load(&mut self, saved: Saved) -> Result<(), RegistryError> {
        if saved.format > FORMAT {
            return Err(RegistryError::Damaged(format!(
                "it has format version {}; this leveret knows version {FORMAT}",
                saved.format
            )));
        }
        for user in saved.users {
            let password = match (user.password_hash, user.hashing_algorithm) {
                (Some(hash), algorithm) => {
                    let wrong = |what: &str| {
                        RegistryError::Damaged(format!("user '{}': {what}", user.name))
                    };
                    let algorithm = match &algorithm {
                        None => Algorithm::default(),
                        Some(name) => Algorithm::from_name(name)
                            .ok_or_else(|| wrong("unknown password hashing algorithm"))?,
                    };
                    let hash = PasswordHash::parse(&hash, algorithm);
                    Some(hash.map_err(|_| wrong("the password hash is not base64"))?)
                }
                (None, _) => None,
            };
            let record = UserRecord { password, tags: user.tags, limits: user.limits };
            self.users.insert(user.name, record);
        }
        self.vhosts = saved.vhosts;
        self.global_parameters = saved.global_parameters;
        self.next_number = saved.next_number;
        Ok(())
    }

    /// On a new disk: the virtual host `/`, and guest or these users in its place, with all rights.
    /// On one that was used before, these users in addition, with these passwords.
    pub(super) fn add_first_users(
        &mut self,
        users: &[(String, Vec<u8>)],
    ) -> Result<(), RegistryError> {
        let guest = [("guest".to_owned(), b"guest".to_vec())];
        let users = match users {
            [] if self.fresh => &guest[..],
            users => users,
        };
        if self.fresh {
            self.add_vhost("/");
        }
        for (name, password) in users {
            let salt = fastrand::u32(..).to_be_bytes();
            let record = self.users.entry(name.clone()).or_default();
            record.password = Some(PasswordHash::new(password, salt));
            if record.tags.is_empty() {
                record.tags.push("administrator".to_owned());
            }
            if let Some(vhost) = self.vhosts.get_mut("/") {
                let all = ".*".to_owned();
                vhost.permissions.entry(name.clone()).or_insert(PermissionRecord {
                    configure: all.clone(),
                    write: all.clone(),
                    read: all,
                });
            }
        }
        if self.fresh || !users.is_empty() { self.save() } else { Ok(()) }
    }

    /// Lets users that are not in the registry do everything: the authenticator of the embedding program
    /// checks them.
    pub(super) fn allow_unknown_users(&mut self) {
        self.allow_unknown_users = true;
    }

    /// The user of this name.
    pub(crate) fn user(&self, name: &str) -> Option<&UserRecord> {
        self.users.get(name)
    }

    /// The user of this name, to change.
    pub(crate) fn user_mut(&mut self, name: &str) -> Option<&mut UserRecord> {
        self.users.get_mut(name)
    }

    /// All users, by name.
    pub(crate) fn users(&self) -> impl Iterator<Item = (&str, &UserRecord)> {
        self.users.iter().map(|(name, user)| (name.as_str(), user))
    }

    /// Adds a user or replaces it. Says whether it is new.
    pub(crate) fn set_user(&mut self, name: &str, record: UserRecord) -> bool {
        self.users.insert(name.to_owned(), record).is_none()
    }

    /// Removes a user with its permissions. Says whether it was there.
    pub(crate) fn remove_user(&mut self, name: &str) -> bool {
        for vhost in self.vhosts.values_mut() {
            vhost.permissions.remove(name);
            vhost.topic_permissions.remove(name);
        }
        self.users.remove(name).is_some()
    }

    /// The virtual host of this name.
    pub(crate) fn vhost(&self, name: &str) -> Option<&VhostRecord> {
        self.vhosts.get(name)
    }

    /// The virtual host of this name, to change.
    pub(crate) fn vhost_mut(&mut self, name: &str) -> Option<&mut VhostRecord> {
        self.vhosts.get_mut(name)
    }

    /// All virtual hosts, by name.
    pub(crate) fn vhosts(&self) -> impl Iterator<Item = (&str, &VhostRecord)> {
        self.vhosts.iter().map(|(name, vhost)| (name.as_str(), vhost))
    }

    /// Adds a virtual host. Says whether it is new.
    pub(super) fn add_vhost(&mut self, name: &str) -> bool {
        if self.vhosts.contains_key(name) {
            return false;
        }
        let record = VhostRecord::new(self.next_number);
        self.next_number += 1;
        self.vhosts.insert(name.to_owned(), record);
        true
    }

    /// Removes a virtual host and what belongs to it.
    pub(super) fn remove_vhost(&mut self, name: &str) -> Option<VhostRecord> {
        self.vhosts.remove(name)
    }

    /// Parameters that belong to no virtual host.
    pub(crate) fn global_parameters(&self) -> &BTreeMap<String, Value> {
        &self.global_parameters
    }

    /// Parameters that belong to no virtual host, to change.
    pub(crate) fn global_parameters_mut(&mut self) -> &mut BTreeMap<String, Value> {
        &mut self.global_parameters
    }

    /// Gives a user its patterns in a virtual host.
    ///
    /// # Errors
    /// When a pattern is no regular expression.
    pub(crate) fn set_permissions(
        &mut self,
        vhost: &str,
        user: &str,
        record: PermissionRecord,
    ) -> Result<bool, InvalidPattern> {
        Permissions::parse(&record.configure, &record.write, &record.read)?;
        let Some(vhost) = self.vhosts.get_mut(vhost) else { return Ok(false) };
        Ok(vhost.permissions.insert(user.to_owned(), record).is_none())
    }

    /// Gives a user its patterns for a topic exchange.
    ///
    /// # Errors
    /// When a pattern is no regular expression.
    pub(crate) fn set_topic_permissions(
        &mut self,
        vhost: &str,
        user: &str,
        exchange: &str,
        record: TopicPermissionRecord,
    ) -> Result<bool, InvalidPattern> {
        let variables = TopicVariables { user, vhost, client_id: None };
        let mut trial = TopicPermissions::default();
        trial.set(exchange.as_bytes(), &record.write, &record.read, variables)?;
        let Some(vhost) = self.vhosts.get_mut(vhost) else { return Ok(false) };
        let of_user = vhost.topic_permissions.entry(user.to_owned()).or_default();
        Ok(of_user.insert(exchange.to_owned(), record).is_none())
    }

    /// Whether a user may open a connection to a virtual host.
    pub(crate) fn may_enter(&self, vhost: &str, user: &str) -> bool {
        let permitted = self.vhosts.get(vhost).is_some_and(|it| it.permissions.contains_key(user));
        permitted || self.is_allowed_unknown_user(user)
    }

    /// What a user may do in a virtual host.
    pub(crate) fn rights(&self, vhost: &str, user: &str) -> Rights {
        let max_channels = self.users.get(user).and_then(|user| user.limit("max-channels"));
        if self.is_allowed_unknown_user(user) {
            return Rights::default();
        }
        let record = self.vhosts.get(vhost);
        let permissions = record.and_then(|record| record.permissions.get(user));
        // invariant: patterns were checked when they were set; a user without any may do nothing.
        let permissions = permissions
            .and_then(|it| Permissions::parse(&it.configure, &it.write, &it.read).ok())
            .unwrap_or_else(Permissions::none);
        let mut topics = TopicPermissions::default();
        let of_user = record.and_then(|record| record.topic_permissions.get(user));
        for (exchange, record) in of_user.into_iter().flatten() {
            let variables = TopicVariables { user, vhost, client_id: None };
            // invariant: as above.
            let _ = topics.set(exchange.as_bytes(), &record.write, &record.read, variables);
        }
        Rights { permissions: Some(permissions), topics, max_channels }
    }

    fn is_allowed_unknown_user(&self, user: &str) -> bool {
        self.allow_unknown_users && !self.users.contains_key(user)
    }
}

/// The registry as it is kept.
#[derive(Serialize, Deserialize)]
struct Saved {
    format: u32,
    next_number: u64,
    users: Vec<SavedUser>,
    vhosts: BTreeMap<String, VhostRecord>,
    global_parameters: BTreeMap<String, Value>,
}

#[derive(Serialize, Deserialize)]
struct SavedUser {
    name: String,
    password_hash: Option<String>,
    hashing_algorithm: Option<String>,
    tags: Vec<String>,
    limits: BTreeMap<String, i64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryDisk;

    #[test]
    fn what_is_kept_comes_back() {
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::default());
        let mut registry = Registry::open(disk.clone()).expect("an empty disk");
        registry.add_first_users(&[]).expect("a memory disk takes it");
        assert!(registry.add_vhost("shop"));
        let record = PermissionRecord {
            configure: String::new(),
            write: "^orders".to_owned(),
            read: ".*".to_owned(),
        };
        registry.set_permissions("shop", "guest", record.clone()).expect("good patterns");
        registry.save().expect("a memory disk takes it");

        let again = Registry::open(disk).expect("what was written");
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
    fn a_directory_is_never_given_twice() {
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::default());
        let mut registry = Registry::open(disk).expect("an empty disk");
        registry.add_vhost("a");
        registry.remove_vhost("a");
        registry.add_vhost("a");
        assert_eq!(registry.vhost("a").map(VhostRecord::number), Some(1));
    }

    #[test]
    fn a_damaged_file_is_refused_in_one_line() {
        let disk = MemoryDisk::default();
        replace_whole(&disk, FILE, b"{\"format\": 1").expect("a memory disk takes it");
        let error = Registry::open(Arc::new(disk)).err().expect("it is damaged").to_string();
        assert!(error.starts_with("registry.json in the data directory cannot be read"), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
}
