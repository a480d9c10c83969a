//! A client of few words on a blocking socket, for what client libraries hide: single frames,
//! their order, and what happens when they are cut.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use leveret_codec::decode::ContentHeader;
use leveret_codec::error::FrameError;
use leveret_codec::method::{basic, channel, confirm, connection, queue};
use leveret_codec::table::TableBuilder;
use leveret_codec::{Decoder, Encode, Method, ShortStr, Table, Value, encode, frame, properties};

use super::PATIENCE;

/// The properties of a message that survives a restart, and of one that does not.
pub(crate) const PERSISTENT: &[u8] = &[0x10, 0, 2];
pub(crate) const TRANSIENT: &[u8] = properties::Properties::EMPTY.as_bytes();

/// One end of a connection, over a socket or what makes a socket secure.
pub(crate) struct Client<S = TcpStream> {
    socket: S,
    decoder: Decoder,
    frame_max: u32,
    input: Vec<u8>,
    used: usize,
}

/// A frame that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) kind: u8,
    pub(crate) channel: u16,
    pub(crate) payload: Vec<u8>,
}

/// A message that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Delivered {
    pub(crate) delivery_tag: u64,
    pub(crate) redelivered: bool,
    pub(crate) properties: Vec<u8>,
    pub(crate) body: Vec<u8>,
}

impl Received {
    pub(crate) fn method(&self) -> Method<'_> {
        assert_eq!(self.kind, frame::METHOD, "a method is expected, not {self:?}");
        Method::decode(&self.payload).expect("the broker's methods can be decoded")
    }
}

impl Client {
    /// A connection with nothing said on it.
    pub(crate) fn silent(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).expect("the broker listens");
        socket.set_nodelay(true).expect("a socket has that option");
        socket.set_read_timeout(Some(PATIENCE)).expect("the time is not zero");
        socket.set_write_timeout(Some(PATIENCE)).expect("the time is not zero");
        Client::over(socket)
    }

    /// Logs in and goes away; `response` is that of PLAIN.
    ///
    /// # Errors
    /// Code and text of the refusal.
    pub(crate) fn try_login(address: SocketAddr, response: &[u8]) -> Result<(), String> {
        let mut client = Client::silent(address);
        client.mechanisms();
        client.log_in("PLAIN", response)
    }

    /// An open connection of guest's, without heartbeats, with channel 1 open.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Client::connect_with(address, 131_072, 0)
    }

    /// The same, with other limits.
    pub(crate) fn connect_with(address: SocketAddr, frame_max: u32, heartbeat: u16) -> Self {
        let (mut client, opened) = Client::open(address, frame_max, heartbeat, Table::EMPTY);
        assert!(matches!(opened.method(), Method::ConnectionOpenOk(_)), "{opened:?}");
        client.open_channel(1);
        client
    }

    /// One that is told when it is blocked.
    pub(crate) fn connect_blockable(address: SocketAddr) -> Self {
        let mut capabilities = TableBuilder::default();
        capabilities.push(b"connection.blocked", &Value::Bool(true));
        let mut properties = TableBuilder::default();
        properties.push(b"capabilities", &Value::Table(capabilities.as_table()));
        let (mut client, _) = Client::open(address, 131_072, 0, properties.as_table());
        client.open_channel(1);
        client
    }

    /// What connection.open is answered with, when it is hardly connection.open-ok.
    pub(crate) fn refused(address: SocketAddr) -> Received {
        Client::open(address, 131_072, 0, Table::EMPTY).1
    }

    pub(crate) fn open(
        address: SocketAddr,
        frame_max: u32,
        heartbeat: u16,
        client_properties: Table<'_>,
    ) -> (Self, Received) {
        let mut client = Client::silent(address);
        client.frame_max = frame_max;
        client.send(&frame::PROTOCOL_HEADER).expect("the broker reads");
        assert!(matches!(client.frame().method(), Method::ConnectionStart(_)));
        let start_ok = connection::StartOk {
            client_properties,
            mechanism: ShortStr::from_static("PLAIN"),
            response: b"\0guest\0guest",
            locale: ShortStr::from_static("en_US"),
        };
        assert!(matches!(client.call(0, &start_ok).method(), Method::ConnectionTune(_)));
        let tune_ok = connection::TuneOk { channel_max: 2047, frame_max, heartbeat };
        client.tell(0, &tune_ok).expect("the broker reads");
        let vhost = ShortStr::from_static("/");
        let open = connection::Open { virtual_host: vhost, ..Default::default() };
        let opened = client.call(0, &open);
        (client, opened)
    }

    /// The next frame, if it is here already.
    pub(crate) fn poll(&mut self) -> io::Result<Option<Received>> {
        self.socket.set_nonblocking(true)?;
        let read = self.read();
        self.socket.set_nonblocking(false)?;
        match read {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            other => other,
        }
    }
}

