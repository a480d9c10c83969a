//! One request of HTTP/1.1 and its answer.

use std::future::Future;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Method, Request, Version};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::options::Options;
use super::url::Url;
use super::{Stop, reason};

/// A request that is to be sent.
pub(super) struct Transfer {
    url: Url,
    /// The server that the user's password is for.
    first: Url,
    method: String,
    /// Whether the method was asked for, so that a redirect keeps it.
    is_method_fixed: bool,
    body: Option<Bytes>,
}

/// What a server answered.
pub(super) struct Response {
    pub(super) status: u16,
    /// The status line and the headers, as they are printed.
    pub(super) head: Vec<u8>,
    pub(super) location: Option<String>,
    pub(super) content_type: String,
    pub(super) body: Bytes,
}

impl Transfer {
    pub(super) fn new(options: &Options, url: Url) -> Self {
        let method = match (&options.method, options.head, &options.body) {
            (Some(method), ..) => method,
            (None, true, _) => "HEAD",
            (None, false, Some(_)) => "POST",
            (None, false, None) => "GET",
        };
        Transfer {
            first: url.clone(),
            url,
            method: method.to_owned(),
            is_method_fixed: options.method.is_some(),
            body: options.body.clone().map(Bytes::from),
        }
    }

    /// Where it goes.
    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    /// Goes where the last answer points.
    pub(super) fn redirect(&mut self, location: &str, status: u16) -> Result<(), Stop> {
        self.url = self.url.join(location)?;
        // As browsers do, curl asks for the answer to a form with GET.
        if !self.is_method_fixed && self.method == "POST" && [301, 302, 303].contains(&status) {
            "GET".clone_into(&mut self.method);
            self.body = None;
        }
        Ok(())
    }

    /// Sends it and waits for the whole answer.
    pub(super) fn send(&self, options: &Options) -> Result<Response, Stop> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Stop::new(2, reason(&error)))?;
        let request = self.request(options)?;
        let exchange = async {
            let stream = within(options.connect_timeout, self.connect()).await?;
            self.exchange(stream, request).await
        };
        runtime.block_on(within(options.max_time, exchange))
    }

    async fn connect(&self) -> Result<TcpStream, Stop> {
        let (host, port) = (self.url.host.as_str(), self.url.port);
        let addresses = tokio::net::lookup_host((host, port)).await;
        let unresolved = |_| Stop::new(6, format!("Could not resolve host: {host}"));
        let addresses: Vec<_> = addresses.map_err(unresolved)?.collect();
        let stream = TcpStream::connect(addresses.as_slice()).await;
        stream.map_err(|error| {
            let why = reason(&error);
            Stop::new(7, format!("Failed to connect to {host} port {port}: {why}"))
        })
    }

    fn request(&self, options: &Options) -> Result<Request<Full<Bytes>>, Stop> {
        let method = Method::from_bytes(self.method.as_bytes());
        let method = method.map_err(|_| Stop::new(2, format!("{} is no method", self.method)))?;
        let mut request = Request::new(Full::new(self.body.clone().unwrap_or_default()));
        *request.method_mut() = method;
        let uri = self.url.path.parse();
        *request.uri_mut() = uri.map_err(|error| Stop::new(3, format!("URL rejected: {error}")))?;
        let mut set = |name: &str, value: Option<&str>| {
            let wrong = || Stop::new(2, format!("option -H: {name} is no header"));
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
            match value {
                Some(value) => {
                    let value = HeaderValue::from_str(value).map_err(|_| wrong())?;
                    request.headers_mut().insert(name, value);
                }
                None => {
                    request.headers_mut().remove(name);
                }
            }
            Ok::<_, Stop>(())
        };
        set("host", Some(&self.url.authority()))?;
        set("user-agent", Some(concat!("curl/7.88.1 leveret/", env!("CARGO_PKG_VERSION"))))?;
        set("accept", Some("*/*"))?;
        if self.body.is_some() {
            set("content-type", Some("application/x-www-form-urlencoded"))?;
        }
        // A server that a redirect points to is told nobody's password.
        let is_trusted = self.url.is_beside(&self.first);
        let user = options.user.as_ref().or(self.first.user.as_ref()).filter(|_| is_trusted);
        if let Some(user) = user.or(self.url.user.as_ref()) {
            set("authorization", Some(&format!("Basic {}", STANDARD.encode(user))))?;
        }
        for (name, value) in &options.headers {
            if is_trusted || !name.eq_ignore_ascii_case("authorization") {
                set(name, value.as_deref())?;
            }
        }
        Ok(request)
    }

    async fn exchange(
        &self,
        stream: TcpStream,
        request: Request<Full<Bytes>>,
    ) -> Result<Response, Stop> {
        let broken = |error: hyper::Error| match error.is_incomplete_message() {
            true => Stop::new(52, "Empty reply from server"),
            false if error.is_parse() => Stop::new(1, "The answer is not one of HTTP/1"),
            false => Stop::new(56, format!("Failure when receiving data: {error}")),
        };
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        tokio::spawn(connection);
        let response = sender.send_request(request).await.map_err(broken)?;
        let (head, body) = response.into_parts();
        let text = |name: &str| {
            let value = head.headers.get(name)?.to_str().ok()?;
            Some(value.to_owned())
        };
        let (location, content_type) = (text("location"), text("content-type").unwrap_or_default());
        let version = if head.version == Version::HTTP_10 { "1.0" } else { "1.1" };
        let mut lines = format!("HTTP/{version} {}\r\n", head.status).into_bytes();
        for (name, value) in &head.headers {
            lines.extend_from_slice(name.as_str().as_bytes());
            lines.extend_from_slice(b": ");
            lines.extend_from_slice(value.as_bytes());
            lines.extend_from_slice(b"\r\n");
        }
        lines.extend_from_slice(b"\r\n");
        let partial = |_| Stop::new(18, "The answer ended before it was whole");
        let body = body.collect().await.map_err(partial)?.to_bytes();
        Ok(Response { status: head.status.as_u16(), head: lines, location, content_type, body })
    }
}

/// What comes of it in this time, or curl's code for a time that is over.
async fn within<T>(
    limit: Option<Duration>,
    future: impl Future<Output = Result<T, Stop>>,
) -> Result<T, Stop> {
    let Some(limit) = limit else { return future.await };
    let over = || {
        let text = format!("Operation timed out after {} milliseconds", limit.as_millis());
        Stop::new(28, text)
    };
    tokio::time::timeout(limit, future).await.unwrap_or_else(|_| Err(over()))
}
