use leveret_codec::Value as Field;
use serde_json::json;

use super::*;
use crate::passwords::PasswordHash;

/// What RabbitMQ 3.10 exports, shortened.
const EXPORTED: &str = r#"{
  "rabbit_version": "3.10.8", "rabbitmq_version": "3.10.8",
  "product_name": "RabbitMQ", "product_version": "3.10.8",
  "users": [
    {"name": "guest", "password_hash": "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR",
     "hashing_algorithm": "rabbit_password_hashing_sha256",
     "tags": ["administrator"], "limits": {"max-channels": 10}}
  ],
  "vhosts": [{"name": "/"}],
  "permissions": [
    {"user": "guest", "vhost": "/", "configure": ".*", "write": "^w", "read": ""}
  ],
  "topic_permissions": [
    {"user": "guest", "vhost": "/", "exchange": "amq.topic", "write": "^{username}", "read": ".*"}
  ],
  "parameters": [
    {"vhost": "/", "component": "vhost-limits", "name": "limits", "value": {"max-queues": 100}},
    {"vhost": "/", "component": "operator_policy", "name": "short",
     "value": {"apply-to": "queues", "definition": {"max-length": 10}, "pattern": ".*",
               "priority": 2}}
  ],
  "global_parameters": [{"name": "cluster_name", "value": "rabbit@here"}],
  "policies": [
    {"vhost": "/", "name": "ttl", "pattern": "^t", "apply-to": "queues",
     "definition": {"message-ttl": 1000}, "priority": 1}
  ],
  "queues": [
    {"name": "q", "vhost": "/", "durable": true, "auto_delete": false,
     "arguments": {"x-max-length": 5, "x-queue-type": "classic"}}
  ],
  "exchanges": [
    {"name": "x", "vhost": "/", "type": "topic", "durable": true, "auto_delete": false,
     "internal": false, "arguments": {}}
  ],
  "bindings": [
    {"source": "x", "vhost": "/", "destination": "q", "destination_type": "queue",
     "routing_key": "a.#", "arguments": {"n": 1.5}}
  ]
}"#;

fn parse(json: &Value) -> Result<Definitions, DefinitionsError> {
    Definitions::parse(json.to_string().as_bytes())
}

fn written(json: &[u8]) -> Value {
    serde_json::from_slice(json).expect("what is written is JSON")
}

#[track_caller]
fn refused(json: &Value, expected: &str) {
    let refusal = parse(json).expect_err("the definitions are wrong").to_string();
    assert_eq!(refusal, format!("the definitions are wrong at {expected}"));
    assert!(!refusal.contains('\n'));
}

#[test]
fn what_rabbitmq_exports_is_read() {
    let definitions = Definitions::parse(EXPORTED.as_bytes()).unwrap();
    assert_eq!(definitions.rabbitmq_version.as_deref(), Some("3.10.8"));

    let user = &definitions.users[0];
    assert_eq!((user.name.as_str(), &*user.tags), ("guest", &["administrator".to_owned()][..]));
    assert_eq!(user.limits["max-channels"], 10);
    let algorithm = Algorithm::from_name(definitions.hashing_algorithm(user)).unwrap();
    let hash = PasswordHash::parse(user.password_hash.as_deref().unwrap(), algorithm).unwrap();
    assert!(hash.verify(b"test12"));

    assert_eq!(definitions.vhosts[0], VhostEntry { name: "/".into(), ..VhostEntry::default() });
    let permissions = definitions.permissions[0].to_permissions().unwrap();
    assert_eq!(permissions, Permissions::parse(".*", "^w", "").unwrap());
    assert_eq!(definitions.topic_permissions[0].write, "^{username}");
    assert_eq!(definitions.global_parameters[0].value, json!("rabbit@here"));

    let policy = definitions.policies[0].to_policy(PolicyKind::User).unwrap();
    assert_eq!((policy.priority.0, policy.apply_to.name()), (1.0, "queues"));
    assert_eq!(policy.definition.find("message-ttl"), Some(&PolicyValue::Integer(1000)));

    let queue = &definitions.queues[0];
    assert!(queue.durable && !queue.auto_delete);
    assert_eq!(queue.arguments.as_table().find(b"x-max-length"), Some(Field::I64(5)));
    let exchange = &definitions.exchanges[0];
    assert!(exchange.kind == "topic" && exchange.durable && !exchange.internal);
    let binding = &definitions.bindings[0];
    assert_eq!(binding.destination_type, DestinationType::Queue);
    assert_eq!(binding.arguments.as_table().find(b"n"), Some(Field::F64(1.5)));
}

