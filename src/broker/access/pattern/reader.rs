//! Reads a pattern as PCRE would, and writes it in the automaton's syntax.
//!
//! rabbitmq: what PCRE refuses is refused with its words. What it takes and an automaton cannot do is
//! refused by its name: looks around elsewhere than at the beginning, references back, possessive quantifiers
//! and atomic groups, recursion, conditions, verbs.

mod class;

use super::InvalidPattern;
use super::octets::{Class, push_octet};

/// A part of a pattern in the automaton's syntax.
#[derive(Default)]
pub(super) struct Translated {
    pub(super) regex: String,
    pub(super) has_alternatives: bool,
}

impl Translated {
    pub(super) fn anchored(&self) -> String {
        format!("^(?:{})", self.regex)
    }
}

/// Reads a pattern from where it is.
pub(super) struct Reader<'p> {
    pub(super) text: &'p str,
    pub(super) at: usize,
}

/// What was read.
enum Piece {
    /// Something that a quantifier may follow.
    Atom,
    /// Something after which there is nothing to repeat.
    Start,
    /// A quantifier.
    Quantifier,
    /// Nothing that counts.
    Blank,
}

impl<'p> Reader<'p> {
    /// Brings the rest into the automaton's syntax; in a group it ends with the group.
    pub(super) fn translate(&mut self, in_group: bool) -> Result<Translated, InvalidPattern> {
        let mut out = Translated::default();
        let mut depth = usize::from(in_group);
        // Whether a quantifier may follow.
        let mut repeatable = false;
        while let Some(next) = self.peek() {
            let start = self.at;
            self.at += next.len_utf8();
            let piece = match next {
                '(' => {
                    let (piece, more) = self.open(&mut out.regex)?;
                    depth += more;
                    piece
                }
                ')' if depth == 0 => {
                    return Err(InvalidPattern::new("unmatched parentheses", start));
                }
                ')' => {
                    depth -= 1;
                    if in_group && depth == 0 {
                        return Ok(out);
                    }
                    out.regex.push(')');
                    Piece::Atom
                }
                '|' => {
                    out.has_alternatives |= depth == usize::from(in_group);
                    out.regex.push('|');
                    Piece::Start
                }
                _ => self.item(next, &mut out.regex)?,
            };
            match piece {
                Piece::Atom => repeatable = true,
                Piece::Start => repeatable = false,
                Piece::Quantifier if !repeatable => {
                    return Err(InvalidPattern::new("nothing to repeat", start));
                }
                Piece::Quantifier => {
                    self.quantifier_suffix(&mut out.regex)?;
                    repeatable = false;
                }
                Piece::Blank => {}
            }
        }
        if depth > 0 {
            return Err(InvalidPattern::new("missing )", self.text.len()));
        }
        Ok(out)
    }

    /// What begins with this character, which has been read, and is neither a group nor an alternative.
    fn item(&mut self, first: char, regex: &mut String) -> Result<Piece, InvalidPattern> {
        match first {
            '\\' => return self.escape(regex),
            '[' => self.class(regex)?,
            '*' | '+' | '?' => {
                regex.push(first);
                return Ok(Piece::Quantifier);
            }
            '{' => {
                let start = self.at - 1;
                let Some(quantifier) = quantifier(&self.text[start..]) else {
                    regex.push_str(r"\{");
                    return Ok(Piece::Atom);
                };
                regex.push_str(quantifier);
                self.at = start + quantifier.len();
                return Ok(Piece::Quantifier);
            }
            other => regex.push(other),
        }
        Ok(Piece::Atom)
    }

    /// What follows a backslash.
    fn escape(&mut self, regex: &mut String) -> Result<Piece, InvalidPattern> {
        let start = self.at - 1;
        let escaped = self.escaped()?;
        match escaped {
            'Q' => {
                let quoted = self.quoted();
                quoted.chars().for_each(|literal| push_literal(regex, literal, false));
                return Ok(if quoted.is_empty() { Piece::Blank } else { Piece::Atom });
            }
            // Where a match begins does not matter.
            'E' | 'K' => return Ok(Piece::Blank),
            'A' | 'b' | 'B' | 'z' => regex.extend(['\\', escaped]),
            'G' => regex.push_str(r"\A"),
            'Z' => regex.push_str(r"\z"),
            'R' => regex.push_str(r"(?:\r\n|[\n-\r\x85])"),
            'N' if !self.text[self.at..].starts_with('{') => regex.push_str(r"[^\n]"),
            'C' | 'X' => regex.push_str("(?s:.)"),
            'N' | 'l' | 'L' | 'u' | 'U' => {
                let reason = r"PCRE does not support \L, \l, \N{name}, \U, or \u";
                return Err(InvalidPattern::new(reason, start + 1));
            }
            'g' | 'k' => return Err(not_supported(&format!(r"reference \{escaped}"), start)),
            '1'..='7' if !self.peek().is_some_and(|next| next.is_ascii_digit()) => {
                return Err(not_supported(&format!(r"back reference \{escaped}"), start));
            }
            _ => match self.class_escape(escaped)? {
                Some(class) => {
                    regex.push('[');
                    class.push(regex);
                    regex.push(']');
                }
                None => {
                    let literal = self.literal(escaped)?;
                    push_literal(regex, literal, escaped.is_ascii());
                }
            },
        }
        Ok(Piece::Atom)
    }

