//! The options, and how they stand between the words.
//!
//! rabbitmq: they may stand anywhere, a long one may be cut short as long as it is the only one that begins so, and a
//! value may follow behind `=`, as the next word, or right behind a letter.

use super::super::json::python_literal;
use super::{Ended, Words};

/// An option.
pub(super) struct Spec {
    pub(super) long: &'static str,
    pub(super) short: Option<char>,
    /// The setting that it sets, which is its name in the file of settings.
    pub(super) setting: &'static str,
    /// What its value is called; none when it has no value.
    pub(super) value: Option<&'static str>,
    pub(super) help: &'static str,
    /// What the setting is when nobody says it.
    pub(super) otherwise: Option<&'static str>,
}

const fn valued(
    long: &'static str,
    short: char,
    setting: &'static str,
    value: &'static str,
    help: &'static str,
    otherwise: Option<&'static str>,
) -> Spec {
    let short = if short == ' ' { None } else { Some(short) };
    Spec { long, short, setting, value: Some(value), help, otherwise }
}

const fn switch(
    long: &'static str,
    short: char,
    setting: &'static str,
    help: &'static str,
    otherwise: Option<&'static str>,
) -> Spec {
    let short = if short == ' ' { None } else { Some(short) };
    Spec { long, short, setting, value: None, help, otherwise }
}

pub(super) const OPTIONS: &[Spec] = &[
    switch("help", 'h', "help", "show this help message and exit", None),
    valued(
        "config",
        'c',
        "config",
        "CONFIG",
        "configuration file [default: ~/.rabbitmqadmin.conf]",
        None,
    ),
    valued(
        "node",
        'N',
        "node",
        "NODE",
        "node described in the configuration file [default: 'default' only if configuration file is specified]",
        Some("default"),
    ),
    valued("host", 'H', "hostname", "HOST", "connect to host HOST", Some("localhost")),
    valued("port", 'P', "port", "PORT", "connect to port PORT", Some("15672")),
    valued(
        "path-prefix",
        ' ',
        "path_prefix",
        "PATH_PREFIX",
        "use specific URI path prefix for the RabbitMQ HTTP API. /api and operation path will be appended to it. \
         (default: blank string)",
        Some(""),
    ),
    valued(
        "vhost",
        'V',
        "vhost",
        "VHOST",
        "connect to vhost VHOST [default: all vhosts for list, '/' for declare]",
        None,
    ),
    valued(
        "username",
        'u',
        "username",
        "USERNAME",
        "connect using username USERNAME",
        Some("guest"),
    ),
    valued(
        "password",
        'p',
        "password",
        "PASSWORD",
        "connect using password PASSWORD",
        Some("guest"),
    ),
    valued(
        "base-uri",
        'U',
        "base_uri",
        "URI",
        "connect using a base HTTP API URI. /api and operation path will be appended to it. Path will be ignored. \
         --vhost has to be provided separately.",
        None,
    ),
    switch("quiet", 'q', "verbose", "suppress status messages", Some("True")),
    switch("ssl", 's', "ssl", "connect with ssl", Some("False")),
    valued(
        "ssl-key-file",
        ' ',
        "ssl_key_file",
        "SSL_KEY_FILE",
        "PEM format key file for SSL",
        None,
    ),
    valued(
        "ssl-cert-file",
        ' ',
        "ssl_cert_file",
        "SSL_CERT_FILE",
        "PEM format certificate file for SSL",
        None,
    ),
    valued(
        "ssl-ca-cert-file",
        ' ',
        "ssl_ca_cert_file",
        "SSL_CA_CERT_FILE",
        "PEM format CA certificate file for SSL",
        None,
    ),
    switch(
        "ssl-disable-hostname-verification",
        ' ',
        "ssl_disable_hostname_verification",
        "Disables peer hostname verification",
        Some("False"),
    ),
    switch(
        "ssl-insecure",
        'k',
        "ssl_insecure",
        "Disables all SSL validations like curl's '-k' argument",
        Some("False"),
    ),
    valued(
        "request-timeout",
        't',
        "request_timeout",
        "REQUEST_TIMEOUT",
        "HTTP request timeout in seconds",
        Some("120"),
    ),
    valued(
        "format",
        'f',
        "format",
        "FORMAT",
        "format for listing commands - one of [raw_json, pretty_json, tsv, long, table, kvp, bash]",
        Some("table"),
    ),
    valued("sort", 'S', "sort", "SORT", "sort key for listing queries", None),
    switch("sort-reverse", 'R', "sort_reverse", "reverse the sort order", None),
    valued(
        "depth",
        'd',
        "depth",
        "DEPTH",
        "maximum depth to recurse for listing tables",
        Some("1"),
    ),
    switch(
        "bash-completion",
        ' ',
        "bash_completion",
        "Print bash completion script",
        Some("False"),
    ),
    switch("version", ' ', "version", "Display version and exit", None),
];

