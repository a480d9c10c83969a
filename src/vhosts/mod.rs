//! The virtual hosts of a broker, and who may do what in them.
//!
//! [`Vhosts`] is what listeners, management and an embedding program talk to: it lets clients in, makes
//! and deletes virtual hosts and users, and keeps the [`Registry`] of all that on the disk. Each
//! virtual host has its own parts: a core behind its handle, a store, a log thread, a timer.
//!
//! No message passes through here.
//!
//! invariant: the lock order is changing, alarms, running vhosts. The registry's and that of the open connections
//! are leaves. Waiting for a disk is done with `changing` alone held: a reader of the registry never waits.
//! invariant: nobody waits for a vhost with one of them held.

mod admission;
mod check;
mod definitions;
mod directories;
mod import;
mod layout;
mod log_thread;
mod registry;
mod reset;
mod resources;
mod sealed;
mod timer;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use tokio::runtime;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use self::admission::OpenConnections;
pub(crate) use self::admission::{ConnectionEnd, canonical};
pub(crate) use self::check::check;
pub use self::check::{DataDirCheck, VhostCheck};
use self::directories::FoundAs;
pub use self::import::ImportError;
use self::import::Objects;
pub use self::registry::RegistryError;
use self::registry::{Changes, FoundRegistry, RegistryFile};
pub(crate) use self::registry::{
    PermissionRecord, PolicyRecord, Registry, TopicPermissionRecord, UserRecord, VhostRecord,
};
use self::resources::{Alarms, RunningLimits};
pub(crate) use self::resources::{Resource, ResourcePlan};
use crate::auth::Authenticator;
use crate::broker::access::{AuthenticationFailure, Credentials, InvalidPattern, User};
use crate::broker::chance::Seed;
use crate::broker::error::Fault;
use crate::broker::record::Recovered;
use crate::broker::time::Time;
use crate::broker::vhost::VhostSettings;
use crate::clock::Clock;
use crate::config::FirstObjects;
use crate::definitions::Definitions;
use crate::handle::{Chosen, VhostHandle};
use crate::node_name::default_node_name;
use crate::passwords::{self, PasswordHash};
use crate::store::{Disk, Options, Progress, Report, Store, StoreError, Subdirectory};
use crate::supervisor::Supervisor;

/// Where the stores of virtual hosts are.
const VHOSTS: &str = "vhosts";

/// How often a long recovery says how far it is, in milliseconds.
const PROGRESS_MS: u64 = 1_000;

/// How many changes of users, virtual hosts and permissions that are made at once are logged one by one.
const CHANGES_LOGGED: usize = 100;

/// A virtual host at work.
struct RunningVhost {
    handle: VhostHandle,
    timer: JoinHandle<()>,
    log_thread: Option<std::thread::JoinHandle<Result<(), StoreError>>>,
}

impl RunningVhost {
    fn start(
        name: &str,
        disk: Option<(Arc<dyn Disk>, Options)>,
        clock: Arc<dyn Clock>,
        settings: &VhostSettings,
        supervisor: &Supervisor,
        runtime: &runtime::Handle,
    ) -> Result<(Self, Report), VhostError> {
        let (store, recovered, report) = match disk {
            None => (None, Recovered::default(), Report::default()),
            Some((disk, options)) => {
                let mut told = clock.now();
                let (store, recovered, report) =
                    Store::open_with(disk, options, &mut |progress| {
                        let now = clock.now();
                        if now.millis_since(told) >= PROGRESS_MS {
                            told = now;
                            let Progress { done_bytes, total_bytes } = progress;
                            tracing::info!(
                                vhost = name,
                                done_bytes,
                                total_bytes,
                                "still recovering"
                            );
                        }
                    })?;
                (Some(store), recovered, report)
            }
        };
        let (handle, left_out) = VhostHandle::new(name, clock, settings, recovered);
        for left_out in left_out {
            tracing::error!("vhost '{name}': {left_out}");
        }
        let log_thread = log_thread::spawn(handle.clone(), store, supervisor.clone())
            .map_err(VhostError::Thread)?;
        let part = format!("the timer of vhost '{name}'");
        let timer = timer::run(handle.clone());
        let timer = runtime.spawn(supervisor.clone().supervise(part, timer, || false));
        Ok((RunningVhost { handle, timer, log_thread: Some(log_thread) }, report))
    }

