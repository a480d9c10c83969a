//! **leveret** is an AMQP 0-9-1 message broker: RabbitMQ's clients connect to it unchanged.
//!
//! The program `leveret` is one way to run it; this library is the other. It starts a broker inside
//! a program, most often a test:
//!
//! ```
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! use leveret::Broker;
//!
//! let broker = Broker::builder().in_memory().listen("127.0.0.1:0".parse()?).start().await?;
//! println!("{}", broker.uri());
//! // … connect with any AMQP client …
//! broker.shutdown().await?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Features
//! | feature | what it brings |
//! | --- | --- |
//! | `cli` (default) | the program with all it needs |
//! | `management` | RabbitMQ's HTTP API: [`BrokerBuilder::management`] |
//! | `perf` | what `leveret perf` does |
//!
//! A dependency of tests is smallest with `default-features = false`.
//!
//! # Map
//! Imports run one way: `leveret_codec ← broker ← store ← handle ← vhosts ← {server, management, cli, commands} ← lib ← main`.
//! [`broker`] holds every rule of AMQP as a value without IO, clock or chance; [`store`] keeps what
//! is durable; the handle holds the one lock; the server moves bytes; management answers HTTP.
//! [`perf`] measures brokers from outside; [`rabbit`] reads RabbitMQ's configuration; [`commands`] are its commands.

// why: what only some edges use is there without them, too; with all of them nothing may be unused.
#![cfg_attr(not(feature = "cli"), allow(dead_code, unused_imports))]

mod active_listeners;
pub mod auth;
#[doc(hidden)]
pub mod broker;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
pub mod clock;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod commands;
pub mod config;
mod connection_slots;
#[cfg(feature = "management")]
mod control_socket;
#[doc(hidden)]
pub mod definitions;
mod handle;
mod log_buffer;
mod log_limit;
mod log_text;
mod login_counts;
mod login_throttle;
#[cfg(feature = "management")]
mod management;
#[doc(hidden)]
pub mod memory;
mod node;
mod node_name;
#[cfg(feature = "management")]
mod operations;
mod outbox;
mod passwords;
#[cfg(feature = "perf")]
#[doc(hidden)]
pub mod perf;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod rabbit;
mod server;
mod shared_map;
#[doc(hidden)]
pub mod store;
mod supervisor;
mod tls;
mod uri;
mod vhosts;
mod write_timeout;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use crate::broker::snapshot::QueueSnapshot;
use crate::definitions::Definitions;
pub use crate::server::StartError;
pub use crate::supervisor::BrokerFailure;
pub use crate::tls::TlsError;
pub use crate::vhosts::{DataDirCheck, ImportError, RegistryError, VhostCheck, VhostError};

use crate::auth::Authenticator;
use crate::broker::vhost::Vhost;
use crate::clock::{Clock, SystemClock};
use crate::config::{
    Config, ControlConfig, DefinitionsSource, FirstObjects, SetLogFilter, Storage, Tls,
};
use crate::node::Node;
pub use crate::store::StoreError;
use crate::uri::Login;

/// A running broker.
///
/// Dropping it cuts its clients off; [`shutdown`](Broker::shutdown) lets them know.
pub struct Broker {
    node: Node,
    login: Login,
    #[cfg(feature = "management")]
    management_tls: bool,
}

impl Broker {
    /// Describes a broker and starts it.
    pub fn builder() -> BrokerBuilder {
        BrokerBuilder::default()
    }

    /// The addresses it listens on, in the order in which they were asked for, each with its real
    /// port.
    pub fn addresses(&self) -> &[SocketAddr] {
        self.node.server().addresses()
    }

    /// The addresses it listens on for TLS, in the order in which they were asked for, each with
    /// its real port.
    pub fn tls_addresses(&self) -> &[SocketAddr] {
        self.node.server().tls_addresses()
    }

