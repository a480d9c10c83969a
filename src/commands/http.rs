//! A client of HTTP/1.1 for one request after another: over the control socket of a broker, over TCP,
//! or over TLS.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::secure::Secure;

/// The largest answer that is taken, in bytes: a list of a million queues is within it.
const ANSWER_BYTES: usize = 1 << 30;

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// At this socket of the machine.
    Socket(PathBuf),
    /// At this host and port.
    Tcp(String, u16),
    /// At this host and port, secured.
    Secure(String, u16, Secure),
}

/// What a server is asked with.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) target: Target,
    /// The value of the header that says who asks.
    pub(super) authorization: Option<String>,
    /// How long an answer may take.
    pub(super) timeout: Duration,
}

/// What a server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) location: Option<String>,
    pub(super) body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub(super) enum Unanswered {
    /// Nobody listens there.
    #[error("{0}")]
    Unreachable(io::Error),
    /// The time is over.
    #[error("the answer takes too long")]
    TimedOut,
    /// What came is no answer of HTTP.
    #[error("{0}")]
    Broken(String),
}

impl Client {
    /// Asks, and waits for the whole answer. A body is JSON.
    ///
    /// # Errors
    /// When there is no whole answer in time.
    pub(super) fn send(
        &self,
        method: &Method,
        path: &str,
        body: Option<&[u8]>,
    ) -> Result<Answer, Unanswered> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(Unanswered::Unreachable)?;
        let exchange = async {
            match &self.target {
                Target::Socket(path_of_socket) => {
                    let stream = UnixStream::connect(path_of_socket).await;
                    let stream = stream.map_err(Unanswered::Unreachable)?;
                    self.exchange(stream, "localhost", method, path, body).await
                }
                Target::Tcp(host, port) => {
                    let stream = TcpStream::connect((host.as_str(), *port)).await;
                    let stream = stream.map_err(Unanswered::Unreachable)?;
                    let name = format!("{host}:{port}");
                    self.exchange(stream, &name, method, path, body).await
                }
                Target::Secure(host, port, secure) => {
                    let stream = secured(host, *port, secure).await?;
                    let name = format!("{host}:{port}");
                    self.exchange(stream, &name, method, path, body).await
                }
            }
        };
        runtime.block_on(async {
            let ended = tokio::time::timeout(self.timeout, exchange).await;
            ended.unwrap_or(Err(Unanswered::TimedOut))
        })
    }

    async fn exchange(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        host: &str,
        method: &Method,
        path: &str,
        body: Option<&[u8]>,
    ) -> Result<Answer, Unanswered> {
        let broken = |error: hyper::Error| Unanswered::Broken(error.to_string());
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path).header(HOST, host);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json");
            request = request.header(CONTENT_LENGTH, body.len());
        }
        let body = Full::new(Bytes::copy_from_slice(body.unwrap_or_default()));
        let request = request.body(body).map_err(|error| Unanswered::Broken(error.to_string()))?;
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status();
        let location = response.headers().get(hyper::header::LOCATION);
        let location = location.and_then(|value| value.to_str().ok()).map(str::to_owned);
        let body = Limited::new(response.into_body(), ANSWER_BYTES).collect().await;
        let body = body.map_err(|error| Unanswered::Broken(error.to_string()))?.to_bytes();
        Ok(Answer { status, location, body })
    }
}

/// A connection that is secured.
async fn secured(
    host: &str,
    port: u16,
    secure: &Secure,
) -> Result<impl AsyncRead + AsyncWrite + Unpin + Send + 'static, Unanswered> {
    let name = ServerName::try_from(host.to_owned())
        .map_err(|error| Unanswered::Unreachable(io::Error::other(error)))?;
    let stream = TcpStream::connect((host, port)).await.map_err(Unanswered::Unreachable)?;
    let connector = TlsConnector::from(secure.0.clone());
    connector.connect(name, stream).await.map_err(Unanswered::Unreachable)
}
