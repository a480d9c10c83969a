//! The classic form of a configuration, and `advanced.config`: `[{rabbit, [{tcp_listeners, [5672]}]}].`
//!
//! Each setting in it becomes an entry with the key that `rabbitmq.conf` has for it, so that there is one place that knows
//! what keys mean.

use std::path::Path;

use super::entry::{ConfigError, Entry, Notice, Place};
use super::keys;
use super::terms::{self, Kind, Term};

/// What was read: the settings, and what of it says nothing to leveret.
#[derive(Default)]
pub(super) struct Classic {
    pub(super) entries: Vec<Entry>,
    pub(super) notices: Vec<Notice>,
    ignored: Vec<String>,
}

/// Reads the text of a file.
///
/// # Errors
/// For a text that is no term, and for one that is no list of applications.
pub(super) fn parse(text: &str, file: &Path) -> Result<Classic, ConfigError> {
    let at = |line| Place::Line(file.to_owned(), line);
    let term = terms::parse_file(text);
    let term = term.map_err(|error| ConfigError::new(&at(error.line), error.text))?;
    let mut classic = Classic::default();
    let Some(term) = term else { return Ok(classic) };
    let applications = term.list().ok_or_else(|| {
        ConfigError::new(
            &at(term.line),
            "a list of applications is expected, as in [{rabbit, []}].",
        )
    })?;
    for application in applications {
        let pair = application.pair().and_then(|(name, value)| Some((name, value.list()?)));
        let Some((name, settings)) = pair else {
            let text = "an application with its settings is expected, as in {rabbit, []}";
            return Err(ConfigError::new(&at(application.line), text));
        };
        for setting in settings {
            let place = at(setting.line);
            match setting.pair() {
                Some((key, value)) => classic.setting(name, key, value, &place),
                None => classic.ignored.push(format!("something of {name}")),
            }
        }
    }
    classic.note_ignored(&Place::File(file.to_owned()));
    Ok(classic)
}

impl Classic {
    /// Takes one setting of an application.
    pub(super) fn setting(&mut self, application: &str, key: &str, value: &Term, place: &Place) {
        let before = self.entries.len();
        match (application, key) {
            ("rabbit", "tcp_listeners") => self.listeners("listeners.tcp", value, place),
            ("rabbit", "ssl_listeners") => self.listeners("listeners.ssl", value, place),
            ("rabbit", "ssl_options") => self.flat("ssl_options", value, place),
            ("rabbit", "default_user_tags") => self.flags("default_user_tags", value, place),
            ("rabbit", "loopback_users") => {
                self.entries.push(Entry::new("loopback_users", "none", place));
                if value.list().is_some_and(|users| !users.is_empty()) {
                    self.entries.pop();
                    self.flags("loopback_users", value, place);
                }
            }
            ("rabbit", "default_permissions") => {
                let words = ["configure", "write", "read"];
                for (word, pattern) in words.iter().zip(value.list().unwrap_or_default()) {
                    self.push(&format!("default_permissions.{word}"), pattern, place);
                }
            }
            ("rabbit", "vm_memory_high_watermark" | "disk_free_limit") => {
                self.amount(key, value, place);
            }
            ("rabbit", "log") => self.log(value, place),
            ("rabbit", "log_levels") => {
                for (category, level) in value.list().into_iter().flatten().filter_map(Term::pair) {
                    self.push(&format!("log.{category}.level"), level, place);
                }
            }
            ("rabbit", "auth_mechanisms") => {
                for (index, name) in value.list().into_iter().flatten().enumerate() {
                    self.push(&format!("auth_mechanisms.{index}"), name, place);
                }
            }
            ("rabbitmq_management", "listener") => self.flat("management.listener", value, place),
            ("rabbitmq_management", "tcp_config") => self.flat("management.tcp", value, place),
            ("rabbitmq_management", "ssl_config") => self.flat("management.ssl", value, place),
            ("rabbitmq_management", "load_definitions") => {
                self.push("management.load_definitions", value, place);
            }
            ("rabbit", _) if keys::is_known(key) => self.push(key, value, place),
            _ => {}
        }
        // why: an empty list says something of its own, which is nothing for those that are read as lists.
        if self.entries.len() == before && !matches!(&value.kind, Kind::List(all) if all.is_empty())
        {
            self.ignored.push(format!("{application}.{key}"));
        }
    }

