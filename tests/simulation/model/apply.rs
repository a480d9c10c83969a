//! What a client asks for, done to the model.

use super::{At, Channel, Client, Model, Notice, Op, Outcome, PRECONDITION_FAILED, Reply, Request};

impl Model {
    /// Does what a client does. Gives back what it is answered.
    pub(crate) fn apply(&mut self, op: &Op) -> Vec<(At, Reply)> {
        self.leaving.clear();
        match op {
            Op::Connect(client) => {
                self.clients.insert(*client, Client::default());
                vec![((*client, 0), Reply::Done)]
            }
            Op::Disconnect(client) => {
                self.close_client(*client);
                Vec::new()
            }
            Op::CloseConnection(client) => {
                self.close_client(*client);
                vec![((*client, 0), Reply::Done)]
            }
            Op::On(at, request) if self.hold_for_alarm(*at, request) => Vec::new(),
            Op::On(at, request) => match self.request(*at, request) {
                Ok(reply) => reply.map(|reply| (*at, reply)).into_iter().collect(),
                Err(code) => {
                    self.close_channel(*at);
                    vec![(*at, Reply::ChannelClosed(code))]
                }
            },
            Op::StoreFailed => self.fail_commits(),
            Op::SetRights(user, rights) => {
                self.rights[*user] = Some(rights);
                Vec::new()
            }
            Op::SetAlarm(is_raised) => {
                self.set_alarm(*is_raised);
                Vec::new()
            }
            Op::SetPolicy(policy, is_set) => {
                self.set_policy(policy, *is_set);
                Vec::new()
            }
            other => unreachable!("{other:?} is no client's"),
        }
    }

    /// Takes what clients are to be told unasked.
    pub(crate) fn take_notices(&mut self) -> Vec<(At, Notice)> {
        std::mem::take(&mut self.notices)
    }

    /// Does what is asked for on a channel, or says with which code it costs the channel.
    fn request(&mut self, at: At, request: &Request) -> Result<Option<Reply>, u16> {
        self.check_rights(at, request)?;
        match request {
            Request::Open => {
                self.channels.insert(at, Channel::default());
            }
            Request::Close => self.close_channel(at),
            Request::DeclareQueue(name) => {
                self.declare_queue(at.0, name);
                let ready = self.queues[name].ready.len();
                return Ok(Some(Reply::Declared { ready, consumers: self.consumer_count(name) }));
            }
            Request::DeleteQueue(name) => {
                return Ok(Some(Reply::Deleted(self.delete_queue(name))));
            }
            Request::Purge(name) => return Ok(Some(Reply::Purged(self.purge(name)))),
            Request::DeclareExchange(name) => {
                self.declare_exchange(name);
            }
            Request::DeleteExchange(name) => self.delete_exchange(name),
            Request::Bind(binding) => self.bind(*binding)?,
            Request::Unbind(binding) => self.remove_bindings(|it| it == binding),
            Request::SelectConfirms if self.channel(at).transaction.is_some() => {
                return Err(PRECONDITION_FAILED);
            }
            Request::SelectConfirms => self.channel(at).confirming = true,
            Request::SelectTransactions => self.select_transactions(at)?,
            Request::Commit => {
                self.commit(at)?;
                return Ok(None);
            }
            Request::Rollback => self.rollback(at)?,
            Request::Publish(publish) => {
                self.publish(at, publish)?;
                return Ok(None);
            }
            Request::Consume(it) => self.consume(at, it)?,
            Request::ConsumeReplies(tag) => self.consume_replies(at, tag)?,
            Request::DeclareReplies(address) => return self.declare_reply_queue(address),
            Request::Cancel(tag) if self.cancel_replies(at, tag) => {}
            Request::Cancel(tag) => self.cancel(at, tag),
            Request::Qos(count, global) => self.qos(at, *count, *global),
            Request::Get(name, no_ack) => return self.get(at, name, *no_ack).map(Some),
            Request::Settle(it) => {
                self.check_tag(at, it)?;
                if self.channel(at).transaction.is_some() {
                    self.hold_settlement(at, it);
                } else {
                    let deliveries = self.take_covered(at, it);
                    self.settle(at, deliveries, it.outcome);
                }
                return Ok(None);
            }
            Request::Recover => {
                let unacked = self.take_unacked(at);
                self.settle(at, unacked, Outcome::Requeued);
            }
        }
        Ok(Some(Reply::Done))
    }
}
