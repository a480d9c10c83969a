//! Queues, exchanges and bindings of a run: made before it, removed after it.

use leveret_codec::method::{exchange, queue};
use leveret_codec::table::{TableBuf, TableBuilder};
use leveret_codec::{Method, ShortStr, Value};

use super::connection::{CHANNEL, Connection, SECOND_NS};
use super::error::PerfError;
use super::options::{Argument, Options, Routing};
use super::{Shared, Stop};

/// How long the broker may take for all bindings, or to delete a queue with all that is in it.
const MAX_WAIT_NS: u64 = 600 * SECOND_NS;
/// So many octets of bindings are sent at once.
const CHUNK: usize = 64 * 1024;

/// What was made.
#[derive(Default)]
pub(super) struct Topology {
    /// The exchange to delete afterwards, if there is one.
    exchange: Option<String>,
    /// The queues to delete, and whether each was empty when it was declared.
    queues: Vec<(usize, bool)>,
    /// Whether all was made.
    is_whole: bool,
}

impl Topology {
    /// Declares everything. Says whether all is there: the run may be stopped meanwhile.
    ///
    /// # Errors
    /// When the broker refuses something, as when a queue is there already with other arguments. What
    /// was made until then is to be removed all the same.
    pub(super) fn make(&mut self, shared: &Shared, stop: &Stop) -> Result<bool, PerfError> {
        let options = &shared.options;
        check_names(options)?;
        if let Some((name, kind)) = options.exchange() {
            self.exchange = make_exchange(shared, &name, kind)?.then_some(name);
        }
        let mut connection = shared.connect()?;
        let made = self.make_queues(&mut connection, options, stop);
        match made.and_then(|()| bind_queues(&mut connection, options, stop)) {
            Ok(()) => connection.close(30 * SECOND_NS, &|| true)?,
            Err(error) => {
                connection.part(&error);
                return Err(error);
            }
        }
        self.is_whole = !stop.is_stopped();
        Ok(self.is_whole)
    }

    fn make_queues(
        &mut self,
        connection: &mut Connection,
        options: &Options,
        stop: &Stop,
    ) -> Result<(), PerfError> {
        let arguments = arguments(options);
        for index in 0..options.queues {
            if stop.is_stopped() {
                break;
            }
            let name = options.queue_name(index);
            let declare = queue::Declare {
                queue: ShortStr::truncated(name.as_bytes()),
                durable: options.durable,
                arguments: arguments.as_table(),
                ..Default::default()
            };
            let was_empty = connection.call(&declare, |method| match method {
                Method::QueueDeclareOk(declared) => Some(declared.message_count == 0),
                _ => None,
            })?;
            self.queues.push((index, was_empty));
        }
        Ok(())
    }

    /// Deletes the queues, with what is in them, and the exchange if it was made for this run. When it
    /// came to no run, a queue that was not empty may be somebody's, and stays.
    ///
    /// # Errors
    /// When the broker refuses it or is gone.
    pub(super) fn remove(self, shared: &Shared) -> Result<(), PerfError> {
        let doomed = self.queues.iter().filter(|(_, was_empty)| self.is_whole || *was_empty);
        let doomed: Vec<usize> = doomed.map(|(index, _)| *index).collect();
        if doomed.is_empty() && self.exchange.is_none() {
            return Ok(());
        }
        let mut connection = shared.connect()?;
        for index in doomed {
            let name = shared.options.queue_name(index);
            let queue = ShortStr::truncated(name.as_bytes());
            connection.tell(CHANNEL, &queue::Delete { queue, ..Default::default() });
            connection.answered(MAX_WAIT_NS, |method| {
                matches!(method, Method::QueueDeleteOk(_)).then_some(())
            })?;
        }
        if let Some(name) = self.exchange {
            let exchange = ShortStr::truncated(name.as_bytes());
            connection.call(&exchange::Delete { exchange, ..Default::default() }, |method| {
                matches!(method, Method::ExchangeDeleteOk(_)).then_some(())
            })?;
        }
        connection.close(30 * SECOND_NS, &|| true)
    }
}

