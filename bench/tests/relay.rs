//! The relay is a floor only while it says what a broker would say: a client gets its answers and,
//! for each publish, the same message as a delivery on the consumer's channel.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Output, Stdio};

use leveret_bench::{CHANNEL, FRAME_MAX, message, publishes, short};
use leveret_codec::method::{basic, channel, confirm, connection, queue};
use leveret_codec::{Decoder, Encode, Method, encode, frame};

/// Another channel than that of the publishes.
const OTHER_CHANNEL: u16 = CHANNEL + 1;

#[test]
fn a_publish_becomes_a_delivery() {
    let relay = Relay::start();
    let mut consumer = Client::connect(&relay, OTHER_CHANNEL);
    consumer.send(OTHER_CHANNEL, &queue::Declare { queue: short("hares"), ..Default::default() });
    consumer.expect(OTHER_CHANNEL, "queue.declare-ok");
    consumer.send(OTHER_CHANNEL, &basic::Consume { queue: short("hares"), ..Default::default() });
    consumer.expect(OTHER_CHANNEL, "basic.consume-ok");

    let mut publisher = Client::connect(&relay, CHANNEL);
    publisher.send(CHANNEL, &confirm::Select { nowait: false });
    publisher.expect(CHANNEL, "confirm.select-ok");
    // More than the relay reads at once, so that messages are cut wherever it happens.
    const MESSAGES: usize = 10;
    let body: Vec<u8> = (0..300_000_u32).map(|index| index as u8).collect();
    let octets = publishes(&message("", "hares", &body), MESSAGES);
    let mut socket = publisher.socket.try_clone().unwrap();
    let publishing = std::thread::spawn(move || socket.write_all(&octets).unwrap());
    for _ in 0..MESSAGES {
        consumer.expect(OTHER_CHANNEL, "basic.deliver");
        let (header, mut got) = (consumer.frame(), Vec::new());
        assert_eq!((header.0, header.1), (frame::HEADER, OTHER_CHANNEL));
        while got.len() < body.len() {
            let (kind, channel, payload) = consumer.frame();
            assert_eq!((kind, channel), (frame::BODY, OTHER_CHANNEL));
            got.extend(payload);
        }
        assert!(got == body, "the body came as it was published");
    }
    publishing.join().unwrap();
    let mut confirmed = 0;
    while confirmed < MESSAGES as u64 {
        let (_, _, payload) = publisher.frame();
        let Ok(Method::BasicAck(ack)) = Method::decode(&payload) else { panic!("no basic.ack") };
        confirmed = ack.delivery_tag;
    }
    assert_eq!(confirmed, MESSAGES as u64);
}

#[test]
fn an_error_is_one_line() {
    let relay = Relay::start();
    let taken = relay.port.to_string();
    let cases: [(&[&str], &str); 3] = [
        (&[], "relay: usage: relay PORT\n"),
        (&["hare"], "relay: hare is no port\n"),
        (&[&taken], &format!("relay: cannot listen on 127.0.0.1:{taken}: ")),
    ];
    for (arguments, told) in cases {
        let Output { status, stderr, .. } = command().args(arguments).output().unwrap();
        let stderr = String::from_utf8(stderr).unwrap();
        assert!(!status.success() && stderr.starts_with(told), "{stderr}");
        assert_eq!(stderr.lines().count(), 1);
    }
}

fn command() -> Command {
    Command::new(env!("CARGO_BIN_EXE_relay"))
}

struct Relay {
    process: Child,
    port: u16,
}

impl Relay {
    fn start() -> Self {
        let mut process =
            command().arg("0").stdout(Stdio::piped()).spawn().expect("the relay starts");
        let mut line = String::new();
        let output = process.stdout.take().expect("its output is piped");
        BufReader::new(output).read_line(&mut line).expect("it prints a line");
        Relay { port: line.trim().parse().expect("which is the port"), process }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

struct Client {
    socket: TcpStream,
    octets: Vec<u8>,
}

impl Client {
    /// A client with one channel open.
    fn connect(relay: &Relay, channel: u16) -> Self {
        let socket = TcpStream::connect(("127.0.0.1", relay.port)).expect("it listens");
        let mut client = Client { socket, octets: Vec::new() };
        client.socket.write_all(&frame::PROTOCOL_HEADER).expect("it reads");
        client.expect(0, "connection.start");
        client.send(0, &connection::StartOk::default());
        client.expect(0, "connection.tune");
        client.send(0, &connection::TuneOk { frame_max: FRAME_MAX, ..Default::default() });
        client.send(0, &connection::Open { virtual_host: short("/"), ..Default::default() });
        client.expect(0, "connection.open-ok");
        client.send(channel, &channel::Open::default());
        client.expect(channel, "channel.open-ok");
        client
    }

    fn send(&mut self, channel: u16, method: &impl Encode) {
        let mut octets = Vec::new();
        encode::method(&mut octets, channel, method);
        self.socket.write_all(&octets).expect("it reads");
    }

    fn expect(&mut self, channel: u16, name: &str) {
        let (kind, on, payload) = self.frame();
        assert_eq!((kind, on), (frame::METHOD, channel));
        assert_eq!(Method::decode(&payload).expect("a method").name(), name);
    }

    /// The next frame: its kind, its channel, its payload.
    fn frame(&mut self) -> (u8, u16, Vec<u8>) {
        let mut chunk = vec![0; 65_536];
        loop {
            let decoded = Decoder::new(FRAME_MAX).decode(&self.octets).expect("it sends frames");
            if let Some((frame, length)) = decoded {
                let frame = (frame.kind, frame.channel, frame.payload.to_vec());
                self.octets.drain(..length);
                return frame;
            }
            let read = self.socket.read(&mut chunk).expect("it writes");
            assert!(read > 0, "the relay closed the connection");
            self.octets.extend_from_slice(&chunk[..read]);
        }
    }
}
