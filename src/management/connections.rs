//! Connections, and the end of one.

use std::borrow::Cow;
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
use super::fields::{Field, FieldContext, FieldValue, rate};
use super::list::ListQuery;
use super::listing::{self, Listing, ObjectKind, step_places};
use super::local_client::is_local;
use super::{Answer, Api, AppState, show};
use crate::broker::snapshot::ConnectionSnapshot;
use crate::broker::vhost::{ConnectionId, Vhost};
use crate::handle::{ConnectionPeer, Peers, VhostHandle};
use crate::tls::{Certified, Security};

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/connections", get(list))
        .route("/connections/{name}", get(one).delete(close))
        .route("/connections/username/{user}", get(of_user).delete(close_all))
        .route("/vhosts/{vhost}/connections", get(of_vhost))
}

async fn list(State(app): State<Api>, caller: Caller, query: ListQuery) -> Answer {
    let kind = Connections { of_user: caller.sees_only() };
    Listing::new(&app, query, kind, app.vhosts.running()).answer().await
}

async fn of_vhost(
    State(app): State<Api>,
    caller: Caller,
    Path(vhost): Path<String>,
    query: ListQuery,
) -> Answer {
    caller.needs_sight_of(&app, &vhost)?;
    let kind = Connections { of_user: caller.sees_only() };
    Listing::of_vhost(&app, query, kind, &vhost)?.answer().await
}

async fn of_user(
    State(app): State<Api>,
    caller: Caller,
    Path(user): Path<String>,
    query: ListQuery,
) -> Answer {
    caller.needs_sight_of_user(&user)?;
    let kind = Connections { of_user: Some(user) };
    Listing::new(&app, query, kind, app.vhosts.running()).answer().await
}

/// Closes all connections of a user. There may be none.
async fn close_all(
    State(app): State<Api>,
    caller: Caller,
    Path(user): Path<String>,
    headers: HeaderMap,
) -> Answer {
    caller.needs_power_over_user(&user)?;
    app.vhosts.close_connections_of(&user, reason(&headers));
    Ok(answer::done())
}

/// What a client is to be told of the end of its connection.
fn reason(headers: &HeaderMap) -> &str {
    let reason = headers.get("x-reason").and_then(|reason| reason.to_str().ok());
    reason.unwrap_or("Closed via management plugin")
}

/// Where the connection of a name is.
pub(super) struct Named {
    pub(super) vhost: String,
    pub(super) handle: VhostHandle,
    pub(super) id: ConnectionId,
}

/// The connection of this name.
pub(super) fn named(app: &AppState, name: &str) -> Result<Named, Failure> {
    let vhosts = app.vhosts.running().into_iter();
    let mut found = vhosts.filter_map(|(vhost, handle)| {
        let id = handle.connection(name)?;
        Some(Named { vhost, handle, id })
    });
    found.next().ok_or_else(Failure::missing)
}

impl Named {
    /// The connection as it is now.
    async fn read(&self) -> Result<FoundConnection, Failure> {
        let found = self
            .handle
            .read_with_peers_as_task(|vhost, peers| FoundConnection::read(vhost, peers, self.id));
        found.await.ok_or_else(Failure::missing)
    }
}

async fn one(
    State(app): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
    query: ListQuery,
) -> Answer {
    let named = named(&app, &name)?;
    let found = named.read().await?;
    caller.needs_sight_of_user(&found.connection.user)?;
    Ok(query.show(listing::shown::<Connections>(&app, &named.vhost, &found)))
}

async fn close(
    State(app): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Answer {
    let found = named(&app, &name)?.read().await?;
    caller.needs_power_over_user(&found.connection.user)?;
    answer::deleted(app.vhosts.close_connection(&name, reason(&headers)))
}

/// Connections, but not those of this API; those of one user if there is one.
struct Connections {
    of_user: Option<String>,
}

/// A connection with what is known of its two ends.
struct FoundConnection {
    connection: ConnectionSnapshot,
    peer: Arc<ConnectionPeer>,
    /// Whether an alarm keeps it from being read.
    is_blocked: bool,
    /// Bytes that it was sent.
    sent: u64,
}

impl FoundConnection {
    fn read(vhost: &Vhost, peers: Peers<'_>, id: ConnectionId) -> Option<Self> {
        let peer = network_peer(peers, id)?.clone();
        let connection = vhost.connection_by_id(id)?;
        let (is_blocked, sent) = (vhost.is_blocked(id), peers.written(id));
        Some(FoundConnection { connection, peer, is_blocked, sent })
    }
}

/// The other end of a connection that is not one of this API.
pub(super) fn network_peer(peers: Peers<'_>, id: ConnectionId) -> Option<&Arc<ConnectionPeer>> {
    peers.get(id).filter(|peer| !is_local(peer))
}

/// Whether this connection is the user's, or anybody's if there is none.
pub(super) fn is_of_user(vhost: &Vhost, id: ConnectionId, user: Option<&str>) -> bool {
    user.is_none_or(|name| vhost.user(id).is_some_and(|user| user.name == name))
}

/// How many connections of a user there are, or of anybody, and how many channels on them.
pub(super) fn count(handle: &VhostHandle, of_user: Option<&str>) -> (usize, usize) {
    let (mut connections, mut channels) = (0, 0);
    let channels_of = |vhost: &Vhost, peers: Peers<'_>, place| {
        let id = vhost.connection_at(place)?;
        let is_counted = network_peer(peers, id).is_some() && is_of_user(vhost, id, of_user);
        is_counted.then(|| vhost.channel_count(id))
    };
    handle.visit_places(Vhost::connection_places, channels_of, |count| {
        connections += 1;
        channels += count;
    });
    (connections, channels)
}

