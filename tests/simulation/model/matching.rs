//! How topic and headers exchanges match, by the words of the specification.

use std::borrow::Cow;

/// A value of a header, or of an argument of a binding.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Field {
    Text(Cow<'static, str>),
    Number(i64),
    /// In a binding: whatever value there is.
    Void,
}

/// A table, sorted by name.
pub(crate) type Fields = &'static [(&'static str, Field)];

const fn text(text: &'static str) -> Field {
    Field::Text(Cow::Borrowed(text))
}

/// Headers that messages may have.
pub(crate) const HEADERS: &[Fields] = &[
    &[],
    &[("colour", text("red"))],
    &[("colour", text("red")), ("size", Field::Number(3))],
    &[("colour", text("blue")), ("size", text("3"))],
    &[("size", Field::Number(3)), ("x-secret", Field::Number(1))],
];

/// Arguments that bindings may have.
pub(crate) const MATCHES: &[Fields] = &[
    &[],
    &[("colour", text("red"))],
    &[("colour", text("red")), ("size", Field::Number(3))],
    &[("colour", text("blue")), ("size", Field::Number(3)), ("x-match", text("any"))],
    &[("size", Field::Void), ("x-match", text("all"))],
    &[("x-match", text("any"))],
    &[("x-match", text("all")), ("x-secret", Field::Number(1))],
    &[("x-match", text("any-with-x")), ("x-secret", Field::Number(1))],
    &[("size", Field::Number(3)), ("x-match", text("all-with-x")), ("x-secret", Field::Void)],
];

/// Whether the headers of a message match the arguments of a binding.
///
/// rabbitmq: arguments that begin with x- count only where x-match says so.
pub(super) fn headers_match(arguments: Fields, headers: &[(String, Field)]) -> bool {
    let mode = arguments.iter().find(|(name, _)| *name == "x-match").map(|(_, mode)| mode);
    let mode = match mode {
        Some(Field::Text(mode)) => mode,
        _ => "all",
    };
    let counts =
        |name: &str| name != "x-match" && (mode.ends_with("-with-x") || !name.starts_with("x-"));
    let is_met = |(name, value): &(&str, Field)| {
        let found = headers.iter().find(|(header, _)| header == name);
        found.is_some_and(|(_, found)| *value == Field::Void || found == value)
    };
    let mut counted = arguments.iter().filter(|(name, _)| counts(name));
    if mode.starts_with("all") { counted.all(is_met) } else { counted.any(is_met) }
}

/// Whether a routing key matches a pattern: a star is one word, a hash any number of them.
pub(super) fn topic_matches(pattern: &str, key: &str) -> bool {
    words_match(&split(pattern), &split(key))
}

/// The empty text has no word.
fn split(text: &str) -> Vec<&str> {
    if text.is_empty() { Vec::new() } else { text.split('.').collect() }
}

fn words_match(pattern: &[&str], key: &[&str]) -> bool {
    match (pattern, key) {
        ([], []) => true,
        (["#", rest @ ..], _) => (0..=key.len()).any(|skipped| words_match(rest, &key[skipped..])),
        (["*", rest @ ..], [_, others @ ..]) => words_match(rest, others),
        ([word, rest @ ..], [other, others @ ..]) => word == other && words_match(rest, others),
        _ => false,
    }
}
