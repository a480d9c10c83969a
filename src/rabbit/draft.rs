//! Settings while they are read: what each key said, and at the end what they say together.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use super::entry::{ConfigError, Entry, Notice, Place};
use super::settings::{LimitSettings, LogTarget, Node, Settings, TlsSettings};
use super::value::{any_address, share_of};
use crate::config::{DefinitionsSource, FirstObjects, FirstUser, TlsVersions, UserFrom};
use crate::memory;

/// The port of the management API, and the same with TLS.
const HTTP_PORT: u16 = 15672;
const HTTPS_PORT: u16 = 15671;

/// The port of AMQP.
const AMQP_PORT: u16 = 5672;

#[derive(Default)]
pub(super) struct Draft {
    pub(super) tcp: Listeners,
    pub(super) ssl: Listeners,
    pub(super) tls: TlsDraft,
    pub(super) tls_versions: Vec<Entry>,
    pub(super) user_from: Option<UserFrom>,
    pub(super) http: Socket,
    pub(super) https: Socket,
    /// The management API with or without TLS, as `management.listener` has it.
    pub(super) either: Socket,
    pub(super) either_is_secured: bool,
    pub(super) https_tls: TlsDraft,
    pub(super) default_user: Option<String>,
    pub(super) default_pass: Option<String>,
    pub(super) default_vhost: Option<String>,
    pub(super) default_tags: Option<Vec<String>>,
    /// To configure, to write, to read.
    pub(super) default_permissions: [Option<String>; 3],
    pub(super) no_loopback_users: bool,
    pub(super) loopback_users: Option<Vec<String>>,
    pub(super) definitions: Option<PathBuf>,
    pub(super) definitions_json: Option<Vec<u8>>,
    pub(super) cluster_name: Option<String>,
    pub(super) limits: LimitSettings,
    pub(super) memory_share: Option<Entry>,
    pub(super) memory_bytes: Option<(u64, Entry)>,
    pub(super) total_memory: Option<u64>,
    pub(super) disk_share: Option<Entry>,
    pub(super) mechanisms: Vec<Entry>,
    pub(super) log: LogDraft,
    pub(super) notices: Vec<Notice>,
    /// The files that were read.
    pub(super) config_files: Vec<PathBuf>,
}

/// The addresses of one kind of listener, each with what asked for it.
#[derive(Default)]
pub(super) struct Listeners {
    /// rabbitmq: `listeners.tcp = none` counts whatever else there is.
    pub(super) none: Option<Place>,
    pub(super) addresses: Vec<(SocketAddr, Entry)>,
}

impl Listeners {
    /// The addresses, each once.
    fn addresses(&self) -> Vec<SocketAddr> {
        let mut addresses = Vec::new();
        for (address, _) in self.addresses.iter().filter(|_| self.none.is_none()) {
            if !addresses.contains(address) {
                addresses.push(*address);
            }
        }
        addresses
    }
}

/// What TLS is to be made of.
#[derive(Default)]
pub(super) struct TlsDraft {
    pub(super) certificate: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
    pub(super) client_ca: Option<PathBuf>,
    pub(super) verifies: bool,
    pub(super) requires_certificate: Option<Entry>,
}

impl TlsDraft {
    /// What TLS cannot do without, and is not said.
    fn missing(&self) -> Option<&'static str> {
        let files = [
            (self.certificate.is_none(), "certfile"),
            (self.key.is_none(), "keyfile"),
            (self.verifies && self.client_ca.is_none(), "cacertfile"),
        ];
        files.into_iter().find(|(is_missing, _)| *is_missing).map(|(_, word)| word)
    }
}

/// A port and an address that are said apart.
#[derive(Clone, Default)]
pub(super) struct Socket {
    pub(super) port: Option<u16>,
    pub(super) ip: Option<IpAddr>,
    /// One of the settings that say so.
    pub(super) said_by: Option<Entry>,
}