    /// The first address as clients take it, with a user that may do everything: the first of
    /// [`BrokerBuilder::user`], or guest. The scheme is `amqp`, or `amqps` when it listens for TLS alone.
    ///
    /// ```
    /// # tokio::runtime::Runtime::new()?.block_on(async {
    /// let broker = leveret::Broker::builder().listen("127.0.0.1:0".parse()?).start().await?;
    /// let port = broker.addresses()[0].port();
    /// assert_eq!(broker.uri(), format!("amqp://guest:guest@127.0.0.1:{port}/%2F"));
    /// # broker.shutdown().await?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn uri(&self) -> String {
        match (self.addresses(), self.tls_addresses()) {
            ([address, ..], _) => self.login.uri("amqp", *address),
            ([], [address, ..]) => self.login.uri("amqps", *address),
            // invariant: a broker listens somewhere.
            ([], []) => String::new(),
        }
    }

    /// Where the management API is, such as `http://127.0.0.1:15672`, if it was asked for.
    ///
    /// ```
    /// # tokio::runtime::Runtime::new()?.block_on(async {
    /// let builder = leveret::Broker::builder().listen("127.0.0.1:0".parse()?);
    /// let broker = builder.management("127.0.0.1:0".parse()?).start().await?;
    /// let address = broker.management_address().expect("it was asked for");
    /// assert_eq!(broker.management_uri(), Some(format!("http://{address}")));
    /// # broker.shutdown().await?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(feature = "management")]
    pub fn management_uri(&self) -> Option<String> {
        let scheme = if self.management_tls { "https" } else { "http" };
        Some(format!("{scheme}://{}", uri::reachable(self.management_address()?)))
    }

    /// Reads the certificates and the key for TLS again, where they come from files: connections
    /// from now on get the new ones. Says whether there are any.
    ///
    /// # Errors
    /// In one line that names the file, when they cannot be used. The old ones stay.
    pub async fn reload_tls(&self) -> Result<bool, TlsError> {
        self.node.server().reload_tls().await
    }

    /// Where the management API is, with its real port, if it was asked for.
    #[cfg(feature = "management")]
    pub fn management_address(&self) -> Option<SocketAddr> {
        self.node.management_address()
    }

    /// How many connections are open now.
    pub fn connection_count(&self) -> usize {
        self.node.server().connection_count()
    }

    /// Bytes held in memory of messages that have begun to come and are not whole yet, and of answers that
    /// clients have not read.
    pub fn connection_bytes(&self) -> usize {
        self.node.server().connection_bytes()
    }

    /// The queues as they are now.
    pub fn queues(&self) -> Vec<QueueSnapshot> {
        self.queues_in("/")
    }

    /// The queues of a virtual host as they are now; none when there is no such virtual host.
    pub fn queues_in(&self, vhost: &str) -> Vec<QueueSnapshot> {
        let handle = self.node.server().vhosts().vhost(vhost);
        handle.map(|handle| handle.read(Vhost::queues)).unwrap_or_default()
    }

    /// Makes a virtual host with the predeclared exchanges, unless it is there. Says whether it is
    /// new. No user may enter it before [`set_permissions`](Broker::set_permissions).
    ///
    /// # Errors
    /// When it could not be kept or its store not be opened.
    pub fn create_vhost(&self, name: &str) -> Result<bool, VhostError> {
        self.node.server().vhosts().create_vhost(name)
    }

    /// Deletes a virtual host with everything in it; its clients get connection.close (320). Says
    /// whether it was there.
    ///
    /// # Errors
    /// When it is protected from deletion (by the HTTP API or by definitions), when that could not be kept or its
    /// store not be removed.
    pub async fn delete_vhost(&self, name: &str) -> Result<bool, VhostError> {
        self.node.server().vhosts().delete_vhost(name).await
    }

    /// Adds a user, or gives it another password and other tags.
    ///
    /// # Errors
    /// When it could not be kept.
    pub fn set_user(&self, name: &str, password: &[u8], tags: &[&str]) -> Result<(), VhostError> {
        self.node.server().vhosts().set_user(name, password, tags)
    }

    /// Gives a user its three patterns in a virtual host: what it may declare and delete, what it
    /// may write to and what it may read from. They are regular expressions that match anywhere in
    /// a name; the empty one matches nothing.
    ///
    /// # Errors
    /// When there is no such virtual host, a pattern is no regular expression, or it could not be
    /// kept.
    pub fn set_permissions(
        &self,
        user: &str,
        vhost: &str,
        configure: &str,
        write: &str,
        read: &str,
    ) -> Result<(), VhostError> {
        self.node.server().vhosts().set_permissions(user, vhost, [configure, write, read])
    }

    /// Brings everything into being that definitions name, in RabbitMQ's JSON: users, virtual hosts,
    /// permissions, policies, exchanges, queues, bindings. Exchanges and queues that are there already
    /// are left as they are; users, permissions, policies and parameters are set to what the
    /// definitions say.
    ///
    /// # Errors
    /// In one line that names the place, when they make no sense. Nothing of them is there then.
    pub fn import_definitions(&self, json: &[u8]) -> Result<(), ImportError> {
        self.node.server().vhosts().import(&Definitions::parse(json)?)
    }

    /// Everything but messages, in RabbitMQ's JSON.
    pub fn export_definitions(&self) -> Vec<u8> {
        self.node.server().vhosts().export().to_json()
    }

    /// Blocks publishers, as when memory or disk are short, or unblocks them again with `None`.
    ///
    /// The broker raises such alarms itself, with the reasons `low on memory`, `low on disk` and
    /// `low on disk & memory`; this one takes precedence.
    pub fn set_alarm(&self, reason: Option<&str>) {
        self.node.server().vhosts().set_alarm(reason);
    }

    /// About how much memory messages take, in bytes: those that wait in memory, that are not
    /// acknowledged, that are on their way to a client or to the disk.
    pub fn memory_used(&self) -> u64 {
        self.node.server().vhosts().memory_used()
    }

    /// What was found in the data directory at the start, damage included, for each virtual host.
    pub fn recovery_reports(&self) -> &[(String, store::Report)] {
        self.node.server().reports()
    }

    /// Waits until an operator of this machine asks for the end of the broker, as `rabbitmqctl stop` does; see
    /// [`BrokerBuilder::control`]. It is for the program to call [`shutdown`](Broker::shutdown) then.
    #[cfg(feature = "management")]
    pub async fn stop_asked(&self) {
        self.node.stop_asked().await;
    }

    /// Waits until the broker has failed: a part of it has ended that must not end, such as what accepts clients,
    /// what waits for deadlines, or what writes the log of a virtual host. What is left of it is of no use; the
    /// program `leveret` exits.
    ///
    /// A virtual host that fails by itself is no such failure: its clients get connection.close (541), it is
    /// shown as stopped, and the others go on.
    pub async fn failed(&self) -> BrokerFailure {
        self.node.server().vhosts().supervisor().failed().await
    }

    /// Stops in order: clients are sent connection.close (320) and have a few seconds to answer,
    /// everything durable is synced, the store is closed.
    ///
    /// # Errors
    /// When what is durable could not be written, now or earlier. The broker has ended anyway.
    pub async fn shutdown(self) -> Result<(), StoreError> {
        self.node.stop().await
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker").field("addresses", &self.addresses()).finish_non_exhaustive()
    }
}

