//! Requests to the API, and what the script says of answers that are no success.

use hyper::{Method, StatusCode};

use super::super::super::http::{Answer, Unanswered};
use super::super::json::Json;
use super::super::server::{Address, Server, system_error};
use super::Ended;
use super::settings::Settings;

/// How often a request is sent elsewhere.
const REDIRECTIONS: usize = 20;

/// The API of a server.
pub(super) struct Api {
    server: Server,
    prefix: String,
}

impl Api {
    pub(super) fn new(settings: &Settings) -> Self {
        Api { server: settings.server.clone(), prefix: format!("{}/api", settings.path_prefix) }
    }

    pub(super) fn get(&mut self, path: &str) -> Result<String, Ended> {
        self.send(&Method::GET, path, None)
    }

    pub(super) fn put(&mut self, path: &str, body: &Json) -> Result<String, Ended> {
        self.send(&Method::PUT, path, Some(body.to_line().as_bytes()))
    }

    pub(super) fn post(&mut self, path: &str, body: &[u8]) -> Result<String, Ended> {
        self.send(&Method::POST, path, Some(body))
    }

    pub(super) fn delete(&mut self, path: &str) -> Result<String, Ended> {
        self.send(&Method::DELETE, path, None)
    }

    fn send(&mut self, method: &Method, path: &str, body: Option<&[u8]>) -> Result<String, Ended> {
        let mut path = format!("{}{path}", self.prefix);
        for _ in 0..REDIRECTIONS {
            let answer = self.server.ask(method, &path, body);
            let answer = answer.map_err(|unanswered| self.unanswered(&unanswered))?;
            if answer.status != StatusCode::MOVED_PERMANENTLY {
                return answered(&answer, &path);
            }
            let location = answer.location.unwrap_or_default();
            path = self.moved(&location);
        }
        Err(Ended::Failed(format!("Redirected too often: {path}")))
    }

    /// Takes the server that an answer names, and returns the path there.
    fn moved(&mut self, location: &str) -> String {
        let address = Address::parse(location);
        if let Some(host) = address.host {
            self.server.host = host;
            let usual = if address.is_secure { 443 } else { 80 };
            self.server.port = address.port.and_then(|port| port.parse().ok()).unwrap_or(usual);
        }
        match location.split_once('?') {
            Some((_, query)) => format!("{}?{query}", address.path),
            None => address.path,
        }
    }

    fn unanswered(&self, unanswered: &Unanswered) -> Ended {
        Ended::Failed(match unanswered {
            Unanswered::Unreachable(error) => format!("Could not connect: {}", system_error(error)),
            Unanswered::TimedOut => format!(
                "Timed out getting HTTP response (request timeout: {} seconds)",
                self.server.timeout.as_secs()
            ),
            Unanswered::Broken(reason) => format!("Error getting HTTP response:\n\n{reason}"),
        })
    }
}

/// The body of an answer, if it is a success.
fn answered(answer: &Answer, path: &str) -> Result<String, Ended> {
    let body = String::from_utf8_lossy(&answer.body);
    Err(Ended::Failed(match answer.status {
        StatusCode::BAD_REQUEST => {
            let reason = Json::parse(&body);
            let reason = reason.as_ref().and_then(|json| json.get("reason"));
            reason.map_or_else(|| body.trim().to_owned(), Json::to_python)
        }
        StatusCode::UNAUTHORIZED => format!("Access refused: {path}"),
        StatusCode::NOT_FOUND => format!("Not found: {path}"),
        status if status.as_u16() > 400 => {
            let reason = status.canonical_reason().unwrap_or_default();
            let code = status.as_u16();
            format!("Received response {code} {reason} for path {path}\n{body}")
        }
        _ => return Ok(body.into_owned()),
    }))
}
