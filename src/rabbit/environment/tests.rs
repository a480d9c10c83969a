//! Variables, and what comes of each.

use super::*;

fn environment(variables: &[(&str, &str)]) -> Environment {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// The entries of these variables, and what is said of them.
fn read(variables: &[(&str, &str)]) -> Vec<String> {
    let environment = environment(variables);
    let mut notices = Vec::new();
    let entries = environment.entries(&mut notices).unwrap();
    environment.note_names(&mut notices);
    let shown = entries.iter().map(|entry| format!("{}={}", entry.key, entry.value));
    shown.chain(notices.into_iter().map(|notice| notice.text)).collect()
}

#[test]
fn variables_are_keys() {
    for (variables, expected) in [
        (
            &[("RABBITMQ_DEFAULT_USER", "u"), ("RABBITMQ_DEFAULT_PASS", "p")][..],
            &["default_user=u", "default_pass=p"][..],
        ),
        (
            &[("RABBITMQ_USERNAME", "u"), ("RABBITMQ_PASSWORD", "p"), ("RABBITMQ_VHOST", "v")],
            &["default_user=u", "default_pass=p", "default_vhost=v"],
        ),
        (
            &[("RABBITMQ_DEFAULT_USER", "one"), ("RABBITMQ_USERNAME", "other")],
            &["default_user=one"],
        ),
        (&[("RABBITMQ_NODE_PORT", "5673")], &["listeners.tcp.default=5673"]),
        (
            &[("RABBITMQ_NODE_PORT", "5673"), ("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")],
            &["listeners.tcp.default=127.0.0.1:5673"],
        ),
        (&[("RABBITMQ_NODE_IP_ADDRESS", "::1")], &["listeners.tcp.default=::1:5672"]),
        (
            &[("RABBITMQ_NODE_PORT", "tcp://10.0.0.1:5672")],
            &["RABBITMQ_NODE_PORT: not obeyed: it is an address, and no port"],
        ),
        (&[("RABBITMQ_DEFAULT_USER", "")], &[]),
        (
            &[("RABBITMQ_VM_MEMORY_HIGH_WATERMARK", "40%")],
            &[
                "vm_memory_high_watermark.relative=0.4",
                "RABBITMQ_VM_MEMORY_HIGH_WATERMARK: taken, though RabbitMQ's image does not start with it: put \
                 it into rabbitmq.conf",
            ],
        ),
        (&[("RABBITMQ_DISK_FREE_LIMIT", "1GB")], &["disk_free_limit.absolute=1GB"]),
        (&[("RABBITMQ_DISK_FREE_LIMIT", "{mem_relative, 1.5}")], &["disk_free_limit.relative=1.5"]),
        (
            &[("RABBITMQ_LOG", "debug,+color")],
            &[
                "log.default.level=debug",
                "log.console.level=debug",
                "log.file.level=debug",
                "RABBITMQ_LOG: +color has no meaning for leveret",
            ],
        ),
        (&[("RABBITMQ_LOG", "connection.debug")], &["log.connection.level=debug"]),
        (&[("RABBITMQ_DEFINITIONS_FILE", "f")], &["load_definitions=f"]),
        (&[("RABBITMQ_DEFINITIONS_FILE", "f"), ("RABBITMQ_LOAD_DEFINITIONS", "no")], &[]),
        (
            &[("RABBITMQ_MANAGEMENT_PORT", "1"), ("RABBITMQ_MANAGEMENT_BIND_IP", "::1")],
            &["management.tcp.port=1", "management.tcp.ip=::1"],
        ),
        (
            &[(
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                "+S 2:2 -rabbitmq_management load_definitions \"/d.json\" -rabbit consumer_timeout undefined \
                 -rabbit log_levels [{connection,error}]",
            )],
            &[
                "management.load_definitions=/d.json",
                "consumer_timeout=undefined",
                "log.connection.level=error",
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: +S has no meaning for leveret",
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: 2:2 has no meaning for leveret",
            ],
        ),
        (
            &[("RABBITMQ_SERVER_ERL_ARGS", "'-rabbit disk_free_limit 1000'")],
            &["RABBITMQ_SERVER_ERL_ARGS: -rabbit disk_free_limit 1000 has no meaning for leveret"],
        ),
        (&[("RABBITMQ_ERLANG_COOKIE", "c")], &["RABBITMQ_ERLANG_COOKIE: has no effect on leveret"]),
        (
            &[("RABBITMQ_DEFAULT_USR", "u")],
            &[
                "RABBITMQ_DEFAULT_USR: there is no such variable. Did you mean RABBITMQ_DEFAULT_USER?",
            ],
        ),
        (
            &[("RABBITMQ_QUITE_ANOTHER_THING", "u")],
            &["RABBITMQ_QUITE_ANOTHER_THING: there is no such variable."],
        ),
        // What Kubernetes sets for a service that is called rabbitmq.
        (
            &[
                ("RABBITMQ_PORT", "tcp://10.0.0.1:5672"),
                ("RABBITMQ_SERVICE_HOST", "10.0.0.1"),
                ("RABBITMQ_SERVICE_PORT_AMQP", "5672"),
                ("RABBITMQ_PORT_5672_TCP_ADDR", "10.0.0.1"),
            ],
            &[],
        ),
        (&[("HOME", "/")], &[]),
    ] {
        assert_eq!(read(variables), expected, "{variables:?}");
    }
}

#[test]
fn certificates_in_variables_come_with_a_listener() {
    let read = read(&[
        ("RABBITMQ_SSL_CACERTFILE", "ca"),
        ("RABBITMQ_SSL_CERTFILE", "c"),
        ("RABBITMQ_SSL_KEYFILE", "k"),
        ("RABBITMQ_SSL_VERIFY", "verify_peer"),
    ]);
    let expected = [
        "ssl_options.cacertfile=ca",
        "ssl_options.certfile=c",
        "ssl_options.keyfile=k",
        "ssl_options.verify=verify_peer",
        "listeners.ssl.default=5671",
    ];
    assert_eq!(read[..5], expected);
    assert!(read[5..].iter().all(|it| it.contains("put it into rabbitmq.conf")), "{read:?}");
}

#[test]
fn a_secret_may_be_in_a_file() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("pass");
    std::fs::write(&file, "p#1\n").unwrap();
    let path = file.to_str().unwrap();
    assert_eq!(read(&[("RABBITMQ_DEFAULT_PASS_FILE", path)]), ["default_pass=p#1"]);
    let both = [("RABBITMQ_DEFAULT_PASS_FILE", path), ("RABBITMQ_DEFAULT_PASS", "q")];
    assert_eq!(read(&both), ["default_pass=q"]);
    let environment = environment(&[("RABBITMQ_DEFAULT_PASS_FILE", "/not/there")]);
    let error = environment.entries(&mut Vec::new()).unwrap_err().to_string();
    assert!(error.starts_with("RABBITMQ_DEFAULT_PASS_FILE: cannot read /not/there: "), "{error}");
}

