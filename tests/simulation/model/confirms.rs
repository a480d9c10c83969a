//! Publishes in confirm mode.

use super::{
    ACCESS_REFUSED, At, Confirm, Content, Model, NOT_FOUND, Notice, Publish, Routed, Transaction,
    exchange_kind,
};

/// A publish on a channel in confirm mode.
pub(super) struct Published {
    pub(super) accepted: bool,
    pub(super) body: String,
    pub(super) kept_in: Vec<KeptIn>,
}

/// A queue, or an exchange that delays it, that must keep a message, and which of its name.
pub(super) type KeptIn = (&'static str, u64);

impl Model {
    pub(super) fn publish(&mut self, at: At, publish: &Publish) -> Result<(), u16> {
        self.check_exchange(&publish.content.exchange)?;
        self.check_topic(at, publish)?;
        let publish = &self.with_reply_address(at, publish)?;
        let content = &publish.content;
        self.deliver_reply(content);
        if self.channel(at).transaction.is_some() {
            self.hold_publish(at, publish);
            return Ok(());
        }
        let routed = self.route(content);
        let (accepted, kept_in) = self.put(at, publish, &routed);
        let channel = self.channel(at);
        if channel.confirming {
            let body = content.body.clone();
            channel.published.push(Published { accepted, body, kept_in });
        }
        Ok(())
    }

    /// A message enters the queues it was routed to, or comes back. Says whether all of them took it,
    /// and which must keep it.
    pub(super) fn put(
        &mut self,
        at: At,
        publish: &Publish,
        routed: &Routed,
    ) -> (bool, Vec<KeptIn>) {
        let content = &publish.content;
        if routed.queues.is_empty() && publish.mandatory {
            self.notices.push((at, Notice::Returned(content.body.clone())));
        }
        let queues: Vec<_> =
            routed.queues.iter().copied().filter(|name| !self.refuses(name)).collect();
        let mut kept_in = self.keeping(&queues, content);
        for exchange in &routed.delayed_by {
            kept_in.extend(self.delay(*exchange, content));
        }
        self.enqueue(&queues, content);
        (queues.len() == routed.queues.len(), kept_in)
    }

    /// Whether clients may publish to an exchange.
    fn check_exchange(&self, name: &str) -> Result<(), u16> {
        match name {
            "" => Ok(()),
            name if !self.exchanges.contains(name) => Err(NOT_FOUND),
            name if exchange_kind(name).internal => Err(ACCESS_REFUSED),
            _ => Ok(()),
        }
    }

    /// Those of some queues that keep a message over a restart.
    fn keeping(&self, names: &[&'static str], content: &Content) -> Vec<KeptIn> {
        let queues = names.iter().map(|name| &self.queues[name]);
        let keeping = queues.filter(|queue| queue.kind.keeps(content));
        keeping.map(|queue| (queue.kind.name, queue.instance)).collect()
    }

    /// Checks a confirm.
    pub(crate) fn check_confirm(
        &mut self,
        at: At,
        confirm: Confirm,
        is_written: impl Fn(&str) -> bool,
        disk_works: bool,
    ) {
        let Confirm { last, multiple, accepted } = confirm;
        let channel = self.channels.get_mut(&at).or_else(|| self.leaving.get_mut(&at));
        let channel = channel.expect("confirms go to open channels");
        let (first, last) = (channel.answered, last as usize);
        assert!(first < last && last <= channel.published.len(), "confirms come in order");
        assert!(multiple || last == first + 1, "one confirm for one publish");
        channel.answered = last;
        let answered = self.channels.get(&at).unwrap_or_else(|| &self.leaving[&at]);
        for publish in &answered.published[first..last] {
            if accepted || disk_works {
                assert_eq!(publish.accepted, accepted, "confirm of {}", publish.body);
            }
            let Published { body, kept_in, .. } = publish;
            let safe = !accepted || is_written(body) || !self.holds_any(body, kept_in);
            assert!(safe, "{} was confirmed before it was written", publish.body);
        }
    }

    /// Whether a message is still in one of these queues.
    pub(super) fn holds_any(&self, body: &str, kept_in: &[KeptIn]) -> bool {
        kept_in.iter().any(|(name, instance)| self.holds(name, *instance, body))
    }

    fn holds(&self, name: &str, instance: u64, body: &str) -> bool {
        let delayed = self.delayed.get(name).filter(|it| it.instance == instance);
        if let Some(delayed) = delayed {
            return delayed.held.iter().any(|it| it.body() == body);
        }
        let queue = self.queues.get(name).filter(|it| it.instance == instance);
        let Some(queue) = queue else { return false };
        let mut all = queue.ready.iter().chain(self.unacked_of(name, instance));
        all.any(|copy| copy.body() == body)
    }

    /// Everything published is answered.
    pub(crate) fn check_answered(&self) {
        for (at, channel) in &self.channels {
            assert_eq!(channel.answered, channel.published.len(), "confirms of {at:?}");
            let transaction = channel.transaction.as_ref();
            assert!(!transaction.is_some_and(Transaction::is_committing), "a commit of {at:?}");
        }
    }
}
