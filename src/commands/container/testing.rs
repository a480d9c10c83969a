//! A command as tests run it.

use std::ffi::OsString;

use crate::commands::{Console, Program};
use crate::rabbit::Environment;

/// What came of a command.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) code: u8,
    pub(super) output: String,
    pub(super) error: String,
}

impl Run {
    pub(super) fn of(program: &str, arguments: &[&str]) -> Run {
        Run::with_input(program, arguments, "")
    }

    pub(super) fn with_input(program: &str, arguments: &[&str], input: &str) -> Run {
        let program = Program::of_file(program.as_ref()).unwrap();
        let arguments: Vec<_> = arguments.iter().map(OsString::from).collect();
        let (mut input, mut output, mut error) = (input.as_bytes(), Vec::new(), Vec::new());
        let mut console = Console::new(Environment::default(), &mut input, &mut output, &mut error);
        let code = program.run(&arguments, &mut console);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Run { code, output: text(output), error: text(error) }
    }
}
