//! The management API: RabbitMQ's HTTP API at the edge of the broker.
//!
//! ```text
//!  request ─► which user? ─► room (queues, users, …) ─┬─► Vhosts: registry, snapshots ─► JSON
//!             access                                 ├─► Listing: rows, snapshots ─► JSON, streamed
//!                                                    └─► LocalClient: commands ─► the core's answer
//! ```
//!
//! - What is shown comes from snapshots, taken when it is asked for: nothing is sampled, nothing
//!   is late.
//! - What a client of AMQP could do (declare, bind, publish, get …) is done by a client without a
//!   socket, see [`local_client`], so that every rule, permission and text is the core's own.
//! - Paths, status codes, names and texts are RabbitMQ's.
//!
//! rabbitmq: beside each counter `x` stands `x_details` with a rate. Here the rate is always 0.0:
//! a client computes it from two readings, which are exact.
//!
//! What this module deliberately is not: it keeps no state of its own and has no page for management.

mod access;
mod answer;
mod attempts;
mod bindings;
mod body;
mod channels;
mod connections;
mod consumers;
mod control;
mod control_routes;
mod definitions;
mod exchanges;
mod features;
mod fields;
mod form;
mod health;
mod json_stream;
mod limits;
mod list;
mod listing;
mod local_client;
mod messages;
mod node;
mod overview;
mod pages;
mod parameters;
mod permissions;
mod policies;
mod queues;
mod server;
mod show;
mod socket_slot;
mod users;
mod vhosts;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::response::Response;
use parking_lot::Mutex;
use tokio::runtime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use self::answer::Failure;
pub(crate) use self::control::ControlSocket;
pub(crate) use self::server::Management;
use crate::active_listeners::ActiveListeners;
use crate::auth::{AuthenticationFailure, Authenticator, Credentials, User};
use crate::broker::time::Time;
use crate::handle::VhostHandle;
use crate::login_counts::{CountedLogins, LoginCounts, Logins};
use crate::operations::Operations;
use crate::tls::Acceptor;
use crate::vhosts::{VhostError, Vhosts};

/// What every request needs.
pub(crate) struct AppState {
    /// The virtual hosts, and who may do what in them.
    vhosts: Vhosts,
    /// What checks passwords.
    authenticator: Arc<dyn Authenticator>,
    logins_of_http: Arc<LoginCounts>,
    logins_of_amqp: Arc<LoginCounts>,
    /// Where it does so: one of an embedding program may need the runtime that it was made on.
    runtime: runtime::Handle,
    /// Where clients of AMQP are listened for.
    listeners: Vec<SocketAddr>,
    /// The same with TLS.
    tls_listeners: Vec<SocketAddr>,
    /// Which of them take clients at this moment.
    active_listeners: ActiveListeners,
    /// The certificates, if there are any.
    acceptor: Option<Arc<Acceptor>>,
    /// Where this API is, if it is, and whether it is spoken with TLS.
    http: Mutex<Option<(SocketAddr, bool)>>,
    /// What operators of this machine ask of the broker, if they reach it.
    operations: Option<Operations>,
    /// Where what is durable is kept; nowhere but in memory otherwise.
    data_dir: Option<PathBuf>,
    /// When the broker started.
    started_at: Time,
    /// What the broker calls itself.
    node: String,
    permits: Permits,
}

/// Permits for requests that need memory of some size: so many of a kind are answered at once, more wait.
struct Permits {
    /// Pages of lists: until their rows are found.
    pages: Arc<Semaphore>,
    /// Long lists: until they are written.
    lists: Arc<Semaphore>,
    /// Messages that are fetched: until they are written.
    gets: Arc<Semaphore>,
    /// Large bodies of requests: from their first byte until the request is answered.
    bodies: Arc<Semaphore>,
}

impl Permits {
    /// How many requests of each kind are answered at once.
    const COUNT: usize = 4;

