//! Checks of a node, for people and for what restarts it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};

use super::context::{Context, part};
use super::line::valued;
use super::outcome::{Failure, Outcome, code};
use super::print::Printed;
use super::spec::{Group, Spec};
use crate::commands::Program;

use Group::Monitoring;

const DIAGNOSTICS: &[Program] = &[Program::Diagnostics];

/// The programs that look at quorum queues.
const QUORUM: &[Program] = &[Program::Diagnostics, Program::Queues];

/// How long a listener may take to answer.
const CONNECT: Duration = Duration::from_secs(10);

const fn check(
    name: &'static str,
    about: &'static str,
    run: fn(&mut Context<'_, '_>) -> Outcome,
) -> Spec {
    Spec {
        programs: DIAGNOSTICS,
        ..Spec::of(name, Monitoring, "[--timeout <timeout>]", about, run)
    }
}

pub(super) const SPECS: &[Spec] = &[
    Spec {
        banner: |_, node| format!("Checking if RabbitMQ is running on node {node} ..."),
        ..check("check_running", "Fails unless clients are let in.", check_running)
    },
    Spec {
        banner: |_, node| format!("Asking node {node} for its status ..."),
        ..check("is_running", "Says whether clients are let in.", is_running)
    },
    Spec {
        banner: |_, node| format!("Asking node {node} for its boot status ..."),
        ..check("is_booting", "Says whether the node is still starting.", is_booting)
    },
    Spec {
        banner: |_, node| format!("Asking node {node} to report any local resource alarms ..."),
        ..check("check_local_alarms", "Fails while an alarm is raised.", |it| {
            check_alarms(it, "local alarms")
        })
    },
    Spec {
        banner: |_, node| format!("Asking node {node} to report any local resource alarms ..."),
        ..check("check_alarms", "Fails while an alarm is raised.", |it| {
            check_alarms(it, "alarms, local or clusterwide")
        })
    },
    Spec {
        banner: |_, node| format!("Asking node {node} to report any local resource alarms ..."),
        ..check("alarms", "Lists the alarms that are raised.", alarms)
    },
    Spec {
        banner: |_, node| {
            format!("Testing TCP connections to all active listeners on node {node} ...")
        },
        ..check(
            "check_port_connectivity",
            "Fails unless all listeners can be connected to.",
            check_port_connectivity,
        )
    },
    Spec {
        banner: |it, node| {
            format!(
                "Asking node {node} if there's an active listener on port {} ...",
                it.operand(0)
            )
        },
        operands: (1, 1),
        check: |it| match it.operand(0).parse::<u16>() {
            Ok(_) => Ok(()),
            Err(_) => Err(Failure {
                code: code::DATA,
                ..Failure::usage("Bad argument: Argument must be a positive integer")
            }),
        },
        programs: DIAGNOSTICS,
        ..Spec::of(
            "check_port_listener",
            Monitoring,
            "<port> [--timeout <timeout>]",
            "Fails unless there is a listener on a port.",
            check_port_listener,
        )
    },
    Spec {
        banner: |it, node| {
            format!(
                "Asking node {node} if there's an active listener for protocol {} ...",
                it.operand(0)
            )
        },
        operands: (1, 1),
        programs: DIAGNOSTICS,
        ..Spec::of(
            "check_protocol_listener",
            Monitoring,
            "<protocol> [--timeout <timeout>]",
            "Fails unless there is a listener for a protocol.",
            check_protocol_listener,
        )
    },
    Spec {
        banner: |_, node| format!("Checking if all vhosts are running on node {node} ..."),
        ..check("check_virtual_hosts", "Fails unless all virtual hosts run.", check_virtual_hosts)
    },
    Spec {
        programs: QUORUM,
        banner: |_, node| {
            format!("Checking if node {node} is critical for quorum of any quorum queues ...")
        },
        ..check(
            "check_if_node_is_quorum_critical",
            "Says that a single node has no one to lose.",
            single_node,
        )
    },
    Spec {
        programs: QUORUM,
        banner: |_, node| {
            format!(
                "Checking if node {node} is critical for data safety of any classic mirrored queues ..."
            )
        },
        ..check(
            "check_if_node_is_mirror_sync_critical",
            "Says that a single node has no one to lose.",
            single_node,
        )
    },
    Spec {
        banner: |_, node| format!("Checking certificate expiration on node {node} ..."),
        programs: DIAGNOSTICS,
        options: &[valued("within"), valued("unit")],
        check: |it| match it.value("unit").unwrap_or("weeks") {
            "days" | "weeks" | "months" | "years" => Ok(()),
            unit => Err(Failure::usage(format!(
                "\"unit '{unit}' is not supported. Please use one of: days, weeks, months, years\""
            ))),
        },
        ..Spec::of(
            "check_certificate_expiration",
            Monitoring,
            "[--within <period>] [--unit <unit>]",
            "Fails if a certificate ends soon.",
            check_certificates,
        )
    },
    Spec {
        programs: &[Program::Ctl, Program::Diagnostics],
        ..Spec::of(
            "node_health_check",
            Monitoring,
            "[--timeout <timeout>]",
            "Says that the node is well; use the checks of rabbitmq-diagnostics.",
            node_health_check,
        )
    },
];