impl ObjectKind for Connections {
    type Row = (String, ConnectionId);
    type Object = FoundConnection;
    type Visit = usize;

    const FIELDS: &'static [Field<FoundConnection>] = &FIELDS;

    fn visit(&self) -> usize {
        0
    }

    fn step(
        &self,
        vhost: &Vhost,
        peers: Peers<'_>,
        next: &mut usize,
        rows: &mut Vec<Self::Row>,
    ) -> bool {
        step_places(vhost.connection_places(), next, |place| {
            let Some(id) = vhost.connection_at(place) else { return };
            let peer = network_peer(peers, id);
            let seen = peer.filter(|_| is_of_user(vhost, id, self.of_user.as_deref()));
            rows.extend(seen.map(|peer| (peer.name.clone(), id)));
        })
    }

    fn read(vhost: &Vhost, peers: Peers<'_>, (_, id): &Self::Row) -> Option<FoundConnection> {
        FoundConnection::read(vhost, peers, *id)
    }

    fn name((name, _): &Self::Row) -> Cow<'_, str> {
        name.into()
    }
}

/// What a connection shows.
const FIELDS: [Field<FoundConnection>; 32] = [
    ("name", |_, it| it.peer.name.as_str().into()),
    ("vhost", |context, _| context.vhost.into()),
    ("node", |context, _| context.app.node.as_str().into()),
    ("type", |_, _| "network".into()),
    ("protocol", |_, _| "AMQP 0-9-1".into()),
    ("state", |context, it| state(context, it).into()),
    ("user", |_, it| it.connection.user.as_str().into()),
    ("user_who_performed_action", |_, it| it.connection.user.as_str().into()),
    ("auth_mechanism", |_, it| it.peer.mechanism.into()),
    ("channels", |_, it| it.connection.channels.into()),
    ("channel_max", |_, it| it.connection.channel_max.into()),
    ("frame_max", |_, it| it.connection.frame_max.into()),
    ("timeout", |_, it| it.connection.heartbeat_secs.into()),
    ("connected_at", |_, it| it.peer.connected_at.as_millis().into()),
    ("client_properties", |_, it| show::table(properties(it)).into()),
    ("user_provided_name", |_, it| user_provided_name(properties(it)).into()),
    ("host", |_, it| it.peer.local.ip().to_string().into()),
    ("port", |_, it| it.peer.local.port().into()),
    ("peer_host", |_, it| it.peer.address.ip().to_string().into()),
    ("peer_port", |_, it| it.peer.address.port().into()),
    ("ssl", |_, it| it.peer.security.is_some().into()),
    ("ssl_protocol", |_, it| json!(security(it).map(|it| it.protocol)).into()),
    ("ssl_key_exchange", |_, it| json!(security(it).map(|it| &it.key_exchange)).into()),
    ("ssl_cipher", |_, it| json!(security(it).map(|it| &it.cipher)).into()),
    // All ciphers there are authenticate what they encrypt.
    ("ssl_hash", |_, it| json!(security(it).map(|_| "aead")).into()),
    ("peer_cert_subject", |_, it| of_certificate(it, |it| it.subject.as_str())),
    ("peer_cert_issuer", |_, it| of_certificate(it, |it| it.issuer.as_str())),
    ("peer_cert_validity", |_, it| of_certificate(it, |it| it.validity.as_str())),
    ("recv_oct", |_, it| it.peer.received.load(Ordering::Relaxed).into()),
    ("recv_oct_details", |_, _| rate().into()),
    ("send_oct", |_, it| it.sent.into()),
    ("send_oct_details", |_, _| rate().into()),
];

fn state(context: &FieldContext<'_>, found: &FoundConnection) -> &'static str {
    match (found.connection.running, found.is_blocked) {
        (false, _) => "closing",
        (true, true) => "blocked",
        // It has not published since.
        (true, false) if context.app.vhosts.alarm().is_some() => "blocking",
        (true, false) => "running",
    }
}

fn properties(found: &FoundConnection) -> Table<'_> {
    found.connection.client_properties.as_table()
}

fn security(found: &FoundConnection) -> Option<&Security> {
    found.peer.security.as_deref()
}

/// What the client's certificate says, if it has shown one.
fn of_certificate(found: &FoundConnection, read: impl Fn(&Certified) -> &str) -> FieldValue {
    let certificate = security(found).and_then(|it| it.certificate.as_ref());
    json!(certificate.map(read)).into()
}

/// What the client calls the connection.
fn user_provided_name(properties: Table<'_>) -> Value {
    let name = properties.find(b"connection_name");
    name.and_then(|name| name.as_bytes().map(show::text)).unwrap_or_default()
}
