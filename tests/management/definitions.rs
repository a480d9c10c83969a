//! Definitions in and out.

use serde_json::json;

use super::arena::{Arena, all};

const SHOP: &str = r#"{
    "users": [{"name": "app", "password": "x", "tags": "management"}],
    "vhosts": [{"name": "shop"}],
    "permissions": [
        {"user": "app", "vhost": "shop", "configure": ".*", "write": ".*", "read": ".*"}
    ],
    "policies": [
        {"vhost": "shop", "name": "ttl", "pattern": "^o", "apply-to": "queues",
         "definition": {"message-ttl": 1000}, "priority": 1}
    ],
    "exchanges": [
        {"name": "events", "vhost": "shop", "type": "topic", "durable": true,
         "auto_delete": false, "internal": false, "arguments": {}}
    ],
    "queues": [
        {"name": "orders", "vhost": "shop", "durable": true, "auto_delete": false,
         "arguments": {"x-max-length": 5}}
    ],
    "bindings": [
        {"source": "events", "vhost": "shop", "destination": "orders",
         "destination_type": "queue", "routing_key": "a.#", "arguments": {}},
        {"source": "nowhere", "vhost": "shop", "destination": "orders",
         "destination_type": "queue", "routing_key": "a", "arguments": {}}
    ]
}"#;

#[test]
fn what_goes_in_comes_out_and_twice_is_once() {
    let arena = Arena::start();
    let guest = arena.guest();
    assert_eq!(guest.post("definitions", SHOP).status, 204);
    let first = guest.see("definitions");
    assert_eq!(guest.post("definitions", SHOP).status, 204);
    assert_eq!(first["users"].as_array().map(Vec::len), Some(2));
    let again = guest.see("definitions");
    for part in ["vhosts", "permissions", "policies", "exchanges", "queues", "bindings"] {
        assert_eq!(again[part], first[part], "{part}");
    }
    assert_eq!(all(&first["queues"], "name"), ["orders"]);
    assert_eq!(first["queues"][0]["arguments"], json!({"x-max-length": 5}));
    assert_eq!(all(&first["bindings"], "source"), ["events"], "one without a source is left out");
    assert_eq!(guest.see("queues/shop/orders")["policy"], "ttl");
    assert_eq!(guest.see("whoami")["name"], "guest");

    let shop = guest.see("definitions/shop");
    assert_eq!(all(&shop["queues"], "name"), ["orders"]);
    assert_eq!(shop["queues"][0].get("vhost"), None);
    assert_eq!(shop.get("users"), None);
}

#[test]
fn definitions_of_one_virtual_host_go_into_another() {
    let arena = Arena::start();
    let guest = arena.guest();
    guest.post("definitions", SHOP);
    guest.put("vhosts/copy", "{}");
    let shop = guest.see("definitions/shop").to_string();
    assert_eq!(guest.post("definitions/copy", &shop).status, 204);
    assert_eq!(all(&guest.see("queues/copy"), "name"), ["orders"]);
}

#[test]
fn a_queue_that_is_there_is_left_as_it_is() {
    let arena = Arena::start();
    let guest = arena.guest();
    guest.put("vhosts/shop", "{}");
    guest.put("permissions/shop/guest", r#"{"configure": ".*", "write": ".*", "read": ".*"}"#);
    guest.put("queues/shop/orders", r#"{"durable": true, "arguments": {"x-max-length": 9}}"#);
    assert_eq!(guest.post("definitions", SHOP).status, 204);
    assert_eq!(guest.see("queues/shop/orders")["arguments"], json!({"x-max-length": 9}));
}

#[test]
fn what_makes_no_sense_is_told_with_its_place() {
    let arena = Arena::start();
    let guest = arena.guest();
    let post = |body: &str| guest.post("definitions", body);
    post("{").refused(400, "bad_request", "not_json");
    post(r#"{"queues": [{"name": "q", "vhost": "lost", "durable": true}]}"#).refused(
        400,
        "bad_request",
        json!(["no_such_vhost", "lost"]),
    );
    let (status, _, reason) = post(r#"{"queues": [{"name": 5}]}"#).failure();
    assert_eq!(status, 400);
    assert!(reason.as_str().is_some_and(|it| it.contains("queues[0]")), "{reason}");
    guest.get("definitions/lost").refused(404, "Object Not Found", "Not Found");
    let user = arena.make("watcher", "monitoring");
    user.get("definitions").refused(401, "not_authorised", "Not administrator user");
}
