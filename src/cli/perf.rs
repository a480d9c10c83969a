//! The options of `leveret perf`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::RangedU64ValueParser;

use crate::perf::{Argument, Options, Routing, Until, Uri};

/// A run of `leveret perf`, and how it is shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Perf {
    /// What it is to do.
    pub options: Options,
    /// Whether its summary is to be JSON, with nothing else on standard output.
    pub json: bool,
}

#[derive(Debug, Args)]
pub(super) struct PerfArguments {
    /// The broker: amqp://user:password@host:port/vhost, parts that are not said as in the default.
    /// What is special in a URI is written with %: %2f for a / in the name of a virtual host.
    /// amqps:// speaks TLS and needs --tls-ca.
    // why: a text, and read later: of a value that it cannot read clap shows the whole, with the
    // password that is in it.
    #[arg(long, value_name = "URI", default_value = "amqp://guest:guest@127.0.0.1:5672/")]
    uri: String,

    /// Authorities in PEM that the broker's certificate is checked with, for amqps://. Those of the
    /// system are in /etc/ssl/certs/ca-certificates.crt on Debian.
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,

    /// Connections that publish, each from a thread of its own. 0 takes what is in the queues.
    #[arg(long, short = 'x', value_name = "N", default_value_t = 1, value_parser = few(0))]
    producers: u64,

    /// Connections that consume, each from a thread of its own. 0 publishes and nothing more.
    #[arg(long, short = 'y', value_name = "N", default_value_t = 1, value_parser = few(0))]
    consumers: u64,

    /// Queues. Producers and consumers are spread over them: one queue each, or several each when
    /// there are more queues.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = few(1))]
    queues: u64,

    /// The queue's name; with several queues what their names begin with. It is declared, and
    /// deleted in the end, with what is in it.
    #[arg(long, short = 'u', value_name = "NAME", default_value = "leveret-perf")]
    queue: String,

    /// An argument of the queues, such as x-queue-type=quorum or x-max-length=1000; may be given
    /// several times. A number is a number, true and false are what they are, the rest is text.
    #[arg(long = "arg", alias = "queue-args", value_name = "NAME=VALUE", value_parser = argument)]
    arguments: Vec<(String, Argument)>,

    /// Do not delete queues and exchanges in the end.
    #[arg(long)]
    keep: bool,

    /// Bytes in the body of a message. From 8 on they begin with the time it was published at, and
    /// latencies of deliveries are measured.
    #[arg(long, short = 's', value_name = "BYTES", default_value_t = 16,
        value_parser = clap::value_parser!(u64).range(..=512 << 20))]
    size: u64,

    /// Messages a second of each producer; 0 for as fast as it goes. [default: 0]
    #[arg(long, short = 'r', value_name = "N", value_parser = rate)]
    rate: Option<f64>,

    /// Use publisher confirms, with so many messages of each producer unconfirmed at most.
    #[arg(long, short = 'c', value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    confirm: Option<u32>,

    /// Acknowledge each N deliveries with one basic.ack. Unless given, deliveries need none.
    #[arg(long, alias = "multi-ack-every", value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..))]
    ack_every: Option<u32>,

    /// Deliveries that a consumer may have unacknowledged; 0 for no limit.
    #[arg(long, alias = "qos", short = 'q', value_name = "N", default_value_t = 0)]
    prefetch: u16,

    /// Publish persistent messages.
    #[arg(long)]
    persistent: bool,

    /// Declare queues and exchanges durable.
    #[arg(long)]
    durable: bool,

    /// Count what reaches no queue and comes back.
    #[arg(long)]
    mandatory: bool,

    /// Publish to a fanout exchange of its own: each message to each queue.
    #[arg(long, conflicts_with_all = ["topic_bindings", "exchange"])]
    fanout: bool,

    /// Publish to a topic exchange of its own with N bindings, one of which each message matches;
    /// the messages take them in turn.
    #[arg(long, value_name = "N", conflicts_with = "exchange", value_parser = few(1))]
    topic_bindings: Option<u64>,

    /// Publish to this exchange. One that is not there is declared, and deleted in the end.
    #[arg(long, short = 'e', value_name = "NAME")]
    exchange: Option<String>,

    /// The exchange's type, if it is not there.
    #[arg(
        long,
        alias = "type",
        short = 't',
        value_name = "TYPE",
        default_value = "direct",
        requires = "exchange"
    )]
    exchange_type: String,

    /// The routing key of each message. [default: the name of a queue, all of them in turn]
    #[arg(long, short = 'k', value_name = "KEY", requires = "exchange")]
    routing_key: Option<String>,

    /// What each queue is bound with. [default: --routing-key, or the queue's name]
    #[arg(long, value_name = "KEY", requires = "exchange")]
    binding_key: Option<String>,

    /// Measure for so many seconds. Unless this or --count is given, a run goes on until Ctrl-C.
    #[arg(long, alias = "time", short = 'z', value_name = "SECS", value_parser = seconds,
        conflicts_with = "count")]
    seconds: Option<Duration>,

    /// Publish so many messages, by all producers together, and end when each was delivered (without
    /// consumers: when the broker has taken them; with --exchange, whose rule says which queues get
    /// what: when nothing has come for five seconds). Without producers, take so many.
    #[arg(long, alias = "pmessages", short = 'C', value_name = "N",
        value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,

    /// What passes before the measured window begins; with --count there is no such time.
    #[arg(long, value_name = "SECS", default_value = "1", value_parser = warm_up,
        conflicts_with = "count")]
    warm_up: Duration,

    /// Print the summary as one JSON object, and nothing else on standard output.
    #[arg(long)]
    json: bool,
}