    /// Notes in one line what was left out.
    pub(super) fn note_ignored(&mut self, place: &Place) {
        if !self.ignored.is_empty() {
            let text = format!("not obeyed: {}", self.ignored.join(", "));
            self.notices.push(Notice::warning(place, text));
            self.ignored.clear();
        }
    }

    fn push(&mut self, key: &str, value: &Term, place: &Place) {
        if let Some(value) = value.scalar() {
            self.entries.push(Entry::new(key, value, place));
        }
    }

    /// `[5672, {"127.0.0.1", 5673}]`.
    fn listeners(&mut self, key: &str, value: &Term, place: &Place) {
        let Some(listeners) = value.list() else { return };
        if listeners.is_empty() {
            self.entries.push(Entry::new(key, "none", place));
        }
        for (index, listener) in listeners.iter().enumerate() {
            let address = match listener.tuple() {
                Some([ip, port]) => match (ip.scalar(), port.scalar()) {
                    (Some(ip), Some(port)) => Some(format!("{ip}:{port}")),
                    _ => None,
                },
                _ => listener.scalar(),
            };
            if let Some(address) = address {
                self.entries.push(Entry::new(format!("{key}.{}", index + 1), address, place));
            }
        }
    }

    /// `[{certfile, "f"}, {versions, ['tlsv1.2']}, {ssl_opts, [{keyfile, "k"}]}]`.
    fn flat(&mut self, prefix: &str, value: &Term, place: &Place) {
        for (name, value) in value.list().into_iter().flatten().filter_map(Term::pair) {
            let key = format!("{prefix}.{name}");
            match value.list() {
                None => self.push(&key, value, place),
                Some(values) if values.iter().all(|it| it.pair().is_some()) => {
                    self.flat(&key, value, place);
                }
                Some(values) => {
                    for (index, value) in values.iter().enumerate() {
                        self.push(&format!("{key}.{}", index + 1), value, place);
                    }
                }
            }
        }
    }

    /// `[administrator, monitoring]`.
    fn flags(&mut self, prefix: &str, value: &Term, place: &Place) {
        let names = value.list().into_iter().flatten().filter_map(Term::scalar);
        let entries = names.map(|name| Entry::new(format!("{prefix}.{name}"), "true", place));
        self.entries.extend(entries);
    }

    /// `0.4`, `{absolute, "1GB"}`, `{mem_relative, 1.0}`, `50000000` or `"50MB"`.
    fn amount(&mut self, key: &str, value: &Term, place: &Place) {
        match value.pair() {
            Some(("absolute", value)) => self.push(&format!("{key}.absolute"), value, place),
            Some(("relative" | "mem_relative", value)) => {
                self.push(&format!("{key}.relative"), value, place);
            }
            Some(_) => {}
            None => {
                // rabbitmq: a watermark that is a number is a share, a limit of the disk is bytes.
                let is_share = key == "vm_memory_high_watermark";
                let word = if is_share { "relative" } else { "absolute" };
                self.push(&format!("{key}.{word}"), value, place);
            }
        }
    }

