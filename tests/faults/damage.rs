//! Damage to a data directory: each kind of file removed, cut or changed, whole directories missing or exchanged. A
//! start and a check say it, nobody gets what was another's, and no door is opened.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use leveret_codec::Method;
use leveret_codec::method::{basic, confirm, queue};
use rustix::process::Signal;

use crate::support::client::{Client, PERSISTENT, short};
use crate::support::process::{Ended, Process, leveret};
use crate::support::{eventually, http};

const VHOSTS: [&str; 2] = ["/", "two"];
const MESSAGES: u32 = 240;
const BODY: usize = 50_000;
const ALL: &str = r#"{"configure": ".*", "write": ".*", "read": ".*"}"#;

/// A program on a data directory, and where it is.
struct Running {
    process: Process,
    amqp: SocketAddr,
    api: SocketAddr,
}

impl Running {
    fn start(data_dir: &Path, arguments: &[&str]) -> Result<Self, Ended> {
        let mut command = leveret(["--listen", "127.0.0.1:0", "--management", "127.0.0.1:0"]);
        command.args(["--memory-limit", "16MiB", "--data-dir"]).arg(data_dir).args(arguments);
        let (process, amqp) = Process::start(command).ready()?;
        let api = process
            .stdout()
            .lines()
            .find_map(|line| line.strip_prefix("leveret management on http://"))
            .and_then(|line| line.trim_end_matches("/api").parse().ok());
        Ok(Running { process, amqp, api: api.expect("it is said") })
    }

    fn put(&self, path: &str, body: &str) -> u16 {
        http::request(self.api, &format!("PUT /api/{path}"), "guest:guest", body).0
    }

    /// How many messages a queue has in a virtual host; none when either is not there.
    fn count(&self, vhost: &str, name: &str) -> Option<u32> {
        let mut client = enter(self.amqp, vhost)?;
        let passive = true;
        let declare = queue::Declare { queue: short(name), passive, ..Default::default() };
        let count = match client.call(1, &declare).method() {
            Method::QueueDeclareOk(ok) => Some(ok.message_count),
            _ => None,
        };
        // It is in the log otherwise that the client is gone.
        client.close();
        count
    }

    fn counts(&self) -> Vec<Option<u32>> {
        VHOSTS.iter().map(|vhost| self.count(vhost, "q")).collect()
    }

    /// How many messages can be fetched in each virtual host: those that are whole.
    fn fetched(&self) -> Vec<Option<u32>> {
        let fetch = |vhost: &&str| {
            let mut client = enter(self.amqp, vhost)?;
            let get = basic::Get { queue: short("q"), no_ack: true, ..Default::default() };
            let mut count = 0;
            loop {
                client.tell(1, &get).unwrap();
                let first = client.frame();
                if matches!(first.method(), Method::BasicGetEmpty(_)) {
                    break;
                }
                let delivery = client.rest_of_delivery(&first).unwrap().unwrap();
                assert!(delivery.body.iter().all(|octet| *octet == delivery.body[0]));
                count += 1;
            }
            client.close();
            Some(count)
        };
        VHOSTS.iter().map(fetch).collect()
    }

    /// Ends in order; its log.
    fn stop(self) -> String {
        self.process.signal(Signal::TERM);
        let Ended { status, stderr, .. } = self.process.wait();
        assert!(status.success(), "{stderr}");
        stderr
    }
}

/// An open channel of guest's in a virtual host, if guest may enter it.
fn enter(address: SocketAddr, vhost: &str) -> Option<Client> {
    let mut client = Client::silent(address);
    client.mechanisms();
    client.log_in("PLAIN", b"\0guest\0guest").ok()?;
    let opened = client.enter(vhost);
    matches!(opened.method(), Method::ConnectionOpenOk(_)).then_some(())?;
    client.open_channel(1);
    Some(client)
}

