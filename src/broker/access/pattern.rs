//! Patterns over names: the regular expressions of permissions and policies.
//!
//! rabbitmq: hands them to PCRE, which looks for them anywhere in a name and octet by octet. Here an
//! automaton runs them in a time that grows with the name alone, whatever was written, so that a
//! pattern may be tried while others wait. What is written for PCRE is brought into the automaton's
//! syntax first; braces that repeat nothing, classes and escapes mean the same. Of what only a
//! backtracking search can do there is the one form in use, a look ahead at the beginning, as in
//! `^(?!amq\.).*`. References back, possessive quantifiers and other looks around are refused.

use std::fmt;

use regex::bytes::{Regex, RegexBuilder};

use crate::broker::names::erlang_string;

/// A pattern that names match or do not.
#[derive(Clone)]
pub struct Pattern {
    text: String,
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    /// Every name.
    Always,
    /// No name; the empty one, which nothing has, is the exception.
    Never,
    Regex(Search),
}

/// What is looked for, and what has to be at the beginning or must not.
#[derive(Clone)]
struct Search {
    ahead: Vec<Ahead>,
    body: Regex,
    /// See [`Pattern::steps`].
    steps: usize,
}

/// How large the automaton of a pattern may be, in bytes, and how many steps it takes to run it over the longest
/// name at worst: an automaton that cannot remember all of its states goes through many for each octet.
///
/// rabbitmq: PCRE refuses what is larger than 64 KiB in its own form, with these words.
const SIZES: [(usize, usize); 3] = [(4 << 10, 0), (16 << 10, 256), (64 << 10, 1024)];

/// A look ahead from the beginning of the name.
#[derive(Clone)]
struct Ahead {
    is_wanted: bool,
    regex: Regex,
}

/// Why a pattern is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{{{},{offset}}}", erlang_string(.reason.as_bytes()))]
pub struct InvalidPattern {
    /// PCRE's words where it has any, ours elsewhere.
    pub reason: String,
    /// The octet at which it was noticed.
    pub offset: usize,
}

impl InvalidPattern {
    fn new(reason: impl Into<String>, offset: usize) -> Self {
        InvalidPattern { reason: reason.into(), offset }
    }
}

impl Pattern {
    /// Reads the pattern of a permission.
    ///
    /// rabbitmq: the empty one is `^$`, so that nothing is allowed.
    pub fn parse(text: &str) -> Result<Pattern, InvalidPattern> {
        let kind = match text {
            "" => Kind::Never,
            _ => Kind::parse(text)?,
        };
        Ok(Pattern { text: text.to_owned(), kind })
    }

    /// Reads the pattern of a policy.
    ///
    /// rabbitmq: the empty one is nothing special here, and found in every name.
    pub fn parse_policy(text: &str) -> Result<Pattern, InvalidPattern> {
        Ok(Pattern { text: text.to_owned(), kind: Kind::parse(text)? })
    }

    /// The pattern that every name matches.
    pub fn always() -> Pattern {
        Pattern { text: ".*".to_owned(), kind: Kind::Always }
    }

    /// The pattern that no name matches.
    pub fn never() -> Pattern {
        Pattern { text: String::new(), kind: Kind::Never }
    }

    /// Whether the pattern is found in this name.
    pub fn matches(&self, name: &[u8]) -> bool {
        match &self.kind {
            Kind::Always => true,
            Kind::Never => name.is_empty(),
            Kind::Regex(Search { ahead, body, .. }) => {
                ahead.iter().all(|ahead| ahead.regex.is_match(name) == ahead.is_wanted)
                    && body.is_match(name)
            }
        }
    }

