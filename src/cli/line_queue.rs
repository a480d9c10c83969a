//! Lines on their way to a file that may not take them: a pipe that nobody reads, or whose reader is gone, or a
//! file on a full disk.
//!
//! Who has a line never waits and never fails: lines go to a queue with a bound, which a thread of its own
//! writes. What finds no room, or cannot be written, is dropped and counted, and the count is told in one line as
//! soon as something can be written again.
//!
//! invariant: the lock is held for a copy of bytes, never while something is written.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

/// How much may wait to be written, in bytes.
///
/// why: enough for some thousand lines, as when all clients of a broker come again at once.
const MOST_BYTES: usize = 1 << 20;

/// How long a file that takes nothing for now is waited for before it is tried again.
const TRY_AGAIN: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// What lines are written to.
pub(super) trait Output: Write + Send + 'static {
    /// Waits until it takes something again, or for some time.
    fn wait(&self);
}

/// Lines for one file. Cloning it copies a pointer.
#[derive(Clone, Debug)]
pub(super) struct LineQueue {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// Notified when there is something to write.
    filled: Condvar,
    /// Notified when all was written or dropped.
    done: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    lines: Vec<u8>,
    /// Lines that found no room behind those.
    refused: u64,
    /// Whether the thread has something that it has not written yet.
    is_writing: bool,
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.refused == 0
    }
}

impl LineQueue {
    /// Starts the thread that writes lines to an output.
    pub(super) fn start(name: &str, output: impl Output) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let queue = LineQueue { shared: shared.clone() };
        let writer = LineWriter { output, failed: 0, is_torn: false };
        let run = move || writer.run(&shared);
        thread::Builder::new().name(name.to_owned()).spawn(run)?;
        Ok(queue)
    }

    /// Adds whole lines, if there is room.
    pub(super) fn push(&self, lines: &[u8]) {
        let mut waiting = self.shared.waiting.lock();
        // why: once a line found no room, none does until the thread has taken what is there, so that what is
        // missing is missing in one place, where its number is told.
        let is_full = waiting.lines.len().saturating_add(lines.len()) > MOST_BYTES;
        if waiting.refused > 0 || is_full {
            waiting.refused += lines_in(lines);
        } else {
            waiting.lines.extend_from_slice(lines);
        }
        drop(waiting);
        self.shared.filled.notify_one();
    }

    /// Waits until all was written or dropped, but no longer than this. Says whether it was.
    pub(super) fn flush(&self, most: Duration) -> bool {
        let mut waiting = self.shared.waiting.lock();
        let unfinished = |waiting: &mut Waiting| waiting.is_writing || !waiting.is_empty();
        !self.shared.done.wait_while_for(&mut waiting, unfinished, most).timed_out()
    }
}

/// A log line is one write.
impl Write for LineQueue {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        self.push(lines);
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LineQueue {
    type Writer = LineQueue;

    fn make_writer(&'a self) -> LineQueue {
        self.clone()
    }
}

/// The thread's side.
struct LineWriter<O> {
    output: O,
    /// Lines that could not be written and were not told yet.
    failed: u64,
    /// Whether the last line that was written is not whole.
    is_torn: bool,
}

impl<O: Output> LineWriter<O> {
    fn run(mut self, shared: &Shared) {
        loop {
            let mut waiting = shared.waiting.lock();
            waiting.is_writing = false;
            if waiting.is_empty() {
                shared.done.notify_all();
                shared.filled.wait_while(&mut waiting, |waiting| waiting.is_empty());
            }
            waiting.is_writing = true;
            let lines = std::mem::take(&mut waiting.lines);
            let refused = std::mem::take(&mut waiting.refused);
            drop(waiting);
            self.write(&lines, refused);
        }
    }

    /// Writes lines, and how many are missing before and behind them.
    fn write(&mut self, lines: &[u8], refused: u64) {
        let failed = std::mem::take(&mut self.failed);
        let mut head = if self.is_torn { "\n".to_owned() } else { String::new() };
        head.push_str(&notice(failed));
        if let Err(written) = self.write_all(head.as_bytes()) {
            self.is_torn |= written > 0;
            self.failed = failed + lines_in(lines) + refused;
            return;
        }
        self.is_torn = false;
        if let Err(written) = self.write_all(lines) {
            let (whole, missing) = lines.split_at(written);
            self.is_torn = whole.last().is_some_and(|&last| last != b'\n');
            self.failed = lines_in(missing) + refused;
            return;
        }
        if let Err(written) = self.write_all(notice(refused).as_bytes()) {
            self.is_torn = written > 0;
            self.failed = refused;
        }
    }