/// A data directory with messages in log and segments of two virtual hosts, and a user `app`; its broker was
/// stopped in order.
fn make(data_dir: &Path) {
    let running = Running::start(data_dir, &[]).unwrap_or_else(|ended| panic!("{}", ended.stderr));
    assert_eq!(running.put("vhosts/two", ""), 201);
    running.put("permissions/two/guest", ALL);
    assert_eq!(running.put("users/app", r#"{"password": "pw", "tags": ""}"#), 201);
    for vhost in VHOSTS {
        let mut client = enter(running.amqp, vhost).unwrap();
        client.declare("q", true);
        let selected = client.call(1, &confirm::Select::default());
        assert!(matches!(selected.method(), Method::ConfirmSelectOk(_)));
        let mut octets = Vec::new();
        for number in 0..MESSAGES {
            let body = vec![number as u8; BODY];
            client.encode_publish(&mut octets, 1, ("", "q"), PERSISTENT, &body);
        }
        client.send(&octets).unwrap();
        let mut confirmed = 0;
        while confirmed < u64::from(MESSAGES) {
            let Method::BasicAck(ack) = client.frame().method() else { panic!("no confirm") };
            confirmed = ack.delivery_tag;
        }
        let vhost_dir = data_dir.join(if vhost == "/" { "vhosts/0" } else { "vhosts/1" });
        eventually("some of it is in segments", || {
            files(&vhost_dir).iter().any(|path| path.extension().is_some_and(|it| it == "segment"))
        });
    }
    running.stop();
}

/// All files below a directory, in order.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        match entry.path() {
            path if path.is_dir() => found.append(&mut files(&path)),
            path => found.push(path),
        }
    }
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        match path.is_dir() {
            true => copy(&path, &target),
            false => drop(fs::copy(&path, &target).unwrap()),
        }
    }
}

fn remove(path: &Path) {
    match path.is_dir() {
        true => fs::remove_dir_all(path).unwrap(),
        false => fs::remove_file(path).unwrap(),
    }
}

/// The exit code of a check, and what it says.
fn check(data_dir: &Path) -> (i32, String) {
    let output = leveret(["check"]).arg(data_dir).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(said).unwrap())
}

/// What a start on a damaged directory did.
#[derive(Debug)]
enum Outcome {
    /// It went on, with so many messages in the queue of each virtual host.
    Started(Vec<Option<u32>>),
    Refused,
}

/// Damages a copy of a directory, checks it and starts on it. The check says what the start says.
fn try_damage(
    whole: &Path,
    arguments: &[&str],
    count: impl Fn(&Running) -> Vec<Option<u32>>,
    damage: impl FnOnce(&Path),
) -> (Outcome, String, String) {
    let home = tempfile::tempdir().unwrap();
    let data_dir = home.path().join("data");
    copy(whole, &data_dir);
    damage(&data_dir);
    let (code, checked) = check(&data_dir);
    let (outcome, log) = match Running::start(&data_dir, arguments) {
        Ok(running) => (Outcome::Started(count(&running)), running.stop()),
        Err(ended) => (Outcome::Refused, ended.stderr),
    };
    for text in [&log, &checked] {
        assert!(!text.contains("panicked") && !text.contains("please report"), "{text}");
    }
    let refused = matches!(outcome, Outcome::Refused);
    if arguments.is_empty() {
        assert_eq!(refused, checked.contains("a start would refuse"), "{log}\n{checked}");
    }
    // That a queue is not there is an error of this client's.
    let is_told = |line: &str| line.contains(" ERROR ") || line.contains(" WARN ");
    let told =
        log.lines().any(|line| is_told(line) && !line.contains("caused a channel exception"));
    assert_eq!(code == 0, !told && !refused, "{code}: {log}\n{checked}");
    (outcome, log, checked)
}

