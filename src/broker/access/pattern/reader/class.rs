//! Classes of a pattern, from the opening bracket to the closing one.

use super::super::InvalidPattern;
use super::super::octets::Class;
use super::{Reader, push_literal};

/// What was read last in a class.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    /// Nothing that a range may begin with.
    Other,
    /// A character.
    One(char),
    /// A character and the dash of a range.
    Dash(char),
}

impl Reader<'_> {
    /// What follows an opening bracket, up to the closing one.
    pub(super) fn class(&mut self, regex: &mut String) -> Result<(), InvalidPattern> {
        regex.push('[');
        self.skip_end_of_quote();
        if self.skip('^') {
            regex.push('^');
        }
        self.skip_end_of_quote();
        let mut last = Last::Other;
        if self.skip(']') {
            last = push_one(regex, last, (']', false), self.at - 1)?;
        }
        loop {
            self.skip_end_of_quote();
            let Some(next) = self.peek() else {
                let reason = "missing terminating ] for character class";
                return Err(InvalidPattern::new(reason, self.text.len()));
            };
            let at = self.at;
            self.at += next.len_utf8();
            let class = match next {
                ']' => {
                    regex.push(']');
                    return Ok(());
                }
                '\\' if self.skip('Q') => {
                    let quoted = self.quoted();
                    for literal in quoted.chars() {
                        last = push_one(regex, last, (literal, false), at)?;
                    }
                    continue;
                }
                '\\' => self.escape_in_class(regex, &mut last)?.map(|class| (class, at + 1)),
                '[' => match self.posix_class()? {
                    Some(class) => Some((class, at)),
                    None => {
                        last = push_one(regex, last, ('[', false), at)?;
                        None
                    }
                },
                '-' if !self.ends_class()
                    && let Last::One(first) = last =>
                {
                    last = Last::Dash(first);
                    regex.push('-');
                    None
                }
                literal => {
                    last = push_one(regex, last, (literal, false), at)?;
                    None
                }
            };
            if let Some((class, at)) = class {
                if matches!(last, Last::Dash(_)) {
                    return Err(InvalidPattern::new("invalid range in character class", at));
                }
                class.push(regex);
                last = Last::Other;
            }
        }
    }

    /// Whether the class ends here.
    fn ends_class(&mut self) -> bool {
        self.skip_end_of_quote();
        self.peek() == Some(']')
    }

    /// What follows a backslash in a class: a class of its own, or a character, which is written.
    fn escape_in_class(
        &mut self,
        regex: &mut String,
        last: &mut Last,
    ) -> Result<Option<Class>, InvalidPattern> {
        let escaped = self.escaped()?;
        let at = self.at - escaped.len_utf8();
        let literal = match escaped {
            'b' => '\x08',
            'N' => return Err(InvalidPattern::new(r"\N is not supported in a class", self.at)),
            'l' | 'L' | 'u' | 'U' => {
                let reason = r"PCRE does not support \L, \l, \N{name}, \U, or \u";
                return Err(InvalidPattern::new(reason, at));
            }
            _ => match self.class_escape(escaped)? {
                Some(class) => return Ok(Some(class)),
                None => self.literal(escaped)?,
            },
        };
        *last = push_one(regex, *last, (literal, escaped.is_ascii()), at)?;
        Ok(None)
    }

    /// A class such as `[:alpha:]`, whose bracket has been read; none if that means itself.
    fn posix_class(&mut self) -> Result<Option<Class>, InvalidPattern> {
        let rest = &self.text[self.at..];
        let Some(kind) = rest.chars().next().filter(|kind| matches!(kind, ':' | '.' | '=')) else {
            return Ok(None);
        };
        let inside = &rest[1..];
        let Some(end) = inside.find(&format!("{kind}]")) else { return Ok(None) };
        let name = &inside[..end];
        if name.contains([']', '\\']) {
            return Ok(None);
        }
        if kind != ':' {
            let reason = "POSIX collating elements are not supported";
            return Err(InvalidPattern::new(reason, self.at - 1));
        }
        let (is_negated, known) = match name.strip_prefix('^') {
            Some(name) => (true, name),
            None => (false, name),
        };
        let Some(class) = Class::posix(known, is_negated) else {
            return Err(InvalidPattern::new("unknown POSIX class name", self.at + 1));
        };
        self.at += 1 + name.len() + 2;
        Ok(Some(class))
    }

    /// An `\E` without a `\Q` means nothing.
    fn skip_end_of_quote(&mut self) {
        while self.text[self.at..].starts_with(r"\E") {
            self.at += 2;
        }
    }
}

/// Writes a character of a class, which may end a range; and whether it is an octet.
fn push_one(
    regex: &mut String,
    last: Last,
    (literal, is_octet): (char, bool),
    at: usize,
) -> Result<Last, InvalidPattern> {
    push_literal(regex, literal, is_octet);
    match last {
        Last::Dash(first) if literal < first => {
            Err(InvalidPattern::new("range out of order in character class", at))
        }
        Last::Dash(_) => Ok(Last::Other),
        Last::Other | Last::One(_) => Ok(Last::One(literal)),
    }
}
