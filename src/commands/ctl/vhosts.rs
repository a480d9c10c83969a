//! Virtual hosts, and their limits.

use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use super::context::{Context, part, reason};
use super::line::{flag, valued};
use super::outcome::{Failure, Outcome, code};
use super::print::{Cell, Printed, Table};
use super::spec::{Group, Spec};

use Group::Vhosts;

pub(super) const SPECS: &[Spec] = &[
    Spec {
        banner: |it, _| format!("Adding vhost \"{}\" ...", it.operand(0)),
        operands: (1, 1),
        options: &[valued("description"), valued("tags"), valued("default-queue-type")],
        ..Spec::of(
            "add_vhost",
            Vhosts,
            "<vhost> [--description <description> --tags \"<tag1>,<tag2>,<...>\" --default-queue-type \
             <quorum|classic|stream>]",
            "Makes a virtual host.",
            add,
        )
    },
    Spec {
        banner: |it, _| format!("Deleting vhost \"{}\" ...", it.operand(0)),
        operands: (1, 1),
        ..Spec::of(
            "delete_vhost",
            Vhosts,
            "<vhost>",
            "Deletes a virtual host with all in it.",
            delete,
        )
    },
    Spec {
        banner: |_, _| "Listing vhosts ...".to_owned(),
        operands: (0, usize::MAX),
        check: |it| super::lists::columns(it, &COLUMNS, &["name"]).map(drop),
        options: &[flag("no-table-headers")],
        ..Spec::of(
            "list_vhosts",
            Group::Access,
            "[--no-table-headers] [<column> ...] [--timeout <timeout>]",
            "Lists virtual hosts.",
            list,
        )
    },
    Spec {
        banner: |it, _| {
            let tags = it.rest().get(1..).unwrap_or_default().join(", ");
            format!("Setting tags for virtual host \"{}\" to [{tags}] ...", it.operand(0))
        },
        operands: (1, usize::MAX),
        ..Spec::of(
            "set_vhost_tags",
            Vhosts,
            "<vhost> <tag> [...]",
            "Sets the tags of a virtual host.",
            set_tags,
        )
    },
    Spec {
        banner: |it, _| {
            format!(
                "Setting vhost limits to \"{}\" for vhost \"{}\" ...",
                it.operand(0),
                it.vhost()
            )
        },
        operands: (1, 1),
        ..Spec::of(
            "set_vhost_limits",
            Vhosts,
            "[--vhost <vhost>] <definition>",
            "Limits the connections and queues of a virtual host.",
            set_limits,
        )
    },
    Spec {
        banner: |it, _| format!("Clearing vhost \"{}\" limits ...", it.vhost()),
        ..Spec::of(
            "clear_vhost_limits",
            Vhosts,
            "[--vhost <vhost>]",
            "Takes these limits away.",
            clear_limits,
        )
    },
    Spec {
        banner: |it, _| match it.has("global") {
            true => "Listing limits for all vhosts ...".to_owned(),
            false => format!("Listing limits for vhost \"{}\" ...", it.vhost()),
        },
        options: &[flag("global"), flag("no-table-headers")],
        ..Spec::of(
            "list_vhost_limits",
            Vhosts,
            "[--vhost <vhost>] [--global] [--no-table-headers]",
            "Lists these limits.",
            list_limits,
        )
    },
    Spec {
        ..Spec::of(
            "restart_vhost",
            Vhosts,
            "[--vhost <vhost>] [--timeout <timeout>]",
            "Says whether a virtual host runs; one that has failed needs a start of the broker.",
            restart,
        )
    },
    Spec {
        banner: |it, _| format!("Starting tracing for vhost \"{}\" ...", it.vhost()),
        ..Spec::of(
            "trace_on",
            Vhosts,
            "[--vhost <vhost>]",
            "Publishes what goes through a virtual host to amq.rabbitmq.trace.",
            |it| trace(it, true),
        )
    },
    Spec {
        banner: |it, _| format!("Stopping tracing for vhost \"{}\" ...", it.vhost()),
        ..Spec::of("trace_off", Vhosts, "[--vhost <vhost>]", "Ends that.", |it| trace(it, false))
    },
    Spec {
        banner: |it, _| {
            format!("Enabling deletion protection for virtual host \"{}\" ...", it.operand(0))
        },
        operands: (1, 1),
        ..Spec::of(
            "enable_vhost_deletion_protection",
            Vhosts,
            "<vhost>",
            "Protects a virtual host from being deleted.",
            |it| protect(it, &Method::POST),
        )
    },
    Spec {
        banner: |it, _| {
            format!("Disabling deletion protection for virtual host \"{}\" ...", it.operand(0))
        },
        operands: (1, 1),
        ..Spec::of("disable_vhost_deletion_protection", Vhosts, "<vhost>", "Ends that.", |it| {
            protect(it, &Method::DELETE)
        })
    },
];

pub(super) fn path(vhost: &str) -> String {
    format!("/api/vhosts/{}", part(vhost))
}

fn add(it: &mut Context<'_, '_>) -> Outcome {
    let name = it.line.operand(0);
    let mut body = json!({});
    for (option, key) in [
        ("description", "description"),
        ("tags", "tags"),
        ("default-queue-type", "default_queue_type"),
    ] {
        if let Some(value) = it.line.value(option) {
            body[key] = value.into();
        }
    }
    it.change(&Method::PUT, &path(name), Some(&body))?;
    Ok(Printed::Nothing)
}

fn delete(it: &mut Context<'_, '_>) -> Outcome {
    let name = it.line.operand(0);
    it.needs_vhost(name)?;
    it.change(&Method::DELETE, &path(name), None)?;
    Ok(Printed::Nothing)
}

