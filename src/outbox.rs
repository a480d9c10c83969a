//! What a connection is to be sent, in order: filled under the vhost's lock, emptied by the
//! connection's writer.
//!
//! A leaf: its lock is held for a swap or an append and nothing else is locked meanwhile. It does
//! not know about frames, sockets or credit. How much is put here is bounded twice: the core stops
//! delivering to a connection that has [`limits::OUTBOX_OCTETS`] to write, and the connection's
//! own reader waits in [`Outbox::wait_for_room`], so that a client which sends and does not read
//! is not read from either.
//!
//! invariant: what is appended after [`Outbox::close`] is dropped; what was there is still taken.
//!
//! [`limits::OUTBOX_OCTETS`]: crate::broker::limits::OUTBOX_OCTETS

use std::future::poll_fn;
use std::ops::AddAssign;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use crate::broker::command::Outgoing;
use crate::broker::limits::OUTBOX_OCTETS;

/// While more waits to be taken, the client's own commands are not read. Far above what the core
/// lets deliveries reach, so that replies alone, to a client that does not read them, get here.
const HARD_LIMIT_BYTES: usize = 16 * OUTBOX_OCTETS;

/// What one item counts at most.
///
/// why: a body is shared with its queue, not copied here. If one large delivery closed the way in,
/// a client that writes a large message before it reads one would wait for us, and we for it.
const ITEM_BYTES: usize = OUTBOX_OCTETS;

/// An ordered list with one writer that takes it and one reader that waits for room.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    waiting: Mutex<Waiting>,
    /// Bytes that the socket has taken so far.
    written: AtomicU64,
    /// What was appended and what of it was written so far.
    appended_size: Count,
    written_size: Count,
}

/// How much some items hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Size {
    /// By `Outgoing::size`.
    pub(crate) all: u64,
    /// By `Outgoing::answer_size`.
    pub(crate) answers: u64,
}

impl Size {
    pub(crate) fn of(item: &Outgoing) -> Self {
        Size { all: item.size() as u64, answers: item.answer_size() as u64 }
    }
}

impl AddAssign for Size {
    fn add_assign(&mut self, other: Self) {
        self.all += other.all;
        self.answers += other.answers;
    }
}

/// A size that one task adds to at a time and all read.
#[derive(Debug, Default)]
struct Count {
    all: AtomicU64,
    answers: AtomicU64,
}

impl Count {
    /// why: no addition in one step, as no two add at the same time: there is one writer, and a lock is held for
    /// what is appended.
    fn add(&self, size: Size) {
        let before = self.get();
        self.all.store(before.all + size.all, Ordering::Relaxed);
        if size.answers > 0 {
            self.answers.store(before.answers + size.answers, Ordering::Relaxed);
        }
    }

    fn get(&self) -> Size {
        let [all, answers] = [&self.all, &self.answers].map(|it| it.load(Ordering::Relaxed));
        Size { all, answers }
    }
}

#[derive(Debug, Default)]
struct Waiting {
    outgoing: Vec<Outgoing>,
    bytes: usize,
    closed: bool,
    /// Whether the last frame to the client has come.
    ended: bool,
    /// There while the writer sleeps, so that a wake happens only then.
    writer: Option<Waker>,
    /// There while the reader waits for room.
    reader: Option<Waker>,
}

impl Outbox {
    /// Moves `outgoing` here and leaves it empty. Returns the writer to be woken, if it sleeps, for
    /// after the vhost's lock.
    pub(crate) fn append(&self, outgoing: &mut Vec<Outgoing>) -> Option<Waker> {
        let (mut size, mut bytes) = (Size::default(), 0);
        for item in &*outgoing {
            let of_item = Size::of(item);
            size += of_item;
            bytes += (of_item.all as usize).min(ITEM_BYTES);
        }
        let mut waiting = self.waiting.lock();
        if waiting.closed {
            outgoing.clear();
            return None;
        }
        waiting.bytes += bytes;
        waiting.ended |= outgoing.last().is_some_and(Outgoing::is_end);
        self.appended_size.add(size);
        if waiting.outgoing.is_empty() {
            std::mem::swap(&mut waiting.outgoing, outgoing);
        } else {
            waiting.outgoing.append(outgoing);
        }
        waiting.writer.take()
    }

    /// Takes everything into `into`, which is empty; waits until there is something. False when
    /// the outbox is closed and nothing is left.
    pub(crate) async fn take(&self, into: &mut Vec<Outgoing>) -> bool {
        poll_fn(|context| self.poll_take(context, into)).await
    }

