//! The floor below any broker: what the kernel and AMQP's frames alone cost on a machine.
//!
//! `relay PORT` listens on 127.0.0.1 (with port 0 the system chooses one) and prints the port. It
//! answers every request of a client with the method that says yes, and turns each basic.publish into
//! a basic.deliver: of the default exchange to one of the consumers of the queue that the routing key
//! names, in turn; of any other exchange to every consumer there is. Without a consumer a message is
//! gone. A client that asked for confirms gets one ack for all that a read brought.
//!
//! What it deliberately is not: a broker. There is no queue, no routing, no credit and no bookkeeping;
//! acknowledgements are read and forgotten. The thread that reads from a publisher writes to the
//! consumer, so that a slow consumer slows its publishers down, and a client that publishes to itself
//! has to read meanwhile.

#![allow(clippy::print_stderr, reason = "it is for a terminal")]

mod client;
mod consumers;

use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

use client::{Client, Gone};
use consumers::Consumers;

fn main() -> ExitCode {
    match listen() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("relay: {error}");
            ExitCode::FAILURE
        }
    }
}

fn listen() -> Result<(), String> {
    let mut arguments = std::env::args().skip(1);
    let (Some(port), None) = (arguments.next(), arguments.next()) else {
        return Err("usage: relay PORT".to_owned());
    };
    let port: u16 = port.parse().map_err(|_| format!("{port} is no port"))?;
    let cannot = |error: io::Error| format!("cannot listen on 127.0.0.1:{port}: {error}");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(cannot)?;
    let port = listener.local_addr().map_err(cannot)?.port();
    let told = writeln!(io::stdout(), "{port}");
    told.map_err(|error| format!("cannot print the port: {error}"))?;
    let consumers = Arc::new(Consumers::default());
    for socket in listener.incoming() {
        let socket = socket.map_err(|error| format!("cannot accept: {error}"))?;
        let consumers = consumers.clone();
        thread::spawn(move || {
            // A client that is cut off is no news, one that does not speak AMQP is.
            if let Err(Gone::Wrong(what)) = Client::new(socket, consumers).and_then(Client::run) {
                eprintln!("relay: a client was dropped: {what}");
            }
        });
    }
    Ok(())
}
