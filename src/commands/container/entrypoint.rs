//! `docker-entrypoint.sh`: prepares what an image is asked to start, and becomes it.
//!
//! rabbitmq: the script of the official image. What begins with `rabbitmq` is run as the user of that name; before the
//! server the data volume is made that user's. Everything else is run as it stands, as whoever runs this.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, lchown};
use std::path::{Path, PathBuf};

use super::accounts::{Accounts, Identity};
use super::replace::Replacement;
use super::{Console, Failure, reason};
use crate::node_name::host_name;

const SERVER: &str = "rabbitmq-server";

/// The user that the server is run as.
const USER: &str = "rabbitmq";

/// Where the data are, unless told.
const DATA_DIR: &str = "/var/lib/rabbitmq";

/// Where the sockets are by which commands find the server.
const SOCKETS: &str = "/run/leveret";

/// Comes back only if the program cannot be started.
pub(super) fn run(arguments: &[OsString], console: &mut Console<'_>) -> Result<(), Failure> {
    let words = words(arguments);
    let mut replacement = Replacement::new(&words);
    // why: a server that a script starts in the image is no other than the one that the image starts.
    set_unless_set(&mut replacement, "LEVERET_CONTAINER", "1");
    if host_name().is_some_and(|name| name.contains('.')) {
        // rabbitmq: a host with a long name is known by it.
        set_unless_set(&mut replacement, "RABBITMQ_USE_LONGNAME", "true");
    }
    let identity = match rustix::process::geteuid().is_root() && is_of_rabbitmq(&words[0]) {
        true => Some(user()?),
        false => None,
    };
    if let Some(identity) = identity.as_ref().filter(|_| words[0] == SERVER) {
        let data = std::env::var_os("RABBITMQ_DATA_DIR").filter(|path| !path.is_empty());
        let data = data.map_or_else(|| PathBuf::from(DATA_DIR), PathBuf::from);
        let sockets = Path::new(SOCKETS);
        let directories = [Some(data.as_path()), Some(sockets).filter(|path| !is_for_all(path))];
        for directory in directories.into_iter().flatten() {
            // why: a volume that takes no other owner may still be written by this user, and the server says
            // what it cannot write.
            if let Err(error) = hand_over(directory, identity) {
                console.complain(format!("docker-entrypoint.sh: warning: {error}\n"));
            }
        }
    }
    Err(replacement.run(identity.as_ref()))
}

/// What is to be started: the server unless something else is asked for, and behind it what begins with a dash.
fn words(arguments: &[OsString]) -> Vec<OsString> {
    let is_option = |first: &OsString| first.as_encoded_bytes().starts_with(b"-");
    let mut words = arguments.to_vec();
    if words.first().is_none_or(is_option) {
        words.insert(0, SERVER.into());
    }
    words
}

fn is_of_rabbitmq(program: &OsStr) -> bool {
    program.as_encoded_bytes().starts_with(b"rabbitmq")
}

fn set_unless_set(replacement: &mut Replacement, name: &'static str, value: &str) {
    if std::env::var_os(name).is_none_or(|value| value.is_empty()) {
        replacement.set(name, value);
    }
}

fn user() -> Result<Identity, Failure> {
    let found = Accounts::of_system().and_then(|accounts| accounts.find(USER, (0, 0)));
    found.map_err(|why| Failure { text: format!("docker-entrypoint.sh: {why}"), code: 1 })
}

/// Whether everybody may write there, as in the image that leveret comes in. Where `/run` is a new file system it is not so.
fn is_for_all(directory: &Path) -> bool {
    fs::metadata(directory).is_ok_and(|found| found.is_dir() && found.mode() & 0o002 != 0)
}

/// Makes the directory, which is made if it is not there, and all in it this user's.
///
/// A link is handed over itself, not what it points to.
fn hand_over(directory: &Path, identity: &Identity) -> Result<(), String> {
    let named = |path: &Path, error: &io::Error| format!("{}: {}", path.display(), reason(error));
    fs::create_dir_all(directory).map_err(|error| named(directory, &error))?;
    let mut left = vec![directory.to_owned()];
    while let Some(path) = left.pop() {
        let metadata = fs::symlink_metadata(&path).map_err(|error| named(&path, &error))?;
        if metadata.uid() != identity.uid {
            lchown(&path, Some(identity.uid), None).map_err(|error| named(&path, &error))?;
        }
        if metadata.is_dir() {
            let entries = fs::read_dir(&path).map_err(|error| named(&path, &error))?;
            for entry in entries {
                left.push(entry.map_err(|error| named(&path, &error))?.path());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn of(arguments: &[&str]) -> Vec<String> {
        let arguments: Vec<_> = arguments.iter().map(OsString::from).collect();
        words(&arguments).into_iter().map(|word| word.into_string().unwrap()).collect()
    }

    #[test]
    fn the_server_is_started_unless_something_else_is_asked_for() {
        assert_eq!(of(&[]), ["rabbitmq-server"]);
        assert_eq!(of(&["--log", "debug"]), ["rabbitmq-server", "--log", "debug"]);
        assert_eq!(of(&["rabbitmq-server"]), ["rabbitmq-server"]);
        assert_eq!(of(&["bash", "-c", "ls"]), ["bash", "-c", "ls"]);
    }

    #[test]
    fn only_what_begins_with_its_name_is_run_as_rabbitmq() {
        for program in ["rabbitmq-server", "rabbitmqctl", "rabbitmq-plugins"] {
            assert!(is_of_rabbitmq(OsStr::new(program)), "{program}");
        }
        for program in ["bash", "/usr/bin/rabbitmqctl", "leveret", ""] {
            assert!(!is_of_rabbitmq(OsStr::new(program)), "{program}");
        }
    }

    #[test]
    fn all_in_a_volume_is_handed_over_and_nothing_outside() {
        let home = tempfile::tempdir().unwrap();
        let data = home.path().join("new/data");
        let owner = rustix::process::geteuid().as_raw();
        let is_root = owner == 0;
        // Only root gives something away.
        let uid = if is_root { 999 } else { owner };
        let identity = Identity { uid, gid: uid, groups: Vec::new(), home: "/".to_owned() };
        hand_over(&data, &identity).unwrap();
        fs::create_dir(data.join("deep")).unwrap();
        fs::write(data.join("deep/file"), "").unwrap();
        let outside = home.path().join("outside");
        fs::write(&outside, "").unwrap();
        symlink(&outside, data.join("link")).unwrap();
        hand_over(&data, &identity).unwrap();
        let owner_of = |path: &Path| fs::symlink_metadata(path).unwrap().uid();
        for name in ["", "deep", "deep/file", "link"] {
            assert_eq!(owner_of(&data.join(name)), uid, "{name}");
        }
        assert_eq!(owner_of(&outside), owner);
    }

    #[test]
    fn a_directory_for_all_is_left_as_it_is() {
        use std::os::unix::fs::PermissionsExt as _;

        let home = tempfile::tempdir().unwrap();
        assert!(!is_for_all(home.path()));
        assert!(!is_for_all(&home.path().join("absent")));
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o1777)).unwrap();
        assert!(is_for_all(home.path()));
    }

    #[test]
    fn a_volume_that_cannot_be_handed_over_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let identity = Identity { uid: 0, gid: 0, groups: Vec::new(), home: "/".to_owned() };
        let error = hand_over(&file.path().join("data"), &identity).unwrap_err();
        assert!(error.ends_with("/data: Not a directory"), "{error}");
    }
}
