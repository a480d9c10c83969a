//! Deliveries, counted from frames where they lie in the read buffer. No body is copied.

use leveret_codec::decode::ContentHeader;
use leveret_codec::error::FrameError;
use leveret_codec::method::basic;
use leveret_codec::{Decoder, Encode, Frame, Method, frame};

use super::connection::closed;
use super::error::PerfError;
use super::stamp;

/// The ids that a basic.deliver begins with.
const DELIVER: [u8; 4] = {
    let ([c0, c1], [m0, m1]) =
        (basic::Deliver::CLASS_ID.to_be_bytes(), basic::Deliver::METHOD_ID.to_be_bytes());
    [c0, c1, m0, m1]
};

/// A message that is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Delivery {
    /// Its tag on the channel.
    pub(super) tag: u64,
    /// The first 8 octets of its body, if it has so many.
    pub(super) stamp: Option<u64>,
}

/// Where in a message the last frame ended.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    tag: u64,
    /// Whether a header comes next.
    expects_header: bool,
    /// Octets of the body that are still to come.
    missing: u64,
    stamp: Option<u64>,
}

impl Scanner {
    /// Looks at every whole frame of the input and says how many octets they take. `delivered` gets
    /// each message that is whole, `other` each method that is no delivery.
    ///
    /// # Errors
    /// What `other` returns, and when the octets are no frames.
    #[inline]
    pub(super) fn scan(
        &mut self,
        decoder: Decoder,
        input: &[u8],
        mut delivered: impl FnMut(Delivery),
        mut other: impl FnMut(&Method<'_>) -> Result<(), PerfError>,
    ) -> Result<usize, ScanError> {
        let mut used = 0;
        while let Some((frame, length)) = decoder.decode(&input[used..]).map_err(ScanError::from)? {
            used += length;
            match frame.kind {
                frame::METHOD => match deliver_tag(frame.payload) {
                    Some(tag) => {
                        self.tag = tag;
                        self.expects_header = true;
                        self.stamp = None;
                    }
                    None => {
                        if let Ok(method) = Method::decode(frame.payload) {
                            other(&method).map_err(ScanError::Other)?;
                        }
                    }
                },
                _ => {
                    if let Some(delivery) = self.content(&frame) {
                        delivered(delivery);
                    }
                }
            }
        }
        Ok(used)
    }

    /// Takes a header or a piece of a body.
    #[inline]
    fn content(&mut self, frame: &Frame<'_>) -> Option<Delivery> {
        match frame.kind {
            frame::HEADER if self.expects_header => {
                self.expects_header = false;
                self.missing = ContentHeader::decode(frame.payload)?.body_size;
                (self.missing == 0).then_some(Delivery { tag: self.tag, stamp: None })
            }
            frame::BODY if self.missing > 0 => {
                if self.stamp.is_none() {
                    self.stamp = frame.payload.first_chunk().copied().map(u64::from_be_bytes);
                }
                self.missing = self.missing.saturating_sub(frame.payload.len() as u64);
                (self.missing == 0).then_some(Delivery { tag: self.tag, stamp: self.stamp })
            }
            _ => None,
        }
    }
}

/// Why a scan stopped.
#[derive(Debug)]
pub(super) enum ScanError {
    /// What came is no frame; how so.
    Frame(String),
    /// What the caller made of a method.
    Other(PerfError),
}

impl From<FrameError<'_>> for ScanError {
    fn from(error: FrameError<'_>) -> Self {
        ScanError::Frame(error.to_string())
    }
}

/// The delivery tag, when this is a basic.deliver: the field after the consumer's tag.
// why: a message costs three frames; the strings of this one need not be looked at.
#[inline]
fn deliver_tag(payload: &[u8]) -> Option<u64> {
    let fields = payload.strip_prefix(&DELIVER)?;
    let (length, rest) = fields.split_first()?;
    let tag = rest.get(usize::from(*length)..)?.first_chunk::<{ stamp::LENGTH }>()?;
    Some(u64::from_be_bytes(*tag))
}

/// An error when the broker closes something or takes a consumer away; else nothing of interest.
pub(super) fn unexpected(method: &Method<'_>) -> Result<(), PerfError> {
    match method {
        Method::BasicCancel(cancel) => {
            Err(PerfError::Cancelled { queue: cancel.consumer_tag.to_string() })
        }
        method => closed(method),
    }
}

#[cfg(test)]
mod tests {
    use leveret_codec::method::{channel, connection};
    use leveret_codec::{Properties, ShortStr, encode};

    use super::*;

    fn message(out: &mut Vec<u8>, tag: u64, body: &[u8], frame_max: u32) {
        let deliver = basic::Deliver {
            consumer_tag: ShortStr::from_static("a consumer"),
            delivery_tag: tag,
            ..Default::default()
        };
        encode::method(out, 1, &deliver);
        encode::content_header(out, 1, body.len() as u64, Properties::EMPTY.as_bytes());
        encode::body(out, 1, body, frame_max);
    }

    fn stream() -> (Vec<u8>, Vec<Delivery>) {
        let mut out = Vec::new();
        message(&mut out, 1, b"", 4096);
        encode::heartbeat(&mut out);
        message(&mut out, 2, b"1234567", 4096);
        message(&mut out, 3, &[7; 10_000], 4096);
        encode::method(&mut out, 0, &connection::Unblocked {});
        message(&mut out, u64::MAX, &[1; 8], 4096);
        let deliveries = vec![
            Delivery { tag: 1, stamp: None },
            Delivery { tag: 2, stamp: None },
            Delivery { tag: 3, stamp: Some(0x0707_0707_0707_0707) },
            Delivery { tag: u64::MAX, stamp: Some(0x0101_0101_0101_0101) },
        ];
        (out, deliveries)
    }

    #[test]
    fn messages_are_counted_when_they_are_whole_wherever_the_stream_is_cut() {
        let (stream, deliveries) = stream();
        for cut in 0..=stream.len() {
            let (mut scanner, mut found, mut methods) = (Scanner::default(), Vec::new(), 0);
            let mut used = 0;
            for end in [cut, stream.len()] {
                let taken = scanner.scan(
                    Decoder::new(4096),
                    &stream[used..end],
                    |delivery| found.push(delivery),
                    |method| {
                        assert!(matches!(method, Method::ConnectionUnblocked(_)));
                        methods += 1;
                        Ok(())
                    },
                );
                used += taken.expect("these are frames");
            }
            assert_eq!((used, methods), (stream.len(), 1));
            assert_eq!(found, deliveries, "cut at {cut}");
        }
    }

    #[test]
    fn a_close_is_an_error_with_its_words() {
        let mut stream = Vec::new();
        let reply_text = ShortStr::from_static("NOT_FOUND - no\nqueue");
        let close = channel::Close { reply_code: 404, reply_text, ..Default::default() };
        encode::method(&mut stream, 1, &close);
        let error = Scanner::default().scan(Decoder::new(4096), &stream, |_| {}, unexpected);
        let Err(ScanError::Other(error)) = error else { panic!("{error:?}") };
        assert_eq!(error.to_string(), "the broker closed the channel: 404 NOT_FOUND - no queue");
    }

    #[test]
    fn what_is_no_frame_is_an_error() {
        let octets = b"\x01\x00\x01\x00\x00\x00\x01xy";
        let error = Scanner::default().scan(Decoder::new(4096), octets, |_| {}, unexpected);
        assert!(matches!(error, Err(ScanError::Frame(_))), "{error:?}");
    }
}
