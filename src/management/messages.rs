//! Messages: published to an exchange, fetched from a queue; and the test that does both.

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use leveret_codec::method::{basic, queue};
use leveret_codec::{Method, Properties, PropertyFields, ShortStr, TableBuf};
use serde_json::{Map, Value, json};

use super::access::Caller;
use super::answer::{Failure, value};
use super::body::Payload;
use super::exchanges::{self, short};
use super::fields::write_json;
use super::json_stream::{Envelope, Items, JsonStream};
use super::list::{Columns, ListQuery};
use super::local_client::{self, Got, LocalClient, Refusal};
use super::{Answer, Api, Permits, off_thread, queues, show};
use crate::broker::message::Message;
use crate::definitions::field_table;

/// How many messages one request fetches at most.
const FETCHED_MESSAGES: usize = 1_000;

/// After how many bytes of messages a request fetches no more.
///
/// why: all of them are in memory until they are written. The message that reaches the bound is still in the answer,
/// as its length is known only once it is fetched, and one alone may be longer than that.
const FETCHED_BYTES: usize = 16 * 1024 * 1024;

/// The queue of the aliveness test.
const ALIVENESS_TEST: &str = "aliveness-test";

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/exchanges/{vhost}/{exchange}/publish", post(publish))
        .route("/queues/{vhost}/{queue}/get", post(fetch))
        .route("/aliveness-test/{vhost}", get(aliveness_test))
}

type Names = Path<(String, String)>;

async fn publish(
    State(app): State<Api>,
    caller: Caller,
    Path((vhost, exchange)): Names,
    body: Payload,
) -> Answer {
    caller.needs_vhost(&app, &vhost)?;
    let exchange = exchanges::from_path(&exchange);
    if !exchanges::exists(&app, &vhost, exchange).await {
        return Err(Failure::missing());
    }
    let object = body.object_with(&["routing_key", "properties", "payload", "payload_encoding"])?;
    let Some(Value::String(payload)) = object.find("payload") else {
        return Err(Failure::bad_request("payload_not_string"));
    };
    let mut client = LocalClient::enter(&app, &caller, &vhost).await?;
    let properties = encoded(&object.nested("properties")?)?;
    let payload = match object.text("payload_encoding")? {
        "string" => payload.as_bytes().to_vec(),
        // rabbitmq: blanks and line breaks in it mean nothing.
        "base64" => STANDARD
            .decode(payload.split_ascii_whitespace().collect::<String>())
            .map_err(|_| Failure::bad_request(json!(["not_base64", payload])))?,
        other => return Err(Failure::bad_request(json!(["unsupported_encoding", other]))),
    };
    let message = Message::new(
        short(exchange)?,
        short(object.text("routing_key")?)?,
        Properties::from_checked(&properties),
        &payload,
    );
    match client.publish(message).await {
        Ok((routed, true)) => Ok(value(&json!({ "routed": routed }))),
        Ok((_, false)) => {
            Err(Failure::bad_request("rejected Unable to publish message. Check queue limits."))
        }
        Err(refusal) => Err(refusal.of_publish()),
    }
}

/// Properties as they are on the wire. What is unknown is left out.
fn encoded(properties: &Map<String, Value>) -> Result<Vec<u8>, Failure> {
    let headers = headers(properties)?;
    let text = |key: &str| match properties.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => short(text).map(Some),
        Some(_) => Err(Failure::bad_request(json!(["not_string", key]))),
    };
    let number = |key: &str, largest: u64| match properties.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value
            .as_u64()
            .filter(|number| *number <= largest)
            .map(Some)
            .ok_or_else(|| Failure::bad_request(json!(["not_int", key]))),
    };
    // invariant: it is at most that much.
    let octet = |key| number(key, u8::MAX.into()).map(|it| it.map(|number| number as u8));
    let fields = PropertyFields {
        content_type: text("content_type")?,
        content_encoding: text("content_encoding")?,
        headers: headers.as_ref().map(TableBuf::as_table),
        delivery_mode: octet("delivery_mode")?,
        priority: octet("priority")?,
        correlation_id: text("correlation_id")?,
        reply_to: text("reply_to")?,
        expiration: text("expiration")?,
        message_id: text("message_id")?,
        timestamp: number("timestamp", u64::MAX)?,
        kind: text("type")?,
        user_id: text("user_id")?,
        app_id: text("app_id")?,
        cluster_id: text("cluster_id")?,
    };
    let mut encoded = Vec::new();
    fields.encode(&mut encoded);
    Ok(encoded)
}

fn headers(properties: &Map<String, Value>) -> Result<Option<TableBuf>, Failure> {
    match properties.get("headers") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(headers)) => {
            let table = field_table::from_json(headers);
            table.map(Some).map_err(|invalid| Failure::bad_request(invalid.to_string()))
        }
        Some(Value::Array(list)) if list.is_empty() => Ok(None),
        Some(_) => Err(Failure::bad_request(json!(["not_object", "headers"]))),
    }
}

/// What becomes of messages that are fetched.
#[derive(Clone, Copy, PartialEq, Eq)]
enum AckMode {
    /// They are gone.
    Ack,
    /// They go back when the client goes.
    Requeue,
    /// They are rejected.
    Reject { requeue: bool },
}

