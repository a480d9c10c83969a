//! The names of variables, without the `RABBITMQ_` that all begin with, and what each is good for.

/// Variables that say what a key says. Of two for the same key the first that is set counts.
pub(super) const KEYS: &[(&str, &str)] = &[
    ("DEFAULT_USER", "default_user"),
    ("USERNAME", "default_user"),
    ("DEFAULT_PASS", "default_pass"),
    ("PASSWORD", "default_pass"),
    ("DEFAULT_VHOST", "default_vhost"),
    ("VHOST", "default_vhost"),
    ("SSL_CACERTFILE", "ssl_options.cacertfile"),
    ("SSL_CA_FILE", "ssl_options.cacertfile"),
    ("SSL_CERTFILE", "ssl_options.certfile"),
    ("SSL_CERT_FILE", "ssl_options.certfile"),
    ("SSL_KEYFILE", "ssl_options.keyfile"),
    ("SSL_KEY_FILE", "ssl_options.keyfile"),
    ("SSL_VERIFY", "ssl_options.verify"),
    ("SSL_FAIL_IF_NO_PEER_CERT", "ssl_options.fail_if_no_peer_cert"),
    ("SSL_DEPTH", "ssl_options.depth"),
    ("MANAGEMENT_SSL_CACERTFILE", "management.ssl.cacertfile"),
    ("MANAGEMENT_SSL_CERTFILE", "management.ssl.certfile"),
    ("MANAGEMENT_SSL_KEYFILE", "management.ssl.keyfile"),
    ("MANAGEMENT_SSL_VERIFY", "management.ssl.verify"),
    ("MANAGEMENT_SSL_FAIL_IF_NO_PEER_CERT", "management.ssl.fail_if_no_peer_cert"),
    ("MANAGEMENT_SSL_DEPTH", "management.ssl.depth"),
    ("MANAGEMENT_PORT", "management.tcp.port"),
    ("MANAGEMENT_PORT_NUMBER", "management.tcp.port"),
    ("MANAGEMENT_BIND_IP", "management.tcp.ip"),
    ("DISK_FREE_RELATIVE_LIMIT", "disk_free_limit.relative"),
    ("DISK_FREE_ABSOLUTE_LIMIT", "disk_free_limit.absolute"),
    ("CLUSTER_NAME", "cluster_name"),
];

/// Variables whose value may be in a file that `…_FILE` names.
pub(super) const IN_FILES: &[&str] = &[
    "DEFAULT_USER",
    "DEFAULT_PASS",
    "DEFAULT_VHOST",
    "USERNAME",
    "PASSWORD",
    "VHOST",
    "ERLANG_COOKIE",
    "ERL_COOKIE",
];

/// Variables that are read elsewhere in this room.
pub(super) const READ: &[&str] = &[
    "NODE_PORT",
    "NODE_PORT_NUMBER",
    "NODE_IP_ADDRESS",
    "NODENAME",
    "NODE_NAME",
    "USE_LONGNAME",
    "CONFIG_FILE",
    "CONFIG_FILES",
    "ADVANCED_CONFIG_FILE",
    "CONF_ENV_FILE",
    "ENABLED_PLUGINS_FILE",
    "ENABLED_PLUGINS",
    "PLUGINS",
    "MNESIA_BASE",
    "MNESIA_DIR",
    "DATA_DIR",
    "PID_FILE",
    "KEEP_PID_FILE_ON_EXIT",
    "LOGS",
    "LOG",
    "LOG_BASE",
    "VM_MEMORY_HIGH_WATERMARK",
    "DISK_FREE_LIMIT",
    "LOAD_DEFINITIONS",
    "DEFINITIONS_FILE",
    "SERVER_ADDITIONAL_ERL_ARGS",
    "SERVER_ERL_ARGS",
];

/// Variables that are known and have no effect.
pub(super) const WITHOUT_EFFECT: &[&str] = &[
    "ERLANG_COOKIE",
    "ERL_COOKIE",
    "CTL_ERL_ARGS",
    "CTL_DIST_PORT_MIN",
    "CTL_DIST_PORT_MAX",
    "DIST_PORT",
    "FEATURE_FLAGS",
    "FEATURE_FLAGS_FILE",
    "LOG_FF_REGISTRY",
    "IO_THREAD_POOL_SIZE",
    "SCHEDULER_BIND_TYPE",
    "DISTRIBUTION_BUFFER_SIZE",
    "DEFAULT_ALLOC_ARGS",
    "MAX_NUMBER_OF_PROCESSES",
    "MAX_NUMBER_OF_ATOMS",
    "MAX_OPEN_FILES",
    "SERVER_START_ARGS",
    "SERVER_CODE_PATH",
    "IGNORE_SIGINT",
    "BOOT_MODULE",
    "DBG",
    "QUORUM_DIR",
    "STREAM_DIR",
    "STREAM_QUEUE_DIR",
    "SCHEMA_DIR",
    "GENERATED_CONFIG_DIR",
    "PLUGINS_DIR",
    "PLUGINS_EXPAND_DIR",
    "COMMUNITY_PLUGINS",
    "HOME",
    "BASE",
    "SYSCONFDIR",
    "ALLOW_INPUT",
    "PRODUCT_NAME",
    "PRODUCT_VERSION",
    "MOTD_FILE",
    "UPGRADE_LOG",
    "SASL_LOGS",
    "SERVICENAME",
    "SCRIPTS_DIR",
    "CONSOLE_LOG",
    "HIPE_COMPILE",
    "VERSION",
    "PGP_KEY_ID",
    "USE_OPENSSL_CRYPTO",
    "NODE_TYPE",
    "NODE_DEFAULT_QUEUE_TYPE",
    "CLUSTER_NODE_NAME",
    "CLUSTER_PARTITION_HANDLING",
    "CLUSTER_REBALANCE",
    "CLUSTER_REBALANCE_ATTEMPTS",
    "FORCE_BOOT",
    "ENABLE_LDAP",
    "LDAP_ENABLE",
    "LDAP_TLS",
    "MANAGEMENT_ALLOW_WEB_ACCESS",
    "SECURE_PASSWORD",
    "ULIMIT_NOFILES",
    "MNT_DIR",
    "USE_SYSLOG",
    "RABBITMQCTL_PATH",
    "RABBITMQCTL",
    "SERVER",
    "DIST_PORT_NUMBER",
];

/// Variables that are taken, and that RabbitMQ's own image refuses to start with.
pub(super) const DEPRECATED: &[&str] =
    &["SSL_", "MANAGEMENT_SSL_", "HIPE_COMPILE", "VM_MEMORY_HIGH_WATERMARK"];

/// Whether it is a variable that Kubernetes and links of Docker set for a service called rabbitmq.
pub(super) fn is_link(name: &str, value: &str) -> bool {
    value.starts_with("tcp://")
        || name == "PORT"
        || name.ends_with("SERVICE_HOST")
        || name.contains("SERVICE_PORT")
        || name.contains("_TCP")
        || name.starts_with("ENV_")
        || name == "NAME"
}
