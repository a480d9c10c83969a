//! Queues.

use std::borrow::Cow;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::{delete, get, post};
use leveret_codec::method::queue;
use leveret_codec::{Method, ShortString};
use serde_json::{Value, json};

use super::access::Caller;
use super::answer::{self, Failure};
use super::body::Payload;
use super::consumers::Consumers;
use super::exchanges::{arguments, short};
use super::fields::{Field, FieldContext, FieldValue, rate};
use super::list::ListQuery;
use super::listing::{self, Listing, ObjectKind, step_places};
use super::local_client::LocalClient;
use super::{Answer, Api, AppState, policies, show};
use crate::broker::ids::QueueId;
use crate::broker::policy::PolicyKind;
use crate::broker::snapshot::QueueSnapshot;
use crate::broker::vhost::Vhost;
use crate::handle::{ConnectionPeer, Peers};

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/queues", get(list))
        // rabbitmq: from 3.13 on, with fields that are always there here.
        .route("/queues/detailed", get(list))
        .route("/queues/{vhost}", get(of_vhost))
        .route("/queues/{vhost}/{queue}", get(one).put(declare).delete(remove))
        .route("/queues/{vhost}/{queue}/contents", delete(purge))
        .route("/queues/{vhost}/{queue}/actions", post(act))
}

/// Whether there is such a queue, which is asked before anything is done with it.
pub(super) async fn exists(app: &AppState, vhost: &str, name: &str) -> bool {
    let Some(handle) = app.vhosts.vhost(vhost) else { return false };
    handle.read_as_task(|vhost| vhost.has_queue(name.as_bytes())).await
}

async fn list(State(app): State<Api>, caller: Caller, query: ListQuery) -> Answer {
    Listing::of_all(&app, &caller, query, Queues).answer().await
}

async fn of_vhost(
    State(app): State<Api>,
    caller: Caller,
    Path(vhost): Path<String>,
    query: ListQuery,
) -> Answer {
    caller.needs_vhost(&app, &vhost)?;
    Listing::of_vhost(&app, query, Queues, &vhost)?.answer().await
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
    let found = handle.read_with_peers_as_task(|it, peers| {
        let queue = it.queue(name.as_bytes())?;
        Some(FoundQueue::new(queue, peers))
    });
    let found = found.await.ok_or_else(Failure::missing)?;
    let mut shown = listing::shown::<Queues>(&app, &vhost, &found);
    shown["incoming"] = json!([]);
    shown["deliveries"] = json!([]);
    let consumers = Consumers::of_queue(&name);
    Listing::of_vhost(&app, query, consumers, &vhost)?
        .answer_within(shown, "consumer_details")
        .await
}

/// Queues, all of them.
struct Queues;

/// A queue with the connection that owns it.
struct FoundQueue {
    queue: QueueSnapshot,
    owner: Option<Arc<ConnectionPeer>>,
}

impl FoundQueue {
    fn new(queue: QueueSnapshot, peers: Peers<'_>) -> Self {
        let owner = queue.owner.and_then(|owner| peers.get(owner)).cloned();
        FoundQueue { queue, owner }
    }
}

impl ObjectKind for Queues {
    type Row = (ShortString, QueueId);
    type Object = FoundQueue;
    type Visit = usize;

    const FIELDS: &'static [Field<FoundQueue>] = &FIELDS;

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
        step_places(vhost.queue_places(), next, |place| {
            rows.extend(vhost.queue_at(place).map(|(id, name)| (name.clone(), id)));
        })
    }

    fn read(vhost: &Vhost, peers: Peers<'_>, (_, id): &Self::Row) -> Option<FoundQueue> {
        vhost.queue_by_id(*id).map(|queue| FoundQueue::new(queue, peers))
    }

    fn name((name, _): &Self::Row) -> Cow<'_, str> {
        String::from_utf8_lossy(name.as_bytes())
    }
}

