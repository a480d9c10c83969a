//! Patterns over names: the regular expressions of permissions and policies.
//!
//! rabbitmq: hands them to PCRE, which looks for them anywhere in a name and octet by octet. Here an
//! automaton runs them in a time that grows with the name alone, whatever was written, so that a
//! pattern may be tried while others wait. What is written for PCRE is brought into the automaton's
//! syntax first: braces that repeat nothing, `\Q` to `\E`, properties as `\p{L}`, classes and escapes mean the
//! same. Of what only a backtracking search can do there is the one form in use, a look ahead at the
//! beginning, as in `^(?!amq\.).*`. The rest is refused by its name ([`reader`]).

mod octets;
mod reader;

use std::fmt;

use regex::bytes::{Regex, RegexBuilder};

use self::reader::Reader;
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
        // rabbitmq: each is a character of ISO 8859-1.
        assert!(Pattern::parse("\\w").unwrap().matches(b"\xff"));
        assert!(!Pattern::parse("\\w").unwrap().matches(b"\xf7"));
        assert!(Pattern::parse("^\\xF6$").unwrap().matches(b"\xf6"));
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
    fn what_needs_a_backtracking_search_is_refused_by_its_name() {
        refused("^(?!a)b|c", "{\"look ahead beside an alternative\",9}");
        refused("a(?!b)", "{\"look ahead (?!...) not supported\",1}");
        refused("a(?=b)", "{\"look ahead (?=...) not supported\",1}");
        refused("^((?!a).)*$", "{\"look ahead (?!...) not supported\",2}");
        refused("(?<=a)b", "{\"look behind (?<=...) not supported\",0}");
        refused("(?<!a)b", "{\"look behind (?<!...) not supported\",0}");
        refused("a++", "{\"possessive quantifier not supported\",2}");
        refused("a{1,2}+", "{\"possessive quantifier not supported\",6}");
        refused("(?>a)", "{\"atomic group (?>...) not supported\",0}");
        refused("(a)\\1", "{\"back reference \\\\1 not supported\",3}");
        refused("(?<n>a)\\k<n>", "{\"reference \\\\k not supported\",7}");
        refused("(a)\\g{1}", "{\"reference \\\\g not supported\",3}");
        refused("(?<n>a)(?P=n)", "{\"back reference (?P=...) not supported\",7}");
        refused("(a)(?1)", "{\"recursion (?n) not supported\",3}");
        refused("(a)(?-1)", "{\"recursion (?n) not supported\",3}");
        refused("a(?R)", "{\"recursion (?R) not supported\",1}");
        refused("(a)(?(1)b|c)", "{\"condition (?(...)...) not supported\",3}");
        refused("(*FAIL)", "{\"verb (*...) not supported\",0}");
        refused("\\p{Greek}", "{\"property \\\\p{Greek} not supported\",9}");
        refused("[\\P{Foo}]", "{\"property \\\\P{Foo} not supported\",8}");
    }

    /// The octets that match, as ranges.
    fn octets(pattern: &str) -> String {
        let whole = format!("\\A(?:{pattern})\\z");
        let parsed = Pattern::parse(&whole).unwrap_or_else(|error| panic!("{pattern}: {error}"));
        let mut ranges: Vec<(u8, u8)> = Vec::new();
        for octet in (0..=u8::MAX).filter(|octet| parsed.matches(&[*octet])) {
            match ranges.last_mut() {
                Some((_, last)) if u32::from(*last) + 1 == u32::from(octet) => *last = octet,
                _ => ranges.push((octet, octet)),
            }
        }
        let shown = ranges.iter().map(|(first, last)| format!("{first:X}-{last:X}"));
        shown.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn escapes_classes_and_properties_are_those_of_erlang() {
        // As Erlang's re:run(<<Octet>>, Pattern) says of all octets.
        const LETTERS: &str = "41-5A 61-7A AA-AA B5-B5 BA-BA C0-D6 D8-F6 F8-FF";
        const WORD: &str = "30-39 41-5A 5F-5F 61-7A AA-AA B5-B5 BA-BA C0-D6 D8-F6 F8-FF";
        const UPPER: &str = "41-5A C0-D6 D8-DE";
        const OTHERS: &str = "0-40 5B-BF D7-D7 DF-FF";
        let rows = [
            ("\\p{L}", LETTERS),
            ("\\pL", LETTERS),
            ("\\p{Lu}", UPPER),
            ("\\P{^Lu}", UPPER),
            ("\\p{^Lu}", OTHERS),
            ("\\P{Lu}", OTHERS),
            ("[\\P{Lu}]", OTHERS),
            ("[^\\p{Lu}]", OTHERS),
            ("\\p{Lt}", ""),
            ("[\\p{Lt}]", ""),
            ("[a\\p{Lt}]", "61-61"),
            ("\\p{Any}", "0-FF"),
            ("\\w", WORD),
            ("[\\W]", "0-2F 3A-40 5B-5E 60-60 7B-A9 AB-B4 B6-B9 BB-BF D7-D7 F7-F7"),
            ("[[:word:]]", WORD),
            ("[[:alpha:]]", LETTERS),
            ("[[:^digit:]]", "0-2F 3A-FF"),
            ("\\h", "9-9 20-20 A0-A0"),
            ("[^\\h]", "0-8 A-1F 21-9F A1-FF"),
            ("\\v", "A-D 85-85"),
            ("\\R", "A-D 85-85"),
            ("\\N", "0-9 B-FF"),
            ("\\C", "0-FF"),
            ("\\a|\\e|\\f", "7-7 C-C 1B-1B"),
            ("\\cA", "1-1"),
            ("\\c[", "1B-1B"),
            ("\\x", "0-0"),
            ("\\x4", "4-4"),
            ("\\x{41}", "41-41"),
            ("\\o{101}", "41-41"),
            ("\\101", "41-41"),
            ("\\0", "0-0"),
            ("\\11", "9-9"),
            ("\\8", "38-38"),
            ("\\i", "69-69"),
            ("[\\1]", "1-1"),
            ("[\\b]", "8-8"),
            ("[\\R]", "52-52"),
            ("[\\d-z]", "2D-2D 30-39 7A-7A"),
            ("[[:digit:]-a]", "2D-2D 30-39 61-61"),
            ("[\\Qa]b\\E]", "5D-5D 61-62"),
            ("[\\E]]", "5D-5D"),
            ("[a\\E-c]", "61-63"),
            ("[a-\\Qc\\E]", "61-63"),
            ("(?x)[ ]", "20-20"),
        ];
        for (pattern, expected) in rows {
            assert_eq!(octets(pattern), expected, "{pattern}");
        }
    }

    #[test]
    fn what_is_quoted_means_itself() {
        check("^\\Qa.b(\\E$", &["a.b("], &["axb("]);
        check("^a\\Q.*", &["a.*"], &["a", "axx"]);
        check("^\\Qa\\E+$", &["a", "aaa"], &[""]);
        check("^a\\E+$", &["aa"], &["+"]);
        check("^\\Q\\E.$", &["a"], &["ab"]);
        check("^\\Q\\d\\E$", &["\\d"], &["1"]);
        check("^[\\Q^]-\\E]+$", &["^]-"], &["a"]);
    }

    #[test]
    fn groups_may_have_names_options_and_comments() {
        check("^(?<n>a)(?P<m>b)(?'o'c)$", &["abc"], &["ab"]);
        check("^(?|a|b)$", &["a", "b"], &["c"]);
        check("^a(?#a comment)b$", &["ab"], &["a"]);
        check("^(?i)q$", &["q", "Q"], &["a"]);
        check("^(?i:q)q$", &["Qq"], &["QQ"]);
        check("^(?J)(?i-i:q)$", &["q"], &["Q"]);
        check("^a\\Kb$", &["ab"], &["b"]);
        check("\\Gb", &["b"], &["ab"]);
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
        let cases = r"PCRE does not support \\L, \\l, \\N{name}, \\U, or \\u";
        refused("\\u", &format!("{{\"{cases}\",1}}"));
        refused("[[:foo:]]", "{\"unknown POSIX class name\",3}");
        refused("[[=a=]]", "{\"POSIX collating elements are not supported\",1}");
        refused("[a--b]", "{\"range out of order in character class\",3}");
        refused("[z-\\d]", "{\"invalid range in character class\",4}");
        refused("[a-[:digit:]]", "{\"invalid range in character class\",3}");
        refused("(?^a)", "{\"unrecognized character after (? or (?-\",2}");
        let large = r"character value in \\x{} or \\o{} is too large";
        refused("\\x{100}", &format!("{{\"{large}\",6}}"));
        let octal = r"octal value is greater than \\377 in 8-bit non-UTF-8 mode";
        refused("\\400", &format!("{{\"{octal}\",3}}"));
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
