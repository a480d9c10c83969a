//! A broker on its own threads, so that a test can block.

use std::net::SocketAddr;

use leveret::{Broker, BrokerBuilder, QueueSnapshot};
use tokio::runtime::Runtime;

pub(crate) struct Embedded {
    broker: Option<Broker>,
    runtime: Runtime,
}

impl Embedded {
    /// One like this, on any free port.
    pub(crate) fn start(builder: BrokerBuilder) -> Self {
        let runtime = Runtime::new().expect("the system has threads");
        let builder = builder.listen(SocketAddr::from(([127, 0, 0, 1], 0)));
        let broker = runtime.block_on(builder.start()).expect("the broker starts");
        Embedded { broker: Some(broker), runtime }
    }

    pub(crate) fn broker(&self) -> &Broker {
        self.broker.as_ref().expect("it is there until it is dropped")
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.broker().addresses()[0]
    }

    /// The queue of this name, if it is there.
    pub(crate) fn queue(&self, name: &str) -> Option<QueueSnapshot> {
        self.broker().queues().into_iter().find(|queue| queue.name == name)
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        if let Some(broker) = self.broker.take() {
            // A test that fails has its own message.
            let _ = self.runtime.block_on(broker.shutdown());
        }
    }
}