#[test]
fn what_is_read_is_written_again() {
    let definitions = Definitions::parse(EXPORTED.as_bytes()).unwrap();
    let json = definitions.to_json();
    let mut expected: Value = serde_json::from_str(EXPORTED).unwrap();
    expected["vhosts"][0]["metadata"] = json!({"description": "", "tags": []});
    expected["vhosts"][0]["limits"] = json!({});
    expected["parameters"].as_array_mut().unwrap().reverse();
    assert_eq!(written(&json), expected);

    let again = Definitions::parse(&json).unwrap();
    assert_eq!(again.to_json(), json);
}

#[test]
fn the_categories_are_written_in_rabbitmqs_order() {
    let json = String::from_utf8(Definitions::default().to_json()).unwrap();
    let keys: Vec<_> = json.lines().filter_map(|line| line.trim().split('"').nth(1)).collect();
    let expected = [
        "users",
        "vhosts",
        "permissions",
        "topic_permissions",
        "parameters",
        "global_parameters",
        "policies",
        "queues",
        "exchanges",
        "bindings",
    ];
    assert_eq!(keys, expected);
    assert!(json.ends_with("}\n"));
}

#[test]
fn the_same_definitions_are_the_same_bytes() {
    let names = ["c", "a", "b"];
    let in_order = |names: &[&str]| {
        let of = |entry: &dyn Fn(&str) -> Value| names.iter().map(|name| entry(name)).collect();
        let json: Value = json!({
            "users": Value::Array(of(&|name| json!({"name": name, "tags": []}))),
            "vhosts": Value::Array(of(&|name| json!({"name": name}))),
            "permissions": Value::Array(of(&|name| {
                json!({"user": "u", "vhost": name, "configure": "", "write": "", "read": ""})
            })),
            "topic_permissions": Value::Array(of(&|name| {
                json!({"user": "u", "vhost": "/", "exchange": name, "write": "", "read": ""})
            })),
            "parameters": Value::Array(of(&|name| {
                json!({"vhost": "/", "component": name, "name": "n", "value": 1})
            })),
            "global_parameters": Value::Array(of(&|name| json!({"name": name, "value": 1}))),
            "policies": Value::Array(of(&|name| {
                json!({"vhost": "/", "name": name, "pattern": "", "definition": {"expires": 1}})
            })),
            "queues": Value::Array(of(&|name| json!({"vhost": name, "name": "q"}))),
            "exchanges": Value::Array(of(&|name| json!({"name": name, "type": "fanout"}))),
            "bindings": Value::Array(of(&|name| {
                json!({"source": "x", "destination": "q", "destination_type": "queue",
                       "arguments": {"k": name}})
            })),
        });
        parse(&json).unwrap().to_json()
    };
    assert_eq!(in_order(&names), in_order(&["a", "b", "c"]));
}

#[test]
fn a_part_is_enough_and_unknown_fields_do_no_harm() {
    assert_eq!(Definitions::parse(b"").unwrap(), Definitions::default());
    assert_eq!(parse(&json!({})).unwrap(), Definitions::default());
    let definitions = parse(&json!({
        "exported_at": "today",
        "shovels": [1],
        "users": null,
        "queues": [{"name": "q", "vhost": "/", "type": "classic", "arguments": []}],
    }));
    let queue = &definitions.unwrap().queues[0];
    assert_eq!(queue.arguments, TableBuf::default());
    assert!(!queue.durable);
}

#[test]
fn tags_are_a_list_or_a_text_with_commas() {
    let tags = |tags: Value| {
        let definitions = parse(&json!({"users": [{"name": "u", "tags": tags}]})).unwrap();
        definitions.users[0].tags.join("|")
    };
    assert_eq!(tags(json!([])), "");
    assert_eq!(tags(json!("")), "");
    assert_eq!(tags(json!(["a", "b"])), "a|b");
    assert_eq!(tags(json!("a, b,c")), "a|b|c");
    refused(
        &json!({"users": [{"name": "u", "tags": 5}]}),
        "users[0] 'u': tags are a list of texts, or one with commas",
    );
    refused(&json!({"users": [{"name": "u"}]}), "users[0] 'u': missing field `tags`");
}

#[test]
fn a_user_without_a_hash_may_have_a_password() {
    let definitions = parse(&json!({"users": [
        {"name": "plain", "password": "secret", "tags": ""},
        {"name": "none", "password_hash": "", "tags": ""},
    ]}));
    let definitions = definitions.unwrap();
    assert_eq!(definitions.users[0].password.as_deref(), Some("secret"));
    assert_eq!(definitions.users[1].password_hash.as_deref(), Some(""));
    let json = String::from_utf8(definitions.to_json()).unwrap();
    assert!(!json.contains("secret"));
    assert!(!format!("{definitions:?}").contains("secret"));
}