    /// How many steps it takes at worst to match it with a name; none for all but large patterns.
    pub fn steps(&self) -> usize {
        match &self.kind {
            Kind::Always | Kind::Never => 0,
            Kind::Regex(search) => search.steps,
        }
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pattern").field(&self.text).finish()
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Kind {
    fn parse(text: &str) -> Result<Kind, InvalidPattern> {
        match text {
            // why: a name has no line end in it, so that what stops at one finds all.
            "" | "^" | "$" | ".*" | "^.*" | ".*$" | "^.*$" | "(.*)" | "^(.*)$" => Ok(Kind::Always),
            "^$" => Ok(Kind::Never),
            _ => Search::parse(text).map(Kind::Regex),
        }
    }
}

impl Search {
    fn parse(text: &str) -> Result<Search, InvalidPattern> {
        let mut reader = Reader { text, at: 0 };
        let (mut ahead, mut steps) = (Vec::new(), 0);
        if let Some(mut start) = text.starts_with('^').then_some(1) {
            while let Some(is_wanted) = look_ahead(&text[start..]) {
                reader.at = start + 3;
                let inside = reader.translate(true)?;
                let (regex, more) = compile(text, &inside.anchored())?;
                ahead.push(Ahead { is_wanted, regex });
                steps += more;
                start = reader.at;
            }
            reader.at = if ahead.is_empty() { 0 } else { start };
        }
        let body = reader.translate(false)?;
        if ahead.is_empty() {
            let (body, steps) = compile(text, &body.regex)?;
            return Ok(Search { ahead, body, steps });
        }
        if body.has_alternatives {
            // why: the look ahead would belong to the first alternative alone.
            return Err(InvalidPattern::new("look ahead beside an alternative", text.len()));
        }
        let (body, more) = compile(text, &body.anchored())?;
        Ok(Search { ahead, body, steps: steps + more })
    }
}

/// Whether the text begins with a look ahead, and whether that is to find something.
fn look_ahead(text: &str) -> Option<bool> {
    match text.as_bytes() {
        [b'(', b'?', b'=', ..] => Some(true),
        [b'(', b'?', b'!', ..] => Some(false),
        _ => None,
    }
}

/// The automaton, and how many steps it takes to run it.
fn compile(text: &str, regex: &str) -> Result<(Regex, usize), InvalidPattern> {
    let build = |unicode, size| RegexBuilder::new(regex).unicode(unicode).size_limit(size).build();
    let invalid = |reason: &str| InvalidPattern::new(reason, text.len());
    for (size, steps) in SIZES {
        // why: octets are what PCRE looks at; but a class of letters beyond ASCII is only known to the
        // automaton as one of characters.
        match build(false, size).or_else(|error| build(true, size).map_err(|_| error)) {
            Ok(regex) => return Ok((regex, steps)),
            Err(regex::Error::CompiledTooBig(_)) => {}
            Err(error) => {
                let error = error.to_string();
                let reason = error.lines().last().unwrap_or_default();
                return Err(invalid(reason.strip_prefix("error: ").unwrap_or(reason)));
            }
        }
    }
    Err(invalid("regular expression is too large"))
}

/// A part of a pattern in the automaton's syntax.
struct Translated {
    regex: String,
    has_alternatives: bool,
}

impl Translated {
    fn anchored(&self) -> String {
        format!("^(?:{})", self.regex)
    }
}

/// Reads a pattern as PCRE would.
struct Reader<'p> {
    text: &'p str,
    at: usize,
}

impl Reader<'_> {
    /// Brings the rest into the automaton's syntax; in a group it ends with the group.
    fn translate(&mut self, in_group: bool) -> Result<Translated, InvalidPattern> {
        let mut regex = String::with_capacity(self.text.len() - self.at);
        let (mut has_alternatives, mut depth) = (false, usize::from(in_group));
        // Whether a quantifier may follow.
        let mut repeatable = false;
        while let Some(next) = self.peek() {
            let start = self.at;
            self.at += next.len_utf8();
            let quantified = match next {
                '\\' => {
                    self.escape(&mut regex)?;
                    false
                }
                '[' => {
                    self.class(&mut regex)?;
                    false
                }
                '(' => {
                    depth += 1;
                    self.open(&mut regex)?;
                    repeatable = false;
                    continue;
                }
                ')' if depth == 0 => {
                    return Err(InvalidPattern::new("unmatched parentheses", start));
                }
                ')' => {
                    depth -= 1;
                    if in_group && depth == 0 {
                        return Ok(Translated { regex, has_alternatives });
                    }
                    regex.push(')');
                    false
                }
                '|' => {
                    has_alternatives |= depth == usize::from(in_group);
                    regex.push('|');
                    repeatable = false;
                    continue;
                }
                '*' | '+' | '?' => {
                    regex.push(next);
                    true
                }
                '{' => match quantifier(&self.text[start..]) {
                    Some(quantifier) => {
                        regex.push_str(quantifier);
                        self.at = start + quantifier.len();
                        true
                    }
                    None => {
                        regex.push_str(r"\{");
                        false
                    }
                },
                other => {
                    regex.push(other);
                    false
                }
            };
            if quantified && !repeatable {
                return Err(InvalidPattern::new("nothing to repeat", start));
            }
            if quantified {
                self.quantifier_suffix(&mut regex)?;
            }
            repeatable = !quantified;
        }
        if depth > 0 {
            return Err(InvalidPattern::new("missing )", self.text.len()));
        }
        Ok(Translated { regex, has_alternatives })
    }

