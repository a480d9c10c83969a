//! What is logged of a start: which leveret it is, where its data is, what was found there, what clients may ask
//! for, and what is the matter with certificates.

use super::connection::Context;
use crate::broker::connection::ConnectionSettings;
use crate::config::{Config, Storage};
use crate::store;
use crate::tls::Acceptor;
use crate::vhosts::Vhosts;

/// Logs which leveret starts, and where its data is.
pub(super) fn log_start(config: &Config) {
    let version = env!("CARGO_PKG_VERSION");
    match &config.storage {
        Storage::Memory => tracing::info!(version, "leveret starts, with everything in memory"),
        Storage::Directory(path) => {
            // why: a path that is not absolute says nothing without the directory that it is meant from.
            let data_dir = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            tracing::info!(version, data_dir = %data_dir.display(), "leveret starts");
        }
    }
}

/// Logs what is the matter with the certificates for TLS.
pub(super) fn log_weaknesses(acceptor: Option<&Acceptor>, vhosts: &Vhosts) {
    let found = acceptor.map(|acceptor| acceptor.weaknesses(vhosts.now()));
    found.into_iter().flatten().for_each(|weakness| tracing::warn!("{weakness}"));
}

/// Logs what clients may ask for.
pub(super) fn log_limits(context: &Context, vhosts: &Vhosts) {
    let ConnectionSettings { channel_max, frame_max, heartbeat_secs, max_message_size, .. } =
        context.settings;
    let (max_sockets, max_connections) = context.connection_slots.limits();
    tracing::info!(
        memory_limit = vhosts.memory_limit(),
        disk_free_limit = vhosts.disk_free_limit(),
        max_sockets,
        max_connections,
        channel_max,
        frame_max,
        heartbeat_secs,
        max_message_size,
        "limits"
    );
}

/// Logs what the store of a virtual host found: what was lost in a line each, the virtual host first.
pub(super) fn log_recovery(vhost: &str, report: &store::Report) {
    let summary = store::Report { cuts: Vec::new(), ..report.clone() };
    tracing::info!(vhost, "{summary}");
    for damage in &report.cuts {
        // What was being written when the process was killed, nobody was told of.
        match damage.what.starts_with("a torn") {
            true => tracing::warn!("vhost '{vhost}': {damage}"),
            false => tracing::error!("vhost '{vhost}': {damage}"),
        }
    }
}
