//! A look at a whole data directory that changes nothing: the registry and every virtual host's
//! store, and what a start would do with them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use super::layout::{self, Finding};
use super::registry::{FoundRegistry, RegistryFile, VhostRecord};
use super::{RegistryError, VHOSTS, directories};
use crate::store::{self, Check, Damage, Disk, Subdirectory};

/// What is in a data directory, see [`check_data_dir`](crate::check_data_dir). Its text is for people:
/// a line for each finding, then a summary.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DataDirCheck {
    /// Whether brokers were kept out meanwhile: by the lock file, which a copy may lack.
    pub is_locked: bool,
    /// How many users there are.
    pub users: u64,
    /// Why a start would refuse, apart from what is the matter with a virtual host.
    pub refusal: Option<String>,
    /// What of the registry, or of the directories that it names, is missing or damaged, each in a line.
    pub losses: Vec<String>,
    /// What a start would finish, each in a line.
    pub unfinished: Vec<String>,
    /// The virtual hosts, by name.
    pub vhosts: Vec<VhostCheck>,
    /// Directories that belong to no virtual host: the rest of one that was deleted.
    pub strays: Vec<String>,
}

/// What is in a virtual host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VhostCheck {
    /// Its name; empty when the registry cannot be read.
    pub name: String,
    /// Where its store is in the data directory.
    pub directory: String,
    /// What is in its store, or why a start would refuse.
    pub store: Result<Check, String>,
}

/// Looks at a data directory.
pub(crate) fn check(disk: &Arc<dyn Disk>, is_locked: bool) -> DataDirCheck {
    let mut check = DataDirCheck { is_locked, ..DataDirCheck::default() };
    let directories = match disk.list(VHOSTS) {
        Ok(names) => names.into_iter().map(|name| format!("{VHOSTS}/{name}")).collect(),
        Err(error) => {
            check.refusal = Some(format!("cannot list {VHOSTS}: {error}"));
            Vec::new()
        }
    };
    let mut unknown: BTreeSet<String> = directories.into_iter().collect();
    match look_at_registry(disk, &mut check) {
        Ok(vhosts) => {
            for (name, directory) in vhosts {
                unknown.remove(&directory);
                check.look_at(disk, name, directory);
            }
        }
        Err(error) => check.refusal = Some(error.to_string()),
    }
    unknown.retain(|directory| !check.unfinished.iter().any(|line| is_about(line, directory)));
    if check.refusal.is_none() {
        check.strays = unknown.into_iter().collect();
    } else {
        // Whose they are is not known, but what is in them is.
        for directory in unknown {
            check.look_at(disk, String::new(), directory);
        }
    }
    check
}

/// The virtual hosts of the registry, with their directories; what is wrong with both is noted.
fn look_at_registry(
    disk: &Arc<dyn Disk>,
    check: &mut DataDirCheck,
) -> Result<Vec<(String, String)>, RegistryError> {
    let FoundRegistry { registry, is_new, has_owners, damage, .. } =
        RegistryFile::read(disk.clone(), false)?;
    check.losses = damage;
    check.users = registry.users().count() as u64;
    let findings = layout::examine(&**disk, &registry, has_owners)?;
    if let Some(there) = directories::lost(&findings, is_new) {
        return Err(RegistryError::Lost { there });
    }
    let mut vhosts: BTreeMap<String, String> = registry
        .vhosts()
        .map(|(name, record)| (name.to_owned(), VhostRecord::directory(record)))
        .collect();
    for finding in findings {
        let line = finding.to_string();
        match finding {
            Finding::Foreign { vhost, .. } => {
                vhosts.remove(&vhost);
                check.refusal.get_or_insert(RegistryError::Foreign(line).to_string());
            }
            Finding::Unknown { .. } => {
                check.refusal.get_or_insert(RegistryError::Unknown(line).to_string());
            }
            Finding::Missing { vhost, .. } => {
                vhosts.remove(&vhost);
                check.losses.push(line);
            }
            Finding::File { .. } => check.losses.push(line),
            Finding::Deleted { .. } | Finding::Unfinished { .. } => check.unfinished.push(line),
            Finding::Stray { .. } => {}
        }
    }
    Ok(vhosts.into_iter().collect())
}

/// Whether a line is about a directory.
fn is_about(line: &str, directory: &str) -> bool {
    line.strip_prefix(directory).is_some_and(|rest| rest.starts_with(':'))
}

impl DataDirCheck {
    /// Whether there is nothing that is damaged or cannot be read.
    pub fn is_whole(&self) -> bool {
        self.would_start() && self.places() == 0
    }

    /// Whether a start would go on.
    pub fn would_start(&self) -> bool {
        self.refusal.is_none() && self.vhosts.iter().all(|vhost| vhost.store.is_ok())
    }

    /// All damage, with the directory it is in.
    pub fn damage(&self) -> impl Iterator<Item = (&str, &Damage)> {
        self.stores().flat_map(|(vhost, store)| {
            store.damage.iter().map(|damage| (vhost.directory.as_str(), damage))
        })
    }

