//! Brings the registry and the directories of virtual hosts together at a start, before one is started.

use std::collections::BTreeSet;

use super::RegistryError;
use super::layout::{self, Finding};
use super::registry::Registry;
use crate::store::Disk;

/// How a registry was found.
#[derive(Clone, Copy)]
pub(super) struct FoundAs {
    /// Whether there was none.
    pub(super) is_new: bool,
    /// Whether directories say whose they are.
    pub(super) has_owners: bool,
}

/// Tells what is missing or belongs to others, finishes what was begun, and gives no number that a directory has.
///
/// # Errors
/// Where a virtual host would get the data of another, or all users would be new ones though there is data, unless
/// losses are accepted.
pub(super) fn settle(
    disk: &dyn Disk,
    registry: &mut Registry,
    found_as: FoundAs,
    accept_loss: bool,
) -> Result<(), RegistryError> {
    let findings = layout::examine(disk, registry, found_as.has_owners)?;
    if let Some(there) = lost(&findings, found_as.is_new)
        && !accept_loss
    {
        return Err(RegistryError::Lost { there });
    }
    if let Some(highest) = layout::highest_number(disk)? {
        registry.skip_numbers_to(highest);
    }
    let mut kept = BTreeSet::new();
    for finding in findings {
        match finding.is_damage() {
            true => tracing::error!("{finding}"),
            false => tracing::warn!("{finding}"),
        }
        match &finding {
            Finding::Foreign { vhost, .. } if accept_loss => registry.renumber(vhost),
            Finding::Unknown { directory, .. } if accept_loss => layout::disown(disk, directory)?,
            Finding::Foreign { .. } => return Err(RegistryError::Foreign(finding.to_string())),
            Finding::Unknown { .. } => return Err(RegistryError::Unknown(finding.to_string())),
            Finding::Deleted { number, directory } => {
                // What cannot be removed now is removed by a later start.
                if let Err(error) = layout::remove(disk, directory) {
                    tracing::warn!("{error}");
                    kept.insert(*number);
                }
            }
            Finding::Unfinished { directory } => layout::remove(disk, directory)?,
            Finding::Missing { .. } | Finding::File { .. } | Finding::Stray { .. } => {}
        }
    }
    registry.forget_deleted(|number| !kept.contains(&number));
    Ok(())
}

/// What is there of virtual hosts whose registry is lost.
pub(super) fn lost(findings: &[Finding], is_new: bool) -> Option<String> {
    let strays = findings.iter().filter_map(|finding| match finding {
        Finding::Stray { directory } if is_new => Some(directory.as_str()),
        _ => None,
    });
    let strays: Vec<_> = strays.collect();
    match &strays[..] {
        [] => None,
        [one] => Some(format!("{one} is")),
        many => Some(format!("{} are", many.join(", "))),
    }
}
