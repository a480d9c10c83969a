//! What users may do: permissions by name, and by routing key for one topic exchange.

use super::{ACCESS_REFUSED, At, Binding, Destination, Model, Publish, Request};
use super::{exchange_kind, kind};

/// Names that begin with one of these letters, from the first to the last.
type Letters = (char, char);

const ALL: Letters = ('a', 'z');
const NONE: Letters = ('~', '~');
/// How the default exchange is called here.
const DEFAULT_EXCHANGE: &str = "amq.default";
/// The topic exchange that there may be topic permissions for.
pub(crate) const GUARDED: &str = "by topic";

/// What a user may do.
#[derive(Debug)]
pub(crate) struct Rights {
    pub(crate) configure: Letters,
    pub(crate) write: Letters,
    pub(crate) read: Letters,
    /// What routing keys to [`GUARDED`] begin with, and those of its bindings.
    pub(crate) topics: Option<[&'static str; 2]>,
}

/// Everything.
pub(crate) static EVERYTHING: Rights =
    Rights { configure: ALL, write: ALL, read: ALL, topics: None };

/// What users may be given.
pub(crate) static RIGHTS: [Rights; 6] = [
    Rights { configure: ('a', 'o'), write: ALL, read: ('f', 'z'), topics: None },
    Rights { configure: ALL, write: ('b', 'z'), read: ALL, topics: None },
    Rights { configure: NONE, write: ALL, read: ALL, topics: Some(["red", ""]) },
    Rights { configure: ALL, write: ('a', 'o'), read: NONE, topics: None },
    Rights { configure: ALL, write: ALL, read: ('a', 'p'), topics: Some(["", "red"]) },
    Rights { configure: ALL, write: NONE, read: ALL, topics: None },
];

/// The users that there are.
pub(crate) const USERS: [&str; 2] = ["one", "other"];

/// Which of [`USERS`] a client is.
pub(crate) fn user_of(client: u64) -> usize {
    client as usize % USERS.len()
}

fn allowed(letters: Letters, name: &str) -> Result<(), u16> {
    let name = if name.is_empty() { DEFAULT_EXCHANGE } else { name };
    let is_in = name.starts_with(|first| (letters.0..=letters.1).contains(&first));
    if is_in { Ok(()) } else { Err(ACCESS_REFUSED) }
}

impl Model {
    fn rights_of(&self, at: At) -> &'static Rights {
        self.rights[user_of(at.0)].unwrap_or(&EVERYTHING)
    }

    /// Whether a client may ask for this at all.
    pub(super) fn check_rights(&self, at: At, request: &Request) -> Result<(), u16> {
        let Rights { configure, write, read, .. } = *self.rights_of(at);
        match request {
            Request::DeclareQueue(name) => {
                allowed(configure, name)?;
                let is_new = !self.queues.contains_key(name);
                if let Some(to) = kind(name).dead_letters.filter(|_| is_new) {
                    allowed(read, name)?;
                    allowed(write, to.exchange)?;
                }
            }
            Request::DeclareExchange(name) => {
                allowed(configure, name)?;
                let is_new = !self.exchanges.contains(name);
                if let Some(alternate) = exchange_kind(name).alternate.filter(|_| is_new) {
                    allowed(read, name)?;
                    allowed(write, alternate)?;
                }
            }
            Request::DeleteQueue(name) | Request::DeleteExchange(name) => allowed(configure, name)?,
            Request::Bind(it) | Request::Unbind(it) => {
                let (Destination::Queue(to) | Destination::Exchange(to)) = it.destination;
                allowed(write, to)?;
                allowed(read, it.source)?;
                // What is not there is found out first.
                if self.exchanges.contains(it.source) {
                    self.check_binding_key(at, it)?;
                }
            }
            Request::Purge(name) | Request::Get(name, _) => allowed(read, name)?,
            Request::Consume(it) => allowed(read, it.queue)?,
            Request::Publish(it) => allowed(write, &it.content.exchange)?,
            _ => {}
        }
        Ok(())
    }

    fn check_binding_key(&self, at: At, binding: &Binding) -> Result<(), u16> {
        let topics = self.rights_of(at).topics.filter(|_| binding.source == GUARDED);
        let is_refused = topics.is_some_and(|[_, read]| !binding.key.starts_with(read));
        if is_refused { Err(ACCESS_REFUSED) } else { Ok(()) }
    }

    /// Whether a client may publish with this key to an exchange that is there.
    pub(super) fn check_topic(&self, at: At, publish: &Publish) -> Result<(), u16> {
        let content = &publish.content;
        let topics = self.rights_of(at).topics.filter(|_| content.exchange == GUARDED);
        let is_refused = topics.is_some_and(|[write, _]| !content.key.starts_with(write));
        if is_refused { Err(ACCESS_REFUSED) } else { Ok(()) }
    }
}
