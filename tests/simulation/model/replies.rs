//! Direct reply-to: answers go straight from a publish to the channel of who asked.

use std::rc::Rc;

use super::{At, Channel, Content, Model, NOT_FOUND, PRECONDITION_FAILED, Publish, Reply, Seen};

/// What clients consume from, and what they publish as reply-to.
pub(crate) const REPLY_TO: &str = "amq.rabbitmq.reply-to";

/// A channel's subscription to answers.
pub(crate) struct ReplyConsumer {
    tag: String,
    /// Stands for its address, which the broker makes up.
    number: u64,
}

/// Whether a consumer tag is one of answers.
fn is_of_replies(tag: &str) -> bool {
    tag.starts_with('r')
}

impl Channel {
    /// The tag of its subscription to answers.
    pub(crate) fn reply_tag(&self) -> Option<&String> {
        self.replies.as_ref().map(|it| &it.tag)
    }
}

impl Model {
    pub(super) fn consume_replies(&mut self, at: At, tag: &str) -> Result<(), u16> {
        self.next_instance += 1;
        let number = self.next_instance;
        let channel = self.channel(at);
        if channel.replies.is_some() {
            return Err(PRECONDITION_FAILED);
        }
        channel.replies = Some(ReplyConsumer { tag: tag.to_owned(), number });
        Ok(())
    }

    /// Ends the subscription to answers, if this is its tag. Says whether it was.
    pub(super) fn cancel_replies(&mut self, at: At, tag: &str) -> bool {
        self.channel(at).replies.take_if(|it| it.tag == tag).is_some()
    }

    /// What is published with the address of the channel, if it asks for answers.
    pub(super) fn with_reply_address(&mut self, at: At, it: &Publish) -> Result<Publish, u16> {
        let mut publish = it.clone();
        if it.content.reply_to.is_some() {
            let consumer = self.channel(at).replies.as_ref().ok_or(PRECONDITION_FAILED)?;
            let reply_to = Some(consumer.number.to_string());
            publish.content = Rc::new(Content { reply_to, ..(*it.content).clone() });
        }
        Ok(publish)
    }

    /// The channel that gets what is published to an address, and its tag.
    pub(crate) fn asker(&self, address: &str) -> Option<(At, &str)> {
        let number = self.addresses.get(address)?;
        self.channels.iter().find_map(|(at, channel)| {
            let consumer = channel.replies.as_ref().filter(|it| it.number.to_string() == *number);
            consumer.map(|it| (*at, it.tag.as_str()))
        })
    }

    /// Checks that an answer arrives, if who asked is still there.
    pub(super) fn deliver_reply(&mut self, content: &Content) {
        if !content.exchange.is_empty() {
            return;
        }
        let asker = self.asker(&content.key).map(|(at, tag)| (at, tag.to_owned()));
        let Some((at, tag)) = asker else { return };
        let body = &content.body;
        let seen = self.seen_replies.pop_front().unwrap_or_else(|| panic!("no answer {body}"));
        let next_tag = self.channels[&at].last_tag + 1;
        let consumer = Some(tag);
        assert_eq!((seen.at, &seen.consumer), (at, &consumer), "who gets {body}");
        assert_eq!((seen.delivery_tag, seen.redelivered), (next_tag, false), "{body}");
        assert_eq!(seen.content, *content, "an answer");
    }

    /// A declare of an address, which says whether who asked is still there.
    pub(super) fn declare_reply_queue(&self, address: &str) -> Result<Option<Reply>, u16> {
        let is_there = self.asker(address).is_some();
        is_there.then_some(Some(Reply::Declared { ready: 0, consumers: 1 })).ok_or(NOT_FOUND)
    }

    /// Sorts out answers among what was delivered.
    pub(super) fn take_reply(&mut self, seen: Seen) -> Option<Seen> {
        if seen.consumer.as_ref().is_some_and(|tag| is_of_replies(tag)) {
            self.seen_replies.push_back(seen);
            return None;
        }
        Some(seen)
    }

    /// A message as the model knows it: with what stands for the address of who asked.
    pub(super) fn with_known_address(&mut self, seen: &Content, known: &Content) -> Content {
        let mut content = seen.clone();
        if let (Some(address), Some(number)) = (&seen.reply_to, &known.reply_to) {
            let is_new = !self.addresses.contains_key(address);
            let is_taken = self.addresses.values().any(|it| it == number);
            assert!(!(is_new && is_taken), "{address} is the second address of one consumer");
            let number = self.addresses.entry(address.clone()).or_insert_with(|| number.clone());
            content.reply_to = Some(number.clone());
        }
        content
    }
}
