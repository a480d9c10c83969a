//! Exchanges.

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use leveret_codec::method::exchange;
use leveret_codec::{Method, ShortStr};
use serde_json::{Value, json};

use super::access::Caller;
use super::answer::{self, Failure};
use super::body::{Object, Payload};
use super::list::ListQuery;
use super::local_client::LocalClient;
use super::{Answer, Api, AppState, show};
use crate::broker::snapshot::ExchangeSnapshot;
use crate::broker::vhost::Vhost;
use crate::definitions::field_table;

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/exchanges", get(list))
        .route("/exchanges/{vhost}", get(of_vhost))
        .route("/exchanges/{vhost}/{exchange}", get(one).put(declare).delete(delete))
}

/// The name of an exchange in a path as it is in AMQP.
pub(super) fn from_path(name: &str) -> &str {
    if name == "amq.default" { "" } else { name }
}

/// A name or a key as AMQP takes it.
pub(super) fn short(text: &str) -> Result<ShortStr<'_>, Failure> {
    ShortStr::new(text.as_bytes()).map_err(|_| Failure::bad_request(json!(["too_long", text])))
}

/// Arguments out of a request.
pub(super) fn arguments(object: &Object) -> Result<leveret_codec::TableBuf, Failure> {
    let arguments = field_table::from_json(&object.nested("arguments")?);
    arguments.map_err(|invalid| Failure::bad_request(invalid.to_string()))
}

/// Whether there is such an exchange, which is asked before anything is done with it.
pub(super) fn exists(app: &AppState, vhost: &str, name: &str) -> bool {
    app.vhosts
        .vhost(vhost)
        .is_some_and(|it| it.read(|vhost| vhost.exchange(name.as_bytes()).is_some()))
}

async fn list(State(app): State<Api>, caller: Caller, query: ListQuery) -> Answer {
    let vhosts = app.vhosts.running().into_iter();
    let listed = vhosts.filter(|(name, _)| caller.lists_vhost(&app, name));
    let shown = listed.flat_map(|(vhost, handle)| {
        let exchanges = handle.read(Vhost::exchanges);
        exchanges.into_iter().map(move |exchange| shown(&vhost, &exchange))
    });
    query.list(shown.collect())
}

async fn of_vhost(
    State(app): State<Api>,
    caller: Caller,
    Path(vhost): Path<String>,
    query: ListQuery,
) -> Answer {
    caller.needs_vhost(&app, &vhost)?;
    let exchanges = app.vhost(&vhost)?.read(Vhost::exchanges);
    query.list(exchanges.iter().map(|exchange| shown(&vhost, exchange)).collect())
}

type Names = Path<(String, String)>;

async fn one(
    State(app): State<Api>,
    caller: Caller,
    Path((vhost, name)): Names,
    query: ListQuery,
) -> Answer {
    caller.needs_vhost(&app, &vhost)?;
    let found = app.vhost(&vhost)?.read(|it| it.exchange(from_path(&name).as_bytes()));
    let mut shown = shown(&vhost, &found.ok_or_else(Failure::missing)?);
    // rabbitmq: what went in from which channel and out to which queue, which is not counted.
    shown["incoming"] = json!([]);
    shown["outgoing"] = json!([]);
    Ok(query.show(shown))
}

fn shown(vhost: &str, exchange: &ExchangeSnapshot) -> Value {
    let mut shown = json!({
        "name": exchange.name,
        "vhost": vhost,
        "type": exchange.kind,
        "durable": exchange.durable,
        "auto_delete": exchange.auto_delete,
        "internal": exchange.internal,
        "arguments": show::table(exchange.arguments.as_table()),
        "message_stats": show::counters([
            ("publish_in", exchange.statistics.publish_in),
            ("publish_out", exchange.statistics.publish_out),
        ]),
    });
    if exchange.name.is_empty() || exchange.name.starts_with("amq.") {
        shown["user_who_performed_action"] = "rmq-internal".into();
    }
    if let Some(policy) = &exchange.policy {
        shown["policy"] = policy.as_str().into();
    }
    shown
}

async fn declare(
    State(app): State<Api>,
    caller: Caller,
    Path((vhost, name)): Names,
    body: Payload,
) -> Answer {
    caller.needs_vhost(&app, &vhost)?;
    if app.vhosts.vhost(&vhost).is_none() {
        return Err(Failure::not_found("vhost_not_found"));
    }
    let object = body.object()?;
    let name = from_path(&name);
    let kind = if object.find("type").is_some() { object.text("type")? } else { "direct" };
    let arguments = arguments(&object)?;
    let declare = exchange::Declare {
        exchange: short(name)?,
        kind: short(kind)?,
        durable: object.flag("durable")?,
        auto_delete: object.flag("auto_delete")?,
        internal: object.flag("internal")?,
        arguments: arguments.as_table(),
        ..exchange::Declare::default()
    };
    let is_new = !exists(&app, &vhost, name);
    let mut client = LocalClient::open(&app, &caller, &vhost).await?;
    let declared = client.call(Method::ExchangeDeclare(declare)).await;
    declared.map(|_| answer::put(is_new)).map_err(|refusal| refusal.of_definition())
}

async fn delete(
    State(app): State<Api>,
    caller: Caller,
    Path((vhost, name)): Names,
    query: ListQuery,
) -> Answer {
    caller.needs_vhost(&app, &vhost)?;
    let name = from_path(&name);
    if !exists(&app, &vhost, name) {
        return Err(Failure::missing());
    }
    let delete = exchange::Delete {
        exchange: short(name)?,
        if_unused: query.is_true("if-unused"),
        ..exchange::Delete::default()
    };
    let mut client = LocalClient::open(&app, &caller, &vhost).await?;
    let deleted = client.call(Method::ExchangeDelete(delete)).await;
    deleted.map(|_| answer::done()).map_err(|refusal| refusal.of_definition())
}