    /// Waits until everything durable is on the disk and the store is closed.
    async fn stop(mut self) -> Result<(), StoreError> {
        self.handle.log().close();
        let Some(log_thread) = self.log_thread.take() else { return Ok(()) };
        // why: on a thread of its own, since the last sync may take a while.
        let ended = tokio::task::spawn_blocking(|| log_thread.join());
        // What failed in it was reported when it did.
        let joined = ended.await.unwrap_or_else(|error| Err(error.into_panic()));
        joined.unwrap_or(Err(StoreError::Poisoned))
    }
}

impl Drop for RunningVhost {
    /// Without [`stop`](RunningVhost::stop), what is durable is still written.
    fn drop(&mut self) {
        self.timer.abort();
        self.handle.log().close();
    }
}

/// rabbitmq: the name of a cluster is kept in the global parameter of this name.
pub(crate) const CLUSTER_NAME: &str = "cluster_name";

/// What a broker is to have at its start beside what is on its disk.
#[derive(Clone, Copy, Default)]
pub(crate) struct Initial<'a> {
    /// Users with all rights in `/`, with their passwords.
    pub(crate) users: &'a [(String, Vec<u8>)],
    /// What is made on a disk that is new.
    pub(crate) first: Option<&'a FirstObjects>,
    /// What definitions name.
    pub(crate) definitions: Option<&'a Definitions>,
    /// What the node is called, if not after the machine.
    pub(crate) node_name: Option<&'a str>,
    /// What the cluster is called, if it is to be called otherwise than before.
    pub(crate) cluster_name: Option<&'a str>,
    /// Whether a start goes on where it would refuse, since something is lost.
    pub(crate) accept_loss: bool,
}

