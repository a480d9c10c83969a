//! What is listed, with its columns.

use super::super::json::Json;

/// A kind of list.
pub(super) struct List {
    pub(super) name: &'static str,
    pub(super) path: &'static str,
    pub(super) scope: Scope,
    pub(super) columns: &'static [Column],
}

/// Whose objects are listed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// Those of all virtual hosts, or of none.
    All,
    /// Those of one virtual host, which stands in the path.
    Vhost,
    /// Those of one virtual host, taken from the list of all.
    Taken,
}

/// A column: its heading, the field that it shows, and how.
pub(super) struct Column(pub(super) &'static str, &'static str, Show);

/// How a field is shown.
#[derive(Clone, Copy)]
pub(super) enum Show {
    Text,
    /// 0 where there is nothing.
    Count,
    /// A line for each field of an object.
    Lines,
    /// The same with an empty line at the end.
    LinesAndEnd,
    /// With commas.
    Listed,
}

use Show::{Count, Lines, LinesAndEnd, Listed, Text};

impl Column {
    /// The text in the row of an object.
    pub(super) fn of(&self, object: &Json) -> String {
        let value = object.at(self.1).unwrap_or(&Json::Null);
        match (self.2, value) {
            (Count, Json::Null) => "0".to_owned(),
            (Lines, value) => lines(value).join("\n"),
            (LinesAndEnd, value) => lines(value).iter().map(|line| format!("{line}\n")).collect(),
            (Listed, Json::List(elements)) => {
                elements.iter().map(text).collect::<Vec<_>>().join(", ")
            }
            (_, value) => text(value),
        }
    }
}

fn text(value: &Json) -> String {
    match value {
        Json::Null => String::new(),
        Json::Text(text) => text.clone(),
        Json::Number(number) if number.is_f64() => {
            number.as_f64().map(|float| float.to_string()).unwrap_or_default()
        }
        other => other.to_compact(),
    }
}

fn lines(value: &Json) -> Vec<String> {
    let mut fields: Vec<_> = value.fields().iter().collect();
    fields.sort_by(|(one, _), (other, _)| one.cmp(other));
    fields.iter().map(|(name, value)| format!("{name}: {}", value.to_compact())).collect()
}

const POLICY: &[Column] = &[
    Column("name", "name", Text),
    Column("vhost", "vhost", Text),
    Column("pattern", "pattern", Text),
    Column("apply_to", "apply-to", Text),
    Column("priority", "priority", Text),
    Column("definition", "definition", LinesAndEnd),
];

/// The columns of messages.
pub(super) const MESSAGES: &[Column] = &[
    Column("payload_bytes", "payload_bytes", Text),
    Column("redelivered", "redelivered", Text),
    Column("exchange", "exchange", Text),
    Column("routing_key", "routing_key", Text),
    Column("message_count", "message_count", Text),
    Column("properties", "properties", LinesAndEnd),
    Column("payload", "payload", Text),
    Column("payload_encoding", "payload_encoding", Text),
];

