//! A fault: a client did what the protocol or the broker's state does not allow.
//!
//! All that a client can be told stands in the list of `reasons`, by reply code. A soft code closes the
//! channel, a hard one the connection (spec: 2.2.2 and 4.10). What the texts show of names and values
//! is in `parts`, why a value cannot be in `invalid_value`.
//!
//! Where a fault is found, its reason is given and what belongs to it; where it matters which one it
//! is, code matches on the reason. No other file makes a text, or reads one.

mod invalid_value;
mod parts;
mod reasons;

pub use invalid_value::InvalidValue;
pub use parts::{Difference, FieldValue, FrameStart, Resource, ResourceKind};
pub use reasons::Fault;

/// The result of whatever a client may do wrong.
///
/// why: boxed, so that it takes one word where nothing is wrong, which is nearly always.
pub type Checked<T> = Result<T, Box<Fault>>;

/// The longest text of a close, which is a short string.
const MAX_TEXT: usize = 255;

impl Fault {
    /// Whether it closes the whole connection.
    pub fn is_hard(&self) -> bool {
        self.code().is_hard()
    }

    /// What the client is told: `NAME - explanation`.
    pub fn reply_text(&self) -> Vec<u8> {
        let mut text = self.code().name().as_bytes().to_vec();
        let explanation = self.explanation();
        if !explanation.is_empty() {
            text.extend_from_slice(b" - ");
            text.extend(explanation);
        }
        text
    }

    /// The explanation, cut as RabbitMQ cuts it.
    ///
    /// rabbitmq: the whole text must fit a short string; a longer one keeps its first 252 octets
    /// and ends in three dots.
    pub fn explanation(&self) -> Vec<u8> {
        let mut explanation = self.to_string().into_bytes();
        let room = MAX_TEXT - self.code().name().len() - " - ".len();
        if explanation.len() > room {
            explanation.truncate(room - 3);
            explanation.extend_from_slice(b"...");
        }
        explanation
    }
}

/// A fault and the method it is told with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AtFault {
    /// What is wrong.
    pub fault: Box<Fault>,
    /// The class of the method, zero when there is none.
    pub class_id: u16,
    /// The method, zero when there is none.
    pub method_id: u16,
}

impl AtFault {
    /// The fault of a method, which its class and its own number name.
    pub fn new(fault: impl Into<Box<Fault>>, (class_id, method_id): (u16, u16)) -> Self {
        AtFault { fault: fault.into(), class_id, method_id }
    }
}

impl<F: Into<Box<Fault>>> From<F> for AtFault {
    fn from(fault: F) -> Self {
        AtFault::new(fault, (0, 0))
    }
}

#[cfg(test)]
mod tests {
    use leveret_codec::ShortString;

    use super::*;

    #[test]
    fn the_text_names_the_code_and_fits_a_short_string() {
        let name = ShortString::truncated(b"q");
        let fault = Fault::NotFound(Resource::queue(&name, "/"));
        assert_eq!(fault.reply_text(), b"NOT_FOUND - no queue 'q' in vhost '/'");
        assert_eq!(fault.explanation(), b"no queue 'q' in vhost '/'");
        assert!(!fault.is_hard());

        let long = Fault::ClosedByOperator("x".repeat(300));
        assert_eq!(long.reply_text().len(), 255);
        assert!(long.reply_text().ends_with(b"x..."));
        assert!(long.reply_text().ends_with(&long.explanation()));
        let just_fits = Fault::ClosedByOperator("x".repeat(255 - "CONNECTION_FORCED - ".len()));
        assert!(just_fits.reply_text().ends_with(b"xxx"));
        assert_eq!(Fault::UnreadableProperties.reply_text(), b"INTERNAL_ERROR");
    }

    #[test]
    fn refusals_name_what_and_whom() {
        let short = |text: &str| ShortString::truncated(text.as_bytes());
        let (to, user) = (Resource::exchange(&short("amq.default"), "/"), "ann".to_owned());
        assert_eq!(
            Fault::AccessRefused { to, user: user.clone() }.reply_text(),
            b"ACCESS_REFUSED - access to exchange 'amq.default' in vhost '/' refused for user 'ann'"
        );
        let exchange = Resource::exchange(&short("logs"), "/");
        assert_eq!(
            Fault::TopicRefused { key: short("a.b"), exchange, user }.to_string(),
            "access to topic 'a.b' in exchange 'logs' in vhost '/' refused for user 'ann'"
        );
    }

    #[test]
    fn a_result_without_a_value_is_one_word() {
        assert_eq!(size_of::<Checked<()>>(), size_of::<usize>());
    }
}
