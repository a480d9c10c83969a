//! Queues.

use std::collections::HashMap;

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::{delete, get};
use leveret_codec::Method;
use leveret_codec::method::queue;
use serde_json::{Value, json};

use super::access::Caller;
use super::answer::{self, Failure};
use super::body::Payload;
use super::exchanges::{arguments, short};
use super::list::ListQuery;
use super::local_client::LocalClient;
use super::{Answer, Api, AppState, consumers, policies, show};
use crate::broker::policy::PolicyKind;
use crate::broker::snapshot::QueueSnapshot;
use crate::broker::vhost::{ConnectionId, Vhost};
use crate::handle::VhostHandle;
use crate::vhosts::VhostRecord;

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/queues", get(list))
        .route("/queues/{vhost}", get(of_vhost))
        .route("/queues/{vhost}/{queue}", get(one).put(declare).delete(remove))
        .route("/queues/{vhost}/{queue}/contents", delete(purge))
}

/// Whether there is such a queue, which is asked before anything is done with it.
pub(super) fn exists(app: &AppState, vhost: &str, name: &str) -> bool {
    app.vhosts.vhost(vhost).is_some_and(|it| it.read(|it| it.has_queue(name.as_bytes())))
}

async fn list(State(app): State<Api>, caller: Caller, query: ListQuery) -> Answer {
    let vhosts = app.vhosts.running().into_iter();
    let listed = vhosts.filter(|(name, _)| caller.lists_vhost(&app, name));
    let shown = listed.flat_map(|(vhost, handle)| queues(&app, &vhost, &handle));
    query.list(shown.collect())
}

async fn of_vhost(
    State(app): State<Api>,
    caller: Caller,
    Path(vhost): Path<String>,
    query: ListQuery,
) -> Answer {
    caller.needs_vhost(&app, &vhost)?;
    query.list(queues(&app, &vhost, &app.vhost(&vhost)?))
}

fn queues(app: &AppState, vhost: &str, handle: &VhostHandle) -> Vec<Value> {
    let queues = handle.read(Vhost::queues);
    let view = View::new(app, vhost, handle, &queues);
    queues.iter().map(|queue| view.shown(queue)).collect()
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
    let (queue, consumers) = handle.read(|it| {
        let ids = it.consumers_of_queue(name.as_bytes()).into_iter();
        let consumers: Vec<_> = ids.filter_map(|id| it.consumer_by_id(id)).collect();
        (it.queue(name.as_bytes()), consumers)
    });
    let queue = queue.ok_or_else(Failure::missing)?;
    let view = View::new(&app, &vhost, &handle, std::slice::from_ref(&queue));
    let mut shown = view.shown(&queue);
    shown["consumer_details"] = consumers::shown(&app, &vhost, &handle, &consumers).into();
    shown["incoming"] = json!([]);
    shown["deliveries"] = json!([]);
    Ok(query.show(shown))
}

/// What is looked up beside a queue to show it.
struct View<'a> {
    app: &'a AppState,
    vhost: &'a str,
    record: Option<VhostRecord>,
    /// The connections that own exclusive queues.
    owners: HashMap<ConnectionId, Value>,
}

impl<'a> View<'a> {
    fn new(
        app: &'a AppState,
        vhost: &'a str,
        handle: &VhostHandle,
        queues: &[QueueSnapshot],
    ) -> Self {
        let record = app.vhosts.read_registry(|registry| registry.vhost(vhost).cloned());
        let has_owners = queues.iter().any(|queue| queue.owner.is_some());
        let connections = if has_owners { handle.connections() } else { Vec::new() };
        let owners = connections.into_iter().map(|(connection, peer, _)| {
            let shown = json!({
                "name": peer.name,
                "peer_host": peer.address.ip().to_string(),
                "peer_port": peer.address.port(),
            });
            (connection.id, shown)
        });
        View { app, vhost, record, owners: owners.collect() }
    }

    fn shown(&self, queue: &QueueSnapshot) -> Value {
        let (ready, unacknowledged) = (queue.messages_ready, queue.messages_unacknowledged);
        let bytes = queue.message_bytes_ready + queue.message_bytes_unacknowledged;
        // why: what the consumers could take at this moment: all, unless something waits for them.
        let capacity = f64::from(u8::from(queue.consumers > 0 && ready == 0));
        let mut shown = json!({
            "name": queue.name,
            "vhost": self.vhost,
            "type": queue.kind,
            "durable": queue.durable,
            "auto_delete": queue.auto_delete,
            "exclusive": queue.exclusive,
            "arguments": show::table(queue.arguments.as_table()),
            "node": self.app.node,
            "state": "running",
            "consumers": queue.consumers,
            "consumer_capacity": capacity,
            "consumer_utilisation": capacity,
            "messages_ram": ready + unacknowledged,
            "message_bytes": bytes,
            "message_bytes_ready": queue.message_bytes_ready,
            "message_bytes_unacknowledged": queue.message_bytes_unacknowledged,
            "message_bytes_ram": bytes,
            "memory": bytes,
            "policy": queue.policy,
            "operator_policy": queue.operator_policy,
            "effective_policy_definition": self.definition(queue),
            "exclusive_consumer_tag": queue.exclusive_consumer,
            "single_active_consumer_tag": queue.single_active_consumer,
            "head_message_timestamp": queue.head_message_timestamp,
            "message_stats": show::queue_statistics(&queue.statistics),
        });
        if let Some(owner) = queue.owner.and_then(|owner| self.owners.get(&owner)) {
            shown["owner_pid_details"] = owner.clone();
        }
        if ready == 0 && unacknowledged == 0 && queue.consumers == 0 {
            shown["idle_since"] = show::date(queue.idle_since).into();
        }
        if queue.kind == "quorum" {
            shown["leader"] = self.app.node.as_str().into();
            shown["members"] = json!([self.app.node]);
            shown["online"] = json!([self.app.node]);
            shown["single_active_consumer_ctag"] = json!(queue.single_active_consumer);
        }
        if let Value::Object(shown) = &mut shown {
            show::queue_totals(shown, ready, unacknowledged);
        }
        shown
    }

    /// What the two policies in force say together.
    fn definition(&self, queue: &QueueSnapshot) -> Value {
        let Some(record) = &self.record else { return json!({}) };
        let find = |kind, name: &Option<String>| {
            name.as_ref().and_then(|name| record.policy_records(kind).get(name))
        };
        policies::merged(
            find(PolicyKind::User, &queue.policy),
            find(PolicyKind::Operator, &queue.operator_policy),
        )
    }
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
    let is_new = !exists(&app, &vhost, &name);
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
    if !exists(&app, &vhost, &name) {
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

async fn purge(State(app): State<Api>, caller: Caller, Path((vhost, name)): Names) -> Answer {
    caller.needs_vhost(&app, &vhost)?;
    if !exists(&app, &vhost, &name) {
        return Err(Failure::missing());
    }
    let purge = queue::Purge { queue: short(&name)?, ..queue::Purge::default() };
    let mut client = LocalClient::enter(&app, &caller, &vhost).await?;
    let purged = client.call(Method::QueuePurge(purge)).await;
    purged.map(|_| answer::done()).map_err(|refusal| refusal.of_use())
}
