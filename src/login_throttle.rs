//! Passwords cannot be tried out faster by trying many at once.
//!
//! ```text
//!  login ─► may this address fail once more? ── yes ──► authenticator ─► right: nothing is counted
//!                     │ no: wait, but not for long                    └► wrong: one failure
//!                     └ still no ──► refused, the password is not checked
//! ```
//!
//! Every address may fail [`FAILURES`] times at once, and again once every
//! [`RECOVERY_MS`]: as often as a single client that is held for that long after each failure. A
//! login counts as a failure before its password is checked, so that a thousand at the same moment
//! get no more attempts than one after another; a right one is subtracted again.
//!
//! A user that has logged in from an address before has a count of its own there. So a client that
//! shares the address of an attacker (a proxy, this machine) still gets in, unless the attacker tries
//! this very user.
//!
//! What this module deliberately is not: it locks no user out, and it knows no passwords.
//! Logins by certificate have nothing to guess and pass.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::auth::{AuthenticationFailure, Authenticator, Credentials, User};
use crate::broker::time::Time;
use crate::clock::Clock;

/// How many logins of an address may fail at once.
///
/// why: so many clients may be started with the wrong password by an honest mistake, or wait for an
/// authenticator that is slow.
const FAILURES: u64 = 50;

/// After this time an address may fail once more, in milliseconds.
///
/// rabbitmq: its "silent close delay" holds a refused client for so long, each alone.
const RECOVERY_MS: u64 = 3_000;

/// How long a login may wait for its turn, in milliseconds: well below the time for a handshake, so
/// that the client hears of it.
const MAX_WAIT_MS: u64 = 5_000;

/// How many addresses are remembered for their failures, and how many users for their successes.
const ENTRIES: usize = 10_000;

/// Longest name of a user that is remembered, in bytes.
///
/// rabbitmq: none is longer.
const NAME_BYTES: usize = 255;

/// An authenticator that passes on only so many logins of an address while they fail.
pub(crate) struct LoginThrottle {
    authenticator: Arc<dyn Authenticator>,
    clock: Arc<dyn Clock>,
    table: Mutex<Table>,
    /// Notified when an account that had no failures left has some again.
    relieved: Notify,
}

impl LoginThrottle {
    pub(crate) fn new(authenticator: Arc<dyn Authenticator>, clock: Arc<dyn Clock>) -> Self {
        LoginThrottle {
            authenticator,
            clock,
            table: Mutex::new(Table::default()),
            relieved: Notify::new(),
        }
    }

    /// Waits for the turn of a login. It counts as failed until it is known to be none.
    async fn admit(&self, origin: &Origin) -> Result<Account, AuthenticationFailure> {
        let deadline = self.clock.now().plus_millis(MAX_WAIT_MS);
        loop {
            // why: before the table is read, so that no notification after that is missed.
            let mut relieved = pin!(self.relieved.notified());
            relieved.as_mut().enable();
            let now = self.clock.now();
            let next = match self.table.lock().take(origin, now) {
                Ok(account) => return Ok(account),
                Err(_) if now >= deadline => return Err(AuthenticationFailure::TooMany),
                Err(next) => next.min(deadline),
            };
            tokio::select! {
                () = self.clock.sleep_until(next) => {}
                () = relieved => {}
            }
        }
    }

    /// A login was no failure; with an origin, it was a success.
    fn settle(&self, account: &Account, success: Option<Origin>) {
        if self.table.lock().settle(account, success, self.clock.now()) {
            self.relieved.notify_waiters();
        }
    }
}

#[async_trait]
impl Authenticator for LoginThrottle {
    async fn authenticate(
        &self,
        credentials: &Credentials,
        peer: SocketAddr,
    ) -> Result<User, AuthenticationFailure> {
        if credentials.is_external() {
            return self.authenticator.authenticate(credentials, peer).await;
        }
        let origin = Origin { network: network(peer), user: credentials.user.clone() };
        // why: a login that is given up while it waits for the answer counts as failed: a client
        // must not get the attempt back by closing the socket.
        let account = self.admit(&origin).await?;
        let result = self.authenticator.authenticate(credentials, peer).await;
        match &result {
            Ok(_) => self.settle(&account, Some(origin)),
            // The password was not checked.
            Err(AuthenticationFailure::Unavailable) => self.settle(&account, None),
            Err(_) => {}
        }
        result
    }
}

