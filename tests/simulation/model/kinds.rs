//! The queues there may be: a name stands for all the rest.

/// A queue that may be declared.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) durable: bool,
    pub(crate) exclusive: bool,
    pub(crate) auto_delete: bool,
    pub(crate) ttl_ms: Option<u64>,
    pub(crate) max_length: Option<usize>,
    pub(crate) rejects: bool,
    pub(crate) dead_letters_to: Option<&'static str>,
    pub(crate) max_priority: Option<u8>,
    pub(crate) expires_ms: Option<u64>,
}

const PLAIN: Kind = Kind {
    name: "",
    durable: true,
    exclusive: false,
    auto_delete: false,
    ttl_ms: None,
    max_length: None,
    rejects: false,
    dead_letters_to: None,
    max_priority: None,
    expires_ms: None,
};

/// All queues there may be. What dies in one goes to a queue of its own, so that the order is known.
pub(crate) const KINDS: [Kind; 13] = [
    Kind { name: "orders", ..PLAIN },
    Kind { name: "offers", ..PLAIN },
    Kind { name: "news", durable: false, ..PLAIN },
    Kind { name: "short-lived", ttl_ms: Some(500), dead_letters_to: Some("died old"), ..PLAIN },
    Kind { name: "died old", ..PLAIN },
    Kind { name: "short", max_length: Some(3), dead_letters_to: Some("pushed out"), ..PLAIN },
    Kind { name: "pushed out", ..PLAIN },
    Kind { name: "clipped", max_length: Some(2), ..PLAIN },
    Kind { name: "full", max_length: Some(3), rejects: true, ..PLAIN },
    Kind { name: "ranked", max_priority: Some(3), ..PLAIN },
    Kind { name: "own", durable: false, exclusive: true, ..PLAIN },
    Kind { name: "passing", auto_delete: true, ..PLAIN },
    Kind { name: "fading", expires_ms: Some(3000), ..PLAIN },
];

pub(crate) fn kind(name: &str) -> &'static Kind {
    KINDS.iter().find(|kind| kind.name == name).expect("a queue of ours")
}

/// Whether what dies in another queue comes to this one.
pub(crate) fn takes_dead_letters(name: &str) -> bool {
    KINDS.iter().any(|kind| kind.dead_letters_to == Some(name))
}
