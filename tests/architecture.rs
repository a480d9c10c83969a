//! Imports run one way: `codec ← broker ← leaves ← store ← handle ← vhosts ← {server, management,
//! cli, commands} ← lib ← main`.
//!
//! Every path that a source file names is looked at, in a `use` or in the middle of a line. A rule
//! that no file is subject to any more fails as well, and so does a file in no room.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms of `src`, a row for each rank. A room may import from those of the rows above, and from
/// none of its own row but itself. `main` has a rule of its own.
const RANKS: [&[&str]; 8] = [
    &["broker"],
    &[
        "active_listeners",
        "clock",
        "outbox",
        "log_buffer",
        "log_limit",
        "log_text",
        "auth",
        "config",
        "connection_slots",
        "control_socket",
        "memory",
        "node_name",
        "passwords",
        "shared_map",
        "supervisor",
        "uri",
        "write_timeout",
    ],
    &[
        "store",
        "definitions",
        "tls",
        "login_counts",
        "login_throttle",
        "perf",
        "rabbit",
        "operations",
    ],
    &["handle"],
    &["vhosts"],
    &["server", "management", "cli", "commands"],
    &["node"],
    &["lib"],
];

/// All that a pure crate or room may name from outside. Whatever is not here (`tokio`, `tracing`,
/// `parking_lot`, `std::fs`, `std::net`, `std::thread`, `std::time` …) it may not.
const PURE_STD: [&str; 19] = [
    "array",
    "borrow",
    "cmp",
    "collections",
    "convert",
    "error",
    "fmt",
    "hash",
    "iter",
    "marker",
    "mem",
    "num",
    "ops",
    "rc",
    "slice",
    "str",
    "sync::Arc",
    // why: a message is shared with the tasks that write it, and counts the queues that have it.
    "sync::atomic",
    "vec::IntoIter",
];
const BROKER_CRATES: [&str; 12] = [
    "leveret_codec",
    "hashbrown",
    "smallvec",
    "slab",
    "triomphe",
    "thiserror",
    "fastrand",
    "base64",
    "crc32fast",
    "regex",
    "roaring",
    "chacha20",
];
const CODEC_CRATES: [&str; 2] = ["nom", "thiserror"];

#[test]
fn every_file_is_in_a_room_and_every_room_has_a_file() {
    let rooms: BTreeSet<_> = sources("src").iter().map(|source| source.room.clone()).collect();
    let known = RANKS.concat().into_iter().chain(["main"]).map(str::to_owned);
    assert_eq!(rooms, known.collect());
}

#[test]
fn imports_run_one_way() {
    let mut seen = BTreeSet::new();
    for source in sources("src") {
        let Some(rank) = rank(&source.room) else { continue };
        for path in source.paths.iter().chain(&source.test_paths) {
            let Some(target) = source.room_of(path) else { continue };
            let allowed = target == source.room || self::rank(&target) < Some(rank);
            assert!(allowed, "{} names {}", source.file.display(), path.join("::"));
            seen.insert((source.room.clone(), target));
        }
    }
    for (from, to) in
        [("store", "broker"), ("handle", "broker"), ("server", "handle"), ("cli", "rabbit")]
    {
        assert!(seen.contains(&(from.to_owned(), to.to_owned())), "no arrow from {from} to {to}");
    }
}

/// A noun is a file directly below `src/broker`, together with the folder of its name. Those that refer to each
/// other do so by ids, which stand in a file of their own.
#[test]
fn no_circle_among_the_nouns() {
    let mut arrows: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in in_room("broker") {
        let Some(noun) = source.module.get(1).cloned() else { continue };
        let named = source.paths.iter().filter(|path| path[0] == "crate" && path[1] == "broker");
        let named = named.filter_map(|path| path.get(2).cloned()).filter(|named| *named != noun);
        arrows.entry(noun.clone()).or_default().extend(named);
    }
    assert!(arrows["vhost"].contains("ids") && arrows["queue"].contains("ids"));
    // What names nothing that is left is in no circle.
    while let Some(noun) =
        arrows.iter().find(|(_, named)| named.iter().all(|it| !arrows.contains_key(it)))
    {
        let noun = noun.0.clone();
        arrows.remove(&noun);
    }
    assert!(arrows.is_empty(), "in a circle, or behind one: {arrows:#?}");
}

