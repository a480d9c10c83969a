//! A virtual environment of Python with the client library pika, under `target/`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What is installed; also the mark of a finished environment.
const REQUIREMENTS: &str = include_str!("../pika/requirements.txt");

/// The environment's interpreter. The first to ask makes the environment, which takes a few
/// seconds and the network; tests that ask meanwhile, in this process or another, wait for it.
pub(crate) fn python() -> PathBuf {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("target");
    let home = target.join("pika-venv");
    let (python, ready) = (home.join("bin/python"), home.join("ready"));
    fs::create_dir_all(&target).expect("cargo builds there");
    let lock = File::create(target.join("pika-venv.lock")).expect("cargo builds there");
    lock.lock().expect("files there can be locked");
    if fs::read_to_string(&ready).is_ok_and(|installed| installed == REQUIREMENTS) {
        return python;
    }
    // A half-made one may lack anything; one made for other requirements holds the wrong things.
    if home.exists() {
        fs::remove_dir_all(&home).expect("what is below target may be removed");
    }
    let made = Command::new("python3").args(["-m", "venv"]).arg(&home).output();
    let made = made.unwrap_or_else(|error| {
        panic!("the tests with pika need Python 3, but python3 cannot be run: {error}")
    });
    let hint =
        "the tests with pika need Python's module venv (on Debian: apt install python3-venv)";
    demand(&made, hint);
    let requirements = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pika/requirements.txt");
    let installed = Command::new(&python)
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"])
        .arg(requirements)
        .output();
    let hint = "pip could not install pika; the first run of the tests needs the network";
    demand(&installed.expect("the environment has an interpreter"), hint);
    fs::write(&ready, REQUIREMENTS).expect("the environment was just written");
    python
}

fn demand(output: &Output, hint: &str) {
    assert!(
        output.status.success(),
        "{hint}\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