    /// What follows a backslash.
    fn escape(&mut self, regex: &mut String) -> Result<(), InvalidPattern> {
        let Some(escaped) = self.peek() else {
            return Err(InvalidPattern::new(r"\ at end of pattern", self.text.len()));
        };
        self.at += escaped.len_utf8();
        match escaped {
            'Z' => regex.push_str(r"\z"),
            // These mean themselves, and something else to the automaton.
            '<' | '>' => regex.push(escaped),
            _ if !escaped.is_ascii() => regex.push(escaped),
            _ => regex.extend(['\\', escaped]),
        }
        Ok(())
    }

    /// What follows an opening parenthesis.
    fn open(&mut self, regex: &mut String) -> Result<(), InvalidPattern> {
        let rest = &self.text[self.at..];
        if ["?=", "?!", "?<=", "?<!", "?>"].iter().any(|look| rest.starts_with(look)) {
            return Err(InvalidPattern::new("group not supported", self.at - 1));
        }
        regex.push('(');
        if rest.starts_with('?') {
            regex.push('?');
            self.at += 1;
        }
        Ok(())
    }

    /// What follows an opening bracket, up to the closing one.
    fn class(&mut self, regex: &mut String) -> Result<(), InvalidPattern> {
        regex.push('[');
        if self.skip('^') {
            regex.push('^');
        }
        if self.skip(']') {
            regex.push_str(r"\]");
        } else if self.skip('-') {
            regex.push_str(r"\-");
        }
        let mut after_dash = false;
        while let Some(next) = self.peek() {
            self.at += next.len_utf8();
            let is_dash = next == '-' && !after_dash;
            match next {
                ']' => {
                    regex.push(']');
                    return Ok(());
                }
                '\\' => self.escape(regex)?,
                '[' if self.peek() == Some(':') => self.posix_class(regex),
                // Two of them are an operator of the automaton.
                '[' | '&' | '~' => regex.extend(['\\', next]),
                '-' if after_dash => regex.push_str(r"\-"),
                _ => regex.push(next),
            }
            after_dash = is_dash;
        }
        Err(InvalidPattern::new("missing terminating ] for character class", self.text.len()))
    }

    /// A class such as `[:alpha:]` in another one, or a bracket that means itself.
    fn posix_class(&mut self, regex: &mut String) {
        let rest = &self.text[self.at..];
        let name = rest.find(":]").map(|end| &rest[..end + 2]);
        match name.filter(|name| !name[..name.len() - 2].contains(']')) {
            Some(name) => {
                regex.push('[');
                regex.push_str(name);
                self.at += name.len();
            }
            None => regex.push_str(r"\["),
        }
    }