    /// The character behind a backslash.
    fn escaped(&mut self) -> Result<char, InvalidPattern> {
        let Some(escaped) = self.peek() else {
            return Err(InvalidPattern::new(r"\ at end of pattern", self.text.len()));
        };
        self.at += escaped.len_utf8();
        Ok(escaped)
    }

    /// What stands between `\Q`, which has been read, and `\E` or the end.
    fn quoted(&mut self) -> &'p str {
        let start = self.at;
        let rest = &self.text[start..];
        let end = rest.find(r"\E");
        self.at = end.map_or(self.text.len(), |end| start + end + 2);
        &rest[..end.unwrap_or(rest.len())]
    }

    /// The class that a letter behind a backslash stands for, if it is one.
    fn class_escape(&mut self, escaped: char) -> Result<Option<Class>, InvalidPattern> {
        if !matches!(escaped, 'p' | 'P') {
            return Ok(Class::of_escape(escaped));
        }
        let malformed = |at| InvalidPattern::new(r"malformed \P or \p sequence", at);
        let rest = &self.text[self.at..];
        let name = match rest.strip_prefix('{') {
            Some(inside) => {
                &inside[..inside.find('}').ok_or_else(|| malformed(self.text.len()))?]
            }
            None => {
                let letter = rest.chars().next().filter(char::is_ascii_alphabetic);
                &rest[..letter.ok_or_else(|| malformed(self.at))?.len_utf8()]
            }
        };
        self.at += name.len() + if rest.starts_with('{') { 2 } else { 0 };
        let (is_negated, name) = match name.strip_prefix('^') {
            Some(name) => (escaped == 'p', name),
            None => (escaped == 'P', name),
        };
        let class = Class::property(name, is_negated);
        let unknown = || not_supported(&format!(r"property \{escaped}{{{name}}}"), self.at);
        class.ok_or_else(unknown).map(Some)
    }

    /// The character that an escape stands for.
    fn literal(&mut self, escaped: char) -> Result<char, InvalidPattern> {
        Ok(match escaped {
            'a' => '\x07',
            'e' => '\x1b',
            'f' => '\x0c',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'c' => {
                let Some(letter) = self.peek() else {
                    return Err(InvalidPattern::new(r"\c at end of pattern", self.text.len()));
                };
                if !letter.is_ascii() {
                    let reason = r"\c must be followed by an ASCII character";
                    return Err(InvalidPattern::new(reason, self.at));
                }
                self.at += 1;
                char::from(letter.to_ascii_uppercase() as u8 ^ 0x40)
            }
            'x' if self.skip('{') => self.braced(16)?,
            'x' => self.digits(16, 2)?,
            'o' if self.skip('{') => self.braced(8)?,
            'o' => return Err(InvalidPattern::new(r"missing opening brace after \o", self.at)),
            '0'..='7' => {
                self.at -= 1;
                self.digits(8, 3)?
            }
            other => other,
        })
    }

    /// The octet whose number stands in braces, the first of which has been read.
    fn braced(&mut self, radix: u32) -> Result<char, InvalidPattern> {
        let rest = &self.text[self.at..];
        let end = rest.find('}').unwrap_or(rest.len());
        let digits = &rest[..end];
        let is_number = !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(radix));
        if !is_number || end == rest.len() {
            let kind =
                if radix == 16 { r"hex character in \x{}" } else { r"octal character in \o{}" };
            return Err(InvalidPattern::new(
                format!("non-{kind} (closing brace missing?)"),
                self.at,
            ));
        }
        self.at += end;
        let Ok(octet) = u8::from_str_radix(digits, radix) else {
            let reason = r"character value in \x{} or \o{} is too large";
            return Err(InvalidPattern::new(reason, self.at));
        };
        self.at += 1;
        Ok(char::from(octet))
    }

    /// The octet whose number has at most so many digits.
    fn digits(&mut self, radix: u32, most: usize) -> Result<char, InvalidPattern> {
        let mut number = 0;
        for _ in 0..most {
            let Some(digit) = self.peek().and_then(|next| next.to_digit(radix)) else { break };
            number = number * radix + digit;
            self.at += 1;
        }
        let too_large = r"octal value is greater than \377 in 8-bit non-UTF-8 mode";
        let octet =
            u8::try_from(number).map_err(|_| InvalidPattern::new(too_large, self.at - 1))?;
        Ok(char::from(octet))
    }

    /// What follows an opening parenthesis. Says how many groups are open more than before.
    fn open(&mut self, regex: &mut String) -> Result<(Piece, usize), InvalidPattern> {
        let start = self.at - 1;
        let rest = &self.text[self.at..];
        let refused = UNSUPPORTED.iter().find(|(begin, _)| rest.starts_with(begin));
        if let Some((_, name)) = refused {
            return Err(not_supported(name, start));
        }
        let verb = rest.strip_prefix('*');
        if verb.is_some_and(|verb| verb.starts_with(|next: char| next.is_ascii_alphabetic())) {
            return Err(not_supported("verb (*...)", start));
        }
        let Some(kind) = rest.strip_prefix('?') else {
            regex.push('(');
            return Ok((Piece::Start, 1));
        };
        let number = kind.strip_prefix(['+', '-']).unwrap_or(kind);
        if number.starts_with(|next: char| next.is_ascii_digit()) {
            return Err(not_supported("recursion (?n)", start));
        }
        if kind.starts_with('#') {
            let Some(end) = rest.find(')') else {
                return Err(InvalidPattern::new("missing ) after comment", self.text.len()));
            };
            self.at += end + 1;
            return Ok((Piece::Blank, 0));
        }
        // Groups are not asked for, be it by number or by name.
        let name = [("'", '\''), ("<", '>'), ("P<", '>')];
        if let Some((begin, end)) = name.iter().find(|(begin, _)| kind.starts_with(begin)) {
            let Some(length) = kind[begin.len()..].find(*end) else {
                let reason = "syntax error in subpattern name (missing terminator)";
                return Err(InvalidPattern::new(reason, self.text.len()));
            };
            self.at += 1 + begin.len() + length + 1;
            regex.push_str("(?:");
            return Ok((Piece::Start, 1));
        }
        if kind.starts_with('|') {
            self.at += 2;
            regex.push_str("(?:");
            return Ok((Piece::Start, 1));
        }
        self.at += 1;
        self.flags(regex)
    }

    /// Options as in `(?i)` and `(?i:`, from behind the question mark.
    fn flags(&mut self, regex: &mut String) -> Result<(Piece, usize), InvalidPattern> {
        let mut flags = [String::new(), String::new()];
        let mut side = 0;
        loop {
            let Some(next) = self.peek() else {
                return Err(InvalidPattern::new("missing )", self.text.len()));
            };
            self.at += next.len_utf8();
            match next {
                'i' | 'm' | 's' | 'x' | 'U' if flags[side].contains(next) => {}
                'i' | 'm' | 's' | 'x' | 'U' => flags[side].push(next),
                // Names of groups are forgotten.
                'J' => {}
                '-' if side == 0 => side = 1,
                ':' | ')' => {
                    let [on, off] = &flags;
                    let on: String = on.chars().filter(|flag| !off.contains(*flag)).collect();
                    let options = if off.is_empty() { on } else { format!("{on}-{off}") };
                    if next == ':' {
                        regex.push_str(&format!("(?{options}:"));
                        return Ok((Piece::Start, 1));
                    }
                    if !options.is_empty() {
                        regex.push_str(&format!("(?{options})"));
                    }
                    return Ok((Piece::Start, 0));
                }
                _ => {
                    let reason = "unrecognized character after (? or (?-";
                    return Err(InvalidPattern::new(reason, self.at - next.len_utf8()));
                }
            }
        }
    }

    fn quantifier_suffix(&mut self, regex: &mut String) -> Result<(), InvalidPattern> {
        if self.skip('?') {
            regex.push('?');
        } else if self.peek() == Some('+') {
            return Err(not_supported("possessive quantifier", self.at));
        }
        Ok(())
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn skip(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += if found { wanted.len_utf8() } else { 0 };
        found
    }
}

