//! Files with settings, in sections for several servers: `~/.rabbitmqadmin.conf`.
//!
//! The script reads the form of Python's `configparser`, rabbitmqadmin-ng reads TOML. Both are lines `name = value` below a
//! `[section]`; the values differ.

/// The settings of a section, as the script reads them; none when there is no such section.
///
/// Lines with more indentation than the one before belong to its value. What `[DEFAULT]` says counts in all sections.
pub(super) fn section_of_ini(text: &str, section: &str) -> Option<Vec<(String, String)>> {
    let mut all: Vec<(String, String, String)> = Vec::new();
    let (mut current, mut is_there, mut indentation) = (None, false, 0);
    for line in text.lines() {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
            continue;
        }
        let indented = line.len() - line.trim_start().len();
        let is_header = trimmed.starts_with('[') && trimmed.ends_with(']');
        match (&current, all.last_mut()) {
            (Some(of), Some(last)) if indented > indentation && *of == last.0 => {
                last.2.push('\n');
                last.2.push_str(trimmed);
            }
            _ if is_header => {
                let name = trimmed[1..trimmed.len() - 1].to_owned();
                is_there |= name == section;
                indentation = indented;
                current = Some(name);
            }
            (Some(of), _) => {
                indentation = indented;
                let (name, value) = trimmed.split_once(['=', ':']).unwrap_or((trimmed, ""));
                let name = name.trim().to_lowercase();
                all.push((of.clone(), name, value.trim().to_owned()));
            }
            (None, _) => {}
        }
    }
    if !is_there {
        return None;
    }
    let mut settings: Vec<(String, String)> = Vec::new();
    for of in ["DEFAULT", section] {
        for (_, name, value) in all.iter().filter(|(section, ..)| section == of) {
            settings.retain(|(known, _)| known != name);
            settings.push((name.clone(), value.replace("%%", "%")));
        }
    }
    Some(settings)
}

/// The settings of a section, as rabbitmqadmin-ng reads them; none when there is no such section.
pub(super) fn section_of_toml(text: &str, section: &str) -> Option<Vec<(String, String)>> {
    let (mut is_in, mut is_there) = (false, false);
    let mut settings = Vec::new();
    for line in text.lines() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(header) = line.strip_prefix('[') {
            let name = header.split(']').next().unwrap_or_default().trim();
            is_in = name.trim_matches(['"', '\'']) == section;
            is_there |= is_in;
        } else if let (true, Some((name, value))) = (is_in, line.split_once('=')) {
            settings.push((name.trim().trim_matches('"').to_owned(), toml_value(value.trim())));
        }
    }
    is_there.then_some(settings)
}

/// A text in quotes, a number or a word.
fn toml_value(value: &str) -> String {
    if let Some(literal) = value.strip_prefix('\'') {
        return literal.split('\'').next().unwrap_or_default().to_owned();
    }
    let Some(text) = value.strip_prefix('"') else {
        return value.split('#').next().unwrap_or_default().trim().to_owned();
    };
    let mut unquoted = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => break,
            '\\' => match letters.next() {
                Some('n') => unquoted.push('\n'),
                Some('t') => unquoted.push('\t'),
                Some(other) => unquoted.push(other),
                None => {}
            },
            letter => unquoted.push(letter),
        }
    }
    unquoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_takes_lines_as_python_does() {
        let text = "[DEFAULT]\nport = 1\n# no\n[one]\nHostname: a # b\npassword=100%%\n  more\n[two]\nx=y\n";
        let found = section_of_ini(text, "one").expect("it is there");
        let found: Vec<_> = found.iter().map(|(name, value)| (&name[..], &value[..])).collect();
        assert_eq!(found, [("port", "1"), ("hostname", "a # b"), ("password", "100%\nmore")]);
        assert_eq!(section_of_ini(text, "three"), None);
    }

    #[test]
    fn the_other_takes_toml() {
        let text =
            "[one]\nhostname = \"a\\\"b\" # c\nport = 15672 # d\npassword = 'x\\y'\n[\"two\"]\n";
        let found = section_of_toml(text, "one").expect("it is there");
        let found: Vec<_> = found.iter().map(|(name, value)| (&name[..], &value[..])).collect();
        assert_eq!(found, [("hostname", "a\"b"), ("port", "15672"), ("password", "x\\y")]);
        assert_eq!(section_of_toml(text, "two"), Some(Vec::new()));
    }
}