/// Why a virtual host could not be started.
#[derive(Debug, thiserror::Error)]
pub enum VhostError {
    /// What is in the data directory could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A virtual host cannot be started from what is in its directory.
    #[error("virtual host {vhost:?}: {source}")]
    NotStarted {
        /// Which one.
        vhost: String,
        /// Why.
        source: StoreError,
    },
    /// The registry of users and virtual hosts could not be read or written.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The system refused a thread.
    #[error("cannot start the log thread: {0}")]
    Thread(io::Error),
    /// The system gives no random numbers, without which names could be guessed.
    #[error("the system gives no random numbers: {0}")]
    NoRandomNumbers(getrandom::Error),
    /// There is no virtual host of this name.
    #[error("there is no virtual host '{0}'")]
    NoVhost(String),
    /// A virtual host is protected from deletion.
    #[error("Refusing to delete virtual host '{0}' because it is protected from deletion")]
    Protected(String),
    /// A permission's pattern is no regular expression.
    #[error(transparent)]
    Pattern(#[from] InvalidPattern),
}

/// All virtual hosts of a broker. Cloning it copies a pointer.
#[derive(Clone)]
pub(crate) struct Vhosts {
    inner: Arc<Inner>,
}

struct Inner {
    clock: Arc<dyn Clock>,
    disk: Arc<dyn Disk>,
    /// Replaced whole by a change, once that is kept.
    registry: RwLock<Arc<Registry>>,
    /// Where the registry is kept. Held while it is changed, so that one change follows another.
    changing: Mutex<RegistryFile>,
    running: RwLock<BTreeMap<String, RunningVhost>>,
    open: Mutex<OpenConnections>,
    /// Users that may connect from this machine alone.
    loopback_users: Vec<String>,
    /// What the node is called.
    node_name: String,
    /// Why publishers are blocked, while they are.
    alarms: Mutex<Alarms>,
    resources: ResourcePlan,
    limits: RunningLimits,
    pressure: Arc<Notify>,
    seed: Seed,
    supervisor: Supervisor,
    /// Where the timers run, whoever makes a virtual host.
    runtime: runtime::Handle,
}

impl Vhosts {
    /// Starts every virtual host there is on the disk, which keeps what is durable in them if the plan
    /// says so; on an empty one the virtual host `/` with the user guest, or what is `initial` in their
    /// place. Those of `loopback_users` may connect from this machine alone. With `allow_unknown_users`, users
    /// that are not in the registry may do everything: the authenticator checks them. Also what was
    /// found, as one report for each.
    pub(crate) fn start(
        disk: Arc<dyn Disk>,
        resources: ResourcePlan,
        clock: Arc<dyn Clock>,
        seed: Option<u64>,
        initial: Initial<'_>,
        loopback_users: &[String],
        allow_unknown_users: bool,
    ) -> Result<(Self, Vec<(String, Report)>), ImportError> {
        let seed = match seed {
            Some(seed) => Seed::from(seed),
            None => Seed::new(random_key()?),
        };
        let Initial { definitions, accept_loss, .. } = initial;
        let FoundRegistry { registry: found, mut file, is_new, has_owners, damage } =
            RegistryFile::read(disk.clone(), accept_loss).map_err(VhostError::from)?;
        damage.iter().for_each(|damage| tracing::error!("{damage}"));
        let mut registry = found.clone();
        if resources.has_disk {
            let found_as = FoundAs { is_new, has_owners };
            directories::settle(&*disk, &mut registry, found_as, accept_loss)
                .map_err(VhostError::from)?;
        }
        if allow_unknown_users {
            registry.allow_unknown_users();
        }
        registry.add_first_objects(is_new, initial);
        let objects = definitions.map(|definitions| {
            import::import_registry(&mut registry, definitions)?;
            let objects = Objects::read(definitions)?;
            objects.check(&registry, &found, resources.client_limits)?;
            import::note_unknown_keys(definitions);
            Ok::<_, ImportError>(objects)
        });
        let objects = objects.transpose()?;
        if let Some(name) = initial.cluster_name {
            registry.global_parameters_mut().insert(CLUSTER_NAME.to_owned(), name.into());
        }
        if definitions.is_some() && !allow_unknown_users && registry.users().next().is_none() {
            tracing::error!("no user can log in: definitions hold none");
        }
        if resources.has_disk {
            ensure_owners(&*disk, &registry)?;
        }
        log_changes(&file.keep(&found, &registry).map_err(VhostError::from)?, &found);
        let vhosts = Vhosts {
            inner: Arc::new(Inner {
                clock,
                disk,
                registry: RwLock::new(Arc::new(registry)),
                changing: Mutex::new(file),
                running: RwLock::new(BTreeMap::new()),
                open: Mutex::default(),
                loopback_users: loopback_users.to_vec(),
                node_name: initial.node_name.map_or_else(default_node_name, str::to_owned),
                alarms: Mutex::default(),
                limits: RunningLimits::new(&resources),
                resources,
                pressure: Arc::default(),
                seed,
                supervisor: Supervisor::default(),
                runtime: runtime::Handle::current(),
            }),
        };
        let mut reports = Vec::new();
        let registry = vhosts.registry();
        for (name, _) in registry.vhosts() {
            let report = match vhosts.run(&registry, name) {
                // why: what the system refuses for now is no loss.
                Err(VhostError::Store(error @ StoreError::Damaged { .. })) if accept_loss => {
                    vhosts.run_on_new_directory(name, &error)?
                }
                Err(VhostError::Store(source)) => {
                    let vhost = name.to_owned();
                    return Err(VhostError::NotStarted { vhost, source }.into());
                }
                result => result?,
            };
            reports.push((name.to_owned(), report));
        }
        vhosts.inner.changing.lock().mend(&vhosts.registry()).map_err(VhostError::from)?;
        if let (Some(objects), Some(definitions)) = (objects, definitions) {
            vhosts.import_objects(&objects)?;
            import::log_import(definitions);
        }
        Ok((vhosts, reports))
    }

    /// What the node is called.
    pub(crate) fn node_name(&self) -> &str {
        &self.inner.node_name
    }

    /// The registry as it is now.
    pub(crate) fn registry(&self) -> Arc<Registry> {
        self.inner.registry.read().clone()
    }

