//! How many allocations a message costs on its way through codec and core: one, its own, and a second
//! where it is acknowledged alone.
//!
//! A read full of publishes is decoded, applied, and the deliveries are encoded, by a [`Rig`] whose
//! lists have the size that they keep. Counted is every block that is asked for meanwhile, a list that
//! grows included. No time is measured, and a run counts what the last one did, so that the bounds are
//! what was counted. Who lowers a count lowers its bound.
//!
//! When a count fails, `LEVERET_ALLOCATIONS=FILE` writes down where each block came from, to be read
//! with dhat's viewer.

use std::path::PathBuf;

use leveret::broker::message::Message;
use leveret_bench::{PERSISTENT, Rig, publishes, short};
use leveret_codec::method::{basic, confirm};
use leveret_codec::{Properties, Table};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

/// Bodies, in octets.
const SIZES: [usize; 2] = [16, 1024];

/// Messages in a read.
const MESSAGES: u64 = 1_000;
/// Reads that are counted.
const READS: u64 = 10;
/// Reads before that, in which lists grow.
const READS_TO_WARM_UP: u64 = 10;

/// What a message goes through, and what that costs.
struct Way {
    name: &'static str,
    properties: Properties<'static>,
    confirms: bool,
    /// Messages with each basic.ack; with none nothing is to be acknowledged.
    ack_each: Option<u64>,
    /// Allocations a message.
    a_message: u64,
    /// What comes to that for a whole read, with bodies of each of [`SIZES`].
    others_a_read: [u64; 2],
}

/// One test for all: the profiler counts for the process, and tests of one file run at once.
#[test]
fn a_message_is_one_allocation() {
    // A thousand of the larger bodies are more than an outbox holds, so that the consumer is stopped
    // and set going again: three lists, none of which is kept.
    let transient = Way {
        name: "transient",
        properties: Properties::EMPTY,
        confirms: false,
        ack_each: None,
        a_message: 1,
        others_a_read: [0, 3],
    };
    // The second is the list of the consumers that an acknowledgement sets going.
    let acknowledged = Way {
        name: "transient, acknowledged one by one",
        ack_each: Some(1),
        a_message: 2,
        ..transient
    };
    // Each basic.ack takes that list, and one of the deliveries that it ends, which grows six times.
    let by_the_hundred = Way {
        name: "transient, acknowledged by the hundred",
        ack_each: Some(100),
        others_a_read: [70, 73],
        ..transient
    };
    // How far a queue has delivered is collected at the end of each batch.
    let persistent = Way {
        name: "persistent, acknowledged by the hundred",
        properties: PERSISTENT,
        others_a_read: [71, 75],
        ..by_the_hundred
    };
    // The confirm, its frames, and the list of channels that wait for a sync.
    let confirmed = Way {
        name: "persistent, confirmed, acknowledged by the hundred",
        confirms: true,
        others_a_read: [74, 78],
        ..persistent
    };
    let profiler = profiler();
    for way in [transient, acknowledged, by_the_hundred, persistent, confirmed] {
        for (size, others) in SIZES.into_iter().zip(way.others_a_read) {
            let counted = way.count(size);
            let bound = READS * (MESSAGES * way.a_message + others);
            assert!(
                counted <= bound,
                "{}, {size} octets: {counted} allocations for {} messages, and not {bound}",
                way.name,
                READS * MESSAGES
            );
        }
    }
    drop(profiler);
}

impl Way {
    /// The blocks that are asked for while [`READS`] reads pass through.
    fn count(&self, size: usize) -> u64 {
        let mut rig = Rig::new();
        rig.declare("hares", true, Table::EMPTY);
        rig.consume("hares", self.ack_each.is_none());
        if self.confirms {
            rig.call(&confirm::Select { nowait: false });
        }
        let body = vec![b'x'; size];
        let message = Message::new(short(""), short("hares"), self.properties, &body);
        let read = publishes(&message, MESSAGES as usize);
        for _ in 0..READS_TO_WARM_UP {
            self.pass_through(&mut rig, &read);
        }
        let before = dhat::HeapStats::get().total_blocks;
        for _ in 0..READS {
            self.pass_through(&mut rig, &read);
        }
        dhat::HeapStats::get().total_blocks - before
    }

    fn pass_through(&self, rig: &mut Rig, read: &[u8]) {
        rig.input(read);
        let batch = rig.write();
        assert_eq!(batch.messages, MESSAGES);
        let Some(each) = self.ack_each else { return };
        let mut delivery_tag = batch.delivery_tag - MESSAGES;
        while delivery_tag < batch.delivery_tag {
            delivery_tag += each;
            rig.method(basic::Ack { delivery_tag, multiple: each > 1 });
        }
        rig.write();
    }
}

fn profiler() -> dhat::Profiler {
    match std::env::var_os("LEVERET_ALLOCATIONS") {
        Some(file) => dhat::Profiler::builder().file_name(PathBuf::from(file)).build(),
        None => dhat::Profiler::builder().testing().build(),
    }
}
