//! The life of a socket in virtual time: clients that drip, stop, never read, are too many.

use std::task::Poll;

use futures::poll;
use leveret_codec::decode::ContentHeader;
use leveret_codec::method::{basic, channel, connection, queue};
use leveret_codec::{Decoder, Encode, Method, ShortStr, Table, encode, frame};
use tokio::io::DuplexStream;
use tokio::task::JoinHandle;
use tokio::time::{Instant, advance, sleep};

use super::*;
use crate::broker::time::Time;
use crate::broker::vhost::Vhost;
use crate::clock::ManualClock;
use crate::handle::VhostHandle;
use crate::store::MemoryDisk;
use crate::vhosts::{Initial, ResourcePlan};

/// What a duplex holds each way: as little as a socket's buffers ever do.
const SOCKET_BYTES: usize = 64 * 1024;

#[test]
fn a_recycled_list_keeps_its_memory() {
    let commands: Vec<Command<'_>> = Vec::with_capacity(100);
    let place = commands.as_ptr();
    let recycled = recycle(commands);
    assert_eq!((recycled.len(), recycled.capacity()), (0, 100));
    assert!(std::ptr::eq(place.cast::<u8>(), recycled.as_ptr().cast()));
}

/// A broker without a listener.
struct Broker {
    context: Arc<Context>,
    clock: Arc<ManualClock>,
    _stopping: watch::Sender<bool>,
}

impl Broker {
    fn new() -> Self {
        Broker::with(None, usize::MAX)
    }

    fn with(max_connections: Option<usize>, max_pending: usize) -> Self {
        let clock = Arc::new(ManualClock::new(Time::from_millis(1_000_000)));
        let disk = Arc::new(MemoryDisk::default());
        let memory = ResourcePlan::for_tests(u64::MAX, false);
        let (vhosts, _) =
            Vhosts::start(disk, memory, clock.clone(), Some(1), Initial::default(), &[], false)
                .unwrap();
        let (stopping, stopped) = watch::channel(false);
        let context = Context {
            authenticator: Arc::new(vhosts.clone()),
            vhosts,
            settings: ConnectionSettings::default(),
            handshake_timeout: Duration::from_secs(10),
            connection_slots: Arc::new(ConnectionSlots::new(max_connections, 0)),
            log_limits: Arc::default(),
            send_timeout: Duration::from_secs(30),
            connection_memory: Arc::new(ConnectionMemory::new(max_pending)),
            stopping: stopped,
        };
        Broker { context: Arc::new(context), clock, _stopping: stopping }
    }

    fn arrival(&self) -> Arrival {
        let address = "127.0.0.1:1".parse().unwrap();
        Arrival {
            peer: address,
            local: address,
            deadline: Instant::now() + self.context.handshake_timeout,
            security: None,
            slot: self.context.connection_slots.take().unwrap(),
        }
    }

    /// A client that has said nothing.
    fn connect(&self) -> Wire {
        let (client, server) = tokio::io::duplex(SOCKET_BYTES);
        let (reading, writing) = tokio::io::split(server);
        let arrival = self.arrival();
        let serving = tokio::spawn(serve(self.context.clone(), reading, writing, arrival));
        Wire { socket: client, serving, input: Vec::new() }
    }

    /// A client with channel 1 open.
    async fn client(&self, heartbeat: u16) -> Wire {
        let mut wire = self.connect();
        assert!(wire.shake_hands(heartbeat).await.starts_with("connection.open-ok"));
        wire.call(&channel::Open::default()).await;
        wire
    }

    /// Ready and unacknowledged messages of the queue `q`.
    fn counts(&self) -> (usize, usize) {
        let queues = self.context.vhosts.vhost("/").unwrap().read(Vhost::queues);
        let queue = queues.iter().find(|queue| queue.name == "q").unwrap();
        (queue.messages_ready, queue.messages_unacknowledged)
    }
}

/// The client's end.
struct Wire {
    socket: DuplexStream,
    serving: JoinHandle<()>,
    input: Vec<u8>,
}

