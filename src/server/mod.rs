//! The network's side of the broker: listeners and connections.
//!
//! Thin: it makes no decision of the protocol. Each connection has two tasks, a reader and a
//! writer, that meet in the vhost (through the handle) and nowhere else.

mod buffer;
mod connection;
mod connection_log;
mod connection_memory;
mod doors;
mod heartbeat_monitor;
mod incoming;
mod memory_peak;
mod resources;
mod start_log;
mod writer;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle, JoinSet};
use tokio::time::{Instant, timeout_at};

use self::connection::{Arrival, Context};
use self::connection_memory::ConnectionMemory;
pub(crate) use self::doors::Doors;
use crate::active_listeners::{ActiveListener, ActiveListeners};
use crate::auth::Authenticator;
use crate::broker::limits;
use crate::clock::Clock;
use crate::config::{Config, DefinitionsSource, Storage};
use crate::connection_slots::{ConnectionSlot, ConnectionSlots, files_kept_by_stores};
use crate::definitions::Definitions;
use crate::login_counts::{CountedLogins, Logins};
use crate::login_throttle::LoginThrottle;
use crate::memory;
use crate::store::{self, Disk, FileDisk, MemoryDisk, StoreError};
use crate::tls::{self, Acceptor, TlsError};
use crate::vhosts::{self, DataDirCheck, ImportError, Initial, ResourcePlan, VhostError, Vhosts};

/// How long a listener pauses when it cannot accept, most often since the process has as many open
/// files as it may have.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How many clients may wait to be accepted.
///
/// rabbitmq: 128. When a broker comes up again, all its clients come at once.
const BACKLOG: u32 = 1024;

/// Why a broker did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address could not be listened on.
    #[error("cannot listen on {address}: {}", why_not_listening(.source))]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The data directory could not be opened: unwritable, foreign, or in use.
    #[error(transparent)]
    DataDirectory(#[from] store::OpenError),
    /// A virtual host could not be started from what is in the data directory.
    #[error(transparent)]
    Vhost(#[from] VhostError),
    /// There is no such directory to read from.
    #[error("{} is no directory", .0.display())]
    NoDirectory(PathBuf),
    /// The certificates or the key for TLS cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// TLS is asked for, and there is no certificate.
    #[error("TLS is asked for, but there is no certificate and key")]
    NoCertificate,
    /// The definitions were not taken.
    #[error(transparent)]
    Definitions(ImportError),
    /// The definitions in a file were not taken.
    #[error("{}: {source}", path.display())]
    DefinitionsFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with them.
        source: ImportError,
    },
    /// The file that should have definitions could not be read.
    #[error("cannot read the definitions in {}: {source}", path.display())]
    UnreadableDefinitions {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The store could not be closed again.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl StartError {
    /// Definitions from here were not taken.
    fn of_import(error: ImportError, source: Option<&DefinitionsSource>) -> Self {
        match (error, source) {
            (ImportError::Vhost(error), _) => StartError::Vhost(error),
            (source, Some(DefinitionsSource::File(path))) => {
                StartError::DefinitionsFile { path: path.clone(), source }
            }
            (error, _) => StartError::Definitions(error),
        }
    }
}

fn why_not_listening(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "the address is already in use; is another broker running?".to_owned()
        }
        // What a machine says that has no IPv6.
        _ if error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error()) => {
            "this machine has no addresses of that kind".to_owned()
        }
        io::ErrorKind::AddrNotAvailable => "this machine does not have that address".to_owned(),
        _ => error.to_string(),
    }
}

/// A running server.
pub(crate) struct Server {
    vhosts: Vhosts,
    doors: Arc<Doors>,
    connection_slots: Arc<ConnectionSlots>,
    connection_memory: Arc<ConnectionMemory>,
    logins: Logins,
    acceptor: Option<Arc<Acceptor>>,
    reports: Vec<(String, store::Report)>,
    /// Looks after memory and disk.
    watching: JoinHandle<()>,
    disk: Option<Arc<FileDisk>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.watching.abort();
        if let Some(disk) = &self.disk {
            disk.let_go();
        }
    }
}

