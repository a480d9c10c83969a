//! What waits here, for how long, and which task is woken.

use std::sync::Arc;
use std::task::Poll;

use super::*;
use crate::broker::record::{DurableQueueId, Record};

/// Longer than any test.
const LONG: Duration = Duration::from_secs(3600);

fn record(number: u64) -> Record {
    Record::Delivered { queue: DurableQueueId(number), priority: 0, position: 1 }
}

fn append(buffer: &LogBuffer, records: &mut Vec<Record>) -> bool {
    buffer.append(records, &mut Vec::new(), 1)
}

fn take(buffer: &LogBuffer, wait: Wait) -> (Taken, Vec<Record>) {
    let mut records = Vec::new();
    let taken = buffer.take(&mut records, &mut Vec::new(), wait);
    (taken, records)
}

#[test]
fn records_leave_in_the_order_in_which_they_came() {
    let buffer = LogBuffer::default();
    assert!(!append(&buffer, &mut Vec::new()));
    let mut batch = vec![record(1), record(2)];
    assert!(append(&buffer, &mut batch));
    assert!(batch.is_empty());
    append(&buffer, &mut vec![record(3)]);

    let (taken, records) = take(&buffer, Wait::ForEnough);
    assert_eq!((taken, records), (Taken::Open, vec![record(1), record(2), record(3)]));
    assert_eq!(take(&buffer, Wait::No), (Taken::Open, Vec::new()));
}

#[test]
fn an_order_alone_is_something() {
    let buffer = LogBuffer::default();
    let mut orders = vec![PageOrder::Forget { queue: 1 }];
    assert!(buffer.append(&mut Vec::new(), &mut orders, 0));
    let mut taken = Vec::new();
    assert_eq!(buffer.take(&mut Vec::new(), &mut taken, Wait::ForEnough), Taken::Open);
    assert_eq!((orders, taken), (vec![], vec![PageOrder::Forget { queue: 1 }]));
}

#[test]
fn an_order_wakes_whoever_leaves_the_records() {
    let buffer = LogBuffer::default();
    append(&buffer, &mut vec![record(1)]);
    assert!(buffer.append(&mut Vec::new(), &mut vec![PageOrder::Forget { queue: 1 }], 0));
    let mut orders = Vec::new();
    buffer.take_orders(&mut orders, Duration::ZERO);
    assert_eq!(orders, [PageOrder::Forget { queue: 1 }]);
    assert_eq!(take(&buffer, Wait::No).1, [record(1)]);
}

#[test]
fn a_closed_buffer_gives_what_it_has_and_then_says_so() {
    let buffer = LogBuffer::default();
    append(&buffer, &mut vec![record(1)]);
    buffer.close();
    assert!(!append(&buffer, &mut vec![record(2)]));
    assert_eq!(take(&buffer, Wait::ForEnough), (Taken::Open, vec![record(1)]));
    assert_eq!(take(&buffer, Wait::ForEnough), (Taken::Closed, Vec::new()));
}

#[test]
fn the_taker_waits_for_records_and_is_woken() {
    let buffer = Arc::new(LogBuffer::default());
    let taker = std::thread::spawn({
        let buffer = buffer.clone();
        move || take(&buffer, Wait::ForEnough).1
    });
    if append(&buffer, &mut vec![record(1)]) {
        buffer.wake();
    }
    assert_eq!(taker.join().unwrap(), [record(1)]);
}

#[test]
fn what_no_client_waits_for_is_taken_with_what_a_client_waits_for() {
    let buffer = Arc::new(LogBuffer { unawaited_delay: LONG, ..LogBuffer::default() });
    let low = |number| buffer.append(&mut vec![record(number)], &mut Vec::new(), 0);
    assert!(low(1), "whoever takes has to know from when on");
    let taker = std::thread::spawn({
        let buffer = buffer.clone();
        move || take(&buffer, Wait::ForEnough).1
    });
    assert!(!low(2));
    assert!(append(&buffer, &mut vec![record(3)]));
    buffer.wake();
    assert_eq!(taker.join().unwrap(), [record(1), record(2), record(3)]);
}

#[test]
fn what_no_client_waits_for_is_taken_after_a_while_and_not_before() {
    let buffer = LogBuffer { unawaited_delay: Duration::from_millis(1), ..LogBuffer::default() };
    buffer.append(&mut vec![record(1)], &mut Vec::new(), 0);
    assert_eq!(take(&buffer, Wait::ForEnough).1, [record(1)]);

    let buffer = Arc::new(LogBuffer { unawaited_delay: LONG, ..LogBuffer::default() });
    buffer.append(&mut vec![record(1)], &mut Vec::new(), 0);
    let taker = std::thread::spawn({
        let buffer = buffer.clone();
        move || take(&buffer, Wait::ForEnough).1
    });
    // why: a taker that waits passes however slow the machine is; one that does not is seen soon.
    std::thread::sleep(Duration::from_millis(20));
    assert!(!taker.is_finished());
    buffer.close();
    assert_eq!(taker.join().unwrap(), [record(1)]);
}

