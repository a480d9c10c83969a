//! **leveret** is an AMQP 0-9-1 message broker: RabbitMQ's clients connect to it unchanged.
//!
//! The program `leveret` is one way to run it; this library is the other. It starts a broker inside
//! a program, most often a test:
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use leveret::Broker;
//!
//! let broker = Broker::builder().in_memory().listen("127.0.0.1:0".parse()?).start().await?;
//! println!("amqp://guest:guest@{}", broker.addresses()[0]);
//! // … connect with any AMQP client …
//! broker.shutdown().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Map
//! Imports run one way: `leveret_codec ← broker ← store ← handle ← {server, cli} ← lib ← main`.
//! [`broker`] holds every rule of AMQP as a value without IO, clock or chance; [`store`] keeps what
//! is durable; the handle holds the one lock; the server moves octets.

pub mod auth;
pub mod broker;
pub mod cli;
pub mod clock;
pub mod config;
mod handle;
mod log_buffer;
mod outbox;
mod server;
pub mod store;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use crate::broker::snapshot::QueueSnapshot;
pub use crate::server::StartError;

use crate::auth::{Authenticator, StaticUsers};
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, Storage};
use crate::server::Server;
use crate::store::StoreError;

/// A running broker.
///
/// Dropping it cuts its clients off; [`shutdown`](Broker::shutdown) lets them know.
pub struct Broker {
    server: Server,
}

impl Broker {
    /// Describes a broker and starts it.
    pub fn builder() -> BrokerBuilder {
        BrokerBuilder::default()
    }

    /// The addresses it listens on, in the order in which they were asked for, each with its real
    /// port.
    pub fn addresses(&self) -> &[SocketAddr] {
        self.server.addresses()
    }

    /// The queues as they are now.
    pub fn queues(&self) -> Vec<QueueSnapshot> {
        self.server.queues()
    }

    /// What was found in the data directory at the start, damage included.
    pub fn recovery_report(&self) -> &store::Report {
        self.server.report()
    }

    /// Stops in order: clients are sent connection.close (320) and have a few seconds to answer,
    /// everything durable is synced, the store is closed.
    ///
    /// # Errors
    /// When what is durable could not be written, now or earlier. The broker has ended anyway.
    pub async fn shutdown(self) -> Result<(), StoreError> {
        self.server.stop().await
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker").field("addresses", &self.addresses()).finish_non_exhaustive()
    }
}

/// What a broker is to be like. Unless told otherwise it listens on 127.0.0.1:5672, keeps
/// everything in memory and lets in guest with the password guest, from this machine alone.
#[derive(Default)]
pub struct BrokerBuilder {
    config: Config,
    clock: Option<Arc<dyn Clock>>,
    users: Option<StaticUsers>,
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

    /// Keeps what is durable in this directory, which is made when it is not there.
    #[must_use]
    pub fn data_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.config.storage = Storage::Directory(path.into());
        self
    }

    /// Keeps everything in memory: after the broker nothing is left. This is the default.
    #[must_use]
    pub fn in_memory(mut self) -> Self {
        self.config.storage = Storage::Memory;
        self
    }

    /// Lets this user in, from anywhere; may be called several times. With the first one, guest is
    /// no longer let in, unless named as well.
    #[must_use]
    pub fn user(mut self, name: impl Into<String>, password: impl Into<Vec<u8>>) -> Self {
        self.users = Some(self.users.unwrap_or_default().with(name, password));
        self
    }

    /// Asks this authenticator who may connect, instead of a list of users.
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

    /// Closes a connection that is not open after this time. Ten seconds unless set.
    #[must_use]
    pub fn handshake_timeout(mut self, time: Duration) -> Self {
        self.config.handshake_timeout = time;
        self
    }

    /// Waits this long for clients to answer when the broker stops. Three seconds unless set.
    #[must_use]
    pub fn shutdown_timeout(mut self, time: Duration) -> Self {
        self.config.shutdown_timeout = time;
        self
    }

    /// Starts the broker, on the tokio runtime that this is called on. When it returns, clients can
    /// connect.
    ///
    /// # Errors
    /// When an address cannot be listened on, or the data directory cannot be used: the
    /// [`StartError`] says which and why in one line.
    pub async fn start(self) -> Result<Broker, StartError> {
        let BrokerBuilder { config, clock, users, authenticator } = self;
        let clock = clock.unwrap_or_else(|| Arc::new(SystemClock::new()));
        let authenticator =
            authenticator.unwrap_or_else(|| Arc::new(users.unwrap_or_else(StaticUsers::guest)));
        Ok(Broker { server: Server::start(config, clock, authenticator).await? })
    }
}

impl fmt::Debug for BrokerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrokerBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}
