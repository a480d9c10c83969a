//! Messages that are published and fetched.

use serde_json::{Value, json};

use super::arena::{Arena, Reply, User};

/// Publishes to an exchange.
fn publish(user: User<'_>, exchange: &str, key: &str, properties: &Value, payload: &str) -> Reply {
    let body = json!({
        "properties": properties,
        "routing_key": key,
        "payload": payload,
        "payload_encoding": "string",
    });
    user.post(&format!("exchanges/%2F/{exchange}/publish"), &body.to_string())
}

/// Fetches so many messages.
fn fetch(user: User<'_>, count: u32, ackmode: &str) -> Value {
    let body = json!({"count": count, "ackmode": ackmode, "encoding": "auto"});
    let reply = user.post("queues/%2F/q/get", &body.to_string());
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()
}

#[test]
fn a_message_comes_out_as_it_went_in() {
    let arena = Arena::start();
    let guest = arena.guest();
    guest.put("queues/%2F/q", "{}");
    let properties = json!({
        "content_type": "text/plain", "delivery_mode": 2, "priority": 3, "timestamp": 4,
        "type": "t", "headers": {"n": 1, "s": "text", "l": [true, null, 1.5], "o": {"k": "v"}},
        "unknown": "left out",
    });
    let reply = publish(guest, "amq.default", "q", &properties, "hår");
    assert_eq!((reply.status, reply.json()), (200, json!({"routed": true})));
    let got = fetch(guest, 5, "ack_requeue_false");
    let mut properties = properties;
    properties.as_object_mut().unwrap().remove("unknown");
    assert_eq!(
        got,
        json!([{
            "payload_bytes": 4, "redelivered": false, "exchange": "", "routing_key": "q",
            "message_count": 0, "properties": properties, "payload": "hår",
            "payload_encoding": "string",
        }])
    );
    assert_eq!(fetch(guest, 1, "ack_requeue_false"), json!([]));
}

#[test]
fn a_message_that_goes_nowhere_is_told() {
    let arena = Arena::start();
    let guest = arena.guest();
    let reply = publish(guest, "amq.direct", "nowhere", &json!({}), "");
    assert_eq!((reply.status, reply.json()), (200, json!({"routed": false})));
}

#[test]
fn a_durable_message_is_confirmed_when_it_is_safe() {
    let arena = Arena::start();
    let guest = arena.guest();
    guest.put("queues/%2F/q", r#"{"durable": true}"#);
    let reply = publish(guest, "amq.default", "q", &json!({"delivery_mode": 2}), "");
    assert_eq!(reply.json(), json!({"routed": true}));
}

#[test]
fn a_queue_that_is_full_refuses() {
    let arena = Arena::start();
    let guest = arena.guest();
    let arguments = r#"{"arguments": {"x-max-length": 0, "x-overflow": "reject-publish"}}"#;
    assert_eq!(guest.put("queues/%2F/q", arguments).status, 201);
    let reply = publish(guest, "amq.default", "q", &json!({}), "");
    let reason = "rejected Unable to publish message. Check queue limits.";
    reply.refused(400, "bad_request", reason);
}

#[test]
fn an_alarm_stops_nothing_that_is_published_by_the_api() {
    let arena = Arena::start();
    let guest = arena.guest();
    guest.put("queues/%2F/q", "{}");
    arena.broker().set_alarm(Some("low on memory"));
    let reply = publish(guest, "amq.default", "q", &json!({}), "a");
    assert_eq!(reply.json(), json!({"routed": true}));
    assert_eq!(guest.see("queues/%2F/q")["messages"], 1);
}

#[test]
fn what_cannot_be_published_is_told_in_the_words_of_amqp() {
    let arena = Arena::start();
    let guest = arena.guest();
    guest.put("exchanges/%2F/inside", r#"{"internal": true}"#);
    publish(guest, "lost", "", &json!({}), "").refused(404, "Object Not Found", "Not Found");
    publish(guest, "inside", "", &json!({}), "").refused(
        400,
        "bad_request",
        "403 ACCESS_REFUSED - cannot publish to internal exchange 'inside' in vhost '/'",
    );
    publish(guest, "amq.direct", "", &json!({"expiration": "abc"}), "").refused(
        400,
        "bad_request",
        "406 PRECONDITION_FAILED - invalid expiration 'abc': no_integer",
    );
    let not = |properties: Value, reason: Value| {
        publish(guest, "amq.direct", "", &properties, "").refused(400, "bad_request", reason);
    };
    not(json!({"priority": "high"}), json!(["not_int", "priority"]));
    not(json!({"reply_to": 1}), json!(["not_string", "reply_to"]));

    let post = |body: &str| guest.post("exchanges/%2F/amq.direct/publish", body);
    post(r#"{"routing_key": ""}"#).refused(
        400,
        "bad_request",
        "[{key_missing,properties},\n {key_missing,payload},\n {key_missing,payload_encoding}]",
    );
    let with = |payload: &str, encoding: &str| {
        format!(
            r#"{{"routing_key": "", "properties": {{}}, "payload": {payload},
                "payload_encoding": "{encoding}"}}"#
        )
    };
    let reason = json!(["unsupported_encoding", "hex"]);
    post(&with("\"\"", "hex")).refused(400, "bad_request", reason);
    post(&with("1", "string")).refused(400, "bad_request", "payload_not_string");
    post(&with("\"?\"", "base64")).refused(400, "bad_request", json!(["not_base64", "?"]));
}

