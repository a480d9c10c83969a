//! Users.

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::{get, post};
use serde_json::{Value, json};

use super::access::Caller;
use super::answer::{self, Failure};
use super::body::{Object, Payload};
use super::list::ListQuery;
use super::vhosts::tags_of;
use super::{Answer, Api};
use crate::passwords::{Algorithm, PasswordHash};
use crate::vhosts::{UserRecord, salt};

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/users", get(list))
        .route("/users/without-permissions", get(without_permissions))
        .route("/users/bulk-delete", post(bulk_delete))
        .route("/users/{user}", get(one).put(set).delete(remove))
}

async fn list(State(app): State<Api>, caller: Caller, query: ListQuery) -> Answer {
    caller.needs_administrator()?;
    let users = app
        .vhosts
        .read_registry(|it| it.users().map(|(name, record)| user(name, record)).collect());
    query.list(users)
}

async fn without_permissions(State(app): State<Api>, caller: Caller, query: ListQuery) -> Answer {
    caller.needs_administrator()?;
    let users = app.vhosts.read_registry(|registry| {
        let has_none =
            |name: &str| registry.vhosts().all(|(_, vhost)| !vhost.permissions.contains_key(name));
        let users = registry.users().filter(|(name, _)| has_none(name));
        users.map(|(name, record)| user(name, record)).collect()
    });
    query.list(users)
}

async fn one(
    State(app): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
    query: ListQuery,
) -> Answer {
    caller.needs_administrator()?;
    let found = app.vhosts.read_registry(|it| it.user(&name).map(|record| user(&name, record)));
    found.map(|user| query.show(user)).ok_or_else(Failure::missing)
}

async fn set(
    State(app): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
    body: Payload,
) -> Answer {
    caller.needs_administrator()?;
    let object = body.object()?;
    let tags = object.find("tags").ok_or_else(|| Failure::bad_request("tags_not_present"))?;
    let tags = tags_of(tags)?;
    let password = password(&object)?;
    let set = move |registry: &mut crate::vhosts::Registry| {
        let limits = registry.user(&name).map(|user| user.limits.clone()).unwrap_or_default();
        registry.set_user(&name, UserRecord { password, tags, limits })
    };
    let is_new = app.write(|vhosts| vhosts.write_registry(set)).await?;
    Ok(answer::put(is_new))
}

async fn remove(State(app): State<Api>, caller: Caller, Path(name): Path<String>) -> Answer {
    caller.needs_administrator()?;
    answer::deleted(delete(&app, vec![name]).await?)
}

async fn bulk_delete(State(app): State<Api>, caller: Caller, body: Payload) -> Answer {
    caller.needs_administrator()?;
    let object = body.object_with(&["users"])?;
    let names = object.find("users").and_then(Value::as_array);
    let names =
        names.and_then(|it| it.iter().map(|name| name.as_str().map(str::to_owned)).collect());
    let names: Vec<String> = names.ok_or_else(|| Failure::bad_request("users_not_a_list"))?;
    delete(&app, names).await?;
    Ok(answer::done())
}

/// Deletes users and closes their connections. Says whether any was there.
async fn delete(app: &Api, names: Vec<String>) -> Result<bool, Failure> {
    app.write(move |vhosts| {
        let gone: Vec<_> = vhosts.write_registry(|registry| {
            names.into_iter().filter(|name| registry.remove_user(name)).collect()
        })?;
        gone.iter().for_each(|name| vhosts.dismiss(name));
        Ok(!gone.is_empty())
    })
    .await
}

/// How the user is to be recognised: by a password, by its hash, or not at all.
fn password(object: &Object) -> Result<Option<PasswordHash>, Failure> {
    match (object.find("password"), object.find("password_hash")) {
        (Some(_), Some(_)) => {
            Err(Failure::bad_request("both_password_and_password_hash_are_provided"))
        }
        (Some(_), None) => Ok(Some(PasswordHash::new(object.text("password")?.as_bytes(), salt()))),
        (None, Some(_)) => {
            let hash = object.text("password_hash")?;
            let algorithm = match object.find("hashing_algorithm") {
                None => Algorithm::default(),
                Some(name) => name.as_str().and_then(Algorithm::from_name).ok_or_else(|| {
                    Failure::bad_request(json!(["unknown_hashing_algorithm", name]))
                })?,
            };
            // rabbitmq: an empty hash is a user that has no password.
            if hash.is_empty() {
                return Ok(None);
            }
            let parsed = PasswordHash::parse(hash, algorithm);
            parsed.map(Some).map_err(|_| Failure::bad_request(json!(["not_base64", hash])))
        }
        (None, None) => Ok(None),
    }
}

fn user(name: &str, record: &UserRecord) -> Value {
    let (hash, algorithm) = match &record.password {
        Some(password) => (password.to_base64(), password.algorithm_name()),
        None => (String::new(), Algorithm::default().name()),
    };
    json!({
        "name": name,
        "password_hash": hash,
        "hashing_algorithm": algorithm,
        "tags": record.tags,
        "limits": record.limits,
    })
}
