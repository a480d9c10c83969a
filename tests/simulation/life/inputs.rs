//! What clients do, as inputs of the broker.

use std::sync::Arc;

use leveret::broker::access::{self, Permissions, TopicPermissions, TopicVariables};
use leveret::broker::policy::{self, Policy, PolicySet, PolicyValue};
use leveret_codec::method::{basic, channel, confirm, connection, exchange, queue, tx};
use leveret_codec::table::TableBuilder;
use leveret_codec::{Encode, Value};

use super::super::model::{
    At, Binding, Destination, EVERYTHING, GUARDED, Kind, Model, Op, Outcome, PolicyKind, REPLY_TO,
    Request, Rights, Settlement, Subscription, USERS, exchange_kind, kind, short, table, user_of,
};
use super::super::replay::Input;

/// The input that tells the broker of it; none if it hears nothing of it.
pub(crate) fn input_of(op: &Op, model: &Model) -> Option<Input> {
    Some(match op {
        Op::Connect(client) => {
            let user = user_of(*client);
            Input::Open(*client, USERS[user], rights(model.rights[user].unwrap_or(&EVERYTHING)))
        }
        Op::SetRights(user, it) => Input::Rights(USERS[*user], rights(it)),
        Op::SetAlarm(is_raised) => Input::Alarm(*is_raised),
        Op::Disconnect(client) => Input::Disconnect(*client),
        Op::CloseConnection(client) => {
            let close = connection::Close { reply_code: 200, ..Default::default() };
            method((*client, 0), &close)
        }
        Op::StoreFailed => Input::StoreFailed,
        Op::SetPolicy(policy, is_set) => {
            let others = model.policies.iter().copied().filter(|it| it.name != policy.name);
            Input::Policies(policy_set(&Vec::from_iter(others.chain(is_set.then_some(*policy)))))
        }
        Op::On(at, request) => request_input(*at, request),
        _ => return None,
    })
}

/// What a user may do, as the broker gets it.
fn rights(rights: &Rights) -> Arc<access::Rights> {
    let [configure, write, read] = [rights.configure, rights.write, rights.read]
        .map(|(first, last)| format!("^[{first}-{last}]"));
    let permissions = Permissions::parse(&configure, &write, &read).expect("patterns are right");
    let mut topics = TopicPermissions::default();
    if let Some([write, read]) = rights.topics {
        let [write, read] = [write, read].map(|start| format!("^{start}"));
        let variables = TopicVariables { user: "", vhost: "/", client_id: None };
        let is_set = topics.set(GUARDED.as_bytes(), &write, &read, variables);
        is_set.expect("patterns are right");
    }
    let permissions = Some(permissions);
    Arc::new(access::Rights { permissions, topics, ..access::Rights::default() })
}

