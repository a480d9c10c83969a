//! What came out of one input, taken apart.

use std::collections::BTreeMap;

use leveret::broker::command::Outgoing;
use leveret::broker::limits;
use leveret::broker::message::Message;
use leveret_codec::{Decoder, Method};

use super::super::model::{At, Client, Confirm, Content, Notice, Reply, Seen};
use super::super::replay::Output;

/// Everything that clients got, each kind in its order.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    pub(crate) deliveries: Vec<Seen>,
    pub(crate) replies: Vec<(At, Reply)>,
    pub(crate) notices: Vec<(At, Notice)>,
    pub(crate) confirms: Vec<(At, Confirm)>,
    /// Answers to commits.
    pub(crate) commits: Vec<At>,
}

impl Observed {
    /// Takes outputs apart; what lies in the outboxes of clients grows by them.
    pub(crate) fn new(outputs: Vec<Output>, clients: &mut BTreeMap<u64, Client>) -> Self {
        let mut observed = Observed::default();
        for (client, outgoing) in outputs {
            for item in outgoing {
                let mut outbox = 0;
                if let Some(state) = clients.get_mut(&client) {
                    outbox = state.outbox;
                    state.outbox += item.size();
                }
                observed.note(client, item, outbox);
            }
        }
        observed
    }

    fn note(&mut self, client: u64, item: Outgoing, outbox: usize) {
        match item {
            Outgoing::Frames(frames) => self.note_frames(client, &frames),
            Outgoing::Deliver(it) => {
                let consumer = Some(it.consumer_tag.to_string());
                let at = (client, it.channel);
                self.note_delivery(
                    at,
                    consumer,
                    it.delivery_tag,
                    it.redelivered,
                    outbox,
                    &it.message,
                );
            }
            Outgoing::GetOk { channel, delivery_tag, redelivered, message_count, message } => {
                let at = (client, channel);
                self.replies.push((at, Reply::Got(message_count as usize)));
                self.note_delivery(at, None, delivery_tag, redelivered, outbox, &message);
            }
            Outgoing::Return { channel, message } => {
                let body = Content::of(&message).body;
                self.notices.push(((client, channel), Notice::Returned(body)));
            }
            Outgoing::Close { .. } => {
                let mut frames = Vec::new();
                item.encode(&mut frames, limits::FRAME_MAX);
                self.note_frames(client, &frames);
            }
            Outgoing::End => panic!("nobody is cut off"),
        }
    }

    fn note_delivery(
        &mut self,
        at: At,
        consumer: Option<String>,
        delivery_tag: u64,
        redelivered: bool,
        outbox: usize,
        message: &Message,
    ) {
        let (content, delivery_count) = (Content::of(message), Content::delivery_count(message));
        let seen =
            Seen { at, consumer, delivery_tag, redelivered, content, delivery_count, outbox };
        self.deliveries.push(seen);
    }

    fn note_frames(&mut self, client: u64, frames: &[u8]) {
        let decoder = Decoder::new(4096);
        let mut rest = frames;
        while let Some((frame, length)) = decoder.decode(rest).expect("frames come out") {
            rest = &rest[length..];
            let method = Method::decode(frame.payload).expect("methods come out");
            self.note_method((client, frame.channel), &method);
        }
    }

    fn note_method(&mut self, at: At, method: &Method<'_>) {
        let reply = match method {
            Method::BasicAck(it) => {
                let (last, multiple) = (it.delivery_tag, it.multiple);
                self.confirms.push((at, Confirm { last, multiple, accepted: true }));
                return;
            }
            Method::BasicNack(it) => {
                let (last, multiple) = (it.delivery_tag, it.multiple);
                self.confirms.push((at, Confirm { last, multiple, accepted: false }));
                return;
            }
            Method::TxCommitOk(_) => {
                self.commits.push(at);
                return;
            }
            Method::BasicCancel(it) => {
                self.notices.push((at, Notice::Cancelled(it.consumer_tag.to_string())));
                return;
            }
            Method::QueueDeclareOk(it) => Reply::Declared {
                ready: it.message_count as usize,
                consumers: it.consumer_count as usize,
            },
            Method::QueuePurgeOk(it) => Reply::Purged(it.message_count as usize),
            Method::QueueDeleteOk(it) => Reply::Deleted(it.message_count as usize),
            Method::BasicGetEmpty(_) => Reply::Empty,
            Method::ConnectionBlocked(_) => {
                self.notices.push((at, Notice::Blocked));
                return;
            }
            Method::ConnectionUnblocked(_) => {
                self.notices.push((at, Notice::Unblocked));
                return;
            }
            Method::ChannelClose(it) => Reply::ChannelClosed(it.reply_code),
            Method::ConnectionClose(it) => panic!("connection closed: {}", it.reply_text),
            _ => Reply::Done,
        };
        self.replies.push((at, reply));
    }
}
