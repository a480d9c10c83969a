//! Suites of real clients against the real program: those that client libraries carry in their
//! packages, and what users ask of Celery. They are fetched, once, into `target/`.
//!
//! Each prints one line to standard error, `interop: NAME: N passed, M failed, K skipped`, and fails
//! when a test fails that `tests/interop/exclusions.txt` does not list. Not run is what in a package
//! needs no broker: amqp's `test_integration.py`, which mocks the socket, and the unit tests of all.
//!
//! The two large ones, aiormq's and aio-pika's, wait for heartbeats and for proxies most of their
//! minutes: a part is run, and the whole with `LEVERET_INTEROP=all`. As aiormq, below both, has races
//! between its own tasks when a connection closes, with RabbitMQ too, what fails in these two is run
//! again, at most twice, and the line says how often that was.

use std::fs::{self, File};
use std::io::Write;
use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::support::client::Client;
use crate::support::eventually;
use crate::support::process::{self, Process};
use crate::support::venv;

/// How long a suite may take, far more than it does.
const LIMIT: Duration = Duration::from_secs(300);
/// The same for a whole one of the large ones.
const WHOLE_LIMIT: Duration = Duration::from_secs(1800);

#[test]
fn py_amqp() {
    pytest("py-amqp", &venv::suite_source("amqp"), &["t/integration/test_rmq.py"], true);
}

#[test]
fn kombu() {
    pytest("kombu", &venv::suite_source("kombu"), &["t/integration/test_py_amqp.py"], true);
}

#[test]
fn aiormq() {
    let source = venv::suite_source("aiormq");
    if whole() {
        pytest("aiormq", &source, &["tests"], true);
    } else {
        // Everything is there a second time for a connection with a name.
        let part = ["tests", "-k", "not heartbeat and not stuck and not named"];
        pytest("aiormq", &source, &part, false);
    }
}

#[test]
fn aio_pika() {
    let source = venv::suite_source("aio-pika");
    if whole() {
        pytest("aio-pika", &source, &["tests"], true);
    } else {
        let part = [
            "tests/test_amqp.py",
            "tests/test_close_notification.py",
            "tests/test_consumer_cancel_recovery.py",
            "tests/test_consumer_publish_errors.py",
            "tests/test_nowait.py",
            "tests/test_rpc.py",
            "-k",
            "not connect_robust",
        ];
        pytest("aio-pika", &source, &part, false);
    }
}

#[test]
fn amqplib() {
    let found = Command::new("node").arg("--version").output();
    if found.is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
        say("interop: amqplib: skipped, as there is no node");
        return;
    }
    let package = amqplib_package();
    let v6 = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    let mut command = process::leveret(["--in-memory", "--listen", "127.0.0.1:0"]);
    command.args(if v6 { &["--listen", "[::1]:0"][..] } else { &[] });
    let (broker, address) = started(command);
    let mut node = Command::new("node");
    node.arg(scripts().join("amqplib.mjs"));
    for file in ["connect", "channel_api", "callback_api"] {
        node.arg(package.join(format!("test/{file}.test.js")));
    }
    let preload = format!("--require \"{}\"", scripts().join("port.cjs").display());
    node.env("NODE_OPTIONS", preload).env("LEVERET_PORT", address.port().to_string());
    node.env_remove("LEVERET_PORT_V6").env_remove("LOG_ERRORS").env_remove("URL");
    if v6 {
        let port = broker.stdout().trim().rsplit(':').next().unwrap_or_default();
        node.env("LEVERET_PORT_V6", port);
    }
    suite("amqplib", node, LIMIT);
}

/// Tasks, retries, ETA, chords, revocation, broadcasts, events, results as messages, quorum queues.
#[test]
fn celery() {
    let home = tempfile::tempdir().unwrap();
    let (_broker, address) = started(process::leveret(["--in-memory", "--listen", "127.0.0.1:0"]));
    let mut python = application(home.path(), address);
    // What is shared between the suites lies beside its folder.
    let path = format!("{}:{}", scripts().display(), scripts().join("celery").display());
    python.env("PYTHONPATH", path).env("INTEROP_SUITE", "celery").env("INTEROP_WHOLE", "1");
    python.args(PYTEST).args(RUN_ONCE).arg(scripts().join("celery"));
    suite("celery", python, LIMIT);
}

#[test]
fn celery_tasks_outlive_a_kill_of_the_broker_and_a_restart_of_the_worker() {
    let (home, results) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (broker, address) = process::start_durable(home.path());
    let orders = |what: &str| orders(results.path(), address, what);
    orders("send early 20");
    broker.kill();

    let _broker = process::restart_durable(home.path(), address);
    assert_eq!(Client::connect(address).count("celery"), 20);
    let first = worker(results.path(), address);
    eventually("the first tasks are done", || lines(results.path(), "early") >= 3);
    // It finishes what it is at and gives the rest back; what it does not get to acknowledge in its
    // last moments, as happens with RabbitMQ too, is done again.
    stop(first);
    assert!(lines(results.path(), "early") < 20);

    let second = worker(results.path(), address);
    orders("wait early 20");
    orders("send late 10");
    orders("exactly late 10");
    stop(second);
}

#[test]
fn a_celery_worker_goes_on_after_a_kill_of_the_broker() {
    let (home, results) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (broker, address) = process::start_durable(home.path());
    let orders = |what: &str| orders(results.path(), address, what);
    let worker = worker(results.path(), address);
    // These the worker holds, not acknowledged, until their time has come.
    orders("send delayed 5 8");
    orders("send due 30");
    eventually("the first tasks are done", || lines(results.path(), "due") >= 3);
    broker.kill();

    let _broker = process::restart_durable(home.path(), address);
    // What was done and not yet acknowledged is done again, so that there may be more lines.
    orders("wait due 30");
    orders("wait delayed 5");
    orders("send later 10");
    orders("exactly later 10");
    stop(worker);
}