/// Policies as the broker gets them.
pub(super) fn policy_set(policies: &[&PolicyKind]) -> Arc<PolicySet> {
    let mut set = PolicySet::default();
    for it in policies {
        let mut definition = Vec::new();
        let mut number = |key: &str, value: Option<u64>| {
            let value = value.map(|value| PolicyValue::Integer(value as i64));
            definition.extend(value.map(|value| (key.to_owned(), value)));
        };
        number("message-ttl", it.ttl_ms);
        number("max-length", it.max_length.map(|max| max as u64));
        number("expires", it.expires_ms);
        number("delivery-limit", it.delivery_limit.map(u64::from));
        let texts = [
            ("overflow", it.rejects.then_some("reject-publish")),
            ("dead-letter-exchange", it.dead_letters.map(|to| to.exchange)),
            ("dead-letter-routing-key", it.dead_letters.and_then(|to| to.key)),
            ("alternate-exchange", it.alternate),
        ];
        for (key, text) in texts {
            let value = text.map(|text| PolicyValue::Text(text.to_owned()));
            definition.extend(value.map(|value| (key.to_owned(), value)));
        }
        let pattern = format!("^({})$", it.on.join("|"));
        let kind =
            if it.operator { policy::PolicyKind::Operator } else { policy::PolicyKind::User };
        let apply_to = if it.alternate.is_some() { "exchanges" } else { "queues" };
        let parsed =
            Policy::parse(kind, it.name, &pattern, Some(apply_to), it.priority, definition);
        set.set(kind, parsed.expect("policies of ours are right"));
    }
    Arc::new(set)
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
        Request::SelectTransactions => method(at, &tx::Select {}),
        Request::Commit => method(at, &tx::Commit {}),
        Request::Rollback => method(at, &tx::Rollback {}),
        Request::Publish(it) => Input::Publish(at.0, at.1, it.mandatory, it.content.message()),
        Request::Consume(it) => consume(at, it),
        Request::ConsumeReplies(tag) => {
            let (queue, consumer_tag) = (short(REPLY_TO), short(tag));
            method(at, &basic::Consume { queue, consumer_tag, no_ack: true, ..Default::default() })
        }
        Request::DeclareReplies(address) => {
            let (queue, passive) = (short(address), true);
            method(at, &queue::Declare { queue, passive, ..Default::default() })
        }
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
    let mut arguments = TableBuilder::default();
    let mut number = |name: &str, value: Option<u64>| {
        if let Some(value) = value {
            arguments.push(name.as_bytes(), &Value::I64(value as i64));
        }
    };
    number("x-message-ttl", kind.ttl_ms);
    number("x-max-length", kind.max_length.map(|max| max as u64));
    number("x-max-priority", kind.max_priority.map(u64::from));
    number("x-expires", kind.expires_ms);
    number("x-delivery-limit", kind.delivery_limit.map(u64::from));
    if kind.quorum {
        arguments.push(b"x-queue-type", &Value::LongStr(b"quorum"));
    }
    if kind.single_active {
        arguments.push(b"x-single-active-consumer", &Value::Bool(true));
    }
    if kind.rejects {
        arguments.push(b"x-overflow", &Value::LongStr(b"reject-publish"));
    }
    if let Some(to) = &kind.dead_letters {
        arguments.push(b"x-dead-letter-exchange", &Value::LongStr(to.exchange.as_bytes()));
        if let Some(key) = to.key {
            arguments.push(b"x-dead-letter-routing-key", &Value::LongStr(key.as_bytes()));
        }
    }
    let arguments = arguments.finish();
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
    let mut arguments = TableBuilder::default();
    if let Some(alternate) = it.alternate {
        arguments.push(b"alternate-exchange", &Value::LongStr(alternate.as_bytes()));
    }
    if let Some(delayed_type) = it.delayed_type {
        arguments.push(b"x-delayed-type", &Value::LongStr(delayed_type.as_bytes()));
    }
    let arguments = arguments.finish();
    let declare = exchange::Declare {
        exchange: short(name),
        kind: short(it.kind),
        durable: it.durable,
        auto_delete: it.auto_delete,
        internal: it.internal,
        arguments: arguments.as_table(),
        ..Default::default()
    };
    method(at, &declare)
}

fn bind(at: At, binding: &Binding) -> Input {
    let (source, routing_key) = (short(binding.source), short(binding.key));
    let arguments = table(binding.arguments);
    let arguments = arguments.as_table();
    match binding.destination {
        Destination::Queue(queue) => {
            let (queue, exchange) = (short(queue), source);
            let bind =
                queue::Bind { queue, exchange, routing_key, arguments, ..Default::default() };
            method(at, &bind)
        }
        Destination::Exchange(to) => {
            let destination = short(to);
            let rest = exchange::Bind::default();
            method(at, &exchange::Bind { destination, source, routing_key, arguments, ..rest })
        }
    }
}

fn unbind(at: At, binding: &Binding) -> Input {
    let (source, routing_key) = (short(binding.source), short(binding.key));
    let arguments = table(binding.arguments);
    let arguments = arguments.as_table();
    match binding.destination {
        Destination::Queue(queue) => {
            let (queue, exchange) = (short(queue), source);
            let rest = queue::Unbind::default();
            method(at, &queue::Unbind { queue, exchange, routing_key, arguments, ..rest })
        }
        Destination::Exchange(to) => {
            let destination = short(to);
            let rest = exchange::Unbind::default();
            method(at, &exchange::Unbind { destination, source, routing_key, arguments, ..rest })
        }
    }
}

fn consume(at: At, it: &Subscription) -> Input {
    let mut arguments = TableBuilder::default();
    if it.priority != 0 {
        arguments.push(b"x-priority", &Value::I32(it.priority));
    }
    let arguments = arguments.finish();
    let consume = basic::Consume {
        queue: short(it.queue),
        consumer_tag: short(&it.tag),
        no_ack: it.no_ack,
        exclusive: it.exclusive,
        arguments: arguments.as_table(),
        ..Default::default()
    };
    method(at, &consume)
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