#[test]
fn main_uses_the_public_api_alone() {
    let sources = sources("src");
    let main: Vec<_> = sources.iter().filter(|source| source.room == "main").collect();
    assert_eq!(main.len(), 1);
    assert!(main[0].paths.iter().any(|path| path[0] == "leveret"));
    for path in &main[0].paths {
        assert!(path[0] != "crate" && path[0] != "super", "main names {}", path.join("::"));
    }
}

#[test]
fn the_broker_does_no_io_and_reads_no_clock() {
    assert_pure(&in_room("broker"), &BROKER_CRATES);
}

#[test]
fn the_broker_draws_no_random_number() {
    let broker = in_room("broker");
    let drawn: Vec<_> = broker.iter().flat_map(|source| &source.paths).collect();
    let drawn: BTreeSet<_> =
        drawn.iter().filter(|path| path[0] == "fastrand").map(|path| path.join("::")).collect();
    let seeded = ["fastrand::Rng", "fastrand::Rng::with_seed"].map(str::to_owned);
    assert_eq!(drawn, BTreeSet::from(seeded));
}

#[test]
fn the_codec_is_pure_and_knows_two_packages() {
    assert_pure(&sources("codec/src"), &CODEC_CRATES);
    let manifest = read(&root().join("codec/Cargo.toml"));
    let dependencies: BTreeSet<_> = manifest
        .split("[dependencies]")
        .nth(1)
        .expect("the manifest has dependencies")
        .lines()
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split(['.', '=', ' ']).next())
        .filter(|name| !name.is_empty())
        .collect();
    assert_eq!(dependencies, BTreeSet::from(CODEC_CRATES));
    assert!(!manifest.contains("build-dependencies") && !manifest.contains("target."));
}

/// It measures other brokers as well, and must treat this one no differently.
#[test]
fn perf_knows_the_clock_and_nothing_of_the_broker() {
    let sources = in_room("perf");
    let named: BTreeSet<_> = sources
        .iter()
        .flat_map(|source| source.paths.iter().filter_map(|path| source.room_of(path)))
        .collect();
    assert_eq!(named, BTreeSet::from(["clock", "perf"].map(str::to_owned)));
}

#[test]
fn only_the_clock_reads_the_clock() {
    let mut readers = BTreeSet::new();
    for source in sources("src") {
        for path in &source.paths {
            let text = path.join("::");
            let reads = ["std::time::Instant", "std::time::SystemTime", "std::time::UNIX_EPOCH"]
                .iter()
                .any(|clock| text.starts_with(clock));
            if reads || text.starts_with("rustix::time") {
                readers.insert(source.room.clone());
            }
            // Heartbeats and timeouts of sockets are spans, and the business of who has sockets.
            let spans = text.starts_with("tokio::time");
            // So are lines of the log a second.
            let rooms = [
                "cli",
                "clock",
                "commands",
                "connection_slots",
                "log_limit",
                "management",
                "server",
                "write_timeout",
            ];
            let may = rooms.contains(&source.room.as_str());
            assert!(!spans || may, "{} names {text}", source.file.display());
        }
    }
    assert_eq!(readers, BTreeSet::from(["clock".to_owned()]));
}

