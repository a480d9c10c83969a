//! Lists of what lives in a virtual host: queues, exchanges, bindings, consumers, connections, channels.

use serde_json::{Map, Value};

use super::context::{Context, part};
use super::line::{Line, OptionSpec, flag, valued};
use super::outcome::{Failure, Outcome};
use super::pids;
use super::print::{Cell, Printed, Table};
use super::spec::{Group, Spec};
use crate::commands::Program;

use Group::Monitoring;

const HEADERS: &[OptionSpec] = &[flag("no-table-headers")];

/// The programs that have these lists.
const BOTH: &[Program] = &[Program::Ctl, Program::Diagnostics];

pub(super) const SPECS: &[Spec] = &[
    Spec {
        banner: |it, _| {
            format!("Timeout: {} ...\nListing queues for vhost {} ...", seconds(it), it.vhost())
        },
        operands: (0, usize::MAX),
        programs: BOTH,
        check: |it| columns(it, QUEUES, &["name", "messages"]).map(drop),
        options: &[flag("no-table-headers"), flag("online"), flag("offline"), flag("local")],
        ..Spec::of(
            "list_queues",
            Monitoring,
            "[--vhost <vhost>] [--online] [--offline] [--local] [--no-table-headers] [<column>, ...] [--timeout <timeout>]",
            "Lists queues, with the columns that are named.",
            list_queues,
        )
    },
    Spec {
        banner: |it, _| format!("Listing unresponsive queues for vhost {} ...", it.vhost()),
        operands: (0, usize::MAX),
        programs: BOTH,
        options: &[flag("no-table-headers"), flag("local"), valued("queue-timeout")],
        ..Spec::of(
            "list_unresponsive_queues",
            Monitoring,
            "[--local] [--queue-timeout <milliseconds>] [<column> ...] [--no-table-headers] [--timeout <timeout>]",
            "Lists queues that do not answer, of which there are none.",
            |_| Ok(Printed::Nothing),
        )
    },
    Spec {
        banner: |it, _| format!("Listing exchanges for vhost {} ...", it.vhost()),
        operands: (0, usize::MAX),
        programs: BOTH,
        check: |it| columns(it, EXCHANGES, &["name", "type"]).map(drop),
        options: HEADERS,
        ..Spec::of(
            "list_exchanges",
            Monitoring,
            "[--vhost <vhost>] [--no-table-headers] [<column> ...] [--timeout <timeout>]",
            "Lists exchanges.",
            list_exchanges,
        )
    },
    Spec {
        banner: |it, _| format!("Listing bindings for vhost {}...", it.vhost()),
        operands: (0, usize::MAX),
        programs: BOTH,
        check: |it| columns(it, BINDINGS, BINDINGS).map(drop),
        options: HEADERS,
        ..Spec::of(
            "list_bindings",
            Monitoring,
            "[--vhost <vhost>] [--no-table-headers] [<column> ...] [--timeout <timeout>]",
            "Lists bindings.",
            list_bindings,
        )
    },
    Spec {
        banner: |it, _| format!("Listing consumers in vhost {} ...", it.vhost()),
        operands: (0, usize::MAX),
        programs: BOTH,
        check: |it| columns(it, CONSUMERS, &CONSUMERS[..7]).map(drop),
        options: HEADERS,
        ..Spec::of(
            "list_consumers",
            Monitoring,
            "[--vhost <vhost>] [--no-table-headers] [<column> ...] [--timeout <timeout>]",
            "Lists consumers.",
            list_consumers,
        )
    },
    Spec {
        banner: |_, _| "Listing connections ...".to_owned(),
        operands: (0, usize::MAX),
        programs: BOTH,
        check: |it| {
            columns(it, CONNECTIONS, &["user", "peer_host", "peer_port", "state"]).map(drop)
        },
        options: HEADERS,
        ..Spec::of(
            "list_connections",
            Monitoring,
            "[--no-table-headers] [<column> ...] [--timeout <timeout>]",
            "Lists connections.",
            list_connections,
        )
    },
    Spec {
        banner: |_, _| "Listing channels ...".to_owned(),
        operands: (0, usize::MAX),
        programs: BOTH,
        check: |it| columns(it, CHANNELS, CHANNELS_USUAL).map(drop),
        options: HEADERS,
        ..Spec::of(
            "list_channels",
            Monitoring,
            "[--no-table-headers] [<column> ...]",
            "Lists channels.",
            list_channels,
        )
    },
];

fn seconds(line: &Line) -> String {
    match line.value("timeout").and_then(|text| text.parse::<f64>().ok()) {
        Some(seconds) => format!("{seconds:?} seconds"),
        None => "60.0 seconds".to_owned(),
    }
}

