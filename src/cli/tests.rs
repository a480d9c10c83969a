//! Options as they are typed, and what comes of each.

use std::time::Duration;

use super::*;
use crate::config::{Pem, UserFrom};

fn parse(arguments: &[&str]) -> Result<Options, Refusal> {
    Options::parse_from(["leveret"].iter().chain(arguments))
}

#[test]
fn the_definition_is_sound() {
    Arguments::command().debug_assert();
}

#[test]
fn without_options_it_is_durable_and_local() {
    assert_eq!(
        parse(&[]).unwrap(),
        Options {
            task: Task::Serve,
            limits: Limits {
                max_connections: None,
                memory_limit: None,
                disk_free_limit: 50_000_000,
                log_file_size: 64 << 20,
                channel_max: 2047,
                frame_max: 131_072,
                heartbeat_secs: 60,
                handshake_timeout: Duration::from_secs(10),
                send_timeout: Duration::from_secs(30),
                consumer_timeout: Duration::from_secs(1800),
                max_message_size: 134_217_728,
                max_consumers_per_channel: 100_000,
                max_arguments_size: 131_072,
            },
            definitions: None,
            first: FirstObjects::default(),
            cluster_name: None,
            node: None,
            control_socket: None,
            accept_loss: false,
            listen: vec!["127.0.0.1:5672".parse().unwrap()],
            tls_listen: Vec::new(),
            tls: None,
            loopback_users: vec!["guest".to_owned()],
            management: None,
            management_tls: false,
            storage: Storage::Directory("./leveret-data".into()),
            log: "info".to_owned(),
            log_target: LogTarget::Stderr,
            notices: Vec::new(),
        }
    );
}

#[test]
fn every_option_is_taken() {
    let options = parse(&[
        "--listen",
        "127.0.0.1:0",
        "--listen",
        "[::1]:5673,0.0.0.0:1",
        "--management",
        "127.0.0.1:15672",
        "--in-memory",
        "--max-message-size",
        "1000",
        "--memory-limit",
        "256MiB",
        "--max-consumers-per-channel",
        "7",
        "--max-arguments-size",
        "500",
        "--max-connections",
        "100",
        "--channel-max",
        "10",
        "--frame-max",
        "8192",
        "--heartbeat",
        "0",
        "--handshake-timeout",
        "1500",
        "--send-timeout",
        "2500",
        "--consumer-timeout",
        "0",
        "--disk-free-limit",
        "1GB",
        "--log-file-size",
        "16MiB",
        "--definitions",
        "topology.json",
        "--accept-loss",
        "--loopback-users",
        "guest,test",
        "--tls-listen",
        "127.0.0.1:5671",
        "--tls-cert",
        "server.pem",
        "--tls-key",
        "server.key",
        "--tls-ca",
        "clients.pem",
        "--tls-require-client-cert",
        "--management-tls",
        "--tls-user-from",
        "common-name",
        "--log",
        "warn,leveret=trace",
    ]);
    let addresses = ["127.0.0.1:0", "[::1]:5673", "0.0.0.0:1"];
    let tls = Tls::new(Pem::file("server.pem"), Pem::file("server.key"))
        .client_ca(Pem::file("clients.pem"))
        .require_client_certificate()
        .user_from(UserFrom::CommonName);
    assert_eq!(
        options.unwrap(),
        Options {
            task: Task::Serve,
            limits: Limits {
                max_connections: Some(100),
                memory_limit: Some(256 << 20),
                disk_free_limit: 1_000_000_000,
                log_file_size: 16 << 20,
                channel_max: 10,
                frame_max: 8192,
                heartbeat_secs: 0,
                handshake_timeout: Duration::from_millis(1500),
                send_timeout: Duration::from_millis(2500),
                consumer_timeout: Duration::ZERO,
                max_message_size: 1000,
                max_consumers_per_channel: 7,
                max_arguments_size: 500,
            },
            definitions: Some(DefinitionsSource::File("topology.json".into())),
            first: FirstObjects::default(),
            cluster_name: None,
            node: None,
            control_socket: None,
            accept_loss: true,
            listen: addresses.iter().map(|address| address.parse().unwrap()).collect(),
            tls_listen: vec!["127.0.0.1:5671".parse().unwrap()],
            tls: Some(tls),
            loopback_users: vec!["guest".to_owned(), "test".to_owned()],
            management: Some("127.0.0.1:15672".parse().unwrap()),
            management_tls: true,
            storage: Storage::Memory,
            log: "warn,leveret=trace".to_owned(),
            log_target: LogTarget::Stderr,
            notices: Vec::new(),
        }
    );
    let options = parse(&["--data-dir", "/var/lib/leveret"]).unwrap();
    assert_eq!(options.storage, Storage::Directory("/var/lib/leveret".into()));
    let options = parse(&["definitions", "export", "--data-dir", "d"]).unwrap();
    assert_eq!(
        (options.task, options.storage),
        (Task::ExportDefinitions, Storage::Directory("d".into()))
    );
    let options = parse(&["check", "d"]).unwrap();
    assert_eq!((options.task, options.storage), (Task::Check, Storage::Directory("d".into())));
    for given in [&["export", "d"][..], &["definitions", "export", "d"]] {
        let options = parse(given).unwrap();
        let expected = (Task::ExportDefinitions, Storage::Directory("d".into()));
        assert_eq!((options.task, options.storage), expected, "{given:?}");
    }
    let options = parse(&["check", "--data-dir", "d"]).unwrap();
    assert_eq!((options.task, options.storage), (Task::Check, Storage::Directory("d".into())));
    for (given, storage) in [
        ("--in-memory", Storage::Memory),
        ("--in-memory=true", Storage::Memory),
        ("--in-memory=1", Storage::Memory),
        ("--in-memory=false", Storage::Directory("./leveret-data".into())),
        ("--in-memory=no", Storage::Directory("./leveret-data".into())),
    ] {
        assert_eq!(parse(&[given]).unwrap().storage, storage, "{given}");
    }
    let options = parse(&["--frame-max", "64KiB", "--max-message-size", "1MB"]).unwrap();
    assert_eq!(options.limits.frame_max, 65_536);
    assert_eq!(options.limits.max_message_size, 1_000_000);
    let options = parse(&["--max-arguments-size", "1k", "--log", "warning"]).unwrap();
    assert_eq!((options.limits.max_arguments_size, &*options.log), (1024, "warn"));
    let options = parse(&["--loopback-users", "none"]).unwrap();
    assert!(options.loopback_users.is_empty());
}

