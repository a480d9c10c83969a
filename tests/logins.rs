//! Logins that fail too often, over AMQP and over HTTP, with a clock that is moved by hand.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::client::Client;
use crate::support::process::{self, Process};
use crate::support::{PATIENCE, http};
use leveret::Broker;
use leveret::broker::time::Time;
use leveret::clock::ManualClock;
use rustix::process::Signal;

/// How often a user may be wrong at an address at once.
const FAILURES: usize = 50;

fn log_in(address: SocketAddr, user: &str, password: &str) -> Result<(), String> {
    let mut client = Client::silent(address);
    client.mechanisms();
    client.log_in("PLAIN", format!("\0{user}\0{password}").as_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn guessing_is_slow_and_others_of_the_same_address_are_not_held() {
    let clock = Arc::new(ManualClock::new(Time::from_millis(1_700_000_000_000)));
    let builder = Broker::builder().in_memory().clock(clock.clone());
    let builder = builder.user("guest", "guest").user("guessed", "right");
    let any = "127.0.0.1:0".parse().unwrap();
    let broker = builder.listen(any).management(any).start().await.unwrap();
    let (amqp, api) = (broker.addresses()[0], broker.management_address().unwrap());
    let whoami = |user: &str| http::request(api, "GET /api/whoami", user, "").0;

    for number in 0..FAILURES {
        let guess = format!("guess{number}");
        if number.is_multiple_of(2) {
            assert!(log_in(amqp, "guessed", &guess).unwrap_err().starts_with("403 "));
        } else {
            assert_eq!(whoami(&format!("guessed:{guess}")), 401);
        }
    }
    // Whoever else is at this address is not held, be it for the first time.
    assert_eq!(whoami("guest:guest"), 200);
    assert_eq!(log_in(amqp, "guest", "guest"), Ok(()));

    // Nobody looks at the password yet, which is right at last.
    let held = http::send(api, "GET /api/whoami", "guessed:right", "");
    held.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let error = held.peek(&mut [0]).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
    held.set_read_timeout(Some(PATIENCE)).unwrap();
    clock.advance(Duration::from_secs(3));
    assert_eq!(http::answer(held).0, 200);
    // Now it is known, and waits for nothing more.
    assert!(log_in(amqp, "guessed", "guess").unwrap_err().starts_with("403 "));
    assert_eq!(log_in(amqp, "guessed", "right"), Ok(()));
}

#[test]
fn wrong_passwords_over_http_write_a_bounded_number_of_lines() {
    const ATTEMPTS: usize = 1500;
    let mut command = process::leveret(["--in-memory", "--listen", "127.0.0.1:0"]);
    command.args(["--management", "127.0.0.1:0", "--log", "warn"]);
    let (process, _) = Process::start(command).ready().unwrap_or_else(|it| panic!("{}", it.stderr));
    let line =
        process.stdout().lines().find_map(|it| it.strip_prefix("leveret management on http://"));
    let api = line.and_then(|line| line.strip_suffix("/api")?.parse().ok());
    let api = api.expect("it says where the API is");
    let begun = Instant::now();
    for number in 0..ATTEMPTS {
        let user = format!("nobody{number}:guess");
        assert_eq!(http::request(api, "GET /api/whoami", &user, "").0, 401);
    }
    // A hundred in each second that was begun; how many more there were is told.
    let most = 100 * (begun.elapsed().as_secs() as usize + 2);
    process.signal(Signal::TERM);
    let ended = process.wait();
    let lines = ended.stderr.matches("HTTP login refused").count();
    assert!((1..=most).contains(&lines), "{lines} lines, {most} at most");
    if lines < ATTEMPTS {
        assert!(ended.stderr.contains("there were too many failed logins of HTTP"));
    }
}
