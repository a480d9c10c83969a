//! What an operator asks of a whole broker: to stop, to turn clients away, to forget everything.
//!
//! One task of the broker does what is asked, one thing after the other. Who asks waits until it is done.
//!
//! What this module deliberately is not: it does nothing of it itself.

use std::sync::Arc;

use parking_lot::RwLock;
use tokio::sync::{mpsc, oneshot};

use crate::config::ControlConfig;

/// How many may wait for their turn.
const WAITING: usize = 16;

/// What may be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// The end of the broker, in order.
    Stop,
    /// No client of AMQP is let in, and those that are in are sent away.
    RefuseClients,
    /// Clients are let in again.
    AcceptClients,
    /// Everything is forgotten, and what a new broker has is made. For a broker that refuses clients.
    Reset,
    /// These plugins are enabled, and no others.
    SetPlugins(Vec<String>),
    /// Lines of this level and above are logged; in the words of `--log`.
    SetLogFilter(String),
}

/// An operation that was asked for, and who waits for it.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) operation: Operation,
    done: oneshot::Sender<Result<(), String>>,
}

impl Asked {
    /// It is done, or cannot be.
    pub(crate) fn answer(self, result: Result<(), String>) {
        // Who asked may have gone.
        let _ = self.done.send(result);
    }
}

/// Where operations are asked for. Cloning it copies a pointer.
#[derive(Clone, Debug)]
pub(crate) struct Operations {
    asking: mpsc::Sender<Asked>,
    /// What the broker was told of itself.
    pub(crate) config: Arc<ControlConfig>,
    plugins: Arc<RwLock<Vec<String>>>,
}

impl Operations {
    /// Also where what is asked for arrives.
    pub(crate) fn new(config: ControlConfig) -> (Self, mpsc::Receiver<Asked>) {
        let (asking, asked) = mpsc::channel(WAITING);
        let plugins = Arc::new(RwLock::new(config.plugins.clone()));
        (Operations { asking, config: Arc::new(config), plugins }, asked)
    }

    /// Asks, and waits until it is done.
    ///
    /// # Errors
    /// In words for the operator, when it cannot be done.
    pub(crate) async fn ask(&self, operation: Operation) -> Result<(), String> {
        let (done, answer) = oneshot::channel();
        let ended = || "the broker has ended".to_owned();
        self.asking.send(Asked { operation, done }).await.map_err(|_| ended())?;
        answer.await.unwrap_or_else(|_| Err(ended()))
    }

    /// The plugins that are enabled.
    pub(crate) fn plugins(&self) -> Vec<String> {
        self.plugins.read().clone()
    }

    pub(crate) fn set_plugins(&self, plugins: Vec<String>) {
        *self.plugins.write() = plugins;
    }
}
