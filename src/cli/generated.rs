//! What is made from the description of the command line: completions for shells, and manual pages.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::Arguments;

/// The script that completes the command line in this shell.
pub fn completions(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "leveret", &mut script);
    script
}

/// Writes a manual page for the program and one for each of its tasks into this directory, which is made if it is not
/// there. Returns the pages, by name.
///
/// # Errors
/// When a page cannot be written; it names the directory or the page.
pub fn write_man_pages(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let named = |path: &Path, error: &io::Error| {
        io::Error::new(error.kind(), format!("{}: {error}", path.display()))
    };
    fs::create_dir_all(directory).map_err(|error| named(directory, &error))?;
    let mut command = Arguments::command().disable_help_subcommand(true);
    command.build();
    let mut written = Vec::new();
    let mut left = vec![command];
    while let Some(command) = left.pop() {
        left.extend(command.get_subcommands().filter(|it| !it.is_hide_set()).cloned());
        let page = clap_mangen::Man::new(command);
        let path = directory.join(page.get_filename());
        let mut text = Vec::new();
        page.render(&mut text)?;
        fs::write(&path, text).map_err(|error| named(&path, &error))?;
        written.push(path);
    }
    written.sort();
    Ok(written)
}

#[cfg(test)]
mod tests {
    use clap::Command;

    use super::*;

    #[test]
    fn every_option_and_task_has_a_text() {
        fn look(command: &Command, seen: &mut usize) {
            let name = command.get_name();
            for argument in command.get_arguments().filter(|it| !it.is_hide_set()) {
                let id = argument.get_id();
                // What RabbitMQ's commands take they say themselves.
                let is_passed_on = id == "arguments" && argument.is_trailing_var_arg_set();
                let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
                assert!(is_passed_on || help.len() > 10, "{name}: {id} has no text");
                *seen += 1;
            }
            for task in command.get_subcommands() {
                let about = task.get_about().map(ToString::to_string).unwrap_or_default();
                assert!(about.len() > 10, "{} has no text", task.get_name());
                look(task, seen);
            }
        }
        let mut seen = 0;
        look(&Arguments::command(), &mut seen);
        assert!(seen > 60, "{seen} options");
    }

    #[test]
    fn completions_know_options_and_tasks() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::PowerShell, Shell::Elvish] {
            let script = String::from_utf8(completions(shell)).unwrap();
            for word in ["memory-limit", "in-memory", "check", "completions"] {
                assert!(script.contains(word), "{shell}: no {word}");
            }
        }
    }

    #[test]
    fn a_page_is_written_for_each_task() {
        let directory = tempfile::tempdir().unwrap();
        let pages = write_man_pages(&directory.path().join("man1")).unwrap();
        let names: Vec<_> = pages.iter().filter_map(|page| page.file_name()?.to_str()).collect();
        for name in
            ["leveret.1", "leveret-check.1", "leveret-definitions-export.1", "leveret-perf.1"]
        {
            assert!(names.contains(&name), "{names:?}");
        }
        let page = fs::read_to_string(directory.path().join("man1/leveret.1")).unwrap();
        assert!(page.contains(r"\-\-memory\-limit"), "{page}");

        let file = tempfile::NamedTempFile::new().unwrap();
        let error = write_man_pages(&file.path().join("man1")).unwrap_err().to_string();
        assert!(error.contains("/man1: Not a directory"), "{error}");
    }
}
