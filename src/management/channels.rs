//! Channels.

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use serde_json::{Value, json};

use super::access::Caller;
use super::answer::Failure;
use super::connections::{Found, found, named};
use super::list::ListQuery;
use super::{Answer, Api, AppState, consumers, show};
use crate::broker::snapshot::ChannelSnapshot;
use crate::broker::vhost::Vhost;
use crate::handle::VhostHandle;

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/channels", get(list))
        .route("/channels/{name}", get(one))
        .route("/connections/{name}/channels", get(of_connection))
        .route("/vhosts/{vhost}/channels", get(of_vhost))
}

async fn list(State(app): State<Api>, caller: Caller, query: ListQuery) -> Answer {
    let vhosts = app.vhosts.running();
    let all = vhosts.iter().flat_map(|(vhost, handle)| channels(vhost, handle));
    query.list(listed(&app, &caller, all))
}

async fn of_vhost(
    State(app): State<Api>,
    caller: Caller,
    Path(vhost): Path<String>,
    query: ListQuery,
) -> Answer {
    caller.needs_sight_of(&app, &vhost)?;
    let handle = app.vhost(&vhost)?;
    query.list(listed(&app, &caller, channels(&vhost, &handle)))
}

async fn of_connection(
    State(app): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
    query: ListQuery,
) -> Answer {
    let connection = named(&app, &name)?;
    caller.needs_sight_of_user(&connection.connection.user)?;
    let handle = app.vhost(&connection.vhost)?;
    let all = channels(&connection.vhost, &handle).into_iter();
    query.list(listed(&app, &caller, all.filter(|(found, _)| found.peer.name == name)))
}

async fn one(
    State(app): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
    query: ListQuery,
) -> Answer {
    let vhosts = app.vhosts.running();
    let mut all = vhosts.iter().flat_map(|(vhost, handle)| channels(vhost, handle));
    let (found, channel) = all
        .find(|(found, it)| channel_name(&found.peer.name, it.number) == name)
        .ok_or_else(Failure::missing)?;
    caller.needs_sight_of_user(&channel.user)?;
    let handle = app.vhost(&found.vhost)?;
    let mut own = handle.read(Vhost::consumers);
    own.retain(|it| (it.connection, it.channel) == (channel.connection, channel.number));
    let mut shown = shown(&app, &found, &channel);
    shown["consumer_details"] = consumers::shown(&app, &found.vhost, &handle, &own).into();
    shown["publishes"] = json!([]);
    shown["deliveries"] = json!([]);
    Ok(query.show(shown))
}

/// What a channel is called.
pub(super) fn channel_name(connection: &str, number: u16) -> String {
    format!("{connection} ({number})")
}

/// The channels of a virtual host with their connections, but not those of this API.
fn channels(vhost: &str, handle: &VhostHandle) -> Vec<(Found, ChannelSnapshot)> {
    let connections = found(vhost, handle);
    let channels = handle.read(Vhost::channels).into_iter();
    let places: std::collections::HashMap<_, _> =
        connections.into_iter().map(|found| (found.connection.id, found)).collect();
    let with_connection = channels.filter_map(|channel| {
        let found = places.get(&channel.connection)?;
        Some((found.clone(), channel))
    });
    with_connection.collect()
}

fn listed(
    app: &AppState,
    caller: &Caller,
    all: impl IntoIterator<Item = (Found, ChannelSnapshot)>,
) -> Vec<Value> {
    let seen = all.into_iter().filter(|(_, channel)| caller.lists_user(&channel.user));
    seen.map(|(found, channel)| shown(app, &found, &channel)).collect()
}

fn shown(app: &AppState, found: &Found, channel: &ChannelSnapshot) -> Value {
    json!({
        "name": channel_name(&found.peer.name, channel.number),
        "number": channel.number,
        "vhost": found.vhost,
        "node": app.node,
        "user": channel.user,
        "user_who_performed_action": channel.user,
        "state": "running",
        "confirm": channel.confirm,
        "transactional": channel.transactional,
        "consumer_count": channel.consumers,
        "prefetch_count": channel.prefetch,
        "global_prefetch_count": channel.global_prefetch,
        "messages_unacknowledged": channel.messages_unacknowledged,
        "messages_unconfirmed": channel.messages_unconfirmed,
        "messages_uncommitted": channel.messages_uncommitted,
        "acks_uncommitted": channel.acks_uncommitted,
        "message_stats": show::statistics(&channel.statistics),
        "connection_details": {
            "name": found.peer.name,
            "peer_host": found.peer.address.ip().to_string(),
            "peer_port": found.peer.address.port(),
        },
    })
}
