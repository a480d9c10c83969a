//! RabbitMQ's configuration: `rabbitmq.conf`, the classic form, the environment of a node, its list of plugins.
//!
//! - [`Settings::load`] reads all of it and says what it means in leveret's terms.
//! - `conf`, `terms` and `classic`, `environment` and `plugins` read the forms. Each setting becomes an entry: a key of
//!   `rabbitmq.conf`, a value, the place where it was found.
//! - `keys` says what each key does: it is obeyed, or a line of the log says that it is not.
//! - `draft` is what they say together.
//!
//! What this module deliberately is not: it starts nothing, writes nothing and logs nothing; what there is to say is in
//! [`Settings::notices`]. Options of the command line count more than all of this, which is the command line's business.

mod classic;
mod conf;
mod draft;
mod entry;
mod environment;
mod keys;
mod nearest;
mod node;
mod plugins;
mod settings;
mod terms;
mod value;

pub use self::entry::{ConfigError, Importance, Notice, Place};
pub use self::environment::Environment;
pub(crate) use self::nearest::nearest;
pub(crate) use self::node::{data_dir, enabled_plugins_file, node_name};
pub(crate) use self::plugins::{
    names as plugin_names, not_served as plugins_not_served, parse_file as parse_plugins,
    with_needs as plugins_with_needs,
};
pub use self::settings::{LimitSettings, LogTarget, Node, Settings, TlsSettings};

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use self::draft::Draft;
use self::entry::Entry;

/// Who the configuration is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Any leveret: variables of RabbitMQ say nothing to it.
    #[default]
    Plain,
    /// A node in the place of RabbitMQ's server.
    Server,
    /// The same in the place of RabbitMQ's image.
    Container,
}

/// What a configuration is to be read from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// Who it is for.
    pub mode: Mode,
    /// Files, or directories with files, that were named.
    pub files: Vec<PathBuf>,
    /// Whether a key that there is not is a reason to refuse.
    pub strict: bool,
}

impl Settings {
    /// Reads the configuration. Of two places that say the same, the environment counts more than files, and a later
    /// file more than an earlier one.
    ///
    /// # Errors
    /// In one line with the place, the key and what is expected there.
    pub fn load(sources: &Sources, environment: &Environment) -> Result<Self, ConfigError> {
        let definitions_json = environment.definitions_json()?;
        let mut draft = Draft { definitions_json, ..Draft::default() };
        let mut files = Files { environment: environment.clone(), entries: Vec::new() };
        if sources.mode == Mode::Plain {
            for path in &sources.files {
                files.named(path, &mut draft)?;
            }
            keys::apply(&mut draft, &files.entries, sources.strict)?;
            return draft.finish(None);
        }
        files.environment_file(&mut draft)?;
        if sources.mode == Mode::Container {
            // rabbitmq: its image comes with a file that says this.
            let place = Place::Variable("--container".to_owned());
            files.entries.push(Entry::new("loopback_users.guest", "false", &place));
        }
        match sources.files.is_empty() {
            true => files.of_node(&mut draft)?,
            false => {
                sources.files.iter().try_for_each(|path| files.named(path, &mut draft))?;
            }
        }
        files.advanced(&mut draft)?;
        let environment = &files.environment;
        let of_variables = environment.entries(&mut draft.notices)?;
        environment.note_names(&mut draft.notices);
        let entries = overridden(files.entries, of_variables);
        keys::apply(&mut draft, &entries, sources.strict)?;
        node::set_log(environment, sources.mode, &mut draft);
        let node = node::node(environment, sources.mode, &mut draft)?;
        draft.notices.push(node::notice(&node));
        draft.finish(Some(node))
    }
}

