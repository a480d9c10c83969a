//! A node that is started in RabbitMQ's way: its name, its directories, its plugins, its log.

use std::fs;
use std::path::{Path, PathBuf};

use super::Mode;
use super::draft::Draft;
use super::entry::{ConfigError, Notice, Place};
use super::environment::Environment;
use super::plugins;
use super::settings::Node;
use crate::node_name::host_name;

/// Where a node looks for its configuration.
const CONFIG_DIR: &str = "/etc/rabbitmq";

/// Where it keeps its data.
const DATA_DIR: &str = "/var/lib/rabbitmq";

/// The directory in which a node looks for its configuration: that of RabbitMQ, or another one for who may not write
/// there.
pub(super) fn config_dir(environment: &Environment) -> PathBuf {
    environment.get("LEVERET_RABBITMQ_DIR").unwrap_or(CONFIG_DIR).into()
}

/// What a variable says of the node, or what RabbitMQ would take.
///
/// # Errors
/// For a list of plugins that cannot be read.
pub(super) fn node(
    environment: &Environment,
    mode: Mode,
    draft: &mut Draft,
) -> Result<Node, ConfigError> {
    let name = node_name(environment, None);
    let data_dir = data_dir(environment, &name);
    Ok(Node {
        enabled_plugins_file: enabled_plugins_file(environment),
        config_files: std::mem::take(&mut draft.config_files),
        management: draft.management_address(),
        keep_pid_file: environment.rabbitmq("KEEP_PID_FILE_ON_EXIT").is_some_and(is_yes),
        pid_file: environment.rabbitmq("PID_FILE").map(PathBuf::from),
        plugins: enabled_plugins(environment, mode, draft)?,
        name,
        data_dir,
    })
}

/// What a node is called that was named so, or that the environment names.
///
/// rabbitmq: `rabbit@` and the host up to its first dot, unless long names are asked for.
pub(crate) fn node_name(environment: &Environment, named: Option<&str>) -> String {
    let host = host_name().or_else(|| environment.get("HOSTNAME").map(str::to_owned));
    let host = host.unwrap_or_else(|| "localhost".to_owned());
    let is_long = environment.rabbitmq("USE_LONGNAME").is_some_and(is_yes);
    let host = match is_long {
        true => host.as_str(),
        false => host.split('.').next().unwrap_or_default(),
    };
    let of_environment = environment.first(&["NODENAME", "NODE_NAME"]).map(|(name, _)| name);
    match named.or(of_environment) {
        Some(name) if name.contains('@') => name.to_owned(),
        Some(name) => format!("{name}@{host}"),
        None => format!("rabbit@{host}"),
    }
}

/// Where the node of this name keeps its data.
pub(crate) fn data_dir(environment: &Environment, name: &str) -> PathBuf {
    if let Some(directory) = environment.rabbitmq("MNESIA_DIR") {
        return directory.into();
    }
    let base = match environment.rabbitmq("MNESIA_BASE") {
        Some(base) => PathBuf::from(base),
        None => Path::new(environment.rabbitmq("DATA_DIR").unwrap_or(DATA_DIR)).join("mnesia"),
    };
    base.join(name)
}

/// The file that names the enabled plugins.
pub(crate) fn enabled_plugins_file(environment: &Environment) -> PathBuf {
    match environment.rabbitmq("ENABLED_PLUGINS_FILE") {
        Some(path) => PathBuf::from(path),
        None => config_dir(environment).join("enabled_plugins"),
    }
}

/// The plugins that are enabled, and those that they need.
///
/// rabbitmq: the variable with a list counts more than the file.
fn enabled_plugins(
    environment: &Environment,
    mode: Mode,
    draft: &mut Draft,
) -> Result<Vec<String>, ConfigError> {
    let (names, place) = match environment.first(&["ENABLED_PLUGINS", "PLUGINS"]) {
        Some((list, place)) => {
            let names = list.split([',', ' ', ';']).filter(|name| !name.is_empty());
            (names.map(str::to_owned).collect(), place)
        }
        None => {
            let path = enabled_plugins_file(environment);
            let place = Place::File(path.clone());
            match fs::read_to_string(&path) {
                Ok(text) => (plugins::parse_file(&text, &path)?, place),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    // why: an image with nothing in it is used as the one with management is.
                    let container = ["rabbitmq_management".to_owned()];
                    let names = container.into_iter().filter(|_| mode == Mode::Container);
                    (names.collect(), place)
                }
                Err(error) => {
                    return Err(ConfigError::new(&place, format!("it cannot be read: {error}")));
                }
            }
        }
    };
    draft.notices.extend(plugins::notices(&names, &place));
    Ok(plugins::with_needs(&names))
}

/// Where the log goes, by variables: `-` is standard output.
pub(super) fn set_log(environment: &Environment, mode: Mode, draft: &mut Draft) {
    if let Some(base) = environment.rabbitmq("LOG_BASE") {
        draft.log.directory = Some(base.into());
    }
    match environment.rabbitmq("LOGS") {
        Some("-") => {
            draft.log.to_stdout = true;
            draft.log.console = Some(true);
            draft.log.file = Some(None);
        }
        Some(file) => {
            draft.log.console = None;
            draft.log.file = Some(Some(file.to_owned()));
        }
        None => draft.log.to_stdout = mode == Mode::Container,
    }
}

/// What is said of the node at its start.
pub(super) fn notice(node: &Node) -> Notice {
    let plugins = match node.plugins.len() {
        0 => "no plugins".to_owned(),
        _ => node.plugins.join(", "),
    };
    Notice::info(format!("node {}: {plugins}", node.name))
}

fn is_yes(value: &str) -> bool {
    ["true", "yes", "1"].contains(&value.to_ascii_lowercase().as_str())
}