impl Server {
    /// Opens the stores, recovers, and listens. When this returns, clients can connect.
    ///
    /// Without an `authenticator` the broker's own registry of users is asked.
    pub(crate) async fn start(
        config: Config,
        clock: Arc<dyn Clock>,
        authenticator: Option<Arc<dyn Authenticator>>,
    ) -> Result<Self, StartError> {
        start_log::log_start(&config);
        let allow_unknown_users = authenticator.is_some();
        let (vhosts, reports, disk) = open(&config, clock.clone(), allow_unknown_users).await?;
        if config.storage != Storage::Memory {
            reports.iter().for_each(|(vhost, report)| start_log::log_recovery(vhost, report));
        }
        let acceptor = config.tls.clone().map(Acceptor::new).transpose()?.map(Arc::new);
        if acceptor.is_none() && (config.management_tls || !config.tls_listen.is_empty()) {
            return Err(StartError::NoCertificate);
        }
        start_log::log_weaknesses(acceptor.as_deref(), &vhosts);
        let listeners = bind(config.addresses()).await?;
        let tls_listeners = bind(&config.tls_listen).await?;
        let authenticator = authenticator.unwrap_or_else(|| Arc::new(vhosts.clone()));
        let authenticator: Arc<dyn Authenticator> =
            Arc::new(LoginThrottle::new(authenticator, clock, vhosts::random_key()?));
        let logins = Logins { authenticator, of_amqp: Arc::default() };
        let max_message_size = config.connection.max_message_size;
        let connection_bytes = limits::all_pending_octets(vhosts.memory_limit(), max_message_size);
        let supervisor = vhosts.supervisor().clone();
        let watch = resources::watch(disk.clone(), vhosts.clone(), config.give_back_memory);
        let watch = supervisor.clone().supervise("the watcher of memory and disk", watch, || false);
        let watching = tokio::spawn(watch);
        let http = config.management.map_or(0, |_| limits::HTTP_CONNECTIONS);
        let kept_files = disk.as_ref().map_or(0, |_| files_kept_by_stores(store::KEPT_FILES));
        let context = Context {
            vhosts: vhosts.clone(),
            authenticator: Arc::new(CountedLogins::new(
                logins.authenticator.clone(),
                logins.of_amqp.clone(),
            )),
            settings: config.connection,
            handshake_timeout: config.handshake_timeout,
            connection_slots: Arc::new(ConnectionSlots::new(
                config.max_connections,
                http + kept_files,
            )),
            log_limits: Arc::default(),
            send_timeout: config.send_timeout,
            connection_memory: Arc::new(ConnectionMemory::new(connection_bytes)),
            stopping: watch::channel(false).1,
        };
        start_log::log_limits(&context, &vhosts);
        let bound = [listeners, tls_listeners];
        let (connection_slots, connection_memory) =
            (context.connection_slots.clone(), context.connection_memory.clone());
        let doors = Doors::open(bound, acceptor.clone(), context, config.shutdown_timeout);
        Ok(Server {
            vhosts,
            doors: Arc::new(doors),
            connection_slots,
            connection_memory,
            logins,
            acceptor,
            reports,
            watching,
            disk,
        })
    }

