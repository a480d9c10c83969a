//! The broker at a glance, and small questions about it.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::State;
use axum::routing::{delete, get, post};
use serde_json::{Map, Value, json};

use super::access::Caller;
use super::answer::{self, value};
use super::body::Payload;
use super::list::ListQuery;
use super::{Answer, Api, AppState, connections, off_thread, show};
use crate::broker::handshake::VERSION;
use crate::broker::statistics::MessageStatistics;
use crate::broker::vhost::Vhost;
use crate::handle::VhostHandle;
use crate::vhosts::CLUSTER_NAME;

/// The types of exchanges with what RabbitMQ says of them.
const EXCHANGE_TYPES: [(&str, &str); 8] = [
    ("direct", "AMQP direct exchange, as per the AMQP specification"),
    ("fanout", "AMQP fanout exchange, as per the AMQP specification"),
    ("headers", "AMQP headers exchange, as per the AMQP specification"),
    ("topic", "AMQP topic exchange, as per the AMQP specification"),
    ("x-consistent-hash", "Consistent Hashing Exchange"),
    ("x-delayed-message", "Delayed Message Exchange."),
    ("x-message-deduplication", "Message Deduplication Exchange."),
    ("x-random", "Random Exchange"),
];

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/overview", get(overview))
        .route("/whoami", get(whoami))
        .route("/cluster-name", get(cluster_name).put(set_cluster_name))
        .route("/extensions", get(extensions))
        .route("/version", get(version))
        .route("/rebalance/queues", post(rebalance))
        .route("/reset", delete(reset))
        .route("/auth", get(auth))
}

async fn overview(State(app): State<Api>, caller: Caller, query: ListQuery) -> Answer {
    let seen = app.vhosts.running().into_iter().filter(|(name, _)| caller.sees_vhost(&app, name));
    let (seen, user) = (seen.collect::<Vec<_>>(), caller.sees_only());
    let totals = off_thread(move || Totals::count(&seen, user.as_deref())).await;
    let mut queue_totals = Map::new();
    show::queue_totals(&mut queue_totals, totals.ready, totals.unacknowledged);
    let types = EXCHANGE_TYPES.map(
        |(name, description)| json!({ "name": name, "description": description, "enabled": true }),
    );
    Ok(query.show(json!({
        "management_version": VERSION,
        "rabbitmq_version": VERSION,
        "product_name": "leveret",
        "product_version": env!("CARGO_PKG_VERSION"),
        "erlang_version": "",
        "erlang_full_version": "",
        "rates_mode": "basic",
        // rabbitmq: how long samples are kept, in seconds, by which clients choose how far back they ask.
        "sample_retention_policies": {
            "global": [600, 3600, 28800, 86400],
            "basic": [600, 3600],
            "detailed": [600],
        },
        "cluster_name": name_of_cluster(&app),
        "node": app.node,
        "exchange_types": types,
        "message_stats": show::statistics(&totals.statistics),
        "churn_rates": {},
        "queue_totals": queue_totals,
        "object_totals": {
            "connections": totals.connections,
            "channels": totals.channels,
            "exchanges": totals.exchanges,
            "queues": totals.queues,
            "consumers": totals.consumers,
        },
        "statistics_db_event_queue": 0,
        "listeners": listeners(&app),
        "contexts": contexts(&app),
    })))
}

/// How much there is of everything that a user may know of.
#[derive(Default)]
struct Totals {
    connections: usize,
    channels: usize,
    exchanges: usize,
    queues: usize,
    consumers: usize,
    ready: usize,
    unacknowledged: usize,
    statistics: MessageStatistics,
}

