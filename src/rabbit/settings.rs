//! What a configuration says, in leveret's terms: the values of its options.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::entry::{ConfigError, Notice};
use crate::config::{DefinitionsSource, FirstObjects, Storage, TlsVersions, UserFrom};

/// What a configuration says. What it does not say is absent.
#[derive(Clone, Default)]
pub struct Settings {
    /// The addresses to listen on.
    pub listen: Vec<SocketAddr>,
    /// The addresses to listen on for TLS.
    pub tls_listen: Vec<SocketAddr>,
    /// What TLS is made of.
    pub tls: TlsSettings,
    /// Where the management API is to be.
    pub management: Option<SocketAddr>,
    /// Whether it is secured.
    pub management_tls: bool,
    /// Users that may connect from this machine alone.
    pub loopback_users: Option<Vec<String>>,
    /// What is made on a data directory that is new.
    pub first: FirstObjects,
    /// The name of the cluster.
    pub cluster_name: Option<String>,
    /// Where definitions are.
    pub definitions: Option<DefinitionsSource>,
    /// What bounds clients.
    pub limits: LimitSettings,
    /// What to log, in the syntax of `--log`.
    pub log: Option<String>,
    /// Where the log goes.
    pub log_target: LogTarget,
    /// What only a node has that is started in RabbitMQ's way.
    pub node: Option<Node>,
    /// Why there is nowhere to listen, where the configuration wants it so; options may name an address.
    pub nowhere: Option<ConfigError>,
    /// What to log of all this.
    pub notices: Vec<Notice>,
}

/// What TLS is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// The certificate.
    pub certificate: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
    /// Authorities of clients' certificates, if clients are asked for one.
    pub client_ca: Option<PathBuf>,
    /// Whether clients without one are turned away.
    pub require_client_certificate: bool,
    /// What of a certificate is the name of its user.
    pub user_from: Option<UserFrom>,
    /// Which versions are spoken.
    pub versions: TlsVersions,
    /// What is missing of these, unless options say it.
    pub missing: Option<ConfigError>,
}

/// What bounds clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitSettings {
    /// Connections open at once.
    pub max_connections: Option<usize>,
    /// Memory that messages may take, in bytes.
    pub memory_limit: Option<u64>,
    /// Room on the disk below which publishers are blocked, in bytes.
    pub disk_free_limit: Option<u64>,
    /// Channels open at once on a connection.
    pub channel_max: Option<u16>,
    /// Largest frame, in bytes.
    pub frame_max: Option<u32>,
    /// Heartbeat timeout that is proposed, in seconds.
    pub heartbeat_secs: Option<u16>,
    /// How long a connection may take to be open.
    pub handshake_timeout: Option<Duration>,
    /// How long a delivery may wait for its acknowledgement; zero for ever.
    pub consumer_timeout: Option<Duration>,
    /// Largest message body, in bytes.
    pub max_message_size: Option<u64>,
    /// Consumers that a channel may have.
    pub max_consumers_per_channel: Option<usize>,
}

/// Where the log goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LogTarget {
    /// Standard error.
    #[default]
    Stderr,
    /// Standard output.
    Stdout,
    /// The end of this file.
    File(PathBuf),
}

/// A node that is started in RabbitMQ's way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Its name, such as `rabbit@host`.
    pub name: String,
    /// Where it keeps its data.
    pub data_dir: PathBuf,
    /// The file with its process id; beside its data when absent.
    pub pid_file: Option<PathBuf>,
    /// Whether that file stays when it ends.
    pub keep_pid_file: bool,
    /// The plugins that are enabled, and those that they need.
    pub plugins: Vec<String>,
    /// The file that names them.
    pub enabled_plugins_file: PathBuf,
    /// The files that its configuration was read from.
    pub config_files: Vec<PathBuf>,
    /// Where the management API is when its plugin is enabled.
    pub management: Option<SocketAddr>,
}

impl Node {
    /// The node with its data here. Without an own one its file with the process id is beside them.
    ///
    /// rabbitmq: the name of the directory and `.pid`.
    #[must_use]
    pub fn at(mut self, storage: &Storage) -> Self {
        if let Storage::Directory(data_dir) = storage {
            self.data_dir.clone_from(data_dir);
            let mut beside = data_dir.clone().into_os_string();
            beside.push(".pid");
            self.pid_file.get_or_insert(beside.into());
        }
        self
    }
}

// invariant: a password never reaches a log.
impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("listen", &self.listen)
            .field("tls_listen", &self.tls_listen)
            .field("tls", &self.tls)
            .field("management", &self.management)
            .field("management_tls", &self.management_tls)
            .field("loopback_users", &self.loopback_users)
            .field("limits", &self.limits)
            .field("log", &self.log)
            .field("log_target", &self.log_target)
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}
