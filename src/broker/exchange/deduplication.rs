//! The exchange type `x-message-deduplication`: everything that is bound gets a message, unless one
//! of the same `x-deduplication-header` came before.
//!
//! rabbitmq: a community plugin. What it has seen is forgotten after `x-cache-ttl`, a message's
//! own `x-cache-ttl` first, and when more than `x-cache-size` have come since. Here also when what came since
//! takes more than [`limits::DEDUPLICATION_BYTES`].

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashMap;
use leveret_codec::{Table, Value};

use crate::broker::error::{Checked, Fault};
use crate::broker::limits;
use crate::broker::time::Time;

const HEADER: &[u8] = b"x-deduplication-header";
const SIZE: &[u8] = b"x-cache-size";
const TTL: &[u8] = b"x-cache-ttl";
const PERSISTENCE: &[u8] = b"x-cache-persistence";

/// What has been seen lately.
///
/// invariant: `order` has every key of `seen` with the time it is remembered until, the oldest first,
/// and perhaps entries of before; those are swept, so that `size` bounds both. A key is the same in both.
#[derive(Debug)]
pub(super) struct Seen {
    size: usize,
    ttl_ms: Option<u64>,
    seen: HashMap<Arc<[u8]>, Time>,
    order: VecDeque<(Arc<[u8]>, Time)>,
    /// What the entries of `order` take, each alone, in bytes.
    bytes: usize,
}

/// What a key takes beside its own bytes, in bytes.
const KEY_BYTES: usize = 96;

impl Seen {
    /// Reads what an exchange's arguments say of it.
    pub(super) fn new(arguments: Table<'_>) -> Checked<Self> {
        let size = arguments.find(SIZE).and_then(positive).ok_or(Fault::CacheSize)?;
        let ttl_ms = match arguments.find(TTL) {
            None => None,
            Some(value) => Some(positive(value).ok_or(Fault::CacheTtl)?),
        };
        match arguments.find(PERSISTENCE) {
            None | Some(Value::LongStr(b"memory" | b"disk")) => {}
            Some(_) => return Err(Fault::CachePersistence.into()),
        }
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        Ok(Seen { size, ttl_ms, seen: HashMap::new(), order: VecDeque::new(), bytes: 0 })
    }

    /// About how much memory it takes, in bytes.
    pub(super) fn weight(&self) -> u64 {
        self.bytes as u64
    }

    /// Whether a message of these headers is the first of its kind. It is remembered.
    pub(super) fn is_new(&mut self, now: Time, headers: Option<Table<'_>>) -> bool {
        let Some(headers) = headers else { return true };
        let Some(entry) = headers.iter().find(|entry| entry.name.as_bytes() == HEADER) else {
            return true;
        };
        if entry.value == Value::Void {
            return true;
        }
        // why: type and value as they are on the wire; the name before them is always the same.
        let key = entry.raw();
        if self.seen.get(key).is_some_and(|until| *until > now) {
            return false;
        }
        let ttl_ms = headers.find(TTL).and_then(positive).or(self.ttl_ms);
        let until = ttl_ms.map_or(Time::NEVER, |ttl_ms| now.plus_millis(ttl_ms));
        // why: what is known and forgotten only now keeps its place in memory.
        let known = self.seen.get_key_value(key).map(|(key, _)| key.clone());
        let key = known.unwrap_or_else(|| key.into());
        self.bytes += KEY_BYTES + key.len();
        self.seen.insert(key.clone(), until);
        self.order.push_back((key, until));
        self.forget_oldest();
        true
    }

    /// Forgets a few of those that came first, more than one that has come.
    pub(super) fn forget_some(&mut self) {
        for _ in 0..4 {
            let Some((oldest, until)) = self.order.pop_front() else { return };
            self.forget(&oldest, until);
        }
    }