#[test]
fn octets_are_base64() {
    let arena = Arena::start();
    let guest = arena.guest();
    guest.put("queues/%2F/q", "{}");
    let body = r#"{"properties": [], "routing_key": "q", "payload": " /w\r\nD/", "payload_encoding": "base64"}"#;
    assert_eq!(guest.post("exchanges/%2F/amq.default/publish", body).status, 200);
    let got = fetch(guest, 1, "ack_requeue_true");
    assert_eq!(
        (&got[0]["payload"], &got[0]["payload_encoding"]),
        (&json!("/wD/"), &json!("base64"))
    );
    assert_eq!(got[0]["properties"], json!([]));
    let body =
        r#"{"count": 1, "ackmode": "ack_requeue_false", "encoding": "base64", "truncate": 2}"#;
    let got = guest.post("queues/%2F/q/get", body).json();
    assert_eq!((&got[0]["payload"], &got[0]["payload_bytes"]), (&json!("/wA="), &json!(3)));
    assert_eq!(got[0]["redelivered"], true);
}

#[test]
fn what_becomes_of_a_message_that_was_fetched_is_said() {
    let arena = Arena::start();
    let guest = arena.guest();
    guest.put("queues/%2F/q", "{}");
    for payload in ["1", "2"] {
        publish(guest, "amq.default", "q", &json!({}), payload);
    }
    let payloads = |got: &Value| -> Vec<String> {
        got.as_array().unwrap().iter().map(|it| it["payload"].as_str().unwrap().into()).collect()
    };
    for mode in ["ack_requeue_true", "reject_requeue_true"] {
        let got = fetch(guest, 10, mode);
        assert_eq!(payloads(&got), ["1", "2"], "{mode}");
        assert_eq!((&got[0]["message_count"], &got[1]["message_count"]), (&json!(1), &json!(0)));
    }
    let got = fetch(guest, 1, "reject_requeue_false");
    assert_eq!((payloads(&got), &got[0]["redelivered"]), (vec!["1".to_owned()], &json!(true)));
    assert_eq!(payloads(&fetch(guest, 1, "ack_requeue_false")), ["2"]);
    assert_eq!(guest.see("queues/%2F/q")["messages"], 0);
}

#[test]
fn many_messages_are_fetched_at_once() {
    let arena = Arena::start();
    let guest = arena.guest();
    let mut client = crate::support::client::Client::connect(arena.amqp());
    client.declare("q", false);
    let mut octets = Vec::new();
    for number in 0..200 {
        let body = format!("{number}");
        client.encode_publish(&mut octets, 1, ("", "q"), &[0, 0], body.as_bytes());
    }
    client.send(&octets).unwrap();
    client.publish_safely(1, ("", "q"), &[0, 0], b"last");
    let got = fetch(guest, 150, "ack_requeue_false");
    assert_eq!(got.as_array().unwrap().len(), 150);
    assert_eq!(got[149]["payload"], "149");
    assert_eq!(fetch(guest, 150, "ack_requeue_false").as_array().unwrap().len(), 51);
}

#[test]
fn a_request_fetches_so_many_messages_and_no_more() {
    let arena = Arena::start();
    let guest = arena.guest();
    let mut client = crate::support::client::Client::connect(arena.amqp());
    client.declare("q", false);
    let mut octets = Vec::new();
    for number in 0..1_200 {
        client.encode_publish(&mut octets, 1, ("", "q"), &[0, 0], format!("{number}").as_bytes());
    }
    client.send(&octets).unwrap();
    client.declare("q", false);
    let count = |got: &Value| got.as_array().unwrap().len();
    for mode in ["ack_requeue_true", "reject_requeue_true"] {
        let got = fetch(guest, 1_000_000_000, mode);
        assert_eq!((count(&got), &got[999]["payload"]), (1_000, &json!("999")), "{mode}");
        assert_eq!(client.count("q"), 1_200);
    }
    assert_eq!(count(&fetch(guest, 1_000_000_000, "reject_requeue_false")), 1_000);
    let rest = fetch(guest, 1_000_000_000, "ack_requeue_false");
    assert_eq!((count(&rest), &rest[0]["payload"]), (200, &json!("1000")));
}

