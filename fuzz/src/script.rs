//! Inputs of the target `connection`: what two clients do, as octets.
//!
//! ```text
//!   step   ┤ what (1 octet) ├┤ channel (1 octet) ├┤ length (2 octets) ├┤ that many octets ├
//!
//!   what   bits 0 to 2: 0 octets as they are; 1 method, 2 header, 3 body: a frame around them;
//!                       4 time passes, `length` ms; 5 the client goes and another one comes;
//!                       6, 7 as 0 and 1
//!          bit 3: which client
//!          bit 4, in the first step: whether the clients have shaken hands already
//! ```
//!
//! why: most changes of a stream break its framing at once; here the frames stay whole and what is
//! in them is reached.

/// What a client does.
pub enum Deed<'a> {
    /// It sends these octets.
    Octets(&'a [u8]),
    /// It sends a frame of this kind, on this channel, with this payload.
    Frame(u8, u16, &'a [u8]),
    /// Time passes, in milliseconds.
    Time(u64),
    /// It goes, and another one comes.
    Again,
}

/// Takes the first step off an input: which client does what.
pub fn next<'a>(input: &mut &'a [u8]) -> Option<(usize, Deed<'a>)> {
    let (&[what, channel, high, low], rest) = input.split_first_chunk()?;
    let length = u16::from_be_bytes([high, low]);
    let (payload, rest) = rest.split_at(rest.len().min(length.into()));
    let deed = match what & 7 {
        0 | 6 => Deed::Octets(payload),
        kind @ (1..=3) => Deed::Frame(kind, channel.into(), payload),
        7 => Deed::Frame(1, channel.into(), payload),
        4 => {
            let (_, rest) = input.split_at(4);
            *input = rest;
            return Some((0, Deed::Time(length.into())));
        }
        _ => Deed::Again,
    };
    *input = rest;
    Some((usize::from(what >> 3 & 1), deed))
}

/// Whether the clients of an input have shaken hands before it begins.
pub fn begins_open(input: &[u8]) -> bool {
    input.first().is_some_and(|what| what >> 4 & 1 == 1)
}

/// A step in which a client sends a piece of a dialogue.
pub fn step(out: &mut Vec<u8>, flags: u8, piece: &[u8]) {
    let is_frame = piece.len() >= 8 && (1..=3).contains(&piece[0]);
    let (what, channel, octets) =
        if is_frame { (piece[0], piece[2], &piece[7..piece.len() - 1]) } else { (0, 0, piece) };
    out.extend([what | flags, channel]);
    out.extend((octets.len() as u16).to_be_bytes());
    out.extend(octets);
}
