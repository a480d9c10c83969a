//! Forms, as browsers and `curl -F` send them: `multipart/form-data`.
//!
//! ```text
//!  --boundary CRLF headers CRLF CRLF content CRLF --boundary CRLF … CRLF --boundary--
//! ```
//!
//! What this module deliberately is not: it decodes no content, which is taken as it is.

use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;

/// What stands between the parts of a form.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Form {
    delimiter: Vec<u8>,
}

impl Form {
    /// The form that a body with these headers is, if it is one.
    pub(super) fn of(headers: &HeaderMap) -> Option<Form> {
        let content_type = headers.get(CONTENT_TYPE)?.to_str().ok()?;
        let mut parts = content_type.split(';').map(str::trim);
        if !parts.next()?.eq_ignore_ascii_case("multipart/form-data") {
            return None;
        }
        let boundary = parts.find_map(|part| parameter(part, "boundary"))?;
        Some(Form { delimiter: [b"\r\n--", boundary.as_bytes()].concat() })
    }

    /// The content of the field of this name in a form.
    pub(super) fn find<'a>(&self, form: &'a [u8], name: &str) -> Option<&'a [u8]> {
        // Nothing stands before the first delimiter, not even the end of a line.
        let first = &self.delimiter[2..];
        let mut rest = &form[position(form, first)? + first.len()..];
        loop {
            rest = rest.strip_prefix(b"\r\n")?;
            let end = position(rest, &self.delimiter)?;
            let (part, behind) = rest.split_at(end);
            let head = position(part, b"\r\n\r\n")?;
            if field_name(&part[..head]).is_some_and(|found| found == name) {
                return Some(&part[head + 4..]);
            }
            rest = &behind[self.delimiter.len()..];
        }
    }
}

/// The name of the field that a part with these headers is.
fn field_name(headers: &[u8]) -> Option<&str> {
    let headers = std::str::from_utf8(headers).ok()?;
    let disposition = headers.split("\r\n").find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-disposition").then_some(value)
    })?;
    disposition.split(';').find_map(|part| parameter(part.trim(), "name"))
}

/// The value of a parameter `name=value`, in quotes or not.
fn parameter<'a>(part: &'a str, name: &str) -> Option<&'a str> {
    let (found, value) = part.split_once('=')?;
    let value = value.trim_matches('"');
    (found.eq_ignore_ascii_case(name) && !value.is_empty()).then_some(value)
}

fn position(octets: &[u8], searched: &[u8]) -> Option<usize> {
    octets.windows(searched.len()).position(|window| window == searched)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(content_type: &str) -> Option<Form> {
        Form::of(&HeaderMap::from_iter([(CONTENT_TYPE, content_type.parse().unwrap())]))
    }

    #[test]
    fn the_fields_of_a_form_are_found() {
        let form = form("multipart/form-data; boundary=\"x\"").unwrap();
        let body = b"--x\r\nContent-Disposition: form-data; name=\"other\"\r\n\r\n1\r\n--x\r\n\
            content-disposition: form-data; name=\"file\"; filename=\"d.json\"\r\n\
            Content-Type: application/octet-stream\r\n\r\n{\r\n\r\n}\r\n--x--\r\n";
        assert_eq!(form.find(body, "file"), Some(&b"{\r\n\r\n}"[..]));
        assert_eq!(form.find(body, "other"), Some(&b"1"[..]));
        assert_eq!(form.find(body, "d.json"), None);
        for length in 0..body.len() - 4 {
            // Whatever is missing at the end, nothing is found that is not there.
            let found = form.find(&body[..length], "file");
            assert!(found.is_none() || found == Some(&b"{\r\n\r\n}"[..]), "{length}");
        }
    }

    #[test]
    fn what_is_no_form_is_none() {
        for other in ["application/json", "multipart/form-data", "multipart/mixed; boundary=x"] {
            assert_eq!(form(other), None, "{other}");
        }
        assert_eq!(Form::of(&HeaderMap::new()), None);
    }
}