    /// Writes all of it, or as much as can be; then how much that was.
    fn write_all(&mut self, bytes: &[u8]) -> Result<(), usize> {
        let mut written = 0;
        while written < bytes.len() {
            match self.output.write(&bytes[written..]) {
                Ok(0) => return Err(written),
                Ok(count) => written += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // why: another program may have made a shared pipe one that does not wait.
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.output.wait(),
                Err(_) => return Err(written),
            }
        }
        Ok(())
    }
}

impl Output for io::Stderr {
    fn wait(&self) {
        wait_for_room(self);
    }
}

impl Output for io::Stdout {
    fn wait(&self) {
        wait_for_room(self);
    }
}

impl Output for File {
    fn wait(&self) {
        wait_for_room(self);
    }
}

fn wait_for_room(file: &impl AsFd) {
    let mut files = [PollFd::new(file, PollFlags::OUT)];
    // What became of it, the next write shows.
    let _ = poll(&mut files, Some(&TRY_AGAIN));
}

/// One line that says how many lines are missing, whatever is logged otherwise; nothing when none is.
fn notice(lines: u64) -> String {
    if lines == 0 {
        return String::new();
    }
    let mut text = String::new();
    // Without a time the line says what it has to.
    let _ = SystemTime.format_time(&mut Writer::new(&mut text));
    text.push_str(&format!(
        " ERROR leveret::cli: log lines were dropped: they could not be written lines={lines}\n"
    ));
    text
}

/// How many lines that is, the last one be it without an end.
fn lines_in(bytes: &[u8]) -> u64 {
    let ends = bytes.iter().filter(|&&byte| byte == b'\n').count() as u64;
    ends + u64::from(bytes.last().is_some_and(|&last| last != b'\n'))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    /// Takes what the test lets it take, a permission for each write, and hands it over.
    struct Gate {
        permissions: Receiver<io::Result<usize>>,
        written: Sender<Vec<u8>>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let most = self.permissions.recv().map_err(io::Error::other)??;
            let taken = most.min(bytes.len());
            self.written.send(bytes[..taken].to_vec()).map_err(io::Error::other)?;
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Output for Gate {
        fn wait(&self) {}
    }

    struct Test {
        queue: LineQueue,
        permissions: Sender<io::Result<usize>>,
        written: Receiver<Vec<u8>>,
    }

    impl Test {
        fn new() -> Self {
            let (permissions, receiver) = channel();
            let (sender, written) = channel();
            let gate = Gate { permissions: receiver, written: sender };
            Test { queue: LineQueue::start("test", gate).unwrap(), permissions, written }
        }

        fn permit(&self, write: io::Result<usize>) {
            self.permissions.send(write).unwrap();
        }

        /// Waits until the thread has what was pushed.
        fn wait_until_taken(&self) {
            while !self.queue.shared.waiting.lock().lines.is_empty() {
                thread::yield_now();
            }
        }

        /// What was written, without the time of a notice.
        fn written(&self) -> String {
            let text = String::from_utf8(self.written.recv_timeout(LONG).unwrap()).unwrap();
            match text.find(" ERROR") {
                Some(at) if text.len() > at => text[at..].to_owned(),
                _ => text,
            }
        }
    }

    const ALL: io::Result<usize> = Ok(usize::MAX);

    fn notice_of(lines: u64) -> String {
        let notice = notice(lines);
        notice[notice.find(" ERROR").unwrap()..].to_owned()
    }

    #[test]
    fn a_file_that_takes_nothing_holds_nobody_and_the_dropped_are_counted_in_their_place() {
        let test = Test::new();
        test.queue.push(b"first\n");
        let line = [b"x".repeat(1023), b"\n".to_vec()].concat();
        test.wait_until_taken();
        let lines = MOST_BYTES / 1024 + 10;
        (0..lines).for_each(|_| test.queue.push(&line));
        assert!(!test.queue.flush(Duration::ZERO));
        let mut text = String::new();
        for _ in 0..3 {
            test.permit(ALL);
            text.push_str(&test.written());
        }
        assert!(text.starts_with("first\nxxx"), "{}", &text[..20]);
        let missing = (lines - text.matches("x\n").count()) as u64;
        assert_eq!(missing, 10);
        assert!(text.ends_with(&notice_of(missing)));
        assert!(test.queue.flush(LONG));
        test.permit(ALL);
        test.queue.push(b"last\n");
        assert_eq!(test.written(), "last\n");
    }

    #[test]
    fn what_cannot_be_written_is_counted_and_told_once_something_can() {
        let test = Test::new();
        for _ in 0..3 {
            test.permit(Err(io::ErrorKind::StorageFull.into()));
            test.queue.push(b"lost\n");
            assert!(test.queue.flush(LONG));
        }
        // Of this one a part, behind the notice.
        for write in [ALL, Ok(2), Err(io::ErrorKind::StorageFull.into())] {
            test.permit(write);
        }
        test.queue.push(b"torn\n");
        assert_eq!([test.written(), test.written()], [notice_of(3), "to".to_owned()]);
        assert!(test.queue.flush(LONG));
        test.permit(ALL);
        test.permit(ALL);
        test.queue.push(b"whole\n");
        assert_eq!(test.written(), notice_of(1));
        assert_eq!(test.written(), "whole\n");
    }

    #[test]
    fn a_pipe_that_does_not_wait_is_waited_for() {
        let test = Test::new();
        for error in [io::ErrorKind::WouldBlock, io::ErrorKind::Interrupted] {
            test.permit(Err(error.into()));
        }
        test.permit(ALL);
        test.queue.push(b"line\n");
        assert_eq!(test.written(), "line\n");
        assert!(test.queue.flush(LONG));
    }
}
