//! Definitions in and out.

use serde_json::{Value, json};

use super::arena::{Arena, all};
use leveret::Broker;

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
fn what_a_virtual_host_is_like_goes_out_and_in() {
    let arena = Arena::start();
    let guest = arena.guest();
    let settings = r#"{"description": "d", "tags": "a,b", "tracing": true,
        "default_queue_type": "quorum"}"#;
    guest.put("vhosts/shop", settings);
    guest.post("vhosts/shop/deletion/protection", "");
    let exported = guest.see("definitions");
    let shop = |all: &Value| {
        all["vhosts"].as_array().unwrap().iter().find(|it| it["name"] == "shop").cloned().unwrap()
    };
    let metadata = json!({"description": "d", "tags": ["a", "b"], "default_queue_type": "quorum",
        "protected_from_deletion": true});
    assert_eq!(shop(&exported)["metadata"], metadata);
    assert_eq!(shop(&exported).get("tracing"), None, "as RabbitMQ");

    let other = Arena::start();
    let guest = other.guest();
    assert_eq!(guest.post("definitions", &exported.to_string()).status, 204);
    assert_eq!(shop(&guest.see("definitions"))["metadata"], metadata);
    assert_eq!(guest.delete("vhosts/shop").status, 412);
    assert_eq!(guest.see("vhosts/shop")["tracing"], false);
    // It is taken where it is said, and what is not said stays.
    for (entry, is_traced) in
        [(json!({"name": "shop", "tracing": true}), true), (json!({"name": "shop"}), true)]
    {
        let entries = json!({ "vhosts": [entry] }).to_string();
        assert_eq!(guest.post("definitions", &entries).status, 204);
        let shown = guest.see("vhosts/shop");
        assert_eq!(shown["tracing"], is_traced);
        assert_eq!(shown["protected_from_deletion"], true);
    }
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

