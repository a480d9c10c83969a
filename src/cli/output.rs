//! Standard output and standard error, neither of which ever makes the program wait or fail.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal};
use std::panic::PanicHookInfo;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tracing_subscriber::EnvFilter;

use super::line_queue::LineQueue;
use super::values::parse_filter;
use crate::config::SetLogFilter;
use crate::rabbit::LogTarget;

/// How long the end of the program waits for what was said last.
///
/// why: a pipe that nobody reads must not hold the end; a reader that is slow for a moment should get it all.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Standard output and standard error of the program.
#[derive(Clone)]
pub struct Output {
    stdout: LineQueue,
    stderr: LineQueue,
    /// Where the log goes: one of the two, or a file.
    log: LineQueue,
    /// Changes what is logged.
    set_filter: SetLogFilter,
}

impl Output {
    /// Sends the log to its target from now on, filtered as asked, and what a panic says to standard error.
    ///
    /// # Errors
    /// When the system refuses a thread, or the file of the log, which the error names.
    pub fn start(log_filter: &str, target: &LogTarget) -> io::Result<Self> {
        let stdout = LineQueue::start("standard output", io::stdout())?;
        let stderr = LineQueue::start("standard error", io::stderr())?;
        let open = |path: &Path| {
            let named = |error| io::Error::other(format!("{}: {error}", path.display()));
            log_file(path).map_err(named)
        };
        let (log, is_terminal) = match target {
            LogTarget::Stderr => (stderr.clone(), io::stderr().is_terminal()),
            LogTarget::Stdout => (stdout.clone(), io::stdout().is_terminal()),
            LogTarget::File(path) => (LineQueue::start("the log", open(path)?)?, false),
        };
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new(log_filter))
            .with_writer(log.clone())
            // Colours are for people: a file or a collector gets plain text.
            .with_ansi(is_terminal)
            // why: they would go to standard error by another way, which waits and fails.
            .log_internal_errors(false)
            .with_filter_reloading();
        let handle = subscriber.reload_handle();
        subscriber.init();
        let set_filter: SetLogFilter = Arc::new(move |filter| {
            let filter = parse_filter(filter)?;
            handle.reload(EnvFilter::new(filter)).map_err(|error| error.to_string())
        });
        let output = Output { stdout, stderr: stderr.clone(), log, set_filter };
        // why: as above; the panic may be in a thread that holds a lock that all wait for.
        std::panic::set_hook(Box::new(move |panic| stderr.push(text_of(panic).as_bytes())));
        Ok(output)
    }

    /// What changes which lines are logged.
    pub fn set_filter(&self) -> SetLogFilter {
        self.set_filter.clone()
    }

    /// Says something on standard output, in whole lines.
    pub fn print(&self, lines: &str) {
        self.stdout.push(lines.as_bytes());
    }

    /// Says in one line on standard error why the program ends.
    pub fn complain(&self, what: &str) {
        self.stderr.push(format!("leveret: {what}\n").as_bytes());
    }

    /// Waits until all was written, but not for long.
    pub fn flush(&self) {
        self.stdout.flush(LAST_LINES);
        self.stderr.flush(LAST_LINES);
        self.log.flush(LAST_LINES);
    }
}

/// The file of a log, to whose end lines are added. It is made with its directory if it is not there.
fn log_file(path: &Path) -> io::Result<File> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    OpenOptions::new().create(true).append(true).open(path)
}

/// What a panic says, as without a hook of ours: where it was, and the way there if `RUST_BACKTRACE` asks for it.
fn text_of(panic: &PanicHookInfo<'_>) -> String {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("without a name").to_owned();
    let backtrace = std::backtrace::Backtrace::capture();
    match backtrace.status() {
        std::backtrace::BacktraceStatus::Captured => {
            format!("thread '{name}' {panic}\n{backtrace}\n")
        }
        _ => format!("thread '{name}' {panic}\n"),
    }
}
