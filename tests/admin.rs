//! `rabbitmqadmin` against a broker: what was recorded of RabbitMQ's own programs is replayed, word by word.
//!
//! A file below `tests/admin` is a dialogue with one broker. `$` is followed by the words of a command, in quotes as a
//! shell takes them, `<` by what it reads, `>` and `!` by the lines that it writes to standard output and to standard
//! error, `=` by its exit code where that is not 0. `@DIR@` is a directory of the test's, `@PORT@` the broker's port.
//!
//! What is in `script` was recorded of the script that comes with RabbitMQ 3.10.8, but for `beyond.txt`, where that one
//! fails with a failure of Python.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use leveret::commands::{Console, Program};
use leveret::rabbit::Environment;
use leveret::{Broker, BrokerBuilder};

use crate::support::embedded::Embedded;

mod secured;

/// The file of settings that the dialogues use.
const CONF: &str = "[default]\nformat = tsv\nhostname = 127.0.0.1\n[adm]\n# a comment\nVhost = adm\nformat: kvp\n\
                    [wrong]\npassword = wrong\nvhost = /\n[declaring]\ndeclare_vhost = adm\n[unknown]\nnothing = 1\n\
                    [quiet]\nverbose = False\n";

/// What a command wrote, and how it ended.
#[derive(Debug, Default)]
pub(crate) struct Ran {
    pub(crate) output: String,
    pub(crate) error: String,
    pub(crate) code: u8,
}

/// Runs a command.
pub(crate) fn run(words: &[String], input: &[u8], variables: &[(&str, &str)]) -> Ran {
    let environment: Environment =
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let arguments: Vec<OsString> = words.iter().map(OsString::from).collect();
    let (mut output, mut error, mut input) = (Vec::new(), Vec::new(), input);
    let mut console = Console::new(environment, &mut input, &mut output, &mut error);
    let code = Program::Admin.run(&arguments, &mut console);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran { output: text(output), error: text(error), code }
}

/// A broker in memory with management.
pub(crate) fn start(builder: BrokerBuilder) -> (Embedded, u16) {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let broker = Embedded::start(builder.in_memory().management(any));
    let port = broker.broker().management_address().unwrap().port();
    (broker, port)
}

