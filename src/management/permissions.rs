//! Permissions and topic permissions: of everybody, of a user, in a virtual host, of one in the other.

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use serde_json::{Value, json};

use super::access::Caller;
use super::answer::{self, Failure};
use super::body::Payload;
use super::list::ListQuery;
use super::{Answer, Api, AppState};
use crate::broker::access::InvalidPattern;
use crate::vhosts::{PermissionRecord, Registry, TopicPermissionRecord};

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/permissions", get(list))
        .route("/permissions/{vhost}/{user}", get(one).put(set).delete(remove))
        .route("/users/{user}/permissions", get(of_user))
        .route("/vhosts/{vhost}/permissions", get(of_vhost))
        .route("/topic-permissions", get(list_topic))
        .route(
            "/topic-permissions/{vhost}/{user}",
            get(one_topic).put(set_topic).delete(remove_topic),
        )
        .route("/users/{user}/topic-permissions", get(topic_of_user))
        .route("/vhosts/{vhost}/topic-permissions", get(topic_of_vhost))
}

/// Whose permissions, and where.
#[derive(Clone, Copy, Default)]
struct Chosen<'a> {
    vhost: Option<&'a str>,
    user: Option<&'a str>,
}

impl Chosen<'_> {
    fn has(&self, vhost: &str, user: &str) -> bool {
        self.vhost.is_none_or(|it| it == vhost) && self.user.is_none_or(|it| it == user)
    }

    /// Whether all that it names is there.
    fn exists(&self, registry: &Registry) -> bool {
        self.vhost.is_none_or(|vhost| registry.vhost(vhost).is_some())
            && self.user.is_none_or(|user| registry.user(user).is_some())
    }
}

fn permissions(app: &AppState, chosen: Chosen<'_>) -> Vec<Value> {
    app.vhosts.read_registry(|registry| {
        let mut shown = Vec::new();
        for (vhost, record) in registry.vhosts() {
            let chosen = record.permissions.iter().filter(|(user, _)| chosen.has(vhost, user));
            shown.extend(chosen.map(|(user, it)| {
                json!({
                    "user": user,
                    "vhost": vhost,
                    "configure": it.configure,
                    "write": it.write,
                    "read": it.read,
                })
            }));
        }
        shown
    })
}

fn topic_permissions(app: &AppState, chosen: Chosen<'_>) -> Vec<Value> {
    app.vhosts.read_registry(|registry| {
        let mut shown = Vec::new();
        for (vhost, record) in registry.vhosts() {
            let of_users = record.topic_permissions.iter();
            for (user, exchanges) in of_users.filter(|(user, _)| chosen.has(vhost, user)) {
                shown.extend(exchanges.iter().map(|(exchange, it)| {
                    json!({
                        "user": user,
                        "vhost": vhost,
                        "exchange": exchange,
                        "write": it.write,
                        "read": it.read,
                    })
                }));
            }
        }
        shown
    })
}

