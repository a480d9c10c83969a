//! Classes of octets: the escapes, POSIX classes and Unicode properties of patterns.
//!
//! rabbitmq: PCRE looks at a name octet by octet and takes each for a character of ISO 8859-1, with the
//! tables that Erlang gives it. All of these were asked of `re:run` for each of the 256 octets.

use std::fmt::Write as _;

/// First and last octets, rising.
type Ranges = &'static [(u8, u8)];

const DIGIT: Ranges = &[(b'0', b'9')];
const SPACE: Ranges = &[(0x09, 0x0d), (0x20, 0x20)];
const HORIZONTAL: Ranges = &[(0x09, 0x09), (0x20, 0x20), (0xa0, 0xa0)];
const VERTICAL: Ranges = &[(0x0a, 0x0d), (0x85, 0x85)];
const UPPER: Ranges = &[(b'A', b'Z'), (0xc0, 0xd6), (0xd8, 0xde)];
const CASED: Ranges =
    &[(b'A', b'Z'), (b'a', b'z'), (0xb5, 0xb5), (0xc0, 0xd6), (0xd8, 0xf6), (0xf8, 0xff)];
const LETTER: Ranges = &[
    (b'A', b'Z'),
    (b'a', b'z'),
    (0xaa, 0xaa),
    (0xb5, 0xb5),
    (0xba, 0xba),
    (0xc0, 0xd6),
    (0xd8, 0xf6),
    (0xf8, 0xff),
];
const ALPHANUMERIC: Ranges = &[
    (b'0', b'9'),
    (b'A', b'Z'),
    (b'a', b'z'),
    (0xaa, 0xaa),
    (0xb5, 0xb5),
    (0xba, 0xba),
    (0xc0, 0xd6),
    (0xd8, 0xf6),
    (0xf8, 0xff),
];
const WORD: Ranges = &[
    (b'0', b'9'),
    (b'A', b'Z'),
    (b'_', b'_'),
    (b'a', b'z'),
    (0xaa, 0xaa),
    (0xb5, 0xb5),
    (0xba, 0xba),
    (0xc0, 0xd6),
    (0xd8, 0xf6),
    (0xf8, 0xff),
];
const CONTROL: Ranges = &[(0x00, 0x1f), (0x7f, 0x9f)];

/// POSIX classes, by name.
const POSIX: [(&str, Ranges); 14] = [
    ("alpha", LETTER),
    (
        "lower",
        &[(b'a', b'z'), (0xaa, 0xaa), (0xb5, 0xb5), (0xba, 0xba), (0xdf, 0xf6), (0xf8, 0xff)],
    ),
    ("upper", UPPER),
    ("alnum", ALPHANUMERIC),
    ("ascii", ANY),
    ("blank", &[(0x09, 0x09), (0x20, 0x20)]),
    ("cntrl", CONTROL),
    ("digit", DIGIT),
    ("graph", &[(0x21, 0x7e), (0xa0, 0xff)]),
    ("print", &[(0x20, 0x7e), (0xa0, 0xff)]),
    (
        "punct",
        &[
            (0x21, 0x2f),
            (0x3a, 0x40),
            (0x5b, 0x60),
            (0x7b, 0x7e),
            (0xa0, 0xa9),
            (0xab, 0xb4),
            (0xb6, 0xb9),
            (0xbb, 0xbf),
            (0xd7, 0xd7),
            (0xf7, 0xf7),
        ],
    ),
    ("space", SPACE),
    ("word", WORD),
    ("xdigit", &[(b'0', b'9'), (b'A', b'F'), (b'a', b'f')]),
];

const ANY: Ranges = &[(0x00, 0xff)];

