//! `curl`: asks an HTTP server, with the options that health checks and scripts of images have.
//!
//! What this module deliberately is not: there is no HTTPS, no file that it is configured by, and no protocol but HTTP.
//! Texts and codes are those of curl 7.88.

mod options;
mod transfer;
mod url;

use std::ffi::OsString;
use std::fs;
use std::time::Duration;

use self::options::{Options, Parsed};
use self::transfer::Transfer;
use self::url::Url;
use super::{Console, reason};

/// A curl that speaks HTTP alone.
pub(in crate::commands) fn curl(arguments: &[OsString], console: &mut Console<'_>) -> u8 {
    let options = match Options::parse(arguments, console) {
        Ok(Parsed::Options(options)) => options,
        Ok(Parsed::Version) => {
            let version = env!("CARGO_PKG_VERSION");
            console.print(format!("curl of leveret {version}\nProtocols: http\n"));
            return 0;
        }
        Err(stop) => {
            console.complain(format!("curl: {}\n", stop.text));
            return stop.code;
        }
    };
    let mut code = 0;
    for url in &options.urls {
        code = options.ask(url, console);
    }
    code
}

/// Why a transfer has no good end.
#[derive(Debug, PartialEq, Eq)]
struct Stop {
    code: u8,
    text: String,
}

impl Stop {
    fn new(code: u8, text: impl Into<String>) -> Self {
        Stop { code, text: text.into() }
    }
}

/// The most redirects that are followed.
const REDIRECTS: usize = 50;

impl Options {
    /// Asks for one URL, again where that is asked for. Returns the code to end with.
    fn ask(&self, url: &str, console: &mut Console<'_>) -> u8 {
        let mut wait = Duration::from_secs(1);
        let mut left = self.retries;
        loop {
            let (ended, is_transient) = self.ask_once(url, console);
            if left == 0 || !is_transient {
                return match ended {
                    Ok(()) => 0,
                    Err(stop) => {
                        self.tell(&stop, console);
                        stop.code
                    }
                };
            }
            left -= 1;
            let wait_now = self.retry_delay.unwrap_or(wait);
            if !self.silent || self.show_errors {
                let seconds = wait_now.as_secs();
                let why = ended.map_or_else(|stop| stop.text, |()| "HTTP error".to_owned());
                let line = format!("Will retry in {seconds} seconds. {left} retries left.");
                console.complain(format!("curl: Warning: {why}. {line}\n"));
            }
            std::thread::sleep(wait_now);
            wait = wait.saturating_mul(2).min(Duration::from_secs(600));
        }
    }

    /// Asks once and writes down what came. Also whether another try may help.
    fn ask_once(&self, url: &str, console: &mut Console<'_>) -> (Result<(), Stop>, bool) {
        let mut result = Received::none(url);
        let ended = self.follow(url, &mut result);
        let ended = self.write(&result.output, console).and(ended);
        let is_transient = match (&ended, result.status) {
            (Err(stop), _) if stop.code == 28 => true,
            (Err(stop), _) if stop.code == 7 => self.retry_refused || self.retry_all,
            (_, 408 | 429 | 500 | 502 | 503 | 504) => true,
            (Err(_), _) => self.retry_all,
            (Ok(()), _) => false,
        };
        if let Some(format) = &self.write_out {
            let (text, unknown) = result.written(format);
            console.print(text);
            for name in unknown.iter().filter(|_| !self.silent || self.show_errors) {
                console.complain(format!("curl: unknown --write-out variable: '{name}'\n"));
            }
        }
        (ended, is_transient)
    }

    /// Asks, and asks on where a redirect points.
    fn follow(&self, url: &str, result: &mut Received) -> Result<(), Stop> {
        let mut transfer = Transfer::new(self, Url::parse(url)?);
        for _ in 0..=REDIRECTS {
            let response = transfer.send(self)?;
            result.status = response.status;
            result.url = transfer.url().to_string();
            result.content_type = response.content_type;
            if self.include || self.head {
                result.output.extend_from_slice(&response.head);
            }
            let is_redirect = (300..400).contains(&response.status);
            let location = response.location.filter(|_| self.follow_redirects && is_redirect);
            let Some(location) = location else {
                if self.fail && response.status >= 400 {
                    let text = format!("The requested URL returned error: {}", response.status);
                    return Err(Stop::new(22, text));
                }
                result.size = response.body.len();
                result.output.extend_from_slice(&response.body);
                return Ok(());
            };
            transfer.redirect(&location, response.status)?;
        }
        Err(Stop::new(47, format!("Maximum ({REDIRECTS}) redirects followed")))
    }

    /// To the file that was asked for, or standard output.
    fn write(&self, bytes: &[u8], console: &mut Console<'_>) -> Result<(), Stop> {
        let Some(path) = self.output.as_ref().filter(|path| path.as_os_str() != "-") else {
            console.print(bytes);
            return Ok(());
        };
        fs::write(path, bytes).map_err(|error| {
            let path = path.display();
            Stop::new(23, format!("Failure writing output to {path}: {}", reason(&error)))
        })
    }

    /// An error is told unless `-s` without `-S` is given.
    fn tell(&self, stop: &Stop, console: &mut Console<'_>) {
        if !self.silent || self.show_errors {
            console.complain(format!("curl: ({}) {}\n", stop.code, stop.text));
        }
    }
}

/// What came of a URL.
struct Received {
    /// 0 when there was no answer.
    status: u16,
    /// Where the last answer came from.
    url: String,
    content_type: String,
    /// The length of the body.
    size: usize,
    /// What is to be written.
    output: Vec<u8>,
}

impl Received {
    fn none(url: &str) -> Self {
        let url = url.to_owned();
        Received { status: 0, url, content_type: String::new(), size: 0, output: Vec::new() }
    }

    /// The text that `--write-out` asks for, and the names in it that are not known.
    fn written<'a>(&self, format: &'a str) -> (String, Vec<&'a str>) {
        let (mut text, mut unknown) = (String::new(), Vec::new());
        let mut rest = format;
        while let Some(index) = rest.find(['%', '\\']) {
            text.push_str(&rest[..index]);
            let found = &rest[index..];
            let name = found.strip_prefix("%{").and_then(|it| it.split_once('}'));
            if let Some((name, behind)) = name {
                match name {
                    "http_code" | "response_code" => text.push_str(&format!("{:03}", self.status)),
                    "content_type" => text.push_str(&self.content_type),
                    "size_download" => text.push_str(&self.size.to_string()),
                    "url_effective" => text.push_str(&self.url),
                    _ => unknown.push(name),
                }
                rest = behind;
                continue;
            }
            let known = [("%%", "%"), ("\\n", "\n"), ("\\r", "\r"), ("\\t", "\t")];
            let known = known.iter().find(|(escape, _)| found.starts_with(escape));
            let (escape, meaning) = known.copied().unwrap_or((&found[..1], &found[..1]));
            text.push_str(meaning);
            rest = &found[escape.len()..];
        }
        text.push_str(rest);
        (text, unknown)
    }
}

#[cfg(test)]
mod tests;
