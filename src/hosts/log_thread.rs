//! The log thread: the only one that writes to the store.
//!
//! It takes all records that wait, writes and syncs them, tells the core how far it got and takes
//! what came meanwhile. So the batch is as large as the disk is slow, and nobody waits for a timer.
//! Between batches it moves on with a checkpoint, a bounded step at a time.
//!
//! invariant: a failed write or sync is never retried, since what the disk then holds is unknown. The
//! core is told and refuses what is durable; the thread goes on taking records, so that connections
//! do not wait for room, and drops them.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::JoinHandle;

use crate::broker::record::Record;
use crate::handle::VhostHandle;
use crate::log_buffer::Taken;
use crate::store::{Store, StoreError};

/// What the list of records may keep between batches, in records.
const KEPT_RECORDS: usize = 64 * 1024;

/// Starts the thread. It ends when the handle's log is closed and all is on disk.
pub(super) fn spawn(
    handle: VhostHandle,
    store: Store,
) -> io::Result<JoinHandle<Result<(), StoreError>>> {
    let thread = std::thread::Builder::new().name("leveret-log".to_owned());
    thread.spawn(move || run(&handle, store))
}

fn run(handle: &VhostHandle, mut store: Store) -> Result<(), StoreError> {
    let mut records = Vec::new();
    let writing = AssertUnwindSafe(|| write_all(handle, &mut store, &mut records));
    // why: a thread that dies silently would let every publisher wait for its confirms for ever.
    let written = catch_unwind(writing).unwrap_or_else(|_| {
        tracing::error!("the log thread failed inside the broker; please report this");
        Err(StoreError::Poisoned)
    });
    match written {
        Ok(()) => store.close(),
        Err(error) => {
            tracing::error!(
                %error,
                "the log could not be written: nothing more is made durable, and publishers of \
                 persistent messages are told so; mend the disk and start the broker again"
            );
            handle.store_failed();
            discard_all(handle, &mut records);
            Err(error)
        }
    }
}

fn write_all(
    handle: &VhostHandle,
    store: &mut Store,
    records: &mut Vec<Record>,
) -> Result<(), StoreError> {
    loop {
        let may_wait = !store.checkpoint_due();
        if handle.log().take(records, may_wait) == Taken::Closed {
            return Ok(());
        }
        if !records.is_empty() {
            let lsn = store.write(records)?;
            handle.synced(lsn);
            // why: after the core was told; the last holder of a message frees it.
            records.clear();
            records.shrink_to(KEPT_RECORDS);
        }
        if store.checkpoint_due() {
            store.checkpoint_step()?;
        }
    }
}

fn discard_all(handle: &VhostHandle, records: &mut Vec<Record>) {
    records.clear();
    while handle.log().take(records, true) == Taken::Open {
        records.clear();
    }
}
