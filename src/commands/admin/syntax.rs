//! Which of the two programs is meant.
//!
//! 1. An argument as in `name=q`, which is no value of an option, is the script's.
//! 2. An option that only one of them has is that one's.
//! 3. So is a word that only one of them has: `health_check`, `queues list`, `purge queue`.
//! 4. Variables of the environment are read by rabbitmqadmin-ng alone, so that who sets one means it.
//! 5. All else is the script's: `list queues`, `show overview`, and what neither of them knows.

use super::{ng, script};
use crate::rabbit::Environment;

/// Whose words are spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Syntax {
    /// The script's: `declare queue name=q`.
    Script,
    /// Those of rabbitmqadmin-ng: `declare queue --name q`.
    Ng,
}

impl Syntax {
    pub(super) fn of(words: &[String], environment: &Environment) -> Self {
        let mut operands: Vec<&str> = Vec::new();
        let mut option = None;
        let mut is_value = false;
        for word in words {
            if std::mem::take(&mut is_value) {
                continue;
            }
            if let Some(long) = word.strip_prefix("--") {
                let (name, value) =
                    long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
                let (here, there) = (script::has_option(name), ng::has_option(name));
                match (here, there) {
                    (false, true) => option = option.or(Some(Syntax::Ng)),
                    (true, false) => option = option.or(Some(Syntax::Script)),
                    _ => {}
                }
                let is_valued = if there { ng::has_value(name) } else { script::has_value(name) };
                is_value = value.is_none() && is_valued;
            } else if let Some(letters) =
                word.strip_prefix('-').filter(|letters| !letters.is_empty())
            {
                // An option of one letter has its value right behind it, or in the next word.
                is_value = letters.chars().count() == 1 && letters.contains(VALUED);
            } else {
                operands.push(word);
            }
        }
        if operands.iter().any(|operand| is_argument(operand)) {
            return Syntax::Script;
        }
        let is_ngs = |first: &&str| {
            let second = operands.get(1).copied();
            let verb = script::has_verb(first);
            (!verb && ng::is_known(first, None))
                || second.is_some_and(|second| {
                    ng::is_known(first, Some(second)) && !script::is_known(first, second)
                })
        };
        if let Some(option) = option {
            return option;
        }
        match operands.first() {
            Some(first) if is_ngs(first) => Syntax::Ng,
            _ if ng::is_set_in(environment) => Syntax::Ng,
            _ => Syntax::Script,
        }
    }
}

/// The options of one letter that have a value, in either of them.
const VALUED: &[char] =
    &['c', 'N', 'H', 'P', 'V', 'u', 'p', 'U', 't', 'f', 'S', 'd', 'e', 'm', 'a'];

/// Whether a word is as in `name=q`.
fn is_argument(word: &str) -> bool {
    let is_name = |name: &str| {
        let may = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_' || byte == b'-';
        !name.is_empty() && name.bytes().all(may)
    };
    word.split_once('=').is_some_and(|(name, _)| is_name(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(expected: Syntax, variables: &[(&str, &str)], lines: &[&str]) {
        let environment: Environment = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        for line in lines {
            let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
            assert_eq!(Syntax::of(&words, &environment), expected, "{line}");
        }
    }

    #[test]
    fn the_script_is_known_by_its_arguments() {
        check(
            Syntax::Script,
            &[],
            &[
                "",
                "--version",
                "--help",
                "declare queue name=q",
                "--vhost=v declare queue name=q durable=true",
                "declare queue --vhost v name=q",
                "-u guest -p guest -q declare queue name=q",
                "--quiet declare queue name=q",
                "list queues",
                "list queues name messages",
                "--host h --port 1 --vhost v --username u --password a=b list queues",
                "-f tsv list queues",
                "list vhosts --format long",
                "show overview",
                "declare queue",
                "import definitions",
                "export file.json",
                "purge queue name=q",
                "get queue=q count=2",
                "publish routing_key=q",
                "dance",
                "--nothing list queues",
            ],
        );
        let variable = [("RABBITMQADMIN_TARGET_HOST", "h")];
        check(Syntax::Script, &variable, &["declare queue name=q"]);
    }

    #[test]
    fn ng_is_known_by_its_options_and_words() {
        check(
            Syntax::Ng,
            &[],
            &[
                "declare queue --name q",
                "--vhost v declare queue --name q --arguments {\"a\":\"name=x\"}",
                "declare user --name ann --password name=secret --tags x",
                "delete binding --source e --destination-type queue --destination q --routing-key a=b",
                "publish message -k q -m a=b",
                "publish message",
                "get messages -q q",
                "queues list",
                "users list",
                "health_check local_alarms",
                "definitions export --stdout",
                "export definitions --file f",
                "--non-interactive list queues",
                "--table-style ascii list queues",
                "show endpoint",
                "list user_limits",
            ],
        );
        let variable = [("RABBITMQADMIN_TARGET_HOST", "h")];
        check(Syntax::Ng, &variable, &["list queues", "show overview"]);
    }
}