    /// Starts the virtual host of this name, which is in the registry.
    fn run(&self, registry: &Registry, name: &str) -> Result<Report, VhostError> {
        let Some(record) = registry.vhost(name) else { return Ok(Report::default()) };
        // why: what is to be forgotten anyway need not be written anywhere.
        let resources = &self.inner.resources;
        let disk = resources.has_disk.then(|| -> (Arc<dyn Disk>, Options) {
            let disk = Subdirectory::new(self.inner.disk.clone(), &record.directory());
            (Arc::new(disk), resources.store_options(registry.vhosts().count()))
        });
        let settings = VhostSettings {
            seed: self.inner.seed.stream(record.number()),
            policies: Arc::new(record.policies()),
            limits: resources.client_limits,
        };
        let (vhost, report) = RunningVhost::start(
            name,
            disk,
            self.inner.clock.clone(),
            &settings,
            &self.inner.supervisor,
            &self.inner.runtime,
        )?;
        vhost.handle.watch_memory(self.inner.pressure.clone());
        self.inner.running.write().insert(name.to_owned(), vhost);
        self.share_memory();
        self.apply_alarms(name);
        self.apply(registry, name, None);
        Ok(report)
    }

    /// Starts a virtual host without what is in its directory, which is left alone.
    fn run_on_new_directory(&self, name: &str, error: &StoreError) -> Result<Report, VhostError> {
        tracing::error!(vhost = name, %error, "it cannot be started, and gets a new, empty directory");
        self.write_registry(|registry| registry.renumber(name))?;
        self.run(&self.registry(), name)
    }

    /// Gives a running virtual host its rights, policies and limits from the registry, where it had what
    /// `before` says.
    fn apply(&self, registry: &Registry, name: &str, before: Option<&VhostRecord>) {
        let (Some(record), Some(handle)) = (registry.vhost(name), self.vhost(name)) else {
            return;
        };
        if before.is_none_or(|before| !record.has_policies_of(before)) {
            // why: patterns are read here, before the vhost is locked.
            handle.set_policies(Arc::new(record.policies()));
        }
        let users = self.inner.open.lock().users_of(name);
        let rights = users.into_iter().map(|user| {
            let rights = Arc::new(registry.rights(name, &user));
            (user, rights)
        });
        handle.set_rights(rights.collect());
        handle.set_max_queues(record.limit("max-queues"));
        handle.set_tracing(record.tracing.then(|| self.inner.node_name.clone()));
    }

    /// The virtual host of this name, while it runs: one that has failed does not.
    pub(crate) fn vhost(&self, name: &str) -> Option<VhostHandle> {
        self.started(name).filter(|handle| !handle.has_failed())
    }

    /// The virtual host of this name, be it that it has failed.
    fn started(&self, name: &str) -> Option<VhostHandle> {
        self.inner.running.read().get(name).map(|vhost| vhost.handle.clone())
    }

    /// All virtual hosts that run, by name.
    pub(crate) fn running(&self) -> Vec<(String, VhostHandle)> {
        let running = self.inner.running.read();
        let running = running.iter().map(|(name, vhost)| (name.clone(), vhost.handle.clone()));
        running.filter(|(_, handle)| !handle.has_failed()).collect()
    }

    /// How many virtual hosts run.
    pub(crate) fn running_count(&self) -> usize {
        self.inner.running.read().len()
    }

    /// What learns of the end of tasks and threads that must not end.
    pub(crate) fn supervisor(&self) -> &Supervisor {
        &self.inner.supervisor
    }

    /// Reads users, virtual hosts and what belongs to them.
    pub(crate) fn read_registry<T>(&self, read: impl FnOnce(&Registry) -> T) -> T {
        read(&self.registry())
    }

    /// Changes the registry, saves it and passes the change on to the running virtual hosts. One that is new in
    /// it is started.
    pub(crate) fn write_registry<T>(
        &self,
        write: impl FnOnce(&mut Registry) -> T,
    ) -> Result<T, VhostError> {
        self.try_write_registry(|registry| Ok(write(registry)))
    }

