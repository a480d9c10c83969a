//! The management API, against a broker inside the test: paths, status codes, names and texts as
//! RabbitMQ has them.
//!
//! Requests are written by hand onto a socket, so that what is seen is what goes over the wire.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

#[path = "management/access.rs"]
mod access;
#[path = "management/admin.rs"]
mod admin;
#[path = "management/arena.rs"]
mod arena;
#[path = "management/clients.rs"]
mod clients;
#[path = "management/definitions.rs"]
mod definitions;
#[path = "management/lists.rs"]
mod lists;
#[path = "management/messages.rs"]
mod messages;
#[path = "management/node.rs"]
mod node;
#[path = "management/objects.rs"]
mod objects;
#[path = "management/policies.rs"]
mod policies;
