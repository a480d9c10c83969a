//! The queues there may be: a name stands for all the rest.

use super::policies::policies_dead_letter;
use super::{Content, DEAD_LETTERS};

/// A queue that may be declared.
#[derive(Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) durable: bool,
    pub(crate) exclusive: bool,
    pub(crate) auto_delete: bool,
    pub(crate) ttl_ms: Option<u64>,
    pub(crate) max_length: Option<usize>,
    pub(crate) rejects: bool,
    pub(crate) dead_letters: Option<DeadLetters>,
    pub(crate) max_priority: Option<u8>,
    pub(crate) expires_ms: Option<u64>,
    pub(crate) single_active: bool,
    pub(crate) quorum: bool,
    pub(crate) delivery_limit: Option<u32>,
}

/// Where a queue dead-letters to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeadLetters {
    pub(crate) exchange: &'static str,
    /// The routing key; that of the message otherwise.
    pub(crate) key: Option<&'static str>,
}

/// By the default exchange.
pub(super) const fn to(queue: &'static str) -> Option<DeadLetters> {
    Some(DeadLetters { exchange: "", key: Some(queue) })
}

const PLAIN: Kind = Kind {
    name: "",
    durable: true,
    exclusive: false,
    auto_delete: false,
    ttl_ms: None,
    max_length: None,
    rejects: false,
    dead_letters: None,
    max_priority: None,
    expires_ms: None,
    single_active: false,
    quorum: false,
    delivery_limit: None,
};

/// What [`DEAD_LETTERS`] leads to.
pub(crate) const REFUSED: &str = "refused";

/// All queues there may be. What dies in one goes to a queue of its own, so that the order is known.
pub(crate) const KINDS: [Kind; 24] = [
    Kind { name: "orders", ..PLAIN },
    Kind { name: "offers", ..PLAIN },
    Kind { name: "news", durable: false, ..PLAIN },
    Kind { name: "short-lived", ttl_ms: Some(500), dead_letters: to("died old"), ..PLAIN },
    Kind { name: "died old", ..PLAIN },
    Kind { name: "short", max_length: Some(3), dead_letters: to("pushed out"), ..PLAIN },
    Kind { name: "pushed out", ..PLAIN },
    Kind {
        name: "refusing",
        dead_letters: Some(DeadLetters { exchange: DEAD_LETTERS, key: None }),
        ..PLAIN
    },
    Kind { name: REFUSED, ..PLAIN },
    Kind { name: "clipped", max_length: Some(2), ..PLAIN },
    Kind { name: "full", max_length: Some(3), rejects: true, ..PLAIN },
    Kind { name: "ranked", max_priority: Some(3), ..PLAIN },
    Kind { name: "one by one", single_active: true, ..PLAIN },
    Kind { name: "one at once", durable: false, single_active: true, max_length: Some(4), ..PLAIN },
    Kind { name: "votes", quorum: true, ..PLAIN },
    Kind {
        name: "few votes",
        quorum: true,
        delivery_limit: Some(2),
        dead_letters: to("voted out"),
        ..PLAIN
    },
    Kind { name: "voted out", ..PLAIN },
    Kind { name: "one vote", quorum: true, single_active: true, ..PLAIN },
    Kind { name: "tried twice", delivery_limit: Some(1), ..PLAIN },
    Kind { name: "ruled", ..PLAIN },
    Kind { name: "overruled", ..PLAIN },
    Kind { name: "own", durable: false, exclusive: true, ..PLAIN },
    Kind { name: "passing", auto_delete: true, ..PLAIN },
    Kind { name: "fading", expires_ms: Some(3000), ..PLAIN },
];

pub(crate) fn kind(name: &str) -> &'static Kind {
    KINDS.iter().find(|kind| kind.name == name).expect("a queue of ours")
}

impl Kind {
    /// Whether it keeps a message over a restart.
    pub(super) fn keeps(&self, content: &Content) -> bool {
        self.durable && (self.quorum || content.persistent)
    }

    /// rabbitmq: a quorum queue with a single active consumer is for that one alone.
    pub(crate) fn allows_get(&self) -> bool {
        !(self.quorum && self.single_active)
    }
}

/// Where what dies in a queue goes to, or may go to by a policy.
pub(crate) fn dead_letters_of(name: &str) -> Option<&'static str> {
    let declared = kind(name).dead_letters.as_ref().map(|to| to.key.unwrap_or(REFUSED));
    declared.or_else(|| policies_dead_letter(name))
}

/// Whether what dies in another queue comes to this one.
pub(crate) fn takes_dead_letters(name: &str) -> bool {
    KINDS.iter().any(|kind| dead_letters_of(kind.name) == Some(name))
}
