//! The values of settings. Each function gives what it read, or what it expected.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::str::FromStr;

use crate::memory;

/// What is expected, in words that can stand before "is expected".
pub(super) type Expected = String;

pub(super) fn boolean(text: &str) -> Result<bool, Expected> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("true or false".to_owned()),
    }
}

/// A whole number from `least` to `most`.
pub(super) fn number<N>(text: &str, least: N, most: N) -> Result<N, Expected>
where
    N: FromStr + PartialOrd + std::fmt::Display + Copy,
{
    match text.parse() {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(format!("a whole number from {least} to {most}")),
    }
}

/// A number of bytes, with or without a unit.
pub(super) fn size(text: &str) -> Result<u64, Expected> {
    match memory::parse_size(text, || 0) {
        Ok(bytes) if !text.contains('%') => Ok(bytes),
        _ => Err("a size such as 512MiB, 2GB or 1073741824".to_owned()),
    }
}

/// A share such as 0.4, of `whole`.
pub(super) fn share_of(text: &str, whole: u64) -> Result<u64, Expected> {
    match text.parse::<f64>() {
        // why: a machine has not so many bytes that a float would be wrong by more than some.
        Ok(share) if share.is_finite() && share >= 0.0 => Ok((share * whole as f64) as u64),
        _ => Err("a share of the memory such as 0.4".to_owned()),
    }
}

/// Where to listen: a port of all interfaces, or an address with a port behind its last colon.
pub(super) fn listener(text: &str) -> Result<SocketAddr, Expected> {
    let expected = || "a port, or an address with a port such as 127.0.0.1:5672".to_owned();
    if let Ok(port) = text.parse() {
        return Ok(SocketAddr::new(any_address(), port));
    }
    let (address, port) = text.rsplit_once(':').ok_or_else(expected)?;
    let port = port.parse().map_err(|_| expected())?;
    Ok(SocketAddr::new(ip(address).map_err(|_| expected())?, port))
}

/// An address, also in brackets.
pub(super) fn ip(text: &str) -> Result<IpAddr, Expected> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    match bare {
        "localhost" => Ok(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        bare => bare.parse().map_err(|_| "an IP address".to_owned()),
    }
}

/// All interfaces, of IPv6 as well where the system has it.
///
/// rabbitmq: `[::]`, and `0.0.0.0` on a system without IPv6.
pub(super) fn any_address() -> IpAddr {
    let unspecified = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    match TcpListener::bind(SocketAddr::new(unspecified, 0)) {
        Ok(_) => unspecified,
        Err(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    }
}

/// The level of the log that RabbitMQ calls so, in leveret's word.
pub(super) fn level(text: &str) -> Result<&'static str, Expected> {
    Ok(match text {
        "debug" => "debug",
        "info" | "notice" => "info",
        "warning" | "warn" => "warn",
        "error" | "critical" | "alert" | "emergency" => "error",
        "none" => "off",
        _ => {
            return Err("a level: debug, info, notice, warning, error, critical or none".to_owned());
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_are_ports_and_addresses_with_ports() {
        let any = any_address();
        for (text, address) in [
            ("5672", SocketAddr::new(any, 5672)),
            ("127.0.0.1:5673", "127.0.0.1:5673".parse().unwrap()),
            ("0.0.0.0:0", "0.0.0.0:0".parse().unwrap()),
            (":::5672", "[::]:5672".parse().unwrap()),
            ("::1:5672", "[::1]:5672".parse().unwrap()),
            ("[::1]:5672", "[::1]:5672".parse().unwrap()),
            ("localhost:5672", "127.0.0.1:5672".parse().unwrap()),
        ] {
            assert_eq!(listener(text), Ok(address), "{text}");
        }
        for wrong in ["", "70000", "amqp", "127.0.0.1", "127.0.0.1:", "1.2.3:5672", ":-1"] {
            assert!(listener(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn numbers_have_bounds_and_shares_a_point() {
        assert_eq!(number("7", 0, 9), Ok(7));
        assert_eq!(number("10", 0, 9), Err("a whole number from 0 to 9".to_owned()));
        assert!(number("x", 0, 9).is_err() && number("1.5", 0, 9).is_err());
        assert_eq!(share_of("0.4", 1000), Ok(400));
        assert_eq!(share_of("1", 1000), Ok(1000));
        assert!(share_of("-1", 1).is_err() && share_of("NaN", 1).is_err());
        assert_eq!(size("1GiB"), Ok(1 << 30));
        assert!(size("40%").is_err());
    }
}
