//! What people write as the value of an option: addresses, sizes, what to log.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};

use tracing_subscriber::EnvFilter;

use crate::memory;

/// Levels, and what RabbitMQ calls some of them.
const LEVELS: [(&str, &str); 9] = [
    ("off", "off"),
    ("none", "off"),
    ("error", "error"),
    ("critical", "error"),
    ("warn", "warn"),
    ("warning", "warn"),
    ("info", "info"),
    ("debug", "debug"),
    ("trace", "trace"),
];

/// An address and a port. A port alone is one of this machine alone, `:5672` is that of every interface.
pub(super) fn parse_address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        return Err("an IPv6 address stands in brackets and has a port, as [::1]:5672".to_owned());
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (Some(host), port),
        None if text.bytes().all(|byte| byte.is_ascii_digit()) => (None, text),
        None => return Err("the port is missing, as in 127.0.0.1:5672".to_owned()),
    };
    let no_port = || format!("{port:?} is no port, which is a number up to 65535");
    let port: u16 = port.parse().map_err(|_| no_port())?;
    match host {
        None => Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
        Some("" | "*") => Ok(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))),
        Some(host) => resolve(host, port),
    }
}

/// The address of a name, that of IPv4 if it has one.
fn resolve(host: &str, port: u16) -> Result<SocketAddr, String> {
    let found = (host, port).to_socket_addrs();
    let found =
        found.map_err(|error| format!("the address of {host:?} cannot be found: {error}"))?;
    let mut found: Vec<_> = found.collect();
    found.sort_by_key(SocketAddr::is_ipv6);
    found.into_iter().next().ok_or_else(|| format!("{host:?} has no address"))
}

/// A number of bytes with or without a unit.
pub(super) fn parse_bytes(text: &str) -> Result<u64, String> {
    match memory::parse_size(text, || 0) {
        Ok(bytes) if !text.trim_end().ends_with('%') => Ok(bytes),
        _ => Err("a size is expected, such as 64KiB, 10MB or 1000000".to_owned()),
    }
}

/// A size, in bytes, that lies between these.
pub(super) fn parse_bytes_in(text: &str, least: u64, most: u64) -> Result<u64, String> {
    match parse_bytes(text)? {
        bytes if bytes < least => Err(format!("it is {least} bytes at least")),
        bytes if bytes > most => Err(format!("it is {most} bytes at most")),
        bytes => Ok(bytes),
    }
}

/// What to log: a level, or levels of parts of the program.
///
/// why: what is no level would be the name of a part, and nothing would be logged of all others.
pub(super) fn parse_filter(text: &str) -> Result<String, String> {
    let directives: Result<Vec<_>, _> = match text.contains('[') {
        // The fields of a span have commas of their own.
        true => Ok(vec![text.to_owned()]),
        false => text.split(',').map(parse_directive).collect(),
    };
    let filter = directives?.join(",");
    EnvFilter::try_new(&filter).map_err(|error| error.to_string())?;
    Ok(filter)
}

fn parse_directive(text: &str) -> Result<String, String> {
    let text = text.trim();
    let is_part = text == "leveret" || text.starts_with("leveret::");
    match text.rsplit_once('=') {
        Some((part, level)) => Ok(format!("{part}={}", parse_level(level)?)),
        None if is_part => Ok(text.to_owned()),
        None => parse_level(text).map(str::to_owned),
    }
}

fn parse_level(text: &str) -> Result<&'static str, String> {
    let level = LEVELS.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
    let wrong =
        || format!("{text:?} is no level; there are off, error, warn, info, debug and trace");
    level.map(|(_, level)| *level).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_people_write_them() {
        for (text, address) in [
            ("127.0.0.1:5672", "127.0.0.1:5672"),
            ("[::1]:5672", "[::1]:5672"),
            ("[::]:5672", "[::]:5672"),
            ("5672", "127.0.0.1:5672"),
            (":5672", "0.0.0.0:5672"),
            ("*:5672", "0.0.0.0:5672"),
            ("localhost:5672", "127.0.0.1:5672"),
        ] {
            assert_eq!(parse_address(text), Ok(address.parse().unwrap()), "{text}");
        }
        for (wrong, what) in [
            ("localhost", "the port is missing"),
            ("127.0.0.1", "the port is missing"),
            ("", "no port"),
            ("127.0.0.1:70000", "70000"),
            ("127.0.0.1:", "no port"),
            ("::1", "in brackets"),
            ("no such host:5672", "no such host"),
        ] {
            let error = parse_address(wrong).unwrap_err();
            assert!(error.contains(what), "{wrong}: {error}");
        }
    }

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in [("64KiB", 65_536), ("1kB", 1000), ("131072", 131_072)] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for wrong in ["", "40%", "-1", "1 parsec"] {
            assert!(parse_bytes(wrong).is_err(), "{wrong}");
        }
        assert!(parse_bytes_in("1k", 1025, 2000).unwrap_err().contains("1025"));
        assert!(parse_bytes_in("2k", 1025, 2000).unwrap_err().contains("2000"));
    }

    #[test]
    fn levels_are_those_of_both_and_nothing_else_is_one() {
        for (text, filter) in [
            ("info", "info"),
            ("WARN", "warn"),
            ("warning", "warn"),
            ("none", "off"),
            ("critical", "error"),
            ("warn, leveret::server=debug", "warn,leveret::server=debug"),
            ("leveret=warning", "leveret=warn"),
            ("error,leveret::cli", "error,leveret::cli"),
        ] {
            assert_eq!(parse_filter(text).as_deref(), Ok(filter), "{text}");
        }
        for wrong in ["bananas", "", "leveret=loud", "info,", "warn,bananas"] {
            assert!(parse_filter(wrong).is_err(), "{wrong}");
        }
    }
}
