//! Passwords cannot be tried out faster by trying many at once, and nobody is held for the guesses of another.
//!
//! ```text
//!  login ─► was this very password right before? ── yes ───────────────────────► authenticator
//!                │ no                                                                ▲
//!  may this user fail once more from this address? ── yes ───────────────────────────┤
//!                │ no: it waits until it may, but not for long ──────────────────────┘
//! ```
//!
//! At an address each user may fail [`FAILURES`] times at once, and again once every [`RECOVERY_MS`]: as often as
//! a single client that is held for that long after each failure. A login counts as a failure before its password
//! is checked, so that a thousand at the same moment get no more attempts than one after another; a right one is
//! subtracted again. Who waits for [`MAX_WAIT_MS`] has paid with that, and is let on without being counted: no login
//! is refused unseen.
//!
//! What was right before is known by a hash with a key of this process. It waits for nothing, be it that others
//! guess the password of the same user at the same address, and the authenticator is asked all the same.
//!
//! What this module deliberately is not: it locks no user out, and it keeps no passwords.
//! Logins by certificate have nothing to guess and pass.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::sync::Notify;

use crate::auth::{AuthenticationFailure, Authenticator, Credentials, User};
use crate::broker::time::Time;
use crate::clock::Clock;

/// How many logins of a user at an address may fail at once.
///
/// why: so many clients may be started with the wrong password by an honest mistake, or wait for an
/// authenticator that is slow.
const FAILURES: u64 = 50;

/// After this time a user may fail once more at an address, in milliseconds.
///
/// rabbitmq: its "silent close delay" holds a refused client for so long, each alone.
const RECOVERY_MS: u64 = 3_000;

/// How long a login may wait for its turn, in milliseconds: well below the time for a handshake, so
/// that the client hears of it.
const MAX_WAIT_MS: u64 = 5_000;

/// How many users with failures are remembered, and how many right passwords.
const ENTRIES: usize = 10_000;

/// How much of a user's name counts, in bytes.
///
/// rabbitmq: none is longer.
const NAME_BYTES: usize = 255;

/// An authenticator that passes on only so many logins of a user at an address while they fail.
pub(crate) struct LoginThrottle {
    authenticator: Arc<dyn Authenticator>,
    clock: Arc<dyn Clock>,
    /// What the hashes of right passwords are made with.
    key: [u8; 32],
    table: Mutex<Table>,
    /// Notified when an origin that had no failures left has some again.
    relieved: Notify,
}

impl LoginThrottle {
    /// The key is one that nobody knows.
    pub(crate) fn new(
        authenticator: Arc<dyn Authenticator>,
        clock: Arc<dyn Clock>,
        key: [u8; 32],
    ) -> Self {
        let (table, relieved) = (Mutex::default(), Notify::new());
        LoginThrottle { authenticator, clock, key, table, relieved }
    }

    /// Waits for the turn of a login. Says whether it counts as failed until it is known to be none; it does not
    /// when it has waited for too long.
    async fn admit(&self, origin: &Origin) -> bool {
        let deadline = self.clock.now().plus_millis(MAX_WAIT_MS);
        loop {
            // why: before the table is read, so that no notification after that is missed.
            let mut relieved = pin!(self.relieved.notified());
            relieved.as_mut().enable();
            let now = self.clock.now();
            let next = match self.table.lock().take(origin, now) {
                Ok(()) => return true,
                Err(_) if now >= deadline => return false,
                Err(next) => next.min(deadline),
            };
            tokio::select! {
                () = self.clock.sleep_until(next) => {}
                () = relieved => {}
            }
        }
    }

