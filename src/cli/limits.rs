//! The options that say how much a client may ask for.

use std::time::Duration;

use clap::Args;
use clap::builder::RangedU64ValueParser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::values::{parse_bytes, parse_bytes_in};
use crate::broker::limits;
use crate::config::{DISK_FREE_LIMIT, LEAST_LOG_FILE_BYTES, LOG_FILE_BYTES};
use crate::memory;
use crate::rabbit::LimitSettings;

/// What bounds clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections open at once; as many as the limit of open files allows when absent.
    pub max_connections: Option<usize>,
    /// Memory that messages may take, in bytes; the usual share of the machine's when absent.
    pub memory_limit: Option<u64>,
    /// Free room on the disk below which publishers are blocked, in bytes.
    pub disk_free_limit: u64,
    /// Length of a log file when it is followed by a new one, in bytes.
    pub log_file_size: u64,
    /// Channels open at once on a connection.
    pub channel_max: u16,
    /// Largest frame, in bytes.
    pub frame_max: u32,
    /// Heartbeat timeout that is proposed, in seconds.
    pub heartbeat_secs: u16,
    /// How long a connection may take to be open.
    pub handshake_timeout: Duration,
    /// How long a client may read nothing of what it is sent.
    pub send_timeout: Duration,
    /// How long a delivery may wait for its acknowledgement; zero for ever.
    pub consumer_timeout: Duration,
    /// Largest message body that is taken, in bytes.
    pub max_message_size: u64,
    /// Consumers that a channel may have.
    pub max_consumers_per_channel: usize,
    /// Longest arguments of an exchange, a queue, a binding or a consumer, in bytes.
    pub max_arguments_size: usize,
}

