//! Parameters of virtual hosts, by component and name, and those of the whole broker.
//!
//! rabbitmq: knows the components of its plugins and refuses others. Nothing here reads a parameter but operator's
//! policies and limits, so all others are kept as they are.

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use serde_json::{Value, json};

use super::access::Caller;
use super::answer::{self, Failure};
use super::body::Payload;
use super::list::ListQuery;
use super::{Answer, Api, AppState, definitions};
use crate::broker::policy::PolicyKind;
use crate::definitions::{Definitions, OPERATOR_POLICY, ParameterEntry, VHOST_LIMITS};
use crate::vhosts::VhostRecord;

/// The component of what is a policy, which has paths of its own.
const POLICY: &str = "policy";

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
            let of_vhost = of_record(record).into_iter();
            let chosen = of_vhost.filter(|(component, ..)| chosen(vhost, component));
            all.extend(chosen.map(|(component, name, value)| {
                let shown = json!({
                    "vhost": vhost,
                    "component": component,
                    "name": name,
                    "value": value,
                });
                (vhost.to_owned(), shown)
            }));
        }
        all
    });
    let seen = all.into_iter().filter(|(vhost, _)| caller.lists_vhost(app, vhost));
    seen.map(|(_, shown)| shown).collect()
}

/// The parameters of a virtual host: component, name, value.
///
/// rabbitmq: operator's policies and limits are parameters, too; so are policies, which are not shown here.
fn of_record(record: &VhostRecord) -> Vec<(&str, &str, Value)> {
    let mut all = Vec::new();
    for (component, named) in &record.parameters {
        let named = named.iter();
        all.extend(named.map(|(name, it)| (component.as_str(), name.as_str(), it.clone())));
    }
    for (name, policy) in record.policy_records(PolicyKind::Operator) {
        let value = json!({
            "apply-to": policy.apply_to,
            "definition": policy.definition,
            "pattern": policy.pattern,
            "priority": policy.priority,
        });
        all.push((OPERATOR_POLICY, name.as_str(), value));
    }
    if !record.limits.is_empty() {
        all.push((VHOST_LIMITS, LIMITS, json!(record.limits)));
    }
    all
}

/// The name of the parameter that holds a virtual host's limits.
const LIMITS: &str = "limits";

/// Who may change a parameter. Operator's policies and limits bind policymakers, and are an administrator's.
fn may_change(
    app: &AppState,
    caller: &Caller,
    component: &str,
    vhost: &str,
) -> Result<(), Failure> {
    match component {
        OPERATOR_POLICY | VHOST_LIMITS => caller.needs_administrator(),
        _ => caller.needs_policymaker(app, vhost),
    }
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
    may_change(&app, &caller, &component, &vhost)?;
    if app.vhosts.vhost(&vhost).is_none() {
        return Err(Failure::not_found("vhost_not_found"));
    }
    let mut object = body.object_with(&["value"])?;
    let value = object.0.remove("value").unwrap_or_default();
    let chosen = |in_vhost: &str, it: &str| in_vhost == vhost && it == component;
    let is_new = parameters(&app, &caller, chosen).iter().all(|it| it["name"] != name.as_str());
    if component == POLICY {
        return Err(Failure::bad_request("policies may not be set using this method"));
    }
    // So it becomes what its component says, such as an operator's policy.
    let parameter = ParameterEntry { vhost: Some(vhost), component, name, value };
    definitions::import(app, Definitions { parameters: vec![parameter], ..Definitions::default() })
        .await?;
    Ok(answer::put(is_new))
}

async fn remove(
    State(app): State<Api>,
    caller: Caller,
    Path((component, vhost, name)): Names,
) -> Answer {
    may_change(&app, &caller, &component, &vhost)?;
    let removed = app.write(move |vhosts| {
        vhosts.write_registry(|registry| {
            let Some(vhost) = registry.vhost_mut(&vhost) else { return false };
            match component.as_str() {
                OPERATOR_POLICY => vhost.remove_policy(PolicyKind::Operator, &name),
                VHOST_LIMITS if name == LIMITS => !std::mem::take(&mut vhost.limits).is_empty(),
                _ => remove_from(vhost, &component, &name),
            }
        })
    });
    answer::deleted(removed.await?)
}

fn remove_from(vhost: &mut VhostRecord, component: &str, name: &str) -> bool {
    let Some(named) = vhost.parameters.get_mut(component) else { return false };
    let removed = named.remove(name).is_some();
    if named.is_empty() {
        vhost.parameters.remove(component);
    }
    removed
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
