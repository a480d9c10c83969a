//! The command against servers of a few lines.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::thread::JoinHandle;

use super::super::testing::Run;
use super::url::Url;
use super::{Received, Stop};

fn curl(arguments: &[&str]) -> Run {
    Run::of("curl", arguments)
}

/// A server that gives these answers, one a connection, and then says what it was asked.
struct Server {
    address: String,
    asked: JoinHandle<Vec<String>>,
}

impl Server {
    fn start(answers: &'static [&'static str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked = std::thread::spawn(move || {
            let answered = answers.iter().map(|answer| {
                let (stream, _) = listener.accept().unwrap();
                let mut reader = BufReader::new(stream);
                let mut request = String::new();
                while !request.ends_with("\r\n\r\n") && reader.read_line(&mut request).unwrap() > 0
                {
                }
                let length = request.split("content-length: ").nth(1);
                let length = length.and_then(|it| it.split('\r').next()?.parse().ok()).unwrap_or(0);
                let mut body = vec![0; length];
                reader.read_exact(&mut body).unwrap();
                reader.get_mut().write_all(answer.as_bytes()).unwrap();
                request + std::str::from_utf8(&body).unwrap()
            });
            answered.collect()
        });
        Server { address, asked }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn asked(self) -> Vec<String> {
        self.asked.join().unwrap()
    }
}

const FINE: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 16\r\n\r\n{\"status\":\"ok\"}\n";
const ABSENT: &str = "HTTP/1.1 404 Not Found\r\ncontent-length: 5\r\n\r\ngone\n";
const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
const ELSEWHERE: &str = "HTTP/1.1 302 Found\r\nlocation: there?x=1#y\r\ncontent-length: 0\r\n\r\n";

#[test]
fn the_body_is_printed() {
    let server = Server::start(&[FINE]);
    let run = curl(&["-s", "-u", "guest:guest", &server.url("/api/healthchecks/node")]);
    assert_eq!((run.code, run.output.as_str()), (0, "{\"status\":\"ok\"}\n"));
    assert_eq!(run.error, "");
    let asked = server.asked().concat();
    assert!(asked.starts_with("GET /api/healthchecks/node HTTP/1.1\r\n"), "{asked}");
    assert!(asked.contains("authorization: Basic Z3Vlc3Q6Z3Vlc3Q=\r\n"), "{asked}");
    assert!(asked.contains("accept: */*\r\n"), "{asked}");
}

#[test]
fn an_answer_that_says_no_is_an_error_with_f() {
    let server = Server::start(&[ABSENT, ABSENT, ABSENT]);
    let run = curl(&["-s", &server.url("/")]);
    assert_eq!((run.code, run.output.as_str()), (0, "gone\n"));
    let run = curl(&["-fsS", &server.url("/")]);
    assert_eq!((run.code, run.output.as_str()), (22, ""));
    assert_eq!(run.error, "curl: (22) The requested URL returned error: 404\n");
    let run = curl(&["--fail", "--silent", &server.url("/")]);
    assert_eq!((run.code, run.error.as_str()), (22, ""));
    server.asked();
}

#[test]
fn the_code_of_the_answer_can_be_all_that_is_printed() {
    let server = Server::start(&[FINE]);
    let run = curl(&["-s", "-o", "/dev/null", "-w", "%{http_code}\\n", &server.url("/")]);
    assert_eq!((run.code, run.output.as_str()), (0, "200\n"));
    server.asked();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let run = curl(&["-s", "-o", "/dev/null", "-w%{http_code}", &format!("http://{closed}/")]);
    assert_eq!((run.code, run.output.as_str(), run.error.as_str()), (7, "000", ""));
    let run = curl(&["-sS", &format!("{closed}")]);
    let line = format!(
        "curl: (7) Failed to connect to 127.0.0.1 port {}: Connection refused\n",
        closed.port()
    );
    assert_eq!((run.code, run.error), (7, line));
}

#[test]
fn what_write_out_does_not_know_is_named() {
    let mut received = Received::none("http://a/");
    (received.status, received.size) = (204, 3);
    let (text, unknown) = received.written(r"%{size_download} %%\t%{when}%{url_effective}%d\q");
    assert_eq!(text, "3 %\thttp://a/%d\\q");
    assert_eq!(unknown, ["when"]);
}

#[test]
fn data_is_posted_and_put() {
    let server = Server::start(&[FINE, FINE, FINE]);
    assert_eq!(curl(&["-s", "-d", "a=1", "-d", "b=2", &server.url("/x")]).code, 0);
    let json = ["-sXPUT", "-H", "Content-Type: application/json", "-H", "Accept:", "-d", "{}"];
    assert_eq!(curl(&[&json[..], &[&server.url("/y")]].concat()).code, 0);
    let run = Run::with_input("curl", &["-s", "-d", "@-", &server.url("/z")], "one\ntwo\n");
    assert_eq!(run.code, 0);
    let asked = server.asked();
    assert!(asked[0].starts_with("POST /x HTTP/1.1\r\n"), "{}", asked[0]);
    assert!(asked[0].contains("content-type: application/x-www-form-urlencoded\r\n"));
    assert!(asked[0].ends_with("\r\n\r\na=1&b=2"), "{}", asked[0]);
    assert!(asked[1].starts_with("PUT /y HTTP/1.1\r\n"), "{}", asked[1]);
    assert!(asked[1].contains("content-type: application/json\r\n"), "{}", asked[1]);
    assert!(!asked[1].contains("accept:"), "{}", asked[1]);
    assert!(asked[2].ends_with("\r\n\r\nonetwo"), "{}", asked[2]);
}

#[test]
fn a_redirect_is_followed_where_that_is_asked_for() {
    let server = Server::start(&[ELSEWHERE, ELSEWHERE, FINE]);
    let run = curl(&["-si", &server.url("/api")]);
    assert_eq!(run.code, 0);
    assert!(run.output.starts_with("HTTP/1.1 302 Found\r\nlocation: there"), "{run:?}");
    let run = curl(&["-sL", "-d", "x", "-w", " %{url_effective}", &server.url("/api/old")]);
    let end = format!("{{\"status\":\"ok\"}}\n {}", server.url("/api/there?x=1"));
    assert_eq!((run.code, run.output), (0, end));
    assert!(server.asked()[2].starts_with("GET /api/there?x=1 HTTP/1.1\r\n"));
}

#[test]
fn a_password_goes_to_no_other_server() {
    let other = Server::start(&[FINE]);
    let answer =
        format!("HTTP/1.1 301 Moved\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n", other.url("/"));
    let first = Server::start(Box::leak(Box::new([&*answer.leak()])));
    let words = ["-sL", "-u", "u:p", "-H", "Authorization: Bearer x", &first.url("/")];
    assert_eq!(curl(&words).code, 0);
    assert!(first.asked()[0].contains("authorization: Bearer x\r\n"));
    assert!(!other.asked()[0].contains("authorization"));
}

#[test]
fn a_busy_server_is_asked_again() {
    let server = Server::start(&[BUSY, BUSY, FINE]);
    let run = curl(&["-fsS", "--retry", "2", "--retry-delay", "0.001", &server.url("/")]);
    assert_eq!((run.code, run.output.as_str()), (0, "{\"status\":\"ok\"}\n"));
    assert!(run.error.contains("returned error: 503. Will retry in 0 seconds."), "{run:?}");
    assert_eq!(server.asked().len(), 3);
    let server = Server::start(&[BUSY, BUSY]);
    let run = curl(&["-fs", "--retry", "1", "--retry-delay", "0.001", &server.url("/")]);
    assert_eq!(run.code, 22);
    server.asked();
}

#[test]
fn a_server_that_says_nothing_is_waited_for_as_long_as_told() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let run = curl(&["-sS", "-m", "0.05", &url]);
    assert_eq!(run.error, "curl: (28) Operation timed out after 50 milliseconds\n");
    assert_eq!(run.code, 28);
}

#[test]
fn what_is_no_answer_is_told() {
    let server = Server::start(&["", "AMQP\0\0\u{9}\u{1}"]);
    let run = curl(&["-sS", &server.url("/")]);
    assert_eq!((run.code, run.error.as_str()), (52, "curl: (52) Empty reply from server\n"));
    let run = curl(&["-sS", &server.url("/")]);
    assert_eq!(run.error, "curl: (1) The answer is not one of HTTP/1\n");
    server.asked();
}

#[test]
fn the_answer_goes_to_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("answer");
    let server = Server::start(&[FINE, FINE]);
    let run = curl(&["-s", "-o", file.to_str().unwrap(), &server.url("/")]);
    assert_eq!((run.code, run.output.as_str()), (0, ""));
    assert_eq!(std::fs::read(&file).unwrap(), b"{\"status\":\"ok\"}\n");
    let run = curl(&["-sS", "-o", "/no/such/file", &server.url("/")]);
    let line = "curl: (23) Failure writing output to /no/such/file: No such file or directory\n";
    assert_eq!((run.code, run.error.as_str()), (23, line));
    server.asked();
}

