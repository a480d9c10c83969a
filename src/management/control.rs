//! The same API for operators of this machine: over a socket of the file system, without a password.
//!
//! All of it runs on a thread of its own. Who is not root and not the user that the broker runs as is cut off.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::{UnixListener, UnixStream};
use tokio::runtime;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::server::{self, ACCEPT_PAUSE, Ends, GRACE};
use super::socket_slot::SocketSlot;
use super::{Api, control_routes};
use crate::connection_slots::ConnectionSlots;
use crate::control_socket;
use crate::log_limit::LogLimit;

/// How many commands may run at once.
const CONNECTIONS: usize = 16;

/// Refused processes a second that are logged.
const REFUSALS: u32 = 10;

/// The socket while it is served. Dropping it removes it.
pub(crate) struct ControlSocket {
    path: PathBuf,
    _stopping: watch::Sender<()>,
}

impl ControlSocket {
    /// Serves the API there.
    ///
    /// # Errors
    /// When there cannot be a socket, such as where another broker has it.
    pub(crate) fn start(path: &Path, app: Api) -> io::Result<Self> {
        let listener = control_socket::bind(path)?;
        listener.set_nonblocking(true)?;
        let (stopping, stopped) = watch::channel(());
        let socket = ControlSocket { path: path.to_owned(), _stopping: stopping };
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = {
            // why: a listener belongs to the runtime that it was made on.
            let _on_runtime = runtime.enter();
            UnixListener::from_std(listener)?
        };
        let thread = std::thread::Builder::new().name("leveret-control".to_owned());
        thread.spawn(move || {
            runtime.block_on(listen(listener, app, stopped));
            // why: an operation that is under way may be the end of the broker, which waits for no one.
            runtime.shutdown_background();
        })?;
        Ok(socket)
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // What is left of it is removed by the next broker.
        let _ = fs::remove_file(&self.path);
    }
}

async fn listen(listener: UnixListener, app: Api, mut stopping: watch::Receiver<()>) {
    let router = control_routes::router(app);
    let slots = Arc::new(ConnectionSlots::of(CONNECTIONS, None));
    let log_limit = Arc::new(LogLimit::new("refused processes at the control socket", REFUSALS));
    // why: it counts as the machine itself.
    let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut connections = JoinSet::new();
    let (end_answers, answers_end) = watch::channel(false);
    loop {
        tokio::select! {
            biased;
            // An error: the other end is dropped, which is how it stops.
            _ = stopping.changed() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) if is_trusted(&socket, &log_limit) => {
                    if let Some(slot) = slots.take() {
                        let slot = Arc::new(SocketSlot::new(slot));
                        let log_limit = log_limit.clone();
                        let ends = Ends { peer, local: peer, slot, log_limit, is_operator: true };
                        let (router, stopping) = (router.clone(), answers_end.clone());
                        connections.spawn(server::answer(socket, ends, router, stopping));
                    }
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(%error, "cannot accept at the control socket, trying again");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    // why: the end of the broker may be what a command has asked for, and waits to be told of.
    end_answers.send_replace(true);
    let all_ended = async { while connections.join_next().await.is_some() {} };
    // What takes longer is cut off.
    let _ = tokio::time::timeout(GRACE, all_ended).await;
    log_limit.finish();
}

fn is_trusted(socket: &UnixStream, log_limit: &LogLimit) -> bool {
    let is_trusted = control_socket::is_trusted(socket);
    if !is_trusted && log_limit.allows() {
        let user = socket.peer_cred().map(|it| it.uid()).ok();
        tracing::warn!(?user, "a process of another user was refused at the control socket");
    }
    is_trusted
}
