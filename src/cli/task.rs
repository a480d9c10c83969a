//! What the program can do besides being a broker.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use clap_complete::Shell;

use super::perf::{EXAMPLES, Perf, PerfArguments};
use crate::config::DEFAULT_DATA_DIR;

/// What the program is to do.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Task {
    /// Be a broker.
    #[default]
    Serve,
    /// Write the definitions to standard output.
    ExportDefinitions,
    /// Look at a data directory without changing it.
    Check,
    /// Put a broker under load and measure it.
    Perf(Box<Perf>),
    /// Run one of RabbitMQ's commands, which this word stands for, with these arguments.
    Command(&'static str, Vec<OsString>),
    /// Make links in this directory with the names under which leveret is another program.
    Links(PathBuf),
    /// Print the script that completes the command line in this shell.
    Completions(Shell),
    /// Write the manual pages into this directory.
    Man(PathBuf),
}

#[derive(Debug, Subcommand)]
pub(super) enum TaskArguments {
    /// Works on the definitions in a data directory: everything but messages.
    #[command(subcommand)]
    Definitions(DefinitionsArguments),

    /// Reads everything in a data directory that no broker uses and says what is in it, what is
    /// damaged and what a start would do about it. Changes nothing; a directory that cannot be
    /// written is fine.
    ///
    /// The exit code is 0 when all is whole, and 1 when something is damaged or cannot be read.
    Check(DataDirArguments),

    /// Writes the definitions in a data directory that no broker uses to standard output, in
    /// RabbitMQ's JSON: everything but messages. Changes nothing; a directory that cannot be written is
    /// fine. A running broker gives them at /api/definitions of its management API.
    Export(DataDirArguments),

    /// Puts a broker under load and measures it: messages a second, and latencies. Any broker of
    /// AMQP 0-9-1 will do.
    #[command(after_help = EXAMPLES)]
    Perf(Box<PerfArguments>),

    /// Says how the broker of this machine is: `leveret ctl status`.
    #[command(disable_help_flag = true)]
    Status(CommandArguments),

    /// Asks whether a broker runs on this machine: `leveret ctl ping`.
    #[command(disable_help_flag = true)]
    Ping(CommandArguments),

    /// Lists what the broker of this machine has: `leveret list queues` is `leveret ctl list_queues`.
    #[command(disable_help_flag = true)]
    List(CommandArguments),

    /// Empties a queue of the broker of this machine: `leveret ctl purge_queue`.
    #[command(disable_help_flag = true)]
    Purge(CommandArguments),

    /// RabbitMQ's command rabbitmqctl, for the broker of this machine: `leveret ctl help` has all of it.
    #[command(disable_help_flag = true)]
    Ctl(CommandArguments),

    /// RabbitMQ's command rabbitmq-diagnostics.
    #[command(disable_help_flag = true)]
    Diagnostics(CommandArguments),

    /// RabbitMQ's command rabbitmq-plugins.
    #[command(disable_help_flag = true)]
    Plugins(CommandArguments),

    /// RabbitMQ's command rabbitmq-queues.
    #[command(disable_help_flag = true)]
    Queues(CommandArguments),

    /// RabbitMQ's command rabbitmq-streams.
    #[command(disable_help_flag = true, hide = true)]
    Streams(CommandArguments),

    /// RabbitMQ's command rabbitmq-upgrade.
    #[command(disable_help_flag = true, hide = true)]
    Upgrade(CommandArguments),

    /// RabbitMQ's command rabbitmqadmin: acts on a broker over its HTTP API.
    #[command(disable_help_flag = true)]
    Admin(CommandArguments),

    /// Makes links in a directory, such as rabbitmqctl and rabbitmq-server, under which leveret is these programs.
    Links {
        /// The directory, which must be there. What has one of the names already is left as it is.
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },

    /// Prints a script that completes this command line in a shell: `leveret completions bash >
    /// /usr/share/bash-completion/completions/leveret`.
    Completions {
        /// The shell that is to complete it.
        #[arg(value_name = "SHELL", value_enum)]
        shell: Shell,
    },

    /// Writes the manual pages into a directory: `leveret man /usr/local/share/man/man1`.
    Man {
        /// The directory, which is made if it is not there.
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
}

/// Arguments that the command itself reads, in RabbitMQ's way.
#[derive(Debug, Args)]
pub(super) struct CommandArguments {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
    arguments: Vec<OsString>,
}

impl CommandArguments {
    /// Behind this word.
    fn behind(mut self, command: &str) -> Vec<OsString> {
        self.arguments.insert(0, command.into());
        self.arguments
    }

    /// With the first word, a plural, as the command that lists it.
    fn list(mut self) -> Vec<OsString> {
        match self.arguments.first_mut() {
            Some(plural) if !plural.as_encoded_bytes().starts_with(b"-") => {
                let mut command = OsString::from("list_");
                command.push(&*plural);
                *plural = command;
            }
            // What can be listed, one a line.
            _ => self.arguments = vec!["autocomplete".into(), "list_".into()],
        }
        self.arguments
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum DefinitionsArguments {
    /// The same as `leveret export`.
    Export(DataDirArguments),
}

#[derive(Debug, Args)]
pub(super) struct DataDirArguments {
    /// The data directory.
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,

    /// The data directory, in the way a broker is told. [default: ./leveret-data]
    #[arg(long, value_name = "DIR", env = "LEVERET_DATA_DIR", hide_env_values = true)]
    data_dir: Option<PathBuf>,
}

impl DataDirArguments {
    fn path(self) -> PathBuf {
        self.directory.or(self.data_dir).unwrap_or_else(|| DEFAULT_DATA_DIR.into())
    }
}

impl TaskArguments {
    /// The task, and the data directory that it is about, if it is.
    ///
    /// # Errors
    /// In a line that names the option that makes no sense.
    pub(super) fn task(self) -> Result<(Task, Option<PathBuf>), String> {
        Ok(match self {
            TaskArguments::Definitions(DefinitionsArguments::Export(of))
            | TaskArguments::Export(of) => (Task::ExportDefinitions, Some(of.path())),
            TaskArguments::Check(of) => (Task::Check, Some(of.path())),
            TaskArguments::Perf(perf) => (Task::Perf(Box::new(perf.perf()?)), None),
            TaskArguments::Status(it) => (Task::Command("ctl", it.behind("status")), None),
            TaskArguments::Ping(it) => (Task::Command("ctl", it.behind("ping")), None),
            TaskArguments::List(it) => (Task::Command("ctl", it.list()), None),
            TaskArguments::Purge(it) => (Task::Command("ctl", it.behind("purge_queue")), None),
            TaskArguments::Ctl(it) => (Task::Command("ctl", it.arguments), None),
            TaskArguments::Diagnostics(it) => (Task::Command("diagnostics", it.arguments), None),
            TaskArguments::Plugins(it) => (Task::Command("plugins", it.arguments), None),
            TaskArguments::Queues(it) => (Task::Command("queues", it.arguments), None),
            TaskArguments::Streams(it) => (Task::Command("streams", it.arguments), None),
            TaskArguments::Upgrade(it) => (Task::Command("upgrade", it.arguments), None),
            TaskArguments::Admin(it) => (Task::Command("admin", it.arguments), None),
            TaskArguments::Links { directory } => (Task::Links(directory), None),
            TaskArguments::Completions { shell } => (Task::Completions(shell), None),
            TaskArguments::Man { directory } => (Task::Man(directory), None),
        })
    }
}
