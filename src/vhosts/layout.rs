//! Which directories a data directory must have, and whose each of them is.
//!
//! ```text
//!  vhosts/<number>/owner   which data directory, which number, which virtual host
//! ```
//!
//! A directory is made, with its owner in it, before the registry names it, so that one that is named and is not there
//! is a loss; and it is removed after the registry has noted that it is to go, so that a removal that did not come
//! to its end is finished by the next start.
//!
//! invariant: no virtual host is started on a directory that belongs to another one, or to another data directory.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::registry::{Registry, VhostRecord, failed};
use super::sealed::{self, Seal};
use super::{RegistryError, VHOSTS};
use crate::store::{Disk, INVENTORY, read_whole, replace_whole};

/// The file that says whose a directory is.
const OWNER: &str = "owner";

/// Whose a directory is.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Owner {
    /// The identity of the registry.
    identity: String,
    number: u64,
    vhost: String,
}

/// Something about the directories of virtual hosts that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// The directory of a virtual host is not there.
    Missing {
        /// The virtual host.
        vhost: String,
        /// Its directory.
        directory: String,
    },
    /// A file that a directory must have is missing or damaged, and is written anew.
    File {
        /// The file.
        path: String,
        /// What is the matter with it.
        what: &'static str,
    },
    /// The directory of a virtual host has the data of another.
    Foreign {
        /// The virtual host.
        vhost: String,
        /// Its directory.
        directory: String,
        /// Whose data it has.
        of: String,
    },
    /// A virtual host was deleted, and its directory is still there.
    Deleted {
        /// Its number.
        number: u64,
        /// Its directory.
        directory: String,
    },
    /// A virtual host was about to be made, and has nothing yet.
    Unfinished {
        /// Its directory.
        directory: String,
    },
    /// A virtual host has its directory, and is not in the registry.
    Unknown {
        /// The virtual host.
        vhost: String,
        /// Its directory.
        directory: String,
    },
    /// A directory belongs to no virtual host.
    Stray {
        /// The directory.
        directory: String,
    },
}

impl Finding {
    /// Whether something is lost or damaged.
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            Finding::Missing { .. }
            | Finding::File { .. }
            | Finding::Foreign { .. }
            | Finding::Unknown { .. } => true,
            Finding::Deleted { .. } | Finding::Unfinished { .. } | Finding::Stray { .. } => false,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::Missing { vhost, directory } => write!(
                f,
                "{directory}: missing, with all queues and messages of virtual host {vhost:?}"
            ),
            Finding::File { path, what } => write!(f, "{path}: {what}; written anew"),
            Finding::Foreign { vhost, directory, of } => {
                write!(f, "{directory}: is of {of}, and not of virtual host {vhost:?}")
            }
            Finding::Deleted { directory, .. } => {
                write!(f, "{directory}: is of a virtual host that was deleted; removed")
            }
            Finding::Unfinished { directory } => {
                write!(f, "{directory}: is of a virtual host that was about to be made; removed")
            }
            Finding::Unknown { vhost, directory } => write!(
                f,
                "{directory}: is of virtual host {vhost:?}, which is not in the registry: changes of that are lost"
            ),
            Finding::Stray { directory } => {
                write!(f, "{directory} belongs to no virtual host; it is left alone")
            }
        }
    }
}

/// Looks at the directories of virtual hosts. Those of a registry that was kept without owners need none.
pub(super) fn examine(
    disk: &dyn Disk,
    registry: &Registry,
    must_have_owners: bool,
) -> Result<Vec<Finding>, RegistryError> {
    let mut found = Vec::new();
    let names = disk.list(VHOSTS).map_err(|source| failed("list", VHOSTS, source))?;
    let mut unknown: BTreeSet<String> =
        names.into_iter().map(|name| format!("{VHOSTS}/{name}")).collect();
    for (vhost, record) in registry.vhosts() {
        let directory = record.directory();
        if !unknown.remove(&directory) {
            found.push(Finding::Missing { vhost: vhost.to_owned(), directory });
            continue;
        }
        found.extend(examine_owner(disk, registry, vhost, record, must_have_owners)?);
    }
    for directory in unknown {
        let number = number_of(&directory);
        found.push(match number.filter(|number| registry.is_deleting(*number)) {
            Some(number) => Finding::Deleted { number, directory },
            None if is_unfinished(disk, &directory)? => Finding::Unfinished { directory },
            None => match read_owner(disk, &format!("{directory}/{OWNER}"))? {
                Ok(owner) if owner.identity == registry.identity() => {
                    Finding::Unknown { vhost: owner.vhost, directory }
                }
                _ => Finding::Stray { directory },
            },
        });
    }
    Ok(found)
}

