//! Consumers.

use std::borrow::Cow;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use leveret_codec::ShortString;
use serde_json::json;

use super::access::Caller;
use super::channels::channel_name;
use super::connections::{is_of_user, network_peer};
use super::fields::Field;
use super::list::ListQuery;
use super::listing::{Listing, ObjectKind, step_places};
use super::{Answer, Api, show};
use crate::broker::ids::{ChannelId, ConsumerId};
use crate::broker::snapshot::ConsumerSnapshot;
use crate::broker::vhost::Vhost;
use crate::handle::{ConnectionPeer, Peers};

pub(super) fn routes() -> Router<Api> {
    Router::new().route("/consumers", get(list)).route("/consumers/{vhost}", get(of_vhost))
}

async fn list(State(app): State<Api>, caller: Caller, query: ListQuery) -> Answer {
    let kind = Consumers { of: ConsumersOf::Vhost, of_user: caller.sees_only() };
    Listing::of_all(&app, &caller, query, kind).answer().await
}

async fn of_vhost(
    State(app): State<Api>,
    caller: Caller,
    Path(vhost): Path<String>,
    query: ListQuery,
) -> Answer {
    caller.needs_vhost(&app, &vhost)?;
    let kind = Consumers { of: ConsumersOf::Vhost, of_user: caller.sees_only() };
    Listing::of_vhost(&app, query, kind, &vhost)?.answer().await
}

/// Consumers; those of one user if there is one.
pub(super) struct Consumers {
    of: ConsumersOf,
    of_user: Option<String>,
}

/// Which consumers.
enum ConsumersOf {
    Vhost,
    Queue(ShortString),
    Channel(ChannelId),
}

impl Consumers {
    /// All consumers of a queue.
    pub(super) fn of_queue(name: &str) -> Self {
        let of = ConsumersOf::Queue(ShortString::truncated(name.as_bytes()));
        Consumers { of, of_user: None }
    }

    /// All consumers of a channel.
    pub(super) fn of_channel(id: ChannelId) -> Self {
        Consumers { of: ConsumersOf::Channel(id), of_user: None }
    }
}

/// How far a visit has come.
#[derive(Default)]
pub(super) struct ConsumerVisit {
    /// The consumers of a queue or a channel, from the first step on.
    ids: Option<Vec<ConsumerId>>,
    /// The next place, or the next of these.
    next: usize,
}

/// A consumer with the other end of its connection.
pub(super) struct FoundConsumer {
    consumer: ConsumerSnapshot,
    peer: Arc<ConnectionPeer>,
}

impl ObjectKind for Consumers {
    /// By queue, and there in the order in which they subscribed.
    type Row = (ShortString, u32, ConsumerId);
    type Object = FoundConsumer;
    type Visit = ConsumerVisit;

    const FIELDS: &'static [Field<FoundConsumer>] = &FIELDS;

    fn visit(&self) -> ConsumerVisit {
        ConsumerVisit::default()
    }

    fn step(
        &self,
        vhost: &Vhost,
        _: Peers<'_>,
        visit: &mut ConsumerVisit,
        rows: &mut Vec<Self::Row>,
    ) -> bool {
        let user = self.of_user.as_deref();
        let mut push = |id: ConsumerId| {
            let Some((connection, queue)) = vhost.ends_of_consumer(id) else { return };
            if is_of_user(vhost, connection, user) {
                rows.push((queue.clone(), id.generation(), id));
            }
        };
        let ids = match &self.of {
            ConsumersOf::Vhost => {
                return step_places(vhost.consumer_places(), &mut visit.next, |place| {
                    vhost.consumer_at(place).into_iter().for_each(&mut push);
                });
            }
            ConsumersOf::Queue(name) => {
                visit.ids.get_or_insert_with(|| vhost.consumers_of_queue(name.as_bytes()))
            }
            ConsumersOf::Channel(id) => {
                visit.ids.get_or_insert_with(|| vhost.consumers_of_channel(*id))
            }
        };
        step_places(ids.len(), &mut visit.next, |place| push(ids[place]))
    }

    fn read(vhost: &Vhost, peers: Peers<'_>, (.., id): &Self::Row) -> Option<FoundConsumer> {
        let consumer = vhost.consumer_by_id(*id)?;
        let peer = network_peer(peers, consumer.connection)?.clone();
        Some(FoundConsumer { consumer, peer })
    }

    fn name(_: &Self::Row) -> Cow<'_, str> {
        Cow::Borrowed("")
    }
}

/// What a consumer shows.
const FIELDS: [Field<FoundConsumer>; 9] = [
    ("consumer_tag", |_, it| it.consumer.tag.as_str().into()),
    ("queue", |context, it| json!({ "name": it.consumer.queue, "vhost": context.vhost }).into()),
    ("ack_required", |_, it| (!it.consumer.no_ack).into()),
    ("exclusive", |_, it| it.consumer.exclusive.into()),
    ("prefetch_count", |_, it| it.consumer.prefetch.into()),
    ("active", |_, it| it.consumer.active.into()),
    ("activity_status", |_, it| {
        let status = match (it.consumer.active, it.consumer.single_active) {
            (true, true) => "single_active",
            (true, false) => "up",
            (false, _) => "waiting",
        };
        status.into()
    }),
    ("arguments", |_, it| show::table(it.consumer.arguments.as_table()).into()),
    ("channel_details", |context, it| {
        let FoundConsumer { consumer, peer } = it;
        json!({
            "name": channel_name(&peer.name, consumer.channel),
            "number": consumer.channel,
            "user": consumer.user,
            "node": context.app.node,
            "connection_name": peer.name,
            "peer_host": peer.address.ip().to_string(),
            "peer_port": peer.address.port(),
        })
        .into()
    }),
];
