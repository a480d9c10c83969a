//! Connections, channels and consumers.

use serde_json::json;

use super::arena::{Arena, has};
use crate::support::client::{Client, short};
use crate::support::{eventually, http};
use leveret_codec::Method;
use leveret_codec::method::{basic, confirm};

/// A name as it stands in a path.
fn quoted(name: &str) -> String {
    name.replace(' ', "%20").replace('>', "%3E").replace('(', "%28").replace(')', "%29")
}

#[test]
fn a_connection_is_shown_and_closed() {
    let arena = Arena::start();
    let guest = arena.guest();
    let mut client = Client::connect(arena.amqp());
    let local = client.socket().local_addr().unwrap();
    let name = format!("{local} -> {}", arena.amqp());
    let listed = guest.see("connections");
    assert_eq!(listed.as_array().unwrap().len(), 1, "the API shows no client of its own");
    let path = format!("connections/{}", quoted(&name));
    let shown = guest.see(&path);
    for (field, value) in [
        ("name", json!(name)),
        ("state", json!("running")),
        ("user", json!("guest")),
        ("vhost", json!("/")),
        ("channels", json!(1)),
        ("channel_max", json!(2047)),
        ("frame_max", json!(131_072)),
        ("timeout", json!(0)),
        ("protocol", json!("AMQP 0-9-1")),
        ("auth_mechanism", json!("PLAIN")),
        ("host", json!("127.0.0.1")),
        ("port", json!(arena.amqp().port())),
        ("peer_host", json!("127.0.0.1")),
        ("peer_port", json!(local.port())),
        ("ssl", json!(false)),
        ("type", json!("network")),
        ("client_properties", json!({})),
    ] {
        assert_eq!(shown[field], value, "{field}");
    }
    has(&shown, &["connected_at", "recv_oct", "send_oct", "node", "user_provided_name"]);
    assert_eq!(guest.see("vhosts/%2F/connections")[0]["name"], name.as_str());

    let reply = guest.ask("DELETE", &path, "X-Reason: enough\r\n", "");
    assert_eq!(reply.status, 204);
    match client.frame().method() {
        Method::ConnectionClose(close) => {
            assert_eq!(close.reply_code, 320);
            assert_eq!(close.reply_text.to_string(), "CONNECTION_FORCED - enough");
        }
        other => panic!("{other:?}"),
    }
    drop(client);
    eventually("the connection is gone", || guest.get(&path).status == 404);
    guest.delete(&path).refused(404, "Object Not Found", "Not Found");
}

