//! How a fuzz target begins: with [`fuzz_target!`].
//!
//! With `--cfg fuzzing`, as `fuzz/run.sh` has it, the macro is libFuzzer's. Without, a target is a program
//! that runs the files it is given. So the targets are compiled and linted with all else, with
//! dependencies that are there already and without libFuzzer, which is built from C++.

#[cfg(fuzzing)]
pub use libfuzzer_sys::fuzz_target;

/// A program that runs what follows with the bytes of each file that it is given.
#[cfg(not(fuzzing))]
#[macro_export]
macro_rules! fuzz_target {
    (|$input:ident: &[u8]| $body:block) => {
        fn main() -> std::io::Result<()> {
            $crate::run_files(|$input: &[u8]| $body)
        }
    };
}

/// Runs a target with the bytes of each file that the command line names.
#[cfg(not(fuzzing))]
pub fn run_files(target: impl Fn(&[u8])) -> std::io::Result<()> {
    for path in std::env::args_os().skip(1) {
        target(&std::fs::read(path)?);
    }
    Ok(())
}
