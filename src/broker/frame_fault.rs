//! Frames that no broker understands.

use leveret_codec::Frame;
use leveret_codec::error::MethodError;

use super::error::{AtFault, Fault, FrameStart};

/// A frame of a kind, or with a payload, that does not exist.
pub(super) fn unknown_frame(frame: &Frame<'_>) -> Fault {
    Fault::UnknownFrame(FrameStart::new(frame.kind, frame.payload))
}

/// What is wrong with a method, or nothing when RabbitMQ would not say.
pub(super) fn method_fault(frame: &Frame<'_>, error: &MethodError<'_>) -> Option<AtFault> {
    match *error {
        MethodError::Short => Some(unknown_frame(frame).into()),
        MethodError::Malformed { class_id, method_id, arguments, .. } => {
            let fault = Fault::MalformedMethod { arguments: arguments.to_vec() };
            Some(AtFault::new(fault, (class_id, method_id)))
        }
        MethodError::NotUtf8 { .. } => Some(Fault::NotUtf8.into()),
        MethodError::Unknown { .. } | MethodError::BadTable { .. } => None,
    }
}
