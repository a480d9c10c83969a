//! The options of `curl` that are known.

use std::borrow::Cow;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::super::{Console, reason};
use super::Stop;

/// What is asked for.
pub(super) enum Parsed {
    Options(Box<Options>),
    Version,
}

/// How a URL is asked for.
#[derive(Debug, Default)]
pub(super) struct Options {
    pub(super) urls: Vec<String>,
    pub(super) fail: bool,
    pub(super) silent: bool,
    pub(super) show_errors: bool,
    pub(super) include: bool,
    /// Only the head of the answer.
    pub(super) head: bool,
    pub(super) follow_redirects: bool,
    pub(super) user: Option<String>,
    pub(super) output: Option<PathBuf>,
    pub(super) write_out: Option<String>,
    pub(super) method: Option<String>,
    pub(super) body: Option<Vec<u8>>,
    /// Names and values; without a value the header is left out.
    pub(super) headers: Vec<(String, Option<String>)>,
    pub(super) max_time: Option<Duration>,
    pub(super) connect_timeout: Option<Duration>,
    pub(super) retries: u32,
    pub(super) retry_delay: Option<Duration>,
    pub(super) retry_refused: bool,
    pub(super) retry_all: bool,
}

/// The long options with the letters that stand for them, and whether a value follows.
const KNOWN: &[(&str, char, bool)] = &[
    ("fail", 'f', false),
    ("silent", 's', false),
    ("show-error", 'S', false),
    ("include", 'i', false),
    ("head", 'I', false),
    ("location", 'L', false),
    // There is no certificate to look at.
    ("insecure", 'k', false),
    ("version", 'V', false),
    ("user", 'u', true),
    ("output", 'o', true),
    ("write-out", 'w', true),
    ("request", 'X', true),
    ("data", 'd', true),
    ("header", 'H', true),
    ("max-time", 'm', true),
    ("data-raw", '\0', true),
    ("data-binary", '\0', true),
    ("connect-timeout", '\0', true),
    ("retry", '\0', true),
    ("retry-delay", '\0', true),
    ("retry-connrefused", '\0', false),
    ("retry-all-errors", '\0', false),
    ("no-progress-meter", '\0', false),
    ("url", '\0', true),
];

impl Options {
    /// Every option that is not known is an error with its name: a check that asks for more than it gets would say
    /// what is not so.
    pub(super) fn parse(arguments: &[OsString], console: &mut Console<'_>) -> Result<Parsed, Stop> {
        let mut options = Box::<Options>::default();
        let mut words = arguments.iter().map(|word| word.to_string_lossy());
        let mut only_urls = false;
        while let Some(word) = words.next() {
            if only_urls || word == "-" || !word.starts_with('-') {
                options.urls.push(word.into_owned());
                continue;
            }
            if word == "--" {
                only_urls = true;
                continue;
            }
            for (name, value) in named(&word, &mut words)? {
                if name == "version" {
                    return Ok(Parsed::Version);
                }
                options.set(name, &value, console)?;
            }
        }
        match options.urls.is_empty() {
            true => Err(Stop::new(2, "no URL specified")),
            false => Ok(Parsed::Options(options)),
        }
    }

    fn set(&mut self, name: &str, value: &str, console: &mut Console<'_>) -> Result<(), Stop> {
        let text = || Some(value.to_owned());
        match name {
            "fail" => self.fail = true,
            "silent" => self.silent = true,
            "show-error" => self.show_errors = true,
            "include" => self.include = true,
            "head" => self.head = true,
            "location" => self.follow_redirects = true,
            "user" => self.user = text(),
            "output" => self.output = Some(value.into()),
            "write-out" => self.write_out = text(),
            "request" => self.method = text(),
            "header" => self.headers.push(header(value)?),
            "max-time" => self.max_time = seconds(name, value)?,
            "connect-timeout" => self.connect_timeout = seconds(name, value)?,
            "retry-delay" => self.retry_delay = seconds(name, value)?,
            "retry" => {
                let number = value.parse();
                self.retries = number.map_err(|_| no_number(name, value))?;
            }
            "retry-connrefused" => self.retry_refused = true,
            "retry-all-errors" => self.retry_all = true,
            "url" => self.urls.push(value.to_owned()),
            "data" | "data-raw" | "data-binary" => self.add_data(name, value, console)?,
            _ => {}
        }
        Ok(())
    }

