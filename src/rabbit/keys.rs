//! The keys of `rabbitmq.conf`, and what each does here: it is obeyed, or it is answered by a line in the log.
//!
//! A new key that is obeyed is a row of one of the tables in `keys/` and what it sets in the [`Draft`].

mod clients;
mod listeners;
mod log;
mod unobeyed;

use std::collections::BTreeMap;

use super::draft::Draft;
use super::entry::{ConfigError, Entry, Notice};
use super::nearest::nearest;
use super::value::Expected;

/// Puts a setting into the draft, or says what it expects.
type Setter = fn(&mut Draft, &Entry) -> Result<(), Expected>;

/// A key, in which `$…` is any one word, and what it sets.
type Row = (&'static str, Setter);

/// All keys that RabbitMQ and its plugins know, with `$…` for any one word.
const SCHEMA: &str = include_str!("keys/schema.txt");

/// Puts all settings into a draft, of those with the same key the last one.
///
/// # Errors
/// For a value that is none for its key; with `strict` also for a key that there is not.
pub(super) fn apply(draft: &mut Draft, entries: &[Entry], strict: bool) -> Result<(), ConfigError> {
    let mut last = BTreeMap::new();
    for entry in entries {
        last.insert(in_order(&entry.key), entry);
    }
    last.into_values().try_for_each(|entry| apply_one(draft, entry, strict))
}

/// Keys so that numbers in them are in the order of numbers: `listeners.tcp.10` behind `listeners.tcp.9`.
fn in_order(key: &str) -> Vec<(u64, &str)> {
    let word = |word| (str::parse(word).unwrap_or(u64::MAX), word);
    key.split('.').map(word).collect()
}

fn apply_one(draft: &mut Draft, entry: &Entry, strict: bool) -> Result<(), ConfigError> {
    let mut obeyed = obeyed();
    if let Some((_, set)) = obeyed.find(|(pattern, _)| matches(pattern, &entry.key)) {
        return set(draft, entry).map_err(|expected| entry.refused(&expected));
    }
    // why: what is switched off is nothing to miss.
    let instead = unobeyed::instead(&entry.key).filter(|_| entry.value != "false");
    if let Some(instead) = instead {
        let text = format!("{} is not obeyed: {instead}", entry.key);
        draft.notices.push(Notice::warning(&entry.place, text));
        return Ok(());
    }
    if SCHEMA.lines().any(|pattern| matches(pattern, &entry.key)) {
        let text = format!("{} has no meaning for leveret", entry.key);
        draft.notices.push(Notice::debug(&entry.place, text));
        return Ok(());
    }
    let text = unknown(&entry.key);
    if strict {
        return Err(ConfigError::new(&entry.place, text));
    }
    draft.notices.push(Notice::warning(&entry.place, text));
    Ok(())
}

/// rabbitmq: the same words.
fn unknown(key: &str) -> String {
    let said = format!("You've tried to set {key}, but there is no setting with that name.");
    let filled: Vec<String> = known_keys().map(|pattern| filled(pattern, key)).collect();
    match nearest(key, filled.iter().map(String::as_str)) {
        Some(meant) => format!("{said} Did you mean {meant}?"),
        None => said,
    }
}

/// Whether there is such a key.
pub(super) fn is_known(key: &str) -> bool {
    known_keys().any(|pattern| matches(pattern, key))
}

fn known_keys() -> impl Iterator<Item = &'static str> {
    obeyed().map(|(pattern, _)| *pattern).chain(SCHEMA.lines())
}

fn obeyed() -> impl Iterator<Item = &'static Row> {
    clients::KEYS.iter().chain(listeners::KEYS).chain(log::KEYS)
}

fn matches(pattern: &str, key: &str) -> bool {
    let mut words = key.split('.');
    let each = |word: &str| words.next().is_some_and(|it| word.starts_with('$') || word == it);
    pattern.split('.').all(each) && words.next().is_none()
}

/// The pattern with the words of the key where it takes any.
fn filled(pattern: &str, key: &str) -> String {
    let mut words = key.split('.');
    let fill = |word| {
        let of_key = words.next();
        of_key.filter(|_| str::starts_with(word, '$')).unwrap_or(word)
    };
    pattern.split('.').map(fill).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_take_any_one_word() {
        for (pattern, key, is_one) in [
            ("heartbeat", "heartbeat", true),
            ("heartbeat", "heartbeats", false),
            ("listeners.tcp.$name", "listeners.tcp.default", true),
            ("listeners.tcp.$name", "listeners.tcp", false),
            ("listeners.tcp.$name", "listeners.tcp.a.b", false),
        ] {
            assert_eq!(matches(pattern, key), is_one, "{pattern} {key}");
        }
    }

    #[test]
    fn what_was_meant_is_named() {
        for (key, meant) in [
            ("hearbeat", Some("heartbeat")),
            ("listener.tcp.default", Some("listeners.tcp.default")),
            ("listeners.tpc.5", Some("listeners.tcp.5")),
            ("disk_free_limit.absolut", Some("disk_free_limit.absolute")),
            ("loopback_user.guest", Some("loopback_users.guest")),
            ("quite.something.else.altogether", None),
        ] {
            let said = unknown(key);
            match meant {
                Some(meant) => {
                    assert!(said.ends_with(&format!("Did you mean {meant}?")), "{said}");
                }
                None => assert!(said.ends_with("no setting with that name."), "{said}"),
            }
        }
    }

    #[test]
    fn every_key_with_an_effect_is_in_the_schema_and_stands_once() {
        let patterns: Vec<&str> =
            obeyed().map(|(pattern, _)| *pattern).chain(unobeyed::patterns()).collect();
        for pattern in &patterns {
            let key = pattern.replace('$', "");
            assert!(SCHEMA.lines().any(|it| matches(it, &key)), "{pattern} is in no schema");
            let others = patterns.iter().filter(|it| *it == pattern);
            assert_eq!(others.count(), 1, "{pattern} stands twice");
        }
        let mut sorted: Vec<_> = SCHEMA.lines().collect();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted, SCHEMA.lines().collect::<Vec<_>>());
    }
}