#[test]
fn the_algorithm_is_that_of_the_version_unless_said() {
    let algorithm = |version: Value, algorithm: Value| {
        let user = json!({"name": "u", "tags": "", "hashing_algorithm": algorithm});
        let definitions = parse(&json!({"rabbit_version": version, "users": [user]})).unwrap();
        let name = definitions.hashing_algorithm(&definitions.users[0]);
        name.strip_prefix("rabbit_password_hashing_").unwrap().to_owned()
    };
    assert_eq!(algorithm(json!("3.10.8"), json!("rabbit_password_hashing_sha512")), "sha512");
    assert_eq!(algorithm(json!("3.10.8"), Value::Null), "sha256");
    assert_eq!(algorithm(json!("3.5.7"), Value::Null), "md5");
    assert_eq!(algorithm(json!("3.6.0"), Value::Null), "sha256");
    assert_eq!(algorithm(Value::Null, Value::Null), "sha256");
}

#[test]
fn a_virtual_host_is_described_beside_its_name_or_in_its_metadata() {
    let definitions = parse(&json!({"vhosts": [
        {"name": "old", "description": "d", "tags": "a,b", "tracing": false},
        {"name": "new", "limits": [], "metadata":
            {"description": "d", "tags": ["a", "b"], "default_queue_type": "quorum"}},
        {"name": "plain", "default_queue_type": "undefined", "limits": {"max-queues": -1}},
        {"name": "both", "default_queue_type": "quorum", "metadata":
            {"default_queue_type": "classic", "protected_from_deletion": true}},
    ]}));
    let vhosts = definitions.unwrap().vhosts;
    let tags = vec!["a".to_owned(), "b".to_owned()];
    let old =
        VhostEntry { name: "old".into(), description: "d".into(), tags, ..VhostEntry::default() };
    assert_eq!(vhosts[0], VhostEntry { tracing: Some(false), ..old.clone() });
    let default_queue_type = Some("quorum".to_owned());
    assert_eq!(vhosts[1], VhostEntry { name: "new".into(), default_queue_type, ..old });
    assert_eq!(vhosts[3].default_queue_type.as_deref(), Some("classic"));
    assert_eq!(vhosts[3].protected_from_deletion, Some(true));
    let written = serde_json::to_value(&vhosts[3]).unwrap();
    assert_eq!(written["metadata"]["protected_from_deletion"], true);
    assert_eq!((vhosts[2].default_queue_type.as_ref(), vhosts[2].limits["max-queues"]), (None, -1));
}

#[test]
fn the_definitions_of_a_virtual_host_do_not_name_it() {
    let definitions = parse(&json!({
        "rabbit_version": "3.10.8",
        "users": [{"name": "u", "tags": ""}],
        "queues": [{"name": "b", "vhost": "v"}, {"name": "a", "vhost": "v"},
                   {"name": "c", "vhost": "/"}, {"name": "d"}],
    }));
    let json = definitions.unwrap().vhost_json("v");
    let queue =
        |name| json!({"name": name, "durable": false, "auto_delete": false, "arguments": {}});
    let expected = json!({
        "rabbit_version": "3.10.8", "parameters": [], "policies": [],
        "queues": [queue("a"), queue("b")], "exchanges": [], "bindings": [],
    });
    assert_eq!(written(&json), expected);

    let read = Definitions::parse(&json).unwrap();
    assert_eq!(read.queues[0].vhost, None);
    assert_eq!(read.into_vhost("w").queues[0].vhost.as_deref(), Some("w"));
}

#[test]
fn into_a_virtual_host_come_only_things_that_are_in_one() {
    let definitions = Definitions::parse(EXPORTED.as_bytes()).unwrap().into_vhost("w");
    assert!(definitions.users.is_empty() && definitions.vhosts.is_empty());
    assert!(definitions.permissions.is_empty() && definitions.topic_permissions.is_empty());
    assert!(definitions.global_parameters.is_empty());
    let w = Some("w".to_owned());
    assert!(definitions.parameters.iter().all(|it| it.vhost == w));
    assert_eq!(definitions.policies[0].vhost, w);
    assert_eq!(definitions.queues[0].vhost, w);
    assert_eq!(definitions.exchanges[0].vhost, w);
    assert_eq!(definitions.bindings[0].vhost, w);
}

#[test]
fn operator_policies_and_limits_stand_among_the_parameters() {
    let definitions = Definitions::parse(EXPORTED.as_bytes()).unwrap();
    let policies = definitions.operator_policies().unwrap();
    assert_eq!((policies.len(), policies[0].vhost.as_deref()), (1, Some("/")));
    let policy = policies[0].to_policy(PolicyKind::Operator).unwrap();
    assert_eq!((policy.name.as_str(), policy.priority.0), ("short", 2.0));
    let entry = PolicyEntry::new("/", &policy);
    assert_eq!(entry, policies[0]);
    assert_eq!(entry.into_parameter(), definitions.parameters[1]);
    let limits = definitions.vhost_limits().unwrap();
    assert_eq!(limits, [(Some("/".to_owned()), [("max-queues".to_owned(), 100)].into())]);

    let wrong = |component: &str| {
        let parameter = json!({"vhost": "/", "component": component, "name": "n", "value": 5});
        parse(&json!({"parameters": [parameter]})).unwrap()
    };
    assert!(wrong(OPERATOR_POLICY).operator_policies().is_err());
    assert_eq!(
        wrong(VHOST_LIMITS).vhost_limits().unwrap_err().to_string(),
        "the definitions are wrong at parameters[0] 'n': expected an object, found 5"
    );
}