    fn poll_take(&self, context: &mut Context<'_>, into: &mut Vec<Outgoing>) -> Poll<bool> {
        debug_assert!(into.is_empty());
        let mut waiting = self.waiting.lock();
        if waiting.outgoing.is_empty() {
            if waiting.closed {
                return Poll::Ready(false);
            }
            waiting.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        std::mem::swap(&mut waiting.outgoing, into);
        waiting.bytes = 0;
        let reader = waiting.reader.take();
        drop(waiting);
        if let Some(reader) = reader {
            reader.wake();
        }
        Poll::Ready(true)
    }

    /// Nothing more is to be sent: the writer writes what is there and ends.
    pub(crate) fn close(&self) {
        let (writer, reader) = {
            let mut waiting = self.waiting.lock();
            waiting.closed = true;
            (waiting.writer.take(), waiting.reader.take())
        };
        writer.into_iter().chain(reader).for_each(Waker::wake);
    }

    /// Whether the client may be read from.
    pub(crate) fn has_room(&self) -> bool {
        self.waiting.lock().has_room()
    }

    /// Waits until [`has_room`](Outbox::has_room).
    pub(crate) async fn wait_for_room(&self) {
        poll_fn(|context| {
            let mut waiting = self.waiting.lock();
            if waiting.has_room() {
                return Poll::Ready(());
            }
            waiting.reader = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Notes that the socket took so many bytes, of items of this size.
    pub(crate) fn note_written(&self, bytes: usize, size: Size) {
        self.written.fetch_add(bytes as u64, Ordering::Relaxed);
        self.written_size.add(size);
    }

    /// About how many bytes are on their way to the socket, counted by `Outgoing::size`.
    pub(crate) fn bytes(&self) -> u64 {
        let written = self.written_size.get();
        self.appended_size.get().all.saturating_sub(written.all)
    }

    /// How many of these are answers, which nobody else holds.
    pub(crate) fn answer_bytes(&self) -> u64 {
        let written = self.written_size.get();
        self.appended_size.get().answers.saturating_sub(written.answers)
    }

    /// Whether the last frame to the client is here, be it written or not.
    pub(crate) fn has_ended(&self) -> bool {
        self.waiting.lock().ended
    }

    /// How many bytes the socket has taken since the beginning.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Gives back the memory that a burst left behind.
    pub(crate) fn shrink(&self) {
        let mut waiting = self.waiting.lock();
        if waiting.outgoing.is_empty() {
            waiting.outgoing = Vec::new();
        }
    }
}

impl Waiting {
    fn has_room(&self) -> bool {
        self.bytes <= HARD_LIMIT_BYTES || self.closed
    }
}

#[cfg(test)]
mod tests {
    use futures::poll;

    use super::*;

    fn frames(bytes: usize) -> Outgoing {
        Outgoing::Frames(vec![0; bytes])
    }

    fn sizes(outgoing: &[Outgoing]) -> Vec<usize> {
        outgoing.iter().map(Outgoing::size).collect()
    }

    #[tokio::test]
    async fn it_gives_what_it_got_in_order_and_at_once() {
        let outbox = Outbox::default();
        let mut batch = vec![frames(1), frames(2)];
        assert!(outbox.append(&mut batch).is_none(), "nobody sleeps");
        assert!(batch.is_empty());
        outbox.append(&mut vec![frames(3)]);

        let mut taken = Vec::new();
        assert!(outbox.take(&mut taken).await);
        assert_eq!(sizes(&taken), [1, 2, 3]);
    }

    #[tokio::test]
    async fn a_sleeping_writer_is_woken_once() {
        let outbox = Outbox::default();
        let mut taken = Vec::new();
        let mut taking = Box::pin(outbox.take(&mut taken));
        assert_eq!(poll!(taking.as_mut()), Poll::Pending);
        assert!(outbox.append(&mut vec![frames(1)]).is_some());
        assert!(outbox.append(&mut vec![frames(2)]).is_none());
        assert_eq!(poll!(taking.as_mut()), Poll::Ready(true));
        drop(taking);
        assert_eq!(sizes(&taken), [1, 2]);
    }

    #[tokio::test]
    async fn a_closed_outbox_gives_what_it_has_and_takes_no_more() {
        let outbox = Outbox::default();
        outbox.append(&mut vec![frames(1)]);
        outbox.close();
        outbox.append(&mut vec![frames(2)]);
        let mut taken = Vec::new();
        assert!(outbox.take(&mut taken).await);
        assert_eq!(sizes(&taken), [1]);
        taken.clear();
        assert!(!outbox.take(&mut taken).await);
    }

    #[tokio::test]
    async fn a_reader_waits_while_too_much_waits_to_be_taken() {
        let outbox = Outbox::default();
        outbox.wait_for_room().await;
        outbox.append(&mut (0..16).map(|_| frames(OUTBOX_OCTETS)).collect());
        outbox.wait_for_room().await;
        outbox.append(&mut vec![frames(1)]);

        let mut waiting = Box::pin(outbox.wait_for_room());
        assert_eq!(poll!(waiting.as_mut()), Poll::Pending);
        assert!(outbox.take(&mut Vec::new()).await);
        assert_eq!(poll!(waiting.as_mut()), Poll::Ready(()));
    }

    #[tokio::test]
    async fn what_is_on_its_way_is_counted_until_it_is_written() {
        let outbox = Outbox::default();
        outbox.append(&mut vec![frames(100), frames(10)]);
        outbox.take(&mut Vec::new()).await;
        assert_eq!(outbox.bytes(), 110);
        outbox.note_written(107, Size { all: 100, answers: 100 });
        assert_eq!((outbox.bytes(), outbox.answer_bytes(), outbox.written()), (10, 10, 107));
        outbox.close();
        outbox.append(&mut vec![frames(1000)]);
        assert_eq!(outbox.bytes(), 10);
    }

    #[tokio::test]
    async fn it_knows_whether_the_last_frame_has_come() {
        let outbox = Outbox::default();
        outbox.append(&mut vec![frames(1)]);
        assert!(!outbox.has_ended());
        outbox.append(&mut vec![frames(1), Outgoing::End]);
        outbox.take(&mut Vec::new()).await;
        assert!(outbox.has_ended());
    }

    #[tokio::test]
    async fn one_large_message_does_not_close_the_way_in() {
        let outbox = Outbox::default();
        outbox.append(&mut vec![frames(2 * HARD_LIMIT_BYTES)]);
        assert!(outbox.has_room());
    }
}
