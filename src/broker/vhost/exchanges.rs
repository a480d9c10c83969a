//! The class `exchange`, and bindings of both kinds.
//!
//! spec: the class `exchange`. rabbitmq: bind and unbind are RabbitMQ's extension.

use leveret_codec::method::exchange;
use leveret_codec::{ShortStr, ShortString, Table};

use super::Vhost;
use super::sessions::ChannelRef;
use crate::broker::access::Permission;
use crate::broker::arguments::ExchangeArguments;
use crate::broker::error::{Checked, Difference, Fault, Resource, ResourceKind};
use crate::broker::exchange::{Binding, Destination, Exchange, ExchangeType};
use crate::broker::ids::ExchangeId;
use crate::broker::message::sorted_entries;
use crate::broker::names;
use crate::broker::record::{BindingDefinition, BoundTo, ExchangeDefinition, Record};

impl Vhost {
    pub(super) fn exchange_declare(
        &mut self,
        via: ChannelRef,
        declare: &exchange::Declare<'_>,
    ) -> Checked<()> {
        let name = clean(declare.exchange);
        if declare.passive {
            not_the_default(&name)?;
            self.existing_exchange(&name)?;
        } else {
            self.declare_exchange(via, &name, declare)?;
        }
        if !declare.nowait {
            self.sessions.reply(via.connection, via.number, &exchange::DeclareOk {});
        }
        Ok(())
    }

    fn declare_exchange(
        &mut self,
        via: ChannelRef,
        name: &ShortString,
        declare: &exchange::Declare<'_>,
    ) -> Checked<()> {
        let kind = exchange_type(declare.kind)?;
        not_the_default(name)?;
        self.may_with_exchange(via, Permission::Configure, name.as_bytes())?;
        let arguments = declare.arguments.to_owned_table();
        if let Some(existing) = self.exchanges.find(name.as_bytes()) {
            return self.check_same_exchange(existing, kind, declare);
        }
        if names::is_reserved(name.as_bytes()) {
            return Err(Fault::ReservedName(ResourceKind::Exchange, name.clone()).into());
        }
        let arguments =
            ExchangeArguments::parse(&Resource::exchange(name, &self.name), &arguments)?;
        if let Some(alternate) = &arguments.alternate_exchange {
            self.may_with_exchange(via, Permission::Read, name.as_bytes())?;
            self.may_with_exchange(via, Permission::Write, alternate.as_bytes())?;
        }
        let (durable, auto_delete) = (declare.durable, declare.auto_delete);
        self.make_exchange(name, kind, durable, auto_delete, declare.internal, arguments)
    }

    /// Makes an exchange that is not there.
    pub(super) fn make_exchange(
        &mut self,
        name: &ShortString,
        kind: ExchangeType,
        durable: bool,
        auto_delete: bool,
        internal: bool,
        arguments: ExchangeArguments,
    ) -> Checked<()> {
        self.check_may_define(arguments.raw.as_table())?;
        let mut exchange =
            Exchange::new(name.clone(), kind, durable, auto_delete, internal, arguments)?;
        if exchange.durable {
            // why: the delayed_queue first. Torn in between, a delayed_queue without an exchange is deleted at the
            // next start; an exchange without a delayed_queue would lose what it holds.
            self.add_delayed_queue(&mut exchange);
            self.journal.record(Record::ExchangeDeclared(definition(&exchange)));
        }
        let id = self.exchanges.insert(exchange);
        self.apply_exchange_policy(id);
        Ok(())
    }

    fn check_same_exchange(
        &self,
        id: ExchangeId,
        kind: ExchangeType,
        declare: &exchange::Declare<'_>,
    ) -> Checked<()> {
        let Some(exchange) = self.exchanges.get(id) else { return Ok(()) };
        let of = Resource::exchange(&exchange.name, &self.name);
        let flags = [
            ("durable", declare.durable, exchange.durable),
            ("auto_delete", declare.auto_delete, exchange.auto_delete),
            ("internal", declare.internal, exchange.internal),
        ];
        if kind != exchange.kind {
            let difference = Difference::of_texts(kind.name(), exchange.kind.name());
            return Err(Fault::Inequivalent { field: "type", of, difference }.into());
        }
        check_same_flags(&of, &flags)?;
        exchange.arguments.check_equivalent(&of, &declare.arguments.to_owned_table())
    }