impl Wire {
    async fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).await.unwrap();
    }

    /// The next frame that is no heartbeat; none at the end of the stream.
    async fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            if let Some((frame, length)) = Decoder::new(0).decode(&self.input).unwrap() {
                let (kind, payload) = (frame.kind, frame.payload.to_vec());
                self.input.drain(..length);
                if kind != frame::HEARTBEAT {
                    return Some((kind, payload));
                }
            } else if !matches!(self.socket.read_buf(&mut self.input).await, Ok(1..)) {
                return None;
            }
        }
    }

    /// The next method, in one line.
    async fn method(&mut self) -> String {
        let Some((_, payload)) = self.frame().await else { return "end".to_owned() };
        match Method::decode(&payload).unwrap() {
            Method::ConnectionClose(close) => format!("{} {}", close.reply_code, close.reply_text),
            method => method.name().to_owned(),
        }
    }

    async fn call(&mut self, method: &impl Encode) -> String {
        self.send(&encoded(1, method)).await;
        self.method().await
    }

    /// Up to connection.open-ok, or what comes instead.
    async fn shake_hands(&mut self, heartbeat: u16) -> String {
        self.send(&frame::PROTOCOL_HEADER).await;
        self.method().await;
        self.send(&encoded(0, &start_ok())).await;
        self.method().await;
        let tune_ok = connection::TuneOk { channel_max: 100, frame_max: 131_072, heartbeat };
        let virtual_host = ShortStr::from_static("/");
        let open = connection::Open { virtual_host, ..Default::default() };
        self.send(&[encoded(0, &tune_ok), encoded(0, &open)].concat()).await;
        self.method().await
    }

    /// Declares the queue `q`.
    async fn declare(&mut self) {
        let declare = queue::Declare { queue: Q, ..Default::default() };
        assert_eq!(self.call(&declare).await, "queue.declare-ok");
    }

    /// Publishes to `q`, and waits until the broker has it.
    async fn publish(&mut self, bodies: impl IntoIterator<Item = Vec<u8>>) {
        let mut bytes = Vec::new();
        for body in bodies {
            bytes.extend(encoded(1, &to_q()));
            encode::content_header(&mut bytes, 1, body.len() as u64, &[0, 0]);
            encode::body(&mut bytes, 1, &body, 131_072);
        }
        self.send(&bytes).await;
        self.declare().await;
    }

    /// The next message: its body, and whether it came before.
    async fn message(&mut self) -> (Vec<u8>, bool) {
        let (_, deliver) = self.frame().await.unwrap();
        let Method::BasicDeliver(deliver) = Method::decode(&deliver).unwrap() else {
            panic!("no message")
        };
        let redelivered = deliver.redelivered;
        let (_, header) = self.frame().await.unwrap();
        let size = ContentHeader::decode(&header).unwrap().body_size as usize;
        let mut body = Vec::new();
        while body.len() < size {
            body.extend(self.frame().await.unwrap().1);
        }
        (body, redelivered)
    }

    /// Waits until the broker has closed the socket; how long that took.
    async fn until_cut_off(self) -> Duration {
        let began = Instant::now();
        self.serving.await.unwrap();
        began.elapsed()
    }
}

const Q: ShortStr<'static> = ShortStr::from_static("q");

fn to_q() -> basic::Publish<'static> {
    basic::Publish { routing_key: Q, ..Default::default() }
}

fn consume() -> basic::Consume<'static> {
    basic::Consume { queue: Q, ..Default::default() }
}

fn start_ok() -> connection::StartOk<'static> {
    connection::StartOk {
        client_properties: Table::EMPTY,
        mechanism: ShortStr::from_static("PLAIN"),
        response: b"\0guest\0guest",
        locale: ShortStr::from_static("en_US"),
    }
}

