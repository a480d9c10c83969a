//! `rabbitmqadmin`: commands for any broker with RabbitMQ's HTTP API.
//!
//! ```text
//!  words ─► syntax ─┬─► script: `declare queue name=q`    ─┬─► server: a request ─► broker
//!                   └─► ng:     `declare queue --name q`  ─┘
//! ```
//!
//! There are two programs of this name: a script, which came with RabbitMQ up to 3.13 and is in Debian, and
//! rabbitmqadmin-ng, which comes with RabbitMQ 4. Scripts of users call either.
//!
//! - `syntax` tells from the words which of the two is meant.
//! - `script` is the first one with all its commands, `ng` the second one with those that scripts use.
//! - `server` is whom both ask, `json` the answers, with their fields in order, `config_file` the files with settings.

mod config_file;
mod json;
mod ng;
mod script;
mod server;
mod syntax;

use std::ffi::OsString;

use self::syntax::Syntax;
use super::Console;

/// Runs a command. Returns the code that the process is to end with.
pub(super) fn run(arguments: &[OsString], console: &mut Console<'_>) -> u8 {
    let words: Vec<String> =
        arguments.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    match Syntax::of(&words, &console.environment) {
        Syntax::Script => script::run(&words, console),
        Syntax::Ng => ng::run(&words, console),
    }
}
