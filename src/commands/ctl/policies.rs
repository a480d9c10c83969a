//! Policies and parameters.

use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use super::context::{Context, part, reason};
use super::line::{Line, OptionSpec, flag, valued};
use super::outcome::{Failure, Outcome, code};
use super::print::{Cell, Printed, Table};
use super::spec::{Group, Spec};

use Group::{Parameters, Policies};

const POLICY_OPTIONS: &[OptionSpec] = &[valued("priority"), valued("apply-to")];
const POLICY_USAGE: &str = "[--vhost <vhost>] [--priority <priority>] [--apply-to <apply-to>] <name> <pattern> <definition>";

pub(super) const SPECS: &[Spec] = &[
    Spec {
        banner: |it, _| format!("Setting policy {}", described(it)),
        operands: (3, 3),
        check: |it| priority(it).map(drop),
        options: POLICY_OPTIONS,
        ..Spec::of("set_policy", Policies, POLICY_USAGE, "Sets a policy.", |it| {
            set_policy(it, "policies")
        })
    },
    Spec {
        banner: |it, _| format!("Setting operator policy override {}", described(it)),
        operands: (3, 3),
        check: |it| priority(it).map(drop),
        options: POLICY_OPTIONS,
        ..Spec::of(
            "set_operator_policy",
            Policies,
            POLICY_USAGE,
            "Sets a policy of the operator, which limits those of users.",
            |it| set_policy(it, "operator-policies"),
        )
    },
    Spec {
        banner: |it, _| {
            format!("Clearing policy \"{}\" on vhost \"{}\" ...", it.operand(0), it.vhost())
        },
        operands: (1, 1),
        ..Spec::of(
            "clear_policy",
            Policies,
            "[--vhost <vhost>] <name>",
            "Takes a policy away.",
            |it| clear(it, &policy_path(it.line, "policies")),
        )
    },
    Spec {
        banner: |it, _| {
            format!(
                "Clearing operator policy \"{}\" on vhost \"{}\" ...",
                it.operand(0),
                it.vhost()
            )
        },
        operands: (1, 1),
        ..Spec::of(
            "clear_operator_policy",
            Policies,
            "[--vhost <vhost>] <name>",
            "Takes an operator's policy away.",
            |it| clear(it, &policy_path(it.line, "operator-policies")),
        )
    },
    Spec {
        banner: |it, _| format!("Listing policies for vhost \"{}\" ...", it.vhost()),
        options: &[flag("no-table-headers")],
        ..Spec::of(
            "list_policies",
            Policies,
            "[--vhost <vhost>] [--no-table-headers] [--timeout <timeout>]",
            "Lists policies.",
            |it| list_policies(it, "policies"),
        )
    },
    Spec {
        banner: |it, _| {
            format!("Listing operator policy overrides for vhost \"{}\" ...", it.vhost())
        },
        options: &[flag("no-table-headers")],
        ..Spec::of(
            "list_operator_policies",
            Policies,
            "[--vhost <vhost>] [--no-table-headers] [--timeout <timeout>]",
            "Lists the operator's policies.",
            |it| list_policies(it, "operator-policies"),
        )
    },
    Spec {
        banner: |it, _| {
            let (component, name, value) = (it.operand(0), it.operand(1), it.operand(2));
            let vhost = it.vhost();
            format!(
                "Setting runtime parameter \"{name}\" for component \"{component}\" to \"{value}\" in vhost \"{vhost}\" ..."
            )
        },
        operands: (3, 3),
        ..Spec::of(
            "set_parameter",
            Parameters,
            "[--vhost <vhost>] <component_name> <name> <value>",
            "Sets a parameter.",
            set_parameter,
        )
    },
    Spec {
        banner: |it, _| {
            let (component, name, vhost) = (it.operand(0), it.operand(1), it.vhost());
            format!(
                "Clearing runtime parameter \"{name}\" for component \"{component}\" on vhost \"{vhost}\" ..."
            )
        },
        operands: (2, 2),
        ..Spec::of(
            "clear_parameter",
            Parameters,
            "[--vhost <vhost>] <component_name> <name>",
            "Takes a parameter away.",
            |it| clear(it, &parameter_path(it.line)),
        )
    },
    Spec {
        banner: |it, _| format!("Listing runtime parameters for vhost \"{}\" ...", it.vhost()),
        options: &[flag("no-table-headers")],
        ..Spec::of(
            "list_parameters",
            Parameters,
            "[--vhost <vhost>] [--no-table-headers] [--timeout <timeout>]",
            "Lists parameters.",
            list_parameters,
        )
    },
    Spec {
        banner: |it, _| {
            format!(
                "Setting global runtime parameter \"{}\" to \"{}\" ...",
                it.operand(0),
                it.operand(1)
            )
        },
        operands: (2, 2),
        ..Spec::of(
            "set_global_parameter",
            Parameters,
            "<name> <value>",
            "Sets a parameter of no virtual host.",
            set_global_parameter,
        )
    },
    Spec {
        banner: |it, _| format!("Clearing global runtime parameter \"{}\" ...", it.operand(0)),
        operands: (1, 1),
        ..Spec::of(
            "clear_global_parameter",
            Parameters,
            "<name>",
            "Takes such a parameter away.",
            |it| clear(it, &format!("/api/global-parameters/{}", part(it.line.operand(0)))),
        )
    },
    Spec {
        banner: |_, _| "Listing global runtime parameters ...".to_owned(),
        options: &[flag("no-table-headers")],
        ..Spec::of(
            "list_global_parameters",
            Parameters,
            "[--no-table-headers] [--timeout <timeout>]",
            "Lists such parameters.",
            list_global_parameters,
        )
    },
];