#[test]
fn damage_to_each_kind_of_file_is_told_by_a_start_and_by_a_check() {
    let home = tempfile::tempdir().unwrap();
    make(home.path());
    let all = files(home.path());
    let path_of = |name: &str| {
        let has_name = |path: &&PathBuf| path.to_str().unwrap().ends_with(name);
        // The first segment is one that the catalog names, the last log file is the one that grew.
        let path = match name {
            ".segment" => all.iter().find(has_name),
            _ => all.iter().rfind(has_name),
        };
        let path = path.unwrap_or_else(|| panic!("no {name}"));
        path.strip_prefix(home.path()).unwrap().to_owned()
    };
    let whole = vec![Some(MESSAGES); 2];
    for name in [
        "registry.json",
        "registry.copy",
        "registry.changes",
        "vhosts/1/owner",
        "vhosts/1/inventory",
        "vhosts/1/catalog",
        "vhosts/1/catalog.copy",
        ".log",
        ".segment",
    ] {
        let path = path_of(name);
        for kind in ["removed", "cut", "one bit"] {
            let (outcome, log, checked) =
                try_damage(home.path(), &[], Running::fetched, |data_dir| {
                    let path = data_dir.join(&path);
                    let mut content = fs::read(&path).unwrap();
                    let middle = content.len() / 2;
                    content[middle] ^= 1;
                    match kind {
                        "removed" => fs::remove_file(&path).unwrap(),
                        "cut" => fs::write(&path, &content[..middle]).unwrap(),
                        _ => fs::write(&path, &content).unwrap(),
                    }
                });
            let case = format!("{} {kind}: {outcome:?}\n{log}\n{checked}", path.display());
            match name {
                // What is in the changes is nowhere else.
                "registry.changes" if kind == "removed" => {
                    assert!(matches!(outcome, Outcome::Refused), "{case}");
                }
                "registry.changes" => {}
                ".log" | ".segment" => {
                    let Outcome::Started(fetched) = &outcome else { panic!("{case}") };
                    assert!(fetched.iter().all(|count| count.is_some_and(|it| it > 0)), "{case}");
                }
                // There are two, or it is no more than a note.
                _ => assert!(
                    matches!(&outcome, Outcome::Started(found) if *found == whole),
                    "{case}"
                ),
            }
            let shown = path.file_name().unwrap().to_str().unwrap();
            assert!(checked.contains(shown), "{case}");
        }
    }
}

#[test]
fn damage2_missing_and_exchanged_directories_are_told_and_nobody_gets_what_was_anothers() {
    let home = tempfile::tempdir().unwrap();
    make(home.path());
    let exchange = |data_dir: &Path| {
        let vhosts = data_dir.join("vhosts");
        for (from, to) in [("0", "x"), ("1", "0"), ("x", "1")] {
            fs::rename(vhosts.join(from), vhosts.join(to)).unwrap();
        }
    };
    let changed_hash = |data_dir: &Path| {
        for name in ["registry.json", "registry.copy"] {
            let text = fs::read_to_string(data_dir.join(name)).unwrap();
            let text = text.replacen("\"password_hash\": \"", "\"password_hash\": \"A", 1);
            fs::write(data_dir.join(name), text).unwrap();
        }
    };
    let both = |name: &'static str, content: &'static str| {
        move |data_dir: &Path| {
            for copy in ["json", "copy"] {
                fs::write(data_dir.join(format!("{name}.{copy}")), content).unwrap();
            }
        }
    };
    let remove_all = |paths: &'static [&'static str]| {
        move |data_dir: &Path| paths.iter().for_each(|path| remove(&data_dir.join(path)))
    };
    let last_log = |d: &Path| remove(&files(&d.join("vhosts/0/log")).pop().unwrap());
    let first_queue = |d: &Path| {
        let mut queues = fs::read_dir(d.join("vhosts/0/queues")).unwrap();
        remove(&queues.next().unwrap().unwrap().path());
    };
    let no_log = "missing, with all records in it";
    let unreadable = "registry.json in the data directory cannot be read";
    let registry = remove_all(&["registry.json", "registry.copy"]);
    let registry_and_changes = remove_all(&["registry.json", "registry.copy", "registry.changes"]);
    let catalogs = remove_all(&["vhosts/0/catalog", "vhosts/0/catalog.copy"]);
    /// What is done, whether it is refused, and what is said of it.
    type Case<'a> = (&'a dyn Fn(&Path), bool, &'a str);
    let cases: [Case<'_>; 13] = [
        (&remove_all(&["vhosts/1"]), false, "vhosts/1: missing, with all queues"),
        (&remove_all(&["vhosts"]), false, "vhosts/0: missing, with all queues"),
        (&remove_all(&["vhosts/0/log"]), false, no_log),
        (&last_log, false, no_log),
        (&remove_all(&["vhosts/0/queues"]), false, "missing"),
        (&first_queue, false, "missing"),
        (&exchange, true, "vhosts/0: is of virtual host \"two\""),
        (&registry, true, "are missing"),
        (&registry_and_changes, true, "vhosts/0, vhosts/1 are there"),
        (&both("registry", ""), true, unreadable),
        (&both("registry", "{}"), true, unreadable),
        (&changed_hash, true, "its checksum is wrong"),
        (&catalogs, true, "neither the catalog nor its copy"),
    ];
    for (number, (damage, refuses, words)) in cases.into_iter().enumerate() {
        let (outcome, log, checked) = try_damage(home.path(), &[], Running::counts, damage);
        let case = format!("case {number}, {words}: {outcome:?}\n{log}\n{checked}");
        assert_eq!(matches!(outcome, Outcome::Refused), refuses, "{case}");
        assert!(log.contains(words) && checked.contains(words), "{case}");
        if let Outcome::Started(counts) = outcome {
            assert!(counts.iter().flatten().all(|count| *count <= MESSAGES), "{case}");
        }
        if !refuses {
            continue;
        }
        // It goes on where that is accepted, and nobody has what was another's.
        let (outcome, log, _) =
            try_damage(home.path(), &["--accept-loss"], Running::counts, damage);
        let Outcome::Started(counts) = &outcome else { panic!("{case}\n{log}") };
        assert!(log.contains(" ERROR "), "{case}\n{log}");
        assert!(counts.iter().any(Option::is_none), "{case}\n{counts:?}\n{log}");
    }
}