    /// How many places are damaged.
    fn places(&self) -> usize {
        self.damage().count() + self.losses.len()
    }

    fn stores(&self) -> impl Iterator<Item = (&VhostCheck, &Check)> {
        self.vhosts.iter().filter_map(|vhost| Some((vhost, vhost.store.as_ref().ok()?)))
    }

    fn sum(&self, count: impl Fn(&Check) -> u64) -> u64 {
        self.stores().map(|(_, store)| count(store)).sum()
    }

    fn look_at(&mut self, disk: &Arc<dyn Disk>, name: String, directory: String) {
        let part: Arc<dyn Disk> = Arc::new(Subdirectory::new(disk.clone(), &directory));
        let store = store::check(part).map_err(|error| error.to_string());
        self.vhosts.push(VhostCheck { name, directory, store });
    }

    fn write_findings(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(refusal) = &self.refusal {
            writeln!(f, "damaged: {refusal}")?;
        }
        for loss in &self.losses {
            writeln!(f, "damaged: {loss}")?;
        }
        for VhostCheck { directory, store, .. } in &self.vhosts {
            match store {
                Err(refusal) => writeln!(f, "damaged: in {directory}: {refusal}")?,
                Ok(store) => {
                    for damage in &store.damage {
                        writeln!(f, "damaged: {directory}/{damage}")?;
                    }
                }
            }
        }
        for (vhost, store) in self.stores() {
            for change in &store.changes {
                let path = change.path();
                writeln!(f, "a start would do: {}/{path}: {change}", vhost.directory)?;
            }
            for leftover in &store.leftovers {
                writeln!(f, "a start would do: {}/{leftover}: remove", vhost.directory)?;
            }
        }
        for unfinished in &self.unfinished {
            writeln!(f, "a start would do: {unfinished}")?;
        }
        for stray in &self.strays {
            writeln!(f, "note: {stray} belongs to no virtual host; a start would leave it alone")?;
        }
        if !self.is_locked {
            writeln!(f, "note: there is no lock file; a broker might have changed it meanwhile")?;
        }
        Ok(())
    }

    fn write_verdict(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = self.places();
        let changes = self.sum(|store| (store.changes.len() + store.leftovers.len()) as u64);
        let refused = self.vhosts.iter().filter(|vhost| vhost.store.is_err());
        let refused: Vec<_> = refused.map(|vhost| vhost.directory.as_str()).collect();
        if !self.would_start() {
            let of = match &refused[..] {
                [] => String::new(),
                refused => format!(", for what is in {}", refused.join(", ")),
            };
            return write!(f, "DAMAGED: a start would refuse{of}");
        }
        match places {
            0 => write!(f, "whole: a start would go on")?,
            1 => write!(f, "DAMAGED in 1 place: a start would go on")?,
            places => write!(f, "DAMAGED in {places} places: a start would go on")?,
        }
        match changes {
            0 => write!(f, " and change no file"),
            1 => write!(f, " and change, make or remove 1 file or directory"),
            changes => write!(f, " and change, make or remove {changes} files or directories"),
        }
    }
}

impl fmt::Display for DataDirCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_findings(f)?;
        self.vhosts.iter().try_for_each(|vhost| write!(f, "{vhost}"))?;
        writeln!(
            f,
            "total: {} users, {} virtual hosts, {} queues, {} messages of {} bytes, \
             {} bytes of log, {} bytes of segments",
            self.users,
            self.vhosts.len(),
            self.sum(|store| store.queues.len() as u64),
            self.sum(Check::messages),
            self.sum(Check::body_bytes),
            self.sum(|store| store.log_bytes),
            self.sum(Check::segment_bytes),
        )?;
        self.write_verdict(f)
    }
}

impl fmt::Display for VhostCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name.as_str() {
            "" => write!(f, "virtual host without a name, in {}: ", self.directory)?,
            name => write!(f, "virtual host {name:?}, in {}: ", self.directory)?,
        }
        let Ok(store) = &self.store else { return writeln!(f, "not known") };
        writeln!(
            f,
            "{} exchanges, {} bindings, {} queues, {} messages of {} bytes",
            store.exchanges,
            store.bindings,
            store.queues.len(),
            store.messages(),
            store.body_bytes()
        )?;
        for queue in &store.queues {
            match queue.name.as_str() {
                "" => write!(f, "  delayed messages: ")?,
                name => write!(f, "  queue {name:?}: ")?,
            }
            writeln!(
                f,
                "{} messages of {} bytes, {} of them in the log; {} segments of {} bytes",
                queue.messages,
                queue.body_bytes,
                queue.messages_in_log,
                queue.segments,
                queue.segment_bytes
            )?;
        }
        writeln!(
            f,
            "  log: {} records in {} files of {} bytes; {} segments of {} bytes",
            store.log_records,
            store.log_files,
            store.log_bytes,
            store.segments(),
            store.segment_bytes()
        )
    }
}
