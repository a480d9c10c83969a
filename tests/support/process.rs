//! Programs as child processes, the built leveret above all.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::PATIENCE;

const READY: &str = "Server startup complete; listening on ";

/// A running program. It is killed when this value is dropped.
pub(crate) struct Process {
    child: Child,
    lines: Receiver<String>,
    stdout: String,
    stderr: Arc<Mutex<String>>,
    reading: Option<JoinHandle<()>>,
}

/// What a process left behind.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The program with these arguments and nothing of its own in the environment.
pub(crate) fn leveret(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leveret"));
    command.args(arguments);
    let ours = std::env::vars_os().map(|(name, _)| name);
    for name in ours.filter(|name| name.to_string_lossy().starts_with("LEVERET_")) {
        command.env_remove(name);
    }
    // why: brokers that are killed leave their sockets.
    command.env("LEVERET_CONTROL_SOCKET", "none");
    command
}

/// A broker with its data in this directory, on any free port, and where it listens.
pub(crate) fn start_durable(data_dir: &Path) -> (Process, SocketAddr) {
    let command = durable(data_dir, "127.0.0.1:0");
    Process::start(command).ready().unwrap_or_else(|ended| panic!("no start: {}", ended.stderr))
}

/// The same on the port that an earlier broker had.
pub(crate) fn restart_durable(data_dir: &Path, address: SocketAddr) -> Process {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match Process::start(durable(data_dir, &address.to_string())).ready() {
            Ok((process, _)) => return process,
            // Between the two brokers the port is anybody's: a connection of another test may have
            // it for a moment.
            Err(ended) if ended.stderr.contains("in use") && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(50));
            }
            Err(ended) => panic!("no start: {}", ended.stderr),
        }
    }
}

fn durable(data_dir: &Path, address: &str) -> Command {
    let mut command = leveret(["--listen", address, "--data-dir"]);
    command.arg(data_dir);
    command
}

impl Process {
    /// Starts it and does not wait for it.
    pub(crate) fn start(command: Command) -> Self {
        Process::start_with_log(command, Stdio::piped())
    }

    /// The same with another standard error; what goes to one that is not piped is not kept.
    pub(crate) fn start_with_log(mut command: Command, stderr: Stdio) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr);
        let mut child = command.spawn().expect("the program can be run");
        let stdout = child.stdout.take().expect("it is piped");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                if line.is_err() || sender.send(line.unwrap_or_default()).is_err() {
                    break;
                }
            }
        });
        let stderr = Arc::new(Mutex::new(String::new()));
        let kept = stderr.clone();
        let reading = child.stderr.take().map(|pipe| {
            std::thread::spawn(move || {
                let mut pipe = BufReader::new(pipe);
                let mut line = Vec::new();
                // What came before the pipe broke is all that can be shown.
                while pipe.read_until(b'\n', &mut line).is_ok_and(|octets| octets > 0) {
                    let text = String::from_utf8_lossy(&line);
                    kept.lock().expect("nobody panics with it").push_str(&text);
                    line.clear();
                }
            })
        });
        Process { child, lines, stdout: String::new(), stderr, reading }
    }

    /// Waits until clients can connect and returns the first address; if the program ends instead,
    /// what it left behind.
    pub(crate) fn ready(mut self) -> Result<(Self, SocketAddr), Ended> {
        while let Some(line) = self.next_line() {
            if let Some(addresses) = line.strip_prefix(READY) {
                let first = addresses.split([',', ' ']).next().unwrap_or_default();
                let address = first.parse().expect("an address is printed");
                return Ok((self, address));
            }
        }
        Err(self.wait())
    }

    /// Waits until it prints a line on standard output; none when it never will again.
    pub(crate) fn next_line(&mut self) -> Option<String> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => {
                self.keep(&line);
                Some(line)
            }
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("no line in {PATIENCE:?}"),
        }
    }

    /// What it has printed on standard output so far, as far as it was waited for.
    pub(crate) fn stdout(&self) -> &str {
        &self.stdout
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        self.stderr.lock().expect("nobody panics with it").clone()
    }

    /// The number that the system knows it by.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        // A process that has ended and was not waited for can still be sent signals.
        kill_process(Pid::from_child(&self.child), signal).expect("the child is ours");
    }

    /// Kills it as a power cut would: it gets to do nothing more.
    pub(crate) fn kill(self) -> Ended {
        self.signal(Signal::KILL);
        self.wait()
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self) -> Ended {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("the child is ours") {
                break status;
            }
            assert!(Instant::now() < deadline, "the program did not end in {PATIENCE:?}");
            std::thread::sleep(Duration::from_millis(2));
        };
        while let Ok(line) = self.lines.recv() {
            self.keep(&line);
        }
        if let Some(reading) = self.reading.take() {
            reading.join().expect("it does not panic");
        }
        let stdout = std::mem::take(&mut self.stdout);
        Ended { status, stdout, stderr: self.log() }
    }

    fn keep(&mut self, line: &str) {
        self.stdout.push_str(line);
        self.stdout.push('\n');
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Errors mean that it has ended, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
        // What a program logged may say why its test fails.
        if let Some(reading) = self.reading.take()
            && std::thread::panicking()
        {
            // Its thread ends with the program.
            let _ = reading.join();
            eprintln!("standard error of a program of this test:\n{}", self.log());
        }
    }
}
