//! Virtual environments of Python under `target/`: one with the client library pika, one with the
//! libraries whose own test suites are run, and these suites.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// An environment, made when it is first asked for.
struct Environment {
    name: &'static str,
    /// The file of what is installed, in this project.
    requirements: &'static str,
    /// What that file says; also the mark of a finished environment.
    installed: &'static str,
    /// Of which of the installed packages the source is unpacked as well, for the tests in it.
    sources: &'static [&'static str],
}

const PIKA: Environment = Environment {
    name: "pika-venv",
    requirements: "tests/pika/requirements.txt",
    installed: include_str!("../pika/requirements.txt"),
    sources: &[],
};

const SUITES: Environment = Environment {
    name: "interop-venv",
    requirements: "tests/interop/requirements.txt",
    installed: include_str!("../interop/requirements.txt"),
    sources: &["amqp", "kombu", "aiormq", "aio-pika"],
};

/// The interpreter that has pika.
pub(crate) fn python() -> PathBuf {
    PIKA.home().join("bin/python")
}

/// The interpreter that has the libraries with suites.
pub(crate) fn suites_python() -> PathBuf {
    SUITES.home().join("bin/python")
}

/// The unpacked source of one of these libraries, with its tests.
pub(crate) fn suite_source(package: &str) -> PathBuf {
    let version = SUITES.version(package);
    SUITES.home().join(format!("{}-{version}", package.replace('-', "_")))
}

impl Environment {
    /// Where it is. The first to ask makes it, which takes a few seconds and the network; tests
    /// that ask meanwhile, in this process or another, wait for it.
    fn home(&self) -> PathBuf {
        let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("target");
        let home = target.join(self.name);
        let ready = home.join("ready");
        fs::create_dir_all(&target).expect("cargo builds there");
        let lock = File::create(target.join(format!("{}.lock", self.name)));
        let lock = lock.expect("cargo builds there");
        lock.lock().expect("files there can be locked");
        if fs::read_to_string(&ready).is_ok_and(|installed| installed == self.installed) {
            return home;
        }
        // A half-made one may lack anything; one made for other requirements holds the wrong things.
        if home.exists() {
            fs::remove_dir_all(&home).expect("what is below target may be removed");
        }
        let made = Command::new("python3").args(["-m", "venv"]).arg(&home).output();
        let made = made.unwrap_or_else(|error| {
            panic!(
                "the tests with Python's clients need Python 3, but python3 cannot be run: {error}"
            )
        });
        let hint = "the tests with Python's clients need its module venv (on Debian: apt install \
                    python3-venv)";
        demand(&made, hint);
        let requirements = Path::new(env!("CARGO_MANIFEST_DIR")).join(self.requirements);
        let mut install = pip(&home, "install");
        install.arg("-r").arg(requirements);
        run(&mut install);
        for package in self.sources {
            self.unpack(package, &home);
        }
        fs::write(&ready, self.installed).expect("the environment was just written");
        home
    }

    fn unpack(&self, package: &str, home: &Path) {
        let version = self.version(package);
        let mut download = pip(home, "download");
        download.args(["--no-deps", "--no-binary", package, "-d"]).arg(home);
        run(download.arg(format!("{package}=={version}")));
        let name = format!("{}-{version}.tar.gz", package.replace('-', "_"));
        let mut unpack = Command::new(home.join("bin/python"));
        unpack.args(["-m", "tarfile", "-e"]).arg(home.join(name)).arg(home);
        run(&mut unpack);
    }

    fn version(&self, package: &str) -> &'static str {
        let mut lines = self.installed.lines();
        lines
            .find_map(|line| line.strip_prefix(package)?.strip_prefix("=="))
            .expect("a package with a suite is pinned in the requirements")
    }
}

fn pip(home: &Path, command: &str) -> Command {
    let mut pip = Command::new(home.join("bin/python"));
    pip.args(["-m", "pip", command, "--quiet", "--disable-pip-version-check"]);
    pip
}

fn run(command: &mut Command) {
    let hint = "pip could not fetch the clients; the first run of the tests needs the network";
    demand(&command.output().expect("the environment has an interpreter"), hint);
}

fn demand(output: &Output, hint: &str) {
    assert!(
        output.status.success(),
        "{hint}\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
