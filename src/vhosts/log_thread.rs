//! The log thread: the only one that touches the store.
//!
//! It takes all records and orders that wait, writes and syncs the records, tells the core how far it
//! got, deals with the orders and takes what came meanwhile. So the batch is as large as the disk is
//! slow; when a small one is worth a sync, the log buffer says. Between batches it moves on with a
//! checkpoint, a bounded step at a time.
//!
//! A disk without room is waited for: what is to be paged out goes back to the core, records that do
//! not fit stay here and are tried again, and those that fit are written, as acknowledgements are what
//! makes room. Pages are still read, so that there is something to acknowledge.
//!
//! invariant: a failed write or sync is never retried, since what the disk then holds is unknown. The
//! core is told and refuses what is durable; the thread goes on taking records, so that connections
//! do not wait for room, and drops them. Pages are still read then.
//! invariant: no vhost is in service without its thread.

use std::io;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::broker::paging::{Page, PageOrder, PageOwner, PagedMessage};
use crate::broker::record::{Lsn, Position, Record};
use crate::clock::Stopwatch;
use crate::handle::VhostHandle;
use crate::log_buffer::{Taken, Wait};
use crate::store::{Store, StoreError};
use crate::supervisor::Supervisor;

/// What the list of records may keep between batches, in records.
const KEPT_RECORDS: usize = 64 * 1024;

/// How many steps of a checkpoint are done between two writes when the log has become too long. A
/// checkpoint takes more, but they move several times what one write adds, so that the log gets shorter.
const STEPS_TO_CATCH_UP: usize = 16;

/// How long a full disk is left alone before it is tried again.
const FULL_PAUSE: Duration = Duration::from_secs(1);

/// How often records that fit, and orders, are looked for meanwhile.
const CHECKS_IN_A_PAUSE: u32 = 20;

/// How long a disk that cannot be read for want of means, such as open files, is left alone.
const READ_PAUSE: Duration = Duration::from_millis(50);

/// Starts the thread; without a store, for a broker that keeps nothing. It ends when the handle's log
/// is closed and all is on disk.
pub(super) fn spawn(
    handle: VhostHandle,
    store: Option<Store>,
    supervisor: Supervisor,
) -> io::Result<JoinHandle<Result<(), StoreError>>> {
    let thread = std::thread::Builder::new().name("leveret-log".to_owned());
    thread.spawn(move || {
        let part = format!("the log thread of vhost '{}'", handle.name());
        let may_end = || handle.log().is_closed();
        let work = || match store {
            Some(store) => Worker::new(handle.clone(), store).run(),
            None => {
                forget_everything(&handle);
                Ok(())
            }
        };
        let ended = supervisor.supervise_thread(part, work, may_end);
        if ended.is_none() || !may_end() {
            // why: without the thread every publisher would wait for its confirms for ever.
            handle.fail("its log thread ended");
        }
        ended.unwrap_or(Err(StoreError::Poisoned))
    })
}

/// For a broker that keeps nothing: every record is as safe as it ever will be.
fn forget_everything(handle: &VhostHandle) {
    let (mut records, mut orders) = (Vec::new(), Vec::new());
    let mut lsn = Lsn(0);
    while handle.log().take(&mut records, &mut orders, Wait::ForAny) == Taken::Open {
        lsn.0 += records.len() as u64;
        handle.synced(lsn);
        records.clear();
        records.shrink_to(KEPT_RECORDS);
        debug_assert!(orders.is_empty(), "nothing is paged out where there is no disk");
        orders.clear();
    }
}

/// The thread's own.
struct Worker {
    handle: VhostHandle,
    store: Store,
    /// Taken and not written yet.
    records: Vec<Record>,
    orders: Vec<PageOrder>,
    /// Whether the disk had no room when it was tried last.
    is_full: bool,
}

impl Worker {
    fn new(handle: VhostHandle, store: Store) -> Self {
        Worker { handle, store, records: Vec::new(), orders: Vec::new(), is_full: false }
    }

