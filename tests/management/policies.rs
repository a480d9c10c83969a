//! Policies and operator's policies.

use serde_json::json;

use super::arena::{Arena, all};

#[test]
fn policies_come_go_and_are_in_force() {
    let arena = Arena::start();
    let guest = arena.guest();
    guest.put("queues/%2F/q1", "{}");
    let path = "policies/%2F/p";
    let body = r#"{"pattern": "^q", "definition": {"max-length": 5}, "apply-to": "queues",
                   "priority": 2}"#;
    assert_eq!(guest.put(path, body).status, 201);
    assert_eq!(guest.put(path, body).status, 204);
    let expected = json!({
        "vhost": "/", "name": "p", "pattern": "^q", "apply-to": "queues",
        "definition": {"max-length": 5}, "priority": 2,
    });
    assert_eq!(guest.see(path), expected);
    for path in ["policies", "policies/%2F"] {
        assert_eq!(guest.see(path), json!([expected]), "{path}");
    }
    let operator = r#"{"pattern": ".*", "definition": {"max-length": 3}, "apply-to": "queues"}"#;
    assert_eq!(guest.put("operator-policies/%2F/o", operator).status, 201);
    assert_eq!(all(&guest.see("operator-policies"), "name"), ["o"]);
    let q1 = guest.see("queues/%2F/q1");
    assert_eq!((&q1["policy"], &q1["operator_policy"]), (&json!("p"), &json!("o")));
    assert_eq!(q1["effective_policy_definition"], json!({"max-length": 3}));

    for path in [path, "operator-policies/%2F/o"] {
        assert_eq!(guest.delete(path).status, 204);
        guest.delete(path).refused(404, "Object Not Found", "Not Found");
        guest.get(path).refused(404, "Object Not Found", "Not Found");
    }
    assert_eq!(guest.see("queues/%2F/q1")["policy"], json!(null));
}

#[test]
fn what_is_wrong_with_a_policy_is_told_in_rabbitmqs_words() {
    let arena = Arena::start();
    let guest = arena.guest();
    let put = |body: &str| guest.put("policies/%2F/p", body);
    put("{\"definition\": {}}").refused(400, "bad_request", "[{key_missing,pattern}]");
    for (definition, rest, reason) in [
        (
            r#"{"bogus": 5}"#,
            "",
            "[{&lt;&lt;\"bogus\"&gt;&gt;,5}] are not recognised policy settings\n",
        ),
        (r#"{"max-length": "a"}"#, "", "&lt;&lt;\"a\"&gt;&gt; is not a valid maximum length\n"),
        ("{}", "", "no policy provided\n"),
        (
            r#"{"max-length": 1}"#,
            r#", "apply-to": "foo""#,
            "apply-to 'foo' unrecognised; should be 'queues', 'exchanges' or 'all'\n",
        ),
    ] {
        let body = format!(r#"{{"pattern": ".*", "definition": {definition}{rest}}}"#);
        put(&body).refused(400, "bad_request", format!("Validation failed\n\n{reason}"));
    }
    put(r#"{"pattern": "(", "definition": {"max-length": 1}}"#).refused(
        400,
        "bad_request",
        "Validation failed\n\npattern should be regular expression but is invalid: \
         {\"missing )\",1}\n",
    );
    let body = r#"{"pattern": ".*", "definition": {"bogus": 5}}"#;
    guest.put("operator-policies/%2F/p", body).refused(
        400,
        "bad_request",
        "Validation failed\n\n[{<<\"bogus\">>,5}] are not recognised policy settings\n",
    );
    guest.put("policies/lost/p", body).refused(404, "not_found", "vhost_not_found");
    assert_eq!(guest.see("policies"), json!([]));
}

#[test]
fn a_priority_is_any_number_and_comes_back_as_it_was() {
    let arena = Arena::start();
    let guest = arena.guest();
    guest.put("queues/%2F/q", "{}");
    for (name, priority, in_force) in [
        ("low", "1.5", "low"),
        ("lower", "1", "low"),
        ("high", "2.0", "high"),
        ("negative", "-0.5", "high"),
    ] {
        let body = format!(
            r#"{{"pattern": "^q", "definition": {{"max-length": 5}}, "priority": {priority}}}"#
        );
        assert_eq!(guest.put(&format!("policies/%2F/{name}"), &body).status, 201);
        let shown = guest.get(&format!("policies/%2F/{name}")).body;
        assert!(shown.contains(&format!("\"priority\":{priority},")), "{shown}");
        assert_eq!(guest.see("queues/%2F/q")["policy"], in_force);
    }
    let exported = guest.see("definitions")["policies"].clone();
    let priorities: Vec<_> =
        exported.as_array().unwrap().iter().map(|it| &it["priority"]).collect();
    assert_eq!(priorities, [&json!(2.0), &json!(1.5), &json!(1), &json!(-0.5)]);
    assert_eq!(guest.post("definitions", &json!({"policies": exported}).to_string()).status, 204);
    assert_eq!(guest.see("policies/%2F/low")["priority"], 1.5);
}
