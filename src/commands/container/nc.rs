//! `nc`: looks whether a port is open, in the words of OpenBSD's netcat.
//!
//! Without `-z` it sends standard input, whole, and prints what comes back until the other end closes.

use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use super::{Console, reason};

const USAGE: &str = "usage: nc [-46Nnvz] [-w timeout] destination port ...\n";

/// The most of standard input that is sent, in bytes.
const INPUT_BYTES: u64 = 64 << 20;

/// Code 0 when a port is open.
pub(in crate::commands) fn nc(arguments: &[OsString], console: &mut Console<'_>) -> u8 {
    let options = match Options::parse(arguments) {
        Ok(options) => options,
        Err(text) => {
            console.complain(text);
            return 1;
        }
    };
    let mut code = 1;
    for port in options.ports.iter().flat_map(|(first, last)| *first..=*last) {
        if let Some(stream) = options.connect(port, console) {
            code = 0;
            if !options.only_look
                && let Err(error) = options.talk(stream, console)
            {
                console.complain(format!("nc: {}\n", reason(&error)));
                return 1;
            }
        }
    }
    code
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    only_look: bool,
    verbose: bool,
    only_numbers: bool,
    only_v4: bool,
    only_v6: bool,
    shut_down: bool,
    timeout: Option<Duration>,
    host: String,
    /// From the first to the last one.
    ports: Vec<(u16, u16)>,
}

impl Options {
    fn parse(arguments: &[OsString]) -> Result<Self, String> {
        let mut options = Options::default();
        let mut operands = Vec::new();
        let mut words = arguments.iter().map(|word| word.to_string_lossy());
        while let Some(word) = words.next() {
            let Some(letters) = word.strip_prefix('-').filter(|letters| !letters.is_empty()) else {
                operands.push(word.into_owned());
                continue;
            };
            for (index, letter) in letters.char_indices() {
                if letter == 'w' {
                    let rest = &letters[index + 1..];
                    let value = match rest.is_empty() {
                        true => words.next().map(std::borrow::Cow::into_owned),
                        false => Some(rest.to_owned()),
                    };
                    options.timeout = timeout(value.as_deref())?;
                    break;
                }
                options.set(letter)?;
            }
        }
        let mut operands = operands.into_iter();
        options.host = operands.next().ok_or(USAGE)?;
        options.ports = operands.map(|ports| range(&ports)).collect::<Result<_, _>>()?;
        match options.ports.is_empty() {
            true => Err("nc: missing port number\n".to_owned()),
            false => Ok(options),
        }
    }

    fn set(&mut self, letter: char) -> Result<(), String> {
        match letter {
            'z' => self.only_look = true,
            'v' => self.verbose = true,
            'n' => self.only_numbers = true,
            '4' => self.only_v4 = true,
            '6' => self.only_v6 = true,
            'N' => self.shut_down = true,
            _ => return Err(format!("nc: invalid option -- '{letter}'\n{USAGE}")),
        }
        Ok(())
    }

    /// A connection to this port, at the first address that takes one.
    fn connect(&self, port: u16, console: &mut Console<'_>) -> Option<TcpStream> {
        let addresses = match self.addresses(port) {
            Ok(addresses) => addresses,
            Err(why) => {
                let host = &self.host;
                console
                    .complain(format!("nc: getaddrinfo for host \"{host}\" port {port}: {why}\n"));
                return None;
            }
        };
        for address in addresses {
            let stream = match self.timeout {
                Some(timeout) => TcpStream::connect_timeout(&address, timeout),
                None => TcpStream::connect(address),
            };
            let host = self.host_at(address);
            match stream {
                Ok(stream) => {
                    if self.verbose {
                        let line = format!("Connection to {host} {port} port [tcp/*] succeeded!\n");
                        console.complain(line);
                    }
                    return Some(stream);
                }
                Err(error) if self.verbose => {
                    let why = match error.kind() {
                        io::ErrorKind::TimedOut => {
                            "timed out: Operation now in progress".to_owned()
                        }
                        _ => format!("failed: {}", reason(&error)),
                    };
                    console.complain(format!("nc: connect to {host} port {port} (tcp) {why}\n"));
                }
                Err(_) => {}
            }
        }
        None
    }

    fn addresses(&self, port: u16) -> Result<Vec<SocketAddr>, String> {
        let all = match (self.host.parse::<IpAddr>(), self.only_numbers) {
            (Ok(address), _) => vec![SocketAddr::new(address, port)],
            (Err(_), true) => Vec::new(),
            (Err(_), false) => {
                let found = (self.host.as_str(), port).to_socket_addrs();
                found.map_err(|error| reason(&error))?.collect()
            }
        };
        let wanted = all.into_iter().filter(|address| match address {
            SocketAddr::V4(_) => self.only_v4 || !self.only_v6,
            SocketAddr::V6(_) => self.only_v6 || !self.only_v4,
        });
        let wanted: Vec<_> = wanted.collect();
        match wanted.is_empty() {
            true => Err("Name or service not known".to_owned()),
            false => Ok(wanted),
        }
    }

