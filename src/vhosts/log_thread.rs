//! The log thread: the only one that touches the store.
//!
//! It takes all records and orders that wait, writes and syncs the records, tells the core how far it
//! got, deals with the orders and takes what came meanwhile. So the batch is as large as the disk is
//! slow; when a small one is worth a sync, the log buffer says. Between batches it moves on with a
//! checkpoint, a bounded step at a time.
//!
//! A disk without room, or without inodes, and a process without open files are waited for: what is to be paged out
//! goes back to the core, records that do not fit stay here and are tried again, and those that fit are written, as
//! acknowledgements are what makes room. They go first if need be (`ahead`). Pages are still read, so that there is
//! something to acknowledge; one that cannot be read is tried again later, and nothing else waits for it.
//!
//! invariant: a failed write or sync is never retried, since what the disk then holds is unknown. The
//! core is told and refuses what is durable; the thread goes on taking records, so that connections
//! do not wait for room, and drops them. Pages are still read then.
//! invariant: no vhost is in service without its thread.

mod ahead;

use std::collections::VecDeque;
use std::io;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::broker::paging::{PageOrder, PageOwner, PagedMessage};
use crate::broker::record::{Lsn, Position, Record};
use crate::clock::Stopwatch;
use crate::handle::VhostHandle;
use crate::log_buffer::{DiskRoom, Taken, Wait, bytes_of, bytes_of_order};
use crate::store::{Store, StoreError};
use crate::supervisor::Supervisor;

use self::ahead::WrittenAhead;

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

/// How long there is nothing to do before the store removes what is empty.
const TIDY_PAUSE: Duration = Duration::from_secs(1);

/// How long orders are carried out before confirms have their turn again.
///
/// why: each order may cost a sync, and each queue that pages has one.
const ORDERS_TURN: Duration = Duration::from_millis(5);

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
    /// What they occupy, in bytes, while they do not fit.
    held_bytes: usize,
    ahead: WrittenAhead,
    /// Taken and not carried out yet.
    orders: VecDeque<PageOrder>,
    /// Orders for pages that could not be read, and since when they wait.
    unread: Vec<PageOrder>,
    unread_since: Stopwatch,
    /// Whether such are tried again at this moment: that they fail is known.
    is_reading_again: bool,
    /// Whether the disk had no room when it was tried last.
    is_full: bool,
}

