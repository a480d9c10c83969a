//! `rabbitmq-plugins`: which of RabbitMQ's plugins are enabled, now and at the next start.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use hyper::Method;
use regex::Regex;
use serde_json::{Value, json};

use super::context::Context;
use super::line::{Line, OptionSpec, flag, lettered};
use super::outcome::{Failure, Outcome, code};
use super::print::Printed;
use super::spec::{Group, Spec};
use crate::broker::handshake::VERSION;
use crate::commands::Program;
use crate::rabbit;

const PLUGINS: &[Program] = &[Program::Plugins];
const LINES: &[OptionSpec] = &[flag("offline"), flag("online"), flag("all")];

pub(super) const SPECS: &[Spec] = &[
    Spec {
        programs: PLUGINS,
        operands: (0, 1),
        banner: |it, _| {
            let pattern = if it.operand(0).is_empty() { ".*" } else { it.operand(0) };
            format!("Listing plugins with pattern \"{pattern}\" ...")
        },
        check: |it| pattern(it).map(drop),
        options: &[
            lettered(flag("enabled"), 'E'),
            lettered(flag("implicitly-enabled"), 'e'),
            lettered(flag("minimal"), 'm'),
            lettered(flag("verbose"), 'v'),
            flag("offline"),
            flag("online"),
        ],
        ..Spec::of(
            "list",
            Group::Plugins,
            "[pattern] [--verbose] [--minimal] [--enabled] [--implicitly-enabled]",
            "Lists plugins.",
            list,
        )
    },
    Spec {
        programs: PLUGINS,
        operands: (1, usize::MAX),
        banner: |it, node| match it.rest() {
            [plugin] => format!("Asking node {node} if plugin {plugin} is enabled..."),
            plugins => {
                format!("Asking node {node} if plugins {} are enabled...", plugins.join(", "))
            }
        },
        options: LINES,
        ..Spec::of(
            "is_enabled",
            Group::Plugins,
            "<plugin1> [ <plugin2>] [--offline] [--online]",
            "Fails unless plugins are enabled.",
            is_enabled,
        )
    },
    Spec {
        programs: PLUGINS,
        operands: (0, usize::MAX),
        check: |it| needs_plugin(it),
        banner: |it, node| format!("Enabling plugins on node {node}:\n{}", it.rest().join("\n")),
        options: LINES,
        ..Spec::of(
            "enable",
            Group::Plugins,
            "<plugin1> [ <plugin2>] | --all [--offline] [--online]",
            "Enables plugins.",
            |it| change(it, Change::Enable),
        )
    },
    Spec {
        programs: PLUGINS,
        operands: (0, usize::MAX),
        check: |it| needs_plugin(it),
        banner: |it, node| format!("Disabling plugins on node {node}:\n{}", it.rest().join("\n")),
        options: LINES,
        ..Spec::of(
            "disable",
            Group::Plugins,
            "<plugin1> [ <plugin2>] | --all [--offline] [--online]",
            "Disables plugins.",
            |it| change(it, Change::Disable),
        )
    },
    Spec {
        programs: PLUGINS,
        operands: (0, usize::MAX),
        banner: |it, node| format!("Enabling plugins on node {node}:\n{}", it.rest().join("\n")),
        options: LINES,
        ..Spec::of(
            "set",
            Group::Plugins,
            "<plugin1> [ <plugin2>] [--offline] [--online]",
            "Enables plugins and disables all others.",
            |it| change(it, Change::Set),
        )
    },
    Spec {
        programs: PLUGINS,
        banner: |_, node| format!("Listing plugin directories used by node {node}"),
        options: &[flag("offline"), flag("online")],
        ..Spec::of(
            "directories",
            Group::Monitoring,
            "[--offline] [--online]",
            "Says where the file is that names the enabled plugins.",
            directories,
        )
    },
];

/// What is done to the set of enabled plugins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Enable,
    Disable,
    Set,
}

fn needs_plugin(line: &Line) -> Result<(), Failure> {
    match line.rest().is_empty() && !line.has("all") {
        true => Err(Failure::usage("not enough arguments.")),
        false => Ok(()),
    }
}

fn pattern(line: &Line) -> Result<Regex, Failure> {
    let pattern = if line.operand(0).is_empty() { ".*" } else { line.operand(0) };
    Regex::new(pattern).map_err(|_| Failure::usage(format!("{pattern} is no pattern")))
}

/// The plugins: those that are asked for, those that they bring, those that run.
struct Plugins {
    file: Option<PathBuf>,
    explicit: BTreeSet<String>,
    /// What the node says, if it is there.
    running: Option<BTreeSet<String>>,
}

