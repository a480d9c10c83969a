//! Plugins: which are enabled, what they need, and what leveret has in their place.

use std::path::Path;

use super::entry::{ConfigError, Notice, Place};
use super::nearest::nearest;
use super::terms::{self, Term};

/// What leveret has of a plugin.
enum Served {
    /// What it does, or nothing that a client could miss.
    Yes,
    /// Not this.
    No(&'static str),
}

use Served::{No, Yes};

/// RabbitMQ's plugins.
const PLUGINS: &[(&str, Served)] = &[
    ("rabbitmq_management", Yes),
    ("rabbitmq_management_agent", Yes),
    ("rabbitmq_web_dispatch", Yes),
    ("rabbitmq_delayed_message_exchange", Yes),
    ("rabbitmq_consistent_hash_exchange", Yes),
    ("rabbitmq_random_exchange", Yes),
    ("rabbitmq_message_deduplication", Yes),
    ("rabbitmq_auth_mechanism_ssl", Yes),
    ("rabbitmq_peer_discovery_common", Yes),
    ("rabbitmq_peer_discovery_aws", Yes),
    ("rabbitmq_peer_discovery_consul", Yes),
    ("rabbitmq_peer_discovery_etcd", Yes),
    ("rabbitmq_peer_discovery_k8s", Yes),
    ("rabbitmq_prometheus", No("leveret has no metrics for Prometheus")),
    ("rabbitmq_shovel", No("leveret moves no messages between brokers")),
    ("rabbitmq_shovel_management", No("leveret moves no messages between brokers")),
    ("rabbitmq_shovel_prometheus", No("leveret moves no messages between brokers")),
    ("rabbitmq_federation", No("leveret federates nothing")),
    ("rabbitmq_queue_federation", No("leveret federates nothing")),
    ("rabbitmq_exchange_federation", No("leveret federates nothing")),
    ("rabbitmq_federation_management", No("leveret federates nothing")),
    ("rabbitmq_federation_prometheus", No("leveret federates nothing")),
    ("rabbitmq_event_exchange", No("leveret has no exchange amq.rabbitmq.event")),
    ("rabbitmq_recent_history_exchange", No("leveret has no exchanges that keep messages")),
    ("rabbitmq_jms_topic_exchange", No("leveret has no exchanges for JMS")),
    ("rabbitmq_sharding", No("leveret has no sharded queues")),
    (
        "rabbitmq_tracing",
        No("leveret writes no traces to files; tracing by amq.rabbitmq.trace is there"),
    ),
    ("rabbitmq_top", No("leveret has no processes of Erlang to show")),
    ("rabbitmq_mqtt", No("leveret does not speak MQTT; nothing listens on 1883")),
    ("rabbitmq_web_mqtt", No("leveret does not speak MQTT; nothing listens on 15675")),
    ("rabbitmq_web_mqtt_examples", No("leveret does not speak MQTT; nothing listens on 15675")),
    ("rabbitmq_stomp", No("leveret does not speak STOMP; nothing listens on 61613")),
    ("rabbitmq_web_stomp", No("leveret does not speak STOMP; nothing listens on 15674")),
    ("rabbitmq_web_stomp_examples", No("leveret does not speak STOMP; nothing listens on 15674")),
    ("rabbitmq_stream", No("leveret does not speak the stream protocol; nothing listens on 5552")),
    ("rabbitmq_stream_common", No("leveret does not speak the stream protocol")),
    ("rabbitmq_stream_management", No("leveret does not speak the stream protocol")),
    ("rabbitmq_amqp1_0", No("leveret does not speak AMQP 1.0")),
    ("rabbitmq_auth_backend_cache", No("leveret asks its own users alone")),
    ("rabbitmq_auth_backend_http", No("leveret asks its own users alone")),
    ("rabbitmq_auth_backend_internal_loopback", No("leveret asks its own users alone")),
    ("rabbitmq_auth_backend_ldap", No("leveret asks its own users alone")),
    ("rabbitmq_auth_backend_oauth2", No("leveret asks its own users alone")),
    ("rabbitmq_trust_store", No("leveret reads authorities from the file ssl_options.cacertfile")),
];

/// What some of them need.
const NEEDS: &[(&str, &[&str])] = &[
    ("rabbitmq_management", &["rabbitmq_management_agent", "rabbitmq_web_dispatch"]),
    ("rabbitmq_prometheus", &["rabbitmq_management_agent", "rabbitmq_web_dispatch"]),
    (
        "rabbitmq_tracing",
        &["rabbitmq_management", "rabbitmq_management_agent", "rabbitmq_web_dispatch"],
    ),
    (
        "rabbitmq_top",
        &["rabbitmq_management", "rabbitmq_management_agent", "rabbitmq_web_dispatch"],
    ),
    ("rabbitmq_web_mqtt", &["rabbitmq_mqtt", "rabbitmq_web_dispatch"]),
    ("rabbitmq_web_stomp", &["rabbitmq_stomp", "rabbitmq_web_dispatch"]),
    ("rabbitmq_stream", &["rabbitmq_stream_common"]),
];

/// Reads a file such as `[rabbitmq_management, rabbitmq_shovel].`
///
/// # Errors
/// For a text that is no list of names.
pub(crate) fn parse_file(text: &str, file: &Path) -> Result<Vec<String>, ConfigError> {
    let at = |line| Place::Line(file.to_owned(), line);
    let term = terms::parse_file(text);
    let term = term.map_err(|error| ConfigError::new(&at(error.line), error.text))?;
    let Some(term) = term else { return Ok(Vec::new()) };
    let names = term.list().and_then(|names| names.iter().map(Term::scalar).collect());
    names.ok_or_else(|| {
        ConfigError::new(&at(term.line), "a list is expected, as in [rabbitmq_management].")
    })
}

/// The names of all plugins, in their order.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    let mut names: Vec<&str> = PLUGINS.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    names.into_iter()
}

