//! Exchanges: which queues a message goes to.
//!
//! spec: 3.1.3 and the class `exchange`. Exchanges know queues by their ids alone; the other ends
//! of their bindings are kept up to date by the virtual host. The types of the specification are
//! here; those of RabbitMQ's plugins have a file each.

mod consistent_hash;
mod deduplication;
pub mod delayed;
mod exchanges;

use std::collections::BTreeSet;
use std::ops::Bound;

use hashbrown::HashMap;
use leveret_codec::{Properties, ShortString, Table, TableBuf, Value};

use super::arguments::ExchangeArguments;
use super::bag::Bag;
use super::error::Checked;
use super::headers::HeadersTable;
use super::ids::{ExchangeId, QueueId};
use super::limits;
use super::statistics::ExchangeStatistics;
use super::time::Time;
use super::topic::{self, TopicTable};
use consistent_hash::Ring;
use deduplication::Seen;
use delayed::{Delayed, delayed_type};

pub use exchanges::Exchanges;

/// How an exchange chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExchangeType {
    /// By equality of routing key and binding key.
    Direct,
    /// Everything that is bound.
    Fanout,
    /// By pattern.
    Topic,
    /// By the message's headers.
    Headers,
    /// One of those that are bound, by a hash.
    ConsistentHash,
    /// One of those that are bound, by chance.
    Random,
    /// As another type, later.
    Delayed,
    /// Everything that is bound, but each message once.
    Deduplication,
}

impl ExchangeType {
    /// The type of this name.
    pub fn from_name(name: &[u8]) -> Option<Self> {
        match name {
            b"direct" => Some(ExchangeType::Direct),
            b"fanout" => Some(ExchangeType::Fanout),
            b"topic" => Some(ExchangeType::Topic),
            b"headers" => Some(ExchangeType::Headers),
            b"x-consistent-hash" => Some(ExchangeType::ConsistentHash),
            b"x-random" => Some(ExchangeType::Random),
            b"x-delayed-message" => Some(ExchangeType::Delayed),
            b"x-message-deduplication" => Some(ExchangeType::Deduplication),
            _ => None,
        }
    }

    /// The name that clients know it by.
    pub fn name(self) -> &'static str {
        match self {
            ExchangeType::Direct => "direct",
            ExchangeType::Fanout => "fanout",
            ExchangeType::Topic => "topic",
            ExchangeType::Headers => "headers",
            ExchangeType::ConsistentHash => "x-consistent-hash",
            ExchangeType::Random => "x-random",
            ExchangeType::Delayed => "x-delayed-message",
            ExchangeType::Deduplication => "x-message-deduplication",
        }
    }
}

/// So many bindings cost a step where they are only counted over.
const CHEAP: usize = 16;

/// So many nodes of a topic table cost a step: each is looked at once, which is far less than what a message costs.
const NODES_A_STEP: usize = 8;

/// A routing key meets so many nodes of the patterns of a topic exchange that the message goes nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TooManyNodes;

impl TooManyNodes {
    const STEPS: usize = limits::TOPIC_NODES / NODES_A_STEP;
}

/// What a binding leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Destination {
    /// A queue.
    Queue(QueueId),
    /// Another exchange.
    Exchange(ExchangeId),
}

/// A binding, as its source sees it. All three parts make its identity.
///
/// rabbitmq: arguments are the same when names, types and values are; their order does not count,
/// so they are kept sorted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Binding {
    /// What it leads to.
    pub destination: Destination,
    /// The routing key, or pattern.
    pub key: ShortString,
    /// Its arguments, sorted.
    pub arguments: TableBuf,
}

impl Binding {
    /// The one of a destination and a key that comes before all others.
    fn first_of(destination: Destination, key: ShortString) -> Self {
        Binding { destination, key, arguments: TableBuf::default() }
    }
}

impl Binding {
    /// About how much memory it takes at both of its ends, in the routing table and in the store, in bytes.
    fn weight(&self) -> u64 {
        const BINDING_BYTES: usize = 450;
        const CRITERION_BYTES: usize = 160;
        let arguments = self.arguments.as_table();
        // Under each of these a headers exchange lists it.
        let criteria = match arguments.find(b"x-match") {
            Some(Value::LongStr(kind)) if kind.starts_with(b"any") => arguments.iter().count(),
            _ => 0,
        };
        let octets = arguments.as_bytes().len();
        (BINDING_BYTES + 3 * self.key.len() + 3 * octets + CRITERION_BYTES * criteria) as u64
    }
}