impl<S: Read + Write> Client<S> {
    /// A connection over this, with nothing said on it.
    pub(crate) fn over(socket: S) -> Self {
        let frame_max = frame::MIN_SIZE;
        let (input, used) = (Vec::new(), 0);
        Client { socket, decoder: Decoder::new(0), frame_max, input, used }
    }

    /// Begins, and returns what the broker offers to log in with.
    pub(crate) fn mechanisms(&mut self) -> String {
        self.send(&frame::PROTOCOL_HEADER).expect("the broker reads");
        let start = self.frame();
        let Method::ConnectionStart(start) = start.method() else { panic!("{start:?}") };
        String::from_utf8_lossy(start.mechanisms).into_owned()
    }

    /// Logs in, as a client that wants to hear of a refusal.
    ///
    /// # Errors
    /// Code and text of the refusal.
    pub(crate) fn log_in(&mut self, mechanism: &str, response: &[u8]) -> Result<(), String> {
        let mut capabilities = TableBuilder::default();
        capabilities.push(b"authentication_failure_close", &Value::Bool(true));
        let capabilities = capabilities.finish();
        let mut properties = TableBuilder::default();
        properties.push(b"capabilities", &Value::Table(capabilities.as_table()));
        let properties = properties.finish();
        let start_ok = connection::StartOk {
            client_properties: properties.as_table(),
            mechanism: short(mechanism),
            response,
            locale: ShortStr::from_static("en_US"),
        };
        match self.call(0, &start_ok).method() {
            Method::ConnectionTune(_) => Ok(()),
            Method::ConnectionClose(close) => {
                Err(format!("{} {}", close.reply_code, close.reply_text))
            }
            other => panic!("{other:?}"),
        }
    }

    /// Agrees to small limits and opens a virtual host; what is answered.
    pub(crate) fn enter(&mut self, vhost: &str) -> Received {
        let tune_ok = connection::TuneOk { channel_max: 10, frame_max: 4096, heartbeat: 0 };
        self.tell(0, &tune_ok).expect("the broker reads");
        let open = connection::Open { virtual_host: short(vhost), ..Default::default() };
        self.call(0, &open)
    }

    pub(crate) fn open_channel(&mut self, channel: u16) {
        let opened = self.call(channel, &channel::Open::default());
        assert!(matches!(opened.method(), Method::ChannelOpenOk(_)));
    }

    pub(crate) fn socket(&self) -> &S {
        &self.socket
    }

    /// Sends octets as they are.
    pub(crate) fn send(&mut self, octets: &[u8]) -> io::Result<()> {
        self.socket.write_all(octets)
    }

    /// Sends a method.
    pub(crate) fn tell<M: Encode>(&mut self, channel: u16, method: &M) -> io::Result<()> {
        let mut octets = Vec::new();
        encode::method(&mut octets, channel, method);
        self.send(&octets)
    }

    /// Sends a method and returns the next frame that is no heartbeat.
    pub(crate) fn call<M: Encode>(&mut self, channel: u16, method: &M) -> Received {
        self.tell(channel, method).expect("the broker reads");
        self.frame()
    }

    /// The next frame that is no heartbeat, from a broker that must not be gone.
    pub(crate) fn frame(&mut self) -> Received {
        loop {
            let frame = self.read().expect("the broker answers").expect("the broker is there");
            if frame.kind != frame::HEARTBEAT {
                return frame;
            }
        }
    }

