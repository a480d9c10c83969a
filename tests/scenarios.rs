//! What the broker does, feature by feature, against its core in virtual time. A test's name is the
//! rule it checks.

mod alarm;
mod binding;
mod channel;
mod closing;
mod confirms;
mod connection;
mod consistent_hash;
mod consume;
mod consumer_timeout;
mod content;
mod dead_letters;
mod deduplication;
mod definitions;
mod delayed;
mod exchange;
mod get;
mod limits;
mod notices;
mod outbox;
mod paging;
mod permission;
mod policy;
mod prefetch;
mod publish;
mod queue;
mod quorum;
mod quotas;
mod random;
mod reply_to;
mod restart;
mod routing;
mod settle;
mod topic_permission;
mod transactions;
mod ttl;