    /// `[{console, [{enabled, true}, {level, debug}]}, {file, [{file, "f"}]}, {categories, [{connection, [{level, debug}]}]}]`.
    fn log(&mut self, value: &Term, place: &Place) {
        for (output, settings) in value.list().into_iter().flatten().filter_map(Term::pair) {
            for (name, value) in settings.list().into_iter().flatten().filter_map(Term::pair) {
                match (output, name) {
                    ("console", "enabled") => self.push("log.console", value, place),
                    ("file", "file") => self.push("log.file", value, place),
                    ("console" | "file", "level") => {
                        self.push(&format!("log.{output}.level"), value, place);
                    }
                    ("categories", category) => {
                        let settings = value.list().into_iter().flatten().filter_map(Term::pair);
                        for (_, level) in settings.filter(|(name, _)| *name == "level") {
                            self.push(&format!("log.{category}.level"), level, place);
                        }
                    }
                    _ => {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(settings: &str) -> Vec<String> {
        let classic = parse(&format!("[{settings}]."), Path::new("c")).unwrap();
        let shown = classic.entries.iter().map(|it| format!("{}={}", it.key, it.value));
        shown.chain(classic.notices.into_iter().map(|it| it.text)).collect()
    }

    #[test]
    fn settings_get_the_keys_that_they_have_in_the_other_form() {
        for (settings, expected) in [
            ("{rabbit, [{tcp_listeners, [5673]}]}", &["listeners.tcp.1=5673"][..]),
            ("{rabbit, [{tcp_listeners, []}]}", &["listeners.tcp=none"]),
            (
                "{rabbit, [{ssl_listeners, [{\"127.0.0.1\", 5671}, 5670]}]}",
                &["listeners.ssl.1=127.0.0.1:5671", "listeners.ssl.2=5670"],
            ),
            (
                "{rabbit, [{ssl_options, [{certfile, \"c\"}, {verify, verify_peer}, {versions, ['tlsv1.2']}]}]}",
                &[
                    "ssl_options.certfile=c",
                    "ssl_options.verify=verify_peer",
                    "ssl_options.versions.1=tlsv1.2",
                ],
            ),
            (
                "{rabbit, [{default_user, <<\"u\">>}, {default_pass, <<\"p\">>}, {default_user_tags, [monitoring]}]}",
                &["default_user=u", "default_pass=p", "default_user_tags.monitoring=true"],
            ),
            (
                "{rabbit, [{default_permissions, [<<\"a\">>, <<\"b\">>, <<\"c\">>]}]}",
                &[
                    "default_permissions.configure=a",
                    "default_permissions.write=b",
                    "default_permissions.read=c",
                ],
            ),
            ("{rabbit, [{loopback_users, []}]}", &["loopback_users=none"]),
            ("{rabbit, [{loopback_users, [<<\"g\">>]}]}", &["loopback_users.g=true"]),
            ("{rabbit, [{consumer_timeout, undefined}]}", &["consumer_timeout=undefined"]),
            (
                "{rabbit, [{vm_memory_high_watermark, 0.5}]}",
                &["vm_memory_high_watermark.relative=0.5"],
            ),
            (
                "{rabbit, [{vm_memory_high_watermark, {absolute, \"1GB\"}}]}",
                &["vm_memory_high_watermark.absolute=1GB"],
            ),
            ("{rabbit, [{disk_free_limit, 1000}]}", &["disk_free_limit.absolute=1000"]),
            (
                "{rabbit, [{disk_free_limit, {mem_relative, 1.5}}]}",
                &["disk_free_limit.relative=1.5"],
            ),
            (
                "{rabbit, [{log, [{console, [{enabled, true}, {level, debug}]}]}]}",
                &["log.console=true", "log.console.level=debug"],
            ),
            (
                "{rabbit, [{log, [{categories, [{connection, [{level, debug}]}]}]}]}",
                &["log.connection.level=debug"],
            ),
            ("{rabbit, [{log_levels, [{connection, debug}]}]}", &["log.connection.level=debug"]),
            (
                "{rabbitmq_management, [{listener, [{port, 1}, {ssl, true}, {ssl_opts, [{keyfile, \"k\"}]}]}]}",
                &[
                    "management.listener.port=1",
                    "management.listener.ssl=true",
                    "management.listener.ssl_opts.keyfile=k",
                ],
            ),
            (
                "{rabbitmq_management, [{load_definitions, \"f\"}]}",
                &["management.load_definitions=f"],
            ),
            ("{rabbit, [{heartbeat, 30}, {frame_max, 0}]}", &["heartbeat=30", "frame_max=0"]),
            (
                "{kernel, [{net_ticktime, 60}]}, {rabbit, [{hosts, [a]}]}",
                &["c: not obeyed: kernel.net_ticktime, rabbit.hosts"],
            ),
        ] {
            assert_eq!(entries(settings), expected, "{settings}");
        }
    }

    #[test]
    fn what_is_none_is_refused_with_its_line() {
        for (text, said) in [
            ("{rabbit, []}.", "c:1: a list of applications is expected"),
            ("[\nrabbit].", "c:2: an application with its settings is expected"),
            ("[{rabbit, 1}].", "c:1: an application"),
            ("[{rabbit, [}].", "c:1: no term begins with '}'"),
        ] {
            let error = parse(text, Path::new("c")).err().unwrap().to_string();
            assert!(error.starts_with(said), "{error}");
        }
        assert!(parse("%% nothing\n", Path::new("c")).unwrap().entries.is_empty());
    }
}
