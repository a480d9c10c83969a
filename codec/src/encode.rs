//! From values to whole frames, appended to a buffer.
//!
//! Everything here appends and nothing fails, so that a writer can fill one buffer with many frames
//! and hand it to the socket at once.

use crate::frame;
use crate::method::{Encode, Method, basic};
use crate::wire::ShortStr;

/// Appends the protocol header.
pub fn protocol_header(out: &mut Vec<u8>) {
    out.extend_from_slice(&frame::PROTOCOL_HEADER);
}

/// Appends a frame with a method of a known type.
#[inline]
pub fn method<M: Encode>(out: &mut Vec<u8>, channel: u16, method: &M) {
    method_frame(out, channel, (M::CLASS_ID, M::METHOD_ID), |out| method.encode_fields(out));
}

/// Appends a frame with any method.
pub fn any_method(out: &mut Vec<u8>, channel: u16, method: &Method<'_>) {
    let ids = (method.class_id(), method.method_id());
    method_frame(out, channel, ids, |out| method.encode_fields(out));
}

/// A basic.deliver with its content; see [`delivery`].
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    /// The consumer.
    pub consumer_tag: ShortStr<'a>,
    /// What the client acknowledges it by.
    pub delivery_tag: u64,
    /// Whether it may have been delivered before.
    pub redelivered: bool,
    /// Exchange and routing key as two short strings behind each other, with their lengths: as they
    /// stand in a basic.publish, and here again. Anything else makes a frame that nobody can read.
    pub routing: &'a [u8],
    /// The properties, as they came.
    pub properties: &'a [u8],
    /// The body.
    pub body: &'a [u8],
}

/// Appends all frames of a message for a consumer, as [`method`], [`content_header`] and [`body`]
/// would.
// why: this is what a broker encodes most. What is fixed between two strings goes in as one array.
pub fn delivery(out: &mut Vec<u8>, channel: u16, delivery: &Delivery<'_>, frame_max: u32) {
    const IDS: usize = 4;
    let Delivery { consumer_tag, delivery_tag, redelivered, routing, properties, body } = *delivery;
    let ids_and_fields = IDS + 1 + consumer_tag.len() + size_of::<u64>() + 1 + routing.len();
    let is_one_frame = body.len() <= max_body(frame_max);
    // A body of several frames makes room for itself.
    let body_here = if is_one_frame { body.len() } else { 0 };
    let payloads = ids_and_fields + CONTENT_FIXED + properties.len() + body_here;
    out.reserve(payloads + 3 * frame::OVERHEAD);

    let mut begin = [0; frame::HEAD + IDS + 1];
    begin[..7].copy_from_slice(&head(frame::METHOD, channel, ids_and_fields));
    begin[7..9].copy_from_slice(&basic::Deliver::CLASS_ID.to_be_bytes());
    begin[9..11].copy_from_slice(&basic::Deliver::METHOD_ID.to_be_bytes());
    // invariant: a `ShortStr` holds at most 255 octets, so the length fits.
    begin[11] = consumer_tag.len() as u8;
    out.extend_from_slice(&begin);
    out.extend_from_slice(consumer_tag.as_bytes());

    let mut tag_and_bits = [0; 9];
    tag_and_bits[..8].copy_from_slice(&delivery_tag.to_be_bytes());
    tag_and_bits[8] = u8::from(redelivered);
    out.extend_from_slice(&tag_and_bits);
    out.extend_from_slice(routing);

    let mut between = [frame::END; 1 + frame::HEAD + CONTENT_FIXED];
    between[1..].copy_from_slice(&content_head(channel, body.len() as u64, properties.len()));
    out.extend_from_slice(&between);
    out.extend_from_slice(properties);

    if body.is_empty() || !is_one_frame {
        out.push(frame::END);
        return self::body(out, channel, body, frame_max);
    }
    let mut between = [frame::END; 1 + frame::HEAD];
    between[1..].copy_from_slice(&head(frame::BODY, channel, body.len()));
    out.extend_from_slice(&between);
    out.extend_from_slice(body);
    out.push(frame::END);
}

