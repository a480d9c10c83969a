//! Pieces of JSON that several rooms show.

use leveret_codec::{Properties, Table};
use serde_json::{Map, Value, json};

use super::fields::{Counters, rate};
use crate::broker::statistics::MessageStatistics;
use crate::broker::time::Time;
use crate::definitions::field_table;
use crate::handle::ConnectionPeer;

/// The bytes as a text; what is no UTF-8 is replaced.
pub(super) fn text(bytes: &[u8]) -> Value {
    String::from_utf8_lossy(bytes).into()
}

/// A field table.
pub(super) fn table(table: Table<'_>) -> Value {
    Value::Object(field_table::to_json(table))
}

/// What happened to the messages of a queue.
pub(super) fn queue_statistics(of: &MessageStatistics) -> Counters {
    Counters::new([
        ("publish", of.publish),
        ("deliver", of.deliver),
        ("deliver_no_ack", of.deliver_no_ack),
        ("get", of.get),
        ("get_no_ack", of.get_no_ack),
        ("get_empty", of.get_empty),
        ("ack", of.ack),
        ("redeliver", of.redeliver),
        ("deliver_get", of.deliver_get()),
    ])
}

/// What happened to the messages of a channel or a virtual host.
pub(super) fn statistics(of: &MessageStatistics) -> Counters {
    Counters::new([
        ("publish", of.publish),
        ("confirm", of.confirm),
        ("return_unroutable", of.return_unroutable),
        ("drop_unroutable", of.drop_unroutable),
        ("deliver", of.deliver),
        ("deliver_no_ack", of.deliver_no_ack),
        ("get", of.get),
        ("get_no_ack", of.get_no_ack),
        ("get_empty", of.get_empty),
        ("ack", of.ack),
        ("redeliver", of.redeliver),
        ("deliver_get", of.deliver_get()),
    ])
}

/// The sum of two counts of everything.
pub(super) fn sum(a: MessageStatistics, b: MessageStatistics) -> MessageStatistics {
    MessageStatistics {
        publish: a.publish + b.publish,
        confirm: a.confirm + b.confirm,
        return_unroutable: a.return_unroutable + b.return_unroutable,
        drop_unroutable: a.drop_unroutable + b.drop_unroutable,
        deliver: a.deliver + b.deliver,
        deliver_no_ack: a.deliver_no_ack + b.deliver_no_ack,
        get: a.get + b.get,
        get_no_ack: a.get_no_ack + b.get_no_ack,
        get_empty: a.get_empty + b.get_empty,
        ack: a.ack + b.ack,
        redeliver: a.redeliver + b.redeliver,
    }
}

/// A connection as what belongs to it names it.
pub(super) fn connection(peer: &ConnectionPeer) -> Value {
    json!({
        "name": peer.name,
        "peer_host": peer.address.ip().to_string(),
        "peer_port": peer.address.port(),
    })
}

/// How many messages wait, are out and both, with their rates.
pub(super) fn queue_totals(into: &mut Map<String, Value>, ready: usize, unacknowledged: usize) {
    let counts = [
        ("messages", ready + unacknowledged),
        ("messages_ready", ready),
        ("messages_unacknowledged", unacknowledged),
    ];
    for (name, count) in counts {
        into.insert(name.to_owned(), count.into());
        into.insert(format!("{name}_details"), rate());
    }
}

/// The properties of a message.
///
/// rabbitmq: none at all are an empty list.
pub(super) fn properties(properties: Properties<'_>) -> Value {
    let fields = properties.fields();
    let mut shown = Map::new();
    let texts = [
        ("content_type", fields.content_type),
        ("content_encoding", fields.content_encoding),
        ("correlation_id", fields.correlation_id),
        ("reply_to", fields.reply_to),
        ("expiration", fields.expiration),
        ("message_id", fields.message_id),
        ("type", fields.kind),
        ("user_id", fields.user_id),
        ("app_id", fields.app_id),
        ("cluster_id", fields.cluster_id),
    ];
    for (name, value) in texts {
        shown.extend(value.map(|value| (name.to_owned(), text(value.as_bytes()))));
    }
    let numbers = [
        ("delivery_mode", fields.delivery_mode.map(u64::from)),
        ("priority", fields.priority.map(u64::from)),
        ("timestamp", fields.timestamp),
    ];
    for (name, value) in numbers {
        shown.extend(value.map(|value| (name.to_owned(), value.into())));
    }
    if let Some(headers) = fields.headers {
        shown.insert("headers".to_owned(), table(headers));
    }
    if shown.is_empty() { json!([]) } else { Value::Object(shown) }
}

/// A point in time as a text: `2026-01-31T12:00:00.000+00:00`.
pub(super) fn date(time: Time) -> String {
    let (days, ms) = (time.as_millis() / DAY_MS, time.as_millis() % DAY_MS);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    let ms = ms % 1000;
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}+00:00")
}

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// Year, month and day of so many days after the first of January 1970.
fn civil(days: u64) -> (u64, u64, u64) {
    let leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    // why: 400 years are 146,097 days whenever they begin, which bounds the loops.
    let (mut year, mut left) = (1970 + 400 * (days / 146_097), days % 146_097);
    while left >= 365 + u64::from(leap(year)) {
        left -= 365 + u64::from(leap(year));
        year += 1;
    }
    let february = 28 + u64::from(leap(year));
    let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 1;
    for length in months {
        if left < length {
            break;
        }
        left -= length;
        month += 1;
    }
    (year, month, left + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000+00:00"),
            (951_782_400_000, "2000-02-29T00:00:00.000+00:00"),
            (1_767_225_599_999, "2025-12-31T23:59:59.999+00:00"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000+00:00"),
        ] {
            assert_eq!(date(Time::from_millis(ms)), text);
        }
    }
}
