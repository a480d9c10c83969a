//! The program: a broker from the command line, through the library's public interface alone.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use leveret::cli::{self, Limits, Options, Perf, Task};
use leveret::config::Storage;
use leveret::perf::{self, Stop};
use leveret::{Broker, BrokerBuilder};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// why: a message is one allocation, made on the publisher's thread and freed on the consumer's;
/// this allocator is fast at that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let options = Options::from_process();
    cli::start_logging(&options.log);
    cli::raise_open_files();
    let ended = match (&options.task, &options.storage) {
        (Task::Check, Storage::Directory(path)) => check(path),
        (Task::Perf(perf), _) => measure(perf),
        _ => run(options).map(|()| ExitCode::SUCCESS),
    };
    ended.unwrap_or_else(|error| {
        eprintln!("leveret: {error}");
        ExitCode::FAILURE
    })
}

/// Prints what is in a data directory; a success when all of it is whole.
fn check(path: &Path) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let check = leveret::check_data_dir(path)?;
    writeln!(std::io::stdout().lock(), "{check}")?;
    Ok(if check.is_whole() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Puts a broker under load; a success when the run came to its end, or was ended by a signal.
fn measure(perf: &Perf) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let stop = Stop::default();
    stop_on_signals(stop.clone())?;
    let outcome = perf::run(&perf.options, &stop, |progress| {
        // Who does not want to see it closes standard error, and the run goes on.
        let _ = writeln!(std::io::stderr().lock(), "{progress}");
    });
    if let Some(summary) = outcome.summary {
        let mut output = std::io::stdout().lock();
        match perf.json {
            true => writeln!(output, "{}", summary.to_json())?,
            false => writeln!(output, "{summary}")?,
        }
    }
    outcome.error.map_or(Ok(ExitCode::SUCCESS), |error| Err(error.into()))
}

/// Lets the first signal end a run in order, and the second one the program.
fn stop_on_signals(stop: Stop) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut signals = {
        let _entered = runtime.enter();
        Signals::new()?
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(signals.next());
        stop.stop();
        runtime.block_on(signals.next());
        std::process::exit(1);
    })?;
    Ok(())
}

#[tokio::main]
async fn run(options: Options) -> Result<(), Box<dyn std::error::Error>> {
    if let (Task::ExportDefinitions, Storage::Directory(path)) = (&options.task, &options.storage) {
        let definitions = leveret::export_definitions(path).await?;
        return Ok(std::io::stdout().lock().write_all(&definitions)?);
    }
    let mut signals = Signals::new()?;
    let mut hang_ups = signal(SignalKind::hangup())?;
    let mut builder = match options.storage {
        Storage::Memory => Broker::builder().in_memory(),
        Storage::Directory(path) => Broker::builder().data_dir(path),
    };
    for address in options.listen {
        builder = builder.listen(address);
    }
    for address in options.tls_listen {
        builder = builder.tls_listen(address);
    }
    if let Some(tls) = options.tls {
        builder = builder.tls(tls);
    }
    builder = builder.loopback_users(options.loopback_users);
    builder = limited(builder, options.limits);
    if let Some(path) = options.definitions {
        let unreadable = |error| format!("cannot read {}: {error}", path.display());
        builder = builder.definitions(std::fs::read(&path).map_err(unreadable)?);
    }
    if let Some(address) = options.management {
        builder = builder.management(address);
    }
    if options.management_tls {
        builder = builder.management_tls();
    }
    let broker = tokio::select! {
        broker = builder.start() => broker?,
        () = signals.next() => return Ok(()),
    };
    announce(&broker, if options.management_tls { "https" } else { "http" });

    loop {
        tokio::select! {
            () = signals.next() => break,
            _ = hang_ups.recv() => reload(&broker).await,
        }
    }
    tracing::info!("stopping; a second signal ends the broker at once");
    tokio::select! {
        stopped = broker.shutdown() => Ok(stopped?),
        () = signals.next() => Err("ended by a second signal".into()),
    }
}

fn limited(builder: BrokerBuilder, limits: Limits) -> BrokerBuilder {
    let builder = match limits.memory_limit {
        Some(bytes) => builder.memory_limit(bytes),
        None => builder,
    };
    let builder = builder
        .channel_max(limits.channel_max)
        .frame_max(limits.frame_max)
        .heartbeat_secs(limits.heartbeat_secs)
        .handshake_timeout(limits.handshake_timeout)
        .max_message_size(limits.max_message_size);
    match limits.max_connections {
        Some(max) => builder.max_connections(max),
        None => builder,
    }
}

/// Reads again what may be read again while the broker runs: the files for TLS.
async fn reload(broker: &Broker) {
    match broker.reload_tls().await {
        Ok(true) => tracing::info!("certificates and key for TLS were read again"),
        Ok(false) => tracing::info!("there is nothing to reload: no TLS was asked for"),
        Err(error) => tracing::error!("the reload failed, what was read before stays: {error}"),
    }
}

/// Says on standard output that clients can connect, and where: for people, and for scripts that
/// wait for it.
fn announce(broker: &Broker, management: &str) {
    let mut lines = String::new();
    let mut addresses = Vec::new();
    for address in broker.addresses() {
        lines.push_str(&format!("leveret listening on {address}\n"));
        addresses.push(address.to_string());
    }
    for address in broker.tls_addresses() {
        // rabbitmq: scripts wait for these words.
        lines.push_str(&format!("started TLS (SSL) listener on {address}\n"));
        addresses.push(format!("{address} (TLS)"));
    }
    if let Some(address) = broker.management_address() {
        lines.push_str(&format!("leveret management on {management}://{address}/api\n"));
    }
    lines.push_str(&format!("Server startup complete; listening on {}\n", addresses.join(", ")));
    let mut output = std::io::stdout().lock();
    if let Err(error) = output.write_all(lines.as_bytes()).and_then(|()| output.flush()) {
        tracing::debug!(%error, "nobody reads the standard output");
    }
}

/// The signals that ask a program to end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
