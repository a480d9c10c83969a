//! Virtual hosts, users, permissions, parameters and limits.

use serde_json::{Value, json};

use super::arena::{Arena, User, all, has};
use crate::support::client::{Client, short};
use crate::support::eventually;
use leveret_codec::Method;
use leveret_codec::method::{exchange, queue};

#[test]
fn virtual_hosts_come_and_go() {
    let arena = Arena::start();
    let guest = arena.guest();
    let body = r#"{"description": "orders", "tags": "a,b", "default_queue_type": "quorum"}"#;
    assert_eq!(guest.put("vhosts/shop", body).status, 201);
    assert_eq!(guest.put("vhosts/shop", "").status, 204);
    let shop = guest.see("vhosts/shop");
    has(&shop, &["cluster_state", "metadata", "messages", "messages_ready", "message_stats"]);
    assert_eq!(shop["name"], "shop");
    assert_eq!(shop["description"], "orders");
    assert_eq!(shop["tags"], json!(["a", "b"]));
    assert_eq!(shop["default_queue_type"], "quorum");
    assert_eq!(shop["tracing"], false);
    assert_eq!(all(&guest.see("exchanges/shop"), "name").len(), 7);

    assert_eq!(guest.delete("vhosts/shop").status, 204);
    guest.delete("vhosts/shop").refused(404, "Object Not Found", "Not Found");
    guest.get("vhosts/shop").refused(404, "Object Not Found", "Not Found");
}

