//! The URI of a broker: `amqp://user:password@host:port/vhost`.
//!
//! rabbitmq: <https://www.rabbitmq.com/docs/uri-spec>. A path that is `/` and no more names the
//! virtual host `/`, as most clients take it, and not the one without a name.

use std::fmt;
use std::str::FromStr;

use percent_encoding::percent_decode_str;

/// Where a broker is and who connects to it.
#[derive(Clone, PartialEq, Eq)]
pub struct Uri {
    /// Whether to speak TLS: the scheme is `amqps`.
    pub tls: bool,
    /// The user; guest when there is none.
    pub user: String,
    /// The password; guest when there is none.
    pub password: String,
    /// A name or an address; an IPv6 address without its brackets.
    pub host: String,
    /// 5672, with TLS 5671, when there is none.
    pub port: u16,
    /// The virtual host; `/` when there is none.
    pub vhost: String,
}

impl Uri {
    /// Host and port as people write them.
    pub fn address(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

impl Default for Uri {
    /// The broker of this machine, as guest.
    fn default() -> Self {
        Uri {
            tls: false,
            user: "guest".to_owned(),
            password: "guest".to_owned(),
            host: "127.0.0.1".to_owned(),
            port: 5672,
            vhost: "/".to_owned(),
        }
    }
}

// why: a password has no place in a log.
impl fmt::Debug for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "amqps" } else { "amqp" };
        write!(f, "{scheme}://{}:…@{}/{}", self.user, self.address(), self.vhost)
    }
}

// why: what stands there may be a part of a password that has a / in it.
const NO_PORT: &str = "what is behind the host's colon is no port";

/// What is wrong is said without the text, which may have a password in it.
impl FromStr for Uri {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (tls, rest) = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("amqp") => (false, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("amqps") => (true, rest),
            _ => return Err("a URI begins with amqp:// or amqps://".to_owned()),
        };
        if rest.contains(['?', '#']) {
            return Err("parameters behind a ? are not understood".to_owned());
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, place) = match authority.rsplit_once('@') {
            Some((login, place)) => (Some(login), place),
            None => (None, authority),
        };
        let (user, password) = match login.map(|login| login.split_once(':').unwrap_or((login, "")))
        {
            Some((user, password)) => {
                (decoded(user, "the user")?, decoded(password, "the password")?)
            }
            None => ("guest".to_owned(), "guest".to_owned()),
        };
        let (host, port) = place_of(place)?;
        let port = match port {
            None | Some("") => 5672 - u16::from(tls),
            Some(port) => port.parse().map_err(|_| NO_PORT.to_owned())?,
        };
        if path.contains('/') {
            return Err("a / in the name of a virtual host is written %2f".to_owned());
        }
        let vhost = match path {
            "" => "/".to_owned(),
            path => decoded(path, "the virtual host")?,
        };
        Ok(Uri { tls, user, password, host, port, vhost })
    }
}

/// The host and what may be behind its colon.
fn place_of(place: &str) -> Result<(String, Option<&str>), String> {
    if let Some(rest) = place.strip_prefix('[') {
        let Some((host, rest)) = rest.split_once(']') else {
            return Err("a [ of the host has no ]".to_owned());
        };
        return match (rest.strip_prefix(':'), rest) {
            (Some(port), _) => Ok((host.to_owned(), Some(port))),
            (None, "") => Ok((host.to_owned(), None)),
            (None, _) => Err(NO_PORT.to_owned()),
        };
    }
    let (host, port) = match place.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (place, None),
    };
    match decoded(host, "the host")? {
        host if host.is_empty() => Ok(("127.0.0.1".to_owned(), port)),
        host => Ok((host, port)),
    }
}

fn decoded(text: &str, what: &str) -> Result<String, String> {
    match percent_decode_str(text).decode_utf8() {
        Ok(decoded) => Ok(decoded.into_owned()),
        Err(_) => Err(format!("{what} is not UTF-8")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Uri {
        text.parse().expect("the URI is good")
    }

    #[test]
    fn what_is_not_said_is_usual() {
        for text in ["amqp://", "amqp:///", "AMQP://guest:guest@127.0.0.1:5672/%2f"] {
            assert_eq!(parse(text), Uri::default(), "{text}");
        }
        assert_eq!(parse("amqps://").port, 5671);
        assert_eq!(parse("amqp://h:").port, 5672);
        assert_eq!(parse("amqp://user@h").password, "");
    }

    #[test]
    fn every_part_is_taken_and_decoded() {
        let uri = Uri {
            tls: true,
            user: "a:b".to_owned(),
            password: "p@/:%".to_owned(),
            host: "mq.example".to_owned(),
            port: 1,
            vhost: "/häs/".to_owned(),
        };
        assert_eq!(parse("amqps://a%3Ab:p%40%2f:%25@mq.example:1/%2fh%c3%a4s%2F"), uri);
        assert_eq!(parse("amqp://[::1]:7/v").address(), "[::1]:7");
        assert_eq!(parse("amqp://u:p@[fe80::1]").host, "fe80::1");
        assert_eq!(parse("amqp://h:7/v").address(), "h:7");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, named) in [
            ("127.0.0.1:5672", "amqp://"),
            ("http://h", "amqp://"),
            ("amqp://h:port", "no port"),
            ("amqp://h:70000", "no port"),
            ("amqp://[::1", "]"),
            ("amqp://[::1]5672", "no port"),
            ("amqp://h/a/b", "%2f"),
            ("amqp://h/%ff", "virtual host"),
            ("amqp://h?heartbeat=5", "?"),
        ] {
            let error = text.parse::<Uri>().expect_err(text);
            assert!(error.contains(named), "{text}: {error}");
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        let shown = format!("{:?}", parse("amqp://u:secret@h/v"));
        assert_eq!(shown, "amqp://u:…@h:5672/v");
    }
}
