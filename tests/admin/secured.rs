//! Servers with certificates, and servers that do not answer as they should.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

use leveret::Broker;
use leveret::config::{Pem, Tls};

use super::{Ran, run, start, words};
use crate::support::certificates::{Authority, Identity};

fn list(options: &str) -> Ran {
    run(&words(&format!("{options} -f tsv list vhosts name")), b"", &[])
}

#[test]
fn a_certificate_is_believed_as_far_as_is_asked_for() {
    let authority = Authority::new("leveret's tests");
    let Identity { certificate, key } = authority.server("broker");
    let tls = Tls::new(Pem::bytes(certificate), Pem::bytes(key));
    let (_broker, port) = start(Broker::builder().tls(tls).management_tls());
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ca.pem");
    fs::write(&path, authority.pem()).unwrap();
    let path = path.to_str().unwrap();

    let at = format!("-H 127.0.0.1 -P {port}");
    for believing in [
        format!("{at} --ssl --ssl-ca-cert-file={path}"),
        format!("{at} -s --ssl-ca-cert-file={path} --ssl-disable-hostname-verification"),
        format!("{at} -s -k"),
        format!("-U https://guest:guest@127.0.0.1:{port} --ssl-ca-cert-file {path}"),
        format!("-H 127.0.0.2 -P {port} -s --ssl-insecure").replace("127.0.0.2", "localhost"),
    ] {
        let ran = list(&believing);
        assert_eq!((ran.output.as_str(), ran.code), ("name\n/\n", 0), "{believing}: {}", ran.error);
    }
    let ran = list(&format!("{at} --ssl"));
    assert_eq!(ran.code, 1);
    let expected = "*** Could not connect: invalid peer certificate: UnknownIssuer\n\n";
    assert_eq!(ran.error, expected);
    let other = directory.path().join("other.pem");
    fs::write(&other, "nothing").unwrap();
    let ran = list(&format!("{at} --ssl --ssl-ca-cert-file={}", other.display()));
    let expected = format!("*** {}: there is no certificate in it\n\n", other.display());
    assert_eq!((ran.error, ran.code), (expected, 1));
}

/// Answers each request with the next of these, and returns the first lines of the requests.
fn answering(answers: Vec<String>) -> (u16, std::thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = std::thread::spawn(move || {
        let answer = |answer: String| {
            let (mut socket, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(socket.try_clone().unwrap()).lines();
            let first = lines.next().unwrap().unwrap();
            while !lines.next().unwrap().unwrap().is_empty() {}
            socket.write_all(answer.as_bytes()).unwrap();
            first
        };
        answers.into_iter().map(answer).collect()
    });
    (port, thread)
}

#[test]
fn a_server_that_has_moved_is_followed() {
    let (_broker, port) = start(Broker::builder());
    let moved = format!(
        "HTTP/1.1 301 Moved Permanently\r\nLocation: http://127.0.0.1:{port}/api/vhosts?columns=name\r\n\
         Content-Length: 0\r\n\r\n"
    );
    let (at, thread) = answering(vec![moved]);
    let ran = list(&format!("-H 127.0.0.1 -P {at}"));
    assert_eq!((ran.output.as_str(), ran.code), ("name\n/\n", 0), "{}", ran.error);
    assert_eq!(thread.join().unwrap(), ["GET /api/vhosts?columns=name HTTP/1.1"]);
}

#[test]
fn what_is_no_answer_is_told() {
    let (at, thread) = answering(vec!["nonsense\r\n\r\n".to_owned()]);
    let ran = list(&format!("-H 127.0.0.1 -P {at}"));
    assert!(ran.error.starts_with("*** Error getting HTTP response:\n\n"), "{}", ran.error);
    assert_eq!(ran.code, 1);
    thread.join().unwrap();

    let refused = "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno";
    let (at, thread) = answering(vec![refused.to_owned()]);
    let ran = list(&format!("-H 127.0.0.1 -P {at}"));
    let expected = "*** Received response 403 Forbidden for path /api/vhosts?columns=name\nno\n\n";
    assert_eq!((ran.error.as_str(), ran.code), (expected, 1));
    thread.join().unwrap();

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap().port();
    let ran = list(&format!("-H 127.0.0.1 -P {at} -t 1"));
    let expected = "*** Timed out getting HTTP response (request timeout: 1 seconds)\n\n";
    assert_eq!((ran.error.as_str(), ran.code), (expected, 1));
}