    pub(super) fn exchange_delete(
        &mut self,
        via: ChannelRef,
        delete: &exchange::Delete<'_>,
    ) -> Checked<()> {
        let name = clean(delete.exchange);
        not_the_default(&name)?;
        if names::is_reserved(name.as_bytes()) {
            return Err(Fault::SystemExchange(Resource::exchange(&name, &self.name)).into());
        }
        self.may_with_exchange(via, Permission::Configure, name.as_bytes())?;
        // rabbitmq: deleting what is not there is no fault.
        if let Some(id) = self.exchanges.find(name.as_bytes()) {
            let unused = self.exchanges.get(id).is_none_or(Exchange::is_unused);
            if delete.if_unused && !unused {
                return Err(Fault::InUse(Resource::exchange(&name, &self.name)).into());
            }
            self.delete_exchange(id);
        }
        if !delete.nowait {
            self.sessions.reply(via.connection, via.number, &exchange::DeleteOk {});
        }
        Ok(())
    }

    pub(super) fn exchange_bind(
        &mut self,
        via: ChannelRef,
        bind: &exchange::Bind<'_>,
    ) -> Checked<()> {
        let (source, destination) = (clean(bind.source), clean(bind.destination));
        self.may_with_exchange(via, Permission::Write, destination.as_bytes())?;
        not_the_default(&destination)?;
        not_the_default(&source)?;
        self.may_with_exchange(via, Permission::Read, source.as_bytes())?;
        let destination_name = destination;
        let source = self.existing_exchange(&source)?;
        self.may_with_topic(via, Permission::Read, source, bind.routing_key)?;
        let destination = self.existing_exchange(&destination_name)?;
        self.check_may_define(bind.arguments)?;
        self.bind(source, Destination::Exchange(destination), bind.routing_key, bind.arguments)?;
        if !bind.nowait {
            self.sessions.reply(via.connection, via.number, &exchange::BindOk {});
        }
        Ok(())
    }

    pub(super) fn exchange_unbind(
        &mut self,
        via: ChannelRef,
        unbind: &exchange::Unbind<'_>,
    ) -> Checked<()> {
        let (source, destination) = (clean(unbind.source), clean(unbind.destination));
        self.may_with_exchange(via, Permission::Write, destination.as_bytes())?;
        not_the_default(&destination)?;
        not_the_default(&source)?;
        self.may_with_exchange(via, Permission::Read, source.as_bytes())?;
        // rabbitmq: unbinding what is not there is no fault.
        let source = self.exchanges.find(source.as_bytes());
        if let Some(source) = source {
            self.may_with_topic(via, Permission::Read, source, unbind.routing_key)?;
        }
        let destination = self.exchanges.find(destination.as_bytes());
        if let (Some(source), Some(destination)) = (source, destination) {
            let destination = Destination::Exchange(destination);
            self.unbind(source, destination, unbind.routing_key, unbind.arguments);
        }
        if !unbind.nowait {
            self.sessions.reply(via.connection, via.number, &exchange::UnbindOk {});
        }
        Ok(())
    }

    /// Makes a binding, unless it is there already.
    pub(super) fn bind(
        &mut self,
        source: ExchangeId,
        destination: Destination,
        key: ShortStr<'_>,
        arguments: Table<'_>,
    ) -> Checked<()> {
        let binding =
            Binding { destination, key: key.into(), arguments: sorted_entries(arguments) };
        if !self.exchanges.bind(source, binding.clone())? {
            return Ok(());
        }
        if let Some(definition) = self.durable_binding(source, &binding) {
            self.journal.record(Record::Bound(definition));
        }
        let other_end = (source, binding.key, binding.arguments);
        match destination {
            Destination::Queue(queue) => {
                if let Some(queue) = self.queues.get_mut(queue) {
                    queue.bindings.insert(other_end);
                }
            }
            Destination::Exchange(exchange) => {
                if let Some(exchange) = self.exchanges.get_mut(exchange) {
                    exchange.incoming.insert(other_end);
                }
            }
        }
        Ok(())
    }

