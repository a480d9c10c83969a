//! The options that name a configuration of RabbitMQ, and how it counts beside the other options.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::builder::BoolishValueParser;
use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, Args};

use super::Options;
use crate::rabbit::{ConfigError, Environment, Importance, Mode, Settings, Sources};

#[derive(Debug, Args)]
pub(super) struct ConfigArguments {
    /// File in the format of rabbitmq.conf, or of Erlang's terms if its name ends with .config, or a directory of
    /// which all files *.conf are read; may be given several times, and the last one counts. Options and their
    /// variables count more. What is not obeyed is told in the log.
    #[arg(
        long,
        value_name = "FILE",
        env = "LEVERET_CONFIG",
        hide_env_values = true,
        value_delimiter = ','
    )]
    config: Vec<PathBuf>,

    /// Refuse a configuration with a key that RabbitMQ does not know, as RabbitMQ does.
    #[arg(
        long,
        env = "LEVERET_STRICT_CONF",
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
    strict_conf: bool,

    /// Stand in for RabbitMQ's image: as if started under the name rabbitmq-server, with guest from anywhere and
    /// the management API on port 15672.
    #[arg(
        long,
        env = "LEVERET_CONTAINER",
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
    container: bool,

    /// Stand in for RabbitMQ's server, as under the name rabbitmq-server: read the variables RABBITMQ_… and
    /// /etc/rabbitmq, listen on all interfaces, keep data where RabbitMQ does.
    #[arg(
        long,
        env = "LEVERET_RABBITMQ_ENV",
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
    rabbitmq_env: bool,
}

impl ConfigArguments {
    /// What the configuration says, for a program that was started under this name.
    pub(super) fn settings(&self, program: &OsStr) -> Result<Settings, ConfigError> {
        let is_server =
            Path::new(program).file_stem().is_some_and(|name| name == "rabbitmq-server");
        let mode = match self.container {
            true => Mode::Container,
            false if is_server || self.rabbitmq_env => Mode::Server,
            false => Mode::Plain,
        };
        let sources = Sources { mode, files: self.config.clone(), strict: self.strict_conf };
        Settings::load(&sources, &Environment::of_process())
    }
}

/// What there is to say instead of starting.
#[derive(Debug)]
pub enum Refusal {
    /// Help, version, or what is wrong with the options.
    Usage(clap::Error),
    /// What is wrong with the configuration.
    Configuration(ConfigError),
}

impl Refusal {
    /// The code that the process ends with.
    pub fn exit_code(&self) -> i32 {
        match self {
            Refusal::Usage(error) => error.exit_code(),
            Refusal::Configuration(_) => 1,
        }
    }

    /// Says it and ends the process.
    pub fn exit(self) -> ! {
        if let Refusal::Usage(error) = self {
            error.exit();
        }
        // Who does not read it has the exit code.
        let _ = writeln!(std::io::stderr(), "leveret: {self}");
        std::process::exit(self.exit_code());
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Refusal::Usage(error) => error.fmt(f),
            Refusal::Configuration(error) => error.fmt(f),
        }
    }
}

impl From<clap::Error> for Refusal {
    fn from(error: clap::Error) -> Self {
        Refusal::Usage(error)
    }
}

impl From<ConfigError> for Refusal {
    fn from(error: ConfigError) -> Self {
        Refusal::Configuration(error)
    }
}

impl Options {
    /// Logs what there is to say of the configuration.
    pub fn log_notices(&self) {
        for notice in &self.notices {
            match notice.importance {
                Importance::Warning => tracing::warn!("{}", notice.text),
                Importance::Info => tracing::info!("{}", notice.text),
                Importance::Debug => tracing::debug!("{}", notice.text),
            }
        }
    }
}

/// Which choice counts: an option beats the environment, which beats a default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    Default,
    Environment,
    CommandLine,
}

pub(super) fn rank(matches: &ArgMatches, argument: &str) -> Rank {
    match matches.value_source(argument) {
        Some(ValueSource::CommandLine) => Rank::CommandLine,
        Some(ValueSource::EnvVariable) => Rank::Environment,
        _ => Rank::Default,
    }
}
