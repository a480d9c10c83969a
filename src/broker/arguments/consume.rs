//! The arguments of basic.consume.

use leveret_codec::Table;

use super::{QueueType, Rule, boolean, check_absent, check_values, integer};
use crate::broker::error::{Checked, Resource};

/// What a consumer's arguments say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConsumeArguments {
    /// `x-priority`: a consumer with a higher one gets messages first.
    pub priority: i32,
    /// `x-cancel-on-ha-failover`: checked and kept, and nothing else, since no queue fails over.
    pub cancel_on_failover: bool,
}

/// In the order in which they are checked, and in which one for another queue is refused.
const RULES: &[Rule] = &[
    Rule { name: "x-priority", check: integer },
    Rule { name: "x-cancel-on-ha-failover", check: boolean },
    // Streams are the ones that take it, and read it themselves.
    Rule { name: "x-stream-offset", check: |_, _| Ok(()) },
];

impl ConsumeArguments {
    /// Reads the arguments of a consumer of this queue.
    pub fn parse(
        of: &Resource,
        queue_type: QueueType,
        arguments: Table<'_>,
    ) -> Checked<ConsumeArguments> {
        if arguments.is_empty() {
            return Ok(ConsumeArguments::default());
        }
        let (taken, others): (Vec<_>, Vec<_>) =
            RULES.iter().partition(|rule| takes(queue_type, rule.name));
        check_values(taken, of, arguments)?;
        let mut others: Vec<_> = others.iter().map(|rule| rule.name).collect();
        others.sort_unstable();
        check_absent(others, of, queue_type, arguments)?;

        let priority = arguments.find(b"x-priority").and_then(|value| value.as_i64()).unwrap_or(0);
        let failover = arguments.find(b"x-cancel-on-ha-failover");
        Ok(ConsumeArguments {
            // why: priorities only say who is before whom, and nobody has two beyond 32 bits.
            priority: priority.clamp(i32::MIN.into(), i32::MAX.into()) as i32,
            cancel_on_failover: failover.and_then(|value| value.as_bool()).unwrap_or(false),
        })
    }
}

fn takes(queue_type: QueueType, argument: &str) -> bool {
    match argument {
        "x-priority" => queue_type != QueueType::Stream,
        "x-cancel-on-ha-failover" => queue_type == QueueType::Classic,
        _ => queue_type == QueueType::Stream,
    }
}

#[cfg(test)]
mod tests {
    use leveret_codec::Value;

    use super::super::fixtures::{q, refusal, table, text};
    use super::*;

    fn parse(queue_type: QueueType, entries: &[(&str, Value<'_>)]) -> Checked<ConsumeArguments> {
        ConsumeArguments::parse(&q(), queue_type, table(entries).as_table())
    }

    #[test]
    fn a_priority_is_an_integer() {
        let priority = |value| parse(QueueType::Classic, &[("x-priority", value)]);
        assert_eq!(parse(QueueType::Classic, &[]), Ok(ConsumeArguments::default()));
        assert_eq!(priority(Value::I8(-5)).unwrap().priority, -5);
        assert_eq!(priority(Value::I64(i64::MAX)).unwrap().priority, i32::MAX);
        assert_eq!(priority(Value::I64(i64::MIN)).unwrap().priority, i32::MIN);
        assert_eq!(
            refusal(priority(text("5"))),
            "invalid arg 'x-priority' for queue 'q' in vhost '/': \"expected integer, got longstr\""
        );
    }

    #[test]
    fn a_failover_flag_is_true_or_false() {
        let flag = |value| parse(QueueType::Classic, &[("x-cancel-on-ha-failover", value)]);
        assert!(flag(Value::Bool(true)).unwrap().cancel_on_failover);
        assert_eq!(
            refusal(flag(Value::I32(1))),
            "invalid arg 'x-cancel-on-ha-failover' for queue 'q' in vhost '/': \
             {unacceptable_type,signedint}"
        );
    }

    #[test]
    fn an_argument_for_another_type_of_queue_is_refused() {
        let offset = [("x-stream-offset", text("first"))];
        for (queue_type, module) in [(QueueType::Classic, "classic"), (QueueType::Quorum, "quorum")]
        {
            assert_eq!(
                refusal(parse(queue_type, &offset)),
                format!(
                    "invalid arg 'x-stream-offset' for queue 'q' in vhost '/' \
                     of queue type rabbit_{module}_queue"
                )
            );
        }
        assert_eq!(parse(QueueType::Stream, &offset), Ok(ConsumeArguments::default()));
        let both = [("x-priority", Value::I32(1)), ("x-cancel-on-ha-failover", Value::Bool(true))];
        assert!(refusal(parse(QueueType::Quorum, &both)).contains("'x-cancel-on-ha-failover'"));
        assert!(refusal(parse(QueueType::Stream, &both[..1])).contains("'x-priority'"));
    }

    #[test]
    fn unknown_arguments_are_ignored() {
        let entries = [("foo", Value::Void), ("x-stream-filter", text("a"))];
        assert_eq!(parse(QueueType::Classic, &entries), Ok(ConsumeArguments::default()));
    }
}
