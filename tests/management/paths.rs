//! Paths that tools ask for beside what they work with.

use serde_json::json;

use super::arena::{Arena, User, all, has, talk};
use crate::support::client::Client;
use crate::support::eventually;
use leveret_codec::Method;

#[test]
fn a_browser_finds_the_api() {
    let arena = Arena::start();
    let address = arena.broker().management_address().unwrap();
    let get = |path: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        talk(address, request.as_bytes())
    };
    for page in ["/", "/api/index.html", "/cli/index.html"] {
        let reply = get(page);
        assert_eq!(
            (reply.status, reply.header("content-type")),
            (200, Some("text/html; charset=utf-8"))
        );
        assert!(reply.body.starts_with("<!DOCTYPE html>"), "{page}");
    }
    for (path, page) in
        [("/api", "/api/index.html"), ("/api/", "/api/index.html"), ("/cli", "/cli/index.html")]
    {
        let reply = get(path);
        assert_eq!((reply.status, reply.header("location")), (301, Some(page)), "{path}");
    }
    assert_eq!(get("/api/version").json(), "3.10.8");
}

#[test]
fn features_are_told() {
    let arena = Arena::start();
    let guest = arena.guest();
    let flags = guest.see("feature-flags");
    has(&flags[0], &["name", "desc", "doc_url", "state", "stability", "provided_by"]);
    let state = |name: &str| {
        let flags = flags.as_array().unwrap().iter();
        flags.filter(|it| it["name"] == name).map(|it| it["state"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(state("quorum_queue"), ["enabled"]);
    assert_eq!(state("stream_queue"), ["disabled"], "there are no streams");
    assert_eq!(guest.put("feature-flags/quorum_queue/enable", "{}").status, 204);
    for name in ["stream_queue", "nothing"] {
        let path = format!("feature-flags/{name}/enable");
        guest.put(&path, "{}").refused(400, "bad_request", "unsupported");
    }
    let monitoring = arena.make("monitoring", "monitoring");
    monitoring.get("feature-flags").refused(401, "not_authorised", "Not administrator user");
    for path in ["deprecated-features", "deprecated-features/used"] {
        assert_eq!(guest.see(path), json!([]));
    }
}

#[test]
fn memory_is_told_in_the_parts_that_clients_read() {
    let arena = Arena::start();
    let guest = arena.guest();
    let node = guest.see("overview")["node"].as_str().unwrap().to_owned();
    let memory = guest.see(&format!("nodes/{node}/memory"))["memory"].clone();
    has(&memory, &["connection_readers", "quorum_queue_procs", "metadata_store_ets", "atom"]);
    let total = memory["total"]["rss"].as_u64().unwrap();
    assert!(total > 1_000_000 && memory["strategy"] == "rss");
    let parts: u64 =
        memory.as_object().unwrap().values().filter_map(serde_json::Value::as_u64).sum();
    assert_eq!(parts, total);
    let memory = guest.see(&format!("nodes/{node}/memory/relative"))["memory"].clone();
    let parts: u64 =
        memory.as_object().unwrap().values().filter_map(serde_json::Value::as_u64).sum();
    assert_eq!((memory["total"].as_u64(), parts), (Some(100), 200));
    assert_eq!(guest.get("nodes/other/memory").status, 404);
    let management = arena.make("management", "management");
    let path = format!("nodes/{node}/memory");
    management.get(&path).refused(401, "not_authorised", "Not monitor user");
}

#[test]
fn the_connections_of_a_user_are_listed_and_closed() {
    let arena = Arena::start();
    let guest = arena.guest();
    let [ann, _] =
        [("ann", "management"), ("bob", "management")].map(|(name, tags)| arena.make(name, tags));
    let mut client = Client::connect(arena.amqp());
    assert_eq!(all(&guest.see("connections/username/guest"), "user"), ["guest"]);
    assert_eq!(guest.see("connections/username/ann"), json!([]));
    assert_eq!(ann.see("connections/username/ann"), json!([]));
    let reason = "User not authorised to access object";
    ann.get("connections/username/guest").refused(401, "not_authorised", reason);
    ann.delete("connections/username/guest").refused(401, "not_authorised", reason);
    assert_eq!(guest.delete("connections/username/bob").status, 204);
    let headers = "X-Reason: maintenance\r\n";
    assert_eq!(guest.ask("DELETE", "connections/username/guest", headers, "").status, 204);
    match client.frame().method() {
        Method::ConnectionClose(close) => {
            let text = String::from_utf8_lossy(close.reply_text.as_bytes()).into_owned();
            assert_eq!((close.reply_code, text.contains("maintenance")), (320, true), "{text}");
        }
        other => panic!("{other:?}"),
    }
    drop(client);
    eventually("it is gone", || guest.see("connections/username/guest") == json!([]));
}

#[test]
fn what_there_is_nothing_to_do_for_is_done() {
    let arena = Arena::start();
    let guest = arena.guest();
    let node = guest.see("overview")["node"].as_str().unwrap().to_owned();
    guest.put("queues/%2F/q", "{}");
    assert_eq!(guest.post("rebalance/queues", "").status, 204);
    assert_eq!(guest.delete("reset").status, 204);
    assert_eq!(guest.post("queues/%2F/q/actions", r#"{"action": "sync"}"#).status, 204);
    assert_eq!(guest.post("queues/%2F/q/actions", r#"{"action": "dance"}"#).status, 400);
    assert_eq!(guest.post("queues/%2F/lost/actions", r#"{"action": "sync"}"#).status, 404);
    assert_eq!(guest.post(&format!("vhosts/%2F/start/{node}"), "").status, 204);
    assert_eq!(guest.post("vhosts/%2F/start/other", "").status, 404);
    assert_eq!(all(&guest.see("queues/detailed"), "name"), ["q"]);
    assert_eq!(guest.see("all-configuration")["queues"], guest.see("definitions")["queues"]);
    let policies = &guest.see("overview")["sample_retention_policies"];
    assert_eq!(policies["basic"], json!([600, 3600]));
    let user: User<'_> = arena.make("monitoring", "monitoring");
    for path in ["rebalance/queues", "queues/%2F/q/actions"] {
        user.post(path, "").refused(401, "not_authorised", "Not administrator user");
    }
}

#[test]
fn logins_are_counted() {
    let arena = Arena::start();
    let guest = arena.guest();
    let node = guest.see("overview")["node"].as_str().unwrap().to_owned();
    let path = format!("auth/attempts/{node}");
    assert_eq!(guest.delete(&path).status, 204);
    User { login: Some(("guest", "wrong")), ..guest }.get("whoami");
    drop(Client::connect(arena.amqp()));
    let of = |protocol: &str, attempts: u64, failed: u64| {
        json!({
            "protocol": protocol,
            "auth_attempts": attempts,
            "auth_attempts_failed": failed,
            "auth_attempts_succeeded": attempts - failed,
        })
    };
    // The request that asks is one as well.
    assert_eq!(guest.see(&path), json!([of("amqp091", 1, 0), of("http", 2, 1)]));
    assert_eq!(guest.see(&format!("{path}/source")), json!([]));
    assert_eq!(guest.get("auth/attempts/other").status, 404);
}

#[test]
fn a_virtual_host_may_be_protected_from_deletion() {
    let arena = Arena::start();
    let guest = arena.guest();
    guest.put("vhosts/shop", "");
    let path = "vhosts/shop/deletion/protection";
    assert_eq!(guest.post(path, "").status, 204);
    assert_eq!(guest.see("vhosts/shop")["metadata"]["protected_from_deletion"], true);
    let reason = "Refusing to delete virtual host 'shop' because it is protected from deletion";
    guest.delete("vhosts/shop").refused(412, "precondition_failed", reason);
    assert_eq!(guest.delete(path).status, 204);
    assert_eq!(guest.see("vhosts/shop")["protected_from_deletion"], false);
    assert_eq!(guest.delete("vhosts/shop").status, 204);
    assert_eq!(guest.post(path, "").status, 404);
    let monitoring = arena.make("monitoring", "monitoring");
    monitoring.post("vhosts/%2F/deletion/protection", "").refused(
        401,
        "not_authorised",
        "Not administrator user",
    );
}

#[test]
fn what_is_asked_of_certificates_must_make_sense() {
    let arena = Arena::start();
    let guest = arena.guest();
    let check = |within: &str| guest.get(&format!("health/checks/certificate-expiration/{within}"));
    assert_eq!(check("1/months").status, 200);
    check("x/days").refused(400, "bad_request", "Invalid expiration value.");
    let reason = "Time unit not recognised. Supported units: days, weeks, months, years.";
    check("1/hours").refused(400, "bad_request", reason);
}

#[test]
fn the_messages_of_a_virtual_host_are_traced() {
    let arena = Arena::start();
    let guest = arena.guest();
    assert_eq!(guest.put("vhosts/shop", r#"{"tracing": true}"#).status, 201);
    assert_eq!(guest.see("vhosts/shop")["tracing"], true);
    for queue in ["trace", "q"] {
        guest.put(&format!("queues/shop/{queue}"), "{}");
    }
    let binding = r##"{"routing_key": "#"}"##;
    guest.post("bindings/shop/e/amq.rabbitmq.trace/q/trace", binding);
    let message = r#"{
        "properties": {"delivery_mode": 2, "content_type": "a/b", "headers": {"h": 1, "CC": ["x"]}},
        "routing_key": "q", "payload": "hi", "payload_encoding": "string"
    }"#;
    assert_eq!(guest.post("exchanges/shop/amq.default/publish", message).status, 200);
    let get = r#"{"count": 9, "ackmode": "ack_requeue_false", "encoding": "auto"}"#;
    assert_eq!(guest.post("queues/shop/q/get", get).json()[0]["payload"], "hi");
    let mut copies = guest.post("queues/shop/trace/get", get).json();
    let node = guest.see("overview")["node"].clone();
    let expected = json!({
        "exchange_name": "",
        "routing_keys": ["q", "x"],
        "properties": {"content_type": "a/b", "delivery_mode": 2, "headers": {"h": 1, "CC": ["x"]}},
        "node": node,
        "vhost": "shop",
        "channel": 1,
        "user": "guest",
    });
    for (copy, key, name, value) in
        [(0, "publish.", "routed_queues", json!(["q"])), (1, "deliver.q", "redelivered", json!(0))]
    {
        let mut headers = copies[copy]["properties"]["headers"].take();
        let headers = headers.as_object_mut().unwrap();
        let connection = headers.remove("connection").unwrap();
        assert!(connection.as_str().is_some_and(|it| it.starts_with("127.0.0.1:")), "{connection}");
        assert_eq!(headers.remove(name), Some(value));
        assert_eq!(serde_json::Value::Object(headers.clone()), expected);
        let copy = &copies[copy];
        assert_eq!((&copy["routing_key"], &copy["payload"]), (&json!(key), &json!("hi")));
        assert_eq!(copy["exchange"], "amq.rabbitmq.trace");
    }
    assert_eq!(copies.as_array().map(Vec::len), Some(2));
    assert_eq!(guest.put("vhosts/shop", r#"{"tracing": false}"#).status, 204);
    guest.post("exchanges/shop/amq.default/publish", message);
    assert_eq!(guest.post("queues/shop/trace/get", get).json(), json!([]));
}