/// These and all that they need, by name.
pub(crate) fn with_needs(names: &[String]) -> Vec<String> {
    let mut enabled: Vec<String> = names.to_vec();
    for name in names {
        let needs = NEEDS.iter().find(|(plugin, _)| plugin == name);
        enabled.extend(needs.into_iter().flat_map(|(_, needs)| *needs).map(|it| (*it).to_owned()));
    }
    enabled.sort_unstable();
    enabled.dedup();
    enabled
}

/// What is to be said of those among these that leveret has not.
pub(crate) fn not_served(names: &[String]) -> impl Iterator<Item = String> {
    let found = names.iter().filter_map(|name| PLUGINS.iter().find(|(plugin, _)| plugin == name));
    found.filter_map(|(name, served)| match served {
        Yes => None,
        No(instead) => Some(format!("{name} is enabled, but {instead}")),
    })
}

/// What there is to say of these.
pub(super) fn notices(names: &[String], place: &Place) -> Vec<Notice> {
    let mut notices = Vec::new();
    for name in names {
        match PLUGINS.iter().find(|(plugin, _)| plugin == name) {
            Some((_, Yes)) => {}
            Some((_, No(instead))) => {
                notices.push(Notice::warning(place, format!("{name} is enabled, but {instead}")));
            }
            None => {
                let meant = nearest(name, PLUGINS.iter().map(|(plugin, _)| *plugin));
                let meant = meant.map(|meant| format!(" Did you mean {meant}?"));
                let text = format!("there is no plugin {name}.{}", meant.unwrap_or_default());
                notices.push(Notice::warning(place, text));
            }
        }
    }
    notices
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_brings_what_it_needs() {
        let names = parse_file("[rabbitmq_management].\n", Path::new("p")).unwrap();
        let (enabled, notices) = (with_needs(&names), notices(&names, &Place::File("p".into())));
        let expected =
            ["rabbitmq_management", "rabbitmq_management_agent", "rabbitmq_web_dispatch"];
        assert_eq!(enabled, expected);
        assert_eq!(notices, []);
    }

    #[test]
    fn a_plugin_that_is_not_served_is_told() {
        let names = ["rabbitmq_mqtt".to_owned(), "rabbitmq_shovl".to_owned()];
        let (enabled, notices) = (with_needs(&names), notices(&names, &Place::File("p".into())));
        assert_eq!(enabled, ["rabbitmq_mqtt", "rabbitmq_shovl"]);
        let texts: Vec<_> = notices.iter().map(|it| it.text.as_str()).collect();
        assert_eq!(
            texts,
            [
                "p: rabbitmq_mqtt is enabled, but leveret does not speak MQTT; nothing listens on 1883",
                "p: there is no plugin rabbitmq_shovl. Did you mean rabbitmq_shovel?",
            ]
        );
    }

    #[test]
    fn a_file_that_is_no_list_is_refused() {
        for (text, said) in [
            ("[a", "p:1: a comma or ] is missing"),
            ("a.", "p:1: a list is expected"),
            ("[{a}].", "p:1: a list is expected"),
        ] {
            let error = parse_file(text, Path::new("p")).unwrap_err().to_string();
            assert!(error.starts_with(said), "{error}");
        }
        assert_eq!(parse_file("", Path::new("p")), Ok(Vec::new()));
    }
}
