//! When a message was published, in the first 8 octets of its body.
//!
//! ```text
//!   63 .. 48   the run, so that messages of another one are not taken for ours
//!   47 ..  0   nanoseconds of the run's stopwatch, modulo 2^48 (78 hours)
//! ```

/// Octets of a stamp.
pub(super) const LENGTH: usize = 8;
const BITS: u32 = 48;
const MASK: u64 = (1 << BITS) - 1;

/// Writes and reads the stamps of one run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamps {
    run: u16,
}

impl Stamps {
    pub(super) fn new(run: u16) -> Self {
        Stamps { run }
    }

    /// The stamp of this time.
    #[inline]
    pub(super) fn at(self, now_ns: u64) -> [u8; LENGTH] {
        (u64::from(self.run) << BITS | (now_ns & MASK)).to_be_bytes()
    }

    /// How long ago this stamp was written, in nanoseconds; none when it is of another run, or none
    /// at all.
    #[inline]
    pub(super) fn age_ns(self, stamp: u64, now_ns: u64) -> Option<u64> {
        (stamp >> BITS == u64::from(self.run)).then_some(now_ns.wrapping_sub(stamp) & MASK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_tells_its_age() {
        let stamps = Stamps::new(0xbeef);
        let stamp = u64::from_be_bytes(stamps.at(1_000));
        assert_eq!(stamps.age_ns(stamp, 1_250), Some(250));
        assert_eq!(Stamps::new(0xbeee).age_ns(stamp, 1_250), None);
        let before_wrap = u64::from_be_bytes(stamps.at(MASK));
        assert_eq!(stamps.age_ns(before_wrap, MASK + 3), Some(3));
    }
}
