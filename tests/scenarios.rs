//! What the broker does, feature by feature, against its core in virtual time. A test's name is the
//! rule it checks.

#[path = "support/core.rs"]
pub(crate) mod world;

#[path = "scenarios/alarm.rs"]
mod alarm;
#[path = "scenarios/binding.rs"]
mod binding;
#[path = "scenarios/channel.rs"]
mod channel;
#[path = "scenarios/closing.rs"]
mod closing;
#[path = "scenarios/confirms.rs"]
mod confirms;
#[path = "scenarios/connection.rs"]
mod connection;
#[path = "scenarios/consistent_hash.rs"]
mod consistent_hash;
#[path = "scenarios/consume.rs"]
mod consume;
#[path = "scenarios/consumer_timeout.rs"]
mod consumer_timeout;
#[path = "scenarios/content.rs"]
mod content;
#[path = "scenarios/dead_letters.rs"]
mod dead_letters;
#[path = "scenarios/deduplication.rs"]
mod deduplication;
#[path = "scenarios/definitions.rs"]
mod definitions;
#[path = "scenarios/delayed.rs"]
mod delayed;
#[path = "scenarios/exchange.rs"]
mod exchange;
#[path = "scenarios/get.rs"]
mod get;
#[path = "scenarios/limits.rs"]
mod limits;
#[path = "scenarios/notices.rs"]
mod notices;
#[path = "scenarios/outbox.rs"]
mod outbox;
#[path = "scenarios/paging.rs"]
mod paging;
#[path = "scenarios/permission.rs"]
mod permission;
#[path = "scenarios/policy.rs"]
mod policy;
#[path = "scenarios/prefetch.rs"]
mod prefetch;
#[path = "scenarios/publish.rs"]
mod publish;
#[path = "scenarios/queue.rs"]
mod queue;
#[path = "scenarios/quorum.rs"]
mod quorum;
#[path = "scenarios/quotas.rs"]
mod quotas;
#[path = "scenarios/random.rs"]
mod random;
#[path = "scenarios/reply_to.rs"]
mod reply_to;
#[path = "scenarios/restart.rs"]
mod restart;
#[path = "scenarios/routing.rs"]
mod routing;
#[path = "scenarios/settle.rs"]
mod settle;
#[path = "scenarios/topic_permission.rs"]
mod topic_permission;
#[path = "scenarios/transactions.rs"]
mod transactions;
#[path = "scenarios/ttl.rs"]
mod ttl;
