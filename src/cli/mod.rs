//! The command line of the program `leveret`: what may be said there, and standard output and standard
//! error.
//!
//! Nothing is started here; `main` does that with the library's public interface.

mod limits;
mod line_queue;
mod output;
mod perf;
mod task;
mod tls;
mod values;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::{BoolishValueParser, Resettable};
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, Command, CommandFactory, FromArgMatches, Parser};

use self::limits::LimitArguments;
pub use self::limits::{Limits, raise_open_files};
pub use self::output::Output;
pub use self::perf::Perf;
pub use self::task::Task;
use self::task::TaskArguments;
use self::tls::TlsArguments;
use self::values::{parse_address, parse_filter};
use crate::config::{DEFAULT_DATA_DIR, DEFAULT_LISTEN, DEFAULT_LOOPBACK_USER, Storage, Tls};

/// A message broker that RabbitMQ's clients connect to unchanged (AMQP 0-9-1).
///
/// Started without options it is ready for clients on this machine: amqp://guest:guest@127.0.0.1:5672/
#[derive(Debug, Parser)]
#[command(
    name = "leveret",
    version,
    max_term_width = 100,
    after_help = EXAMPLES,
    args_conflicts_with_subcommands = true
)]
struct Arguments {
    /// Address and port to accept clients on; may be given several times. A port alone is for this machine
    /// alone; :5672 or 0.0.0.0:5672 is that port of every interface, [::]:5672 of those of IPv6 as well. Port 0
    /// lets the system choose a free port. [default: 127.0.0.1:5672, unless --tls-listen is given]
    #[arg(
        long,
        value_name = "ADDR",
        env = "LEVERET_LISTEN",
        hide_env_values = true,
        value_delimiter = ',',
        value_parser = parse_address,
    )]
    listen: Vec<SocketAddr>,

    /// Address and port of the management API: RabbitMQ's HTTP API, below /api. There is none unless
    /// this is given; clients look for it on port 15672. Port 0 lets the system choose a free port.
    #[arg(
        long,
        value_name = "ADDR",
        env = "LEVERET_MANAGEMENT",
        hide_env_values = true,
        value_parser = parse_address,
    )]
    management: Option<SocketAddr>,

    /// Directory for what must survive a restart: durable queues and their persistent messages.
    /// Made if it is not there.
    #[arg(
        long,
        value_name = "DIR",
        env = "LEVERET_DATA_DIR",
        hide_env_values = true,
        default_value = DEFAULT_DATA_DIR
    )]
    data_dir: PathBuf,

    /// Keep everything in memory and write no file; nothing survives a restart.
    #[arg(
        long,
        env = "LEVERET_IN_MEMORY",
        hide_env_values = true,
        action = ArgAction::Set,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_value = "false",
        default_missing_value = "true",
        hide_default_value = true,
        hide_possible_values = true,
        value_parser = BoolishValueParser::new()
    )]
    in_memory: bool,

    /// Start although something in the data directory is lost that a start refuses for, with an empty one in its
    /// place: a new registry of users and virtual hosts, or a virtual host without what it had. What is left is
    /// left alone.
    #[arg(
        long,
        env = "LEVERET_ACCEPT_LOSS",
        hide_env_values = true,
        action = ArgAction::Set,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_value = "false",
        default_missing_value = "true",
        hide_default_value = true,
        hide_possible_values = true,
        value_parser = BoolishValueParser::new()
    )]
    accept_loss: bool,

    #[command(flatten)]
    limits: LimitArguments,

    /// Users, virtual hosts, permissions, policies, exchanges, queues and bindings to bring into
    /// being at each start, in RabbitMQ's JSON. Queues and exchanges that are there already are left
    /// as they are; users, permissions, policies and parameters are set to what the file says.
    #[arg(long, value_name = "FILE", env = "LEVERET_DEFINITIONS", hide_env_values = true)]
    definitions: Option<PathBuf>,

    /// Users that may connect from this machine alone, with commas; with an empty list, guest may
    /// connect from anywhere.
    #[arg(
        long,
        value_name = "NAMES",
        env = "LEVERET_LOOPBACK_USERS",
        hide_env_values = true,
        default_value = DEFAULT_LOOPBACK_USER
    )]
    loopback_users: String,

    #[command(subcommand)]
    task: Option<TaskArguments>,

    /// What to log on standard error: off, error, warn, info, debug or trace, also for parts of the
    /// program, as in "warn,leveret::server=debug". RabbitMQ's words for them are taken, too.
    #[arg(
        long,
        value_name = "FILTER",
        env = "LEVERET_LOG",
        hide_env_values = true,
        value_parser = parse_filter,
        default_value = "info"
    )]
    log: String,

    // why: the last, as what comes behind it would be under its heading.
    #[command(flatten)]
    tls: TlsArguments,
}

