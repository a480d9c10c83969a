//! Who a client says it is, who it is found to be, and what it may do.
//!
//! - [`Credentials`], [`User`], [`AuthenticationFailure`]: from a login to a user.
//! - [`Permissions`]: what a user may do in a virtual host, by the names of what it is done to.
//! - [`TopicPermissions`]: which routing keys of topic exchanges it may use.
//!
//! What this module deliberately is not: it holds no list of users and decides on no login.

mod pattern;

pub use pattern::{InvalidPattern, Pattern};

use std::collections::BTreeMap;
use std::fmt;

/// The mechanism of a client whose name comes from its certificate: it sends no password.
pub const EXTERNAL: &str = "EXTERNAL";

/// What a client sent to prove who it is.
///
/// With the mechanism [`EXTERNAL`] the client has proved it already: the user's name is that of a
/// certificate that was verified, and the password is empty.
///
/// invariant: the password never shows in debug output.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The SASL mechanism it used: `PLAIN`, `AMQPLAIN` or `EXTERNAL`.
    pub mechanism: &'static str,
    /// The user's name.
    pub user: String,
    /// The password, as it was sent.
    pub password: Vec<u8>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("mechanism", &self.mechanism)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

impl Credentials {
    /// Whether a verified certificate has proved who the client is.
    pub fn is_external(&self) -> bool {
        self.mechanism == EXTERNAL
    }
}

/// A user that was let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The user's name.
    pub name: String,
    /// What it is beside a user: `administrator`, `impersonator` …
    pub tags: Vec<String>,
}

impl User {
    /// A user of this name without tags.
    pub fn new(name: impl Into<String>) -> User {
        User { name: name.into(), tags: Vec::new() }
    }

    /// Whether it may publish in the name of others.
    ///
    /// rabbitmq: the tag `impersonator` frees from the check of the property user-id.
    pub fn is_impersonator(&self) -> bool {
        self.tags.iter().any(|tag| tag == "impersonator")
    }
}

/// The credentials were not accepted. Why is for the log alone: the client is not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthenticationFailure {
    /// There is no such user, or the password is wrong.
    #[error("unknown user or wrong password")]
    Refused,
    /// The user may connect from this machine alone, and the client is on another.
    #[error("user can only connect via localhost")]
    NotLocal,
    /// The client logs in by its certificate and showed none.
    #[error("connection peer presented no TLS (x.509) certificate")]
    NoCertificate,
    /// The client logs in by its certificate, in which there is no name.
    #[error("no name found in the certificate")]
    NoName,
    /// The back end that knows the users did not answer.
    #[error("the authentication back end failed")]
    Unavailable,
}

/// The three things that a user may be allowed to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// To declare and delete.
    Configure,
    /// To put in: to publish to an exchange, to bind a queue.
    Write,
    /// To get out: to consume, to bind to an exchange.
    Read,
}

impl Permission {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Permission::Configure => "configure",
            Permission::Write => "write",
            Permission::Read => "read",
        }
    }
}

/// What a user may do in a virtual host. A user that has none there may not open it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permissions {
    /// The names that it may declare and delete.
    pub configure: Pattern,
    /// The names that it may write to.
    pub write: Pattern,
    /// The names that it may read from.
    pub read: Pattern,
}

impl Permissions {
    /// Reads three patterns.
    pub fn parse(configure: &str, write: &str, read: &str) -> Result<Self, InvalidPattern> {
        Ok(Permissions {
            configure: Pattern::parse(configure)?,
            write: Pattern::parse(write)?,
            read: Pattern::parse(read)?,
        })
    }

    /// The right to do everything.
    pub fn all() -> Self {
        let [configure, write, read] = [(); 3].map(|()| Pattern::always());
        Permissions { configure, write, read }
    }

    /// Nothing.
    pub fn none() -> Self {
        let [configure, write, read] = [(); 3].map(|()| Pattern::never());
        Permissions { configure, write, read }
    }

    /// Whether this may be done to the queue or the exchange of this name; for an exchange see
    /// [`exchange_to_check`].
    pub fn allows(&self, permission: Permission, name: &[u8]) -> bool {
        let pattern = match permission {
            Permission::Configure => &self.configure,
            Permission::Write => &self.write,
            Permission::Read => &self.read,
        };
        pattern.matches(name)
    }
}

