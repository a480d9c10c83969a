//! Looks after memory and disk, and raises the alarms.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::memory_peak::{MemoryPeak, on_all_workers};
use crate::log_buffer::DiskRoom;
use crate::store::FileDisk;
use crate::vhosts::{Resource, Vhosts};

/// How often memory is checked; a virtual host that holds too much asks for a check at once.
const MEMORY_LOOK: Duration = Duration::from_millis(100);

/// How soon after a check the next one may be.
const LOOK_PAUSE: Duration = Duration::from_millis(5);

/// How often the room on the disk is looked at.
const DISK_LOOK: Duration = Duration::from_secs(1);

/// How often that is while it is short, or so little is left that a second could take it.
const NEAR_DISK_LOOK: Duration = Duration::from_millis(100);

/// What a second could take of a disk, in bytes.
const DISK_SECOND_BYTES: u64 = 2 << 30;

/// How often stores are told that there is little room on the disk.
const NEWS_PAUSE: Duration = Duration::from_secs(1);

/// Runs until its task is ended.
pub(super) async fn watch(
    disk: Option<Arc<FileDisk>>,
    vhosts: Vhosts,
    give_back_memory: Option<fn()>,
) {
    let mut peak = MemoryPeak::default();
    let pressure = vhosts.memory_pressure();
    let mut disk_watch = disk.map(DiskWatch::new);
    loop {
        vhosts.check_memory();
        if let Some(disk_watch) = &mut disk_watch {
            disk_watch.check_if_due(&vhosts);
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

/// The disk of the data directory, and when it is looked at.
struct DiskWatch {
    disk: Arc<FileDisk>,
    next_check: Instant,
    next_news: Instant,
    /// Whether the data directory was not where it was, when that was looked at last.
    is_gone: bool,
}

impl DiskWatch {
    fn new(disk: Arc<FileDisk>) -> Self {
        let now = Instant::now();
        DiskWatch { disk, next_check: now, next_news: now, is_gone: false }
    }

    /// why: a write that finds no room makes all clients wait, confirms too; it is better not to try.
    fn check_if_due(&mut self, vhosts: &Vhosts) {
        let now = Instant::now();
        if now < self.next_check && !vhosts.is_disk_full() {
            return;
        }
        self.check_directory();
        if self.is_gone {
            self.next_check = now + DISK_LOOK;
            return vhosts.set_short(Resource::Disk, true);
        }
        let Ok(free) = self.disk.free_bytes() else { return };
        let limit = vhosts.disk_free_limit();
        let is_short = free < limit || vhosts.is_disk_full();
        let is_near = is_short || free - limit < DISK_SECOND_BYTES;
        if is_near && now >= self.next_news {
            vhosts.tell_of_disk(if is_short { DiskRoom::Short } else { DiskRoom::NotPlenty });
            self.next_news = now + NEWS_PAUSE;
        }
        self.next_check = now + if is_near { NEAR_DISK_LOOK } else { DISK_LOOK };
        if is_short == vhosts.is_short(Resource::Disk) {
            return;
        }
        if is_short {
            tracing::error!(free, limit, "low on disk: publishers are blocked");
        } else {
            tracing::info!(free, limit, "room on the disk again: publishers go on");
        }
        vhosts.set_short(Resource::Disk, is_short);
    }

    /// why: files that are open go on to be written when their names are gone, and what is confirmed then goes with
    /// this process.
    fn check_directory(&mut self) {
        let is_gone = !self.disk.is_there();
        if is_gone == std::mem::replace(&mut self.is_gone, is_gone) {
            return;
        }
        let data_dir = self.disk.root().display();
        if is_gone {
            tracing::error!(
                %data_dir,
                "the data directory was removed, or another is in its place: what is written from now on \
                 ends with this process; publishers are blocked until it is back"
            );
        } else {
            tracing::warn!(%data_dir, "the data directory is back");
        }
    }
}
