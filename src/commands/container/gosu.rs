//! `gosu USER[:GROUP] PROGRAM …`: runs a program as another user, in the place of this one, so that signals reach it.

use std::ffi::OsString;

use super::accounts::Accounts;
use super::replace::Replacement;
use super::{Console, Failure};

const USAGE: &str = "\
Usage: gosu user-spec command [args]
   eg: gosu rabbitmq bash
       gosu nobody:root bash -c 'whoami && id'
       gosu 1000:1 id
";

/// Comes back when something is wrong, and after what only tells.
pub(super) fn run(arguments: &[OsString], console: &mut Console<'_>) -> Result<(), Failure> {
    let first = arguments.first().map(|first| first.to_string_lossy());
    match first.as_deref() {
        Some("--help" | "-h" | "-?") => {
            console.print(USAGE);
            return Ok(());
        }
        Some("--version" | "-v") => {
            console.print(format!("gosu of leveret {}\n", env!("CARGO_PKG_VERSION")));
            return Ok(());
        }
        _ => {}
    }
    let (Some(wanted), Some(words)) = (first, arguments.get(1..).filter(|it| !it.is_empty()))
    else {
        return Err(Failure { text: USAGE.trim_end().to_owned(), code: 1 });
    };
    let now = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let identity = Accounts::of_system().and_then(|accounts| accounts.find(&wanted, now));
    let identity = identity.map_err(|why| {
        let text = format!("error: failed switching to \"{wanted}\": {why}");
        Failure { text, code: 1 }
    })?;
    let mut replacement = Replacement::new(words);
    replacement.set("HOME", &identity.home);
    Err(replacement.run(Some(&identity)))
}

#[cfg(test)]
mod tests {
    use super::super::testing::Run;

    fn gosu(arguments: &[&str]) -> Run {
        Run::of("gosu", arguments)
    }

    #[test]
    fn a_user_and_a_program_are_needed() {
        for arguments in [&[][..], &["rabbitmq"]] {
            let run = gosu(arguments);
            assert_eq!((run.code, run.output.as_str()), (1, ""));
            assert!(run.error.starts_with("Usage: gosu user-spec command [args]\n"), "{run:?}");
        }
        assert!(gosu(&["--help"]).output.starts_with("Usage: gosu"));
        assert_eq!(gosu(&["--version"]).code, 0);
    }

    #[test]
    fn a_user_that_is_not_there_is_named() {
        let run = gosu(&["no-such-user", "true"]);
        let line = "error: failed switching to \"no-such-user\": unable to find user no-such-user: no matching \
                    entries in passwd file\n";
        assert_eq!((run.code, run.error.as_str()), (1, line));
    }
}