/// Appends a header frame. The properties are octets that were checked when they came in.
#[inline]
pub fn content_header(out: &mut Vec<u8>, channel: u16, body_size: u64, properties: &[u8]) {
    out.reserve(frame::OVERHEAD + CONTENT_FIXED + properties.len());
    out.extend_from_slice(&content_head(channel, body_size, properties.len()));
    out.extend_from_slice(properties);
    out.push(frame::END);
}

/// Appends a body in frames of at most `frame_max` octets, their overhead counted. An empty body is
/// no frame.
#[inline]
pub fn body(out: &mut Vec<u8>, channel: u16, body: &[u8], frame_max: u32) {
    let room = max_body(frame_max);
    let frames = body.len().div_ceil(room);
    out.reserve(body.len() + frames * frame::OVERHEAD);
    for piece in body.chunks(room) {
        out.extend_from_slice(&head(frame::BODY, channel, piece.len()));
        out.extend_from_slice(piece);
        out.push(frame::END);
    }
}

/// Appends a heartbeat.
pub fn heartbeat(out: &mut Vec<u8>) {
    out.extend_from_slice(&head(frame::HEARTBEAT, 0, 0));
    out.push(frame::END);
}

/// Appends a method frame whose fields are written by `fields`: its size is put in afterwards.
#[inline]
fn method_frame(
    out: &mut Vec<u8>,
    channel: u16,
    (class_id, method_id): (u16, u16),
    fields: impl FnOnce(&mut Vec<u8>),
) {
    // why: the frames of nearly every message are shorter, so they grow the buffer at most once.
    out.reserve(128);
    let mut fixed = [0; frame::HEAD + 4];
    fixed[..7].copy_from_slice(&head(frame::METHOD, channel, 0));
    fixed[7..9].copy_from_slice(&class_id.to_be_bytes());
    fixed[9..].copy_from_slice(&method_id.to_be_bytes());
    let start = out.len() + frame::HEAD;
    out.extend_from_slice(&fixed);
    fields(out);
    let size = octets(out.len() - start).to_be_bytes();
    out[start - size.len()..start].copy_from_slice(&size);
    out.push(frame::END);
}

/// The octets of a content header before the properties: class, weight and size.
const CONTENT_FIXED: usize = 12;

/// The head of a header frame, and what comes before the properties.
#[inline]
fn content_head(
    channel: u16,
    body_size: u64,
    properties: usize,
) -> [u8; frame::HEAD + CONTENT_FIXED] {
    let mut fixed = [0; frame::HEAD + CONTENT_FIXED];
    fixed[..7].copy_from_slice(&head(frame::HEADER, channel, CONTENT_FIXED + properties));
    fixed[7..9].copy_from_slice(&frame::CONTENT_CLASS.to_be_bytes());
    // The two octets between are the weight, 0.
    fixed[11..].copy_from_slice(&body_size.to_be_bytes());
    fixed
}

/// How many octets of a body one frame takes.
// why: a limit below the overhead leaves no room at all; one octet a frame ends, none never would.
#[inline]
fn max_body(frame_max: u32) -> usize {
    frame::max_payload(frame_max).max(1) as usize
}

// why: one array appended at once is one look at the buffer's capacity, not one for each field.
#[inline]
fn head(kind: u8, channel: u16, size: usize) -> [u8; frame::HEAD] {
    let [c0, c1] = channel.to_be_bytes();
    let [s0, s1, s2, s3] = octets(size).to_be_bytes();
    [kind, c0, c1, s0, s1, s2, s3]
}

