//! The AMQP 0-9-1 wire format: frames, methods, field tables and content properties.
//!
//! After the eight octets of the protocol header, a connection is a sequence of frames each way:
//!
//! ```text
//!   octet      0        1   2      3   4   5   6      7 .. 7 + size        7 + size
//!         ┌────────┬───────────┬───────────────────┬────────────────────┬───────────┐
//!         │  kind  │  channel  │       size        │      payload       │   0xCE    │
//!         └────────┴───────────┴───────────────────┴────────────────────┴───────────┘
//!
//!   kind 1, a method       class id, method id, then the fields in the order of the specification
//!   kind 2, a header       class id, weight 0, size of the body, properties of the content
//!   kind 3, a body         a piece of a message's body
//!   kind 8, a heartbeat    nothing
//! ```
//!
//! A message is a method that carries content (such as `basic.publish`), one header and as many
//! bodies as its size needs; frames of other channels may come in between:
//!
//! ```text
//!   channel 1   ┤ basic.publish ├┤ header: 10000 octets ├┤ body: 8000 ├┤ body: 2000 ├
//! ```
//!
//! All integers are big-endian. Whatever is decoded borrows from the input: strings, tables and
//! properties stay the octets that came in, and are passed on as such.
//!
//! ```
//! use leveret_codec::{Decoder, Method, ShortStr, decode, encode, frame, method::queue};
//!
//! // A client asks for a queue ...
//! let mut sent = Vec::new();
//! encode::protocol_header(&mut sent);
//! let declare = queue::Declare { queue: ShortStr::from_static("hares"), ..Default::default() };
//! encode::method(&mut sent, 1, &declare);
//!
//! // ... and a server reads it.
//! assert_eq!(decode::protocol_header(&sent), Some(frame::PROTOCOL_HEADER));
//! let decoder = Decoder::new(131_072);
//! let (frame, length) = decoder.decode(&sent[8..]).unwrap().expect("the frame is whole");
//! assert_eq!((frame.kind, frame.channel, length), (frame::METHOD, 1, sent.len() - 8));
//! assert_eq!(Method::decode(frame.payload), Ok(Method::QueueDeclare(declare)));
//! ```
//!
//! What this crate deliberately is not: it does no input or output, keeps no state of a connection
//! and decides nothing. Which method may come when, and which error is answered with which reply
//! code, is the broker's to say.
//!
//! invariant: no input makes it panic, loop without end, or allocate more than it was sent. The
//! decoding half does not allocate at all.

pub mod decode;
pub mod encode;
pub mod error;
pub mod frame;
pub mod method;
pub mod properties;
pub mod reply;
pub mod table;
pub mod wire;

pub use decode::{ContentHeader, Decoder};
pub use frame::Frame;
pub use method::{Encode, Method};
pub use properties::{Properties, PropertyFields};
pub use reply::ReplyCode;
pub use table::{Table, TableBuf, Value};
pub use wire::{ShortStr, ShortString};
