//! From octets to frames: the protocol header, frames out of a stream, content headers.
//!
//! Methods are decoded by [`Method::decode`](crate::Method::decode), properties by
//! [`Properties::parse`](crate::Properties::parse): what is wrong with them is answered in other
//! ways than a broken frame, so the caller takes one step at a time.
//!
//! A decoder holds no octets. The caller keeps the buffer and says what is in it:
//!
//! ```text
//!   buffer   ┤ frame ├┤ frame ├┤ fra
//!            └ decode: frame, n octets
//!                      └ decode: frame, n octets
//!                                └ decode: None, read more behind it
//! ```

use nom::Parser;
use nom::combinator::{map, rest};

use crate::error::FrameError;
use crate::frame::{self, Frame};
use crate::wire;

/// The first eight octets of a connection, or `None` while fewer have come.
///
/// Compare them with [`frame::PROTOCOL_HEADER`].
pub fn protocol_header(input: &[u8]) -> Option<[u8; 8]> {
    input.first_chunk().copied()
}

/// Takes frames from the front of a stream.
#[derive(Clone, Copy, Debug)]
pub struct Decoder {
    frame_max: u32,
}

impl Decoder {
    /// A decoder for frames of `frame_max` octets, their overhead counted. 0 is no limit.
    ///
    /// Until `connection.tune-ok` has come, it is [`frame::MIN_SIZE`].
    pub fn new(frame_max: u32) -> Self {
        Self { frame_max }
    }

    /// Changes the limit, for frames that have not been decoded yet.
    pub fn set_frame_max(&mut self, frame_max: u32) {
        self.frame_max = frame_max;
    }

    /// The frame at the start of `input` and how many octets it takes, or `None` when more must be
    /// read first.
    ///
    /// A frame that is too large is an error as soon as its head is there, before any of its
    /// payload needs to be kept.
    #[inline]
    pub fn decode<'a>(
        &self,
        input: &'a [u8],
    ) -> Result<Option<(Frame<'a>, usize)>, FrameError<'a>> {
        let Ok((after_head, Head { kind, channel, size })) = head(input) else { return Ok(None) };
        if size > self.max_tolerated_payload() {
            let limit = frame::max_payload(self.frame_max);
            return Err(FrameError::TooLarge { kind, channel, size, limit });
        }
        let Some((payload, after_payload)) = after_head.split_at_checked(size as usize) else {
            return Ok(None);
        };
        match after_payload.first() {
            Some(&frame::END) => {
                let length = payload.len() + frame::OVERHEAD;
                Ok(Some((Frame { kind, channel, payload }, length)))
            }
            Some(&end) => Err(FrameError::BadEnd { kind, channel, payload, end }),
            None => Ok(None),
        }
    }

    /// rabbitmq: a payload may have `frame_max` octets, 8 more than the specification gives it,
    /// which forgives a client that counts the payload alone.
    #[inline]
    fn max_tolerated_payload(&self) -> u32 {
        if self.frame_max == 0 { u32::MAX } else { self.frame_max }
    }
}

/// What comes before a payload.
struct Head {
    kind: u8,
    channel: u16,
    size: u32,
}

#[inline]
fn head(input: &[u8]) -> wire::Parsed<'_, Head> {
    map(wire::array::<{ frame::HEAD }>, |[kind, c0, c1, s0, s1, s2, s3]| Head {
        kind,
        channel: u16::from_be_bytes([c0, c1]),
        size: u32::from_be_bytes([s0, s1, s2, s3]),
    })
    .parse(input)
}

/// The payload of a header frame: what content follows a method.
///
/// spec: 4.2.6.1, the content header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentHeader<'a> {
    /// The class of the method that carries the content.
    pub class_id: u16,
    /// Unused; 0.
    pub weight: u16,
    /// The size of the body, over all its frames.
    pub body_size: u64,
    /// The properties, not looked at yet; see [`Properties::parse`](crate::Properties::parse).
    pub properties: &'a [u8],
}