/// The settings that the options set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Given(Vec<(&'static str, String)>);

impl Given {
    /// The value of a setting; of several the last.
    pub(super) fn get(&self, setting: &str) -> Option<&str> {
        self.0.iter().rev().find(|(name, _)| *name == setting).map(|(_, value)| value.as_str())
    }

    pub(super) fn set(&mut self, setting: &'static str, value: String) {
        self.0.push((setting, value));
    }

    /// Takes these as well; they count more.
    pub(super) fn extend(&mut self, others: Given) {
        self.0.extend(others.0);
    }

    /// Whether anybody says it.
    pub(super) fn is_set(&self, setting: &str) -> bool {
        self.get(setting).is_some()
    }
}

/// What the words say.
pub(super) enum Parsed {
    /// Only help is asked for.
    Help,
    /// These settings, and the words that are no options.
    Given(Given, Vec<String>),
}

/// Takes the options out of the words.
pub(super) fn parse(words: &Words) -> Result<Parsed, Ended> {
    let mut given = Given::default();
    let mut operands = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == "--" {
            operands.extend(words.cloned());
            break;
        }
        let is_help = if let Some(long) = word.strip_prefix("--") {
            take_long(&mut given, long, &mut words)?
        } else if let Some(letters) = word.strip_prefix('-').filter(|letters| !letters.is_empty()) {
            take_letters(&mut given, letters, &mut words)?
        } else {
            operands.push(word.clone());
            false
        };
        if is_help {
            return Ok(Parsed::Help);
        }
    }
    Ok(Parsed::Given(given, operands))
}

type Following<'a> = std::slice::Iter<'a, String>;

/// Takes an option as in `--host=h` or `--host h`. Says whether it asks for help.
fn take_long(given: &mut Given, long: &str, words: &mut Following<'_>) -> Result<bool, Ended> {
    let (name, value) = match long.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (long, None),
    };
    let spec = find(name)?;
    let named = format!("--{}", spec.long);
    let value = match (spec.value, value) {
        (None, Some(_)) => {
            return Err(Ended::Options(format!("{named} option does not take a value")));
        }
        (None, None) => None,
        (Some(_), Some(value)) => Some(value.to_owned()),
        (Some(_), None) => Some(following(words, &named)?),
    };
    take(given, spec, &named, value)
}

/// Takes options as in `-qH h` or `-qHh`. Says whether one asks for help.
fn take_letters(
    given: &mut Given,
    letters: &str,
    words: &mut Following<'_>,
) -> Result<bool, Ended> {
    let mut rest = letters;
    while let Some(letter) = rest.chars().next() {
        rest = &rest[letter.len_utf8()..];
        let named = format!("-{letter}");
        let spec = OPTIONS.iter().find(|spec| spec.short == Some(letter));
        let spec = spec.ok_or_else(|| Ended::Options(format!("no such option: {named}")))?;
        let value = match spec.value {
            None => None,
            Some(_) if rest.is_empty() => Some(following(words, &named)?),
            Some(_) => Some(std::mem::take(&mut rest).to_owned()),
        };
        if take(given, spec, &named, value)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn following(words: &mut Following<'_>, named: &str) -> Result<String, Ended> {
    let value = words.next().cloned();
    value.ok_or_else(|| Ended::Options(format!("{named} option requires 1 argument")))
}

/// The long option that is meant.
fn find(name: &str) -> Result<&'static Spec, Ended> {
    if let Some(spec) = OPTIONS.iter().find(|spec| spec.long == name) {
        return Ok(spec);
    }
    let mut possible: Vec<_> = OPTIONS.iter().filter(|spec| spec.long.starts_with(name)).collect();
    possible.sort_by_key(|spec| spec.long);
    match possible[..] {
        [] => Err(Ended::Options(format!("no such option: --{name}"))),
        [one] => Ok(one),
        _ => {
            let names: Vec<_> = possible.iter().map(|spec| format!("--{}", spec.long)).collect();
            Err(Ended::Options(format!("ambiguous option: --{name} ({}?)", names.join(", "))))
        }
    }
}

/// Notes an option. Says whether it asks for help.
fn take(given: &mut Given, spec: &Spec, named: &str, value: Option<String>) -> Result<bool, Ended> {
    if spec.setting == "request_timeout"
        && let Some(value) = &value
        && value.trim().parse::<i64>().is_err()
    {
        let value = python_literal(value);
        return Err(Ended::Options(format!("option {named}: invalid integer value: {value}")));
    }
    // What is quiet is not verbose.
    let switched = if spec.setting == "verbose" { "False" } else { "True" };
    given.set(spec.setting, value.unwrap_or_else(|| switched.to_owned()));
    Ok(spec.setting == "help")
}
