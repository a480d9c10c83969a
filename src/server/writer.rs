//! A connection's writer: takes what waits in the outbox, encodes it and writes it.
//!
//! Encoding happens here, outside the vhost's lock and once a consumer. A busy writer finds more
//! each time it comes back, so its writes grow with the load; a writer with nothing to do sleeps in
//! the outbox.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use leveret_codec::encode;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::connection_log::ConnectionLog;
use crate::broker::command::Outgoing;
use crate::broker::limits::OUTBOX_OCTETS;
use crate::handle::WriteReceipts;
use crate::outbox::{Outbox, Size};

/// What is written at once. Large enough to make the system call cheap, small enough to be still
/// in the cache when the kernel copies it.
const CHUNK_BYTES: usize = 64 * 1024;

/// What the encoding buffer may keep: a chunk, and a frame above it.
const KEPT_BYTES: usize = 4 * CHUNK_BYTES;

/// What was written is reported to the core in portions of this size, of which it lets twice as much
/// wait: the other half keeps the writer busy meanwhile.
const RECEIPT_BYTES: usize = OUTBOX_OCTETS / 2;

/// How often a connection without heartbeats gives back memory that it does not use.
const TIDY_PERIOD: Duration = Duration::from_secs(30);

/// Writes one connection's frames.
pub(super) struct Writer<W> {
    pub(super) socket: W,
    pub(super) outbox: Arc<Outbox>,
    pub(super) write_receipts: WriteReceipts,
    pub(super) frame_max: u32,
    /// Zero for no heartbeats.
    pub(super) heartbeat_secs: u16,
    pub(super) log: Arc<ConnectionLog>,
}

/// How a round of writing ended.
#[derive(PartialEq, Eq)]
enum Round {
    /// All is written, more may come.
    Open,
    /// The last frame to this client is written.
    End,
}

/// How far the writing has come.
#[derive(Default)]
struct Progress {
    /// What is in the buffer.
    encoded: Size,
    /// What is written and not reported to the core, counted by `Outgoing::size`.
    unreported: usize,
}

impl<W: AsyncWrite + Unpin> Writer<W> {
    /// Runs until the outbox is closed, the core's last frame is written or the socket fails; then
    /// the client sees the end of the stream.
    pub(super) async fn run(mut self) -> io::Result<()> {
        let mut outgoing = Vec::new();
        let mut buffer = Vec::new();
        let mut progress = Progress::default();
        let mut tick = self.tick();
        // spec: 4.2.7. rabbitmq: the first heartbeat comes whatever was sent before.
        let mut written_at_tick = None;
        loop {
            let open = tokio::select! {
                biased;
                open = self.outbox.take(&mut outgoing) => open,
                _ = tick.tick() => {
                    if written_at_tick == Some(self.outbox.written()) {
                        (outgoing, buffer) = (Vec::new(), Vec::new());
                        self.outbox.shrink();
                    }
                    self.beat(&mut written_at_tick).await?;
                    continue;
                }
            };
            if !open || self.write(&mut outgoing, &mut buffer, &mut progress).await? == Round::End {
                return self.socket.shutdown().await;
            }
        }
    }

    /// Writes everything in the list, up to and including the core's last frame.
    async fn write(
        &mut self,
        outgoing: &mut Vec<Outgoing>,
        buffer: &mut Vec<u8>,
        progress: &mut Progress,
    ) -> io::Result<Round> {
        let mut round = Round::Open;
        for item in outgoing.drain(..) {
            match &item {
                Outgoing::End => {
                    round = Round::End;
                    break;
                }
                Outgoing::Close { channel, at_fault } => self.log.closes(*channel, at_fault),
                _ => {}
            }
            progress.encoded += Size::of(&item);
            item.encode(buffer, self.frame_max);
            if buffer.len() >= CHUNK_BYTES {
                self.flush(buffer, progress).await?;
            }
        }
        self.flush(buffer, progress).await?;
        Ok(round)
    }

    async fn flush(&mut self, buffer: &mut Vec<u8>, progress: &mut Progress) -> io::Result<()> {
        self.socket.write_all(buffer).await?;
        // why: what TLS has encrypted and could not get rid of yet is written by this alone.
        self.socket.flush().await?;
        let size = std::mem::take(&mut progress.encoded);
        self.outbox.note_written(buffer.len(), size);
        buffer.clear();
        buffer.shrink_to(KEPT_BYTES);
        progress.unreported += size.all as usize;
        if progress.unreported >= RECEIPT_BYTES {
            self.write_receipts.written(std::mem::take(&mut progress.unreported));
        }
        Ok(())
    }

    /// Sends a heartbeat when nothing was written since the last tick.
    async fn beat(&mut self, written_at_tick: &mut Option<u64>) -> io::Result<()> {
        let written = self.outbox.written();
        let silent = written_at_tick.is_none_or(|before| before == written);
        if silent && self.heartbeat_secs > 0 {
            let mut heartbeat = Vec::new();
            encode::heartbeat(&mut heartbeat);
            self.socket.write_all(&heartbeat).await?;
        }
        *written_at_tick = Some(written);
        Ok(())
    }

    /// Half the negotiated timeout.
    fn tick(&self) -> Interval {
        let period = match self.heartbeat_secs {
            0 => TIDY_PERIOD,
            secs => Duration::from_secs(secs.into()) / 2,
        };
        let mut tick = interval_at(Instant::now() + period, period);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tick
    }
}
