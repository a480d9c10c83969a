//! Connections, and the end of one.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::routing::get;
use leveret_codec::Table;
use serde_json::{Value, json};

use super::access::Caller;
use super::answer::{self, Failure};
use super::list::ListQuery;
use super::local_client::is_local;
use super::{Answer, Api, AppState, show};
use crate::broker::snapshot::ConnectionSnapshot;
use crate::handle::{ConnectionPeer, VhostHandle};

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/connections", get(list))
        .route("/connections/{name}", get(one).delete(close))
        .route("/vhosts/{vhost}/connections", get(of_vhost))
}

/// A connection with what is known of its two ends.
#[derive(Clone)]
pub(super) struct Found {
    pub(super) vhost: String,
    pub(super) connection: ConnectionSnapshot,
    pub(super) peer: Arc<ConnectionPeer>,
    /// Whether an alarm keeps it from being read.
    blocked: bool,
    /// Bytes that it was sent.
    sent: u64,
}

/// The connections of a virtual host, but not those of this API.
pub(super) fn found(vhost: &str, handle: &VhostHandle) -> Vec<Found> {
    let all = handle.connections().into_iter().filter(|(_, peer, _)| !is_local(peer));
    let found = all.map(|(connection, peer, sent)| {
        let blocked = handle.read(|vhost| vhost.is_blocked(connection.id));
        Found { vhost: vhost.to_owned(), connection, peer, blocked, sent }
    });
    found.collect()
}

/// The connections of all virtual hosts.
pub(super) fn all(app: &AppState) -> Vec<Found> {
    app.vhosts.running().iter().flat_map(|(vhost, handle)| found(vhost, handle)).collect()
}

async fn list(State(app): State<Api>, caller: Caller, query: ListQuery) -> Answer {
    query.list(listed(&app, &caller, all(&app)))
}

async fn of_vhost(
    State(app): State<Api>,
    caller: Caller,
    Path(vhost): Path<String>,
    query: ListQuery,
) -> Answer {
    caller.needs_sight_of(&app, &vhost)?;
    let handle = app.vhost(&vhost)?;
    query.list(listed(&app, &caller, found(&vhost, &handle)))
}

/// A user sees its own, a monitor all.
fn listed(app: &AppState, caller: &Caller, found: Vec<Found>) -> Vec<Value> {
    let seen = found.into_iter().filter(|it| caller.lists_user(&it.connection.user));
    seen.map(|found| shown(app, &found)).collect()
}

/// The connection of this name.
pub(super) fn named(app: &AppState, name: &str) -> Result<Found, Failure> {
    all(app).into_iter().find(|found| found.peer.name == name).ok_or_else(Failure::missing)
}

async fn one(
    State(app): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
    query: ListQuery,
) -> Answer {
    let found = named(&app, &name)?;
    caller.needs_sight_of_user(&found.connection.user)?;
    Ok(query.show(shown(&app, &found)))
}

async fn close(
    State(app): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Answer {
    let found = named(&app, &name)?;
    caller.needs_power_over_user(&found.connection.user)?;
    let reason = headers.get("x-reason").and_then(|reason| reason.to_str().ok());
    answer::deleted(
        app.vhosts.close_connection(&name, reason.unwrap_or("Closed via management plugin")),
    )
}

fn shown(app: &AppState, found: &Found) -> Value {
    let Found { vhost, connection, peer, blocked, sent } = found;
    let state = match (connection.running, blocked) {
        (false, _) => "closing",
        (true, true) => "blocked",
        // It has not published since.
        (true, false) if app.vhosts.alarm().is_some() => "blocking",
        (true, false) => "running",
    };
    let properties = connection.client_properties.as_table();
    let security = peer.security.as_deref();
    let certificate = security.and_then(|security| security.certificate.as_ref());
    json!({
        "name": peer.name,
        "vhost": vhost,
        "node": app.node,
        "type": "network",
        "protocol": "AMQP 0-9-1",
        "state": state,
        "user": connection.user,
        "user_who_performed_action": connection.user,
        "auth_mechanism": peer.mechanism,
        "channels": connection.channels,
        "channel_max": connection.channel_max,
        "frame_max": connection.frame_max,
        "timeout": connection.heartbeat_secs,
        "connected_at": peer.connected_at.as_millis(),
        "client_properties": show::table(properties),
        "user_provided_name": user_provided_name(properties),
        "host": peer.local.ip().to_string(),
        "port": peer.local.port(),
        "peer_host": peer.address.ip().to_string(),
        "peer_port": peer.address.port(),
        "ssl": security.is_some(),
        "ssl_protocol": security.map(|it| it.protocol),
        "ssl_key_exchange": security.map(|it| &it.key_exchange),
        "ssl_cipher": security.map(|it| &it.cipher),
        // All ciphers there are authenticate what they encrypt.
        "ssl_hash": security.map(|_| "aead"),
        "peer_cert_subject": certificate.map(|it| &it.subject),
        "peer_cert_issuer": certificate.map(|it| &it.issuer),
        "peer_cert_validity": certificate.map(|it| &it.validity),
        "recv_oct": peer.received.load(Ordering::Relaxed),
        "recv_oct_details": show::rate(),
        "send_oct": sent,
        "send_oct_details": show::rate(),
    })
}

/// What the client calls the connection.
fn user_provided_name(properties: Table<'_>) -> Value {
    let name = properties.find(b"connection_name");
    name.and_then(|name| name.as_bytes().map(show::text)).unwrap_or_default()
}
