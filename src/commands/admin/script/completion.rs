//! What bash needs to complete the words.

use super::kinds::{CLOSED, DECLARED, DELETED, Kind, LISTED, Listed, PURGED, SHOWN};

const FORMATS: &str = "raw_json pretty_json tsv long table kvp bash";

/// A script for bash that completes words, kinds of objects and the names of objects.
pub(super) fn script() -> String {
    let listed = |kinds: &[Listed]| {
        let names: Vec<_> = kinds.iter().map(|kind| kind.name).collect();
        names.join(" ")
    };
    let kinds = |kinds: &[Kind]| {
        let names: Vec<_> = kinds.iter().map(|kind| kind.name).collect();
        names.join(" ")
    };
    let words = [
        ("list", listed(LISTED)),
        ("show", listed(SHOWN)),
        ("declare", kinds(DECLARED)),
        ("delete", kinds(DELETED)),
        ("close", kinds(CLOSED)),
        ("purge", kinds(PURGED)),
        ("help", "subcommands config".to_owned()),
        ("-f|--format", FORMATS.to_owned()),
    ];
    let mut cases = String::new();
    for (word, choices) in words {
        cases.push_str(&format!("        {word}) choices=\"{choices}\" ;;\n"));
    }
    let names =
        [("-V|--vhost", "vhosts"), ("-u|--username", "users")].map(|(word, kind)| (word, kind));
    let singular = LISTED.iter().map(|kind| (kind.name.trim_end_matches('s'), kind.name));
    for (word, kind) in names.into_iter().chain(singular) {
        let ask = format!("$(rabbitmqadmin -q -f bash list {kind} 2>/dev/null)");
        cases.push_str(&format!("        {word}) choices=\"{ask}\" ;;\n"));
    }
    format!(
        "# Completion of rabbitmqadmin's words in bash: source this file, or put it into\n\
         # /etc/bash_completion.d. rabbitmqadmin must be on the PATH.\n\
         _rabbitmqadmin()\n\
         {{\n\
         \x20   local word=\"${{COMP_WORDS[COMP_CWORD]}}\" before=\"${{COMP_WORDS[COMP_CWORD-1]}}\" choices\n\
         \x20   case \"$before\" in\n\
         \x20       import|export) COMPREPLY=( $(compgen -f -- \"$word\") ); return 0 ;;\n\
         \x20       -H|--host) COMPREPLY=( $(compgen -A hostname -- \"$word\") ); return 0 ;;\n\
         {cases}\
         \x20       *) choices=\"list show declare delete close purge import export get publish help --help\"\n\
         \x20          choices=\"$choices --host --port --vhost --username --password --format --depth --sort\"\n\
         \x20          choices=\"$choices --sort-reverse\" ;;\n\
         \x20   esac\n\
         \x20   COMPREPLY=( $(compgen -W \"$choices\" -- \"$word\") )\n\
         }}\n\
         complete -F _rabbitmqadmin rabbitmqadmin\n"
    )
}
