//! All tests of the program and its library from outside, in one program: it holds the whole broker, so
//! that each more would take as long to link, and as much room, as this one.
//!
//! A module is a part that can be run alone: `cargo test --test it scenarios::`. Its tests share a
//! process with all others and run beside them. One that counts what the whole process does, or
//! changes it, runs in a child process (`support::own_process`).

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stderr, clippy::print_stdout, reason = "a test says why it fails")]

mod admin;
mod architecture;
mod cases;
mod cli;
mod crash;
mod ctl;
mod disk_faults;
mod examples;
mod faults;
mod hostile;
mod interop;
mod lapin;
mod limits;
mod logins;
mod management;
mod memory;
mod packages;
mod perf;
mod pika;
mod rabbit;
mod scenarios;
mod scenarios_paged;
mod secrets;
mod simulation;
mod support;
mod tls;
mod transcripts;
mod wire;
