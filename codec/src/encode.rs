//! From values to whole frames, appended to a buffer.
//!
//! Everything here appends and nothing fails, so that a writer can fill one buffer with many frames
//! and hand it to the socket at once.

use crate::frame;
use crate::method::{Encode, Method};

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

/// Appends a header frame. The properties are octets that were checked when they came in.
#[inline]
pub fn content_header(out: &mut Vec<u8>, channel: u16, body_size: u64, properties: &[u8]) {
    const FIXED: usize = 12;
    out.reserve(frame::OVERHEAD + FIXED + properties.len());
    let mut fixed = [0; frame::HEAD + FIXED];
    fixed[..7].copy_from_slice(&head(frame::HEADER, channel, FIXED + properties.len()));
    fixed[7..9].copy_from_slice(&frame::CONTENT_CLASS.to_be_bytes());
    // The two octets between are the weight, 0.
    fixed[11..].copy_from_slice(&body_size.to_be_bytes());
    out.extend_from_slice(&fixed);
    out.extend_from_slice(properties);
    out.push(frame::END);
}

/// Appends a body in frames of at most `frame_max` octets, their overhead counted. An empty body is
/// no frame.
// why: a limit below the overhead leaves no room at all; one octet a frame ends, none never would.
#[inline]
pub fn body(out: &mut Vec<u8>, channel: u16, body: &[u8], frame_max: u32) {
    let room = frame::max_payload(frame_max).max(1) as usize;
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
    use crate::ShortStr;
    use crate::method::{basic, queue};

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
    fn a_heartbeat_is_an_empty_frame_of_the_connection() {
        let mut out = Vec::new();
        heartbeat(&mut out);
        assert_eq!(out, [8, 0, 0, 0, 0, 0, 0, 0xCE]);
    }
}
