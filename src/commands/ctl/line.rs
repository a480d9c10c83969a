//! A command line: the command, its operands, and options anywhere between them.

use std::collections::BTreeMap;
use std::ffi::OsString;

/// Options of all commands that take a value, with their letters.
const WITH_VALUE: &[(&str, Option<char>)] = &[
    ("node", Some('n')),
    ("timeout", Some('t')),
    ("vhost", Some('p')),
    ("formatter", None),
    ("printer", None),
    ("script-name", None),
    ("erlang-cookie", None),
    ("file", None),
];

/// Options of all commands that are said or not, with their letters.
const FLAGS: &[(&str, Option<char>)] = &[
    ("quiet", Some('q')),
    ("silent", Some('s')),
    ("longnames", Some('l')),
    ("dry-run", None),
    ("print-stacktrace", None),
    ("help", Some('h')),
    ("version", None),
];

/// An option that only some commands have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OptionSpec {
    pub(super) name: &'static str,
    pub(super) letter: Option<char>,
    pub(super) takes_value: bool,
}

/// An option with a value.
pub(super) const fn valued(name: &'static str) -> OptionSpec {
    OptionSpec { name, letter: None, takes_value: true }
}

/// An option that is said or not.
pub(super) const fn flag(name: &'static str) -> OptionSpec {
    OptionSpec { name, letter: None, takes_value: false }
}

/// The same with a letter.
pub(super) const fn lettered(spec: OptionSpec, letter: char) -> OptionSpec {
    OptionSpec { letter: Some(letter), ..spec }
}

/// A command line that was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Line {
    /// All of it, as it was typed.
    pub(super) words: Vec<String>,
    /// The command, and what stands behind it.
    pub(super) operands: Vec<String>,
    options: BTreeMap<String, String>,
    /// Options that no command has, or that lack a value, as they are told.
    pub(super) invalid: Vec<String>,
}

impl Line {
    /// Reads a line; `specs` are the options of the command, or of all commands while it is not known.
    pub(super) fn read(arguments: &[OsString], specs: &[OptionSpec]) -> Line {
        let words = arguments.iter().map(|word| word.to_string_lossy().into_owned());
        let mut line = Line { words: words.collect(), ..Line::default() };
        let words = line.words.clone();
        let mut words = words.iter().peekable();
        while let Some(word) = words.next() {
            if word == "--" {
                line.operands.extend(words.by_ref().cloned());
                break;
            }
            let (name, value) = match word.split_once('=') {
                Some((name, value)) if name.starts_with('-') => (name, Some(value.to_owned())),
                _ => (word.as_str(), None),
            };
            if !name.starts_with('-') || name == "-" || name.parse::<f64>().is_ok() {
                line.operands.push(word.clone());
                continue;
            }
            match find(name, specs) {
                None => line.invalid.push(format!("{name} : {}", value.unwrap_or_default())),
                Some((option, true)) => match value.or_else(|| words.next().cloned()) {
                    Some(value) => {
                        line.options.insert(option, value);
                    }
                    None => line.invalid.push(format!("{name} : ")),
                },
                Some((option, false)) => {
                    let value = value.unwrap_or_else(|| "true".to_owned());
                    line.options.insert(option, value);
                }
            }
        }
        line
    }

    /// The command.
    pub(super) fn command(&self) -> Option<&str> {
        self.operands.first().map(String::as_str)
    }

    /// What stands behind the command.
    pub(super) fn rest(&self) -> &[String] {
        self.operands.get(1..).unwrap_or_default()
    }

    /// The operand behind the command, the first one being number 0; nothing where it is missing.
    pub(super) fn operand(&self, index: usize) -> &str {
        self.rest().get(index).map_or("", String::as_str)
    }

    /// The value of an option.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.options.get(name).map(String::as_str)
    }

    /// Whether an option was said.
    pub(super) fn has(&self, name: &str) -> bool {
        self.value(name).is_some_and(|value| value != "false")
    }

    /// The virtual host that it is about.
    pub(super) fn vhost(&self) -> &str {
        self.value("vhost").unwrap_or("/")
    }

    /// Whether nothing is printed but what was asked for.
    pub(super) fn is_quiet(&self) -> bool {
        self.has("quiet") || self.has("silent")
    }
}

/// The full name of an option, and whether it takes a value.
fn find(typed: &str, specs: &[OptionSpec]) -> Option<(String, bool)> {
    let all = || {
        let valued = WITH_VALUE.iter().map(|(name, letter)| (*name, *letter, true));
        let flags = FLAGS.iter().map(|(name, letter)| (*name, *letter, false));
        let own = specs.iter().map(|spec| (spec.name, spec.letter, spec.takes_value));
        own.chain(valued).chain(flags)
    };
    let found = match typed.strip_prefix("--") {
        // rabbitmq: the words of an option may also have _ between them.
        Some(name) => all().find(|(known, ..)| *known == name.replace('_', "-")),
        None => {
            let mut letters = typed[1..].chars();
            let letter = letters.next().filter(|_| letters.next().is_none())?;
            all().find(|(_, known, _)| *known == Some(letter))
        }
    };
    found.map(|(name, _, takes_value)| (name.to_owned(), takes_value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Line {
        let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        Line::read(&words, &[valued("apply-to"), lettered(flag("if-empty"), 'e')])
    }

    #[test]
    fn options_stand_anywhere() {
        for text in [
            "-q -p v list_queues name",
            "list_queues -p v name -q",
            "list_queues --vhost=v --quiet name",
            "list_queues name -p=v -q",
        ] {
            let line = read(text);
            assert_eq!(line.command(), Some("list_queues"), "{text}");
            assert_eq!((line.vhost(), line.is_quiet()), ("v", true), "{text}");
            assert_eq!(line.rest(), ["name"], "{text}");
            assert_eq!(line.invalid, Vec::<String>::new());
        }
        assert_eq!(read("x --apply-to queues -e").value("apply-to"), Some("queues"));
        assert!(read("x -e").has("if-empty") && !read("x").has("if-empty"));
        assert_eq!(read("x -- -q --y").rest(), ["-q", "--y"]);
        assert_eq!(read("set -1").rest(), ["-1"]);
    }

    #[test]
    fn an_option_that_there_is_not_is_told() {
        assert_eq!(read("x --bananas").invalid, ["--bananas : "]);
        assert_eq!(read("x --bananas=3").invalid, ["--bananas : 3"]);
        assert_eq!(read("x --apply-to").invalid, ["--apply-to : "]);
        assert_eq!(read("x -zz").invalid, ["-zz : "]);
    }
}