const EXAMPLES: &str = "\
Examples:
  leveret                                   durable, in ./leveret-data, for this machine alone
  leveret --in-memory --listen 127.0.0.1:0  for a test: no files, any free port
  leveret --listen 0.0.0.0:5672             for other machines as well (guest stays local)
  leveret --tls-listen 0.0.0.0:5671 --tls-cert server.pem --tls-key server.key
                                            for other machines, encrypted
  leveret --management 127.0.0.1:15672      with RabbitMQ's HTTP API
  leveret export ./leveret-data > file.json everything but messages of it, while no broker runs
  leveret check ./leveret-data              whether all in it is whole, while no broker runs
  leveret perf --seconds 10                 how fast a broker is; leveret perf --help says more

An option beats its environment variable; one that is empty counts as not set. LEVERET_LISTEN takes
several addresses, with commas. The broker stops in order on SIGTERM and on Ctrl-C; another signal, a
second later or more, ends it at once.
SIGHUP makes it read the files for TLS again.";

/// What the program was asked to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// What to do.
    pub task: Task,
    /// The addresses to listen on.
    pub listen: Vec<SocketAddr>,
    /// The addresses to listen on for TLS.
    pub tls_listen: Vec<SocketAddr>,
    /// How connections to these are secured.
    pub tls: Option<Tls>,
    /// Users that may connect from this machine alone.
    pub loopback_users: Vec<String>,
    /// Where the management API is to be, if anywhere.
    pub management: Option<SocketAddr>,
    /// Whether it is secured like connections to `tls_listen`.
    pub management_tls: bool,
    /// Where what is durable is kept.
    pub storage: Storage,
    /// What bounds clients.
    pub limits: Limits,
    /// A file of definitions to bring into being.
    pub definitions: Option<PathBuf>,
    /// Whether to start although something is lost.
    pub accept_loss: bool,
    /// What to log, in the syntax of `tracing_subscriber::EnvFilter`.
    pub log: String,
}

impl Options {
    /// From the arguments and the environment of this process. Answers `--help` and `--version`,
    /// and says what is wrong with wrong options; in all these cases the process ends here.
    pub fn from_process() -> Self {
        Options::parse_from(std::env::args_os()).unwrap_or_else(|error| error.exit())
    }

    /// From these arguments, the first of which is the program's name, and the environment.
    ///
    /// # Errors
    /// What there is to say instead of starting: help, version, or what is wrong.
    pub fn parse_from(
        arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    ) -> Result<Self, clap::Error> {
        let mut command = without_empty_variables(Arguments::command());
        let matches = command.try_get_matches_from_mut(arguments)?;
        let arguments = Arguments::from_arg_matches(&matches)?;
        if let Some(task) = arguments.task {
            // why: one line is enough, the usage of so many options is not.
            let (task, data_dir) = task.task().map_err(|text| {
                clap::Error::raw(ErrorKind::ValueValidation, format!("{text}\n"))
            })?;
            return Ok(Options {
                task,
                listen: Vec::new(),
                tls_listen: Vec::new(),
                tls: None,
                loopback_users: Vec::new(),
                management: None,
                management_tls: false,
                storage: data_dir.map_or(Storage::Memory, Storage::Directory),
                limits: arguments.limits.into(),
                definitions: None,
                accept_loss: false,
                log: arguments.log,
            });
        }
        let storage = match storage(
            arguments.in_memory.then(|| rank(&matches, "in_memory")),
            rank(&matches, "data_dir"),
        ) {
            Some(Chosen::Memory) => Storage::Memory,
            Some(Chosen::Directory) => Storage::Directory(arguments.data_dir),
            None => {
                let text = "--data-dir and --in-memory (LEVERET_DATA_DIR and LEVERET_IN_MEMORY) \
                            cannot be used together";
                return Err(command.error(ErrorKind::ArgumentConflict, text));
            }
        };
        let tls_listen = arguments.tls.tls_listen.clone();
        let management_tls = arguments.tls.management_tls;
        let tls = arguments.tls.tls(arguments.management.is_some());
        let tls = tls.map_err(|text| command.error(ErrorKind::MissingRequiredArgument, text))?;
        let listen = match arguments.listen {
            listen if listen.is_empty() && tls_listen.is_empty() => vec![DEFAULT_LISTEN],
            listen => listen,
        };
        Ok(Options {
            task: Task::Serve,
            listen,
            tls_listen,
            tls,
            loopback_users: users(&arguments.loopback_users),
            management: arguments.management,
            management_tls,
            storage,
            limits: arguments.limits.into(),
            definitions: arguments.definitions,
            accept_loss: arguments.accept_loss,
            log: arguments.log,
        })
    }
}

