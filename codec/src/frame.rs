//! A frame and its numbers.
//!
//! spec: 2.3.5, framing, and 4.2.3, general frame format.

/// One frame of the stream, its payload borrowed from the input.
///
/// The kind is the octet that came, not an enum: RabbitMQ shows an unknown one in the error it
/// answers with, so it must reach the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// [`METHOD`], [`HEADER`], [`BODY`], [`HEARTBEAT`], or what the peer made up.
    pub kind: u8,
    /// The channel; 0 is the connection itself.
    pub channel: u16,
    /// What is between the seven octets of the head and the end marker.
    pub payload: &'a [u8],
}

/// The kind of a frame that holds a method.
pub const METHOD: u8 = 1;
/// The kind of a frame that holds a content header.
pub const HEADER: u8 = 2;
/// The kind of a frame that holds a piece of a body.
pub const BODY: u8 = 3;
/// The kind of a frame that only says its sender is alive.
pub const HEARTBEAT: u8 = 8;

/// The octet after each payload. It shows when the peers disagree on where a frame ends.
pub const END: u8 = 0xCE;
/// The octets before the payload: kind, channel, size.
pub const HEAD: usize = 7;
/// The octets of a frame that are not payload: the head and the end marker.
pub const OVERHEAD: usize = HEAD + 1;
/// The frame size every peer accepts, and the limit until another one is agreed on.
// rabbitmq: 8192 since 4.1; 4096 is the specification's and that of the releases before.
pub const MIN_SIZE: u32 = 4096;

/// What a client sends first, and what a server answers to a header it does not know.
pub const PROTOCOL_HEADER: [u8; 8] = *b"AMQP\x00\x00\x09\x01";

/// The class id in a content header: of the classes that remain, only basic carries content.
pub const CONTENT_CLASS: u16 = 60;

/// The longest payload a sender may put in one frame, given the agreed size of a frame.
///
/// spec: 1.4.2.5, `connection.tune` counts the whole frame, and 0 says that there is no limit.
#[inline]
pub(crate) const fn max_payload(frame_max: u32) -> u32 {
    match frame_max {
        0 => u32::MAX,
        frame_max => frame_max.saturating_sub(OVERHEAD as u32),
    }
}