fn examine_owner(
    disk: &dyn Disk,
    registry: &Registry,
    vhost: &str,
    record: &VhostRecord,
    must_have_owner: bool,
) -> Result<Vec<Finding>, RegistryError> {
    if !must_have_owner {
        return Ok(Vec::new());
    }
    let directory = record.directory();
    let path = format!("{directory}/{OWNER}");
    let owner = match read_owner(disk, &path)? {
        Ok(owner) => owner,
        Err(what) => return Ok(vec![Finding::File { path, what }]),
    };
    if owner != owner_of(registry, vhost, record) {
        let of = if owner.identity == registry.identity() {
            format!("virtual host {:?}", owner.vhost)
        } else {
            format!("virtual host {:?} of another data directory", owner.vhost)
        };
        return Ok(vec![Finding::Foreign { vhost: vhost.to_owned(), directory, of }]);
    }
    // A store that is there has an inventory since there are owners.
    let names = disk.list(&directory).map_err(|source| failed("list", &directory, source))?;
    let has_store = names.iter().any(|name| name == "catalog" || name == "catalog.copy");
    if has_store && !names.iter().any(|name| name == INVENTORY) {
        let path = format!("{directory}/{INVENTORY}");
        return Ok(vec![Finding::File { path, what: "missing" }]);
    }
    Ok(Vec::new())
}

/// The owner of a directory, or what is the matter with the file.
fn read_owner(disk: &dyn Disk, path: &str) -> Result<Result<Owner, &'static str>, RegistryError> {
    let content = read_whole(disk, path).map_err(|source| failed("read", path, source))?;
    let Some(content) = content else { return Ok(Err("missing")) };
    Ok(match sealed::examine(&content) {
        Seal::Whole => serde_json::from_slice(&content).map_err(|_| "damaged"),
        Seal::None | Seal::Broken => Err("damaged"),
    })
}

/// Makes the directory of a virtual host with its owner, where that is not there.
pub(super) fn ensure_owner(
    disk: &dyn Disk,
    registry: &Registry,
    vhost: &str,
    record: &VhostRecord,
) -> Result<(), RegistryError> {
    let path = format!("{}/{OWNER}", record.directory());
    let owner = owner_of(registry, vhost, record);
    if read_owner(disk, &path)?.is_ok_and(|found| found == owner) {
        return Ok(());
    }
    let owner = sealed::seal(&owner);
    let written = owner.map_err(Into::into).and_then(|owner| replace_whole(disk, &path, &owner));
    written.map_err(|source| failed("write", &path, source))
}

/// Removes a directory with all that is in it.
pub(super) fn remove(disk: &dyn Disk, directory: &str) -> Result<(), RegistryError> {
    disk.remove_directory(directory).map_err(|source| failed("remove", directory, source))
}

/// Leaves a directory to nobody.
pub(super) fn disown(disk: &dyn Disk, directory: &str) -> Result<(), RegistryError> {
    let path = format!("{directory}/{OWNER}");
    disk.remove(&path).map_err(|source| failed("remove", &path, source))
}

/// The highest number that a directory has, if there is any.
pub(super) fn highest_number(disk: &dyn Disk) -> Result<Option<u64>, RegistryError> {
    let names = disk.list(VHOSTS).map_err(|source| failed("list", VHOSTS, source))?;
    Ok(names.iter().filter_map(|name| number_of(name)).max())
}

fn owner_of(registry: &Registry, vhost: &str, record: &VhostRecord) -> Owner {
    let identity = registry.identity().to_owned();
    Owner { identity, number: record.number(), vhost: vhost.to_owned() }
}

/// Whether there is nothing in a directory but its owner.
fn is_unfinished(disk: &dyn Disk, directory: &str) -> Result<bool, RegistryError> {
    let names = disk.list(directory).map_err(|source| failed("list", directory, source))?;
    let new = format!("{OWNER}.new");
    Ok(names.iter().all(|name| name == OWNER || *name == new))
}

fn number_of(directory: &str) -> Option<u64> {
    directory.rsplit('/').next()?.parse().ok()
}
