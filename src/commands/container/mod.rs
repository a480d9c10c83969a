//! What scripts expect in an image beside RabbitMQ's commands: the entry point, and the small tools that health checks
//! and port probes call.
//!
//! What this module deliberately is not: these tools know the options that such scripts use, and refuse others by
//! their name.

mod accounts;
mod curl;
mod entrypoint;
mod gosu;
mod nc;
mod replace;
#[cfg(test)]
mod testing;

use std::ffi::OsString;
use std::io;

use super::Console;

pub(super) use self::curl::curl;
pub(super) use self::nc::nc;

pub(super) fn entrypoint(arguments: &[OsString], console: &mut Console<'_>) -> u8 {
    failed(entrypoint::run(arguments, console), console)
}

pub(super) fn gosu(arguments: &[OsString], console: &mut Console<'_>) -> u8 {
    failed(gosu::run(arguments, console), console)
}

/// Why a program was not started: a line, and the code to end with.
#[derive(Debug, PartialEq, Eq)]
struct Failure {
    text: String,
    code: u8,
}

/// The code to end with. Who is here at all has not become another program.
fn failed(ended: Result<(), Failure>, console: &mut Console<'_>) -> u8 {
    match ended {
        Ok(()) => 0,
        Err(Failure { text, code }) => {
            console.complain(format!("{text}\n"));
            code
        }
    }
}

/// What the system says of an error, without its number.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.strip_prefix("failed to lookup address information: ").unwrap_or(&text);
    text.split(" (os error").next().unwrap_or_default().to_owned()
}