/// Whether clients are let in.
fn runs(it: &Context<'_, '_>) -> Result<bool, Failure> {
    Ok(it.get("/leveret/ctl/status")?["running"] == true)
}

fn check_running(it: &mut Context<'_, '_>) -> Outcome {
    let node = it.node.clone();
    match runs(it)? {
        true => {
            Ok(Printed::Success(format!("RabbitMQ on node {node} is fully booted and running")))
        }
        false => Err(Failure::new(
            code::UNAVAILABLE,
            format!(
                "RabbitMQ on node {node} is not running or has not fully booted yet (check with is_booting)"
            ),
        )),
    }
}

fn is_running(it: &mut Context<'_, '_>) -> Outcome {
    let (node, runs) = (it.node.clone(), runs(it)?);
    let text = match runs {
        true => format!("RabbitMQ on node {node} is fully booted and running"),
        false => format!(
            "RabbitMQ on node {node} is not running or has not fully booted yet (check with is_booting)"
        ),
    };
    Ok(Printed::Text(format!("{text}\n"), Some(json!({ "message": text, "result": runs }))))
}

fn is_booting(it: &mut Context<'_, '_>) -> Outcome {
    let node = it.node.clone();
    runs(it)?;
    // rabbitmq: says the same of a node that does not run; here a node that answers has started.
    let text = format!(
        "RabbitMQ on node {node} is fully booted (check with is_running), stopped or has not started booting yet"
    );
    Ok(Printed::Text(format!("{text}\n"), Some(json!({ "message": text, "result": false }))))
}