    /// The same with a change that may be given up: nothing is changed then.
    fn try_write_registry<T, E: From<VhostError>>(
        &self,
        write: impl FnOnce(&mut Registry) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut file = self.inner.changing.lock();
        let before = self.registry();
        let mut registry = Registry::clone(&before);
        let result = write(&mut registry)?;
        // why: a directory is there before the registry names it, so that one that is missing is a loss.
        if self.inner.resources.has_disk {
            ensure_owners_of_new(&*self.inner.disk, &before, &registry)?;
        }
        let changes = file.keep(&before, &registry).map_err(VhostError::from)?;
        let is_new = |(name, _): &(&str, &VhostRecord)| before.vhost(name).is_none();
        for (name, _) in registry.vhosts().filter(is_new) {
            self.run(&registry, name)?;
        }
        log_changes(&changes, &before);
        let registry = Arc::new(registry);
        *self.inner.registry.write() = registry.clone();
        let of_all = registry.has_other_limits_than(&before);
        for (name, _) in self.running() {
            let had = before.vhost(&name);
            if had.is_some() && (of_all || registry.vhost(&name) != had) {
                self.apply(&registry, &name, had);
            }
        }
        Ok(result)
    }

    /// Adds a user, or gives it another password and other tags.
    pub(crate) fn set_user(
        &self,
        name: &str,
        password: &[u8],
        tags: &[&str],
    ) -> Result<(), VhostError> {
        let password = Some(PasswordHash::new(password, salt()));
        let tags = tags.iter().map(|&tag| tag.to_owned()).collect();
        self.write_registry(|registry| {
            let limits = registry.user(name).map(|user| user.limits.clone()).unwrap_or_default();
            registry.set_user(name, UserRecord { password, tags, limits });
        })
    }

    /// Gives a user its patterns in a virtual host: configure, write, read.
    pub(crate) fn set_permissions(
        &self,
        user: &str,
        vhost: &str,
        patterns: [&str; 3],
    ) -> Result<(), VhostError> {
        let [configure, write, read] = patterns.map(str::to_owned);
        let record = PermissionRecord { configure, write, read };
        if self.read_registry(|registry| registry.vhost(vhost).is_none()) {
            return Err(VhostError::NoVhost(vhost.to_owned()));
        }
        self.write_registry(|registry| registry.set_permissions(vhost, user, record))??;
        Ok(())
    }

    /// Makes a virtual host, unless it is there. Says whether it is new.
    pub(crate) fn create_vhost(&self, name: &str) -> Result<bool, VhostError> {
        if self.read_registry(|registry| registry.vhost(name).is_some()) {
            return Ok(false);
        }
        self.write_registry(|registry| registry.add_vhost(name))
    }

    /// Deletes a virtual host with everything in it; its clients are told. Says whether it was
    /// there.
    pub(crate) async fn delete_vhost(&self, name: &str) -> Result<bool, VhostError> {
        let (record, vhost) = {
            let mut file = self.inner.changing.lock();
            let before = self.registry();
            let mut registry = Registry::clone(&before);
            let Some(record) = registry.remove_vhost(name) else { return Ok(false) };
            if record.protected_from_deletion {
                return Err(VhostError::Protected(name.to_owned()));
            }
            log_changes(&file.keep(&before, &registry)?, &before);
            *self.inner.registry.write() = Arc::new(registry);
            (record, self.inner.running.write().remove(name))
        };
        self.share_memory();
        if let Some(vhost) = vhost {
            vhost.handle.close(Fault::VhostDeleted(name.to_owned()), Chosen::All);
            // why: an error of a store that is removed does not matter.
            let _ = vhost.stop().await;
        }
        let disk = self.inner.disk.clone();
        let directory = record.directory();
        let removing = tokio::task::spawn_blocking(move || layout::remove(&*disk, &directory));
        let failed = |error: tokio::task::JoinError| RegistryError::Io {
            action: "remove",
            path: record.directory(),
            source: io::Error::other(error),
        };
        removing.await.map_err(failed)??;
        // What dies before this is finished by the next start.
        self.write_registry(|registry| registry.forget_deleted(|gone| gone == record.number()))?;
        Ok(true)
    }

    /// Closes the connections of a user that is deleted.
    pub(crate) fn dismiss(&self, user: &str) {
        let reason = Fault::UserDeleted(user.to_owned());
        for (_, handle) in self.running() {
            handle.close(reason.clone(), Chosen::User(user.to_owned()));
        }
    }

