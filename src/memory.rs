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

/// The memory that this process may use, in bytes: the machine's, or what its control group lets
/// it have.
pub fn available() -> u64 {
    let read = |path: &str| fs::read_to_string(path).ok();
    let machine = read("/proc/meminfo").and_then(|text| total_of(&text)).unwrap_or(UNKNOWN);
    // In a container these are its own; the number of version 1 without a limit is larger than any
    // machine.
    let groups = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let limits = groups.iter().filter_map(|path| read(path)?.trim().parse::<u64>().ok());
    limits.fold(machine, u64::min)
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
}
