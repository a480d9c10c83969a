//! RabbitMQ's commands, and what stands beside them in its image: one program under many names.
//!
//! ```text
//!  rabbitmqctl list_queues ─► Program ─► ctl ───┐
//!  rabbitmqadmin list queues ─► Program ─► admin ┴─► http: a request ─► broker ─► text, JSON, CSV
//! ```
//!
//! - [`Program`] is what leveret is under another name, or behind a word as in `leveret ctl`.
//! - `ctl` is for a broker of this machine: it asks over the broker's control socket, without a password.
//! - `admin` is for any broker: it asks over TCP or TLS (`secure`), with a password.
//! - `container` is what scripts expect in an image: an entry point and small tools.
//!
//! What this module deliberately is not: it has no rules of a broker. Each command is a request to one and a way to
//! write the answer down, in RabbitMQ's words and with its exit codes.

mod admin;
mod console;
mod container;
mod ctl;
mod http;
mod secure;

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

pub use self::console::Console;

/// What leveret is besides a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// `rabbitmqctl`: acts on a node.
    Ctl,
    /// `rabbitmq-diagnostics`: looks at a node.
    Diagnostics,
    /// `rabbitmq-plugins`: switches plugins on and off.
    Plugins,
    /// `rabbitmq-queues`: moves queues between nodes.
    Queues,
    /// `rabbitmq-streams`: acts on streams.
    Streams,
    /// `rabbitmq-upgrade`: prepares a node for an upgrade.
    Upgrade,
    /// `rabbitmqadmin`: acts on a broker over HTTP.
    Admin,
    /// `docker-entrypoint.sh`: starts what an image is asked to start.
    Entrypoint,
    /// `gosu`: runs a program as another user.
    Gosu,
    /// `nc`: looks whether a port is open.
    NetCat,
    /// `curl`: asks an HTTP server.
    Curl,
}

/// The programs with the names of their files, and the word that stands for them behind `leveret`.
const PROGRAMS: &[(Program, &str, Option<&str>)] = &[
    (Program::Ctl, "rabbitmqctl", Some("ctl")),
    (Program::Diagnostics, "rabbitmq-diagnostics", Some("diagnostics")),
    (Program::Plugins, "rabbitmq-plugins", Some("plugins")),
    (Program::Queues, "rabbitmq-queues", Some("queues")),
    (Program::Streams, "rabbitmq-streams", Some("streams")),
    (Program::Upgrade, "rabbitmq-upgrade", Some("upgrade")),
    (Program::Admin, "rabbitmqadmin", Some("admin")),
    (Program::Entrypoint, "docker-entrypoint.sh", None),
    (Program::Gosu, "gosu", None),
    (Program::NetCat, "nc", None),
    (Program::Curl, "curl", None),
];

impl Program {
    /// The program that is meant by the name of a started file, if it is one of these.
    pub fn of_file(path: &OsStr) -> Option<Program> {
        let name = Path::new(path).file_name()?;
        PROGRAMS.iter().find(|(_, file, _)| name == *file).map(|(program, ..)| *program)
    }

    /// The program that is meant by a word behind `leveret`.
    pub fn of_word(word: &str) -> Option<Program> {
        PROGRAMS.iter().find(|(.., of)| *of == Some(word)).map(|(program, ..)| *program)
    }

    /// The names of files under which leveret is another program.
    pub fn files() -> impl Iterator<Item = &'static str> {
        PROGRAMS.iter().map(|(_, file, _)| *file)
    }

    /// The name that it goes by in its own texts.
    pub fn name(self) -> &'static str {
        let row = PROGRAMS.iter().find(|(program, ..)| *program == self);
        row.map_or("leveret", |(_, file, _)| *file)
    }

    /// Runs it with these arguments, without its own name. Returns the code that the process is to end with.
    pub fn run(self, arguments: &[OsString], console: &mut Console<'_>) -> u8 {
        match self {
            Program::Admin => admin::run(arguments, console),
            Program::Ctl
            | Program::Diagnostics
            | Program::Plugins
            | Program::Queues
            | Program::Streams
            | Program::Upgrade => ctl::run(self, arguments, console),
            Program::Entrypoint => container::entrypoint(arguments, console),
            Program::Gosu => container::gosu(arguments, console),
            Program::NetCat => container::nc(arguments, console),
            Program::Curl => container::curl(arguments, console),
        }
    }
}

/// Makes links to the program in this directory, with the names under which it is another program: those of
/// RabbitMQ. A name that is taken is left alone. Returns the links that are new.
///
/// # Errors
/// When a link cannot be made; it names the link.
pub fn make_links(program: &Path, directory: &Path) -> io::Result<Vec<PathBuf>> {
    let names = Program::files().filter(|name| name.starts_with("rabbitmq"));
    let mut made = Vec::new();
    for name in names.chain(["rabbitmq-server"]) {
        let link = directory.join(name);
        match std::os::unix::fs::symlink(program, &link) {
            Ok(()) => made.push(link),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(io::Error::new(error.kind(), format!("{}: {error}", link.display())));
            }
        }
    }
    Ok(made)
}