pub(super) const EXAMPLES: &str = "\
Examples:
  leveret perf                              one producer, one consumer, as fast as it goes
  leveret perf --seconds 10 --size 1024 --producers 4 --consumers 4 --queues 4
  leveret perf --rate 2000 --ack-every 1 --prefetch 100 --seconds 10
                                            latencies at a given load
  leveret perf --durable --persistent --confirm 1000 --ack-every 100 --prefetch 1000
                                            nothing gets lost
  leveret perf --fanout --queues 10 --consumers 10 --json --count 1000000
  leveret perf --topic-bindings 10000       how fast a topic exchange finds its way
  leveret perf --consumers 0 --keep --count 1000000
  leveret perf --producers 0 --count 1000000
                                            a backlog, and how fast it is gone

Progress goes to standard error each second, the summary to standard output at the end. A run with
--seconds has a warm-up first; rates and latencies are those of the time behind it. With --count
they are those from the first message to the last. Latency is from when a batch of messages is given
to the system until the read that brought the delivery, or the confirm, on the clock of this
process. Ctrl-C ends a run early; it still has its summary. When messages do not come that should, or
the broker closes something or goes away, the last line says so and the exit code is 1.";

impl PerfArguments {
    /// What was asked for.
    ///
    /// # Errors
    /// In a line that names the option that makes no sense.
    pub(super) fn perf(self) -> Result<Perf, String> {
        let routing = match (self.exchange, self.topic_bindings) {
            (Some(name), _) => Routing::Exchange {
                name,
                kind: self.exchange_type,
                routing_key: self.routing_key,
                binding_key: self.binding_key,
            },
            (None, Some(bindings)) => Routing::Topic { bindings: bindings as usize },
            (None, None) if self.fanout => Routing::Fanout,
            (None, None) => Routing::Default,
        };
        let until = match (self.seconds, self.count) {
            (Some(time), _) => Until::Time(time),
            (None, Some(count)) => Until::Count(count),
            (None, None) => Until::Stopped,
        };
        let options = Options {
            uri: self.uri.parse::<Uri>().map_err(|error| format!("--uri: {error}"))?,
            tls_ca: self.tls_ca,
            producers: self.producers as usize,
            consumers: self.consumers as usize,
            queues: self.queues as usize,
            queue: self.queue,
            routing,
            size: self.size as usize,
            rate: self.rate.filter(|rate| *rate > 0.0),
            confirm: self.confirm,
            prefetch: self.prefetch,
            ack_every: self.ack_every,
            persistent: self.persistent,
            durable: self.durable,
            mandatory: self.mandatory,
            arguments: self.arguments,
            until,
            warm_up: self.warm_up,
            keep: self.keep,
        };
        options.check()?;
        Ok(Perf { options, json: self.json })
    }
}

/// From the least on, and no more than a program has room for, or names for numbers.
fn few(least: u64) -> RangedU64ValueParser<u64> {
    clap::value_parser!(u64).range(least..=1_000_000)
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.0..=1e9).contains(&rate) => Ok(rate),
        _ => Err("a number of messages a second is expected".to_owned()),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    match warm_up(text)? {
        Duration::ZERO => Err("a run needs some time".to_owned()),
        time => Ok(time),
    }
}

fn warm_up(text: &str) -> Result<Duration, String> {
    let number = text.parse::<f64>().ok().filter(|number| *number <= 1e9);
    number
        .and_then(|number| Duration::try_from_secs_f64(number).ok())
        .ok_or_else(|| "a number of seconds is expected".to_owned())
}

fn argument(text: &str) -> Result<(String, Argument), String> {
    let Some((name, value)) = text.split_once('=').filter(|(name, _)| !name.is_empty()) else {
        return Err("name=value is expected".to_owned());
    };
    if name.len() > 255 {
        return Err("a name has at most 255 bytes".to_owned());
    }
    let value = match (value, value.parse()) {
        ("true", _) => Argument::Bool(true),
        ("false", _) => Argument::Bool(false),
        (_, Ok(number)) => Argument::Long(number),
        (text, Err(_)) => Argument::Text(text.to_owned()),
    };
    Ok((name.to_owned(), value))
}

