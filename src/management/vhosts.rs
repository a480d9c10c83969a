//! Virtual hosts.

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::{get, post};
use serde_json::{Map, Value, json};

use super::access::Caller;
use super::answer::{self, Failure};
use super::body::{Object, Payload};
use super::list::ListQuery;
use super::{Answer, Api, AppState, off_thread, show};
use crate::broker::vhost::Vhost;
use crate::vhosts::{PermissionRecord, VhostError, VhostRecord};

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/vhosts", get(list))
        .route("/vhosts/{vhost}", get(one).put(set).delete(remove))
        .route("/vhosts/{vhost}/start/{node}", post(start))
        .route("/vhosts/{vhost}/deletion/protection", post(protect).delete(unprotect))
}

async fn list(State(app): State<Api>, caller: Caller, query: ListQuery) -> Answer {
    let names: Vec<_> = app
        .vhosts
        .read_registry(|registry| registry.vhosts().map(|(name, _)| name.to_owned()).collect());
    let seen = names.into_iter().filter(|name| caller.sees_vhost(&app, name));
    let seen: Vec<String> = seen.collect();
    off_thread(move || query.list(seen.iter().filter_map(|name| vhost(&app, name)).collect())).await
}

async fn one(
    State(app): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
    query: ListQuery,
) -> Answer {
    caller.needs_sight_of(&app, &name)?;
    let shown = off_thread(move || vhost(&app, &name)).await;
    shown.map(|vhost| query.show(vhost)).ok_or_else(Failure::missing)
}

async fn set(
    State(app): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
    body: Payload,
) -> Answer {
    caller.needs_administrator()?;
    let settings = Settings::read(&body.object()?)?;
    let (maker, is_operator) = (caller.user.name, caller.ends.is_operator);
    let is_new = app.write(move |vhosts| {
        vhosts.write_registry(|registry| {
            let is_new = registry.add_vhost(&name);
            let maker_is_known = !is_operator && registry.user(&maker).is_some();
            let Some(vhost) = registry.vhost_mut(&name) else { return is_new };
            settings.apply(vhost);
            // rabbitmq: who makes a virtual host may do everything in it.
            if is_new && maker_is_known {
                vhost.permissions.insert(maker, PermissionRecord::all());
            }
            is_new
        })
    });
    Ok(answer::put(is_new.await?))
}

/// What a request says of a virtual host. The rest stays as it is.
struct Settings {
    description: Option<String>,
    tags: Option<Vec<String>>,
    default_queue_type: Option<String>,
    tracing: Option<bool>,
}

impl Settings {
    fn read(object: &Object) -> Result<Self, Failure> {
        let text = |key| {
            let is_said = object.find(key).is_some();
            is_said.then(|| object.text(key).map(str::to_owned)).transpose()
        };
        Ok(Settings {
            description: text("description")?,
            tags: object.find("tags").map(tags_of).transpose()?,
            default_queue_type: text("default_queue_type")?,
            tracing: object.find("tracing").map(|_| object.flag("tracing")).transpose()?,
        })
    }

    fn apply(self, vhost: &mut VhostRecord) {
        let Settings { description, tags, default_queue_type, tracing } = self;
        vhost.description = description.unwrap_or(std::mem::take(&mut vhost.description));
        vhost.tags = tags.unwrap_or(std::mem::take(&mut vhost.tags));
        vhost.default_queue_type = default_queue_type.or(vhost.default_queue_type.take());
        vhost.tracing = tracing.unwrap_or(vhost.tracing);
    }
}

async fn remove(State(app): State<Api>, caller: Caller, Path(name): Path<String>) -> Answer {
    caller.needs_administrator()?;
    match app.vhosts.delete_vhost(&name).await {
        Err(error @ VhostError::Protected(_)) => {
            Err(Failure::precondition_failed(error.to_string()))
        }
        deleted => answer::deleted(deleted?),
    }
}

/// rabbitmq: from 4.1 on.
async fn protect(State(app): State<Api>, caller: Caller, Path(name): Path<String>) -> Answer {
    set_protection(&app, &caller, name, true).await
}

async fn unprotect(State(app): State<Api>, caller: Caller, Path(name): Path<String>) -> Answer {
    set_protection(&app, &caller, name, false).await
}

async fn set_protection(
    app: &AppState,
    caller: &Caller,
    name: String,
    is_protected: bool,
) -> Answer {
    caller.needs_administrator()?;
    let set = app.write(move |vhosts| {
        vhosts.write_registry(|registry| {
            let vhost = registry.vhost_mut(&name);
            vhost.map(|vhost| vhost.protected_from_deletion = is_protected)
        })
    });
    answer::deleted(set.await?.is_some())
}

/// rabbitmq: starts a virtual host on a node where it does not run. One that has failed here needs a start of the
/// broker.
async fn start(
    State(app): State<Api>,
    caller: Caller,
    Path((name, node)): Path<(String, String)>,
) -> Answer {
    caller.needs_administrator()?;
    if node != app.node {
        return Err(Failure::missing());
    }
    app.vhost(&name)?;
    Ok(answer::done())
}

fn vhost(app: &AppState, name: &str) -> Option<Value> {
    let record = app.vhosts.read_registry(|registry| registry.vhost(name).cloned())?;
    let running = app.vhosts.vhost(name);
    let now = running.as_ref().map(|handle| handle.read(Vhost::snapshot)).unwrap_or_default();
    let state = if running.is_some() { "running" } else { "stopped" };
    let mut metadata = json!({ "description": record.description, "tags": record.tags });
    if record.protected_from_deletion {
        metadata["protected_from_deletion"] = true.into();
    }
    let mut shown = json!({
        "name": name,
        "description": record.description,
        "tags": record.tags,
        "tracing": record.tracing,
        "protected_from_deletion": record.protected_from_deletion,
        "cluster_state": Map::from_iter([(app.node.clone(), Value::from(state))]),
        "message_stats": show::statistics(&now.statistics),
    });
    if let Some(kind) = record.default_queue_type {
        shown["default_queue_type"] = kind.clone().into();
        metadata["default_queue_type"] = kind.into();
    }
    shown["metadata"] = metadata;
    if let Value::Object(shown) = &mut shown {
        show::queue_totals(shown, now.messages_ready, now.messages_unacknowledged);
    }
    Some(shown)
}

/// Tags of a user or a virtual host: a list, or a text with commas.
pub(super) fn tags_of(value: &Value) -> Result<Vec<String>, Failure> {
    let wrong = || Failure::bad_request(json!(["invalid_tags", value]));
    let tags: Vec<&str> = match value {
        Value::String(text) => text.split(',').collect(),
        Value::Array(list) => {
            list.iter().map(Value::as_str).collect::<Option<_>>().ok_or_else(wrong)?
        }
        _ => return Err(wrong()),
    };
    let tags = tags.into_iter().map(str::trim).filter(|tag| !tag.is_empty());
    Ok(tags.map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_a_list_or_a_text() {
        assert_eq!(tags_of(&json!("administrator, monitoring")).unwrap().len(), 2);
        assert_eq!(tags_of(&json!("")).unwrap(), Vec::<String>::new());
        assert_eq!(tags_of(&json!(["a"])).unwrap(), ["a"]);
        assert!(tags_of(&json!(1)).is_err() && tags_of(&json!([1])).is_err());
    }
}
