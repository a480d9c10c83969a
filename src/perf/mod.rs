//! `leveret perf`: puts a broker under load and measures it, any broker of AMQP 0-9-1.
//!
//! ```text
//!   producer ─┐ a thread and a connection each                ┌─ consumer
//!   producer ─┤ ──► messages encoded once, ──► broker ──► ────┤  deliveries counted from
//!   producer ─┘     written in batches                        └─ frame headers
//!        └──────────────── a Tally each ◄── Monitor ──► progress, Summary
//! ```
//!
//! It is meant to cost so little that the broker is what is measured: blocking threads, no task, no
//! allocation and no shared variable for a message.
//!
//! What it deliberately is not: a client library. It knows the codec and the clock, nothing of the
//! broker in this crate, and says to every broker the same.

mod batch;
mod confirms;
mod connection;
mod consumer;
mod error;
mod handshake;
mod monitor;
mod options;
mod producer;
mod report;
mod scanner;
mod stamp;
mod stream;
mod tally;
mod topology;
mod uri;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustls::ClientConfig;

use self::connection::Connection;
use self::consumer::Consumer;
pub use self::error::PerfError;
use self::monitor::{Monitor, Over};
pub use self::options::{Argument, Options, Routing, Until};
use self::producer::Producer;
pub use self::report::{Latency, Progress, Summary};
use self::stamp::Stamps;
use self::tally::Tally;
use self::topology::Topology;
pub use self::uri::Uri;
use crate::clock::Stopwatch;

/// How often the run looks whether it was stopped.
const LOOK_UP: Duration = Duration::from_millis(50);

/// Ends a run early, from another thread.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Ends the run. It still has its summary.
    pub fn stop(&self) {
        self.0.store(true, Relaxed);
    }

    fn is_stopped(&self) -> bool {
        self.0.load(Relaxed)
    }
}

/// What a run came to.
#[derive(Debug)]
pub struct Outcome {
    /// What was measured; none when it failed before there was anything to measure.
    pub summary: Option<Summary>,
    /// Why it failed, if it did.
    pub error: Option<PerfError>,
}

/// What all threads of a run share.
struct Shared {
    options: Options,
    tls: Option<Arc<ClientConfig>>,
    watch: Stopwatch,
    stamps: Stamps,
    /// Whether the threads are to end.
    is_stopped: AtomicBool,
    /// Whether all are connected and the first message may go.
    gate: Mutex<bool>,
    opened: Condvar,
}

/// What a thread has to say.
enum Event {
    /// It is connected and waits for the others.
    Ready,
    /// A producer has published everything.
    Published,
    Failed(PerfError),
}

/// Puts the broker under load, as the options say, and shows what happens about once a second.
/// Blocks until that is over.
///
/// Queues and exchanges are deleted in the end, unless they are to be kept.
pub fn run(options: &Options, stop: &Stop, progress: impl FnMut(&Progress)) -> Outcome {
    let failed = |error| Outcome { summary: None, error: Some(error) };
    let tls = match &options.tls_ca {
        Some(path) if options.uri.tls => match stream::believing(path) {
            Ok(config) => Some(config),
            Err(error) => return failed(error),
        },
        _ => None,
    };
    let shared = Arc::new(Shared {
        options: options.clone(),
        tls,
        watch: Stopwatch::start(),
        stamps: Stamps::new(fastrand::u16(..)),
        is_stopped: AtomicBool::new(false),
        gate: Mutex::new(false),
        opened: Condvar::new(),
    });
    let mut topology = Topology::default();
    let mut outcome = match topology.make(&shared, stop) {
        Ok(true) => Run::start(shared.clone()).watch(stop, progress),
        Ok(false) => Outcome { summary: None, error: None },
        Err(error) => failed(error),
    };
    if let (Some(summary), Some(error)) = (&mut outcome.summary, &outcome.error) {
        summary.error = Some(error.to_string());
        summary.complete = false;
    }
    if !options.keep
        && let Err(error) = topology.remove(&shared)
    {
        // The first thing that went wrong is the one to tell. What was measured before stays true.
        outcome.error.get_or_insert(error);
    }
    outcome
}

impl Shared {
    fn connect(&self) -> Result<Connection, PerfError> {
        Connection::open(&self.options.uri, self.tls.as_ref(), self.watch)
    }

    fn is_stopped(&self) -> bool {
        self.is_stopped.load(Relaxed)
    }

    /// Waits until the first message may go.
    fn await_gate(&self) {
        let gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        // A lock whose holder panicked holds the same flag.
        drop(self.opened.wait_while(gate, |is_open| !*is_open));
    }

    fn open_gate(&self) {
        *self.gate.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.opened.notify_all();
    }
}

/// The threads of a run.
struct Run {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    producers: Vec<Arc<Tally>>,
    consumers: Vec<Arc<Tally>>,
    events: Receiver<Event>,
    publishing: usize,
    error: Option<PerfError>,
}