    /// Several are one body, with `&` between them.
    fn add_data(&mut self, name: &str, value: &str, console: &mut Console<'_>) -> Result<(), Stop> {
        let mut data = match value.strip_prefix('@').filter(|_| name != "data-raw") {
            Some("-") => console.read_to_end(u64::MAX).map_err(|error| unreadable("-", &error))?,
            Some(path) => fs::read(path).map_err(|error| unreadable(path, &error))?,
            None => value.as_bytes().to_vec(),
        };
        if name == "data" && value.starts_with('@') {
            // curl: a file is taken without its ends of lines.
            data.retain(|byte| !b"\r\n\0".contains(byte));
        }
        match &mut self.body {
            Some(body) => {
                body.push(b'&');
                body.extend_from_slice(&data);
            }
            None => self.body = Some(data),
        }
        Ok(())
    }
}

/// The options that a word stands for, with their values: `-fsu guest:guest` is three.
fn named<'a>(
    word: &str,
    words: &mut impl Iterator<Item = Cow<'a, str>>,
) -> Result<Vec<(&'static str, String)>, Stop> {
    let missing = |name: &str| Stop::new(2, format!("option {name}: requires parameter"));
    if let Some(long) = word.strip_prefix("--") {
        let known = KNOWN.iter().find(|(name, ..)| *name == long);
        let (name, _, has_value) =
            known.ok_or_else(|| Stop::new(2, format!("option --{long}: is unknown")))?;
        let value = match has_value {
            true => words.next().ok_or_else(|| missing(word))?.into_owned(),
            false => String::new(),
        };
        return Ok(vec![(*name, value)]);
    }
    let mut found = Vec::new();
    for (index, letter) in word.char_indices().skip(1) {
        let known = KNOWN.iter().find(|(_, of, _)| *of == letter && letter != '\0');
        let (name, _, has_value) =
            known.ok_or_else(|| Stop::new(2, format!("option -{letter}: is unknown")))?;
        if *has_value {
            let rest = &word[index + letter.len_utf8()..];
            let value = match rest.is_empty() {
                true => words.next().ok_or_else(|| missing(&format!("-{letter}")))?.into_owned(),
                false => rest.to_owned(),
            };
            found.push((*name, value));
            break;
        }
        found.push((*name, String::new()));
    }
    Ok(found)
}

/// `Name: value`; `Name:` leaves out a header, and `Name;` is one with nothing in it.
fn header(text: &str) -> Result<(String, Option<String>), Stop> {
    let wrong = || Stop::new(2, format!("option -H: {text} is no header"));
    if let Some((name, value)) = text.split_once(':') {
        let value = value.trim();
        return Ok((name.trim().to_owned(), Some(value.to_owned()).filter(|it| !it.is_empty())));
    }
    let name = text.strip_suffix(';').ok_or_else(wrong)?;
    Ok((name.to_owned(), Some(String::new())))
}

/// None for 0: as long as it takes.
fn seconds(name: &str, value: &str) -> Result<Option<Duration>, Stop> {
    let seconds = value.parse::<f64>().ok();
    let duration = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let duration = duration.ok_or_else(|| no_number(name, value))?;
    Ok(Some(duration).filter(|duration| !duration.is_zero()))
}

fn no_number(name: &str, value: &str) -> Stop {
    Stop::new(2, format!("option --{name}: expected a proper numerical parameter, not {value}"))
}

fn unreadable(path: &str, error: &std::io::Error) -> Stop {
    Stop::new(26, format!("Failed to open {path}: {}", reason(error)))
}