    /// The host with the address that it has, where that says something new.
    fn host_at(&self, address: SocketAddr) -> String {
        match self.host.parse() == Ok(address.ip()) {
            true => self.host.clone(),
            false => format!("{} ({})", self.host, address.ip()),
        }
    }

    fn talk(&self, mut stream: TcpStream, console: &mut Console<'_>) -> io::Result<()> {
        let input = console.read_to_end(INPUT_BYTES)?;
        stream.write_all(&input)?;
        if self.shut_down {
            stream.shutdown(Shutdown::Write)?;
        }
        stream.set_read_timeout(self.timeout)?;
        let mut buffer = vec![0; 16 << 10];
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(length) => console.print(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The time is over in which nothing came.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}

/// None for 0: as long as it takes.
fn timeout(value: Option<&str>) -> Result<Option<Duration>, String> {
    let Some(value) = value else {
        return Err(format!("nc: option requires an argument -- 'w'\n{USAGE}"));
    };
    let seconds: u32 = value.parse().map_err(|_| format!("nc: timeout invalid: {value}\n"))?;
    Ok((seconds > 0).then(|| Duration::from_secs(seconds.into())))
}

/// A port, or the first and the last one of several.
fn range(text: &str) -> Result<(u16, u16), String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (port(first)?, port(last)?);
    Ok((first.min(last), first.max(last)))
}

fn port(text: &str) -> Result<u16, String> {
    match text.parse::<u64>() {
        Ok(0) => Err(format!("nc: port number too small: {text}\n")),
        Ok(number) => number.try_into().map_err(|_| format!("nc: port number too large: {text}\n")),
        Err(_) => Err(format!("nc: port number invalid: {text}\n")),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::super::testing::Run;

    fn nc(arguments: &[&str]) -> Run {
        Run::of("nc", arguments)
    }

    /// A listener that is there, and the port of one that was.
    fn ports() -> (TcpListener, String, String) {
        let [open, closed] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let port = |of: &TcpListener| of.local_addr().unwrap().port().to_string();
        let numbers = (port(&open), port(&closed));
        drop(closed);
        (open, numbers.0, numbers.1)
    }

    #[test]
    fn a_port_is_open_or_not() {
        let (_listener, open, closed) = ports();
        for arguments in [&["-z"][..], &["-z", "-w", "1"], &["-zw1", "-n"], &["-4z"]] {
            let run = nc(&[arguments, &["127.0.0.1", &open]].concat());
            assert_eq!((run.code, run.error.as_str()), (0, ""), "{arguments:?}");
        }
        let run = nc(&["-vz", "127.0.0.1", &open]);
        assert_eq!(run.error, format!("Connection to 127.0.0.1 {open} port [tcp/*] succeeded!\n"));
        let run = nc(&["-vz", "-4", "-w", "1", "localhost", &open]);
        let line = format!("Connection to localhost (127.0.0.1) {open} port [tcp/*] succeeded!\n");
        assert_eq!((run.code, run.error), (0, line));

        let run = nc(&["-z", "127.0.0.1", &closed]);
        assert_eq!((run.code, run.error.as_str()), (1, ""));
        let run = nc(&["-vz", "127.0.0.1", &closed]);
        let why = "(tcp) failed: Connection refused";
        assert_eq!(run.error, format!("nc: connect to 127.0.0.1 port {closed} {why}\n"));
        // One that is open is enough.
        assert_eq!(nc(&["-z", "127.0.0.1", &closed, &open]).code, 0);
        assert_eq!(nc(&["-z", "127.0.0.1", &format!("{open}-{open}")]).code, 0);
        assert_eq!(nc(&["-z", "-6", "127.0.0.1", &open]).code, 1);
    }

    #[test]
    fn without_z_it_sends_and_prints() {
        use std::io::{Read as _, Write as _};
        let (listener, open, _) = ports();
        let echo = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            stream.write_all(text.to_uppercase().as_bytes()).unwrap();
        });
        let run = Run::with_input("nc", &["-N", "127.0.0.1", &open], "hello\n");
        assert_eq!((run.code, run.output.as_str()), (0, "HELLO\n"));
        echo.join().unwrap();
    }

    #[test]
    fn wrong_words_are_named() {
        let usage = "usage: nc [-46Nnvz] [-w timeout] destination port ...\n";
        for (arguments, line) in [
            (&[][..], usage.to_owned()),
            (&["localhost"], "nc: missing port number\n".to_owned()),
            (&["localhost", "amqp"], "nc: port number invalid: amqp\n".to_owned()),
            (&["localhost", "0"], "nc: port number too small: 0\n".to_owned()),
            (&["localhost", "70000"], "nc: port number too large: 70000\n".to_owned()),
            (&["-w", "x", "localhost", "1"], "nc: timeout invalid: x\n".to_owned()),
            (&["-w"], format!("nc: option requires an argument -- 'w'\n{usage}")),
            (&["-vu", "localhost", "1"], format!("nc: invalid option -- 'u'\n{usage}")),
            (
                &["-n", "localhost", "1"],
                "nc: getaddrinfo for host \"localhost\" port 1: Name or service not known\n"
                    .to_owned(),
            ),
        ] {
            let run = nc(arguments);
            assert_eq!((run.code, run.error), (1, line), "{arguments:?}");
        }
    }
}
