//! The program: a broker from the command line, through the library's public interface alone.

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use leveret::cli::{self, Limits, Options, Output, Perf, PidFile, ServiceManager, Task};
use leveret::clock::{Clock, SystemClock};
use leveret::commands::{self, Console, Program};
use leveret::config::{DefinitionsSource, Storage};
use leveret::perf::{self, Stop};
use leveret::rabbit::{Environment, Node};
use leveret::{Broker, BrokerBuilder};
use tokio::signal::unix::{Signal, SignalKind, signal};

#[global_allocator]
static ALLOCATOR: leveret_allocator::MiMalloc = leveret_allocator::MiMalloc;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    let arguments: Vec<OsString> = arguments.collect();
    if let Some(program) = Program::of_file(&name) {
        return command(program, &arguments);
    }
    if let Some(rest) = cli::without_detached(&arguments) {
        return detach(&name, &rest);
    }
    let options = Options::from_process();
    let output = match Output::start(&options.log, &options.log_target) {
        Ok(output) => output,
        Err(error) => {
            // Who does not read it has the exit code.
            let _ = writeln!(std::io::stderr(), "leveret: cannot start the log: {error}");
            return ExitCode::FAILURE;
        }
    };
    if let Task::Command(word, arguments) = &options.task
        && let Some(program) = Program::of_word(word)
    {
        return command(program, arguments);
    }
    cli::raise_open_files();
    let ended = match (&options.task, &options.storage) {
        (Task::Check, Storage::Directory(path)) => check(path),
        (Task::Perf(perf), _) => measure(perf),
        (Task::Links(directory), _) => links(directory),
        (Task::Completions(shell), _) => print(&cli::completions(*shell)),
        (Task::Man(directory), _) => man(directory),
        (Task::ExportDefinitions, Storage::Directory(path)) => export_definitions(path),
        _ => run(options, &output),
    };
    let code = ended.unwrap_or_else(|error| {
        output.complain(&error.to_string());
        ExitCode::FAILURE
    });
    output.flush();
    code
}

/// Runs one of RabbitMQ's commands.
fn command(program: Program, arguments: &[OsString]) -> ExitCode {
    let (mut input, mut output) = (std::io::stdin().lock(), std::io::stdout().lock());
    let mut error = std::io::stderr().lock();
    let mut console = Console::new(Environment::of_process(), &mut input, &mut output, &mut error);
    ExitCode::from(program.run(arguments, &mut console))
}