/// A set of bindings, each with the exchange it leads from: what a destination knows of them.
pub type BindingSet = BTreeSet<(ExchangeId, ShortString, TableBuf)>;

/// How bindings are looked up by routing key.
enum RoutingTable {
    Direct(HashMap<ShortString, Bag<Destination>>),
    Fanout(Bag<Destination>),
    Topic(TopicTable<Destination>),
    Headers(HeadersTable<Destination>),
    ConsistentHash(Ring),
    Random(Bag<Destination>),
    Deduplication(Seen, Bag<Destination>),
}

impl RoutingTable {
    fn new(kind: ExchangeType, arguments: Table<'_>) -> Checked<Self> {
        Ok(match kind {
            ExchangeType::Direct => RoutingTable::Direct(HashMap::new()),
            ExchangeType::Fanout => RoutingTable::Fanout(Bag::default()),
            ExchangeType::Topic => RoutingTable::Topic(TopicTable::default()),
            ExchangeType::Headers => RoutingTable::Headers(HeadersTable::default()),
            ExchangeType::ConsistentHash => RoutingTable::ConsistentHash(Ring::new(arguments)?),
            ExchangeType::Random => RoutingTable::Random(Bag::default()),
            ExchangeType::Delayed => RoutingTable::new(delayed_type(arguments)?, arguments)?,
            ExchangeType::Deduplication => {
                RoutingTable::Deduplication(Seen::new(arguments)?, Bag::default())
            }
        })
    }

    /// Whether bindings that differ in their key alone are one to it.
    fn is_keyless(&self) -> bool {
        !matches!(self, RoutingTable::Direct(_) | RoutingTable::Topic(_))
    }
}

/// What routing asks of a message.
#[derive(Clone, Copy)]
pub struct Routed<'a> {
    /// The routing key.
    pub key: &'a [u8],
    /// Further routing keys.
    pub copies: &'a [ShortString],
    /// The content properties.
    pub properties: Properties<'a>,
    /// When it is routed.
    pub now: Time,
    /// A number of chance, for the exchange that draws.
    pub chance: u64,
}

impl<'a> Routed<'a> {
    fn keys(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        std::iter::once(self.key).chain(self.copies.iter().map(ShortString::as_bytes))
    }
}

/// Where a message goes.
#[derive(Debug, Default)]
pub struct Routes {
    /// The queues; one may be there more than once.
    pub queues: Vec<QueueId>,
    /// The exchanges that hold it back.
    pub delaying: Vec<ExchangeId>,
    /// The topic exchange whose patterns take too many steps for its key: it goes nowhere then.
    pub refused_by: Option<ExchangeId>,
}

impl Routes {
    /// Forgets all of them.
    pub fn clear(&mut self) {
        self.queues.clear();
        self.delaying.clear();
        self.refused_by = None;
    }

    /// It goes nowhere.
    fn refuse(&mut self, exchange: ExchangeId) {
        self.clear();
        self.refused_by = Some(exchange);
    }
}

/// An exchange.
pub struct Exchange {
    /// Its name.
    pub name: ShortString,
    /// How it chooses.
    pub kind: ExchangeType,
    /// Whether it survives a restart.
    pub durable: bool,
    /// Whether it goes with its last binding.
    pub auto_delete: bool,
    /// Whether clients may not publish to it.
    pub internal: bool,
    /// What its declaration asked for.
    pub arguments: ExchangeArguments,
    /// The name of the policy that applies to it.
    pub policy: Option<String>,
    /// Where a message goes that finds nothing here: by its declaration, or by policy.
    pub alternate: Option<ShortString>,
    /// What went through it.
    pub statistics: ExchangeStatistics,
    /// The bindings that lead to it.
    pub incoming: BindingSet,
    /// The messages that it holds back, if it is of that kind.
    pub delayed: Option<Delayed>,
    bindings: BTreeSet<Binding>,
    table: RoutingTable,
    /// What its bindings take, in bytes.
    bound: u64,
    /// The last round of routing in which it was met.
    met_in: u64,
}

