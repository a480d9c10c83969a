//! What a command reads and writes.

use std::io::{BufRead, Write};

use crate::rabbit::Environment;

/// What a command reads and writes: a terminal, pipes, or a test's buffers.
///
/// Writing never fails: who does not read a command's output still wants its work done.
pub struct Console<'a> {
    /// The variables of the environment.
    pub environment: Environment,
    input: &'a mut dyn BufRead,
    output: &'a mut dyn Write,
    error: &'a mut dyn Write,
}

impl<'a> Console<'a> {
    /// With these three streams.
    pub fn new(
        environment: Environment,
        input: &'a mut dyn BufRead,
        output: &'a mut dyn Write,
        error: &'a mut dyn Write,
    ) -> Self {
        Console { environment, input, output, error }
    }

    /// Writes to standard output.
    pub(super) fn print(&mut self, text: impl AsRef<[u8]>) {
        let _ = self.output.write_all(text.as_ref());
        let _ = self.output.flush();
    }

    /// Writes to standard error.
    pub(super) fn complain(&mut self, text: impl AsRef<[u8]>) {
        let _ = self.error.write_all(text.as_ref());
        let _ = self.error.flush();
    }

    /// The next line of standard input, without its end; none at its end.
    pub(super) fn read_line(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.input.read_line(&mut line) {
            Ok(1..) => Some(line.trim_end_matches(['\n', '\r']).to_owned()),
            Ok(0) | Err(_) => None,
        }
    }

    /// All of standard input, but not more than `most` bytes.
    pub(super) fn read_to_end(&mut self, most: u64) -> std::io::Result<Vec<u8>> {
        use std::io::Read as _;
        let mut bytes = Vec::new();
        (&mut *self.input).take(most).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}
