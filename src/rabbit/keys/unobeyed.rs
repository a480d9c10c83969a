//! Keys that are not obeyed although somebody may count on them, and what happens instead.
//!
//! What is known and stands in no table makes no difference that a client could see, as sizes of buffers and pools do,
//! or belongs to a plugin that is told of when it is enabled.

use super::matches;

/// A key, and what happens instead.
const KEYS: &[(&str, &str)] = &[
    ("ssl_options.password", "the key must not be encrypted"),
    ("ssl_options.cert", "certificates are in files, as ssl_options.certfile"),
    ("ssl_options.key.RSAPrivateKey", "keys are in files, as ssl_options.keyfile"),
    ("ssl_options.key.DSAPrivateKey", "keys are in files, as ssl_options.keyfile"),
    ("ssl_options.key.PrivateKeyInfo", "keys are in files, as ssl_options.keyfile"),
    ("ssl_options.crl_check", "lists of revoked certificates are not looked at"),
    ("management.ssl.password", "the key must not be encrypted"),
    ("management.listener.ssl_opts.password", "the key must not be encrypted"),
    ("management.path_prefix", "the HTTP API is at /api"),
    ("management.cors.allow_origins.$name", "pages of other origins cannot use the HTTP API"),
    ("management.disable_basic_auth", "the HTTP API takes passwords"),
    ("management.oauth_enabled", "the HTTP API takes passwords"),
    ("management.http_log_dir", "requests are not logged"),
    ("default_users.$user.vhost_pattern", "define this user in definitions, as users"),
    ("default_users.$user.password", "define this user in definitions, as users"),
    ("default_users.$user.configure", "define this user in definitions, as permissions"),
    ("default_users.$user.write", "define this user in definitions, as permissions"),
    ("default_users.$user.read", "define this user in definitions, as permissions"),
    ("default_users.$user.tags", "define this user in definitions, as users"),
    ("default_limits.vhosts.$id.pattern", "limit each virtual host in definitions"),
    ("default_limits.vhosts.$id.max_connections", "limit each virtual host in definitions"),
    ("default_limits.vhosts.$id.max_queues", "limit each virtual host in definitions"),
    ("default_policies.operator.$id.$name", "define operator policies in definitions"),
    (
        "default_policies.operator.$id.classic_queues.$name",
        "define operator policies in definitions",
    ),
    ("definitions.skip_if_unchanged", "definitions are imported at each start"),
    ("definitions.hashing.algorithm", "definitions are imported at each start"),
    ("password_hashing_module", "new passwords are hashed with SHA-256"),
    ("credential_validator.validation_backend", "any password is taken"),
    ("credential_validator.min_length", "any password is taken"),
    ("credential_validator.regexp", "any password is taken"),
    ("channel_max_per_node", "only the channels of a connection are counted (channel_max)"),
    ("vhost_max", "there may be any number of virtual hosts"),
    ("cluster_exchange_limit", "exchanges count against the limit of memory alone"),
    ("message_interceptors.$stage.$name.$key", "messages stay as they are"),
    ("message_interceptors.incoming.$interceptor.overwrite", "messages stay as they are"),
    ("anonymous_login_user", "nobody logs in without a name"),
    ("anonymous_login_pass", "nobody logs in without a name"),
    (
        "quorum_queue.property_equivalence.relaxed_checks_on_redeclaration",
        "a queue that is declared again must be the same",
    ),
    ("log.exchange", "the log is not published"),
    ("log.syslog", "the log goes to standard error or to a file"),
    ("log.file.rotation.date", "the file of the log grows; rotate it with copytruncate"),
    ("log.file.rotation.size", "the file of the log grows; rotate it with copytruncate"),
    ("log.file.rotation.count", "the file of the log grows; rotate it with copytruncate"),
    ("log.connection.file", "there is one file for the log"),
    ("log.channel.file", "there is one file for the log"),
    ("stream.listeners.tcp.$name", "leveret does not speak the stream protocol"),
    ("stream.listeners.ssl.$name", "leveret does not speak the stream protocol"),
    ("mqtt.listeners.tcp.$name", "leveret does not speak MQTT"),
    ("mqtt.listeners.ssl.$name", "leveret does not speak MQTT"),
    ("web_mqtt.tcp.port", "leveret does not speak MQTT"),
    ("web_mqtt.ssl.port", "leveret does not speak MQTT"),
    ("stomp.listeners.tcp.$name", "leveret does not speak STOMP"),
    ("stomp.listeners.ssl.$name", "leveret does not speak STOMP"),
    ("web_stomp.tcp.port", "leveret does not speak STOMP"),
    ("web_stomp.ssl.port", "leveret does not speak STOMP"),
    ("prometheus.tcp.port", "leveret has no metrics for Prometheus"),
    ("prometheus.ssl.port", "leveret has no metrics for Prometheus"),
    ("cluster_formation.peer_discovery_backend", "leveret has no clusters"),
    ("cluster_formation.classic_config.nodes.$node", "leveret has no clusters"),
];

/// What happens instead of obeying this key, if it is one of these.
pub(super) fn instead(key: &str) -> Option<&'static str> {
    let row = KEYS.iter().find(|(pattern, _)| matches(pattern, key));
    row.map(|(_, instead)| *instead)
}

#[cfg(test)]
pub(super) fn patterns() -> impl Iterator<Item = &'static str> {
    KEYS.iter().map(|(pattern, _)| *pattern)
}
