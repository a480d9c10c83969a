//! What a run is to do, and what follows from that: names, keys, how many deliveries there will be.

use std::path::PathBuf;
use std::time::Duration;

use super::uri::Uri;

/// What a run is to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// The broker.
    pub uri: Uri,
    /// Authorities in PEM that the broker's certificate is checked with, for `amqps`.
    pub tls_ca: Option<PathBuf>,
    /// Connections that publish, each from a thread of its own.
    pub producers: usize,
    /// Connections that consume, each from a thread of its own.
    pub consumers: usize,
    /// How many queues there are.
    pub queues: usize,
    /// The queue's name, or what the names of several begin with.
    pub queue: String,
    /// The way from producers to queues.
    pub routing: Routing,
    /// Octets in a body.
    pub size: usize,
    /// Messages a second of each producer; as fast as it goes when absent.
    pub rate: Option<f64>,
    /// Confirms that each producer has in flight at most; no confirms when absent.
    pub confirm: Option<u32>,
    /// Messages that a consumer holds unacknowledged at most; 0 for no limit.
    pub prefetch: u16,
    /// A consumer acknowledges when it has got so many; deliveries need none when absent.
    pub ack_every: Option<u32>,
    /// Whether messages are persistent.
    pub persistent: bool,
    /// Whether queues and exchanges are durable.
    pub durable: bool,
    /// Whether messages that reach no queue come back.
    pub mandatory: bool,
    /// Arguments of each queue.
    pub arguments: Vec<(String, Argument)>,
    /// When the run ends.
    pub until: Until,
    /// What passes before the measured window begins. None with a count.
    pub warm_up: Duration,
    /// Whether queues and exchanges stay afterwards.
    pub keep: bool,
}

/// The way from producers to queues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Routing {
    /// Through the default exchange.
    Default,
    /// Through a fanout exchange of the run's own: each message to each queue.
    Fanout,
    /// Through a topic exchange of the run's own with so many bindings, one of which each message
    /// matches.
    Topic {
        /// Bindings of all queues together.
        bindings: usize,
    },
    /// Through a named exchange, which is made when it is not there.
    Exchange {
        /// Its name.
        name: String,
        /// Its type.
        kind: String,
        /// What each message is published with; the name of its queue when absent.
        routing_key: Option<String>,
        /// What each queue is bound with; the routing key when absent.
        binding_key: Option<String>,
    },
}

/// The value of a queue's argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Argument {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Long(i64),
    /// Anything else.
    Text(String),
}

/// When a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// When the window has been this long.
    Time(Duration),
    /// When so many were published by all producers together and, if there are consumers, each was
    /// delivered to each of its queues. Without producers, when so many were delivered. Through a
    /// named exchange, when no more is delivered: which queues get what is its own rule.
    Count(u64),
    /// When somebody stops it.
    Stopped,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            uri: Uri::default(),
            tls_ca: None,
            producers: 1,
            consumers: 1,
            queues: 1,
            queue: "leveret-perf".to_owned(),
            routing: Routing::Default,
            size: 16,
            rate: None,
            confirm: None,
            prefetch: 0,
            ack_every: None,
            persistent: false,
            durable: false,
            mandatory: false,
            arguments: Vec::new(),
            until: Until::Stopped,
            warm_up: Duration::from_secs(1),
            keep: false,
        }
    }
}

