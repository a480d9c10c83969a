//! The socket by which operators of this machine reach a broker: where it is, and who may use it.
//!
//! rabbitmq: has a secret that nodes and commands share, the Erlang cookie. Here it is the user that a process runs as:
//! the broker's own or root.
//!
//! What this module deliberately is not: it serves and asks nothing.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

/// What the name of such a socket ends with; it begins with the name of the node.
const SUFFIX: &str = "ctl";

/// The longest path that the system takes for a socket, in bytes, the zero at its end left out.
const LONGEST_PATH: usize = 107;

/// How often a socket is tried for when another broker makes one of the same name at the same time.
const TRIES: usize = 3;

/// The directories for sockets of brokers that have no place of their own, the best first.
pub(crate) fn directories() -> Vec<PathBuf> {
    let of_user = std::env::var_os("XDG_RUNTIME_DIR").filter(|path| !path.is_empty());
    let user = rustix::process::geteuid().as_raw();
    let mut all = vec![PathBuf::from("/run/leveret")];
    all.extend(of_user.map(|path| PathBuf::from(path).join("leveret")));
    all.push(std::env::temp_dir().join(format!("leveret-{user}")));
    all
}

/// The first of these directories in which this process may make files; it is made if it is not there.
pub(crate) fn usable_directory() -> Option<PathBuf> {
    let is_usable = |path: &PathBuf| {
        if fs::create_dir(path).is_ok() {
            // why: what is in it is for this user alone.
            return fs::set_permissions(path, fs::Permissions::from_mode(0o700)).is_ok();
        }
        // why: who owns a directory may put another socket into it.
        let user = rustix::process::geteuid().as_raw();
        let is_owner = |owner| owner == 0 || owner == user;
        let is_safe =
            fs::symlink_metadata(path).is_ok_and(|found| found.is_dir() && is_owner(found.uid()));
        is_safe && rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok()
    };
    directories().into_iter().find(is_usable)
}

/// The socket of a node in a directory.
pub(crate) fn path_in(directory: &Path, node: &str) -> PathBuf {
    directory.join(format!("{node}.{SUFFIX}"))
}

/// The nodes that have a socket in this directory on which somebody answers.
pub(crate) fn nodes_in(directory: &Path) -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    let sockets = paths.filter(|path| path.extension().is_some_and(|it| it == SUFFIX));
    let mut nodes: Vec<_> = sockets
        .filter(|path| connect(path).is_ok())
        .filter_map(|path| Some((path.file_stem()?.to_str()?.to_owned(), path.clone())))
        .collect();
    nodes.sort();
    nodes
}

/// Removes the sockets in this directory that brokers have left which did not end in order: nobody listens there, and
/// they are older than this, in seconds since 1970.
pub(crate) fn remove_left(directory: &Path, older_than: i64) {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    for path in entries.map(|entry| entry.path()) {
        let found = fs::symlink_metadata(&path);
        let is_old =
            |found: &fs::Metadata| found.file_type().is_socket() && found.mtime() < older_than;
        let refuses = || matches!(connect(&path), Err(error) if error.kind() == io::ErrorKind::ConnectionRefused);
        // why: one that was just made refuses for a moment.
        if found.as_ref().is_ok_and(is_old) && refuses() {
            // Another broker may have done so.
            let _ = fs::remove_file(&path);
        }
    }
}

/// Connects to a socket.
pub(crate) fn connect(path: &Path) -> io::Result<UnixStream> {
    with_short_path(path, |path| UnixStream::connect(path))
}

/// Listens on a socket that this user and root may use. What a broker that has died left there is removed.
///
/// # Errors
/// Of the kind `AddrInUse` when another broker listens there.
pub(crate) fn bind(path: &Path) -> io::Result<UnixListener> {
    let mut result = Err(io::ErrorKind::AddrInUse.into());
    for _ in 0..TRIES {
        result = with_short_path(path, |path| UnixListener::bind(path));
        match &result {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                if connect(path).is_ok() {
                    break;
                }
                let found = fs::symlink_metadata(path);
                let is_socket = found.is_ok_and(|found| found.file_type().is_socket());
                if !is_socket {
                    break;
                }
                fs::remove_file(path)?;
            }
            _ => break,
        }
    }
    let listener = result?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Whether the process at the other end is one of this user or of root.
pub(crate) fn is_trusted(stream: &impl std::os::fd::AsFd) -> bool {
    let Ok(peer) = rustix::net::sockopt::socket_peercred(stream) else { return false };
    peer.uid.is_root() || peer.uid == rustix::process::geteuid()
}

/// Calls this with a path to the same file that is short enough for a socket.
///
/// why: directories of tests are often longer than a socket's path may be.
fn with_short_path<T>(path: &Path, call: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    if path.as_os_str().len() <= LONGEST_PATH {
        return call(path);
    }
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = File::from(rustix::fs::open(directory, flags, Mode::empty())?);
    let of_process = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()));
    call(&of_process.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_found_while_somebody_listens() {
        let directory = tempfile::tempdir().unwrap();
        // Longer than the system takes.
        let long = directory.path().join("a".repeat(100)).join("b".repeat(100));
        fs::create_dir_all(&long).unwrap();
        let path = path_in(&long, "rabbit@host");
        let listener = bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(nodes_in(&long), [("rabbit@host".to_owned(), path.clone())]);
        assert!(is_trusted(&connect(&path).unwrap()));
        assert_eq!(bind(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(listener);
        // The file is still there, and nobody behind it.
        assert!(path.exists());
        assert_eq!(nodes_in(&long), []);
        remove_left(&long, 0);
        assert!(path.exists(), "it is new");
        let again = bind(&path).unwrap();
        remove_left(&long, i64::MAX);
        assert_eq!(nodes_in(&long).len(), 1);
        drop(again);
        remove_left(&long, i64::MAX);
        assert!(!path.exists());
    }

    #[test]
    fn a_file_that_is_no_socket_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = path_in(directory.path(), "n");
        fs::write(&path, "mine").unwrap();
        assert_eq!(bind(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert_eq!(fs::read(&path).unwrap(), b"mine");
    }
}