/// The columns that a line names, or the usual ones.
pub(super) fn columns(line: &Line, known: &[&str], usual: &[&str]) -> Result<Vec<String>, Failure> {
    if line.rest().is_empty() {
        return Ok(usual.iter().map(|&name| name.to_owned()).collect());
    }
    let names = line.rest().iter().flat_map(|word| word.split([',', ' ']));
    let names: Vec<String> = names.filter(|name| !name.is_empty()).map(str::to_owned).collect();
    let unknown: Vec<&str> =
        names.iter().map(String::as_str).filter(|name| !known.contains(name)).collect();
    match unknown.as_slice() {
        [] => Ok(names),
        unknown => {
            let unknown = unknown.join(",");
            Err(Failure::usage(format!("Info key(s) {unknown} are not supported")))
        }
    }
}

const QUEUES: &[&str] = &[
    "name",
    "durable",
    "auto_delete",
    "arguments",
    "policy",
    "operator_policy",
    "effective_policy_definition",
    "pid",
    "owner_pid",
    "exclusive",
    "exclusive_consumer_pid",
    "exclusive_consumer_tag",
    "messages_ready",
    "messages_unacknowledged",
    "messages",
    "messages_ready_ram",
    "messages_unacknowledged_ram",
    "messages_ram",
    "messages_persistent",
    "message_bytes",
    "message_bytes_ready",
    "message_bytes_unacknowledged",
    "message_bytes_ram",
    "message_bytes_persistent",
    "head_message_timestamp",
    "disk_reads",
    "disk_writes",
    "consumers",
    "consumer_utilisation",
    "consumer_capacity",
    "memory",
    "slave_pids",
    "synchronised_slave_pids",
    "state",
    "type",
    "leader",
    "members",
    "online",
    "mirror_pids",
    "synchronised_mirror_pids",
    "storage_version",
];

const EXCHANGES: &[&str] =
    &["name", "type", "durable", "auto_delete", "internal", "arguments", "policy"];

const BINDINGS: &[&str] = &[
    "source_name",
    "source_kind",
    "destination_name",
    "destination_kind",
    "routing_key",
    "arguments",
];

const CONSUMERS: &[&str] = &[
    "queue_name",
    "channel_pid",
    "consumer_tag",
    "ack_required",
    "prefetch_count",
    "active",
    "arguments",
    "activity_status",
];

const CONNECTIONS: &[&str] = &[
    "pid",
    "name",
    "port",
    "host",
    "peer_port",
    "peer_host",
    "ssl",
    "ssl_protocol",
    "ssl_key_exchange",
    "ssl_cipher",
    "ssl_hash",
    "peer_cert_subject",
    "peer_cert_issuer",
    "peer_cert_validity",
    "state",
    "channels",
    "protocol",
    "auth_mechanism",
    "user",
    "vhost",
    "timeout",
    "frame_max",
    "channel_max",
    "client_properties",
    "connected_at",
    "recv_oct",
    "recv_cnt",
    "send_oct",
    "send_cnt",
    "send_pend",
    "user_provided_name",
    "node",
];

const CHANNELS: &[&str] = &[
    "pid",
    "connection",
    "name",
    "number",
    "user",
    "vhost",
    "transactional",
    "confirm",
    "consumer_count",
    "messages_unacknowledged",
    "messages_uncommitted",
    "acks_uncommitted",
    "messages_unconfirmed",
    "prefetch_count",
    "global_prefetch_count",
    "state",
];

const CHANNELS_USUAL: &[&str] = &["pid", "user", "consumer_count", "messages_unacknowledged"];

/// Rows of objects, each column found by the function.
fn table(
    line: &Line,
    (known, usual): (&[&str], &[&str]),
    found: &[Value],
    cell: impl Fn(&Value, &str) -> Cell,
) -> Outcome {
    let columns = columns(line, known, usual)?;
    let rows = found.iter().map(|it| columns.iter().map(|column| cell(it, column)).collect());
    let rows = rows.collect();
    Ok(Printed::Table(Table { columns, rows, is_made_at_once: false, is_bare: false }))
}

/// What stands in an object under a name; an object in it is arguments.
fn plain(found: &Value, name: &str) -> Cell {
    match &found[name] {
        Value::Object(arguments) => Cell::Arguments(arguments.clone()),
        value => Cell::Plain(value.clone()),
    }
}

/// rabbitmq: a virtual host that there is not has an empty list.
fn of_vhost(it: &Context<'_, '_>, kind: &str) -> Result<Vec<Value>, Failure> {
    it.rows(&format!("/api/{kind}/{}", part(it.line.vhost())))
}