#[test]
fn a_new_virtual_host_never_gets_the_messages_of_one_whose_registry_was_lost() {
    let home = tempfile::tempdir().unwrap();
    make(home.path());
    for name in ["registry.json", "registry.copy", "registry.changes"] {
        remove(&home.path().join(name));
    }
    let running = Running::start(home.path(), &["--accept-loss"]).ok().unwrap();
    for vhost in ["two", "three", "four"] {
        assert_eq!(running.put(&format!("vhosts/{vhost}"), ""), 201);
        assert_eq!(running.count(vhost, "q"), None);
    }
    assert_eq!(running.count("/", "q"), None);
    let log = running.stop();
    assert!(log.contains("vhosts/0 belongs to no virtual host; it is left alone"), "{log}");
    // And so it is the next time, without being told.
    let running = Running::start(home.path(), &[]).ok().unwrap();
    assert_eq!(running.count("two", "q"), None);
    assert!(files(&home.path().join("vhosts/0")).len() > 3, "what was there is left");
}

#[test]
fn vhosts_that_were_being_deleted_are_gone_after_the_next_start() {
    let home = tempfile::tempdir().unwrap();
    make(home.path());
    // What a broker leaves that is killed before it has removed the files.
    let directory = home.path().join("vhosts/1");
    let kept = tempfile::tempdir().unwrap();
    copy(&directory, kept.path());
    let running = Running::start(home.path(), &[]).ok().unwrap();
    let (status, _) = http::request(running.api, "DELETE /api/vhosts/two", "guest:guest", "");
    assert_eq!(status, 204);
    let [json, changes] =
        ["registry.json", "registry.changes"].map(|name| fs::read(home.path().join(name)).unwrap());
    running.stop();
    // The last change of the registry notes that the files are gone.
    fs::write(home.path().join("registry.json"), json).unwrap();
    fs::write(home.path().join("registry.changes"), &changes[..changes.len() - 1]).unwrap();
    copy(kept.path(), &directory);
    let (_, checked) = check(home.path());
    assert!(
        checked.contains("vhosts/1: is of a virtual host that was deleted; removed"),
        "{checked}"
    );
    let running = Running::start(home.path(), &[]).ok().unwrap();
    assert!(!directory.exists());
    assert_eq!(running.counts(), [Some(MESSAGES), None]);
    running.stop();
    let (code, checked) = check(home.path());
    assert_eq!(code, 0, "{checked}");
}

