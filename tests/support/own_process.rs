//! Tests that need a process to themselves: this program once more, as a child process with nothing
//! else in it.

use std::env;
use std::process::Command;

/// Set in the environment of such a process.
const ALONE: &str = "LEVERET_TEST_ALONE";

/// Runs the body of the test of this name (`module_path!()` and the function's name) in a process of
/// its own. For what counts all that the process does, or is there once in a process.
pub(crate) fn alone(name: &str, body: impl FnOnce()) {
    if env::var_os(ALONE).is_some() {
        return body();
    }
    let (_this_crate, name) = name.split_once("::").expect("a path begins with the crate");
    let output = run(Command::new(this_program()).args(["--exact", name]).env(ALONE, "1"));
    assert!(output.contains("\ntest result: ok. 1 passed;"), "{output}");
}

/// Runs the tests whose names contain this once more, with a variable set in the environment; returns
/// how many there are.
pub(crate) fn run_again(filter: &str, variable: &str) -> usize {
    let output = run(Command::new(this_program()).arg(filter).env(variable, "1"));
    let (_, passed) = output.rsplit_once("\ntest result: ok. ").expect("it says how it ended");
    let (passed, _) = passed.split_once(" passed;").expect("it says how many tests there were");
    passed.parse().expect("it is a number")
}

fn this_program() -> std::path::PathBuf {
    env::current_exe().expect("the system knows what it runs")
}

#[track_caller]
fn run(tests: &mut Command) -> String {
    let output = tests.output().expect("this program can be run");
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stdout}{stderr}");
    stdout.into_owned()
}
