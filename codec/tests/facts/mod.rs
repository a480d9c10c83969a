//! The methods as the specification has them, and an encoder that knows nothing but them.
//!
//! Nothing here uses the crate: it is what the crate is held against.

use std::sync::LazyLock;

use proptest::collection::vec;
use proptest::prelude::*;

/// A method of the specification.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fact {
    pub(crate) class_id: u16,
    pub(crate) method_id: u16,
    pub(crate) name: &'static str,
    pub(crate) has_content: bool,
    fields: &'static str,
}

impl Fact {
    /// Names and types of the fields, in wire order.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (&'static str, &'static str)> + use<> {
        self.fields.split_whitespace().map(|field| field.split_once(':').expect("name:type"))
    }
}

/// All methods.
pub(crate) fn facts() -> &'static [Fact] {
    static FACTS: LazyLock<Vec<Fact>> =
        LazyLock::new(|| METHODS.split("\n\n").flat_map(str::lines).map(fact).collect());
    &FACTS
}

fn fact(line: &'static str) -> Fact {
    let mut words = line.splitn(4, ' ');
    let mut word = || words.next().unwrap_or_default();
    let (class_id, method_id, name, rest) = (word(), word(), word(), word());
    Fact {
        class_id: class_id.parse().expect("a class id"),
        method_id: method_id.parse().expect("a method id"),
        name,
        has_content: rest.starts_with('+'),
        fields: rest.trim_start_matches('+'),
    }
}

/// A line a method: class id, method id, name, `+` when it carries content, fields.
const METHODS: &str = "\
10 10 connection.start version_major:octet version_minor:octet server_properties:table \
    mechanisms:longstr locales:longstr
10 11 connection.start-ok client_properties:table mechanism:shortstr response:longstr \
    locale:shortstr
10 20 connection.secure challenge:longstr
10 21 connection.secure-ok response:longstr
10 30 connection.tune channel_max:short frame_max:long heartbeat:short
10 31 connection.tune-ok channel_max:short frame_max:long heartbeat:short
10 40 connection.open virtual_host:shortstr capabilities:shortstr insist:bit
10 41 connection.open-ok known_hosts:shortstr
10 50 connection.close reply_code:short reply_text:shortstr class_id:short method_id:short
10 51 connection.close-ok
10 60 connection.blocked reason:shortstr
10 61 connection.unblocked
10 70 connection.update-secret new_secret:longstr reason:shortstr
10 71 connection.update-secret-ok

20 10 channel.open out_of_band:shortstr
20 11 channel.open-ok channel_id:longstr
20 20 channel.flow active:bit
20 21 channel.flow-ok active:bit
20 40 channel.close reply_code:short reply_text:shortstr class_id:short method_id:short
20 41 channel.close-ok

40 10 exchange.declare ticket:short exchange:shortstr kind:shortstr passive:bit durable:bit \
    auto_delete:bit internal:bit nowait:bit arguments:table
40 11 exchange.declare-ok
40 20 exchange.delete ticket:short exchange:shortstr if_unused:bit nowait:bit
40 21 exchange.delete-ok
40 30 exchange.bind ticket:short destination:shortstr source:shortstr routing_key:shortstr \
    nowait:bit arguments:table
40 31 exchange.bind-ok
40 40 exchange.unbind ticket:short destination:shortstr source:shortstr routing_key:shortstr \
    nowait:bit arguments:table
40 51 exchange.unbind-ok

50 10 queue.declare ticket:short queue:shortstr passive:bit durable:bit exclusive:bit \
    auto_delete:bit nowait:bit arguments:table
50 11 queue.declare-ok queue:shortstr message_count:long consumer_count:long
50 20 queue.bind ticket:short queue:shortstr exchange:shortstr routing_key:shortstr nowait:bit \
    arguments:table
50 21 queue.bind-ok
50 30 queue.purge ticket:short queue:shortstr nowait:bit
50 31 queue.purge-ok message_count:long
50 40 queue.delete ticket:short queue:shortstr if_unused:bit if_empty:bit nowait:bit
50 41 queue.delete-ok message_count:long
50 50 queue.unbind ticket:short queue:shortstr exchange:shortstr routing_key:shortstr \
    arguments:table
50 51 queue.unbind-ok

60 10 basic.qos prefetch_size:long prefetch_count:short global:bit
60 11 basic.qos-ok
60 20 basic.consume ticket:short queue:shortstr consumer_tag:shortstr no_local:bit no_ack:bit \
    exclusive:bit nowait:bit arguments:table
60 21 basic.consume-ok consumer_tag:shortstr
60 30 basic.cancel consumer_tag:shortstr nowait:bit
60 31 basic.cancel-ok consumer_tag:shortstr
60 40 basic.publish + ticket:short exchange:shortstr routing_key:shortstr mandatory:bit \
    immediate:bit
60 50 basic.return + reply_code:short reply_text:shortstr exchange:shortstr routing_key:shortstr
60 60 basic.deliver + consumer_tag:shortstr delivery_tag:longlong redelivered:bit \
    exchange:shortstr routing_key:shortstr
