//! What messages in queues take in memory, summed up: each as much as it takes alone, and how much of that
//! is counted more than once.
//!
//! A fan-out puts one message into many queues. Each queue counts all of it, since that is what it could
//! page out; the virtual host takes off what is counted more than once, so that its sum is what is there,
//! also when all queues but the last have lost it.

use super::message::Message;

/// What a message in a queue occupies beside its own octets: its entry and the allocation's own.
const ENTRY_OCTETS: u64 = 96;

/// About how much memory a message in a queue takes, in octets.
pub fn weight_of(message: &Message) -> u64 {
    ENTRY_OCTETS + message.as_bytes().len() as u64
}

/// The sum over some messages.
#[derive(Debug, Default)]
pub struct Weight {
    octets: u64,
    repeated: i64,
}

impl Weight {
    /// Counts one more.
    pub fn add(&mut self, message: &Message) {
        self.octets += weight_of(message);
        self.repeated += message.note_counted() as i64;
    }

    /// Counts one less.
    pub fn remove(&mut self, message: &Message) {
        self.octets -= weight_of(message);
        self.repeated -= message.note_uncounted() as i64;
    }

    /// What they take, each alone, in octets.
    pub fn octets(&self) -> u64 {
        self.octets
    }

    /// How many bytes more are counted twice, by whatever sums, than when they were taken last.
    pub fn repeated(&self) -> i64 {
        self.repeated
    }

    /// The same, and they are known now.
    pub fn take_repeated(&mut self) -> i64 {
        std::mem::take(&mut self.repeated)
    }
}

#[cfg(test)]
mod tests {
    use leveret_codec::{Properties, ShortStr};

    use super::*;

    fn message() -> Message {
        Message::new(ShortStr::EMPTY, ShortStr::EMPTY, Properties::EMPTY, &[0; 1000])
    }

    #[test]
    fn what_several_hold_is_counted_more_than_once_until_one_holds_it_alone() {
        let (shared, length) = (message(), message().as_bytes().len() as i64);
        shared.share();
        let mut weights = [(); 3].map(|()| Weight::default());
        let mut repeated = Vec::new();
        for weight in &mut weights {
            weight.add(&shared.clone());
            repeated.push(weight.take_repeated());
        }
        for weight in &mut weights {
            weight.remove(&shared);
            repeated.push(weight.take_repeated());
            assert_eq!(weight.octets(), 0);
        }
        assert_eq!(repeated, [0, length, length, -length, -length, 0]);
        weights[0].add(&shared);
        assert_eq!(weights[0].take_repeated(), 0, "it is held by one again");
    }

    #[test]
    fn what_is_not_shared_is_not_repeated() {
        let (one, mut weight) = (message(), Weight::default());
        weight.add(&one);
        weight.add(&one);
        assert_eq!((weight.octets(), weight.take_repeated()), (2 * weight_of(&one), 0));
    }
}
