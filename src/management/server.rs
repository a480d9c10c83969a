//! The listener of the API: connections of HTTP/1.1, so many and so long and no more.
//!
//! All of it runs on a thread of its own, so that no request, however much there is to read or to write for it,
//! delays the threads that serve connections of AMQP.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::uri::PathAndQuery;
use axum::http::{Method, Uri};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use super::socket_slot::SocketSlot;
use super::{Api, answer};
use crate::broker::limits::HTTP_CONNECTIONS;
use crate::connection_slots::ConnectionSlots;
use crate::log_limit::LogLimit;
use crate::tls::{self, Acceptor};
use crate::vhosts;
use crate::write_timeout::WriteTimeout;

/// How long the head of a request may take, the wait for its first byte included.
///
/// rabbitmq: its idle timeout is a minute.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);

/// How long the handshake of TLS may take.
const TLS_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a client may take nothing of what it is sent.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// What is kept of a request's head at most, in bytes.
const HEAD_BYTES: usize = 64 * 1024;

/// How long requests may go on when the broker stops.
pub(super) const GRACE: Duration = Duration::from_secs(2);

/// How long the listener pauses when it cannot accept, most often since the process has as many
/// open files as it may have.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The running API. Dropping it cuts its clients off.
pub(crate) struct Management {
    address: SocketAddr,
    stopping: watch::Sender<bool>,
    /// Closed when the thread has ended.
    ended: oneshot::Receiver<()>,
}

/// The two ends of a request's socket, and its slot.
#[derive(Clone)]
pub(super) struct Ends {
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
    pub(super) slot: Arc<SocketSlot>,
    /// Bounds what failed logins and handshakes of all clients write to the log.
    pub(super) log_limit: Arc<LogLimit>,
    /// Whether the client is an operator of this machine, who needs no password.
    pub(super) is_operator: bool,
}

/// Failed logins and handshakes a second that are logged.
const FAILURES: u32 = 100;

impl Management {
    /// Serves the API on this listener.
    ///
    /// With an acceptor its clients must speak TLS.
    ///
    /// # Errors
    /// When the system refuses a thread or its event queue.
    pub(crate) fn start(
        listener: TcpListener,
        address: SocketAddr,
        acceptor: Option<Arc<Acceptor>>,
        app: Api,
    ) -> io::Result<Self> {
        let supervisor = app.vhosts.supervisor().clone();
        *app.http.lock() = Some((address, acceptor.is_some()));
        let router = super::router(app.clone());
        let (stopping, stopped) = watch::channel(false);
        let (ending, ended) = oneshot::channel::<()>();
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = {
            // why: a listener belongs to the runtime that it was made on.
            let _on_runtime = runtime.enter();
            TcpListener::from_std(listener.into_std()?)?
        };
        let part = format!("what accepts HTTP clients on {address}");
        let thread = std::thread::Builder::new().name("leveret-http".to_owned());
        thread.spawn(move || {
            let listen = listen(listener, acceptor, router, stopped.clone());
            let may_end = move || *stopped.borrow() || stopped.has_changed().is_err();
            runtime.block_on(supervisor.supervise(part, listen, may_end));
            runtime.shutdown_timeout(GRACE);
            *app.http.lock() = None;
            drop(ending);
        })?;
        Ok(Management { address, stopping, ended })
    }

    /// Where it is, with the port that the system chose.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no new requests and waits for those that are being answered, but not for long.
    pub(crate) async fn stop(self) {
        self.stopping.send_replace(true);
        // A thread that panicked has ended as well.
        let _ = self.ended.await;
    }
}

