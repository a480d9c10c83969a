//! The addresses of a broker as clients take them: URIs.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Who logs in by a URI, and where to.
#[derive(Clone)]
pub(crate) struct Login {
    pub(crate) user: String,
    pub(crate) password: Vec<u8>,
    pub(crate) vhost: String,
}

impl Login {
    /// A URI of this scheme for a broker at this address.
    pub(crate) fn uri(&self, scheme: &str, address: SocketAddr) -> String {
        let (user, password) = (escaped(self.user.as_bytes()), escaped(&self.password));
        let (address, vhost) = (reachable(address), escaped(self.vhost.as_bytes()));
        format!("{scheme}://{user}:{password}@{address}/{vhost}")
    }
}

/// Where a client on this machine connects to what listens there.
pub(crate) fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// rfc3986: all but the letters that mean nothing else is written as octets.
fn escaped(text: &[u8]) -> String {
    let mut whole = String::new();
    for &octet in text {
        match octet {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                whole.push(char::from(octet));
            }
            // Writing to a string does not fail.
            _ => drop(write!(whole, "%{octet:02X}")),
        }
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_meaning_in_a_uri_is_escaped() {
        let login = Login { user: "a@b".into(), password: b"p:/?#".to_vec(), vhost: "/".into() };
        let uri = login.uri("amqp", "127.0.0.1:5672".parse().unwrap());
        assert_eq!(uri, "amqp://a%40b:p%3A%2F%3F%23@127.0.0.1:5672/%2F");
        assert_eq!(
            login.uri("amqps", "[::]:1".parse().unwrap()),
            "amqps://a%40b:p%3A%2F%3F%23@[::1]:1/%2F"
        );
    }
}
