//! Small files of JSON with a checksum of their own, so that people can read them and a flipped bit is noticed.
//!
//! ```text
//!  {
//!    "checksum": "crc32:0a1b2c3d",      of all bytes behind this line
//!    …
//! ```

use serde::Serialize;

const BEGIN: &[u8] = b"{\n  \"checksum\": \"crc32:";
const END: &[u8] = b"\",\n";
/// Digits of a checksum.
const DIGITS: usize = 8;

/// The content of such a file. The value is an object with a field at least.
pub(super) fn seal(value: &impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
    let body = serde_json::to_vec_pretty(value)?;
    let rest = body.strip_prefix(b"{\n").unwrap_or(&body);
    Ok([BEGIN, checksum(rest).as_bytes(), END, rest].concat())
}

fn checksum(bytes: &[u8]) -> String {
    format!("{:0DIGITS$x}", crc32fast::hash(bytes))
}

/// What a file is that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seal {
    /// It is what was written.
    Whole,
    /// It has no checksum, as files had none once.
    None,
    /// It is not what was written.
    Broken,
}

/// Whether the content of a file is what was written.
pub(super) fn examine(content: &[u8]) -> Seal {
    let Some(rest) = content.strip_prefix(BEGIN) else { return Seal::None };
    let Some((digits, rest)) = rest.split_at_checked(DIGITS) else { return Seal::Broken };
    let whole = rest.strip_prefix(END).is_some_and(|rest| digits == checksum(rest).as_bytes());
    if whole { Seal::Whole } else { Seal::Broken }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_changed_bit_is_noticed() {
        let content = seal(&serde_json::json!({"number": 1, "text": "two"})).expect("it is JSON");
        let read: serde_json::Value = serde_json::from_slice(&content).expect("it is JSON");
        assert_eq!(read["number"], 1);
        assert_eq!(examine(&content), Seal::Whole);
        for bit in 0..content.len() * 8 {
            let mut changed = content.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(examine(&changed), Seal::Whole, "bit {bit}");
        }
        assert_eq!(examine(b"{\n  \"format\": 1\n}"), Seal::None);
        (0..content.len()).for_each(|cut| assert_ne!(examine(&content[..cut]), Seal::Whole));
    }
}