impl AckMode {
    fn parse(name: &str) -> Option<AckMode> {
        match name {
            "ack_requeue_false" => Some(AckMode::Ack),
            "ack_requeue_true" => Some(AckMode::Requeue),
            "reject_requeue_false" => Some(AckMode::Reject { requeue: false }),
            "reject_requeue_true" => Some(AckMode::Reject { requeue: true }),
            _ => None,
        }
    }
}

async fn fetch(
    State(app): State<Api>,
    caller: Caller,
    Path((vhost, queue)): Names,
    query: ListQuery,
    body: Payload,
) -> Answer {
    caller.needs_vhost(&app, &vhost)?;
    if app.vhosts.vhost(&vhost).is_none() {
        return Err(Failure::missing());
    }
    let object = body.object_with(&["ackmode", "count", "encoding"])?;
    // rabbitmq: answers an unknown one with 500 until 3.x.
    let mode = object.text("ackmode")?;
    let mode = AckMode::parse(mode)
        .ok_or_else(|| Failure::bad_request(json!(["unsupported_ackmode", mode])))?;
    let count = usize::try_from(object.integer("count")?)
        .map_err(|_| Failure::bad_request(json!(["not_integer", object.find("count")])))?;
    let as_text = match object.text("encoding")? {
        "auto" => true,
        "base64" => false,
        _ => {
            let reason = "Unsupported encoding. Please use auto or base64.";
            return Err(Failure::bad_request(reason));
        }
    };
    let truncate = match object.find("truncate") {
        None => usize::MAX,
        Some(_) => usize::try_from(object.integer("truncate")?).unwrap_or(0),
    };
    let permit = Permits::take(&app.permits.gets).await?;
    let mut client = LocalClient::enter(&app, &caller, &vhost).await?;
    let got = gets(&mut client, &queue, mode, count.min(FETCHED_MESSAGES)).await?;
    if let AckMode::Reject { requeue } = mode {
        let reject = |got: &Got| {
            Method::BasicReject(basic::Reject { delivery_tag: got.delivery_tag, requeue })
        };
        client.cast(got.iter().map(reject)).await;
    }
    drop(client);
    let got = Fetched { got: got.into_iter(), as_text, truncate, columns: query.columns() };
    Ok(off_thread(move || JsonStream::new(got, Envelope::List).answer(Some(permit))).await)
}

/// Fetches so many messages, or as many as there are, or as fit into an answer.
///
/// why: one by one, as the length of the next one is not known, and what is fetched must be in the answer.
async fn gets(
    client: &mut LocalClient,
    queue: &str,
    mode: AckMode,
    count: usize,
) -> Result<Vec<Got>, Failure> {
    let get = basic::Get { queue: short(queue)?, no_ack: mode == AckMode::Ack, ticket: 0 };
    let (mut got, mut bytes) = (Vec::new(), 0);
    while got.len() < count && bytes < FETCHED_BYTES {
        let answer = client.call(Method::BasicGet(get)).await;
        let local_client::Answer::Got(message) = answer.map_err(|refusal| refusal.of_use())? else {
            break;
        };
        bytes += message.message.as_bytes().len();
        got.push(message);
    }
    Ok(got)
}

/// Messages that were fetched and are to be written.
struct Fetched {
    got: std::vec::IntoIter<Got>,
    as_text: bool,
    truncate: usize,
    columns: Columns,
}

impl Items for Fetched {
    fn write_next(&mut self, into: &mut Vec<u8>) -> bool {
        let Some(got) = self.got.next() else { return false };
        write_json(&self.columns.pick(shown(&got, self.as_text, self.truncate)), into);
        true
    }
}

fn shown(got: &Got, as_text: bool, truncate: usize) -> Value {
    let message = &got.message;
    let body = &message.body()[..message.body().len().min(truncate)];
    let (payload, encoding) = match std::str::from_utf8(body) {
        Ok(text) if as_text => (text.to_owned(), "string"),
        _ => (STANDARD.encode(body), "base64"),
    };
    json!({
        "payload_bytes": message.body().len(),
        "redelivered": got.redelivered,
        "exchange": show::text(message.exchange().as_bytes()),
        "routing_key": show::text(message.routing_key().as_bytes()),
        "message_count": got.message_count,
        "properties": show::properties(message.properties()),
        "payload": payload,
        "payload_encoding": encoding,
    })
}

/// Declares a queue, publishes to it and fetches that again.
async fn aliveness_test(
    State(app): State<Api>,
    caller: Caller,
    Path(vhost): Path<String>,
) -> Answer {
    caller.needs_vhost(&app, &vhost)?;
    app.vhost(&vhost)?;
    let mut client = LocalClient::enter(&app, &caller, &vhost).await?;
    let queue = ShortStr::from_static(ALIVENESS_TEST);
    let refused = |refusal: Refusal| refusal.of_use();
    if !queues::exists(&app, &vhost, ALIVENESS_TEST).await {
        let declare = queue::Declare { queue, ..queue::Declare::default() };
        client.call(Method::QueueDeclare(declare)).await.map_err(refused)?;
    }
    let message = Message::new(ShortStr::EMPTY, queue, Properties::EMPTY, b"test_message");
    client.publish(message).await.map_err(refused)?;
    let get = basic::Get { queue, no_ack: true, ticket: 0 };
    match client.call(Method::BasicGet(get)).await.map_err(refused)? {
        local_client::Answer::Got(_) => Ok(value(&json!({ "status": "ok" }))),
        _ => Err(Failure::internal("the test message did not come back")),
    }
}