    /// The addresses that are listened on without TLS, with the ports that the system chose.
    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        self.doors.addresses()
    }

    /// How many clients have an open connection.
    pub(crate) fn connection_count(&self) -> usize {
        self.connection_slots.open_count()
    }

    /// Bytes that all connections hold of messages which are not whole yet, and of answers that are not sent.
    pub(crate) fn connection_bytes(&self) -> usize {
        self.connection_memory.bytes()
    }

    /// The addresses that are listened on for TLS, with the ports that the system chose.
    pub(crate) fn tls_addresses(&self) -> &[SocketAddr] {
        self.doors.tls_addresses()
    }

    /// Where clients are accepted at this moment.
    pub(crate) fn active_listeners(&self) -> &ActiveListeners {
        self.doors.active_listeners()
    }

    /// What makes a socket secure, if there are certificates.
    pub(crate) fn acceptor(&self) -> Option<Arc<Acceptor>> {
        self.acceptor.clone()
    }

    /// Reads the certificates and the key again. Says whether there are any.
    pub(crate) async fn reload_tls(&self) -> Result<bool, TlsError> {
        let Some(acceptor) = self.acceptor.clone() else { return Ok(false) };
        // why: a file may be on a disk that is slow.
        blocking(move || acceptor.reload()).await?;
        start_log::log_weaknesses(self.acceptor.as_deref(), &self.vhosts);
        Ok(true)
    }

    /// What checks logins, of AMQP and of the HTTP API.
    pub(crate) fn logins(&self) -> &Logins {
        &self.logins
    }

    /// What the store of each virtual host found when it was opened.
    pub(crate) fn reports(&self) -> &[(String, store::Report)] {
        &self.reports
    }

    /// The virtual hosts.
    pub(crate) fn vhosts(&self) -> &Vhosts {
        &self.vhosts
    }

    /// Stops in order: no new client gets in, clients are told and have a few seconds to answer, then
    /// everything durable is synced and the stores are closed.
    pub(crate) async fn stop(self) -> Result<(), StoreError> {
        self.doors.close().await;
        self.vhosts.stop().await
    }

    /// Where clients come in.
    pub(crate) fn doors(&self) -> &Arc<Doors> {
        &self.doors
    }
}

/// What is in a data directory that no broker uses, and whether it is whole. Changes nothing.
pub(crate) fn check_data_dir(path: &Path) -> Result<DataDirCheck, StartError> {
    if !path.is_dir() {
        return Err(StartError::NoDirectory(path.to_owned()));
    }
    let disk = FileDisk::open_to_look(path)?;
    let is_locked = disk.is_locked();
    let obstacle = disk.obstacle().map(ToString::to_string);
    let disk: Arc<dyn Disk> = Arc::new(disk);
    let mut check = vhosts::check(&disk, is_locked);
    check.refusal = obstacle.or(check.refusal);
    Ok(check)
}

/// The definitions in a data directory that no broker uses. Changes nothing.
pub(crate) async fn export_definitions(
    path: &Path,
    clock: Arc<dyn Clock>,
) -> Result<Vec<u8>, StartError> {
    if !path.is_dir() {
        return Err(StartError::NoDirectory(path.to_owned()));
    }
    let disk = store::unchanged(Arc::new(FileDisk::open_to_look(path)?));
    let (vhosts, ..) = open_on(disk, true, &Config::default(), None, clock, false).await?;
    let definitions = vhosts.export().to_json();
    vhosts.stop().await?;
    Ok(definitions)
}

async fn open(
    config: &Config,
    clock: Arc<dyn Clock>,
    allow_unknown_users: bool,
) -> Result<(Vhosts, Vec<(String, store::Report)>, Option<Arc<FileDisk>>), StartError> {
    let (storage, source) = (config.storage.clone(), config.definitions.clone());
    let opening = blocking(move || -> Result<_, StartError> {
        // why: before anything is made, so that definitions that make no sense leave nothing behind.
        let definitions = source.as_ref().map(read_definitions).transpose()?;
        let directory = match storage {
            Storage::Memory => None,
            Storage::Directory(path) => {
                let disk = FileDisk::open(&path)?;
                disk.kept_files().set_most(files_kept_by_stores(store::KEPT_FILES));
                Some(Arc::new(disk))
            }
        };
        Ok((definitions, directory))
    });
    let (definitions, directory) = opening.await?;
    let disk: Arc<dyn Disk> = match directory.clone() {
        None => Arc::new(MemoryDisk::default()),
        Some(disk) => disk,
    };
    let has_disk = directory.is_some();
    let (vhosts, reports) =
        open_on(disk, has_disk, config, definitions, clock, allow_unknown_users).await?;
    Ok((vhosts, reports, directory))
}