#[test]
fn definitions_are_taken_whole_or_not_at_all() {
    let arena = Arena::start();
    let guest = arena.guest();
    let user = json!({"name": "eve", "password": "p", "tags": "administrator"});
    let vhost = json!({"name": "new"});
    let queue = |name: &str, arguments: Value| json!({"name": name, "vhost": "new", "durable": true, "auto_delete": false, "arguments": arguments});
    let with = |key: &str, entry: Value| {
        let mut all =
            json!({"users": [user], "vhosts": [vhost], "queues": [queue("good", json!({}))]});
        match all[key].as_array_mut() {
            Some(entries) => entries.push(entry),
            None => all[key] = json!([entry]),
        }
        all.to_string()
    };
    let permission = |user: &str, configure: &str| json!({"user": user, "vhost": "new", "configure": configure, "write": "", "read": ""});
    for wrong in [
        with("permissions", permission("eve", "(")),
        with("policies", json!({"name": "p", "vhost": "new", "pattern": "(", "definition": {}})),
        with("queues", queue("bad", json!({"x-max-length": -1}))),
        with("queues", queue("stream", json!({"x-queue-type": "stream"}))),
        with("exchanges", json!({"name": "e", "vhost": "new", "type": "hash"})),
        with("exchanges", json!({"name": "e", "vhost": "lost", "type": "fanout"})),
        with(
            "parameters",
            json!({"vhost": "new", "component": "vhost-limits", "name": "limits", "value": {"max-queues": 0}}),
        ),
    ] {
        assert_eq!(guest.post("definitions", &wrong).status, 400, "{wrong}");
        assert_eq!(guest.get("users/eve").status, 404, "{wrong}");
        assert_eq!(guest.get("vhosts/new").status, 404, "{wrong}");
    }
    let unknown = with("permissions", permission("nobody", ".*"));
    let reason = json!(["no_such_user", "nobody"]);
    guest.post("definitions", &unknown).refused(400, "bad_request", reason);
    assert_eq!(guest.get("users/eve").status, 404);

    // A limit of what is there already counts as well.
    guest.put("queues/%2F/there", "{}");
    guest.put("vhost-limits/%2F/max-queues", r#"{"value": 1}"#);
    let one_more =
        r#"{"users": [{"name": "eve", "tags": ""}], "queues": [{"name": "more", "vhost": "/"}]}"#;
    assert_eq!(guest.post("definitions", one_more).status, 400);
    assert_eq!(guest.get("users/eve").status, 404);
    let same = r#"{"queues": [{"name": "there", "vhost": "/"}]}"#;
    assert_eq!(guest.post("definitions", same).status, 204);
}

#[test]
fn what_is_in_a_virtual_host_must_say_in_which() {
    let arena = Arena::start();
    let guest = arena.guest();
    for (name, text) in [
        (
            r#"{"queues": [{"name": "q"}]}"#,
            "queue 'q' of the definitions: it names no virtual host",
        ),
        (
            r#"{"exchanges": [{"name": "e", "type": "fanout"}]}"#,
            "exchange 'e' of the definitions: it names no virtual host",
        ),
        (
            r#"{"policies": [{"name": "p", "pattern": "", "definition": {"expires": 5}}]}"#,
            "policy 'p' of the definitions: it names no virtual host",
        ),
    ] {
        guest.post("definitions", name).refused(400, "bad_request", text);
        assert_eq!(guest.post("definitions/%2F", name).status, 204, "{name}");
    }
}

#[test]
fn reserved_names_are_left_out() {
    let arena = Arena::start();
    let guest = arena.guest();
    let reserved = r#"{
        "queues": [{"name": "amq.gen-x"}, {"name": "q"}],
        "exchanges": [{"name": "amq.mine", "type": "fanout"}, {"name": "amq.topic", "type": "direct"}],
        "bindings": [{"source": "amq.topic", "destination": "q", "destination_type": "queue"}]
    }"#;
    assert_eq!(guest.post("definitions/%2F", reserved).status, 204);
    assert_eq!(all(&guest.see("queues"), "name"), ["q"]);
    assert_eq!(guest.get("exchanges/%2F/amq.mine").status, 404);
    assert_eq!(guest.see("exchanges/%2F/amq.topic")["type"], "topic");
    assert_eq!(guest.see("bindings/%2F/e/amq.topic/q/q").as_array().map(Vec::len), Some(1));
}

#[test]
fn a_form_and_a_byte_order_mark_are_taken() {
    let arena = Arena::start();
    let guest = arena.guest();
    let form = "--x-y\r\nContent-Disposition: form-data; name=\"file\"; filename=\"d.json\"\r\n\
        Content-Type: application/json\r\n\r\n{\"vhosts\": [{\"name\": \"form\"}]}\r\n--x-y--\r\n";
    let headers = "Content-Type: multipart/form-data; boundary=x-y\r\n";
    assert_eq!(guest.ask("POST", "definitions", headers, form).status, 204);
    let reason = "the form has no field 'file'";
    let other = form.replace("\"file\"", "\"other\"");
    guest.ask("POST", "definitions", headers, &other).refused(400, "bad_request", reason);
    assert_eq!(
        guest.post("definitions", "\u{feff}{\"vhosts\": [{\"name\": \"mark\"}]}").status,
        204
    );
    assert_eq!(all(&guest.see("vhosts"), "name"), ["/", "form", "mark"]);
}