async fn listen(
    listener: TcpListener,
    acceptor: Option<Arc<Acceptor>>,
    router: Router,
    mut stopping: watch::Receiver<bool>,
) {
    let slots = Arc::new(ConnectionSlots::of(HTTP_CONNECTIONS, None));
    let mut connections = JoinSet::new();
    let log_limit = Arc::new(LogLimit::new("failed logins of HTTP", FAILURES));
    let mut failing = false;
    loop {
        let stopped = stopping.clone();
        tokio::select! {
            biased;
            _ = stopping.changed() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((socket, peer)) => {
                    failing = false;
                    if let Some(slot) = slots.take() {
                        let (router, acceptor) = (router.clone(), acceptor.clone());
                        let log_limit = log_limit.clone();
                        connections.spawn(async move {
                            let peer = vhosts::canonical(peer);
                            let local = vhosts::canonical(socket.local_addr().unwrap_or(peer));
                            let slot = Arc::new(SocketSlot::new(slot));
                            let ends = Ends { peer, local, slot, log_limit, is_operator: false };
                            serve(socket, acceptor.as_deref(), ends, router, stopped).await;
                        });
                    }
                    // why: a client that has to make room does so before the next one comes.
                    tokio::task::yield_now().await;
                }
                Err(error) => {
                    // why: said once; it comes back at every attempt until something changes.
                    if !std::mem::replace(&mut failing, true) {
                        tracing::error!(%error, "cannot accept HTTP connections, trying again");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    if *stopping.borrow() {
        while connections.join_next().await.is_some() {}
    }
    connections.shutdown().await;
    log_limit.finish();
}

async fn serve(
    socket: TcpStream,
    acceptor: Option<&Acceptor>,
    ends: Ends,
    router: Router,
    mut stopping: watch::Receiver<bool>,
) {
    let (peer, slot, log_limit) = (ends.peer, ends.slot.clone(), ends.log_limit.clone());
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%peer, %error, "cannot switch off delays");
    }
    let Some(acceptor) = acceptor else { return answer(socket, ends, router, stopping).await };
    let accepted = tokio::select! {
        accepted = tokio::time::timeout(TLS_TIMEOUT, acceptor.accept(socket)) => accepted,
        () = stopped(&mut stopping) => return,
        () = slot.must_close() => return,
    };
    match accepted {
        Ok(Ok((socket, _))) => answer(socket, ends, router, stopping).await,
        Ok(Err(error)) if tls::is_foreign(&error) => {
            if log_limit.allows() {
                tracing::warn!(%peer, "HTTP client does not speak TLS, and this port does");
            }
        }
        Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake of HTTP failed"),
        Err(_) => tracing::debug!(%peer, "TLS handshake of HTTP took too long"),
    }
}

/// Answers the requests of a connection.
pub(super) async fn answer<S: AsyncRead + AsyncWrite + Unpin>(
    socket: S,
    ends: Ends,
    router: Router,
    mut stopping: watch::Receiver<bool>,
) {
    let router = TowerToHyperService::new(router);
    let (peer, slot) = (ends.peer, ends.slot.clone());
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        let request_guard = ends.slot.request();
        request.extensions_mut().insert(ends.clone());
        strip_slash(request.uri_mut());
        let asks_for_methods = request.method() == Method::OPTIONS;
        let answering = router.call(request);
        async move {
            let response = answering.await?;
            let response = if asks_for_methods { answer::methods(response) } else { response };
            Ok::<_, Infallible>(request_guard.until_written(response))
        }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(HEAD_BYTES);
    let socket = TokioIo::new(WriteTimeout::new(socket, WRITE_TIMEOUT));
    let mut connection = pin!(builder.serve_connection(socket, service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopped(&mut stopping) => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(GRACE, connection).await.unwrap_or(Ok(()))
        }
        () = slot.must_close() => Ok(()),
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "HTTP connection failed");
    }
}

/// Waits until the broker stops; for ever if it ends without stopping.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    if stopping.wait_for(|stopping| *stopping).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// rabbitmq: `/api/queues/` is `/api/queues`.
fn strip_slash(uri: &mut Uri) {
    let Some(path) = uri.path().strip_suffix('/').filter(|path| !path.is_empty()) else { return };
    let stripped = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    if let Ok(stripped) = PathAndQuery::try_from(stripped) {
        let mut parts = uri.clone().into_parts();
        parts.path_and_query = Some(stripped);
        if let Ok(changed) = Uri::from_parts(parts) {
            *uri = changed;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slash_at_the_end_is_nothing() {
        for (from, to) in [
            ("/api/queues/", "/api/queues"),
            ("/api/queues/%2F/?page=1", "/api/queues/%2F?page=1"),
            ("/api/queues/%2F", "/api/queues/%2F"),
            ("/", "/"),
            ("http://localhost/api/", "http://localhost/api"),
        ] {
            let mut uri: Uri = from.parse().unwrap();
            strip_slash(&mut uri);
            assert_eq!(uri.to_string(), to);
        }
    }
}
