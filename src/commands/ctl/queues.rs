//! What is done to a queue, and to connections.

use hyper::{Method, StatusCode};
use serde_json::Value;

use super::context::{Context, part, reason};
use super::line::{flag, lettered, valued};
use super::outcome::{Failure, Outcome, code};
use super::pids;
use super::print::Printed;
use super::spec::{Group, Spec};
use crate::commands::Program;

use Group::{Operations, Queues};

pub(super) const SPECS: &[Spec] = &[
    Spec {
        banner: |it, _| format!("Purging queue '{}' in vhost '{}' ...", it.operand(0), it.vhost()),
        operands: (1, 1),
        ..Spec::of(
            "purge_queue",
            Queues,
            "<queue> [--timeout <timeout>]",
            "Takes all messages out of a queue.",
            purge,
        )
    },
    Spec {
        banner: |it, _| {
            let conditions = match (it.has("if-empty"), it.has("if-unused")) {
                (true, true) => " if queue is empty and unused",
                (true, false) => " if queue is empty",
                (false, true) => " if queue is unused",
                (false, false) => "",
            };
            format!("Deleting queue '{}' on vhost '{}'{conditions} ...", it.operand(0), it.vhost())
        },
        operands: (1, 1),
        options: &[lettered(flag("if-empty"), 'e'), lettered(flag("if-unused"), 'u')],
        ..Spec::of(
            "delete_queue",
            Queues,
            "[--vhost <vhost>] <queue_name> [--if-empty|-e] [--if-unused|-u] [--timeout <timeout>]",
            "Deletes a queue.",
            delete,
        )
    },
    Spec {
        banner: |it, _| {
            format!("Closing connection {}, reason: {}...", it.operand(0), it.operand(1))
        },
        operands: (2, 2),
        ..Spec::of(
            "close_connection",
            Operations,
            "<connection pid> <explanation>",
            "Closes a connection, as list_connections pid names it.",
            close,
        )
    },
    Spec {
        banner: |it, _| match it.has("global") {
            true => format!("Closing all connections to node, reason: {}...", it.operand(0)),
            false => format!(
                "Closing all connections in vhost {}, reason: {}...",
                it.vhost(),
                it.operand(0)
            ),
        },
        operands: (1, 1),
        options: &[flag("global"), valued("limit"), valued("per-connection-delay")],
        ..Spec::of(
            "close_all_connections",
            Operations,
            "[--vhost <vhost> --limit <limit>] [-n <node> --global] [--per-connection-delay <delay>] <explanation>",
            "Closes all connections of a virtual host or of the node.",
            close_all,
        )
    },
    Spec {
        banner: |it, _| {
            format!("Closing connections of user {}, reason: {}...", it.operand(0), it.operand(1))
        },
        operands: (2, 2),
        ..Spec::of(
            "close_all_user_connections",
            Operations,
            "<username> <explanation>",
            "Closes all connections of a user.",
            close_all_of_user,
        )
    },
    Spec {
        programs: &[Program::Queues],
        banner: |it, node| {
            format!(
                "Peeking at quorum queue {} at position {} on node {node} ...",
                it.operand(0),
                it.operand(1)
            )
        },
        operands: (2, 2),
        ..Spec::of(
            "peek",
            Queues,
            "[--vhost <vhost>] <queue> <pos>",
            "Shows a message of a quorum queue, which leveret cannot.",
            peek,
        )
    },
    Spec {
        programs: &[Program::Queues],
        banner: |it, node| format!("Status of quorum queue {} on node {node} ...", it.operand(0)),
        operands: (1, 1),
        ..Spec::of(
            "quorum_status",
            Queues,
            "[--vhost <vhost>] <queue>",
            "Shows where a quorum queue is: on this node.",
            quorum_status,
        )
    },
];

fn path(it: &Context<'_, '_>) -> String {
    format!("/api/queues/{}/{}", part(it.line.vhost()), part(it.line.operand(0)))
}

fn purge(it: &mut Context<'_, '_>) -> Outcome {
    let answer = it.ask(&Method::DELETE, &format!("{}/contents", path(it)), None)?;
    match answer.status {
        StatusCode::NOT_FOUND => Err(Failure::new(code::UNAVAILABLE, "not_found")),
        status if status.is_success() => Ok(Printed::Nothing),
        _ => Err(Failure::new(code::UNAVAILABLE, reason(&answer))),
    }
}

