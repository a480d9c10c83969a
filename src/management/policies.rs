//! Policies and operator's policies.

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use serde_json::{Value, json};

use super::access::Caller;
use super::answer::{self, Failure};
use super::body::{Object, Payload};
use super::list::ListQuery;
use super::{Answer, Api, AppState};
use crate::broker::policy::{InvalidPolicy, PolicyKind};
use crate::vhosts::PolicyRecord;

pub(super) fn routes() -> Router<Api> {
    of_kind("/policies", PolicyKind::User)
        .merge(of_kind("/operator-policies", PolicyKind::Operator))
}

type Vhost = Path<String>;
type Names = Path<(String, String)>;

fn of_kind(path: &str, kind: PolicyKind) -> Router<Api> {
    let list = async move |State(app): State<Api>, caller: Caller, query: ListQuery| {
        let shown = policies(&app, kind, |vhost| caller.lists_vhost(&app, vhost));
        query.list_by(shown, &["priority"])
    };
    let of_vhost =
        async move |State(app): State<Api>, caller: Caller, name: Vhost, query: ListQuery| {
            caller.needs_vhost(&app, &name)?;
            app.vhost(&name)?;
            query.list_by(policies(&app, kind, |vhost| vhost == *name), &["priority"])
        };
    let one =
        async move |State(app): State<Api>, caller: Caller, names: Names, query: ListQuery| {
            let Path((vhost, name)) = names;
            may(kind, &app, &caller, &vhost)?;
            let shown = policies(&app, kind, |it| it == vhost);
            let found = shown.into_iter().find(|policy| policy["name"] == name.as_str());
            found.map(|policy| query.show(policy)).ok_or_else(Failure::missing)
        };
    let set = async move |State(app): State<Api>, caller: Caller, names: Names, body: Payload| {
        set(kind, &app, &caller, names.0, &body).await
    };
    let remove = async move |State(app): State<Api>, caller: Caller, names: Names| {
        let Path((vhost, name)) = names;
        may(kind, &app, &caller, &vhost)?;
        let removed = app.write(move |vhosts| {
            vhosts.write_registry(|registry| {
                let vhost = registry.vhost_mut(&vhost);
                vhost.is_some_and(|vhost| vhost.remove_policy(kind, &name))
            })
        });
        answer::deleted(removed.await?)
    };
    Router::new()
        .route(path, get(list))
        .route(&format!("{path}/{{vhost}}"), get(of_vhost))
        .route(&format!("{path}/{{vhost}}/{{name}}"), get(one).put(set).delete(remove))
}

/// rabbitmq: operator's policies are the administrator's to change.
fn may(kind: PolicyKind, app: &AppState, caller: &Caller, vhost: &str) -> Result<(), Failure> {
    match kind {
        PolicyKind::User => caller.needs_policymaker(app, vhost),
        PolicyKind::Operator => caller.needs_administrator(),
    }
}

fn policies(app: &AppState, kind: PolicyKind, chosen: impl Fn(&str) -> bool) -> Vec<Value> {
    let all = app.vhosts.read_registry(|registry| {
        let mut all = Vec::new();
        for (vhost, record) in registry.vhosts() {
            let policies = record.policy_records(kind).iter();
            all.extend(policies.map(|(name, it)| (vhost.to_owned(), name.clone(), it.clone())));
        }
        all
    });
    let chosen = all.into_iter().filter(|(vhost, ..)| chosen(vhost));
    chosen
        .map(|(vhost, name, policy)| {
            json!({
                "vhost": vhost,
                "name": name,
                "pattern": policy.pattern,
                "apply-to": policy.apply_to,
                "definition": policy.definition,
                "priority": policy.priority,
            })
        })
        .collect()
}

async fn set(
    kind: PolicyKind,
    app: &Api,
    caller: &Caller,
    (vhost, name): (String, String),
    body: &Payload,
) -> Answer {
    may(kind, app, caller, &vhost)?;
    if app.vhosts.vhost(&vhost).is_none() {
        return Err(Failure::not_found("vhost_not_found"));
    }
    let record = record(&body.object_with(&["pattern", "definition"])?)?;
    let set = app
        .write(move |vhosts| {
            vhosts.write_registry(|registry| {
                let vhost = registry.vhost_mut(&vhost);
                vhost.map(|vhost| vhost.set_policy(kind, &name, record)).transpose()
            })
        })
        .await?;
    match set {
        Ok(Some(is_new)) => Ok(answer::put(is_new)),
        Ok(None) => Err(Failure::not_found("vhost_not_found")),
        Err(invalid) => Err(invalid_policy(kind, &invalid)),
    }
}

fn record(object: &Object) -> Result<PolicyRecord, Failure> {
    let apply_to = if object.find("apply-to").is_some() { object.text("apply-to")? } else { "all" };
    let priority = match object.find("priority") {
        None => 0.into(),
        Some(Value::Number(number)) => number.clone(),
        Some(value) => {
            let term = match value {
                Value::String(text) => format!("<<\"{text}\">>"),
                other => other.to_string(),
            };
            let reason = format!("priority should be a number, actually was {term}");
            return Err(Failure::bad_request(format!("Validation failed\n\n{reason}\n")));
        }
    };
    Ok(PolicyRecord {
        pattern: object.text("pattern")?.to_owned(),
        apply_to: apply_to.to_owned(),
        priority,
        definition: object.nested("definition")?,
    })
}

/// rabbitmq: makes HTML of the text for policies, and not for operator's policies.
fn invalid_policy(kind: PolicyKind, invalid: &InvalidPolicy) -> Failure {
    let text = invalid.to_string();
    Failure::bad_request(match kind {
        PolicyKind::User => text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;"),
        PolicyKind::Operator => text,
    })
}

/// What a policy and an operator's policy say together: of two numbers the lower, of anything else
/// what the operator says.
pub(super) fn merged(user: Option<&PolicyRecord>, operator: Option<&PolicyRecord>) -> Value {
    let mut merged = user.map(|policy| policy.definition.clone()).unwrap_or_default();
    for (key, value) in operator.iter().flat_map(|policy| &policy.definition) {
        let lower = merged.get(key).and_then(Value::as_i64).zip(value.as_i64());
        let value =
            lower.map_or_else(|| value.clone(), |(user, operator)| user.min(operator).into());
        merged.insert(key.clone(), value);
    }
    Value::Object(merged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operator_lowers_numbers_and_decides_on_the_rest() {
        let policy = |definition: Value| PolicyRecord {
            pattern: ".*".to_owned(),
            apply_to: "all".to_owned(),
            priority: 0.into(),
            definition: definition.as_object().cloned().unwrap_or_default(),
        };
        let user = policy(json!({"max-length": 5, "expires": 10, "overflow": "drop-head"}));
        let operator = policy(json!({"max-length": 9, "expires": 3, "overflow": "reject-publish"}));
        assert_eq!(
            merged(Some(&user), Some(&operator)),
            json!({"max-length": 5, "expires": 3, "overflow": "reject-publish"})
        );
        assert_eq!(merged(None, None), json!({}));
    }
}
