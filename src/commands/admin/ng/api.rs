//! Requests to the API, and what is said of answers that are no success.

use hyper::{Method, StatusCode};

use super::super::super::http::{Answer, Unanswered};
use super::super::json::Json;
use super::super::server::system_error;
use super::Ended;
use super::settings::Settings;

/// Sends a request; its answer if there is one.
pub(super) fn ask(
    settings: &Settings,
    method: &Method,
    path: &str,
    body: Option<&[u8]>,
) -> Result<Answer, Ended> {
    let whole = format!("{}{path}", settings.prefix);
    settings.server.ask(method, &whole, body).map_err(|unanswered| {
        let reason = match unanswered {
            Unanswered::Unreachable(error) => system_error(&error),
            Unanswered::TimedOut => "operation timed out".to_owned(),
            Unanswered::Broken(reason) => reason,
        };
        let at = format!("{}{path}", settings.endpoint());
        Ended::Data(format!(
            "Encountered an error when performing an HTTP request: error sending request for url ({at}): {reason}"
        ))
    })
}

/// Sends a request; the body of an answer that is a success.
pub(super) fn succeed(
    settings: &Settings,
    method: &Method,
    path: &str,
    body: Option<&[u8]>,
) -> Result<String, Ended> {
    let answer = ask(settings, method, path, body)?;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let status = answer.status;
    if status.is_success() {
        return Ok(text);
    }
    if status == StatusCode::NOT_FOUND {
        return Err(Ended::NotFound);
    }
    let reason = Json::parse(&text);
    let reason = reason.as_ref().and_then(|json| json.get("reason")).map(|reason| match reason {
        Json::Text(text) => text.clone(),
        other => other.to_compact(),
    });
    let kind = if status.is_server_error() { "server" } else { "client" };
    let told = format!("API responded with a {kind} error: status code of {status}");
    Err(Ended::Data(match reason {
        Some(reason) if status.is_server_error() => format!("{told}\n\n{reason}"),
        Some(reason) => reason,
        None => told,
    }))
}
