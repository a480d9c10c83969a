//! Logins that fail too often, over AMQP and over HTTP, with a clock that is moved by hand.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::support::client::Client;
use crate::support::{PATIENCE, http};
use leveret::Broker;
use leveret::broker::time::Time;
use leveret::clock::ManualClock;

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