/// The queues, with what these columns need and no more: there may be very many.
fn queues(it: &Context<'_, '_>, columns: &[String]) -> Result<Vec<Value>, Failure> {
    let of_api = columns.iter().map(|column| match column.as_str() {
        "owner_pid" => "owner_pid_details",
        column => column,
    });
    let fields: Vec<&str> = ["name"].into_iter().chain(of_api).collect();
    it.rows(&format!("/api/queues/{}?columns={}", part(it.line.vhost()), fields.join(",")))
}

fn list_queues(it: &mut Context<'_, '_>) -> Outcome {
    // rabbitmq: queues of nodes that do not run; there is one node, and it runs.
    let is_offline = it.line.has("offline");
    let usual = &["name", "messages"];
    let columns = columns(it.line, QUEUES, usual)?;
    let queues = if is_offline { Vec::new() } else { queues(it, &columns)? };
    let node = it.node.clone();
    let needs_connections = columns.iter().any(|column| column == "owner_pid");
    let connections = if needs_connections { it.rows("/api/connections")? } else { Vec::new() };
    table(it.line, (QUEUES, usual), &queues, |queue, column| match column {
        "pid" => Cell::text(pids::of_text(&node, queue["name"].as_str().unwrap_or_default())),
        "owner_pid" => match queue["owner_pid_details"]["name"].as_str() {
            Some(owner) => {
                let owner = connections.iter().find(|it| it["name"] == owner);
                owner.map_or(Cell::text(""), |it| Cell::text(pids::of_connection(&node, it)))
            }
            None => Cell::text(""),
        },
        "leader" => Cell::text(node.clone()),
        "members" | "online" => Cell::Names(vec![node.clone()]),
        "slave_pids" | "synchronised_slave_pids" | "mirror_pids" | "synchronised_mirror_pids" => {
            Cell::text("")
        }
        "effective_policy_definition" | "arguments" => {
            Cell::Arguments(queue[column].as_object().cloned().unwrap_or_default())
        }
        column => plain(queue, column),
    })
}

fn list_exchanges(it: &mut Context<'_, '_>) -> Outcome {
    let exchanges = of_vhost(it, "exchanges")?;
    table(it.line, (EXCHANGES, &["name", "type"]), &exchanges, plain)
}

fn list_bindings(it: &mut Context<'_, '_>) -> Outcome {
    let bindings = of_vhost(it, "bindings")?;
    table(it.line, (BINDINGS, BINDINGS), &bindings, |binding, column| match column {
        "source_name" => plain(binding, "source"),
        "source_kind" => Cell::text("exchange"),
        "destination_name" => plain(binding, "destination"),
        "destination_kind" => plain(binding, "destination_type"),
        column => plain(binding, column),
    })
}

fn list_consumers(it: &mut Context<'_, '_>) -> Outcome {
    let consumers = of_vhost(it, "consumers")?;
    let channels = it.rows("/api/channels")?;
    let connections = it.rows("/api/connections")?;
    let node = it.node.clone();
    let usual = (CONSUMERS, &CONSUMERS[..7]);
    table(it.line, usual, &consumers, |consumer, column| match column {
        "queue_name" => plain(&consumer["queue"], "name"),
        "channel_pid" => {
            let name = &consumer["channel_details"]["name"];
            let channel = channels.iter().find(|it| it["name"] == *name);
            Cell::text(
                channel.map_or_else(String::new, |channel| {
                    pids::of_channel(&node, channel, &connections)
                }),
            )
        }
        column => plain(consumer, column),
    })
}

fn list_connections(it: &mut Context<'_, '_>) -> Outcome {
    let connections = it.rows("/api/connections")?;
    let node = it.node.clone();
    let usual = (CONNECTIONS, &["user", "peer_host", "peer_port", "state"][..]);
    table(it.line, usual, &connections, |connection, column| match column {
        "pid" => Cell::text(pids::of_connection(&node, connection)),
        "protocol" => Cell::text("{0,9,1}"),
        "client_properties" => {
            let properties = connection["client_properties"].as_object();
            Cell::Arguments(properties.cloned().unwrap_or_else(Map::new))
        }
        column => plain(connection, column),
    })
}

fn list_channels(it: &mut Context<'_, '_>) -> Outcome {
    let channels = it.rows("/api/channels")?;
    let connections = it.rows("/api/connections")?;
    let node = it.node.clone();
    table(it.line, (CHANNELS, CHANNELS_USUAL), &channels, |channel, column| match column {
        "pid" => Cell::text(pids::of_channel(&node, channel, &connections)),
        "connection" => {
            let name = &channel["connection_details"]["name"];
            let connection = connections.iter().find(|it| it["name"] == *name);
            Cell::text(connection.map_or_else(String::new, |it| pids::of_connection(&node, it)))
        }
        column => plain(channel, column),
    })
}
