//! The exchange type `x-consistent-hash`: each message goes to one of the destinations, and those
//! with the same routing key to the same.
//!
//! rabbitmq: a plugin that comes with it. The binding key is the weight of the destination: how
//! many buckets it gets. Which bucket a key falls into is ours to choose; it stays the same as long
//! as the bindings do, and few keys move when they change.

use std::collections::BTreeMap;

use hashbrown::HashMap;
use leveret_codec::{PropertyFields, ShortString, Table, Value};

use super::Destination;
use crate::broker::error::{Checked, Fault};

/// What is hashed of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum HashOn {
    #[default]
    RoutingKey,
    Header(ShortString),
    MessageId,
    CorrelationId,
    Timestamp,
}

/// Destinations and their shares.
#[derive(Debug, Default)]
pub(super) struct Ring {
    hash_on: HashOn,
    /// Destinations with their weights, in the order they were bound.
    shares: BTreeMap<u64, (Destination, u32)>,
    /// Which of them each destination has.
    places: HashMap<Destination, u64>,
    last_place: u64,
    buckets: u64,
}

impl Ring {
    /// Reads what an exchange's arguments say of it.
    pub(super) fn new(arguments: Table<'_>) -> Checked<Self> {
        let text = |name: &[u8]| arguments.find(name).and_then(|value| value.as_bytes());
        let hash_on = match (text(b"hash-header"), text(b"hash-property")) {
            (Some(_), Some(_)) => {
                return Err(Fault::HashOnTwo.into());
            }
            (Some(header), None) => HashOn::Header(ShortString::truncated(header)),
            (None, Some(b"message_id")) => HashOn::MessageId,
            (None, Some(b"correlation_id")) => HashOn::CorrelationId,
            (None, Some(b"timestamp")) => HashOn::Timestamp,
            (None, Some(other)) => {
                let other = String::from_utf8_lossy(other).into_owned();
                return Err(Fault::HashProperty(other).into());
            }
            (None, None) => HashOn::RoutingKey,
        };
        Ok(Ring { hash_on, ..Ring::default() })
    }

    /// The weight that a binding key states.
    pub(super) fn weight(key: &[u8]) -> Checked<u32> {
        let number = std::str::from_utf8(key).ok().and_then(|key| key.parse::<i64>().ok());
        match number {
            None => Err(Fault::InvalidWeight { key: ShortString::truncated(key) }.into()),
            Some(..=0) => Err(Fault::NoWeight.into()),
            Some(weight) => Ok(u32::try_from(weight).unwrap_or(u32::MAX)),
        }
    }

    /// Gives a destination its share. One that has a share keeps it.
    pub(super) fn add(&mut self, destination: Destination, weight: u32) {
        if !self.places.contains_key(&destination) {
            self.last_place += 1;
            self.places.insert(destination, self.last_place);
            self.shares.insert(self.last_place, (destination, weight));
            self.buckets += u64::from(weight);
        }
    }

    /// The weight of a destination that has a share.
    pub(super) fn weight_of(&self, destination: Destination) -> Option<u32> {
        let (_, weight) = self.shares.get(self.places.get(&destination)?)?;
        Some(*weight)
    }

    /// Gives a destination that has a share one of another weight, in its place.
    pub(super) fn add_again(&mut self, destination: Destination, weight: u32) {
        let share = self.places.get(&destination).and_then(|place| self.shares.get_mut(place));
        let Some((_, before)) = share else { return };
        self.buckets = self.buckets - u64::from(*before) + u64::from(weight);
        *before = weight;
    }

    /// Takes a destination's share back.
    pub(super) fn remove(&mut self, destination: Destination) {
        let place = self.places.remove(&destination);
        if let Some((_, weight)) = place.and_then(|place| self.shares.remove(&place)) {
            self.buckets -= u64::from(weight);
        }
    }

    /// How many destinations have a share.
    pub(super) fn len(&self) -> usize {
        self.shares.len()
    }

