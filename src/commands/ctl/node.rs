//! A node as a whole: how it is, its start and its end, its limits.

use std::path::Path;
use std::time::Duration;

use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use super::context::{Context, part, reason};
use super::line::{Line, flag, lettered, valued};
use super::outcome::{Failure, Outcome, code};
use super::print::{Cell, Printed, Table};
use super::spec::{Group, Spec};
use super::status;
use crate::broker::handshake::VERSION;
use crate::clock::{Clock, SystemClock};
use crate::commands::Program;
use crate::memory;

use Group::{Cluster, Configuration, Monitoring, Nodes};

pub(super) const BOTH: &[Program] = &[Program::Ctl, Program::Diagnostics];

/// How often a node is looked for that is awaited.
const LOOK: Duration = Duration::from_millis(50);

/// All programs of this kind.
const ALL: &[Program] = &[
    Program::Ctl,
    Program::Diagnostics,
    Program::Plugins,
    Program::Queues,
    Program::Streams,
    Program::Upgrade,
];

/// What is answered before a command is looked for; here for the list of all.
pub(super) const HELP: &[Spec] = &[
    Spec {
        programs: ALL,
        ..Spec::of(
            "help",
            Group::Help,
            "(<command> | [--list-commands])",
            "Says how a command is used.",
            reachable,
        )
    },
    Spec {
        programs: ALL,
        ..Spec::of(
            "autocomplete",
            Group::Help,
            "[prefix] [--timeout <timeout>]",
            "Lists commands that begin so.",
            reachable,
        )
    },
];

