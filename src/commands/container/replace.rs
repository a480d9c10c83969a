//! The end of this program as the beginning of another one: `exec`, as another user where that is asked for.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use super::accounts::Identity;
use super::{Failure, reason};

/// A program that is to be run in the place of this one.
pub(super) struct Replacement {
    words: Vec<OsString>,
    variables: Vec<(&'static str, OsString)>,
}

impl Replacement {
    /// The program and its arguments.
    pub(super) fn new(words: &[OsString]) -> Self {
        Replacement { words: words.to_vec(), variables: Vec::new() }
    }

    /// With this variable of the environment.
    pub(super) fn set(&mut self, name: &'static str, value: impl Into<OsString>) {
        self.variables.push((name, value.into()));
    }

    /// Becomes the program, as this user if there is one. Comes back only if that is not possible.
    pub(super) fn run(&self, identity: Option<&Identity>) -> Failure {
        let Some((program, arguments)) = self.words.split_first() else {
            return Failure { text: "error: no program is given".to_owned(), code: 1 };
        };
        let mut command = Command::new(program);
        command.args(arguments).envs(self.variables.iter().map(|(name, value)| (name, value)));
        if let Some(identity) = identity
            && let Err(error) = become_user(identity, &mut command)
        {
            let text = format!("error: failed switching to {}: {}", identity.uid, reason(&error));
            return Failure { text, code: 1 };
        }
        let error = command.exec();
        let name = program.to_string_lossy();
        // The codes of a shell.
        let (text, code) = match error.kind() {
            io::ErrorKind::NotFound if name.contains('/') => {
                (format!("error: exec: \"{name}\": no such file or directory"), 127)
            }
            io::ErrorKind::NotFound => {
                (format!("error: exec: \"{name}\": executable file not found in $PATH"), 127)
            }
            _ => (format!("error: exec: \"{name}\": {}", reason(&error)), 126),
        };
        Failure { text, code }
    }
}

/// Gives up who this is, for good.
///
/// invariant: no other thread runs: these calls are about the calling thread, and the program that follows has that
/// one alone.
#[cfg(target_os = "linux")]
fn become_user(identity: &Identity, _command: &mut Command) -> io::Result<()> {
    use rustix::process::{Gid, Uid};
    use rustix::thread::{set_thread_gid, set_thread_groups, set_thread_uid};

    let groups: Vec<Gid> = identity.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    // why: who is not root keeps its groups, and may become itself.
    if rustix::process::geteuid().is_root() {
        set_thread_groups(&groups)?;
    }
    set_thread_gid(Gid::from_raw(identity.gid))?;
    set_thread_uid(Uid::from_raw(identity.uid))?;
    Ok(())
}

/// The same where a thread has no identity of its own: the groups besides are given up.
#[cfg(not(target_os = "linux"))]
fn become_user(identity: &Identity, command: &mut Command) -> io::Result<()> {
    command.gid(identity.gid).uid(identity.uid);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_started_is_named_with_the_code_of_a_shell() {
        let failure = |words: &[&str]| {
            let words: Vec<_> = words.iter().map(OsString::from).collect();
            let failure = Replacement::new(&words).run(None);
            (failure.text, failure.code)
        };
        assert_eq!(
            failure(&["no-such-program", "-x"]),
            (
                "error: exec: \"no-such-program\": executable file not found in $PATH".to_owned(),
                127
            )
        );
        assert_eq!(
            failure(&["/no/such"]),
            ("error: exec: \"/no/such\": no such file or directory".to_owned(), 127)
        );
        assert_eq!(failure(&["/"]), ("error: exec: \"/\": Permission denied".to_owned(), 126));
        assert_eq!(failure(&[]), ("error: no program is given".to_owned(), 1));
    }
}
