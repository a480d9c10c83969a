//! The arguments of exchange.declare.

use leveret_codec::{ShortString, TableBuf};

use super::{equivalence, exchange_name};
use crate::broker::error::{Checked, Resource};

const ALTERNATE_EXCHANGE: &str = "alternate-exchange";

/// What an exchange's arguments say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExchangeArguments {
    /// Where a message goes that found no queue; need not exist.
    pub alternate_exchange: Option<ShortString>,
    /// The arguments as they came, to be shown, stored and compared.
    pub raw: TableBuf,
}

impl ExchangeArguments {
    /// Reads the arguments of a new exchange.
    pub fn parse(of: &Resource, arguments: &TableBuf) -> Checked<ExchangeArguments> {
        Ok(ExchangeArguments {
            alternate_exchange: exchange_name(ALTERNATE_EXCHANGE, of, arguments.as_table())?,
            raw: arguments.clone(),
        })
    }

    /// Checks that a declaration with these arguments is one of this exchange. All but the
    /// alternate exchange may differ.
    pub fn check_equivalent(&self, of: &Resource, received: &TableBuf) -> Checked<()> {
        let (current, received) = (self.raw.as_table(), received.as_table());
        equivalence::check(&[ALTERNATE_EXCHANGE], of, current, received)
    }
}

#[cfg(test)]
mod tests {
    use leveret_codec::Value;

    use super::super::fixtures::{refusal, table, text};
    use super::*;

    fn x() -> Resource {
        Resource::exchange(&ShortString::truncated(b"x"), "/")
    }

    fn parse(entries: &[(&str, Value<'_>)]) -> Checked<ExchangeArguments> {
        ExchangeArguments::parse(&x(), &table(entries))
    }

    #[test]
    fn an_alternate_exchange_is_a_text() {
        assert_eq!(parse(&[]), Ok(ExchangeArguments::default()));
        let parsed = parse(&[(ALTERNATE_EXCHANGE, text("other")), ("foo", Value::Void)]).unwrap();
        assert_eq!(parsed.alternate_exchange, Some(ShortString::truncated(b"other")));
        assert_eq!(
            refusal(parse(&[(ALTERNATE_EXCHANGE, Value::I32(5))])),
            "invalid type 'signedint' for arg 'alternate-exchange' in exchange 'x' in vhost '/'"
        );
    }

    #[test]
    fn an_alternate_exchange_is_never_cut() {
        assert_eq!(
            refusal(parse(&[(ALTERNATE_EXCHANGE, text(&"x".repeat(300)))])),
            "invalid arg 'alternate-exchange' for exchange 'x' in vhost '/': \
             {unacceptable_length,300}"
        );
    }

    #[test]
    fn only_the_alternate_exchange_is_compared() {
        let current = parse(&[(ALTERNATE_EXCHANGE, text("a")), ("foo", Value::I32(1))]).unwrap();
        let compare =
            |entries: &[(&str, Value<'_>)]| current.check_equivalent(&x(), &table(entries));
        assert_eq!(compare(&[(ALTERNATE_EXCHANGE, text("a")), ("bar", Value::I32(2))]), Ok(()));
        assert_eq!(
            refusal(compare(&[(ALTERNATE_EXCHANGE, text("b"))])),
            "inequivalent arg 'alternate-exchange' for exchange 'x' in vhost '/': \
             received 'b' but current is 'a'"
        );
        assert_eq!(
            refusal(compare(&[])),
            "inequivalent arg 'alternate-exchange' for exchange 'x' in vhost '/': \
             received none but current is the value 'a' of type 'longstr'"
        );
        let plain = ExchangeArguments::default();
        assert_eq!(
            refusal(plain.check_equivalent(&x(), &current.raw)),
            "inequivalent arg 'alternate-exchange' for exchange 'x' in vhost '/': \
             received the value 'a' of type 'longstr' but current is none"
        );
    }
}