    /// The next frame, none at the end of the stream; a reset counts as the end.
    pub(crate) fn read(&mut self) -> io::Result<Option<Received>> {
        loop {
            let rest = &self.input[self.used..];
            if let Some((frame, length)) = self.decoder.decode(rest).map_err(broken)? {
                let payload = frame.payload.to_vec();
                let received = Received { kind: frame.kind, channel: frame.channel, payload };
                self.used += length;
                return Ok(Some(received));
            }
            self.input.drain(..self.used);
            self.used = 0;
            let mut buffer = [0; 64 * 1024];
            match self.socket.read(&mut buffer) {
                Ok(0) => return Ok(None),
                Ok(count) => self.input.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether frames are here already that nobody has asked for.
    pub(crate) fn has_input(&self) -> bool {
        self.used < self.input.len()
    }

    /// Appends a message for an exchange to `out`.
    pub(crate) fn encode_publish(
        &self,
        out: &mut Vec<u8>,
        channel: u16,
        (exchange, routing_key): (&str, &str),
        properties: &[u8],
        body: &[u8],
    ) {
        let (exchange, routing_key) = (short(exchange), short(routing_key));
        let publish = basic::Publish { exchange, routing_key, ..Default::default() };
        encode::method(out, channel, &publish);
        encode::content_header(out, channel, body.len() as u64, properties);
        encode::body(out, channel, body, self.frame_max);
    }

    /// Publishes a message and waits until the broker has confirmed it: with it, whatever came
    /// before on any connection is on disk. The channel must be open.
    pub(crate) fn publish_safely(
        &mut self,
        channel: u16,
        to: (&str, &str),
        properties: &[u8],
        body: &[u8],
    ) {
        let select = self.call(channel, &confirm::Select::default());
        assert!(matches!(select.method(), Method::ConfirmSelectOk(_)));
        let mut octets = Vec::new();
        self.encode_publish(&mut octets, channel, to, properties, body);
        self.send(&octets).expect("the broker reads");
        let confirmed = self.frame();
        assert!(matches!(confirmed.method(), Method::BasicAck(_)), "{confirmed:?}");
    }

    /// Declares a queue and returns how many messages are ready in it.
    pub(crate) fn declare(&mut self, name: &str, durable: bool) -> u32 {
        let declare = queue::Declare { queue: short(name), durable, ..Default::default() };
        self.declared(&declare)
    }

    /// How many messages are ready in a queue that is there.
    pub(crate) fn count(&mut self, name: &str) -> u32 {
        let passive = true;
        self.declared(&queue::Declare { queue: short(name), passive, ..Default::default() })
    }

    pub(crate) fn declared(&mut self, declare: &queue::Declare<'_>) -> u32 {
        let answer = self.call(1, declare);
        match answer.method() {
            Method::QueueDeclareOk(ok) => ok.message_count,
            other => panic!("a queue is expected, not {other:?}"),
        }
    }

    /// Subscribes to a queue on channel 1, with this prefetch (0 is no limit).
    pub(crate) fn consume(&mut self, queue: &str, prefetch_count: u16, no_ack: bool) {
        let qos = self.call(1, &basic::Qos { prefetch_count, ..Default::default() });
        assert!(matches!(qos.method(), Method::BasicQosOk(_)));
        let consume = basic::Consume { queue: short(queue), no_ack, ..Default::default() };
        let consuming = self.call(1, &consume);
        assert!(matches!(consuming.method(), Method::BasicConsumeOk(_)), "{consuming:?}");
    }

    /// The next message, when nothing else is expected.
    pub(crate) fn delivery(&mut self) -> Delivered {
        let first = self.frame();
        self.rest_of_delivery(&first).expect("the broker answers").expect("the broker is there")
    }

    /// The message that begins with this frame; none when the broker goes in the middle of it.
    pub(crate) fn rest_of_delivery(&mut self, first: &Received) -> io::Result<Option<Delivered>> {
        let (delivery_tag, redelivered) = match first.method() {
            Method::BasicDeliver(deliver) => (deliver.delivery_tag, deliver.redelivered),
            Method::BasicGetOk(got) => (got.delivery_tag, got.redelivered),
            other => panic!("a message is expected, not {other:?}"),
        };
        let Some(header) = self.read()? else { return Ok(None) };
        assert_eq!((header.kind, header.channel), (frame::HEADER, first.channel));
        let header = ContentHeader::decode(&header.payload).expect("a header is that long");
        let (properties, size) = (header.properties.to_vec(), header.body_size as usize);
        let mut body = Vec::with_capacity(size);
        while body.len() < size {
            let Some(piece) = self.read()? else { return Ok(None) };
            assert_eq!((piece.kind, piece.channel), (frame::BODY, first.channel));
            body.extend_from_slice(&piece.payload);
        }
        assert_eq!(body.len(), size);
        Ok(Some(Delivered { delivery_tag, redelivered, properties, body }))
    }

    /// Ends the connection in order.
    pub(crate) fn close(mut self) {
        let close = connection::Close { reply_code: 200, ..Default::default() };
        assert!(matches!(self.call(0, &close).method(), Method::ConnectionCloseOk(_)));
    }
}

/// A name as it goes over the wire.
pub(crate) fn short(name: &str) -> ShortStr<'_> {
    ShortStr::new(name.as_bytes()).expect("names in tests are short")
}

fn broken(error: FrameError<'_>) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error.to_string())
}
