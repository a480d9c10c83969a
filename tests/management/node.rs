//! The overview, the node and its health; and where the API is.

use serde_json::json;

use super::arena::{Arena, all, has};
use crate::support::client::Client;
use leveret::{Broker, StartError};

#[test]
fn the_overview_counts_everything() {
    let arena = Arena::start();
    let guest = arena.guest();
    let mut client = Client::connect(arena.amqp());
    client.declare("q", false);
    client.publish_safely(1, ("", "q"), &[0, 0], b"x");
    let overview = guest.see("overview");
    has(
        &overview,
        &[
            "management_version",
            "rabbitmq_version",
            "product_name",
            "product_version",
            "erlang_version",
            "cluster_name",
            "node",
            "rates_mode",
            "exchange_types",
            "message_stats",
            "churn_rates",
            "listeners",
            "contexts",
        ],
    );
    assert_eq!(
        overview["object_totals"],
        json!({"connections": 1, "channels": 1, "exchanges": 7, "queues": 1, "consumers": 0})
    );
    let totals = &overview["queue_totals"];
    let totals = ["messages", "messages_ready", "messages_unacknowledged"].map(|it| &totals[it]);
    assert_eq!(totals, [&json!(1), &json!(1), &json!(0)]);
    assert_eq!(overview["message_stats"]["publish"], 1);
    assert_eq!(overview["message_stats"]["confirm"], 1);
    let types = all(&overview["exchange_types"], "name");
    assert!(["direct", "fanout", "topic", "headers"].iter().all(|it| types.contains(it)));
    assert_eq!(all(&overview["listeners"], "protocol"), ["amqp", "http"]);
    assert_eq!(overview["listeners"][0]["port"], arena.amqp().port());
}

#[test]
fn small_questions_are_answered() {
    let arena = Arena::start();
    let guest = arena.guest();
    has(&guest.see("extensions")[0], &["javascript"]);
    let node = guest.see("overview")["node"].clone();
    assert_eq!(guest.see("cluster-name"), json!({"name": node}));
    assert_eq!(guest.put("cluster-name", r#"{"name": "warren"}"#).status, 204);
    assert_eq!(guest.see("cluster-name"), json!({"name": "warren"}));
    assert_eq!(guest.see("overview")["cluster_name"], "warren");
}

#[test]
fn the_node_says_what_it_uses() {
    let arena = Arena::start();
    let guest = arena.guest();
    let nodes = guest.see("nodes");
    let name = nodes[0]["name"].as_str().unwrap();
    let node = guest.see(&format!("nodes/{name}"));
    has(
        &node,
        &[
            "type",
            "running",
            "uptime",
            "mem_used",
            "mem_limit",
            "mem_alarm",
            "disk_free",
            "disk_free_limit",
            "disk_free_alarm",
            "fd_used",
            "fd_total",
            "sockets_used",
            "proc_used",
            "proc_total",
            "run_queue",
            "partitions",
            "enabled_plugins",
            "applications",
        ],
    );
    assert!(node["mem_used"].as_u64().unwrap() > 1_000_000);
    assert_eq!((&node["running"], &node["type"]), (&json!(true), &json!("ram")));
    guest.get("nodes/other").refused(404, "Object Not Found", "Not Found");
}

#[test]
fn a_healthy_broker_says_so() {
    let arena = Arena::start();
    let guest = arena.guest();
    let ok = json!({"status": "ok"});
    for check in [
        "health/checks/alarms",
        "health/checks/local-alarms",
        "health/checks/virtual-hosts",
        "health/checks/certificate-expiration/1/months",
        "health/checks/ready-to-serve-clients",
        "healthchecks/node",
    ] {
        assert_eq!(guest.see(check), ok, "{check}");
    }
    let alone = json!({"status": "ok", "reason": "single node cluster"});
    assert_eq!(guest.see("health/checks/node-is-quorum-critical"), alone);
    assert_eq!(guest.see("health/checks/node-is-mirror-sync-critical"), alone);
    let protocol = guest.see("health/checks/protocol-listener/amqp");
    assert_eq!(protocol, json!({"status": "ok", "protocol": "amqp"}));
    for port in [arena.amqp().port(), arena.port()] {
        let shown = guest.see(&format!("health/checks/port-listener/{port}"));
        assert_eq!(shown, json!({"status": "ok", "port": port}));
    }
}

#[test]
fn what_is_wrong_is_a_503() {
    let arena = Arena::start();
    let guest = arena.guest();
    let reply = guest.get("health/checks/port-listener/1");
    assert_eq!(reply.status, 503);
    let ports = [arena.amqp().port(), arena.port()];
    assert_eq!(
        reply.json(),
        json!({"status": "failed", "reason": "No active listener", "missing": 1, "ports": ports})
    );
    assert_eq!(guest.get("health/checks/port-listener/x").status, 400);
    assert_eq!(guest.get("health/checks/protocol-listener/mqtt").status, 503);

    arena.broker().set_alarm(Some("low on disk & memory"));
    let node = guest.see("overview")["node"].clone();
    for (check, place) in [("alarms", "in the cluster"), ("local-alarms", "on the node")] {
        let reply = guest.get(&format!("health/checks/{check}"));
        assert_eq!(reply.status, 503);
        assert_eq!(
            reply.json(),
            json!({
                "status": "failed",
                "reason": format!("There are alarms in effect {place}"),
                "alarms": [
                    {"node": node, "resource": "memory"},
                    {"node": node, "resource": "disk"},
                ],
            })
        );
    }
    assert_eq!(guest.see("nodes")[0]["mem_alarm"], true);
    arena.broker().set_alarm(None);
    assert_eq!(guest.get("health/checks/alarms").status, 200);
}

#[tokio::test]
async fn a_broker_has_no_api_unless_told() {
    let any = "127.0.0.1:0".parse().unwrap();
    let broker = Broker::builder().listen(any).start().await.unwrap();
    assert_eq!(broker.management_address(), None);
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn an_address_that_is_taken_is_told_in_one_line() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let any = "127.0.0.1:0".parse().unwrap();
    let error = Broker::builder().listen(any).management(address).start().await.unwrap_err();
    assert!(matches!(error, StartError::Listen { .. }));
    assert!(!error.to_string().contains('\n') && error.to_string().contains(&address.to_string()));
}
