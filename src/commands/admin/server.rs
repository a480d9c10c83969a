//! Whom `rabbitmqadmin` asks.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::Method;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::super::http::{Answer, Client, Target, Unanswered};
use super::super::secure::Secure;

/// What stands in a path as it is: letters, digits and these.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// What is not written as it is in a path that is whole already.
const NOT_IN_PATHS: &AsciiSet = &percent_encoding::CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'`')
    .add(b'\\')
    .add(b'^')
    .add(b'{')
    .add(b'}')
    .add(b'|')
    .add(b'#');

/// A server with who asks it.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) secure: Option<Secure>,
    pub(super) username: String,
    pub(super) password: String,
    pub(super) timeout: Duration,
}

impl Server {
    /// Asks it. The path is whole, with its query.
    ///
    /// # Errors
    /// When there is no answer.
    pub(super) fn ask(
        &self,
        method: &Method,
        path: &str,
        body: Option<&[u8]>,
    ) -> Result<Answer, Unanswered> {
        let target = match &self.secure {
            Some(secure) => Target::Secure(self.host.clone(), self.port, secure.clone()),
            None => Target::Tcp(self.host.clone(), self.port),
        };
        let login = STANDARD.encode(format!("{}:{}", self.username, self.password));
        let authorization = Some(format!("Basic {login}"));
        let client = Client { target, authorization, timeout: self.timeout };
        let path = utf8_percent_encode(path, NOT_IN_PATHS).to_string();
        client.send(method, &path, body)
    }
}

/// A name as a part of a path.
pub(super) fn quoted(name: &str) -> String {
    utf8_percent_encode(name, PLAIN).to_string()
}

/// The host, port, user and password of an address as in `https://user:password@host:port/path`, and whether it has a
/// path.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) is_secure: bool,
    pub(super) host: Option<String>,
    pub(super) port: Option<String>,
    pub(super) username: Option<String>,
    pub(super) password: Option<String>,
    pub(super) path: String,
}

impl Address {
    pub(super) fn parse(uri: &str) -> Self {
        let Some((scheme, rest)) = uri.split_once("://") else {
            return Address { path: uri.to_owned(), ..Address::default() };
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (login, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (host, port) = match host.strip_prefix('[').and_then(|host| host.split_once(']')) {
            Some((host, port)) => (host, port.strip_prefix(':')),
            None => host.split_once(':').map_or((host, None), |(host, port)| (host, Some(port))),
        };
        let named = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let (username, password) =
            login.split_once(':').map_or((login, None), |(user, password)| (user, Some(password)));
        Address {
            is_secure: scheme.eq_ignore_ascii_case("https"),
            host: named(&host.to_lowercase()),
            port: port.and_then(named),
            username: named(username),
            password: password.map(str::to_owned),
            path: path.split(['?', '#']).next().unwrap_or_default().to_owned(),
        }
    }
}

/// What a failure of the system is called, with its number in front: `[Errno 111] Connection refused`.
pub(super) fn system_error(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error ").next().unwrap_or_default();
    match (error.raw_os_error(), text.strip_prefix("failed to lookup address information: ")) {
        (Some(number), _) => format!("[Errno {number}] {text}"),
        // rabbitmq: this is what the system's own resolver calls a name that it does not know.
        (None, Some(unknown @ "Name or service not known")) => format!("[Errno -2] {unknown}"),
        (None, Some(reason)) => reason.to_owned(),
        (None, None) => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_parts() {
        let all = Address::parse("https://ann:se:cret@Broker:15671/prefix?x");
        assert!(all.is_secure);
        assert_eq!(all.host.as_deref(), Some("broker"));
        assert_eq!(all.port.as_deref(), Some("15671"));
        assert_eq!(all.username.as_deref(), Some("ann"));
        assert_eq!(all.password.as_deref(), Some("se:cret"));
        assert_eq!(all.path, "/prefix");
        let six = Address::parse("http://[::1]:80");
        assert_eq!((six.host.as_deref(), six.port.as_deref()), (Some("::1"), Some("80")));
        assert_eq!(Address::parse("broker").host, None);
    }
}