impl Plugins {
    fn find(it: &Context<'_, '_>) -> Result<Plugins, Failure> {
        let status = match it.line.has("offline") {
            true => None,
            false => it.get("/leveret/ctl/status").ok(),
        };
        if status.is_none() && it.line.has("online") {
            it.get("/leveret/ctl/status")?;
        }
        let names = |value: &Value| -> BTreeSet<String> {
            let names = value.as_array().into_iter().flatten();
            names.filter_map(|name| name.as_str().map(str::to_owned)).collect()
        };
        let running = status.as_ref().map(|status| names(&status["plugins"]));
        let file = match &status {
            Some(status) => status["enabled_plugins_file"].as_str().map(PathBuf::from),
            None => Some(rabbit::enabled_plugins_file(&it.console.environment)),
        };
        let explicit = match file.as_ref().map(|file| (file, fs::read_to_string(file))) {
            Some((file, Ok(text))) => {
                let names = rabbit::parse_plugins(&text, file);
                let names = names.map_err(|error| Failure::new(code::DATA, error.to_string()))?;
                names.into_iter().collect()
            }
            // why: without a file those that run are those that were asked for, and what they bring.
            Some((_, Err(_))) | None => running.clone().unwrap_or_default(),
        };
        Ok(Plugins { file, explicit, running })
    }

    fn with_needs(&self) -> BTreeSet<String> {
        let explicit: Vec<String> = self.explicit.iter().cloned().collect();
        rabbit::plugins_with_needs(&explicit).into_iter().collect()
    }
}

fn list(it: &mut Context<'_, '_>) -> Outcome {
    let plugins = Plugins::find(it)?;
    let (pattern, enabled) = (pattern(it.line)?, plugins.with_needs());
    let running = plugins.running.clone().unwrap_or_default();
    let is_shown = |name: &&str| {
        let is_explicit = plugins.explicit.contains(*name);
        let is_wanted = match (it.line.has("enabled"), it.line.has("implicitly-enabled")) {
            (true, _) => is_explicit,
            (false, true) => enabled.contains(*name),
            (false, false) => true,
        };
        is_wanted && pattern.is_match(name)
    };
    let shown: Vec<&str> = rabbit::plugin_names().filter(is_shown).collect();
    let objects: Vec<Value> = shown
        .iter()
        .map(|name| {
            let state = match (plugins.explicit.contains(*name), enabled.contains(*name)) {
                (true, _) => "enabled",
                (false, true) => "implicit",
                (false, false) => "not_enabled",
            };
            let runs = running.contains(*name);
            json!({ "name": name, "enabled": state, "running": runs, "version": VERSION })
        })
        .collect();
    let status = if plugins.running.is_some() { "running" } else { "node_down" };
    let object = json!({ "format": "normal", "plugins": objects, "status": status });
    if it.line.has("minimal") {
        let lines: String = shown.iter().map(|name| format!("{name}\n")).collect();
        return Ok(Printed::Text(lines, Some(object)));
    }
    let mut text = String::new();
    if !it.line.has("silent") {
        let node = &it.node;
        let status = match plugins.running.is_some() {
            true => format!(" | Status: * = running on {node}"),
            false => format!(" | Status: [failed to contact {node} - status not shown]"),
        };
        text.push_str(&format!(
            " Configured: E = explicitly enabled; e = implicitly enabled\n{status}\n |/\n"
        ));
    }
    let width = shown.iter().map(|name| name.len()).max().unwrap_or_default();
    for name in shown {
        let how = match (plugins.explicit.contains(name), enabled.contains(name)) {
            (true, _) => 'E',
            (false, true) => 'e',
            (false, false) => ' ',
        };
        let runs = if running.contains(name) { '*' } else { ' ' };
        text.push_str(&format!("[{how}{runs}] {name:width$} {VERSION}\n"));
    }
    Ok(Printed::Text(text, Some(object)))
}

fn is_enabled(it: &mut Context<'_, '_>) -> Outcome {
    let plugins = Plugins::find(it)?;
    let enabled = plugins.running.clone().unwrap_or_else(|| plugins.with_needs());
    let missing = it.line.rest().iter().find(|plugin| !enabled.contains(*plugin));
    let (node, named) = (it.node.clone(), it.line.rest().join(", "));
    match missing {
        None => {
            let (word, verb) =
                if it.line.rest().len() == 1 { ("Plugin", "is") } else { ("Plugins", "are") };
            Ok(Printed::line(format!("{word} {named} {verb} enabled on node {node}")))
        }
        Some(plugin) => {
            let all = enabled.into_iter().collect::<Vec<_>>().join(", ");
            let text = format!(
                "Plugin {plugin} is not enabled on node {node}. Enabled plugins and dependencies: {all}"
            );
            Err(Failure::new(code::UNAVAILABLE, text))
        }
    }
}