/// The settings of files with those of variables in their place: a port in a variable is the only one, and a share of
/// the memory takes the place of a size.
fn overridden(mut entries: Vec<Entry>, variables: Vec<Entry>) -> Vec<Entry> {
    for prefix in ["listeners.tcp", "vm_memory_high_watermark", "disk_free_limit"] {
        let is_of_it = |entry: &Entry| {
            let rest = entry.key.strip_prefix(prefix);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        if variables.iter().any(is_of_it) {
            entries.retain(|entry| !is_of_it(entry));
        }
    }
    for variable in variables {
        // why: a listener that comes with a variable for certificates is for who names none.
        let is_added = ["listeners.ssl.default", "management.ssl.port"]
            .contains(&variable.key.as_str())
            && entries.iter().any(|entry| entry.key.starts_with(prefix_of(&variable.key)));
        if !is_added {
            entries.push(variable);
        }
    }
    entries
}

fn prefix_of(key: &str) -> &str {
    match key.strip_suffix(".default") {
        Some(prefix) => prefix,
        None => key,
    }
}

/// The files that were read, and what they say.
struct Files {
    environment: Environment,
    entries: Vec<Entry>,
}

impl Files {
    /// A file that was named: it must be there.
    fn named(&mut self, path: &Path, draft: &mut Draft) -> Result<(), ConfigError> {
        if path.is_dir() {
            return self.directory(path, "*", draft);
        }
        let is_classic = path.extension().is_some_and(|extension| extension == "config");
        let text = fs::read_to_string(path).map_err(|error| unreadable(path, &error))?;
        draft.notices.push(Notice::info(format!("configuration: {}", path.display())));
        draft.config_files.push(path.to_owned());
        if is_classic {
            let classic = classic::parse(&text, path)?;
            self.entries.extend(classic.entries);
            draft.notices.extend(classic.notices);
            return Ok(());
        }
        let variable = |name: &str| self.environment.get(name).map(str::to_owned);
        let entries = conf::parse(&text, path, &variable)?;
        self.entries.extend(entries);
        Ok(())
    }

    /// All files of a directory that end with `.conf` and are of this pattern, by name.
    fn directory(
        &mut self,
        path: &Path,
        pattern: &str,
        draft: &mut Draft,
    ) -> Result<(), ConfigError> {
        let entries = fs::read_dir(path).map_err(|error| unreadable(path, &error))?;
        let paths = entries.map(|entry| entry.map(|entry| entry.path()));
        let mut paths: Vec<PathBuf> =
            paths.collect::<Result<_, _>>().map_err(|error| unreadable(path, &error))?;
        let (head, tail) = pattern.split_once('*').unwrap_or((pattern, ""));
        paths.retain(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.ends_with(".conf") && name.starts_with(head) && name.ends_with(tail)
        });
        paths.sort();
        paths.iter().try_for_each(|path| self.named(path, draft))
    }

    /// The files that a node looks for.
    fn of_node(&mut self, draft: &mut Draft) -> Result<(), ConfigError> {
        let given = self.environment.first(&["CONFIG_FILE"]);
        let given = given.map(|(path, place)| (PathBuf::from(path), place));
        let base = match &given {
            Some((path, _)) => path.clone(),
            None => node::config_dir(&self.environment).join("rabbitmq"),
        };
        let found = [base.clone(), with_suffix(&base, ".conf"), with_suffix(&base, ".config")];
        match (found.into_iter().find(|path| path.is_file()), given) {
            (Some(path), _) => self.named(&path, draft)?,
            (None, Some((path, place))) => {
                let text = format!("there is no file {}", path.display());
                draft.notices.push(Notice::warning(&place, text));
            }
            (None, None) => {}
        }
        let more = match self.environment.rabbitmq("CONFIG_FILES") {
            Some(path) => PathBuf::from(path),
            None => node::config_dir(&self.environment).join("conf.d"),
        };
        // rabbitmq: a directory, or a pattern of files in one.
        let name = more.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match more.parent() {
            Some(directory) if name.contains('*') && directory.is_dir() => {
                self.directory(directory, &name, draft)
            }
            _ if more.is_dir() => self.directory(&more, "*", draft),
            _ if more.is_file() => self.named(&more, draft),
            _ => Ok(()),
        }
    }

    /// What is said in Erlang's terms beside it.
    fn advanced(&mut self, draft: &mut Draft) -> Result<(), ConfigError> {
        let given = self.environment.rabbitmq("ADVANCED_CONFIG_FILE").map(PathBuf::from);
        let path =
            given.unwrap_or_else(|| node::config_dir(&self.environment).join("advanced.config"));
        let found = [with_suffix(&path, ".config"), path];
        let Some(path) = found.into_iter().find(|path| path.is_file()) else { return Ok(()) };
        let text = fs::read_to_string(&path).map_err(|error| unreadable(&path, &error))?;
        draft.notices.push(Notice::info(format!("configuration: {}", path.display())));
        draft.config_files.push(path.clone());
        let classic = classic::parse(&text, &path)?;
        self.entries.extend(classic.entries);
        draft.notices.extend(classic.notices);
        Ok(())
    }

    /// The variables in a file, which count less than those of the environment.
    fn environment_file(&mut self, draft: &mut Draft) -> Result<(), ConfigError> {
        let given = self.environment.rabbitmq("CONF_ENV_FILE").map(PathBuf::from);
        let path =
            given.unwrap_or_else(|| node::config_dir(&self.environment).join("rabbitmq-env.conf"));
        match fs::read_to_string(&path) {
            Ok(text) => {
                let notices = self.environment.add_file(&text, &path);
                draft.notices.extend(notices);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(unreadable(&path, &error)),
        }
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut whole = path.as_os_str().to_owned();
    whole.push(suffix);
    whole.into()
}

fn unreadable(path: &Path, error: &std::io::Error) -> ConfigError {
    ConfigError::new(&Place::File(path.to_owned()), format!("it cannot be read: {error}"))
}
