//! Definitions: everything but messages, out and in.

use axum::Router;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::routing::get;
use serde_json::json;

use super::access::Caller;
use super::answer::{self, Failure};
use super::body::Payload;
use super::form::Form;
use super::{Answer, Api, Permits, json_stream, off_thread};
use crate::definitions::{Definitions, DefinitionsError};
use crate::vhosts::ImportError;

/// The field of a form that the definitions are in.
const FORM_FIELD: &str = "file";

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/definitions", get(export_all).post(import_all).put(import_all))
        // rabbitmq: the old name.
        .route("/all-configuration", get(export_all).post(import_all).put(import_all))
        .route("/definitions/{vhost}", get(export_one).post(import_one).put(import_one))
}

async fn export_all(State(app): State<Api>, caller: Caller) -> Answer {
    caller.needs_administrator()?;
    export(app, Definitions::to_json).await
}

async fn export_one(State(app): State<Api>, caller: Caller, Path(vhost): Path<String>) -> Answer {
    caller.needs_administrator()?;
    app.vhost(&vhost)?;
    export(app, move |definitions| definitions.vhost_json(&vhost)).await
}

/// As a long list: it takes a permit of those.
async fn export(app: Api, write: impl FnOnce(&Definitions) -> Vec<u8> + Send + 'static) -> Answer {
    let permit = Permits::take(&app.permits.lists).await?;
    let json = off_thread(move || write(&app.vhosts.export())).await;
    Ok(answer::json(json_stream::pieces(json.into(), permit)))
}

async fn import_all(
    State(app): State<Api>,
    caller: Caller,
    headers: HeaderMap,
    body: Payload,
) -> Answer {
    caller.needs_administrator()?;
    let definitions = read(&headers, &body)?;
    import(app, definitions).await
}

async fn import_one(
    State(app): State<Api>,
    caller: Caller,
    Path(vhost): Path<String>,
    headers: HeaderMap,
    body: Payload,
) -> Answer {
    caller.needs_administrator()?;
    app.vhost(&vhost)?;
    let definitions = read(&headers, &body)?;
    import(app, definitions.into_vhost(&vhost)).await
}

/// The definitions of a request: its body, or the file of a form.
///
/// rabbitmq: takes forms as well, since browsers send them.
fn read(headers: &HeaderMap, body: &Payload) -> Result<Definitions, Failure> {
    let json = match Form::of(headers) {
        Some(form) => {
            let file = form.find(body.as_bytes(), FORM_FIELD);
            file.ok_or_else(|| Failure::bad_request("the form has no field 'file'"))?
        }
        None => body.as_bytes(),
    };
    Definitions::parse(json).map_err(unreadable)
}

/// On a thread of its own, since it waits for the disk.
pub(super) async fn import(app: Api, definitions: Definitions) -> Answer {
    match off_thread(move || app.vhosts.import(&definitions)).await {
        Ok(()) => Ok(answer::done()),
        Err(error) => Err(refused(error)),
    }
}

fn refused(error: ImportError) -> Failure {
    match error {
        ImportError::NoSuchVhost(vhost) => Failure::bad_request(json!(["no_such_vhost", vhost])),
        ImportError::NoSuchUser(user) => Failure::bad_request(json!(["no_such_user", user])),
        ImportError::Vhost(error) => error.into(),
        error => Failure::bad_request(error.to_string()),
    }
}

fn unreadable(error: DefinitionsError) -> Failure {
    match error {
        DefinitionsError::NotJson(_) => Failure::bad_request("not_json"),
        error @ DefinitionsError::Invalid { .. } => Failure::bad_request(error.to_string()),
    }
}
