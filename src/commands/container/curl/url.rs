//! An address of HTTP, as far as it is asked for here.

use std::fmt;

use super::Stop;

/// `http://HOST:PORT/PATH?QUERY`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Url {
    /// `USER:PASSWORD`, if they stand in it.
    pub(super) user: Option<String>,
    /// Without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// From the slash on, with the query.
    pub(super) path: String,
}

impl Url {
    /// Without a scheme it is one of HTTP.
    pub(super) fn parse(text: &str) -> Result<Self, Stop> {
        let rest = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
            Some((scheme, _)) => {
                let text = format!("Protocol \"{scheme}\" not supported: only http is");
                return Err(Stop::new(1, text));
            }
            None => text,
        };
        let malformed = |why: &str| Stop::new(3, format!("URL rejected: {why}"));
        let rest = rest.split('#').next().unwrap_or_default();
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (user, place) = match authority.rsplit_once('@') {
            Some((user, place)) => (Some(unescaped(user)), place),
            None => (None, authority),
        };
        let (host, port) = match place.strip_prefix('[').map(|rest| rest.split_once(']')) {
            Some(None) => return Err(malformed("Bad IPv6 address")),
            Some(Some((host, port))) => (host, port.strip_prefix(':').unwrap_or(port)),
            None => place.split_once(':').unwrap_or((place, "")),
        };
        if host.is_empty() {
            return Err(malformed("No host part in the URL"));
        }
        let port = match port {
            "" => 80,
            port => {
                port.parse().map_err(|_| malformed("Port number is no number from 0 to 65535"))?
            }
        };
        if !path.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(malformed("Malformed input to a URL function"));
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Url { user, host: host.to_owned(), port, path })
    }

    /// Where a redirect from here points.
    pub(super) fn join(&self, location: &str) -> Result<Url, Stop> {
        if location.contains("://") {
            return Url::parse(location);
        }
        if let Some(rest) = location.strip_prefix("//") {
            return Url::parse(&format!("http://{rest}"));
        }
        let location = location.split('#').next().unwrap_or_default();
        let path = self.path.split('?').next().unwrap_or_default();
        let path = match location.bytes().next() {
            Some(b'/') => location.to_owned(),
            Some(b'?') => format!("{path}{location}"),
            _ => format!("{}/{location}", path.rsplit_once('/').map_or("", |(folder, _)| folder)),
        };
        Ok(Url { path, ..self.clone() })
    }

    /// The host and the port, as a request names them.
    pub(super) fn authority(&self) -> String {
        let host = match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        };
        match self.port {
            80 => host,
            port => format!("{host}:{port}"),
        }
    }

    /// Whether both are the same server.
    pub(super) fn is_beside(&self, other: &Url) -> bool {
        (&self.host, self.port) == (&other.host, other.port)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority(), self.path)
    }
}

fn unescaped(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}
