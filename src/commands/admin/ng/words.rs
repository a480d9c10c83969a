//! Options behind two dashes, and which are known where.

use super::Ended;

/// An option of a command.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flag {
    pub(super) name: &'static str,
    pub(super) short: Option<char>,
    pub(super) is_required: bool,
    /// What it is when nobody says it.
    pub(super) otherwise: Option<&'static str>,
    /// What its value is.
    pub(super) kind: Kind,
    /// The field of a body that it becomes; none when it is in the path alone.
    pub(super) field: Option<&'static str>,
    /// The variable of the environment that says the same.
    pub(super) variable: Option<&'static str>,
}

/// What the value of an option is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    /// It has none.
    Switch,
    /// `true` or `false`.
    Choice,
    Number,
    Json,
}

impl Flag {
    pub(super) const fn optional(name: &'static str) -> Self {
        Flag {
            name,
            short: None,
            is_required: false,
            otherwise: None,
            kind: Kind::Text,
            field: Some(name),
            variable: None,
        }
    }

    pub(super) const fn required(name: &'static str) -> Self {
        Flag { is_required: true, ..Flag::optional(name) }
    }

    pub(super) const fn switch(name: &'static str) -> Self {
        Flag { kind: Kind::Switch, ..Flag::optional(name) }
    }

    pub(super) const fn short(self, short: char) -> Self {
        Flag { short: Some(short), ..self }
    }

    pub(super) const fn json(self) -> Self {
        Flag { kind: Kind::Json, ..self }
    }

    pub(super) const fn number(self) -> Self {
        Flag { kind: Kind::Number, ..self }
    }

    pub(super) const fn choice(self) -> Self {
        Flag { kind: Kind::Choice, ..self }
    }

    pub(super) const fn otherwise(self, value: &'static str) -> Self {
        Flag { otherwise: Some(value), ..self }
    }

    pub(super) const fn field(self, field: &'static str) -> Self {
        Flag { field: Some(field), ..self }
    }

    pub(super) const fn path_only(self) -> Self {
        Flag { field: None, ..self }
    }

    const fn variable(self, variable: &'static str) -> Self {
        Flag { variable: Some(variable), ..self }
    }
}

/// The options of all commands.
pub(super) const GLOBAL: &[Flag] = &[
    Flag::switch("version"),
    Flag::switch("help").short('h'),
    Flag::optional("config").short('c').variable("CONFIG_FILE_PATH"),
    Flag::optional("node").short('N').variable("NODE_ALIAS"),
    Flag::optional("host").short('H').variable("TARGET_HOST"),
    Flag::optional("port").short('P').variable("TARGET_PORT"),
    Flag::optional("base-uri").short('U').variable("BASE_URI"),
    Flag::optional("path-prefix").variable("API_PATH_PREFIX"),
    Flag::optional("vhost").short('V').variable("TARGET_VHOST"),
    Flag::optional("username").short('u').variable("USERNAME"),
    Flag::optional("password").short('p').variable("PASSWORD"),
    Flag::switch("insecure").short('k'),
    Flag::switch("use-tls").variable("USE_TLS"),
    Flag::optional("tls-ca-cert-file"),
    Flag::optional("tls-cert-file"),
    Flag::optional("tls-key-file"),
    Flag::optional("timeout").number().variable("TIMEOUT"),
    Flag::switch("quiet").short('q').variable("QUIET_MODE"),
    Flag::switch("verbose").short('v').variable("VERBOSE"),
    Flag::switch("non-interactive").variable("NON_INTERACTIVE_MODE"),
    Flag::optional("table-style").variable("TABLE_STYLE"),
];

