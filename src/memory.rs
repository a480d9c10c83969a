//! How much memory there is, and sizes as people write them.

use std::fs;

/// The share of the machine's memory that messages may take by default, in percent.
///
/// rabbitmq: `vm_memory_high_watermark` 0.4, counted by the memory of the whole process.
pub const DEFAULT_PERCENT: u64 = 40;

/// The least that makes sense as a limit, in bytes: of less, what waits in memory between the disk
/// and the clients would have too small a part.
pub const LEAST_LIMIT: u64 = 16 * 1024 * 1024;

/// What is assumed where the system does not say how much memory it has, in bytes.
const UNKNOWN: u64 = 2 * 1024 * 1024 * 1024;

/// The memory that this process may use, in bytes: the machine's, or what its control groups let it have.
pub fn available() -> u64 {
    available_by(|path| fs::read_to_string(path).ok())
}

/// The same by what files say.
fn available_by(read: impl Fn(&str) -> Option<String>) -> u64 {
    let machine = read("/proc/meminfo").and_then(|text| total_of(&text)).unwrap_or(UNKNOWN);
    let own = read("/proc/self/cgroup").unwrap_or_default();
    let mounts = read("/proc/self/mountinfo").unwrap_or_default();
    let limits = mounts.lines().filter_map(|line| {
        let mount = Mount::parse(line)?;
        mount.least_limit(&mount.hierarchy.own_group(&own)?, &read)
    });
    limits.fold(machine, u64::min)
}

/// One of the two kinds of trees of control groups that limit memory. A machine may have both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hierarchy {
    /// Version 1, the one for memory.
    Memory,
    /// Version 2, for everything.
    Unified,
}

impl Hierarchy {
    /// The group of this process, by its `/proc/self/cgroup`: `4:memory:/a/b` or `0::/a/b`.
    fn own_group(self, own: &str) -> Option<String> {
        own.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':');
            let (number, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
            let is_it = match self {
                Hierarchy::Memory => controllers.split(',').any(|it| it == "memory"),
                Hierarchy::Unified => number == "0" && controllers.is_empty(),
            };
            is_it.then(|| path.to_owned())
        })
    }

    /// The file of a group with its limit.
    ///
    /// why: not `memory.high`, above which a process is slowed down and not ended. Without a limit version 2
    /// says `max`, and version 1 a number that is larger than any machine.
    fn file(self) -> &'static str {
        match self {
            Hierarchy::Memory => "memory.limit_in_bytes",
            Hierarchy::Unified => "memory.max",
        }
    }
}

/// Where a tree of control groups can be looked at.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    hierarchy: Hierarchy,
    /// Which group of the tree is at the directory.
    root: String,
    directory: String,
}

impl Mount {
    /// A line of `/proc/self/mountinfo`: after two ids and the device come root and directory, and after ` - `
    /// the kind, the source and the options.
    fn parse(line: &str) -> Option<Self> {
        let (place, kind) = line.split_once(" - ")?;
        let mut kind = kind.split(' ');
        let hierarchy = match (kind.next()?, kind.nth(1)) {
            ("cgroup2", _) => Hierarchy::Unified,
            ("cgroup", Some(options)) if options.split(',').any(|it| it == "memory") => {
                Hierarchy::Memory
            }
            _ => return None,
        };
        let mut place = place.split(' ').skip(3);
        let (root, directory) = (unescaped(place.next()?), unescaped(place.next()?));
        Some(Mount { hierarchy, root, directory })
    }

    /// The least limit of a group and all those that it is in, as far as they can be seen.
    fn least_limit(&self, group: &str, read: impl Fn(&str) -> Option<String>) -> Option<u64> {
        let file = self.hierarchy.file();
        // why: in a container without a tree of its own the directory is that of its own group.
        let below = group.strip_prefix(self.root.trim_end_matches('/')).unwrap_or_default();
        // why: a group outside of what can be seen is written with `..`.
        let below = if below.split('/').any(|part| part == "..") { "" } else { below };
        let mut path = format!("{}{}", self.directory.trim_end_matches('/'), below);
        let mut least = None;
        loop {
            let path_of_limit = format!("{}/{file}", path.trim_end_matches('/'));
            let limit = read(&path_of_limit).and_then(|text| text.trim().parse::<u64>().ok());
            least = least.into_iter().chain(limit).min();
            match path.rfind('/') {
                Some(end) if end >= self.directory.trim_end_matches('/').len() => {
                    path.truncate(end);
                }
                _ => return least,
            }
        }
    }
}

/// A path as it is: in `mountinfo` a space is `\040`.
fn unescaped(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut path = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match digits {
            Some(byte) if byte.is_ascii() => {
                path.push(char::from(byte));
                path.push_str(&part[3..]);
            }
            _ => {
                path.push('\\');
                path.push_str(part);
            }
        }
    }
    path
}

/// The default limit, in bytes.
pub fn default_limit() -> u64 {
    share_of(available(), DEFAULT_PERCENT)
}

/// So many percent of an amount.
pub fn share_of(bytes: u64, percent: u64) -> u64 {
    bytes / 100 * percent
}

