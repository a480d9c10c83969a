//! Dead-lettering: the copy of a message that goes on after its end in a queue.
//!
//! rabbitmq: the header `x-death` tells the story: an array of tables, the latest first, one for
//! each queue and reason, which counts how often. Clients assert its order and its types, so both
//! are RabbitMQ 3.10's to the octet: a first death has its fields in the order they were thought of,
//! a later one has them sorted; whenever a header is added, the whole table is sorted.

use hashbrown::HashMap;
use leveret_codec::table::{ArrayBuilder, Entry, TableBuilder};
use leveret_codec::{Properties, PropertyFields, ShortString, Table, TableBuf, Value};
use smallvec::SmallVec;

use super::message::{Message, sorted_entries};
use super::time::Time;

const X_DEATH: &[u8] = b"x-death";

/// Why a message's life in a queue ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A client refused it and did not want it requeued.
    Rejected,
    /// Its time was up.
    Expired,
    /// The queue was full.
    MaxLength,
    /// It was returned more often than the queue allows.
    DeliveryLimit,
}

impl Reason {
    fn name(self) -> &'static [u8] {
        match self {
            Reason::Rejected => b"rejected",
            Reason::Expired => b"expired",
            Reason::MaxLength => b"maxlen",
            Reason::DeliveryLimit => b"delivery_limit",
        }
    }
}

/// The circumstances of a death.
#[derive(Clone, Debug)]
pub struct Death {
    /// Why.
    pub reason: Reason,
    /// The name of the queue.
    pub queue: ShortString,
    /// When.
    pub time: Time,
    /// The dead-letter exchange of the queue.
    pub exchange: ShortString,
    /// The routing key that the queue gives its dead, if it does.
    pub routing_key: Option<ShortString>,
}

/// The message that is published to the dead-letter exchange.
pub fn dead_letter(message: &Message, death: &Death) -> Message {
    let mut fields = message.properties().fields();
    let headers = fields.headers.unwrap_or(Table::EMPTY);
    let died = deaths(headers);
    let mut event = TableBuilder::default();
    let story = match died {
        None => {
            first_event(&mut event, message, death, &fields);
            array_of(&event.finish())
        }
        Some(Value::Array(events)) => {
            let mut alike = Alike::all(events.iter());
            // rabbitmq: one event alone is left as it is.
            let is_one = matches!(&alike[..], [Alike { count: 1, .. }]);
            let same = alike.iter().position(|it| is_same(&it.first, death));
            let event = match same.map(|index| alike.remove(index)) {
                Some(same) => same.counted_once_more(),
                None => {
                    first_event(&mut event, message, death, &fields);
                    sorted_entries(event.finish().as_table())
                }
            };
            let mut story = array_of(&event);
            for event in alike {
                event.write(is_one, &mut story);
            }
            story
        }
        // rabbitmq: what a client sent in its place is replaced.
        Some(_) => {
            first_event(&mut event, message, death, &fields);
            array_of(&event.finish())
        }
    };

    let mut table = TableBuilder::default();
    for entry in headers.iter() {
        let replaced = entry.name.as_bytes() == X_DEATH;
        let overridden = death.routing_key.is_some() && entry.name.as_bytes() == b"CC";
        if !replaced && !overridden {
            table.push_raw(entry.raw());
        }
    }
    table.push(X_DEATH, &Value::Array(story.as_array()));
    if died.is_none() {
        table
            .push(b"x-first-death-reason", &Value::LongStr(death.reason.name()))
            .push(b"x-first-death-queue", &Value::LongStr(death.queue.as_bytes()))
            .push(b"x-first-death-exchange", &Value::LongStr(message.exchange().as_bytes()));
    }
    let table = sorted_entries(table.finish().as_table());
    fields.headers = Some(table.as_table());
    // rabbitmq: or it would expire in the next queue too.
    fields.expiration = None;

    let mut properties = Vec::new();
    fields.encode(&mut properties);
    let key = death.routing_key.as_ref().map_or(message.routing_key(), ShortString::as_short);
    Message::new(
        death.exchange.as_short(),
        key,
        Properties::from_checked(&properties),
        message.body(),
    )
}

