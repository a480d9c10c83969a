//! The environment of a node: `RABBITMQ_…`, and `rabbitmq-env.conf` behind it.
//!
//! A variable becomes an entry with the key that `rabbitmq.conf` has for it, where it has one. What a node has besides,
//! names and directories, is in [`super::node`].

mod names;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use self::names::{DEPRECATED, IN_FILES, KEYS, READ, WITHOUT_EFFECT, is_link};
use super::classic::Classic;
use super::entry::{ConfigError, Entry, Notice, Place};
use super::nearest::nearest;
use super::terms;

/// Variables with their values.
#[derive(Clone, Default)]
pub struct Environment {
    variables: BTreeMap<String, String>,
}

impl Environment {
    /// Those of this process, as far as they are text, and not empty.
    pub fn of_process() -> Self {
        let all = std::env::vars_os();
        all.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }

    /// The value of a variable.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// The value of one of RabbitMQ's, without the beginning that all have.
    pub(super) fn rabbitmq(&self, name: &str) -> Option<&str> {
        self.get(&format!("RABBITMQ_{name}"))
    }

    /// Whether it says what a node is called.
    pub(crate) fn is_node_named(&self) -> bool {
        self.first(&["NODENAME", "NODE_NAME"]).is_some()
    }

    /// The first of these that is set, with its name as a place.
    pub(super) fn first(&self, names: &[&str]) -> Option<(&str, Place)> {
        let set = names.iter().find_map(|name| Some((self.rabbitmq(name)?, name)));
        set.map(|(value, name)| (value, place(name)))
    }

