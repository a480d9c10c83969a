//! Text that is safe in a line of the log.

/// A text that may have parts from a client: in one line, and without control characters.
pub(crate) fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for character in text.chars() {
        match character.is_control() {
            true => printable.extend(character.escape_default()),
            false => printable.push(character),
        }
    }
    printable
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_says_cannot_make_another_line() {
        let name = "no queue 'a\n2026 ERROR \u{1b}[2J' é";
        assert_eq!(printable(name), "no queue 'a\\n2026 ERROR \\u{1b}[2J' é");
    }
}