    /// What a password that was right is known by.
    fn hash(&self, credentials: &Credentials) -> RightPassword {
        let user = credentials.user.as_bytes();
        let hash = Sha256::new().chain_update(self.key).chain_update(user.len().to_be_bytes());
        let hash = hash.chain_update(user).chain_update(&credentials.password).finalize();
        RightPassword(hash.into())
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
        let (origin, password) = (Origin::new(peer, &credentials.user), self.hash(credentials));
        let was_right = self.table.lock().right.contains_key(&password);
        // why: a login that is given up while it waits for the answer counts as failed: a client
        // must not get the attempt back by closing the socket.
        let is_counted = !was_right && self.admit(&origin).await;
        let result = self.authenticator.authenticate(credentials, peer).await;
        let now = self.clock.now();
        let mut table = self.table.lock();
        let was_used_up = match &result {
            Ok(_) => {
                table.remember(password, now);
                is_counted && table.give_back(&origin, now)
            }
            // The password was not checked.
            Err(AuthenticationFailure::Unavailable) => is_counted && table.give_back(&origin, now),
            Err(_) => {
                if table.right.remove(&password).is_some() {
                    // It has been changed: from now on the old one is a wrong one.
                    let _ = table.take(&origin, now);
                }
                false
            }
        };
        drop(table);
        if was_used_up {
            self.relieved.notify_waiters();
        }
        result
    }
}

/// Where a login comes from, and the user that it names: whose failures are counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Origin {
    network: IpAddr,
    user: String,
}

impl Origin {
    fn new(peer: SocketAddr, user: &str) -> Self {
        let user = user[..user.floor_char_boundary(NAME_BYTES)].to_owned();
        Origin { network: network(peer), user }
    }
}

/// The hash of a user's name and password that were right.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct RightPassword([u8; 32]);

/// invariant: neither map has more than [`ENTRIES`].
#[derive(Default)]
struct Table {
    /// Until when an origin has made good for its failures: each costs [`RECOVERY_MS`].
    debts: HashMap<Origin, Time>,
    /// What was right, and when last.
    right: HashMap<RightPassword, Time>,
}

impl Table {
    /// Counts a failure, or says when it may be counted.
    fn take(&mut self, origin: &Origin, now: Time) -> Result<(), Time> {
        let settled = self.debts.get(origin).copied().unwrap_or(now).max(now);
        let excess = excess(settled, now);
        if excess > 0 {
            return Err(now.plus_millis(excess));
        }
        let indebted = settled.plus_millis(RECOVERY_MS);
        make_room(&mut self.debts, origin, now);
        self.debts.insert(origin.clone(), indebted);
        Ok(())
    }

    /// It was no failure. Says whether the origin had none left until now.
    fn give_back(&mut self, origin: &Origin, now: Time) -> bool {
        let Some(debt) = self.debts.get_mut(origin) else { return false };
        let was_used_up = excess(*debt, now) > 0;
        *debt = Time::from_millis(debt.as_millis().saturating_sub(RECOVERY_MS));
        if *debt <= now {
            self.debts.remove(origin);
        }
        was_used_up
    }