    fn quantifier_suffix(&mut self, regex: &mut String) -> Result<(), InvalidPattern> {
        if self.skip('?') {
            regex.push('?');
        } else if self.peek() == Some('+') {
            return Err(InvalidPattern::new("possessive quantifier not supported", self.at));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, matching: &[&str], other: &[&str]) {
        let pattern = Pattern::parse(pattern).expect("the pattern is valid");
        for name in matching {
            assert!(pattern.matches(name.as_bytes()), "{pattern} matches {name}");
        }
        for name in other {
            assert!(!pattern.matches(name.as_bytes()), "{pattern} does not match {name}");
        }
    }

    #[track_caller]
    fn refused(pattern: &str, expected: &str) {
        let refusal = Pattern::parse(pattern).expect_err("the pattern is not valid");
        assert_eq!(refusal.to_string(), expected, "{pattern}");
    }

    #[test]
    fn a_pattern_is_found_anywhere_in_a_name() {
        check("q", &["q", "my-queue", "q."], &["", "Q", "other"]);
        check("^q", &["q", "queue"], &["my-queue"]);
        check("q$", &["q", "faq"], &["queue"]);
        check("^(a|b)\\.", &["a.x", "b."], &["c.x", "a"]);
        check("^(pm-mine|amq\\.gen).*", &["pm-mine-q", "amq.gen-x"], &["pm-other", "amqxgen"]);
    }

    #[test]
    fn nothing_matches_the_empty_pattern_of_a_permission() {
        for pattern in ["", "^$"] {
            check(pattern, &[""], &["q", "amq.default"]);
        }
        assert_eq!(Pattern::never(), Pattern::parse("").unwrap());
    }

    #[test]
    fn everything_matches_the_empty_pattern_of_a_policy() {
        assert!(Pattern::parse_policy("").unwrap().matches(b"q"));
        assert!(!Pattern::parse_policy("^$").unwrap().matches(b"q"));
    }

    #[test]
    fn everything_matches_everything() {
        for pattern in [".*", "^.*$", "^.*", ".*$", "^(.*)$", "^", "$", ".*.*"] {
            check(pattern, &["", "q", "größe"], &[]);
        }
        assert!(Pattern::always().matches(b"\xff\n"));
    }

    #[test]
    fn a_pattern_is_shown_as_it_was_written() {
        assert_eq!(Pattern::parse("^a{b}").unwrap().as_str(), "^a{b}");
        assert_eq!(format!("{:?}", Pattern::always()), r#"Pattern(".*")"#);
        assert_ne!(Pattern::parse("a").unwrap(), Pattern::parse("b").unwrap());
    }

    #[test]
    fn names_are_octets() {
        check("größe", &["größe-1"], &["groesse"]);
        check("[ö]", &["größe"], &["groesse"]);
        assert!(Pattern::parse("^.b$").unwrap().matches(b"\xffb"));
        assert!(Pattern::parse("\\w").unwrap().matches(b"a"));
        assert!(!Pattern::parse("\\w").unwrap().matches(b"\xff"));
    }

    #[test]
    fn braces_that_repeat_nothing_mean_themselves() {
        check("^{client_id}\\.", &["{client_id}.x"], &["client_id.x"]);
        check("a{,2}", &["a{,2}"], &["aa"]);
        check("^a{2}$", &["aa"], &["a", "a{2}"]);
        check("^a{2,}$", &["aa", "aaa"], &["a"]);
        check("^a{1,2}?$", &["a", "aa"], &["aaa"]);
        check("{", &["{"], &["a"]);
    }

    #[test]
    fn classes_are_those_of_perl() {
        check("^[a-c_-]+$", &["a-b_c"], &["d"]);
        check("^[]a]$", &["]", "a"], &["b"]);
        check("^[^]a]$", &["b"], &["]", "a"]);
        check("^[[a]$", &["[", "a"], &["b"]);
        check("^[a&&b]+$", &["a&b"], &["c"]);
        check("^[a~~b]+$", &["a~b"], &["c"]);
        check("^[+--]$", &["+", ",", "-"], &["."]);
        check("^[--a]$", &["-", ".", "a"], &["b"]);
        check("^[[:digit:]x]+$", &["1x2"], &["y"]);
        check("^[[:x]+$", &["[:x"], &["y"]);
        check("^[\\]\\-]+$", &["]-"], &["\\"]);
        check("^\\<a\\>\\Z", &["<a>"], &["a"]);
    }

    #[test]
    fn a_look_ahead_from_the_beginning_is_known() {
        check("^(?!amq\\.).*", &["q", "my.amq.q", ""], &["amq.gen-1"]);
        check("^(?!amq\\.|test\\.)", &["q"], &["amq.x", "test.x"]);
        check("^(?!a)(?!.*z$)q", &["q"], &["aq", "qz"]);
        check("^(?=.*x)q", &["qx"], &["q", "x"]);
        check("^(?!([)]a|b))(.)c", &["ac"], &[")a", "bc"]);
        check("^(?!a)(b|c)", &["b", "c"], &["a", "d"]);
    }

    #[test]
    fn what_needs_a_backtracking_search_is_refused() {
        refused("^(?!a)b|c", "{\"look ahead beside an alternative\",9}");
        refused("a(?!b)", "{\"group not supported\",1}");
        refused("^((?!a).)*$", "{\"group not supported\",2}");
        refused("(?<=a)b", "{\"group not supported\",0}");
        refused("a++", "{\"possessive quantifier not supported\",2}");
        refused("(a)\\1", "{\"backreferences are not supported\",5}");
    }

    #[test]
    fn mistakes_are_named_as_perl_names_them() {
        refused("(", "{\"missing )\",1}");
        refused("a(b(c)", "{\"missing )\",6}");
        refused("^(?!a", "{\"missing )\",5}");
        refused(")", "{\"unmatched parentheses\",0}");
        refused("a)b", "{\"unmatched parentheses\",1}");
        refused("*", "{\"nothing to repeat\",0}");
        refused("a|+", "{\"nothing to repeat\",2}");
        refused("a(*)", "{\"nothing to repeat\",2}");
        refused("a**", "{\"nothing to repeat\",2}");
        refused("[a", "{\"missing terminating ] for character class\",2}");
        refused("[]", "{\"missing terminating ] for character class\",2}");
        refused("a\\", "{\"\\\\ at end of pattern\",2}");
    }

    #[test]
    fn large_patterns_cost_steps_and_too_large_ones_are_none() {
        let steps = |text: &str| Pattern::parse(text).unwrap().steps();
        for usual in [".*", r"^(amq\.gen.*|a-[a-z0-9]+|b\..{1,20})$", "^(?!amq\\.).*"] {
            assert_eq!(steps(usual), 0, "{usual}");
        }
        assert_eq!(steps("(.*a.{0,60}b){8}.*zz$"), 1024);
        let error = Pattern::parse("(.{0,1000}){100}").unwrap_err();
        assert_eq!(error.reason, "regular expression is too large");
    }
}
