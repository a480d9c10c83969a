//! One setting as it was found, with its place; what is told of settings; and why a configuration is refused.

use std::fmt;
use std::path::PathBuf;

/// A key with its value, as `rabbitmq.conf` has them. What stands in other forms is brought into this one.
///
/// invariant: debug output and messages never show the value of a secret; see [`Entry::shown`].
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) value: String,
    pub(super) place: Place,
}

impl Entry {
    pub(super) fn new(key: impl Into<String>, value: impl Into<String>, place: &Place) -> Self {
        Entry { key: key.into(), value: value.into(), place: place.clone() }
    }

    /// The last word of the key.
    pub(super) fn last_word(&self) -> &str {
        self.key.rsplit('.').next().unwrap_or_default()
    }

    /// The value as it may be shown.
    pub(super) fn shown(&self) -> &str {
        let is_secret = ["pass", "password", "secret", "cookie"];
        match is_secret.iter().any(|word| self.last_word().ends_with(word)) {
            true => "(a secret)",
            false => &self.value,
        }
    }

    /// This setting is refused, as something else is expected.
    pub(super) fn refused(&self, expected: &str) -> ConfigError {
        let text = format!("{} = {}: {expected} is expected", self.key, self.shown());
        ConfigError { place: self.place.clone(), text }
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} = {}", self.place, self.key, self.shown())
    }
}

/// Where a setting was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In this line of this file.
    Line(PathBuf, usize),
    /// In this file as a whole.
    File(PathBuf),
    /// In this variable of the environment.
    Variable(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Line(file, line) => write!(f, "{}:{line}", file.display()),
            Place::File(file) => write!(f, "{}", file.display()),
            Place::Variable(name) => f.write_str(name),
        }
    }
}

/// Why a configuration is refused: one line with the place, the key and what is expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {text}")]
pub struct ConfigError {
    place: Place,
    text: String,
}

impl ConfigError {
    pub(super) fn new(place: &Place, text: impl Into<String>) -> Self {
        ConfigError { place: place.clone(), text: text.into() }
    }
}

/// How much a notice matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Importance {
    /// Something that was asked for is not done.
    Warning,
    /// Which configuration is in force.
    Info,
    /// A setting that has no meaning here.
    Debug,
}

/// Something to log once the log is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// How much it matters.
    pub importance: Importance,
    /// What it is.
    pub text: String,
}

impl Notice {
    pub(super) fn warning(place: &Place, text: impl fmt::Display) -> Self {
        Notice { importance: Importance::Warning, text: format!("{place}: {text}") }
    }

    /// A warning of several settings together.
    pub(super) fn told(text: impl Into<String>) -> Self {
        Notice { importance: Importance::Warning, text: text.into() }
    }

    pub(super) fn info(text: impl Into<String>) -> Self {
        Notice { importance: Importance::Info, text: text.into() }
    }

    pub(super) fn debug(place: &Place, text: impl fmt::Display) -> Self {
        Notice { importance: Importance::Debug, text: format!("{place}: {text}") }
    }
}