impl Socket {
    /// The address that both say, each where the other one does not.
    fn address_with(&self, other: &Socket, port: u16) -> SocketAddr {
        let ip = self.ip.or(other.ip).unwrap_or_else(any_address);
        SocketAddr::new(ip, self.port.or(other.port).unwrap_or(port))
    }
}

/// What is said of the log.
#[derive(Default)]
pub(super) struct LogDraft {
    pub(super) console: Option<bool>,
    pub(super) console_level: Option<&'static str>,
    /// The name of a file; none for none.
    pub(super) file: Option<Option<String>>,
    pub(super) file_level: Option<&'static str>,
    pub(super) directory: Option<PathBuf>,
    pub(super) default_level: Option<&'static str>,
    pub(super) server_level: Option<&'static str>,
    /// Whether the console is standard output.
    pub(super) to_stdout: bool,
}

impl Draft {
    /// Notes that a setting is not obeyed, and what happens instead.
    pub(super) fn warn(&mut self, entry: &Entry, instead: &str) {
        let text = format!("{} = {} is not obeyed: {instead}", entry.key, entry.shown());
        self.notices.push(Notice::warning(&entry.place, text));
    }

    /// What all of it says together, for a node of RabbitMQ's kind or for any leveret.
    ///
    /// # Errors
    /// For settings that lack another one.
    pub(super) fn finish(mut self, node: Option<Node>) -> Result<Settings, ConfigError> {
        self.note_what_differs();
        let mut listen = self.tcp.addresses();
        let tls_listen = self.ssl.addresses();
        if node.is_some() && listen.is_empty() && self.tcp.none.is_none() {
            listen.push(SocketAddr::new(any_address(), AMQP_PORT));
        }
        let (management, management_tls) = self.management(node.as_ref());
        let tls = self.tls(!tls_listen.is_empty(), management_tls);
        let limits = self.limits()?;
        let log_target = self.log_target(node.as_ref());
        let loopback_users = match self.no_loopback_users {
            true => Some(Vec::new()),
            false => self.loopback_users.take(),
        };
        let nowhere = self.tcp.none.take().filter(|_| tls_listen.is_empty()).map(|place| {
            let text = "listeners.tcp = none leaves nothing to listen on: listeners.ssl.default is expected";
            ConfigError::new(&place, text)
        });
        Ok(Settings {
            listen,
            tls_listen,
            tls,
            management,
            management_tls,
            loopback_users,
            first: self.first(node.is_some()),
            cluster_name: self.cluster_name,
            definitions: match (self.definitions_json, self.definitions) {
                (Some(json), _) => Some(DefinitionsSource::Json(json)),
                (None, Some(path)) => Some(DefinitionsSource::File(path)),
                (None, None) => None,
            },
            limits,
            log: self.log.filter(&log_target),
            log_target,
            node,
            nowhere,
            notices: self.notices,
        })
    }

    /// Notes what several settings together ask for and leveret does otherwise.
    fn note_what_differs(&mut self) {
        let older =
            self.tls_versions.iter().find(|it| !["tlsv1.2", "tlsv1.3"].contains(&&*it.value));
        if let Some(older) = older.cloned() {
            self.warn(&older, "leveret speaks TLS 1.2 and 1.3, and nothing older");
        }
        let has = |name: &str| self.mechanisms.iter().any(|it| it.value == name);
        let is_other = !has("PLAIN") || !has("AMQPLAIN");
        if let Some(mechanism) = self.mechanisms.first().cloned().filter(|_| is_other) {
            let instead = "leveret offers PLAIN and AMQPLAIN, and EXTERNAL to clients that show a certificate";
            self.warn(&mechanism, instead);
        }
    }

    /// Where the management API is when its plugin is enabled while the broker runs.
    pub(super) fn management_address(&self) -> Option<SocketAddr> {
        let is_secured = self.https.said_by.is_some() || self.either_is_secured;
        Some(match is_secured {
            true => self.https.address_with(&self.either, HTTPS_PORT),
            false => self.http.address_with(&self.either, HTTP_PORT),
        })
    }

