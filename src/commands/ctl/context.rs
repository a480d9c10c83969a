//! The node that a command is about, and how it is asked.

use std::path::PathBuf;
use std::time::Duration;

use hyper::{Method, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::line::Line;
use super::outcome::{Failure, code};
use crate::commands::Console;
use crate::commands::http::{Answer, Client, Target, Unanswered};
use crate::control_socket;
use crate::node_name::default_node_name;
use crate::rabbit;

/// How long an answer may take unless the line says so.
const TIMEOUT: Duration = Duration::from_secs(60);

/// What of a path's part stays as it is.
const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A command with all it needs.
pub(super) struct Context<'a, 'b> {
    pub(super) line: &'a Line,
    pub(super) console: &'a mut Console<'b>,
    /// What the node is called.
    pub(super) node: String,
    socket: PathBuf,
    /// The nodes that there are, where it is none of them.
    others: Vec<String>,
}

impl<'a, 'b> Context<'a, 'b> {
    /// Finds the node that the line names, or the environment; otherwise one in RabbitMQ's place, one of leveret's own
    /// name, or the only one that there is.
    pub(super) fn new(line: &'a Line, console: &'a mut Console<'b>) -> Self {
        let environment = &console.environment;
        let named = line.value("node");
        let node = rabbit::node_name(environment, named);
        let is_asked_for = named.is_some() || environment.is_node_named();
        let data_dir = rabbit::data_dir(environment, &node);
        let beside_data = data_dir.parent().map(PathBuf::from);
        let mut directories: Vec<PathBuf> = beside_data.into_iter().collect();
        directories.extend(control_socket::directories());
        let usual = default_node_name();
        let names: &[&str] = if is_asked_for { &[&node] } else { &[&node, &usual] };
        let paths = |name: &str| -> Vec<(String, PathBuf)> {
            let path = |it: &PathBuf| (name.to_owned(), control_socket::path_in(it, name));
            directories.iter().map(path).collect()
        };
        let all: Vec<(String, PathBuf)> = names.iter().flat_map(|name| paths(name)).collect();
        let mut found = all.iter().find(|(_, path)| path.exists()).cloned();
        let mut others = Vec::new();
        if found.is_none() {
            others = directories.iter().flat_map(|it| control_socket::nodes_in(it)).collect();
            if let ([only], false) = (others.as_slice(), is_asked_for) {
                found = Some(only.clone());
            }
        }
        let others = others.into_iter().map(|(name, _)| name).collect();
        let (name, socket) = found.or(all.into_iter().next()).unwrap_or_default();
        Context { line, console, node: name, socket, others }
    }

    /// How long the command may take; nothing for ever.
    pub(super) fn timeout(&self) -> Option<Duration> {
        match self.line.value("timeout") {
            Some("infinity") => None,
            Some(text) => Some(text.parse().map_or(TIMEOUT, Duration::from_secs_f64)),
            None => Some(TIMEOUT),
        }
    }

    /// Asks the node. An answer of any status is one.
    ///
    /// # Errors
    /// When there is no node, or no answer.
    pub(super) fn ask(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, Failure> {
        let client = Client {
            target: Target::Socket(self.socket.clone()),
            authorization: None,
            timeout: self.timeout().unwrap_or(Duration::from_secs(u64::from(u32::MAX))),
        };
        let body = body.map(|body| body.to_string().into_bytes());
        client.send(method, path, body.as_deref()).map_err(|error| match error {
            Unanswered::Unreachable(error) => self.unreachable(&error.to_string()),
            Unanswered::TimedOut => self.timed_out(),
            Unanswered::Broken(error) => {
                Failure::new(code::UNAVAILABLE, format!("the node's answer broke off: {error}"))
            }
        })
    }

    /// What is at a path; nothing when there is nothing.
    pub(super) fn find(&self, path: &str) -> Result<Option<Value>, Failure> {
        let answer = self.ask(&Method::GET, path, None)?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        // rabbitmq: health checks say what is wrong with this code.
        if !answer.status.is_success() && answer.status != StatusCode::SERVICE_UNAVAILABLE {
            return Err(Failure::new(code::UNAVAILABLE, reason(&answer)));
        }
        let value = serde_json::from_slice(&answer.body);
        value.map(Some).map_err(|error| {
            Failure::new(code::SOFTWARE, format!("the node's answer makes no sense: {error}"))
        })
    }

    /// What is at a path that is always there.
    pub(super) fn get(&self, path: &str) -> Result<Value, Failure> {
        let nothing = || Failure::new(code::UNAVAILABLE, format!("the node does not know {path}"));
        self.find(path)?.ok_or_else(nothing)
    }

    /// The rows of a list.
    pub(super) fn rows(&self, path: &str) -> Result<Vec<Value>, Failure> {
        match self.find(path)? {
            Some(Value::Array(rows)) => Ok(rows),
            _ => Ok(Vec::new()),
        }
    }

    /// Changes something. An answer that is no success is a failure with its reason.
    pub(super) fn change(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, Failure> {
        let answer = self.ask(method, path, body)?;
        match answer.status.is_success() {
            true => Ok(answer),
            false => Err(Failure::new(code::UNAVAILABLE, reason(&answer))),
        }
    }

    /// Says whether there is such a virtual host.
    pub(super) fn has_vhost(&self, vhost: &str) -> Result<bool, Failure> {
        Ok(self.find(&format!("/api/vhosts/{}", part(vhost)))?.is_some())
    }

    /// Says whether there is such a user.
    pub(super) fn has_user(&self, user: &str) -> Result<bool, Failure> {
        Ok(self.find(&format!("/api/users/{}", part(user)))?.is_some())
    }

    /// There must be such a virtual host.
    pub(super) fn needs_vhost(&self, vhost: &str) -> Result<(), Failure> {
        match self.has_vhost(vhost)? {
            true => Ok(()),
            // rabbitmq: without the line Error.
            false => {
                Err(Failure::bare(code::DATA, format!("Virtual host '{vhost}' does not exist")))
            }
        }
    }

    pub(super) fn timed_out(&self) -> Failure {
        let (command, node) = (self.line.command().unwrap_or_default(), &self.node);
        let ms = self.timeout().unwrap_or_default().as_millis();
        let text = format!(
            "Error: operation {command} on node {node} timed out. Timeout value used: {ms}"
        );
        Failure::bare(code::TIMEOUT, text)
    }

    /// rabbitmq: the first line in these words, which scripts look for.
    fn unreachable(&self, error: &str) -> Failure {
        let (node, socket) = (&self.node, self.socket.display());
        let others = match self.others.as_slice() {
            [] => String::new(),
            others => format!("nodes of this machine (--node NAME): {}\n", others.join(", ")),
        };
        let text = format!(
            "Error: unable to perform an operation on node '{node}'. Please see diagnostics information and \
             suggestions below.\n\n\
             Most common reasons for this are:\n\n \
             * No broker of that name runs on this machine\n \
             * It runs as another user: its own user and root may reach it\n \
             * It was started with another --control-socket, or with none\n\n\
             DIAGNOSTICS\n===========\n\n\
             attempted to contact: {node} at {socket}: {error}\n{others}"
        );
        Failure::bare(code::UNAVAILABLE, text)
    }
}

/// A part of a path.
pub(super) fn part(text: &str) -> String {
    utf8_percent_encode(text, KEPT).to_string()
}

/// What an answer says went wrong.
pub(super) fn reason(answer: &Answer) -> String {
    let value: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    match &value["reason"] {
        // rabbitmq: its HTTP API writes these for pages.
        Value::String(reason) => {
            let reason = reason.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"");
            reason.replace("&#39;", "'").replace("&amp;", "&")
        }
        Value::Null => format!("the node answered {}", answer.status),
        other => other.to_string(),
    }
}
