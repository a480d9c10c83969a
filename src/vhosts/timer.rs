//! Wakes the core when time matters to it: expiry, close timeouts, whatever it counts.

use crate::handle::VhostHandle;

/// Runs until its task is ended.
pub(super) async fn run(handle: VhostHandle) {
    loop {
        let deadline = handle.arm_timer().await;
        let passed = async {
            match deadline {
                Some(deadline) => handle.clock().sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = passed => {
                handle.timeout().await;
                // why: work in steps is due again at once and must not keep others from the lock.
                handle.step_back().await;
            }
            () = handle.wait_for_nearer_deadline() => {}
        }
    }
}