impl Worker {
    fn new(handle: VhostHandle, store: Store) -> Self {
        Worker {
            handle,
            store,
            records: Vec::new(),
            held_bytes: 0,
            ahead: WrittenAhead::default(),
            orders: VecDeque::new(),
            unread: Vec::new(),
            unread_since: Stopwatch::start(),
            is_reading_again: false,
            is_full: false,
        }
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
            let wait = match (self.store.checkpoint_due(), self.unread.is_empty()) {
                _ if !self.orders.is_empty() => Wait::No,
                (true, _) => Wait::No,
                (false, true) if self.store.is_untidy() => Wait::ForEnoughWithin(TIDY_PAUSE),
                (false, true) => Wait::ForEnough,
                (false, false) => Wait::AtMost(READ_PAUSE),
            };
            if self.take(wait) == Taken::Closed {
                return Ok(());
            }
            let is_idle = self.records.is_empty() && self.orders.is_empty();
            if is_idle && wait == Wait::ForEnoughWithin(TIDY_PAUSE) {
                self.store.tidy();
            }
            self.heed_disk();
            let moved_on = self.write_records();
            self.unless_full(moved_on)?;
            self.carry_out_orders()?;
            self.move_on()?;
        }
    }

    /// Takes what waits, orders only when all of those before are carried out.
    fn take(&mut self, wait: Wait) -> Taken {
        let mut orders = Vec::new();
        let log = self.handle.log();
        match self.orders.is_empty() {
            true => {
                let taken = log.take(&mut self.records, &mut orders, wait);
                self.orders = orders.into();
                taken
            }
            false => log.take_records(&mut self.records),
        }
    }

    /// Does what is to be done when room on the disk gets short.
    fn heed_disk(&mut self) {
        match self.handle.log().take_disk_news() {
            None => {}
            Some(DiskRoom::NotPlenty) => self.store.keep_reserve(),
            Some(DiskRoom::Short) => {
                self.store.keep_reserve();
                self.store.reclaim();
            }
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
                Err(error) => {
                    self.held_bytes = self.records.iter().map(bytes_of).sum();
                    return Err(error);
                }
            };
            self.handle.synced(self.ahead.number_in_core(lsn));
            // why: after the core was told; the last holder of a message frees it.
            self.records.drain(..count);
            self.ahead.note_in_turn(count, self.records.is_empty());
            if !self.records.is_empty() && self.store.is_behind() {
                self.move_on()?;
            }
        }
        self.held_bytes = 0;
        self.records.shrink_to(KEPT_RECORDS);
        Ok(())
    }

    /// Deals for a while with what is asked beside records; the rest is dealt with later, and so is what was asked
    /// before something failed.
    fn carry_out_orders(&mut self) -> Result<(), StoreError> {
        self.read_again();
        let watch = Stopwatch::start();
        while let Some(order) = self.orders.pop_front() {
            let bytes = bytes_of_order(&order);
            let carried_out = self.carry_out(order);
            self.handle.log().note_carried_out(bytes);
            carried_out?;
            if u128::from(watch.elapsed_ns()) >= ORDERS_TURN.as_nanos() {
                break;
            }
        }
        Ok(())
    }

    /// Tries to read once more what could not be read a moment ago.
    fn read_again(&mut self) {
        let is_due = u128::from(self.unread_since.elapsed_ns()) >= READ_PAUSE.as_nanos();
        if self.unread.is_empty() || !is_due {
            return;
        }
        self.is_reading_again = true;
        for order in std::mem::take(&mut self.unread) {
            match order {
                // why: where one cannot be read, the next one can neither, as it is the system that is short.
                order if !self.unread.is_empty() => self.unread.push(order),
                PageOrder::In { owner, first, last, octets } => {
                    self.page_in(owner, first, last, octets);
                }
                PageOrder::Out { .. } | PageOrder::Done { .. } | PageOrder::Forget { .. } => {}
            }
        }
        self.is_reading_again = false;
        if self.unread.is_empty() {
            tracing::info!(
                "vhost '{}': messages on the disk can be read again",
                self.handle.name()
            );
        }
    }

    fn carry_out(&mut self, order: PageOrder) -> Result<(), StoreError> {
        match order {
            PageOrder::Out { owner, messages } => self.page_out(owner, messages)?,
            PageOrder::In { owner, first, last, octets } => {
                self.page_in(owner, first, last, octets);
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

    /// Every order for a page is answered in the end: a command may wait for it.
    fn page_in(&mut self, owner: PageOwner, first: Position, last: Position, octets: usize) {
        match self.store.page_in(owner, first, last, octets) {
            Ok(page) => {
                for damage in self.store.take_damage() {
                    tracing::error!("vhost '{}': {damage}", self.handle.name());
                }
                self.handle.page(page);
            }
            Err(error) => {
                if self.unread.is_empty() && !self.is_reading_again {
                    let vhost = self.handle.name();
                    tracing::error!(
                        %error,
                        "vhost '{vhost}': messages on the disk cannot be read now, trying again"
                    );
                }
                if self.unread.is_empty() {
                    self.unread_since = Stopwatch::start();
                }
                self.unread.push(PageOrder::In { owner, first, last, octets });
            }
        }
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
                "vhost '{}': the disk takes no more: publishers wait, and so do confirms, until it does",
                self.handle.name()
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
            self.heed_disk();
            let is_stuck = !self.records.is_empty();
            let taken = if is_stuck {
                self.take_behind(interval)
            } else {
                self.take(Wait::AtMost(interval))
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
            self.write_ahead()?;
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

    /// Takes what comes behind records that do not fit: orders, and records as long as there is room for them here.
    fn take_behind(&mut self, wait: Duration) -> Taken {
        let log = self.handle.log();
        let mut orders = Vec::new();
        if self.held_bytes >= log.limit() && !log.is_closed() {
            if self.orders.is_empty() {
                let taken = log.take_orders(&mut orders, wait);
                self.orders = orders.into();
                return taken;
            }
            return Taken::Open;
        }
        let mut records = Vec::new();
        let taken = match self.orders.is_empty() {
            true => log.take(&mut records, &mut orders, Wait::AtMost(wait)),
            false => log.take_records(&mut records),
        };
        self.orders.extend(orders);
        self.held_bytes += records.iter().map(bytes_of).sum::<usize>();
        self.records.append(&mut records);
        taken
    }

    /// Writes the acknowledgements that may go before records that do not fit, as many as there is room for.
    fn write_ahead(&mut self) -> Result<(), StoreError> {
        if self.records.is_empty() {
            return Ok(());
        }
        let mut most = usize::MAX;
        loop {
            let due = self.ahead.due(&self.records);
            if due.is_empty() {
                return Ok(());
            }
            let count = self.store.one_write(due).min(most);
            match self.store.write(&due[..count]) {
                Ok(_) => self.ahead.note_written(count),
                Err(StoreError::NoRoom { .. }) if count > 1 => most = count / 2,
                Err(error) if error.is_shortage() => return Ok(()),
                Err(error) => return Err(error),
            }
        }
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
            self.read_again();
            for order in std::mem::take(&mut self.orders) {
                self.handle.log().note_carried_out(bytes_of_order(&order));
                match order {
                    PageOrder::Out { owner, messages } => {
                        self.handle.page_refused(owner, messages);
                    }
                    PageOrder::In { owner, first, last, octets } => {
                        self.page_in(owner, first, last, octets);
                    }
                    PageOrder::Done { .. } | PageOrder::Forget { .. } => {}
                }
            }
            let is_read = self.unread.is_empty();
            let wait = if is_read { Wait::ForAny } else { Wait::AtMost(READ_PAUSE) };
            if self.take(wait) == Taken::Closed {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests;
