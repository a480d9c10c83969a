//! The network's side of the broker: listeners, connections, the timer and the log thread.
//!
//! Thin: it makes no decision of the protocol. Each connection has two tasks, a reader and a
//! writer, that meet in the vhost (through the handle) and nowhere else.

mod buffer;
mod connection;
mod sync;
mod timer;
mod writer;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle, JoinSet};

use self::connection::Context;
use crate::auth::Authenticator;
use crate::broker::snapshot::QueueSnapshot;
use crate::broker::vhost::VhostSettings;
use crate::clock::Clock;
use crate::config::{Config, Storage};
use crate::handle::BrokerHandle;
use crate::store::{self, Disk, FileDisk, MemoryDisk, Store, StoreError};

/// How long a listener pauses when it cannot accept, most often since the process has as many open
/// files as it may have.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

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
    /// What is in the data directory could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system refused a thread.
    #[error("cannot start the log thread: {0}")]
    Thread(io::Error),
}

fn why_not_listening(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "the address is already in use; is another broker running?".to_owned()
        }
        io::ErrorKind::AddrNotAvailable => "this machine does not have that address".to_owned(),
        _ => error.to_string(),
    }
}

/// A running server.
pub(crate) struct Server {
    handle: BrokerHandle,
    addresses: Vec<SocketAddr>,
    report: store::Report,
    stopping: watch::Sender<bool>,
    listening: Vec<JoinHandle<()>>,
    timer: JoinHandle<()>,
    log_thread: Option<std::thread::JoinHandle<Result<(), StoreError>>>,
}

impl Server {
    /// Opens the store, recovers, and listens. When this returns, clients can connect.
    pub(crate) async fn start(
        config: Config,
        clock: Arc<dyn Clock>,
        authenticator: Arc<dyn Authenticator>,
    ) -> Result<Self, StartError> {
        let (store, recovered, report) = open_store(config.storage.clone()).await?;
        if config.storage != Storage::Memory {
            note_recovery(&report);
        }
        let listeners = bind(config.addresses()).await?;

        let seed = config.seed.unwrap_or_else(|| fastrand::u64(..));
        let handle = BrokerHandle::new(clock, &VhostSettings { seed }, recovered);
        let log_thread = sync::spawn(handle.clone(), store).map_err(StartError::Thread)?;
        let timer = tokio::spawn(timer::run(handle.clone()));

        let (stopping, stopped) = watch::channel(false);
        let context = Arc::new(Context {
            handle: handle.clone(),
            authenticator,
            settings: config.connection,
            handshake_timeout: config.handshake_timeout,
            stopping: stopped,
        });
        let (addresses, listeners): (Vec<_>, Vec<_>) = listeners.into_iter().unzip();
        let listening = listeners
            .into_iter()
            .map(|listener| {
                tokio::spawn(listen(listener, context.clone(), config.shutdown_timeout))
            })
            .collect();
        let log_thread = Some(log_thread);
        Ok(Server { handle, addresses, report, stopping, listening, timer, log_thread })
    }

    /// The addresses that are listened on, with the ports that the system chose.
    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What the store found when it was opened.
    pub(crate) fn report(&self) -> &store::Report {
        &self.report
    }

    /// The queues as they are now.
    pub(crate) fn queues(&self) -> Vec<QueueSnapshot> {
        self.handle.queues()
    }

    /// Stops in order: nobody new gets in, clients are told and have a few seconds to answer, then
    /// everything durable is synced and the store is closed.
    pub(crate) async fn stop(mut self) -> Result<(), StoreError> {
        self.stopping.send_replace(true);
        self.handle.shutdown();
        join_all(self.listening.drain(..)).await;
        self.handle.log().close();
        let Some(log_thread) = self.log_thread.take() else { return Ok(()) };
        // why: on a thread of its own, since the last sync may take a while.
        let ended = tokio::task::spawn_blocking(|| log_thread.join());
        match ended.await.map_err(JoinError::into_panic).and_then(|joined| joined) {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

impl Drop for Server {
    /// Without [`stop`](Server::stop) clients are cut off; what is durable is still written.
    fn drop(&mut self) {
        self.timer.abort();
        self.handle.log().close();
    }
}

async fn open_store(
    storage: Storage,
) -> Result<(Store, crate::broker::record::Recovered, store::Report), StartError> {
    let opening = tokio::task::spawn_blocking(move || {
        let disk: Arc<dyn Disk> = match storage {
            Storage::Memory => Arc::new(MemoryDisk::default()),
            Storage::Directory(path) => Arc::new(FileDisk::open(&path)?),
        };
        Ok(Store::open(disk, store::Options::default())?)
    });
    opening.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

fn note_recovery(report: &store::Report) {
    if report.cuts.is_empty() {
        tracing::info!("{report}");
    } else {
        tracing::warn!("{report}");
    }
}

async fn bind(addresses: &[SocketAddr]) -> Result<Vec<(SocketAddr, TcpListener)>, StartError> {
    let mut listeners = Vec::with_capacity(addresses.len());
    for &address in addresses {
        let bound = async {
            let listener = TcpListener::bind(address).await?;
            Ok((listener.local_addr()?, listener))
        };
        listeners.push(bound.await.map_err(|source| StartError::Listen { address, source })?);
    }
    Ok(listeners)
}

/// Accepts clients until the broker stops, then waits for them to end, but not for long.
async fn listen(listener: TcpListener, context: Arc<Context>, shutdown_timeout: Duration) {
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
                    connections.spawn(serve(context.clone(), socket, peer));
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
    drop(listener);
    // Without an orderly stop the sender is gone and nobody has told the clients to go.
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

async fn serve(context: Arc<Context>, socket: TcpStream, peer: SocketAddr) {
    // why: a reply is sent when it is ready; waiting for more would only delay the next request.
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%peer, %error, "cannot switch off delays");
    }
    let (reading, writing) = socket.into_split();
    connection::serve(context, reading, writing, peer).await;
}

/// A connection's task that ends by a panic is a bug in the broker: it must not go unseen.
fn note_end(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a connection failed inside the broker; please report this");
    }
}