pub(super) const SPECS: &[Spec] = &[
    Spec {
        programs: BOTH,
        banner: |it, node| {
            let timeout =
                it.value("timeout").and_then(|text| text.parse::<f64>().ok()).unwrap_or(60.0);
            let ms = (timeout * 1000.0) as u64;
            format!(
                "Will ping {node}. This only checks if the OS process is running and registered with epmd. Timeout: {ms} ms."
            )
        },
        ..Spec::of(
            "ping",
            Monitoring,
            "[--timeout <timeout>]",
            "Asks whether a node is there.",
            ping,
        )
    },
    Spec {
        programs: BOTH,
        banner: |_, node| format!("Status of node {node} ..."),
        options: &[valued("unit")],
        ..Spec::of(
            "status",
            Monitoring,
            "[--unit <unit>] [--timeout <timeout>]",
            "Says how a node is.",
            status::status,
        )
    },
    Spec {
        programs: BOTH,
        banner: |_, node| format!("Cluster status of node {node} ..."),
        ..Spec::of(
            "cluster_status",
            Cluster,
            "[--timeout <timeout>]",
            "Says how the cluster is, which is this node.",
            status::cluster_status,
        )
    },
    Spec {
        programs: &[Program::Diagnostics],
        banner: |_, node| format!("Asking node {node} to report its protocol listeners ..."),
        ..Spec::of(
            "listeners",
            Monitoring,
            "[--timeout <timeout>]",
            "Lists where it listens.",
            status::listeners,
        )
    },
    Spec {
        programs: &[Program::Diagnostics],
        banner: |_, node| format!("Reporting memory breakdown on node {node}..."),
        options: &[valued("unit")],
        ..Spec::of(
            "memory_breakdown",
            Monitoring,
            "[--unit <unit>] [--timeout <timeout>]",
            "Says what takes memory.",
            status::memory_breakdown,
        )
    },
    Spec {
        programs: &[Program::Diagnostics],
        banner: |_, node| format!("Asking node {node} for its RabbitMQ version..."),
        ..Spec::of(
            "server_version",
            Monitoring,
            "[--timeout <timeout>]",
            "Prints the version of RabbitMQ that the node stands in for.",
            |it| {
                let status = it.get("/leveret/ctl/status")?;
                Ok(Printed::line(status["version"].as_str().unwrap_or_default()))
            },
        )
    },
    Spec {
        programs: &[Program::Diagnostics],
        banner: |_, node| format!("Asking node {node} for its Erlang/OTP version..."),
        ..Spec::of(
            "erlang_version",
            Monitoring,
            "[--timeout <timeout>]",
            "Prints a version of Erlang, which leveret does not use.",
            |it| {
                it.get("/leveret/ctl/status")?;
                Ok(Printed::line("Erlang/OTP 27"))
            },
        )
    },
    Spec {
        programs: BOTH,
        options: &[],
        ..Spec::of(
            "version",
            Group::Help,
            "",
            "Prints the version of RabbitMQ that this stands in for.",
            |_| Ok(Printed::line(VERSION)),
        )
    },
    Spec {
        programs: &[Program::Ctl, Program::Diagnostics, Program::Upgrade],
        ..Spec::of("await_startup", Nodes, "", "Waits until clients are let in.", await_startup)
    },
    Spec {
        banner: |it, node| {
            let (count, timeout) = (it.operand(0), it.value("timeout").unwrap_or("300"));
            format!(
                "Will wait for at least {count} nodes to join the cluster of {node}. Timeout: {timeout} seconds."
            )
        },
        operands: (1, 1),
        check: |it| match it.operand(0).parse::<u64>() {
            Ok(1..) => Ok(()),
            _ => Err(Failure {
                code: code::DATA,
                ..Failure::usage("Bad argument: a number of nodes is expected")
            }),
        },
        ..Spec::of(
            "await_online_nodes",
            Cluster,
            "<count> [--timeout <timeout>]",
            "Waits for nodes of a cluster, of which there is one.",
            await_nodes,
        )
    },
    Spec {
        programs: BOTH,
        operands: (0, 1),
        options: &[lettered(valued("pid"), 'P')],
        check: |it| match (it.rest().is_empty(), it.value("pid")) {
            (true, None) => Err(Failure::usage("No pid or pidfile specified")),
            (false, Some(_)) => Err(Failure::usage("Cannot specify both pid and pidfile")),
            (true, Some(pid)) if pid.parse::<u64>().is_err() => {
                Err(Failure::usage("Bad argument: a process id is expected"))
            }
            _ => Ok(()),
        },
        ..Spec::of(
            "wait",
            Nodes,
            "[<pidfile>] [--pid|-P <pid>] [--timeout <timeout>]",
            "Waits for a node with this process id, or the one in a file.",
            wait,
        )
    },
    Spec {
        banner: |_, node| format!("Stopping and halting node {node} ..."),
        operands: (0, 1),
        options: &[flag("idempotent")],
        ..Spec::of("stop", Nodes, "[--idempotent] [<pidfile>]", "Ends a node, in order.", stop)
    },
    Spec {
        banner: |_, node| format!("Shutting down RabbitMQ node {node} ..."),
        options: &[flag("wait"), flag("no-wait")],
        ..Spec::of(
            "shutdown",
            Nodes,
            "[--wait] [--timeout <timeout>]",
            "Ends a node, and waits until it has ended.",
            shutdown,
        )
    },
    Spec {
        banner: |_, node| format!("Stopping rabbit application on node {node} ..."),
        ..Spec::of(
            "stop_app",
            Nodes,
            "",
            "Lets no client in, and sends those away that are in.",
            |it| operation(it, "stop_app"),
        )
    },
    Spec {
        banner: |_, node| format!("Starting node {node} ..."),
        ..Spec::of("start_app", Nodes, "", "Lets clients in again.", |it| {
            operation(it, "start_app")
        })
    },
    Spec {
        banner: |_, node| format!("Resetting node {node} ..."),
        ..Spec::of(
            "reset",
            Nodes,
            "",
            "Forgets everything and begins anew; for a node after stop_app.",
            reset,
        )
    },
    Spec {
        banner: |_, node| format!("Forcefully resetting node {node} ..."),
        ..Spec::of("force_reset", Cluster, "", "The same.", reset)
    },
    Spec {
        ..Spec::of("rotate_logs", Nodes, "", "Does nothing, as in RabbitMQ.", |_| {
            Err(Failure::new(
                code::UNAVAILABLE,
                "This command does not rotate logs anymore [deprecated]",
            ))
        })
    },
];

