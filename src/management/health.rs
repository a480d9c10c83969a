//! Health checks: 200 when all is well, 503 with what is not.

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use serde_json::{Value, json};

use super::access::Caller;
use super::answer::{self, Failure, value};
use super::overview::listeners;
use super::{Answer, Api, AppState, show};
use crate::tls::Acceptor;

pub(super) fn routes() -> Router<Api> {
    // rabbitmq: these come with 4.x; a broker that answers at all is in service.
    let fine = [
        "ready-to-serve-clients",
        "is-in-service",
        "below-node-connection-limit",
        "metadata-store/initialized",
    ];
    let alone = ["node-is-quorum-critical", "node-is-mirror-sync-critical"];
    let mut routes = Router::new()
        .route("/health/checks/alarms", get(alarms))
        .route("/health/checks/local-alarms", get(local_alarms))
        .route("/health/checks/virtual-hosts", get(virtual_hosts))
        .route("/health/checks/port-listener/{port}", get(port_listener))
        .route("/health/checks/protocol-listener/{protocol}", get(protocol_listener))
        .route("/health/checks/certificate-expiration/{within}/{unit}", get(certificates))
        .route("/healthchecks/node", get(all_is_well))
        .route("/healthchecks/node/{node}", get(named_node));
    for check in fine {
        routes = routes.route(&format!("/health/checks/{check}"), get(all_is_well));
    }
    for check in alone {
        routes = routes.route(&format!("/health/checks/{check}"), get(is_alone));
    }
    routes
}

async fn alarms(State(app): State<Api>, _: Caller) -> Answer {
    Ok(no_alarms(&app, "There are alarms in effect in the cluster"))
}

async fn local_alarms(State(app): State<Api>, _: Caller) -> Answer {
    Ok(no_alarms(&app, "There are alarms in effect on the node"))
}

fn no_alarms(app: &AppState, reason: &str) -> Response {
    let alarms = app.alarms().into_iter();
    let alarms: Vec<_> =
        alarms.map(|resource| json!({ "node": app.node, "resource": resource })).collect();
    if alarms.is_empty() {
        return value(&json!({ "status": "ok" }));
    }
    failed(json!({ "reason": reason, "alarms": alarms }))
}

/// Whether certificates of listeners end within so many days, weeks, months or years.
async fn certificates(
    State(app): State<Api>,
    _: Caller,
    Path((within, unit)): Path<(String, String)>,
) -> Answer {
    let within: u64 =
        within.parse().map_err(|_| Failure::bad_request("Invalid expiration value."))?;
    let days: u64 = match unit.as_str() {
        "days" => 1,
        "weeks" => 7,
        "months" => 30,
        "years" => 365,
        _ => {
            let supported = "Supported units: days, weeks, months, years.";
            return Err(Failure::bad_request(format!("Time unit not recognised. {supported}")));
        }
    };
    let until = app.vhosts.now().plus_millis(within.saturating_mul(days).saturating_mul(DAY_MS));
    let ends = app.acceptor.as_deref().map(Acceptor::ends).unwrap_or_default();
    if ends.iter().flatten().all(|(_, end)| *end > until) {
        return Ok(value(&json!({ "status": "ok" })));
    }
    let [certificate, authorities] = ends.map(|end| {
        let (place, end) = end.unzip();
        (json!(place), json!(end.map(show::date)))
    });
    let secured = listeners(&app).into_iter();
    let secured = secured.filter(|it| it["protocol"] == "amqp/ssl" || it["protocol"] == "https");
    let expired: Vec<_> = secured
        .map(|listener| {
            json!({
                "node": listener["node"],
                "protocol": listener["protocol"],
                "interface": listener["ip_address"],
                "port": listener["port"],
                "certfile": certificate.0,
                "certfile_expires_on": certificate.1,
                "cacertfile": authorities.0,
                "cacertfile_expires_on": authorities.1,
            })
        })
        .collect();
    Ok(failed(json!({ "reason": "Certificates expiring", "expired": expired })))
}

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// There is nothing that could be wrong.
async fn all_is_well(_: Caller) -> Answer {
    Ok(value(&json!({ "status": "ok" })))
}

async fn named_node(State(app): State<Api>, caller: Caller, Path(node): Path<String>) -> Answer {
    if node != app.node {
        return Err(Failure::missing());
    }
    all_is_well(caller).await
}

async fn is_alone(_: Caller) -> Answer {
    Ok(value(&json!({ "status": "ok", "reason": "single node cluster" })))
}

async fn virtual_hosts(State(app): State<Api>, _: Caller) -> Answer {
    let known: Vec<String> = app
        .vhosts
        .read_registry(|registry| registry.vhosts().map(|(name, _)| name.to_owned()).collect());
    let down: Vec<_> = known.into_iter().filter(|name| app.vhosts.vhost(name).is_none()).collect();
    if down.is_empty() {
        return Ok(value(&json!({ "status": "ok" })));
    }
    Ok(failed(json!({ "reason": "Some virtual hosts are down", "virtual-hosts": down })))
}

async fn port_listener(State(app): State<Api>, _: Caller, Path(port): Path<String>) -> Answer {
    let port: u16 = port.parse().map_err(|_| Failure::bad_request("Invalid port"))?;
    let ports: Vec<_> = all(&app, "port");
    if ports.contains(&port.into()) {
        return Ok(value(&json!({ "status": "ok", "port": port })));
    }
    Ok(failed(json!({ "reason": "No active listener", "missing": port, "ports": ports })))
}

async fn protocol_listener(
    State(app): State<Api>,
    _: Caller,
    Path(protocol): Path<String>,
) -> Answer {
    let protocols = all(&app, "protocol");
    let known = match protocol.as_str() {
        "amqp091" | "amqp0.9.1" | "amqp0-9-1" => "amqp",
        known => known,
    };
    if protocols.contains(&known.into()) {
        return Ok(value(&json!({ "status": "ok", "protocol": protocol })));
    }
    Ok(failed(json!({
        "reason": "No active listener",
        "missing": protocol,
        "protocols": protocols,
    })))
}

/// A field of all listeners, each value once.
fn all(app: &AppState, field: &str) -> Vec<Value> {
    let mut values = Vec::new();
    for listener in listeners(app) {
        if !values.contains(&listener[field]) {
            values.push(listener[field].clone());
        }
    }
    values
}

fn failed(mut with: Value) -> Response {
    with["status"] = "failed".into();
    answer::with_status(StatusCode::SERVICE_UNAVAILABLE, &with)
}
