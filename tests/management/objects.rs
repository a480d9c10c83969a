//! Exchanges, queues and bindings.

use serde_json::json;

use super::arena::{Arena, all, has};
use crate::support::client::{Client, short};
use leveret_codec::method::queue;

const REFUSED: &str = "Access refused.";

#[test]
fn exchanges_come_and_go() {
    let arena = Arena::start();
    let guest = arena.guest();
    let path = "exchanges/%2F/x";
    let body = r#"{"type": "topic", "durable": true, "arguments": {"alternate-exchange": "ae"}}"#;
    assert_eq!(guest.put(path, body).status, 201);
    assert_eq!(guest.put(path, body).status, 204);
    let x = guest.see(path);
    has(&x, &["incoming", "outgoing", "message_stats"]);
    assert_eq!(x["type"], "topic");
    assert_eq!(x["vhost"], "/");
    assert_eq!(x["arguments"], json!({"alternate-exchange": "ae"}));
    let flags = ["durable", "auto_delete", "internal"].map(|flag| x[flag].clone());
    assert_eq!(flags, [json!(true), json!(false), json!(false)]);

    guest.put(path, r#"{"type": "fanout", "durable": true}"#).refused(
        400,
        "bad_request",
        "inequivalent arg 'type' for exchange 'x' in vhost '/': received 'fanout' but current is \
         'topic'",
    );
    let unknown = r#"{"type": "hare"}"#;
    guest.put("exchanges/%2F/y", unknown).refused(
        400,
        "bad_request",
        "unknown exchange type 'hare'",
    );
    guest.put("exchanges/%2F/amq.mine", "{}").refused(401, "not_authorised", REFUSED);
    guest.put("exchanges/lost/x", "{}").refused(404, "not_found", "vhost_not_found");
    guest.put("exchanges/%2F/y", r#"{"durable": "maybe"}"#).refused(
        400,
        "bad_request",
        json!(["not_boolean", "maybe"]),
    );
    assert_eq!(guest.put("exchanges/%2F/y", r#"{"durable": "true"}"#).status, 201);
    assert_eq!(guest.see("exchanges/%2F/y")["type"], "direct");

    assert_eq!(guest.delete(path).status, 204);
    guest.delete(path).refused(404, "Object Not Found", "Not Found");
    guest.delete("exchanges/%2F/amq.topic").refused(401, "not_authorised", REFUSED);
    guest.delete("exchanges/%2F/amq.default").refused(401, "not_authorised", REFUSED);
}

#[test]
fn the_default_exchange_has_a_name_in_paths_alone() {
    let arena = Arena::start();
    let guest = arena.guest();
    let default = guest.see("exchanges/%2F/amq.default");
    assert_eq!((&default["name"], &default["type"]), (&json!(""), &json!("direct")));
    assert_eq!(all(&guest.see("exchanges/%2F"), "name")[0], "");
}

#[test]
fn an_exchange_in_use_may_be_kept() {
    let arena = Arena::start();
    let guest = arena.guest();
    guest.put("exchanges/%2F/x", "{}");
    guest.put("queues/%2F/q", "{}");
    guest.post("bindings/%2F/e/x/q/q", "{}");
    let path = "exchanges/%2F/x?if-unused=true";
    guest.delete(path).refused(400, "bad_request", "exchange 'x' in vhost '/' in use");
    guest.delete("queues/%2F/q");
    assert_eq!(guest.delete(path).status, 204);
}

#[test]
fn queues_come_and_go() {
    let arena = Arena::start();
    let guest = arena.guest();
    let path = "queues/%2F/q";
    let body = r#"{"durable": true, "arguments": {"x-max-length": 5}, "node": "anywhere"}"#;
    assert_eq!(guest.put(path, body).status, 201);
    assert_eq!(guest.put(path, body).status, 204);
    let q = guest.see(path);
    has(
        &q,
        &[
            "node",
            "consumers",
            "consumer_capacity",
            "consumer_utilisation",
            "messages",
            "messages_ready",
            "messages_unacknowledged",
            "messages_details",
            "messages_ram",
            "message_bytes_ready",
            "message_bytes",
            "message_bytes_unacknowledged",
            "message_bytes_ram",
            "memory",
            "policy",
            "operator_policy",
            "effective_policy_definition",
            "exclusive_consumer_tag",
            "single_active_consumer_tag",
            "head_message_timestamp",
            "message_stats",
            "idle_since",
            "consumer_details",
        ],
    );
    has(
        &q["message_stats"],
        &[
            "publish",
            "deliver",
            "deliver_no_ack",
            "get",
            "get_no_ack",
            "get_empty",
            "ack",
            "redeliver",
            "deliver_get",
            "deliver_get_details",
        ],
    );
    assert_eq!((&q["type"], &q["state"]), (&json!("classic"), &json!("running")));
    assert_eq!(q["arguments"], json!({"x-max-length": 5}));
    let flags = ["durable", "auto_delete", "exclusive"].map(|flag| q[flag].clone());
    assert_eq!(flags, [json!(true), json!(false), json!(false)]);

    guest.put(path, r#"{"durable": false}"#).refused(
        400,
        "bad_request",
        "inequivalent arg 'durable' for queue 'q' in vhost '/': received 'false' but current is \
         'true'",
    );
    guest.put("queues/%2F/amq.mine", "{}").refused(401, "not_authorised", REFUSED);
    guest.put("queues/lost/q", "{}").refused(404, "not_found", "vhost_not_found");
    let (status, error, reason) =
        guest.put("queues/%2F/r", r#"{"arguments": {"x-max-length": -1}}"#).failure();
    assert_eq!((status, error.as_str()), (400, "bad_request"));
    assert!(reason.as_str().unwrap().starts_with("invalid arg 'x-max-length' for queue 'r'"));

    assert_eq!(guest.delete(path).status, 204);
    guest.delete(path).refused(404, "Object Not Found", "Not Found");
    guest.get(path).refused(404, "Object Not Found", "Not Found");
}

#[test]
fn a_quorum_queue_shows_its_members() {
    let arena = Arena::start();
    let guest = arena.guest();
    guest.put("queues/%2F/q", r#"{"durable": true, "arguments": {"x-queue-type": "quorum"}}"#);
    let q = guest.see("queues/%2F/q");
    assert_eq!(q["type"], "quorum");
    assert_eq!(q["members"], json!([q["leader"]]));
    assert_eq!(q["online"], q["members"]);
    has(&q, &["single_active_consumer_ctag"]);
}

#[test]
fn an_exclusive_queue_shows_its_owner_and_is_nobody_elses() {
    let arena = Arena::start();
    let guest = arena.guest();
    let mut client = Client::connect(arena.amqp());
    let declare =
        queue::Declare { queue: short("mine"), exclusive: true, ..queue::Declare::default() };
    client.declared(&declare);
    let mine = guest.see("queues/%2F/mine");
    assert_eq!(mine["exclusive"], true);
    assert_eq!(mine["owner_pid_details"]["name"], guest.see("connections")[0]["name"]);
    let (status, error, reason) = guest.delete("queues/%2F/mine").failure();
    assert_eq!((status, error.as_str()), (400, "bad_request"));
    assert!(reason.as_str().unwrap().starts_with("cannot obtain exclusive access"), "{reason}");
}

#[test]
fn a_queue_in_use_may_be_kept() {
    let arena = Arena::start();
    let guest = arena.guest();
    let mut client = Client::connect(arena.amqp());
    client.declare("q", false);
    client.publish_safely(1, ("", "q"), crate::support::client::TRANSIENT, b"x");
    let not_empty = "queue 'q' in vhost '/' not empty";
    guest.delete("queues/%2F/q?if-empty=true").refused(400, "bad_request", not_empty);
    assert_eq!(guest.delete("queues/%2F/q/contents").status, 204);
    assert_eq!(guest.see("queues/%2F/q")["messages"], 0);
    client.open_channel(2);
    client.consume("q", 0, true);
    let in_use = "queue 'q' in vhost '/' in use";
    guest.delete("queues/%2F/q?if-unused=true").refused(400, "bad_request", in_use);
    assert_eq!(guest.delete("queues/%2F/q").status, 204);
    guest.delete("queues/%2F/q/contents").refused(404, "Object Not Found", "Not Found");
}

#[test]
fn bindings_of_queues_come_and_go() {
    let arena = Arena::start();
    let guest = arena.guest();
    guest.put("queues/%2F/q", "{}");
    let between = "bindings/%2F/e/amq.topic/q/q";
    assert_eq!(guest.see(between), json!([]));
    let bound = guest.post(between, r#"{"routing_key": "a.#"}"#);
    assert_eq!((bound.status, bound.header("location")), (201, Some("q/a.%2523")));
    let args = r#"{"routing_key": "", "arguments": {"x-match": "any", "n": 1}}"#;
    let with_arguments = guest.post(between, args);
    assert_eq!(with_arguments.status, 201);

    let all_of_queue = guest.see("queues/%2F/q/bindings");
    assert_eq!(all(&all_of_queue, "source"), ["", "amq.topic", "amq.topic"]);
    assert_eq!(all_of_queue[0]["properties_key"], "q");
    let shown = guest.see(between);
    let keys = all(&shown, "properties_key");
    assert_eq!((keys[1], &keys[0][..1]), ("a.%23", "~"));
    assert_eq!(shown[0]["arguments"], json!({"x-match": "any", "n": 1}));
    assert_eq!(
        shown[1],
        json!({
            "source": "amq.topic", "vhost": "/", "destination": "q", "destination_type": "queue",
            "routing_key": "a.#", "arguments": {}, "properties_key": "a.%23",
        })
    );
    for path in ["bindings/%2F", "bindings", "exchanges/%2F/amq.topic/bindings/source"] {
        assert!(guest.see(path).as_array().unwrap().contains(&shown[1]), "{path}");
    }
    let none = guest.see("exchanges/%2F/amq.topic/bindings/destination");
    assert_eq!(none, json!([]));

    for key in ["a.%2523", "a.%23"] {
        assert_eq!(guest.see(&format!("{between}/{key}")), shown[1], "{key}");
    }
    let named =
        format!("bindings/%2F/e/amq.topic/q/{}", with_arguments.header("location").unwrap());
    assert_eq!(guest.see(&named), shown[0]);
    guest.get(&format!("{between}/~")).refused(404, "Object Not Found", "Not Found");
    for path in [format!("{between}/a.%2523"), named] {
        assert_eq!(guest.delete(&path).status, 204);
        guest.delete(&path).refused(404, "Object Not Found", "Not Found");
    }
    assert_eq!(guest.see(between), json!([]));
}

#[test]
fn bindings_of_exchanges_come_and_go() {
    let arena = Arena::start();
    let guest = arena.guest();
    let between = "bindings/%2F/e/amq.direct/e/amq.fanout";
    assert_eq!(guest.post(between, r#"{"routing_key": "k"}"#).status, 201);
    let shown = guest.see(between);
    assert_eq!(shown[0]["destination_type"], "exchange");
    assert_eq!(guest.see("exchanges/%2F/amq.fanout/bindings/destination"), shown);
    assert_eq!(guest.delete(&format!("{between}/k")).status, 204);
}

#[test]
fn bindings_of_what_is_missing_are_refused() {
    let arena = Arena::start();
    let guest = arena.guest();
    guest.put("queues/%2F/q", "{}");
    let reason = "no exchange 'lost' in vhost '/'";
    guest.post("bindings/%2F/e/lost/q/q", "{}").refused(404, "not_found", reason);
    let reason = "no queue 'lost' in vhost '/'";
    guest.post("bindings/%2F/e/amq.direct/q/lost", "{}").refused(404, "not_found", reason);
    guest.post("bindings/%2F/e/amq.default/q/q", "{}").refused(401, "not_authorised", REFUSED);
    guest.post("bindings/lost/e/a/q/q", "{}").refused(404, "not_found", "vhost_not_found");
    guest.get("bindings/%2F/e/x/z/q").refused(404, "Object Not Found", "Not Found");
    guest.get("queues/%2F/lost/bindings").refused(404, "Object Not Found", "Not Found");
}