/// What is set in a running node, and what only a cluster has.
pub(super) const OTHERS: &[Spec] = &[
    Spec {
        banner: |it, node| match it.operand(0) {
            "absolute" => {
                format!("Setting memory threshold on {node} to {} bytes ...", it.operand(1))
            }
            share => format!("Setting memory threshold on {node} to {share} ..."),
        },
        operands: (1, 2),
        check: |it| memory_limit(it).map(drop),
        ..Spec::of(
            "set_vm_memory_high_watermark",
            Configuration,
            "<fraction> | absolute <value>",
            "Sets how much memory messages may take before publishers are blocked.",
            |it| {
                let bytes = memory_limit(it.line)?;
                it.change(
                    &Method::PUT,
                    "/leveret/ctl/memory-limit",
                    Some(&json!({ "bytes": bytes })),
                )?;
                Ok(Printed::Nothing)
            },
        )
    },
    Spec {
        banner: |it, node| match it.operand(0) {
            "mem_relative" => format!(
                "Setting disk free limit on {node} to {} times the total RAM ...",
                it.operand(1)
            ),
            size => format!("Setting disk free limit on {node} to {size} bytes ..."),
        },
        operands: (1, 2),
        check: |it| disk_limit(it).map(drop),
        ..Spec::of(
            "set_disk_free_limit",
            Configuration,
            "<disk_limit> | mem_relative <fraction>",
            "Sets how little room on the disk blocks publishers.",
            |it| {
                let bytes = disk_limit(it.line)?;
                it.change(
                    &Method::PUT,
                    "/leveret/ctl/disk-free-limit",
                    Some(&json!({ "bytes": bytes })),
                )?;
                Ok(Printed::Nothing)
            },
        )
    },
    Spec {
        banner: |it, _| format!("Setting log level to \"{}\" ...", it.operand(0)),
        operands: (1, 1),
        check: |it| match LEVELS.contains(&it.operand(0)) {
            true => Ok(()),
            false => {
                let (level, levels) = (it.operand(0), LEVELS.join(", "));
                Err(Failure::new(
                    code::UNAVAILABLE,
                    format!("level {level} is not supported. Try one of {levels}"),
                ))
            }
        },
        ..Spec::of(
            "set_log_level",
            Configuration,
            "<log_level>",
            "Sets which lines are logged.",
            set_log_level,
        )
    },
    Spec {
        banner: |it, _| format!("Setting cluster name to {} ...", it.operand(0)),
        operands: (1, 1),
        ..Spec::of("set_cluster_name", Configuration, "<name>", "Names the cluster.", |it| {
            let body = json!({ "name": it.line.operand(0) });
            it.change(&Method::PUT, "/api/cluster-name", Some(&body))?;
            Ok(Printed::Nothing)
        })
    },
    Spec {
        banner: |_, node| format!("Application environment of node {node} ..."),
        programs: BOTH,
        ..Spec::of(
            "environment",
            Configuration,
            "",
            "Prints what of RabbitMQ's settings leveret has.",
            status::environment,
        )
    },
    Spec {
        programs: BOTH,
        banner: |_, node| format!("Reporting server status of node {node} ..."),
        ..Spec::of(
            "report",
            Monitoring,
            "",
            "Prints the status, the settings and all lists.",
            status::report,
        )
    },
    Spec {
        banner: |_, _| "Listing feature flags ...".to_owned(),
        operands: (0, usize::MAX),
        check: |it| super::lists::columns(it, FLAGS, &["name", "state"]).map(drop),
        options: &[flag("no-table-headers")],
        ..Spec::of(
            "list_feature_flags",
            Group::FeatureFlags,
            "[<column> ...] [--timeout <timeout>]",
            "Lists feature flags.",
            list_feature_flags,
        )
    },
    Spec {
        banner: |it, _| match it.operand(0) {
            "all" => "Enabling all feature flags ...".to_owned(),
            flag => format!("Enabling feature flag \"{flag}\" ..."),
        },
        operands: (1, 1),
        ..Spec::of(
            "enable_feature_flag",
            Group::FeatureFlags,
            "<all | feature_flag>",
            "Enables a feature flag; all are.",
            enable_feature_flag,
        )
    },
    Spec {
        banner: |it, node| format!("Clustering node {node} with {}", it.operand(0)),
        operands: (1, 1),
        options: &[flag("disc"), flag("ram")],
        ..Spec::of(
            "join_cluster",
            Cluster,
            "[--disc|--ram] <existing_cluster_member>",
            "Fails: leveret has no clusters.",
            |_| Err(Failure::new(code::UNAVAILABLE, "leveret has no clusters")),
        )
    },
    Spec {
        operands: (1, 1),
        options: &[flag("offline")],
        banner: |it, _| format!("Removing node {} from the cluster", it.operand(0)),
        ..Spec::of(
            "forget_cluster_node",
            Cluster,
            "[--offline] <existing_cluster_member_node>",
            "Fails: leveret has no clusters.",
            |it| {
                let node = it.line.operand(0);
                Err(Failure::new(
                    code::UNAVAILABLE,
                    format!("The node selected is not in the cluster: {node}"),
                ))
            },
        )
    },
    Spec {
        operands: (1, 1),
        banner: |it, _| {
            format!("Synchronising queue '{}' in vhost '{}' ...", it.operand(0), it.vhost())
        },
        ..Spec::of(
            "sync_queue",
            Group::Replication,
            "[--vhost <vhost>] <queue>",
            "Does nothing: there are no mirrors.",
            sync_queue,
        )
    },
    Spec {
        operands: (1, 1),
        programs: &[Program::Queues],
        banner: |it, _| match it.operand(0) {
            "all" => "Re-balancing leaders of all queues...".to_owned(),
            kind => format!("Re-balancing leaders of {kind} queues..."),
        },
        options: &[valued("vhost-pattern"), valued("queue-pattern")],
        ..Spec::of(
            "rebalance",
            Group::Replication,
            "<all | classic | quorum | stream> [--vhost-pattern <pattern>] [--queue-pattern <pattern>]",
            "Does nothing: all queues are on this node.",
            reachable,
        )
    },
    Spec {
        programs: &[Program::Upgrade],
        ..Spec::of(
            "await_online_quorum_plus_one",
            Nodes,
            "",
            "Does nothing: a node alone is its own quorum.",
            reachable,
        )
    },
    Spec {
        programs: &[Program::Upgrade],
        ..Spec::of(
            "await_online_synchronized_mirror",
            Nodes,
            "",
            "Does nothing: there are no mirrors.",
            reachable,
        )
    },
    Spec {
        programs: &[Program::Upgrade],
        banner: |_, node| {
            format!(
                "Will put node {node} into maintenance mode. The node will no longer serve any client traffic!"
            )
        },
        ..Spec::of(
            "drain",
            Nodes,
            "",
            "Lets no client in, and sends those away that are in.",
            |it| operation(it, "stop_app"),
        )
    },
    Spec {
        programs: &[Program::Upgrade],
        banner: |_, node| {
            format!(
                "Will return node {node} from maintenance and allow it to serve client traffic ..."
            )
        },
        ..Spec::of("revive", Nodes, "", "Lets clients in again.", |it| operation(it, "start_app"))
    },
    Spec {
        programs: &[Program::Upgrade],
        banner: |_, node| format!("Executing post upgrade steps on node {node} ..."),
        ..Spec::of(
            "post_upgrade",
            Nodes,
            "",
            "Does nothing: there is nothing to do after an upgrade.",
            reachable,
        )
    },
    Spec {
        programs: BOTH,
        ..Spec::of(
            "force_gc",
            Group::Operations,
            "[--timeout <timeout>]",
            "Does nothing: there is no garbage to collect.",
            reachable,
        )
    },
];