/// The words of a line, as a shell takes them.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), None::<String>, false);
    for letter in line.chars() {
        match letter {
            '\'' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            ' ' if !quoted => words.extend(word.take()),
            letter => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    words
}

/// Replays a dialogue, and compares all of it.
fn replay(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/admin").join(name);
    let expected = fs::read_to_string(path).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path().to_str().unwrap().to_owned();
    fs::write(directory.path().join("conf"), CONF).unwrap();
    fs::write(directory.path().join("broken.json"), "{\"queues\": [").unwrap();
    let (_broker, port) = start(Broker::builder());
    let port = port.to_string();

    let (mut replayed, mut input) = (String::new(), String::new());
    for line in expected.lines() {
        if let Some(text) = line.strip_prefix("< ") {
            text.clone_into(&mut input);
        }
        if line.starts_with(['>', '!', '=']) {
            continue;
        }
        let _ = writeln!(replayed, "{line}");
        let Some(line) = line.strip_prefix('$') else { continue };
        let line = line.replace("@DIR@", &at).replace("@PORT@", &port);
        let all = ["-H", "127.0.0.1", "-P", &port].map(str::to_owned);
        let all = [&all[..], &words(&line)].concat();
        let ran = run(&all, input.as_bytes(), &[("HOME", &at)]);
        input.clear();
        for (sign, text) in [('>', &ran.output), ('!', &ran.error)] {
            assert!(text.is_empty() || text.ends_with('\n'), "{line}: {text}");
            for line in text.replace(&at, "@DIR@").replace(&format!(":{port}"), ":@PORT@").lines() {
                let blank = if line.is_empty() { "" } else { " " };
                let _ = writeln!(replayed, "{sign}{blank}{line}");
            }
        }
        if ran.code != 0 {
            let _ = writeln!(replayed, "= {}", ran.code);
        }
    }
    let different = replayed.lines().zip(expected.lines()).enumerate().find(|(_, (a, b))| a != b);
    assert!(different.is_none(), "{name}: {different:#?} in\n{replayed}");
    assert_eq!(replayed, expected, "{name}");
}

#[test]
fn the_script_says_what_it_is() {
    replay("script/help.txt");
}

#[test]
fn the_script_declares_and_deletes() {
    replay("script/objects.txt");
}

#[test]
fn the_script_lists_in_all_its_forms() {
    replay("script/lists.txt");
}

#[test]
fn the_script_publishes_and_gets() {
    replay("script/messages.txt");
}

#[test]
fn the_script_takes_settings_from_a_file_and_an_address() {
    replay("script/settings.txt");
}

#[test]
fn the_script_refuses_what_it_does_not_know() {
    replay("script/usage.txt");
}

#[test]
fn where_the_script_fails_itself_there_is_a_word_of_what_is_wrong() {
    replay("script/beyond.txt");
}

#[test]
fn the_commands_of_ng_that_scripts_use() {
    replay("ng/commands.txt");
}

#[test]
fn ng_takes_settings_from_the_environment_and_from_toml() {
    let (_broker, port) = start(Broker::builder());
    let directory = tempfile::tempdir().unwrap();
    let home = directory.path().to_str().unwrap();
    let at = port.to_string();
    let names = "+------+------+-------------+";
    let variables = [
        ("HOME", home),
        ("RABBITMQADMIN_TARGET_HOST", "127.0.0.1"),
        ("RABBITMQADMIN_TARGET_PORT", &at),
        ("RABBITMQADMIN_TABLE_STYLE", "ascii"),
    ];
    let ran = run(&words("list vhosts"), b"", &variables);
    assert!(ran.output.starts_with(names), "{ran:?}");
    let conf = format!(
        "[default]\nhostname = \"127.0.0.1\" # here\nport = {port}\ntable_style = 'ascii'\n[wrong]\n\
         hostname = \"127.0.0.1\"\nport = {port}\npassword = \"wrong\"\n"
    );
    fs::write(directory.path().join(".rabbitmqadmin.conf"), conf).unwrap();
    let ran = run(&words("vhosts list"), b"", &[("HOME", home)]);
    assert!(ran.output.starts_with(names), "{ran:?}");
    let ran = run(&words("-N wrong vhosts list"), b"", &[("HOME", home)]);
    assert_eq!((ran.error.as_str(), ran.code), ("Login failed\n", 65));
    let ran = run(&words("-c /nothing vhosts list"), b"", &[("HOME", home)]);
    let expected = "Encountered an error when trying to load configuration for node alias 'default' in configuration \
                    file '/nothing'\nUnderlying error: the provided config file at '/nothing' does not exist\n";
    assert_eq!((ran.error.as_str(), ran.code), (expected, 65));
}

#[test]
fn ng_reads_from_the_pipe_and_writes_definitions() {
    let (_broker, port) = start(Broker::builder());
    let at = format!("-H 127.0.0.1 -P {port}");
    let ran = run(&words(&format!("{at} definitions export --stdout")), b"", &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.output.contains("\"users\""), "{ran:?}");
    let input = b"{\"queues\": [{\"name\": \"q\", \"vhost\": \"/\"}]}";
    let ran = run(&words(&format!("{at} definitions import --stdin")), input, &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let publish = format!("{at} publish message -k q --payload-file -");
    assert_eq!(run(&words(&publish), b"piped", &[]).code, 0);
    let ran = run(&words(&format!("{at} --non-interactive get messages -q q")), b"", &[]);
    assert!(ran.output.contains(" piped "), "{ran:?}");
    let ran = run(&words(&format!("{at} show overview --table-style ascii")), b"", &[]);
    assert!(ran.output.contains("| Queues and streams (total) "), "{ran:?}");
    let ran = run(&words(&format!("{at} health_check port_listener --port {port}")), b"", &[]);
    assert_eq!((ran.output.as_str(), ran.code), ("health check passed\n", 0));
}

#[test]
fn ng_says_that_nobody_is_there() {
    let ran = run(&words("-H 127.0.0.1 -P 1 declare queue --name q"), b"", &[]);
    let expected = "Encountered an error when performing an HTTP request: error sending request for url \
                    (http://127.0.0.1:1/api/queues/%2F/q): [Errno 111] Connection refused\n";
    assert_eq!((ran.error.as_str(), ran.code), (expected, 65));
    let ran = run(&words("-H 127.0.0.1 -P 1 health_check local_alarms"), b"", &[]);
    assert_eq!(ran.code, 69);
    let ran = run(&words("-U nonsense queues list"), b"", &[]);
    let expected = "Invalid base URI 'nonsense': relative URL without a base\n";
    assert_eq!((ran.error.as_str(), ran.code), (expected, 65));
}

#[test]
fn ng_has_help_for_what_it_has() {
    for line in ["declare queue --name q --help", "queues --help", "health_check --help"] {
        let ran = run(&words(line), b"", &[]);
        assert!(
            ran.code == 0 && ran.output.starts_with("Usage: rabbitmqadmin "),
            "{line}: {ran:?}"
        );
    }
    let ran = run(&words("health_check"), b"", &[]);
    assert_eq!(ran.code, 2, "{ran:?}");
    let ran = run(&words("queues burn --name q"), b"", &[]);
    assert!(ran.error.starts_with("error: unrecognized subcommand 'burn'\n"), "{ran:?}");
    let ran = run(&words("queues list --colour red"), b"", &[]);
    assert!(ran.error.starts_with("error: unexpected argument '--colour' found\n"), "{ran:?}");
    assert_eq!(ran.code, 2);
}

#[test]
fn the_file_at_home_is_taken_without_being_named() {
    let (_broker, port) = start(Broker::builder());
    let directory = tempfile::tempdir().unwrap();
    let conf = format!("[default]\nhostname = 127.0.0.1\nport = {port}\nformat = tsv\n");
    fs::write(directory.path().join(".rabbitmqadmin.conf"), conf).unwrap();
    let home = directory.path().to_str().unwrap();
    let ran = run(&words("list vhosts name"), b"", &[("HOME", home)]);
    assert_eq!((ran.output.as_str(), ran.code), ("name\n/\n", 0), "{}", ran.error);
}

#[test]
fn bash_is_told_all_words() {
    let ran = run(&words("--bash-completion"), b"", &[]);
    assert!(ran.output.contains("complete -F _rabbitmqadmin rabbitmqadmin\n"), "{}", ran.output);
    assert!(ran.output.contains("declare) choices=\"exchange queue binding"), "{}", ran.output);
    assert!(ran.output.contains("queue) choices=\"$(rabbitmqadmin -q -f bash list queues"));
}
