//! What a broker is told before it starts.
//!
//! Values alone: where they come from (the builder, the command line) and what is done with them
//! is other modules' business.

mod tls;

pub use self::tls::{Pem, Tls, TlsVersions, UserFrom};

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::broker::connection::ConnectionSettings;
use crate::broker::limits::{self, ClientLimits};

/// Where clients look for a broker: AMQP's registered port on the machine itself.
///
/// rabbitmq: listens on all interfaces. A new user's broker with a well-known password does not.
pub const DEFAULT_LISTEN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 5672);

/// Where the program keeps its data unless told otherwise, relative to the working directory.
pub const DEFAULT_DATA_DIR: &str = "./leveret-data";

/// While less is free on the disk of the data directory, publishers are blocked unless told otherwise, in bytes.
///
/// rabbitmq: `disk_free_limit`, of 50 MB.
pub const DISK_FREE_LIMIT: u64 = 50_000_000;

/// How long a log file is when it is followed by a new one unless told otherwise, in bytes.
pub const LOG_FILE_BYTES: u64 = 64 * 1024 * 1024;

/// The shortest that may be asked for, in bytes: the catalog is written anew for each.
pub const LEAST_LOG_FILE_BYTES: u64 = 1024 * 1024;

/// The user that may connect from this machine alone unless told otherwise, since everybody knows
/// its password.
///
/// rabbitmq: `loopback_users`.
pub const DEFAULT_LOOPBACK_USER: &str = "guest";

/// How a broker is to run.
#[derive(Clone)]
pub struct Config {
    /// The addresses to listen on. Port 0 lets the system choose.
    pub listen: Vec<SocketAddr>,
    /// The addresses to listen on for TLS. Port 0 lets the system choose. Nothing without `tls`.
    pub tls_listen: Vec<SocketAddr>,
    /// How connections to `tls_listen` are secured, and those to the management API if asked for.
    pub tls: Option<Tls>,
    /// Definitions to bring into being before clients can connect, in RabbitMQ's JSON.
    pub definitions: Option<DefinitionsSource>,
    /// Where the management API is to be, if anywhere. Port 0 lets the system choose.
    pub management: Option<SocketAddr>,
    /// Whether the management API is secured by `tls`, too.
    pub management_tls: bool,
    /// Where what is durable is kept.
    pub storage: Storage,
    /// Whether a start goes on where it would refuse, since something in the data directory is lost.
    pub accept_loss: bool,
    /// How much memory what clients make the broker keep may take before publishers are blocked, in bytes; a
    /// share of the machine's when absent.
    pub memory_limit: Option<u64>,
    /// While less is free on the disk of the data directory, in bytes, publishers are blocked.
    pub disk_free_limit: u64,
    /// How long a log file is at most when it is followed by a new one, in bytes.
    pub log_file_bytes: u64,
    /// What clients may define.
    pub client_limits: ClientLimits,
    /// Where the broker's random names (`amq.gen-…`) start from; chosen by chance when absent.
    pub seed: Option<u64>,
    /// Users to let in, with their passwords; guest with the password guest when there are none.
    pub users: Vec<(String, Vec<u8>)>,
    /// What is made on a data directory that is new.
    pub first: FirstObjects,
    /// What the node is called; `leveret@` and the host when absent.
    pub node_name: Option<String>,
    /// What the cluster is called, from this start on; as it was when absent.
    pub cluster_name: Option<String>,
    /// Users that may connect from this machine alone.
    pub loopback_users: Vec<String>,
    /// What is proposed to clients and what they may send.
    pub connection: ConnectionSettings,
    /// How many connections may be open at once; no more than open files allow when absent.
    ///
    /// rabbitmq: `connection_max`.
    pub max_connections: Option<usize>,
    /// How long a client may take from the accepted socket to connection.open.
    ///
    /// rabbitmq: `handshake_timeout`, 10 s.
    pub handshake_timeout: Duration,
    /// How long a client's socket may take nothing of what it is sent.
    ///
    /// rabbitmq: `send_timeout`, 30 s for the sockets of clients.
    pub send_timeout: Duration,
    /// What makes the allocator take back what other threads have freed and give it to the system, for the thread
    /// that calls it.
    pub give_back_memory: Option<fn()>,
    /// How long clients have to answer connection.close when the broker stops.
    pub shutdown_timeout: Duration,
    /// How operators of this machine reach the broker without a password, if they do.
    pub control: Option<ControlConfig>,
    /// Changes what the program logs, if that can be changed while it runs.
    pub set_log_filter: Option<SetLogFilter>,
}

/// The plugin of RabbitMQ that is the HTTP API.
pub const MANAGEMENT_PLUGIN: &str = "rabbitmq_management";