#[cfg(test)]
mod tests {
    use super::super::{Options as Everything, Task};
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Perf, crate::cli::Refusal> {
        let options = Everything::parse_from(["leveret", "perf"].iter().chain(arguments))?;
        match options.task {
            Task::Perf(perf) => Ok(*perf),
            task => panic!("{task:?}"),
        }
    }

    #[test]
    fn without_options_it_goes_on_and_on() {
        assert_eq!(parse(&[]).unwrap(), Perf { options: Options::default(), json: false });
    }

    #[test]
    fn every_option_is_taken() {
        let perf = "--uri amqps://u:p@h/v --tls-ca ca.pem --producers 2 --consumers 3 --queues 4 \
            --queue q --arg x-max-length=10 --arg a=b=c --arg x=true --keep --size 0 --rate 0.5 \
            --confirm 5 --ack-every 6 --prefetch 7 --persistent --durable --mandatory \
            --exchange e --exchange-type topic --routing-key k.1 --binding-key k.* \
            --seconds 1.5 --warm-up 0 --json";
        let perf = parse(&perf.split_whitespace().collect::<Vec<_>>());
        let options = Options {
            uri: "amqps://u:p@h/v".parse().unwrap(),
            tls_ca: Some("ca.pem".into()),
            producers: 2,
            consumers: 3,
            queues: 4,
            queue: "q".to_owned(),
            routing: Routing::Exchange {
                name: "e".to_owned(),
                kind: "topic".to_owned(),
                routing_key: Some("k.1".to_owned()),
                binding_key: Some("k.*".to_owned()),
            },
            size: 0,
            rate: Some(0.5),
            confirm: Some(5),
            prefetch: 7,
            ack_every: Some(6),
            persistent: true,
            durable: true,
            mandatory: true,
            arguments: vec![
                ("x-max-length".to_owned(), Argument::Long(10)),
                ("a".to_owned(), Argument::Text("b=c".to_owned())),
                ("x".to_owned(), Argument::Bool(true)),
            ],
            until: Until::Time(Duration::from_millis(1500)),
            warm_up: Duration::ZERO,
            keep: true,
        };
        assert_eq!(perf.unwrap(), Perf { options, json: true });
        assert_eq!(parse(&["--fanout"]).unwrap().options.routing, Routing::Fanout);
        let topic = parse(&["--topic-bindings", "9", "--count", "7", "--rate", "0"]).unwrap();
        assert_eq!(topic.options.routing, Routing::Topic { bindings: 9 });
        assert_eq!((topic.options.until, topic.options.rate), (Until::Count(7), None));
    }

    #[test]
    fn what_makes_no_sense_is_one_line_with_the_options_name() {
        for (given, named) in [
            (&["--consumers", "0", "--ack-every", "1"][..], "--ack-every"),
            (&["--producers", "0", "--consumers", "0"], "--producers 0"),
            (&["--producers", "0", "--confirm", "1"], "--confirm"),
            (&["--prefetch", "1"], "--prefetch"),
            (&["--uri", "amqps://h"], "--tls-ca"),
            (&["--uri", "127.0.0.1"], "--uri"),
            (&["--queue", ""], "--queue"),
        ] {
            let error = parse(given).unwrap_err();
            let text = error.to_string();
            assert_eq!((error.exit_code(), text.lines().count()), (2, 1), "{text}");
            assert!(text.contains(named), "{text}");
        }
    }

    #[test]
    fn a_uri_that_is_wrong_does_not_show_its_password() {
        for uri in [
            "amqp://user:s3cret@h/?heartbeat=10",
            "amqp://user:s3cret@h:70000",
            "amqp://user:s3cret@h/a/b",
            "amqp://user:s3cret/more@h",
            "amqp://user:s3cret@[::1]s3cret",
            "user:s3cret@h",
        ] {
            let text = parse(&["--uri", uri]).unwrap_err().to_string();
            assert!(text.contains("--uri") && !text.contains("s3cret"), "{uri} gives {text}");
        }
    }

    #[test]
    fn what_is_wrong_is_refused_with_code_2() {
        for (given, named) in [
            (&["--count", "0"][..], "--count"),
            (&["--queues", "0"], "--queues"),
            (&["--confirm", "0"], "--confirm"),
            (&["--ack-every", "0"], "--ack-every"),
            (&["--seconds", "0"], "--seconds"),
            (&["--seconds", "-1"], "-1"),
            (&["--seconds", "1", "--count", "1"], "--count"),
            (&["--warm-up", "soon"], "--warm-up"),
            (&["--rate", "fast"], "--rate"),
            (&["--arg", "=1"], "--arg"),
            (&["--arg", "name"], "--arg"),
            (&["--fanout", "--topic-bindings", "1"], "--fanout"),
            (&["--routing-key", "k"], "--exchange"),
            (&["--exchange-type", "topic"], "--exchange"),
            (&["--port", "5672"], "--port"),
        ] {
            let error = parse(given).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{given:?}");
            assert!(error.to_string().contains(named), "{given:?} gives {error}");
        }
        assert_eq!(parse(&["--help"]).unwrap_err().exit_code(), 0);
    }
}