#[derive(Debug, Args)]
pub(super) struct LimitArguments {
    /// Connections that may be open at once; one more is refused with 530. Unless given there may be
    /// as many as the limit of open files (ulimit -n, raised as far as the system lets it) allows.
    #[arg(
        long,
        value_name = "N",
        env = "LEVERET_MAX_CONNECTIONS",
        hide_env_values = true,
        value_parser = RangedU64ValueParser::<usize>::new().range(1..),
    )]
    max_connections: Option<usize>,

    /// Memory that what clients make the broker keep may take, such as 256MiB, 2GB or 40% of what there is. Long
    /// before it is reached, waiting messages go to the disk; when it is reached all the same, publishers are
    /// blocked. When exchanges, queues, bindings, consumers and connections take three quarters of it, no more
    /// of them may be declared. [default: 40%]
    #[arg(
        long,
        value_name = "SIZE",
        env = "LEVERET_MEMORY_LIMIT",
        hide_env_values = true,
        value_parser = parse_memory_limit,
    )]
    memory_limit: Option<u64>,

    /// Free room on the disk of the data directory below which publishers are blocked, in bytes or such as 1GiB.
    /// What the broker keeps on the disk for nothing is removed meanwhile.
    #[arg(
        long,
        value_name = "SIZE",
        env = "LEVERET_DISK_FREE_LIMIT",
        hide_env_values = true,
        default_value_t = DISK_FREE_LIMIT,
        value_parser = parse_bytes,
    )]
    disk_free_limit: u64,

    /// Length at which a log file is followed by a new one, in bytes or such as 16MiB; 1MiB at least. Each virtual
    /// host has four of them before the oldest goes, and where memory is limited they are shorter.
    #[arg(
        long,
        value_name = "SIZE",
        env = "LEVERET_LOG_FILE_SIZE",
        hide_env_values = true,
        default_value_t = LOG_FILE_BYTES,
        value_parser = parse_log_file_size,
    )]
    log_file_size: u64,

    /// Channels that may be open at once on a connection, proposed to clients.
    #[arg(
        long,
        value_name = "N",
        env = "LEVERET_CHANNEL_MAX",
        hide_env_values = true,
        default_value_t = limits::CHANNEL_MAX,
        value_parser = clap::value_parser!(u16).range(1..),
    )]
    channel_max: u16,

    /// Largest frame that is taken, proposed to clients: 4096 to 16777216 bytes, such as 128KiB.
    #[arg(
        long,
        value_name = "SIZE",
        env = "LEVERET_FRAME_MAX",
        hide_env_values = true,
        default_value_t = limits::FRAME_MAX,
        value_parser = parse_frame_max,
    )]
    frame_max: u32,

    /// Heartbeat timeout proposed to clients, in seconds; 0 for none. A client that agrees and is
    /// silent for twice as long is given up.
    #[arg(
        long,
        value_name = "SECS",
        env = "LEVERET_HEARTBEAT",
        hide_env_values = true,
        default_value_t = limits::HEARTBEAT_SECS,
    )]
    heartbeat: u16,

    /// Time from the accepted socket to the open connection, in milliseconds; a client that takes
    /// longer is cut off.
    #[arg(
        long,
        value_name = "MS",
        env = "LEVERET_HANDSHAKE_TIMEOUT",
        hide_env_values = true,
        default_value_t = limits::HANDSHAKE_MS,
        value_parser = clap::value_parser!(u64).range(1..),
    )]
    handshake_timeout: u64,

    /// Time for which a client may read nothing of what waits for it, in milliseconds; then it is cut off, and
    /// what it had not acknowledged goes back to its queues.
    #[arg(
        long,
        value_name = "MS",
        env = "LEVERET_SEND_TIMEOUT",
        hide_env_values = true,
        default_value_t = limits::SEND_MS,
        value_parser = clap::value_parser!(u64).range(1..),
    )]
    send_timeout: u64,

    /// Time for which a client may leave a delivery unacknowledged, in milliseconds, where its queue does not say
    /// (x-consumer-timeout); then its channel is closed with 406. 0 for ever.
    #[arg(
        long,
        value_name = "MS",
        env = "LEVERET_CONSUMER_TIMEOUT",
        hide_env_values = true,
        default_value_t = limits::CONSUMER_TIMEOUT_MS,
    )]
    consumer_timeout: u64,

    /// Largest message body that is taken, in bytes or such as 16MiB; 512MiB at most.
    #[arg(
        long,
        value_name = "SIZE",
        env = "LEVERET_MAX_MESSAGE_SIZE",
        hide_env_values = true,
        default_value_t = limits::MESSAGE_SIZE,
        value_parser = parse_message_size,
    )]
    max_message_size: u64,

    /// Consumers that a channel may have; one more is refused with 406.
    #[arg(
        long,
        value_name = "N",
        env = "LEVERET_MAX_CONSUMERS_PER_CHANNEL",
        hide_env_values = true,
        default_value_t = limits::CONSUMERS_PER_CHANNEL,
        value_parser = RangedU64ValueParser::<usize>::new().range(1..),
    )]
    max_consumers_per_channel: usize,

    /// Longest arguments of an exchange, a queue, a binding or a consumer, in bytes or such as 64KiB; longer
    /// ones are refused with 406.
    #[arg(
        long,
        value_name = "SIZE",
        env = "LEVERET_MAX_ARGUMENTS_SIZE",
        hide_env_values = true,
        default_value_t = limits::ARGUMENTS_BYTES,
        value_parser = parse_arguments_size,
    )]
    max_arguments_size: usize,
}