/// How operators of this machine reach a broker: by a socket that is theirs and root's alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ControlConfig {
    /// The socket, a path in a directory that must be there.
    pub socket: PathBuf,
    /// Which of RabbitMQ's plugins are enabled; with [`MANAGEMENT_PLUGIN`] the management API is there.
    pub plugins: Vec<String>,
    /// The file that names them for the next start, if there is one.
    pub enabled_plugins_file: Option<PathBuf>,
    /// Where the management API is to be when its plugin is enabled while the broker runs.
    pub management: Option<SocketAddr>,
    /// The files that the configuration was read from.
    pub config_files: Vec<PathBuf>,
    /// The file of the log, if it goes to one.
    pub log_file: Option<PathBuf>,
}

/// Changes what a program logs, in the words of `--log`; an error says what is wrong with them.
pub type SetLogFilter = Arc<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

/// What is made on a data directory that is new: the virtual host `/` with the user guest, unless told otherwise.
///
/// rabbitmq: `default_vhost`, `default_user` and the keys beside them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FirstObjects {
    /// The virtual host in the place of `/`.
    pub vhost: Option<String>,
    /// The user in the place of guest.
    pub user: Option<FirstUser>,
    /// Whether neither is made where there are definitions, whatever they hold. Otherwise that goes by what
    /// they hold.
    pub nothing_beside_definitions: bool,
}

/// The first user of a broker.
///
/// invariant: the password never shows in debug output.
#[derive(Clone, PartialEq, Eq)]
pub struct FirstUser {
    /// The name.
    pub name: String,
    /// The password.
    pub password: Vec<u8>,
    /// What the user is beside a user: `administrator`, `monitoring`, …
    pub tags: Vec<String>,
    /// The patterns of what it may configure, write and read in the first virtual host.
    pub permissions: [String; 3],
}

impl std::fmt::Debug for FirstUser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FirstUser")
            .field("name", &self.name)
            .field("tags", &self.tags)
            .field("permissions", &self.permissions)
            .finish_non_exhaustive()
    }
}

/// Where definitions come from.
#[derive(Clone, PartialEq, Eq)]
pub enum DefinitionsSource {
    /// These are they.
    Json(Vec<u8>),
    /// This file has them, or those in this directory whose names end with `.json`, in their order.
    File(PathBuf),
}

/// Where what is durable is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Storage {
    /// In memory: gone when the broker ends.
    Memory,
    /// In this directory, made when it is not there.
    Directory(PathBuf),
}

// invariant: a password never reaches a log.
impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let users: Vec<_> = self.users.iter().map(|(name, _)| name).collect();
        f.debug_struct("Config")
            .field("listen", &self.listen)
            .field("tls_listen", &self.tls_listen)
            .field("tls", &self.tls)
            .field("management", &self.management)
            .field("storage", &self.storage)
            .field("users", &users)
            .field("loopback_users", &self.loopback_users)
            .finish_non_exhaustive()
    }
}

// invariant: so may a password in definitions.
impl std::fmt::Debug for DefinitionsSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            DefinitionsSource::Json(_) => f.debug_tuple("Json").finish_non_exhaustive(),
            DefinitionsSource::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            listen: Vec::new(),
            tls_listen: Vec::new(),
            tls: None,
            management: None,
            management_tls: false,
            definitions: None,
            storage: Storage::Memory,
            accept_loss: false,
            memory_limit: None,
            disk_free_limit: DISK_FREE_LIMIT,
            log_file_bytes: LOG_FILE_BYTES,
            client_limits: ClientLimits::default(),
            seed: None,
            users: Vec::new(),
            first: FirstObjects::default(),
            node_name: None,
            cluster_name: None,
            loopback_users: vec![DEFAULT_LOOPBACK_USER.to_owned()],
            connection: ConnectionSettings::default(),
            max_connections: None,
            handshake_timeout: Duration::from_millis(limits::HANDSHAKE_MS),
            send_timeout: Duration::from_millis(limits::SEND_MS),
            give_back_memory: None,
            shutdown_timeout: Duration::from_secs(3),
            control: None,
            set_log_filter: None,
        }
    }
}

impl Config {
    /// The addresses to listen on without TLS: [`DEFAULT_LISTEN`] when none was named, with TLS
    /// or without.
    pub fn addresses(&self) -> &[SocketAddr] {
        let named = !self.listen.is_empty() || !self.tls_listen.is_empty();
        if named { &self.listen } else { &[DEFAULT_LISTEN] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_an_address_it_is_the_registered_port_on_this_machine() {
        let mut config = Config::default();
        assert_eq!(config.addresses(), ["127.0.0.1:5672".parse().unwrap()]);
        config.listen.push("[::1]:0".parse().unwrap());
        assert_eq!(config.addresses(), ["[::1]:0".parse().unwrap()]);
        let tls_listen = vec!["[::1]:5671".parse().unwrap()];
        let config = Config { tls_listen, ..Config::default() };
        assert_eq!(config.addresses(), []);
    }
}
