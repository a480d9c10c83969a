//! Every reason for which a channel or a connection is closed, by reply code.
//!
//! The texts are RabbitMQ's, to the letter, since clients and their users read them.

use leveret_codec::{ReplyCode, ShortString};

use super::{Difference, FrameStart, InvalidValue, Resource, ResourceKind};
use crate::broker::limits;
use crate::broker::names::{erlang_binary, erlang_octets, erlang_pair};

/// Makes the enum and the reply code of each of its variants from one list: the codes, below each the
/// reasons that have it.
macro_rules! faults {
    ($($code:ident {
        $($(#[$attribute:meta])+
        $reason:ident $(($($field:ty),+))? $({ $($name:ident: $type:ty),+ })?,)+
    })+) => {
        /// Why a channel or a connection is to be closed. Shown, it is RabbitMQ's explanation,
        /// without the name of the code in front.
        // why: the text of a reason says what each of its fields is.
        #[allow(missing_docs)]
        #[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
        pub enum Fault {
            $($(
                $(#[$attribute])+
                $reason $(($($field),+))? $({ $($name: $type),+ })?,
            )+)+
        }

        impl Fault {
            /// The reply code; a hard one closes the connection.
            pub fn code(&self) -> ReplyCode {
                match self {
                    $($(Fault::$reason { .. } => ReplyCode::$code,)+)+
                }
            }
        }
    };
}

faults! {
    ConnectionForced {
        /// The broker stops.
        #[error("broker forced connection closure with reason 'shutdown'")]
        Shutdown,
        /// The virtual host of the connection is gone.
        #[error("vhost '{0}' is deleted")]
        VhostDeleted(String),
        /// The user of the connection is gone.
        #[error("user '{0}' is deleted")]
        UserDeleted(String),
        /// An operator wants the connection to end, for this reason.
        #[error("{0}")]
        ClosedByOperator(String),
    }
    AccessRefused {
        /// User and password are not those of anybody. The field is the SASL mechanism.
        #[error(
            "Login was refused using authentication mechanism {0}. For details see the broker logfile."
        )]
        LoginRefused(&'static str),
        /// The user has no such permission.
        #[error("access to {to} refused for user '{user}'")]
        AccessRefused { to: Resource, user: String },
        /// The user may use the topic exchange, but not with this routing key.
        #[error("access to topic '{key}' in {exchange} refused for user '{user}'")]
        TopicRefused { key: ShortString, exchange: Resource, user: String },
        /// The default exchange cannot be declared, bound or deleted.
        #[error("operation not permitted on the default exchange")]
        DefaultExchange,
        /// Names that start with `amq.` are the server's.
        #[error("{0} name '{1}' contains reserved prefix 'amq.*'")]
        ReservedName(ResourceKind, ShortString),
        /// An exchange that is always there cannot be deleted.
        #[error("deletion of system {0} not allowed")]
        SystemExchange(Resource),
        /// Only other exchanges publish to an internal one.
        #[error("cannot publish to internal {0}")]
        InternalExchange(Resource),
        /// Another consumer has the queue for itself, or this one wants it and is not the first.
        #[error("{0} in exclusive use")]
        ExclusiveUse(Resource),
    }
    NotFound {
        /// There is no such queue or exchange.
        #[error("no {0}")]
        NotFound(Resource),
        /// An empty name stands for the queue declared last on the channel, and there is none.
        #[error("no previously declared queue")]
        NoLastQueue,
    }
    ResourceLocked {
        /// The queue is exclusive to another connection, or was declared exclusive and is not.
        #[error(
            "cannot obtain exclusive access to locked {0}. It could be originally declared on \
             another connection or the exclusive property value does not match that of the original \
             declaration."
        )]
        Locked(Resource),
        /// basic.get of a quorum queue that is for a single active consumer.
        #[error(
            "cannot obtain access to locked {0}. basic.get operations are not supported by quorum \
             queues with single active consumer"
        )]
        GetBesideSingleActive(Resource),
    }
    PreconditionFailed {
        /// A queue is to drop duplicates, which exchanges do here.
        #[error(
            "invalid arg 'x-message-deduplication' for {0}: queues drop no duplicates, exchanges of the type \
             x-message-deduplication do"
        )]
        DeduplicatedQueue(Resource),
        /// The patterns of a topic exchange take too many steps for a routing key.
        #[error("routing key meets more than {max} nodes of the patterns bound to {exchange}")]
        TooManyPatterns { exchange: Resource, max: usize },
        /// It is there already, and declared in another way.
        #[error("inequivalent arg '{field}' for {of}: {difference}")]
        Inequivalent { field: &'static str, of: Resource, difference: Difference },
        /// It is to be deleted if it is unused, and is not.
        #[error("{0} in use")]
        InUse(Resource),
        /// The queue is to be deleted if it is empty, and is not.
        #[error("{0} not empty")]
        NotEmpty(Resource),
        /// The virtual host has as many queues as it may have.
        #[error("cannot declare queue '{name}': queue limit in vhost '{vhost}' ({max}) is reached")]
        QueueLimit { name: ShortString, vhost: String, max: u64 },
        /// The channel has as many consumers as it may have.
        #[error("the channel has {0} consumers, as many as --max-consumers-per-channel allows")]
        ConsumerLimit(usize),
        /// The arguments are longer than they may be.
        #[error("the arguments take {length} bytes, more than the {max} that --max-arguments-size allows")]
        ArgumentsTooLong { length: usize, max: usize },
        /// What is defined takes as much memory as it may take.
        #[error(
            "exchanges, queues, bindings, consumers and connections of vhost '{vhost}' take all the \
             memory that --memory-limit leaves for them ({max} bytes)"
        )]
        DefinitionLimit { vhost: String, max: u64 },
        /// Only a client may leave the name of a queue to the server.
        #[error("a queue in definitions has a name")]
        UnnamedDefinition,

        /// The value of an argument.
        #[error("invalid arg '{name}' for {of}: {why}")]
        InvalidArgument { name: &'static str, of: Resource, why: InvalidValue },
        /// The value of an argument that names an exchange, and is no string.
        #[error("invalid type '{type_name}' for arg '{name}' in {of}")]
        InvalidArgumentType { name: &'static str, of: Resource, type_name: &'static str },
        /// An argument for another type of queue. The type is the name of its module in RabbitMQ.
        #[error("invalid arg '{name}' for {of} of queue type {queue_type}")]
        ForeignArgument { name: &'static str, of: Resource, queue_type: &'static str },
        /// This type of queue is always durable, never exclusive, or never deleted automatically.
        #[error("invalid property '{property}' for {of}")]
        InvalidProperty { property: &'static str, of: Resource },
        /// A number that is too large for this argument.
        #[error("Exceeded max value for {0}")]
        ArgumentTooLarge(&'static str),
        /// This type of queue needs a name of the client's.
        #[error("Cannot declare a server-named queue for type {0}")]
        ServerNamed(&'static str),
        /// The value of `x-match` of a binding.
        #[error("Invalid x-match field value {0}; expected all, any, all-with-x, or any-with-x")]
        InvalidMatch(String),
        /// The type of `x-match`.
        #[error("Invalid x-match field type {type_name} (value {value}); expected longstr")]
        InvalidMatchType { type_name: &'static str, value: String },
        /// A consistent-hash exchange hashes one thing.
        #[error("hash-header and hash-property are mutually exclusive")]
        HashOnTwo,
        /// No property that a consistent-hash exchange knows.
        #[error("Unsupported property: {0}")]
        HashProperty(String),
        /// The binding key of a consistent-hash exchange is a weight.
        #[error("The binding key must be an integer: {}", erlang_binary(.key.as_bytes()))]
        InvalidWeight { key: ShortString },
        /// A weight that gives a destination nothing.
        #[error("The binding key must be greater than 0")]
        NoWeight,
        /// A deduplicating exchange has a size.
        #[error("Missing or invalid argument, 'x-cache-size' must be an integer greater than 0")]
        CacheSize,
        /// How long a deduplicating exchange remembers.
        #[error("Invalid argument, 'x-cache-ttl' must be an integer greater than 0")]
        CacheTtl,
        /// Where a deduplicating exchange remembers.
        #[error("Invalid argument, 'x-cache-persistence' must be either 'disk' or 'memory'")]
        CachePersistence,
        /// A delayed exchange routes as another type does.
        #[error("Invalid argument, 'x-delayed-type' must be an existing exchange type")]
        DelayedType,
        /// A delayed exchange does not route as itself.
        #[error("Invalid argument, 'x-delayed-message' can't be used for 'x-delayed-type'")]
        DelayedTwice,

        /// The property `expiration` of a message.
        #[error("invalid expiration '{expiration}': {why}")]
        InvalidExpiration { expiration: ShortString, why: InvalidValue },
        /// The header `CC` or `BCC` of a message.
        #[error("invalid message: {{unacceptable_type_in_header,\"{name}\",{type_name}}}")]
        InvalidCopyKeys { name: &'static str, type_name: &'static str },
        /// The property `delivery-mode` of a message.
        #[error("invalid message: {{delivery_mode_unknown,{0}}}")]
        UnknownDeliveryMode(u8),
        /// The property `user-id` of a message names somebody else.
        #[error("user_id property set to '{user_id}' but authenticated user was '{user}'")]
        ForeignUserId { user_id: ShortString, user: String },
        /// The body is larger than the broker takes.
        #[error("message size {size} is larger than {} size {max}", which_max(.max))]
        MessageTooLarge { size: u64, max: u64 },

        /// No such delivery of the channel waits for an acknowledgement.
        #[error("unknown delivery tag {0}")]
        UnknownDeliveryTag(u64),
        /// A delivery was not acknowledged in time.
        #[error(
            "delivery acknowledgement on channel {channel} timed out. Timeout value used: \
             {timeout_ms} ms. This timeout value can be configured, see consumers doc guide to learn \
             more"
        )]
        ConsumerTimeout { channel: u16, timeout_ms: u64 },
        /// A request for a direct reply, without a consumer for it.
        #[error("fast reply consumer does not exist")]
        NoReplyConsumer,
        /// A channel has one consumer of direct replies.
        #[error("reply consumer already set")]
        SecondReplyConsumer,
        /// Direct replies are not acknowledged.
        #[error("reply consumer cannot acknowledge")]
        AcknowledgingReplyConsumer,
        /// A channel with confirms has no transactions.
        #[error("cannot switch from confirm to tx mode")]
        ConfirmToTx,
        /// A channel with transactions has no confirms.
        #[error("cannot switch from tx to confirm mode")]
        TxToConfirm,
        /// Commit or rollback where tx.select did not come before.
        #[error("channel is not transactional")]
        NotTransactional,
        /// A queue, or the disk, did not take all that was committed.
        #[error("partial tx completion")]
        PartialCommit,
    }
    FrameError {
        /// A frame of a type, or with a payload, that does not exist.
        #[error("{0}: unknown_frame")]
        UnknownFrame(FrameStart),
        /// A frame beyond the negotiated size.
        #[error("{start}: {{frame_too_large,{size},{limit}}}")]
        FrameTooLarge { start: FrameStart, size: u32, limit: u32 },
        /// A frame that does not end where it says.
        #[error("{}", frame_end(.start, .end))]
        InvalidFrameEnd { start: FrameStart, end: u8 },
        /// The arguments of a method do not fit it.
        #[error("cannot decode {}", erlang_octets(.arguments))]
        MalformedMethod { arguments: Vec<u8> },
        /// A short string of a method is no text.
        #[error("Malformed UTF-8 in shortstr")]
        NotUtf8,
        /// A content header announces more than any broker takes.
        #[error("content body size {size} exceeds maximum allowed size {max}")]
        AnnouncedTooLarge { size: u64, max: u64 },
        /// More of a body came than was announced.
        #[error("content body frame exceeds remaining content size")]
        BodyTooLong,
    }
    CommandInvalid {
        /// An exchange of a type that is not there.
        #[error("unknown exchange type '{0}'")]
        UnknownExchangeType(ShortString),
        /// An exchange without a type.
        #[error("invalid exchange type ''")]
        NoExchangeType,
        /// A method that clients do not send.
        #[error("unimplemented method")]
        UnknownMethod,
    }
    ChannelError {
        /// The channel is not open.
        #[error("expected 'channel.open'")]
        ChannelNotOpen,
        /// The channel is open already.
        #[error("second 'channel.open' seen")]
        ChannelAlreadyOpen,
        /// A method of the handshake, or one for a channel, on channel 0.
        #[error("unexpected method in connection state running")]
        NotOnConnection,
        /// Something else than connection.open where that is due.
        #[error("unexpected method in connection state opening")]
        NotWhileOpening,
        /// A method before the answer to a commit.
        #[error("unexpected command while processing 'tx.commit'")]
        CommitPending,
    }
    UnexpectedFrame {
        /// A frame on a channel where its type cannot be.
        #[error("{0}")]
        MisplacedFrame(FrameStart),
        /// Content where none is due.
        #[error("expected method frame, got non method frame instead")]
        MethodExpected,
        /// Something else where the content header of this class is due.
        #[error("expected content header for class {0}, got non content header frame instead")]
        HeaderExpected(u16),
        /// The content header of another class.
        #[error("expected content header for class {expected}, got one for class {found} instead")]
        ForeignHeader { expected: u16, found: u16 },
        /// Something else where a body is due.
        #[error("expected content body, got non content body frame instead")]
        BodyExpected,
    }
    ResourceError {
        /// The partial messages of the connection, or of all, take too much memory.
        #[error("too many octets of unfinished messages")]
        TooManyPartialMessages,
        /// What is defined takes as much memory as it may take.
        #[error(
            "no memory for more channels in vhost '{vhost}': what is defined takes all that \
             --memory-limit leaves for it ({max} bytes)"
        )]
        NoMemoryForChannel { vhost: String, max: u64 },
    }
    NotAllowed {
        /// There is no such virtual host.
        #[error("vhost {0} not found")]
        VhostNotFound(String),
        /// The user has no permissions in the virtual host.
        #[error("access to vhost '{vhost}' refused for user '{user}'")]
        VhostRefused { vhost: String, user: String },
        /// The virtual host has as many connections as it may have.
        #[error(
            "access to vhost '{vhost}' refused for user '{user}': connection limit ({max}) is reached"
        )]
        VhostConnectionLimit { vhost: String, user: String, max: u64 },
        /// The user has as many connections as it may have.
        #[error(
            "connection refused for user '{user}': user connection limit ({max}) is reached"
        )]
        UserConnectionLimit { user: String, max: u64 },
        /// The broker has as many connections as it may have.
        #[error("connection refused: node connection limit ({0}) is reached")]
        NodeConnectionLimit(usize),
        /// The connection has as many channels as was negotiated.
        #[error(
            "number of channels opened ({open}) has reached the negotiated channel_max ({max})"
        )]
        ChannelLimit { open: usize, max: u16 },
        /// The user has as many channels as it may have.
        #[error(
            "number of channels opened for user '{user}' has reached the maximum allowed user limit \
             of ({max})"
        )]
        UserChannelLimit { user: String, max: u64 },
        /// The channel has a consumer with this tag.
        #[error("attempt to reuse consumer tag '{0}'")]
        ConsumerTagInUse(ShortString),
    }
    NotImplemented {
        /// basic.publish with the flag that RabbitMQ dropped.
        #[error("immediate=true")]
        Immediate,
        /// basic.recover back to the same consumers.
        #[error("requeue=false")]
        RecoverToSame,
        /// channel.flow that stops the broker.
        #[error("active=false")]
        StopFlow,
        /// basic.qos by octets.
        #[error("prefetch_size!=0 ({0})")]
        PrefetchSize(u32),
        /// A quorum queue knows no window that consumers share.
        #[error("{0} does not support global qos")]
        GlobalPrefetch(Resource),
        /// A quorum queue is deleted without conditions.
        #[error(
            "cannot delete {of}. queue.delete operations with {flag} flag set are not supported by \
             quorum queues"
        )]
        ConditionalDelete { of: Resource, flag: &'static str },
        /// A queue of the type `stream`.
        #[error("streams are not built yet in leveret")]
        Streams,
    }
    InternalError {
        /// Properties that cannot be decoded.
        // rabbitmq: its channel crashes of them, and has no explanation for it.
        #[error("")]
        UnreadableProperties,
        /// The virtual host has failed inside the broker.
        // rabbitmq: explains nothing of an error of its own either.
        #[error("")]
        VhostFailed,
        /// The virtual host has failed before.
        #[error("access to vhost '{vhost}' refused for user '{user}': vhost '{vhost}' is down")]
        VhostDown { vhost: String, user: String },
    }
}

/// How RabbitMQ calls the largest size of a message: the one it was built with, or another.
fn which_max(max: &u64) -> &'static str {
    if *max == limits::ANNOUNCED_SIZE { "max" } else { "configured max" }
}

/// The text of a frame that does not end where it says, which may take two lines.
fn frame_end(start: &FrameStart, end: &u8) -> String {
    let start = format!("{start}: ");
    let reason = erlang_pair("invalid_frame_end_marker", end, start.len());
    start + &reason
}