    /// Where the management API is to be, and whether it is secured.
    ///
    /// rabbitmq: where its plugin is enabled. Without a list of plugins it is where settings ask for it.
    fn management(&mut self, node: Option<&Node>) -> (Option<SocketAddr>, bool) {
        let is_enabled =
            node.is_some_and(|node| node.plugins.iter().any(|it| it == "rabbitmq_management"));
        let either = self.either.said_by.clone();
        let secured =
            self.https.said_by.clone().or(either.clone().filter(|_| self.either_is_secured));
        let plain = self.http.said_by.clone().or(either.filter(|_| !self.either_is_secured));
        if node.is_some() && !is_enabled {
            if let Some(entry) = secured.or(plain) {
                self.warn(&entry, "there is no rabbitmq_management among the enabled plugins");
            }
            return (None, false);
        }
        if secured.is_none() {
            let is_there = is_enabled || plain.is_some();
            let address = is_there.then(|| self.http.address_with(&self.either, HTTP_PORT));
            return (address, false);
        }
        if let Some(entry) = plain {
            self.warn(&entry, "management has one address, and that is the one with TLS");
        }
        (Some(self.https.address_with(&self.either, HTTPS_PORT)), true)
    }

    /// What TLS is made of; nothing when nobody needs it.
    fn tls(&mut self, amqp: bool, management: bool) -> TlsSettings {
        let https = self.https.said_by.clone().or(self.either.said_by.clone());
        let listener = self.ssl.addresses.first().map(|(_, entry)| entry.clone());
        let asked_by = match (listener.filter(|_| amqp), https.filter(|_| management)) {
            (Some(listener), https) => {
                let own = &self.https_tls.certificate;
                let differs = own.is_some() && *own != self.tls.certificate;
                if let Some(https) = https.filter(|_| differs) {
                    self.warn(&https, "management has the certificate of ssl_options");
                }
                listener
            }
            (None, Some(https)) => https,
            (None, None) => return TlsSettings::default(),
        };
        let is_of_management = !amqp && self.https_tls.certificate.is_some();
        let (used, named) = match is_of_management {
            false => (std::mem::take(&mut self.tls), "ssl_options"),
            true => (std::mem::take(&mut self.https_tls), "management.ssl"),
        };
        let missing = used.missing().map(|word| {
            ConfigError::new(&asked_by.place, format!("{} needs {named}.{word}", asked_by.key))
        });
        // rabbitmq: with verify_none, its default, clients are not asked for a certificate.
        let client_ca = used.client_ca.filter(|_| used.verifies);
        if let Some(entry) = used.requires_certificate.as_ref().filter(|_| client_ca.is_none()) {
            self.warn(entry, "with verify_none clients are not asked for a certificate");
        }
        TlsSettings {
            certificate: used.certificate,
            key: used.key,
            require_client_certificate: used.requires_certificate.is_some() && client_ca.is_some(),
            user_from: self.user_from.filter(|_| client_ca.is_some()),
            versions: self.versions(),
            client_ca,
            missing,
        }
    }

    /// Which versions of TLS are spoken: those that are named, or both.
    fn versions(&self) -> TlsVersions {
        let has = |name: &str| self.tls_versions.iter().any(|it| it.value == name);
        match (has("tlsv1.2"), has("tlsv1.3")) {
            (true, false) => TlsVersions::OnlyV12,
            (false, true) => TlsVersions::OnlyV13,
            (true, true) | (false, false) => TlsVersions::Both,
        }
    }