/// What a queue shows. Where something is not known, a field is null or is not there, as in RabbitMQ.
const FIELDS: [Field<FoundQueue>; 37] = [
    ("name", |_, it| it.queue.name.as_str().into()),
    ("vhost", |context, _| context.vhost.into()),
    ("type", |_, it| it.queue.kind.into()),
    ("durable", |_, it| it.queue.durable.into()),
    ("auto_delete", |_, it| it.queue.auto_delete.into()),
    ("exclusive", |_, it| it.queue.exclusive.into()),
    ("arguments", |_, it| show::table(it.queue.arguments.as_table()).into()),
    ("node", |context, _| context.app.node.as_str().into()),
    ("state", |_, _| "running".into()),
    ("consumers", |_, it| it.queue.consumers.into()),
    ("consumer_capacity", |_, it| capacity(&it.queue).into()),
    ("consumer_utilisation", |_, it| capacity(&it.queue).into()),
    ("messages", |_, it| messages(&it.queue).into()),
    ("messages_details", |_, _| rate().into()),
    ("messages_ready", |_, it| it.queue.messages_ready.into()),
    ("messages_ready_details", |_, _| rate().into()),
    ("messages_unacknowledged", |_, it| it.queue.messages_unacknowledged.into()),
    ("messages_unacknowledged_details", |_, _| rate().into()),
    ("messages_ram", |_, it| messages(&it.queue).into()),
    ("message_bytes", |_, it| bytes(&it.queue).into()),
    ("message_bytes_ready", |_, it| it.queue.message_bytes_ready.into()),
    ("message_bytes_unacknowledged", |_, it| it.queue.message_bytes_unacknowledged.into()),
    ("message_bytes_ram", |_, it| bytes(&it.queue).into()),
    ("memory", |_, it| bytes(&it.queue).into()),
    ("policy", |_, it| it.queue.policy.clone().into()),
    ("operator_policy", |_, it| it.queue.operator_policy.clone().into()),
    ("effective_policy_definition", |context, it| definition(context, &it.queue).into()),
    ("exclusive_consumer_tag", |_, it| it.queue.exclusive_consumer.clone().into()),
    ("single_active_consumer_tag", |_, it| it.queue.single_active_consumer.clone().into()),
    ("head_message_timestamp", |_, it| it.queue.head_message_timestamp.into()),
    ("message_stats", |_, it| show::queue_statistics(&it.queue.statistics).into()),
    ("owner_pid_details", |_, it| {
        it.owner.as_deref().map_or(FieldValue::Absent, |peer| show::connection(peer).into())
    }),
    ("idle_since", |_, it| idle_since(&it.queue)),
    ("leader", |context, it| if_quorum(it, || context.app.node.as_str().into())),
    ("members", |context, it| if_quorum(it, || json!([context.app.node]))),
    ("online", |context, it| if_quorum(it, || json!([context.app.node]))),
    ("single_active_consumer_ctag", |_, it| {
        if_quorum(it, || json!(it.queue.single_active_consumer))
    }),
];

fn messages(queue: &QueueSnapshot) -> usize {
    queue.messages_ready + queue.messages_unacknowledged
}

fn bytes(queue: &QueueSnapshot) -> u64 {
    queue.message_bytes_ready + queue.message_bytes_unacknowledged
}

/// What the consumers could take at this moment: all, unless something waits for them.
fn capacity(queue: &QueueSnapshot) -> f64 {
    f64::from(u8::from(queue.consumers > 0 && queue.messages_ready == 0))
}

fn idle_since(queue: &QueueSnapshot) -> FieldValue {
    let is_idle = messages(queue) == 0 && queue.consumers == 0;
    if is_idle { show::date(queue.idle_since).into() } else { FieldValue::Absent }
}

fn if_quorum(found: &FoundQueue, value: impl FnOnce() -> Value) -> FieldValue {
    if found.queue.kind == "quorum" { value().into() } else { FieldValue::Absent }
}

/// What the two policies in force say together.
fn definition(context: &FieldContext<'_>, queue: &QueueSnapshot) -> Value {
    let Some(record) = context.registry.vhost(context.vhost) else { return json!({}) };
    let find = |kind, name: &Option<String>| {
        name.as_ref().and_then(|name| record.policy_records(kind).get(name))
    };
    policies::merged(
        find(PolicyKind::User, &queue.policy),
        find(PolicyKind::Operator, &queue.operator_policy),
    )
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
    let arguments = arguments(&object)?;
    let declare = queue::Declare {
        queue: short(&name)?,
        durable: object.flag("durable")?,
        auto_delete: object.flag("auto_delete")?,
        arguments: arguments.as_table(),
        ..queue::Declare::default()
    };
    let is_new = !exists(&app, &vhost, &name).await;
    let mut client = LocalClient::open(&app, &caller, &vhost).await?;
    let declared = client.call(Method::QueueDeclare(declare)).await;
    declared.map(|_| answer::put(is_new)).map_err(|refusal| refusal.of_definition())
}

async fn remove(
    State(app): State<Api>,
    caller: Caller,
    Path((vhost, name)): Names,
    query: ListQuery,
) -> Answer {
    caller.needs_vhost(&app, &vhost)?;
    if !exists(&app, &vhost, &name).await {
        return Err(Failure::missing());
    }
    let delete = queue::Delete {
        queue: short(&name)?,
        if_unused: query.is_true("if-unused"),
        if_empty: query.is_true("if-empty"),
        ..queue::Delete::default()
    };
    let mut client = LocalClient::open(&app, &caller, &vhost).await?;
    let deleted = client.call(Method::QueueDelete(delete)).await;
    deleted.map(|_| answer::done()).map_err(|refusal| refusal.of_definition())
}

/// rabbitmq: makes mirrors alike, or stops that; there are none here.
async fn act(
    State(app): State<Api>,
    caller: Caller,
    Path((vhost, name)): Names,
    body: Payload,
) -> Answer {
    caller.needs_administrator()?;
    if !exists(&app, &vhost, &name).await {
        return Err(Failure::missing());
    }
    let object = body.object_with(&["action"])?;
    match object.text("action")? {
        "sync" | "cancel_sync" => Ok(answer::done()),
        other => Err(Failure::bad_request(format!("not_recognised: {other}"))),
    }
}

async fn purge(State(app): State<Api>, caller: Caller, Path((vhost, name)): Names) -> Answer {
    caller.needs_vhost(&app, &vhost)?;
    if !exists(&app, &vhost, &name).await {
        return Err(Failure::missing());
    }
    let purge = queue::Purge { queue: short(&name)?, ..queue::Purge::default() };
    let mut client = LocalClient::enter(&app, &caller, &vhost).await?;
    let purged = client.call(Method::QueuePurge(purge)).await;
    purged.map(|_| answer::done()).map_err(|refusal| refusal.of_use())
}
