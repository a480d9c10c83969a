//! Exchanges, queues and bindings that come from definitions: nobody in particular declares them.
//!
//! rabbitmq: what is there already is left as it is, whatever the definitions say of it.

use leveret_codec::{ShortStr, ShortString, TableBuf};

use super::Vhost;
use super::exchanges::exchange_type;
use crate::broker::arguments::{ExchangeArguments, QueueArguments};
use crate::broker::error::{Checked, Fault, Resource};
use crate::broker::exchange::Destination;
use crate::broker::time::Time;

/// Something to be there.
#[derive(Clone, Debug)]
pub enum Definition {
    /// An exchange.
    Exchange {
        /// Its name.
        name: ShortString,
        /// Its type, as clients write it.
        kind: ShortString,
        /// Whether it survives a restart.
        durable: bool,
        /// Whether it goes with its last binding.
        auto_delete: bool,
        /// Whether clients may not publish to it.
        internal: bool,
        /// Its arguments.
        arguments: TableBuf,
    },
    /// A queue.
    Queue {
        /// Its name.
        name: ShortString,
        /// Whether it survives a restart.
        durable: bool,
        /// Whether it goes with its last consumer.
        auto_delete: bool,
        /// Its arguments.
        arguments: TableBuf,
    },
    /// A binding.
    Binding {
        /// The exchange it leads from.
        source: ShortString,
        /// What it leads to.
        destination: ShortString,
        /// Whether that is a queue; an exchange otherwise.
        to_queue: bool,
        /// The routing key, or pattern.
        routing_key: ShortString,
        /// Its arguments.
        arguments: TableBuf,
    },
}

impl Vhost {
    /// Something that definitions name is to be there.
    ///
    /// # Errors
    /// What a client would be told that declares the same.
    pub fn handle_definition(&mut self, now: Time, definition: &Definition) -> Checked<()> {
        self.now = now;
        match definition {
            Definition::Exchange { name, kind, durable, auto_delete, internal, arguments } => {
                if name.is_empty() || self.exchanges.find(name.as_bytes()).is_some() {
                    return Ok(());
                }
                let kind = exchange_type(kind.as_short())?;
                let arguments =
                    ExchangeArguments::parse(&Resource::exchange(name, &self.name), arguments)?;
                self.make_exchange(name, kind, *durable, *auto_delete, *internal, arguments)
            }
            Definition::Queue { name, durable, auto_delete, arguments } => {
                if self.queues.find(name.as_bytes()).is_some() {
                    return Ok(());
                }
                if name.is_empty() {
                    return Err(Fault::UnnamedDefinition.into());
                }
                self.check_queue_limit(name)?;
                let of = Resource::queue(name, &self.name);
                let arguments = QueueArguments::parse(&of, arguments)?;
                arguments.check_new(&of)?;
                self.make_queue(name.clone(), *durable, None, *auto_delete, arguments)?;
                Ok(())
            }
            Definition::Binding { source, destination, to_queue, routing_key, arguments } => self
                .define_binding(source, destination, *to_queue, routing_key.as_short(), arguments),
        }
    }

    fn define_binding(
        &mut self,
        source: &ShortString,
        destination: &ShortString,
        to_queue: bool,
        routing_key: ShortStr<'_>,
        arguments: &TableBuf,
    ) -> Checked<()> {
        // rabbitmq: bindings of the default exchange are there by themselves.
        if source.is_empty() {
            return Ok(());
        }
        let source = self.existing_exchange(source)?;
        let destination = if to_queue {
            Destination::Queue(self.existing_queue(destination)?)
        } else {
            Destination::Exchange(self.existing_exchange(destination)?)
        };
        self.check_may_define(arguments.as_table())?;
        self.bind(source, destination, routing_key, arguments.as_table())
    }
}
