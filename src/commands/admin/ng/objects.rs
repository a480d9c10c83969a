//! The kinds of objects that are declared and deleted, with their options and their paths.

use super::words::Flag;

/// A kind of object.
pub(super) struct Object {
    pub(super) name: &'static str,
    /// The group in front of which its words may stand as well: `queues declare`.
    pub(super) group: &'static str,
    /// Where it is, with options in braces.
    pub(super) path: &'static str,
    pub(super) declare: &'static [Flag],
    pub(super) delete: &'static [Flag],
}

const NAME: Flag = Flag::required("name");
const USERNAME: Flag = Flag::required("username").path_only();
const ARGUMENTS: Flag = Flag::optional("arguments").json().otherwise("{}");
const DURABLE: Flag = Flag::optional("durable").choice().otherwise("true");
const AUTO_DELETE: Flag =
    Flag::optional("auto-delete").choice().field("auto_delete").otherwise("false");
const IDEMPOTENTLY: Flag = Flag::switch("idempotently").path_only();

const POLICY: &[Flag] = &[
    NAME,
    Flag::required("pattern"),
    Flag::required("apply-to"),
    Flag::optional("priority").number().otherwise("0"),
    Flag::required("definition").json(),
];
const BINDING: &[Flag] = &[
    Flag::required("source").path_only(),
    Flag::required("destination-type").path_only(),
    Flag::required("destination").path_only(),
    Flag::required("routing-key").field("routing_key"),
    ARGUMENTS,
    IDEMPOTENTLY,
];
const NAMED: &[Flag] = &[NAME, IDEMPOTENTLY];

pub(super) const OBJECTS: &[Object] = &[
    Object {
        name: "queue",
        group: "queues",
        path: "/queues/{vhost}/{name}",
        declare: &[
            NAME,
            Flag::optional("type").otherwise("classic"),
            DURABLE,
            AUTO_DELETE,
            ARGUMENTS,
        ],
        delete: NAMED,
    },
    Object {
        name: "stream",
        group: "streams",
        path: "/queues/{vhost}/{name}",
        declare: &[
            NAME,
            Flag::required("expiration"),
            Flag::optional("max-length-bytes"),
            Flag::optional("stream-max-segment-size-bytes"),
            ARGUMENTS,
        ],
        delete: NAMED,
    },
    Object {
        name: "exchange",
        group: "exchanges",
        path: "/exchanges/{vhost}/{name}",
        declare: &[
            NAME,
            Flag::optional("type").otherwise("direct"),
            DURABLE,
            AUTO_DELETE,
            ARGUMENTS,
        ],
        delete: NAMED,
    },
    Object {
        name: "binding",
        group: "bindings",
        path: "/bindings/{vhost}/e/{source}/{destination-char}/{destination}",
        declare: BINDING,
        delete: BINDING,
    },
    Object {
        name: "user",
        group: "users",
        path: "/users/{name}",
        declare: &[
            NAME,
            Flag::optional("password"),
            Flag::optional("password-hash").field("password_hash"),
            Flag::optional("hashing-algorithm").field("hashing_algorithm"),
            Flag::optional("tags").otherwise(""),
        ],
        delete: NAMED,
    },
    Object {
        name: "vhost",
        group: "vhosts",
        path: "/vhosts/{name}",
        declare: &[
            NAME,
            Flag::optional("default-queue-type").field("default_queue_type"),
            Flag::optional("description"),
            Flag::switch("tracing"),
        ],
        delete: NAMED,
    },
    Object {
        name: "permissions",
        group: "permissions",
        path: "/permissions/{vhost}/{username}",
        declare: &[
            USERNAME,
            Flag::required("configure"),
            Flag::required("read"),
            Flag::required("write"),
        ],
        delete: &[USERNAME, IDEMPOTENTLY],
    },
    Object {
        name: "parameter",
        group: "parameters",
        path: "/parameters/{component}/{vhost}/{name}",
        declare: &[NAME, Flag::required("component"), Flag::required("value").json()],
        delete: &[NAME, Flag::required("component"), IDEMPOTENTLY],
    },
    Object {
        name: "policy",
        group: "policies",
        path: "/policies/{vhost}/{name}",
        declare: POLICY,
        delete: NAMED,
    },
    Object {
        name: "operator_policy",
        group: "operator_policies",
        path: "/operator-policies/{vhost}/{name}",
        declare: POLICY,
        delete: NAMED,
    },
    Object {
        name: "vhost_limit",
        group: "vhost_limits",
        path: "/vhost-limits/{vhost}/{name}",
        declare: &[NAME, Flag::required("value").number()],
        delete: NAMED,
    },
    Object {
        name: "user_limit",
        group: "user_limits",
        path: "/user-limits/{username}/{name}",
        declare: &[USERNAME, NAME, Flag::required("value").number()],
        delete: &[USERNAME, NAME, IDEMPOTENTLY],
    },
    Object {
        name: "shovel",
        group: "shovels",
        path: "/parameters/shovel/{vhost}/{name}",
        declare: &[],
        delete: NAMED,
    },
];