#[test]
fn only_an_administrator_has_to_do_with_definitions_and_what_binds_others() {
    let arena = Arena::start();
    let guest = arena.guest();
    let policymaker = arena.make("maker", "policymaker");
    let no_administrator = |reply: super::arena::Reply| {
        reply.refused(401, "not_authorised", "Not administrator user");
    };
    no_administrator(policymaker.get("definitions/%2F"));
    no_administrator(policymaker.post("definitions/%2F", r#"{"queues": [{"name": "q"}]}"#));
    let short = json!({"pattern": ".*", "definition": {"max-length": 1}, "apply-to": "queues", "priority": 1});
    let policy = json!({"value": short}).to_string();
    let limits = r#"{"value": {"max-queues": 1}}"#;
    for (component, body) in
        [("operator_policy/%2F/p", policy.as_str()), ("vhost-limits/%2F/limits", limits)]
    {
        let path = format!("parameters/{component}");
        no_administrator(policymaker.put(&path, body));
        assert_eq!(guest.put(&path, body).status, 201);
        assert_eq!(guest.put(&path, body).status, 204);
        no_administrator(policymaker.delete(&path));
        assert_eq!(policymaker.see(&path)["value"], guest.see(&path)["value"]);
    }
    // What an administrator sets there is in force.
    assert_eq!(guest.see("operator-policies/%2F/p")["definition"], json!({"max-length": 1}));
    assert_eq!(guest.see("vhost-limits")[0]["value"], json!({"max-queues": 1}));
    assert_eq!(guest.delete("parameters/operator_policy/%2F/p").status, 204);
    assert_eq!(guest.delete("parameters/vhost-limits/%2F/limits").status, 204);
    assert_eq!((guest.see("operator-policies"), guest.see("vhost-limits")), (json!([]), json!([])));
    let wrong = r#"{"value": {"pattern": "(", "definition": {"max-length": 1}}}"#;
    assert_eq!(guest.put("parameters/operator_policy/%2F/p", wrong).status, 400);
    let reason = "policies may not be set using this method";
    guest.put("parameters/policy/%2F/p", &policy).refused(400, "bad_request", reason);
}

#[test]
fn definitions_with_users_leave_no_guest() {
    let boss = json!([{"name": "boss", "password": "boss", "tags": "administrator"}]);
    for (definitions, vhosts) in [
        (json!({"users": boss}), vec!["/"]),
        (json!({"users": boss, "vhosts": [{"name": "shop"}]}), vec!["shop"]),
    ] {
        let builder = Broker::builder().definitions(definitions.to_string());
        let arena = Arena::with(builder);
        assert_eq!(arena.guest().get("whoami").status, 401);
        let boss = arena.user("boss");
        assert_eq!(all(&boss.see("users"), "name"), ["boss"]);
        assert_eq!(all(&boss.see("vhosts"), "name"), vhosts);
    }
    let arena = Arena::with(Broker::builder().definitions(r#"{"vhosts": [{"name": "shop"}]}"#));
    assert_eq!(all(&arena.guest().see("vhosts"), "name"), ["/", "shop"]);
}

#[tokio::test]
async fn a_start_with_definitions_that_make_no_sense_leaves_nothing_and_names_the_file() {
    let home = tempfile::tempdir().unwrap();
    let (data, file) = (home.path().join("data"), home.path().join("shop.json"));
    let start = || {
        let builder = Broker::builder().data_dir(&data).definitions_file(&file);
        builder.listen("127.0.0.1:0".parse().unwrap()).start()
    };
    let user = json!({"name": "eve", "password": "p", "tags": "administrator"});
    for (wrong, what) in [
        ("{".to_owned(), "not JSON"),
        (r#"{"queues": [{"name": 5}]}"#.to_owned(), "queues[0]"),
        (json!({"users": [user], "queues": [{"name": "q", "vhost": "lost"}]}).to_string(), "lost"),
    ] {
        std::fs::write(&file, wrong).unwrap();
        let error = start().await.unwrap_err().to_string();
        assert!(error.starts_with(&format!("{}: ", file.display())), "{error}");
        assert!(error.contains(what) && !error.contains('\n'), "{error}");
    }
    std::fs::remove_file(&file).unwrap();
    let error = start().await.unwrap_err().to_string();
    assert!(error.contains(&file.display().to_string()), "{error}");
    std::fs::write(&file, "{}").unwrap();
    let broker = start().await.unwrap();
    let json: Value = serde_json::from_slice(&broker.export_definitions()).unwrap();
    assert_eq!(all(&json["users"], "name"), ["guest"], "as on a new data directory");
    broker.shutdown().await.unwrap();
}
