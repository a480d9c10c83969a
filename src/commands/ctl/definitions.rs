//! Definitions, into a file and from one.

use std::fs;
use std::path::Path;

use hyper::Method;
use serde_json::Value;

use super::context::{Context, part, reason};
use super::line::{Line, valued};
use super::outcome::{Failure, Outcome, code};
use super::print::Printed;
use super::spec::{Group, Spec};

use Group::Definitions;

/// The largest definitions that are read from standard input, in bytes.
const MOST_BYTES: u64 = 256 << 20;

pub(super) const SPECS: &[Spec] = &[
    Spec {
        banner: |it, _| match it.operand(0) {
            "-" => String::new(),
            file => format!("Exporting definitions in JSON to a file at \"{file}\" ..."),
        },
        operands: (1, 1),
        check: |it| {
            needs_json(it)?;
            let directory =
                Path::new(it.operand(0)).parent().filter(|it| !it.as_os_str().is_empty());
            needs(directory, "Directory")
        },
        options: &[valued("format")],
        ..Spec::of(
            "export_definitions",
            Definitions,
            "<file_path | \"-\"> [--format <json | erlang>] [--timeout <timeout>]",
            "Writes all definitions to a file.",
            export,
        )
    },
    Spec {
        banner: |it, _| match it.operand(0) {
            "" | "-" => "Importing definitions in JSON from standard input ...".to_owned(),
            file => format!("Importing definitions in JSON from a file at \"{file}\" ..."),
        },
        operands: (0, 1),
        check: |it| {
            needs_json(it)?;
            needs(
                Some(Path::new(it.operand(0))).filter(|it| !["", "-"].map(Path::new).contains(it)),
                "File",
            )
        },
        options: &[valued("format")],
        ..Spec::of(
            "import_definitions",
            Definitions,
            "<file_path | \"-\"> [--format <json | erlang>] [--timeout <timeout>]",
            "Makes what definitions in a file name.",
            import,
        )
    },
];

/// There must be such a file or directory, if one is named.
fn needs(path: Option<&Path>, kind: &str) -> Result<(), Failure> {
    match path.filter(|path| !path.exists()) {
        None => Ok(()),
        Some(path) => {
            let text = format!("Bad argument: {kind} {} does not exist", path.display());
            Err(Failure { code: code::DATA, ..Failure::usage(text) })
        }
    }
}

fn needs_json(line: &Line) -> Result<(), Failure> {
    match line.value("format") {
        None | Some("json" | "JSON") => Ok(()),
        Some(other) => Err(Failure::usage(format!(
            "Formatter should be either json or erlang, and leveret has json alone: {other}"
        ))),
    }
}

fn export(it: &mut Context<'_, '_>) -> Outcome {
    let path = it.line.operand(0);
    let definitions = it.change(&Method::GET, "/api/definitions", None)?.body;
    if path == "-" {
        let text = String::from_utf8_lossy(&definitions).into_owned();
        return Ok(Printed::Text(format!("{text}\n"), None));
    }
    let failed = |error: std::io::Error| Failure::new(code::IO, format!("{path}: {error}"));
    fs::write(path, &definitions).map_err(failed)?;
    Ok(Printed::Nothing)
}

fn import(it: &mut Context<'_, '_>) -> Outcome {
    let path = it.line.operand(0).to_owned();
    let failed = |error: std::io::Error| Failure::new(code::DATA, format!("{path}: {error}"));
    let bytes = match path.as_str() {
        "" | "-" => it.console.read_to_end(MOST_BYTES).map_err(failed)?,
        path => fs::read(path).map_err(failed)?,
    };
    let body: Value = serde_json::from_slice(&bytes).map_err(|error| {
        Failure::new(
            code::DATA,
            format!("Failed to deserialise input (format: JSON) (error: {error})"),
        )
    })?;
    let vhost = it.line.value("vhost").map(|vhost| format!("/{}", part(vhost)));
    let path = format!("/api/definitions{}", vhost.unwrap_or_default());
    let answer = it.ask(&Method::POST, &path, Some(&body))?;
    match answer.status.is_success() {
        true if it.line.is_quiet() => Ok(Printed::Nothing),
        // rabbitmq: these words, which scripts know; here all of it is there now.
        true => Ok(Printed::line(
            "Successfully started definition import. This process is asynchronous and can take some time.",
        )),
        false => Err(Failure::new(code::DATA, reason(&answer))),
    }
}