/// Lists what is chosen, for an administrator.
fn listed(
    app: &AppState,
    caller: &Caller,
    query: &ListQuery,
    chosen: Chosen<'_>,
    all: fn(&AppState, Chosen<'_>) -> Vec<Value>,
) -> Answer {
    caller.needs_administrator()?;
    if !app.vhosts.read_registry(|registry| chosen.exists(registry)) {
        return Err(Failure::missing());
    }
    query.list_by(all(app, chosen), &["vhost", "user"])
}

async fn list(State(app): State<Api>, caller: Caller, query: ListQuery) -> Answer {
    listed(&app, &caller, &query, Chosen::default(), permissions)
}

async fn list_topic(State(app): State<Api>, caller: Caller, query: ListQuery) -> Answer {
    listed(&app, &caller, &query, Chosen::default(), topic_permissions)
}

type Name = Path<String>;

async fn of_user(State(app): State<Api>, caller: Caller, name: Name, query: ListQuery) -> Answer {
    let chosen = Chosen { user: Some(&name), ..Chosen::default() };
    listed(&app, &caller, &query, chosen, permissions)
}

async fn of_vhost(State(app): State<Api>, caller: Caller, name: Name, query: ListQuery) -> Answer {
    let chosen = Chosen { vhost: Some(&name), ..Chosen::default() };
    listed(&app, &caller, &query, chosen, permissions)
}

async fn topic_of_user(
    State(app): State<Api>,
    caller: Caller,
    name: Name,
    query: ListQuery,
) -> Answer {
    let chosen = Chosen { user: Some(&name), ..Chosen::default() };
    listed(&app, &caller, &query, chosen, topic_permissions)
}

async fn topic_of_vhost(
    State(app): State<Api>,
    caller: Caller,
    name: Name,
    query: ListQuery,
) -> Answer {
    let chosen = Chosen { vhost: Some(&name), ..Chosen::default() };
    listed(&app, &caller, &query, chosen, topic_permissions)
}

type Names = Path<(String, String)>;

async fn one(
    State(app): State<Api>,
    caller: Caller,
    Path((vhost, user)): Names,
    query: ListQuery,
) -> Answer {
    caller.needs_administrator()?;
    let chosen = Chosen { vhost: Some(&vhost), user: Some(&user) };
    let found = permissions(&app, chosen).pop().ok_or_else(Failure::missing)?;
    Ok(query.show(found))
}

async fn set(
    State(app): State<Api>,
    caller: Caller,
    Path((vhost, user)): Names,
    body: Payload,
) -> Answer {
    caller.needs_administrator()?;
    needs_both(&app, &vhost, &user)?;
    let object = body.object_with(&["configure", "write", "read"])?;
    let text = |key| object.text(key).map(str::to_owned);
    let record = PermissionRecord {
        configure: text("configure")?,
        write: text("write")?,
        read: text("read")?,
    };
    let patterns = [&record.configure, &record.write, &record.read].map(String::clone);
    let set = app
        .write(move |vhosts| vhosts.write_registry(|it| it.set_permissions(&vhost, &user, record)))
        .await?;
    set.map(answer::put).map_err(|invalid| invalid_pattern(&invalid, &patterns))
}

async fn remove(State(app): State<Api>, caller: Caller, Path((vhost, user)): Names) -> Answer {
    caller.needs_administrator()?;
    let removed = app.write(move |vhosts| {
        vhosts.write_registry(|registry| {
            let vhost = registry.vhost_mut(&vhost);
            vhost.is_some_and(|vhost| vhost.permissions.remove(&user).is_some())
        })
    });
    answer::deleted(removed.await?)
}

async fn one_topic(
    State(app): State<Api>,
    caller: Caller,
    Path((vhost, user)): Names,
    query: ListQuery,
) -> Answer {
    caller.needs_administrator()?;
    let found = topic_permissions(&app, Chosen { vhost: Some(&vhost), user: Some(&user) });
    if found.is_empty() {
        return Err(Failure::missing());
    }
    query.list_by(found, &["vhost", "user", "exchange"])
}

async fn set_topic(
    State(app): State<Api>,
    caller: Caller,
    Path((vhost, user)): Names,
    body: Payload,
) -> Answer {
    caller.needs_administrator()?;
    needs_both(&app, &vhost, &user)?;
    let object = body.object_with(&["exchange", "write", "read"])?;
    let text = |key| object.text(key).map(str::to_owned);
    let exchange = text("exchange")?;
    let record = TopicPermissionRecord { write: text("write")?, read: text("read")? };
    let patterns = [&record.write, &record.read].map(String::clone);
    let is_new = {
        let chosen = Chosen { vhost: Some(&vhost), user: Some(&user) };
        topic_permissions(&app, chosen).is_empty()
    };
    let set = app
        .write(move |vhosts| {
            vhosts.write_registry(|it| it.set_topic_permissions(&vhost, &user, &exchange, record))
        })
        .await?;
    // rabbitmq: what is new is the user's first entry in the virtual host.
    set.map(|_| answer::put(is_new)).map_err(|invalid| invalid_pattern(&invalid, &patterns))
}

async fn remove_topic(
    State(app): State<Api>,
    caller: Caller,
    Path((vhost, user)): Names,
) -> Answer {
    caller.needs_administrator()?;
    let removed = app.write(move |vhosts| {
        vhosts.write_registry(|registry| {
            let vhost = registry.vhost_mut(&vhost);
            vhost.is_some_and(|vhost| vhost.topic_permissions.remove(&user).is_some())
        })
    });
    answer::deleted(removed.await?)
}

fn needs_both(app: &AppState, vhost: &str, user: &str) -> Result<(), Failure> {
    let chosen = Chosen { vhost: Some(vhost), user: Some(user) };
    if app.vhosts.read_registry(|registry| chosen.exists(registry)) {
        return Ok(());
    }
    Err(Failure::bad_request("vhost_or_user_not_found"))
}

fn invalid_pattern(invalid: &InvalidPattern, patterns: &[String]) -> Failure {
    use crate::broker::access::Pattern;
    let wrong = patterns.iter().find(|pattern| Pattern::parse(pattern).is_err());
    Failure::bad_request(json!(["invalid_regexp", wrong, [invalid.reason, invalid.offset]]))
}
