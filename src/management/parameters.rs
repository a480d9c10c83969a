//! Parameters of virtual hosts, by component and name, and those of the whole broker.
//!
//! rabbitmq: knows the components of its plugins and refuses others. Nothing here reads a parameter,
//! so all are kept as they are.

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use serde_json::{Value, json};

use super::access::Caller;
use super::answer::{self, Failure};
use super::body::Payload;
use super::list::ListQuery;
use super::{Answer, Api, AppState};

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/parameters", get(list))
        .route("/parameters/{component}", get(of_component))
        .route("/parameters/{component}/{vhost}", get(of_vhost))
        .route("/parameters/{component}/{vhost}/{name}", get(one).put(set).delete(remove))
        .route("/global-parameters", get(list_global))
        .route("/global-parameters/{name}", get(one_global).put(set_global).delete(remove_global))
}

/// Parameters of the virtual hosts that the user may log in to.
fn parameters(app: &AppState, caller: &Caller, chosen: impl Fn(&str, &str) -> bool) -> Vec<Value> {
    let all = app.vhosts.read_registry(|registry| {
        let mut all = Vec::new();
        for (vhost, record) in registry.vhosts() {
            for (component, named) in &record.parameters {
                for (name, value) in named.iter().filter(|_| chosen(vhost, component)) {
                    let shown = json!({
                        "vhost": vhost,
                        "component": component,
                        "name": name,
                        "value": value,
                    });
                    all.push((vhost.to_owned(), shown));
                }
            }
        }
        all
    });
    let seen = all.into_iter().filter(|(vhost, _)| caller.lists_vhost(app, vhost));
    seen.map(|(_, shown)| shown).collect()
}

async fn list(State(app): State<Api>, caller: Caller, query: ListQuery) -> Answer {
    caller.needs_policymaker_anywhere()?;
    query.list(parameters(&app, &caller, |_, _| true))
}

async fn of_component(
    State(app): State<Api>,
    caller: Caller,
    Path(component): Path<String>,
    query: ListQuery,
) -> Answer {
    caller.needs_policymaker_anywhere()?;
    query.list(parameters(&app, &caller, |_, it| it == component))
}

async fn of_vhost(
    State(app): State<Api>,
    caller: Caller,
    Path((component, vhost)): Path<(String, String)>,
    query: ListQuery,
) -> Answer {
    caller.needs_policymaker(&app, &vhost)?;
    app.vhost(&vhost)?;
    query.list(parameters(&app, &caller, |in_vhost, it| in_vhost == vhost && it == component))
}

type Names = Path<(String, String, String)>;

async fn one(
    State(app): State<Api>,
    caller: Caller,
    Path((component, vhost, name)): Names,
    query: ListQuery,
) -> Answer {
    caller.needs_policymaker(&app, &vhost)?;
    let all = parameters(&app, &caller, |in_vhost, it| in_vhost == vhost && it == component);
    let found = all.into_iter().find(|parameter| parameter["name"] == name.as_str());
    found.map(|parameter| query.show(parameter)).ok_or_else(Failure::missing)
}

async fn set(
    State(app): State<Api>,
    caller: Caller,
    Path((component, vhost, name)): Names,
    body: Payload,
) -> Answer {
    caller.needs_policymaker(&app, &vhost)?;
    if app.vhosts.vhost(&vhost).is_none() {
        return Err(Failure::not_found("vhost_not_found"));
    }
    let mut object = body.object_with(&["value"])?;
    let value = object.0.remove("value").unwrap_or_default();
    let is_new = app.write(move |vhosts| {
        vhosts.write_registry(|registry| {
            let Some(vhost) = registry.vhost_mut(&vhost) else { return false };
            vhost.parameters.get_or_default(&component).insert(name, value).is_none()
        })
    });
    Ok(answer::put(is_new.await?))
}

async fn remove(
    State(app): State<Api>,
    caller: Caller,
    Path((component, vhost, name)): Names,
) -> Answer {
    caller.needs_policymaker(&app, &vhost)?;
    let removed = app.write(move |vhosts| {
        vhosts.write_registry(|registry| {
            let Some(vhost) = registry.vhost_mut(&vhost) else { return false };
            let Some(named) = vhost.parameters.get_mut(&component) else { return false };
            let removed = named.remove(&name).is_some();
            if named.is_empty() {
                vhost.parameters.remove(&component);
            }
            removed
        })
    });
    answer::deleted(removed.await?)
}

fn global(app: &AppState) -> Vec<Value> {
    app.vhosts.read_registry(|registry| {
        let all = registry.global_parameters().iter();
        all.map(|(name, value)| json!({ "name": name, "value": value })).collect()
    })
}

async fn list_global(State(app): State<Api>, caller: Caller, query: ListQuery) -> Answer {
    caller.needs_policymaker_anywhere()?;
    query.list(global(&app))
}

async fn one_global(
    State(app): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
    query: ListQuery,
) -> Answer {
    caller.needs_policymaker_anywhere()?;
    let found = global(&app).into_iter().find(|parameter| parameter["name"] == name.as_str());
    found.map(|parameter| query.show(parameter)).ok_or_else(Failure::missing)
}

async fn set_global(
    State(app): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
    body: Payload,
) -> Answer {
    caller.needs_policymaker_anywhere()?;
    let mut object = body.object_with(&["value"])?;
    let value = object.0.remove("value").unwrap_or_default();
    let is_new = app.write(move |vhosts| {
        vhosts.write_registry(|it| it.global_parameters_mut().insert(name, value).is_none())
    });
    Ok(answer::put(is_new.await?))
}

async fn remove_global(State(app): State<Api>, caller: Caller, Path(name): Path<String>) -> Answer {
    caller.needs_policymaker_anywhere()?;
    let removed = app.write(move |vhosts| {
        vhosts.write_registry(|it| it.global_parameters_mut().remove(&name).is_some())
    });
    answer::deleted(removed.await?)
}