impl<'a> ContentHeader<'a> {
    /// Reads a header frame's payload; `None` when it has not even the 12 octets before the
    /// properties.
    #[inline]
    pub fn decode(payload: &'a [u8]) -> Option<Self> {
        // why: no array holds parts of two loads. One of all twelve octets would be stored eight and
        // four, and its size loaded across both, for which a processor stops until they are written.
        let fixed = (wire::array::<4>, wire::array::<8>, rest);
        let mut header = map(fixed, |([c0, c1, w0, w1], size, properties)| ContentHeader {
            class_id: u16::from_be_bytes([c0, c1]),
            weight: u16::from_be_bytes([w0, w1]),
            body_size: u64::from_be_bytes(size),
            properties,
        });
        let (_, header) = header.parse(payload).ok()?;
        Some(header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEARTBEAT: [u8; 8] = [8, 0, 0, 0, 0, 0, 0, 0xCE];

    fn body(size: u32) -> Vec<u8> {
        let mut bytes = vec![frame::BODY, 0x01, 0x02];
        bytes.extend(size.to_be_bytes());
        bytes.resize(frame::HEAD + size as usize, b'x');
        bytes.push(frame::END);
        bytes
    }

    #[test]
    fn a_frame_is_taken_from_the_front() {
        let decoder = Decoder::new(4096);
        let mut stream = body(3);
        stream.extend(HEARTBEAT);
        let (first, length) = decoder.decode(&stream).unwrap().unwrap();
        assert_eq!(first, Frame { kind: frame::BODY, channel: 0x0102, payload: b"xxx" });
        assert_eq!(length, 11);
        let (second, length) = decoder.decode(&stream[length..]).unwrap().unwrap();
        assert_eq!(second, Frame { kind: frame::HEARTBEAT, channel: 0, payload: b"" });
        assert_eq!(length, 8);
    }

    #[test]
    fn a_payload_may_be_8_octets_over_the_rule() {
        let decoder = Decoder::new(4096);
        assert!(decoder.decode(&body(4088)).unwrap().is_some());
        assert!(decoder.decode(&body(4096)).unwrap().is_some());
        let too_large =
            FrameError::TooLarge { kind: frame::BODY, channel: 0x0102, size: 4097, limit: 4088 };
        assert_eq!(decoder.decode(&body(4097)), Err(too_large));
        assert_eq!(decoder.decode(&body(4097)[..7]), Err(too_large), "the head is enough");
        assert_eq!(decoder.decode(&body(4097)[..6]), Ok(None));
    }

    #[test]
    fn the_limit_can_change_or_be_none() {
        let mut decoder = Decoder::new(4096);
        decoder.set_frame_max(8192);
        assert!(decoder.decode(&body(8192)).unwrap().is_some());
        decoder.set_frame_max(0);
        assert!(decoder.decode(&body(100_000)).unwrap().is_some());
        assert_eq!(decoder.decode(&[3, 0, 1, 0xff, 0xff, 0xff, 0xff]), Ok(None));
    }

    #[test]
    fn another_octet_at_the_end_is_an_error() {
        let mut bytes = body(2);
        bytes[9] = 0;
        let bad_end =
            FrameError::BadEnd { kind: frame::BODY, channel: 0x0102, payload: b"xx", end: 0 };
        assert_eq!(Decoder::new(4096).decode(&bytes), Err(bad_end));
    }

    #[test]
    fn an_unknown_kind_is_the_brokers_to_judge() {
        let (frame, _) =
            Decoder::new(4096).decode(b"G\x00\x01\x00\x00\x00\x01T\xce").unwrap().unwrap();
        assert_eq!(frame, Frame { kind: b'G', channel: 1, payload: b"T" });
    }

    #[test]
    fn a_content_header_leaves_its_properties_alone() {
        let payload = b"\x00\x3c\x00\x01\x00\x00\x00\x00\x00\x00\x00\x05\xff\xff\xff";
        let header =
            ContentHeader { class_id: 60, weight: 1, body_size: 5, properties: b"\xff\xff\xff" };
        assert_eq!(ContentHeader::decode(payload), Some(header));
        assert_eq!(ContentHeader::decode(&payload[..12]).unwrap().properties, b"");
        assert_eq!(ContentHeader::decode(&payload[..11]), None);
    }

    #[test]
    fn the_protocol_header_is_eight_octets() {
        assert_eq!(protocol_header(b"AMQP\x00\x00\x09"), None);
        assert_eq!(protocol_header(b"AMQP\x00\x00\x09\x01more"), Some(frame::PROTOCOL_HEADER));
        assert_eq!(protocol_header(b"GET / HTTP/1.1"), Some(*b"GET / HT"));
    }
}
