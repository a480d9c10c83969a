//! The listener of the API: connections of HTTP/1.1, so many and so long and no more.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::Uri;
use axum::http::uri::PathAndQuery;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};

use super::AppState;
use crate::broker::limits::HTTP_CONNECTIONS;
use crate::tls::{self, Acceptor};

/// How long the head of a request may take, the wait for its first byte included.
///
/// rabbitmq: its idle timeout is a minute.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);

/// How long the handshake of TLS may take.
const TLS_TIMEOUT: Duration = Duration::from_secs(10);

/// What is kept of a request's head at most, in bytes.
const HEAD_BYTES: usize = 64 * 1024;

/// How long requests may go on when the broker stops.
const GRACE: Duration = Duration::from_secs(2);

/// How long the listener pauses when it cannot accept, most often since the process has as many
/// open files as it may have.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The running API. Dropping it cuts its clients off.
pub(crate) struct Management {
    address: SocketAddr,
    stopping: watch::Sender<bool>,
    listening: JoinHandle<()>,
}

/// The two ends of a request's socket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
}

impl Management {
    /// Serves the API on this listener, which is [`AppState::address`].
    ///
    /// With an acceptor its clients must speak TLS.
    pub(crate) fn start(
        listener: TcpListener,
        acceptor: Option<Arc<Acceptor>>,
        app: AppState,
    ) -> Self {
        let (address, supervisor) = (app.address, app.vhosts.supervisor().clone());
        let router = super::router(Arc::new(app));
        let (stopping, stopped) = watch::channel(false);
        let listen = listen(listener, acceptor, router, stopped.clone());
        let may_end = move || *stopped.borrow() || stopped.has_changed().is_err();
        let part = format!("what accepts HTTP clients on {address}");
        let listening = tokio::spawn(supervisor.supervise(part, listen, may_end));
        Management { address, stopping, listening }
    }

    /// Where it is, with the port that the system chose.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no new requests and waits for those that are being answered, but not for long.
    pub(crate) async fn stop(self) {
        self.stopping.send_replace(true);
        // A listener that panicked has ended as well.
        let _ = self.listening.await;
    }
}

async fn listen(
    listener: TcpListener,
    acceptor: Option<Arc<Acceptor>>,
    router: Router,
    mut stopping: watch::Receiver<bool>,
) {
    let room = Arc::new(Semaphore::new(HTTP_CONNECTIONS));
    let mut connections = JoinSet::new();
    let mut failing = false;
    loop {
        let stopped = stopping.clone();
        tokio::select! {
            biased;
            _ = stopping.changed() => break,
            Some(_) = connections.join_next() => {}
            accepted = accept(&listener, &room) => match accepted {
                Ok((permit, socket, peer)) => {
                    failing = false;
                    let (router, acceptor) = (router.clone(), acceptor.clone());
                    connections.spawn(async move {
                        serve(socket, acceptor.as_deref(), peer, router, stopped).await;
                        drop(permit);
                    });
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
}

/// Accepts a connection once there is room for it.
async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> io::Result<(OwnedSemaphorePermit, TcpStream, SocketAddr)> {
    // invariant: the semaphore is never closed.
    let permit = room.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (socket, peer) = listener.accept().await?;
    Ok((permit, socket, peer))
}

async fn serve(
    socket: TcpStream,
    acceptor: Option<&Acceptor>,
    peer: SocketAddr,
    router: Router,
    mut stopping: watch::Receiver<bool>,
) {
    let ends = Ends { peer, local: socket.local_addr().unwrap_or(peer) };
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%peer, %error, "cannot switch off delays");
    }
    let Some(acceptor) = acceptor else { return answer(socket, ends, router, stopping).await };
    let accepted = tokio::select! {
        accepted = tokio::time::timeout(TLS_TIMEOUT, acceptor.accept(socket)) => accepted,
        () = stopped(&mut stopping) => return,
    };
    match accepted {
        Ok(Ok((socket, _))) => answer(socket, ends, router, stopping).await,
        Ok(Err(error)) if tls::is_foreign(&error) => {
            tracing::warn!(%peer, "HTTP client does not speak TLS, and this port does");
        }
        Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake of HTTP failed"),
        Err(_) => tracing::debug!(%peer, "TLS handshake of HTTP took too long"),
    }
}

/// Answers the requests of a connection.
async fn answer<S: AsyncRead + AsyncWrite + Unpin>(
    socket: S,
    ends: Ends,
    router: Router,
    mut stopping: watch::Receiver<bool>,
) {
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(ends);
        strip_slash(request.uri_mut());
        router.call(request)
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(HEAD_BYTES);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(socket), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopped(&mut stopping) => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(GRACE, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(peer = %ends.peer, %error, "HTTP connection failed");
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