/// Starts the virtual hosts that are on a disk, which keeps what is durable if it is `has_disk`.
async fn open_on(
    disk: Arc<dyn Disk>,
    has_disk: bool,
    config: &Config,
    definitions: Option<Definitions>,
    clock: Arc<dyn Clock>,
    allow_unknown_users: bool,
) -> Result<(Vhosts, Vec<(String, store::Report)>), StartError> {
    let (source, accept_loss) = (config.definitions.clone(), config.accept_loss);
    let Config { seed, users, first, loopback_users, memory_limit, client_limits, .. } =
        config.clone();
    let (node_name, cluster_name) = (config.node_name.clone(), config.cluster_name.clone());
    let resources = ResourcePlan {
        limit: memory_limit.unwrap_or_else(memory::default_limit),
        has_disk,
        disk_free_limit: config.disk_free_limit,
        log_file_bytes: config.log_file_bytes,
        client_limits,
    };
    let start = move || {
        let initial = Initial {
            users: &users,
            first: Some(&first),
            definitions: definitions.as_ref(),
            node_name: node_name.as_deref(),
            cluster_name: cluster_name.as_deref(),
            accept_loss,
        };
        Vhosts::start(disk, resources, clock, seed, initial, &loopback_users, allow_unknown_users)
    };
    blocking(start).await.map_err(|error| StartError::of_import(error, source.as_ref()))
}

/// Reads the definitions that a broker is to have at its start.
pub(crate) fn read_definitions(source: &DefinitionsSource) -> Result<Definitions, StartError> {
    let parse = |json: &[u8], source: &DefinitionsSource| {
        Definitions::parse(json).map_err(|error| StartError::of_import(error.into(), Some(source)))
    };
    let path = match source {
        DefinitionsSource::Json(json) => return parse(json, source),
        DefinitionsSource::File(path) => path,
    };
    let unreadable =
        |path: &Path, source| StartError::UnreadableDefinitions { path: path.to_owned(), source };
    let mut files = vec![path.clone()];
    if path.is_dir() {
        let entries = std::fs::read_dir(path).map_err(|error| unreadable(path, error))?;
        let paths = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>();
        files = paths.map_err(|error| unreadable(path, error))?;
        files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
        files.sort();
    }
    let mut all = Definitions::default();
    for path in files {
        let json = std::fs::read(&path).map_err(|error| unreadable(&path, error))?;
        all.append(parse(&json, &DefinitionsSource::File(path))?);
    }
    Ok(all)
}

/// Runs what waits for a disk on a thread that may.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let ended = tokio::task::spawn_blocking(work).await;
    ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

/// Listens on these addresses; each listener with its address, whose port the system may have
/// chosen.
pub(crate) async fn bind(
    addresses: &[SocketAddr],
) -> Result<Vec<(SocketAddr, TcpListener)>, StartError> {
    let mut listeners = Vec::with_capacity(addresses.len());
    for &address in addresses {
        // why: a socket for all addresses of IPv6 takes those of IPv4, too, which have one of their own here.
        let is_beside_v4 = |other: &SocketAddr| other.is_ipv4() && other.port() == address.port();
        let only_v6 =
            address.is_ipv6() && address.port() != 0 && addresses.iter().any(is_beside_v4);
        let bound = || {
            let socket = match address {
                SocketAddr::V4(_) => TcpSocket::new_v4(),
                SocketAddr::V6(_) => TcpSocket::new_v6(),
            }?;
            // why: a broker that comes up again finds connections of the last one in TIME_WAIT.
            socket.set_reuseaddr(true)?;
            if only_v6 {
                rustix::net::sockopt::set_ipv6_v6only(&socket, true)?;
            }
            socket.bind(address)?;
            let listener = socket.listen(BACKLOG)?;
            Ok((listener.local_addr()?, listener))
        };
        listeners.push(bound().map_err(|source| StartError::Listen { address, source })?);
    }
    Ok(listeners)
}

/// Where clients are accepted, and how they are secured, if they are.
struct Listener {
    listener: TcpListener,
    acceptor: Option<Arc<Acceptor>>,
    active: ActiveListener,
}