impl Run {
    /// Starts all threads; each connects and waits.
    fn start(shared: Arc<Shared>) -> Self {
        let tallies = |count| (0..count).map(|_| Arc::new(Tally::new())).collect::<Vec<_>>();
        let producers = tallies(shared.options.producers);
        let consumers = tallies(shared.options.consumers);
        let (sender, events) = channel();
        let publishing = producers.len();
        let mut run = Run {
            shared,
            threads: Vec::new(),
            producers,
            consumers,
            events,
            publishing,
            error: None,
        };
        for (number, tally) in run.consumers.clone().into_iter().enumerate() {
            run.spawn(&sender, move |shared, sender| consume(shared, number, tally, sender));
        }
        for (number, tally) in run.producers.clone().into_iter().enumerate() {
            run.spawn(&sender, move |shared, sender| publish(shared, number, tally, sender));
        }
        run
    }

    fn spawn(
        &mut self,
        sender: &Sender<Event>,
        work: impl FnOnce(&Arc<Shared>, &Sender<Event>) -> Result<(), PerfError> + Send + 'static,
    ) {
        let (shared, sender) = (self.shared.clone(), sender.clone());
        let thread = std::thread::Builder::new().spawn(move || {
            if let Err(error) = work(&shared, &sender) {
                // Nobody listens any more when the run has its end already.
                let _ = sender.send(Event::Failed(error));
            }
        });
        match thread {
            Ok(thread) => self.threads.push(thread),
            Err(error) => {
                self.error.get_or_insert(PerfError::Thread { reason: error.to_string() });
            }
        }
    }

    /// Waits for the run's end and sums it up.
    fn watch(mut self, stop: &Stop, mut progress: impl FnMut(&Progress)) -> Outcome {
        let mut waiting = self.producers.len() + self.consumers.len();
        while waiting > 0 && self.error.is_none() && !stop.is_stopped() {
            if let Some(Event::Ready) = self.next_event(LOOK_UP) {
                waiting -= 1;
            }
        }
        let is_ready = waiting == 0 && self.error.is_none();
        if !is_ready {
            self.shared.is_stopped.store(true, Relaxed);
        }
        let begun_ns = self.shared.watch.elapsed_ns();
        let (producers, consumers) = (self.producers.clone(), self.consumers.clone());
        let mut monitor = Monitor::new(&self.shared.options, producers, consumers, begun_ns);
        self.shared.open_gate();
        let mut over = None;
        while is_ready && self.error.is_none() && !stop.is_stopped() {
            let now_ns = self.shared.watch.elapsed_ns();
            if let Some(second) = monitor.look(now_ns) {
                progress(&second);
            }
            over = monitor.over(self.publishing, now_ns);
            if over.is_some() {
                break;
            }
            let due = Duration::from_nanos(monitor.until_due(self.publishing, now_ns));
            if let Some(Event::Published) = self.next_event(due.min(LOOK_UP)) {
                self.publishing -= 1;
            }
        }
        let summary = monitor.summary(self.shared.watch.elapsed_ns());
        self.shared.is_stopped.store(true, Relaxed);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                let reason = "it ended in a panic".to_owned();
                self.error.get_or_insert(PerfError::Thread { reason });
            }
        }
        // What failed while the others were told to stop.
        while let Some(event) = self.next_event(Duration::ZERO) {
            drop(event);
        }
        let mut summary = monitor.complete(summary, self.shared.watch.elapsed_ns());
        summary.complete = over == Some(Over::Complete);
        if let Some(error) = over.and_then(Over::error) {
            self.error.get_or_insert(error);
        }
        Outcome { summary: is_ready.then_some(summary), error: self.error }
    }

    /// The next event in this time; a failure is kept.
    fn next_event(&mut self, timeout: Duration) -> Option<Event> {
        match self.events.recv_timeout(timeout) {
            Ok(Event::Failed(error)) => {
                self.error.get_or_insert(error);
                None
            }
            Ok(event) => Some(event),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => {
                // why: no thread is left to tell anything; the caller still counts on the time to pass.
                std::thread::sleep(timeout);
                None
            }
        }
    }
}

/// A producer's thread.
fn publish(
    shared: &Arc<Shared>,
    number: usize,
    tally: Arc<Tally>,
    sender: &Sender<Event>,
) -> Result<(), PerfError> {
    let mut producer = Producer::connect(shared.clone(), number, tally)?;
    let _ = sender.send(Event::Ready);
    shared.await_gate();
    producer.run()?;
    let _ = sender.send(Event::Published);
    Ok(())
}

/// A consumer's thread. With producers it subscribes before they begin; alone it begins itself.
fn consume(
    shared: &Arc<Shared>,
    number: usize,
    tally: Arc<Tally>,
    sender: &Sender<Event>,
) -> Result<(), PerfError> {
    let mut consumer = Consumer::connect(shared.clone(), number, tally)?;
    if shared.options.producers > 0 {
        consumer.subscribe()?;
    }
    let _ = sender.send(Event::Ready);
    shared.await_gate();
    if shared.options.producers == 0 {
        consumer.subscribe()?;
    }
    consumer.run()
}
