//! Users and groups, as `/etc/passwd` and `/etc/group` have them.

use std::fs;
use std::io;

/// Who a program is to be run as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// The groups besides.
    pub(super) groups: Vec<u32>,
    pub(super) home: String,
}

/// The two files, as far as they are there.
pub(super) struct Accounts {
    passwd: String,
    group: String,
}

/// The largest number of a user or group.
const LARGEST_ID: u32 = i32::MAX.cast_unsigned();

impl Accounts {
    /// Those of the system.
    ///
    /// # Errors
    /// When a file is there and cannot be read.
    pub(super) fn of_system() -> Result<Self, String> {
        Ok(Accounts { passwd: read("/etc/passwd")?, group: read("/etc/group")? })
    }

    /// The identity that is meant by `USER`, `USER:GROUP` or `:GROUP`: names, or numbers that need not be in a file.
    /// What is not said is as it is now.
    ///
    /// # Errors
    /// For a name that is in no file, and a number that is none.
    pub(super) fn find(&self, wanted: &str, now: (u32, u32)) -> Result<Identity, String> {
        let (user, group) = wanted.split_once(':').unwrap_or((wanted, ""));
        let number = number(user)?;
        let wanted_uid = if user.is_empty() { Some(now.0) } else { number };
        let row = rows(&self.passwd).find(|row| match wanted_uid {
            Some(uid) => row.get(2).is_some_and(|field| field.parse() == Ok(uid)),
            None => row.first() == Some(&user),
        });
        let mut identity =
            Identity { uid: now.0, gid: now.1, groups: Vec::new(), home: "/".to_owned() };
        match (&row, wanted_uid) {
            (Some(row), _) => {
                identity.uid = field(row, 2, "/etc/passwd")?;
                identity.gid = field(row, 3, "/etc/passwd")?;
                identity.home = row.get(5).map_or("/", |home| home).to_owned();
            }
            (None, Some(uid)) => identity.uid = uid,
            (None, None) => {
                return Err(format!(
                    "unable to find user {user}: no matching entries in passwd file"
                ));
            }
        }
        if !group.is_empty() {
            identity.gid = self.gid(group)?;
        } else if let Some(name) = row.and_then(|row| row.first().copied()) {
            identity.groups = self.groups_of(name);
        }
        Ok(identity)
    }

    fn gid(&self, group: &str) -> Result<u32, String> {
        if let Some(gid) = number(group)? {
            return Ok(gid);
        }
        match rows(&self.group).find(|row| row.first() == Some(&group)) {
            Some(row) => field(&row, 2, "/etc/group"),
            None => Err(format!("unable to find group {group}: no matching entries in group file")),
        }
    }

    /// The groups that name this user as a member.
    fn groups_of(&self, user: &str) -> Vec<u32> {
        let of = rows(&self.group).filter(|row| {
            row.get(3).is_some_and(|members| members.split(',').any(|it| it == user))
        });
        of.filter_map(|row| row.get(2)?.parse().ok()).collect()
    }
}

/// A file that is not there is one without lines: an image may have none.
fn read(path: &str) -> Result<String, String> {
    match fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(format!("{path}: {error}")),
    }
}

fn rows(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines().filter(|line| !line.starts_with('#')).map(|line| line.split(':').collect())
}

fn field(row: &[&str], index: usize, file: &str) -> Result<u32, String> {
    let value = row.get(index).and_then(|field| field.parse().ok());
    value.ok_or_else(|| format!("{file}: the line of {} has no number", row.join(":")))
}

/// The number that this is, if it is one.
fn number(text: &str) -> Result<Option<u32>, String> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    let number = text.parse().ok().filter(|number| *number <= LARGEST_ID);
    number.map(Some).ok_or_else(|| format!("uids and gids must be in range 0-{LARGEST_ID}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts() -> Accounts {
        let passwd = "root:x:0:0:root:/root:/bin/sh\n# nobody:x:1:1::/:\nrabbitmq:x:999:999::/var/lib/rabbitmq:\n\
                      broken:x:y:1::/:\n";
        let group =
            "root:x:0:\nrabbitmq:x:999:\nlogs:x:4:syslog,rabbitmq\ntls:x:101:rabbitmq\nempty\n";
        Accounts { passwd: passwd.to_owned(), group: group.to_owned() }
    }

    fn identity(uid: u32, gid: u32, groups: &[u32], home: &str) -> Identity {
        Identity { uid, gid, groups: groups.to_vec(), home: home.to_owned() }
    }

    #[test]
    fn a_user_has_its_groups_and_its_home() {
        let found = |wanted| accounts().find(wanted, (0, 7)).unwrap();
        let rabbitmq = identity(999, 999, &[4, 101], "/var/lib/rabbitmq");
        assert_eq!(found("rabbitmq"), rabbitmq);
        assert_eq!(found("rabbitmq:"), rabbitmq);
        assert_eq!(found("999"), rabbitmq);
        assert_eq!(found("rabbitmq:logs"), identity(999, 4, &[], "/var/lib/rabbitmq"));
        assert_eq!(found("rabbitmq:12"), identity(999, 12, &[], "/var/lib/rabbitmq"));
        assert_eq!(found("1234"), identity(1234, 7, &[], "/"));
        assert_eq!(found("1234:1"), identity(1234, 1, &[], "/"));
        assert_eq!(found(":logs"), identity(0, 4, &[], "/root"));
    }

    #[test]
    fn what_is_in_no_file_is_named() {
        let refused = |wanted| accounts().find(wanted, (0, 0)).unwrap_err();
        let user = "unable to find user eva: no matching entries in passwd file";
        assert_eq!(refused("eva"), user);
        assert_eq!(refused("eva:root"), user);
        assert_eq!(
            refused("root:eva"),
            "unable to find group eva: no matching entries in group file"
        );
        assert_eq!(refused("2147483648"), "uids and gids must be in range 0-2147483647");
        assert_eq!(refused("broken"), "/etc/passwd: the line of broken:x:y:1::/: has no number");
    }
}