/// Whether the broker stops, or is gone.
pub(crate) fn is_over(stopping: &watch::Receiver<bool>) -> bool {
    *stopping.borrow() || stopping.has_changed().is_err()
}

/// Accepts clients until the broker stops, then waits for them to end, but not for long.
async fn listen(listener: Listener, context: Arc<Context>, shutdown_timeout: Duration) {
    let Listener { listener, acceptor, active } = listener;
    let mut stopping = context.stopping.clone();
    let mut connections = JoinSet::new();
    let mut failing = false;
    loop {
        tokio::select! {
            biased;
            _ = stopping.changed() => break,
            Some(ended) = connections.join_next() => note_end(ended),
            accepted = listener.accept() => match accepted {
                Ok((socket, peer)) => {
                    failing = false;
                    let peer = vhosts::canonical(peer);
                    context.connection_slots.leave_to_vhosts(context.vhosts.running_count());
                    if let Some(slot) = context.connection_slots.take() {
                        let serve = serve(context.clone(), socket, peer, slot, acceptor.clone());
                        connections.spawn(serve);
                    }
                }
                Err(error) => {
                    // why: said once; it comes back at every attempt until something changes.
                    if !std::mem::replace(&mut failing, true) {
                        tracing::error!(%error, "cannot accept connections, trying again");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop((listener, active));
    // Without an orderly stop the sender is gone and no client was told to close.
    if *stopping.borrow() {
        let all_ended = async {
            while let Some(ended) = connections.join_next().await {
                note_end(ended);
            }
        };
        if tokio::time::timeout(shutdown_timeout, all_ended).await.is_err() {
            tracing::warn!(left = connections.len(), "clients did not answer and are cut off");
        }
    }
    connections.shutdown().await;
}

async fn serve(
    context: Arc<Context>,
    socket: TcpStream,
    peer: SocketAddr,
    slot: ConnectionSlot,
    acceptor: Option<Arc<Acceptor>>,
) {
    let deadline = Instant::now() + context.handshake_timeout;
    // why: a reply is sent when it is ready; waiting for more would only delay the next request.
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%peer, %error, "cannot switch off delays");
    }
    let local = vhosts::canonical(socket.local_addr().unwrap_or(peer));
    let leave = slot.leave();
    let mut arrival = Arrival { peer, local, deadline, security: None, slot };
    match acceptor {
        None => {
            let (reading, writing) = socket.into_split();
            connection::serve(context, reading, writing, arrival).await;
        }
        Some(acceptor) => {
            let mut stopping = context.stopping.clone();
            let accepted = tokio::select! {
                accepted = timeout_at(deadline, acceptor.accept(socket)) => accepted,
                () = leave.notified() => return,
                _ = stopping.wait_for(|stopping| *stopping) => return,
            };
            match accepted {
                Ok(Ok((socket, security))) => {
                    arrival.security = Some(Arc::new(security));
                    let (reading, writing) = tokio::io::split(socket);
                    connection::serve(context, reading, writing, arrival).await;
                }
                Ok(Err(error)) => note_failed_handshake(&context, peer, &error),
                Err(_) if context.log_limits.handshakes.allows() => {
                    tracing::warn!(%peer, "TLS handshake took too long, connection closed");
                }
                Err(_) => {}
            }
        }
    }
}

fn note_failed_handshake(context: &Context, peer: SocketAddr, error: &io::Error) {
    let is_foreign = tls::is_foreign(error);
    if !is_foreign && error.kind() != io::ErrorKind::InvalidData {
        // why: a program that checks whether the port is open ends like this, too.
        tracing::debug!(%peer, %error, "client left during the TLS handshake");
    } else if !context.log_limits.handshakes.allows() {
        // It is counted.
    } else if is_foreign {
        tracing::warn!(%peer, "client does not speak TLS, and this port does; connection closed");
    } else {
        tracing::warn!(%peer, %error, "TLS handshake failed, connection closed");
    }
}

/// A connection's task that ends by a panic is a bug in the broker: it must not go unseen.
fn note_end(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a connection failed inside the broker; please report this");
    }
}

#[cfg(test)]
mod tests;
