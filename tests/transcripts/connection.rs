//! A client's end of one connection: a socket, and the frames that have come.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::incoming::Incoming;
use super::scenario::{Frame, MethodFrame, Options};
use super::wire;

/// What a client says it can do, unless a scenario lists it.
const CAPABILITIES: [&str; 6] = [
    "authentication_failure_close",
    "basic.nack",
    "connection.blocked",
    "consumer_cancel_notify",
    "exchange_exchange_bindings",
    "publisher_confirms",
];

/// How long the answer to a handshake's method, or to a request, may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// One connection. Dropping it closes the socket without a word.
pub(crate) struct Connection {
    writer: OwnedWriteHalf,
    /// Sends every frame that comes, then `eof`.
    reader: JoinHandle<()>,
    arrivals: mpsc::UnboundedReceiver<Frame>,
    frame_max: u32,
    /// The frames that have come and were not looked at.
    pub(crate) got: Vec<Frame>,
    /// Whether the broker has sent `connection.close-ok` in an earlier step.
    pub(crate) parted: bool,
    /// The publishes of each channel that were confirmed in earlier steps.
    pub(crate) confirmed: BTreeMap<u16, BTreeSet<u64>>,
}

impl Connection {
    /// Connects, and wakes `news` whenever something comes.
    pub(crate) async fn tcp(address: SocketAddr, news: Arc<Notify>) -> Result<Self, String> {
        let socket = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
        socket.set_nodelay(true).map_err(|error| error.to_string())?;
        let (read_half, writer) = socket.into_split();
        let (sender, arrivals) = mpsc::unbounded_channel();
        Ok(Self {
            writer,
            reader: tokio::spawn(read(read_half, sender, news)),
            arrivals,
            frame_max: wire::FRAME_MAX,
            got: Vec::new(),
            parted: false,
            confirmed: BTreeMap::new(),
        })
    }

    /// Goes through the handshake, then opens the channels.
    pub(crate) async fn open(&mut self, options: &Options, vhost: &str) -> Result<(), String> {
        let guest = || "guest".to_owned();
        let user = options.user.clone().unwrap_or_else(guest);
        let password = options.password.clone().unwrap_or_else(guest);
        let capabilities: Vec<Value> = match &options.client_capabilities {
            Some(listed) => listed.iter().map(|name| json!([name, "t", true])).collect(),
            None => CAPABILITIES.iter().map(|name| json!([name, "t", true])).collect(),
        };
        self.write(&leveret_codec::frame::PROTOCOL_HEADER).await;
        self.expect("connection.start").await?;
        let start_ok = json!({
            "client-properties": [["capabilities", "F", capabilities]],
            "mechanism": "PLAIN",
            "response": format!("\0{user}\0{password}"),
            "locale": "en_US",
        });
        self.send(&[method(0, "connection.start-ok", start_ok)]).await?;
        let tune = self.expect("connection.tune").await?;
        let offered = tune.get("frame-max").and_then(Value::as_u64).unwrap_or_default();
        self.frame_max = options.frame_max.unwrap_or(u32::try_from(offered).unwrap_or_default());
        let channel_max = options.channel_max.map_or(tune["channel-max"].clone(), Value::from);
        let tune_ok = json!({
            "channel-max": channel_max,
            "frame-max": self.frame_max,
            "heartbeat": options.heartbeat,
        });
        let open = json!({ "virtual-host": vhost });
        self.send(&[method(0, "connection.tune-ok", tune_ok), method(0, "connection.open", open)])
            .await?;
        self.expect("connection.open-ok").await?;
        for channel in &options.channels {
            self.send(&[method(*channel, "channel.open", json!({}))]).await?;
            self.expect("channel.open-ok").await?;
        }
        Ok(())
    }

    /// Sends these frames in one write.
    pub(crate) async fn send(&mut self, frames: &[Frame]) -> Result<(), String> {
        let encoded: Result<Vec<_>, _> =
            frames.iter().map(|frame| wire::encode(frame, self.frame_max)).collect();
        self.write(&encoded?.concat()).await;
        Ok(())
    }

    async fn write(&mut self, octets: &[u8]) {
        // A broker that has hung up takes nothing; that it has, the frames that come will tell.
        let _: io::Result<()> = self.writer.write_all(octets).await;
    }

    /// Puts what has come to `got`, without waiting.
    pub(crate) fn collect(&mut self) {
        while let Ok(frame) = self.arrivals.try_recv() {
            self.got.push(frame);
        }
    }

    /// The fields of the next method, which must be this one.
    pub(crate) async fn expect(&mut self, name: &str) -> Result<Map<String, Value>, String> {
        loop {
            match timeout(PATIENCE, self.arrivals.recv()).await {
                Ok(Some(Frame::Heartbeat(_))) => {}
                Ok(Some(Frame::Method(method))) if method.method == name => return Ok(method.args),
                Ok(Some(other)) => return Err(format!("{name} is expected, not {other}")),
                Ok(None) => return Err(format!("{name} is expected on a closed connection")),
                Err(_) => return Err(format!("no {name} within {PATIENCE:?}")),
            }
        }
    }

    /// Says goodbye, and waits for the answer.
    pub(crate) async fn close(mut self) {
        let close =
            method(0, "connection.close", json!({ "reply-code": 200, "reply-text": "done" }));
        if self.send(&[close]).await.is_err() {
            return;
        }
        let answered = async {
            while let Some(frame) = self.arrivals.recv().await {
                if frame.method() == Some("connection.close-ok") {
                    break;
                }
            }
        };
        // Whether it answers was for the scenario to see.
        let _ = timeout(Duration::from_secs(1), answered).await;
    }

    /// Closes the socket without a word; when this returns, it is closed.
    pub(crate) async fn hang_up(mut self) {
        self.reader.abort();
        // It was cancelled or had ended: either way its half is closed.
        let _ = (&mut self.reader).await;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// A method without content.
pub(crate) fn method(ch: u16, name: &str, args: Value) -> Frame {
    let Value::Object(args) = args else { unreachable!("fields are an object") };
    Frame::Method(MethodFrame { ch, method: name.to_owned(), args, ..MethodFrame::default() })
}

async fn read(mut socket: OwnedReadHalf, to: mpsc::UnboundedSender<Frame>, news: Arc<Notify>) {
    let mut incoming = Incoming::default();
    let mut octets = vec![0; 1 << 16];
    loop {
        let (frames, ended) = match socket.read(&mut octets).await {
            Ok(0) | Err(_) => (vec![Frame::Eof { eof: true }], true),
            Ok(length) => (incoming.feed(&octets[..length]), false),
        };
        for frame in frames {
            if to.send(frame).is_err() {
                return;
            }
        }
        news.notify_one();
        if ended {
            return;
        }
    }
}
