//! Writes inputs to begin with into a corpus: real dialogues, for the target `connection`.

#[path = "../../tests/hostile/dialogue.rs"]
#[allow(dead_code)]
mod dialogue;
#[allow(dead_code)]
mod script;

use std::{env, fs, io};

/// In the first step: the clients have shaken hands.
const OPEN: u8 = 1 << 4;
const SECOND: u8 = 1 << 3;

fn main() -> io::Result<()> {
    let directory = env::args().nth(1).ok_or_else(|| io::Error::other("seeds DIRECTORY"))?;
    fs::create_dir_all(&directory)?;
    let dialogues = dialogue::dialogues();
    let mut inputs = Vec::new();
    for pieces in &dialogues {
        let mut open = Vec::new();
        let mut whole = Vec::new();
        pieces.iter().for_each(|piece| script::step(&mut open, OPEN, piece));
        let shaken = dialogue::handshake();
        shaken.iter().chain(pieces).for_each(|piece| script::step(&mut whole, 0, piece));
        inputs.extend([open, whole]);
    }
    // Two clients with different dialogues, in turns.
    for (one, two) in dialogues.iter().zip(dialogues.iter().skip(1)) {
        let mut both = Vec::new();
        for (one, two) in one.iter().zip(two) {
            script::step(&mut both, OPEN, one);
            script::step(&mut both, OPEN | SECOND, two);
        }
        inputs.push(both);
    }
    for (number, input) in inputs.iter().enumerate() {
        fs::write(format!("{directory}/seed-{number}"), input)?;
    }
    Ok(())
}
