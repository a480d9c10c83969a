//! The names of queues and exchanges, as they come in, and how error texts show octets.
//!
//! rabbitmq: takes any 255 octets for a name, where the specification has letters, digits and four
//! other characters.

use std::borrow::Cow;

/// The name without carriage returns and line feeds.
///
/// rabbitmq: takes them out of the names in declare, delete and bind, so that a name that was read
/// from a file with its line end is the same name.
pub fn strip_newlines(name: &[u8]) -> Cow<'_, [u8]> {
    let is_newline = |octet: &u8| matches!(octet, b'\r' | b'\n');
    if !name.iter().any(is_newline) {
        return Cow::Borrowed(name);
    }
    Cow::Owned(name.iter().copied().filter(|octet| !is_newline(octet)).collect())
}

/// Whether clients may not declare something new of this name.
///
/// spec: names that start with "amq." are the server's.
pub fn is_reserved(name: &[u8]) -> bool {
    name.starts_with(b"amq.")
}

/// How texts show octets, an Erlang binary: `<<"text">>`, or their numbers when they are no text.
pub fn erlang_binary(octets: &[u8]) -> String {
    match quoted(octets) {
        _ if octets.is_empty() => "<<>>".into(),
        Some(text) => format!("<<{text}>>"),
        None => format!("<<{}>>", listed(octets)),
    }
}

/// How texts show octets that are never taken for a text: `<<1,2>>`.
pub fn erlang_octets(octets: &[u8]) -> String {
    format!("<<{}>>", listed(octets))
}

/// How texts show a pair, `{name,value}`, that begins in this column.
///
/// rabbitmq: Erlang breaks a line after the name rather than pass column 80, and goes on below it.
pub fn erlang_pair(name: &str, value: impl std::fmt::Display, column: usize) -> String {
    const WIDTH: usize = 80;
    let pair = format!("{{{name},{value}}}");
    if column + pair.len() <= WIDTH {
        return pair;
    }
    format!("{{{name},\n{:indent$}{value}}}", "", indent = column + 1)
}

/// How texts show a string, which in Erlang is a list: `"text"`, or their numbers.
pub fn erlang_string(octets: &[u8]) -> String {
    match quoted(octets) {
        _ if octets.is_empty() => "[]".into(),
        Some(text) => text,
        None => format!("[{}]", listed(octets)),
    }
}

/// The text between quotes, unless an octet is none that Erlang prints.
fn quoted(octets: &[u8]) -> Option<String> {
    let mut text = vec![b'"'];
    for &octet in octets {
        let escape = match octet {
            b'"' | b'\\' => octet,
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0x0b => b'v',
            0x08 => b'b',
            0x0c => b'f',
            0x1b => b'e',
            // why: Latin-1 is what it takes them for, and most of UTF-8 passes through as such.
            b' '..=b'~' | 0xa0.. => {
                text.push(octet);
                continue;
            }
            _ => return None,
        };
        text.extend([b'\\', escape]);
    }
    text.push(b'"');
    Some(String::from_utf8_lossy(&text).into_owned())
}

fn listed(octets: &[u8]) -> String {
    octets.iter().map(u8::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newlines_are_taken_out_wherever_they_are() {
        assert_eq!(strip_newlines(b"a\r\nb\n"), &b"ab"[..]);
        assert_eq!(strip_newlines(b"\r\n"), &b""[..]);
        assert!(matches!(strip_newlines(b"a b\t"), Cow::Borrowed(b"a b\t")));
    }

    #[test]
    fn names_of_the_server_start_with_amq_and_a_dot() {
        assert!(is_reserved(b"amq.direct"));
        assert!(is_reserved(b"amq."));
        assert!(!is_reserved(b"amq"));
        assert!(!is_reserved(b"AMQ.direct"));
        assert!(!is_reserved(b"my.amq.queue"));
    }

    #[test]
    fn octets_are_a_text_when_they_can_be_printed() {
        assert_eq!(erlang_binary(b"some"), "<<\"some\">>");
        assert_eq!(erlang_binary(b""), "<<>>");
        assert_eq!(erlang_binary(b"a\"b\\\n"), "<<\"a\\\"b\\\\\\n\">>");
        assert_eq!(erlang_binary(&[0, 50, 1]), "<<0,50,1>>");
        assert_eq!(erlang_binary("n\u{e9}".as_bytes()), "<<\"n\u{e9}\">>");
        assert_eq!(erlang_binary("\u{df}".as_bytes()), "<<195,159>>", "no letter of Latin-1");
    }

    #[test]
    fn a_long_line_goes_on_below() {
        assert_eq!(erlang_pair("end_marker", 0, 66), "{end_marker,0}");
        assert_eq!(erlang_pair("end_marker", 0, 67), format!("{{end_marker,\n{:68}0}}", ""));
        assert_eq!(erlang_octets(b"ab"), "<<97,98>>");
    }

    #[test]
    fn a_string_is_a_list_when_it_is_none() {
        assert_eq!(erlang_string(b".5"), "\".5\"");
        assert_eq!(erlang_string(&[53, 0]), "[53,0]");
        assert_eq!(erlang_string(b""), "[]");
    }
}