#[test]
fn what_a_policy_says_keeps_its_form() {
    let said = json!({"ha-mode": "nodes", "ha-params": ["a", "b"], "max-length": 5});
    let entry = PolicyEntry {
        vhost: Some("/".into()),
        name: "p".into(),
        pattern: ".*".into(),
        apply_to: "all".into(),
        definition: said.as_object().unwrap().clone(),
        priority: 0.into(),
    };
    let policy = entry.to_policy(PolicyKind::User).unwrap();
    assert_eq!(PolicyEntry::new("/", &policy), entry);
    let refusal = entry.to_policy(PolicyKind::Operator).unwrap_err();
    assert!(refusal.to_string().contains("are not recognised policy settings"));
    let float =
        PolicyEntry { definition: Map::from_iter([("expires".into(), json!(1.5))]), ..entry };
    assert_eq!(
        float.to_policy(PolicyKind::User).unwrap_err().reasons,
        ["1.5 is not a valid queue expiry"]
    );
}

#[test]
fn a_policy_has_a_priority_of_zero_and_is_for_all_unless_said() {
    let entry = |fields: Value| {
        let mut policy = json!({"name": "p", "pattern": "", "definition": {}});
        policy.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        parse(&json!({"policies": [policy]})).map(|it| it.policies[0].clone())
    };
    let plain = entry(json!({})).unwrap();
    assert_eq!((plain.priority, plain.apply_to.as_str()), (0.into(), "all"));
    assert_eq!(entry(json!({"priority": 2.0})).unwrap().priority, Number::from_f64(2.0).unwrap());
    assert_eq!(
        entry(json!({"priority": "high"})).unwrap_err().to_string(),
        "the definitions are wrong at policies[0] 'p': \
         priority should be a number, actually was \"high\""
    );
}

#[test]
fn a_mistake_is_told_with_its_place() {
    let refusal = Definitions::parse(b"{\"users\": [}").unwrap_err().to_string();
    assert_eq!(refusal, "the definitions are not JSON: expected value at line 1 column 12");
    assert!(matches!(Definitions::parse(b"{\"a\": \"\xff\"}"), Err(DefinitionsError::NotJson(_))));
    refused(&json!([]), "the beginning: not an object");
    refused(&json!({"queues": {}}), "queues: not a list");
    refused(&json!({"queues": ["q"]}), "queues[0]: not an object");
    refused(&json!({"rabbit_version": 3}), "rabbit_version: not a text");
    refused(&json!({"queues": [{"name": "a"}, {"vhost": "/"}]}), "queues[1]: missing field `name`");
    refused(
        &json!({"queues": [{"name": "a", "durable": "yes"}]}),
        "queues[0] 'a': invalid type: string \"yes\", expected a boolean",
    );
    refused(
        &json!({"queues": [{"name": "a", "arguments": [1]}]}),
        "queues[0] 'a': expected an object, found [1]",
    );
    refused(
        &json!({"bindings": [{"source": "x", "destination": "q", "destination_type": "topic"}]}),
        "bindings[0] 'x': unknown variant `topic`, expected `queue` or `exchange`",
    );
    refused(
        &json!({"users": [{"name": "u", "tags": "", "limits": {"max-channels": "x"}}]}),
        "users[0] 'u': the limit 'max-channels' is not a whole number",
    );
}

#[test]
fn a_byte_order_mark_is_no_part_of_them() {
    let definitions = Definitions::parse(b"\xef\xbb\xbf{\"vhosts\": [{\"name\": \"v\"}]}").unwrap();
    assert_eq!(definitions.vhosts[0].name, "v");
    assert_eq!(Definitions::parse(b"\xef\xbb\xbf").unwrap(), Definitions::default());
}

#[test]
fn unknown_keys_are_named_once() {
    assert!(Definitions::parse(EXPORTED.as_bytes()).unwrap().unknown_keys.is_empty());
    let definitions = parse(&json!({
        "queue": [],
        "original_vhost_name": "/",
        "queues": [{"name": "a", "dureable": true}, {"name": "b", "dureable": true, "type": "classic"}],
    }))
    .unwrap();
    let unknown: Vec<_> = definitions.unknown_keys.iter().map(String::as_str).collect();
    assert_eq!(unknown, ["'dureable' in queues", "'queue'"]);
}