    fn run(mut self) -> Result<(), StoreError> {
        match self.work() {
            Ok(()) => self.store.close(),
            Err(error) => {
                tracing::error!(
                    %error,
                    "the log could not be written: nothing more is made durable, and publishers of \
                     persistent messages are told so; mend the disk and start the broker again"
                );
                self.handle.store_failed();
                self.go_on_without_writing();
                Err(error)
            }
        }
    }

    /// Until the log is closed, or for ever as far as the disk works.
    fn work(&mut self) -> Result<(), StoreError> {
        loop {
            if self.is_full {
                if self.wait_for_room()? == Taken::Closed {
                    return Ok(());
                }
                continue;
            }
            let wait = if self.store.checkpoint_due() { Wait::No } else { Wait::ForEnough };
            let log = self.handle.log();
            if log.take(&mut self.records, &mut self.orders, wait) == Taken::Closed {
                return Ok(());
            }
            if log.take_reclaim() {
                self.store.reclaim();
            }
            let moved_on = self.write_records();
            self.unless_full(moved_on)?;
            self.carry_out_orders()?;
            self.move_on()?;
        }
    }

    /// Does a step of a checkpoint, or some if they fall behind.
    fn move_on(&mut self) -> Result<(), StoreError> {
        for _ in 0..STEPS_TO_CATCH_UP {
            if self.is_full || !self.store.checkpoint_due() {
                break;
            }
            let stepped = self.store.checkpoint_step();
            self.unless_full(stepped)?;
            if !self.store.is_behind() {
                break;
            }
        }
        Ok(())
    }

    /// Writes what was taken, in parts between which a checkpoint that falls behind catches up; on a full
    /// disk up to the first record that does not fit.
    fn write_records(&mut self) -> Result<(), StoreError> {
        let mut most = usize::MAX;
        while !self.records.is_empty() {
            let count = self.store.one_write(&self.records).min(most);
            let lsn = match self.store.write(&self.records[..count]) {
                Ok(lsn) => lsn,
                Err(StoreError::NoRoom { .. }) if count > 1 => {
                    most = count / 2;
                    continue;
                }
                Err(error) => return Err(error),
            };
            self.handle.synced(lsn);
            // why: after the core was told; the last holder of a message frees it.
            self.records.drain(..count);
            if !self.records.is_empty() && self.store.is_behind() {
                self.move_on()?;
            }
        }
        self.records.shrink_to(KEPT_RECORDS);
        Ok(())
    }

    /// Deals with what is asked beside records; what was asked before something failed is dealt with
    /// later.
    fn carry_out_orders(&mut self) -> Result<(), StoreError> {
        let orders = std::mem::take(&mut self.orders);
        let mut orders = orders.into_iter();
        while let Some(order) = orders.next() {
            if let Err(error) = self.carry_out(order) {
                self.orders = orders.collect();
                return Err(error);
            }
        }
        Ok(())
    }

    fn carry_out(&mut self, order: PageOrder) -> Result<(), StoreError> {
        match order {
            PageOrder::Out { owner, messages } => self.page_out(owner, messages)?,
            PageOrder::In { owner, first, last, octets: max_bytes } => {
                self.page_in(owner, first, last, max_bytes);
            }
            PageOrder::Done { owner, first, last } => self.store.pages_done(owner, first, last),
            PageOrder::Forget { queue } => self.store.forget_pages(queue),
        }
        Ok(())
    }

    fn page_out(
        &mut self,
        owner: PageOwner,
        messages: Vec<PagedMessage>,
    ) -> Result<(), StoreError> {
        // why: while records wait for room, the store may not know of a message that is paged out.
        if !self.is_full {
            match self.store.page_out(owner, &messages) {
                Ok(()) => return Ok(()),
                Err(error) if error.is_shortage() => self.note_full(&error),
                Err(error) => {
                    self.handle.page_refused(owner, messages);
                    return Err(error);
                }
            }
        }
        self.handle.page_refused(owner, messages);
        Ok(())
    }

