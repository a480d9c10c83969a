//! Where the server is, who asks it, and how answers are drawn.

use std::path::PathBuf;
use std::time::Duration;

use super::super::super::Console;
use super::super::super::secure::{Secure, Trust};
use super::super::config_file::section_of_toml;
use super::super::server::{Address, Server};
use super::Ended;
use super::tables::Style;
use super::words::{GLOBAL, Said};

/// The settings of a call.
pub(super) struct Settings {
    pub(super) server: Server,
    /// What stands before a path.
    pub(super) prefix: String,
    pub(super) vhost: String,
    pub(super) quiet: bool,
    pub(super) style: Style,
}

/// The fields of a section of the file, with the options that say the same.
const FIELDS: &[(&str, &str)] = &[
    ("host", "hostname"),
    ("host", "host"),
    ("port", "port"),
    ("base-uri", "base_uri"),
    ("path-prefix", "path_prefix"),
    ("vhost", "vhost"),
    ("vhost", "virtual_host"),
    ("vhost", "target_vhost"),
    ("username", "username"),
    ("password", "password"),
    ("use-tls", "tls"),
    ("use-tls", "use_tls"),
    ("quiet", "quiet"),
    ("non-interactive", "non_interactive"),
    ("table-style", "table_style"),
    ("tls-ca-cert-file", "ca_certificate_bundle_path"),
    ("tls-cert-file", "client_certificate_file_path"),
    ("tls-key-file", "client_private_key_file_path"),
];

impl Settings {
    /// What counts: options more than the environment, that more than the file, and that more than what is usual.
    pub(super) fn new(said: &Said, console: &Console<'_>) -> Result<Self, Ended> {
        let file = file(said, console)?;
        let get = |name: &str| -> Option<String> {
            let value = said.global(name).map(str::to_owned).or_else(|| variable(name, console));
            value.or_else(|| {
                let names = FIELDS.iter().filter(|(option, _)| *option == name);
                let mut values = names.filter_map(|(_, field)| {
                    file.iter().find(|(known, _)| known == field).map(|(_, value)| value.clone())
                });
                values.next()
            })
        };
        let is_true =
            |name: &str| get(name).is_some_and(|value| value.trim().eq_ignore_ascii_case("true"));
        let uri = get("base-uri");
        let address = uri.as_deref().map(Address::parse).unwrap_or_default();
        if let Some(uri) = uri.filter(|_| address.host.is_none()) {
            return Err(Ended::Data(format!(
                "Invalid base URI '{uri}': relative URL without a base"
            )));
        }
        let is_secure = is_true("use-tls") || address.is_secure;
        let usual_port = if is_secure { "15671" } else { "15672" };
        let port = address.port.or_else(|| get("port")).unwrap_or_else(|| usual_port.to_owned());
        let port = port.parse().map_err(|_| {
            Ended::Words(format!("invalid value '{port}' for '--port <port>': it is no port"))
        })?;
        let seconds = get("timeout").and_then(|text| text.parse().ok()).unwrap_or(60_u64).max(1);
        let prefix = get("path-prefix").unwrap_or_else(|| "/api".to_owned());
        let trust = Trust {
            authorities: get("tls-ca-cert-file").map(PathBuf::from),
            certificate: get("tls-cert-file").map(PathBuf::from),
            key: get("tls-key-file").map(PathBuf::from),
            any_host: is_true("insecure"),
            any: is_true("insecure"),
        };
        let secure = is_secure.then(|| Secure::new(&trust, &console.environment));
        let or_guest = |name: Option<String>| name.unwrap_or_else(|| "guest".to_owned());
        Ok(Settings {
            server: Server {
                host: address
                    .host
                    .or_else(|| get("host"))
                    .unwrap_or_else(|| "localhost".to_owned()),
                port,
                secure: secure.transpose().map_err(Ended::Data)?,
                username: or_guest(get("username").or(address.username)),
                password: or_guest(get("password").or(address.password)),
                timeout: Duration::from_secs(seconds),
            },
            prefix: format!("/{}", prefix.trim_matches('/')),
            vhost: get("vhost").unwrap_or_else(|| "/".to_owned()),
            quiet: is_true("quiet"),
            style: match is_true("non-interactive") {
                true => Style::Bare,
                false => Style::named(&get("table-style").unwrap_or_default()),
            },
        })
    }

    /// A path of the API as an address.
    pub(super) fn endpoint(&self) -> String {
        let scheme = if self.server.secure.is_some() { "https" } else { "http" };
        format!("{scheme}://{}:{}{}", self.server.host, self.server.port, self.prefix)
    }
}

/// What the environment says for an option.
fn variable(option: &str, console: &Console<'_>) -> Option<String> {
    let name = GLOBAL.iter().find(|flag| flag.name == option)?.variable?;
    console.environment.get(&format!("RABBITMQADMIN_{name}")).map(str::to_owned)
}

/// The section of the file that is asked for. Without the usual file there is none; one that is named must be there.
fn file(said: &Said, console: &Console<'_>) -> Result<Vec<(String, String)>, Ended> {
    let home = console.environment.get("HOME").unwrap_or_default();
    let named = said.global("config").map(str::to_owned).or_else(|| variable("config", console));
    let node = said.global("node").map(str::to_owned).or_else(|| variable("node", console));
    let node = node.unwrap_or_else(|| "default".to_owned());
    let usual = format!("{home}/.rabbitmqadmin.conf");
    let path = named.clone().unwrap_or_else(|| usual.clone());
    let path = path.strip_prefix("~/").map_or(path.clone(), |rest| format!("{home}/{rest}"));
    let reason = match std::fs::read_to_string(&path) {
        Ok(text) => match section_of_toml(&text, &node) {
            Some(section) => return Ok(section),
            None => format!(
                "specified configuration section (--node) '{node}' was not found in the configuration file"
            ),
        },
        Err(_) => format!("the provided config file at '{path}' does not exist"),
    };
    if path == usual {
        return Ok(Vec::new());
    }
    Err(Ended::Data(format!(
        "Encountered an error when trying to load configuration for node alias '{node}' in configuration file \
         '{path}'\nUnderlying error: {reason}"
    )))
}
