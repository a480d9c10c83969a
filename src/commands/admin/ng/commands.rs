//! The commands, by their two words.

use super::Ended;
use super::lists::{LISTS, List};
use super::objects::{OBJECTS, Object};
use super::words::Flag;

/// A command.
pub(super) struct Command {
    /// Its words.
    pub(super) name: String,
    pub(super) flags: &'static [Flag],
    pub(super) deed: Deed,
}

/// What a command does.
#[derive(Clone, Copy)]
pub(super) enum Deed {
    Declare(&'static Object),
    Delete(&'static Object),
    List(&'static List),
    Other(Other),
}

/// Commands that are about no kind of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Other {
    Publish,
    Get,
    Purge,
    CloseConnection,
    CloseUser,
    Overview,
    Churn,
    Endpoint,
    Export,
    ExportVhost,
    Import,
    ImportVhost,
    /// Asks this path below `/health/checks`.
    Check(&'static str),
}

const FILE: &[Flag] = &[Flag::optional("file"), Flag::switch("stdout")];
const INPUT: &[Flag] = &[Flag::optional("file"), Flag::switch("stdin")];
const CLOSE: &[Flag] = &[Flag::required("name"), Flag::switch("idempotently")];

/// The others, with their words.
const OTHERS: &[(&str, &str, &[Flag], Other)] = &[
    (
        "publish",
        "message",
        &[
            Flag::optional("routing-key").short('k').otherwise(""),
            Flag::optional("exchange").short('e').otherwise(""),
            Flag::optional("payload").short('m').otherwise("test"),
            Flag::optional("payload-file").short('f'),
            Flag::optional("properties").short('p').json().otherwise("{}"),
        ],
        Other::Publish,
    ),
    (
        "get",
        "messages",
        &[
            Flag::required("queue").short('q'),
            Flag::optional("count").short('c').number().otherwise("1"),
            Flag::optional("ack-mode").short('a').otherwise("ack_requeue_false"),
        ],
        Other::Get,
    ),
    ("purge", "queue", &[Flag::required("name")], Other::Purge),
    ("queues", "purge", &[Flag::required("name")], Other::Purge),
    ("close", "connection", CLOSE, Other::CloseConnection),
    ("connections", "close", CLOSE, Other::CloseConnection),
    (
        "close",
        "user_connections",
        &[Flag::required("username").short('u'), Flag::switch("idempotently")],
        Other::CloseUser,
    ),
    ("show", "overview", &[], Other::Overview),
    ("show", "churn", &[], Other::Churn),
    ("show", "endpoint", &[], Other::Endpoint),
    ("definitions", "export", FILE, Other::Export),
    ("export", "definitions", FILE, Other::Export),
    ("definitions", "export_from_vhost", FILE, Other::ExportVhost),
    ("definitions", "import", INPUT, Other::Import),
    ("import", "definitions", INPUT, Other::Import),
    ("definitions", "import_into_vhost", INPUT, Other::ImportVhost),
    ("health_check", "local_alarms", &[], Other::Check("local-alarms")),
    ("health_check", "cluster_wide_alarms", &[], Other::Check("alarms")),
    ("health_check", "node_is_quorum_critical", &[], Other::Check("node-is-quorum-critical")),
    (
        "health_check",
        "port_listener",
        &[Flag::required("port")],
        Other::Check("port-listener/{port}"),
    ),
    (
        "health_check",
        "protocol_listener",
        &[Flag::required("protocol")],
        Other::Check("protocol-listener/{protocol}"),
    ),
];

/// The command that these words name; none when more words are needed.
pub(super) fn find(named: &[&str]) -> Result<Option<Command>, Ended> {
    let unknown = |word: &str, usage: &str| {
        Err(Ended::Words(format!(
            "unrecognized subcommand '{word}'\n\nUsage: rabbitmqadmin{usage}"
        )))
    };
    let (first, second) = match *named {
        [] => return Ok(None),
        [first] if below(&[first]).is_empty() => return unknown(first, " [OPTIONS] <COMMAND>"),
        [_] => return Ok(None),
        [first, second, ..] => (first, second),
    };
    let other = OTHERS.iter().find(|(one, two, ..)| (*one, *two) == (first, second));
    let (flags, deed): (&'static [Flag], Deed) = match other {
        Some((.., flags, other)) => (*flags, Deed::Other(*other)),
        None => {
            // `queues declare` says the same as `declare queue`.
            let in_group = OBJECTS.iter().find(|object| object.group == first);
            let object = |name: &str| OBJECTS.iter().find(|object| object.name == name);
            match (first, second) {
                ("list", name) | (name, "list") => {
                    match LISTS.iter().find(|list| list.name == name) {
                        Some(list) => (&[][..], Deed::List(list)),
                        None => return unknown(second, &format!(" {first} [OPTIONS] [COMMAND]")),
                    }
                }
                ("declare", name) | ("delete", name) => match (first, object(name)) {
                    ("declare", Some(object)) if !object.declare.is_empty() => {
                        (object.declare, Deed::Declare(object))
                    }
                    ("delete", Some(object)) => (object.delete, Deed::Delete(object)),
                    _ => return unknown(second, &format!(" {first} [OPTIONS] [COMMAND]")),
                },
                (_, verb) => match (verb, in_group) {
                    ("declare", Some(object)) => (object.declare, Deed::Declare(object)),
                    ("delete", Some(object)) => (object.delete, Deed::Delete(object)),
                    _ => return unknown(second, &format!(" {first} [OPTIONS] [COMMAND]")),
                },
            }
        }
    };
    Ok(Some(Command { name: format!("{first} {second}"), flags, deed }))
}

/// The words that may follow these.
pub(super) fn below(named: &[&str]) -> Vec<&'static str> {
    let mut names: Vec<&'static str> = match *named {
        [] => {
            let groups = OBJECTS.iter().map(|object| object.group);
            let lists = LISTS.iter().map(|list| list.name);
            let others = OTHERS.iter().map(|(one, ..)| *one);
            ["declare", "delete", "list"]
                .into_iter()
                .chain(groups)
                .chain(lists)
                .chain(others)
                .collect()
        }
        [first, ..] => {
            let mut names: Vec<&'static str> =
                OTHERS.iter().filter(|(one, ..)| *one == first).map(|(_, two, ..)| *two).collect();
            match first {
                "list" => names.extend(LISTS.iter().map(|list| list.name)),
                "declare" => {
                    let declared = OBJECTS.iter().filter(|object| !object.declare.is_empty());
                    names.extend(declared.map(|object| object.name));
                }
                "delete" => names.extend(OBJECTS.iter().map(|object| object.name)),
                _ => {}
            }
            if LISTS.iter().any(|list| list.name == first) {
                names.push("list");
            }
            if OBJECTS.iter().any(|object| object.group == first) {
                names.extend(["declare", "delete"]);
            }
            names
        }
    };
    names.sort_unstable();
    names.dedup();
    names
}

/// The options of all commands together.
pub(super) fn all_flags() -> impl Iterator<Item = &'static Flag> {
    let objects = OBJECTS.iter().flat_map(|object| object.declare.iter().chain(object.delete));
    objects.chain(OTHERS.iter().flat_map(|(_, _, flags, _)| flags.iter()))
}