60 70 basic.get ticket:short queue:shortstr no_ack:bit
60 71 basic.get-ok + delivery_tag:longlong redelivered:bit exchange:shortstr \
    routing_key:shortstr message_count:long
60 72 basic.get-empty cluster_id:shortstr
60 80 basic.ack delivery_tag:longlong multiple:bit
60 90 basic.reject delivery_tag:longlong requeue:bit
60 100 basic.recover-async requeue:bit
60 110 basic.recover requeue:bit
60 111 basic.recover-ok
60 120 basic.nack delivery_tag:longlong multiple:bit requeue:bit

85 10 confirm.select nowait:bit
85 11 confirm.select-ok

90 10 tx.select
90 11 tx.select-ok
90 20 tx.commit
90 21 tx.commit-ok
90 30 tx.rollback
90 31 tx.rollback-ok

30 10 access.request realm:shortstr exclusive:bit passive:bit active:bit write:bit read:bit
30 11 access.request-ok ticket:short";

/// What a field can hold.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    Bit(bool),
    Octet(u8),
    Short(u16),
    Long(u32),
    LongLong(u64),
    ShortStr(String),
    LongStr(Vec<u8>),
    /// The entries.
    Table(Vec<u8>),
}

impl Content {
    /// Something to put into a field of this type; another thing for another `seed`.
    pub(crate) fn sample(kind: &str, seed: u8) -> Self {
        match kind {
            "bit" => Self::Bit(seed % 2 == 1),
            "octet" => Self::Octet(seed),
            "short" => Self::Short(0x0100 + u16::from(seed)),
            "long" => Self::Long(0x0001_0000 + u32::from(seed)),
            "longlong" => Self::LongLong(0x0001_0000_0000 + u64::from(seed)),
            "shortstr" => Self::ShortStr(format!("s{seed}")),
            "longstr" => Self::LongStr(vec![0, seed]),
            "table" => Self::Table(vec![1, b'k', b'B', seed]),
            other => panic!("no type {other}"),
        }
    }

    /// Anything that fits into a field of this type.
    pub(crate) fn any(kind: &str, table: &BoxedStrategy<Vec<u8>>) -> BoxedStrategy<Self> {
        match kind {
            "bit" => any::<bool>().prop_map(Self::Bit).boxed(),
            "octet" => any::<u8>().prop_map(Self::Octet).boxed(),
            "short" => any::<u16>().prop_map(Self::Short).boxed(),
            "long" => any::<u32>().prop_map(Self::Long).boxed(),
            "longlong" => any::<u64>().prop_map(Self::LongLong).boxed(),
            "shortstr" => "\\PC{0,60}".prop_map(Self::ShortStr).boxed(),
            "longstr" => vec(any::<u8>(), 0..300).prop_map(Self::LongStr).boxed(),
            "table" => table.clone().prop_map(Self::Table).boxed(),
            other => panic!("no type {other}"),
        }
    }
}

/// A method frame's payload: ids and fields.
pub(crate) fn payload(fact: &Fact, contents: &[Content]) -> Vec<u8> {
    let mut out = [fact.class_id.to_be_bytes(), fact.method_id.to_be_bytes()].concat();
    let mut bits: Option<(usize, u32)> = None;
    for content in contents {
        if let Content::Bit(bit) = content {
            let (at, used) = bits.unwrap_or((out.len(), 0));
            out.resize(at + 1, 0);
            out[at] += u8::from(*bit) * 2u8.pow(used);
            bits = Some((at, used + 1));
            continue;
        }
        bits = None;
        match content {
            Content::Bit(_) => {}
            Content::Octet(value) => out.push(*value),
            Content::Short(value) => out.extend(value.to_be_bytes()),
            Content::Long(value) => out.extend(value.to_be_bytes()),
            Content::LongLong(value) => out.extend(value.to_be_bytes()),
            Content::ShortStr(text) => {
                out.push(u8::try_from(text.len()).expect("a short string"));
                out.extend(text.as_bytes());
            }
            Content::LongStr(bytes) | Content::Table(bytes) => {
                out.extend(u32::try_from(bytes.len()).expect("a long string").to_be_bytes());
                out.extend(bytes);
            }
        }
    }
    out
}

/// A method with something in its fields.
pub(crate) struct Sample {
    pub(crate) fact: Fact,
    pub(crate) contents: Vec<Content>,
    pub(crate) payload: Vec<u8>,
}

/// Each method once, with samples in its fields.
pub(crate) fn samples() -> Vec<Sample> {
    let sample = |fact: &Fact| {
        let contents: Vec<_> =
            fact.fields().zip(1..).map(|((_, kind), seed)| Content::sample(kind, seed)).collect();
        let payload = payload(fact, &contents);
        Sample { fact: *fact, contents, payload }
    };
    facts().iter().map(sample).collect()
}

/// A frame with this payload.
pub(crate) fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![kind];
    out.extend(channel.to_be_bytes());
    out.extend(u32::try_from(payload.len()).expect("a payload").to_be_bytes());
    out.extend(payload);
    out.push(0xCE);
    out
}