/// A policy as the line has it.
fn described(line: &Line) -> String {
    let (name, pattern, definition) = (line.operand(0), line.operand(1), line.operand(2));
    let (priority, vhost) = (line.value("priority").unwrap_or("0"), line.vhost());
    format!(
        "\"{name}\" for pattern \"{pattern}\" to \"{definition}\" with priority \"{priority}\" for vhost \"{vhost}\" ..."
    )
}

fn policy_path(line: &Line, kind: &str) -> String {
    format!("/api/{kind}/{}/{}", part(line.vhost()), part(line.operand(0)))
}

fn priority(line: &Line) -> Result<i64, Failure> {
    let Some(text) = line.value("priority") else { return Ok(0) };
    text.parse().map_err(|_| {
        Failure::usage(format!("Invalid options for this command:\n--priority : {text}"))
    })
}

/// A value of JSON in a line.
pub(super) fn json(text: &str) -> Result<Value, Failure> {
    serde_json::from_str(text)
        .map_err(|_| Failure::new(code::UNAVAILABLE, "JSON decoding error. Reason: badarg"))
}

/// What is not taken is told as RabbitMQ does.
fn validated(it: &Context<'_, '_>, path: &str, body: &Value) -> Outcome {
    let answer = it.ask(&Method::PUT, path, Some(body))?;
    if answer.status.is_success() {
        return Ok(Printed::Nothing);
    }
    let reason = reason(&answer);
    let reason =
        reason.trim().strip_prefix("Validation failed").unwrap_or(&reason).trim().to_owned();
    Err(Failure::new(code::UNAVAILABLE, format!("Validation failed\n\n{reason}\n")))
}

fn set_policy(it: &mut Context<'_, '_>, kind: &str) -> Outcome {
    let line = it.line;
    let priority = priority(line)?;
    it.needs_vhost(line.vhost())?;
    let body = json!({
        "pattern": line.operand(1),
        "definition": json(line.operand(2))?,
        "priority": priority,
        "apply-to": line.value("apply-to").unwrap_or("all"),
    });
    validated(it, &policy_path(line, kind), &body)
}

/// Deletes what is at a path.
fn clear(it: &Context<'_, '_>, path: &str) -> Outcome {
    let answer = it.ask(&Method::DELETE, path, None)?;
    match answer.status {
        status if status.is_success() => Ok(Printed::Nothing),
        StatusCode::NOT_FOUND => Err(Failure::new(code::UNAVAILABLE, "Parameter does not exist")),
        _ => Err(Failure::new(code::UNAVAILABLE, reason(&answer))),
    }
}

fn list_policies(it: &mut Context<'_, '_>, kind: &str) -> Outcome {
    let vhost = it.line.vhost();
    it.needs_vhost(vhost)?;
    let row = |policy: &Value| {
        let of = |key: &str| Cell::Plain(policy[key].clone());
        let definition = Cell::Json(policy["definition"].clone());
        vec![of("vhost"), of("name"), of("pattern"), of("apply-to"), definition, of("priority")]
    };
    let rows = it.rows(&format!("/api/{kind}/{}", part(vhost)))?.iter().map(row).collect();
    let columns = ["vhost", "name", "pattern", "apply-to", "definition", "priority"];
    Ok(table(&columns, rows))
}

fn table(columns: &[&str], rows: Vec<Vec<Cell>>) -> Printed {
    let columns = columns.iter().map(|&column| column.to_owned()).collect();
    Printed::Table(Table { columns, rows, is_made_at_once: true, is_bare: false })
}

fn parameter_path(line: &Line) -> String {
    let (component, name) = (part(line.operand(0)), part(line.operand(1)));
    format!("/api/parameters/{component}/{}/{name}", part(line.vhost()))
}

fn set_parameter(it: &mut Context<'_, '_>) -> Outcome {
    let line = it.line;
    it.needs_vhost(line.vhost())?;
    let (component, vhost, name) = (line.operand(0), line.vhost(), line.operand(1));
    let value = json(line.operand(2))?;
    let body = json!({ "component": component, "vhost": vhost, "name": name, "value": value });
    validated(it, &parameter_path(line), &body)
}

fn list_parameters(it: &mut Context<'_, '_>) -> Outcome {
    let vhost = it.line.vhost();
    it.needs_vhost(vhost)?;
    let all = it.rows("/api/parameters")?;
    let of_vhost = all.iter().filter(|parameter| parameter["vhost"] == vhost);
    let row = |parameter: &Value| {
        let of = |key: &str| Cell::Plain(parameter[key].clone());
        vec![of("component"), of("name"), Cell::Json(parameter["value"].clone())]
    };
    Ok(table(&["component", "name", "value"], of_vhost.map(row).collect()))
}

fn set_global_parameter(it: &mut Context<'_, '_>) -> Outcome {
    let (name, value) = (it.line.operand(0), json(it.line.operand(1))?);
    let body = json!({ "name": name, "value": value });
    validated(it, &format!("/api/global-parameters/{}", part(name)), &body)
}

fn list_global_parameters(it: &mut Context<'_, '_>) -> Outcome {
    let row = |parameter: &Value| {
        vec![Cell::Plain(parameter["name"].clone()), Cell::Json(parameter["value"].clone())]
    };
    let rows = it.rows("/api/global-parameters")?.iter().map(row).collect();
    Ok(table(&["name", "value"], rows))
}
