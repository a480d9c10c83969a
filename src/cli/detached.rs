//! `rabbitmq-server -detached`: a node that goes on when the command has ended.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::Options;
use crate::rabbit::LogTarget;

/// The option, in the way of Erlang.
const DETACHED: &str = "-detached";

/// What a node prints when clients can connect.
const READY: &str = "Server startup complete";

/// The arguments behind the program's name without the option, if it is among them.
pub fn without_detached(arguments: &[OsString]) -> Option<Vec<OsString>> {
    let rest: Vec<OsString> = arguments.iter().filter(|it| *it != DETACHED).cloned().collect();
    (rest.len() < arguments.len()).then_some(rest)
}

/// Starts a node in the background and waits until clients can connect. What it logs goes to the file that is
/// configured, or beside its data.
///
/// # Errors
/// In a line, when it did not start.
pub fn start_detached(
    program: &OsString,
    arguments: &[OsString],
    options: &Options,
) -> io::Result<()> {
    let log = log_file(options);
    if let Some(directory) = log.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let named =
        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", log.display()));
    let stderr = OpenOptions::new().create(true).append(true).open(&log).map_err(named)?;
    let mut child = Command::new(std::env::current_exe()?)
        .arg0(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(stderr)
        // why: signals of the terminal are not for it.
        .process_group(0)
        .spawn()?;
    let Some(stdout) = child.stdout.take() else { return Ok(()) };
    for line in BufReader::new(stdout).lines() {
        if line?.starts_with(READY) {
            return Ok(());
        }
    }
    let status = child.wait()?;
    Err(io::Error::other(format!("it did not start ({status}); {} says why", log.display())))
}

/// Where the lines of a node go that has no terminal.
fn log_file(options: &Options) -> PathBuf {
    if let LogTarget::File(path) = &options.log_target {
        return path.clone();
    }
    match &options.node {
        Some(node) => {
            let mut beside = node.data_dir.clone().into_os_string();
            beside.push(".log");
            beside.into()
        }
        None => "leveret.log".into(),
    }
}
