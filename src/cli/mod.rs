//! The command line of the program `leveret`: what may be said there, and standard output and standard
//! error.
//!
//! Nothing is started here; `main` does that with the library's public interface.

mod config;
mod control;
mod detached;
mod generated;
mod limits;
mod line_queue;
mod output;
mod perf;
mod pid_file;
mod service_manager;
mod task;
mod tls;
mod values;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::{BoolishValueParser, Resettable};
use clap::error::ErrorKind;
use clap::{ArgAction, Command, CommandFactory, FromArgMatches, Parser};

pub use self::config::Refusal;
use self::config::{ConfigArguments, Rank, rank};
pub use self::detached::{start_detached, without_detached};
pub use self::generated::{completions, write_man_pages};
use self::limits::LimitArguments;
pub use self::limits::{Limits, raise_open_files};
pub use self::output::Output;
pub use self::perf::Perf;
pub use self::pid_file::PidFile;
pub use self::service_manager::ServiceManager;
pub use self::task::Task;
use self::task::TaskArguments;
use self::tls::TlsArguments;
use self::values::{parse_address, parse_filter};
use crate::config::{
    DEFAULT_DATA_DIR, DEFAULT_LISTEN, DEFAULT_LOOPBACK_USER, DefinitionsSource, FirstObjects,
    Storage, Tls,
};
use crate::rabbit::{LogTarget, Node, Notice};

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

    /// Socket by which leveret ctl, rabbitmqctl and the like reach this broker: for root and for the user that it
    /// runs as, without a password. NONE for none. [default: named after the node, beside the data of a node in
    /// RabbitMQ's place, otherwise in /run/leveret, $XDG_RUNTIME_DIR/leveret or /tmp/leveret-UID]
    #[arg(long, value_name = "PATH", env = "LEVERET_CONTROL_SOCKET", hide_env_values = true)]
    control_socket: Option<PathBuf>,

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
    config: ConfigArguments,

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
  leveret --config rabbitmq.conf            with a configuration of RabbitMQ
  leveret perf --seconds 10                 how fast a broker is; leveret perf --help says more

An option beats its environment variable, and that beats a file of --config; a variable that is empty counts
as not set. LEVERET_LISTEN takes several addresses, with commas. Under the name rabbitmq-server it stands in
for RabbitMQ's server: see --rabbitmq-env. The broker stops in order on SIGTERM and on Ctrl-C; another signal, a
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
    /// Definitions to bring into being.
    pub definitions: Option<DefinitionsSource>,
    /// What is made on a data directory that is new.
    pub first: FirstObjects,
    /// What the cluster is called, if that is said.
    pub cluster_name: Option<String>,
    /// What only a node has that is started in RabbitMQ's way.
    pub node: Option<Node>,
    /// Where the control socket is to be; `none` for none, absent for the usual place.
    pub control_socket: Option<PathBuf>,
    /// Whether to start although something is lost.
    pub accept_loss: bool,
    /// What to log, in the syntax of `tracing_subscriber::EnvFilter`.
    pub log: String,
    /// Where the log goes.
    pub log_target: LogTarget,
    /// What there is to log of the configuration.
    pub notices: Vec<Notice>,
}

impl Options {
    /// From the arguments and the environment of this process. Answers `--help` and `--version`,
    /// and says what is wrong with wrong options; in all these cases the process ends here.
    pub fn from_process() -> Self {
        Options::parse_from(std::env::args_os()).unwrap_or_else(|refusal| refusal.exit())
    }

    /// From these arguments, the first of which is the program's name, and the environment.
    ///
    /// # Errors
    /// What there is to say instead of starting: help, version, or what is wrong.
    pub fn parse_from(
        arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    ) -> Result<Self, Refusal> {
        let arguments: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
        let mut command = without_empty_variables(Arguments::command());
        let matches = command.try_get_matches_from_mut(&arguments)?;
        let program = arguments.into_iter().next().unwrap_or_default();
        let mut arguments = Arguments::from_arg_matches(&matches)?;
        if let Some(task) = arguments.task.take() {
            return Ok(Options::of_task(task, arguments)?);
        }
        let settings = arguments.config.settings(&program)?;
        let is_default = |argument: &str| rank(&matches, argument) == Rank::Default;
        let data_dir = match &settings.node {
            Some(node) if is_default("data_dir") => node.data_dir.clone(),
            _ => arguments.data_dir,
        };
        let in_memory = arguments.in_memory.then(|| rank(&matches, "in_memory"));
        let storage = storage(in_memory, rank(&matches, "data_dir"), data_dir);
        let storage = storage.map_err(|text| command.error(ErrorKind::ArgumentConflict, text))?;
        let (of_options, of_settings) = (arguments.management, settings.management);
        arguments.tls.fill(&settings, is_default)?;
        let tls_listen = arguments.tls.tls_listen.clone();
        let management = of_options.or(of_settings);
        let management_tls = arguments.tls.management_tls;
        let tls = arguments.tls.tls(management.is_some());
        let tls = tls.map_err(|text| command.error(ErrorKind::MissingRequiredArgument, text))?;
        let mut listen = arguments.listen;
        if listen.is_empty() {
            listen = settings.listen;
        }
        if listen.is_empty() && tls_listen.is_empty() {
            if let Some(nowhere) = settings.nowhere {
                return Err(nowhere.into());
            }
            listen.push(DEFAULT_LISTEN);
        }
        arguments.limits.fill(&settings.limits, is_default);
        let loopback_users = match settings.loopback_users {
            Some(users) if is_default("loopback_users") => users,
            _ => users(&arguments.loopback_users),
        };
        let log = match settings.log {
            Some(log) if is_default("log") => log,
            _ => arguments.log,
        };
        let node = settings.node.map(|node| node.at(&storage));
        Ok(Options {
            task: Task::Serve,
            listen,
            tls_listen,
            tls,
            loopback_users,
            management,
            management_tls,
            storage,
            limits: arguments.limits.into(),
            definitions: arguments
                .definitions
                .map(DefinitionsSource::File)
                .or(settings.definitions),
            first: settings.first,
            cluster_name: settings.cluster_name,
            node,
            control_socket: arguments.control_socket,
            accept_loss: arguments.accept_loss,
            log,
            log_target: settings.log_target,
            notices: settings.notices,
        })
    }

    fn of_task(task: TaskArguments, arguments: Arguments) -> Result<Self, clap::Error> {
        // why: one line is enough, the usage of so many options is not.
        let (task, data_dir) = task
            .task()
            .map_err(|text| clap::Error::raw(ErrorKind::ValueValidation, format!("{text}\n")))?;
        Ok(Options {
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
            first: FirstObjects::default(),
            cluster_name: None,
            node: None,
            control_socket: None,
            accept_loss: false,
            log: arguments.log,
            log_target: LogTarget::default(),
            notices: Vec::new(),
        })
    }
}

/// Where data are kept, from how that was asked for.
fn storage(
    in_memory: Option<Rank>,
    data_dir: Rank,
    path: PathBuf,
) -> Result<Storage, &'static str> {
    match in_memory {
        None => Ok(Storage::Directory(path)),
        Some(in_memory) if in_memory > data_dir => Ok(Storage::Memory),
        Some(in_memory) if in_memory < data_dir => Ok(Storage::Directory(path)),
        Some(_) => Err("--data-dir and --in-memory (LEVERET_DATA_DIR and LEVERET_IN_MEMORY) \
                        cannot be used together"),
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
mod tests;
