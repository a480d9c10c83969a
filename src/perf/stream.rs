//! A socket that never blocks, with or without TLS.
//!
//! why: one thread does all that happens on a connection, reading and writing, at the same time
//! waiting for its turn to send; so it may wait in one place alone, [`Stream::wait`].

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::error::PerfError;
use super::uri::Uri;

/// How long a host may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The octets of a connection, each way.
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<Secured>),
}

/// A socket and what makes it secure.
pub(super) struct Secured {
    socket: TcpStream,
    session: ClientConnection,
}

impl Stream {
    /// Connects; the handshake of TLS happens with the first octets.
    ///
    /// # Errors
    /// When the host is unknown, or none of its addresses accepts.
    pub(super) fn connect(uri: &Uri, tls: Option<&Arc<ClientConfig>>) -> Result<Self, PerfError> {
        let unreachable = |reason: io::Error| PerfError::Unreachable {
            address: uri.address(),
            reason: reason.to_string(),
        };
        let mut failed = io::Error::new(ErrorKind::NotFound, "the host has no address");
        let addresses = (uri.host.as_str(), uri.port).to_socket_addrs().map_err(unreachable)?;
        let mut connected = None;
        for address in addresses {
            match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
                Ok(socket) => {
                    connected = Some(socket);
                    break;
                }
                Err(error) => failed = error,
            }
        }
        let Some(socket) = connected else { return Err(unreachable(failed)) };
        socket.set_nodelay(true).map_err(unreachable)?;
        socket.set_nonblocking(true).map_err(unreachable)?;
        let Some(config) = tls else { return Ok(Stream::Plain(socket)) };
        let bad = |reason: String| PerfError::Tls { address: uri.address(), reason };
        let name =
            ServerName::try_from(uri.host.clone()).map_err(|error| bad(error.to_string()))?;
        let session = ClientConnection::new(config.clone(), name);
        let session = session.map_err(|error| bad(error.to_string()))?;
        Ok(Stream::Tls(Box::new(Secured { socket, session })))
    }

    /// Reads what is there, none when nothing is; 0 octets are the end.
    pub(super) fn read(&mut self, into: &mut [u8]) -> io::Result<Option<usize>> {
        match self {
            Stream::Plain(socket) => unless_blocked(socket.read(into)),
            Stream::Tls(secured) => secured.read(into),
        }
    }

    /// Takes octets, as many as go without waiting.
    pub(super) fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(socket) => Ok(unless_blocked(socket.write(octets))?.unwrap_or(0)),
            Stream::Tls(secured) => {
                let taken = secured.session.writer().write(octets)?;
                secured.push()?;
                Ok(taken)
            }
        }
    }

    /// Sends on what was taken and is not yet on its way; says whether all is.
    pub(super) fn flush(&mut self) -> io::Result<bool> {
        match self {
            Stream::Plain(_) => Ok(true),
            Stream::Tls(secured) => {
                secured.push()?;
                Ok(!secured.session.wants_write())
            }
        }
    }

    /// Waits until there is something to read, or to write if that is wanted, or for this long.
    pub(super) fn wait(&self, to_write: bool, timeout_ns: u64) -> io::Result<()> {
        let (socket, pending) = match self {
            Stream::Plain(socket) => (socket, false),
            Stream::Tls(secured) => (&secured.socket, secured.session.wants_write()),
        };
        let mut wanted = PollFlags::IN;
        wanted.set(PollFlags::OUT, to_write || pending);
        let timeout = Timespec {
            tv_sec: (timeout_ns / 1_000_000_000) as _,
            tv_nsec: (timeout_ns % 1_000_000_000) as _,
        };
        match poll(&mut [PollFd::new(socket, wanted)], Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Secured {
    fn read(&mut self, into: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            if let Some(count) = unless_blocked(self.session.reader().read(into))? {
                return Ok(Some(count));
            }
            match unless_blocked(self.session.read_tls(&mut self.socket))? {
                None => return Ok(None),
                Some(0) => return Ok(Some(0)),
                Some(_) => {}
            }
            let processed = self.session.process_new_packets();
            // why: an alert that says what is wrong goes out as well.
            self.push()?;
            processed.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        }
    }

    fn push(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            if unless_blocked(self.session.write_tls(&mut self.socket))?.is_none() {
                break;
            }
        }
        Ok(())
    }
}

fn unless_blocked(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Ok(count) => Ok(Some(count)),
        Err(error) if [ErrorKind::WouldBlock, ErrorKind::Interrupted].contains(&error.kind()) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// How connections are secured that believe the authorities in this file, in PEM.
///
/// # Errors
/// When the file cannot be read or has none.
pub(super) fn believing(path: &Path) -> Result<Arc<ClientConfig>, PerfError> {
    let bad = |reason: String| PerfError::File { path: path.to_owned(), reason };
    let mut roots = RootCertStore::empty();
    let certificates =
        CertificateDer::pem_file_iter(path).map_err(|error| bad(error.to_string()))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| bad(error.to_string()))?;
        roots.add(certificate).map_err(|error| bad(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(bad("there is no certificate in it".to_owned()));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| bad(error.to_string()))?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}