/// The definitions in a data directory that no broker uses, in RabbitMQ's JSON: everything but
/// messages. Nothing in it is changed, and it may be one that cannot be written.
///
/// # Errors
/// When the directory is none of leveret's, is in use, or cannot be read.
pub async fn export_definitions(data_dir: impl Into<PathBuf>) -> Result<Vec<u8>, StartError> {
    let clock = Arc::new(SystemClock::new());
    server::export_definitions(&data_dir.into(), clock).await
}

/// Reads everything in a data directory that no broker uses, and says what is in it, what is damaged,
/// and what a start would do about it. Nothing in it is changed, and it may be one that cannot be
/// written; what is in segments takes no memory.
///
/// # Errors
/// When the directory is none of leveret's, is of another format, or is in use.
pub fn check_data_dir(data_dir: impl AsRef<Path>) -> Result<DataDirCheck, StartError> {
    server::check_data_dir(data_dir.as_ref())
}

/// The settings of a broker. By default it listens on 127.0.0.1:5672, keeps
/// everything in memory and lets in guest with the password guest, from this machine alone.
#[derive(Default)]
pub struct BrokerBuilder {
    config: Config,
    clock: Option<Arc<dyn Clock>>,
    authenticator: Option<Arc<dyn Authenticator>>,
}