pub(super) const LISTS: &[List] = &[
    List {
        name: "nodes",
        path: "/nodes",
        scope: Scope::All,
        columns: &[
            Column("name", "name", Text),
            Column("uptime", "uptime", Count),
            Column("run_queue", "run_queue", Count),
            Column("processors", "processors", Count),
            Column("os_pid", "os_pid", Text),
            Column("fd_total", "fd_total", Count),
            Column("total_erlang_processes", "proc_total", Count),
            Column("memory_high_watermark", "mem_limit", Count),
            Column("has_memory_alarm_in_effect", "mem_alarm", Text),
            Column("free_disk_space_low_watermark", "disk_free_limit", Count),
            Column("has_free_disk_space_alarm_in_effect", "disk_free_alarm", Text),
            Column("rates_mode", "rates_mode", Text),
            Column("enabled_plugins", "enabled_plugins", Listed),
            Column("being_drained", "being_drained", Text),
        ],
    },
    List {
        name: "users",
        path: "/users",
        scope: Scope::All,
        columns: &[
            Column("name", "name", Text),
            Column("tags", "tags", Listed),
            Column("password_hash", "password_hash", Text),
        ],
    },
    List {
        name: "vhosts",
        path: "/vhosts",
        scope: Scope::All,
        columns: &[
            Column("name", "name", Text),
            Column("tags", "tags", Listed),
            Column("description", "description", Text),
            Column("default_queue_type", "default_queue_type", Text),
            Column("protected_from_deletion", "protected_from_deletion", Text),
        ],
    },
    List {
        name: "permissions",
        path: "/permissions",
        scope: Scope::All,
        columns: &[
            Column("user", "user", Text),
            Column("vhost", "vhost", Text),
            Column("configure", "configure", Text),
            Column("read", "read", Text),
            Column("write", "write", Text),
        ],
    },
    List { name: "connections", path: "/connections", scope: Scope::All, columns: CONNECTIONS },
    List {
        name: "channels",
        path: "/channels",
        scope: Scope::All,
        columns: &[
            Column("id", "number", Text),
            Column("name", "name", Text),
            Column("vhost", "vhost", Text),
            Column("state", "state", Text),
            Column("consumer_count", "consumer_count", Count),
            Column("has_publisher_confirms_enabled", "confirm", Text),
            Column("prefetch_count", "prefetch_count", Count),
            Column("messages_unacknowledged", "messages_unacknowledged", Count),
            Column("messages_unconfirmed", "messages_unconfirmed", Count),
        ],
    },
    List { name: "queues", path: "/queues", scope: Scope::Vhost, columns: QUEUES },
    List {
        name: "exchanges",
        path: "/exchanges",
        scope: Scope::Vhost,
        columns: &[
            Column("name", "name", Text),
            Column("vhost", "vhost", Text),
            Column("exchange_type", "type", Text),
            Column("durable", "durable", Text),
            Column("auto_delete", "auto_delete", Text),
            Column("arguments", "arguments", Lines),
        ],
    },
    List {
        name: "bindings",
        path: "/bindings",
        scope: Scope::All,
        columns: &[
            Column("vhost", "vhost", Text),
            Column("source", "source", Text),
            Column("destination", "destination", Text),
            Column("destination_type", "destination_type", Text),
            Column("routing_key", "routing_key", Text),
            Column("arguments", "arguments", Lines),
            Column("properties_key", "properties_key", Text),
        ],
    },
    List {
        name: "consumers",
        path: "/consumers",
        scope: Scope::All,
        columns: &[
            Column("vhost", "queue.vhost", Text),
            Column("queue", "queue.name", Text),
            Column("consumer_tag", "consumer_tag", Text),
            Column("manual_ack", "ack_required", Text),
            Column("prefetch_count", "prefetch_count", Count),
            Column("active", "active", Text),
            Column("exclusive", "exclusive", Text),
            Column("arguments", "arguments", Lines),
            Column("delivery_ack_timeout", "consumer_timeout", Count),
        ],
    },
    List {
        name: "parameters",
        path: "/parameters",
        scope: Scope::Taken,
        columns: &[
            Column("name", "name", Text),
            Column("vhost", "vhost", Text),
            Column("component", "component", Text),
            Column("value", "value", LinesAndEnd),
        ],
    },
    List { name: "policies", path: "/policies", scope: Scope::All, columns: POLICY },
    List {
        name: "operator_policies",
        path: "/operator-policies",
        scope: Scope::All,
        columns: POLICY,
    },
    List {
        name: "vhost_limits",
        path: "/vhost-limits",
        scope: Scope::Vhost,
        columns: &[Column("vhost", "vhost", Text), Column("limits", "value", LinesAndEnd)],
    },
    List {
        name: "user_limits",
        path: "/user-limits",
        scope: Scope::All,
        columns: &[Column("username", "user", Text), Column("limits", "value", LinesAndEnd)],
    },
];

const CONNECTIONS: &[Column] = &[
    Column("name", "name", Text),
    Column("node", "node", Text),
    Column("state", "state", Text),
    Column("protocol", "protocol", Text),
    Column("username", "user", Text),
    Column("connected_at", "connected_at", Text),
    Column("server_hostname", "host", Text),
    Column("server_port", "port", Text),
    Column("client_hostname", "peer_host", Text),
    Column("client_port", "peer_port", Text),
    Column("channel_max", "channel_max", Text),
    Column("channel_count", "channels", Count),
];

const QUEUES: &[Column] = &[
    Column("name", "name", Text),
    Column("vhost", "vhost", Text),
    Column("queue_type", "type", Text),
    Column("durable", "durable", Text),
    Column("auto_delete", "auto_delete", Text),
    Column("exclusive", "exclusive", Text),
    Column("arguments", "arguments", Lines),
    Column("node", "node", Text),
    Column("state", "state", Text),
    Column("leader", "leader", Text),
    Column("members", "members", Listed),
    Column("online", "online", Listed),
    Column("memory", "memory", Count),
    Column("consumer_count", "consumers", Count),
    Column("consumer_utilisation", "consumer_utilisation", Count),
    Column("policy", "policy", Text),
    Column("operator_policy", "operator_policy", Text),
    Column("message_bytes", "message_bytes", Count),
    Column("message_count", "messages", Count),
    Column("unacknowledged_message_count", "messages_unacknowledged", Count),
];
