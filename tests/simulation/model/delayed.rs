//! Exchanges of the type x-delayed-message: what they hold back, and when it goes on.

use std::rc::Rc;

use super::confirms::KeptIn;
use super::{Content, Copy, Field, Model, exchange_kind, kind};

/// What an exchange holds back, as copies that expire when they are due.
pub(crate) struct Delayed {
    /// Another one each time the exchange is declared.
    pub(super) instance: u64,
    /// In the order they are due.
    pub(super) held: Vec<Copy>,
    next_sequence: u64,
}

impl Delayed {
    pub(super) fn new(instance: u64, held: Vec<Copy>) -> Self {
        let next_sequence = held.iter().map(|it| it.sequence + 1).max().unwrap_or(1);
        let mut delayed = Delayed { instance, held, next_sequence };
        delayed.sort();
        delayed
    }

    fn sort(&mut self) {
        self.held.sort_by_key(|it| (it.expires_at, it.sequence));
    }

    /// What a restart leaves of it.
    pub(super) fn kept(&self) -> Vec<Copy> {
        self.held.iter().filter(|it| it.content.persistent).cloned().collect()
    }
}

impl Content {
    /// How long an exchange holds it back; none if it does not.
    pub(super) fn delay_ms(&self) -> Option<u64> {
        let delay = self.headers.iter().find(|(name, _)| name == "x-delay");
        match delay {
            Some((_, Field::Number(delay_ms))) if *delay_ms > 0 => Some(delay_ms.unsigned_abs()),
            _ => None,
        }
    }

    /// As it goes on: passing it on does not hold it back again.
    fn after_delay(&self) -> Content {
        let mut content = self.clone();
        for (name, field) in &mut content.headers {
            if let Field::Number(delay_ms) = field
                && name == "x-delay"
            {
                *delay_ms = -*delay_ms;
            }
        }
        content
    }
}

impl Model {
    pub(super) fn declare_exchange(&mut self, name: &'static str) {
        let is_new = self.exchanges.insert(name);
        if is_new && exchange_kind(name).delayed_type.is_some() {
            self.next_instance += 1;
            self.delayed.insert(name, Delayed::new(self.next_instance, Vec::new()));
        }
    }

    /// An exchange holds a message back. Says where it must be kept.
    pub(super) fn delay(&mut self, exchange: KeptIn, content: &Content) -> Option<KeptIn> {
        let (name, instance) = exchange;
        let now = self.now;
        let delayed = self.delayed.get_mut(name).filter(|it| it.instance == instance)?;
        let due = now + content.delay_ms()?;
        let copy = Copy {
            sequence: delayed.next_sequence,
            content: Rc::new(content.after_delay()),
            priority: 0,
            expires_at: Some(due),
            returns: 0,
            returns_kept: 0,
            turn: (delayed.next_sequence, u64::MAX),
            delivered: false,
            delivered_told: false,
        };
        delayed.next_sequence += 1;
        self.entered.entry(name).or_default().push(copy.clone());
        delayed.held.push(copy);
        delayed.sort();
        (exchange_kind(name).durable && content.persistent).then_some(exchange)
    }

    /// Whether a message that is held back is due at this time.
    pub(crate) fn is_anything_due_at(&self, time: u64) -> bool {
        let mut held = self.delayed.values().flat_map(|delayed| &delayed.held);
        held.any(|copy| copy.expires_at == Some(time))
    }

    /// Lets go on what is due.
    pub(super) fn release_due(&mut self) {
        let names: Vec<_> = self.delayed.keys().copied().collect();
        for name in names {
            while let Some(content) = self.take_due(name) {
                let routed = self.route_from(name, &content).queues;
                // A quorum queue takes what the broker sends it, however full it is.
                let takes = |it: &&'static str| kind(it).quorum || !self.refuses(it);
                let queues: Vec<_> = routed.into_iter().filter(takes).collect();
                self.enqueue(&queues, &content);
            }
        }
    }

    fn take_due(&mut self, name: &str) -> Option<Rc<Content>> {
        let now = self.now;
        // A queue that is gone may have taken the exchange with it.
        let delayed = self.delayed.get_mut(name)?;
        let is_due = delayed.held.first()?.expires_at.is_some_and(|due| due <= now);
        is_due.then(|| delayed.held.remove(0).content)
    }
}