    /// The destination of a message.
    pub(super) fn choose(&self, key: &[u8], fields: &PropertyFields<'_>) -> Option<Destination> {
        let hash = match &self.hash_on {
            HashOn::RoutingKey => hash(key),
            HashOn::Header(name) => {
                match fields.headers.and_then(|headers| headers.find(name.as_bytes())) {
                    Some(Value::LongStr(text)) => hash(text),
                    Some(value) => hash(format!("{value:?}").as_bytes()),
                    None => hash(b""),
                }
            }
            HashOn::MessageId => hash(fields.message_id.unwrap_or_default().as_bytes()),
            HashOn::CorrelationId => hash(fields.correlation_id.unwrap_or_default().as_bytes()),
            HashOn::Timestamp => hash(&fields.timestamp.unwrap_or_default().to_be_bytes()),
        };
        let mut bucket = jump(hash, self.buckets)?;
        for (destination, weight) in self.shares.values() {
            match bucket.checked_sub(u64::from(*weight)) {
                Some(rest) => bucket = rest,
                None => return Some(*destination),
            }
        }
        None
    }
}

/// Two checksums, one of them of the octets in another order, spread over 64 bits.
fn hash(octets: &[u8]) -> u64 {
    let forward = u64::from(crc32fast::hash(octets));
    let mut hasher = crc32fast::Hasher::new_with_initial(!(octets.len() as u32));
    hasher.update(octets);
    let other = u64::from(hasher.finalize());
    // The finalizer of MurmurHash3: near keys must not fall into near buckets.
    let mut mixed = forward << 32 | other;
    mixed = (mixed ^ mixed >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed = (mixed ^ mixed >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    mixed ^ mixed >> 33
}

/// Jump consistent hashing (Lamping and Veach, 2014): a bucket of so many, and when there is one
/// more, only its fair share of keys moves.
fn jump(mut hash: u64, buckets: u64) -> Option<u64> {
    let mut bucket = None;
    let mut next = 0;
    while next < buckets {
        bucket = Some(next);
        hash = hash.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        let step = (1u64 << 31) as f64 / ((hash >> 33) + 1) as f64;
        next = ((next + 1) as f64 * step) as u64;
    }
    bucket
}

#[cfg(test)]
mod tests {
    use leveret_codec::Table;

    use super::*;
    use crate::broker::ids::QueueId;

    fn destinations(count: usize) -> Vec<Destination> {
        (0..count).map(|index| Destination::Queue(QueueId::numbered(index as u32))).collect()
    }

    fn choose(ring: &Ring, key: &str) -> Option<Destination> {
        ring.choose(key.as_bytes(), &PropertyFields::default())
    }

    #[test]
    fn shares_follow_the_weights() {
        let to = destinations(3);
        let mut ring = Ring::new(Table::EMPTY).expect("no arguments");
        for (destination, weight) in to.iter().zip([1, 1, 2]) {
            ring.add(*destination, weight);
        }
        let mut counts = [0; 3];
        for key in 0..4000 {
            let chosen = choose(&ring, &key.to_string());
            let index = to.iter().position(|it| Some(*it) == chosen).expect("one of them");
            counts[index] += 1;
        }
        let expected = [1000, 1000, 2000];
        for (count, expected) in counts.iter().zip(expected) {
            assert!(i32::abs(count - expected) < 150, "{counts:?}");
        }
    }

    #[test]
    fn a_new_destination_takes_keys_from_others_and_moves_none_between_them() {
        let to = destinations(4);
        let mut ring = Ring::new(Table::EMPTY).expect("no arguments");
        to[..3].iter().for_each(|destination| ring.add(*destination, 1));
        let before: Vec<_> = (0..1000).map(|key| choose(&ring, &key.to_string())).collect();
        ring.add(to[3], 1);
        for (key, before) in before.into_iter().enumerate() {
            let after = choose(&ring, &key.to_string());
            assert!(after == before || after == Some(to[3]), "key {key}");
        }
    }

    #[test]
    fn a_weight_is_a_positive_integer() {
        let text = |key: &[u8]| Ring::weight(key).expect_err("refused").to_string();
        assert_eq!(text(b"x"), "The binding key must be an integer: <<\"x\">>");
        assert_eq!(text(b"0"), "The binding key must be greater than 0");
        assert_eq!(Ring::weight(b"7"), Ok(7));
    }

    #[test]
    fn an_empty_ring_chooses_nothing() {
        let ring = Ring::new(Table::EMPTY).expect("no arguments");
        assert_eq!(choose(&ring, "a"), None);
    }
}