fn encoded(channel: u16, method: &impl Encode) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode::method(&mut bytes, channel, method);
    bytes
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_drips_ends_at_its_timeout() {
    let broker = Broker::new();
    let mut wire = broker.connect();
    let began = Instant::now();
    let handshake = [frame::PROTOCOL_HEADER.to_vec(), encoded(0, &start_ok())].concat();
    for byte in handshake {
        if wire.socket.write_all(&[byte]).await.is_err() {
            break;
        }
        sleep(Duration::from_secs(1)).await;
    }
    assert!((10..=11).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    wire.serving.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_body_that_drips_holds_what_came() {
    let broker = Broker::new();
    let mut wire = broker.client(0).await;
    wire.declare().await;
    let mut begun = encoded(1, &to_q());
    encode::content_header(&mut begun, 1, 100 << 20, &[0, 0]);
    wire.send(&begun).await;
    for sent in 1..100 {
        let mut part = Vec::new();
        encode::body(&mut part, 1, &[0; 100], 131_072);
        wire.send(&part).await;
        sleep(Duration::from_millis(1)).await;
        let pending = broker.context.connection_memory.bytes();
        assert!((100 * sent..=200 * sent + 1000).contains(&pending), "{sent}: {pending}");
    }
    drop(wire.socket);
    wire.serving.await.unwrap();
    assert_eq!(broker.context.connection_memory.bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_gives_back_its_messages_in_order_within_two_timeouts() {
    const TIMEOUT: u16 = 10;
    let broker = Broker::new();
    let mut other = broker.client(0).await;
    other.declare().await;
    other.publish((0..10).map(|number| vec![number])).await;
    let mut silent = broker.client(TIMEOUT).await;
    silent.call(&consume()).await;
    for number in 0..10 {
        assert_eq!(silent.message().await, (vec![number], false));
    }
    assert_eq!(broker.counts(), (0, 10));
    // Its socket stays open: nothing tells that it is gone but its silence.
    let (took, ms) = (silent.until_cut_off().await, u128::from(TIMEOUT) * 1000);
    assert!((ms * 7 / 4 - 1000..=ms * 2).contains(&took.as_millis()), "{took:?}");
    assert_eq!(broker.counts(), (10, 0));
    other.call(&consume()).await;
    for number in 0..10 {
        assert_eq!(other.message().await, (vec![number], true));
    }
}

#[tokio::test(start_paused = true)]
async fn a_half_open_client_gives_back_what_is_stuck_on_its_way_in_order() {
    const MESSAGES: u8 = 200;
    let broker = Broker::new();
    let mut other = broker.client(0).await;
    other.declare().await;
    other.publish((0..MESSAGES).map(|number| vec![number; 100_000])).await;
    let half_open = broker.client(10).await;
    let Wire { mut socket, serving, .. } = half_open;
    socket.write_all(&encoded(1, &consume())).await.unwrap();
    // It reads nothing: the socket is full, the writer hangs, the rest waits in the outbox.
    let began = Instant::now();
    serving.await.unwrap();
    assert!(began.elapsed() <= Duration::from_secs(20), "{:?}", began.elapsed());
    assert_eq!(broker.counts(), (MESSAGES.into(), 0));
    other.call(&consume()).await;
    let mut delivered_before = 0;
    for number in 0..MESSAGES {
        let (body, redelivered) = other.message().await;
        assert_eq!(body[0], number);
        // What was on its way is at the front, and marked.
        assert_eq!(redelivered, delivered_before == number && redelivered);
        delivered_before += u8::from(redelivered);
    }
    assert!((10..MESSAGES).contains(&delivered_before), "{delivered_before}");
}

#[tokio::test(start_paused = true)]
async fn what_a_client_has_got_takes_no_memory() {
    let broker = Broker::new();
    let mut other = broker.client(0).await;
    other.declare().await;
    let mut readers = Vec::new();
    for number in 0..20 {
        let mut reader = broker.client(0).await;
        let consumer_tag = ShortStr::from_static("reader");
        reader.call(&basic::Consume { no_ack: true, consumer_tag, ..consume() }).await;
        other.publish((0..4).map(|_| vec![number; 100_000])).await;
        for _ in 0..4 {
            assert_eq!(reader.message().await, (vec![number; 100_000], false));
        }
        let cancel = basic::Cancel { consumer_tag, ..Default::default() };
        assert_eq!(reader.call(&cancel).await, "basic.cancel-ok");
        readers.push(reader);
    }
    // Each has less than the core is told of at once.
    let defined = |handle: &VhostHandle| handle.read(Vhost::definition_memory);
    let defined: u64 = broker.context.vhosts.running().iter().map(|(_, it)| defined(it)).sum();
    assert_eq!(broker.context.vhosts.memory_used(), defined);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_reads_is_not_read_from_for_ever() {
    let broker = Broker::new();
    let mut wire = broker.client(0).await;
    wire.declare().await;
    let ask = queue::Declare { queue: Q, passive: true, ..Default::default() };
    let batch = encoded(1, &ask).repeat(1000);
    let mut sent = 0;
    while timeout(Duration::from_secs(20), wire.send(&batch)).await.is_ok() {
        sent += batch.len();
        assert!(sent < 64 << 20, "the broker takes everything and its answers pile up");
    }
    // It was only stalled: it gets every answer that it asked for.
    for _ in 0..sent / batch.len() * 1000 {
        assert_eq!(wire.method().await, "queue.declare-ok");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_heartbeats_and_never_reads_gives_back_what_it_had() {
    const MESSAGES: u8 = 100;
    let broker = Broker::new();
    let mut other = broker.client(0).await;
    other.declare().await;
    let Wire { mut socket, serving, .. } = broker.client(10).await;
    socket.write_all(&encoded(1, &consume())).await.unwrap();
    let began = Instant::now();
    let mut heartbeat = Vec::new();
    encode::heartbeat(&mut heartbeat);
    for second in 0.. {
        // why: what waits for its turn starts no time, what waits for the socket does.
        if second == 20 {
            other.publish((0..MESSAGES).map(|number| vec![number; 10_000])).await;
        }
        if socket.write_all(&heartbeat).await.is_err() {
            break;
        }
        sleep(Duration::from_secs(1)).await;
    }
    assert!((50..=52).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    serving.await.unwrap();
    assert_eq!(broker.counts(), (MESSAGES.into(), 0));
}

#[tokio::test(start_paused = true)]
async fn of_clients_that_do_not_read_their_answers_the_largest_goes() {
    let broker = Broker::with(None, 4 << 20);
    let ask = queue::Declare { queue: Q, passive: true, ..Default::default() };
    let batch = encoded(1, &ask).repeat(1000);
    let mut reader = broker.client(0).await;
    reader.declare().await;
    let mut unread = [broker.client(0).await, broker.client(0).await];
    // 20 octets each, of which the socket takes 64 KiB.
    for client in &mut unread {
        for _ in 0..75 {
            client.send(&batch).await;
        }
    }
    sleep(Duration::from_secs(1)).await;
    assert!(broker.context.connection_memory.bytes() > 2 << 20);
    let [mut small, mut large] = unread;
    while timeout(Duration::from_secs(1), large.socket.write_all(&batch))
        .await
        .is_ok_and(|it| it.is_ok())
    {
        assert!(broker.context.connection_memory.bytes() <= 4 << 20);
    }
    large.serving.await.unwrap();
    assert!(broker.context.connection_memory.bytes() <= 2 << 20);
    assert_eq!(reader.call(&ask).await, "queue.declare-ok");
    for _ in 0..75_000 {
        assert_eq!(small.method().await, "queue.declare-ok", "it was only stalled");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_closes_its_end_behind_its_close_is_answered() {
    let broker = Broker::new();
    for others in [0, 1] {
        let mut wire = broker.client(0).await;
        let close = encoded(0, &connection::Close { reply_code: 200, ..Default::default() });
        let open = encoded(2, &channel::Open::default());
        wire.send(&[open.repeat(others), close].concat()).await;
        wire.socket.shutdown().await.unwrap();
        if others > 0 {
            assert_eq!(wire.method().await, "channel.open-ok");
        }
        assert_eq!(wire.method().await, "connection.close-ok");
        assert_eq!(wire.method().await, "end");
        wire.serving.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_reads_cannot_stay_once_it_is_told_to_go() {
    let broker = Broker::new();
    let mut wire = broker.client(0).await;
    wire.declare().await;
    wire.publish((0..20).map(|_| vec![0; 100_000])).await;
    wire.send(&encoded(1, &consume())).await;
    sleep(Duration::from_secs(1)).await;
    broker.context.vhosts.shutdown();
    sleep(Duration::from_secs(1)).await;
    broker.clock.advance(Duration::from_secs(31));
    assert!(wire.until_cut_off().await <= Duration::from_secs(61));
}

#[tokio::test(start_paused = true)]
async fn when_the_broker_holds_too_many_unfinished_messages_the_largest_goes() {
    let broker = Broker::with(None, 1 << 20);
    let mut begun = encoded(1, &to_q());
    encode::content_header(&mut begun, 1, 100 << 20, &[0, 0]);
    let mut part = Vec::new();
    encode::body(&mut part, 1, &[0; 100_000], 131_072);
    let mut small = broker.client(0).await;
    small.declare().await;
    small.send(&[begun.clone(), part.clone()].concat()).await;
    let mut large = broker.client(0).await;
    large.send(&begun).await;
    for _ in 0..10 {
        large.send(&part).await;
    }
    let told = large.method().await;
    assert_eq!(told, "506 RESOURCE_ERROR - too many octets of unfinished messages");
    assert!((100_000..300_000).contains(&broker.context.connection_memory.bytes()));
    small.send(&part).await;
    sleep(Duration::from_secs(1)).await;
    assert!(poll!(Box::pin(small.frame())).is_pending(), "the small one is left alone");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_holds_the_most_goes_though_it_asks_for_no_more() {
    let broker = Broker::with(None, 1 << 20);
    let mut begun = encoded(1, &to_q());
    encode::content_header(&mut begun, 1, 100 << 20, &[0, 0]);
    let mut part = Vec::new();
    encode::body(&mut part, 1, &[0; 100_000], 131_072);
    let mut idle = broker.client(0).await;
    idle.send(&begun).await;
    for _ in 0..7 {
        idle.send(&part).await;
    }
    let mut others = Vec::new();
    for _ in 0..7 {
        let mut other = broker.client(0).await;
        other.send(&[begun.clone(), part.clone()].concat()).await;
        others.push(other);
    }
    let told = idle.method().await;
    assert_eq!(told, "506 RESOURCE_ERROR - too many octets of unfinished messages");
    assert!(broker.context.connection_memory.bytes() <= 1 << 20);
}

#[tokio::test(start_paused = true)]
async fn one_connection_too_many_is_told_so_and_gets_in_later() {
    let broker = Broker::with(Some(1), usize::MAX);
    let first = broker.client(0).await;
    let full = "530 NOT_ALLOWED - connection refused: node connection limit (1) is reached";
    assert_eq!(broker.connect().shake_hands(0).await, full);
    drop(first.socket);
    first.serving.await.unwrap();
    assert_eq!(broker.context.connection_slots.open_count(), 0);
    broker.client(0).await;
}

#[tokio::test(start_paused = true)]
async fn a_handshake_ends_when_its_place_is_needed() {
    let broker = Broker::new();
    let (client, server) = tokio::io::duplex(SOCKET_BYTES);
    let (reading, writing) = tokio::io::split(server);
    let arrival = broker.arrival();
    let leave = arrival.slot.leave();
    let mut serving = Box::pin(serve(broker.context.clone(), reading, writing, arrival));
    assert_eq!(poll!(serving.as_mut()), Poll::Pending);
    leave.notify_one();
    assert_eq!(poll!(serving.as_mut()), Poll::Ready(()));
    drop(client);
    advance(Duration::from_secs(1)).await;
}
