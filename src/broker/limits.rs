//! Every number that bounds something, with its reason.

/// Highest number of open channels on a connection that is offered in tune.
///
/// rabbitmq: its default `channel_max`.
pub const CHANNEL_MAX: u16 = 2047;

/// Largest frame that is offered in tune, in octets.
///
/// rabbitmq: its default `frame_max`.
pub const FRAME_MAX: u32 = 131_072;

/// Smallest `frame_max` a client may ask for, in octets; the limit of frames before tune-ok too.
///
/// rabbitmq: 4096 until 4.0, 8192 since; clients of before still ask for 4096.
pub const FRAME_MIN: u32 = 4096;

/// Largest `frame_max` that can be offered, in octets.
///
/// why: a frame is in memory as a whole before anything is done with it, for each connection.
pub const FRAME_LARGEST: u32 = 16 * 1024 * 1024;

/// Heartbeat interval offered in tune, in seconds.
///
/// rabbitmq: its default `heartbeat`.
pub const HEARTBEAT_SECS: u16 = 60;

/// Largest message body that is taken, in octets.
///
/// rabbitmq: its default `max_message_size`.
pub const MESSAGE_SIZE: u64 = 134_217_728;

/// Largest body size that a content header may announce, in octets.
///
/// rabbitmq: the hard limit of 512 MiB; nothing above it is even read.
pub const ANNOUNCED_SIZE: u64 = 536_870_912;

/// How many octets the unfinished messages of a connection may hold in memory, where a body of
/// `max_message_size` is taken.
///
/// why: contents of several channels come frame by frame between each other, on 65,535 channels if a
/// client likes. Two of the largest at once, and thousands of small ones, are more than any client
/// needs that means to finish them.
pub const fn pending_octets(max_message_size: u64) -> usize {
    const SMALL: usize = 16 * 1024 * 1024;
    let largest = if max_message_size < ANNOUNCED_SIZE { max_message_size } else { ANNOUNCED_SIZE };
    SMALL + 2 * largest as usize
}

/// How many octets the unfinished messages of all connections, and the answers that their clients do not read,
/// may hold in memory before those that hold the most are closed: half as much as `memory_limit`, or as much as one connection may hold where that is more,
/// and never more than 1 GiB.
pub fn all_pending_octets(memory_limit: u64, max_message_size: u64) -> usize {
    const MOST: usize = 1024 * 1024 * 1024;
    let half = usize::try_from(memory_limit / 2).unwrap_or(usize::MAX);
    half.clamp(pending_octets(max_message_size).min(MOST), MOST)
}

/// How long a connection may take from its first octet to connection.open-ok, in milliseconds.
///
/// rabbitmq: its default `handshake_timeout`.
pub const HANDSHAKE_MS: u64 = 10_000;

/// How many nodes of topic patterns the keys of a message may meet at an exchange. One that meets more is refused.
///
/// why: it takes some milliseconds under the lock. Tens of thousands of patterns that are the same but for their `*`
/// and `#` are no way to sort messages; hundreds of thousands with words of their own cost a key next to nothing.
pub const TOPIC_NODES: usize = 65_536;

/// How long a client's socket may take nothing of what it is sent, in milliseconds.
///
/// rabbitmq: the `send_timeout` of its `tcp_listen_options`.
pub const SEND_MS: u64 = 30_000;

/// How long a refused connection is kept, in milliseconds, before the socket is closed.
///
/// rabbitmq: its "silent close delay". It keeps a client that tries passwords in a loop slow.
pub const REFUSAL_DELAY_MS: u64 = 3_000;

/// How long the other side may take for close-ok, in milliseconds, when heartbeats do not say less.
pub const CLOSE_TIMEOUT_MS: u64 = 30_000;

/// How many octets may wait to be written to a connection before its consumers get no more.
///
/// why: their messages stay in the queue, where TTL and limits apply, and other consumers can have
/// them. A megabyte is many writes ahead of any socket.
pub const OUTBOX_OCTETS: usize = 1 << 20;

/// How long a delivery may wait for its acknowledgement, in milliseconds, when its queue does not
/// say otherwise.
///
/// rabbitmq: its default `consumer_timeout`, 30 minutes.
pub const CONSUMER_TIMEOUT_MS: u64 = 1_800_000;

/// How often deliveries that wait too long are looked for, in milliseconds.
pub const UNACKED_CHECK_MS: u64 = 60_000;

/// How many messages of a queue one turn of the timer lets expire before others get their turn.
pub const EXPIRED_A_TURN: usize = 1_000;

/// How many messages of a queue one turn of a purge takes before others get their turn.
pub const PURGED_A_TURN: usize = 10_000;

