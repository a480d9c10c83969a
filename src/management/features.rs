//! Feature flags and deprecated features: what clients may count on.
//!
//! rabbitmq: has flags since the nodes of a cluster may be of several versions. Here all of them are as they are.

use axum::Router;
use axum::extract::Path;
use axum::routing::{get, put};
use serde_json::{Value, json};

use super::access::Caller;
use super::answer::{self, Failure, value};
use super::list::ListQuery;
use super::{Answer, Api};

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/feature-flags", get(flags))
        .route("/feature-flags/{name}/enable", put(enable))
        .route("/deprecated-features", get(deprecated))
        .route("/deprecated-features/used", get(deprecated))
}

/// A flag of RabbitMQ 3.10.8.
struct Flag {
    name: &'static str,
    description: &'static str,
    provided_by: &'static str,
    is_enabled: bool,
}

const fn flag(name: &'static str, description: &'static str) -> Flag {
    Flag { name, description, provided_by: "rabbit", is_enabled: true }
}

const FLAGS: [Flag; 9] = [
    flag("classic_mirrored_queue_version", "Support setting version for classic mirrored queues"),
    Flag {
        provided_by: "rabbitmq_management_agent",
        ..flag("drop_unroutable_metric", "Count unroutable publishes to be dropped in stats")
    },
    Flag {
        provided_by: "rabbitmq_management_agent",
        ..flag("empty_basic_get_metric", "Count AMQP `basic.get` on empty queues in stats")
    },
    flag(
        "implicit_default_bindings",
        "Default bindings are now implicit, instead of being stored in the database",
    ),
    flag("maintenance_mode_status", "Maintenance mode status"),
    flag("quorum_queue", "Support queues of type `quorum`"),
    // There are no streams yet.
    Flag { is_enabled: false, ..flag("stream_queue", "Support queues of type `stream`") },
    flag("user_limits", "Configure connection and channel limits for a user"),
    flag("virtual_host_metadata", "Virtual host metadata (description, tags, etc)"),
];

impl Flag {
    fn shown(&self) -> Value {
        json!({
            "name": self.name,
            "desc": self.description,
            "doc_url": "",
            "state": if self.is_enabled { "enabled" } else { "disabled" },
            "stability": "stable",
            "provided_by": self.provided_by,
        })
    }
}

async fn flags(caller: Caller, query: ListQuery) -> Answer {
    caller.needs_administrator()?;
    query.list(FLAGS.iter().map(Flag::shown).collect())
}

async fn enable(caller: Caller, Path(name): Path<String>) -> Answer {
    caller.needs_administrator()?;
    match FLAGS.iter().find(|flag| flag.name == name) {
        Some(flag) if flag.is_enabled => Ok(answer::done()),
        _ => Err(Failure::bad_request("unsupported")),
    }
}

/// None: what there is stays.
async fn deprecated(_: Caller) -> Answer {
    Ok(value(&json!([])))
}
