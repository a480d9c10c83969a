//! What the node calls itself.

use std::fs;

/// rabbitmq: `rabbit@host`.
pub(crate) fn node_name() -> String {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim().split('.').next().filter(|host| !host.is_empty());
    format!("leveret@{}", host.unwrap_or("localhost"))
}
