//! What clients do, as inputs of the broker.

use leveret_codec::method::{basic, channel, confirm, connection, exchange, queue};
use leveret_codec::table::TableBuilder;
use leveret_codec::{Encode, TableBuf, Value};

use super::super::model::{
    At, Binding, Kind, Op, Outcome, Request, Settlement, exchange_kind, kind, short,
};
use super::super::replay::Input;

/// The input that tells the broker of it; none if it hears nothing of it.
pub(crate) fn input_of(op: &Op) -> Option<Input> {
    Some(match op {
        Op::Connect(client) => Input::Open(*client),
        Op::Disconnect(client) => Input::Disconnect(*client),
        Op::CloseConnection(client) => {
            let close = connection::Close { reply_code: 200, ..Default::default() };
            method((*client, 0), &close)
        }
        Op::On(at, request) => request_input(*at, request),
        _ => return None,
    })
}

/// What a client says to the close of a channel.
pub(crate) fn close_ok(at: At) -> Input {
    method(at, &channel::CloseOk {})
}

fn request_input(at: At, request: &Request) -> Input {
    match request {
        Request::Open => method(at, &channel::Open::default()),
        Request::Close => method(at, &channel::Close::default()),
        Request::DeclareQueue(name) => declare_queue(at, kind(name)),
        Request::DeleteQueue(name) => {
            method(at, &queue::Delete { queue: short(name), ..Default::default() })
        }
        Request::Purge(name) => {
            method(at, &queue::Purge { queue: short(name), ..Default::default() })
        }
        Request::DeclareExchange(name) => declare_exchange(at, name),
        Request::DeleteExchange(name) => {
            method(at, &exchange::Delete { exchange: short(name), ..Default::default() })
        }
        Request::Bind(binding) => bind(at, binding),
        Request::Unbind(binding) => unbind(at, binding),
        Request::SelectConfirms => method(at, &confirm::Select { nowait: false }),
        Request::Publish(content) => Input::Publish(at.0, at.1, content.message()),
        Request::Consume(it) => method(
            at,
            &basic::Consume {
                queue: short(it.queue),
                consumer_tag: short(&it.tag),
                no_ack: it.no_ack,
                ..Default::default()
            },
        ),
        Request::Cancel(tag) => {
            method(at, &basic::Cancel { consumer_tag: short(tag), nowait: false })
        }
        Request::Qos(prefetch_count, global) => method(
            at,
            &basic::Qos { prefetch_count: *prefetch_count, global: *global, ..Default::default() },
        ),
        Request::Get(name, no_ack) => {
            method(at, &basic::Get { queue: short(name), no_ack: *no_ack, ..Default::default() })
        }
        Request::Settle(settlement) => settle(at, settlement),
        Request::Recover => method(at, &basic::Recover { requeue: true }),
    }
}

fn declare_queue(at: At, kind: &Kind) -> Input {
    let mut table = TableBuilder::default();
    let mut number = |name: &str, value: Option<u64>| {
        if let Some(value) = value {
            table.push(name.as_bytes(), &Value::I64(value as i64));
        }
    };
    number("x-message-ttl", kind.ttl_ms);
    number("x-max-length", kind.max_length.map(|max| max as u64));
    number("x-max-priority", kind.max_priority.map(u64::from));
    number("x-expires", kind.expires_ms);
    if kind.rejects {
        table.push(b"x-overflow", &Value::LongStr(b"reject-publish"));
    }
    if let Some(to) = kind.dead_letters_to {
        table.push(b"x-dead-letter-exchange", &Value::LongStr(b""));
        table.push(b"x-dead-letter-routing-key", &Value::LongStr(to.as_bytes()));
    }
    let arguments: TableBuf = table.finish();
    let declare = queue::Declare {
        queue: short(kind.name),
        durable: kind.durable,
        exclusive: kind.exclusive,
        auto_delete: kind.auto_delete,
        arguments: arguments.as_table(),
        ..Default::default()
    };
    method(at, &declare)
}

fn declare_exchange(at: At, name: &str) -> Input {
    let it = exchange_kind(name);
    let declare = exchange::Declare {
        exchange: short(name),
        kind: short(if it.fanout { "fanout" } else { "direct" }),
        durable: it.durable,
        ..Default::default()
    };
    method(at, &declare)
}

fn bind(at: At, binding: &Binding) -> Input {
    let bind = queue::Bind {
        queue: short(binding.queue),
        exchange: short(binding.source),
        routing_key: short(binding.key),
        ..Default::default()
    };
    method(at, &bind)
}

fn unbind(at: At, binding: &Binding) -> Input {
    let unbind = queue::Unbind {
        queue: short(binding.queue),
        exchange: short(binding.source),
        routing_key: short(binding.key),
        ..Default::default()
    };
    method(at, &unbind)
}

fn settle(at: At, settlement: &Settlement) -> Input {
    let Settlement { tag: delivery_tag, multiple, outcome } = *settlement;
    let requeue = outcome == Outcome::Requeued;
    match (outcome, multiple) {
        (Outcome::Done, _) => method(at, &basic::Ack { delivery_tag, multiple }),
        (_, false) => method(at, &basic::Reject { delivery_tag, requeue }),
        (_, true) => method(at, &basic::Nack { delivery_tag, multiple, requeue }),
    }
}

fn method<M: Encode>((client, channel): At, method: &M) -> Input {
    let mut payload = Vec::new();
    payload.extend(M::CLASS_ID.to_be_bytes());
    payload.extend(M::METHOD_ID.to_be_bytes());
    method.encode_fields(&mut payload);
    Input::Method(client, channel, payload)
}
