//! What a node calls itself.

use std::fs;

/// rabbitmq: `rabbit@host`.
pub(crate) fn default_node_name() -> String {
    let host = host_name().unwrap_or_default();
    let host = host.split('.').next().filter(|host| !host.is_empty());
    format!("leveret@{}", host.unwrap_or("localhost"))
}

/// The name of this machine, with its domain if it says so.
pub(crate) fn host_name() -> Option<String> {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(host.trim().to_owned()).filter(|host| !host.is_empty())
}