#[test]
fn a_virtual_host_that_the_registry_has_lost_is_not_taken_for_one_that_never_was() {
    let home = tempfile::tempdir().unwrap();
    make(home.path());
    // All changes since the registry was written whole: a virtual host, its permissions, a user.
    let whole = fs::read(home.path().join("registry.changes")).unwrap();
    let cut = |data_dir: &Path| {
        fs::write(data_dir.join("registry.changes"), &whole[..33]).unwrap();
    };
    let damaged = |data_dir: &Path| {
        let mut content = whole.clone();
        (44..content.len()).step_by(20).for_each(|at| content[at] ^= 1);
        fs::write(data_dir.join("registry.changes"), content).unwrap();
    };
    let words = "vhosts/1: is of virtual host \"two\", which is not in the registry";
    /// What is done, and what is said of it.
    type Case<'a> = (&'a dyn Fn(&Path), &'a str);
    let cases: [Case<'_>; 2] = [(&cut, words), (&damaged, "not whole after change 1")];
    for (damage, words) in cases {
        let (outcome, log, checked) = try_damage(home.path(), &[], Running::counts, damage);
        let case = format!("{words}: {outcome:?}\n{log}\n{checked}");
        assert!(matches!(outcome, Outcome::Refused), "{case}");
        assert!(log.contains(words) && checked.contains(words), "{case}");
        let arguments = ["--accept-loss"];
        let (outcome, ..) = try_damage(home.path(), &arguments, Running::counts, damage);
        let Outcome::Started(counts) = outcome else { panic!("{case}") };
        assert_eq!(counts, [Some(MESSAGES), None]);
    }
    // What was accepted once is not refused the next time.
    cut(home.path());
    Running::start(home.path(), &["--accept-loss"]).ok().unwrap().stop();
    let running = Running::start(home.path(), &[]).ok().unwrap();
    assert_eq!(running.counts(), [Some(MESSAGES), None]);
}

#[test]
fn a_directory_of_the_format_before_is_read_without_a_word() {
    let home = tempfile::tempdir().unwrap();
    make(home.path());
    let old = |data_dir: &Path| {
        remove(&data_dir.join("registry.copy"));
        for number in 0..2 {
            let directory = data_dir.join(format!("vhosts/{number}"));
            remove(&directory.join("owner"));
            remove(&directory.join("inventory"));
        }
        let path = data_dir.join("registry.json");
        let content = fs::read(&path).unwrap();
        let mut registry: serde_json::Value = serde_json::from_slice(&content).unwrap();
        let fields = registry.as_object_mut().unwrap();
        fields.retain(|name, _| !["checksum", "identity", "deleting"].contains(&name.as_str()));
        fields.insert("format".to_owned(), 2.into());
        fs::write(&path, serde_json::to_vec_pretty(&registry).unwrap()).unwrap();
    };
    let (outcome, log, checked) = try_damage(home.path(), &[], Running::fetched, old);
    let case = format!("{outcome:?}\n{log}\n{checked}");
    assert!(matches!(outcome, Outcome::Started(counts) if counts == [Some(MESSAGES); 2]), "{case}");
    assert!(!log.contains(" ERROR ") && !log.contains(" WARN "), "{case}");
    assert!(checked.contains("whole: a start would go on"), "{case}");
    // It is written anew, so that from then on it says what is missing.
    old(home.path());
    Running::start(home.path(), &[]).ok().unwrap().stop();
    for name in ["registry.copy", "vhosts/0/owner", "vhosts/1/owner", "vhosts/1/inventory"] {
        assert!(home.path().join(name).exists(), "{name}");
    }
    remove(&home.path().join("vhosts/1"));
    let (code, checked) = check(home.path());
    assert!(code == 1 && checked.contains("vhosts/1: missing"), "{checked}");
}

#[test]
fn nobody_else_reads_a_data_directory() {
    let home = tempfile::tempdir().unwrap();
    let data_dir = home.path().join("data");
    fs::create_dir(&data_dir).unwrap();
    fs::set_permissions(&data_dir, fs::Permissions::from_mode(0o755)).unwrap();
    let running = Running::start(&data_dir, &[]).ok().unwrap();
    running.put("vhosts/two", "");
    running.stop();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&data_dir), 0o700);
    assert_eq!(mode(&data_dir.join("vhosts/1")), 0o700);
    for path in files(&data_dir) {
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}
