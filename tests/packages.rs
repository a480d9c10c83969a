//! What packages are made of, and the program as a package starts it: by a service manager, as the entry point of an
//! image, as a step of a CI service.
//!
//! The packages themselves are tried by `tests/image/run.sh` and `tests/package/deb.sh`, which need tools that not every
//! machine has.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rustix::process::{Pid, Signal, geteuid, kill_process, test_kill_process};
use tempfile::TempDir;

use crate::support::client::Client;
use crate::support::process::{Process, leveret};
use crate::support::{PATIENCE, eventually, http};

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

fn file(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// A service manager: the socket that it is told by, and a broker that knows it.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
    _home: TempDir,
}

impl Manager {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Manager { socket, path, _home: home }
    }

    fn start(&self, variables: &[(&str, &str)]) -> Process {
        let mut command = leveret(["--in-memory", "--listen", "127.0.0.1:0"]);
        command.env("NOTIFY_SOCKET", &self.path).env_remove("WATCHDOG_PID");
        command.envs(variables.iter().copied());
        Process::start(command)
    }

    /// The next thing that it is told.
    fn next(&self) -> String {
        let mut message = [0; 4096];
        let length = self.socket.recv(&mut message).unwrap();
        text(&message[..length])
    }

    /// The next thing that is more than a sign of life.
    fn next_news(&self) -> String {
        std::iter::repeat_with(|| self.next()).find(|message| message != "WATCHDOG=1").unwrap()
    }
}

#[test]
fn a_service_manager_is_told_of_the_start_and_the_end() {
    let manager = Manager::new();
    let process = manager.start(&[]);
    let ready = manager.next();
    let (process, address) = process.ready().unwrap_or_else(|ended| panic!("{}", ended.stderr));
    assert_eq!(ready, format!("READY=1\nSTATUS=listening on {address}"));
    Client::connect(address).close();
    process.signal(Signal::TERM);
    assert_eq!(manager.next(), "STOPPING=1\nSTATUS=stopping");
    assert!(process.wait().status.success());
}

#[test]
fn a_watchdog_gets_signs_of_life() {
    let manager = Manager::new();
    let process = manager.start(&[("WATCHDOG_USEC", "20000")]);
    assert!(manager.next_news().starts_with("READY=1\n"));
    for _ in 0..3 {
        assert_eq!(manager.next(), "WATCHDOG=1");
    }
    // What is read again does not end them.
    process.signal(Signal::HUP);
    eventually("the reload is told", || process.log().contains("nothing to reload"));
    assert_eq!(manager.next(), "WATCHDOG=1");
    process.signal(Signal::TERM);
    assert_eq!(manager.next_news(), "STOPPING=1\nSTATUS=stopping");
    assert!(process.wait().status.success());
}

#[test]
fn a_service_manager_that_is_gone_ends_nothing() {
    let manager = Manager::new();
    fs::remove_file(&manager.path).unwrap();
    let (process, address) =
        manager.start(&[]).ready().unwrap_or_else(|ended| panic!("{}", ended.stderr));
    Client::connect(address).close();
    eventually("it is told", || process.log().contains("cannot be told READY=1"));
    process.signal(Signal::TERM);
    assert!(process.wait().status.success());
}

