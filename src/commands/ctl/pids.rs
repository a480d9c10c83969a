//! Names for connections, channels and queues in the form that Erlang gives to its processes.
//!
//! rabbitmq: `<rabbit@host.1764575000.2834.0>`: node, start of the node, number, serial number. Commands print these,
//! and `close_connection` takes one. Here they say when a connection came and which it is, so that the same
//! connection always has the same one.

use serde_json::Value;

/// The name of a connection, as `/api/connections` shows it.
pub(super) fn of_connection(node: &str, connection: &Value) -> String {
    pid(node, connection, 0)
}

/// The name of a channel of one of these connections.
pub(super) fn of_channel(node: &str, channel: &Value, connections: &[Value]) -> String {
    let name = &channel["connection_details"]["name"];
    let connection = connections.iter().find(|it| it["name"] == *name);
    // A connection that came in between is named by itself.
    let connection = connection.unwrap_or(&channel["connection_details"]);
    pid(node, connection, channel["number"].as_u64().unwrap_or_default())
}

/// A name for what has no number.
pub(super) fn of_text(node: &str, text: &str) -> String {
    format!("<{node}.0.{}.0>", crc32fast::hash(text.as_bytes()))
}

/// Whether this has the form of such a name.
pub(super) fn is_pid(text: &str) -> bool {
    let inner = text.strip_prefix('<').and_then(|rest| rest.strip_suffix('>'));
    let Some(inner) = inner else { return false };
    let mut parts = inner.rsplitn(4, '.');
    let numbers = parts.by_ref().take(3).filter(|part| part.parse::<u64>().is_ok()).count();
    numbers == 3 && parts.next().is_some_and(|node| node.contains('@'))
}

fn pid(node: &str, connection: &Value, serial: u64) -> String {
    let seconds = connection["connected_at"].as_u64().unwrap_or_default() / 1000;
    let name = connection["name"].as_str().unwrap_or_default();
    format!("<{node}.{seconds}.{}.{serial}>", crc32fast::hash(name.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_have_the_form_of_erlangs() {
        let connection =
            serde_json::json!({ "name": "a:1 -> b:2", "connected_at": 1_764_575_000_123_u64 });
        let pid = of_connection("rabbit@my.host", &connection);
        assert!(pid.starts_with("<rabbit@my.host.1764575000.") && pid.ends_with(".0>"), "{pid}");
        assert!(is_pid(&pid));
        for wrong in ["", "<0.1.0>", "nopid", "<a@b.1.2>", "a@b.1.2.3", "<a@b.1.x.3>"] {
            assert!(!is_pid(wrong), "{wrong}");
        }
    }
}
