//! The lines of `rabbitmq.conf`: `key = value`, a comment, or nothing.
//!
//! rabbitmq: cuttlefish reads them. A value ends at `#`, unless it stands in single quotes, which are taken off; double
//! quotes belong to the value. `$(NAME)` is replaced by the variable of the environment before the line is read.

use std::path::Path;

use super::entry::{ConfigError, Entry, Place};

/// Reads the text of a file. `variable` is the environment.
///
/// # Errors
/// For a line that is none of the three, a variable that is not set, and a value that is encrypted.
pub(super) fn parse(
    text: &str,
    file: &Path,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<Entry>, ConfigError> {
    let mut entries = Vec::new();
    // why: editors of Windows begin a file with a mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (index, line) in text.lines().enumerate() {
        let place = Place::Line(file.to_owned(), index + 1);
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = interpolate(line, variable).map_err(|text| ConfigError::new(&place, text))?;
        let (key, value) = setting(&line).map_err(|text| ConfigError::new(&place, text))?;
        if value.starts_with("encrypted:") {
            let text = format!("{key} is encrypted, and leveret cannot decrypt it");
            return Err(ConfigError::new(&place, text));
        }
        entries.push(Entry::new(key, value, &place));
    }
    Ok(entries)
}

/// The line with each `$(NAME)` replaced.
fn interpolate(line: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut whole = String::new();
    let mut rest = line;
    while let Some(start) = rest.find("$(") {
        let after = &rest[start + 2..];
        let Some(end) = after.find(')') else {
            return Err("$( without ), which ends the name of a variable".to_owned());
        };
        let name = &after[..end];
        let value = variable(name)
            .ok_or_else(|| format!("$({name}): there is no such variable in the environment"))?;
        whole.push_str(&rest[..start]);
        whole.push_str(&value);
        rest = &after[end + 1..];
    }
    whole.push_str(rest);
    Ok(whole)
}

fn setting(line: &str) -> Result<(&str, &str), String> {
    let Some((key, value)) = line.split_once('=') else {
        // why: not the whole line, in which a password may be.
        let word = line.split_whitespace().next().unwrap_or_default();
        return Err(format!("{word:?}: key = value is expected"));
    };
    let key = key.trim();
    let is_word = |word: &str| {
        let may = |byte: u8| byte.is_ascii_alphanumeric() || b"_-$*".contains(&byte);
        !word.is_empty() && word.bytes().all(may)
    };
    if !key.split('.').all(is_word) {
        return Err(format!("{key:?} is no key, which is words with dots between them"));
    }
    let value = value.trim();
    let quoted = value.strip_prefix('\'').and_then(|rest| rest.split_once('\''));
    let value = match quoted {
        Some((quoted, behind)) if behind.trim().is_empty() || behind.trim().starts_with('#') => {
            return Ok((key, quoted));
        }
        _ => value.split('#').next().unwrap_or_default().trim_end(),
    };
    match value {
        "" => Err(format!("{key}: a value is expected")),
        value => Ok((key, value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<(String, String)>, String> {
        let variable = |name: &str| (name == "PORT").then(|| "5673".to_owned());
        let entries = parse(text, Path::new("r.conf"), &variable);
        let pairs = entries.map(|all| all.into_iter().map(|it| (it.key, it.value)).collect());
        pairs.map_err(|error| error.to_string())
    }

    #[test]
    fn lines_are_read_as_cuttlefish_does() {
        for (line, key, value) in [
            ("a.b = 1", "a.b", "1"),
            ("a.b=1", "a.b", "1"),
            ("  a.b =\t1  ", "a.b", "1"),
            ("a = 1 # one", "a", "1"),
            ("a = 1#one", "a", "1"),
            ("a = b = c", "a", "b = c"),
            ("a = x y", "a", "x y"),
            ("a = \"x\"", "a", "\"x\""),
            ("a = 'x # y'", "a", "x # y"),
            ("a = 'x' # c", "a", "x"),
            ("a = ''", "a", ""),
            ("a = x'y", "a", "x'y"),
            ("a = 'x' y", "a", "'x' y"),
            ("1a_$x-y.* = 2", "1a_$x-y.*", "2"),
            ("a = $(PORT)", "a", "5673"),
            ("a.$(PORT) = :::$(PORT)", "a.5673", ":::5673"),
        ] {
            assert_eq!(read(line), Ok(vec![(key.to_owned(), value.to_owned())]), "{line}");
        }
        for nothing in ["", "\n\n", "# a = $(NOT_SET)", "   # x", "\u{feff}# x", "\r\n"] {
            assert_eq!(read(nothing), Ok(vec![]), "{nothing:?}");
        }
        assert_eq!(read("a = 1\r\n#\r\nb = 2").unwrap().len(), 2);
    }

    #[test]
    fn what_is_no_line_of_it_is_refused_with_its_place() {
        for (text, error) in [
            ("a", "r.conf:1: \"a\": key = value is expected"),
            ("\n[{rabbit, []}].", "r.conf:2: \"[{rabbit,\": key = value is expected"),
            ("a = ", "r.conf:1: a: a value is expected"),
            ("a = # x", "r.conf:1: a: a value is expected"),
            ("a b = 1", "r.conf:1: \"a b\" is no key, which is words with dots between them"),
            ("a. = 1", "r.conf:1: \"a.\" is no key, which is words with dots between them"),
            ("= 1", "r.conf:1: \"\" is no key, which is words with dots between them"),
            ("a = 1\nb = $(NO)", "r.conf:2: $(NO): there is no such variable in the environment"),
            ("b = $(NO", "r.conf:1: $( without ), which ends the name of a variable"),
            (
                "default_pass = encrypted:abc",
                "r.conf:1: default_pass is encrypted, and leveret cannot decrypt it",
            ),
        ] {
            assert_eq!(read(text), Err(error.to_owned()));
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_is_too_much(text in "[a-z.=$()'# \\n]{0,40}|.{0,40}") {
            let _ = read(&text);
        }
    }
}
