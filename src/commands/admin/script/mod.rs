//! `rabbitmqadmin` as it came with RabbitMQ up to 3.13: `rabbitmqadmin declare queue name=q durable=true`.
//!
//! rabbitmq: its words, its texts, its tables and its exit codes, to the byte where they are not told by a failure of
//! Python itself.
//!
//! - `kinds` is the table of what there is: the kinds of objects with their arguments, in the script's order.
//! - `options` reads the options, `settings` counts them with the file of settings, `help` prints both.
//! - `request` makes a path and a body of `name=value`, `api` sends it.
//! - `verbs` is what each word does; `listing` makes rows of objects, `formats` prints them.

mod api;
mod completion;
mod formats;
mod help;
mod kinds;
mod listing;
mod options;
mod request;
mod settings;
mod verbs;

use std::path::Path;

use self::api::Api;
use self::options::Parsed;
use self::settings::Settings;
use super::super::Console;

/// The version that it says it has: the one of the broker that it comes with.
const VERSION: &str = crate::broker::handshake::VERSION;

/// Why a command ends before it is done.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    /// All is well: there was something to print, and it is printed.
    Well,
    /// The words are wrong.
    Usage(String),
    /// The options are wrong.
    Options(String),
    /// It cannot be done.
    Failed(String),
    /// The same, with a text of its own.
    Told(String),
}

impl Ended {
    fn usage(text: impl Into<String>) -> Self {
        Ended::Usage(text.into())
    }
}

/// Runs a command. Returns the code that the process is to end with.
pub(super) fn run(words: &[String], console: &mut Console<'_>) -> u8 {
    let ended = match command(words, console) {
        Ok(()) => return 0,
        Err(ended) => ended,
    };
    let (code, text) = match ended {
        Ended::Well => return 0,
        Ended::Usage(text) => (1, format!("\nERROR: {text}\n\nrabbitmqadmin --help for help\n\n")),
        Ended::Options(text) => (2, format!("{}\nrabbitmqadmin: error: {text}\n", help::USAGE)),
        Ended::Failed(text) => (1, format!("*** {text}\n\n")),
        Ended::Told(text) => (1, text),
    };
    console.complain(text);
    code
}

fn command(words: &[String], console: &mut Console<'_>) -> Result<(), Ended> {
    let (given, operands) = match options::parse(words)? {
        Parsed::Help => {
            help::print(console);
            return Ok(());
        }
        Parsed::Given(given, operands) => (given, operands),
    };
    if given.is_set("version") {
        console.print(format!("rabbitmqadmin {VERSION}\n"));
        return Ok(());
    }
    let settings = Settings::new(given, console)?;
    if settings.bash_completion {
        console.print(completion::script());
        return Ok(());
    }
    let Some((verb, operands)) = operands.split_first() else {
        return Err(Ended::usage("Action not specified"));
    };
    let Some(deed) = verbs::find(verb) else {
        return Err(Ended::usage(format!("Action {verb} not understood")));
    };
    let mut call = verbs::Call { api: Api::new(&settings), settings: &settings, console };
    deed(&mut call, operands)
}

/// The text of a file.
fn read(path: &Path) -> Result<Vec<u8>, Ended> {
    std::fs::read(path).map_err(|error| failed_file(&error, path))
}

fn failed_file(error: &std::io::Error, path: &Path) -> Ended {
    Ended::Failed(format!("{}: '{}'", super::server::system_error(error), path.display()))
}

/// What the words of the command line say, where nothing else is asked.
type Words = [String];

/// Whether there is an option of this name, with two dashes in front of it.
pub(super) fn has_option(name: &str) -> bool {
    options::OPTIONS.iter().any(|spec| spec.long == name)
}

/// Whether an option of this name is followed by a value.
pub(super) fn has_value(name: &str) -> bool {
    options::OPTIONS.iter().any(|spec| spec.long == name && spec.value.is_some())
}

/// Whether it has this word.
pub(super) fn has_verb(word: &str) -> bool {
    verbs::find(word).is_some()
}

/// Whether it has this word with this one behind it.
pub(super) fn is_known(verb: &str, second: &str) -> bool {
    let is_listed = |kinds: &[kinds::Listed]| kinds.iter().any(|kind| kind.name == second);
    let is_kind = |kinds: &[kinds::Kind]| kinds.iter().any(|kind| kind.name == second);
    match verb {
        "list" => is_listed(kinds::LISTED),
        "show" => is_listed(kinds::SHOWN),
        "declare" => is_kind(kinds::DECLARED),
        "delete" => is_kind(kinds::DELETED),
        "close" => is_kind(kinds::CLOSED),
        "purge" => is_kind(kinds::PURGED),
        "import" | "export" | "help" => true,
        _ => false,
    }
}