/// Levels of the log, the chattiest first.
const LEVELS: &[&str] = &["debug", "info", "warning", "error", "critical", "none"];

const FLAGS: &[&str] = &["name", "state", "stability", "provided_by", "desc", "doc_url"];

/// What does nothing asks at least whether the node is there.
fn reachable(it: &mut Context<'_, '_>) -> Outcome {
    it.get("/leveret/ctl/status")?;
    Ok(Printed::Nothing)
}

fn sync_queue(it: &mut Context<'_, '_>) -> Outcome {
    let path = format!("/api/queues/{}/{}", part(it.line.vhost()), part(it.line.operand(0)));
    match it.find(&path)? {
        Some(_) => Ok(Printed::Nothing),
        None => Err(Failure::new(code::UNAVAILABLE, "not_found")),
    }
}

fn ping(it: &mut Context<'_, '_>) -> Outcome {
    match it.get("/leveret/ctl/status") {
        Ok(_) => Ok(Printed::Success("Ping succeeded".to_owned())),
        Err(failure) if failure.code == code::UNAVAILABLE => {
            let ms = it.timeout().unwrap_or_default().as_millis();
            let text = format!("Failed to connect and authenticate to {} in {ms} ms", it.node);
            Err(Failure::new(code::UNAVAILABLE, text))
        }
        Err(failure) => Err(failure),
    }
}