#[test]
fn a_connection_is_closed_with_a_usual_reason() {
    let arena = Arena::start();
    let guest = arena.guest();
    let mut client = Client::connect(arena.amqp());
    let name = guest.see("connections")[0]["name"].as_str().unwrap().to_owned();
    assert_eq!(guest.delete(&format!("connections/{}", quoted(&name))).status, 204);
    match client.frame().method() {
        Method::ConnectionClose(close) => {
            let text = "CONNECTION_FORCED - Closed via management plugin";
            assert_eq!(close.reply_text.to_string(), text);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_alarm_is_seen_at_the_connections() {
    let arena = Arena::start();
    let guest = arena.guest();
    let mut client = Client::connect(arena.amqp());
    client.declare("q", false);
    let state = || guest.see("connections")[0]["state"].as_str().unwrap().to_owned();
    assert_eq!(state(), "running");
    arena.broker().set_alarm(Some("low on memory"));
    assert_eq!(state(), "blocking");
    let mut octets = Vec::new();
    client.encode_publish(&mut octets, 1, ("", "q"), &[0, 0], b"x");
    client.send(&octets).unwrap();
    eventually("the publisher is blocked", || state() == "blocked");
    arena.broker().set_alarm(None);
    assert_eq!(state(), "running");
}

#[test]
fn channels_and_consumers_are_shown() {
    let arena = Arena::start();
    let guest = arena.guest();
    let mut client = Client::connect(arena.amqp());
    client.declare("q", false);
    client.consume("q", 7, false);
    client.open_channel(2);
    let selected = client.call(2, &confirm::Select::default());
    assert!(matches!(selected.method(), Method::ConfirmSelectOk(_)));
    let publish = basic::Publish { routing_key: short("q"), ..basic::Publish::default() };
    let mut octets = Vec::new();
    leveret_codec::encode::method(&mut octets, 1, &publish);
    leveret_codec::encode::content_header(&mut octets, 1, 1, &[0, 0]);
    leveret_codec::encode::body(&mut octets, 1, b"x", 4096);
    client.send(&octets).unwrap();
    client.delivery();

    let connection = guest.see("connections")[0]["name"].as_str().unwrap().to_owned();
    let channels = guest.see("channels");
    assert_eq!(channels.as_array().unwrap().len(), 2);
    for path in
        [format!("connections/{}/channels", quoted(&connection)), "vhosts/%2F/channels".to_owned()]
    {
        assert_eq!(guest.see(&path), channels);
    }
    let name = format!("{connection} (1)");
    let shown = guest.see(&format!("channels/{}", quoted(&name)));
    for (field, value) in [
        ("name", json!(name)),
        ("number", json!(1)),
        ("user", json!("guest")),
        ("vhost", json!("/")),
        ("confirm", json!(false)),
        ("transactional", json!(false)),
        ("consumer_count", json!(1)),
        ("prefetch_count", json!(7)),
        ("global_prefetch_count", json!(0)),
        ("messages_unacknowledged", json!(1)),
        ("messages_unconfirmed", json!(0)),
        ("messages_uncommitted", json!(0)),
        ("acks_uncommitted", json!(0)),
        ("state", json!("running")),
    ] {
        assert_eq!(shown[field], value, "{field}");
    }
    assert_eq!(shown["connection_details"]["name"], connection.as_str());
    assert_eq!(shown["message_stats"]["deliver"], 1);
    assert_eq!(channels[1]["confirm"], true);

    let queue = guest.see("queues/%2F/q");
    assert_eq!(
        (&queue["message_bytes_unacknowledged"], &queue["message_bytes"]),
        (&json!(1), &json!(1))
    );
    let consumers = guest.see("consumers");
    assert_eq!(guest.see("consumers/%2F"), consumers);
    let consumer = &consumers[0];
    assert_eq!(consumer["queue"], json!({"name": "q", "vhost": "/"}));
    for (field, value) in [
        ("ack_required", json!(true)),
        ("exclusive", json!(false)),
        ("prefetch_count", json!(7)),
        ("active", json!(true)),
        ("activity_status", json!("up")),
        ("arguments", json!({})),
    ] {
        assert_eq!(consumer[field], value, "{field}");
    }
    assert_eq!(consumer["channel_details"]["name"], name.as_str());
    has(consumer, &["consumer_tag"]);
    assert_eq!(guest.see("queues/%2F/q")["consumer_details"], consumers);
    assert_eq!(shown["consumer_details"], consumers);
    guest.get("channels/none").refused(404, "Object Not Found", "Not Found");
    guest.get("connections/none/channels").refused(404, "Object Not Found", "Not Found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_ipv4_is_shown_as_such_whatever_the_socket_is() {
    let any = "[::]:0".parse().unwrap();
    let builder = leveret::Broker::builder().in_memory().listen(any).management(any);
    let broker = builder.start().await.unwrap();
    let ipv4 = |port| std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let _client = Client::connect(ipv4(broker.addresses()[0].port()));
    let api = ipv4(broker.management_address().unwrap().port());
    let (status, body) = http::request(api, "GET /api/connections", "guest:guest", "");
    assert_eq!(status, 200);
    let shown: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (&shown[0]["host"], &shown[0]["peer_host"]),
        (&json!("127.0.0.1"), &json!("127.0.0.1"))
    );
    let name = shown[0]["name"].as_str().unwrap();
    assert!(name.starts_with("127.0.0.1:") && name.contains(" -> 127.0.0.1:"), "{name}");
}
