//! What there is: the kinds of objects, with their arguments and their paths. The order is the script's, which its help
//! prints.

/// A kind of object that a word lists or shows.
pub(super) struct Listed {
    pub(super) name: &'static str,
    /// Whether there is a list of those of one virtual host.
    pub(super) by_vhost: bool,
    /// The columns that are shown unless others are asked for; all that there are when it has none.
    pub(super) columns: &'static [&'static str],
    /// The columns whose objects are shown as JSON.
    pub(super) json: &'static [&'static str],
}

const fn listed(
    name: &'static str,
    by_vhost: bool,
    columns: &'static [&'static str],
    json: &'static [&'static str],
) -> Listed {
    Listed { name, by_vhost, columns, json }
}

pub(super) const LISTED: &[Listed] = &[
    listed("connections", false, &["name", "user", "channels"], &[]),
    listed("channels", false, &["name", "user"], &[]),
    listed("consumers", true, &[], &[]),
    listed("exchanges", true, &["name", "type"], &[]),
    listed("queues", true, &["name", "messages"], &[]),
    listed("bindings", true, &["source", "destination", "routing_key"], &[]),
    listed("users", false, &[], &[]),
    listed("vhosts", false, &["name", "messages"], &[]),
    listed("permissions", false, &[], &[]),
    listed("nodes", false, &["name", "type", "mem_used"], &[]),
    listed("parameters", false, &[], &["value"]),
    listed("policies", false, &[], &["definition"]),
    listed("operator_policies", false, &[], &["definition"]),
    listed("vhost_limits", false, &[], &["value"]),
];

pub(super) const SHOWN: &[Listed] = &[listed(
    "overview",
    false,
    &["rabbitmq_version", "cluster_name", "queue_totals.messages", "object_totals.queues"],
    &[],
)];

/// The columns that come first where all are shown.
pub(super) const FIRST_COLUMNS: &[&str] =
    &["vhost", "name", "type", "source", "destination", "destination_type", "routing_key"];

/// An argument, or several of which one is enough, that must be there.
pub(super) enum Mandatory {
    One(&'static str),
    AnyOf(&'static [&'static str]),
}

use Mandatory::{AnyOf, One};

impl Mandatory {
    pub(super) fn names(&self) -> &[&'static str] {
        match self {
            One(name) => std::slice::from_ref(name),
            AnyOf(names) => names,
        }
    }
}

/// What an argument is when nobody says it.
#[derive(Clone, Copy)]
pub(super) enum Otherwise {
    Nothing,
    Text(&'static str),
    Zero,
    EmptyObject,
}

use Otherwise::{EmptyObject, Nothing, Text, Zero};

/// A kind of object that a word acts on.
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) mandatory: &'static [Mandatory],
    pub(super) optional: &'static [(&'static str, Otherwise)],
    /// The arguments that are JSON.
    pub(super) json: &'static [&'static str],
    /// Its path, with arguments in braces.
    pub(super) path: &'static str,
}