    /// Who a client is, by the registry.
    fn look_up(
        &self,
        credentials: &Credentials,
        peer: SocketAddr,
    ) -> Result<User, AuthenticationFailure> {
        let registry = self.registry();
        let Credentials { user: name, password, .. } = credentials;
        let user = registry.user(name);
        // why: also for a user that is not there, so that the time does not show which users are.
        let proved = credentials.is_external()
            || passwords::verify(user.and_then(|user| user.password.as_ref()), password);
        let Some(user) = user.filter(|_| proved) else {
            return Err(AuthenticationFailure::Refused);
        };
        if self.inner.loopback_users.contains(name) && !is_local(peer) {
            return Err(AuthenticationFailure::NotLocal);
        }
        Ok(User { name: name.clone(), tags: user.tags.clone() })
    }

    /// Closes the connection of this name, as management shows it. Says whether it was there.
    pub(crate) fn close_connection(&self, name: &str, reason: &str) -> bool {
        for (_, handle) in self.running() {
            if let Some(connection) = handle.connection(name) {
                handle.close(
                    Fault::ClosedByOperator(reason.to_owned()),
                    Chosen::Connection(connection),
                );
                return true;
            }
        }
        false
    }

    /// Closes all connections of a user.
    pub(crate) fn close_connections_of(&self, user: &str, reason: &str) {
        let reason = Fault::ClosedByOperator(reason.to_owned());
        for (_, handle) in self.running() {
            handle.close(reason.clone(), Chosen::User(user.to_owned()));
        }
    }

    /// The time by the broker's clock.
    pub(crate) fn now(&self) -> Time {
        self.inner.clock.now()
    }

    /// The broker stops: every client is told, and no new one gets in.
    pub(crate) fn shutdown(&self) {
        for (_, handle) in self.running() {
            handle.close(Fault::Shutdown, Chosen::All);
        }
    }

    /// Waits until everything durable is on the disk. Returns the first failure.
    pub(crate) async fn stop(&self) -> Result<(), StoreError> {
        let vhosts = std::mem::take(&mut *self.inner.running.write());
        let mut result = Ok(());
        for vhost in vhosts.into_values() {
            result = result.and(vhost.stop().await);
        }
        result
    }
}

#[async_trait]
impl Authenticator for Vhosts {
    async fn authenticate(
        &self,
        credentials: &Credentials,
        peer: SocketAddr,
    ) -> Result<User, AuthenticationFailure> {
        self.look_up(credentials, peer)
    }
}

/// Makes the directories that the registry names and that are not there, each with its owner.
fn ensure_owners(disk: &dyn Disk, registry: &Registry) -> Result<(), VhostError> {
    for (name, record) in registry.vhosts() {
        layout::ensure_owner(disk, registry, name, record)?;
    }
    Ok(())
}

/// The same for those that are new in a registry.
fn ensure_owners_of_new(
    disk: &dyn Disk,
    before: &Registry,
    registry: &Registry,
) -> Result<(), VhostError> {
    for (name, record) in registry.vhosts() {
        if before.vhost(name).is_none_or(|before| before.number() != record.number()) {
            layout::ensure_owner(disk, registry, name, record)?;
        }
    }
    Ok(())
}

/// Logs what was changed of users, virtual hosts and permissions.
fn log_changes(changes: &Changes, before: &Registry) {
    let lines = changes.describe(before);
    lines.iter().take(CHANGES_LOGGED).for_each(|line| tracing::info!("{line}"));
    if let Some(more @ 1..) = lines.len().checked_sub(CHANGES_LOGGED) {
        tracing::info!(more, "more was changed at once");
    }
}

/// Whether the peer is this machine, also when an IPv6 socket shows its IPv4 address.
fn is_local(peer: SocketAddr) -> bool {
    peer.ip().to_canonical().is_loopback()
}

/// A key that nobody knows.
pub(crate) fn random_key() -> Result<[u8; 32], VhostError> {
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(VhostError::NoRandomNumbers)?;
    Ok(key)
}

/// A new salt for a password's hash.
pub(crate) fn salt() -> [u8; 4] {
    fastrand::u32(..).to_be_bytes()
}

#[cfg(test)]
mod tests;