/// What was said for options.
///
/// An option of a command may have the name of one of all commands: `declare permissions --username ann` gives rights to
/// ann, and is asked for by another user.
#[derive(Debug, Default)]
pub(super) struct Said {
    own: Vec<(&'static str, String)>,
    global: Vec<(&'static str, String)>,
}

impl Said {
    /// What was said for an option of the command; of several values the last.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        find(&self.own, name)
    }

    /// The same of an option that all commands have.
    pub(super) fn global(&self, name: &str) -> Option<&str> {
        find(&self.global, name)
    }

    pub(super) fn is_set(&self, name: &str) -> bool {
        self.get(name).is_some()
    }
}

fn find<'a>(said: &'a [(&'static str, String)], name: &str) -> Option<&'a str> {
    said.iter().rev().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
}

/// Takes an option from the front of the words, if one is there: of these, or of all commands.
pub(super) fn take(
    words: &mut std::slice::Iter<'_, String>,
    word: &str,
    flags: &[Flag],
    call: &str,
    said: &mut Said,
) -> Result<(), Ended> {
    let (name, value) = match word.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (word, None),
    };
    let is_meant = |flag: &&Flag| match name.strip_prefix("--") {
        Some(long) => flag.name == long,
        None => flag.short.is_some_and(|short| name.strip_prefix('-') == Some(&short.to_string())),
    };
    let own = flags.iter().find(is_meant);
    let Some(flag) = own.or_else(|| GLOBAL.iter().find(is_meant)) else {
        let required: Vec<_> = flags.iter().filter(|flag| flag.is_required).map(shown).collect();
        let usage = [&[call.to_owned()], &required[..]].concat().join(" ");
        return Err(Ended::Words(format!("unexpected argument '{name}' found\n\nUsage: {usage}")));
    };
    let value = match (flag.kind, value) {
        (Kind::Switch, None) => "true".to_owned(),
        (Kind::Switch, Some(value)) => {
            return Err(Ended::Words(format!(
                "unexpected value '{value}' for '--{}' found; no more were expected",
                flag.name
            )));
        }
        (_, Some(value)) => value,
        (_, None) => words.next().cloned().ok_or_else(|| {
            Ended::Words(format!("a value is required for '{}' but none was supplied", shown(flag)))
        })?,
    };
    check(flag, &value)?;
    let list = if own.is_some() { &mut said.own } else { &mut said.global };
    list.push((flag.name, value));
    Ok(())
}

/// An option as help shows it.
pub(super) fn shown(flag: &Flag) -> String {
    match flag.kind {
        Kind::Switch => format!("--{}", flag.name),
        _ => format!("--{} <{}>", flag.name, flag.name.replace('-', "_")),
    }
}

fn check(flag: &Flag, value: &str) -> Result<(), Ended> {
    let choices = match (flag.kind, flag.name) {
        (Kind::Choice, _) => &["true", "false"][..],
        (_, "table-style") => super::tables::STYLES,
        (Kind::Number, _) if value.parse::<i64>().is_err() => {
            let text = format!(
                "invalid value '{value}' for '{}': invalid digit found in string",
                shown(flag)
            );
            return Err(Ended::Words(text));
        }
        _ => return Ok(()),
    };
    match choices.contains(&value) {
        true => Ok(()),
        false => Err(Ended::Words(format!(
            "invalid value '{value}' for '{}'\n  [possible values: {}]",
            shown(flag),
            choices.join(", ")
        ))),
    }
}

/// Refuses a command without what it needs.
pub(super) fn assert_required(flags: &[Flag], said: &Said, call: &str) -> Result<(), Ended> {
    let required: Vec<_> = flags.iter().filter(|flag| flag.is_required).collect();
    let missing: Vec<_> =
        required.iter().filter(|flag| !said.is_set(flag.name)).map(|flag| shown(flag)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let given = flags.iter().filter(|flag| !flag.is_required && said.is_set(flag.name));
    let all: Vec<_> = required.into_iter().chain(given).map(shown).collect();
    Err(Ended::Words(format!(
        "the following required arguments were not provided:\n  {}\n\nUsage: {call} {}",
        missing.join("\n  "),
        all.join(" ")
    )))
}
