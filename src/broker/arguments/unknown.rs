//! Arguments of queues that nobody will obey, with a guess at what was meant.
//!
//! rabbitmq: accepts and stores them without a word, and so do we. A queue whose limit is
//! misspelled has none, which shows only when it is too late; a line in the log shows it earlier.

use leveret_codec::{ShortStr, TableBuf};

use super::queue;

/// Names that are known though there is no rule for them: those of clusters, mirrors and later
/// versions.
const WITHOUT_RULE: &[&str] = &[
    "x-ha-policy",
    "x-ha-nodes",
    "x-quorum-target-group-size",
    "x-consumer-disconnected-timeout",
    "x-delayed-retry-type",
    "x-delayed-retry-min",
    "x-delayed-retry-max",
    "x-member-placement-tag",
    "x-name-prefix",
];

/// What other brokers, or common sense, call it, without the `x-` in front.
const OTHER_WORDS: &[(&str, &str)] = &[
    ("max-retries", "x-delivery-limit"),
    ("max-retry", "x-delivery-limit"),
    ("retry-limit", "x-delivery-limit"),
    ("max-deliveries", "x-delivery-limit"),
    ("max-delivery-count", "x-delivery-limit"),
    ("ttl", "x-message-ttl"),
    ("expiration", "x-message-ttl"),
    ("message-expiration", "x-message-ttl"),
    ("queue-ttl", "x-expires"),
    ("dlx", "x-dead-letter-exchange"),
    ("dlq", "x-dead-letter-exchange"),
    ("dead-letter-queue", "x-dead-letter-exchange"),
    ("dlrk", "x-dead-letter-routing-key"),
    ("dead-letter-key", "x-dead-letter-routing-key"),
    ("max-size", "x-max-length-bytes"),
    ("max-bytes", "x-max-length-bytes"),
    ("max-messages", "x-max-length"),
    ("priority", "x-max-priority"),
    ("priorities", "x-max-priority"),
    ("lazy", "x-queue-mode"),
    ("type", "x-queue-type"),
    ("exclusive-consumer", "x-single-active-consumer"),
];

/// How many letters may be wrong, missing or too many.
const SLIPS: usize = 2;

/// The arguments that no queue knows, in their order, each with the known one that was probably
/// meant.
pub fn unknown_arguments(
    arguments: &TableBuf,
) -> impl Iterator<Item = (ShortStr<'_>, Option<&'static str>)> {
    let names = arguments.as_table().iter().map(|entry| entry.name);
    names.filter(|name| known().all(|known| known.as_bytes() != name.as_bytes())).map(|name| {
        let lower = name.as_bytes().to_ascii_lowercase();
        (name, in_other_words(&lower).or_else(|| misspelled(&lower)))
    })
}

fn known() -> impl Iterator<Item = &'static str> {
    queue::known().chain(WITHOUT_RULE.iter().copied())
}

fn in_other_words(name: &[u8]) -> Option<&'static str> {
    let bare = name.strip_prefix(b"x-").unwrap_or(name);
    let (_, meant) = OTHER_WORDS.iter().find(|(word, _)| word.as_bytes() == bare)?;
    Some(meant)
}

fn misspelled(name: &[u8]) -> Option<&'static str> {
    known()
        .filter(|known| known.len().abs_diff(name.len()) <= SLIPS)
        .map(|known| (distance(known.as_bytes(), name), known))
        .filter(|(distance, _)| *distance <= SLIPS)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// How many octets must be changed, left out or put in to make one of the other.
fn distance(left: &[u8], right: &[u8]) -> usize {
    // The distances of all beginnings of `right` to the beginning of `left` so far.
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, &l) in left.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, &r) in right.iter().enumerate() {
            let changed = diagonal + usize::from(l != r);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use leveret_codec::Value;

    use super::super::fixtures::table;
    use super::*;

    fn meant(name: &str) -> Option<&'static str> {
        let arguments = table(&[(name, Value::Void)]);
        let mut unknown = unknown_arguments(&arguments);
        let (found, meant) = unknown.next().expect("the argument is unknown");
        assert_eq!(found.as_bytes(), name.as_bytes());
        meant
    }

    #[test]
    fn known_arguments_are_not_reported() {
        let entries: Vec<_> = known().map(|name| (name, Value::Void)).collect();
        assert_eq!(unknown_arguments(&table(&entries)).count(), 0);
    }

    #[test]
    fn unknown_arguments_come_in_their_order() {
        let entries = ["zebra", "x-expires", "ant"].map(|name| (name, Value::Void));
        let arguments = table(&entries);
        let names: Vec<_> = unknown_arguments(&arguments).map(|(name, _)| name).collect();
        assert_eq!(names, [ShortStr::from_static("zebra"), ShortStr::from_static("ant")]);
    }

    #[test]
    fn a_slip_is_recognised() {
        assert_eq!(meant("x-max-lenght"), Some("x-max-length"));
        assert_eq!(meant("x-message-tll"), Some("x-message-ttl"));
        assert_eq!(meant("message-ttl"), Some("x-message-ttl"));
        assert_eq!(meant("X-Expires"), Some("x-expires"));
        assert_eq!(meant("x-deadletter-exchange"), Some("x-dead-letter-exchange"));
        assert_eq!(meant("x-max-length-byte"), Some("x-max-length-bytes"));
        assert_eq!(meant("alternate-exchange"), None);
        assert_eq!(meant("foo"), None);
        assert_eq!(meant(""), None);
    }

    #[test]
    fn another_word_is_recognised() {
        assert_eq!(meant("x-max-retries"), Some("x-delivery-limit"));
        assert_eq!(meant("ttl"), Some("x-message-ttl"));
        assert_eq!(meant("x-DLX"), Some("x-dead-letter-exchange"));
        for (_, meant) in OTHER_WORDS {
            assert!(known().any(|known| known == *meant));
        }
    }

    #[test]
    fn distances_count_changes() {
        assert_eq!(distance(b"abc", b"abc"), 0);
        assert_eq!(distance(b"abc", b"abd"), 1);
        assert_eq!(distance(b"abc", b"ac"), 1);
        assert_eq!(distance(b"abc", b"xabcd"), 2);
        assert_eq!(distance(b"", b"abc"), 3);
        assert_eq!(distance(b"kitten", b"sitting"), 3);
    }
}
