//! Looks after memory and disk, and raises the alarms.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::memory_peak::{MemoryPeak, on_all_workers};
use crate::store::FileDisk;
use crate::vhosts::{DISK_RESERVE_BYTES, Resource, Vhosts};

/// How often memory is checked; a virtual host that holds too much asks for a check at once.
const MEMORY_LOOK: Duration = Duration::from_millis(100);

/// How soon after a check the next one may be.
const LOOK_PAUSE: Duration = Duration::from_millis(5);

/// How often the room on the disk is looked at.
const DISK_LOOK: Duration = Duration::from_secs(1);

/// The memory alarm ends below this share of the limit, in percent, so that it does not come and go
/// with every message.
const MEMORY_CALM_PERCENT: u64 = 90;

/// Runs until its task is ended.
pub(super) async fn watch(
    disk: Option<Arc<FileDisk>>,
    vhosts: Vhosts,
    give_back_memory: Option<fn()>,
) {
    let mut peak = MemoryPeak::default();
    let pressure = vhosts.memory_pressure();
    let mut next_disk_check = Instant::now();
    loop {
        check_memory(&vhosts);
        let is_due = Instant::now() >= next_disk_check || vhosts.is_disk_full();
        if let Some(disk) = disk.as_ref().filter(|_| is_due) {
            check_disk(disk, &vhosts);
            next_disk_check = Instant::now() + DISK_LOOK;
        }
        if let Some(give_back) = give_back_memory
            && peak.is_over(vhosts.memory_used())
        {
            tokio::spawn(on_all_workers(give_back));
        }
        let next_look = Instant::now() + MEMORY_LOOK;
        sleep(LOOK_PAUSE).await;
        tokio::select! {
            () = sleep_until(next_look) => {}
            () = pressure.notified() => {}
        }
    }
}

/// why: without what comes of unfinished messages, which has a bound of its own. A client that is blocked is
/// not read from, so that its own could never be finished and would keep all clients blocked.
fn check_memory(vhosts: &Vhosts) {
    let (limit, used) = (vhosts.memory_limit(), vhosts.memory_used());
    let was_short = vhosts.is_short(Resource::Memory);
    let bound = if was_short { limit / 100 * MEMORY_CALM_PERCENT } else { limit };
    let is_short = used > bound;
    if is_short == was_short {
        return;
    }
    if is_short {
        tracing::error!(used, limit, "low on memory: publishers are blocked");
    } else {
        tracing::info!(used, limit, "memory is free again: publishers go on");
    }
    vhosts.set_short(Resource::Memory, is_short);
}

/// why: a write that finds no room makes all clients wait, confirms too; it is better not to try.
fn check_disk(disk: &FileDisk, vhosts: &Vhosts) {
    let Ok(free) = disk.free_bytes() else { return };
    let needed = DISK_RESERVE_BYTES;
    let is_short = free < needed || vhosts.is_disk_full();
    if is_short == vhosts.is_short(Resource::Disk) {
        return;
    }
    if is_short {
        tracing::error!(free, needed, "low on disk: publishers are blocked");
    } else {
        tracing::info!(free, "room on the disk again: publishers go on");
    }
    vhosts.set_short(Resource::Disk, is_short);
}