/// The alarms, as lines.
fn raised(it: &Context<'_, '_>) -> Result<Vec<String>, Failure> {
    let status = it.get("/leveret/ctl/status")?;
    let alarms = status["alarms"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let node = &it.node;
    Ok(alarms
        .map(|alarm| match alarm {
            "memory" => format!("Memory alarm on node {node}"),
            _ => format!("Free disk space alarm on node {node}"),
        })
        .collect())
}

fn check_alarms(it: &mut Context<'_, '_>, kind: &str) -> Outcome {
    let raised = raised(it)?;
    match raised.as_slice() {
        [] => Ok(Printed::Success(format!("Node {} reported no {kind}", it.node))),
        raised => Err(Failure::new(code::UNAVAILABLE, raised.join("\n"))),
    }
}

fn alarms(it: &mut Context<'_, '_>) -> Outcome {
    let (raised, node) = (raised(it)?, it.node.clone());
    let object = json!({ "node": node, "alarms": raised, "result": "ok" });
    let text = match raised.as_slice() {
        [] => format!("Node {node} reported no alarms, local or clusterwide\n"),
        raised => raised.join("\n") + "\n",
    };
    Ok(Printed::Text(text, Some(object)))
}

/// The listeners, by port.
pub(super) fn listeners(it: &Context<'_, '_>) -> Result<Vec<Value>, Failure> {
    let overview = it.get("/api/overview?columns=listeners")?;
    let mut listeners = overview["listeners"].as_array().cloned().unwrap_or_default();
    listeners.sort_by_key(|listener| listener["port"].as_u64());
    Ok(listeners)
}

fn ports(listeners: &[Value]) -> String {
    let mut ports: Vec<u64> = listeners.iter().filter_map(|it| it["port"].as_u64()).collect();
    ports.dedup();
    ports.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")
}

/// An address at which a listener can be reached from here.
fn reachable(listener: &Value) -> Option<SocketAddr> {
    let ip: IpAddr = listener["ip_address"].as_str()?.parse().ok()?;
    let ip = match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    Some(SocketAddr::new(ip, u16::try_from(listener["port"].as_u64()?).ok()?))
}

fn check_port_connectivity(it: &mut Context<'_, '_>) -> Outcome {
    let (node, listeners) = (it.node.clone(), listeners(it)?);
    let timeout = it.timeout().unwrap_or(CONNECT).min(CONNECT);
    let answers = |listener: &&Value| {
        let connect = |address| TcpStream::connect_timeout(&address, timeout).is_ok();
        reachable(listener).is_some_and(connect)
    };
    let dead: Vec<Value> = listeners.iter().filter(|it| !answers(it)).cloned().collect();
    if listeners.is_empty() {
        let text = format!("Node {node} has no active listeners");
        return Err(Failure::new(code::UNAVAILABLE, text));
    }
    if dead.is_empty() {
        let ports = ports(&listeners);
        return Ok(Printed::Success(format!(
            "Successfully connected to ports {ports} on node {node}."
        )));
    }
    let lines = dead.iter().map(super::status::listener_line).collect::<Vec<_>>().join("\n");
    let text = format!("Connection attempts to some of the ports on node {node} failed:\n{lines}");
    Err(Failure::new(code::UNAVAILABLE, text))
}

fn check_port_listener(it: &mut Context<'_, '_>) -> Outcome {
    let (port, node, listeners) = (it.line.operand(0), it.node.clone(), listeners(it)?);
    if listeners.iter().any(|it| it["port"].as_u64() == port.parse().ok()) {
        return Ok(Printed::Success(format!(
            "A listener for port {port} is running on node {node}."
        )));
    }
    let ports = ports(&listeners);
    let found = format!("Found listeners that use the following ports: {ports}");
    let text = format!("No listener for port {port} is active on node {node}. {found}");
    Err(Failure::bare(code::UNAVAILABLE, text))
}

fn check_protocol_listener(it: &mut Context<'_, '_>) -> Outcome {
    let (named, node, listeners) = (it.line.operand(0), it.node.clone(), listeners(it)?);
    let protocol = match named.to_lowercase().as_str() {
        "amqp091" | "amqp0.9.1" | "amqp0-9-1" | "amqp0_9_1" => "amqp".to_owned(),
        "amqps" | "amqp/tls" | "amqp/ssl" => "amqp/ssl".to_owned(),
        other => other.to_owned(),
    };
    if listeners.iter().any(|it| it["protocol"] == protocol.as_str()) {
        let text = format!("A listener for protocol {named} is running on node {node}.");
        return Ok(Printed::Success(text));
    }
    let mut protocols: Vec<&str> =
        listeners.iter().filter_map(|it| it["protocol"].as_str()).collect();
    protocols.sort_unstable();
    protocols.dedup();
    let found = protocols.join(", ");
    let text = format!(
        "No listener for protocol {named} is active on node {node}. Found listeners for the following protocols: {found}"
    );
    Err(Failure::new(code::UNAVAILABLE, text))
}

fn check_virtual_hosts(it: &mut Context<'_, '_>) -> Outcome {
    let (node, found) = (it.node.clone(), it.get("/api/health/checks/virtual-hosts")?);
    if found["status"] == "ok" {
        return Ok(Printed::Success(format!("Node {node} reported all vhosts as running")));
    }
    let down = found["virtual-hosts"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let down = down.collect::<Vec<_>>().join(", ");
    let text = format!("Some virtual hosts on node {node} are down:\n{down}");
    Err(Failure::new(code::UNAVAILABLE, text))
}

fn single_node(it: &mut Context<'_, '_>) -> Outcome {
    runs(it)?;
    let text = format!(
        "Node {} seems to be the only one in a single node cluster, the check does not apply",
        it.node
    );
    Ok(Printed::Success(text))
}

fn check_certificates(it: &mut Context<'_, '_>) -> Outcome {
    let within = it.line.value("within").unwrap_or("4").to_owned();
    let unit = it.line.value("unit").unwrap_or("weeks").to_owned();
    let path =
        format!("/api/health/checks/certificate-expiration/{}/{}", part(&within), part(&unit));
    let found = it.get(&path)?;
    if found["status"] == "ok" {
        let unit = if within == "1" { unit.trim_end_matches('s') } else { &unit };
        let text = format!("No certificates are expiring within {within} {unit}.");
        return Ok(Printed::Success(text));
    }
    let expired = found["expired"].as_array().into_iter().flatten();
    let lines = expired.map(|it| {
        let (port, end) = (&it["port"], it["certfile_expires_on"].as_str().unwrap_or("?"));
        format!("port {port}: {} ends on {end}", it["certfile"].as_str().unwrap_or("a certificate"))
    });
    let lines = lines.collect::<Vec<_>>().join("\n");
    Err(Failure::new(code::UNAVAILABLE, format!("Certificates are expiring:\n{lines}")))
}

fn node_health_check(it: &mut Context<'_, '_>) -> Outcome {
    let node = it.node.clone();
    let banner = "This command is DEPRECATED and will be removed in a future version.\n\
                  It performs intrusive, opinionated health checks and requires a fully booted node.\n\
                  Use one of the options covered in https://www.rabbitmq.com/monitoring.html#health-checks instead.\n";
    if !it.line.is_quiet() {
        let timeout = it.line.value("timeout").unwrap_or("70");
        it.console.print(format!(
            "{banner}Timeout: {timeout} seconds ...\nChecking health of node {node} ...\n"
        ));
    }
    check_running(it)?;
    let raised = raised(it)?;
    match raised.as_slice() {
        [] => Ok(Printed::line("Health check passed")),
        raised => Err(Failure::new(code::SOFTWARE, raised.join("\n"))),
    }
}
