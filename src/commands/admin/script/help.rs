//! What the script says of itself: its options, its words, its file of settings.

use std::fmt::Write as _;

use super::super::super::Console;
use super::kinds::{CLOSED, DECLARED, DELETED, Kind, LISTED, MESSAGES, PURGED, SHOWN};
use super::options::{OPTIONS, Spec};

/// How it is called.
const CALL: &str = "rabbitmqadmin [options] subcommand";
/// The same below a heading.
pub(super) const USAGE: &str = "Usage\n=====\n  rabbitmqadmin [options] subcommand\n";

/// The column in which the explanations begin.
const EXPLANATIONS: usize = 24;

/// Prints the options.
pub(super) fn print(console: &mut Console<'_>) {
    let columns = console.environment.get("COLUMNS").and_then(|columns| columns.parse().ok());
    // One column is left free at each side.
    let width = columns.unwrap_or(80_usize).saturating_sub(2);
    let mut text = format!("{USAGE}\nOptions\n=======\n");
    for spec in OPTIONS {
        push_option(&mut text, spec, width.saturating_sub(EXPLANATIONS).max(11));
    }
    text.push_str(
        "\nMore Help\n=========\n\nFor more help use the help subcommand:\n\n  \
         rabbitmqadmin help subcommands  # For a list of available subcommands\n  \
         rabbitmqadmin help config       # For help with the configuration file\n",
    );
    console.print(text);
}

fn push_option(text: &mut String, spec: &Spec, width: usize) {
    let mut named = format!("--{}", spec.long);
    if let Some(value) = spec.value {
        let _ = write!(named, "={value}");
    }
    if let Some(short) = spec.short {
        let _ = write!(named, ", -{short}");
        if let Some(value) = spec.value {
            let _ = write!(named, " {value}");
        }
    }
    let help = match spec.otherwise {
        Some(otherwise) => format!("{} [default: {otherwise}]", spec.help),
        None => spec.help.to_owned(),
    };
    let mut lines = wrapped(&help, width).into_iter();
    if named.len() > EXPLANATIONS - 2 {
        let _ = writeln!(text, "{named}");
    } else {
        let _ = writeln!(text, "{named:<EXPLANATIONS$}{}", lines.next().unwrap_or_default());
    }
    for line in lines {
        let _ = writeln!(text, "{:EXPLANATIONS$}{line}", "");
    }
}

/// Breaks a text into lines of this width.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// The words that it understands.
pub(super) fn subcommands() -> String {
    let mut text = format!("Usage\n=====\n  {CALL}\n\n  where subcommand is one of:\n");
    push_title(&mut text, "Display");
    for (verb, kinds) in [("list", LISTED), ("show", SHOWN)] {
        for kind in kinds {
            let _ = writeln!(text, "  {verb} {} [<column>...]", kind.name);
        }
    }
    push_title(&mut text, "Object Manipulation");
    let verbs = [("declare", DECLARED), ("delete", DELETED), ("close", CLOSED), ("purge", PURGED)];
    for (verb, kinds) in verbs {
        push_kinds(&mut text, &format!(" {verb}"), kinds);
    }
    push_title(&mut text, "Broker Definitions");
    text.push_str("  export <file>\n  import <file>\n");
    push_title(&mut text, "Publishing and Consuming");
    push_kinds(&mut text, "", MESSAGES);
    text.push_str(
        "\n  * If payload is not specified on publish, standard input is used\n\n  \
         * If payload_file is not specified on get, the payload will be shown on\n    \
         standard output along with the message metadata\n\n  \
         * If payload_file is specified on get, count must not be set\n",
    );
    text
}

fn push_title(text: &mut String, title: &str) {
    let _ = write!(text, "\n{title}\n{}\n\n", "=".repeat(title.len()));
}

fn push_kinds(text: &mut String, verb: &str, kinds: &[Kind]) {
    for kind in kinds {
        let mandatory: Vec<_> = kind
            .mandatory
            .iter()
            .map(|mandatory| format!("{}=...", mandatory.names().join("=... OR ")))
            .collect();
        let _ = write!(text, " {verb} {} {}", kind.name, mandatory.join(" "));
        let optional: Vec<_> =
            kind.optional.iter().map(|(name, _)| format!("{name}=...")).collect();
        if !optional.is_empty() {
            let _ = write!(text, " [{}]", optional.join(" "));
        }
        text.push('\n');
    }
}

/// The file of settings.
pub(super) fn config() -> String {
    let mut text = format!("Usage\n=====\n{CALL}\n");
    push_title(&mut text, "Configuration File");
    text.push_str(
        "  It is possible to specify a configuration file from the command line.\n  \
         Hosts can be configured easily in a configuration file and called\n  \
         from the command line.\n",
    );
    push_title(&mut text, "Example");
    let login = "  username = guest\n  password = guest\n";
    let _ = write!(
        text,
        "  # rabbitmqadmin.conf.example START\n\n  [host_normal]\n  hostname = localhost\n  \
         # use 15671 for HTTPS\n  port = 15672\n{login}  \
         declare_vhost = / # Used as default for declare / delete only\n  \
         vhost = /         # Used as default for declare / delete / list\n\n  \
         [host_https]\n  hostname = otherhost\n  port = 15671\n{login}  ssl = True\n  \
         ssl_key_file = /path/to/client_key.pem\n  ssl_cert_file = /path/to/client_certificate.pem\n\n  \
         # rabbitmqadmin.conf.example END\n"
    );
    push_title(&mut text, "Use");
    text.push_str("  rabbitmqadmin -c rabbitmqadmin.conf.example -N host_normal ...");
    text
}
