//! The listeners for clients of AMQP, which can be closed and opened again while the virtual hosts go on.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;

use super::{Context, Listener, StartError, bind, is_over, listen};
use crate::active_listeners::ActiveListeners;
use crate::tls::Acceptor;

/// A listener with its address, whose port the system may have chosen.
pub(super) type Bound = (SocketAddr, TcpListener);

/// Where clients come in.
pub(crate) struct Doors {
    addresses: Vec<SocketAddr>,
    tls_addresses: Vec<SocketAddr>,
    acceptor: Option<Arc<Acceptor>>,
    active_listeners: ActiveListeners,
    /// What each connection needs; `stopping` in it is that of the listeners that are open.
    context: Context,
    shutdown_timeout: Duration,
    /// Absent while they are closed.
    open: Mutex<Option<Open>>,
}

/// Listeners that are open. Dropping it ends them.
struct Open {
    stopping: watch::Sender<bool>,
    listening: Vec<JoinHandle<()>>,
}

impl Doors {
    /// Accepts clients on these, with TLS on those behind them.
    pub(super) fn open(
        [plain, secured]: [Vec<Bound>; 2],
        acceptor: Option<Arc<Acceptor>>,
        context: Context,
        shutdown_timeout: Duration,
    ) -> Self {
        let addresses = |bound: &[Bound]| bound.iter().map(|(address, _)| *address).collect();
        let mut doors = Doors {
            addresses: addresses(&plain),
            tls_addresses: addresses(&secured),
            acceptor,
            active_listeners: ActiveListeners::default(),
            context,
            shutdown_timeout,
            open: Mutex::new(None),
        };
        *doors.open.get_mut() = Some(doors.accept([plain, secured]));
        doors
    }

    /// Where they are, with the ports that the system chose.
    pub(super) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The same of those with TLS.
    pub(super) fn tls_addresses(&self) -> &[SocketAddr] {
        &self.tls_addresses
    }

    /// Where clients are accepted at this moment.
    pub(super) fn active_listeners(&self) -> &ActiveListeners {
        &self.active_listeners
    }

    /// Whether clients are let in.
    pub(crate) async fn is_open(&self) -> bool {
        self.open.lock().await.is_some()
    }

    /// Lets no new client in, tells those that are in, and waits for them to end, but not for long. Says whether
    /// they were open.
    pub(crate) async fn close(&self) -> bool {
        let Some(open) = self.open.lock().await.take() else { return false };
        open.stopping.send_replace(true);
        self.context.vhosts.shutdown();
        join_all(open.listening).await;
        true
    }

    /// Lets clients in again, on the same addresses. Says whether they were closed.
    ///
    /// # Errors
    /// When another program has taken an address.
    pub(crate) async fn reopen(&self) -> Result<bool, StartError> {
        let mut open = self.open.lock().await;
        if open.is_some() {
            return Ok(false);
        }
        let plain = bind(&self.addresses).await?;
        let secured = bind(&self.tls_addresses).await?;
        *open = Some(self.accept([plain, secured]));
        Ok(true)
    }

    /// Ends what accepts clients on the first address, as by a panic in it.
    #[cfg(test)]
    pub(crate) async fn end_a_listener(&self) {
        let mut open = self.open.lock().await;
        let listening = &mut open.as_mut().unwrap().listening[0];
        listening.abort();
        assert!(listening.await.is_err());
    }

    fn accept(&self, [plain, secured]: [Vec<Bound>; 2]) -> Open {
        let (stopping, stopped) = watch::channel(false);
        let context = Arc::new(Context { stopping: stopped, ..self.context.clone() });
        let supervisor = context.vhosts.supervisor();
        let plain = plain.into_iter().map(|bound| (bound, None));
        let secured = secured.into_iter().map(|bound| (bound, self.acceptor.clone()));
        let start = |((address, listener), acceptor)| {
            let active = self.active_listeners.enter(address);
            let listener = Listener { listener, acceptor, active };
            let listen = listen(listener, context.clone(), self.shutdown_timeout);
            let stopping = context.stopping.clone();
            let part = format!("what accepts clients on {address}");
            tokio::spawn(supervisor.clone().supervise(part, listen, move || is_over(&stopping)))
        };
        let listening = plain.chain(secured).map(start).collect();
        for address in &self.addresses {
            tracing::info!(%address, "listening");
        }
        for address in &self.tls_addresses {
            tracing::info!(%address, "listening for TLS");
        }
        Open { stopping, listening }
    }
}
