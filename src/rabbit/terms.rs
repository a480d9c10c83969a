//! Terms of Erlang as people write them into files: `[{rabbit, [{tcp_listeners, [5672]}]}].`
//!
//! Lists, tuples, atoms, strings, binaries of text and numbers are read, comments are left out. What a term
//! means is not known here.

/// A term, with the line that it begins in.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Term {
    pub(super) line: usize,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Atom(String),
    /// A string, or a binary of text.
    Text(String),
    Integer(i128),
    Float(f64),
    List(Vec<Term>),
    Tuple(Vec<Term>),
}

impl Term {
    /// The elements of a list.
    pub(super) fn list(&self) -> Option<&[Term]> {
        match &self.kind {
            Kind::List(terms) => Some(terms),
            _ => None,
        }
    }

    /// The elements of a tuple.
    pub(super) fn tuple(&self) -> Option<&[Term]> {
        match &self.kind {
            Kind::Tuple(terms) => Some(terms),
            _ => None,
        }
    }

    /// The two of `{name, value}`.
    pub(super) fn pair(&self) -> Option<(&str, &Term)> {
        match self.tuple()? {
            [name, value] => match &name.kind {
                Kind::Atom(name) => Some((name, value)),
                _ => None,
            },
            _ => None,
        }
    }

    /// A single value as `rabbitmq.conf` would have it.
    pub(super) fn scalar(&self) -> Option<String> {
        match &self.kind {
            Kind::Atom(text) | Kind::Text(text) => Some(text.clone()),
            Kind::Integer(number) => Some(number.to_string()),
            Kind::Float(number) => Some(number.to_string()),
            Kind::List(_) | Kind::Tuple(_) => None,
        }
    }
}

/// Why a text is no term: the line, and what is the matter there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Malformed {
    pub(super) line: usize,
    pub(super) text: String,
}

/// Reads one term with a full stop behind it. A text with nothing in it is none.
pub(super) fn parse_file(text: &str) -> Result<Option<Term>, Malformed> {
    let mut reader = Reader::new(text);
    reader.skip_blanks();
    if reader.rest.is_empty() {
        return Ok(None);
    }
    let term = reader.term(0)?;
    reader.expect('.')?;
    reader.skip_blanks();
    match reader.rest.is_empty() {
        true => Ok(Some(term)),
        false => Err(reader.malformed("there is more behind the full stop")),
    }
}

/// Reads one term without a full stop.
pub(super) fn parse_term(text: &str) -> Result<Term, Malformed> {
    let mut reader = Reader::new(text);
    let term = reader.term(0)?;
    reader.skip_blanks();
    match reader.rest.is_empty() {
        true => Ok(term),
        false => Err(reader.malformed("there is more behind the term")),
    }
}

/// How many terms may lie in each other.
const DEPTH: usize = 64;