#[test]
fn unsafe_is_in_its_room_alone() {
    let all: Vec<_> = ["src", "codec/src", "bench", "tests", "examples"].map(sources).concat();
    assert!(all.len() > 60, "{} files", all.len());
    let uses = |source: &Source| source.tokens.iter().filter(|token| *token == "unsafe").count();
    for source in all {
        assert_eq!(uses(&source), 0, "{} is unsafe", source.file.display());
    }
    assert_eq!(sources("allocator/src").iter().map(uses).sum::<usize>(), 1);
    let manifest = read(&root().join("Cargo.toml"));
    assert!(manifest.contains("unsafe_code = \"forbid\""));
}

#[test]
fn a_path_is_found_wherever_it_stands() {
    let source = Source::parse(
        "src/store/log.rs".into(),
        r##"
        //! use crate::ignored;
        use crate::{broker::time::Time, handle as other, store::{self, disk}};
        use super::{files, super::outbox};
        pub(crate) use self::inner::Deep;
        const TEXT: &str = "crate::no \" crate::still_no";
        const RAW: &str = r#"crate::nor " this"#;
        const QUOTE: char = '"'; /* crate::either /* nested */ crate::neither */
        fn f<'a>(x: &'a crate::server::Server) -> std::io::Result<()> { g::<crate::cli::X>() }
        mod tests { use super::*; use super::super::super::auth::User; }
        "##,
    );
    let all = source.paths.iter().chain(&source.test_paths);
    let rooms: BTreeSet<_> = all.filter_map(|path| source.room_of(path)).collect();
    let expected = ["auth", "broker", "cli", "handle", "outbox", "server", "store"];
    assert_eq!(rooms, BTreeSet::from(expected.map(str::to_owned)));
    assert!(source.paths.contains(&vec!["std".into(), "io".into(), "Result".into()]));
}

/// Which row a room is in.
fn rank(room: &str) -> Option<usize> {
    RANKS.iter().position(|row| row.contains(&room))
}

/// Fails when one of the files names something from outside that has an effect or a mood.
fn assert_pure(sources: &[Source], crates: &[&str]) {
    assert!(!sources.is_empty());
    let packages = packages();
    let mut used = BTreeSet::new();
    for source in sources {
        for path in &source.paths {
            let (root, rest) = (path[0].as_str(), path[1..].join("::"));
            let pure = match root {
                "std" => PURE_STD.iter().any(|module| rest.starts_with(module)),
                _ if packages.contains(root) => crates.contains(&root),
                _ => true,
            };
            assert!(pure, "{} names {root}::{rest}", source.file.display());
            used.insert(root.to_owned());
        }
    }
    for name in crates {
        assert!(used.contains(*name), "{name} is not used any more");
    }
}

/// What code can name from outside: the packages that the manifest lists, and the system's.
fn packages() -> BTreeSet<String> {
    let manifest = read(&root().join("Cargo.toml"));
    let sections = manifest.split("\n[").filter(|section| {
        ["dependencies]", "dev-dependencies]"].iter().any(|name| section.starts_with(name))
    });
    let listed = sections
        .flat_map(|section| section.lines().skip(1))
        .filter_map(|line| line.split(['.', '=', ' ']).next())
        .filter(|name| !name.is_empty() && !name.starts_with('#'))
        .map(|name| name.replace('-', "_"));
    let packages: BTreeSet<_> =
        listed.chain(["alloc", "core", "leveret", "nom"].map(str::to_owned)).collect();
    assert!(packages.contains("tokio") && packages.contains("lapin"));
    packages
}

fn in_room(room: &str) -> Vec<Source> {
    let found: Vec<_> = sources("src").into_iter().filter(|source| source.room == room).collect();
    assert!(!found.is_empty(), "no file in {room}");
    found
}

/// A source file, as far as the rules look at it.
#[derive(Clone)]
struct Source {
    file: PathBuf,
    /// The first part below `src`.
    room: String,
    /// The modules it lies in, the crate excluded.
    module: Vec<String>,
    tokens: Vec<String>,
    /// What it names, each path written out from its first part; `super` is resolved.
    paths: Vec<Vec<String>>,
    /// The same for its unit tests, which may use more.
    test_paths: Vec<Vec<String>>,
}

