//! A client of HTTP that says one thing.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::PATIENCE;

/// A request of a user, such as `("GET /api/whoami", "guest:guest", "")`.
pub(crate) fn text(line: &str, user: &str, body: &str) -> String {
    let credentials = STANDARD.encode(user);
    format!(
        "{line} HTTP/1.1\r\nhost: localhost\r\nauthorization: Basic {credentials}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// Sends one.
pub(crate) fn send(address: SocketAddr, line: &str, user: &str, body: &str) -> TcpStream {
    let mut socket = TcpStream::connect(address).expect("the broker listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("the time is not zero");
    socket.write_all(text(line, user, body).as_bytes()).expect("the broker reads");
    socket
}

/// The status and the body that it is answered with.
pub(crate) fn answer(mut socket: impl Read) -> (u16, String) {
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("the broker answers");
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    (status.expect("an answer has a status"), body.to_owned())
}

/// The same in one step.
pub(crate) fn request(address: SocketAddr, line: &str, user: &str, body: &str) -> (u16, String) {
    answer(send(address, line, user, body))
}