fn total_of(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// A size as a number of bytes with or without a unit, such as `256MiB`, or a share such as `40%` of
/// `whole`.
///
/// rabbitmq: `k`, `M`, `G` are powers of 1024 as `KiB`, `MiB`, `GiB` are; `kB`, `MB`, `GB` are powers
/// of 1000.
pub fn parse_size(text: &str, whole: impl FnOnce() -> u64) -> Result<u64, String> {
    let wrong = || "a size is expected, such as 256MiB, 2GB or 40%".to_owned();
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let factor: u64 = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        "%" if (1..=100).contains(&number) => return Ok(share_of(whole(), number)),
        "%" => return Err("a share is between 1% and 100%".to_owned()),
        _ => return Err(wrong()),
    };
    number.checked_mul(factor).ok_or_else(|| "that is more than there can be".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        let parse = |text| parse_size(text, || 1000);
        for (text, bytes) in [
            ("1", 1),
            ("256MiB", 256 << 20),
            ("256m", 256 << 20),
            ("2 GB", 2_000_000_000),
            ("1k", 1024),
            ("1kB", 1000),
            ("40%", 400),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
        for wrong in ["", "MiB", "-1", "1.5G", "1 parsec", "0%", "101%", "99999999999T"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_machine_says_how_much_memory_it_has() {
        assert_eq!(total_of("MemFree: 1 kB\nMemTotal:       24683412 kB\n"), Some(25_275_813_888));
        assert_eq!(total_of("nothing"), None);
        assert!(available() > LEAST_LIMIT);
        assert!(default_limit() < available());
    }

    const GIB: u64 = 1 << 30;

    /// What is available where these files are there, each `path: content` beside 16 GiB of memory.
    fn available_with(files: &[(&str, &str)]) -> u64 {
        available_by(|path| match path {
            "/proc/meminfo" => Some("MemTotal: 16777216 kB\n".to_owned()),
            _ => {
                files.iter().find(|(name, _)| *name == path).map(|(_, content)| content.to_string())
            }
        })
    }

    const UNIFIED: (&str, &str) = (
        "/proc/self/mountinfo",
        "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n",
    );

    #[test]
    fn without_groups_it_is_the_machine() {
        assert_eq!(available_with(&[]), 16 * GIB);
        let own = ("/proc/self/cgroup", "0::/\n");
        assert_eq!(available_with(&[own, UNIFIED]), 16 * GIB);
        let max = ("/sys/fs/cgroup/memory.max", "max\n");
        assert_eq!(available_with(&[own, UNIFIED, max]), 16 * GIB);
    }

    #[test]
    fn the_least_limit_of_all_groups_that_hold_the_process_counts() {
        let own = ("/proc/self/cgroup", "0::/system.slice/leveret.service\n");
        let service = "/sys/fs/cgroup/system.slice/leveret.service/memory.max";
        let slice = ("/sys/fs/cgroup/system.slice/memory.max", "4294967296\n");
        for (limit, available) in
            [("2147483648", 2 * GIB), ("max", 4 * GIB), ("99999999999", 4 * GIB)]
        {
            assert_eq!(
                available_with(&[own, UNIFIED, (service, limit), slice]),
                available,
                "{limit}"
            );
        }
        // It is slowed down above this, and not ended.
        let high = ("/sys/fs/cgroup/system.slice/leveret.service/memory.high", "1024");
        assert_eq!(available_with(&[own, UNIFIED, slice, high]), 4 * GIB);
        // Others' groups are others'.
        let other = ("/sys/fs/cgroup/system.slice/other.service/memory.max", "1024");
        assert_eq!(available_with(&[own, UNIFIED, slice, other]), 4 * GIB);
        let root = ("/sys/fs/cgroup/memory.max", "1073741824");
        assert_eq!(available_with(&[own, UNIFIED, slice, root]), GIB);
    }

    #[test]
    fn version_1_has_a_tree_for_memory() {
        let own = "9:name=systemd:/\n4:cpu,memory:/a/b\n1:cpu:/c\n0::/\n";
        let mounts = "35 31 0:32 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n\
                      32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let files = [("/proc/self/cgroup", own), ("/proc/self/mountinfo", mounts)];
        let limits = [
            ("/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "9223372036854771712\n"),
            ("/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "3221225472\n"),
            ("/sys/fs/cgroup/memory/c/memory.limit_in_bytes", "1024\n"),
            ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ];
        assert_eq!(available_with(&[&files[..], &limits].concat()), 3 * GIB);
    }

    #[test]
    fn in_a_container_its_own_group_may_be_all_that_is_seen() {
        // With a tree of its own, and a process that was moved out of it.
        let limit = ("/sys/fs/cgroup/memory.max", "1073741824");
        for own in ["0::/\n", "0::/../other\n"] {
            assert_eq!(available_with(&[("/proc/self/cgroup", own), UNIFIED, limit]), GIB, "{own}");
        }
        // Without one, the directory shows a part of the machine's tree.
        let own = ("/proc/self/cgroup", "0::/docker/12ab/inner\n");
        let mounts =
            ("/proc/self/mountinfo", "9 8 0:1 /docker/12ab /a\\040dir rw - cgroup2 cgroup rw\n");
        let inner = ("/a dir/inner/memory.max", "2147483648");
        let outer = ("/a dir/memory.max", "3221225472");
        assert_eq!(available_with(&[own, mounts, inner, outer]), 2 * GIB);
        assert_eq!(available_with(&[own, mounts, outer]), 3 * GIB);
    }
}
