//! Channels.

use std::borrow::Cow;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use serde_json::json;

use super::access::Caller;
use super::answer::Failure;
use super::connections::{Named, is_of_user, named, network_peer};
use super::consumers::Consumers;
use super::fields::Field;
use super::list::ListQuery;
use super::listing::{self, Listing, ObjectKind, step_places};
use super::{Answer, Api, show};
use crate::broker::ids::ChannelId;
use crate::broker::snapshot::ChannelSnapshot;
use crate::broker::vhost::{ConnectionId, Vhost};
use crate::handle::{ConnectionPeer, Peers};

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/channels", get(list))
        .route("/channels/{name}", get(one))
        .route("/connections/{name}/channels", get(of_connection))
        .route("/vhosts/{vhost}/channels", get(of_vhost))
}

async fn list(State(app): State<Api>, caller: Caller, query: ListQuery) -> Answer {
    let kind = Channels { of_user: caller.sees_only(), connection: None };
    Listing::new(&app, query, kind, app.vhosts.running()).answer().await
}

async fn of_vhost(
    State(app): State<Api>,
    caller: Caller,
    Path(vhost): Path<String>,
    query: ListQuery,
) -> Answer {
    caller.needs_sight_of(&app, &vhost)?;
    let kind = Channels { of_user: caller.sees_only(), connection: None };
    Listing::of_vhost(&app, query, kind, &vhost)?.answer().await
}

async fn of_connection(
    State(app): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
    query: ListQuery,
) -> Answer {
    let Named { vhost, handle, id } = named(&app, &name)?;
    let user = handle.read_as_task(|vhost| vhost.user(id).map(|user| user.name.clone())).await;
    caller.needs_sight_of_user(&user.ok_or_else(Failure::missing)?)?;
    let kind = Channels { of_user: caller.sees_only(), connection: Some(id) };
    Listing::new(&app, query, kind, vec![(vhost, handle)]).answer().await
}

async fn one(
    State(app): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
    query: ListQuery,
) -> Answer {
    let (connection, number) = parse_name(&name).ok_or_else(Failure::missing)?;
    let Named { vhost, handle, id } = named(&app, connection)?;
    let found = handle.read_with_peers_as_task(|vhost, peers| {
        let channel = vhost.channel_of(id, number)?;
        Some((channel, FoundChannel::read(vhost, peers, channel)?))
    });
    let (channel, found) = found.await.ok_or_else(Failure::missing)?;
    caller.needs_sight_of_user(&found.channel.user)?;
    let mut shown = listing::shown::<Channels>(&app, &vhost, &found);
    shown["publishes"] = json!([]);
    shown["deliveries"] = json!([]);
    let consumers =
        Listing::new(&app, query, Consumers::of_channel(channel), vec![(vhost, handle)]);
    consumers.answer_within(shown, "consumer_details").await
}

/// What a channel is called.
pub(super) fn channel_name(connection: &str, number: u16) -> String {
    format!("{connection} ({number})")
}

/// The connection and the number in the name of a channel.
fn parse_name(name: &str) -> Option<(&str, u16)> {
    let (connection, number) = name.strip_suffix(')')?.rsplit_once(" (")?;
    Some((connection, number.parse().ok()?))
}

/// Channels, but not those of this API; those of one user or one connection if there is one.
struct Channels {
    of_user: Option<String>,
    connection: Option<ConnectionId>,
}

/// A channel with the other end of its connection.
struct FoundChannel {
    channel: ChannelSnapshot,
    peer: Arc<ConnectionPeer>,
}

impl FoundChannel {
    fn read(vhost: &Vhost, peers: Peers<'_>, id: ChannelId) -> Option<Self> {
        let channel = vhost.channel_by_id(id)?;
        let peer = network_peer(peers, channel.connection)?.clone();
        Some(FoundChannel { channel, peer })
    }
}

impl ObjectKind for Channels {
    type Row = (String, ChannelId);
    type Object = FoundChannel;
    type Visit = usize;

    const FIELDS: &'static [Field<FoundChannel>] = &FIELDS;

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
        let user = self.of_user.as_deref();
        let mut push = |(channel, connection, number)| {
            let peer = network_peer(peers, connection);
            let seen = peer.filter(|_| is_of_user(vhost, connection, user));
            rows.extend(seen.map(|peer| (channel_name(&peer.name, number), channel)));
        };
        match self.connection {
            None => step_places(vhost.channel_places(), next, |place| {
                vhost.channel_at(place).into_iter().for_each(&mut push);
            }),
            Some(id) => {
                let channels = vhost.channels_of(id).into_iter();
                channels.for_each(|(channel, number)| push((channel, id, number)));
                false
            }
        }
    }

    fn read(vhost: &Vhost, peers: Peers<'_>, (_, id): &Self::Row) -> Option<FoundChannel> {
        FoundChannel::read(vhost, peers, *id)
    }

    fn name((name, _): &Self::Row) -> Cow<'_, str> {
        name.into()
    }
}

/// What a channel shows.
const FIELDS: [Field<FoundChannel>; 18] = [
    ("name", |_, it| channel_name(&it.peer.name, it.channel.number).into()),
    ("number", |_, it| it.channel.number.into()),
    ("vhost", |context, _| context.vhost.into()),
    ("node", |context, _| context.app.node.as_str().into()),
    ("user", |_, it| it.channel.user.as_str().into()),
    ("user_who_performed_action", |_, it| it.channel.user.as_str().into()),
    ("state", |_, _| "running".into()),
    ("confirm", |_, it| it.channel.confirm.into()),
    ("transactional", |_, it| it.channel.transactional.into()),
    ("consumer_count", |_, it| it.channel.consumers.into()),
    ("prefetch_count", |_, it| it.channel.prefetch.into()),
    ("global_prefetch_count", |_, it| it.channel.global_prefetch.into()),
    ("messages_unacknowledged", |_, it| it.channel.messages_unacknowledged.into()),
    ("messages_unconfirmed", |_, it| it.channel.messages_unconfirmed.into()),
    ("messages_uncommitted", |_, it| it.channel.messages_uncommitted.into()),
    ("acks_uncommitted", |_, it| it.channel.acks_uncommitted.into()),
    ("message_stats", |_, it| show::statistics(&it.channel.statistics).into()),
    ("connection_details", |_, it| show::connection(&it.peer).into()),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_named_after_its_connection() {
        let connection = "127.0.0.1:1 -> 127.0.0.1:2";
        assert_eq!(parse_name(&channel_name(connection, 7)), Some((connection, 7)));
        for wrong in [connection, "", "x (1", "x (70000)", "x (a)", "x1)"] {
            assert_eq!(parse_name(wrong), None, "{wrong}");
        }
    }
}
