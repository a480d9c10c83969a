//! Logins: how many there were, by protocol.

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use serde_json::{Value, json};

use super::access::Caller;
use super::answer::{self, Failure};
use super::list::ListQuery;
use super::{Answer, Api, AppState};
use crate::login_counts::LoginCounts;

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/auth/attempts/{node}", get(list).delete(reset))
        .route("/auth/attempts/{node}/source", get(by_source).delete(reset))
}

/// Those of protocols that have had any.
async fn list(
    State(app): State<Api>,
    caller: Caller,
    Path(node): Path<String>,
    query: ListQuery,
) -> Answer {
    may_see(&app, &caller, &node)?;
    let shown = |(protocol, counts): (&str, &LoginCounts)| {
        let (successes, failures) = counts.read();
        let attempts = successes + failures;
        let shown = json!({
            "protocol": protocol,
            "auth_attempts": attempts,
            "auth_attempts_failed": failures,
            "auth_attempts_succeeded": successes,
        });
        (attempts > 0).then_some(shown)
    };
    let all: Vec<Value> = counts(&app).into_iter().filter_map(shown).collect();
    query.list_by(all, &["protocol"])
}

/// rabbitmq: none, unless its configuration asks for them.
async fn by_source(
    State(app): State<Api>,
    caller: Caller,
    Path(node): Path<String>,
    query: ListQuery,
) -> Answer {
    may_see(&app, &caller, &node)?;
    query.list(Vec::new())
}

async fn reset(State(app): State<Api>, caller: Caller, Path(node): Path<String>) -> Answer {
    caller.needs_administrator()?;
    may_see(&app, &caller, &node)?;
    counts(&app).into_iter().for_each(|(_, counts)| counts.reset());
    Ok(answer::done())
}

fn counts(app: &AppState) -> [(&'static str, &LoginCounts); 2] {
    [("amqp091", &app.logins_of_amqp), ("http", &app.logins_of_http)]
}

fn may_see(app: &AppState, caller: &Caller, node: &str) -> Result<(), Failure> {
    caller.needs_monitor()?;
    if node == app.node { Ok(()) } else { Err(Failure::missing()) }
}