#[test]
fn whoever_wants_anything_waits_for_no_company() {
    let buffer = LogBuffer { unawaited_delay: LONG, gather_delay: LONG, ..LogBuffer::default() };
    for number in 1..=2 {
        buffer.append(&mut vec![record(number)], &mut Vec::new(), 0);
        assert_eq!(take(&buffer, Wait::ForAny).1, [record(number)]);
        append(&buffer, &mut vec![record(number)]);
        assert_eq!(take(&buffer, Wait::ForAny).1, [record(number)]);
    }
}

#[test]
fn a_definition_is_due() {
    let buffer = LogBuffer { unawaited_delay: LONG, ..LogBuffer::default() };
    let definition = Record::QueueDeleted { id: DurableQueueId(1) };
    buffer.append(&mut vec![definition.clone()], &mut Vec::new(), 0);
    assert_eq!(take(&buffer, Wait::ForEnough).1, [definition]);
}

#[test]
fn much_that_no_client_waits_for_is_due() {
    let buffer = LogBuffer::default();
    let low = |count| buffer.append(&mut vec![record(0); count], &mut Vec::new(), 0);
    assert!(low(1));
    assert!(!low(1));
    assert!(low(UNAWAITED_BYTES / RECORD_BYTES));
    assert!(!low(1), "whoever takes is awake");
}

#[test]
fn what_is_in_flight_is_taken_together() {
    let buffer = Arc::new(LogBuffer { gather_delay: LONG, ..LogBuffer::default() });
    append(&buffer, &mut vec![record(1)]);
    take(&buffer, Wait::ForEnough);
    // One was answered and one waits: two are in flight.
    append(&buffer, &mut vec![record(2)]);
    let taker = std::thread::spawn({
        let buffer = buffer.clone();
        move || take(&buffer, Wait::ForEnough).1
    });
    while buffer.waiting.lock().tolerated == 0 {
        assert!(!taker.is_finished(), "nothing was waited for");
        std::thread::yield_now();
    }
    assert!(append(&buffer, &mut vec![record(3)]));
    buffer.wake();
    assert_eq!(taker.join().unwrap(), [record(2), record(3)]);
}

#[test]
fn what_is_not_in_flight_after_all_is_not_waited_for_long() {
    let buffer = LogBuffer::default();
    for number in 1..=3 {
        append(&buffer, &mut vec![record(number)]);
        assert_eq!(take(&buffer, Wait::ForEnough).1, [record(number)]);
    }
    assert_eq!(buffer.waiting.lock().gather_backoff.failures, 1, "one of two was tried");
}

#[test]
fn failures_make_attempts_rare_and_a_success_makes_them_frequent() {
    let mut gather_backoff = GatherBackoff::default();
    let attempts_among = |gather_backoff: &mut GatherBackoff, occasions, success| {
        let tried = |_: &u32| {
            let should_try = gather_backoff.should_try();
            if should_try {
                gather_backoff.note(success);
            }
            should_try
        };
        (0..occasions).filter(tried).count()
    };
    assert_eq!(attempts_among(&mut gather_backoff, 10, true), 10);
    assert_eq!(attempts_among(&mut gather_backoff, 1 + 2 + 4 + 8, false), 4);
    let occasions = 1000 << MOST_DOUBLINGS;
    assert!((1000..=1004).contains(&attempts_among(&mut gather_backoff, occasions, false)));
    while !gather_backoff.should_try() {}
    gather_backoff.note(true);
    assert_eq!(attempts_among(&mut gather_backoff, 10, true), 10);
}

#[tokio::test]
async fn a_full_buffer_makes_connections_wait_until_it_is_taken() {
    let buffer = LogBuffer::default();
    buffer.wait_for_room().await;
    append(&buffer, &mut vec![record(0); LIMIT_BYTES / RECORD_BYTES + 1]);
    assert!(!buffer.has_room());

    let mut waiting = std::pin::pin!(buffer.wait_for_room());
    assert_eq!(futures::poll!(waiting.as_mut()), Poll::Pending);
    take(&buffer, Wait::No);
    assert_eq!(futures::poll!(waiting.as_mut()), Poll::Ready(()));
}

#[tokio::test]
async fn a_higher_limit_lets_those_who_wait_go_on() {
    let buffer = LogBuffer::default();
    buffer.set_limit(0);
    append(&buffer, &mut vec![record(0); LEAST_LIMIT_BYTES / RECORD_BYTES + 1]);
    let mut waiting = std::pin::pin!(buffer.wait_for_room());
    assert_eq!(futures::poll!(waiting.as_mut()), Poll::Pending);
    buffer.set_limit(u64::MAX);
    assert_eq!(futures::poll!(waiting.as_mut()), Poll::Ready(()));
}

#[test]
fn what_is_told_of_the_disk_ends_one_wait_and_no_more() {
    let buffer = LogBuffer::default();
    buffer.tell_of_disk(DiskRoom::Short);
    let (taken, records) = take(&buffer, Wait::ForAny);
    assert_eq!((taken, records.len()), (Taken::Open, 0));
    // Whoever does not ask for it waits all the same.
    let (begun, pause) = (std::time::Instant::now(), Duration::from_millis(20));
    take(&buffer, Wait::AtMost(pause));
    assert!(begun.elapsed() >= pause);
    assert_eq!(buffer.take_disk_news(), Some(DiskRoom::Short));
    assert_eq!(buffer.take_disk_news(), None);
}
