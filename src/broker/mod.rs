//! The broker's rules: AMQP 0-9-1 as RabbitMQ plays it, without a socket, a disk or a clock.
//!
//! ```text
//!  octets ─► Connection ─► Command ─► Vhost ─► Outgoing ─► octets
//!            handshake,               queues,
//!            frames,                  exchanges,       ─► Record (what must survive a restart)
//!            content                  channels
//! ```
//!
//! A [`Connection`](connection::Connection) belongs to one client and turns what it sends into
//! [`Command`](command::Command)s. A [`Vhost`](vhost::Vhost) owns everything that clients share and
//! turns commands into [`Outgoing`](command::Outgoing) frames for any of them.
//!
//! What this module deliberately is not: it does no IO, reads no clock, takes chance from nowhere but the seed that
//! it is given and logs nothing. Input goes in with the time it happened at, output is data to be fetched.
//!
//! invariant: the same sequence of (now, connection, command) gives the same output.

pub mod access;
pub mod arena;
pub mod arguments;
pub mod bag;
pub mod chance;
pub mod channel;
pub mod client;
pub mod command;
pub mod confirm;
pub mod connection;
mod connection_info;
pub mod consumer;
mod content;
pub mod dead_letter;
pub mod error;
pub mod exchange;
pub mod expiry;
mod frame_fault;
pub mod handshake;
pub mod headers;
pub mod ids;
pub mod limits;
pub mod line;
pub mod message;
pub mod names;
pub mod notice;
pub mod paging;
pub mod policy;
pub mod queue;
pub mod queues;
pub mod range_set;
pub mod ready;
pub mod record;

pub mod snapshot;
pub mod statistics;
pub mod time;
pub mod topic;
pub mod transaction;
pub mod unacked;
pub mod vhost;
pub mod weight;
