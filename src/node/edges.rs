//! The ends of a broker for operators: the management API, the control socket, and what is asked there of the whole.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::config::{Config, MANAGEMENT_PLUGIN, Storage};
use crate::management::{Api, AppState, ControlSocket, Management};
use crate::operations::{Asked, Operation, Operations};
#[cfg(feature = "cli")]
use crate::rabbit;
use crate::server::{self, Doors, Server, StartError};
use crate::vhosts::{Initial, Vhosts};

/// The ends that run.
pub(super) struct Edges {
    http: Arc<Http>,
    /// What reaches operators of this machine, if anything does.
    control: Option<Control>,
}

/// The listener of the management API, before anything else is started.
pub(super) struct Listener(Option<(SocketAddr, TcpListener)>);

impl Listener {
    /// why: before anything else, so that an address that is taken ends the start early.
    pub(super) async fn bind(config: &Config) -> Result<Self, StartError> {
        Ok(Listener(match config.management {
            Some(address) => server::bind(&[address]).await?.pop(),
            None => None,
        }))
    }
}

/// The control socket, and the task that does what is asked there. Dropping it ends both.
struct Control {
    _socket: ControlSocket,
    executing: JoinHandle<()>,
    /// True once an operator has asked for the end.
    stop_asked: watch::Receiver<bool>,
}

impl Drop for Control {
    fn drop(&mut self) {
        self.executing.abort();
    }
}

/// The management API, while it is there.
struct Http {
    /// Where it is, or would be.
    address: Option<SocketAddr>,
    secured: bool,
    running: Mutex<Option<Management>>,
}

impl Edges {
    /// Starts them for a server that runs.
    pub(super) fn start(
        config: Config,
        server: &Server,
        listener: Listener,
    ) -> Result<Self, StartError> {
        let data_dir = match &config.storage {
            Storage::Memory => None,
            Storage::Directory(path) => Some(path.clone()),
        };
        let (operations, asked) = config.control.clone().map(Operations::new).unzip();
        let app = Arc::new(AppState::new(
            server.vhosts().clone(),
            server.logins().clone(),
            [server.addresses(), server.tls_addresses()].map(<[_]>::to_vec),
            server.active_listeners().clone(),
            server.acceptor(),
            data_dir,
            operations.clone(),
        ));
        let planned = config.control.as_ref().and_then(|control| control.management);
        let http = Arc::new(Http {
            address: config.management.or(planned),
            secured: config.management_tls,
            running: Mutex::new(None),
        });
        if let Some((address, listener)) = listener.0 {
            http.serve(address, listener, &app)?;
        }
        let control = match (operations, asked) {
            (Some(operations), Some(asked)) => {
                Control::start(config, server, http.clone(), app, operations, asked)
            }
            _ => None,
        };
        Ok(Edges { http, control })
    }

    /// Where the management API is, while it is there.
    pub(super) fn management_address(&self) -> Option<SocketAddr> {
        self.http.running.lock().as_ref().map(Management::address)
    }

    /// Waits until an operator of this machine asks for the end.
    pub(super) async fn stop_asked(&self) {
        let Some(control) = &self.control else { return std::future::pending().await };
        let mut stop_asked = control.stop_asked.clone();
        // why: a task that has ended asks for nothing any more.
        if stop_asked.wait_for(|asked| *asked).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Takes no new requests, and waits for those that are being answered, but not for long.
    pub(super) async fn stop(self) {
        // why: first, so that nothing is opened again.
        drop(self.control);
        self.http.close().await;
    }
}

impl Http {
    /// Answers on this listener.
    fn serve(
        &self,
        address: SocketAddr,
        listener: TcpListener,
        app: &Api,
    ) -> Result<(), StartError> {
        let acceptor = app.acceptor().filter(|_| self.secured);
        let management = Management::start(listener, address, acceptor, app.clone())
            .map_err(|source| StartError::Listen { address, source })?;
        tracing::info!(%address, "the management API is listening");
        *self.running.lock() = Some(management);
        Ok(())
    }

    /// Opens it, unless it is open.
    async fn open(&self, app: &Api) -> Result<(), StartError> {
        if self.running.lock().is_some() {
            return Ok(());
        }
        let Some(address) = self.address else { return Ok(()) };
        match server::bind(&[address]).await?.pop() {
            Some((address, listener)) => self.serve(address, listener, app),
            None => Ok(()),
        }
    }