    /// Removes a binding, if it is there.
    pub(super) fn unbind(
        &mut self,
        source: ExchangeId,
        destination: Destination,
        key: ShortStr<'_>,
        arguments: Table<'_>,
    ) {
        let binding =
            Binding { destination, key: key.into(), arguments: sorted_entries(arguments) };
        if !self.exchanges.unbind(source, &binding) {
            return;
        }
        if let Some(definition) = self.durable_binding(source, &binding) {
            self.journal.record(Record::Unbound(definition));
        }
        self.forget_binding(source, &binding);
        self.auto_delete_exchange(source);
    }

    /// Takes a binding out of what its destination knows.
    pub(super) fn forget_binding(&mut self, source: ExchangeId, binding: &Binding) {
        let other_end = (source, binding.key.clone(), binding.arguments.clone());
        match binding.destination {
            Destination::Queue(queue) => {
                if let Some(queue) = self.queues.get_mut(queue) {
                    queue.bindings.remove(&other_end);
                }
            }
            Destination::Exchange(exchange) => {
                if let Some(exchange) = self.exchanges.get_mut(exchange) {
                    exchange.incoming.remove(&other_end);
                }
            }
        }
    }

    /// How a binding is recorded, if it is durable: when both its ends are.
    fn durable_binding(&self, source: ExchangeId, binding: &Binding) -> Option<BindingDefinition> {
        let source = self.exchanges.get(source).filter(|exchange| exchange.durable)?;
        let destination = match binding.destination {
            Destination::Queue(queue) => BoundTo::Queue(self.queues.get(queue)?.durable?),
            Destination::Exchange(exchange) => {
                let exchange = self.exchanges.get(exchange).filter(|it| it.durable)?;
                BoundTo::Exchange(exchange.name.clone())
            }
        };
        Some(BindingDefinition {
            source: source.name.clone(),
            destination,
            routing_key: binding.key.clone(),
            arguments: binding.arguments.clone(),
        })
    }

    pub(super) fn existing_exchange(&self, name: &ShortString) -> Checked<ExchangeId> {
        let missing = || Fault::NotFound(Resource::exchange(name, &self.name)).into();
        self.exchanges.find(name.as_bytes()).ok_or_else(missing)
    }
}

/// A name as it is taken from a declare, delete or bind.
///
/// rabbitmq: carriage returns and line feeds are stripped.
pub(super) fn clean(name: ShortStr<'_>) -> ShortString {
    ShortString::truncated(&names::strip_newlines(name.as_bytes()))
}

/// rabbitmq: the default exchange cannot be declared, bound or deleted.
pub(super) fn not_the_default(name: &ShortString) -> Checked<()> {
    if name.is_empty() {
        return Err(Fault::DefaultExchange.into());
    }
    Ok(())
}

/// Compares the flags of a second declaration, each received and current, and stops at the first that
/// differs.
pub(super) fn check_same_flags(of: &Resource, flags: &[(&'static str, bool, bool)]) -> Checked<()> {
    match flags.iter().find(|(_, received, current)| received != current) {
        None => Ok(()),
        Some(&(field, received, current)) => {
            let difference = Difference::of_flags(received, current);
            Err(Fault::Inequivalent { field, of: of.clone(), difference }.into())
        }
    }
}

/// rabbitmq: a type that is not there closes the connection (503).
pub(super) fn exchange_type(name: ShortStr<'_>) -> Checked<ExchangeType> {
    ExchangeType::from_name(name.as_bytes()).ok_or_else(|| {
        let fault = match name {
            ShortStr::EMPTY => Fault::NoExchangeType,
            _ => Fault::UnknownExchangeType(name.into()),
        };
        fault.into()
    })
}

fn definition(exchange: &Exchange) -> ExchangeDefinition {
    ExchangeDefinition {
        name: exchange.name.clone(),
        kind: ShortString::truncated(exchange.kind.name().as_bytes()),
        auto_delete: exchange.auto_delete,
        internal: exchange.internal,
        arguments: exchange.arguments.raw.clone(),
    }
}
