//! The commands of rabbitmqadmin-ng that scripts use: `rabbitmqadmin declare queue --name q`.
//!
//! rabbitmq: its words, its tables and its exit codes: 2 and 64 for words that are wrong, 65 for what the server refuses,
//! 69 for a health check that fails. It has many more commands; COMPATIBILITY.md names those that are there.
//!
//! - `words` reads options, `settings` counts them with the environment and the file of settings.
//! - `objects` is the table of what is declared and deleted, `lists` of what is listed, `deeds` what each word does.
//! - `api` sends requests, `tables` draws what comes back.

mod api;
mod commands;
mod deeds;
mod lists;
mod objects;
mod settings;
mod tables;
mod words;

use self::commands::Command;
use self::settings::Settings;
use self::words::{Flag, GLOBAL, Kind, Said, shown};
use super::super::Console;
use crate::rabbit::Environment;

/// Why a command ends before it is done.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    /// The words are wrong.
    Words(String),
    /// They do not go together.
    Usage(String),
    /// The server says no, or there is none.
    Data(String),
    /// It has no such thing.
    NotFound,
    /// It is not well. The text is printed, not complained about.
    Unhealthy(String),
    /// There is no answer to whether it is well.
    Unavailable(String),
}

/// Runs a command. Returns the code that the process is to end with.
pub(super) fn run(words: &[String], console: &mut Console<'_>) -> u8 {
    let (code, text) = match command(words, console) {
        Ok(()) => return 0,
        Err(Ended::Words(text)) => {
            (2, format!("error: {text}\n\nFor more information, try '--help'.\n"))
        }
        Err(Ended::Usage(text)) => (64, format!("{text}\n")),
        Err(Ended::Data(text)) => (65, format!("{text}\n")),
        Err(Ended::NotFound) => (65, "API responded with a 404 Not Found\n".to_owned()),
        Err(Ended::Unavailable(text)) => (69, format!("{text}\n")),
        Err(Ended::Unhealthy(text)) => {
            console.print(text);
            return 69;
        }
    };
    console.complain(text);
    code
}

fn command(all: &[String], console: &mut Console<'_>) -> Result<(), Ended> {
    let mut said = Said::default();
    let mut words = all.iter();
    let mut named: Vec<&str> = Vec::new();
    let mut found: Option<Command> = None;
    while let Some(word) = words.next() {
        let flags = found.as_ref().map_or(&[][..], |command| command.flags);
        let call = match &found {
            Some(command) => format!("rabbitmqadmin {}", command.name),
            None => "rabbitmqadmin [OPTIONS] <COMMAND>".to_owned(),
        };
        if word.len() > 1 && word.starts_with('-') {
            words::take(&mut words, word, flags, &call, &mut said)?;
        } else if found.is_some() {
            return Err(Ended::Words(format!(
                "unexpected argument '{word}' found\n\nUsage: {call}"
            )));
        } else {
            named.push(word);
            found = commands::find(&named)?;
        }
    }
    if said.global("version").is_some() {
        console.print(format!("rabbitmqadmin {}\n", crate::broker::handshake::VERSION));
        return Ok(());
    }
    if said.global("help").is_some() {
        console.print(help(&named, found.as_ref()));
        return Ok(());
    }
    let Some(command) = found else {
        return Err(Ended::Words(format!(
            "'rabbitmqadmin{}' requires a subcommand but one was not provided\n  [subcommands: {}]\n\n\
             Usage: rabbitmqadmin [OPTIONS] <COMMAND>",
            named.iter().map(|word| format!(" {word}")).collect::<String>(),
            commands::below(&named).join(", ")
        )));
    };
    words::assert_required(command.flags, &said, &format!("rabbitmqadmin {}", command.name))?;
    let settings = Settings::new(&said, console)?;
    let mut call = deeds::Call { said: &said, settings: &settings, console };
    call.perform(&command)
}

fn help(named: &[&str], found: Option<&Command>) -> String {
    let mut text = match found {
        Some(command) => format!("Usage: rabbitmqadmin {} [OPTIONS]\n\nOptions:\n", command.name),
        None => {
            let words: String = named.iter().map(|word| format!(" {word}")).collect();
            let below: Vec<_> = commands::below(named);
            let below: String = below.iter().map(|name| format!("  {name}\n")).collect();
            format!(
                "Usage: rabbitmqadmin{words} [OPTIONS] <COMMAND>\n\nCommands:\n{below}\nOptions:\n"
            )
        }
    };
    for flag in found.map_or(&[][..], |command| command.flags).iter().chain(GLOBAL) {
        let short = flag.short.map_or("    ".to_owned(), |short| format!("-{short}, "));
        let needed = if flag.is_required { " (required)" } else { "" };
        let otherwise = match (flag.otherwise, flag.variable) {
            (Some(otherwise), _) => format!(" [default: {otherwise}]"),
            (None, Some(variable)) => format!(" [env: RABBITMQADMIN_{variable}]"),
            (None, None) => String::new(),
        };
        text.push_str(&format!("  {short}{}{needed}{otherwise}\n", shown(flag)));
    }
    text
}

/// Whether words such as these belong to no other program: a group of commands, or an option.
pub(super) fn is_known(first: &str, second: Option<&str>) -> bool {
    let named = [Some(first), second];
    let named: Vec<&str> = named.into_iter().flatten().collect();
    matches!(commands::find(&named), Ok(Some(_)))
        || (second.is_none() && !commands::below(&[first]).is_empty())
}

/// Whether there is an option of this name, with two dashes in front of it.
pub(super) fn has_option(name: &str) -> bool {
    let all = commands::all_flags().chain(GLOBAL.iter());
    all.map(|flag: &Flag| flag.name).any(|known| known == name)
}

/// Whether an option of this name is followed by a value.
pub(super) fn has_value(name: &str) -> bool {
    let all = commands::all_flags().chain(GLOBAL.iter());
    all.filter(|flag| flag.name == name).any(|flag| flag.kind != Kind::Switch)
}

/// Whether a variable says what an option would.
pub(super) fn is_set_in(environment: &Environment) -> bool {
    let mut names = GLOBAL.iter().filter_map(|flag| flag.variable);
    names.any(|name| environment.get(&format!("RABBITMQADMIN_{name}")).is_some())
}