impl Exchange {
    /// An exchange without bindings.
    ///
    /// # Errors
    /// 406 when its type cannot make sense of the arguments.
    pub fn new(
        name: ShortString,
        kind: ExchangeType,
        durable: bool,
        auto_delete: bool,
        internal: bool,
        arguments: ExchangeArguments,
    ) -> Checked<Self> {
        let table = RoutingTable::new(kind, arguments.raw.as_table())?;
        let delayed = (kind == ExchangeType::Delayed).then(Delayed::default);
        Ok(Exchange {
            name,
            kind,
            durable,
            auto_delete,
            internal,
            policy: None,
            alternate: arguments.alternate_exchange.clone(),
            statistics: ExchangeStatistics::default(),
            arguments,
            incoming: BindingSet::new(),
            delayed,
            bindings: BTreeSet::new(),
            table,
            bound: 0,
            met_in: 0,
        })
    }

    /// About how much memory it takes with its bindings and what it remembers, in bytes.
    fn weight(&self) -> u64 {
        const EXCHANGE_BYTES: usize = 900;
        let arguments = self.arguments.raw.as_table().as_bytes().len();
        (EXCHANGE_BYTES + self.name.len() + arguments) as u64 + self.bound + self.remembered()
    }

    /// About how much memory a binding takes that leads from it, in bytes.
    fn weight_of(&self, binding: &Binding) -> u64 {
        /// A word of a topic pattern is a node, unless others begin with the same words.
        const NODE_BYTES: u64 = 320;
        let words = match self.table {
            RoutingTable::Topic(_) => topic::word_count(binding.key.as_bytes()) as u64,
            _ => 0,
        };
        binding.weight() + words * NODE_BYTES
    }

    /// What it remembers of the messages that went through it, in bytes.
    fn remembered(&self) -> u64 {
        match &self.table {
            RoutingTable::Deduplication(seen, _) => seen.weight(),
            _ => 0,
        }
    }

    /// Forgets some of what it has remembered longest.
    fn forget_some(&mut self) {
        if let RoutingTable::Deduplication(seen, _) = &mut self.table {
            seen.forget_some();
        }
    }

    /// The bindings that lead from it, in a fixed order.
    pub fn bindings(&self) -> impl Iterator<Item = &Binding> {
        self.bindings.iter()
    }

    /// The same from one of them on.
    pub fn bindings_from(&self, from: Bound<&Binding>) -> impl Iterator<Item = &Binding> {
        self.bindings.range((from, Bound::Unbounded))
    }

    /// The bindings from it and those to it, of an exchange that is no more.
    pub fn into_bindings(self) -> (BTreeSet<Binding>, BindingSet) {
        (self.bindings, self.incoming)
    }

    /// Whether nothing is bound to it.
    pub fn is_unused(&self) -> bool {
        self.bindings.is_empty()
    }

    /// Adds a binding; false when it is there already.
    fn bind(&mut self, binding: Binding) -> Checked<bool> {
        let weight = match &self.table {
            RoutingTable::ConsistentHash(_) => Ring::weight(binding.key.as_bytes())?,
            _ => 0,
        };
        if self.bindings.contains(&binding) {
            return Ok(false);
        }
        let first_of_its_key = !self.routes_alike(&binding);
        match &mut self.table {
            RoutingTable::Direct(keys) if first_of_its_key => {
                keys.entry(binding.key.clone()).or_default().insert(binding.destination);
            }
            RoutingTable::Fanout(all)
            | RoutingTable::Random(all)
            | RoutingTable::Deduplication(_, all)
                if first_of_its_key =>
            {
                all.insert(binding.destination);
            }
            RoutingTable::ConsistentHash(ring) if first_of_its_key => {
                ring.add(binding.destination, weight);
            }
            RoutingTable::Topic(patterns) if first_of_its_key => {
                patterns.insert(binding.key.as_bytes(), binding.destination);
            }
            RoutingTable::Headers(rules) => {
                rules.insert(&binding.arguments, binding.destination)?;
            }
            _ => {}
        }
        self.bound += self.weight_of(&binding);
        self.bindings.insert(binding);
        Ok(true)
    }

