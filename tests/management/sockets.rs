//! The API's sockets: clients without a login cannot use them up.

use std::io::{Read, Write};
use std::net::TcpStream;

use leveret_codec::encode::method;
use leveret_codec::method::queue;

use super::arena::Arena;
use crate::support::PATIENCE;
use crate::support::client::{Client, short};
use crate::support::http;

/// More sockets than the API has.
const MANY: usize = 300;

/// So many sockets on which this is said.
fn sockets(arena: &Arena, said: &str) -> Vec<TcpStream> {
    let address = arena.broker().management_address().unwrap();
    let connect = |_| {
        let mut socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.write_all(said.as_bytes()).unwrap();
        socket
    };
    (0..MANY).map(connect).collect()
}

#[test]
fn sockets_that_say_nothing_do_not_shut_others_out() {
    let arena = Arena::start();
    let _idle = sockets(&arena, "");
    arena.guest().see("whoami");
}

#[test]
fn half_a_head_does_not_shut_others_out() {
    let arena = Arena::start();
    let _slow = sockets(&arena, "GET /api/whoami HTTP/1.1\r\nHost: ");
    arena.guest().see("whoami");
}

#[test]
fn clients_that_wait_for_their_next_request_make_room() {
    let arena = Arena::start();
    let head = "GET /api/auth HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let kept = sockets(&arena, head);
    for mut socket in &kept {
        // Those that had to make room are closed, perhaps before they were answered.
        let _ = socket.read(&mut [0; 1000]);
    }
    arena.guest().see("whoami");
}

#[test]
fn a_request_that_is_being_answered_is_not_cut_off() {
    let arena = Arena::start();
    let mut client = Client::connect(arena.amqp());
    let mut octets = Vec::new();
    // Some megabytes more than sockets hold.
    for number in 0..20_000 {
        let name = format!("hare{number:05}");
        let declare =
            queue::Declare { queue: short(&name), nowait: true, ..queue::Declare::default() };
        method(&mut octets, 1, &declare);
    }
    client.send(&octets).unwrap();
    client.declare("last", false);
    let address = arena.broker().management_address().unwrap();
    let mut long = http::send(address, "GET /api/queues", "guest:guest", "");
    let mut first = [0; 1000];
    long.read_exact(&mut first).unwrap();

    let _idle = sockets(&arena, "");
    arena.guest().see("whoami");
    let mut rest = Vec::new();
    long.read_to_end(&mut rest).unwrap();
    assert!(first.starts_with(b"HTTP/1.1 200 OK\r\n"));
    assert!(rest.ends_with(b"\r\n0\r\n\r\n"), "the answer has its end");
}
