//! Messages as they go over the wire, encoded once and written over and over.
//!
//! All messages of a batch have the same length, so that the one with a number, and the stamp in
//! its body, are found by multiplication. So is its routing key, which is written like the stamp where
//! there are too many keys to encode a message with each.

use std::ops::Range;

use leveret_codec::method::basic;
use leveret_codec::{Properties, ShortStr, encode, frame};

use super::connection::CHANNEL;
use super::options::Options;
use super::stamp;

/// What one write should have at least, in octets: it makes a system call cheap.
const WRITE: usize = 64 * 1024;
/// What a batch may take, in octets, for the sake of many keys; each producer has one.
const LARGEST: usize = 4 * 1024 * 1024;
/// The properties of a persistent message: delivery-mode 2 alone.
const PERSISTENT: &[u8] = &[0x10, 0, 2];
/// The octets of basic.publish before its exchange: class, method, a reserved one.
const PUBLISH_HEAD: usize = 6;

/// Messages back to back.
pub(super) struct Batch {
    octets: Vec<u8>,
    /// Octets of one message.
    stride: usize,
    messages: usize,
    /// How many messages make a write.
    per_write: usize,
    /// Where in a message its stamp is, if its body has room for one.
    stamp_at: Option<usize>,
    /// The keys that go into the messages as they are taken; none when they have them already.
    keys: Option<Keys>,
    /// The message that is next.
    next: usize,
}

/// Routing keys of one length, back to back, to be taken in turn.
struct Keys {
    octets: Vec<u8>,
    length: usize,
    /// Where in a message its key is.
    at: usize,
    next: usize,
}

impl Keys {
    fn take(&mut self) -> &[u8] {
        let key = &self.octets[self.next * self.length..][..self.length];
        self.next = (self.next + 1) % (self.octets.len() / self.length);
        key
    }
}

impl Batch {
    /// The messages of a producer, with its routing keys in turn, which have one length.
    pub(super) fn new(options: &Options, producer: usize, frame_max: u32) -> Self {
        let exchange = options.exchange().map(|(name, _)| name).unwrap_or_default();
        let keys = options.routing_keys(producer);
        let mut octets = Vec::new();
        let encode = |octets: &mut Vec<u8>, number: usize| {
            let publish = basic::Publish {
                exchange: ShortStr::truncated(exchange.as_bytes()),
                routing_key: ShortStr::truncated(keys[number % keys.len()].as_bytes()),
                mandatory: options.mandatory,
                ..Default::default()
            };
            let properties =
                if options.persistent { PERSISTENT } else { Properties::EMPTY.as_bytes() };
            encode::method(octets, CHANNEL, &publish);
            encode::content_header(octets, CHANNEL, options.size as u64, properties);
            let before_body = octets.len();
            encode::body(octets, CHANNEL, &vec![b'x'; options.size], frame_max);
            before_body + frame::HEAD
        };
        let body_at = encode(&mut octets, 0);
        let stride = octets.len();
        let per_write = (WRITE / stride).max(1);
        // why: each key comes as often as any other one when they fit a whole number of times.
        let in_turn = per_write.next_multiple_of(keys.len());
        let fits = in_turn <= LARGEST / stride;
        let messages = if fits || keys.len() == 1 { in_turn } else { per_write };
        octets.reserve_exact(stride * (messages - 1));
        for number in 1..messages {
            encode(&mut octets, number);
        }
        let stamp_at = (options.size >= stamp::LENGTH).then_some(body_at);
        let keys = (messages < in_turn).then(|| Keys {
            octets: keys.concat().into_bytes(),
            length: keys[0].len(),
            at: frame::HEAD + PUBLISH_HEAD + 1 + exchange.len() + 1,
            next: 0,
        });
        Batch { octets, stride, messages, per_write, stamp_at, keys, next: 0 }
    }

    /// How many messages make a write.
    pub(super) fn per_write(&self) -> usize {
        self.per_write
    }