#[test]
fn definitions_are_plain_or_in_base64() {
    let json = r#"{"queues": []}"#;
    for value in [json, "eyJxdWV1ZXMiOiBbXX0=", "eyJxdWV1\nZXMiOiBbXX0="] {
        let read = environment(&[("LEVERET_DEFINITIONS_JSON", value)]).definitions_json();
        assert_eq!(read.unwrap().as_deref(), Some(json.as_bytes()));
    }
    assert_eq!(environment(&[]).definitions_json(), Ok(None));
    let error = environment(&[("LEVERET_DEFINITIONS_JSON", "?")]).definitions_json().unwrap_err();
    assert!(error.to_string().starts_with("LEVERET_DEFINITIONS_JSON: definitions in JSON"));
}

#[test]
fn the_file_of_variables_counts_less_than_the_environment() {
    let mut environment = environment(&[("RABBITMQ_NODENAME", "typed@here")]);
    let text = "# c\nNODENAME=file@here\nexport NODE_PORT=\"5673\" # p\nRABBITMQ_LOGS=- # l\n\n\
                . /etc/default\nMNESIA_BASE=$HOME/m\n";
    let notices = environment.add_file(text, Path::new("e"));
    assert_eq!(environment.rabbitmq("NODENAME"), Some("typed@here"));
    assert_eq!(environment.rabbitmq("NODE_PORT"), Some("5673"));
    assert_eq!(environment.rabbitmq("LOGS"), Some("-"));
    let texts: Vec<_> = notices.iter().map(|it| it.text.as_str()).collect();
    let not = "not obeyed: only NAME=value is read, leveret runs no shell";
    assert_eq!(texts, [format!("e:6: {not}"), format!("e:7: {not}")]);
}