/// Where a login comes from, and the user that it names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Origin {
    network: IpAddr,
    user: String,
}

/// Whose failures are counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Account {
    /// Those of a user at an address from which it has logged in before.
    Known(Origin),
    /// All others of an address.
    Network(IpAddr),
}

/// invariant: neither map has more than [`ENTRIES`].
#[derive(Default)]
struct Table {
    /// Until when an account has made good for its failures: each costs [`RECOVERY_MS`].
    debts: HashMap<Account, Time>,
    /// Which user has logged in from where, and when last.
    known: HashMap<Origin, Time>,
}

impl Table {
    /// Counts a failure, or says when it may be counted.
    fn take(&mut self, origin: &Origin, now: Time) -> Result<Account, Time> {
        let account = if self.known.contains_key(origin) {
            Account::Known(origin.clone())
        } else {
            Account::Network(origin.network)
        };
        let settled = self.debts.get(&account).copied().unwrap_or(now).max(now);
        let excess = excess(settled, now);
        if excess > 0 {
            return Err(now.plus_millis(excess));
        }
        let indebted = settled.plus_millis(RECOVERY_MS);
        make_room(&mut self.debts, &account, now);
        self.debts.insert(account.clone(), indebted);
        Ok(account)
    }

    /// It was no failure; with an origin, it was a success. Says whether the account was used up
    /// until now.
    fn settle(&mut self, account: &Account, success: Option<Origin>, now: Time) -> bool {
        let mut was_used_up = false;
        if let Some(debt) = self.debts.get_mut(account) {
            was_used_up = excess(*debt, now) > 0;
            *debt = Time::from_millis(debt.as_millis().saturating_sub(RECOVERY_MS));
            if *debt <= now {
                self.debts.remove(account);
            }
        }
        if let Some(origin) = success.filter(|origin| origin.user.len() <= NAME_BYTES) {
            // Nobody is forgotten for being long ago: only when there are too many.
            make_room(&mut self.known, &origin, Time::EPOCH);
            self.known.insert(origin, now);
        }
        was_used_up
    }
}

/// How long it takes until another failure can be added to this debt, in milliseconds.
fn excess(debt: Time, now: Time) -> u64 {
    (debt.millis_since(now) + RECOVERY_MS).saturating_sub(FAILURES * RECOVERY_MS)
}

/// Makes room for a key: what lies before `now` goes, then the older half.
///
/// why: halves, so that a table that stays full is not gone through for every login.
fn make_room<K: Hash + Eq>(table: &mut HashMap<K, Time>, key: &K, now: Time) {
    if table.len() < ENTRIES || table.contains_key(key) {
        return;
    }
    table.retain(|_, time| *time > now);
    if table.len() >= ENTRIES {
        let mut times: Vec<Time> = table.values().copied().collect();
        let (_, middle, _) = times.select_nth_unstable(ENTRIES / 2);
        let middle = *middle;
        table.retain(|_, time| *time > middle);
    }
}