/// What begins a group that an automaton cannot do, behind the parenthesis.
const UNSUPPORTED: [(&str, &str); 11] = [
    ("?=", "look ahead (?=...)"),
    ("?!", "look ahead (?!...)"),
    ("?<=", "look behind (?<=...)"),
    ("?<!", "look behind (?<!...)"),
    ("?>", "atomic group (?>...)"),
    ("?(", "condition (?(...)...)"),
    ("?R", "recursion (?R)"),
    ("?&", "recursion (?&...)"),
    ("?P>", "recursion (?P>...)"),
    ("?P=", "back reference (?P=...)"),
    ("?C", "callout (?C)"),
];

fn not_supported(what: &str, at: usize) -> InvalidPattern {
    InvalidPattern::new(format!("{what} not supported"), at)
}

/// Writes a character that means itself, inside a class or outside: one of the text or an octet.
fn push_literal(regex: &mut String, literal: char, is_octet: bool) {
    match u8::try_from(literal) {
        Ok(octet) if is_octet || octet.is_ascii_punctuation() || octet == b' ' => {
            push_octet(regex, octet);
        }
        _ => regex.push(literal),
    }
}

/// The quantifier in braces that the text begins with. Other braces mean themselves.
fn quantifier(text: &str) -> Option<&str> {
    let end = text.find('}')?;
    let is_number =
        |text: &str| !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit());
    let is_quantifier = match text[1..end].split_once(',') {
        Some((least, most)) => is_number(least) && (most.is_empty() || is_number(most)),
        None => is_number(&text[1..end]),
    };
    is_quantifier.then(|| &text[..=end])
}