/// The queues that a message has died in, as far as its headers tell, since a client refused it; the
/// latest first. Where a message was dead-lettered to one of them without any client's doing, it would go
/// round for ever.
pub fn died_in(message: &Message) -> SmallVec<[&[u8]; 16]> {
    let deaths = message.properties().headers().and_then(deaths);
    let Some(Value::Array(events)) = deaths else { return SmallVec::new() };
    let rejected = Some(Value::LongStr(Reason::Rejected.name()));
    let tables = events.iter().filter_map(|event| event.as_table());
    let since = tables.take_while(|event| event.find(b"reason") != rejected);
    since.filter_map(|event| event.find(b"queue")?.as_bytes()).collect()
}

fn deaths(headers: Table<'_>) -> Option<Value<'_>> {
    headers.find(X_DEATH)
}

fn is_same(event: &Value<'_>, death: &Death) -> bool {
    let Value::Table(event) = event else { return false };
    event.find(b"queue") == Some(Value::LongStr(death.queue.as_bytes()))
        && event.find(b"reason") == Some(Value::LongStr(death.reason.name()))
}

fn first_event(
    event: &mut TableBuilder,
    message: &Message,
    death: &Death,
    fields: &PropertyFields<'_>,
) {
    let keys = routing_keys(message, fields);
    event
        .push(b"count", &Value::I64(1))
        .push(b"reason", &Value::LongStr(death.reason.name()))
        .push(b"queue", &Value::LongStr(death.queue.as_bytes()))
        .push(b"time", &Value::Timestamp(death.time.as_secs()))
        .push(b"exchange", &Value::LongStr(message.exchange().as_bytes()))
        .push(b"routing-keys", &Value::Array(keys.as_array()));
    if let Some(expiration) = fields.expiration {
        event.push(b"original-expiration", &Value::LongStr(expiration.as_bytes()));
    }
}

/// The routing key and those of the header CC; those of BCC are nobody's business.
fn routing_keys(message: &Message, fields: &PropertyFields<'_>) -> ArrayBuilder {
    let mut keys = ArrayBuilder::default();
    keys.push(&Value::LongStr(message.routing_key().as_bytes()));
    if let Some(Value::Array(copies)) = fields.headers.and_then(|headers| headers.find(b"CC")) {
        for copy in copies.iter().filter(|copy| matches!(copy, Value::LongStr(_))) {
            keys.push(&copy);
        }
    }
    keys
}

/// Events of the same queue and for the same reason: one, unless a client wrote the header.
struct Alike<'a> {
    first: Value<'a>,
    count: i64,
}

impl<'a> Alike<'a> {
    /// In the order of the first of each.
    ///
    /// rabbitmq: gathers those of releases that did not count.
    fn all(events: impl Iterator<Item = Value<'a>>) -> Vec<Self> {
        let mut places = HashMap::new();
        let mut all: Vec<Self> = Vec::new();
        for first in events {
            let text = |name| first.as_table()?.find(name)?.as_bytes();
            if let (Some(queue), Some(reason)) = (text(b"queue"), text(b"reason")) {
                let place = *places.entry((queue, reason)).or_insert(all.len());
                if let Some(alike) = all.get_mut(place) {
                    alike.count += 1;
                    continue;
                }
            }
            all.push(Alike { first, count: 1 });
        }
        all
    }