#[test]
fn with_tls_alone_there_is_no_address_without() {
    let tls = ["--tls-listen", "[::1]:0", "--tls-cert", "c", "--tls-key", "k"];
    let options = parse(&tls).unwrap();
    assert_eq!(options.listen, []);
    let options = parse(&[&["--listen", "[::1]:0"], &tls[..]].concat()).unwrap();
    assert_eq!(options.listen, options.tls_listen);
    let management = ["--management", "[::1]:0", "--management-tls"];
    let options = parse(&[&management, &tls[2..]].concat()).unwrap();
    assert_eq!((options.listen, options.tls_listen), (vec![DEFAULT_LISTEN], Vec::new()));
    assert!(options.tls.is_some());
}

#[test]
fn what_tls_lacks_is_named() {
    for (given, named) in [
        (&["--tls-cert", "c", "--tls-key", "k"][..], "--tls-cert needs --tls-listen"),
        (&["--tls-require-client-cert"], "--tls-require-client-cert needs --tls-listen"),
        (&["--tls-listen", "[::1]:0"], "--tls-listen needs --tls-cert and --tls-key"),
        (&["--management-tls"], "--management-tls needs --management"),
        (
            &["--management", "[::1]:0", "--management-tls"],
            "--management-tls needs --tls-cert and --tls-key",
        ),
        (&["--tls-listen", "[::1]:0", "--tls-cert", "c"], "--tls-listen needs --tls-cert"),
    ] {
        let error = parse(given).unwrap_err();
        assert!(error.to_string().contains(named), "{error}");
        assert_eq!(error.exit_code(), 2);
    }
    let tls = ["--tls-listen", "[::1]:0", "--tls-cert", "c", "--tls-key", "k"];
    for given in [&["--tls-require-client-cert"][..], &["--tls-user-from", "cn"]] {
        let error = parse(&[&tls, given].concat()).unwrap_err();
        assert!(error.to_string().contains(&format!("{} needs --tls-ca", given[0])), "{error}");
    }
}

#[test]
fn what_is_wrong_is_refused_with_code_2() {
    for wrong in [
        &["--listen", "localhost"][..],
        &["--listen", "127.0.0.1"],
        &["--management", "localhost"],
        &["--max-message-size", "0"],
        &["--memory-limit", "lots"],
        &["--memory-limit", "1MiB"],
        &["--max-connections", "many"],
        &["--max-connections", "0"],
        &["--max-consumers-per-channel", "0"],
        &["--max-arguments-size", "0"],
        &["--in-memory=perhaps"],
        &["--channel-max", "0"],
        &["--channel-max", "65536"],
        &["--frame-max", "4095"],
        &["--frame-max", "16777217"],
        &["--heartbeat", "65536"],
        &["--handshake-timeout", "0"],
        &["--log", "leveret=loud"],
        &["--data-dir", "d", "--in-memory"],
        &["--tls-user-from", "email"],
        &["--port", "5672"],
        &["start"],
    ] {
        assert_eq!(parse(wrong).unwrap_err().exit_code(), 2, "{wrong:?}");
    }
    assert_eq!(parse(&["--help"]).unwrap_err().exit_code(), 0);
    assert_eq!(parse(&["--version"]).unwrap_err().exit_code(), 0);
}

#[test]
fn what_was_typed_beats_the_environment() {
    use Rank::{CommandLine, Default, Environment};
    let directory = || Some(Storage::Directory("d".into()));
    for (in_memory, data_dir, chosen) in [
        (None, Default, directory()),
        (None, Environment, directory()),
        (Some(Environment), Default, Some(Storage::Memory)),
        (Some(CommandLine), Environment, Some(Storage::Memory)),
        (Some(Environment), CommandLine, directory()),
        (Some(Environment), Environment, None),
        (Some(CommandLine), CommandLine, None),
    ] {
        let storage = storage(in_memory, data_dir, "d".into()).ok();
        assert_eq!(storage, chosen, "{in_memory:?} {data_dir:?}");
    }
}