/// Names that would be cut.
fn check_names(options: &Options) -> Result<(), PerfError> {
    let long = |name: &str| name.len() > 255;
    if long(&options.queue_name(options.queues - 1)) {
        return Err(PerfError::TooLong { what: "--queue" });
    }
    if options.exchange().is_some_and(|(name, kind)| long(&name) || long(kind)) {
        return Err(PerfError::TooLong { what: "the exchange's name or type" });
    }
    match &options.routing {
        Routing::Exchange { routing_key, binding_key, .. } => {
            match [routing_key, binding_key].into_iter().flatten().any(|key| long(key)) {
                true => Err(PerfError::TooLong { what: "--routing-key or --binding-key" }),
                false => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

/// Declares an exchange unless it is there; says whether it is to be deleted afterwards.
///
/// why: an exchange that somebody else made is used as it is, and must not be deleted.
fn make_exchange(shared: &Shared, name: &str, kind: &str) -> Result<bool, PerfError> {
    let name = ShortStr::truncated(name.as_bytes());
    let declared =
        |method: &Method<'_>| matches!(method, Method::ExchangeDeclareOk(_)).then_some(());
    let mut connection = shared.connect()?;
    let passive = exchange::Declare { exchange: name, passive: true, ..Default::default() };
    match connection.call(&passive, declared) {
        Ok(()) => {
            connection.close(30 * SECOND_NS, &|| true)?;
            // What has one of our own names is left from a run that was killed.
            return Ok(!matches!(shared.options.routing, Routing::Exchange { .. }));
        }
        Err(error @ PerfError::Closed { code: 404, .. }) => connection.part(&error),
        Err(error) => return Err(error),
    }
    let mut connection = shared.connect()?;
    let declare = exchange::Declare {
        exchange: name,
        kind: ShortStr::truncated(kind.as_bytes()),
        durable: shared.options.durable,
        ..Default::default()
    };
    if let Err(error) = connection.call(&declare, declared) {
        connection.part(&error);
        return Err(error);
    }
    connection.close(30 * SECOND_NS, &|| true)?;
    Ok(true)
}

fn bind_queues(
    connection: &mut Connection,
    options: &Options,
    stop: &Stop,
) -> Result<(), PerfError> {
    let Some((exchange, _)) = options.exchange() else { return Ok(()) };
    // why: ten thousand bindings do not wait for ten thousand answers. The broker works on them in
    // order, so that the answer to the last one stands for all.
    let bindings = options.bindings();
    for (number, (index, key)) in bindings.iter().enumerate() {
        if stop.is_stopped() {
            return Ok(());
        }
        let name = options.queue_name(*index);
        let is_last = number + 1 == bindings.len();
        let bind = queue::Bind {
            queue: ShortStr::truncated(name.as_bytes()),
            exchange: ShortStr::truncated(exchange.as_bytes()),
            routing_key: ShortStr::truncated(key.as_bytes()),
            nowait: !is_last,
            ..Default::default()
        };
        connection.tell(CHANNEL, &bind);
        if !is_last && connection.output().len() >= CHUNK {
            while !connection.flush()? {
                connection.wait(true, SECOND_NS)?;
            }
        }
    }
    connection
        .answered(MAX_WAIT_NS, |method| matches!(method, Method::QueueBindOk(_)).then_some(()))
}

fn arguments(options: &Options) -> TableBuf {
    let mut arguments = TableBuilder::default();
    for (name, value) in &options.arguments {
        let value = match value {
            Argument::Bool(value) => Value::Bool(*value),
            Argument::Long(value) => Value::I64(*value),
            Argument::Text(value) => Value::LongStr(value.as_bytes()),
        };
        arguments.push(name.as_bytes(), &value);
    }
    arguments.finish()
}
