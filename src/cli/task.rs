//! What the program can do besides being a broker.

use std::path::PathBuf;

use clap::{Args, Subcommand};

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
        })
    }
}
