//! What is answered: values, "done", and what went wrong, in RabbitMQ's words.

use std::borrow::Cow;

use axum::body::Body;
use axum::http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, LOCATION, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::vhosts::VhostError;

/// A request that is not granted.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Failure {
    status: StatusCode,
    error: Cow<'static, str>,
    reason: Value,
    /// Whether the client is told how to log in.
    challenge: bool,
}

impl Failure {
    fn new(status: StatusCode, error: &'static str, reason: impl Into<Value>) -> Self {
        Failure { status, error: error.into(), reason: reason.into(), challenge: false }
    }

    /// The path leads nowhere.
    pub(super) fn missing() -> Self {
        Failure::new(StatusCode::NOT_FOUND, "Object Not Found", "Not Found")
    }

    /// Something that the request names is not there.
    pub(super) fn not_found(reason: impl Into<Value>) -> Self {
        Failure::new(StatusCode::NOT_FOUND, "not_found", reason)
    }

    /// The request makes no sense.
    pub(super) fn bad_request(reason: impl Into<Value>) -> Self {
        Failure::new(StatusCode::BAD_REQUEST, "bad_request", reason)
    }

    /// The same with another name.
    pub(super) fn bad(error: &'static str, reason: impl Into<Value>) -> Self {
        Failure::new(StatusCode::BAD_REQUEST, error, reason)
    }

    /// The user may not do that.
    pub(super) fn not_authorised(reason: impl Into<Value>) -> Self {
        Failure::new(StatusCode::UNAUTHORIZED, "not_authorised", reason)
    }

    /// The request has no valid login.
    pub(super) fn login_failed() -> Self {
        let failure = Failure::new(StatusCode::UNAUTHORIZED, "not_authorized", "Login failed");
        Failure { challenge: true, ..failure }
    }

    /// Something must be changed before that can be done.
    pub(super) fn precondition_failed(reason: impl Into<Value>) -> Self {
        Failure::new(StatusCode::PRECONDITION_FAILED, "precondition_failed", reason)
    }

    /// The broker could not do it.
    pub(super) fn internal(reason: impl Into<Value>) -> Self {
        Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_server_error", reason)
    }
}

impl From<VhostError> for Failure {
    fn from(error: VhostError) -> Self {
        tracing::error!(%error, "a change was not kept");
        Failure::internal(error.to_string())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let body = json!({ "error": self.error, "reason": self.reason });
        let mut response = with_status(self.status, &body);
        if self.challenge {
            let how = HeaderValue::from_static("Basic realm=\"RabbitMQ Management\"");
            response.headers_mut().insert(WWW_AUTHENTICATE, how);
        }
        response
    }
}

/// A value.
pub(super) fn value(value: &Value) -> Response {
    with_status(StatusCode::OK, value)
}

/// A value with another status than OK.
pub(super) fn with_status(status: StatusCode, value: &Value) -> Response {
    let mut response = json(value.to_string());
    *response.status_mut() = status;
    response
}

/// JSON that is written already, or is being written.
pub(super) fn json(body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// A PUT that made something, or changed what was there.
pub(super) fn put(is_new: bool) -> Response {
    if is_new { StatusCode::CREATED.into_response() } else { done() }
}

/// It is done and there is nothing to say.
pub(super) fn done() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

/// A DELETE of something that was there, or was not.
pub(super) fn deleted(was_there: bool) -> Result<Response, Failure> {
    if was_there { Ok(done()) } else { Err(Failure::missing()) }
}

/// The answer to OPTIONS: what may be done with a path. `refusal` is that of a method that may not be used there.
///
/// rabbitmq: answers without a login.
pub(super) fn methods(refusal: Response) -> Response {
    if refusal.status() != StatusCode::METHOD_NOT_ALLOWED {
        return refusal;
    }
    let allowed = refusal.headers().get(ALLOW).and_then(|methods| methods.to_str().ok());
    let allowed = allowed.map_or("OPTIONS".to_owned(), |methods| format!("{methods},OPTIONS"));
    let mut response = StatusCode::OK.into_response();
    if let Ok(allowed) = HeaderValue::try_from(allowed) {
        response.headers_mut().insert(ALLOW, allowed);
    }
    response
}

/// A POST that made something, which is there now.
pub(super) fn created_at(location: &str) -> Response {
    let mut response = StatusCode::CREATED.into_response();
    if let Ok(location) = HeaderValue::try_from(location) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}