/// Runs a program of the machine; none when it has none of this name.
fn run(command: &mut Command) -> Option<Output> {
    match command.output() {
        Ok(output) => Some(output),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("packages: {:?} is skipped, as it is not there", command.get_program());
            None
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_shell_reads_the_completions() {
    let home = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let script = leveret(["completions", shell]).output().unwrap();
        assert!(script.status.success(), "{}", text(&script.stderr));
        let path = home.path().join(shell);
        fs::write(&path, script.stdout).unwrap();
        let Some(read) = run(Command::new(shell).arg("-n").arg(&path)) else { continue };
        assert!(read.status.success(), "{shell}: {}", text(&read.stderr));
    }
    let script = format!("source {}/bash; complete -p leveret", home.path().display());
    if let Some(complete) = run(Command::new("bash").args(["-c", &script])) {
        assert!(text(&complete.stdout).contains("leveret"), "{}", text(&complete.stderr));
    }
    let refused = leveret(["completions", "tcl"]).output().unwrap();
    assert!(text(&refused.stderr).contains("possible values: bash"), "{}", text(&refused.stderr));
}

#[test]
fn manual_pages_are_right() {
    let home = tempfile::tempdir().unwrap();
    let written = leveret(["man"]).arg(home.path()).output().unwrap();
    assert!(written.status.success(), "{}", text(&written.stderr));
    let pages: Vec<_> = text(&written.stdout).lines().map(PathBuf::from).collect();
    assert!(pages.contains(&home.path().join("leveret.1")), "{pages:?}");
    if let Some(read) = run(Command::new("mandoc").args(["-T", "lint", "-W", "error"]).args(&pages))
    {
        assert!(read.status.success(), "{}", text(&read.stdout));
    }
}

/// A link to the program under this name, in a directory of its own.
fn link(name: &str) -> (TempDir, PathBuf) {
    let home = tempfile::tempdir().unwrap();
    let link = home.path().join(name);
    symlink(env!("CARGO_BIN_EXE_leveret"), &link).unwrap();
    (home, link)
}

#[test]
fn the_entry_point_becomes_what_it_is_asked_to_start() {
    let (_home, entrypoint) = link("docker-entrypoint.sh");
    let mut command = Command::new(&entrypoint);
    command.env_remove("LEVERET_CONTAINER").args([
        "sh",
        "-c",
        "echo $$ $LEVERET_CONTAINER; exit 3",
    ]);
    let process = Process::start(command);
    let id = process.id();
    let ended = process.wait();
    // The same process: signals reach what it has become.
    assert_eq!((ended.status.code(), ended.stdout), (Some(3), format!("{id} 1\n")));

    let absent = Command::new(&entrypoint).arg("no-such-program").output().unwrap();
    assert_eq!(absent.status.code(), Some(127));
    let line = "error: exec: \"no-such-program\": executable file not found in $PATH\n";
    assert_eq!(text(&absent.stderr), line);
}

#[test]
fn gosu_gives_up_who_it_is() {
    let (_home, gosu) = link("gosu");
    // Only root can become somebody else.
    let is_root = geteuid().is_root();
    let wanted = if is_root { "1234:2345".to_owned() } else { geteuid().as_raw().to_string() };
    let script = "id -u; id -g; id -G; echo $HOME";
    let output = Command::new(&gosu).args([&wanted, "sh", "-c", script]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    if is_root {
        assert_eq!(text(&output.stdout), "1234\n2345\n2345\n/\n");
    } else {
        assert!(text(&output.stdout).starts_with(&wanted), "{}", text(&output.stdout));
    }
}

/// The step of the action, and what it said.
struct Step {
    home: TempDir,
    output: Output,
    /// The broker that it left running.
    pid: Option<Pid>,
}

impl Step {
    fn run(variables: &[(&str, &str)]) -> Option<Self> {
        let home = tempfile::tempdir().unwrap();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/action/start.sh");
        let mut command = Command::new("bash");
        command
            .arg(script)
            .env("RUNNER_TEMP", home.path())
            .env("GITHUB_OUTPUT", home.path().join("output"))
            .env("GITHUB_ENV", home.path().join("env"))
            .env("LEVERET_BINARY", env!("CARGO_BIN_EXE_leveret"))
            .envs([("LEVERET_PORT", "0"), ("LEVERET_MANAGEMENT_PORT", "0")])
            .envs(variables.iter().copied());
        let output = run(&mut command)?;
        let mut step = Step { home, output, pid: None };
        step.pid = step.output("pid").and_then(|pid| Pid::from_raw(pid.parse().ok()?));
        Some(step)
    }

    fn file(&self, name: &str) -> String {
        fs::read_to_string(self.home.path().join(name)).unwrap_or_default()
    }

    fn output(&self, name: &str) -> Option<String> {
        let lines = self.file("output");
        lines.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=').map(str::to_owned))
    }

    fn management(&self) -> SocketAddr {
        self.output("management-url").unwrap().trim_start_matches("http://").parse().unwrap()
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        let Some(pid) = self.pid else { return };
        let _ = kill_process(pid, Signal::TERM);
        if !std::thread::panicking() {
            // It is nobody's child any more; a zombie has no memory to speak of.
            let stat = || fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
            eventually("the broker ends", || {
                test_kill_process(pid).is_err() || stat().is_ok_and(|stat| stat.contains(") Z "))
            });
        }
    }
}

#[test]
fn the_step_of_the_action_says_where_the_broker_is() {
    let Some(step) = Step::run(&[]) else { return };
    assert!(step.output.status.success(), "{}", text(&step.output.stdout));
    let amqp = step.output("amqp-url").unwrap();
    let address = amqp.strip_prefix("amqp://guest:guest@").unwrap().strip_suffix("/%2F").unwrap();
    Client::connect(address.parse().unwrap()).close();
    assert_eq!(http::request(step.management(), "GET /api/whoami", "guest:guest", "").0, 200);
    let management = step.output("management-url").unwrap();
    let environment = format!("AMQP_URL={amqp}\nRABBITMQ_MANAGEMENT_URL={management}\n");
    assert_eq!(step.file("env"), environment);
    assert!(step.output("log").is_some_and(|log| Path::new(&log).exists()));
}

#[test]
fn the_step_of_the_action_makes_the_user_that_is_asked_for() {
    let definitions = tempfile::NamedTempFile::new().unwrap();
    let variables = [
        ("LEVERET_USER", "eva"),
        ("LEVERET_PASSWORD", "p@ss/wörd"),
        ("LEVERET_VHOST", "a b"),
        ("LEVERET_ARGUMENTS", "--log debug"),
    ];
    let Some(step) = Step::run(&variables) else { return };
    let said = text(&step.output.stdout);
    assert!(step.output.status.success(), "{said}");
    assert!(said.starts_with("::add-mask::p@ss/wörd\n"), "{said}");
    let amqp = step.output("amqp-url").unwrap();
    assert!(amqp.starts_with("amqp://eva:p%40ss%2Fw%C3%B6rd@127.0.0.1:"), "{amqp}");
    assert!(amqp.ends_with("/a%20b"), "{amqp}");
    assert_eq!(
        http::request(step.management(), "GET /api/vhosts/a%20b", "eva:p@ss/wörd", "").0,
        200
    );

    // With definitions the users are those of the file.
    let users = r#"{"users":[{"name":"max","password":"x","tags":"administrator"}],"vhosts":[{"name":"/"}]}"#;
    fs::write(definitions.path(), users).unwrap();
    let path = definitions.path().to_str().unwrap();
    let step = Step::run(&[("LEVERET_DEFINITIONS_FILE", path)]).unwrap();
    assert_eq!(http::request(step.management(), "GET /api/whoami", "max:x", "").0, 200);
}

#[test]
fn the_step_of_the_action_fails_with_the_reason() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let Some(step) = Step::run(&[("LEVERET_PORT", &port)]) else { return };
    assert_eq!(step.output.status.code(), Some(1));
    let said = text(&step.output.stdout);
    assert!(said.contains("::error title=leveret::leveret did not start"), "{said}");
    assert!(said.contains("in use"), "{said}");

    let step = Step::run(&[("LEVERET_BINARY", "/no/such/leveret")]).unwrap();
    assert_eq!(step.output.status.code(), Some(1));
    assert!(text(&step.output.stdout).contains("there is no program /no/such/leveret"));
}

#[test]
fn one_version_is_named_everywhere() {
    let version = env!("CARGO_PKG_VERSION");
    for (path, line) in [
        ("packaging/docker/Dockerfile", format!("ARG VERSION={version}\n")),
        ("packaging/docker/Dockerfile.slim", format!("ARG VERSION={version}\n")),
        ("packaging/action/action.yml", format!("default: \"{version}\"\n")),
        ("CHANGELOG.md", format!("## {version}\n")),
    ] {
        assert!(file(path).contains(&line), "{path} has no {line}");
    }
    // The release of RabbitMQ that clients are told is the one that scripts read in the image.
    let output = leveret(["--in-memory", "--listen", "127.0.0.1:0", "--management", "127.0.0.1:0"]);
    let mut process = Process::start(output);
    let management = std::iter::from_fn(|| process.next_line()).find_map(|line| {
        let address = line.strip_prefix("leveret management on http://")?;
        address.strip_suffix("/api")?.parse().ok()
    });
    let (_, overview) = http::request(management.unwrap(), "GET /api/overview", "guest:guest", "");
    let rabbitmq = overview.split(r#""rabbitmq_version":""#).nth(1).unwrap();
    let rabbitmq = rabbitmq.split('"').next().unwrap();
    for path in ["packaging/docker/Dockerfile", "packaging/docker/Dockerfile.slim"] {
        assert!(file(path).contains(&format!("RABBITMQ_VERSION={rabbitmq} ")), "{path}");
    }
    process.kill();
}