    /// rabbitmq: what is not counted counts as often as it is there; a single one, and a count that is no number,
    /// with which the message would be lost, as none.
    fn counted_once_more(&self) -> TableBuf {
        let mut counted = TableBuilder::default();
        let count = match self.first.as_table().and_then(|event| event.find(b"count")) {
            None if self.count > 1 => self.count,
            count => count.and_then(|count| count.as_i64()).unwrap_or(0),
        };
        counted.push(b"count", &Value::I64(count.saturating_add(1)));
        for entry in self.entries().filter(|entry| entry.name.as_bytes() != b"count") {
            counted.push_raw(entry.raw());
        }
        sorted_entries(counted.finish().as_table())
    }

    fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        self.first.as_table().into_iter().flat_map(|event| event.iter())
    }

    /// Appends the first of them, counted, unless it stands alone.
    fn write(&self, is_one: bool, story: &mut ArrayBuilder) {
        let has_count = self.entries().any(|entry| entry.name.as_bytes() == b"count");
        if is_one || has_count || self.first.as_table().is_none() {
            story.push(&self.first);
            return;
        }
        let mut counted = TableBuilder::default();
        counted.push(b"count", &Value::I64(self.count));
        for entry in self.entries() {
            counted.push_raw(entry.raw());
        }
        story.push(&Value::Table(counted.finish().as_table()));
    }
}

fn array_of(event: &TableBuf) -> ArrayBuilder {
    let mut array = ArrayBuilder::default();
    array.push(&Value::Table(event.as_table()));
    array
}

#[cfg(test)]
mod tests {
    use leveret_codec::ShortStr;

    use super::*;

    fn message(fields: &PropertyFields<'_>) -> Message {
        let mut properties = Vec::new();
        fields.encode(&mut properties);
        Message::new(
            ShortStr::from_static("orders"),
            ShortStr::from_static("new"),
            Properties::from_checked(&properties),
            b"body",
        )
    }

    fn death(reason: Reason, queue: &str) -> Death {
        Death {
            reason,
            queue: ShortString::truncated(queue.as_bytes()),
            time: Time::from_millis(5_999),
            exchange: ShortString::truncated(b"dlx"),
            routing_key: None,
        }
    }