    /// The next messages, this many at most, stamped: where they are, and how many.
    pub(super) fn take(
        &mut self,
        at_most: usize,
        stamp: [u8; stamp::LENGTH],
    ) -> (Range<usize>, u64) {
        let first = self.next;
        let count = at_most.min(self.messages - first);
        if self.stamp_at.is_some() || self.keys.is_some() {
            let messages = self.octets[first * self.stride..].chunks_exact_mut(self.stride);
            for message in messages.take(count) {
                if let Some(at) = self.stamp_at {
                    message[at..at + stamp::LENGTH].copy_from_slice(&stamp);
                }
                if let Some(keys) = &mut self.keys {
                    let (at, length) = (keys.at, keys.length);
                    message[at..at + length].copy_from_slice(keys.take());
                }
            }
        }
        self.next = (first + count) % self.messages;
        (first * self.stride..(first + count) * self.stride, count as u64)
    }

    /// Octets of the batch.
    pub(super) fn octets(&self, range: Range<usize>) -> &[u8] {
        &self.octets[range]
    }
}

#[cfg(test)]
mod tests {
    use leveret_codec::{Decoder, Method};

    use super::super::options::Routing;
    use super::*;

    /// Routing keys and bodies.
    fn messages(octets: &[u8]) -> Vec<(String, Vec<u8>)> {
        let (decoder, mut rest, mut found) = (Decoder::new(4096), octets, Vec::new());
        while let Some((frame, length)) = decoder.decode(rest).expect("these are frames") {
            rest = &rest[length..];
            match frame.kind {
                frame::METHOD => {
                    let Ok(Method::BasicPublish(publish)) = Method::decode(frame.payload) else {
                        panic!("{frame:?}")
                    };
                    found.push((publish.routing_key.to_string(), Vec::new()));
                }
                frame::BODY => {
                    found.last_mut().expect("a method came").1.extend(frame.payload);
                }
                _ => {}
            }
        }
        found
    }

    #[test]
    fn each_message_has_its_stamp_and_keys_come_in_turn() {
        let options = Options { queues: 3, size: 5000, ..Options::default() };
        let mut batch = Batch::new(&options, 0, 4096);
        assert_eq!(batch.messages % 3, 0);
        let (range, count) = batch.take(4, *b"deadbeef");
        assert_eq!(count, 4);
        let found = messages(batch.octets(range));
        let keys: Vec<_> = found.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["leveret-perf-1", "leveret-perf-2", "leveret-perf-3", "leveret-perf-1"]);
        for (_, body) in &found {
            assert_eq!((body.len(), &body[..8], &body[8..9]), (5000, &b"deadbeef"[..], &b"x"[..]));
        }
        let (range, _) = batch.take(1, *b"livebeef");
        assert_eq!(messages(batch.octets(range))[0].0, "leveret-perf-2");
    }

    #[test]
    fn a_batch_begins_again_at_its_end() {
        let options = Options { size: 7, ..Options::default() };
        let mut batch = Batch::new(&options, 0, 4096);
        let all = batch.messages;
        assert_eq!(batch.take(all - 1, [0; 8]).1, all as u64 - 1);
        assert_eq!(batch.take(10, [0; 8]).1, 1);
        let (range, _) = batch.take(1, [0; 8]);
        assert_eq!(range.start, 0);
        assert_eq!(messages(batch.octets(range))[0].1, b"xxxxxxx", "there is no room for a stamp");
    }

    #[test]
    fn many_keys_make_a_larger_batch() {
        let routing = Routing::Topic { bindings: 10_000 };
        let batch = Batch::new(&Options { routing, ..Options::default() }, 0, 4096);
        assert_eq!(batch.messages, 10_000);
        assert!(batch.per_write() * batch.stride <= WRITE);
    }

    #[test]
    fn keys_that_do_not_fit_with_their_bodies_come_in_turn_all_the_same() {
        let exchange = Routing::Exchange {
            name: "orders".to_owned(),
            kind: "direct".to_owned(),
            routing_key: None,
            binding_key: None,
        };
        for routing in [Routing::Default, exchange] {
            let options = Options { queues: 100, size: 100_000, routing, ..Options::default() };
            let mut batch = Batch::new(&options, 0, 4096);
            assert!(batch.octets.len() <= LARGEST);
            for number in 0..250 {
                let (range, count) = batch.take(1, *b"deadbeef");
                assert_eq!(count, 1);
                let found = messages(batch.octets(range));
                let [(key, body)] = &found[..] else { panic!("{}", found.len()) };
                assert_eq!(*key, format!("leveret-perf-{:03}", number % 100 + 1));
                assert_eq!((body.len(), &body[..8]), (100_000, &b"deadbeef"[..]));
            }
        }
    }
}
