//! Configurations as people have them, each a file of `tests/rabbit/cases` with what comes of it.
//!
//! A case has sections that begin with `---`: the mode, variables (`env`), files, and at the end what is expected.
//! `{dir}` is the directory of its files. With `LEVERET_WRITE_CASES=1` what came is written in the place of what was
//! expected, to be read before it is committed.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use leveret::config::{DefinitionsSource, TlsVersions};
use leveret::rabbit::{Environment, Importance, LogTarget, Mode, Settings, Sources};

#[test]
fn each_configuration_means_what_its_case_says() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rabbit/cases");
    let entries = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path());
    let mut cases: Vec<PathBuf> = entries.collect();
    cases.sort();
    assert!(cases.len() >= 40, "{} cases", cases.len());
    let mut wrong = Vec::new();
    for case in cases {
        let text = fs::read_to_string(&case).unwrap();
        let (given, expected) = text.split_once("--- expected\n").expect("a case has an end");
        let came = outcome(given);
        if came == expected {
            continue;
        }
        if std::env::var_os("LEVERET_WRITE_CASES").is_some() {
            fs::write(&case, format!("{given}--- expected\n{came}")).unwrap();
        }
        let name = case.file_name().unwrap().to_string_lossy().into_owned();
        wrong.push(format!("{name}: expected\n{expected}came\n{came}"));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What comes of a case, a line for each thing.
fn outcome(given: &str) -> String {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().to_str().unwrap();
    let mut sources = Sources::default();
    let mut variables = vec![("LEVERET_RABBITMQ_DIR".to_owned(), dir.to_owned())];
    for section in given.split("--- ").skip(1) {
        let (name, content) = section.split_once('\n').unwrap();
        let content = content.replace("{dir}", dir);
        match name.split_once(' ').unwrap_or((name, "")) {
            ("mode", mode) => {
                sources.mode = match mode {
                    "plain" => Mode::Plain,
                    "server" => Mode::Server,
                    "container" => Mode::Container,
                    _ => panic!("{mode} is no mode"),
                };
            }
            ("strict", _) => sources.strict = true,
            ("env", _) => {
                let pairs = content.lines().filter_map(|line| line.split_once('='));
                variables.extend(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
            }
            ("config", path) => sources.files.push(home.path().join(path)),
            ("file", path) => {
                let path = home.path().join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, content).unwrap();
            }
            _ => panic!("{name} is no section"),
        }
    }
    let environment: Environment = variables.into_iter().collect();
    let outcome = match Settings::load(&sources, &environment) {
        Ok(settings) => lines(&settings),
        Err(error) => format!("refused: {error}\n"),
    };
    // why: a machine without IPv6 listens on all interfaces of IPv4.
    outcome.replace(dir, "{dir}").replace("0.0.0.0:", "*:").replace("[::]:", "*:")
}

fn lines(settings: &Settings) -> String {
    let mut lines = String::new();
    let mut line = |name: &str, value: String| writeln!(lines, "{name} {value}").unwrap();
    settings.listen.iter().for_each(|address| line("listen", address.to_string()));
    settings.tls_listen.iter().for_each(|address| line("tls_listen", address.to_string()));
    if let Some(missing) = &settings.tls.missing {
        line("missing", missing.to_string());
    } else if settings.tls != Default::default() {
        let tls = &settings.tls;
        let path = |path: &Option<PathBuf>| match path {
            Some(path) => path.display().to_string(),
            None => "none".to_owned(),
        };
        let (certificate, key, ca) = (path(&tls.certificate), path(&tls.key), path(&tls.client_ca));
        let required = tls.require_client_certificate;
        line("tls", format!("{certificate} {key} ca={ca} required={required}"));
        if tls.versions != TlsVersions::Both {
            line("tls_versions", format!("{:?}", tls.versions));
        }
        if let Some(user_from) = tls.user_from {
            line("user_from", format!("{user_from:?}"));
        }
    }
    if let Some(address) = settings.management {
        let scheme = if settings.management_tls { "https" } else { "http" };
        line("management", format!("{scheme}://{address}"));
    }
    if let Some(users) = &settings.loopback_users {
        line("loopback_users", format!("{users:?}"));
    }
    if let Some(vhost) = &settings.first.vhost {
        line("vhost", vhost.clone());
    }
    if let Some(user) = &settings.first.user {
        let password = String::from_utf8_lossy(&user.password);
        line("user", format!("{} {password} {:?} {:?}", user.name, user.tags, user.permissions));
    }
    if let Some(name) = &settings.cluster_name {
        line("cluster_name", name.clone());
    }
    match &settings.definitions {
        Some(DefinitionsSource::File(path)) => line("definitions", path.display().to_string()),
        Some(DefinitionsSource::Json(json)) => {
            line("definitions", String::from_utf8_lossy(json).into_owned());
        }
        None => {}
    }
    let limits = settings.limits;
    for (name, value) in [
        ("max_connections", limits.max_connections.map(|it| it as u64)),
        ("memory_limit", limits.memory_limit),
        ("disk_free_limit", limits.disk_free_limit),
        ("channel_max", limits.channel_max.map(Into::into)),
        ("frame_max", limits.frame_max.map(Into::into)),
        ("heartbeat", limits.heartbeat_secs.map(Into::into)),
        ("handshake_timeout", limits.handshake_timeout.map(|it| it.as_millis() as u64)),
        ("consumer_timeout", limits.consumer_timeout.map(|it| it.as_millis() as u64)),
        ("max_message_size", limits.max_message_size),
        ("max_consumers_per_channel", limits.max_consumers_per_channel.map(|it| it as u64)),
    ] {
        if let Some(value) = value {
            line(name, value.to_string());
        }
    }
    if let Some(log) = &settings.log {
        line("log", log.clone());
    }
    match &settings.log_target {
        LogTarget::Stderr => {}
        LogTarget::Stdout => line("log_target", "standard output".to_owned()),
        LogTarget::File(path) => line("log_target", path.display().to_string()),
    }
    if let Some(node) = &settings.node {
        // why: the name of the machine is another one on each.
        if node.name.starts_with("rabbit@") && !node.data_dir.starts_with("/var/lib") {
            line("node", format!("{} {}", node.name, node.data_dir.display()));
        }
        line("plugins", format!("{:?}", node.plugins));
    }
    for notice in &settings.notices {
        match notice.importance {
            Importance::Warning => line("warning:", notice.text.clone()),
            Importance::Info | Importance::Debug => {}
        }
    }
    lines
}