/// How many octets may wait to be written to a connection before a mandatory message of it waits, which may
/// have to come back.
///
/// why: more than deliveries can reach. A client that sends many of them in one go, and reads when it is
/// done, is not stopped by the first that come back.
pub const OUTBOX_RETURNS_OCTETS: usize = 8 * OUTBOX_OCTETS;

/// How many octets may wait to be written to a connection before answers of direct reply-to are lost.
///
/// why: far above what deliveries can reach, so that a client which reads loses none.
pub const OUTBOX_REPLIES_OCTETS: usize = 64 * OUTBOX_OCTETS;

/// Of how many unknown arguments of queues a virtual host warns a minute; clients make them up, so it must end.
pub const NOTICED_ARGUMENTS: usize = 100;

/// Longest time an x-argument may state, in milliseconds: ten years.
pub const LONGEST_MS: u64 = 315_360_000_000;

/// How many connections of the HTTP API there may be; for one more, the one is closed that has waited longest.
pub const HTTP_CONNECTIONS: usize = 256;

/// How many steps one hold of a virtual host takes before others have their turn; a step deals with about
/// one message, consumer, queue or binding.
///
/// why: some milliseconds. A whole read of small publishes to one queue takes no steps at all, and
/// acknowledgements one each, so that ordinary batches are not cut.
pub const STEPS_A_HOLD: usize = 10_000;

/// How many messages, queues or deliveries one command deals with at once; more are work in steps.
pub const AT_ONCE: usize = 1_000;

/// How many steps an input takes, at most, that moves nothing: consumers that can take nothing leave their
/// round, queues are looked at whose time has not come.
pub const STEPS_AN_INPUT: usize = 100;

/// How many steps it takes, at most, to move something: a message that enters a queue or leaves it, a queue,
/// a consumer, a binding that is made or removed.
///
/// why: a message that dies is put together anew and routed, which takes most.
pub const STEPS_A_MOVE: usize = 20;

/// How many octets of an input, or of what it moves, cost a step more, at least.
pub const OCTETS_A_STEP: usize = 64;

/// The most steps that an input takes which has so many octets together with what it moves, and moves so many
/// things: all its holds together. Nothing is quadratic.
pub const fn most_steps_of_an_input(octets: usize, moved: usize) -> usize {
    STEPS_AN_INPUT + octets / OCTETS_A_STEP + moved * STEPS_A_MOVE
}

/// The most steps that one hold takes, when the largest of the messages that it moves has so many octets.
///
/// why more than [`STEPS_A_HOLD`]: a hold ends with the deed that uses up the last, which may deal with
/// [`AT_ONCE`] messages and evaluate as many queues.
pub const fn most_steps_of_a_hold(octets: usize) -> usize {
    STEPS_A_HOLD + 2 * AT_ONCE + octets / OCTETS_A_STEP
}

/// How many copies of a message dead-lettering makes, at most, without a client in between.
///
/// why: topologies in which queues dead-letter to each other multiply a message without end, and no client
/// asked for that. Real ones make a few copies.
pub const DEAD_LETTER_COPIES: u64 = 10_000;

/// In how many queues a message dies, at most, without a client in between.
///
/// why: each adds to the header x-death, so that a message grows with its way. Chains of retries have a
/// dozen.
pub const DEAD_LETTER_QUEUES: usize = 100;

/// How many dead letters that go back to a client's commands may wait to be routed on before its next command
/// is handled.
pub const DEAD_LETTERS_A_CLIENT: usize = 1_000;

/// How many consumers a channel may have, unless an operator says otherwise.
///
/// why: each costs memory, and a client has no use for so many.
pub const CONSUMERS_PER_CHANNEL: usize = 100_000;

/// How long the arguments of one exchange, queue, binding or consumer may be, in bytes, unless an operator
/// says otherwise: what fits into one frame of the usual size.
pub const ARGUMENTS_BYTES: usize = 128 * 1024;

/// How much what an x-message-deduplication exchange remembers may take, in bytes.
///
/// why: `x-cache-size` counts values, each of which may be as long as a frame.
pub const DEDUPLICATION_BYTES: usize = 16 * 1024 * 1024;

/// What clients may do; an operator may set it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientLimits {
    /// How many consumers a channel may have.
    pub max_consumers_per_channel: usize,
    /// How long the arguments of one exchange, queue, binding or consumer may be, in bytes.
    pub max_arguments_size: usize,
    /// How long a delivery may wait for its acknowledgement where its queue does not say, in milliseconds; zero for
    /// ever.
    pub consumer_timeout_ms: u64,
}

impl Default for ClientLimits {
    fn default() -> Self {
        ClientLimits {
            max_consumers_per_channel: CONSUMERS_PER_CHANNEL,
            max_arguments_size: ARGUMENTS_BYTES,
            consumer_timeout_ms: CONSUMER_TIMEOUT_MS,
        }
    }
}