    /// Closes it, if it is open.
    async fn close(&self) {
        let running = self.running.lock().take();
        if let Some(management) = running {
            management.stop().await;
        }
    }
}

impl Control {
    /// Without its socket a broker is as good as with it, but for the commands: that is told, and ends nothing.
    fn start(
        config: Config,
        server: &Server,
        http: Arc<Http>,
        app: Api,
        operations: Operations,
        asked: mpsc::Receiver<Asked>,
    ) -> Option<Control> {
        let path = operations.config.socket.clone();
        let socket = match ControlSocket::start(&path, app.clone()) {
            Ok(socket) => socket,
            Err(error) => {
                let path = path.display();
                tracing::warn!(
                    "no control socket at {path}, so that rabbitmqctl finds no broker: {error}"
                );
                return None;
            }
        };
        let (stop_asking, stop_asked) = watch::channel(false);
        let executor = Executor {
            config,
            vhosts: server.vhosts().clone(),
            doors: Arc::downgrade(server.doors()),
            http,
            app,
            operations,
            stop_asking,
        };
        let supervisor = server.vhosts().supervisor().clone();
        let execute = executor.run(asked);
        let executing =
            tokio::spawn(supervisor.supervise("what obeys the control socket", execute, || true));
        Some(Control { _socket: socket, executing, stop_asked })
    }
}

/// Does what operators ask for.
struct Executor {
    config: Config,
    vhosts: Vhosts,
    /// why: a broker that is dropped has let go of its listeners at once.
    doors: Weak<Doors>,
    http: Arc<Http>,
    app: Api,
    operations: Operations,
    stop_asking: watch::Sender<bool>,
}

impl Executor {
    async fn run(self, mut asked: mpsc::Receiver<Asked>) {
        while let Some(request) = asked.recv().await {
            tracing::info!("an operator of this machine asks: {}", described(&request.operation));
            let result = self.execute(request.operation.clone()).await;
            if let Err(error) = &result {
                tracing::error!("it could not be done: {error}");
            }
            request.answer(result);
        }
    }

    async fn execute(&self, operation: Operation) -> Result<(), String> {
        let doors = self.doors.upgrade().ok_or("the broker has ended")?;
        match operation {
            Operation::Stop => {
                self.stop_asking.send_replace(true);
            }
            Operation::RefuseClients => {
                doors.close().await;
            }
            Operation::AcceptClients => {
                doors.reopen().await.map_err(|error| error.to_string())?;
            }
            Operation::Reset => {
                if doors.is_open().await {
                    return Err("clients are let in".to_owned());
                }
                self.reset().await?;
            }
            Operation::SetPlugins(plugins) => {
                match plugins.iter().any(|plugin| plugin == MANAGEMENT_PLUGIN) {
                    true => self.http.open(&self.app).await.map_err(|error| error.to_string())?,
                    false => self.http.close().await,
                }
                #[cfg(feature = "cli")]
                self.warn_of(&plugins);
                self.operations.set_plugins(plugins);
            }
            Operation::SetLogFilter(filter) => {
                let set = self.config.set_log_filter.as_ref();
                let set = set.ok_or("what is logged cannot be changed")?;
                set(&filter)?;
            }
        }
        Ok(())
    }

    /// Says which of these plugins are new and do nothing here.
    #[cfg(feature = "cli")]
    fn warn_of(&self, plugins: &[String]) {
        let before = self.operations.plugins();
        let new: Vec<String> = plugins.iter().filter(|it| !before.contains(it)).cloned().collect();
        rabbit::plugins_not_served(&new).for_each(|line| tracing::warn!("{line}"));
    }

    async fn reset(&self) -> Result<(), String> {
        let Config { users, first, definitions, node_name, cluster_name, .. } = &self.config;
        let definitions = definitions.as_ref().map(server::read_definitions).transpose();
        let definitions = definitions.map_err(|error| error.to_string())?;
        let initial = Initial {
            users,
            first: Some(first),
            definitions: definitions.as_ref(),
            node_name: node_name.as_deref(),
            cluster_name: cluster_name.as_deref(),
            accept_loss: false,
        };
        self.vhosts.reset(initial).await.map_err(|error| error.to_string())
    }
}

/// What an operator asked for, for the log.
fn described(operation: &Operation) -> String {
    match operation {
        Operation::Stop => "to stop".to_owned(),
        Operation::RefuseClients => "to refuse clients (stop_app)".to_owned(),
        Operation::AcceptClients => "to accept clients (start_app)".to_owned(),
        Operation::Reset => "to forget everything (reset)".to_owned(),
        Operation::SetPlugins(plugins) => format!("for the plugins {}", plugins.join(", ")),
        Operation::SetLogFilter(filter) => format!("to log {filter}"),
    }
}
