//! From a command to the rule that answers it.

use leveret_codec::Method;
use leveret_codec::method::{access, channel, confirm, connection};

use super::Vhost;
use super::release::AfterRelease;
use super::sessions::ChannelRef;
use crate::broker::channel::ChannelState;
use crate::broker::client::ClientState;
use crate::broker::command::{Command, Handled, Wait};
use crate::broker::confirm::Confirms;
use crate::broker::error::{AtFault, Checked, Fault};
use crate::broker::ids::ConnectionId;
use crate::broker::limits;
use crate::broker::time::Time;

/// Class and method of basic.publish.
const PUBLISH: (u16, u16) = (60, 40);

impl Vhost {
    /// A client asks for something. What has to wait is given back, to be given again.
    pub fn handle_command<'a>(
        &mut self,
        now: Time,
        id: ConnectionId,
        command: Command<'a>,
    ) -> Handled<'a> {
        self.now = now;
        let Some(client) = self.sessions.client(id) else { return Handled::Done };
        if client.state != ClientState::Open {
            self.handle_while_closing(id, &command);
            return Handled::Done;
        }
        let (tasks, match_steps) = (client.tasks, client.match_steps());
        if self.waits_for_alarm(id, &command) {
            return Handled::Waits { command, wait: Wait::Alarm };
        }
        // why: what its commands have led to comes first. Others do not wait for it.
        if tasks > 0 || self.work.dead_letters.len_of(id) > limits::DEAD_LETTERS_A_CLIENT {
            return Handled::Waits { command, wait: Wait::Work };
        }
        if self.work.is_exhausted() {
            return Handled::Waits { command, wait: Wait::Turn };
        }
        self.work.dead_letters.set_client(Some(id));
        if let Some(wait) = self.prepare(id, &command) {
            return Handled::Waits { command, wait };
        }
        let run = match &command {
            Command::Publish { channel, immediate, message, .. } => {
                self.batch.run.goes_on(id, *channel, *immediate, message)
            }
            _ => None,
        };
        match (command, run) {
            (Command::Publish { message, .. }, Some((via, queue))) => {
                self.publish_on(via, queue, message);
            }
            (command, _) => {
                self.batch.run.end();
                self.work.take(match_steps);
                self.handle_alone(id, command);
            }
        }
        self.process_dead_letters();
        Handled::Done
    }

    /// As if nothing were known from the command before.
    fn handle_alone(&mut self, id: ConnectionId, command: Command<'_>) {
        match command {
            Command::Publish { channel, mandatory, immediate, message } => {
                // rabbitmq: to publish is enough, whatever becomes of it.
                self.block(id);
                if let Some(via) = self.via(id, channel, PUBLISH) {
                    let result = self.publish(via, mandatory, immediate, message);
                    self.check(via, PUBLISH, result);
                }
            }
            Command::Method { channel: 0, method } => self.handle_connection_method(id, &method),
            Command::Method { channel, method } => self.handle_method(id, channel, &method),
            Command::Unacceptable { channel, at_fault } => {
                let ids = (at_fault.class_id, at_fault.method_id);
                if let Some(via) = self.via(id, channel, ids) {
                    self.check(via, ids, Err(at_fault.fault));
                }
            }
            Command::Fault { at_fault, input_ends } => {
                self.close_client(id, at_fault, input_ends);
            }
            Command::Abort => self.end_client(id),
        }
    }

    fn handle_connection_method(&mut self, id: ConnectionId, method: &Method<'_>) {
        match method {
            Method::ConnectionClose(_) => self.handle_close(id),
            // rabbitmq: users of its own may send any new secret.
            Method::ConnectionUpdateSecret(_) => {
                self.sessions.reply(id, 0, &connection::UpdateSecretOk {});
            }
            _ => {
                let ids = (method.class_id(), method.method_id());
                self.close_client(id, AtFault::new(Fault::NotOnConnection, ids), false);
            }
        }
    }

    fn handle_method(&mut self, id: ConnectionId, number: u16, method: &Method<'_>) {
        let ids = (method.class_id(), method.method_id());
        let known = self.sessions.client(id).and_then(|client| client.channels.get(&number));
        if let Method::ChannelOpen(_) = method {
            let result = match known {
                None => self.open_channel(id, number),
                Some(_) => Err(Fault::ChannelAlreadyOpen.into()),
            };
            if let Err(fault) = result {
                // rabbitmq: too many channels are noticed by the reader, which names no method.
                let ids = match *fault {
                    Fault::ChannelLimit { .. } | Fault::UserChannelLimit { .. } => (0, 0),
                    _ => ids,
                };
                self.close_client(id, AtFault::new(fault, ids), false);
            }
            return;
        }
        let Some(via) = self.via_any(id, number, ids) else { return };
        let closing = self
            .sessions
            .channel(via.channel)
            .is_some_and(|channel| channel.state == ChannelState::Closing);
        match method {
            Method::ChannelClose(_) if closing => {
                self.sessions.reply(id, number, &channel::CloseOk {});
            }
            Method::ChannelCloseOk(_) if closing => {
                self.release_channel(via, AfterRelease::ChannelEnd(via));
            }
            _ if closing => {}
            Method::ChannelClose(_) => {
                self.flush_confirms(via.channel);
                self.release_channel(via, AfterRelease::ChannelCloseOk(via));
            }
            _ => {
                let result = self.handle_channel_method(via, method);
                self.check(via, ids, result);
            }
        }
    }

    fn handle_channel_method(&mut self, via: ChannelRef, method: &Method<'_>) -> Checked<()> {
        // The two that matter for speed come first.
        match method {
            Method::BasicAck(ack) => return self.ack(via, ack.delivery_tag, ack.multiple),
            Method::BasicNack(nack) => {
                return self.nack(via, nack.delivery_tag, nack.multiple, nack.requeue);
            }
            _ => {}
        }
        self.check_not_committing(via)?;
        // why: what was published before a method is answered before it.
        if self.sessions.channel(via.channel).is_some_and(|channel| channel.confirms_listed) {
            self.flush_confirms(via.channel);
        }
        match method {
            Method::ExchangeDeclare(declare) => self.exchange_declare(via, declare),
            Method::ExchangeDelete(delete) => self.exchange_delete(via, delete),
            Method::ExchangeBind(bind) => self.exchange_bind(via, bind),
            Method::ExchangeUnbind(unbind) => self.exchange_unbind(via, unbind),
            Method::QueueDeclare(declare) => self.queue_declare(via, declare),
            Method::QueueDelete(delete) => self.queue_delete(via, delete),
            Method::QueuePurge(purge) => self.queue_purge(via, purge),
            Method::QueueBind(bind) => self.queue_bind(via, bind),
            Method::QueueUnbind(unbind) => self.queue_unbind(via, unbind),
            Method::BasicQos(qos) => self.qos(via, *qos),
            Method::BasicConsume(consume) => self.consume(via, consume),
            Method::BasicCancel(cancel) => self.cancel(via, cancel),
            Method::BasicGet(get) => self.get(via, get),
            Method::BasicReject(reject) => {
                self.nack(via, reject.delivery_tag, false, reject.requeue)
            }
            Method::BasicRecover(recover) => self.recover_unacked(via, recover.requeue, true),
            Method::BasicRecoverAsync(recover) => self.recover_unacked(via, recover.requeue, false),
            Method::ConfirmSelect(select) => self.confirm_select(via, *select),
            Method::ChannelFlow(flow) => self.channel_flow(via, *flow),
            Method::AccessRequest(_) => {
                self.sessions.reply(via.connection, via.number, &access::RequestOk { ticket: 1 });
                Ok(())
            }
            Method::TxSelect(_) => self.tx_select(via),
            Method::TxCommit(_) => self.tx_commit(via),
            Method::TxRollback(_) => self.tx_rollback(via),
            _ => Err(Fault::UnknownMethod.into()),
        }
    }

    /// The open channel of this number; a fault or silence takes care of the rest.
    fn via(&mut self, id: ConnectionId, number: u16, ids: (u16, u16)) -> Option<ChannelRef> {
        let via = self.via_any(id, number, ids)?;
        let channel = self.sessions.channel(via.channel)?;
        (channel.state == ChannelState::Open).then_some(via)
    }

    /// The channel of this number, open or closing.
    fn via_any(&mut self, id: ConnectionId, number: u16, ids: (u16, u16)) -> Option<ChannelRef> {
        let channel = self.sessions.client(id)?.channels.get(&number).copied();
        if channel.is_none() {
            self.close_client(id, AtFault::new(Fault::ChannelNotOpen, ids), false);
        }
        Some(ChannelRef { connection: id, channel: channel?, number })
    }

    /// Closes what a fault costs.
    fn check(&mut self, via: ChannelRef, ids: (u16, u16), result: Checked<()>) {
        match result {
            Ok(()) => {}
            Err(fault) if fault.is_hard() => {
                self.flush_confirms(via.channel);
                self.close_client(via.connection, AtFault::new(fault, ids), false);
            }
            Err(fault) => self.close_channel(via, AtFault::new(fault, ids)),
        }
    }

    fn confirm_select(&mut self, via: ChannelRef, select: confirm::Select) -> Checked<()> {
        if let Some(channel) = self.sessions.channel_mut(via.channel) {
            if channel.transaction.is_some() {
                return Err(Fault::TxToConfirm.into());
            }
            channel.confirms.get_or_insert_with(Confirms::default);
        }
        if !select.nowait {
            self.sessions.reply(via.connection, via.number, &confirm::SelectOk {});
        }
        Ok(())
    }

    fn channel_flow(&mut self, via: ChannelRef, flow: channel::Flow) -> Checked<()> {
        if !flow.active {
            return Err(Fault::StopFlow.into());
        }
        self.sessions.reply(via.connection, via.number, &channel::FlowOk { active: true });
        Ok(())
    }
}
