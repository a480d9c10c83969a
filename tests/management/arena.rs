//! A broker with its API, and users that ask it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use leveret::{Broker, BrokerBuilder};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::support::PATIENCE;

/// A broker on its own threads, so that a test can block.
pub(crate) struct Arena {
    broker: Option<Broker>,
    runtime: Runtime,
}

impl Arena {
    pub(crate) fn start() -> Self {
        Arena::with(Broker::builder())
    }

    /// A broker of which more is said.
    pub(crate) fn with(builder: BrokerBuilder) -> Self {
        let runtime = Runtime::new().unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let builder = builder.in_memory().listen(any).management(any);
        let broker = runtime.block_on(builder.start()).unwrap();
        Arena { broker: Some(broker), runtime }
    }

    pub(crate) fn broker(&self) -> &Broker {
        self.broker.as_ref().unwrap()
    }

    /// Where clients of AMQP connect.
    pub(crate) fn amqp(&self) -> SocketAddr {
        self.broker().addresses()[0]
    }

    /// The port of the API.
    pub(crate) fn port(&self) -> u16 {
        self.broker().management_address().unwrap().port()
    }

    /// The administrator.
    pub(crate) fn guest(&self) -> User<'_> {
        self.user("guest")
    }

    /// A user whose password is its name.
    pub(crate) fn user(&self, name: &'static str) -> User<'_> {
        User { arena: self, login: Some((name, name)) }
    }

    /// Makes a user with tags and all rights in `/`.
    pub(crate) fn make(&self, name: &'static str, tags: &str) -> User<'_> {
        let body = format!(r#"{{"password": "{name}", "tags": "{tags}"}}"#);
        let guest = self.guest();
        assert_eq!(guest.put(&format!("users/{name}"), &body).status, 201);
        let all = r#"{"configure": ".*", "write": ".*", "read": ".*"}"#;
        assert_eq!(guest.put(&format!("permissions/%2F/{name}"), all).status, 201);
        self.user(name)
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        if let Some(broker) = self.broker.take() {
            // A test that fails has its own message.
            let _ = self.runtime.block_on(broker.shutdown());
        }
    }
}

/// Somebody who asks.
#[derive(Clone, Copy)]
pub(crate) struct User<'a> {
    pub(crate) arena: &'a Arena,
    pub(crate) login: Option<(&'a str, &'a str)>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: String,
    pub(crate) body: String,
}

impl Reply {
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Whether the body came piece by piece, without its length being told before.
    pub(crate) fn is_chunked(&self) -> bool {
        self.header("transfer-encoding") == Some("chunked")
    }

    /// The value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.lines().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    /// Status, error and reason.
    #[track_caller]
    pub(crate) fn failure(&self) -> (u16, String, Value) {
        let json = self.json();
        let error = json["error"].as_str().unwrap_or_default().to_owned();
        (self.status, error, json["reason"].clone())
    }

    /// Fails unless it is this refusal.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16, error: &str, reason: impl Into<Value>) {
        assert_eq!(self.failure(), (status, error.to_owned(), reason.into()));
    }
}

impl User<'_> {
    /// What a GET shows.
    #[track_caller]
    pub(crate) fn see(&self, path: &str) -> Value {
        let reply = self.get(path);
        assert_eq!(reply.status, 200, "{path}: {reply:?}");
        assert_eq!(reply.header("content-type"), Some("application/json"));
        reply.json()
    }

    pub(crate) fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, "", "")
    }

    pub(crate) fn put(&self, path: &str, body: &str) -> Reply {
        self.ask("PUT", path, "", body)
    }

    pub(crate) fn post(&self, path: &str, body: &str) -> Reply {
        self.ask("POST", path, "", body)
    }

    pub(crate) fn delete(&self, path: &str) -> Reply {
        self.ask("DELETE", path, "", "")
    }

    /// Sends a request, with header lines of its own, and reads the whole answer.
    pub(crate) fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> Reply {
        let login = self.login.map_or(String::new(), |(name, password)| {
            format!("Authorization: Basic {}\r\n", STANDARD.encode(format!("{name}:{password}")))
        });
        let request = format!(
            "{method} /api/{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{login}{headers}\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        talk(self.arena.broker().management_address().unwrap(), request.as_bytes())
    }
}

/// Sends octets and reads until the other end closes.
pub(crate) fn talk(address: SocketAddr, octets: &[u8]) -> Reply {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.write_all(octets).unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let (first, headers) = head.split_once("\r\n").unwrap_or((head, ""));
    let status = first.split(' ').nth(1).and_then(|status| status.parse().ok());
    let mut reply =
        Reply { status: status.expect("a status"), headers: headers.into(), body: body.to_owned() };
    if reply.is_chunked() {
        reply.body = unchunked(body);
    }
    reply
}

/// A body that came in chunks, each with its length in hexadecimal before it; the last one is empty.
fn unchunked(mut chunks: &str) -> String {
    let mut body = String::new();
    loop {
        let (length, rest) = chunks.split_once("\r\n").expect("the length of a chunk");
        let length = usize::from_str_radix(length, 16).expect("a length in hexadecimal");
        if length == 0 {
            assert_eq!(rest, "\r\n");
            return body;
        }
        body.push_str(&rest[..length]);
        chunks = rest[length..].strip_prefix("\r\n").expect("the end of a chunk");
    }
}

/// The values of a field of all items.
#[track_caller]
pub(crate) fn all<'a>(items: &'a Value, field: &str) -> Vec<&'a str> {
    let items = items.as_array().expect("a list");
    items.iter().map(|item| item[field].as_str().expect("a text")).collect()
}

/// Fails unless the object has all these fields.
#[track_caller]
pub(crate) fn has(object: &Value, fields: &[&str]) {
    for field in fields {
        assert!(object.get(field).is_some(), "no {field} in {object:#}");
    }
}