/// The name by which the permissions for an exchange are found, and which texts show.
///
/// rabbitmq: the default exchange, which has no name, goes by `amq.default` here.
pub fn exchange_to_check(exchange: &[u8]) -> &[u8] {
    if exchange.is_empty() { b"amq.default" } else { exchange }
}

/// The routing keys that a user may use in a virtual host, for the topic exchanges that there is an
/// entry for. All others it may use with any key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicPermissions {
    exchanges: BTreeMap<Vec<u8>, TopicPatterns>,
}

/// The patterns of one exchange, as they were written and as they are for this user.
#[derive(Clone, Debug, PartialEq, Eq)]
struct TopicPatterns {
    write: TopicPattern,
    read: TopicPattern,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct TopicPattern {
    written: String,
    expanded: Pattern,
}

/// What stands for the words in braces in the patterns of topic permissions.
#[derive(Clone, Copy, Debug)]
pub struct TopicVariables<'a> {
    /// `{username}`
    pub user: &'a str,
    /// `{vhost}`
    pub vhost: &'a str,
    /// `{client_id}`, which AMQP 0-9-1 has none of: the word stays as it is.
    pub client_id: Option<&'a str>,
}

impl TopicPermissions {
    /// Sets what may be written to an exchange and read from it, in place of what was set before.
    pub fn set(
        &mut self,
        exchange: &[u8],
        write: &str,
        read: &str,
        variables: TopicVariables<'_>,
    ) -> Result<(), InvalidPattern> {
        let write = TopicPattern::parse(write, variables)?;
        let read = TopicPattern::parse(read, variables)?;
        self.exchanges.insert(exchange.to_vec(), TopicPatterns { write, read });
        Ok(())
    }

    /// Takes the entry of an exchange away, if there is one.
    pub fn remove(&mut self, exchange: &[u8]) -> bool {
        self.exchanges.remove(exchange).is_some()
    }

    /// Whether this may be done with this key. Configuring has nothing to do with keys.
    pub fn allows(&self, exchange: &[u8], permission: Permission, key: &[u8]) -> bool {
        let Some(TopicPatterns { write, read }) = self.exchanges.get(exchange) else { return true };
        match permission {
            Permission::Configure => true,
            Permission::Write => write.expanded.matches(key),
            Permission::Read => read.expanded.matches(key),
        }
    }

    /// How many steps it takes at worst to match a key with the patterns of an exchange.
    fn match_steps(&self) -> usize {
        let steps = |it: &TopicPatterns| it.write.expanded.steps().max(it.read.expanded.steps());
        self.exchanges.values().map(steps).max().unwrap_or(0)
    }

    /// The entries by exchange, with the patterns for writing and for reading as they were written.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &str, &str)> {
        self.exchanges.iter().map(|(exchange, TopicPatterns { write, read })| {
            (exchange.as_slice(), write.written.as_str(), read.written.as_str())
        })
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.exchanges.is_empty()
    }
}

impl TopicPattern {
    /// rabbitmq: puts the values in as they are and takes what comes out for the pattern. A name
    /// with which it is none makes the check fail; we allow nothing then.
    fn parse(written: &str, variables: TopicVariables<'_>) -> Result<Self, InvalidPattern> {
        let pattern = Pattern::parse(written)?;
        let expanded = variables.expand(written);
        let expanded = if expanded == written {
            pattern
        } else {
            Pattern::parse(&expanded).unwrap_or_else(|_| Pattern::never())
        };
        Ok(TopicPattern { written: written.to_owned(), expanded })
    }
}

impl TopicVariables<'_> {
    /// rabbitmq: one word after the other in the order of their names, so that a value with a later
    /// word in it is expanded again.
    fn expand(self, pattern: &str) -> String {
        let mut expanded = pattern.to_owned();
        if let Some(client_id) = self.client_id {
            expanded = expanded.replace("{client_id}", client_id);
        }
        expanded.replace("{username}", self.user).replace("{vhost}", self.vhost)
    }
}

/// What a user may do in a virtual host. Everything, unless told otherwise.
#[derive(Clone, Debug, Default)]
pub struct Rights {
    /// None means everything.
    pub permissions: Option<Permissions>,
    /// By exchange.
    pub topics: TopicPermissions,
    /// How many channels the user may have open at once, in all its connections.
    pub max_channels: Option<u64>,
}