struct Reader<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str) -> Self {
        Reader { rest: text.strip_prefix('\u{feff}').unwrap_or(text), line: 1 }
    }

    fn term(&mut self, depth: usize) -> Result<Term, Malformed> {
        self.skip_blanks();
        let line = self.line;
        if depth > DEPTH {
            return Err(self.malformed("too many brackets in each other"));
        }
        let Some(first) = self.rest.chars().next() else {
            return Err(self.malformed("a term is missing"));
        };
        let kind = match first {
            '[' => Kind::List(self.terms(']', depth)?),
            '{' => Kind::Tuple(self.terms('}', depth)?),
            '"' => Kind::Text(self.strings()?),
            '\'' => Kind::Atom(self.quoted('\'')?),
            '<' => Kind::Text(self.binary()?),
            '0'..='9' | '-' | '+' => self.number()?,
            'a'..='z' => Kind::Atom(self.word().to_owned()),
            _ => return Err(self.malformed(&format!("no term begins with {first:?}"))),
        };
        Ok(Term { line, kind })
    }

    /// What stands between brackets, the first of which is next.
    fn terms(&mut self, end: char, depth: usize) -> Result<Vec<Term>, Malformed> {
        self.bump();
        let mut terms = Vec::new();
        self.skip_blanks();
        if self.take(end) {
            return Ok(terms);
        }
        loop {
            terms.push(self.term(depth + 1)?);
            self.skip_blanks();
            if self.take(end) {
                return Ok(terms);
            }
            if !self.take(',') {
                return Err(self.malformed(&format!("a comma or {end} is missing")));
            }
        }
    }

    /// Strings side by side, which are one.
    fn strings(&mut self) -> Result<String, Malformed> {
        let mut whole = self.quoted('"')?;
        loop {
            self.skip_blanks();
            if !self.rest.starts_with('"') {
                return Ok(whole);
            }
            whole.push_str(&self.quoted('"')?);
        }
    }

    fn quoted(&mut self, quote: char) -> Result<String, Malformed> {
        self.bump();
        let mut text = String::new();
        loop {
            match self.bump() {
                Some(letter) if letter == quote => return Ok(text),
                Some('\\') => match self.bump() {
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    Some('r') => text.push('\r'),
                    Some('s') => text.push(' '),
                    Some('e') => text.push('\u{1b}'),
                    Some('0') => text.push('\0'),
                    Some(letter) => text.push(letter),
                    None => return Err(self.malformed(&format!("{quote} is missing at its end"))),
                },
                Some(letter) => text.push(letter),
                None => return Err(self.malformed(&format!("{quote} is missing at its end"))),
            }
        }
    }

    fn binary(&mut self) -> Result<String, Malformed> {
        let Some(rest) = self.rest.strip_prefix("<<") else {
            return Err(self.malformed("no term begins with '<'"));
        };
        self.rest = rest;
        self.skip_blanks();
        let text = if self.rest.starts_with('"') { self.strings()? } else { String::new() };
        self.skip_blanks();
        // As in <<"text"/utf8>>.
        if let Some(rest) = self.rest.strip_prefix("/utf8") {
            self.rest = rest;
            self.skip_blanks();
        }
        match self.rest.strip_prefix(">>") {
            Some(rest) => {
                self.rest = rest;
                Ok(text)
            }
            None => Err(self.malformed("a binary is <<\"text\">>")),
        }
    }

    fn number(&mut self) -> Result<Kind, Malformed> {
        let is_part = |at: usize, letter: char| match letter {
            '0'..='9' | '_' => true,
            '-' | '+' => at == 0 || self.rest[..at].ends_with(['e', 'E']),
            // A full stop that ends a file belongs to no number.
            '.' => self.rest[at + 1..].starts_with(|next: char| next.is_ascii_digit()),
            'e' | 'E' => self.rest[..at].contains('.'),
            _ => false,
        };
        let end = self.rest.char_indices().find(|(at, letter)| !is_part(*at, *letter));
        let (digits, rest) = self.rest.split_at(end.map_or(self.rest.len(), |(at, _)| at));
        let digits = digits.replace('_', "");
        let number = match digits.contains('.') {
            true => digits.parse().ok().map(Kind::Float),
            false => digits.parse().ok().map(Kind::Integer),
        };
        let number = number.ok_or_else(|| self.malformed(&format!("{digits:?} is no number")))?;
        self.rest = rest;
        Ok(number)
    }

    fn word(&mut self) -> &'a str {
        let is_part = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == '@';
        let end = self.rest.find(|letter| !is_part(letter)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn skip_blanks(&mut self) {
        while let Some(next) = self.rest.chars().next() {
            match next {
                '%' => {
                    let end = self.rest.find('\n').unwrap_or(self.rest.len());
                    self.rest = &self.rest[end..];
                }
                next if next.is_whitespace() => {
                    self.bump();
                }
                _ => break,
            }
        }
    }

    fn expect(&mut self, letter: char) -> Result<(), Malformed> {
        self.skip_blanks();
        match self.take(letter) {
            true => Ok(()),
            false => Err(self.malformed(&format!("{letter:?} is missing"))),
        }
    }

    fn take(&mut self, letter: char) -> bool {
        let is_next = self.rest.starts_with(letter);
        if is_next {
            self.bump();
        }
        is_next
    }

    fn bump(&mut self) -> Option<char> {
        let next = self.rest.chars().next()?;
        self.rest = &self.rest[next.len_utf8()..];
        self.line += usize::from(next == '\n');
        Some(next)
    }

    fn malformed(&self, text: &str) -> Malformed {
        Malformed { line: self.line, text: text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The term in Erlang again, so that what was read can be seen.
    fn shown(term: &Term) -> String {
        let all = |terms: &[Term]| terms.iter().map(shown).collect::<Vec<_>>().join(",");
        match &term.kind {
            Kind::Atom(name) => format!("'{name}'"),
            Kind::Text(text) => format!("{text:?}"),
            Kind::Integer(number) => number.to_string(),
            Kind::Float(number) => format!("{number:?}"),
            Kind::List(terms) => format!("[{}]", all(terms)),
            Kind::Tuple(terms) => format!("{{{}}}", all(terms)),
        }
    }

    #[test]
    fn terms_are_read() {
        for (text, term) in [
            ("[].", "[]"),
            ("[ ] .\n% end\n", "[]"),
            ("[{rabbit, [{tcp_listeners, [5672]}]}].", "[{'rabbit',[{'tcp_listeners',[5672]}]}]"),
            ("{a, 'B c', \"d\", <<\"e\">>, <<>>, -1, 0.4}.", "{'a','B c',\"d\",\"e\",\"\",-1,0.4}"),
            ("[1.0e-3, 1_000, 5.].", "no"),
            ("[1.0e-3, 1_000, +5].", "[0.001,1000,5]"),
            ("[\"a\" \"b\", \"q\\\"\\n\"].", "[\"ab\",\"q\\\"\\n\"]"),
            ("[<<\"ü\"/utf8>>, rabbit@host].", "[\"ü\",'rabbit@host']"),
            ("%% c\n[a, % one\n b].", "['a','b']"),
        ] {
            match parse_file(text) {
                Ok(read) => assert_eq!(shown(&read.unwrap()), term, "{text}"),
                Err(_) => assert_eq!(term, "no", "{text}"),
            }
        }
        assert_eq!(parse_file(" % nothing\n"), Ok(None));
        assert_eq!(shown(&parse_term("{absolute, \"1GB\"}").unwrap()), "{'absolute',\"1GB\"}");
    }

    #[test]
    fn what_is_no_term_is_told_with_its_line() {
        for (text, line, said) in [
            ("[a\n", 2, "a comma or ] is missing"),
            ("[a]", 1, "'.' is missing"),
            ("[a,\n b c].", 2, "a comma or ] is missing"),
            ("[a].\n[b].", 2, "more behind the full stop"),
            ("[\"a].", 1, "\" is missing at its end"),
            ("[A].", 1, "no term begins with 'A'"),
            ("[<<1>>].", 1, "a binary is"),
            ("[a,].", 1, "no term begins with ']'"),
        ] {
            let error = parse_file(text).unwrap_err();
            assert_eq!(error.line, line, "{text}: {error:?}");
            assert!(error.text.contains(said), "{text}: {error:?}");
        }
        let deep = "[".repeat(100_000);
        assert!(parse_file(&deep).unwrap_err().text.contains("too many brackets"));
    }

    proptest::proptest! {
        #[test]
        fn no_text_is_too_much(text in "[\\[\\]{}<>\"'a-z0-9.,%\\\\ eE+-]{0,40}|.{0,40}") {
            let _ = (parse_file(&text), parse_term(&text));
        }
    }
}