/// Which choice counts: an option beats the environment, which beats a default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Default,
    Environment,
    CommandLine,
}

fn rank(matches: &ArgMatches, argument: &str) -> Rank {
    match matches.value_source(argument) {
        Some(ValueSource::CommandLine) => Rank::CommandLine,
        Some(ValueSource::EnvVariable) => Rank::Environment,
        _ => Rank::Default,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chosen {
    Memory,
    Directory,
}

/// Which of the two it is, from how they were asked for; none when they contradict each other.
fn storage(in_memory: Option<Rank>, data_dir: Rank) -> Option<Chosen> {
    match in_memory {
        None => Some(Chosen::Directory),
        Some(in_memory) if in_memory > data_dir => Some(Chosen::Memory),
        Some(in_memory) if in_memory < data_dir => Some(Chosen::Directory),
        Some(_) => None,
    }
}

/// The names in a list with commas.
///
/// rabbitmq: `loopback_users = none` is the empty list.
fn users(list: &str) -> Vec<String> {
    match list {
        "none" => Vec::new(),
        list => list.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect(),
    }
}

/// The options without the variables that are set to nothing: those count as not set.
fn without_empty_variables(command: Command) -> Command {
    let command = command.mut_args(|argument| {
        let value = argument.get_env().and_then(std::env::var_os);
        match value.is_some_and(|value| value.is_empty()) {
            true => argument.env(Resettable::Reset),
            false => argument,
        }
    });
    command.mut_subcommands(without_empty_variables)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{Pem, UserFrom};

    fn parse(arguments: &[&str]) -> Result<Options, clap::Error> {
        Options::parse_from(["leveret"].iter().chain(arguments))
    }

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn without_options_it_is_durable_and_local() {
        assert_eq!(
            parse(&[]).unwrap(),
            Options {
                task: Task::Serve,
                limits: Limits {
                    max_connections: None,
                    memory_limit: None,
                    disk_free_limit: 50_000_000,
                    log_file_size: 64 << 20,
                    channel_max: 2047,
                    frame_max: 131_072,
                    heartbeat_secs: 60,
                    handshake_timeout: Duration::from_secs(10),
                    send_timeout: Duration::from_secs(30),
                    consumer_timeout: Duration::from_secs(1800),
                    max_message_size: 134_217_728,
                    max_consumers_per_channel: 100_000,
                    max_arguments_size: 131_072,
                },
                definitions: None,
                accept_loss: false,
                listen: vec!["127.0.0.1:5672".parse().unwrap()],
                tls_listen: Vec::new(),
                tls: None,
                loopback_users: vec!["guest".to_owned()],
                management: None,
                management_tls: false,
                storage: Storage::Directory("./leveret-data".into()),
                log: "info".to_owned(),
            }
        );
    }

    #[test]
    fn every_option_is_taken() {
        let options = parse(&[
            "--listen",
            "127.0.0.1:0",
            "--listen",
            "[::1]:5673,0.0.0.0:1",
            "--management",
            "127.0.0.1:15672",
            "--in-memory",
            "--max-message-size",
            "1000",
            "--memory-limit",
            "256MiB",
            "--max-consumers-per-channel",
            "7",
            "--max-arguments-size",
            "500",
            "--max-connections",
            "100",
            "--channel-max",
            "10",
            "--frame-max",
            "8192",
            "--heartbeat",
            "0",
            "--handshake-timeout",
            "1500",
            "--send-timeout",
            "2500",
            "--consumer-timeout",
            "0",
            "--disk-free-limit",
            "1GB",
            "--log-file-size",
            "16MiB",
            "--definitions",
            "topology.json",
            "--accept-loss",
            "--loopback-users",
            "guest,test",
            "--tls-listen",
            "127.0.0.1:5671",
            "--tls-cert",
            "server.pem",
            "--tls-key",
            "server.key",
            "--tls-ca",
            "clients.pem",
            "--tls-require-client-cert",
            "--management-tls",
            "--tls-user-from",
            "common-name",
            "--log",
            "warn,leveret=trace",
        ]);
        let addresses = ["127.0.0.1:0", "[::1]:5673", "0.0.0.0:1"];
        let tls = Tls::new(Pem::file("server.pem"), Pem::file("server.key"))
            .client_ca(Pem::file("clients.pem"))
            .require_client_certificate()
            .user_from(UserFrom::CommonName);
        assert_eq!(
            options.unwrap(),
            Options {
                task: Task::Serve,
                limits: Limits {
                    max_connections: Some(100),
                    memory_limit: Some(256 << 20),
                    disk_free_limit: 1_000_000_000,
                    log_file_size: 16 << 20,
                    channel_max: 10,
                    frame_max: 8192,
                    heartbeat_secs: 0,
                    handshake_timeout: Duration::from_millis(1500),
                    send_timeout: Duration::from_millis(2500),
                    consumer_timeout: Duration::ZERO,
                    max_message_size: 1000,
                    max_consumers_per_channel: 7,
                    max_arguments_size: 500,
                },
                definitions: Some("topology.json".into()),
                accept_loss: true,
                listen: addresses.iter().map(|address| address.parse().unwrap()).collect(),
                tls_listen: vec!["127.0.0.1:5671".parse().unwrap()],
                tls: Some(tls),
                loopback_users: vec!["guest".to_owned(), "test".to_owned()],
                management: Some("127.0.0.1:15672".parse().unwrap()),
                management_tls: true,
                storage: Storage::Memory,
                log: "warn,leveret=trace".to_owned(),
            }
        );
        let options = parse(&["--data-dir", "/var/lib/leveret"]).unwrap();
        assert_eq!(options.storage, Storage::Directory("/var/lib/leveret".into()));
        let options = parse(&["definitions", "export", "--data-dir", "d"]).unwrap();
        assert_eq!(
            (options.task, options.storage),
            (Task::ExportDefinitions, Storage::Directory("d".into()))
        );
        let options = parse(&["check", "d"]).unwrap();
        assert_eq!((options.task, options.storage), (Task::Check, Storage::Directory("d".into())));
        for given in [&["export", "d"][..], &["definitions", "export", "d"]] {
            let options = parse(given).unwrap();
            let expected = (Task::ExportDefinitions, Storage::Directory("d".into()));
            assert_eq!((options.task, options.storage), expected, "{given:?}");
        }
        let options = parse(&["check", "--data-dir", "d"]).unwrap();
        assert_eq!((options.task, options.storage), (Task::Check, Storage::Directory("d".into())));
        for (given, storage) in [
            ("--in-memory", Storage::Memory),
            ("--in-memory=true", Storage::Memory),
            ("--in-memory=1", Storage::Memory),
            ("--in-memory=false", Storage::Directory("./leveret-data".into())),
            ("--in-memory=no", Storage::Directory("./leveret-data".into())),
        ] {
            assert_eq!(parse(&[given]).unwrap().storage, storage, "{given}");
        }
        let options = parse(&["--frame-max", "64KiB", "--max-message-size", "1MB"]).unwrap();
        assert_eq!(options.limits.frame_max, 65_536);
        assert_eq!(options.limits.max_message_size, 1_000_000);
        let options = parse(&["--max-arguments-size", "1k", "--log", "warning"]).unwrap();
        assert_eq!((options.limits.max_arguments_size, &*options.log), (1024, "warn"));
        let options = parse(&["--loopback-users", "none"]).unwrap();
        assert!(options.loopback_users.is_empty());
    }

    #[test]
    fn with_tls_alone_there_is_no_address_without() {
        let tls = ["--tls-listen", "[::1]:0", "--tls-cert", "c", "--tls-key", "k"];
        let options = parse(&tls).unwrap();
        assert_eq!(options.listen, []);
        let options = parse(&[&["--listen", "[::1]:0"], &tls[..]].concat()).unwrap();
        assert_eq!(options.listen, options.tls_listen);
        let management = ["--management", "[::1]:0", "--management-tls"];
        let options = parse(&[&management, &tls[2..]].concat()).unwrap();
        assert_eq!((options.listen, options.tls_listen), (vec![DEFAULT_LISTEN], Vec::new()));
        assert!(options.tls.is_some());
    }

    #[test]
    fn what_tls_lacks_is_named() {
        for (given, named) in [
            (&["--tls-cert", "c", "--tls-key", "k"][..], "--tls-cert needs --tls-listen"),
            (&["--tls-require-client-cert"], "--tls-require-client-cert needs --tls-listen"),
            (&["--tls-listen", "[::1]:0"], "--tls-listen needs --tls-cert and --tls-key"),
            (&["--management-tls"], "--management-tls needs --management"),
            (
                &["--management", "[::1]:0", "--management-tls"],
                "--management-tls needs --tls-cert and --tls-key",
            ),
            (&["--tls-listen", "[::1]:0", "--tls-cert", "c"], "--tls-listen needs --tls-cert"),
        ] {
            let error = parse(given).unwrap_err();
            assert!(error.to_string().contains(named), "{error}");
            assert_eq!(error.exit_code(), 2);
        }
        let tls = ["--tls-listen", "[::1]:0", "--tls-cert", "c", "--tls-key", "k"];
        for given in [&["--tls-require-client-cert"][..], &["--tls-user-from", "cn"]] {
            let error = parse(&[&tls, given].concat()).unwrap_err();
            assert!(error.to_string().contains(&format!("{} needs --tls-ca", given[0])), "{error}");
        }
    }

    #[test]
    fn what_is_wrong_is_refused_with_code_2() {
        for wrong in [
            &["--listen", "localhost"][..],
            &["--listen", "127.0.0.1"],
            &["--management", "localhost"],
            &["--max-message-size", "0"],
            &["--memory-limit", "lots"],
            &["--memory-limit", "1MiB"],
            &["--max-connections", "many"],
            &["--max-connections", "0"],
            &["--max-consumers-per-channel", "0"],
            &["--max-arguments-size", "0"],
            &["--in-memory=perhaps"],
            &["--channel-max", "0"],
            &["--channel-max", "65536"],
            &["--frame-max", "4095"],
            &["--frame-max", "16777217"],
            &["--heartbeat", "65536"],
            &["--handshake-timeout", "0"],
            &["--log", "leveret=loud"],
            &["--data-dir", "d", "--in-memory"],
            &["--tls-user-from", "email"],
            &["--port", "5672"],
            &["start"],
        ] {
            assert_eq!(parse(wrong).unwrap_err().exit_code(), 2, "{wrong:?}");
        }
        assert_eq!(parse(&["--help"]).unwrap_err().exit_code(), 0);
        assert_eq!(parse(&["--version"]).unwrap_err().exit_code(), 0);
    }

    #[test]
    fn what_was_typed_beats_the_environment() {
        use Rank::{CommandLine, Default, Environment};
        for (in_memory, data_dir, chosen) in [
            (None, Default, Some(Chosen::Directory)),
            (None, Environment, Some(Chosen::Directory)),
            (Some(Environment), Default, Some(Chosen::Memory)),
            (Some(CommandLine), Environment, Some(Chosen::Memory)),
            (Some(Environment), CommandLine, Some(Chosen::Directory)),
            (Some(Environment), Environment, None),
            (Some(CommandLine), CommandLine, None),
        ] {
            assert_eq!(storage(in_memory, data_dir), chosen, "{in_memory:?} {data_dir:?}");
        }
    }
}