    /// Removes a binding; false when it is not there.
    fn unbind(&mut self, binding: &Binding) -> bool {
        if !self.bindings.remove(binding) {
            return false;
        }
        self.bound -= self.weight_of(binding);
        let last_of_its_key = !self.routes_alike(binding);
        match &mut self.table {
            RoutingTable::Direct(keys) if last_of_its_key => {
                if let Some(destinations) = keys.get_mut(binding.key.as_bytes()) {
                    destinations.remove(&binding.destination);
                    if destinations.is_empty() {
                        keys.remove(binding.key.as_bytes());
                    }
                }
            }
            RoutingTable::ConsistentHash(ring) if last_of_its_key => {
                ring.remove(binding.destination);
            }
            RoutingTable::ConsistentHash(ring) => {
                // why: its weight may have been the one that counts.
                let first = Binding::first_of(binding.destination, ShortString::default());
                let other = self.bindings.range(first..).next();
                if let Some(Ok(weight)) = other.map(|it| Ring::weight(it.key.as_bytes()))
                    && ring.weight_of(binding.destination)
                        == Ring::weight(binding.key.as_bytes()).ok()
                {
                    ring.add_again(binding.destination, weight);
                }
            }
            RoutingTable::Fanout(all)
            | RoutingTable::Random(all)
            | RoutingTable::Deduplication(_, all)
                if last_of_its_key =>
            {
                all.remove(&binding.destination);
            }
            RoutingTable::Topic(patterns) if last_of_its_key => {
                patterns.remove(binding.key.as_bytes(), &binding.destination);
            }
            RoutingTable::Headers(rules) => {
                rules.remove(&binding.arguments, &binding.destination);
            }
            _ => {}
        }
        true
    }

    /// Calls `found` for each destination of a message, some perhaps more than once. Says how many steps it
    /// took to find them, beside one for each.
    ///
    /// rabbitmq: where one destination is chosen of several, further keys choose no more of them.
    fn route(
        &mut self,
        message: Routed<'_>,
        mut found: impl FnMut(Destination),
    ) -> Result<usize, TooManyNodes> {
        let steps = match &mut self.table {
            RoutingTable::Direct(keys) => {
                for key in message.keys() {
                    if let Some(destinations) = keys.get(key) {
                        destinations.iter().copied().for_each(&mut found);
                    }
                }
                0
            }
            RoutingTable::Fanout(all) => {
                all.iter().copied().for_each(found);
                0
            }
            RoutingTable::Topic(patterns) => {
                let nodes = if message.copies.is_empty() {
                    patterns.for_each_match(message.key, limits::TOPIC_NODES, |to| found(*to))
                } else {
                    patterns.for_each_match_of(message.keys(), limits::TOPIC_NODES, |to| found(*to))
                };
                if nodes > limits::TOPIC_NODES {
                    return Err(TooManyNodes);
                }
                nodes / NODES_A_STEP
            }
            RoutingTable::ConsistentHash(ring) => {
                ring.choose(message.key, &message.properties.fields()).into_iter().for_each(found);
                ring.len() / CHEAP
            }
            RoutingTable::Random(all) => {
                let drawn = message.chance.checked_rem(all.len() as u64);
                let drawn = drawn.and_then(|drawn| all.get(drawn as usize));
                drawn.into_iter().copied().for_each(found);
                0
            }
            RoutingTable::Deduplication(seen, all) => {
                if seen.is_new(message.now, message.properties.headers()) {
                    all.iter().copied().for_each(found);
                }
                0
            }
            RoutingTable::Headers(rules) => {
                rules.for_each_match(message.properties.headers(), |to| found(*to))
            }
        };
        Ok(steps)
    }

    /// Whether a binding other than this one gives the routing table the same entry.
    fn routes_alike(&self, binding: &Binding) -> bool {
        let by_key = !self.table.is_keyless();
        let key = if by_key { binding.key.clone() } else { ShortString::default() };
        let first = Binding::first_of(binding.destination, key);
        self.bindings
            .range(first..)
            .take_while(|other| other.destination == binding.destination)
            .take_while(|other| !by_key || other.key == binding.key)
            .any(|other| other != binding)
    }
}

impl std::fmt::Debug for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exchange")
            .field("name", &self.name)
            .field("kind", &self.kind)
            .field("bindings", &self.bindings)
            .finish_non_exhaustive()
    }
}