    /// Every order for a page is answered: a command may wait for it.
    fn page_in(&mut self, owner: PageOwner, first: Position, last: Position, max_bytes: usize) {
        let page = self.store.page_in(owner, first, last, max_bytes).unwrap_or_else(|error| {
            tracing::error!(%error, "messages on the disk cannot be read now, trying again");
            std::thread::sleep(READ_PAUSE);
            // The core will ask for the same once more.
            Page { owner, messages: Vec::new(), next: Some(first) }
        });
        for damage in self.store.take_damage() {
            tracing::error!("vhost '{}': {damage}", self.handle.name());
        }
        self.handle.page(page);
    }

    fn unless_full(&mut self, result: Result<impl Sized, StoreError>) -> Result<(), StoreError> {
        match result {
            Ok(_) => Ok(()),
            Err(error) if error.is_shortage() => {
                self.note_full(&error);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn note_full(&mut self, error: &StoreError) {
        if !std::mem::replace(&mut self.is_full, true) {
            tracing::error!(
                %error,
                "the disk is full: publishers wait, and so do confirms, until there is room"
            );
            self.handle.set_disk_full(true);
        }
    }

    /// Does for a while what can be done without room, then tries the disk again. Says whether the log
    /// is closed and all is written; if it is closed and records do not fit, that is an error.
    fn wait_for_room(&mut self) -> Result<Taken, StoreError> {
        // why: a stopwatch, as this is a thread's pause and no decision of the broker's.
        let (interval, watch) = (FULL_PAUSE / CHECKS_IN_A_PAUSE, Stopwatch::start());
        while u128::from(watch.elapsed_ns()) < FULL_PAUSE.as_nanos() {
            let log = self.handle.log();
            let is_stuck = !self.records.is_empty();
            let taken = match is_stuck {
                // why: records keep their order, and the first of these does not fit.
                true => log.take_orders(&mut self.orders, interval),
                false => log.take(&mut self.records, &mut self.orders, Wait::AtMost(interval)),
            };
            match (is_stuck, taken) {
                (false, Taken::Closed) => return Ok(Taken::Closed),
                (false, Taken::Open) => {
                    let written = self.write_records();
                    self.unless_full(written)?;
                }
                // No room comes of waiting, as no client is left; the last attempt is below.
                (true, Taken::Closed) => break,
                (true, Taken::Open) => {}
            }
            self.carry_out_orders()?;
        }
        let is_closed = self.handle.log().is_closed();
        // why: what is dead goes without any record being written, and that may be what is in the way.
        let made = self.make_room();
        let tried = match made {
            Err(error) if !error.is_shortage() => Err(error),
            _ => self.write_records().and(made),
        };
        match tried {
            // why: with a little less room than the next page needs it would come and go.
            Ok(()) if !self.store.has_room() => {}
            Ok(()) => {
                self.is_full = false;
                self.handle.set_disk_full(false);
                tracing::info!("there is room on the disk again");
            }
            Err(error) if error.is_shortage() && is_closed && !self.records.is_empty() => {
                return Err(error);
            }
            Err(error) if error.is_shortage() => {}
            Err(error) => return Err(error),
        }
        Ok(Taken::Open)
    }

    /// Goes on with the checkpoint, which lets go of what is settled.
    fn make_room(&mut self) -> Result<(), StoreError> {
        self.store.reclaim();
        for _ in 0..STEPS_TO_CATCH_UP {
            if !self.store.checkpoint_step()? {
                break;
            }
        }
        Ok(())
    }

    /// Drops records and refuses to page out until the log is closed.
    fn go_on_without_writing(&mut self) {
        loop {
            self.records.clear();
            for order in std::mem::take(&mut self.orders) {
                match order {
                    PageOrder::Out { owner, messages } => {
                        self.handle.page_refused(owner, messages);
                    }
                    PageOrder::In { owner, first, last, octets: max_bytes } => {
                        self.page_in(owner, first, last, max_bytes);
                    }
                    PageOrder::Done { .. } | PageOrder::Forget { .. } => {}
                }
            }
            let log = self.handle.log();
            if log.take(&mut self.records, &mut self.orders, Wait::ForAny) == Taken::Closed {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests;