pub(super) const DECLARED: &[Kind] = &[
    Kind {
        name: "exchange",
        mandatory: &[One("name"), One("type")],
        optional: &[
            ("auto_delete", Text("false")),
            ("durable", Text("true")),
            ("internal", Text("false")),
            ("arguments", EmptyObject),
        ],
        json: &["arguments"],
        path: "/exchanges/{vhost}/{name}",
    },
    Kind {
        name: "queue",
        mandatory: &[One("name")],
        optional: &[
            ("auto_delete", Text("false")),
            ("durable", Text("true")),
            ("arguments", EmptyObject),
            ("node", Nothing),
            ("queue_type", Nothing),
        ],
        json: &["arguments"],
        path: "/queues/{vhost}/{name}",
    },
    Kind {
        name: "binding",
        mandatory: &[One("source"), One("destination")],
        optional: &[
            ("destination_type", Text("queue")),
            ("routing_key", Text("")),
            ("arguments", EmptyObject),
        ],
        json: &["arguments"],
        path: "/bindings/{vhost}/e/{source}/{destination_char}/{destination}",
    },
    Kind {
        name: "vhost",
        mandatory: &[One("name")],
        optional: &[("tracing", Nothing)],
        json: &[],
        path: "/vhosts/{name}",
    },
    Kind {
        name: "user",
        mandatory: &[One("name"), AnyOf(&["password", "password_hash"]), One("tags")],
        optional: &[("hashing_algorithm", Nothing)],
        json: &[],
        path: "/users/{name}",
    },
    Kind {
        name: "permission",
        mandatory: &[One("vhost"), One("user"), One("configure"), One("write"), One("read")],
        optional: &[],
        json: &[],
        path: "/permissions/{vhost}/{user}",
    },
    Kind {
        name: "parameter",
        mandatory: &[One("component"), One("name"), One("value")],
        optional: &[],
        json: &["value"],
        path: "/parameters/{component}/{vhost}/{name}",
    },
    policy("policy", "/policies/{vhost}/{name}"),
    policy("operator_policy", "/operator-policies/{vhost}/{name}"),
    Kind {
        name: "vhost_limit",
        mandatory: &[One("vhost"), One("name"), One("value")],
        optional: &[],
        json: &["value"],
        path: "/vhost-limits/{vhost}/{name}",
    },
];

const fn policy(name: &'static str, path: &'static str) -> Kind {
    Kind {
        name,
        mandatory: &[One("name"), One("pattern"), One("definition")],
        optional: &[("priority", Zero), ("apply-to", Nothing)],
        json: &["definition", "priority"],
        path,
    }
}

pub(super) const DELETED: &[Kind] = &[
    deleted("exchange", &[One("name")], "/exchanges/{vhost}/{name}"),
    deleted("queue", &[One("name")], "/queues/{vhost}/{name}"),
    Kind {
        name: "binding",
        mandatory: &[One("source"), One("destination_type"), One("destination")],
        optional: &[("properties_key", Text("~"))],
        json: &[],
        path: "/bindings/{vhost}/e/{source}/{destination_char}/{destination}/{properties_key}",
    },
    deleted("vhost", &[One("name")], "/vhosts/{name}"),
    deleted("user", &[One("name")], "/users/{name}"),
    deleted("permission", &[One("vhost"), One("user")], "/permissions/{vhost}/{user}"),
    deleted(
        "parameter",
        &[One("component"), One("name")],
        "/parameters/{component}/{vhost}/{name}",
    ),
    deleted("policy", &[One("name")], "/policies/{vhost}/{name}"),
    deleted("operator_policy", &[One("name")], "/operator-policies/{vhost}/{name}"),
    deleted("vhost_limit", &[One("vhost"), One("name")], "/vhost-limits/{vhost}/{name}"),
];

pub(super) const CLOSED: &[Kind] = &[deleted("connection", &[One("name")], "/connections/{name}")];

pub(super) const PURGED: &[Kind] =
    &[deleted("queue", &[One("name")], "/queues/{vhost}/{name}/contents")];

const fn deleted(name: &'static str, mandatory: &'static [Mandatory], path: &'static str) -> Kind {
    Kind { name, mandatory, optional: &[], json: &[], path }
}

/// The words that act on messages.
pub(super) const MESSAGES: &[Kind] = &[
    Kind {
        name: "publish",
        mandatory: &[One("routing_key")],
        optional: &[
            ("payload", Nothing),
            ("properties", EmptyObject),
            ("exchange", Text("amq.default")),
            ("payload_encoding", Text("string")),
        ],
        json: &["properties"],
        path: "/exchanges/{vhost}/{exchange}/publish",
    },
    Kind {
        name: "get",
        mandatory: &[One("queue")],
        optional: &[
            ("count", Text("1")),
            ("ackmode", Text("ack_requeue_true")),
            ("payload_file", Nothing),
            ("encoding", Text("auto")),
        ],
        json: &[],
        path: "/queues/{vhost}/{queue}/get",
    },
];
