//! The exchange type `x-message-deduplication`: everything that is bound gets a message, unless one
//! of the same `x-deduplication-header` came before.
//!
//! rabbitmq: a community plugin. What it has seen is forgotten after `x-cache-ttl`, a message's
//! own `x-cache-ttl` first, and when more than `x-cache-size` have come since.

use std::collections::VecDeque;

use hashbrown::HashMap;
use leveret_codec::{Table, Value};

use crate::broker::error::{Checked, Fault};
use crate::broker::time::Time;

const HEADER: &[u8] = b"x-deduplication-header";
const SIZE: &[u8] = b"x-cache-size";
const TTL: &[u8] = b"x-cache-ttl";
const PERSISTENCE: &[u8] = b"x-cache-persistence";

/// What has been seen lately.
///
/// invariant: `order` has every key of `seen` with the time it is remembered until, the oldest first,
/// and perhaps entries of before; those are swept, so that `size` bounds both.
#[derive(Debug)]
pub(super) struct Seen {
    size: usize,
    ttl_ms: Option<u64>,
    seen: HashMap<Vec<u8>, Time>,
    order: VecDeque<(Vec<u8>, Time)>,
}

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
        Ok(Seen { size, ttl_ms, seen: HashMap::new(), order: VecDeque::new() })
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
        self.seen.insert(key.to_vec(), until);
        self.order.push_back((key.to_vec(), until));
        self.forget_oldest();
        true
    }

    fn forget_oldest(&mut self) {
        while self.seen.len() > self.size
            && let Some((oldest, until)) = self.order.pop_front()
        {
            if self.seen.get(&oldest) == Some(&until) {
                self.seen.remove(&oldest);
            }
        }
        if self.order.len() / 2 > self.size {
            let seen = &self.seen;
            self.order.retain(|(key, until)| seen.get(key) == Some(until));
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
    fn a_size_is_needed() {
        let fault = Seen::new(Table::EMPTY).expect_err("refused");
        assert_eq!(*fault, Fault::CacheSize);
    }
}