impl Source {
    fn parse(file: PathBuf, text: &str) -> Self {
        let below: Vec<_> = file.iter().skip_while(|part| *part != "src").skip(1).collect();
        let mut module: Vec<String> = below
            .iter()
            .map(|part| part.to_string_lossy().trim_end_matches(".rs").to_owned())
            .collect();
        let room = module.first().cloned().unwrap_or_default();
        if module.last().is_some_and(|last| last == "mod") || ["lib", "main"].contains(&&*room) {
            module.pop();
        }
        let mut source =
            Source { file, room, module, tokens: tokens(text), paths: vec![], test_paths: vec![] };
        source.find_paths();
        source
    }

    /// The room a path leads to, if it leads to one of this crate.
    fn room_of(&self, path: &[String]) -> Option<String> {
        let room = path.get(1)?;
        let is_room = rank(room).is_some();
        // What is named directly below the crate and is no room is an item of lib.rs.
        (path[0] == "crate").then(|| if is_room { room.clone() } else { "lib".to_owned() })
    }

    fn find_paths(&mut self) {
        let tokens = std::mem::take(&mut self.tokens);
        let mut inline: Vec<Option<String>> = Vec::new();
        let mut at = 0;
        while at < tokens.len() {
            match tokens[at].as_str() {
                "{" => {
                    let name = (at > 1 && tokens[at - 2] == "mod").then(|| tokens[at - 1].clone());
                    inline.push(name);
                }
                "}" => {
                    inline.pop();
                }
                "use" => {
                    let module = self.inside(&inline);
                    at = self.tree(&tokens, at + 1, &[], &module);
                    continue;
                }
                token if is_name(token) && tokens.get(at + 1).is_some_and(|it| it == "::") => {
                    let module = self.inside(&inline);
                    at = self.tree(&tokens, at, &[], &module);
                    continue;
                }
                _ => {}
            }
            at += 1;
        }
        self.tokens = tokens;
    }

    fn inside(&self, inline: &[Option<String>]) -> Vec<String> {
        self.module.iter().cloned().chain(inline.iter().flatten().cloned()).collect()
    }

    /// Reads a path, or a tree of them in braces, that goes on from `before`; says where it ends.
    fn tree(
        &mut self,
        tokens: &[String],
        mut at: usize,
        before: &[String],
        module: &[String],
    ) -> usize {
        let mut path = before.to_vec();
        loop {
            match tokens.get(at).map(String::as_str) {
                Some("::") => at += 1,
                Some("{") => {
                    at += 1;
                    while tokens.get(at).is_some_and(|token| token != "}") {
                        at = self.tree(tokens, at, &path, module);
                        if tokens.get(at).is_some_and(|token| token == ",") {
                            at += 1;
                        }
                    }
                    return at + 1;
                }
                Some(name) if is_name(name) || name == "*" => {
                    path.push(name.to_owned());
                    at += 1;
                    let goes_on = tokens.get(at).is_some_and(|token| token == "::")
                        && tokens.get(at + 1).is_some_and(|it| is_name(it) || "{*".contains(&**it));
                    if !goes_on {
                        break;
                    }
                }
                _ => {
                    at += 1;
                    break;
                }
            }
        }
        if tokens.get(at).is_some_and(|token| token == "as") {
            at += 2;
        }
        if path.is_empty() {
            return at;
        }
        let is_test = |part: &String| ["tests", "fixtures"].contains(&part.as_str());
        let resolved = resolved(&path, module);
        if module.iter().any(is_test) {
            self.test_paths.push(resolved);
        } else {
            self.paths.push(resolved);
        }
        at
    }
}

