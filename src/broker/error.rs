//! A fault: a client did what the protocol or the broker's state does not allow.
//!
//! spec: 2.2.2 and 4.10. A soft code closes the channel, a hard one the connection; the code alone
//! decides. The text is RabbitMQ's, since clients and their users read it.

use std::borrow::Cow;

use leveret_codec::ReplyCode;

/// Why a channel or a connection is to be closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} - {text}", .code.name())]
pub struct Fault {
    /// The reply code; a hard one closes the connection.
    pub code: ReplyCode,
    /// What went wrong, without the name of the code in front.
    pub text: Cow<'static, str>,
}

/// Shorthand for the result of whatever a client may do wrong.
pub type Checked<T> = Result<T, Fault>;

impl Fault {
    /// A fault with this code and explanation.
    pub fn new(code: ReplyCode, text: impl Into<Cow<'static, str>>) -> Self {
        Fault { code, text: text.into() }
    }

    /// 403, closes the channel.
    pub fn access_refused(text: impl Into<Cow<'static, str>>) -> Self {
        Fault::new(ReplyCode::AccessRefused, text)
    }

    /// 404, closes the channel.
    pub fn not_found(text: impl Into<Cow<'static, str>>) -> Self {
        Fault::new(ReplyCode::NotFound, text)
    }

    /// 406, closes the channel.
    pub fn precondition_failed(text: impl Into<Cow<'static, str>>) -> Self {
        Fault::new(ReplyCode::PreconditionFailed, text)
    }

    /// 540, closes the connection.
    pub fn not_implemented(text: impl Into<Cow<'static, str>>) -> Self {
        Fault::new(ReplyCode::NotImplemented, text)
    }

    /// Whether it takes the whole connection down.
    pub fn is_hard(&self) -> bool {
        self.code.is_hard()
    }

    /// What the client is told: `NAME - explanation`, cut as RabbitMQ cuts it.
    ///
    /// rabbitmq: the whole text must fit a short string; a longer one keeps its first 252 octets
    /// and ends in three dots. An internal error has no explanation.
    pub fn reply_text(&self) -> Vec<u8> {
        if self.text.is_empty() {
            return self.code.name().as_bytes().to_vec();
        }
        let mut text = format!("{} - {}", self.code.name(), self.text).into_bytes();
        if text.len() > 255 {
            text.truncate(252);
            text.extend_from_slice(b"...");
        }
        text
    }
}

/// A fault and the method it is told with.
#[derive(Debug)]
pub struct AtFault {
    /// What is wrong.
    pub fault: Fault,
    /// The class of the method, zero when there is none.
    pub class_id: u16,
    /// The method, zero when there is none.
    pub method_id: u16,
}

impl From<Fault> for AtFault {
    fn from(fault: Fault) -> Self {
        AtFault { fault, class_id: 0, method_id: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_names_the_code_and_fits_a_short_string() {
        let fault = Fault::not_found("no queue 'q' in vhost '/'");
        assert_eq!(fault.reply_text(), b"NOT_FOUND - no queue 'q' in vhost '/'");
        assert!(!fault.is_hard());

        let long = Fault::precondition_failed("x".repeat(300)).reply_text();
        assert_eq!(long.len(), 255);
        assert!(long.ends_with(b"x..."));
        assert_eq!(Fault::new(ReplyCode::InternalError, "").reply_text(), b"INTERNAL_ERROR");
    }
}
