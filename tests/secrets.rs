//! No password comes out of the broker again: not in its log, whatever is logged, and not in what
//! it says when it does not start.

use std::fs;
use std::net::SocketAddr;

use crate::support::certificates::Authority;
use crate::support::client::{Client, short};
use crate::support::http;
use crate::support::process::{Ended, Process, leveret};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use leveret_codec::method::connection;
use leveret_codec::table::TableBuilder;
use leveret_codec::{Method, Value};
use rustix::process::Signal;

const RIGHT: &str = "rightPlain01";
const WRONG: &str = "wrongPlain02";
const WRONG_AMQPLAIN: &str = "wrongAmqplain03";
const WRONG_HTTP: &str = "wrongHttp04";
const NEW: &str = "newHttp05";
const NUMBER: &str = "31415926535";
const IMPORTED: &str = "importedHttp07";
const UPDATED: &str = "updated08";
const UNUSED: &str = "neverUsed09";

/// What must not be seen: passwords that are right, wrong, and not even texts.
const SECRETS: [&str; 9] =
    [RIGHT, WRONG, WRONG_AMQPLAIN, WRONG_HTTP, NEW, NUMBER, IMPORTED, UPDATED, UNUSED];

/// The forms in which octets are logged by mistake.
fn forms(secret: &str) -> [String; 4] {
    let octets = secret.as_bytes();
    let decimal: Vec<_> = octets.iter().map(ToString::to_string).collect();
    let hex: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
    let basic = STANDARD.encode(format!("boss:{secret}"));
    [secret.to_owned(), decimal.join(", "), hex, basic]
}

#[track_caller]
fn expect_no_secret(text: &str) {
    for secret in SECRETS {
        for form in forms(secret) {
            assert!(!text.contains(&form), "{secret} is in\n{text}");
        }
    }
}

#[test]
fn the_log_has_no_password() {
    let home = tempfile::tempdir().unwrap();
    let definitions = home.path().join("definitions.json");
    let users = serde_json::json!({
        "users": [
            { "name": "boss", "password": RIGHT, "tags": ["administrator"] },
            { "name": "other", "password": UNUSED, "tags": [] },
        ],
        "vhosts": [{ "name": "/" }],
        "permissions": [
            { "user": "boss", "vhost": "/", "configure": "", "write": "", "read": "" },
        ],
    });
    fs::write(&definitions, users.to_string()).unwrap();
    let [certificate, key] = Authority::new("an authority").server("broker").write(home.path());
    let mut command = leveret(["--in-memory", "--listen", "127.0.0.1:0", "--log", "trace"]);
    command.args(["--management", "127.0.0.1:0", "--tls-listen", "127.0.0.1:0"]);
    command.arg("--definitions").arg(&definitions);
    command.arg("--tls-cert").arg(&certificate).arg("--tls-key").arg(&key);
    let (process, address) =
        Process::start(command).ready().unwrap_or_else(|it| panic!("{}", it.stderr));
    let management = process
        .stdout()
        .lines()
        .find_map(|line| line.strip_prefix("leveret management on http://"));
    let management: SocketAddr = management.unwrap().trim_end_matches("/api").parse().unwrap();

    let plain = |password: &str| log_in(address, "PLAIN", format!("\0boss\0{password}").as_bytes());
    assert_eq!(plain(RIGHT), "");
    assert!(plain(WRONG).starts_with("403 "));
    let amqplain = |password: &str| {
        let mut table = TableBuilder::default();
        table.push(b"LOGIN", &Value::LongStr(b"boss"));
        table.push(b"PASSWORD", &Value::LongStr(password.as_bytes()));
        // A response has no length before it.
        log_in(address, "AMQPLAIN", table.finish().as_table().as_bytes())
    };
    assert_eq!(amqplain(RIGHT), "");
    assert!(amqplain(WRONG_AMQPLAIN).starts_with("403 "));

    let http = |line: &str, password: &str, body: &str| {
        http::request(management, line, &format!("boss:{password}"), body).0
    };
    assert_eq!(http("GET /api/whoami", RIGHT, ""), 200);
    assert_eq!(http("GET /api/whoami", WRONG_HTTP, ""), 401);
    let user = format!("{{\"password\": \"{NEW}\", \"tags\": \"\"}}");
    assert_eq!(http("PUT /api/users/new", RIGHT, &user), 201);
    let imported =
        format!("{{\"users\": [{{\"name\": \"i\", \"password\": \"{IMPORTED}\", \"tags\": []}}]}}");
    assert_eq!(http("POST /api/definitions", RIGHT, &imported), 204);
    for wrong in [imported.replace("[]", "7"), imported.replace(&format!("\"{IMPORTED}\""), NUMBER)]
    {
        assert_eq!(http("POST /api/definitions", RIGHT, &wrong), 400);
    }

    process.signal(Signal::HUP);
    process.signal(Signal::TERM);
    let Ended { stdout, stderr, .. } = process.wait();
    assert_eq!(stderr.matches("login refused").count(), 3, "{stderr}");
    expect_no_secret(&stderr);
    expect_no_secret(&stdout);
    let key = fs::read_to_string(&key).unwrap();
    let line = key.lines().nth(1).unwrap();
    assert!(!stderr.contains(line), "a key is in\n{stderr}");
}

#[test]
fn what_is_wrong_with_definitions_is_told_without_passwords() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("definitions.json");
    for wrong in [
        format!("{{\"users\": [{{\"name\": \"a\", \"password\": {NUMBER}, \"tags\": []}}]}}"),
        format!("{{\"users\": [{{\"name\": \"a\", \"password\": [\"{RIGHT}\"], \"tags\": []}}]}}"),
        format!("{{\"users\": [{{\"name\": \"a\", \"password_hash\": {NUMBER}, \"tags\": []}}]}}"),
        format!(
            "{{\"users\": [{{\"name\": \"a\", \"password_hash\": \"{RIGHT}!\", \"tags\": []}}]}}"
        ),
        format!("{{\"users\": [{{\"name\": \"a\", \"password\": \"{RIGHT}\", \"tags\": 7}}]}}"),
        format!("{{\"users\": [{{\"name\": \"a\", \"password\": \"{RIGHT}\" \"tags\": []}}]}}"),
        format!("{{\"users\": [\"{RIGHT}\"]}}"),
    ] {
        fs::write(&path, &wrong).unwrap();
        let mut command = leveret(["--in-memory", "--listen", "127.0.0.1:0", "--log", "trace"]);
        command.arg("--definitions").arg(&path);
        let Err(Ended { stderr, .. }) = Process::start(command).ready() else {
            panic!("it started with {wrong}");
        };
        assert!(stderr.contains("definitions"), "{stderr}");
        expect_no_secret(&stderr);
    }
}

/// Logs in and changes the secret that it has; the refusal, if it is one.
fn log_in(address: SocketAddr, mechanism: &str, response: &[u8]) -> String {
    let mut client = Client::silent(address);
    client.mechanisms();
    if let Err(refusal) = client.log_in(mechanism, response) {
        return refusal;
    }
    assert!(matches!(client.enter("/").method(), Method::ConnectionOpenOk(_)));
    let update = connection::UpdateSecret { new_secret: UPDATED.as_bytes(), reason: short("") };
    client.call(0, &update);
    String::new()
}
