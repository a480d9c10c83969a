//! What a broker knows beside its queues: users, virtual hosts, permissions, policies, limits and
//! parameters.
//!
//! Plain values. A copy shares with its original what is not changed in it, and what was changed is found by
//! what they do not share ([`changes`]). How they are kept: see [`file`].

mod changes;
mod file;
mod records;

use std::collections::BTreeSet;
use std::io;

use serde_json::Value;

use super::{Initial, salt};
use crate::broker::access::{
    InvalidPattern, Permissions, Rights, TopicPermissions, TopicVariables,
};
use crate::config::FirstUser;
use crate::passwords::PasswordHash;
use crate::shared_map::SharedMap;
use crate::store::StoreError;

pub(super) use changes::Changes;
pub(super) use file::{FoundRegistry, RegistryFile, failed};
pub(crate) use records::{
    PermissionRecord, PolicyRecord, TopicPermissionRecord, UserRecord, VhostRecord,
};

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
    /// A file is not what was written.
    #[error("{path} in the data directory cannot be read: {what}")]
    Damaged {
        /// Which file.
        path: &'static str,
        /// What is wrong with it.
        what: String,
    },
    /// There is data, and no registry that says whose it is.
    #[error(
        "registry.json and its copy are missing in the data directory, and {there} there: all users and the names \
         of virtual hosts are lost. Bring one of them back; with --accept-loss a start goes on with a new registry"
    )]
    Lost {
        /// What is there.
        there: String,
    },
    /// A virtual host would get the data of another.
    #[error(
        "{0}. Bring the right directory back; with --accept-loss a start gives the virtual host a new, empty one"
    )]
    Foreign(String),
    /// A virtual host is there that the registry does not know any more.
    #[error(
        "{0}, and there may be more. Bring registry.json and registry.changes back; with --accept-loss a start goes \
         on without"
    )]
    Unknown(String),
    /// The file of the changes cannot be read.
    #[error(transparent)]
    Changes(#[from] StoreError),
}

/// Users, virtual hosts and what belongs to them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Registry {
    users: SharedMap<UserRecord>,
    vhosts: SharedMap<VhostRecord>,
    global_parameters: SharedMap<Value>,
    next_number: u64,
    /// Virtual hosts that were deleted and whose directories may still be there, by number.
    deleting: BTreeSet<u64>,
    /// What tells this registry, and the directories that belong to it, from all others.
    identity: String,
    /// Whether users that are not in the registry may do everything: the authenticator of the embedding
    /// program checks them.
    allow_unknown_users: bool,
}

impl Registry {
    /// On a new disk: the first virtual host, and the first user or these users in its place, with all rights.
    /// On one that was used before, these users in addition, with these passwords.
    ///
    /// rabbitmq: definitions leave neither. Here, unless that is asked for, those with users leave no user, and the
    /// virtual host is there all the same where they have none, so that their users have one to enter.
    pub(super) fn add_first_objects(&mut self, is_new: bool, initial: Initial<'_>) {
        let Initial { users, definitions, .. } = initial;
        let first = initial.first.cloned().unwrap_or_default();
        let vhost = first.vhost.as_deref().unwrap_or("/");
        let seeds = is_new && !(first.nothing_beside_definitions && definitions.is_some());
        if is_new && !seeds {
            tracing::info!(
                "Will not seed default virtual host and user: have definitions to load..."
            );
        }
        if seeds && definitions.is_none_or(|it| it.users.is_empty() || it.vhosts.is_empty()) {
            self.add_vhost(vhost);
        }
        if seeds && users.is_empty() && definitions.is_none_or(|it| it.users.is_empty()) {
            self.add_first_user(vhost, first.user);
        }
        for (name, password) in users {
            let record = self.users.get_or_default(name);
            record.password = Some(PasswordHash::new(password, salt()));
            if record.tags.is_empty() {
                record.tags.push("administrator".to_owned());
            }
            if let Some(vhost) = self.vhosts.get_mut(vhost)
                && !vhost.permissions.contains_key(name)
            {
                vhost.permissions.insert(name.clone(), PermissionRecord::all());
            }
        }
    }

    /// Takes the protection from deletion from all virtual hosts.
    pub(super) fn unprotect(&mut self) {
        let names: Vec<String> = self.vhosts().map(|(name, _)| name.to_owned()).collect();
        for name in names {
            if let Some(record) = self.vhosts.get_mut(&name) {
                record.protected_from_deletion = false;
            }
        }
    }

