//! The allocator of the program `leveret`, and the only room of it with `unsafe`: one call.
//!
//! A message is one allocation, made on the publisher's thread and freed on the consumer's; mimalloc is fast at
//! that. What one thread frees of another's waits for its owner, which takes it back when it allocates again. A
//! thread that has nothing to do does not, and the memory of a peak would stay with the process for hours.
//! [`give_back`] is for such a thread.

pub use mimalloc::MiMalloc;

/// Takes back what other threads have freed of this thread's memory, and gives to the system what is free. Costs
/// some ten milliseconds for each 100 MiB, most of it in the system.
// why: by force. Without it mimalloc does not look at pages that were full, which are all of them after a peak.
pub fn give_back() {
    // SAFETY: it takes no pointer and may be called on any thread at any time. It is right even where another
    // allocator serves the process: then there is nothing to collect.
    unsafe { libmimalloc_sys::mi_collect(true) }
}