#[test]
fn who_makes_a_virtual_host_may_do_everything_in_it() {
    let arena = Arena::start();
    let boss = arena.make("boss", "administrator");
    assert_eq!(boss.put("vhosts/shop", "").status, 201);
    let all = json!([
        {"user": "boss", "vhost": "shop", "configure": ".*", "write": ".*", "read": ".*"}
    ]);
    assert_eq!(boss.see("vhosts/shop/permissions"), all);
    assert_eq!(boss.put("queues/shop/q", "{}").status, 201);
    // One that is there already gives nothing to who changes it, nor does one that is imported.
    assert_eq!(arena.guest().put("vhosts/shop", r#"{"description": "x"}"#).status, 204);
    assert_eq!(boss.see("vhosts/shop/permissions"), all);
    assert_eq!(boss.post("definitions", r#"{"vhosts": [{"name": "imported"}]}"#).status, 204);
    assert_eq!(boss.see("vhosts/imported/permissions"), json!([]));
}

#[test]
fn users_come_and_go() {
    let arena = Arena::start();
    let guest = arena.guest();
    guest.put("users/ann", r#"{"password": "x"}"#).refused(400, "bad_request", "tags_not_present");
    let body = r#"{"password": "secret", "tags": ["management"]}"#;
    assert_eq!(guest.put("users/ann", body).status, 201);
    let ann = User { login: Some(("ann", "secret")), ..guest };
    assert_eq!(ann.see("whoami"), json!({"name": "ann", "tags": ["management"]}));
    let shown = guest.see("users/ann");
    assert_eq!(shown["hashing_algorithm"], "rabbit_password_hashing_sha256");
    assert_eq!(shown["tags"], json!(["management"]));
    assert_eq!(shown["limits"], json!({}));

    // The hash makes the same user, with the same password.
    let hash = shown["password_hash"].as_str().unwrap();
    let body = format!(r#"{{"password_hash": "{hash}", "tags": "management"}}"#);
    assert_eq!(guest.put("users/bob", &body).status, 201);
    assert_eq!(User { login: Some(("bob", "secret")), ..guest }.get("whoami").status, 200);
    assert_eq!(guest.put("users/bob", r#"{"password": "new", "tags": ""}"#).status, 204);
    let both = r#"{"password": "x", "password_hash": "", "tags": ""}"#;
    let reason = "both_password_and_password_hash_are_provided";
    guest.put("users/bob", both).refused(400, "bad_request", reason);
    let wrong = r#"{"password_hash": "?", "tags": ""}"#;
    guest.put("users/bob", wrong).refused(400, "bad_request", json!(["not_base64", "?"]));

    assert_eq!(all(&guest.see("users"), "name"), ["ann", "bob", "guest"]);
    assert_eq!(all(&guest.see("users/without-permissions"), "name"), ["ann", "bob"]);
    assert_eq!(guest.delete("users/ann").status, 204);
    guest.delete("users/ann").refused(404, "Object Not Found", "Not Found");
    let names = r#"{"users": ["bob", "nobody"]}"#;
    assert_eq!(guest.post("users/bulk-delete", names).status, 204);
    assert_eq!(all(&guest.see("users"), "name"), ["guest"]);
}

#[test]
fn a_user_that_is_deleted_is_dismissed() {
    let arena = Arena::start();
    let mut client = Client::connect(arena.amqp());
    arena.make("boss", "administrator");
    assert_eq!(arena.user("boss").delete("users/guest").status, 204);
    match client.frame().method() {
        Method::ConnectionClose(close) => assert_eq!(close.reply_code, 320),
        other => panic!("{other:?}"),
    }
}

#[test]
fn permissions_are_given_and_taken() {
    let arena = Arena::start();
    let guest = arena.guest();
    guest.put("users/ann", r#"{"password": "ann", "tags": "management"}"#);
    let path = "permissions/%2F/ann";
    guest.get(path).refused(404, "Object Not Found", "Not Found");
    let body = r#"{"configure": "^ann", "write": "", "read": ".*"}"#;
    assert_eq!(guest.put(path, body).status, 201);
    assert_eq!(guest.put(path, body).status, 204);
    let expected =
        json!({"user": "ann", "vhost": "/", "configure": "^ann", "write": "", "read": ".*"});
    assert_eq!(guest.see(path), expected);
    assert_eq!(guest.see("users/ann/permissions"), json!([expected]));
    assert_eq!(all(&guest.see("vhosts/%2F/permissions"), "user"), ["ann", "guest"]);
    assert_eq!(all(&guest.see("permissions"), "user"), ["ann", "guest"]);

    let ann = arena.user("ann");
    assert_eq!(ann.put("queues/%2F/ann1", "{}").status, 201);
    ann.put("queues/%2F/bob1", "{}").refused(401, "not_authorised", "Access refused.");

    guest.put(path, r#"{"configure": ""}"#).refused(
        400,
        "bad_request",
        "[{key_missing,write},{key_missing,read}]",
    );
    for path in ["permissions/lost/ann", "permissions/%2F/nobody"] {
        guest.put(path, body).refused(400, "bad_request", "vhost_or_user_not_found");
    }
    let (status, error, reason) =
        guest.put(path, r#"{"configure": "(", "write": "", "read": ""}"#).failure();
    assert_eq!((status, error.as_str()), (400, "bad_request"));
    assert_eq!(reason[0], "invalid_regexp");

    assert_eq!(guest.delete(path).status, 204);
    guest.delete(path).refused(404, "Object Not Found", "Not Found");
    guest.get("users/nobody/permissions").refused(404, "Object Not Found", "Not Found");
}

#[test]
fn topic_permissions_are_given_and_taken() {
    let arena = Arena::start();
    let guest = arena.guest();
    arena.make("ann", "management");
    let path = "topic-permissions/%2F/ann";
    guest.get(path).refused(404, "Object Not Found", "Not Found");
    let body = r#"{"exchange": "amq.topic", "write": "^a", "read": "^b"}"#;
    assert_eq!(guest.put(path, body).status, 201);
    assert_eq!(guest.put(path, body).status, 204);
    let expected = json!({
        "user": "ann", "vhost": "/", "exchange": "amq.topic", "write": "^a", "read": "^b",
    });
    for path in
        [path, "topic-permissions", "users/ann/topic-permissions", "vhosts/%2F/topic-permissions"]
    {
        assert_eq!(guest.see(path), json!([expected]), "{path}");
    }
    let publish =
        r#"{"properties": {}, "routing_key": "b", "payload": "", "payload_encoding": "string"}"#;
    let refused = arena.user("ann").post("exchanges/%2F/amq.topic/publish", publish);
    let reason = refused.failure().2;
    let text = "400 bad_request 403 ACCESS_REFUSED - access to topic 'b' in exchange 'amq.topic'";
    assert!(format!("400 bad_request {}", reason.as_str().unwrap()).starts_with(text), "{reason}");

    assert_eq!(guest.delete(path).status, 204);
    guest.delete(path).refused(404, "Object Not Found", "Not Found");
}

#[test]
fn parameters_are_kept_as_they_are() {
    let arena = Arena::start();
    let guest = arena.guest();
    let path = "parameters/shovel/%2F/s";
    assert_eq!(guest.put(path, r#"{"value": {"a": [1, null]}}"#).status, 201);
    assert_eq!(guest.put(path, r#"{"value": 1}"#).status, 204);
    let expected = json!({"vhost": "/", "component": "shovel", "name": "s", "value": 1});
    assert_eq!(guest.see(path), expected);
    for path in ["parameters", "parameters/shovel", "parameters/shovel/%2F"] {
        assert_eq!(guest.see(path), json!([expected]), "{path}");
    }
    assert_eq!(guest.see("parameters/other"), json!([]));
    guest.put(path, "{}").refused(400, "bad_request", "[{key_missing,value}]");
    guest.put("parameters/a/lost/b", "{}").refused(404, "not_found", "vhost_not_found");
    assert_eq!(guest.delete(path).status, 204);
    guest.delete(path).refused(404, "Object Not Found", "Not Found");
    guest.get(path).refused(404, "Object Not Found", "Not Found");

    assert_eq!(guest.put("global-parameters/g", r#"{"value": "x"}"#).status, 201);
    assert_eq!(guest.see("global-parameters/g"), json!({"name": "g", "value": "x"}));
    assert_eq!(all(&guest.see("global-parameters"), "name"), ["g"]);
    assert_eq!(guest.delete("global-parameters/g").status, 204);
    guest.get("global-parameters/g").refused(404, "Object Not Found", "Not Found");
}

#[test]
fn limits_bind_at_once() {
    let arena = Arena::start();
    let guest = arena.guest();
    assert_eq!(guest.see("vhost-limits"), json!([]));
    assert_eq!(guest.put("vhost-limits/%2F/max-queues", r#"{"value": 1}"#).status, 204);
    let expected = json!([{"vhost": "/", "value": {"max-queues": 1}}]);
    assert_eq!(guest.see("vhost-limits"), expected);
    assert_eq!(guest.see("vhost-limits/%2F"), expected);
    assert_eq!(guest.put("queues/%2F/one", "{}").status, 201);
    let (status, error, reason) = guest.put("queues/%2F/two", "{}").failure();
    assert_eq!((status, error.as_str()), (400, "bad_request"), "{reason}");
    assert!(reason.as_str().unwrap().contains("queue limit"), "{reason}");
    assert_eq!(guest.delete("vhost-limits/%2F/max-queues").status, 204);
    assert_eq!(guest.put("queues/%2F/two", "{}").status, 201);

    assert_eq!(guest.put("user-limits/guest/max-channels", r#"{"value": 0}"#).status, 204);
    assert_eq!(guest.see("user-limits/guest")[0]["value"], json!({"max-channels": 0}));
    assert_eq!(all(&guest.see("user-limits"), "user"), ["guest"]);
    assert_eq!(guest.put("queues/%2F/three", "{}").status, 201, "the API needs no channel");
    assert_eq!(guest.delete("user-limits/guest/max-channels").status, 204);

    for (path, status) in [
        ("vhost-limits/lost/max-queues", 404),
        ("user-limits/nobody/max-channels", 404),
        ("vhost-limits/%2F/max-hares", 400),
        ("user-limits/guest/max-queues", 400),
    ] {
        assert_eq!(guest.put(path, r#"{"value": 1}"#).status, status, "{path}");
    }
    let reply = guest.put("vhost-limits/%2F/max-queues", r#"{"value": "many"}"#);
    assert_eq!(reply.status, 400);
}

#[test]
fn the_clients_of_a_virtual_host_that_is_deleted_are_told() {
    let arena = Arena::start();
    let mut client = Client::connect(arena.amqp());
    assert_eq!(arena.guest().delete("vhosts/%2F").status, 204);
    assert!(matches!(client.frame().method(), Method::ConnectionClose(_)));
}

#[test]
fn what_amqp_makes_is_seen_at_once() {
    let arena = Arena::start();
    let guest = arena.guest();
    let mut client = Client::connect(arena.amqp());
    client.declare("q", true);
    assert_eq!(guest.see("queues/%2F/q")["durable"], true);
    let declare = exchange::Declare {
        exchange: short("x"),
        kind: short("fanout"),
        ..exchange::Declare::default()
    };
    assert!(matches!(client.call(1, &declare).method(), Method::ExchangeDeclareOk(_)));
    assert_eq!(guest.see("exchanges/%2F/x")["type"], "fanout");
    let bind = queue::Bind { queue: short("q"), exchange: short("x"), ..queue::Bind::default() };
    assert!(matches!(client.call(1, &bind).method(), Method::QueueBindOk(_)));
    assert_eq!(guest.see("bindings/%2F/e/x/q/q")[0]["properties_key"], "~");
    client.publish_safely(1, ("x", ""), crate::support::client::TRANSIENT, b"hare");
    let shown = guest.see("queues/%2F/q");
    assert_eq!((&shown["messages"], &shown["messages_ready"]), (&json!(1), &json!(1)));
    assert_eq!(shown["message_bytes_ready"], 4);
    let stats: &Value = &shown["message_stats"];
    assert_eq!((&stats["publish"], &stats["publish_details"]["rate"]), (&json!(1), &json!(0.0)));
    drop(client);
    eventually("the connection is gone", || guest.see("connections") == json!([]));
}
