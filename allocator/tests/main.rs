//! What the allocator gives back, seen by the resident memory of the process.

use std::fs;
use std::sync::mpsc;
use std::thread;

#[global_allocator]
static ALLOCATOR: leveret_allocator::MiMalloc = leveret_allocator::MiMalloc;

/// The resident memory of this process, in MiB.
fn resident() -> u64 {
    let pages = fs::read_to_string("/proc/self/statm").expect("the system tells");
    let pages: u64 = pages.split(' ').nth(1).expect("a second field").parse().expect("a number");
    (pages * 4096) >> 20
}

#[test]
fn what_another_thread_has_freed_goes_back_to_the_system() {
    let (to_consumer, messages) = mpsc::channel::<Vec<Box<[u8]>>>();
    let (has_freed, freed) = mpsc::channel();
    let consumer = thread::spawn(move || {
        for messages in messages {
            drop(messages);
            has_freed.send(()).expect("the test waits");
        }
    });
    let before = resident();
    let messages = (0..1_000_000).map(|_| vec![1; 100].into_boxed_slice()).collect();
    let full = resident();
    assert!(full > before + 90, "{before} MiB, {full} MiB");
    to_consumer.send(messages).expect("the consumer waits");
    freed.recv().expect("the consumer frees them");
    leveret_allocator::give_back();
    let after = resident();
    assert!(after < before + 40, "{before} MiB, {full} MiB, {after} MiB");
    drop(to_consumer);
    consumer.join().expect("it ends");
}