/// General categories of Unicode and the properties that PCRE adds, by name.
#[rustfmt::skip]
const PROPERTIES: [(&str, Ranges); 44] = [
    ("Any", ANY),
    ("L", LETTER),
    ("L&", CASED),
    ("Lu", UPPER),
    ("Ll", &[(b'a', b'z'), (0xb5, 0xb5), (0xdf, 0xf6), (0xf8, 0xff)]),
    ("Lt", &[]),
    ("Lm", &[]),
    ("Lo", &[(0xaa, 0xaa), (0xba, 0xba)]),
    ("M", &[]),
    ("Mc", &[]),
    ("Me", &[]),
    ("Mn", &[]),
    ("N", &[(b'0', b'9'), (0xb2, 0xb3), (0xb9, 0xb9), (0xbc, 0xbe)]),
    ("Nd", DIGIT),
    ("Nl", &[]),
    ("No", &[(0xb2, 0xb3), (0xb9, 0xb9), (0xbc, 0xbe)]),
    ("P", &[(0x21, 0x23), (0x25, 0x2a), (0x2c, 0x2f), (0x3a, 0x3b), (0x3f, 0x40), (0x5b, 0x5d), (0x5f, 0x5f), (0x7b, 0x7b), (0x7d, 0x7d), (0xa1, 0xa1), (0xa7, 0xa7), (0xab, 0xab), (0xb6, 0xb7), (0xbb, 0xbb), (0xbf, 0xbf)]),
    ("Pc", &[(0x5f, 0x5f)]),
    ("Pd", &[(0x2d, 0x2d)]),
    ("Ps", &[(0x28, 0x28), (0x5b, 0x5b), (0x7b, 0x7b)]),
    ("Pe", &[(0x29, 0x29), (0x5d, 0x5d), (0x7d, 0x7d)]),
    ("Pi", &[(0xab, 0xab)]),
    ("Pf", &[(0xbb, 0xbb)]),
    ("Po", &[(0x21, 0x23), (0x25, 0x27), (0x2a, 0x2a), (0x2c, 0x2c), (0x2e, 0x2f), (0x3a, 0x3b), (0x3f, 0x40), (0x5c, 0x5c), (0xa1, 0xa1), (0xa7, 0xa7), (0xb6, 0xb7), (0xbf, 0xbf)]),
    ("S", &[(0x24, 0x24), (0x2b, 0x2b), (0x3c, 0x3e), (0x5e, 0x5e), (0x60, 0x60), (0x7c, 0x7c), (0x7e, 0x7e), (0xa2, 0xa6), (0xa8, 0xa9), (0xac, 0xac), (0xae, 0xb1), (0xb4, 0xb4), (0xb8, 0xb8), (0xd7, 0xd7), (0xf7, 0xf7)]),
    ("Sm", &[(0x2b, 0x2b), (0x3c, 0x3e), (0x7c, 0x7c), (0x7e, 0x7e), (0xac, 0xac), (0xb1, 0xb1), (0xd7, 0xd7), (0xf7, 0xf7)]),
    ("Sc", &[(0x24, 0x24), (0xa2, 0xa5)]),
    ("Sk", &[(0x5e, 0x5e), (0x60, 0x60), (0xa8, 0xa8), (0xaf, 0xaf), (0xb4, 0xb4), (0xb8, 0xb8)]),
    ("So", &[(0xa6, 0xa6), (0xa9, 0xa9), (0xae, 0xae), (0xb0, 0xb0)]),
    ("Z", &[(0x20, 0x20), (0xa0, 0xa0)]),
    ("Zs", &[(0x20, 0x20), (0xa0, 0xa0)]),
    ("Zl", &[]),
    ("Zp", &[]),
    ("C", &[(0x00, 0x1f), (0x7f, 0x9f), (0xad, 0xad)]),
    ("Cc", CONTROL),
    ("Cf", &[(0xad, 0xad)]),
    ("Cn", &[]),
    ("Co", &[]),
    ("Cs", &[]),
    ("Xan", &[(0x30, 0x39), (0x41, 0x5a), (0x61, 0x7a), (0xaa, 0xaa), (0xb2, 0xb3), (0xb5, 0xb5), (0xb9, 0xba), (0xbc, 0xbe), (0xc0, 0xd6), (0xd8, 0xf6), (0xf8, 0xff)]),
    ("Xwd", &[(0x30, 0x39), (0x41, 0x5a), (0x5f, 0x5f), (0x61, 0x7a), (0xaa, 0xaa), (0xb2, 0xb3), (0xb5, 0xb5), (0xb9, 0xba), (0xbc, 0xbe), (0xc0, 0xd6), (0xd8, 0xf6), (0xf8, 0xff)]),
    ("Xps", &[(0x09, 0x0d), (0x20, 0x20), (0x85, 0x85), (0xa0, 0xa0)]),
    ("Xsp", &[(0x09, 0x0d), (0x20, 0x20), (0x85, 0x85), (0xa0, 0xa0)]),
    ("Xuc", &[(0x24, 0x24), (0x40, 0x40), (0x60, 0x60), (0xa0, 0xff)]),
];

/// A class of octets, or of all others.
#[derive(Clone, Copy)]
pub(super) struct Class {
    ranges: Ranges,
    is_negated: bool,
}

impl Class {
    /// What a letter behind a backslash stands for, such as `\w` and `\W`.
    pub(super) fn of_escape(letter: char) -> Option<Class> {
        let ranges = match letter.to_ascii_lowercase() {
            'd' => DIGIT,
            'h' => HORIZONTAL,
            's' => SPACE,
            'v' => VERTICAL,
            'w' => WORD,
            _ => return None,
        };
        Some(Class { ranges, is_negated: letter.is_ascii_uppercase() })
    }

    /// The POSIX class of this name.
    pub(super) fn posix(name: &str, is_negated: bool) -> Option<Class> {
        Class::find(&POSIX, name, is_negated)
    }

    /// The octets with this property.
    pub(super) fn property(name: &str, is_negated: bool) -> Option<Class> {
        Class::find(&PROPERTIES, name, is_negated)
    }

    fn find(table: &[(&str, Ranges)], name: &str, is_negated: bool) -> Option<Class> {
        let (_, ranges) = table.iter().find(|(known, _)| *known == name)?;
        Some(Class { ranges, is_negated })
    }

    /// Writes it into a class of the automaton.
    pub(super) fn push(self, regex: &mut String) {
        let before = regex.len();
        let mut range = |first: u8, last: u8| {
            push_octet(regex, first);
            regex.push('-');
            push_octet(regex, last);
        };
        if self.is_negated {
            let mut next = Some(0);
            for (first, last) in self.ranges {
                if let Some(next) = next.filter(|next| next < first) {
                    range(next, first - 1);
                }
                next = last.checked_add(1);
            }
            if let Some(next) = next {
                range(next, u8::MAX);
            }
        } else {
            self.ranges.iter().for_each(|(first, last)| range(*first, *last));
        }
        if regex.len() == before {
            // Nothing is in it, and something has to stand there.
            regex.push_str(r"[^\x00-\xFF]");
        }
    }
}

/// Writes an octet, whatever it means elsewhere.
pub(super) fn push_octet(regex: &mut String, octet: u8) {
    // A text takes all that is written to it.
    let _ = write!(regex, r"\x{octet:02X}");
}
