//! What tests share: the core in virtual time, real processes and real sockets.
//!
//! Those with processes and sockets wait for what they expect, up to [`PATIENCE`], and never for a time to pass.

pub(crate) mod certificates;
pub(crate) mod client;
pub(crate) mod embedded;
pub(crate) mod http;
pub(crate) mod own_process;
pub(crate) mod process;
pub(crate) mod small_disk;
pub(crate) mod steps;
pub(crate) mod venv;
pub(crate) mod world;

use std::time::{Duration, Instant};

/// How long something that must happen may take before the test fails: far longer than it does on
/// a machine that is busy with other things.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until the condition holds.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "in {PATIENCE:?} it did not come about that {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