impl LimitArguments {
    /// Takes from a configuration what neither an option nor a variable says.
    pub(super) fn fill(&mut self, from: &LimitSettings, is_default: impl Fn(&str) -> bool) {
        fn put<T>(target: &mut T, value: Option<T>, is_default: bool) {
            if let Some(value) = value.filter(|_| is_default) {
                *target = value;
            }
        }
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.max_connections = self.max_connections.or(from.max_connections);
        self.memory_limit = self.memory_limit.or(from.memory_limit);
        put(&mut self.disk_free_limit, from.disk_free_limit, is_default("disk_free_limit"));
        put(&mut self.channel_max, from.channel_max, is_default("channel_max"));
        put(&mut self.frame_max, from.frame_max, is_default("frame_max"));
        put(&mut self.heartbeat, from.heartbeat_secs, is_default("heartbeat"));
        let time = from.handshake_timeout.map(millis);
        put(&mut self.handshake_timeout, time, is_default("handshake_timeout"));
        let time = from.consumer_timeout.map(millis);
        put(&mut self.consumer_timeout, time, is_default("consumer_timeout"));
        put(&mut self.max_message_size, from.max_message_size, is_default("max_message_size"));
        let consumers = from.max_consumers_per_channel;
        let is_default = is_default("max_consumers_per_channel");
        put(&mut self.max_consumers_per_channel, consumers, is_default);
    }
}

impl From<LimitArguments> for Limits {
    fn from(arguments: LimitArguments) -> Self {
        Limits {
            max_connections: arguments.max_connections,
            memory_limit: arguments.memory_limit,
            disk_free_limit: arguments.disk_free_limit,
            log_file_size: arguments.log_file_size,
            channel_max: arguments.channel_max,
            frame_max: arguments.frame_max,
            heartbeat_secs: arguments.heartbeat,
            handshake_timeout: Duration::from_millis(arguments.handshake_timeout),
            send_timeout: Duration::from_millis(arguments.send_timeout),
            consumer_timeout: Duration::from_millis(arguments.consumer_timeout),
            max_message_size: arguments.max_message_size,
            max_consumers_per_channel: arguments.max_consumers_per_channel,
            max_arguments_size: arguments.max_arguments_size,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_connections: None,
            memory_limit: None,
            disk_free_limit: DISK_FREE_LIMIT,
            log_file_size: LOG_FILE_BYTES,
            channel_max: limits::CHANNEL_MAX,
            frame_max: limits::FRAME_MAX,
            heartbeat_secs: limits::HEARTBEAT_SECS,
            handshake_timeout: Duration::from_millis(limits::HANDSHAKE_MS),
            send_timeout: Duration::from_millis(limits::SEND_MS),
            consumer_timeout: Duration::from_millis(limits::CONSUMER_TIMEOUT_MS),
            max_message_size: limits::MESSAGE_SIZE,
            max_consumers_per_channel: limits::CONSUMERS_PER_CHANNEL,
            max_arguments_size: limits::ARGUMENTS_BYTES,
        }
    }
}

fn parse_memory_limit(text: &str) -> Result<u64, String> {
    let bytes = memory::parse_size(text, memory::available)?;
    if bytes < memory::LEAST_LIMIT {
        return Err(format!("a broker needs {}MiB at least", memory::LEAST_LIMIT >> 20));
    }
    Ok(bytes)
}

fn parse_log_file_size(text: &str) -> Result<u64, String> {
    parse_bytes_in(text, LEAST_LOG_FILE_BYTES, u64::MAX)
}

fn parse_frame_max(text: &str) -> Result<u32, String> {
    let bytes = parse_bytes_in(text, limits::FRAME_MIN.into(), limits::FRAME_LARGEST.into())?;
    u32::try_from(bytes).map_err(|error| error.to_string())
}

fn parse_message_size(text: &str) -> Result<u64, String> {
    parse_bytes_in(text, 1, limits::ANNOUNCED_SIZE)
}

fn parse_arguments_size(text: &str) -> Result<usize, String> {
    let bytes = parse_bytes_in(text, 1, u64::MAX)?;
    usize::try_from(bytes).map_err(|error| error.to_string())
}

/// Lets this process have as many open files as the system allows it: each client is one.
///
/// why: the usual soft limit of 1024 is for programs that use select().
pub fn raise_open_files() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => tracing::debug!(?current, ?maximum, "raised the limit of open files"),
        Err(error) => tracing::warn!(%error, "cannot raise the limit of open files"),
    }
}