#[test]
fn wrong_words_are_one_line() {
    for (arguments, code, line) in [
        (&[][..], 2, "no URL specified"),
        (&["--nosuch", "a"], 2, "option --nosuch: is unknown"),
        (&["-fK", "a"], 2, "option -K: is unknown"),
        (&["-u"], 2, "option -u: requires parameter"),
        (&["--user"], 2, "option --user: requires parameter"),
        (&["-m", "x", "a"], 2, "option --max-time: expected a proper numerical parameter, not x"),
        (&["-H", "x", "a"], 2, "option -H: x is no header"),
        (&["-d", "@/no/such", "a"], 26, "Failed to open /no/such: No such file or directory"),
        (&["https://a/"], 1, "(1) Protocol \"https\" not supported: only http is"),
        (&["http:///x"], 3, "(3) URL rejected: No host part in the URL"),
        (&["http://a:99999/"], 3, "(3) URL rejected: Port number is no number from 0 to 65535"),
    ] {
        let run = curl(arguments);
        assert_eq!((run.code, run.error), (code, format!("curl: {line}\n")), "{arguments:?}");
    }
    assert_eq!(curl(&["--version"]).code, 0);
}

#[test]
fn a_url_is_read_as_people_write_it() {
    let of = |text: &str| Url::parse(text).unwrap();
    assert_eq!(of("localhost:15672").to_string(), "http://localhost:15672/");
    assert_eq!(of("HTTP://a?x=1#y").to_string(), "http://a/?x=1");
    assert_eq!(of("http://[::1]:1/x").host, "::1");
    assert_eq!(of("http://[::1]:1/x").to_string(), "http://[::1]:1/x");
    assert_eq!(of("http://gu%40st:p@a/%2F").user.as_deref(), Some("gu@st:p"));
    assert_eq!(of("http://a/%2F").path, "/%2F");
    let joined = |location| of("http://a:1/b/c?d").join(location).unwrap().to_string();
    assert_eq!(joined("/x"), "http://a:1/x");
    assert_eq!(joined("x"), "http://a:1/b/x");
    assert_eq!(joined("?x"), "http://a:1/b/c?x");
    assert_eq!(joined("//e/x"), "http://e/x");
    assert_eq!(joined("http://e/"), "http://e/");
    let refused = Err(Stop::new(3, "URL rejected: Malformed input to a URL function"));
    assert_eq!(Url::parse("http://a/b c"), refused);
}