impl Totals {
    /// Counts in virtual hosts: all there is, but of connections and channels those of one user if there is
    /// one.
    fn count(vhosts: &[(String, VhostHandle)], of_user: Option<&str>) -> Totals {
        let mut totals = Totals::default();
        for (_, handle) in vhosts {
            let (connections, channels) = connections::count(handle, of_user);
            totals.connections += connections;
            totals.channels += channels;
            let vhost = handle.read(Vhost::snapshot);
            totals.exchanges += vhost.exchanges;
            totals.queues += vhost.queues;
            totals.consumers += vhost.consumers;
            totals.ready += vhost.messages_ready;
            totals.unacknowledged += vhost.messages_unacknowledged;
            totals.statistics = show::sum(totals.statistics, vhost.statistics);
        }
        totals
    }
}

/// What is listened on, for AMQP and for this API. Where nobody is accepted any more is left out.
pub(super) fn listeners(app: &AppState) -> Vec<Value> {
    let amqp = app.listeners.iter().map(|address| ("amqp", address));
    let amqps = app.tls_listeners.iter().map(|address| ("amqp/ssl", address));
    let http = *app.http.lock();
    let http =
        http.as_ref().map(|(it, is_secured)| (if *is_secured { "https" } else { "http" }, it));
    let active = |(_, address): &(&str, &SocketAddr)| app.active_listeners.contains(**address);
    let all = amqp.chain(amqps).filter(active).chain(http);
    all.map(|(protocol, address)| {
        json!({
            "node": app.node,
            "protocol": protocol,
            "ip_address": address.ip().to_string(),
            "port": address.port(),
            "socket_opts": {},
        })
    })
    .collect()
}

/// Where this API is.
pub(super) fn contexts(app: &AppState) -> Value {
    let Some((address, _)) = *app.http.lock() else { return json!([]) };
    json!([{
        "node": app.node,
        "description": "RabbitMQ Management",
        "path": "/",
        "ip": address.ip().to_string(),
        "port": address.port().to_string(),
    }])
}

async fn whoami(caller: Caller, query: ListQuery) -> Answer {
    Ok(query.show(json!({ "name": caller.user.name, "tags": caller.user.tags })))
}

async fn cluster_name(State(app): State<Api>, _: Caller, query: ListQuery) -> Answer {
    Ok(query.show(json!({ "name": name_of_cluster(&app) })))
}

async fn set_cluster_name(State(app): State<Api>, caller: Caller, body: Payload) -> Answer {
    caller.needs_administrator()?;
    let object = body.object_with(&["name"])?;
    let name = Value::from(object.text("name")?);
    app.write(|vhosts| {
        vhosts.write_registry(|registry| {
            registry.global_parameters_mut().insert(CLUSTER_NAME.to_owned(), name);
        })
    })
    .await?;
    Ok(answer::done())
}

/// What the cluster, this one node, is called.
fn name_of_cluster(app: &AppState) -> Value {
    let named = app.vhosts.read_registry(|it| it.global_parameters().get(CLUSTER_NAME).cloned());
    named.unwrap_or_else(|| app.node.clone().into())
}

async fn extensions(_: Caller) -> Answer {
    Ok(value(&json!([{ "javascript": "dispatcher.js" }])))
}

/// rabbitmq: from 4.x on; asked before anybody has logged in.
async fn version() -> Answer {
    Ok(value(&VERSION.into()))
}

/// There is one node that queues can be on.
async fn rebalance(caller: Caller) -> Answer {
    caller.needs_administrator()?;
    Ok(answer::done())
}

/// rabbitmq: empties the database of statistics, which there is none of here.
async fn reset(caller: Caller) -> Answer {
    caller.needs_administrator()?;
    Ok(answer::done())
}

/// How browsers log in; asked before anybody has.
async fn auth() -> Answer {
    Ok(value(&json!({ "oauth_enabled": false })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::exchange::ExchangeType;

    #[test]
    fn every_type_of_exchange_is_there() {
        for (name, _) in EXCHANGE_TYPES {
            assert!(ExchangeType::from_name(name.as_bytes()).is_some(), "{name}");
        }
    }
}