/// The address whose failures are counted together: with IPv6 the network of 64 bits, in which a
/// single machine can have any address.
fn network(peer: SocketAddr) -> IpAddr {
    match peer.ip().to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64))
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::broker::access::EXTERNAL;
    use crate::clock::ManualClock;

    /// Lets in whoever has the password `right`, and whoever has `slow` when it is told to; counts
    /// who asks.
    #[derive(Default)]
    struct Counting(AtomicUsize, Notify);

    #[async_trait]
    impl Authenticator for Counting {
        async fn authenticate(
            &self,
            credentials: &Credentials,
            _: SocketAddr,
        ) -> Result<User, AuthenticationFailure> {
            self.0.fetch_add(1, Ordering::Relaxed);
            match credentials.password.as_slice() {
                b"right" => Ok(User::new(credentials.user.clone())),
                b"slow" => {
                    self.1.notified().await;
                    Ok(User::new(credentials.user.clone()))
                }
                b"down" => Err(AuthenticationFailure::Unavailable),
                b"never" => std::future::pending().await,
                _ => Err(AuthenticationFailure::Refused),
            }
        }
    }

    struct Fixture {
        throttle: Arc<LoginThrottle>,
        asked: Arc<Counting>,
        clock: Arc<ManualClock>,
    }

    const HERE: &str = "192.0.2.1:1000";
    const ELSEWHERE: &str = "192.0.2.2:1000";

    impl Fixture {
        fn new() -> Self {
            let clock = Arc::new(ManualClock::new(Time::from_millis(1_700_000_000_000)));
            let asked = Arc::new(Counting::default());
            let throttle = Arc::new(LoginThrottle::new(asked.clone(), clock.clone()));
            Fixture { throttle, asked, clock }
        }

        async fn log_in(
            &self,
            peer: &str,
            user: &str,
            password: &str,
        ) -> Result<User, AuthenticationFailure> {
            let (user, password) = (user.to_owned(), password.as_bytes().to_vec());
            let credentials = Credentials { mechanism: "PLAIN", user, password };
            self.throttle.authenticate(&credentials, peer.parse().unwrap()).await
        }

        /// A login in a task of its own, which has come as far as it can.
        async fn begin(
            &self,
            peer: &'static str,
            user: &'static str,
            password: &'static str,
        ) -> tokio::task::JoinHandle<Result<User, AuthenticationFailure>> {
            let Fixture { throttle, asked, clock } = self;
            let (throttle, asked, clock) = (throttle.clone(), asked.clone(), clock.clone());
            let other = Fixture { throttle, asked, clock };
            let login = tokio::spawn(async move { other.log_in(peer, user, password).await });
            tokio::task::yield_now().await;
            login
        }

        /// Uses up all failures that an address has at once.
        async fn fail(&self, peer: &str, user: &str) {
            for _ in 0..FAILURES {
                let failure = self.log_in(peer, user, "wrong").await;
                assert_eq!(failure, Err(AuthenticationFailure::Refused));
            }
        }

        fn asked(&self) -> usize {
            self.asked.0.load(Ordering::Relaxed)
        }

        async fn advance(&self, ms: u64) {
            self.clock.advance(Duration::from_millis(ms));
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
        }
    }

    #[tokio::test]
    async fn after_many_failures_there_is_one_more_at_a_time() {
        let fixture = Fixture::new();
        fixture.fail(HERE, "a").await;
        let before = fixture.asked();
        let waiting = fixture.begin(HERE, "b", "right").await;
        fixture.advance(RECOVERY_MS - 1).await;
        assert_eq!(fixture.asked(), before, "nobody has looked at the password");
        fixture.advance(1).await;
        assert!(waiting.await.unwrap().is_ok());
        // The right one has given its place back, the wrong one does not.
        let wrong = fixture.log_in(HERE, "c", "wrong").await;
        assert_eq!(wrong, Err(AuthenticationFailure::Refused));
        let held = fixture.begin(HERE, "c", "wrong").await;
        assert_eq!(fixture.asked(), before + 2);
        assert!(!held.is_finished());
    }

    #[tokio::test]
    async fn who_waits_for_too_long_is_refused_unseen() {
        let fixture = Fixture::new();
        fixture.fail(HERE, "a").await;
        let mut waiting = Vec::new();
        for _ in 0..5 {
            waiting.push(fixture.begin(HERE, "a", "wrong").await);
        }
        let before = fixture.asked();
        fixture.advance(RECOVERY_MS).await;
        assert_eq!(fixture.asked(), before + 1);
        fixture.advance(MAX_WAIT_MS - RECOVERY_MS - 1).await;
        assert_eq!(waiting.iter().filter(|login| login.is_finished()).count(), 1);
        fixture.advance(1).await;
        assert_eq!(fixture.asked(), before + 1);
        let mut ended = Vec::new();
        for waiting in waiting {
            ended.push(waiting.await.unwrap());
        }
        ended.sort_by_key(|result| *result == Err(AuthenticationFailure::TooMany));
        assert_eq!(ended[0], Err(AuthenticationFailure::Refused));
        assert!(ended[1..].iter().all(|end| *end == Err(AuthenticationFailure::TooMany)));
    }

    #[tokio::test]
    async fn a_thousand_at_once_are_no_more_than_one_after_another() {
        let fixture = Fixture::new();
        let mut guesses = Vec::new();
        for _ in 0..1_000 {
            guesses.push(fixture.begin(HERE, "a", "never").await);
        }
        assert_eq!(fixture.asked(), FAILURES as usize);
        // A client that closes the socket gets nothing back.
        guesses.iter().for_each(tokio::task::JoinHandle::abort);
        tokio::task::yield_now().await;
        let _guess = fixture.begin(HERE, "a", "never").await;
        assert_eq!(fixture.asked(), FAILURES as usize);
    }

    #[tokio::test]
    async fn other_addresses_and_known_users_are_not_held() {
        let fixture = Fixture::new();
        assert!(fixture.log_in(HERE, "honest", "right").await.is_ok());
        fixture.fail(HERE, "guessed").await;
        assert!(fixture.log_in(HERE, "honest", "right").await.is_ok());
        assert!(fixture.log_in(ELSEWHERE, "guessed", "right").await.is_ok());
        // The count of a known user is another, and it has an end as well.
        fixture.fail(HERE, "honest").await;
        let held = fixture.begin(HERE, "honest", "right").await;
        assert!(!held.is_finished());
        fixture.advance(RECOVERY_MS).await;
        assert!(held.await.unwrap().is_ok());
    }

    #[tokio::test]
    async fn right_logins_and_a_back_end_that_is_down_cost_nothing() {
        let fixture = Fixture::new();
        for _ in 0..3 * FAILURES {
            assert!(fixture.log_in(HERE, "a", "right").await.is_ok());
            let failure = fixture.log_in(HERE, "b", "down").await;
            assert_eq!(failure, Err(AuthenticationFailure::Unavailable));
        }
        assert!(fixture.throttle.table.lock().debts.is_empty());
        fixture.fail(HERE, "b").await;
        let credentials =
            Credentials { mechanism: EXTERNAL, user: "b".to_owned(), password: Vec::new() };
        let failure = fixture.throttle.authenticate(&credentials, HERE.parse().unwrap()).await;
        assert_eq!(failure, Err(AuthenticationFailure::Refused), "a certificate is no guess");
    }

    #[tokio::test]
    async fn a_slow_authenticator_is_no_failure_of_those_who_wait_for_it() {
        let fixture = Fixture::new();
        let mut logins = Vec::new();
        for _ in 0..3 * FAILURES {
            logins.push(fixture.begin(HERE, "a", "slow").await);
        }
        for round in 1..=3 {
            assert_eq!(fixture.asked(), round * FAILURES as usize);
            fixture.asked.1.notify_waiters();
            // No time passes: who gets in makes room for who waits.
            fixture.advance(0).await;
        }
        for login in logins {
            assert!(login.await.unwrap().is_ok());
        }
    }

    #[tokio::test]
    async fn failures_are_forgiven_with_time() {
        let fixture = Fixture::new();
        fixture.fail(HERE, "a").await;
        fixture.advance(FAILURES * RECOVERY_MS).await;
        fixture.fail(HERE, "a").await;
    }

    #[test]
    fn the_table_has_an_end() {
        let mut table = Table::default();
        let now = Time::from_millis(1_700_000_000_000);
        for number in 0..3 * ENTRIES as u32 {
            let network = IpAddr::V4(number.into());
            let origin = Origin { network, user: number.to_string() };
            let now = now.plus_millis(u64::from(number) % 7);
            let account = table.take(&origin, now).unwrap();
            if number.is_multiple_of(2) {
                table.settle(&account, Some(origin), now);
            }
            assert!(table.debts.len() <= ENTRIES && table.known.len() <= ENTRIES);
        }
        assert!(table.debts.len() > ENTRIES / 3 && table.known.len() > ENTRIES / 3);
        // What is over makes room before anything else does.
        let later = now.plus_millis(1_000_000);
        let last = Origin { network: IpAddr::V4(u32::MAX.into()), user: String::new() };
        for number in 0..ENTRIES as u32 {
            let network = IpAddr::V4((0xf000_0000 + number).into());
            table.take(&Origin { network, user: String::new() }, later).unwrap();
        }
        let before = table.debts.len();
        assert_eq!(before, ENTRIES);
        table.take(&last, later.plus_millis(RECOVERY_MS)).unwrap();
        assert_eq!(table.debts.len(), 1);
    }

    #[test]
    fn a_machine_has_one_network() {
        for (address, expected) in [
            ("192.0.2.1:5", "192.0.2.1"),
            ("[::ffff:192.0.2.1]:5", "192.0.2.1"),
            ("[2001:db8:1:2:3:4:5:6]:5", "2001:db8:1:2::"),
            ("[::1]:5", "::1"),
        ] {
            assert_eq!(network(address.parse().unwrap()), expected.parse::<IpAddr>().unwrap());
        }
    }
}