/// The columns of a list of virtual hosts.
const COLUMNS: [&str; 8] = [
    "name",
    "tracing",
    "cluster_state",
    "description",
    "tags",
    "default_queue_type",
    "protected_from_deletion",
    "metadata",
];

fn list(it: &mut Context<'_, '_>) -> Outcome {
    let columns = super::lists::columns(it.line, &COLUMNS, &["name"])?;
    let cell = |vhost: &Value, column: &str| match column {
        "tags" => {
            let tags = vhost["tags"].as_array().into_iter().flatten();
            Cell::Names(tags.filter_map(|tag| tag.as_str().map(str::to_owned)).collect())
        }
        "default_queue_type" => {
            Cell::text(vhost["default_queue_type"].as_str().unwrap_or("undefined"))
        }
        "cluster_state" => Cell::text(format!("[{{{}, running}}]", it.node)),
        column => Cell::Plain(vhost[column].clone()),
    };
    let vhosts = it.rows("/api/vhosts")?;
    let rows = vhosts.iter().map(|vhost| columns.iter().map(|it| cell(vhost, it)).collect());
    let rows = rows.collect();
    Ok(Printed::Table(Table { columns, rows, is_made_at_once: true, is_bare: false }))
}

/// Sets some of what a virtual host has.
fn set(it: &Context<'_, '_>, name: &str, body: &Value) -> Result<(), Failure> {
    it.needs_vhost(name)?;
    it.change(&Method::PUT, &path(name), Some(body)).map(drop)
}

fn set_tags(it: &mut Context<'_, '_>) -> Outcome {
    let tags = it.line.rest().get(1..).unwrap_or_default();
    set(it, it.line.operand(0), &json!({ "tags": tags.join(",") }))?;
    Ok(Printed::Nothing)
}

fn trace(it: &mut Context<'_, '_>, on: bool) -> Outcome {
    let vhost = it.line.vhost();
    set(it, vhost, &json!({ "tracing": on }))?;
    let word = if on { "enabled" } else { "disabled" };
    Ok(Printed::line(format!("Trace {word} for vhost {vhost}")))
}

fn protect(it: &mut Context<'_, '_>, method: &Method) -> Outcome {
    let name = it.line.operand(0);
    it.needs_vhost(name)?;
    it.change(method, &format!("{}/deletion/protection", path(name)), None)?;
    Ok(Printed::Nothing)
}

fn restart(it: &mut Context<'_, '_>) -> Outcome {
    let (vhost, node) = (it.line.vhost(), it.node.clone());
    it.needs_vhost(vhost)?;
    let banner = format!("Trying to restart vhost '{vhost}' on node '{node}' ...\n");
    let answer = it.ask(&Method::POST, &format!("{}/start/{}", path(vhost), part(&node)), None)?;
    if answer.status == StatusCode::NOT_FOUND || !answer.status.is_success() {
        return Err(Failure::new(code::UNAVAILABLE, reason(&answer)));
    }
    let text = format!("Vhost '{vhost}' is already running on node '{node}'\n");
    Ok(Printed::Text(if it.line.is_quiet() { text } else { banner + &text }, None))
}

fn limits_path(vhost: &str, limit: &str) -> String {
    format!("/api/vhost-limits/{}/{}", part(vhost), part(limit))
}

/// The limits that a virtual host may have.
const LIMITS: [&str; 2] = ["max-connections", "max-queues"];

fn set_limits(it: &mut Context<'_, '_>) -> Outcome {
    let vhost = it.line.vhost();
    it.needs_vhost(vhost)?;
    let limits = super::users::limits(it.line.operand(0), "limits")?;
    if let Some((limit, value)) = limits.iter().find(|(limit, _)| !LIMITS.contains(&&**limit)) {
        let text = format!("Unrecognised terms [{{<<\"{limit}\">>,{value}}}] in limits");
        return Err(Failure::new(code::UNAVAILABLE, format!("Validation failed\n\n{text}\n")));
    }
    for (limit, value) in limits {
        let body = json!({ "value": value });
        it.change(&Method::PUT, &limits_path(vhost, &limit), Some(&body))?;
    }
    Ok(Printed::Nothing)
}

fn clear_limits(it: &mut Context<'_, '_>) -> Outcome {
    let vhost = it.line.vhost();
    it.needs_vhost(vhost)?;
    for limit in LIMITS {
        // A limit that there is not is no mistake.
        it.ask(&Method::DELETE, &limits_path(vhost, limit), None)?;
    }
    Ok(Printed::Nothing)
}

fn list_limits(it: &mut Context<'_, '_>) -> Outcome {
    let all = it.rows("/api/vhost-limits")?;
    if it.line.has("global") {
        let row =
            |row: &Value| vec![Cell::Plain(row["vhost"].clone()), Cell::Json(row["value"].clone())];
        let columns = ["vhost", "limits"].map(str::to_owned).to_vec();
        let rows = all.iter().map(row).collect();
        return Ok(Printed::Table(Table { columns, rows, is_made_at_once: true, is_bare: false }));
    }
    let vhost = it.line.vhost();
    it.needs_vhost(vhost)?;
    let of_vhost = all.iter().find(|row| row["vhost"] == vhost).map(|row| row["value"].to_string());
    let limits = of_vhost.filter(|limits| limits != "{}").unwrap_or_default();
    let object = json!({ "node": it.node, "result": "ok", "value": limits });
    Ok(Printed::Text(format!("{limits}\n"), Some(object)))
}