/// invariant: what a frame holds is far below 4 GiB: bodies are cut, and the strings and tables of
/// a method came in frames or are the program's own.
#[inline]
fn octets(length: usize) -> u32 {
    debug_assert!(u32::try_from(length).is_ok());
    length as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::method::queue;

    #[test]
    fn a_method_is_ids_and_fields_in_a_frame() {
        let mut out = b"before".to_vec();
        let ack = basic::Ack { delivery_tag: 258, multiple: true };
        method(&mut out, 7, &ack);
        let frame =
            b"\x01\x00\x07\x00\x00\x00\x0d\x00\x3c\x00\x50\x00\x00\x00\x00\x00\x00\x01\x02\x01\xce";
        assert_eq!(out, [&b"before"[..], frame].concat());
        let mut any = Vec::new();
        any_method(&mut any, 7, &ack.into());
        assert_eq!(any, frame);
    }

    #[test]
    fn a_method_longer_than_the_reserve_has_its_size() {
        let mut out = Vec::new();
        let name = [b'q'; 255];
        let ok = queue::DeclareOk { queue: ShortStr::truncated(&name), ..Default::default() };
        method(&mut out, 1, &ok);
        assert_eq!(out[3..7], (4 + 256 + 8u32).to_be_bytes());
        assert_eq!(out.len(), 4 + 256 + 8 + frame::OVERHEAD);
        assert_eq!(out.last(), Some(&frame::END));
    }

    #[test]
    fn a_content_header_has_the_class_of_basic() {
        let mut out = Vec::new();
        content_header(&mut out, 1, 5, &[0x10, 0, 2]);
        assert_eq!(
            out,
            b"\x02\x00\x01\x00\x00\x00\x0f\x00\x3c\x00\x00\x00\x00\x00\x00\x00\x00\x00\x05\x10\x00\x02\xce"
        );
    }

    #[test]
    fn a_body_is_cut_at_the_agreed_size() {
        let sizes = |length: usize, frame_max| {
            let mut out = Vec::new();
            body(&mut out, 1, &vec![b'x'; length], frame_max);
            let (mut rest, mut sizes) = (&out[..], Vec::new());
            let decoder = crate::Decoder::new(frame_max);
            while let Some((frame, length)) = decoder.decode(rest).unwrap() {
                assert_eq!((frame.kind, frame.channel), (frame::BODY, 1));
                sizes.push(frame.payload.len());
                rest = &rest[length..];
            }
            assert!(rest.is_empty());
            sizes
        };
        assert_eq!(sizes(10_000, 4096), [4088, 4088, 1824]);
        assert_eq!(sizes(4088, 4096), [4088]);
        assert_eq!(sizes(0, 4096), [0; 0]);
        assert_eq!(sizes(10_000, 0), [10_000]);
        assert_eq!(sizes(3, 5), [1, 1, 1]);
    }

    #[test]
    fn a_delivery_is_its_three_parts() {
        let text = [b'x'; 5_000];
        for (body, frame_max) in
            [(0, 0), (1, 0), (5_000, 0), (4_088, 4_096), (4_089, 4_096), (3, 5)]
        {
            for (length, redelivered) in [(0, false), (7, true), (255, false)] {
                let name = ShortStr::truncated(&text[..length]);
                let (properties, body) = (&[0x10, 0, 2][..], &text[..body]);
                let deliver = basic::Deliver {
                    consumer_tag: name,
                    delivery_tag: 0x0102_0304_0506_0708,
                    redelivered,
                    exchange: ShortStr::from_static("orders"),
                    routing_key: name,
                };
                let mut parts = b"before".to_vec();
                method(&mut parts, 7, &deliver);
                content_header(&mut parts, 7, body.len() as u64, properties);
                super::body(&mut parts, 7, body, frame_max);

                let routing = [&b"\x06orders"[..], &[length as u8], name.as_bytes()].concat();
                let consumer_tag = name;
                let delivery_tag = deliver.delivery_tag;
                let routing = &routing;
                let at_once =
                    Delivery { consumer_tag, delivery_tag, redelivered, routing, properties, body };
                let mut out = b"before".to_vec();
                delivery(&mut out, 7, &at_once, frame_max);
                assert_eq!(out, parts, "{length} {} {frame_max}", body.len());
            }
        }
    }

    #[test]
    fn a_delivery_of_many_frames_makes_room_for_itself_once() {
        let body = vec![b'x'; 1 << 20];
        let at_once = Delivery {
            consumer_tag: ShortStr::EMPTY,
            delivery_tag: 1,
            redelivered: false,
            routing: &[0, 0],
            properties: &[0, 0],
            body: &body,
        };
        let mut out = Vec::new();
        delivery(&mut out, 1, &at_once, 131_072);
        assert!(out.capacity() < out.len() + out.len() / 2, "{}", out.capacity());
    }

    #[test]
    fn a_heartbeat_is_an_empty_frame_of_the_connection() {
        let mut out = Vec::new();
        heartbeat(&mut out);
        assert_eq!(out, [8, 0, 0, 0, 0, 0, 0, 0xCE]);
    }
}
