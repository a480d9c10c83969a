//! Mad clients on real sockets, and an honest one between them.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fastrand::Rng;
use leveret::Broker;
use leveret_codec::method::{basic, queue};
use leveret_codec::{Decoder, frame};
use tokio::runtime::Runtime;
use tracing_subscriber::fmt::MakeWriter;

use super::dialogue::mad;
use crate::support::client::{Client, TRANSIENT, short};
use crate::support::{eventually, own_process};

/// How long mad clients come and go.
const TIME: Duration = Duration::from_secs(4);
const MAD_CLIENTS: u64 = 6;

/// What may have been allocated and not given back by then: caches of the allocator and of threads,
/// and what the clients declared and left in queues.
const GROWTH_OCTETS: u64 = 96 << 20;

/// The bodies among these frames, of messages of one frame each.
pub(crate) fn bodies(octets: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = octets;
    let mut bodies = Vec::new();
    while let Ok(Some((frame, length))) = Decoder::new(0).decode(rest) {
        if frame.kind == frame::BODY {
            bodies.push(frame.payload.to_vec());
        }
        rest = &rest[length..];
    }
    bodies
}

/// The errors that the broker logged.
#[derive(Clone, Default)]
struct Errors(Arc<Mutex<Vec<u8>>>);

impl Write for Errors {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Errors {
    type Writer = Errors;

    fn make_writer(&self) -> Errors {
        self.clone()
    }
}

/// Resident octets of this process.
fn resident() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

/// Sends one dialogue in pieces of any size, reads most of what comes, and goes.
fn rave(address: SocketAddr, rng: &mut Rng) {
    let Ok(mut socket) = TcpStream::connect(address) else { return };
    socket.set_nonblocking(true).unwrap();
    let octets = mad(rng).concat();
    let mut rest = octets.as_slice();
    let mut buffer = [0; 4096];
    // Some go before the broker has read what they say.
    let mut patience = rng.u8(..20);
    let deadline = Instant::now() + TIME;
    while patience > 0 && Instant::now() < deadline {
        let written = socket.write(&rest[..rest.len().min(rng.usize(1..3000))]);
        rest = &rest[written.unwrap_or(0)..];
        match socket.read(&mut buffer) {
            Ok(1..) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(1));
                patience -= u8::from(rest.is_empty());
            }
            _ => return,
        }
    }
}

/// why alone: what is logged, and what memory is resident, is the process's.
#[test]
fn an_honest_client_does_not_notice_mad_ones() {
    let name = concat!(module_path!(), "::an_honest_client_does_not_notice_mad_ones");
    own_process::alone(name, honest_between_mad_ones);
}

fn honest_between_mad_ones() {
    let errors = Errors::default();
    let logging = tracing_subscriber::fmt().with_max_level(tracing::Level::ERROR);
    logging.with_writer(errors.clone()).init();
    let runtime = Runtime::new().unwrap();
    let builder = Broker::builder().in_memory().listen("127.0.0.1:0".parse().unwrap());
    let broker = runtime.block_on(builder.start()).unwrap();
    let address = broker.addresses()[0];

    let mut honest = Client::connect(address);
    let exclusive = queue::Declare { queue: short("mine"), exclusive: true, ..Default::default() };
    honest.declared(&exclusive);
    honest.consume("mine", 10, false);
    let before = resident();
    let stop = AtomicBool::new(false);
    let (sent, dialogues) = std::thread::scope(|scope| {
        let raving: Vec<_> = (0..MAD_CLIENTS)
            .map(|seed| {
                let stop = &stop;
                scope.spawn(move || {
                    let mut rng = Rng::with_seed(seed);
                    let mut dialogues = 0;
                    while !stop.load(Ordering::Relaxed) {
                        rave(address, &mut rng);
                        dialogues += 1;
                    }
                    dialogues
                })
            })
            .collect();
        let began = Instant::now();
        let mut sent = 0u64;
        while began.elapsed() < TIME {
            let body = sent.to_be_bytes();
            let mut octets = Vec::new();
            honest.encode_publish(&mut octets, 1, ("", "mine"), TRANSIENT, &body);
            honest.send(&octets).unwrap();
            let delivery = honest.delivery();
            assert_eq!((delivery.body, delivery.redelivered), (body.to_vec(), false));
            let ack = basic::Ack { delivery_tag: delivery.delivery_tag, multiple: false };
            honest.tell(1, &ack).unwrap();
            sent += 1;
        }
        stop.store(true, Ordering::Relaxed);
        let dialogues: u64 = raving.into_iter().map(|thread| thread.join().unwrap()).sum();
        (sent, dialogues)
    });
    assert!(sent > 10 && dialogues > 100, "{sent} {dialogues}");

    eventually("the mad clients are gone", || broker.connection_count() == 1);
    assert_eq!(broker.connection_bytes(), 0);
    for queue in broker.queues().iter().filter(|queue| queue.name != "mine") {
        assert_eq!((queue.messages_unacknowledged, queue.consumers), (0, 0), "{queue:?}");
        assert!(!queue.exclusive, "{queue:?}");
    }
    let growth = resident().saturating_sub(before);
    assert!(growth < GROWTH_OCTETS, "grown by {growth} octets in {dialogues} dialogues");
    honest.close();
    runtime.block_on(broker.shutdown()).unwrap();
    let errors = String::from_utf8(errors.0.lock().unwrap().clone()).unwrap();
    // What clients do wrong is an error of theirs.
    let of_clients =
        |line: &&str| line.contains("channel error:") || line.contains("connection error:");
    let others: Vec<_> = errors.lines().filter(|line| !of_clients(line)).take(5).collect();
    assert_eq!(others, [""; 0]);
    println!("{dialogues} mad dialogues, {sent} honest messages, {growth} octets more");
}