    /// A password was right.
    fn remember(&mut self, password: RightPassword, now: Time) {
        // Nothing is forgotten for being long ago: only when there is too much.
        make_room(&mut self.right, &password, Time::EPOCH);
        self.right.insert(password, now);
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
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::broker::access::EXTERNAL;
    use crate::clock::ManualClock;

    /// Lets in whoever has the password `right`, until that is changed, and whoever has `slow` when it is told to;
    /// counts who asks.
    #[derive(Default)]
    struct Counting(AtomicUsize, Notify, AtomicBool);

    #[async_trait]
    impl Authenticator for Counting {
        async fn authenticate(
            &self,
            credentials: &Credentials,
            _: SocketAddr,
        ) -> Result<User, AuthenticationFailure> {
            self.0.fetch_add(1, Ordering::Relaxed);
            match credentials.password.as_slice() {
                b"right" if !self.2.load(Ordering::Relaxed) => {
                    Ok(User::new(credentials.user.clone()))
                }
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
            let throttle = Arc::new(LoginThrottle::new(asked.clone(), clock.clone(), [1; 32]));
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

        /// Uses up all failures that a user has at an address at once.
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
        let waiting = fixture.begin(HERE, "a", "right").await;
        fixture.advance(RECOVERY_MS - 1).await;
        assert_eq!(fixture.asked(), before, "nobody has looked at the password");
        fixture.advance(1).await;
        assert!(waiting.await.unwrap().is_ok());
        // The right one has given its place back, the wrong one does not.
        let wrong = fixture.log_in(HERE, "a", "wrong").await;
        assert_eq!(wrong, Err(AuthenticationFailure::Refused));
        let held = fixture.begin(HERE, "a", "wrong").await;
        assert_eq!(fixture.asked(), before + 2);
        assert!(!held.is_finished());
    }

    #[tokio::test]
    async fn who_waits_for_too_long_is_looked_at_after_all() {
        let fixture = Fixture::new();
        fixture.fail(HERE, "a").await;
        let mut waiting = Vec::new();
        for _ in 0..5 {
            waiting.push(fixture.begin(HERE, "a", "wrong").await);
        }
        let before = fixture.asked();
        fixture.advance(RECOVERY_MS).await;
        assert_eq!(fixture.asked(), before + 1);
        let right = fixture.begin(HERE, "a", "right").await;
        fixture.advance(MAX_WAIT_MS - RECOVERY_MS - 1).await;
        assert_eq!(fixture.asked(), before + 1);
        fixture.advance(1).await;
        assert_eq!(fixture.asked(), before + 5);
        for waiting in waiting {
            assert_eq!(waiting.await.unwrap(), Err(AuthenticationFailure::Refused));
        }
        // What was paid for by waiting is no debt on top: the next one is due as if there had been none.
        assert!(!right.is_finished());
        fixture.advance(2 * RECOVERY_MS - MAX_WAIT_MS).await;
        assert!(right.await.unwrap().is_ok());
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
    async fn other_users_and_other_addresses_are_not_held() {
        let fixture = Fixture::new();
        fixture.fail(HERE, "guessed").await;
        for number in 0..2 * FAILURES {
            assert!(fixture.log_in(HERE, &format!("honest{number}"), "right").await.is_ok());
        }
        assert!(fixture.log_in(ELSEWHERE, "guessed", "right").await.is_ok());
    }

    #[tokio::test]
    async fn what_was_right_before_waits_for_nothing_until_it_is_changed() {
        let fixture = Fixture::new();
        assert!(fixture.log_in(HERE, "a", "right").await.is_ok());
        fixture.fail(HERE, "a").await;
        assert!(fixture.log_in(HERE, "a", "right").await.is_ok());
        // A password that was right for one user was not for another.
        fixture.fail(HERE, "b").await;
        assert!(!fixture.begin(HERE, "b", "right").await.is_finished());

        fixture.asked.2.store(true, Ordering::Relaxed);
        let refused = fixture.log_in(HERE, "a", "right").await;
        assert_eq!(refused, Err(AuthenticationFailure::Refused));
        assert!(!fixture.begin(HERE, "a", "right").await.is_finished(), "it is one guess more");
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
            table.take(&origin, now).unwrap();
            if number.is_multiple_of(2) {
                table.give_back(&origin, now);
                let mut hash = [0; 32];
                hash[..4].copy_from_slice(&number.to_be_bytes());
                table.remember(RightPassword(hash), now);
            }
            assert!(table.debts.len() <= ENTRIES && table.right.len() <= ENTRIES);
        }
        assert!(table.debts.len() > ENTRIES / 3 && table.right.len() > ENTRIES / 3);
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
    fn a_name_that_is_too_long_takes_no_more_room() {
        let name = "é".repeat(4_096);
        let origin = Origin::new(HERE.parse().unwrap(), &name);
        assert_eq!(origin.user.len(), NAME_BYTES - 1);
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