    /// Waits for a permit, which is free again when it is dropped.
    async fn take(of: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Failure> {
        let permit = of.clone().acquire_owned().await;
        permit.map_err(|_| Failure::internal("the broker stops"))
    }
}

impl Default for Permits {
    fn default() -> Self {
        let semaphores = [(); 4].map(|()| Arc::new(Semaphore::new(Permits::COUNT)));
        let [pages, lists, gets, bodies] = semaphores;
        Permits { pages, lists, gets, bodies }
    }
}

pub(crate) type Api = Arc<AppState>;
type Answer = Result<Response, Failure>;

impl AppState {
    /// The state for a broker that has just started, on the runtime of which this is called.
    pub(crate) fn new(
        vhosts: Vhosts,
        logins: Logins,
        [listeners, tls_listeners]: [Vec<SocketAddr>; 2],
        active_listeners: ActiveListeners,
        acceptor: Option<Arc<Acceptor>>,
        data_dir: Option<PathBuf>,
        operations: Option<Operations>,
    ) -> Self {
        let (started_at, node) = (vhosts.now(), vhosts.node_name().to_owned());
        let logins_of_http = Arc::<LoginCounts>::default();
        AppState {
            vhosts,
            authenticator: Arc::new(CountedLogins::new(
                logins.authenticator,
                logins_of_http.clone(),
            )),
            logins_of_http,
            logins_of_amqp: logins.of_amqp,
            runtime: runtime::Handle::current(),
            listeners,
            tls_listeners,
            active_listeners,
            acceptor,
            http: Mutex::default(),
            operations,
            data_dir,
            started_at,
            node,
            permits: Permits::default(),
        }
    }

    /// The certificates, if there are any.
    pub(crate) fn acceptor(&self) -> Option<Arc<Acceptor>> {
        self.acceptor.clone()
    }

    /// Who a client is.
    async fn authenticate(
        &self,
        credentials: Credentials,
        peer: SocketAddr,
    ) -> Result<User, AuthenticationFailure> {
        let authenticator = self.authenticator.clone();
        let check = async move { authenticator.authenticate(&credentials, peer).await };
        // why: a set aborts its task when it is dropped, as when the client is gone.
        let mut tasks = JoinSet::new();
        tasks.spawn_on(check, &self.runtime);
        match tasks.join_next().await {
            Some(Ok(result)) => result,
            Some(Err(_)) | None => Err(AuthenticationFailure::Unavailable),
        }
    }

    /// A virtual host that runs; one that does not is none.
    fn vhost(&self, name: &str) -> Result<VhostHandle, Failure> {
        self.vhosts.vhost(name).ok_or_else(Failure::missing)
    }

    /// What the broker is short of.
    fn alarms(&self) -> Vec<&'static str> {
        let reason = self.vhosts.alarm().unwrap_or_default();
        ["memory", "disk"].into_iter().filter(|resource| reason.contains(resource)).collect()
    }

    /// Does what waits for the disk, on a thread where that blocks no other task.
    async fn write<T: Send + 'static>(
        &self,
        write: impl FnOnce(&Vhosts) -> Result<T, VhostError> + Send + 'static,
    ) -> Result<T, Failure> {
        let vhosts = self.vhosts.clone();
        Ok(off_thread(move || write(&vhosts)).await?)
    }
}

/// Does what may take long on a thread where it delays nothing else.
async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// All paths of the API.
fn router(app: Api) -> Router {
    routes().with_state(app)
}

fn routes() -> Router<Api> {
    let api = Router::new()
        .merge(overview::routes())
        .merge(node::routes())
        .merge(vhosts::routes())
        .merge(users::routes())
        .merge(permissions::routes())
        .merge(policies::routes())
        .merge(parameters::routes())
        .merge(limits::routes())
        .merge(exchanges::routes())
        .merge(queues::routes())
        .merge(messages::routes())
        .merge(bindings::routes())
        .merge(connections::routes())
        .merge(channels::routes())
        .merge(consumers::routes())
        .merge(definitions::routes())
        .merge(health::routes())
        .merge(attempts::routes())
        .merge(features::routes());
    Router::new().merge(pages::routes()).nest("/api", api).fallback(async || Failure::missing())
}
