//! A broker put together: the server, and with the feature `management` the ends for operators.

#[cfg(feature = "management")]
mod edges;

#[cfg(feature = "management")]
use std::net::SocketAddr;
use std::sync::Arc;

#[cfg(feature = "management")]
use self::edges::{Edges, Listener};
use crate::auth::Authenticator;
use crate::clock::Clock;
use crate::config::Config;
use crate::server::{Server, StartError};
use crate::store::StoreError;

/// A running broker with all its ends.
pub(crate) struct Node {
    server: Server,
    #[cfg(feature = "management")]
    edges: Edges,
}

impl Node {
    /// Starts all of it. When this returns, clients can connect.
    pub(crate) async fn start(
        config: Config,
        clock: Arc<dyn Clock>,
        authenticator: Option<Arc<dyn Authenticator>>,
    ) -> Result<Self, StartError> {
        #[cfg(feature = "management")]
        let listener = Listener::bind(&config).await?;
        let server = Server::start(config.clone(), clock, authenticator).await?;
        #[cfg(feature = "management")]
        let edges = Edges::start(config, &server, listener)?;
        Ok(Node {
            server,
            #[cfg(feature = "management")]
            edges,
        })
    }

    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    /// Where the management API is, while it is there.
    #[cfg(feature = "management")]
    pub(crate) fn management_address(&self) -> Option<SocketAddr> {
        self.edges.management_address()
    }

    /// Waits until an operator of this machine asks for the end.
    #[cfg(feature = "management")]
    pub(crate) async fn stop_asked(&self) {
        self.edges.stop_asked().await;
    }

    /// Stops in order.
    pub(crate) async fn stop(self) -> Result<(), StoreError> {
        #[cfg(feature = "management")]
        self.edges.stop().await;
        self.server.stop().await
    }
}