impl Options {
    /// Checks what one option says about another.
    ///
    /// # Errors
    /// In a line that names the option of `leveret perf`.
    pub fn check(&self) -> Result<(), String> {
        let has_exchange = !matches!(self.routing, Routing::Default);
        let no_consumers =
            [(self.ack_every.is_some(), "--ack-every"), (self.prefetch > 0, "--prefetch")];
        let no_producers = [
            (self.confirm.is_some(), "--confirm"),
            (self.rate.is_some(), "--rate"),
            (self.persistent, "--persistent"),
            (self.mandatory, "--mandatory"),
            (has_exchange, "an exchange"),
        ];
        let given = |options: &[(bool, &'static str)]| {
            options.iter().find(|(is_given, _)| *is_given).map(|(_, name)| *name)
        };
        if self.queue.is_empty() {
            return Err(
                "--queue needs a name: the broker would make up one that nobody knows".to_owned()
            );
        }
        if self.producers == 0 && self.consumers == 0 {
            return Err("--producers 0 needs --consumers: nothing would happen".to_owned());
        }
        if let (0, Some(name)) = (self.consumers, given(&no_consumers)) {
            return Err(format!("{name} needs consumers, and --consumers is 0"));
        }
        if let (0, Some(name)) = (self.producers, given(&no_producers)) {
            return Err(format!("{name} needs producers, and --producers is 0"));
        }
        match (self.ack_every, u32::from(self.prefetch)) {
            (None, 1..) => {
                return Err("--prefetch needs --ack-every: without acknowledgements nothing is \
                            unacknowledged"
                    .to_owned());
            }
            (Some(every), prefetch @ 1..) if every > prefetch => {
                return Err(format!(
                    "--ack-every {every} needs a --prefetch of {every} or more, not {prefetch}: \
                     the broker would wait for the first acknowledgement"
                ));
            }
            _ => {}
        }
        match self.routing {
            Routing::Topic { bindings } if bindings < self.queues => {
                return Err(format!(
                    "--topic-bindings {bindings} is less than one for each of --queues {}",
                    self.queues
                ));
            }
            _ => {}
        }
        match (self.uri.tls, &self.tls_ca) {
            (true, None) => {
                Err("amqps:// needs --tls-ca, the authorities to believe, in PEM".to_owned())
            }
            (false, Some(_)) => Err("--tls-ca needs a --uri with amqps://".to_owned()),
            _ => Ok(()),
        }
    }

    /// The name of a queue, counted from 0. All names have the same length.
    pub(super) fn queue_name(&self, index: usize) -> String {
        match self.queues {
            1 => self.queue.clone(),
            queues => {
                let width = queues.to_string().len();
                format!("{}-{:0width$}", self.queue, index + 1)
            }
        }
    }

    /// The exchange that is published to, and its type; none when that is the default one.
    pub(super) fn exchange(&self) -> Option<(String, &str)> {
        match &self.routing {
            Routing::Default => None,
            Routing::Fanout => Some((format!("{}.fanout", self.queue), "fanout")),
            Routing::Topic { .. } => Some((format!("{}.topic", self.queue), "topic")),
            Routing::Exchange { name, kind, .. } => Some((name.clone(), kind)),
        }
    }

    /// The bindings of the exchange: a queue and a key each.
    pub(super) fn bindings(&self) -> Vec<(usize, String)> {
        let for_each = |key: &dyn Fn(usize) -> String| -> Vec<_> {
            (0..self.queues).map(|queue| (queue, key(queue))).collect()
        };
        match &self.routing {
            Routing::Default => Vec::new(),
            Routing::Fanout => for_each(&|_| String::new()),
            Routing::Topic { bindings } => (0..*bindings)
                .map(|number| (number % self.queues, format!("{}.*", self.topic(number))))
                .collect(),
            Routing::Exchange { routing_key, binding_key, .. } => for_each(&|queue| {
                let key = binding_key.clone().or_else(|| routing_key.clone());
                key.unwrap_or_else(|| self.queue_name(queue))
            }),
        }
    }

    /// The routing keys of a producer, which it takes in turn. All have the same length.
    pub(super) fn routing_keys(&self, producer: usize) -> Vec<String> {
        let queues = shared_out(producer, self.producers, self.queues);
        match &self.routing {
            Routing::Fanout => vec![String::new()],
            Routing::Exchange { routing_key: Some(key), .. } => vec![key.clone()],
            Routing::Default | Routing::Exchange { .. } => {
                queues.iter().map(|queue| self.queue_name(*queue)).collect()
            }
            Routing::Topic { bindings } => (0..*bindings)
                .filter(|number| queues.contains(&(number % self.queues)))
                .map(|number| format!("{}.message", self.topic(number)))
                .collect(),
        }
    }

    /// The begin of a key that one binding of the topic exchange has alone.
    fn topic(&self, number: usize) -> String {
        format!("perf.{number:07}")
    }

    /// The queues of a consumer.
    pub(super) fn queues_of_consumer(&self, consumer: usize) -> Vec<usize> {
        shared_out(consumer, self.consumers, self.queues)
    }

    /// What one of the producers has to publish; none when there is no end to it.
    pub(super) fn share(&self, producer: usize) -> Option<u64> {
        let Until::Count(count) = self.until else { return None };
        let (producers, producer) = (self.producers as u64, producer as u64);
        Some(count / producers + u64::from(producer < count % producers))
    }

    /// How many deliveries a count makes; none when that is not known.
    pub(super) fn expected_deliveries(&self) -> Option<u64> {
        let Until::Count(count) = self.until else { return None };
        match &self.routing {
            Routing::Default | Routing::Topic { .. } => Some(count),
            Routing::Fanout => Some(count.saturating_mul(self.queues as u64)),
            // why: one that is there has the type that it has, and bindings of others.
            Routing::Exchange { .. } => None,
        }
    }
}

/// The queues of the one with this number, among so many: one each when there are enough of them,
/// else several each, so that no queue is left out.
fn shared_out(number: usize, among: usize, queues: usize) -> Vec<usize> {
    if among >= queues {
        vec![number % queues]
    } else {
        (0..queues).filter(|queue| queue % among == number).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_queue_is_left_out() {
        for (among, queues) in [(1, 1), (3, 2), (2, 5), (4, 4)] {
            let all: Vec<_> = (0..among).map(|number| shared_out(number, among, queues)).collect();
            assert!(all.iter().all(|queues| !queues.is_empty()));
            assert!((0..queues).all(|queue| all.iter().any(|queues| queues.contains(&queue))));
        }
        assert_eq!(shared_out(1, 2, 5), [1, 3]);
    }

    #[test]
    fn shares_add_up() {
        let options = Options { producers: 3, until: Until::Count(11), ..Options::default() };
        let shares: Vec<_> = (0..3).map(|producer| options.share(producer)).collect();
        assert_eq!(shares, [Some(4), Some(4), Some(3)]);
        assert_eq!(Options::default().share(0), None);
    }

    #[test]
    fn names_and_keys_have_one_length() {
        let one = Options::default();
        assert_eq!(one.queue_name(0), "leveret-perf");
        assert_eq!(one.routing_keys(0), ["leveret-perf"]);
        let ten = Options { queues: 10, ..Options::default() };
        assert_eq!(
            (ten.queue_name(0), ten.queue_name(9)),
            ("leveret-perf-01".into(), "leveret-perf-10".into())
        );
        assert_eq!(ten.routing_keys(0).len(), 10);
        let topic = Options {
            queues: 2,
            producers: 2,
            routing: Routing::Topic { bindings: 5 },
            ..Options::default()
        };
        assert_eq!(topic.bindings().len(), 5);
        assert_eq!(topic.bindings()[3], (1, "perf.0000003.*".to_owned()));
        assert_eq!(topic.routing_keys(1), ["perf.0000001.message", "perf.0000003.message"]);
    }

    #[test]
    fn deliveries_are_counted_by_where_messages_go() {
        for (routing, expected) in
            [(Routing::Default, 10), (Routing::Fanout, 30), (Routing::Topic { bindings: 9 }, 10)]
        {
            let options =
                Options { queues: 3, routing, until: Until::Count(10), ..Options::default() };
            assert_eq!(options.expected_deliveries(), Some(expected), "{options:?}");
        }
        let routing = Routing::Exchange {
            name: "e".to_owned(),
            kind: "fanout".to_owned(),
            routing_key: None,
            binding_key: None,
        };
        let named = Options { routing, until: Until::Count(10), ..Options::default() };
        assert_eq!(named.expected_deliveries(), None);
        assert_eq!(Options::default().expected_deliveries(), None);
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let usual = Options::default;
        for (options, named) in [
            (Options { queue: String::new(), ..usual() }, "--queue"),
            (Options { producers: 0, consumers: 0, ..usual() }, "--producers 0"),
            (Options { consumers: 0, ack_every: Some(1), ..usual() }, "--ack-every"),
            (Options { consumers: 0, prefetch: 1, ..usual() }, "--prefetch"),
            (Options { producers: 0, confirm: Some(1), ..usual() }, "--confirm"),
            (Options { producers: 0, rate: Some(1.0), ..usual() }, "--rate"),
            (Options { prefetch: 10, ..usual() }, "--prefetch needs --ack-every"),
            (Options { prefetch: 10, ack_every: Some(11), ..usual() }, "--ack-every 11"),
            (
                Options { queues: 3, routing: Routing::Topic { bindings: 2 }, ..usual() },
                "--topic-bindings 2",
            ),
            (Options { uri: Uri { tls: true, ..Uri::default() }, ..usual() }, "--tls-ca"),
            (Options { tls_ca: Some("ca.pem".into()), ..usual() }, "amqps://"),
        ] {
            let error = options.check().expect_err(named);
            assert!(error.contains(named) && !error.contains('\n'), "{error}");
        }
        assert_eq!(usual().check(), Ok(()));
        let acks = Options { prefetch: 100, ack_every: Some(100), ..usual() };
        assert_eq!(acks.check(), Ok(()));
    }
}