    fn events(message: &Message) -> Vec<(Vec<u8>, i64)> {
        let headers = message.properties().headers().expect("a dead message has headers");
        let Some(Value::Array(events)) = headers.find(b"x-death") else {
            panic!("no x-death in {headers:?}");
        };
        let event = |event: Value<'_>| {
            let table = event.as_table()?;
            Some((table.find(b"queue")?.as_bytes()?.to_vec(), table.find(b"count")?.as_i64()?))
        };
        events.iter().filter_map(event).collect()
    }

    #[test]
    fn the_first_death_is_told_in_full_and_the_expiration_goes() {
        let expiration = Some(ShortStr::from_static("100"));
        let dead = dead_letter(
            &message(&PropertyFields { expiration, ..Default::default() }),
            &death(Reason::Expired, "q"),
        );
        assert_eq!(dead.exchange().as_bytes(), b"dlx");
        assert_eq!(dead.routing_key().as_bytes(), b"new");
        assert_eq!(dead.properties().expiration(), None);
        let headers = dead.properties().headers().expect("headers");
        let names: Vec<_> = headers.iter().map(|entry| entry.name.to_string()).collect();
        assert_eq!(
            names,
            ["x-death", "x-first-death-exchange", "x-first-death-queue", "x-first-death-reason"]
        );
        let Some(Value::Array(story)) = headers.find(b"x-death") else { panic!("x-death") };
        let Some(Value::Table(event)) = story.iter().next() else { panic!("an event") };
        let names: Vec<_> = event.iter().map(|entry| entry.name.to_string()).collect();
        assert_eq!(
            names,
            ["count", "reason", "queue", "time", "exchange", "routing-keys", "original-expiration"]
        );
        assert_eq!(event.find(b"time"), Some(Value::Timestamp(5)));
    }

    #[test]
    fn a_repeated_death_counts_and_moves_to_the_front() {
        let mut dead =
            dead_letter(&message(&PropertyFields::default()), &death(Reason::Rejected, "a"));
        dead = dead_letter(&dead, &death(Reason::Expired, "b"));
        assert_eq!(events(&dead), [(b"b".to_vec(), 1), (b"a".to_vec(), 1)]);
        dead = dead_letter(&dead, &death(Reason::Rejected, "a"));
        assert_eq!(events(&dead), [(b"a".to_vec(), 2), (b"b".to_vec(), 1)]);
    }

    #[test]
    fn events_that_a_client_wrote_are_gathered_and_counted() {
        let event = |queue: &str, reason: &str, count: Option<Value<'_>>| {
            let mut event = TableBuilder::default();
            event.push(b"queue", &Value::LongStr(queue.as_bytes()));
            event.push(b"reason", &Value::LongStr(reason.as_bytes()));
            count.iter().for_each(|count| _ = event.push(b"count", count));
            event.finish()
        };
        let [own, old, older] = [("q", "rejected"), ("old", "expired"), ("older", "expired")];
        let [two, three] = [2, 3].map(|count| Some(Value::I64(count)));
        let text = Some(Value::LongStr(b"5"));
        type Event<'a> = ((&'a str, &'a str), Option<Value<'a>>);
        type Told<'a> = (&'a str, Option<i64>);
        let cases: [(&[Event<'_>], &[Told<'_>]); 9] = [
            (&[(old, None)], &[("q", Some(1)), ("old", None)]),
            (&[(own, None)], &[("q", Some(1))]),
            (&[(own, text)], &[("q", Some(1))]),
            (&[(own, two), (own, three)], &[("q", Some(3))]),
            (&[(own, None), (own, None)], &[("q", Some(3))]),
            (&[(old, two), (old, None)], &[("q", Some(1)), ("old", Some(2))]),
            (&[(old, None), (old, two)], &[("q", Some(1)), ("old", Some(2))]),
            (
                &[(old, None), (older, None)],
                &[("q", Some(1)), ("old", Some(1)), ("older", Some(1))],
            ),
            (&[(old, None); 4], &[("q", Some(1)), ("old", Some(4))]),
        ];
        for (before, after) in cases {
            let mut events = ArrayBuilder::default();
            for ((queue, reason), count) in before {
                events.push(&Value::Table(event(queue, reason, *count).as_table()));
            }
            let mut headers = TableBuilder::default();
            headers.push(X_DEATH, &Value::Array(events.as_array()));
            let headers = headers.finish();
            let fields = PropertyFields { headers: Some(headers.as_table()), ..Default::default() };
            let dead = dead_letter(&message(&fields), &death(Reason::Rejected, "q"));
            let Some(Value::Array(events)) = dead.properties().headers().and_then(deaths) else {
                panic!("no x-death");
            };
            let told: Vec<_> = events
                .iter()
                .filter_map(|event| {
                    let table = event.as_table()?;
                    let queue = table.find(b"queue")?.as_bytes()?;
                    let count = table.find(b"count").and_then(|count| count.as_i64());
                    Some((str::from_utf8(queue).ok()?.to_owned(), count))
                })
                .collect();
            let after: Vec<_> = after.iter().map(|(queue, n)| ((*queue).to_owned(), *n)).collect();
            assert_eq!(told, after, "{before:?}");
        }
    }

    #[test]
    fn a_circle_ends_unless_a_client_rejected_in_it() {
        let fresh = message(&PropertyFields::default());
        assert!(died_in(&fresh).is_empty());
        let expired = dead_letter(&fresh, &death(Reason::Expired, "a"));
        assert_eq!(died_in(&expired)[..], [b"a"]);
        let again = dead_letter(&expired, &death(Reason::MaxLength, "b"));
        assert_eq!(died_in(&again)[..], [b"b", b"a"]);
        let rejected = dead_letter(&again, &death(Reason::Rejected, "c"));
        assert!(died_in(&rejected).is_empty());
    }
}
