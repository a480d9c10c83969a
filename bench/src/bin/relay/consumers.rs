//! Who consumes, and how a message gets there.

use std::collections::HashMap;
use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use leveret_codec::method::basic;
use leveret_codec::{ShortStr, ShortString, encode};

/// Who consumes, by queue.
#[derive(Default)]
pub(super) struct Consumers {
    by_queue: Mutex<HashMap<ShortString, Vec<Arc<Consumer>>>>,
}

/// One consumer.
pub(super) struct Consumer {
    /// Its client's socket, which replies are written to as well.
    socket: Arc<Mutex<TcpStream>>,
    channel: u16,
    tag: ShortString,
    /// Whether it wants messages still.
    is_there: AtomicBool,
    /// Held while a read's worth of one publisher is encoded, and while it is written.
    deliveries: Mutex<Deliveries>,
}

/// What a consumer is about to get.
#[derive(Default)]
pub(super) struct Deliveries {
    /// The last delivery tag.
    tag: u64,
    frames: Vec<u8>,
}

impl Consumers {
    pub(super) fn add(&self, queue: ShortString, consumer: Arc<Consumer>) {
        let mut by_queue = lock(&self.by_queue);
        by_queue.values_mut().for_each(|all| all.retain(|it| it.is_there()));
        by_queue.entry(queue).or_default().push(consumer);
    }

    /// The consumers for a publish, as they are now.
    pub(super) fn of(&self, publish: &basic::Publish<'_>) -> Vec<Arc<Consumer>> {
        let by_queue = lock(&self.by_queue);
        let mut found: Vec<_> = if publish.exchange.is_empty() {
            by_queue.get(publish.routing_key.as_bytes()).cloned().unwrap_or_default()
        } else {
            by_queue.values().flatten().cloned().collect()
        };
        found.retain(|it| it.is_there());
        found
    }
}

impl Consumer {
    pub(super) fn new(socket: Arc<Mutex<TcpStream>>, channel: u16, tag: ShortString) -> Self {
        let (is_there, deliveries) = (AtomicBool::new(true), Mutex::default());
        Consumer { socket, channel, tag, is_there, deliveries }
    }

    /// Whether a client means this one.
    pub(super) fn is(&self, channel: u16, tag: ShortStr<'_>) -> bool {
        self.channel == channel && self.tag.as_short() == tag
    }

    /// It is to get nothing more.
    pub(super) fn cancel(&self) {
        self.is_there.store(false, Ordering::Relaxed);
    }

    /// What it is about to get, for the publisher that adds to it.
    pub(super) fn deliveries(&self) -> MutexGuard<'_, Deliveries> {
        lock(&self.deliveries)
    }

    pub(super) fn is_there(&self) -> bool {
        self.is_there.load(Ordering::Relaxed)
    }

    /// Appends a message: its publish as a delivery, header and bodies as they came.
    pub(super) fn deliver(
        &self,
        deliveries: &mut Deliveries,
        channel: u16,
        publish: &basic::Publish<'_>,
        content: &[u8],
    ) {
        deliveries.tag += 1;
        let deliver = basic::Deliver {
            consumer_tag: self.tag.as_short(),
            delivery_tag: deliveries.tag,
            redelivered: false,
            exchange: publish.exchange,
            routing_key: publish.routing_key,
        };
        encode::method(&mut deliveries.frames, self.channel, &deliver);
        let start = deliveries.frames.len();
        deliveries.frames.extend_from_slice(content);
        if self.channel != channel {
            redirect(&mut deliveries.frames[start..], self.channel);
        }
    }

    /// Writes what it is about to get.
    pub(super) fn flush(&self) {
        let mut deliveries = self.deliveries();
        if lock(&self.socket).write_all(&deliveries.frames).is_err() {
            self.cancel();
        }
        deliveries.frames.clear();
    }
}

/// Puts another channel into whole frames.
fn redirect(mut frames: &mut [u8], channel: u16) {
    while let [_, c0, c1, s0, s1, s2, s3, rest @ ..] = frames {
        [*c0, *c1] = channel.to_be_bytes();
        let size = u32::from_be_bytes([*s0, *s1, *s2, *s3]) as usize;
        frames = &mut rest[size + 1..];
    }
}

/// Locks; what another thread left behind when it panicked is whole all the same.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
