//! The management API, against a broker inside the test: paths, status codes, names and texts as
//! RabbitMQ has them.
//!
//! Requests are written by hand onto a socket, so that what is seen is what goes over the wire.

mod access;
mod admin;
mod arena;
mod clients;
mod definitions;
mod lists;
mod long;
mod messages;
mod node;
mod objects;
mod paths;
mod policies;
mod sockets;