/// A path without `super` and `self` at its beginning.
fn resolved(path: &[String], module: &[String]) -> Vec<String> {
    let mut here = module.to_vec();
    let mut rest = path;
    let mut relative = false;
    while let Some(first) = rest.first() {
        match first.as_str() {
            "super" => {
                here.pop();
            }
            "self" if !relative && rest.len() > 1 => {}
            _ => break,
        }
        relative = true;
        rest = &rest[1..];
    }
    if !relative {
        return path.to_vec();
    }
    std::iter::once("crate".to_owned()).chain(here).chain(rest.iter().cloned()).collect()
}

fn is_name(token: &str) -> bool {
    token.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

/// Names, `::` and single other characters; comments, texts and lifetimes are left out.
fn tokens(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        let next = chars.get(at + 1).copied().unwrap_or(' ');
        match chars[at] {
            '/' if next == '/' => {
                at += chars[at..].iter().take_while(|it| **it != '\n').count();
            }
            '/' if next == '*' => at = after_block_comment(&chars, at),
            '"' => at = after_text(&chars, at),
            'r' if next == '"' || (next == '#' && is_raw_text(&chars[at + 1..])) => {
                at = after_raw_text(&chars, at + 1);
            }
            'b' if next == '"' => at = after_text(&chars, at + 1),
            '\'' => at = after_quote(&chars, at),
            first if first.is_alphanumeric() || first == '_' => {
                let name: String = chars[at..]
                    .iter()
                    .take_while(|it| it.is_alphanumeric() || **it == '_')
                    .collect();
                at += name.chars().count();
                tokens.push(name);
            }
            ':' if next == ':' => {
                tokens.push("::".to_owned());
                at += 2;
            }
            first => {
                if !first.is_whitespace() {
                    tokens.push(first.to_string());
                }
                at += 1;
            }
        }
    }
    tokens
}

fn after_block_comment(chars: &[char], mut at: usize) -> usize {
    let mut depth = 0;
    while at + 1 < chars.len() {
        match (chars[at], chars[at + 1]) {
            ('/', '*') => depth += 1,
            ('*', '/') => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            break;
        }
    }
    at
}

fn after_text(chars: &[char], at: usize) -> usize {
    let mut at = at + 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

fn is_raw_text(chars: &[char]) -> bool {
    chars.iter().find(|it| **it != '#') == Some(&'"')
}

fn after_raw_text(chars: &[char], at: usize) -> usize {
    let hashes = chars[at..].iter().take_while(|it| **it == '#').count();
    let mut at = at + hashes + 1;
    while at < chars.len() {
        let closes = chars[at] == '"'
            && chars[at + 1..].iter().take(hashes).filter(|it| **it == '#').count() == hashes;
        at += 1;
        if closes {
            return at + hashes;
        }
    }
    at
}

/// A character or, if it is none, a lifetime.
fn after_quote(chars: &[char], at: usize) -> usize {
    match (chars.get(at + 1), chars.get(at + 2)) {
        (Some('\\'), _) => {
            let end = chars[at + 3..].iter().position(|it| *it == '\'').unwrap_or(0);
            at + 3 + end + 1
        }
        (Some(_), Some('\'')) => at + 3,
        _ => {
            let name = |it: &&char| it.is_alphanumeric() || **it == '_';
            at + 1 + chars[at + 1..].iter().take_while(name).count()
        }
    }
}

fn sources(below: &str) -> Vec<Source> {
    let mut files = Vec::new();
    list(&root().join(below), &mut files);
    assert!(!files.is_empty(), "no file below {below}");
    let parse = |file: PathBuf| {
        let text = read(&file);
        let file = file.strip_prefix(root()).map(Path::to_owned).unwrap_or(file);
        Source::parse(file, &text)
    };
    files.into_iter().map(parse).collect()
}

fn list(directory: &Path, files: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(directory).expect("the directory can be read");
    let mut paths: Vec<_> =
        entries.map(|entry| entry.expect("the entry can be read").path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            list(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).expect("the file can be read")
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
