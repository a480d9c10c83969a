//! What only operators of this machine may ask, beside all of the API.

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post, put};
use serde_json::{Value, json};

use super::access::Caller;
use super::answer::{self, Failure, value};
use super::body::Payload;
use super::{Answer, Api, routes};
use crate::auth::Credentials;
use crate::broker::handshake::VERSION;
use crate::operations::{Operation, Operations};
use crate::vhosts::Resource;

/// All paths of the API, and those of this file.
pub(super) fn router(app: Api) -> Router {
    let control = Router::new()
        .route("/status", get(status))
        .route("/stop", post(async |app: State<Api>, it| ask(&app, it, Operation::Stop).await))
        .route(
            "/stop_app",
            post(async |app: State<Api>, it| ask(&app, it, Operation::RefuseClients).await),
        )
        .route(
            "/start_app",
            post(async |app: State<Api>, it| ask(&app, it, Operation::AcceptClients).await),
        )
        .route("/reset", post(async |app: State<Api>, it| ask(&app, it, Operation::Reset).await))
        .route("/plugins", put(set_plugins))
        .route("/log-filter", put(set_log_filter))
        .route("/memory-limit", put(set_memory_limit))
        .route("/disk-free-limit", put(set_disk_free_limit))
        .route("/alarms/{resource}", put(raise_alarm).delete(clear_alarm))
        .route("/authenticate", post(authenticate))
        .route("/close-connection", post(close_connection));
    routes().nest("/leveret/ctl", control).with_state(app)
}

/// What the API does not say of the broker.
async fn status(State(app): State<Api>, _: Caller) -> Answer {
    let operations = operations(&app)?;
    let is_running = app.listeners.iter().chain(&app.tls_listeners);
    let is_running = is_running.into_iter().any(|it| app.active_listeners.contains(*it));
    let control = &operations.config;
    Ok(value(&json!({
        "node": app.node,
        "pid": std::process::id(),
        "running": is_running,
        "version": VERSION,
        "product": "leveret",
        "product_version": env!("CARGO_PKG_VERSION"),
        "uptime_ms": app.vhosts.now().millis_since(app.started_at),
        "plugins": operations.plugins(),
        "enabled_plugins_file": control.enabled_plugins_file,
        "config_files": control.config_files,
        "log_file": control.log_file,
        "data_dir": app.data_dir,
        "alarms": app.alarms(),
        "memory_limit": app.vhosts.memory_limit(),
        "memory_used": app.vhosts.memory_used(),
        "disk_free_limit": app.vhosts.disk_free_limit(),
        "consumer_timeout_ms": app.vhosts.client_limits().consumer_timeout_ms,
    })))
}

fn operations(app: &Api) -> Result<&Operations, Failure> {
    // invariant: a broker with a control socket has them.
    app.operations.as_ref().ok_or_else(Failure::missing)
}

async fn ask(app: &Api, _: Caller, operation: Operation) -> Answer {
    let refused = |error: String| Failure::precondition_failed(error);
    operations(app)?.ask(operation).await.map_err(refused)?;
    Ok(answer::done())
}

async fn set_plugins(app: State<Api>, caller: Caller, body: Payload) -> Answer {
    let object = body.object_with(&["plugins"])?;
    let expected = || Failure::bad_request("plugins is a list of names");
    let names = object.find("plugins").and_then(Value::as_array).ok_or_else(expected)?;
    let names = names.iter().map(|name| name.as_str().map(str::to_owned)).collect::<Option<_>>();
    ask(&app, caller, Operation::SetPlugins(names.ok_or_else(expected)?)).await
}

async fn set_log_filter(app: State<Api>, caller: Caller, body: Payload) -> Answer {
    let object = body.object_with(&["filter"])?;
    let filter = object.text("filter")?.to_owned();
    ask(&app, caller, Operation::SetLogFilter(filter)).await
}

async fn set_memory_limit(State(app): State<Api>, _: Caller, body: Payload) -> Answer {
    app.vhosts.set_memory_limit(bytes(&body)?);
    // rabbitmq: an alarm that comes of it is raised when the command ends.
    app.vhosts.check_memory();
    Ok(answer::done())
}

async fn set_disk_free_limit(State(app): State<Api>, _: Caller, body: Payload) -> Answer {
    app.vhosts.set_disk_free_limit(bytes(&body)?);
    Ok(answer::done())
}

fn bytes(body: &Payload) -> Result<u64, Failure> {
    let bytes = body.object_with(&["bytes"])?.integer("bytes")?;
    u64::try_from(bytes).map_err(|_| Failure::bad_request("bytes is a number from 0"))
}

async fn raise_alarm(app: State<Api>, caller: Caller, resource: Path<String>) -> Answer {
    set_alarm(&app, &caller, &resource, true)
}

async fn clear_alarm(app: State<Api>, caller: Caller, resource: Path<String>) -> Answer {
    set_alarm(&app, &caller, &resource, false)
}

fn set_alarm(app: &Api, _: &Caller, resource: &str, is_short: bool) -> Answer {
    let resource = match resource {
        "memory" => Resource::Memory,
        "disk" => Resource::Disk,
        _ => return Err(Failure::missing()),
    };
    app.vhosts.set_short_by_operator(resource, is_short);
    Ok(answer::done())
}

/// Closes a connection, with an explanation for its client.
async fn close_connection(State(app): State<Api>, _: Caller, body: Payload) -> Answer {
    let object = body.object_with(&["name", "reason"])?;
    answer::deleted(app.vhosts.close_connection(object.text("name")?, object.text("reason")?))
}

/// Whether a user's password is right. The answer says no more than that.
async fn authenticate(State(app): State<Api>, caller: Caller, body: Payload) -> Answer {
    let object = body.object_with(&["user", "password"])?;
    let (user, password) = (object.text("user")?, object.text("password")?);
    let credentials = Credentials {
        mechanism: "PLAIN",
        user: user.to_owned(),
        password: password.as_bytes().to_vec(),
    };
    let is_right = app.authenticate(credentials, caller.ends.peer).await.is_ok();
    Ok(answer::with_status(StatusCode::OK, &json!({ "authenticated": is_right })))
}