impl BrokerBuilder {
    /// Listens on this address; may be called several times. With port 0 the system chooses a free
    /// port, see [`Broker::addresses`].
    #[must_use]
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.config.listen.push(address);
        self
    }

    /// Listens on this address for TLS (`amqps`), which [`tls`](BrokerBuilder::tls) describes; may
    /// be called several times. With port 0 the system chooses a free port, see
    /// [`Broker::tls_addresses`]. A broker with no other address than these listens without TLS
    /// nowhere.
    #[must_use]
    pub fn tls_listen(mut self, address: SocketAddr) -> Self {
        self.config.tls_listen.push(address);
        self
    }

    /// Secures connections like this, where [`tls_listen`](BrokerBuilder::tls_listen) or
    /// [`management_tls`](BrokerBuilder::management_tls) asks for it.
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.config.tls = Some(tls);
        self
    }

    /// Answers RabbitMQ's HTTP API on this address, at `/api`; nowhere unless told. With port 0 the
    /// system chooses a free port, see [`Broker::management_address`].
    #[cfg(feature = "management")]
    #[must_use]
    pub fn management(mut self, address: SocketAddr) -> Self {
        self.config.management = Some(address);
        self
    }

    /// Secures the management API like connections of AMQP, as [`tls`](BrokerBuilder::tls)
    /// describes it: `https` in the place of `http`.
    #[cfg(feature = "management")]
    #[must_use]
    pub fn management_tls(mut self) -> Self {
        self.config.management_tls = true;
        self
    }

    /// Keeps what is durable in this directory, which is made when it is not there.
    #[must_use]
    pub fn data_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.config.storage = Storage::Directory(path.into());
        self
    }

    /// Starts although something in the data directory is lost that a start would refuse for: the registry of users
    /// and virtual hosts, or the data of a virtual host. There is an empty one in its place then; what is left is
    /// left alone.
    #[must_use]
    pub fn accept_loss(mut self) -> Self {
        self.config.accept_loss = true;
        self
    }

    /// Keeps everything in memory: after the broker nothing is left. This is the default.
    #[must_use]
    pub fn in_memory(mut self) -> Self {
        self.config.storage = Storage::Memory;
        self
    }

    /// Lets this user in, from anywhere, with all rights in the virtual host `/`; may be called several
    /// times. On a data directory that is new there is no guest then, unless named as well.
    #[must_use]
    pub fn user(mut self, name: impl Into<String>, password: impl Into<Vec<u8>>) -> Self {
        self.config.users.push((name.into(), password.into()));
        self
    }

    /// Makes these on a data directory that is new, in the place of the virtual host `/` and the user guest.
    ///
    /// rabbitmq: `default_vhost` and `default_user`.
    #[must_use]
    pub fn first_objects(mut self, first: FirstObjects) -> Self {
        self.config.first = first;
        self
    }

    /// Lets operators of this machine reach the broker over a socket, without a password: those that the
    /// program runs as, and root. `rabbitmqctl` and its siblings use it.
    #[cfg(feature = "management")]
    #[must_use]
    pub fn control(mut self, control: ControlConfig) -> Self {
        self.config.control = Some(control);
        self
    }

    /// Calls this when an operator of this machine changes what is logged; without it that is refused.
    #[cfg(feature = "management")]
    #[must_use]
    pub fn set_log_filter(mut self, set: SetLogFilter) -> Self {
        self.config.set_log_filter = Some(set);
        self
    }

    /// Calls the node so, such as `rabbit@host`; `leveret@` and the name of the machine unless set.
    #[must_use]
    pub fn node_name(mut self, name: impl Into<String>) -> Self {
        self.config.node_name = Some(name.into());
        self
    }

    /// Calls the cluster so, which is this one node.
    #[must_use]
    pub fn cluster_name(mut self, name: impl Into<String>) -> Self {
        self.config.cluster_name = Some(name.into());
        self
    }

    /// Lets these users in from this machine alone: guest unless set, no user with an empty list.
    ///
    /// rabbitmq: `loopback_users`.
    #[must_use]
    pub fn loopback_users<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.config.loopback_users = names.into_iter().map(Into::into).collect();
        self
    }

    /// Checks logins with this authenticator instead of the broker's own registry. Users that are not
    /// in the registry may do everything in every virtual host. Logins of a user at an address wait for some
    /// seconds before it is asked while too many of them have failed.
    #[must_use]
    pub fn authenticator(mut self, authenticator: Arc<dyn Authenticator>) -> Self {
        self.authenticator = Some(authenticator);
        self
    }

    /// Takes the time from this clock, such as a [`ManualClock`](clock::ManualClock) in a test of
    /// what expires.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Makes the names that the broker gives to queues the same in each run with this seed.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.config.seed = Some(seed);
        self
    }

    /// Proposes this heartbeat timeout to clients, in seconds; zero for no heartbeats. 60 unless
    /// set.
    #[must_use]
    pub fn heartbeat_secs(mut self, secs: u16) -> Self {
        self.config.connection.heartbeat_secs = secs;
        self
    }

    /// Proposes this number of channels on a connection to clients, and allows no more. 2,047 unless
    /// set.
    #[must_use]
    pub fn channel_max(mut self, channels: u16) -> Self {
        self.config.connection.channel_max = channels.max(1);
        self
    }

    /// Proposes frames of this size to clients, in bytes, and allows no larger ones. 128 KiB unless
    /// set; between 4 KiB and 16 MiB.
    #[must_use]
    pub fn frame_max(mut self, bytes: u32) -> Self {
        use broker::limits::{FRAME_LARGEST, FRAME_MIN};
        self.config.connection.frame_max = bytes.clamp(FRAME_MIN, FRAME_LARGEST);
        self
    }

    /// Refuses a connection, with 530, when so many are open. Unless set there may be as many as the
    /// limit of open files allows.
    #[must_use]
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.config.max_connections = Some(connections);
        self
    }

    /// Refuses messages with a larger body than this, in bytes, with 406. 128 MiB unless set; never
    /// more than 512 MiB.
    #[must_use]
    pub fn max_message_size(mut self, bytes: u64) -> Self {
        self.config.connection.max_message_size = bytes.min(broker::limits::ANNOUNCED_SIZE);
        self
    }

    /// Lets what clients make the broker keep take so much memory, in bytes. A quarter of it is for messages
    /// that wait; beyond that they go to the disk, if there is a data directory. Three quarters are for
    /// exchanges, queues, bindings, consumers and connections; beyond that nothing more may be declared, bound
    /// or consumed (406). When all of it is taken, publishers are blocked until consumers have made room.
    /// 40 % of the memory that this process may use unless set: the machine's, or what its control groups let
    /// it have.
    #[must_use]
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.config.memory_limit = Some(bytes);
        self
    }

    /// Blocks publishers while less than this is free on the disk of the data directory, in bytes; what the broker
    /// keeps there for nothing is removed meanwhile. 50 MB unless set. Whatever this is, a message is written only where
    /// 8 MiB are left behind it, which are for acknowledgements and for making room.
    #[must_use]
    pub fn disk_free_limit(mut self, bytes: u64) -> Self {
        self.config.disk_free_limit = bytes;
        self
    }

    /// Lets a log file be about so long before it is followed by a new one, in bytes: each virtual host has four of
    /// them, and one more for a while. 64 MiB unless set; 1 MiB at least, and where memory is limited no more than a
    /// start can hold of them.
    #[must_use]
    pub fn log_file_size(mut self, bytes: u64) -> Self {
        self.config.log_file_bytes = bytes.max(config::LEAST_LOG_FILE_BYTES);
        self
    }

    /// Refuses one more consumer on a channel that has so many, with 406. 100,000 unless set.
    #[must_use]
    pub fn max_consumers_per_channel(mut self, consumers: usize) -> Self {
        self.config.client_limits.max_consumers_per_channel = consumers;
        self
    }

    /// Closes a channel with 406 when a delivery on it has waited so long for its acknowledgement, unless the
    /// queue says otherwise (`x-consumer-timeout`). Thirty minutes unless set; zero for never.
    #[must_use]
    pub fn consumer_timeout(mut self, time: Duration) -> Self {
        let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.config.client_limits.consumer_timeout_ms = ms;
        self
    }

    /// Refuses arguments of an exchange, a queue, a binding or a consumer that are longer than this, in bytes,
    /// with 406. 128 KiB unless set.
    #[must_use]
    pub fn max_arguments_size(mut self, bytes: usize) -> Self {
        self.config.client_limits.max_arguments_size = bytes;
        self
    }

    /// Closes a connection that is not open after this time, the handshake of TLS included. Ten
    /// seconds unless set.
    #[must_use]
    pub fn handshake_timeout(mut self, time: Duration) -> Self {
        self.config.handshake_timeout = time;
        self
    }

    /// Lets threads of the broker call this after a peak of memory, one after the other.
    ///
    /// Allocators keep what one thread has freed of another's until that one allocates again, which may be hours
    /// later. Nothing unless set; the program has mimalloc and sets its `mi_collect`.
    #[must_use]
    pub fn give_back_memory(mut self, give_back: fn()) -> Self {
        self.config.give_back_memory = Some(give_back);
        self
    }

    /// Closes a connection whose socket takes nothing of what it is sent for so long, since its client does not
    /// read. What it had goes back to its queues. 30 seconds unless set.
    #[must_use]
    pub fn send_timeout(mut self, time: Duration) -> Self {
        self.config.send_timeout = time;
        self
    }

    /// Waits this long for clients to answer when the broker stops. Three seconds unless set.
    #[must_use]
    pub fn shutdown_timeout(mut self, time: Duration) -> Self {
        self.config.shutdown_timeout = time;
        self
    }

    /// Brings into being what these definitions name, in RabbitMQ's JSON, before clients can connect;
    /// see [`Broker::import_definitions`]. On a data directory that is new there is no guest if users are among
    /// them, and `/` only if it is one of their virtual hosts or they have none.
    #[must_use]
    pub fn definitions(mut self, json: impl Into<Vec<u8>>) -> Self {
        self.config.definitions = Some(DefinitionsSource::Json(json.into()));
        self
    }

    /// The same with definitions that are in a file, or in the files of a directory whose names end with `.json`, in
    /// the order of their names.
    #[must_use]
    pub fn definitions_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.config.definitions = Some(DefinitionsSource::File(path.into()));
        self
    }

    /// Starts the broker, on the tokio runtime that this is called on. When it returns, clients can
    /// connect.
    ///
    /// # Errors
    /// When an address cannot be listened on, or the data directory cannot be used: the
    /// [`StartError`] says which and why in one line.
    pub async fn start(self) -> Result<Broker, StartError> {
        let BrokerBuilder { config, clock, authenticator } = self;
        let clock = clock.unwrap_or_else(|| Arc::new(SystemClock::new()));
        let login = login(&config);
        #[cfg(feature = "management")]
        let management_tls = config.management_tls;
        let node = Node::start(config, clock, authenticator).await?;
        Ok(Broker {
            node,
            login,
            #[cfg(feature = "management")]
            management_tls,
        })
    }
}

/// Who may log in to a broker of this kind.
fn login(config: &Config) -> Login {
    let first = config.first.user.as_ref().map(|user| (user.name.clone(), user.password.clone()));
    let guest = || ("guest".to_owned(), b"guest".to_vec());
    let (user, password) = config.users.first().cloned().or(first).unwrap_or_else(guest);
    let vhost = config.first.vhost.clone().unwrap_or_else(|| "/".to_owned());
    Login { user, password, vhost }
}

impl fmt::Debug for BrokerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrokerBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}