#[test]
fn a_request_fetches_what_fits_into_an_answer() {
    const MIB: usize = 1024 * 1024;
    let arena = Arena::start();
    let guest = arena.guest();
    let mut client = crate::support::client::Client::connect(arena.amqp());
    client.declare("q", false);
    for size in [[MIB; 20].as_slice(), &[17 * MIB, 17 * MIB]].concat() {
        client.publish_safely(1, ("", "q"), &[0, 0], &vec![b'x'; size]);
    }
    let sizes = |got: &Value| -> Vec<u64> {
        let got = got.as_array().unwrap();
        got.iter().map(|it| it["payload_bytes"].as_u64().unwrap() / MIB as u64).collect()
    };
    assert_eq!(sizes(&fetch(guest, 100, "ack_requeue_true")), [1; 16]);
    assert_eq!(client.count("q"), 22);
    assert_eq!(sizes(&fetch(guest, 100, "reject_requeue_false")), [1; 16]);
    // The one that goes beyond the bound is the last.
    assert_eq!(sizes(&fetch(guest, 100, "ack_requeue_false")), [1, 1, 1, 1, 17]);
    assert_eq!(sizes(&fetch(guest, 100, "ack_requeue_false")), [17]);
    assert_eq!(client.count("q"), 0);
}

#[test]
fn what_cannot_be_fetched_is_told() {
    let arena = Arena::start();
    let guest = arena.guest();
    let get = |path: &str, body: &str| guest.post(path, body);
    let body = r#"{"count": 1, "ackmode": "ack_requeue_false", "encoding": "auto"}"#;
    get("queues/%2F/q/get", body).refused(
        404,
        "not_found",
        "NOT_FOUND - no queue 'q' in vhost '/'",
    );
    guest.put("queues/%2F/q", "{}");
    get("queues/%2F/q/get", r#"{"count": 1}"#).refused(
        400,
        "bad_request",
        "[{key_missing,ackmode},{key_missing,encoding}]",
    );
    let wrong = body.replace("auto", "hex");
    let reason = "Unsupported encoding. Please use auto or base64.";
    get("queues/%2F/q/get", &wrong).refused(400, "bad_request", reason);
    assert_eq!(get("queues/%2F/q/get", &body.replace("ack_requeue_false", "no")).status, 400);
    get("queues/lost/q/get", body).refused(404, "Object Not Found", "Not Found");
}

#[test]
fn a_user_fetches_and_publishes_with_its_own_rights() {
    let arena = Arena::start();
    let guest = arena.guest();
    guest.put("queues/%2F/q", "{}");
    let ann = arena.make("ann", "management");
    guest.put("permissions/%2F/ann", r#"{"configure": "", "write": "", "read": ""}"#);
    let body = r#"{"count": 1, "ackmode": "ack_requeue_false", "encoding": "auto"}"#;
    let refusal = "ACCESS_REFUSED - access to queue 'q' in vhost '/' refused for user 'ann'";
    ann.post("queues/%2F/q/get", body).refused(401, "not_authorised", refusal);
    ann.delete("queues/%2F/q/contents").refused(401, "not_authorised", refusal);
    ann.delete("queues/%2F/q").refused(401, "not_authorised", "Access refused.");
    publish(ann, "amq.default", "q", &json!({}), "").refused(
        400,
        "bad_request",
        "403 ACCESS_REFUSED - access to exchange 'amq.default' in vhost '/' refused for user 'ann'",
    );
    let as_guest = json!({"user_id": "guest"});
    guest.put("permissions/%2F/ann", r#"{"configure": "", "write": ".*", "read": ""}"#);
    publish(ann, "amq.default", "q", &as_guest, "").refused(
        400,
        "bad_request",
        "406 PRECONDITION_FAILED - user_id property set to 'guest' but authenticated user was 'ann'",
    );
}

#[test]
fn the_aliveness_test_leaves_an_empty_queue() {
    let arena = Arena::start();
    let guest = arena.guest();
    for _ in 0..2 {
        assert_eq!(guest.see("aliveness-test/%2F"), json!({"status": "ok"}));
    }
    assert_eq!(guest.see("queues/%2F/aliveness-test")["messages"], 0);
    guest.get("aliveness-test/lost").refused(404, "Object Not Found", "Not Found");
}
