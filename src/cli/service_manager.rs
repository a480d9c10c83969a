//! What a service manager is told: systemd's protocol of notifications (`sd_notify(3)`), and no library of it.
//!
//! Nobody is told anything where `NOTIFY_SOCKET` is not set, and that a message cannot be sent ends nothing.

use std::convert::Infallible;
use std::ffi::OsStr;
use std::io;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// Who started this program, if it wants to be told how it is.
#[derive(Debug, Default)]
pub struct ServiceManager {
    socket: Option<(UnixDatagram, SocketAddr)>,
    /// How often it wants a sign of life.
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// From `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID` of the environment. What is wrong with them is
    /// a warning in the log.
    pub fn of_process() -> Self {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let Some(path) = variable("NOTIFY_SOCKET") else { return ServiceManager::default() };
        let address = address(&path);
        let socket = address.and_then(|address| Ok((UnixDatagram::unbound()?, address)));
        let socket = socket.inspect_err(|error| {
            tracing::warn!("NOTIFY_SOCKET {}: {error}", path.display());
        });
        let text = |name| variable(name).and_then(|value| value.into_string().ok());
        let watchdog = watchdog(text("WATCHDOG_USEC"), text("WATCHDOG_PID"), std::process::id());
        ServiceManager { socket: socket.ok(), watchdog }
    }

    /// Clients can connect.
    pub fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={status}"));
    }

    /// The broker ends in order.
    pub fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=stopping");
    }

    /// Gives signs of life as often as the service manager wants them, twice as often to be safe. Never ends.
    pub async fn watch(&self) -> Infallible {
        let Some(period) = self.watchdog.filter(|_| self.socket.is_some()) else {
            return std::future::pending().await;
        };
        let mut turns = tokio::time::interval(period / 2);
        turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            turns.tick().await;
            self.tell("WATCHDOG=1");
        }
    }

    fn tell(&self, message: &str) {
        let Some((socket, address)) = &self.socket else { return };
        // why: a manager that does not read must not hold the broker.
        let sent = socket.set_nonblocking(true);
        let sent = sent.and_then(|()| socket.send_to_addr(message.as_bytes(), address));
        if let Err(error) = sent {
            let what = message.lines().next().unwrap_or_default();
            tracing::warn!("the service manager cannot be told {what}: {error}");
        }
    }
}

/// Where a socket is: a file, or with `@` a name that Linux has for sockets alone.
fn address(path: &OsStr) -> io::Result<SocketAddr> {
    match path.as_encoded_bytes().split_first() {
        Some((b'/', _)) => SocketAddr::from_pathname(path),
        #[cfg(target_os = "linux")]
        Some((b'@', name)) => {
            use std::os::linux::net::SocketAddrExt as _;
            SocketAddr::from_abstract_name(name)
        }
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "no such kind of socket is known")),
    }
}

/// How often a sign of life is wanted of this process.
fn watchdog(microseconds: Option<String>, pid: Option<String>, own: u32) -> Option<Duration> {
    let is_other = pid.is_some_and(|pid| pid.parse() != Ok(own));
    let microseconds = microseconds?.parse().ok().filter(|microseconds| *microseconds > 1)?;
    (!is_other).then(|| Duration::from_micros(microseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_of_life_is_wanted_of_one_process() {
        let of = |microseconds: &str, pid: Option<&str>| {
            watchdog(Some(microseconds.to_owned()), pid.map(str::to_owned), 7)
        };
        assert_eq!(of("3000000", None), Some(Duration::from_secs(3)));
        assert_eq!(of("3000000", Some("7")), Some(Duration::from_secs(3)));
        assert_eq!(of("3000000", Some("8")), None);
        assert_eq!(of("0", None), None);
        assert_eq!(of("soon", None), None);
        assert_eq!(watchdog(None, None, 7), None);
    }

    #[test]
    fn a_socket_is_a_file_or_a_name() {
        let of = |path: &str| address(OsStr::new(path));
        assert!(of("/run/notify").unwrap().as_pathname().is_some());
        assert!(of("@notify").unwrap().is_unnamed() != cfg!(target_os = "linux"));
        assert!(of("vsock:2:1234").is_err());
        assert!(of("").is_err());
    }
}
