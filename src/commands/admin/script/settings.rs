//! What the options, the file of settings and the address say together.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::super::Console;
use super::super::super::secure::{Secure, Trust};
use super::super::config_file::section_of_ini;
use super::super::server::{Address, Server};
use super::options::{Given, OPTIONS};
use super::{Ended, read};

/// The settings of a call.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) server: Server,
    pub(super) path_prefix: String,
    /// The virtual host that is asked for.
    pub(super) vhost: Option<String>,
    /// The one in which things are declared otherwise.
    pub(super) declare_vhost: String,
    pub(super) verbose: bool,
    pub(super) format: String,
    pub(super) sort: Option<String>,
    pub(super) sort_reverse: bool,
    /// How deep objects in objects are shown; none when nobody asked.
    pub(super) depth: Option<String>,
    pub(super) bash_completion: bool,
}

impl Settings {
    /// What counts: options more than the file, and the file more than what is usual. An address counts most.
    pub(super) fn new(given: Given, console: &mut Console<'_>) -> Result<Self, Ended> {
        let mut given = with_file(given, console)?;
        let mut is_secure = is_true(given.get("ssl"));
        if let Some(uri) = given.get("base_uri").map(str::to_owned) {
            let address = Address::parse(&uri);
            // rabbitmq: the script takes no notice of https here, and then fails; so that is no use to anybody.
            is_secure |= address.is_secure;
            for (setting, value) in [
                ("hostname", address.host),
                ("port", address.port),
                ("username", address.username),
                ("password", address.password),
            ] {
                if let Some(value) = value {
                    given.set(setting, value);
                }
            }
            if !["", "/"].contains(&address.path.as_str()) {
                console.complain(
                    "WARNING: path in --base-uri is ignored. Please specify --vhost and/or --path-prefix separately.\n\n",
                );
            }
        }
        let secure = is_secure.then(|| secured(&given, console)).transpose()?;
        let text = |setting: &str| value(&given, setting).to_owned();
        let some =
            |setting: &str| given.get(setting).filter(|value| !value.is_empty()).map(str::to_owned);
        let server = Server {
            host: text("hostname"),
            port: port(value(&given, "port"))?,
            secure,
            username: text("username"),
            password: text("password"),
            timeout: timeout(value(&given, "request_timeout"))?,
        };
        Ok(Settings {
            server,
            path_prefix: text("path_prefix"),
            vhost: some("vhost"),
            declare_vhost: some("declare_vhost").unwrap_or_else(|| "/".to_owned()),
            verbose: is_true(Some(value(&given, "verbose"))),
            format: text("format"),
            sort: some("sort"),
            sort_reverse: is_true(given.get("sort_reverse")),
            depth: given.get("depth").map(str::to_owned),
            bash_completion: is_true(given.get("bash_completion")),
        })
    }
}

/// A setting, or what it is when nobody says it.
fn value<'a>(given: &'a Given, setting: &str) -> &'a str {
    let otherwise = || OPTIONS.iter().find(|spec| spec.setting == setting)?.otherwise;
    given.get(setting).or_else(otherwise).unwrap_or_default()
}

/// rabbitmq: any text but `False` is true.
fn is_true(value: Option<&str>) -> bool {
    !["", "False"].contains(&value.unwrap_or_default())
}

fn port(text: &str) -> Result<u16, Ended> {
    let port = text.trim().parse();
    port.map_err(|_| Ended::usage(format!("port must be a number from 0 to 65535, not '{text}'")))
}

fn timeout(text: &str) -> Result<Duration, Ended> {
    let seconds = text.trim().parse().ok().filter(|seconds| *seconds > 0);
    let seconds = seconds.ok_or_else(|| {
        Ended::usage(format!("request timeout must be a number of seconds, not '{text}'"))
    })?;
    Ok(Duration::from_secs(seconds))
}

fn secured(given: &Given, console: &Console<'_>) -> Result<Secure, Ended> {
    let path =
        |setting: &str| given.get(setting).filter(|path| !path.is_empty()).map(PathBuf::from);
    let trust = Trust {
        authorities: path("ssl_ca_cert_file"),
        certificate: path("ssl_cert_file"),
        key: path("ssl_key_file"),
        any_host: is_true(given.get("ssl_disable_hostname_verification")),
        any: is_true(given.get("ssl_insecure")),
    };
    Secure::new(&trust, &console.environment).map_err(Ended::Failed)
}

/// The settings with those of the file, where no option says more.
fn with_file(given: Given, console: &Console<'_>) -> Result<Given, Ended> {
    let file = match given.get("config") {
        Some(file) if !Path::new(file).is_file() => {
            return Err(Ended::usage(format!("Could not read config file '{file}'")));
        }
        Some(file) => PathBuf::from(file),
        None => {
            let home =
                console.environment.get("USERPROFILE").or_else(|| console.environment.get("HOME"));
            let file = home.map(|home| Path::new(home).join(".rabbitmqadmin.conf"));
            let Some(file) = file.filter(|file| file.is_file()) else { return Ok(given) };
            file
        }
    };
    let node = given.get("node").unwrap_or("default").to_owned();
    let text = String::from_utf8_lossy(&read(&file)?).into_owned();
    let Some(found) = section_of_ini(&text, &node) else {
        return match node.as_str() {
            "default" => Ok(given),
            _ => Err(Ended::usage(format!(
                "Could not read section '{node}' in config file '{}':\n   No section: '{node}'",
                file.display()
            ))),
        };
    };
    let mut all = Given::default();
    for (name, value) in found {
        let names = OPTIONS.iter().map(|spec| spec.setting).chain(["declare_vhost"]);
        let Some(setting) = names.into_iter().find(|setting| *setting == name) else {
            return Err(Ended::usage(format!(
                "Could not read section '{node}' in config file '{}':\n   Unknown setting: '{name}'",
                file.display()
            )));
        };
        if given.get(setting).is_none() {
            all.set(setting, value);
        }
    }
    all.extend(given);
    Ok(all)
}