    /// What bounds clients.
    fn limits(&mut self) -> Result<LimitSettings, ConfigError> {
        let mut limits = self.limits;
        let total = || self.total_memory.unwrap_or_else(memory::available);
        // rabbitmq: the last one said counts; a share and a size beside it are a mistake of the file.
        let (memory, said) = match (&self.memory_bytes, &self.memory_share) {
            (Some((bytes, entry)), _) => (Some(*bytes), Some(entry.clone())),
            (None, Some(entry)) => {
                let bytes = share_of(&entry.value, total()).map_err(|it| entry.refused(&it))?;
                (Some(bytes), Some(entry.clone()))
            }
            (None, None) => match self.total_memory {
                Some(total) => (Some(memory::share_of(total, memory::DEFAULT_PERCENT)), None),
                None => (None, None),
            },
        };
        limits.memory_limit = memory.map(|bytes| bytes.max(memory::LEAST_LIMIT));
        if let Some(entry) = said.filter(|_| memory < limits.memory_limit) {
            let instead = format!("leveret needs {} MiB at least", memory::LEAST_LIMIT >> 20);
            self.warn(&entry, &instead);
        }
        if let Some(entry) = self.disk_share.as_ref().filter(|_| limits.disk_free_limit.is_none()) {
            let total = self.total_memory.unwrap_or_else(memory::available);
            let bytes = share_of(&entry.value, total).map_err(|it| entry.refused(&it))?;
            limits.disk_free_limit = Some(bytes);
        }
        Ok(limits)
    }

    /// What is made on a data directory that is new.
    fn first(&mut self, is_node: bool) -> FirstObjects {
        let permissions = std::mem::take(&mut self.default_permissions);
        let is_said = self.default_user.is_some()
            || self.default_pass.is_some()
            || self.default_tags.is_some()
            || permissions.iter().any(Option::is_some);
        let all = || ".*".to_owned();
        let guest = || "guest".to_owned();
        let user = is_said.then(|| FirstUser {
            name: self.default_user.take().unwrap_or_else(guest),
            password: self.default_pass.take().unwrap_or_else(guest).into_bytes(),
            tags: self.default_tags.take().unwrap_or_else(|| vec!["administrator".to_owned()]),
            permissions: permissions.map(|pattern| pattern.unwrap_or_else(all)),
        });
        FirstObjects { vhost: self.default_vhost.take(), user, nothing_beside_definitions: is_node }
    }

    fn log_target(&mut self, node: Option<&Node>) -> LogTarget {
        let console = if self.log.to_stdout { LogTarget::Stdout } else { LogTarget::Stderr };
        let file = match self.log.file.take() {
            Some(Some(name)) => name,
            // rabbitmq: a node that is told of a directory for its log, and of nothing else, logs there.
            None => match node {
                Some(node) if self.log.directory.is_some() && self.log.console != Some(true) => {
                    format!("{}.log", node.name)
                }
                _ => return console,
            },
            Some(None) => return console,
        };
        let path = Path::new(&file);
        let path = match &self.log.directory {
            Some(directory) => directory.join(path),
            None => path.to_owned(),
        };
        if self.log.console == Some(true) {
            let text = format!("the log goes to the console alone, and not to {}", path.display());
            self.notices.push(Notice::told(text));
            return console;
        }
        LogTarget::File(path)
    }
}

impl LogDraft {
    /// What to log, as `--log` has it; none when nothing is said.
    fn filter(&self, target: &LogTarget) -> Option<String> {
        let of_target = match target {
            LogTarget::File(_) => self.file_level,
            LogTarget::Stderr | LogTarget::Stdout => self.console_level,
        };
        let is_off = self.console == Some(false) && !matches!(target, LogTarget::File(_));
        let level = match is_off {
            true => Some("off"),
            false => of_target.or(self.default_level),
        };
        if level.is_none() && self.server_level.is_none() {
            return None;
        }
        let mut filter = level.unwrap_or("info").to_owned();
        if let Some(level) = self.server_level.filter(|_| !is_off) {
            filter.push_str(&format!(",leveret::server={level}"));
        }
        Some(filter)
    }
}