    /// Adds what the file says that is read before the start, where the environment says nothing. Also what there
    /// is to say of lines that are more than a variable.
    ///
    /// rabbitmq: a script of the shell, in which the variables may stand without `RABBITMQ_`.
    pub(super) fn add_file(&mut self, text: &str, file: &Path) -> Vec<Notice> {
        let mut notices = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            let line = line.strip_prefix("export ").unwrap_or(line).trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let is_name = |name: &str| {
                let may = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
                !name.is_empty() && name.bytes().all(may)
            };
            match line.split_once('=') {
                Some((name, value)) if is_name(name) && !value.contains(['$', '`']) => {
                    let name = match name.starts_with("RABBITMQ_") || name.starts_with("LEVERET_") {
                        true => name.to_owned(),
                        false => format!("RABBITMQ_{name}"),
                    };
                    let value = unquoted(value.trim());
                    if !value.is_empty() {
                        self.variables.entry(name).or_insert(value);
                    }
                }
                _ => {
                    let place = Place::Line(file.to_owned(), index + 1);
                    let text = "not obeyed: only NAME=value is read, leveret runs no shell";
                    notices.push(Notice::warning(&place, text));
                }
            }
        }
        notices
    }

    /// What variables say that keys say as well.
    ///
    /// # Errors
    /// For a file with a secret that cannot be read, and a value that is none.
    pub(super) fn entries(&self, notices: &mut Vec<Notice>) -> Result<Vec<Entry>, ConfigError> {
        let mut entries: Vec<Entry> = Vec::new();
        for (name, key) in KEYS {
            let is_taken = entries.iter().any(|entry| entry.key == *key);
            if let Some(value) = self.value(name)?.filter(|_| !is_taken) {
                entries.push(Entry::new(*key, value, &place(name)));
            }
        }
        self.add_listeners(&mut entries, notices);
        if let Some(value) = self.rabbitmq("VM_MEMORY_HIGH_WATERMARK") {
            let (word, value) = watermark(value);
            let key = format!("vm_memory_high_watermark.{word}");
            entries.push(Entry::new(key, value, &place("VM_MEMORY_HIGH_WATERMARK")));
        }
        if let Some(value) = self.rabbitmq("DISK_FREE_LIMIT") {
            let place = place("DISK_FREE_LIMIT");
            match value.starts_with('{') {
                true => entries.extend(term("rabbit", "disk_free_limit", value, &place, notices)?),
                false => entries.push(Entry::new("disk_free_limit.absolute", value, &place)),
            }
        }
        self.add_log(&mut entries, notices);
        let is_asked = self.rabbitmq("LOAD_DEFINITIONS").is_none_or(|value| {
            ["yes", "true", "1"].contains(&value.to_ascii_lowercase().as_str())
        });
        if let Some(file) = self.rabbitmq("DEFINITIONS_FILE").filter(|_| is_asked) {
            entries.push(Entry::new("load_definitions", file, &place("DEFINITIONS_FILE")));
        }
        for name in ["SERVER_ERL_ARGS", "SERVER_ADDITIONAL_ERL_ARGS"] {
            if let Some(arguments) = self.rabbitmq(name) {
                entries.extend(erlang_arguments(arguments, &place(name), notices)?);
            }
        }
        Ok(entries)
    }

    /// Where to listen, by variables of their own.
    fn add_listeners(&self, entries: &mut Vec<Entry>, notices: &mut Vec<Notice>) {
        let port = self.first(&["NODE_PORT", "NODE_PORT_NUMBER"]);
        let ip = self.first(&["NODE_IP_ADDRESS"]);
        let ip = ip.filter(|(ip, _)| !["", "auto", "0"].contains(ip));
        let port = port.filter(|(port, place)| {
            // why: Kubernetes sets such variables for a service that is called rabbitmq-node.
            let is_link = port.starts_with("tcp://");
            if is_link {
                notices.push(Notice::warning(place, "not obeyed: it is an address, and no port"));
            }
            !is_link
        });
        let address = match (&ip, &port) {
            (Some((ip, place)), Some((port, _))) => Some((format!("{ip}:{port}"), place)),
            (Some((ip, place)), None) => Some((format!("{ip}:5672"), place)),
            (None, Some((port, place))) => Some(((*port).to_owned(), place)),
            (None, None) => None,
        };
        if let Some((address, place)) = address {
            entries.push(Entry::new("listeners.tcp.default", address, place));
        }
        for (prefix, key, port) in [
            ("ssl_options.", "listeners.ssl.default", "5671"),
            ("management.ssl.", "management.ssl.port", "15671"),
        ] {
            let certificate = format!("{prefix}certfile");
            let set = entries.iter().find(|entry| entry.key == certificate);
            if let Some(place) = set.map(|entry| entry.place.clone()) {
                entries.push(Entry::new(key, port, &place));
            }
        }
    }

    /// `debug`, `connection.debug`, and `+color` and `-json` among them.
    fn add_log(&self, entries: &mut Vec<Entry>, notices: &mut Vec<Notice>) {
        let Some(value) = self.rabbitmq("LOG") else { return };
        let place = place("LOG");
        for word in value.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            if word.starts_with(['+', '-']) {
                let text = format!("{word} has no meaning for leveret");
                notices.push(Notice::debug(&place, text));
                continue;
            }
            let keys = match word.split_once('.') {
                Some((category, level)) => vec![(format!("log.{category}.level"), level)],
                None => ["default", "console", "file"]
                    .map(|it| (format!("log.{it}.level"), word))
                    .to_vec(),
            };
            entries.extend(keys.into_iter().map(|(key, level)| Entry::new(key, level, &place)));
        }
    }

    /// Definitions in a variable, plain or in base64.
    ///
    /// # Errors
    /// For a value that is neither.
    pub(super) fn definitions_json(&self) -> Result<Option<Vec<u8>>, ConfigError> {
        let name = "LEVERET_DEFINITIONS_JSON";
        let Some(value) = self.get(name).map(str::trim) else { return Ok(None) };
        if value.starts_with('{') {
            return Ok(Some(value.as_bytes().to_vec()));
        }
        let joined: String = value.split_whitespace().collect();
        STANDARD.decode(joined).map(Some).map_err(|_| {
            let text = "definitions in JSON are expected, or the same in base64";
            ConfigError::new(&Place::Variable(name.to_owned()), text)
        })
    }

    /// Says what is unknown, and what is known and deprecated.
    pub(super) fn note_names(&self, notices: &mut Vec<Notice>) {
        let known = || {
            let with_keys = KEYS.iter().map(|(name, _)| *name);
            with_keys.chain(READ.iter().copied()).chain(WITHOUT_EFFECT.iter().copied())
        };
        for (name, value) in &self.variables {
            let Some(short) = name.strip_prefix("RABBITMQ_") else { continue };
            let of_file = short.strip_suffix("_FILE").unwrap_or_default();
            if WITHOUT_EFFECT.contains(&short) {
                let place = Place::Variable(name.clone());
                notices.push(Notice::debug(&place, "has no effect on leveret"));
            }
            if DEPRECATED.iter().any(|beginning| short.starts_with(beginning)) {
                let text = "taken, though RabbitMQ's image does not start with it: put it into rabbitmq.conf";
                notices.push(Notice::warning(&Place::Variable(name.clone()), text));
            } else if !known().any(|it| it == short)
                && !IN_FILES.contains(&of_file)
                && !is_link(short, value)
            {
                let meant = nearest(short, known());
                let meant = meant.map(|meant| format!(" Did you mean RABBITMQ_{meant}?"));
                let text = format!("there is no such variable.{}", meant.unwrap_or_default());
                notices.push(Notice::warning(&Place::Variable(name.clone()), text));
            }
        }
    }

    /// The value of a variable, or what is in the file that another one names.
    fn value(&self, name: &str) -> Result<Option<String>, ConfigError> {
        if let Some(value) = self.rabbitmq(name) {
            return Ok(Some(value.to_owned()));
        }
        let of_file = format!("{name}_FILE");
        let file = self.rabbitmq(&of_file).filter(|_| IN_FILES.contains(&name));
        let Some(file) = file else { return Ok(None) };
        match fs::read_to_string(file) {
            // why: secrets in files end with a line feed that nobody means.
            Ok(text) => Ok(Some(text.trim_end_matches(['\n', '\r']).to_owned())),
            Err(error) => {
                Err(ConfigError::new(&place(&of_file), format!("cannot read {file}: {error}")))
            }
        }
    }
}

