//! Frames that no broker understands, told in RabbitMQ's words.

use leveret_codec::error::MethodError;
use leveret_codec::{Frame, ReplyCode};

use super::error::{AtFault, Fault};
use super::names;

/// A frame of a kind, or with a payload, that does not exist.
pub(super) fn unknown_frame(frame: &Frame<'_>) -> Fault {
    let text = format!("{}: unknown_frame", describe(frame.kind, frame.payload));
    Fault::new(ReplyCode::FrameError, text)
}

/// What is wrong with a method, or nothing when RabbitMQ would not say.
pub(super) fn method_fault(frame: &Frame<'_>, error: &MethodError<'_>) -> Option<AtFault> {
    match *error {
        MethodError::Short => Some(unknown_frame(frame).into()),
        MethodError::Malformed { class_id, method_id, arguments, .. } => {
            let text = format!("cannot decode {}", names::erlang_octets(arguments));
            let fault = Fault::new(ReplyCode::FrameError, text);
            Some(AtFault { fault, class_id, method_id })
        }
        MethodError::NotUtf8 { .. } => {
            Some(Fault::new(ReplyCode::FrameError, "Malformed UTF-8 in shortstr").into())
        }
        MethodError::Unknown { .. } | MethodError::BadTable { .. } => None,
    }
}

/// `type 1, all octets = <<...>>`, of a longer payload the first 16.
pub(super) fn describe(kind: u8, payload: &[u8]) -> String {
    const SHOWN: usize = 16;
    let (which, shown) =
        if payload.len() <= SHOWN { ("all", payload) } else { ("first 16", &payload[..SHOWN]) };
    format!("type {kind}, {which} octets = {}", names::erlang_binary(shown))
}
