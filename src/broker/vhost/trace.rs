//! The firehose: a copy of each message that is published or delivered, for who looks for a fault.
//!
//! rabbitmq: while a virtual host is traced, its exchange `amq.rabbitmq.trace` gets the copies, with the routing key
//! `publish.` and the name of the exchange, or `deliver.` and that of the queue; what is known of the message stands in
//! the headers. Copies are not traced themselves.
//!
//! why: copies are routed at the end of a batch. A message is delivered in the middle of what happens to its queue,
//! which may be the one that copies go to.
//!
//! While nothing is traced, that costs a publish and a delivery a branch each.

use leveret_codec::table::{ArrayBuilder, TableBuilder};
use leveret_codec::{Properties, PropertyFields, ShortStr, ShortString, TableBuf, Value};

use super::Vhost;
use super::fan_out::{FanOut, Then};
use super::publish::Source;
use crate::broker::arguments;
use crate::broker::ids::{ConnectionId, QueueId};
use crate::broker::limits;
use crate::broker::message::Message;
use crate::broker::time::Time;

/// The exchange that gets the copies.
const EXCHANGE: &str = "amq.rabbitmq.trace";

/// How many queues and routing keys of a message its copy names.
///
/// why: they stand in a header, which has to fit into a frame.
const NAMES: usize = 100;

/// Whether messages are traced, and the copies of this batch.
#[derive(Debug, Default)]
pub(super) struct Trace {
    /// What the node is called, while messages are traced.
    node: Option<String>,
    copies: Vec<Message>,
}

impl Trace {
    pub(super) fn is_on(&self) -> bool {
        self.node.is_some()
    }
}

impl Vhost {
    /// From now on messages are traced, by a node of this name, or are not any more.
    pub fn handle_tracing(&mut self, now: Time, node: Option<String>) {
        self.now = now;
        self.batch.run.end();
        self.trace.node = node;
    }

    /// A message was published, and goes to these queues.
    pub(super) fn trace_publish(
        &mut self,
        (connection, channel): (ConnectionId, u16),
        message: &Message,
        queues: &[QueueId],
    ) {
        let names = queues.iter().take(NAMES).filter_map(|id| self.queues.get(*id));
        let mut routed = ArrayBuilder::default();
        for queue in names {
            routed.push(&Value::LongStr(queue.name.as_bytes()));
        }
        let key = [b"publish.", message.exchange().as_bytes()].concat();
        let routed = ("routed_queues", Value::Array(routed.as_array()));
        self.trace_copy(connection, channel, message, &key, routed);
    }

    /// A message of a queue was sent to a client.
    pub(super) fn trace_delivery(
        &mut self,
        (connection, channel): (ConnectionId, u16),
        queue: QueueId,
        redelivered: bool,
        message: &Message,
    ) {
        let Some(queue) = self.queues.get(queue) else { return };
        let key = [b"deliver.", queue.name.as_bytes()].concat();
        let redelivered = ("redelivered", Value::I32(redelivered.into()));
        self.trace_copy(connection, channel, message, &key, redelivered);
    }

    fn trace_copy(
        &mut self,
        connection: ConnectionId,
        channel: u16,
        message: &Message,
        key: &[u8],
        (name, value): (&str, Value<'_>),
    ) {
        let Some(node) = &self.trace.node else { return };
        let Some(client) = self.sessions.client(connection) else { return };
        if message.exchange().as_bytes() == EXCHANGE.as_bytes() {
            return;
        }
        let fields = message.properties().fields();
        let properties = properties_table(&fields);
        let mut keys = ArrayBuilder::default();
        keys.push(&Value::LongStr(message.routing_key().as_bytes()));
        // invariant: they were checked when the message was published.
        let copies = fields.headers.and_then(|headers| arguments::copy_keys(headers).ok());
        for key in copies.iter().flat_map(|copies| &copies.keys).take(NAMES) {
            keys.push(&Value::LongStr(key));
        }
        let mut headers = TableBuilder::default();
        headers
            .push(b"exchange_name", &Value::LongStr(message.exchange().as_bytes()))
            .push(b"routing_keys", &Value::Array(keys.as_array()))
            .push(b"properties", &Value::Table(properties.as_table()))
            .push(b"node", &Value::LongStr(node.as_bytes()))
            .push(b"vhost", &Value::LongStr(self.name.as_bytes()))
            .push(b"connection", &Value::LongStr(client.info().name.as_bytes()))
            .push(b"channel", &Value::I32(channel.into()))
            .push(b"user", &Value::LongStr(client.user().name.as_bytes()))
            .push(name.as_bytes(), &value);
        let headers = headers.finish();
        let mut octets = Vec::new();
        let fields = PropertyFields { headers: Some(headers.as_table()), ..Default::default() };
        fields.encode(&mut octets);
        self.trace.copies.push(Message::new(
            ShortStr::from_static(EXCHANGE),
            ShortString::truncated(key).as_short(),
            Properties::from_checked(&octets),
            message.body(),
        ));
    }

    /// Routes the copies of this batch.
    pub(super) fn route_traces(&mut self) {
        if self.trace.copies.is_empty() {
            return;
        }
        let exchange = self.exchanges.find(EXCHANGE.as_bytes());
        for copy in std::mem::take(&mut self.trace.copies) {
            if exchange.is_none() {
                continue;
            }
            let mut routes = self.route(exchange, &copy, &[]);
            if routes.queues.len() > limits::AT_ONCE {
                let queues = std::mem::take(&mut routes.queues);
                self.add_fan_out(FanOut::new(copy, None, queues, Then::Release(None)), None);
            } else {
                self.enqueue(copy, None, &routes.queues, Source::Broker);
            }
            self.batch.keep_routes(routes);
        }
        self.process_dead_letters();
    }
}

/// Properties as a table, each by its name.
fn properties_table(fields: &PropertyFields<'_>) -> TableBuf {
    let text = |value: Option<ShortStr<'_>>| value.map(ShortString::from);
    let number = |value: Option<u8>| value.map(|number| Value::I32(number.into()));
    let texts = [
        ("content_type", text(fields.content_type)),
        ("content_encoding", text(fields.content_encoding)),
        ("correlation_id", text(fields.correlation_id)),
        ("reply_to", text(fields.reply_to)),
        ("expiration", text(fields.expiration)),
        ("message_id", text(fields.message_id)),
        ("type", text(fields.kind)),
        ("user_id", text(fields.user_id)),
        ("app_id", text(fields.app_id)),
        ("cluster_id", text(fields.cluster_id)),
    ];
    let others = [
        ("headers", fields.headers.map(Value::Table)),
        ("delivery_mode", number(fields.delivery_mode)),
        ("priority", number(fields.priority)),
        ("timestamp", fields.timestamp.map(|time| Value::I64(time as i64))),
    ];
    let mut table = TableBuilder::default();
    for (name, value) in &others {
        if let Some(value) = value {
            table.push(name.as_bytes(), value);
        }
    }
    for (name, text) in &texts {
        if let Some(text) = text {
            table.push(name.as_bytes(), &Value::LongStr(text.as_bytes()));
        }
    }
    table.finish()
}
