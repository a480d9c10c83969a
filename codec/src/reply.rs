//! The reply codes of `channel.close`, `connection.close` and `basic.return`.
//!
//! spec: the constants of the reference. A soft error closes its channel, a hard one the connection.

macro_rules! reply_codes {
    ($($(#[$doc:meta])+ $code:ident = $number:literal $name:literal $weight:ident;)+) => {
        /// Why something was closed or came back.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u16)]
        pub enum ReplyCode {
            $($(#[$doc])+ $code = $number,)+
        }

        impl ReplyCode {
            /// The specification's name, in the capitals that RabbitMQ begins its texts with.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$code => $name,)+
                }
            }

            /// Whether it closes the connection, and not only a channel.
            pub const fn is_hard(self) -> bool {
                match self {
                    $(Self::$code => reply_codes!(@$weight),)+
                }
            }

            /// The code of this number, when the specification has it.
            pub const fn from_code(code: u16) -> Option<Self> {
                match code {
                    $($number => Some(Self::$code),)+
                    _ => None,
                }
            }
        }
    };
    (@soft) => { false };
    (@hard) => { true };
}

reply_codes! {
    /// Nothing went wrong.
    Success = 200 "REPLY_SUCCESS" soft;
    /// A message is larger than the peer takes.
    ContentTooLarge = 311 "CONTENT_TOO_LARGE" soft;
    /// A mandatory message found no queue.
    NoRoute = 312 "NO_ROUTE" soft;
    /// An immediate message found no consumer.
    NoConsumers = 313 "NO_CONSUMERS" soft;
    /// An operator closed the connection.
    ConnectionForced = 320 "CONNECTION_FORCED" hard;
    /// There is no such virtual host.
    InvalidPath = 402 "INVALID_PATH" hard;
    /// The user may not do this.
    AccessRefused = 403 "ACCESS_REFUSED" soft;
    /// There is no such exchange or queue.
    NotFound = 404 "NOT_FOUND" soft;
    /// A queue belongs to another connection.
    ResourceLocked = 405 "RESOURCE_LOCKED" soft;
    /// Something exists already and is different, or an argument cannot be.
    PreconditionFailed = 406 "PRECONDITION_FAILED" soft;
    /// A frame could not be read.
    FrameError = 501 "FRAME_ERROR" hard;
    /// A field has a value it cannot have.
    SyntaxError = 502 "SYNTAX_ERROR" hard;
    /// A method that has no place here.
    CommandInvalid = 503 "COMMAND_INVALID" hard;
    /// A channel that is not open, or is already.
    ChannelError = 504 "CHANNEL_ERROR" hard;
    /// A frame that cannot come at this point.
    UnexpectedFrame = 505 "UNEXPECTED_FRAME" hard;
    /// The broker ran out of something.
    ResourceError = 506 "RESOURCE_ERROR" hard;
    /// Something that a rule forbids.
    NotAllowed = 530 "NOT_ALLOWED" hard;
    /// Something that the broker does not do.
    NotImplemented = 540 "NOT_IMPLEMENTED" hard;
    /// The broker failed.
    InternalError = 541 "INTERNAL_ERROR" hard;
}

impl ReplyCode {
    /// The number on the wire.
    pub const fn code(self) -> u16 {
        self as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_found_by_its_number() {
        let known: Vec<_> = (0..=u16::MAX).filter_map(ReplyCode::from_code).collect();
        assert_eq!(known.len(), 19);
        for reply in known {
            assert_eq!(ReplyCode::from_code(reply.code()), Some(reply));
        }
    }

    #[test]
    fn soft_errors_close_a_channel() {
        let soft = |reply: &ReplyCode| !reply.is_hard();
        let codes: Vec<_> =
            (0..600).filter_map(ReplyCode::from_code).filter(soft).map(ReplyCode::code).collect();
        assert_eq!(codes, [200, 311, 312, 313, 403, 404, 405, 406]);
    }

    #[test]
    fn names_are_those_of_the_texts() {
        assert_eq!(ReplyCode::PreconditionFailed.name(), "PRECONDITION_FAILED");
        assert_eq!(ReplyCode::NotFound.name(), "NOT_FOUND");
    }
}
