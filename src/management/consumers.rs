//! Consumers.

use std::collections::{BTreeSet, HashMap};

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use serde_json::{Value, json};

use super::access::Caller;
use super::channels::channel_name;
use super::connections::found;
use super::list::ListQuery;
use super::{Answer, Api, AppState, show};
use crate::broker::snapshot::ConsumerSnapshot;
use crate::broker::vhost::Vhost;
use crate::handle::VhostHandle;

pub(super) fn routes() -> Router<Api> {
    Router::new().route("/consumers", get(list)).route("/consumers/{vhost}", get(of_vhost))
}

async fn list(State(app): State<Api>, caller: Caller, query: ListQuery) -> Answer {
    let vhosts = app.vhosts.running().into_iter();
    let listed = vhosts.filter(|(name, _)| caller.lists_vhost(&app, name));
    let all = listed.flat_map(|(vhost, handle)| seen(&app, &caller, &vhost, &handle));
    query.list_by(all.collect(), &[])
}

async fn of_vhost(
    State(app): State<Api>,
    caller: Caller,
    Path(vhost): Path<String>,
    query: ListQuery,
) -> Answer {
    caller.needs_vhost(&app, &vhost)?;
    let handle = app.vhost(&vhost)?;
    query.list_by(seen(&app, &caller, &vhost, &handle), &[])
}

/// A user sees its own, a monitor all.
fn seen(app: &AppState, caller: &Caller, vhost: &str, handle: &VhostHandle) -> Vec<Value> {
    let mut consumers = handle.read(Vhost::consumers);
    consumers.retain(|consumer| caller.lists_user(&consumer.user));
    shown(app, vhost, handle, &consumers)
}

/// Shows consumers of a virtual host.
pub(super) fn shown(
    app: &AppState,
    vhost: &str,
    handle: &VhostHandle,
    consumers: &[ConsumerSnapshot],
) -> Vec<Value> {
    let connections = found(vhost, handle).into_iter();
    let peers: HashMap<_, _> = connections.map(|it| (it.connection.id, it.peer)).collect();
    let queues: BTreeSet<&str> = consumers.iter().map(|it| it.queue.as_str()).collect();
    let single_active: BTreeSet<&str> = handle.read(|vhost| {
        let is_single = |name: &&str| {
            let queue = vhost.queue(name.as_bytes());
            queue.is_some_and(|queue| queue.single_active_consumer.is_some())
        };
        queues.into_iter().filter(is_single).collect()
    });
    let one = |consumer: &ConsumerSnapshot| {
        let peer = peers.get(&consumer.connection)?;
        let is_single = single_active.contains(consumer.queue.as_str());
        let status = match (consumer.active, is_single) {
            (true, true) => "single_active",
            (true, false) => "up",
            (false, _) => "waiting",
        };
        Some(json!({
            "consumer_tag": consumer.tag,
            "queue": { "name": consumer.queue, "vhost": vhost },
            "ack_required": !consumer.no_ack,
            "exclusive": consumer.exclusive,
            "prefetch_count": consumer.prefetch,
            "active": consumer.active,
            "activity_status": status,
            "arguments": show::table(consumer.arguments.as_table()),
            "channel_details": {
                "name": channel_name(&peer.name, consumer.channel),
                "number": consumer.channel,
                "user": consumer.user,
                "node": app.node,
                "connection_name": peer.name,
                "peer_host": peer.address.ip().to_string(),
                "peer_port": peer.address.port(),
            },
        }))
    };
    consumers.iter().filter_map(one).collect()
}
