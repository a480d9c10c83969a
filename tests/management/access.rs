//! Who gets in, and who may see what.

use super::arena::{Arena, User, all, talk};
use crate::support::client::Client;

#[test]
fn a_wrong_login_is_told_how_to_log_in() {
    let arena = Arena::start();
    let guest = arena.guest();
    for login in [None, Some(("guest", "wrong")), Some(("nobody", "guest")), Some(("guest", ""))] {
        let reply = User { login, ..guest }.get("whoami");
        reply.refused(401, "not_authorized", "Login failed");
        let realm = Some("Basic realm=\"RabbitMQ Management\"");
        assert_eq!(reply.header("www-authenticate"), realm, "{login:?}");
    }
    assert_eq!(guest.see("whoami")["name"], "guest");
    assert_eq!(guest.see("whoami")["tags"][0], "administrator");
}

#[test]
fn a_user_without_tags_may_not_use_the_api() {
    let arena = Arena::start();
    for tags in ["", "impersonator"] {
        let name = if tags.is_empty() { "plain" } else { "impersonator" };
        let user = arena.make(name, tags);
        user.get("whoami").refused(401, "not_authorised", "Not management user");
    }
}

#[test]
fn tags_say_what_a_user_may_do() {
    let arena = Arena::start();
    let [management, policymaker, monitoring] =
        ["management", "policymaker", "monitoring"].map(|tag| arena.make(tag, tag));
    let not = |reply: super::arena::Reply, reason: &str| {
        reply.refused(401, "not_authorised", reason);
    };
    for user in [management, policymaker, monitoring] {
        assert_eq!(user.get("overview").status, 200);
        assert_eq!(user.get("queues/%2F").status, 200);
        assert_eq!(user.put("queues/%2F/q", "{}").status / 100, 2);
        for path in ["users", "users/guest", "permissions", "permissions/%2F/guest"] {
            not(user.get(path), "Not administrator user");
        }
        not(user.put("vhosts/new", ""), "Not administrator user");
        not(user.put("users/new", "{}"), "Not administrator user");
        not(user.put("operator-policies/%2F/p", "{}"), "Not administrator user");
    }
    for user in [management, policymaker] {
        not(user.get("nodes"), "Not monitor user");
    }
    assert_eq!(monitoring.get("nodes").status, 200);

    let policy = r#"{"pattern": "^q$", "definition": {"max-length": 1}}"#;
    let no_object = "User not authorised to access object";
    for user in [management, monitoring] {
        not(user.put("policies/%2F/p", policy), no_object);
        not(user.get("parameters"), no_object);
        not(user.get("global-parameters"), no_object);
    }
    assert_eq!(policymaker.put("policies/%2F/p", policy).status, 201);
    assert_eq!(policymaker.get("parameters").status, 200);
}

#[test]
fn a_user_sees_the_virtual_hosts_that_it_may_enter() {
    let arena = Arena::start();
    let guest = arena.guest();
    guest.put("vhosts/secret", "");
    let [management, monitoring] = ["management", "monitoring"].map(|tag| arena.make(tag, tag));
    assert_eq!(all(&guest.see("vhosts"), "name"), ["/", "secret"]);
    assert_eq!(all(&management.see("vhosts"), "name"), ["/"]);
    assert_eq!(all(&monitoring.see("vhosts"), "name"), ["/", "secret"]);

    let reason = "User not authorised to access virtual host";
    management.get("vhosts/secret").refused(401, "not_authorised", reason);
    assert_eq!(monitoring.get("vhosts/secret").status, 200);
    for user in [management, monitoring] {
        user.get("queues/secret").refused(401, "not_authorised", reason);
        assert!(all(&user.see("exchanges"), "vhost").iter().all(|vhost| *vhost == "/"));
    }
    assert!(all(&guest.see("exchanges"), "vhost").contains(&"secret"));
    guest.get("queues/lost").refused(404, "Object Not Found", "Not Found");
    management.get("queues/lost").refused(404, "Object Not Found", "Not Found");
}

#[test]
fn a_user_sees_its_own_connections_and_ends_them_alone() {
    let arena = Arena::start();
    let _client = Client::connect(arena.amqp());
    let [management, monitoring] = ["management", "monitoring"].map(|tag| arena.make(tag, tag));
    let name = arena.guest().see("connections")[0]["name"].as_str().unwrap().to_owned();
    let path = format!("connections/{}", name.replace(' ', "%20").replace('>', "%3E"));
    let reason = "User not authorised to access object";
    assert_eq!(management.see("connections"), serde_json::json!([]));
    assert_eq!(management.see("channels"), serde_json::json!([]));
    management.get(&path).refused(401, "not_authorised", reason);
    assert_eq!(monitoring.see("connections")[0]["user"], "guest");
    assert_eq!(monitoring.get(&path).status, 200);
    for user in [management, monitoring] {
        user.delete(&path).refused(401, "not_authorised", reason);
    }
}

#[test]
fn nonsense_is_answered_as_such() {
    let arena = Arena::start();
    let guest = arena.guest();
    for path in ["nothing", "queues/%2F/q/nothing", "health/checks/nothing"] {
        guest.get(path).refused(404, "Object Not Found", "Not Found");
    }
    assert_eq!(guest.delete("overview").status, 405);
    guest.put("queues/%2F/q", "{").refused(400, "bad_request", "not_json");
    guest.put("users/u", "[1]").refused(400, "bad_request", "not_json");
    let address = arena.broker().management_address().unwrap();
    assert_eq!(talk(address, b"nonsense\r\n\r\n").status, 400);
    let lost = "POST /lost HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    talk(address, lost.as_bytes()).refused(404, "Object Not Found", "Not Found");
}

#[test]
fn a_body_has_a_limit() {
    let arena = Arena::start();
    let body = " ".repeat(20_000_001);
    let reply = arena.guest().put("queues/%2F/q", &body);
    reply.refused(400, "bad_request", "Exceeded HTTP request body size limit");
}

#[test]
fn one_connection_takes_many_requests() {
    use std::io::{Read, Write};
    let arena = Arena::start();
    let address = arena.broker().management_address().unwrap();
    let mut socket = std::net::TcpStream::connect(address).unwrap();
    for _ in 0..3 {
        let head = "HEAD /api/whoami HTTP/1.1\r\nHost: x\r\nAuthorization: Basic Z3Vlc3Q6Z3Vlc3Q=";
        socket.write_all(format!("{head}\r\n\r\n").as_bytes()).unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut octet = [0];
            socket.read_exact(&mut octet).unwrap();
            answer.extend(octet);
        }
        assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"), "{}", String::from_utf8_lossy(&answer));
    }
}

#[test]
fn what_may_be_done_with_a_path_is_told_without_a_login() {
    let arena = Arena::start();
    let nobody = User { login: None, ..arena.guest() };
    for (path, methods) in [
        ("overview", &["GET", "HEAD", "OPTIONS"][..]),
        ("queues/%2F/q", &["DELETE", "GET", "HEAD", "OPTIONS", "PUT"]),
        ("exchanges/%2F/amq.default/publish", &["OPTIONS", "POST"]),
    ] {
        let reply = nobody.ask("OPTIONS", path, "", "");
        assert_eq!((reply.status, reply.body.as_str()), (200, ""), "{path}");
        let mut allowed: Vec<_> = reply.header("allow").unwrap().split(',').collect();
        allowed.sort_unstable();
        assert_eq!(allowed, methods, "{path}");
    }
    assert_eq!(nobody.ask("OPTIONS", "nothing", "", "").status, 404);
    assert_eq!(nobody.ask("PATCH", "overview", "", "").status, 405);
}