    /// Forgets users and parameters.
    pub(super) fn forget(&mut self) {
        self.users = SharedMap::default();
        self.global_parameters = SharedMap::default();
    }

    /// The first user of a new broker, guest unless said otherwise.
    fn add_first_user(&mut self, vhost: &str, user: Option<FirstUser>) {
        let guest = || FirstUser {
            name: "guest".to_owned(),
            password: b"guest".to_vec(),
            tags: vec!["administrator".to_owned()],
            permissions: [(); 3].map(|()| ".*".to_owned()),
        };
        let FirstUser { name, password, tags, permissions } = user.unwrap_or_else(guest);
        let record = self.users.get_or_default(&name);
        record.password = Some(PasswordHash::new(&password, salt()));
        record.tags = tags;
        let [configure, write, read] = permissions;
        if let Some(vhost) = self.vhosts.get_mut(vhost) {
            vhost.permissions.insert(name, PermissionRecord { configure, write, read });
        }
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
        let has_rights = |(_, vhost): &(&String, &VhostRecord)| {
            vhost.permissions.contains_key(name) || vhost.topic_permissions.contains_key(name)
        };
        let vhosts: Vec<_> =
            self.vhosts.iter().filter(has_rights).map(|(vhost, _)| vhost.clone()).collect();
        for vhost in vhosts {
            if let Some(vhost) = self.vhosts.get_mut(&vhost) {
                vhost.permissions.remove(name);
                vhost.topic_permissions.remove(name);
            }
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
    pub(crate) fn add_vhost(&mut self, name: &str) -> bool {
        if self.vhosts.contains_key(name) {
            return false;
        }
        let record = VhostRecord::new(self.next_number);
        self.next_number += 1;
        self.vhosts.insert(name.to_owned(), record);
        true
    }

    /// Removes a virtual host and what belongs to it; its directory is to be removed then.
    pub(super) fn remove_vhost(&mut self, name: &str) -> Option<VhostRecord> {
        let record = self.vhosts.remove(name)?;
        self.deleting.insert(record.number());
        Some(record)
    }

    /// Whether the directory of this number is to be removed.
    pub(super) fn is_deleting(&self, number: u64) -> bool {
        self.deleting.contains(&number)
    }

    /// The directories that were to be removed and are gone.
    pub(super) fn forget_deleted(&mut self, is_gone: impl Fn(u64) -> bool) {
        self.deleting.retain(|&number| !is_gone(number));
    }

    /// What tells this registry from all others.
    pub(super) fn identity(&self) -> &str {
        &self.identity
    }

    /// Gives no number any more that a directory has.
    pub(super) fn skip_numbers_to(&mut self, highest: u64) {
        self.next_number = self.next_number.max(highest + 1);
    }

    /// Gives a virtual host another directory, as the one it had is lost to it.
    pub(super) fn renumber(&mut self, name: &str) {
        if let Some(record) = self.vhosts.get_mut(name) {
            record.set_number(self.next_number);
            self.next_number += 1;
        }
    }

    /// Parameters that belong to no virtual host.
    pub(crate) fn global_parameters(&self) -> &SharedMap<Value> {
        &self.global_parameters
    }

    /// Parameters that belong to no virtual host, to change.
    pub(crate) fn global_parameters_mut(&mut self) -> &mut SharedMap<Value> {
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
        let of_user = vhost.topic_permissions.get_or_default(user);
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

    /// Whether something differs from a registry that this was copied from that all virtual hosts obey.
    pub(super) fn has_other_limits_than(&self, before: &Registry) -> bool {
        let changes = self.users.changes_since(&before.users);
        changes.into_iter().any(|(_, now, before)| match (now, before) {
            (Some(now), Some(before)) => now.limits != before.limits,
            _ => self.allow_unknown_users,
        })
    }

    /// Whether a user may be given permissions: one of the registry, or one that the authenticator of the embedding
    /// program may know.
    pub(super) fn may_have_permissions(&self, user: &str) -> bool {
        self.allow_unknown_users || self.users.contains_key(user)
    }

    fn is_allowed_unknown_user(&self, user: &str) -> bool {
        self.allow_unknown_users && !self.users.contains_key(user)
    }
}

#[cfg(test)]
mod tests;