impl FromIterator<(String, String)> for Environment {
    /// Variables that are empty count as not set.
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        let set = variables.into_iter().filter(|(_, value)| !value.is_empty());
        Environment { variables: set.collect() }
    }
}

fn place(name: &str) -> Place {
    Place::Variable(format!("RABBITMQ_{name}"))
}

fn unquoted(value: &str) -> String {
    for quote in ['"', '\''] {
        let inner = value.strip_prefix(quote).and_then(|rest| rest.split_once(quote));
        if let Some((inner, _)) = inner {
            return inner.to_owned();
        }
    }
    value.split(" #").next().unwrap_or_default().trim().to_owned()
}

/// `0.4`, `40%` and `1GiB`, with the word of their key.
fn watermark(value: &str) -> (&'static str, String) {
    let percent = value.strip_suffix('%').and_then(|percent| percent.trim().parse::<f64>().ok());
    match (percent, value.parse::<f64>()) {
        (Some(percent), _) => ("relative", (percent / 100.0).to_string()),
        (None, Ok(share)) if share <= 1.0 => ("relative", value.to_owned()),
        _ => ("absolute", value.to_owned()),
    }
}

/// What arguments of Erlang say: `-rabbit consumer_timeout 1000 -rabbitmq_management load_definitions "F"`.
fn erlang_arguments(
    arguments: &str,
    place: &Place,
    notices: &mut Vec<Notice>,
) -> Result<Vec<Entry>, ConfigError> {
    let words = words(arguments);
    let mut entries = Vec::new();
    let mut at = 0;
    while let Some(word) = words.get(at) {
        match (word.as_str(), words.get(at + 1), words.get(at + 2)) {
            ("-rabbit" | "-rabbitmq_management", Some(key), Some(value)) => {
                entries.extend(term(&word[1..], key, value, place, notices)?);
                at += 3;
            }
            _ => {
                let text = format!("{word} has no meaning for leveret");
                notices.push(Notice::debug(place, text));
                at += 1;
            }
        }
    }
    Ok(entries)
}

fn term(
    application: &str,
    key: &str,
    value: &str,
    place: &Place,
    notices: &mut Vec<Notice>,
) -> Result<Vec<Entry>, ConfigError> {
    let term = terms::parse_term(value);
    let term = term.map_err(|error| {
        let shown = Entry::new(key, value, place);
        ConfigError::new(place, format!("-{application} {key} {}: {}", shown.shown(), error.text))
    })?;
    let mut classic = Classic::default();
    classic.setting(application, key, &term, place);
    classic.note_ignored(place);
    notices.extend(classic.notices);
    Ok(classic.entries)
}

/// Words with blanks between them, except in brackets and quotes. Quotes of the shell are taken off.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let (mut depth, mut is_quoted, mut is_shell_quoted) = (0_usize, false, false);
    for letter in text.chars() {
        match letter {
            '\'' if !is_quoted => {
                is_shell_quoted = !is_shell_quoted;
                continue;
            }
            '"' => is_quoted = !is_quoted,
            '[' | '{' if !is_quoted => depth += 1,
            ']' | '}' if !is_quoted => depth = depth.saturating_sub(1),
            letter if letter.is_whitespace() && depth == 0 && !is_quoted && !is_shell_quoted => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            _ => {}
        }
        word.push(letter);
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests;