/// Whether a node is there that lets clients in.
fn is_up(it: &Context<'_, '_>) -> bool {
    it.get("/leveret/ctl/status").is_ok_and(|status| status["running"] == true)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Waits until something is true.
fn until(
    it: &Context<'_, '_>,
    usual: Option<Duration>,
    is_so: impl Fn() -> bool,
) -> Result<(), Failure> {
    let timeout = match it.line.value("timeout") {
        None => usual,
        Some(_) => it.timeout(),
    };
    let clock = SystemClock::new();
    let deadline = timeout.map(|timeout| clock.now().plus_millis(millis(timeout)));
    while !is_so() {
        if deadline.is_some_and(|deadline| clock.now() >= deadline) {
            return Err(it.timed_out());
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

fn await_startup(it: &mut Context<'_, '_>) -> Outcome {
    until(it, Some(Duration::from_secs(300)), || is_up(it))?;
    Ok(Printed::Nothing)
}

fn await_nodes(it: &mut Context<'_, '_>) -> Outcome {
    let is_single = it.line.operand(0) == "1";
    until(it, Some(Duration::from_secs(300)), || is_single && is_up(it))?;
    Ok(Printed::Nothing)
}

fn wait(it: &mut Context<'_, '_>) -> Outcome {
    let (node, is_loud) = (it.node.clone(), !it.line.is_quiet());
    let usual = Some(Duration::from_secs(10));
    let process = match it.line.value("pid") {
        Some(pid) => pid.to_owned(),
        None => {
            let file = it.line.operand(0).to_owned();
            if is_loud {
                it.console.print(format!("Waiting for pid file '{file}' to appear\n"));
            }
            let pid = || {
                std::fs::read_to_string(&file)
                    .ok()
                    .filter(|text| text.trim().parse::<u32>().is_ok())
            };
            until(it, usual, || pid().is_some())?;
            let pid = pid().unwrap_or_default().trim().to_owned();
            if is_loud {
                it.console.print(format!("pid is {pid}\n"));
            }
            pid
        }
    };
    if is_loud {
        it.console.print(format!(
            "Waiting for erlang distribution on node '{node}' while OS process '{process}' is running\n\
             Waiting for applications 'rabbit_and_plugins' to start on node '{node}'\n"
        ));
    }
    let is_gone = || !Path::new("/proc").join(&process).exists();
    until(it, usual, || is_up(it) || is_gone())?;
    if !is_up(it) {
        return Err(Failure::new(code::UNAVAILABLE, "process_not_running"));
    }
    let text = format!("Applications 'rabbit_and_plugins' are running on node '{node}'\n");
    Ok(if is_loud { Printed::Text(text, None) } else { Printed::Nothing })
}

/// Asks for something of the whole node.
fn operation(it: &mut Context<'_, '_>, name: &str) -> Outcome {
    it.change(&Method::POST, &format!("/leveret/ctl/{name}"), None)?;
    Ok(Printed::Nothing)
}

fn stop(it: &mut Context<'_, '_>) -> Outcome {
    let file = it.line.operand(0).to_owned();
    match operation(it, "stop") {
        Err(failure) if it.line.has("idempotent") && failure.code == code::UNAVAILABLE => {
            return Ok(Printed::line(format!("Node {} is no longer running", it.node)));
        }
        Err(failure) => return Err(failure),
        Ok(_) => {}
    }
    if !file.is_empty() {
        until(it, None, || !Path::new(&file).exists() || it.get("/leveret/ctl/status").is_err())?;
    }
    Ok(Printed::Nothing)
}

fn shutdown(it: &mut Context<'_, '_>) -> Outcome {
    let process = it.get("/leveret/ctl/status")?["pid"].to_string();
    operation(it, "stop")?;
    if it.line.has("no-wait") {
        return Ok(Printed::Nothing);
    }
    if !it.line.is_quiet() {
        it.console.print(format!("Waiting for pid {process} to terminate\n"));
    }
    until(it, None, || !Path::new("/proc").join(&process).exists())?;
    Ok(Printed::line(format!(
        "RabbitMQ node {} running at PID {process} successfully shut down",
        it.node
    )))
}

fn reset(it: &mut Context<'_, '_>) -> Outcome {
    let answer = it.ask(&Method::POST, "/leveret/ctl/reset", None)?;
    match answer.status {
        status if status.is_success() => Ok(Printed::Nothing),
        StatusCode::PRECONDITION_FAILED if reason(&answer) == "clients are let in" => {
            let text = format!(
                "Mnesia is still running on node {}.\nPlease stop the node with rabbitmqctl stop_app first.",
                it.node
            );
            Err(Failure::new(code::SOFTWARE, text))
        }
        _ => Err(Failure::new(code::SOFTWARE, reason(&answer))),
    }
}

/// An operand that cannot be taken; the usage follows.
fn bad_argument(more: &str) -> Failure {
    Failure { code: code::DATA, ..Failure::usage(format!("Bad argument{more}")) }
}

fn share(text: &str) -> Result<f64, Failure> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        Ok(_) => Err(bad_argument(": The threshold should be a fraction between 0.0 and 1.0")),
        Err(_) => Err(bad_argument(".")),
    }
}

/// A number of bytes, with or without a unit.
fn size(text: &str) -> Result<u64, Failure> {
    match memory::parse_size(text, || 0) {
        Ok(bytes) if !text.contains('%') => Ok(bytes),
        _ => Err(bad_argument(".")),
    }
}

fn memory_limit(line: &Line) -> Result<u64, Failure> {
    match (line.operand(0), line.rest().len()) {
        ("absolute", 2) => size(line.operand(1)),
        ("absolute", _) => Err(Failure::usage("not enough arguments.")),
        (share_of_memory, 1) => {
            // why: a machine has not so many bytes that a float would be wrong by more than some.
            share(share_of_memory).map(|share| (share * memory::available() as f64) as u64)
        }
        _ => Err(Failure::usage("too many arguments.")),
    }
}

fn disk_limit(line: &Line) -> Result<u64, Failure> {
    match (line.operand(0), line.rest().len()) {
        ("mem_relative", 2) => match line.operand(1).parse::<f64>() {
            Ok(share) if share >= 0.0 && share.is_finite() => {
                Ok((share * memory::available() as f64) as u64)
            }
            _ => Err(bad_argument(".")),
        },
        ("mem_relative", _) => Err(Failure::usage("not enough arguments.")),
        (bytes, 1) => size(bytes),
        _ => Err(Failure::usage("too many arguments.")),
    }
}

fn set_log_level(it: &mut Context<'_, '_>) -> Outcome {
    let filter = match it.line.operand(0) {
        "warning" => "warn",
        "critical" => "error",
        "none" => "off",
        level => level,
    };
    let body = json!({ "filter": filter });
    it.change(&Method::PUT, "/leveret/ctl/log-filter", Some(&body))?;
    Ok(Printed::Nothing)
}

fn list_feature_flags(it: &mut Context<'_, '_>) -> Outcome {
    let columns = super::lists::columns(it.line, FLAGS, &["name", "state"])?;
    let flags = it.rows("/api/feature-flags")?;
    let row =
        |flag: &Value| columns.iter().map(|column| Cell::Plain(flag[column].clone())).collect();
    let rows = flags.iter().map(row).collect();
    Ok(Printed::Table(Table { columns, rows, is_made_at_once: true, is_bare: false }))
}

fn enable_feature_flag(it: &mut Context<'_, '_>) -> Outcome {
    let (named, flags) = (it.line.operand(0), it.rows("/api/feature-flags")?);
    if named == "all" || flags.iter().any(|flag| flag["name"] == named) {
        return Ok(Printed::Nothing);
    }
    let text = format!("This feature flag is not supported by node {}", it.node);
    Err(Failure::new(code::USAGE, text))
}
