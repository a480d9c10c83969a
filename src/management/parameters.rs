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
use super::list::Wishes;
use super::{Answer, Api, Site};

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
fn parameters(site: &Site, caller: &Caller, chosen: impl Fn(&str, &str) -> bool) -> Vec<Value> {
    let all = site.vhosts.registry(|registry| {
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
    let seen = all.into_iter().filter(|(vhost, _)| caller.lists_vhost(site, vhost));
    seen.map(|(_, shown)| shown).collect()
}

async fn list(State(site): State<Api>, caller: Caller, wishes: Wishes) -> Answer {
    caller.needs_policymaker_anywhere()?;
    wishes.list(parameters(&site, &caller, |_, _| true))
}

async fn of_component(
    State(site): State<Api>,
    caller: Caller,
    Path(component): Path<String>,
    wishes: Wishes,
) -> Answer {
    caller.needs_policymaker_anywhere()?;
    wishes.list(parameters(&site, &caller, |_, it| it == component))
}

async fn of_vhost(
    State(site): State<Api>,
    caller: Caller,
    Path((component, vhost)): Path<(String, String)>,
    wishes: Wishes,
) -> Answer {
    caller.needs_policymaker(&site, &vhost)?;
    site.vhost(&vhost)?;
    wishes.list(parameters(&site, &caller, |in_vhost, it| in_vhost == vhost && it == component))
}

type Names = Path<(String, String, String)>;

async fn one(
    State(site): State<Api>,
    caller: Caller,
    Path((component, vhost, name)): Names,
    wishes: Wishes,
) -> Answer {
    caller.needs_policymaker(&site, &vhost)?;
    let all = parameters(&site, &caller, |in_vhost, it| in_vhost == vhost && it == component);
    let found = all.into_iter().find(|parameter| parameter["name"] == name.as_str());
    found.map(|parameter| wishes.show(parameter)).ok_or_else(Failure::missing)
}

async fn set(
    State(site): State<Api>,
    caller: Caller,
    Path((component, vhost, name)): Names,
    body: Payload,
) -> Answer {
    caller.needs_policymaker(&site, &vhost)?;
    if site.vhosts.vhost(&vhost).is_none() {
        return Err(Failure::not_found("vhost_not_found"));
    }
    let mut object = body.object_with(&["value"])?;
    let value = object.0.remove("value").unwrap_or_default();
    let is_new = site.change(move |vhosts| {
        vhosts.change(|registry| {
            let Some(vhost) = registry.vhost_mut(&vhost) else { return false };
            vhost.parameters.entry(component).or_default().insert(name, value).is_none()
        })
    });
    Ok(answer::put(is_new.await?))
}

async fn remove(
    State(site): State<Api>,
    caller: Caller,
    Path((component, vhost, name)): Names,
) -> Answer {
    caller.needs_policymaker(&site, &vhost)?;
    let removed = site.change(move |vhosts| {
        vhosts.change(|registry| {
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

fn global(site: &Site) -> Vec<Value> {
    site.vhosts.registry(|registry| {
        let all = registry.global_parameters().iter();
        all.map(|(name, value)| json!({ "name": name, "value": value })).collect()
    })
}

async fn list_global(State(site): State<Api>, caller: Caller, wishes: Wishes) -> Answer {
    caller.needs_policymaker_anywhere()?;
    wishes.list(global(&site))
}

async fn one_global(
    State(site): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
    wishes: Wishes,
) -> Answer {
    caller.needs_policymaker_anywhere()?;
    let found = global(&site).into_iter().find(|parameter| parameter["name"] == name.as_str());
    found.map(|parameter| wishes.show(parameter)).ok_or_else(Failure::missing)
}

async fn set_global(
    State(site): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
    body: Payload,
) -> Answer {
    caller.needs_policymaker_anywhere()?;
    let mut object = body.object_with(&["value"])?;
    let value = object.0.remove("value").unwrap_or_default();
    let is_new = site.change(move |vhosts| {
        vhosts.change(|it| it.global_parameters_mut().insert(name, value).is_none())
    });
    Ok(answer::put(is_new.await?))
}

async fn remove_global(
    State(site): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
) -> Answer {
    caller.needs_policymaker_anywhere()?;
    let removed = site.change(move |vhosts| {
        vhosts.change(|it| it.global_parameters_mut().remove(&name).is_some())
    });
    answer::deleted(removed.await?)
}