fn delete(it: &mut Context<'_, '_>) -> Outcome {
    let not_found = || Failure::new(code::USAGE, "Queue not found");
    let queue = it.find(&path(it))?.ok_or_else(not_found)?;
    let mut conditions = Vec::new();
    for (option, condition) in [("if-empty", "if-empty=true"), ("if-unused", "if-unused=true")] {
        conditions.extend(it.line.has(option).then_some(condition));
    }
    let whole = match conditions.as_slice() {
        [] => path(it),
        conditions => format!("{}?{}", path(it), conditions.join("&")),
    };
    let answer = it.ask(&Method::DELETE, &whole, None)?;
    if answer.status.is_success() {
        let ready = queue["messages_ready"].as_u64().unwrap_or_default();
        let text = format!("Queue was successfully deleted with {ready} ready messages");
        return Ok(if it.line.is_quiet() { Printed::Nothing } else { Printed::line(text) });
    }
    // rabbitmq: says which of the conditions does not hold.
    let is_in_use = queue["consumers"].as_u64().is_some_and(|consumers| consumers > 0);
    let text = match (answer.status, is_in_use && it.line.has("if-unused")) {
        (StatusCode::NOT_FOUND, _) => return Err(not_found()),
        (_, true) => "Queue is in use".to_owned(),
        (_, false) if it.line.has("if-empty") => "Queue is not empty".to_owned(),
        _ => reason(&answer),
    };
    Err(Failure::new(code::USAGE, text))
}

/// Closes a connection of this name, with an explanation.
fn close_one(it: &Context<'_, '_>, connection: &Value, explanation: &str) -> Result<bool, Failure> {
    let name = connection["name"].as_str().unwrap_or_default();
    let body = serde_json::json!({ "name": name, "reason": explanation });
    let answer = it.ask(&Method::POST, "/leveret/ctl/close-connection", Some(&body))?;
    Ok(answer.status.is_success())
}

fn close(it: &mut Context<'_, '_>) -> Outcome {
    let (pid, explanation) = (it.line.operand(0), it.line.operand(1));
    let connections = it.rows("/api/connections")?;
    let found = connections.iter().find(|found| pids::of_connection(&it.node, found) == pid);
    match found {
        Some(connection) => {
            close_one(it, connection, explanation)?;
            Ok(Printed::Nothing)
        }
        // rabbitmq: a process that is gone is no mistake.
        None if pids::is_pid(pid) => Ok(Printed::Nothing),
        None => {
            let text = format!("Error:\n{{:invalid_pid_syntax, \"{pid}\"}}");
            Err(Failure::new(code::UNAVAILABLE, text))
        }
    }
}

fn close_all(it: &mut Context<'_, '_>) -> Outcome {
    let (line, explanation) = (it.line, it.line.operand(0));
    let number = |option: &str| line.value(option).and_then(|text| text.parse::<u64>().ok());
    let is_limited = number("limit").filter(|limit| *limit > 0);
    let limit = is_limited.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let delay =
        std::time::Duration::from_millis(number("per-connection-delay").unwrap_or_default());
    let connections = it.rows("/api/connections")?;
    let is_meant = |found: &&Value| line.has("global") || found["vhost"] == line.vhost();
    let mut closed = 0;
    for connection in connections.iter().filter(is_meant).take(limit) {
        closed += usize::from(close_one(it, connection, explanation)?);
        std::thread::sleep(delay);
    }
    Ok(match line.is_quiet() {
        true => Printed::Nothing,
        false => Printed::line(format!("Closed {closed} connections")),
    })
}

fn close_all_of_user(it: &mut Context<'_, '_>) -> Outcome {
    let (user, explanation) = (it.line.operand(0), it.line.operand(1));
    for connection in it.rows("/api/connections")?.iter().filter(|found| found["user"] == user) {
        close_one(it, connection, explanation)?;
    }
    Ok(Printed::Nothing)
}

fn peek(it: &mut Context<'_, '_>) -> Outcome {
    let text = match it.find(&path(it))? {
        None => "Target queue was not found in virtual host".to_owned(),
        Some(queue) if queue["type"] != "quorum" => "Cannot peek into a classic queue".to_owned(),
        Some(_) => {
            "leveret cannot peek into a queue; get a message with requeue instead".to_owned()
        }
    };
    Err(Failure::new(code::UNAVAILABLE, text))
}

fn quorum_status(it: &mut Context<'_, '_>) -> Outcome {
    let not_found = || Failure::new(code::UNAVAILABLE, "not_found");
    let queue = it.find(&path(it))?.ok_or_else(not_found)?;
    if queue["type"] != "quorum" {
        return Err(Failure::new(code::UNAVAILABLE, "Cannot get quorum status of a classic queue"));
    }
    let columns = ["Node Name", "Raft State"].map(str::to_owned).to_vec();
    let rows =
        vec![vec![super::print::Cell::text(it.node.clone()), super::print::Cell::text("leader")]];
    Ok(Printed::Table(super::print::Table { columns, rows, is_made_at_once: true, is_bare: false }))
}