impl Rights {
    /// How many steps it takes at worst to look whether a command is allowed: none unless a pattern is large.
    pub fn match_steps(&self) -> usize {
        let permissions = self.permissions.iter();
        let patterns = permissions.flat_map(|it| [&it.configure, &it.write, &it.read]);
        patterns.map(Pattern::steps).sum::<usize>() + self.topics.match_steps()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VARIABLES: TopicVariables<'static> =
        TopicVariables { user: "ann", vhost: "shop", client_id: None };

    #[test]
    fn a_tag_makes_an_impersonator() {
        let mut user = User::new("ann");
        assert!(!user.is_impersonator());
        user.tags = vec!["administrator".into(), "impersonator".into()];
        assert!(user.is_impersonator());
    }

    #[test]
    fn each_permission_has_its_pattern() {
        let permissions = Permissions::parse("^c", "^w", "").unwrap();
        assert!(permissions.allows(Permission::Configure, b"c1"));
        assert!(!permissions.allows(Permission::Configure, b"w1"));
        assert!(permissions.allows(Permission::Write, b"w1"));
        assert!(!permissions.allows(Permission::Write, b"c1"));
        assert!(!permissions.allows(Permission::Read, b"c1"));
        assert_eq!(Permissions::parse("", "(", "").unwrap_err().reason, "missing )");
        for permission in [Permission::Configure, Permission::Write, Permission::Read] {
            assert!(Permissions::all().allows(permission, b"anything"));
            assert!(!Permissions::none().allows(permission, b"anything"));
        }
    }

    #[test]
    fn the_default_exchange_goes_by_another_name() {
        let permissions = Permissions::parse("", "^amq\\.default$", "").unwrap();
        assert!(permissions.allows(Permission::Write, exchange_to_check(b"")));
        assert!(!permissions.allows(Permission::Write, exchange_to_check(b"amq.topic")));
    }

    #[test]
    fn only_exchanges_with_an_entry_are_limited_in_their_keys() {
        let mut topics = TopicPermissions::default();
        topics.set(b"logs", "^own\\.", "", VARIABLES).unwrap();
        assert!(topics.allows(b"logs", Permission::Write, b"own.x"));
        assert!(!topics.allows(b"logs", Permission::Write, b"other.x"));
        assert!(!topics.allows(b"logs", Permission::Read, b"own.x"));
        assert!(topics.allows(b"logs", Permission::Read, b""), "rabbitmq: '' is ^$");
        assert!(topics.allows(b"logs", Permission::Configure, b"other.x"));
        assert!(topics.allows(b"events", Permission::Write, b"other.x"));
        assert_eq!(topics.iter().collect::<Vec<_>>(), [(&b"logs"[..], "^own\\.", "")]);
        assert!(topics.remove(b"logs") && !topics.remove(b"logs") && topics.is_empty());
        assert!(topics.allows(b"logs", Permission::Write, b"other.x"));
    }

    #[test]
    fn words_in_braces_are_filled_in() {
        let allowed = |pattern: &str, variables, key: &[u8]| {
            let mut topics = TopicPermissions::default();
            topics.set(b"logs", pattern, ".*", variables).unwrap();
            topics.allows(b"logs", Permission::Write, key)
        };
        let pattern = "^{vhost}\\.{username}\\.{client_id}$";
        assert!(allowed(pattern, VARIABLES, b"shop.ann.{client_id}"));
        let with_client = TopicVariables { client_id: Some("c7"), ..VARIABLES };
        assert!(allowed(pattern, with_client, b"shop.ann.c7"));
        assert!(!allowed(pattern, with_client, b"shop.bob.c7"));
        let dotted = TopicVariables { user: "a.n", ..VARIABLES };
        assert!(allowed("^{username}$", dotted, b"a.n"));
        assert!(allowed("^{username}$", dotted, b"axn"), "a name is a part of the pattern");
        let broken = TopicVariables { user: "a(n", ..VARIABLES };
        assert!(!allowed("^{username}$", broken, b"a(n"));
    }

    #[test]
    fn an_entry_that_is_no_pattern_changes_nothing() {
        let mut topics = TopicPermissions::default();
        topics.set(b"logs", "^a", "", VARIABLES).unwrap();
        let before = topics.clone();
        assert_eq!(topics.set(b"logs", ".*", "[", VARIABLES).unwrap_err().offset, 1);
        assert_eq!(topics, before);
    }

    #[test]
    fn a_password_is_not_shown() {
        let credentials = Credentials {
            mechanism: "PLAIN",
            user: User::new("ann").name,
            password: b"secret".to_vec(),
        };
        assert!(!format!("{credentials:?}").contains("secret"));
    }
}
