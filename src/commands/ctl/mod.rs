//! `rabbitmqctl` and its siblings: commands for a broker of this machine.
//!
//! ```text
//!  words ─► Line ─► Spec: check ─► banner ─► run: requests to the node (Context) ─► Printed ─► text, JSON, CSV
//! ```
//!
//! A new command is a row of `SPECS` in the file of its subject, and the function that it names.

mod context;
mod definitions;
mod eval;
mod health;
mod line;
mod lists;
mod node;
mod outcome;
mod pids;
mod plugins;
mod policies;
mod print;
mod queues;
mod spec;
mod status;
mod users;
mod vhosts;

use std::ffi::OsString;

use self::context::Context;
use self::line::{Line, OptionSpec};
use self::outcome::{Failure, code};
use self::print::{Formatter, Printed};
use self::spec::Spec;
use super::{Console, Program};
use crate::broker::handshake::VERSION;

/// Runs a command. Returns the code that the process is to end with.
pub(super) fn run(program: Program, arguments: &[OsString], console: &mut Console<'_>) -> u8 {
    // why: what an option is depends on the command, which may stand behind it.
    let all: Vec<OptionSpec> = spec::of(program).flat_map(|spec| spec.options).copied().collect();
    let line = Line::read(arguments, &all);
    if line.has("version") && line.command().is_none() {
        console.print(format!("{VERSION}\n"));
        return 0;
    }
    match line.command() {
        None if line.has("help") => say_help(program, None, console),
        None => {
            console.complain(spec::help(program));
            code::USAGE
        }
        Some("help") => say_help(program, line.rest().first().map(String::as_str), console),
        Some(name) if line.has("help") => say_help(program, Some(name), console),
        Some("autocomplete") => {
            let begun = line.operand(0).to_owned();
            let mut names: Vec<&str> = spec::of(program)
                .map(|spec| spec.name)
                .filter(|it| it.starts_with(&begun))
                .collect();
            names.sort_unstable();
            names.iter().for_each(|name| console.print(format!("{name}\n")));
            0
        }
        Some(name) => match spec::find(program, name) {
            Some(spec) => run_command(program, spec, arguments, console),
            None => {
                console.complain(unknown(program, name));
                code::USAGE
            }
        },
    }
}

fn say_help(program: Program, command: Option<&str>, console: &mut Console<'_>) -> u8 {
    match command.map(|name| (name, spec::find(program, name))) {
        None => {
            console.print(spec::help(program));
            0
        }
        Some((_, Some(spec))) => {
            console.print(format!("{}\n{}\n", spec::usage(program, spec), spec.about));
            0
        }
        Some((name, None)) => {
            console.complain(unknown(program, name));
            code::USAGE
        }
    }
}

/// rabbitmq: these words, with the command that may have been meant or all that there are.
fn unknown(program: Program, name: &str) -> String {
    let said = format!("\nCommand '{name}' not found. \n");
    match spec::nearest(program, name) {
        Some(meant) => format!("{said}Did you mean '{meant}'? \n\n"),
        None => said + &spec::help(program),
    }
}

fn run_command(
    program: Program,
    spec: &'static Spec,
    arguments: &[OsString],
    console: &mut Console<'_>,
) -> u8 {
    let line = Line::read(arguments, spec.options);
    match execute(spec, &line, console) {
        Ok(text) => {
            console.print(text);
            0
        }
        Err(failure) => {
            console.complain(&failure.text);
            if failure.with_usage {
                let typed = line.words.join(" ");
                let usage = spec::usage(program, spec);
                console.complain(format!("Arguments given:\n\t{typed}\n{usage}"));
            }
            failure.code
        }
    }
}

/// Does it, and returns what there is to print.
fn execute(spec: &Spec, line: &Line, console: &mut Console<'_>) -> Result<String, Failure> {
    let formatter = checked(spec, line)?;
    let mut context = Context::new(line, console);
    let banner = (spec.banner)(line, &context.node);
    if !banner.is_empty() && !line.is_quiet() && !formatter.is_for_programs() {
        context.console.print(format!("{banner}\n"));
    }
    let printed = (spec.run)(&mut context)?;
    let node = context.node.clone();
    Ok(match (printed, formatter) {
        (Printed::Nothing, Formatter::Json) => {
            format!("{}\n", serde_json::json!({ "node": node, "result": "ok" }))
        }
        (printed, formatter) => print::write(printed, line, formatter),
    })
}

/// Looks at the line before anything is done.
fn checked(spec: &Spec, line: &Line) -> Result<Formatter, Failure> {
    let mut invalid = line.invalid.clone();
    let is_number =
        |text: &str| text == "infinity" || text.parse::<f64>().is_ok_and(|it| it >= 0.0);
    if let Some(timeout) = line.value("timeout").filter(|text| !is_number(text)) {
        let option =
            line.words.iter().find(|word| word.starts_with("-t") || word.starts_with("--timeout"));
        let option = option.and_then(|word| word.split('=').next()).unwrap_or("--timeout");
        invalid.push(format!("{option} : {timeout}"));
    }
    if !invalid.is_empty() {
        let invalid = invalid.join("\n");
        return Err(Failure::usage(format!("Invalid options for this command:\n{invalid}")));
    }
    let (least, most) = spec.operands;
    if line.rest().len() < least {
        return Err(Failure::usage("not enough arguments."));
    }
    if line.rest().len() > most {
        return Err(Failure::usage("too many arguments."));
    }
    (spec.check)(line)?;
    let formatter = line.value("formatter").unwrap_or_default();
    Formatter::of(line).ok_or_else(|| {
        let known = "table, pretty_table, json, csv and erlang";
        Failure::usage(format!("formatter {formatter} is not there: {known} are"))
    })
}