    fn forget(&mut self, oldest: &Arc<[u8]>, until: Time) {
        self.bytes -= KEY_BYTES + oldest.len();
        if self.seen.get(oldest) == Some(&until) {
            self.seen.remove(oldest);
        }
    }

    fn forget_oldest(&mut self) {
        while (self.seen.len() > self.size || self.bytes > limits::DEDUPLICATION_BYTES)
            && let Some((oldest, until)) = self.order.pop_front()
        {
            self.forget(&oldest, until);
        }
        if self.order.len() / 2 > self.size {
            let seen = &self.seen;
            self.order.retain(|(key, until)| seen.get(key) == Some(until));
            self.bytes = self.order.iter().map(|(key, _)| KEY_BYTES + key.len()).sum();
        }
    }
}

fn positive(value: Value<'_>) -> Option<u64> {
    let number = match value {
        Value::LongStr(text) => std::str::from_utf8(text).ok()?.parse().ok()?,
        value => value.as_i64()?,
    };
    u64::try_from(number).ok().filter(|number| *number > 0)
}

#[cfg(test)]
mod tests {
    use leveret_codec::TableBuf;
    use leveret_codec::table::TableBuilder;

    use super::*;

    fn table(entries: &[(&[u8], Value<'_>)]) -> TableBuf {
        let mut table = TableBuilder::default();
        for (name, value) in entries {
            table.push(name, value);
        }
        table.finish()
    }

    fn is_new(seen: &mut Seen, at_ms: u64, id: i32) -> bool {
        let headers = table(&[(HEADER, Value::I32(id))]);
        seen.is_new(Time::from_millis(at_ms), Some(headers.as_table()))
    }

    #[test]
    fn the_second_of_its_kind_is_known_until_its_time_is_up() {
        let arguments = table(&[(SIZE, Value::I64(10)), (TTL, Value::I64(100))]);
        let mut seen = Seen::new(arguments.as_table()).expect("good arguments");
        assert!(is_new(&mut seen, 0, 1));
        assert!(!is_new(&mut seen, 99, 1));
        assert!(is_new(&mut seen, 100, 1));
        assert!(!is_new(&mut seen, 199, 1));
        assert!(seen.is_new(Time::EPOCH, None));
    }

    #[test]
    fn no_more_than_its_size_is_remembered() {
        let arguments = table(&[(SIZE, Value::LongStr(b"2"))]);
        let mut seen = Seen::new(arguments.as_table()).expect("good arguments");
        assert!((0..100).all(|id| is_new(&mut seen, 0, id)));
        assert_eq!(seen.seen.len(), 2);
        assert!(seen.order.len() <= 5, "{} in order", seen.order.len());
        assert!(!is_new(&mut seen, 0, 99));
        assert!(is_new(&mut seen, 0, 97));
    }

    #[test]
    fn what_is_remembered_has_a_bound_in_bytes() {
        let arguments = table(&[(SIZE, Value::I64(i64::MAX))]);
        let mut seen = Seen::new(arguments.as_table()).expect("good arguments");
        let id = |number: u32| [&number.to_be_bytes()[..], &[0; 100_000]].concat();
        let is_new = |seen: &mut Seen, number: u32| {
            let headers = table(&[(HEADER, Value::LongStr(&id(number)))]);
            seen.is_new(Time::EPOCH, Some(headers.as_table()))
        };
        let fit = (limits::DEDUPLICATION_BYTES / 101_000) as u32;
        assert!((0..1000).all(|number| is_new(&mut seen, number)));
        assert!(seen.weight() <= limits::DEDUPLICATION_BYTES as u64);
        assert!(!is_new(&mut seen, 1000 - fit), "the latest are known");
        assert!(is_new(&mut seen, 0), "the oldest are forgotten");
    }

    #[test]
    fn a_size_is_needed() {
        let fault = Seen::new(Table::EMPTY).expect_err("refused");
        assert_eq!(*fault, Fault::CacheSize);
    }
}