/// The worker as a user starts it.
fn worker(results: &Path, address: SocketAddr) -> Process {
    let mut python = application(results, address);
    python.args(["-m", "celery", "-A", "shop", "worker", "--concurrency", "2"]);
    Process::start(python)
}

/// Ends a worker as Ctrl-C would.
fn stop(worker: Process) {
    worker.signal(Signal::TERM);
    let ended = worker.wait();
    assert!(ended.status.success(), "{}{}", ended.stdout, ended.stderr);
}

/// Runs `orders.py` to its end, which must be a good one.
fn orders(results: &Path, address: SocketAddr, what: &str) {
    let mut python = application(results, address);
    python.arg(scripts().join("celery/orders.py")).args(what.split(' '));
    let ended = Process::start(python).wait();
    assert!(ended.status.success(), "{what}\n{}{}", ended.stdout, ended.stderr);
}

fn lines(results: &Path, name: &str) -> usize {
    fs::read_to_string(results.join(name)).unwrap_or_default().lines().count()
}

/// An interpreter that finds the application and the broker.
fn application(results: &Path, address: SocketAddr) -> Command {
    let mut python = Command::new(venv::suites_python());
    python.args(["-u", "-B"]).current_dir(results);
    python.env("BROKER", format!("amqp://guest:guest@{address}//")).env("RESULTS", results);
    python.env("PYTHONPATH", scripts().join("celery")).env("PYTHONDONTWRITEBYTECODE", "1");
    python.env_remove("KIND");
    python
}

/// The packages' settings are meant for their authors' machines; the plugin is `suite.py`.
const PYTEST: [&str; 8] = [
    "-m",
    "pytest",
    "-q",
    "--tb=short",
    "-psuite",
    "-pno:cacheprovider",
    "-olog_cli=false",
    "-Wignore",
];

const RUN_AGAIN: &[&str] = &["--reruns=2"];
/// Against what the suites of amqp and kombu ask for.
const RUN_ONCE: &[&str] = &["-pno:rerunfailures"];

/// Runs tests of a package against a broker of their own.
fn pytest(name: &str, source: &Path, tests: &[&str], whole: bool) {
    let (_broker, address) = started(process::leveret(["--in-memory", "--listen", "127.0.0.1:0"]));
    let mut python = Command::new(venv::suites_python());
    python.arg("-B").args(PYTEST).args(tests).current_dir(source);
    python.args(if ["aiormq", "aio-pika"].contains(&name) { RUN_AGAIN } else { RUN_ONCE });
    python.env("PYTHONPATH", scripts()).env("INTEROP_SUITE", name);
    python.env("RABBITMQ_HOST", address.ip().to_string());
    python.env("RABBITMQ_5672_TCP", address.port().to_string());
    if whole {
        python.env("INTEROP_WHOLE", "1");
    }
    suite(name, python, if self::whole() { WHOLE_LIMIT } else { LIMIT });
}

/// Runs a suite to its end, says what it counted, and fails if that is not all good.
fn suite(name: &str, mut command: Command, limit: Duration) {
    let log = tempfile::NamedTempFile::new().unwrap();
    let output = || Stdio::from(File::options().append(true).open(log.path()).unwrap());
    command.stdin(Stdio::null()).stdout(output()).stderr(output());
    // So that what it starts can be ended with it.
    let mut child = command.process_group(0).spawn().expect("the interpreter was found before");
    let deadline = Instant::now() + limit;
    let status = loop {
        if let Some(status) = child.try_wait().expect("the child is ours") {
            break Some(status);
        }
        if Instant::now() > deadline {
            let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
            let _ = child.wait();
            break None;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let output = String::from_utf8_lossy(&fs::read(log.path()).unwrap()).into_owned();
    let mark = format!("interop: {name}: ");
    let counted = output.lines().find(|line| line.starts_with(&mark));
    say(counted.unwrap_or("interop: a suite did not come to its end"));
    let good = status.is_some_and(|status| status.success());
    assert!(good && counted.is_some_and(|line| line.contains(", 0 failed")), "{output}");
}

/// A line that is seen though the test passes.
fn say(line: &str) {
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

fn started(command: Command) -> (Process, SocketAddr) {
    let started = Process::start(command).ready();
    started.unwrap_or_else(|ended| panic!("no start: {}", ended.stderr))
}

fn whole() -> bool {
    std::env::var_os("LEVERET_INTEROP").is_some_and(|value| value == "all")
}

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop")
}

/// Where npm has put amqplib, with its tests.
fn amqplib_package() -> PathBuf {
    let wanted = include_str!("interop/package.json");
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/interop-node");
    let (package, ready) = (home.join("node_modules/amqplib"), home.join("ready"));
    fs::create_dir_all(&home).unwrap();
    let lock = File::create(home.join("lock")).unwrap();
    lock.lock().unwrap();
    if fs::read_to_string(&ready).is_ok_and(|installed| installed == wanted) {
        return package;
    }
    fs::write(home.join("package.json"), wanted).unwrap();
    let mut npm = Command::new("npm");
    npm.args(["install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix"]).arg(&home);
    let installed = npm.output().unwrap_or_else(|error| {
        panic!("amqplib is fetched by npm, but npm cannot be run: {error}")
    });
    let stderr = String::from_utf8_lossy(&installed.stderr);
    assert!(installed.status.success(), "npm could not fetch amqplib: {stderr}");
    fs::write(&ready, wanted).unwrap();
    package
}
