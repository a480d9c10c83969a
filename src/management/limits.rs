//! Limits of virtual hosts and users.

use std::collections::BTreeMap;

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::{get, put};
use serde_json::{Value, json};

use super::access::Caller;
use super::answer::{self, Failure};
use super::body::Payload;
use super::list::ListQuery;
use super::{Answer, Api};

const OF_VHOST: [&str; 2] = ["max-connections", "max-queues"];
const OF_USER: [&str; 2] = ["max-connections", "max-channels"];

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/vhost-limits", get(list_vhosts))
        .route("/vhost-limits/{vhost}", get(one_vhost))
        .route("/vhost-limits/{vhost}/{name}", put(set_vhost).delete(remove_vhost))
        .route("/user-limits", get(list_users))
        .route("/user-limits/{user}", get(one_user))
        .route("/user-limits/{user}/{name}", put(set_user).delete(remove_user))
}

type Limits = BTreeMap<String, i64>;

/// Those that have any.
fn shown(of: &str, all: impl IntoIterator<Item = (String, Limits)>) -> Vec<Value> {
    let limited = all.into_iter().filter(|(_, limits)| !limits.is_empty());
    limited.map(|(name, limits)| json!({ of: name, "value": limits })).collect()
}

async fn list_vhosts(State(app): State<Api>, caller: Caller, query: ListQuery) -> Answer {
    let mut all: Vec<_> = app.vhosts.read_registry(|registry| {
        registry.vhosts().map(|(name, vhost)| (name.to_owned(), vhost.limits.clone())).collect()
    });
    all.retain(|(name, _)| caller.sees_vhost(&app, name));
    query.list(shown("vhost", all))
}

async fn one_vhost(
    State(app): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
    query: ListQuery,
) -> Answer {
    caller.needs_sight_of(&app, &name)?;
    let limits = app.vhosts.read_registry(|it| it.vhost(&name).map(|vhost| vhost.limits.clone()));
    let limits = limits.ok_or_else(Failure::missing)?;
    query.list(shown("vhost", [(name, limits)]))
}

type Names = Path<(String, String)>;

async fn set_vhost(
    State(app): State<Api>,
    caller: Caller,
    Path((vhost, name)): Names,
    body: Payload,
) -> Answer {
    caller.needs_administrator()?;
    if app.vhosts.vhost(&vhost).is_none() {
        return Err(Failure::not_found("vhost_not_found"));
    }
    let limit = limit(&name, &OF_VHOST, &body)?;
    let set = app.write(move |vhosts| {
        vhosts.write_registry(|registry| {
            if let Some(vhost) = registry.vhost_mut(&vhost) {
                vhost.limits.insert(name, limit);
            }
        })
    });
    set.await?;
    Ok(answer::done())
}

async fn remove_vhost(
    State(app): State<Api>,
    caller: Caller,
    Path((vhost, name)): Names,
) -> Answer {
    caller.needs_administrator()?;
    let removed = app.write(move |vhosts| {
        vhosts
            .write_registry(|registry| registry.vhost_mut(&vhost).map(|it| it.limits.remove(&name)))
    });
    // rabbitmq: it is not asked whether there was such a limit.
    answer::deleted(removed.await?.is_some())
}

async fn list_users(State(app): State<Api>, caller: Caller, query: ListQuery) -> Answer {
    caller.needs_administrator()?;
    let all: Vec<_> = app.vhosts.read_registry(|registry| {
        registry.users().map(|(name, user)| (name.to_owned(), user.limits.clone())).collect()
    });
    query.list_by(shown("user", all), &["user"])
}

async fn one_user(
    State(app): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
    query: ListQuery,
) -> Answer {
    if caller.user.name != name {
        caller.needs_administrator()?;
    }
    let limits = app.vhosts.read_registry(|it| it.user(&name).map(|user| user.limits.clone()));
    let limits = limits.ok_or_else(Failure::missing)?;
    query.list(shown("user", [(name, limits)]))
}

async fn set_user(
    State(app): State<Api>,
    caller: Caller,
    Path((user, name)): Names,
    body: Payload,
) -> Answer {
    caller.needs_administrator()?;
    if app.vhosts.read_registry(|registry| registry.user(&user).is_none()) {
        return Err(Failure::not_found("user_not_found"));
    }
    let limit = limit(&name, &OF_USER, &body)?;
    let set = app.write(move |vhosts| {
        vhosts.write_registry(|registry| {
            if let Some(user) = registry.user_mut(&user) {
                user.limits.insert(name, limit);
            }
        })
    });
    set.await?;
    Ok(answer::done())
}

async fn remove_user(State(app): State<Api>, caller: Caller, Path((user, name)): Names) -> Answer {
    caller.needs_administrator()?;
    let removed = app.write(move |vhosts| {
        vhosts.write_registry(|registry| registry.user_mut(&user).map(|it| it.limits.remove(&name)))
    });
    answer::deleted(removed.await?.is_some())
}

/// The limit in a body; a negative one is none.
fn limit(name: &str, known: &[&str], body: &Payload) -> Result<i64, Failure> {
    let object = body.object_with(&["value"])?;
    if !known.contains(&name) {
        let reason =
            format!("Unrecognised terms [{{<<\"{name}\">>,{}}}] in limits", object.0["value"]);
        return Err(Failure::bad_request(format!("Validation failed\n\n{reason}\n")));
    }
    object.integer("value").map_err(|_| {
        let term = match &object.0["value"] {
            Value::String(text) => format!("<<\"{text}\">>"),
            other => other.to_string(),
        };
        let reason = format!("{name} should be a number, actually was {term}");
        Failure::bad_request(format!("Validation failed\n\n{reason}\n"))
    })
}
