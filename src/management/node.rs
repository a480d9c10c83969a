//! The one node there is, and what the system says of its process.
//!
//! Whatever cannot be known is left out.

use std::fs;
use std::path::Path as FilePath;

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use serde_json::{Map, Value, json};

use super::access::Caller;
use super::answer::Failure;
use super::list::ListQuery;
use super::overview::contexts;
use super::{Answer, Api, AppState, connections, off_thread};
use crate::auth::EXTERNAL;
use crate::broker::handshake::VERSION;
use crate::tls::Acceptor;

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/nodes", get(list))
        .route("/nodes/{node}", get(one))
        .route("/nodes/{node}/memory", get(memory))
        .route("/nodes/{node}/memory/relative", get(relative_memory))
}

async fn list(State(app): State<Api>, caller: Caller, query: ListQuery) -> Answer {
    caller.needs_monitor()?;
    off_thread(move || query.list(vec![node(&app)])).await
}

async fn one(
    State(app): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
    query: ListQuery,
) -> Answer {
    caller.needs_monitor()?;
    if name != app.node {
        return Err(Failure::missing());
    }
    off_thread(move || Ok(query.show(node(&app)))).await
}

/// The parts of a node's memory in RabbitMQ, where they are listed whole. What they are of has no like here, but for
/// messages.
const MEMORY_PARTS: [&str; 23] = [
    "connection_readers",
    "connection_writers",
    "connection_channels",
    "connection_other",
    "queue_procs",
    "quorum_queue_procs",
    "stream_queue_procs",
    "stream_queue_replica_reader_procs",
    "stream_queue_coordinator_procs",
    "plugins",
    "metadata_store",
    "other_proc",
    "metrics",
    "mgmt_db",
    "mnesia",
    "quorum_ets",
    "metadata_store_ets",
    "other_ets",
    "msg_index",
    "code",
    "atom",
    "allocated_unused",
    "reserved_unallocated",
];

/// How much memory the process has, and what of it messages and definitions take: in bytes.
fn memory_use(app: &AppState) -> (u64, u64) {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = number_after(&status, "VmRSS:").unwrap_or_default() * 1024;
    (resident, app.vhosts.memory_used().min(resident))
}

async fn memory(
    State(app): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
    query: ListQuery,
) -> Answer {
    may_see_memory(&app, &caller, &name)?;
    let (resident, used) = memory_use(&app);
    let mut parts = Map::from_iter(MEMORY_PARTS.map(|part| (part.to_owned(), 0.into())));
    parts.insert("binary".to_owned(), used.into());
    parts.insert("other_system".to_owned(), (resident - used).into());
    parts.insert("strategy".to_owned(), "rss".into());
    let total = json!({ "erlang": resident, "rss": resident, "allocated": resident });
    parts.insert("total".to_owned(), total);
    Ok(query.show(json!({ "memory": parts })))
}

/// The same in percent.
async fn relative_memory(
    State(app): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
    query: ListQuery,
) -> Answer {
    may_see_memory(&app, &caller, &name)?;
    let (resident, used) = memory_use(&app);
    let used = (100 * used).checked_div(resident).unwrap_or_default();
    let mut parts = Map::from_iter(MEMORY_PARTS.map(|part| (part.to_owned(), 0.into())));
    for (part, share) in [("total", 100), ("binary", used), ("other_system", 100 - used)] {
        parts.insert(part.to_owned(), share.into());
    }
    Ok(query.show(json!({ "memory": parts })))
}

fn may_see_memory(app: &AppState, caller: &Caller, name: &str) -> Result<(), Failure> {
    caller.needs_monitor()?;
    if name == app.node { Ok(()) } else { Err(Failure::missing()) }
}

fn node(app: &AppState) -> Value {
    let vhosts = app.vhosts.running();
    let sockets: usize = vhosts.iter().map(|(_, it)| connections::count(it, None).0).sum();
    let mut shown = json!({
        "name": app.node,
        "type": if app.data_dir.is_some() { "disc" } else { "ram" },
        "running": true,
        "being_drained": false,
        "os_pid": std::process::id().to_string(),
        "uptime": app.vhosts.now().millis_since(app.started_at),
        "processors": std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        "rates_mode": "basic",
        "sockets_used": sockets,
        "mem_alarm": app.alarms().contains(&"memory"),
        "disk_free_alarm": app.alarms().contains(&"disk"),
        "disk_free_limit": app.vhosts.disk_free_limit(),
        "mem_limit": app.vhosts.memory_limit(),
        // What the limit is about; `mem_used` is all of the process.
        "mem_messages": app.vhosts.memory_used(),
        "partitions": [],
        "enabled_plugins": ["rabbitmq_management"],
        "applications": [{
            "name": "rabbit",
            "description": concat!("leveret ", env!("CARGO_PKG_VERSION")),
            "version": VERSION,
        }],
        "auth_mechanisms": [
            { "name": "PLAIN", "description": "SASL PLAIN authentication mechanism", "enabled": true },
            { "name": "AMQPLAIN", "description": "QPid AMQPLAIN mechanism", "enabled": true },
            {
                "name": EXTERNAL,
                "description": "TLS peer verification-based authentication plugin. \
                                Used in combination with the EXTERNAL SASL mechanism.",
                "enabled": app.acceptor.as_deref().is_some_and(Acceptor::asks_for_certificates),
            },
        ],
        "contexts": contexts(app),
        "config_files": [],
        "log_files": [],
        "cluster_links": [],
    });
    if let Value::Object(shown) = &mut shown {
        process(shown);
        disk(app.data_dir.as_deref(), shown);
    }
    shown
}

/// What the system says of this process.
fn process(shown: &mut Map<String, Value>) {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let files = fs::read_dir("/proc/self/fd").ok().map(|it| it.count() as u64);
    let open_files = number_after(&limits, "Max open files");
    // Runnable of all threads of the machine: `1/234`.
    let runnable = load.split([' ', '/']).nth(3).and_then(|it| it.parse::<u64>().ok());
    let threads = fs::read_to_string("/proc/sys/kernel/threads-max").unwrap_or_default();
    for (name, value) in [
        ("mem_used", number_after(&status, "VmRSS:").map(|kib| kib * 1024)),
        ("fd_used", files),
        ("fd_total", open_files),
        ("sockets_total", open_files),
        ("proc_used", number_after(&status, "Threads:")),
        ("proc_total", threads.trim().parse().ok()),
        ("run_queue", runnable),
    ] {
        shown.extend(value.map(|value| (name.to_owned(), value.into())));
    }
}

/// How much room there is where the data is; without a data directory, where one would be.
fn disk(data_dir: Option<&FilePath>, shown: &mut Map<String, Value>) {
    let place = data_dir.unwrap_or(FilePath::new("."));
    if let Ok(found) = rustix::fs::statvfs(place) {
        shown.insert("disk_free".to_owned(), (found.f_bavail * found.f_frsize).into());
    }
    if let Some(directory) = data_dir {
        shown.insert("db_dir".to_owned(), directory.to_string_lossy().into());
    }
}

/// The first number behind a name at the beginning of a line.
fn number_after(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_behind_their_names() {
        let status = "VmPeak:\t  12 kB\nVmRSS:\t   34567 kB\nThreads:\t5\n";
        assert_eq!(number_after(status, "VmRSS:"), Some(34567));
        let limits = "Max open files            1024                 524288               files\n";
        assert_eq!(number_after(limits, "Max open files"), Some(1024));
        assert_eq!(number_after(status, "VmSwap:"), None);
    }
}