fn change(it: &mut Context<'_, '_>, change: Change) -> Outcome {
    let mut plugins = Plugins::find(it)?;
    let named: Vec<String> = match it.line.has("all") {
        true => rabbit::plugin_names().map(str::to_owned).collect(),
        false => it.line.rest().to_vec(),
    };
    let unknown: Vec<String> = named
        .iter()
        .filter(|name| !rabbit::plugin_names().any(|known| known == *name))
        .map(|name| format!(":{name}"))
        .collect();
    // rabbitmq: what there is not is disabled already.
    if !unknown.is_empty() && change != Change::Disable {
        let text = format!("{{:plugins_not_found, [{}]}}", unknown.join(", "));
        return Err(Failure::new(code::SOFTWARE, text));
    }
    let before = match &plugins.running {
        Some(running) => running.clone(),
        None => plugins.with_needs(),
    };
    match change {
        Change::Enable => plugins.explicit.extend(named.iter().cloned()),
        Change::Disable => plugins.explicit.retain(|name| !named.contains(name)),
        Change::Set => plugins.explicit = named.iter().cloned().collect(),
    }
    let after = plugins.with_needs();
    keep(it, &plugins)?;
    if plugins.running.is_some() {
        let names: Vec<&String> = after.iter().collect();
        it.change(&Method::PUT, "/leveret/ctl/plugins", Some(&json!({ "plugins": names })))?;
    }
    for line in rabbit::plugins_not_served(&named).filter(|_| change != Change::Disable) {
        it.console.complain(format!("warning: {line}\n"));
    }
    Ok(Printed::Text(described(it, &plugins, &before, &after), None))
}

/// Writes the file for the next start.
fn keep(it: &Context<'_, '_>, plugins: &Plugins) -> Result<(), Failure> {
    let Some(file) = &plugins.file else { return Ok(()) };
    let names: Vec<&str> = plugins.explicit.iter().map(String::as_str).collect();
    let failed = |error: std::io::Error| {
        let text = format!("cannot write {}: {error}", file.display());
        Failure::new(code::IO, text)
    };
    // why: a node that is told of its plugins by a variable may have no directory for the file.
    let is_optional = plugins.running.is_some() && !it.line.has("online");
    match fs::write(file, format!("[{}].\n", names.join(","))) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && is_optional => Ok(()),
        result => result.map_err(failed),
    }
}

/// What was done, in RabbitMQ's lines.
fn described(
    it: &Context<'_, '_>,
    plugins: &Plugins,
    before: &BTreeSet<String>,
    after: &BTreeSet<String>,
) -> String {
    let indented = |names: &mut dyn Iterator<Item = &String>| -> String {
        names.map(|name| format!("  {name}\n")).collect()
    };
    let mut text = match after.is_empty() {
        true => "All plugins have been disabled.\n".to_owned(),
        false => {
            format!("The following plugins have been configured:\n{}", indented(&mut after.iter()))
        }
    };
    text.push_str(&format!("Applying plugin configuration to {}...\n", it.node));
    let enabled: Vec<&String> = after.difference(before).collect();
    let disabled: Vec<&String> = before.difference(after).collect();
    if enabled.is_empty() && disabled.is_empty() {
        return text + "Plugin configuration unchanged.\n";
    }
    for (names, word) in [(&enabled, "enabled"), (&disabled, "disabled")] {
        if !names.is_empty() {
            let names = indented(&mut names.iter().copied());
            text.push_str(&format!("The following plugins have been {word}:\n{names}\n"));
        }
    }
    if plugins.running.is_none() {
        let count = after.len();
        return text
            + &format!(
                "set {count} plugins.\nOffline change; changes will take effect at broker restart.\n"
            );
    }
    text + &match (enabled.len(), disabled.len()) {
        (started, 0) => format!("started {started} plugins.\n"),
        (0, stopped) => format!("stopped {stopped} plugins.\n"),
        (started, stopped) => format!("started {started} plugins and stopped {stopped} plugins.\n"),
    }
}

fn directories(it: &mut Context<'_, '_>) -> Outcome {
    let plugins = Plugins::find(it)?;
    let file = plugins.file.map_or_else(|| "none".to_owned(), |file| file.display().to_string());
    let lines = [
        "Plugin archives directory: none, all of leveret is one program".to_owned(),
        "Plugin expansion directory: none".to_owned(),
        format!("Enabled plugins file: {file}"),
    ];
    Ok(Printed::line(lines.join("\n")))
}