/// Starts a broker that goes on by itself.
fn detach(name: &OsString, arguments: &[OsString]) -> ExitCode {
    let all = std::iter::once(name).chain(arguments);
    let options = Options::parse_from(all).unwrap_or_else(|refusal| refusal.exit());
    match cli::start_detached(name, arguments, &options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Who does not read it has the exit code.
            let _ = writeln!(std::io::stderr(), "leveret: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Makes links to this program under the names of others.
fn links(directory: &Path) -> Result<ExitCode, Box<dyn std::error::Error>> {
    for link in commands::make_links(&std::env::current_exe()?, directory)? {
        writeln!(std::io::stdout().lock(), "{}", link.display())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn print(bytes: &[u8]) -> Result<ExitCode, Box<dyn std::error::Error>> {
    std::io::stdout().lock().write_all(bytes)?;
    Ok(ExitCode::SUCCESS)
}

/// Writes the manual pages.
fn man(directory: &Path) -> Result<ExitCode, Box<dyn std::error::Error>> {
    for page in cli::write_man_pages(directory)? {
        writeln!(std::io::stdout().lock(), "{}", page.display())?;
    }
    Ok(ExitCode::SUCCESS)
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
        runtime.block_on(signals.next_later());
        std::process::exit(1);
    })?;
    Ok(())
}

/// Writes the definitions in a data directory to standard output.
#[tokio::main]
async fn export_definitions(path: &Path) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let definitions = leveret::export_definitions(path).await?;
    std::io::stdout().lock().write_all(&definitions)?;
    Ok(ExitCode::SUCCESS)
}

/// Runs a broker until it ends.
fn run(options: Options, output: &Output) -> Result<ExitCode, Box<dyn std::error::Error>> {
    options.log_notices();
    let management = if options.management_tls { "https" } else { "http" };
    let announcement = Announcement { management, node: options.node.clone() };
    let control = options.control();
    let mut builder = builder(options)?.set_log_filter(output.set_filter());
    if let Some(control) = control {
        builder = builder.control(control);
    }
    let _pid_file = announcement.node.as_ref().and_then(write_pid_file);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match runtime.block_on(serve(builder, &announcement, output))? {
        Ended::InOrder => Ok(ExitCode::SUCCESS),
        Ended::Failed => {
            // why: what still runs is not waited for, since it may be what has failed. What clients were told
            // is safe is on the disk.
            runtime.shutdown_background();
            Ok(ExitCode::FAILURE)
        }
    }
}

/// How a broker ended.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    /// It was asked to.
    InOrder,
    /// It cannot go on; its log says why.
    Failed,
}

/// Runs a broker until it is asked to end or fails.
async fn serve(
    builder: BrokerBuilder,
    announcement: &Announcement,
    output: &Output,
) -> Result<Ended, Box<dyn std::error::Error>> {
    let mut signals = Signals::new()?;
    let mut hang_ups = signal(SignalKind::hangup())?;
    let manager = ServiceManager::of_process();
    let broker = tokio::select! {
        broker = builder.start() => broker?,
        () = signals.next() => return Ok(Ended::InOrder),
        never = manager.watch() => match never {},
    };
    output.print(&announcement.lines(&broker));
    manager.ready(&announcement.status(&broker));

    loop {
        tokio::select! {
            () = signals.next() => break,
            _ = broker.failed() => return Ok(Ended::Failed),
            () = broker.stop_asked() => break,
            _ = hang_ups.recv() => reload(&broker).await,
            never = manager.watch() => match never {},
        }
    }
    manager.stopping();
    tracing::info!("stopping; another signal, a second later or more, ends the broker at once");
    tokio::select! {
        stopped = broker.shutdown() => Ok(stopped.map(|()| Ended::InOrder)?),
        never = manager.watch() => match never {},
        () = signals.next_later() => Err("ended by a second signal".into()),
    }
}

/// Describes the broker that was asked for.
fn builder(options: Options) -> Result<BrokerBuilder, Box<dyn std::error::Error>> {
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
    if options.accept_loss {
        builder = builder.accept_loss();
    }
    builder = limited(builder, options.limits);
    builder = match options.definitions {
        Some(DefinitionsSource::File(path)) => builder.definitions_file(path),
        Some(DefinitionsSource::Json(json)) => builder.definitions(json),
        None => builder,
    };
    builder = builder.first_objects(options.first);
    if let Some(node) = options.node {
        builder = builder.node_name(node.name);
    }
    if let Some(name) = options.cluster_name {
        builder = builder.cluster_name(name);
    }
    if let Some(address) = options.management {
        builder = builder.management(address);
    }
    if options.management_tls {
        builder = builder.management_tls();
    }
    Ok(builder)
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
        .send_timeout(limits.send_timeout)
        .consumer_timeout(limits.consumer_timeout)
        .disk_free_limit(limits.disk_free_limit)
        .log_file_size(limits.log_file_size)
        .give_back_memory(leveret_allocator::give_back)
        .max_message_size(limits.max_message_size)
        .max_consumers_per_channel(limits.max_consumers_per_channel)
        .max_arguments_size(limits.max_arguments_size);
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

/// Writes the file with the number of this process. That it cannot be written ends nothing.
fn write_pid_file(node: &Node) -> Option<PidFile> {
    let path = node.pid_file.as_ref()?;
    let written = PidFile::write(path, node.keep_pid_file);
    let warn = |error: &std::io::Error| {
        tracing::warn!("the process id cannot be written to {}: {error}", path.display());
    };
    written.inspect_err(warn).ok()
}

/// What is said on standard output when clients can connect: for people, and for scripts that wait for it.
struct Announcement {
    /// The scheme of the management API.
    management: &'static str,
    /// The node, if it is one of RabbitMQ's kind.
    node: Option<Node>,
}

impl Announcement {
    fn lines(&self, broker: &Broker) -> String {
        match &self.node {
            Some(node) => self.lines_of_node(broker, node),
            None => self.lines_of_leveret(broker),
        }
    }

    /// The same in a few words, for a service manager.
    fn status(&self, broker: &Broker) -> String {
        let addresses = broker.addresses().iter().chain(broker.tls_addresses());
        let addresses: Vec<_> = addresses.map(ToString::to_string).collect();
        format!("listening on {}", addresses.join(", "))
    }

    fn lines_of_leveret(&self, broker: &Broker) -> String {
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
            let scheme = self.management;
            lines.push_str(&format!("leveret management on {scheme}://{address}/api\n"));
        }
        lines + &format!("Server startup complete; listening on {}\n", addresses.join(", "))
    }

    /// rabbitmq: these words, some in its log and some on standard output; others wait for each of them.
    fn lines_of_node(&self, broker: &Broker, node: &Node) -> String {
        let mut lines = String::new();
        for address in broker.addresses() {
            lines.push_str(&format!("started TCP listener on {address}\n"));
        }
        for address in broker.tls_addresses() {
            lines.push_str(&format!("started TLS (SSL) listener on {address}\n"));
        }
        if let Some(address) = broker.management_address() {
            let kind = if self.management == "https" { "HTTPS" } else { "HTTP (non-TLS)" };
            let port = address.port();
            lines.push_str(&format!("Management plugin: {kind} listener started on port {port}\n"));
        }
        let count = node.plugins.len();
        lines.push_str(&format!("Server startup complete; {count} plugins started.\n"));
        for plugin in &node.plugins {
            lines.push_str(&format!(" * {plugin}\n"));
        }
        lines + &format!("  Starting broker... completed with {count} plugins.\n")
    }
}

/// How long after a signal another one counts as the same, in milliseconds.
///
/// why: Ctrl-C reaches all programs of a terminal, and a program that started this one often sends a signal of
/// its own then.
const ONE_SIGNAL_MS: u64 = 1_000;

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

    /// The next signal that does not belong to the one before.
    async fn next_later(&mut self) {
        let clock = SystemClock::new();
        let deadline = clock.now().plus_millis(ONE_SIGNAL_MS);
        loop {
            tokio::select! {
                biased;
                () = clock.sleep_until(deadline) => break,
                () = self.next() => {}
            }
        }
        self.next().await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use async_trait::async_trait;
    use leveret::broker::time::Time;
    use leveret::clock::ManualClock;
    use leveret::rabbit::LogTarget;

    use super::*;

    /// Ends whoever waits for it.
    struct BrokenClock(ManualClock);

    #[async_trait]
    impl Clock for BrokenClock {
        fn now(&self) -> Time {
            self.0.now()
        }

        async fn sleep_until(&self, _deadline: Time) {
            panic!("the clock is broken");
        }
    }

    #[tokio::test]
    async fn a_broker_whose_timer_ends_has_failed() {
        let definitions = r#"{"queues": [{"name": "q", "vhost": "/", "durable": true,
            "auto_delete": false, "arguments": {"x-expires": 60000}}]}"#;
        let builder = Broker::builder()
            .in_memory()
            .listen("127.0.0.1:0".parse().expect("an address"))
            .definitions(definitions)
            .clock(Arc::new(BrokenClock(ManualClock::new(Time::from_millis(1)))));
        let output = Output::start("off", &LogTarget::Stderr).expect("a thread can be started");
        let announcement = Announcement { management: "http", node: None };
        let ended = serve(builder, &announcement, &output).await.expect("it starts");
        assert_eq!(ended, Ended::Failed);
    }
}
