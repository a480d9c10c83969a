//! The name that somebody who mistyped one may have meant.

/// The nearest of these names, if one is near.
pub(crate) fn nearest<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = (name.len() / 3).clamp(2, 8);
    let distances = names.into_iter().map(|it| (distance(name, it), it));
    distances.filter(|(distance, _)| *distance <= near).min().map(|(_, it)| it)
}

/// How many letters must be put in, left out or changed to make one of the other.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (above, letter) in one.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], above + 1);
        for (left, other_letter) in other.bytes().enumerate() {
            let changed = diagonal + usize::from(letter != other_letter);
            diagonal = row[left + 1];
            row[left + 1] = changed.min(row[left] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_that_differ_are_counted() {
        for (one, other, letters) in [
            ("", "", 0),
            ("heartbeat", "heartbeat", 0),
            ("hartbeat", "heartbeat", 1),
            ("a", "bcd", 3),
        ] {
            assert_eq!(distance(one, other), letters, "{one} {other}");
        }
        let names = ["heartbeat", "frame_max", "channel_max"];
        assert_eq!(nearest("hearbeat", names), Some("heartbeat"));
        assert_eq!(nearest("chanel_max", names), Some("channel_max"));
        assert_eq!(nearest("bananas", names), None);
    }
}
