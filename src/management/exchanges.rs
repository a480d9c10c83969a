//! Exchanges.

use std::borrow::Cow;

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use leveret_codec::method::exchange;
use leveret_codec::{Method, ShortStr, ShortString};
use serde_json::json;

use super::access::Caller;
use super::answer::{self, Failure};
use super::body::{Object, Payload};
use super::fields::{Counters, Field, FieldValue};
use super::list::ListQuery;
use super::listing::{self, Listing, ObjectKind, step_places};
use super::local_client::LocalClient;
use super::{Answer, Api, AppState, show};
use crate::broker::ids::ExchangeId;
use crate::broker::snapshot::ExchangeSnapshot;
use crate::broker::statistics::ExchangeStatistics;
use crate::broker::vhost::Vhost;
use crate::definitions::field_table;
use crate::handle::Peers;

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
pub(super) async fn exists(app: &AppState, vhost: &str, name: &str) -> bool {
    let Some(handle) = app.vhosts.vhost(vhost) else { return false };
    handle.read_as_task(|vhost| vhost.exchange(name.as_bytes()).is_some()).await
}

async fn list(State(app): State<Api>, caller: Caller, query: ListQuery) -> Answer {
    Listing::of_all(&app, &caller, query, Exchanges).answer().await
}

async fn of_vhost(
    State(app): State<Api>,
    caller: Caller,
    Path(vhost): Path<String>,
    query: ListQuery,
) -> Answer {
    caller.needs_vhost(&app, &vhost)?;
    Listing::of_vhost(&app, query, Exchanges, &vhost)?.answer().await
}

type Names = Path<(String, String)>;

async fn one(
    State(app): State<Api>,
    caller: Caller,
    Path((vhost, name)): Names,
    query: ListQuery,
) -> Answer {
    caller.needs_vhost(&app, &vhost)?;
    let handle = app.vhost(&vhost)?;
    let found = handle.read_as_task(|it| it.exchange(from_path(&name).as_bytes())).await;
    let found = found.ok_or_else(Failure::missing)?;
    let mut shown = listing::shown::<Exchanges>(&app, &vhost, &found);
    // rabbitmq: what went in from which channel and out to which queue, which is not counted.
    shown["incoming"] = json!([]);
    shown["outgoing"] = json!([]);
    Ok(query.show(shown))
}

/// Exchanges, all of them.
struct Exchanges;

impl ObjectKind for Exchanges {
    /// The default exchange has no id.
    type Row = (ShortString, Option<ExchangeId>);
    type Object = ExchangeSnapshot;
    type Visit = usize;

    const FIELDS: &'static [Field<ExchangeSnapshot>] = &FIELDS;

    fn visit(&self) -> usize {
        0
    }

    fn step(
        &self,
        vhost: &Vhost,
        _: Peers<'_>,
        next: &mut usize,
        rows: &mut Vec<Self::Row>,
    ) -> bool {
        if *next == 0 {
            rows.push((ShortString::default(), None));
        }
        step_places(vhost.exchange_places(), next, |place| {
            rows.extend(vhost.exchange_at(place).map(|(id, name)| (name.clone(), Some(id))));
        })
    }

    fn read(vhost: &Vhost, _: Peers<'_>, (name, id): &Self::Row) -> Option<ExchangeSnapshot> {
        match id {
            None => vhost.exchange(name.as_bytes()),
            Some(id) => vhost.exchange_by_id(*id),
        }
    }

    fn name((name, _): &Self::Row) -> Cow<'_, str> {
        String::from_utf8_lossy(name.as_bytes())
    }
}

/// What an exchange shows.
const FIELDS: [Field<ExchangeSnapshot>; 10] = [
    ("name", |_, it| it.name.as_str().into()),
    ("vhost", |context, _| context.vhost.into()),
    ("type", |_, it| it.kind.into()),
    ("durable", |_, it| it.durable.into()),
    ("auto_delete", |_, it| it.auto_delete.into()),
    ("internal", |_, it| it.internal.into()),
    ("arguments", |_, it| show::table(it.arguments.as_table()).into()),
    ("message_stats", |_, it| {
        let ExchangeStatistics { publish_in, publish_out } = it.statistics;
        Counters::new([("publish_in", publish_in), ("publish_out", publish_out)]).into()
    }),
    ("user_who_performed_action", |_, it| {
        let is_predeclared = it.name.is_empty() || it.name.starts_with("amq.");
        if is_predeclared { "rmq-internal".into() } else { FieldValue::Absent }
    }),
    ("policy", |_, it| it.policy.as_deref().map_or(FieldValue::Absent, FieldValue::from)),
];

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
    let is_new = !exists(&app, &vhost, name).await;
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
    if !exists(&app, &vhost, name).await {
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
